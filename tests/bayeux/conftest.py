"""A server with countable ids and a client that speaks to it without sockets."""

from collections.abc import Callable, Iterator
from itertools import count

import orjson
import pytest

from sipbridge.bayeux.messages import Message
from sipbridge.bayeux.server import BayeuxServer, Settings
from sipbridge.bayeux.session import Exchange, Link, Origin

Reply = dict[str, object]


def counting_tokens() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"client{next(numbers)}"


class Talk:
    """One application's client on a server whose clock the test turns."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.server = BayeuxServer(settings or Settings(), counting_tokens())
        self.now = 100.0
        self.origin = Origin("app1", header=True)

    def post(self, *batch: Message, origin: Origin | None = None) -> Exchange:
        return self.server.receive(list(batch), origin or self.origin, self.now)

    def read(self, exchange: Exchange) -> list[Reply]:
        body = self.server.collect(exchange, self.now)
        return orjson.loads(body) if body else []

    def ask(self, *batch: Message, origin: Origin | None = None) -> list[Reply]:
        exchange = self.post(*batch, origin=origin)
        assert exchange.session is None
        return self.read(exchange)

    def one(self, *batch: Message, origin: Origin | None = None) -> Reply:
        (reply,) = self.ask(*batch, origin=origin)
        return reply

    def handshake(self, origin: Origin | None = None, **more: object) -> Reply:
        return self.one({**HANDSHAKE, **more}, origin=origin)

    def connected(self, *channels: str, ack: bool = False) -> str:
        """A session that has connected once and is subscribed; its client id."""
        reply = self.handshake(ext={"ack": True}) if ack else self.handshake()
        client = str(reply["clientId"])
        assert self.one(self.connect(client))["successful"] is True
        for channel in channels:
            assert self.one(subscribe(client, channel))["successful"] is True
        self.server.wakeups()
        return client

    def connect(self, client: str, **more: object) -> Message:
        return {
            "channel": "/meta/connect",
            "clientId": client,
            "connectionType": "long-polling",
            "id": "c",
            **more,
        }

    def pass_seconds(self, seconds: float) -> None:
        """Turn the clock, stopping at every deadline on the way."""
        end = self.now + seconds
        while (when := self.server.next_timeout()) is not None and when <= end:
            self.now = max(self.now, when)
            self.server.handle_timeout(self.now)
        self.now = end

    def link(self, origin: Origin | None = None, address: str = "192.0.2.1") -> Link:
        link = self.server.open_link(origin or self.origin, address, self.now)
        assert link is not None
        return link

    def frame(self, link: Link, *batch: Message) -> list[Reply]:
        self.server.receive_on(link, list(batch), self.now)
        return self.pushed(link)

    def pushed(self, link: Link) -> list[Reply]:
        frame = self.server.collect(link, self.now)
        return orjson.loads(frame) if frame else []


HANDSHAKE: Message = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["websocket", "long-polling"],
    "id": "h",
}


def subscribe(client: str, channel: object) -> Message:
    return {"channel": "/meta/subscribe", "clientId": client, "subscription": channel, "id": "s"}


@pytest.fixture
def talk() -> Iterator[Talk]:
    yield Talk()
