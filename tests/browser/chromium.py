"""Debian's Chromium without a screen, by its DevTools protocol: open a page, wait for what it shows."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 20.0
"""Seconds; a browser that starts on a busy machine takes several."""
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")
SHOWS = """new Promise(done => {
  const look = () => {
    const found = document.querySelector(%s), text = found ? found.textContent : "";
    if (text.includes(%s)) { watch.disconnect(); done(text); }
  };
  const watch = new MutationObserver(look);
  watch.observe(document, {subtree: true, childList: true, characterData: true});
  look();
})"""


def path() -> str | None:
    """The program, None where there is none."""
    return shutil.which("chromium")


class Tab:
    """One page."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self.browser = browser
        self.session = session

    async def shows(self, selector: str, text: str) -> str:
        """The text of the element, as soon as this is part of it."""
        expression = SHOWS % (json.dumps(selector), json.dumps(text))
        try:
            answer = await self.evaluate(expression)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            raise AssertionError(f"{text!r} never came, the page shows {shown!r}") from None
        return str(answer)

    async def evaluate(self, expression: str) -> object:
        answer = await self.browser.call(
            "Runtime.evaluate",
            self.session,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


class Browser:
    """A running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.loaded: dict[str, asyncio.Event] = {}
        self.reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for message in self.socket:
            said = json.loads(message.data)
            if said.get("method") == "Page.domContentEventFired":
                self.loaded[said["sessionId"]].set()
            future = self.asked.pop(said.get("id", 0), None)
            if future is not None and not future.done():
                future.set_result(said)

    async def call(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        number = next(self.numbers)
        future = self.asked[number] = asyncio.get_running_loop().create_future()
        request: dict[str, object] = {"id": number, "method": method, "params": parameters}
        await self.socket.send_json(request | ({"sessionId": session} if session else {}))
        said = await asyncio.wait_for(future, PATIENCE)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, url: str) -> Tab:
        """A page whose document is there; its scripts may still run."""
        made = await self.call("Target.createTarget", url="about:blank")
        held = await self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        session: str = held["sessionId"]
        there = self.loaded[session] = asyncio.Event()
        await self.call("Page.enable", session)
        await self.call("Page.navigate", session, url=url)
        await asyncio.wait_for(there.wait(), PATIENCE)
        return Tab(self, session)


@contextlib.asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in `folder`; nothing of it is left afterwards."""
    program = path()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        *(program, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (found := LISTENING.search(line := await process.stderr.readline())):
                assert line, "chromium ended"
        draining = asyncio.create_task(process.stderr.read())
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(found[1].decode(), max_msg_size=0) as socket,
        ):
            made = Browser(socket)
            yield made
            made.reading.cancel()
            await asyncio.gather(made.reading, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the browser is many processes
        await process.wait()
    await draining
