"""When pausing between two looks at a socket begins and ends."""

from collections.abc import Callable

from sipbridge.transports.pace import HOLD, MANY, PAUSE, Pace


def looks(
    pace: Pace, start: float, seconds: float, arrived: Callable[[float], int]
) -> tuple[float, list[float]]:
    """Look at a socket for a while: when it ended, and the pauses. `arrived`: how many come in that time."""
    now, pauses, wait = start, [], 0.001
    while now < start + seconds:
        now += wait
        pauses.append(pace.pause(arrived(wait), now))
        wait = pauses[-1] or 0.001
    return now, pauses


def at_rate(rate: float) -> Callable[[float], int]:
    return lambda seconds: max(1, round(rate * seconds))


def test_few_datagrams_are_read_as_they_come() -> None:
    pace, now = Pace(), 100.0
    for _ in range(1000):
        now += 1 / (MANY / 2)
        assert pace.pause(1, now) == 0


def test_many_are_read_together() -> None:
    _, pauses = looks(Pace(), 100.0, 3.0, at_rate(1000))
    assert pauses[0] == 0
    assert set(pauses[-100:]) == {PAUSE}


def test_a_peer_that_waits_for_each_answer_is_not_slowed_down() -> None:
    pace = Pace()
    now, pauses = looks(pace, 100.0, HOLD, lambda seconds: 1)
    assert PAUSE in pauses, "it was tried"
    assert pauses.count(PAUSE) < 60
    _, later = looks(pace, now, HOLD, lambda seconds: 1)
    assert PAUSE in later, "and tried again"
    assert sum(later) < 0.05 * HOLD


def test_silence_hands_the_socket_back_to_the_loop() -> None:
    pace = Pace()
    now, _ = looks(pace, 100.0, 1.0, at_rate(1000))
    assert pace.pause(0, now + PAUSE) == 0
    assert pace.pause(1, now + 60) == 0


def test_a_burst_after_a_moment_without_time_is_no_measure() -> None:
    pace = Pace()
    now, _ = looks(pace, 100.0, 0.6, at_rate(1000))
    now, _ = looks(pace, now, 0.5, at_rate(3000))
    now, _ = looks(pace, now, 1.0, at_rate(1000))
    _, pauses = looks(pace, now, 2.0, at_rate(1000))
    assert set(pauses) == {PAUSE}
