"""XPIDF (application/xpidf+xml), the format before PIDF, as some desk phones still get it. Read only.

It has no namespace. An `atom` groups addresses; each address has a `status` (open, inuse, inprogress, closed)
and often Microsoft's `msnsubstatus`, which is the richer of the two. Writers put a document type declaration
in front: it is skipped and nothing is fetched. `to_presence` says in PIDF and RPID what the words say:
`inuse` and `inprogress` are no basic status, so basic is open only where the address says open.
"""

from dataclasses import dataclass, field

from sipbridge.errors import DocumentError
from sipbridge.presence import markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, text_of
from sipbridge.presence.model import (
    Basic,
    Contact,
    Deviation,
    Note,
    Person,
    Presence,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.presence.services import with_point

BUSY = f"{{{RPID}}}busy"
AWAY = f"{{{RPID}}}away"
ON_THE_PHONE = f"{{{RPID}}}on-the-phone"
SUBSTATUS: dict[str, tuple[str, ...]] = {
    "onthephone": (ON_THE_PHONE,),
    "busy": (BUSY,),
    "inuse": (BUSY,),
    "away": (AWAY,),
    "berightback": (AWAY, f"{{{SIPBRIDGE}}}be-right-back"),
    "outtolunch": (f"{{{RPID}}}meal",),
}
STATUS: dict[str, tuple[str, ...]] = {"inuse": (BUSY,)}


@dataclass(frozen=True, slots=True)
class Address:
    """One address, its words as written."""

    uri: str
    priority: str | None = None
    status: str | None = None
    substatus: str | None = None


@dataclass(frozen=True, slots=True)
class XPidf:
    """One document."""

    presentities: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    notes: tuple[Note, ...] = ()
    deviations: tuple[Deviation, ...] = field(default=(), compare=False)


def parse(body: bytes, charset: str | None = None) -> XPidf:
    """Read an XPIDF document. Raises DocumentError."""
    root, skipped = markup.parse_any(body, charset)
    notes = Notebook()
    if skipped:
        notes.note("doctype", root)
    return from_root(root, notes)


def is_xpidf(root: Element) -> bool:
    """A `presence` without namespace that names a presentity or holds an atom."""
    return str(root.tag) == "presence" and any(
        str(child.tag) in ("presentity", "atom") for child in root
    )


def from_root(root: Element, notes: Notebook) -> XPidf:
    """The document under this root element. Raises DocumentError."""
    if not is_xpidf(root):
        raise DocumentError("no XPIDF document", path=markup.local(str(root.tag)))
    notes.note("old-format", root)
    presentities = [str(child.get("uri", "")).strip() for child in root.iterchildren("presentity")]
    addresses = [
        read_address(child, notes)
        for atom in root.iterchildren("atom")
        for child in atom.iterchildren("address")
    ]
    said = [
        Note(text_of(note))
        for status in root.iterchildren("status")
        for note in status.iterchildren("note")
    ]
    return XPidf(tuple(presentities), tuple(addresses), tuple(said), tuple(notes.deviations))


def read_address(element: Element, notes: Notebook) -> Address:
    """One address. A decimal comma in its priority is read as a point."""
    priority = element.get("priority")
    if priority is not None and "," in priority:
        notes.note("bad-priority", element, f"priority {priority[:40]!r}")
        priority = with_point(priority)
    return Address(
        str(element.get("uri", "")).strip(),
        None if priority is None else str(priority).strip(),
        first_word(element, "status"),
        first_word(element, "substatus"),
    )


def first_word(element: Element, name: str) -> str | None:
    """The value of `status` or `msnsubstatus`, both written in an attribute."""
    tag = "status" if name == "status" else "msnsubstatus"
    for child in element.iterchildren(tag):
        value = child.get(name)
        if value is not None:
            return value.strip()
    return None


def to_presence(document: XPidf) -> Presence:
    """The same in PIDF and RPID."""
    entity = document.presentities[0].partition(";method=")[0] if document.presentities else None
    names: list[str] = []
    services = []
    idle = False
    for number, address in enumerate(document.addresses, 1):
        status = (address.status or "").lower()
        substatus = (address.substatus or "").lower()
        basic = Basic(status) if status in ("open", "closed") else None
        odd = address.status if basic is None and address.status else None
        contact = Contact(address.uri, address.priority) if address.uri else None
        services.append(Tuple(f"a{number}", basic, contact, basic_text=odd))
        idle = idle or substatus == "idle"
        names += SUBSTATUS.get(substatus) or STATUS.get(status, ())
    persons: tuple[Person, ...] = ()
    if names or idle:
        tokens = tuple(Token(name) for name in dict.fromkeys(names))
        persons = (
            Person(
                "p1",
                (TokenList(tokens=tokens),) if tokens else (),
                user_input=UserInput("idle") if idle else None,
            ),
        )
    return Presence(
        entity, tuple(services), persons, (), document.notes, (), (), document.deviations
    )
