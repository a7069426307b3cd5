"""Streams: reuse, refusal, idleness, peers that do not read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from sipbridge.sip.flow import Flow
from sipbridge.transports import tcp
from sipbridge.transports.driver import bind
from sipbridge.transports.tcp import IDLE, PING, PING_EVERY, SILENT_AFTER_ACCEPT, TcpEndpoint


class User:
    """What the driver would be."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, Flow]] = asyncio.Queue()
        self.closed: asyncio.Queue[Flow] = asyncio.Queue()
        self.failed: asyncio.Queue[tuple[Flow, str]] = asyncio.Queue()

    def receive_stream(self, data: bytes, flow: Flow) -> None:
        self.got.put_nowait((data, flow))

    def stream_closed(self, flow: Flow) -> None:
        self.closed.put_nowait(flow)

    def send_failed(self, flow: Flow, error: str) -> None:
        self.failed.put_nowait((flow, error))


class Listener:
    """An endpoint on a free port with a clock turned by hand."""

    def __init__(self) -> None:
        (bound,) = bind(["tcp:127.0.0.1:0"])
        assert bound.sock is not None
        self.address = bound.point.local
        self.user = User()
        self.time = 1000.0
        self.count = 0
        self.endpoint = TcpEndpoint(
            bound.sock, bound.point, self.user, next_number=self.number, now=lambda: self.time
        )

    def number(self) -> int:
        self.count += 1
        return self.count

    def to(self, other: "Listener") -> Flow:
        return Flow("tcp", self.address, other.address)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Listener, Listener]]:
    made = Listener(), Listener()
    for one in made:
        await one.endpoint.start(asyncio.get_running_loop())
    yield made
    for one in made:
        await one.endpoint.close()


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The other side has closed or reset the connection."""
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(65536):
            pass
    writer.close()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        await writer.wait_closed()


Ends = tuple[Listener, Listener]


async def test_messages_share_one_connection_and_answers_come_back_on_it(ends: Ends) -> None:
    alice, bob = ends
    for data in (b"one,", b"two,", b"three"):
        alice.endpoint.send(data, alice.to(bob))
    received, arrival = b"", None
    while received != b"one,two,three":
        data, arrival = await bob.user.got.get()
        received += data
    assert arrival is not None and arrival.connection and arrival.local == bob.address
    assert len(bob.endpoint.open) == len(alice.endpoint.open) == 1
    bob.endpoint.send(b"answer", arrival)
    data, back = await alice.user.got.get()
    assert data == b"answer" and back.remote == bob.address
    alice.endpoint.send(b"again", alice.to(bob))
    assert (await bob.user.got.get())[0] == b"again" and len(bob.endpoint.open) == 1


async def test_a_closed_connection_is_told_to_both_and_the_next_message_opens_another(
    ends: Ends,
) -> None:
    alice, bob = ends
    alice.endpoint.send(b"x", alice.to(bob))
    _, arrival = await bob.user.got.get()
    bob.endpoint.close_connection(arrival.connection)
    bob.endpoint.close_connection(999)
    assert await bob.user.closed.get() == arrival
    assert (await alice.user.closed.get()).remote == bob.address
    alice.endpoint.send(b"y", alice.to(bob))
    data, second = await bob.user.got.get()
    assert data == b"y" and second.connection != arrival.connection


async def test_a_refused_connection_fails_each_waiting_message(ends: Ends) -> None:
    alice, bob = ends
    await bob.endpoint.close()
    for data in (b"one", b"two"):
        alice.endpoint.send(data, alice.to(bob))
    failures = [await alice.user.failed.get() for _ in range(2)]
    assert [flow for flow, _ in failures] == [alice.to(bob)] * 2
    assert all(error for _, error in failures)
    assert not alice.endpoint.waiting


async def test_no_more_than_a_limit_waits_for_one_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = ends
    monkeypatch.setattr(tcp, "MAX_WAITING", 2)
    for _ in range(3):
        alice.endpoint.send(b"x", alice.to(bob))
    flow, error = alice.user.failed.get_nowait()
    assert flow == alice.to(bob) and "wait" in error


async def test_a_peer_that_says_nothing_is_closed_sooner_than_an_idle_one(ends: Ends) -> None:
    alice, bob = ends
    reader, writer = await asyncio.open_connection(*bob.address)
    alice.endpoint.send(b"hello", alice.to(bob))
    _, talker = await bob.user.got.get()
    assert len(bob.endpoint.open) == 2
    bob.time += SILENT_AFTER_ACCEPT + 1
    bob.endpoint.sweep()
    assert (await bob.user.closed.get()).connection != talker.connection
    await ended(reader, writer)
    assert len(bob.endpoint.open) == 1
    bob.time += IDLE
    bob.endpoint.sweep()
    assert (await bob.user.closed.get()).connection == talker.connection


async def test_connections_we_opened_are_pinged(ends: Ends) -> None:
    alice, bob = ends
    alice.endpoint.send(b"hello", alice.to(bob))
    await bob.user.got.get()
    alice.time += PING_EVERY + 1
    bob.time = alice.time
    alice.endpoint.sweep()
    bob.endpoint.sweep()
    assert (await bob.user.got.get())[0] == PING
    assert alice.user.got.empty()


async def test_a_peer_that_does_not_read_is_cut_off(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = ends
    monkeypatch.setattr(tcp, "MAX_UNSENT", 64 * 1024)
    reader, writer = await asyncio.open_connection(*bob.address, limit=1024)
    writer.write(b"hello")
    _, arrival = await bob.user.got.get()
    while bob.endpoint.open:
        bob.endpoint.send(b"x" * 1024 * 1024, arrival)
        await asyncio.sleep(0)
    assert await bob.user.closed.get() == arrival
    await ended(reader, writer)


async def test_beyond_the_limit_connections_are_not_accepted(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob = ends
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 0)
    reader, writer = await asyncio.open_connection(*bob.address)
    await ended(reader, writer)
    assert not bob.endpoint.open and bob.user.closed.empty()
