"""The shell session of the README and `docs/troubleshooting.md`, pasted: what is behind `#` comes back.

Each block of the language `sh` is a piece of one terminal session, from top to bottom. A line that begins
with `# ` is output, everything else a command. `…` in an output stands for anything; dates, entity-tags and
ids differ from run to run. Ports are free ones here, and `.venv/bin/sipbridge` is the bridge under test.
"""

import asyncio
import contextlib
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.app.processes import Command, command, served
from tests.app.rig import REST, configuration, presence_server, remote

README = Path(__file__).resolve().parents[2] / "README.md"
TROUBLE = README.parent / "docs/troubleshooting.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FREE = '\n[http]\nport = 0\n\n[sip]\nlisten = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]\n'
END = "\x1e"
SECONDS = 15.0
ENOUGH = """
timeout() {
  shift
  coproc there { exec "$@"; }
  read -r line <&"${there[0]}" && echo "$line"
  kill $there_PID; wait $there_PID
} 2>&-
"""
"""Instead of a command's three seconds, which on a busy machine are too few: until it has said something."""
DIFFERS = {
    r"\d{4}\\-\d\d\\-\d\dT\d\d:\d\d:\d\d(\\\.\d+)?Z": r"\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z",
    r'"etag":"[0-9a-f]+"': r'"etag":"[0-9a-f]+"',
    r"(subscription|trace)=[0-9a-f]+": r"\1=[0-9a-f]+",
}


@dataclass
class Said:
    """A command, and what README shows as its output."""

    command: str
    shown: list[str] = field(default_factory=list)


def section(title: str) -> str:
    """The text between a heading and the next of its rank or above."""
    text = README.read_text("utf-8")
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found is not None, title
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", re.sub(r"(?s)```.*?```", blanked, rest), re.M)
    return rest if end is None else rest[: end.start()]


def blanked(block: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", block[0])


def blocks(title: str, language: str) -> list[str]:
    return [text for word, text in BLOCK.findall(section(title)) if word == language]


def troubles(language: str) -> list[str]:
    """The blocks of what to look at when a watcher sees nothing."""
    return [text for word, text in BLOCK.findall(TROUBLE.read_text("utf-8")) if word == language]


def section_blocks(title: str, *, until: str) -> list[str]:
    """The shell blocks of a section before one of its parts."""
    text = section(title).partition(f"# {until}\n")[0]
    return [text for word, text in BLOCK.findall(text) if word == "sh"]


def session(text: str) -> list[Said]:
    """The commands of a block; a line belongs to the command before while a quote is open."""
    said: list[Said] = []
    for line in text.splitlines():
        if said and said[-1].command.count("'") % 2:
            said[-1].command += "\n" + line
        elif line.startswith("# "):
            said[-1].shown.append(line[2:])
        elif line:
            said.append(Said(line))
    return said


def pattern(shown: list[str]) -> str:
    """A regular expression for an output; where lines are broken, and blanks, do not matter."""
    text = re.escape(re.sub(r"\s+", "", "".join(shown))).replace("…", ".*")
    for what, instead in DIFFERS.items():
        text = re.sub(what, instead, text)
    return text


class Terminal:
    """A shell in a folder, beside a bridge; it is one from the first block to the last."""

    def __init__(self, shell: Process, http: str, sip: str) -> None:
        self.shell, self.http, self.sip = shell, http, sip
        self.definitions: list[str] = []
        """Functions and addresses that were given a name."""

    def here(self, text: str) -> str:
        """A command with the ports that are ours."""
        text = text.replace("http://127.0.0.1:8080", self.http)
        ours = f"{sys.executable} -m sipbridge"
        server = f"--server {self.sip}"
        text = re.sub(r"\.venv/bin/sipbridge (publish|watch)", rf"{ours} \1 {server}", text)
        return text.replace(".venv/bin/sipbridge", ours)

    async def run(self, text: str) -> str:
        """What one command says."""
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.write(f"{self.here(text)}\nprintf '{END}'\n".encode())
        told = await asyncio.wait_for(self.shell.stdout.readuntil(END.encode()), SECONDS)
        return told.decode().removesuffix(END)

    async def tell(self, text: str) -> None:
        """Paste a block; every output is as shown."""
        for said in session(text):
            came = await self.run(said.command)
            if re.match(r"\w+\(\)|\w+=http", said.command):
                self.definitions.append(said.command)
            found = re.fullmatch(pattern(said.shown), re.sub(r"\s+", "", came))
            assert found, f"{said.command}\nREADME: {''.join(said.shown)}\nnow:    {came}"


@contextlib.asynccontextmanager
async def terminal(folder: Path, bridge: Command) -> AsyncIterator[Terminal]:
    ready = await bridge.line()
    shell = await asyncio.create_subprocess_exec(
        "bash",
        stdin=PIPE,
        stdout=PIPE,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(README.parent)},
    )
    made = Terminal(shell, ready["http"], ready["sip"][0].removeprefix("udp:"))
    await made.run(ENOUGH)
    try:
        yield made
    finally:
        shell.kill()
        await shell.communicate()


def configured(folder: Path, more: str = "") -> None:
    (text, *_) = blocks("Use it", "toml")
    (folder / "sipbridge.toml").write_text(text + FREE + more)


async def test_the_session_of_the_readme_can_be_pasted(tmp_path: Path) -> None:
    configured(tmp_path)
    async with (
        command("serve", "-c", "sipbridge.toml", cwd=tmp_path) as bridge,
        terminal(tmp_path, bridge) as shell,
    ):
        pieces = section_blocks("Use it", until="For the operator")
        assert len(pieces) > 5
        for piece in pieces:
            await shell.tell(piece)
        password, *operating = blocks("For the operator", "sh")
        await shell.tell(password)
        assert await bridge.stop() == 0
        definitions = shell.definitions
    async with (
        command("serve", "-c", "sipbridge.toml", cwd=tmp_path) as bridge,
        terminal(tmp_path, bridge) as shell,
    ):
        for text in (*definitions, *operating, *troubles("sh")):
            await shell.tell(text)


async def test_a_server_that_refuses_is_seen_where_the_readme_says(tmp_path: Path) -> None:
    *_, shown = troubles("")
    line, counted = shown.splitlines()
    async with presence_server() as server:
        server.refuse["SUBSCRIBE"] = 403
        tree = configuration(presence_server=remote(server), log={"level": "info"})
        async with served(tmp_path, tree) as there:
            bob = there.application("bob")
            body = {"application": "Desk", "presentity": "sip:dave@example.com"}
            reference = {"reference": bob.reference("s")}
            status, answer = await bob.ask("POST", f"{REST}/subscription", body | reference)
            assert (status, answer["error"]["messageId"]) == (403, "POL0001")
            trace = answer["error"]["requestId"]
            said = await there.bridge.complaint(trace)
            assert re.fullmatch(pattern([line]), re.sub(r"\s+", "", said)), said
            assert counted.rpartition(" ")[0] in await bob.text("/metrics")
