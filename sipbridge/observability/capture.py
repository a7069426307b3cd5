"""SIP messages seen on the wire: as values, cut out of streams, chosen by dialog, watcher or peer.

A `Recorder` is a pair of taps that hands `Captured` values to whoever listens. While nobody does, the driver
has no such tap, so that it costs nothing. What TLS and WebSocket carried is recorded decrypted: drivers tap
the messages, not the sockets. What the two cores of one process say to each other in memory is no traffic.

A stream comes in pieces; a `Cutter` for each direction makes whole messages of them by Content-Length
(RFC 3261 §18.3). It believes nothing: bytes that are no SIP are skipped to the next line end.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sipbridge.sip.flow import STREAMS, Address, Flow

START = re.compile(rb"SIP/2\.0 \d{3} |[A-Z][A-Z0-9.!%*_+`'~-]{0,31} \S{1,2048} SIP/2\.0[\r\n]")
"""The beginning of a request or a response."""
LENGTH = re.compile(rb"(?im)^(?:content-length|l)[ \t]*:[ \t]*(\d{1,9})[ \t]*\r?$")
HEAD_END = re.compile(rb"\r?\n\r?\n")
MAX_MESSAGE = 1 << 20
"""Bytes of one message that are kept together; longer ones are given up, a capture is no archive."""

CALL_ID = re.compile(rb"(?im)^(?:call-id|i)[ \t]*:[ \t]*(\S+)")
PARTY = re.compile(rb"(?im)^(?:from|f|to|t)[ \t]*:[^<\r\n]*?<?((?:sips?|pres|tel):[^\s<>;?]+)")


@dataclass(frozen=True, slots=True)
class Captured:
    """One message. at: seconds of Unix time. trace: the id of what caused it, "" when read from a file."""

    at: float
    data: bytes
    protocol: str
    source: Address
    destination: Address
    outgoing: bool = False
    trace: str = ""

    @property
    def call_id(self) -> str:
        """Of the first 8 kB; "" without one."""
        found = CALL_ID.search(self.data[:8192])
        return found[1].decode("utf-8", "replace") if found else ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are wanted; empty fields ask for nothing.

    dialog: a Call-ID. watcher: an address that stands in From or To. peer: a host, or HOST:PORT.
    """

    dialog: str = ""
    watcher: str = ""
    peer: str = ""

    def wants(self, message: Captured) -> bool:
        if self.dialog and message.call_id != self.dialog:
            return False
        if self.peer and not any(
            self.peer in (host, spelled((host, port)))
            for host, port in (message.source, message.destination)
        ):
            return False
        return not self.watcher or self.watcher.lower() in parties(message.data)


def parties(data: bytes) -> set[str]:
    """The addresses in From and To, without parameters, in lower case."""
    head = data[:8192].partition(b"\r\n\r\n")[0]
    return {found.decode("utf-8", "replace").lower() for found in PARTY.findall(head)}


def spelled(address: Address) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Cutter:
    """Whole messages out of the pieces of one direction of one connection."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self.held += data
        while self.held:
            self.held = self.held.lstrip(b"\r\n\0")  # keep-alives between messages
            if not START.match(self.held):
                line = self.held.find(b"\n")
                if line < 0:
                    break
                self.held = self.held[line + 1 :]
                continue
            head = HEAD_END.search(self.held)
            if head is None:
                break
            length = LENGTH.search(self.held, 0, head.end())
            end = head.end() + (int(length[1]) if length else 0)
            if len(self.held) < end:
                break
            message, self.held = self.held[:end], self.held[end:]
            yield message
        if len(self.held) > MAX_MESSAGE:
            self.held = b""


Listener = Callable[[Captured], None]


@dataclass(slots=True)
class Recorder:
    """`tap_in` and `tap_out` of a driver; whole messages go to `listener`."""

    listener: Listener
    clock: Callable[[], float] = time.time
    cutters: dict[tuple[int, bool], Cutter] = field(default_factory=dict)
    """By number of the connection and direction."""

    def tap_in(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        self.saw(data, flow, trace, outgoing=False)

    def tap_out(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        self.saw(data, flow, trace, outgoing=True)

    def saw(self, data: bytes, flow: Flow, trace: str, outgoing: bool) -> None:
        if flow.protocol == "memory":
            return
        at = self.clock()
        ends = (flow.local, flow.remote) if outgoing else (flow.remote, flow.local)
        for message in self.whole(data, flow, outgoing):
            self.listener(Captured(at, message, flow.protocol, *ends, outgoing, trace))

    def whole(self, data: bytes, flow: Flow, outgoing: bool) -> Iterator[bytes]:
        """What leaves is one message, and so is a datagram; only what streams bring is in pieces."""
        if outgoing or flow.protocol not in STREAMS:
            if data.strip(b"\r\n\0"):
                yield data
            return
        if len(self.cutters) > MAX_CUTTERS:
            self.cutters.clear()
        yield from self.cutters.setdefault((flow.connection, outgoing), Cutter()).feed(data)


MAX_CUTTERS = 10_000
"""Connections remembered; beyond it half-read messages are given up rather than memory."""
