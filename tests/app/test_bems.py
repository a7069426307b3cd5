"""The BEMS fronts inside a whole bridge: pushes, quotas, limits, applications that come and go, metrics."""

import asyncio
from typing import Any

import pytest

from sipbridge.app.bems import FRONT
from tests.app.rig import (
    Site,
    application,
    attributes,
    document,
    presence_server,
    remote,
    site,
    until,
)
from tests.app.test_admin import ADMIN, Operator
from tests.rest.devices import LOOKUP, NOTIFICATIONS, call, device, token_of
from tests.webhooks.receivers import receiver

Json = Any
ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
OPEN = {"sub_handling": "allow"}


def applications(**more: object) -> list[dict[str, object]]:
    names = ("alice", "bob")
    return [application(name, auth_tokens=[token_of(name)], **more) for name in names]


async def publish(here: Site, name: str, activity: str) -> None:
    one = here.application(name)
    await one.rest("PUT", "/presence", {"presence": attributes(Activity=activity)})


# --- pushes -------------------------------------------------------------------------------------------


async def test_a_client_with_a_push_token_is_woken_with_a_key_and_no_data() -> None:
    async with receiver() as server:
        bems = {"wake_url": server.url("/wake?app=x"), "wake_interval": 0.2}
        async with (
            site(applications=applications(), agent=OPEN, bems=bems) as here,
            device(here.base) as phone,
        ):
            await phone.begin(gnpToken="channel-1")
            await phone.register(ALICE)
            del server.got[:]
            await publish(here, "alice", "Busy")
            (wake, *_) = await server.until(1)
            assert wake.path == "/wake?app=x"
            assert wake.json == {"key": "notifications", "token": "channel-1"}
            assert b"alice" not in wake.body and b"busy" not in wake.body
            await phone.contact(ALICE, "busy")

            body = {"contacts": ["alice@example.com"], "notify": "my-key"}
            given = {"X-Good-GD-AuthToken": token_of("bob"), "X-Good-GNP-Token": "channel-2"}
            async with phone.http.post(here.base + LOOKUP, json=body, headers=given) as got:
                assert got.status == 200
            await publish(here, "alice", "Away")
            wanted = {"key": "my-key", "token": "channel-2"}

            async def woken() -> list[Json]:
                await asyncio.wait_for(server.news.wait(), 8.0)
                return [wake.json for wake in server.got]

            assert wanted in await until(woken, lambda bodies: wanted in bodies)


async def test_a_push_that_fails_harms_nobody() -> None:
    async with receiver(500, 404) as server:
        bems = {"wake_url": server.url(), "wake_interval": 0.05}
        async with (
            site(applications=applications(), agent=OPEN, bems=bems) as here,
            device(here.base) as phone,
        ):
            await phone.begin(gnpToken="channel-1")
            await phone.say("p", "Ping")
            await server.until(1)
            await phone.completed("p")


# --- quotas and limits --------------------------------------------------------------------------------


async def test_quotas_bind_here_too() -> None:
    limits = {"max_subscriptions": 1}
    bems = {"max_sessions": 1}
    async with (
        site(applications=applications(), agent=OPEN, limits=limits, bems=bems) as here,
        device(here.base) as phone,
        device(here.base) as other,
    ):
        await phone.begin()
        await phone.register(ALICE)
        await phone.say("c1", "RegisterTempRemotePresence", contactId=CAROL)
        assert (await phone.answer_to("c1"))["error"]["code"] == 1018
        token = token_of("bob")
        assert await other.refused("c2", "BeginSession", gdAuthToken=token) == 1018
        given = {"X-Good-GD-AuthToken": token}
        body = {"contacts": ["alice@example.com", "carol@example.com"], "notify": "k"}
        async with phone.http.post(here.base + LOOKUP, json=body, headers=given) as got:
            answer = await got.json()
        assert [c["availability"] for c in answer["contacts"]] == [-1, -1]


async def test_too_many_requests_are_429_with_whatever_proves_the_caller() -> None:
    limits = {"requests_per_second": 3}
    async with site(applications=applications(), limits=limits) as here, device(here.base) as phone:
        await phone.post(call("b", "BeginSession", gdAuthToken=token_of("bob")))
        statuses = [(await phone.post(call(f"p{n}", "Ping")))[0] for n in range(6)]
        assert 429 in statuses and statuses[0] == 200
    async with site(applications=applications(), limits=limits) as here, device(here.base) as phone:
        await phone.post(call("b", "BeginSession", gdAuthToken=token_of("bob")))
        batch = [call(f"p{n}", "Ping") for n in range(4)]
        assert (await phone.post(batch))[0] == 429, "a batch counts as what is in it"


async def test_a_long_poll_and_a_stream_end_when_the_bridge_stops() -> None:
    async with site(applications=applications()) as here, device(here.base) as phone:
        await phone.begin()
        await phone.poll(phone.after, 0)
        held = asyncio.create_task(phone.poll(phone.after))
        async with phone.events() as events:
            graph = here.graph
            assert graph is not None
            readers = graph.doors.bems.readers
            while len(readers.open) < 2:
                await phone.http.get(here.base + "/health/live")
            readers.stop()
            assert await events.ended()
        assert (await held)[1]["notifications"] == []


async def test_the_oldest_reader_of_a_session_gives_way() -> None:
    async with site(applications=applications()) as here, device(here.base) as phone:
        await phone.begin()
        held = [asyncio.create_task(phone.poll(phone.after)) for _ in range(9)]
        done, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        (first,) = done
        assert first.result()[1]["notifications"] == []
        await phone.say("p", "Ping")
        await asyncio.gather(*held)


# --- applications that come and go --------------------------------------------------------------------


async def test_sessions_and_lists_end_with_the_application_and_its_identities() -> None:
    async with site(admin=ADMIN, agent=OPEN) as here:
        boss = Operator(here.base)
        here.there.append(boss)
        graph = here.graph
        assert graph is not None
        made = {"id": "app_dave", "password": "secret-dave", "uri": "sip:dave@example.com"}
        made |= {"acts_for": [CAROL]}  # type: ignore[dict-item]
        assert (await boss.ask("POST", "/admin/applications", made))[0] == 201
        async with (
            device(here.base, "dave", basic=True) as own,
            device(here.base, "dave", basic=True) as other,
        ):
            other.http.headers["X-Presence-Identity"] = CAROL
            for phone in (own, other):
                answer = await phone.say("c1", "BeginSession")
                assert answer["error"] is None
                await phone.completed("c1")
                await phone.register(ALICE)
                body = {"contacts": ["bob@example.com"], "notify": "k"}
                async with phone.http.post(here.base + LOOKUP, json=body) as got:
                    assert got.status == 200
            side = graph.doors.bems
            assert (len(side.remote.sessions), len(side.lists.lists)) == (2, 2)
            await boss.ask("PATCH", "/admin/applications/app_dave", {"acts_for": []})
            assert (len(side.remote.sessions), len(side.lists.lists)) == (1, 1)
            assert (await own.say("c2", "Ping"))["error"] is None
            assert (await boss.ask("DELETE", "/admin/applications/app_dave"))[0] == 204
            assert (len(side.remote.sessions), len(side.lists.lists)) == (0, 0)
            assert (await own.post(call("c3", "Ping")))[0] == 401
        records = graph.gateway.registry.subscriptions.values()
        assert not [r for one in records for r in one.values() if r.front == FRONT]


# --- remote presence servers --------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [(403, 1020), (404, 1020), (603, 1020), (500, 1019)])
async def test_what_a_remote_server_says_is_told(status: int, code: int) -> None:
    async with presence_server() as server:
        server.refuse["SUBSCRIBE"] = status
        async with (
            site(applications=applications(), presence_server=remote(server)) as here,
            device(here.base) as phone,
        ):
            await phone.begin()
            await phone.say("c1", "RegisterTempRemotePresence", contactId="sip:x@far.example")
            assert (await phone.answer_to("c1"))["error"]["code"] == code


async def test_what_happens_is_counted() -> None:
    async with site(applications=applications(), agent=OPEN) as here, device(here.base) as phone:
        await phone.begin()
        await phone.register(ALICE)
        await phone.refused("c1", "AcceptChat")
        await phone.refused("c2", "FlyToTheMoon")
        text = await here.application("alice").text("/metrics")
        for line in (
            'sipbridge_bems_requests_total{code="0",method="BeginSession"} 1.0',
            'sipbridge_bems_requests_total{code="1026",method="AcceptChat"} 1.0',
            'sipbridge_bems_requests_total{code="-32601",method="none"} 1.0',
            "sipbridge_bems_sessions 1.0",
            "sipbridge_bems_registrations 1.0",
        ):
            assert line in text.splitlines(), line


async def test_a_person_s_token_opens_that_person_s_session_only() -> None:
    tokens = [{"token": "carol-s-own-token-0123", "application": "app_alice", "identity": CAROL}]
    tree = applications()
    tree[0] |= {"acts_for": [CAROL]}
    async with site(applications=tree, tokens=tokens) as here, device(here.base) as phone:
        answer = await phone.say("c1", "BeginSession", gdAuthToken="carol-s-own-token-0123")
        assert answer["error"] is None
        assert (await phone.completed("c1"))["userId"] == CAROL
        given = {"X-Presence-Identity": ALICE}
        begin = call("c2", "BeginSession", gdAuthToken="carol-s-own-token-0123")
        assert (await phone.post(begin, **given))[1]["error"]["code"] == 1013


async def test_whoever_has_several_names_is_told_of_under_the_one_that_was_used() -> None:
    names = ["tel:+15550100", "mailto:asmith@example.com"]
    identities = [{"uri": ALICE, "aliases": names}]
    async with (
        site(applications=applications(), agent=OPEN, identities=identities) as here,
        device(here.base) as phone,
    ):
        await phone.begin()
        await publish(here, "alice", "Busy")
        await phone.register("tel:+1-555-0100")
        assert (await phone.contact("tel:+1-555-0100", "busy"))["availability"] == 6000
        await phone.say("q", "GetContactsState", contactIds=["asmith@example.com", *names])
        contacts = (await phone.completed("q"))["contacts"]
        assert [c["contactId"] for c in contacts] == ["asmith@example.com", *names]
        assert [c["availability"] for c in contacts] == [6000] * 3
        body = {"contacts": ["asmith@example.com", "alice@example.com"], "notify": "k"}
        given = {"X-Good-GD-AuthToken": token_of("bob")}
        async with phone.http.post(here.base + LOOKUP, json=body, headers=given) as got:
            answer = await got.json()
        assert [c["availability"] for c in answer["contacts"]] == [6000, 6000]
        assert here.graph is not None
        assert here.graph.gateway.registry.live["app_bob"] == 1
        await phone.say("u", "UnRegisterTempRemotePresence", contactId=ALICE)
        await phone.completed("u")
        await publish(here, "alice", "Away")
        await phone.say("p", "Ping")
        assert "id" in await phone.message(), "one person, whatever name is used"


async def test_a_session_may_begin_with_a_bearer_token() -> None:
    async with site(applications=applications()) as here, device(here.base) as phone:
        given = {"Authorization": f"Bearer {token_of('bob')}"}
        _, answer = await phone.post(call("c1", "BeginSession"), **given)
        assert answer["error"] is None
        wrong = {"Authorization": "Bearer nonsense-nonsense-nonsense"}
        assert (await phone.post(call("c1", "BeginSession"), **wrong))[0] == 401


# --- a presence server that does not answer -----------------------------------------------------------


async def test_what_may_be_old_is_called_so_by_a_header_and_the_bodies_stay_as_they_are() -> None:
    async with (
        presence_server() as server,
        site(
            applications=applications(), peers={"probe": 1.0}, presence_server=remote(server)
        ) as here,
        device(here.base) as phone,
    ):
        headers = {"X-Good-GD-AuthToken": token_of("bob")}
        wanted = {"contacts": ["carol@example.com", "nobody@example.org"], "notify": "k"}

        async def ask(method: str, path: str, body: Json = None) -> tuple[Json, bool]:
            """The answer, and whether it may be old."""
            asked = phone.http.request(method, here.base + path, json=body, headers=headers)
            async with asked as got:
                assert got.status == 200
                stale = got.headers.get("X-Presence-Stale")
                assert stale in (None, "true")
                return await got.json(), stale == "true"

        async def pull() -> tuple[Json, bool]:
            return await ask("GET", f"{LOOKUP}/k")

        async def poll() -> tuple[Json, bool]:
            return await ask("GET", f"{NOTIFICATIONS}?wait=0")

        await phone.begin()
        await phone.register(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await phone.contact(CAROL, "busy")
        answer, stale = await ask("POST", LOOKUP, wanted)
        assert not stale
        assert not (await poll())[1]
        server.silent = {"OPTIONS", "SUBSCRIBE"}
        old, _ = await until(pull, lambda got: got[1])
        assert old["contacts"] == answer["contacts"]
        assert old["contacts"][0] == {"id": "carol@example.com", "availability": 6000}
        assert (await ask("POST", LOOKUP, wanted))[1]
        messages, stale = await poll()
        assert stale and messages.keys() == {"notifications", "sequence"}
        empty = {"contacts": ["nobody@example.org"], "notify": "other"}
        assert not (await ask("POST", LOOKUP, empty))[1]
        server.silent = set()
        await server.subscription(CAROL, index=1)
        server.notify(asked, document("meeting"))
        await until(pull, lambda got: not got[1])
        assert not (await poll())[1]
