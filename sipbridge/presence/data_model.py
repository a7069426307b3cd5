"""Person and device (RFC 4479), with the RPID, CIPID, OMA and capability elements they may hold.

A container is read by walking its children once; a table says for each element name who reads it and which
rank it has in the schema's order (extensions, `deviceID`, notes, timestamp). What the table does not know is
tried once more as what it would be in the right namespace (drafts and vendors have their own, and some peers
declare none); if that fails it is kept whole as an extension.

Drafts had a `status` inside person and device: what is known in it is read as if it stood outside.
"""

from collections.abc import Callable
from typing import TypeAlias

from sipbridge.presence import rpid
from sipbridge.presence.capabilities import print_capabilities, read_capabilities
from sipbridge.presence.cipid import FIELDS, build, print_cipid
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    escape,
    local,
    pairs_of,
    quote,
    split,
    text_of,
)
from sipbridge.presence.model import (
    Attributes,
    Basic,
    Capabilities,
    Cipid,
    Device,
    Extension,
    Note,
    OtherInfo,
    Person,
    PlaceIs,
    StatusIcon,
    TimeOffset,
    Timestamp,
    TokenList,
    UserInput,
)
from sipbridge.presence.namespaces import (
    CAPS,
    CAPS_DRAFTS,
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
STRAYED = frozenset({PIDF, RPID, DATA_MODEL, CIPID, PERSON_DRAFT, *RPID_DRAFTS, *CAPS_DRAFTS})
"""Namespaces in which elements of RFC 4480, 4479, 4482 are met although they do not belong there."""


class Draft:
    """What one container has said so far. Lists grow, single values stay with the first."""

    __slots__ = (
        "activities", "capabilities", "cipid", "cipid_lang", "classes", "device_ids", "extensions",
        "leftovers", "moods", "notes", "other_info", "place_is", "place_types", "privacy", "spheres",
        "status_icons", "time_offsets", "timestamp", "user_input", "willingness", "willingness_attributes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.extensions: list[Extension] = []
        self.leftovers: list[Extension] = []
        self.classes: list[str] = []
        self.device_ids: list[str] = []
        self.activities: list[TokenList] = []
        self.moods: list[TokenList] = []
        self.place_is: list[PlaceIs] = []
        self.place_types: list[TokenList] = []
        self.privacy: list[TokenList] = []
        self.spheres: list[TokenList] = []
        self.status_icons: list[StatusIcon] = []
        self.time_offsets: list[TimeOffset] = []
        self.other_info: list[OtherInfo] = []
        self.user_input: UserInput | None = None
        self.timestamp: Timestamp | None = None
        self.capabilities: Capabilities | None = None
        self.willingness: Basic | None = None
        self.willingness_attributes: Attributes = ()
        self.cipid: dict[str, str] | None = None
        self.cipid_lang: str | None = None

    def kept(self) -> tuple[Extension, ...]:
        """Extensions, and after them elements that repeat what may stand once."""
        return (*self.extensions, *self.leftovers) if self.extensions or self.leftovers else ()

    def card(self) -> Cipid | None:
        """The CIPID values, if any."""
        return None if self.cipid is None else build(self.cipid, self.cipid_lang)


Handler: TypeAlias = Callable[[Element, Draft, Notebook], None]
Table: TypeAlias = dict[object, tuple[int, Handler]]
"""By Clark name: rank in the schema's order, and who reads the element."""


def put_note(element: Element, draft: Draft, notes: Notebook) -> None:
    """note"""
    draft.notes.append(rpid.read_note(element, notes))


def put_timestamp(element: Element, draft: Draft, notes: Notebook) -> None:
    """timestamp"""
    if draft.timestamp is not None:
        again(element, draft, notes)
    else:
        draft.timestamp = rpid.read_time(rpid.read_text(element, notes), element, notes)


def put_device_id(element: Element, draft: Draft, notes: Notebook) -> None:
    """deviceID"""
    draft.device_ids.append(rpid.read_text(element, notes))


def put_class(element: Element, draft: Draft, notes: Notebook) -> None:
    """class"""
    draft.classes.append(rpid.read_text(element, notes))


def put_activities(element: Element, draft: Draft, notes: Notebook) -> None:
    """activities"""
    draft.activities.append(rpid.read_activities(element, notes))


def put_activity(element: Element, draft: Draft, notes: Notebook) -> None:
    """activity, of the drafts"""
    draft.activities.append(rpid.read_activity(element, notes))


def put_mood(element: Element, draft: Draft, notes: Notebook) -> None:
    """mood"""
    draft.moods.append(rpid.read_mood(element, notes))


def put_place_is(element: Element, draft: Draft, notes: Notebook) -> None:
    """place-is"""
    draft.place_is.append(rpid.read_place_is(element, notes))


def put_place_type(element: Element, draft: Draft, notes: Notebook) -> None:
    """place-type"""
    draft.place_types.append(rpid.read_place_type(element, notes))


def put_placetype(element: Element, draft: Draft, notes: Notebook) -> None:
    """placetype, of the drafts"""
    draft.place_types.append(rpid.read_placetype(element, notes))


def put_privacy(element: Element, draft: Draft, notes: Notebook) -> None:
    """privacy"""
    draft.privacy.append(rpid.read_privacy(element, notes))


def put_sphere(element: Element, draft: Draft, notes: Notebook) -> None:
    """sphere"""
    draft.spheres.append(rpid.read_sphere(element, notes))


def put_status_icon(element: Element, draft: Draft, notes: Notebook) -> None:
    """status-icon"""
    draft.status_icons.append(rpid.read_status_icon(element, notes))


def put_time_offset(element: Element, draft: Draft, notes: Notebook) -> None:
    """time-offset"""
    draft.time_offsets.append(rpid.read_time_offset(element, notes))


def put_user_input(element: Element, draft: Draft, notes: Notebook) -> None:
    """user-input"""
    if draft.user_input is not None:
        again(element, draft, notes)
    else:
        draft.user_input = rpid.read_user_input(element, notes)


def put_capabilities(element: Element, draft: Draft, notes: Notebook) -> None:
    """servcaps, devcaps"""
    if draft.capabilities is not None:
        again(element, draft, notes)
    else:
        draft.capabilities = read_capabilities(element)


def put_willingness(element: Element, draft: Draft, notes: Notebook) -> None:
    """willingness, overriding-willingness"""
    said = None if draft.willingness is not None else read_willingness(element, notes)
    if said is not None:
        draft.willingness, draft.willingness_attributes = said
    elif draft.willingness is not None:
        again(element, draft, notes)
    else:
        draft.leftovers.append(extension(element))


def put_cipid(element: Element, draft: Draft, notes: Notebook) -> None:
    """card, display-name, homepage, icon, map, sound"""
    if draft.cipid is None:
        draft.cipid = {}
    name = local(str(element.tag))
    if name in draft.cipid:
        again(element, draft, notes)
        return
    draft.cipid[name] = text_of(element).strip()
    if name == "display-name":
        draft.cipid_lang = element.get(LANG)


def put_other_info(element: Element, draft: Draft, notes: Notebook) -> None:
    """x:other-info"""
    draft.other_info.append(OtherInfo(element.get("name") or "", text_of(element)))


def again(element: Element, draft: Draft, notes: Notebook) -> None:
    """An element that may stand once stands again."""
    notes.note("repeated-element", element)
    draft.leftovers.append(extension(element))


def rpid_table(*names: str) -> Table:
    """The part of a container's table that RFC 4480 gives."""
    return {f"{{{RPID}}}{name}": (0, RPID_HANDLERS[name]) for name in names}


RPID_HANDLERS: dict[str, Handler] = {
    "activities": put_activities,
    "activity": put_activity,
    "class": put_class,
    "mood": put_mood,
    "place-is": put_place_is,
    "place-type": put_place_type,
    "placetype": put_placetype,
    "privacy": put_privacy,
    "sphere": put_sphere,
    "status-icon": put_status_icon,
    "time-offset": put_time_offset,
    "user-input": put_user_input,
}
CIPID_TABLE: Table = {f"{{{CIPID}}}{name}": (0, put_cipid) for name in FIELDS}
# Rank 1: the schema's own elements come after every extension, each container in its order.
PERSON: Table = {
    **rpid_table(*RPID_HANDLERS),
    **CIPID_TABLE,
    f"{{{OMA}}}overriding-willingness": (0, put_willingness),
    f"{{{SIPBRIDGE}}}other-info": (0, put_other_info),
    f"{{{DATA_MODEL}}}note": (2, put_note),
    f"{{{DATA_MODEL}}}timestamp": (3, put_timestamp),
}
DEVICE: Table = {
    **rpid_table("class", "user-input"),
    f"{{{CAPS}}}devcaps": (0, put_capabilities),
    DEVICE_ID: (1, put_device_id),
    f"{{{DATA_MODEL}}}note": (2, put_note),
    f"{{{DATA_MODEL}}}timestamp": (3, put_timestamp),
}


def read_children(
    element: Element, table: Table, draft: Draft, notes: Notebook, extension_rank: int = 0
) -> None:
    """Read every child by the table; note one deviation if the schema's order is broken."""
    last, ordered = 0, True
    for child in element:
        known = table.get(child.tag)
        if known is None:
            found = read_unknown(child, str(child.tag), table, draft, notes)
            rank = extension_rank if found is None else found
        else:
            rank, handler = known
            handler(child, draft, notes)
        if rank < last:
            if ordered:
                notes.note("element-order", child)
            ordered = False
        else:
            last = rank


def read_unknown(
    element: Element, tag: str, table: Table, draft: Draft, notes: Notebook
) -> int | None:
    """An element the table does not know: strayed from its namespace, a draft's status, or an extension.

    Gives the rank of what it stands for, if the table has that.
    """
    known = strayed(element, tag, table, notes)
    if known is not None:
        known[1](element, draft, notes)
        return known[0]
    if local(tag) == "status" and split(tag)[0] in STRAYED:
        read_draft_status(element, table, draft, notes)
    else:
        check_must_understand(element, notes)
        if split(tag)[0] in (RPID, DATA_MODEL, PIDF):
            notes.note("unknown-element", element)
        draft.extensions.append(extension(element))
    return None


def strayed(
    element: Element, tag: str, table: Table, notes: Notebook
) -> tuple[int, Handler] | None:
    """Rank and handler of the same element in its right namespace, if this one may stand for it."""
    namespace, name = split(tag)
    if namespace not in STRAYED:
        return None
    for home in (RPID, DATA_MODEL, CIPID, CAPS, PIDF):
        known = table.get(f"{{{home}}}{name}") if home != namespace else None
        if known is not None:
            drafted = namespace in RPID_DRAFTS or namespace in (PERSON_DRAFT, *CAPS_DRAFTS)
            notes.note("draft-namespace" if drafted else "wrong-namespace", element)
            return known
    return None


def read_draft_status(element: Element, table: Table, draft: Draft, notes: Notebook) -> None:
    """A `status` inside person or device: known children count, the rest is kept."""
    for child in list(element):
        tag = str(child.tag)
        known = table.get(tag) or strayed(child, tag, table, notes)
        if known is not None and local(tag) not in ("note", "timestamp"):
            notes.note("misplaced-element", child)
            known[1](child, draft, notes)
            element.remove(child)
    if len(element) or (element.text or "").strip():
        notes.note("unknown-element", element)
        draft.extensions.append(extension(element))


def check_must_understand(element: Element, notes: Notebook) -> None:
    """RFC 3863 §4.3: who marks an extension so wants it understood; we take the document and say so."""
    for inner in element.iter():
        if inner.get(f"{{{PIDF}}}mustUnderstand", "").strip() in ("1", "true"):
            notes.note("must-understand", inner)


def read_person(element: Element, notes: Notebook) -> Person:
    """A person in any of the five namespaces."""
    draft = Draft()
    name, others = read_id(element, notes)
    read_children(element, PERSON, draft, notes)
    return make_person(name, draft, others)


def read_id(element: Element, notes: Notebook) -> tuple[str | None, Attributes]:
    """The id of a container, and the attributes nobody knows."""
    name = None
    others: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "id":
            name = value
        else:
            others.append((key, value))
    return notes.id(name, element, required=True), tuple(others) if others else ()


def make_person(name: str | None, draft: Draft, others: Attributes = ()) -> Person:
    """A person of what the draft holds."""
    return Person(
        name,
        tuple(draft.activities),
        tuple(draft.moods),
        tuple(draft.place_is),
        tuple(draft.place_types),
        tuple(draft.privacy),
        tuple(draft.spheres),
        tuple(draft.status_icons),
        tuple(draft.time_offsets),
        draft.user_input,
        tuple(draft.classes),
        draft.card(),
        draft.willingness,
        tuple(draft.other_info),
        tuple(draft.notes),
        draft.timestamp,
        draft.kept(),
        others,
        draft.willingness_attributes,
    )


def read_device(element: Element, notes: Notebook) -> Device:
    """A device. Drafts used its id where RFC 4479 has deviceID."""
    draft = Draft()
    name, others = read_id(element, notes)
    read_children(element, DEVICE, draft, notes)
    if not draft.device_ids:
        notes.note("no-device-id", element)
    first = draft.device_ids[0] if draft.device_ids else None
    return Device(
        name,
        first,
        draft.user_input,
        tuple(draft.classes),
        draft.capabilities,
        tuple(draft.notes),
        draft.timestamp,
        draft.kept(),
        others,
    )


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
        out.append(f'<x:other-info name="{quote(info.name)}">{escape(info.value)}</x:other-info>')
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
