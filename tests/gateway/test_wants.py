"""Several applications share one subscription: the network is asked for what any of them asked for."""

from dataclasses import replace

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Reference
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, Bench

ALICE = Uri.parse("sip:alice@example.com")
ACTIVITY, PLACE = AttributeKind.ACTIVITY, AttributeKind.PLACE
ALL = frozenset(AttributeKind)
ONLY_ACTIVITY = frozenset({ACTIVITY})


async def subscribe(bench: Bench, caller: Caller, *kinds: AttributeKind) -> None:
    reference = Reference(f"/bayeux/{caller.application}/presence", "s")
    await bench.gateway.subscribe(caller, ALICE, frozenset(kinds), reference, "Desk app")


def wants(bench: Bench) -> list[frozenset[AttributeKind] | None]:
    """What the network was told since the last look."""
    told = [kinds for _, _, kinds in bench.network.wants]
    bench.network.wants.clear()
    return told


def two() -> tuple[Bench, Caller, Caller]:
    bench = Bench(SubHandling.ALLOW)
    return bench, bench.bob, replace(bench.bob, application="app_bob2")


async def test_the_union_of_all_that_was_asked_for_counts() -> None:
    bench, one, other = two()
    await subscribe(bench, one, ACTIVITY)
    assert bench.network.wants == [(one.key, IDENTITIES.canonical(ALICE), ONLY_ACTIVITY)]
    wants(bench)
    await subscribe(bench, other, PLACE)
    assert wants(bench) == [frozenset({ACTIVITY, PLACE})]
    await subscribe(bench, other, ACTIVITY)
    assert wants(bench) == [ONLY_ACTIVITY]
    await subscribe(bench, other)
    assert wants(bench) == [ALL]
    await bench.gateway.leave(other, ALICE)
    assert wants(bench) == [ONLY_ACTIVITY]
    await bench.gateway.leave(one, ALICE)
    assert wants(bench) == [None]


async def test_who_wants_everything_is_not_worth_a_word() -> None:
    bench, one, _ = two()
    await subscribe(bench, one)
    await bench.gateway.leave(one, ALICE)
    assert wants(bench) == []


async def test_a_front_that_shows_a_status_wants_everything() -> None:
    bench, one, _ = two()
    await subscribe(bench, one, ACTIVITY)
    bench.gateway.observations.fronts["bems"] = lambda pair, trace: None
    await bench.gateway.observations.begin(one, ALICE, "bems", "BEMS")
    assert wants(bench) == [ONLY_ACTIVITY, ALL]
    bench.gateway.observations.end(one.application, (one.key, IDENTITIES.canonical(ALICE)), "bems")
    assert wants(bench) == [ONLY_ACTIVITY]
