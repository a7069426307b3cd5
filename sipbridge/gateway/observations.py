"""Fronts that look at whole documents: who looks at whom for them, what there is to see, when that changes.

BEMS and Webex-style clients see one status, derived from a document, and not attributes. Such a front
*observes* a presentity for a caller. An observation is a subscription to all attributes with a record of its
own, which stands beside the application's own request: it is in the list of open subscriptions under the
front's label, is granted, blocked and revoked like any other, and what it shows is cut by the same filter.
Nothing of it goes to the application's notifications. Whoever counts users of an observation (sessions,
handles) is the front: it begins one and ends one.

`sight` is what a watcher may see of a presentity at this moment. A front is told each time that may have
changed, and derives again.

A subscription may end although it is still wanted. If the presentity blocked the watcher, it is made again
when the presentity grants something; if its server refused, never by itself; after any other end, and where
it could not be made again, a while later. Until then there is nothing to see.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum

from sipbridge.errors import AgainstPolicy, GatewayError, SipBridgeError
from sipbridge.gateway.authorization import ALL_KINDS
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    Clock,
    PresenceNetwork,
    PresenceUpdate,
    Reference,
    SubscriptionRecord,
)
from sipbridge.gateway.registry import Pair, Registry, View
from sipbridge.gateway.subscriptions import Subscriptions
from sipbridge.gateway.watcher import Watchers
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence.filtering import apply
from sipbridge.presence.model import Presence
from sipbridge.uri import Uri

AGAIN = 60.0
"""Seconds after which a subscription that failed is tried again."""
NOWHERE = Reference("", "")
EVERYTHING = tuple(kind.value for kind in AttributeKind)

Changed = Callable[[Pair, str], None]
"""A front's ear: what this watcher may see of this presentity may have changed. The text is a trace."""


class Standing(StrEnum):
    """Why there is, or is not, something to see."""

    ACTIVE = "active"
    SILENT = "silent"
    """It may be seen, and the presence server says nothing."""
    PENDING = "pending"
    """Nobody has decided yet."""
    REFUSED = "refused"
    """Blocked, or what it takes was not granted."""
    ENDED = "ended"
    """There is no subscription: it failed, or the person is not known."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a watcher may see of a presentity now. document: filtered; there is one if and only if ACTIVE.

    stale: its server does not answer, or has lost us; the document may be old.
    """

    standing: Standing
    document: Presence | None = None
    granted: frozenset[AttributeKind] = frozenset()
    stale: bool = False


@dataclass(slots=True)
class Observation:
    """One front's wish to see a presentity for an application's watcher."""

    caller: Caller
    presentity: Uri
    key: PresentityKey
    front: str
    label: str

    @property
    def pair(self) -> Pair:
        return (self.caller.key, self.key)

    @property
    def holder(self) -> str:
        return f"{self.caller.application}/{self.front}"


class Observations:
    """All observations of all fronts."""

    def __init__(
        self,
        registry: Registry,
        watchers: Watchers,
        subscriptions: Subscriptions,
        decisions: Decisions,
        network: PresenceNetwork,
        clock: Clock,
        deadlines: Deadlines,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.registry = registry
        self.watchers = watchers
        self.subscriptions = subscriptions
        self.decisions = decisions
        self.network = network
        self.clock = clock
        self.deadlines = deadlines
        self.spawn = spawn
        self.fronts: dict[str, Changed] = {}
        """Who is told, by the name of the front."""
        self.of_pair: dict[Pair, dict[str, Observation]] = {}
        """By holder."""
        subscriptions.observation_ended = self.ended
        watchers.decided = self.decided
        watchers.contracts.observed = self.report

    # --- what fronts ask ---

    async def begin(self, caller: Caller, presentity: Uri, front: str, label: str) -> PresentityKey:
        """Observe; the key of the presentity. One that exists goes on.

        Raises InvalidValue, UnknownPresentity, AgainstPolicy (a group), SignallingError, StoreError: then
        there is no observation, unless there was one before.
        """
        wanted = self.wanted(caller, presentity, front, label)
        before = self.find(wanted)
        self.of_pair.setdefault(wanted.pair, {})[wanted.holder] = before or wanted
        try:
            await self.make(before or wanted)
        except BaseException:
            if before is None:
                self.forget(wanted)
            raise
        return wanted.key

    def wanted(self, caller: Caller, presentity: Uri, front: str, label: str) -> Observation:
        """Raises InvalidValue, UnknownPresentity, AgainstPolicy."""
        self.watchers.check_presentity(presentity)
        key = self.watchers.identities.canonical(presentity)
        if key in self.watchers.groups or key in self.watchers.lists:
            raise AgainstPolicy(f"{presentity} is a group", rule="group", part="presentity")
        return Observation(caller, presentity, key, front, label)

    def end(self, application: str, pair: Pair, front: str, trace: str = "") -> None:
        """The front does not want to see this presentity for this watcher any more."""
        holder = f"{application}/{front}"
        observation = self.of_pair.get(pair, {}).get(holder)
        if observation is not None:
            self.forget(observation)
        if (record := self.registry.subscription(holder, pair)) is not None:
            self.subscriptions.leave(record, trace)

    def adopt(self, caller: Caller, presentity: Uri, front: str, label: str) -> None:
        """After a restart: an observation of before. If its subscription was not kept, it is made again."""
        key = self.watchers.identities.canonical(presentity)
        observation = Observation(caller, presentity, key, front, label)
        self.of_pair.setdefault(observation.pair, {})[observation.holder] = observation
        if self.record(observation) is None:
            self.spawn(self.again(observation))

    def sight(self, pair: Pair) -> Sight | None:
        """What there is to see now; None while the presence server has not said anything yet."""
        view = self.registry.views.get(pair)
        if view is None and pair in self.registry.subscriptions:
            return None
        if view is not None and not view.live and view.document is None:
            return None
        return self.seen(pair, view)

    def is_stale(self, pair: Pair) -> bool:
        """May what this watcher sees be old? Its server is silent, or has lost the subscription."""
        view = self.registry.views.get(pair)
        if view is None or not view.stale:
            return False
        sight = self.sight(pair)
        return sight is not None and sight.stale

    async def look(self, caller: Caller, presentity: Uri) -> Sight:
        """What there is to see now, asked once; nothing is observed. A wait as Get User Presence has it."""
        key = self.watchers.identities.canonical(presentity)
        pair = (caller.key, key)
        try:
            self.watchers.check_presentity(presentity)
        except GatewayError:
            return Sight(Standing.ENDED)
        if pair in self.registry.subscriptions:
            await self.watchers.fetch(caller, pair, presentity)
            return self.sight(pair) or Sight(Standing.PENDING)
        if self.decisions.decided_by_rules(key):
            decision = self.decisions.of(pair)
            if AttributeKind.ACTIVITY not in decision.granted:  # whatever the network would say
                denied = decision.blocked or AttributeKind.ACTIVITY in decision.denied
                return Sight(Standing.REFUSED if denied else Standing.PENDING)
        update = await self.network.fetch(caller, presentity, self.decisions.policy.fetch_wait)
        return self.seen(pair, as_view(update))

    # --- what there is to see ---

    def seen(self, pair: Pair, view: View | None) -> Sight:
        """What a view shows to this watcher, as far as decisions allow."""
        decision = self.decisions.of(pair)
        if decision.blocked:
            return Sight(Standing.REFUSED)
        if view is None:
            return Sight(Standing.ENDED)
        if view.state == "pending":
            return Sight(Standing.PENDING)
        granted = decision.granted
        if not self.decisions.decided_by_rules(pair[1]):
            granted = ALL_KINDS  # its server decided: what it shows may be seen
        granted &= view.shown
        if AttributeKind.ACTIVITY not in granted:
            denied = AttributeKind.ACTIVITY in decision.denied
            return Sight(Standing.REFUSED if denied else Standing.PENDING)
        if view.document is None:
            return Sight(Standing.SILENT)
        document = view.document
        if decision.permission is not None:
            document = apply(document, decision.permission)
        return Sight(Standing.ACTIVE, document, granted, view.stale)

    # --- news ---

    def report(self, pair: Pair, trace: str = "") -> None:
        """What this pair's watcher may see may be something else now: tell the fronts that observe it."""
        observations = self.of_pair.get(pair)
        if observations:
            for front in {observation.front for observation in observations.values()}:
                self.fronts[front](pair, trace)

    def decided(self, pair: Pair, trace: str = "") -> None:
        """The presentity decided about this watcher: what had ended may be wanted again."""
        for observation in list(self.of_pair.get(pair, {}).values()):
            if self.record(observation) is None and not self.decisions.of(pair).blocked:
                self.spawn(self.again(observation))
        self.report(pair, trace)

    def ended(self, record: SubscriptionRecord, reason: EndReason, trace: str = "") -> None:
        """A subscription is over although it is wanted."""
        pair = (record.watcher, record.presentity)
        observation = self.of_pair.get(pair, {}).get(record.holder)
        if observation is None:
            return
        if reason is not EndReason.BLOCKED:
            self.try_later(observation)
        self.report(pair, trace)

    # --- subscriptions ---

    async def make(self, observation: Observation) -> None:
        if self.record(observation) is not None:
            await self.network.watch(observation.caller, observation.presentity)
            return
        record = SubscriptionRecord(
            observation.caller.application,
            observation.caller.key,
            str(observation.caller.identity),
            observation.key,
            str(observation.presentity),
            observation.label,
            EVERYTHING,
            NOWHERE,
            self.clock.at(),
            front=observation.front,
        )
        await self.subscriptions.make(observation.caller, observation.presentity, record)

    async def again(self, observation: Observation) -> None:
        """Make an observation's subscription again; if that fails, later."""
        if self.find(observation) is not observation:
            return
        try:
            await self.make(observation)
        except SipBridgeError:
            if self.find(observation) is observation:
                self.try_later(observation)
                self.report(observation.pair)

    def try_later(self, observation: Observation) -> None:
        self.deadlines.arm(
            name(observation),
            self.clock.now() + AGAIN,
            lambda: self.spawn(self.again(observation)),
        )

    def record(self, observation: Observation) -> SubscriptionRecord | None:
        return self.registry.subscription(observation.holder, observation.pair)

    def find(self, observation: Observation) -> Observation | None:
        return self.of_pair.get(observation.pair, {}).get(observation.holder)

    def forget(self, observation: Observation) -> None:
        self.deadlines.cancel(name(observation))
        mine = self.of_pair.get(observation.pair, {})
        mine.pop(observation.holder, None)
        if not mine:
            self.of_pair.pop(observation.pair, None)


def name(observation: Observation) -> tuple[str, str, Pair]:
    """Of its deadline."""
    return ("observation", observation.holder, observation.pair)


def as_view(update: PresenceUpdate | None) -> View | None:
    """The answer to a question asked once, as if it were a subscription's."""
    return None if update is None else View(state=update.state, document=update.document)
