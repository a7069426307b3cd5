"""XML patch operations (RFC 5261): add, replace, remove, each at the one node that its selector names.

Everything is strict: what does not fit is a PatchError that carries the word of §5.1, and the document may
then be half changed, so whoever applies several operations works on a copy. Texts beside each other become
one (§4.3 to §4.5). A declaration of a namespace that is replaced changes the names that use its prefix, as
it would in the text.
"""

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import TypeGuard

from lxml import etree

from sipbridge.errors import PatchError
from sipbridge.presence.markup import Element, attribute, local, pairs_of, split, text_of
from sipbridge.presence.namespaces import PATCH_OPS_ERROR, XML
from sipbridge.presence.selecting import (
    CHILDREN,
    LETTERS,
    NAME,
    AttributeNode,
    Fault,
    NamespaceNode,
    Node,
    Selecting,
    TextNode,
    attributes_in,
    clark,
    fail,
    text_at,
    texts,
)


def patch(
    root: Element, operations: Iterable[Element], *, also_root: frozenset[str] = frozenset()
) -> Element:
    """Apply operations to the document under `root`; returns its root element, mostly the same.

    operations: elements called add, replace or remove, whatever their namespace; they are not changed.
    also_root: Clark names by which a selector may call the root besides its own. Raises PatchError.
    """
    patching = Patching(root, also_root)
    for operation in operations:
        patching.apply(operation)
    return patching.root


URI = re.compile(r"""[A-Za-z][A-Za-z0-9+.\-]*:[^\s{}<>"'\\^`|]+""")
XMLNS = "http://www.w3.org/2000/xmlns/"

MAX_DECLARED = 64
"""Declarations of namespaces on one element that is given another; documents have up to 20 in all."""
MOVED = 8
"""Work of an element that is moved into another, and of a declaration on the way."""
PAIRS = 64
"""Of attributes written anew, or of declarations that are moved: each is compared with all others."""

COMPLAINT = "application/patch-ops-error+xml"
"""The media type of §5."""


def complaint(error: PatchError) -> bytes:
    """The error as a document (§5)."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<patch-ops-error xmlns="{PATCH_OPS_ERROR}">'
        f"<{error.fault}{attribute('phrase', error.reason)}/></patch-ops-error>\n"
    ).encode()


class Patching(Selecting):
    """One document on its way from one version to the next."""

    def apply(self, operation: Element) -> None:
        word = local(str(operation.tag))
        target = self.select(operation)
        self.attributes += 1 if not len(operation) else attributes_in(operation)
        if word == "add":
            self.add(operation, target)
        elif word == "replace":
            self.replace(operation, target)
        elif word == "remove":
            self.remove(operation, target)
        else:
            fail(Fault.DIRECTIVE, word)

    # --- operations (§4.3 to §4.5) ---

    def add(self, operation: Element, target: Node) -> None:
        kind, pos = operation.get("type"), operation.get("pos")
        if kind is not None:
            if pos is not None or not has_content(target):
                fail(Fault.DIRECTIVE, f"type {kind}")
            self.add_named(operation, target, str(kind))
            return
        if isinstance(target, AttributeNode | NamespaceNode):
            fail(Fault.NODE_TYPES, "nothing can be added to an attribute")
        if pos in (None, "prepend"):
            if not has_content(target):
                fail(Fault.NODE_TYPES, "only an element has content")
            self.insert(target, 0 if pos else len(target), operation, at_end=pos is None)
        elif pos not in ("before", "after"):
            fail(Fault.DIRECTIVE, f"pos {pos}")
        elif isinstance(target, TextNode):
            self.insert(target.parent, target.slot, operation, at_end=pos == "after")
        else:
            parent = target.getparent()
            if parent is None:
                fail(Fault.ROOT, f"{pos} the root")
            place = parent.index(target)
            self.spend(place // CHILDREN)
            self.insert(parent, place + (pos == "after"), operation, at_end=pos == "before")

    def insert(self, parent: Element, slot: int, operation: Element, *, at_end: bool) -> None:
        """Put the content of an operation into a slot, behind the slot's text (`at_end`) or before it."""
        there = text_at(parent, slot)
        self.spend(len(there) // LETTERS + slot // CHILDREN * 4)
        left, right = (there, "") if at_end else ("", there)
        set_text(parent, slot, left + (operation.text or ""))
        parent[slot:slot] = [deepcopy(child) for child in operation]
        if right:
            place = slot + len(operation)
            set_text(parent, place, text_at(parent, place) + right)

    def add_named(self, operation: Element, target: Element, kind: str) -> None:
        """An attribute or the declaration of a namespace (§4.3.2, §4.3.3)."""
        value = only_text(operation)
        if kind.startswith("@") and re.fullmatch(NAME, kind[1:]):
            name = clark(kind[1:], self.namespaces(operation), attribute=True)
            self.spend_looking()
            if name in target.attrib or name == "xmlns":
                fail(Fault.DIRECTIVE, f"{kind} is there, or cannot be")
            set_attribute(target, name, value)
        elif kind.startswith("namespace::"):
            prefix = kind.removeprefix("namespace::")
            declared = self.own_namespaces(target)
            if prefix in declared or prefix in ("xml", "xmlns"):
                fail(Fault.NAMESPACE_PREFIX, kind)
            self.declare(target, {**declared, prefix: namespace_uri(value)})
        else:
            fail(Fault.DIRECTIVE, f"type {kind}")

    def replace(self, operation: Element, target: Node) -> None:
        if isinstance(target, AttributeNode):
            self.spend_looking()
            set_attribute(target.owner, target.name, only_text(operation))
        elif isinstance(target, TextNode):
            set_text(target.parent, target.slot, only_text(operation))
        elif isinstance(target, NamespaceNode):
            self.rename(target, only_text(operation))
        else:
            self.replace_element(operation, target)

    def replace_element(self, operation: Element, target: Element) -> None:
        """An element, comment or processing instruction by one of its kind."""
        children = list(operation)
        if len(children) != 1 or any(text.strip() for text in texts(operation)):
            fail(Fault.NODE_TYPES, "not one element for another")
        if type(children[0]) is not type(target):
            fail(Fault.NODE_TYPES, "of another kind")
        fresh = deepcopy(children[0])
        parent = target.getparent()
        if parent is None:
            fresh.tail = None
            self.root = fresh
            return
        fresh.tail = target.tail
        target.tail = None
        parent.replace(target, fresh)

    def remove(self, operation: Element, target: Node) -> None:
        ws = operation.get("ws")
        if only_text(operation).strip():
            fail(Fault.DIRECTIVE, "remove has no content")
        if isinstance(target, Element):
            self.remove_element(target, None if ws is None else str(ws))
            return
        if ws is not None:
            fail(Fault.WHITESPACE, "ws is for elements")
        if isinstance(target, AttributeNode):
            del target.owner.attrib[target.name]
        elif isinstance(target, TextNode):
            set_text(target.parent, target.slot, "")
        elif isinstance(target, NamespaceNode):
            self.undeclare(target)

    def remove_element(self, target: Element, ws: str | None) -> None:
        parent = target.getparent()
        if parent is None:
            fail(Fault.ROOT, "the root cannot be removed")
        if ws not in (None, "before", "after", "both"):
            fail(Fault.DIRECTIVE, f"ws {ws}")
        place = parent.index(target)
        self.spend(place // CHILDREN)
        before, after = text_at(parent, place), text_at(parent, place + 1)
        self.spend((len(before) + len(after)) // LETTERS)
        if ws in ("before", "both"):
            before = without_space(before)
        if ws in ("after", "both"):
            after = without_space(after)
        target.tail = None
        parent.remove(target)
        set_text(parent, place, before + after)

    # --- declarations of namespaces ---

    def declare(self, element: Element, declared: dict[str | None, str]) -> None:
        """Give an element these declarations of its own. lxml has to make it anew for that."""
        if len(declared) > MAX_DECLARED:
            fail(Fault.DIFF_FORMAT, f"more than {MAX_DECLARED} declarations on one element")
        pairs = pairs_of(element)
        self.spend(len(pairs) ** 2 // PAIRS)
        self.spend_moving(element)
        try:
            fresh = etree.Element(
                element.tag,
                attrib=dict(pairs),
                nsmap=declared,  # type: ignore[arg-type]  # None is the default namespace's prefix
            )
        except ValueError:  # a prefix that lxml does not take
            fail(Fault.NAMESPACE_PREFIX, " ".join(map(str, declared)))
        fresh.text, fresh.tail = element.text, element.tail
        fresh.extend(list(element))
        parent = element.getparent()
        if parent is None:
            self.root = fresh
        else:
            element.tail = None
            parent.replace(element, fresh)

    def spend_moving(self, element: Element) -> None:
        """lxml finds the namespaces of all that is moved anew, and whether declarations are needed yet."""
        nodes = declarations = 0
        for event, _ in etree.iterwalk(element, events=("start", "start-ns")):
            nodes += 1
            declarations += event == "start-ns"
        self.spend(nodes * MOVED + declarations**2 // PAIRS)

    def rename(self, node: NamespaceNode, uri: str) -> None:
        """Another namespace for a prefix: the names that use it follow, as they would in the text."""
        uri = namespace_uri(uri)
        declared = self.own_namespaces(node.owner)
        before = declared[node.prefix]
        for element in self.in_scope(node):
            if element.prefix == node.prefix and split(str(element.tag))[0] == before:
                element.tag = f"{{{uri}}}{local(str(element.tag))}"
            keys = list(map(str, element.keys()))
            names = [name for name in keys if split(name)[0] == before]
            self.spend(len(keys) + len(names) * (MOVED * 3 + len(keys)))
            for name in names:
                value = str(element.attrib.pop(name))
                element.set(f"{{{uri}}}{local(name)}", value)
        self.declare(node.owner, {**declared, node.prefix: uri})

    def undeclare(self, node: NamespaceNode) -> None:
        """§4.5: not while a name uses it."""
        declared = self.own_namespaces(node.owner)
        uri = declared.pop(node.prefix)
        for element in self.in_scope(node):
            keys = list(map(str, element.keys()))
            self.spend(len(keys))
            if element.prefix == node.prefix or any(split(key)[0] == uri for key in keys):
                fail(Fault.NAMESPACE_PREFIX, f"{node.prefix} is in use")
        self.declare(node.owner, declared)

    def in_scope(self, node: NamespaceNode) -> list[Element]:
        """The elements in which this declaration holds."""
        uri = self.own_namespaces(node.owner)[node.prefix]
        found: list[Element] = []
        uris = [uri]  # of that prefix, the innermost last
        declared: list[bool] = []  # for each declaration round here: is it of that prefix?
        for event, what in etree.iterwalk(node.owner, events=("start-ns", "end-ns", "start")):
            self.spend(MOVED // 2)
            if event == "start":
                if uris[-1] == uri:
                    found.append(what)
            elif event == "start-ns":
                prefix, bound = what
                declared.append(prefix == node.prefix)
                uris += [bound] if declared[-1] else []
            elif declared.pop():
                uris.pop()
        return found


def has_content(node: Node) -> TypeGuard[Element]:
    """Is it an element, and no comment or processing instruction? Those have a function for a tag."""
    return isinstance(node, Element) and isinstance(node.tag, str)


def namespace_uri(text: str) -> str:
    """A namespace that may be declared (Namespaces in XML §2.2, §3)."""
    uri = text.strip()
    if URI.fullmatch(uri) is None or uri in (XML, XMLNS):
        fail(Fault.NAMESPACE_URI, uri)
    return uri


def set_text(element: Element, slot: int, text: str) -> None:
    try:
        if slot == 0:
            element.text = text or None
        else:
            element[slot - 1].tail = text or None
    except ValueError:
        fail(Fault.DIFF_FORMAT, "characters that XML does not allow")


def set_attribute(element: Element, name: str, value: str) -> None:
    try:
        element.set(name, value)
    except ValueError:
        fail(Fault.ATTRIBUTE_VALUE, name)


def only_text(operation: Element) -> str:
    """The content of an operation that must have no elements."""
    if len(operation):
        fail(Fault.NODE_TYPES, "text was expected")
    return text_of(operation)


def without_space(text: str) -> str:
    """`ws` takes a text that is only white space, and there must be one (§4.5)."""
    if not text or text.strip(" \t\r\n"):
        fail(Fault.WHITESPACE, "no white space there")
    return ""
