"""Steps run once, in order, each whole or not at all."""

import sqlite3
from collections.abc import Iterator

import pytest

from sipbridge.errors import StoreUnavailable
from sipbridge.store.migrate import STEPS, migrate


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
