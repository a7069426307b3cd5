"""RPID: RFC 4480, with the place types of RFC 4589. Reading and printing of its elements.

Each element has a reader (element and notebook in, value out) and a printer (value in, text out). Readers
take what the final schema says, what its drafts said (text instead of elements, singular element names, one
namespace for everything) and the misspellings of deployed peers, and hand over the final form: tokens are in
the rpid namespace, places in the location-type one. A token that no vocabulary knows stays as it is. Where
several sorts of elements may contain a note, its namespace does not matter.

What RFC 4480's own schema forbids although its text allows it (`lunch`, text in `sphere`) is kept as read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias, TypeVar

from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import fragment, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    attributes_of,
    empty,
    escape,
    pairs_of,
    split,
    text_of,
)
from sipbridge.presence.model import (
    Attributes,
    Choice,
    Note,
    PlaceIs,
    Ranged,
    StatusIcon,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
    UserInput,
)
from sipbridge.presence.namespaces import LOCATION_TYPE, RPID, RPID_DRAFTS, XML

LANG = f"{{{XML}}}lang"


def tokens_of(text: str) -> frozenset[str]:
    """A vocabulary, written as one text."""
    return frozenset(text.split())


ACTIVITIES = tokens_of(
    """appointment away breakfast busy dinner holiday in-transit looking-for-work meal meeting on-the-phone
    other performance permanent-absence playing presentation shopping sleeping spectator steering travel tv
    unknown vacation working worship lunch"""
)
MOODS = tokens_of(
    """afraid amazed angry annoyed anxious ashamed bored brave calm cold confused contented cranky curious
    depressed disappointed disgusted distracted embarrassed excited flirtatious frustrated grumpy guilty
    happy hot humbled humiliated hungry hurt impressed in_awe in_love indignant interested invincible jealous
    lonely mean moody nervous neutral offended playful proud relieved remorseful restless sad sarcastic
    serious shocked shy sick sleepy stressed surprised thirsty worried unknown other"""
)
PLACES = tokens_of(
    """aircraft airport arena automobile bank bar bicycle bus bus-station cafe classroom club construction
    convention-center government hospital hotel industrial library motorcycle office outdoors parking
    place-of-worship prison public public-transport residence restaurant school shopping-area stadium store
    street theater train train-station truck underway unknown warehouse water watercraft"""
)
PRIVACIES = ("audio", "text", "video")
PRIVACY_VALUES = frozenset({*PRIVACIES, "unknown"})
SPHERES = frozenset({"home", "work", "unknown"})
RELATIONSHIPS = tokens_of("assistant associate family friend other self supervisor unknown")
SERVICE_CLASSES = tokens_of("courier electronic freight in-person postal unknown")
AUDIO_VALUES = frozenset({"noisy", "ok", "quiet", "unknown"})
VIDEO_VALUES = frozenset({"toobright", "ok", "dark", "unknown"})
TEXT_VALUES = frozenset({"uncomfortable", "inappropriate", "ok", "unknown"})

MISSPELT = {
    "bicyle": "bicycle",
    "motorcyle": "motorcycle",
    "cycle": "bicycle",
    "contended": "contented",
    "invisible": "invincible",
}
"""RFC 4589's schema, its drafts, and deployed peers."""

DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-](?:0\d|1[0-4]):[0-5]\d)?"
)


def read_time(text: str, where: Element, notes: Notebook) -> Timestamp:
    """An xs:dateTime; without zone it is taken as UTC. `at` is None where it cannot be read."""
    time, code = understood(text)
    if code is not None:
        notes.note(code, where, f"time {time.text[:80]!r}")
    return time


@lru_cache(maxsize=1024)  # a document repeats its times, and servers repeat documents
def understood(text: str) -> tuple[Timestamp, str | None]:
    """A time and the code of what is wrong with it."""
    text = text.strip()
    match = DATE_TIME.fullmatch(text)
    if match is None:
        return Timestamp(text, None), "bad-time"
    whole, fraction, zone = match.groups()
    shown = f"{whole}.{fraction[:6]}" if fraction else whole
    try:
        at = datetime.fromisoformat(shown + ("+00:00" if zone in (None, "Z") else zone))
        return Timestamp(text, at.astimezone(UTC)), None if zone else "no-zone"
    except (ValueError, OverflowError):
        return Timestamp(text, None), "bad-time"


def write_time(at: datetime) -> Timestamp:
    """An instant as xs:dateTime in UTC, without fraction where there is none."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds")
    return Timestamp(text.replace("+00:00", "Z"), at.astimezone(UTC))


Range: TypeAlias = tuple[Timestamp | None, Timestamp | None, str | None, Attributes]
NO_RANGE: Range = (None, None, None, ())


def read_range(element: Element, notes: Notebook) -> Range:
    """from, until, id and the attributes nobody knows."""
    if not element.keys():
        return NO_RANGE
    since = until = name = None
    others: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "from":
            since = read_time(value, element, notes)
        elif key == "until":
            until = read_time(value, element, notes)
        elif key == "id":
            name = notes.id(value, element)
        else:
            others.append((key, value))
    return since, until, name, tuple(others)


def print_range(value: Ranged) -> str:
    """Attributes of an element with a life time."""
    out = ""
    if value.since is not None:
        out = (
            f' from="{value.since.text}"' if value.since.at else attribute("from", value.since.text)
        )
    if value.until is not None:
        out += attribute("until", value.until.text)
    if value.id is not None:
        out += attribute("id", value.id)
    return out + attributes(value.attributes) if value.attributes else out


# ---- notes -----------------------------------------------------------------------------------------------


def read_note(element: Element, notes: Notebook) -> Note:
    """Any note: text as written, xml:lang."""
    if len(element):
        notes.note("markup-in-text", element)
        text = text_of(element)
    else:
        text = element.text or ""
    pairs = pairs_of(element)
    if not pairs:
        return Note(text)
    if len(pairs) == 1 and pairs[0][0] == LANG:
        return Note(text, pairs[0][1])
    return Note(text, element.get(LANG), attributes_of(element, LANG))


def print_note(tag: str, note: Note) -> str:
    """`<tag>text</tag>`."""
    lang = attribute("xml:lang", note.lang) if note.lang is not None else ""
    more = attributes(note.attributes) if note.attributes else ""
    return f"<{tag}{lang}{more}>{escape(note.text)}</{tag}>"


# ---- tokens ----------------------------------------------------------------------------------------------


def word(text: str) -> str:
    """Text as a token would be spelt: lower case, hyphens for blanks."""
    return "-".join(text.lower().split())


def token_name(name: str, known: frozenset[str], home: str, where: Element, notes: Notebook) -> str:
    """The Clark name that the final specifications give to a value element."""
    namespace, plain = split(name)
    if namespace == home and plain in known:
        return name
    right = MISSPELT.get(plain, plain)
    ours = namespace in RPID_DRAFTS or namespace in (RPID, LOCATION_TYPE)
    if not ours or right not in known:
        if namespace == RPID and plain not in ("other", "unknown"):
            notes.note("unknown-element", where, f"value {plain[:80]} is not defined")
        return name
    if right != plain:
        notes.note("misspelt-value", where, f"{plain} is read as {right}")
    if namespace != home:
        notes.note("draft-namespace" if namespace != RPID else "wrong-namespace", where)
    return f"{{{home}}}{right}"


def read_token(element: Element, known: frozenset[str], home: str, notes: Notebook) -> Token:
    """One value element."""
    name = token_name(str(element.tag), known, home, element, notes)
    text = text_of(element)
    pairs = pairs_of(element)
    if not text and not pairs and not len(element):
        return Token(name)
    lang = element.get(LANG)
    simple = not len(element) and all(key == LANG for key, _ in pairs)
    if simple and name.endswith("}other") and name.startswith(f"{{{RPID}}}"):
        return Token(name, text, lang)
    if simple and not text.strip():
        return Token(name)
    return Token(name, text.strip() or None, lang, fragment(element))


def text_token(
    text: str, known: frozenset[str], home: str, where: Element, notes: Notebook
) -> Token | None:
    """The token that plain text means, if it means one."""
    spelt = word(text)
    spelt = MISSPELT.get(spelt, spelt)
    if spelt not in known and spelt.replace("-", "_") in known:
        spelt = spelt.replace("-", "_")
    if spelt not in known or spelt == "other":
        return None
    notes.note(
        "text-for-element", where, f"text {text.strip()[:80]!r} is read as the element {spelt}"
    )
    return Token(f"{{{home}}}{spelt}")


def print_token(token: Token) -> str:
    """One value element."""
    if token.xml is not None:
        return standing_alone(token.xml)
    if token.text is None:
        return empty(token.name)
    opened = empty(token.name)[:-2]
    tag = opened[1:].partition(" ")[0]
    lang = attribute("xml:lang", token.lang) if token.lang is not None else ""
    return f"{opened}{lang}>{escape(token.text)}</{tag}>"


class Vocabulary:
    """What one kind of list may hold: its tokens, their namespace, whether free text becomes `other`."""

    __slots__ = ("alone", "free_text", "home", "known", "needs_value", "plain", "tag")

    def __init__(
        self,
        tag: str,
        known: frozenset[str],
        home: str = RPID,
        *,
        free_text: bool = False,
        needs_value: bool = False,
    ) -> None:
        self.tag = tag
        self.known = known
        self.home = home
        self.free_text = free_text
        self.needs_value = needs_value
        odd = {"lunch", "unknown", "other"} if free_text else {"other"}
        self.plain: dict[object, Token] = {
            (name := f"{{{home}}}{word}"): Token(name) for word in known - odd
        }
        """Values by tag that need no second look when they are empty."""
        self.alone = {name: TokenList(tokens=(token,)) for name, token in self.plain.items()}
        """Lists of one such value and nothing else: most of all that are met."""


ACTIVITY = Vocabulary("rpid:activities", ACTIVITIES, free_text=True)
MOOD = Vocabulary("rpid:mood", MOODS, free_text=True, needs_value=True)
PLACE = Vocabulary("rpid:place-type", PLACES, LOCATION_TYPE, needs_value=True)
PRIVACY = Vocabulary("rpid:privacy", PRIVACY_VALUES)
SPHERE = Vocabulary("rpid:sphere", SPHERES)

SINGULAR = frozenset({"activity", "placetype"})
"""Draft elements whose text is the value."""


def read_values(
    element: Element, words: Vocabulary, notes: Notebook
) -> tuple[list[Token], list[Note], str | None]:
    """The children of a list: tokens, notes, and text that is no token."""
    tokens: list[Token] = []
    said: list[Note] = []
    loose = [element.text or ""]
    known, home = words.known, words.home
    prefix = f"{{{home}}}"
    for child in element:
        tag = str(child.tag)
        plain = tag.rpartition("}")[2]
        if plain == "note" and plain not in known:
            if tokens and not said:
                notes.note("element-order", child)
            said.append(read_note(child, notes))
        elif plain in SINGULAR:
            notes.note("draft-form", child)
            loose.append(text_of(child))
            tokens += [read_token(inner, known, home, notes) for inner in child]
        elif (
            plain in known
            and tag.startswith(prefix)
            and child.text is None
            and not len(child)
            and not child.attrib
        ):
            tokens.append(Token(tag))
        else:
            tokens.append(read_token(child, known, home, notes))
        if child.tail:
            loose.append(child.tail)
    return tokens, said, read_loose(element, words, loose, tokens, notes)


def read_loose(
    element: Element, words: Vocabulary, loose: list[str], tokens: list[Token], notes: Notebook
) -> str | None:
    """Text between the elements of a list: a token if it names one, else what is to be kept as text."""
    kept = []
    names = {token.name for token in tokens}
    for text in loose:
        if not text or text.isspace():
            continue
        token = text_token(text, words.known, words.home, element, notes)
        if token is not None:
            if token.name not in names:
                names.add(token.name)
                tokens.append(token)
        elif words.free_text:
            notes.note("text-for-element", element, f"text {text.strip()[:80]!r} is read as other")
            tokens.append(Token(f"{{{RPID}}}other", text.strip()))
        else:
            notes.note("text-for-element", element, f"text {text.strip()[:80]!r} is kept")
            kept.append(text.strip())
    return " ".join(kept) if kept else None


def check_values(
    element: Element, words: Vocabulary, tokens: list[Token], text: str | None, notes: Notebook
) -> None:
    """What the schema would say of these values."""
    if not tokens:
        if words.needs_value and text is None:
            notes.note("empty-element", element)
        return
    if words.free_text:
        names = [token.name for token in tokens]
        if f"{{{RPID}}}lunch" in names:
            notes.note("not-in-schema", element, "lunch is in RFC 4480's text, not in its schema")
        if len(names) > 1 and f"{{{RPID}}}unknown" in names:
            notes.note("exclusive-value", element)


NOTE = f"{{{RPID}}}note"
Simple: TypeAlias = tuple[tuple[Token, ...], tuple[Note, ...]]


def read_simple(element: Element, plain: dict[object, Token], notes: Notebook) -> Simple | None:
    """Values and notes of a list of notes, then empty elements of its vocabulary; None for any other."""
    found: list[Token] = []
    said: list[Note] = []
    text = element.text
    if text and not text.isspace():
        return None
    for child in element:
        token = plain.get(child.tag)
        if token is not None and child.text is None and not len(child) and not child.keys():
            found.append(token)
        elif child.tag == NOTE and not found and not len(child):
            said.append(read_note(child, notes))
        else:
            return None
        text = child.tail
        if text and not text.isspace():
            return None
    return (tuple(found), tuple(said)) if found else None


T = TypeVar("T")


def read_alone(element: Element, alone: Mapping[object, T]) -> T | None:
    """The value of a list that holds one empty element of its vocabulary and nothing else, if it does."""
    if len(element) != 1 or element.keys():
        return None
    child = element[0]
    value = alone.get(child.tag)
    if value is None or child.text is not None or len(child) or child.keys():
        return None
    before, after = element.text, child.tail
    if (before and not before.isspace()) or (after and not after.isspace()):
        return None
    return value


def list_reader(words: Vocabulary) -> Callable[[Element, Notebook], TokenList]:
    """The reader for one kind of list."""
    plain, alone = words.plain, words.alone

    def read(element: Element, notes: Notebook) -> TokenList:
        known = read_alone(element, alone)
        if known is not None:
            return known
        simple = read_simple(element, plain, notes)
        since, until, name, others = read_range(element, notes)
        if simple is not None:
            return TokenList(since, until, name, others, *simple)
        tokens, said, text = read_values(element, words, notes)
        check_values(element, words, tokens, text, notes)
        return TokenList(since, until, name, others, tuple(tokens), tuple(said), text)

    return read


read_activities = list_reader(ACTIVITY)
read_mood = list_reader(MOOD)
read_place_type = list_reader(PLACE)
read_privacy = list_reader(PRIVACY)
read_sphere = list_reader(SPHERE)


def read_activity(element: Element, notes: Notebook) -> TokenList:
    """A lone `activity` of the drafts."""
    notes.note("draft-form", element)
    return read_activities(element, notes)


def read_placetype(element: Element, notes: Notebook) -> TokenList:
    """A lone `placetype` of the drafts."""
    notes.note("draft-form", element)
    return read_place_type(element, notes)


def print_list(words: Vocabulary, value: TokenList) -> str:
    """A list: notes, values, text."""
    tag = words.tag
    inner = "".join([print_note("rpid:note", note) for note in value.notes]) if value.notes else ""
    for token in value.tokens:
        inner += (
            empty(token.name) if token.text is None and token.xml is None else print_token(token)
        )
    if value.text is not None:
        inner += escape(value.text)
    if not inner:
        return f"<{tag}{print_range(value)}/>"
    return f"<{tag}{print_range(value)}>{inner}</{tag}>"


# ---- place-is --------------------------------------------------------------------------------------------

MEDIA = {"audio": AUDIO_VALUES, "video": VIDEO_VALUES, "text": TEXT_VALUES}


def read_place_is(element: Element, notes: Notebook) -> PlaceIs:
    """RFC 4480 §3.5."""
    since, until, name, others = read_range(element, notes)
    media: dict[str, list[Token]] = {"audio": [], "video": [], "text": []}
    said = []
    for child in element:
        plain = split(str(child.tag))[1]
        if plain == "note":
            said.append(read_note(child, notes))
        elif plain in media:
            media[plain] += read_medium(child, MEDIA[plain], notes)
        else:
            notes.note("unknown-element", child)
    return PlaceIs(
        since,
        until,
        name,
        others,
        tuple(media["audio"]),
        tuple(media["video"]),
        tuple(media["text"]),
        tuple(said),
    )


def read_medium(element: Element, known: frozenset[str], notes: Notebook) -> list[Token]:
    """audio, video or text: elements, or text where a peer writes that."""
    tokens = [read_token(child, known, RPID, notes) for child in element]
    if not tokens and element.text and element.text.strip():
        token = text_token(element.text, known, RPID, element, notes)
        if token is None:
            notes.note("stray-text", element)
        else:
            tokens.append(token)
    return tokens


def print_place_is(value: PlaceIs) -> str:
    """audio, video, text, in the schema's order."""
    inner = "".join(print_note("rpid:note", note) for note in value.notes)
    for tag, tokens in (
        ("audio", value.audio),
        ("video", value.video),
        ("text", value.medium_text),
    ):
        if tokens:
            inner += f"<rpid:{tag}>{''.join(map(print_token, tokens))}</rpid:{tag}>"
    return (
        f"<rpid:place-is{print_range(value)}>{inner}</rpid:place-is>"
        if inner
        else f"<rpid:place-is{print_range(value)}/>"
    )


# ---- scalars ---------------------------------------------------------------------------------------------


def read_text(element: Element, notes: Notebook) -> str:
    """The trimmed text of an element that takes no attributes."""
    if len(element):
        notes.note("markup-in-text", element)
        return text_of(element).strip()
    if element.keys():
        notes.note("attribute-dropped", element)
    text = element.text
    return text.strip() if text else ""


def read_timestamp(element: Element, notes: Notebook) -> Timestamp:
    """The time that an element holds as text."""
    return read_time(read_text(element, notes), element, notes)


def read_status_icon(element: Element, notes: Notebook) -> StatusIcon:
    """RFC 4480 §3.11."""
    since, until, name, others = read_range(element, notes)
    return StatusIcon(since, until, name, others, text_of(element).strip())


def print_status_icon(value: StatusIcon) -> str:
    """RFC 4480 §3.11."""
    return f"<rpid:status-icon{print_range(value)}>{escape(value.uri)}</rpid:status-icon>"


MINUTES = re.compile(r"[+-]?\d{1,4}")


def read_time_offset(element: Element, notes: Notebook) -> TimeOffset:
    """RFC 4480 §3.12."""
    since, until, name, others = read_range(element, notes)
    text = text_of(element).strip()
    if MINUTES.fullmatch(text) is None:
        notes.note("bad-number", element, f"time-offset {text[:40]!r} is no number of minutes")
    description = None
    for key, value in others:
        if key == "description":
            description = value
    if description is not None:
        others = tuple(pair for pair in others if pair[0] != "description")
    return TimeOffset(since, until, name, others, text, description)


def print_time_offset(value: TimeOffset) -> str:
    """RFC 4480 §3.12."""
    more = print_range(value) + attribute("description", value.description)
    return f"<rpid:time-offset{more}>{escape(value.minutes)}</rpid:time-offset>"


SECONDS = re.compile(r"\+?0*[1-9]\d*")


def read_user_input(element: Element, notes: Notebook) -> UserInput:
    """RFC 4480 §3.13."""
    threshold = last = name = None
    others: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "idle-threshold":
            threshold = value
            if SECONDS.fullmatch(threshold.strip()) is None:
                notes.note("bad-number", element, f"idle-threshold {threshold[:40]!r}")
        elif key == "last-input":
            last = read_time(value, element, notes)
        elif key == "id":
            name = notes.id(value, element)
        else:
            others.append((key, value))
    state = text_of(element).strip()
    if state not in ("active", "idle"):
        spelt = state.lower()
        notes.note(
            "misspelt-value" if spelt in ("active", "idle") else "not-in-schema",
            element,
            f"user-input {state[:40]!r}",
        )
        state = spelt if spelt in ("active", "idle") else state
    return UserInput(state, threshold, last, name, tuple(others))


def print_user_input(value: UserInput) -> str:
    """RFC 4480 §3.13."""
    last = value.last_input.text if value.last_input else None
    more = attribute("idle-threshold", value.idle_threshold) + attribute("last-input", last)
    more += attribute("id", value.id) + attributes(value.attributes)
    return f"<rpid:user-input{more}>{escape(value.state)}</rpid:user-input>"


def choice_reader(known: frozenset[str]) -> Callable[[Element, Notebook], Choice]:
    """The reader for relationship or service-class."""
    words = Vocabulary("", known)
    alone = {name: Choice((token,)) for name, token in words.plain.items()}

    def read(element: Element, notes: Notebook) -> Choice:
        one = read_alone(element, alone)
        if one is not None:
            return one
        others = attributes_of(element) if element.attrib else ()
        simple = read_simple(element, words.plain, notes)
        if simple is not None:
            return Choice(*simple, others)
        tokens, said, text = read_values(element, words, notes)
        return Choice(tuple(tokens), tuple(said), others, text)

    return read


read_relationship = choice_reader(RELATIONSHIPS)
read_service_class = choice_reader(SERVICE_CLASSES)


def print_choice(tag: str, value: Choice) -> str:
    """relationship, service-class."""
    inner = "".join(print_note("rpid:note", note) for note in value.notes)
    inner += "".join(map(print_token, value.tokens)) + escape(value.text or "")
    return f"<{tag}{attributes(value.attributes)}>{inner}</{tag}>"
