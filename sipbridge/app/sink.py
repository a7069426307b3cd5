"""Where the gateway's notifications go: first the application's log, then every front that reads it.

`LogSink` appends and tells the bus; `BayeuxReader` is the first reader. A notification nobody was connected
for is kept until the application subscribes to the channel again: then every `notifySubscription`,
`statusEnd` and `subscriptionEnded`, and the newest `statusChanged` of each contract, go out once, in order.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from sipbridge.bayeux import channels
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.values import Ended, Subscribed
from sipbridge.gateway.ports import Bus, LogEntry, Notification, NotificationLog

KEPT_ENTRIES = 1000
"""Entries of one application's log (decision 11)."""
KEPT_FOR = timedelta(minutes=10)
TRIM_EVERY = 100
"""Appends between two trims of one log; the bound is a bound, not an exact length."""


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
    ) -> None:
        self.log = log
        self.bus = bus
        self.at = at
        self.kept_entries = kept_entries
        self.kept_for = kept_for
        self.appended: dict[str, int] = {}

    def check(self, application: str, endpoint: str) -> None:
        channels.check_endpoint(application, endpoint)

    def send(self, notification: Notification) -> None:
        at = self.at()
        entry = self.log.append(notification, at)
        count = self.appended.get(notification.application, 0) + 1
        self.appended[notification.application] = count
        if count % TRIM_EVERY == 0:
            self.log.trim(notification.application, self.kept_entries, at - self.kept_for)
        self.bus.publish(topic_of(notification.application), entry)


class BayeuxReader:
    """Reads every application's log for the Bayeux server. An entry's sequence is its tag there."""

    def __init__(self, server: BayeuxServer, now: Callable[[], float]) -> None:
        self.server = server
        self.now = now
        self.undelivered: dict[str, OrderedDict[object, LogEntry]] = {}
        self.recent: OrderedDict[tuple[str, int], LogEntry] = OrderedDict()
        """Entries handed to a session: they come back if the session ends before they left."""

    def receive(self, entry: LogEntry) -> None:
        """A new entry: deliver it, or keep it for later."""
        note = entry.notification
        if self.server.publish(note.endpoint, note.data, self.now(), entry.sequence):
            self.handed(entry)
        else:
            self.keep(entry)

    def handed(self, entry: LogEntry) -> None:
        self.recent[entry.notification.application, entry.sequence] = entry
        while len(self.recent) > KEPT_ENTRIES:
            self.recent.popitem(last=False)

    def keep(self, entry: LogEntry) -> None:
        """A statusChanged replaces the one of the same contract that waits; others each count."""
        note = entry.notification
        waiting = self.undelivered.setdefault(note.application, OrderedDict())
        key = note.supersedes or entry.sequence
        older = waiting.get(key)
        if older is not None and older.sequence > entry.sequence:
            return
        waiting.pop(key, None)
        waiting[key] = entry
        while len(waiting) > KEPT_ENTRIES:
            waiting.popitem(last=False)

    def subscribed(self, said: Subscribed) -> None:
        """A session subscribed: what waited for this channel goes to it, in order."""
        waiting = self.undelivered.get(said.application)
        if not waiting:
            return
        for key, entry in sorted(waiting.items(), key=lambda item: item[1].sequence):
            note = entry.notification
            if channels.matches(said.channel, note.endpoint):
                self.server.deliver(
                    said.session, note.endpoint, note.data, self.now(), entry.sequence
                )
                self.handed(entry)
                del waiting[key]

    def ended(self, said: Ended) -> None:
        """A session is gone: what never left, or was never acknowledged, waits for the next one."""
        for sequence in said.undelivered:
            if (entry := self.recent.pop((said.application, sequence), None)) is not None:
                self.keep(entry)
