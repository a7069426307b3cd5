"""Reports that wait: in order, bounded, the newest state before older ones."""

from dataclasses import dataclass

from sipbridge.events.subscriber import Notified, Terminated
from sipbridge.transports.backlog import CROWDED, FULL, Backlog


@dataclass(frozen=True)
class Other:
    """A report about nothing in particular."""

    number: int


def notified(
    subscription: str, body: bytes, state: str = "active", *, whole: bool = True
) -> Notified:
    kind = "application/pidf+xml"
    return Notified(subscription, "presence", state, "", None, 60, kind, body, "c", "t", 0.0, whole)


def ended(subscription: str) -> Terminated:
    return Terminated(subscription, "timeout", None, None, True)


def crowded() -> Backlog:
    backlog = Backlog()
    for n in range(CROWDED):
        backlog.add(Other(n))
    return backlog


def rest(backlog: Backlog) -> list[object]:
    """What is told after the crowd."""
    told = [backlog.take() for _ in range(len(backlog))]
    assert told[:CROWDED] == [Other(n) for n in range(CROWDED)]
    return told[CROWDED:]


def test_what_waits_is_told_in_order() -> None:
    backlog = Backlog()
    said = [notified("a", b"1"), Other(1), notified("a", b"2"), notified("b", b"1")]
    for one in said:
        backlog.add(one)
    assert len(backlog) == 4 and [backlog.take() for _ in said] == said
    assert not backlog and not backlog.newest and not backlog.overtaken


def test_in_a_crowd_a_newer_state_takes_the_place_of_the_older() -> None:
    backlog = crowded()
    for one in (notified("a", b"1"), notified("b", b"1"), notified("a", b"2", "pending")):
        backlog.add(one)
    backlog.add(notified("a", b"3"))
    assert rest(backlog) == [notified("a", b"3"), notified("b", b"1")]
    assert backlog.overtaken == 2 and not backlog.newest


def test_parts_and_ends_are_all_told_and_nothing_overtakes_them() -> None:
    for between in (
        notified("a", b"part", whole=False),
        notified("a", b"", "terminated"),
        ended("a"),
    ):
        backlog = crowded()
        for one in (notified("a", b"1"), between, notified("a", b"2"), notified("a", b"3")):
            backlog.add(one)
        assert rest(backlog) == [notified("a", b"1"), between, notified("a", b"3")]


def test_what_was_told_is_not_overtaken() -> None:
    backlog = Backlog()
    backlog.add(notified("a", b"1"))
    for n in range(CROWDED):
        backlog.add(Other(n))
    assert backlog.take() == notified("a", b"1")
    backlog.add(notified("a", b"2"))
    assert rest(backlog) == [notified("a", b"2")] and not backlog.overtaken


def test_some_may_be_prepared_for_and_are_not_overtaken_any_more() -> None:
    backlog = Backlog()
    said = [notified("a", b"1"), Other(1), notified("b", b"1")]
    for one in said:
        backlog.add(one)
    assert list(backlog.next_ones(2)) == said[:2] and len(backlog) == 3
    for n in range(CROWDED):
        backlog.add(Other(n))
    backlog.add(notified("a", b"2"))
    backlog.add(notified("b", b"2"))
    assert backlog.overtaken == 1
    assert [backlog.take(), list(backlog.next_ones(2)), backlog.take()] == [said[0], [], said[1]]
    assert list(backlog.next_ones(2)) == [notified("b", b"2"), Other(0)]


def test_it_is_full_until_half_of_it_is_gone() -> None:
    backlog = Backlog()
    for n in range(FULL):
        assert not backlog.full
        backlog.add(Other(n))
    while len(backlog) > FULL // 2 + 1:
        assert backlog.full
        backlog.take()
    backlog.take()
    assert not backlog.full
