"""Killed in the middle of everything, twenty times: what was acknowledged is there afterwards."""

import asyncio
import contextlib
import random
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.app.crashing import CROWD, Dialog, Member, Phones, applications, burst, name, phones, uri
from tests.app.processes import Child, child, command, written
from tests.app.rig import Application, configuration, kept
from tests.harness.ports import free_port

ROUNDS = 20
OLD_DIALOGS = 30
"""Of earlier rounds, refreshed in each; all of them together would be most of the test."""


class Crowd:
    """Everybody, and the SIP dialogs of all rounds."""

    def __init__(self, phones: Phones) -> None:
        self.phones = phones
        self.members = [Member(n) for n in range(CROWD)]
        self.dialogs: list[Dialog] = []
        """Acknowledged ones."""

    async def introduce(self) -> None:
        """The state before the first round: each is seen by its right-hand neighbour."""

        async def one(member: Member) -> None:
            neighbour = self.members[(member.number + 1) % CROWD]
            await neighbour.subscribe(member)
            await member.admit(uri(neighbour.number))
            await member.publish()
            await member.device(self.phones)

        await asyncio.gather(*(one(member) for member in self.members))

    def operations(self, turn: int, chance: random.Random) -> list[Awaitable[None]]:
        """Seven things each, in any order."""
        todo: list[Awaitable[None]] = []
        for member in self.members:
            n = member.number
            left = uri(n - 1)
            stranger = self.members[(n + 2 + turn) % CROWD]
            todo += [member.publish(), member.device(self.phones), self.watch(n, turn)]
            todo += [
                member.start(left, f"r{turn}-{n}"),
                member.start(left, f"o{turn}-{n}", count=1),
            ]
            if stranger.number not in (n, (n - 1) % CROWD):
                todo.append(member.subscribe(stranger))
            waiting = sorted(member.watched_by - member.unsure)
            for watcher in chance.sample(waiting, min(2, len(waiting))):
                todo.append(chance.choice([member.admit, member.block])(watcher))
                member.unsure.add(watcher)
        chance.shuffle(todo)
        return todo

    async def watch(self, number: int, turn: int) -> None:
        watcher = f"<sip:w{turn}-{number}@example.com>;tag={secrets.token_hex(4)}"
        dialog = Dialog(secrets.token_hex(8), watcher, uri(number))
        assert await self.phones.subscribe(dialog) == 200
        self.dialogs.append(dialog)

    async def check(self, chance: random.Random) -> None:
        """Everything that was promised, in this round or before."""
        await asyncio.gather(
            *(m.check(self.members[(m.number + 1) % CROWD]) for m in self.members),
            *(m.check_ear() for m in self.members),
            *(m.check_device(self.phones) for m in self.members),
            *(self.check_dialog(d) for d in self.sample(chance)),
        )

    def sample(self, chance: random.Random) -> list[Dialog]:
        old, new = self.dialogs[:-CROWD], self.dialogs[-CROWD:]
        return chance.sample(old, min(OLD_DIALOGS, len(old))) + new

    async def check_dialog(self, dialog: Dialog) -> None:
        """It lives: after a restart it is told by itself, and a refresh is known; numbers only grow."""
        await self.phones.until(lambda: len(dialog.notified) > dialog.before, "no NOTIFY by itself")
        before = len(dialog.notified)
        assert await self.phones.subscribe(dialog) == 200, "a SIP subscription is lost"
        await self.phones.until(lambda: len(dialog.notified) > before, "no NOTIFY in the dialog")
        assert sorted(dialog.notified) == dialog.notified, "a CSeq number was used twice"


def tree(folder: Path, port: int) -> dict[str, Any]:
    return configuration(
        sip={"listen": [f"udp:127.0.0.1:{port}"], "domain": "example.com"},
        store=kept(folder),
        applications=applications(),
        limits={"log_entries": 100_000},
    )


@contextlib.asynccontextmanager
async def alive(config: Path, crowd: Crowd) -> AsyncIterator[Child]:
    """The bridge in one life, with everybody connected."""
    async with child("serve", "-c", str(config)) as bridge:
        ready = await bridge.line()
        listening = []
        for member in crowd.members:
            member.rest = Application(ready["http"], name(member.number))
            listening.append(asyncio.ensure_future(member.ear.listen(member.rest)))
        try:
            yield bridge
        finally:
            bridge.process.kill()
            await bridge.ended()
            for dialog in crowd.dialogs:
                dialog.before = len(dialog.notified)
            for one in listening:
                one.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
            for member in crowd.members:
                await member.app.close()


# Twenty lives, each a start of a process, some 200 operations and as many questions afterwards.
@pytest.mark.timeout(300)
async def test_what_was_acknowledged_survives_kill_9_in_the_middle_of_everything(
    tmp_path: Path,
) -> None:
    chance = random.Random(20)
    port = free_port()
    config = written(tmp_path, tree(tmp_path, port))
    async with phones(port) as talking:
        crowd = Crowd(talking)
        async with alive(config, crowd) as bridge:
            await crowd.introduce()
            await crowd.check(chance)
            assert await bridge.stop() == 0
        done = 0
        for turn in range(ROUNDS):
            async with alive(config, crowd) as bridge:
                if turn:
                    await crowd.check(chance)
                todo = crowd.operations(turn, chance)
                assert turn == 0 or len(todo) >= 180
                after = chance.randrange(1, len(todo) + 1)
                done += await burst(todo, bridge.process.kill, after)
                assert await bridge.ended() == -signal.SIGKILL
        async with alive(config, crowd) as bridge:
            await crowd.check(chance)
            assert done > ROUNDS * 50
            assert await bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    wal = tmp_path / "state.db-wal"
    wal.write_bytes(wal.read_bytes()[: chance.randrange(wal.stat().st_size)])
    async with command("serve", "-c", str(config)) as bridge:
        await bridge.line()
        assert await bridge.stop() == 0
