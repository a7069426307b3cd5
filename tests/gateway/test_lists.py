"""Groups that a presence server keeps: what applications see of their members."""

from typing import Any

import pytest

from sipbridge.errors import AgainstPolicy, InvalidGroup, NotAList, RequestRejected
from sipbridge.gateway import Gateway, Policy, StartNotification
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import ListMember, ListUpdate, PresenceUpdate, Reference
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind
from sipbridge.mapping.ocsg import to_document
from sipbridge.presence.model import Presence
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, START, Bench, FakeNetwork, FakeStore, run_now

FRIENDS, OTHERS = Uri.parse("sip:friends@example.com"), Uri.parse("sip:others@example.com")
DAVE, ERIN = Uri.parse("sip:dave@example.com"), Uri.parse("sip:erin@example.com")
ZOE = Uri.parse("sip:zoe@example.com")
K = AttributeKind


def key(uri: Uri) -> PresentityKey:
    return IDENTITIES.canonical(uri)


def doing(uri: Uri, activity: Activity) -> Presence:
    return to_document([Attribute(K.ACTIVITY, activity)], presentity=uri, at=START)


class World(Bench):
    """Bob's application, in front of a presence server that keeps two lists."""

    def __init__(self, store: FakeStore | None = None) -> None:
        super().__init__(store=store)
        self.network = FakeNetwork(here=False, state="pending")
        self.gateway = Gateway(
            self.network,
            self.store,
            self.sink,
            self.clock,
            IDENTITIES,
            policy=Policy(frozenset({self.alice.key, self.bob.key})),
            lists=frozenset({key(FRIENDS), key(OTHERS)}),
            spawn=run_now,
        )
        self.network.gateway = self.gateway

    async def subscribe(self, uri: Uri = FRIENDS, *kinds: AttributeKind) -> None:
        reference = Reference("/bayeux/app_bob/presence", "s")
        await self.gateway.subscribe(self.bob, uri, frozenset(kinds), reference, "Desk app")

    async def start(
        self, uri: Uri = FRIENDS, *, correlator: str = "c1", seconds: int = 0
    ) -> list[str]:
        reference = Reference("/bayeux/app_bob/presence", correlator)
        wanted = StartNotification(uri, reference, TimeMetric(Metric.SECOND, seconds), True)
        return await self.gateway.start_notification(self.bob, wanted)

    def listed(self, *members: tuple[Uri, str], of: Uri = FRIENDS) -> None:
        listed = tuple(ListMember(uri, state) for uri, state in members)
        self.gateway.list_changed(ListUpdate(self.bob.key, key(of), "active", listed))

    def ended(self, of: Uri = FRIENDS, reason: str = "noresource") -> None:
        self.gateway.list_changed(ListUpdate(self.bob.key, key(of), "terminated", (), reason))

    def shown(
        self,
        uri: Uri,
        activity: Activity | None = None,
        *,
        state: str = "active",
        reason: str = "",
        by: Uri | None = FRIENDS,
    ) -> None:
        document = None if activity is None else doing(uri, activity)
        group = None if by is None else key(by)
        self.gateway.presence_changed(
            PresenceUpdate(self.bob.key, key(uri), state, reason, document, group=group)
        )

    def records(self) -> dict[str, PresentityKey | None]:
        """Whom the application is subscribed to, and through which list, as it is kept."""
        kept = {str(r.presentity): r.group for r in self.store.subscriptions.values()}
        live = {
            str(pair[1]): record.group
            for pair, records in self.gateway.registry.subscriptions.items()
            for record in records.values()
        }
        assert kept == live
        return kept

    def told(self, kind: str) -> list[dict[str, Any]]:
        """What the application was told of this kind, since it was last asked."""
        return [message[kind] for message in self.sink.take() if kind in message]

    def activities(self) -> list[tuple[str, str]]:
        return [
            (told["presentity"], told["changedAttributes"][0]["typeAndValue"]["activity"])
            for told in self.told("statusChanged")
        ]


@pytest.fixture
def world() -> World:
    return World()


async def watching(world: World) -> World:
    """Dave is shown, of Erin nothing is known, a contract runs on both."""
    await world.subscribe()
    world.listed((DAVE, "active"), (ERIN, ""))
    world.shown(DAVE, Activity.BUSY)
    assert await world.start() == [str(ERIN)]
    assert world.activities() == [(str(DAVE), "Busy")]
    return world


async def test_a_list_is_one_subscription_and_a_record_for_each_member(world: World) -> None:
    await world.subscribe()
    assert world.network.watching == {(world.bob.key, key(FRIENDS))}
    assert world.records() == {str(FRIENDS): None}
    world.listed((DAVE, "active"), (ERIN, ""))
    assert world.network.watching == {(world.bob.key, key(FRIENDS))}
    assert world.records() == {
        str(FRIENDS): None,
        str(DAVE): key(FRIENDS),
        str(ERIN): key(FRIENDS),
    }


async def test_each_member_is_decided_by_itself(world: World) -> None:
    await world.subscribe(FRIENDS, K.ACTIVITY)
    world.listed((DAVE, "active"), (ERIN, "pending"))
    world.shown(DAVE, Activity.BUSY)
    world.shown(ERIN, state="pending")
    assert world.told("notifySubscription") == [
        {
            "presentity": str(DAVE),
            "decisions": [{"presenceAttribute": "Activity", "decision": True}],
        }
    ]


async def test_members_not_decided_are_in_the_result_and_others_are_told(world: World) -> None:
    await watching(world)


async def test_before_the_server_has_named_anybody_nothing_starts(world: World) -> None:
    await world.subscribe()
    assert await world.start() == [str(FRIENDS)]
    assert not world.store.contracts
    world.listed((DAVE, ""), (ERIN, ""))
    assert await world.start() == [str(DAVE), str(ERIN)]
    assert not world.store.contracts


async def test_who_is_decided_later_joins_the_contract(world: World) -> None:
    await watching(world)
    world.listed((DAVE, "active"), (ERIN, "active"))
    world.shown(ERIN, Activity.AWAY)
    assert world.activities() == [(str(ERIN), "Away")]


async def test_who_comes_into_the_list_joins_the_contract(world: World) -> None:
    await watching(world)
    world.listed((DAVE, "active"), (ERIN, ""), (ZOE, "active"))
    world.shown(ZOE, Activity.MEAL)
    assert world.activities() == [(str(ZOE), "Meal")]
    world.shown(DAVE, Activity.AWAY)
    assert world.activities() == [(str(DAVE), "Away")]


async def test_who_leaves_the_list_is_lost_and_the_contract_goes_on(world: World) -> None:
    await watching(world)
    world.listed((ERIN, "active"))
    assert world.told("subscriptionEnded") == [
        {"presentity": str(DAVE), "reason": "ConnectionFailure"}
    ]
    assert world.records() == {str(FRIENDS): None, str(ERIN): key(FRIENDS)}
    world.shown(DAVE, Activity.AWAY)
    assert world.activities() == []
    world.listed()
    world.sink.take()
    world.listed((DAVE, "active"))
    world.shown(DAVE, Activity.AWAY)
    assert world.activities() == [(str(DAVE), "Away")]


async def test_one_interval_holds_over_all_members(world: World) -> None:
    await world.subscribe()
    world.listed((DAVE, "active"), (ERIN, "active"))
    world.shown(DAVE, Activity.BUSY)
    world.shown(ERIN, Activity.BUSY)
    await world.start(seconds=10)
    assert world.activities() == [(str(DAVE), "Busy")]
    world.pass_seconds(10)
    assert world.activities() == [(str(ERIN), "Busy")]


async def test_a_member_that_ended_for_good_is_told_and_may_come_back(world: World) -> None:
    await watching(world)
    world.listed((DAVE, "terminated"), (ERIN, ""))
    assert str(DAVE) in world.records()  # perhaps the server asks again by itself
    world.shown(DAVE, state="terminated", reason="rejected")
    assert world.told("subscriptionEnded") == [{"presentity": str(DAVE), "reason": "Blocked"}]
    assert str(DAVE) not in world.records()
    world.listed((DAVE, "terminated"), (ERIN, "pending"))
    assert str(DAVE) not in world.records()
    world.listed((DAVE, "active"), (ERIN, "pending"))
    world.shown(DAVE, Activity.MEAL)
    assert world.activities() == [(str(DAVE), "Meal")]


async def test_the_end_of_a_list_is_told_once_and_ends_everything(world: World) -> None:
    await watching(world)
    world.ended()
    assert world.sink.take() == [
        {"subscriptionEnded": {"presentity": str(FRIENDS), "reason": "ConnectionFailure"}}
    ]
    assert world.records() == {}
    assert not world.store.contracts
    assert not world.gateway.registry.views
    world.shown(DAVE, Activity.AWAY)
    assert not world.sink.take()


async def test_the_own_subscription_to_a_member_is_left_alone(world: World) -> None:
    await world.subscribe(DAVE)
    await world.subscribe(FRIENDS)
    world.listed((DAVE, "active"), (ERIN, "active"))
    assert world.records()[str(DAVE)] is None
    world.shown(DAVE, state="terminated", reason="rejected", by=FRIENDS)
    world.ended()
    assert world.records() == {str(DAVE): None}
    world.shown(DAVE, state="terminated", reason="rejected", by=None)
    assert world.records() == {}


async def test_the_end_of_an_own_subscription_does_not_end_what_a_list_brings(world: World) -> None:
    await watching(world)
    world.shown(DAVE, state="terminated", reason="noresource", by=None)
    assert str(DAVE) in world.records()
    world.shown(DAVE, Activity.AWAY)
    assert world.activities() == [(str(DAVE), "Away")]


async def test_a_member_of_two_lists_stays_as_long_as_one_has_it(world: World) -> None:
    await world.subscribe(FRIENDS)
    await world.subscribe(OTHERS)
    world.listed((DAVE, "active"), of=FRIENDS)
    world.listed((DAVE, "active"), of=OTHERS)
    assert world.records()[str(DAVE)] == key(FRIENDS)
    world.listed(of=FRIENDS)
    assert world.records()[str(DAVE)] == key(OTHERS)
    assert not world.told("subscriptionEnded")
    world.listed((DAVE, "active"), of=FRIENDS)
    world.ended(of=OTHERS)
    assert world.records() == {str(FRIENDS): None, str(DAVE): key(FRIENDS)}
    world.ended(of=FRIENDS)
    assert world.records() == {}


async def test_asking_again_with_other_attributes_holds_for_all_members(world: World) -> None:
    await world.subscribe(FRIENDS, K.PLACE)
    world.listed((DAVE, "active"))
    world.shown(DAVE, Activity.BUSY)
    assert await world.start() == []
    assert world.activities() == []
    await world.subscribe(FRIENDS, K.ACTIVITY)
    world.shown(DAVE, Activity.AWAY)
    assert world.activities() == [(str(DAVE), "Away")]


async def test_a_second_application_of_the_same_person_gets_what_is_known(world: World) -> None:
    await watching(world)
    reference = Reference("/bayeux/app_two/presence", "s")
    two = Caller("app_two", world.bob.identity, world.bob.key, "t")
    await world.gateway.subscribe(two, FRIENDS, frozenset(), reference, "Phone app")
    assert [
        message["notifySubscription"]["presentity"] for message in world.sink.take("app_two")
    ] == [str(DAVE)]


async def test_leaving_a_list_leaves_its_members_without_a_word(world: World) -> None:
    await watching(world)
    await world.gateway.leave(world.bob, FRIENDS)
    assert world.records() == {}
    assert world.network.watching == set()
    assert not world.sink.take()
    assert not world.store.contracts


async def test_a_list_has_no_presence_of_its_own(world: World) -> None:
    await watching(world)
    with pytest.raises(AgainstPolicy) as caught:
        await world.gateway.get_presence(world.bob, FRIENDS, frozenset())
    assert caught.value.rule == "group"
    got = await world.gateway.get_presence(world.bob, DAVE, frozenset({K.ACTIVITY}))
    assert [a.value for a in got] == [Activity.BUSY]


@pytest.mark.parametrize("status", [200, 404, 410, 604])
async def test_what_is_no_list_is_no_valid_group(world: World, status: int) -> None:
    world.network.failure = NotAList(status, "no")
    with pytest.raises(InvalidGroup) as caught:
        await world.subscribe()
    assert (caught.value.group, caught.value.part) == (str(FRIENDS), "presentity")
    assert world.records() == {}


@pytest.mark.parametrize("status", [405, 420, 421, 489, 501])
async def test_a_server_without_lists_allows_no_groups(world: World, status: int) -> None:
    world.network.failure = NotAList(status, "no")
    with pytest.raises(AgainstPolicy) as caught:
        await world.subscribe()
    assert (caught.value.rule, caught.value.part) == ("group", "presentity")


async def test_another_failure_rises_untouched(world: World) -> None:
    world.network.failure = RequestRejected(503, "Busy")
    with pytest.raises(RequestRejected):
        await world.subscribe()
    assert world.records() == {}


async def test_after_a_restart_the_list_brings_its_members_back(world: World) -> None:
    await watching(world)
    again = World(world.store)
    await again.gateway.load({"app_bob"})
    await again.gateway.resume(lambda what, error: None)
    assert again.network.watching == {(again.bob.key, key(FRIENDS))}
    assert await again.start(correlator="c2") == [str(ERIN)]  # what the server said holds on
    again.listed((DAVE, "active"), (ERIN, "active"))
    again.shown(DAVE, Activity.BUSY)
    said = again.sink.take()
    assert [told["statusChanged"]["correlator"] for told in said] == ["c2"]  # c1 knows already
    again.shown(DAVE, Activity.AWAY)
    again.shown(ERIN, Activity.MEAL)
    assert again.activities() == [(str(DAVE), "Away")] * 2 + [(str(ERIN), "Meal")] * 2


async def test_after_a_restart_members_of_a_list_that_is_gone_are_forgotten(world: World) -> None:
    await watching(world)
    del world.store.subscriptions["app_bob", world.bob.key, key(FRIENDS)]
    again = World(world.store)
    await again.gateway.load({"app_bob"})
    await again.gateway.resume(lambda what, error: None)
    assert again.records() == {}
    assert again.network.watching == set()


async def test_a_list_nobody_is_subscribed_to_has_no_news(world: World) -> None:
    world.listed((DAVE, "active"))
    world.shown(DAVE, Activity.BUSY)
    world.ended()
    assert world.records() == {}
    assert not world.sink.sent
