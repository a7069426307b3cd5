import random

from sipbridge.events.budget import Budget


def test_turns_come_evenly_at_the_rate_and_no_two_gaps_are_alike() -> None:
    budget = Budget(random.Random(7).random, 50.0)
    delays = [budget.delay(100.0) for _ in range(1001)]
    gaps = [later - sooner for sooner, later in zip(delays, delays[1:], strict=False)]
    assert delays[0] == 0.0
    assert 19.5 < delays[-1] < 20.5
    assert min(gaps) >= 0.018 - 1e-9 and max(gaps) <= 0.022 + 1e-9
    assert len(set(gaps)) > 900


def test_no_second_holds_many_more_than_the_rate() -> None:
    budget = Budget(random.Random(3).random, 50.0)
    turns = [budget.delay(0.0) for _ in range(2000)]
    most = max(sum(start <= turn < start + 1.0 for turn in turns) for start in turns)
    assert most <= 52


def test_who_comes_late_does_not_wait_and_saves_nothing_up() -> None:
    budget = Budget(lambda: 0.5, 8.0)
    assert budget.delay(0.0) == 0.0
    assert budget.delay(1000.0) == 0.0
    assert budget.delay(1000.0) == 0.125


def test_turns_that_come_at_once_are_not_all_used_at_once() -> None:
    """Nothing could be done for a second: fifty turns are past. They are not made up for."""
    budget = Budget(random.Random(5).random, 50.0)
    waiting = [budget.delay(0.0) for _ in range(100)]
    now, went = 1.0, []
    queue = sorted(waiting)
    while queue:
        now = max(now, queue.pop(0))
        wait = budget.delay(now, again=True)
        if wait > 0:
            queue = sorted([*queue, now + wait])
        else:
            went.append(now)
    assert max(sum(start <= at < start + 1.0 for at in went) for start in went) <= 56
    assert len(went) == 100 and went[-1] < 3.2


def test_what_left_without_a_turn_is_made_up_for() -> None:
    budget = Budget(lambda: 0.5, 10.0)
    assert budget.delay(0.0) == 0.0
    budget.spend(3, 0.0)
    assert abs(budget.delay(0.0) - 0.4) < 1e-9
