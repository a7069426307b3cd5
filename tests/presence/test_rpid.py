"""RPID elements: vocabularies, times, what drafts and peers write instead."""

from datetime import UTC, datetime

import pytest

from sipbridge.presence import markup, rpid
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.model import Note, Timestamp, Token, TokenList
from sipbridge.presence.namespaces import LOCATION_TYPE, RPID, SIPBRIDGE

HEAD = f'xmlns="{RPID}" xmlns:lt="{LOCATION_TYPE}" xmlns:x="{SIPBRIDGE}" xmlns:v="urn:vendor"'


def element(name: str, inside: str, attributes: str = "") -> markup.Element:
    return markup.parse(f"<{name} {HEAD} {attributes}>{inside}</{name}>".encode())


def names(value: TokenList) -> list[str]:
    return [token.name.rpartition("}")[2] for token in value.tokens]


def test_the_vocabularies_have_the_sizes_of_the_rfcs() -> None:
    assert len(rpid.ACTIVITIES) == 27  # with lunch, which the schema lacks
    assert len(rpid.MOODS) == 61
    assert len(rpid.PLACES) == 43
    assert len(rpid.RELATIONSHIPS) == 8 and len(rpid.SERVICE_CLASSES) == 6


@pytest.mark.parametrize("word", sorted(rpid.ACTIVITIES - {"other"}))
def test_every_activity_is_read_as_element_and_as_text(word: str) -> None:
    expected = (Token(f"{{{RPID}}}{word}"),)
    assert rpid.read_activities(element("activities", f"<{word}/>"), Notebook()).tokens == expected
    spoken = word.replace("-", " ").title()
    assert rpid.read_activities(element("activities", spoken), Notebook()).tokens == expected


def test_free_text_in_activities_becomes_other() -> None:
    value = rpid.read_activities(element("activities", "out fishing"), Notebook())
    assert value.tokens == (Token(f"{{{RPID}}}other", "out fishing"),)


def test_text_that_repeats_an_element_says_nothing_new() -> None:
    assert names(rpid.read_activities(element("activities", "<away/>Away"), Notebook())) == ["away"]


def test_foreign_values_are_kept_whole() -> None:
    value = rpid.read_activities(
        element("activities", "<x:none/><v:juggling balls='3'>high</v:juggling>"), Notebook()
    )
    none, juggling = value.tokens
    assert none == Token(f"{{{SIPBRIDGE}}}none")
    assert (juggling.text, juggling.xml) == (
        "high",
        '<v:juggling xmlns:v="urn:vendor" balls="3">high</v:juggling>',
    )


@pytest.mark.parametrize(
    ("inside", "place"),
    [
        ("<lt:office/>", "office"),
        ("<office/>", "office"),
        ("<cycle/>", "bicycle"),
        ("<lt:bicyle/>", "bicycle"),
        ("<lt:motorcyle/>", "motorcycle"),
        ("Bus Station", "bus-station"),
        ("<placetype>cafe</placetype>", "cafe"),
    ],
)
def test_places_come_out_in_the_registrys_namespace(inside: str, place: str) -> None:
    notes = Notebook()
    value = rpid.read_place_type(element("place-type", inside), notes)
    assert value.tokens == (Token(f"{{{LOCATION_TYPE}}}{place}"),)
    assert bool(notes.deviations) is (inside != "<lt:office/>")


@pytest.mark.parametrize(
    ("wrong", "right"), [("contended", "contented"), ("invisible", "invincible")]
)
def test_misspelt_moods_are_read(wrong: str, right: str) -> None:
    assert names(rpid.read_mood(element("mood", f"<{wrong}/>"), Notebook())) == [right]


def test_spheres_may_be_text() -> None:
    assert names(rpid.read_sphere(element("sphere", " Work "), Notebook())) == ["work"]
    assert (
        rpid.read_sphere(element("sphere", "bowling league"), Notebook()).text == "bowling league"
    )


@pytest.mark.parametrize("text", ["public", "private", "quiet"])
def test_one_word_privacy_of_drafts_is_kept_as_text(text: str) -> None:
    assert rpid.read_privacy(element("privacy", text), Notebook()).text == text


def test_notes_may_stand_anywhere() -> None:
    notes = Notebook()
    value = rpid.read_activities(element("activities", "<tv/><note>late</note>"), notes)
    assert (names(value), value.notes) == (["tv"], (Note("late"),))
    assert [each.code for each in notes.deviations] == ["element-order"]


def test_surroundings_as_elements_and_as_text() -> None:
    for inside in (
        "<audio><noisy/></audio><text><ok/></text>",
        "<text>ok</text><audio>Noisy</audio>",
    ):
        value = rpid.read_place_is(element("place-is", inside), Notebook())
        assert value.audio == (Token(f"{{{RPID}}}noisy"),)
        assert value.medium_text == (Token(f"{{{RPID}}}ok"),)


@pytest.mark.parametrize(
    ("text", "at", "code"),
    [
        ("2031-05-01T02:00:00Z", datetime(2031, 5, 1, 2, tzinfo=UTC), None),
        ("2031-05-01T02:00:00.25+02:00", datetime(2031, 5, 1, 0, 0, 0, 250000, UTC), None),
        ("2031-05-01T02:00:00.1234567Z", datetime(2031, 5, 1, 2, 0, 0, 123456, UTC), None),
        (" 2031-05-01T02:00:00Z ", datetime(2031, 5, 1, 2, tzinfo=UTC), None),
        ("2031-05-01T02:00:00", datetime(2031, 5, 1, 2, tzinfo=UTC), "no-zone"),
        ("2031-05-01 02:00:00Z", None, "bad-time"),
        ("2031-13-01T00:00:00Z", None, "bad-time"),
        ("2031-05-01T23:59:60Z", None, "bad-time"),
        ("2031-05-01T02:00:00+0200", None, "bad-time"),
        ("20310501T020000Z", None, "bad-time"),
        ("0001-01-01T00:00:00+14:00", None, "bad-time"),
        ("tomorrow", None, "bad-time"),
        ("", None, "bad-time"),
    ],
)
def test_times(text: str, at: datetime | None, code: str | None) -> None:
    notes = Notebook()
    assert rpid.read_time(text, element("a", ""), notes) == Timestamp(text.strip(), at)
    assert [each.code for each in notes.deviations] == ([code] if code else [])


def test_written_times_read_the_same() -> None:
    for at in (datetime(2031, 5, 1, 2, tzinfo=UTC), datetime(2031, 5, 1, 2, 0, 0, 125000, UTC)):
        written = rpid.write_time(at)
        assert rpid.read_time(written.text, element("a", ""), Notebook()) == written


def test_user_input_in_numbers_and_states() -> None:
    notes = Notebook()
    value = rpid.read_user_input(
        element("user-input", " IDLE ", 'idle-threshold="10m" last-input="x" v:a="1"'), notes
    )
    assert (value.state, value.idle_threshold, value.attributes) == (
        "idle",
        "10m",
        (("{urn:vendor}a", "1"),),
    )
    assert [each.code for each in notes.deviations] == ["bad-number", "bad-time", "misspelt-value"]


def test_schema_troubles_are_noted_and_kept() -> None:
    notes = Notebook()
    assert names(rpid.read_activities(element("activities", "<lunch/><unknown/>"), notes)) == [
        "lunch",
        "unknown",
    ]
    rpid.read_mood(element("mood", ""), notes)
    rpid.read_activities(element("activities", ""), notes)
    assert [each.code for each in notes.deviations] == [
        "not-in-schema",
        "exclusive-value",
        "empty-element",
    ]


def test_relationship_as_element_and_text() -> None:
    for inside in ("<assistant/>", "Assistant"):
        assert rpid.read_relationship(element("relationship", inside), Notebook()).tokens == (
            Token(f"{{{RPID}}}assistant"),
        )
