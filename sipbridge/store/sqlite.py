"""The default store: one SQLite file.

Write-ahead logging, one connection held by one thread (`writer.py`), commits in groups. `synchronous =
"full"` lets a commit survive a power cut, `normal` a crash of the process only (SQLite: the log is not
synced at every commit). One process owns the file (`ownership.py`); others may read it, for a backup. Records
are JSON beside their keys (`migrate.py`).

The notification log (`pages.py`) is held in memory as well (`notification_log.py`), so that appending and
reading never wait; an entry is shown when it is durable. What changes of contracts has a place of its own
(`states.py`). Whatever is written and appended in one pass of the event loop is
one commit, even if nobody waits for it. Sequences are reserved on disk in blocks before they are used, so
after a crash they go on above every one that was given out. What could not be written is shown, and tried
again with the next write, up to `MAX_UNSAVED` entries.
"""

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

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
from sipbridge.presence.rules import RuleSet
from sipbridge.store import ownership, pages, states, surface
from sipbridge.store.migrate import migrate
from sipbridge.store.notification_log import MemoryLog
from sipbridge.store.ownership import BEAT, Busy, Owner, identify
from sipbridge.store.surface import Done, Kept, Lost, Snapshot, SnapshotRemoved
from sipbridge.store.writer import Job, Writer

T = TypeVar("T")
Waiting = Coroutine[Any, Any, T]
Work = Callable[[sqlite3.Connection], T]
RESERVE = 1000
"""Sequences reserved on disk at a time; more than one commit's worth of notifications of one application."""
MAX_UNSAVED = 100_000
"""Log entries kept for a disk that refuses them: about 100 MB; beyond it the oldest stay in memory only."""
GATHER = 0.01
"""Seconds from one group of writes that nobody waits for to the next at least, while there are many. A commit
costs as much as twenty notifications. What somebody waits for is written at once, whatever there is."""
MANY, LATELY = 25, 0.05
"""So many notifications in so many seconds are many: who waits for one before the next makes fewer."""
BUSY_SECONDS = 2.0
"""How long another process may hold the file (a backup) before opening it fails."""

RECORDS: dict[str, type[Record]] = {
    "publication": PublicationStored,
    "subscription": SubscriptionStored,
    "registration": RegistrationStored,
}
encode = msgspec.json.Encoder().encode
Denied = tuple[tuple[PresentityKey, str], ...]


def as_text(record: object) -> str:
    return encode(record).decode()


class SqliteStore:
    """`store.surface.Store` in one file. Made inside a running event loop."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "full",
        given_up: Owner | None = None,
        beat: float = BEAT,
    ) -> None:
        """Opens, claims and migrates the file. Raises InUse and other StoreUnavailable.

        given_up: an owner from whom the file is taken. beat: seconds between heartbeats.
        """
        self.path = path
        self.location = str(path)
        self.me = identify(datetime.now(UTC))
        connection = connect(path, synchronous, self.me, given_up)
        self.log, self.pages = MemoryLog(), pages.Pages()
        self.reserved: dict[str, int] = {}
        try:
            self.pages.read(connection, self.log)
            read_sequences(connection, self.log, self.reserved)
            self.states = states.States(connection)
        except (sqlite3.Error, msgspec.DecodeError) as error:
            ownership.release(connection, self.me)
            connection.close()
            raise StoreUnavailable(f"{path} cannot be read: {error}") from error
        self.shown = dict(self.log.last)
        self.loop = asyncio.get_running_loop()
        self.unsaved: list[tuple[LogEntry, Kept]] = []
        self.reservations: dict[str, int] = {}
        self.remembered: dict[tuple[str, str], str | None] = {}
        self.updated: dict[tuple[str, str], ContractState] = {}
        self.outbox: list[Job[Any]] = []
        self.flushing = False
        self.timer: asyncio.TimerHandle | None = None
        self.flushed = -GATHER
        self.period, self.lately, self.before = 0.0, 0, 0
        self.listeners: list[Lost] = []
        self.writer = Writer(
            connection,
            self.loop,
            fence=functools.partial(ownership.fence, me=self.me),
            release=functools.partial(ownership.release, me=self.me),
            lost=self.taken,
            taken_back=self.states.forget,
        )
        self.beat = beat
        self.beating = self.loop.call_later(beat, self.heartbeat)

    # --- what the gateway keeps

    async def load_rules(self) -> Sequence[StoredRules]:
        rows = await self.rows(
            "SELECT presentity, rules, version, denied FROM rules ORDER BY rowid"
        )
        denied = msgspec.json.Decoder(Denied).decode
        return [
            StoredRules(PresentityKey(presentity), RuleSet.from_json(rules), version, denied(pairs))
            for presentity, rules, version, pairs in rows
        ]

    def save_rules(self, rules: StoredRules) -> Waiting[None]:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute(
                "SELECT version FROM rules WHERE presentity = ?", (rules.presentity,)
            ).fetchone()
            if rules.version != (row[0] if row else 0) + 1:
                raise ConcurrentChange(f"the rules of {rules.presentity} were changed meanwhile")
            db.execute(
                "INSERT INTO rules VALUES (?1, ?2, ?3, ?4) ON CONFLICT (presentity)"
                " DO UPDATE SET version = ?2, rules = ?3, denied = ?4",
                (rules.presentity, rules.version, rules.rules.to_json(), as_text(rules.denied)),
            )

        return self.call(work)

    async def load_subscriptions(self) -> Sequence[SubscriptionRecord]:
        return await self.records("subscriptions", SubscriptionRecord)

    def save_subscription(self, record: SubscriptionRecord) -> Waiting[None]:
        return self.execute(
            "INSERT INTO subscriptions VALUES (?1, ?2, ?3, ?4)"
            " ON CONFLICT (application, watcher, presentity) DO UPDATE SET record = ?4",
            (record.holder, record.watcher, record.presentity, as_text(record)),
        )

    def delete_subscription(
        self, holder: str, watcher: PresentityKey, presentity: PresentityKey
    ) -> Waiting[None]:
        return self.execute(
            "DELETE FROM subscriptions WHERE application = ? AND watcher = ? AND presentity = ?",
            (holder, watcher, presentity),
        )

    async def load_contracts(self) -> Sequence[ContractRecord]:
        return await self.call(states.read)

    def add_contract(self, record: ContractRecord) -> Waiting[None]:
        def work(db: sqlite3.Connection) -> None:
            if not self.states.begin(db, record):
                raise CorrelatorInUse(record.correlator)

        return self.call(work)

    def update_contracts(self, states: Sequence[ContractState]) -> None:
        if self.writer.closed:
            raise StoreUnavailable("the store is closed")
        for state in states:
            self.updated[state.application, state.correlator] = state
        self.flush_soon()

    def delete_contract(self, application: str, correlator: str) -> Waiting[None]:
        return self.execute(
            "DELETE FROM contracts WHERE application = ? AND correlator = ?",
            (application, correlator),
        )

    async def load_published(self) -> Sequence[PublishedRecord]:
        return await self.records("published", PublishedRecord)

    def save_published(self, record: PublishedRecord) -> Waiting[None]:
        return self.execute(
            "INSERT INTO published VALUES (?1, ?2, ?3)"
            " ON CONFLICT (application, presentity) DO UPDATE SET record = ?3",
            (record.application, record.presentity, as_text(record)),
        )

    def delete_published(self, application: str, presentity: PresentityKey) -> Waiting[None]:
        return self.execute(
            "DELETE FROM published WHERE application = ? AND presentity = ?",
            (application, presentity),
        )

    # --- the notification log

    def append(
        self, notification: Notification, at: datetime, kept: Kept = surface.forgotten
    ) -> LogEntry:
        if self.writer.closed:
            raise StoreUnavailable("the store is closed")
        entry = self.log.numbered(notification, at)
        application = notification.application
        if entry.sequence > self.reserved.get(application, 0) - RESERVE // 2:
            self.reserved[application] = self.reservations[application] = entry.sequence + RESERVE
        self.unsaved.append((entry, kept))
        self.flush_soon()
        return entry

    def read_after(self, application: str, sequence: int) -> Sequence[LogEntry]:
        return self.log.read_after(application, sequence)

    def oldest(self, application: str) -> int:
        return self.log.oldest(application)

    def newest(self, application: str) -> int:
        return self.shown.get(application, 0)

    def trim(
        self, application: str, entries: int, not_before: datetime, size: int | None = None
    ) -> None:
        gone = self.log.trim(application, entries, not_before, size)
        if gone and (numbers := self.pages.forget(application, gone)):
            self.put(lambda db: pages.delete(db, numbers), forgotten, urgent=False)

    # --- what the SIP cores keep

    def write(self, changes: Sequence[tuple[int, object]], done: Done) -> None:
        numbered = list(changes)

        def work(db: sqlite3.Connection) -> None:
            for _, change in numbered:
                apply(db, change)

        numbers = [number for number, _ in numbered]
        self.put(work, lambda _, error: done(numbers, error))

    async def load_agent(self) -> Sequence[Record]:
        rows = await self.rows("SELECT kind, record FROM agent ORDER BY rowid")
        return [msgspec.json.decode(record, type=RECORDS[kind]) for kind, record in rows]

    def save_snapshot(self, kind: str, key: str, text: str) -> Waiting[None]:
        return self.call(functools.partial(apply, change=Snapshot(kind, key, text)))

    def delete_snapshot(self, kind: str, key: str) -> Waiting[None]:
        return self.call(functools.partial(apply, change=SnapshotRemoved(kind, key)))

    async def load_snapshots(self, kind: str) -> Sequence[tuple[str, str]]:
        return await self.rows(
            "SELECT key, text FROM snapshots WHERE kind = ? ORDER BY key", (kind,)
        )

    def remember(self, kind: str, key: str, text: str | None) -> None:
        if self.writer.closed:
            raise StoreUnavailable("the store is closed")
        self.remembered[kind, key] = text
        self.flush_soon()

    def when_lost(self, tell: Lost) -> None:
        self.listeners.append(tell)

    def taken(self, error: StoreUnavailable) -> None:
        self.beating.cancel()
        for tell in self.listeners:
            tell(error)

    def writable(self) -> bool:
        if self.writer.closed:
            return False
        if not self.writer.healthy:
            self.put(probe, forgotten)
        return self.writer.healthy

    async def close(self) -> None:
        self.beating.cancel()
        if self.timer is not None:
            self.timer.cancel()
        if not self.writer.closed:
            # Nothing was lost, so the next run may go on right behind the last entry.
            self.reservations |= self.log.last
            self.flush()
        await self.writer.close()

    # --- the thread's work

    def heartbeat(self) -> None:
        at = datetime.now(UTC)
        self.put(lambda db: ownership.beat(db, at), forgotten, urgent=False)
        self.beating = self.loop.call_later(self.beat, self.heartbeat)

    def put(
        self,
        work: Work[T],
        done: Callable[[T | None, Exception | None], None],
        *,
        urgent: bool = True,
    ) -> None:
        """Queue work for the thread. All work of one pass of the event loop is in one commit."""
        if self.writer.closed:
            raise StoreUnavailable("the store is closed")
        job: Job[Any] = Job(work, done)
        self.outbox += self.pending()
        self.outbox.append(job)
        self.flush_soon(urgent=urgent)

    def call(self, work: Work[T]) -> Waiting[T]:
        """Queue `work` now; the coroutine returns when its transaction is durable."""
        future: asyncio.Future[T] = self.loop.create_future()

        def done(result: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # without an error it is T

        async def outcome() -> T:
            return await future

        try:
            self.put(work, done)
        except StoreUnavailable as error:
            future.set_exception(error)
        return outcome()

    def flush_soon(self, *, urgent: bool = False) -> None:
        """Not at once: what belongs together may come in several calls. urgent: somebody waits for it."""
        if self.flushing or (self.timer is not None and not urgent):
            return
        when = self.flushed + GATHER if max(self.lately, self.before) > MANY else 0.0
        if urgent or when <= self.loop.time():
            self.flushing = True
            self.loop.call_soon(self.flush)
        else:
            self.timer = self.loop.call_at(when, self.flush)

    def flush(self) -> None:
        self.flushing = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.flushed = self.loop.time()
        self.count(len(self.unsaved))
        jobs = [*self.outbox, *self.pending()]
        self.outbox.clear()
        if jobs and not self.writer.closed:
            self.writer.put(jobs)

    def count(self, entries: int) -> None:
        """So many notifications have come: `lately` in the present period, `before` in the one before."""
        if self.flushed > self.period + LATELY:
            idle = self.flushed > self.period + 2 * LATELY
            self.period, self.before, self.lately = self.flushed, 0 if idle else self.lately, 0
        self.lately += entries

    def pending(self) -> list[Job[Any]]:
        """A job for everything appended, remembered and updated that no job has yet."""
        if not (self.unsaved or self.remembered or self.updated or self.reservations):
            return []
        unsaved, self.unsaved = self.unsaved, []
        remembered, self.remembered = self.remembered, {}
        updated, self.updated = self.updated, {}
        reservations, self.reservations = self.reservations, {}
        new = self.pages.make(entry for entry, _ in unsaved)

        def work(db: sqlite3.Connection) -> None:
            save_reservations(db, reservations)
            pages.write(db, new)
            save_remembered(db, remembered)
            if updated:
                self.states.add(db, list(updated.values()))

        def done(_: None, error: Exception | None) -> None:
            if error is None:
                self.pages.added(new)
            else:  # newer values win over those that come back
                self.unsaved = (unsaved + self.unsaved)[-MAX_UNSAVED:]
                self.remembered = remembered | self.remembered
                self.updated = updated | self.updated
                self.reservations = reservations | self.reservations
            if not isinstance(error, ownership.Lost):
                self.show(unsaved)

        return [Job(work, done)]

    def show(self, entries: Sequence[tuple[LogEntry, Kept]]) -> None:
        """These are kept, or the disk refuses them: let readers see them, once."""
        for entry, kept in entries:
            application = entry.notification.application
            if entry.sequence > self.shown.get(application, 0):
                self.shown[application] = entry.sequence
                self.log.show(entry)
                kept(entry)

    def execute(self, sql: str, values: tuple[object, ...]) -> Waiting[None]:
        return self.call(lambda db: db.execute(sql, values).close())

    async def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        return await self.call(lambda db: db.execute(sql, values).fetchall())

    async def records(self, table: str, kind: type[T]) -> list[T]:
        rows = await self.rows(f"SELECT record FROM {table} ORDER BY rowid")
        decode = msgspec.json.Decoder(kind).decode
        return [decode(record) for (record,) in rows]


def forgotten(result: object, error: Exception | None) -> None:
    """Nobody waits for this job: the next one says whether the disk works."""


def probe(db: sqlite3.Connection) -> None:
    """A write that changes nothing but must reach the disk."""
    db.execute("INSERT INTO snapshots VALUES ('', 'probe', '') ON CONFLICT DO UPDATE SET text = ''")


def apply(db: sqlite3.Connection, change: object) -> None:
    """One change of a SIP core. A record that changes moves behind the others (rowid)."""
    match change:
        case PublicationStored(id):
            replace_agent(db, "publication", id, change)
        case SubscriptionStored(id):
            replace_agent(db, "subscription", id, change)
        case RegistrationStored(id):
            replace_agent(db, "registration", id, change)
        case RegistrationRemoved(id):
            db.execute("DELETE FROM agent WHERE kind = 'registration' AND id = ?", (id,))
        case PublicationRemoved(id):
            db.execute("DELETE FROM agent WHERE kind = 'publication' AND id = ?", (id,))
        case SubscriptionRemoved(id):
            db.execute("DELETE FROM agent WHERE kind = 'subscription' AND id = ?", (id,))
        case Snapshot(kind, key, text):
            db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (kind, key, text))
        case SnapshotRemoved(kind, key):
            db.execute("DELETE FROM snapshots WHERE kind = ? AND key = ?", (kind, key))
        case _:
            raise TypeError(f"{type(change).__name__} is no change a store knows")


def replace_agent(db: sqlite3.Connection, kind: str, id: str, record: Record) -> None:
    db.execute("INSERT OR REPLACE INTO agent VALUES (?, ?, ?)", (kind, id, as_text(record)))


def save_reservations(db: sqlite3.Connection, reservations: dict[str, int]) -> None:
    db.executemany("INSERT OR REPLACE INTO sequences VALUES (?, ?)", reservations.items())


def save_remembered(db: sqlite3.Connection, remembered: dict[tuple[str, str], str | None]) -> None:
    for (kind, key), text in remembered.items():
        apply(db, SnapshotRemoved(kind, key) if text is None else Snapshot(kind, key, text))


def read_sequences(db: sqlite3.Connection, log: MemoryLog, reserved: dict[str, int]) -> None:
    """Sequences go on above everything reserved."""
    for application, number in db.execute("SELECT application, reserved FROM sequences"):
        log.last[application] = max(number, log.last.get(application, 0))
    reserved |= log.last


def connect(path: Path, synchronous: str, me: Owner, given_up: Owner | None) -> sqlite3.Connection:
    """A migrated connection of the file's owner, for use in one other thread. Raises StoreUnavailable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)  # presence is personal: nobody else reads it
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'NORMAL' if synchronous == 'normal' else 'FULL'}")
        # Some builds write zeros over all that is deleted, which doubles what a busy log writes.
        db.execute("PRAGMA secure_delete = FAST")
        ownership.claim(db, path, me, given_up)
        try:
            migrate(db)
        except BaseException:
            ownership.release(db, me)
            raise
    except sqlite3.Error as error:
        db.close()
        busy = "locked" in str(error)
        why = "is locked by another process" if busy else f"cannot be opened: {error}"
        raise (Busy if busy else StoreUnavailable)(f"{path} {why}") from error
    except StoreUnavailable:
        db.close()
        raise
    return db
