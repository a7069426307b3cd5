"""One client, its queue and the outlets by which bytes leave.

A session lives from its handshake until it expires, disconnects, overflows or is revoked. It has one queue
of events. With the `ack` extension, events that left stay in `unacknowledged`, one batch for each connect
reply, until a later connect says which batch arrived; what did not arrive goes back to the head of the
queue, in order.

An *outlet* is where messages leave: an `Exchange` is one HTTP request and its single reply, a `Link` one
WebSocket. The driver is told which outlets have something to say and collects it when it is ready to write,
so a burst of events becomes one write, and a slow peer costs at most its queue.

A session's `deadline` is the end of its hold while a connect is held, else its expiry; it is None while a
live WebSocket carries it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks. application: the authenticated one, None when credentials were missing or wrong.

    header: were credentials given in a header (of the request or of the WebSocket upgrade)?
    """

    application: str | None = None
    header: bool = False


@dataclass(slots=True, eq=False)
class Event:
    """A serialised event; the same object is in the queue of every subscriber. `tag` is the publisher's."""

    data: bytes
    tag: int = 0


@dataclass(slots=True, eq=False)
class Timed:
    """Something with one deadline. `armed` belongs to `Deadlines`."""

    deadline: float | None = field(default=None, init=False)
    armed: float | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Exchange:
    """One HTTP request and its reply.

    session: whose connect it holds. answered: whose connect it answered. out: the reply so far.
    """

    session: "Session | None" = None
    answered: "Session | None" = None
    out: list[bytes] = field(default_factory=list)
    waking: bool = False

    def connect_reply(self, events: list[bytes], reply: bytes) -> None:
        """Events stand before all replies."""
        self.out[:0] = events
        self.out.append(reply)


@dataclass(slots=True, eq=False)
class Link(Timed):
    """One WebSocket. `close_code`: the driver shall close it, after writing what there is."""

    origin: Origin
    address: str = ""
    sessions: "dict[Session, None]" = field(default_factory=dict)
    out: list[bytes] = field(default_factory=list)
    waking: bool = False
    close_code: int | None = None

    def connect_reply(self, events: list[bytes], reply: bytes) -> None:
        """Replies keep the order in which they were made."""
        self.out += events
        self.out.append(reply)


Outlet = Exchange | Link


@dataclass(slots=True, eq=False)
class Hold:
    """A connect not yet answered. `ident`: its message id. `clock`: its timesync request, if any."""

    outlet: Outlet
    ident: object
    arrived: float
    clock: dict[str, object] | None = None


@dataclass(slots=True, eq=False)
class Session(Timed):
    """One client. header: was it made with credentials in a header? ack: is the extension on?"""

    client_id: str
    application: str
    header: bool
    ack: bool
    connected: bool = False
    subscriptions: dict[str, None] = field(default_factory=dict)
    queue: deque[Event] = field(default_factory=deque)
    queued_bytes: int = 0
    """Of the queue and of everything unacknowledged."""
    unacknowledged: deque[tuple[int, list[Event]]] = field(default_factory=deque)
    unacknowledged_events: int = 0
    batch: int = 0
    """Number of the last connect reply, with `ack`."""
    grace: float = 0.0
    """Seconds the client said it would wait before its next connect."""
    hold: Hold | None = None
    link: Link | None = None

    @property
    def backlog(self) -> int:
        """Events that are queued or not acknowledged."""
        return len(self.queue) + self.unacknowledged_events

    def enqueue(self, event: Event) -> None:
        self.queue.append(event)
        self.queued_bytes += len(event.data)

    def outlet(self) -> Outlet | None:
        """Where an event could leave at this moment."""
        if self.link is not None and not self.ack:
            return self.link
        return self.hold.outlet if self.hold is not None else None

    def take(self) -> list[bytes]:
        """All queued events; with `ack` they become the batch of the reply that is being written."""
        if self.ack:
            self.batch += 1
            if self.queue:
                events = list(self.queue)
                self.unacknowledged.append((self.batch, events))
                self.unacknowledged_events += len(events)
        else:
            self.queued_bytes = 0
        taken = [event.data for event in self.queue]
        self.queue.clear()
        return taken

    def acknowledge(self, batch: int) -> None:
        """Forget batches up to this one; put later ones back at the head of the queue, in order."""
        while self.unacknowledged and self.unacknowledged[0][0] <= batch:
            _, events = self.unacknowledged.popleft()
            self.unacknowledged_events -= len(events)
            self.queued_bytes -= sum(len(event.data) for event in events)
        while self.unacknowledged:
            _, events = self.unacknowledged.pop()
            self.unacknowledged_events -= len(events)
            self.queue.extendleft(reversed(events))

    def amend(self, tag: int, event: Event | None) -> None:
        """Put this event in place of those with that tag, or take them out."""

        def amended(events: Iterable[Event]) -> Iterator[Event]:
            for old in events:
                if old.tag != tag:
                    yield old
                elif event is not None:
                    yield event

        self.queue = deque(amended(self.queue))
        self.unacknowledged = deque((n, list(amended(sent))) for n, sent in self.unacknowledged)
        waiting = [*self.queue, *(e for _, sent in self.unacknowledged for e in sent)]
        self.unacknowledged_events = len(waiting) - len(self.queue)
        self.queued_bytes = sum(len(e.data) for e in waiting)

    def undelivered(self) -> tuple[int, ...]:
        """Tags of the events that are queued or not acknowledged, oldest first."""
        sent = [event.tag for _, events in self.unacknowledged for event in events]
        return (*sent, *(event.tag for event in self.queue))


class Deadlines:
    """Which of many things is due next. A deadline that only moves later costs nothing but a float.

    Each thing has at most one live entry in the heap; an entry that turns out too early is put back.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Session | Link]] = []
        self.numbers = count()
        self.alarm = inf
        """When whoever keeps the real timer looks again."""
        self.sooner = False
        """Has something been set since that is due before?"""

    def set(self, timed: "Session | Link", when: float | None) -> None:
        """Set or clear the deadline."""
        timed.deadline = when
        if when is not None and (timed.armed is None or when < timed.armed):
            timed.armed = when
            heappush(self.heap, (when, next(self.numbers), timed))
            if when < self.alarm:
                self.sooner = True

    def watched(self, alarm: float | None) -> None:
        """Somebody looks again at that moment (None: not before something is set)."""
        self.alarm = inf if alarm is None else alarm
        self.sooner = False

    def next(self) -> float | None:
        """The earliest deadline."""
        while self.heap:
            when, _, timed = self.heap[0]
            if timed.armed == when and timed.deadline == when:
                return when
            self.discard()
        return None

    def due(self, now: float) -> "Iterator[Session | Link]":
        """Everything whose deadline has come; it has no deadline afterwards."""
        while (when := self.next()) is not None and when <= now:
            timed = heappop(self.heap)[2]
            timed.armed = timed.deadline = None
            yield timed

    def discard(self) -> None:
        when, _, timed = heappop(self.heap)
        if timed.armed == when:
            timed.armed = None
            if timed.deadline is not None:
                self.set(timed, timed.deadline)
