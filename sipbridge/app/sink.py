"""Where the gateway's notifications go: first the application's log, then every front that reads it.

`LogSink` appends and tells the bus; `BayeuxReader` is the first reader. A notification nobody was connected
for is kept until the application subscribes to the channel again: then every `notifySubscription`,
`statusEnd` and `subscriptionEnded`, and the newest `statusChanged` of each contract, go out once, in order.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from sipbridge.bayeux import channels
from sipbridge.bayeux.server import BayeuxServer, Subscribed
from sipbridge.errors import InvalidValue
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

    def __init__(self, log: NotificationLog, bus: Bus, at: Callable[[], datetime]) -> None:
        self.log = log
        self.bus = bus
        self.at = at
        self.appended: dict[str, int] = {}

    def check(self, application: str, endpoint: str) -> None:
        if not channels.owns(application, endpoint) or "*" in endpoint:
            raise InvalidValue(
                f"a Bayeux channel that begins /bayeux/{application} is expected",
                part="reference.endpoint",
            )

    def send(self, notification: Notification) -> None:
        at = self.at()
        entry = self.log.append(notification, at)
        count = self.appended.get(notification.application, 0) + 1
        self.appended[notification.application] = count
        if count % TRIM_EVERY == 0:
            self.log.trim(notification.application, KEPT_ENTRIES, at - KEPT_FOR)
        self.bus.publish(topic_of(notification.application), entry)


class BayeuxReader:
    """Reads every application's log for the Bayeux server."""

    def __init__(self, server: BayeuxServer, now: Callable[[], float]) -> None:
        self.server = server
        self.now = now
        self.undelivered: dict[str, OrderedDict[object, LogEntry]] = {}

    def receive(self, entry: LogEntry) -> None:
        """A new entry: deliver it, or keep it for later."""
        notification = entry.notification
        delivered = self.server.publish(notification.endpoint, notification.data, self.now())
        if not delivered:
            waiting = self.undelivered.setdefault(notification.application, OrderedDict())
            # A statusChanged replaces the one of the same contract that waits; others each count.
            key = notification.supersedes or entry.sequence
            waiting.pop(key, None)
            waiting[key] = entry
            while len(waiting) > KEPT_ENTRIES:
                waiting.popitem(last=False)

    def subscribed(self, said: Subscribed) -> None:
        """A session subscribed: what waited for this channel goes to it."""
        waiting = self.undelivered.get(said.application)
        if not waiting:
            return
        for key, entry in list(waiting.items()):
            endpoint = entry.notification.endpoint
            if channels.matches(said.channel, endpoint):
                self.server.deliver(said.session, endpoint, entry.notification.data, self.now())
                del waiting[key]
