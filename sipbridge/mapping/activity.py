"""RPID activities and Activity (RFC 4480 §3.2).

Several activities hold at the same time in a document, in JSON one. The order of the table decides: permanent
absence closes everything; an explicit wish not to be disturbed beats facts; what engages the person now beats
what shapes the day; a specific token beats the generic `busy` and `away` that softphones add beside it; free
text, foreign elements and `unknown` come last. All other tokens become reserved pairs, in that order.

RPID has no "available" (no activity and an open tuple), no "do not disturb" (`busy` and `x:do-not-disturb`;
read are also free text that says so and OMA's overriding-willingness closed) and no "not set" (`x:none`).

On the way back pairs refine the word when they map to it; else the word is written and the pair's token
stands beside it. Free text is `other`. A word and `basic` belong together: permanent absence is closed, the
rest is open, unless the pair `pidf.basic` says otherwise.
"""

from datetime import datetime

from sipbridge.mapping.attributes import Activity, AttributeKind
from sipbridge.mapping.reading import Reading, Said, span
from sipbridge.mapping.schedule import scheduled_pair
from sipbridge.mapping.table import Row, Table, Tables, letters
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import Basic, Note, Person, Timestamp, Token, TokenList
from sipbridge.presence.namespaces import RPID

OTHER = f"{{{RPID}}}other"
BUSY = f"{{{RPID}}}busy"
UNKNOWN = f"{{{RPID}}}unknown"

STATUS_NAMES = {
    Activity.AVAILABLE: ("available", "online", "open"),
    Activity.NONE: ("offline", "closed", "unknown"),
}
"""What clients write as a note where a status has no activity."""

KIND = AttributeKind.ACTIVITY

Found = tuple[float, Row[Activity], Token | None, TokenList | None, Person]
"""An activity that holds now: rank, row, and where it stands (no token: the person's willingness)."""


def gather(reading: Reading) -> list[Found]:
    """All activities that hold now, strongest first, each once."""
    found: list[Found] = []
    rows = reading.tables.activity.rows
    explain = reading.explain
    for person in reading.document.persons:
        for element in person.activities:
            if (element.since is not None or element.until is not None) and not reading.current(
                element
            ):
                scheduled_pair(reading, "activities", element, person.timestamp)
                if explain is not None:
                    reading.say(KIND, "not current", container=person.id, element="activities")
                continue
            for token in element.tokens:
                row = rows.get(token.name)
                if row is None or token.name == OTHER:
                    row = row_of(token, reading.tables)
                found.append((row.rank, row, token, element, person))
            if element.text is not None and element.text.strip():
                found.append(from_text(element.text.strip(), element, person, reading.tables))
        if person.overriding_willingness is Basic.CLOSED or (
            reading.tables.note_phrases and says_dnd(person, reading)
        ):
            row = dnd_row(reading.tables, "oma.overriding-willingness")
            found.append((row.rank, row, None, None, person))
    if len(found) > 1:
        found.sort(key=by_rank)
        found = distinct(found)
    return found


def by_rank(found: Found) -> float:
    return found[0]


def distinct(found: list[Found]) -> list[Found]:
    seen = set()
    kept = []
    for entry in found:
        token = entry[2]
        key = (entry[1].token, token.text if token is not None and token.name == OTHER else None)
        if key not in seen:
            seen.add(key)
            kept.append(entry)
    return kept


def row_of(token: Token, tables: Tables) -> Row[Activity]:
    """The row of an element, free text that asks not to be disturbed considered."""
    if token.name == OTHER and token.text and letters(token.text) in tables.dnd_phrases:
        return dnd_row(tables, "other")
    return tables.activity.row(token.name)


def dnd_row(tables: Tables, token: str) -> Row[Activity]:
    """The row of a marker that means do not disturb and is not our own element."""
    own = tables.activity.rows.get(tables.activity.row_of_text("x:do-not-disturb").name)
    rank = own.rank if own is not None else 0.0
    return Row(token, OTHER, Activity.DO_NOT_DISTURB, rank, False, token)


def from_text(text: str, element: TokenList, person: Person, tables: Tables) -> Found:
    """Character content where the schema wants elements: a token's name, or free text."""
    name = tables.activity.row_of_text(text.lower()).name
    token = Token(name) if name in tables.activity.rows else Token(OTHER, text)
    row = row_of(token, tables)
    return (row.rank, row, token, element, person)


def says_dnd(person: Person, reading: Reading) -> bool:
    """Does a note of the person or of a tuple say do not disturb? Only asked where the tables want it."""
    notes = [*person.notes, *(n for t in reading.document.tuples for n in t.notes)]
    return any(letters(n.text) in reading.tables.dnd_phrases for n in notes)


# --- to JSON ------------------------------------------------------------------------------------------


def read(reading: Reading) -> list[Said]:
    """The Activity with note and time; several in multi mode. Pairs go to the reading."""
    reading.bound = None
    found = gather(reading)
    if not found:
        return [read_nothing(reading)]
    _, row, token, element, person = found[0]
    word = meant(row, reading)
    if element is not None:
        changed = reading.changed(person.timestamp, element.attributes)
        if element.since is not None or element.until is not None:
            span("rpid.activity", reading, element, changed)
    else:
        changed = reading.changed(person.timestamp)
    pairs(found, word, reading, changed)
    basic_pair(reading, word in reading.tables.closed, changed)
    note = note_of(found, word, reading)
    if reading.explain is not None:
        explain_found(found, word, reading)
    if not reading.tables.multi:
        return [((KIND, word, note), changed)]
    words = dict.fromkeys([word, *(entry[1].word for entry in found[1:])])
    if word is Activity.DO_NOT_DISTURB:
        words.pop(Activity.BUSY, None)
    return [((KIND, w, note if w is word else None), changed) for w in words]


def meant(row: Row[Activity], reading: Reading) -> Activity:
    # Widespread clients write `unknown` for a plainly online user.
    return Activity.AVAILABLE if reading.any_open and row.name == UNKNOWN else row.word


def read_nothing(reading: Reading) -> Said:
    """No activity holds: open means available."""
    word = Activity.AVAILABLE if reading.any_open else Activity.NONE
    changed = reading.changed(newest_stamp(reading))
    basic_pair(reading, False, changed)
    note = reading.worth_telling(reading.person_note(), word, *STATUS_NAMES[word])
    if reading.explain is not None:
        reading.say(KIND, word, element="basic", row="no activity holds now")
    return (KIND, word, note), changed


def newest_stamp(reading: Reading) -> Timestamp | None:
    """When the tuples changed: those without contact, else all; else the persons."""
    tuples = reading.document.tuples
    stamps = [t.timestamp for t in tuples if t.timestamp is not None and t.contact is None]
    if not stamps:
        stamps = [t.timestamp for t in tuples if t.timestamp is not None]
    if not stamps:
        stamps = [p.timestamp for p in reading.document.persons if p.timestamp is not None]
    read = [s for s in stamps if s.at is not None]
    return max(read, key=lambda s: s.at or reading.at) if read else None


def basic_pair(reading: Reading, closed: bool, changed: datetime) -> None:
    """`pidf.basic` where the word does not imply it."""
    basic = reading.status_basic
    if basic is not None and basic is closed:
        reading.pair("pidf.basic", "open" if basic else "closed", changed)


def pairs(found: list[Found], word: Activity, reading: Reading, changed: datetime) -> None:
    """A pair for each token but a first one that our writer would choose anyway."""
    row = found[0][1]
    # Nobody writes x:none where all is closed: closed alone says it.
    plain = row.written and not (
        reading.any_closed and not reading.any_open and word is Activity.NONE
    )
    if len(found) == 1 and plain:
        return
    absorbed = BUSY if word is Activity.DO_NOT_DISTURB else None
    for i, (_, row, token, _, _) in enumerate(found):
        if token is None or (i and token.name == absorbed):
            continue
        if plain and unsaid(i, row, found, reading.tables.multi):
            continue
        if token.name == OTHER:
            reading.pair("ACTIVITY_OTHER", token.text or "", changed)
        else:
            reading.pair("rpid.activity", row.text, changed)


def unsaid(i: int, row: Row[Activity], found: list[Found], multi: bool) -> bool:
    """Would the writer choose this token by itself, given the pairs of the others?"""
    if i and not (multi and row.written):
        return False
    return [entry[1].word for entry in found].count(row.word) == 1


def note_of(found: list[Found], word: Activity, reading: Reading) -> str | None:
    """The note inside the winning element, else the person's."""
    _, row, _, element, person = found[0]
    note = reading.best_note(element.notes) if element is not None and element.notes else None
    if not note:
        note = reading.person_note(person)
    if note is None:
        return None
    return reading.worth_telling(note, word, row.token, *STATUS_NAMES.get(word, ()))


def explain_found(found: list[Found], word: Activity, reading: Reading) -> None:
    for i, (rank, row, token, element, person) in enumerate(found):
        window = None
        if element is not None and (element.since or element.until):
            window = f"{element.since or ''}/{element.until or ''}"
        reading.say(
            KIND,
            row.word if i else word,
            container=person.id,
            element="activities" if element is not None else "overriding-willingness",
            token=row.token,
            text=token.text if token is not None else None,
            row=f"rank {rank:g}, {'pair' if row.written else 'fold'}",
            window=window,
            chosen=i == 0,
        )


# --- from JSON ----------------------------------------------------------------------------------------


def write(writing: Writing) -> tuple[TokenList, ...]:
    """The activities elements; decides `writing.closed` and `writing.willingness` too."""
    attributes = writing.of(KIND)
    words = [a.value for a in attributes if isinstance(a.value, Activity)]
    word = words[0] if words else None
    decide_basic(writing, word)
    decide_willingness(writing, word)
    extra = pair_tokens(writing)
    tokens: list[Token] = []
    for one in words:
        add_word(one, tokens, extra, writing)
    for token, _ in extra:
        if token not in tokens:
            tokens.append(token)
    since, until = writing.window("rpid.activity")
    if len(tokens) > 1 and any(t.name == UNKNOWN for t in tokens):
        writing.dropped("rpid.activity", "unknown", "stands alone")
        tokens = [t for t in tokens if t.name != UNKNOWN]
    note = next((a.note for a in attributes if a.note), None)
    writing.note = note
    if not tokens:
        return ()
    return (
        TokenList(
            since=since,
            until=until,
            tokens=tuple(tokens),
            notes=(Note(note),) if note else (),
            attributes=writing.changed(attributes),
        ),
    )


def add_word(
    word: Activity,
    tokens: list[Token],
    extra: list[tuple[Token, Activity]],
    writing: Writing,
) -> None:
    """The tokens of one word, unless a pair says it more precisely."""
    row = writing.tables.activity.writes.get(word)
    refined = any(means is word for _, means in extra)
    if word is Activity.DO_NOT_DISTURB and writing.willingness is Basic.CLOSED:
        refined = True
    if row is None:
        return
    companion = row.companion
    if companion is not None:
        tokens.append(Token(writing.tables.activity.row_of_text(companion).name))
    if not refined and not (word is Activity.NONE and writing.closed and not writing.open_means):
        tokens.append(Token(row.name))


def pair_tokens(writing: Writing) -> list[tuple[Token, Activity]]:
    """The tokens that pairs name, and the word each maps to."""
    table = writing.tables.activity
    made = []
    for text in writing.take("rpid.activity"):
        token = writing.token(table, text) or Token(OTHER, text)
        means = row_of(token, writing.tables).word
        if token.name == UNKNOWN and (writing.open_means or not writing.closed):
            means = Activity.AVAILABLE
        made.append((token, means))
    for text in writing.take("ACTIVITY_OTHER") + writing.take("rpid.activity.other"):
        token = Token(OTHER, text)
        made.append((token, row_of(token, writing.tables).word))
    return made


def decide_basic(writing: Writing, word: Activity | None) -> None:
    """`basic` of the status tuple: what the word implies, unless `pidf.basic` refines it."""
    writing.closed = word is not None and word in writing.tables.closed
    for value in writing.take("pidf.basic"):
        if value not in ("open", "closed"):
            writing.keep("pidf.basic", value)
        elif value == "closed" and word is Activity.AVAILABLE and not writing.open_means:
            writing.dropped("pidf.basic", value, "nothing would be open for Available")
        else:
            writing.closed = value == "closed"


def decide_willingness(writing: Writing, word: Activity | None) -> None:
    table = writing.tables.activity
    dnd = table.writes.get(Activity.DO_NOT_DISTURB)
    for value in writing.take("oma.overriding-willingness"):
        if value not in ("open", "closed"):
            writing.keep("oma.overriding-willingness", value)
        elif value == "closed" and word is not None and outranked(table, word, dnd):
            writing.dropped("oma.overriding-willingness", value, f"would hide {word.value}")
        elif writing.willingness is not Basic.CLOSED:
            writing.willingness = Basic(value)
    if writing.tables.oma and word is Activity.DO_NOT_DISTURB and writing.willingness is None:
        writing.willingness = Basic.CLOSED


def outranked(table: Table[Activity], word: Activity, dnd: Row[Activity] | None) -> bool:
    """Would do-not-disturb win over the word?"""
    if dnd is None or word is Activity.DO_NOT_DISTURB:
        return False
    row = table.writes.get(word)
    return row is None or row.rank > dnd.rank
