"""`GET /admin/trace`: the SIP messages of the running bridge as they come, one line of JSON each.

`?dialog=CALL-ID`, `?watcher=URI` and `?peer=HOST[:PORT]` choose; without them everything comes. Secrets are
blanked. A reader that is too slow loses messages, never holds the bridge up, and is told how many:
`{"lost": 17}`. Silence is filled with empty lines, so that a reader that left is noticed.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from sipbridge.errors import SipBridgeError
from sipbridge.rest.exchange import Exchange, begun, headers_of, respond
from sipbridge.rest.faults import (
    OPERATOR,
    Fault,
    Refused,
    fault_of,
    no_method,
    no_resource,
    unauthenticated,
)
from sipbridge.rest.security import OPERATOR_CHALLENGES, Authenticator

ROOT = "/admin/trace"
MAX_WAITING = 2_000
"""Messages kept for a reader."""
MAX_READERS = 8
PING = 15.0

Follow = Callable[[Mapping[str, str], Callable[[bytes], None]], Callable[[], None]]
"""Wanted fields and who takes the lines, to what ends it. Raises InvalidValue."""


class TraceApp:
    """The ASGI application, to be mounted at `/admin/trace`.

    authenticate: None means there is no operator.
    """

    def __init__(
        self, authenticate: Authenticator | None, follow: Follow, exchange: Exchange
    ) -> None:
        self.authenticate = authenticate
        self.follow = follow
        self.exchange = exchange
        self.readers: set[Reader] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = headers_of(scope)
        trace = begun(scope, headers)
        try:
            reader = await self.open(scope, headers)
        except (Refused, SipBridgeError) as error:
            fault = error.fault if isinstance(error, Refused) else fault_of(error)
            reply = self.exchange.failure(fault, trace)
            await respond(send, reply.status, reply.headers, reply.body, trace)
            return
        try:
            await reader.run(receive, send)
        finally:
            reader.leave()
            self.readers.discard(reader)

    async def open(self, scope: Scope, headers: Mapping[str, str]) -> "Reader":
        """Raises Refused (401, 404, 405, 503), InvalidValue."""
        if self.authenticate is None or scope["path"].rstrip("/") != ROOT:
            raise no_resource(scope["path"])
        if await self.authenticate(headers) is None:
            raise unauthenticated(OPERATOR_CHALLENGES, OPERATOR)
        if scope["method"] != "GET":
            raise no_method(scope["method"], "GET")
        if len(self.readers) >= MAX_READERS:
            detail = f"{MAX_READERS} traces are running already"
            raise Refused(Fault(503, "SVC0001", ("too-many-traces",), detail))
        reader = Reader()
        wanted = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        reader.leave = self.follow(wanted, reader.hear)
        self.readers.add(reader)
        return reader

    def stop(self) -> None:
        """End every trace."""
        for reader in self.readers:
            reader.end()


class Reader:
    """One running trace."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.lost = 0
        self.ended = False
        self.woken = asyncio.Event()
        self.leave: Callable[[], None] = lambda: None

    def hear(self, line: bytes) -> None:
        if len(self.waiting) < MAX_WAITING:
            self.waiting.append(line)
        else:
            self.lost += 1
        self.woken.set()

    def end(self) -> None:
        self.ended = True
        self.woken.set()

    async def run(self, receive: Receive, send: Send) -> None:
        """Write until the peer goes away or `end` is called."""
        watching = asyncio.get_running_loop().create_task(self.watch(receive))
        kinds = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": kinds})
            await self.write(send, b"\n")
            while not self.ended:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PING):
                        await self.woken.wait()
                self.woken.clear()
                await self.write(send, self.taken() or b"\n")
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            return  # the peer is gone
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    def taken(self) -> bytes:
        lines, self.waiting = self.waiting, []
        if self.lost:
            lines.append(b'{"lost": %d}\n' % self.lost)
            self.lost = 0
        return b"".join(lines)

    async def write(self, send: Send, chunk: bytes) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()
