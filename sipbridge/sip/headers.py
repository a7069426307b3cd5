"""The header section: an ordered multimap that keeps what it does not understand.

Fields stay in the order and with the names they came with; only compact names (RFC 3261 §7.3.3, RFC 6665
§8.2) are written out, and Content-Length has one spelling. Look-up ignores case and knows compact names.
Values are text, unfolded and stripped. An index from key to values is built on the first look-up and thrown
away by a change: a message that is only passed through, and one that is only being written, never pay for
it.
"""

from collections.abc import Iterable, Iterator

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import is_token, split_list

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""Compact names of the IANA registry."""

MAX_REMEMBERED_NAMES = 2048
"""Spellings of header names kept ready; a peer that invents names costs time, not memory."""


class Names(dict[str, tuple[str, str]]):
    """Spelling on the wire → (key for look-up, name to print). Raises ParseError for what is no token."""

    def __missing__(self, spelling: str) -> tuple[str, str]:
        name = spelling.rstrip(" \t")
        if not is_token(name):
            raise ParseError(f"header name {spelling[:40]!r} is no token", field="header")
        name = COMPACT.get(name.lower(), name)
        key = name.lower()
        entry = (key, "Content-Length" if key == "content-length" else name)
        if len(self) < MAX_REMEMBERED_NAMES and len(spelling) < 64:
            self[spelling] = entry
        return entry


NAMES = Names()

Pairs = list[tuple[str, str]]
Index = dict[str, list[str]]


class Headers:
    """Ordered multimap of header fields."""

    __slots__ = ("_index", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """Names may be compact. Raises ParseError for a name that is no token."""
        self._pairs: Pairs = [(NAMES[name][1], value) for name, value in pairs]
        self._index: Index | None = None

    @classmethod
    def of(cls, pairs: Pairs, index: Index) -> "Headers":
        """From what the parser has already sorted; both are taken over, not copied."""
        made = cls.__new__(cls)
        made._pairs = pairs
        made._index = index
        return made

    def index(self) -> Index:
        """Key (lower-case long name) → values, one a line. Not to be changed."""
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self._pairs:
                key = NAMES[name][0]
                if key in index:
                    index[key].append(value)
                else:
                    index[key] = [value]
        return index

    def get(self, name: str) -> str | None:
        """The first line's value, None if there is no such field."""
        values = (self._index or self.index()).get(NAMES[name][0])
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """One entry for each line of that name."""
        return list((self._index or self.index()).get(NAMES[name][0], ()))

    def values(self, name: str) -> list[str]:
        """All elements of a comma list field, over all its lines; empty ones dropped.

        ParseError on a stray quote.
        """
        lines = (self._index or self.index()).get(NAMES[name][0], ())
        return [part for line in lines for part in split_list(line, name) if part]

    def add(self, name: str, value: str) -> None:
        """Put a field at the end."""
        self._index = None
        self._pairs.append((NAMES[name][1], value))

    def add_first(self, name: str, value: str) -> None:
        """Put a field before all others (a Via, a Record-Route)."""
        self._index = None
        self._pairs.insert(0, (NAMES[name][1], value))

    def set(self, name: str, value: str) -> None:
        """Make this the only field of that name, in the place of the first one, else at the end."""
        key, shown = NAMES[name]
        self._index = None
        kept: Pairs = []
        done = False
        for pair in self._pairs:
            if NAMES[pair[0]][0] != key:
                kept.append(pair)
            elif not done:
                kept.append((shown, value))
                done = True
        if not done:
            kept.append((shown, value))
        self._pairs = kept

    def set_lines(self, name: str, values: Iterable[str]) -> None:
        """Replace all lines of that name by these, where the first one stood (at the top if there was
        none).
        """
        key, shown = NAMES[name]
        at = next((i for i, pair in enumerate(self._pairs) if NAMES[pair[0]][0] == key), 0)
        self.remove(name)
        self._pairs[at:at] = [(shown, value) for value in values]

    def remove(self, name: str) -> None:
        """Take all fields of that name away; none is fine."""
        key = NAMES[name][0]
        self._index = None
        self._pairs = [pair for pair in self._pairs if NAMES[pair[0]][0] != key]

    def items(self) -> Pairs:
        """All fields in order, as (name, value)."""
        return list(self._pairs)

    def copy(self) -> "Headers":
        """An independent copy."""
        made = Headers.__new__(Headers)
        made._pairs = list(self._pairs)
        made._index = None
        return made

    def __contains__(self, name: str) -> bool:
        return NAMES[name][0] in (self._index or self.index())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._pairs == other._pairs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"
