"""Who sees SIP messages: a capture file, a Homer collector, and operators who ask for it.

The drivers' taps are exchanged while somebody listens and put back when nobody does, so that a trace that is
off costs nothing at all. What goes to operators and collectors has its secrets blanked; the capture file
has the messages as they were and is readable by its owner only.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import orjson

from sipbridge.app.settings_tree import TraceSettings
from sipbridge.errors import ConfigurationError, InvalidValue
from sipbridge.observability.capture import Captured, Listener, Recorder, Selection, spelled
from sipbridge.observability.hep import HepSender
from sipbridge.observability.pcap import PcapWriter
from sipbridge.observability.trace import chain, redacted
from sipbridge.transports import Driver
from sipbridge.uri import parse_hostport

WANTED = frozenset({"dialog", "watcher", "peer"})
HEP_PORT = 9060
"""Where Homer's collectors listen."""

log = logging.getLogger(__name__)


class Tracing:
    """The listeners of one process, over all its drivers."""

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self.drivers = drivers
        self.listeners: list[Listener] = []
        self.restore: list[Callable[[], None]] = []
        """Puts the drivers' own taps back."""
        self.sinks: list[HepSender | PcapWriter] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Messages go to `listener` from now on; the result ends that."""
        if not self.listeners:
            self.restore = [tapped(driver, Recorder(self.heard)) for driver in self.drivers]
        self.listeners.append(listener)

        def leave() -> None:
            if listener in self.listeners:
                self.listeners.remove(listener)
                if not self.listeners:
                    for restore in self.restore:
                        restore()

        return leave

    def heard(self, message: Captured) -> None:
        for listener in tuple(self.listeners):
            listener(message)

    def follow(
        self, wanted: Mapping[str, str], heard: Callable[[bytes], None]
    ) -> Callable[[], None]:
        """`rest.admin_trace.Follow`: JSON lines of what is wanted. Raises InvalidValue."""
        for name in wanted:
            if name not in WANTED:
                raise InvalidValue(f"{name!r} is none of dialog, watcher, peer", part=name)
        selection = Selection(**wanted)

        def listener(message: Captured) -> None:
            if selection.wants(message):
                heard(as_line(message))

        return self.listen(listener)

    def open(self, settings: TraceSettings) -> None:
        """What the configuration wants. Raises ConfigurationError."""
        if settings.pcap is not None:
            try:
                self.keep(PcapWriter(settings.pcap, settings.pcap_bytes))
            except OSError as error:
                raise ConfigurationError(
                    "trace.pcap", f"{settings.pcap}: {error.strerror}"
                ) from None
        if settings.hep:
            password = settings.hep_password.get_secret_value() if settings.hep_password else ""
            host, port = parse_hostport(settings.hep)
            try:
                self.keep(
                    HepSender((host.strip("[]"), port or HEP_PORT), settings.hep_id, password)
                )
            except OSError as error:
                raise ConfigurationError("trace.hep", f"{settings.hep}: {error.strerror}") from None

    def keep(self, sink: HepSender | PcapWriter) -> None:
        """Write everything there until `close`, or until it fails."""
        self.sinks.append(sink)

        def listener(message: Captured) -> None:
            try:
                sink.write(message)
            except OSError as error:  # a full disk stops the trace, never the bridge
                log.error("the SIP trace ends: %s", error.strerror)
                leave()

        leave = self.listen(listener)

    def close(self) -> None:
        self.listeners.clear()
        for restore in self.restore:
            restore()
        for sink in self.sinks:
            sink.close()
        self.sinks.clear()


def tapped(driver: Driver, recorder: Recorder) -> Callable[[], None]:
    """Put the recorder behind the driver's taps; the result takes it away."""
    before = driver.tap_in, driver.tap_out
    driver.tap_in = chain(driver.tap_in, recorder.tap_in)
    driver.tap_out = chain(driver.tap_out, recorder.tap_out)

    def restore() -> None:
        driver.tap_in, driver.tap_out = before

    return restore


def as_line(message: Captured) -> bytes:
    """One message as a line of JSON, secrets blanked."""
    told = {
        "at": message.at,
        "protocol": message.protocol,
        "source": spelled(message.source),
        "destination": spelled(message.destination),
        "outgoing": message.outgoing,
        "trace": message.trace,
        "message": redacted(message.data).decode("utf-8", "backslashreplace"),
    }
    return orjson.dumps(told) + b"\n"
