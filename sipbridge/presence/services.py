"""Services: the tuples of a presence document (RFC 3863 §4.1.2), with the extensions they may hold.

Tuples are read by the same kind of table as persons and devices (`data_model`). What peers put into `status`
although it belongs beside it counts as if it stood there. RPID elements that belong to the person but stand
in a tuple, as in drafts, are handed to the caller, who knows the persons.
"""

import re

from sipbridge.presence import rpid
from sipbridge.presence.capabilities import print_capabilities
from sipbridge.presence.cipid import print_cipid
from sipbridge.presence.data_model import (
    CIPID_TABLE,
    DEVICE_ID,
    Draft,
    Table,
    again,
    check_must_understand,
    print_classes,
    print_extensions,
    print_lists,
    put_capabilities,
    put_device_id,
    put_note,
    put_timestamp,
    put_willingness,
    read_children,
    read_id,
    rpid_table,
    strayed,
)
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    attributes_of,
    escape,
    split,
    text_of,
)
from sipbridge.presence.model import (
    Attributes,
    Basic,
    Choice,
    Contact,
    Extension,
    ServiceDescription,
    TimedStatus,
    Tuple,
)
from sipbridge.presence.namespaces import (
    CAPS,
    OMA,
    PIDF,
    RPID,
    TIMED_STATUS,
)
from sipbridge.presence.oma import (
    print_service_description,
    print_willingness,
    read_service_description,
)
from sipbridge.presence.timed_status import print_timed_status, read_timed_status

TUPLE = f"{{{PIDF}}}tuple"
NOTE = f"{{{PIDF}}}note"
STATUS = f"{{{PIDF}}}status"
BASIC = f"{{{PIDF}}}basic"

PRIORITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?|\.\d{1,3}")
NAME_ADDR = re.compile(r".*<\s*([^<>\s]+)\s*>\s*", re.DOTALL)


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
    named = NAME_ADDR.fullmatch(text) if ">" in text else None
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
    name, others = read_id(element, notes)
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
        others,
        draft.basic_text,
        draft.status_attributes,
        draft.willingness_attributes,
    )


# ---- printing ------------------------------------------------------------------------------------------


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
