"""A session's messages: by long poll, and as server-sent events.

A poll answers with everything after the number it names, at once if there is something, else as soon as
there is or when the hold time has passed; to name a number acknowledges what came up to it. A stream writes
each message as one event whose id is its number; coming back with `Last-Event-ID` acknowledges, so nothing
is lost or repeated over a broken connection. Both begin with what was never acknowledged if no number is
named. A client that says it has come back (`reconnect`) gets that again. Messages have no place to say that
what is known of a contact may be old: a poll says it by a header, of all that the session registered for; a
stream, whose headers have left long before, does not.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from sipbridge.errors import InvalidValue
from sipbridge.gateway.queues import Message
from sipbridge.gateway.remote_presence import RemotePresence
from sipbridge.gateway.sessions import Session
from sipbridge.rest.bems_models import CLIENT_SESSION_TIMEOUT, refused
from sipbridge.rest.exchange import JSON_HEADERS, STALE, Reply, headers_of
from sipbridge.rest.origins import Pairs
from sipbridge.rest.streams import PING, RETRY, STREAM_HEADERS, identified, write

MOST = 1000
"""Messages of one answer; the next poll has the rest."""
MOST_BYTES = 1024 * 1024
MAX_READERS = 8
"""Polls and streams of one session at a time; when more come, the oldest end."""


class Reader:
    """One poll or stream while it waits."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.woken = asyncio.Event()
        self.ended = False

    def end(self) -> None:
        self.ended = True
        self.woken.set()

    async def wait(self, seconds: float) -> None:
        """Until there is something to look at, or the time has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        self.woken.clear()


class Readers:
    """Everybody who reads. hold: seconds a poll may wait."""

    def __init__(self, remote: RemotePresence, hold: float, ping: float = PING) -> None:
        self.remote = remote
        self.hold = hold
        self.ping = ping
        self.open: set[Reader] = set()

    # --- polls ---

    async def poll(self, session: Session, scope: Scope, receive: Receive) -> Reply:
        """Raises InvalidValue for parameters that are none."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        after, hold = number(query, "after"), self.hold_of(query)
        self.remote.use(session)
        start = self.remote.acknowledge(session, after)
        messages = self.remote.read(session, start)
        if not messages and not session.silent and hold:
            messages = await self.wait(session, start, hold, receive)
        if not messages and session.silent:
            return json_reply(refused(None, CLIENT_SESSION_TIMEOUT))
        return answer(bounded(messages), start, stale=self.remote.is_stale(session))

    def hold_of(self, query: Mapping[str, list[str]]) -> float:
        wanted = number(query, "wait")
        return self.hold if wanted is None else min(self.hold, float(wanted))

    async def wait(
        self, session: Session, start: int, hold: float, receive: Receive
    ) -> list[Message]:
        until = asyncio.get_running_loop().time() + hold
        revision = session.revision
        with self.reading(session) as reader, gone(reader, receive):
            while not reader.ended and not session.silent and session.revision == revision:
                left = until - asyncio.get_running_loop().time()
                if left <= 0 or (messages := self.remote.read(session, start)):
                    break
                await reader.wait(left)
        messages = self.remote.read(session, start)
        return messages

    # --- streams ---

    def stream(
        self, session: Session, scope: Scope, receive: Receive, send: Send
    ) -> Callable[[Pairs], Awaitable[None]]:
        """Writes until the peer goes away, the session ends, or we stop."""
        begin = self.remote.acknowledge(session, last_seen(scope))

        async def run(more: Pairs) -> None:
            headers = [*STREAM_HEADERS, *more]
            with (
                contextlib.suppress(OSError),
                self.reading(session) as reader,
                gone(reader, receive),
            ):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await write(send, RETRY)
                await self.feed(reader, begin, send)
                await send({"type": "http.response.body", "body": b""})

        return run

    async def feed(self, reader: Reader, cursor: int, send: Send) -> None:
        session = reader.session
        revision = session.revision
        while not reader.ended:
            if session.revision != revision:
                revision, cursor = session.revision, session.queue.acknowledged
            messages = bounded(self.remote.read(session, cursor))
            if messages:
                cursor = messages[-1].sequence
                await write(send, b"".join(identified(m.sequence, event(m)) for m in messages))
                continue
            if session.silent:
                return
            self.remote.use(session)
            await reader.wait(self.ping)
            if not session.queue.after(cursor) and session.revision == revision:
                await write(send, b":\n\n")

    # --- readers ---

    @contextlib.contextmanager
    def reading(self, session: Session) -> Iterator[Reader]:
        """A reader that is woken when there is something for it, and ended when others come."""
        reader = Reader(session)
        while len(session.readers) >= MAX_READERS:
            oldest = next(iter(session.readers))
            session.readers.pop(oldest)
            if isinstance(oldest, Reader):
                oldest.end()
        session.readers[reader] = reader.woken.set
        self.open.add(reader)
        try:
            yield reader
        finally:
            session.readers.pop(reader, None)
            self.open.discard(reader)

    def stop(self) -> None:
        """End them all; clients come back to whoever answers then."""
        for reader in list(self.open):
            reader.end()


@contextlib.contextmanager
def gone(reader: Reader, receive: Receive) -> Iterator[None]:
    """Ends the reader when the peer goes away."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        reader.end()

    watching = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def number(query: Mapping[str, list[str]], name: str) -> int | None:
    """A parameter that is a number; None if it is not there. Raises InvalidValue."""
    given = query.get(name, [""])[-1].strip()
    if not given:
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > 16:
        raise InvalidValue(f"{given[:40]!r} is no number", part=name)
    return int(given)


def last_seen(scope: Scope) -> int | None:
    """What the client of a stream has; what was never given out counts as nothing."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    given = headers_of(scope).get("last-event-id") or query.get("after", [""])[-1]
    if given.isascii() and given.isdecimal() and len(given) <= 16:
        return int(given)
    return None


def bounded(messages: list[Message]) -> list[Message]:
    """As many as one answer takes, and at least one."""
    size = 0
    for place, message in enumerate(messages[:MOST]):
        size += len(message.text)
        if size > MOST_BYTES and place:
            return messages[:place]
    return messages[:MOST]


def answer(messages: list[Message], start: int, *, stale: bool) -> Reply:
    sequence = messages[-1].sequence if messages else start
    listed = b",".join(message.text for message in messages)
    body = b'{"notifications":[%b],"sequence":%d}' % (listed, sequence)
    return Reply(200, body, [*JSON_HEADERS, STALE] if stale else list(JSON_HEADERS))


def event(message: Message) -> bytes:
    return b"data: %b\n\n" % message.text


def json_reply(value: object) -> Reply:
    return Reply(200, orjson.dumps(value), list(JSON_HEADERS))
