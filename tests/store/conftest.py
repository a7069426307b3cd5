"""One fixture for every store: the same suite runs against each implementation."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import sipbridge.store
from sipbridge.store import Store

Reopen = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory://", "sqlite:///state.db", "sqlite-normal"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url, synchronous = request.param, "full"
    if url == "sqlite-normal":
        url, synchronous = "sqlite:///state.db", "normal"
    store = sipbridge.store.open(url, directory=tmp_path, synchronous=synchronous)
    yield store
    await store.close()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Reopen]:
    """Opens a database, and the same one again after closing what was open."""
    opened: list[Store] = []

    async def reopen() -> Store:
        if opened:
            await opened[-1].close()
        opened.append(sipbridge.store.open("sqlite:///state.db", directory=tmp_path))
        return opened[-1]

    yield reopen
    for store in opened:
        await store.close()
