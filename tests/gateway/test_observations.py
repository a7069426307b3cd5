"""Observations: documents for fronts, cut by decisions, beside the application's own requests."""

import pytest

from sipbridge.errors import (
    AgainstPolicy,
    RequestRejected,
    TransactionTimeout,
    UnknownPresentity,
)
from sipbridge.gateway import Group
from sipbridge.gateway.observations import AGAIN, Sight, Standing
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.registry import Pair
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench

ALICE = Uri.parse("sip:alice@example.com")
BOB = Uri.parse("sip:bob@example.com")
CAROL = Uri.parse("sip:carol@example.com")
REFERENCE = Reference("/bayeux/app_bob/presence", "c-1")
ALL = frozenset(AttributeKind)


class Ear:
    """A front that looks again whenever it is told to."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.seen: list[Sight | None] = []
        bench.gateway.observations.fronts["bems"] = self.changed

    def changed(self, pair: Pair, trace: str) -> None:
        self.seen.append(self.bench.gateway.observations.sight(pair))

    def last(self) -> Standing | None:
        sight = self.seen[-1]
        return sight.standing if sight else None


async def begin(bench: Bench, presentity: Uri = ALICE) -> Pair:
    if not bench.gateway.observations.fronts:
        Ear(bench)
    key = await bench.gateway.observations.begin(bench.bob, presentity, "bems", "BEMS")
    return (bench.bob.key, key)


async def publish(bench: Bench, word: Activity, note: str = "") -> None:
    attribute = Attribute(AttributeKind.ACTIVITY, word, note or None)
    mood = Attribute(AttributeKind.OTHER, Other("rpid.mood", "happy"))
    await bench.gateway.publish(bench.alice, [attribute, mood])


async def grant(bench: Bench, *kinds: AttributeKind, decision: bool = True) -> None:
    decisions = [(kind, decision) for kind in kinds]
    await bench.gateway.update_authorization(bench.alice, BOB, decisions)


async def test_an_observation_waits_for_the_presentity_and_shows_what_was_granted() -> None:
    bench = Bench()
    bench.network.state = "pending"
    ear = Ear(bench)
    pair = await begin(bench)
    assert bench.gateway.observations.sight(pair) == Sight(Standing.PENDING)
    (asked,) = await bench.gateway.open_subscriptions(bench.alice)
    assert (asked.application, asked.watcher) == ("BEMS", "sip:bob@example.com")
    assert set(asked.attributes) == ALL

    bench.network.state = "active"
    await grant(bench, AttributeKind.ACTIVITY)
    await publish(bench, Activity.BUSY, "not now")
    sight = bench.gateway.observations.sight(pair)
    assert sight is not None and sight.document is not None
    assert sight.granted == {AttributeKind.ACTIVITY}
    (person,) = sight.document.persons
    assert person.activities and not person.moods
    assert ear.last() is Standing.ACTIVE
    assert bench.sink.take() == [], "nothing of it is the application's news"


async def test_an_activity_that_is_denied_or_revoked_is_not_shown() -> None:
    bench = Bench()
    ear = Ear(bench)
    pair = await begin(bench)
    await grant(bench, AttributeKind.ACTIVITY, AttributeKind.PLACE)
    await publish(bench, Activity.BUSY)
    await grant(bench, AttributeKind.ACTIVITY, decision=False)
    assert bench.gateway.observations.sight(pair) == Sight(Standing.REFUSED)
    assert ear.last() is Standing.REFUSED


async def test_blocked_at_one_front_is_blocked_here_and_a_grant_brings_it_back() -> None:
    bench = Bench()
    ear = Ear(bench)
    pair = await begin(bench)
    await grant(bench, *AttributeKind)
    await publish(bench, Activity.BUSY)
    await bench.gateway.block(bench.alice, BOB)
    assert bench.gateway.observations.sight(pair) == Sight(Standing.REFUSED)
    assert ear.last() is Standing.REFUSED
    assert pair not in bench.gateway.registry.subscriptions
    assert bench.sink.take() == []

    bench.pass_seconds(10 * AGAIN)
    assert pair not in bench.network.watching, "who is blocked does not ask again"
    await grant(bench, *AttributeKind)
    assert ear.last() is Standing.ACTIVE
    assert pair in bench.network.watching


async def test_who_is_blocked_already_may_observe_and_sees_nothing() -> None:
    bench = Bench(default=SubHandling.BLOCK)
    pair = await begin(bench)
    assert bench.gateway.observations.sight(pair) == Sight(Standing.REFUSED)
    assert bench.network.watching == set()


async def test_polite_block_shows_somebody_who_is_not_available() -> None:
    bench = Bench(default=SubHandling.POLITE_BLOCK)
    pair = await begin(bench)
    await publish(bench, Activity.AVAILABLE)
    sight = bench.gateway.observations.sight(pair)
    assert sight is not None and sight.document is not None
    assert [t.basic for t in sight.document.tuples] == ["closed"]
    assert sight.document.persons == ()


async def test_an_application_s_own_subscription_stands_beside_it() -> None:
    bench = Bench(default=SubHandling.ALLOW)
    pair = await begin(bench)
    kinds = frozenset({AttributeKind.PLACE})
    await bench.gateway.subscribe(bench.bob, ALICE, kinds, REFERENCE, "Desk")
    assert bench.gateway.registry.live["app_bob"] == 2
    bench.sink.take()
    bench.gateway.observations.end("app_bob", pair, "bems")
    assert pair in bench.network.watching
    assert await bench.gateway.get_presence(bench.bob, ALICE, kinds) == []

    await begin(bench)
    await bench.gateway.leave(bench.bob, ALICE)
    assert pair in bench.network.watching
    bench.gateway.observations.end("app_bob", pair, "bems")
    assert bench.network.watching == set()
    assert bench.store.subscriptions == {}
    assert bench.gateway.registry.live["app_bob"] == 0
    assert bench.gateway.observations.of_pair == {}


async def test_both_requests_of_one_watcher_are_one_open_entry() -> None:
    bench = Bench()
    kinds = frozenset({AttributeKind.PLACE})
    await bench.gateway.subscribe(bench.bob, ALICE, kinds, REFERENCE, "Desk")
    await begin(bench)
    (asked,) = await bench.gateway.open_subscriptions(bench.alice)
    assert asked.application == "Desk" and set(asked.attributes) == ALL
    await grant(bench, AttributeKind.PLACE)
    (asked,) = await bench.gateway.open_subscriptions(bench.alice)
    assert set(asked.attributes) == ALL - kinds


async def test_an_observation_does_not_die_of_idleness() -> None:
    bench = Bench(default=SubHandling.ALLOW, subscription_idle=100.0)
    pair = await begin(bench)
    bench.pass_seconds(1000.0)
    assert pair in bench.network.watching


async def test_what_could_not_be_made_is_not_there() -> None:
    bench = Bench()
    bench.network.failure = RequestRejected(403, "Forbidden")
    with pytest.raises(RequestRejected):
        await begin(bench)
    assert bench.gateway.observations.of_pair == {}
    bench.network.failure = None
    with pytest.raises(UnknownPresentity):
        await begin(bench, Uri.parse("sip:x@elsewhere.example"))
    bench = Bench(groups=[Group(Uri.parse("sip:team@example.com"), (ALICE,))])
    with pytest.raises(AgainstPolicy):
        await begin(bench, Uri.parse("sip:team@example.com"))


async def test_a_subscription_that_failed_is_tried_again_later() -> None:
    bench = Bench(default=SubHandling.ALLOW)
    ear = Ear(bench)
    pair = await begin(bench)
    await publish(bench, Activity.BUSY)
    bench.network.failure = TransactionTimeout()
    bench.network.tell(pair, None, "terminated", "timeout")
    bench.network.watching.clear()
    assert ear.last() is Standing.ENDED
    bench.pass_seconds(AGAIN)
    assert ear.last() is Standing.ENDED
    bench.network.failure = None
    bench.pass_seconds(AGAIN)
    assert ear.last() is Standing.ACTIVE


async def test_one_that_its_server_refused_is_not_asked_again() -> None:
    bench = Bench()
    bench.network.here = False
    ear = Ear(bench)
    pair = await begin(bench, CAROL)
    bench.network.watching.clear()
    bench.network.tell(pair, None, "terminated", "rejected")
    assert ear.last() is Standing.ENDED
    bench.pass_seconds(10 * AGAIN)
    assert bench.network.watching == set()


async def test_looking_once_leaves_nothing_behind() -> None:
    bench = Bench(default=SubHandling.ALLOW)
    await publish(bench, Activity.BUSY)
    sight = await bench.gateway.observations.look(bench.bob, ALICE)
    assert sight.standing is Standing.ACTIVE
    assert bench.network.watching == set()
    assert bench.gateway.registry.views == {}
    sight = await bench.gateway.observations.look(bench.bob, CAROL)
    assert sight == Sight(Standing.ENDED)
    sight = await bench.gateway.observations.look(bench.bob, Uri.parse("sip:x@elsewhere.example"))
    assert sight == Sight(Standing.ENDED)
    bench = Bench(default=SubHandling.BLOCK)
    await publish(bench, Activity.BUSY)
    sight = await bench.gateway.observations.look(bench.bob, ALICE)
    assert sight == Sight(Standing.REFUSED)


async def test_observations_are_taken_up_after_a_restart() -> None:
    bench = Bench(default=SubHandling.ALLOW)
    await begin(bench)
    again = Bench(default=SubHandling.ALLOW, store=bench.store)
    ear = Ear(again)
    await again.gateway.load({"app_alice", "app_bob"})
    again.gateway.observations.adopt(again.bob, ALICE, "bems", "BEMS")
    again.gateway.observations.adopt(again.bob, CAROL, "bems", "BEMS")
    await again.restarted()
    assert {pair[1] for pair in again.network.watching} == {ALICE_KEY, CAROL_KEY}
    await publish(again, Activity.BUSY)
    assert ear.last() is Standing.ACTIVE


ALICE_KEY, CAROL_KEY = "sip:alice@example.com", "sip:carol@example.com"
