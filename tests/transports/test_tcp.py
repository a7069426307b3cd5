"""Streams: reuse, refusal, idleness, peers that do not read."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import ConnectionDropped
from sipbridge.transports import tcp
from sipbridge.transports.driver import bind
from sipbridge.transports.tcp import (
    FIRST_MESSAGE,
    IDLE,
    MESSAGE_TIME,
    PING,
    PING_EVERY,
    SWEEP_EVERY,
    Rules,
    TcpEndpoint,
)


class User:
    """What the driver would be."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[bytes, Flow]] = asyncio.Queue()
        self.closed: asyncio.Queue[Flow] = asyncio.Queue()
        self.failed: asyncio.Queue[tuple[Flow, str]] = asyncio.Queue()
        self.dropped: asyncio.Queue[ConnectionDropped] = asyncio.Queue()
        self.talkers: set[int] = set()
        self.begun = 0

    def receive_stream(self, data: bytes, flow: Flow) -> None:
        self.talkers.add(flow.connection)
        self.got.put_nowait((data, flow))

    def receive_message(self, data: bytes, flow: Flow) -> None:
        self.got.put_nowait((data, flow))

    def flush(self) -> None:
        pass

    def unfinished(self, flow: Flow) -> tuple[int, int]:
        return int(flow.connection in self.talkers), self.begun

    def connection_opened(self, flow: Flow) -> None:
        pass

    def tell(self, indication: object) -> None:
        assert isinstance(indication, ConnectionDropped)
        self.dropped.put_nowait(indication)

    def stream_closed(self, flow: Flow, error: str) -> None:
        self.closed.put_nowait(flow)

    def send_failed(self, flow: Flow, error: str) -> None:
        self.failed.put_nowait((flow, error))


class Listener:
    """An endpoint on a free port with a clock turned by hand."""

    def __init__(self, rules: Rules | None = None) -> None:
        (bound,) = bind(["tcp:127.0.0.1:0"])
        assert bound.sock is not None
        self.address = bound.point.local
        self.user = User()
        self.time = 1000.0
        self.count = 0
        self.endpoint = TcpEndpoint(
            bound.sock,
            bound.point,
            self.user,
            next_number=self.number,
            now=lambda: self.time,
            rules=rules,
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


async def one_more(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*address)


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
    bob.time += FIRST_MESSAGE + 1
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
    reader, writer = await one_more(bob.address)
    await ended(reader, writer)
    assert not bob.endpoint.open and bob.user.closed.empty()
    assert (await bob.user.dropped.get()).reason == "total-limit"


async def test_one_address_has_its_share_and_gets_it_back() -> None:
    bob = Listener(Rules(per_address=2))
    await bob.endpoint.start(asyncio.get_running_loop())
    first, second, third = [await one_more(bob.address) for _ in range(3)]
    refused = await bob.user.dropped.get()
    assert refused.reason == "address-limit" and refused.remote[0] == "127.0.0.1"
    await ended(*third)
    first[1].write(b"here")
    await bob.user.got.get()
    first[1].close()
    await first[1].wait_closed()
    await bob.user.closed.get()
    fourth = await one_more(bob.address)
    fourth[1].write(b"again")
    assert (await bob.user.got.get())[0] == b"again"
    await bob.endpoint.close()
    for one in (second, fourth):
        await ended(*one)
    assert not bob.endpoint.addresses and not bob.endpoint.accepted


async def test_a_message_that_trickles_is_cut_off_though_bytes_keep_coming(ends: Ends) -> None:
    _, bob = ends
    reader, writer = await one_more(bob.address)
    writer.write(b"whole message")
    _, arrival = await bob.user.got.get()
    bob.user.begun = 1
    while not bob.user.closed.qsize():
        writer.write(b"x")
        await bob.user.got.get()
        bob.time += SWEEP_EVERY
        assert bob.time < 1000 + MESSAGE_TIME + 3 * SWEEP_EVERY
        bob.endpoint.sweep()
        await asyncio.sleep(0)
    assert (await bob.user.dropped.get()).reason == "slow"
    assert await bob.user.closed.get() == arrival
    await ended(reader, writer)


async def test_bytes_that_never_become_a_first_message_are_cut_off(ends: Ends) -> None:
    _, bob = ends
    reader, writer = await one_more(bob.address)
    writer.write(b"\r\n\r\n")
    await bob.user.got.get()
    bob.user.talkers.clear()
    bob.time += FIRST_MESSAGE + 1
    bob.endpoint.sweep()
    assert (await bob.user.dropped.get()).reason == "slow"
    await bob.user.closed.get()
    await ended(reader, writer)


async def test_a_client_without_listener_calls_from_the_port_it_names(ends: Ends) -> None:
    _, bob = ends
    alice = Listener()
    alice.endpoint.listens = False
    await alice.endpoint.start(asyncio.get_running_loop())
    alice.endpoint.send(b"one", alice.to(bob))
    _, arrival = await bob.user.got.get()
    assert arrival.remote == alice.address
    bob.endpoint.send(b"back", Flow("tcp", bob.address, alice.address))
    assert (await alice.user.got.get())[0] == b"back"
    with pytest.raises(ConnectionRefusedError):
        await one_more(alice.address)
    await alice.endpoint.close()
    await bob.user.closed.get()


async def test_without_descriptors_accepting_waits_and_goes_on(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bob = ends
    monkeypatch.setattr(tcp, "PAUSE_AFTER_ERROR", 0.05)
    sock = bob.endpoint.sock

    class Full:
        def accept(self) -> None:
            bob.endpoint.sock = sock
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            return sock.fileno()

    monkeypatch.setattr(bob.endpoint, "sock", Full())
    reader, writer = await one_more(bob.address)
    writer.write(b"late")
    assert (await bob.user.got.get())[0] == b"late"
    writer.close()
    await ended(reader, writer)


async def test_the_kernel_asks_whether_silent_peers_still_exist(ends: Ends) -> None:
    alice, bob = ends
    alice.endpoint.send(b"hello", alice.to(bob))
    await bob.user.got.get()
    for endpoint in (alice.endpoint, bob.endpoint):
        (connection,) = endpoint.open.values()
        assert connection.transport is not None
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 120
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
