"""The watchers of one presentity, as presence.winfo tells of them (RFC 3857 §4.7, RFC 3858).

A watcher is there from its SUBSCRIBE to the end of its subscription. One that was never decided does not
vanish with its subscription: it is *waiting*, so that the presentity can find it later, until somebody
decides, the watcher subscribes again, or a week has passed.

Each presence.winfo subscription has its own document: first the full list, version 0, then parts that hold
the watchers whose status changed since the last part that was sent. Versions grow by one for each document;
a subscriber that missed one, or whose NOTIFY failed, gets a full list again. Full lists leave terminated
watchers out, parts name them once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from sipbridge.events.notifier import Content, Input, State
from sipbridge.events.winfo_package import WATCHERINFO
from sipbridge.identities import PresentityKey
from sipbridge.presence import watcherinfo
from sipbridge.presence.watcherinfo import WatcherEntry, WatcherInfo, WatcherList
from sipbridge.uri import Uri

WAITING_LIFE = 7 * 86_400.0
"""Seconds a waiting watcher is kept; a person who looks once a week misses nobody."""

MAX_WAITING = 200
"""Waiting watchers of one presentity; the oldest go, so that strangers cannot fill the memory."""

PENDING, ACTIVE, WAITING, TERMINATED = "pending", "active", "waiting", "terminated"


@dataclass(frozen=True, slots=True)
class Watcher:
    """One watcher. since, ends: `now` of its subscription and of its end.

    shown: the address that presence.winfo tells instead of `uri`, of one who withholds who he is.
    """

    id: str
    uri: str
    display_name: str
    status: str
    event: str
    since: float
    ends: float
    shown: str = ""


EVENTS: dict[Input, str] = {
    Input.REJECTED: "rejected",
    Input.DEACTIVATED: "deactivated",
    Input.GIVEN_UP: "giveup",
    Input.NO_RESOURCE: "noresource",
    Input.UNSUBSCRIBED: "timeout",
    Input.EXPIRED: "timeout",
    Input.FAILED: "timeout",
}
"""The `event` of RFC 3858 §4.2.2 for each way in which a subscription ends."""

WAITS_AFTER = frozenset({Input.UNSUBSCRIBED, Input.EXPIRED, Input.GIVEN_UP, Input.FAILED})
"""After these an undecided watcher goes on waiting (RFC 3857 §4.7.1)."""


class Followed(Protocol):
    """A subscription to somebody's presence, or what stands for one in a list's subscription."""

    @property
    def id(self) -> str: ...

    @property
    def watcher(self) -> Uri: ...

    @property
    def shown(self) -> Uri: ...

    @property
    def display_name(self) -> str: ...

    @property
    def state(self) -> State: ...

    @property
    def since(self) -> float: ...

    @property
    def expires_at(self) -> float: ...


class Watchers:
    """The watchers of one presentity."""

    def __init__(self) -> None:
        self.there: dict[str, Watcher] = {}
        """By id, everybody but the terminated."""

    def waiting(self) -> list[Watcher]:
        return [w for w in self.there.values() if w.status == WAITING]

    def follow(
        self, subscription: Followed, happened: Input, now: float, *, may_wait: bool = True
    ) -> list[Watcher]:
        """Bring the list up to date after a step of a subscription; returns what changed.

        may_wait: if it ends undecided, its watcher goes on waiting.
        """
        before = self.there.get(subscription.id)
        after = watcher_after(before, subscription, happened, now, may_wait)
        if after is None:
            return []
        if after.status == WAITING:
            return self.wait(after)
        if after.status == TERMINATED:
            self.there.pop(after.id, None)
            return [after]
        self.there[after.id] = after
        again = [w for w in self.waiting() if w.uri == after.uri] if before is None else []
        return [after, *self.leave(again, "giveup")]

    def wait(self, watcher: Watcher) -> list[Watcher]:
        """Somebody waits from now on. Nobody does twice, and not too many do; returns what changed."""
        self.there[watcher.id] = watcher
        waiting = sorted(self.waiting(), key=lambda w: w.ends)
        twice = [w for w in waiting if w.uri == watcher.uri][:-1]
        oldest = [w for w in waiting if w not in twice][:-MAX_WAITING]
        return [watcher, *self.leave([*twice, *oldest], "giveup")]

    def leave(self, watchers: Iterable[Watcher], event: str) -> list[Watcher]:
        """These are over."""
        gone = [replace(w, status=TERMINATED, event=event) for w in watchers]
        for watcher in gone:
            del self.there[watcher.id]
        return gone


def watcher_after(
    before: Watcher | None,
    subscription: Followed,
    happened: Input,
    now: float,
    may_wait: bool,
) -> Watcher | None:
    """How a watcher stands after that step; None if nothing about it is news."""
    if subscription.state is State.TERMINATED:
        if before is None:
            return None
        waits = may_wait and before.status == PENDING and happened in WAITS_AFTER
        status, event = WAITING if waits else TERMINATED, EVENTS[happened]
    else:
        status = ACTIVE if subscription.state is State.ACTIVE else PENDING
        event = "subscribe" if before is None else "approved"
    if before is not None and before.status == status:
        return None
    ends = now + WAITING_LIFE if status == WAITING else subscription.expires_at
    return Watcher(
        subscription.id,
        str(subscription.watcher),
        subscription.display_name,
        status,
        event,
        subscription.since,
        ends,
        str(subscription.shown),
    )


class WatcherInfoView:
    """What one presence.winfo subscription is told."""

    def __init__(self, resource: PresentityKey, version: int = 0) -> None:
        self.resource = resource
        self.version = version
        self.full = True
        """The next document has to be a full one."""
        self.changed: dict[str, Watcher] = {}

    def note(self, watchers: Iterable[Watcher]) -> None:
        for watcher in watchers:
            self.changed[watcher.id] = watcher

    def content(self, watchers: Watchers, now: float, *, full: bool) -> Content | None:
        """The next document; None if there is nothing to tell. It counts as told."""
        full = full or self.full
        told = list(watchers.there.values()) if full else list(self.changed.values())
        if not full and not told:
            return None
        document = WatcherInfo(
            self.version,
            "full" if full else "partial",
            (WatcherList(self.resource, "presence", tuple(entry(w, now) for w in told)),),
        )
        self.version += 1
        self.full = False
        self.changed = {}
        return Content(WATCHERINFO, watcherinfo.serialise(document))

    def take_back(self) -> None:
        """The last document did not leave: its version is free (RFC 3858 §4.1 has the first be 0)."""
        self.version -= 1
        self.full = True


def entry(watcher: Watcher, now: float) -> WatcherEntry:
    over = watcher.status == TERMINATED
    return WatcherEntry(
        uri=watcher.shown or watcher.uri,
        status=watcher.status,
        event=watcher.event,
        id=watcher.id,
        display_name=watcher.display_name or None,
        expiration=None if over else max(0, int(watcher.ends - now)),
        duration_subscribed=max(0, int(now - watcher.since)),
    )
