"""Datagrams: batches, full buffers, errors."""

import asyncio
import socket

from sipbridge.sip.flow import Flow
from sipbridge.sip.requesting import MAX_DATAGRAM
from sipbridge.transports.driver import bind
from sipbridge.transports.udp import BATCH, MAX_FLOWS, MAX_QUEUED, UdpEndpoint


class Listener:
    """An endpoint and what came of it."""

    def __init__(self) -> None:
        (bound,) = bind(["udp:127.0.0.1:0"])
        assert bound.sock is not None
        self.address = bound.point.local
        self.got: list[tuple[bytes, Flow]] = []
        self.batches: list[int] = []
        self.failures: list[tuple[Flow, str]] = []
        self.enough = asyncio.Event()
        self.wanted = 0
        self.endpoint = UdpEndpoint(
            bound.sock,
            bound.point,
            receive=lambda data, flow: self.got.append((data, flow)),
            batch_done=self.batch_done,
            failed=lambda flow, error: self.failures.append((flow, error)),
        )
        self.more: list[bool] = []

    def batch_done(self, more: bool) -> None:
        self.more.append(more)
        self.batches.append(len(self.got))
        if len(self.got) >= self.wanted:
            self.enough.set()

    async def wait_for(self, count: int) -> None:
        self.wanted = count
        while len(self.got) < count:
            self.enough.clear()
            await self.enough.wait()


async def test_a_burst_is_read_in_batches_and_nothing_is_lost() -> None:
    listener = Listener()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        for i in range(3 * BATCH):
            sender.sendto(f"message {i}".encode(), listener.address)
        listener.endpoint.start(asyncio.get_running_loop())
        await listener.wait_for(3 * BATCH)
        source = sender.getsockname()
    assert [data for data, _ in listener.got] == [b"message %d" % i for i in range(3 * BATCH)]
    assert listener.batches[0] == BATCH
    assert {flow for _, flow in listener.got} == {Flow("udp", listener.address, source)}
    assert len({id(flow) for _, flow in listener.got}) == 1
    listener.endpoint.close()
    listener.endpoint.close()


async def test_a_full_batch_says_that_more_waits() -> None:
    listener = Listener()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for i in range(BATCH + 1):
            sender.sendto(b"%d" % i, listener.address)
        assert (listener.endpoint.read(), listener.endpoint.read()) == (BATCH, 1)
    assert listener.more == [True, False] and len(listener.got) == BATCH + 1
    listener.endpoint.close()


async def test_a_batch_that_is_full_with_the_last_datagram_says_that_none_waits() -> None:
    listener = Listener()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for i in range(BATCH):
            sender.sendto(b"%d" % i, listener.address)
        assert listener.endpoint.read() == BATCH
    assert listener.more == [False]
    listener.endpoint.close()


async def test_a_socket_left_alone_for_a_while_is_read_all_the_same_and_handed_back() -> None:
    listener = Listener()
    pace = listener.endpoint.pace
    pace.pausing, pace.before, pace.began = True, 0.0, asyncio.get_running_loop().time() + 60
    listener.endpoint.start(asyncio.get_running_loop())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for i in range(BATCH + 2):
            sender.sendto(b"%d" % i, listener.address)
        await listener.wait_for(BATCH + 2)
        assert listener.batches[:2] == [BATCH, BATCH + 2]
        while pace.pausing:  # until a look found nothing
            listener.enough.clear()
            await listener.enough.wait()
        sender.sendto(b"after", listener.address)
        await listener.wait_for(BATCH + 3)
    listener.endpoint.close()


class FullSocket:
    """A socket whose send buffer is full until it is told otherwise."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.full = True
        self.error: OSError | None = None
        self.sent: list[bytes] = []

    def fileno(self) -> int:
        return self.real.fileno()

    def sendto(self, data: bytes, remote: object) -> None:
        if self.full:
            raise BlockingIOError
        if self.error is not None:
            raise self.error
        self.sent.append(data)

    def close(self) -> None:
        self.real.close()


async def test_a_full_send_buffer_queues_in_order_and_up_to_a_limit() -> None:
    listener = Listener()
    full = FullSocket(listener.endpoint.sock)
    listener.endpoint.sock = full  # type: ignore[assignment]
    listener.endpoint.start(asyncio.get_running_loop())
    flow = Flow("udp", listener.address, ("127.0.0.1", 9))
    for i in range(MAX_QUEUED + 5):
        listener.endpoint.send(b"%d" % i, flow)
    assert listener.endpoint.dropped == 5
    listener.endpoint.writable()
    assert not full.sent
    full.full = False
    listener.endpoint.send(b"after", flow)
    listener.endpoint.writable()
    assert full.sent == [b"%d" % i for i in range(MAX_QUEUED)]
    listener.endpoint.send(b"at once", flow)
    assert full.sent[-1] == b"at once"
    listener.endpoint.close()


async def test_what_cannot_be_sent_is_reported() -> None:
    listener = Listener()
    listener.endpoint.start(asyncio.get_running_loop())
    flow = Flow("udp", listener.address, ("127.0.0.1", 0))
    listener.endpoint.send(b"x", flow)
    assert listener.failures and listener.failures[0][0] == flow and listener.failures[0][1]
    full = FullSocket(listener.endpoint.sock)
    listener.endpoint.sock = full  # type: ignore[assignment]
    listener.endpoint.send(b"later", flow)
    full.full, full.error = False, OSError(101, "Network is unreachable")
    listener.endpoint.writable()
    assert listener.failures[-1] == (flow, "Network is unreachable")
    listener.endpoint.close()


async def test_what_is_longer_than_any_datagram_is_lost_and_nothing_is_said_of_its_way() -> None:
    listener = Listener()
    listener.endpoint.start(asyncio.get_running_loop())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        flow = Flow("udp", listener.address, receiver.getsockname())
        listener.endpoint.send(b"x" * (MAX_DATAGRAM + 1), flow)
        full = FullSocket(real := listener.endpoint.sock)
        listener.endpoint.sock = full  # type: ignore[assignment]
        listener.endpoint.send(b"y" * (MAX_DATAGRAM + 1), flow)
        listener.endpoint.sock = real
        listener.endpoint.send(b"z" * MAX_DATAGRAM, flow)
        listener.endpoint.writable()
        assert receiver.recv(MAX_DATAGRAM) == b"z" * MAX_DATAGRAM
    assert listener.endpoint.dropped == 2 and not listener.failures
    listener.endpoint.close()


def test_flows_of_many_peers_do_not_pile_up() -> None:
    listener = Listener()
    for i in range(MAX_FLOWS + 10):
        listener.endpoint.flow_from(("192.0.2.1", i))
    assert len(listener.endpoint.flows) == 10
    listener.endpoint.close()
