"""When to read a socket: as soon as the loop says so, or a little later together with what comes meanwhile.

Waking up, sending answers and committing cost about the same for one datagram as for ten. So while many come,
the reader leaves the socket alone for a few milliseconds after each look. That pays only where the peers go
on at their own rate. One that waits for our answer before it sends more would only be slowed down: its rate
falls as soon as we pause, and then pausing ends and is not tried again for a while. What comes after a moment
in which nobody had time is a burst, and no measure of that: two rates in a row have to be high.
"""

PAUSE = 0.01
"""Seconds between two looks. A NOTIFY waits half of it on average; it is sent again after half a second."""
MANY = 400.0
"""Datagrams a second from which pausing is tried: four at a look."""
KEPT = 0.6
"""Part of the rate before the first pause that has to remain, else the peers are waiting for us."""
MEASURED = 0.5
"""Seconds over which a rate is taken."""
HOLD = 20.0
"""Seconds until pausing is tried again after it was wrong."""


class Pace:
    """Told after each look how much was read; says how long to leave the socket alone."""

    def __init__(self) -> None:
        self.pausing = False
        self.began = 0.0
        self.count = 0
        self.last = self.before = 0.0
        """Datagrams a second when last measured, and the lower of two rates when pausing began."""
        self.proven = False
        """Has the rate been as high while pausing?"""
        self.not_before = 0.0

    def pause(self, read: int, now: float) -> float:
        """Seconds until the next look, 0: the loop says when. `read`: datagrams of this look."""
        self.count += read
        if now - self.began >= MEASURED:
            self.judge(self.count / (now - self.began), now)
            self.began, self.count = now, 0
        if not read:
            self.pausing = False
        return PAUSE if self.pausing else 0.0

    def judge(self, rate: float, now: float) -> None:
        if not self.pausing:
            self.before, self.last = min(rate, self.last), rate
            self.pausing = self.before > MANY and now >= self.not_before
            self.proven = False
        elif self.proven or rate >= KEPT * self.before:
            self.proven, self.pausing = True, rate > MANY
        else:
            self.pausing = False
            self.not_before = now + HOLD
