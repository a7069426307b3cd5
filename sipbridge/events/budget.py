"""How fast one peer is asked what nobody waits for: evenly, and not in step with anybody else.

What was lost is asked for again: after a restart of ours everything, after one of the peer's everything that
was there. A server that has just come back would get all of it at once, from us and from everybody like us.
So each such request takes a turn, one after the other with gaps of random length, `rate` a second on average.
Requests that somebody waits for, and refreshes that are due, take no turn. Our own presence agent needs no
such care.
"""

from collections.abc import Callable

RATE = 50.0
"""Requests a second: 10,000 subscriptions are back after three minutes, and a server hardly notices."""

SHORTEST_GAP = 0.9
"""Of the average gap; the longest is as much longer. So no second holds many more than `rate` turns."""


class Budget:
    """Turns of one peer."""

    def __init__(self, fraction: Callable[[], float], rate: float = RATE) -> None:
        """`fraction` gives random numbers from 0 to 1, as `Identifiers.fraction`."""
        self.fraction = fraction
        self.rate = rate
        self.free_at = 0.0
        self.last = float("-inf")
        """When the last one went."""

    def delay(self, now: float, *, again: bool = False) -> float:
        """Seconds until the turn of whoever asks now; 0.0: it is now, and taken.

        again: a turn given before has come. Where several have come at once, because nothing could be done
        for a while, only one may go, and the others get new ones.
        """
        gap = SHORTEST_GAP / self.rate
        if again and now - self.last >= gap:
            self.last = now
            return 0.0
        turn = max(self.free_at, now, self.last + gap)
        self.free_at = turn + gap + 2 * (1 - SHORTEST_GAP) * self.fraction() / self.rate
        if turn <= now:
            self.last = now
        return turn - now

    def spend(self, count: int, now: float) -> None:
        """So many requests left without a turn, to answer challenges: others wait for them."""
        self.free_at = max(self.free_at, now) + count / self.rate
