"""Feeds tell what changed, in order, the newest state only."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from sipbridge.gateway.wishes import Feed, Seen, Wish, differs
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import WebexPresence

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DND = WebexPresence(Status.DND, "focus time", 1000, 2000)


def feed_of(*names: int) -> tuple[Feed, list[Wish]]:
    feed = Feed(count(1))
    wishes = [Wish(name, "sip:alice@example.com", None, feed) for name in names]
    for wish in wishes:
        feed.put(wish)
    return feed, wishes


def test_what_changed_last_comes_last_and_only_once() -> None:
    feed, (one, two, three) = feed_of(1, 2, 3)
    assert feed.since(0) == []
    feed.touch([one, two, three])
    feed.touch([one])
    assert feed.since(0) == [(2, two), (3, three), (4, one)]
    assert feed.since(3) == [(4, one)]
    assert feed.since(4) == feed.since(99) == []
    feed.drop(three)
    assert feed.since(0) == [(2, two), (4, one)]


def test_listeners_are_woken_after_the_change_and_until_they_go() -> None:
    feed, (one,) = feed_of(1)
    heard: list[int] = []
    leave = feed.listen(lambda: heard.append(feed.last))
    feed.touch([one])
    leave()
    leave()
    feed.touch([one])
    assert heard == [1] and feed.used
    feed.drop(one)
    assert not feed.used


def test_numbers_of_another_feed_are_never_used_again() -> None:
    numbers = count(1)
    first, second = Feed(numbers), Feed(numbers)
    wish = Wish(1, "x", None, first)
    first.put(wish)
    first.touch([wish])
    other = Wish(1, "x", None, second)
    second.put(other)
    second.touch([other])
    assert (first.last, second.last) == (1, 2)


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"status": Status.BUSY}, True),
        ({"custom_status": ""}, True),
        ({"expires_time": None}, True),
        ({"last_active_time": 5000}, False),
    ],
)
def test_what_is_news(change: dict[str, object], news: bool) -> None:
    before = Seen(DND, "DoNotDisturb", "dnd", AT)
    after = replace(before, presence=replace(DND, **change))  # type: ignore[arg-type]
    assert differs(before, after) is news


def test_of_the_inactive_it_is_news_when_they_were_active_last() -> None:
    idle = WebexPresence(Status.INACTIVE, "", 1000)
    before = Seen(idle, "inactive", "inactive", AT)
    assert differs(before, replace(before, presence=replace(idle, last_active_time=5000)))


def test_words_of_other_interfaces_are_no_news() -> None:
    busy = Seen(WebexPresence(Status.BUSY), "active", "active", AT)
    assert not differs(busy, replace(busy, rest="inactive", service="inactive"))
