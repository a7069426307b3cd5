"""The pair for elements that do not hold yet: what is written is read, what can not be an element is not."""

from datetime import UTC, datetime

import pytest

from sipbridge.mapping.schedule import parse, text_of, timestamp
from sipbridge.presence.model import Note, PlaceIs, StatusIcon, TimeOffset, Token, TokenList
from sipbridge.presence.namespaces import DATA_MODEL, PIDF, RPID, SIPBRIDGE

SINCE = "from=2030-07-01T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        f"activities/vacation;{SINCE};until=2030-07-15T00:00:00Z",
        f"activities/vacation,away,other:far%2C far away;{SINCE};note=at sea%3B gone",
        f"activities/;{SINCE}",
        f"activities/{{{SIPBRIDGE.replace('/', '%2F')}}}do-not-disturb;{SINCE}",
        f"place-type/office,moon-base;{SINCE}",
        f"place-type/other:cellar;{SINCE}",
        f"place-is/audio.quiet,text.ok;{SINCE}",
        f"privacy/audio,text;{SINCE}",
        f"sphere/home;{SINCE}",
        f"mood/happy,other:so so;{SINCE}",
        f"status-icon/http:%2F%2Fexample.com%2Fi.png;{SINCE}",
        f"time-offset/-90;{SINCE}",
    ],
)
def test_what_is_written_is_read_and_written_the_same(text: str) -> None:
    read = parse(text)
    assert read is not None
    assert text_of(read.name, read.element) == text


def test_the_parts_are_where_they_belong() -> None:
    read = parse(f"activities/vacation,other:far%2C far away;{SINCE};note=at%3B sea")
    assert read is not None
    since = timestamp("2030-07-01T00:00:00Z")
    assert read.element == TokenList(
        since,
        tokens=(Token(f"{{{RPID}}}vacation"), Token(f"{{{RPID}}}other", "far, far away")),
        notes=(Note("at; sea"),),
    )
    kinds = {
        "place-is/audio.ok": PlaceIs,
        "status-icon/urn:x:y": StatusIcon,
        "time-offset/5": TimeOffset,
    }
    for text, kind in kinds.items():
        made = parse(f"{text};{SINCE}")
        assert made is not None
        assert isinstance(made.element, kind)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vacation",
        "activities/vacation",
        f"hobbies/chess;{SINCE}",
        f"activities/gaming;{SINCE}",
        f"activities/unknown,away;{SINCE}",
        "activities/vacation;from=tomorrow",
        f"activities/vacation;{SINCE};until=later",
        f"activities/vacation;{SINCE};color=red",
        f"place-type/other:a,office;{SINCE}",
        f"place-type/;{SINCE}",
        f"place-is/audio.loud;{SINCE}",
        f"place-is/audio.ok,audio.quiet;{SINCE}",
        f"privacy/text,audio;{SINCE}",
        f"sphere/home,work;{SINCE}",
        f"mood/;{SINCE}",
        f"status-icon/no uri;{SINCE}",
        f"time-offset/soon;{SINCE}",
        f"activities/{{bad space}}x;{SINCE}",
        f"mood/{{{DATA_MODEL}}}person;{SINCE}",
        f"activities/{{{PIDF}}}presence;{SINCE}",
    ],
)
def test_what_the_schema_would_refuse_is_not_read(text: str) -> None:
    assert parse(text) is None


def test_times_are_xs_date_times() -> None:
    read = timestamp(" 2030-07-01T00:00:00.5+02:00 ")
    assert read is not None
    assert read.at == datetime(2030, 6, 30, 22, 0, 0, 500000, tzinfo=UTC)
    for wrong in (None, "2030-07-01", "2030-02-30T00:00:00Z", "2030-07-01T00:00:00+15:00"):
        assert timestamp(wrong) is None
