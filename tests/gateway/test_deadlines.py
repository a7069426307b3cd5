"""Named deadlines: replaced, cancelled, in order, and never more in the heap than is worth having."""

from sipbridge.gateway.deadlines import COMPACT_ABOVE, Deadlines


def names(deadlines: Deadlines, now: float, done: list[str]) -> list[str]:
    """What was done at `now`."""
    done.clear()
    for action in deadlines.due(now):
        action()
    return list(done)


def test_what_is_due_is_done_in_order_once() -> None:
    done: list[str] = []
    deadlines = Deadlines()
    for name, when in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        deadlines.arm(name, when, lambda name=name: done.append(name))  # type: ignore[misc]
    assert deadlines.next_timeout() == 1.0
    assert names(deadlines, 2.5, done) == ["early", "middle"]
    assert names(deadlines, 2.5, done) == []
    assert names(deadlines, 3.0, done) == ["late"]
    assert deadlines.next_timeout() is None


def test_arming_again_replaces_moment_and_action() -> None:
    done: list[str] = []
    deadlines = Deadlines()
    deadlines.arm("one", 1.0, lambda: done.append("first"))
    deadlines.arm("one", 5.0, lambda: done.append("second"))
    assert deadlines.next_timeout() == 5.0
    assert names(deadlines, 4.0, done) == []
    deadlines.arm("one", 5.0, lambda: done.append("third"))
    assert names(deadlines, 5.0, done) == ["third"]


def test_cancelled_is_never_done() -> None:
    done: list[str] = []
    deadlines = Deadlines()
    deadlines.arm("one", 1.0, lambda: done.append("one"))
    deadlines.arm("one", None, lambda: done.append("one"))
    assert deadlines.next_timeout() is None
    assert names(deadlines, 9.0, done) == []


def test_a_day_of_notifications_leaves_one_entry_for_each_contract() -> None:
    deadlines = Deadlines()
    for _ in range(10_000):
        deadlines.arm("contract", 86_400.0, lambda: None)
    assert len(deadlines.heap) == 1


def test_moving_moments_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for n in range(10_000):
        deadlines.arm(n % 10, 1000.0 - n / 100, lambda: None)
    assert len(deadlines.heap) <= 2 * 10 + COMPACT_ABOVE + 1
    moments = [deadlines.next_timeout() for _ in deadlines.due(2000.0)]
    assert len(moments) == 10
    assert moments[-1] is None


def test_whoever_keeps_the_timer_hears_of_an_earlier_moment_only() -> None:
    heard: list[float | None] = []
    deadlines = Deadlines(lambda: heard.append(deadlines.next_timeout()))
    deadlines.arm("a", 5.0, lambda: None)
    deadlines.arm("b", 7.0, lambda: None)
    deadlines.arm("c", 3.0, lambda: None)
    assert heard == [5.0, 3.0]
