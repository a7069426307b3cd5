"""PIDF: presence documents (RFC 3863), read tolerantly and printed canonically.

`parse` takes what deployed peers send and notes what it had to tolerate; it refuses only what is not
well-formed, is hostile (see `markup`), or is no presence document. `serialise` prints one form: the schema's
order, the prefixes of `namespaces.PREFIXES`, only the namespaces used. Printing what was read and reading it
again gives the same value. What the schema forbids is printed only if it was read so; `strict` replaces even
that (see `conformance`).

Tuples are read by the same tables as persons and devices (`data_model`). RPID elements that belong to the
person but stand in a tuple or its status, as in drafts, are given to the document's first person, or to one
made for them.
"""

import re
from dataclasses import replace
from typing import TypeVar

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, rpid
from sipbridge.presence.capabilities import print_capabilities
from sipbridge.presence.cipid import print_cipid
from sipbridge.presence.data_model import (
    CIPID_TABLE,
    DEVICE_ID,
    PERSON_NAMESPACES,
    Draft,
    Table,
    again,
    check_must_understand,
    make_person,
    print_classes,
    print_device,
    print_extensions,
    print_lists,
    print_person,
    put_capabilities,
    put_device_id,
    put_note,
    put_timestamp,
    put_willingness,
    read_children,
    read_device,
    read_person,
    rpid_table,
    strayed,
)
from sipbridge.presence.deviations import NCNAME, Notebook
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    attributes_of,
    escape,
    local,
    pairs_of,
    split,
    text_of,
)
from sipbridge.presence.model import (
    Attributes,
    Basic,
    Choice,
    Contact,
    Device,
    Extension,
    Note,
    Person,
    Presence,
    ServiceDescription,
    TimedStatus,
    Tuple,
)
from sipbridge.presence.namespaces import (
    CAPS,
    CPIM,
    DATA_MODEL,
    OMA,
    PIDF,
    PIDF_DIFF,
    PREFIXES,
    RPID,
    TIMED_STATUS,
)
from sipbridge.presence.oma import (
    print_service_description,
    print_willingness,
    read_service_description,
)
from sipbridge.presence.timed_status import print_timed_status, read_timed_status

ROOT = f"{{{PIDF}}}presence"
FULL = f"{{{PIDF_DIFF}}}pidf-full"
TUPLE = f"{{{PIDF}}}tuple"
NOTE = f"{{{PIDF}}}note"
STATUS = f"{{{PIDF}}}status"
BASIC = f"{{{PIDF}}}basic"

PRIORITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?|\.\d{1,3}")
NAME_ADDR = re.compile(r".*<\s*([^<>\s]+)\s*>\s*", re.DOTALL)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")


T = TypeVar("T")


class TupleDraft(Draft):
    """What a tuple has said so far."""

    __slots__ = (
        "basic", "basic_text", "contact", "relationship", "seen_status", "service_class",
        "service_descriptions", "status_attributes", "status_extensions", "timed_status",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.basic: Basic | None = None
        self.basic_text: str | None = None
        self.contact: Contact | None = None
        self.seen_status = False
        self.relationship: Choice | None = None
        self.service_class: Choice | None = None
        self.service_descriptions: list[ServiceDescription] = []
        self.timed_status: list[TimedStatus] = []
        self.status_extensions: list[Extension] = []
        self.status_attributes: Attributes = ()


def of_tuple(draft: Draft) -> TupleDraft:
    """The tuple's draft; handlers of the tuple table are called with no other."""
    assert isinstance(draft, TupleDraft)
    return draft


def put_status(element: Element, draft: Draft, notes: Notebook) -> None:
    """status: basic, extensions, and what peers put there by mistake."""
    mine = of_tuple(draft)
    if mine.seen_status:
        again(element, draft, notes)
        return
    mine.seen_status = True
    if element.attrib:
        mine.status_attributes = attributes_of(element)
    for child in element:
        tag = str(child.tag)
        if tag == BASIC:
            put_basic(child, mine, notes)
        else:
            put_status_child(child, tag, mine, notes)


def put_basic(element: Element, mine: TupleDraft, notes: Notebook) -> None:
    """open or closed; anything else is no statement, and kept as text."""
    text = element.text or ""
    if element.attrib or len(element):
        notes.note("attribute-dropped" if element.attrib else "markup-in-text", element)
    if mine.basic is not None or mine.basic_text is not None:
        notes.note("repeated-element", element)
        mine.status_extensions.append(extension(element))
    elif text == "open":
        mine.basic = Basic.OPEN
    elif text == "closed":
        mine.basic = Basic.CLOSED
    elif text.strip().lower() in ("open", "closed"):
        notes.note("basic-spelling", element, f"basic {text!r}")
        mine.basic = Basic(text.strip().lower())
    else:
        notes.note("bad-basic", element, f"basic {text[:80]!r} is neither open nor closed")
        mine.basic_text = text.strip()


def put_status_child(element: Element, tag: str, mine: TupleDraft, notes: Notebook) -> None:
    """A child of status that is not basic."""
    known = IN_STATUS.get(tag)
    if known is None and split(tag)[0] != PIDF:
        known = strayed(element, tag, IN_STATUS, notes)
    if known is not None:
        notes.note("misplaced-element", element)
        known[1](element, mine, notes)
        return
    check_must_understand(element, notes)
    if split(tag)[0] == PIDF:
        notes.note("unknown-element", element)
    mine.status_extensions.append(extension(element))


def put_contact(element: Element, draft: Draft, notes: Notebook) -> None:
    """contact"""
    mine = of_tuple(draft)
    if mine.contact is not None:
        again(element, draft, notes)
        return
    text = text_of(element).strip()
    named = NAME_ADDR.fullmatch(text)
    if named is not None:
        notes.note("bad-contact", element)
        text = named[1]
    priority = element.get("priority")
    if priority is not None and PRIORITY.fullmatch(priority.strip()) is None:
        notes.note("bad-priority", element, f"priority {priority[:40]!r}")
        priority = priority.replace(",", ".", 1)
    others: Attributes = ()
    if len(element.attrib) > (priority is not None):
        others = attributes_of(element, "priority")
    mine.contact = Contact(text, None if priority is None else str(priority), others)


def put_relationship(element: Element, draft: Draft, notes: Notebook) -> None:
    """relationship"""
    mine = of_tuple(draft)
    if mine.relationship is not None:
        again(element, draft, notes)
    else:
        mine.relationship = rpid.read_relationship(element, notes)


def put_service_class(element: Element, draft: Draft, notes: Notebook) -> None:
    """service-class"""
    mine = of_tuple(draft)
    if mine.service_class is not None:
        again(element, draft, notes)
    else:
        mine.service_class = rpid.read_service_class(element, notes)


def put_service_description(element: Element, draft: Draft, notes: Notebook) -> None:
    """oma:service-description"""
    of_tuple(draft).service_descriptions.append(read_service_description(element, notes))


def put_timed_status(element: Element, draft: Draft, notes: Notebook) -> None:
    """timed-status"""
    of_tuple(draft).timed_status.append(read_timed_status(element, notes))


PERSONAL = (
    "activities",
    "activity",
    "mood",
    "place-is",
    "place-type",
    "placetype",
    "sphere",
    "time-offset",
)
"""RPID elements that belong to the person (RFC 4480 §3); drafts had them in tuples."""
RPID_PART: Table = {
    **rpid_table("class", "privacy", "status-icon", "user-input", *PERSONAL),
    f"{{{RPID}}}relationship": (1, put_relationship),
    f"{{{RPID}}}service-class": (1, put_service_class),
}
IN_STATUS: Table = {
    **RPID_PART,
    **CIPID_TABLE,
    f"{{{PIDF}}}contact": (0, put_contact),
    NOTE: (0, put_note),
    f"{{{PIDF}}}timestamp": (0, put_timestamp),
}
"""What is met inside status although it belongs beside it."""
SERVICE: Table = {
    STATUS: (0, put_status),
    **{name: (1, handler) for name, (_, handler) in {**RPID_PART, **CIPID_TABLE}.items()},
    DEVICE_ID: (1, put_device_id),
    f"{{{CAPS}}}servcaps": (1, put_capabilities),
    f"{{{OMA}}}willingness": (1, put_willingness),
    f"{{{OMA}}}service-description": (1, put_service_description),
    f"{{{TIMED_STATUS}}}timed-status": (1, put_timed_status),
    f"{{{PIDF}}}contact": (2, put_contact),
    NOTE: (3, put_note),
    f"{{{PIDF}}}timestamp": (4, put_timestamp),
}


def read_tuple(element: Element, notes: Notebook, strays: list[tuple[str | None, Draft]]) -> Tuple:
    """One tuple. A draft that holds elements of the person is added to `strays`."""
    draft = TupleDraft()
    name = None
    others: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "id":
            name = value
        else:
            others.append((key, value))
    name = notes.id(name, element, required=True)
    read_children(element, SERVICE, draft, notes, 1)
    if not draft.seen_status:
        notes.note("no-status", element)
    if (
        draft.activities
        or draft.moods
        or draft.place_is
        or draft.place_types
        or draft.spheres
        or draft.time_offsets
    ):
        notes.note("misplaced-element", element, "elements of the person stand in a tuple")
        strays.append((name, draft))
    return Tuple(
        name,
        draft.basic,
        draft.contact,
        tuple(draft.notes),
        draft.timestamp,
        tuple(draft.device_ids),
        tuple(draft.classes),
        tuple(draft.privacy),
        draft.relationship,
        draft.service_class,
        tuple(draft.status_icons),
        draft.user_input,
        draft.card(),
        draft.capabilities,
        draft.willingness,
        tuple(draft.service_descriptions),
        tuple(draft.timed_status),
        tuple(draft.status_extensions),
        draft.kept(),
        tuple(others),
        draft.basic_text,
        draft.status_attributes,
        draft.willingness_attributes,
    )


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
    tuples: list[Tuple] = []
    persons: list[Person] = []
    devices: list[Device] = []
    said: list[Note] = []
    kept: list[Extension] = []
    strays: list[tuple[str | None, Draft]] = []
    last = 0
    for child in root:
        tag = str(child.tag)
        rank = 2
        if tag == TUPLE:
            rank = 0
            tuples.append(read_tuple(child, notes, strays))
        elif tag == NOTE:
            rank = 1
            said.append(rpid.read_note(child, notes))
        else:
            read_component(child, tag, persons, devices, kept, notes)
        if rank < last < 9:
            notes.note("element-order", child)
            last = 9
        last = max(last, rank)
    if strays:
        settle(strays, persons)
    entity, others = read_root(root, notes)
    return Presence(
        entity,
        tuple(tuples),
        tuple(persons),
        tuple(devices),
        tuple(said),
        tuple(kept),
        others,
        tuple(notes.deviations),
    )


def read_component(
    element: Element,
    tag: str,
    persons: list[Person],
    devices: list[Device],
    kept: list[Extension],
    notes: Notebook,
) -> None:
    """A child of the root that is neither tuple nor note: person, device, extension."""
    namespace, name = split(tag)
    if name in ("person", "device") and namespace in PERSON_NAMESPACES:
        if namespace != DATA_MODEL:
            notes.note(
                "wrong-namespace" if namespace in (PIDF, RPID) else "draft-namespace", element
            )
        if name == "person":
            persons.append(read_person(element, notes))
        else:
            devices.append(read_device(element, notes))
        return
    check_must_understand(element, notes)
    if namespace in (PIDF, DATA_MODEL):
        notes.note("unknown-element", element)
    kept.append(extension(element))


def read_root(root: Element, notes: Notebook) -> tuple[str | None, Attributes]:
    """entity, and the attributes nobody knows."""
    entity = root.get("entity")
    others = attributes_of(root, "entity")
    if entity is None:
        notes.note("no-entity", root)
        return None, others
    entity = str(entity).strip()
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


def settle(strays: list[tuple[str | None, Draft]], persons: list[Person]) -> None:
    """Give elements of the person that stood in tuples to the first person, or to one made for them."""
    if not persons:
        name = strays[0][0] or ""
        fit = "".join(c if NCNAME.fullmatch(f"x{c}") else "-" for c in name)
        persons.append(Person(f"person-{fit}" if fit else "person"))
    for _, draft in strays:
        moved = make_person(None, draft)
        first = persons[0]
        persons[0] = replace(
            first,
            activities=first.activities + unlike(moved.activities, first.activities),
            moods=first.moods + unlike(moved.moods, first.moods),
            place_is=first.place_is + unlike(moved.place_is, first.place_is),
            place_types=first.place_types + unlike(moved.place_types, first.place_types),
            spheres=first.spheres + unlike(moved.spheres, first.spheres),
            time_offsets=first.time_offsets + unlike(moved.time_offsets, first.time_offsets),
        )


def unlike(moved: tuple[T, ...], there: tuple[T, ...]) -> tuple[T, ...]:
    """What is not there already: peers write the same in person and status."""
    return tuple(each for each in moved if each not in there)


# ---- printing --------------------------------------------------------------------------------------------

DECLARATIONS = [
    (f"<{prefix}:", f' xmlns:{prefix}="{name}"') for name, prefix in PREFIXES.items() if prefix
]
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf"'


def print_tuple(service: Tuple) -> str:
    """status, extension elements, contact, notes, timestamp: the order of RFC 3863 §4.4."""
    first, last = print_extensions(service.extensions, SERVICE)
    out = [print_status(service), print_service(service), first]
    contact = service.contact
    if contact is not None:
        head = attribute("priority", contact.priority)
        if contact.attributes:
            head += attributes(contact.attributes)
        out.append(f"<contact{head}>{escape(contact.uri)}</contact>")
    if service.notes:
        out += [rpid.print_note("note", note) for note in service.notes]
    if service.timestamp is not None:
        out.append(f"<timestamp>{escape(service.timestamp.text)}</timestamp>")
    out.append(last)
    head = attribute("id", service.id)
    if service.attributes:
        head += attributes(service.attributes)
    return f"<tuple{head}>{''.join(out)}</tuple>"


def print_status(service: Tuple) -> str:
    """status, empty where nothing is said."""
    if service.basic is not None:
        inner = f"<basic>{service.basic.value}</basic>"
    elif service.basic_text is not None:
        inner = f"<basic>{escape(service.basic_text)}</basic>"
    else:
        inner = ""
    if service.status_extensions:
        inner += "".join([standing_alone(each.xml) for each in service.status_extensions])
    head = attributes(service.status_attributes) if service.status_attributes else ""
    return f"<status{head}>{inner}</status>" if inner else f"<status{head}/>"


def print_service(service: Tuple) -> str:
    """The extension elements of a tuple that we know."""
    out = []
    if service.relationship is not None:
        out.append(rpid.print_choice("rpid:relationship", service.relationship))
    if service.service_class is not None:
        out.append(rpid.print_choice("rpid:service-class", service.service_class))
    if service.classes:
        out.append(print_classes(service.classes))
    if service.privacy:
        out.append(print_lists(rpid.PRIVACY, service.privacy))
    out += [rpid.print_status_icon(each) for each in service.status_icons]
    if service.user_input is not None:
        out.append(rpid.print_user_input(service.user_input))
    out += [f"<dm:deviceID>{escape(name)}</dm:deviceID>" for name in service.device_ids]
    if service.cipid is not None:
        out.append(print_cipid(service.cipid))
    if service.capabilities is not None:
        out.append(print_capabilities(service.capabilities))
    if service.willingness is not None:
        out.append(
            print_willingness("willingness", service.willingness, service.willingness_attributes)
        )
    out += [print_service_description(each) for each in service.service_descriptions]
    out += [print_timed_status(each) for each in service.timed_status]
    return "".join(out)


def serialise(document: Presence, *, strict: bool = False) -> bytes:
    """The document as UTF-8 text in its one canonical form.

    strict: replace what the final schemas forbid (`conformance.conform`), for a peer that validates.
    """
    if strict:
        from sipbridge.presence.conformance import conform

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
