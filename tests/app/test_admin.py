"""The operator on a running bridge: decisions for anybody, applications at run time, closed pages."""

import asyncio
import base64
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import argon2
import pytest

from sipbridge.app.settings import Settings
from sipbridge.errors import ConfigurationError
from sipbridge.events.subscriber import Notified
from sipbridge.uri import Uri
from tests.app.rig import (
    KINDS,
    REST,
    Application,
    Site,
    attributes,
    kept,
    presence_server,
    remote,
    settings,
    site,
    until,
)
from tests.harness.ports import free_port

PASSWORD = "let me in"
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
ADMIN = {"password_hash": HASH}
ALICE, BOB, CAROL, DAVE = (f"sip:{n}@example.com" for n in ("alice", "bob", "carol", "dave"))


class Operator(Application):
    """The operator, with an HTTP client of its own."""

    def __init__(self, base: str) -> None:
        super().__init__(base, "operator")
        token = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        self.http.headers["Authorization"] = f"Basic {token}"

    async def watchers_of(self, presentity: str) -> dict[str, Any]:
        status, answer = await self.ask("GET", f"/admin/presentities/{presentity}/watchers")
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    async def decide_for(self, presentity: str, watcher: str, **decisions: bool) -> None:
        listed = [{"presenceAttribute": k, "decision": d} for k, d in decisions.items()]
        path = f"/admin/presentities/{presentity}/watchers/{watcher}"
        status, answer = await self.ask("PUT", path, {"decisions": listed})
        assert status == 204, answer

    async def add(self, name: str, **more: object) -> dict[str, Any]:
        body = {"id": f"app_{name}", "uri": f"sip:{name}@example.com", **more}
        body.setdefault("password", f"secret-{name}")
        status, answer = await self.ask("POST", "/admin/applications", body)
        assert status == 201, answer
        made: dict[str, Any] = answer
        return made

    async def change(self, name: str, **more: object) -> dict[str, Any]:
        status, answer = await self.ask("PATCH", f"/admin/applications/app_{name}", more)
        assert status == 200, answer
        made: dict[str, Any] = answer
        return made

    async def remove(self, name: str) -> None:
        status, answer = await self.ask("DELETE", f"/admin/applications/app_{name}")
        assert status == 204, answer


def operator(there: Site) -> Operator:
    made = Operator(there.base)
    there.there.append(made)
    return made


@pytest.fixture
async def there() -> AsyncIterator[Site]:
    async with site(admin=ADMIN) as made:
        yield made


# --- who the operator is


async def test_without_a_password_there_is_no_operator() -> None:
    async with site() as there:
        for path in ("/admin", "/admin/", "/admin/applications", "/admin/anything"):
            status, answer = await operator(there).ask("GET", path)
            assert (status, answer["error"]["messageId"]) == (404, "SVC0002")


async def test_an_application_is_no_operator(there: Site) -> None:
    for path in ("/admin/applications", "/admin/anything"):
        status, _ = await there.application("alice").ask("GET", path)
        assert status == 401
        async with aiohttp.request("GET", there.base + path) as answer:
            assert answer.status == 401
            assert "operator" in answer.headers["WWW-Authenticate"]
    status, _ = await operator(there).ask("GET", REST + "/subscription?status=open")
    assert status == 401  # nor is the operator an application


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "/presentities", 404),
        ("GET", "/presentities//watchers", 404),
        ("POST", f"/presentities/{ALICE}/watchers", 405),
        ("GET", f"/presentities/{ALICE}/watchers/{BOB}", 405),
        ("PUT", "/applications", 405),
        ("GET", "/applications/app_nobody", 404),
        ("DELETE", "/applications/app_nobody", 404),
        ("GET", "/presentities/nonsense/watchers", 400),
        ("GET", "/presentities/tel:+1555/watchers", 400),
        ("GET", "/presentities/sip:a@elsewhere.example/watchers", 400),
    ],
)
async def test_other_doors_are_closed(there: Site, method: str, path: str, status: int) -> None:
    body: object = {} if method in ("PUT", "POST") else None
    got, answer = await operator(there).ask(method, "/admin" + path, body)
    assert got == status, answer
    assert answer["error"]["messageId"].startswith("SVC")


# --- decisions


async def test_a_person_with_only_a_phone_can_admit_somebody(there: Site) -> None:
    bob, boss = await there.application("bob").listen(), operator(there)
    phone = await there.phone("carol")
    await bob.subscribe(CAROL, "Activity", "Place")
    found = await boss.watchers_of(CAROL)
    assert found == {
        "open": [{"application": "Desk app", "attributes": ["Activity", "Place"], "watcher": BOB}],
        "watchers": [],
    }
    await boss.decide_for(CAROL, BOB, Activity=True, Place=False)
    told = await bob.told("notifySubscription")
    assert told["presentity"] == CAROL
    assert await boss.watchers_of(CAROL) == {"open": [], "watchers": [BOB]}
    status, _ = await boss.ask("DELETE", f"/admin/presentities/{CAROL}/watchers/{BOB}")
    assert status == 204
    assert (await bob.told("subscriptionEnded"))["reason"] == "Blocked"
    assert await boss.watchers_of(CAROL) == {"open": [], "watchers": []}
    assert phone is not None


async def test_a_watcher_with_only_a_phone_is_seen_and_admitted(there: Site) -> None:
    boss = operator(there)
    dave = await there.phone("dave")
    dave.subscribe(Uri.parse(CAROL))
    await dave.wait_for(lambda s: isinstance(s, Notified) and s.state == "pending", 5.0)
    found = await boss.watchers_of(CAROL)
    assert [w["watcher"] for w in found["open"]] == [DAVE]
    await boss.decide_for(CAROL, DAVE, **dict.fromkeys(KINDS, True))
    await dave.wait_for(lambda s: isinstance(s, Notified) and s.state == "active", 5.0)
    await until(lambda: boss.watchers_of(CAROL), lambda f: f == {"open": [], "watchers": [DAVE]})


async def test_a_stranger_is_no_watcher(there: Site) -> None:
    body = {"decisions": [{"presenceAttribute": "Activity", "decision": True}]}
    path = f"/admin/presentities/{CAROL}/watchers/{DAVE}"
    for method, given in (("PUT", body), ("DELETE", None)):
        status, answer = await operator(there).ask(method, path, given)
        assert (status, answer["error"]["messageId"]) == (400, "SVC0002")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "decisions"),
        ({"decisions": []}, "decisions"),
        ({"decisions": [{"presenceAttribute": "Mood", "decision": True}]}, "decisions[0]"),
        ({"decisions": [{"presenceAttribute": "Place", "decision": True}], "x": 1}, "x"),
        ([], "body"),
    ],
)
async def test_senseless_decisions_name_their_part(there: Site, body: object, part: str) -> None:
    path = f"/admin/presentities/{CAROL}/watchers/{DAVE}"
    status, answer = await operator(there).ask("PUT", path, body)
    assert status == 400
    assert answer["error"]["variables"][0].startswith(part)


# --- applications at run time


async def test_a_new_application_works_at_once(there: Site) -> None:
    boss, alice = operator(there), there.application("alice")
    made = await boss.add("carol")
    assert boss.headers["Location"] == "/admin/applications/app_carol"
    assert made == {
        "id": "app_carol",
        "uri": CAROL,
        "acts_for": [],
        "sip_username": "",
        "sip_realm": "",
        "has_sip_password": False,
        "webhooks": False,
        "disabled": False,
        "source": "provisioned",
        "registration": "",
    }
    carol = await there.application("carol").listen()
    await carol.subscribe(ALICE)
    await alice.decide(CAROL, Activity=True)
    assert (await carol.told("notifySubscription"))["presentity"] == ALICE
    await alice.publish(Activity="Meeting")
    assert await carol.start(ALICE) == []
    await carol.told_status(Activity="Meeting")
    listed = await boss.ask("GET", "/admin/applications")
    assert [a["id"] for a in listed[1]["result"]] == ["app_alice", "app_bob", "app_carol"]
    assert "secret" not in str(listed)


async def test_an_id_is_taken_once(there: Site) -> None:
    for name in ("alice", "carol"):
        if name == "carol":
            await operator(there).add("carol")
        body = {"id": f"app_{name}", "uri": DAVE, "password": "x"}
        status, answer = await operator(there).ask("POST", "/admin/applications", body)
        assert (status, answer["error"]["variables"]) == (409, ["exists"])


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"id": "a/b"}, "id"),
        ({"id": ""}, "id"),
        ({"uri": "mailto:a@example.com"}, "uri"),
        ({"uri": "nonsense"}, "uri"),
        ({"password": None}, "password"),
        ({"password": "x", "password_hash": HASH}, "password"),
        ({"password": None, "password_hash": "plain"}, "password_hash"),
        ({"acts_for": ["sip:*@*"]}, "acts_for"),
        ({"acts_for": "sip:*@example.com"}, "acts_for"),
        ({"disabled": "perhaps"}, "disabled"),
        ({"password_file": "/etc/passwd"}, "password_file"),
        ({"configured": True}, "configured"),
    ],
)
async def test_senseless_applications_name_their_part(
    there: Site, fields: dict[str, object], part: str
) -> None:
    body = {"id": "app_carol", "uri": CAROL, "password": "x", **fields}
    status, answer = await operator(there).ask("POST", "/admin/applications", body)
    assert status == 400
    assert answer["error"]["variables"][0].startswith(part)
    assert HASH not in str(answer)


async def test_a_new_password_ends_what_the_old_one_opened(there: Site) -> None:
    boss = operator(there)
    await boss.add("carol")
    carol = await there.application("carol").listen()
    stream = await carol.http.get(there.base + REST + "/events")
    await carol.watchers()
    await boss.change("carol", password="another")
    status, _ = await carol.ask("GET", REST + "/subscription?filter=watcher")
    assert status == 401
    await asyncio.wait_for(stream.content.read(), 5.0)  # to its end
    assert carol.polling is not None
    await asyncio.wait_for(asyncio.gather(carol.polling, return_exceptions=True), 5.0)
    status, _ = await carol.ask(
        "GET",
        REST + "/subscription?filter=watcher",
        Authorization=f"Basic {base64.b64encode(b'app_carol:another').decode()}",
    )
    assert status == 200


async def test_a_disabled_application_may_not_call_until_it_is_enabled(there: Site) -> None:
    boss, alice = operator(there), there.application("alice")
    await alice.publish(Activity="Meeting")
    assert (await boss.change("alice", disabled=True))["disabled"]
    status, _ = await alice.ask("GET", REST + "/subscription?filter=watcher")
    assert status == 401
    await boss.change("alice", disabled=False)
    await alice.subscribe(ALICE)
    _, answer = await alice.presence(ALICE)
    assert "Meeting" in str(answer)  # what it had went on


async def test_an_application_of_the_configuration_is_changed_there(there: Site) -> None:
    boss = operator(there)
    for method, body in (("PATCH", {"uri": CAROL}), ("DELETE", None)):
        status, answer = await boss.ask(method, "/admin/applications/app_alice", body)
        assert (status, answer["error"]["variables"]) == (403, ["configured"])


async def test_a_removed_application_leaves_nothing(there: Site) -> None:
    boss, alice, bob = operator(there), there.application("alice"), there.application("bob")
    await boss.add("carol")
    carol = there.application("carol")
    await carol.publish(Activity="Meeting")
    await carol.subscribe(ALICE)
    await alice.grant_all(CAROL)
    assert await carol.start(ALICE) == []
    await bob.subscribe(CAROL)
    await boss.decide_for(CAROL, BOB, Activity=True)
    await boss.remove("carol")
    status, _ = await carol.ask("GET", REST + "/subscription?filter=watcher")
    assert status == 401
    assert CAROL not in await alice.watchers()
    answer = await until(lambda: bob.presence(CAROL), lambda a: "Meeting" not in str(a[1]))
    assert answer[0] == 200
    # Whoever gets the name later finds nothing of the old tenant's.
    await boss.add("carol")
    again = await there.application("carol").listen()
    assert await again.start(ALICE) == [ALICE]
    assert again.inbox.empty()
    assert there.graph is not None
    assert there.graph.gateway.registry.live["app_carol"] == 0


async def test_a_new_identity_leaves_the_old_one_behind(there: Site) -> None:
    boss, alice = operator(there), there.application("alice")
    await boss.add("carol")
    carol = there.application("carol")
    await carol.subscribe(ALICE)
    await alice.grant_all(CAROL)
    assert CAROL in await alice.watchers()
    await boss.change("carol", uri=DAVE)
    await until(alice.watchers, lambda found: CAROL not in found)
    await carol.subscribe(ALICE)
    assert DAVE in await alice.open_subscriptions()


# --- coming back


def provisioned(folder: Path) -> Settings:
    return settings(admin=ADMIN, store=kept(folder))


async def test_what_was_provisioned_survives(tmp_path: Path) -> None:
    async with site(provisioned(tmp_path)) as there:
        boss = operator(there)
        await boss.add("carol", acts_for=["sip:team-*@example.com"], sip_password="carolpw")
        await boss.add("dave")
        await boss.remove("dave")
        await boss.change("bob", disabled=True)
        await there.application("carol").subscribe(ALICE)
        _, before = await boss.ask("GET", "/admin/applications")
    async with site(provisioned(tmp_path)) as there:
        boss, carol = operator(there), there.application("carol")
        _, after = await boss.ask("GET", "/admin/applications")
        assert after == before
        assert CAROL in await there.application("alice").open_subscriptions()
        assert await carol.watchers() == []
        for name in ("bob", "dave"):
            status, _ = await there.application(name).ask(
                "GET", REST + "/subscription?filter=watcher"
            )
            assert status == 401
        assert there.graph is not None
        assert there.graph.network.standing.credentials["app_carol"].password == "carolpw"


async def test_no_password_stands_in_the_state_file(tmp_path: Path) -> None:
    async with site(provisioned(tmp_path)) as there:
        await operator(there).add("carol", password="restpw", sip_password="carolpw")
    with sqlite3.connect(tmp_path / "state.db") as db:
        ((text,),) = db.execute("SELECT text FROM snapshots WHERE kind = 'application'").fetchall()
    db.close()
    assert "$argon2id$" in text
    assert "restpw" not in text and "carolpw" not in text
    key = tmp_path / "state.db.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    with pytest.raises(ConfigurationError, match=r"store\.key_file"):
        async with site(provisioned(tmp_path)):
            raise AssertionError("it started")


async def test_a_key_file_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    store = {**kept(tmp_path), "key_file": str(folder / "sip.key")}
    async with site(admin=ADMIN, store=store) as there:
        await operator(there).add("carol", sip_password="carolpw")
    assert (folder / "sip.key").exists()
    assert not (tmp_path / "state.db.key").exists()


# --- SIP


async def test_a_new_applications_sip_password_answers_the_servers_digest() -> None:
    async with (
        presence_server() as server,
        site(admin=ADMIN, presence_server=remote(server)) as there,
    ):
        await operator(there).add("carol", sip_password="carolpw", sip_username="c")
        asked = await server.subscription(CAROL, "presence.winfo")
        assert asked.get("event") == "presence.winfo"
        assert there.graph is not None
        assert there.graph.network.standing.credentials["app_carol"].username == "c"


async def test_a_new_applications_sip_password_opens_our_own_agent() -> None:
    port = free_port()
    sip = {"listen": [f"udp:127.0.0.1:{port}"], "domain": "example.com"}
    async with site(admin=ADMIN, sip=sip, agent={"authenticate": True}) as there:
        assert there.graph is not None
        await operator(there).add("carol", sip_password="carolpw")
        assert there.graph.directory.sip_secret("carol") == "carolpw"
        await operator(there).change("carol", sip_password=None)
        assert there.graph.directory.sip_secret("carol") is None


# --- acting for others


async def test_an_application_acts_for_whom_it_may(there: Site) -> None:
    boss, bob = operator(there), await there.application("bob").listen()
    await boss.add("front", acts_for=["sip:carol@example.com", "sip:team-*@example.com"])
    front = there.application("front")
    presence = REST + "/presence"
    body = {"presence": attributes(Activity="Meeting")}

    status, _ = await front.ask("PUT", presence, body, **{"X-Presence-Identity": CAROL})
    assert status == 204
    for name, said in ((DAVE, (403, "POL0001")), ("nonsense", (400, "SVC0002"))):
        status, answer = await front.ask("PUT", presence, body, **{"X-Presence-Identity": name})
        assert (status, answer["error"]["messageId"]) == said
    status, _ = await bob.ask("PUT", presence, body, **{"X-Presence-Identity": CAROL})
    assert status == 403

    await bob.subscribe(CAROL)
    listed = REST + "/subscription?status=open"
    _, own = await front.ask("GET", listed)
    assert own == {"result": []}
    _, carols = await front.ask("GET", listed, **{"X-Presence-Identity": CAROL})
    assert [w["watcher"] for w in carols["result"]] == [BOB]
    decisions = [{"presenceAttribute": "Activity", "decision": True}]
    given = {"watcher": BOB, "decisions": decisions}
    status, _ = await front.ask(
        "PUT", REST + "/subscription", given, **{"X-Presence-Identity": CAROL}
    )
    assert status == 204
    assert (await bob.told("notifySubscription"))["presentity"] == CAROL
    assert "Meeting" in str(await bob.presence(CAROL))


async def test_an_identity_it_acts_as_hears_of_watchers_with_only_a_phone(there: Site) -> None:
    await operator(there).add("front", acts_for=["sip:team-*@example.com"])
    front, dave = there.application("front"), await there.phone("dave")
    dave.subscribe(Uri.parse("sip:team-7@example.com"))
    await dave.wait_for(lambda s: isinstance(s, Notified), 5.0)

    async def waiting() -> list[str]:
        _, answer = await front.ask(
            "GET",
            REST + "/subscription?status=open",
            **{"X-Presence-Identity": "sip:team-7@example.com"},
        )
        return [w["watcher"] for w in answer["result"]]

    assert await until(waiting, lambda found: found) == [DAVE]


# --- closed pages and sessions


async def test_pages_can_be_the_operators_alone() -> None:
    closed = {"port": 0, "docs": "admin", "metrics": "admin"}
    async with site(admin=ADMIN, http=closed) as there:
        boss, alice = operator(there), there.application("alice")
        for path in ("/docs", "/openapi.json", "/metrics", REST + "/index.html", REST):
            for client, status in ((boss, 200), (alice, 401)):
                async with client.http.get(there.base + path) as answer:
                    assert answer.status == status, path
            async with aiohttp.request("GET", there.base + path) as answer:
                assert answer.status == 401
                assert "WWW-Authenticate" in answer.headers
        status, _ = await alice.ask("GET", "/health/live")
        assert status == 200


async def test_sessions_on_a_running_bridge() -> None:
    async with site(ocsg={"sessions": True, "session_lifetime": 60}) as there:
        alice = there.application("alice")
        path = REST + "/subscription?status=open"
        assert (await alice.ask("GET", path))[0] == 403
        async with alice.http.get(there.base + REST + "/events") as answer:
            assert answer.status == 403
        _, opened = await alice.ask("POST", "/rest/session_manager/sessions")
        session = opened["getSessionReturn"]
        assert (await alice.ask("GET", path, **{"X-Session-ID": session}))[0] == 200
        async with alice.http.get(there.base + REST + f"/events?sessionId={session}") as answer:
            assert answer.status == 200
        _, left = await alice.ask("GET", f"/rest/session_manager/session/{session}")
        assert 0 < int(left["getSessionRemainingLifeTimeReturn"]) <= 60_000
        _, openapi = await alice.ask("GET", "/openapi.json")
        assert "/rest/session_manager/sessions" in openapi["paths"]


async def test_without_sessions_there_is_no_session_manager() -> None:
    async with site() as there:
        status, _ = await there.application("alice").ask("POST", "/rest/session_manager/sessions")
        assert status == 404


async def test_presence_servers_are_shown_as_they_are() -> None:
    async with presence_server() as server:
        wanted = settings(admin=ADMIN, presence_server=remote(server), peers={"probe": 1.0})
        async with site(wanted) as here:
            operator = Operator(here.base)
            here.there.append(operator)
            status, answer = await operator.ask("GET", "/admin/peers")
            (peer,) = answer["result"]
            assert status == 200
            assert (peer["name"], peer["state"], peer["probed"]) == ("remote", "up", True)
            assert peer["seconds"] is None
            server.silent = {"OPTIONS"}
            server.got.clear()
            await until(
                lambda: operator.ask("GET", "/admin/peers"),
                lambda asked: asked[1]["result"][0]["state"] == "suspect",
            )
        assert server.requests("OPTIONS")


async def test_without_servers_of_others_there_are_none_to_show() -> None:
    async with site(admin=ADMIN) as here:
        operator = Operator(here.base)
        here.there.append(operator)
        assert await operator.ask("GET", "/admin/peers") == (200, {"result": []})
