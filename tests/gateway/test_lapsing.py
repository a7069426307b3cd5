"""A status with an end is published again without it when its time is over."""

from datetime import timedelta

import pytest

from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import SETTABLE, derive, to_attributes
from sipbridge.presence.model import Basic, Presence
from tests.gateway.fakes import START, Bench

UNTIL = START + timedelta(seconds=60)
OFFICE = Attribute(AttributeKind.PLACE, Place.OFFICE)


def published(bench: Bench) -> dict[str, object]:
    record = bench.gateway.registry.published[bench.alice.application, bench.alice.key]
    return dict(record.attributes)


def document(bench: Bench) -> Presence:
    return bench.network.documents[bench.alice.key]


@pytest.mark.parametrize("status", [s for s in SETTABLE if s is not Status.ACTIVE])
async def test_when_a_status_is_over_it_is_taken_back(status: Status) -> None:
    bench = Bench()
    attributes = [*to_attributes(status, at=START, until=UNTIL, custom_status="x"), OFFICE]
    await bench.gateway.publish(bench.alice, attributes)
    assert derive(document(bench), at=START)[0].status is status
    bench.pass_seconds(59)
    assert derive(document(bench), at=START)[0].status is status
    bench.pass_seconds(2)
    left = document(bench)
    assert not any(p.activities for p in left.persons)
    assert [t.basic for t in left.tuples] == [Basic.OPEN]
    assert derive(left, at=START)[0].status is Status.ACTIVE
    assert "Place" in published(bench) and b"Available" in published(bench)["Activity"]  # type: ignore[operator]


async def test_what_was_published_meanwhile_stays() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, to_attributes(Status.DND, at=START, until=UNTIL))
    bench.pass_seconds(30)
    await bench.gateway.publish(bench.alice, [Attribute(AttributeKind.ACTIVITY, Activity.MEETING)])
    bench.pass_seconds(60)
    assert b"Meeting" in published(bench)["Activity"]  # type: ignore[operator]


async def test_what_was_removed_meanwhile_does_not_come_back() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, to_attributes(Status.DND, at=START, until=UNTIL))
    await bench.gateway.publish(bench.alice, [])
    bench.pass_seconds(90)
    assert bench.gateway.registry.published == {}


async def test_the_end_of_the_whole_publication_stays_where_it_was() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, to_attributes(Status.DND, at=START, until=UNTIL), 300)
    bench.pass_seconds(61)
    (record,) = bench.gateway.registry.published.values()
    assert record.ends == START + timedelta(seconds=300)
    bench.pass_seconds(240)
    assert bench.gateway.registry.published == {}


async def test_a_status_that_ended_while_the_bridge_was_down_is_taken_back_after_it() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, to_attributes(Status.DND, at=START, until=UNTIL))
    new = Bench(store=bench.store)
    new.clock.passed = 3600.0
    await new.restarted()
    new.pass_seconds(1)
    assert b"Available" in published(new)["Activity"]  # type: ignore[operator]


@pytest.mark.parametrize("text", ["soon", "2026-03-01T12:01:00", ""])
async def test_an_end_that_is_none_ends_nothing(text: str) -> None:
    bench = Bench()
    pair = Attribute(AttributeKind.OTHER, Other("rpid.activity.until", text))
    await bench.gateway.publish(
        bench.alice, [Attribute(AttributeKind.ACTIVITY, Activity.BUSY), pair]
    )
    bench.pass_seconds(90)
    assert b"Busy" in published(bench)["Activity"]  # type: ignore[operator]


async def test_activities_that_close_everything_are_left_alone() -> None:
    bench = Bench()
    word = Attribute(AttributeKind.ACTIVITY, Activity.PERMANENT_ABSENCE)
    pair = Attribute(AttributeKind.OTHER, Other("rpid.activity.until", "2026-03-01T12:01:00Z"))
    await bench.gateway.publish(bench.alice, [word, pair])
    bench.pass_seconds(90)
    assert b"PermanentAbsence" in published(bench)["Activity"]  # type: ignore[operator]
