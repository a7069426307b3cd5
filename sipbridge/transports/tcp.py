"""Stream connections (RFC 3261 §18, keep-alive of RFC 5626 §3.5.1).

A listener accepts, and the same endpoint opens connections to peers; either kind is used for whatever goes to
its remote address, so there is at most one connection of ours to a peer. Framing is not done here: bytes go
up as they come. While a connection is being opened, messages for it wait; if it cannot be opened in time each
of them is reported as failed, and the core tries elsewhere.

Nothing may stay half open: a connection on which no byte arrives soon after it was made, or none for an
hour, is closed, and so is one whose peer does not read. Connections that we opened are pinged with two CRLF,
so that NATs on the way remember them.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol, cast

from sipbridge.sip.flow import Address, Flow, ListeningPoint

CONNECT_TIMEOUT = 4.0
"""Seconds to open a connection: well below timer F, so that UDP can still be tried (RFC 3261 §18.1.1)."""

SILENT_AFTER_ACCEPT = 32.0
"""Seconds for a new peer to say something: as long as a transaction may last."""

IDLE = 3700.0
"""Seconds without a byte: longer than the usual refresh of a subscription (one hour)."""

PING_EVERY = 110.0
"""Seconds between pings; RFC 5626 §4.4.1 asks for at most 120 over connections."""

SWEEP_EVERY = 10.0
"""Seconds between looks at all connections."""

MAX_CONNECTIONS = 8192
"""Open at one listener; beyond it new ones are closed at once. About 10 kB each."""

MAX_UNSENT = 4 * 1024 * 1024
"""Bytes that wait for a peer that does not read."""

MAX_WAITING = 1024
"""Messages that wait for one connection to open."""

CLOSE_TIMEOUT = 1.0
"""Seconds for what was written to leave when everything is closed."""

PING = b"\r\n\r\n"


class StreamUser(Protocol):
    """Who gets the bytes: the driver."""

    def receive_stream(self, data: bytes, flow: Flow) -> None: ...

    def stream_closed(self, flow: Flow) -> None: ...

    def send_failed(self, flow: Flow, error: str) -> None: ...


class Connection(asyncio.Protocol):
    """One open connection."""

    def __init__(self, endpoint: "TcpEndpoint", remote: Address | None = None) -> None:
        self.endpoint = endpoint
        self.opened_by_us = remote is not None
        self.remote: Address = remote or ("", 0)
        self.flow: Flow | None = None
        self.heard = self.spoke = endpoint.now()
        self.silent = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class
        self.transport = cast(asyncio.WriteTransport, transport)
        endpoint = self.endpoint
        if not self.opened_by_us:
            peer = transport.get_extra_info("peername")
            if peer is None or len(endpoint.open) >= MAX_CONNECTIONS:
                self.transport.abort()
                return
            self.remote = (peer[0], peer[1])
        number = endpoint.next_number()
        self.flow = Flow("tcp", endpoint.point.local, self.remote, number)
        endpoint.opened(self, self.flow)

    def data_received(self, data: bytes) -> None:
        self.heard = self.endpoint.now()
        self.silent = False
        if self.flow is not None:
            self.endpoint.user.receive_stream(data, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.flow is not None:
            flow, self.flow = self.flow, None
            self.endpoint.closed(self, flow)

    def write(self, data: bytes) -> None:
        self.spoke = self.endpoint.now()
        self.transport.write(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT:
            self.transport.abort()

    def close(self) -> None:
        """Let what was written leave, then close."""
        self.transport.close()

    def look(self, now: float) -> None:
        """Ping it or close it."""
        quiet = now - self.heard
        if quiet > (SILENT_AFTER_ACCEPT if self.silent and not self.opened_by_us else IDLE):
            self.transport.abort()
        elif self.opened_by_us and now - max(self.spoke, self.heard) > PING_EVERY:
            self.write(PING)


class TcpEndpoint:
    """One listener, its connections, and those opened in its name."""

    def __init__(
        self,
        sock: socket.socket,
        point: ListeningPoint,
        user: StreamUser,
        *,
        next_number: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self.sock = sock
        self.point = point
        self.user = user
        self.next_number = next_number
        self.now = now
        self.open: dict[int, Connection] = {}
        self.by_remote: dict[Address, Connection] = {}
        self.waiting: dict[Address, list[tuple[bytes, Flow]]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.sweeper: asyncio.TimerHandle | None = None
        self.server: asyncio.Server | None = None
        self.stopping = False
        self.all_closed = asyncio.Event()

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.server = await loop.create_server(lambda: Connection(self), sock=self.sock)

    def opened(self, connection: Connection, flow: Flow) -> None:
        self.open[flow.connection] = connection
        self.by_remote[flow.remote] = connection
        if self.sweeper is None:
            self.sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def closed(self, connection: Connection, flow: Flow) -> None:
        self.open.pop(flow.connection, None)
        if self.by_remote.get(flow.remote) is connection:
            del self.by_remote[flow.remote]
        if not self.stopping:
            self.user.stream_closed(flow)
        elif not self.open:
            self.all_closed.set()

    def sweep(self) -> None:
        now = self.now()
        for connection in list(self.open.values()):
            connection.look(now)
        again = bool(self.open) and not self.stopping
        self.sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep) if again else None

    def send(self, data: bytes, flow: Flow) -> None:
        """On the connection it names, else on any to that address, else on a new one."""
        connection = self.open.get(flow.connection) or self.by_remote.get(flow.remote)
        if connection is not None:
            connection.write(data)
            return
        queue = self.waiting.get(flow.remote)
        if queue is None:
            queue = self.waiting[flow.remote] = []
            task = self.loop.create_task(self.connect(flow.remote))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if len(queue) < MAX_WAITING:
            queue.append((data, flow))
        else:
            self.user.send_failed(flow, "too many messages wait for the connection")

    async def connect(self, remote: Address) -> None:
        """Open a connection; what waits for it leaves, or is reported as failed."""
        source = self.point.local[0]
        local = None if source in ("0.0.0.0", "::") else (source, 0)
        error = ""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self.loop.create_connection(
                    lambda: Connection(self, remote), *remote, local_addr=local
                )
        except TimeoutError:
            error = f"no connection within {CONNECT_TIMEOUT:g} s"
        except OSError as refused:
            error = refused.strerror or str(refused)
        connection = self.by_remote.get(remote)
        for data, flow in self.waiting.pop(remote, ()):
            if connection is not None:
                connection.write(data)
            else:
                self.user.send_failed(flow, error or "the connection closed at once")

    def close_connection(self, number: int) -> None:
        connection = self.open.get(number)
        if connection is not None:
            connection.close()

    async def close(self) -> None:
        """Stop listening, close every connection."""
        self.stopping = True
        if not self.open:
            self.all_closed.set()
        if self.sweeper is not None:
            self.sweeper.cancel()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.server is None:
            self.sock.close()
            return
        self.server.close()
        for connection in list(self.open.values()):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.all_closed.wait()
        for connection in list(self.open.values()):
            connection.transport.abort()
        await self.server.wait_closed()
