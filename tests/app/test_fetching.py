"""Get User Presence when nothing living shows the presentity: one question to the presence server, over UDP.

The server here accepts Bob's subscription and then says nothing, so all that is known comes from fetches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipbridge.app.fetching import Fetches
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.subscriber import Subscriber
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import PresenceUpdate
from sipbridge.identities import PresentityKey
from sipbridge.uri import Uri
from tests.app.rig import (
    PLACEHOLDER,
    Application,
    PresenceServer,
    document,
    presence_server,
    remote,
    site,
    until,
    values,
)
from tests.events.peers import TO_BOB, Answer, ScriptedNotifier
from tests.harness.pair import ALICE as AT_ALICE
from tests.harness.pair import Pair
from tests.interop.wire import Message

ALICE, BOB = (f"sip:{name}@example.com" for name in ("alice", "bob"))
OVER = "terminated;reason=timeout"
LONG = 60.0
"""Seconds; a poll that takes so long fails by itself."""


class Quiet:
    """Bob may see what Alice does, and her presence server has told nothing yet."""

    def __init__(self, server: PresenceServer, bob: Application) -> None:
        self.server, self.bob = server, bob
        self.fetches = 0

    def poll(self) -> "asyncio.Task[tuple[int, Any]]":
        return asyncio.create_task(self.bob.presence(ALICE))

    async def fetch(self) -> Message:
        """The next SUBSCRIBE behind the one that stays."""
        self.fetches += 1
        return await self.server.subscription(ALICE, index=self.fetches)


@contextlib.asynccontextmanager
async def quiet(wait: float = LONG, profile: str = "") -> AsyncIterator[Quiet]:
    async with (
        presence_server() as server,
        site(
            presence_server={**remote(server), "profile": profile}, gateway={"fetch_wait": wait}
        ) as here,
    ):
        alice, bob = here.application("alice"), here.application("bob")
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True)
        yield Quiet(server, bob)


def seen(answer: tuple[int, Any]) -> dict[str, Any]:
    status, body = answer
    assert status == 200, body
    return values(body["result"])


async def test_the_state_that_a_fetch_brings_is_the_answer() -> None:
    async with quiet() as there:
        for activity, shown in (("busy", "Busy"), ("meal", "Meal")):
            poll = there.poll()
            asked = await there.fetch()
            assert (asked.get("expires"), asked.get("event")) == ("0", "presence")
            there.server.notify(asked, document(activity, ALICE, "office"), state=OVER)
            assert seen(await poll) == {"Activity": shown}  # the place is not granted
        assert await there.server.response("NOTIFY", 1) == 200


class Asking:
    """Fetches over a wire in memory; the server answers with each of `bodies` in turn, then with nothing."""

    def __init__(self, *bodies: bytes) -> None:
        self.pair = Pair()
        silent = Answer(notify=None)
        answers = [Answer(notify=OVER, body=body) for body in bodies]
        self.server = ScriptedNotifier(self.pair.bob, *answers, silent)
        self.fetches = Fetches(
            Subscriber(self.pair.alice, {PRESENCE.name: PRESENCE}),
            turn=lambda: None,
            now=lambda: self.pair.now,
            refused=lambda error, kind, trace: None,
        )
        self.handled = 0

    async def ask(self, wait: float = LONG) -> "asyncio.Task[PresenceUpdate | None]":
        alice, bob = Uri.parse(ALICE), Uri.parse(BOB)
        caller = Caller("app_bob", bob, PresentityKey(BOB))
        task = asyncio.create_task(
            self.fetches.ask(caller, alice, PresentityKey(ALICE), TO_BOB, None, wait)
        )
        await asyncio.sleep(0)
        return task

    def turn(self) -> None:
        self.pair.pass_seconds(0.1)
        reported = self.pair.reported[AT_ALICE]
        for said in reported[self.handled :]:
            self.fetches.handle(said)
        self.handled = len(reported)

    def over(self) -> bool:
        return not self.fetches.asked and not self.fetches.newest


async def test_who_asks_while_the_answer_is_on_its_way_waits_for_it() -> None:
    asking = Asking(document("busy", ALICE), document("meal", ALICE))
    first, second, third = [await asking.ask() for _ in range(3)]
    first.cancel()  # who gives up takes nothing from the others
    await asyncio.gather(first, return_exceptions=True)
    asking.turn()
    found = [await second, await third]
    assert found[0] is not None
    assert found[0].document is not None
    assert found[1] is found[0]
    assert len(asking.server.got) == 1
    assert asking.over()
    later = await asking.ask()
    asking.turn()
    assert await later not in (None, found[0])
    assert len(asking.server.got) == 2


async def test_an_old_question_is_asked_again_however_many_wait_for_it() -> None:
    asking = Asking()
    first = await asking.ask(wait=2.0)
    asking.turn()
    asking.pair.pass_seconds(1.0)
    second = await asking.ask(wait=2.0)
    assert len(asking.server.got) == 1
    asking.pair.pass_seconds(1.0)
    third = await asking.ask(wait=2.0)
    asking.turn()
    assert len(asking.server.got) == 2
    for waiting in (first, second, third):
        waiting.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert asking.over()


@pytest.mark.parametrize("method", ["SUBSCRIBE", "NOTIFY"])
async def test_a_server_that_is_silent_is_waited_for_no_longer_than_told(method: str) -> None:
    """Without any answer, and with a 200 that no NOTIFY follows."""
    loop = asyncio.get_running_loop()
    async with quiet(wait=0.3) as there:
        there.server.silent.add(method)
        begun = loop.time()
        assert seen(await there.poll()) == {}
        assert 0.25 < loop.time() - begun < 5.0
        there.server.silent.clear()
        # What comes too late is answered, and shown to nobody.
        late = await there.fetch()
        if method == "NOTIFY":
            there.server.notify(late, document("busy", ALICE), state=OVER)
            assert await there.server.response("NOTIFY") == 200
        poll = there.poll()
        asked = await there.fetch()
        there.server.notify(asked, document("meal", ALICE), state=OVER)
        assert seen(await poll) == {"Activity": "Meal"}


@pytest.mark.parametrize("status", [403, 404, 489, 603])
async def test_a_server_that_refuses_is_not_waited_for(status: int) -> None:
    async with quiet() as there:
        there.server.refuse["SUBSCRIBE"] = status
        assert seen(await there.poll()) == {}
        there.server.refuse.clear()
        await there.fetch()
        poll = there.poll()
        there.server.notify(await there.fetch(), document("busy", ALICE), state=OVER)
        assert seen(await poll) == {"Activity": "Busy"}
        # The next refusal takes nothing away from what was shown.
        there.server.refuse["SUBSCRIBE"] = status
        assert seen(await there.poll()) == {"Activity": "Busy"}


async def test_a_server_that_knows_no_fetch_gets_a_short_subscription() -> None:
    async with quiet() as there:
        there.server.refuse["SUBSCRIBE"] = 400
        poll = there.poll()
        assert (await there.fetch()).get("expires") == "0"
        there.server.refuse.clear()
        asked = await there.fetch()
        assert asked.get("expires") == "60"
        there.server.notify(asked, document("busy", ALICE))
        assert seen(await poll) == {"Activity": "Busy"}
        left = await there.fetch()
        assert (left.get("call-id"), left.get("expires")) == (asked.get("call-id"), "0")
        there.server.notify(left, state=OVER)


async def test_pending_at_the_server_is_an_answer_without_a_state() -> None:
    async with quiet() as there:
        poll = there.poll()
        there.server.notify(await there.fetch(), state="pending;expires=0")
        assert seen(await poll) == {}


async def test_what_a_server_makes_up_is_an_answer_that_takes_nothing_away() -> None:
    async with quiet(profile="kamailio") as there:
        for body in (document("busy", ALICE), PLACEHOLDER):
            poll = there.poll()
            there.server.notify(await there.fetch(), body, state=OVER)
            assert seen(await poll) == {"Activity": "Busy"}


async def test_a_document_that_cannot_be_read_is_no_answer() -> None:
    async with quiet(wait=0.5) as there:
        poll = there.poll()
        there.server.notify(await there.fetch(), b"<presence", state=OVER)
        assert seen(await poll) == {}
        metrics = await there.bob.text("/metrics")
        assert 'documents_refused_total{media_type="application/pidf+xml"} 1.0' in metrics


async def test_who_is_shown_by_a_living_subscription_is_not_asked_about() -> None:
    async with quiet() as there:
        asked = await there.server.subscription(ALICE)
        there.server.notify(asked, document("busy", ALICE))
        assert await there.server.response("NOTIFY") == 200
        await until(lambda: there.bob.presence(ALICE), lambda a: seen(a) == {"Activity": "Busy"})
        found = [m for m in there.server.requests("SUBSCRIBE") if m.get("event") == "presence"]
        assert len([m for m in found if m.get("expires") == "0"]) == 0
