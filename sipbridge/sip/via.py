"""Via: who sent the message and where its answer goes (RFC 3261 §20.42, rport of RFC 3581).

`SIP/2.0/UDP host:port;branch=…`, white space allowed round slashes, colon and semicolons. `received` may be
written with brackets round an IPv6 address (RFC 5118 §4.5); `received` as a property never has them.
`rport` counts twice: without value in a request it asks for the port, with a value in the answer it tells
it.

A peer writes the same Via in all its requests, but for the branch. So a line of one hop is cut round the
branch, and what stands before and after it is read once (`frame_of`).
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import DIGITS, LWS, TOKEN, is_token, split_list
from sipbridge.sip.parameters import NONE, Pair, Parameters
from sipbridge.values import quick

MAGIC_COOKIE = "z9hG4bK"
"""Branches of RFC 3261 begin so (§8.1.1.7); all others are matched as in RFC 2543."""

VIA = re.compile(
    rf"{LWS}(SIP){LWS}/{LWS}({TOKEN}){LWS}/{LWS}({TOKEN})[ \t]+"
    rf"(\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9_.\-]+)(?:{LWS}:{LWS}([0-9]{{1,5}}))?{LWS}(;[\s\S]*)?",
    re.IGNORECASE,
)


@quick
@dataclass(frozen=True, slots=True)
class Via:
    """One hop. `protocol` in capitals ("UDP", "TCP"), `host` with brackets if IPv6."""

    protocol: str
    host: str
    port: int | None = None
    parameters: Parameters = NONE
    version: str = "2.0"

    @classmethod
    def parse(cls, text: str) -> "Via":
        """Read one via-parm. Raises ParseError, field "Via"."""
        return parse_via(text)

    def __str__(self) -> str:
        return f"SIP/{self.version}/{self.protocol} {self.sent_by}{self.parameters}"

    @property
    def sent_by(self) -> str:
        """`host` or `host:port`."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def branch(self) -> str | None:
        """The branch parameter; None in requests of RFC 2543."""
        return self.parameters.raw("branch")

    @property
    def has_transaction_id(self) -> bool:
        """Does the branch identify the transaction?"""
        return is_transaction_id(self.branch or "")

    @property
    def received(self) -> str | None:
        """The address the request came from, IPv6 without brackets."""
        received = self.parameters.get("received")
        return received.strip("[]") if received else None

    @property
    def wants_rport(self) -> bool:
        """Is `rport` there, with or without a value (RFC 3581 §3)?"""
        return self.parameters.raw("rport") is not None

    @property
    def rport(self) -> int | None:
        """The port of `rport`, None where it has no value or is absent."""
        value = self.parameters.raw("rport")
        return int(value) if value and DIGITS.fullmatch(value) and len(value) < 6 else None

    @property
    def maddr(self) -> str | None:
        """The maddr parameter (§18.2.2)."""
        return self.parameters.raw("maddr") or None

    def with_parameter(self, name: str, value: str | None = None) -> "Via":
        """The same hop with this parameter set."""
        return replace(self, parameters=self.parameters.with_(name, value))


def is_transaction_id(branch: str) -> bool:
    """Does it identify a transaction (§17.2.3)? The bare cookie does not (RFC 4475 §3.2.1)."""
    return branch[:7].lower() == "z9hg4bk" and len(branch) > 7


def parse_via(text: str) -> Via:
    """The work behind `Via.parse`."""
    found = VIA.fullmatch(text)
    if not found:
        raise ParseError(f"{text[:80]!r} is malformed", field="Via")
    _, version, protocol, host, port, rest = found.groups()
    if port and int(port) > 65535:
        raise ParseError(f"port {port} does not exist", field="Via")
    parameters = Parameters.parse(rest.rstrip(" \t"), "Via") if rest else NONE
    return Via(protocol.upper(), host, int(port) if port else None, parameters, version)


@quick
@dataclass(frozen=True, slots=True)
class Frame:
    """A Via of one hop without its branch, which stands between `before` and `after`; in `hop` it is "x"."""

    hop: Via
    before: tuple[Pair, ...]
    after: tuple[Pair, ...]

    def with_branch(self, branch: str) -> Via:
        """The whole hop."""
        hop = self.hop
        pairs = (*self.before, ("branch", branch), *self.after)
        return Via(hop.protocol, hop.host, hop.port, Parameters(pairs), hop.version)


BRANCH = ";branch="

MAX_FRAMES = 4096
"""Frames remembered: each is a neighbour of ours, a proxy or a client that comes directly."""

MAX_LINES = 256
"""Lines of other kinds remembered, for they are read several times while their message is served."""


def cut(line: str) -> tuple[str, str, str] | None:
    """A line of one hop round its branch: what stands before, the branch, what stands after.

    None for a line in which that is not plain to see; what stands round the branch has not been read.
    """
    before, mark, rest = line.partition(BRANCH)
    branch = rest.partition(";")[0]
    return (before, branch, rest[len(branch) :]) if mark and is_token(branch) else None


@lru_cache(maxsize=MAX_FRAMES)
def frame_of(before: str, after: str) -> Frame | None:
    """What stands round a branch, read; None if only the whole line can be read, or nothing at all."""
    if any(mark in before or mark in after for mark in ',"'):
        return None
    try:
        hop = parse_via(f"{before}{BRANCH}x{after}")
    except ParseError:
        return None
    pairs = hop.parameters.pairs
    at = [i for i, (name, _) in enumerate(pairs) if name.lower() == "branch"]
    return Frame(hop, pairs[: at[0]], pairs[at[0] + 1 :]) if len(at) == 1 else None


def parse_vias(text: str) -> tuple[Via, ...]:
    """One Via header line, which may hold several hops. Raises ParseError, field "Via"."""
    parts = cut(text)
    frame = frame_of(parts[0], parts[2]) if parts is not None else None
    if parts is None or frame is None:
        return parse_hops(text)
    return (frame.with_branch(parts[1]),)


def check_via(text: str) -> None:
    """Can the line be read? Raises ParseError as `parse_vias` does."""
    parts = cut(text)
    if parts is None or frame_of(parts[0], parts[2]) is None:
        parse_hops(text)


@lru_cache(maxsize=MAX_LINES)
def parse_hops(text: str) -> tuple[Via, ...]:
    """The same without shortcuts."""
    if "," not in text:
        return (parse_via(text),)
    return tuple([parse_via(part) for part in split_list(text, "Via")])
