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

from collections.abc import Iterable
from functools import lru_cache

from lxml import etree

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, pidf
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.filter_paths import CHECKED, LETTERS, PASSED, TooMuchWork, Work
from sipbridge.presence.fragments import fragment
from sipbridge.presence.markup import Element, split
from sipbridge.presence.namespaces import DATA_MODEL, PIDF
from sipbridge.presence.simple_filter import (
    Change,
    Content,
    Filter,
    Filters,
)

MANDATORY = {
    f"{{{PIDF}}}tuple": f"{{{PIDF}}}status",
    f"{{{DATA_MODEL}}}device": f"{{{DATA_MODEL}}}deviceID",
}
"""Children that the schemas ask for."""
MANDATORY_ATTRIBUTES = frozenset({"id", "entity"})

MAX_WORK = 400_000
"""For one document, in quarters of a microsecond: 0.1 s. Our longest document of 400 rich tuples has room for
forty expressions without conditions."""
EACH = 12
"""Work of one element beside all expressions: read from the print, made a document of, printed again."""
WRITTEN = 8
"""Work of an element that is written to be compared."""

CACHED = 64
"""Documents times filters; watchers with the same view and filter are told one after the other."""


@lru_cache(maxsize=CACHED)
def narrowed(body: bytes, filters: Filters, limit: int = MAX_WORK) -> bytes:
    """A presence document of our own print, as far as one of the filters tells it. limit: of the work."""
    active = [each for each in filters if each.enabled]
    root = tree(body) if active else None
    if root is None:
        return body
    try:
        work = Work(root, limit)
        work.spend(work.size * EACH)
        narrowings = [Narrowing(root, each, work) for each in active]
    except TooMuchWork:
        return body
    kept = set[Element]().union(*(each.kept for each in narrowings))
    dropped = set.intersection(*(each.dropped for each in narrowings))
    for element, name in dropped:
        del element.attrib[name]
    for element in narrowings[0].everything:
        parent = element.getparent()
        if element not in kept and parent is not None and parent in kept:
            parent.remove(element)
    return pidf.serialise(pidf.from_root(root, Notebook()))


def tree(body: bytes) -> Element | None:
    """What we printed, read again; None if it is beyond the limits of what is read."""
    try:
        return markup.parse(body)
    except DocumentError:
        return None


class Narrowing:
    """What one filter keeps of a document, as sets; nothing is removed yet. Raises TooMuchWork."""

    def __init__(self, root: Element, one: Filter, work: Work) -> None:
        self.root = root
        self.work = work
        work.spend(work.size * 2)
        self.everything = list(root.iter(etree.Element))
        self.kept: set[Element] = {root}
        """With an element all that it stands in."""
        self.dropped: set[tuple[Element, str]] = set()
        """Attributes by element and name."""
        if one.include:
            self.include(one.include)
        else:
            self.kept.update(self.everything)
        for content in one.exclude:
            self.exclude(content)
        for element in reversed(self.everything):
            parent = element.getparent()
            if parent is not None and element in self.kept:
                self.kept.add(parent)
        self.keep_mandatory()

    def chosen(self, content: Content) -> list[Element]:
        """The elements it names, none before one that it stands in."""
        if content.path is not None:
            return content.path.elements(self.root, self.work)
        self.work.spend(self.work.size * 2)
        return [e for e in self.everything if split(str(e.tag))[0] == content.namespace]

    def inside(self, element: Element) -> list[Element]:
        """The element and all that is in it."""
        found = list(element.iter(etree.Element))
        self.work.spend(len(found))
        return found

    def include(self, contents: Iterable[Content]) -> None:
        whole: set[Element] = set()
        for content in contents:
            for element in self.chosen(content):
                if content.path is not None and content.path.attribute:
                    self.kept.add(element)
                elif element not in whole:
                    whole.update(self.inside(element))
        self.kept |= whole

    def exclude(self, content: Content) -> None:
        attribute = content.path.attribute if content.path is not None else ""
        gone: set[Element] = set()
        for element in self.chosen(content):
            if attribute:
                if attribute not in MANDATORY_ATTRIBUTES:
                    self.dropped.add((element, attribute))
            elif element is not self.root and element not in gone:
                gone.update(self.inside(element))
        self.kept -= gone

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
    untriggered = [each for each in active if not each.triggers]
    if any(tells(before, after, each, MAX_WORK // len(untriggered)) for each in untriggered):
        return True
    old, new = tree(before), tree(after)
    if old is None or new is None:
        return True
    try:
        step = Comparison(old, new)
        return any(all(map(step.happened, trigger)) for each in active for trigger in each.triggers)
    except TooMuchWork:
        return True


def tells(before: bytes, after: bytes, one: Filter, limit: int) -> bool:
    """Is there a difference in what this filter tells? Told whole, there is."""
    return narrowed(before, (one,), limit) != narrowed(after, (one,), limit)


class Comparison:
    """Two documents, as changes look at them. Raises TooMuchWork, all over."""

    def __init__(self, old: Element, new: Element) -> None:
        self.sides = [(root, Work(root, MAX_WORK)) for root in (old, new)]
        self.places: dict[tuple[int, str, str], int] = {}
        """Numbers of elements, the same for the same element in both documents: by the number of what it
        stands in, its name, and its id or place."""
        self.known: dict[Element, int] = {}

    def happened(self, change: Change) -> bool:
        before, after = (self.values(change, root, work) for root, work in self.sides)
        if change.word == "added":
            return not after.keys() <= before.keys()
        if change.word == "removed":
            return not before.keys() <= after.keys()
        return any(
            before[key] != after[key] and fits(change, before[key], after[key])
            for key in before.keys() & after.keys()
        )

    def values(self, change: Change, root: Element, work: Work) -> dict[int, str]:
        """What the path of a change names, by where it stands; empty texts where only that counts."""
        found = {}
        attribute, counts = change.path.attribute, change.word == "changed"
        for element in change.path.elements(root, work):
            work.spend(CHECKED)
            said = ""
            if counts:
                said = str(element.get(attribute)) if attribute else value(element, work)
            found[self.place(element, work)] = said
        return found

    def place(self, element: Element, work: Work) -> int:
        """The number of an element. Where its place counts, those beside it get theirs too."""
        if element not in self.known:
            parent = element.getparent()
            above = -1 if parent is None else self.place(parent, work)
            tag, id = str(element.tag), element.get("id")
            if id is not None or parent is None:
                self.put(element, (above, tag, f"id {id}"))
                return self.known[element]
            beside = list(parent.iterchildren(tag=element.tag))
            work.spend(len(parent) // PASSED + len(beside) * CHECKED)
            for before, each in enumerate(beside):
                if each.get("id") is None:
                    self.put(each, (above, tag, str(before)))
        return self.known[element]

    def put(self, element: Element, what: tuple[int, str, str]) -> None:
        self.known[element] = self.places.setdefault(what, len(self.places))


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


def value(element: Element, work: Work) -> str:
    """The text of an element, or all that is in it."""
    if len(element):
        work.spend(sum(1 for _ in element.iter()) * WRITTEN)
        text = fragment(element)
        work.spend(len(text) // 2)  # many attributes, perhaps
    else:
        text = (element.text or "").strip()
        work.spend(len(text) // LETTERS)
    return text
