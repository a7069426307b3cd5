"""Moments at which something has to be looked at again, in one heap for the whole gateway.

Who needs to be woken arms a deadline under a name of its own, with what is to be done then. Arming the same
name again replaces; for the same moment that costs nothing. Stale entries are skipped when they come up, and
thrown away all at once when they are most of the heap. Nothing here reads a clock.
"""

import heapq
from collections.abc import Callable, Hashable, Iterator
from itertools import count

Action = Callable[[], None]

COMPACT_ABOVE = 256
"""Stale entries below this number are not worth a sweep."""


class Deadlines:
    """Named deadlines on the monotonic clock.

    `changed` is called when the earliest moment has moved forward, so that whoever keeps the real timer can
    set it again.
    """

    def __init__(self, changed: Action = lambda: None) -> None:
        self.changed = changed
        self.heap: list[tuple[float, int, Hashable]] = []
        self.current: dict[Hashable, tuple[float, int, Action]] = {}
        self.tickets = count(1)

    def arm(self, name: Hashable, when: float | None, action: Action) -> None:
        """Do `action` at `when`; None: not at all."""
        if when is None:
            self.cancel(name)
            return
        known = self.current.get(name)
        if known is not None and known[0] == when:
            self.current[name] = when, known[1], action
            return
        ticket = next(self.tickets)
        self.current[name] = when, ticket, action
        if len(self.heap) > 2 * len(self.current) + COMPACT_ABOVE:
            self.compact()
        heapq.heappush(self.heap, (when, ticket, name))
        if self.heap[0][1] == ticket:
            self.changed()

    def cancel(self, name: Hashable) -> None:
        self.current.pop(name, None)

    def next_timeout(self) -> float | None:
        """The earliest moment."""
        while self.heap:
            when, ticket, name = self.heap[0]
            known = self.current.get(name)
            if known is not None and known[1] == ticket:
                return when
            heapq.heappop(self.heap)
        return None

    def due(self, now: float) -> Iterator[Action]:
        """What is to be done at or before `now`, earliest first; each name is free again."""
        while (when := self.next_timeout()) is not None and when <= now:
            name = heapq.heappop(self.heap)[2]
            yield self.current.pop(name)[2]

    def compact(self) -> None:
        """Throw away what was replaced or cancelled."""
        current = self.current
        self.heap = [e for e in self.heap if e[2] in current and current[e[2]][1] == e[1]]
        heapq.heapify(self.heap)
