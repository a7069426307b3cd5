"""Cores in one process: no recursion, no loss."""

import asyncio

import pytest

from sipbridge.errors import ConfigurationError
from sipbridge.sip.flow import Flow
from sipbridge.transports.memory import BATCH, MemoryNetwork

HERE, THERE = ("here", 5060), ("there", 5060)


class User:
    """Answers each message by another until it has seen enough."""

    def __init__(self, network: MemoryNetwork, answers: int = 0) -> None:
        self.network = network
        self.answers = answers
        self.got: list[tuple[bytes, Flow]] = []
        self.failed: list[tuple[Flow, str]] = []
        self.flushes = 0
        self.inside = False
        self.wanted = 0
        self.done = asyncio.Event()

    def receive_message(self, data: bytes, flow: Flow) -> None:
        assert not self.inside, "called from inside its own call"
        self.inside = True
        self.got.append((data, flow))
        if self.answers:
            self.answers -= 1
            self.network.send(data + b".", Flow("memory", flow.local, flow.remote), self)
        elif len(self.got) >= self.wanted:
            self.done.set()
        self.inside = False

    def send_failed(self, flow: Flow, error: str) -> None:
        self.failed.append((flow, error))
        self.done.set()

    async def quiet(self, count: int) -> None:
        """Wait until so many messages have come, and the flush after the last."""
        self.wanted = count
        await self.done.wait()

    def flush(self) -> None:
        self.flushes += 1


async def test_a_long_conversation_never_recurses() -> None:
    network = MemoryNetwork()
    here, there = User(network, 5000), User(network, 5000)
    network.listen(HERE, here)
    network.listen(THERE, there)
    network.send(b"", Flow("memory", HERE, THERE), here)
    await there.done.wait()
    assert len(here.got) == 5000 and len(there.got) == 5001
    assert there.got[0][1] == Flow("memory", THERE, HERE)


async def test_messages_keep_their_order_and_come_in_batches() -> None:
    network = MemoryNetwork()
    here, there = User(network), User(network)
    network.listen(THERE, there)
    count = 2 * BATCH + 1
    for i in range(count):
        network.send(b"%d" % i, Flow("memory", HERE, THERE), here)
    assert not there.got
    await there.quiet(count)
    assert [data for data, _ in there.got] == [b"%d" % i for i in range(count)]
    assert there.flushes == 3


async def test_a_name_nobody_has_is_reported_to_the_sender() -> None:
    network = MemoryNetwork()
    here = User(network)
    network.send(b"x", Flow("memory", HERE, THERE), here)
    assert not here.failed
    await here.done.wait()
    assert here.failed == [(Flow("memory", HERE, THERE), "nobody listens on memory:there")]


def test_a_name_is_taken_once_and_free_again_afterwards() -> None:
    network = MemoryNetwork()
    user = User(network)
    network.listen(HERE, user)
    with pytest.raises(ConfigurationError, match="memory:here is in use"):
        network.listen(HERE, user)
    network.close(HERE, User(network))
    with pytest.raises(ConfigurationError):
        network.listen(HERE, user)
    network.close(HERE, user)
    network.close(HERE, user)
    network.listen(HERE, user)
