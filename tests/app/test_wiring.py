"""Settings reach the parts they are for: each key is seen from outside, on a running bridge."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sipbridge.app.sip_client import SipClient
from sipbridge.app.wiring import CLIENT_ID_ALPHABET, CLIENT_ID_LENGTH, client_id
from sipbridge.cli.hash_password import hash_lines
from sipbridge.events.publisher import Published, PublishFailed
from sipbridge.events.resource_list import ListView
from sipbridge.events.subscriber import Notified
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from tests.app.rig import (
    PATIENCE,
    Application,
    application,
    attributes,
    document,
    presence_server,
    remote,
    site,
    until,
    values,
)

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))


async def asked(app: Application, **more: object) -> tuple[int, str]:
    """Status and fault of a Start Presence Notification."""
    body = {
        "presentity": ALICE,
        "reference": app.reference("w-1"),
        "frequency": {"metric": "Second", "units": 0},
        "checkImmediate": True,
        **more,
    }
    status, answer = await app.ask("PUT", "/rest/presence/notification", body)
    return status, answer.get("error", {}).get("messageId", "")


async def published(phone: SipClient, entity: str) -> Published | PublishFailed:
    phone.publish(document(entity=entity))
    said = await phone.wait_for(lambda s: isinstance(s, Published | PublishFailed), PATIENCE)
    assert isinstance(said, Published | PublishFailed)
    return said


# --- who may


async def test_applications_need_no_sip_password_for_the_agent_inside() -> None:
    async with site(agent={"authenticate": True}) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await alice.publish(Activity="Meeting")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await bob.told("notifySubscription")


async def test_sip_clients_are_known_from_the_users_file(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("\n".join(hash_lines("carols", ("carol", "example.com"))) + "\n")
    agent = {"authenticate": True, "users_file": str(users)}
    async with site(agent=agent) as here:
        for secret, wanted in (("carols", Published), ("wrong", PublishFailed)):
            phone = SipClient(Uri.parse(CAROL), here.sip, credentials=Credentials("carol", secret))
            await phone.open()
            try:
                assert isinstance(await published(phone, CAROL), wanted)
            finally:
                await phone.close()


async def test_nobody_publishes_for_somebody_else() -> None:
    known = [application("alice", sip_password="pw-alice"), application("bob")]
    async with site(agent={"authenticate": True}, applications=known) as here:
        phone = SipClient(Uri.parse(ALICE), here.sip, credentials=Credentials("alice", "pw-alice"))
        await phone.open()
        try:
            phone.publish(document(entity=BOB), entity=Uri.parse(BOB))
            said = await phone.wait_for(
                lambda s: isinstance(s, Published | PublishFailed), PATIENCE
            )
            assert isinstance(said, PublishFailed) and said.status == 403
        finally:
            await phone.close()


@pytest.mark.parametrize(
    ("realm", "answered"), [("", True), ("example.com", True), ("elsewhere.example", False)]
)
async def test_a_sip_password_answers_the_remote_servers_challenge(
    realm: str, answered: bool
) -> None:
    who = application("alice", sip_password="pw", sip_username="alice-sip", sip_realm=realm)
    async with presence_server() as server:
        server.challenge = 'Digest realm="example.com", nonce="n1", qop="auth", algorithm=SHA-256'
        async with site(presence_server=remote(server), applications=[who]) as here:
            alice = here.application("alice")
            body = {"presence": attributes(Activity="Meeting")}
            status, _ = await alice.ask("PUT", "/rest/presence/presence", body)
            assert status == (204 if answered else 502)
            last = server.requests("PUBLISH")[-1].get("authorization")
            assert ('username="alice-sip"' in last) == answered


async def test_a_digest_below_the_minimum_is_not_answered() -> None:
    who = application("alice", sip_password="pw")
    sip = {"listen": ["udp:127.0.0.1:0"], "minimum_digest": "SHA-256"}
    async with presence_server() as server:
        server.challenge = 'Digest realm="example.com", nonce="n1", qop="auth", algorithm=MD5'
        async with site(presence_server=remote(server), applications=[who], sip=sip) as here:
            alice = here.application("alice")
            body = {"presence": attributes(Activity="Meeting")}
            assert (await alice.ask("PUT", "/rest/presence/presence", body))[0] == 502
            assert not any(m.get("authorization") for m in server.requests("PUBLISH"))


# --- where


async def test_what_is_advertised_stands_in_via_and_contact() -> None:
    sip = {"listen": ["udp:127.0.0.1:0"], "advertise": ["udp:203.0.113.5:5099"]}
    async with presence_server() as server, site(presence_server=remote(server), sip=sip) as here:
        await here.application("bob").subscribe(CAROL)
        sent = await server.subscription(CAROL)
        assert "203.0.113.5:5099" in sent.get("via")
        assert "203.0.113.5:5099" in sent.get("contact")


async def test_next_hops_are_tried_in_order() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"sip:127.0.0.1:{nobody.getsockname()[1]};transport=tcp"
        async with presence_server() as server:
            alive = f"sip:127.0.0.1:{server.port};transport=udp"
            there = {"mode": "remote", "next_hop": [dead, alive]}
            async with site(presence_server=there) as here:
                await here.application("alice").publish(Activity="Meeting")
                assert len(server.requests("PUBLISH")) == 1


async def test_the_agent_serves_the_domain_it_is_given() -> None:
    sip = {"listen": ["udp:127.0.0.1:0"], "domain": "our.example"}
    who = [{"id": "app_alice", "password": "secret-alice", "uri": "sip:alice@our.example"}]
    async with site(sip=sip, applications=who) as here:
        await here.application("alice").publish(Activity="Meeting")
        phone = await here.phone("carol")
        phone.subscribe(Uri.parse("sip:alice@our.example"))
        assert await phone.wait_for(lambda s: isinstance(s, Notified), PATIENCE)


async def test_the_agents_limits_of_time_are_the_settings() -> None:
    agent = {"min_expires": 100, "default_expires": 200, "max_expires": 300}
    async with site(agent=agent) as here:
        phone = await here.phone("carol")
        for wanted, granted in ((10, 100), (250, 250), (1000, 300)):
            phone.publish(document(entity=CAROL), expires=wanted)
            said = await phone.wait_for(lambda s: isinstance(s, Published), PATIENCE)
            assert isinstance(said, Published) and said.expires == granted


async def test_the_agent_serves_the_groups_as_lists() -> None:
    team = Uri.parse("sip:team@example.com")
    groups = [{"uri": str(team), "members": [ALICE, "sip:zoe@example.org"]}]
    async with site(groups=groups, agent={"sub_handling": "allow"}) as here:
        await here.application("alice").publish(Activity="Meeting")
        phone = await here.phone("carol")
        phone.policy = replace(phone.policy, capabilities=frozenset({"eventlist"}))
        phone.subscribe(team)
        view, told = ListView(), b""
        while b"meeting" not in told:  # by datagrams a list comes in parts that fit
            said = await phone.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
            assert isinstance(said, Notified)
            assert not view.receive(said.content_type, said.body).missed
            told += said.body
        assert [m.state for m in view.roster().values()] == ["active", ""]


# --- limits, style, tables


@pytest.mark.parametrize(
    ("limits", "more", "fault"),
    [
        ({"allow_unlimited": False}, {}, "POL0004"),
        ({"max_count": 5}, {"count": 6}, "POL0005"),
        ({"min_frequency": 10.0}, {}, "POL0009"),
        ({"min_frequency": 10.0, "max_count": 5, "allow_unlimited": False}, {"count": 5}, ""),
    ],
)
async def test_the_operators_limits_bind(
    limits: dict[str, Any], more: dict[str, Any], fault: str
) -> None:
    async with site(limits=limits, agent={"sub_handling": "allow"}) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(ALICE)
        await bob.told("notifySubscription")
        if not fault:
            more = {**more, "frequency": {"metric": "Second", "units": 10}}
        assert await asked(bob, **more) == ((403, fault) if fault else (201, ""))


async def test_a_notification_without_duration_ends_after_the_default() -> None:
    async with site(limits={"default_duration": 0.2}, agent={"sub_handling": "allow"}) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(ALICE)
        await bob.told("notifySubscription")
        assert await bob.start(ALICE) == []
        assert await bob.told("statusEnd") == {"correlator": "w-1"}


async def test_the_style_of_answers_is_the_settings() -> None:
    style = {"stringify_scalars": True, "null_for_absent": True, "error_envelope": "oneapi"}
    async with site(ocsg=style, agent={"sub_handling": "allow"}) as here:
        alice = here.application("alice")
        means = [{"priority": 0.5, "contact": "mailto:a@example.com", "type": "Email"}]
        union = {"unionElement": "Communication", "communication": {"means": means}}
        await alice.rest("PUT", "/presence", {"presence": [{"typeAndValue": union}]})
        await alice.subscribe(ALICE)
        _, answer = await until(lambda: alice.presence(ALICE), lambda a: a[1].get("result"))
        found = next(a for a in answer["result"] if "communication" in a["typeAndValue"])
        assert found["note"] is None
        assert found["typeAndValue"]["communication"]["means"][0]["priority"] == "0.5"
        _, fault = await alice.ask("DELETE", "/rest/presence/notification/none")
        assert list(fault) == ["requestError"]


async def test_own_pairs_are_laid_over_the_tables(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('[activity.folds]\nvacation = "Travel"\n')
    own = {"file": str(tmp_path / "mapping.toml")}
    async with site(mapping=own, agent={"sub_handling": "allow"}) as here:
        phone, bob = await here.phone("carol"), here.application("bob")
        await bob.subscribe(CAROL)
        phone.publish(document("vacation"))
        _, answer = await until(lambda: bob.presence(CAROL), lambda a: a[1].get("result"))
        assert values(answer["result"])["Activity"] == "Travel"


async def test_a_hash_of_the_password_is_enough() -> None:
    (hashed,) = hash_lines("secret-alice", None)
    who = {"id": "app_alice", "password_hash": hashed, "uri": ALICE}
    async with site(applications=[who]) as here:
        assert await here.application("alice").watchers() == []
        stranger = here.application("alice")
        stranger.http.headers.update({"Authorization": "Basic YXBwX2FsaWNlOndyb25n"})  # wrong
        assert (await stranger.ask("GET", "/rest/presence/subscription?status=open"))[0] == 401


async def test_a_connect_is_held_as_long_as_configured() -> None:
    async with site(bayeux={"timeout": 0.05, "max_interval": 5.0}) as here:
        bob = here.application("bob")
        hello = await bob.message(
            "/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"]
        )
        bob.client_id = hello["clientId"]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await bob.message("/meta/connect", connectionType="long-polling")
        assert answer["successful"]
        assert loop.time() - begun < 2.0


async def test_the_log_of_notifications_is_bounded() -> None:
    """A reader that comes late gets what the log still holds, and is told that something is missing."""
    async with site(limits={"log_entries": 5}) as here:
        alice, bob = here.application("alice"), here.application("bob")
        await bob.subscribe(ALICE)
        for number in range(210):
            await alice.decide(BOB, Activity=number % 2 == 0)
        assert here.graph is not None
        held = here.graph.store.read_after("app_bob", 0)
        assert 5 <= len(held) <= 105  # trimmed now and then, not at each entry
        assert held[-1].sequence == 210


# --- the rest


def test_client_ids_cannot_be_guessed() -> None:
    made = {client_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == CLIENT_ID_LENGTH and set(one) <= set(CLIENT_ID_ALPHABET) for one in made)


async def test_messages_are_counted_by_method_and_status() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        metrics = await alice.text("/metrics")
        for direction, labels in (("out", 'status=""'), ("in", 'status="200"')):
            lines = [
                line
                for line in metrics.splitlines()
                if line.startswith("sipbridge_sip_messages_total{")
                and f'direction="{direction}"' in line
                and 'method="PUBLISH"' in line
            ]
            assert len(lines) == 1, (labels, metrics)
            assert lines[0].endswith(" 1.0")


async def test_two_bridges_in_one_process_do_not_share_anything() -> None:
    async with site() as one, site() as other:
        await one.application("alice").publish(Activity="Meeting")
        here = await one.application("alice").text("/metrics")
        there = await other.application("alice").text("/metrics")
        assert 'agent_publications{state="live"} 1.0' in here
        assert 'agent_publications{state="live"} 0.0' in there


@pytest.mark.parametrize(("wanted", "status"), [(False, 405), (True, 200)])
async def test_callback_polling_is_offered_where_it_is_wanted(wanted: bool, status: int) -> None:
    hello = '[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'
    async with (
        site(bayeux={"callback_polling": wanted}) as here,
        aiohttp.ClientSession() as page,
        page.get(f"{here.base}/bayeux", params={"message": hello}) as answer,
    ):
        assert answer.status == status
        assert wanted == ("jsonpcallback([" in await answer.text())
