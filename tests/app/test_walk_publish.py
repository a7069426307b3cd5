"""One REST publish through the code: from the route to the datagram in seven hops, and its 200 back."""

import asyncio

from tests.app.hops import Walk
from tests.app.rig import PresenceServer, Site, attributes, presence_server, remote, site

HOPS = [
    ("rest/ocsg.py", "publish"),
    ("gateway/presentity.py", "publish"),
    ("app/publications.py", "publish"),
    ("events/publisher.py", "publish"),
    ("sip/user_agent.py", "request"),
    ("transports/driver.py", "flush"),
    ("transports/udp.py", "send"),
]
FILES = [file for file, _ in HOPS]


async def walked(there: Site, server: PresenceServer) -> Walk:
    """Alice publishes, and what ran for it. Whoever else sends at that moment has been waited for."""
    await server.subscription("sip:bob@example.com", "presence.winfo")
    alice = there.application("alice")
    await alice.watchers()
    walk = Walk()
    with walk.recording():
        await alice.publish(Activity="Meeting", Place="Office")
    return walk


async def test_a_publish_takes_seven_hops_to_the_wire() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        walk = await walked(there, server)
        assert walk.files(FILES, HOPS[0]) == FILES
        begun = [walk.calls.index(hop) for hop in HOPS]
        assert begun == sorted(begun)
        sent = await server.request("PUBLISH")
        assert sent.start == "PUBLISH sip:alice@example.com SIP/2.0"
        assert sent.get("event") == "presence"
        assert b"meeting" in sent.body
        assert b"office" in sent.body


async def test_the_pure_functions_are_asked_by_the_hop_that_needs_them() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        walk = await walked(there, server)
        assert {"rest/ocsg_reading.py", "mapping/attributes.py"} & walk.between(HOPS[0], HOPS[1])
        assert "mapping/ocsg.py" in walk.between(HOPS[1], HOPS[2])
        assert "presence/pidf.py" in walk.between(HOPS[2], HOPS[3])
        assert "sip/transactions.py" in walk.between(HOPS[4], HOPS[6])


async def test_the_200_walks_back_and_the_call_returns_after_it() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        walk = await walked(there, server)
        back = [
            ("transports/udp.py", "readable"),
            ("transports/driver.py", "receive_message"),
            ("sip/user_agent.py", "receive_datagram"),
            ("events/publisher.py", "accepted"),
            ("app/publications.py", "published"),
            ("rest/api.py", "reply"),
        ]
        came = walk.calls.index(HOPS[-1])
        steps = [walk.calls.index(hop, came) for hop in back]
        assert steps == sorted(steps)


async def test_a_second_publish_modifies_the_first() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        alice = there.application("alice")
        await alice.publish(Activity="Meeting")
        await alice.publish(Activity="Travel")
        first, second = server.requests("PUBLISH")
        assert (first.get("sip-if-match"), second.get("sip-if-match")) == ("", "e1")
        assert b"travel" in second.body


async def test_a_refusal_comes_back_as_one_fault() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        server.refuse["PUBLISH"] = 403
        alice = there.application("alice")
        status, body = await alice.ask(
            "PUT", "/rest/presence/presence", {"presence": attributes(Activity="Meeting")}
        )
        assert (status, body["error"]["messageId"]) == (403, "POL0001")
        assert body["error"]["variables"] == ["403"]


async def test_calls_of_one_publication_leave_in_their_order() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        alice = there.application("alice")
        words = ["Meeting", "Travel", "Holiday", "OnThePhone", "Sleeping"]
        await alice.publish(Activity="Available")
        await asyncio.gather(*(alice.publish(Activity=word) for word in words))
        sent = server.requests("PUBLISH")
        assert [m.get("sip-if-match") for m in sent] == [
            "",
            *(f"e{n}" for n in range(1, len(sent))),
        ]
