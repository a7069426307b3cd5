import asyncio
import random

from sipbridge.app.pacing import Pace


def test_turns_come_evenly_at_the_rate_and_no_two_gaps_are_alike() -> None:
    pace = Pace(50.0, random.Random(7).random)
    delays = [pace.delay(100.0) for _ in range(1001)]
    gaps = [later - sooner for sooner, later in zip(delays, delays[1:], strict=False)]
    assert delays[0] == 0.0
    assert 19.0 < delays[-1] < 21.0
    assert min(gaps) >= 0.01 - 1e-9 and max(gaps) <= 0.03 + 1e-9
    assert len(set(gaps)) > 900


def test_who_comes_late_does_not_wait_and_saves_nothing_up() -> None:
    pace = Pace(8.0, lambda: 0.5)
    assert pace.delay(0.0) == 0.0
    assert pace.delay(1000.0) == 0.0
    assert pace.delay(1000.0) == 0.125


async def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    pace, order = Pace(10_000.0), []

    async def one(number: int) -> None:
        await pace.turn()
        order.append(number)

    await asyncio.gather(*(one(n) for n in range(20)))
    assert order == list(range(20))
