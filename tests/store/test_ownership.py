"""One row says whose file it is: claimed, refused, given up, lost."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import sipbridge.store
from sipbridge.errors import StoreUnavailable
from sipbridge.store import InUse, ownership
from sipbridge.store.ownership import (
    SILENT,
    Lost,
    Owner,
    Patience,
    beat,
    birth,
    claim,
    fence,
    identify,
    owner_of,
    place,
    release,
)
from sipbridge.store.sqlite import SqliteStore

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PATH = Path("state.db")
LATER = AT + timedelta(seconds=2 * SILENT)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    before = set(ownership.ours)
    yield
    ownership.ours.intersection_update(before)


def elsewhere(at: datetime = AT) -> Owner:
    """An owner in another container."""
    return replace(identify(at), node="other-host", place="another boot")


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_that_belongs_to_nobody_is_ours(db: sqlite3.Connection) -> None:
    me = identify(AT)
    claim(db, PATH, me)
    assert owner_of(db) == me
    fence(db, me)


def test_a_second_one_is_told_who_has_it(db: sqlite3.Connection) -> None:
    me = identify(AT)
    claim(db, PATH, me)
    with pytest.raises(InUse) as caught:
        claim(db, PATH, identify(AT + timedelta(seconds=4)))
    assert str(caught.value) == (
        f"state.db is in use by process {os.getpid()} on {me.node}, last heard 4 s ago"
    )
    assert caught.value.owner == me
    assert owner_of(db) == me


def test_however_silent_a_process_that_lives_keeps_its_file(db: sqlite3.Connection) -> None:
    claim(db, PATH, identify(AT))
    with pytest.raises(InUse):
        claim(db, PATH, identify(LATER))


def test_a_process_that_has_ended_leaves_its_file(db: sqlite3.Connection) -> None:
    claim(db, PATH, replace(identify(AT), pid=ended_process(), born="1"))
    claim(db, PATH, me := identify(AT))
    assert owner_of(db) == me


def test_a_process_that_nobody_has_buried_has_ended(db: sqlite3.Connection) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = birth(process.pid)
    assert born
    claim(db, PATH, replace(identify(AT), pid=process.pid, born=born))
    with pytest.raises(InUse):
        claim(db, PATH, identify(AT))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    claim(db, PATH, identify(AT))
    process.communicate()


def test_another_process_with_the_number_of_the_owner_is_not_the_owner(
    db: sqlite3.Connection,
) -> None:
    claim(db, PATH, replace(identify(AT), pid=os.getppid(), born="12"))
    claim(db, PATH, identify(AT))


def test_our_own_number_in_an_earlier_life_is_not_us(db: sqlite3.Connection) -> None:
    """In a container every life has process number 1."""
    before = identify(AT)
    claim(db, PATH, before)
    ownership.ours.discard(before.token)
    claim(db, PATH, identify(AT))


def test_an_owner_that_we_cannot_see_has_some_time(db: sqlite3.Connection) -> None:
    claim(db, PATH, elsewhere())
    with pytest.raises(InUse, match="on other-host"):
        claim(db, PATH, identify(AT + timedelta(seconds=SILENT)))
    beat(db, LATER)
    with pytest.raises(InUse):
        claim(db, PATH, identify(LATER + timedelta(seconds=SILENT)))
    claim(db, PATH, identify(LATER + timedelta(seconds=SILENT + 1)))


def test_an_owner_that_was_given_up_keeps_its_file_if_it_moves(db: sqlite3.Connection) -> None:
    claim(db, PATH, owner := identify(AT))
    beat(db, LATER)
    with pytest.raises(InUse):
        claim(db, PATH, identify(LATER), given_up=owner)
    claim(db, PATH, me := identify(LATER), given_up=replace(owner, heartbeat=LATER))
    with pytest.raises(Lost, match=f"taken over by process {os.getpid()} on {me.node}"):
        fence(db, owner)


def test_who_leaves_takes_only_its_own_name_off(db: sqlite3.Connection) -> None:
    claim(db, PATH, before := identify(AT))
    claim(db, PATH, me := identify(AT), given_up=before)
    release(db, before)
    assert owner_of(db) == me
    release(db, me)
    assert owner_of(db) is None
    with pytest.raises(Lost):
        fence(db, me)


def test_patience_counts_from_the_last_sign_of_life() -> None:
    patience = Patience(15.0)
    owner = identify(AT)
    assert not patience.over(owner, 100.0)
    assert not patience.over(owner, 114.0)
    moved = replace(owner, heartbeat=AT + timedelta(seconds=1))
    assert not patience.over(moved, 115.0)
    assert not patience.over(moved, 129.9)
    assert patience.over(moved, 130.0)


def test_without_proc_the_host_and_signal_0_have_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", missing)
        assert place() == identify(AT).node
        assert birth(os.getpid()) is None
        assert not replace(identify(AT), pid=os.getppid()).ended
        assert replace(identify(AT), pid=ended_process()).ended


# --- in a store


async def test_a_store_that_was_taken_over_writes_nothing_any_more(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", beat=0.01)
    told: asyncio.Future[StoreUnavailable] = asyncio.get_running_loop().create_future()
    store.when_lost(told.set_result)
    await store.save_snapshot("kind", "key", "mine")
    thief = SqliteStore(tmp_path / "state.db", given_up=await still(store))
    assert "taken over" in str(await told)
    with pytest.raises(StoreUnavailable, match="taken over"):
        await store.save_snapshot("kind", "key", "late")
    failed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    store.write([(1, sipbridge.store.Snapshot("a", "b", "c"))], lambda _, e: failed.set_result(e))
    assert isinstance(await failed, Lost)
    assert not store.writable()
    assert list(await thief.load_snapshots("kind")) == [("key", "mine")]
    await store.close()
    assert list(await thief.load_snapshots("kind")) == [("key", "mine")]
    await thief.close()


async def still(store: SqliteStore) -> Owner:
    """The row as it stands, of an owner that does not move from now on."""
    store.beating.cancel()
    owner = await store.call(owner_of)
    assert owner is not None
    store.heartbeat()
    store.beating.cancel()
    store.beating = store.loop.call_later(0.2, store.heartbeat)
    await store.load_contracts()
    found = await store.call(owner_of)
    assert found is not None and found.heartbeat > owner.heartbeat
    return found


async def test_a_standby_waits_until_the_owner_has_closed(tmp_path: Path) -> None:
    owner = SqliteStore(tmp_path / "state.db", beat=0.05)
    waiting: list[InUse] = []
    named = asyncio.Event()

    def tell(taken: InUse) -> None:
        waiting.append(taken)
        named.set()

    standby = asyncio.ensure_future(
        sipbridge.store.wait_for(
            "sqlite:///state.db", directory=tmp_path, takeover_after=5.0, waiting=tell
        )
    )
    await named.wait()
    await owner.save_snapshot("kind", "key", "text")
    await owner.close()
    store = await standby
    assert list(await store.load_snapshots("kind")) == [("key", "text")]
    assert len(waiting) == 1
    await store.close()


async def test_a_standby_gives_a_silent_owner_up(tmp_path: Path) -> None:
    owner = SqliteStore(tmp_path / "state.db", beat=60.0)
    store = await sipbridge.store.wait_for(
        "sqlite:///state.db", directory=tmp_path, takeover_after=0.2, waiting=lambda taken: None
    )
    with pytest.raises(Lost):
        await owner.save_snapshot("kind", "key", "text")
    await owner.close()
    await store.close()


async def test_a_standby_lets_a_busy_owner_finish(tmp_path: Path) -> None:
    """SQLite's own lock is no reason to give up."""
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    other.close()
    store = await sipbridge.store.wait_for(
        "sqlite:///state.db", directory=tmp_path, takeover_after=1.0, waiting=lambda taken: None
    )
    await store.close()


async def test_a_file_that_cannot_be_read_is_left_to_nobody(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="step 99"):
        sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    assert owner_of(db) is None
    db.close()
