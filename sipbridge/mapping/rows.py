"""Tables between the tokens of a document and the words of an interface, and how they are looked up.

A `Table` is data. `pairs` are the tokens our own writer uses for a word: they come back. `folds` are tokens
that a reader understands and a writer never chooses; an `Other` pair with a reserved name keeps them. Every
token has a rank; the lowest rank wins where several hold at the same time. `companions` say which broader
token stands beside a refinement element of ours for watchers who do not know it (`x:do-not-disturb` beside
`busy`); beside the refinement it adds nothing. `aliases` are spellings of old drafts and of software we met.

Tokens are written short: `busy` is in the table's namespace, `x:busy` in ours (`namespaces.SIPBRIDGE`), any
other in Clark notation. `Table.row` finds a token by its Clark name, as it stands in a document, and makes a
row with the rank and word of "any other element" for one the table does not list.

The tables themselves are in `vocabulary.py` and `availability.py`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Generic, TypeVar

from msgspec import Struct

from sipbridge.presence.namespaces import SIPBRIDGE

Word = TypeVar("Word", bound=StrEnum)

ANY = "*"
"""In `ranks`: the place of an element the table does not list."""


def clark(token: str, namespace: str) -> str:
    """The Clark name of a token written short."""
    if token.startswith("{"):
        return token
    if token.startswith("x:"):
        return f"{{{SIPBRIDGE}}}{token[2:]}"
    return f"{{{namespace}}}{token}"


class Row(Struct, Generic[Word], frozen=True):
    """One token of a table.

    token: written short. name: its Clark name. written: is it what our writer uses for the word? text: what
    a reserved `Other` pair says for it (bare token or Clark name). companion: see the module.
    """

    token: str
    name: str
    word: Word
    rank: float
    written: bool
    text: str
    companion: str | None = None
    listed: bool = True


@dataclass(frozen=True)
class Table(Generic[Word]):
    """See the module. `other` is the word of an unlisted element; ranks of unlisted tokens are last."""

    namespace: str
    pairs: Mapping[str, Word]
    folds: Mapping[str, Word]
    other: Word
    ranks: Mapping[str, float] = field(default_factory=dict)
    companions: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> Mapping[str, Row[Word]]:
        """Every listed token and alias by Clark name."""
        made = {clark(t, self.namespace): self.make(t, w, True) for t, w in self.pairs.items()}
        for token, word in self.folds.items():
            made[clark(token, self.namespace)] = self.make(token, word, False)
        for alias, token in self.aliases.items():
            made[clark(alias, self.namespace)] = made[clark(token, self.namespace)]
        return made

    @cached_property
    def short(self) -> Mapping[str, Row[Word]]:
        """Every listed token and alias as it is written short."""
        names = (*self.pairs, *self.folds, *self.aliases)
        return {name: self.rows[clark(name, self.namespace)] for name in names}

    @cached_property
    def writes(self) -> Mapping[Word, Row[Word]]:
        """What is written for a word; a word without an own token is not in it."""
        return {row.word: row for row in self.rows.values() if row.written}

    def make(self, token: str, word: Word, written: bool) -> Row[Word]:
        name = clark(token, self.namespace)
        return Row(
            token,
            name,
            word,
            self.ranks.get(token, self.ranks.get(ANY, len(self.ranks))),
            written,
            name if token.startswith(("x:", "{")) else token,
            self.companions.get(token),
        )

    def row(self, name: str) -> Row[Word]:
        """The row of an element, by Clark name."""
        row = self.rows.get(name)
        if row is not None:
            return row
        return Row(
            name, name, self.other, self.ranks.get(ANY, len(self.ranks)), False, name, listed=False
        )

    def row_of_text(self, text: str) -> Row[Word]:
        """The row that a reserved `Other` pair's text means."""
        return self.short.get(text) or self.row(clark(text, self.namespace))


class Availability(StrEnum):
    """BEMS status words."""

    AVAILABLE = "available"
    BUSY = "busy"
    DO_NOT_DISTURB = "donotdisturb"
    BE_RIGHT_BACK = "berightback"
    AWAY = "away"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """Webex' presence statuses, in the SDK's order of declaration."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    ACTIVE = "Active"
    INACTIVE = "Inactive"
    DND = "Dnd"
    QUIET = "Quiet"
    BUSY = "Busy"
    OUT_OF_OFFICE = "OutOfOffice"
    CALL = "Call"
    MEETING = "Meeting"
    PRESENTING = "Presenting"
    CALENDAR_ITEM = "CalendarItem"


@dataclass(frozen=True, slots=True)
class Effect:
    """What one activity does to a Webex status, in general and when it is scheduled (has `until`), and to a
    BEMS availability. None: nothing."""

    status: Status | None
    scheduled: Status | None
    availability: Availability


@lru_cache(maxsize=4096)
def letters(text: str) -> str:
    """Only the letters, lower case: how phrases are compared."""
    if text.isascii():
        return NO_LETTERS.sub("", text).lower()
    return "".join([c for c in text if c.isalpha()]).lower()


NO_LETTERS = re.compile(r"[^A-Za-z]+")


def ranked(tokens: Iterable[str]) -> dict[str, float]:
    """Ranks in the order given, from 1."""
    return {token: float(i) for i, token in enumerate(tokens, 1)}
