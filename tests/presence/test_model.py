"""The model's values: frozen, equal by what they state."""

import copy
import pickle
from datetime import UTC, datetime

import pytest
from msgspec.structs import fields, replace

from sipbridge.presence.model import (
    Basic,
    Deviation,
    Person,
    Presence,
    Timestamp,
    Token,
    TokenList,
    Tuple,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DOCUMENT = Presence("sip:a@example.com", (Tuple("t1", Basic.OPEN),), (Person("p1"),))
FLAWED = replace(DOCUMENT, deviations=(Deviation("no-id", "RFC 4479", "an id is missing"),))


def test_nobody_can_change_a_value() -> None:
    with pytest.raises(AttributeError):
        DOCUMENT.entity = "sip:b@example.com"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        DOCUMENT.other = 1  # type: ignore[attr-defined]
    assert DOCUMENT.entity == "sip:a@example.com"


def test_how_badly_a_document_was_written_does_not_count() -> None:
    assert FLAWED == DOCUMENT and hash(FLAWED) == hash(DOCUMENT)
    assert FLAWED.deviations != DOCUMENT.deviations
    assert replace(DOCUMENT, tuples=()) != DOCUMENT
    assert DOCUMENT != "sip:a@example.com"


def test_documents_differ_in_anything_they_state() -> None:
    for field in fields(Presence):
        if field.name != "deviations":
            assert replace(DOCUMENT, **{field.name: ("changed",)}) != DOCUMENT, field.name


def test_copies_are_equal() -> None:
    assert copy.copy(FLAWED) == FLAWED == pickle.loads(pickle.dumps(FLAWED))
    assert copy.copy(FLAWED).deviations == FLAWED.deviations


def test_lists_begin_with_what_all_ranged_elements_share() -> None:
    busy = (Token("{urn:x}busy"),)
    until = Timestamp("2030-01-01T12:00:00Z", NOON)
    element = TokenList(None, until, "a1", tokens=busy)
    assert (element.id, element.tokens, element.notes) == ("a1", busy, ())
    assert not element.valid_at(NOON) and TokenList().valid_at(NOON)
