"""A running bridge, and clients of the SDK for its applications."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar, cast

import pytest

from sipbridge.client import AsyncPresenceClient, PresenceClient
from tests.app.rig import PATIENCE, Site, site

T = TypeVar("T")


@pytest.fixture
async def bridge() -> AsyncIterator[Site]:
    async with site() as there:
        yield there


def blocking(base: str, name: str) -> PresenceClient:
    """alice or bob, blocking."""
    return PresenceClient(base, f"app_{name}", f"secret-{name}")


def asynchronous(base: str, name: str) -> AsyncPresenceClient:
    """alice or bob, asynchronous."""
    return AsyncPresenceClient(base, f"app_{name}", f"secret-{name}")


async def in_thread(story: Callable[[], T]) -> T:
    """Play a blocking story beside the bridge; one that never ends is left behind and fails."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(cast(T, result))
        else:
            done.set_exception(error)

    def play() -> None:
        try:
            result, error = story(), None
        except BaseException as raised:
            result, error = None, raised
        with contextlib.suppress(RuntimeError):  # the loop has not waited for us
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=play, daemon=True).start()
    return await asyncio.wait_for(done, PATIENCE)


async def soon(waiting: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wait_for(waiting, PATIENCE)
