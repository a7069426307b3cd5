"""The gateway's network on real SIP: peers chosen by domain, answers and their faults, bad documents."""

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sipbridge.app.network import LEAVE_SECONDS
from tests.app.rig import (
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

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
PAT = "sip:pat@partner.example"


def partners(server: str) -> list[dict[str, object]]:
    return [{"domain": "partner.example", **remote(server)}]


# --- which peer


async def test_embedded_and_remote_stand_side_by_side() -> None:
    """partner.example is served by another bridge; both are watched from here, each by its own peer."""
    theirs = settings(
        sip={"listen": ["udp:127.0.0.1:0"], "domain": "partner.example"},
        agent={"sub_handling": "allow"},
        applications=[{"id": "app_pat", "password": "secret-pat", "uri": PAT}],
    )
    async with site(theirs) as there:
        hop = f"sip:{there.sip};transport=udp"
        async with site(presence_servers=partners(hop)) as here:
            pat, alice = there.application("pat"), here.application("alice")
            bob = await here.application("bob").listen()
            await bob.subscribe(PAT, correlator="s-pat")
            assert (await bob.told("notifySubscription"))["presentity"] == PAT
            await bob.subscribe(ALICE, correlator="s-alice")
            await alice.grant_all(BOB)
            assert (await bob.told("notifySubscription"))["presentity"] == ALICE
            assert await bob.start(PAT, "w-pat") == []
            assert await bob.start(ALICE, "w-alice") == []
            await pat.publish(Activity="Meeting")
            await bob.told_correlated("w-pat", Activity="Meeting")
            await alice.publish(Activity="Travel")
            await bob.told_correlated("w-alice", Activity="Travel")


async def test_another_domain_is_unknown_when_only_the_agent_serves() -> None:
    async with site() as here:
        bob = here.application("bob")
        status, body = await bob.ask(
            "POST",
            "/rest/presence/subscription",
            {"application": "x", "presentity": PAT, "reference": bob.reference("s-1")},
        )
        assert (status, body["error"]["messageId"]) == (400, "SVC0004")


async def test_the_domain_is_compared_without_case() -> None:
    async with presence_server() as server:
        hop = f"sip:127.0.0.1:{server.port}"
        async with site(presence_servers=partners(hop)) as here:
            await here.application("bob").subscribe("sip:pat@PARTNER.Example")
            await server.subscription("sip:pat@PARTNER.Example")


async def test_only_the_partners_presentities_go_to_the_partner() -> None:
    async with presence_server() as server:
        hop = f"sip:127.0.0.1:{server.port}"
        async with site(presence_servers=partners(hop)) as here:
            bob = here.application("bob")
            await bob.subscribe(ALICE)
            await bob.publish(Activity="Meeting")
            await bob.subscribe(PAT)
            await server.subscription(PAT)
            assert [m.start for m in server.got] == [f"SUBSCRIBE {PAT} SIP/2.0"]


async def test_the_password_of_one_server_answers_no_challenge_of_another() -> None:
    """Unless the realm is named, a password is meant for the server of the application's own domain."""
    challenge = 'Digest realm="anything", nonce="n", qop="auth"'
    known = [application("bob", sip_password="pw"), application("carol", sip_password="pw")]
    known[1]["sip_realm"] = "anything"
    async with presence_server() as server:
        server.challenge, server.challenged = challenge, {"SUBSCRIBE"}
        servers = partners(f"sip:127.0.0.1:{server.port}")
        async with site(presence_servers=servers, applications=known) as here:
            for name, status in (("bob", 502), ("carol", 204)):
                asking = here.application(name)
                body = {"application": "x", "presentity": PAT, "reference": asking.reference("s")}
                got, answer = await asking.ask("POST", "/rest/presence/subscription", body)
                assert got == status, answer
        given = [bool(m.get("authorization")) for m in server.requests("SUBSCRIBE")]
        assert given[:3] == [False, False, True]


async def test_the_password_answers_no_other_server_whomever_its_application_acts_for(
    tmp_path: Path,
) -> None:
    challenge = 'Digest realm="anything", nonce="n", qop="auth"'
    known = [application("bob", sip_password="pw", acts_for=["sip:*@partner.example"])]
    as_pat = {"X-Presence-Identity": PAT}
    async with presence_server() as server:
        server.challenge, server.challenged = challenge, set()
        wanted = settings(
            store=kept(tmp_path),
            presence_servers=partners(f"sip:127.0.0.1:{server.port}"),
            applications=known,
        )
        path = "/rest/presence/presence"
        async with site(wanted) as here:
            bob = here.application("bob")
            body: dict[str, object] = {"presence": attributes(Activity="Meeting")}
            assert (await bob.ask("PUT", path, body, **as_pat))[0] == 204
            server.challenged = {"PUBLISH", "SUBSCRIBE"}
            body = {"presence": attributes(Activity="Travel")}
            status, _ = await bob.ask("PUT", path, body, **as_pat)
            assert status == 502
            body = {"application": "x", "presentity": PAT, "reference": bob.reference("s")}
            status, _ = await bob.ask("POST", "/rest/presence/subscription", body, **as_pat)
            assert status == 502
        before = len(server.requests("PUBLISH"))
        async with site(wanted):
            await server.request("PUBLISH", before)
        assert not any(m.get("authorization") for m in server.got)


# --- answers of the peer


@pytest.mark.parametrize(
    ("sip", "http", "fault"),
    [
        (403, 403, "POL0001"),
        (404, 400, "SVC0004"),
        (489, 502, "SVC0001"),
        (503, 503, "SVC0001"),
        (604, 400, "SVC0004"),
    ],
)
async def test_a_refused_subscribe_is_one_fault(sip: int, http: int, fault: str) -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        server.refuse["SUBSCRIBE"] = sip
        bob = here.application("bob")
        body = {"application": "x", "presentity": CAROL, "reference": bob.reference("s-1")}
        status, answer = await bob.ask("POST", "/rest/presence/subscription", body)
        assert (status, answer["error"]["messageId"]) == (http, fault)
        # Nothing of it is left: the next try asks the server again.
        server.refuse.clear()
        await bob.subscribe(CAROL)
        assert await bob.presence(CAROL) != (400, None)


async def test_a_server_that_is_not_there_is_502() -> None:
    with socket.socket() as nobody:  # bound and not listening: refused at once
        nobody.bind(("127.0.0.1", 0))
        hop = f"sip:127.0.0.1:{nobody.getsockname()[1]};transport=tcp"
        async with site(presence_server=remote(hop)) as here:
            alice = here.application("alice")
            body = {"presence": attributes(Activity="Meeting")}
            status, answer = await alice.ask("PUT", "/rest/presence/presence", body)
            assert (status, answer["error"]["messageId"]) == (502, "SVC0001")


async def test_two_applications_of_one_person_share_a_subscription() -> None:
    both = [
        application("bob"),
        {"id": "app_carol", "password": "secret-carol", "uri": BOB},
        application("alice"),
    ]
    async with (
        presence_server() as server,
        site(presence_server=remote(server), applications=both) as here,
    ):
        one = await here.application("bob").listen()
        other = await here.application("carol").listen()
        await one.subscribe(CAROL)
        await other.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await one.told("notifySubscription")
        await other.told("notifySubscription")
        there = [m for m in server.requests("SUBSCRIBE") if m.get("event") == "presence"]
        assert len(there) == 1


async def test_a_server_that_says_no_later_ends_the_subscription_as_blocked() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document())
        await bob.told("notifySubscription")
        server.notify(asked, state="terminated;reason=rejected")
        assert await bob.told("subscriptionEnded") == {"presentity": CAROL, "reason": "Blocked"}
        assert (await bob.presence(CAROL))[0] == 400


async def test_a_server_that_begins_anew_is_asked_again_and_nobody_is_told() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked, state="terminated;reason=deactivated")
        again = await server.subscription(CAROL, index=1)
        server.notify(again, document("travel"))
        await bob.told_status(Activity="Travel")


# --- what arrives


async def test_a_bad_document_keeps_the_state_and_is_counted() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked, b"<presence xmlns='urn:ietf:params:xml:ns:pidf'><unclosed>")
        server.notify(asked, b'<!DOCTYPE x [<!ENTITY e "boom">]><presence>&e;</presence>')
        # The answer to both was 200: the SIP part of them is in order.
        assert await server.response("NOTIFY", 2) == 200
        _, answer = await bob.presence(CAROL)
        assert values(answer["result"]) == {"Activity": "Meeting"}
        metrics = await bob.text("/metrics")
        assert 'documents_refused_total{media_type="application/pidf+xml"} 2.0' in metrics
        server.notify(asked, document("travel"))
        await bob.told_status(Activity="Travel")
        assert bob.inbox.empty()


async def test_what_comes_at_once_is_read_together_and_told_in_order() -> None:
    """Among it what cannot be read, and what says again what was said before the first of them."""
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        assert here.graph is not None
        network, together = here.graph.network, list[int]()

        def prepare(coming: Sequence[object]) -> None:
            network.prepare(coming)
            together.append(len(network.ahead))

        here.graph.gateway_driver.prepare = prepare
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked, document("travel"))
        server.notify(asked, b"<presence xmlns='urn:ietf:params:xml:ns:pidf'><unclosed>")
        server.notify(asked, document("busy"))
        server.notify(asked, document("meeting"))
        for activity in ("Travel", "Busy", "Meeting"):
            told = await bob.told("statusChanged")
            assert values(told["changedAttributes"]) == {"Activity": activity}
        assert max(together) > 1
        assert not network.ahead
        metrics = await bob.text("/metrics")
        assert 'documents_refused_total{media_type="application/pidf+xml"} 1.0' in metrics


async def test_an_empty_notify_is_no_news() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked)
        server.notify(asked, document("meeting"))  # the same again: no news either
        server.notify(asked, document("travel"))
        assert values((await bob.told("statusChanged"))["changedAttributes"]) == {
            "Activity": "Travel"
        }
        assert server.responses("NOTIFY") == [200] * 4


async def test_deviations_are_counted_by_their_code() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting").replace(b' id="t1"', b""))
        await bob.told("notifySubscription")
        metrics = await bob.text("/metrics")
        counted = [line for line in metrics.splitlines() if line.startswith("sipbridge_deviations")]
        assert len(counted) == 1 and counted[0].endswith(" 1.0")


async def test_pending_shows_nothing_and_active_shows_all() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, state="pending;expires=600")
        await server.response("NOTIFY")
        assert (await bob.presence(CAROL))[0] == 403
        assert await bob.start(CAROL) == [CAROL]
        server.notify(asked, document("meeting"))
        told = await bob.told("notifySubscription")
        assert all(d["decision"] for d in told["decisions"]) and len(told["decisions"]) == 6
        assert (await bob.presence(CAROL))[0] == 200


async def test_a_caller_that_hangs_up_leaves_the_subscription_to_the_others() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        server.silent.add("SUBSCRIBE")
        bob = here.application("bob")
        body = {"application": "x", "presentity": CAROL, "reference": bob.reference("s-1")}
        first = asyncio.create_task(bob.ask("POST", "/rest/presence/subscription", body))
        await server.subscription(CAROL)
        first.cancel()
        second = asyncio.create_task(bob.ask("POST", "/rest/presence/subscription", body))
        await bob.watchers()
        server.silent.clear()  # the next repetition is answered
        assert (await second)[0] == 204


# --- publications


async def test_who_leaves_before_the_server_has_answered_lets_nobody_wait() -> None:
    async with presence_server() as server:
        server.silent.add("SUBSCRIBE")
        async with site(presence_server=remote(server)) as here:
            bob = here.application("bob")
            asking = asyncio.create_task(bob.subscribe(CAROL))
            await server.subscription(CAROL)
            status, _ = await bob.ask("DELETE", f"/rest/presence/subscription?presentity={CAROL}")
            assert status == 204
            await asyncio.wait_for(asking, 5.0)
            assert here.graph is not None
            assert here.graph.gateway.registry.live["app_bob"] == 0


async def test_publications_of_different_kinds_at_one_moment_add_up() -> None:
    """Neither call was refused, so what each of them said is there."""
    async with site() as here:
        alice = here.application("alice")
        await asyncio.gather(
            alice.publish(Activity="Meeting"),
            alice.publish(Place="Office"),
            alice.publish(Sphere="SphereWork"),
            alice.publish(Privacy="PrivacyPublic"),
        )
        await alice.subscribe(ALICE)
        _, answer = await until(lambda: alice.presence(ALICE), lambda a: a[1].get("result"))
        assert set(values(answer["result"])) >= {"Activity", "Place", "Sphere", "Privacy"}


async def test_a_publication_that_was_refused_has_not_happened() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        server.refuse["PUBLISH"] = 403
        body = {"presence": attributes(Place="Office")}
        assert (await alice.ask("PUT", "/rest/presence/presence", body))[0] == 403
        server.refuse.clear()
        await alice.publish(Sphere="SphereWork")
        last = server.requests("PUBLISH")[-1].body
        assert b"meeting" in last and b"work" in last
        assert b"office" not in last


async def test_an_entity_tag_that_the_server_forgot_starts_anew() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        server.forgotten = True
        await alice.publish(Activity="Travel")
        sent = server.requests("PUBLISH")
        assert [m.get("sip-if-match") for m in sent[:3]] == ["", "e1", ""]
        assert b"travel" in sent[-1].body


async def test_decisions_about_several_watchers_at_one_moment_all_hold() -> None:
    names = ["bob", "carol", "dave", "erin"]
    async with site(applications=[application(name) for name in ["alice", *names]]) as here:
        alice = here.application("alice")
        watchers = [f"sip:{name}@example.com" for name in names]
        for name in names:
            await here.application(name).subscribe(ALICE)
        await asyncio.gather(*(alice.decide(w, Activity=True) for w in watchers))
        assert sorted(await alice.watchers()) == watchers


async def test_routes_identity_and_headers_are_on_every_request_out_of_a_dialog() -> None:
    async with presence_server() as server:
        ims = {
            **remote(server),
            "route": ["sip:edge.example.com;lr", "<sip:scscf.example.com:6060;lr;orig>"],
            "identity": "p-asserted-identity",
            "headers": {"P-Visited-Network-ID": "visited.example.com"},
        }
        async with site(presence_server=ims) as here:
            bob = here.application("bob")
            await bob.rest("PUT", "/presence", {"presence": attributes(Activity="Meeting")})
            await bob.subscribe(CAROL)
            for request in (await server.request("PUBLISH"), await server.subscription(CAROL)):
                routes = [value for name, value in request.headers if name == "route"]
                assert routes == [
                    "<sip:edge.example.com;lr>",
                    "<sip:scscf.example.com:6060;lr;orig>",
                ]
                assert request.get("p-asserted-identity") == "<sip:bob@example.com>"
                assert request.get("p-visited-network-id") == "visited.example.com"


async def test_nothing_is_said_about_identity_by_default() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        await here.application("bob").subscribe(CAROL)
        request = await server.subscription(CAROL)
        for name in ("route", "p-asserted-identity", "p-preferred-identity"):
            assert request.get(name) == ""


# --- what is held is not told again (RFC 5839)


async def test_a_notify_without_body_in_a_new_dialog_keeps_the_values() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        first = await server.subscription(CAROL)
        server.notify(first, document("meeting"), etag="e1")
        await bob.told("notifySubscription")
        assert await bob.start(CAROL, "w-1") == []
        await bob.told_status(Activity="Meeting")
        server.notify(first, state="terminated;reason=deactivated")
        again = await server.subscription(CAROL, index=1)
        assert again.get("suppress-if-match") == "e1"
        server.notify(again, etag="e1")
        await server.response("NOTIFY", 2)
        status, there = await bob.presence(CAROL)
        assert (status, values(there["result"])["Activity"]) == (200, "Meeting")
        server.notify(again, document("travel"), etag="e2")
        await bob.told_status(Activity="Travel")


async def test_an_empty_notify_with_a_tag_of_something_else_is_no_news() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        first = await server.subscription(CAROL)
        server.notify(first, document("meeting"), etag="e1")
        await bob.told("notifySubscription")
        server.notify(first, etag="e2")
        await server.response("NOTIFY", 1)
        status, there = await bob.presence(CAROL)
        assert (status, values(there["result"])["Activity"]) == (200, "Meeting")


# --- news are wanted no oftener than contracts can pass them on (RFC 6446)

MINUTELY = "active;expires=600;max-rate=0.0166666667"


async def test_a_contracts_frequency_goes_out_and_a_stricter_one_is_told_at_once() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        first = await server.subscription(CAROL)
        assert first.get("event") == "presence"
        server.notify(first, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL, "w-1", frequency={"metric": "Minute", "units": 1})
        server.notify(first, state="terminated;reason=deactivated")
        slow = await server.until(
            lambda: [m for m in server.requests("SUBSCRIBE") if "max-rate" in m.get("event")]
        )
        assert slow.get("event") == "presence;max-rate=0.0166666667"
        slow_tag = f";tag={server.tags[slow.get('call-id')]}"
        server.notify(slow, document("travel"), state=MINUTELY)
        await server.response("NOTIFY", 2)
        await bob.start(CAROL, "w-2")
        fast = await server.until(
            lambda: [m for m in server.requests("SUBSCRIBE") if m.get("to").endswith(slow_tag)]
        )
        assert (fast.get("event"), fast.get("call-id")) == ("presence", slow.get("call-id"))


async def test_a_poll_is_not_answered_with_what_is_a_minute_old() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        first = await server.subscription(CAROL)
        server.notify(first, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL, "w-1", frequency={"metric": "Minute", "units": 1})
        server.notify(first, state="terminated;reason=deactivated")
        slow = await server.until(
            lambda: [m for m in server.requests("SUBSCRIBE") if "max-rate" in m.get("event")]
        )
        server.notify(slow, document("meeting"), state=MINUTELY)
        await server.response("NOTIFY", 2)
        poll = asyncio.create_task(bob.presence(CAROL))
        fetch = await server.until(
            lambda: [m for m in server.requests("SUBSCRIBE") if m.get("expires") == "0"]
        )
        server.notify(fetch, document("travel"), state="terminated;reason=timeout")
        status, there = await poll
        assert (status, values(there["result"])["Activity"]) == (200, "Travel")


# --- when the bridge goes


async def test_servers_of_others_are_told_that_we_go_and_nobody_here_is() -> None:
    async with presence_server() as server:
        async with site(presence_server=remote(server)) as here:
            bob = await here.application("bob").listen()
            await bob.subscribe(CAROL)
            server.notify(await server.subscription(CAROL), document("meeting", CAROL))
            assert (await server.response("NOTIFY")) == 200
            winfo = await server.subscription(BOB, "presence.winfo")
            server.notify(winfo, kind="application/watcherinfo+xml")
            await server.response("NOTIFY", 1)
        goodbyes = [m for m in server.requests("SUBSCRIBE") if m.get("expires") == "0"]
        assert {m.get("call-id") for m in goodbyes} == {
            (await server.subscription(CAROL)).get("call-id"),
            winfo.get("call-id"),
        }


async def test_a_server_that_is_silent_does_not_keep_the_bridge_from_going() -> None:
    async with presence_server() as server:
        async with site(presence_server=remote(server)) as here:
            await here.application("bob").subscribe(CAROL)
            server.notify(await server.subscription(CAROL), document("meeting", CAROL))
            await server.response("NOTIFY")
            server.silent.add("SUBSCRIBE")
            started = time.monotonic()
        # The rest of a bridge takes its time too.
        assert time.monotonic() - started < LEAVE_SECONDS + 5.0
        assert any(m.get("expires") == "0" for m in server.requests("SUBSCRIBE"))
