"""How persons, devices and tuples are read: one walk over the children, a table for each container.

A row of the table says for an element who reads it, which field of the container the value is, and which rank
the element has in the schema's order. A few elements say several things, or one thing in several elements
(`status`, CIPID, OMA's willingness): they have a handler of their own. What a table does not know is tried
once more as what it would be in the right namespace (drafts and vendors have their own, and some peers
declare none); if that fails it is kept whole as an extension.

Drafts had a `status` inside person and device: what is known in it is read as if it stood outside.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import extension
from sipbridge.presence.markup import Element, local, pairs_of, split
from sipbridge.presence.model import Attributes, Extension
from sipbridge.presence.namespaces import (
    CAPS,
    CAPS_DRAFTS,
    CIPID,
    DATA_MODEL,
    PERSON_DRAFT,
    PIDF,
    RPID,
    RPID_DRAFTS,
)

STRAYED = frozenset({PIDF, RPID, DATA_MODEL, CIPID, PERSON_DRAFT, *RPID_DRAFTS, *CAPS_DRAFTS})
"""Namespaces in which elements of RFC 4480, 4479, 4482 are met although they do not belong there."""
DISORDERED = 9
"""Above every rank: one element out of order is told of, not each that follows."""

Reader: TypeAlias = Callable[[Element, Notebook], object]


class Row(NamedTuple):
    """An element of a container. `many`: it may stand more than once, and its field is a tuple."""

    rank: int
    field: str
    many: bool
    read: Reader


Plain: TypeAlias = tuple[int, str, bool, Reader]
"""A row without its names: a plain tuple is taken apart three times as fast."""


class Draft(Struct):
    """What one container has said so far.

    fields: values by the name of the field; of a field that holds many, a tuple with the first. more: the
    others of those. leftovers: elements that repeat what may stand once.
    """

    fields: dict[str, object] = field(default_factory=dict)
    more: dict[str, list[object]] | None = None
    extensions: list[Extension] | None = None
    leftovers: list[Extension] | None = None
    seen_status: bool = False

    def add(self, name: str, value: object) -> None:
        """One more of a field that holds many."""
        if name not in self.fields:
            self.fields[name] = (value,)
            return
        if self.more is None:
            self.more = {}
        self.more.setdefault(name, []).append(value)

    def extend(self, element: Element) -> None:
        """Keep an element nobody knows."""
        if self.extensions is None:
            self.extensions = []
        self.extensions.append(extension(element))

    def leave(self, element: Element) -> None:
        """Keep a known element that has no field any more; it goes after all others."""
        if self.leftovers is None:
            self.leftovers = []
        self.leftovers.append(extension(element))

    def again(self, element: Element, notes: Notebook) -> None:
        """An element that may stand once stands again: the first counts."""
        notes.note("repeated-element", element)
        self.leave(element)

    def said(self) -> dict[str, object]:
        """The fields whole, ready to make the container of them."""
        if self.more is not None:
            for name, values in self.more.items():
                self.fields[name] = (*self.fields[name], *values)  # type: ignore[misc]  # is a tuple
        if self.extensions is not None or self.leftovers is not None:
            self.fields["extensions"] = (*(self.extensions or ()), *(self.leftovers or ()))
        return self.fields


Handler: TypeAlias = Callable[[Element, Draft, Notebook], None]
"""Reads an element that is more than one value, straight into the draft."""


class Table:
    """What a container may hold, by Clark name.

    special: rank and handler of elements that are no single value. extension_rank: where the schema has
    elements it does not know. other: reads what is neither in rows nor special, and gives its rank.
    """

    __slots__ = ("extension_rank", "other", "rows", "special")

    def __init__(
        self,
        rows: Mapping[str, Row],
        special: Mapping[str, tuple[int, Handler]],
        extension_rank: int = 0,
        other: "OtherReader | None" = None,
    ) -> None:
        self.rows: dict[object, Plain] = {
            name: (row.rank, row.field, row.many, row.read) for name, row in rows.items()
        }
        self.special = dict[object, tuple[int, Handler]](special.items())
        self.extension_rank = extension_rank
        self.other = other or read_other

    def __contains__(self, name: object) -> bool:
        return name in self.rows or name in self.special

    def put(self, name: str, element: Element, draft: Draft, notes: Notebook) -> int:
        """Read the element as the one with this name, which the table knows. Gives its rank."""
        row = self.rows.get(name)
        if row is None:
            rank, handle = self.special[name]
            handle(element, draft, notes)
            return rank
        rank, home, many, read = row
        if many:
            draft.add(home, read(element, notes))
        elif home in draft.fields:
            draft.again(element, notes)
        else:
            draft.fields[home] = read(element, notes)
        return rank


OtherReader: TypeAlias = Callable[[Element, str, Table, Draft, Notebook], int]


def read_children(element: Element, table: Table, draft: Draft, notes: Notebook) -> None:
    """Read every child by the table; note one deviation if the schema's order is broken."""
    rows, fields, last = table.rows, draft.fields, 0
    for child in element:
        row = rows.get(child.tag)
        if row is None:
            rank = table.other(child, str(child.tag), table, draft, notes)
        else:
            rank, home, many, read = row
            if home in fields:
                table.put(str(child.tag), child, draft, notes)
            elif many:
                fields[home] = (read(child, notes),)
            else:
                fields[home] = read(child, notes)
        if last < rank:
            last = rank
        elif rank < last < DISORDERED:
            notes.note("element-order", child)
            last = DISORDERED


def read_other(element: Element, tag: str, table: Table, draft: Draft, notes: Notebook) -> int:
    """An element without a row: special, strayed from its namespace, a draft's status, or an extension."""
    if tag in table.special:
        return table.put(tag, element, draft, notes)
    home = strayed(element, tag, table, notes)
    if home is not None:
        return table.put(home, element, draft, notes)
    if local(tag) == "status" and split(tag)[0] in STRAYED:
        read_draft_status(element, table, draft, notes)
        return table.extension_rank
    check_must_understand(element, notes)
    if split(tag)[0] in (RPID, DATA_MODEL, PIDF):
        notes.note("unknown-element", element)
    draft.extend(element)
    return table.extension_rank


def strayed(element: Element, tag: str, table: Table, notes: Notebook) -> str | None:
    """The name of the same element in its right namespace, if this one may stand for it."""
    namespace, name = split(tag)
    if namespace not in STRAYED:
        return None
    for home in (RPID, DATA_MODEL, CIPID, CAPS, PIDF):
        right = f"{{{home}}}{name}"
        if home != namespace and right in table:
            drafted = namespace in RPID_DRAFTS or namespace in (PERSON_DRAFT, *CAPS_DRAFTS)
            notes.note("draft-namespace" if drafted else "wrong-namespace", element)
            return right
    return None


def read_draft_status(element: Element, table: Table, draft: Draft, notes: Notebook) -> None:
    """A `status` inside person or device: known children count, the rest is kept."""
    for child in list(element):
        tag = str(child.tag)
        known = tag if tag in table else strayed(child, tag, table, notes)
        if known is not None and local(tag) not in ("note", "timestamp"):
            notes.note("misplaced-element", child)
            table.put(known, child, draft, notes)
            element.remove(child)
    if len(element) or (element.text or "").strip():
        notes.note("unknown-element", element)
        draft.extend(element)


def check_must_understand(element: Element, notes: Notebook) -> None:
    """RFC 3863 §4.3: who marks an extension so wants it understood; we take the document and say so."""
    for inner in element.iter():
        if inner.get(f"{{{PIDF}}}mustUnderstand", "").strip() in ("1", "true"):
            notes.note("must-understand", inner)


def read_id(element: Element, notes: Notebook) -> tuple[str | None, Attributes]:
    """The id of a container, and the attributes nobody knows."""
    if element.keys() == ["id"]:
        return notes.id(element.get("id"), element), ()
    name = None
    others: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "id":
            name = value
        else:
            others.append((key, value))
    return notes.id(name, element, required=True), tuple(others)
