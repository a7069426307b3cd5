"""Everything a store does, as one shape.

The gateway knows two parts of it (`gateway/ports.py`: `GatewayStore`, `NotificationLog`), the drivers
`write`, `app` the rest. `memory.py` and `sqlite.py` implement it; one suite of tests runs against both.

Three kinds of durability, and only these:

- `GatewayStore` calls and `save_snapshot`: durable when the call returns.
- `write`: durable when `done` is called without an error. What the SIP cores promise waits for it.
- `append`, `trim` and `remember`: never wait; they are on disk one group commit later (milliseconds). A crash
  in between loses the newest entries of the log on disk, never the order, and sequences are not used twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sipbridge.agent.ports import Record, StoreChange
from sipbridge.gateway.ports import GatewayStore, NotificationLog


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

    def writable(self) -> bool:
        """Did the last write succeed? After a failure each call also starts another try."""
        ...

    async def close(self) -> None:
        """Write what waits and let go of the files. Later calls raise StoreUnavailable."""
        ...
