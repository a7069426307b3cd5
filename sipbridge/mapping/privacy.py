"""RPID privacy of the person and Privacy (RFC 4480 §3.7).

The two notions differ: RPID lists the media that bystanders are unlikely to overhear, oversee or read, the
word describes the surroundings. All three media are PrivacyPrivate, none (an empty element) PrivacyPublic,
text alone PrivacyQuiet: a person who can be written to but would be overheard. Any other set is PrivacyOther
with the set in the pair `rpid.privacy`. The table's tokens are such sets, as comma lists.

With `privacy_quiet = "place-is"` PrivacyQuiet means audio quiet instead, as the drafts' one word did; it can
not be told from Place Quiet on the way back, so the reader then says both.
"""

import re
from datetime import datetime

from sipbridge.mapping.attributes import AttributeKind, Privacy
from sipbridge.mapping.reading import Reading, span
from sipbridge.mapping.schedule import parse_token, scheduled_pair
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import PlaceIs, Token, TokenList
from sipbridge.presence.namespaces import RPID, RPID_DRAFTS, SIPBRIDGE

MEDIA = ("audio", "text", "video")
"""In the order of the schema."""

ITEM = re.compile(r"\{[^}]*\}[^,]+|[^,]+")
NOTE = f"{{{SIPBRIDGE}}}note"
QUIET = Token(f"{{{RPID}}}quiet")

KIND = AttributeKind.PRIVACY

Read = list[tuple[Privacy, str | None, datetime]]


def set_of(element: TokenList) -> str:
    """The element's tokens as a sorted comma list; media first."""
    tokens = [*element.tokens]
    if element.text is not None and element.text.strip():
        tokens.append(Token(f"{{{RPID}}}{element.text.strip().lower()}"))
    if len(tokens) == 1:
        return local(tokens[0])
    return ",".join(sorted({local(t) for t in tokens}, key=lambda w: (w.startswith("{"), w)))


def local(token: Token) -> str:
    space, closing, word = token.name.rpartition("}")
    return word if space[1:] == RPID or space[1:] in RPID_DRAFTS else token.name


def read(reading: Reading) -> Read:
    """The Privacy with note and time, nothing if nothing is said."""
    reading.bound = None
    said: Read = []
    first = None
    for person in reading.document.persons:
        for element in person.privacy:
            if not reading.current(element):
                scheduled_pair(reading, "privacy", element, person.timestamp)
                continue
            text = set_of(element)
            row = reading.tables.privacy.row_of_text(text)
            changed = reading.changed(person.timestamp, element.attributes)
            if first is None:
                note = dict(element.attributes).get(NOTE) or reading.best_note(element.notes)
                said.append((row.word, note, changed))
                span("rpid.privacy", reading, element, changed)
                if not row.written:
                    reading.pair("rpid.privacy", text, changed)
            elif text != first:
                reading.pair("rpid.privacy", text, changed)
            first = text if first is None else first
            if reading.explain is not None:
                reading.say(
                    KIND, row.word, container=person.id, element="privacy", token=text or "empty"
                )
    if not said and reading.tables.privacy_quiet == "place-is":
        return read_quiet(reading)
    return said


def read_quiet(reading: Reading) -> Read:
    for person in reading.document.persons:
        for element in person.place_is:
            if QUIET in element.audio and reading.current(element):
                changed = reading.changed(person.timestamp, element.attributes)
                return [(Privacy.QUIET, None, changed)]
    return []


def write(writing: Writing) -> tuple[tuple[TokenList, ...], tuple[PlaceIs, ...]]:
    """The privacy elements; with privacy_quiet = place-is, a place-is."""
    attributes = writing.of(KIND)
    sets = writing.take("rpid.privacy")
    since, until = writing.window("rpid.privacy")
    word = next((a.value for a in attributes if isinstance(a.value, Privacy)), None)
    changed = writing.changed(attributes)
    if word is Privacy.QUIET and writing.tables.privacy_quiet == "place-is":
        for text in sets:
            writing.dropped("rpid.privacy", text, "PrivacyQuiet is written as place-is")
        return (), (PlaceIs(attributes=changed, audio=(QUIET,)),)
    tokens: tuple[Token, ...] | None = None
    for text in sets:
        row = writing.tables.privacy.row_of_text(text)
        fits = word is None or row.word is word
        if tokens is not None or not fits:
            writing.dropped("rpid.privacy", text, "the value itself wins")
        else:
            tokens = tokens_of(text)
            if tokens is None:
                writing.keep("rpid.privacy", text)
    if tokens is None and word is not None:
        own = writing.tables.privacy.writes.get(word)
        tokens = tokens_of(own.token) if own is not None else None
    if tokens is None:
        return (), ()
    note = next((a.note for a in attributes if a.note), None)
    kept = ((NOTE, note),) if note else ()
    return (TokenList(since, until, None, (*changed, *kept), tokens),), ()


def tokens_of(text: str) -> tuple[Token, ...] | None:
    """A comma list as tokens in the order of the schema; None if it could not be written."""
    words = ITEM.findall(text)
    if words == ["unknown"]:
        return (Token(f"{{{RPID}}}unknown"),)
    foreign = [parse_token(w, RPID) for w in words if w not in MEDIA]
    if any(t is None or t.name.startswith(f"{{{RPID}}}") for t in foreign):
        return None
    media = tuple(Token(f"{{{RPID}}}{m}") for m in MEDIA if m in words)
    return media + tuple(t for t in foreign if t is not None)
