"""The product's operations, behind ports.

`Gateway` is what the fronts call and what the network tells. It knows no protocol: requests come in as
values, the network, the store, the clock and the notification sink are ports (`ports.py`). Every operation
goes decide, store, tell: a pure decision, one atomic store call, then notifications.
"""

from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Sequence

from sipbridge.errors import SignallingError
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import StartNotification
from sipbridge.gateway.contracts import Contracts
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions, Policy
from sipbridge.gateway.groups import Group, Groups
from sipbridge.gateway.lapsing import Lapsing
from sipbridge.gateway.lists import Lists
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.observations import Observations
from sipbridge.gateway.paces import Paces
from sipbridge.gateway.ports import (
    Clock,
    ContractRecord,
    GatewayStore,
    ListUpdate,
    Notification,
    NotificationSink,
    PresenceNetwork,
    PresenceUpdate,
    PublishedRecord,
    Reference,
    SubscriptionRecord,
    WatchersUpdate,
)
from sipbridge.gateway.presentity import OpenSubscription, Presentities
from sipbridge.gateway.registry import Pair, Registry, View
from sipbridge.gateway.subscriptions import Subscriptions
from sipbridge.gateway.wants import Wants
from sipbridge.gateway.watcher import Watchers
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence.rules import RuleSet
from sipbridge.uri import Uri

__all__ = ["Caller", "Gateway", "Group", "OpenSubscription", "Policy", "StartNotification"]


async def at_once(presentity: Uri) -> None:
    """Nobody has to wait for a turn."""


class Gateway:
    """All operations, for all fronts."""

    def __init__(
        self,
        network: PresenceNetwork,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        identities: Identities,
        *,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        groups: Iterable[Group] = (),
        lists: Container[PresentityKey] = frozenset(),
        tables: Tables = DEFAULT,
        rules_changed: Callable[[PresentityKey], None] = lambda key: None,
        spawn: Callable[[Coroutine[object, object, None]], None],
        rearm: Callable[[], None] = lambda: None,
        report: Callable[[object], None] = lambda said: None,
    ) -> None:
        self.registry = Registry()
        self.network = network
        self.paces = Paces(self.registry, network)
        self.wants = Wants(self.registry, network)
        self.store = store
        self.spawn = spawn
        self.unresumed: list[ContractRecord] = []
        self.deadlines = Deadlines(rearm)
        self.decisions = Decisions(self.registry, network, clock, policy)
        self.groups = Groups(identities, groups)
        self.contracts = Contracts(
            self.registry, self.decisions, self.groups, store, sink, clock, self.deadlines, spawn
        )
        self.subscriptions = Subscriptions(
            self.registry,
            self.decisions,
            self.contracts,
            network,
            store,
            sink,
            clock,
            self.deadlines,
            spawn,
        )
        self.lists = Lists(
            self.registry,
            self.decisions,
            self.contracts,
            self.subscriptions,
            store,
            sink,
            identities,
            lists,
            spawn,
        )
        self.watchers = Watchers(
            self.registry,
            self.decisions,
            self.contracts,
            self.subscriptions,
            self.groups,
            self.lists,
            network,
            store,
            sink,
            clock,
            identities,
            tables,
            self.deadlines,
        )
        self.observations = Observations(
            self.registry,
            self.watchers,
            self.subscriptions,
            self.decisions,
            network,
            clock,
            self.deadlines,
            spawn,
        )
        self.presentities = Presentities(
            self.registry,
            self.watchers,
            self.subscriptions,
            self.decisions,
            network,
            store,
            clock,
            identities,
            tables,
            self.deadlines,
            rules_changed,
            spawn,
            report,
        )
        self.lapsing = Lapsing(self.presentities, clock, self.deadlines, spawn)

    # --- presentity ---

    async def open_subscriptions(self, caller: Caller) -> list[OpenSubscription]:
        """Get Open Subscriptions."""
        return await self.presentities.open_subscriptions(caller)

    async def my_watchers(self, caller: Caller) -> list[str]:
        """Get My Watchers."""
        return await self.presentities.my_watchers(caller)

    async def update_authorization(
        self, caller: Caller, watcher: Uri, decisions: Sequence[tuple[AttributeKind, bool]]
    ) -> None:
        """Update Subscription Authorization."""
        await self.presentities.update_authorization(caller, watcher, decisions)

    async def block(self, caller: Caller, watcher: Uri) -> None:
        """Block Subscription."""
        await self.presentities.block(caller, watcher)

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None:
        """Publish."""
        await self.presentities.publish(caller, attributes, expires)

    # --- watcher ---

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None:
        """Subscribe Presence."""
        await self.watchers.subscribe(caller, presentity, attributes, reference, label)

    async def leave(self, caller: Caller, presentity: Uri) -> None:
        """Leave a presentity: the watcher's own end of its subscription; nobody is told."""
        await self.watchers.leave(caller, presentity)

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        """Start Presence Notification."""
        return await self.watchers.start_notification(caller, wanted)

    async def end_notification(self, caller: Caller, correlator: str) -> None:
        """End Presence Notification."""
        await self.watchers.end_notification(caller, correlator)

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]:
        """Get User Presence."""
        return await self.watchers.get_presence(caller, presentity, attributes)

    def is_stale(self, caller: Caller, presentity: Uri) -> bool:
        """May what Get User Presence says of this presentity be old?"""
        return self.watchers.is_stale(caller, presentity)

    # --- told by the network and the clock ---

    def presence_changed(self, update: PresenceUpdate) -> None:
        self.watchers.presence_changed(update)

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        self.watchers.presence_outdated(watcher, presentity)

    def list_changed(self, update: ListUpdate) -> None:
        self.watchers.list_changed(update)

    def watchers_changed(self, update: WatchersUpdate) -> None:
        self.presentities.watchers_changed(update)

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` wants to be called."""
        return self.deadlines.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Intervals and durations of contracts are over, time windows of documents open or close."""
        for action in self.deadlines.due(now):
            action()

    def rules(self, presentity: PresentityKey) -> RuleSet | None:
        """The rules that count for a presentity: what the presence agent evaluates too."""
        return self.decisions.rules(presentity)

    def recheck(self, notification: Notification) -> Notification | None:
        """What of a notification may be handed out now: `ports.Recheck` for whoever reads the log."""
        return self.decisions.recheck(notification)

    def restate(self, application: str, endpoint: str = "") -> list[Notification]:
        """The current state of every contract of an application, for a reader of its log with a gap."""
        return self.contracts.restate(application, endpoint)

    # --- restart ---

    async def load(self, applications: Container[str]) -> None:
        """Read everything kept of these applications; nothing is sent yet.

        What belongs to an application that is not configured any more stays in the store, untouched.
        """
        for rules in await self.store.load_rules():
            self.registry.rules[rules.presentity] = rules
        for subscription in await self.store.load_subscriptions():
            if subscription.application in applications:
                self.registry.put_subscription(subscription)
        for published in await self.store.load_published():
            if published.application in applications:
                self.registry.published[published.application, published.presentity] = published
        for contract in await self.store.load_contracts():
            if contract.application in applications:
                self.unresumed.append(contract)

    async def resume(
        self,
        failed: Callable[[str, SignallingError], None],
        turn: Callable[[Uri], Awaitable[None]] = at_once,
    ) -> None:
        """Subscribe and publish again, contracts run on. What fails is told, and tried by the network.

        When this returns, our own presence agent knows what is published; other servers are asked one by one,
        whenever `turn` of a presentity of theirs returns.
        """
        for contract in self.unresumed:
            self.contracts.resume(contract)
        self.unresumed.clear()
        for published in list(self.registry.published.values()):
            if self.decisions.served_here(published.presentity):
                await self.presentities.resume(published, failed)
            else:
                self.spawn(self.republish(published, failed, turn))
        for pair in list(self.registry.subscriptions):
            self.catch_up(pair)
        groups = self.groups_watched()
        for pair, records in list(self.registry.subscriptions.items()):
            for record in list(records.values()):
                if self.lists.resume(record):
                    continue
                self.subscriptions.resume(record)
                group = groups.get(pair[0], {}).get(pair[1])
                self.spawn(self.rewatch(pair, record, failed, turn, group))

    def groups_watched(self) -> dict[PresentityKey, dict[PresentityKey, Uri]]:
        """For each watcher, the groups that it watches all members of, by member."""
        watched: dict[PresentityKey, set[PresentityKey]] = {}
        for watcher, presentity in self.registry.subscriptions:
            watched.setdefault(watcher, set()).add(presentity)
        return {watcher: self.groups.standing_for(keys) for watcher, keys in watched.items()}

    def catch_up(self, pair: Pair) -> None:
        """Do what was decided about a pair and may not have been done; what another server said, holds on."""
        if not self.decisions.decided_by_rules(pair[1]):
            if any(r.state == "active" for r in self.registry.subscriptions[pair].values()):
                self.registry.views[pair] = View(state="active")
        elif self.decisions.of(pair).blocked:
            self.subscriptions.end(pair, EndReason.BLOCKED)
        else:
            self.subscriptions.review(pair)

    async def republish(
        self,
        published: PublishedRecord,
        failed: Callable[[str, SignallingError], None],
        turn: Callable[[Uri], Awaitable[None]],
    ) -> None:
        await turn(Uri.parse(published.presentity_uri))
        await self.presentities.resume(published, failed)

    async def rewatch(
        self,
        pair: Pair,
        record: SubscriptionRecord,
        failed: Callable[[str, SignallingError], None],
        turn: Callable[[Uri], Awaitable[None]],
        group: Uri | None = None,
    ) -> None:
        await turn(Uri.parse(record.presentity_uri))
        if pair not in self.registry.subscriptions:
            return  # left while it waited
        caller = Caller(record.application, Uri.parse(record.watcher_uri), pair[0])
        try:
            await self.network.watch(
                caller, Uri.parse(record.presentity_uri), resuming=True, group=group
            )
        except SignallingError as error:
            failed(f"subscription of {pair[0]} to {pair[1]}", error)
