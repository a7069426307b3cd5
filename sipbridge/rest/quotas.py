"""Rates: how often something may happen, for many keys at once.

A token bucket as the generic cell rate algorithm keeps it: one number for each key, the moment at which its
bucket would be full again. Nothing runs in the background; keys whose bucket is full are forgotten when there
are too many. A bucket holds one second's worth of tokens, and at least one.
"""

import asyncio
from collections.abc import Callable, Hashable

from sipbridge.errors import QuotaExceeded

MAX_KEYS = 10_000
"""Keys remembered before full buckets are swept out."""


def loop_time() -> float:
    return asyncio.get_running_loop().time()


class Rate:
    """At most `per_second` in the long run, and bursts of one second's worth. 0: no limit."""

    def __init__(self, per_second: float, now: Callable[[], float] = loop_time) -> None:
        self.interval = 1.0 / per_second if per_second else 0.0
        self.slack = max(0.0, 1.0 - self.interval)
        self.now = now
        self.full_at: dict[Hashable, float] = {}

    def take(self, key: Hashable) -> float:
        """One token: 0.0, or the seconds until there is one."""
        if not self.interval:
            return 0.0
        now = self.now()
        full = self.full_at.get(key, now)
        wait = full - now - self.slack
        if wait > 1e-9:
            return wait
        self.full_at[key] = max(full, now) + self.interval
        if len(self.full_at) > MAX_KEYS:
            self.sweep(now)
        return 0.0

    def require(self, key: Hashable, quota: str) -> None:
        """Raises QuotaExceeded when there is no token."""
        wait = self.take(key)
        if wait:
            raise QuotaExceeded(quota, f"too many: {quota}", retry_after=wait)

    def sweep(self, now: float) -> None:
        self.full_at = {key: full for key, full in self.full_at.items() if full > now}


NO_LIMIT = Rate(0.0)
