"""How fast a restart asks others for what it had before: evenly, and not in step with anybody else.

Everything that was published and watched is asked for again. A server that has just been restarted with us,
or by the same power cut, would get all of it at once, from us and from everybody like us. So each request has
its turn, one after the other with gaps of random length, `RESUME_RATE` a second on average. Our own presence
agent needs no such care.
"""

import asyncio
import random
from collections.abc import Callable

RESUME_RATE = 50.0
"""Requests a second: 10,000 subscriptions are back after three minutes, and a server hardly notices."""


class Pace:
    """Turns for requests to servers that are not ours."""

    def __init__(
        self, rate: float = RESUME_RATE, fraction: Callable[[], float] = random.random
    ) -> None:
        """`fraction` gives random numbers from 0 to 1."""
        self.rate = rate
        self.fraction = fraction
        self.free_at = 0.0

    def delay(self, now: float) -> float:
        """Seconds until the turn of whoever asks now; it is taken."""
        turn = max(self.free_at, now)
        self.free_at = turn + (0.5 + self.fraction()) / self.rate
        return turn - now

    async def turn(self) -> None:
        """Returns when it is our turn."""
        delay = self.delay(asyncio.get_running_loop().time())
        if delay > 0:
            await asyncio.sleep(delay)
