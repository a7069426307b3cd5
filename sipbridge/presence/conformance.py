"""Presence documents for peers that validate: what the final schemas forbid is replaced.

`conform` gives a document that says the same as far as the schemas of RFC 3863, 4479 and 4480 can say it:
`lunch` becomes `meal`; `unknown` beside another value, empty moods and places, unreadable times and numbers
go; text that has no place of its own (in `sphere`, unknown RPID values) moves to a note of its container;
missing ids are made, unfit ones repaired, repeated ones told apart. What is valid stays as it is.
"""

import re

from msgspec.structs import replace

from sipbridge.presence import rpid
from sipbridge.presence.capabilities import in_order
from sipbridge.presence.containers import Table
from sipbridge.presence.data_model import DEVICE, PERSON
from sipbridge.presence.deviations import NCNAME
from sipbridge.presence.markup import split
from sipbridge.presence.model import (
    Choice,
    Contact,
    Device,
    Extension,
    Note,
    Person,
    PlaceIs,
    Presence,
    ServiceDescription,
    StatusIcon,
    TimedStatus,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import DATA_MODEL, LOCATION_TYPE, PIDF, RPID
from sipbridge.presence.services import PRIORITY, SERVICE

OTHER = f"{{{RPID}}}other"
UNKNOWN = f"{{{RPID}}}unknown"
LUNCH = f"{{{RPID}}}lunch"
MEAL = f"{{{RPID}}}meal"


class Ids:
    """Hands out ids that are valid and unique in the document."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def needed(self, name: str | None, kind: str) -> str:
        """A fit id like `name`, or one made of `kind`."""
        fit = name or kind
        if NCNAME.fullmatch(fit) is None:
            fit = "".join(c if NCNAME.fullmatch(f"x{c}") else "-" for c in f"{kind}-{fit}")
        unique, count = fit, 1
        while unique in self.taken:
            count += 1
            unique = f"{fit}-{count}"
        self.taken.add(unique)
        return unique

    def wished(self, name: str | None) -> str | None:
        """The id if it is fit and free, else none: it is optional here."""
        if name is None or NCNAME.fullmatch(name) is None or name in self.taken:
            return None
        self.taken.add(name)
        return name


def conform(document: Presence) -> Presence:
    """The same document as the schemas allow it."""
    ids = Ids()
    return replace(
        document,
        entity=document.entity or "",
        notes=bare(document.notes),
        tuples=tuple(service(each, ids) for each in document.tuples),
        persons=tuple(person(each, ids) for each in document.persons),
        devices=tuple(device(each, ids) for each in document.devices),
        extensions=foreign(document.extensions),
        attributes=(),
    )


def service(value: Tuple, ids: Ids) -> Tuple:
    """A tuple."""
    notes = list(value.notes)
    return replace(
        value,
        id=ids.needed(value.id, "t"),
        contact=contact(value.contact),
        timestamp=time(value.timestamp),
        classes=value.classes[:1],
        privacy=lists(value.privacy, rpid.PRIVACY, ids, notes),
        relationship=choice(value.relationship, rpid.RELATIONSHIPS, notes),
        service_class=choice(value.service_class, rpid.SERVICE_CLASSES, notes),
        status_icons=tuple(icon(each, ids) for each in value.status_icons),
        user_input=user_input(value.user_input, ids),
        capabilities=None if value.capabilities is None else in_order(value.capabilities),
        timed_status=tuple(
            timed(each) for each in value.timed_status if time(each.since) is not None
        ),
        status_extensions=foreign(value.status_extensions),
        extensions=others(value.extensions, SERVICE, PIDF),
        attributes=(),
        basic_text=None,
        status_attributes=(),
        service_descriptions=tuple(description(each) for each in value.service_descriptions),
        notes=bare(tuple(notes)),
    )


def person(value: Person, ids: Ids) -> Person:
    """A person."""
    notes = list(value.notes)
    return replace(
        value,
        id=ids.needed(value.id, "p"),
        activities=lists(value.activities, rpid.ACTIVITY, ids, notes),
        moods=lists(value.moods, rpid.MOOD, ids, notes),
        place_is=tuple(surroundings(each, ids, notes) for each in value.place_is),
        place_types=lists(value.place_types, rpid.PLACE, ids, notes),
        privacy=lists(value.privacy, rpid.PRIVACY, ids, notes),
        spheres=lists(value.spheres, rpid.SPHERE, ids, notes),
        status_icons=tuple(icon(each, ids) for each in value.status_icons),
        time_offsets=tuple(offset(each, ids) for each in value.time_offsets if readable(each)),
        user_input=user_input(value.user_input, ids),
        classes=value.classes[:1],
        timestamp=time(value.timestamp),
        extensions=others(value.extensions, PERSON, DATA_MODEL),
        attributes=(),
        other_info=tuple(each for each in value.other_info if each.name),
        notes=bare(tuple(notes)),
    )


def device(value: Device, ids: Ids) -> Device:
    """A device. The schema wants a deviceID; an empty one is an empty URI, which it takes."""
    return replace(
        value,
        id=ids.needed(value.id, "d"),
        device_id=value.device_id or "",
        user_input=user_input(value.user_input, ids),
        classes=value.classes[:1],
        capabilities=None if value.capabilities is None else in_order(value.capabilities),
        notes=bare(value.notes),
        timestamp=time(value.timestamp),
        extensions=others(value.extensions, DEVICE, DATA_MODEL),
        attributes=(),
    )


def bare(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """Notes with their language only."""
    return tuple(Note(note.text, note.lang) for note in notes)


def description(value: ServiceDescription) -> ServiceDescription:
    """A service description: OMA's schema wants a version."""
    return replace(value, version=value.version or "")


def time(value: Timestamp | None) -> Timestamp | None:
    """A time that can be read, with its zone (RFC 3339 §4.4)."""
    if value is None or value.at is None:
        return None
    return (
        rpid.write_time(value.at)
        if value.text[-6:-5] not in "+-" and value.text[-1:] != "Z"
        else value
    )


def contact(value: Contact | None) -> Contact | None:
    """A contact with a priority between 0 and 1, three places."""
    if value is None or value.priority is None:
        return value if value is None else replace(value, attributes=())
    fits = re.fullmatch(PRIORITY, value.priority.strip()) is not None
    priority = value.priority.strip() if fits else f"{value.weight:.3f}"
    return Contact(value.uri, priority)


def others(kept: tuple[Extension, ...], table: Table, home: str) -> tuple[Extension, ...]:
    """Extensions but those of the container's own namespace, and repetitions."""
    return tuple(
        each for each in kept if each.name not in table and split(each.name)[0] not in ("", home)
    )


def foreign(kept: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Extensions but those in PIDF's own namespace or in none."""
    return tuple(each for each in kept if split(each.name)[0] not in ("", PIDF))


def lists(
    values: tuple[TokenList, ...], words: rpid.Vocabulary, ids: Ids, notes: list[Note]
) -> tuple[TokenList, ...]:
    """Lists with valid values only; what is cut off is said in `notes`."""
    out = []
    for value in values:
        tokens = ordered(valid(value.tokens, words, notes), words)
        if value.text:
            notes.append(Note(value.text))
        if tokens or not words.needs_value:
            said = () if words is rpid.SPHERE else value.notes
            notes += value.notes if words is rpid.SPHERE else ()
            out.append(
                replace(
                    value,
                    tokens=tokens,
                    text=None,
                    notes=bare(said),
                    id=ids.wished(value.id),
                    since=time(value.since),
                    until=time(value.until),
                    attributes=namespaced(value.attributes),
                )
            )
        else:
            notes += value.notes
    return tuple(out)


def valid(tokens: tuple[Token, ...], words: rpid.Vocabulary, notes: list[Note]) -> list[Token]:
    """The values that the schema knows, and foreign ones."""
    out: list[Token] = []
    for token in tokens:
        namespace, name = split(token.name)
        if token.name == LUNCH:
            token = Token(MEAL)
        elif not allowed(namespace, name, words):
            notes.append(Note(token.text or name))
            continue
        if token not in out:
            out.append(token)
    alone = [token for token in out if token.name != UNKNOWN]
    return alone or out[:1]


def allowed(namespace: str, name: str, words: rpid.Vocabulary) -> bool:
    """Does the schema allow the value in this list? It allows whatever is of another namespace."""
    if namespace == RPID:
        return name in words.known if words.home == RPID else name == "other"
    return namespace != "" and (namespace != LOCATION_TYPE or name in rpid.PLACES)


def ordered(tokens: list[Token], words: rpid.Vocabulary) -> tuple[Token, ...]:
    """In the schema's order: privacy has one; a place is other text or tokens; there is one sphere."""
    if words is rpid.PRIVACY:
        rank = {f"{{{RPID}}}{name}": number for number, name in enumerate(rpid.PRIVACIES)}
        tokens = sorted(tokens, key=lambda token: rank.get(token.name, 9))
    elif words is rpid.PLACE and len(tokens) > 1:
        tokens = [token for token in tokens if token.name != OTHER] or tokens[:1]
    elif words is rpid.SPHERE:
        tokens = tokens[:1]
    return tuple(tokens)


def namespaced(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """RPID allows foreign attributes, but none without namespace."""
    return tuple(pair for pair in pairs if pair[0].startswith("{"))


def choice(value: Choice | None, known: frozenset[str], notes: list[Note]) -> Choice | None:
    """One value, or none at all."""
    if value is None:
        return None
    if value.text:
        notes.append(Note(value.text))
    fit = [
        token
        for token in value.tokens
        if split(token.name)[0] != RPID or split(token.name)[1] in known
    ]
    if not fit:
        notes += [Note(token.text or split(token.name)[1]) for token in value.tokens]
        notes += value.notes
        return None
    return Choice(tuple(fit[:1]), bare(value.notes), (), None)


def surroundings(value: PlaceIs, ids: Ids, notes: list[Note]) -> PlaceIs:
    """place-is with one value for each medium."""

    def one(tokens: tuple[Token, ...], known: frozenset[str]) -> tuple[Token, ...]:
        fit = [token for token in tokens if split(token.name) in {(RPID, word) for word in known}]
        return tuple(fit[:1])

    return replace(
        value,
        audio=one(value.audio, rpid.AUDIO_VALUES),
        video=one(value.video, rpid.VIDEO_VALUES),
        medium_text=one(value.medium_text, rpid.TEXT_VALUES),
        notes=bare(value.notes),
        id=ids.wished(value.id),
        since=time(value.since),
        until=time(value.until),
        attributes=namespaced(value.attributes),
    )


def icon(value: StatusIcon, ids: Ids) -> StatusIcon:
    """status-icon."""
    return replace(
        value,
        id=ids.wished(value.id),
        since=time(value.since),
        until=time(value.until),
        attributes=namespaced(value.attributes),
    )


def readable(value: TimeOffset) -> bool:
    """Is it a number of minutes?"""
    return rpid.MINUTES.fullmatch(value.minutes) is not None


def offset(value: TimeOffset, ids: Ids) -> TimeOffset:
    """time-offset."""
    return replace(
        value,
        id=ids.wished(value.id),
        since=time(value.since),
        until=time(value.until),
        attributes=namespaced(value.attributes),
    )


def user_input(value: UserInput | None, ids: Ids) -> UserInput | None:
    """user-input that is active or idle."""
    if value is None or value.state not in ("active", "idle"):
        return None
    threshold = value.idle_threshold
    if threshold is not None and rpid.SECONDS.fullmatch(threshold.strip()) is None:
        threshold = None
    return UserInput(
        value.state,
        threshold,
        time(value.last_input),
        ids.wished(value.id),
        namespaced(value.attributes),
    )


def timed(value: TimedStatus) -> TimedStatus:
    """timed-status with readable times."""
    return replace(
        value,
        since=time(value.since),
        until=time(value.until),
        notes=bare(value.notes[:1]),
        attributes=(),
    )
