"""The memory store commits when told: tests of other packages lean on that."""

import asyncio

from sipbridge.errors import StoreUnavailable
from sipbridge.store import Snapshot
from sipbridge.store.memory import MemoryStore


async def test_held_writes_wait_until_released() -> None:
    store = MemoryStore()
    store.hold = True
    said: list[tuple[list[int], Exception | None]] = []
    store.write(
        [(1, Snapshot("k", "a", "1"))], lambda numbers, error: said.append((numbers, error))
    )
    await asyncio.sleep(0)
    assert said == []
    assert list(await store.load_snapshots("k")) == []
    store.release()
    assert said == [([1], None)]
    assert list(await store.load_snapshots("k")) == [("a", "1")]


async def test_held_writes_can_be_made_to_fail() -> None:
    store = MemoryStore()
    store.hold = True
    said: list[tuple[list[int], Exception | None]] = []
    store.write(
        [(1, Snapshot("k", "a", "1"))], lambda numbers, error: said.append((numbers, error))
    )
    failure = StoreUnavailable("full")
    store.release(failure)
    assert said == [([1], failure)]
    assert list(await store.load_snapshots("k")) == []
