"""Connections (RFC 3261 §18, keep-alive of RFC 5626 §4.4.1, reuse of RFC 5923).

A listener accepts, and the same endpoint opens connections to peers; either kind is used for whatever goes to
its remote address, so there is at most one connection of ours to a peer. TCP is framed by the core: bytes
go up as they come. The same endpoint serves TLS (`tls.py` lays it between) and WebSocket (`websocket.py` is
another kind of `Connection`). While a connection is being opened, messages for it wait; if it cannot be
opened in time each of them is reported as failed, and the core tries elsewhere.

A connection that was accepted can serve for requests to the port its peer listens on, if the peer asked for
that and its certificate proves whose it is (RFC 5923 §5); without certificates anybody could so draw
requests to himself, and nothing is reused.

Nothing may stay half open. Every peer address has a bounded number of connections, counted before any
handshake. A handshake, the first message and each message that was begun have to come to an end in time; a
connection without a byte for an hour is closed, and so is one whose peer does not read. The kernel asks
whether a silent peer still exists. Connections that we opened are pinged with two CRLF, so that NATs on the
way remember them. Whatever is refused or given up is reported as `ConnectionDropped` with its reason.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from sipbridge.sip.flow import Address, Flow, ListeningPoint
from sipbridge.sip.indications import ConnectionDropped
from sipbridge.transports.tls import UNDER_WAY, Handshake, Tls, reason_of, shown_identities

CONNECT_TIMEOUT = 4.0
"""Seconds to open a connection, with its handshakes: well below timer F, so that UDP can still be tried
(RFC 3261 §18.1.1)."""

HANDSHAKE_TIMEOUT = 10.0
"""Seconds for a peer's TLS and WebSocket handshakes: three round trips, over the worst mobile network."""

FIRST_MESSAGE = 32.0
"""Seconds for a new peer's first whole message: as long as a transaction may last."""

MESSAGE_TIME = 32.0
"""Seconds for a message that was begun: at most 64 KiB, for which 2 kB/s are enough."""

IDLE = 3700.0
"""Seconds without a byte: longer than the usual refresh of a subscription (one hour)."""

PING_EVERY = 110.0
"""Seconds between pings; RFC 5626 §4.4.1 asks for at most 120 over connections."""

SWEEP_EVERY = 10.0
"""Seconds between looks at all connections."""

MAX_CONNECTIONS = 8192
"""Open at one listener; beyond it new ones are closed at once. About 10 kB each, 40 with TLS."""

MAX_PER_ADDRESS = 512
"""Of them from one address, unless configured: the telephones of an office behind one NAT, but a sixteenth of
what the listener has."""

MAX_UNSENT = 4 * 1024 * 1024
"""Bytes that wait for a peer that does not read."""

MAX_WAITING = 1024
"""Messages that wait for one connection to open."""

BACKLOG = 1024
"""Connections that wait for us to accept them: every client comes back at once after a restart."""

ACCEPTS = 64
"""Connections accepted at one wake-up."""

PAUSE_AFTER_ERROR = 1.0
"""Seconds without accepting when the process has no descriptor left."""

CLOSE_TIMEOUT = 1.0
"""Seconds for what was written to leave when everything is closed."""

KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds, times: the kernel finds out within four minutes that the peer is gone."""

PING = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Rules:
    """What all connections of a driver share.

    tls: certificates, for tls and wss. per_address: connections one address may have open. origins: web pages
    that may open a WebSocket, "*" for all; a peer that is no web page names none and is not asked.
    """

    tls: Tls | None = None
    per_address: int = MAX_PER_ADDRESS
    origins: frozenset[str] = frozenset()


class ConnectionUser(Protocol):
    """Who gets what arrives: the driver."""

    def receive_stream(self, data: bytes, flow: Flow) -> None: ...

    def receive_message(self, data: bytes, flow: Flow) -> None: ...

    def flush(self) -> None: ...

    def unfinished(self, flow: Flow) -> tuple[int, int]:
        """Messages that were completed on this connection, bytes of the one that was begun."""
        ...

    def connection_opened(self, flow: Flow) -> None: ...

    def stream_closed(self, flow: Flow, error: str) -> None: ...

    def send_failed(self, flow: Flow, error: str) -> None: ...

    def tell(self, indication: object) -> None: ...


class Connection(asyncio.Protocol):
    """One open connection."""

    def __init__(
        self, endpoint: "TcpEndpoint", remote: Address, name: str = "", *, opened_by_us: bool
    ) -> None:
        """`name`: whom we asked for, where the peer has to prove it."""
        self.endpoint = endpoint
        self.opened_by_us = opened_by_us
        self.remote = remote
        self.name = name
        self.flow: Flow | None = None
        self.transport: asyncio.WriteTransport | None = None
        self.made = self.heard = self.spoke = self.stuck_since = endpoint.now()
        self.silent = True
        self.closing: float | None = None
        self.completed = 0
        """Messages completed when a look last found another number of them."""
        self.identities: frozenset[str] = frozenset()
        self.aliases: list[Flow] = []
        self.error = ""
        self.settled: asyncio.Future[None] = endpoint.loop.create_future()
        """Done when the connection is ready or has failed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class
        self.transport = cast(asyncio.WriteTransport, transport)
        self.endpoint.arriving.add(self)
        self.endpoint.watch()
        tls = self.endpoint.tls
        if tls is not None:
            handshake = transport.get_extra_info("ssl_object")
            if self.opened_by_us:
                why = tls.refusal(handshake, self.name)
                if why:
                    self.drop("certificate", why)
                    return
            else:
                self.identities = shown_identities(handshake)
        self.begin()

    def begin(self) -> None:
        """The way is there; nothing more is needed."""
        self.ready()

    def ready(self) -> None:
        endpoint = self.endpoint
        number = endpoint.next_number()
        protocol = endpoint.point.protocol
        self.flow = Flow(protocol, endpoint.point.local, self.remote, number, self.name)
        endpoint.opened(self, self.flow)
        self.settle()

    def settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.heard = self.endpoint.now()
        self.silent = False
        if self.flow is not None:
            self.endpoint.user.receive_stream(data, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        closed = reason_of(exc) if isinstance(exc, OSError) else "the connection was closed"
        self.error = self.error or closed
        flow, self.flow = self.flow, None
        self.endpoint.closed(self, flow)
        self.settle()

    def write(self, data: bytes) -> None:
        """One message."""
        self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Bytes as they are."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.spoke = self.endpoint.now()
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self.drop("unread")

    def close(self) -> None:
        """Let what was written leave, then close."""
        if self.transport is not None:
            self.closing = self.endpoint.now()
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def drop(self, reason: str, detail: str = "") -> None:
        """Close at once, and say why."""
        self.error = detail or reason
        self.endpoint.report(self.remote, reason, detail)
        self.abort()

    def look(self, now: float) -> None:
        """Drop it or ping it."""
        reason = self.fault(now)
        if reason:
            self.drop(reason)
        elif self.flow is not None and self.wants_ping(now):
            self.ping()

    def fault(self, now: float) -> str:
        """Why it may not stay; "" while it may."""
        if self.closing is not None:
            return "unread" if now - self.closing > HANDSHAKE_TIMEOUT else ""
        if self.flow is None:
            return "handshake" if now - self.made > HANDSHAKE_TIMEOUT else ""
        completed, begun = self.progress(self.flow)
        if completed != self.completed or not begun:
            self.completed, self.stuck_since = completed, now
        elif now - self.stuck_since > MESSAGE_TIME:
            return "slow"
        if self.must_speak and not completed and now - self.made > FIRST_MESSAGE:
            return "silent" if self.silent else "slow"
        return "idle" if now - self.heard > IDLE else ""

    @property
    def must_speak(self) -> bool:
        """Does the peer have to send a message soon?"""
        return not self.opened_by_us

    def progress(self, flow: Flow) -> tuple[int, int]:
        """Messages completed, bytes of one that was begun."""
        return self.endpoint.user.unfinished(flow)

    def wants_ping(self, now: float) -> bool:
        """RFC 5626 §4.4.1: only who opened it pings."""
        return self.opened_by_us and now - max(self.spoke, self.heard) > PING_EVERY

    def ping(self) -> None:
        self.pass_on(PING)


class TcpEndpoint:
    """One listener, its connections, and those opened in its name."""

    def __init__(
        self,
        sock: socket.socket,
        point: ListeningPoint,
        user: ConnectionUser,
        *,
        next_number: Callable[[], int],
        now: Callable[[], float],
        rules: Rules | None = None,
        kind: type[Connection] = Connection,
        tls: Tls | None = None,
        listens: bool = True,
    ) -> None:
        """`listens` false: nothing is accepted, connections are opened from the port of `sock`."""
        self.sock = sock
        self.point = point
        self.user = user
        self.next_number = next_number
        self.now = now
        self.rules = rules or Rules()
        self.kind = kind
        self.tls = tls
        self.listens = listens
        self.open: dict[int, Connection] = {}
        self.arriving: set[Connection] = set()
        """Connections whose handshake is not over."""
        self.addresses: Counter[str] = Counter()
        """Accepted connections of each peer address, from before the handshake on."""
        self.accepted = 0
        self.by_remote: dict[tuple[Address, str], Connection] = {}
        self.by_alias: dict[Address, Connection] = {}
        self.waiting: dict[tuple[Address, str], list[tuple[bytes, Flow]]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.sweeper: asyncio.TimerHandle | None = None
        self.pause: asyncio.TimerHandle | None = None
        self.stopping = False
        self.all_closed = asyncio.Event()

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        if self.listens:
            self.sock.listen(BACKLOG)
            self.listen()

    # --- accepting --------------------------------------------------------------------------------

    def listen(self) -> None:
        self.pause = None
        self.loop.add_reader(self.sock.fileno(), self.acceptable)

    def acceptable(self) -> None:
        """Take what has come. Who may not stay is closed before a handshake is spent on it."""
        for _ in range(ACCEPTS):
            try:
                sock, peer = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors left: accepting at once again would only spin
                self.loop.remove_reader(self.sock.fileno())
                self.pause = self.loop.call_later(PAUSE_AFTER_ERROR, self.listen)
                return
            remote: Address = (peer[0], peer[1])
            reason = self.refusal(remote)
            if reason:
                sock.close()
                self.report(remote, reason)
                continue
            self.addresses[remote[0]] += 1
            self.accepted += 1
            self.spawn(self.admit(sock, remote))

    def refusal(self, remote: Address) -> str:
        """Why no more connections are taken; "" if they are."""
        if self.accepted >= MAX_CONNECTIONS:
            return "total-limit"
        if self.addresses[remote[0]] >= self.rules.per_address:
            return "address-limit"
        return ""

    async def admit(self, sock: socket.socket, remote: Address) -> None:
        """Make a connection of an accepted socket."""
        sock.setblocking(False)
        tend(sock)
        connection = self.kind(self, remote, opened_by_us=False)
        try:
            if self.tls is None:
                await self.loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await self.shake_hands(connection, sock, self.tls)
        except OSError as error:  # of TLS too; a time-out is one
            self.report(remote, "handshake", reason_of(error))
        finally:
            if connection.transport is None:
                self.leave(remote[0])

    async def shake_hands(self, connection: Connection, sock: socket.socket, tls: Tls) -> None:
        """TLS with a client. Raises OSError; the client has been told why then."""
        handshake = Handshake()
        UNDER_WAY.set(handshake)  # of this task alone
        with sock.dup() as another:  # the loop closes its own before we can speak
            try:
                await self.loop.connect_accepted_socket(
                    lambda: connection,
                    sock,
                    ssl=tls.server(),
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                    ssl_shutdown_timeout=CLOSE_TIMEOUT,
                )
            finally:
                if handshake.alert:
                    await self.say_last(another, handshake.alert)

    async def say_last(self, sock: socket.socket, alert: bytes) -> None:
        """Send this and wait for the peer to close: a close with bytes unread would take it back."""
        with contextlib.suppress(OSError):  # a time-out is one
            sock.send(alert)
            sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while await self.loop.sock_recv(sock, 4096):
                    pass

    def leave(self, host: str) -> None:
        """One connection less of an address."""
        self.accepted -= 1
        self.addresses[host] -= 1
        if not self.addresses[host]:
            del self.addresses[host]

    def report(self, remote: Address, reason: str, detail: str = "") -> None:
        self.user.tell(ConnectionDropped(self.point.protocol, remote, reason, detail))

    # --- what is open -----------------------------------------------------------------------------

    def opened(self, connection: Connection, flow: Flow) -> None:
        self.arriving.discard(connection)
        self.open[flow.connection] = connection
        self.by_remote[flow.remote, flow.name] = connection
        self.user.connection_opened(flow)

    def watch(self) -> None:
        if self.sweeper is None and not self.stopping:
            self.sweeper = self.loop.call_later(SWEEP_EVERY, self.sweep)

    def closed(self, connection: Connection, flow: Flow | None) -> None:
        self.arriving.discard(connection)
        if not connection.opened_by_us:
            self.leave(connection.remote[0])
        if flow is not None:
            self.forget(connection, flow)
        if not self.stopping:
            if flow is not None:
                self.user.stream_closed(flow, connection.error)
            for alias in connection.aliases:
                self.user.send_failed(alias, connection.error)
        elif not self.open and not self.arriving:
            self.all_closed.set()

    def forget(self, connection: Connection, flow: Flow) -> None:
        self.open.pop(flow.connection, None)
        if self.by_remote.get((flow.remote, flow.name)) is connection:
            del self.by_remote[flow.remote, flow.name]
        for alias in connection.aliases:
            if self.by_alias.get(alias.remote) is connection:
                del self.by_alias[alias.remote]

    def reuse(self, number: int, port: int) -> None:
        """The peer asks for requests to its `port` on this connection (RFC 5923 §5)."""
        connection = self.open.get(number)
        if connection is None or connection.flow is None or not connection.identities:
            return
        address = (connection.remote[0], port)
        if self.by_alias.get(address) is connection:
            return
        self.by_alias[address] = connection
        protocol, local = self.point.protocol, self.point.local
        for name in connection.identities:
            connection.aliases.append(Flow(protocol, local, address, 0, name))

    def proven(self, number: int) -> frozenset[str]:
        """What the certificate of an accepted connection proves (RFC 5922 §7.1)."""
        connection = self.open.get(number)
        return frozenset() if connection is None else connection.identities

    def aliased(self, flow: Flow) -> Connection | None:
        """An accepted connection that leads to this address and whose peer proved the name."""
        connection = self.by_alias.get(flow.remote)
        proven = connection is not None and flow.name.lower() in connection.identities
        return connection if proven else None

    def sweep(self) -> None:
        self.sweeper = None
        now = self.now()
        for connection in [*self.open.values(), *self.arriving]:
            connection.look(now)
        if self.open or self.arriving:
            self.watch()

    # --- sending ----------------------------------------------------------------------------------

    def send(self, data: bytes, flow: Flow) -> None:
        """On the connection it names, else on any that leads there, else on a new one."""
        connection = (
            self.open.get(flow.connection)
            or self.by_remote.get((flow.remote, flow.name))
            or self.aliased(flow)
        )
        if connection is not None:
            connection.write(data)
            return
        why = self.unreachable(flow)
        if why:
            self.user.send_failed(flow, why)
            return
        queue = self.waiting.get((flow.remote, flow.name))
        if queue is None:
            queue = self.waiting[flow.remote, flow.name] = []
            self.spawn(self.connect(flow.remote, flow.name))
        if len(queue) < MAX_WAITING:
            queue.append((data, flow))
        else:
            self.user.send_failed(flow, "too many messages wait for the connection")

    def unreachable(self, flow: Flow) -> str:
        """Why no connection is opened for this flow; "" if one is."""
        if self.tls is not None and self.tls.checks and not flow.name:
            return (
                "the connection is closed, and nobody knows whose certificate another should show"
            )
        return ""

    def spawn(self, job: Any) -> None:
        task = self.loop.create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self, remote: Address, name: str) -> None:
        """Open a connection; what waits for it leaves, or is reported as failed."""
        connection = self.kind(self, remote, name, opened_by_us=True)
        error = ""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                sock = await self.reach(remote)
                secured: dict[str, Any] = {}
                if self.tls is not None:
                    secured = {"ssl": self.tls.client(), "server_hostname": name or remote[0]}
                    secured["ssl_shutdown_timeout"] = CLOSE_TIMEOUT
                await self.loop.create_connection(lambda: connection, sock=sock, **secured)
                await connection.settled
        except TimeoutError:
            error = f"no connection within {CONNECT_TIMEOUT:g} s"
        except OSError as refused:
            error = reason_of(refused)
            if isinstance(refused, ssl.SSLError):
                self.report(remote, "handshake", error)
        ready = connection.flow is not None
        if not ready:
            connection.abort()
        for data, flow in self.waiting.pop((remote, name), ()):
            if ready:
                connection.write(data)
            else:
                self.user.send_failed(flow, error or connection.error)

    async def reach(self, remote: Address) -> socket.socket:
        """A connected socket. Raises OSError.

        Without a listener the connection leaves from the port that Via and Contact name, so that a peer which
        looks for a connection to our Contact finds this one.
        """
        source, port = self.point.local
        if not self.listens:
            with contextlib.suppress(OSError):
                return await self.reach_from((source, port), remote)
        return await self.reach_from((source, 0), remote)

    async def reach_from(self, source: Address, remote: Address) -> socket.socket:
        family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
        # named, because asyncio turns Nagle's algorithm off only where it reads "TCP"
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            tend(sock)
            if source[1] or source[0] not in ("0.0.0.0", "::"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(source)
            await self.loop.sock_connect(sock, remote)
        except BaseException:
            sock.close()
            raise
        return sock

    # --- the end ----------------------------------------------------------------------------------

    def close_connection(self, number: int) -> None:
        connection = self.open.get(number)
        if connection is not None:
            connection.close()

    async def close(self) -> None:
        """Stop listening, close every connection."""
        if self.stopping:
            return
        self.stopping = True
        for timer in (self.sweeper, self.pause):
            if timer is not None:
                timer.cancel()
        if self.sock.fileno() >= 0:
            if self.listens and hasattr(self, "loop"):
                self.loop.remove_reader(self.sock.fileno())
            self.sock.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.close_all()

    async def close_all(self) -> None:
        def left() -> Iterable[Connection]:
            return [*self.open.values(), *self.arriving]

        for connection in left():
            connection.close()
        if not left():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.all_closed.wait()
        if left():
            for connection in left():
                connection.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.all_closed.wait()


def tend(sock: socket.socket) -> None:
    """Have the kernel look after a silent connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in KEEP_ALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
