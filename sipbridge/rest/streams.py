"""Notifications as server-sent events (HTML standard §9.2), one stream for each request.

A stream is a cursor on the application's notification log. It owns no queue: when the bus says that there is
something new it reads on from where it was, so a slow reader costs nothing and misses nothing as long as the
log still holds it. Event ids are the log's sequence numbers; a client that comes back with `Last-Event-ID`
(or `?lastEventId=`, which a first request can carry) gets exactly what it missed. Without an id the stream
begins with what comes next; it says at its start which id that is after, so that a connection lost before the
first event costs nothing either.

Where the log no longer reaches back, or the id was never given out, the stream says

    event: reset

and goes on with what the log holds of other kinds and the current state: for every contract a
`statusChanged` with all there is to see, not only what changed last. What the client knew before is to be
forgotten. Only the last of these events has an id, so a client that is cut off on the way gets all of it
again.

What was revoked meanwhile is left out. Every event is named after its kind (`statusChanged`, …) and its data
is the JSON object that Bayeux delivers too.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from sipbridge.errors import QuotaExceeded, SipBridgeError
from sipbridge.gateway.ports import Bus, Notification, NotificationLog, Recheck
from sipbridge.rest.exchange import Exceeded, begun, headers_of
from sipbridge.rest.faults import (
    Envelope,
    Fault,
    Refused,
    fault_of,
    no_method,
    render,
    unauthenticated,
)
from sipbridge.rest.origins import PREFLIGHT, Origins, Pairs
from sipbridge.rest.security import CHALLENGES, Authenticator
from sipbridge.rest.tickets import with_ticket

PING = 15.0
"""Seconds between comments on a silent stream: below the idle limits of usual proxies."""

MAX_STREAMS = 200
"""Open streams of one application, as many as it may have Bayeux sessions."""

RETRY = b"retry: 2000\n\n"
"""Milliseconds a browser waits before it comes back."""

STATE = "statusChanged"
"""The kind of notification that the current state stands in for."""

Restate = Callable[[str], Iterable[Notification]]
"""The current state of every contract of an application."""

STREAM_HEADERS: Pairs = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStreams:
    """The ASGI application, to be mounted at `/rest/presence/events`.

    topic: the bus topic of an application's notifications.
    """

    def __init__(
        self,
        log: NotificationLog,
        bus: Bus,
        authenticate: Authenticator,
        topic: Callable[[str], str],
        *,
        allowed_origins: Iterable[str] = (),
        envelope: Envelope = Envelope.PARLAYX,
        ping: float = PING,
        recheck: Recheck = lambda notification: notification,
        restate: Restate = lambda application: (),
        exceeded: Exceeded = lambda quota: None,
    ) -> None:
        self.log = log
        self.bus = bus
        self.authenticate = authenticate
        self.topic = topic
        self.origins = Origins(allowed_origins)
        self.envelope = envelope
        self.ping = ping
        self.recheck = recheck
        self.restate = restate
        self.exceeded = exceeded
        self.streams: dict[str, set[Stream]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = headers_of(scope)
        trace = begun(scope, headers)
        cors: Pairs = []
        try:
            cors = self.origins.check(headers, scope["method"])
            if scope["method"] == "OPTIONS" and cors:
                await respond(send, 204, [*PREFLIGHT, *cors], b"")
                return
            if scope["method"] != "GET":
                raise no_method(scope["method"], "GET")
            stream = await self.open(headers, scope["query_string"])
        except (Refused, SipBridgeError) as error:
            fault = error.fault if isinstance(error, Refused) else fault_of(error)
            if isinstance(error, QuotaExceeded):
                self.exceeded(error.quota)
            body = render(fault, trace, self.envelope)
            extra = [*refusal_headers(trace), *fault.headers, *cors]
            await respond(send, fault.status, extra, body)
            return
        try:
            await stream.run(receive, send, cors)
        finally:
            self.close(stream)

    async def open(self, headers: Mapping[str, str], query: bytes) -> "Stream":
        """A stream for whoever asks. Raises Refused (401, 503)."""
        asked = parse_qs(query.decode("latin-1"))
        if "sessionId" in asked and "x-session-id" not in headers:
            headers = {
                **headers,
                "x-session-id": asked["sessionId"][0],
            }  # EventSource has no headers
        caller = await self.authenticate(with_ticket(headers, query))
        if caller is None:
            raise unauthenticated(CHALLENGES)
        mine = self.streams.setdefault(caller.application, set())
        if len(mine) >= MAX_STREAMS:
            detail = f"{MAX_STREAMS} streams are open already"
            raise Refused(Fault(503, "SVC0001", ("too-many-streams",), detail))
        stream = Stream(self.log, caller.application, self.ping, self.recheck, self.restate)
        stream.start(last_event_id(headers, asked))
        stream.end_at(caller.until)
        stream.forget = self.bus.subscribe(
            self.topic(caller.application), lambda entry: stream.woken.set()
        )
        mine.add(stream)
        return stream

    def close(self, stream: "Stream") -> None:
        stream.close()
        mine = self.streams[stream.application]
        mine.discard(stream)
        if not mine:
            del self.streams[stream.application]

    def revoke(self, application: str) -> None:
        """End an application's streams."""
        for stream in self.streams.get(application, ()):
            stream.end()

    def stop(self) -> None:
        """End every stream; clients come back to whoever answers then."""
        for application in self.streams:
            self.revoke(application)


class OpenStream(ABC):
    """One open stream of server-sent events, whatever it reads from. ping: seconds between comments."""

    def __init__(self, application: str, ping: float) -> None:
        self.application = application
        self.ping = ping
        self.ended = False
        self.woken = asyncio.Event()
        self.forget: Callable[[], None] = lambda: None
        self.ending: asyncio.TimerHandle | None = None

    @abstractmethod
    def read(self) -> bytes:
        """Everything new as bytes of the stream; b"" if there is nothing."""

    def greeting(self) -> bytes:
        """What a stream begins with."""
        return RETRY

    def end(self) -> None:
        self.ended = True
        self.woken.set()

    def end_at(self, until: float | None) -> None:
        """End when the credentials do that opened it: `Caller.until`."""
        if until is not None:
            loop = asyncio.get_running_loop()
            self.ending = loop.call_later(max(0.0, until - loop.time()), self.end)

    def close(self) -> None:
        """It is not read any more."""
        self.forget()
        if self.ending is not None:
            self.ending.cancel()

    async def run(self, receive: Receive, send: Send, cors: Pairs) -> None:
        """Write until the peer goes away or `end` is called."""
        watching = asyncio.get_running_loop().create_task(self.watch(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [*STREAM_HEADERS, *cors],
                }
            )
            await write(send, self.greeting())
            while not self.ended:
                self.woken.clear()
                if chunk := self.read():
                    await write(send, chunk)
                    continue
                try:
                    async with asyncio.timeout(self.ping):
                        await self.woken.wait()
                except TimeoutError:
                    await write(send, b":\n\n")
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            return  # the peer is gone
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()


class Stream(OpenStream):
    """A stream of the notification log. `cursor`: sequence of the last entry written."""

    def __init__(
        self,
        log: NotificationLog,
        application: str,
        ping: float,
        recheck: Recheck,
        restate: Restate = lambda application: (),
    ) -> None:
        super().__init__(application, ping)
        self.log = log
        self.recheck = recheck
        self.restate = restate
        self.cursor = 0
        self.reset = False

    def start(self, last: int | None) -> None:
        """Place the cursor after what the client has seen."""
        newest = self.log.newest(self.application)
        self.cursor = newest if last is None or last > newest else last
        # What we never gave out (-1, or beyond the newest) was given out by nobody, or in a life we lost.
        self.reset = last is not None and not 0 <= last <= newest

    def greeting(self) -> bytes:
        # An id without data is no event, but is remembered. After a reset its last event has one.
        return RETRY if self.reset else identified(self.cursor, RETRY)

    def read(self) -> bytes:
        newest = self.log.newest(self.application)
        oldest = self.log.oldest(self.application) or newest + 1
        if self.reset or oldest > self.cursor + 1:  # the log was cut off before we came to write it
            self.reset, self.cursor = False, newest
            return self.whole(newest)
        entries = self.log.read_after(self.application, self.cursor)
        if entries:
            self.cursor = entries[-1].sequence
        return b"".join(
            identified(entry.sequence, event(notification.kind, notification.data))
            for entry in entries
            if (notification := self.recheck(entry.notification)) is not None
        )

    def whole(self, newest: int) -> bytes:
        """`reset`, what is held of other kinds, and how things are now; the last event has the id."""
        held = self.log.read_after(self.application, 0)
        notes = [e.notification for e in held if e.notification.kind != STATE]
        notes += self.restate(self.application)
        shown = [note for one in notes if (note := self.recheck(one)) is not None]
        events = [event("reset", b"{}"), *(event(note.kind, note.data) for note in shown)]
        return b"".join(events[:-1]) + identified(newest, events[-1])


def event(kind: str, data: bytes) -> bytes:
    """One event; the data is compact JSON and has no line end."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def identified(sequence: int, event: bytes) -> bytes:
    """The event with an id. What has none leaves the client's last id as it is."""
    return b"id: %d\n%b" % (sequence, event)


def last_event_id(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> int | None:
    """What the client has seen; None if it says nothing, -1 if it says something we never gave out."""
    given = headers.get("last-event-id")
    if given is None:
        values = query.get("lastEventId")
        given = values[0] if values else None
    if given is None or not given.strip():
        return None
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else -1


async def write(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


def refusal_headers(trace: str) -> Pairs:
    """What a request is answered with that gets no stream, besides what its fault says."""
    return [(b"content-type", b"application/json"), (b"x-request-id", trace.encode("ascii"))]


async def respond(send: Send, status: int, headers: Pairs, body: bytes) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
