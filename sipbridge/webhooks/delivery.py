"""Delivers notifications to URLs, in order, until they are taken or too old.

Every pair (application, endpoint) is a `Line`: a cursor on the application's notification log with the
entries that wait. One request of a line is on its way at a time and the next entry is begun when the one
before was answered 2xx, so a receiver sees the order of the log. After a failure the line pauses, doubling
from `first_delay` to `longest_delay` with jitter; a `Retry-After` prolongs the pause within that bound. A
receiver may see a notification twice (its answer was lost, or we crashed): the `webhook-id`, application
and sequence in the log, is then the same.

An entry is given up when it is older than `max_age` or has failed `max_attempts` times, and when more than
`max_waiting` wait. Notifications tell differences, so a receiver that missed one cannot just go on: the
line then has a gap. Before anything else it sends `{"reset":{}}` and the current state of every contract
that has this endpoint, and it goes on trying that as long as there is such a contract.

Where each line stands is written down (`remember`) a moment after it changed. What the log still holds is
delivered after a restart; what it lost meanwhile is a gap. A crash may repeat what left in its last second.

What an application may see is asked again (`recheck`) right before each request.
"""

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sipbridge.gateway.ports import Clock, LogEntry, Notification
from sipbridge.webhooks import targets
from sipbridge.webhooks.client import Client, Outcome
from sipbridge.webhooks.indications import Delivered, Dropped, Postponed
from sipbridge.webhooks.signing import signed_headers
from sipbridge.webhooks.targets import Target, is_webhook, refused

RESET_KIND = "reset"
RESET = b'{"reset":{}}'
STATE = "statusChanged"
"""The kind of notification that the current state stands in for."""
SETTLE_SECONDS = 1.0
"""How long after a change it is written down."""
GRACE_SECONDS = 2.0
"""How long requests on their way may take when the bridge stops."""
MAX_GAPS = 1000
"""Lines of one application kept only because they have a gap; receivers beyond it are not told of theirs."""

Current = Callable[[str, str], Iterable[Notification]]
"""The current state of every contract of an (application, endpoint), as notifications to go out now."""
Recheck = Callable[[Notification], Notification | None]
"""What of a notification may still be read; None: nothing."""
Key = tuple[str, str]
"""(application, endpoint)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and numbers; `[webhooks]` of the configuration."""

    concurrency: int = 32
    """Requests at a time."""
    per_application: int = 8
    """Requests at a time of one application, so that dead receivers of one do not hold up the others."""
    max_attempts: int = 20
    max_age: float = 600.0
    max_waiting: int = 1000
    first_delay: float = 1.0
    longest_delay: float = 300.0


@dataclass(slots=True, eq=False)
class Line:
    """The deliveries of one application to one endpoint."""

    application: str
    endpoint: str
    target: Target
    waiting: deque[LogEntry] = field(default_factory=deque)
    attempts: int = 0
    """Of the first entry that waits."""
    failures: int = 0
    """In a row, whatever was tried."""
    delay: float = 0.0
    """Seconds until the next attempt, after a failure."""
    gap: int = 0
    """The newest sequence that was given up and that the receiver does not know of; 0: none."""
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> Key:
        return self.application, self.endpoint


class Webhooks:
    """All deliveries. Made inside the running event loop.

    keys: the signing key of each application that may have webhooks; looked at again for each request.
    remember: keeps one text for each application, given back to `restore` in the next life. tell: takes the
    values of `indications.py`.
    """

    def __init__(
        self,
        keys: Mapping[str, bytes],
        client: Client,
        clock: Clock,
        *,
        allow_private: bool = False,
        limits: Limits = Limits(),
        current: Current = lambda application, endpoint: (),
        recheck: Recheck = lambda notification: notification,
        remember: Callable[[str, str | None], None] = lambda application, text: None,
        tell: Callable[[object], None] = lambda said: None,
        settle_after: float = SETTLE_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.keys = keys
        self.client = client
        self.clock = clock
        self.allow_private = allow_private
        self.limits = limits
        self.current = current
        self.recheck = recheck
        self.remember = remember
        self.tell = tell
        self.settle_after = settle_after
        self.jitter = jitter
        self.lines: dict[Key, Line] = {}
        self.seen: dict[str, int] = {}
        """The last sequence of each application's log that was looked at."""
        self.slots = asyncio.Semaphore(limits.concurrency)
        self.slots_of: dict[str, asyncio.Semaphore] = {}
        self.unsettled: set[str] = set()
        self.settling: asyncio.TimerHandle | None = None
        self.running = False
        self.stopping = asyncio.Event()

    # --- the policy

    def check(self, application: str, endpoint: str) -> None:
        """Raises InvalidValue (part "endpoint") unless the application may be notified at this URL."""
        if application not in self.keys:
            raise refused("this application may not have webhooks")
        targets.check(endpoint, self.allow_private)

    def forget(self, application: str) -> None:
        """The application is gone, and what was to be delivered with it."""
        self.seen.pop(application, None)
        self.unsettled.discard(application)
        for line in [one for one in self.lines.values() if one.application == application]:
            line.waiting.clear()
            line.gap = 0
            self.leave(line)

    # --- what comes in

    def receive(self, entry: LogEntry) -> None:
        """A new entry of a log: queue it if it goes to a URL."""
        note = entry.notification
        if not is_webhook(note.endpoint):
            return
        self.seen[note.application] = entry.sequence
        self.enqueue(entry)
        self.settle_soon(note.application)

    def enqueue(self, entry: LogEntry) -> None:
        note = entry.notification
        if note.application not in self.keys:
            self.tell(Dropped(note.application, "", 1, "forbidden"))
            return
        line = self.line_of(note.application, note.endpoint)
        line.waiting.append(entry)
        if len(line.waiting) > self.limits.max_waiting:
            self.overflow(line)
        self.wake(line)

    def line_of(self, application: str, endpoint: str) -> Line:
        line = self.lines.get((application, endpoint))
        if line is None:
            line = Line(application, endpoint, Target.parse(endpoint))
            self.lines[line.key] = line
        return line

    # --- life

    def restore(self, application: str, text: str | None, log: Iterable[LogEntry]) -> None:
        """Take up what an earlier life had not delivered. log: what is held of the application's."""
        place: dict[str, Any] = json.loads(text) if text else {}
        seen: int = place.get("seen", 0)
        behind: dict[str, int] = place.get("behind", {})
        oldest = 0
        for entry in log:
            oldest = oldest or entry.sequence
            endpoint = entry.notification.endpoint
            if is_webhook(endpoint):
                self.seen[application] = entry.sequence
                if entry.sequence > seen or entry.sequence >= behind.get(
                    endpoint, entry.sequence + 1
                ):
                    self.enqueue(entry)
        self.seen[application] = max(seen, self.seen.get(application, 0))
        for endpoint, first in behind.items():
            if application in self.keys and (not oldest or oldest > first):
                self.mark_gap(self.line_of(application, endpoint), first, 1, "log")
        for endpoint, sequence in place.get("gaps", {}).items():
            if application in self.keys:
                self.line_of(application, endpoint).gap = sequence

    def start(self) -> None:
        """Begin to send."""
        self.running = True
        for line in list(self.lines.values()):
            self.wake(line)

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Requests on their way are given `grace` seconds; what waits is written down."""
        self.stopping.set()
        tasks = [line.task for line in self.lines.values() if line.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.settling is not None:
            self.settling.cancel()
        self.settle()
        await self.client.close()

    def settle_soon(self, application: str) -> None:
        self.unsettled.add(application)
        if self.settling is None:
            loop = asyncio.get_running_loop()
            self.settling = loop.call_later(self.settle_after, self.settle)

    def settle(self) -> None:
        """Write down where the lines of the applications that changed stand."""
        self.settling = None
        unsettled, self.unsettled = self.unsettled, set()
        behind: dict[str, dict[str, int]] = {application: {} for application in unsettled}
        gaps: dict[str, dict[str, int]] = {application: {} for application in unsettled}
        for line in self.lines.values():
            if line.application in unsettled:
                if line.waiting:
                    behind[line.application][line.endpoint] = line.waiting[0].sequence
                if line.gap:
                    gaps[line.application][line.endpoint] = line.gap
        for application in unsettled:
            place = {
                "seen": self.seen.get(application, 0),
                "behind": behind[application],
                "gaps": gaps[application],
            }
            self.remember(application, json.dumps(place))

    # --- one line

    def wake(self, line: Line) -> None:
        if line.task is None and self.running and not self.stopping.is_set():
            line.task = asyncio.get_running_loop().create_task(self.run(line))

    async def run(self, line: Line) -> None:
        """Deliver until nothing is left to do."""
        try:
            while not self.stopping.is_set():
                self.expire(line)
                if line.gap and (line.waiting or self.states(line)):
                    outcome = await self.catch_up(line)
                elif line.waiting:
                    outcome = await self.deliver(line)
                else:
                    return
                self.settle_soon(line.application)
                if not outcome.delivered:
                    await self.pause(line)
        finally:
            line.task = None
            self.leave(line)

    async def deliver(self, line: Line) -> Outcome:
        """Try the first entry that waits."""
        entry = line.waiting[0]
        outcome = await self.attempt(line, entry, f"{line.application}-{entry.sequence}")
        line.attempts += 1
        if outcome.delivered or line.attempts >= self.limits.max_attempts:
            line.attempts = 0
            if line.waiting and line.waiting[0] is entry:
                line.waiting.popleft()
            if not outcome.delivered:
                self.mark_gap(line, entry.sequence, 1, "attempts")
        return outcome

    async def catch_up(self, line: Line) -> Outcome:
        """Say `reset` and the current state. What waits goes on from there, without what the state says."""
        line.waiting = deque(e for e in line.waiting if e.notification.kind != STATE)
        line.attempts = 0
        gap, at = line.gap, self.clock.at()
        # Each turn has ids of its own: the state may be another one by then.
        turn = f"{line.application}-{gap}-{int(at.timestamp() * 1000)}"
        reset = Notification(line.application, line.endpoint, RESET_KIND, RESET)
        for number, note in enumerate([reset, *self.states(line)]):
            outcome = await self.attempt(line, LogEntry(gap, at, note), f"{turn}-{number}")
            if not outcome.delivered:
                return outcome
        if line.gap == gap:
            line.gap = 0
        return outcome

    def states(self, line: Line) -> list[Notification]:
        return list(self.current(line.application, line.endpoint))

    async def attempt(self, line: Line, entry: LogEntry, id: str) -> Outcome:
        """One request, when it is this line's turn, with what may be seen at that moment."""
        mine = self.slots_of.setdefault(
            line.application, asyncio.Semaphore(self.limits.per_application)
        )
        async with mine, self.slots:
            key = self.keys.get(line.application)
            seen = self.recheck(entry.notification)
            if key is None or seen is None:
                self.give_up(line, 1, "forbidden" if key is None else "revoked")
                return Outcome(True, "nothing to say")
            at = self.clock.at()
            body = seen.data
            headers = signed_headers(key, id, int(at.timestamp()), body)
            outcome = await self.client.post(line.target, headers, body)
        self.judge(line, entry, id, outcome)
        return outcome

    def judge(self, line: Line, entry: LogEntry, id: str, outcome: Outcome) -> None:
        """Count an attempt, say what became of it, and how long the line pauses now."""
        line.failures += 1
        attempts, origin = line.failures, line.target.origin
        if outcome.delivered:
            line.failures = 0
            seconds = max(0.0, (self.clock.at() - entry.at).total_seconds())
            self.tell(Delivered(line.application, origin, id, attempts, seconds))
            return
        line.delay = delay(attempts, outcome.retry_after, self.limits, self.jitter())
        self.tell(Postponed(line.application, origin, id, attempts, outcome.reason, line.delay))

    async def pause(self, line: Line) -> None:
        """Wait, unless the bridge stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(line.delay):
                await self.stopping.wait()

    # --- what is given up

    def expire(self, line: Line) -> None:
        """Give up what has waited too long."""
        too_old = self.clock.at() - timedelta(seconds=self.limits.max_age)
        while line.waiting and line.waiting[0].at < too_old:
            self.mark_gap(line, line.waiting.popleft().sequence, 1, "age")
            line.attempts = 0

    def overflow(self, line: Line) -> None:
        """Too many wait: from here on the state must do, and of the rest the newest count."""
        before, last = len(line.waiting), line.waiting[-1].sequence
        line.waiting = deque(
            (e for e in line.waiting if e.notification.kind != STATE), self.limits.max_waiting
        )
        line.attempts = 0
        self.mark_gap(line, last, before - len(line.waiting), "queue")

    def mark_gap(self, line: Line, sequence: int, count: int, reason: str) -> None:
        line.gap = max(line.gap, sequence)
        self.give_up(line, count, reason)

    def give_up(self, line: Line, count: int, reason: str) -> None:
        if count:
            self.tell(Dropped(line.application, line.target.origin, count, reason))
            self.settle_soon(line.application)

    def leave(self, line: Line) -> None:
        """A line that has nothing to do is forgotten, unless it has a gap to tell of."""
        if line.waiting or line.task is not None:
            return
        if line.gap:
            idle = [
                one
                for one in self.lines.values()
                if one.application == line.application and one.task is None and not one.waiting
            ]
            if len(idle) <= MAX_GAPS:
                return
            line = idle[0]
        if self.lines.get(line.key) is line:
            del self.lines[line.key]


def delay(failures: int, retry_after: float, limits: Limits, jitter: float) -> float:
    """Seconds until the next attempt after so many failures in a row. jitter: 0 to 1."""
    # Beyond 2^30 times the first delay everything is longer than the longest.
    doubled = min(limits.longest_delay, limits.first_delay * (1 << min(failures - 1, 30)))
    return max(doubled * (0.5 + jitter / 2), min(retry_after, limits.longest_delay))
