"""Which presence servers answer, and what readiness makes of it."""

import pytest

from sipbridge.app.peers import tell
from sipbridge.events.peer_watch import PeerWatch
from sipbridge.events.publisher import Published, PublishFailed, TagForgotten, Unpublished
from sipbridge.events.subscriber import Accepted, RefreshFailed, Refused, Terminated
from tests.app.rig import Application, attributes, presence_server, remote, site, until

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


class Heard(PeerWatch):
    """A watch that keeps what it was told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def answered(self, now: float) -> None:
        self.words.append("answered")

    def failed(self, why: str, now: float, subscription: str = "") -> None:
        self.words.append(f"failed {why} {subscription}".strip())

    def refused(self, status: int, now: float) -> None:
        self.words.append(f"refused {status}")

    def forgot(self, now: float) -> None:
        self.words.append("forgot")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (Accepted("s", 3600), ["answered"]),
        (Published("p", "e1", 3600), ["answered"]),
        (RefreshFailed("s", None, "timeout"), ["failed timeout s"]),
        (RefreshFailed("s", 503, "Service Unavailable"), ["refused 503"]),
        (RefreshFailed("s", 500, "Server Internal Error"), ["answered"]),
        (Refused("s", 408, "timeout", None), ["failed timeout"]),
        (Refused("s", 504, "Server Time-out", None), ["refused 504"]),
        (Refused("s", 403, "Forbidden", None), ["answered"]),
        (PublishFailed("p", None, "transport", None), ["failed transport"]),
        (PublishFailed("p", 412, "Conditional Request Failed", None), ["answered"]),
        (Unpublished("p"), ["answered"]),
        (TagForgotten("p", 412), ["forgot"]),
        (Terminated("s", "", None, 481, True), ["forgot"]),
        (Terminated("s", "timeout", None, None, True), []),
    ],
)
def test_what_each_indication_says(said: object, heard: list[str]) -> None:
    watch = Heard()
    tell(watch, said, 1.0)
    assert watch.words == heard


async def health(here: Application) -> tuple[object, ...]:
    """What readiness says of everything and of the presence server, and the state that the metrics name."""
    _, ready = await here.ask("GET", "/health/ready")
    lines = (await here.text("/metrics")).splitlines()
    known = [line for line in lines if line.startswith("sipbridge_peer_state")]
    (one,) = [line.split('state="')[1].split('"')[0] for line in known if line.endswith(" 1.0")]
    return ready["status"], ready["checks"]["peer remote"], one


async def test_a_peer_that_does_not_answer_degrades_and_comes_back() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        for uri in (ALICE, BOB):
            await server.subscription(uri, "presence.winfo")
        assert await health(alice) == ("ok", "ok", "up")
        server.refuse = {"PUBLISH": 503, "OPTIONS": 503}
        said = {"presence": attributes(Activity="Meeting")}
        assert (await alice.ask("PUT", "/rest/presence/presence", said))[0] == 503
        await until(lambda: health(alice), lambda seen: seen == ("degraded", "failed", "suspect"))
        server.refuse.clear()
        # The machine tries again by itself; nobody has to call.
        await until(lambda: health(alice), lambda seen: seen == ("ok", "ok", "up"))


async def test_one_request_that_is_not_served_is_no_outage() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        await server.subscription(ALICE, "presence.winfo")
        server.refuse["PUBLISH"] = 503
        said = {"presence": attributes(Activity="Meeting")}
        assert (await alice.ask("PUT", "/rest/presence/presence", said))[0] == 503
        await server.request("OPTIONS")
        assert await health(alice) == ("ok", "ok", "up")


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
