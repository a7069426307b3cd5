"""The gateway's working copy of everything live.

The store is the truth across restarts; between restarts these maps are read on every operation and every
notification. One owner for each: subscriptions and views change in `watcher.py`, contracts in `contracts.py`,
rules and published attributes in `presentity.py`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sipbridge.gateway.authorization import ALL_KINDS, Decision
from sipbridge.gateway.contract import Contract
from sipbridge.gateway.ports import (
    PublishedRecord,
    StoredRules,
    SubscriptionRecord,
    WatcherSeen,
)
from sipbridge.gateway.sight import Sight
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.mapping.ocsg import Memory
from sipbridge.presence.model import Presence

Pair = tuple[PresentityKey, PresentityKey]
"""(watcher, presentity)."""


@dataclass(slots=True)
class View:
    """What a watcher's SIP subscription shows of a presentity at the moment."""

    state: str = "pending"
    live: bool = False
    """Does a subscription keep it up to date?"""
    stale: bool = False
    """May the document be old? Its server is silent, or has lost the subscription, since it came."""
    fetched: float | None = None
    """When the network was last asked what is known."""
    shown: frozenset[AttributeKind] = ALL_KINDS
    """Kinds that the document can show: an agent of ours leaves out what was not granted when it was made."""
    document: Presence | None = None
    attributes: tuple[Attribute, ...] = ()
    memory: Memory = field(default_factory=Memory)
    decision: Decision | None = None
    """Under which the document was last reported."""
    sight: Sight | None = None
    """What was last seen of it by somebody."""


@dataclass(slots=True)
class Registry:
    """Maps over everything live."""

    rules: dict[PresentityKey, StoredRules] = field(default_factory=dict)
    published: dict[tuple[str, PresentityKey], PublishedRecord] = field(default_factory=dict)
    subscriptions: dict[Pair, dict[str, SubscriptionRecord]] = field(default_factory=dict)
    """Records by holder, for each pair."""
    watched_by: dict[PresentityKey, set[PresentityKey]] = field(default_factory=dict)
    """Watchers that have a record, for each presentity."""
    contracts: dict[tuple[str, str], Contract] = field(default_factory=dict)
    contracts_of: dict[Pair, dict[tuple[str, str], Contract]] = field(default_factory=dict)
    correlators: dict[str, dict[str, Contract]] = field(default_factory=dict)
    """Contracts by correlator, for each application."""
    views: dict[Pair, View] = field(default_factory=dict)
    seen: dict[PresentityKey, tuple[WatcherSeen, ...]] = field(default_factory=dict)
    """What presence.winfo last told of a presentity's watchers."""
    live: Counter[str] = field(default_factory=Counter)
    """Subscriptions of each application."""
    running: Counter[str] = field(default_factory=Counter)
    """Contracts of each application."""
    changed: Callable[[Pair], None] = lambda pair: None
    """Told of every pair for which a record or a contract is put or dropped."""

    def subscription(self, holder: str, pair: Pair) -> SubscriptionRecord | None:
        return self.subscriptions.get(pair, {}).get(holder)

    def put_subscription(self, record: SubscriptionRecord) -> None:
        pair = (record.watcher, record.presentity)
        records = self.subscriptions.setdefault(pair, {})
        self.live[record.application] += record.holder not in records
        records[record.holder] = record
        self.watched_by.setdefault(record.presentity, set()).add(record.watcher)
        self.changed(pair)

    def drop_subscription(self, record: SubscriptionRecord) -> None:
        pair = (record.watcher, record.presentity)
        records = self.subscriptions.get(pair, {})
        self.live[record.application] -= records.pop(record.holder, None) is not None
        if not records:
            self.subscriptions.pop(pair, None)
            self.views.pop(pair, None)
            watchers = self.watched_by.get(record.presentity, set())
            watchers.discard(record.watcher)
            if not watchers:
                self.watched_by.pop(record.presentity, None)
        self.changed(pair)

    def put_contract(self, contract: Contract) -> None:
        record = contract.record
        key = (record.application, record.correlator)
        self.running[record.application] += key not in self.contracts
        self.contracts[key] = contract
        self.correlators.setdefault(record.application, {})[record.correlator] = contract
        for member in contract.members:
            self.contracts_of.setdefault((record.watcher, member), {})[key] = contract
            self.changed((record.watcher, member))

    def drop_contract(self, contract: Contract) -> None:
        record = contract.record
        key = (record.application, record.correlator)
        self.running[record.application] -= self.contracts.pop(key, None) is not None
        mine = self.correlators.get(record.application, {})
        mine.pop(record.correlator, None)
        if not mine:
            self.correlators.pop(record.application, None)
        for member in contract.members:
            contracts = self.contracts_of.get((record.watcher, member), {})
            contracts.pop(key, None)
            if not contracts:
                self.contracts_of.pop((record.watcher, member), None)
            self.changed((record.watcher, member))

    def of_application(self, application: str) -> list[Contract]:
        """The contracts of an application."""
        return list(self.correlators.get(application, {}).values())

    def runs(self, contract: Contract) -> bool:
        """Is this very contract still running?"""
        record = contract.record
        return self.contracts.get((record.application, record.correlator)) is contract
