"""Running contracts: who is told what, and when, after every piece of news and every step of the clock.

A contract belongs to one application and to one presentity, or to the members of a group; it hears of every
pair (watcher, member) it covers. What it may show is looked up again at the moment of sending, however long
the news had to wait for the interval.

What changed of a contract is kept together with the notification that changed it.
"""

from collections.abc import Callable, Coroutine

from sipbridge.gateway import notifications
from sipbridge.gateway.authorization import Decision, both, kinds_of, names_of
from sipbridge.gateway.contract import Contract, Offer, Report
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.groups import Groups
from sipbridge.gateway.ports import (
    Clock,
    ContractRecord,
    GatewayStore,
    Grant,
    Notification,
    NotificationSink,
)
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.gateway.sight import look
from sipbridge.identities import PresentityKey


class Contracts:
    """All contracts of all applications."""

    def __init__(
        self,
        registry: Registry,
        decisions: Decisions,
        groups: Groups,
        store: GatewayStore,
        sink: NotificationSink,
        clock: Clock,
        deadlines: Deadlines,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.registry = registry
        self.decisions = decisions
        self.groups = groups
        self.store = store
        self.sink = sink
        self.clock = clock
        self.deadlines = deadlines
        self.spawn = spawn
        self.observed: Callable[[Pair, str], None] = lambda pair, trace: None
        """Told of every report too."""

    # --- restart ---

    def resume(self, record: ContractRecord) -> None:
        """A contract that was running before the restart; its end runs on during downtime."""
        members = self.groups.keys(record.presentity)
        contract = Contract(record, self.clock.now(), self.clock.at(), members)
        self.registry.put_contract(contract)
        self.begin(contract)

    # --- news ---

    def report(self, pair: Pair, trace: str = "", decision: Decision | None = None) -> None:
        """The pair's values, or what of them may be seen, have changed. decision: where it is known."""
        contracts = self.registry.contracts_of.get(pair)
        for contract in list(contracts.values()) if contracts else ():
            self.offer(contract, pair[1], decision)
            self.pump(contract, trace, looked_at=pair[1])
        self.observed(pair, trace)

    def refreshed(self, pair: Pair) -> None:
        """What is known of the pair is not old any more; `report` follows."""
        for contract in self.registry.contracts_of.get(pair, {}).values():
            contract.refreshed(pair[1])

    def begin(self, contract: Contract, trace: str = "") -> None:
        """What there is to see now is the first news of a contract."""
        for member in contract.members:
            self.offer(contract, member)
        self.pump(contract, trace)

    def offer(
        self, contract: Contract, member: PresentityKey, decision: Decision | None = None
    ) -> None:
        """Give the contract what its watcher may see of one member now."""
        shown = self.shown(contract, member, decision)
        if shown is None:
            contract.waiting.pop(member, None)
        else:
            contract.put(member, shown)

    def shown(
        self, contract: Contract, member: PresentityKey, decision: Decision | None = None
    ) -> Offer | None:
        """What the contract's watcher may see of one member now; None: nothing is known of it."""
        pair = (contract.record.watcher, member)
        view = self.registry.views.get(pair)
        record = self.registry.subscription(contract.record.application, pair)
        if view is None or view.document is None or record is None:
            return None
        decision = decision or self.decisions.of(pair)
        requested = both(kinds_of(contract.record.attributes), kinds_of(record.attributes))
        granted = both(decision.granted, view.shown)
        view.sight = sight = look(view.sight, view.attributes, granted, requested)
        return Offer(sight.attributes, both(granted, requested), sight.digests, decision)

    def pump(self, contract: Contract, trace: str = "", looked_at: str = "") -> None:
        """Send what is due, end what is over, wake again when there is reason to.

        looked_at: the member that was offered just now.
        """
        now = self.clock.now()
        while contract.due(now) and not contract.over(now):
            # What waited may have been revoked meanwhile: look again at the moment of sending.
            member = next(iter(contract.waiting))
            if member != looked_at:
                self.offer(contract, member)
            if contract.waiting and (report := contract.take(now, self.clock.at())) is not None:
                self.sink.send(self.statement(contract, report, trace))
        if contract.over(now):
            self.finish(contract, trace)
            return
        if contract.changed:
            self.keep(contract)
        when = contract.next_timeout()
        if when != contract.armed:
            contract.armed = when
            self.deadlines.arm(contract, when, lambda: self.woken(contract))

    def woken(self, contract: Contract) -> None:
        contract.armed = None
        self.pump(contract)

    def statement(self, contract: Contract, report: Report, trace: str = "") -> Notification:
        """The statusChanged that says this of one member."""
        record, uri = contract.record, contract.record.presentity_uri
        pair = (record.watcher, report.member)
        if report.member != record.presentity:  # of a group
            subscription = self.registry.subscription(record.application, pair)
            uri = subscription.presentity_uri if subscription else uri
        decision = report.decision or self.decisions.of(pair)
        grant = Grant(*pair, names_of(decision.granted), decision.polite)
        view = self.registry.views.get(pair)
        stale = view is not None and view.stale
        if stale or contract.stale:
            contract.said(report.member, stale=stale)
        return notifications.status_changed(
            record, uri, report.attributes, grant, trace, stale=stale
        )

    # --- readers that lost track ---

    def restate(self, application: str, endpoint: str = "") -> list[Notification]:
        """Everything a reader of the application's log would know by now; nothing of it is counted.

        endpoint: only contracts that have this one. For a reader that missed something: told differences
        are of no use to it any more. Members of whom nothing is known at the moment (after a restart) are
        told of as if for the first time as soon as something is.
        """
        found = []
        for contract in self.registry.of_application(application):
            if endpoint and contract.record.endpoint != endpoint:
                continue
            for member in [m for m in contract.members if contract.told.get(m)]:
                shown = self.shown(contract, member)
                if shown is None:
                    contract.drop(member)
                    self.keep(contract)
                elif shown.visible:
                    found.append(self.statement(contract, Report(member, shown.visible)))
        return found

    def cover(
        self, application: str, pair: Pair, members: tuple[PresentityKey, ...], trace: str = ""
    ) -> None:
        """Others are in a list than before: contracts on it (`pair` with its watcher) cover those now."""
        for contract in list(self.registry.contracts_of.get(pair, {}).values()):
            record = contract.record
            if (record.application, record.presentity) != (application, pair[1]):
                continue
            if contract.members != members:
                self.registry.drop_contract(contract)
                for gone in set(contract.members) - set(members):
                    contract.drop(gone)
                contract.members = members
                self.registry.put_contract(contract)
                self.begin(contract, trace)

    # --- ends ---

    def finish(self, contract: Contract, trace: str) -> None:
        """Count reached or duration over."""
        self.sink.send(notifications.status_end(contract.record, trace))
        self.stop(contract)

    def stop(self, contract: Contract) -> None:
        """It is over, without a word."""
        self.forget(contract)
        record = contract.record
        self.spawn(self.store.delete_contract(record.application, record.correlator))

    def forget(self, contract: Contract) -> None:
        self.registry.drop_contract(contract)
        self.deadlines.cancel(contract)
        contract.armed = None

    def leave(self, application: str, pair: Pair) -> None:
        """The application has no subscription to this presentity any more.

        A contract on it is over; one on a group goes on as long as one member is left.
        """
        for contract in list(self.registry.contracts_of.get(pair, {}).values()):
            if contract.record.application != application:
                continue
            contract.drop(pair[1])
            if any(
                self.registry.subscription(application, (pair[0], member))
                for member in contract.members
            ):
                self.pump(contract)
            else:
                self.stop(contract)

    # --- the store ---

    def keep(self, contract: Contract) -> None:
        """In one commit with what was sent just now, so that a crash undoes both or none."""
        self.store.update_contracts([contract.state()])
