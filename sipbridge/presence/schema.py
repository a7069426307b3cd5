"""Checks documents against the schemas, and says in plain words what is wrong.

The schemas are files of our own (`schemas/`, see the README there), written after the RFCs; `all.xsd` joins
them. In a wheel they lie in the package, beside it in a checkout. Elements of namespaces that no schema here
knows are accepted wherever the RFCs allow foreign elements, and not looked into.

Two validators, one verdict. libxml2 decides: compiled once, it needs some 10 microseconds for a usual
document. For a document it refuses, `validate` asks the pure Python validator, which says more clearly where
and why; should that find nothing, libxml2's own words are given. Both are loaded at the first call only.

One correction to libxml2: it takes no IPv6 address literal in an `xs:anyURI` (RFC 3986 §3.2.2 does), so a
document refused is tried again with such hosts replaced by a name.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lxml import etree

from sipbridge.errors import ConfigurationError, DocumentError
from sipbridge.presence import reading
from sipbridge.presence.markup import Element, parse, split
from sipbridge.presence.model import Deviation
from sipbridge.presence.namespaces import (
    COMMON_POLICY,
    PIDF_DIFF,
    PREFIXES,
    PRES_RULES,
    RESOURCE_LISTS,
    RLMI,
    WATCHERINFO,
)

if TYPE_CHECKING:
    from xmlschema import XMLSchema, XMLSchemaValidationError

DRIVER = "all.xsd"

MAX_COMPLAINTS = 50
"""Of one document; whoever has fixed fifty faults can ask again."""
MAX_EXPECTED = 6
"""Names listed as possible instead; RPID's choices have up to sixty."""

IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")

SHORT = {
    **PREFIXES,
    "urn:ietf:params:xml:ns:pidf:geopriv10": "gp",
    WATCHERINFO: "",
    RLMI: "",
    PIDF_DIFF: "",
    COMMON_POLICY: "",
    PRES_RULES: "pr",
    RESOURCE_LISTS: "",
}
"""How names are written in complaints: documents' own namespaces without a prefix."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One fault: the line (None if not known), where it is in the document, what is wrong there."""

    line: int | None
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. `deviations` are broken rules that our reader tolerates, schema or not."""

    well_formed: bool
    valid: bool
    errors: tuple[Complaint, ...] = ()
    deviations: tuple[Deviation, ...] = ()


def folder() -> Path:
    """Where the schemas are. Raises ConfigurationError if they are not installed."""
    here = Path(__file__)
    for place in (here.parents[1] / "schemas", here.parents[2] / "schemas"):
        if (place / DRIVER).is_file():
            return place
    raise ConfigurationError("schemas", f"{DRIVER} in the package or beside it")


@cache
def compiled() -> etree.XMLSchema:
    """The schemas as libxml2 has them."""
    return etree.XMLSchema(etree.parse(folder() / DRIVER))


@cache
def spoken() -> "XMLSchema":
    """The schemas as the pure Python validator has them; 0.6 s."""
    from xmlschema import XMLSchema

    return XMLSchema(str(folder() / DRIVER), allow="local")


def is_valid(document: bytes | Element) -> bool:
    """Is it well-formed and valid? Never raises for what the document is."""
    if isinstance(document, bytes):
        try:
            document = parse(document)
        except DocumentError:
            return False
    return compiled().validate(document) or valid_with_names(document)


def valid_with_names(root: Element) -> bool:
    """Is it valid once IPv6 hosts are taken for names?"""
    texts = (t for e in root.iter() for t in (e.text, *e.attrib.values()))
    if not any(t and IPV6.search(str(t)) for t in texts):
        return False
    named = deepcopy(root)
    for element in named.iter():
        if element.text:
            element.text = IPV6.sub("ipv6.invalid", element.text)
        for name, value in element.attrib.items():
            element.set(name, IPV6.sub("ipv6.invalid", str(value)))
    return compiled().validate(named)


def validate(body: bytes) -> Verdict:
    """Check one document and say what is wrong with it. Never raises for what the document is."""
    try:
        root, _ = reading.open_root(body, None)
    except DocumentError as error:
        # Refused for its size or its declarations, it may be well-formed for all that.
        well_formed = not error.reason.startswith("not well-formed")
        return Verdict(well_formed, False, (Complaint(error.line, error.path, error.reason),))
    deviations = deviations_of(body)
    if is_valid(root):
        return Verdict(True, True, deviations=deviations)
    return Verdict(True, False, complaints(root), deviations)


def deviations_of(body: bytes) -> tuple[Deviation, ...]:
    """What our reader has to tolerate; nothing for documents it does not read."""
    try:
        return tuple(reading.read(body).deviations)
    except DocumentError:
        return ()


# --- complaints -----------------------------------------------------------------------------------------


def complaints(root: Element) -> tuple[Complaint, ...]:
    """What is wrong with a document that libxml2 refuses."""
    from xmlschema.exceptions import XMLSchemaException

    found: list[Complaint] = []
    # The Python validator walks by recursion and gives up before libxml2's 256 levels; an xsi:type nobody
    # knows ends it too, and a year beyond its calendar. What it cannot say, libxml2 says.
    with suppress(RecursionError, XMLSchemaException, ArithmeticError, ValueError):
        found += islice(python_complaints(root), MAX_COMPLAINTS)
    return tuple(found) or tuple(libxml2_complaints(root))


def python_complaints(root: Element) -> Iterator[Complaint]:
    for error in spoken().iter_errors(root):
        child = getattr(error, "invalid_child", None)
        line = error.sourceline if child is None else child.sourceline
        yield Complaint(line, pretty(error.path or ""), worded(error))


def libxml2_complaints(root: Element) -> list[Complaint]:
    schema = compiled()
    schema.validate(root)
    entries = cast("Iterable[etree._LogEntry]", schema.error_log)
    return [
        Complaint(entry.line or None, "", pretty(str(entry.message)))
        for entry in islice(entries, MAX_COMPLAINTS)
    ]


def worded(error: "XMLSchemaValidationError") -> str:
    """The validator's reason in words for people who do not read schemas."""
    from xmlschema.validators.exceptions import XMLSchemaChildrenValidationError

    reason = pretty(error.reason or "not valid")
    if isinstance(error, XMLSchemaChildrenValidationError):
        return about_children(error)
    if "is not an element of the schema" in reason:
        tag = str(getattr(error.obj, "tag", ""))
        namespace = split(tag)[0]
        where = f"the namespace {namespace}" if namespace else "no namespace"
        return f"a document whose root is {split(tag)[1]!r} in {where} is not known here"
    if "[\\\\i-[:]][\\\\c-[:]]*" in reason:
        return (
            reason.partition(":")[0] + ": an id begins with a letter or _ and has no blanks, @ or :"
        )
    if reason.startswith("character data between child elements"):
        return "text is not allowed here, only elements"
    return reason.partition(" for <class")[0]


def about_children(error: "XMLSchemaValidationError") -> str:
    """What stands where it must not, or what is missing."""
    expected = [pretty(str(getattr(p, "name", p))) for p in getattr(error, "expected", None) or ()]
    names = list(dict.fromkeys(n for n in expected if n and n != "None"))
    instead = ", ".join(names[:MAX_EXPECTED]) + (", …" if len(names) > MAX_EXPECTED else "")
    child = getattr(error, "invalid_child", None)
    if child is None:
        return f"something is missing at the end; expected: {instead}" if instead else "incomplete"
    before = child.getprevious()
    where = "here" if before is None else f"after {pretty(str(before.tag))}"
    said = f"{pretty(str(child.tag))} is not allowed {where}"
    return f"{said}; expected: {instead}" if instead else said


def pretty(text: str) -> str:
    """Names in Clark notation as people write them."""
    return re.sub(
        r"\{([^{}]*)\}",
        lambda m: f"{SHORT[m[1]]}:".lstrip(":") if m[1] in SHORT else m[0],
        text,
    )
