"""Which server next (RFC 3263 §4, RFC 3261 §8.1.2 and §18.1.1, RFC 2782, RFC 7118 §5.1).

Pure functions from a URI, and from what DNS has said so far, to `Target`s, and from targets and addresses to
flows. The core asks no DNS: `servers` returns either the targets in the order in which they are to be tried,
or the questions that have to be answered first; whoever calls it asks and calls again.

1. `maddr` goes before the host (§4). An address, or a name with a port, needs no NAPTR and no SRV: its
   transport is the one the URI names, else UDP, of a sips URI TLS (§4.1); its port is the URI's, else that of
   the transport (§4.2).
2. A name with a transport and without port: SRV of that transport. "_sips" stands before TLS, "_sip" before
   everything else.
3. A bare name: NAPTR. Of its rules those count that have flag "s", no expression, and a service we speak; for
   a sips URI only those of SIPS. The lowest order among them decides (RFC 3403 §4.1), the preference sorts.
4. No such rule: SRV of UDP and TCP, of a sips URI that of TLS. UDP is asked first, but a request too large
   for a datagram takes what has another transport, be it a rule or a server, first (RFC 3261 §18.1.1).
5. Nothing at all: the name's addresses, UDP and port 5060, TLS and port 5061 of a sips URI. A target knows
   whether UDP was only the default, because only then may a large request travel by TCP.

A service whose only server is "." is not offered, and then the name's addresses are not tried (RFC 2782).
Without records (`dns = false`) steps 2 to 4 fall away. A certificate has to prove the name that was asked
for, not the server that DNS named (RFC 5922 §4). In-memory listeners have names and are never looked up.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import SECURE, Address, Flow, ListeningPoint
from sipbridge.sip.records import Answer, Kind, Naptr, Question, in_order, plain_name
from sipbridge.uri import DEFAULT_PORTS, Uri

TRANSPORTS = frozenset({"udp", "tcp", "tls", "ws", "wss", "memory"})
"""Transports this version speaks. A URI has no "wss"; clients in the field write it all the same."""

SECURED = {"": "tls", "tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}
"""What the transport parameter of a sips URI means."""

PORTS = {"tls": DEFAULT_PORTS["sips"], "ws": 80, "wss": 443}
"""Where a URI names no port (§19.1.2, RFC 6455 §3); of all others it is 5060."""

NAPTR_SERVICES = {
    "SIP+D2U": "udp",
    "SIP+D2T": "tcp",
    "SIPS+D2T": "tls",
    "SIP+D2W": "ws",
    "SIPS+D2W": "wss",
}
"""RFC 3263 §4.1, RFC 7118 §5.1."""

SRV_SERVICES = {
    "udp": "_sip._udp",
    "tcp": "_sip._tcp",
    "tls": "_sips._tcp",
    "ws": "_sip._ws",
    "wss": "_sips._ws",
}

WITHOUT_NAPTR = {False: ("udp", "tcp"), True: ("tls",)}
"""Whose SRV records are asked for when no rule says anything, by "is it a sips URI?"."""

MAX_SERVERS = 32
"""Servers of one name that are considered; the largest operators have a dozen."""

MAX_SERVICES = 8
"""Services of one domain that are considered, a question to DNS each; there are five that we speak."""

LARGE = 1300
"""Bytes above which a request leaves UDP when the path's MTU is not known (§18.1.1)."""

Known = Callable[[Question], Answer | None]
"""What DNS has said; None: it has not been asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to send to. `by_default`: nobody asked for this transport.

    domain: whose certificate is expected where it is not the host's: DNS named the host for this name.
    """

    protocol: str
    host: str
    port: int
    by_default: bool = False
    domain: str = ""

    @property
    def needs_lookup(self) -> bool:
        """Is the host a name that DNS has to explain?"""
        return self.protocol != "memory" and not is_address(self.host)

    def __str__(self) -> str:
        return destination_text(self.protocol, (self.host, self.port))


@dataclass(frozen=True, slots=True)
class Servers:
    """Targets in order, or questions to be answered first.

    settled: another call would give the same, there was nothing to draw lots about. why: there are no targets
    and never will be, for people.
    """

    targets: tuple[Target, ...] = ()
    questions: tuple[Question, ...] = ()
    settled: bool = True
    why: str = ""

    @property
    def is_void(self) -> bool:
        """Is there no record at all?"""
        return not (self.targets or self.questions or self.why)


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


# --- what the URI says --------------------------------------------------------------------------------


def target_of(uri: Uri) -> Target:
    """Where a URI leads by itself, without DNS. Raises LocalProtocolError when we cannot go there."""
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
    """The targets of several URI texts, in order, without DNS."""
    return [target_of(Uri.parse(uri)) for uri in uris]


def is_open(uri: Uri, target: Target) -> bool:
    """Do NAPTR or SRV records have a say in where this URI leads (§4.1, §4.2)?"""
    return uri.port is None and target.needs_lookup


# --- what DNS says ------------------------------------------------------------------------------------


def servers(
    uri: Uri,
    speaks: Collection[str],
    known: Known,
    fraction: Callable[[], float],
    *,
    large: bool = False,
) -> Servers:
    """The servers of a URI for which `is_open`, in order.

    speaks: the transports we can leave by. fraction: random numbers in [0, 1). large: does the request not
    fit into a datagram? Raises LocalProtocolError when we cannot go there.
    """
    target = target_of(uri)
    name = plain_name(target.host)
    if uri.parameter("transport"):
        return or_itself(
            of_services([usual(target.protocol, name)], target, known, fraction), target
        )
    question = Question(Kind.NAPTR, name)
    rules = known(question)
    if rules is None:
        return Servers(questions=(question,))
    secure = uri.scheme == "sips"
    named = services_of(rules.naptrs, secure, speaks)
    found = of_services(small_last(named, large), target, known, fraction)
    if found.is_void:
        named = [usual(protocol, name) for protocol in WITHOUT_NAPTR[secure] if protocol in speaks]
        found = of_services(small_last(named, large), target, known, fraction)
    return or_itself(found, target)


Service = tuple[str, str]
"""Transport, and the name of its SRV records."""


def usual(protocol: str, name: str) -> Service:
    """The SRV records of a transport where no rule names others (§4.1)."""
    return protocol, f"{SRV_SERVICES[protocol]}.{name}"


def services_of(rules: Iterable[Naptr], secure: bool, speaks: Collection[str]) -> list[Service]:
    """What the rules of a domain offer to us, the preferred first (§4.1, RFC 3403 §4.1)."""
    fits = []
    for rule in rules:
        protocol = NAPTR_SERVICES.get(rule.service.upper(), "")
        if protocol not in speaks or (secure and protocol not in SECURE):
            continue
        if rule.flags.lower() == "s" and not rule.regexp and rule.replacement:
            fits.append((rule.order, rule.preference, protocol, plain_name(rule.replacement)))
    fits.sort()
    first = [(protocol, name) for order, _, protocol, name in fits if order == fits[0][0]]
    return first[:MAX_SERVICES]


def small_last(named: list[Service], large: bool) -> list[Service]:
    """Datagrams last, if the request does not fit into one."""
    return sorted(named, key=lambda service: service[0] == "udp") if large else named


def of_services(
    named: Sequence[Service], target: Target, known: Known, fraction: Callable[[], float]
) -> Servers:
    """The servers of some services in order, or the questions about them that are open."""
    asked = [(protocol, Question(Kind.SRV, name)) for protocol, name in named]
    answers = [(protocol, question, known(question)) for protocol, question in asked]
    missing = tuple(question for _, question, answer in answers if answer is None)
    if missing:
        return Servers(questions=missing)
    targets: list[Target] = []
    settled, refused = True, ""
    for protocol, question, answer in answers:
        records = answer.srvs if answer is not None else ()
        by_default = target.by_default and protocol == "udp"
        for one in in_order(records, fraction):
            if one.target:
                targets.append(Target(protocol, one.target, one.port, by_default, target.host))
            else:
                refused = f"{question} says that there is no such service"
        settled = settled and len({one.priority for one in records}) == len(records)
    return Servers(tuple(targets[:MAX_SERVERS]), (), settled, "" if targets else refused)


def or_itself(found: Servers, target: Target) -> Servers:
    """Without any record the name itself is the server, at the port of its transport (§4.2)."""
    return Servers((target,)) if found.is_void else found


# --- from where, and to which address -----------------------------------------------------------------


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
    name = (target.domain or target.host) if target.protocol in SECURE else ""
    return Flow(target.protocol, point.local, (address, target.port), 0, name)
