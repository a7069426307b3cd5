"""The watcher's side: subscribe, start and end notification, get presence; and what arrives for watchers.

A pair (watcher, presentity) has one subscription in the presence network, however many applications ask for
it. News come in as `PresenceUpdate`; each is mapped once, cut to what each application may see and asked for,
and offered to its contracts. Authorisation is looked up at the moment of sending, so a revoked attribute
stops at once even if a document with it is on its way.

Who decides: the rules kept here, for a presentity of ours; for anybody else the presence server's answer
(active grants what was asked, pending leaves it open).
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta

from sipbridge.errors import (
    CorrelatorInUse,
    InvalidValue,
    NotAuthorized,
    RequestRejected,
    UnknownCorrelator,
    UnknownPresentity,
    UnknownWatcher,
)
from sipbridge.gateway import notifications
from sipbridge.gateway.authorization import (
    ALL_KINDS,
    kinds_of,
    visible,
)
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Contract, StartNotification, check, ends_at
from sipbridge.gateway.contracts import Contracts
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    Clock,
    ContractRecord,
    GatewayStore,
    NotificationSink,
    PresenceNetwork,
    PresenceUpdate,
    Reference,
    SubscriptionRecord,
)
from sipbridge.gateway.registry import Pair, Registry, View
from sipbridge.identities import Identities
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.mapping.table import Tables
from sipbridge.presence.filtering import apply
from sipbridge.uri import Uri

ENDED_AS = {
    "rejected": EndReason.BLOCKED,
    "timeout": EndReason.TIMEOUT,
    "giveup": EndReason.TIMEOUT,
}
"""Reason of a final Subscription-State to reason of `subscriptionEnded`; others are connection failures."""


class Watchers:
    """Subscriptions and contracts of all watchers."""

    def __init__(
        self,
        registry: Registry,
        decisions: Decisions,
        contracts: Contracts,
        network: PresenceNetwork,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        identities: Identities,
        tables: Tables,
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
        self.identities = identities
        self.policy = decisions.policy
        self.tables = tables
        self.deadlines = deadlines
        self.spawn = spawn

    # --- operations ---

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None:
        """Subscribe Presence: record the request, and let the network ask. Says nothing about permission."""
        self.sink.check(caller.application, reference.endpoint)
        if not presentity.is_address and presentity.scheme != "tel":
            raise InvalidValue(f"{presentity} is no presentity", part="presentity")
        if not self.network.serves(presentity):
            raise UnknownPresentity(f"{presentity} is not served here", part="presentity")
        key = self.identities.canonical(presentity)
        pair = (caller.key, key)
        record = SubscriptionRecord(
            caller.application,
            caller.key,
            str(caller.identity),
            key,
            str(presentity),
            label,
            tuple(k.value for k in AttributeKind if k in (attributes or ALL_KINDS)),
            reference,
            self.clock.at(),
        )
        if self.decisions.of(pair).blocked:
            self.sink.send(
                notifications.subscription_ended(record, EndReason.BLOCKED, caller.trace)
            )
            return
        before = self.registry.subscription(caller.application, pair)
        self.registry.put_subscription(record)
        try:
            await self.network.watch(caller, presentity)
            kept = self.registry.subscription(caller.application, pair)
            if kept is None:
                return  # it has ended meanwhile, and its end was told
            await self.store.save_subscription(kept)
        except BaseException as error:
            self.restore(record, before)
            if isinstance(error, RequestRejected) and error.status == 404:
                raise UnknownPresentity(
                    f"{presentity} is unknown to its server", part="presentity"
                ) from error
            raise
        self.review(pair, caller.trace)
        self.contracts.report(pair, caller.trace)

    def restore(self, record: SubscriptionRecord, before: SubscriptionRecord | None) -> None:
        """A subscription that could not be made: things are as they were, unless it was ended meanwhile."""
        if (
            self.registry.subscription(record.application, (record.watcher, record.presentity))
            is None
        ):
            return
        if before is not None:
            self.registry.put_subscription(before)
            self.spawn(self.store.save_subscription(before))
            return
        self.registry.drop_subscription(record)
        self.spawn(
            self.store.delete_subscription(record.application, record.watcher, record.presentity)
        )

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        """Start Presence Notification. Returns the presentities the watcher is not subscribed to."""
        self.check_contract(caller, wanted)
        pair = (caller.key, self.identities.canonical(wanted.presentity))
        requested = wanted.attributes or ALL_KINDS
        record = self.registry.subscription(caller.application, pair)
        if record is None or not self.decisions.of(pair).granted & requested & kinds(record):
            return [str(wanted.presentity)]
        contract = self.make_contract(caller, wanted, pair)
        self.registry.put_contract(contract)
        try:
            await self.store.add_contract(contract.record)
        except BaseException:
            self.contracts.forget(contract)
            raise
        if self.registry.runs(contract):  # else the subscription ended while the store wrote
            self.contracts.begin(contract, caller.trace)
        return []

    def check_contract(self, caller: Caller, wanted: StartNotification) -> None:
        self.sink.check(caller.application, wanted.reference.endpoint)
        check(wanted, self.policy.limits)
        correlator = wanted.reference.correlator
        if (caller.application, correlator) in self.registry.contracts:
            raise CorrelatorInUse(correlator)

    def make_contract(self, caller: Caller, wanted: StartNotification, pair: Pair) -> Contract:
        at = self.clock.at()
        if wanted.duration is not None:
            ends = ends_at(at, wanted.duration)
        else:
            ends = at + timedelta(seconds=self.policy.limits.default_duration)
        record = ContractRecord(
            caller.application,
            caller.key,
            wanted.reference.correlator,
            pair[1],
            str(wanted.presentity),
            tuple(k.value for k in AttributeKind if k in (wanted.attributes or ALL_KINDS)),
            wanted.reference.endpoint,
            wanted.frequency.seconds,
            wanted.count,
            ends,
            wanted.check_immediate,
            at,
        )
        return Contract(record, self.clock.now(), at)

    async def end_notification(self, caller: Caller, correlator: str) -> None:
        """End Presence Notification: no `statusEnd`, the subscription stays."""
        contract = self.registry.contracts.get((caller.application, correlator))
        if contract is None:
            raise UnknownCorrelator(f"no notification {correlator!r}", part="correlator")
        self.contracts.forget(contract)
        await self.store.delete_contract(caller.application, correlator)

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]:
        """Get User Presence: the current values the watcher may see, others left out."""
        pair = (caller.key, self.identities.canonical(presentity))
        record = self.registry.subscription(caller.application, pair)
        if record is None:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")
        granted = self.decisions.of(pair).granted
        if not granted & kinds(record):
            raise NotAuthorized(f"{presentity} has not granted anything", part=str(presentity))
        return list(
            visible(self.attributes(pair), granted, kinds(record) & (attributes or ALL_KINDS))
        )

    # --- news from the network ---

    def presence_changed(self, update: PresenceUpdate) -> None:
        """One NOTIFY of a watcher's subscription, or its end."""
        pair = (update.watcher, update.presentity)
        if pair not in self.registry.subscriptions:
            return
        if update.state == "terminated":
            self.end(pair, ENDED_AS.get(update.reason, EndReason.CONNECTION_FAILURE), update.trace)
            return
        view = self.registry.views.get(pair)
        if view is None:
            view = self.registry.views[pair] = View()
        if view.state != update.state:
            view.state = update.state
            self.sink.recheck(*pair)
            self.review(pair, update.trace)
        if update.document is None:
            return
        decision = self.decisions.of(pair)
        if update.document is not view.document:
            view.document = update.document
            self.remap(pair, view)
        elif decision is view.decision:
            return  # a refresh: nothing is new
        view.decision = decision
        self.contracts.report(pair, update.trace)

    def remap(self, pair: Pair, view: View) -> None:
        """Map the view's document, and remember when its values change by themselves."""
        document = view.document
        if document is None:
            return
        permission = self.decisions.of(pair).permission
        if permission is not None:
            document = apply(document, permission)
        at = self.clock.at()
        mapped = to_attributes(
            document,
            at=at,
            presentity=Uri.parse(pair[1]),
            tables=self.tables,
            memory=view.memory,
        )
        view.attributes = mapped.attributes
        when = mapped.next_change
        self.deadlines.arm(
            pair,
            None if when is None else self.clock.now() + (when - at).total_seconds(),
            lambda: self.changed_by_time(pair),
        )

    def changed_by_time(self, pair: Pair) -> None:
        """A time window of the document has opened or closed."""
        if (view := self.registry.views.get(pair)) is not None:
            self.remap(pair, view)
            self.contracts.report(pair)

    def end(self, pair: Pair, reason: EndReason, trace: str = "") -> None:
        """The subscription is over for every application: tell them."""
        for record in list(self.registry.subscriptions.get(pair, {}).values()):
            self.drop(record)
            self.sink.send(notifications.subscription_ended(record, reason, trace))
        self.sink.recheck(*pair)

    def drop(self, record: SubscriptionRecord) -> None:
        """Forget one application's subscription, and its contracts with it."""
        pair = (record.watcher, record.presentity)
        self.registry.drop_subscription(record)
        self.contracts.leave(record.application, pair)
        self.spawn(self.store.delete_subscription(record.application, *pair))
        if pair not in self.registry.subscriptions:
            self.deadlines.cancel(pair)

    # --- decisions ---

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
            if told != record.told and told:
                self.sink.send(notifications.notify_subscription(news, told, trace))

    def rules_changed(self, pair: Pair, trace: str = "") -> None:
        """The presentity decided about this watcher: what it sees changes at once."""
        self.sink.recheck(*pair)
        self.review(pair, trace)
        view = self.registry.views.get(pair)
        if view is not None:
            self.remap(pair, view)
            self.contracts.report(pair, trace)

    def attributes(self, pair: Pair) -> tuple[Attribute, ...]:
        view = self.registry.views.get(pair)
        return view.attributes if view else ()


def kinds(record: SubscriptionRecord) -> frozenset[AttributeKind]:
    return kinds_of(record.attributes)


def standing(told: tuple[tuple[str, bool], ...], record: SubscriptionRecord) -> str:
    """The state of a subscription: active as soon as one kind is granted, refused when all are denied."""
    if any(decision for _, decision in told):
        return "active"
    return "refused" if len(told) == len(record.attributes) else "pending"
