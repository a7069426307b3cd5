"""BEMS presence lookup as a client sees it: lists of contacts over real HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sipbridge.gateway.contact_lists import ListLimits
from tests.app.rig import PATIENCE, Application, Site, application, attributes, site, until
from tests.rest.devices import LOOKUP, token_of

Json = Any
NAMES = ("alice", "bob", "carol")
KEY = "320ac69e-b8c2-11e6-80f5-000000000000"
DEVICE = "0b8e6c1e-2f0f-4f3f-9a53-111111111111"


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    applications = [application(name, auth_tokens=[token_of(name)]) for name in NAMES]
    agent = {"sub_handling": "allow"}
    bems = {"max_contacts": 10}
    async with site(applications=applications, agent=agent, bems=bems) as made:
        yield made


class Puller:
    """The client of the sample: its headers, its two requests."""

    def __init__(self, base: str, name: str = "bob", **headers: str) -> None:
        self.base = base
        given = {"X-Good-GD-AuthToken": token_of(name), "X-Good-DeviceId": DEVICE}
        given |= {"X-Good-Presence-Version": "1.0.0", "Accept": "application/json"} | headers
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        self.http = aiohttp.ClientSession(headers=given, timeout=timeout)

    async def post(self, body: Json) -> tuple[int, Json]:
        async with self.http.post(self.base + LOOKUP, json=body) as answer:
            return answer.status, await answer.json()

    async def subscribe(self, *contacts: str, notify: str = KEY) -> Json:
        status, answer = await self.post({"contacts": contacts, "notify": notify})
        assert status == 200, answer
        assert answer.keys() == {"contacts", "sequence"} and isinstance(answer["sequence"], str)
        return answer

    async def get(self, notify: str = KEY, **query: str) -> tuple[int, Json]:
        url = f"{self.base}{LOOKUP}/{notify}"
        async with self.http.get(url, params=query) as answer:
            return answer.status, await answer.json()

    async def pull(self, **query: str) -> Json:
        status, answer = await self.get(**query)
        assert status == 200, answer
        return answer


@pytest.fixture
async def bob(here: Site) -> AsyncIterator[Puller]:
    made = Puller(here.base)
    yield made
    await made.http.close()


async def publish(here: Site, name: str, activity: str) -> None:
    await person(here, name).rest("PUT", "/presence", {"presence": attributes(Activity=activity)})


def person(here: Site, name: str) -> Application:
    return next((a for a in here.there if a.name == name), None) or here.application(name)


async def test_the_example_is_answered_as_it_prints(here: Site, bob: Puller) -> None:
    await publish(here, "alice", "Busy")
    await publish(here, "carol", "PermanentAbsence")
    answer = await bob.subscribe("alice@example.com", "carol@example.com")
    assert answer["contacts"] == [
        {"id": "alice@example.com", "availability": 6000},
        {"id": "carol@example.com", "availability": 18000},
    ]
    await publish(here, "carol", "Available")

    async def changed() -> Json:
        return await bob.pull(sequence=answer["sequence"])

    news = await until(changed, lambda got: got["contacts"])
    assert news["contacts"] == [{"id": "carol@example.com", "availability": 3500}]
    assert int(news["sequence"]) > int(answer["sequence"])
    assert await bob.pull(sequence=news["sequence"]) == {**news, "contacts": []}
    whole = await bob.pull()
    assert [c["availability"] for c in whole["contacts"]] == [6000, 3500]


CODES = {
    "Available": 3500,
    "Busy": 6000,
    "DoNotDisturb": 9000,
    "Meal": 12000,
    "Away": 15500,
    "PermanentAbsence": 18000,
}


async def test_exactly_the_seven_codes(here: Site, bob: Puller) -> None:
    seen = await bob.subscribe("alice@example.com", "nobody@elsewhere.example", "no address at all")
    assert [c["availability"] for c in seen["contacts"][1:]] == [-1, -1]
    for activity, code in CODES.items():
        await publish(here, "alice", activity)

        async with asyncio.timeout(PATIENCE):
            while (await bob.pull())["contacts"][0]["availability"] != code:
                pass


async def test_the_list_is_replaced_and_an_empty_one_ends_it(here: Site, bob: Puller) -> None:
    registry = here.graph.gateway.registry if here.graph else None
    assert registry is not None
    await bob.subscribe("alice@example.com", "carol@example.com")
    assert registry.live["app_bob"] == 2
    answer = await bob.subscribe("carol@example.com", "Carol@Example.com")
    assert [c["id"] for c in answer["contacts"]] == ["carol@example.com", "Carol@Example.com"]
    watched = {pair[1] for pair in registry.subscriptions}
    assert "sip:alice@example.com" not in watched and "sip:carol@example.com" in watched
    answer = await bob.subscribe()
    assert answer["contacts"] == []
    assert (await bob.get())[0] == 404
    assert registry.live["app_bob"] == 0
    assert (await bob.subscribe(notify="never heard of"))["contacts"] == []


async def test_a_list_belongs_to_whoever_made_it(here: Site, bob: Puller) -> None:
    await bob.subscribe("alice@example.com")
    carol = Puller(here.base, "carol")
    assert (await carol.get())[0] == 404
    answer = await carol.subscribe("bob@example.com")
    assert [c["id"] for c in answer["contacts"]] == ["bob@example.com"]
    assert [c["id"] for c in (await bob.pull())["contacts"]] == ["alice@example.com"]
    await carol.http.close()


async def test_somebody_who_never_said_anything_is_unknown(here: Site, bob: Puller) -> None:
    answer = await bob.subscribe("carol@example.com")
    assert answer["contacts"] == [{"id": "carol@example.com", "availability": -1}]


async def test_a_list_that_nobody_pulls_expires(here: Site, bob: Puller) -> None:
    graph = here.graph
    assert graph is not None
    lists = graph.doors.bems.lists
    lists.limits = ListLimits(expiry=0.5)
    await bob.subscribe("alice@example.com")

    async def there() -> int:
        async with aiohttp.ClientSession() as anybody:  # something to wait for that is no pull
            await (await anybody.get(here.base + "/health/live")).read()
        return len(lists.lists)

    assert await until(there, lambda count: not count) == 0
    assert (await bob.get())[0] == 404
    assert graph.gateway.registry.live["app_bob"] == 0


async def test_credentials_and_mistakes(here: Site, bob: Puller) -> None:
    async with aiohttp.ClientSession() as anybody:
        for headers in ({}, {"X-Good-GD-AuthToken": "nonsense-nonsense-nonsense"}):
            url = here.base + LOOKUP
            async with anybody.post(url, json={}, headers=headers) as answer:
                assert answer.status == 401
        proof = base64.b64encode(b"app_bob:secret-bob").decode()
        given = {"Authorization": f"Basic {proof}"}
        body = {"contacts": [], "notify": "k"}
        async with anybody.post(here.base + LOOKUP, json=body, headers=given) as answer:
            assert answer.status == 200
    wrong_bodies: list[Json] = [
        {},
        [],
        {"contacts": "alice@example.com", "notify": "k"},
        {"contacts": [5], "notify": "k"},
        {"contacts": [""], "notify": "k"},
        {"contacts": ["a@b"]},
        {"contacts": ["a@b"], "notify": ""},
        {"contacts": ["a@b"], "notify": "a\nb"},
        {"contacts": [f"u{n}@example.com" for n in range(11)], "notify": "k"},
    ]
    for body in wrong_bodies:
        assert (await bob.post(body))[0] == 400, body
    await bob.subscribe("alice@example.com")
    for wrong in ("x", "-1", str(2**53)):
        assert (await bob.get(sequence=wrong))[0] == 400
    async with bob.http.delete(here.base + LOOKUP) as answer:
        assert answer.status == 405
    async with bob.http.get(here.base + "/presence/elsewhere") as answer:
        assert answer.status == 404


async def test_who_is_blocked_sees_an_unknown_contact(here: Site, bob: Puller) -> None:
    await publish(here, "alice", "Busy")
    assert (await bob.subscribe("alice@example.com"))["contacts"][0]["availability"] == 6000
    status, _ = await person(here, "alice").ask(
        "DELETE", "/rest/presence/subscription/sip:bob@example.com"
    )
    assert status == 204
    (contact,) = (await bob.pull())["contacts"]
    assert contact == {"id": "alice@example.com", "availability": -1}
