"""Person and device (RFC 4479), with the RPID, CIPID, OMA and capability elements they may hold.

Their tables for `containers.read_children`, and how they are printed: in the schema's order, extensions
first, then `deviceID`, notes, timestamp.
"""

from msgspec.structs import replace

from sipbridge.presence import rpid
from sipbridge.presence.capabilities import print_capabilities, read_capabilities
from sipbridge.presence.cipid import FIELDS, print_cipid
from sipbridge.presence.containers import Draft, Handler, Row, Table, read_children, read_id
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    escape,
    local,
    text_of,
)
from sipbridge.presence.model import (
    Cipid,
    Device,
    Extension,
    Note,
    OtherInfo,
    Person,
    Timestamp,
    TokenList,
)
from sipbridge.presence.namespaces import (
    CAPS,
    CIPID,
    CISCO,
    DATA_MODEL,
    OMA,
    PERSON_DRAFT,
    PIDF,
    RPID,
    RPID_DRAFTS,
    SIPBRIDGE,
)
from sipbridge.presence.oma import print_willingness, read_willingness
from sipbridge.presence.rpid import LANG

DEVICE_ID = f"{{{DATA_MODEL}}}deviceID"
PERSON_NAMESPACES = frozenset({DATA_MODEL, PIDF, PERSON_DRAFT, RPID, CISCO, *RPID_DRAFTS})


def put_cipid(element: Element, draft: Draft, notes: Notebook) -> None:
    """card, display-name, homepage, icon, map, sound: one value of all."""
    name = local(str(element.tag)).replace("-", "_")
    card = draft.fields.get("cipid")
    if not isinstance(card, Cipid):
        card = Cipid()
    if getattr(card, name) is not None:
        draft.again(element, notes)
        return
    card = replace(card, **{name: text_of(element).strip()})
    if name == "display_name":
        card = replace(card, display_name_lang=element.get(LANG))
    draft.fields["cipid"] = card


def willingness(field: str) -> Handler:
    """The handler of willingness or overriding-willingness: what it says, and its attributes."""

    def put(element: Element, draft: Draft, notes: Notebook) -> None:
        if field in draft.fields:
            draft.again(element, notes)
            return
        said = read_willingness(element, notes)
        if said is None:
            draft.leave(element)
        else:
            draft.fields[field], draft.fields["willingness_attributes"] = said

    return put


def read_other_info(element: Element, notes: Notebook) -> OtherInfo:
    """x:other-info"""
    note = element.get(f"{{{SIPBRIDGE}}}note")
    return OtherInfo(element.get("name") or "", text_of(element), note)


RPID_ROWS = {
    f"{{{RPID}}}{name}": row
    for name, row in {
        "activities": Row(0, "activities", True, rpid.read_activities),
        "activity": Row(0, "activities", True, rpid.read_activity),
        "class": Row(0, "classes", True, rpid.read_text),
        "mood": Row(0, "moods", True, rpid.read_mood),
        "place-is": Row(0, "place_is", True, rpid.read_place_is),
        "place-type": Row(0, "place_types", True, rpid.read_place_type),
        "placetype": Row(0, "place_types", True, rpid.read_placetype),
        "privacy": Row(0, "privacy", True, rpid.read_privacy),
        "sphere": Row(0, "spheres", True, rpid.read_sphere),
        "status-icon": Row(0, "status_icons", True, rpid.read_status_icon),
        "time-offset": Row(0, "time_offsets", True, rpid.read_time_offset),
        "user-input": Row(0, "user_input", False, rpid.read_user_input),
    }.items()
}
"""Elements of RFC 4480; `activity` and `placetype` are of its drafts."""
CIPID_NAMES = [f"{{{CIPID}}}{name}" for name in FIELDS]

# Extensions have rank 0: the schema's own elements come after them, each container in its order.
NOTE_ROW = Row(2, "notes", True, rpid.read_note)
TIMESTAMP_ROW = Row(3, "timestamp", False, rpid.read_timestamp)
CAPS_ROW = Row(0, "capabilities", False, lambda element, _: read_capabilities(element))
PERSON = Table(
    {
        **RPID_ROWS,
        f"{{{SIPBRIDGE}}}other-info": Row(0, "other_info", True, read_other_info),
        f"{{{DATA_MODEL}}}note": NOTE_ROW,
        f"{{{DATA_MODEL}}}timestamp": TIMESTAMP_ROW,
    },
    {
        **dict.fromkeys(CIPID_NAMES, (0, put_cipid)),
        f"{{{OMA}}}overriding-willingness": (0, willingness("overriding_willingness")),
    },
)
DEVICE = Table(
    {
        f"{{{RPID}}}class": RPID_ROWS[f"{{{RPID}}}class"],
        f"{{{RPID}}}user-input": RPID_ROWS[f"{{{RPID}}}user-input"],
        f"{{{CAPS}}}devcaps": CAPS_ROW,
        DEVICE_ID: Row(1, "device_id", False, rpid.read_text),
        f"{{{DATA_MODEL}}}note": NOTE_ROW,
        f"{{{DATA_MODEL}}}timestamp": TIMESTAMP_ROW,
    },
    {},
)


def read_person(element: Element, notes: Notebook) -> Person:
    """A person in any of the five namespaces."""
    draft = Draft()
    name, others = read_id(element, notes)
    read_children(element, PERSON, draft, notes)
    return Person(name, attributes=others, **draft.said())  # type: ignore[arg-type]  # see the rows


def read_device(element: Element, notes: Notebook) -> Device:
    """A device. Drafts used its id where RFC 4479 has deviceID."""
    draft = Draft()
    name, others = read_id(element, notes)
    read_children(element, DEVICE, draft, notes)
    if "device_id" not in draft.fields:
        notes.note("no-device-id", element)
    return Device(name, attributes=others, **draft.said())  # type: ignore[arg-type]  # see the rows


# ---- printing --------------------------------------------------------------------------------------------


def print_classes(classes: tuple[str, ...]) -> str:
    """class, once or more."""
    return "".join([f"<rpid:class>{escape(name)}</rpid:class>" for name in classes])


def print_extensions(kept: tuple[Extension, ...], table: Table) -> tuple[str, str]:
    """Extensions, and apart from them those which repeat a known element: they go to the end."""
    if not kept:
        return "", ""
    first = [standing_alone(each.xml) for each in kept if each.name not in table]
    last = [standing_alone(each.xml) for each in kept if each.name in table]
    return "".join(first), "".join(last)


def print_lists(words: rpid.Vocabulary, values: tuple[TokenList, ...]) -> str:
    """Each of several lists of one kind."""
    return "".join([rpid.print_list(words, value) for value in values])


def print_person(person: Person) -> str:
    """Extension elements, notes, timestamp: the order of RFC 4479's schema."""
    out = [print_lists(rpid.ACTIVITY, person.activities) if person.activities else ""]
    out.append(print_classes(person.classes) if person.classes else "")
    for words, values in (
        (rpid.MOOD, person.moods),
        (rpid.PLACE, person.place_types),
        (rpid.PRIVACY, person.privacy),
        (rpid.SPHERE, person.spheres),
    ):
        if values:
            out.append(print_lists(words, values))
    out += map(rpid.print_place_is, person.place_is)
    out += map(rpid.print_status_icon, person.status_icons)
    out += map(rpid.print_time_offset, person.time_offsets)
    if person.user_input is not None:
        out.append(rpid.print_user_input(person.user_input))
    if person.cipid is not None:
        out.append(print_cipid(person.cipid))
    if person.overriding_willingness is not None:
        out.append(
            print_willingness(
                "overriding-willingness",
                person.overriding_willingness,
                person.willingness_attributes,
            )
        )
    for info in person.other_info:
        head = attribute("name", info.name) + attribute("x:note", info.note)
        out.append(f"<x:other-info{head}>{escape(info.value)}</x:other-info>")
    first, last = print_extensions(person.extensions, PERSON)
    out.append(first + print_end(person.notes, person.timestamp) + last)
    head = attribute("id", person.id) + attributes(person.attributes)
    return f"<dm:person{head}>{''.join(out)}</dm:person>"


def print_end(notes: tuple[Note, ...], timestamp: Timestamp | None) -> str:
    """Notes and timestamp of person or device."""
    out = "".join([rpid.print_note("dm:note", note) for note in notes]) if notes else ""
    if timestamp is not None:
        out += f"<dm:timestamp>{escape(timestamp.text)}</dm:timestamp>"
    return out


def print_device(device: Device) -> str:
    """Extension elements, deviceID, notes, timestamp."""
    out = print_classes(device.classes)
    if device.user_input is not None:
        out += rpid.print_user_input(device.user_input)
    if device.capabilities is not None:
        out += print_capabilities(device.capabilities)
    first, last = print_extensions(device.extensions, DEVICE)
    out += first
    if device.device_id is not None:
        out += f"<dm:deviceID>{escape(device.device_id)}</dm:deviceID>"
    out += print_end(device.notes, device.timestamp) + last
    head = attribute("id", device.id) + attributes(device.attributes)
    return f"<dm:device{head}>{out}</dm:device>"
