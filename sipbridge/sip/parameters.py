"""`;name=value` lists, as they follow addresses, Via, Event, Content-Type (RFC 3261 §25.1 generic-param).

Values are kept as they stood on the wire, quotes included, so that printing gives them back; `get()` undoes
the quoting. Names ignore case. Reading is wider than the grammar in one point: an unquoted value may hold
any visible character but comma, semicolon and quote, because peers send `received=2001:db8::1`,
`start=<top@example.com>` and `type=application/rlmi+xml` bare. One semicolon too many at the end is
forgiven. An empty parameter (`;;`) or an empty value is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import LWS, QUOTED, TOKEN, quote, unquote
from sipbridge.values import quick

Pair = tuple[str, str | None]

ONE = re.compile(
    rf'{LWS};{LWS}({TOKEN})(?:{LWS}={LWS}({QUOTED}|[^\s;,"\x00-\x20\x7f]+))?{LWS}',
)
BARE = re.compile(rf"{TOKEN}|[0-9A-Fa-f:.\[\]]+")
"""What we write without quotes: tokens and IP addresses."""
MAX_PARAMETERS = 64
"""One header value; the busiest seen (a GRUU contact) has nine."""


@quick
@dataclass(frozen=True, slots=True)
class Parameters:
    """Ordered parameters, values as on the wire (None: no "=")."""

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def parse(cls, text: str, field: str = "parameters") -> "Parameters":
        """Read `;a=b;c…` (white space allowed round the marks). Raises ParseError naming `field`."""
        if not text:
            return NONE
        pairs: list[Pair] = []
        at = 0
        while at < len(text):
            found = ONE.match(text, at)
            if not found:
                if text[at:].strip(" \t") in ("", ";"):
                    break
                raise ParseError(
                    f"parameter {text[at : at + 40]!r} is malformed", field=field, offset=at
                )
            pairs.append((found[1], found[2]))
            at = found.end()
        if len(pairs) > MAX_PARAMETERS:
            raise ParseError(f"more than {MAX_PARAMETERS} parameters", field=field)
        return cls(tuple(pairs))

    def __str__(self) -> str:
        return "".join([f";{n}" if v is None else f";{n}={v}" for n, v in self.pairs])

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __contains__(self, name: str) -> bool:
        return self.raw(name) is not None

    def raw(self, name: str) -> str | None:
        """The value as on the wire; "" for a parameter without value, None if absent."""
        for key, value in self.pairs:
            if key == name:
                return "" if value is None else value
        lower = name.lower()
        for key, value in self.pairs:
            if key.lower() == lower:
                return "" if value is None else value
        return None

    def get(self, name: str) -> str | None:
        """The value, unquoted; "" for a parameter without value, None if absent."""
        value = self.raw(name)
        return unquote(value) if value and value[0] == '"' else value

    def with_(self, name: str, value: str | None = None) -> "Parameters":
        """The same with this parameter set, in its old place or at the end. Quotes are added if needed."""
        wire = value if value is None or BARE.fullmatch(value) else quote(value)
        lower = name.lower()
        if self.raw(name) is None:
            return Parameters((*self.pairs, (name, wire)))
        return Parameters(tuple((n, wire) if n.lower() == lower else (n, v) for n, v in self.pairs))

    def without(self, name: str) -> "Parameters":
        """The same without this parameter."""
        lower = name.lower()
        return Parameters(tuple(pair for pair in self.pairs if pair[0].lower() != lower))


NONE = Parameters()
