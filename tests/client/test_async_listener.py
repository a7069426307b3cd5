"""The asynchronous listener on the real server: long-polling and WebSocket, cut, restarted, refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sipbridge.client import (
    Activity,
    AsyncPresenceClient,
    AttributeKind,
    Fault,
    NotifySubscription,
    SessionRestarted,
    StatusChanged,
    StatusEnd,
    Unauthenticated,
    Unreachable,
)
from sipbridge.client.async_listener import AsyncListener, Transport
from tests.app.rig import Site, settings, site
from tests.client.conftest import asynchronous, soon
from tests.client.proxy import Proxy, proxy
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
WORDS = [Activity.MEETING, Activity.AWAY, Activity.BUSY, Activity.MEAL, Activity.TRAVEL]
BOTH = pytest.mark.parametrize("transport", ["long-polling", "websocket"])


@contextlib.asynccontextmanager
async def watched(bridge: Site, count: int | None = None) -> AsyncIterator[AsyncPresenceClient]:
    """Alice, whom Bob may see and is told of."""
    async with asynchronous(bridge.base, "alice") as alice, asynchronous(bridge.base, "bob") as bob:
        await bob.subscribe_presence(ALICE, correlator="s-1")
        await alice.update_subscription_authorization(BOB, {AttributeKind.ACTIVITY: True})
        await alice.publish([Activity.SLEEPING])
        await bob.start_presence_notification(
            ALICE, correlator="w-1", frequency=timedelta(0), count=count
        )
        yield alice


async def until(listener: AsyncListener, word: Activity) -> list[object]:
    """Activities up to this one."""
    found: list[object] = []
    while word not in found:
        told = await soon(anext(listener))
        if isinstance(told, StatusChanged):
            found.append(told.value(AttributeKind.ACTIVITY))
    return found


@BOTH
async def test_typed_notifications_arrive_in_order(bridge: Site, transport: Transport) -> None:
    async with (
        asynchronous(bridge.base, "bob") as bob,
        bob.listen(transport=transport) as listener,
        watched(bridge, count=3) as alice,
    ):
        assert isinstance(await soon(anext(listener)), NotifySubscription)
        assert await until(listener, Activity.SLEEPING) == [Activity.SLEEPING]
        for word in WORDS[:2]:
            await alice.publish([word])
        assert await until(listener, WORDS[1]) == WORDS[:2]
        assert await soon(anext(listener)) == StatusEnd("w-1")


@pytest.fixture
async def between(bridge: Site) -> AsyncIterator[Proxy]:
    async with proxy(bridge.base) as made:
        yield made


@BOTH
async def test_a_connection_that_is_cut_costs_nothing_while_the_session_lives(
    bridge: Site, between: Proxy, transport: Transport
) -> None:
    async with (
        asynchronous(between.base, "bob") as bob,
        bob.listen(transport=transport) as listener,
        watched(bridge) as alice,
    ):
        await until(listener, Activity.SLEEPING)
        found: list[object] = []
        for word in WORDS:
            await alice.publish([word])
            between.cut()
            found += await until(listener, word)
        assert found == WORDS


@BOTH
async def test_a_wait_that_is_given_up_loses_nothing(bridge: Site, transport: Transport) -> None:
    async with (
        asynchronous(bridge.base, "bob") as bob,
        bob.listen(transport=transport) as listener,
        watched(bridge) as alice,
    ):
        await until(listener, Activity.SLEEPING)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(listener), 0.01)
        await alice.publish([Activity.AWAY])
        assert await until(listener, Activity.AWAY) == [Activity.AWAY]


@BOTH
async def test_a_restarted_bridge_is_told_and_listened_to(transport: Transport) -> None:
    port = free_port()
    wanted = settings(http={"port": port})
    async with asynchronous(f"http://127.0.0.1:{port}", "bob") as bob:
        async with site(wanted) as bridge:
            listener = await bob.listen(transport=transport).__aenter__()
            async with watched(bridge):
                await until(listener, Activity.SLEEPING)
        async with site(wanted) as bridge:
            assert await soon(anext(listener)) == SessionRestarted()
            async with watched(bridge):
                await until(listener, Activity.SLEEPING)
            await listener.aclose()


@BOTH
async def test_goodbye_ends_the_session_and_the_iteration(
    bridge: Site, transport: Transport
) -> None:
    assert bridge.graph is not None
    server = bridge.graph.reader.server
    async with asynchronous(bridge.base, "bob") as bob:
        listener = await bob.listen(transport=transport).__aenter__()
        assert len(server.sessions) == 1
        waiting = asyncio.ensure_future(anext(listener, None))
        await asyncio.sleep(0)
        await listener.aclose()
        assert await soon(asyncio.wait_for(waiting, 5)) is None
        assert server.sessions == {}


@BOTH
async def test_wrong_credentials_are_raised(bridge: Site, transport: Transport) -> None:
    async with AsyncPresenceClient(bridge.base, "app_bob", "wrong") as bob:
        with pytest.raises((Unauthenticated, Unreachable)):
            await soon(anext(bob.listen(transport=transport)))


async def test_a_foreign_channel_is_raised(bridge: Site) -> None:
    async with asynchronous(bridge.base, "bob") as bob:
        async with bob.listen("/bayeux/app_alice/presence") as listener:
            with pytest.raises(Fault) as refused:
                await soon(anext(listener))
        assert refused.value.status == 403


@BOTH
async def test_nobody_there_is_unreachable(transport: Transport) -> None:
    async with AsyncPresenceClient(f"http://127.0.0.1:{free_port()}", "app_bob", "x") as bob:
        with pytest.raises(Unreachable):
            await soon(anext(bob.listen(transport=transport)))
