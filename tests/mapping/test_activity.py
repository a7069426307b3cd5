"""Activities: precedence, markers of do-not-disturb, basic, notes, windows; and the way back."""

from datetime import UTC, datetime

import pytest

from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.overrides import load
from sipbridge.mapping.rows import clark
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.mapping.vocabulary import ACTIVITY
from sipbridge.presence import pidf
from sipbridge.presence.model import (
    Basic,
    Contact,
    Note,
    Person,
    Presence,
    Timestamp,
    Token,
    TokenList,
    Tuple,
)
from sipbridge.presence.namespaces import RPID

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
X = "{urn:sipbridge:pidf:extension}"


def token(word: str, text: str | None = None) -> Token:
    return Token(clark(word, RPID), text)


def element(
    *words: str,
    notes: tuple[Note, ...] = (),
    since: Timestamp | None = None,
    until: Timestamp | None = None,
) -> TokenList:
    return TokenList(since, until, tokens=tuple(map(token, words)), notes=notes)


def stamp(text: str) -> Timestamp:
    return Timestamp(text, datetime.fromisoformat(text))


def document(
    *elements: TokenList, basic: Basic | None = Basic.OPEN, willing: Basic | None = None
) -> Presence:
    person = Person("p", activities=elements, overriding_willingness=willing)
    return Presence(ALICE, (Tuple("t", basic),), (person,))


def read(given: Presence, tables: Tables = DEFAULT, at: datetime = AT) -> list[Attribute]:
    return list(to_attributes(given, at=at, presentity=ALICE, tables=tables).attributes)


def word(*words: str, **more: Basic | None) -> object:
    return read(document(element(*words), **more))[0].value


def pairs(given: Presence, tables: Tables = DEFAULT) -> list[tuple[str, str]]:
    return [
        (a.value.name, a.value.value) for a in read(given, tables) if isinstance(a.value, Other)
    ]


def write(activity: Activity | None, *said: tuple[str, str], tables: Tables = DEFAULT) -> Presence:
    attributes = [Attribute(AttributeKind.OTHER, Other(n, v)) for n, v in said]
    if activity is not None:
        attributes.insert(0, Attribute(AttributeKind.ACTIVITY, activity))
    return to_document(attributes, presentity=ALICE, at=AT, tables=tables)


def written(activity: Activity | None, *said: tuple[str, str]) -> list[str]:
    return [
        t.name.replace(f"{{{RPID}}}", "").replace(X, "x:")
        for p in write(activity, *said).persons
        for a in p.activities
        for t in a.tokens
    ]


# --- to JSON ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "activity", "pair"),
    [
        ("presentation", Activity.PERFORMANCE, "presentation"),
        ("appointment", Activity.BUSY, "appointment"),
        ("vacation", Activity.HOLIDAY, "vacation"),
        ("lunch", Activity.MEAL, "lunch"),
        ("shopping", Activity.OTHER, "shopping"),
        ("{urn:x}y", Activity.OTHER, "{urn:x}y"),
        ("busy", Activity.BUSY, None),
        ("x:other", Activity.OTHER, None),
        ("x:none", Activity.NONE, None),
        ("unknown", Activity.AVAILABLE, "unknown"),
    ],
)
def test_a_pair_is_added_exactly_where_the_writer_would_not_choose_the_token(
    given: str, activity: Activity, pair: str | None
) -> None:
    assert word(given) is activity
    expected = [("rpid.activity", pair)] if pair else []
    assert pairs(document(element(given))) == expected


def test_the_stronger_activity_comes_first_whatever_the_order() -> None:
    for order in (("busy", "on-the-phone"), ("on-the-phone", "busy")):
        assert word(*order) is Activity.ON_THE_PHONE
        assert pairs(document(element(*order))) == [("rpid.activity", "busy")]
    assert word("x:do-not-disturb", "on-the-phone") is Activity.DO_NOT_DISTURB
    assert word("permanent-absence", "x:do-not-disturb") is Activity.PERMANENT_ABSENCE


def test_without_activity_basic_decides() -> None:
    assert read(document())[0].value is Activity.AVAILABLE
    assert read(document(element()))[0].value is Activity.AVAILABLE
    assert read(document(basic=Basic.CLOSED))[0].value is Activity.NONE
    assert read(document(basic=None))[0].value is Activity.NONE
    assert read(Presence(ALICE))[0].value is Activity.NONE


def test_unknown_beside_closed_is_not_set() -> None:
    assert word("unknown", basic=Basic.CLOSED) is Activity.NONE


@pytest.mark.parametrize("text", ["DND", "d.n.d.", "Do not disturb", "do-not-disturb!"])
def test_free_text_can_ask_not_to_be_disturbed(text: str) -> None:
    given = document(TokenList(tokens=(token("other", text), token("busy"))))
    assert read(given)[0].value is Activity.DO_NOT_DISTURB
    assert pairs(given) == [("ACTIVITY_OTHER", text)]


def test_closed_willingness_asks_not_to_be_disturbed_and_absorbs_busy() -> None:
    given = document(element("busy"), willing=Basic.CLOSED)
    assert read(given)[0].value is Activity.DO_NOT_DISTURB
    assert pairs(given) == [("oma.overriding-willingness", "closed")]
    assert pairs(document(element("busy"), willing=Basic.OPEN)) == [
        ("oma.overriding-willingness", "open")
    ]


def test_phrases_in_notes_count_only_when_asked_for() -> None:
    person = Person("p", activities=(element("busy"),), notes=(Note("Do not disturb"),))
    given = Presence(ALICE, (), (person,))
    assert read(given)[0].value is Activity.BUSY
    assert read(given, load({"note_phrases": True}))[0].value is Activity.DO_NOT_DISTURB


def test_several_persons_are_read_together() -> None:
    persons = (
        Person("a", activities=(element("away"),)),
        Person("b", activities=(element("meeting"),)),
    )
    given = Presence(ALICE, (), persons)
    assert read(given)[0].value is Activity.MEETING
    assert pairs(given) == [("rpid.activity", "away")]


def test_multi_mode_gives_one_attribute_for_each_word() -> None:
    tables = load({"multi": True})
    got = read(document(element("away", "lunch", "meeting")), tables)
    words = [a.value for a in got if a.kind is AttributeKind.ACTIVITY]
    assert words == [Activity.MEETING, Activity.MEAL, Activity.AWAY]
    assert [a.value.value for a in got if isinstance(a.value, Other)] == ["lunch"]
    again = to_document(got, presentity=ALICE, at=AT, tables=tables)
    names = {t.name for t in again.persons[0].activities[0].tokens}
    assert names == {clark(w, RPID) for w in ("away", "lunch", "meeting")}


def test_notes_inside_beat_notes_of_the_person_and_languages_choose() -> None:
    inside = (Note("auf dem Weg", "de"), Note("on my way", "en"))
    person = Person("p", activities=(element("travel", notes=inside),), notes=(Note("hello"),))
    given = Presence(ALICE, (), (person,))

    def note(*languages: str) -> str | None:
        mapped = to_attributes(given, at=AT, presentity=ALICE, languages=languages)
        return mapped.attributes[0].note

    assert note("en-GB", "de") == "on my way"
    assert note("de") == "auf dem Weg"
    assert note() == "auf dem Weg"
    other = Presence(ALICE, (), (Person("p", notes=(Note("hello"),)),))
    assert read(other)[0].note == "hello"


@pytest.mark.parametrize(
    ("given", "note", "kept"),
    [
        ("busy", "Busy", None),
        ("on-the-phone", "On the phone", None),
        ("x:do-not-disturb", "Do not disturb", None),
        ("busy", "Busy with taxes", "Busy with taxes"),
        ("busy", "  ", None),
    ],
)
def test_a_note_that_repeats_the_status_is_not_handed_on(
    given: str, note: str, kept: str | None
) -> None:
    person = Person("p", activities=(element(given),), notes=(Note(note),))
    assert read(Presence(ALICE, (), (person,)))[0].note == kept
    if note.strip():
        tables = load({"drop_status_notes": False})
        assert read(Presence(ALICE, (), (person,)), tables)[0].note == note


def test_online_as_a_note_repeats_available() -> None:
    given = Presence(ALICE, (Tuple("t", Basic.OPEN),), (Person("p", notes=(Note("Online"),)),))
    assert read(given)[0] == Attribute(AttributeKind.ACTIVITY, Activity.AVAILABLE, None, AT)


def test_an_element_counts_from_its_from_until_just_before_its_until() -> None:
    since, until = stamp("2030-01-01T12:00:00+00:00"), stamp("2030-01-01T13:00:00+00:00")
    given = document(element("away"), element("lunch", since=since, until=until))
    noon, one = AT.replace(hour=12, minute=0), AT.replace(hour=13, minute=0)
    before = to_attributes(given, at=AT, presentity=ALICE)
    assert before.attributes[0].value is Activity.AWAY
    assert before.next_change == noon
    scheduled = "activities/lunch;from=2030-01-01T12:00:00+00:00;until=2030-01-01T13:00:00+00:00"
    assert pairs(given) == [("rpid.scheduled", scheduled)]
    during = to_attributes(given, at=noon, presentity=ALICE)
    assert (during.attributes[0].value, during.next_change) == (Activity.MEAL, one)
    assert during.attributes[0].last_change == noon
    after = to_attributes(given, at=one, presentity=ALICE)
    assert (after.attributes[0].value, after.next_change) == (Activity.AWAY, None)
    assert after.attributes[0].last_change == one


def test_a_scheduled_element_comes_back() -> None:
    since = stamp("2030-01-01T12:00:00+00:00")
    inner = element("vacation", notes=(Note("at sea; far, far away"),), since=since)
    mapped = read(document(inner))
    again = to_document(mapped, presentity=ALICE, at=AT)
    assert again.persons[0].activities == (inner,)


# --- from JSON --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activity", list(Activity))
def test_each_activity_is_written_with_the_basic_it_implies(activity: Activity) -> None:
    closed = activity is Activity.PERMANENT_ABSENCE
    assert write(activity).tuples[0].basic is (Basic.CLOSED if closed else Basic.OPEN)
    assert (written(activity) == []) is (activity is Activity.AVAILABLE)


def test_words_without_an_rpid_token_are_written_with_a_broader_one() -> None:
    assert written(Activity.DO_NOT_DISTURB) == ["busy", "x:do-not-disturb"]
    assert written(Activity.OTHER) == ["x:other"]
    assert written(Activity.NONE) == ["x:none"]


def test_a_pair_refines_the_word_it_maps_to_and_stands_beside_any_other() -> None:
    assert written(Activity.MEAL, ("rpid.activity", "lunch")) == ["lunch"]
    assert written(Activity.MEETING, ("rpid.activity", "lunch")) == ["meeting", "lunch"]
    assert written(Activity.OTHER, ("ACTIVITY_OTHER", "gaming")) == ["other"]
    assert written(Activity.OTHER, ("rpid.activity.other", "gaming")) == ["other"]
    assert written(Activity.DO_NOT_DISTURB, ("ACTIVITY_OTHER", "dnd")) == ["busy", "other"]
    assert written(Activity.AVAILABLE, ("rpid.activity", "unknown")) == ["unknown"]


def test_a_token_nobody_knows_is_written_as_free_text() -> None:
    made = write(Activity.OTHER, ("rpid.activity", "gaming"))
    assert made.persons[0].activities[0].tokens == (token("other", "gaming"),)


def test_closed_overrides_the_column() -> None:
    made = write(Activity.AWAY, ("pidf.basic", "closed"))
    assert made.tuples[0].basic is Basic.CLOSED
    assert written(Activity.NONE, ("pidf.basic", "closed")) == []
    assert write(Activity.PERMANENT_ABSENCE, ("pidf.basic", "open")).tuples[0].basic is Basic.OPEN


def test_closed_does_not_turn_available_into_something_else() -> None:
    made = write(Activity.AVAILABLE, ("pidf.basic", "closed"))
    assert read(made)[0].value is Activity.AVAILABLE


def test_willingness_is_written_only_where_the_word_allows_it() -> None:
    closed = ("oma.overriding-willingness", "closed")
    assert write(Activity.DO_NOT_DISTURB, closed).persons[0].overriding_willingness is Basic.CLOSED
    assert written(Activity.DO_NOT_DISTURB, closed) == ["busy"]
    assert write(Activity.AWAY, closed).persons[0].overriding_willingness is None
    in_oma_mode = write(Activity.DO_NOT_DISTURB, tables=load({"oma": True}))
    assert in_oma_mode.persons[0].overriding_willingness is Basic.CLOSED
    assert write(Activity.DO_NOT_DISTURB).persons[0].overriding_willingness is None


def test_a_note_goes_inside_and_beside() -> None:
    made = to_document(
        [Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "back at ten")], presentity=ALICE, at=AT
    )
    assert made.persons[0].notes == made.persons[0].activities[0].notes == (Note("back at ten"),)


def test_permanent_absence_stays_itself_beside_open_means() -> None:
    given = Presence(
        ALICE,
        (Tuple("s", Basic.CLOSED), Tuple("t", Basic.OPEN, Contact("tel:+1"))),
        (Person("p", activities=(element("permanent-absence"),)),),
    )
    assert pairs(given) == []
    again = pidf.parse(pidf.serialise(to_document(read(given), presentity=ALICE, at=AT)))
    assert [t.basic for t in again.tuples] == [Basic.CLOSED, Basic.OPEN]


def test_every_token_of_the_schema_has_a_row() -> None:
    from sipbridge.presence.rpid import ACTIVITIES

    assert {t for t in (*ACTIVITY.pairs, *ACTIVITY.folds) if not t.startswith("x:")} == ACTIVITIES
