"""Bayeux on HTTP and WebSocket: one ASGI application round a `BayeuxServer`.

The application ignores the path below its mount, because clients append the name of the operation. POST is
long-polling, a WebSocket upgrade on the same URL is the other transport. GET is callback-polling, for pages
that can do nothing but load a script; it is refused unless the server's `connection_types` name it, for it
puts client ids into URLs. Any page could load such a script with the credentials that a browser keeps, so
there only those in the `ext` of a handshake count, never the Authorization header.

Bayeux errors travel in HTTP 200: to client libraries any other status is a broken transport, which they
retry for ever. Only what is no Bayeux at all gets a 4xx.

One turn (`turn`) follows every input: indications are handed on, woken outlets get their writer, one timer
is armed. Publishing on the server appends bytes and rings its bell, which schedules one turn for the end of
the loop's current round, so many events become one write for each peer.

A held connect costs no task of its own. Its request handler waits in `receive()`, which ends both when the
peer closes the connection and when the reply has been sent; the reply is written by a short task when there
is one. Since the handler's wake-up is scheduled first, a reply is never written to a peer that is known to
be gone, and what was queued for it stays queued.

Each WebSocket has one writer task, which awaits `send`: back-pressure of one slow peer stops that task and
nothing else, while the queue fills to its limit. A writer blocked for ten seconds loses its socket.

Pings are the HTTP server's: run uvicorn with `ws_ping_interval=20, ws_ping_timeout=20`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.types import Receive, Scope, Send

from sipbridge.bayeux import messages, words
from sipbridge.bayeux.messages import Message
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.session import Exchange, Link, Origin
from sipbridge.bayeux.values import Indication
from sipbridge.errors import ParseError

MAX_BODY = 64 * 1024
"""Bytes of one request or frame; a hundred subscribes take about twenty thousand."""

WRITE_PATIENCE = 10.0
"""Seconds one `send` to a WebSocket may block."""

SWEEP = 2.0
"""Seconds between looks at blocked writers, while there are WebSockets."""

STOP_PATIENCE = 2.0
"""Seconds to let replies and close frames leave at the end."""

MAX_REPLIES = 200
"""Replies waiting on one WebSocket before we stop reading from it."""

Authenticate = Callable[[Mapping[str, str]], Awaitable[str | None]]
"""From request headers (lower-case names) to the application they prove, None if they do not."""

JSON_TYPES = frozenset({"", "application/json", "text/json", "text/plain"})
FORM = "application/x-www-form-urlencoded"

Pairs = list[tuple[bytes, bytes]]

REPLY_HEADERS: Pairs = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
SCRIPT_HEADERS: Pairs = [
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
CALLBACK = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]{0,63}")
"""What may stand before the bracket of a script: a name, nothing that does anything by itself."""
DEFAULT_CALLBACK = "jsonpcallback"
LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
"""White space in JSON, line ends in old JavaScript."""
PREFLIGHT: Pairs = [
    (b"access-control-allow-methods", b"POST, GET, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, X-Requested-With"),
    (b"access-control-max-age", b"86400"),
]
ALLOW: Pairs = [(b"allow", b"POST, OPTIONS")]
ALLOW_GET: Pairs = [(b"allow", b"POST, GET, OPTIONS")]
CLOSE: Pairs = [(b"connection", b"close")]


@dataclass(slots=True, eq=False)
class Held:
    """A request whose connect is held. callback: the function that a script calls, "" for JSON."""

    send: Send
    headers: Pairs
    callback: str = ""


@dataclass(slots=True, eq=False)
class Socket:
    """One WebSocket. `sending_since`: when the `send` that is now blocked began."""

    link: Link
    send: Send
    handler: "asyncio.Task[None] | None"
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    sending_since: float | None = None
    stalled: bool = False


class Refusal(Exception):
    """What is no Bayeux request: HTTP status, a line for people, extra headers."""

    def __init__(self, status: int, reason: str, headers: Pairs | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or []


class BayeuxApp:
    """The ASGI application. `told` gets every indication at once, inside the turn that made it.

    When `told` gets a `Subscribed` it may call the server's `deliver` for that session: nothing that is
    published afterwards overtakes it. `allowed_origins` are the foreign origins whose pages may talk to us,
    or `*`.
    """

    def __init__(
        self,
        server: BayeuxServer,
        authenticate: Authenticate,
        *,
        allowed_origins: Iterable[str] = (),
        max_body: int = MAX_BODY,
        told: Callable[[Indication], None] | None = None,
    ) -> None:
        self.server = server
        self.authenticate = authenticate
        self.allowed_origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self.max_body = max_body
        self.told = told
        self.held: dict[Exchange, Held] = {}
        self.sockets: dict[Link, Socket] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.turn_scheduled = False
        server.bell = self.schedule_turn
        self.timer: asyncio.TimerHandle | None = None
        self.sweeper: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.socket(scope, receive, send)

    # --- for the application --------------------------------------------------------------------------

    async def stop(self) -> None:
        """Answer held connects, close WebSockets with 1001; returns when they are gone, or after 2 s."""
        self.server.stop(now())
        self.turn()
        handlers = {s.handler for s in self.sockets.values() if s.handler is not None}
        if waiting := self.tasks | handlers:
            await asyncio.wait(waiting, timeout=STOP_PATIENCE)
        for timer in (self.timer, self.sweeper):
            if timer is not None:
                timer.cancel()
        self.timer = self.sweeper = None

    # --- the crank ------------------------------------------------------------------------------------

    def schedule_turn(self) -> None:
        if not self.turn_scheduled:
            self.turn_scheduled = True
            asyncio.get_running_loop().call_soon(self.turn)

    def turn(self) -> None:
        """Hand on indications, wake writers, arm the timer."""
        self.turn_scheduled = False
        for said in self.server.indications():
            if self.told is not None:
                self.told(said)
        for outlet in self.server.wakeups():
            if isinstance(outlet, Link):
                if outlet in self.sockets:
                    self.sockets[outlet].woken.set()
            elif outlet in self.held:
                self.start(self.reply_to_held(outlet))
        self.arm()

    def arm(self) -> None:
        deadlines = self.server.deadlines
        if self.timer is not None and not deadlines.sooner:
            return  # it rings early at worst, and is armed again then
        when = self.server.next_timeout()
        if self.timer is not None:
            if when is not None and self.timer.when() <= when:
                deadlines.watched(self.timer.when())
                return
            self.timer.cancel()
        loop = asyncio.get_running_loop()
        self.timer = None if when is None else loop.call_at(when, self.ring)
        deadlines.watched(when)

    def ring(self) -> None:
        self.timer = None
        self.server.handle_timeout(now())
        self.turn()

    def start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # --- HTTP -----------------------------------------------------------------------------------------

    async def request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        cors: Pairs = []
        try:
            cors = self.cross_origin(headers, scope["method"])
            if scope["method"] == "OPTIONS":
                await respond(send, 204, [*PREFLIGHT, *cors], b"")
                return
            callback = self.callback_of(scope, headers)
            batch = await self.read_request(scope, headers, receive)
        except Refusal as refusal:
            text = [(b"content-type", b"text/plain; charset=utf-8")]
            extra = [*text, *refusal.headers, *cors]
            await respond(send, refusal.status, extra, refusal.reason.encode())
            return
        if batch is None:
            return
        origin = await self.origin_of(headers, batch)
        exchange = self.server.receive(batch, origin, now())
        if exchange.session is None:
            body = self.server.collect(exchange, now())
            self.turn()
            await self.write_reply(exchange, Held(send, cors, callback), body)
            return
        self.held[exchange] = Held(send, cors, callback)
        self.turn()
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.held.pop(exchange, None) is not None:
            self.server.dropped(exchange, now())
            self.turn()

    async def read_request(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive
    ) -> list[Message] | None:
        """The messages of a request, None if the peer went away. Raises Refusal."""
        if scope["method"] == "GET":
            try:
                return from_form(scope["query_string"])
            except ParseError as error:
                raise Refusal(400, str(error)) from None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in JSON_TYPES and kind != FORM:
            raise Refusal(415, "application/json is expected")
        body = await read_body(receive, headers.get("content-length", ""), self.max_body)
        if body is None:
            return None
        try:
            return from_form(body) if kind == FORM else messages.decode(body)
        except ParseError as error:
            raise Refusal(400, str(error)) from None

    def callback_of(self, scope: Scope, headers: dict[str, str]) -> str:
        """The function that the answer calls, "" if it is JSON. Raises Refusal.

        Takes the credentials away that a script may not bring.
        """
        offered = words.CALLBACK_POLLING in self.server.settings.connection_types
        if scope["method"] == "POST":
            return ""
        if scope["method"] != "GET" or not offered:
            allowed = ALLOW_GET if offered else ALLOW
            raise Refusal(405, "long-polling uses POST; callback-polling is not offered", allowed)
        headers.pop("authorization", None)
        query: str = scope["query_string"].decode("latin-1")
        (callback, *_) = parse_qs(query).get("jsonp", [DEFAULT_CALLBACK])
        if CALLBACK.fullmatch(callback) is None:
            raise Refusal(400, "jsonp is not the name of a function")
        return callback

    async def reply_to_held(self, exchange: Exchange) -> None:
        held = self.held.get(exchange)
        if held is None:
            return
        body = self.server.collect(exchange, now())
        if body:
            del self.held[exchange]
            await self.write_reply(exchange, held, body)

    async def write_reply(self, exchange: Exchange, to: Held, body: bytes) -> None:
        if to.callback:
            body = script(to.callback, body)
            await respond(to.send, 200, [*SCRIPT_HEADERS, *to.headers], body)
        else:
            await respond(to.send, 200, [*REPLY_HEADERS, *to.headers], body)
        self.server.written(exchange, now())
        self.arm()

    # --- WebSocket ------------------------------------------------------------------------------------

    async def socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = headers_of(scope)
        try:
            self.cross_origin(headers)
        except Refusal:
            await send({"type": "websocket.close", "code": 1008})
            return
        if not self.trusts(headers):
            # No page sets this header on a WebSocket: it is what the browser has cached for somebody.
            headers.pop("authorization", None)
        if ticket := parse_qs(scope["query_string"].decode("latin-1")).get("ticket"):
            headers["authorization"] = f"Ticket {ticket[0]}"
        client = scope.get("client")
        origin = await self.origin_of(headers, [])
        link = self.server.open_link(origin, client[0] if client else "", now())
        if link is None:
            await send({"type": "websocket.close", "code": 1013})
            return
        offered = scope.get("subprotocols") or [None]
        await send({"type": "websocket.accept", "subprotocol": offered[0]})
        await self.converse(Socket(link, send, asyncio.current_task()), headers, receive)

    async def converse(self, socket: Socket, headers: Mapping[str, str], receive: Receive) -> None:
        self.sockets[socket.link] = socket
        writer = asyncio.get_running_loop().create_task(self.write(socket))
        self.arm()
        self.start_sweeper()
        try:
            await self.read(socket, headers, receive)
        except asyncio.CancelledError:
            if not socket.stalled or socket.handler is None:
                raise
            socket.handler.uncancel()
        finally:
            writer.cancel()
            del self.sockets[socket.link]
            self.server.close_link(socket.link, now())
            self.turn()

    async def read(self, socket: Socket, headers: Mapping[str, str], receive: Receive) -> None:
        link = socket.link
        while (received := await receive())["type"] == "websocket.receive":
            if link.close_code is not None:
                continue
            batch, refusal = self.read_frame(received.get("text"))
            if refusal:
                link.close_code = refusal
                socket.woken.set()
                continue
            origin = link.origin
            if not origin.header and any(m["channel"] == words.HANDSHAKE for m in batch):
                origin = await self.origin_of(headers, batch)
            self.server.receive_on(link, batch, now(), origin)
            self.turn()
            if len(link.out) > MAX_REPLIES:
                socket.drained.clear()
                await socket.drained.wait()

    def read_frame(self, text: str | None) -> tuple[list[Message], int]:
        """The messages of a frame, or the code to close with."""
        if text is None:
            return [], 1003
        if len(text) > self.max_body or len(text.encode()) > self.max_body:
            return [], 1009
        try:
            return messages.decode(text), 0
        except (ParseError, UnicodeEncodeError):
            return [], 1008

    async def write(self, socket: Socket) -> None:
        link, server = socket.link, self.server
        try:
            while True:
                await socket.woken.wait()
                socket.woken.clear()
                frame = server.collect(link, now())
                if frame:
                    socket.sending_since = now()
                    await socket.send({"type": "websocket.send", "text": frame.decode()})
                    socket.sending_since = None
                    socket.drained.set()
                if link.close_code is not None:
                    await socket.send({"type": "websocket.close", "code": link.close_code})
                    return
        except OSError:
            return  # the peer is gone; the reader hears of it too

    def start_sweeper(self) -> None:
        if self.sweeper is None:
            self.sweeper = asyncio.get_running_loop().call_later(SWEEP, self.sweep)

    def sweep(self) -> None:
        """Close sockets whose writer is blocked for too long."""
        self.sweeper = None
        too_long = now() - WRITE_PATIENCE
        for socket in self.sockets.values():
            since = socket.sending_since
            if since is not None and since < too_long and socket.handler is not None:
                socket.stalled = True
                socket.handler.cancel()
        if self.sockets:
            self.start_sweeper()

    # --- who asks -------------------------------------------------------------------------------------

    async def origin_of(self, headers: Mapping[str, str], batch: list[Message]) -> Origin:
        """Credentials of the header; without one, those in the `ext` of a handshake."""
        if "authorization" in headers:
            return Origin(await self.authenticate(headers), header=True)
        for message in batch:
            if message["channel"] == words.HANDSHAKE:
                given = messages.authorization(message)
                if given is not None:
                    return Origin(await self.authenticate({**headers, "authorization": given}))
                break
        return Origin()

    def cross_origin(self, headers: Mapping[str, str], method: str = "") -> Pairs:
        """CORS headers for a page of a listed origin. Raises Refusal (403) for a foreign one.

        A page that only `*` lists gets no word of credentials, and a POST that needs no preflight is refused.
        """
        origin = headers.get("origin")
        if origin is None:
            return []
        if origin.lower() in self.allowed_origins:
            return [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"Origin"),
            ]
        if is_same_origin(origin, headers.get("host", "")):
            return []
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if "*" in self.allowed_origins and (method != "POST" or kind == "application/json"):
            return [(b"access-control-allow-origin", b"*")]
        raise Refusal(403, "this origin is not allowed")

    def trusts(self, headers: Mapping[str, str]) -> bool:
        """Comes this from no page, from one of ours, or from one that is listed by name?"""
        origin = headers.get("origin")
        return (
            origin is None
            or origin.lower() in self.allowed_origins
            or is_same_origin(origin, headers.get("host", ""))
        )


def now() -> float:
    return asyncio.get_running_loop().time()


def headers_of(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def is_same_origin(origin: str, host: str) -> bool:
    """Does a page of this origin come from the host the request was sent to?

    The scheme is left out: behind a proxy that ends TLS we do not know our own.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


async def read_body(receive: Receive, announced: str, most: int) -> bytes | None:
    """The whole body, None if the peer went away. Raises Refusal (413) as soon as it is too long."""
    if announced.isdecimal() and int(announced) > most:
        raise Refusal(413, f"more than {most} bytes", CLOSE)
    parts: list[bytes] = []
    size = 0
    while True:
        received = await receive()
        if received["type"] != "http.request":
            return None
        part: bytes = received.get("body", b"")
        size += len(part)
        if size > most:
            raise Refusal(413, f"more than {most} bytes", CLOSE)
        parts.append(part)
        if not received.get("more_body", False):
            return b"".join(parts)


def from_form(body: bytes) -> list[Message]:
    """`message=` once or repeated, each an object or an array. Raises ParseError."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=messages.MAX_MESSAGES)
    except ValueError:
        raise ParseError("not a form", field="body") from None
    batch = [m for text in fields.get("message", []) for m in messages.decode(text)]
    if not batch or len(batch) > messages.MAX_MESSAGES:
        raise ParseError("no message, or too many", field="body")
    return batch


def script(callback: str, body: bytes) -> bytes:
    """A script that calls a function with JSON; behind the comment it cannot be taken for another format."""
    for line_end, escaped in LINE_ENDS:
        body = body.replace(line_end, escaped)
    return b"/**/" + callback.encode() + b"(" + body + b");"


async def respond(send: Send, status: int, headers: Pairs, body: bytes) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
