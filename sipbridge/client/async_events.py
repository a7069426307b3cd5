"""A stream of server-sent events as an asynchronous iterator: `Follower` with a connection."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from sipbridge.client.errors import PresenceError, Unreachable
from sipbridge.client.http import AsyncHttp, hang_up, unreachable
from sipbridge.client.stream import Follower, ServerSentEvent, is_final, pause

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class AsyncEventStream(Generic[T]):
    """What an application is told, one after the other. An asynchronous iterator and context manager.

    It connects when it is entered (`async with`) or first asked; what happens after that is not missed. A
    lost connection is made again for ever, with growing pauses. What ends an iteration is `aclose`, or a
    refusal that waiting does not cure (401, 403, 404), which is raised.

    Waiting for the next one may be cancelled (`asyncio.timeout`, `wait_for`) without losing anything.
    """

    def __init__(
        self,
        http: AsyncHttp,
        path: str,
        read: Callable[[ServerSentEvent], T],
        last_event_id: str | None,
    ) -> None:
        self.http = http
        self.path = path
        self.follower = Follower(read, last_event_id, random.random)
        self.response: httpx2.Response | None = None
        self.chunks: AsyncIterator[bytes] | None = None
        self.closed = asyncio.Event()
        self.waiting = False
        """Is a task waiting for the next event?"""

    @property
    def last_event_id(self) -> str:
        """Where a later stream can go on: behind the last event that was taken."""
        return self.follower.last_event_id

    async def __aenter__(self) -> Self:
        """Connect. Raises Fault and Unreachable: the first attempt is the only one."""
        if self.response is None:
            await self.connect()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Wait for the next event. Raises Fault when the bridge refuses for good."""
        self.waiting = True
        try:
            while not self.closed.is_set():
                told = self.follower.take()
                if told is not None:
                    return told
                await self.advance()
        except BaseException:
            # Also when the wait is cancelled: the library has given the connection up half-way.
            await self.disconnect()
            raise
        finally:
            self.waiting = False
        await self.disconnect()
        raise StopAsyncIteration

    async def advance(self) -> None:
        """Bring more, or wait until it makes sense to try again."""
        try:
            if self.response is None:
                await self.connect()
            else:
                await self.receive()
        except PresenceError as error:
            await self.disconnect()
            if is_final(error):
                raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause(self.follower, error)):
                    await self.closed.wait()

    async def connect(self) -> None:
        """Open the stream and read its beginning, which says where it begins."""
        self.response = await self.http.stream(self.path, self.follower.headers())
        self.chunks = self.response.aiter_bytes()
        await self.receive()

    async def receive(self) -> None:
        """One piece of the stream. Raises Unreachable when there is none."""
        assert self.chunks is not None
        try:
            chunk = await anext(self.chunks, None)
        except (self.http.library.HTTPError, self.http.library.StreamError) as error:
            raise unreachable(error) from error
        if chunk is None:
            raise Unreachable("the stream ended")
        self.follower.receive(chunk)

    async def disconnect(self) -> None:
        response, self.response = self.response, None
        if response is not None:
            await response.aclose()

    async def aclose(self) -> None:
        """End the iteration; what was not taken can be had again with `last_event_id`."""
        self.closed.set()
        if self.waiting:
            hang_up(self.response)  # whoever waits notices, and disconnects
        else:
            await self.disconnect()
