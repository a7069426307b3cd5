"""Whom we believe without proof: trusted peers and the identities that they assert (RFC 3325).

In a trust domain (RFC 3324) a proxy has authenticated its user and says in P-Asserted-Identity who that is.
Only what comes from a trusted peer counts; from anybody else the header is no better than From and is passed
over. Who is asserted and asks for privacy (`Privacy: id`, §9.3) is judged as himself, and shown to others as
his From says. So a rule for `sip:anonymous@anonymous.invalid` is not about him: privacy keeps a name from
others (RFC 3323 §4.2), rules are about whom the network has authenticated (RFC 5025 §3.1.1.2), and who is
blocked must not escape that by asking for privacy. A peer is trusted by its address, or by a name that the
certificate of its connection proves (RFC 5922). An address can be forged over UDP: it should be one that only
the network itself can send from.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sipbridge.errors import ParseError
from sipbridge.sip.address import parse_addresses
from sipbridge.sip.flow import Flow
from sipbridge.sip.message import Request
from sipbridge.uri import Uri

ASSERTED = "P-Asserted-Identity"
PRIVACY = "Privacy"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def nobody(flow: Flow) -> frozenset[str]:
    """No certificate proves anything."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class TrustedPeers:
    """Networks, and names in lower case. proven: the names that the certificate behind a flow proves.

    alone: nobody else is served, unless digest proves who that is.
    """

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    proven: Callable[[Flow], frozenset[str]] = nobody
    alone: bool = False

    @classmethod
    def parse(
        cls,
        entries: Iterable[str],
        proven: Callable[[Flow], frozenset[str]] = nobody,
        *,
        alone: bool = False,
    ) -> "TrustedPeers":
        """Addresses and networks ("192.0.2.0/24"); what is neither is the name in a certificate."""
        networks, names = [], []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                names.append(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(names), proven, alone)

    def trusts(self, flow: Flow) -> bool:
        """Does this come from a trusted peer?"""
        if self.networks and self.is_near(flow.remote[0]):
            return True
        return bool(self.names) and not self.names.isdisjoint(self.proven(flow))

    def is_near(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False  # of a flow in memory
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)


NOBODY = TrustedPeers()


def asserted_identity(request: Request) -> Uri | None:
    """Who a trusted peer says it is: the sip or sips URI, else the tel URI (§9.1: one of each at most).

    None: nobody is named. Raises ParseError.
    """
    listed = [
        address.uri
        for line in request.headers.get_all(ASSERTED)
        for address in parse_addresses(line, ASSERTED)
    ]
    for schemes in (("sip", "sips"), ("tel",)):
        for uri in listed:
            if uri.scheme in schemes:
                return uri.address
    if listed:
        raise ParseError("names nobody by sip, sips or tel", field=ASSERTED)
    return None


def withholds_identity(request: Request) -> bool:
    """Does whoever asks want his asserted identity kept from others (RFC 3323 §4.2, RFC 3325 §9.3)?"""
    return any(
        wish.strip().lower() == "id"
        for line in request.headers.get_all(PRIVACY)
        for wish in line.replace(",", ";").split(";")
    )
