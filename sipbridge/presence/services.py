"""Services: the tuples of a presence document (RFC 3863 §4.1.2), with the extensions they may hold.

Tuples are read by a table, as persons and devices are (`containers`). What peers put into `status` although
it belongs beside it counts as if it stood there. RPID elements that belong to the person but stand in a
tuple, as in drafts, are handed to the caller, who knows the persons.
"""

import re

from sipbridge.presence import rpid
from sipbridge.presence.capabilities import print_capabilities
from sipbridge.presence.cipid import print_cipid
from sipbridge.presence.containers import (
    Draft,
    Handler,
    Row,
    Table,
    check_must_understand,
    read_children,
    read_id,
    strayed,
)
from sipbridge.presence.data_model import (
    CAPS_ROW,
    CIPID_NAMES,
    DEVICE_ID,
    RPID_ROWS,
    print_classes,
    print_extensions,
    print_lists,
    put_cipid,
    willingness,
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
from sipbridge.presence.model import Basic, Contact, Person, Tuple
from sipbridge.presence.namespaces import CAPS, OMA, PIDF, RPID, TIMED_STATUS
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
BASICS: dict[str, Basic] = {basic.value: basic for basic in Basic}

PRIORITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?|\.\d{1,3}")
NAME_ADDR = re.compile(r".*<\s*([^<>\s]+)\s*>\s*", re.DOTALL)


def put_status(element: Element, draft: Draft, notes: Notebook) -> None:
    """status: basic, extensions, and what peers put there by mistake."""
    if draft.seen_status:
        draft.again(element, notes)
        return
    draft.seen_status = True
    if element.keys():
        draft.fields["status_attributes"] = attributes_of(element)
    for child in element:
        tag = str(child.tag)
        if tag == BASIC:
            put_basic(child, draft, notes)
        else:
            put_status_child(child, tag, draft, notes)


def put_basic(element: Element, draft: Draft, notes: Notebook) -> None:
    """open or closed; anything else is no statement, and kept as text."""
    text = element.text or ""
    fields = draft.fields
    if element.keys() or len(element):
        notes.note("attribute-dropped" if element.keys() else "markup-in-text", element)
    if "basic" in fields or "basic_text" in fields:
        notes.note("repeated-element", element)
        draft.add("status_extensions", extension(element))
    elif text in BASICS:
        fields["basic"] = BASICS[text]
    elif text.strip().lower() in BASICS:
        notes.note("basic-spelling", element, f"basic {text!r}")
        fields["basic"] = BASICS[text.strip().lower()]
    else:
        notes.note("bad-basic", element, f"basic {text[:80]!r} is neither open nor closed")
        fields["basic_text"] = text.strip()


def put_status_child(element: Element, tag: str, draft: Draft, notes: Notebook) -> None:
    """A child of status that is not basic."""
    known = tag if tag in IN_STATUS else None
    if known is None and split(tag)[0] != PIDF:
        known = strayed(element, tag, IN_STATUS, notes)
    if known is not None:
        notes.note("misplaced-element", element)
        IN_STATUS.put(known, element, draft, notes)
        return
    check_must_understand(element, notes)
    if split(tag)[0] == PIDF:
        notes.note("unknown-element", element)
    draft.add("status_extensions", extension(element))


def read_contact(element: Element, notes: Notebook) -> Contact:
    """contact"""
    text = text_of(element).strip()
    if ">" in text and (named := NAME_ADDR.fullmatch(text)) is not None:
        notes.note("bad-contact", element)
        text = named[1]
    names = element.keys()
    if not names:
        return Contact(text)
    priority = element.get("priority")
    if priority is not None and PRIORITY.fullmatch(priority.strip()) is None:
        notes.note("bad-priority", element, f"priority {priority[:40]!r}")
        priority = with_point(priority)
    others = () if names == ["priority"] else attributes_of(element, "priority")
    return Contact(text, priority, others)


def with_point(priority: str) -> str:
    """A decimal comma as a point; what has several commas is no number and stays as it is."""
    return priority.replace(",", ".") if priority.count(",") == 1 else priority


PERSONAL = {
    "activities": "activities",
    "activity": "activities",
    "mood": "moods",
    "place-is": "place_is",
    "place-type": "place_types",
    "placetype": "place_types",
    "sphere": "spheres",
    "time-offset": "time_offsets",
}
"""RPID elements of the person (RFC 4480 §3), and their fields there; drafts had them in tuples."""
PERSONAL_FIELDS = frozenset(PERSONAL.values())
BESIDE = {
    **{
        f"{{{RPID}}}{name}": RPID_ROWS[f"{{{RPID}}}{name}"]._replace(rank=1)
        for name in ("class", "privacy", "status-icon", "user-input", *PERSONAL)
    },
    f"{{{RPID}}}relationship": Row(1, "relationship", False, rpid.read_relationship),
    f"{{{RPID}}}service-class": Row(1, "service_class", False, rpid.read_service_class),
    f"{{{PIDF}}}contact": Row(2, "contact", False, read_contact),
    NOTE: Row(3, "notes", True, rpid.read_note),
    f"{{{PIDF}}}timestamp": Row(4, "timestamp", False, rpid.read_timestamp),
}
"""What belongs beside status; peers put it inside, too."""
CARD: dict[str, tuple[int, Handler]] = dict.fromkeys(CIPID_NAMES, (1, put_cipid))
IN_STATUS = Table(BESIDE, CARD)
SERVICE = Table(
    {
        **BESIDE,
        DEVICE_ID: Row(1, "device_ids", True, rpid.read_text),
        f"{{{CAPS}}}servcaps": CAPS_ROW._replace(rank=1),
        f"{{{OMA}}}service-description": Row(
            1, "service_descriptions", True, read_service_description
        ),
        f"{{{TIMED_STATUS}}}timed-status": Row(1, "timed_status", True, read_timed_status),
    },
    {
        STATUS: (0, put_status),
        **CARD,
        f"{{{OMA}}}willingness": (1, willingness("willingness")),
    },
    extension_rank=1,
)


def read_tuple(element: Element, notes: Notebook) -> Tuple:
    """One tuple. What it says of the person goes to `notes.strays`."""
    draft = Draft()
    name, others = read_id(element, notes)
    read_children(element, SERVICE, draft, notes)
    if not draft.seen_status:
        notes.note("no-status", element)
    said = draft.said()
    if not PERSONAL_FIELDS.isdisjoint(said):
        notes.note("misplaced-element", element, "elements of the person stand in a tuple")
        personal = {field: said.pop(field) for field in PERSONAL_FIELDS if field in said}
        notes.strays.append((name, Person(None, **personal)))  # type: ignore[arg-type]  # see the rows
    return Tuple(name, attributes=others, **said)  # type: ignore[arg-type]  # see the rows


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
