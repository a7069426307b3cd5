"""Call flows as text ladders, played on cores with a wire and a clock turned by hand.

A ladder is a text file. Its first line says what it shows, the second who plays (`cast: …`). Then, in order:

    do     dave watches carol         somebody of the cast does something
    wait   601                        time passes
    until  601                        time passes until something is sent, at most so long
    -->    SUBSCRIBE | Expires: 600   the next message on the wire, from the left side to the right
    <--    200 SUBSCRIBE              the same from right to left; nothing may be left over at the end
    at 0.5 -->  SUBSCRIBE             the same, so many seconds after the last `mark` (or the beginning)
    mark                              time is counted from here on
    ==>    NOTIFY | CSeq: 7 NOTIFY    a side that is played by hand says this (`<==` from the right)
    ==>    again NOTIFY               it repeats its last such message, byte for byte
    told   Terminated | reason: …     the next thing our side reports, of the kinds that are listed in `TOLD`
    silent                            nothing is on the wire, nothing is reported
    see    dave: open                 what the cast sees in the end

Behind a bar stand header fields: `Name: text` (with `*` for anything), `no Name`, `body: text` that has to be
in the body. In messages that are said by hand they are added, or take the place of what would stand there.
Lines that begin with # are remarks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import Accepted, Notified, RefreshFailed, Refused, Terminated
from sipbridge.sip.flow import Address
from tests.harness.pair import ALICE, Net
from tests.harness.wire import Sent

HERE = Path(__file__).parent / "ladders"
TOLD: tuple[type[object], ...] = (
    *(Accepted, Notified, RefreshFailed, Refused, Terminated),
    *(Published, PublishFailed, Unpublished),
)
GRAIN = 0.26
"""Seconds by which a message may leave later than a ladder says: answers linger in grains of a quarter."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a ladder: `verb`, what follows it, and the fields behind bars."""

    number: int
    verb: str
    text: str
    fields: tuple[tuple[str, str], ...]
    at: float | None = None

    def __str__(self) -> str:
        shown = "".join(f" | {name}: {value}" for name, value in self.fields)
        return f"line {self.number}: {self.verb} {self.text}{shown}"


@dataclass(frozen=True, slots=True)
class Ladder:
    """A flow: its title, its cast and its lines."""

    name: str
    title: str
    cast: str
    lines: tuple[Line, ...]


def read(path: Path) -> Ladder:
    title, cast, *rest = path.read_text("utf-8").splitlines()
    assert cast.startswith("cast: "), f"{path.name}: the second line says who plays"
    lines = [
        line_of(number, text)
        for number, text in enumerate(rest, 3)
        if text.strip() and not text.startswith("#")
    ]
    return Ladder(path.stem, title, cast.removeprefix("cast: "), tuple(lines))


def line_of(number: int, text: str) -> Line:
    head, *bars = (part.strip() for part in re.split(r"\s\|\s", text))
    at = None
    if head.startswith("at "):
        _, when, head = head.split(None, 2)
        at = float(when)
    verb, _, rest = head.partition(" ")
    fields = []
    for bar in bars:
        name, colon, value = bar.partition(":")
        fields.append((name.strip(), value.strip() if colon else ""))
    return Line(number, verb, rest.strip(), tuple(fields), at)


def ladders(*casts: str) -> Iterator[Ladder]:
    """All ladders of these casts, by name."""
    for path in sorted(HERE.glob("*.txt")):
        ladder = read(path)
        if ladder.cast in casts:
            yield ladder


class Cast(Protocol):
    """Who plays a ladder."""

    net: Net

    def do(self, what: str) -> None:
        """Somebody does something."""
        ...

    def see(self, what: str) -> None:
        """Somebody sees something; an AssertionError if not."""
        ...

    def say(self, line: Line) -> None:
        """The side that is played by hand says something."""
        ...

    def repeat(self) -> None:
        """It says the same once more, byte for byte."""
        ...


@dataclass
class Play:
    """A ladder while it is played."""

    cast: Cast
    left: Address = ALICE
    twice: bool = False
    """Everything that is said by hand comes twice; the second copy must bring nothing new."""
    heard: int = 0
    reported: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.net.now
        self.verbs: dict[str, Callable[[Line], None]] = {
            "do": self.do,
            "wait": self.wait,
            "until": self.until,
            "mark": self.mark,
            "-->": self.expect,
            "<--": self.expect,
            "==>": self.say,
            "<==": self.say,
            "told": self.told,
            "silent": self.silent,
            "see": self.see,
        }

    @property
    def net(self) -> Net:
        return self.cast.net

    def whole(self, ladder: Ladder) -> None:
        for line in ladder.lines:
            self.verbs[line.verb](line)
        self.nothing_left("the end")

    # --- verbs ------------------------------------------------------------------------------------

    def do(self, line: Line) -> None:
        self.nothing_left(line)
        self.cast.do(line.text)
        self.net.turn()

    def wait(self, line: Line) -> None:
        self.nothing_left(line)
        self.net.pass_seconds(float(line.text))

    def until(self, line: Line) -> None:
        self.nothing_left(line)
        end = self.net.now + float(line.text)
        while len(self.net.wire.sent) == self.heard:
            moment = self.net.next_moment()
            assert moment is not None and moment <= end, f"{line}: nothing was sent"
            self.net.pass_seconds(max(0.0, moment - self.net.now))

    def mark(self, line: Line) -> None:
        self.started = self.net.now

    def say(self, line: Line) -> None:
        self.nothing_left(line)
        self.cast.say(line)
        self.net.turn()
        if self.twice:
            self.say_twice(line)

    def say_twice(self, line: Line) -> None:
        sent = self.net.wire.sent
        before, told = len(sent), len(self.reports())
        known = {one.data for one in sent}
        self.cast.repeat()
        self.net.turn()
        new = [self.shown(one) for one in sent[before:] if one.data not in known]
        assert not new, f"{line}, said twice: {new}"
        assert len(self.reports()) == told, f"{line}, said twice: {self.reports()}"
        del sent[before:]

    def see(self, line: Line) -> None:
        self.cast.see(line.text)

    def silent(self, line: Line) -> None:
        self.nothing_left(line)
        assert not self.reports(), f"{line}: {self.reports()}"

    def told(self, line: Line) -> None:
        reports = self.reports()
        assert reports, f"{line}: nothing more was reported"
        said = reports[0]
        self.reported += 1
        assert type(said).__name__ == line.text, f"{line}: {said}"
        for name, wanted in line.fields:
            found = getattr(said, name)
            text = found.decode() if isinstance(found, bytes) else str(found)
            fits = fnmatchcase(text, f"*{wanted}*" if name == "body" else wanted)
            assert fits, f"{line}: {name} is {text!r}"

    def expect(self, line: Line) -> None:
        there = self.net.wire.sent
        assert len(there) > self.heard, f"{line}: nothing more was sent"
        sent = there[self.heard]
        self.heard += 1
        assert self.arrow(sent) == line.verb, f"{line}: {self.shown(sent)}"
        assert fits_words(sent, line.text), f"{line}: {self.shown(sent)}"
        for name, wanted in line.fields:
            if fault := field_fault(sent, name, wanted):
                raise AssertionError(f"{line}: {fault}\n{sent.data.decode()}")
        if line.at is not None:
            late = sent.at - self.started - line.at
            assert -0.001 <= late < GRAIN, f"{line}: sent at {sent.at - self.started:.3f}"

    # --- what there is ----------------------------------------------------------------------------

    def reports(self) -> list[object]:
        said = [s for r in self.net.reported.values() for s in r if isinstance(s, TOLD)]
        return said[self.reported :]

    def arrow(self, sent: Sent) -> str:
        return "-->" if sent.flow.local[0] == self.left[0] else "<--"

    def shown(self, sent: Sent) -> str:
        return f"{self.arrow(sent)} {sent.first_line} ({sent.header('CSeq')})"

    def nothing_left(self, before: object) -> None:
        left = [self.shown(sent) for sent in self.net.wire.sent[self.heard :]]
        assert not left, f"before {before}: not in the ladder: {left}"


def fits_words(sent: Sent, text: str) -> bool:
    """Is it the message that is named: method and perhaps target, or status and method?"""
    words = text.split()
    if words[0].isdigit():
        return text in sent.words or (len(words) == 1 and words[0] in sent.words)
    first = sent.first_line.split()
    return first[0] == words[0] and (len(words) == 1 or fnmatchcase(first[1], words[1]))


def field_fault(sent: Sent, name: str, wanted: str) -> str:
    """What is wrong with one field; "" if nothing is."""
    if name == "lost":
        return "" if sent.lost else "it was not lost"
    if name == "body":
        body = sent.data.partition(b"\r\n\r\n")[2].decode()
        return "" if (wanted in body if wanted else not body) else f"the body is {body!r}"
    if name.startswith("no "):
        found = sent.header(name.removeprefix("no "))
        return f"there is {name.removeprefix('no ')}: {found}" if found else ""
    found = sent.header(name)
    return "" if fnmatchcase(found, wanted) else f"{name} is {found!r}"
