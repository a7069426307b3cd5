"""What is particular to the file: restarts, crashes, locks, a disk that refuses."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import sipbridge.store
from sipbridge.agent.ports import PublicationStored
from sipbridge.errors import ConfigurationError, StoreUnavailable
from sipbridge.gateway.ports import Notification, StoredRules
from sipbridge.identities import PresentityKey
from sipbridge.presence.rules import RuleSet
from sipbridge.store import InUse, Store, path_of
from sipbridge.store.pages import MOST
from sipbridge.store.sqlite import RESERVE, SqliteStore

AT = datetime(2026, 3, 1, tzinfo=UTC)
ALICE = PresentityKey("sip:alice@example.com")
Reopen = Callable[[], Awaitable[Store]]


def publication(number: int) -> PublicationStored:
    return PublicationStored(f"p{number}", ALICE, ALICE, "e", "text/plain", b"x", AT, AT)


def notification(text: str) -> Notification:
    return Notification("app", "/bayeux/app/x", "statusEnd", text.encode(), "c", "t")


async def test_everything_is_there_after_a_restart(disk: Reopen) -> None:
    store = await disk()
    await store.save_rules(StoredRules(ALICE, RuleSet(), 1))
    store.write([(1, publication(1))], lambda numbers, error: None)
    store.remember("last-change", "a", "1")
    entry = store.append(notification("x"), AT)
    store = await disk()
    assert list(await store.load_rules()) == [StoredRules(ALICE, RuleSet(), 1)]
    assert list(await store.load_agent()) == [publication(1)]
    assert list(await store.load_snapshots("last-change")) == [("a", "1")]
    assert list(store.read_after("app", 0)) == [entry]
    assert store.append(notification("y"), AT).sequence == 2


async def appended(store: Store, *texts: str) -> None:
    """Returns when the last of these notifications is kept."""
    kept = asyncio.Event()
    for text in texts:
        store.append(notification(text), AT, lambda entry: kept.set())
        kept.clear()
    await kept.wait()


async def test_sequences_go_on_after_everything_was_trimmed_and_restarted(disk: Reopen) -> None:
    store = await disk()
    await appended(store, *"xxx")
    store.trim("app", 0, AT)
    store = await disk()
    assert list(store.read_after("app", 0)) == []
    assert store.append(notification("y"), AT).sequence == 4
    store = await disk()
    assert [entry.sequence for entry in store.read_after("app", 0)] == [4]


async def test_nobody_reads_what_a_crash_would_make_undone(disk: Reopen) -> None:
    store = await disk()
    kept = asyncio.Event()
    store.append(notification("x"), AT, lambda entry: kept.set())
    assert list(store.read_after("app", 0)) == []
    assert not kept.is_set()
    await kept.wait()
    assert [entry.notification.data for entry in store.read_after("app", 0)] == [b"x"]


@pytest.mark.parametrize("record_first", [True, False])
async def test_a_notification_and_the_record_that_it_was_sent_are_one_commit(
    tmp_path: Path, record_first: bool
) -> None:
    """As the gateway does it: the record is saved by a task that is made in the same pass of the loop."""
    store = SqliteStore(tmp_path / "state.db")
    statements: list[str] = []

    def listen(db: sqlite3.Connection) -> None:
        db.set_trace_callback(statements.append)

    await store.call(listen)
    for _ in range(20):
        saving = []
        if record_first:
            saving.append(asyncio.ensure_future(store.delete_contract("app", "c")))
        store.append(notification("x"), AT)
        if not record_first:
            saving.append(asyncio.ensure_future(store.delete_contract("app", "c")))
        await saving[0]
    text = " ".join(s.split()[0] for s in statements if s.startswith(("INSERT", "DELETE", "COMM")))
    commits = [part.split() for part in text.split("COMMIT")]
    assert all(("INSERT" in c) == ("DELETE" in c) for c in commits)
    assert text.count("DELETE") == 20
    await store.close()


CRASHING = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import sipbridge.store
from test_sqlite import AT, notification, publication

async def main():
    store = sipbridge.store.open("sqlite:///state.db", directory=Path(sys.argv[1]))
    everything = asyncio.Event()
    for number in range(2500):
        last = store.append(notification(str(number)), AT, lambda entry: everything.set()).sequence
        everything.clear()
    await everything.wait()
    store.trim("app", 10, AT)
    everything.clear()
    waiting = set(range(200))

    def done(numbers, error):
        assert error is None
        waiting.difference_update(numbers)
        if not waiting:
            everything.set()

    for number in range(200):
        store.write([(number, publication(number))], done)
    await everything.wait()
    for number in range(100):
        last = store.append(notification(str(number)), AT).sequence
    print(last, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_promised_survives_kill_9(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, str(tmp_path), here, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    last = int(printed)
    store = sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    kept = [record.id for record in await store.load_agent()]
    assert kept == [f"p{number}" for number in range(200)]
    # Ten were written before `done`, the newest hundred may or may not have reached the disk.
    entries = [entry.notification.data for entry in store.read_after("app", 0)]
    assert len(entries) <= 10 + 100 + MOST, "what was trimmed may come back, a page of it at most"
    first = entries.index(b"2490")
    assert entries[first : first + 10] == [b"%d" % n for n in range(2490, 2500)]
    following = store.append(notification("after"), AT).sequence
    assert last < following <= last + 2 * RESERVE
    await store.close()


WRITING = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import sipbridge.store
from test_sqlite import AT, notification, publication

async def main():
    store = sipbridge.store.open("sqlite:///state.db", directory=Path(sys.argv[1]))
    for number in range(100):
        stored = asyncio.Event()
        store.append(notification(str(number)), AT)
        store.write([(number, publication(number))], lambda numbers, error: stored.set())
        await stored.wait()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_file_cut_at_any_point_of_its_wal_opens_and_is_whole_up_to_there(
    tmp_path: Path,
) -> None:
    """A power cut tears the log anywhere. What is left is a past state, never half of one."""
    here = str(Path(__file__).parent)
    (tmp_path / "torn").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITING, str(tmp_path), here, stdout=asyncio.subprocess.PIPE
    )
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    state, wal = (tmp_path / name for name in ("state.db", "state.db-wal"))
    size = wal.stat().st_size
    assert size > 100_000
    chance = random.Random(5)
    lengths = set()
    for cut in [0, 1, 31, 32, size - 1, size, *(chance.randrange(size) for _ in range(30))]:
        torn = tmp_path / "torn" / str(cut)
        torn.mkdir(exist_ok=True)
        shutil.copy(state, torn)
        (torn / "state.db-wal").write_bytes(wal.read_bytes()[:cut])
        store = sipbridge.store.open("sqlite:///state.db", directory=torn)
        kept = [record.id for record in await store.load_agent()]
        assert kept == [f"p{number}" for number in range(len(kept))]
        entries = [entry.notification.data for entry in store.read_after("app", 0)]
        assert entries == [b"%d" % number for number in range(len(kept))]
        lengths.add(len(kept))
        await written(store, publication(1000))
        await store.close()
    assert max(lengths) == 100 and len(lengths) > 10


async def written(store: Store, change: PublicationStored) -> None:
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    store.write([(1, change)], lambda numbers, error: done.set_result(error))
    assert await done is None


async def test_two_bridges_cannot_use_one_file(tmp_path: Path) -> None:
    first = sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    with pytest.raises(InUse, match=rf"in use by process {os.getpid()} on "):
        sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    await first.close()
    second = sipbridge.store.open("sqlite:///state.db", directory=tmp_path)
    await second.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"presence is a state of mind" * 100)
    with pytest.raises(StoreUnavailable, match=r"state\.db cannot be opened"):
        sipbridge.store.open("sqlite:///state.db", directory=tmp_path)


async def test_a_log_that_cannot_be_read_is_refused_and_left_to_nobody(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await appended(store, "x")
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        (entries,) = db.execute("SELECT entries FROM pages").fetchone()
        db.execute("UPDATE pages SET entries = ?", (entries[:-1],))
    with pytest.raises(StoreUnavailable, match=r"state\.db cannot be read: .*truncated"):
        SqliteStore(tmp_path / "state.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
        assert db.execute("SELECT * FROM owner").fetchall() == []
        db.execute("UPDATE pages SET entries = ?", (entries,))
    store = SqliteStore(tmp_path / "state.db")
    assert len(store.read_after("app", 0)) == 1
    await store.close()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="Not a directory|exists"):
        sipbridge.store.open("sqlite:///file/state.db", directory=tmp_path)


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnavailable, match="step 99"):
        sipbridge.store.open("sqlite:///state.db", directory=tmp_path)


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    store = sipbridge.store.open("sqlite:///deep/state.db", directory=tmp_path)
    await store.close()
    assert (tmp_path / "deep" / "state.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "deep").stat().st_mode & 0o077 == 0


async def test_a_refusing_disk_is_reported_and_nothing_is_lost_when_it_recovers(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.call(lambda db: db.execute("PRAGMA max_page_count = 1").close())
    failed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    large = "kept" * 100_000
    store.append(notification(large), AT)
    store.remember("kind", "key", large)
    big = replace(publication(1), body=large.encode())
    store.write([(1, big)], lambda numbers, error: failed.set_result(error))
    assert isinstance(await failed, StoreUnavailable)
    assert not store.writable()
    await store.call(lambda db: db.execute("PRAGMA max_page_count = 100000").close())
    assert store.writable()
    assert list(await store.load_snapshots("kind")) == [("key", large)]
    await store.close()
    again = SqliteStore(tmp_path / "state.db")
    assert [entry.notification.data for entry in again.read_after("app", 0)] == [large.encode()]
    assert list(await again.load_agent()) == []
    await again.close()


async def test_readiness_recovers_by_itself_once_the_disk_does(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    store.writer.healthy = False
    assert not store.writable()  # and starts another try
    await store.load_contracts()
    assert store.writable()
    await store.close()


async def test_many_writes_share_few_commits(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    commits: list[str] = []

    def count(db: sqlite3.Connection) -> None:
        db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    await store.call(count)
    left = asyncio.Event()
    seen: list[int] = []

    def done(numbers: list[int], error: Exception | None) -> None:
        seen.extend(numbers)
        if len(seen) == 1000:
            left.set()

    for number in range(1000):
        store.write([(number, publication(number))], done)
    await left.wait()
    assert seen == list(range(1000))
    assert len(commits) < 500
    await store.close()


async def test_a_cancelled_caller_does_not_stop_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    task = asyncio.ensure_future(store.save_snapshot("a", "b", "c"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(await store.load_snapshots("a")) == [("b", "c")]
    await store.close()


def test_urls_name_files_as_sqlalchemy_has_it(tmp_path: Path) -> None:
    assert path_of("sqlite:///a/b.db", tmp_path) == tmp_path / "a" / "b.db"
    assert path_of("sqlite:////a/b.db", tmp_path) == Path("/a/b.db")
    for wrong in ("sqlite://", "sqlite:///", "mysql:///x", "b.db"):
        with pytest.raises(ConfigurationError, match=r"store\.url"):
            path_of(wrong, tmp_path)


def test_without_a_url_the_state_directory_is_used(tmp_path: Path) -> None:
    def where(**environ: str) -> Path:
        return path_of("", tmp_path, environ)

    assert where(STATE_DIRECTORY="/var/lib/a:/var/lib/b") == Path("/var/lib/a/state.db")
    assert where(XDG_STATE_HOME="/x") == Path("/x/sipbridge/state.db")
    assert where() == Path.home() / ".local" / "state" / "sipbridge" / "state.db"
    assert os.path.isabs(where())
