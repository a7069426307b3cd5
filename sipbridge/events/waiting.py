"""Waiting for a moment, and for a turn at a peer."""

from collections.abc import Callable

from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.timers import Deadline
from sipbridge.sip.user_agent import UserAgent


class Alarm:
    """One moment at which `ring(now)` is called; a new one takes the place of the old."""

    __slots__ = ("deadline", "ring", "ua")

    def __init__(self, ua: UserAgent, ring: Callable[[float], None]) -> None:
        self.ua = ua
        self.ring = ring
        self.deadline: Deadline | None = None

    def set(self, when: float) -> None:
        self.cancel()
        self.deadline = self.ua.schedule(when, self)

    def cancel(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def handle_timeout(self, now: float) -> None:
        self.deadline = None
        self.ring(now)


class Turn:
    """The turn, in the budget of a peer, of a request that only repairs something."""

    __slots__ = ("alarm", "given", "taken")

    def __init__(self, alarm: Alarm) -> None:
        """alarm: is set for the turn; whoever it wakes asks `has_come` again."""
        self.alarm = alarm
        self.given = self.taken = False

    def has_come(self, policy: PeerPolicy, now: float) -> bool:
        """May it leave? Else `alarm` is set."""
        if self.taken or (wait := policy.wait(now, again=self.given)) <= 0:
            return True
        self.given = True
        self.alarm.set(now + wait)
        return False

    def take(self) -> None:
        """It is now: somebody else has waited for it."""
        self.taken = True

    def over(self) -> None:
        """The request leaves; the next needs a turn of its own."""
        self.given = self.taken = False
