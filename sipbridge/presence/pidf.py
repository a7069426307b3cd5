"""PIDF: presence documents (RFC 3863), read tolerantly and printed canonically.

`parse` takes what deployed peers send and notes what it had to tolerate; it refuses only what is not
well-formed, is hostile (see `markup`), or is no presence document. `serialise` prints one form: the schema's
order, the prefixes of `namespaces.PREFIXES`, only the namespaces used. Printing what was read and reading it
again gives the same value. What the schema forbids is printed only if it was read so; `strict` replaces even
that (see `conformance`).

Tuples are read and printed by `services`, persons and devices by `data_model`. RPID elements that belong to
the person but stand in a tuple or its status, as in drafts, are given to the document's first person, or to
one made for them.
"""

import re
from typing import TypeVar

from msgspec.structs import replace

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, rpid
from sipbridge.presence.conformance import conform
from sipbridge.presence.containers import Draft, Row, Table, check_must_understand, read_children
from sipbridge.presence.data_model import (
    PERSON_NAMESPACES,
    print_device,
    print_person,
    read_device,
    read_person,
)
from sipbridge.presence.deviations import NCNAME, Notebook
from sipbridge.presence.fragments import standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    attributes_of,
    local,
    split,
)
from sipbridge.presence.model import (
    Attributes,
    Person,
    Presence,
)
from sipbridge.presence.namespaces import (
    CPIM,
    DATA_MODEL,
    PIDF,
    PIDF_DIFF,
    PREFIXES,
    RPID,
)
from sipbridge.presence.services import NAME_ADDR, NOTE, TUPLE, print_tuple, read_tuple

ROOT = f"{{{PIDF}}}presence"
PERSON = f"{{{DATA_MODEL}}}person"
DEVICE = f"{{{DATA_MODEL}}}device"
FULL = f"{{{PIDF_DIFF}}}pidf-full"

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")


T = TypeVar("T")


def parse(body: bytes, charset: str | None = None) -> Presence:
    """Read a presence document: PIDF, its drafts' namespaces, or the full form of RFC 5262.

    charset: the parameter of the media type, it counts over the XML declaration (RFC 7303 §3.2). Raises
    DocumentError if the document has to be refused as a whole.
    """
    return from_root(markup.parse(body, charset), Notebook())


def from_root(root: Element, notes: Notebook) -> Presence:
    """The presence document under this root element. Raises DocumentError."""
    tag = str(root.tag)
    if tag != ROOT and tag != FULL:
        namespace, name = split(tag)
        if namespace not in CPIM or name != "presence":
            raise DocumentError(
                f"{tag[:120]} is no presence document", path=name, line=markup.line_of(root)
            )
        notes.note("old-namespace", root)
        renamed(root, namespace)
    draft = Draft()
    read_children(root, PRESENCE, draft, notes)
    entity, others = read_root(root, notes)
    said = draft.said()
    if notes.strays:
        said["persons"] = settle(notes.strays, said.get("persons", ()))  # type: ignore[arg-type]
    return Presence(
        entity,
        attributes=others,
        deviations=tuple(notes.deviations),
        **said,  # type: ignore[arg-type]  # see the rows
    )


def read_component(element: Element, tag: str, table: Table, draft: Draft, notes: Notebook) -> int:
    """A child of the root that PIDF does not know: a person or device of other namespaces, an extension."""
    namespace, name = split(tag)
    home = f"{{{DATA_MODEL}}}{name}"
    if namespace in PERSON_NAMESPACES and home in (PERSON, DEVICE):
        ours = namespace in (PIDF, RPID)
        notes.note("wrong-namespace" if ours else "draft-namespace", element)
        return table.put(home, element, draft, notes)
    check_must_understand(element, notes)
    if namespace in (PIDF, DATA_MODEL):
        notes.note("unknown-element", element)
    draft.extend(element)
    return table.extension_rank


PRESENCE = Table(
    {
        TUPLE: Row(0, "tuples", True, read_tuple),
        NOTE: Row(1, "notes", True, rpid.read_note),
        PERSON: Row(2, "persons", True, read_person),
        DEVICE: Row(2, "devices", True, read_device),
    },
    {},
    extension_rank=2,
    other=read_component,
)


def read_root(root: Element, notes: Notebook) -> tuple[str | None, Attributes]:
    """entity, and the attributes nobody knows."""
    entity = root.get("entity")
    others = () if root.keys() == ["entity"] else attributes_of(root, "entity")
    if entity is None:
        notes.note("no-entity", root)
        return None, others
    entity = entity.strip()
    if SCHEME.fullmatch(entity) is None:
        notes.note("bad-entity", root, f"entity {entity[:80]!r} is no URI")
        named = NAME_ADDR.fullmatch(entity)
        entity = named[1] if named is not None else entity
    return entity, others


def renamed(root: Element, namespace: str) -> None:
    """Put every element of an older namespace into PIDF's."""
    prefix = f"{{{namespace}}}"
    for element in root.iter():
        tag = str(element.tag)
        if tag.startswith(prefix):
            element.tag = f"{{{PIDF}}}{local(tag)}"


def settle(
    strays: list[tuple[str | None, Person]], persons: tuple[Person, ...]
) -> tuple[Person, ...]:
    """Give elements of the person that stood in tuples to the first person, or to one made for them."""
    if not persons:
        name = strays[0][0] or ""
        fit = "".join(c if NCNAME.fullmatch(f"x{c}") else "-" for c in name)
        persons = (Person(f"person-{fit}" if fit else "person"),)
    first = persons[0]
    moved = [said for _, said in strays]
    whole = replace(
        first,
        activities=joined(first.activities, [each.activities for each in moved]),
        moods=joined(first.moods, [each.moods for each in moved]),
        place_is=joined(first.place_is, [each.place_is for each in moved]),
        place_types=joined(first.place_types, [each.place_types for each in moved]),
        spheres=joined(first.spheres, [each.spheres for each in moved]),
        time_offsets=joined(first.time_offsets, [each.time_offsets for each in moved]),
    )
    return (whole, *persons[1:])


def joined(there: tuple[T, ...], moved: list[tuple[T, ...]]) -> tuple[T, ...]:
    """With what is not there already: peers write the same in person and status."""
    known = set(there)
    out = list(there)
    for values in moved:
        out += [each for each in values if each not in known]
        known.update(values)
    return tuple(out)


# ---- printing --------------------------------------------------------------------------------------------

DECLARATIONS = [
    (f"<{prefix}:", f' xmlns:{prefix}="{name}"') for name, prefix in PREFIXES.items() if prefix
]
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf"'


def serialise(document: Presence, *, strict: bool = False) -> bytes:
    """The document as UTF-8 text in its one canonical form.

    strict: replace what the final schemas forbid (`conformance.conform`), for a peer that validates.
    """
    if strict:
        document = conform(document)
    out = [print_tuple(each) for each in document.tuples]
    if document.notes:
        out += [rpid.print_note("note", note) for note in document.notes]
    out += [print_person(each) for each in document.persons]
    out += [print_device(each) for each in document.devices]
    out += [standing_alone(each.xml) for each in document.extensions]
    inner = "".join(out)
    head = HEAD
    for sign, declaration in DECLARATIONS:
        if sign in inner:
            head += declaration
    head += attribute("entity", document.entity)
    if document.attributes:
        head += attributes(document.attributes)
    return f"{head}>{inner}</presence>\n".encode()
