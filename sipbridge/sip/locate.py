"""Which server next (RFC 3263, RFC 3261 §8.1.2 and §18.1.1).

Pure functions from URIs to `Target`s and from targets and addresses to flows. The core owns no DNS: a target
whose host is a name is looked up by whoever drives the core. Only addresses are asked for; SRV and NAPTR
records are not, so a name without port means the default port of its transport.

The transport is the URI's `transport` parameter, else UDP; a sips URI means TLS, or a WebSocket over TLS
(§26.2.2, RFC 7118 §5.2). `maddr` goes before the host (§19.1.1). A target knows whether UDP was only the
default, because only then may a request too large for a datagram travel by TCP. In-memory listeners have
names instead of addresses and are never looked up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import SECURE, Address, Flow, ListeningPoint
from sipbridge.uri import DEFAULT_PORTS, Uri

TRANSPORTS = frozenset({"udp", "tcp", "tls", "ws", "wss", "memory"})
"""Transports this version speaks. A URI has no "wss"; clients in the field write it all the same."""

SECURED = {"": "tls", "tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}
"""What the transport parameter of a sips URI means."""

PORTS = {"tls": DEFAULT_PORTS["sips"], "ws": 80, "wss": 443}
"""Where a URI names no port (§19.1.2, RFC 6455 §3); of all others it is 5060."""

LARGE = 1300
"""Bytes above which a request leaves UDP when the path's MTU is not known (§18.1.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to send to. `by_default`: nobody asked for this transport."""

    protocol: str
    host: str
    port: int
    by_default: bool = False

    @property
    def needs_lookup(self) -> bool:
        """Is the host a name that DNS has to explain?"""
        return self.protocol != "memory" and not is_address(self.host)

    def __str__(self) -> str:
        return destination_text(self.protocol, (self.host, self.port))


def is_address(host: str) -> bool:
    """An IPv4 address or an IPv6 address without brackets. Names cannot look like either."""
    return ":" in host or (host[:1].isdigit() and host.replace(".", "").isdigit())


def bare(host: str) -> str:
    """Without the brackets of an IPv6 reference."""
    return host[1:-1] if host.startswith("[") else host


def bracketed(host: str) -> str:
    """As it stands in Via and URIs."""
    return f"[{host}]" if ":" in host else host


def destination_text(protocol: str, address: Address) -> str:
    """ "udp:192.0.2.1:5060", for people and metrics."""
    return f"{protocol}:{bracketed(address[0])}:{address[1]}"


def target_of(uri: Uri) -> Target:
    """Where a URI leads. Raises LocalProtocolError when we cannot go there."""
    if uri.scheme not in DEFAULT_PORTS:
        raise LocalProtocolError(f"{uri}: a {uri.scheme} URI names no server; set a next hop")
    asked = (uri.parameter("transport") or "").lower()
    if uri.scheme == "sips":
        protocol = SECURED.get(asked, "")
        if not protocol:
            raise LocalProtocolError(f"{uri}: {asked} cannot be secured by TLS")
    else:
        protocol = asked or "udp"
    if protocol not in TRANSPORTS:
        raise LocalProtocolError(f"{uri}: transport {protocol} is not in this version")
    host = bare(uri.parameter("maddr") or uri.host)
    port = uri.port or PORTS.get(protocol, DEFAULT_PORTS["sip"])
    return Target(protocol, host, port, by_default=protocol == "udp" and not asked)


def targets_of(uris: Iterable[str]) -> list[Target]:
    """The targets of several URI texts, in order."""
    return [target_of(Uri.parse(uri)) for uri in uris]


def point_for(
    points: Sequence[ListeningPoint], protocol: str, remote_host: str
) -> ListeningPoint | None:
    """The listening point to send from: same transport, same address family, loopback for loopback."""
    family = ":" in remote_host
    fits = [p for p in points if p.protocol == protocol]
    if protocol == "memory":
        return fits[0] if fits else None
    fits = [p for p in fits if (":" in p.local[0]) == family]
    for point in fits:
        if is_loopback(point.local[0]) == is_loopback(remote_host):
            return point
    return fits[0] if fits else None


def is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def flow_to(point: ListeningPoint, target: Target, address: str) -> Flow:
    """The flow from a listening point to one address of a target; a connection is found or opened."""
    name = target.host if target.protocol in SECURE else ""
    return Flow(target.protocol, point.local, (address, target.port), 0, name)
