"""Where a webhook may go.

An application writes any URL it likes into a request, and we would connect to it from inside the operator's
network: without a check that is a door to everything there. So an address is looked at where it counts, in
the moment of connecting: the name is resolved here, the addresses found are judged one by one, and the
connection is made to a judged address and not to the name. A name that points somewhere else a second later
(DNS rebinding), an odd spelling of 127.0.0.1, a decimal IPv4 address: whatever the resolver makes of it is
what is judged. TLS still proves the name.

Refused are all addresses that are not globally reachable (the registries of RFC 6890: private, loopback,
link-local, shared, documentation …), also where IPv6 only wraps them (NAT64, 6to4, Teredo), unless the
operator allows private addresses (`[webhooks] allow_private`); then only multicast and unspecified ones are.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sipbridge.errors import InvalidValue

MAX_URL = 2000
"""Characters; what every web server accepts."""
VISIBLE = re.compile(r"[!-~]+")
"""ASCII without space and control characters: nothing that could end a line of a request."""
HOST = re.compile(r"[a-z0-9\-_.]+")
"""A name, or an IPv4 address; in lower case."""
PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""RFC 4291 §2.4; what lies beside it is of local use, or not given out."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: the last 32 bits are an IPv4 address."""

BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. host: in lower case, IPv6 without brackets. resource: path and query."""

    scheme: str
    host: str
    port: int
    resource: str

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Raises InvalidValue (part "endpoint")."""
        if len(url) > MAX_URL or not VISIBLE.fullmatch(url):
            raise refused(f"a URL is up to {MAX_URL} visible ASCII characters")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise refused("not a URL") from None
        if parts.scheme not in PORTS or not host:
            raise refused("not an http or https URL with a host")
        if not HOST.fullmatch(host) and read_address(host) is None:
            raise refused(f"{host[:80]!r} is no host")
        if parts.username is not None or parts.password is not None or "#" in url:
            raise refused("a URL without user name, password and fragment")
        if port == 0:
            raise refused("port 0")
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or PORTS[parts.scheme], resource)

    @property
    def origin(self) -> str:
        """Scheme, host and port. What a log may show: the rest of a URL is often a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: without the port where it is the scheme's own (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def refused(why: str) -> InvalidValue:
    return InvalidValue(why, part="endpoint")


def is_webhook(endpoint: str) -> bool:
    """Is this a URL and not a Bayeux channel?"""
    return not endpoint.startswith("/") and "://" in endpoint


def check(url: str, allow_private: bool) -> Target:
    """The target, if requests may go there as far as can be told without asking DNS. Raises InvalidValue."""
    target = Target.parse(url)
    literal = read_address(target.host)
    if literal is not None and not may_connect(literal, allow_private):
        raise refused(f"no requests are sent to {target.host}")
    return target


def read_address(text: str) -> Address | None:
    """An address as the resolver gives it, with or without zone; None for a name."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def may_connect(address: Address, allow_private: bool) -> bool:
    """May a request go to this address?"""
    inner = unwrapped(address)
    if inner.is_multicast or inner.is_unspecified or inner == BROADCAST:
        return False
    return allow_private or (reaches_all(address) and reaches_all(inner))


def reaches_all(address: Address) -> bool:
    """Is this an address of the public internet?"""
    if isinstance(address, ipaddress.IPv6Address):
        return address in NAT64 or (address in GLOBAL_UNICAST and address.is_global)
    return address.is_global


def unwrapped(address: Address) -> Address:
    """The IPv4 address that packets to an IPv6 address end at, where it wraps one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address
