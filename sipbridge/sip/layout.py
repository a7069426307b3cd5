"""Header sections that are written the same way every time.

A program writes the fields of, say, its NOTIFY requests always in one order and with the same spelling; only
values differ. Such a layout is noticed when it has come a few times, and compiled to one regular expression,
which then splits a whole head in a fraction of the time. It takes plain ASCII only: `Name: value` with one
space, no blank at the end, no empty value, no control character, no folding. For everything else it says
nothing, and the general way decides; what it does read is what the general way would have read.

Nothing here depends on who sent a message, and what is remembered is bounded.
"""

import re
from collections.abc import Sequence

from sipbridge.sip.headers import NONE_REPEATED, SHOWN, Headers, Repeated, key_of
from sipbridge.sip.message import Request, Response

MAX_LAYOUTS = 8
"""Layouts kept for one method, and for responses; beyond it the one not used for longest is forgotten."""

LOOK_AT_EVERY = 8
"""One in so many messages that no layout reads is looked at, for looking costs time too."""

WORTH_IT = 4
"""Sightings before a layout is compiled, which takes as long as the general way takes for 50 messages."""

MAX_SEEN = 256
"""Layouts counted at the same time; then counting begins anew."""

METHODS = ("NOTIFY", "SUBSCRIBE", "PUBLISH", "OPTIONS", "REGISTER", "MESSAGE")
RESPONSE = "SIP/2.0"

VALUE = r"([!-~][ -~]*+)(?<! )"
STATUS_LINE = rf"SIP/2\.0 ([1-6][0-9][0-9]) {VALUE}"


class Layout:
    """The names of one kind of head, in order, as they are spelled on the wire."""

    __slots__ = ("keys", "names", "pattern", "repeats", "start")

    def __init__(self, start: str, spelled: Sequence[str]) -> None:
        """`start` is a method, or RESPONSE."""
        self.start = start
        self.names = [SHOWN[name] for name in spelled]
        self.keys = [key_of(name) for name in spelled]
        self.repeats = [
            (key, [i for i, other in enumerate(self.keys) if other == key])
            for key in dict.fromkeys(self.keys)
            if self.keys.count(key) > 1
        ]
        first = STATUS_LINE if start == RESPONSE else rf"{re.escape(start)} ([!-~]+) SIP/2\.0"
        lines = "".join(rf"\r\n{re.escape(name)}: {VALUE}" for name in spelled)
        self.pattern = re.compile(first + lines)

    def read(self, head: str) -> Request | Response | None:
        """A head without the empty line; None if it is not written in this way."""
        found = self.pattern.fullmatch(head)
        if found is None:
            return None
        start, *values = found.groups()
        if self.start == RESPONSE:
            reason = values.pop(0)
            return Response(int(start), reason, self.headers(values))
        return Request(self.start, start, self.headers(values))

    def headers(self, values: list[str]) -> Headers:
        first = dict(zip(self.keys, values, strict=True))
        if not self.repeats:
            return Headers.laid_out(self.names, values, first, NONE_REPEATED)
        repeated: Repeated = {}
        for key, places in self.repeats:
            repeated[key] = [values[i] for i in places]
            first[key] = repeated[key][0]
        return Headers.laid_out(self.names, values, first, repeated)


class Layouts:
    """The layouts that are known."""

    def __init__(self) -> None:
        self.known: dict[str, list[Layout]] = {start: [] for start in (*METHODS, RESPONSE)}
        self.seen: dict[tuple[str, ...], int] = {}
        self.passed = 0

    def read(self, head: str, most: int) -> Request | Response | None:
        """A head that is written in a known way and has at most so many fields."""
        layouts = self.known.get(head.partition(" ")[0])
        if not layouts:
            return None
        for place, layout in enumerate(layouts):
            message = layout.read(head)
            if message is not None:
                if place:
                    layouts.insert(0, layouts.pop(place))
                return message if len(layout.names) <= most else None
        return None

    def notice(self, head: str) -> None:
        """A sound head that no layout reads, and that the general way has read."""
        self.passed += 1
        start, _, rest = head.partition(" ")
        if self.passed % LOOK_AT_EVERY or start not in self.known:
            return
        spelled = [line.partition(":")[0] for line in rest.split("\r\n")[1:]]
        if len(self.seen) >= MAX_SEEN:
            self.seen.clear()
        times = self.seen[start, *spelled] = self.seen.get((start, *spelled), 0) + 1
        if times == WORTH_IT and (made := Layout(start, spelled)).read(head) is not None:
            layouts = self.known[start]
            layouts.insert(0, made)
            del layouts[MAX_LAYOUTS:]
