"""Subscriptions of applications: made, told about, left, ended, and forgotten when nobody uses them.

A pair (watcher, presentity) has one subscription in the presence network, however many applications ask for
it; each application has a record of its own. The network is left when the last record of a pair is gone.

A record that nobody uses ends by itself: neither a contract nor a poll, nor a session in which the
application could be told of anything, for as long as the operator allows. Use is looked at now and then, so
that it costs no write each time; the end may come one such step late, never early. A front that observes
somebody for an application (`observations.py`) uses its record until it ends it.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta

from sipbridge.errors import NotAList, RequestRejected, UnknownPresentity
from sipbridge.gateway import notifications
from sipbridge.gateway.authorization import kinds_of
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contracts import Contracts
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    Clock,
    GatewayStore,
    NotificationSink,
    PresenceNetwork,
    SubscriptionRecord,
)
from sipbridge.gateway.registry import Pair, Registry, View
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.uri import Uri

IDLE_STEPS = 20
"""How often use is looked at in the time an idle subscription may live: every 8 hours of a week."""

Ended = Callable[[SubscriptionRecord, EndReason, str], None]


class Subscriptions:
    """All subscriptions of all applications."""

    def __init__(
        self,
        registry: Registry,
        decisions: Decisions,
        contracts: Contracts,
        network: PresenceNetwork,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        deadlines: Deadlines,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.registry = registry
        self.decisions = decisions
        self.contracts = contracts
        self.network = network
        self.store = store
        self.sink = sink
        self.clock = clock
        self.deadlines = deadlines
        self.spawn = spawn
        self.dropped: Callable[[SubscriptionRecord], None] = lambda record: None
        """Told of every record that is gone."""
        self.observation_ended: Ended = lambda record, reason, trace: None
        """Told instead of the application when a front's subscription is over."""
        self.idle = decisions.policy.subscription_idle
        self.step = self.idle / IDLE_STEPS

    # --- begin ---

    async def make(
        self,
        caller: Caller,
        presentity: Uri,
        record: SubscriptionRecord,
        group: Uri | None = None,
    ) -> None:
        """Record a request, and let the network ask. Raises SignallingError, UnknownPresentity.

        group: what the presentity is asked for as a member of.
        """
        pair = (record.watcher, record.presentity)
        if self.decisions.of(pair).blocked:
            self.tell_end(record, EndReason.BLOCKED, caller.trace)
            return
        before = self.registry.subscription(record.holder, pair)
        self.registry.put_subscription(record)
        try:
            await self.network.watch(caller, presentity, group=group)
            kept = self.registry.subscription(record.holder, pair)
            if kept is None:  # it has ended meanwhile, and its end was told
                self.unwatch(record, caller.trace)
                return
            await self.store.save_subscription(kept)
        except BaseException as error:
            self.restore(record, before)
            unknown = isinstance(error, RequestRejected) and error.status == 404
            if unknown and not isinstance(error, NotAList):
                raise UnknownPresentity(
                    f"{presentity} is unknown to its server", part="presentity"
                ) from error
            raise
        self.watch_idle(record, self.idle)
        self.review(pair, caller.trace)
        self.contracts.report(pair, caller.trace)

    def restore(self, record: SubscriptionRecord, before: SubscriptionRecord | None) -> None:
        """A subscription that could not be made: things are as they were, unless it was ended meanwhile."""
        pair = (record.watcher, record.presentity)
        if self.registry.subscription(record.holder, pair) is None:
            return
        if before is not None:
            self.registry.put_subscription(before)
            self.spawn(self.store.save_subscription(before))
            return
        self.registry.drop_subscription(record)
        self.spawn(self.store.delete_subscription(record.holder, *pair))
        self.unwatch(record)

    # --- what was decided ---

    def review(self, pair: Pair, trace: str = "") -> None:
        """Tell each application of the pair what was decided, if that is news."""
        decision = self.decisions.of(pair)
        for record in list(self.registry.subscriptions.get(pair, {}).values()):
            told = decision.told(kinds(record))
            state = standing(told, record)
            if told == record.told and state == record.state:
                continue
            news = replace(record, told=told, state=state)
            self.registry.put_subscription(news)
            self.spawn(self.store.save_subscription(news))
            if told != record.told and told and not record.front:
                self.sink.send(notifications.notify_subscription(news, told, trace))

    # --- end ---

    def end(self, pair: Pair, reason: EndReason, trace: str = "") -> None:
        """The subscription is over for every application: tell them."""
        for record in list(self.registry.subscriptions.get(pair, {}).values()):
            self.drop(record)
            self.tell_end(record, reason, trace)
        self.sink.recheck(*pair)

    def tell_end(self, record: SubscriptionRecord, reason: EndReason, trace: str = "") -> None:
        """Say that a subscription is over: to the application, or to the front that observes for it."""
        if record.front:
            self.observation_ended(record, reason, trace)
        else:
            self.sink.send(notifications.subscription_ended(record, reason, trace))

    def leave(self, record: SubscriptionRecord, trace: str = "") -> None:
        """One application does not want it any more: nobody is told."""
        view = self.registry.views.get((record.watcher, record.presentity))
        self.drop(record)
        self.unwatch(record, trace, view)

    def drop(self, record: SubscriptionRecord) -> None:
        """Forget one application's subscription, and its contracts with it."""
        pair = (record.watcher, record.presentity)
        self.registry.drop_subscription(record)
        self.contracts.leave(record.holder, pair)
        self.spawn(self.store.delete_subscription(record.holder, *pair))
        self.deadlines.cancel(idle_name(record))
        if pair not in self.registry.subscriptions:
            self.deadlines.cancel(pair)
        self.dropped(record)

    def unwatch(
        self, record: SubscriptionRecord, trace: str = "", view: View | None = None
    ) -> None:
        """Leave the network, unless somebody wants the pair (still, or again). view: what it has shown."""
        if (record.watcher, record.presentity) not in self.registry.subscriptions:
            self.spawn(self.let_go(record, trace, view))

    async def let_go(self, record: SubscriptionRecord, trace: str, view: View | None) -> None:
        pair = (record.watcher, record.presentity)
        if pair in self.registry.subscriptions:
            # Somebody came before this had its turn, and relies on what there is: it is not told again.
            if view is not None and pair not in self.registry.views:
                self.registry.views[pair] = view
                self.review(pair, trace)
                self.contracts.report(pair, trace)
            return
        caller = Caller(record.application, Uri.parse(record.watcher_uri), record.watcher, trace)
        await self.network.unwatch(caller, Uri.parse(record.presentity_uri))

    # --- idle ---

    def used(self, record: SubscriptionRecord) -> SubscriptionRecord:
        """The application uses it now. Written down once in each step only."""
        at = self.clock.at()
        if not self.idle or at <= last_use(record):
            return record
        record = replace(record, used=at + timedelta(seconds=self.step))
        self.registry.put_subscription(record)
        self.spawn(self.store.save_subscription(record))
        return record

    def watch_idle(self, record: SubscriptionRecord, seconds: float) -> None:
        if self.idle and not record.front:
            when = self.clock.now() + seconds
            pair = (record.watcher, record.presentity)
            self.deadlines.arm(idle_name(record), when, lambda: self.look(record.application, pair))

    def resume(self, record: SubscriptionRecord) -> None:
        """After a restart: applications get a step of time to come back."""
        left = self.left(record)
        self.watch_idle(record, max(left, self.step))

    def left(self, record: SubscriptionRecord) -> float:
        return (last_use(record) - self.clock.at()).total_seconds() + self.idle

    def look(self, application: str, pair: Pair) -> None:
        """Is it still used? Else its time may be over."""
        record = self.registry.subscription(application, pair)
        if record is None:
            return
        contracts = self.registry.contracts_of.get(pair, {})
        if self.sink.connected(application) or any(a == application for a, _ in contracts):
            self.watch_idle(self.used(record), self.step)
        elif (left := self.left(record)) > 0:
            self.watch_idle(record, left)
        else:
            self.leave(record)
            self.tell_end(record, EndReason.TIMEOUT)


def idle_name(record: SubscriptionRecord) -> tuple[str, str, str, str]:
    return ("idle", record.application, record.watcher, record.presentity)


def last_use(record: SubscriptionRecord) -> datetime:
    return record.used or record.since


def kinds(record: SubscriptionRecord) -> frozenset[AttributeKind]:
    return kinds_of(record.attributes)


def standing(told: tuple[tuple[str, bool], ...], record: SubscriptionRecord) -> str:
    """The state of a subscription: active as soon as one kind is granted, refused when all are denied."""
    if any(decision for _, decision in told):
        return "active"
    return "refused" if len(told) == len(record.attributes) else "pending"
