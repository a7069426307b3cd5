"""BEMS sessions and lists when the bridge is killed: real processes, the state in SQLite."""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.app.processes import Served, served
from tests.app.rig import application, attributes, configuration, kept
from tests.rest.devices import LOOKUP, Device, call, device, token_of

NAMES = ("alice", "bob", "carol")
ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in NAMES)
DEVICE = "the-device-token-of-bob"
Json = Any
LIVES = int(os.environ.get("SIPBRIDGE_LIVES", "3"))
"""Times the bridge falls while it has the most to do."""


@contextlib.asynccontextmanager
async def life(folder: Path, **bems: object) -> AsyncIterator[Served]:
    """The bridge in one life, which ends by SIGKILL at the end of the block."""
    tree = configuration(
        store=kept(folder),
        applications=[application(name, auth_tokens=[token_of(name)]) for name in NAMES],
        bems=bems,
    )
    async with served(folder, tree) as bridge:
        yield bridge
        # Not by the process object: that would ask for the status of one that is dead already.
        with contextlib.suppress(ProcessLookupError):
            os.kill(bridge.bridge.process.pid, signal.SIGKILL)
        assert await bridge.bridge.ended() == -signal.SIGKILL


@contextlib.asynccontextmanager
async def phone(bridge: Served, before: Device | None = None) -> AsyncIterator[Device]:
    """Bob's device; it names its session by the header, and goes on where it was."""
    async with device(bridge.base) as made:
        made.http.headers["deviceToken"] = DEVICE
        if before is not None:
            made.after = before.after
        yield made


async def publish(bridge: Served, name: str, activity: str) -> None:
    one = bridge.application(name)
    await one.rest("PUT", "/presence", {"presence": attributes(Activity=activity)})


async def test_sessions_go_on_with_growing_sequences(tmp_path: Path) -> None:
    """Registrations, the queue, what was told and what was accepted: all of it over kill -9."""
    numbers: list[int] = []
    async with life(tmp_path) as bridge, phone(bridge) as bob:
        await bob.begin(deviceToken=DEVICE, gnpToken="push-1")
        await bob.register(ALICE)
        await bridge.application("alice").decide(BOB, Activity=True)
        await publish(bridge, "alice", "Busy")
        await bob.contact(ALICE, "busy")
        acknowledged = bob.after
        await bob.poll(acknowledged, 0)
        await bob.register(CAROL, "late")
        numbers += [m["sequence"] for m in bob.seen]
    async with life(tmp_path) as bridge, phone(bridge, bob) as bob:
        bob.after = acknowledged
        assert (await bob.answer_to("late"))["result"]["data"]["state"] == "COMPLETE"
        assert (await bob.say("p", "Ping"))["error"] is None
        await bob.completed("p")
        await publish(bridge, "alice", "Available")
        told = await bob.contact(ALICE, "available")
        assert told["contactId"] == ALICE
        await bob.say("u", "UnRegisterTempRemotePresence", contactId=ALICE)
        await bob.completed("u")
        again = [m["sequence"] for m in bob.seen]
        assert again == sorted(set(again))
        assert max(again) > max(numbers) and max(again) < 2**53
        assert again[0] in numbers, "what was not acknowledged comes again, under its number"
    async with life(tmp_path) as bridge, phone(bridge, bob) as bob:
        await publish(bridge, "alice", "Busy")
        await bridge.application("carol").decide(BOB, Activity=True)
        await publish(bridge, "carol", "Meeting")
        await bob.contact(CAROL, "busy")
        contacts = {c["contactId"] for m in bob.seen for c in contacts_of(m)}
        assert ALICE not in contacts, "what was taken back stays so"
        assert min(m["sequence"] for m in bob.seen) > max(again)
        await bob.say("end", "TerminateSession")
    async with life(tmp_path) as bridge, phone(bridge) as bob:
        assert await bob.refused("x", "Ping") == 1017
        assert await bridge.application("carol").watchers() == []


def contacts_of(message: Json) -> list[Json]:
    found: list[Json] = message.get("result", {}).get("data", {}).get("contacts", [])
    return found


async def test_nothing_is_told_twice_because_the_bridge_fell(tmp_path: Path) -> None:
    async with life(tmp_path) as bridge, phone(bridge) as bob:
        await bob.begin(deviceToken=DEVICE)
        await bob.register(ALICE)
        await bridge.application("alice").decide(BOB, Activity=True)
        await publish(bridge, "alice", "Busy")
        await bob.contact(ALICE, "busy")
        await bob.poll(bob.after, 0)
        await bob.say("p", "Ping")
        await bob.completed("p")
    async with life(tmp_path) as bridge, phone(bridge, bob) as bob:
        # The state after the restart is the same: the next message is about something else.
        await bob.say("q", "GetContactsState", contactIds=[ALICE])
        (contact,) = (await bob.completed("q"))["contacts"]
        assert contact["presence"] == "busy"
        assert [m["id"] for m in bob.seen] == ["q"]
        await publish(bridge, "alice", "Away")
        await bob.contact(ALICE, "away")


class Busy:
    """A client that asks as fast as it can, while another reads; both live as long as the bridge does."""

    def __init__(self, phone: Device, accepted: dict[str, str], answered: list[Json]) -> None:
        self.phone, self.accepted, self.answered = phone, accepted, answered
        self.news = asyncio.Event()

    async def ask(self, life: int) -> None:
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            for n in itertools.count():
                id = f"{life}-{n}"
                batch = [
                    call(f"{id}-s", "SetPresence", presence=("busy", "away")[n % 2]),
                    call(f"{id}-r", "RegisterTempRemotePresence", contactId=(ALICE, CAROL)[n % 2]),
                    call(
                        f"{id}-u", "UnRegisterTempRemotePresence", contactId=(CAROL, ALICE)[n % 2]
                    ),
                ]
                _, answers = await self.phone.post(batch)
                self.accepted |= {a["id"]: a["result"]["data"]["method"] for a in answers}
                self.news.set()

    async def read(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, AssertionError):
            while True:
                self.answered.append(await self.phone.message())


@pytest.mark.timeout(180 + 20 * LIVES)  # each a start, and a burst of requests
async def test_what_was_accepted_is_answered_once_however_the_bridge_falls(tmp_path: Path) -> None:
    accepted: dict[str, str] = {}
    answered: list[Json] = []
    after = 0
    for number in range(LIVES):
        async with life(tmp_path, queue_length=100_000) as bridge, phone(bridge) as bob:
            if number == 0:
                await bob.begin(deviceToken=DEVICE)
            bob.after = after or bob.after
            busy = Busy(bob, accepted, answered)
            jobs = [asyncio.create_task(busy.ask(number)), asyncio.create_task(busy.read())]
            wanted = len(accepted) + 60
            while len(accepted) < wanted:
                busy.news.clear()
                await asyncio.wait_for(busy.news.wait(), 10.0)
            os.kill(bridge.bridge.process.pid, signal.SIGKILL)
            await asyncio.gather(*jobs)
            after = answered[-1]["sequence"] if answered else 0
    async with life(tmp_path, queue_length=100_000) as bridge, phone(bridge) as bob:
        bob.after = after
        left = accepted.keys() - {m.get("id") for m in answered}
        while left:
            answered.append(await bob.message())
            left.discard(answered[-1].get("id"))
        await bob.say("end", "Ping")
        await bob.completed("end")
        answered += [m for m in bob.seen if m not in answered]
    ids = [m["id"] for m in answered if m.get("id") in accepted]
    assert len(ids) == len(set(ids)), "an answer comes once"
    for message in answered:
        if (method := accepted.get(message.get("id", ""))) is not None:
            assert message["result"]["data"]["method"] == method
    numbers = [m["sequence"] for m in answered]
    assert numbers == sorted(set(numbers))


async def test_a_session_times_out_while_nobody_serves_it(tmp_path: Path) -> None:
    async with life(tmp_path, session_timeout=1) as bridge, phone(bridge) as bob:
        await bob.begin(deviceToken=DEVICE)
        await bob.register(ALICE)
    async with life(tmp_path, session_timeout=1) as bridge, phone(bridge) as bob:
        assert await bob.refused("x", "Ping") == 1017  # starting took longer than a second
        assert await bridge.application("alice").open_subscriptions() == {}


async def test_lists_are_pulled_on(tmp_path: Path) -> None:
    body = {"contacts": ["alice@example.com", "carol@example.com"], "notify": "key"}
    given = {"X-Good-GD-AuthToken": token_of("bob")}
    async with life(tmp_path) as bridge, device(bridge.base) as bob:
        async with bob.http.post(bridge.base + LOOKUP, json=body, headers=given) as answer:
            first = await answer.json()
        await bridge.application("alice").decide(BOB, Activity=True)
        await publish(bridge, "alice", "Busy")
    async with life(tmp_path) as bridge, device(bridge.base) as bob:
        where = f"{bridge.base}{LOOKUP}/key"
        async with bob.http.get(where, headers=given) as answer:
            whole = await answer.json()
        assert whole["contacts"] == [
            {"id": "alice@example.com", "availability": 6000},
            {"id": "carol@example.com", "availability": -1},
        ]
        assert int(whole["sequence"]) > int(first["sequence"])
        query = {"sequence": first["sequence"]}
        async with bob.http.get(where, headers=given, params=query) as answer:
            assert (await answer.json())["contacts"] == whole["contacts"]
