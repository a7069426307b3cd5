"""Values that hold for a time begin and end by themselves; one that stays keeps the time of its change."""

from datetime import timedelta
from typing import Any

from sipbridge.gateway import StartNotification
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import Reference
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence import pidf
from sipbridge.uri import Uri
from tests.gateway.fakes import START, Bench

ALICE, BOB = Uri.parse("sip:alice@example.com"), Uri.parse("sip:bob@example.com")
ENDPOINT = "/bayeux/app_bob/presence"


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def show(bench: Bench, *activities: str, stamp: float = 0.0) -> None:
    """Alice's phone publishes these `activities` elements."""
    body = f"""<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{ALICE}"
      xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">
      <tuple id="t"><status><basic>open</basic></status></tuple><dm:person id="p">
      {"".join(activities)}<dm:timestamp>{at(stamp)}</dm:timestamp></dm:person></presence>"""
    bench.network.arrive(bench.alice.key, pidf.parse(body.encode()))


async def watching(bench: Bench) -> None:
    """Bob is told of Alice's activity."""
    reference = Reference(ENDPOINT, "c1")
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), reference, "Desk")
    await bench.gateway.update_authorization(bench.alice, BOB, [(AttributeKind.ACTIVITY, True)])
    wanted = StartNotification(ALICE, reference, TimeMetric(Metric.SECOND, 0), True)
    assert await bench.gateway.start_notification(bench.bob, wanted) == []
    bench.sink.take()


def told(bench: Bench) -> list[tuple[str, str]]:
    """(activity, lastChange) of each statusChanged since the last call."""
    found: list[tuple[str, str]] = []
    for message in bench.sink.take():
        attributes: list[dict[str, Any]] = message["statusChanged"]["changedAttributes"]
        found += [(a["typeAndValue"]["activity"], a["lastChange"]) for a in attributes]
    return found


async def seen(bench: Bench) -> list[str]:
    kinds = frozenset({AttributeKind.ACTIVITY})
    return [str(a.value) for a in await bench.gateway.get_presence(bench.bob, ALICE, kinds)]


def stamp(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")[:-6] + "Z"


async def test_a_window_that_opens_and_closes_is_told_without_any_notify() -> None:
    bench = Bench()
    await watching(bench)
    meeting = f'<r:activities from="{at(60)}" until="{at(120)}"><r:meeting/></r:activities>'
    show(bench, "<r:activities><r:busy/></r:activities>", meeting)
    assert told(bench) == [("Busy", stamp(0))]
    bench.pass_seconds(59)
    assert told(bench) == []
    bench.pass_seconds(2)
    assert told(bench) == [("Meeting", stamp(60))]
    assert await seen(bench) == ["Meeting"]
    bench.pass_seconds(58)
    assert told(bench) == []
    bench.pass_seconds(2)
    assert told(bench) == [("Busy", stamp(120))]
    assert await seen(bench) == ["Busy"]
    bench.pass_seconds(86_000)
    assert told(bench) == []


async def test_a_window_of_a_document_that_was_replaced_says_nothing_any_more() -> None:
    bench = Bench()
    await watching(bench)
    show(bench, f'<r:activities until="{at(60)}"><r:busy/></r:activities>')
    show(bench, "<r:activities><r:meal/></r:activities>", stamp=1)
    assert [activity for activity, _ in told(bench)] == ["Busy", "Meal"]
    bench.pass_seconds(120)
    assert told(bench) == []
    assert await seen(bench) == ["Meal"]


async def test_a_refresh_with_the_same_value_moves_no_last_change() -> None:
    bench = Bench()
    await watching(bench)
    show(bench, "<r:activities><r:busy/></r:activities>")
    assert told(bench) == [("Busy", stamp(0))]
    bench.pass_seconds(30)
    show(bench, "<r:activities><r:busy/></r:activities>", stamp=30)
    assert told(bench) == []
    kinds = frozenset({AttributeKind.ACTIVITY})
    (attribute,) = await bench.gateway.get_presence(bench.bob, ALICE, kinds)
    assert attribute.last_change == START
    bench.pass_seconds(30)
    show(bench, "<r:activities><r:meal/></r:activities>", stamp=55)
    assert told(bench) == [("Meal", stamp(55))]
