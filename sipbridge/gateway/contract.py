"""Notification contracts: what Start Presence Notification promises, pure.

A contract says how often (`frequency`, a least interval), how many (`count`) and how long (`duration`) an
application is told of changes. It is a small machine over two inputs, the newest values of a presentity
and the time, with one output, what to send now. Changes inside an interval wait and replace each other:
the newest state wins. With `checkImmediate` the current state goes out at once; without it the current
state goes out once at the end of the first interval, changed or not, and only changes afterwards.

Durations are calendar-aware: a Month from 31 January ends on the last day of February.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sipbridge.errors import AgainstPolicy, InvalidValue
from sipbridge.gateway.ports import ContractRecord, Reference
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


class Contract:
    """One running notification.

    `offer` takes the values the watcher may see now; `due` says whether something is to go out. The owner
    sends what `take` returns and arms a timer for `next_timeout`.
    """

    __slots__ = (
        "ends",
        "fingerprint",
        "granted",
        "not_before",
        "record",
        "unconditional",
        "waiting",
    )

    def __init__(self, record: ContractRecord, now: float, ends: float | None) -> None:
        self.record = record
        self.ends = ends
        """Monotonic seconds at which the duration is over; None: never."""
        self.waiting: tuple[Attribute, ...] | None = None
        self.granted: frozenset[AttributeKind] = frozenset()
        self.fingerprint: dict[AttributeKind, object] = {}
        self.not_before = now if record.check_immediate else now + record.interval
        self.unconditional = True
        """The first report is sent whether or not anything changed."""

    def offer(self, visible: Sequence[Attribute], granted: frozenset[AttributeKind]) -> None:
        """The newest values, and the kinds the watcher may see; they replace what was waiting."""
        self.waiting = tuple(visible)
        self.granted = granted

    def due(self, now: float) -> bool:
        """Is there something to look at, and is the interval over?"""
        return self.waiting is not None and now >= self.not_before

    def take(self, now: float, at: datetime) -> tuple[Attribute, ...]:
        """What to send now: the kinds whose value differs from what was sent last; () if none does.

        Every attribute of a changed kind goes out, not only the changed one (`Other` has many). A kind that
        the presentity no longer states is said to be not set; one that was revoked just stops.
        """
        waiting, self.waiting = self.waiting or (), None
        current = fingerprint(waiting)
        gone = (self.fingerprint.keys() - current.keys()) & self.granted
        if self.unconditional:
            changed = set(current)
        else:
            changed = {k for k, value in current.items() if self.fingerprint.get(k) != value}
        self.fingerprint = current
        report = tuple(a for a in waiting if a.kind in changed)
        report += tuple(
            Attribute(k, NOT_SET[k], last_change=at) for k in sorted(gone) if k in NOT_SET
        )
        if report:
            self.unconditional = False
            self.not_before = now + self.record.interval
        return report

    def next_timeout(self) -> float | None:
        """When to look again: a waiting report, or the end of the duration."""
        times = [
            t
            for t in (self.ends, self.not_before if self.waiting is not None else None)
            if t is not None
        ]
        return min(times, default=None)


def fingerprint(attributes: Sequence[Attribute]) -> dict[AttributeKind, object]:
    """What is compared: each kind's values and notes, not their lastChange."""
    found: dict[AttributeKind, list[object]] = {}
    for attribute in attributes:
        found.setdefault(attribute.kind, []).append((attribute.value, attribute.note))
    return {kind: tuple(values) for kind, values in found.items()}
