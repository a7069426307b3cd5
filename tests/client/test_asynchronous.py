"""The asynchronous client: the same operations; its calls are those of the blocking one."""

import inspect
from datetime import timedelta

import pytest

from sipbridge.client import (
    Activity,
    AsyncPresenceClient,
    AttributeKind,
    NotifySubscription,
    OpenSubscription,
    PolicyFault,
    PresenceClient,
    ServiceFault,
    StatusChanged,
    StatusEnd,
    SubscriptionEnded,
    Unauthenticated,
    Unreachable,
    attribute,
)
from tests.app.rig import Site
from tests.client.conftest import asynchronous, soon
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
ACTIVITY, PLACE = AttributeKind.ACTIVITY, AttributeKind.PLACE
OPERATIONS = {
    "block_subscription",
    "end_presence_notification",
    "get_my_watchers",
    "get_open_subscriptions",
    "get_user_presence",
    "leave_subscription",
    "publish",
    "start_presence_notification",
    "subscribe_presence",
    "update_subscription_authorization",
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_both_clients_have_the_same_operations(name: str) -> None:
    one, other = getattr(PresenceClient, name), getattr(AsyncPresenceClient, name)
    assert inspect.signature(one) == inspect.signature(other)
    assert one.__doc__ == other.__doc__
    assert inspect.iscoroutinefunction(other) and not inspect.iscoroutinefunction(one)


async def test_the_whole_story(bridge: Site) -> None:
    async with (
        asynchronous(bridge.base, "alice") as alice,
        asynchronous(bridge.base, "bob") as bob,
        bob.notifications() as told,
    ):
        await alice.publish([attribute(Activity.MEETING, "weekly")])
        await bob.subscribe_presence(ALICE, correlator="s-1", attributes=[ACTIVITY, PLACE])
        (waiting,) = await alice.get_open_subscriptions()
        assert waiting == OpenSubscription(BOB, frozenset({ACTIVITY, PLACE}), "app_bob")
        with pytest.raises(PolicyFault):
            await bob.get_user_presence(ALICE)
        await alice.update_subscription_authorization(BOB, {ACTIVITY: True, PLACE: False})
        decided = await soon(anext(told))
        assert isinstance(decided, NotifySubscription) and decided.granted == {ACTIVITY}
        assert await alice.get_my_watchers() == [BOB]

        assert not await bob.start_presence_notification(
            ALICE, correlator="w-1", frequency=timedelta(0), count=1
        )
        with pytest.raises(ServiceFault):
            await bob.end_presence_notification("w-2")
        changed, end = await soon(anext(told)), await soon(anext(told))
        assert isinstance(changed, StatusChanged)
        assert (changed.value(ACTIVITY), changed.attributes[0].note) == (Activity.MEETING, "weekly")
        assert isinstance(end, StatusEnd) and end.correlator == "w-1"
        (shown,) = await bob.get_user_presence(ALICE)
        assert shown.value is Activity.MEETING

        await alice.block_subscription(BOB)
        ended = await soon(anext(told))
        assert isinstance(ended, SubscriptionEnded) and ended.reason == "Blocked"


async def test_leaving_ends_it_without_a_word_to_oneself(bridge: Site) -> None:
    async with asynchronous(bridge.base, "alice") as alice, asynchronous(bridge.base, "bob") as bob:
        await bob.subscribe_presence(ALICE, correlator="s-1")
        await alice.update_subscription_authorization(BOB, {ACTIVITY: True})
        await bob.leave_subscription(ALICE)
        assert await alice.get_my_watchers() == []


async def test_wrong_credentials(bridge: Site) -> None:
    async with AsyncPresenceClient(bridge.base, "app_bob", "wrong") as bob:
        with pytest.raises(Unauthenticated):
            await bob.get_my_watchers()
        with pytest.raises(Unauthenticated):
            await soon(anext(bob.notifications()))


async def test_nobody_there() -> None:
    async with AsyncPresenceClient(f"http://127.0.0.1:{free_port()}", "app_bob", "x") as bob:
        with pytest.raises(Unreachable):
            await bob.get_my_watchers()
        with pytest.raises(Unreachable):
            await bob.notifications().__aenter__()
