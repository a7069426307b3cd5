"""The load generators' loop: one selector, callbacks, waits that end.

Small on purpose. What is measured runs in other processes; here nothing may cost much, and nothing may wait
for ever.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.measure import Stalled

RECEIVE_BUFFER = 8 << 20
PATIENCE = 10.0
"""Seconds without an answer after which a measurement is given up."""

IDLE_SECONDS = 3.0
"""How long an HTTP connection may have been idle to be used again; servers close theirs after five."""


class Wheel:
    """Calls back for sockets that are readable."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def add(self, sock: socket.socket, readable: Callable[[], None]) -> None:
        self.selector.register(sock, selectors.EVENT_READ, readable)

    def turn(self, seconds: float) -> None:
        """Wait at most so long, call whoever can read."""
        for key, _ in self.selector.select(seconds):
            key.data()

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Turn until `holds`; Stalled when nothing of it comes true in time."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Stalled(f"no answer within {seconds:g} s")
            self.turn(0.1)

    def remove(self, sock: socket.socket) -> None:
        """Close it."""
        self.selector.unregister(sock)
        sock.close()

    def close(self) -> None:
        """Close every socket that was added."""
        for key in list(self.selector.get_map().values()):
            self.selector.unregister(key.fileobj)
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self.selector.close()


def datagram_socket() -> socket.socket:
    """A loopback UDP socket with room for a burst."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class HttpConnection:
    """A kept-alive HTTP/1.1 connection: a request, its answer, a callback. Opened again if it idled out."""

    def __init__(self, wheel: Wheel, address: tuple[str, int]) -> None:
        self.wheel = wheel
        self.address = address
        self.sock: socket.socket | None = None
        self.received = b""
        self.done: Callable[[int, bytes], None] | None = None
        self.used = 0.0

    def open(self) -> socket.socket:
        sock = socket.create_connection(self.address, PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wheel.add(sock, self.readable)
        self.received = b""
        self.sock = sock
        return sock

    def ask(self, request: bytes, done: Callable[[int, bytes], None]) -> None:
        """Send; `done(status, body)` when the answer is complete."""
        if time.monotonic() > self.used + IDLE_SECONDS:
            self.close()  # the server's end may be on its way
        self.done = done
        (self.sock or self.open()).sendall(request)

    def close(self) -> None:
        if self.sock is not None:
            self.wheel.remove(self.sock)
            self.sock = None

    def readable(self) -> None:
        chunk = self.sock.recv(1 << 20) if self.sock is not None else b""
        if not chunk:
            self.close()
            if self.done is not None:
                raise Stalled("the HTTP server closed the connection instead of answering")
            return
        self.received += chunk
        end = self.received.find(b"\r\n\r\n")
        if end < 0 or self.done is None:
            return
        head = self.received[:end].lower()
        status = int(head[9:12])
        length = 0
        if status not in (204, 304):
            at = head.find(b"\r\ncontent-length:")
            if at < 0:
                raise Stalled(f"an HTTP answer without a length: {head[:200]!r}")
            length = int(head[at + 17 :].split(b"\r\n", 1)[0])
        if len(self.received) < end + 4 + length:
            return
        body = self.received[end + 4 : end + 4 + length]
        self.received = self.received[end + 4 + length :]
        self.used = time.monotonic()
        done, self.done = self.done, None
        done(status, body)


def ask_all(
    wheel: Wheel,
    connections: Sequence[HttpConnection],
    requests: Sequence[bytes],
    wanted: int,
    patience: float = PATIENCE,
) -> list[float]:
    """Send all requests, one at a time on each connection; seconds each took. Every one must succeed."""
    waiting, took = deque(requests), list[float]()
    wrong: list[str] = []

    def next_on(connection: HttpConnection) -> None:
        if not waiting:
            return
        began = time.perf_counter()

        def done(status: int, body: bytes) -> None:
            took.append(time.perf_counter() - began)
            if status != wanted:
                wrong.append(f"HTTP {status} {body[:300].decode('utf-8', 'replace')}")
            next_on(connection)

        connection.ask(waiting.popleft(), done)

    for connection in connections:
        next_on(connection)
    heard = -1
    while len(took) < len(requests):
        heard = len(took)
        wheel.until(lambda: len(took) > heard, patience)  # noqa: B023 - read at once
    if wrong:
        raise Stalled(f"{len(wrong)} of {len(requests)} calls failed: {wrong[0]}")
    return took
