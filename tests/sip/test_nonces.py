"""Each count of each nonce serves once, and forgetting never lets one serve again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sipbridge.sip.nonces import WINDOW, Nonces


def nonces(max_traces: int = 100) -> Nonces:
    return Nonces(b"secret", "example.com", 300.0, max_traces)


def test_nonces_of_one_moment_differ() -> None:
    there = nonces()
    assert len({there.make(1.0) for _ in range(100)}) == 100


def test_a_nonce_is_fresh_for_its_life() -> None:
    there = nonces()
    nonce = there.make(10.0)
    assert there.fresh(nonce, 10.0)
    assert there.fresh(nonce, 310.0)
    assert not there.fresh(nonce, 310.1)
    assert not there.fresh(nonce, 9.0)
    assert not there.use(nonce, 1, 310.1)
    assert there.use(nonce, 1, 310.0)


def test_only_our_own_are_known() -> None:
    there = nonces()
    nonce = there.make(10.0)
    for other in (Nonces(b"other", "example.com", 300), Nonces(b"secret", "elsewhere", 300)):
        assert not other.fresh(nonce, 10.0)
        assert not other.use(nonce, 1, 10.0)
    stamp, number, seal = nonce.split(".")
    for forged in (f"{stamp}.9.{seal}", f"1.{number}.{seal}", f"{nonce}x", "", "..", nonce.upper()):
        assert not there.fresh(forged, 10.0)


@given(st.lists(st.integers(1, 3 * WINDOW), min_size=1, max_size=200))
def test_no_count_serves_twice(counts: list[int]) -> None:
    there = nonces()
    nonce = there.make(1.0)
    served = [count for count in counts if there.use(nonce, count, 1.0)]
    assert len(served) == len(set(served))
    assert max(counts) in served


def test_counts_out_of_order_serve_within_the_window() -> None:
    order = list(range(1, 1001))
    chance = random.Random(7)
    for at in range(0, 1000, 20):
        part = order[at : at + 20]
        chance.shuffle(part)
        order[at : at + 20] = part
    there = nonces()
    nonce = there.make(1.0)
    assert all(there.use(nonce, count, 1.0) for count in order)
    assert not any(there.use(nonce, count, 1.0) for count in order)


def test_a_count_far_behind_may_have_been_used() -> None:
    there = nonces()
    nonce = there.make(1.0)
    assert there.use(nonce, 0xFFFFFFFF, 1.0)
    assert not there.use(nonce, 0xFFFFFFFF - WINDOW, 1.0)
    assert there.use(nonce, 0xFFFFFFFF - WINDOW + 1, 1.0)


def test_memory_is_bounded_and_what_is_forgotten_does_not_serve_again() -> None:
    there = nonces(max_traces=10)
    made = [there.make(1.0 + n / 1000) for n in range(30)]
    assert all(there.use(nonce, 1, 2.0) for nonce in made)
    assert len(there.used) == 10
    assert not any(there.use(nonce, 1, 2.0) for nonce in made)
    assert not any(there.use(nonce, 2, 2.0) for nonce in made[:20])
    assert all(there.use(nonce, 2, 2.0) for nonce in made[20:])
    assert there.use(there.make(2.0), 1, 2.0)


def test_an_old_nonce_whose_trace_was_pushed_out_late_does_not_serve_again() -> None:
    """The order of first uses is not that of making: the bound is by when they were made."""
    there = nonces(max_traces=1)
    first, second, third = (there.make(at) for at in (1.0, 2.0, 3.0))
    assert there.use(second, 1, 3.0)
    assert there.use(third, 1, 3.0)
    assert not there.use(second, 1, 3.0)
    assert not there.use(first, 1, 3.0)


def test_traces_end_with_the_life_of_their_nonces() -> None:
    there = nonces()
    for at in range(0, 3000, 10):
        assert there.use(there.make(float(at)), 1, float(at))
        assert len(there.used) <= 32
    assert there.floor == -1
