"""Messages as a text ladder: a column for each party, an arrow for each message.

    12:00:01.123   127.0.0.1:5070            127.0.0.1:5060
                         │ SUBSCRIBE ──────────────▶│        #1 presence, expires 3600
                         │◀────────────────── 200 OK│        #1 SUBSCRIBE

`#1` numbers the dialogs by Call-ID. Bytes seen before are marked "again": a retransmission. When a new party
comes the names are written once more.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime

from sipbridge.observability.capture import Captured, spelled
from sipbridge.sip.flow import Address

COLUMN = 28
"""Characters between two parties."""
MAX_PARTIES = 8
"""Columns; the party silent for longest gives way."""
MARGIN = 14
REMEMBERED = 512
"""Messages compared with to find retransmissions, and dialogs that keep their number."""

FIELDS = {
    "Event": re.compile(rb"(?im)^(?:event|o)[ \t]*:[ \t]*([^\r\n]{1,60})"),
    "Subscription-State": re.compile(rb"(?im)^subscription-state[ \t]*:[ \t]*([^\r\n]{1,80})"),
    "Expires": re.compile(rb"(?im)^expires[ \t]*:[ \t]*([^\r\n]{1,20})"),
    "If-Match": re.compile(rb"(?im)^sip-if-match[ \t]*:[ \t]*([^\r\n]{1,60})"),
    "ETag": re.compile(rb"(?im)^sip-etag[ \t]*:[ \t]*([^\r\n]{1,60})"),
    "Min-Expires": re.compile(rb"(?im)^min-expires[ \t]*:[ \t]*([^\r\n]{1,20})"),
    "Retry-After": re.compile(rb"(?im)^retry-after[ \t]*:[ \t]*([^\r\n]{1,40})"),
    "Warning": re.compile(rb"(?im)^warning[ \t]*:[ \t]*([^\r\n]{1,80})"),
    "Content-Type": re.compile(rb"(?im)^(?:content-type|c)[ \t]*:[ \t]*([^;\r\n]{1,60})"),
}
"""What is told beside the arrow, in this order."""
CSEQ = re.compile(rb"(?im)^cseq[ \t]*:[ \t]*(\d+)[ \t]+(\S+)")


class Ladder:
    """Lines for one message after the other."""

    def __init__(self) -> None:
        self.parties: OrderedDict[Address, int] = OrderedDict()
        """To their columns; the one that spoke last is last."""
        self.dialogs: OrderedDict[str, int] = OrderedDict()
        self.counted = 0
        self.seen: OrderedDict[int, None] = OrderedDict()

    def lines(self, message: Captured) -> Iterator[str]:
        new = [self.place(party) for party in (message.source, message.destination)]
        if any(new):
            yield self.names()
        columns = [self.parties[message.source], self.parties[message.destination]]
        at = datetime.fromtimestamp(message.at, UTC).strftime("%H:%M:%S.%f")[:-3]
        again = " (again)" if self.repeated(message) else ""
        arrow = self.arrow(columns[0], columns[1], label(message.data))
        yield f"{at:<{MARGIN}}{arrow}  #{self.dialog(message)} {details(message.data)}{again}".rstrip()

    def place(self, party: Address) -> bool:
        """Give it a column; True if it had none."""
        if party in self.parties:
            self.parties.move_to_end(party)
            return False
        column = len(self.parties)
        if column >= MAX_PARTIES:
            _, column = self.parties.popitem(last=False)
        self.parties[party] = column
        return True

    def names(self) -> str:
        by_column = sorted((column, spelled(party)) for party, column in self.parties.items())
        return " " * MARGIN + "".join(f"{name:<{COLUMN}}" for _, name in by_column).rstrip()

    def arrow(self, from_: int, to: int, text: str) -> str:
        line = list(("│" + " " * (COLUMN - 1)) * (len(self.parties) - 1) + "│")
        left, right = sorted((from_ * COLUMN, to * COLUMN))
        if left == right:
            return "".join(line) + f" ↺ {text}"
        inside = right - left - 1
        text = text[: inside - 4]
        if from_ < to:
            drawn = f" {text} ".ljust(inside - 1, "─") + "▶"
        else:
            drawn = "◀" + f" {text} ".rjust(inside - 1, "─")
        line[left + 1 : right] = drawn
        return "".join(line)

    def dialog(self, message: Captured) -> int:
        call_id = message.call_id
        if call_id not in self.dialogs:
            self.counted += 1
            self.dialogs[call_id] = self.counted
            if len(self.dialogs) > REMEMBERED:
                self.dialogs.popitem(last=False)
        self.dialogs.move_to_end(call_id)
        return self.dialogs[call_id]

    def repeated(self, message: Captured) -> bool:
        key = hash((message.source, message.destination, message.data))
        known = key in self.seen
        self.seen[key] = None
        if len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)
        return known


def label(data: bytes) -> str:
    """METHOD of a request, status and reason of a response."""
    first = data.lstrip(b"\r\n").partition(b"\n")[0].strip().decode("utf-8", "replace")
    return first[8:] if first.startswith("SIP/2.0 ") else first.partition(" ")[0]


def details(data: bytes) -> str:
    """Request-URI or method answered, and the fields that matter to presence."""
    head, _, body = data.partition(b"\r\n\r\n")
    first = head.lstrip(b"\r\n").partition(b"\n")[0].strip().decode("utf-8", "replace")
    cseq = CSEQ.search(head)
    number = f"{cseq[1].decode()} {cseq[2].decode('utf-8', 'replace')}" if cseq else ""
    about = number if first.startswith("SIP/2.0 ") else f"{number} {first.split(' ')[1]}"
    told = [
        f"{name}: {found[1].strip().decode('utf-8', 'replace')}"
        for name, pattern in FIELDS.items()
        if (found := pattern.search(head))
    ]
    if body:
        told.append(f"{len(body)} bytes")
    return ", ".join([about, *told])
