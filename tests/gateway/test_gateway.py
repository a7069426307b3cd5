"""The operations of both sides, over fakes of the ports."""

import pytest

from sipbridge.errors import (
    CorrelatorInUse,
    InvalidValue,
    NotAuthorized,
    RequestRejected,
    UnknownCorrelator,
    UnknownPresentity,
    UnknownWatcher,
)
from sipbridge.gateway import StartNotification
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import Reference, WatcherSeen, WatchersUpdate
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench, FakeStore

ALICE = Uri.parse("sip:alice@example.com")
BOB = Uri.parse("sip:bob@example.com")
K = AttributeKind
EVERYTHING = [(kind, True) for kind in AttributeKind]
BUSY_AT_WORK = [
    Attribute(K.ACTIVITY, Activity.BUSY, "deadline"),
    Attribute(K.PLACE, Place.OFFICE),
]


def reference(correlator: str = "c1") -> Reference:
    return Reference("/bayeux/app_bob/presence", correlator)


def start(
    correlator: str = "c1",
    *,
    seconds: int = 0,
    immediate: bool = True,
    count: int | None = None,
    duration: TimeMetric | None = None,
    attributes: frozenset[AttributeKind] = frozenset(),
) -> StartNotification:
    return StartNotification(
        ALICE,
        reference(correlator),
        TimeMetric(Metric.SECOND, seconds),
        immediate,
        attributes,
        duration,
        count,
    )


async def subscribed(bench: Bench, *kinds: AttributeKind) -> None:
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(kinds), reference("s"), "Desk app")


async def granted(bench: Bench) -> None:
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    bench.sink.take()


def changed(messages: list[dict[str, object]]) -> list[object]:
    """Values of all statusChanged among the messages."""
    found = []
    for message in messages:
        body = message.get("statusChanged")
        if isinstance(body, dict):
            for attribute in body["changedAttributes"]:
                union = attribute["typeAndValue"]
                found.append(union[union["unionElement"].lower()])
    return found


async def test_a_watcher_waits_is_seen_and_is_granted_one_attribute() -> None:
    bench = Bench()
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    await subscribed(bench, K.ACTIVITY, K.PLACE)
    assert bench.sink.take() == []
    (waiting,) = await bench.gateway.open_subscriptions(bench.alice)
    assert (waiting.application, waiting.attributes, waiting.watcher) == (
        "Desk app",
        (K.ACTIVITY, K.PLACE),
        "sip:bob@example.com",
    )
    assert await bench.gateway.my_watchers(bench.alice) == []
    with pytest.raises(NotAuthorized):
        await bench.gateway.get_presence(bench.bob, ALICE, frozenset())

    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, True)])
    assert bench.sink.take() == [
        {
            "notifySubscription": {
                "presentity": "sip:alice@example.com",
                "decisions": [{"presenceAttribute": "Activity", "decision": True}],
            }
        }
    ]
    assert await bench.gateway.my_watchers(bench.alice) == ["sip:bob@example.com"]
    (still,) = await bench.gateway.open_subscriptions(bench.alice)
    assert still.attributes == (K.PLACE,)
    seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert [(a.kind, a.value, a.note) for a in seen] == [(K.ACTIVITY, Activity.BUSY, "deadline")]
    assert bench.rule_changes == [bench.alice.key]

    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, False)])
    assert await bench.gateway.open_subscriptions(bench.alice) == []
    (news,) = bench.sink.take()
    assert news["notifySubscription"]["decisions"] == [
        {"presenceAttribute": "Activity", "decision": True},
        {"presenceAttribute": "Place", "decision": False},
    ]


async def test_all_denied_means_refused_and_no_longer_open() -> None:
    bench = Bench()
    await subscribed(bench, K.ACTIVITY)
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, False)])
    assert await bench.gateway.open_subscriptions(bench.alice) == []
    assert await bench.gateway.my_watchers(bench.alice) == []
    with pytest.raises(NotAuthorized):
        await bench.gateway.get_presence(bench.bob, ALICE, frozenset())


async def test_status_changes_arrive_and_the_revoked_attribute_stops_at_once() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    assert await bench.gateway.start_notification(bench.bob, start()) == []
    assert changed(bench.sink.take()) == ["Busy", "Office"]
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.TRAIN)])
    assert changed(bench.sink.take()) == ["Train"]
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, False)])
    bench.sink.take()
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.HOME)])
    assert changed(bench.sink.take()) == []
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.MEAL)])
    assert changed(bench.sink.take()) == ["Meal"]


async def test_a_pair_is_seen_only_with_its_owner() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.OTHER, True)])
    await bench.gateway.publish(
        bench.alice,
        [
            Attribute(K.ACTIVITY, Activity.OTHER),
            Attribute(K.OTHER, Other("ACTIVITY_OTHER", "sailing")),
            Attribute(K.OTHER, Other("colour", "blue")),
        ],
    )
    seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert [a.value for a in seen] == [Other("colour", "blue")]


async def test_frequency_holds_changes_back_and_the_last_one_wins() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.start_notification(bench.bob, start(seconds=10))
    bench.sink.take()
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.BUSY)])
    first = changed(bench.sink.take())
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.MEAL)])
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.AWAY)])
    bench.pass_seconds(9)
    assert changed(bench.sink.take()) == []
    bench.pass_seconds(2)
    assert first + changed(bench.sink.take()) == ["Busy", "Away"]


async def test_count_ends_with_status_end_and_frees_the_correlator() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    await bench.gateway.start_notification(bench.bob, start(count=2))
    with pytest.raises(CorrelatorInUse):
        await bench.gateway.start_notification(bench.bob, start())
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.MEAL)])
    kinds = [next(iter(m)) for m in bench.sink.take()]
    assert kinds == ["statusChanged", "statusChanged", "statusEnd"]
    assert bench.store.contracts == {}
    assert await bench.gateway.start_notification(bench.bob, start()) == []


async def test_duration_ends_with_status_end() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.start_notification(bench.bob, start(duration=TimeMetric(Metric.HOUR, 1)))
    bench.sink.take()
    bench.pass_seconds(3599)
    assert bench.sink.take() == []
    bench.pass_seconds(2)
    assert bench.sink.take() == [{"statusEnd": {"correlator": "c1"}}]


async def test_end_notification_is_silent_and_keeps_the_subscription() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.start_notification(bench.bob, start())
    bench.sink.take()
    await bench.gateway.end_notification(bench.bob, "c1")
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    assert bench.sink.take() == []
    with pytest.raises(UnknownCorrelator):
        await bench.gateway.end_notification(bench.bob, "c1")
    assert await bench.gateway.my_watchers(bench.alice) == ["sip:bob@example.com"]


async def test_without_a_grant_no_contract_is_made_and_the_presentity_is_named() -> None:
    bench = Bench()
    assert await bench.gateway.start_notification(bench.bob, start()) == [str(ALICE)]
    await subscribed(bench)
    assert await bench.gateway.start_notification(bench.bob, start()) == [str(ALICE)]
    assert bench.store.contracts == {}
    with pytest.raises(UnknownCorrelator):
        await bench.gateway.end_notification(bench.bob, "c1")


async def test_block_ends_everything_tells_the_watcher_and_lasts() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.start_notification(bench.bob, start())
    bench.sink.take()
    await bench.gateway.block(bench.alice, BOB)
    ended = {"subscriptionEnded": {"presentity": "sip:alice@example.com", "reason": "Blocked"}}
    assert bench.sink.take() == [ended]
    assert bench.network.watching == set()
    assert bench.store.subscriptions == {}
    await subscribed(bench)
    assert bench.sink.take() == [ended]
    assert bench.store.subscriptions == {}

    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, True)])
    await subscribed(bench)
    (told,) = bench.sink.take()
    assert told["notifySubscription"]["decisions"] == [
        {"presenceAttribute": "Activity", "decision": True}
    ]


async def test_a_stranger_can_be_neither_authorised_nor_blocked() -> None:
    bench = Bench()
    with pytest.raises(UnknownWatcher):
        await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    with pytest.raises(UnknownWatcher):
        await bench.gateway.block(bench.alice, BOB)


async def test_sip_watchers_from_winfo_stand_beside_applications() -> None:
    bench = Bench()
    phone = Uri.parse("sip:carol@example.com")
    bench.gateway.watchers_changed(
        WatchersUpdate(bench.alice.key, (WatcherSeen(phone, "pending", display_name="Carol"),))
    )
    (waiting,) = await bench.gateway.open_subscriptions(bench.alice)
    assert (waiting.application, waiting.watcher) == ("Carol", str(phone))
    assert waiting.attributes == tuple(AttributeKind)
    await bench.gateway.update_authorization(bench.alice, phone, EVERYTHING)
    assert await bench.gateway.open_subscriptions(bench.alice) == []
    bench.gateway.watchers_changed(WatchersUpdate(bench.alice.key, (WatcherSeen(phone, "active"),)))
    assert await bench.gateway.my_watchers(bench.alice) == [str(phone)]


async def test_publish_replaces_the_kinds_named_and_keeps_the_others() -> None:
    bench = Bench()
    await granted(bench)
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.MEAL)])
    seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset({K.ACTIVITY, K.PLACE}))
    assert [a.value for a in seen] == [Activity.MEAL, Place.OFFICE]
    await bench.gateway.publish(bench.alice, [])
    assert bench.network.unpublished == [bench.alice.key]
    assert bench.store.published == {}


async def test_remote_server_decides_for_whom_no_application_is_here() -> None:
    bench = Bench()
    bench.network.here = False
    bench.network.state = "pending"
    carol = Uri.parse("sip:carol@elsewhere.example")
    await bench.gateway.subscribe(bench.bob, carol, frozenset({K.PLACE}), reference(), "Desk app")
    assert bench.sink.take() == []
    pair = (
        bench.bob.key,
        bench.caller("x").key.replace("x@example.com", "carol@elsewhere.example"),
    )
    (known,) = bench.network.watching
    assert known == pair
    bench.network.tell(known, None, "active")
    (told,) = bench.sink.take()
    assert told["notifySubscription"]["decisions"] == [
        {"presenceAttribute": "Place", "decision": True}
    ]
    bench.network.tell(known, None, "terminated", "rejected")
    (ended,) = bench.sink.take()
    assert ended["subscriptionEnded"]["reason"] == "Blocked"


async def test_what_makes_no_sense_is_refused_before_anything_is_sent() -> None:
    bench = Bench()
    stranger = Uri.parse("sip:carol@elsewhere.example")
    with pytest.raises(UnknownPresentity):
        await bench.gateway.subscribe(bench.bob, stranger, frozenset(), reference(), "")
    foreign = Reference("/bayeux/app_alice/presence", "c1")
    with pytest.raises(InvalidValue):
        await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), foreign, "")
    with pytest.raises(InvalidValue):
        await bench.gateway.start_notification(bench.bob, start(count=0))
    with pytest.raises(InvalidValue):
        await bench.gateway.start_notification(bench.bob, start(seconds=-1))
    with pytest.raises(UnknownWatcher):
        await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    bench.network.failure = RequestRejected(404, "Not Found")
    with pytest.raises(UnknownPresentity):
        await subscribed(bench)
    assert bench.store.subscriptions == {}
    assert bench.network.watching == set()


async def test_an_agent_that_allows_everybody_decides_by_itself() -> None:
    bench = Bench(SubHandling.ALLOW)
    await subscribed(bench, K.ACTIVITY)
    (told,) = bench.sink.take()
    assert told["notifySubscription"]["decisions"] == [
        {"presenceAttribute": "Activity", "decision": True}
    ]
    assert await bench.gateway.open_subscriptions(bench.alice) == []


async def test_everything_goes_on_after_a_restart() -> None:
    store = FakeStore()
    bench = Bench(store=store)
    await granted(bench)
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    await bench.gateway.start_notification(bench.bob, start(count=5))
    bench.sink.take()

    again = Bench(store=store)
    await again.gateway.load({"app_alice", "app_bob"})
    failures: list[str] = []
    await again.gateway.resume(lambda what, error: failures.append(what))
    assert failures == []
    again.sink.take()
    await again.gateway.publish(again.alice, [Attribute(K.PLACE, Place.TRAIN)])
    assert "Train" in changed(again.sink.take())
    assert await again.gateway.my_watchers(again.alice) == ["sip:bob@example.com"]
