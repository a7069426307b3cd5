"""name-addr and addr-spec: From, To, Contact, Route, Record-Route (RFC 3261 §20.10, §25.1).

`"Display" <uri>;params` or `uri;params`. In the second form everything after the first ";" belongs to the
header, not to the URI, and a URI with "?" or "," must not stand so (§20.10). The URI is kept as text and
parsed on demand: proxied headers with schemes we do not know come through unharmed. An unquoted display
name may hold UTF-8, which the grammar does not allow but peers send; a comma or a stray quote in it is an
error. Printing always writes angle brackets.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import LWS, QUOTED, TOKEN_CHARS, is_token, quote, split_list, unquote
from sipbridge.sip.parameters import NONE, Parameters
from sipbridge.uri import Uri
from sipbridge.values import quick

BRACKETED = re.compile(
    rf"{LWS}(?:({QUOTED})|([{TOKEN_CHARS} \t\x80-\U0010ffff]*))?{LWS}<([^<>]*)>([\s\S]*)"
)
BARE_URI = re.compile(r"[^\s;,?<>\"]+")


@quick
@dataclass(frozen=True, slots=True)
class NameAddr:
    """One address. `display_name` without quotes, None if there was none; `uri_text` as on the wire."""

    uri_text: str
    display_name: str | None = None
    parameters: Parameters = NONE

    @classmethod
    def parse(cls, text: str, field: str = "address") -> "NameAddr":
        """Read one address. Raises ParseError naming `field`; the URI itself is checked by `uri`."""
        return parse_name_addr(text, field)

    def __str__(self) -> str:
        if self.uri_text == "*":
            return "*"
        name = "" if self.display_name is None else quote(self.display_name) + " "
        return f"{name}<{self.uri_text}>{self.parameters}"

    @property
    def uri(self) -> Uri:
        """The URI, parsed. Raises ParseError."""
        return Uri.parse(self.uri_text)

    @property
    def is_star(self) -> bool:
        """Is it `Contact: *` (§10.2.2)?"""
        return self.uri_text == "*"

    @property
    def tag(self) -> str | None:
        """The tag parameter of From and To."""
        return self.parameters.raw("tag")

    def with_tag(self, tag: str) -> "NameAddr":
        """The same address with this tag."""
        return replace(self, parameters=self.parameters.with_("tag", tag))

    def with_parameter(self, name: str, value: str | None = None) -> "NameAddr":
        """The same address with this header parameter."""
        return replace(self, parameters=self.parameters.with_(name, value))


@lru_cache(maxsize=2048)
def parse_name_addr(text: str, field: str) -> NameAddr:
    """The work behind `NameAddr.parse`, remembered: a dialog repeats its addresses in each message."""
    found = BRACKETED.fullmatch(text) if "<" in text else None
    if found:
        quoted, words, uri, rest = found.groups()
        display = unquote(quoted) if quoted is not None else (words or "").strip(" \t") or None
    else:
        uri, semicolon, rest = text.partition(";")
        uri, rest, display = uri.strip(" \t"), semicolon + rest, None
        if not BARE_URI.fullmatch(uri):
            raise ParseError(f"{text[:80]!r} is no address", field=field)
    if not uri:
        raise ParseError("the URI is empty", field=field)
    parameters = Parameters.parse(rest, field)
    tag = parameters.raw("tag")
    if tag is not None and not is_token(tag):
        raise ParseError(f"tag {tag[:40]!r} is no token", field=field)
    return NameAddr(uri, display, parameters)


@lru_cache(maxsize=2048)
def parse_addresses(text: str, field: str) -> tuple[NameAddr, ...]:
    """A comma list of addresses, one header line. Raises ParseError naming `field`."""
    return tuple([parse_name_addr(part, field) for part in split_list(text, field)])
