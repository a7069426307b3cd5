"""Alarms that are set anew, and turns that are waited for."""

from dataclasses import replace

from sipbridge.events.budget import Budget
from sipbridge.events.waiting import Alarm, Turn
from sipbridge.sip.policy import NO_POLICY
from tests.harness.pair import Pair


class Rung:
    def __init__(self) -> None:
        self.pair = Pair()
        self.times: list[float] = []
        self.alarm = Alarm(self.pair.alice, self.times.append)


def test_an_alarm_that_is_set_anew_rings_once_and_one_that_is_cancelled_does_not() -> None:
    rung = Rung()
    begun = rung.pair.now
    rung.alarm.set(begun + 1.0)
    rung.alarm.set(begun + 2.0)
    rung.pair.pass_seconds(5.0)
    assert rung.times == [begun + 2.0]
    assert rung.alarm.deadline is None
    rung.alarm.set(begun + 6.0)
    rung.alarm.cancel()
    rung.pair.pass_seconds(5.0)
    assert len(rung.times) == 1


def test_a_turn_that_has_not_come_sets_the_alarm_for_it() -> None:
    rung = Rung()
    policy = replace(NO_POLICY, turns=Budget(lambda: 0.5, 10.0))
    first, second = Turn(rung.alarm), Turn(rung.alarm)
    begun = rung.pair.now
    assert first.has_come(policy, begun)
    assert not second.has_come(policy, begun)
    rung.pair.pass_seconds(1.0)
    assert 0.09 <= rung.times[0] - begun <= 0.11
    assert second.has_come(policy, rung.times[0])


def test_who_took_a_turn_waits_for_none_until_it_is_over() -> None:
    rung = Rung()
    policy = replace(NO_POLICY, turns=Budget(lambda: 0.5, 10.0))
    turn = Turn(rung.alarm)
    turn.take()
    assert [turn.has_come(policy, rung.pair.now) for _ in range(3)] == [True] * 3
    turn.over()
    assert turn.has_come(policy, rung.pair.now)  # nobody had asked the budget before
    assert not turn.has_come(policy, rung.pair.now)


def test_without_a_budget_every_turn_has_come() -> None:
    assert Turn(Rung().alarm).has_come(NO_POLICY, 0.0)
