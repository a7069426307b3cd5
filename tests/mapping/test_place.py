"""Places: ranks, surroundings, free text, stations; and the way back."""

from datetime import UTC, datetime

import pytest

from sipbridge.mapping.attributes import Attribute, AttributeKind, Other, Place
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.overrides import load
from sipbridge.mapping.rows import clark
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.mapping.vocabulary import PLACE
from sipbridge.presence import pidf
from sipbridge.presence.model import Note, Person, PlaceIs, Presence, Token, TokenList
from sipbridge.presence.namespaces import LOCATION_TYPE, RPID
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
QUIET = PlaceIs(audio=(Token(f"{{{RPID}}}quiet"),), video=(Token(f"{{{RPID}}}dark"),))


def lt(word: str) -> Token:
    return Token(clark(word, LOCATION_TYPE))


def other(text: str) -> Token:
    return Token(f"{{{RPID}}}other", text)


def document(*tokens: Token, around: PlaceIs | None = None) -> Presence:
    types = (TokenList(tokens=tokens),) if tokens else ()
    return Presence(
        ALICE, (), (Person("p", place_types=types, place_is=(around,) if around else ()),)
    )


def read(given: Presence, tables: Tables = DEFAULT) -> tuple[list[object], list[tuple[str, str]]]:
    """The places, and the pairs."""
    mapped = to_attributes(given, at=AT, presentity=ALICE, tables=tables).attributes
    return (
        [a.value for a in mapped if a.kind is AttributeKind.PLACE],
        [(a.value.name, a.value.value) for a in mapped if isinstance(a.value, Other)],
    )


def write(place: Place | None, *said: tuple[str, str]) -> Person:
    attributes = [Attribute(AttributeKind.OTHER, Other(n, v)) for n, v in said]
    if place is not None:
        attributes.append(Attribute(AttributeKind.PLACE, place, "note"))
    made = to_document(attributes, presentity=ALICE, at=AT)
    assert is_valid(pidf.serialise(made))
    return made.persons[0]


@pytest.mark.parametrize(
    ("words", "place", "pairs"),
    [
        (["office"], Place.OFFICE, []),
        (["cafe"], Place.RESTAURANT, ["cafe"]),
        (["restaurant", "cafe"], Place.RESTAURANT, ["cafe", "restaurant"]),
        (["public", "airport"], Place.AIRPORT, ["public"]),
        (["bank", "office"], Place.OFFICE, ["bank"]),
        (["underway", "outdoors"], Place.OTHER, ["underway", "outdoors"]),
        (["unknown"], Place.NONE, ["unknown"]),
        (["public", "x:station"], Place.STATION, []),
        (["train-station"], Place.STATION, ["train-station"]),
        (["moon-base"], Place.OTHER, [f"{{{LOCATION_TYPE}}}moon-base"]),
        (["x:other"], Place.OTHER, []),
        (["library"], Place.OTHER, ["library"]),
    ],
)
def test_one_place_is_chosen_and_the_rest_becomes_pairs(
    words: list[str], place: Place, pairs: list[str]
) -> None:
    got, said = read(document(*map(lt, words)))
    assert got == [place]
    assert [v for _, v in said] == pairs
    assert {n for n, _ in said} <= {"rpid.place-type"}


def test_free_text_is_other_with_its_own_pair() -> None:
    assert read(document(other("cellar"))) == (
        [Place.OTHER],
        [("rpid.place-type.other", "cellar")],
    )


def test_nothing_is_left_out() -> None:
    assert read(document()) == ([], [])


def test_quiet_is_a_place_only_where_no_type_gives_one() -> None:
    assert read(document(around=QUIET)) == ([Place.QUIET], [("rpid.place-is.video", "dark")])
    places, said = read(document(lt("office"), around=QUIET))
    assert places == [Place.OFFICE]
    assert ("rpid.place-is.audio", "quiet") in said
    assert read(document(lt("unknown"), around=QUIET))[0] == [Place.QUIET]


def test_multi_mode_gives_both() -> None:
    places, said = read(document(lt("office"), around=QUIET), load({"multi": True}))
    assert places == [Place.OFFICE, Place.QUIET]
    assert said == [("rpid.place-is.video", "dark")]


@pytest.mark.parametrize(
    ("word", "place"),
    [("home", Place.HOME), ("office", Place.OFFICE), ("mall", Place.MALL), ("ship", Place.SHIP)],
)
def test_words_of_the_drafts_in_the_rpid_namespace_are_understood(word: str, place: Place) -> None:
    assert read(document(Token(f"{{{RPID}}}{word}"))) == ([place], [])


def test_station_does_not_claim_trains() -> None:
    tokens = write(Place.STATION).place_types[0].tokens
    assert tokens == (lt("public"), lt("x:station"))


def test_text_and_tokens_need_two_elements() -> None:
    person = write(
        Place.OTHER, ("rpid.place-type", "bar"), ("rpid.place-type.other", "the usual one")
    )
    assert [e.tokens for e in person.place_types] == [(lt("bar"),), (other("the usual one"),)]


def test_pairs_refine_or_stand_beside() -> None:
    assert write(Place.RESTAURANT, ("rpid.place-type", "cafe")).place_types[0].tokens == (
        lt("cafe"),
    )
    beside = write(Place.HOME, ("rpid.place-type", "cafe")).place_types[0].tokens
    assert beside == (lt("residence"), lt("cafe"))


def test_surroundings_are_written_with_what_the_schema_knows() -> None:
    person = write(
        Place.NOISY, ("rpid.place-is.text", "inappropriate"), ("rpid.place-is.video", "green")
    )
    assert person.place_is[0].audio == (Token(f"{{{RPID}}}noisy"),)
    assert person.place_is[0].medium_text == (Token(f"{{{RPID}}}inappropriate"),)
    assert person.place_is[0].notes == (Note("note"),)
    assert [(i.name, i.value) for i in person.other_info] == [("rpid.place-is.video", "green")]


def test_every_registered_place_has_a_row() -> None:
    from sipbridge.presence.rpid import PLACES

    assert {t for t in (*PLACE.pairs, *PLACE.folds) if not t.startswith("x:")} == PLACES
