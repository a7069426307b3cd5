"""Where branches, tags, Call-IDs, entity-tags and jitter come from.

RFC 3261 §19.3 wants tags with at least 32 bits of randomness, §8.1.1.7 branches unique across space and time
and beginning with the magic cookie; dialogs are only as safe as their tags are unguessable. All of it is cut
from one source of bytes: the operating system's in service, a seeded one in tests, so that a whole
conversation can be replayed.
"""

import hashlib
import os
from collections.abc import Callable

from sipbridge.sip.via import MAGIC_COOKIE

CHUNK = 4096
"""Bytes asked from the source at once: a system call costs more than the bytes."""


class Identifiers:
    """Makes names nobody has used before. `entropy(n)` gives n random bytes."""

    __slots__ = ("buffer", "entropy", "position")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self.entropy = entropy
        self.buffer = ""
        self.position = 0

    @classmethod
    def seeded(cls, seed: str) -> "Identifiers":
        """The same names in the same order for the same seed. For tests only: guessable."""
        count = 0

        def entropy(size: int) -> bytes:
            nonlocal count
            count += 1
            return hashlib.shake_128(f"{seed}/{count}".encode()).digest(size)

        return cls(entropy)

    def hexadecimal(self, digits: int) -> str:
        """So many random hexadecimal digits, four bits each."""
        start = self.position
        end = start + digits
        if end > len(self.buffer):
            self.buffer = self.entropy(CHUNK).hex()
            start, end = 0, digits
        self.position = end
        return self.buffer[start:end]

    def branch(self) -> str:
        """A Via branch, 80 bits."""
        return MAGIC_COOKIE + self.hexadecimal(20)

    def tag(self) -> str:
        """A From or To tag, 64 bits."""
        return self.hexadecimal(16)

    def call_id(self) -> str:
        """A Call-ID, 128 bits. Without the host part, which §8.1.1.4 leaves open: it says where we are."""
        return self.hexadecimal(32)

    def entity_tag(self) -> str:
        """A SIP-ETag, 80 bits (RFC 3903 §6)."""
        return self.hexadecimal(20)

    def cnonce(self) -> str:
        """A client nonce for digest, 64 bits (RFC 7616 §3.4)."""
        return self.hexadecimal(16)

    def fraction(self) -> float:
        """A number in [0, 1), for jitter."""
        return int(self.hexadecimal(12), 16) / 16**12
