"""The `typeAndValue` vocabulary of Parlay X presence, as the JSON interface speaks it.

A presence attribute is a kind (`unionElement`), one value of that kind, an optional note and the time of its
last change. Activity, Place, Privacy and Sphere are closed word lists, Communication is a list of means,
Other is a free name with a value. `…None` says "not set", `…Other` "set to something the list has no word
for". Words are exact and case-sensitive, as in the Parlay X Presence enumerations.

`from_json` reads widely: scalars may come as strings, `null` counts as absent, unknown members are ignored,
and value members other than the named one may be there (old SOAP clients send the unused ones too). What
makes no sense raises `InvalidValue`, whose `part` is the path inside the request, such as
`presence[2].typeAndValue.activity`, and whose `valid` lists the words where the list is closed. Text that
could never be written into XML (control characters, lone surrogates) is refused here, at the door, so that
writing a document can not fail later. `to_json` writes native JSON types, times in UTC with milliseconds.

Values are frozen and hashable. Two attributes are the same news exactly if their `fingerprint`s are equal;
it leaves `last_change` out.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct

from sipbridge.errors import InvalidValue, ParseError
from sipbridge.uri import Uri

MAX_NAME = 128
"""Characters in the name of an Other; the longest reserved one with a tuple id has about 80."""
MAX_VALUE = 4096
"""Characters in the value of an Other; a URI, the longest thing we put there, has the same limit."""
MAX_NOTE = 4096
"""Characters in a note: what a person may read at a glance, eight times over."""
MAX_MEANS = 256
"""Means in one Communication; each becomes a tuple of the document."""
MAX_ATTRIBUTES = 1024
"""Attributes in one list; a document with every reserved name once has under one hundred."""

# XML 1.0 §2.2: what is no Char can not be written, not even as a character reference.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# RFC 3986 §3, but for characters that XML Schema's anyURI escapes. Brackets stand round IPv6 addresses only.
PCHAR = r"(?:[^\x00-\x20\x7f%#?\[\]/]|%[0-9A-Fa-f]{2})"
ANY_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.\-]*:"
    rf"(?://(?:{PCHAR}*@)?(?:\[[0-9A-Fa-f:.]+\]|(?:[^\x00-\x20\x7f%#?\[\]/:@]|%[0-9A-Fa-f]{{2}})*)(?::[0-9]{{1,5}})?(?:/{PCHAR}*)*"
    rf"|/?(?:{PCHAR}+(?:/{PCHAR}*)*)?)"
    rf"(?:\?(?:{PCHAR}|[/?])*)?(?:#(?:{PCHAR}|[/?])*)?"
)

IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")


class AttributeKind(StrEnum):
    """The six kinds (`unionElement`, `presenceAttribute`)."""

    ACTIVITY = "Activity"
    PLACE = "Place"
    PRIVACY = "Privacy"
    SPHERE = "Sphere"
    COMMUNICATION = "Communication"
    OTHER = "Other"


class Activity(StrEnum):
    """What the person does, 16 values."""

    NONE = "ActivityNone"
    AVAILABLE = "Available"
    BUSY = "Busy"
    DO_NOT_DISTURB = "DoNotDisturb"
    ON_THE_PHONE = "OnThePhone"
    STEERING = "Steering"
    MEETING = "Meeting"
    AWAY = "Away"
    MEAL = "Meal"
    PERMANENT_ABSENCE = "PermanentAbsence"
    HOLIDAY = "Holiday"
    PERFORMANCE = "Performance"
    IN_TRANSIT = "InTransit"
    TRAVEL = "Travel"
    SLEEPING = "Sleeping"
    OTHER = "ActivityOther"


class Place(StrEnum):
    """Where the person is, 22 values."""

    NONE = "PlaceNone"
    HOME = "Home"
    OFFICE = "Office"
    PUBLIC_TRANSPORT = "PublicTransport"
    STREET = "Street"
    OUTDOORS = "Outdoors"
    PUBLIC_PLACE = "PublicPlace"
    HOTEL = "Hotel"
    THEATRE = "Theatre"
    RESTAURANT = "Restaurant"
    SCHOOL = "School"
    INDUSTRIAL = "Industrial"
    QUIET = "Quiet"
    NOISY = "Noisy"
    AIRCRAFT = "Aircraft"
    SHIP = "Ship"
    BUS = "Bus"
    STATION = "Station"
    MALL = "Mall"
    AIRPORT = "Airport"
    TRAIN = "Train"
    OTHER = "PlaceOther"


class Privacy(StrEnum):
    """How private the surroundings are, 5 values."""

    NONE = "PrivacyNone"
    PUBLIC = "PrivacyPublic"
    PRIVATE = "PrivacyPrivate"
    QUIET = "PrivacyQuiet"
    OTHER = "PrivacyOther"


class Sphere(StrEnum):
    """Which part of life the person is in, 4 values."""

    NONE = "SphereNone"
    WORK = "SphereWork"
    HOME = "SphereHome"
    OTHER = "SphereOther"


class MeansType(StrEnum):
    """What a contact is good for, 8 values."""

    PHONE = "Phone"
    CHAT = "Chat"
    SMS = "Sms"
    VIDEO = "Video"
    WEB = "Web"
    EMAIL = "Email"
    MMS = "Mms"
    OTHER = "MeansOther"


class Means(Struct, frozen=True):
    """One way to reach the person: a URI as text, a priority 0.0 (lowest) … 1.0, a type."""

    contact: str
    priority: float
    type: MeansType


class Other(Struct, frozen=True):
    """A free name and its value; names starting with a reserved prefix are explained in `other.py`."""

    name: str
    value: str


Value = Activity | Place | Privacy | Sphere | tuple[Means, ...] | Other

Fingerprint = tuple[AttributeKind, Value, str | None]


class Attribute(Struct, frozen=True):
    """One presence attribute. `value` belongs to `kind`; `last_change` is aware UTC or None (not known)."""

    kind: AttributeKind
    value: Value
    note: str | None = None
    last_change: datetime | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """What a watcher would call the same value: everything but the time of the change. Hashable."""
        return (self.kind, self.value, self.note)


Enumerated = type[Activity] | type[Place] | type[Privacy] | type[Sphere]

WORDS: Mapping[AttributeKind, Enumerated] = {
    AttributeKind.ACTIVITY: Activity,
    AttributeKind.PLACE: Place,
    AttributeKind.PRIVACY: Privacy,
    AttributeKind.SPHERE: Sphere,
}
"""The kinds whose values are words, with their lists."""

KINDS = tuple(AttributeKind)
"""In their order; a tuple is walked faster than an enumeration."""
MEMBER: Mapping[AttributeKind, str] = {kind: kind.value.lower() for kind in AttributeKind}
"""The member of typeAndValue that holds the value: the discriminator is capitalised, the member is not."""


def fingerprint(attributes: Iterable[Attribute]) -> frozenset[Fingerprint]:
    """The mapped state of several attributes, for comparing; order and lastChange do not count."""
    return frozenset(attribute.fingerprint for attribute in attributes)


# --- writing ------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def print_time(at: datetime) -> str:
    """`2024-05-06T07:08:09.000Z`. Remembered: the attributes of one document share their times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def value_to_json(value: Value) -> object:
    """The value member of typeAndValue."""
    if isinstance(value, tuple):
        means = [{"contact": m.contact, "priority": m.priority, "type": m.type} for m in value]
        return {"means": means}
    if isinstance(value, Other):
        return {"name": value.name, "value": value.value}
    return value  # a word: an enumeration of strings is a string


def to_json(attribute: Attribute) -> dict[str, object]:
    """`{lastChange?, typeAndValue, note?}` with native JSON types; members without content are left out."""
    written: dict[str, object] = {}
    if attribute.last_change is not None:
        written["lastChange"] = print_time(attribute.last_change)
    kind = attribute.kind
    written["typeAndValue"] = {
        "unionElement": kind,
        MEMBER[kind]: value_to_json(attribute.value),
    }
    if attribute.note is not None:
        written["note"] = attribute.note
    return written


def list_to_json(attributes: Iterable[Attribute]) -> list[dict[str, object]]:
    """`to_json` of each."""
    return [to_json(attribute) for attribute in attributes]


# --- reading ------------------------------------------------------------------------------------------


def from_json(obj: object, part: str) -> Attribute:
    """Read one presence attribute. `part` is its path in the request. Raises InvalidValue."""
    members = mapping(obj, part)
    union = mapping(members.get("typeAndValue"), f"{part}.typeAndValue")
    kind = kind_from_json(union.get("unionElement"), f"{part}.typeAndValue.unionElement")
    member = MEMBER[kind]
    value = value_from_json(kind, union.get(member), f"{part}.typeAndValue.{member}")
    note = members.get("note")
    return Attribute(
        kind,
        value,
        None if note is None else text(note, f"{part}.note", MAX_NOTE),
        time_from_json(members.get("lastChange"), f"{part}.lastChange"),
    )


def list_from_json(obj: object, part: str = "presence") -> tuple[Attribute, ...]:
    """Read a list of presence attributes. Raises InvalidValue."""
    items = sequence(obj, part, MAX_ATTRIBUTES)
    return tuple(from_json(item, f"{part}[{i}]") for i, item in enumerate(items))


def kind_from_json(obj: object, part: str) -> AttributeKind:
    """One of the six kinds' names. Raises InvalidValue with the list."""
    try:
        return AttributeKind(obj)  # type: ignore[arg-type]
    except ValueError:
        raise not_listed(obj, part, AttributeKind) from None


def value_from_json(kind: AttributeKind, obj: object, part: str) -> Value:
    words = WORDS.get(kind)
    if words is not None:
        try:
            return words(obj)  # type: ignore[arg-type]
        except ValueError:
            raise not_listed(obj, part, words) from None
    if kind is AttributeKind.OTHER:
        members = mapping(obj, part)
        name = text(members.get("name"), f"{part}.name", MAX_NAME)
        if not name.strip():
            raise InvalidValue("a name is needed", part=f"{part}.name")
        return Other(name, text(members.get("value"), f"{part}.value", MAX_VALUE))
    items = sequence(mapping(obj, part).get("means"), f"{part}.means", MAX_MEANS)
    return tuple(means_from_json(item, f"{part}.means[{i}]") for i, item in enumerate(items))


def means_from_json(obj: object, part: str) -> Means:
    members = mapping(obj, part)
    contact = text(members.get("contact"), f"{part}.contact", MAX_VALUE).strip()
    if (fault := uri_fault(contact)) is not None:
        raise InvalidValue(fault, part=f"{part}.contact")
    priority = number(members.get("priority"), f"{part}.priority")
    if not 0.0 <= priority <= 1.0:
        raise InvalidValue("priority goes from 0.0 to 1.0", part=f"{part}.priority")
    try:
        kind = MeansType(members.get("type"))  # type: ignore[arg-type]
    except ValueError:
        raise not_listed(members.get("type"), f"{part}.type", MeansType) from None
    return Means(contact, priority, kind)


def uri_fault(text: str) -> str | None:
    """Why this can not stand where a document needs a URI; None if it can."""
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        return str(error)
    # A SIP URI may hold an IPv6 address where RFC 3986 has none; other brackets it may not have.
    plain = IPV6.sub("address", text) if uri.is_address else text
    return None if ANY_URI.fullmatch(plain) else f"{text[:80]!r} is no URI"


def time_from_json(obj: object, part: str) -> datetime | None:
    """ISO 8601 with or without zone (then UTC); None for null or nothing. Raises InvalidValue."""
    if obj is None or obj == "":
        return None
    if isinstance(obj, str):
        try:
            at = datetime.fromisoformat(obj.strip().upper())
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidValue(f"no ISO 8601 date and time: {str(obj)[:60]!r}", part=part)


def mapping(obj: object, part: str) -> Mapping[str, object]:
    if isinstance(obj, Mapping):
        return obj
    raise InvalidValue("missing" if obj is None else "an object is needed", part=part)


def sequence(obj: object, part: str, most: int) -> Sequence[object]:
    if not isinstance(obj, list | tuple):
        raise InvalidValue("missing" if obj is None else "an array is needed", part=part)
    if len(obj) > most:
        raise InvalidValue(f"more than {most} elements", part=part)
    return obj


def text(obj: object, part: str, most: int) -> str:
    """A string, or a scalar where a string was meant. Raises InvalidValue."""
    if isinstance(obj, bool):
        obj = "true" if obj else "false"
    elif isinstance(obj, int | float):
        obj = str(obj)
    if not isinstance(obj, str):
        raise InvalidValue("missing" if obj is None else "a string is needed", part=part)
    if len(obj) > most:
        raise InvalidValue(f"longer than {most} characters", part=part)
    if found := NOT_XML.search(obj):
        raise InvalidValue(f"character {found[0]!r} can not be written", part=part)
    return obj


def number(obj: object, part: str) -> float:
    """A number, or a string that is one. Raises InvalidValue."""
    if isinstance(obj, int | float | str) and not isinstance(obj, bool):
        try:
            read = float(obj)
        except (ValueError, OverflowError):
            read = math.nan
        if math.isfinite(read):
            return read
    raise InvalidValue("missing" if obj is None else "a number is needed", part=part)


def not_listed(obj: object, part: str, words: Iterable[StrEnum]) -> InvalidValue:
    valid = tuple(word.value for word in words)
    said = "missing" if obj is None else f"unknown value {str(obj)[:60]!r}"
    return InvalidValue(said, part=part, valid=valid)
