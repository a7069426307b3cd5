"""Sphere: elements, text, foreign words; and the way back."""

from datetime import UTC, datetime

import pytest

from sipbridge.mapping.attributes import Attribute, AttributeKind, Other, Sphere
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.overrides import load
from sipbridge.mapping.rows import clark
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence import pidf
from sipbridge.presence.model import Person, Presence, Token, TokenList
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
KIND = AttributeKind.SPHERE


def document(*words: str, text: str | None = None) -> Presence:
    element = TokenList(tokens=tuple(Token(clark(w, RPID)) for w in words), text=text)
    return Presence(ALICE, (), (Person("p", spheres=(element,)),))


def read(given: Presence) -> tuple[list[object], list[tuple[str, str]]]:
    mapped = to_attributes(given, at=AT, presentity=ALICE).attributes
    return (
        [a.value for a in mapped if a.kind is KIND],
        [(a.value.name, a.value.value) for a in mapped if isinstance(a.value, Other)],
    )


def write(sphere: Sphere | None, *texts: str, tables: Tables = DEFAULT) -> Presence:
    attributes = [Attribute(AttributeKind.OTHER, Other("rpid.sphere", t)) for t in texts]
    if sphere is not None:
        attributes.append(Attribute(KIND, sphere, "note"))
    return to_document(attributes, presentity=ALICE, at=AT, tables=tables)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (document("work"), ([Sphere.WORK], [])),
        (document(text="Work"), ([Sphere.WORK], [])),
        (document(text=" home "), ([Sphere.HOME], [])),
        (document(), ([], [])),
        (document("unknown"), ([Sphere.NONE], [("rpid.sphere", "unknown")])),
        (document("x:other"), ([Sphere.OTHER], [])),
        (document("{urn:x}y"), ([Sphere.OTHER], [("rpid.sphere", "{urn:x}y")])),
        (document(text="bowling league"), ([Sphere.OTHER], [("rpid.sphere", "bowling league")])),
    ],
)
def test_each_form_has_its_word(
    given: Presence, expected: tuple[list[object], list[tuple[str, str]]]
) -> None:
    assert read(given) == expected


def test_text_is_written_inside_an_element_of_ours_and_comes_back() -> None:
    made = write(Sphere.OTHER, "bowling league")
    assert made.persons[0].spheres[0].tokens == (Token(f"{{{SIPBRIDGE}}}other", "bowling league"),)
    body = pidf.serialise(made)
    assert is_valid(body)
    assert read(pidf.parse(body)) == ([Sphere.OTHER], [("rpid.sphere", "bowling league")])


def test_text_is_written_as_text_for_a_peer_that_wants_it() -> None:
    made = write(Sphere.OTHER, "bowling league", tables=load({"sphere_text": True}))
    assert made.persons[0].spheres[0].text == "bowling league"


def test_the_word_wins_over_a_pair_that_means_another() -> None:
    assert write(Sphere.WORK, "bowling").persons[0].spheres[0].tokens == (Token(f"{{{RPID}}}work"),)
    assert write(Sphere.NONE).persons == ()
    assert write(Sphere.NONE, "unknown").persons[0].spheres[0].tokens == (
        Token(f"{{{RPID}}}unknown"),
    )


def test_a_note_travels_as_an_attribute_since_there_is_no_note_element() -> None:
    mapped = to_attributes(write(Sphere.HOME), at=AT, presentity=ALICE).attributes
    assert [a.note for a in mapped if a.kind is KIND] == ["note"]
