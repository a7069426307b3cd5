"""Counts SIP messages on the wire, as a tap of the driver.

A datagram, and everything we send, is one message. A stream is cut anywhere: for each connection the
unfinished head of a message is kept, and how much of its body is still to come. Only start line, CSeq and
Content-Length are looked at: this runs for every message, before anything is parsed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sipbridge.sip.flow import STREAMS, Address, Flow

METHODS = (
    b"ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE"
).split()
METHOD_NAMES = {method: method.decode() for method in METHODS}
OTHER = "other"
"""Label of methods that no RFC names: peers must not be able to make up labels."""

START = re.compile(rb"SIP/2\.0 (\d{3})[ \r\n]|([A-Za-z]{1,32}) [^ \r\n]+ SIP/2\.0\r?\n")
CSEQ = re.compile(rb"(?i)\nCSeq[ \t]*:[ \t]*\d+[ \t]+([A-Z]+)")
LENGTH = re.compile(rb"(?i)\n(?:Content-Length|l)[ \t]*:[ \t]*(\d{1,9})")
HEAD_END = re.compile(rb"\r?\n\r?\n")
MAX_HEAD = 65_536
"""Bytes of an unfinished head kept; our parser gives up before."""
MAX_STREAMS = 10_000
"""Connections in the middle of a message; beyond it the oldest is forgotten and counted no further."""

Connection = tuple[Address, int]
"""Two drivers number their connections alike; the listener tells them apart."""
Count = Callable[[str, str, str, str], None]
"""direction, transport, method, status ("" for a request)."""


@dataclass(slots=True)
class Stream:
    """Where a connection stands: `head` unfinished, or `body` bytes still to come."""

    head: bytes = b""
    body: int = 0


def head_end(data: bytes) -> int:
    """Where the body begins, 0 if the head is not complete."""
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        return end + 4
    found = HEAD_END.search(data)  # bare line feeds
    return found.end() if found else 0


class MessageCounter:
    """`tap_in` and `tap_out` of a driver."""

    def __init__(self, count: Count) -> None:
        self.count = count
        self.streams: dict[Connection, Stream] = {}

    def tap_in(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        if flow.protocol in STREAMS:
            self.receive(data, (flow.local, flow.connection), flow.protocol)
        else:
            self.message(data, "in", flow.protocol)

    def tap_out(self, data: bytes, flow: Flow, now: float, trace: str) -> None:
        self.message(data, "out", flow.protocol)

    def message(self, data: bytes, direction: str, transport: str) -> None:
        """One message; keep-alives and noise are not counted."""
        start = START.match(data)
        if start is None:
            return
        status, method = start.groups()
        if status is None:
            self.count(direction, transport, METHOD_NAMES.get(method, OTHER), "")
            return
        found = CSEQ.search(data)
        name = METHOD_NAMES.get(found[1], OTHER) if found else OTHER
        self.count(direction, transport, name, status.decode())

    def receive(self, data: bytes, connection: Connection, protocol: str) -> None:
        """Bytes of a stream."""
        stream = self.streams.pop(connection, None) or Stream()
        data = stream.head + data
        while data:
            if stream.body:
                taken = min(stream.body, len(data))
                stream.body -= taken
                data = data[taken:]
                continue
            data = data.lstrip(b"\r\n")
            end = head_end(data)
            if not end:
                break
            self.message(data[:end], "in", protocol)
            length = LENGTH.search(data, 0, end)
            stream.body = int(length[1]) if length else 0
            data = data[end:]
        stream.head = data
        if (data or stream.body) and len(data) <= MAX_HEAD:
            self.streams[connection] = stream
            if len(self.streams) > MAX_STREAMS:
                del self.streams[next(iter(self.streams))]
