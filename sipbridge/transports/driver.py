"""The loop round one user agent: sockets on one side, a sans-IO core in the middle.

`bind` opens the listeners and says what was bound; the core is made with those points; a `Driver` joins the
two. After any input it takes one turn: send what the core wants sent, hand on what it reports, hand its
changes to the store, arm one timer. Reports are told for a short time only (`SLICE`), the rest waits in a
`Backlog` for the next turn, so that answers, timers and other work are never late because of them. Whoever
calls into the core from outside (a REST request that publishes) calls `turn()` afterwards; many such calls in
one pass of the loop make one turn.

Two indications are for the driver itself: `Resolve` starts a look-up, `CloseConnection` closes a stream.
All others go to `on_indication`; `prepare` sees some of them before, as many as are told next. Each message
that arrives gets a short trace id, which the core carries through to whatever it causes. A tap sees every
message: `tap_in(data, flow, now, trace)`, `tap_out(…)`.

Changes go to `store_writer(changes, done)`, which calls `done(numbers, error)` in the loop when they are
durable or could not be stored. Without a writer every change counts as stored at once.

An exception out of the core or out of `on_indication` is a bug; the loop's exception handler gets it, and the
other messages are still served.
"""

import asyncio
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec

from sipbridge.errors import ConfigurationError
from sipbridge.sip.flow import CONNECTIONS, SECURE, WEB, Flow, ListeningPoint, Transmit
from sipbridge.sip.indications import CloseConnection, Resolve, ReuseAsked
from sipbridge.sip.locate import bare, bracketed
from sipbridge.sip.records import Answer, Question
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports.backlog import Backlog
from sipbridge.transports.memory import PORT, MemoryNetwork
from sipbridge.transports.resolver import Ask, Resolver
from sipbridge.transports.tcp import Connection, Rules, TcpEndpoint
from sipbridge.transports.udp import UdpEndpoint, enlarge_buffers
from sipbridge.transports.websocket import WebSocketConnection

Tap = Callable[[bytes, Flow, float, str], None]
"""Data, flow, now, trace."""

Done = Callable[[Sequence[int], Exception | None], None]
StoreWriter = Callable[[Sequence[tuple[int, object]], Done], None]
P = ParamSpec("P")

SLICE = 0.005
"""Seconds of one turn for what the core reports; then messages, timers and HTTP come first. One report is
told in any case."""
SHORT_SLICE = 0.001
"""The same while datagrams wait to be read: what is not answered within half a second is sent again, and a
second queue of copies would grow in the kernel. A batch takes about five times as long."""

TOGETHER = 32
"""Reports that are prepared for at once."""

ROUNDS = 8
"""Rounds of one turn: what a report causes leaves in the same turn, but nobody can hold the loop forever."""

FOR_DRIVERS = frozenset({Resolve, CloseConnection, ReuseAsked})

WILDCARDS = frozenset({"0.0.0.0", "::"})

IN_USE = "is in use: stop the other program or choose another port"
NO_SUCH_ADDRESS = "is no address of this machine"
NOT_ALLOWED = "may not be opened by this user: choose a port above 1023"
REASONS = {
    errno.EADDRINUSE: IN_USE,
    errno.EADDRNOTAVAIL: NO_SUCH_ADDRESS,
    errno.EACCES: NOT_ALLOWED,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening point and its socket; in-memory points have none.

    `listens` false: connections are opened in its name, none is accepted.
    """

    point: ListeningPoint
    sock: socket.socket | None = None
    listens: bool = True

    def __str__(self) -> str:
        """ "udp:127.0.0.1:5060": what is really bound."""
        host, port = self.point.local
        return f"{self.point.protocol}:{bracketed(host)}:{port}"


def bind(
    listen: Sequence[str], advertise: Sequence[str] = (), *, reuse: bool = False
) -> list[Bound]:
    """Open the listeners named like "udp:127.0.0.1:5060", "tcp:[::1]:0" or "memory:agent".

    `advertise` tells for each protocol, in order, what Via and Contact say. `reuse`: peers on TLS are asked
    to use our connections (RFC 5923). Raises ConfigurationError with the key and a remedy; whatever was
    opened before is closed again.
    """
    told = [parse_listener(text, "sip.advertise") for text in advertise]
    bound: list[Bound] = []
    try:
        for text in listen:
            protocol, host, port = parse_listener(text, "sip.listen")
            says = next((t for t in told if t[0] == protocol), None)
            if says is not None:
                told.remove(says)
            elif host in WILDCARDS:
                raise ConfigurationError(
                    "sip.advertise",
                    f"{text} is a wildcard: say what peers are told, {protocol}:HOST:PORT",
                )
            one = open_listener(text, protocol, host, port, says)
            asks = reuse and protocol == "tls"
            bound.append(replace(one, point=replace(one.point, reuse=True)) if asks else one)
    except ConfigurationError:
        for one in bound:
            if one.sock is not None:
                one.sock.close()
        raise
    return bound


def bind_outgoing(protocol: str, host: str, told: str = "") -> Bound:
    """A point from which connections are only opened, for clients without a listener.

    The port is ours, so that Contact can name it: whoever looks for a connection to it finds the one we
    opened; `told` is the host that Contact names instead of `host`. Over WebSocket nothing is named
    (RFC 7118 §5.1): a random host that cannot exist. Raises ConfigurationError.
    """
    says = (protocol, told, 0) if told else None
    bound = open_listener(f"{protocol}:{bracketed(host)}:0", protocol, host, 0, says)
    point = bound.point
    if protocol in WEB:
        point = replace(point, host=f"{os.urandom(6).hex()}.invalid", port=0)
    return Bound(point, bound.sock, listens=False)


def parse_listener(text: str, key: str) -> tuple[str, str, int]:
    """ "udp:host:port" into its parts. Raises ConfigurationError naming `key`."""
    protocol, _, rest = text.partition(":")
    if protocol == "memory" and rest:
        return protocol, rest, PORT
    host, colon, port = rest.rpartition(":")
    if (
        protocol not in ("udp", *CONNECTIONS)
        or not colon
        or not port.isdigit()
        or int(port) > 65535
    ):
        raise ConfigurationError(key, f"{text!r} is not like udp:127.0.0.1:5060")
    return protocol, bare(host), int(port)


def not_opened(listener: str, error: OSError) -> ConfigurationError:
    """What to do about it, for the operator."""
    reason = REASONS.get(error.errno or 0) or f"cannot be opened: {error.strerror or error}"
    return ConfigurationError("sip.listen", f"{listener} {reason}")


def open_listener(
    text: str, protocol: str, host: str, port: int, says: tuple[str, str, int] | None
) -> Bound:
    """One socket, bound. Raises ConfigurationError."""
    if protocol == "memory":
        return Bound(ListeningPoint(protocol, (host, port), host, port))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if protocol == "udp":
        sock = socket.socket(family, socket.SOCK_DGRAM)
    else:  # named, because asyncio turns Nagle's algorithm off only where it reads "TCP"
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp":
            enlarge_buffers(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise not_opened(text, error) from error
    real_port: int = sock.getsockname()[1]
    _, told_host, told_port = says or (protocol, host, real_port)
    point = ListeningPoint(protocol, (host, real_port), told_host, told_port or real_port)
    return Bound(point, sock)


class Driver:
    """Drives one `UserAgent` on the running loop."""

    def __init__(
        self,
        core: UserAgent,
        bound: Sequence[Bound],
        *,
        on_indication: Callable[[object], None],
        prepare: Callable[[Sequence[object]], None] = lambda indications: None,
        store_writer: StoreWriter | None = None,
        memory: MemoryNetwork | None = None,
        rules: Rules | None = None,
        tap_in: Tap | None = None,
        tap_out: Tap | None = None,
        resolve: Ask | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory` is needed for in-memory listeners, one network shared by all drivers of the process.

        `rules` are for connections; tls and wss need certificates among them. `resolve` looks names up.
        """
        self.core = core
        self.bound = tuple(bound)
        self.on_indication = on_indication
        self.prepare = prepare
        self.store_writer = store_writer
        self.memory = memory
        self.rules = rules or Rules()
        self.tap_in = tap_in
        self.tap_out = tap_out
        self.resolve = resolve or Resolver().ask
        self.now = now
        self.udp: dict[tuple[str, int], UdpEndpoint] = {}
        self.tcp: dict[tuple[str, int], TcpEndpoint] = {}
        self.numbers = itertools.count(1)
        self.traces = itertools.count(1)
        self.trace_prefix = os.urandom(3).hex()
        self.tasks: set[asyncio.Task[None]] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0
        self.planned = False
        self.turning = False
        self.running = False
        self.backlog = Backlog()
        self.more = False
        """Do datagrams wait? Then the next batch follows at once, and brings the next turn with it."""

    async def start(self) -> None:
        """Begin to listen. Raises ConfigurationError for an address that somebody took since it was bound."""
        self.loop = asyncio.get_running_loop()
        self.running = True
        for one in self.bound:
            point = one.point
            if one.sock is None:
                if self.memory is None:
                    raise ConfigurationError("sip.listen", f"{one} needs a memory network")
                self.memory.listen(point.local, self)
            elif point.protocol == "udp":
                endpoint = UdpEndpoint(
                    one.sock,
                    point,
                    receive=self.receive_message,
                    batch_done=self.batch_done,
                    failed=self.send_failed,
                )
                self.udp[point.local] = endpoint
                endpoint.start(self.loop)
            else:
                stream = self.tcp[point.local] = self.endpoint(one.sock, one)
                try:
                    await stream.start(self.loop)
                except OSError as error:  # bound by two, and the other one was first to listen
                    raise not_opened(str(one), error) from error
        self.turn()

    def proven(self, flow: Flow) -> frozenset[str]:
        """The names and addresses that the client's certificate proves; none where none was demanded."""
        endpoint = self.tcp.get(flow.local) if flow.protocol in SECURE else None
        return frozenset() if endpoint is None else endpoint.proven(flow.connection)

    def endpoint(self, sock: socket.socket, one: Bound) -> TcpEndpoint:
        """What keeps the connections of a point. Raises ConfigurationError where certificates are missing."""
        protocol = one.point.protocol
        tls = self.rules.tls if protocol in SECURE else None
        if protocol in SECURE and (tls is None or (one.listens and tls.outer is None)):
            raise ConfigurationError("sip.tls.cert", f"needed for {one}")
        return TcpEndpoint(
            sock,
            one.point,
            self,
            next_number=lambda: next(self.numbers),
            now=self.now,
            rules=self.rules,
            kind=WebSocketConnection if protocol in WEB else Connection,
            tls=tls,
            listens=one.listens,
        )

    async def stop(self) -> None:
        """Send and tell what is waiting, then close everything. The core is left as it is."""
        if not self.running:
            self.close_sockets()
            return
        self.flush()
        while self.backlog:
            self.flush()
        self.running = False
        if self.timer is not None:
            self.timer.cancel()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for stream in self.tcp.values():
            await stream.close()
        for endpoint in self.udp.values():
            endpoint.close()
        self.close_sockets()

    def close_sockets(self) -> None:
        for one in self.bound:
            if one.sock is not None and one.point.local not in self.tcp:
                one.sock.close()
            elif one.sock is None and self.memory is not None:
                self.memory.close(one.point.local, self)

    # --- what arrives -----------------------------------------------------------------------------

    def receive_message(self, data: bytes, flow: Flow) -> None:
        """A datagram, or a message of a memory flow. Whoever calls this calls `flush` afterwards."""
        now = self.now()
        trace = f"{self.trace_prefix}{next(self.traces):x}"
        if self.tap_in is not None:
            self.tap_in(data, flow, now, trace)
        try:
            self.core.receive_datagram(data, flow, now, trace)
        except Exception as error:
            self.complain("the SIP core failed on a message", error)

    def batch_done(self, more: bool) -> None:
        """Some datagrams were received; do more wait?"""
        self.more = more
        self.flush()

    def receive_stream(self, data: bytes, flow: Flow) -> None:
        """Bytes of a connection."""
        now = self.now()
        trace = f"{self.trace_prefix}{next(self.traces):x}"
        if self.tap_in is not None:
            self.tap_in(data, flow, now, trace)
        try:
            self.core.receive_stream(data, flow, now, trace)
        except Exception as error:
            self.complain("the SIP core failed on a stream", error)
        self.flush()

    def unfinished(self, flow: Flow) -> tuple[int, int]:
        return self.core.unfinished(flow)

    def connection_opened(self, flow: Flow) -> None:
        self.core.connection_opened(flow)

    def stream_closed(self, flow: Flow, error: str) -> None:
        self.safely(self.core.connection_closed, flow, self.now(), error)

    def send_failed(self, flow: Flow, error: str) -> None:
        self.safely(self.core.transport_failed, flow, self.now(), error)

    # --- turns ------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take a turn soon: the core has been called from outside."""
        if not self.planned and self.running:
            self.planned = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Take a turn now."""
        self.planned = False
        if self.turning or not self.running:
            return
        self.turning = True
        try:
            until = self.now() + (SHORT_SLICE if self.more else SLICE)
            for _ in range(ROUNDS):
                if not self.drain(until):
                    break
                if self.now() >= until:
                    self.go_on()
                    break
            else:
                self.go_on()
        finally:
            self.turning = False
        self.arm()

    def go_on(self) -> None:
        """There is more to tell than there was time for."""
        if not self.more:
            self.turn()

    def drain(self, until: float) -> bool:
        """Hand on what the core has. False: it had nothing. Reports wait after the moment `until`."""
        core = self.core
        transmits = core.transmits()
        for out in transmits:
            self.send(out)
        said = [one for one in core.indications() if not self.is_for_us(one)]
        told = self.tell_some(said, until)
        core.refusing = self.backlog.full
        changes = core.changes()
        if changes:
            self.write(changes)
        return bool(transmits or told or changes)

    def tell_some(self, said: Sequence[object], until: float) -> bool:
        """Tell what waits, then what is new; what there is no time for waits. False: there was nothing."""
        backlog, told = self.backlog, False
        for one in said:
            backlog.add(one)
        while backlog and (not told or self.now() < until):
            self.get_ready()
            self.tell(backlog.take())
            told = True
        return told

    def get_ready(self) -> None:
        """Whoever hears what comes next may prepare for it."""
        try:
            if coming := self.backlog.next_ones(TOGETHER):
                self.prepare(coming)
        except Exception as error:
            self.complain("nobody could prepare for what is to be told", error)

    def send(self, out: Transmit) -> None:
        flow = out.flow
        if self.tap_out is not None:
            self.tap_out(out.data, flow, self.now(), out.trace)
        if flow.protocol == "udp" and (datagrams := self.udp.get(flow.local)) is not None:
            datagrams.send(out.data, flow)
        elif flow.protocol in CONNECTIONS and (stream := self.tcp.get(flow.local)) is not None:
            stream.send(out.data, flow)
        elif flow.protocol == "memory" and self.memory is not None:
            self.memory.send(out.data, flow, self)
        else:
            self.send_failed(flow, "no such listener")

    def is_for_us(self, indication: object) -> bool:
        """Do what the core asks of its driver. False: others are to hear of it."""
        if type(indication) not in FOR_DRIVERS:
            return False
        if isinstance(indication, Resolve):
            task = self.loop.create_task(self.look_up(indication.question))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return True
        if isinstance(indication, CloseConnection):
            stream = self.tcp.get(indication.flow.local)
            if stream is not None:
                stream.close_connection(indication.flow.connection)
        if isinstance(indication, ReuseAsked):
            stream = self.tcp.get(indication.flow.local)
            if stream is not None:
                stream.reuse(indication.flow.connection, indication.port)
            return True
        return False

    def tell(self, indication: object) -> None:
        try:
            self.on_indication(indication)
        except Exception as error:
            self.complain(f"nobody could take {type(indication).__name__}", error)

    async def look_up(self, question: Question) -> None:
        try:
            answer = await self.resolve(question)
        except Exception as error:
            # Whoever waits must hear something, or the name is never asked again.
            self.complain(f"{question} could not be asked for", error)
            answer = Answer(failure=f"not looked up: {type(error).__name__}")
        self.safely(self.core.receive_answer, question, answer, self.now())

    def write(self, changes: Sequence[tuple[int, object]]) -> None:
        if self.store_writer is None:
            self.written([number for number, _ in changes], None)
        else:
            self.store_writer(changes, self.written)

    def written(self, numbers: Sequence[int], error: Exception | None) -> None:
        """The store is done with these changes."""
        now = self.now()
        happened = self.core.committed if error is None else self.core.store_failed
        for number in numbers:
            self.safely(happened, number, now)

    # --- the timer --------------------------------------------------------------------------------

    def arm(self) -> None:
        """One timer for the earliest deadline. A later one is left alone: it looks again when it fires."""
        when = self.core.next_timeout()
        if when is None or (self.timer is not None and self.timer_at <= when):
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer_at = when
        self.timer = self.loop.call_later(max(0.0, when - self.now()), self.wake)

    def wake(self) -> None:
        self.timer = None
        try:
            self.core.handle_timeout(self.now())
        except Exception as error:
            self.complain("the SIP core failed on a timeout", error)
        self.flush()

    def safely(self, call: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
        """Call into the core and take a turn; a bug there is complained about."""
        try:
            call(*args, **named)
        except Exception as error:
            self.complain("the SIP core failed", error)
        self.turn()

    def complain(self, message: str, error: Exception) -> None:
        self.loop.call_exception_handler({"message": message, "exception": error})
