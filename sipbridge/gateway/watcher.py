"""The watcher's side: subscribe, start and end notification, get presence; and what arrives for watchers.

A pair (watcher, presentity) has one subscription in the presence network, however many applications ask for
it. News come in as `PresenceUpdate`; each is mapped once, cut to what each application may see and asked for,
and offered to its contracts. Authorisation is looked up at the moment of sending, so a revoked attribute
stops at once even if a document with it is on its way.

Who decides: the rules kept here, for a presentity of ours; for anybody else the presence server's answer
(active grants what was asked, pending leaves it open).
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sipbridge.errors import (
    CorrelatorInUse,
    InvalidValue,
    NotAuthorized,
    RequestRejected,
    SignallingError,
    UnknownCorrelator,
    UnknownPresentity,
    UnknownWatcher,
)
from sipbridge.gateway import notifications
from sipbridge.gateway.authorization import (
    ALL_KINDS,
    EVERYTHING_GRANTED,
    NOTHING_DECIDED,
    Decision,
    decide,
    visible,
)
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Contract, ContractLimits, StartNotification, check, ends_at
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
from sipbridge.gateway.registry import Deadlines, Pair, Registry, View
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.mapping.table import Tables
from sipbridge.presence.filtering import apply
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri

ENDED_AS = {
    "rejected": EndReason.BLOCKED,
    "timeout": EndReason.TIMEOUT,
    "giveup": EndReason.TIMEOUT,
}
"""Reason of a final Subscription-State to reason of `subscriptionEnded`; others are connection failures."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided: who has an application here, and what counts without a decision.

    default: `agent.sub_handling`, for presentities whose server we are.
    """

    with_application: frozenset[PresentityKey] = frozenset()
    default: SubHandling = SubHandling.CONFIRM
    limits: ContractLimits = ContractLimits()


class Watchers:
    """Subscriptions and contracts of all watchers."""

    def __init__(
        self,
        registry: Registry,
        network: PresenceNetwork,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        identities: Identities,
        policy: Policy,
        tables: Tables,
        spawn: Callable[[Coroutine[object, object, None]], None],
        rearm: Callable[[], None],
    ) -> None:
        self.registry = registry
        self.network = network
        self.store = store
        self.sink = sink
        self.clock = clock
        self.identities = identities
        self.policy = policy
        self.tables = tables
        self.spawn = spawn
        self.deadlines = Deadlines(rearm)

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
        if self.decision(pair).blocked:
            self.sink.send(
                notifications.subscription_ended(record, EndReason.BLOCKED, caller.trace)
            )
            return
        before = self.registry.subscription(caller.application, pair)
        self.registry.put_subscription(record)
        try:
            await self.network.watch(caller, presentity)
            await self.store.save_subscription(record)
        except SignallingError as error:
            self.restore(record, before)
            if isinstance(error, RequestRejected) and error.status == 404:
                raise UnknownPresentity(
                    f"{presentity} is unknown to its server", part="presentity"
                ) from error
            raise
        self.review(pair, caller.trace)

    def restore(self, record: SubscriptionRecord, before: SubscriptionRecord | None) -> None:
        if before is not None:
            self.registry.put_subscription(before)
        else:
            self.registry.drop_subscription(record)

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        """Start Presence Notification. Returns the presentities the watcher is not subscribed to."""
        self.check_contract(caller, wanted)
        pair = (caller.key, self.identities.canonical(wanted.presentity))
        requested = wanted.attributes or ALL_KINDS
        record = self.registry.subscription(caller.application, pair)
        if record is None or not self.decision(pair).granted & requested & kinds(record):
            return [str(wanted.presentity)]
        now, at = self.clock.now(), self.clock.at()
        contract = self.make_contract(caller, wanted, pair, now, at)
        self.registry.put_contract(contract)
        try:
            await self.store.add_contract(contract.record)
        except BaseException:
            self.registry.drop_contract(contract)
            raise
        self.offer(pair, contract)
        self.pump(contract, caller.trace)
        return []

    def check_contract(self, caller: Caller, wanted: StartNotification) -> None:
        self.sink.check(caller.application, wanted.reference.endpoint)
        check(wanted, self.policy.limits)
        correlator = wanted.reference.correlator
        if (caller.application, correlator) in self.registry.contracts:
            raise CorrelatorInUse(correlator)

    def make_contract(
        self, caller: Caller, wanted: StartNotification, pair: Pair, now: float, at: datetime
    ) -> Contract:
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
        return Contract(record, now, now + (ends - at).total_seconds())

    async def end_notification(self, caller: Caller, correlator: str) -> None:
        """End Presence Notification: no `statusEnd`, the subscription stays."""
        contract = self.registry.contracts.get((caller.application, correlator))
        if contract is None:
            raise UnknownCorrelator(f"no notification {correlator!r}", part="correlator")
        self.forget(contract)
        await self.store.delete_contract(caller.application, correlator)

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]:
        """Get User Presence: the current values the watcher may see, others left out."""
        pair = (caller.key, self.identities.canonical(presentity))
        record = self.registry.subscription(caller.application, pair)
        if record is None:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")
        granted = self.decision(pair).granted & kinds(record)
        if not granted:
            raise NotAuthorized(f"{presentity} has not granted anything", part=str(presentity))
        return list(visible(self.attributes(pair), granted, attributes or ALL_KINDS))

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
            self.review(pair, update.trace)
        if update.document is None:
            return
        if update.document is not view.document:
            view.document = update.document
            self.remap(pair, view)
        self.report(pair, update.trace)

    def remap(self, pair: Pair, view: View) -> None:
        """Map the view's document, and remember when its values change by themselves."""
        document = view.document
        if document is None:
            return
        permission = self.decision(pair).permission
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
            pair, None if when is None else self.clock.now() + (when - at).total_seconds()
        )

    def report(self, pair: Pair, trace: str = "") -> None:
        """Offer the pair's current values to its contracts."""
        for contract in list(self.registry.contracts_of.get(pair, {}).values()):
            self.offer(pair, contract)
            self.pump(contract, trace)

    def offer(self, pair: Pair, contract: Contract) -> None:
        if pair not in self.registry.views or self.registry.views[pair].document is None:
            return
        record = self.registry.subscription(contract.record.application, pair)
        if record is None:
            return
        granted = self.decision(pair).granted & kinds(record)
        requested = frozenset(AttributeKind(k) for k in contract.record.attributes)
        contract.offer(visible(self.attributes(pair), granted, requested), granted & requested)

    def pump(self, contract: Contract, trace: str = "") -> None:
        """Send what is due, end what is over, wake again when there is reason to."""
        now = self.clock.now()
        if contract.ends is not None and now >= contract.ends:
            self.finish(contract, trace)
            return
        if contract.due(now) and (report := contract.take(now, self.clock.at())):
            record = contract.record
            self.sink.send(
                notifications.status_changed(record, record.presentity_uri, report, trace)
            )
            if record.remaining is not None:
                contract.record = replace(record, remaining=record.remaining - 1)
                if record.remaining <= 1:
                    self.finish(contract, trace)
                    return
                self.spawn(self.store.update_contract(contract.record))
        self.deadlines.arm(contract, contract.next_timeout())

    def finish(self, contract: Contract, trace: str) -> None:
        """Count reached or duration over."""
        self.sink.send(notifications.status_end(contract.record, trace))
        self.forget(contract)
        record = contract.record
        self.spawn(self.store.delete_contract(record.application, record.correlator))

    def forget(self, contract: Contract) -> None:
        self.registry.drop_contract(contract)
        self.deadlines.arm(contract, None)

    def end(self, pair: Pair, reason: EndReason, trace: str = "") -> None:
        """The subscription is over for every application: tell them, forget its contracts."""
        for contract in list(self.registry.contracts_of.get(pair, {}).values()):
            self.forget(contract)
            record = contract.record
            self.spawn(self.store.delete_contract(record.application, record.correlator))
        for subscription in list(self.registry.subscriptions.get(pair, {}).values()):
            self.sink.send(notifications.subscription_ended(subscription, reason, trace))
            self.registry.drop_subscription(subscription)
            self.spawn(self.store.delete_subscription(subscription.application, *pair))
        self.deadlines.arm(pair, None)

    # --- decisions ---

    def decision(self, pair: Pair) -> Decision:
        """What this watcher may see of this presentity now."""
        watcher, presentity = pair
        if watcher == presentity:
            return EVERYTHING_GRANTED
        ours = presentity in self.policy.with_application
        if ours or self.network.decides_here(Uri.parse(presentity)):
            default = self.policy.default
            stored = self.registry.rules.get(presentity)
            return decide(stored, Uri.parse(watcher), watcher, self.clock.at(), default)
        view = self.registry.views.get(pair)
        return EVERYTHING_GRANTED if view and view.state == "active" else NOTHING_DECIDED

    def review(self, pair: Pair, trace: str = "") -> None:
        """Tell each application of the pair what was decided, if that is news."""
        decision = self.decision(pair)
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
        self.review(pair, trace)
        view = self.registry.views.get(pair)
        if view is not None:
            self.remap(pair, view)
            self.report(pair, trace)

    def attributes(self, pair: Pair) -> tuple[Attribute, ...]:
        view = self.registry.views.get(pair)
        return view.attributes if view else ()

    # --- time ---

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` wants to be called."""
        return self.deadlines.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Contracts whose interval or duration is over, documents whose time window opened or closed."""
        for name in self.deadlines.due(now):
            if isinstance(name, Contract):
                self.pump(name)
            else:
                pair: Pair = name  # type: ignore[assignment]
                if (view := self.registry.views.get(pair)) is not None:
                    self.remap(pair, view)
                    self.report(pair)

    # --- restart ---

    def resume_contract(self, record: ContractRecord) -> None:
        """A contract that was running before the restart; its end runs on during downtime."""
        now, at = self.clock.now(), self.clock.at()
        ends = now + (record.ends - at).total_seconds() if record.ends else None
        contract = Contract(record, now, ends)
        self.registry.put_contract(contract)
        self.pump(contract)


def kinds(record: SubscriptionRecord) -> frozenset[AttributeKind]:
    return frozenset(AttributeKind(k) for k in record.attributes)


def standing(told: tuple[tuple[str, bool], ...], record: SubscriptionRecord) -> str:
    """The state of a subscription: active as soon as one kind is granted, refused when all are denied."""
    if any(decision for _, decision in told):
        return "active"
    return "refused" if len(told) == len(record.attributes) else "pending"
