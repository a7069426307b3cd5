"""Notifications across restarts, revocations and the end of things: what is sent once, and what never."""

from copy import copy

import pytest

from sipbridge.errors import StoreUnavailable, UnknownCorrelator
from sipbridge.gateway import StartNotification
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import ContractRecord, Notification, Reference
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench

K = AttributeKind
ALICE, BOB = Uri.parse("sip:alice@example.com"), Uri.parse("sip:bob@example.com")
REFERENCE = Reference("/bayeux/app_bob/presence", "c1")
BUSY = Attribute(K.ACTIVITY, Activity.BUSY)
AWAY = Attribute(K.ACTIVITY, Activity.AWAY)
OFFICE = Attribute(K.PLACE, Place.OFFICE)


async def granted(bench: Bench, *kinds: AttributeKind) -> None:
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), REFERENCE, "Desk app")
    await bench.gateway.update_authorization(bench.alice, BOB, [(k, True) for k in kinds or K])
    bench.sink.take()


async def started(
    bench: Bench,
    seconds: float = 0,
    *,
    immediate: bool = True,
    count: int | None = None,
    hours: int | None = None,
) -> None:
    wanted = StartNotification(
        ALICE,
        REFERENCE,
        TimeMetric(Metric.MILLISECOND, round(1000 * seconds)),
        immediate,
        duration=None if hours is None else TimeMetric(Metric.HOUR, hours),
        count=count,
    )
    assert await bench.gateway.start_notification(bench.bob, wanted) == []


async def restarted(before: Bench, downtime: float = 0.0) -> Bench:
    again = Bench(store=before.store)
    again.clock.passed = before.clock.passed + downtime
    await again.restarted()
    return again


def kinds(bench: Bench) -> list[str]:
    return [next(iter(m)) for m in bench.sink.take()]


def values(bench: Bench) -> list[list[object]]:
    """The values of each statusChanged."""
    found = []
    for message in bench.sink.take():
        if "statusChanged" in message:
            unions = [a["typeAndValue"] for a in message["statusChanged"]["changedAttributes"]]
            found.append([u[u["unionElement"].lower()] for u in unions])
    return found


# --- checkImmediate ---


async def test_without_check_immediate_the_state_comes_at_the_end_of_the_first_period() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    await started(bench, 10, immediate=False, count=2)
    bench.pass_seconds(9.9)
    assert values(bench) == []
    bench.pass_seconds(0.2)
    assert values(bench) == [["Busy"]]  # unchanged, and it counts
    bench.pass_seconds(100)
    assert values(bench) == []  # afterwards only changes
    await bench.gateway.publish(bench.alice, [AWAY])
    assert kinds(bench) == ["statusChanged", "statusEnd"]


async def test_changes_in_the_first_period_are_one_notification_with_the_newest_state() -> None:
    bench = Bench()
    await granted(bench)
    await started(bench, 10, immediate=False)
    await bench.gateway.publish(bench.alice, [BUSY])
    bench.pass_seconds(5)
    await bench.gateway.publish(bench.alice, [AWAY])
    bench.pass_seconds(6)
    assert values(bench) == [["Away"]]


# --- restarts ---


async def test_after_a_restart_an_unchanged_state_is_not_sent_again() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY, OFFICE])
    await started(bench, count=2)
    again = await restarted(bench)
    assert again.sink.take() == []
    await again.gateway.publish(again.alice, [AWAY])
    assert kinds(again) == ["statusChanged", "statusEnd"]  # the count went on too


async def test_what_changed_meanwhile_is_told_once() -> None:
    bench, elsewhere = Bench(), Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY, OFFICE])
    await started(bench)
    await elsewhere.gateway.publish(elsewhere.alice, [AWAY, OFFICE])
    bench.store.published = elsewhere.store.published
    again = await restarted(bench)
    assert values(again) == [["Away"]]
    assert (await restarted(again)).sink.take() == []


async def test_a_restart_does_not_cut_an_interval_short() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    await started(bench, 10)
    bench.pass_seconds(2)
    again = await restarted(bench, downtime=3)
    await again.gateway.publish(again.alice, [AWAY])
    again.pass_seconds(4.9)
    assert values(again) == []
    again.pass_seconds(0.2)
    assert values(again) == [["Away"]]


async def test_a_restart_in_the_first_period_does_not_begin_it_anew() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    await started(bench, 10, immediate=False)
    bench.pass_seconds(4)
    again = await restarted(bench, downtime=4)
    again.pass_seconds(1.9)
    assert values(again) == []
    again.pass_seconds(0.2)
    assert values(again) == [["Busy"]]


async def test_a_duration_that_ended_while_nobody_served_is_one_status_end() -> None:
    bench = Bench()
    await granted(bench)
    await started(bench, hours=1)
    again = await restarted(bench, downtime=3601)
    assert again.sink.take() == [{"statusEnd": {"correlator": "c1"}}]
    assert again.store.contracts == {}
    once_more = await restarted(again)
    once_more.pass_seconds(10_000)
    assert once_more.sink.take() == []


async def test_a_duration_goes_on_counting_while_nobody_serves() -> None:
    bench = Bench()
    await granted(bench)
    await started(bench, hours=1)
    again = await restarted(bench, downtime=3000)
    assert again.sink.take() == []
    again.pass_seconds(599)
    assert again.sink.take() == []
    again.pass_seconds(2)
    assert kinds(again) == ["statusEnd"]


# --- decisions ---


async def test_every_decision_and_every_later_change_is_told() -> None:
    bench = Bench()
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset({K.ACTIVITY, K.PLACE}), REFERENCE, "")
    expected: dict[str, bool] = {}
    for kind, decision in (
        (K.ACTIVITY, True),
        (K.PLACE, False),
        (K.PLACE, True),
        (K.ACTIVITY, False),
        (K.PLACE, False),
        (K.ACTIVITY, True),
    ):
        await bench.gateway.update_authorization(bench.alice, BOB, [(kind, decision)])
        expected[kind.value] = decision
        (message,) = bench.sink.take()
        decisions = message["notifySubscription"]["decisions"]
        assert {d["presenceAttribute"]: d["decision"] for d in decisions} == expected
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, True)])
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.SPHERE, True)])
    assert bench.sink.take() == []  # nothing new, and nothing that was asked for


async def test_asking_again_is_answered_again() -> None:
    bench = Bench()
    await granted(bench, K.ACTIVITY)
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset({K.ACTIVITY}), REFERENCE, "")
    assert kinds(bench) == ["notifySubscription"]


async def test_what_waits_for_the_interval_is_not_sent_when_it_is_revoked_meanwhile() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    await started(bench, 10)
    await bench.gateway.publish(bench.alice, [AWAY, OFFICE])
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, False)])
    bench.sink.take()
    bench.pass_seconds(11)
    assert values(bench) == [["Office"]]


async def test_what_is_granted_again_is_told_again() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    await started(bench, 10)
    bench.sink.take()
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, False)])
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, True)])
    bench.pass_seconds(11)
    assert values(bench) == [["Busy"]]


async def test_a_grant_by_default_keeps_what_is_not_named() -> None:
    bench = Bench(SubHandling.ALLOW)
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), REFERENCE, "")
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, False)])
    told = bench.sink.take()[-1]["notifySubscription"]["decisions"]
    assert {d["presenceAttribute"] for d in told if not d["decision"]} == {"Place"}
    assert len(told) == len(K)


# --- what is read later ---


async def notification(bench: Bench) -> Notification:
    await granted(bench)
    await bench.gateway.publish(
        bench.alice,
        [
            Attribute(K.ACTIVITY, Activity.OTHER),
            OFFICE,
            Attribute(K.OTHER, Other("ACTIVITY_OTHER", "sailing")),
            Attribute(K.OTHER, Other("colour", "blue")),
        ],
    )
    await started(bench)
    (sent,) = bench.sink.sent
    return sent


async def test_what_is_still_granted_is_read_as_it_was_sent() -> None:
    bench = Bench()
    sent = await notification(bench)
    assert bench.gateway.recheck(sent) is sent


async def test_what_was_revoked_is_cut_out_with_the_pairs_it_owns() -> None:
    bench = Bench()
    sent = await notification(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, False)])
    shown = bench.gateway.recheck(sent)
    assert shown is not None
    assert b"Office" in shown.data and b"blue" in shown.data
    assert b"Activity" not in shown.data and b"sailing" not in shown.data
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.OTHER, False), (K.PLACE, False)])
    assert bench.gateway.recheck(sent) is None


async def test_after_a_block_nothing_of_it_is_read_but_that_it_ended_is() -> None:
    bench = Bench()
    sent = await notification(bench)
    bench.sink.sent.clear()
    await bench.gateway.block(bench.alice, BOB)
    (ended,) = bench.sink.sent
    assert bench.gateway.recheck(sent) is None
    assert bench.gateway.recheck(ended) is ended


# --- ends ---


async def test_a_correlator_that_was_ended_is_unknown() -> None:
    bench = Bench()
    with pytest.raises(UnknownCorrelator) as refused:
        await bench.gateway.end_notification(bench.bob, "c9")
    assert refused.value.part == "correlator"


async def test_a_store_that_keeps_nothing_starts_nothing() -> None:
    bench = Bench()
    await granted(bench)

    async def fail(record: ContractRecord) -> None:
        raise StoreUnavailable("disk full")

    bench.store.add_contract = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await started(bench)
    assert bench.gateway.registry.contracts == {}
    bench.pass_seconds(100_000)
    assert bench.sink.take() == []


async def test_a_block_while_the_store_still_writes_ends_the_new_notification() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    keep = bench.store.add_contract

    async def slow(record: ContractRecord) -> None:
        await keep(record)
        await bench.gateway.block(bench.alice, BOB)

    bench.store.add_contract = slow  # type: ignore[method-assign]
    await started(bench)
    assert kinds(bench) == ["subscriptionEnded"]
    bench.pass_seconds(100_000)
    assert bench.sink.take() == []
    assert bench.store.contracts == {}


async def test_what_is_told_while_the_server_is_away_says_that_it_may_be_old() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY])
    bench.gateway.presence_outdated(bench.bob.key, bench.alice.key)
    assert bench.gateway.is_stale(bench.bob, ALICE)
    assert bench.sink.take() == []
    await started(bench)
    (old,) = bench.sink.take()
    assert old["statusChanged"]["stale"] is True
    await bench.gateway.publish(bench.alice, [AWAY])
    assert not bench.gateway.is_stale(bench.bob, ALICE)
    (new,) = bench.sink.take()
    assert "stale" not in new["statusChanged"]


async def told_while_old(bench: Bench, count: int | None = None) -> None:
    """Alice is busy in her office, and her server is away; a contract that begins now was told so."""
    await granted(bench)
    await bench.gateway.publish(bench.alice, [BUSY, OFFICE])
    bench.gateway.presence_outdated(bench.bob.key, bench.alice.key)
    await started(bench, count=count)
    (old,) = bench.sink.take()
    assert old["statusChanged"]["stale"] is True


def known(bench: Bench) -> Presence:
    """The very document that is known of Alice."""
    document = bench.gateway.registry.views[bench.bob.key, bench.alice.key].document
    assert document is not None
    return document


async def test_what_was_told_as_perhaps_old_is_told_once_more_when_it_turns_out_to_be_right() -> (
    None
):
    bench = Bench()
    await told_while_old(bench)
    bench.network.tell((bench.bob.key, bench.alice.key), known(bench))
    (new,) = bench.sink.take()
    assert "stale" not in new["statusChanged"]
    assert len(new["statusChanged"]["changedAttributes"]) == 2
    bench.network.tell((bench.bob.key, bench.alice.key), known(bench))
    bench.gateway.presence_outdated(bench.bob.key, bench.alice.key)
    bench.network.tell((bench.bob.key, bench.alice.key), copy(known(bench)))
    assert bench.sink.take() == []  # who was not told of it is not told that it is over


async def test_of_what_was_told_as_perhaps_old_all_is_told_that_is_true_now() -> None:
    bench = Bench()
    await told_while_old(bench)
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.NONE)])
    assert values(bench) == [["Busy", "PlaceNone"]]


async def test_that_values_are_not_old_any_more_counts_and_waits_for_its_turn() -> None:
    bench = Bench()
    await told_while_old(bench, count=2)
    bench.network.tell((bench.bob.key, bench.alice.key), known(bench))
    assert kinds(bench) == ["statusChanged", "statusEnd"]


async def test_what_was_told_as_perhaps_old_before_a_restart_is_told_once_more() -> None:
    bench = Bench()
    await told_while_old(bench)
    again = await restarted(bench)
    assert values(again) == [["Busy", "Office"]]  # and what she published is told anew
    assert (await restarted(again)).sink.take() == []


async def test_of_whom_nothing_is_known_nothing_is_old() -> None:
    bench = Bench()
    await granted(bench)
    bench.gateway.presence_outdated(bench.bob.key, bench.alice.key)
    assert not bench.gateway.is_stale(bench.bob, ALICE)
