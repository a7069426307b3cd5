"""What a tolerant reader tolerates: one table of stable codes, and the notebook that collects them.

Real peers break schemas and rules: they forget ids, use the namespaces of drafts, write text where elements
belong. Each such thing is read as far as it makes sense and noted as a `Deviation`, whose `code` is a key of
`DEVIATIONS`. Codes are printed by `sipbridge tables`, label the metric that counts them, and never change
their meaning. A document can hold very many of them; at most `MAX_DEVIATIONS` are kept.
"""

import re
from dataclasses import dataclass

from sipbridge.presence.markup import Element, path_of
from sipbridge.presence.model import Deviation, Person

MAX_DEVIATIONS = 100
"""Kept for one document. The worst product seen makes 16; a hostile document must not cost more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which specification a deviation is from, and what it means."""

    rfc: str
    meaning: str


DEVIATIONS: dict[str, Rule] = {
    "attribute-dropped": Rule(
        "RFC 3863 §4.1", "an attribute stands where none may and cannot be kept"
    ),
    "bad-basic": Rule("RFC 3863 §4.1.4", "basic is neither open nor closed: no statement"),
    "bad-contact": Rule(
        "RFC 3863 §4.1.5", "contact is no bare URI but a name-addr: its URI is read"
    ),
    "bad-entity": Rule("RFC 3863 §4.1.1", "entity is no URI"),
    "bad-id": Rule("RFC 3863 §4.1.2", "an id is no xs:ID, for instance begins with a digit"),
    "bad-number": Rule("RFC 4480 §3", "a number cannot be read or is out of its range"),
    "bad-priority": Rule(
        "RFC 3863 §4.1.5", "priority is no decimal between 0 and 1 with three places"
    ),
    "bad-time": Rule("RFC 3863 §4.1.7", "a time is no xs:dateTime: the time is not used"),
    "basic-spelling": Rule("RFC 3863 §4.1.4", "basic in other case or with blanks around it"),
    "doctype": Rule(
        "RFC 3863 §4.1", "a document type declaration without internal subset: skipped, not fetched"
    ),
    "draft-namespace": Rule("RFC 4480 §5", "an element in the namespace of a draft or of a vendor"),
    "draft-form": Rule("RFC 4480 §3", "an element as drafts had it, such as activity or placetype"),
    "duplicate-id": Rule("RFC 4479 §3", "the same id twice in one document"),
    "element-order": Rule("RFC 3863 §4.4", "child elements in another order than the schema's"),
    "empty-element": Rule("RFC 4480 §5", "an element that needs a value has none"),
    "exclusive-value": Rule("RFC 4480 §3", "unknown stands beside other values"),
    "markup-in-text": Rule(
        "RFC 3863 §4.4", "elements inside an element that holds text: their text is read"
    ),
    "media-type": Rule("RFC 3863 §5", "the media type is another than the document's"),
    "misplaced-element": Rule(
        "RFC 4480 §3", "an element outside its container: read as if it stood there"
    ),
    "misspelt-value": Rule("RFC 4480 §3", "a known misspelling: read as the right word"),
    "must-understand": Rule(
        "RFC 3863 §4.3", "an element marked mustUnderstand that is not known here"
    ),
    "no-device-id": Rule("RFC 4479 §3.3", "a device without deviceID"),
    "no-entity": Rule("RFC 3863 §4.1.1", "the document does not say whose presence it is"),
    "no-id": Rule("RFC 4479 §3", "a tuple, person or device without id"),
    "no-status": Rule("RFC 3863 §4.1.3", "a tuple without status"),
    "no-zone": Rule("RFC 3339 §4.4", "a time without zone: taken as UTC"),
    "not-in-schema": Rule("RFC 4480 §5", "a value that the schema does not know, such as lunch"),
    "old-format": Rule("RFC 3863 §1", "a format from before RFC 3863"),
    "old-namespace": Rule("RFC 3863 §4.1.1", "the document is in the namespace of a draft"),
    "part-refused": Rule(
        "RFC 4662 §5.4", "a document of the list has to be refused: its resource has no state"
    ),
    "repeated-element": Rule(
        "RFC 4480 §3", "an element that may stand once stands more often: the first counts"
    ),
    "stray-text": Rule("RFC 4480 §5", "text between elements: ignored"),
    "text-for-element": Rule(
        "RFC 4480 §3", "a value is written as text where an empty element belongs"
    ),
    "too-many": Rule("RFC 3863 §4.1", "further deviations are not listed"),
    "unknown-element": Rule(
        "RFC 3863 §4.4", "a namespace of an RFC holds an element that the RFC does not define"
    ),
    "wrong-namespace": Rule(
        "RFC 4479 §4", "a known element in the namespace of another specification"
    ),
}

NCNAME = re.compile(r"[^\W\d][\w.\-·]*")


class Notebook:
    """Collects what was tolerated while one document is read; checks ids on the way.

    strays: what tuples said of the person, with their ids; it finds its person when all are read.
    """

    __slots__ = ("deviations", "ids", "strays")

    def __init__(self) -> None:
        self.deviations: list[Deviation] = []
        self.ids: set[str] = set()
        self.strays: list[tuple[str | None, Person]] = []

    def note(self, code: str, where: Element | None, message: str = "") -> None:
        """Write one down. `message` defaults to the meaning of the code."""
        if len(self.deviations) >= MAX_DEVIATIONS:
            return
        if len(self.deviations) == MAX_DEVIATIONS - 1:
            code, message = "too-many", ""
        rule = DEVIATIONS[code]
        path, line = ("", None) if where is None else path_of(where)
        self.deviations.append(Deviation(code, rule.rfc, message or rule.meaning, path, line))

    def id(self, value: str | None, where: Element, *, required: bool = False) -> str | None:
        """Check an id, give it back."""
        if value is None:
            if required:
                self.note("no-id", where)
            return None
        if not value.isidentifier() and NCNAME.fullmatch(value) is None:
            self.note("bad-id", where, f"id {value[:80]!r} is no xs:ID")
        if value in self.ids:
            self.note("duplicate-id", where, f"id {value[:80]!r} is used twice")
        self.ids.add(value)
        return value
