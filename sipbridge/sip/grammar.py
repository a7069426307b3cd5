"""RFC 3261 §25 as named pattern fragments, and the few text operations every header shares.

The parser reads the header section as text: UTF-8, and bytes that are no UTF-8 come through as lone
surrogates (`surrogateescape`), so nothing is lost on the way back to the wire. Folded lines have been joined
before any pattern here sees them; linear white space is therefore a run of spaces and tabs. No pattern has
nested repetition that could be read two ways, so hostile input costs linear time.
"""

import re
from functools import lru_cache

from sipbridge.errors import ParseError

TOKEN_CHARS = r"A-Za-z0-9\-.!%*_+`'~"
TOKEN = rf"[{TOKEN_CHARS}]+"
QUOTED = r'"(?:[^"\\]++|\\[\s\S])*+"'
"""quoted-string; a backslash protects the next character, whatever it is."""
LWS = r"[ \t]*"

IS_TOKEN = re.compile(TOKEN)
IS_CALL_ID = re.compile(r"[!-~\x80-\U0010ffff]+")
"""Wider than `callid`: no space and no control character.

Peers put "=" and ";" in, and only equality counts.
"""
DIGITS = re.compile(r"[0-9]+")
ESCAPED = re.compile(r"\\([\s\S])")
NEEDS_ESCAPE = re.compile(r'["\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
LINE_BREAK = re.compile(r"[\r\n]+[ \t]*")
LIST_ELEMENT = re.compile(rf'(?:{QUOTED}|<[^>]*>|[^,"<]++)*+')
FOLDED = re.compile(r"\r?\n[ \t]+")
"""A line break followed by white space is a space (§7.3.1)."""
PROTECTED = re.compile(r'"(?:[^"\\]++|\\[\s\S])*+("?)')
"""A quoted-string, or a quote that is never closed and all that follows (then the group is empty)."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

CONTROL_AND_BREAKS = bytes(set(range(32)) - {9} | {127})
"""Bytes no header line may hold outside a quoted string: everything below space but TAB, and DEL."""


def is_token(text: str) -> bool:
    """Is this a `token`, not empty?"""
    return IS_TOKEN.fullmatch(text) is not None


def unquote(text: str) -> str:
    """The value of a quoted-string; anything else is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    """A quoted-string for this value. A line break cannot be said in SIP and becomes a space."""
    if "\n" in text or "\r" in text:
        text = LINE_BREAK.sub(" ", text)
    return f'"{NEEDS_ESCAPE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    return "\\" + found[0]


def split_list(text: str, field: str = "") -> list[str]:
    """Split at commas outside quotes and angle brackets. Empty elements are kept: some headers forbid them.

    Raises ParseError naming `field` when a quote or an angle bracket is never closed.
    """
    if "," not in text:
        return [text.strip(" \t")]
    if '"' not in text and "<" not in text:
        return [part.strip(" \t") for part in text.split(",")]
    parts = []
    at = 0
    while True:
        found = LIST_ELEMENT.match(text, at)
        end = found.end() if found else at
        parts.append(text[at:end].strip(" \t"))
        if end >= len(text):
            return parts
        if text[end] != ",":
            raise ParseError(f"{text[end]} is never closed", field=field, offset=end)
        at = end + 1


def parse_integer(text: str, field: str, maximum: int) -> int:
    """Digits only, at most `maximum`. Raises ParseError naming `field`."""
    if not DIGITS.fullmatch(text):
        raise ParseError(f"{text[:40]!r} is not a number", field=field)
    digits = text.lstrip("0")
    if len(digits) > 20 or int(digits or "0") > maximum:
        raise ParseError(f"{text[:40]} is above {maximum}", field=field)
    return int(digits or "0")


def has_stray_control(text: str) -> bool:
    """Is there a control character outside quoted strings? (Inside one, `quoted-pair` allows it.)"""
    if '"' in text:
        text = PROTECTED.sub(_unprotected, text)
    return CONTROL.search(text) is not None


def _unprotected(found: re.Match[str]) -> str:
    return "" if found[1] else found[0]


@lru_cache(maxsize=256)
def token_list(text: str) -> tuple[str, ...]:
    """A comma list of plain words (Supported, Allow …); empty elements are dropped."""
    return tuple(word for part in text.split(",") if (word := part.strip(" \t")))
