"""Publishing: when what was said, how long it lives, and which of two calls wins."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from sipbridge.errors import TransactionTimeout
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.presentity import LastChangeAhead
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Place
from sipbridge.uri import Uri
from tests.gateway.fakes import START, Bench, FakeStore

K = AttributeKind
ALICE, BOB = Uri.parse("sip:alice@example.com"), Uri.parse("sip:bob@example.com")
DAY = 86400.0


def busy(at: datetime | None = None) -> Attribute:
    return Attribute(K.ACTIVITY, Activity.BUSY, None, at)


def away(at: datetime | None = None) -> Attribute:
    return Attribute(K.ACTIVITY, Activity.AWAY, None, at)


async def watched(bench: Bench) -> None:
    reference = Reference("/bayeux/app_bob/presence", "s")
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), reference, "Desk app")
    await bench.gateway.update_authorization(bench.alice, BOB, [(k, True) for k in K])


async def seen(bench: Bench, kind: AttributeKind = K.ACTIVITY) -> Sequence[Attribute]:
    return await bench.gateway.get_presence(bench.bob, ALICE, frozenset({kind}))


# --- lastChange ---


async def test_last_change_is_what_the_application_says() -> None:
    bench = Bench()
    await watched(bench)
    hour_ago = START - timedelta(hours=1)
    await bench.gateway.publish(bench.alice, [busy(hour_ago)])
    (attribute,) = await seen(bench)
    assert attribute.last_change == hour_ago
    assert bench.reported == []


async def test_without_last_change_it_is_the_time_of_arrival() -> None:
    bench = Bench()
    await watched(bench)
    bench.pass_seconds(5)
    await bench.gateway.publish(bench.alice, [busy()])
    (attribute,) = await seen(bench)
    assert attribute.last_change == START + timedelta(seconds=5)
    assert bench.reported == []


@pytest.mark.parametrize(("ahead", "taken"), [(59, 59), (60, 60), (61, 0), (10**6, 0)])
async def test_a_last_change_in_the_future_is_not_believed(ahead: int, taken: int) -> None:
    bench = Bench()
    await watched(bench)
    await bench.gateway.publish(bench.alice, [busy(START + timedelta(seconds=ahead))])
    (attribute,) = await seen(bench)
    assert attribute.last_change == START + timedelta(seconds=taken)
    assert bench.reported == [
        LastChangeAhead("app_alice", bench.alice.key, "Activity", float(ahead), "trace")
    ] * (taken == 0)


async def test_the_later_call_wins_whatever_its_last_change_says() -> None:
    bench = Bench()
    await watched(bench)
    await bench.gateway.publish(bench.alice, [busy(START)])
    await bench.gateway.publish(bench.alice, [away(START - timedelta(days=1))])
    (attribute,) = await seen(bench)
    assert attribute.value is Activity.AWAY


async def test_a_value_published_again_keeps_its_time() -> None:
    bench = Bench()
    await watched(bench)
    await bench.gateway.publish(bench.alice, [busy()])
    bench.pass_seconds(100)
    await bench.gateway.publish(bench.alice, [busy()])
    (attribute,) = await seen(bench)
    assert attribute.last_change == START


# --- how long it lives ---


async def test_a_publication_ends_a_day_after_the_last_call() -> None:
    bench = Bench()
    await watched(bench)
    await bench.gateway.publish(bench.alice, [busy()])
    bench.pass_seconds(DAY - 10)
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.HOME)])
    bench.pass_seconds(DAY - 10)
    assert [a.value for a in await seen(bench)] == [Activity.BUSY]
    bench.pass_seconds(20)
    assert bench.network.unpublished == [bench.alice.key]
    assert bench.store.published == {}
    assert [a.value for a in await seen(bench, K.PLACE)] == []


async def test_each_call_says_for_itself_how_long_and_nought_means_for_ever() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, [busy()], expires=0)
    bench.pass_seconds(100 * DAY)
    assert bench.network.unpublished == []
    await bench.gateway.publish(bench.alice, [busy()], expires=30)
    bench.pass_seconds(29)
    assert bench.network.unpublished == []
    bench.pass_seconds(2)
    assert bench.network.unpublished == [bench.alice.key]


async def test_the_operator_can_let_publications_live_for_ever() -> None:
    bench = Bench(publication_lifetime=0.0)
    await bench.gateway.publish(bench.alice, [busy()])
    bench.pass_seconds(100 * DAY)
    assert bench.network.unpublished == []


async def test_a_publication_taken_back_does_not_end_a_second_time() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, [busy()])
    await bench.gateway.publish(bench.alice, [])
    bench.pass_seconds(2 * DAY)
    assert bench.network.unpublished == [bench.alice.key]


async def test_the_end_runs_on_while_nobody_serves() -> None:
    store = FakeStore()
    bench = Bench(store=store)
    await bench.gateway.publish(bench.alice, [busy()])
    early = Bench(store=store)
    early.clock.passed = DAY - 10
    await early.restarted()
    assert early.network.documents != {}
    early.pass_seconds(11)
    assert early.network.unpublished == [early.alice.key]

    await bench.gateway.publish(bench.alice, [busy()])
    late = Bench(store=store)
    late.clock.passed = DAY + 10
    await late.restarted()
    assert late.network.unpublished == [late.alice.key]
    assert store.published == {}


async def test_a_publication_that_failed_changes_nothing() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, [busy()])
    bench.network.failure = TransactionTimeout("silence")
    with pytest.raises(TransactionTimeout):
        await bench.gateway.publish(bench.alice, [away()])
    bench.network.failure = None
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.HOME)])
    (record,) = bench.store.published.values()
    assert b"Busy" in record.attributes[0][1]


async def test_what_was_taken_back_stays_so_though_the_network_did_not_answer() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, [busy()])
    bench.network.failure = TransactionTimeout("silence")
    with pytest.raises(TransactionTimeout):
        await bench.gateway.publish(bench.alice, [])
    assert bench.store.published == {}
    bench.network.failure = None
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.HOME)])
    (record,) = bench.store.published.values()
    assert [kind for kind, _ in record.attributes] == ["Place"]
    bench.pass_seconds(DAY / 2)
    assert bench.network.unpublished == [bench.alice.key]
