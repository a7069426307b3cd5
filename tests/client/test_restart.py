"""The iterators of the SDK while the bridge, a process with its state in SQLite, is killed and comes back."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

from sipbridge.client import (
    Activity,
    AsyncPresenceClient,
    AttributeKind,
    Notification,
    PresenceClient,
    PresenceError,
    StatusChanged,
    attribute,
)
from tests.app.processes import Served, served
from tests.app.rig import PATIENCE, configuration, kept
from tests.client.conftest import asynchronous, blocking
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
LAST = "the last one"
STEPS, IN_FLIGHT = 20, 8


@contextlib.asynccontextmanager
async def life(folder: Path, port: int) -> AsyncIterator[Served]:
    """The bridge in one life, on a port that stays. It ends by SIGKILL at the end of the block."""
    wanted = configuration(store=kept(folder), http={"port": port})
    async with served(folder, wanted) as bridge:
        yield bridge
        with contextlib.suppress(ProcessLookupError):
            os.kill(bridge.bridge.process.pid, signal.SIGKILL)
        assert await bridge.bridge.ended() == -signal.SIGKILL


def note_of(told: Notification) -> str | None:
    return told.attributes[0].note if isinstance(told, StatusChanged) else None


def ends(told: Notification) -> bool:
    return note_of(told) == LAST


class Listener:
    """A blocking client's stream in a thread of its own, from now on until the last notification."""

    def __init__(self, client: PresenceClient) -> None:
        self.found: list[Notification] = []
        self.stream = client.notifications()
        self.stream.__enter__()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self) -> None:
        for told in self.stream:
            self.found.append(told)
            if ends(told):
                return

    async def done(self) -> list[Notification]:
        await asyncio.to_thread(self.thread.join, 3 * PATIENCE)
        return self.found


@contextlib.contextmanager
def listening(base: str) -> Iterator[Listener]:
    with blocking(base, "bob") as client:
        listener = Listener(client)
        yield listener
        listener.stream.close()


async def collect(stream: AsyncIterator[Notification]) -> list[Notification]:
    found = []
    async for told in stream:
        found.append(told)
        if ends(told):
            break
    return found


async def publish_until_it_falls(
    alice: AsyncPresenceClient, number: int, bridge: Served
) -> list[str]:
    """Changes one after the other, then some at once, in the middle of which the bridge is killed."""
    acknowledged: list[str] = []

    async def publish(step: int) -> None:
        note = f"{number}.{step}"
        with contextlib.suppress(PresenceError):
            await alice.publish([attribute(Activity.BUSY, note)])
            acknowledged.append(note)

    for step in range(STEPS):
        await publish(step)
    at_once = [asyncio.ensure_future(publish(STEPS + step)) for step in range(IN_FLIGHT)]
    await asyncio.wait(at_once, return_when=asyncio.FIRST_COMPLETED)
    os.kill(bridge.bridge.process.pid, signal.SIGKILL)
    await asyncio.gather(*at_once)
    return acknowledged


async def test_killed_again_and_again_the_iterators_lose_and_repeat_nothing(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    acknowledged: list[str] = []
    async with contextlib.AsyncExitStack() as there:
        alice = await there.enter_async_context(asynchronous(base, "alice"))
        bob = await there.enter_async_context(asynchronous(base, "bob"))
        async with life(tmp_path, port):
            awaited = await there.enter_async_context(bob.notifications())
            collecting = asyncio.ensure_future(collect(awaited))
            listener = there.enter_context(listening(base))
            await bob.subscribe_presence(ALICE, correlator="s-1")
            await alice.update_subscription_authorization(BOB, {AttributeKind.ACTIVITY: True})
            await bob.start_presence_notification(
                ALICE, correlator="w-1", frequency=timedelta(0), check_immediate=False
            )
        for number in range(2):
            async with life(tmp_path, port) as bridge:
                acknowledged += await publish_until_it_falls(alice, number, bridge)
        async with life(tmp_path, port):
            await alice.publish([attribute(Activity.AVAILABLE, LAST)])
            everything = await collect(bob.notifications(last_event_id="0"))
            heard = [await asyncio.wait_for(collecting, 3 * PATIENCE), await listener.done()]
    numbers = [int(told.event_id) for told in everything]
    assert len(acknowledged) >= 2 * STEPS
    assert numbers == sorted(set(numbers))
    assert heard == [everything, everything]
    # Each change that was acknowledged is told, but for what was still on its way when the bridge fell.
    told = [note for one in everything if (note := note_of(one)) is not None]
    assert len(told) == len(set(told))
    assert len(set(acknowledged) - set(told)) <= 2 * IN_FLIGHT
