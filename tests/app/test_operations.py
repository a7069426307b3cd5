"""Quotas on the way to the gateway, on a running bridge."""

import asyncio

import pytest

from sipbridge.app import operations
from tests.app.rig import REST, Application, Site, attributes, settings, site

ALICE = "sip:alice@example.com"


async def metrics(there: Site) -> str:
    async with there.application("alice").http.get(there.base + "/metrics") as answer:
        return await answer.text()


async def refused(application: Application, method: str, path: str, body: object) -> None:
    status, answer = await application.ask(method, REST + path, body)
    assert (status, answer["error"]["messageId"]) == (429, "POL0001")
    assert int(application.headers["Retry-After"]) >= 1


async def test_live_subscriptions_are_counted() -> None:
    async with site(limits={"max_subscriptions": 2}) as there:
        bob, alice = there.application("bob"), there.application("alice")
        await bob.subscribe(ALICE)
        await bob.subscribe("sip:carol@example.com")
        body = {
            "application": "Desk app",
            "presentity": "sip:dave@example.com",
            "reference": bob.reference("s"),
        }
        await refused(bob, "POST", "/subscription", body)
        await bob.subscribe(ALICE)  # what one has may be asked for again
        await alice.subscribe("sip:dave@example.com")  # everybody has a quota of one's own
        await alice.block("sip:bob@example.com")
        await bob.rest("POST", "/subscription", body)
        assert 'sipbridge_quota_refusals_total{quota="subscriptions"} 1.0' in await metrics(there)


async def test_running_notifications_are_counted() -> None:
    async with site(limits={"max_contracts": 1}) as there:
        bob, alice = there.application("bob"), there.application("alice")
        await bob.subscribe(ALICE)
        await alice.grant_all("sip:bob@example.com")
        assert await bob.start(ALICE, "w-1") == []
        body = {
            "presentity": ALICE,
            "reference": bob.reference("w-2"),
            "frequency": {"metric": "Second", "units": 0},
            "checkImmediate": True,
        }
        await refused(bob, "PUT", "/notification", body)
        await bob.rest("DELETE", "/notification/w-1")
        assert await bob.start(ALICE, "w-2") == []


async def test_a_quota_counts_what_an_earlier_life_left(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    wanted = settings(limits={"max_subscriptions": 1}, store={"url": url})
    async with site(wanted) as there:
        await there.application("bob").subscribe(ALICE)
    async with site(wanted) as there:
        bob = there.application("bob")
        body = {
            "application": "Desk app",
            "presentity": "sip:dave@example.com",
            "reference": bob.reference("s"),
        }
        await refused(bob, "POST", "/subscription", body)


async def test_requests_are_counted_for_each_application() -> None:
    async with site(limits={"requests_per_second": 3}) as there:
        bob, alice = there.application("bob"), there.application("alice")
        answers = [await bob.ask("GET", REST + "/subscription?filter=watcher") for _ in range(4)]
        assert [status for status, _ in answers] == [200, 200, 200, 429]
        assert await alice.watchers() == []


async def test_publications_that_come_too_fast_go_out_together() -> None:
    async with site(limits={"publishes_per_second": 2}) as there:
        alice = there.application("alice")
        await asyncio.gather(*(alice.publish(Place=word) for word in ("Home", "Office")))
        words = ["Meeting", "Travel", "Holiday", "Sleeping"]
        await asyncio.gather(
            alice.publish(Sphere="SphereWork"),
            *(alice.publish(Activity=word) for word in words),
            alice.publish(Place="Train"),
        )
        await alice.subscribe(ALICE)
        _, answer = await alice.presence(ALICE)
        found = {}
        for attribute in answer["result"]:
            kind = attribute["typeAndValue"]["unionElement"]
            found[kind] = attribute["typeAndValue"].get(kind.lower())
        assert found["Place"] == "Train"
        assert found["Sphere"] == "SphereWork"
        assert found["Activity"] in words
        counted = await metrics(there)
        assert 'sipbridge_quota_refusals_total{quota="publishes-per-second"} 6.0' in counted
        assert 'sipbridge_sip_publications_total{outcome="accepted"} 3.0' in counted


async def test_a_removal_laid_over_what_waits_removes_it() -> None:
    async with site(limits={"publishes_per_second": 2}) as there:
        alice = there.application("alice")
        await alice.publish(Activity="Meeting", Place="Office")
        await alice.publish(Activity="Travel")
        waiting = [
            asyncio.create_task(alice.publish(Sphere="SphereWork")),
            asyncio.create_task(alice.rest("PUT", "/presence", {"presence": []})),
            asyncio.create_task(alice.publish(Place="Train")),
        ]
        await asyncio.gather(*waiting)
        await alice.subscribe(ALICE)
        _, answer = await alice.presence(ALICE)
        kinds = {a["typeAndValue"]["unionElement"] for a in answer["result"]}
        # The three arrive in any order; what stood before the removal never survives it.
        assert "Travel" not in str(answer) and "Office" not in str(answer)
        assert kinds <= {"Activity", "Place", "Sphere", "Other"}


async def test_nobody_waits_longer_than_a_client_has_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "PATIENCE", 0.5)
    async with site(limits={"publishes_per_second": 0.1}) as there:
        alice = there.application("alice")
        await alice.publish(Activity="Meeting")
        await refused(alice, "PUT", "/presence", {"presence": attributes(Activity="Travel")})
        assert int(alice.headers["Retry-After"]) >= 9
