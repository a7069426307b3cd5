"""One transaction over each transport: PUBLISH with a document of a kilobyte and its 200, both sides.

Two drivers with their cores in one process on uvloop, real sockets on loopback, one connection, 64 requests
under way. Limit: the same cores joined in memory, so the ratio tells what is left when sockets, framing and
encryption are paid.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench.measure import Effort, Figure, figure
from sipbridge.sip.address import NameAddr
from sipbridge.sip.locate import bracketed
from sipbridge.sip.message import Response
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports.driver import Bound, Driver, bind, bind_outgoing
from sipbridge.transports.memory import MemoryNetwork
from sipbridge.transports.tcp import Rules
from sipbridge.transports.tls import Tls
from tests.transports.certificates import Authority

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
LIMIT = "in memory"
UNDER_WAY = 64
SENDER, RECEIVER = (
    NameAddr.parse("<sip:alice@example.com>"),
    NameAddr.parse("<sip:bob@example.com>"),
)
BODY = b"<presence/>" + b" " * 1000


class Agrees:
    """Answers 200 to everything."""

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        incoming.respond(200, headers=[("SIP-ETag", "e1"), ("Expires", "3600")])


class Asks:
    """Keeps requests under way until all are answered."""

    def __init__(self, driver: Driver, hop: str, count: int) -> None:
        self.driver, self.left, self.waiting = driver, count, count
        self.policy = PeerPolicy(next_hops=(hop,))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ask(self, now: float) -> None:
        if not self.left:
            return
        self.left -= 1
        core = self.driver.core
        fields = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
        request = core.new_request(
            "PUBLISH", "sip:bob@example.com", from_=SENDER, to=RECEIVER, headers=fields, body=BODY
        )
        core.request(request, self, now, policy=self.policy)

    def receive_response(self, response: Response, now: float) -> None:
        assert response.status == 200
        self.waiting -= 1
        if not self.waiting:
            self.done.set_result(None)
        self.ask(now)

    def request_failed(self, reason: str, now: float) -> None:
        self.done.set_exception(RuntimeError(reason))


class Ends:
    """A client and a server on one transport."""

    def __init__(self, transport: str, rules: Rules) -> None:
        memory = MemoryNetwork()
        listen = "memory:server" if transport == "memory" else f"{transport}:127.0.0.1:0"
        (served,) = bind([listen])
        core = UserAgent([served.point])
        core.serve("PUBLISH", Agrees())
        self.server = self.driver(core, served, rules, memory)
        calling = self.calling(transport)
        self.client = self.driver(UserAgent([calling.point]), calling, rules, memory)
        host, port = served.point.local
        scheme = "sips" if transport in ("tls", "wss") else "sip"
        self.hop = f"{scheme}:{bracketed(host)}:{port};transport={served.point.transport}"

    @staticmethod
    def calling(transport: str) -> Bound:
        if transport in ("udp", "memory"):
            (bound,) = bind(["memory:client" if transport == "memory" else "udp:127.0.0.1:0"])
            return bound
        return bind_outgoing(transport, "127.0.0.1")

    @staticmethod
    def driver(core: UserAgent, bound: Bound, rules: Rules, memory: MemoryNetwork) -> Driver:
        return Driver(core, [bound], on_indication=lambda said: None, memory=memory, rules=rules)

    async def rate(self, count: int) -> float:
        """Transactions for each CPU second of both sides."""
        await self.play(UNDER_WAY)  # the connection is there
        before = time.process_time()
        await self.play(count)
        return count / (time.process_time() - before)

    async def play(self, count: int) -> None:
        asks = Asks(self.client, self.hop, count)
        for _ in range(UNDER_WAY):
            asks.ask(self.client.now())
        self.client.turn()
        await asks.done

    async def run(self, count: int) -> float:
        await self.server.start()
        await self.client.start()
        try:
            return await self.rate(count)
        finally:
            await self.client.stop()
            await self.server.stop()


async def measured(transport: str, rules: Rules, count: int) -> float:
    return await Ends(transport, rules).run(count)


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    count = max(effort.count // 4, UNDER_WAY)
    with tempfile.TemporaryDirectory(prefix="sipbridge-bench-") as folder:
        authority = Authority(Path(folder))
        pair = authority.issue("server", ["127.0.0.1"])
        rules = Rules(tls=Tls([pair], ca=authority.ca))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for transport in TRANSPORTS:
                ours, limit = [], []
                for _ in range(effort.runs):
                    limit.append(runner.run(measured("memory", rules, count)))
                    ours.append(runner.run(measured(transport, rules, count)))
                yield figure(
                    f"PUBLISH and 200 over {transport}, both sides",
                    "transactions/CPU-s",
                    ours,
                    {LIMIT: limit},
                )
