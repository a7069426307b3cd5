"""BEMS availability: precedence, the seven words, codes. Totality is tested with Webex, case by case."""

from datetime import UTC, datetime

import pytest

from sipbridge.errors import InvalidValue
from sipbridge.mapping import bems
from sipbridge.mapping.bems import CODES, BemsPresence, derive, read_word, to_document, word_of
from sipbridge.mapping.rows import Availability, clark
from sipbridge.presence import pidf
from sipbridge.presence.model import (
    Basic,
    Note,
    Person,
    Presence,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import RPID
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"


def document(
    *words: str, basic: Basic | None = Basic.OPEN, idle: str | None = None, text: str | None = None
) -> Presence:
    tokens = tuple(Token(clark(w, RPID)) for w in words)
    if text is not None:
        tokens += (Token(clark("other", RPID), text),)
    who = Person(
        "p",
        activities=(TokenList(tokens=tokens),),
        user_input=UserInput(idle) if idle else None,
        notes=(Note("hello"),),
    )
    return Presence(ALICE, (Tuple("t", basic),), (who,))


def code(*words: str, **more: object) -> int:
    return derive(document(*words, **more), at=AT)[0].availability  # type: ignore[arg-type]


def test_the_strongest_activity_counts() -> None:
    assert code("permanent-absence", "x:do-not-disturb") == 18000
    assert code("x:do-not-disturb", "busy") == 9000
    assert code("busy", "lunch") == 6000
    assert code("meal", "away") == 12000
    assert code("away", "tv") == 15500
    assert code("tv") == 3500


def test_an_activity_outranks_closed_and_closed_outranks_idle() -> None:
    assert code("away", basic=Basic.CLOSED) == 15500
    assert code("tv", basic=Basic.CLOSED, idle="idle") == 18000
    assert code("tv", idle="idle") == 15500
    assert code("tv", basic=None) == 18000
    assert code("tv", basic=None, idle="active") == 3500


@pytest.mark.parametrize("text", ["brb", "BRB!", "Be right back"])
def test_free_text_that_says_be_right_back_does(text: str) -> None:
    assert code("away", text=text) == 12000


def test_unknown_without_document_or_while_pending() -> None:
    unknown = BemsPresence(Availability.UNKNOWN, -1)
    assert derive(None, at=AT)[0] == unknown
    assert derive(document("busy"), at=AT, subscription="pending")[0] == unknown


def test_json_has_word_code_and_message() -> None:
    assert derive(document("busy"), at=AT)[0].to_json() == {
        "presence": "busy",
        "availability": 6000,
        "personalMessage": "hello",
    }


@pytest.mark.parametrize("word", list(bems.SETTABLE))
def test_each_word_comes_back_through_a_valid_document(word: Availability) -> None:
    made = to_document(word, presentity=ALICE, at=AT, personal_message="I am in meeting")
    body = pidf.serialise(made)
    assert is_valid(body)
    got = derive(pidf.parse(body), at=AT)[0]
    assert got == BemsPresence(word, CODES[word], "I am in meeting")


def test_words_are_read_without_case_blanks_and_hyphens() -> None:
    assert read_word("Do Not-Disturb") is Availability.DO_NOT_DISTURB
    assert read_word("BUSY") is Availability.BUSY
    for wrong in ("unknown", "", "buzy"):
        with pytest.raises(InvalidValue) as caught:
            read_word(wrong)
        assert caught.value.part == "presence"
        assert "offline" in caught.value.valid


def test_ranges_are_accepted_as_input() -> None:
    assert word_of(3500) is Availability.AVAILABLE
    assert word_of(4500) is Availability.AVAILABLE
    assert word_of(7500) is Availability.BUSY
    assert word_of(18000) is Availability.OFFLINE
    assert word_of(-1) is Availability.UNKNOWN
