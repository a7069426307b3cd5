"""Listening on Bayeux channels, asynchronous, by long-polling or over a WebSocket.

What a listener promises is told in `listener.py`. One task turns the crank of a `BayeuxClient`: it sends
what the core wants sent, wakes it when its time has come, and hands on what it heard. By long-polling each
exchange is a request of its own; over a WebSocket they are frames on one socket, opened when there is
something to send. When the core gives up what is under way, so does the driver.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Self

from sipbridge.bayeux.client import BayeuxClient, Exchange, Interrupted
from sipbridge.client.errors import BadAnswer, PresenceError, Unreachable
from sipbridge.client.http import CONNECT_TIMEOUT, AsyncHttp, unreachable
from sipbridge.client.listener import MARGIN, Ear, Heard, content_of, messages_of
from sipbridge.client.operations import BAYEUX
from sipbridge.errors import ConfigurationError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

Transport = Literal["long-polling", "websocket"]

GOODBYE_SECONDS = 2.0
"""How long saying goodbye may take."""


class AsyncListener:
    """Notifications on some channels. An asynchronous iterator and context manager.

    Waiting for the next one may be cancelled without losing anything.
    """

    def __init__(
        self, http: AsyncHttp, channels: Iterable[str], transport: Transport = "long-polling"
    ) -> None:
        self.http = http
        self.core = BayeuxClient(random.random, connection_type=transport)
        self.ear = Ear()
        self.carrier = (Socket if transport == "websocket" else Polling)(self)
        self.woken = asyncio.Event()
        """Something came back, or there is something new to do."""
        self.news = asyncio.Event()
        """Somebody who waits for a notification shall look again."""
        self.turning: asyncio.Task[None] | None = None
        self.closed = False
        for channel in channels:
            self.core.subscribe(channel, 0.0)

    async def __aenter__(self) -> Self:
        """Shake hands and subscribe: what is sent from now on arrives. Raises Fault and Unreachable."""
        loop = asyncio.get_running_loop()
        self.core.start(loop.time())
        self.turning = loop.create_task(self.run())
        self.turning.add_done_callback(lambda done: self.news.set())
        try:
            while not (self.ear.connected or self.ear.waiting):
                await self.wait_for_news()
                if self.ear.interrupted is not None:
                    raise Unreachable(self.ear.interrupted.reason)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        """Wait for the next one. Raises Fault when the bridge refuses for good."""
        if self.turning is None and not self.closed:
            await self.__aenter__()
        while True:
            told = self.ear.take()
            if told is not None:
                return told
            if self.closed:
                raise StopAsyncIteration
            await self.wait_for_news()

    async def wait_for_news(self) -> None:
        self.news.clear()
        await self.news.wait()
        if self.turning is not None and self.turning.done() and not self.closed:
            await self.turning  # raises what ended it, which would be an error of ours

    async def run(self) -> None:
        """Turn the crank until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.woken.clear()
            self.core.handle_timeout(loop.time())
            for said in self.core.indications():
                self.ear.hear(said)
                self.news.set()
                if isinstance(said, Interrupted):
                    await self.carrier.drop()
            for exchange in self.core.sends():
                self.carrier.send(exchange)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.core.next_timeout()):
                    await self.woken.wait()

    async def aclose(self) -> None:
        """Say goodbye and end the iteration."""
        if self.closed:
            return
        self.closed = True
        if self.turning is not None:
            self.turning.cancel()
            await asyncio.gather(self.turning, return_exceptions=True)
        self.core.disconnect(asyncio.get_running_loop().time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.carrier.goodbye(self.core.sends())
        await self.carrier.drop()
        self.news.set()


class Polling:
    """Exchanges as HTTP requests, each in a task."""

    def __init__(self, listener: AsyncListener) -> None:
        self.listener = listener
        self.http = listener.http
        self.under_way: set[asyncio.Task[None]] = set()

    def send(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self.post(exchange))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def post(self, exchange: Exchange) -> None:
        core, loop = self.listener.core, asyncio.get_running_loop()
        try:
            answer = messages_of(await self.request(exchange, core.patience(exchange) + MARGIN))
        except PresenceError as error:
            core.failed(exchange.number, str(error), loop.time())
        else:
            core.receive(exchange.number, answer, loop.time())
        self.listener.woken.set()

    async def request(self, exchange: Exchange, seconds: float) -> bytes:
        """Raises Unreachable, BadAnswer."""
        try:
            response = await self.http.client.post(
                self.http.site.base + BAYEUX,
                headers={**self.http.site.headers, "Content-Type": "application/json"},
                content=content_of(exchange),
                timeout=seconds,
            )
        except self.http.library.HTTPError as error:
            raise unreachable(error) from error
        if response.status_code != 200:
            raise BadAnswer(f"HTTP {response.status_code}")
        return response.content

    async def goodbye(self, exchanges: Iterable[Exchange]) -> None:
        for exchange in exchanges:
            with contextlib.suppress(PresenceError):
                await self.request(exchange, GOODBYE_SECONDS)

    async def drop(self) -> None:
        """Give up what is under way."""
        tasks = list(self.under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Socket:
    """Exchanges as frames on a WebSocket, which one task opens, writes and reads."""

    def __init__(self, listener: AsyncListener) -> None:
        try:
            from websockets.asyncio.client import connect
        except ImportError:
            raise ConfigurationError(
                "transport", "websocket needs the extra 'client': pip install 'sipbridge[client]'"
            ) from None
        self.connect = connect
        self.listener = listener
        self.http = listener.http
        self.connection: ClientConnection | None = None
        self.outgoing: asyncio.Queue[Exchange] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    def send(self, exchange: Exchange) -> None:
        self.outgoing.put_nowait(exchange)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """One connection from its opening to its end."""
        from websockets.exceptions import WebSocketException

        reason = "the socket was closed"
        try:
            self.connection = await self.open()
            writing = asyncio.get_running_loop().create_task(self.write(self.connection))
            try:
                async for frame in self.connection:
                    self.hear(frame)
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        except (OSError, WebSocketException, PresenceError) as error:
            reason = str(error) or type(error).__name__
        finally:
            self.connection = None
        self.listener.core.link_lost(reason, asyncio.get_running_loop().time())
        self.listener.woken.set()

    async def open(self) -> "ClientConnection":
        return await self.connect(
            "ws" + self.http.site.base.removeprefix("http") + BAYEUX,
            additional_headers=self.http.site.headers,
            open_timeout=CONNECT_TIMEOUT,
            close_timeout=GOODBYE_SECONDS,
        )

    async def write(self, connection: "ClientConnection") -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            while True:
                exchange = await self.outgoing.get()
                await connection.send(content_of(exchange).decode())

    def hear(self, frame: str | bytes) -> None:
        """Raises BadAnswer."""
        now = asyncio.get_running_loop().time()
        self.listener.core.receive_frame(messages_of(frame), now)
        self.listener.woken.set()

    async def goodbye(self, exchanges: Iterable[Exchange]) -> None:
        if self.connection is None:
            return
        for exchange in exchanges:
            await self.connection.send(content_of(exchange).decode())
        await self.connection.close()

    async def drop(self) -> None:
        """Give up the connection and what was to be written on it."""
        while not self.outgoing.empty():
            self.outgoing.get_nowait()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None
