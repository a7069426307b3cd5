"""What a caller wishes to see, and feeds of what has changed.

A wish is on a contact, and a contact has one status for all wishes on it. What there is to tell goes through
a `Feed`, one for each caller and kind of wish. A feed is no queue: it knows for each wish when it last
changed. A reader asks for what changed after the last thing it has seen and gets the state as it is then, so
a slow reader costs nothing and misses no state; it may miss states in between.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.registry import Pair
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import WebexPresence
from sipbridge.uri import Uri


@dataclass(frozen=True, slots=True)
class Seen:
    """A status as clients of every Webex interface see it. since: when it began. stale: it may be old."""

    presence: WebexPresence
    rest: str
    service: str
    since: datetime
    stale: bool = False


@dataclass(slots=True, eq=False)
class Contact:
    """One presentity as one application's watcher sees it. seen: None until there is something to tell."""

    caller: Caller
    presentity: Uri
    pair: Pair
    seen: Seen | None = None
    wishes: dict["Wish", None] = field(default_factory=dict)
    """In the order they were made."""


@dataclass(slots=True, eq=False)
class Wish:
    """A handle or a lease. name: the number, or the subject. contact: None if the name means nobody."""

    name: int | str
    contact_id: str
    contact: Contact | None
    feed: "Feed"

    @property
    def is_valid(self) -> bool:
        return self.contact is not None


class Feed:
    """The wishes of one kind of one caller, and when each last changed."""

    def __init__(self, sequence: Iterator[int]) -> None:
        """sequence: numbers of changes, which grow over all feeds, so that none is used twice."""
        self.sequence = sequence
        self.wishes: dict[int | str, Wish] = {}
        self.last = 0
        self.changed: dict[Wish, int] = {}
        """In the order of changes, the newest last."""
        self.listeners: set[Callable[[], None]] = set()

    @property
    def used(self) -> bool:
        return bool(self.wishes or self.listeners)

    def put(self, wish: Wish) -> None:
        self.wishes[wish.name] = wish

    def drop(self, wish: Wish) -> None:
        self.wishes.pop(wish.name, None)
        self.changed.pop(wish, None)

    def touch(self, wishes: Iterable[Wish]) -> None:
        """These have something to tell."""
        for wish in wishes:
            self.changed.pop(wish, None)
            self.last = next(self.sequence)
            self.changed[wish] = self.last
        for listener in list(self.listeners):
            listener()

    def since(self, sequence: int) -> list[tuple[int, Wish]]:
        """What changed after that, oldest change first."""
        found = []
        for wish, changed in reversed(self.changed.items()):
            if changed <= sequence:
                break
            found.append((changed, wish))
        found.reverse()
        return found

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """`listener` is called after each change; returns the call that ends it."""
        self.listeners.add(listener)
        return lambda: self.listeners.discard(listener)


def differs(before: Seen, after: Seen) -> bool:
    """Is it news? A refresh is none, nor is when somebody who is active was so last."""
    one, other = before.presence, after.presence
    if (one.status, one.custom_status, one.expires_time, before.stale) != (
        other.status,
        other.custom_status,
        other.expires_time,
        after.stale,
    ):
        return True
    return other.status is Status.INACTIVE and one.last_active_time != other.last_active_time
