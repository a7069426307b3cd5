"""Via: who sent the message and where its answer goes (RFC 3261 §20.42, rport of RFC 3581).

`SIP/2.0/UDP host:port;branch=…`, white space allowed round slashes, colon and semicolons. `received` may be
written with brackets round an IPv6 address (RFC 5118 §4.5); `received` as a property never has them.
`rport` counts twice: without value in a request it asks for the port, with a value in the answer it tells
it.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import DIGITS, LWS, TOKEN, split_list
from sipbridge.sip.parameters import NONE, Parameters
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
        """Does the branch identify the transaction (§17.2.3)? The bare cookie does not (RFC 4475 §3.2.1)."""
        branch = self.branch or ""
        return branch[:7].lower() == "z9hg4bk" and len(branch) > 7

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


@lru_cache(maxsize=1024)
def parse_vias(text: str) -> tuple[Via, ...]:
    """One Via header line, which may hold several hops. Raises ParseError, field "Via"."""
    if "," not in text:
        return (parse_via(text),)
    return tuple([parse_via(part) for part in split_list(text, "Via")])
