"""What the SDK takes and returns: frozen values, beside the vocabulary of `sipbridge.mapping.attributes`.

Notifications are read from the JSON that Bayeux and server-sent events have in common. A kind that this
version does not know, or that holds words it does not know, becomes an `OtherNotification` with its JSON, so
a newer bridge breaks nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sipbridge.errors import InvalidValue
from sipbridge.mapping.attributes import (
    MEMBER,
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
    Place,
    Privacy,
    Sphere,
    Value,
    kind_from_json,
    mapping,
    not_listed,
    number,
    sequence,
    text,
    time_from_json,
    value_from_json,
)

MAX_TEXT = 1 << 20
"""Characters of one string in an answer: beyond every limit of the bridge."""
MAX_ITEMS = 100_000
"""Elements of one list in an answer: watchers of a presentity, for example."""


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


@dataclass(frozen=True, slots=True)
class TimeMetric:
    """So many units of time. Months and years are the calendar's; for anything else a `timedelta` will do."""

    metric: Metric
    units: int

    def to_json(self) -> dict[str, object]:
        return {"metric": self.metric, "units": self.units}


LENGTHS = (
    (Metric.WEEK, timedelta(weeks=1)),
    (Metric.DAY, timedelta(days=1)),
    (Metric.HOUR, timedelta(hours=1)),
    (Metric.MINUTE, timedelta(minutes=1)),
    (Metric.SECOND, timedelta(seconds=1)),
    (Metric.MILLISECOND, timedelta(milliseconds=1)),
)


def time_metric(given: TimeMetric | timedelta, part: str) -> TimeMetric:
    """A length as the interface writes it: whole units, the largest that fit. Raises InvalidValue."""
    if isinstance(given, TimeMetric):
        return given
    if given < timedelta(0):
        raise InvalidValue("a length of time is not negative", part=part)
    if not given:
        return TimeMetric(Metric.SECOND, 0)
    for metric, length in LENGTHS:
        if not given % length:
            return TimeMetric(metric, given // length)
    raise InvalidValue("milliseconds are the smallest unit", part=part)


@dataclass(frozen=True, slots=True)
class OpenSubscription:
    """A watcher who waits for a decision. application: for people, what the watcher's side calls itself."""

    watcher: str
    attributes: frozenset[AttributeKind]
    application: str


# --- notifications ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """What a watched presentity shows now, of the kinds that changed.

    event_id: where a later stream can go on; "" from Bayeux.
    """

    presentity: str
    correlator: str
    attributes: tuple[Attribute, ...]
    event_id: str = ""

    def value(self, kind: AttributeKind) -> Value | None:
        """The first value of a kind, None if there is none."""
        return next((a.value for a in self.attributes if a.kind is kind), None)


@dataclass(frozen=True, slots=True)
class StatusEnd:
    """A notification has reached its count or duration; its correlator is free again."""

    correlator: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionEnded:
    """A subscription is over. reason: such as "Blocked", "Timeout", "ConnectionFailure"."""

    presentity: str
    reason: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class NotifySubscription:
    """A presentity, or a policy, has decided. granted, denied: the kinds it was about."""

    presentity: str
    granted: frozenset[AttributeKind]
    denied: frozenset[AttributeKind]
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget what came before: the bridge no longer holds all of it. The current state follows."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class OtherNotification:
    """A notification that this version can not read. kind: what it calls itself. data: its JSON."""

    kind: str
    data: Mapping[str, object]
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class SessionRestarted:
    """A Bayeux session is gone, and may have taken notifications along: ask for what has to be right."""


Notification = (
    StatusChanged | StatusEnd | SubscriptionEnded | NotifySubscription | Reset | OtherNotification
)


def notification(members: Mapping[str, object], event_id: str = "") -> Notification:
    """Read `{"statusChanged": {…}}` and its like."""
    kind = next((kind for kind in READERS if kind in members), "")
    try:
        if kind:
            return READERS[kind](mapping(members[kind], kind), event_id)
    except InvalidValue:
        pass  # a word of a newer vocabulary
    return OtherNotification(kind or next(iter(members), ""), members, event_id)


def read_status(body: Mapping[str, object], event_id: str) -> Notification:
    return StatusChanged(
        read_text(body, "presentity"),
        read_text(body, "correlator"),
        read_attributes(body.get("changedAttributes"), "changedAttributes"),
        event_id,
    )


def read_end(body: Mapping[str, object], event_id: str) -> Notification:
    return StatusEnd(read_text(body, "correlator"), event_id)


def read_ended(body: Mapping[str, object], event_id: str) -> Notification:
    return SubscriptionEnded(read_text(body, "presentity"), read_text(body, "reason"), event_id)


def read_decided(body: Mapping[str, object], event_id: str) -> Notification:
    decided: dict[bool, set[AttributeKind]] = {True: set(), False: set()}
    for item in sequence(body.get("decisions"), "decisions", MAX_ITEMS):
        members = mapping(item, "decisions")
        kind = kind_from_json(members.get("presenceAttribute"), "presenceAttribute")
        decided[str(members.get("decision")).lower() == "true"].add(kind)
    return NotifySubscription(
        read_text(body, "presentity"), frozenset(decided[True]), frozenset(decided[False]), event_id
    )


READERS = {
    "statusChanged": read_status,
    "statusEnd": read_end,
    "subscriptionEnded": read_ended,
    "notifySubscription": read_decided,
}


def read_text(members: Mapping[str, object], name: str) -> str:
    return text(members.get(name), name, MAX_TEXT)


# --- attributes ---------------------------------------------------------------------------------------


def read_attributes(obj: object, part: str) -> tuple[Attribute, ...]:
    """What the bridge shows of somebody, which is more than what one may publish.

    A document from elsewhere may have a contact that is no URI, and notes of any length. Raises InvalidValue.
    """
    return tuple(read_attribute(item, part) for item in sequence(obj, part, MAX_ITEMS))


def read_attribute(obj: object, part: str) -> Attribute:
    members = mapping(obj, part)
    union = mapping(members.get("typeAndValue"), part)
    kind = kind_from_json(union.get("unionElement"), part)
    note = members.get("note")
    return Attribute(
        kind,
        read_value(kind, union.get(MEMBER[kind]), part),
        None if note is None else text(note, part, MAX_TEXT),
        time_from_json(members.get("lastChange"), part),
    )


def read_value(kind: AttributeKind, obj: object, part: str) -> Value:
    if kind is AttributeKind.OTHER:
        members = mapping(obj, part)
        return Other(read_text(members, "name"), read_text(members, "value"))
    if kind is not AttributeKind.COMMUNICATION:
        return value_from_json(kind, obj, part)
    found = []
    for item in sequence(mapping(obj, part).get("means"), part, MAX_ITEMS):
        means = mapping(item, part)
        try:
            type_ = MeansType(means.get("type"))  # type: ignore[arg-type]
        except ValueError:
            raise not_listed(means.get("type"), part, MeansType) from None
        priority = number(means.get("priority"), part)
        found.append(Means(read_text(means, "contact"), priority, type_))
    return tuple(found)


KINDS: tuple[tuple[type, AttributeKind], ...] = (
    (Activity, AttributeKind.ACTIVITY),
    (Place, AttributeKind.PLACE),
    (Privacy, AttributeKind.PRIVACY),
    (Sphere, AttributeKind.SPHERE),
    (Other, AttributeKind.OTHER),
    (tuple, AttributeKind.COMMUNICATION),
)


def attribute(value: Value, note: str | None = None) -> Attribute:
    """An attribute of the kind that the value belongs to; a tuple of `Means` is Communication."""
    for of, kind in KINDS:
        if isinstance(value, of):
            return Attribute(kind, value, note)
    raise InvalidValue(f"{value!r} is no value of an attribute", part="value")


def attributes_of(given: Iterable[Attribute | Value]) -> tuple[Attribute, ...]:
    """Attributes; bare values become attributes without a note."""
    return tuple(a if isinstance(a, Attribute) else attribute(a) for a in given)
