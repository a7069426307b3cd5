"""`client.people` of the asynchronous client; what it promises is told in `watching.py`.

A task reads the stream and calls handlers in the client's loop; what came before the answer to a start is
told by the start itself. A handler may be a coroutine function; it is awaited before the next update is
looked at.
"""

import asyncio
import inspect
from collections.abc import Iterable

from sipbridge.client.async_events import AsyncEventStream
from sipbridge.client.errors import PresenceError
from sipbridge.client.http import AsyncHttp
from sipbridge.client.watching import (
    EVENTS,
    Handler,
    PresenceHandle,
    Update,
    Watches,
    log,
    read_update,
    start_watching,
    stop_watching,
)


class AsyncPeople:
    """`client.people` of the asynchronous client."""

    def __init__(self, http: AsyncHttp) -> None:
        self.http = http
        self.watches = Watches()
        self.opening = asyncio.Lock()
        self.stream: AsyncEventStream[Update] | None = None
        self.reading: asyncio.Task[None] | None = None

    async def start_watching_presences(
        self, contact_ids: Iterable[str], handler: Handler
    ) -> list[PresenceHandle]:
        """Watch contacts: addresses (sip, sips, pres, tel, mailto, or without scheme) or ids of identities.

        Returns one handle for each, in their order. handler: called with a Presence for each now and
        whenever it changes; awaited if it returns something to await. Raises PresenceError when the bridge
        can not be asked.
        """
        self.watches.starting += 1
        try:
            await self.listen()
            handles = await self.http.call(start_watching(contact_ids))
            for update in self.watches.started(handles, handler):
                await self.tell(update)
            return handles
        finally:
            self.watches.settled()
            await self.rest()

    async def stop_watching_presences(self, handles: Iterable[PresenceHandle]) -> None:
        """Watch these no more; the handler is not called for them again."""
        given = list(handles)
        self.watches.stopped(given)
        await self.rest()
        await self.http.call(stop_watching(given))

    async def listen(self) -> None:
        """Have a stream that is open."""
        async with self.opening:
            if self.reading is None or self.reading.done():
                self.stream = AsyncEventStream(self.http, EVENTS, read_update, None)
                await self.stream.__aenter__()
                self.reading = asyncio.get_running_loop().create_task(self.read(self.stream))

    async def read(self, stream: AsyncEventStream[Update]) -> None:
        async with stream:
            try:
                async for update in stream:
                    await self.tell(update)
            except PresenceError as error:
                log.error("watching ended: %s", error)

    async def tell(self, update: Update) -> None:
        handler = self.watches.hear(update)
        if handler is None or update.presence is None:
            return
        try:
            result = handler(update.presence)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("a presence handler failed")

    async def rest(self) -> None:
        """Close the stream if nobody is watched."""
        if self.watches.idle:
            await self.aclose()

    async def aclose(self) -> None:
        """End the stream. The bridge keeps the handles until they are stopped."""
        reading, self.reading = self.reading, None
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.aclose()
        if reading is not None and reading is not asyncio.current_task():
            # Else a handler has stopped the last watch: when it returns, there is nothing more to read.
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
