"""Other: whatever has no attribute of its own.

Reserved names carry what the four words and the means can not say; each belongs to the kind it refines
(`OWNERS`), is delivered only with it, and is replaced when that kind is published anew. Any other name is an
application's own: it travels as `x:other-info` under the person and comes back unchanged. So does a reserved
name with a value that RPID has no form for, and a name that starts like a reserved one but is none.

Here are the readers and writers of what belongs to Other itself: mood, time offset, user input, status icon,
class of the person, CIPID, own names; and notes of devices, which belong to Communication.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime

from sipbridge.mapping.attributes import ANY_URI, AttributeKind
from sipbridge.mapping.reading import Reading, span
from sipbridge.mapping.schedule import (
    NAME,
    Scheduled,
    parse,
    parse_token,
    scheduled_pair,
)
from sipbridge.mapping.vocabulary import MOODS
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import (
    Cipid,
    Device,
    Note,
    Person,
    StatusIcon,
    TimeOffset,
    Token,
    TokenList,
    UserInput,
)
from sipbridge.presence.namespaces import RPID

ACTIVITY = AttributeKind.ACTIVITY
PLACE = AttributeKind.PLACE
PRIVACY = AttributeKind.PRIVACY
SPHERE = AttributeKind.SPHERE
COMMUNICATION = AttributeKind.COMMUNICATION
OTHER = AttributeKind.OTHER

OWNERS: Mapping[str, AttributeKind] = {
    "rpid.activity": ACTIVITY,
    "rpid.activity.other": ACTIVITY,
    "rpid.activity.from": ACTIVITY,
    "rpid.activity.until": ACTIVITY,
    "ACTIVITY_OTHER": ACTIVITY,
    "pidf.basic": ACTIVITY,
    "oma.overriding-willingness": ACTIVITY,
    "rpid.place-type": PLACE,
    "rpid.place-type.other": PLACE,
    "rpid.place-type.from": PLACE,
    "rpid.place-type.until": PLACE,
    "rpid.place-is.audio": PLACE,
    "rpid.place-is.video": PLACE,
    "rpid.place-is.text": PLACE,
    "rpid.place-is.from": PLACE,
    "rpid.place-is.until": PLACE,
    "rpid.privacy": PRIVACY,
    "rpid.privacy[]": PRIVACY,
    "rpid.privacy.from": PRIVACY,
    "rpid.privacy.until": PRIVACY,
    "rpid.sphere": SPHERE,
    "rpid.sphere.from": SPHERE,
    "rpid.sphere.until": SPHERE,
    "pidf.closed-contact": COMMUNICATION,
    "pidf.contact[]": COMMUNICATION,
    "pidf.basic[]": COMMUNICATION,
    "pidf.device[]": COMMUNICATION,
    "caps[]": COMMUNICATION,
    "rpid.relationship[]": COMMUNICATION,
    "rpid.service-class[]": COMMUNICATION,
    "rpid.class[]": COMMUNICATION,
    "ServiceNote": COMMUNICATION,
    "DeviceNote": COMMUNICATION,
    "rpid.mood": OTHER,
    "rpid.mood.from": OTHER,
    "rpid.mood.until": OTHER,
    "rpid.time-offset": OTHER,
    "rpid.time-offset.description": OTHER,
    "rpid.time-offset.from": OTHER,
    "rpid.time-offset.until": OTHER,
    "rpid.user-input": OTHER,
    "rpid.user-input.last-input": OTHER,
    "rpid.user-input.idle-threshold": OTHER,
    "rpid.status-icon": OTHER,
    "rpid.status-icon.from": OTHER,
    "rpid.status-icon.until": OTHER,
    "cipid.display-name": OTHER,
    "cipid.icon": OTHER,
    "cipid.homepage": OTHER,
    "cipid.card": OTHER,
    "cipid.map": OTHER,
    "cipid.sound": OTHER,
}
"""Every reserved name and the kind it refines. `[]` stands for the id of a tuple or person in brackets.

`rpid.scheduled` is missing: it belongs to the kind of the element its value names, see `SCHEDULED`.
"""

SCHEDULED: Mapping[str, AttributeKind] = {
    "activities": ACTIVITY,
    "place-type": PLACE,
    "place-is": PLACE,
    "privacy": PRIVACY,
    "sphere": SPHERE,
    "mood": OTHER,
    "status-icon": OTHER,
    "time-offset": OTHER,
}
"""The owner of `rpid.scheduled`, by the element it names."""

CIPID = {
    "cipid.display-name": "display_name",
    "cipid.icon": "icon",
    "cipid.homepage": "homepage",
    "cipid.card": "card",
    "cipid.map": "map",
    "cipid.sound": "sound",
}

ID = re.compile(r"\[.*\]$", re.DOTALL)
OWN_PERSON = re.compile(r"p[0-9a-f]{16}")
"""Ids that our writer gives to persons."""
MINUTES = re.compile(r"[+-]?[0-9]{1,4}")
SECONDS = re.compile(r"[1-9][0-9]{0,8}")


def owner_of(name: str, value: str = "", persons: Collection[str] = ()) -> AttributeKind:
    """The kind a pair belongs to: the one it refines for a reserved name, Other for any other.

    `value` decides for `rpid.scheduled`; without a known one it is Activity, the most telling. The class of a
    person is Other's, that of a tuple Communication's: `persons` are ids known to be persons', as those are
    that our writer makes; any other id counts as a tuple's.
    """
    owner = OWNERS.get(name)
    if owner is not None:
        return owner
    if name == NAME:
        return SCHEDULED.get(value.partition("/")[0], ACTIVITY)
    match = ID.search(name)
    if match is None:
        return OTHER
    id = match[0][1:-1]
    if name.startswith("rpid.class[") and (id in persons or OWN_PERSON.fullmatch(id)):
        return OTHER
    return OWNERS.get(f"{name[: match.start()]}[]", OTHER)


# --- to JSON ------------------------------------------------------------------------------------------


def read(reading: Reading) -> None:
    """Pairs of everything that belongs to no other kind."""
    for person in reading.document.persons:
        read_person(reading, person)
    for device in reading.document.devices:
        for note in device.notes:
            reading.pair("DeviceNote", note.text, reading.changed(device.timestamp))


def read_person(reading: Reading, person: Person) -> None:
    reading.bound = None
    changed = reading.changed(person.timestamp)
    if person.overriding_willingness is not None:
        reading.pair("oma.overriding-willingness", person.overriding_willingness.value, changed)
    if person.user_input is not None:
        read_user_input(reading, person.user_input, changed)
    if person.cipid is not None:
        read_cipid(reading, person.cipid, changed)
    for word in person.classes:
        reading.pair(f"rpid.class[{person.id or ''}]", word, changed)
    for info in person.other_info:
        reading.pair(info.name, info.value, changed)
        if info.note is not None:
            reading.notes[info.name, info.value] = info.note
    if person.moods or person.time_offsets or person.status_icons:
        read_moods(reading, person)
        read_time_offsets(reading, person)
        read_icons(reading, person)


def read_moods(reading: Reading, person: Person) -> None:
    for element in person.moods:
        if not reading.current(element):
            scheduled_pair(reading, "mood", element, person.timestamp)
            continue
        changed = reading.changed(person.timestamp)
        span("rpid.mood", reading, element, changed)
        for token in element.tokens:
            if token.name == f"{{{RPID}}}other":
                reading.pair("rpid.mood", f"other:{token.text or ''}", changed)
            else:
                reading.pair("rpid.mood", token.name.removeprefix(f"{{{RPID}}}"), changed)
        if element.text is not None and element.text.strip():
            reading.pair("rpid.mood", f"other:{element.text.strip()}", changed)


def read_time_offsets(reading: Reading, person: Person) -> None:
    for element in person.time_offsets:
        if not reading.current(element):
            scheduled_pair(reading, "time-offset", element, person.timestamp)
            continue
        changed = reading.changed(person.timestamp)
        reading.pair("rpid.time-offset", element.minutes.strip(), changed)
        if element.description is not None:
            reading.pair("rpid.time-offset.description", element.description, changed)
        span("rpid.time-offset", reading, element, changed)


def read_user_input(reading: Reading, given: UserInput, changed: datetime) -> None:
    reading.pair("rpid.user-input", given.state.strip(), changed)
    if given.last_input is not None:
        reading.pair("rpid.user-input.last-input", given.last_input.text, changed)
    if given.idle_threshold is not None:
        reading.pair("rpid.user-input.idle-threshold", given.idle_threshold.strip(), changed)


def read_icons(reading: Reading, person: Person) -> None:
    for element in person.status_icons:
        if not reading.current(element):
            scheduled_pair(reading, "status-icon", element, person.timestamp)
            continue
        changed = reading.changed(person.timestamp)
        reading.pair("rpid.status-icon", element.uri, changed)
        span("rpid.status-icon", reading, element, changed)


def read_cipid(reading: Reading, card: Cipid, changed: datetime) -> None:
    for name, field in CIPID.items():
        value = getattr(card, field)
        if value is not None:
            reading.pair(name, value, changed)


# --- from JSON ----------------------------------------------------------------------------------------


def write_moods(writing: Writing) -> tuple[TokenList, ...]:
    tokens: list[Token] = []
    for text in writing.take("rpid.mood"):
        token = mood(text)
        if token is None:
            writing.keep("rpid.mood", text)
        elif token not in tokens:
            tokens.append(token)
    since, until = writing.window("rpid.mood")
    unknown = Token(f"{{{RPID}}}unknown")
    if unknown in tokens and len(tokens) > 1:
        tokens.remove(unknown)
        writing.dropped("rpid.mood", "unknown", "stands alone")
    return (TokenList(since, until, tokens=tuple(tokens)),) if tokens else ()


def mood(text: str) -> Token | None:
    if text.startswith("other:"):
        return Token(f"{{{RPID}}}other", text[6:])
    if text in MOODS:
        return Token(f"{{{RPID}}}{text}")
    token = parse_token(text, RPID) if text.startswith("{") else None
    return None if token is None or token.name.startswith(f"{{{RPID}}}") else token


def write_time_offsets(writing: Writing) -> tuple[TimeOffset, ...]:
    minutes = writing.take_one("rpid.time-offset")
    if minutes is None:
        return ()
    if not MINUTES.fullmatch(minutes):
        writing.keep("rpid.time-offset", minutes)
        return ()
    description = writing.take_one("rpid.time-offset.description")
    since, until = writing.window("rpid.time-offset")
    return (TimeOffset(since, until, minutes=minutes, description=description),)


def write_user_input(writing: Writing) -> UserInput | None:
    state = writing.take_one("rpid.user-input")
    if state is None:
        return None
    if state not in ("active", "idle"):
        writing.keep("rpid.user-input", state)
        return None
    last = writing.time("rpid.user-input.last-input")
    threshold = writing.take_one("rpid.user-input.idle-threshold")
    if threshold is not None and not SECONDS.fullmatch(threshold):
        writing.keep("rpid.user-input.idle-threshold", threshold)
        threshold = None
    return UserInput(state, threshold, last)


def write_icons(writing: Writing) -> tuple[StatusIcon, ...]:
    uris = []
    for uri in writing.take("rpid.status-icon"):
        if ANY_URI.fullmatch(uri):
            uris.append(uri)
        else:
            writing.keep("rpid.status-icon", uri)
    since, until = writing.window("rpid.status-icon") if uris else (None, None)
    return tuple(StatusIcon(since, until, uri=uri) for uri in uris)


def write_cipid(writing: Writing) -> Cipid | None:
    values: dict[str, str | None] = {}
    for name, field in CIPID.items():
        value = writing.take_one(name)
        if value is not None and field != "display_name" and not ANY_URI.fullmatch(value):
            writing.keep(name, value)
            value = None
        values[field] = value
    return Cipid(**values) if any(v is not None for v in values.values()) else None


def write_classes(writing: Writing) -> tuple[str, ...]:
    """Classes of the person: those whose id is our person's."""
    value = writing.take_one(f"rpid.class[{writing.id('p', 'person')}]")
    return (value,) if value else ()


def write_devices(writing: Writing) -> tuple[Device, ...]:
    """A device for its notes; `deviceID` is required, so one is made if no tuple names one."""
    notes = writing.take("DeviceNote")
    if not notes:
        return ()
    named = [v for name, vs in writing.pairs.items() if name.startswith("pidf.device[") for v in vs]
    urns = {v for v in named if ANY_URI.fullmatch(v)}
    digits = writing.id("", "device") + writing.id("", "device urn")
    made = "-".join(digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
    urn = urns.pop() if len(urns) == 1 else f"urn:uuid:{made}"
    return (
        Device(
            writing.id("d", "device"),
            urn,
            notes=tuple(Note(text) for text in notes),
            timestamp=writing.stamp(writing.of(COMMUNICATION)),
        ),
    )


def write_scheduled(writing: Writing) -> dict[str, list[Scheduled]]:
    """Elements that do not hold yet, by name."""
    made: dict[str, list[Scheduled]] = {}
    for text in writing.take(NAME):
        read = parse(text)
        if read is None:
            writing.keep(NAME, text)
        else:
            made.setdefault(read.name, []).append(read)
    return made
