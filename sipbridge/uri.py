"""SIP, SIPS, PRES, TEL and other URIs: parse, print, compare.

`sip:` and `sips:` follow RFC 3261 §19.1 and §25, `pres:` and `im:` RFC 3859 and 3860 (an address,
optionally with parameters), `tel:` RFC 3966. Any other scheme is kept whole in `opaque`, so nothing that a
Contact or a presence document names is lost. Printing gives back what was read, except that the scheme is
lower case. `==` compares fields; what RFC 3261 §19.1.4 calls equal is `matches()`, which is not transitive
and therefore is no `__eq__`.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from sipbridge.errors import ParseError

MAX_URI = 4096
"""Characters in one URI; RFC 4475's longest (`longreq`) has about 250."""

ADDRESS_SCHEMES = frozenset({"sip", "sips", "pres", "im"})
DEFAULT_PORTS = {"sip": 5060, "sips": 5061}

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
# §25.1: user = 1*( unreserved / escaped / user-unreserved )
USER = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#%|^`{}\[\]\\]|[^\x00-\x7f])+")
PASSWORD = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*")
ESCAPES_OK = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-.]*[A-Za-z0-9_.])?")
PORT = re.compile(r"[0-9]{1,5}")
CONTROL = re.compile(r"[\x00-\x20\x7f<>\"]")
TEL_SEPARATORS = re.compile(r"[-.()]")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

UNRESERVED = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()&=+$,;?/"
)

Pairs = tuple[tuple[str, str | None], ...]


def unescape(text: str) -> str:
    """Undo percent-encoding where it stands for a character; bytes that are no UTF-8 stay escaped."""
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text


def escape_user(text: str) -> str:
    """Percent-encode what RFC 3261 §25.1 does not allow in the user part."""
    if all(c in UNRESERVED for c in text):
        return text
    return "".join(c if c in UNRESERVED else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


@dataclass(frozen=True, slots=True)
class Uri:
    """One URI. For sip, sips, pres, im the parts are filled; for every other scheme `opaque` is."""

    scheme: str
    user: str | None = None
    host: str = ""
    port: int | None = None
    parameters: Pairs = ()
    headers: Pairs = ()
    password: str | None = None
    opaque: str = ""

    @classmethod
    def parse(cls, text: str) -> "Uri":
        """Read an addr-spec (no angle brackets). Raises ParseError, field "uri"."""
        return parse_uri(text)

    def __str__(self) -> str:
        if self.scheme not in ADDRESS_SCHEMES:
            return f"{self.scheme}:{self.opaque}"
        parts = [self.scheme, ":"]
        if self.user is not None:
            parts.append(self.user)
            if self.password is not None:
                parts += (":", self.password)
            parts.append("@")
        parts.append(self.host)
        if self.port is not None:
            parts.append(f":{self.port}")
        for name, value in self.parameters:
            parts.append(f";{name}" if value is None else f";{name}={value}")
        for i, (name, value) in enumerate(self.headers):
            parts.append(f"{'&' if i else '?'}{name}={value or ''}")
        return "".join(parts)

    @property
    def is_address(self) -> bool:
        """Is it sip:, sips:, pres: or im:, that is, does it have a host?"""
        return self.scheme in ADDRESS_SCHEMES

    @property
    def username(self) -> str:
        """The user part with its escapes undone; "" if there is none."""
        return unescape(self.user) if self.user else ""

    @property
    def address(self) -> "Uri":
        """The same without parameters, headers, password: an address-of-record (RFC 3261 §10.3)."""
        if not self.is_address:
            return self
        return replace(self, parameters=(), headers=(), password=None)

    @property
    def hostport(self) -> str:
        """`host` or `host:port`, as it stands in the URI."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def is_strict_host(self) -> bool:
        """Is the host an IPv4 or IPv6 address literal?"""
        return self.host.startswith("[") or re.fullmatch(r"[0-9.]+", self.host) is not None

    def parameter(self, name: str) -> str | None:
        """A parameter's value, "" for one without value, None if absent. Names ignore case."""
        name = name.lower()
        for key, value in self.parameters:
            if key.lower() == name:
                return value if value is not None else ""
        return None

    def with_parameter(self, name: str, value: str | None = None) -> "Uri":
        """The same URI with this parameter set (replaced or added at the end)."""
        kept = tuple(p for p in self.parameters if p[0].lower() != name.lower())
        return replace(self, parameters=(*kept, (name, value)))

    def matches(self, other: "Uri") -> bool:
        """Equal in the sense of RFC 3261 §19.1.4 (sip, sips, pres, im), RFC 3966 §4 (tel)."""
        if self.scheme != other.scheme:
            return False
        if self.scheme == "tel":
            return normal_tel(self.opaque) == normal_tel(other.opaque)
        if not self.is_address:
            return self.opaque == other.opaque
        return (
            normal_user(self.user) == normal_user(other.user)
            and self.password == other.password
            and self.host.lower() == other.host.lower()
            and self.port == other.port
            and same_parameters(self.parameters, other.parameters)
            and same_headers(self.headers, other.headers)
        )


def normal_user(user: str | None) -> str | None:
    """A user part with needless escapes undone, so that equal ones are equal text."""
    if user is None or "%" not in user:
        return user
    return ESCAPE.sub(
        lambda m: c if (c := chr(int(m[1], 16))) in UNRESERVED else m[0].upper(), user
    )


def normal_tel(opaque: str) -> str:
    """A telephone number without visual separators, parameters sorted (RFC 3966 §4)."""
    number, *parameters = opaque.split(";")
    return ";".join(
        [TEL_SEPARATORS.sub("", number).lower(), *sorted(p.lower() for p in parameters)]
    )


# §19.1.4: these make two URIs differ even when only one of them carries the parameter.
COUNTED_WHEN_ALONE = frozenset({"user", "ttl", "method", "maddr", "transport"})


def same_parameters(ours: Pairs, theirs: Pairs) -> bool:
    left = {k.lower(): (v or "").lower() for k, v in ours}
    right = {k.lower(): (v or "").lower() for k, v in theirs}
    for name in left.keys() | right.keys():
        if name in left and name in right:
            if left[name] != right[name]:
                return False
        elif name in COUNTED_WHEN_ALONE:
            return False
    return True


def same_headers(ours: Pairs, theirs: Pairs) -> bool:
    return sorted((k.lower(), v) for k, v in ours) == sorted((k.lower(), v) for k, v in theirs)


@lru_cache(maxsize=8192)
def parse_uri(text: str) -> Uri:
    """The work behind `Uri.parse`, remembered: the same few URIs come again and again."""
    if len(text) > MAX_URI:
        raise ParseError(f"longer than {MAX_URI} characters", field="uri")
    if bad := CONTROL.search(text):
        raise ParseError(f"character {bad[0]!r} is not allowed", field="uri", offset=bad.start())
    found = SCHEME.match(text)
    if not found:
        raise ParseError(f"no scheme in {text[:80]!r}", field="uri", offset=0)
    scheme, rest = found[1].lower(), text[found.end() :]
    if not rest:
        raise ParseError("nothing after the scheme", field="uri", offset=found.end())
    if scheme not in ADDRESS_SCHEMES:
        return Uri(scheme, opaque=rest)
    return parse_address(scheme, rest)


def parse_address(scheme: str, rest: str) -> Uri:
    user = password = None
    # The user part may hold ";" and "?" but never "@", and a host can hold none: the last "@" decides.
    before, at, after = rest.rpartition("@")
    if at:
        user, password = parse_userinfo(before)
        rest = after
    hostpart, question, headers = rest.partition("?")
    hostpart, *parameters = hostpart.split(";")
    host, port = parse_hostport(hostpart)
    return Uri(
        scheme,
        user,
        host,
        port,
        tuple(parse_pair(p) for p in parameters if p),
        tuple(parse_header(h) for h in headers.split("&") if h) if question else (),
        password,
    )


def parse_userinfo(text: str) -> tuple[str, str | None]:
    user, colon, password = text.partition(":")
    if not user or not USER.fullmatch(user) or not ESCAPES_OK.fullmatch(user):
        raise ParseError(f"user part {user[:80]!r} is malformed", field="uri")
    if not PASSWORD.fullmatch(password):
        raise ParseError("password part is malformed", field="uri")
    return user, password if colon else None


def parse_hostport(text: str, field: str = "uri") -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]`, `[v6]:port`. Raises ParseError naming `field`."""
    if text.startswith("["):
        found = IPV6.match(text)
        if not found:
            raise ParseError(f"IPv6 reference {text[:60]!r} is malformed", field=field)
        host, rest = found[0], text[found.end() :]
    else:
        host, colon, after = text.partition(":")
        rest = colon + after
        if not HOST.fullmatch(host):
            raise ParseError(f"host {host[:80]!r} is malformed", field=field)
    if not rest:
        return host, None
    if rest[0] != ":" or not PORT.fullmatch(rest[1:]) or int(rest[1:]) > 65535:
        raise ParseError(f"port {rest[:20]!r} is malformed", field=field)
    return host, int(rest[1:])


def parse_header(text: str) -> tuple[str, str]:
    """A header always has a value, be it empty (RFC 3261 §25.1: hname "=" hvalue)."""
    name, value = parse_pair(text)
    return name, value or ""


def parse_pair(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name or not ESCAPES_OK.fullmatch(text):
        raise ParseError(f"parameter {text[:80]!r} is malformed", field="uri")
    return name, value if equals else None
