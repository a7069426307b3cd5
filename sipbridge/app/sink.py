"""Where the gateway's notifications go: first the application's log, then every front that reads it.

`LogSink` appends, and tells the bus when the log has kept it; `BayeuxReader` is the first reader. What nobody
was connected for waits until the application subscribes to the channel again: then every
`notifySubscription`, `statusEnd` and `subscriptionEnded`, and for each contract and member one
`statusChanged` that says what all of them said together, go out once, in order.

What was revoked meanwhile is cut out when it is handed out, and taken back from queues it is in already.

What waits is written down soon after each change (`settle`): how far the log has been read, and which of the
entries up to there have not left. After a restart these wait again. A crash may repeat what left in its last
hundredths of a second, and loses nothing that the log still holds.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from sipbridge.bayeux import channels
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.values import Ended, Subscribed
from sipbridge.gateway.notifications import merged
from sipbridge.gateway.ports import Bus, LogEntry, Notification, NotificationLog, Recheck
from sipbridge.identities import PresentityKey

KEPT_ENTRIES = 1000
"""Entries of one application's log (decision 11)."""
KEPT_FOR = timedelta(minutes=10)
DELIVERY = "delivery"
"""Kind of the snapshots that keep what Bayeux clients have not fetched yet."""
SETTLE_SECONDS = 0.02
"""How soon after a delivery it is written down: what a crash in between may repeat."""
KEPT_BYTES = 16 * 1024 * 1024
TRIM_EVERY = 100
"""Appends between two trims of one log; the bound is a bound, not an exact length."""
TRIM_AFTER = 1024 * 1024
"""Bytes appended after which a log is trimmed, too."""
SWEEP_SECONDS = 60.0
"""How often the logs of silent applications are looked at: they age as well."""


def topic_of(application: str) -> str:
    """The bus topic of an application's notifications."""
    return f"notifications/{application}"


class LogSink:
    """`gateway.ports.NotificationSink` over a log and a bus."""

    def __init__(
        self,
        log: NotificationLog,
        bus: Bus,
        at: Callable[[], datetime],
        kept_entries: int = KEPT_ENTRIES,
        kept_for: timedelta = KEPT_FOR,
        recheck: Callable[[PresentityKey, PresentityKey], None] = lambda watcher, presentity: None,
        kept_bytes: int = KEPT_BYTES,
        check: Callable[[str, str], None] = channels.check_endpoint,
    ) -> None:
        """recheck: tells readers that hold something of this pair to look at it again.

        `listening` says whether an application has a session somewhere.
        """
        self.log = log
        self.bus = bus
        self.at = at
        self.kept_entries = kept_entries
        self.kept_for = kept_for
        self.readers_recheck = recheck
        self.listening: Callable[[str], bool] = lambda application: False
        self.kept_bytes = kept_bytes
        self.check_endpoint = check
        self.appended: dict[str, int] = {}
        self.grown: dict[str, int] = {}
        """Bytes appended to each log since it was trimmed."""

    def check(self, application: str, endpoint: str) -> None:
        self.check_endpoint(application, endpoint)

    def send(self, notification: Notification) -> None:
        at = self.at()
        self.log.append(notification, at, self.kept)
        application = notification.application
        count = self.appended[application] = self.appended.get(application, 0) + 1
        grown = self.grown[application] = self.grown.get(application, 0) + len(notification.data)
        if count % TRIM_EVERY == 0 or grown > TRIM_AFTER:
            self.trim(application, at)

    def kept(self, entry: LogEntry) -> None:
        """It is in the log, whatever happens: tell it."""
        self.bus.publish(topic_of(entry.notification.application), entry)

    def trim(self, application: str, at: datetime) -> None:
        self.grown[application] = 0
        self.log.trim(application, self.kept_entries, at - self.kept_for, self.kept_bytes)

    def sweep(self, applications: Iterable[str]) -> None:
        """Trim the logs of these applications: what is too old goes, also where nothing new comes."""
        at = self.at()
        for application in applications:
            self.trim(application, at)

    def connected(self, application: str) -> bool:
        return self.listening(application)

    def recheck(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        self.readers_recheck(watcher, presentity)


class BayeuxReader:
    """Reads every application's log for the Bayeux server. An entry's sequence is its tag there.

    remember: keeps one text for each application, given back to `restore` in the next life.
    """

    def __init__(
        self,
        server: BayeuxServer,
        now: Callable[[], float],
        remember: Callable[[str, str], None] = lambda application, text: None,
    ) -> None:
        self.server = server
        self.now = now
        self.remember = remember
        self.check: Recheck = lambda notification: notification
        """What of a notification may still be handed out."""
        self.undelivered: dict[str, OrderedDict[object, LogEntry]] = {}
        self.recent: dict[str, OrderedDict[int, LogEntry]] = {}
        """Entries handed to a session: they come back if the session ends before they left."""
        self.parts: dict[str, dict[int, frozenset[int]]] = {}
        """Of an entry that says what several said: the sequences of the others."""
        self.seen: dict[str, int] = {}
        """The last sequence read of each application's log."""
        self.unsettled: set[str] = set()
        self.settled: dict[str, str] = {}
        """What was written down last."""
        self.settle_soon: Callable[[], None] = lambda: None
        """Called when there is something to write down again."""

    def receive(self, entry: LogEntry) -> None:
        """A new entry: deliver it, or keep it for later."""
        self.seen[entry.notification.application] = entry.sequence
        note = self.check(entry.notification)
        if note is None:
            return
        if self.server.publish(note.endpoint, note.data, self.now(), entry.sequence):
            self.handed(entry)
        else:
            self.keep(entry)

    def unsettle(self, application: str) -> None:
        if not self.unsettled:
            self.settle_soon()
        self.unsettled.add(application)

    def handed(self, entry: LogEntry) -> None:
        self.unsettle(entry.notification.application)
        recent = self.recent.setdefault(entry.notification.application, OrderedDict())
        recent[entry.sequence] = entry
        while len(recent) > KEPT_ENTRIES:
            recent.popitem(last=False)

    def keep(self, entry: LogEntry) -> None:
        """A statusChanged takes in the one of the same contract and member that waits; others each count."""
        note = entry.notification
        self.unsettle(note.application)
        waiting = self.undelivered.setdefault(note.application, OrderedDict())
        member = note.grant.presentity if note.grant else ""
        key = (note.supersedes, member) if note.supersedes else entry.sequence
        other = waiting.pop(key, None)
        if other is not None:
            entry = self.joined(other, entry)
        waiting[key] = entry
        while len(waiting) > KEPT_ENTRIES:
            waiting.popitem(last=False)

    def joined(self, one: LogEntry, other: LogEntry) -> LogEntry:
        """Both as one entry, in the place of the newer."""
        older, newer = sorted((one, other), key=lambda entry: entry.sequence)
        parts = self.parts.setdefault(newer.notification.application, {})
        both = parts.pop(older.sequence, frozenset()) | parts.get(newer.sequence, frozenset())
        parts[newer.sequence] = both | {older.sequence} - {newer.sequence}
        note = merged(older.notification, newer.notification)
        return LogEntry(newer.sequence, newer.at, note)

    def subscribed(self, said: Subscribed) -> None:
        """A session subscribed: what waited for this channel goes to it, in order."""
        waiting = self.undelivered.get(said.application)
        if not waiting:
            return
        for key, entry in sorted(waiting.items(), key=lambda item: item[1].sequence):
            if channels.matches(said.channel, entry.notification.endpoint):
                del waiting[key]
                if (note := self.check(entry.notification)) is not None:
                    self.server.deliver(
                        said.session, note.endpoint, note.data, self.now(), entry.sequence
                    )
                    self.handed(entry)

    def recheck(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        """Take back from the queues what this watcher may not see of this presentity any more."""
        for application, tags in self.server.queued().items():
            recent = self.recent.get(application, OrderedDict())
            for entry in [recent[tag] for tag in tags if tag in recent]:
                note, grant = entry.notification, entry.notification.grant
                if grant is None or (grant.watcher, grant.presentity) != (watcher, presentity):
                    continue
                if (shown := self.check(note)) is not note:
                    data = None if shown is None else shown.data
                    self.server.amend(application, entry.sequence, note.endpoint, data)

    def ended(self, said: Ended) -> None:
        """A session is gone: what never left, or was never acknowledged, waits for the next one."""
        for sequence in said.undelivered:
            recent = self.recent.get(said.application)
            if recent is not None and (entry := recent.pop(sequence, None)) is not None:
                self.keep(entry)

    def forget(self, application: str) -> None:
        """The application is gone, and what it had not fetched with it."""
        for held in (self.undelivered, self.recent, self.seen, self.parts):
            held.pop(application, None)
        self.unsettled.discard(application)

    def settle(self) -> None:
        """Write down what has not left yet. What is still on its way is looked at again next time."""
        for application in list(self.unsettled):
            queued = self.server.undelivered(application)
            if not queued:
                self.unsettled.discard(application)
            if kept := self.undelivered.get(application):
                queued.update(entry.sequence for entry in kept.values())
            parts = {s: p for s, p in self.parts.pop(application, {}).items() if s in queued}
            if parts:
                self.parts[application] = parts
                queued.update(*parts.values())
            place = {"seen": self.seen.get(application, 0), "waiting": runs(queued)}
            text = orjson.dumps(place).decode()
            if self.settled.get(application) != text:
                self.settled[application] = text
                self.remember(application, text)

    def restore(self, application: str, text: str | None, log: Iterable[LogEntry]) -> None:
        """Take up what an earlier life had not delivered. `log`: what is held of the application's."""
        place: dict[str, Any] = orjson.loads(text) if text else {}
        seen: int = place.get("seen", 0)
        waiting = frozenset(numbers(place.get("waiting", ())))
        for entry in log:
            if entry.sequence > seen or entry.sequence in waiting:
                self.keep(entry)
            self.seen[application] = entry.sequence


def runs(sequences: Collection[int]) -> list[tuple[int, int]]:
    """First and last of each row of numbers without a gap: what waits is mostly one such row."""
    if not sequences:
        return []
    first, last = min(sequences), max(sequences)
    if last - first == len(sequences) - 1:  # a set, so each is there once
        return [(first, last)]
    found: list[tuple[int, int]] = []
    for number in sorted(sequences):
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def numbers(runs: Iterable[int | Sequence[int]]) -> Iterator[int]:
    """The numbers of `runs`; an earlier version wrote each by itself."""
    for run in runs:
        if isinstance(run, int):
            yield run
        else:
            yield from range(run[0], run[1] + 1)
