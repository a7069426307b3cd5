"""A bare SIP client on one UDP socket: subscribes, publishes, answers NOTIFYs. Plain text, no machine.

What is not answered goes again after half a second, as any client does it over UDP.
"""

import os
import re
import time
from collections.abc import Callable

from bench.measure import Stalled
from bench.processes import DOMAIN
from bench.wheel import PATIENCE, Wheel, datagram_socket

COPIED = re.compile(rb"(?im)^(?:via|from|to|call-id|cseq):[^\r\n]*\r\n")
BRANCH = re.compile(rb"branch=z9hG4bK[0-9a-f]{6}x(\d+)")
TO_TAG = re.compile(rb"(?im)^To:[^\r\n]*;tag=([^\s;]+)")
TARGET = re.compile(rb"(?im)^Contact:[^<\r\n]*<([^>]*)>")
ETAG = re.compile(rb"(?im)^SIP-ETag:[ \t]*([^\r\n]*?)[ \t]*\r\n")
T1 = 0.5
WINDOW = 32
"""Requests without an answer at a time."""


class Phone:
    """`notified` counts the NOTIFYs that came; repeats of one count once."""

    def __init__(self, wheel: Wheel, peer: tuple[str, int]) -> None:
        self.wheel, self.peer = wheel, peer
        self.run = os.urandom(3).hex()
        self.sock = datagram_socket()
        self.at = "{}:{}".format(*self.sock.getsockname())
        self.requests = 0
        self.open: dict[int, tuple[float, bytes, Callable[[bytes], None]]] = {}
        self.seen: set[bytes] = set()
        self.dialogs: dict[int, tuple[str, str, int]] = {}
        """Of each watcher: the other side's tag and target, the last CSeq."""
        self.etags: dict[int, str] = {}
        wheel.add(self.sock, self.readable)

    @property
    def notified(self) -> int:
        return len(self.seen)

    def user(self, n: int) -> str:
        return f"sip:p{n}-{self.run}@{DOMAIN}"

    def subscribe(self, n: int, presentity: int) -> None:
        """Watcher `n`: a new subscription, or the refresh of the one it has."""
        tag, target, cseq = self.dialogs.get(n, ("", self.user(presentity), 0))
        watcher = f"sip:w{n}-{self.run}@{DOMAIN}"
        to = f"<{self.user(presentity)}>" + (f";tag={tag}" if tag else "")
        lines = (
            f"From: <{watcher}>;tag=w{n}\r\nTo: {to}\r\nCall-ID: w-{self.run}-{n}\r\n"
            f"CSeq: {cseq + 1} SUBSCRIBE\r\nContact: <sip:w{n}@{self.at}>\r\nEvent: presence\r\n"
            "Accept: application/pidf+xml\r\nExpires: 3600\r\n"
        )

        def answered(response: bytes) -> None:
            other, contact = TO_TAG.search(response), TARGET.search(response)
            if other is None or contact is None:
                raise Stalled(f"not a dialog: {response[:300]!r}")
            self.dialogs[n] = other[1].decode(), contact[1].decode(), cseq + 1

        self.ask("SUBSCRIBE", target, lines, b"", answered)

    def publish(self, n: int, body: bytes) -> None:
        """Presentity `n`: a first publication, or the change of the one it has."""
        user, tag = self.user(n), self.etags.get(n)
        lines = (
            f"From: <{user}>;tag=p{n}\r\nTo: <{user}>\r\nCall-ID: p-{self.run}-{n}\r\n"
            f"CSeq: {self.requests + 1} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n"
            f"Content-Type: application/pidf+xml\r\n" + (f"SIP-If-Match: {tag}\r\n" if tag else "")
        )

        def answered(response: bytes) -> None:
            found = ETAG.search(response)
            if found is None:
                raise Stalled(f"no entity-tag: {response[:300]!r}")
            self.etags[n] = found[1].decode()

        self.ask("PUBLISH", user, lines, body, answered)

    def ask(
        self, method: str, target: str, lines: str, body: bytes, done: Callable[[bytes], None]
    ) -> None:
        """Send a request as soon as fewer than `WINDOW` are open."""
        self.until(lambda: len(self.open) < WINDOW)
        self.requests += 1
        head = (
            f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {self.at};"
            f"branch=z9hG4bK{self.run}x{self.requests};rport\r\nMax-Forwards: 70\r\n"
            f"{lines}Content-Length: {len(body)}\r\n\r\n"
        )
        data = head.encode() + body
        self.open[self.requests] = time.monotonic(), data, done
        self.sock.sendto(data, self.peer)

    def until(self, holds: Callable[[], bool]) -> None:
        """Turn the wheel until `holds`; what got no answer goes again."""
        end = time.monotonic() + PATIENCE
        while not holds():
            now = time.monotonic()
            if now > end:
                raise Stalled(f"no answer within {PATIENCE:g} s")
            for number, (sent, data, done) in list(self.open.items()):
                if now - sent > T1:
                    self.open[number] = now, data, done
                    self.sock.sendto(data, self.peer)
            self.wheel.turn(0.1)

    def settle(self, notified: int) -> None:
        """Until everything is answered and so many NOTIFYs have come."""
        self.until(lambda: not self.open and self.notified >= notified)

    def readable(self) -> None:
        for _ in range(64):
            try:
                data, peer = self.sock.recvfrom(65535)
            except BlockingIOError:
                return
            if data.startswith(b"SIP/2.0"):
                self.answered(data)
            else:
                lines = b"".join(COPIED.findall(data.partition(b"\r\n\r\n")[0] + b"\r\n"))
                answer = b"SIP/2.0 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n"
                self.sock.sendto(answer, peer)
                self.seen.add(lines)

    def answered(self, response: bytes) -> None:
        found = BRANCH.search(response)
        known = self.open.pop(int(found[1]), None) if found is not None else None
        if known is None:
            return
        if not response.startswith(b"SIP/2.0 20"):
            raise Stalled(f"refused: {response[:300]!r}")
        known[2](response)
