"""Messages that wait until their reader has acknowledged them, and the numbers they carry.

A reader acknowledges by asking for what comes after a number: everything up to it may go. Until then every
message is kept, within bounds; when there are too many, or too much of them, the oldest go, and the queue
says up to which number something is missing (`lost`), so that the reader can be told.

Numbers only grow, over all queues and over restarts, and stay below 2^53, so that every JSON reader takes
them as they are. The leading digits are the second at which counting began, the last six count; 10,000 ahead
are reserved on disk, so a clock that was set back does no harm.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sipbridge.gateway.ports import Clock, Keeper

PER_SECOND = 1_000_000
RESERVED = 10_000
"""Numbers that are reserved at a time."""
KIND = "bems-sequence"
"""Kind of the snapshot that keeps up to where numbers may have been given out."""
MAX_BYTES = 4 * 1024 * 1024
"""Of one queue: a thousand contacts' states are a hundredth of this."""


class Numbers:
    """Where sequences come from."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self.keeper = keeper
        self.clock = clock
        self.last = 0
        self.reserved = 0

    async def load(self) -> None:
        """Begin above everything that may have been given out before."""
        kept = dict(await self.keeper.load_snapshots(KIND)).get("", "0")
        second = int(self.clock.at().timestamp())
        self.last = max(second * PER_SECOND, int(kept))
        self.reserved = self.last + RESERVED
        await self.keeper.save_snapshot(KIND, "", str(self.reserved))

    def next(self) -> int:
        self.last += 1
        if self.last > self.reserved - RESERVED // 2:
            self.reserved = self.last + RESERVED
            self.keeper.remember(KIND, "", str(self.reserved))
        return self.last


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes out, JSON, with its number inside."""

    sequence: int
    text: bytes


@dataclass(slots=True)
class Queue:
    """What one reader has not acknowledged yet, oldest first.

    gone: told the numbers of messages that are not kept any more. shown: up to which number readers may see
    them, which is what is on disk, so that nobody is told what a crash would make undone. lost: the number
    of the newest message that went without having been acknowledged, 0 if none did; missing: how many.
    """

    most: int
    gone: Callable[[int], None]
    messages: deque[Message] = field(default_factory=deque)
    size: int = 0
    shown: int = 0
    acknowledged: int = 0
    lost: int = 0
    missing: int = 0

    def add(self, message: Message) -> bool:
        """Put it behind the others; says whether others had to go."""
        self.messages.append(message)
        self.size += len(message.text)
        overflow = False
        while len(self.messages) > self.most or (self.size > MAX_BYTES and len(self.messages) > 1):
            dropped = self.drop()
            self.lost, self.missing = dropped.sequence, self.missing + 1
            overflow = True
        return overflow

    def drop(self) -> Message:
        message = self.messages.popleft()
        self.size -= len(message.text)
        self.gone(message.sequence)
        return message

    def acknowledge(self, sequence: int) -> None:
        """The reader has everything up to here."""
        while self.messages and self.messages[0].sequence <= sequence:
            self.drop()
        self.acknowledged = max(self.acknowledged, sequence)
        if self.lost <= sequence:
            self.lost = self.missing = 0

    def after(self, sequence: int) -> list[Message]:
        """What comes after a number, as far as it is shown."""
        return [m for m in self.messages if sequence < m.sequence <= self.shown]

    @property
    def settled(self) -> bool:
        """Is everything that is in it shown?"""
        return not self.messages or self.messages[-1].sequence <= self.shown

    def show(self, sequence: int) -> None:
        """It is kept, whatever happens."""
        self.shown = max(self.shown, sequence)
