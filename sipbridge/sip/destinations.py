"""Where the requests of one core can go: names looked up, and destinations to be left alone for a while.

Sans-IO: `expand` turns a candidate (the text of a URI, a target) into the next finer ones, down to flows, or
says which questions DNS has to answer first; `receive` takes an answer. Answers are kept for their time to
live (RFC 1035 §3.2.1, RFC 2308), at least MIN_TTL seconds, so that a burst asks once. When DNS stops
answering, what it said before is used on (RFC 8767). Where a URI leads is kept too, as long as all answers
behind that hold, unless lots have to be drawn (RFC 2782): the next request looks nothing up.

A destination that was silent or could not be reached is avoided for some time: it is tried only when no other
is left (RFC 3263 §4.3 asks to go on to the next; this list spares the following requests the wait). A 503
with Retry-After means more: until then nothing new is begun there (RFC 3261 §21.5.4), be it the only one;
what keeps something alive still goes there if there is no other, for many servers limit only what is new.
Whatever answers is taken off the list, but not that one for its answer to OPTIONS. Connections that are
there, and memory flows, are never on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from sipbridge.sip.flow import Address, Flow, ListeningPoint
from sipbridge.sip.locate import (
    MAX_SERVERS,
    Known,
    Servers,
    Target,
    flow_to,
    is_open,
    point_for,
    servers,
    target_of,
)
from sipbridge.sip.records import Answer, Kind, Question, plain_name
from sipbridge.uri import Uri

MIN_TTL = 1.0
"""Seconds for which an answer holds at least."""
MAX_TTL = 86400.0
"""And at most (RFC 8767 §4 allows a week; who moves a server does not want to wait that long)."""
FAILURE_LASTS = 15.0
"""Seconds before DNS is asked again what it could not answer (RFC 2308 §7: at most 300). A dead name server
costs three times its timeout, which not every request should pay that has another next hop."""
STALE_LASTS = 30.0
"""Seconds for which an old answer is used on when there is no new one (RFC 8767 §5)."""
MAX_ANSWERS = 8192
"""Answers kept; the oldest are forgotten."""
MAX_KEPT = 512
"""Characters of a URI that is remembered with where it leads: no address and parameters of a usual client
take half of them, and a stranger who pads his Contact shall not fill our memory."""
MAX_AVOIDED = 1024
"""Destinations avoided at the same time; the oldest is forgotten."""
MAX_HOLD = 300.0
"""Seconds for which a Retry-After is heeded for everybody: one answer must not cut all users off."""
REFUSAL_LASTS = 300.0
"""Seconds for which a destination that refused TCP gets large requests by UDP at once."""

K = TypeVar("K")
V = TypeVar("V")

Way = tuple[str, Address, str]
"""Transport, address, and the name that a certificate proves: what can be dead by itself."""


@dataclass(frozen=True, slots=True)
class Locating:
    """How destinations are found and given up.

    records: NAPTR and SRV are asked for; else addresses only. patience: seconds a destination may be silent
    while there is another. total: seconds after which a request with several destinations is given up, below
    the 30 that clients of HTTP usually wait. avoid: seconds for which one that failed is avoided; 0: not.
    """

    records: bool = True
    patience: float = 8.0
    total: float = 28.0
    avoid: float = 30.0


@dataclass(frozen=True, slots=True)
class Lead:
    """Where a URI leads: flows, and targets whose addresses are not known yet, in order; or questions.

    why: nowhere, for people.
    """

    ways: tuple[Flow | Target, ...]
    questions: tuple[Question, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A lead that serves again; `by_default`: only for what fits into a datagram."""

    until: float
    by_default: bool
    lead: Lead


@dataclass(frozen=True, slots=True)
class Avoided:
    """held: the peer itself asked for it."""

    until: float
    held: bool
    why: str


class Destinations:
    """What one core knows about names and destinations."""

    def __init__(
        self,
        points: Sequence[ListeningPoint],
        locating: Locating,
        fraction: Callable[[], float],
    ) -> None:
        self.points = tuple(points)
        self.locating = locating
        self.fraction = fraction
        self.speaks = frozenset(point.protocol for point in self.points)
        self.listening = frozenset((point.protocol, point.local) for point in self.points)
        self.answers: dict[Question, tuple[float, float, Answer]] = {}
        """Question to (when it came, until when it holds, what it says)."""
        self.kept: dict[str, Kept] = {}
        """Where URIs lead, as long as all answers behind that hold and no lots are drawn."""
        self.avoided: dict[Way, Avoided] = {}
        self.refusals: dict[Address, float] = {}

    # --- names ------------------------------------------------------------------------------------

    def lead(self, text: str, is_large: Callable[[], bool], now: float, since: float) -> Lead:
        """Where a URI leads, or what has to be asked first.

        is_large: does the request not fit into a datagram? since: when the request began; what was learnt
        after that holds for it in any case. Raises what `read` and `is_large` raise.
        """
        kept = self.kept.get(text)
        if kept is not None and kept.until > now and not (kept.by_default and is_large()):
            return kept.lead
        uri, itself, asks = read(text)
        by_default = itself.targets[0].by_default
        large = by_default and is_large()
        until = [now + MAX_TTL]

        def known(question: Question) -> Answer | None:
            found = self.answers.get(question)
            if found is None or (found[1] <= now and found[0] < since):
                return None
            until.append(found[1])
            return found[2]

        found = itself
        if asks and self.locating.records:
            found = servers(uri, self.speaks, known, self.fraction, large=large)
        ways: list[Flow | Target] = []
        for target in found.targets:
            if len(ways) >= MAX_SERVERS:
                break  # each may have as many addresses
            ways += self.flows(target, addresses(target, known) or (), is_large, now) or (target,)
        lead = Lead(tuple(ways[:MAX_SERVERS]), found.questions, found.why)
        short = len(text) <= MAX_KEPT
        if short and found.settled and not large and isinstance(next(iter(ways), None), Flow):
            if len(self.kept) >= MAX_ANSWERS:
                self.kept.clear()
            self.kept[text] = Kept(min(until), by_default, lead)
        return lead

    def addresses(self, target: Target, now: float, since: float) -> tuple[str, ...] | None:
        """The addresses of a target; None: ask for them (`address_question`)."""

        def known(question: Question) -> Answer | None:
            found = self.answers.get(question)
            return None if found is None or (found[1] <= now and found[0] < since) else found[2]

        return addresses(target, known)

    def failure(self, target: Target) -> str:
        """Why there is no address, for people."""
        found = self.answers.get(address_question(target))
        why = found[2].failure if found is not None else ""
        return why or f"{target.host} has no address"

    def receive(self, question: Question, answer: Answer, now: float) -> None:
        """DNS has answered, or has not."""
        lasts = min(max(answer.ttl, MIN_TTL), MAX_TTL)
        if answer.failure:
            lasts = FAILURE_LASTS
            before = self.answers.get(question)
            if before is not None and not before[2].empty:
                answer, lasts = before[2], STALE_LASTS
        self.answers.pop(question, None)
        keep(self.answers, question, (now, now + lasts, answer), MAX_ANSWERS)

    # --- flows ------------------------------------------------------------------------------------

    def flows(
        self, target: Target, addresses: Sequence[str], is_large: Callable[[], bool], now: float
    ) -> list[Flow]:
        """The ways to the addresses of a target, in order; none where no listener fits."""
        flows: list[Flow] = []
        large = target.by_default and target.protocol == "udp" and is_large()
        for address in addresses:
            if large and (by_tcp := self.by_tcp((address, target.port), now)) is not None:
                flows.append(by_tcp)
            point = point_for(self.points, target.protocol, address)
            if point is not None:
                flows.append(flow_to(point, target, address))
            elif target.by_default and (point := point_for(self.points, "tcp", address)):
                flows.append(Flow("tcp", point.local, (address, target.port)))
        return flows

    def by_tcp(self, remote: Address, now: float) -> Flow | None:
        """The way for what is too large for a datagram (RFC 3261 §18.1.1); None: it was refused lately."""
        point = point_for(self.points, "tcp", remote[0])
        if point is None or self.refusals.get(remote, now) > now:
            return None
        return Flow("tcp", point.local, remote)

    def has_listener(self, flow: Flow) -> bool:
        """Does the flow leave from a listening point of ours?"""
        return (flow.protocol, flow.local) in self.listening

    # --- what is avoided --------------------------------------------------------------------------

    def failed(self, flow: Flow, why: str, now: float) -> None:
        """It was silent or could not be reached; `why` is for people."""
        if self.locating.avoid:
            self.avoid(flow, Avoided(now + self.locating.avoid, False, why), now)

    def refused(self, flow: Flow, now: float) -> None:
        """A peer without TCP is not asked again for every large request (RFC 3261 §18.1.1)."""
        if flow.protocol == "tcp":
            self.refusals.pop(flow.remote, None)
            keep(self.refusals, flow.remote, now + REFUSAL_LASTS, MAX_AVOIDED)

    def hold(self, flow: Flow, seconds: float, now: float) -> None:
        """It answered 503 and asked to be left alone."""
        until = now + min(seconds, MAX_HOLD)
        self.avoid(flow, Avoided(until, True, "503, asked to be left alone"), now)

    def avoid(self, flow: Flow, avoided: Avoided, now: float) -> None:
        if flow.protocol != "memory" and not flow.connection:
            way = way_of(flow)
            self.avoided.pop(way, None)
            keep(self.avoided, way, avoided, MAX_AVOIDED)

    def answered(self, flow: Flow, *, probed: bool = False) -> None:
        """It is there. What it says to a probe does not say that it wants more work again."""
        if self.avoided:
            found = self.avoided.get(way_of(flow))
            if found is not None and not (probed and found.held):
                del self.avoided[way_of(flow)]

    def avoids(self, flow: Flow, now: float) -> Avoided | None:
        """Is it to be left alone?"""
        found = self.avoided.get(way_of(flow)) if self.avoided else None
        if found is not None and found.until <= now:
            del self.avoided[way_of(flow)]
            return None
        return found


def read(text: str) -> tuple[Uri, Servers, bool]:
    """A URI, where it leads without DNS, and whether records have a say.

    Raises ParseError, and LocalProtocolError when we cannot go there.
    """
    return read_again(text) if len(text) <= MAX_KEPT else read_anew(text)


def read_anew(text: str) -> tuple[Uri, Servers, bool]:
    """The work behind `read`."""
    uri = Uri.parse(text)
    target = target_of(uri)
    return uri, Servers((target,)), is_open(uri, target)


read_again = lru_cache(maxsize=8192)(read_anew)
"""The same few come often."""


def way_of(flow: Flow) -> Way:
    return (flow.protocol, flow.remote, flow.name)


def addresses(target: Target, known: Known) -> tuple[str, ...] | None:
    """The addresses of a target; None: they have not been asked for."""
    if not target.needs_lookup:
        return (target.host,)
    answer = known(address_question(target))
    return None if answer is None else answer.addresses


def address_question(target: Target) -> Question:
    return Question(Kind.ADDRESS, plain_name(target.host))


def keep(table: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember; beyond `most` the oldest is forgotten."""
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]
