"""What the writers of the single kinds share while one document is made.

`Writing` holds the attributes by kind and the reserved `Other` pairs by name. A writer takes the pairs it
understands; a value it can not use stays with `keep`, and everything nobody took is written as `x:other-info`
of the person, so that a later reader gives it back. `explain` says what was dropped, and why.

Ids are hashes of the presentity and the purpose: globally unique, because servers glue publications of many
user agents into one document where `xs:ID` must be unique, and the same each time, because partial
notifications and rules name elements by them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from sipbridge.mapping.attributes import KINDS, Attribute, AttributeKind, Other
from sipbridge.mapping.reading import CHANGED
from sipbridge.mapping.rows import Table
from sipbridge.mapping.schedule import NCNAME, parse_token, timestamp
from sipbridge.mapping.table import Tables
from sipbridge.presence.model import Attributes, Basic, OtherInfo, Timestamp, Token
from sipbridge.presence.namespaces import RPID

Word = TypeVar("Word", bound=StrEnum)


class Writing:
    """One document in the making."""

    def __init__(
        self,
        attributes: Iterable[Attribute],
        presentity: str,
        at: datetime,
        tables: Tables,
        explain: list[dict[str, object]] | None = None,
    ) -> None:
        self.presentity = presentity
        self.at = at
        self.tables = tables
        self.explain = explain
        self.own: list[OtherInfo] = []
        self.closed = False
        self.open_means = False
        self.willingness: Basic | None = None
        self.note: str | None = None
        self.kinds: dict[AttributeKind, list[Attribute]] = {kind: [] for kind in KINDS}
        self.pairs: dict[str, list[str]] = {}
        self.notes: dict[tuple[str, str], str] = {}
        for attribute in attributes:
            self.kinds[attribute.kind].append(attribute)
            if isinstance(attribute.value, Other):
                name, value = attribute.value.name, attribute.value.value
                self.pairs.setdefault(name, []).append(value)
                if attribute.note:
                    self.notes[name, value] = attribute.note

    def of(self, kind: AttributeKind) -> list[Attribute]:
        return self.kinds[kind]

    # --- pairs ---

    def take(self, name: str) -> list[str]:
        """The values of a pair, which is used up with that."""
        return self.pairs.pop(name, []) if self.pairs else []

    def take_one(self, name: str) -> str | None:
        """The first value; further ones are kept as own names."""
        if not self.pairs:
            return None
        values = self.take(name)
        for value in values[1:]:
            self.keep(name, value)
        return values[0] if values else None

    def keep(self, name: str, value: str) -> None:
        """A reserved name with a value that RPID can not express: carried as an own name."""
        self.own.append(OtherInfo(name, value, self.notes.get((name, value))))
        if self.explain is not None:
            self.explain.append({"pair": name, "value": value, "written": "x:other-info"})

    def dropped(self, name: str, value: str, reason: str) -> None:
        if self.explain is not None:
            self.explain.append({"pair": name, "value": value, "dropped": reason})

    def window(self, name: str) -> tuple[Timestamp | None, Timestamp | None]:
        """The pairs `<name>.from` and `<name>.until`."""
        if not self.pairs:
            return None, None
        return self.time(f"{name}.from"), self.time(f"{name}.until")

    def time(self, name: str) -> Timestamp | None:
        text = self.take_one(name)
        if text is None:
            return None
        stamp = timestamp(text)
        if stamp is None:
            self.keep(name, text)
        return stamp

    def token(self, table: Table[Word], text: str) -> Token | None:
        """The element a pair names: listed in the table, or of a foreign namespace; else None."""
        row = table.rows.get(table.row_of_text(text).name) if text else None
        if row is not None:
            return Token(row.name)
        if not text.startswith("{") and table.namespace == RPID:
            return None
        token = parse_token(text, table.namespace)
        return None if token is None or token.name.startswith(f"{{{RPID}}}") else token

    # --- times and ids ---

    def changed(self, attributes: Sequence[Attribute]) -> Attributes:
        """Our `x:changed` with the time of the newest of these."""
        times = [a.last_change for a in attributes if a.last_change is not None]
        return ((CHANGED, print_instant(max(times))),) if times else ()

    def stamp(self, attributes: Iterable[Attribute]) -> Timestamp | None:
        times = [a.last_change for a in attributes if a.last_change is not None]
        if not times:
            return None
        newest = max(times)
        return Timestamp(print_instant(newest), newest.astimezone(UTC))

    def id(self, prefix: str, purpose: str) -> str:
        return stable_id(prefix, self.presentity, purpose)


@lru_cache(maxsize=1024)
def print_instant(at: datetime) -> str:
    """An xs:dateTime in UTC, with as many decimals as there are. Remembered: one document says it often."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=65536)
def stable_id(prefix: str, presentity: str, purpose: str) -> str:
    """An xs:ID made of both."""
    digest = hashlib.blake2s(f"{presentity}\n{purpose}".encode(), digest_size=8)
    return f"{prefix}{digest.hexdigest()}"


def is_id(text: str) -> bool:
    """Could this be an xs:ID?"""
    return NCNAME.fullmatch(text) is not None
