"""Composition: nothing lost, ids unique and steady, newest first."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sipbridge.presence.composition import Published, all_ids, compose
from sipbridge.presence.model import (
    Basic,
    Contact,
    Deviation,
    Device,
    Extension,
    Note,
    Person,
    Presence,
    StatusIcon,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.pidf import parse, serialise
from sipbridge.presence.schema import is_valid

ALICE = "sip:alice@example.com"
AT = datetime(2024, 5, 1, tzinfo=UTC)


def published(document: Presence, minutes: int = 0, etag: str = "e") -> Published:
    return Published(document, AT + timedelta(minutes=minutes), etag)


def phone(contact: str, basic: Basic, activity: str = "busy", id: str = "p1") -> Presence:
    """What a phone that calls everything `p1` publishes."""
    doing = TokenList(id="a1", tokens=(Token(f"{{urn:r}}{activity}"),))
    return Presence(
        "sip:alice@10.0.0.1",
        tuples=(Tuple("t1", basic, Contact(contact)),),
        persons=(Person(id, activities=(doing,), user_input=UserInput("idle", id="u1")),),
        devices=(Device("d1", f"urn:{contact}", UserInput("active", id="u2")),),
    )


DESK = phone("sip:desk@example.com", Basic.OPEN)
SOFT = phone("sip:soft@example.com", Basic.CLOSED, "away")


def test_no_publication_is_an_empty_document() -> None:
    assert compose([], ALICE) == Presence(ALICE)


def test_one_publication_comes_back_as_it_is_but_for_the_entity() -> None:
    made = compose([published(DESK)], ALICE)
    assert made == replace(DESK, entity=ALICE)
    assert made.tuples is DESK.tuples


def test_everything_of_all_is_there_newest_first() -> None:
    made = compose([published(DESK, 1), published(SOFT, 2)], ALICE)
    assert [t.contact and t.contact.uri for t in made.tuples] == [
        "sip:soft@example.com",
        "sip:desk@example.com",
    ]
    names = [t.name for p in made.persons for a in p.activities for t in a.tokens]
    assert names == ["{urn:r}away", "{urn:r}busy"]
    assert [d.device_id for d in made.devices] == [
        "urn:sip:soft@example.com",
        "urn:sip:desk@example.com",
    ]


def test_clashing_ids_are_made_unique_elements_inside_included() -> None:
    said: list[str] = []
    made = compose([published(DESK, 1), published(SOFT, 2)], ALICE, explain=said)
    ids = list(all_ids(made))
    assert len(ids) == len(set(ids)) == 12
    assert len(said) == 6
    assert {"t1", "p1", "d1", "a1", "u1", "u2"} <= set(ids)


def owners(made: Presence) -> dict[str, str | None]:
    return {t.contact.uri: t.id for t in made.tuples if t.contact}


def test_names_do_not_change_with_order_state_or_entity_tag() -> None:
    third = phone("sip:third@example.com", Basic.OPEN)
    before = owners(compose([published(d, i) for i, d in enumerate((DESK, SOFT, third))], ALICE))
    assert len(set(before.values())) == 3
    busier = replace(DESK, tuples=(replace(DESK.tuples[0], basic=Basic.CLOSED),))
    for order in permutations((busier, SOFT, third)):
        again = [published(d, i, f"new{i}") for i, d in enumerate(order)]
        assert owners(compose(again, ALICE)) == before


def test_two_publications_that_cannot_be_told_apart_are_both_kept() -> None:
    away = replace(DESK, tuples=(replace(DESK.tuples[0], basic=Basic.CLOSED),))
    made = compose([published(DESK, 1), published(away, 2)], ALICE)
    ids = [t.id for t in made.tuples]
    assert [t.basic for t in made.tuples] == [Basic.CLOSED, Basic.OPEN]
    assert ids[1] == "t1" and ids[0] is not None and ids[0].startswith("t1-")


def test_the_same_words_under_the_same_id_appear_once_with_the_newest_time() -> None:
    def at(text: str) -> Presence:
        return Presence(ALICE, (Tuple("t1", Basic.OPEN, timestamp=Timestamp(text, None)),))

    said: list[str] = []
    made = compose([published(at("old"), 1), published(at("new"), 2)], ALICE, explain=said)
    assert made.tuples == at("new").tuples
    assert said == ["t1: repeats a newer publication"]


def test_missing_ids_are_given_and_repeated_ones_in_one_document_too() -> None:
    document = Presence(ALICE, (Tuple(None), Tuple("x"), Tuple("x")), (Person(None),))
    ids = [*all_ids(compose([published(document)], ALICE))]
    assert None not in ids and len(set(ids)) == 4
    assert ids[1] == "x"
    assert ids == [*all_ids(compose([published(document, 9)], ALICE))]


def test_what_belongs_to_the_document_is_united() -> None:
    note, other = Note("hello", "en"), Note("hallo", "de")
    extension = Extension("{urn:x}y", "<y/>")
    deviation = Deviation("code", "RFC", "text")
    one = Presence(
        ALICE,
        notes=(note,),
        extensions=(extension,),
        attributes=(("a", "old"), ("b", "1")),
        deviations=(deviation,),
    )
    two = Presence(ALICE, notes=(other, note), extensions=(extension,), attributes=(("a", "new"),))
    made = compose([published(one, 1), published(two, 2)], ALICE)
    assert made.notes == (other, note)
    assert made.extensions == (extension,)
    assert dict(made.attributes) == {"a": "new", "b": "1"}
    assert made.deviations == (deviation,)


def test_what_is_composed_can_be_written_and_is_valid() -> None:
    made = compose([published(DESK, 1), published(SOFT, 2), published(DESK, 3)], ALICE)
    rpid = "urn:ietf:params:xml:ns:pidf:rpid"
    body = serialise(made).replace(b"urn:r", rpid.encode())
    assert is_valid(body)
    assert len(parse(body).tuples) == len(made.tuples) == 2


# --- properties ---

ids = st.sampled_from(["t1", "p1", "a", "p-1", None])
notes = st.sampled_from([(), (Note("x"),), (Note("y"),)])
icons = st.lists(st.builds(StatusIcon, id=ids, uri=st.just("u")), max_size=2).map(tuple)
inputs = st.none() | st.builds(UserInput, st.just("idle"), id=ids)
contacts = st.none() | st.builds(Contact, st.sampled_from(["sip:a@b", "sip:c@d"]))
tuples = st.builds(
    Tuple, ids, st.sampled_from(Basic), contacts, notes, status_icons=icons, user_input=inputs
)
persons = st.builds(Person, ids, status_icons=icons, user_input=inputs, notes=notes)
devices = st.builds(Device, ids, st.sampled_from(["urn:a", "urn:b"]), inputs)
documents = st.builds(
    Presence,
    st.just(ALICE),
    st.lists(tuples, max_size=2).map(tuple),
    st.lists(persons, max_size=2).map(tuple),
    st.lists(devices, max_size=2).map(tuple),
    notes,
)
publications = st.lists(documents, max_size=4).map(
    lambda found: [published(d, i, str(i)) for i, d in enumerate(found)]
)


def without_ids(document: Presence) -> set[str]:
    """Every component in words, ids blanked."""

    def bare(value: UserInput | None) -> UserInput | None:
        return value and replace(value, id=None)

    def plain(found: tuple[StatusIcon, ...]) -> tuple[StatusIcon, ...]:
        return tuple(replace(i, id=None) for i in found)

    said: list[object] = [
        replace(t, id=None, status_icons=plain(t.status_icons), user_input=bare(t.user_input))
        for t in document.tuples
    ]
    said += [
        replace(p, id=None, status_icons=plain(p.status_icons), user_input=bare(p.user_input))
        for p in document.persons
    ]
    said += [replace(d, id=None, user_input=bare(d.user_input)) for d in document.devices]
    return {repr(c) for c in (*said, *document.notes)}


@given(publications)
def test_nothing_is_lost_nothing_is_invented_and_every_id_is_there_once(
    found: list[Published],
) -> None:
    made = compose(found, ALICE)
    assert without_ids(made) == {w for p in found for w in without_ids(p.document)}
    named = [*all_ids(made)]
    assert None not in named and len(set(named)) == len(named)


@given(publications)
def test_the_order_of_arguments_does_not_matter(found: list[Published]) -> None:
    shuffled = [*found[1:], *found[:1]]
    assert compose(shuffled, ALICE) == compose(found, ALICE)
