from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import InvalidValue
from sipbridge.gateway.contract import Contract, Metric, Report, TimeMetric, ends_at
from sipbridge.gateway.ports import ContractRecord
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = frozenset(AttributeKind)
ALICE = PresentityKey("sip:alice@example.com")


def contract(interval: float = 10.0, immediate: bool = True, now: float = 0.0) -> Contract:
    record = ContractRecord(
        application="app_bob",
        watcher=PresentityKey("sip:bob@example.com"),
        correlator="c1",
        presentity=PresentityKey("sip:alice@example.com"),
        presentity_uri="sip:alice@example.com",
        attributes=tuple(AttributeKind),
        endpoint="/bayeux/app_bob/presence",
        interval=interval,
        remaining=None,
        ends=None,
        check_immediate=immediate,
        started=AT,
    )
    return Contract(record, now, AT)


def activity(value: Activity, note: str | None = None, at: datetime = AT) -> Attribute:
    return Attribute(AttributeKind.ACTIVITY, value, note, at)


def place(value: Place) -> Attribute:
    return Attribute(AttributeKind.PLACE, value, None, AT)


def test_immediate_check_reports_at_once_and_the_interval_starts() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    assert c.due(0.0)
    assert c.take(0.0, AT) == Report(ALICE, (activity(Activity.BUSY),))
    c.offer(ALICE, [activity(Activity.AWAY)], ALL)
    assert not c.due(9.9)
    assert c.next_timeout() == 10.0
    assert c.due(10.0)


def test_without_immediate_check_the_state_goes_out_at_the_end_of_the_first_interval() -> None:
    c = contract(immediate=False, now=100.0)
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    assert not c.due(109.0)
    assert c.due(110.0)
    assert c.take(110.0, AT) == Report(ALICE, (activity(Activity.BUSY),))


def test_newest_state_wins_inside_an_interval() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.AWAY)], ALL)
    c.offer(ALICE, [activity(Activity.MEETING)], ALL)
    assert c.take(10.0, AT) == Report(ALICE, (activity(Activity.MEETING),))


def test_a_change_that_was_taken_back_inside_the_interval_is_no_news() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.AWAY)], ALL)
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    assert c.take(10.0, AT) is None
    c.offer(ALICE, [activity(Activity.AWAY)], ALL)
    assert c.due(10.0), "nothing was sent, so no new interval began"


def test_only_changed_kinds_are_reported() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY), place(Place.OFFICE)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.BUSY), place(Place.TRAIN)], ALL)
    assert c.take(10.0, AT) == Report(ALICE, (place(Place.TRAIN),))


def test_last_change_alone_is_no_change_but_a_note_is() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.BUSY, at=AT + timedelta(minutes=1))], ALL)
    assert c.take(10.0, AT) is None
    c.offer(ALICE, [activity(Activity.BUSY, "soon")], ALL)
    assert c.take(10.0, AT) == Report(ALICE, (activity(Activity.BUSY, "soon"),))


def test_all_others_go_out_when_one_changes() -> None:
    first = Attribute(AttributeKind.OTHER, Other("a", "1"), None, AT)
    second = Attribute(AttributeKind.OTHER, Other("b", "1"), None, AT)
    c = contract()
    c.offer(ALICE, [first, second], ALL)
    c.take(0.0, AT)
    news = Attribute(AttributeKind.OTHER, Other("b", "2"), None, AT)
    c.offer(ALICE, [first, news], ALL)
    assert c.take(10.0, AT) == Report(ALICE, (first, news))


def test_a_kind_that_is_stated_no_more_is_said_to_be_not_set() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY), place(Place.OFFICE)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.BUSY)], ALL)
    assert c.take(10.0, AT) == Report(ALICE, (place(Place.NONE),))


def test_a_revoked_kind_just_stops() -> None:
    c = contract()
    c.offer(ALICE, [activity(Activity.BUSY), place(Place.OFFICE)], ALL)
    c.take(0.0, AT)
    c.offer(ALICE, [activity(Activity.BUSY)], frozenset({AttributeKind.ACTIVITY}))
    assert c.take(10.0, AT) is None


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.sampled_from(list(Activity))), max_size=30))
def test_two_reports_are_never_closer_than_the_interval(
    changes: list[tuple[float, Activity]],
) -> None:
    c = contract(interval=5.0)
    now, sent = 0.0, []
    for wait, value in changes:
        now += wait
        c.offer(ALICE, [activity(value)], ALL)
        while c.due(now) and c.take(now, AT):
            sent.append(now)
    assert all(
        later - earlier >= 5.0 - 1e-9 for earlier, later in zip(sent, sent[1:], strict=False)
    )


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2026-01-31", TimeMetric(Metric.MONTH, 1), "2026-02-28"),
        ("2028-02-29", TimeMetric(Metric.YEAR, 1), "2029-02-28"),
        ("2026-12-15", TimeMetric(Metric.MONTH, 2), "2027-02-15"),
        ("2026-03-01", TimeMetric(Metric.WEEK, 2), "2026-03-15"),
        ("2026-03-01", TimeMetric(Metric.DAY, 31), "2026-04-01"),
    ],
)
def test_durations_know_the_calendar(start: str, duration: TimeMetric, end: str) -> None:
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert ends_at(begin, duration).date().isoformat() == end


def test_a_duration_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(InvalidValue) as refused:
        ends_at(AT, TimeMetric(Metric.YEAR, 100_000))
    assert refused.value.part == "duration"
