"""A stream of server-sent events that outlives its connections, without sockets or clocks.

`EventParser` turns bytes into events as the HTML standard §9.2.6 says: lines end with CR, LF or both, an
empty line ends an event, `id` without data moves the last id alone.

`Follower` is one application's place in its notifications. Whoever drives it opens the connection with
`headers()`, hands in what arrives and takes notifications out; when the connection is lost it waits
`delay()` seconds and opens the next. Nothing is lost: the bridge names its place in the log at the start
of a stream, so there is always an id to go on from, also before the first event. Nothing comes twice: an
id counts when its event is complete, and half an event is forgotten with its connection. `last_event_id`
is that of the last notification *taken*, so a program that stores it can go on in its next life.

Where the bridge no longer holds what was missed, it says `reset` and tells the current state; only the
last of these events has an id. They are handed out together when that has come, else a connection lost in
the middle would show half a state.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sipbridge.client.errors import BadAnswer, Fault, PresenceError
from sipbridge.client.values import Notification, OtherNotification, Reset, notification

T = TypeVar("T")

MAX_EVENT = 1 << 24
"""Bytes of one event; the bridge's longest, a whole document as attributes, has some hundred thousand."""

FIRST_DELAY = 0.25
"""Seconds before the first attempt after a connection that was good: a proxy may just have dropped it."""
NEXT_DELAY = 1.0
"""Seconds before the next one, unless the bridge advises something else; doubled from then on."""
MAX_DELAY = 10.0
"""Seconds between attempts at most: who waits for presence should not be the last to know that it is back."""
MAX_DOUBLINGS = 16

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Refusals that another attempt may overcome."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. kind: "message" if the stream does not say. id: None if the event has none of its own.

    before: the last id of the stream so far.
    """

    kind: str
    data: str
    id: str | None = None
    before: str = field(default="", compare=False)


class EventParser:
    """Bytes of one connection to events. `last_id` and `retry` (seconds, None: never said) are public."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self.pieces: list[bytes] = []
        self.started = False
        self.after_cr = False
        self.kind = ""
        self.data: list[str] = []
        self.size = 0
        self.own_id: str | None = None
        """Of the event that is being read."""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """What these bytes complete. Raises BadAnswer for an event without end."""
        found = []
        for line in self.lines(chunk):
            if line:
                self.field(line)
            elif (event := self.dispatch()) is not None:
                found.append(event)
        return found

    def lines(self, chunk: bytes) -> Iterator[bytes]:
        """Complete lines without their ends. What follows the last one waits, in pieces, for its end."""
        if chunk:
            skipped, self.after_cr = self.after_cr, chunk.endswith(b"\r")
            chunk = chunk.removeprefix(b"\n") if skipped else chunk
        self.size += len(chunk)
        if self.size > MAX_EVENT:
            raise BadAnswer(f"an event of more than {MAX_EVENT} bytes")
        self.pieces.append(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            return
        text = b"".join(self.pieces)
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self.pieces = [rest]
        for line in lines:
            if not self.started:
                self.started, line = True, line.removeprefix(b"\xef\xbb\xbf")
            yield line

    def field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self.data.append(value)
        elif name == "event":
            self.kind = value
        elif name == "id" and "\0" not in value:
            self.own_id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry = int(value) / 1000

    def dispatch(self) -> ServerSentEvent | None:
        kind, data, own = self.kind, self.data, self.own_id
        self.kind, self.data, self.own_id, self.size = "", [], None, sum(map(len, self.pieces))
        before, self.last_id = self.last_id, self.last_id if own is None else own
        if not data:
            return None
        return ServerSentEvent(kind or "message", "\n".join(data), own, before)


class Follower(Generic[T]):
    """An application's place in what it is told, over any number of connections.

    read: makes a value of an event, of `reset` too. jitter: a random number from 0 to 1, each time
    another, so that the clients of a bridge that comes back do not come all at once.
    """

    def __init__(
        self,
        read: Callable[[ServerSentEvent], T],
        last_event_id: str | None,
        jitter: Callable[[], float],
    ) -> None:
        self.read = read
        self.jitter = jitter
        self.received_id = last_event_id or ""
        self.parser = EventParser(self.received_id)
        self.waiting: deque[tuple[str, T]] = deque()
        """What was told, each with the id to go on from for whom it is still to come."""
        self.restating: list[T] | None = None
        """Since a reset: what came without an id."""
        self.next_delay = NEXT_DELAY
        self.failures = 0

    @property
    def last_event_id(self) -> str:
        """Where a later stream can go on: behind the last one taken. "" before the first
        connection.
        """
        return self.waiting[0][0] if self.waiting else self.received_id

    def headers(self) -> Mapping[str, str]:
        """A connection begins: what its request says."""
        self.parser = EventParser(self.received_id)
        self.restating = None
        going_on = {"Last-Event-ID": self.received_id} if self.received_id else {}
        return {"Accept": "text/event-stream", "Cache-Control": "no-store", **going_on}

    def receive(self, chunk: bytes) -> None:
        """Bytes of the connection. Raises BadAnswer."""
        self.failures = 0
        for event in self.parser.feed(chunk):
            self.hear(event)
        if self.restating is None:
            self.received_id = self.parser.last_id
        if self.parser.retry is not None:
            self.next_delay = self.parser.retry

    def hear(self, event: ServerSentEvent) -> None:
        told = self.read(event)
        if event.kind == "reset":
            self.received_id, self.restating = event.before, []
        if self.restating is None:
            self.received_id = event.before
            self.waiting.append((self.received_id, told))
        else:
            self.restating.append(told)
        if event.id is not None:
            self.waiting.extend((self.received_id, held) for held in self.restating or ())
            self.received_id, self.restating = event.id, None

    def take(self) -> T | None:
        """The next one, None if there is none yet."""
        return self.waiting.popleft()[1] if self.waiting else None

    def delay(self) -> float:
        """The connection is lost, or was not made: seconds until the next attempt."""
        grown: float = self.next_delay * 2 ** (self.failures - 1) if self.failures else FIRST_DELAY
        delay = min(grown, MAX_DELAY)
        self.failures = min(self.failures + 1, MAX_DOUBLINGS)
        return delay * (0.5 + self.jitter() / 2)


def read(event: ServerSentEvent) -> Notification:
    """What an event says; what makes no sense is an OtherNotification, and the stream goes on."""
    event_id = event.id or ""
    if event.kind == "reset":
        return Reset(event_id)
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        return OtherNotification(event.kind, {"unreadable": event.data}, event_id)
    return notification(data, event_id)


def is_final(error: PresenceError) -> bool:
    """Would the next attempt fail as well?"""
    return isinstance(error, Fault) and error.status not in TRANSIENT


def pause(follower: Follower[T], error: PresenceError | None) -> float:
    """Seconds until the next attempt."""
    wait = error.retry_after if isinstance(error, Fault) else None
    return max(follower.delay(), wait or 0.0)
