"""Groups that a presence server keeps: lists whose members only the server knows (RFC 4662).

A subscription to such a list is one subscription in the network, and one record for each application that
asked. Who is in the list is told later, and may change. Each member gets a record too, for each of these
applications, which says through which list it came: what arrives for members is then mapped, decided and
told as for anybody else. These records come and go with the list; an application's own subscription to a
person who is also in a list is left alone.

A contract on a list covers its members as they are at the moment, and the list itself, which never has
anything to tell but keeps the contract alive while nobody is in it.

A member that the server says nothing of is not decided; one that ended for good loses its records, and gets
new ones when the server takes it up again.
"""

from collections.abc import Callable, Container, Coroutine
from dataclasses import replace

from sipbridge.errors import AgainstPolicy, GatewayError, InvalidGroup, NotAList
from sipbridge.gateway.contracts import Contracts
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    GatewayStore,
    ListMember,
    ListUpdate,
    NotificationSink,
    SubscriptionRecord,
)
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.gateway.subscriptions import Subscriptions
from sipbridge.identities import Identities, PresentityKey
from sipbridge.uri import Uri

NO_SUCH_LIST = frozenset({200, 404, 410, 604})
"""Answers to a subscription to a list that say: not this one. 200: it was taken for a person."""

Membership = tuple[str, PresentityKey, PresentityKey]
"""(application, watcher, list)."""


class Lists:
    """All lists at presence servers, and who is in them for whom."""

    def __init__(
        self,
        registry: Registry,
        decisions: Decisions,
        contracts: Contracts,
        subscriptions: Subscriptions,
        store: GatewayStore,
        sink: NotificationSink,
        identities: Identities,
        lists: Container[PresentityKey],
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.registry = registry
        self.decisions = decisions
        self.contracts = contracts
        self.subscriptions = subscriptions
        self.store = store
        self.sink = sink
        self.identities = identities
        self.lists = lists
        self.spawn = spawn
        self.rosters: dict[Pair, dict[PresentityKey, ListMember]] = {}
        """Who is in a list, as its watcher was told."""
        self.joined: dict[Membership, set[PresentityKey]] = {}
        """Members that have a record because of a list."""
        subscriptions.dropped = self.dropped

    def __contains__(self, key: object) -> bool:
        return key in self.lists

    def members(self, watcher: PresentityKey, key: PresentityKey) -> dict[PresentityKey, Uri]:
        """Who is in the list, as far as the server has said; nobody at first."""
        roster = self.rosters.get((watcher, key))
        if roster is not None:
            return {member: listed.uri for member, listed in roster.items()}
        found: dict[PresentityKey, Uri] = {}  # after a restart: who was in it before
        for (application, by, of_list), joined in self.joined.items():
            for member in sorted(joined) if (by, of_list) == (watcher, key) else ():
                record = self.registry.subscription(application, (watcher, member))
                found |= {} if record is None else {member: Uri.parse(record.presentity_uri)}
        return found

    # --- told by the network ---

    def changed(self, update: ListUpdate, reason: EndReason) -> None:
        """Others are in the list than before, or it is over: then `reason` is what applications are told."""
        pair = (update.watcher, update.group)
        if update.state == "terminated":
            self.subscriptions.end(pair, reason, update.trace)
            return
        if pair not in self.registry.subscriptions:
            return
        self.rosters[pair] = {self.identities.canonical(m.uri): m for m in update.members}
        for application in list(self.registry.subscriptions[pair]):
            self.settle(application, pair, update.trace)

    def settle(self, application: str, pair: Pair, trace: str = "") -> None:
        """Everybody in the list, and nobody else, has a record of the application's subscription to it."""
        record = self.registry.subscription(application, pair)
        roster = self.rosters.get(pair)
        if record is None or roster is None:
            return
        for key, member in roster.items():
            self.join(record, key, member, trace)
        for key in sorted(self.joined.get(membership(record), set()) - roster.keys()):
            left = self.registry.subscription(record.application, (record.watcher, key))
            if left is not None:
                self.lose(left, EndReason.CONNECTION_FAILURE, trace)
        self.contracts.cover(application, pair, (record.presentity, *roster), trace)

    def join(
        self, record: SubscriptionRecord, key: PresentityKey, member: ListMember, trace: str
    ) -> None:
        """Give a member the record that the subscription to the list asks for.

        An application's own subscription to the person stays as it is; who has ended gets none.
        """
        pair = (record.watcher, key)
        before = self.registry.subscription(record.application, pair)
        if before is not None and before.group != record.presentity:
            return
        wanted = replace(
            record,
            presentity=key,
            presentity_uri=str(member.uri),
            state="pending" if before is None else before.state,
            told=() if before is None else before.told,
            since=record.since if before is None else before.since,
            used=None if before is None else before.used,
            group=record.presentity,
        )
        gone = member.state == "terminated" or self.decisions.of(pair).blocked
        if wanted == before or (before is None and gone):
            return
        self.take(wanted)
        self.subscriptions.review(pair, trace)

    def ended(self, pair: Pair, group: PresentityKey | None, reason: EndReason, trace: str) -> None:
        """A person's state comes no more by this list (None: by the person's own subscription)."""
        for record in list(self.registry.subscriptions.get(pair, {}).values()):
            if record.group == group:
                self.lose(record, reason, trace)

    # --- records ---

    def take(self, record: SubscriptionRecord) -> None:
        """A member's record, new or with another list behind it."""
        self.registry.put_subscription(record)
        self.note(record)
        self.spawn(self.store.save_subscription(record))

    def note(self, record: SubscriptionRecord) -> None:
        if record.group is not None:
            of_list = (record.application, record.watcher, record.group)
            self.joined.setdefault(of_list, set()).add(record.presentity)

    def lose(self, record: SubscriptionRecord, reason: EndReason, trace: str) -> None:
        """A person is not watched any more that way; told, unless another list still has them."""
        if not self.passed_on(record):
            self.subscriptions.drop(record)
            self.subscriptions.tell_end(record, reason, trace)
            self.sink.recheck(record.watcher, record.presentity)

    def passed_on(self, record: SubscriptionRecord) -> bool:
        """Another list of the same application has the same person: its record goes on through that one."""
        for (watcher, other), roster in self.rosters.items():
            member = roster.get(record.presentity)
            if (
                watcher == record.watcher
                and other != record.group
                and member is not None
                and member.state != "terminated"
                and self.registry.subscription(record.application, (watcher, other)) is not None
            ):
                self.unnote(record)
                self.take(replace(record, group=other))
                return True
        return False

    def unnote(self, record: SubscriptionRecord) -> None:
        if record.group is not None:
            of_list = (record.application, record.watcher, record.group)
            self.joined.get(of_list, set()).discard(record.presentity)

    def dropped(self, record: SubscriptionRecord) -> None:
        """A record is gone; if it was a list's, those of its members go with it, without a word."""
        self.unnote(record)
        if record.presentity not in self.lists:
            return
        pair = (record.watcher, record.presentity)
        if pair not in self.registry.subscriptions:
            self.rosters.pop(pair, None)
        for key in sorted(self.joined.pop(membership(record), set())):
            member = self.registry.subscription(record.application, (record.watcher, key))
            if member is not None and not self.passed_on(member):
                self.subscriptions.drop(member)
                self.sink.recheck(record.watcher, key)

    def resume(self, record: SubscriptionRecord) -> bool:
        """After a restart: is this the record of a member, whose list will bring its state?"""
        if record.group is None:
            return False
        of_list = self.registry.subscription(record.application, (record.watcher, record.group))
        if of_list is None or record.group not in self.lists:
            self.subscriptions.drop(record)
        else:
            self.note(record)
        return True


def membership(record: SubscriptionRecord) -> Membership:
    """The list that this record is of."""
    return (record.application, record.watcher, record.presentity)


def refusal(group: Uri, error: NotAList) -> GatewayError:
    """What a subscription to a list that is none means to the application."""
    if error.status in NO_SUCH_LIST:
        return InvalidGroup(str(group), f"{group} is no list at its server ({error})")
    return AgainstPolicy(
        f"the server of {group} knows no lists ({error})", rule="group", part="presentity"
    )
