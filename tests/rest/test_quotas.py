"""Rates, with a hand-turned clock."""

import pytest

from sipbridge.errors import QuotaExceeded
from sipbridge.rest import quotas
from sipbridge.rest.quotas import NO_LIMIT, Rate


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_second_holds_what_it_promises() -> None:
    clock = Clock()
    rate = Rate(10, clock)
    assert [rate.take("a") for _ in range(10)] == [0.0] * 10
    assert rate.take("a") == pytest.approx(0.1)
    clock.time += 0.1
    assert rate.take("a") == 0.0
    assert rate.take("a") > 0


def test_in_the_long_run_the_rate_holds() -> None:
    clock = Clock()
    rate = Rate(10, clock)
    passed = 0
    for _ in range(10_000):  # a hundred seconds, a hundred tries a second
        passed += rate.take("a") == 0.0
        clock.time += 0.01
    assert 1000 <= passed <= 1011


def test_keys_do_not_share() -> None:
    rate = Rate(1, Clock())
    assert rate.take("a") == rate.take("b") == 0.0
    assert rate.take("a") == pytest.approx(1.0)


def test_less_than_one_a_second_is_a_rate_too() -> None:
    clock = Clock()
    rate = Rate(0.1, clock)
    assert rate.take("a") == 0.0
    assert rate.take("a") == pytest.approx(10.0)
    clock.time += 10.0
    assert rate.take("a") == 0.0


def test_no_limit_is_no_limit() -> None:
    assert [NO_LIMIT.take("a") for _ in range(1000)] == [0.0] * 1000


def test_a_refusal_names_the_quota_and_the_moment() -> None:
    rate = Rate(1, Clock())
    rate.require("a", "speed")
    with pytest.raises(QuotaExceeded) as refused:
        rate.require("a", "speed")
    assert refused.value.quota == "speed"
    assert refused.value.retry_after == pytest.approx(1.0)


def test_full_buckets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MAX_KEYS", 10)
    clock = Clock()
    rate = Rate(1, clock)
    for n in range(100):
        rate.take(n)
        clock.time += 1.0
    assert len(rate.full_at) <= 11
