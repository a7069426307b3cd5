"""A store that forgets when the process ends: `memory://`.

A real implementation of the whole contract, not a mock: tests of other packages run on it. `done` of a write
is called in the next turn of the loop, as with a real disk. With `hold` set, writes wait until `release`:
that is how tests see what happens between a write and its commit.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from sipbridge.agent.ports import (
    PublicationRemoved,
    PublicationStored,
    Record,
    RegistrationRemoved,
    RegistrationStored,
    SubscriptionRemoved,
    SubscriptionStored,
)
from sipbridge.errors import ConcurrentChange, CorrelatorInUse, StoreUnavailable
from sipbridge.gateway.ports import (
    ContractRecord,
    ContractState,
    LogEntry,
    Notification,
    PublishedRecord,
    StoredRules,
    SubscriptionRecord,
)
from sipbridge.identities import PresentityKey
from sipbridge.store.notification_log import MemoryLog
from sipbridge.store.surface import Done, Kept, Lost, Snapshot, SnapshotRemoved, forgotten


class MemoryStore:
    """`store.surface.Store` without a disk."""

    location = "memory"

    def __init__(self) -> None:
        self.rules: dict[PresentityKey, StoredRules] = {}
        self.subscriptions: dict[tuple[str, PresentityKey, PresentityKey], SubscriptionRecord] = {}
        self.contracts: dict[tuple[str, str], ContractRecord] = {}
        self.published: dict[tuple[str, PresentityKey], PublishedRecord] = {}
        self.agent: dict[tuple[str, str], Record] = {}
        self.snapshots: dict[tuple[str, str], str] = {}
        self.log = MemoryLog()
        self.hold = False
        self.held: list[tuple[list[tuple[int, object]], Done]] = []
        self.closed = False

    def open(self) -> None:
        if self.closed:
            raise StoreUnavailable("the store is closed")

    # --- what the gateway keeps

    async def load_rules(self) -> Sequence[StoredRules]:
        self.open()
        return list(self.rules.values())

    async def save_rules(self, rules: StoredRules) -> None:
        self.open()
        before = self.rules.get(rules.presentity)
        if rules.version != (before.version if before else 0) + 1:
            raise ConcurrentChange(f"the rules of {rules.presentity} were changed meanwhile")
        self.rules[rules.presentity] = rules

    async def load_subscriptions(self) -> Sequence[SubscriptionRecord]:
        self.open()
        return list(self.subscriptions.values())

    async def save_subscription(self, record: SubscriptionRecord) -> None:
        self.open()
        self.subscriptions[record.holder, record.watcher, record.presentity] = record

    async def delete_subscription(
        self, holder: str, watcher: PresentityKey, presentity: PresentityKey
    ) -> None:
        self.open()
        self.subscriptions.pop((holder, watcher, presentity), None)

    async def load_contracts(self) -> Sequence[ContractRecord]:
        self.open()
        return list(self.contracts.values())

    async def add_contract(self, record: ContractRecord) -> None:
        self.open()
        key = (record.application, record.correlator)
        if key in self.contracts:
            raise CorrelatorInUse(record.correlator)
        self.contracts[key] = record

    def update_contracts(self, states: Sequence[ContractState]) -> None:
        self.open()
        for state in states:
            key = (state.application, state.correlator)
            if key in self.contracts:  # a late update does not bring an ended contract back
                self.contracts[key] = state.applied(self.contracts[key])

    async def delete_contract(self, application: str, correlator: str) -> None:
        self.open()
        self.contracts.pop((application, correlator), None)

    async def load_published(self) -> Sequence[PublishedRecord]:
        self.open()
        return list(self.published.values())

    async def save_published(self, record: PublishedRecord) -> None:
        self.open()
        self.published[record.application, record.presentity] = record

    async def delete_published(self, application: str, presentity: PresentityKey) -> None:
        self.open()
        self.published.pop((application, presentity), None)

    # --- the notification log

    def append(self, notification: Notification, at: datetime, kept: Kept = forgotten) -> LogEntry:
        self.open()
        entry = self.log.numbered(notification, at)
        self.log.show(entry)
        kept(entry)
        return entry

    def read_after(self, application: str, sequence: int) -> Sequence[LogEntry]:
        return self.log.read_after(application, sequence)

    def oldest(self, application: str) -> int:
        return self.log.oldest(application)

    def newest(self, application: str) -> int:
        return self.log.last.get(application, 0)

    def trim(
        self, application: str, entries: int, not_before: datetime, size: int | None = None
    ) -> None:
        self.log.trim(application, entries, not_before, size)

    # --- what the SIP cores keep

    def write(self, changes: Sequence[tuple[int, object]], done: Done) -> None:
        self.open()
        self.held.append((list(changes), done))
        if not self.hold:
            asyncio.get_running_loop().call_soon(self.release)

    def release(self, error: Exception | None = None) -> None:
        """Commit the writes that wait, or fail them all."""
        held, self.held = self.held, []
        for changes, done in held:
            if error is None:
                for _, change in changes:
                    self.apply(change)
            done([number for number, _ in changes], error)

    def apply(self, change: object) -> None:
        match change:
            case PublicationStored():
                self.agent.pop(("publication", change.id), None)
                self.agent["publication", change.id] = change
            case SubscriptionStored():
                self.agent.pop(("subscription", change.id), None)
                self.agent["subscription", change.id] = change
            case RegistrationStored():
                self.agent["registration", change.id] = change
            case RegistrationRemoved(id):
                self.agent.pop(("registration", id), None)
            case PublicationRemoved(id):
                self.agent.pop(("publication", id), None)
            case SubscriptionRemoved(id):
                self.agent.pop(("subscription", id), None)
            case Snapshot(kind, key, text):
                self.snapshots[kind, key] = text
            case SnapshotRemoved(kind, key):
                self.snapshots.pop((kind, key), None)
            case _:
                raise TypeError(f"{type(change).__name__} is no change a store knows")

    async def load_agent(self) -> Sequence[Record]:
        self.open()
        return list(self.agent.values())

    async def save_snapshot(self, kind: str, key: str, text: str) -> None:
        self.open()
        self.snapshots[kind, key] = text

    async def delete_snapshot(self, kind: str, key: str) -> None:
        self.open()
        self.snapshots.pop((kind, key), None)

    async def load_snapshots(self, kind: str) -> Sequence[tuple[str, str]]:
        self.open()
        return sorted((key, text) for (other, key), text in self.snapshots.items() if other == kind)

    def remember(self, kind: str, key: str, text: str | None) -> None:
        self.open()
        self.apply(SnapshotRemoved(kind, key) if text is None else Snapshot(kind, key, text))

    def when_lost(self, tell: Lost) -> None:
        """Nobody can take it away."""

    def writable(self) -> bool:
        return not self.closed

    async def close(self) -> None:
        if not self.closed:
            self.release()
            self.closed = True
