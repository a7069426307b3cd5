"""Is a presence server there, and does it still know us? And when it comes back: everything again, in turn.

    up          it answers
    suspect     it does not, or it has lost something: what is known from it may be old
    recovering  it has answered again; each publication and each subscription there gets its turn

While publications or subscriptions live at the peer it gets an OPTIONS every so often (RFC 3261 §11); any
final response shows that somebody is there, except those by which a proxy says that nobody is. A probe that
gets no answer in time or cannot be sent, or the news that the peer has forgotten a dialog (481) or an
entity-tag (412) makes it suspect. Its first answer starts the recovery: first all registrations are
refreshed, for it may hear only who is registered, then all publications, so that no watcher sees somebody
without them, then all subscriptions, shuffled, within the budget that they share with whatever they cause. A
publication that the peer has accepted since it became suspect needs no refresh. A peer that turns out to have
forgotten nearly everything gets new SUBSCRIBEs at once, without being asked in dialogs that it does not know.

A request of ours that has no answer, or cannot be sent, is probed after and nothing more: in a dialog it goes
where the dialog leads, which need not be where the peer is. If the peer answers the probe, a subscription
whose refresh could not be sent gets a new dialog. Where no probes are sent it gets one at once.

The same goes for a request by whose answer somebody says that nobody is there: one PUBLISH that gets 503 says
little of a server that answers OPTIONS. Where nothing lives that could be probed for, the last word counts.

A peer may forget one dialog for reasons of its own, so that alone starts a recovery only now and then: after
one in which hardly anything else was forgotten the next has to wait twice as long. And one that never answers
OPTIONS, but our requests, is not asked that way any more.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sipbridge.events.budget import Budget
from sipbridge.events.publisher import Publication, Publisher
from sipbridge.events.registration import Registrant, Registration
from sipbridge.events.subscriber import Subscriber, Subscription
from sipbridge.events.waiting import Alarm
from sipbridge.sip.address import NameAddr
from sipbridge.sip.message import Response
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.user_agent import ClientRequest, UserAgent
from sipbridge.uri import Uri

INTERVAL = 10.0
"""Seconds between two probes."""

PATIENCE = 4.0
"""Seconds an answer to a probe may take: four copies of it have left by then (RFC 3261 §17.1.2.2)."""

SUSPECT_INTERVAL = 2.0
"""Seconds between probes of a suspect peer, when the last one has failed for good."""

NOBODY_THERE = frozenset({408, 503, 504})
"""Answers that do not show a peer that works (RFC 3261 §21.4.9, §21.5.4, §21.5.5)."""

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0
"""Seconds after a recovery in which something forgotten does not start another."""

AT_ONCE = 0.4
"""Seconds' worth of requests that may be unanswered: less than after which they are sent again (T1)."""

ALL_FORGOTTEN = 0.8
"""The share of what could tell that has to be forgotten, for the rest to count as forgotten, too ..."""
MANY = 5
"""... and the least number of them."""

DEAF = 2
"""So often a peer may answer requests and not OPTIONS."""


Usage = Registration | Publication | Subscription


class PeerState(StrEnum):
    UP = "up"
    SUSPECT = "suspect"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class PeerSuspect:
    """A peer does not answer, or has forgotten something. why: for people."""

    peer: str
    why: str


@dataclass(frozen=True, slots=True)
class PeerBack:
    """A suspect peer has answered. usages: publications and subscriptions that are refreshed now."""

    peer: str
    usages: int


@dataclass(frozen=True, slots=True)
class PeerRecovered:
    """Everything has been asked for again. forgotten: how much of it the peer did not know."""

    peer: str
    usages: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class PeerDeaf:
    """A peer answers requests and no OPTIONS; it is not probed any more."""

    peer: str


class PeerWatch:
    """Watches one peer. Its usages are those whose policy has its budget."""

    def __init__(
        self,
        ua: UserAgent,
        publisher: Publisher,
        subscriber: Subscriber,
        policy: PeerPolicy,
        budget: Budget,
        interval: float = INTERVAL,
        registrant: Registrant | None = None,
    ) -> None:
        """interval: seconds between probes, 0: never. `policy.turns` is the budget."""
        self.ua = ua
        self.publisher = publisher
        self.subscriber = subscriber
        self.registrant = registrant
        self.policy = policy
        self.budget = budget
        self.interval = interval
        self.state = PeerState.UP
        self.since: float | None = None
        """When it came into this state; None: it has been so from the start."""
        self.suspected_at = 0.0
        self.next_look = Alarm(ua, self.look)
        self.next_turn = Alarm(ua, self.go_on)
        self.client: ClientRequest | None = None
        self.probed = 0.0
        self.heard = 0.0
        self.hears = False
        """Has it ever answered OPTIONS?"""
        self.deaf = 0
        self.dead_ends: set[str] = set()
        """Subscriptions whose refresh could not be sent since the last probe."""
        self.queue: deque[Usage] = deque()
        self.asked = self.telling = self.lost = 0
        """So many were asked for; so many of them could tell whether they were forgotten, and were."""
        self.unanswered: list[tuple[float, Usage]] = []
        """What was asked for, and when, until its answer comes."""
        self.pause = FIRST_PAUSE
        self.not_before = 0.0

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def probes(self) -> bool:
        """Is it asked by OPTIONS?"""
        return self.interval > 0 and self.deaf < DEAF

    @property
    def attentive(self) -> bool:
        """Would any sign of life matter at the moment?"""
        return self.state is PeerState.SUSPECT or self.client is not None

    # --- what is known of it ----------------------------------------------------------------------

    def used(self, now: float) -> None:
        """Something of ours begins to live there: the probes begin."""
        if self.next_look.deadline is None and self.client is None and self.probes:
            spread = 0.5 + 0.5 * self.ua.identifiers.fraction()
            self.next_look.set(now + self.interval * spread)

    def answered(self, now: float) -> None:
        """It has sent something that shows that it is there."""
        self.heard = now
        if self.state is not PeerState.SUSPECT:
            return
        if self.client is not None and not self.hears:
            self.deaf += 1
            if not self.probes:
                self.ua.report(PeerDeaf(self.name))
        self.recover(now)

    def failed(self, why: str, now: float, subscription: str = "") -> None:
        """A request had no answer ("timeout"), or could not be sent ("transport").

        subscription: the id of the one whose refresh it was, "" for another request.
        """
        if not self.probes or not self.is_used:
            if not self.subscriber.leave_dialog(subscription, now):
                self.suspect(why, now)  # else the new SUBSCRIBE decides
            return
        if why == "transport" and subscription:
            self.dead_ends.add(subscription)
        if self.client is None:
            self.next_look.set(now)  # it may be unanswered for reasons of its own

    def refused(self, status: int, now: float) -> None:
        """A request got one of `NOBODY_THERE`.

        Without probes it is passed over, for whoever is overloaded is not helped by refreshes of everything.
        """
        if not self.is_used:
            self.suspect(f"a request got {status}", now)
        elif self.probes and self.client is None and now - self.probed >= SUSPECT_INTERVAL:
            self.next_look.set(now)

    def forgot(self, now: float) -> None:
        """It has forgotten a dialog or an entity-tag."""
        self.heard = now
        if self.state is PeerState.RECOVERING:
            self.lost += 1
        elif self.state is PeerState.UP and now >= self.not_before:
            self.suspect("it has forgotten something", now)
            self.lost = 1
            if not self.probes:
                self.recover(now)

    def suspect(self, why: str, now: float) -> None:
        if self.state is PeerState.SUSPECT:
            return
        self.state, self.since = PeerState.SUSPECT, now
        self.suspected_at = now
        self.next_turn.cancel()
        self.queue.clear()
        self.unanswered.clear()
        self.dead_ends.clear()
        self.lost = 0
        self.ua.report(PeerSuspect(self.name, why))
        if self.probes and self.client is None:
            self.next_look.set(now)

    # --- probes -----------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """A probe is due, or one is late."""
        if self.client is not None:
            if self.heard < self.probed:
                self.suspect("a probe had no answer", now)
            return  # it is not given up: a copy of it may be what is answered first
        if self.probes and (usage := next(iter(self.usages()), None)) is not None:
            self.probe(usage, now)

    def probe(self, usage: Usage, now: float) -> None:
        """One OPTIONS to the domain of a usage, on the way that its requests take."""
        sender = usage.from_.uri if isinstance(usage, Publication) else usage.identity
        whom = sender
        if not isinstance(usage, Registration):
            whom = usage.entity if isinstance(usage, Publication) else usage.target
        target = Uri("sip", host=whom.host or sender.host, port=whom.port)
        request = self.ua.new_request(
            "OPTIONS",
            target,
            from_=NameAddr.parse(f"<{sender}>"),
            to=NameAddr.parse(f"<{target}>"),
        )
        self.probed = now
        self.client = self.ua.request(request, self, now, policy=self.policy, sustains=True)
        self.next_look.set(now + min(PATIENCE, self.interval))

    def receive_response(self, response: Response, now: float) -> None:
        self.client = None
        if response.status in NOBODY_THERE:
            self.probe_failed(f"a probe got {response.status}", now)
            return
        self.hears, self.deaf, self.heard = True, 0, now
        while self.dead_ends:
            self.subscriber.leave_dialog(self.dead_ends.pop(), now)
        if self.state is PeerState.SUSPECT:
            self.recover(now)
        self.plan(now)

    def request_failed(self, reason: str, now: float) -> None:
        self.client = None
        self.probe_failed(f"a probe had no answer: {reason}", now)

    def probe_failed(self, why: str, now: float) -> None:
        if self.heard < self.probed:
            self.suspect(why, now)
        self.plan(now)

    def plan(self, now: float) -> None:
        """The next probe."""
        longest = self.interval
        if self.state is PeerState.SUSPECT:
            longest = min(longest, SUSPECT_INTERVAL)
        self.next_look.set(now + longest * (0.9 + 0.1 * self.ua.identifiers.fraction()))

    # --- recovery ---------------------------------------------------------------------------------

    def usages(self) -> Iterable[Usage]:
        """What of ours lives there, in the order in which it is refreshed."""
        for registration in self.registrant.registrations.values() if self.registrant else ():
            if registration.policy.turns is self.budget and not registration.removal_asked:
                yield registration
        for publication in self.publisher.publications.values():
            if publication.policy.turns is self.budget:
                yield publication
        for subscription in self.subscriber.subscriptions.values():
            if subscription.policy.turns is self.budget and not subscription.once:
                yield subscription

    def recover(self, now: float) -> None:
        """It is there again: ask for everything, in turn."""
        self.state, self.since = PeerState.RECOVERING, now
        there = list(self.usages())
        spread = {id(one): self.ua.identifiers.fraction() for one in there}
        order = {Registration: 0, Publication: 1, Subscription: 2}
        there.sort(key=lambda one: (order[type(one)], spread[id(one)]))
        self.queue = deque(there)
        self.asked = self.telling = 0
        self.ua.report(PeerBack(self.name, len(there)))
        self.next_turn.set(now + self.budget.delay(now))

    def go_on(self, now: float) -> None:
        """The turn of one usage. After the last one the peer counts as up."""
        if (late := self.budget.delay(now, again=True)) > 0:
            self.next_turn.set(now + late)
            return
        while self.queue and self.is_fresh(self.queue[0]):
            self.queue.popleft()
        if not self.queue:
            self.recovered(now)
            return
        if self.is_slow(now):
            self.next_turn.set(now + self.budget.delay(now))
            return
        usage = self.queue.popleft()
        self.asked += 1
        self.unanswered.append((now, usage))
        if isinstance(usage, Registration):
            usage.registrant.refresh(usage.id, now)
        elif isinstance(usage, Publication):
            self.telling += 1
            self.publisher.refresh(usage.id, now)
        elif self.has_forgotten_all:
            self.subscriber.renew(usage.id, now)
        else:
            self.telling += 1
            self.subscriber.refresh(usage.id, now, conditional=True)
        self.next_turn.set(now + self.budget.delay(now))

    def is_fresh(self, usage: Usage) -> bool:
        """Has the peer accepted it since then? So it has where a forgotten entity-tag began all this."""
        if not isinstance(usage, Publication) or usage.accepted_at is None:
            return False
        return usage.accepted_at >= self.suspected_at

    def is_slow(self, now: float) -> bool:
        """Does it still work on what came before? Then more of it would only come twice.

        What waits longer than an answer may take is passed over: it may wait for reasons of its own.
        """
        since = now - PATIENCE
        self.unanswered = [
            (at, usage) for at, usage in self.unanswered if at > since and usage.client is not None
        ]
        return len(self.unanswered) >= max(self.budget.rate * AT_ONCE, 1.0)

    @property
    def is_used(self) -> bool:
        """Does anything of ours live there?"""
        return next(iter(self.usages()), None) is not None

    @property
    def has_forgotten_all(self) -> bool:
        return self.lost >= MANY and self.lost >= ALL_FORGOTTEN * (self.telling - MANY)

    def recovered(self, now: float) -> None:
        self.state, self.since = PeerState.UP, now
        worth_it = self.lost >= MANY or 2 * self.lost >= self.telling
        self.pause = FIRST_PAUSE if worth_it else min(2 * self.pause, LONGEST_PAUSE)
        self.not_before = now + self.pause
        self.ua.report(PeerRecovered(self.name, self.asked, self.lost))
