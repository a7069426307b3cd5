"""Datagrams (RFC 3261 §18).

One non-blocking socket for each listener, read by the loop's reader callback: up to `BATCH` datagrams at one
wake-up, then others get their turn. While many come, the callback is taken out and the socket looked at every
few milliseconds instead (`pace.py`). The receive buffer is made large, because a presence server notifies in
bursts and what does not fit is lost. Sending does not wait either; when the kernel's buffer is full,
datagrams queue up to a limit and are lost beyond it, as UDP allows. So is what is longer than any datagram:
the core sends no such request, and a response that long is nobody's fault on the way (RFC 3261 §18.4).
"""

import asyncio
import contextlib
import errno
import socket
from collections import deque
from collections.abc import Callable

from sipbridge.sip.flow import Address, Flow, ListeningPoint
from sipbridge.transports.pace import Pace

BATCH = 64
"""Datagrams handled at one wake-up: about 5 ms of work, so timers and HTTP are not starved."""

MAX_DATAGRAM = 65536
"""Bytes; no UDP datagram is longer."""

RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes asked of the kernel: some 3,000 NOTIFYs, which are answered in a quarter of a second. More would do
harm: what waits for half a second is sent again, and the buffer would fill with copies."""

MAX_QUEUED = 8192
"""Datagrams that wait for a full send buffer."""

MAX_FLOWS = 16384
"""Peers whose Flow value is kept ready."""

SO_RCVBUFFORCE = 33
"""Linux: a receive buffer above net.core.rmem_max, for the privileged."""

Receive = Callable[[bytes, Flow], None]
Failed = Callable[[Flow, str], None]


def enlarge_buffers(sock: socket.socket) -> None:
    """Ask for room; take what the kernel gives."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)


class UdpEndpoint:
    """One bound UDP socket."""

    def __init__(
        self,
        sock: socket.socket,
        point: ListeningPoint,
        *,
        receive: Receive,
        batch_done: Callable[[bool], None],
        failed: Failed,
    ) -> None:
        """`batch_done` is told whether more waits to be read."""
        self.sock = sock
        self.point = point
        self.receive = receive
        self.batch_done = batch_done
        self.failed = failed
        self.flows: dict[Address, Flow] = {}
        self.queue: deque[tuple[bytes, Address]] = deque()
        self.dropped = 0
        """Datagrams lost because the queue was full, or because no datagram is so long."""
        self.pace = Pace()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        loop.add_reader(self.sock.fileno(), self.readable)

    def readable(self) -> None:
        """The loop says that something waits."""
        read = self.read()
        pause = self.pace.pause(read, self.loop.time())
        if pause and self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
            self.loop.call_later(pause, self.look)

    def look(self) -> None:
        """The pause is over: read what came, and pause again or leave it to the loop."""
        if self.sock.fileno() < 0:
            return
        read = self.read()
        pause = self.pace.pause(read, self.loop.time())
        if self.sock.fileno() < 0:
            return
        if read == BATCH:
            self.loop.call_soon(self.look)
        elif pause:
            self.loop.call_later(pause, self.look)
        else:
            self.loop.add_reader(self.sock.fileno(), self.readable)

    def read(self) -> int:
        """Up to `BATCH` datagrams; how many there were."""
        recvfrom, read = self.sock.recvfrom, 0
        for _ in range(BATCH):
            try:
                data, source = recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an ICMP error of an earlier datagram; the transaction will time out
            read += 1
            self.receive(data, self.flow_from(source[:2]))
        self.batch_done(read == BATCH and self.more_waits())
        return read

    def more_waits(self) -> bool:
        """Is there another datagram? A batch may have been full with the last one."""
        try:
            self.sock.recvfrom(1, socket.MSG_PEEK)
        except OSError:
            return False
        return True

    def flow_from(self, remote: Address) -> Flow:
        """The Flow of a peer; making one costs more than finding it."""
        flow = self.flows.get(remote)
        if flow is None:
            if len(self.flows) >= MAX_FLOWS:
                self.flows.clear()
            flow = self.flows[remote] = Flow("udp", self.point.local, remote)
        return flow

    def send(self, data: bytes, flow: Flow) -> None:
        """Send now, or as soon as the kernel has room."""
        if self.queue:
            self.enqueue(data, flow.remote)
            return
        try:
            self.sock.sendto(data, flow.remote)
        except (BlockingIOError, InterruptedError):
            self.enqueue(data, flow.remote)
        except OSError as error:
            self.refused(flow, error)

    def refused(self, flow: Flow, error: OSError) -> None:
        """The kernel does not send it. If it is too long, that says nothing of the way it was to take."""
        if error.errno == errno.EMSGSIZE:
            self.dropped += 1
        else:
            self.failed(flow, error.strerror or str(error))

    def enqueue(self, data: bytes, remote: Address) -> None:
        if len(self.queue) >= MAX_QUEUED:
            self.dropped += 1
            return
        if not self.queue:
            self.loop.add_writer(self.sock.fileno(), self.writable)
        self.queue.append((data, remote))

    def writable(self) -> None:
        while self.queue:
            data, remote = self.queue[0]
            try:
                self.sock.sendto(data, remote)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.refused(self.flow_from(remote), error)
            self.queue.popleft()
        self.loop.remove_writer(self.sock.fileno())

    def close(self) -> None:
        descriptor = self.sock.fileno()
        if descriptor < 0:
            return
        if hasattr(self, "loop"):
            self.loop.remove_reader(descriptor)
            self.loop.remove_writer(descriptor)
        self.sock.close()
