"""Streams over connections that are cut anywhere, and over a wait that is cancelled."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from sipbridge.client import (
    Activity,
    AsyncPresenceClient,
    AttributeKind,
    ServiceFault,
    StatusChanged,
)
from sipbridge.client.async_events import AsyncEventStream
from sipbridge.client.values import Notification
from tests.app.rig import Site
from tests.client.conftest import asynchronous, soon
from tests.client.proxy import Proxy, proxy

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
WORDS = [Activity.MEETING, Activity.AWAY, Activity.BUSY, Activity.MEAL, Activity.TRAVEL]


@pytest.fixture
async def between(bridge: Site) -> AsyncIterator[Proxy]:
    async with proxy(bridge.base) as made:
        yield made


@contextlib.asynccontextmanager
async def watching(
    bridge: Site, between: Proxy
) -> AsyncIterator[tuple[AsyncPresenceClient, AsyncEventStream[Notification]]]:
    """Alice, and what Bob is told of her: his stream, and nothing else of him, goes through the proxy."""
    async with (
        asynchronous(bridge.base, "alice") as alice,
        asynchronous(bridge.base, "bob") as direct,
        asynchronous(between.base, "bob") as bob,
    ):
        await direct.subscribe_presence(ALICE, correlator="s-1")
        await alice.update_subscription_authorization(BOB, {AttributeKind.ACTIVITY: True})
        await alice.publish([Activity.SLEEPING])
        async with bob.notifications() as stream:
            await direct.start_presence_notification(
                ALICE, correlator="w-1", frequency=timedelta(0)
            )
            assert await told(stream, 1) == [Activity.SLEEPING]
            yield alice, stream


async def told(stream: AsyncEventStream[Notification], number: int) -> list[object]:
    found: list[object] = []
    for _ in range(number):
        one = await soon(anext(stream))
        assert isinstance(one, StatusChanged), one
        found.append(one.value(AttributeKind.ACTIVITY))
    return found


async def test_a_stream_goes_on_where_it_was_cut(bridge: Site, between: Proxy) -> None:
    async with watching(bridge, between) as (alice, stream):
        await alice.publish([WORDS[0]])
        assert await told(stream, 1) == [WORDS[0]]
        between.cut()
        for word in WORDS[1:]:
            await alice.publish([word])
        assert await told(stream, 4) == WORDS[1:]
        assert between.connections >= 2


async def test_cut_in_the_middle_of_events_again_and_again(bridge: Site, between: Proxy) -> None:
    """An event has some 300 bytes, the head of an answer 200: a connection brings an event or half of one."""
    async with watching(bridge, between) as (alice, stream):
        between.cut_after = [330, 450, 540, 700, 900]
        between.cut()
        for word in WORDS:
            await alice.publish([word])
        assert await told(stream, len(WORDS)) == WORDS
        assert between.connections >= 4
        await alice.publish([Activity.AVAILABLE])
        assert await told(stream, 1) == [Activity.AVAILABLE]


async def test_a_wait_that_is_given_up_loses_nothing(bridge: Site, between: Proxy) -> None:
    async with watching(bridge, between) as (alice, stream):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.01)
        found: list[Notification] = []
        for word in WORDS:
            await alice.publish([word])
            with contextlib.suppress(TimeoutError):
                found.append(await asyncio.wait_for(anext(stream), 0.002))
        while len(found) < len(WORDS):
            found.append(await soon(anext(stream)))
        assert [
            one.value(AttributeKind.ACTIVITY) for one in found if isinstance(one, StatusChanged)
        ] == WORDS


async def test_a_program_goes_on_in_its_next_life(bridge: Site, between: Proxy) -> None:
    async with watching(bridge, between) as (alice, stream):
        for word in WORDS:
            await alice.publish([word])
        assert await told(stream, 2) == WORDS[:2]
        await stream.aclose()
        assert [one async for one in stream] == []
        async with asynchronous(bridge.base, "bob") as bob:
            later = bob.notifications(last_event_id=stream.last_event_id)
            assert await told(later, 3) == WORDS[2:]
            await later.aclose()


async def test_closing_ends_a_wait_for_the_next_event(bridge: Site, between: Proxy) -> None:
    async with watching(bridge, between) as (_, stream):
        waiting = asyncio.ensure_future(anext(stream, None))
        for _ in range(5):
            await asyncio.sleep(0)
        await stream.aclose()
        assert await soon(asyncio.wait_for(waiting, 5)) is None


async def test_closing_ends_a_wait_for_the_bridge(bridge: Site, between: Proxy) -> None:
    async with watching(bridge, between) as (_, stream):
        waiting = asyncio.ensure_future(anext(stream, None))
        between.cut()
        between.port = 1  # nobody there: it waits for its next attempt
        for _ in range(5):
            await asyncio.sleep(0)
        await stream.aclose()
        assert await soon(asyncio.wait_for(waiting, 5)) is None


async def test_a_bridge_that_is_busy_is_waited_for_and_one_that_refuses_is_not() -> None:
    answers = [
        httpx2.Response(503, json={"error": {"messageId": "SVC0001"}}),
        httpx2.Response(200, content=b"id: 3\n\n"),
        httpx2.Response(404, json={"error": {"messageId": "SVC0002"}}),
    ]
    asked: list[str | None] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers.get("last-event-id"))
        return answers.pop(0)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        stream = AsyncPresenceClient("http://bridge", "app_bob", "x", http=http).notifications()
        with pytest.raises(ServiceFault):
            await soon(anext(stream))
    assert asked == [None, None, "3"]
