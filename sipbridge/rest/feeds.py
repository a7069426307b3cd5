"""Streams of feeds (`gateway/watching.py`), as server-sent events and as WebSockets.

A stream begins with how things are now for every wish of its caller, and goes on with what changes. A feed
keeps states and no history: a reader that is slow, or was away, gets the newest state of whatever changed and
misses nothing that still holds. An event's id is `life-sequence`: the life of this process and the place in
the feed. With the `Last-Event-ID` of this life a client gets what changed since; with one of an earlier life,
the state of everything.

A WebSocket says the same, one message a frame, and always begins with everything. Frames of the client are
read and ignored.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from sipbridge.errors import QuotaExceeded, SipBridgeError
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.wishes import Feed, Wish
from sipbridge.rest.exchange import Exchange, begun, headers_of
from sipbridge.rest.faults import Fault, Refused, fault_of, unauthenticated
from sipbridge.rest.faults import render as render_fault
from sipbridge.rest.origins import Pairs
from sipbridge.rest.security import CHALLENGES, Authenticator
from sipbridge.rest.streams import MAX_STREAMS, PING, OpenStream, refusal_headers, respond
from sipbridge.rest.tickets import with_ticket

MAX_OF_APPLICATION = 10_000
"""Open streams of one application for all its people; one person has as many as an application elsewhere."""
BATCH = 2000
"""Messages rendered at a time: a change of ten thousand handles does not hold everything else up."""

FRAMES = 100
"""Frames sent before everybody else has a turn: ten thousand in a row keep the loop for 0.2 s."""

Render = Callable[[list[Wish]], list[bytes]]
"""The messages of these wishes as they are now, JSON without line ends."""


class FeedReader:
    """A cursor on a feed."""

    def __init__(self, feed: Feed, render: Render) -> None:
        self.feed = feed
        self.render = render
        self.cursor = 0
        self.first = True
        """Nothing was read yet: also those that have nothing to tell are shown."""
        self.waiting: list[tuple[int, Wish]] = []

    def take(self, most: int = BATCH) -> list[tuple[int, bytes]]:
        """The next messages, up to `most`, with their places in the feed."""
        if not self.waiting:
            self.waiting = self.feed.since(self.cursor)
            if self.first:
                silent = [w for w in self.feed.wishes.values() if w not in self.feed.changed]
                self.waiting[:0] = [(self.cursor, wish) for wish in silent]
            self.first = False
        batch, self.waiting = self.waiting[:most], self.waiting[most:]
        # What was stopped meanwhile, or has changed again and comes later, is left out.
        live = [(n, w) for n, w in batch if self.feed.wishes.get(w.name) is w]
        if batch:
            self.cursor = batch[-1][0]
        return list(zip((n for n, _ in live), self.render([w for _, w in live]), strict=True))


class FeedStream(OpenStream):
    """Server-sent events of a feed."""

    def __init__(
        self, application: str, ping: float, reader: FeedReader, life: str, name: bytes
    ) -> None:
        super().__init__(application, ping)
        self.reader = reader
        self.life = life.encode()
        self.name = b"event: %b\n" % name if name else b""

    def start(self, last: str | None) -> None:
        """Place the cursor after what the client has seen."""
        if last is None:
            return
        self.reader.first = False
        life, _, sequence = last.strip().partition("-")
        if life.encode() == self.life and sequence.isascii() and sequence.isdecimal():
            known = int(sequence) if len(sequence) < 19 else 0
            self.reader.cursor = known if known <= self.reader.feed.last else 0

    def read(self) -> bytes:
        while not self.ended:
            told = self.reader.take()
            if told or not self.reader.waiting:
                return b"".join(
                    b"id: %b-%d\n%bdata: %b\n\n" % (self.life, n, self.name, text)
                    for n, text in told
                )
        return b""


class Feeds:
    """Opens streams, and knows those that are open."""

    def __init__(
        self,
        authenticate: Authenticator,
        exchange: Exchange,
        *,
        ping: float = PING,
    ) -> None:
        self.authenticate = authenticate
        self.exchange = exchange
        self.ping = ping
        self.life = secrets.token_hex(4)
        self.open: dict[str, set[OpenStream]] = {}

    # --- server-sent events ---

    async def events(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        feed_of: Callable[[Caller], Feed],
        render: Render,
        name: bytes = b"",
    ) -> None:
        """One stream, until the peer goes away or `revoke` or `stop` is called."""
        headers = headers_of(scope)
        trace = begun(scope, headers)
        cors: Pairs = []
        try:
            cors = self.exchange.origins.check(headers, scope["method"])
            caller = await self.caller(headers, scope)
            reader = FeedReader(feed_of(caller), render)
            stream = FeedStream(caller.application, self.ping, reader, self.life, name)
            stream.start(last_event_id(headers, scope["query_string"]))
            self.enter(stream, reader.feed)
            stream.end_at(caller.until)
        except (Refused, SipBridgeError) as error:
            fault = self.fault(error)
            body = render_fault(fault, trace, self.exchange.envelope)
            extra = [*refusal_headers(trace), *fault.headers, *cors]
            await respond(send, fault.status, extra, body)
            return
        try:
            await stream.run(receive, send, cors)
        finally:
            self.leave(stream)

    async def caller(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Raises Refused (401)."""
        known = await self.authenticate(with_ticket(headers, scope["query_string"]))
        if known is None:
            raise unauthenticated(CHALLENGES)
        return known

    def fault(self, error: Refused | SipBridgeError) -> Fault:
        if isinstance(error, QuotaExceeded):
            self.exchange.exceeded(error.quota)
        return error.fault if isinstance(error, Refused) else fault_of(error)

    # --- WebSocket ---

    async def socket(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        feed_of: Callable[[Caller], Feed],
        render: Render,
    ) -> None:
        """One WebSocket, until either side closes it."""
        await receive()
        headers = headers_of(scope)
        begun(scope, headers)
        try:
            cors = self.exchange.origins.check(headers)
            if (b"access-control-allow-origin", b"*") in cors:
                # No page sets this header on a WebSocket: it is what the browser has kept for somebody.
                headers.pop("authorization", None)
            caller = await self.caller(headers, scope)
            reader = FeedReader(feed_of(caller), render)
            stream = FeedStream(caller.application, self.ping, reader, self.life, b"")
            self.enter(stream, reader.feed)
            stream.end_at(caller.until)
        except (Refused, SipBridgeError) as error:
            self.fault(error)
            # Before it is accepted this is an HTTP 403; a page would not be shown more of an answer.
            await send({"type": "websocket.close", "code": 1008})
            return
        offered = scope.get("subprotocols") or [None]
        await send({"type": "websocket.accept", "subprotocol": offered[0]})
        try:
            await converse(stream, receive, send)
        finally:
            self.leave(stream)

    # --- who is there ---

    def enter(self, stream: OpenStream, feed: Feed) -> None:
        """Raises Refused (503)."""
        mine = self.open.setdefault(stream.application, set())
        if len(feed.listeners) >= MAX_STREAMS or len(mine) >= MAX_OF_APPLICATION:
            detail = f"{len(feed.listeners)} streams are open already"
            raise Refused(Fault(503, "SVC0001", ("too-many-streams",), detail))
        stream.forget = feed.listen(stream.woken.set)
        mine.add(stream)

    def leave(self, stream: OpenStream) -> None:
        stream.close()
        mine = self.open[stream.application]
        mine.discard(stream)
        if not mine:
            del self.open[stream.application]

    def revoke(self, application: str) -> None:
        """End an application's streams."""
        for stream in list(self.open.get(application, ())):
            stream.end()

    def stop(self) -> None:
        """End every stream; clients come back to whoever answers then."""
        for application in list(self.open):
            self.revoke(application)


async def converse(stream: FeedStream, receive: Receive, send: Send) -> None:
    """Send what there is to tell until the peer goes away or the stream ends."""

    async def listen() -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass
        stream.end()

    listening = asyncio.get_running_loop().create_task(listen())
    reader, closed = stream.reader, False
    try:
        while not stream.ended:
            stream.woken.clear()
            told = reader.take(FRAMES)
            for _, text in told:
                await send({"type": "websocket.send", "text": text.decode()})
            if reader.waiting:
                await others()
            elif not told:
                await stream.woken.wait()
        closed = listening.done()
        if not closed:
            await send({"type": "websocket.close", "code": 1001})
    except OSError:
        return  # the peer is gone
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def others() -> None:
    """Let everybody else have a turn of the loop."""
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn


def last_event_id(headers: Mapping[str, str], query: bytes) -> str | None:
    """What the client has seen; None if it says nothing."""
    given = headers.get("last-event-id")
    if given is None:
        values: Iterable[str] = parse_qs(query.decode("latin-1")).get("lastEventId", ())
        given = next(iter(values), None)
    return given if given is not None and given.strip() else None
