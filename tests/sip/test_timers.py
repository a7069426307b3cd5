"""The resend schedule and the heap of deadlines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.sip.timers import (
    COMPACT_ABOVE,
    LINGER_GRAIN,
    Deadline,
    Deadlines,
    Lingering,
    Resend,
    Timers,
)

UNANSWERED = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


class Woken:
    """Remembers when it was woken."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def handle_timeout(self, now: float) -> None:
        self.times.append(now)


def fired(resend: Resend, count: int) -> list[float]:
    return [resend.fire(resend.next_timeout()) for _ in range(count)]


def test_an_unanswered_request_is_sent_at_the_times_of_the_rfc() -> None:
    assert fired(Resend(Timers(), started=0.0), 10) == UNANSWERED


def test_a_provisional_response_slows_the_resends_to_t2() -> None:
    resend = Resend(Timers(), started=0.0)
    resend.provisional()
    assert fired(resend, 3) == [0.5, 4.5, 8.5]


def test_a_late_wake_up_postpones_what_follows() -> None:
    resend = Resend(Timers(), started=0.0)
    assert resend.fire(0.9) == 0.9
    assert resend.next_timeout() == 1.9


def test_timers_follow_from_their_base_values() -> None:
    timers = Timers(t1=0.1, t2=1.0, t4=2.0)
    assert timers.give_up == 6.4
    assert (timers.linger_client(False), timers.linger_client(True)) == (2.0, 0.0)
    assert (timers.linger_server(False), timers.linger_server(True)) == (6.4, 0.0)
    assert (timers.linger_ack(False), timers.linger_ack(True)) == (2.0, 0.0)


def test_deadlines_wake_in_the_order_of_time_then_of_making() -> None:
    deadlines = Deadlines()
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def handle_timeout(self, now: float) -> None:
            order.append(self.name)

    for when, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        deadlines.schedule(when, Named(name))
    deadlines.wake(2.0)
    assert order == ["a", "b", "c"]
    assert deadlines.next_timeout() == 3.0


def test_a_cancelled_deadline_wakes_nobody_and_is_not_waited_for() -> None:
    deadlines, woken = Deadlines(), Woken()
    deadline = deadlines.schedule(1.0, woken)
    deadlines.schedule(5.0, woken)
    deadline.cancel()
    deadline.cancel()
    assert not deadline.pending
    assert deadlines.next_timeout() == 5.0
    deadlines.wake(2.0)
    assert woken.times == []


def test_whoever_is_woken_may_cancel_the_others() -> None:
    deadlines, woken = Deadlines(), Woken()
    later: list[Deadline] = []

    class Canceller:
        def handle_timeout(self, now: float) -> None:
            later[0].cancel()

    deadlines.schedule(1.0, Canceller())
    later.append(deadlines.schedule(1.0, woken))
    deadlines.wake(1.0)
    assert woken.times == []
    assert len(deadlines) == 0


def test_what_is_scheduled_while_waking_waits_for_the_next_call() -> None:
    deadlines = Deadlines()

    class Restless:
        count = 0

        def handle_timeout(self, now: float) -> None:
            Restless.count += 1
            deadlines.schedule(now, self)

    deadlines.schedule(1.0, Restless())
    deadlines.wake(1.0)
    assert Restless.count == 1
    assert deadlines.next_timeout() == 1.0


def test_an_error_of_one_leaves_the_others_planned() -> None:
    deadlines, woken = Deadlines(), Woken()

    class Broken:
        def handle_timeout(self, now: float) -> None:
            raise RuntimeError("broken")

    deadlines.schedule(1.0, Broken())
    deadlines.schedule(1.0, woken)
    try:
        deadlines.wake(1.0)
    except RuntimeError:
        pass
    else:
        raise AssertionError("the error was swallowed")
    deadlines.wake(1.0)
    assert woken.times == [1.0]


def test_a_heap_full_of_cancelled_entries_is_swept() -> None:
    deadlines, woken = Deadlines(), Woken()
    made = [deadlines.schedule(float(i), woken) for i in range(10 * COMPACT_ABOVE)]
    for deadline in made[1:]:
        deadline.cancel()
    assert len(deadlines) == 1
    assert len(deadlines.entries) <= 2 * COMPACT_ABOVE + 2


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60), st.floats(0, 100))
def test_exactly_the_due_and_not_cancelled_are_woken(
    plans: list[tuple[float, bool]], now: float
) -> None:
    deadlines = Deadlines()
    woken = [Woken() for _ in plans]
    for one, (when, cancelled) in zip(woken, plans, strict=True):
        deadline = deadlines.schedule(when, one)
        if cancelled:
            deadline.cancel()
    deadlines.wake(now)
    for one, (when, cancelled) in zip(woken, plans, strict=True):
        assert bool(one.times) == (when <= now and not cancelled)
    rest = [when for when, cancelled in plans if when > now and not cancelled]
    assert deadlines.next_timeout() == (min(rest) if rest else None)


def test_what_lingers_equally_long_needs_one_deadline() -> None:
    deadlines, woken = Deadlines(), [Woken(), Woken(), Woken()]
    lingering = Lingering(deadlines, 32.0)
    lingering.add(woken[0], 1.0)
    lingering.add(woken[1], 1.1)
    lingering.add(woken[2], 20.0)
    assert len(deadlines) == 1 and deadlines.next_timeout() == 33.0
    deadlines.wake(33.0)
    assert [w.times for w in woken] == [[33.0], [], []]
    assert deadlines.next_timeout() == 33.0 + LINGER_GRAIN
    deadlines.wake(33.0 + LINGER_GRAIN)
    assert woken[1].times == [33.25] and deadlines.next_timeout() == 52.0
    deadlines.wake(52.0)
    assert woken[2].times == [52.0] and len(deadlines) == 0
    lingering.add(woken[0], 60.0)
    assert deadlines.next_timeout() == 92.0


def test_an_error_of_one_that_lingers_leaves_the_others_planned() -> None:
    class Broken:
        def handle_timeout(self, now: float) -> None:
            raise RuntimeError

    deadlines, woken = Deadlines(), Woken()
    lingering = Lingering(deadlines, 1.0)
    lingering.add(Broken(), 0.0)
    lingering.add(woken, 0.0)
    with pytest.raises(RuntimeError):
        deadlines.wake(1.0)
    deadlines.wake(2.0)
    assert woken.times == [2.0]
