"""Filters at work (RFC 4661 §4, RFC 4660 §6): what of a document is told, and which changes are worth it.

Filters are applied to what a watcher may see anyway, and can only take away. What is included is told with
all that is in it and with the elements round it; what the schema asks for stays whether a filter names it or
not (§4.1: the document has to be valid): the status of a tuple, the deviceID of a device, every attribute of
an element that stays but those that are excluded by name. Several filters tell what any of them tells.

Changes are found by comparing two documents: elements are the same in both if all their ancestors and they
themselves have the same name and id, or place. A filter without triggers cares for every change in what it
tells.

A filter is the watcher's own wish, and no rule of the presentity's. So where a document is longer than what
we read (printing makes texts longer, composing adds documents up), or where looking would take too much work,
it is told whole, which a watcher has to be ready for anyway (RFC 4660 §6.1), and each change is worth it.
"""

from collections.abc import Iterator
from functools import lru_cache

from lxml import etree

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, pidf
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, split
from sipbridge.presence.namespaces import DATA_MODEL, PIDF
from sipbridge.presence.simple_filter import (
    Change,
    Content,
    Filter,
    Filters,
    expressions,
)

MANDATORY = {
    f"{{{PIDF}}}tuple": f"{{{PIDF}}}status",
    f"{{{DATA_MODEL}}}device": f"{{{DATA_MODEL}}}deviceID",
}
"""Children that the schemas ask for."""
MANDATORY_ATTRIBUTES = frozenset({"id", "entity"})

MAX_WORK = 100_000
"""Elements times expressions for one document, 0.1 s: our longest document of 400 rich tuples has room for 14
expressions."""

CACHED = 64
"""Documents times filters; watchers with the same view and filter are told one after the other."""


@lru_cache(maxsize=CACHED)
def narrowed(body: bytes, filters: Filters) -> bytes:
    """A presence document of our own print, as far as one of the filters tells it."""
    active = [each for each in filters if each.enabled]
    if not active:
        return body
    root = tree(body)
    if root is None or sum(1 for _ in root.iter()) * sum(map(expressions, active)) > MAX_WORK:
        return body
    narrowings = [Narrowing(root, each) for each in active]
    kept = set[Element]().union(*(each.kept for each in narrowings))
    dropped = set.intersection(*(each.dropped for each in narrowings))
    for element in list(root.iter(etree.Element)):
        if element in kept:
            for name in [n for e, n in dropped if e is element]:
                del element.attrib[name]
        elif (parent := element.getparent()) is not None:
            parent.remove(element)
    return pidf.serialise(pidf.from_root(root, Notebook()))


def tree(body: bytes) -> Element | None:
    """What we printed, read again; None if it is beyond the limits of what is read."""
    try:
        return markup.parse(body)
    except DocumentError:
        return None


class Narrowing:
    """What one filter keeps of a document, as sets; nothing is removed yet."""

    def __init__(self, root: Element, one: Filter) -> None:
        self.root = root
        self.everything = list(root.iter(etree.Element))
        self.kept: set[Element] = {root}
        self.dropped: set[tuple[Element, str]] = set()
        """Attributes by element and name."""
        if one.include:
            for content in one.include:
                self.include(content)
        else:
            self.kept.update(self.everything)
        for content in one.exclude:
            self.exclude(content)
        for element in list(self.kept):
            self.kept.update(element.iterancestors())
        self.keep_mandatory()

    def chosen(self, content: Content) -> list[Element]:
        if content.path is not None:
            return content.path.elements(self.root)
        return [e for e in self.everything if split(str(e.tag))[0] == content.namespace]

    def include(self, content: Content) -> None:
        for element in self.chosen(content):
            if content.path is None or not content.path.attribute:
                self.kept.update(element.iter(etree.Element))
            self.kept.add(element)

    def exclude(self, content: Content) -> None:
        attribute = content.path.attribute if content.path is not None else ""
        for element in self.chosen(content):
            if attribute:
                if attribute not in MANDATORY_ATTRIBUTES:
                    self.dropped.add((element, attribute))
            elif element is not self.root:
                self.kept.difference_update(element.iter(etree.Element))

    def keep_mandatory(self) -> None:
        for element in self.everything:
            wanted = MANDATORY.get(str(element.tag))
            if wanted is not None and element in self.kept:
                self.kept.update(element.iterchildren(tag=wanted))


# ---- triggers --------------------------------------------------------------------------------------------


@lru_cache(maxsize=CACHED)
def triggered(before: bytes, after: bytes, filters: Filters) -> bool:
    """Is the step from one document to the next worth a notification for one of the filters?"""
    active = [each for each in filters if each.enabled]
    if before == after or not active:
        return before != after
    if any(not each.triggers and tells(before, after, each) for each in active):
        return True
    old, new = tree(before), tree(after)
    if old is None or new is None:
        return True
    work = sum(1 for root in (old, new) for _ in root.iter()) * sum(map(expressions, active))
    return work > MAX_WORK or any(
        all(happened(change, old, new) for change in trigger)
        for each in active
        for trigger in each.triggers
    )


def tells(before: bytes, after: bytes, one: Filter) -> bool:
    """Is there a difference in what this filter tells?"""
    return narrowed(before, (one,)) != narrowed(after, (one,))


def happened(change: Change, old: Element, new: Element) -> bool:
    before, after = (values(change, root) for root in (old, new))
    if change.word == "added":
        return not after.keys() <= before.keys()
    if change.word == "removed":
        return not before.keys() <= after.keys()
    return any(
        before[key] != after[key] and fits(change, before[key], after[key])
        for key in before.keys() & after.keys()
    )


def fits(change: Change, before: str, after: str) -> bool:
    """Is it the change that was meant?"""
    if change.before is not None and before.casefold() != change.before:
        return False
    if change.after is not None and after.casefold() != change.after:
        return False
    if change.by is None:
        return True
    try:
        return abs(float(after) - float(before)) >= change.by
    except ValueError:
        return False


def values(change: Change, root: Element) -> dict[tuple[str, ...], str]:
    """What the path of a change names, by where it stands."""
    path = change.path
    found = {}
    for element in path.elements(root):
        place = tuple(identity(element))
        found[place] = str(element.get(path.attribute)) if path.attribute else value(element)
    return found


def value(element: Element) -> str:
    """The text of an element, or all that is in it."""
    if not len(element):
        return (element.text or "").strip()
    written: bytes = etree.tostring(element, method="c14n", exclusive=True, with_tail=False)
    return written.decode()


def identity(element: Element) -> Iterator[str]:
    """What makes it the same element in another document, from inside out."""
    at: Element | None = element
    while at is not None:
        id = at.get("id")
        before = sum(1 for _ in at.itersiblings(str(at.tag), preceding=True)) if id is None else 0
        yield f"{at.tag} {before if id is None else id}"
        at = at.getparent()
