"""What has to be done to one document so that it says what another says: patch operations (RFC 5261).

Made for two prints of our own serialiser, where elements hold either text or elements. Children are aligned:
those that say the same stay, those of one name and id are looked into, what is left over is replaced, removed
or added. The difference is carried out on the older tree as it is written down, from the last child to the
first, so each selector is true at its turn and positions count only what stands before. What cannot be said
shortly (mixed content, names without a prefix here, very many children) is said by replacing the element that
holds it, or, when that is the root, not at all: then the whole document is the better message. So it is where
there are so many operations that carrying them out would be refused as too much work.
"""

from copy import deepcopy
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TypeVar

from lxml import etree

from sipbridge.presence.markup import Element, pairs_of, split
from sipbridge.presence.namespaces import PIDF, PIDF_DIFF, PREFIXES, XML
from sipbridge.presence.selecting import MAX_LENGTH, MAX_STEPS, MAX_WORK

MAX_CHILDREN = 500
"""Children of one element; aligning more costs more than sending them."""

MAX_ALIGNED = 2500
"""Pairs of children looked at to align what lies between those that stayed at both ends. Aligning takes the
third power of their number when somebody means ill: 10 ms for fifty and fifty."""

MAX_DEPTH = MAX_STEPS - 2
"""Elements in elements that are looked into, so that what is in them can be named; a presence document has
eight."""

MAX_NAME = 64
"""Characters of a name or an id in a selector."""

MAX_PATH = MAX_LENGTH - 3 * MAX_NAME
"""Characters of the selector of an element that is looked into: there is room for one more step."""

EACH = 3
"""Work (`selecting.MAX_WORK`) of an operation for each child of the widest element, about: who carries out a
difference looks at all of them for each operation. Whole documents follow sooner than that is refused."""

NAMES: dict[str | None, str] = {
    None: PIDF,
    "p": PIDF_DIFF,
    **{prefix: uri for uri, prefix in PREFIXES.items() if prefix},
}
"""Prefixes of the operations and in their selectors: our own."""
PREFIX_OF = {uri: prefix for prefix, uri in NAMES.items()}


def difference(old: Element, new: Element) -> Element | None:
    """A `pidf-diff` element whose operations make `new` of `old`; None if there is no short one.

    `old` is used up: afterwards it says what `new` says. Neither tree may have comments.
    """
    differ = Differ()
    if not differ.compare(old, new, "*") or len(differ.out) * differ.widest * EACH > MAX_WORK:
        return None
    return differ.out if same(old, new) else None


def same(old: Element, new: Element) -> bool:
    """Do two elements say the same, whatever their prefixes?"""
    if old.tag != new.tag or (old.text or "") != (new.text or "") or len(old) != len(new):
        return False
    if (len(old.attrib) or len(new.attrib)) and sorted(pairs_of(old)) != sorted(pairs_of(new)):
        return False
    return all(
        (a.tail or "") == (b.tail or "") and same(a, b) for a, b in zip(old, new, strict=True)
    )


class Differ:
    """One comparison. `out` collects the operations."""

    def __init__(self) -> None:
        self.out = etree.Element(
            f"{{{PIDF_DIFF}}}pidf-diff",
            nsmap=NAMES,  # type: ignore[arg-type]  # None is the default namespace's prefix
        )
        self.widest = 0
        """The most children of an element that was looked into."""

    # --- writing operations ---

    def operation(self, word: str, selector: str) -> Element:
        return etree.SubElement(self.out, f"{{{PIDF_DIFF}}}{word}", sel=selector)

    def name(self, tag: str, *, attribute: bool = False) -> str | None:
        """A Clark name as selectors write it; None if there is no prefix for it."""
        namespace, plain = split(tag)
        if attribute and not namespace:
            return plain if len(plain) <= MAX_NAME else None
        if namespace == XML:
            return f"xml:{plain}"
        prefix = PREFIX_OF.get(namespace, "")
        if prefix == "" or len(plain) > MAX_NAME or (prefix is None and attribute):
            return None
        return f"{prefix}:{plain}" if prefix else plain

    def step(self, parent: Element, child: Element) -> str:
        """The last step of the selector of a child, as the parent is now."""
        name = self.name(str(child.tag))
        if name is None:
            return f"*[{parent.index(child) + 1}]"
        alike = list(parent.iterchildren(tag=child.tag))
        if len(alike) == 1:
            return name
        id = child.get("id")
        short = id is not None and "'" not in id and len(id) <= MAX_NAME
        if short and sum(1 for a in alike if a.get("id") == id) == 1:
            return f"{name}[@id='{id}']"
        return f"{name}[{alike.index(child) + 1}]"

    # --- comparing ---

    def compare(self, old: Element, new: Element, path: str) -> bool:
        """Make one of the other; they have the same name. False if that cannot be said."""
        if mixed(old) or mixed(new) or path.count("/") > MAX_DEPTH or len(path) > MAX_PATH:
            return same(old, new)
        return (
            self.compare_attributes(old, new, path)
            and self.compare_text(old, new, path)
            and self.compare_children(old, new, path)
        )

    def compare_attributes(self, old: Element, new: Element, path: str) -> bool:
        before, after = dict(pairs_of(old)), dict(pairs_of(new))
        for key in [k for k in (before | after) if before.get(k) != after.get(k)]:
            name = self.name(key, attribute=True)
            if name is None:
                return False
            if key not in after:
                self.operation("remove", f"{path}/@{name}")
                del old.attrib[key]
                continue
            if key in before:
                operation = self.operation("replace", f"{path}/@{name}")
            else:
                operation = self.operation("add", path)
                operation.set("type", f"@{name}")
            operation.text = after[key]
            old.set(key, after[key])
        return True

    def compare_text(self, old: Element, new: Element, path: str) -> bool:
        before, after = old.text or "", new.text or ""
        if before == after:
            return True
        if before and after:
            self.operation("replace", f"{path}/text()").text = after
        elif before:
            self.operation("remove", f"{path}/text()")
        else:
            self.operation("add", path).text = after
        old.text = after or None
        return True

    def compare_children(self, old: Element, new: Element, path: str) -> bool:
        before, after = list(old), list(new)
        self.widest = max(self.widest, len(before), len(after))
        if max(len(before), len(after)) > MAX_CHILDREN:
            return False
        added: list[Element] = []
        behind: Element | None = None
        for one, other in reversed(aligned(before, after)):
            if one is None and other is not None:
                added.insert(0, other)
                continue
            behind = self.add(old, added, behind, path)
            added = []
            if other is None and one is not None:
                self.operation("remove", f"{path}/{self.step(old, one)}")
                old.remove(one)
            elif one is not None and other is not None:
                behind = self.make_of(old, one, other, path)
        self.add(old, added, behind, path)
        return True

    def add(
        self, parent: Element, added: list[Element], behind: Element | None, path: str
    ) -> Element | None:
        """Add children before `behind` (None: at the end); returns the first of them, else `behind`."""
        if not added:
            return behind
        if behind is None:
            operation = self.operation("add", path)
            place = len(parent)
        else:
            operation = self.operation("add", f"{path}/{self.step(parent, behind)}")
            operation.set("pos", "before")
            place = parent.index(behind)
        operation.extend([deepcopy(one) for one in added])
        for number, one in enumerate(added):
            parent.insert(place + number, deepcopy(one))
        return parent[place]

    def make_of(self, parent: Element, one: Element, other: Element, path: str) -> Element:
        """Make one child say what another says; returns the child as it is then."""
        if content(one) == content(other):
            return one
        selector, written = f"{path}/{self.step(parent, one)}", len(self.out)
        said = key(one) == key(other) and self.compare(one, other, selector)
        if said and not self.is_longer(written, selector, other):
            return one
        del self.out[written:]
        self.operation("replace", selector).append(deepcopy(other))
        fresh = deepcopy(other)
        parent.replace(one, fresh)
        return fresh

    def is_longer(self, written: int, selector: str, other: Element) -> bool:
        """Are the last operations longer than one that replaces the element they are about?"""
        last = list(self.out)[written:]
        several = sum(OPERATION + len(str(o.get("sel"))) + length(o) for o in last)
        return len(last) > 1 and several > OPERATION + len(selector) + length(other)


OPERATION = 34
"""Characters of an operation beside its selector and content: `<p:replace sel=""></p:replace>` and more."""


def length(element: Element) -> int:
    """About how many characters there are in an element."""
    return sum(
        2 * len(str(e.tag).rpartition("}")[2])
        + 15
        + len(e.text or "")
        + sum(20 + len(value) for value in map(str, e.values()))
        for e in element.iter()
    )


Pairs = list[tuple[Element | None, Element | None]]


def aligned(before: list[Element], after: list[Element]) -> Pairs:
    """Which child becomes which, in order; None on one side: it is new, or goes."""
    pairs: Pairs = []
    for equal, i, j, k, m in blocks([content(c) for c in before], [content(c) for c in after]):
        if equal:
            pairs += zip(before[i:j], after[k:m], strict=True)
        else:
            pairs += aligned_by_key(before[i:j], after[k:m])
    return pairs


def aligned_by_key(before: list[Element], after: list[Element]) -> Pairs:
    """The same for children none of which says what another says."""
    pairs: Pairs = []
    for _, i, j, k, m in blocks([key(c) for c in before], [key(c) for c in after]):
        pairs += zip_longest(before[i:j], after[k:m])
    return pairs


T = TypeVar("T", bytes, tuple[str, str])


def blocks(before: list[T], after: list[T]) -> list[tuple[bool, int, int, int, int]]:
    """Runs that are equal or not, as bounds in both lists."""
    head = alike(before, after)
    tail = alike(before[head:][::-1], after[head:][::-1])
    end, other_end = len(before) - tail, len(after) - tail
    found = [(True, 0, head, 0, head)] if head else []
    if (end - head) * (other_end - head) > MAX_ALIGNED:
        found.append((False, head, end, head, other_end))
    else:
        matcher: SequenceMatcher[T] = SequenceMatcher(
            None, before[head:end], after[head:other_end], autojunk=False
        )
        for word, i, j, k, m in matcher.get_opcodes():
            found.append((word == "equal", head + i, head + j, head + k, head + m))
    if tail:
        found.append((True, end, len(before), other_end, len(after)))
    return found


def alike(before: list[T], after: list[T]) -> int:
    """How many at the beginning are equal."""
    for place, (one, other) in enumerate(zip(before, after, strict=False)):
        if one != other:
            return place
    return min(len(before), len(after))


def content(element: Element) -> bytes:
    """What an element says, as bytes to compare."""
    written: bytes = etree.tostring(element, method="c14n", exclusive=True, with_tail=False)
    return written


def key(element: Element) -> tuple[str, str]:
    """What makes an element the same one in another version."""
    return str(element.tag), str(element.get("id", ""))


def mixed(element: Element) -> bool:
    """Has it elements and text beside each other?"""
    return len(element) > 0 and (bool(element.text) or any(child.tail for child in element))
