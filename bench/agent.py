"""PUBLISH → 200, NOTIFY → 200 at the embedded agent, beside Kamailio doing the same.

A bare talker publishes for as many presentities as it watches, in a closed loop: an operation is over when
the PUBLISH was answered and its NOTIFY arrived and was answered. The same talker drives `sipbridge serve`
with SQLite and with memory, and Kamailio 5.6 with db_sqlite (one worker) and with db_text, in turn, all in
the same run. CPU is that of all processes of the server. A request without an answer goes again after half a
second, as over UDP it must.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.documents import small
from bench.measure import Effort, Figure, Skipped, Stalled, cpu_seconds, figure
from bench.processes import DOMAIN, bridge, kamailio
from bench.wheel import PATIENCE, Wheel, datagram_socket

PAIRS = 64
WINDOW = 32
"""Operations at a time."""
T1 = 0.5
"""Seconds until a request goes again."""
COPIED = re.compile(rb"(?im)^(?:via|v|from|f|to|t|call-id|i|cseq):[^\r\n]*\r\n")
CALL_ID = re.compile(rb"(?im)^(?:call-id|i):[ \t]*[^\r\n]*?-(\d+)[ \t]*\r\n")
ETAG = re.compile(rb"(?im)^SIP-ETag:[ \t]*([^\r\n]*?)[ \t]*\r\n")
NUMBER = re.compile(rb">n (\d+) ")


class Talker:
    """Publishes as `PAIRS` presentities and watches each of them once."""

    def __init__(self, wheel: Wheel, pid: int, peer: tuple[str, int]) -> None:
        self.wheel, self.pid, self.peer = wheel, pid, peer
        self.run = os.urandom(3).hex()
        self.sock = datagram_socket()
        self.at = "{}:{}".format(*self.sock.getsockname())
        self.requests = 0
        self.etags: dict[int, str] = {}
        self.subscribed: set[int] = set()
        self.notified: set[int] = set()
        self.numbers = [0] * PAIRS
        self.unanswered: dict[int, tuple[float, bytes]] = {}
        """When each PUBLISH went, and its bytes."""
        self.awaited: set[int] = set()
        self.errors: list[bytes] = []
        wheel.add(self.sock, self.readable)
        for n in range(PAIRS):
            self.subscribe(n)
            self.until(lambda n=n: n in self.subscribed and n in self.notified)  # type: ignore[misc]
        for n in range(PAIRS):
            self.publish(n)
            self.until(lambda: not self.unanswered and not self.awaited)

    def user(self, n: int) -> str:
        return f"sip:p{n}-{self.run}@{DOMAIN}"

    def via(self) -> str:
        self.requests += 1
        return f"SIP/2.0/UDP {self.at};branch=z9hG4bK{self.run}{self.requests};rport"

    def subscribe(self, n: int) -> None:
        watcher, user = f"sip:w{n}-{self.run}@{DOMAIN}", self.user(n)
        self.send(
            f"SUBSCRIBE {user} SIP/2.0\r\nVia: {self.via()}\r\nMax-Forwards: 70\r\n"
            f"From: <{watcher}>;tag=w{n}\r\nTo: <{user}>\r\nCall-ID: w-{self.run}-{n}\r\n"
            f"CSeq: 1 SUBSCRIBE\r\nContact: <sip:w{n}@{self.at}>\r\nEvent: presence\r\n"
            "Accept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        )

    def publish(self, n: int) -> None:
        self.numbers[n] += 1
        number, user, tag = self.numbers[n], self.user(n), self.etags.get(n)
        body = small(user, number).decode()
        match_line = f"SIP-If-Match: {tag}\r\n" if tag else ""
        self.awaited.add(n)
        sent = self.send(
            f"PUBLISH {user} SIP/2.0\r\nVia: {self.via()}\r\nMax-Forwards: 70\r\n"
            f"From: <{user}>;tag=p{n}\r\nTo: <{user}>\r\nCall-ID: p-{self.run}-{n}\r\n"
            f"CSeq: {number} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{match_line}"
            f"Content-Type: application/pidf+xml\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        self.unanswered[n] = time.monotonic(), sent

    def send(self, text: str) -> bytes:
        data = text.encode()
        self.sock.sendto(data, self.peer)
        return data

    def until(self, holds: Callable[[], bool]) -> None:
        """Turn the wheel until `holds`. Raises Stalled with what is missing."""
        end = time.monotonic() + PATIENCE
        while not holds():
            now = time.monotonic()
            if now > end:
                raise Stalled(
                    f"{len(self.unanswered)} PUBLISHs without answer, {len(self.awaited)} without NOTIFY"
                )
            for n, (when, data) in list(self.unanswered.items()):
                if now - when > T1:
                    self.unanswered[n] = now, data
                    self.sock.sendto(data, self.peer)
            self.wheel.turn(0.1)

    def readable(self) -> None:
        for _ in range(64):
            try:
                data, peer = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            found = CALL_ID.search(data)
            if found is None:
                continue
            if data.startswith(b"SIP/2.0"):
                self.answered(int(found[1]), data)
            else:
                self.told(int(found[1]), data, peer)

    def answered(self, n: int, data: bytes) -> None:
        if data.startswith(b"SIP/2.0 1"):
            return
        if not data.startswith(b"SIP/2.0 20"):
            self.errors.append(data)
        if b" PUBLISH\r\n" not in data:
            self.subscribed.add(n)
            return
        if (tag := ETAG.search(data)) is not None:
            self.etags[n] = tag[1].decode()
        self.unanswered.pop(n, None)

    def told(self, n: int, data: bytes, peer: tuple[str, int]) -> None:
        """A NOTIFY: answer it; it counts when it shows the newest document."""
        lines = b"".join(COPIED.findall(data.partition(b"\r\n\r\n")[0] + b"\r\n"))
        self.sock.sendto(b"SIP/2.0 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n", peer)
        self.notified.add(n)
        found = NUMBER.search(data)
        if found is not None and int(found[1]) == self.numbers[n]:
            self.awaited.discard(n)

    def cost(self, count: int) -> float:
        """CPU milliseconds of the server for one operation."""
        before = cpu_seconds(self.pid)
        for n in range(count):
            one = n % PAIRS
            self.until(lambda: self.free(one))  # noqa: B023 - waited for at once
            self.publish(one)
        self.until(lambda: not self.unanswered and not self.awaited)
        if self.errors:
            raise Skipped(f"{len(self.errors)} refused: {self.errors[0][:80]!r}")
        return (cpu_seconds(self.pid) - before) / count * 1000

    def free(self, n: int) -> bool:
        busy = self.unanswered.keys() | self.awaited
        return n not in busy and len(busy) < WINDOW


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    count = max(effort.count // 3, PAIRS)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        ours, theirs, missing = {}, {}, ""
        for name, store in (("SQLite", "sqlite:///state.db"), ("memory", "memory://")):
            one = stack.enter_context(bridge(store=store))
            ours[name] = Talker(wheel, one.pid, one.sip)
        try:
            for name, features in (("Kamailio db_sqlite", ("sqlite",)), ("Kamailio db_text", ())):
                theirs[name] = Talker(wheel, *stack.enter_context(kamailio(*features)))
        except Skipped as reason:
            missing = f"no comparison: {reason}"
        costs: dict[str, list[float]] = {name: [] for name in (*ours, *theirs)}
        for talker in ours.values():
            talker.cost(min(count, 500))  # warm
        for _ in range(effort.runs):
            for name, talker in {**theirs, **ours}.items():
                try:
                    costs[name].append(max(talker.cost(count), 0.001))
                except Stalled as error:
                    raise Stalled(f"{name}: {error}") from error
        beside = {name: costs[name] for name in theirs}
        for name in ours:
            yield figure(
                f"agent PUBLISH → 200, NOTIFY → 200, {name}",
                "CPU-ms",
                costs[name],
                beside,
                target="≤ 0.52 ms, aim 0.15 ms",
                met=lambda value, _: value <= 0.52,
                note=missing,
            )
