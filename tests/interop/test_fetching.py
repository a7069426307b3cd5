"""Get User Presence with nothing living behind it, against a real Kamailio: it answers a fetch at once.

Played in this process, because no client can bring a bridge into that state: between a subscription and its
first NOTIFY there are only milliseconds.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sipbridge.gateway.registry import View
from sipbridge.identities import NormalisingIdentities
from sipbridge.uri import Uri
from tests.app.rig import Application, Site, document, remote, site, until, values
from tests.interop.actors import Kamailio
from tests.interop.wire import Talker

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("kamailio") is None, reason="Kamailio is not installed"),
]
SECTIONS = ["RFC 6665 4.4.3"]
BOB, DAVE = "sip:bob@example.com", "sip:dave@example.com"
WAIT = 1.0
"""Seconds that a poll may wait, as it is by default."""


@pytest.fixture
async def kamailio() -> AsyncIterator[Kamailio]:
    """Dave has published that he is busy."""
    server = Kamailio({})
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        await server.start()
        phone = Talker(DAVE, server.address, "udp", "pw-dave")
        await phone.open()
        ending.push_async_callback(phone.close)
        headers = ["Event: presence", "Expires: 600", "Content-Type: application/pidf+xml"]
        answer = await phone.ask("PUBLISH", DAVE, headers, document("busy", DAVE))
        assert answer is not None and answer.status == 200
        yield server
        if server.process is not None and server.process.returncode is None:
            os.killpg(server.process.pid, signal.SIGCONT)


def at(server: Kamailio, transport: str) -> dict[str, object]:
    host, port = server.address
    return remote(f"sip:{host}:{port};transport={transport}")


async def nothing_live(here: Site) -> Application:
    """Bob, subscribed to Dave, as it is right after a restart: what was granted is known, no state is."""
    bob = await here.application("bob").listen()
    await bob.subscribe(DAVE)
    await bob.told("notifySubscription")
    await until(lambda: bob.presence(DAVE), lambda answer: answer[1]["result"])
    canonical = NormalisingIdentities().canonical
    pair = canonical(Uri.parse(BOB)), canonical(Uri.parse(DAVE))
    assert here.graph is not None
    here.graph.gateway.registry.views[pair] = View(state="active")
    return bob


async def subscribes_sent(bob: Application) -> float:
    name = 'sipbridge_sip_messages_total{direction="out",method="SUBSCRIBE"'
    lines = (await bob.text("/metrics")).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def shown(answer: tuple[int, Any]) -> dict[str, Any]:
    assert answer[0] == 200, answer
    return values(answer[1]["result"])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_kamailio_answers_a_fetch(kamailio: Kamailio, transport: str) -> None:
    async with site(presence_server=at(kamailio, transport)) as here:
        bob = await nothing_live(here)
        # Dave's presence, and presence.winfo of both applications, which is asked for beside everything else.
        before = await until(lambda: subscribes_sent(bob), lambda sent: sent >= 3)
        assert shown(await bob.presence(DAVE)) == {"Activity": "Busy"}
        assert await subscribes_sent(bob) == before + 1


async def test_a_kamailio_that_hangs_is_waited_for_as_long_as_told(kamailio: Kamailio) -> None:
    async with site(presence_server=at(kamailio, "udp"), gateway={"fetch_wait": WAIT}) as here:
        bob = await nothing_live(here)
        assert kamailio.process is not None
        os.killpg(kamailio.process.pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert shown(await bob.presence(DAVE)) == {}
        assert WAIT * 0.9 < loop.time() - begun < 5 * WAIT
        os.killpg(kamailio.process.pid, signal.SIGCONT)
        await until(lambda: bob.presence(DAVE), lambda a: shown(a) == {"Activity": "Busy"})


async def test_a_kamailio_that_refuses_is_not_waited_for(kamailio: Kamailio) -> None:
    async with site(presence_server=at(kamailio, "udp"), gateway={"fetch_wait": 30.0}) as here:
        bob = await nothing_live(here)
        await kamailio.restart(["auth"])  # and the application has no SIP password: 401
        async with asyncio.timeout(5.0):
            assert shown(await bob.presence(DAVE)) == {}
