"""The notification log on disk: what one commit adds to one application's log is one row, a page.

A page holds its entries whole (MessagePack) and says which is the last. Adding a hundred entries so costs
hardly more than adding one, and forgetting them costs as much as forgetting one: a page goes when all its
entries are forgotten. After a restart the oldest page may bring back some that were forgotten already; the
bound on the log is a bound, not an exact length.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import msgspec

from sipbridge.gateway.ports import LogEntry
from sipbridge.store.notification_log import MemoryLog

MOST = 100
"""Entries in one page, so that pages are forgotten soon enough."""

Page = tuple[int, str, int, Sequence[LogEntry]]
"""Number, application, last sequence, entries."""

encode = msgspec.msgpack.Encoder().encode


class Pages:
    """Which pages there are. All calls but `write` and `delete` come from the event loop."""

    def __init__(self) -> None:
        self.held: dict[str, deque[tuple[int, int]]] = {}
        """(last sequence, number) of each page on disk, for each application, oldest first."""
        self.numbers = count(1)

    def read(self, db: sqlite3.Connection, log: MemoryLog) -> None:
        """Fill the memory from the disk. Raises sqlite3.Error, msgspec.DecodeError."""
        decode = msgspec.msgpack.Decoder(list[LogEntry]).decode
        rows = db.execute("SELECT id, application, last, entries FROM pages ORDER BY id")
        newest = 0
        for newest, application, last, entries in rows:
            self.held.setdefault(application, deque()).append((last, newest))
            for entry in decode(entries):
                log.show(entry)
        self.numbers = count(newest + 1)

    def make(self, entries: Iterable[LogEntry]) -> list[Page]:
        """New pages with these entries, which are in order for each application."""
        found: dict[str, list[LogEntry]] = {}
        for entry in entries:
            found.setdefault(entry.notification.application, []).append(entry)
        return [
            (next(self.numbers), application, part[-1].sequence, part)
            for application, whole in found.items()
            for part in parts(whole)
        ]

    def added(self, pages: Iterable[Page]) -> None:
        """These are on disk."""
        for number, application, last, _ in pages:
            self.held.setdefault(application, deque()).append((last, number))

    def forget(self, application: str, sequence: int) -> list[tuple[int]]:
        """Numbers of the pages that hold nothing newer than that; they are to be deleted."""
        held, gone = self.held.get(application), []
        while held and held[0][0] <= sequence:
            gone.append((held.popleft()[1],))
        return gone


def parts(entries: list[LogEntry]) -> Iterator[list[LogEntry]]:
    return (entries[at : at + MOST] for at in range(0, len(entries), MOST))


def write(db: sqlite3.Connection, pages: Iterable[Page]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)",
        [(n, application, last, encode(entries)) for n, application, last, entries in pages],
    )


def delete(db: sqlite3.Connection, numbers: Iterable[tuple[int]]) -> None:
    db.executemany("DELETE FROM pages WHERE id = ?", numbers)
