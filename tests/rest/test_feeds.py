"""Readers of feeds: everything first, then what changed; slow ones and those who come back miss no state."""

from itertools import count

import pytest

from sipbridge.gateway.wishes import Feed, Wish
from sipbridge.rest.feeds import BATCH, FeedReader, FeedStream, last_event_id


def feed_of(size: int) -> tuple[Feed, list[Wish]]:
    feed = Feed(count(1))
    wishes = [Wish(n, f"contact {n}", None, feed) for n in range(1, size + 1)]
    for wish in wishes:
        feed.put(wish)
    return feed, wishes


def render(wishes: list[Wish]) -> list[bytes]:
    return [str(wish.name).encode() for wish in wishes]


def names(reader: FeedReader) -> list[int]:
    """Everything there is to read now."""
    found: list[int] = []
    while told := reader.take():
        found += [int(text) for _, text in told]
    return found


def stream(feed: Feed, last: str | None = None, name: bytes = b"") -> FeedStream:
    made = FeedStream("app", 15.0, FeedReader(feed, render), "life", name)
    made.start(last)
    return made


def test_a_reader_begins_with_everything_also_with_what_has_nothing_to_tell_yet() -> None:
    feed, wishes = feed_of(4)
    feed.touch(wishes[1:3])
    reader = FeedReader(feed, render)
    assert names(reader) == [1, 4, 2, 3]
    assert names(reader) == []
    feed.touch(wishes[:1])
    assert names(reader) == [1]


def test_ten_thousand_are_read_in_parts_and_none_is_lost_when_some_change_meanwhile() -> None:
    feed, wishes = feed_of(5 * BATCH)
    feed.touch(wishes)
    reader = FeedReader(feed, render)
    first = [int(text) for _, text in reader.take()]
    assert len(first) == BATCH
    feed.touch(wishes[:10])
    feed.drop(wishes[-1])
    rest = names(reader)
    assert set(first + rest) == set(range(1, 5 * BATCH))
    assert rest[-10:] == list(range(1, 11))


def test_events_have_ids_and_names() -> None:
    feed, wishes = feed_of(2)
    feed.touch(wishes)
    text = b"id: life-1\ndata: 1\n\nid: life-2\ndata: 2\n\n"
    assert stream(feed).read() == text
    named = stream(feed, name=b"event:x").read()
    assert named.startswith(b"id: life-1\nevent: event:x\ndata: 1\n\n")


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (None, [1, 2, 3]),
        ("life-0", [1, 2, 3]),
        ("life-2", [3]),
        (" life-3 ", []),
        ("life-4", [1, 2, 3]),  # never given out in this life
        ("death-2", [1, 2, 3]),
        ("life-x", [1, 2, 3]),
        ("life-" + "9" * 40, [1, 2, 3]),
        ("2", [1, 2, 3]),
    ],
)
def test_who_comes_back_says_where_it_was(last: str | None, told: list[int]) -> None:
    feed, wishes = feed_of(3)
    feed.touch(wishes)
    assert names(stream(feed, last).reader) == told


def test_who_comes_back_is_not_told_of_those_with_nothing_to_tell() -> None:
    feed, _ = feed_of(3)
    assert names(stream(feed, "death-2").reader) == []
    assert names(stream(feed).reader) == [1, 2, 3]


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({}, b"", None),
        ({"last-event-id": "a-1"}, b"lastEventId=a-2", "a-1"),
        ({}, b"x=1&lastEventId=a-2", "a-2"),
        ({"last-event-id": " "}, b"", None),
    ],
)
def test_where_the_last_id_stands(headers: dict[str, str], query: bytes, found: str | None) -> None:
    assert last_event_id(headers, query) == found
