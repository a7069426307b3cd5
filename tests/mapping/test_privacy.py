"""Privacy: every subset of media, and the way back."""

import itertools
from datetime import UTC, datetime

import pytest

from sipbridge.mapping.attributes import Attribute, AttributeKind, Other, Place, Privacy
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.overrides import load
from sipbridge.mapping.rows import clark
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence import pidf
from sipbridge.presence.model import Person, Presence, Token, TokenList, Tuple
from sipbridge.presence.namespaces import RPID
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
KIND = AttributeKind.PRIVACY


def element(*words: str) -> TokenList:
    return TokenList(tokens=tuple(Token(clark(w, RPID)) for w in words))


def read(given: Presence, tables: Tables = DEFAULT) -> tuple[list[object], list[tuple[str, str]]]:
    mapped = to_attributes(given, at=AT, presentity=ALICE, tables=tables).attributes
    return (
        [a.value for a in mapped if a.kind is KIND],
        [(a.value.name, a.value.value) for a in mapped if isinstance(a.value, Other)],
    )


def document(*words: str) -> Presence:
    return Presence(ALICE, (), (Person("p", privacy=(element(*words),)),))


def write(privacy: Privacy | None, *sets: str, tables: Tables = DEFAULT) -> Presence:
    attributes = [Attribute(AttributeKind.OTHER, Other("rpid.privacy", s)) for s in sets]
    if privacy is not None:
        attributes.append(Attribute(KIND, privacy))
    made = to_document(attributes, presentity=ALICE, at=AT, tables=tables)
    assert is_valid(pidf.serialise(made))
    return made


@pytest.mark.parametrize(
    ("words", "privacy", "pair"),
    [
        ((), Privacy.PUBLIC, None),
        (("text",), Privacy.QUIET, None),
        (("audio", "text", "video"), Privacy.PRIVATE, None),
        (("video", "text", "audio"), Privacy.PRIVATE, None),
        (("audio",), Privacy.OTHER, "audio"),
        (("text", "audio"), Privacy.OTHER, "audio,text"),
        (("unknown",), Privacy.NONE, "unknown"),
        (("x:other",), Privacy.OTHER, None),
        (("text", "{urn:x}y"), Privacy.OTHER, "text,{urn:x}y"),
        (("private",), Privacy.PRIVATE, None),
        (("quiet",), Privacy.QUIET, None),
    ],
)
def test_each_set_has_its_word(words: tuple[str, ...], privacy: Privacy, pair: str | None) -> None:
    assert read(document(*words)) == ([privacy], [("rpid.privacy", pair)] if pair else [])


def test_absent_is_left_out() -> None:
    assert read(Presence(ALICE, (), (Person("p"),))) == ([], [])


def test_every_subset_comes_back() -> None:
    for n in range(4):
        for media in itertools.combinations(("audio", "text", "video"), n):
            mapped = to_attributes(document(*media), at=AT, presentity=ALICE).attributes
            again = to_document(mapped, presentity=ALICE, at=AT)
            assert again.persons[0].privacy[0].tokens == element(*media).tokens


def test_the_word_wins_over_a_pair_that_means_another() -> None:
    assert write(Privacy.PUBLIC, "audio").persons[0].privacy[0].tokens == ()
    assert write(Privacy.OTHER, "audio").persons[0].privacy[0].tokens == element("audio").tokens
    assert write(None, "audio,video").persons[0].privacy[0].tokens == (
        element("audio", "video").tokens
    )


def test_what_can_not_be_written_is_kept_as_an_own_name() -> None:
    person = write(None, "smell").persons[0]
    assert person.privacy == ()
    assert [(i.name, i.value) for i in person.other_info] == [("rpid.privacy", "smell")]


def test_quiet_can_be_the_surroundings_instead() -> None:
    tables = load({"privacy_quiet": "place-is"})
    made = write(Privacy.QUIET, tables=tables)
    assert made.persons[0].privacy == ()
    mapped = to_attributes(made, at=AT, presentity=ALICE, tables=tables).attributes
    assert [a.value for a in mapped[1:]] == [Place.QUIET, Privacy.QUIET]


def test_privacy_of_a_service_is_only_a_pair_with_its_id() -> None:
    given = Presence(ALICE, (Tuple("t1", privacy=(element("audio"),)),))
    assert read(given) == ([], [("rpid.privacy[t1]", "audio")])
