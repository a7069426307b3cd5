"""Wakes the gateway when it asked to be woken: contracts, time windows.

One timer of the loop for the earliest moment; re-armed whenever that moment changes.
"""

import asyncio
from typing import Protocol


class Timed(Protocol):
    """Somebody with deadlines on the monotonic clock."""

    def next_timeout(self) -> float | None: ...

    def handle_timeout(self, now: float) -> None: ...


class Scheduler:
    """Keeps one timer for one `Timed`. The loop's own clock is the monotonic one."""

    def __init__(self) -> None:
        self.timed: Timed | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self, timed: Timed) -> None:
        self.loop = asyncio.get_running_loop()
        self.timed = timed
        self.arm()

    def arm(self) -> None:
        """The earliest moment may have changed."""
        if self.loop is None or self.timed is None:
            return
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        when = self.timed.next_timeout()
        if when is not None:
            self.handle = self.loop.call_at(when, self.wake)

    def wake(self) -> None:
        self.handle = None
        if self.loop is not None and self.timed is not None:
            self.timed.handle_timeout(self.loop.time())
            self.arm()

    def stop(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
        self.loop = None
