"""Nonces of a digest server: made without a table, used once for each count (RFC 7616 §3.3, §3.4, §5.4).

A nonce is the time it was made, a number of its own and a seal (HMAC) over both, so nothing is kept for those
who only ask. Whoever proves to know a password with it leaves a trace: which counts (nc) of this nonce have
been used. A count that comes again is a replay, be it word for word or in another request. Counts may come
out of order, for UDP reorders, as long as they are among the newest `WINDOW`. Answers without qop have no
count; they use their nonce up (RFC 2069 knows no more).

Traces live as long as their nonce may. Their number is bounded: when there are too many, the oldest goes and
with it every untraced nonce that was made before it, so that forgetting never makes a replay possible.
Whoever is hit gets a new nonce, one message later.
"""

import hmac
import re
from base64 import urlsafe_b64encode

WINDOW = 64
"""Counts below the newest that may still come: more than anybody has under way over UDP."""

MAX_TRACES = 50_000
"""Nonces in use, about 250 bytes each: as many phones within five minutes, before the oldest have to ask
again."""

SHAPE = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,16})\.([A-Za-z0-9_-]{24})")


class Nonces:
    """The nonces of one realm."""

    def __init__(
        self, secret: bytes, realm: str, life: float, max_traces: int = MAX_TRACES
    ) -> None:
        """life: seconds for which a nonce may be used."""
        self.secret = secret
        self.realm = realm
        self.life = life
        self.max_traces = max_traces
        self.made = 0
        self.used: dict[tuple[int, int], tuple[int, int]] = {}
        """(milliseconds, number) of a nonce to its newest count, and a bit for each of those below it."""
        self.floor = -1
        """Untraced nonces of this millisecond or an earlier one are not accepted any more."""

    def make(self, now: float) -> str:
        """A nonce nobody has seen before."""
        self.made += 1
        stamp = f"{int(now * 1000):x}.{self.made:x}"
        return f"{stamp}.{self.seal(stamp)}"

    def fresh(self, nonce: str, now: float) -> bool:
        """Did we make it, and not too long ago?"""
        return self.living(self.key(nonce), now)

    def living(self, key: tuple[int, int] | None, now: float) -> bool:
        # A negative age is a nonce of an earlier life with another clock.
        return key is not None and 0 <= now - key[0] / 1000 <= self.life

    def use(self, nonce: str, count: int, now: float) -> bool:
        """Use a nonce with this count. False: it is not fresh, or that has been done, or may have been."""
        key = self.key(nonce)
        if key is None or not self.living(key, now):
            return False
        known = self.used.get(key)
        if known is None:
            if key[0] <= self.floor:
                return False
            self.used[key] = (count, 1)
            self.tidy(now)
            return True
        newest, seen = known
        if count > newest:
            ahead = count - newest
            seen = seen << ahead if ahead < WINDOW else 0
            self.used[key] = (count, (seen | 1) & ((1 << WINDOW) - 1))
            return True
        bit = newest - count
        if bit >= WINDOW or seen >> bit & 1:
            return False
        self.used[key] = (newest, seen | 1 << bit)
        return True

    def tidy(self, now: float) -> None:
        """Forget the traces of nonces that are too old by now, and the oldest beyond the bound."""
        while self.used:
            oldest = next(iter(self.used))
            living = now - oldest[0] / 1000 <= self.life
            if living and len(self.used) <= self.max_traces:
                return
            del self.used[oldest]
            if living:
                self.floor = max(self.floor, oldest[0])

    def key(self, nonce: str) -> tuple[int, int] | None:
        """When it was made, in milliseconds, and its number; None if we did not make it."""
        found = SHAPE.fullmatch(nonce)
        if found is None:
            return None
        seal = self.seal(f"{found[1]}.{found[2]}")
        return (
            (int(found[1], 16), int(found[2], 16)) if hmac.compare_digest(seal, found[3]) else None
        )

    def seal(self, stamp: str) -> str:
        mac = hmac.digest(self.secret, f"{stamp}:{self.realm}".encode(), "sha256")
        return urlsafe_b64encode(mac[:18]).decode()
