"""Setting one's own status: in turn, and nothing else is touched."""

from collections.abc import Coroutine

import pytest

from sipbridge.gateway.own_status import OwnStatus
from sipbridge.gateway.sessions import Operation, Request
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place
from tests.gateway.fakes import Bench

BUSY = Request("c1", "SetPresence", Operation.SET, presence="busy")
BACK = Request("c2", "SetPresence", Operation.SET, presence="berightback")


def own(bench: Bench, jobs: list[Coroutine[object, object, None]]) -> OwnStatus:
    gateway = bench.gateway
    return OwnStatus(gateway.registry, bench.clock, gateway.publish, jobs.append)


async def test_work_of_one_person_waits_for_what_came_before_others_do_not() -> None:
    bench, done = Bench(), list[str]()
    jobs: list[Coroutine[object, object, None]] = []
    status = own(bench, jobs)

    def work(name: str) -> None:
        async def step() -> None:
            done.append(name)
            if name == "two":
                raise RuntimeError(name)

        caller = bench.alice if name == "alice" else bench.bob
        status.in_turn(caller, step)

    for name in ("one", "two", "three", "alice"):
        work(name)
    assert len(jobs) == 2
    await jobs.pop(1)
    await jobs.pop()
    with pytest.raises(RuntimeError):
        await jobs.pop()
    await jobs.pop()
    assert done == ["alice", "one", "two", "three"] and status.lines == {}


async def test_what_an_application_published_besides_stays() -> None:
    bench = Bench()
    status = own(bench, [])
    mood = Attribute(AttributeKind.OTHER, Other("rpid.mood", "happy"))
    office = Attribute(AttributeKind.PLACE, Place.OFFICE)
    away = Attribute(AttributeKind.ACTIVITY, Activity.AWAY, "gone")
    await bench.gateway.publish(bench.bob, [mood, office, away])
    for request in (BACK, BUSY):
        await status.set(bench.bob, request)
        published = bench.gateway.registry.published["app_bob", bench.bob.key]
        kinds = [kind for kind, _ in published.attributes]
        assert {"Activity", "Place", "Other"} == set(kinds)
        text = b"".join(text for _, text in published.attributes)
        assert b"happy" in text and b"gone" in text
        assert (b"be-right-back" in text) is (request is BACK)
