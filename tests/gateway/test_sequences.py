"""Whatever happens, nobody sees what was not granted at that moment, and contracts hold exactly.

By default a sample of sequences; SIPBRIDGE_SEQUENCES=5000 runs so many (under a minute), and
SIPBRIDGE_SEED another series.
"""

import os
from collections.abc import Sequence

import pytest

from tests.gateway.sequences import Op, live, sequence, shortest

SEQUENCES = int(os.environ.get("SIPBRIDGE_SEQUENCES", "300"))
SEED = int(os.environ.get("SIPBRIDGE_SEED", "0"))
LENGTH = 40


def fails(ops: Sequence[Op]) -> bool:
    try:
        live(ops)
    except Exception:
        return True
    return False


@pytest.mark.timeout(120)
def test_nobody_sees_what_was_not_granted_and_contracts_hold() -> None:
    for seed in range(SEED, SEED + SEQUENCES):
        ops = sequence(seed, LENGTH)
        if fails(ops):
            least = shortest(ops, fails)
            print(f"seed {seed}:", *least, sep="\n  ")
            live(least)
