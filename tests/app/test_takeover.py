"""One process owns the state: a second one is refused, a standby waits and takes over. Real processes."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from tests.app.processes import command, written
from tests.app.rig import Application, configuration, kept

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
SOON = 4.0
"""Seconds of silence after which a standby of these tests takes over; a beat is a fifth of it."""


def wanted(folder: Path, takeover_after: float = 0.0) -> dict[str, Any]:
    store = kept(folder) | {"takeover_after": takeover_after}
    return configuration(store=store, log={"level": "info"})


async def state_of(base: str) -> list[str]:
    """Who watches Alice, as she is told."""
    alice = Application(base, "alice")
    try:
        return await alice.watchers()
    finally:
        await alice.close()


async def give(base: str) -> None:
    """State that is acknowledged: Bob watches Alice."""
    alice, bob = Application(base, "alice"), Application(base, "bob")
    try:
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
    finally:
        await alice.close()
        await bob.close()


async def test_a_second_bridge_on_the_same_state_is_refused_and_told_who_has_it(
    tmp_path: Path,
) -> None:
    config = str(written(tmp_path, wanted(tmp_path)))
    async with command("serve", "-c", config) as first:
        await first.line()
        async with command("serve", "-c", config) as second:
            assert await second.ended() == 1
            assert await second.rest() == []
            (line,) = second.log
            assert line.startswith(f"sipbridge: {tmp_path}/state.db is in use by ")
            assert f"process {first.process.pid} on {os.uname().nodename}" in line
        assert await first.stop() == 0
    async with command("serve", "-c", config) as third:
        await third.line()


async def test_the_next_life_does_not_wait_for_one_that_was_killed(tmp_path: Path) -> None:
    config = str(written(tmp_path, wanted(tmp_path)))
    async with command("serve", "-c", config) as first:
        await first.line()
        assert await first.stop(signal.SIGKILL) == -signal.SIGKILL
    async with command("serve", "-c", config) as second:
        await second.line()


async def test_a_standby_takes_over_when_the_owner_is_killed(tmp_path: Path) -> None:
    config = str(written(tmp_path, wanted(tmp_path, SOON)))
    async with command("serve", "-c", config) as first, command("serve", "-c", config) as second:
        owner, standby = await one_of(first, second)
        async with command("serve", "-c", config) as third:
            await third.complaint("owner=")
            assert await third.stop() == 0  # a standby ends when it is told to
        ready = await owner.line()
        await give(ready["http"])
        owner.process.kill()
        ready = await standby.line()
        assert await state_of(ready["http"]) == [BOB]
        assert await standby.stop() == 0


async def one_of(first: Any, second: Any) -> tuple[Any, Any]:
    """Which of two became the owner, and which waits."""
    waits = [asyncio.ensure_future(one.complaint("owner=")) for one in (first, second)]
    done, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    return (second, first) if waits[0] in done else (first, second)


async def test_a_standby_takes_over_from_one_that_hangs_which_then_gives_up(tmp_path: Path) -> None:
    config = str(written(tmp_path, wanted(tmp_path, SOON)))
    async with command("serve", "-c", config) as owner:
        ready = await owner.line()
        await give(ready["http"])
        async with command("serve", "-c", config) as standby:
            line = await standby.complaint("owner=")
            assert f"process {owner.process.pid} on" in line
            owner.process.send_signal(signal.SIGSTOP)
            ready = await standby.line()
            owner.process.send_signal(signal.SIGCONT)
            assert await owner.ended() == 1
            assert f"taken over by process {standby.process.pid} on" in owner.log[-1]
            assert owner.log[-1].startswith("sipbridge: ")
            assert await state_of(ready["http"]) == [BOB]
            assert await standby.stop() == 0
