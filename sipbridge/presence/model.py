"""Presence as values: RFC 3863 (PIDF), 4479 (data model), 4480 (RPID), 4481, 4482, 5196, OMA extensions.

One frozen class for each thing a document can state. The model holds what was *written*: numbers and times
keep their text beside the value read from it, tokens keep their namespace, elements and attributes nobody
knows are kept whole, so that parse → print loses nothing (`extensions`, `attributes`). What had to be
tolerated on the way is listed in `Presence.deviations`.

Names of elements and attributes from outside are in Clark notation, `{namespace}local`. Tuples (the Python
kind) keep document order. Nothing here parses, prints, interprets or knows the time.
"""

from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct


class Basic(StrEnum):
    """RFC 3863 §4.1.4."""

    OPEN = "open"
    CLOSED = "closed"


class Deviation(Struct, frozen=True):
    """Something that was tolerated. `code` is stable (metrics, `sipbridge tables`), `rfc` names the rule."""

    code: str
    rfc: str
    message: str
    path: str = ""
    line: int | None = None


class Timestamp(Struct, frozen=True):
    """An xs:dateTime: as written, and as aware UTC (None if it cannot be read)."""

    text: str
    at: datetime | None

    def __str__(self) -> str:
        return self.text


Attributes = tuple[tuple[str, str], ...]
"""Attributes nobody knows, by Clark name, in document order."""


class Note(Struct, frozen=True):
    """Text for people, with its xml:lang."""

    text: str
    lang: str | None = None
    attributes: Attributes = ()


class Extension(Struct, frozen=True):
    """An element we do not know, whole. `xml` declares every namespace it uses and stands on its own."""

    name: str
    xml: str


class Token(Struct, frozen=True):
    """One value element, such as `<rpid:busy/>`: its Clark name, and its text where it has one (`other`).

    `xml` is the whole element, set only where it is more than name, text and language say.
    """

    name: str
    text: str | None = None
    lang: str | None = None
    xml: str | None = None


class Ranged(Struct, frozen=True):
    """What RPID elements with a life time share (RFC 4480 §3.1): `from`, `until`, `id`, own attributes."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    id: str | None = None
    attributes: Attributes = ()

    def valid_at(self, at: datetime) -> bool:
        """from <= at < until; a missing or unreadable bound is open."""
        if self.since is not None and self.since.at is not None and at < self.since.at:
            return False
        return not (self.until is not None and self.until.at is not None and at >= self.until.at)


class TokenList(Ranged, frozen=True):
    """activities, mood, place-type, privacy, sphere: notes, then tokens.

    `text` is character content that the schema forbids but deployed peers write (`<sphere>work</sphere>`).
    """

    tokens: tuple[Token, ...] = ()
    notes: tuple[Note, ...] = ()
    text: str | None = None


class PlaceIs(Ranged, frozen=True):
    """Properties of the surroundings (RFC 4480 §3.5): tokens for each of the three media."""

    audio: tuple[Token, ...] = ()
    video: tuple[Token, ...] = ()
    medium_text: tuple[Token, ...] = ()
    notes: tuple[Note, ...] = ()


class StatusIcon(Ranged, frozen=True):
    """URI of an image (RFC 4480 §3.11)."""

    uri: str = ""


class TimeOffset(Ranged, frozen=True):
    """Minutes east of UTC, as written, and the zone's name (RFC 4480 §3.12)."""

    minutes: str = ""
    description: str | None = None


class UserInput(Struct, frozen=True):
    """`active` or `idle`, as written (RFC 4480 §3.13). `idle_threshold` is the text of the seconds."""

    state: str
    idle_threshold: str | None = None
    last_input: Timestamp | None = None
    id: str | None = None
    attributes: Attributes = ()


class Choice(Struct, frozen=True):
    """relationship, service-class: one token, or several where a peer wrote several; notes."""

    tokens: tuple[Token, ...] = ()
    notes: tuple[Note, ...] = ()
    attributes: Attributes = ()
    text: str | None = None


class Cipid(Struct, frozen=True):
    """RFC 4482. Each value is a URI, except the display name."""

    card: str | None = None
    display_name: str | None = None
    homepage: str | None = None
    icon: str | None = None
    map: str | None = None
    sound: str | None = None
    display_name_lang: str | None = None


class Capabilities(Struct, frozen=True):
    """RFC 5196 servcaps or devcaps.

    `supported` maps a feature name (`audio`, `video`, `text`, `message`, `automata`, `duplex`, …) to what is
    stated for it: "true"/"false" for switches, a comma list for sets. `xml` is the whole element, set only
    where `supported` does not say all of it; it is what gets printed when it is there.
    """

    device: bool = False
    supported: tuple[tuple[str, str], ...] = ()
    xml: str | None = None


class ServiceDescription(Struct, frozen=True):
    """oma:service-description (OMA presence data extensions)."""

    service_id: str
    version: str | None = None
    description: str | None = None
    extensions: tuple[Extension, ...] = ()


class TimedStatus(Struct, frozen=True):
    """RFC 4481: a status of the past or future."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    basic: Basic | None = None
    notes: tuple[Note, ...] = ()
    extensions: tuple[Extension, ...] = ()
    attributes: Attributes = ()


class Contact(Struct, frozen=True):
    """A communication address and its priority as written (RFC 3863 §4.1.5)."""

    uri: str
    priority: str | None = None
    attributes: Attributes = ()

    @property
    def weight(self) -> float:
        """The priority as a number 0…1; 0.0 where absent or unreadable."""
        return 0.0 if self.priority is None else weight_of(self.priority)


@lru_cache(maxsize=256)  # mostly one digit behind the point
def weight_of(priority: str) -> float:
    """The priority as a number 0…1; 0.0 where unreadable."""
    try:
        return min(1.0, max(0.0, float(priority.strip())))
    except ValueError:
        return 0.0


class Tuple(Struct, frozen=True):
    """A service (RFC 3863 §4.1.2, RFC 4479 §3.2)."""

    id: str | None
    basic: Basic | None = None
    contact: Contact | None = None
    notes: tuple[Note, ...] = ()
    timestamp: Timestamp | None = None
    device_ids: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    privacy: tuple[TokenList, ...] = ()
    relationship: Choice | None = None
    service_class: Choice | None = None
    status_icons: tuple[StatusIcon, ...] = ()
    user_input: UserInput | None = None
    cipid: Cipid | None = None
    capabilities: Capabilities | None = None
    willingness: Basic | None = None
    service_descriptions: tuple[ServiceDescription, ...] = ()
    timed_status: tuple[TimedStatus, ...] = ()
    status_extensions: tuple[Extension, ...] = ()
    extensions: tuple[Extension, ...] = ()
    attributes: Attributes = ()
    basic_text: str | None = None
    """What `basic` said where it was neither open nor closed (section 5, item 5 of the mapping reference)."""
    status_attributes: Attributes = ()
    willingness_attributes: Attributes = ()


class OtherInfo(Struct, frozen=True):
    """x:other-info: an application's own name and value, with its note, carried under the person."""

    name: str
    value: str
    note: str | None = None


class Person(Struct, frozen=True):
    """The human being (RFC 4479 §3.1)."""

    id: str | None
    activities: tuple[TokenList, ...] = ()
    moods: tuple[TokenList, ...] = ()
    place_is: tuple[PlaceIs, ...] = ()
    place_types: tuple[TokenList, ...] = ()
    privacy: tuple[TokenList, ...] = ()
    spheres: tuple[TokenList, ...] = ()
    status_icons: tuple[StatusIcon, ...] = ()
    time_offsets: tuple[TimeOffset, ...] = ()
    user_input: UserInput | None = None
    classes: tuple[str, ...] = ()
    cipid: Cipid | None = None
    overriding_willingness: Basic | None = None
    other_info: tuple[OtherInfo, ...] = ()
    notes: tuple[Note, ...] = ()
    timestamp: Timestamp | None = None
    extensions: tuple[Extension, ...] = ()
    attributes: Attributes = ()
    willingness_attributes: Attributes = ()


class Device(Struct, frozen=True):
    """A device (RFC 4479 §3.3)."""

    id: str | None
    device_id: str | None = None
    user_input: UserInput | None = None
    classes: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    notes: tuple[Note, ...] = ()
    timestamp: Timestamp | None = None
    extensions: tuple[Extension, ...] = ()
    attributes: Attributes = ()


class Presence(Struct, frozen=True):
    """One presence document."""

    entity: str | None
    tuples: tuple[Tuple, ...] = ()
    persons: tuple[Person, ...] = ()
    devices: tuple[Device, ...] = ()
    notes: tuple[Note, ...] = ()
    extensions: tuple[Extension, ...] = ()
    attributes: Attributes = ()
    deviations: tuple[Deviation, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Do they state the same? How badly it was written does not count."""
        if not isinstance(other, Presence):
            return NotImplemented
        return self.stated == other.stated

    def __hash__(self) -> int:
        return hash(self.stated)

    @property
    def stated(self) -> tuple[object, ...]:
        """Everything but the deviations."""
        return (
            self.entity,
            self.tuples,
            self.persons,
            self.devices,
            self.notes,
            self.extensions,
            self.attributes,
        )
