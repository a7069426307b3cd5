"""Resource lists (RFC 4826 §3): who is in a list, for a server that keeps it or in a request that brings it.

A document holds lists, a list holds entries, other lists, and pointers to entries or lists elsewhere, in
their order. All of it is read and printed; what elements of other namespaces say is not kept.

A request that brings its list (RFC 5363 §4) means the entries only, whatever lists they stand in; a server
may leave out everything else, and `entries` does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sipbridge.errors import DocumentError
from sipbridge.presence import markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, attribute, split
from sipbridge.presence.model import Deviation, Note
from sipbridge.presence.namespaces import RESOURCE_LISTS
from sipbridge.presence.rpid import print_note, read_note

ROOT = f"{{{RESOURCE_LISTS}}}resource-lists"
MAX_DEPTH = 16
"""Lists in lists; address books of phones have two or three levels."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource (§3.2). `uri` as written."""

    uri: str
    display_name: Note | None = None


@dataclass(frozen=True, slots=True)
class EntryRef:
    """An entry that stands elsewhere, by a reference relative to the XCAP root."""

    ref: str
    display_name: Note | None = None


@dataclass(frozen=True, slots=True)
class External:
    """A list that stands elsewhere, by its absolute URI."""

    anchor: str
    display_name: Note | None = None


@dataclass(frozen=True, slots=True)
class List:
    """One list: its items in order."""

    items: "tuple[Entry | EntryRef | External | List, ...]" = ()
    name: str | None = None
    display_name: Note | None = None


@dataclass(frozen=True, slots=True)
class ResourceLists:
    """One document."""

    lists: tuple[List, ...] = ()
    deviations: tuple[Deviation, ...] = field(default=(), compare=False)


def of(addresses: Iterable[str]) -> ResourceLists:
    """A document with one list of these addresses."""
    return ResourceLists((List(tuple(map(Entry, addresses))),))


def entries(document: ResourceLists) -> list[Entry]:
    """All entries in order, those of lists in lists too."""
    return [entry for each in document.lists for entry in entries_of(each)]


def entries_of(found: List) -> Iterator[Entry]:
    for item in found.items:
        if isinstance(item, Entry):
            yield item
        elif isinstance(item, List):
            yield from entries_of(item)


# ---- reading ---------------------------------------------------------------------------------------------


def parse(body: bytes, charset: str | None = None) -> ResourceLists:
    """Read a document. Raises DocumentError."""
    root = markup.parse(body, charset)
    if str(root.tag) != ROOT:
        raise DocumentError(
            f"{str(root.tag)[:120]} is no resource-lists document", path=split(str(root.tag))[1]
        )
    notes = Notebook()
    lists = [read_list(child, notes, 1) for child in root if is_named(child, "list")]
    return ResourceLists(tuple(lists), tuple(notes.deviations))


def is_named(element: Element, name: str) -> bool:
    return str(element.tag) == f"{{{RESOURCE_LISTS}}}{name}"


def read_list(element: Element, notes: Notebook, depth: int) -> List:
    """One list with everything in it. Raises DocumentError when it is too deep."""
    if depth > MAX_DEPTH:
        raise DocumentError(f"lists more than {MAX_DEPTH} deep", path="list")
    items = [item for child in element if (item := read_item(child, notes, depth + 1)) is not None]
    return List(tuple(items), element.get("name"), read_name(element, notes))


def read_item(
    element: Element, notes: Notebook, depth: int
) -> Entry | EntryRef | External | List | None:
    """One item; None if it is none, or does not say what it stands for."""
    if is_named(element, "list"):
        return read_list(element, notes, depth)
    for name, key, kind in ITEMS:
        if is_named(element, name):
            value = element.get(key, "").strip()
            if value:
                return kind(value, read_name(element, notes))
            notes.note("empty-element", element, f"{name} without {key} is left out")
    return None


ITEMS: tuple[tuple[str, str, type[Entry] | type[EntryRef] | type[External]], ...] = (
    ("entry", "uri", Entry),
    ("entry-ref", "ref", EntryRef),
    ("external", "anchor", External),
)
"""Element, the attribute that counts, what it becomes."""


def read_name(element: Element, notes: Notebook) -> Note | None:
    for child in element:
        if is_named(child, "display-name"):
            return read_note(child, notes)
    return None


# ---- printing --------------------------------------------------------------------------------------------


def serialise(document: ResourceLists) -> bytes:
    """The document as UTF-8 text."""
    inner = "".join(map(print_list, document.lists))
    text = f'<resource-lists xmlns="{RESOURCE_LISTS}">{inner}</resource-lists>\n'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def print_list(found: List) -> str:
    inner = print_name(found.display_name) + "".join(map(print_item, found.items))
    return f"<list{attribute('name', found.name)}>{inner}</list>"


def print_item(item: Entry | EntryRef | External | List) -> str:
    match item:
        case List():
            return print_list(item)
        case Entry():
            return printed("entry", attribute("uri", item.uri), item.display_name)
        case EntryRef():
            return printed("entry-ref", attribute("ref", item.ref), item.display_name)
        case External():
            return printed("external", attribute("anchor", item.anchor), item.display_name)


def printed(name: str, head: str, shown: Note | None) -> str:
    return f"<{name}{head}>{print_name(shown)}</{name}>" if shown else f"<{name}{head}/>"


def print_name(shown: Note | None) -> str:
    return print_note("display-name", shown) if shown is not None else ""
