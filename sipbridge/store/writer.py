"""The thread that owns the database connection.

Jobs come through a queue in order. The thread takes everything that waits, runs it in one transaction and
commits once: while the disk is busy with one commit the next group gathers, so the more there is to do, the
more each commit carries. Results go back to the event loop in one call for the whole group.

A job that refuses (a `SipBridgeError`, raised before it wrote anything) fails alone. When SQLite itself
objects, the group is rolled back and each of its jobs is tried again alone, so that one bad job cannot take
others with it.
Reads are jobs too: they see every write queued before them. Jobs that are put together stay together: a
commit holds all of them or none, unless one of them is refused by SQLite.

Every transaction begins with the `fence`, which refuses when the file is not ours any more. From then on all
jobs are refused, and `lost` is told once.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sipbridge.errors import SipBridgeError, StoreUnavailable
from sipbridge.store.ownership import Lost

T = TypeVar("T")
PAUSE = 0.002
"""Seconds from the beginning of a commit to that of the next at least: what comes meanwhile goes with it.
Whoever comes alone does not wait. 500 commits a second are enough; each costs a tenth of a millisecond."""
MAX_GROUP = 1000
"""Jobs in one transaction: bounds how long the first of them waits for the others."""


@dataclass(slots=True)
class Job(Generic[T]):
    """`work` runs in the thread, `done(result, error)` afterwards in the event loop."""

    work: Callable[[sqlite3.Connection], T]
    done: Callable[[T | None, Exception | None], None]
    result: T | None = None
    error: Exception | None = None


class Writer:
    """One connection, one thread, one queue."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        fence: Callable[[sqlite3.Connection], None],
        release: Callable[[sqlite3.Connection], None],
        lost: Callable[[StoreUnavailable], None],
        taken_back: Callable[[], None] = lambda: None,
    ) -> None:
        """`lost` runs in the loop; `fence`, `taken_back` (after a transaction that failed) and `release` (the
        very last thing) in the thread.
        """
        self.connection = connection
        self.loop = loop
        self.fence = fence
        self.release = release
        self.lost = lost
        self.taken_back = taken_back
        self.taken: Lost | None = None
        self.jobs: queue.SimpleQueue[Sequence[Job[object]] | None] = queue.SimpleQueue()
        self.closed = False
        self.healthy = True
        """Did the last commit succeed? Written by the thread, read by the loop."""
        # A daemon: a program that dies without close() must not hang here.
        self.thread = threading.Thread(target=self.run, name="store", daemon=True)
        self.thread.start()

    def put(self, jobs: Sequence[Job[object]]) -> None:
        """Queue jobs that belong into one commit, in this order."""
        if self.closed:
            raise StoreUnavailable("the store is closed")
        self.jobs.put(jobs)

    async def close(self) -> None:
        """Finish what waits, then close the connection."""
        if not self.closed:
            self.closed = True
            self.jobs.put(None)
        await asyncio.to_thread(self.thread.join)

    # --- in the thread

    def run(self) -> None:
        going = True
        while going:
            group, going = self.gather()
            if group:
                began = time.monotonic()
                self.commit(group)
                self.loop_call(finish, group)
                time.sleep(max(0.0, began + PAUSE - time.monotonic()))
        with contextlib.suppress(sqlite3.Error):  # whoever comes next sees that we have ended
            self.release(self.connection)
        self.connection.close()

    def gather(self) -> tuple[list[Job[object]], bool]:
        """Everything that waits, at least one; False when there will be no more."""
        jobs = self.jobs.get()
        group: list[Job[object]] = []
        while jobs is not None:
            group += jobs
            if len(group) >= MAX_GROUP or self.jobs.empty():
                return group, True
            jobs = self.jobs.get()
        return group, False

    def commit(self, group: list[Job[object]]) -> None:
        try:
            self.transact(group)
        except sqlite3.Error as error:
            if len(group) > 1:
                for job in group:
                    self.commit([job])
                return
            self.healthy = False
            group[0].error = unavailable(error)
        except Lost as error:
            self.healthy = False
            for job in group:
                job.error = error
            if self.taken is None:
                self.taken = error
                self.loop_call(self.lost, error)
        except Exception as error:
            self.fail(group, error)
        else:
            self.healthy = True

    def transact(self, group: list[Job[object]]) -> None:
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self.fence(self.connection)
            for job in group:
                job.result = job.error = None
                try:
                    job.result = job.work(self.connection)
                except SipBridgeError as refusal:
                    job.error = refusal
            execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors (a full disk).
            self.taken_back()
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise

    def fail(self, group: list[Job[object]], error: Exception) -> None:
        if len(group) > 1:
            for job in group:
                self.commit([job])
        else:
            group[0].error = error

    def loop_call(self, call: Callable[[T], None], value: T) -> None:
        # After the loop is gone nobody waits any more.
        if not self.loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(call, value)


def finish(group: list[Job[object]]) -> None:
    """In the event loop: tell each job what became of it."""
    for job in group:
        job.done(job.result, job.error)


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    result = StoreUnavailable(f"the database cannot be written: {error}")
    result.__cause__ = error
    return result
