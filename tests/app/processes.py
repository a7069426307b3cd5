"""`sipbridge …` as a process of its own, as a user starts it."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tomli_w

from tests.app.rig import Application

PATIENCE = 45.0
"""Seconds a process may take to start or to end; two of processor time can be twenty on a busy machine."""


class Command:
    """A running command. `lines` are read from standard output, `log` is standard error so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.log: list[str] = []
        self.news = asyncio.Event()
        self.reading = asyncio.get_running_loop().create_task(self.read_log())

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode().rstrip("\n"))
            self.news.set()

    async def complaint(self, word: str) -> str:
        """The first line on standard error with this word in it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.log:
                    if word in line:
                        return line
                self.news.clear()
                await self.news.wait()

    async def line(self) -> dict[str, Any]:
        """The next line of standard output, which is JSON."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert line, f"the command ended: {await self.ended()}, {self.log}"
        told: dict[str, Any] = json.loads(line)
        return told

    async def rest(self) -> list[str]:
        """What is left on standard output until the command ends."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.read(), PATIENCE)).decode().splitlines()

    async def ended(self) -> int:
        """The exit status."""
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self.reading
        return status

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ended()


@contextlib.asynccontextmanager
async def command(*arguments: str, cwd: Path | None = None) -> AsyncIterator[Command]:
    """`sipbridge arguments…`; killed at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sipbridge", *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    made = Command(process)
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await made.reading
        # The pipes' transports end one turn after the process.
        process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)


NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(["sipbridge.app.lifecycle", "sipbridge.cli.serve"])


class Child:
    """A process forked from one that has imported everything: it starts in a tenth of the time of a command.

    For tests of many lives. What is printed on standard output comes by `line`; standard error is ours.
    """

    def __init__(self, *arguments: str) -> None:
        ours, theirs = NURSERY.Pipe(duplex=False)
        self.process = NURSERY.Process(target=perform, args=(arguments, theirs))
        self.process.start()
        theirs.close()
        self.output = ours

    async def line(self) -> dict[str, Any]:
        """The next line of standard output, which is JSON."""
        told: dict[str, Any] = json.loads(await asyncio.to_thread(self.read_line))
        return told

    def read_line(self) -> bytes:
        assert self.output.poll(PATIENCE), "the process says nothing"
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self.output.fileno(), 4096)
            assert read, f"the process ended: {self.process.exitcode}"
            line += read
        return line

    async def ended(self) -> int:
        """The exit status."""
        await asyncio.to_thread(self.process.join, PATIENCE)
        assert self.process.exitcode is not None, "the process does not end"
        return self.process.exitcode

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return await self.ended()


def perform(arguments: tuple[str, ...], output: Connection) -> None:
    """What a child does: `sipbridge arguments…`."""
    from sipbridge.__main__ import main

    os.dup2(output.fileno(), 1)
    sys.argv = ["sipbridge", *arguments]
    main()


@contextlib.asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[Child]:
    """`sipbridge arguments…` as a child; killed at the end of the block if it still runs."""
    made = await asyncio.to_thread(Child, *arguments)
    try:
        yield made
    finally:
        made.process.kill()
        await made.ended()
        made.process.close()
        made.output.close()


def written(folder: Path, tree: dict[str, Any]) -> Path:
    """A configuration file."""
    path = folder / "sipbridge.toml"
    path.write_text(tomli_w.dumps(tree))
    return path


class Served:
    """A bridge that runs, and the applications that call it."""

    def __init__(self, bridge: Command, ready: dict[str, Any]) -> None:
        self.bridge = bridge
        self.ready = ready
        self.base: str = ready["http"]
        self.there: list[Application] = []

    @property
    def sip(self) -> str:
        """host:port of the UDP listener."""
        listeners: list[str] = self.ready["sip"]
        return next(p for p in listeners if p.startswith("udp:")).split(":", 1)[1]

    def application(self, name: str) -> Application:
        made = Application(self.base, name)
        self.there.append(made)
        return made

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        return await self.bridge.stop(number)


@contextlib.asynccontextmanager
async def served(folder: Path, tree: dict[str, Any]) -> AsyncIterator[Served]:
    """`sipbridge serve` with this configuration."""
    async with command("serve", "-c", str(written(folder, tree))) as bridge:
        made = Served(bridge, await bridge.line())
        try:
            yield made
        finally:
            for one in made.there:
                await one.close()
