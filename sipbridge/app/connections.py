"""What the configuration says of SIP's connections, made into values for the drivers.

The pages that may open a SIP WebSocket are those of `http.allowed_origins`: who may use the bridge from a
browser is one decision, and two lists would drift apart.
"""

from collections.abc import Callable, Iterable

from sipbridge.app.settings_tree import Endpoint, Mode, Settings, name_server
from sipbridge.sip.destinations import Locating
from sipbridge.sip.flow import SECURE
from sipbridge.sip.locate import target_of
from sipbridge.transports.resolver import Count, Resolver
from sipbridge.transports.tcp import Rules
from sipbridge.transports.tls import KeyPair, Tls
from sipbridge.uri import Uri

Report = Callable[[object], None]


def nobody(said: object) -> None:
    """Before anybody listens."""


def secure_listeners(settings: Settings) -> list[Endpoint]:
    return [point for point in settings.sip.endpoints if point.protocol in SECURE]


def asks_for_tls(settings: Settings) -> bool:
    """Does any presence server have to be reached by TLS?"""
    servers = (settings.presence_server, *settings.presence_servers)
    hops = (hop for s in servers if s.mode is Mode.REMOTE for hop in s.next_hop)
    return any(target_of(Uri.parse(hop)).protocol in SECURE for hop in hops)


def key_pairs(settings: Settings) -> Iterable[KeyPair]:
    """The certificates, with the section of each."""
    tls = settings.sip.tls
    if tls.cert is not None and tls.key is not None:
        yield KeyPair(tls.cert, tls.key)
    for n, more in enumerate(tls.certificates):
        if more.cert is not None and more.key is not None:
            yield KeyPair(more.cert, more.key, f"sip.tls.certificates[{n}]")


def tls_of(settings: Settings, report: Report = nobody) -> Tls | None:
    """The certificates; None where nothing needs them. Raises ConfigurationError."""
    pairs = list(key_pairs(settings))
    tls = settings.sip.tls
    if not (pairs or tls.ca or secure_listeners(settings) or asks_for_tls(settings)):
        return None
    return Tls(pairs, ca=tls.ca, verify=tls.verify.value, report=report)


def locating_of(settings: Settings) -> Locating:
    """How destinations are found and given up."""
    sip = settings.sip
    return Locating(sip.dns, sip.failover_after, avoid=sip.avoid_failed)


def resolver_of(settings: Settings, count: Count = lambda kind, outcome: None) -> Resolver:
    """Who asks DNS."""
    sip = settings.sip
    servers = tuple(map(name_server, sip.name_servers))
    return Resolver(records=sip.dns, servers=servers, timeout=sip.dns_timeout, count=count)


def rules_of(settings: Settings, report: Report) -> Rules:
    """For all drivers of a bridge. Raises ConfigurationError."""
    origins = (origin.rstrip("/").lower() for origin in settings.http.allowed_origins)
    return Rules(
        tls_of(settings, report), settings.limits.connections_per_address, frozenset(origins)
    )
