"""A wire between cores that loses, repeats, reorders and delays, and remembers everything.

Rules name messages by a word: a method ("NOTIFY"), a status ("200"), a method of a response's CSeq with its
status ("200 SUBSCRIBE"), or "*" for everything. Each rule counts down; the first that fits is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from sipbridge.sip.encoding import decoded
from sipbridge.sip.flow import Address, Flow, Transmit


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was put on the wire, whatever became of it."""

    at: float
    flow: Flow
    data: bytes
    lost: bool = False

    @property
    def first_line(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode()

    @property
    def words(self) -> set[str]:
        """The names by which rules and tests call it."""
        return words_of(self.data)

    @property
    def body(self) -> bytes:
        """The body without its content coding."""
        body = self.data.partition(b"\r\n\r\n")[2]
        coding = self.header("Content-Encoding")
        return decoded(body, [coding]) if coding else body

    def header(self, name: str) -> str:
        """A header's text, "" if it is absent."""
        for line in self.data.split(b"\r\n\r\n", 1)[0].decode().split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""


def words_of(data: bytes) -> set[str]:
    head = data.split(b"\r\n\r\n", 1)[0].decode(errors="replace")
    lines = head.split("\r\n")
    first = lines[0].split(" ")
    if first[0] != "SIP/2.0":
        return {first[0], "request", "*"}
    method = next((li.split()[-1] for li in lines if li.lower().startswith("cseq:")), "")
    return {first[1], f"{first[1]} {method}", "response", "*"}


@dataclass
class Rule:
    """What happens to the next `count` messages called `word`."""

    word: str
    count: int
    copies: int = 1
    delay: float = 0.0


@dataclass
class Wire:
    """Datagrams under way. Whoever owns it asks `next_arrival` and takes what has arrived."""

    latency: float = 0.0
    chance: Callable[[bytes], tuple[int, float]] | None = None
    """For random wires: how many copies and how much extra delay a message gets."""
    rules: list[Rule] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    under_way: list[tuple[float, int, Flow, bytes]] = field(default_factory=list)
    count: int = 0

    def drop_next(self, word: str, count: int = 1) -> None:
        self.rules.append(Rule(word, count, copies=0))

    def repeat_next(self, word: str, copies: int = 2) -> None:
        self.rules.append(Rule(word, 1, copies=copies))

    def delay_next(self, word: str, seconds: float) -> None:
        self.rules.append(Rule(word, 1, delay=seconds))

    def put(self, out: Transmit, now: float) -> None:
        """A message leaves."""
        copies, delay = self.fate(out.data)
        self.sent.append(Sent(now, out.flow, out.data, lost=not copies))
        for _ in range(copies):
            self.count += 1
            heappush(self.under_way, (now + self.latency + delay, self.count, out.flow, out.data))

    def fate(self, data: bytes) -> tuple[int, float]:
        words = words_of(data)
        for rule in self.rules:
            if rule.word in words:
                rule.count -= 1
                if not rule.count:
                    self.rules.remove(rule)
                return rule.copies, rule.delay
        return (1, 0.0) if self.chance is None else self.chance(data)

    def next_arrival(self) -> float | None:
        return self.under_way[0][0] if self.under_way else None

    def arrived(self, now: float) -> list[tuple[Flow, bytes]]:
        """What has arrived, with the flow as its sender saw it."""
        out = []
        while self.under_way and self.under_way[0][0] <= now:
            _, _, flow, data = heappop(self.under_way)
            out.append((flow, data))
        return out

    def named(self, word: str) -> list[Sent]:
        """Everything that was sent under this name, lost ones too."""
        return [one for one in self.sent if word in one.words]


def seen_from_there(flow: Flow, source: Address) -> Flow:
    """The same path as the receiver sees it."""
    return Flow(flow.protocol, flow.remote, source, flow.connection)
