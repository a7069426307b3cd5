"""Selectors of XML patch operations (RFC 5261 §4.1, §8): which node of a document is meant.

They are a small part of XPath: steps of names, `*`, predicates by position, by the value of an attribute, of
a child or of the element itself; the last step may also be an attribute, a namespace declaration, `text()`,
`comment()` or a processing instruction. They are evaluated here, not by libxml2: strangers write them, and
here the work is counted. Prefixes are those in scope where the operation stands, and a name without prefix is
in the default namespace of that place (§4.2.2). A selector that names no node or several is an error. `id()`
is not supported (§5.1, unsupported-id-function): no document type says what an id is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

from lxml import etree

from sipbridge.errors import PatchError
from sipbridge.presence.markup import Element
from sipbridge.presence.namespaces import XML

MAX_WORK = 200_000
"""Nodes looked at for one patch; ten operations on 400 rich tuples look at 40,000. Takes 0.1 s."""


class Fault(StrEnum):
    """§5.1."""

    ATTRIBUTE_VALUE = "invalid-attribute-value"
    DIFF_FORMAT = "invalid-diff-format"
    NAMESPACE_PREFIX = "invalid-namespace-prefix"
    NAMESPACE_URI = "invalid-namespace-uri"
    NODE_TYPES = "invalid-node-types"
    DIRECTIVE = "invalid-patch-directive"
    ROOT = "invalid-root-element-operation"
    PROLOG = "invalid-xml-prolog-operation"
    WHITESPACE = "invalid-whitespace-directive"
    UNLOCATED = "unlocated-node"
    ID_FUNCTION = "unsupported-id-function"


NAME = r"(?:[^\W\d][\w.\-]*:)?[^\W\d][\w.\-]*"
VALUE = r"""(?:'[^']*'|"[^"]*")"""
STEP = re.compile(
    rf"""(?P<node>text\(\)|comment\(\)|processing-instruction\({VALUE}?\))
       | namespace::(?P<declaration>[^\W\d][\w.\-]*)
       | @(?P<attribute>{NAME})
       | (?P<name>\*|{NAME})""",
    re.VERBOSE,
)
PREDICATE = re.compile(
    rf"\[(?:(?P<position>\d{{1,9}})|(?P<what>\.|@?{NAME})\s*=\s*(?P<value>{VALUE}))\]"
)


@dataclass(frozen=True, slots=True)
class TextNode:
    """The text before child number `slot` of an element; the last slot is behind all children."""

    parent: Element
    slot: int


@dataclass(frozen=True, slots=True)
class AttributeNode:
    """An attribute, by Clark name."""

    owner: Element
    name: str


@dataclass(frozen=True, slots=True)
class NamespaceNode:
    """The declaration of a prefix on an element."""

    owner: Element
    prefix: str


Node: TypeAlias = Element | TextNode | AttributeNode | NamespaceNode


def fail(fault: Fault, about: str) -> NoReturn:
    raise PatchError(f"{fault}: {about[:200]}", fault.value)


class Selecting:
    """A document in which nodes are looked for; `also_root` are more names for its root."""

    def __init__(self, root: Element, also_root: frozenset[str]) -> None:
        self.root = root
        self.also_root = also_root
        self.work = 0

    def spend(self, nodes: int) -> None:
        self.work += nodes
        if self.work > MAX_WORK:
            fail(Fault.DIFF_FORMAT, "too much work")

    def select(self, operation: Element) -> Node:
        """The one node that `sel` names."""
        selector = operation.get("sel")
        if selector is None:
            fail(Fault.DIRECTIVE, "no selector")
        text = str(selector).strip()
        rest = text.removeprefix("/")
        found: list[Node] = []
        contexts: list[Element | None] = [None]
        while True:
            if rest.startswith("id("):
                fail(Fault.ID_FUNCTION, text)
            step = STEP.match(rest)
            if step is None:
                fail(Fault.DIFF_FORMAT, f"selector {text}")
            predicates, rest = cut_predicates(rest[step.end() :])
            found = [
                node
                for context in contexts
                for node in self.step(context, step, predicates, operation)
            ]
            if not rest:
                break
            contexts = [n for n in found if isinstance(n, Element)]
            if not rest.startswith("/") or step["name"] is None:
                fail(Fault.DIFF_FORMAT, f"selector {text}")
            rest = rest[1:]
        if len(found) != 1:
            fail(Fault.UNLOCATED, f"{len(found)} nodes for {text}")
        return found[0]

    def step(
        self,
        context: Element | None,
        step: re.Match[str],
        predicates: list[re.Match[str]],
        operation: Element,
    ) -> list[Node]:
        """The nodes of one step from one context; None is the document above the root."""
        nodes: list[Node]
        if step["name"] is not None:
            nodes = list(self.elements(context, step["name"], operation))
        elif context is None:
            fail(Fault.PROLOG, step[0])
        elif step["attribute"] is not None:
            name = clark(step["attribute"], operation, attribute=True)
            nodes = [AttributeNode(context, name)] if name in context.attrib else []
        elif step["declaration"] is not None:
            declared = step["declaration"] in own_namespaces(context)
            nodes = [NamespaceNode(context, step["declaration"])] if declared else []
        else:
            nodes = list(self.leaves(context, step["node"]))
        for predicate in predicates:
            nodes = self.filtered(nodes, predicate, operation)
        return nodes

    def elements(self, context: Element | None, name: str, operation: Element) -> Iterator[Element]:
        wanted = None if name == "*" else clark(name, operation)
        if context is None:
            if wanted is None or wanted == self.root.tag or wanted in self.also_root:
                yield self.root
            return
        self.spend(len(context) // 8 + 1)
        for child in context.iterchildren(tag="*" if wanted is None else wanted):
            self.spend(1)
            yield child

    def leaves(self, context: Element, kind: str) -> Iterator[Node]:
        """Texts, comments or processing instructions of an element."""
        self.spend(len(context) + 1)
        if kind == "text()":
            yield from (TextNode(context, n) for n, text in enumerate(texts(context)) if text)
        elif kind == "comment()":
            yield from context.iterchildren(tag=etree.Comment)
        else:
            target = kind[len("processing-instruction(") : -1].strip("'\"")
            for child in context.iterchildren(tag=etree.ProcessingInstruction):
                if not target or getattr(child, "target", "") == target:
                    yield child

    def filtered(
        self, nodes: list[Node], predicate: re.Match[str], operation: Element
    ) -> list[Node]:
        if predicate["position"] is not None:
            place = int(predicate["position"])
            return nodes[place - 1 : place] if place else []
        what, value = predicate["what"], predicate["value"][1:-1]
        return [n for n in nodes if isinstance(n, Element) and self.has(n, what, value, operation)]

    def has(self, element: Element, what: str, value: str, operation: Element) -> bool:
        """Is the value of the element, of an attribute or of one of its children that?"""
        if what == ".":
            return self.value(element) == value
        if what.startswith("@"):
            return element.get(clark(what[1:], operation, attribute=True)) == value
        return any(self.value(c) == value for c in self.elements(element, what, operation))

    def value(self, element: Element) -> str:
        """XPath's string-value."""
        text = "".join(str(t) for t in element.itertext(with_tail=False, tag=etree.Element))
        self.spend(len(text) // 16 + sum(1 for _ in element.iter()))
        return text


def cut_predicates(rest: str) -> tuple[list[re.Match[str]], str]:
    """The predicates at the beginning, and what follows them."""
    predicates = []
    while (predicate := PREDICATE.match(rest)) is not None:
        predicates.append(predicate)
        rest = rest[predicate.end() :]
    return predicates, rest


def clark(name: str, operation: Element, *, attribute: bool = False) -> str:
    """A qualified name of a selector as Clark name; prefixes are those of the operation."""
    prefix, colon, plain = name.rpartition(":")
    if not colon and attribute:
        return name
    if prefix == "xml":
        return f"{{{XML}}}{plain}"
    namespace = operation.nsmap.get(prefix or None)
    if colon and namespace is None:
        fail(Fault.NAMESPACE_PREFIX, name)
    return f"{{{namespace}}}{plain}" if namespace else plain


def own_namespaces(element: Element) -> dict[str | None, str]:
    """The declarations on an element itself that say something new."""
    parent = element.getparent()
    above = {} if parent is None else parent.nsmap
    return {k: str(v) for k, v in element.nsmap.items() if above.get(k) != v}


# ---- texts: slot 0 is before the first child, slot n behind the nth --------------------------------------


def texts(element: Element) -> list[str]:
    """The text of every slot."""
    return [element.text or "", *(child.tail or "" for child in element)]


def text_at(element: Element, slot: int) -> str:
    return (element.text if slot == 0 else element[slot - 1].tail) or ""
