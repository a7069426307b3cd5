"""Place types, the surroundings, and Place (RFC 4480 §3.5 and §3.6; tokens of RFC 4589).

All place types of a document hold at once, JSON has one. Ranks: 1 a specific place with a value of its own,
2 a specific one without, 3 umbrella terms, 4 unknown; within a rank a token that the writer would not choose
before one that it would (`cafe` before `restaurant`), then document order. What is open to the public is not
PublicPlace unless the registry lists it under `public`. `place-is` audio quiet and noisy are a Place only if
no place type gives one; what else the surroundings say goes into pairs.

RPID has no station without saying of what: written is `public` with our `x:station`. An element holds either
one free text or tokens, so a document may need two `place-type` elements.
"""

from datetime import datetime

from sipbridge.mapping.attributes import AttributeKind, Place
from sipbridge.mapping.reading import Reading, Said, span
from sipbridge.mapping.rows import ANY
from sipbridge.mapping.schedule import scheduled_pair
from sipbridge.mapping.table import Row, Table
from sipbridge.mapping.vocabulary import MEDIA
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import Note, Person, PlaceIs, Timestamp, Token, TokenList
from sipbridge.presence.namespaces import RPID

OTHER = f"{{{RPID}}}other"
AUDIO = {f"{{{RPID}}}quiet": Place.QUIET, f"{{{RPID}}}noisy": Place.NOISY}
SURROUNDINGS = {Place.QUIET: Token(f"{{{RPID}}}quiet"), Place.NOISY: Token(f"{{{RPID}}}noisy")}

KIND = AttributeKind.PLACE

Found = tuple[float, Row[Place], Token, TokenList, Person]


def gather(reading: Reading) -> list[Found]:
    """The place types that hold now, strongest first, each once."""
    found: list[Found] = []
    rows = reading.tables.place.rows
    for person in reading.document.persons:
        for element in person.place_types:
            if (element.since is not None or element.until is not None) and not reading.current(
                element
            ):
                scheduled_pair(reading, "place-type", element, person.timestamp)
                continue
            for token in tokens_of(element, reading):
                row = rows.get(token.name) or row_of(token, reading.tables.place)
                found.append((row.rank, row, token, element, person))
    if len(found) > 1:
        found.sort(key=lambda entry: entry[0])
        seen = set()
        kept = []
        for entry in found:
            key = (entry[1].name, entry[2].text if entry[2].name == OTHER else None)
            if key not in seen:
                seen.add(key)
                kept.append(entry)
        return kept
    return found


def tokens_of(element: TokenList, reading: Reading) -> tuple[Token, ...]:
    """The tokens, and what stands there as text: a token's name or free text."""
    text = (element.text or "").strip()
    if not text:
        return element.tokens
    name = reading.tables.place.row_of_text(text.lower()).name
    known = name in reading.tables.place.rows
    return (*element.tokens, Token(name) if known else Token(OTHER, text))


def row_of(token: Token, table: Table[Place]) -> Row[Place]:
    if token.name == OTHER:
        return Row("other", OTHER, Place.OTHER, table.ranks.get(ANY, 0.0), False, "other")
    return table.row(token.name)


def read(reading: Reading) -> list[Said]:
    """The Place with note and time, nothing if nothing is said; two or more in multi mode."""
    reading.bound = None
    found = gather(reading)
    said = read_types(reading, found) if found else []
    held = read_surroundings(reading)
    if held:
        word = found[0][1].word if found else Place.NONE
        audible = read_audio(reading, held, word, bool(found))
        if audible is not None:
            if word is Place.NONE:
                said.clear()
            said.append(audible)
    if reading.explain is not None:
        explain_found(reading, found)
    return said


def read_types(reading: Reading, found: list[Found]) -> list[Said]:
    """What the place types say. Pairs go to the reading."""
    _, row, _, element, person = found[0]
    word = row.word
    changed = reading.changed(person.timestamp, element.attributes)
    if element.since is not None or element.until is not None:
        span("rpid.place-type", reading, element, changed)
    if len(found) > 1 or not row.written:
        token_pairs(found, reading, changed)
    note = None
    if element.notes:
        note = reading.worth_telling(reading.best_note(element.notes), word)
    said: list[Said] = [((KIND, word, note), changed)]
    if reading.tables.multi:
        words = dict.fromkeys(w for e in found[1:] if (w := e[1].word) is not word)
        said += [((KIND, w, None), changed) for w in words]
    return said


def explain_found(reading: Reading, found: list[Found]) -> None:
    for entry in found:
        reading.say(
            KIND,
            entry[1].word,
            container=entry[4].id,
            element="place-type",
            token=entry[1].token,
            row=f"rank {entry[0]:g}, {'pair' if entry[1].written else 'fold'}",
            chosen=entry is found[0],
        )


def read_surroundings(reading: Reading) -> list[tuple[PlaceIs, Person]]:
    held = []
    for person in reading.document.persons:
        for element in person.place_is:
            if reading.current(element):
                held.append((element, person))
            else:
                scheduled_pair(reading, "place-is", element, person.timestamp)
    return held


def read_audio(
    reading: Reading, held: list[tuple[PlaceIs, Person]], word: Place, typed: bool
) -> Said | None:
    """Pairs for all that the surroundings say, but for the audio that is the Place."""
    said: Said | None = None
    seen = set()
    for element, person in held:
        changed = reading.changed(person.timestamp, element.attributes)
        media = (("audio", element.audio), ("video", element.video), ("text", element.medium_text))
        for medium, tokens in media:
            for token in tokens:
                place = AUDIO.get(token.name) if medium == "audio" else None
                free = word is Place.NONE or (reading.tables.multi and typed)
                if place is not None and said is None and free:
                    note = reading.worth_telling(reading.best_note(element.notes), place)
                    said = (KIND, place, note), changed
                elif (medium, token.name) not in seen:
                    local = token.name.removeprefix(f"{{{RPID}}}")
                    reading.pair(f"rpid.place-is.{medium}", local, changed)
                seen.add((medium, token.name))
        if seen:
            span("rpid.place-is", reading, element, changed)
    return said


def token_pairs(found: list[Found], reading: Reading, changed: datetime) -> None:
    """A pair for each token but a first one that our writer would choose anyway."""
    first = found[0][1]
    multi = reading.tables.multi
    station = first.companion is not None and first.written
    for i, (_, row, token, _, _) in enumerate(found):
        alone = not any(j != i and e[1].word is row.word for j, e in enumerate(found))
        if row.written and alone and (i == 0 or multi):
            continue
        if i and station and row.token == first.companion:
            if any(e[1].word is first.word for e in found[1:]):
                reading.pair("rpid.place-type", row.text, changed)
            continue
        if token.name == OTHER:
            reading.pair("rpid.place-type.other", token.text or "", changed)
        else:
            reading.pair("rpid.place-type", row.text, changed)


# --- from JSON ----------------------------------------------------------------------------------------


def write(writing: Writing) -> tuple[tuple[TokenList, ...], tuple[PlaceIs, ...]]:
    """The place-type and place-is elements."""
    attributes = writing.of(KIND)
    words = [a.value for a in attributes if isinstance(a.value, Place)]
    note = next((a.note for a in attributes if a.note), None)
    notes = (Note(note),) if note else ()
    changed = writing.changed(attributes)
    table = writing.tables.place
    extra = []
    for text in writing.take("rpid.place-type"):
        token = writing.token(table, text)
        if token is None:
            writing.keep("rpid.place-type", text)
        else:
            extra.append((token, table.row(token.name).word))
    texts = [Token(OTHER, text) for text in writing.take("rpid.place-type.other")]
    tokens: list[Token] = []
    for word in words:
        row = table.writes.get(word)
        refined = any(means is word for _, means in extra) or (word is Place.OTHER and texts)
        if row is not None and not refined:
            if row.companion is not None:
                tokens.append(Token(table.row_of_text(row.companion).name))
            tokens.append(Token(row.name))
    tokens += [token for token, _ in extra if token not in tokens]
    since, until = writing.window("rpid.place-type")
    contents = ([tuple(tokens)] if tokens else []) + [(text,) for text in texts]
    types = tuple(TokenList(since, until, None, changed, content, notes) for content in contents)
    audible = [SURROUNDINGS[w] for w in words if w in SURROUNDINGS]
    window = writing.window("rpid.place-is")
    return types, surroundings(writing, audible, window, changed, () if types else notes)


def surroundings(
    writing: Writing,
    audible: list[Token],
    window: tuple[Timestamp | None, Timestamp | None],
    changed: tuple[tuple[str, str], ...],
    notes: tuple[Note, ...],
) -> tuple[PlaceIs, ...]:
    """One place-is for each further value of a medium; mostly there is one, or none."""
    if not (audible or writing.pairs):
        return ()
    media: dict[str, list[Token]] = {"audio": list(audible), "video": [], "text": []}
    for medium, allowed in MEDIA.items():
        name = f"rpid.place-is.{medium}"
        for text in writing.take(name):
            token = Token(f"{{{RPID}}}{text}")
            if text not in allowed:
                writing.keep(name, text)
            elif token not in media[medium]:
                media[medium].append(token)
    count = max(len(tokens) for tokens in media.values())

    def nth(medium: str, i: int) -> tuple[Token, ...]:
        return tuple(media[medium][i : i + 1])

    return tuple(
        PlaceIs(
            *window,
            None,
            changed,
            audio=nth("audio", i),
            video=nth("video", i),
            medium_text=nth("text", i),
            notes=notes if i == 0 else (),
        )
        for i in range(count)
    )
