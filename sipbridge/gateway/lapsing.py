"""Statuses that end by themselves, published again without them.

An application may say how long an activity holds (`rpid.activity.until`). The document says so too, and
watchers who read it know when it is over; but not every SIP watcher looks, and the document would say for
ever what was once the case. So when the time is over the activity is replaced by being available, and the
publication goes out again. Everything else that was published stays, and so does the end of the whole.

Only activities that a status of Webex' sets (`mapping/webex.py`) are taken back: all of them leave the
person reachable, so what is left without them is known.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.ports import Clock, PublishedRecord
from sipbridge.gateway.presentity import Presentities, published_attributes
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.webex import SETTABLE
from sipbridge.uri import Uri

UNTIL = "rpid.activity.until"
TEMPORARY = frozenset(word for word, _ in SETTABLE.values()) - {Activity.AVAILABLE}


def over_at(record: PublishedRecord) -> datetime | None:
    """When the activity of a publication is over; None if it has no end, or none that is taken back."""
    if not any(UNTIL.encode() in text for _, text in record.attributes):
        return None
    published = published_attributes(record)
    if not any(a.kind is AttributeKind.ACTIVITY and a.value in TEMPORARY for a in published):
        return None
    ends = [
        a.value.value for a in published if isinstance(a.value, Other) and a.value.name == UNTIL
    ]
    try:
        at = datetime.fromisoformat(ends[-1])
    except (IndexError, ValueError):
        return None
    return at if at.tzinfo is not None else None


class Lapsing:
    """Wakes up when an activity is over."""

    def __init__(
        self,
        presentities: Presentities,
        clock: Clock,
        deadlines: Deadlines,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.presentities = presentities
        self.clock = clock
        self.deadlines = deadlines
        self.spawn = spawn
        presentities.was_published = self.look

    def look(self, key: tuple[str, PresentityKey], record: PublishedRecord | None) -> None:
        """Something was published, or taken up after a restart (None: removed)."""
        end = over_at(record) if record is not None else None
        when = None
        if end is not None:
            when = self.clock.now() + (end - self.clock.at()).total_seconds()
        self.deadlines.arm(("lapse", *key), when, lambda: self.spawn(self.lapse(key)))

    async def lapse(self, key: tuple[str, PresentityKey]) -> None:
        """The time of an activity is over, unless something else was published meanwhile."""
        record = self.presentities.registry.published.get(key)
        end = over_at(record) if record is not None else None
        if record is None or end is None:
            return
        caller = Caller(record.application, Uri.parse(record.presentity_uri), record.presentity)
        async with self.presentities.network.in_turn(caller):
            at = self.clock.at()
            if self.presentities.registry.published.get(key) is not record or end > at:
                return
            left = 0 if record.ends is None else max(1, round((record.ends - at).total_seconds()))
            available = Attribute(AttributeKind.ACTIVITY, Activity.AVAILABLE, None, end)
            await self.presentities.publish_now(caller, [available], left)
