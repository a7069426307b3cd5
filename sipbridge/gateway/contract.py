"""Notification contracts: what Start Presence Notification promises, pure.

A contract says how often (`frequency`, a least interval), how many (`count`) and how long (`duration`) an
application is told of changes. It is a small machine over two inputs, the newest values of a presentity
and the time, with one output, what to send now. Changes inside an interval wait and replace each other:
the newest state wins. With `checkImmediate` the current state goes out at once; without it the current
state goes out once at the end of the first interval, changed or not, and only changes afterwards.

A contract on a group has one interval, one count and one duration over all members together. Members whose
news wait are served in turn, the one that has waited longest first.

Whoever was told values that may be old is told them once more when they are known not to be, changed or not.

What was told last, and when, is part of the record: after a restart nothing is said twice and no interval
is cut short. Durations are calendar-aware: a Month from 31 January ends on the last day of February.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from sipbridge.errors import AgainstPolicy, InvalidValue
from sipbridge.gateway.authorization import Decision
from sipbridge.gateway.ports import ContractRecord, ContractState, Reference
from sipbridge.gateway.sight import Digests, digests
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    Place,
    Privacy,
    Sphere,
)
from sipbridge.uri import Uri

MAX_CORRELATOR = 256
"""Characters; applications use counters and UUIDs."""
MAX_UNITS = 2**31 - 1
"""XML Schema int, as the contract of the interface has it."""


class Metric(StrEnum):
    """Unit of a time metric."""

    MILLISECOND = "Millisecond"
    SECOND = "Second"
    MINUTE = "Minute"
    HOUR = "Hour"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"
    YEAR = "Year"


SECONDS = {
    Metric.MILLISECOND: 0.001,
    Metric.SECOND: 1.0,
    Metric.MINUTE: 60.0,
    Metric.HOUR: 3600.0,
    Metric.DAY: 86400.0,
    Metric.WEEK: 7 * 86400.0,
    Metric.MONTH: 30 * 86400.0,
    Metric.YEAR: 365 * 86400.0,
}
"""Lengths as intervals; only `ends_at` knows the calendar."""


@dataclass(frozen=True, slots=True)
class TimeMetric:
    """So many units of time."""

    metric: Metric
    units: int

    @property
    def seconds(self) -> float:
        """As an interval; a month counts 30 days, a year 365."""
        return SECONDS[self.metric] * self.units


def ends_at(start: datetime, duration: TimeMetric) -> datetime:
    """The instant a duration from `start` is over. Raises InvalidValue when the calendar has no such day."""
    try:
        if duration.metric is Metric.MONTH:
            return add_months(start, duration.units)
        if duration.metric is Metric.YEAR:
            return add_months(start, 12 * duration.units)
        return start + timedelta(seconds=duration.seconds)
    except (OverflowError, ValueError):
        raise InvalidValue("duration is too long", part="duration") from None


def add_months(start: datetime, months: int) -> datetime:
    """The same day so many months later, or the last day of that month."""
    year, month0 = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, monthrange(year, month0 + 1)[1])
    return start.replace(year=year, month=month0 + 1, day=day)


@dataclass(frozen=True, slots=True)
class StartNotification:
    """What Start Presence Notification asks for. Empty `attributes` means all; `count` None no limit."""

    presentity: Uri
    reference: Reference
    frequency: TimeMetric
    check_immediate: bool
    attributes: frozenset[AttributeKind] = frozenset()
    duration: TimeMetric | None = None
    count: int | None = None
    criteria: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContractLimits:
    """What the operator allows (`[limits]`). Seconds; `max_count` 0: no limit."""

    min_frequency: float = 0.0
    max_count: int = 0
    allow_unlimited: bool = True
    default_duration: float = 86400.0


def check(wanted: StartNotification, limits: ContractLimits) -> None:
    """Raises InvalidValue for what makes no sense, AgainstPolicy for what is not allowed."""
    correlator = wanted.reference.correlator
    if not 1 <= len(correlator) <= MAX_CORRELATOR:
        raise InvalidValue(f"1 to {MAX_CORRELATOR} characters", part="reference.correlator")
    if not 0 <= wanted.frequency.units <= MAX_UNITS:
        raise InvalidValue(f"0 to {MAX_UNITS}", part="frequency.units")
    if wanted.count is not None and not 1 <= wanted.count <= MAX_UNITS:
        raise InvalidValue(f"1 to {MAX_UNITS}", part="count")
    if wanted.duration is not None and not 1 <= wanted.duration.units <= MAX_UNITS:
        raise InvalidValue(f"1 to {MAX_UNITS}", part="duration.units")
    if wanted.count is None and not limits.allow_unlimited:
        raise AgainstPolicy("a count is required", rule="unlimited", part="count")
    if limits.max_count and (wanted.count or 0) > limits.max_count:
        raise AgainstPolicy(f"at most {limits.max_count}", rule="count", part="count")
    if wanted.frequency.seconds < limits.min_frequency:
        raise AgainstPolicy(
            f"at least {limits.min_frequency:g} seconds", rule="frequency", part="frequency"
        )


NOT_SET: dict[AttributeKind, Activity | Place | Privacy | Sphere | tuple[Means, ...]] = {
    AttributeKind.ACTIVITY: Activity.NONE,
    AttributeKind.PLACE: Place.NONE,
    AttributeKind.PRIVACY: Privacy.NONE,
    AttributeKind.SPHERE: Sphere.NONE,
    AttributeKind.COMMUNICATION: (),
}
"""How each kind says that it has no value any more; `Other` has no word for it."""


@dataclass(slots=True)
class Offer:
    """What one member's watcher may see at the moment, and of which kinds it may see anything.

    decision: who decided so; None: nobody has to know.
    """

    visible: tuple[Attribute, ...]
    granted: frozenset[AttributeKind]
    digests: Digests
    decision: Decision | None = None


class Report(Struct, frozen=True):
    """One notification to send: what is new about one member, and under which decision it may be seen."""

    member: PresentityKey
    attributes: tuple[Attribute, ...]
    decision: Decision | None = None


class Contract:
    """One running notification, fresh or taken up after a restart.

    `offer` takes the values the watcher may see now; `due` says whether something is to go out. The owner
    sends what `take` returns, stores `state` where `changed` says so, and arms a timer for
    `next_timeout`. A contract is over when `over` says so.
    """

    __slots__ = (
        "armed",
        "changed",
        "ends",
        "members",
        "not_before",
        "record",
        "remaining",
        "sent",
        "stale",
        "told",
        "waiting",
    )

    def __init__(
        self,
        record: ContractRecord,
        now: float,
        at: datetime,
        members: Sequence[PresentityKey] = (),
    ) -> None:
        """`now` and `at` are the same instant on both clocks. members: of the group, if it is one."""
        told: dict[PresentityKey, Digests] = {m: dict(t) for m, t in record.told}
        self.record = replace(record, told=()) if told else record
        """As the contract began; what changes is kept in fields of its own."""
        self.remaining = record.remaining
        self.sent = record.sent
        self.told = told
        """Digests by kind of what was last said about each member; replaced, never changed."""
        self.stale: frozenset[PresentityKey] = frozenset()
        """Members of whom it was said last that this may be old."""
        self.members = tuple(members) or (record.presentity,)
        self.ends = None if record.ends is None else now + (record.ends - at).total_seconds()
        """Monotonic seconds at which the duration is over; None: never."""
        self.waiting: dict[PresentityKey, Offer] = {}
        """Members with something to look at, the one that has waited longest first."""
        self.changed = False
        """Is there something that the store does not know yet?"""
        self.armed: float | None = None
        """For when it is to be woken."""
        since = record.sent
        if since is None and not record.check_immediate:
            since = record.started
        passed = record.interval if since is None else (at - since).total_seconds()
        self.not_before = now + max(0.0, record.interval - passed)

    def offer(
        self, member: PresentityKey, visible: Sequence[Attribute], granted: frozenset[AttributeKind]
    ) -> None:
        """The newest values of a member, and the kinds the watcher may see; they replace what was waiting.

        A kind that is not granted any more is forgotten: granted again, it is told again.
        """
        self.put(member, Offer(tuple(visible), granted, digests(visible)))

    def put(self, member: PresentityKey, offer: Offer) -> None:
        """The same, where the digests are known already."""
        self.waiting[member] = offer
        told, granted = self.told.get(member), offer.granted
        if told and len(granted) < KINDS and not told.keys() <= granted:
            self.told[member] = {k: d for k, d in told.items() if k in granted}
            self.changed = True

    def drop(self, member: PresentityKey) -> None:
        """The watcher has no subscription to this member any more."""
        self.waiting.pop(member, None)
        self.stale -= {member}
        if self.told.pop(member, None) is not None:
            self.changed = True

    def said(self, member: PresentityKey, *, stale: bool) -> None:
        """A statement about a member has left. stale: with the word that it may be old."""
        if stale != (member in self.stale):
            self.stale = self.stale | {member} if stale else self.stale - {member}
            self.changed = True

    def refreshed(self, member: PresentityKey) -> None:
        """What is known of a member is not old any more: if it was told as old, all of it is news."""
        if member in self.stale:
            self.stale -= {member}
            self.told[member] = dict.fromkeys(self.told.get(member, NOTHING), OLD)

    def due(self, now: float) -> bool:
        """Is there something to look at, and is the interval over?"""
        return bool(self.waiting) and now >= self.not_before

    def over(self, now: float) -> bool:
        """Is the count reached or the duration over?"""
        return self.remaining == 0 or (self.ends is not None and now >= self.ends)

    def take(self, now: float, at: datetime) -> Report | None:
        """Look at the member that waits longest: what to send of it now, None if nothing differs.

        Every attribute of a changed kind goes out, not only the changed one (`Other` has many). A kind that
        the presentity no longer states is said to be not set; one that was revoked just stops.
        """
        member = next(iter(self.waiting))
        offer = self.waiting.pop(member)
        report = self.news(member, offer, at)
        if not report:
            return None
        self.sent = at
        if self.remaining is not None:
            self.remaining -= 1
        self.not_before = now + self.record.interval
        return Report(member, report, offer.decision)

    def news(self, member: PresentityKey, offer: Offer, at: datetime) -> tuple[Attribute, ...]:
        before, current = self.told.get(member, NOTHING), offer.digests
        if current == before:
            return ()
        self.told[member], self.changed = current, True
        news = {kind for kind, said in current.items() if before.get(kind) != said}
        report = tuple([a for a in offer.visible if a.kind in news])
        if before.keys() <= current.keys():
            return report
        gone = [k for k in NOT_SET if k in before and k not in current and k in offer.granted]
        return report + tuple(Attribute(k, NOT_SET[k], last_change=at) for k in gone)

    def next_timeout(self) -> float | None:
        """When to look again: a waiting report, or the end of the duration."""
        if not self.waiting:
            return self.ends
        return self.not_before if self.ends is None else min(self.ends, self.not_before)

    def state(self) -> ContractState:
        """What of the contract has to be kept now; after a restart everything known is fresh."""
        self.changed = False
        record, told = self.record, dict(self.told)
        for member in self.stale:
            told[member] = dict.fromkeys(told.get(member, NOTHING), OLD)
        return ContractState(record.application, record.correlator, self.sent, self.remaining, told)


KINDS = len(AttributeKind)
NOTHING: Digests = {}
"""Was said of a member that nothing was said of."""
OLD = ""
"""No digest: whatever is said of this kind next is news."""
