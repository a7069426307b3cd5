"""Pages of the log: what goes in comes out in order, and goes when all of it is forgotten."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sipbridge.gateway.ports import Grant, LogEntry, Notification
from sipbridge.identities import PresentityKey
from sipbridge.store import pages
from sipbridge.store.migrate import STEPS, migrate
from sipbridge.store.notification_log import MemoryLog
from sipbridge.store.pages import MOST, Pages

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
GRANT = Grant(PresentityKey("sip:b@x"), PresentityKey("sip:a@x"), ("Activity", "Place"))


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def entry(sequence: int, application: str = "app", grant: Grant | None = None) -> LogEntry:
    data = b'{"n":%d}' % sequence
    note = Notification(application, "/bayeux/app/x", "statusChanged", data, "c", "t", grant)
    return LogEntry(sequence, AT, note)


def test_what_is_written_is_read(db: sqlite3.Connection) -> None:
    migrate(db)
    entries = [
        *(entry(n, grant=GRANT if n % 2 else None) for n in range(1, 2 * MOST + 10)),
        entry(7, "other"),
    ]
    held = Pages()
    made = held.make(entries)
    assert [(a, last, len(some)) for _, a, last, some in made] == [
        ("app", MOST, MOST),
        ("app", 2 * MOST, MOST),
        ("app", 2 * MOST + 9, 9),
        ("other", 7, 1),
    ]
    pages.write(db, made)
    log, again = MemoryLog(), Pages()
    again.read(db, log)
    assert [*log.read_after("app", 0), *log.read_after("other", 0)] == entries
    assert again.make([entry(8, "other")])[0][0] == made[-1][0] + 1
    held.added(made)
    assert held.forget("app", MOST - 1) == []
    numbers = held.forget("app", 2 * MOST + 1)
    assert [n for (n,) in numbers] == [m[0] for m in made[:2]]
    pages.delete(db, numbers)
    assert db.execute("SELECT application, last FROM pages ORDER BY id").fetchall() == [
        ("app", 2 * MOST + 9),
        ("other", 7),
    ]
    assert held.forget("nobody", 5) == []


def test_the_rows_of_the_old_log_become_pages(db: sqlite3.Connection) -> None:
    migrate(db, STEPS[:2])
    rows = [
        ("app", n, AT.isoformat(), "/bayeux/app/x", "statusChanged", b'{"n":%d}' % n, "c", "t", g)
        for n, g in [*((n, "null") for n in range(1, MOST + 3)), (MOST + 3, granted())]
    ]
    db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    assert migrate(db, STEPS) == (2, len(STEPS))
    log = MemoryLog()
    Pages().read(db, log)
    wanted = [*(entry(n) for n in range(1, MOST + 3)), entry(MOST + 3, grant=GRANT)]
    assert list(log.read_after("app", 0)) == wanted
    assert db.execute("SELECT count(*) FROM pages").fetchone() == (2,)


def granted() -> str:
    return (
        '{"watcher":"sip:b@x","presentity":"sip:a@x","kinds":["Activity","Place"],"polite":false}'
    )
