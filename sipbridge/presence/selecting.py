"""Selectors of XML patch operations (RFC 5261 §4.1, §8): which node of a document is meant.

They are a small part of XPath: steps of names, `*`, predicates by position, by the value of an attribute, of
a child or of the element itself; the last step may also be an attribute, a namespace declaration, `text()`,
`comment()` or a processing instruction. They are evaluated here, not by libxml2: strangers write them, and
here the work is counted. Prefixes are those in scope where the operation stands, and a name without prefix is
in the default namespace of that place (§4.2.2). A selector that names no node or several is an error. `id()`
is not supported (§5.1, unsupported-id-function): no document type says what an id is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

from lxml import etree

from sipbridge.errors import PatchError
from sipbridge.presence.markup import Element
from sipbridge.presence.namespaces import XML

MAX_WORK = 500_000
"""For one patch, in quarters of a microsecond. Each step of an operation looks at all children of an element,
and each predicate at those that were found; 400 rich tuples that all change take 420,000."""
ELEMENT = 8
"""Work of going into an element, whatever is in it."""
CHILDREN = 16
"""Children of other names that are as much work as a found one."""
LEAF = 6
"""Work of a text, comment or processing instruction."""
LETTERS = 16
"""Of a text that is copied or compared: as much work as one node."""
MANY = 2**16
"""Looking through the attributes of an element takes the square of their number divided by this: a thousand
fit into the processor's cache, and sixteen thousand do not."""

MAX_LENGTH = 512
"""Characters of a selector. Those of our own have 60."""
MAX_STEPS = 16
"""A presence document that we know has eight elements in elements."""


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


COUNT_ATTRIBUTES = etree.XPath("count(descendant-or-self::*/@*)")


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


@dataclass(frozen=True, slots=True)
class Predicate:
    """What narrows a step. kind: "position", "." (the element's own value), "attribute" or "child"; name: a
    Clark name, for the last two.
    """

    kind: str
    name: str = ""
    position: int = 0
    value: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. kind: "element", "attribute", "declaration" or "leaf"; name: a Clark name ("" for `*`), a
    prefix, or the kind of leaf as written.
    """

    kind: str
    name: str
    predicates: tuple[Predicate, ...]


class Selecting:
    """A document in which nodes are looked for; `also_root` are more names for its root."""

    def __init__(self, root: Element, also_root: frozenset[str]) -> None:
        self.root = root
        self.also_root = also_root
        self.work = 0
        self.attributes = attributes_in(root)
        """In the whole document, or more: the most that an element can have."""

    def spend(self, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            fail(Fault.DIFF_FORMAT, "too much work")

    def spend_looking(self) -> None:
        """The work of finding an attribute: an element's are looked through one after the other."""
        self.spend(self.attributes**2 // MANY)

    def select(self, operation: Element) -> Node:
        """The one node that `sel` names."""
        selector = operation.get("sel")
        if selector is None:
            fail(Fault.DIRECTIVE, "no selector")
        text = str(selector).strip()
        found: list[Node] = []
        contexts: list[Element | None] = [None]
        for step in self.steps(text, self.namespaces(operation)):
            found = []
            for context in contexts:
                found += self.step(context, step)
            contexts = [node for node in found if isinstance(node, Element)]
            if not found:
                break
        if len(found) != 1:
            fail(Fault.UNLOCATED, f"{len(found)} nodes for {text}")
        return found[0]

    def steps(self, text: str, scope: Mapping[str | None, str]) -> list[Step]:
        """A selector taken to pieces. scope: namespaces by prefix."""
        if len(text) > MAX_LENGTH:
            fail(Fault.DIFF_FORMAT, f"a selector of {len(text)} characters")
        self.spend(len(text))
        rest = f"/{text.removeprefix('/')}"
        steps: list[Step] = []
        while rest:
            if rest.startswith("/id("):
                fail(Fault.ID_FUNCTION, text)
            step = STEP.match(rest, 1)
            leads_on = not steps or steps[-1].kind == "element"
            if step is None or rest[0] != "/" or not leads_on or len(steps) >= MAX_STEPS:
                fail(Fault.DIFF_FORMAT, f"selector {text}")
            predicates, rest = cut_predicates(rest[step.end() :])
            steps.append(read_step(step, predicates, scope))
        return steps

    def step(self, context: Element | None, step: Step) -> list[Node]:
        """The nodes of one step from one context; None is the document above the root."""
        nodes: list[Node]
        if step.kind == "element":
            nodes = list(self.elements(context, step.name))
        elif context is None:
            fail(Fault.PROLOG, step.name)
        elif step.kind == "attribute":
            self.spend(ELEMENT)
            self.spend_looking()
            nodes = [AttributeNode(context, step.name)] if step.name in context.attrib else []
        elif step.kind == "declaration":
            declared = step.name in self.own_namespaces(context)
            nodes = [NamespaceNode(context, step.name)] if declared else []
        else:
            nodes = self.leaves(context, step.name)
        for predicate in step.predicates:
            nodes = self.filtered(nodes, predicate)
        return nodes

    def elements(self, context: Element | None, name: str) -> Sequence[Element]:
        """The children of that Clark name, or all. Comments and processing instructions count as work."""
        if context is None:
            known = name in ("", self.root.tag) or name in self.also_root
            return [self.root] if known else []
        found = list(context.iterchildren(tag=name or "*"))
        self.spend(ELEMENT + len(context) // CHILDREN + len(found))
        return found

    def leaves(self, context: Element, kind: str) -> list[Node]:
        """Texts, comments or processing instructions of an element."""
        self.spend(ELEMENT + len(context) * LEAF)
        if kind == "text()":
            return [TextNode(context, n) for n, text in enumerate(texts(context)) if text]
        if kind == "comment()":
            return list(context.iterchildren(tag=etree.Comment))
        target = kind[len("processing-instruction(") : -1].strip("'\"")
        found = context.iterchildren(tag=etree.ProcessingInstruction)
        return [each for each in found if not target or getattr(each, "target", "") == target]

    def filtered(self, nodes: list[Node], predicate: Predicate) -> list[Node]:
        """The nodes for which a predicate holds."""
        self.spend(1 + len(nodes))
        name, value = predicate.name, predicate.value
        if predicate.kind == "position":
            place = predicate.position
            return nodes[place - 1 : place] if place else []
        elements = [node for node in nodes if isinstance(node, Element)]
        if predicate.kind == "attribute":
            self.spend_looking()
            return [each for each in elements if each.get(name) == value]
        if predicate.kind == ".":
            return [each for each in elements if self.value(each) == value]
        return [
            each
            for each in elements
            if any(self.value(child) == value for child in self.elements(each, name))
        ]

    def value(self, element: Element) -> str:
        """XPath's string-value."""
        if len(element):
            parts = list(element.itertext(with_tail=False, tag=etree.Element))
            text = "".join(map(str, parts))
            self.spend((sum(1 for _ in element.iter()) + len(parts)) * LEAF)
        else:
            text = element.text or ""
        self.spend(ELEMENT + len(text) // LETTERS)
        return text

    def namespaces(self, element: Element) -> dict[str | None, str]:
        """What is declared where an element stands, by prefix."""
        found = {prefix: str(uri) for prefix, uri in element.nsmap.items()}
        self.spend(ELEMENT + len(found))
        return found

    def own_namespaces(self, element: Element) -> dict[str | None, str]:
        """The declarations on an element itself that say something new."""
        parent = element.getparent()
        above = {} if parent is None else self.namespaces(parent)
        return {k: v for k, v in self.namespaces(element).items() if above.get(k) != v}


def attributes_in(element: Element) -> int:
    """How many attributes there are in an element and what is in it."""
    return int(float(str(COUNT_ATTRIBUTES(element))))


def read_step(
    step: re.Match[str], predicates: list[re.Match[str]], scope: Mapping[str | None, str]
) -> Step:
    """A step, its names resolved."""
    tests = tuple(read_predicate(each, scope) for each in predicates)
    if step["name"] is not None:
        return Step("element", "" if step["name"] == "*" else clark(step["name"], scope), tests)
    if step["attribute"] is not None:
        return Step("attribute", clark(step["attribute"], scope, attribute=True), tests)
    if step["declaration"] is not None:
        return Step("declaration", step["declaration"], tests)
    return Step("leaf", step["node"], tests)


def read_predicate(predicate: re.Match[str], scope: Mapping[str | None, str]) -> Predicate:
    """A predicate, its name resolved."""
    if predicate["position"] is not None:
        return Predicate("position", position=int(predicate["position"]))
    what, value = predicate["what"], predicate["value"][1:-1]
    if what == ".":
        return Predicate(".", value=value)
    if what.startswith("@"):
        return Predicate("attribute", clark(what[1:], scope, attribute=True), value=value)
    return Predicate("child", clark(what, scope), value=value)


def cut_predicates(rest: str) -> tuple[list[re.Match[str]], str]:
    """The predicates at the beginning, and what follows them."""
    predicates = []
    while (predicate := PREDICATE.match(rest)) is not None:
        predicates.append(predicate)
        rest = rest[predicate.end() :]
    return predicates, rest


def clark(name: str, scope: Mapping[str | None, str], *, attribute: bool = False) -> str:
    """A qualified name of a selector as Clark name. scope: the namespaces where the operation stands."""
    prefix, colon, plain = name.rpartition(":")
    if not colon and attribute:
        return name
    if prefix == "xml":
        return f"{{{XML}}}{plain}"
    namespace = scope.get(prefix or None)
    if colon and namespace is None:
        fail(Fault.NAMESPACE_PREFIX, name)
    return f"{{{namespace}}}{plain}" if namespace else plain


# ---- texts: slot 0 is before the first child, slot n behind the nth --------------------------------------


def texts(element: Element) -> list[str]:
    """The text of every slot."""
    return [element.text or "", *(child.tail or "" for child in element)]


def text_at(element: Element, slot: int) -> str:
    return (element.text if slot == 0 else element[slot - 1].tail) or ""
