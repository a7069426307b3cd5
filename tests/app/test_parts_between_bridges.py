"""Two bridges, one the presence server of the other: parts, filters, what applications see of them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sipbridge.agent.presence_agent import Seen
from sipbridge.app.sip_client import SipClient
from sipbridge.events.notifier import Subscription
from sipbridge.events.publisher import Published
from sipbridge.presence import pidf
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, Site, document, remote, site, until, values

T = TypeVar("T")

DAVE = "sip:dave@example.com"
OPEN = {"sub_handling": "allow"}
OF_PRESENCE = b"\r\nEvent: presence\r\n"


def watching(there: Site) -> list[Subscription]:
    """The living subscriptions to presence at a bridge's agent."""
    graph = there.bridge.graph
    assert graph is not None and graph.agent is not None
    living = graph.agent.notifier.subscriptions.values()
    return [s for s in living if s.package.name == "presence"]


def filters(there: Site) -> list[str]:
    """What the filters there include, as the last steps of their paths."""
    (subscription,) = watching(there)
    assert isinstance(subscription.context, Seen)
    (one,) = subscription.context.filters or (None,)
    return [] if one is None else [c.path.text.rsplit(":", 1)[1] for c in one.include if c.path]


def listen_in(here: Site) -> list[bytes]:
    """From now on, every message that comes to this bridge."""
    graph, came = here.bridge.graph, list[bytes]()
    assert graph is not None
    graph.gateway_driver.tap_in = lambda data, flow, at, trace: came.append(data)
    return came


def profile(folder: Path, text: str) -> str:
    path = folder / "peer.toml"
    path.write_text(text)
    return str(path)


async def publish(there: Site, activity: str, place: str) -> tuple[SipClient, str]:
    """Dave's phone says where he is and what he does: the phone, and its publication."""
    phone = await there.phone("dave")
    made = phone.publish(document(activity, DAVE, place), entity=Uri.parse(DAVE))
    said = await phone.wait_for(lambda s: isinstance(s, Published), PATIENCE)
    assert isinstance(said, Published)
    return phone, made


async def now(value: Callable[[], T], wanted: T) -> None:
    """Wait until it is so."""

    async def ask() -> T:
        await asyncio.sleep(0)
        return value()

    await until(ask, lambda found: found == wanted)


async def test_what_an_application_changes_is_published_in_parts() -> None:
    async with (
        site(agent=OPEN) as there,
        site(presence_server=remote(f"sip:{there.sip};transport=udp")) as here,
    ):
        alice = here.application("alice")
        graph, agent = here.bridge.graph, there.bridge.graph
        assert graph is not None and agent is not None and agent.agent is not None
        await alice.publish(Activity="Busy", Sphere="SphereWork", Privacy="PrivacyPublic")
        for place in ("Office", "Home", "Train"):
            await alice.publish(Place=place)
            (ours,) = graph.network.publisher.publications.values()
            assert (ours.parts.taken, ours.parts.is_part) == (True, True)
            (theirs,) = agent.agent.compositor.by_etag.values()
            assert pidf.parse(theirs.body) == pidf.parse(ours.body)


async def test_changes_are_told_in_parts_and_applications_see_them() -> None:
    async with (
        site(agent=OPEN) as there,
        site(presence_server=remote(f"sip:{there.sip};transport=udp")) as here,
    ):
        bob = await here.application("bob").listen()
        phone, made = await publish(there, "busy", "office")
        await bob.subscribe(DAVE)
        await bob.told("notifySubscription")
        await bob.start(DAVE)
        seen = values((await bob.told("statusChanged"))["changedAttributes"])
        assert (seen["Activity"], seen["Place"]) == ("Busy", "Office")
        came = listen_in(here)
        phone.modify(made, document("vacation", DAVE, "office"))
        seen = values((await bob.told("statusChanged"))["changedAttributes"])
        assert seen == {"Activity": "Holiday"}
        _, answer = await bob.presence(DAVE)
        assert values(answer["result"])["Place"] == "Office"
        (notify,) = [data for data in came if data.startswith(b"NOTIFY") and OF_PRESENCE in data]
        assert b"pidf-diff+xml" in notify and b"vacation" in notify and b"office" not in notify


async def test_a_filter_asks_for_what_applications_asked_for(tmp_path: Path) -> None:
    async with site(agent=OPEN) as there:
        server = {
            **remote(f"sip:{there.sip};transport=udp"),
            "profile": profile(tmp_path, "filters = true\n"),
        }
        async with site(presence_server=server) as here:
            bob = await here.application("bob").listen()
            await publish(there, "busy", "office")
            await bob.subscribe(DAVE, "Place")
            await bob.told("notifySubscription")
            assert filters(there) == ["place-type", "place-is"]
            await bob.start(DAVE)
            seen = values((await bob.told("statusChanged"))["changedAttributes"])
            assert seen == {"Place": "Office"}
            await bob.subscribe(DAVE, "Place", "Sphere")
            await now(lambda: "sphere" in filters(there), wanted=True)
            await bob.subscribe(DAVE)
            await now(lambda: bool(filters(there)), wanted=False)
            await until(
                lambda: bob.presence(DAVE),
                lambda answer: "Activity" in values(answer[1]["result"]),
            )


async def test_without_the_profile_no_filter_is_sent() -> None:
    async with (
        site(agent=OPEN) as there,
        site(presence_server=remote(f"sip:{there.sip};transport=udp")) as here,
    ):
        bob = await here.application("bob").listen()
        await bob.subscribe(DAVE, "Place")
        await bob.told("notifySubscription")
        assert filters(there) == []
