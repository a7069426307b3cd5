"""RPID sphere and Sphere (RFC 4480 §3.10).

The schema knows `home`, `work`, `unknown` and foreign elements; the RFC's own example and deployed software
write text. `work` and `home` as text count as the elements, without regard to case. Any other text is
SphereOther with the pair `rpid.sphere`; it is written as `x:other` with the text inside, which is valid, or
as plain text for a peer that wants it (`sphere_text`). Absent or empty: nothing is said.
"""

from sipbridge.mapping.attributes import AttributeKind, Sphere
from sipbridge.mapping.reading import NOTE, Reading, Said, own_note, span
from sipbridge.mapping.schedule import parse_token, scheduled_pair
from sipbridge.mapping.table import Row, Table
from sipbridge.mapping.writing import Writing
from sipbridge.presence.model import Token, TokenList
from sipbridge.presence.namespaces import RPID, SIPBRIDGE

OTHER = f"{{{SIPBRIDGE}}}other"
KIND = AttributeKind.SPHERE


def read(reading: Reading) -> list[Said]:
    """The Sphere with note and time, nothing if nothing is said."""
    reading.bound = None
    said: list[Said] = []
    seen: set[str] = set()
    table = reading.tables.sphere
    for person in reading.document.persons:
        for element in person.spheres:
            if not reading.current(element):
                scheduled_pair(reading, "sphere", element, person.timestamp)
                continue
            changed = reading.changed(person.timestamp, element.attributes)
            for row, text in words_of(element, table):
                if (text or row.word) in seen:
                    continue
                seen.add(text or row.word)
                if said:
                    text = text or table.writes[row.word].text
                else:
                    said.append(((KIND, row.word, own_note(element.attributes)), changed))
                    span("rpid.sphere", reading, element, changed)
                if text is not None:
                    reading.pair("rpid.sphere", text, changed)
                if reading.explain is not None:
                    reading.say(KIND, row.word, container=person.id, element="sphere", text=text)
    return said


def words_of(element: TokenList, table: Table[Sphere]) -> list[tuple[Row[Sphere], str | None]]:
    """Rows, and the pair's text where the word does not say it all."""
    found: list[tuple[Row[Sphere], str | None]] = []
    for token in element.tokens:
        row = table.row(token.name)
        text = (token.text or "").strip() if token.name == OTHER else ""
        found.append((row, text or (None if row.written else row.text)))
    text = (element.text or "").strip()
    if text:
        listed = table.rows.get(table.row_of_text(text.lower()).name)
        if listed is None or listed.name == OTHER:
            found.append((table.row(OTHER), text))
        else:
            found.append((listed, None if listed.written else listed.text))
    return found


def write(writing: Writing) -> tuple[TokenList, ...]:
    """The sphere element."""
    attributes = writing.of(KIND)
    word = next((a.value for a in attributes if isinstance(a.value, Sphere)), None)
    texts = writing.take("rpid.sphere")
    since, until = writing.window("rpid.sphere")
    note = next((a.note for a in attributes if a.note), None)
    marks = (*writing.changed(attributes), *(((NOTE, note),) if note else ()))
    element: TokenList | None = None
    for text in texts:
        made = from_pair(text, word, writing)
        if made is None or element is not None:
            writing.dropped("rpid.sphere", text, "the value itself wins")
        else:
            element = made
    if element is None and word is not None:
        row = writing.tables.sphere.writes.get(word)
        element = TokenList(tokens=(Token(row.name),)) if row is not None else None
    if element is None:
        return ()
    return (TokenList(since, until, None, marks, element.tokens, (), element.text),)


def from_pair(text: str, word: Sphere | None, writing: Writing) -> TokenList | None:
    """What a pair makes of the word; None if it maps to another one."""
    if word is Sphere.OTHER or word is None:
        token = parse_token(text, RPID) if text.startswith("{") else None
        if token is not None and not token.name.startswith(f"{{{RPID}}}"):
            return TokenList(tokens=(token,))
        listed = writing.tables.sphere.rows.get(writing.tables.sphere.row_of_text(text).name)
        if word is None and listed is not None:
            return TokenList(tokens=(Token(listed.name),))
        if writing.tables.sphere_text:
            return TokenList(text=text)
        return TokenList(tokens=(Token(OTHER, text),))
    row = writing.tables.sphere.rows.get(writing.tables.sphere.row_of_text(text).name)
    return TokenList(tokens=(Token(row.name),)) if row is not None and row.word is word else None
