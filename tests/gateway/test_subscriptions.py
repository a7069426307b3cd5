"""Subscriptions that nobody uses end, those that are used do not; a watcher may leave."""

from collections.abc import Coroutine
from datetime import timedelta

import pytest

from sipbridge.errors import NotEnforceable, StoreUnavailable, UnknownWatcher
from sipbridge.gateway import StartNotification
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    PresenceUpdate,
    Reference,
    SubscriptionRecord,
    WatcherSeen,
    WatchersUpdate,
)
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind
from sipbridge.mapping.ocsg import to_document
from sipbridge.uri import Uri
from tests.gateway.fakes import START, Bench, FakeStore

K = AttributeKind
ALICE, BOB = Uri.parse("sip:alice@example.com"), Uri.parse("sip:bob@example.com")
PHONE = Uri.parse("sip:carol@example.com")
DAY = 86400.0
WEEK = 7 * DAY
STEP = WEEK / 20
EVERYTHING = [(kind, True) for kind in AttributeKind]
TIMEOUT = [{"subscriptionEnded": {"presentity": str(ALICE), "reason": "Timeout"}}]


async def subscribed(bench: Bench, application: str = "app_bob") -> None:
    reference = Reference(f"/bayeux/{application}/presence", "s")
    who = bench.bob if application == "app_bob" else bench.caller("bob", application)
    await bench.gateway.subscribe(who, ALICE, frozenset(), reference, "Desk app")


async def running(bench: Bench, days: int) -> None:
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    await bench.gateway.start_notification(
        bench.bob,
        StartNotification(
            ALICE,
            Reference("/bayeux/app_bob/presence", "c1"),
            TimeMetric(Metric.SECOND, 1),
            True,
            duration=TimeMetric(Metric.DAY, days),
        ),
    )


# --- idle ---


async def test_a_subscription_nobody_uses_ends_with_timeout_after_a_week() -> None:
    bench = Bench()
    await subscribed(bench)
    bench.pass_seconds(WEEK - 1)
    assert bench.sink.take() == []
    bench.pass_seconds(2)
    assert bench.sink.take() == TIMEOUT
    assert bench.store.subscriptions == {}
    assert bench.network.watching == set()


async def test_a_poll_begins_the_week_anew() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    bench.sink.take()
    bench.pass_seconds(6 * DAY)
    await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    bench.pass_seconds(WEEK - 1)
    assert bench.sink.take() == []
    bench.pass_seconds(STEP + 2)
    assert bench.sink.take() == TIMEOUT


async def test_polling_is_written_down_once_in_a_while_only() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    saved: list[SubscriptionRecord] = []
    keep = bench.store.save_subscription

    async def save(record: SubscriptionRecord) -> None:
        saved.append(record)
        await keep(record)

    bench.store.save_subscription = save  # type: ignore[method-assign]
    for _ in range(100):
        bench.pass_seconds(60)
        await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert len(saved) == 1


async def test_a_running_notification_keeps_it_and_the_week_counts_from_its_end() -> None:
    bench = Bench()
    await subscribed(bench)
    await running(bench, days=10)
    bench.sink.take()
    bench.pass_seconds(10 * DAY + 1)
    assert [next(iter(m)) for m in bench.sink.take()] == ["statusEnd"]
    bench.pass_seconds(WEEK - 2)
    assert bench.sink.take() == []
    bench.pass_seconds(STEP + 2)
    assert bench.sink.take() == TIMEOUT


async def test_a_connected_session_keeps_it() -> None:
    bench = Bench()
    await subscribed(bench)
    bench.sink.sessions.add("app_bob")
    bench.pass_seconds(3 * WEEK)
    assert bench.sink.take() == []
    bench.sink.sessions.clear()
    bench.pass_seconds(WEEK + STEP + 1)
    assert bench.sink.take() == TIMEOUT


async def test_one_application_ends_and_the_other_of_the_same_person_goes_on() -> None:
    bench = Bench()
    await subscribed(bench)
    bench.pass_seconds(3 * DAY)
    await subscribed(bench, "app_bob2")
    bench.pass_seconds(4 * DAY + 1)
    assert bench.sink.take() == TIMEOUT
    assert bench.network.watching == {(bench.bob.key, bench.alice.key)}
    assert [r.application for r in bench.store.subscriptions.values()] == ["app_bob2"]


async def test_a_restart_does_not_begin_the_week_anew_but_leaves_time_to_come_back() -> None:
    store = FakeStore()
    bench = Bench(store=store)
    await subscribed(bench)
    again = Bench(store=store)
    again.clock.passed = 6 * DAY
    await again.restarted()
    again.pass_seconds(DAY - 1)
    assert again.sink.take() == []
    again.pass_seconds(2)
    assert again.sink.take() == TIMEOUT

    (record,) = [
        SubscriptionRecord(
            "app_bob",
            bench.bob.key,
            str(BOB),
            bench.alice.key,
            str(ALICE),
            "",
            (),
            Reference("/bayeux/app_bob/x", "s"),
            START - timedelta(days=30),
        )
    ]
    store.subscriptions["app_bob", record.watcher, record.presentity] = record
    late = Bench(store=store)
    await late.restarted()
    late.pass_seconds(STEP - 1)
    assert late.sink.take() == []
    late.pass_seconds(2)
    assert late.sink.take() == TIMEOUT


async def test_an_idle_time_of_nought_means_for_ever() -> None:
    bench = Bench(subscription_idle=0.0)
    await subscribed(bench)
    bench.pass_seconds(100 * WEEK)
    assert bench.sink.take() == []


# --- leaving ---


async def test_a_watcher_leaves_without_a_word_and_its_notifications_stop() -> None:
    bench = Bench()
    await subscribed(bench)
    await running(bench, days=1)
    bench.sink.take()
    await bench.gateway.leave(bench.bob, ALICE)
    assert bench.sink.take() == []
    assert bench.store.subscriptions == {}
    assert bench.store.contracts == {}
    assert bench.network.watching == set()
    assert await bench.gateway.my_watchers(bench.alice) == []
    with pytest.raises(UnknownWatcher) as refused:
        await bench.gateway.leave(bench.bob, ALICE)
    assert refused.value.part == "presentity"


async def test_leaving_leaves_the_other_application_of_the_same_person_alone() -> None:
    bench = Bench()
    await subscribed(bench)
    await subscribed(bench, "app_bob2")
    await bench.gateway.leave(bench.bob, ALICE)
    assert bench.network.watching == {(bench.bob.key, bench.alice.key)}


async def test_who_comes_back_before_the_network_was_left_still_sees_what_there_was() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.BUSY)])
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    view = bench.gateway.registry.views[bench.bob.key, bench.alice.key]
    assert view.document is not None
    jobs: list[Coroutine[object, object, None]] = []
    bench.gateway.subscriptions.spawn = jobs.append
    await bench.gateway.leave(bench.bob, ALICE)
    await subscribed(bench)
    bench.gateway.registry.views.clear()  # a subscription that lives tells nothing again
    for job in jobs:
        await job
    assert bench.network.watching == {(bench.bob.key, bench.alice.key)}
    assert bench.gateway.registry.views == {(bench.bob.key, bench.alice.key): view}


async def test_who_leaves_before_its_turn_after_a_restart_is_not_watched_any_more() -> None:
    store = FakeStore()
    await subscribed(Bench(store=store))
    again = Bench(store=store)
    await again.gateway.load({"app_alice", "app_bob"})

    async def turn(presentity: Uri) -> None:
        await again.gateway.leave(again.bob, presentity)

    await again.gateway.resume(lambda what, error: None, turn)
    assert again.network.watching == set()


# --- what happens while a call waits ---


async def test_a_store_that_fails_leaves_no_subscription_behind() -> None:
    bench = Bench()

    async def fail(record: SubscriptionRecord) -> None:
        raise StoreUnavailable("disk full")

    bench.store.save_subscription = fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await subscribed(bench)
    assert bench.gateway.registry.subscriptions == {}
    assert bench.network.watching == set()


async def test_what_ends_while_the_network_still_answers_leaves_nothing_there() -> None:
    bench = Bench()
    watch = bench.network.watch

    async def slow(
        caller: Caller, presentity: Uri, *, resuming: bool = False, group: Uri | None = None
    ) -> None:
        bench.gateway.subscriptions.end((bench.bob.key, bench.alice.key), EndReason.TIMEOUT)
        await watch(caller, presentity)

    bench.network.watch = slow  # type: ignore[method-assign]
    await subscribed(bench)
    assert bench.sink.take() == TIMEOUT
    assert bench.network.watching == set()


async def test_a_block_while_the_network_still_answers_is_not_undone() -> None:
    bench = Bench()
    watch = bench.network.watch

    async def slow(
        caller: object, presentity: Uri, *, resuming: bool = False, group: Uri | None = None
    ) -> None:
        await watch(bench.bob, presentity)
        await bench.gateway.block(bench.alice, BOB)

    bench.network.watch = slow  # type: ignore[method-assign]
    await subscribed(bench)
    assert bench.store.subscriptions == {}
    (ended,) = bench.sink.take()
    assert ended["subscriptionEnded"]["reason"] == "Blocked"


# --- what a presence server decides alone ---


async def test_a_decision_that_would_bind_nobody_is_refused() -> None:
    bench = Bench()
    bench.network.here = False
    bench.gateway.watchers_changed(
        WatchersUpdate(bench.alice.key, (WatcherSeen(PHONE, "pending"),))
    )
    with pytest.raises(NotEnforceable):
        await bench.gateway.update_authorization(bench.alice, PHONE, EVERYTHING)
    with pytest.raises(NotEnforceable):
        await bench.gateway.block(bench.alice, PHONE)
    assert bench.store.rules == {}
    # A watcher of ours is bound, wherever the presentity lives.
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)


def there(*watchers: WatcherSeen) -> WatchersUpdate:
    """Who watches Alice, by her presence server's word."""
    return WatchersUpdate(Bench().alice.key, watchers)


@pytest.mark.parametrize(
    ("ids", "bound"),
    [
        (["ours"], True),
        (["ours", "phone"], False),
        (
            ["1"],
            True,
        ),  # a server with words of its own: one subscription is listed, and we have one
        (["1", "2"], False),
        ([], True),
    ],
)
async def test_a_watcher_of_ours_with_a_phone_at_the_server_is_not_bound(
    ids: list[str], bound: bool
) -> None:
    bench = Bench()
    bench.network.here = False
    await subscribed(bench)
    bench.gateway.watchers_changed(there(*(WatcherSeen(BOB, "active", id=id) for id in ids)))
    if bound:
        await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
        await bench.gateway.block(bench.alice, BOB)
        return
    for decide in (
        bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING),
        bench.gateway.block(bench.alice, BOB),
    ):
        with pytest.raises(NotEnforceable):
            await decide
    assert bench.store.rules == {}
    gone = (WatcherSeen(BOB, "waiting", id="phone"), WatcherSeen(BOB, "active", id="ours"))
    bench.gateway.watchers_changed(there(*gone))
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)


async def test_for_a_presentity_without_application_its_server_decides_alone() -> None:
    bench = Bench()
    bench.network.here = False
    dave = bench.caller("dave", "the operator")
    reference = Reference("/bayeux/app_bob/presence", "c1")
    await bench.gateway.subscribe(bench.bob, dave.identity, frozenset(), reference, "Desk")
    with pytest.raises(NotEnforceable):
        await bench.gateway.update_authorization(dave, BOB, EVERYTHING)


async def test_it_is_kept_where_the_operator_wants_that() -> None:
    bench = Bench(unenforceable=True)
    bench.network.here = False
    bench.gateway.watchers_changed(
        WatchersUpdate(bench.alice.key, (WatcherSeen(PHONE, "pending"),))
    )
    await bench.gateway.update_authorization(bench.alice, PHONE, EVERYTHING)
    assert list(bench.store.rules) == [bench.alice.key]


# --- polling ---


async def test_a_poll_asks_the_network_when_nothing_live_is_known() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    document = to_document([Attribute(K.ACTIVITY, Activity.BUSY)], presentity=ALICE, at=START)
    bench.network.documents[bench.alice.key] = document
    bench.gateway.registry.views.clear()
    for _ in range(2):  # what was fetched is no live state: the next poll asks again
        seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset({K.ACTIVITY}))
        assert [a.value for a in seen] == [Activity.BUSY]
    pair = (bench.bob.key, bench.alice.key)
    assert bench.network.fetched == [(pair, 1.0), (pair, 1.0)]
    bench.network.tell(pair, document)
    await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert len(bench.network.fetched) == 2


async def test_a_poll_that_gets_no_answer_says_what_there_is() -> None:
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, EVERYTHING)
    bench.gateway.registry.views.clear()
    assert await bench.gateway.get_presence(bench.bob, ALICE, frozenset()) == []


async def test_what_was_granted_is_not_guessed_from_a_document_that_could_not_show_it() -> None:
    """An agent of ours leaves out what is not granted: absent does not mean not set."""
    bench = Bench()
    await subscribed(bench)
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.BUSY)])
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, True)])
    await running_with_what_is_granted(bench)
    pair = (bench.bob.key, bench.alice.key)
    hidden = to_document([], presentity=ALICE, at=START)
    bench.gateway.presence_changed(PresenceUpdate(*pair, "active", "", hidden))
    bench.sink.take()
    bench.network.watching.clear()  # the agent's NOTIFY is still on its way
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.ACTIVITY, True)])
    assert [next(iter(m)) for m in bench.sink.take()] == ["notifySubscription"]
    bench.gateway.presence_changed(
        PresenceUpdate(*pair, "active", "", bench.network.documents[bench.alice.key])
    )
    (told,) = bench.sink.take()
    (attribute,) = told["statusChanged"]["changedAttributes"]
    assert attribute["typeAndValue"]["activity"] == "Busy"


async def running_with_what_is_granted(bench: Bench) -> None:
    reference = Reference("/bayeux/app_bob/presence", "c1")
    wanted = StartNotification(ALICE, reference, TimeMetric(Metric.SECOND, 0), True)
    assert await bench.gateway.start_notification(bench.bob, wanted) == []
