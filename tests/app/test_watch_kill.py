"""Handles of Webex-style clients when the bridge is killed: real processes, SQLite."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from tests.app.processes import Served, served
from tests.app.rig import Application, configuration, kept
from tests.app.webex import APHELEIA, events, stop, watch

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


@contextlib.asynccontextmanager
async def life(folder: Path) -> AsyncIterator[tuple[Application, Application]]:
    """Alice and Bob at the bridge in one life, which ends by SIGKILL at the end of the block."""
    async with served(folder, configuration(store=kept(folder))) as bridge:
        yield bridge.application("alice"), bridge.application("bob")
        fall(bridge)
        assert await bridge.bridge.ended() == -signal.SIGKILL


def fall(bridge: Served) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(bridge.bridge.process.pid, signal.SIGKILL)


async def test_handles_are_valid_after_kill_9_and_go_on_telling(tmp_path: Path) -> None:
    async with life(tmp_path) as (alice, bob):
        await alice.publish(Activity="Meeting")
        (before,) = await watch(bob, ALICE)
        await alice.grant_all(BOB)
        async with events(bob) as updates:
            await updates.until(status="Meeting")
            seen = updates.last_id
        # Acknowledged, and the bridge falls at once.
        first, none, second = await watch(bob, ALICE, "bad id", ALICE)
        await stop(bob, first)
    numbers = {before["handle"], second["handle"]}
    async with life(tmp_path) as (alice, bob):
        async with events(bob, Last_Event_ID=seen) as updates:
            found: dict[int, str] = {}
            while found != dict.fromkeys(numbers, "Meeting"):
                told = await updates.next()
                found[told["handle"]] = told["presence"]["status"]
            await alice.publish(Activity="Busy")
            told_now = await updates.take(2)
            assert {n: p["status"] for n, p in told_now.items()} == dict.fromkeys(numbers, "Busy")
            await stop(bob, before)
            await alice.publish(Activity="Away")
            assert (await updates.next())["handle"] == second["handle"]
            assert await updates.silence()
        (later,) = await watch(bob, "bad id")
        assert later["handle"] > second["handle"] > none["handle"]
        await alice.block(BOB)
    async with life(tmp_path) as (alice, bob), events(bob) as updates:
        await updates.until(status="Unknown")
        (newest,) = await watch(bob, ALICE)
        assert newest["handle"] > later["handle"]
        await alice.grant_all(BOB)
        told_now = await updates.take(2)
        while {p["status"] for p in told_now.values()} != {"Inactive"}:
            told_now |= await updates.take(1)
        assert set(told_now) == {second["handle"], newest["handle"]}


async def test_a_status_that_ends_while_the_bridge_is_down_is_over_after_it(tmp_path: Path) -> None:
    async with life(tmp_path) as (alice, bob):
        await watch(bob, ALICE)
        await alice.grant_all(BOB)
        async with events(bob) as updates:
            event = {"subject": ALICE, "eventType": "dnd", "ttl": 1}
            assert (await alice.ask("POST", f"{APHELEIA}/events", event))[0] == 200
            await updates.until(status="Dnd")
    # A process takes longer than a second to start.
    async with life(tmp_path) as (alice, bob), events(bob) as updates:
        await updates.until(status="Active", expiresTime=None)
