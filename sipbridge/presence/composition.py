"""Several publications of one presentity become one document (RFC 3903 §6, RFC 4479 §3.5, RFC 3863 §4.1).

The policy is a union: nothing that any publisher states is lost, and nobody's word is preferred.

- Order: the newest publication first, each one's own order inside. A reader that takes only the first of
  several gets the newest statement; a reader that gathers from all gets all.
- Tuples and devices of all publications are kept. Several persons are kept beside each other, which RFC 4479
  §3.5 calls ambiguity: merging them would have to choose between two `user-input` or two timestamps.
- A component that says the same under the same id in two publications, timestamps aside, appears once, as
  the newest has it.
- Notes, extensions and unknown attributes of the document itself are united without repetition; an attribute
  that two publications set differently is the newest's.
- Every id is an xs:ID, unique in the whole document, and publishers like to call everything `p1`. Where ids
  clash, one publication keeps its own and the others get a suffix made from what identifies the publisher
  (contacts, device ids, component ids), not from times or entity-tags. So a refresh or a change of state
  renames nothing, whoever is the newest. Components without an id get one in the same way.

A single publication comes back as it is but for the entity, missing ids and ids repeated in itself.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from sipbridge.presence.model import Device, Person, Presence, Ranged, Tuple, UserInput


@dataclass(frozen=True, slots=True)
class Published:
    """One publication: its document, when it arrived last (aware UTC), its entity-tag."""

    document: Presence
    received: datetime
    etag: str


C = TypeVar("C", Tuple, Person, Device)
R = TypeVar("R", bound=Ranged)


def compose(
    publications: Sequence[Published], entity: str, *, explain: list[str] | None = None
) -> Presence:
    """One document for the presentity `entity`; an empty one if there are no publications.

    `explain`, if given, gets one line for each id that was changed and each repetition left out.
    """
    newest_first = sorted(publications, key=lambda p: (p.received, p.etag), reverse=True)
    originals = [p.document for p in newest_first]
    documents = unrepeated(originals, explain)
    if not distinct(documents):
        documents = renamed(documents, [mark(d) for d in originals], explain)
    if len(documents) == 1:
        return replace(documents[0], entity=entity)
    return Presence(
        entity,
        tuple(t for d in documents for t in d.tuples),
        tuple(p for d in documents for p in d.persons),
        tuple(v for d in documents for v in d.devices),
        tuple(dict.fromkeys(n for d in documents for n in d.notes)),
        tuple(dict.fromkeys(e for d in documents for e in d.extensions)),
        # Oldest first, so that the newest value of an attribute stays.
        tuple({k: v for d in reversed(documents) for k, v in d.attributes}.items()),
        tuple(v for d in documents for v in d.deviations),
    )


# --- repetitions ----------------------------------------------------------------------------------------


def unrepeated(documents: list[Presence], explain: list[str] | None) -> list[Presence]:
    """The documents, newest first, without components that a newer one states in the same words."""
    if len(documents) < 2:
        return documents
    seen: dict[str, list[Tuple | Person | Device]] = {}
    return [
        replace(
            d,
            tuples=news(d.tuples, seen, explain),
            persons=news(d.persons, seen, explain),
            devices=news(d.devices, seen, explain),
        )
        for d in documents
    ]


def news(
    components: tuple[C, ...],
    seen: dict[str, list[Tuple | Person | Device]],
    explain: list[str] | None,
) -> tuple[C, ...]:
    kept = []
    for component in components:
        said = seen.setdefault(component.id or "", [])
        if component.id and any(same_words(component, other) for other in said):
            tell(explain, f"{component.id}: repeats a newer publication")
        else:
            kept.append(component)
            said.append(component)
    return tuple(kept)


def same_words(component: C, other: Tuple | Person | Device) -> bool:
    """Equal but for the timestamps?"""
    return replace(component, timestamp=other.timestamp) == other


# --- ids ------------------------------------------------------------------------------------------------


def distinct(documents: Iterable[Presence]) -> bool:
    """Does every component have an id, and is every id in all documents there once?"""
    ids = [i for d in documents for i in all_ids(d)]
    return None not in ids and len(set(ids)) == len(ids)


def all_ids(document: Presence) -> Iterator[str | None]:
    """Ids of components (None where missing) and those of the elements in them."""
    for service in document.tuples:
        yield service.id
        yield from inner_ids(*service_parts(service))
    for person in document.persons:
        yield person.id
        yield from inner_ids(*person_parts(person))
    for device in document.devices:
        yield device.id
        yield from inner_ids((device.user_input,))


Parts = tuple[tuple[Ranged | UserInput | None, ...], ...]


def service_parts(service: Tuple) -> Parts:
    return service.privacy, service.status_icons, (service.user_input,)


def person_parts(person: Person) -> Parts:
    return (
        person.activities,
        person.moods,
        person.place_is,
        person.place_types,
        person.privacy,
        person.spheres,
        person.status_icons,
        person.time_offsets,
        (person.user_input,),
    )


def inner_ids(*parts: tuple[Ranged | UserInput | None, ...]) -> Iterator[str]:
    for elements in parts:
        for element in elements:
            if element is not None and element.id is not None:
                yield element.id


def renamed(
    documents: list[Presence], marks: list[str], explain: list[str] | None
) -> list[Presence]:
    """The documents with ids of their own, in the order given.

    Names are handed out in the order of the publishers' marks, whatever the order of arrival.
    """
    taken: set[str] = set()
    result = list(documents)
    # Equal marks: two publications of one device. The oldest keeps its names.
    for index in sorted(range(len(documents)), key=lambda i: (marks[i], -i)):
        result[index] = Namer(marks[index], taken, explain).document(documents[index])
    return result


def mark(document: Presence) -> str:
    """Short text that tells publishers apart and stays while their state changes."""
    parts = sorted(
        [f"c{t.contact.uri}" for t in document.tuples if t.contact]
        + [f"v{d.device_id}" for d in document.devices]
        + [f"t{t.id}" for t in document.tuples]
        + [f"p{p.id}" for p in document.persons]
        + [f"d{d.id}" for d in document.devices]
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:6]


@dataclass(slots=True)
class Namer:
    """Gives the ids of one document. `taken` is shared by all documents of a composition."""

    mark: str
    taken: set[str]
    explain: list[str] | None

    def document(self, document: Presence) -> Presence:
        # Components before what is in them: their ids are what rules and people refer to.
        tuples = [self.renamed(t, "t") for t in document.tuples]
        persons = [self.renamed(p, "p") for p in document.persons]
        devices = [self.renamed(d, "d") for d in document.devices]
        return replace(
            document,
            tuples=tuple(self.service(t) for t in tuples),
            persons=tuple(self.person(p) for p in persons),
            devices=tuple(self.device(d) for d in devices),
        )

    def renamed(self, component: C, kind: str) -> C:
        name = self.name(component.id, kind)
        return component if name == component.id else replace(component, id=name)

    def service(self, service: Tuple) -> Tuple:
        if next(inner_ids(*service_parts(service)), None) is None:
            return service
        return replace(
            service,
            privacy=self.ranged(service.privacy),
            status_icons=self.ranged(service.status_icons),
            user_input=self.user_input(service.user_input),
        )

    def person(self, person: Person) -> Person:
        if next(inner_ids(*person_parts(person)), None) is None:
            return person
        return replace(
            person,
            activities=self.ranged(person.activities),
            moods=self.ranged(person.moods),
            place_is=self.ranged(person.place_is),
            place_types=self.ranged(person.place_types),
            privacy=self.ranged(person.privacy),
            spheres=self.ranged(person.spheres),
            status_icons=self.ranged(person.status_icons),
            time_offsets=self.ranged(person.time_offsets),
            user_input=self.user_input(person.user_input),
        )

    def device(self, device: Device) -> Device:
        if device.user_input is None or device.user_input.id is None:
            return device
        return replace(device, user_input=self.user_input(device.user_input))

    def ranged(self, elements: tuple[R, ...]) -> tuple[R, ...]:
        return tuple(e if e.id is None else replace(e, id=self.name(e.id, "e")) for e in elements)

    def user_input(self, value: UserInput | None) -> UserInput | None:
        if value is None or value.id is None:
            return value
        return replace(value, id=self.name(value.id, "e"))

    def name(self, id: str | None, kind: str) -> str:
        """The id itself if it is free, else one made of it and the publisher's mark."""
        name = f"{kind}-{self.mark}" if id is None else id
        if name in self.taken and id is not None:
            name = f"{id}-{self.mark}"
        stem, number = name, 1
        while name in self.taken:
            number += 1
            name = f"{stem}-{number}"
        self.taken.add(name)
        if name != id:
            tell(self.explain, f"id {id or 'missing'}: now {name}")
        return name


def tell(explain: list[str] | None, line: str) -> None:
    if explain is not None:
        explain.append(line)
