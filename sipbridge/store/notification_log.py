"""The notification log in memory: one deque for each application, sequences that only grow.

`SqliteStore` keeps one of these too and writes what it is told behind it, so that reading never waits.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from sipbridge.gateway.ports import LogEntry, Notification

OVERHEAD = 500
"""Bytes an entry takes beside its texts, here and on disk."""


class MemoryLog:
    """`gateway.ports.NotificationLog`, with appending in two steps."""

    def __init__(self) -> None:
        self.entries: dict[str, deque[LogEntry]] = {}
        self.last: dict[str, int] = {}
        """The last sequence given out, for each application."""
        self.sizes: dict[str, int] = {}
        """Bytes of the entries held, for each application."""

    def numbered(self, notification: Notification, at: datetime) -> LogEntry:
        """An entry with the application's next sequence; readers do not see it before `show`."""
        sequence = self.last.get(notification.application, 0) + 1
        self.last[notification.application] = sequence
        return LogEntry(sequence, at, notification)

    def show(self, entry: LogEntry) -> None:
        """Let readers see an entry, also one of an earlier life; called in the order of sequences."""
        application = entry.notification.application
        entries = self.entries.get(application)
        if entries is None:
            entries = self.entries[application] = deque()
            self.sizes[application] = 0
        entries.append(entry)
        self.sizes[application] += size_of(entry.notification)
        if entry.sequence > self.last.get(application, 0):
            self.last[application] = entry.sequence

    def read_after(self, application: str, sequence: int) -> Sequence[LogEntry]:
        entries = self.entries.get(application)
        if not entries or entries[-1].sequence <= sequence:
            return ()
        # A reader is usually only a few entries behind: look from the young end.
        newer = itertools.takewhile(lambda entry: entry.sequence > sequence, reversed(entries))
        return list(newer)[::-1]

    def oldest(self, application: str) -> int:
        entries = self.entries.get(application)
        return entries[0].sequence if entries else 0

    def trim(
        self, application: str, entries: int, not_before: datetime, size: int | None = None
    ) -> int:
        """Returns the sequence of the newest entry that went, 0 if none did."""
        held = self.entries.get(application, deque())
        left = self.sizes.get(application, 0)
        gone = 0
        while held and (
            len(held) > entries
            or held[0].at < not_before
            or (size is not None and left > size and len(held) > 1)
        ):
            entry = held.popleft()
            gone, left = entry.sequence, left - size_of(entry.notification)
        if gone:
            self.sizes[application] = left
        return gone


def size_of(notification: Notification) -> int:
    """What counts towards the bound on bytes."""
    return OVERHEAD + len(notification.data) + len(notification.endpoint)
