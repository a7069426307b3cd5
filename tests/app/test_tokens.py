"""Tokens, tickets and other names of people, on a running bridge."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from sipbridge.app.keys import MAX_BYTES, from_file, from_url
from tests.app.rig import (
    PATIENCE,
    REST,
    Application,
    application,
    attributes,
    settings,
    site,
    until,
    values,
)

KEY = ec.generate_private_key(ec.SECP256R1())
ALICE, BOB, CAROL = (f"sip:{n}@example.com" for n in ("alice", "bob", "carol"))
PORTAL = application("portal", acts_for=["sip:*@example.com"], auth_tokens=["0123456789abcdef"])
PEOPLE = [
    {"uri": ALICE, "aliases": ["tel:+15550100", "mailto:asmith@example.com", "webex:Y2lz"]},
    {"uri": BOB, "aliases": ["mailto:bjones@example.com"]},
]
JWT = {"issuer": "https://login.example.com", "audience": "sipbridge", "application": "app_portal"}


def key_set() -> bytes:
    key = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return json.dumps({"keys": [{**key, "kid": "k1", "use": "sig"}]}).encode()


def signed(person: str, **more: object) -> str:
    claims = {
        "iss": JWT["issuer"],
        "aud": "sipbridge",
        "sub": person,
        "exp": time.time() + 60,
        **more,
    }
    return jwt.encode(claims, KEY, "ES256", headers={"kid": "k1"})


class Person(Application):
    """Somebody who brings a token instead of a password."""

    def __init__(self, base: str, token: str) -> None:
        super().__init__(base, "nobody")
        self.http.headers["Authorization"] = f"Bearer {token}"


@contextlib.asynccontextmanager
async def person(base: str, token: str) -> AsyncIterator[Person]:
    made = Person(base, token)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set())
    return path


async def test_a_signed_token_is_its_person_and_nobody_else(key_file: Path) -> None:
    auth = {"jwt": {**JWT, "keys_file": str(key_file)}}
    wanted = settings(auth=auth, applications=[PORTAL, application("bob")], identities=PEOPLE)
    async with site(wanted) as there, person(there.base, signed("asmith@example.com")) as alice:
        await alice.publish(Activity="Meeting")
        bob = there.application("bob")
        await bob.subscribe("tel:+15550100")
        assert list(await alice.open_subscriptions()) == [BOB]
        await alice.grant_all("mailto:bjones@example.com")
        status, answer = await until(
            lambda: bob.presence("tel:%2B15550100"), lambda got: got[0] == 200 and got[1]["result"]
        )
        assert values(answer["result"])["Activity"] == "Meeting"
        # Not as somebody else, and not what belongs to the whole application.
        publication = {"presence": attributes(Activity="Busy")}
        for wrong in (CAROL, BOB):
            headers = {"X-Presence-Identity": wrong}
            status, answer = await alice.ask("PUT", f"{REST}/presence", publication, **headers)
            assert (status, answer["error"]["variables"]) == (403, ["identity"])
        headers = {"X-Presence-Identity": "tel:+15550100"}
        assert (await alice.ask("PUT", f"{REST}/presence", publication, **headers))[0] == 204
        assert (await alice.ask("GET", f"{REST}/events"))[0] == 403
        hello = await alice.message(
            "/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"]
        )
        assert hello["successful"] is False


@pytest.mark.parametrize(
    "token",
    [
        "wrong",
        signed("sip:mallory@example.net"),
        signed("sip:alice@example.com", aud="other"),
        jwt.encode({"sub": ALICE}, "x" * 32, "HS256"),
    ],
)
async def test_what_proves_nobody_is_refused_in_so_many_words(key_file: Path, token: str) -> None:
    auth = {"jwt": {**JWT, "keys_file": str(key_file)}}
    async with (
        site(auth=auth, applications=[PORTAL]) as there,
        person(there.base, token) as nobody,
    ):
        status, answer = await nobody.ask("GET", f"{REST}/subscription?status=open")
        assert (status, answer["error"]["variables"]) == (401, ["401"])
        assert "invalid_token" in nobody.headers["WWW-Authenticate"]


async def test_a_stream_ends_with_the_token_that_opened_it_also_by_a_ticket(key_file: Path) -> None:
    auth = {"jwt": {**JWT, "keys_file": str(key_file), "leeway": 0}}
    end = int(time.time()) + 3
    async with (
        site(auth=auth, applications=[PORTAL]) as there,
        person(there.base, signed(ALICE, exp=end)) as alice,
        aiohttp.ClientSession() as page,
    ):
        url = f"{there.base}/webex/people/presences"
        given = await ticket(alice)
        async with (
            alice.http.get(f"{url}/events") as one,
            page.ws_connect(f"{url}/stream?ticket={given}") as other,
        ):
            assert b"retry" in await asyncio.wait_for(one.read(), PATIENCE)
            assert (await other.receive(timeout=PATIENCE)).type is aiohttp.WSMsgType.CLOSE
            assert time.time() >= end - 0.1
        assert (await alice.ask("POST", "/auth/tickets"))[0] == 401


async def test_one_person_does_not_end_what_another_started(key_file: Path) -> None:
    auth = {"jwt": {**JWT, "keys_file": str(key_file)}}
    async with (
        site(auth=auth, applications=[PORTAL]) as there,
        person(there.base, signed(ALICE)) as alice,
        person(there.base, signed(BOB)) as bob,
    ):
        channel = {"correlator": "w-1", "endpoint": "/bayeux/app_portal/presence"}
        await alice.rest(
            "POST", "/subscription", {"application": "x", "presentity": ALICE, "reference": channel}
        )
        start = {"presentity": ALICE, "reference": channel, "checkImmediate": True}
        await alice.rest(
            "PUT", "/notification", {**start, "frequency": {"metric": "Second", "units": 1}}
        )
        assert (await bob.ask("DELETE", f"{REST}/notification/w-1"))[0] == 400
        assert (await alice.ask("DELETE", f"{REST}/notification/w-1"))[0] == 204


async def test_tokens_of_the_configuration() -> None:
    tokens = [{"token": "fedcba9876543210", "application": "app_portal", "identity": CAROL}]
    async with (
        site(applications=[PORTAL], tokens=tokens) as there,
        person(there.base, "0123456789abcdef") as portal,
        person(there.base, "fedcba9876543210") as carol,
    ):
        publication = {"presence": attributes(Activity="Busy")}
        headers = {"X-Presence-Identity": BOB}
        assert (await portal.ask("PUT", f"{REST}/presence", publication, **headers))[0] == 204
        assert (await carol.ask("PUT", f"{REST}/presence", publication, **headers))[0] == 403
        assert (await carol.ask("PUT", f"{REST}/presence", publication))[0] == 204
        stored = {key[1] for key in there.bridge.graph.gateway.registry.published}  # type: ignore[union-attr]
        assert stored == {BOB, CAROL}


async def test_keys_by_url_are_fetched_when_the_issuer_changes_them() -> None:
    asked: list[str] = []
    answers: dict[str, tuple[int, bytes]] = {"/keys": (200, key_set())}

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        status, body = answers.get(request.path, (404, b""))
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        port = runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}/keys"
        auth = {"jwt": {**JWT, "keys_url": url}}
        async with (
            site(auth=auth, applications=[PORTAL]) as there,
            person(there.base, signed(ALICE)) as alice,
        ):
            for _ in range(3):
                await alice.open_subscriptions()
            assert asked == ["/keys"]
        answers["/long"] = (200, b"x" * (MAX_BYTES + 1))
        for path, why in (("/long", "more than"), ("/absent", "404")):
            with pytest.raises(OSError, match=why):
                await from_url(f"http://127.0.0.1:{port}{path}")()
    finally:
        await runner.cleanup()
    with pytest.raises(OSError, match="127.0.0.1"):
        await from_url(url)()


async def test_a_key_file_is_read_as_it_is_at_the_moment(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    read = from_file(path)
    with pytest.raises(OSError, match="No such file"):
        await read()
    path.write_bytes(b"one")
    assert await read() == b"one"
    path.write_bytes(b"two")
    assert await read() == b"two"


async def ticket(owner: Application, **headers: str) -> str:
    status, answer = await owner.ask("POST", "/auth/tickets", **headers)
    assert (status, answer["expiresIn"]) == (200, 30)
    found: str = answer["ticket"]
    return found


async def test_a_page_opens_a_stream_with_a_ticket_and_only_once() -> None:
    async with site() as there, aiohttp.ClientSession() as page:
        bob = there.application("bob")
        url = f"{there.base}{REST}/events?ticket={await ticket(bob)}"
        async with page.get(url) as stream:
            assert stream.status == 200
            await bob.subscribe("sip:bob@example.com")
            async with asyncio.timeout(PATIENCE):
                text = ""
                while "notifySubscription" not in text:
                    text += (await stream.content.readline()).decode()
        async with page.get(url) as stream:
            assert stream.status == 401
        async with page.post(f"{there.base}/auth/tickets") as got:
            assert got.status == 401
        status, _ = await bob.ask("GET", "/auth/tickets")
        assert status == 405
        assert (await bob.ask("POST", "/auth/tickets/x"))[0] == 404
        # A ticket is for streams, not for operations.
        headers = {"Authorization": f"Ticket {await ticket(bob)}"}
        got = await page.get(f"{there.base}{REST}/subscription?status=open", headers=headers)
        assert got.status == 401


async def test_a_page_opens_bayeux_over_websocket_with_a_ticket() -> None:
    async with site() as there, aiohttp.ClientSession() as page:
        bob = there.application("bob")
        hello = {"channel": "/meta/handshake", "version": "1.0"}
        hello["supportedConnectionTypes"] = ["websocket"]  # type: ignore[assignment]

        async def greeted(query: str) -> Any:
            async with page.ws_connect(f"{there.base}{REST}/notifications{query}") as socket:
                await socket.send_json([hello])
                return (await socket.receive_json(timeout=PATIENCE))[0]

        given = await ticket(bob)
        assert (await greeted(f"?ticket={given}"))["successful"] is True
        assert (await greeted(f"?ticket={given}"))["successful"] is False
        assert (await greeted(""))["successful"] is False


async def test_answers_use_the_name_that_was_asked_with() -> None:
    async with site(identities=PEOPLE) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await alice.publish(Activity="Meal")
        await bob.subscribe("mailto:asmith@example.com")
        await alice.grant_all(BOB)
        await bob.listen()
        assert await bob.start("mailto:asmith@example.com") == []
        while "presentity" not in (told := await bob.inbox.get()).get("statusChanged", {}):
            pass
        assert told["statusChanged"]["presentity"] == "mailto:asmith@example.com"
        phone = await there.phone("alice")
        assert phone is not None  # the network knows her by her address only
        assert {key[2] for key in there.bridge.graph.network.watches} >= {ALICE}  # type: ignore[union-attr]
