"""The gateway's working copy of everything live.

The store is the truth across restarts; between restarts these maps are read on every operation and every
notification. One owner for each: subscriptions and contracts change in `watcher.py`, rules and published
attributes in `presentity.py`.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from sipbridge.gateway.contract import Contract
from sipbridge.gateway.ports import (
    PublishedRecord,
    StoredRules,
    SubscriptionRecord,
    WatcherSeen,
)
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Attribute
from sipbridge.mapping.ocsg import Memory
from sipbridge.presence.model import Presence

Pair = tuple[PresentityKey, PresentityKey]
"""(watcher, presentity)."""


@dataclass(slots=True)
class View:
    """What a watcher's SIP subscription shows of a presentity at the moment."""

    state: str = "pending"
    document: Presence | None = None
    attributes: tuple[Attribute, ...] = ()
    memory: Memory = field(default_factory=Memory)


@dataclass(slots=True)
class Registry:
    """Maps over everything live."""

    rules: dict[PresentityKey, StoredRules] = field(default_factory=dict)
    published: dict[tuple[str, PresentityKey], PublishedRecord] = field(default_factory=dict)
    subscriptions: dict[Pair, dict[str, SubscriptionRecord]] = field(default_factory=dict)
    """Records by application, for each pair."""
    watched_by: dict[PresentityKey, set[PresentityKey]] = field(default_factory=dict)
    """Watchers that have a record, for each presentity."""
    contracts: dict[tuple[str, str], Contract] = field(default_factory=dict)
    contracts_of: dict[Pair, dict[tuple[str, str], Contract]] = field(default_factory=dict)
    views: dict[Pair, View] = field(default_factory=dict)
    seen: dict[PresentityKey, tuple[WatcherSeen, ...]] = field(default_factory=dict)
    """What presence.winfo last told of a presentity's watchers."""

    def subscription(self, application: str, pair: Pair) -> SubscriptionRecord | None:
        return self.subscriptions.get(pair, {}).get(application)

    def put_subscription(self, record: SubscriptionRecord) -> None:
        pair = (record.watcher, record.presentity)
        self.subscriptions.setdefault(pair, {})[record.application] = record
        self.watched_by.setdefault(record.presentity, set()).add(record.watcher)

    def drop_subscription(self, record: SubscriptionRecord) -> None:
        pair = (record.watcher, record.presentity)
        records = self.subscriptions.get(pair, {})
        records.pop(record.application, None)
        if not records:
            self.subscriptions.pop(pair, None)
            self.views.pop(pair, None)
            watchers = self.watched_by.get(record.presentity, set())
            watchers.discard(record.watcher)
            if not watchers:
                self.watched_by.pop(record.presentity, None)

    def put_contract(self, contract: Contract) -> None:
        record = contract.record
        key = (record.application, record.correlator)
        self.contracts[key] = contract
        self.contracts_of.setdefault((record.watcher, record.presentity), {})[key] = contract

    def drop_contract(self, contract: Contract) -> None:
        record = contract.record
        key = (record.application, record.correlator)
        pair = (record.watcher, record.presentity)
        self.contracts.pop(key, None)
        contracts = self.contracts_of.get(pair, {})
        contracts.pop(key, None)
        if not contracts:
            self.contracts_of.pop(pair, None)


class Deadlines:
    """A heap of moments at which something has to be looked at again.

    Re-arming under the same name replaces; stale entries are skipped when they come up. `changed` is called
    when the earliest moment may have moved forward, so that whoever keeps the real timer can set it again.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.heap: list[tuple[float, int, object]] = []
        self.current: dict[object, int] = {}
        self.tickets = count(1)

    def arm(self, name: object, when: float | None) -> None:
        """Look at `name` at `when`; None: never."""
        if when is None:
            self.current.pop(name, None)
            return
        ticket = next(self.tickets)
        self.current[name] = ticket
        heapq.heappush(self.heap, (when, ticket, name))
        if self.heap[0][1] == ticket:
            self.changed()

    def next_timeout(self) -> float | None:
        while self.heap and self.current.get(self.heap[0][2]) != self.heap[0][1]:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else None

    def due(self, now: float) -> list[object]:
        """The names whose moment has come, earliest first; they are forgotten."""
        names: list[object] = []
        while (when := self.next_timeout()) is not None and when <= now:
            name = heapq.heappop(self.heap)[2]
            del self.current[name]
            names.append(name)
        return names
