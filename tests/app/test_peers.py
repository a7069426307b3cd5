"""Which presence servers answer, and what readiness makes of it."""

import pytest

from sipbridge.app.peers import PeerStates, answered
from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import Accepted, RefreshFailed, Refused, Terminated
from tests.app.rig import attributes, presence_server, remote, site, until

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


@pytest.mark.parametrize(
    ("said", "up"),
    [
        (Accepted("s", 3600), True),
        (Published("p", "e1", 3600), True),
        (RefreshFailed("s", None, "timeout"), False),
        (RefreshFailed("s", 503, "Service Unavailable"), False),
        (RefreshFailed("s", 500, "Server Internal Error"), True),
        (Refused("s", 408, "timeout", None), False),
        (Refused("s", 403, "Forbidden", None), True),
        (PublishFailed("p", None, "timeout", None), False),
        (PublishFailed("p", 412, "Conditional Request Failed", None), True),
        (Unpublished("p"), None),
        (Terminated("s", "timeout", None, None, True), None),
    ],
)
def test_what_each_indication_says(said: object, up: bool | None) -> None:
    assert answered(said) is up


def test_the_last_word_counts_for_each_server_alone() -> None:
    states = PeerStates()
    assert states.up("one")
    states.heard("one", False)
    states.heard("two", True)
    assert (states.up("one"), states.up("two")) == (False, True)
    states.heard("one", True)
    assert states.up("one")


def test_good_news_about_servers_that_are_all_up_are_none() -> None:
    states = PeerStates()
    accepted = Accepted("s", 60)
    assert states.news(accepted) is None
    assert states.news(RefreshFailed("s", None, "timeout")) is False
    states.heard("one", False)
    assert states.news(accepted) is True
    assert states.news(Unpublished("p")) is None


async def test_a_peer_that_does_not_answer_degrades_and_comes_back() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        for uri in (ALICE, BOB):  # good news that would come behind the bad
            await server.subscription(uri, "presence.winfo")
        status, body = await alice.ask("GET", "/health/ready")
        assert (status, body["status"]) == (200, "ok")
        assert body["checks"]["peer remote"] == "ok"
        server.refuse["PUBLISH"] = 503
        said = {"presence": attributes(Activity="Meeting")}
        assert (await alice.ask("PUT", "/rest/presence/presence", said))[0] == 503
        status, body = await alice.ask("GET", "/health/ready")
        assert (status, body["status"]) == (200, "degraded")
        assert body["checks"] == {"store": "ok", "sip": "ok", "peer remote": "failed"}
        server.refuse.clear()
        # The machine tries again by itself; nobody has to call.
        await until(lambda: alice.ask("GET", "/health/ready"), lambda a: a[1]["status"] == "ok")


async def test_a_peer_of_one_domain_leaves_the_others_as_they_are() -> None:
    async with presence_server() as server:
        hop = f"sip:127.0.0.1:{server.port}"
        partners = [{"domain": "partner.example", **remote(hop)}]
        async with site(presence_servers=partners) as here:
            bob = here.application("bob")
            server.refuse["SUBSCRIBE"] = 503
            asked = {
                "application": "x",
                "presentity": "sip:pat@partner.example",
                "reference": bob.reference("s-1"),
            }
            assert (await bob.ask("POST", "/rest/presence/subscription", asked))[0] == 503
            status, body = await bob.ask("GET", "/health/ready")
            assert (status, body["status"]) == (200, "degraded")
            assert body["checks"]["peer partner.example"] == "failed"
            await bob.publish(Activity="Meeting")  # embedded: nothing is wrong there


async def test_the_agent_of_our_own_is_no_peer() -> None:
    async with site() as here:
        status, body = await here.application("bob").ask("GET", "/health/ready")
        assert (status, body) == (200, {"status": "ok", "checks": {"store": "ok", "sip": "ok"}})


async def test_a_bridge_that_stops_is_not_ready() -> None:
    async with site() as here:
        bob = here.application("bob")
        assert here.graph is not None
        here.graph.tower.checks.draining = True
        status, body = await bob.ask("GET", "/health/ready")
        assert (status, body["status"]) == (503, "draining")
        assert (await bob.ask("GET", "/health/live"))[0] == 200
