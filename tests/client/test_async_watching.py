"""`client.people` of the asynchronous client, also over a bridge that is killed and comes back."""

import asyncio
from pathlib import Path

import pytest

from sipbridge.client import (
    Activity,
    AsyncPresenceClient,
    AttributeKind,
    Presence,
    PresenceStatus,
    Unauthenticated,
    attribute,
)
from tests.app.rig import Site
from tests.client.conftest import asynchronous, soon
from tests.client.test_restart import life
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


async def grant(alice: AsyncPresenceClient) -> None:
    for waiting in await alice.get_open_subscriptions():
        await alice.update_subscription_authorization(
            waiting.watcher, dict.fromkeys(AttributeKind, True)
        )


async def until(told: "asyncio.Queue[Presence]", status: PresenceStatus) -> Presence:
    while True:
        presence = await soon(told.get())
        if presence.status is status:
            return presence


async def test_plain_and_awaited_handlers_are_called_for_their_own_handles(bridge: Site) -> None:
    one: asyncio.Queue[Presence] = asyncio.Queue()
    other: asyncio.Queue[Presence] = asyncio.Queue()
    async with asynchronous(bridge.base, "alice") as alice, asynchronous(bridge.base, "bob") as bob:
        await alice.publish([attribute(Activity.ON_THE_PHONE, "back at ten")])
        mine = await bob.people.start_watching_presences([ALICE, "no such"], one.put_nowait)
        theirs = await bob.people.start_watching_presences([ALICE], other.put)
        assert [h.is_valid for h in [*mine, *theirs]] == [True, False, True]
        await grant(alice)
        assert (await until(one, PresenceStatus.CALL)).custom_status == "back at ten"
        await until(other, PresenceStatus.CALL)
        await bob.people.stop_watching_presences(mine)
        await alice.publish([Activity.MEETING])
        await until(other, PresenceStatus.MEETING)
        assert one.empty()
        await bob.people.stop_watching_presences(theirs)
        assert bob.people.reading is None


async def test_a_handler_may_stop_what_it_is_called_for(bridge: Site) -> None:
    told: asyncio.Queue[Presence] = asyncio.Queue()
    async with asynchronous(bridge.base, "alice") as alice, asynchronous(bridge.base, "bob") as bob:

        async def handler(presence: Presence) -> None:
            if presence.status is not PresenceStatus.PENDING:
                await bob.people.stop_watching_presences(handles)
            await told.put(presence)

        handles = await bob.people.start_watching_presences([ALICE], handler)
        await until(told, PresenceStatus.PENDING)
        await alice.publish([Activity.AWAY])
        await grant(alice)
        await until(told, PresenceStatus.INACTIVE)
        assert bob.people.watches.idle


async def test_wrong_credentials_are_raised(bridge: Site) -> None:
    async with AsyncPresenceClient(bridge.base, "app_bob", "wrong") as bob:
        with pytest.raises(Unauthenticated):
            await bob.people.start_watching_presences([ALICE], print)
        assert bob.people.watches.idle


async def test_handles_stay_valid_when_the_bridge_is_killed(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    told: asyncio.Queue[Presence] = asyncio.Queue()
    async with asynchronous(base, "alice") as alice, asynchronous(base, "bob") as bob:
        async with life(tmp_path, port):
            await alice.publish([Activity.MEETING])
            handles = await bob.people.start_watching_presences([ALICE], told.put)
            await grant(alice)
            await until(told, PresenceStatus.MEETING)
        async with life(tmp_path, port):
            await alice.publish([Activity.AWAY])
            seen = [await soon(told.get())]
            while seen[-1].status is not PresenceStatus.INACTIVE:
                seen.append(await soon(told.get()))
            assert [one.status for one in seen].count(PresenceStatus.MEETING) == 0  # no news
            await bob.people.stop_watching_presences(handles)
