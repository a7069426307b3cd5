"""Fakes of the gateway's ports that really work, and a bench that holds a gateway on top of them."""

from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from sipbridge.errors import CorrelatorInUse, InvalidValue, SignallingError, StoreUnavailable
from sipbridge.gateway import Gateway, Group, Policy
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.policies import OperatorPolicy
from sipbridge.gateway.ports import (
    ContractRecord,
    ContractState,
    Notification,
    PresenceUpdate,
    PublishedRecord,
    StoredRules,
    SubscriptionRecord,
)
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri

IDENTITIES = NormalisingIdentities()
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class HandClock:
    """Both clocks, turned by hand."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.date = (0.0, START)

    def now(self) -> float:
        return self.passed

    def at(self) -> datetime:
        passed, date = self.date
        if passed != self.passed:
            date = START + timedelta(seconds=self.passed)
            self.date = (self.passed, date)
        return date


@dataclass
class FakeNetwork:
    """A presence server in a dictionary: everybody who watches hears of each publication at once."""

    gateway: Gateway | None = None
    here: bool = True
    domain: str = "example.com"
    state: str = "active"
    documents: dict[PresentityKey, Presence] = field(default_factory=dict)
    watching: set[tuple[PresentityKey, PresentityKey]] = field(default_factory=set)
    of_group: dict[tuple[PresentityKey, PresentityKey], Uri | None] = field(default_factory=dict)
    """As a member of which group somebody was asked for last."""
    failure: SignallingError | None = None
    unpublished: list[PresentityKey] = field(default_factory=list)
    fetched: list[tuple[tuple[PresentityKey, PresentityKey], float]] = field(default_factory=list)
    paces: list[tuple[PresentityKey, PresentityKey, float]] = field(default_factory=list)
    wants: list[tuple[PresentityKey, PresentityKey, frozenset[AttributeKind] | None]] = field(
        default_factory=list
    )
    holding_back: set[tuple[PresentityKey, PresentityKey]] = field(default_factory=set)

    def in_turn(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def may_publish(self, caller: Caller) -> None:
        return

    async def publish(self, caller: Caller, document: Presence, expires: int | None = None) -> str:
        if self.failure:
            raise self.failure
        self.arrive(caller.key, document)
        return "etag"

    async def unpublish(self, caller: Caller) -> None:
        self.unpublished.append(caller.key)
        if self.failure:
            raise self.failure
        self.arrive(caller.key, Presence(str(caller.identity)))

    async def watch(
        self,
        caller: Caller,
        presentity: Uri,
        *,
        resuming: bool = False,
        group: Uri | None = None,
    ) -> None:
        if self.failure:
            raise self.failure
        pair = (caller.key, IDENTITIES.canonical(presentity))
        self.watching.add(pair)
        self.of_group[pair] = group
        self.tell(pair, self.documents.get(pair[1]))

    async def unwatch(self, caller: Caller, presentity: Uri) -> None:
        self.watching.discard((caller.key, IDENTITIES.canonical(presentity)))

    async def fetch(self, caller: Caller, presentity: Uri, wait: float) -> PresenceUpdate | None:
        pair = (caller.key, IDENTITIES.canonical(presentity))
        self.fetched.append((pair, wait))
        document = self.documents.get(pair[1])
        return PresenceUpdate(*pair, self.state, "", document) if document else None

    async def watch_watchers(self, caller: Caller) -> None:
        return

    async def watchers_known(self, caller: Caller) -> None:
        return

    def own_subscriptions(
        self, watcher: PresentityKey, presentity: PresentityKey
    ) -> tuple[str, ...]:
        return ("ours",) if (watcher, presentity) in self.watching else ()

    def slow_down(self, watcher: PresentityKey, presentity: PresentityKey, interval: float) -> None:
        self.paces.append((watcher, presentity, interval))

    def narrow(
        self,
        watcher: PresentityKey,
        presentity: PresentityKey,
        kinds: frozenset[AttributeKind] | None,
    ) -> None:
        self.wants.append((watcher, presentity, kinds))

    def held_back(self, watcher: PresentityKey, presentity: PresentityKey) -> bool:
        return (watcher, presentity) in self.holding_back

    def decides_here(self, presentity: Uri) -> bool:
        return self.here

    def serves(self, presentity: Uri) -> bool:
        return not self.here or presentity.host == self.domain

    def arrive(self, presentity: PresentityKey, document: Presence) -> None:
        self.documents[presentity] = document
        for pair in sorted(self.watching):
            if pair[1] == presentity:
                self.tell(pair, document)

    def rules_changed(self, presentity: PresentityKey) -> None:
        """As a server of ours does: everybody is shown anew what they may see now."""
        document = self.documents.get(presentity)
        for pair in sorted(self.watching):
            if pair[1] == presentity and document is not None:
                self.tell(pair, copy(document))

    def tell(
        self,
        pair: tuple[PresentityKey, PresentityKey],
        document: Presence | None,
        state: str = "",
        reason: str = "",
    ) -> None:
        assert self.gateway is not None
        self.gateway.presence_changed(PresenceUpdate(*pair, state or self.state, reason, document))


@dataclass
class FakeStore:
    """A store that keeps everything in dictionaries and forgets nothing until deleted."""

    rules: dict[PresentityKey, StoredRules] = field(default_factory=dict)
    subscriptions: dict[tuple[str, str, str], SubscriptionRecord] = field(default_factory=dict)
    contracts: dict[tuple[str, str], ContractRecord] = field(default_factory=dict)
    published: dict[tuple[str, str], PublishedRecord] = field(default_factory=dict)

    async def load_rules(self) -> list[StoredRules]:
        return list(self.rules.values())

    async def save_rules(self, rules: StoredRules) -> None:
        self.rules[rules.presentity] = rules

    async def load_subscriptions(self) -> list[SubscriptionRecord]:
        return list(self.subscriptions.values())

    async def save_subscription(self, record: SubscriptionRecord) -> None:
        self.subscriptions[record.holder, record.watcher, record.presentity] = record

    async def delete_subscription(
        self, holder: str, watcher: PresentityKey, presentity: PresentityKey
    ) -> None:
        self.subscriptions.pop((holder, watcher, presentity), None)

    async def load_contracts(self) -> list[ContractRecord]:
        return list(self.contracts.values())

    async def add_contract(self, record: ContractRecord) -> None:
        if (record.application, record.correlator) in self.contracts:
            raise CorrelatorInUse(record.correlator)
        self.contracts[record.application, record.correlator] = record

    def update_contracts(self, states: Sequence[ContractState]) -> None:
        for state in states:
            key = (state.application, state.correlator)
            if key in self.contracts:
                self.contracts[key] = state.applied(self.contracts[key])

    async def delete_contract(self, application: str, correlator: str) -> None:
        self.contracts.pop((application, correlator), None)

    async def load_published(self) -> list[PublishedRecord]:
        return list(self.published.values())

    async def save_published(self, record: PublishedRecord) -> None:
        self.published[record.application, record.presentity] = record

    async def delete_published(self, application: str, presentity: PresentityKey) -> None:
        self.published.pop((application, presentity), None)


class FakeKeeper:
    """Keeps texts in a dictionary."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], str] = {}
        self.full = False
        """Nothing can be saved."""

    async def save_snapshot(self, kind: str, key: str, text: str) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full")
        self.texts[kind, key] = text

    async def delete_snapshot(self, kind: str, key: str) -> None:
        self.texts.pop((kind, key), None)

    def remember(self, kind: str, key: str, text: str | None) -> None:
        if text is None:
            self.texts.pop((kind, key), None)
        else:
            self.texts[kind, key] = text

    async def load_snapshots(self, kind: str) -> list[tuple[str, str]]:
        return sorted((key, text) for (other, key), text in self.texts.items() if other == kind)


class FakeSink:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Notification] = []
        self.sessions: set[str] = set()

    def check(self, application: str, endpoint: str) -> None:
        if not endpoint.startswith(f"/bayeux/{application}"):
            raise InvalidValue("not yours", part="reference.endpoint")

    def send(self, notification: Notification) -> None:
        self.sent.append(notification)

    def connected(self, application: str) -> bool:
        return application in self.sessions

    def recheck(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        """Nothing is on its way here: what was sent has arrived."""

    def take(self, application: str = "app_bob") -> list[dict[str, Any]]:
        """The messages of one application since the last call, as JSON values."""
        mine = [orjson.loads(n.data) for n in self.sent if n.application == application]
        self.sent = [n for n in self.sent if n.application != application]
        return mine


def run_now(job: Coroutine[object, object, None]) -> None:
    """Runs a coroutine that never really waits."""
    try:
        job.send(None)
    except StopIteration:
        return
    raise AssertionError("a fake waited")


class Bench:
    """A gateway with alice and bob as applications."""

    def __init__(
        self,
        default: SubHandling = SubHandling.CONFIRM,
        store: FakeStore | None = None,
        groups: Iterable[Group] = (),
        policies: tuple[OperatorPolicy, ...] = (),
        unenforceable: bool = False,
        publication_lifetime: float = 86400.0,
        subscription_idle: float = 7 * 86400.0,
    ) -> None:
        self.clock = HandClock()
        self.network = FakeNetwork()
        self.store = store or FakeStore()
        self.sink = FakeSink()
        self.rule_changes: list[PresentityKey] = []
        self.reported: list[object] = []
        self.alice = self.caller("alice")
        self.bob = self.caller("bob")
        self.gateway = Gateway(
            self.network,
            self.store,
            self.sink,
            self.clock,
            IDENTITIES,
            policy=Policy(
                frozenset({self.alice.key, self.bob.key}),
                default,
                policies=policies,
                unenforceable=unenforceable,
                publication_lifetime=publication_lifetime,
                subscription_idle=subscription_idle,
            ),
            groups=groups,
            report=self.reported.append,
            rules_changed=self.rules_changed,
            spawn=run_now,
        )
        self.network.gateway = self.gateway

    def rules_changed(self, presentity: PresentityKey) -> None:
        self.rule_changes.append(presentity)
        self.network.rules_changed(presentity)

    def caller(self, name: str, application: str = "") -> Caller:
        uri = Uri.parse(f"sip:{name}@example.com")
        return Caller(application or f"app_{name}", uri, IDENTITIES.canonical(uri), "trace")

    async def restarted(self) -> None:
        """Take up what the store holds, as at the start of a process."""
        await self.gateway.load({"app_alice", "app_bob", "app_bob2", "app_dave"})
        failures: list[str] = []
        await self.gateway.resume(lambda what, error: failures.append(what))
        assert failures == []

    def pass_seconds(self, seconds: float) -> None:
        """Turn the clock, stopping at each moment the gateway asked for."""
        end = self.clock.passed + seconds
        while (when := self.gateway.next_timeout()) is not None and when <= end:
            self.clock.passed = max(self.clock.passed, when)
            self.gateway.handle_timeout(self.clock.passed)
        self.clock.passed = end
