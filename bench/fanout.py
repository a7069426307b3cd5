"""One notification to 1, 100 and 1,000 Bayeux sessions, by WebSocket and by long-polling, beside faye.

A bare notifier sends one NOTIFY with news to `sipbridge serve` (remote mode, SQLite), which becomes one
statusChanged for every session of the application; when all have it, the next goes out. The same listeners
do the same with faye's server (npm 1.4.3), where the event is a publish by HTTP. What is told is deliveries
per CPU second of the server; the NOTIFY, the log and the disk are in ours, a bare publish in faye's.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.measure import Effort, Figure, Skipped, Stalled, cpu_seconds, figure, median
from bench.notifier import Notifier
from bench.processes import ROOT, Bridge, bridge, stop
from bench.watching import CHANNEL, presentities, watch_all
from bench.wheel import PATIENCE, HttpConnection, Wheel

SIZES = (1, 100, 1000)
FAYE = "faye 1.4.3"
CLIENTS = ROOT / "tests" / "interop" / "clients"
INSTALL_SECONDS = 120.0
WEBSOCKET, POLLING = "WebSocket", "long-polling"
EVENT = {"statusChanged": {"correlator": "n0", "changedAttributes": [], "text": "x" * 220}}
"""What faye delivers: as long as a statusChanged of two attributes."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a Bayeux server listens. request: an HTTP POST of these messages, ready to send."""

    address: tuple[str, int]
    upgrade: bytes
    request: Callable[[object], bytes]
    channel: str


class Listener:
    """One session. heard: notifications so far; ready: it is subscribed, and waits."""

    def __init__(self, wheel: Wheel, door: Door, kind: str) -> None:
        self.wheel, self.door, self.kind = wheel, door, kind
        self.heard = 0
        self.ready = self.leaving = self.gone = False
        self.id = ""

    def shake_hands(self) -> None:
        types = ["websocket" if self.kind == WEBSOCKET else "long-polling"]
        self.send("/meta/handshake", version="1.0", supportedConnectionTypes=types)

    def take(self, body: bytes) -> None:
        """An array of messages: count what is told, do what is next."""
        self.heard += body.count(b'"statusChanged"')
        if self.leaving:
            self.gone = self.gone or b'"/meta/disconnect"' in body
        elif not self.ready:
            for one in json.loads(body):
                self.step(one)
        elif b'"/meta/connect"' in body:
            self.connect()

    def step(self, answer: dict[str, str]) -> None:
        if "data" in answer:
            return  # what waited for somebody to come
        if not answer.get("successful"):
            raise Stalled(f"{answer}")
        if answer["channel"] == "/meta/handshake":
            self.id = answer["clientId"]
            self.connect(timeout=0)
        elif answer["channel"] == "/meta/connect":
            self.send("/meta/subscribe", subscription=self.door.channel)
        else:
            self.ready = True
            self.connect()

    def connect(self, **advice: int) -> None:
        kind = "websocket" if self.kind == WEBSOCKET else "long-polling"
        more = {"advice": advice} if advice else {}
        self.send("/meta/connect", connectionType=kind, **more)

    def message(self, channel: str, **fields: object) -> dict[str, object]:
        known = {"clientId": self.id} if self.id else {}
        return {"channel": channel, "id": "1", **known, **fields}

    def leave(self) -> None:
        """End the session: a server that goes on delivering to nobody would be measured too."""
        self.leaving = True
        self.send("/meta/disconnect")

    def send(self, channel: str, **fields: object) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Poller(Listener):
    """By HTTP: one request is always open."""

    def __init__(self, wheel: Wheel, door: Door) -> None:
        super().__init__(wheel, door, POLLING)
        self.connection = HttpConnection(wheel, door.address)
        self.shake_hands()

    def send(self, channel: str, **fields: object) -> None:
        if self.leaving:  # while the other request is held
            self.connection.done = None
            self.connection.close()
            self.connection = HttpConnection(self.wheel, self.door.address)
        request = self.door.request([self.message(channel, **fields)])
        self.connection.ask(request, lambda status, body: self.take(body))

    def close(self) -> None:
        self.connection.close()


class Socket(Listener):
    """By WebSocket (RFC 6455), without extensions."""

    def __init__(self, wheel: Wheel, door: Door) -> None:
        super().__init__(wheel, door, WEBSOCKET)
        self.sock = socket.create_connection(door.address, PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.open = False
        wheel.add(self.sock, self.readable)
        self.sock.sendall(door.upgrade)

    def readable(self) -> None:
        chunk = self.sock.recv(1 << 20)
        if not chunk and not self.leaving:
            raise Stalled("the server closed a WebSocket")
        self.received += chunk
        if not self.open:
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                raise Stalled(f"no WebSocket: {head[:200]!r}")
            self.open, self.received = True, rest
            self.shake_hands()
        while (frame := self.frame()) is not None:
            opcode, payload = frame
            if opcode == 0x9:
                self.write(0xA, payload)
            elif opcode == 0x8 and self.leaving:
                self.gone = True
            elif opcode == 0x8:
                raise Stalled(f"the server ends a WebSocket: {payload!r}")
            else:
                self.take(payload)

    def frame(self) -> tuple[int, bytes] | None:
        """The next whole frame of what was received."""
        data = self.received
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start]) if len(data) >= start else len(data)
        if len(data) < start + length:
            return None
        self.received = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def send(self, channel: str, **fields: object) -> None:
        self.write(0x1, json.dumps([self.message(channel, **fields)]).encode())

    def write(self, opcode: int, payload: bytes) -> None:
        # The mask is zero, so the payload stays as it is (§5.3 lets the client choose).
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
        self.sock.sendall(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def close(self) -> None:
        self.wheel.remove(self.sock)


KINDS: dict[str, Callable[[Wheel, Door], Listener]] = {WEBSOCKET: Socket, POLLING: Poller}


class Crowd:
    """So many listeners at one server. tell: makes the server tell all of them something."""

    def __init__(
        self, wheel: Wheel, door: Door, pid: int, tell: Callable[[], None], kind: str, size: int
    ) -> None:
        self.wheel, self.pid, self.tell = wheel, pid, tell
        self.listeners: list[Listener] = []
        for _ in range(size):
            one = KINDS[kind](wheel, door)
            self.listeners.append(one)
            wheel.until(lambda one=one: one.ready)  # type: ignore[misc]
        wheel.turn(0.05)  # what the server owes from before
        self.told = 0
        self.took: list[float] = []
        for one in self.listeners:
            one.heard = 0

    def all_heard(self) -> bool:
        return all(one.heard >= self.told for one in self.listeners)

    def rate(self, events: int) -> float:
        """Deliveries per CPU second."""
        before = cpu_seconds(self.pid)
        for _ in range(events):
            began = time.perf_counter()
            self.told += 1
            self.tell()
            self.wheel.until(self.all_heard)
            self.took.append(time.perf_counter() - began)
        spent = cpu_seconds(self.pid) - before
        if any(one.heard != self.told for one in self.listeners):
            raise Stalled("something was told twice")
        return events * len(self.listeners) / max(spent, 0.001)

    def close(self) -> None:
        for one in self.listeners:
            one.leave()
            self.wheel.until(lambda one=one: one.gone)  # type: ignore[misc]
            one.close()


class Ours:
    """The bridge, with one presentity watched."""

    def __init__(self, wheel: Wheel, stack: ExitStack) -> None:
        self.wheel, self.notifier = wheel, Notifier(wheel)
        most = {"bayeux": {"max_sessions_per_application": 2 * max(SIZES)}}
        self.bridge = stack.enter_context(bridge(next_hop=self.notifier.address, settings=most))
        self.pid = self.bridge.pid
        watch_all(wheel, self.bridge, presentities(1), 30.0)
        wheel.until(lambda: not self.notifier.open)
        self.door = bridge_door(self.bridge)

    def tell(self) -> None:
        self.notifier.news(self.notifier.by_number[0])


class Faye:
    """faye's server, and a session that publishes."""

    def __init__(self, wheel: Wheel, stack: ExitStack, *, may_install: bool) -> None:
        self.pid, address = stack.enter_context(faye(may_install=may_install))
        self.door = Door(
            address, upgrade("/bayeux", address), lambda m: post("/bayeux", address, m), "/bench"
        )
        self.publisher = HttpConnection(wheel, address)
        greeter = Poller(wheel, self.door)
        wheel.until(lambda: greeter.ready)
        greeter.leave()
        wheel.until(lambda: greeter.gone)
        greeter.close()
        message = {"channel": "/bench", "data": EVENT, "clientId": greeter.id}
        self.event = post("/bayeux", address, [message])

    def tell(self) -> None:
        self.publisher.ask(self.event, lambda status, body: None)


def bridge_door(bridge: Bridge) -> Door:
    path = "/rest/presence/notifications"
    plain = bridge.request("app_0", "GET", path).partition(b"\r\nAuthorization:")[2]
    credentials = b"Authorization:" + plain.partition(b"\r\n")[0] + b"\r\n"
    return Door(
        bridge.http,
        upgrade(path, bridge.http, credentials),
        lambda messages: bridge.request("app_0", "POST", path, messages),
        CHANNEL,
    )


def upgrade(path: str, address: tuple[str, int], more: bytes = b"") -> bytes:
    """The request that opens a WebSocket."""
    host = f"{address[0]}:{address[1]}"
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
    return head.encode() + more + b"\r\n"


def post(path: str, address: tuple[str, int], messages: object) -> bytes:
    payload = json.dumps(messages).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


@contextmanager
def faye(*, may_install: bool) -> Iterator[tuple[int, tuple[str, int]]]:
    """faye's server as a process: its id and its address. Skipped where it is not to be had."""
    node = shutil.which("node")
    if node is None:
        raise Skipped("node is not installed")
    if not (CLIENTS / "node_modules" / "faye").is_dir():
        if not may_install:
            raise Skipped("faye is not installed")
        install()
    command = [node, str(ROOT / "bench" / "faye_server.mjs"), str(CLIENTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise Skipped("faye does not start")
        yield process.pid, ("127.0.0.1", int(line))
    finally:
        stop(process)


def install() -> None:
    """Install the foreign clients of the interop cases; faye is one of them."""
    if shutil.which("npm") is None:
        raise Skipped("npm is not installed")
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(
            command, cwd=CLIENTS, check=True, timeout=INSTALL_SECONDS, capture_output=True
        )
    except (subprocess.SubprocessError, OSError):
        raise Skipped("faye is not installed, and npm could not install it") from None


def goal(kind: str, size: int) -> float | None:
    """What part of faye's rate is asked for."""
    if size == 1:
        return None
    return 1.0 if kind == WEBSOCKET or size <= 100 else 0.7


def row(
    kind: str,
    size: int,
    ours: Sequence[float],
    theirs: Sequence[float],
    took: Sequence[float],
    why: str,
) -> Figure:
    part = goal(kind, size) if theirs else None
    return figure(
        f"statusChanged → {size:,} by {kind}",
        "deliveries/CPU-s",
        ours,
        {FAYE: theirs} if theirs else {},
        target="" if part is None else f"≥ {part:g} of faye",
        met=None if part is None else lambda _, ratios: ratios[FAYE] >= part,
        note=f"the last has it after {median(took) * 1000:.1f} ms (p50)" + why,
    )


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    sizes = SIZES if effort.count >= 1000 else (1, 10)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        ours, theirs, why = Ours(wheel, stack), None, ""
        try:
            theirs = Faye(wheel, stack, may_install=effort.count >= 1000)
        except Skipped as reason:
            why = f"; without faye: {reason}"
        for kind in KINDS:
            for size in sizes:
                events = max(effort.count // (2 * size), 10) if size > 1 else effort.count // 10
                yield measure(wheel, kind, size, effort.runs, events, ours, theirs, why)


def measure(
    wheel: Wheel,
    kind: str,
    size: int,
    runs: int,
    events: int,
    ours: Ours,
    theirs: Faye | None,
    why: str,
) -> Figure:
    """Both servers in turn, each with a crowd of its own."""
    crowds = [
        Crowd(wheel, one.door, one.pid, one.tell, kind, size) for one in (ours, theirs) if one
    ]
    rates: list[list[float]] = [[] for _ in crowds]
    for crowd in crowds:
        crowd.rate(min(events, 5))  # warm
        crowd.took.clear()
    for _ in range(runs):
        for crowd, found in zip(crowds, rates, strict=True):
            found.append(crowd.rate(events))
    for crowd in crowds:
        crowd.close()
    return row(kind, size, rates[0], rates[1] if theirs else (), crowds[0].took, why)
