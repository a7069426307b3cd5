"""The page of the README as it stands there, in a real browser, from another origin."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.app.processes import Served, served
from tests.app.rig import configuration
from tests.browser import chromium

README = Path(__file__).parents[2] / "README.md"
ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(chromium.path() is None, reason="no chromium: make interop installs it"),
]


def page(bridge: str) -> str:
    """The page of the README, for a bridge at this address where Bob has the password of the tests."""
    found = re.findall(r"```html\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(found) == 1
    assert len(found[0].splitlines()) <= 20
    assert "http://127.0.0.1:8080" in found[0]
    text = str(found[0]).replace("http://127.0.0.1:8080", bridge)
    return text.replace('"app_bob:secret-b"', '"app_bob:secret-bob"')


class Pages:
    """A web server of its own, another origin than the bridge."""

    def __init__(self) -> None:
        self.origin = ""
        self.text = ""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path != "/":
            raise web.HTTPNotFound
        return web.Response(text=self.text, content_type="text/html")


@contextlib.asynccontextmanager
async def pages() -> AsyncIterator[Pages]:
    made = Pages()
    app = web.Application()
    app.router.add_get("/{tail:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def desk(folder: Path, origins: list[str]) -> AsyncIterator[Served]:
    """A bridge where Bob may see everything of Alice, who is on the phone."""
    tree = configuration(http={"port": 0, "allowed_origins": origins})
    async with served(folder, tree) as bridge:
        alice, bob = bridge.application("alice"), bridge.application("bob")
        await alice.publish(Activity="OnThePhone")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        yield bridge


async def test_the_page_shows_what_alice_does(tmp_path: Path) -> None:
    async with (
        pages() as elsewhere,
        desk(tmp_path, [elsewhere.origin]) as bridge,
        chromium.browser(tmp_path / "profile") as browser,
    ):
        elsewhere.text = page(bridge.base)
        tab = await browser.open(elsewhere.origin + "/")
        assert (await tab.shows("#alice", "OnThePhone")).startswith("Alice: ")
        await bridge.application("alice").publish(Activity="Meeting")
        await tab.shows("#alice", "Meeting")
        again = await browser.open(elsewhere.origin + "/")
        await again.shows("#alice", "Meeting")


async def test_the_page_is_refused_when_its_origin_is_not_listed(tmp_path: Path) -> None:
    async with (
        pages() as elsewhere,
        desk(tmp_path, ["https://desk.example.com"]) as bridge,
        chromium.browser(tmp_path / "profile") as browser,
    ):
        elsewhere.text = page(bridge.base)
        tab = await browser.open(elsewhere.origin + "/")
        await tab.shows("#alice", "Failed to fetch")
        # Not only the browser keeps the answer back: the bridge did nothing that the page asked for.
        assert await bridge.application("bob").start(ALICE, correlator="page-1") == []
