"""Webex statuses: total, independent of order, every value reached, and each settable one comes back."""

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from sipbridge.errors import InvalidValue
from sipbridge.mapping import bems, webex
from sipbridge.mapping.availability import EFFECTS
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.mapping.overrides import load
from sipbridge.mapping.rows import Status, clark
from sipbridge.mapping.vocabulary import ACTIVITY
from sipbridge.mapping.webex import WebexPresence, derive, rest_status, to_document
from sipbridge.presence import pidf
from sipbridge.presence.model import (
    Basic,
    Contact,
    Device,
    Note,
    Person,
    Presence,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.presence.schema import is_valid

FULL = bool(os.environ.get("SIPBRIDGE_FULL"))
AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
UNTIL = Timestamp("2030-01-01T12:00:00Z", datetime(2030, 1, 1, 12, tzinfo=UTC))
EARLY = Timestamp("2030-01-01T10:45:00Z", datetime(2030, 1, 1, 10, 45, tzinfo=UTC))
MS = 1000


def token(word: str, text: str | None = None) -> Token:
    return Token(clark(word, RPID), text)


def element(*words: str, until: Timestamp | None = None, note: str | None = None) -> TokenList:
    return TokenList(
        until=until,
        tokens=tuple(map(token, words)),
        notes=(Note(note),) if note else (),
    )


def document(
    *activities: TokenList,
    basic: Basic | None = Basic.OPEN,
    idle: str | None = None,
    notes: tuple[Note, ...] = (),
) -> Presence:
    user_input = UserInput(idle) if idle else None
    person = Person("p", activities=activities, user_input=user_input, notes=notes)
    return Presence(ALICE, (Tuple("t", basic),), (person,))


def status(*words: str, **more: object) -> Status:
    return derive(document(element(*words), **more), at=AT)[0].status  # type: ignore[arg-type]


# --- the whole space --------------------------------------------------------------------------------------

TOKENS = sorted({*ACTIVITY.pairs, *ACTIVITY.folds, *EFFECTS, "{urn:example:foreign}thing"})
BASICS = (Basic.OPEN, Basic.CLOSED, None)
IDLE = ("active", "idle", None)
SUBSCRIPTIONS = ("active", "pending", "terminated", "")


def cases() -> Iterator[tuple[tuple[str, ...], Timestamp | None, Basic | None, str | None, str]]:
    """0 to 3 activities x until x basic x idle x state of the subscription."""
    for n in range(4):
        for words in itertools.combinations(TOKENS, n):
            for until in (None, UNTIL):
                yield from (
                    (words, until, *rest) for rest in itertools.product(BASICS, IDLE, SUBSCRIPTIONS)
                )


def both(given: Presence, subscription: str) -> tuple[webex.WebexPresence, bems.BemsPresence]:
    return (
        derive(given, at=AT, subscription=subscription)[0],
        bems.derive(given, at=AT, subscription=subscription)[0],
    )


@pytest.mark.timeout(900 if FULL else 180)
def test_statuses_are_total_independent_of_order_and_all_reached() -> None:
    step = 1 if FULL else 83
    seen: set[object] = {derive(None, at=AT, subscription=s)[0].status for s in SUBSCRIPTIONS} | {
        bems.derive(None, at=AT)[0].presence
    }
    count = 0
    for words, until, basic, idle, subscription in itertools.islice(cases(), 0, None, step):
        count += 1
        orders = list(itertools.permutations(words))
        firsts = [element(*order, until=until) for order in (orders[0], orders[-1])]
        apart = [element(word, until=until) for word in reversed(words)]
        got = {both(document(one, basic=basic, idle=idle), subscription) for one in firsts} | {
            both(document(*apart, basic=basic, idle=idle), subscription)
        }
        assert len(got) == 1, (words, got)
        for status_, availability in got:
            seen |= {status_.status, availability.presence}
            assert availability.availability == bems.CODES[availability.presence]
    assert seen == {*Status, *bems.CODES}
    print(f"{count} cases")


# --- single rules -----------------------------------------------------------------------------------------


def test_without_a_document_the_subscription_decides() -> None:
    assert derive(None, at=AT, subscription="pending")[0] == WebexPresence(Status.PENDING)
    for state in ("active", "terminated", ""):
        assert derive(None, at=AT, subscription=state)[0] == WebexPresence(Status.UNKNOWN)


def test_a_placeholder_document_of_a_pending_subscription_shows_nothing() -> None:
    got = derive(document(element("busy")), at=AT, subscription="pending")[0]
    assert got == WebexPresence(Status.PENDING)


def test_a_document_that_outlived_its_subscription_is_used() -> None:
    got = derive(document(element("busy")), at=AT, subscription="terminated")[0]
    assert got.status is Status.BUSY


def test_the_published_order_with_its_two_changes() -> None:
    assert status("busy", "on-the-phone") is Status.CALL
    assert status("busy", "meeting", "presentation") is Status.PRESENTING
    assert status("appointment", "busy") is Status.BUSY
    assert status("appointment", "away") is Status.CALENDAR_ITEM
    assert status("sleeping", "presentation") is Status.QUIET
    assert status("x:do-not-disturb", "sleeping") is Status.DND
    assert status("x:do-not-disturb", "vacation") is Status.OUT_OF_OFFICE


def test_webex_own_order_can_be_chosen() -> None:
    tables = load({"order": "webex"})
    given = document(element("busy", "on-the-phone"))
    assert derive(given, at=AT, tables=tables)[0].status is Status.BUSY


def test_scheduled_meals_are_calendar_items() -> None:
    assert status("lunch") is Status.INACTIVE
    scheduled = document(element("lunch", until=UNTIL))
    assert derive(scheduled, at=AT)[0].status is Status.CALENDAR_ITEM


@pytest.mark.parametrize("word", ["playing", "tv", "working", "looking-for-work", "{urn:x}y"])
def test_what_says_nothing_about_reachability_has_no_effect(word: str) -> None:
    assert status(word) is Status.ACTIVE
    assert status(word, basic=Basic.CLOSED) is Status.INACTIVE
    assert status(word, basic=None) is Status.UNKNOWN


def test_idle_input_beats_open_and_an_activity_beats_idle() -> None:
    assert status("tv", idle="idle") is Status.INACTIVE
    assert status("busy", idle="idle") is Status.BUSY
    assert status("tv", idle="active", basic=None) is Status.ACTIVE


def test_devices_are_idle_only_all_together() -> None:
    def given(*states: str) -> Presence:
        devices = tuple(Device(f"d{i}", f"urn:x:{i}", UserInput(s)) for i, s in enumerate(states))
        return Presence(ALICE, (Tuple("t", Basic.OPEN),), (), devices)

    assert derive(given("idle", "idle"), at=AT)[0].status is Status.INACTIVE
    assert derive(given("idle", "active"), at=AT)[0].status is Status.ACTIVE


def test_closed_is_inactive_and_nothing_is_unknown() -> None:
    assert derive(document(basic=Basic.CLOSED), at=AT)[0].status is Status.INACTIVE
    assert derive(document(basic=None), at=AT)[0].status is Status.UNKNOWN
    assert derive(document(), at=AT)[0].status is Status.ACTIVE


def test_other_text_that_says_do_not_disturb_does() -> None:
    given = document(TokenList(tokens=(token("other", "D.N.D."), token("busy"))))
    assert derive(given, at=AT)[0].status is Status.DND


def test_free_text_of_the_winning_element_then_notes_give_the_custom_status() -> None:
    def custom(given: Presence) -> str:
        return derive(given, at=AT)[0].custom_status

    person = (Note("from the person"),)
    text = TokenList(tokens=(token("busy"), token("other", "juggling")), notes=(Note("note"),))
    assert custom(document(text, notes=person)) == "juggling"
    assert custom(document(element("busy", note="inside"), notes=person)) == "inside"
    assert custom(document(element("busy"), notes=person)) == "from the person"
    low = Tuple("a", Basic.OPEN, Contact("sip:a@x", "0.1"), (Note("low"),))
    high = Tuple("b", Basic.OPEN, Contact("sip:b@x", "0.9"), (Note("high"),))
    assert custom(Presence(ALICE, (low, high), (), (), (Note("whole"),))) == "high"
    assert custom(Presence(ALICE, (Tuple("t", Basic.OPEN),), (), (), (Note("whole"),))) == "whole"
    assert custom(document()) == ""


@pytest.mark.parametrize(
    ("word", "note"),
    [("busy", "Busy"), ("on-the-phone", "On the phone"), ("x:do-not-disturb", "Do not disturb")],
)
def test_a_note_that_repeats_the_status_is_no_custom_status(word: str, note: str) -> None:
    assert derive(document(element(word), notes=(Note(note),)), at=AT)[0].custom_status == ""


def test_languages_choose_among_notes() -> None:
    notes = (Note("Besprechung", "de"), Note("in a talk", "en"), Note("plain"))
    given = document(notes=notes)
    assert derive(given, at=AT, languages=["de-AT"])[0].custom_status == "Besprechung"
    assert derive(given, at=AT, languages=["fr", "en"])[0].custom_status == "in a talk"
    assert derive(given, at=AT, languages=["fr"])[0].custom_status == "plain"
    assert derive(given, at=AT)[0].custom_status == "plain"


def test_expiry_is_the_latest_until_of_what_won_and_then_it_changes() -> None:
    later = Timestamp("2030-01-01T15:00:00Z", datetime(2030, 1, 1, 15, tzinfo=UTC))
    given = document(
        element("busy", until=UNTIL), element("steering", until=later), element("away", until=UNTIL)
    )
    presence, when = derive(given, at=AT)
    assert later.at is not None
    assert presence.expires_time == int(later.at.timestamp() * MS)
    assert when == UNTIL.at
    assert derive(document(), at=AT)[0].expires_time is None
    idle = document(element("tv", until=UNTIL), idle="idle")
    assert derive(idle, at=AT)[0].expires_time is None


def test_last_active_is_the_persons_last_input_else_the_newest_and_never_the_future() -> None:
    def given(person: Timestamp | None, *devices: Timestamp | None) -> int | None:
        who = Person("p", user_input=UserInput("idle", "600", person), timestamp=UNTIL)
        held = tuple(
            Device(f"d{i}", "urn:x:1", UserInput("idle", None, t)) for i, t in enumerate(devices)
        )
        return derive(Presence(ALICE, (), (who,), held), at=AT)[0].last_active_time

    assert EARLY.at is not None
    early = int(EARLY.at.timestamp() * MS)
    assert given(EARLY, UNTIL) == early
    assert given(None, EARLY, None) == early
    assert given(None) is None
    assert given(UNTIL) is None


# --- setting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", list(webex.SETTABLE))
def test_each_settable_status_comes_back_through_a_valid_document(wanted: Status) -> None:
    until = AT + timedelta(hours=1)
    for end in (None, until):
        made = to_document(wanted, presentity=ALICE, at=AT, custom_status="hello", until=end)
        body = pidf.serialise(made)
        assert is_valid(body)
        got, when = derive(pidf.parse(body), at=AT)
        assert (got.status, got.custom_status) == (wanted, "hello")
        if end is not None and wanted is not Status.ACTIVE:
            assert got.expires_time == int(until.timestamp() * MS)
            assert when == until
            assert derive(pidf.parse(body), at=until)[0].status is Status.ACTIVE


def test_out_of_office_is_away_to_everybody_else() -> None:
    made = to_document("OutOfOffice", presentity=ALICE, at=AT)
    tokens = [t.name for t in made.persons[0].activities[0].tokens]
    assert tokens == [clark("away", RPID), f"{{{SIPBRIDGE}}}out-of-office"]
    assert to_attributes(made, at=AT, presentity=ALICE).attributes[0].value == "Away"


@pytest.mark.parametrize("word", ["Unknown", "Pending", "busy", "", "Sleeping"])
def test_what_can_not_be_set_is_refused_with_what_can(word: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        webex.to_attributes(word, at=AT)
    assert caught.value.part == "status"
    assert len(caught.value.valid) == 10


def test_rest_words_never_hide_that_there_is_data() -> None:
    for word, said in (("busy", "active"), ("appointment", "active"), ("sleeping", "DoNotDisturb")):
        given = document(element(word))
        assert rest_status(derive(given, at=AT)[0], given, at=AT) == said
    idle = document(element("busy"), idle="idle")
    assert rest_status(derive(idle, at=AT)[0], idle, at=AT) == "inactive"
    assert rest_status(WebexPresence(Status.BUSY), None, at=AT) == "active"
    assert set(webex.REST) | {Status.BUSY, Status.CALENDAR_ITEM} == set(Status)


# --- the other vocabularies -------------------------------------------------------------------------------

REST_WORDS = frozenset(
    [
        "active",
        "inactive",
        "DoNotDisturb",
        "OutOfOffice",
        "call",
        "meeting",
        "presenting",
        "pending",
        "unknown",
    ]
)
SERVICE_WORDS = frozenset(
    ["active", "inactive", "dnd", "ooo", "call", "meeting", "presenting", "calendarItem", "unknown"]
)


def test_every_status_has_a_word_in_the_other_vocabularies_whatever_the_order() -> None:
    """Total and independent of order too; busy is never unknown, and says so with `idle` as well."""
    seen: set[tuple[str, str, str]] = set()
    for words, until, basic, idle, subscription in itertools.islice(cases(), 0, None, 167):
        got = set()
        for order in (words, words[::-1]):
            given = document(element(*order, until=until), basic=basic, idle=idle)
            presence, _ = derive(given, at=AT, subscription=subscription)
            shown = None if subscription == "pending" else given
            rest = webex.rest_status(presence, shown, at=AT)
            got.add((presence.status.value, rest, webex.service_status(presence, rest)))
        assert len(got) == 1, (words, got)
        seen |= got
    assert {rest for _, rest, _ in seen} == REST_WORDS
    assert {word for _, _, word in seen} == SERVICE_WORDS
    assert {status for status, _, _ in seen} == {s.value for s in Status}
    busy = {(rest, word) for status, rest, word in seen if status == "Busy"}
    assert busy == {("active", "active"), ("inactive", "inactive")}
    items = {rest for status, rest, _ in seen if status == "CalendarItem"}
    assert items == {"active", "inactive"}


@pytest.mark.parametrize(
    ("word", "status"),
    [(w, s) for s, w in webex.SERVICE.items()]
    + [("clear", Status.ACTIVE), ("unknown", None), ("DND", None), ("", None)],
)
def test_words_of_the_service_that_can_be_set(word: str, status: Status | None) -> None:
    assert webex.settable(word) is status
