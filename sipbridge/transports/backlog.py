"""What the core reported and nobody has had time to hear.

A NOTIFY is answered in microseconds, but what its document means takes much longer. When they come faster
than they can be worked off, the answers still leave at once (else the peer would send everything again), and
the reports wait here, in their order. While few wait each of them is told. When many do (`CROWDED`), of two
whole states of one subscription only the newer is: the older has been overtaken before anybody could look
at it. That bounds the queue by the number of subscriptions. Should it still grow, for whatever reason, it is
`full`, and the driver lets new requests be refused until half of it is gone.

A report of a whole state has a `topic`; one without ends that: a subscription's later states are not put
before its end.

Whoever hears them may prepare for several at once (`next_ones`): what all of them need is then done for all,
one after the other, as long as the processor has it at hand. These are not overtaken any more.
"""

from collections import deque
from collections.abc import Sequence

CROWDED = 1024
"""Reports that wait; about a second of work. Below it nothing is left out."""

FULL = 32_768
"""Reports that wait; some 100 MB if all of them are NOTIFYs of 3 kB: three for each of ten thousand
subscriptions."""


class Backlog:
    """A queue in which newer states take the place of older ones."""

    __slots__ = ("full", "newest", "overtaken", "prepared", "waiting")

    def __init__(self) -> None:
        self.prepared: deque[object] = deque()
        self.waiting: deque[list[object]] = deque()
        self.newest: dict[str, list[object]] = {}
        self.overtaken = 0
        """Reports that were never told, because a newer one came."""
        self.full = False

    def __len__(self) -> int:
        return len(self.prepared) + len(self.waiting)

    def add(self, said: object) -> None:
        """Put a report at the end, or into the place of the one it overtakes."""
        topic: str = getattr(said, "topic", "")
        cell = [said]
        if topic:
            before = self.newest.get(topic)
            if before is not None and len(self.waiting) >= CROWDED:
                before[0] = said
                self.overtaken += 1
                return
            self.newest[topic] = cell
        else:
            self.newest.pop(getattr(said, "subscription", ""), None)
        self.waiting.append(cell)
        self.full = self.full or len(self.waiting) >= FULL

    def next_ones(self, most: int) -> Sequence[object]:
        """So many of the oldest, to be prepared for; none while there are such that have not been taken."""
        if self.prepared:
            return ()
        for _ in range(min(most, len(self.waiting))):
            self.prepared.append(self.remove())
        return self.prepared

    def take(self) -> object:
        """The oldest. There has to be one."""
        return self.prepared.popleft() if self.prepared else self.remove()

    def remove(self) -> object:
        """The oldest of those that wait."""
        cell = self.waiting.popleft()
        said = cell[0]
        topic: str = getattr(said, "topic", "")
        if topic and self.newest.get(topic) is cell:
            del self.newest[topic]
        self.full = self.full and len(self.waiting) > FULL // 2
        return said
