"""The expressions of event filters (RFC 4661 §5): a few words of XPath, read once and looked up often.

A path is absolute: steps behind `/` (children) or once `//` (descendants), each a name or `*`, the last one
perhaps an attribute. A step may be narrowed by a position or by conditions in brackets, joined by `and` and
`or`: a child, an attribute or `.` compared with a value. Values are compared without regard to case, since
the examples of the RFC write OPEN for what PIDF writes open; with `<` and `>` as numbers. Prefixes are those
of the filter's `ns-bindings`. Whatever is beyond that is refused with 488 (RFC 4660 §5.2) when the filter
comes, so nothing strange is left to be found when a notification is due.

Documents and expressions come from strangers who may know each other, so the work of looking is counted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sipbridge.errors import FilterError
from sipbridge.presence.markup import Element
from sipbridge.presence.selecting import attributes_in

MAX_STEPS = 12
"""The deepest element of a presence document that we know stands in the eighth step."""
MAX_LENGTH = 512
"""Characters; the longest example of the RFC has 90."""

NAME = r"(?:[^\W\d][\w.\-]*:)?[^\W\d][\w.\-]*"
QUOTED = r"""(?:"[^"]*"|'[^']*')"""
STEP = re.compile(
    rf"(?P<axis>//?)(?P<at>@?)(?P<name>\*|{NAME})(?P<tests>(?:\[(?:[^\[\]\"']|{QUOTED})*\])*)"
)
BRACKET = re.compile(rf"\[((?:[^\[\]\"']|{QUOTED})*)\]")
CONDITION = re.compile(
    rf"\s*(?P<path>\.|(?:{NAME}/)*@?{NAME})\s*(?P<operator>[<>]=?|!?=)"
    rf"\s*(?P<value>{QUOTED}|[^\s\[\]\"'<>=]+)\s*(?:(?P<join>\band\b|\bor\b)|$)"
)


PASSED = 16
"""Elements of other names that are as much work as a found one."""
CHECKED = 6
"""Work of a condition for one element, whatever its texts."""
LETTERS = 16
"""Of a text: as much work as a found element."""
MANY = 2**16
"""Finding an attribute takes the square of the number of all, divided by this (`selecting.MANY`)."""


class TooMuchWork(Exception):
    """A document and a filter are too much together. Never leaves `presence`."""


class Work:
    """What may be done with one document, in quarters of a microsecond."""

    def __init__(self, root: Element, limit: int) -> None:
        self.size = sum(1 for _ in root.iter())
        """Elements."""
        self.looking = attributes_in(root) ** 2 // MANY
        self.left = limit

    def spend(self, work: int) -> None:
        """Raises TooMuchWork."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork

    def text(self, element: Element) -> str:
        """All character data inside an element."""
        if not len(element):
            text = element.text or ""
        else:
            self.spend(2 * sum(1 for _ in element.iter()))
            text = "".join(map(str, element.itertext()))
        self.spend(len(text) // LETTERS)
        return text


@dataclass(frozen=True, slots=True)
class Condition:
    """A value that a child (`path`), its attribute, or with an empty path the element itself must have.

    value: case-folded.
    """

    path: tuple[str, ...]
    attribute: str
    operator: str
    value: str

    def holds(self, element: Element, work: Work) -> bool:
        nodes = [element]
        for name in self.path:
            nodes = [child for node in nodes for child in node.iterchildren(tag=name)]
            work.spend(len(nodes))
        if self.attribute:
            return any(self.fits(node.get(self.attribute)) for node in nodes)
        return any(self.fits(work.text(node)) for node in nodes)

    def fits(self, found: object) -> bool:
        if found is None:
            return False
        text = str(found).strip()
        if self.operator in ("=", "!="):
            return (text.casefold() == self.value) == (self.operator == "=")
        ours, theirs = number(text), number(self.value)
        if ours is None or theirs is None:
            return False
        less, same = ours < theirs, ours == theirs
        return (less if self.operator[0] == "<" else not less and not same) or (
            same and self.operator.endswith("=")
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name ("" for any), and what narrows it: positions, or alternatives of conditions."""

    name: str
    deep: bool
    tests: tuple[int | tuple[tuple[Condition, ...], ...], ...] = ()

    @property
    def attributes(self) -> int:
        """How many attributes it looks for."""
        return sum(
            bool(condition.attribute)
            for test in self.tests
            if not isinstance(test, int)
            for group in test
            for condition in group
        )

    def of(self, parent: Element, work: Work) -> list[Element]:
        tag = self.name or "*"
        found = list(parent.iterdescendants(tag) if self.deep else parent.iterchildren(tag=tag))
        return self.narrowed(found, work)

    def narrowed(self, found: list[Element], work: Work) -> list[Element]:
        work.spend(2 + len(found))
        for test in self.tests:
            if isinstance(test, int):
                found = found[test - 1 : test] if test else []
                continue
            work.spend(sum(map(len, test)) * (len(found) * CHECKED))
            found = [
                e for e in found if any(all(c.holds(e, work) for c in group) for group in test)
            ]
        return found

    def starts(self, root: Element, work: Work) -> list[Element]:
        """The first step: the root itself, or with `//` everything."""
        if self.deep:
            return self.narrowed(list(root.iter(self.name or "*")), work)
        return self.narrowed([root] if self.name in ("", root.tag) else [], work)


@dataclass(frozen=True, slots=True)
class Path:
    """An expression. attribute: Clark name, "" where elements are meant."""

    text: str
    steps: tuple[Step, ...]
    attribute: str = ""

    def elements(self, root: Element, work: Work) -> list[Element]:
        """The elements it names, or those that have the attribute it names; none before one round it.

        Raises TooMuchWork.
        """
        found: list[Element] = []
        for place, step in enumerate(self.steps):
            # what is looked at in one step is nowhere twice: there is one // at most
            work.spend(work.size // PASSED + step.attributes * work.looking)
            if place == 0:
                found = step.starts(root, work)
            else:
                found = list(dict.fromkeys(c for node in found for c in step.of(node, work)))
        if self.attribute:
            work.spend(len(found) + work.looking)
            return [e for e in found if e.get(self.attribute) is not None]
        return found


def parse(text: str, namespaces: Mapping[str, str], default: str) -> Path:
    """Read an expression. default: the namespace of names without prefix. Raises FilterError."""
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise FilterError("an expression that long")
    steps: list[Step] = []
    rest, attribute = text, ""
    while rest:
        found = STEP.match(rest)
        if found is None or attribute or len(steps) >= MAX_STEPS:
            raise FilterError(f"expression {text[:80]!r}")
        rest = rest[found.end() :]
        deep = found["axis"] == "//"
        if found["at"]:
            attribute = resolved(found["name"], namespaces, "")
            if deep or found["name"] == "*" or found["tests"] or not steps:
                raise FilterError(f"expression {text[:80]!r}")
            continue
        if deep and any(step.deep for step in steps):
            raise FilterError(f"several // in {text[:80]!r}")
        name = "" if found["name"] == "*" else resolved(found["name"], namespaces, default)
        steps.append(Step(name, deep, tuple(tests(found["tests"], namespaces, default))))
    if not steps:
        raise FilterError("an empty expression")
    return Path(text, tuple(steps), attribute)


def tests(
    text: str, namespaces: Mapping[str, str], default: str
) -> Iterator[int | tuple[tuple[Condition, ...], ...]]:
    for inside in BRACKET.findall(text):
        if inside.strip().isdecimal() and inside.isascii():
            yield int(inside.strip()[:9])
        else:
            yield tuple(alternatives(inside, namespaces, default))


def alternatives(
    text: str, namespaces: Mapping[str, str], default: str
) -> Iterable[tuple[Condition, ...]]:
    """Conditions: `and` binds before `or`."""
    groups: list[list[Condition]] = [[]]
    rest, join = text, "and"
    while join:
        found = CONDITION.match(rest)
        if found is None:
            raise FilterError(f"condition {text[:80]!r}")
        groups[-1].append(condition(found, namespaces, default))
        join = found["join"] or ""
        if join == "or":
            groups.append([])
        rest = rest[found.end() :]
    return [tuple(group) for group in groups]


def condition(found: re.Match[str], namespaces: Mapping[str, str], default: str) -> Condition:
    names = [] if found["path"] == "." else found["path"].split("/")
    attribute = ""
    if names and names[-1].startswith("@"):
        attribute = resolved(names.pop()[1:], namespaces, "")
    value = found["value"]
    return Condition(
        tuple(resolved(name, namespaces, default) for name in names),
        attribute,
        found["operator"],
        (value[1:-1] if value[0] in "\"'" else value).casefold(),
    )


def resolved(name: str, namespaces: Mapping[str, str], default: str) -> str:
    """A Clark name. Raises FilterError for a prefix that is bound to nothing."""
    prefix, colon, plain = name.rpartition(":")
    namespace = namespaces.get(prefix) if colon else default
    if namespace is None:
        raise FilterError(f"prefix {prefix[:40]!r} is bound to nothing")
    return f"{{{namespace}}}{plain}" if namespace else plain


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
