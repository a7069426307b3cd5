"""Everything a store does, as one shape.

The gateway knows two parts of it (`gateway/ports.py`: `GatewayStore`, `NotificationLog`), the drivers
`write`, `app` the rest. `memory.py` and `sqlite.py` implement it; one suite of tests runs against both.

Three kinds of durability, and only these:

- `GatewayStore` calls and `save_snapshot`: durable when the call returns.
- `write`: durable when `done` is called without an error. What the SIP cores promise waits for it.
- `append`, `trim`, `update_contracts`, `remember`: never wait; they are on disk one group commit later
  (milliseconds). An entry is read, and told of, when it is there: nobody is told what a crash would make
  undone. While the disk refuses to write, entries are shown all the same.

A write begins when it is called, not when it is awaited. Whatever is written, appended and remembered in one
go, without waiting in between, is one commit: a notification and the record that says it was sent are kept
together or not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sipbridge.agent.ports import Record, StoreChange
from sipbridge.errors import StoreUnavailable
from sipbridge.gateway.ports import GatewayStore, LogEntry, NotificationLog


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State that some part wants back after a restart, keyed by (kind, key); `text` is its own affair."""

    kind: str
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class SnapshotRemoved:
    """The part has no use for that state any more."""

    kind: str
    key: str


Change = StoreChange | Snapshot | SnapshotRemoved
Done = Callable[[list[int], Exception | None], None]
"""Called in the event loop with the numbers of the changes: all are durable, or none is."""
Kept = Callable[[LogEntry], None]
Lost = Callable[[StoreUnavailable], None]


def forgotten(entry: LogEntry) -> None:
    """Nobody waits for this entry."""


class Store(GatewayStore, NotificationLog, Protocol):
    """What `store.open` returns. All calls come from one event loop."""

    @property
    def location(self) -> str:
        """Where the data are, for people."""
        ...

    def write(self, changes: Sequence[tuple[int, object]], done: Done) -> None:
        """Make numbered `Change` values durable, in order and together with whatever else waits."""
        ...

    async def load_agent(self) -> Sequence[Record]:
        """The newest publications and subscriptions of the presence agent, oldest change first."""
        ...

    async def save_snapshot(self, kind: str, key: str, text: str) -> None: ...

    async def delete_snapshot(self, kind: str, key: str) -> None: ...

    async def load_snapshots(self, kind: str) -> Sequence[tuple[str, str]]:
        """(key, text) of one kind, sorted by key."""
        ...

    def remember(self, kind: str, key: str, text: str | None) -> None:
        """A snapshot that nobody waits for; the newest wins, None removes."""
        ...

    def when_lost(self, tell: Lost) -> None:
        """`tell` is called once if another process takes the data over; nothing can be written any more."""
        ...

    def writable(self) -> bool:
        """Did the last write succeed? After a failure each call also starts another try."""
        ...

    async def close(self) -> None:
        """Write what waits and let go of the files. Later calls raise StoreUnavailable."""
        ...
