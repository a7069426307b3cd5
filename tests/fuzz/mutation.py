"""Makes inputs of others: bytes turned, cut, doubled, moved, words put in, two inputs joined, parts repeated.

There is no coverage to guide it. What it has instead are seeds that reach everything: one for every format
and for every trick of the torture set.
"""

import random
import re
from collections.abc import Callable

MAX_INPUT = 96 * 1024
"""Above the limit of a SIP message, below that of a document."""
NUMBER = re.compile(rb"\d+")
NUMBERS = [
    b"0",
    b"-1",
    b"00",
    b"65536",
    b"2147483648",
    b"4294967296",
    b"18446744073709551616",
    b"9" * 40,
]


class Mutator:
    """seeds: what to begin with. words: what may be put in. dice: where chance comes from."""

    def __init__(self, seeds: list[bytes], words: list[bytes], dice: random.Random) -> None:
        self.pool = list(seeds)
        self.words = words
        self.dice = dice
        self.steps: list[Callable[[bytearray], None]] = [
            *(self.turn_bits, self.turn_byte, self.insert, self.delete, self.double, self.move),
            *(self.word, self.word, self.number, self.splice, self.repeat, self.line),
        ]

    def make(self) -> bytes:
        """One more input: one of the pool with a few changes."""
        made = bytearray(self.dice.choice(self.pool))
        for _ in range(self.dice.choice((1, 1, 2, 3, 5, 8))):
            self.dice.choice(self.steps)(made)
        del made[MAX_INPUT:]
        return bytes(made)

    # --- changes --------------------------------------------------------------------------------------

    def place(self, data: bytearray) -> int:
        return self.dice.randrange(len(data) + 1)

    def piece(self, data: bytearray, most: int = 256) -> tuple[int, int]:
        start = self.place(data)
        return start, min(len(data), start + self.dice.randint(1, most))

    def turn_bits(self, data: bytearray) -> None:
        if data:
            data[self.dice.randrange(len(data))] ^= 1 << self.dice.randrange(8)

    def turn_byte(self, data: bytearray) -> None:
        if data:
            data[self.dice.randrange(len(data))] = self.dice.randrange(256)

    def insert(self, data: bytearray) -> None:
        at = self.place(data)
        data[at:at] = self.dice.randbytes(self.dice.randint(1, 8))

    def delete(self, data: bytearray) -> None:
        start, end = self.piece(data)
        del data[start:end]

    def double(self, data: bytearray) -> None:
        start, end = self.piece(data)
        data[start:start] = data[start:end]

    def move(self, data: bytearray) -> None:
        start, end = self.piece(data)
        taken = data[start:end]
        del data[start:end]
        at = self.place(data)
        data[at:at] = taken

    def word(self, data: bytearray) -> None:
        start = self.place(data)
        end = (
            start if self.dice.random() < 0.5 else min(len(data), start + self.dice.randint(1, 12))
        )
        data[start:end] = self.dice.choice(self.words)

    def number(self, data: bytearray) -> None:
        found = list(NUMBER.finditer(data))
        if found:
            one = self.dice.choice(found)
            data[one.start() : one.end()] = self.dice.choice(NUMBERS)

    def splice(self, data: bytearray) -> None:
        other = self.dice.choice(self.pool)
        start = self.place(data)
        data[start:] = other[self.dice.randrange(len(other) + 1) :]

    def repeat(self, data: bytearray) -> None:
        """Often: what costs the square of its length shows here."""
        start, end = self.piece(data, 64)
        data[start:end] = data[start:end] * self.dice.choice((10, 100, 1000))

    def line(self, data: bytearray) -> None:
        """A whole line somewhere else, once more."""
        lines = bytes(data).splitlines(keepends=True)
        if lines:
            lines.insert(self.dice.randrange(len(lines) + 1), self.dice.choice(lines))
            data[:] = b"".join(lines)
