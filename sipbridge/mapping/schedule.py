"""The pair `rpid.scheduled`: an element that does not hold yet.

Its value is `element/token,token;from=…;until=…;note=…`, for instance
`activities/vacation;from=2030-07-01T00:00:00Z;until=2030-07-15T00:00:00Z`. A token is an RPID word (in
place-type: of the location type registry), a Clark name, or `other:` and text; place-is writes `audio.quiet`,
scalars their value. Characters that separate are percent-encoded inside tokens and notes. Elements whose time
is over are not mentioned.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from sipbridge.mapping.attributes import ANY_URI
from sipbridge.mapping.reading import Reading
from sipbridge.mapping.vocabulary import ACTIVITY, MEDIA, MOODS
from sipbridge.presence.model import (
    Note,
    PlaceIs,
    Ranged,
    StatusIcon,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
)
from sipbridge.presence.namespaces import (
    CAPS,
    CIPID,
    DATA_MODEL,
    LOCATION_TYPE,
    OMA,
    PIDF,
    RPID,
    SIPBRIDGE,
    TIMED_STATUS,
)

NAME = "rpid.scheduled"

NAMESPACES = {
    "activities": RPID,
    "mood": RPID,
    "place-type": LOCATION_TYPE,
    "privacy": RPID,
    "sphere": RPID,
}
"""Token list elements, and the namespace of their bare tokens."""

SAFE = "{}:.-_~@!*'()#?&$+ "
DATE_TIME = re.compile(
    r"-?[0-9]{4,}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A value read: the element's local name and the element itself."""

    name: str
    element: Ranged


def scheduled_pair(
    reading: Reading, name: str, element: Ranged, stamp: Timestamp | None = None
) -> None:
    """Add the pair of an element that does not hold, if it still will."""
    since = element.since.at if element.since is not None else None
    if since is None or since <= reading.at:
        return
    if element.until is not None and element.until.at is not None and element.until.at <= since:
        return
    reading.pair(NAME, text_of(name, element), reading.changed(stamp))


def text_of(name: str, element: Ranged) -> str:
    """The value of the pair."""
    parts = [f"{name}/{content_of(name, element)}"]
    if element.since is not None:
        parts.append(f"from={element.since.text}")
    if element.until is not None:
        parts.append(f"until={element.until.text}")
    parts += [f"note={quote(n.text, safe=SAFE)}" for n in getattr(element, "notes", ())]
    return ";".join(parts)


def content_of(name: str, element: Ranged) -> str:
    match element:
        case TokenList():
            words = [token_text(t, NAMESPACES[name]) for t in element.tokens]
            if element.text is not None and element.text.strip():
                words.append(f"other:{quote(element.text.strip(), safe=SAFE)}")
            return ",".join(words)
        case PlaceIs():
            media = (
                ("audio", element.audio),
                ("video", element.video),
                ("text", element.medium_text),
            )
            return ",".join(f"{m}.{token_text(t, RPID)}" for m, tokens in media for t in tokens)
        case StatusIcon():
            return quote(element.uri, safe=SAFE)
        case TimeOffset():
            return quote(element.minutes, safe=SAFE)
    return ""


def token_text(token: Token, namespace: str) -> str:
    prefix = f"{{{namespace}}}"
    if token.name == f"{{{RPID}}}other":
        return f"other:{quote(token.text or '', safe=SAFE)}"
    if token.name.startswith(prefix):
        return token.name[len(prefix) :]
    return quote(token.name, safe=SAFE)


def parse(text: str) -> Scheduled | None:
    """Read a value; None if it is not one of ours."""
    head, *rest = text.split(";")
    name, slash, content = head.partition("/")
    parameters = [p.partition("=")[::2] for p in rest]
    if not slash or any(k not in ("from", "until", "note") for k, _ in parameters):
        return None
    since = timestamp(next((v for k, v in parameters if k == "from"), None))
    until = timestamp(next((v for k, v in parameters if k == "until"), None))
    if since is None or (until is None and any(k == "until" for k, _ in parameters)):
        return None
    notes = tuple(Note(unquote(v)) for k, v in parameters if k == "note")
    words = tuple(content.split(",")) if content else ()
    if name in NAMESPACES:
        tokens = tuple(t for w in words if (t := parse_token(w, NAMESPACES[name])) is not None)
        if len(tokens) != len(words) or not normal(name, tokens, notes):
            return None
        return Scheduled(name, TokenList(since, until, tokens=tokens, notes=notes))
    if name == "place-is":
        return parse_place_is(words, since, until, notes)
    if name == "status-icon":
        uri = unquote(content)
        return (
            Scheduled(name, StatusIcon(since, until, uri=uri)) if ANY_URI.fullmatch(uri) else None
        )
    if name == "time-offset" and re.fullmatch(r"[+-]?[0-9]{1,6}", content):
        return Scheduled(name, TimeOffset(since, until, minutes=content))
    return None


def parse_place_is(
    words: tuple[str, ...],
    since: Timestamp | None,
    until: Timestamp | None,
    notes: tuple[Note, ...],
) -> Scheduled | None:
    media: dict[str, tuple[Token, ...]] = {}
    for word in words:
        medium, _, token = word.partition(".")
        if medium in media or token not in MEDIA.get(medium, ()):
            return None
        media[medium] = (Token(f"{{{RPID}}}{token}"),)
    get = media.get
    element = PlaceIs(
        since,
        until,
        audio=get("audio", ()),
        video=get("video", ()),
        medium_text=get("text", ()),
        notes=notes,
    )
    return Scheduled("place-is", element)


NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
NAMESPACE_NAME = re.compile(r"(?:[A-Za-z0-9:/?@!$&'()*+,;=._~#-]|%[0-9A-Fa-f]{2})+")


NO_WORDS = frozenset({PIDF, DATA_MODEL, CIPID, TIMED_STATUS, CAPS, OMA})
"""Their elements are parts of a document, with parts of their own: an empty one would not be valid."""


def parse_token(text: str, namespace: str) -> Token | None:
    """A bare word, `x:` word, Clark name, or `other:` and text; None if it could not be an element."""
    if text.startswith("other:"):
        return Token(f"{{{RPID}}}other", unquote(text[6:]))
    text = unquote(text)
    if text.startswith("{"):
        space, closing, local = text[1:].partition("}")
        good = closing and NCNAME.fullmatch(local) and NAMESPACE_NAME.fullmatch(space)
        return Token(text) if good and space not in NO_WORDS else None
    if text.startswith("x:") and NCNAME.fullmatch(text[2:]):
        return Token(f"{{{SIPBRIDGE}}}{text[2:]}")
    return Token(f"{{{namespace}}}{text}") if NCNAME.fullmatch(text) else None


def normal(name: str, tokens: tuple[Token, ...], notes: tuple[Note, ...]) -> bool:
    """Could the schema accept this list of tokens?"""
    local = [t.name.removeprefix(f"{{{RPID}}}") for t in tokens]
    own = [w for w in local if not w.startswith("{")]
    words, alone = LISTS[name]
    if not words.issuperset(own) or (len(local) > 1 and not alone.isdisjoint(own)):
        return False
    if name in ("privacy", "sphere"):
        return not notes and own == sorted(set(own)) and local[: len(own)] == own
    return bool(tokens) or name == "activities"


LISTS = {
    "activities": (
        frozenset(t for t in (*ACTIVITY.pairs, *ACTIVITY.folds) if not t.startswith("x:")),
        frozenset({"unknown"}),
    ),
    "mood": (MOODS | {"other"}, frozenset({"unknown"})),
    "place-type": (frozenset({"other"}), frozenset({"other"})),
    "privacy": (frozenset({"audio", "text", "video", "unknown"}), frozenset({"unknown"})),
    "sphere": (frozenset({"home", "work", "unknown"}), frozenset({"home", "work", "unknown"})),
}
"""For each token list: the words of the rpid namespace it may hold, and those that stand alone."""


def timestamp(text: str | None) -> Timestamp | None:
    """An xs:dateTime from a pair; None if it is none."""
    if text is None or not DATE_TIME.fullmatch(text.strip()):
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return Timestamp(text.strip(), at if at.tzinfo else at.replace(tzinfo=UTC))
