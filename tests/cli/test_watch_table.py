"""`sipbridge watch` on a terminal: a real one for the command, and what the table makes of each line."""

import asyncio
import contextlib
import io
import os
import pty
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from sipbridge.cli.watch_table import WatchTable
from tests.app.processes import served
from tests.app.rig import PATIENCE, configuration

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command whose standard output is a terminal. `seen`: everything it wrote there."""

    def __init__(self, process: Process, master: int) -> None:
        self.process = process
        self.master = master
        self.seen = ""
        self.news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self.read)

    def read(self) -> None:
        try:
            self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
        except OSError:  # the other side is closed
            asyncio.get_running_loop().remove_reader(self.master)
        self.news.set()

    async def shows(self, *words: str) -> str:
        """The newest table, once it has all these words."""
        async with asyncio.timeout(2 * PATIENCE):
            while True:
                table = CONTROL.sub("", self.seen).rpartition("┏")[2]
                if "└" in table and all(word in table for word in words):
                    return table
                self.news.clear()
                await self.news.wait()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@contextlib.asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    """`sipbridge arguments…` on a terminal of 160 columns."""
    master, slave = pty.openpty()
    there = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm-256color",
        "COLUMNS": "160",
        "LINES": "40",
    }
    there.pop("NO_COLOR", None)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sipbridge", *arguments),
        stdin=DEVNULL,
        stdout=slave,
        stderr=DEVNULL,
        env=there,
    )
    os.close(slave)
    made = Terminal(process, master)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def test_a_terminal_gets_a_table_that_follows_what_happens(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration(agent={"sub_handling": "allow"})) as bridge,
        terminal("watch", ALICE, BOB, "--server", bridge.sip) as screen,
    ):
        alice = bridge.application("alice")
        await screen.shows(ALICE, BOB, "active")
        await alice.publish(Activity="Meeting", Place="Office")
        await screen.shows("Meeting", "Office")
        await alice.publish(Activity="Away")
        table = await screen.shows("Away")
        assert "Meeting" not in table and '{"' not in table
        assert "\x1b[2K" in screen.seen or "\x1b[1A" in screen.seen  # redrawn in its place
        screen.process.send_signal(signal.SIGINT)
        assert await screen.ended() == 0


async def test_a_terminal_gets_lines_if_it_asks_for_them(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration(agent={"sub_handling": "allow"})) as bridge,
        terminal("watch", ALICE, "--json", "--server", bridge.sip) as screen,
    ):
        async with asyncio.timeout(2 * PATIENCE):
            while not screen.seen.endswith("}\r\n"):
                screen.news.clear()
                await screen.news.wait()
        assert screen.seen.startswith('{"at": ')
        screen.process.send_signal(signal.SIGINT)
        assert await screen.ended() == 0


async def test_a_refusal_stays_on_the_screen_and_is_1(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration(agent={"sub_handling": "block"})) as bridge,
        terminal("watch", ALICE, "--server", bridge.sip) as screen,
    ):
        await screen.shows("refused: 403 Forbidden")
        assert await screen.ended() == 1


# --- the table alone ----------------------------------------------------------------------------------


class Screen:
    def __init__(self, *presentities: str, winfo: bool = False) -> None:
        self.file = io.StringIO()
        self.table = WatchTable(presentities, winfo, Console(file=self.file, width=160))

    def text(self) -> str:
        console = Console(file=self.file, width=160)
        self.file.truncate(0)
        console.print(self.table.table())
        return self.file.getvalue()


def line(**more: object) -> dict[str, object]:
    return {
        "at": "2026-03-01T12:00:00.000Z",
        "presentity": ALICE,
        "state": "active",
        "reason": None,
        "attributes": None,
        "watchers": None,
        "deviations": [],
        **more,
    }


def value(kind: str, value: object, **more: object) -> dict[str, object]:
    return {"typeAndValue": {"unionElement": kind, kind.lower(): value}, **more}


def test_every_kind_of_value_has_its_place() -> None:
    screen = Screen(ALICE)
    assert "..." in screen.text()
    attributes = [
        value("Activity", "Meeting", note="weekly [b]review[/b]"),
        value("Sphere", "SphereWork"),
        value("Communication", {"means": [{"type": "Phone", "contact": "tel:+49", "priority": 1}]}),
        value("Other", {"name": "colour", "value": "blue"}),
        {"typeAndValue": None},
    ]
    with screen.table:
        screen.table.show(line(attributes=attributes))
    text = screen.text()
    for word in ("Meeting", "SphereWork", "Phone", "tel:+49", "colour=blue", "[b]review[/b]"):
        assert word in text


def test_what_a_line_does_not_say_stays() -> None:
    screen = Screen(ALICE)
    with screen.table:
        screen.table.show(line(attributes=[value("Activity", "Meeting")]))
        screen.table.show(line())
        assert "Meeting" in screen.text()
        screen.table.show(line(state="terminated", reason="rejected"))
    assert "Meeting" not in screen.text()
    assert "terminated (rejected)" in screen.text()


def test_watchers_have_a_line_each() -> None:
    screen = Screen(ALICE, winfo=True)
    watchers = [{"uri": CAROL, "status": "pending"}, {"uri": BOB, "status": "active"}]
    with screen.table:
        screen.table.show(line(watchers=watchers))
        screen.table.end(ALICE, "terminated: timeout")
    text = screen.text()
    assert f"{CAROL} pending" in text and f"{BOB} active" in text
    assert "terminated: timeout" in text
