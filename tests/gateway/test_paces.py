"""Several contracts share one subscription: the network is asked for what the most impatient can pass on."""

from dataclasses import replace

from sipbridge.gateway import Group, StartNotification
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import Reference
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, Bench

ALICE = Uri.parse("sip:alice@example.com")
CAROL = Uri.parse("sip:carol@example.com")
TEAM = Uri.parse("sip:team@example.com")


def key(caller: Caller) -> Reference:
    return Reference(f"/bayeux/{caller.application}/presence", "s")


async def subscribed(bench: Bench, caller: Caller, presentity: Uri = ALICE) -> None:
    await bench.gateway.subscribe(caller, presentity, frozenset(), key(caller), "Desk app")


async def start(
    bench: Bench,
    caller: Caller,
    units: int,
    correlator: str = "c",
    *,
    metric: Metric = Metric.SECOND,
    presentity: Uri = ALICE,
    count: int | None = None,
) -> None:
    wanted = StartNotification(
        presentity,
        Reference(f"/bayeux/{caller.application}/presence", correlator),
        TimeMetric(metric, units),
        True,
        count=count,
    )
    assert await bench.gateway.start_notification(caller, wanted) == []


def paces(bench: Bench) -> list[float]:
    """What the network was asked for since the last look, in seconds."""
    asked = [interval for _, _, interval in bench.network.paces]
    bench.network.paces.clear()
    return asked


async def ready() -> tuple[Bench, Caller, Caller]:
    """Bob as two applications, both subscribed to Alice, who lets everybody see her."""
    bench = Bench(SubHandling.ALLOW)
    second = replace(bench.bob, application="app_bob2")
    for caller in (bench.bob, second):
        await subscribed(bench, caller)
    assert paces(bench) == []
    return bench, bench.bob, second


async def test_the_strictest_need_of_all_contracts_counts() -> None:
    bench, one, other = await ready()
    await start(bench, one, 1, "slow", metric=Metric.MINUTE)
    assert bench.network.paces == [(one.key, IDENTITIES.canonical(ALICE), 60.0)]
    paces(bench)
    await start(bench, other, 5, "fast")
    assert paces(bench) == [5.0]
    await start(bench, one, 10, "medium")
    assert paces(bench) == []
    await bench.gateway.end_notification(other, "fast")
    assert paces(bench) == [10.0]
    await bench.gateway.end_notification(one, "medium")
    await bench.gateway.end_notification(one, "slow")
    assert paces(bench) == [60.0, 0.0]


async def test_a_contract_without_interval_wants_everything() -> None:
    bench, one, other = await ready()
    await start(bench, one, 60, "slow")
    await start(bench, other, 0, "all")
    assert paces(bench) == [60.0, 0.0]
    await bench.gateway.end_notification(other, "all")
    assert paces(bench) == [60.0]


async def test_milliseconds_are_not_worth_asking_for() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 200, metric=Metric.MILLISECOND)
    assert paces(bench) == []


async def test_a_front_that_shows_a_status_as_it_is_is_not_slowed_down() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 60)
    bench.gateway.observations.fronts["bems"] = lambda pair, trace: None
    await bench.gateway.observations.begin(one, ALICE, "bems", "BEMS")
    assert paces(bench) == [60.0, 0.0]
    bench.gateway.observations.end(one.application, (one.key, IDENTITIES.canonical(ALICE)), "bems")
    assert paces(bench) == [60.0]


async def test_the_count_that_is_reached_ends_the_need() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 60, count=1)
    bench.pass_seconds(1)

    await bench.gateway.publish(bench.alice, [Attribute(AttributeKind.ACTIVITY, Activity.BUSY)])
    assert paces(bench) == [60.0, 0.0]


async def test_the_end_of_the_subscription_ends_the_need() -> None:
    bench, one, other = await ready()
    await start(bench, one, 60)
    await bench.gateway.leave(one, ALICE)
    assert paces(bench) == [60.0, 0.0]
    await bench.gateway.leave(other, ALICE)
    assert paces(bench) == []


async def test_each_member_of_a_group_is_told_of_as_often_as_the_group() -> None:
    group = Group(TEAM, (ALICE, CAROL))
    bench = Bench(SubHandling.ALLOW, groups=[group])
    await subscribed(bench, bench.bob, TEAM)
    await start(bench, bench.bob, 30, presentity=TEAM)
    assert {(p, i) for _, p, i in bench.network.paces} == {
        (IDENTITIES.canonical(ALICE), 30.0),
        (IDENTITIES.canonical(CAROL), 30.0),
    }


async def test_a_poll_asks_anew_while_news_may_be_held_back() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 60)
    bench.network.tell((one.key, IDENTITIES.canonical(ALICE)), None)
    await bench.gateway.get_presence(one, ALICE, frozenset())
    fetched = len(bench.network.fetched)
    await bench.gateway.get_presence(one, ALICE, frozenset())
    assert len(bench.network.fetched) == fetched
    bench.network.holding_back.add((one.key, IDENTITIES.canonical(ALICE)))
    await bench.gateway.get_presence(one, ALICE, frozenset())
    assert len(bench.network.fetched) == fetched + 1


async def test_polls_do_not_ask_more_than_once_a_second_for_what_is_held_back() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 3600)
    pair = (one.key, IDENTITIES.canonical(ALICE))
    bench.network.tell(pair, None)
    bench.network.holding_back.add(pair)
    before = len(bench.network.fetched)
    for _ in range(30):
        await bench.gateway.get_presence(one, ALICE, frozenset())
        bench.pass_seconds(0.1)
    assert len(bench.network.fetched) - before in (3, 4)


async def test_contracts_of_before_a_restart_count() -> None:
    bench, one, _ = await ready()
    await start(bench, one, 60)
    again = Bench(SubHandling.ALLOW, store=bench.store)
    await again.restarted()
    assert [i for _, _, i in again.network.paces] == [60.0]
