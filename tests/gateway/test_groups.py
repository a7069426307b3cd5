"""Groups: one request for many, one frequency over all, nobody left out and nobody too many."""

import pytest

from sipbridge.errors import AgainstPolicy, InvalidGroup, RequestRejected, UnknownWatcher
from sipbridge.gateway import Group, StartNotification
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.groups import Groups
from sipbridge.gateway.ports import Reference
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, Bench, FakeStore

ALICE = Uri.parse("sip:alice@example.com")
DAVE = Uri.parse("sip:dave@example.com")
BOB = Uri.parse("sip:bob@example.com")
TEAM = Uri.parse("sip:team@example.com")
GROUPS = [Group(TEAM, (ALICE, DAVE))]
REFERENCE = Reference("/bayeux/app_bob/presence", "c1")
EVERYTHING = [(kind, True) for kind in AttributeKind]


def bench(store: FakeStore | None = None) -> Bench:
    return Bench(store=store, groups=GROUPS)


def start(seconds: int = 0, count: int | None = None) -> StartNotification:
    frequency = TimeMetric(Metric.SECOND, seconds)
    return StartNotification(TEAM, REFERENCE, frequency, True, count=count)


async def subscribed(there: Bench) -> None:
    await there.gateway.subscribe(there.bob, TEAM, frozenset(), REFERENCE, "Desk app")


async def busy(there: Bench, name: str, activity: Activity) -> None:
    await there.gateway.publish(there.caller(name), [Attribute(AttributeKind.ACTIVITY, activity)])


def told(there: Bench) -> list[tuple[str, str]]:
    """(presentity, activity) of each statusChanged."""
    bodies = [m["statusChanged"] for m in there.sink.take() if "statusChanged" in m]
    return [
        (b["presentity"], b["changedAttributes"][0]["typeAndValue"]["activity"]) for b in bodies
    ]


async def test_subscribing_to_a_group_asks_each_member() -> None:
    there = bench()
    await subscribed(there)
    for name in ("alice", "dave"):
        (waiting,) = await there.gateway.open_subscriptions(there.caller(name))
        assert waiting.watcher == str(BOB)
    await there.gateway.update_authorization(there.caller("dave"), BOB, EVERYTHING)
    (message,) = there.sink.take()
    assert message["notifySubscription"]["presentity"] == str(DAVE)


async def test_members_that_granted_nothing_are_in_the_result_and_join_when_they_grant() -> None:
    there = bench()
    await subscribed(there)
    assert await there.gateway.start_notification(there.bob, start()) == [str(ALICE), str(DAVE)]
    assert there.store.contracts == {}

    await there.gateway.update_authorization(there.caller("alice"), BOB, EVERYTHING)
    await busy(there, "alice", Activity.BUSY)
    await busy(there, "dave", Activity.MEAL)
    assert await there.gateway.start_notification(there.bob, start()) == [str(DAVE)]
    assert told(there) == [(str(ALICE), "Busy")]
    await there.gateway.update_authorization(there.caller("dave"), BOB, EVERYTHING)
    assert told(there) == [(str(DAVE), "Meal")]


async def test_one_frequency_holds_over_all_members_and_each_gets_its_turn() -> None:
    there = bench()
    await subscribed(there)
    for name in ("alice", "dave"):
        await there.gateway.update_authorization(there.caller(name), BOB, EVERYTHING)
        await busy(there, name, Activity.BUSY)
    there.sink.take()
    assert await there.gateway.start_notification(there.bob, start(seconds=10)) == []
    assert told(there) == [(str(ALICE), "Busy")]
    await busy(there, "alice", Activity.AWAY)
    there.pass_seconds(9)
    assert told(there) == []
    there.pass_seconds(1.5)
    assert told(there) == [(str(DAVE), "Busy")]
    there.pass_seconds(10)
    assert told(there) == [(str(ALICE), "Away")]


async def test_count_counts_over_all_members() -> None:
    there = bench()
    await subscribed(there)
    for name in ("alice", "dave"):
        await there.gateway.update_authorization(there.caller(name), BOB, EVERYTHING)
        await busy(there, name, Activity.BUSY)
    there.sink.take()
    await there.gateway.start_notification(there.bob, start(count=2))
    kinds = [next(iter(m)) for m in there.sink.take()]
    assert kinds == ["statusChanged", "statusChanged", "statusEnd"]


async def test_a_member_that_blocks_leaves_and_the_notification_goes_on() -> None:
    there = bench()
    await subscribed(there)
    for name in ("alice", "dave"):
        await there.gateway.update_authorization(there.caller(name), BOB, EVERYTHING)
    await there.gateway.start_notification(there.bob, start())
    there.sink.take()
    await there.gateway.block(there.caller("alice"), BOB)
    (ended,) = there.sink.take()
    assert ended["subscriptionEnded"] == {"presentity": str(ALICE), "reason": "Blocked"}
    await busy(there, "dave", Activity.MEAL)
    assert told(there) == [(str(DAVE), "Meal")]
    await there.gateway.block(there.caller("dave"), BOB)
    assert there.store.contracts == {}


async def test_a_notification_on_a_group_goes_on_after_a_restart() -> None:
    store = FakeStore()
    there = bench(store)
    await subscribed(there)
    for name in ("alice", "dave"):
        await there.gateway.update_authorization(there.caller(name), BOB, EVERYTHING)
        await busy(there, name, Activity.BUSY)
    await there.gateway.start_notification(there.bob, start())
    again = bench(store)
    again.network.documents = there.network.documents
    await again.restarted()
    assert told(again) == []
    await busy(again, "dave", Activity.AWAY)
    assert told(again) == [(str(DAVE), "Away")]


async def test_the_network_is_told_of_the_group_at_first_and_after_a_restart() -> None:
    store = FakeStore()
    there = bench(store)
    await subscribed(there)
    assert set(there.network.of_group.values()) == {TEAM}
    again = bench(store)
    await again.restarted()
    assert set(again.network.of_group.values()) == {TEAM}
    await again.gateway.leave(again.bob, ALICE)
    once_more = bench(store)
    await once_more.restarted()
    assert list(once_more.network.of_group.values()) == [None]


async def test_leaving_a_group_leaves_every_member() -> None:
    there = bench()
    await subscribed(there)
    await there.gateway.leave(there.bob, TEAM)
    assert there.store.subscriptions == {}
    assert there.network.watching == set()
    with pytest.raises(UnknownWatcher):
        await there.gateway.leave(there.bob, TEAM)


async def test_a_group_cannot_be_polled() -> None:
    there = bench()
    await subscribed(there)
    with pytest.raises(AgainstPolicy) as refused:
        await there.gateway.get_presence(there.bob, TEAM, frozenset())
    assert refused.value.rule == "group"


async def test_a_member_that_cannot_be_reached_fails_alone() -> None:
    there = Bench(groups=[Group(TEAM, (ALICE, Uri.parse("sip:erin@elsewhere.example")))])
    await subscribed(there)
    assert [r.presentity_uri for r in there.store.subscriptions.values()] == [str(ALICE)]
    there.network.failure = RequestRejected(503, "Service Unavailable")
    with pytest.raises(RequestRejected):
        await subscribed(there)


def test_a_group_in_a_group_and_one_of_nobody_are_refused() -> None:
    nobody = Uri.parse("sip:nobody@example.com")
    groups = Groups(IDENTITIES, [Group(TEAM, (ALICE, nobody)), Group(nobody, ())])
    with pytest.raises(AgainstPolicy) as refused:
        groups.members(IDENTITIES.canonical(TEAM))
    assert refused.value.rule == "nested"
    with pytest.raises(InvalidGroup):
        groups.members(IDENTITIES.canonical(nobody))
    assert list(groups.members(IDENTITIES.canonical(ALICE)).values()) == [ALICE]
