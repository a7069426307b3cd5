"""Strict printing. That it satisfies the schemas for any document is tried in tests/documents."""

from sipbridge.presence import pidf
from sipbridge.presence.conformance import conform
from sipbridge.presence.model import (
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    Timestamp,
    Token,
    TokenList,
    Tuple,
)
from sipbridge.presence.namespaces import PIDF, RPID


def tokens(*words: str) -> tuple[Token, ...]:
    return tuple(Token(f"{{{RPID}}}{word}") for word in words)


def activities(*words: str) -> list[str]:
    person = Person("p", activities=(TokenList(tokens=tokens(*words)),))
    found = conform(Presence("sip:q@y", persons=(person,))).persons[0]
    return [token.name.rpartition("}")[2] for value in found.activities for token in value.tokens]


def test_lunch_is_a_meal_and_unknown_gives_way() -> None:
    assert activities("lunch") == ["meal"]
    assert activities("lunch", "meal") == ["meal"]
    assert activities("unknown", "busy") == ["busy"]
    assert activities("unknown") == ["unknown"]


def test_text_without_a_place_moves_to_a_note() -> None:
    person = Person(
        "p",
        spheres=(TokenList(text="bowling league"),),
        activities=(TokenList(tokens=tokens("yodelling")),),
    )
    found = conform(Presence("sip:q@y", persons=(person,))).persons[0]
    assert found.notes == (Note("yodelling"), Note("bowling league"))
    assert found.spheres[0].text is None


def test_ids_are_made_repaired_and_told_apart() -> None:
    found = conform(
        Presence("sip:q@y", (Tuple(None), Tuple("7"), Tuple("x")), (Person("x"), Person("a b")))
    )
    assert [each.id for each in found.tuples] == ["t", "t-7", "x"]
    assert [each.id for each in found.persons] == ["x-2", "p-a-b"]


def test_unreadable_numbers_and_times_go() -> None:
    service = Tuple(
        "t",
        contact=Contact("sip:x@y", "7"),
        timestamp=Timestamp("yesterday", None),
        basic_text="inuse",
    )
    found = conform(Presence("sip:q@y", (service,))).tuples[0]
    assert (found.contact, found.timestamp, found.basic_text) == (
        Contact("sip:x@y", "1.000"),
        None,
        None,
    )


def test_extensions_of_pidfs_own_namespace_go_and_others_stay() -> None:
    kept = Extension("{u}e", '<e xmlns="u"></e>')
    gone = Extension(f"{{{PIDF}}}digium", f'<digium xmlns="{PIDF}"></digium>')
    found = conform(
        Presence(
            "sip:q@y",
            (Tuple("t", extensions=(gone, kept), status_extensions=(gone, kept)),),
            extensions=(gone,),
        )
    )
    assert (found.tuples[0].extensions, found.tuples[0].status_extensions, found.extensions) == (
        (kept,),
        (kept,),
        (),
    )


def test_a_valid_document_stays_as_it_is() -> None:
    document = Presence(
        "sip:q@y",
        (Tuple("t", contact=Contact("sip:x@y", "0.5")),),
        (Person("p", activities=(TokenList(tokens=tokens("busy")),)),),
    )
    assert conform(document) == document
    assert pidf.serialise(document, strict=True) == pidf.serialise(document)
