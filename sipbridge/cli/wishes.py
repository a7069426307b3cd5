"""What `publish` and `watch` are asked to send otherwise than by themselves, and where it is recorded.

`--header` adds header fields to every SUBSCRIBE or PUBLISH; those on which transactions and dialogs stand
are ours alone. `--accept` and `--event` make a package that nobody here knows usable: a body in it is shown
as it is. `--trace` appends every message to a pcap file, as it was on the wire, readable by its owner only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sipbridge.errors import ConfigurationError, ParseError
from sipbridge.events.package import ANY_TYPE, EventPackage
from sipbridge.observability.pcap import PcapWriter, is_ours
from sipbridge.sip.fields import MediaType
from sipbridge.sip.grammar import is_token
from sipbridge.sip.headers import key_of

OPTIONS = {"accept": "--accept", "event": "--event", "expires": "--expires"}
"""Header fields that have an option of their own."""

OURS = frozenset(
    {
        *("via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-length"),
        *("record-route", "sip-if-match", "authorization", "proxy-authorization"),
    }
)
"""Header fields that nobody else can get right: what answers and refreshes are found by."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """headers: (name, value) pairs. accept: body types, empty: the package's. event: a package, "": presence.

    expires: seconds, None: the package's default. trace: a capture file. content_type: of a document.
    """

    headers: tuple[tuple[str, str], ...] = ()
    accept: tuple[str, ...] = ()
    event: str = ""
    expires: int | None = None
    trace: Path | None = None
    content_type: str = ""

    def package(self, known: EventPackage) -> EventPackage:
        """The package as it is asked for; `known` is the one that is meant when none was named."""
        name = self.event or known.name
        if name == known.name and not self.accept:
            return known
        types = self.accept or (ANY_TYPE,)
        bare = tuple(MediaType.parse(text).essence for text in types)  # without its q
        return EventPackage(name, types, known.default_expires, also_read=bare)


def wishes(
    headers: Sequence[str],
    accept: Sequence[str],
    event: str,
    expires: int | None,
    trace: Path | None,
) -> Wishes:
    """The checked value. Raises ConfigurationError naming the option."""
    read = [header(text) for text in headers]
    types = [value for name, value in read if key_of(name) == "content-type"]
    if len(types) > 1:
        raise ConfigurationError("--header", "Content-Type is given twice")
    if types:
        media_type("--header Content-Type", types[0])
    if event and not is_token(event):
        raise ConfigurationError("--event", f"{event!r} is not the name of an event package")
    return Wishes(
        tuple(pair for pair in read if key_of(pair[0]) != "content-type"),
        tuple(media_type("--accept", t) for text in accept for t in text.split(",")),
        event,
        expires,
        trace,
        types[0] if types else "",
    )


def header(text: str) -> tuple[str, str]:
    """Name and value of NAME:VALUE."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not is_token(name):
        raise ConfigurationError("--header", f"NAME:VALUE is expected, not {text!r}")
    if not value.isprintable():
        raise ConfigurationError("--header", f"{name}: the value must be printable, on one line")
    key = key_of(name)
    if key in OPTIONS:
        raise ConfigurationError("--header", f"{name}: use {OPTIONS[key]}")
    if key in OURS:
        raise ConfigurationError("--header", f"{name} is written by sipbridge itself")
    return name, value


def media_type(option: str, text: str) -> str:
    """A body type such as application/pidf+xml; application/* and */* are types too."""
    try:
        MediaType.parse(text.strip())
    except ParseError:
        raise ConfigurationError(
            option, f"{text.strip()!r} is not a type like application/pidf+xml"
        ) from None
    return text.strip()


def capture(path: Path) -> PcapWriter:
    """The file, opened. One that is there is gone on with; one that is no capture of ours is left alone."""
    try:
        if path.exists() and path.stat().st_size and not is_ours(path):
            raise ConfigurationError("--trace", f"{path} is there and was not written by sipbridge")
        return PcapWriter(path)
    except OSError as error:
        raise ConfigurationError("--trace", f"{path}: {error.strerror}") from None
