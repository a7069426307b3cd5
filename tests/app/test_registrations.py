"""Applications registered where the network demands it, and what the network is sent then."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sipbridge.app import registrations
from sipbridge.errors import TransportFailed
from sipbridge.events.subscriber import State, Subscription
from sipbridge.identities import PresentityKey
from sipbridge.sip.policy import PeerPolicy
from sipbridge.uri import Uri
from tests.app.rig import (
    PresenceServer,
    Site,
    application,
    attributes,
    document,
    kept,
    presence_server,
    remote,
    settings,
    site,
    until,
    values,
)
from tests.app.test_admin import ADMIN, operator
from tests.interop.wire import Message

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
ROUTE = "<sip:orig@scscf.example.com;lr>"
EDGE = "sip:edge.example.com;lr"
ASSOCIATED = "<sip:alice-first@example.com>, <sip:alice-second@example.com>"
CHALLENGE = 'Digest realm="ims.example.com", nonce="n1", qop="auth", algorithm=MD5'
ONE = [application("alice", sip_password="pw", sip_username="alice@private.example.com")]


def network(server: PresenceServer, **more: object) -> dict[str, object]:
    return {**remote(server), "register": True, **more}


def routes(request: Message) -> list[str]:
    return [value for name, value in request.headers if name == "route"]


async def test_requests_take_the_way_and_the_name_that_the_registrar_tells() -> None:
    async with presence_server() as server:
        server.headers["REGISTER"] = [
            f"Service-Route: {ROUTE}",
            f"P-Associated-URI: {ASSOCIATED}",
        ]
        wanted = network(
            server,
            route=[EDGE],
            identity="p-preferred-identity",
            headers={"P-Visited-Network-ID": "example"},
        )
        async with site(presence_server=wanted, applications=ONE) as here:
            register = await server.request("REGISTER")
            assert register.start == "REGISTER sip:example.com SIP/2.0"
            assert routes(register) == [f"<{EDGE}>"]
            alice = here.application("alice")
            await alice.publish(Activity="Meeting")
            await alice.subscribe(BOB)
            publish = await server.request("PUBLISH")
            subscribe = await server.subscription(BOB)
            for request in (publish, subscribe):
                assert routes(request) == [f"<{EDGE}>", ROUTE]
                assert request.get("p-preferred-identity") == "<sip:alice-first@example.com>"
                assert request.get("p-visited-network-id") == "example"
                assert f"<{ALICE}>" in request.get("from")


async def test_the_private_identity_answers_and_the_public_one_asks() -> None:
    async with presence_server() as server:
        server.challenge, server.challenged = CHALLENGE, {"REGISTER"}
        async with site(presence_server=network(server), applications=ONE):
            answered = await server.request("REGISTER", 1)
            assert 'username="alice@private.example.com"' in answered.get("authorization")
            assert f"<{ALICE}>" in answered.get("from")
            assert f"<{ALICE}>" in answered.get("to")


async def test_at_the_end_nobody_is_registered_any_more() -> None:
    async with presence_server() as server:
        async with site(presence_server=network(server)):
            assert len(server.requests("REGISTER")) == 2
        gone = server.requests("REGISTER")[2:]
        assert sorted(m.get("to") for m in gone) == [f"<{ALICE}>", f"<{BOB}>"]
        assert all("expires=0" in m.get("contact") for m in gone)


async def test_at_the_end_registrations_are_removed_in_portions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrations, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(registrations, "STOP_BATCH", 1)
    monkeypatch.setattr(registrations, "STOP_TICK", 60.0)
    async with presence_server() as server:
        async with site(presence_server=network(server)):
            assert len(server.requests("REGISTER")) == 2
        assert len(server.requests("REGISTER")) == 3  # the second portion would be later


async def test_a_registrar_that_is_silent_at_the_end_does_not_hold_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrations, "STOP_SECONDS", 0.2)
    async with (
        presence_server() as server,
        asyncio.timeout(8),
        site(presence_server=network(server)),
    ):
        server.silent.add("REGISTER")


async def test_while_nobody_is_registered_calls_say_so_and_readiness_too() -> None:
    async with presence_server() as server:
        server.refuse["REGISTER"] = 403
        async with site(presence_server=network(server)) as here:
            alice = here.application("alice")
            body = {"presence": attributes(Activity="Meeting")}
            status, answer = await alice.ask("PUT", "/rest/presence/presence", body)
            assert (status, answer["error"]["messageId"]) == (502, "SVC0001")
            assert server.requests("PUBLISH") == []
            assert await health(here) == ("degraded", "failed")
            assert 'registrations{state="refused"} 2' in await alice.text("/metrics")


async def test_what_is_resumed_waits_for_the_registration(tmp_path: Path) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            await here.application("alice").subscribe(BOB)
        server.got.clear()
        server.refuse["REGISTER"] = 503
        async with site(wanted) as here:
            await server.request("REGISTER")
            assert server.requests("SUBSCRIBE") == []
            server.refuse.clear()
            server.headers["REGISTER"] = [f"Service-Route: {ROUTE}"]
            assert routes(await server.subscription(BOB)) == [ROUTE]
            assert await health(here) == ("ok", "ok")


async def test_a_way_that_changes_is_taken_by_what_lives_already() -> None:
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        assert routes(await server.request("PUBLISH")) == []
        server.headers["REGISTER"] = [f"Service-Route: {ROUTE}"]
        (entry,) = registrations_of(here).entries.values()
        register_again(here)
        await until(lambda: asyncio.sleep(0, entry.policy.route), bool)
        await alice.publish(Activity="Travel")
        assert routes(await server.request("PUBLISH", 1)) == [ROUTE]


async def test_after_a_crash_the_registrar_sees_the_registration_it_knows(tmp_path: Path) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            first = await server.request("REGISTER")
            server.silent.add("REGISTER")
            assert here.graph is not None
            registrations_of(here).running = False
            registrations_of(here).entries.clear()  # the end that a crash does not have
        server.silent.clear()
        server.got.clear()
        async with site(wanted):
            second = await server.request("REGISTER")
            assert second.get("call-id") == first.get("call-id")
            assert number(second.get("cseq")) > number(first.get("cseq"))


async def test_applications_come_and_go() -> None:
    async with (
        presence_server() as server,
        site(admin=ADMIN, presence_server=network(server), applications=ONE) as here,
    ):
        await operator(here).add("carol", sip_password="carolpw")
        register = await server.until(lambda: of(server, CAROL), "no REGISTER of Carol")
        assert "expires=3600" in register.get("contact")
        await until(lambda: registration(here, "carol"), lambda state: state == "registered")
        await operator(here).change("carol", sip_password="another")
        again = await server.until(lambda: of(server, CAROL)[1:], "no second one")
        assert "expires=3600" in again.get("contact")
        server.refuse["REGISTER"] = 403
        await operator(here).change("carol", sip_password="a third")
        await until(lambda: registration(here, "carol"), lambda state: state.startswith("403"))
        server.refuse.clear()
        await operator(here).change("carol", sip_password="another")
        await until(lambda: registration(here, "carol"), lambda state: state == "registered")
        await operator(here).change("carol", disabled=True)
        gone = await server.until(lambda: of(server, CAROL)[4:], "no end")
        assert "expires=0" in gone.get("contact")


async def test_who_waits_for_a_registration_that_nobody_wants_any_more_is_told() -> None:
    async with (
        presence_server() as server,
        site(admin=ADMIN, presence_server=network(server), applications=ONE) as here,
    ):
        server.refuse["REGISTER"] = 503
        await operator(here).add("carol")
        await server.until(lambda: of(server, CAROL), "no REGISTER of Carol")
        known = registrations_of(here)
        base = known.of_application["app_carol"].base
        waiting = asyncio.create_task(known.ready("app_carol", base, patient=True))
        await operator(here).change("carol", sip_password="another")
        assert not waiting.done()  # for the one that took its place
        await operator(here).change("carol", disabled=True)
        with pytest.raises(TransportFailed, match="not wanted any more"):
            await asyncio.wait_for(waiting, 5)


async def test_a_network_that_forgot_us_and_forbids_is_told_again_who_we_are() -> None:
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        known = registrations_of(here)
        server.refuse["PUBLISH"] = 403
        server.silent.add("REGISTER")
        publisher = here.bridge.graph.network.publisher if here.bridge.graph else None
        assert publisher is not None
        for publication in list(publisher.publications):
            publisher.refresh(publication, known.now())
        known.turn()
        await server.request("REGISTER", 1)
        server.refuse.clear()
        server.silent.clear()
        again = await server.request("PUBLISH", 2)
        assert b"meeting" in again.body
        # A second 403 soon after is believed.
        server.refuse["PUBLISH"] = 403
        body = {"presence": attributes(Activity="Travel")}
        status, _ = await alice.ask("PUT", "/rest/presence/presence", body)
        assert status == 403
        assert all("expires=3600" in m.get("contact") for m in server.requests("REGISTER"))
        copies = {m.get("cseq") for m in server.requests("REGISTER")}
        assert len(copies) == 2


async def test_what_was_forbidden_while_the_registration_was_lost_is_published_once_there_is_one() -> (
    None
):
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        await here.application("alice").publish(Activity="Meeting")
        server.refuse |= {"REGISTER": 403, "PUBLISH": 403}
        known = registrations_of(here)
        register_again(here)
        await until(lambda: health(here), lambda state: state[0] == "degraded")
        assert here.graph is not None
        publisher = here.graph.network.publisher
        (publication,) = publisher.publications.values()
        publisher.refresh(publication.id, known.now())
        known.turn()
        await until(lambda: asyncio.sleep(0, publication.state), lambda state: state == "failed")
        server.refuse.clear()
        register_again(here)
        again = await server.request("PUBLISH", 2)
        assert b"meeting" in again.body


@pytest.mark.parametrize("noticed", [True, False], ids=["lost", "forgotten by the network"])
async def test_a_subscription_forbidden_while_the_registration_was_lost_comes_back_with_it(
    noticed: bool,
) -> None:
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        alice = await here.application("alice").listen()
        await alice.subscribe(BOB)
        server.notify(await server.subscription(BOB), document("meeting", BOB))
        await alice.told("notifySubscription")
        server.refuse |= {"SUBSCRIBE": 403}
        if noticed:
            server.refuse |= {"REGISTER": 403}
            register_again(here)
            await until(lambda: health(here), lambda state: state[0] == "degraded")
        else:
            server.silent.add("REGISTER")
        state = make_anew(here)
        await server.subscription(BOB, index=1)
        await until(lambda: asyncio.sleep(0, state()), lambda now: now is State.WAITING)
        if noticed:
            register_again(here)
        server.refuse.clear()
        server.silent.clear()
        refused = len(asked_about(server, BOB))
        again = await server.until(lambda: asked_about(server, BOB)[refused:], "no SUBSCRIBE")
        server.notify(again, document("travel", BOB))
        await until(
            lambda: alice.presence(BOB),
            lambda seen: values(seen[1]["result"]).get("Activity") == "Travel",
        )


async def test_a_refresh_forbidden_by_a_network_that_forgot_us_is_repeated_once_it_knows_us() -> (
    None
):
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        alice = await here.application("alice").listen()
        await alice.subscribe(BOB)
        server.notify(await server.subscription(BOB), document("meeting", BOB))
        await alice.told("notifySubscription")
        assert here.graph is not None
        ours = here.graph.network
        server.refuse["SUBSCRIBE"] = 403
        ours.subscriber.refresh(watched(here).id, ours.now())
        ours.turn()
        refused = await server.subscription(BOB, index=1)
        await server.request("REGISTER", 1)
        server.refuse.clear()
        again = await server.until(
            lambda: [
                m for m in asked_about(server, BOB)[2:] if m.get("cseq") != refused.get("cseq")
            ]
        )
        assert again.get("call-id") == refused.get("call-id")


async def test_a_subscription_forbidden_again_by_a_network_that_knows_us_is_over() -> None:
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=ONE) as here,
    ):
        alice = await here.application("alice").listen()
        await alice.subscribe(BOB)
        server.notify(await server.subscription(BOB), document("meeting", BOB))
        await alice.told("notifySubscription")
        server.refuse["SUBSCRIBE"] = 403
        make_anew(here)
        assert await alice.told("subscriptionEnded") == {"presentity": BOB, "reason": "Blocked"}
        assert len({m.get("cseq") for m in server.requests("REGISTER")}) == 2
        assert here.graph is not None
        left = here.graph.network.subscriber.subscriptions.values()
        assert BOB not in [str(subscription.target) for subscription in left]


async def test_a_way_that_changes_is_looked_up_for_what_that_application_has_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with presence_server() as server, site(presence_server=network(server)) as here:
        for name in ("alice", "bob"):
            await here.application(name).publish(Activity="Meeting")
            await here.application(name).subscribe(CAROL)
        await server.subscription(BOB, "presence.winfo")
        assert here.graph is not None
        ours, asked = here.graph.network, list[str]()
        policy_for = ours.standing.policy_for

        def counted(application: str, presentity: Uri) -> PeerPolicy:
            asked.append(application)
            return policy_for(application, presentity)

        monkeypatch.setattr(ours.standing, "policy_for", counted)
        ours.moved(registrations_of(here).of_application["app_bob"])
        assert asked == ["app_bob"] * 3  # its publication, its watchers and Carol


async def test_a_publication_of_before_the_restart_waits_for_the_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "PATIENCE", 0.1)
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            await here.application("alice").publish(Activity="Meeting")
        server.got.clear()
        server.refuse["REGISTER"] = 503
        async with site(wanted) as here:
            body = {"presence": attributes(Place="Office")}
            answer = await here.application("alice").ask("PUT", "/rest/presence/presence", body)
            assert answer[0] == 502  # and did not wait behind what is resumed
            assert server.requests("PUBLISH") == []
            server.refuse.clear()
            register_again(here)
            again = await server.request("PUBLISH")
            assert again.get("sip-if-match") == "e1" and b"meeting" in again.body
            await here.application("alice").publish(Place="Office")
            assert (await server.request("PUBLISH", 1)).get("sip-if-match") == "e2"


@pytest.mark.parametrize("row", ["[]", "null", "x", '{"at": "2026-03-01T12:00:00"}', "{}"])
async def test_what_is_no_snapshot_of_a_registration_is_one_made_anew(
    tmp_path: Path, row: str
) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted):
            pass
        server.got.clear()
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
            alice = ("registration", "sip:alice@example.com", row)
            db.execute("INSERT INTO snapshots (kind, key, text) VALUES (?, ?, ?)", alice)
        async with site(wanted):
            assert len(server.requests("REGISTER")) == 1


async def test_what_was_removed_before_the_restart_is_removed_once_there_is_a_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "PATIENCE", 0.1)
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            await here.application("alice").publish(Activity="Meeting")
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
            db.execute("DELETE FROM published")
        server.got.clear()
        server.refuse["REGISTER"] = 503
        async with site(wanted) as here:
            assert server.requests("PUBLISH") == []
            server.refuse.clear()
            register_again(here)
            removal = await server.request("PUBLISH")
            assert (removal.get("expires"), removal.get("sip-if-match")) == ("0", "e1")
            await here.application("alice").publish(Activity="Travel")
            assert server.requests("PUBLISH")[1].get("sip-if-match") == ""


async def test_what_is_taken_up_without_its_tag_and_forbidden_goes_out_with_the_next_registration(
    tmp_path: Path,
) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            await here.application("alice").publish(Activity="Meeting")
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db, db:
            db.execute('UPDATE snapshots SET text = replace(text, \'"at":"20\', \'"at":"19\')')
        server.got.clear()
        server.refuse["PUBLISH"] = 403
        async with site(wanted) as here:
            assert (await server.request("PUBLISH")).get("sip-if-match") == ""
            assert here.graph is not None
            (publication,) = here.graph.network.publisher.publications.values()
            (entry,) = registrations_of(here).entries.values()

            def refused() -> bool:
                """As it was kept, as it is said anew, and after the registration was renewed."""
                settled = entry.doubted is not None and not entry.in_doubt
                return settled and publication.state == "failed" and publication.sent > 1

            await until(lambda: asyncio.sleep(0, refused()), bool)
            server.refuse["REGISTER"] = 403
            register_again(here)
            await until(lambda: health(here), lambda state: state[0] == "degraded")
            server.refuse.clear()
            before = len(server.requests("PUBLISH"))
            register_again(here)
            assert b"meeting" in (await server.request("PUBLISH", before)).body


async def test_who_leaves_while_the_registration_is_waited_for_is_not_subscribed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registrations, "PATIENCE", 0.1)
    async with presence_server() as server:
        server.silent.add("REGISTER")
        async with site(presence_server=network(server), applications=ONE) as here:
            monkeypatch.undo()
            alice = here.application("alice")
            asking = asyncio.create_task(alice.subscribe(BOB))
            await leave(here, BOB)
            server.silent.clear()  # the next copy of the REGISTER is answered
            await asking
            await alice.subscribe(CAROL)
            await server.subscription(CAROL)
            assert of(server, BOB, "SUBSCRIBE") == []


async def test_who_leaves_before_it_is_resumed_is_not_subscribed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "PATIENCE", 0.1)
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=network(server), applications=ONE)
        async with site(wanted) as here:
            for who in (BOB, CAROL):
                await here.application("alice").subscribe(who, correlator=who)
        server.got.clear()
        server.refuse["REGISTER"] = 503
        async with site(wanted) as here:
            await leave(here, BOB)
            server.refuse.clear()
            register_again(here)
            await server.subscription(CAROL)
            await here.application("alice").publish(Activity="Meeting")
            assert of(server, BOB, "SUBSCRIBE") == []


async def test_two_applications_of_one_identity_share_a_registration() -> None:
    both = [application("alice"), {**application("bob"), "uri": ALICE}]
    async with (
        presence_server() as server,
        site(presence_server=network(server), applications=both) as here,
    ):
        await here.application("bob").publish(Activity="Meeting")
        assert len(server.requests("REGISTER")) == 1


async def test_without_the_key_nobody_is_registered() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        await here.application("alice").publish(Activity="Meeting")
        assert server.requests("REGISTER") == []


async def test_one_bridge_registers_at_another_with_digest() -> None:
    """Our client against our registrar: a private identity, and one nonce for all requests."""
    theirs = settings(
        sip={"listen": ["udp:127.0.0.1:0"], "domain": "partner.example"},
        agent={"sub_handling": "allow", "authenticate": True},
        applications=[
            {
                **application("pat", sip_password="pw", sip_username="pat@private"),
                "uri": "sip:pat@partner.example",
            }
        ],
    )
    async with site(theirs) as there:
        ours = {
            **application("pat", sip_password="pw", sip_username="pat@private"),
            "uri": "sip:pat@partner.example",
            "sip_realm": "partner.example",
        }
        server = {"mode": "remote", "next_hop": [f"sip:{there.sip}"], "register": True}
        async with site(presence_server=server, applications=[ours]) as here:
            assert await health(here, "pat") == ("ok", "ok")
            assert there.graph is not None and there.graph.agent is not None
            registrar = there.graph.agent.registrar
            assert registrar is not None and len(registrar.registered) == 1
            await here.application("pat").publish(Activity="Meeting")
            page = await here.application("pat").text("/metrics")
            assert 'direction="in",method="PUBLISH",status="401"' not in page
        assert registrar.registered == {}


# --- what the tests look at -----------------------------------------------------------------------------


def of(server: PresenceServer, uri: str, method: str = "REGISTER") -> list[Message]:
    return [m for m in server.requests(method) if f"<{uri}>" in m.get("to")]


def number(cseq: str) -> int:
    return int(cseq.split(" ")[0])


def registrations_of(here: Site) -> registrations.Registrations:
    assert here.graph is not None
    found = here.graph.network.standing.registrations
    assert found is not None
    return found


async def leave(here: Site, presentity: str) -> None:
    """Alice leaves somebody, as soon as she watches."""
    assert here.graph is not None
    gateway, alice = here.graph.gateway, here.graph.callers["app_alice"]
    pair = (alice.key, PresentityKey(presentity))
    await until(lambda: asyncio.sleep(0, pair in gateway.registry.subscriptions), bool)
    await gateway.leave(alice, Uri.parse(presentity))


def register_again(here: Site) -> None:
    """Its time has come, for everybody."""
    known = registrations_of(here)
    for entry in known.entries.values():
        known.registrant.refresh(entry.id, known.now())
    known.turn()


def make_anew(here: Site) -> Callable[[], State]:
    """The one subscription to somebody's presence gets a new SUBSCRIBE; gives where it stands."""
    assert here.graph is not None
    network = here.graph.network
    subscription = watched(here)
    network.subscriber.renew(subscription.id, network.now())
    network.turn()
    return lambda: subscription.state


def watched(here: Site) -> Subscription:
    """The one subscription to somebody's presence."""
    assert here.graph is not None
    network = here.graph.network
    (id,) = [w.id for (kind, *_), w in network.watches.items() if kind == "presence"]
    return network.subscriber.subscriptions[id]


def asked_about(server: PresenceServer, presentity: str) -> list[Message]:
    """The SUBSCRIBEs to somebody so far."""
    return [m for m in server.requests("SUBSCRIBE") if f"<{presentity}>" in m.get("to")]


async def registration(here: Site, name: str) -> str:
    _, answer = await operator(here).ask("GET", f"/admin/applications/app_{name}")
    return str(answer["registration"])


async def health(here: Site, who: str = "alice") -> tuple[str, str]:
    _, answer = await here.application(who).ask("GET", "/health/ready")
    return answer["status"], answer["checks"]["registrations"]
