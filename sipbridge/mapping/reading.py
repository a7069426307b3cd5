"""What the readers of the single kinds share while one document is read.

`Reading` knows the document, the instant, the tables; it decides which elements hold at that instant
(`from` <= at < `until`, RFC 4480 §3.1), remembers the next instant at which that changes, and collects the
reserved `Other` pairs and the explanations. It lives for one call of `to_attributes` or `derive`.

Times: a value changed when its container's `timestamp` says, or, where our own writer left one, when the
attribute `x:changed` of its element says; if a `from` or `until` made it current later than that, then at
that instant. Without any of them, and for a time that lies in the future, it changed when it arrived.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sipbridge.mapping.attributes import AttributeKind, Fingerprint
from sipbridge.mapping.table import Tables, letters
from sipbridge.presence.model import Attributes, Note, Person, Presence, Ranged, Timestamp
from sipbridge.presence.namespaces import SIPBRIDGE
from sipbridge.uri import Uri

CHANGED = f"{{{SIPBRIDGE}}}changed"
"""Attribute of ours: when the value of the element changed."""
NOTE = f"{{{SIPBRIDGE}}}note"
"""Attribute of ours: the note of an element that may have none in RPID (privacy, sphere)."""

CLOCK_TOLERANCE = timedelta(seconds=60)
"""How far ahead of ours a publisher's clock may be; NTP keeps hosts within a second, phones within some."""

Said = tuple[Fingerprint, datetime]
"""An attribute in the making: kind, value and note; when it changed."""


class Reading:
    """One document at one instant. `soon`: the next bound of any element; `bound`: the latest one passed."""

    __slots__ = (
        "any_closed",
        "any_open",
        "at",
        "bound",
        "container_changed",
        "container_stamp",
        "document",
        "explain",
        "languages",
        "notes",
        "pairs",
        "soon",
        "status_basic",
        "tables",
        "whose",
    )

    def __init__(
        self,
        document: Presence,
        at: datetime,
        presentity: Uri | str,
        tables: Tables,
        languages: Sequence[str] = (),
        explain: list[dict[str, object]] | None = None,
    ) -> None:
        self.document = document
        self.at = at
        self.whose = presentity
        self.tables = tables
        self.languages = languages
        self.explain = explain
        self.soon: datetime | None = None
        self.bound: datetime | None = None
        self.container_stamp: Timestamp | None = None
        self.container_changed: datetime | None = None
        self.pairs: dict[tuple[str, str], datetime] = {}
        self.notes: dict[tuple[str, str], str] = {}
        """Notes of an application's own names."""
        self.any_open = False
        self.any_closed = False
        self.status_basic: bool | None = None

    @property
    def presentity(self) -> str:
        """The presentity's address; printed when it is needed, which is seldom."""
        return str(self.whose)

    # --- time ---

    def current(self, element: Ranged) -> bool:
        """Does the element hold now? Keeps `soon` and `bound`."""
        if element.since is None and element.until is None:
            return True
        since = element.since.at if element.since is not None else None
        until = element.until.at if element.until is not None else None
        at = self.at
        if since is not None and until is not None and until <= since:
            return False
        if since is not None:
            if at < since:
                self.note_soon(since)
                return False
            self.note_bound(since)
        if until is not None:
            if at >= until:
                self.note_bound(until)
                return False
            self.note_soon(until)
        return True

    def note_soon(self, when: datetime) -> None:
        if self.soon is None or when < self.soon:
            self.soon = when

    def note_bound(self, when: datetime) -> None:
        if self.bound is None or when > self.bound:
            self.bound = when

    def changed(self, stamp: Timestamp | None, attributes: Attributes = ()) -> datetime:
        """When a value of this container and element changed; `bound` of its kind must be up to date."""
        when = self.container_changed
        if when is None or stamp is not self.container_stamp:
            when = self.not_ahead(stamp.at if stamp is not None else None)
            self.container_stamp, self.container_changed = stamp, when
        if attributes and (own := own_change(attributes)) is not None:
            when = self.not_ahead(own)
        bound = self.bound
        return when if bound is None or bound < when else bound

    def not_ahead(self, when: datetime | None) -> datetime:
        """The time, or that of the arrival if there is none or it lies in the future."""
        if when is None:
            return self.at
        if when - self.at > CLOCK_TOLERANCE:
            if self.explain is not None:
                self.explain.append({"dropped": "time in the future", "value": str(when)})
            return self.at
        return when

    # --- pairs and explanations ---

    def pair(self, name: str, value: str, changed: datetime) -> None:
        """Add one. Publications glued together say the same twice: once is enough."""
        self.pairs.setdefault((name, value), changed)

    def say(self, kind: AttributeKind, value: object, **where: object) -> None:
        """One line of the explanation; call it only if `explain` is a list."""
        if self.explain is not None:
            said = {"kind": kind.value, "value": str(value)}
            said.update({k: str(v) for k, v in where.items() if v is not None})
            self.explain.append(said)  # type: ignore[arg-type]

    # --- notes ---

    def best_note(self, notes: Sequence[Note]) -> str | None:
        """The note whose language fits best: as asked for, else none given, else the first."""
        if len(notes) < 2:
            return notes[0].text if notes else None
        for wanted in self.languages:
            for note in notes:
                if note.lang is not None and fits(note.lang, wanted):
                    return note.text
        for note in notes:
            if note.lang is None:
                return note.text
        return notes[0].text

    def person_note(self, first: Person | None = None) -> str | None:
        """The note of that person, else of the first person that has one."""
        if first is not None and first.notes:
            return self.best_note(first.notes)
        for person in self.document.persons:
            if person.notes:
                return self.best_note(person.notes)
        return None

    def worth_telling(self, note: str | None, *names: str) -> str | None:
        """The note, or None if it is empty or merely repeats one of the names (letters only)."""
        if not note or not note.strip():
            return None
        if self.tables.drop_status_notes:
            said = letters(note)
            for name in names:
                if letters(name) == said:
                    return None
        return note


def own_change(attributes: Attributes) -> datetime | None:
    """The instant in our own `x:changed`, None if there is none or it is not aware."""
    for name, value in attributes:
        if name == CHANGED:
            try:
                when = datetime.fromisoformat(value)
            except ValueError:
                return None
            return when if when.tzinfo is not None else None
    return None


def own_note(attributes: Attributes) -> str | None:
    """The note in our own attribute, None if there is none."""
    for name, value in attributes:
        if name == NOTE:
            return value
    return None


def fits(lang: str, wanted: str) -> bool:
    """RFC 4647 §3.3.1 basic filtering, either way round: `en` fits `en-GB` and `en-GB` fits `en`."""
    lang, wanted = lang.lower(), wanted.lower()
    return (
        lang == wanted
        or wanted == "*"
        or lang.startswith(f"{wanted}-")
        or wanted.startswith(f"{lang}-")
    )


def span(name: str, reading: Reading, element: Ranged, changed: datetime) -> None:
    """Pairs `<name>.from` and `<name>.until` of an element that holds now."""
    if element.since is not None:
        reading.pair(f"{name}.from", element.since.text, changed)
    if element.until is not None:
        reading.pair(f"{name}.until", element.until.text, changed)
