"""The header section: an ordered multimap that keeps what it does not understand.

Fields stay in the order and with the names they came with; only compact names (RFC 3261 §7.3.3, RFC 6665
§8.2) are written out, and Content-Length has one spelling. Look-up ignores case and knows compact names.
Values are text, unfolded and stripped. An index from key to values is built on the first look-up and thrown
away by a change that it cannot follow: a message that is only passed through never pays for it.
"""

from collections.abc import Iterable, Iterator, Sequence

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


KEYS: dict[str, str] = {}
"""Spellings seen on the wire → key for look-up (lower-case long name). Filled by `key_of`."""


def key_of(spelling: str) -> str:
    """The key of a name in any spelling, compact or long. Raises ParseError for what is no token."""
    try:
        return KEYS[spelling]
    except KeyError:
        return learn(spelling)


def learn(spelling: str) -> str:
    """The work behind `key_of`, remembered while there is room."""
    name = spelling.rstrip(" \t")
    if not is_token(name):
        raise ParseError(f"header name {spelling[:40]!r} is no token", field="header")
    lower = name.lower()
    key = COMPACT[lower].lower() if lower in COMPACT else lower
    if len(KEYS) < MAX_REMEMBERED_NAMES and len(spelling) < 64:
        KEYS[spelling] = key
    return key


class Shown(dict[str, str]):
    """Spelling on the wire → name to print: compact names written out, Content-Length in one spelling."""

    def __missing__(self, spelling: str) -> str:
        key = key_of(spelling)
        name = spelling.rstrip(" \t")
        shown = "Content-Length" if key == "content-length" else COMPACT.get(name.lower(), name)
        if len(self) < MAX_REMEMBERED_NAMES and len(spelling) < 64:
            self[spelling] = shown
        return shown


SHOWN = Shown()

Pairs = list[tuple[str, str]]
First = dict[str, str]
Repeated = dict[str, list[str]]

NONE_REPEATED: Repeated = {}


class Headers:
    """Ordered multimap of header fields."""

    __slots__ = ("_first", "_fields", "_lines", "_names", "_repeated")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """Names may be compact. Raises ParseError for a name that is no token."""
        self._fields: Pairs | None = [(SHOWN[name], value) for name, value in pairs]
        self._lines: Sequence[str] = ()
        self._names: Sequence[str] | None = None
        self._first: First | None = None
        self._repeated = NONE_REPEATED

    @classmethod
    def of(cls, lines: list[str], first: First, repeated: Repeated) -> "Headers":
        """From what the parser has already split; all three are taken over, not copied.

        `lines` are unfolded `Name: value` lines, `first` has the first value of each key, `repeated` all
        values of each key that stands more than once.
        """
        made = cls.__new__(cls)
        made._fields = None
        made._lines = lines
        made._names = None
        made._first = first
        made._repeated = repeated
        return made

    @classmethod
    def laid_out(
        cls, names: Sequence[str], values: Sequence[str], first: First, repeated: Repeated
    ) -> "Headers":
        """The same from names, as they are to be printed, and values."""
        made = cls.__new__(cls)
        made._fields = None
        made._lines = values
        made._names = names
        made._first = first
        made._repeated = repeated
        return made

    @property
    def _pairs(self) -> Pairs:
        pairs = self._fields
        if pairs is None:
            if self._names is not None:
                pairs = list(zip(self._names, self._lines, strict=True))
            else:
                split = [line.partition(":") for line in self._lines]
                pairs = [(SHOWN[n], value.strip(" \t")) for n, _, value in split]
            self._fields = pairs
            self._lines = ()
            self._names = None
        return pairs

    def _change(self, pairs: Pairs) -> None:
        self._fields = pairs
        self._first = None

    def _added(self, name: str, value: str) -> None:
        """The index follows a new field, unless there was one of that name."""
        first, key = self._first, key_of(name)
        if first is not None and key not in first:
            first[key] = value
        else:
            self._first = None

    def first(self) -> First:
        """Key (lower-case long name) → first value. Not to be changed."""
        return self._first if self._first is not None else self._index()

    def _index(self) -> First:
        first: First = {}
        repeated: Repeated = {}
        for name, value in self._pairs:
            key = key_of(name)
            if key not in first:
                first[key] = value
            elif key in repeated:
                repeated[key].append(value)
            else:
                repeated[key] = [first[key], value]
        self._first = first
        self._repeated = repeated
        return first

    def lines(self, key: str) -> list[str]:
        """All values of a key, one a line. Not to be changed."""
        first = self.first()
        if key not in first:
            return []
        return self._repeated[key] if key in self._repeated else [first[key]]

    @property
    def repeated(self) -> Repeated:
        """Keys that stand more than once → all their values. Not to be changed."""
        self.first()
        return self._repeated

    def get(self, name: str) -> str | None:
        """The first line's value, None if there is no such field."""
        return self.first().get(key_of(name))

    def get_all(self, name: str) -> list[str]:
        """One entry for each line of that name."""
        return list(self.lines(key_of(name)))

    def values(self, name: str) -> list[str]:
        """All elements of a comma list field, over all its lines; empty ones dropped.

        Raises ParseError on a quote that is never closed.
        """
        lines = self.lines(key_of(name))
        return [part for line in lines for part in split_list(line, name) if part]

    def add(self, name: str, value: str) -> None:
        """Put a field at the end."""
        self._pairs.append((SHOWN[name], value))
        self._added(name, value)

    def add_first(self, name: str, value: str) -> None:
        """Put a field before all others (a Via, a Record-Route)."""
        self._pairs.insert(0, (SHOWN[name], value))
        self._added(name, value)

    def set(self, name: str, value: str) -> None:
        """Make this the only field of that name, in the place of the first one, else at the end."""
        key = key_of(name)
        if key in self.first():
            self.set_lines(name, [value])
        else:
            self.add(name, value)

    def set_lines(self, name: str, values: Iterable[str]) -> None:
        """Replace all lines of that name by these, where the first one stood (at the top if none was)."""
        key, pairs = key_of(name), self._pairs
        at = next((i for i, pair in enumerate(pairs) if key_of(pair[0]) == key), 0)
        new = [(SHOWN[name], value) for value in values]
        rest = [pair for pair in pairs[at:] if key_of(pair[0]) != key]
        self._change(pairs[:at] + new + rest)

    def remove(self, name: str) -> None:
        """Take all fields of that name away; none is fine."""
        key = key_of(name)
        if key not in self.first():
            return
        self._change([pair for pair in self._pairs if key_of(pair[0]) != key])

    def items(self) -> Pairs:
        """All fields in order, as (name, value)."""
        return list(self._pairs)

    def copy(self) -> "Headers":
        """An independent copy."""
        made = Headers.__new__(Headers)
        made._fields = list(self._pairs)
        made._lines = ()
        made._names = None
        made._first = None
        made._repeated = NONE_REPEATED
        return made

    def __contains__(self, name: str) -> bool:
        return key_of(name) in self.first()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._lines) if self._fields is None else len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._pairs == other._pairs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"
