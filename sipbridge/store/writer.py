"""The thread that owns the database connection.

Jobs come through a queue in order. The thread takes everything that waits, runs it in one transaction and
commits once: while the disk is busy with one commit the next group gathers, so the more there is to do, the
more each commit carries. Results go back to the event loop in one call for the whole group.

A job that refuses (a `SipBridgeError`, raised before it wrote anything) fails alone. When SQLite itself
objects, the group is rolled back and each of its jobs is tried again alone, so that one bad job cannot take
others with it.
Reads are jobs too: they see every write queued before them.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sipbridge.errors import SipBridgeError, StoreUnavailable

T = TypeVar("T")
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

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.loop = loop
        self.jobs: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
        self.closed = False
        self.healthy = True
        """Did the last commit succeed? Written by the thread, read by the loop."""
        # A daemon: a program that dies without close() must not hang here.
        self.thread = threading.Thread(target=self.run, name="store", daemon=True)
        self.thread.start()

    def put(self, job: Job[T]) -> None:
        if self.closed:
            raise StoreUnavailable("the store is closed")
        self.jobs.put(job)  # type: ignore[arg-type]  # a queue of jobs of any result

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the thread; returns when its transaction is durable."""
        future: asyncio.Future[T] = self.loop.create_future()

        def done(result: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # without an error it is T

        self.put(Job(work, done))
        return await future

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
                self.commit(group)
                self.loop_call(group)
        self.connection.close()

    def gather(self) -> tuple[list[Job[object]], bool]:
        """Everything that waits, at least one; False when there will be no more."""
        job = self.jobs.get()
        group: list[Job[object]] = []
        while job is not None:
            group.append(job)
            if len(group) == MAX_GROUP or self.jobs.empty():
                return group, True
            job = self.jobs.get()
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
        except Exception as error:
            self.fail(group, error)
        else:
            self.healthy = True

    def transact(self, group: list[Job[object]]) -> None:
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for job in group:
                job.result = job.error = None
                try:
                    job.result = job.work(self.connection)
                except SipBridgeError as refusal:
                    job.error = refusal
            execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors (a full disk).
            if self.connection.in_transaction:
                execute("ROLLBACK")
            raise

    def fail(self, group: list[Job[object]], error: Exception) -> None:
        if len(group) > 1:
            for job in group:
                self.commit([job])
        else:
            group[0].error = error

    def loop_call(self, group: list[Job[object]]) -> None:
        # After the loop is gone nobody waits any more.
        if not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(finish, group)
            except RuntimeError:
                return


def finish(group: list[Job[object]]) -> None:
    """In the event loop: tell each job what became of it."""
    for job in group:
        job.done(job.result, job.error)


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    result = StoreUnavailable(f"the database cannot be written: {error}")
    result.__cause__ = error
    return result
