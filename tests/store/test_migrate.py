"""Steps run once, in order, each whole or not at all."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbridge.errors import StoreUnavailable
from sipbridge.store.migrate import STEPS, migrate
from sipbridge.store.sqlite import SqliteStore

OLDEST = Path(__file__).with_name("version1.sql")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def test_a_new_database_goes_through_every_step_once(db: sqlite3.Connection) -> None:
    assert migrate(db) == (0, len(STEPS))
    assert migrate(db) == (len(STEPS), len(STEPS))


def test_an_older_database_keeps_its_rows(db: sqlite3.Connection) -> None:
    first = ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)")
    second = ("ALTER TABLE a ADD COLUMN y DEFAULT 2",)
    assert migrate(db, (first,)) == (0, 1)
    assert migrate(db, (first, second)) == (1, 2)
    assert db.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


def test_a_step_that_fails_leaves_the_step_before(db: sqlite3.Connection) -> None:
    steps = (("CREATE TABLE a (x)",), ("CREATE TABLE b (x)", "CREATE TABLE a (x)"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, steps)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]


def test_a_newer_database_is_refused(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="step 99"):
        migrate(db)


async def test_a_file_of_the_first_version_is_read_whole(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "state.db")
    old.executescript(OLDEST.read_text())
    assert old.execute("PRAGMA user_version").fetchone() == (1,)
    old.close()
    store = SqliteStore(tmp_path / "state.db")
    (rules,) = await store.load_rules()
    assert rules.denied == (("sip:bob@example.com", "Place"),)
    (subscription,) = await store.load_subscriptions()
    assert (subscription.state, subscription.used) == ("active", None)
    (contract,) = await store.load_contracts()
    assert (contract.correlator, contract.remaining, contract.sent) == ("w-1", 4, None)
    (published,) = await store.load_published()
    assert [kind for kind, _ in published.attributes] == ["Activity", "Place"]
    kinds = [type(record).__name__ for record in await store.load_agent()]
    assert sorted(kinds) == ["PublicationStored"] * 2 + ["SubscriptionStored"] * 2
    entries = store.read_after("app_bob", 0)
    assert [e.notification.kind for e in entries] == ["notifySubscription", "statusChanged"]
    assert [e.notification.grant for e in entries] == [None, None]
    assert len(await store.load_snapshots("publication")) == 1
    await store.close()
    with sqlite3.connect(tmp_path / "state.db") as now:
        assert now.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    now.close()
