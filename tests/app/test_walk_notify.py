"""One NOTIFY through the code: from the socket to the waiting connect in seven hops."""

from tests.app.hops import Walk
from tests.app.rig import document, presence_server, remote, site, values

CAROL = "sip:carol@example.com"
HOPS = [
    ("transports/udp.py", "readable"),
    ("transports/driver.py", "receive_message"),
    ("sip/user_agent.py", "receive_datagram"),
    ("events/subscriber.py", "receive_request"),
    ("app/network.py", "notified"),
    ("gateway/watcher.py", "presence_changed"),
    ("bayeux/server.py", "publish"),
]
FILES = [file for file, _ in HOPS]


async def test_a_notify_takes_seven_hops_to_the_application() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        bob = await there.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        assert values((await bob.told("statusChanged"))["changedAttributes"]) == {
            "Activity": "Meeting"
        }

        await bob.watchers()  # served after the connect that waits now
        walk = Walk()
        with walk.recording():
            server.notify(asked, document("travel", place="train"))
            told = await bob.told("statusChanged")

        assert walk.files(FILES, HOPS[0]) == FILES
        begun = [walk.calls.index(hop) for hop in HOPS]
        assert begun == sorted(begun)
        assert told["correlator"] == "w-1"
        assert told["presentity"] == CAROL
        assert values(told["changedAttributes"]) == {"Activity": "Travel", "Place": "Train"}
        assert server.responses("NOTIFY") == [200, 200]


async def test_the_pure_functions_are_asked_by_the_hop_that_needs_them() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        bob = await there.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told("statusChanged")

        await bob.watchers()  # served after the connect that waits now
        walk = Walk()
        with walk.recording():
            server.notify(asked, document("travel", place="train"))
            await bob.told("statusChanged")

        assert "sip/parser.py" in walk.between(HOPS[2], HOPS[3])
        assert "sip/transactions.py" in walk.between(HOPS[2], HOPS[3])
        assert "presence/pidf.py" in walk.between(HOPS[4], HOPS[5])
        mapped = walk.between(HOPS[5], HOPS[6])
        assert {"gateway/authorization.py", "mapping/ocsg.py", "gateway/contract.py"} <= mapped
        read = walk.between(HOPS[4], HOPS[5])
        assert not {file for file in read if file.startswith(("mapping/", "bayeux/"))}


async def test_the_application_is_told_after_the_200_is_queued() -> None:
    """The peer must not wait for our work: its answer is made before the document is read."""
    async with presence_server() as server, site(presence_server=remote(server)) as there:
        bob = await there.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        walk = Walk()
        with walk.recording():
            server.notify(asked, document("meeting"))
            await bob.told("notifySubscription")
        sent = walk.calls.index(("transports/udp.py", "send"))
        assert sent < walk.calls.index(("app/network.py", "notified"))
