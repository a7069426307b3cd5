"""What a reader of the log is told that missed something: how things are, no more than it may see."""

import orjson

from sipbridge.gateway.ports import Notification
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Place
from tests.gateway.fakes import Bench
from tests.gateway.test_gateway import BOB, BUSY_AT_WORK, granted, start

K = AttributeKind


def said(notifications: list[Notification]) -> list[tuple[str, dict[str, object]]]:
    """Correlator and values of each statusChanged."""
    found = []
    for notification in notifications:
        assert notification.kind == "statusChanged"
        body = orjson.loads(notification.data)["statusChanged"]
        assert body["presentity"] == "sip:alice@example.com"
        unions = [a["typeAndValue"] for a in body["changedAttributes"]]
        values = {u["unionElement"]: u[u["unionElement"].lower()] for u in unions}
        found.append((body["correlator"], values))
    return found


async def watching(bench: Bench, **more: object) -> None:
    await bench.gateway.publish(bench.alice, BUSY_AT_WORK)
    await granted(bench)
    await bench.gateway.start_notification(bench.bob, start(**more))  # type: ignore[arg-type]


async def test_the_whole_state_is_told_and_not_the_last_difference() -> None:
    bench = Bench()
    await watching(bench)
    await bench.gateway.publish(bench.alice, [Attribute(K.PLACE, Place.HOME)])
    bench.sink.take()
    (whole,) = said(bench.gateway.restate("app_bob"))
    assert whole == ("c1", {"Activity": "Busy", "Place": "Home"})
    assert bench.sink.take() == [], "only the reader that asked is told"
    assert bench.gateway.restate("app_alice") == []


async def test_a_revoked_attribute_is_not_told() -> None:
    bench = Bench()
    await watching(bench)
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, False)])
    (whole,) = said(bench.gateway.restate("app_bob"))
    assert whole == ("c1", {"Activity": "Busy"})
    (note,) = bench.gateway.restate("app_bob")
    assert note.grant is not None and "Place" not in note.grant.kinds


async def test_a_blocked_watcher_is_told_nothing() -> None:
    bench = Bench()
    await watching(bench)
    await bench.gateway.block(bench.alice, BOB)
    assert bench.gateway.restate("app_bob") == []


async def test_it_does_not_count() -> None:
    bench = Bench()
    await watching(bench, count=2)
    bench.sink.take()
    for _ in range(5):
        assert len(bench.gateway.restate("app_bob")) == 1
    await bench.gateway.publish(bench.alice, [Attribute(K.ACTIVITY, Activity.AVAILABLE)])
    assert [next(iter(m)) for m in bench.sink.take()] == ["statusChanged", "statusEnd"]
    assert bench.gateway.restate("app_bob") == []


async def test_what_was_never_told_is_not_told_this_way_either() -> None:
    """Without checkImmediate the first period is silent."""
    bench = Bench()
    await watching(bench, seconds=60, immediate=False)
    assert bench.gateway.restate("app_bob") == []
    bench.pass_seconds(61)
    assert len(bench.gateway.restate("app_bob")) == 1


async def test_only_contracts_with_the_endpoint() -> None:
    bench = Bench()
    await watching(bench)
    assert bench.gateway.restate("app_bob", "/bayeux/app_bob/elsewhere") == []
    assert len(bench.gateway.restate("app_bob", "/bayeux/app_bob/presence")) == 1


async def test_after_a_restart_it_is_told_as_soon_as_it_is_known() -> None:
    """The reader asks before the first NOTIFY came: it had been told these values in the earlier life."""
    before = Bench()
    await watching(before)
    bench = Bench(store=before.store)
    await bench.gateway.load({"app_alice", "app_bob"})
    for contract in bench.gateway.unresumed:
        bench.gateway.contracts.resume(contract)
    bench.gateway.unresumed.clear()
    assert bench.gateway.restate("app_bob") == []
    await bench.gateway.resume(lambda what, error: None)
    told = [m for m in bench.sink.take() if "statusChanged" in m]
    assert len(told) == 1
    assert len(told[0]["statusChanged"]["changedAttributes"]) == 2


async def test_after_a_restart_nobody_is_told_again_who_did_not_ask() -> None:
    before = Bench()
    await watching(before)
    bench = Bench(store=before.store)
    await bench.gateway.load({"app_alice", "app_bob"})
    await bench.gateway.resume(lambda what, error: None)
    assert [m for m in bench.sink.take() if "statusChanged" in m] == []
    assert said(bench.gateway.restate("app_bob")) == [
        ("c1", {"Activity": "Busy", "Place": "Office"})
    ]
