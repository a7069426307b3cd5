"""Where bytes come from and go to.

A `Flow` is the value a driver makes for each datagram or connection; the core never opens anything, it only
names a flow. A `Transmit` is one message on its way out.
"""

from dataclasses import dataclass

from sipbridge.values import quick

Address = tuple[str, int]
"""Host as IP address text (IPv6 without brackets) and port."""

RELIABLE = frozenset({"tcp", "tls", "ws", "wss", "memory"})
STREAMS = frozenset({"tcp", "tls"})
"""What cuts messages anywhere; every other transport brings them whole."""
WEB = frozenset({"ws", "wss"})
"""One message of SIP in each message of WebSocket (RFC 7118)."""
SECURE = frozenset({"tls", "wss"})
CONNECTIONS = frozenset({"tcp", "tls", "ws", "wss"})
"""What is opened, kept and closed."""


@quick
@dataclass(frozen=True, slots=True)
class Flow:
    """One path between two addresses.

    `protocol` is "udp", "tcp", "tls", "ws", "wss" or "memory" (two cores in one process). `local` is the
    address of the listener whose socket is used. `connection` numbers connections from 1; 0 is a datagram
    flow or, in a Transmit, "use or open a connection to `remote`". `name` is the host that was asked for
    before it was looked up, where a certificate has to prove it (RFC 5922 §7.3); "" on connections that were
    accepted.
    """

    protocol: str
    local: Address
    remote: Address
    connection: int = 0
    name: str = ""

    @property
    def reliable(self) -> bool:
        """Does the transport itself see to delivery (RFC 3261 §17)?"""
        return self.protocol in RELIABLE


@quick
@dataclass(frozen=True, slots=True)
class ListeningPoint:
    """A bound socket, and what Via and Contact say of it (RFC 3261 §18.1.1).

    `host` and `port` are what peers are told: the bound address, or the configured `sip.advertise`; port 0
    means that none is told. `reuse`: requests ask the peer to use the connection in both directions (the
    alias of RFC 5923, for which both sides must have shown certificates).
    """

    protocol: str
    local: Address
    host: str
    port: int
    reuse: bool = False

    @property
    def sent_by(self) -> str:
        """`host:port` as Via says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def transport(self) -> str:
        """The transport parameter of URIs: "ws" for both kinds of WebSocket (RFC 7118 §5.2)."""
        return "ws" if self.protocol == "wss" else self.protocol


@dataclass(slots=True)
class Transmit:
    """Bytes for one flow. `trace` is the id of the request or datagram that caused them."""

    data: bytes
    flow: Flow
    trace: str = ""
