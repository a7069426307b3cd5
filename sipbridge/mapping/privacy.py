"""RPID privacy of the person and Privacy (RFC 4480 §3.7).

The two notions differ: RPID lists the media that bystanders are unlikely to overhear, oversee or read, the
word describes the surroundings. All three media are PrivacyPrivate, none (an empty element) PrivacyPublic,
text alone PrivacyQuiet: a person who can be written to but would be overheard. Any other set is PrivacyOther
with the set in the pair `rpid.privacy`. The table's tokens are such sets, as comma lists.

With `privacy_quiet = "place-is"` PrivacyQuiet means audio quiet instead, as the drafts' one word did; it can
not be told from Place Quiet on the way back, so the reader then says both.
"""

import re

from sipbridge.mapping.attributes import AttributeKind, Privacy
from sipbridge.mapping.reading import NOTE, Reading, Said, own_note, span
from sipbridge.mapping.schedule import parse_token, scheduled_pair
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import PlaceIs, Token, TokenList
from sipbridge.presence.namespaces import RPID, RPID_DRAFTS

MEDIA = ("audio", "text", "video")
"""In the order of the schema."""

ITEM = re.compile(r"\{[^}]*\}[^,]+|[^,]+")
WORDS = {f"{{{RPID}}}{word}": word for word in (*MEDIA, "unknown")}
QUIET = Token(f"{{{RPID}}}quiet")

KIND = AttributeKind.PRIVACY


def set_of(element: TokenList) -> str:
    """The element's tokens as a sorted comma list; media first."""
    tokens = element.tokens
    if element.text is not None and element.text.strip():
        tokens = (*tokens, Token(f"{{{RPID}}}{element.text.strip().lower()}"))
    if len(tokens) == 1:
        return local(tokens[0].name)
    words = {local(token.name) for token in tokens}
    return ",".join(sorted(words, key=lambda word: (word.startswith("{"), word)))


def local(name: str) -> str:
    """A word of RPID or of its drafts without its namespace; any other name whole."""
    word = WORDS.get(name)
    if word is not None:
        return word
    space, _, word = name.rpartition("}")
    return word if space[1:] == RPID or space[1:] in RPID_DRAFTS else name


def read(reading: Reading) -> list[Said]:
    """The Privacy with note and time, nothing if nothing is said."""
    reading.bound = None
    said: list[Said] = []
    first = None
    table = reading.tables.privacy
    for person in reading.document.persons:
        for element in person.privacy:
            timed = element.since is not None or element.until is not None
            if timed and not reading.current(element):
                scheduled_pair(reading, "privacy", element, person.timestamp)
                continue
            text = set_of(element)
            row = table.row_of_text(text)
            changed = reading.changed(person.timestamp, element.attributes)
            if first is None:
                first = text
                note = own_note(element.attributes) or reading.best_note(element.notes)
                said.append(((KIND, row.word, note), changed))
                if timed:
                    span("rpid.privacy", reading, element, changed)
                if not row.written:
                    reading.pair("rpid.privacy", text, changed)
            elif text != first:
                reading.pair("rpid.privacy", text, changed)
            if reading.explain is not None:
                reading.say(
                    KIND, row.word, container=person.id, element="privacy", token=text or "empty"
                )
    if not said and reading.tables.privacy_quiet == "place-is":
        return read_quiet(reading)
    return said


def read_quiet(reading: Reading) -> list[Said]:
    for person in reading.document.persons:
        for element in person.place_is:
            if QUIET in element.audio and reading.current(element):
                changed = reading.changed(person.timestamp, element.attributes)
                return [((KIND, Privacy.QUIET, None), changed)]
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
