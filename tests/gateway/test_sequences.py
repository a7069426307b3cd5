"""Whatever happens, nobody sees what was not granted at that moment, and contracts hold exactly.

By default a sample of sequences; SIPBRIDGE_SEQUENCES=5000 runs so many (under a minute, on all processors),
and SIPBRIDGE_SEED another series.
"""

import gc
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.gateway.sequences import Op, live, sequence, shortest

SEQUENCES = int(os.environ.get("SIPBRIDGE_SEQUENCES", "300"))
SEED = int(os.environ.get("SIPBRIDGE_SEED", "0"))
LENGTH = 40
CHUNK = 500


def fails(ops: Sequence[Op]) -> bool:
    try:
        live(ops)
    except Exception:
        return True
    return False


def first_failing(seeds: range) -> int | None:
    """The first life of these that goes wrong."""
    gc.freeze()  # what was imported is not looked at with each collection
    return next((seed for seed in seeds if fails(sequence(seed, LENGTH))), None)


def any_failing() -> int | None:
    """The same of all; many lives are shared out to processes."""
    seeds = range(SEED, SEED + SEQUENCES)
    if SEQUENCES < CHUNK:
        return first_failing(seeds)
    chunks = [seeds[i : i + CHUNK] for i in range(0, SEQUENCES, CHUNK)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return next((seed for seed in pool.map(first_failing, chunks) if seed is not None), None)


@pytest.mark.timeout(300 if SEQUENCES >= CHUNK else 180)  # hundreds of lives, one after the other
def test_nobody_sees_what_was_not_granted_and_contracts_hold() -> None:
    seed = any_failing()
    if seed is not None:
        least = shortest(sequence(seed, LENGTH), fails)
        print(f"seed {seed}:", *least, sep="\n  ")
        live(least)
