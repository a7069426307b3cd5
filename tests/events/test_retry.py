import pytest

from sipbridge.events.retry import (
    LONGEST_LIFE,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    longer,
    pause,
    refresh_after,
)


@pytest.mark.parametrize("granted", [1, 30, 60, 120, 600, 3600, 86400])
@pytest.mark.parametrize("spread", [0.0, 0.5, 0.999])
def test_a_refresh_comes_in_the_second_half_of_a_life_or_so_and_before_its_end(
    granted: float, spread: float
) -> None:
    assert 0.4 * granted <= refresh_after(granted, spread) < granted


@pytest.mark.parametrize("granted", [120, 600, 3600, 86400])
def test_an_unanswered_refresh_leaves_time_for_another(granted: float) -> None:
    assert granted - refresh_after(granted, 0.0) >= 40


def test_a_life_of_nothing_is_not_refreshed_in_a_circle() -> None:
    assert refresh_after(0, 0.999) > 0.4


def test_pauses_grow_to_a_limit() -> None:
    pauses = [pause(n, None, 0.0) for n in range(1, 20)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses == sorted(pauses)
    assert pause(10_000, None, 0.999) <= LONGEST_PAUSE


def test_pauses_differ_by_their_spread() -> None:
    assert pause(5, None, 0.0) < pause(5, None, 0.5) < pause(5, None, 0.99)


def test_retry_after_is_never_undercut_and_never_followed_for_ever() -> None:
    assert 120 <= pause(1, 120, 0.0) <= pause(1, 120, 0.99) <= 123
    assert pause(1, 1e12, 0.0) == LONGEST_RETRY_AFTER


def test_423_is_followed_upwards_and_never_beyond_what_a_header_can_say() -> None:
    assert longer(60, 90) == 90
    assert longer(60, 30) == longer(60, None) == 120
    assert longer(60, 10**40) == longer(LONGEST_LIFE - 1, None) == LONGEST_LIFE
