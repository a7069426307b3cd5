"""A new event package is a value: nothing in `events` or `app` knows it, and it works on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sipbridge.events.notifier import Input, Notifier
from sipbridge.events.package import EventPackage
from sipbridge.events.subscriber import Notified, Refused, Subscriber, Terminated
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports.driver import Driver, bind
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE
from tests.events.toy import ToyAuthority

WEATHER = EventPackage(
    "weather", ("application/x-toy",), default_expires=600, min_expires=10, rfc="none, ours"
)
GRAZ, BOB = Uri.parse("sip:graz@example.com"), Uri.parse("sip:bob@example.com")


class Station:
    """One core on a UDP socket, and what it reports."""

    def __init__(self) -> None:
        self.bound = bind(["udp:127.0.0.1:0"])
        self.core = UserAgent([b.point for b in self.bound])
        self.said: asyncio.Queue[object] = asyncio.Queue()
        self.driver = Driver(self.core, self.bound, on_indication=self.said.put_nowait)

    @property
    def address(self) -> str:
        host, port = self.bound[0].point.local
        return f"{host}:{port}"

    async def hear(self, kind: type[object]) -> object:
        """The next indication of this kind."""
        async with asyncio.timeout(PATIENCE):
            while not isinstance(said := await self.said.get(), kind):
                pass
        return said


@asynccontextmanager
async def station() -> AsyncIterator[Station]:
    made = Station()
    await made.driver.start()
    try:
        yield made
    finally:
        await made.driver.stop()


async def test_a_package_of_ones_own_is_served_and_watched() -> None:
    async with station() as server, station() as client:
        authority = ToyAuthority(server.core)
        authority.word = b"sunny"
        notifier = Notifier(server.core, {WEATHER.name: WEATHER}, authority)
        subscriber = Subscriber(client.core, {WEATHER.name: WEATHER})
        policy = PeerPolicy(next_hops=(f"sip:{server.address};transport=udp",))
        now = client.driver.now
        id = subscriber.subscribe(GRAZ, BOB, WEATHER.name, now(), policy=policy)
        client.driver.turn()
        said = await client.hear(Notified)
        assert isinstance(said, Notified)
        assert (said.package, said.state) == ("weather", "active")
        assert (said.content_type, said.body) == ("application/x-toy", b"sunny")
        assert said.expires == 600

        authority.word = b"rain"
        notifier.offer(authority.subscriptions[0], server.driver.now())
        server.driver.turn()
        said = await client.hear(Notified)
        assert isinstance(said, Notified) and said.body == b"rain"

        subscriber.end(id, now())
        client.driver.turn()
        ended = await client.hear(Terminated)
        assert isinstance(ended, Terminated) and not ended.will_retry
        assert authority.steps[-1][0] == "terminated"


async def test_a_package_that_the_server_does_not_know_is_489() -> None:
    async with station() as server, station() as client:
        Notifier(server.core, {WEATHER.name: WEATHER}, ToyAuthority(server.core))
        other = EventPackage("tides", ("application/x-toy",))
        subscriber = Subscriber(client.core, {other.name: other})
        policy = PeerPolicy(next_hops=(f"sip:{server.address};transport=udp",))
        subscriber.subscribe(GRAZ, BOB, other.name, client.driver.now(), policy=policy)
        client.driver.turn()
        said = await client.hear(Refused)
        assert isinstance(said, Refused) and said.status == 489


async def test_pending_and_approved_work_for_it_too() -> None:
    async with station() as server, station() as client:
        authority = ToyAuthority(server.core)
        authority.pending = True
        notifier = Notifier(server.core, {WEATHER.name: WEATHER}, authority)
        subscriber = Subscriber(client.core, {WEATHER.name: WEATHER})
        policy = PeerPolicy(next_hops=(f"sip:{server.address};transport=udp",))
        subscriber.subscribe(GRAZ, BOB, WEATHER.name, client.driver.now(), policy=policy)
        client.driver.turn()
        said = await client.hear(Notified)
        assert isinstance(said, Notified) and (said.state, said.body) == ("pending", b"")
        notifier.happen(authority.subscriptions[0], Input.APPROVED, server.driver.now())
        server.driver.turn()
        said = await client.hear(Notified)
        assert isinstance(said, Notified) and (said.state, said.body) == ("active", b"hello")
