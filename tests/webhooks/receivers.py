"""A receiver of webhooks on a real socket, with a will of its own; and a clock for ages."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from sipbridge.gateway.ports import LogEntry, Notification

PATIENCE = 20.0
"""Seconds anything may take to arrive; only a failing test waits so long."""
KEY = b"0123456789abcdef0123456789abcdef"
APPLICATION = "app_bob"


@dataclass(slots=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Receiver:
    """Answers 204, or what `answers` says, one for each request, in order."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: list[int | web.Response | Handler] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(request.raw_path, headers, body, id(request.transport)))
        self.news.set()
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            answer = self.answers.pop(0) if self.answers else 204
            if isinstance(answer, int):
                return web.Response(status=answer)
            if isinstance(answer, web.Response):
                return answer
            return await answer(request)
        finally:
            self.busy -= 1

    async def until(self, count: int) -> list[Got]:
        """The requests, as soon as there are so many."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self.got) < count:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{count} requests expected, got {self.got}") from None
        return self.got


@contextlib.asynccontextmanager
async def receiver(
    *answers: int | web.Response | Handler, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    made = Receiver(answers=list(answers))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def now(self) -> float:
        return self.time.timestamp()

    def at(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def status(endpoint: str, number: int, correlator: str = "w-1") -> Notification:
    body = {"statusChanged": {"changedAttributes": [], "correlator": correlator, "n": number}}
    data = json.dumps(body).encode()
    return Notification(APPLICATION, endpoint, "statusChanged", data, correlator)


def decided(endpoint: str) -> Notification:
    data = b'{"notifySubscription":{}}'
    return Notification(APPLICATION, endpoint, "notifySubscription", data)


def entry(sequence: int, notification: Notification, at: datetime) -> LogEntry:
    return LogEntry(sequence, at, notification)
