"""Where bytes come from and go to.

A `Flow` is the value a driver makes for each datagram or connection; the core never opens anything, it only
names a flow. A `Transmit` is one message on its way out.
"""

from dataclasses import dataclass

from sipbridge.values import quick

Address = tuple[str, int]
"""Host as IP address text (IPv6 without brackets) and port."""

RELIABLE = frozenset({"tcp", "tls", "ws", "wss", "memory"})


@quick
@dataclass(frozen=True, slots=True)
class Flow:
    """One path between two addresses.

    `protocol` is "udp", "tcp" or "memory" (two cores in one process). `local` is the address of the listener
    whose socket is used. `connection` numbers stream connections from 1; 0 is a datagram flow or, in a
    Transmit, "use or open a connection to `remote`".
    """

    protocol: str
    local: Address
    remote: Address
    connection: int = 0

    @property
    def reliable(self) -> bool:
        """Does the transport itself see to delivery (RFC 3261 §17)?"""
        return self.protocol in RELIABLE


@quick
@dataclass(frozen=True, slots=True)
class ListeningPoint:
    """A bound socket, and what Via and Contact say of it (RFC 3261 §18.1.1).

    `host` and `port` are what peers are told: the bound address, or the configured `sip.advertise`.
    """

    protocol: str
    local: Address
    host: str
    port: int


@dataclass(slots=True)
class Transmit:
    """Bytes for one flow. `trace` is the id of the request or datagram that caused them."""

    data: bytes
    flow: Flow
    trace: str = ""
