"""T1, T2, T4 and what follows from them; the one heap of deadlines.

`Timers` is a value handed to every core, so no test has to patch a global or to sleep. `Resend` is the
schedule of RFC 3261 §17.1.2.2: over an unreliable transport a request goes out again after T1, 2*T1, 4*T1 …
capped at T2; once a provisional response came, every T2. With the RFC's numbers, unanswered, that is 0.5,
1.5, 3.5, 7.5, 11.5 … 31.5 seconds after the first, and the end at 32.

`Deadlines` is a heap with lazy deletion: cancelling marks an entry, and it is thrown away when it comes to
the top, or all at once when more than half of the heap is marked. Entries of one instant wake in the order
in which they were made.

`Lingering` is for what ends equally long after it began, like timer J of every answered request: who came
first ends first, so a plain queue serves, of which only the head is in the heap.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sipbridge.sip.usage import Timed

COMPACT_ABOVE = 256
"""Cancelled entries below this number are not worth a sweep."""


LINGER_GRAIN = 0.25
"""Seconds by which lingering may last longer: at a thousand messages a second 250 end at one wake-up."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The base values, in seconds (RFC 3261 §17, table 4), and the timers made of them."""

    t1: float = 0.5
    """Round-trip estimate."""
    t2: float = 4.0
    """Longest interval between resends."""
    t4: float = 5.0
    """How long a message stays in the network."""

    @property
    def give_up(self) -> float:
        """64*T1: timers B, F, H and J over UDP; also timer N (RFC 6665 §4.1.2.4)."""
        return 64 * self.t1

    def linger_client(self, reliable: bool) -> float:
        """Timer K: how long late copies of a final response are absorbed."""
        return 0.0 if reliable else self.t4

    def linger_server(self, reliable: bool) -> float:
        """Timer J: how long resent requests are answered from memory."""
        return 0.0 if reliable else 64 * self.t1

    def linger_ack(self, reliable: bool) -> float:
        """Timer I: how long repeated ACKs are absorbed."""
        return 0.0 if reliable else self.t4


class Resend:
    """When one message goes out again over an unreliable transport (timers E and G)."""

    __slots__ = ("interval", "timers", "when")

    def __init__(self, timers: Timers, started: float) -> None:
        self.timers = timers
        self.interval = timers.t1
        self.when = started + timers.t1

    def provisional(self) -> None:
        """A 1xx came: after the resend that is already due the interval is T2."""
        self.interval = self.timers.t2

    def next_timeout(self) -> float:
        return self.when

    def fire(self, now: float) -> float:
        """It is sent again at `now`; plans the next one and returns `now`."""
        self.interval = min(2 * self.interval, self.timers.t2)
        self.when = now + self.interval
        return now


class Deadline:
    """One wake-up that was asked for."""

    __slots__ = ("heap", "timed", "when")

    def __init__(self, when: float, timed: "Timed", heap: "Deadlines") -> None:
        self.when = when
        self.timed: Timed | None = timed
        self.heap: Deadlines | None = heap

    @property
    def pending(self) -> bool:
        """Will it still wake somebody?"""
        return self.timed is not None

    def cancel(self) -> None:
        """It wakes nobody any more. Safe to call at any time, also twice."""
        if self.timed is not None:
            self.timed = None
            if self.heap is not None:
                self.heap.forget_one()


class Deadlines:
    """All deadlines of one core."""

    __slots__ = ("cancelled", "entries", "made")

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, Deadline]] = []
        self.made = 0
        self.cancelled = 0

    def __len__(self) -> int:
        return len(self.entries) - self.cancelled

    def schedule(self, when: float, timed: "Timed") -> Deadline:
        """Wake `timed` at or after `when`."""
        deadline = Deadline(when, timed, self)
        self.made += 1
        heappush(self.entries, (when, self.made, deadline))
        return deadline

    def forget_one(self) -> None:
        """Called by a Deadline in the heap that was cancelled."""
        self.cancelled += 1
        if self.cancelled > COMPACT_ABOVE and 2 * self.cancelled > len(self.entries):
            self.entries = [entry for entry in self.entries if entry[2].timed is not None]
            heapify(self.entries)
            self.cancelled = 0

    def next_timeout(self) -> float | None:
        """When the earliest is due; None when there is none."""
        entries = self.entries
        while entries and entries[0][2].timed is None:
            heappop(entries)
            self.cancelled -= 1
        return entries[0][0] if entries else None

    def wake(self, now: float) -> None:
        """Wake everybody whose time has come, earliest first.

        Whoever is woken may schedule and cancel. What is newly scheduled for `now` or earlier waits for the
        next call, so a wrong user cannot hold this loop forever. An error of one leaves the others planned.
        """
        due = self.take_due(now)
        try:
            while due:
                deadline = due.pop()
                timed, deadline.timed = deadline.timed, None
                if timed is not None:
                    timed.handle_timeout(now)
        finally:
            for deadline in due:
                if deadline.timed is not None:
                    self.schedule(deadline.when, deadline.timed)

    def take_due(self, now: float) -> list[Deadline]:
        """What is due leaves the heap, the earliest last."""
        due = []
        while self.entries and self.entries[0][0] <= now:
            deadline = heappop(self.entries)[2]
            if deadline.timed is None:
                self.cancelled -= 1
            else:
                deadline.heap = None
                due.append(deadline)
        due.reverse()
        return due


class Lingering:
    """What wants to be woken `seconds` after it is put in, or up to LINGER_GRAIN later; never cancelled."""

    __slots__ = ("deadlines", "planned", "queue", "seconds")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self.deadlines = deadlines
        self.seconds = seconds
        self.queue: deque[tuple[float, Timed]] = deque()
        self.planned = False

    def add(self, timed: "Timed", now: float) -> None:
        """Put it in."""
        when = now + self.seconds
        self.queue.append((when, timed))
        if not self.planned:
            self.planned = True
            self.deadlines.schedule(when, self)

    def handle_timeout(self, now: float) -> None:
        """Wake whoever is due, then plan the next time."""
        queue = self.queue
        try:
            while queue and queue[0][0] <= now:
                queue.popleft()[1].handle_timeout(now)
        finally:
            self.planned = bool(queue)
            if queue:
                self.deadlines.schedule(max(queue[0][0], now + LINGER_GRAIN), self)
