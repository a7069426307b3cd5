"""Pushes: not too often, and one for what happens meanwhile."""

from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.waking import Wakes
from tests.gateway.fakes import HandClock


class Bench:
    def __init__(self, push: bool = True) -> None:
        self.clock, self.deadlines = HandClock(), Deadlines()
        self.pushed: list[tuple[float, str, str]] = []
        tell = self.push if push else None
        self.wakes = Wakes(tell, self.clock, self.deadlines, 10.0)

    def push(self, token: str, key: str) -> None:
        self.pushed.append((self.clock.passed, token, key))

    def pass_to(self, moment: float) -> None:
        self.clock.passed = moment
        for action in self.deadlines.due(moment):
            action()


def test_a_client_is_woken_at_once_and_then_once_in_a_while() -> None:
    bench = Bench()
    for moment in (0.0, 1.0, 2.0, 9.9):
        bench.pass_to(moment)
        bench.wakes.wake("one", "t", "k")
    bench.wakes.wake("two", "t2", "k2")
    assert bench.pushed == [(0.0, "t", "k"), (9.9, "t2", "k2")]
    bench.pass_to(10.0)
    assert bench.pushed[2:] == [(10.0, "t", "k")]
    bench.pass_to(40.0)
    assert len(bench.pushed) == 3


def test_who_has_fetched_is_not_woken_any_more() -> None:
    bench = Bench()
    bench.wakes.wake("one", "t", "k")
    bench.wakes.wake("one", "t", "k")
    bench.wakes.fetched("one")
    bench.pass_to(20.0)
    assert len(bench.pushed) == 1
    bench.wakes.forget("one")
    bench.wakes.wake("one", "t", "k")
    assert len(bench.pushed) == 2


def test_without_anything_that_pushes_nothing_is_kept() -> None:
    bench = Bench(push=False)
    bench.wakes.wake("one", "t", "k")
    assert bench.wakes.last == {} and bench.deadlines.next_timeout() is None
