"""What one watcher may see: a document and a permission give the document that is shown.

RFC 5025 §3.3 says which components (persons, services, devices) are shown and which attributes of them. Two
readings are ours:

- *The status tuple.* `provide-activities` also tells whether the person can be reached at all: one tuple with
  a stable opaque id and `basic`, open if any tuple is open, without contact, notes or extensions. It stands
  for the tuples that are not shown, and is absent when all are shown or none says `basic`.
- *Notes.* `provide-note` shows the notes of the components that are shown; notes of the person and of the
  document, and the person's timestamp, need `provide-activities` beside it, because they mostly repeat it.
  Notes inside an element (`<rpid:place-type><rpid:note>`) belong to the element.

Everything else is shown by exactly one permission, and what has no word in RFC 5025 by
`provide-unknown-attribute` with its own name (or `ANY`, an extension of ours):

    what is shown                                          permission                         kind
    -----------------------------------------------------  ---------------------------------  -------------
    activities, overriding-willingness, the status tuple   persons + activities               Activity
    person notes, document notes; person timestamp         persons + activities + note;       Activity
                                                           persons + activities
    place-type, place-is                                   persons + place-type, place-is     Place
    privacy of the person                                  persons + privacy                  Privacy
    sphere                                                 persons + sphere                   Sphere
    tuples with basic, contact, timestamp; devices         services, devices                  Communication
    notes of tuples and devices                            + note                             Communication
    relationship; deviceID of a tuple                      + relationship; deviceID           Communication
    service-class, servcaps, devcaps, willingness,         + unknown: SERVICE_ELEMENTS        Communication
    service-description, x:means
    mood, time-offset, status-icon, class                  mood, time-offset, …               Other
    user-input                                             user-input: full                   Other
    CIPID, timed-status, x:other-info, all other           unknown: ANY                       Other
    extensions, unknown attributes of components

So a kind is granted by: Activity = persons + {activities, note}; Place = persons + {place-type, place-is};
Privacy = persons + {privacy}; Sphere = persons + {sphere}; Communication = services + devices +
{relationship, deviceID, note} + SERVICE_ELEMENTS; Other = persons + {mood, time-offset, status-icon, class} +
user-input full + unknown ANY. A tuple's privacy needs Privacy and Communication, its status-icon, user-input,
class and extensions need Other and Communication: both grants are simply there.

`polite-block` shows a document that says unavailable, the same for everybody; `block` and `confirm` show an
empty one. Filtering twice is filtering once (except that a component chosen by class is lost the second time
where its class is not shown), and more permission never shows less.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

from msgspec.structs import replace

from sipbridge.presence.model import (
    Attributes,
    Basic,
    Cipid,
    Device,
    Extension,
    Person,
    Presence,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import CAPS, CIPID, OMA, RPID, SIPBRIDGE, TIMED_STATUS
from sipbridge.presence.rules import (
    ANY,
    EVERYTHING,
    Permission,
    Provide,
    Selection,
    SubHandling,
    Transformations,
    UserInputDetail,
)

SERVICE_CLASS = f"{{{RPID}}}service-class"
SERVCAPS = f"{{{CAPS}}}servcaps"
DEVCAPS = f"{{{CAPS}}}devcaps"
WILLINGNESS = f"{{{OMA}}}willingness"
OVERRIDING_WILLINGNESS = f"{{{OMA}}}overriding-willingness"
SERVICE_DESCRIPTION = f"{{{OMA}}}service-description"
TIMED_STATUS_ELEMENT = f"{{{TIMED_STATUS}}}timed-status"
OTHER_INFO = f"{{{SIPBRIDGE}}}other-info"
MEANS = f"{{{SIPBRIDGE}}}means"

SERVICE_ELEMENTS = frozenset(
    {SERVICE_CLASS, SERVCAPS, DEVCAPS, WILLINGNESS, SERVICE_DESCRIPTION, MEANS}
)
"""What says how a service or device can be used and has no permission of its own in RFC 5025."""

CIPID_ELEMENTS = {
    "card": f"{{{CIPID}}}card",
    "display_name": f"{{{CIPID}}}display-name",
    "homepage": f"{{{CIPID}}}homepage",
    "icon": f"{{{CIPID}}}icon",
    "map": f"{{{CIPID}}}map",
    "sound": f"{{{CIPID}}}sound",
}

T = TypeVar("T")
Where = tuple[str, str | None]
"""Kind and id of the component, for `explain`."""


def apply(
    document: Presence, permission: Permission, *, explain: list[str] | None = None
) -> Presence:
    """The document as the watcher with this permission sees it.

    `explain`, if given, gets one line for each thing that was left out. Deviations of the document are not
    handed on, since their texts quote it.
    """
    if permission.sub_handling is SubHandling.POLITE_BLOCK:
        tell(explain, "polite-block: shown as unavailable")
        return unavailable(document.entity)
    if permission.sub_handling is not SubHandling.ALLOW:
        tell(explain, f"{permission.sub_handling}: nothing is shown")
        return Presence(document.entity)
    if permission.transformations == EVERYTHING:
        return document
    return Filter(permission.transformations, explain).document(document)


def unavailable(entity: str | None) -> Presence:
    """What a politely blocked watcher is shown (RFC 5025 §3.2.1)."""
    return Presence(entity, tuples=(Tuple(status_id(entity), Basic.CLOSED),))


@lru_cache(maxsize=4096)
def status_id(entity: str | None) -> str:
    """The id of the status tuple: the same for all watchers at all times, and saying nothing."""
    return "status-" + hashlib.sha256((entity or "").encode()).hexdigest()[:12]


def overall_basic(tuples: Iterable[Tuple]) -> Basic | None:
    """Open if any tuple is open, closed if one says so, else None."""
    stated = {t.basic for t in tuples if t.basic is not None}
    return Basic.OPEN if Basic.OPEN in stated else Basic.CLOSED if stated else None


def tell(explain: list[str] | None, line: str) -> None:
    if explain is not None:
        explain.append(line)


class Filter:
    """One application of one set of transformations."""

    def __init__(self, shown: Transformations, explain: list[str] | None) -> None:
        self.shown = shown
        self.explain = explain
        self.activity = bool(shown.persons) and shown.provides(Provide.ACTIVITIES)
        self.person_notes = self.activity and shown.provides(Provide.NOTE)
        self.words, self.names = shown.provide, shown.unknown
        self.all = Provide.ALL_ATTRIBUTES in shown.provide
        self.any_element = self.all or ANY in shown.unknown

    def document(self, document: Presence) -> Presence:
        return Presence(
            document.entity,
            self.tuples(document),
            tuple(self.persons(document.persons)),
            tuple(self.device(d) for d in document.devices if self.shows_device(d)),
            self.keep(self.person_notes, document.notes, (), ("document", None), "notes"),
            self.extensions(document.extensions, ("document", None)),
            self.attributes(document.attributes, ("document", None)),
        )

    # --- components (§3.3.1) ---

    def tuples(self, document: Presence) -> tuple[Tuple, ...]:
        """The tuples shown, and the status tuple for the others."""
        if self.shown.services.all:
            return tuple(self.service(t) for t in document.tuples)
        own = status_id(document.entity)
        seen = [t for t in document.tuples if t.id != own and self.shows_service(t)]
        shown = [self.service(t) for t in seen]
        basic = overall_basic(document.tuples)
        if self.activity and basic is not None and len(seen) < len(document.tuples):
            shown.insert(0, Tuple(own, basic))
        return tuple(shown)

    def shows_service(self, service: Tuple) -> bool:
        chosen = self.shown.services
        uri = service.contact.uri.strip() if service.contact else ""
        scheme = uri.partition(":")[0].lower() if ":" in uri else ""
        shown = (
            selects(chosen, service.id, service.classes)
            or (uri != "" and uri in chosen.uris)
            or (scheme != "" and scheme in chosen.schemes)
        )
        return self.keep(shown, True, False, ("tuple", service.id), "component")

    def shows_person(self, person: Person) -> bool:
        shown = selects(self.shown.persons, person.id, person.classes)
        return self.keep(shown, True, False, ("person", person.id), "component")

    def persons(self, persons: Iterable[Person]) -> Iterator[Person]:
        """The persons shown, without those of whom nothing is left."""
        for person in persons:
            if self.shows_person(person):
                shown = self.person(person)
                if shown != Person(person.id):
                    yield shown

    def shows_device(self, device: Device) -> bool:
        chosen = self.shown.devices
        shown = selects(chosen, device.id, device.classes) or device.device_id in chosen.uris
        return self.keep(shown, True, False, ("device", device.id), "component")

    # --- what is in them (§3.3.2) ---

    def service(self, service: Tuple) -> Tuple:
        at = ("tuple", service.id)
        return Tuple(
            id=service.id,
            basic=service.basic,
            basic_text=service.basic_text,
            contact=service.contact,
            timestamp=service.timestamp,
            notes=self.word(Provide.NOTE, service.notes, (), at),
            device_ids=self.word(Provide.DEVICE_ID, service.device_ids, (), at),
            classes=self.word(Provide.CLASS, service.classes, (), at),
            privacy=self.word(Provide.PRIVACY, service.privacy, (), at),
            relationship=self.word(Provide.RELATIONSHIP, service.relationship, None, at),
            service_class=self.element(SERVICE_CLASS, service.service_class, None, at),
            status_icons=self.word(Provide.STATUS_ICON, service.status_icons, (), at),
            user_input=self.user_input(service.user_input, at),
            cipid=self.cipid(service.cipid, at),
            capabilities=self.element(SERVCAPS, service.capabilities, None, at),
            willingness=self.element(WILLINGNESS, service.willingness, None, at),
            service_descriptions=self.element(
                SERVICE_DESCRIPTION, service.service_descriptions, (), at
            ),
            timed_status=self.element(TIMED_STATUS_ELEMENT, service.timed_status, (), at),
            status_extensions=self.extensions(service.status_extensions, at),
            extensions=self.extensions(service.extensions, at),
            attributes=self.attributes(service.attributes, at),
        )

    def person(self, person: Person) -> Person:
        at = ("person", person.id)
        willingness = self.activity or OVERRIDING_WILLINGNESS in self.shown.unknown
        return Person(
            id=person.id,
            activities=self.keep(self.activity, person.activities, (), at, "activities"),
            moods=self.word(Provide.MOOD, person.moods, (), at),
            place_is=self.word(Provide.PLACE_IS, person.place_is, (), at),
            place_types=self.word(Provide.PLACE_TYPE, person.place_types, (), at),
            privacy=self.word(Provide.PRIVACY, person.privacy, (), at),
            spheres=self.word(Provide.SPHERE, person.spheres, (), at),
            status_icons=self.word(Provide.STATUS_ICON, person.status_icons, (), at),
            time_offsets=self.word(Provide.TIME_OFFSET, person.time_offsets, (), at),
            user_input=self.user_input(person.user_input, at),
            classes=self.word(Provide.CLASS, person.classes, (), at),
            cipid=self.cipid(person.cipid, at),
            overriding_willingness=self.keep(
                willingness, person.overriding_willingness, None, at, "overriding-willingness"
            ),
            other_info=self.element(OTHER_INFO, person.other_info, (), at),
            notes=self.keep(self.person_notes, person.notes, (), at, "notes"),
            timestamp=self.keep(self.activity, person.timestamp, None, at, "timestamp"),
            extensions=self.extensions(person.extensions, at),
            attributes=self.attributes(person.attributes, at),
        )

    def device(self, device: Device) -> Device:
        at = ("device", device.id)
        return Device(
            id=device.id,
            device_id=device.device_id,
            timestamp=device.timestamp,
            user_input=self.user_input(device.user_input, at),
            classes=self.word(Provide.CLASS, device.classes, (), at),
            capabilities=self.element(DEVCAPS, device.capabilities, None, at),
            notes=self.word(Provide.NOTE, device.notes, (), at),
            extensions=self.extensions(device.extensions, at),
            attributes=self.attributes(device.attributes, at),
        )

    # --- single values ---

    def keep(self, allowed: bool, value: T, empty: T, at: Where, what: str) -> T:
        """The value if it may be shown, else `empty`, with a line about it."""
        if allowed or not value:
            return value
        if self.explain is not None:
            self.explain.append(f"{' '.join(filter(None, at))}: {what} not granted")
        return empty

    def word(self, word: Provide, value: T, empty: T, at: Where) -> T:
        if not value:
            return value
        return self.keep(word in self.words or self.all, value, empty, at, word)

    def element(self, name: str, value: T, empty: T, at: Where) -> T:
        if not value:
            return value
        return self.keep(name in self.names or self.any_element, value, empty, at, name)

    def user_input(self, value: UserInput | None, at: Where) -> UserInput | None:
        """§3.3.2.11: `bare` is the word alone, `thresholds` adds idle-threshold, `full` last-input."""
        detail = self.shown.user_input_detail
        if value is None or detail is UserInputDetail.FULL:
            return value
        if detail is UserInputDetail.NOTHING:
            return self.keep(False, value, None, at, "user-input")
        bare = UserInput(value.state, id=value.id)
        if detail is UserInputDetail.THRESHOLDS:
            bare = replace(bare, idle_threshold=value.idle_threshold)
        return self.keep(False, value, bare, at, f"user-input beyond {detail}")

    def cipid(self, value: Cipid | None, at: Where) -> Cipid | None:
        if value is None or self.any_element:
            return value
        shown = Cipid(
            **{
                field: getattr(value, field)
                for field, name in CIPID_ELEMENTS.items()
                if name in self.shown.unknown
            }
        )
        return self.keep(False, value, shown if shown != Cipid() else None, at, "CIPID")

    def extensions(self, value: tuple[Extension, ...], at: Where) -> tuple[Extension, ...]:
        if self.any_element or not value:
            return value
        shown = tuple(e for e in value if e.name in self.shown.unknown)
        return self.keep(False, value, shown, at, "extensions")

    def attributes(self, value: Attributes, at: Where) -> Attributes:
        return self.keep(self.any_element, value, (), at, "unknown attributes")


def selects(chosen: Selection, id: str | None, classes: tuple[str, ...]) -> bool:
    """Is a component chosen, by `all`, its id or a class?"""
    return chosen.all or id in chosen.occurrences or not chosen.classes.isdisjoint(classes)
