"""A presence document as a list of typeAndValue attributes, and back.

`to_attributes` is total: every document gives a list, in the order Activity, Place, Privacy, Sphere,
Communication, Other. Activity is always there (`ActivityNone` if nothing is said), a Place, Privacy or Sphere
only if something is said about it. What the chosen words do not say follows as `Other` pairs with reserved
names; publishing attributes and pairs back restores the document's tokens and `basic`. `to_document` is total
the other way round: every list gives a valid document.

Values come and go without any NOTIFY when an element has `from` or `until`: `Mapped.next_change` is the next
such instant; map the same document again then.

When a value changed: a `Memory`, one for each presentity that is watched, holds what was mapped last, with
times. A value that is still there keeps its time; a new one gets the later of its container's `timestamp`
(our own `x:changed` if there, the arrival if none) and the `from` or `until` that made it current. Without a
memory every value is new. Our writer puts the newest time into `timestamp` and each kind's own into
`x:changed`.

`explain`, if a list, receives a dictionary for each thing looked at: `kind`, `value`, `container` (id),
`element`, `token`, `row` of the table, `window`; when writing, what was dropped or carried as an own name.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from sipbridge.mapping import activity, communication, other, place, privacy, sphere
from sipbridge.mapping.attributes import (
    KINDS,
    Attribute,
    AttributeKind,
    Other,
)
from sipbridge.mapping.reading import Reading, Said
from sipbridge.mapping.table import DEFAULT, Table, Tables
from sipbridge.mapping.writing import Writing, print_instant
from sipbridge.presence.model import (
    Note,
    OtherInfo,
    Person,
    PlaceIs,
    Presence,
    StatusIcon,
    TimeOffset,
    Timestamp,
    TokenList,
)
from sipbridge.uri import Uri

ACTIVITY = AttributeKind.ACTIVITY
PLACE = AttributeKind.PLACE
PRIVACY = AttributeKind.PRIVACY
SPHERE = AttributeKind.SPHERE
COMMUNICATION = AttributeKind.COMMUNICATION
OTHER = AttributeKind.OTHER


class Memory:
    """The attributes of one presentity as last mapped, with their times. Changed by `to_attributes`."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: Iterable[Attribute] = ()) -> None:
        self.attributes = tuple(attributes)


class Mapped(Struct, frozen=True):
    """What a document says now, and when it will say something else by itself (None: never)."""

    attributes: tuple[Attribute, ...]
    next_change: datetime | None


def to_attributes(
    document: Presence,
    *,
    at: datetime,
    presentity: Uri | str,
    tables: Tables = DEFAULT,
    languages: Sequence[str] = (),
    memory: Memory | None = None,
    explain: list[dict[str, object]] | None = None,
) -> Mapped:
    """Map a document as of `at` (aware UTC). `languages`: wanted for notes, best first. Never fails."""
    reading = Reading(document, at, presentity, tables, languages, explain)
    means = communication.read(reading)
    found = activity.read(reading)
    found += place.read(reading)
    found += privacy.read(reading)
    found += sphere.read(reading)
    found += means
    other.read(reading)
    note_of = reading.notes.get
    found += [
        ((OTHER, Other(*pair), note_of(pair)), changed) for pair, changed in reading.pairs.items()
    ]
    if memory is None:
        return Mapped(tuple([Attribute(*said, changed) for said, changed in found]), reading.soon)
    memory.attributes = remembered(found, memory.attributes)
    return Mapped(memory.attributes, reading.soon)


def remembered(found: list[Said], before: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
    """The attributes; those that said the same before keep their time."""
    known = dict(zip(map(FINGERPRINT, before), before, strict=True))
    now = tuple([known.get(said) or Attribute(*said, changed) for said, changed in found])
    return before if now == before else now


FINGERPRINT = attrgetter("kind", "value", "note")
"""What `Attribute.fingerprint` gives, for many."""


def to_document(
    attributes: Iterable[Attribute],
    *,
    presentity: Uri | str,
    at: datetime,
    tables: Tables = DEFAULT,
    explain: list[dict[str, object]] | None = None,
) -> Presence:
    """Write attributes as a document: status tuple, tuples of the means, one person, devices.

    Ids are the same each time for the same presentity and contact. Never fails; values must be writable as
    XML text, as `attributes.from_json` makes sure.
    """
    entity = str(presentity)
    writing = Writing(attributes, entity, at, tables, explain)
    writing.open_means = communication.open_means(writing)
    activities = activity.write(writing)
    place_types, place_is = place.write(writing)
    private, private_place = privacy.write(writing)
    spheres = sphere.write(writing)
    devices = other.write_devices(writing)
    tuples = communication.write(writing)
    person = write_person(
        writing, activities, place_types, place_is + private_place, private, spheres
    )
    return Presence(entity, tuples, (person,) if person is not None else (), devices)


def write_person(
    writing: Writing,
    activities: tuple[TokenList, ...],
    place_types: tuple[TokenList, ...],
    place_is: tuple[PlaceIs, ...],
    private: tuple[TokenList, ...],
    spheres: tuple[TokenList, ...],
) -> Person | None:
    """The person, None if there is nothing to say about them."""
    more = said_by_pairs(writing) if writing.pairs else NOTHING
    own = (*writing.own, *own_names(writing))
    person = Person(
        writing.id("p", "person"),
        activities + more.activities,
        more.moods,
        place_is + more.place_is,
        place_types + more.place_types,
        private + more.privacy,
        spheres + more.spheres,
        more.status_icons,
        more.time_offsets,
        more.user_input,
        more.classes,
        more.cipid,
        writing.willingness,
        own,
        (Note(writing.note),) if writing.note else (),
    )
    if person == Person(person.id):
        return None
    said = [a for kind in KINDS if kind is not COMMUNICATION for a in writing.of(kind)]
    stamp = writing.stamp(said) or Timestamp(print_instant(writing.at), writing.at)
    return replace(person, timestamp=stamp)


NOTHING = Person(None)


def said_by_pairs(writing: Writing) -> Person:
    """What only pairs say of the person, and what does not hold yet; most documents have none of it."""
    scheduled = other.write_scheduled(writing)

    def later(name: str) -> tuple[TokenList, ...]:
        return tuple(s.element for s in scheduled.get(name, ()) if isinstance(s.element, TokenList))

    moods = other.write_moods(writing) + later("mood")
    offsets = other.write_time_offsets(writing) + tuple(
        s.element for s in scheduled.get("time-offset", ()) if isinstance(s.element, TimeOffset)
    )
    icons = other.write_icons(writing) + tuple(
        s.element for s in scheduled.get("status-icon", ()) if isinstance(s.element, StatusIcon)
    )
    around = tuple(
        s.element for s in scheduled.get("place-is", ()) if isinstance(s.element, PlaceIs)
    )
    return Person(
        None,
        later("activities"),
        moods,
        around,
        later("place-type"),
        later("privacy"),
        later("sphere"),
        icons,
        offsets,
        user_input=other.write_user_input(writing),
        cipid=other.write_cipid(writing),
        classes=other.write_classes(writing),
    )


def own_names(writing: Writing) -> tuple[OtherInfo, ...]:
    """Everything no writer took: an application's own names."""
    return tuple(
        OtherInfo(name, value, writing.notes.get((name, value)))
        for name, values in writing.pairs.items()
        for value in values
    )


# --- the tables, for people and for comparing -----------------------------------------------------------


def effective_tables(tables: Tables = DEFAULT) -> dict[str, object]:
    """Everything that is assumed, as JSON: two parties can compare what they assume."""
    return {
        "activity": table_json(tables.activity),
        "place": table_json(tables.place),
        "privacy": table_json(tables.privacy),
        "sphere": table_json(tables.sphere),
        "closed": sorted(word.value for word in tables.closed),
        "schemes": {scheme: kind.value for scheme, kind in tables.schemes.items()},
        "services": {service: kind.value for service, kind in tables.services.items()},
        "effects": {
            token: {
                "webex": e.status.value if e.status else None,
                "webex_scheduled": e.scheduled.value if e.scheduled else None,
                "bems": e.availability.value,
            }
            for token, e in tables.effects.items()
        },
        "order": [status.value for status in tables.order],
        "availability_order": [word.value for word in tables.availability_order],
        "reserved": {name: kind.value for name, kind in other.OWNERS.items()},
        "scheduled": {name: kind.value for name, kind in other.SCHEDULED.items()},
        "switches": {
            "privacy_quiet": tables.privacy_quiet,
            "multi": tables.multi,
            "sphere_text": tables.sphere_text,
            "oma": tables.oma,
            "dnd_phrases": sorted(tables.dnd_phrases),
            "brb_phrases": sorted(tables.brb_phrases),
            "note_phrases": tables.note_phrases,
            "drop_status_notes": tables.drop_status_notes,
        },
    }


def table_json(table: Table[Any]) -> dict[str, object]:
    """One table: tokens strongest first."""
    rows = sorted(set(table.rows.values()), key=attrgetter("rank"))
    return {
        "namespace": table.namespace,
        "other": table.other.value,
        "tokens": [
            {
                "token": row.token,
                "word": row.word.value,
                "relation": "pair" if row.written else "fold",
                "rank": row.rank,
                **({"companion": row.companion} if row.companion else {}),
            }
            for row in rows
        ],
        "aliases": dict(table.aliases),
    }
