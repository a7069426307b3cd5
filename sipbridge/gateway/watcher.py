"""The watcher's side: subscribe, start and end notification, get presence; and what arrives for watchers.

A pair (watcher, presentity) has one subscription in the presence network, however many applications ask for
it. News come in as `PresenceUpdate`; each is mapped once, cut to what each application may see and asked for,
and offered to its contracts. Authorisation is looked up at the moment of sending, so a revoked attribute
stops at once even if a document with it is on its way.

Who decides: the rules kept here, for a presentity of ours; for anybody else the presence server's answer
(active grants what was asked, pending leaves it open).
"""

from collections.abc import Callable
from datetime import timedelta

from sipbridge.errors import (
    AgainstPolicy,
    CorrelatorInUse,
    GatewayError,
    InvalidValue,
    NotAList,
    NotAuthorized,
    SignallingError,
    SipBridgeError,
    UnknownCorrelator,
    UnknownPresentity,
    UnknownWatcher,
)
from sipbridge.gateway.authorization import ALL_KINDS, Decision, visible
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Contract, StartNotification, check, ends_at
from sipbridge.gateway.contracts import Contracts
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.groups import Groups
from sipbridge.gateway.lists import Lists, refusal
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.paces import SHORTEST
from sipbridge.gateway.ports import (
    Clock,
    ContractRecord,
    GatewayStore,
    ListUpdate,
    NotificationSink,
    PresenceNetwork,
    PresenceUpdate,
    Reference,
    SubscriptionRecord,
)
from sipbridge.gateway.registry import Pair, Registry, View
from sipbridge.gateway.subscriptions import Subscriptions, kinds
from sipbridge.identities import Identities, PresentityKey
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


def ended_as(reason: str) -> EndReason:
    return ENDED_AS.get(reason, EndReason.CONNECTION_FAILURE)


class Watchers:
    """What watchers ask for, and what arrives for them."""

    def __init__(
        self,
        registry: Registry,
        decisions: Decisions,
        contracts: Contracts,
        subscriptions: Subscriptions,
        groups: Groups,
        lists: Lists,
        network: PresenceNetwork,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        identities: Identities,
        tables: Tables,
        deadlines: Deadlines,
    ) -> None:
        self.registry = registry
        self.decisions = decisions
        self.contracts = contracts
        self.subscriptions = subscriptions
        self.groups = groups
        self.lists = lists
        self.network = network
        self.store = store
        self.sink = sink
        self.clock = clock
        self.identities = identities
        self.policy = decisions.policy
        self.tables = tables
        self.deadlines = deadlines
        self.decided: Callable[[Pair, str], None] = lambda pair, trace: None
        """Told when a presentity decided about a watcher, or its rules mean something else."""

    # --- operations ---

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        """Start Presence Notification. Returns the presentities the watcher is not subscribed to."""
        self.check_contract(caller, wanted)
        key = self.identities.canonical(wanted.presentity)
        members = self.covered(caller, key, wanted.presentity)
        requested = wanted.attributes or ALL_KINDS
        missing = [m for m in members if not self.sees(caller, m, requested)]
        result = [str(members[m]) for m in missing]
        if len(missing) == len(members):
            return result or [str(wanted.presentity)]
        also = (key,) if key in self.lists else ()
        contract = self.make_contract(caller, wanted, key, (*also, *members))
        self.registry.put_contract(contract)
        try:
            await self.store.add_contract(contract.record)
        except BaseException:
            self.contracts.forget(contract)
            raise
        if self.registry.runs(contract):  # else the subscription ended while the store wrote
            self.contracts.begin(contract, caller.trace)
        return result

    def covered(
        self, caller: Caller, key: PresentityKey, presentity: Uri
    ) -> dict[PresentityKey, Uri]:
        """Whom that address stands for; of a list at a presence server whom it has named so far."""
        if key in self.lists:
            return self.lists.members(caller.key, key)
        return self.groups.members(key) if key in self.groups else {key: presentity}

    def sees(
        self, caller: Caller, presentity: PresentityKey, requested: frozenset[AttributeKind]
    ) -> bool:
        """Has the application a subscription by which it sees something of what it asks for?"""
        pair = (caller.key, presentity)
        record = self.registry.subscription(caller.application, pair)
        return record is not None and bool(
            self.decisions.of(pair).granted & requested & kinds(record)
        )

    def check_contract(self, caller: Caller, wanted: StartNotification) -> None:
        self.sink.check(caller.application, wanted.reference.endpoint)
        check(wanted, self.policy.limits)
        correlator = wanted.reference.correlator
        if (caller.application, correlator) in self.registry.contracts:
            raise CorrelatorInUse(correlator)

    def make_contract(
        self,
        caller: Caller,
        wanted: StartNotification,
        key: PresentityKey,
        members: tuple[PresentityKey, ...],
    ) -> Contract:
        at = self.clock.at()
        if wanted.duration is not None:
            ends = ends_at(at, wanted.duration)
        else:
            ends = at + timedelta(seconds=self.policy.limits.default_duration)
        record = ContractRecord(
            caller.application,
            caller.key,
            wanted.reference.correlator,
            key,
            str(wanted.presentity),
            tuple(k.value for k in AttributeKind if k in (wanted.attributes or ALL_KINDS)),
            wanted.reference.endpoint,
            wanted.frequency.seconds,
            wanted.count,
            ends,
            wanted.check_immediate,
            at,
        )
        return Contract(record, self.clock.now(), at, members)

    async def end_notification(self, caller: Caller, correlator: str) -> None:
        """End Presence Notification: no `statusEnd`, the subscription stays."""
        contract = self.registry.contracts.get((caller.application, correlator))
        if contract is None or (caller.bound and contract.record.watcher != caller.key):
            raise UnknownCorrelator(f"no notification {correlator!r}", correlator=correlator)
        self.contracts.forget(contract)
        await self.store.delete_contract(caller.application, correlator)

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]:
        """Get User Presence: the current values the watcher may see, others left out."""
        pair = (caller.key, self.identities.canonical(presentity))
        if pair[1] in self.groups or pair[1] in self.lists:
            raise AgainstPolicy(f"{presentity} is a group", rule="group", part="presentity")
        record = self.registry.subscription(caller.application, pair)
        if record is None:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")
        self.subscriptions.used(record)
        await self.fetch(caller, pair, presentity)
        granted = self.decisions.of(pair).granted
        if not granted & kinds(record):
            raise NotAuthorized(f"{presentity} has not granted anything", part=str(presentity))
        return list(
            visible(self.attributes(pair), granted, kinds(record) & (attributes or ALL_KINDS))
        )

    def is_stale(self, caller: Caller, presentity: Uri) -> bool:
        """May what is known be old? Its server is silent, or has lost the subscription."""
        view = self.registry.views.get((caller.key, self.identities.canonical(presentity)))
        return view is not None and view.stale and view.document is not None

    async def fetch(self, caller: Caller, pair: Pair, presentity: Uri) -> None:
        """Ask the network once when what is known lags behind; what comes is shown until more comes."""
        if self.lags(pair):
            update = await self.network.fetch(caller, presentity, self.policy.fetch_wait)
            if update is not None and self.lags(pair):
                self.show(update)
            if (view := self.registry.views.get(pair)) is not None:
                view.fetched = self.clock.now()

    def lags(self, pair: Pair) -> bool:
        """Is nothing live known, or is it held back, or has the network not heard yet of a grant?

        What was asked for just now is not held back: polls may come faster than a server should be asked.
        """
        view = self.registry.views.get(pair)
        if view is None or not view.live:
            return True
        asked_now = view.fetched is not None and self.clock.now() - view.fetched < SHORTEST
        if not asked_now and self.network.held_back(*pair):
            return True
        granted = self.decisions.of(pair).granted
        return not granted <= view.shown or (view.state != "active" and bool(granted))

    # --- subscriptions ---

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None:
        """Subscribe Presence: record the request, and let the network ask. Says nothing about permission.

        A group is a request to each member; it fails only if none could be asked.
        """
        self.sink.check(caller.application, reference.endpoint)
        key = self.identities.canonical(presentity)
        members = self.groups.members(key) if key in self.groups else {key: presentity}
        group = presentity if key in self.groups else None
        failures: list[SipBridgeError] = []
        for member, uri in members.items():
            try:
                self.check_presentity(uri)
                record = self.request(caller, member, uri, attributes, reference, label)
                await self.subscriptions.make(caller, uri, record, group)
            except NotAList as error:
                failures.append(refusal(uri, error))
            except (SignallingError, GatewayError) as error:
                failures.append(error)
            else:
                self.lists.settle(caller.application, (caller.key, member), caller.trace)
        if len(failures) == len(members):
            raise failures[0]

    def check_presentity(self, presentity: Uri) -> None:
        if not self.identities.address(presentity).is_address and presentity.scheme != "tel":
            raise InvalidValue(f"{presentity} is no presentity", part="presentity")
        if not self.network.serves(presentity):
            raise UnknownPresentity(f"{presentity} is not served here", part="presentity")

    def request(
        self,
        caller: Caller,
        key: PresentityKey,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> SubscriptionRecord:
        return SubscriptionRecord(
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

    async def leave(self, caller: Caller, presentity: Uri) -> None:
        """The watcher does not want to see this presentity, or group, any more. Nobody is told."""
        left = False
        for member in self.groups.members(self.identities.canonical(presentity)):
            record = self.registry.subscription(caller.application, (caller.key, member))
            if record is not None:
                self.subscriptions.leave(record, caller.trace)
                left = True
        if not left:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")

    # --- news from the network ---

    def presence_changed(self, update: PresenceUpdate) -> None:
        """One NOTIFY of a watcher's subscription, or its end."""
        pair = (update.watcher, update.presentity)
        if pair not in self.registry.subscriptions:
            return
        if update.state == "terminated":
            self.lists.ended(pair, update.group, ended_as(update.reason), update.trace)
            return
        view = self.view(pair)
        first, view.live = not view.live, True
        self.show(update)
        if first and update.document is None:
            self.contracts.report(pair, update.trace)  # that nothing is said is news, too

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        """What is known may be old until the next document."""
        pair = (watcher, presentity)
        view = self.registry.views.get(pair)
        if view is not None and not view.stale:
            view.stale = True
            self.contracts.observed(pair, "")

    def list_changed(self, update: ListUpdate) -> None:
        """Who is in a list at a presence server, or that it is over."""
        self.lists.changed(update, ended_as(update.reason))

    def show(self, update: PresenceUpdate) -> View:
        """Take the news into the view of the pair, and tell who waits for them."""
        pair = (update.watcher, update.presentity)
        view = self.view(pair)
        if view.state != update.state:
            view.state = update.state
            self.sink.recheck(*pair)
            self.subscriptions.review(pair, update.trace)
            if update.document is None:
                self.contracts.report(pair, update.trace)
        if update.document is None:
            return view
        decision = self.decisions.of(pair)
        if self.decisions.served_here(update.presentity):
            view.shown = decision.granted
        was_stale, view.stale = view.stale, False
        if was_stale:
            self.contracts.refreshed(pair)
        if update.document is not view.document:
            view.document = update.document
            self.remap(pair, view, decision)
        elif decision is view.decision:
            if was_stale:
                self.contracts.report(pair, update.trace, decision)
            return view  # a refresh: nothing is new but that it is fresh
        view.decision = decision
        self.contracts.report(pair, update.trace, decision)
        return view

    def view(self, pair: Pair) -> View:
        """The view of a pair, a new one if there is none."""
        found = self.registry.views.get(pair)
        if found is None:
            found = self.registry.views[pair] = View()
        return found

    def remap(self, pair: Pair, view: View, decision: Decision) -> None:
        """Map the view's document, and remember when its values change by themselves."""
        document = view.document
        if document is None:
            return
        if decision.permission is not None:
            document = apply(document, decision.permission)
        at = self.clock.at()
        mapped = to_attributes(
            document,
            at=at,
            presentity=Uri.parse(pair[1]),
            tables=self.tables,
            memory=view.memory,
        )
        view.attributes = mapped.attributes
        if (when := mapped.next_change) is None:
            self.deadlines.cancel(pair)
            return
        moment = self.clock.now() + (when - at).total_seconds()
        self.deadlines.arm(pair, moment, lambda: self.changed_by_time(pair))

    def changed_by_time(self, pair: Pair) -> None:
        """A time window of the document has opened or closed."""
        if (view := self.registry.views.get(pair)) is not None:
            self.remap(pair, view, self.decisions.of(pair))
            self.contracts.report(pair)

    def rules_changed(self, pair: Pair, trace: str = "") -> None:
        """The presentity decided about this watcher: what it sees changes at once."""
        self.sink.recheck(*pair)
        self.subscriptions.review(pair, trace)
        view = self.registry.views.get(pair)
        if view is not None:
            decision = self.decisions.of(pair)
            if not decision.granted and self.decisions.served_here(pair[1]):
                view.shown = frozenset()  # the agent tells nothing until it begins anew
            self.remap(pair, view, decision)
            self.contracts.report(pair, trace)
        self.decided(pair, trace)

    def attributes(self, pair: Pair) -> tuple[Attribute, ...]:
        view = self.registry.views.get(pair)
        return view.attributes if view else ()
