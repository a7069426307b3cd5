"""A presence server that is only a mouth: it accepts subscriptions and publications and sends NOTIFYs.

Plain text on one UDP socket, no state beyond a counter for each subscription, so that it costs little beside
what it measures. It shares no code with the bridge.
"""

import heapq
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.documents import NOTIFY, rich
from bench.measure import Stalled
from bench.wheel import Wheel, datagram_socket

COPIED = re.compile(rb"(?im)^(?:via|from|call-id|cseq|record-route):[^\r\n]*\r\n")
TO = re.compile(rb"(?im)^To:[ \t]*([^\r\n]*)\r\n")
FROM = re.compile(rb"(?im)^From:[^<\r\n]*<([^>]*)>;tag=([^\s;]+)")
TARGET = re.compile(rb"(?im)^Contact:[^<\r\n]*<([^>]*)>")
CALL_ID = re.compile(rb"(?im)^Call-ID:[ \t]*([^\r\n]*?)[ \t]*\r\n")
EVENT = re.compile(rb"(?im)^Event:[ \t]*presence[ \t]*\r\n")
BRANCH = re.compile(rb"branch=z9hG4bK([0-9a-f]+)")
BATCH = 64
T1, T2, TIMER_F = 0.5, 4.0, 32.0
"""Seconds: a request without an answer goes again after T1, then after twice as long, at most T2, and is
given up after Timer F (RFC 3261 section 17.1.2.2), as any server does it over UDP."""


@dataclass(slots=True)
class Waiting:
    """A NOTIFY without an answer."""

    sent: float
    data: bytes
    interval: float = T1


@dataclass(slots=True)
class Dialog:
    """One subscription of the bridge."""

    entity: str
    watcher: str
    target: str
    remote_tag: str
    call_id: str
    cseq: int = 1
    number: int = 0


class Notifier:
    """Answers SUBSCRIBE and PUBLISH, sends NOTIFY. `turn` the wheel for it to hear."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel
        self.sock: socket.socket = datagram_socket()
        self.address: tuple[str, int] = self.sock.getsockname()
        self.peer: tuple[str, int] = self.address
        self.dialogs: dict[str, Dialog] = {}
        self.by_number: list[Dialog] = []
        self.sent = 0
        self.open: dict[int, Waiting] = {}
        """NOTIFYs without an answer by the number of their branch."""
        self.due: list[tuple[float, int]] = []
        """A heap: when which of them goes again."""
        self.given_up = 0
        self.waits: list[float] = []
        """Seconds from each NOTIFY to its answer."""
        self.resent = 0
        self.refused: list[bytes] = []
        self.published = 0
        wheel.add(self.sock, self.readable)

    def readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, peer = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            if data.startswith(b"SIP/2.0"):
                self.heard(data)
            elif data.startswith(b"SUBSCRIBE"):
                self.subscribed(data, peer)
            else:
                self.published += 1
                tag = b"SIP-ETag: e%d\r\nExpires: 3600\r\n" % self.published
                self.answer(data, peer, tag)

    def heard(self, response: bytes) -> None:
        """The answer to a NOTIFY."""
        found = BRANCH.search(response)
        known = self.open.pop(int(found[1], 16), None) if found is not None else None
        if known is None:
            return
        self.waits.append(time.perf_counter() - known.sent)
        if not response.startswith(b"SIP/2.0 200"):
            self.refused.append(response)

    def answer(
        self, request: bytes, peer: tuple[str, int], more: bytes, status: bytes = b"200 OK"
    ) -> None:
        to = TO.search(request)
        if to is None:
            return
        tag = b"" if b";tag=" in to[1] else b";tag=bench"
        lines = b"".join(COPIED.findall(request)) + b"To: " + to[1] + tag + b"\r\n"
        end = b"Content-Length: 0\r\n\r\n"
        self.sock.sendto(b"SIP/2.0 " + status + b"\r\n" + lines + more + end, peer)

    def subscribed(self, request: bytes, peer: tuple[str, int]) -> None:
        """200, and for a new one the first NOTIFY. Other packages than presence are unknown here."""
        if EVENT.search(request) is None:
            self.answer(request, peer, b"", b"489 Bad Event")
            return
        contact = b"Contact: <sip:%b:%d;transport=udp>\r\n" % (
            self.address[0].encode(),
            self.address[1],
        )
        self.answer(request, peer, contact + b"Expires: 3600\r\n")
        sender, target, call = (p.search(request) for p in (FROM, TARGET, CALL_ID))
        if sender is None or target is None or call is None:
            raise Stalled(f"not a SUBSCRIBE: {request[:300]!r}")
        self.peer = peer
        entity = request.split(b" ", 2)[1].decode()
        key = call[1].decode()
        if key not in self.dialogs:
            made = Dialog(entity, sender[1].decode(), target[1].decode(), sender[2].decode(), key)
            self.dialogs[key] = made
            self.by_number.append(made)
            self.notify(made, rich(entity, 0))

    def notify(self, dialog: Dialog, body: bytes) -> None:
        """Send one NOTIFY."""
        self.sent += 1
        dialog.cseq += 1
        head = NOTIFY.format(
            target=dialog.target,
            host=self.address[0],
            port=self.address[1],
            branch=f"{self.sent:016x}",
            entity=dialog.entity,
            watcher=dialog.watcher,
            local_tag="bench",
            remote_tag=dialog.remote_tag,
            call_id=dialog.call_id,
            cseq=dialog.cseq,
            length=len(body),
        )
        data = head.encode() + body
        now = time.perf_counter()
        self.open[self.sent] = Waiting(now, data)
        heapq.heappush(self.due, (now + T1, self.sent))
        self.sock.sendto(data, self.peer)

    def resend(self) -> None:
        """Once more what is due: Timer E and Timer F of every open NOTIFY."""
        now = time.perf_counter()
        while self.due and self.due[0][0] <= now:
            _, number = heapq.heappop(self.due)
            waiting = self.open.get(number)
            if waiting is None:
                continue
            if now - waiting.sent >= TIMER_F:
                del self.open[number]
                self.given_up += 1
                continue
            self.resent += 1
            self.sock.sendto(waiting.data, self.peer)
            waiting.interval = min(2 * waiting.interval, T2)
            heapq.heappush(self.due, (now + waiting.interval, number))

    def news(self, dialog: Dialog) -> None:
        """A NOTIFY with a document that was never sent before."""
        dialog.number += 1
        self.notify(dialog, rich(dialog.entity, dialog.number))

    def burst(self, count: int, window: int, send: Callable[[Dialog], None]) -> None:
        """`count` NOTIFYs round all subscriptions, `window` of them unanswered at a time."""
        dialogs, start = self.by_number, self.sent
        for n in range(count):
            send(dialogs[(start + n) % len(dialogs)])
            if len(self.open) >= window:
                self.wheel.until(lambda: len(self.open) <= window // 2)
        self.wheel.until(lambda: not self.open)
        if self.refused:
            raise Stalled(f"{len(self.refused)} NOTIFYs refused: {self.refused[0][:300]!r}")
