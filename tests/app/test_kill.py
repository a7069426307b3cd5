"""Contracts and notifications of applications when the bridge is killed: real processes, Bayeux clients."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.app.processes import Served, served
from tests.app.rig import Application, configuration, kept, presence_server, remote, until

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


@contextlib.asynccontextmanager
async def life(
    folder: Path, **sections: object
) -> AsyncIterator[tuple[Served, Application, Application]]:
    """The bridge in one life, with Alice, and Bob who listens. It ends by SIGKILL at the end of the block."""
    async with served(folder, configuration(store=kept(folder), **sections)) as bridge:
        alice, bob = bridge.application("alice"), bridge.application("bob")
        yield bridge, alice, await bob.listen()
        fall(bridge)
        assert await bridge.bridge.ended() == -signal.SIGKILL


def fall(bridge: Served) -> None:
    # Not by the process object: that would ask for the status of one that is dead already, and swallow it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(bridge.bridge.process.pid, signal.SIGKILL)


async def noted(folder: Path) -> None:
    """Returns when it is written down that Bob has got everything there is."""

    def place() -> dict[str, Any]:
        with contextlib.closing(sqlite3.connect(folder / "state.db")) as db:
            (newest,) = db.execute("SELECT max(last) FROM pages").fetchone()
            row = db.execute("SELECT text FROM snapshots WHERE kind = 'delivery'").fetchone()
        return {"newest": newest, **(json.loads(row[0]) if row else {})}

    await until(
        lambda: asyncio.to_thread(place),
        lambda now: now.get("seen") == now["newest"] and not now["waiting"],
    )


async def nothing_again(alice: Application, bob: Application, **news: bool) -> None:
    """Bob is told of this decision, and of nothing before it."""
    await alice.decide(BOB, **news)
    told = await bob.told("notifySubscription")
    decided = {d["presenceAttribute"]: d["decision"] for d in told["decisions"]}
    assert decided | news == decided


async def test_a_count_goes_on_with_what_is_left_and_ends_once(tmp_path: Path) -> None:
    async with life(tmp_path) as (_, alice, bob):
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await bob.told("notifySubscription")
        await alice.publish(Activity="Busy")
        assert await bob.start(ALICE, count=4) == []
        await bob.told_status(Activity="Busy")
        await alice.publish(Activity="Meal")
        await bob.told_status(Activity="Meal")
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        await nothing_again(alice, bob, Sphere=False)
        await alice.publish(Activity="Travel")
        await bob.told_status(Activity="Travel")
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        await alice.publish(Activity="Meeting")
        await bob.told_status(Activity="Meeting")
        assert await bob.told("statusEnd") == {"correlator": "w-1"}
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        await alice.publish(Activity="Busy")
        await nothing_again(alice, bob, Sphere=True)
        assert await bob.start(ALICE, count=1) == []  # the correlator is free


async def test_what_was_answered_right_before_the_fall_is_told_after_it(tmp_path: Path) -> None:
    async with life(tmp_path) as (_, alice, bob):
        await bob.subscribe(ALICE)
        await bob.hush()
        await alice.decide(BOB, Activity=True, Place=False)
    async with life(tmp_path) as (_, alice, bob):
        told = await bob.told("notifySubscription")
        assert [d["decision"] for d in told["decisions"]] == [True, False]
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        await nothing_again(alice, bob, Sphere=False)


async def test_a_duration_that_runs_out_while_nobody_is_there_ends_once(tmp_path: Path) -> None:
    async with life(tmp_path) as (_, alice, bob):
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await bob.told("notifySubscription")
        duration = {"metric": "Millisecond", "units": 500}
        assert await bob.start(ALICE, duration=duration) == []
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        assert await bob.told("statusEnd") == {"correlator": "w-1"}
        await noted(tmp_path)
    async with life(tmp_path) as (_, alice, bob):
        await nothing_again(alice, bob, Sphere=False)


# --- entity-tags at a remote server


async def test_a_tag_whose_publish_was_answered_is_used_after_the_fall(tmp_path: Path) -> None:
    async with presence_server() as server:
        there = remote(server)
        async with life(tmp_path, presence_server=there) as (_, alice, _bob):
            await alice.publish(Activity="Busy")
            await alice.publish(Activity="Meal")
        async with life(tmp_path, presence_server=there) as (_, alice, _bob):
            await server.request("PUBLISH", 2)
            await alice.publish(Activity="Travel")
        tags = [m.get("sip-if-match") for m in server.requests("PUBLISH")]
        assert tags == ["", "e1", "e2", "e3"]


async def test_a_tag_that_never_reached_us_costs_one_412(tmp_path: Path) -> None:
    """The server has taken the PUBLISH; its answer, or our commit, came too late."""
    async with presence_server() as server:
        there = remote(server)
        async with life(tmp_path, presence_server=there) as (bridge, alice, _bob):
            await alice.publish(Activity="Busy")
            server.silent.add("PUBLISH")
            second = asyncio.ensure_future(alice.publish(Activity="Meal"))
            await server.request("PUBLISH", 1)
            fall(bridge)
            with pytest.raises(aiohttp.ClientError):
                await second
        server.silent.clear()
        server.forgotten = True  # the server has another tag for it now
        before = len(server.requests("PUBLISH"))
        async with life(tmp_path, presence_server=there) as (_, alice, _bob):
            await server.request("PUBLISH", before + 1)
            await alice.publish(Activity="Travel")
        sent = server.requests("PUBLISH")[before:]
        tags = [m.get("sip-if-match") for m in sent]
        assert tags[:2] == ["e1", ""]
        # The 412 may have the watch over the server refresh it once more: by the tag that holds.
        assert tags[2:] in (["e2"], ["e2", "e3"])
        assert b"travel" in sent[-1].body and all(b"travel" not in m.body for m in sent[:-1])
