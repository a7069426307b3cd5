"""Server-sent events as bytes in every cut, and the place of a reader over lost connections."""

import json

import pytest

from sipbridge.client.errors import (
    BadAnswer,
    PolicyFault,
    ServiceFault,
    Unauthenticated,
    Unreachable,
)
from sipbridge.client.stream import (
    FIRST_DELAY,
    MAX_DELAY,
    MAX_EVENT,
    NEXT_DELAY,
    EventParser,
    Follower,
    ServerSentEvent,
    is_final,
    pause,
    read,
)
from sipbridge.client.values import Notification, OtherNotification, Reset, StatusEnd

STREAM = (
    b"\xef\xbb\xbfretry: 1500\nid: 7\n\n:ping\n\n"
    b'id: 8\r\nevent: statusEnd\r\ndata: {"a":1}\r\n\r\n'
    b"data: one\rdata:two\rignored: x\r\r"
    b"id: with\0nul\ndata\n\n"
    b"event: empty\n\nid: 9\ndata: gr\xc3\xbc\xc3\x9f\n\n"
)
EVENTS = [
    ServerSentEvent("statusEnd", '{"a":1}', "8"),
    ServerSentEvent("message", "one\ntwo"),
    ServerSentEvent("message", ""),
    ServerSentEvent("message", "grüß", "9"),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_are_cut(step: int) -> None:
    parser = EventParser()
    found = []
    for start in range(0, len(STREAM), step):
        found += parser.feed(STREAM[start : start + step])
    assert found == EVENTS
    assert (parser.last_id, parser.retry) == ("9", 1.5)


def test_every_single_cut_gives_the_same() -> None:
    for cut in range(len(STREAM)):
        parser = EventParser()
        assert parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:]) == EVENTS, cut


def test_a_line_end_of_two_bytes_in_two_pieces_is_one() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\n") == [ServerSentEvent("message", "a")]


def test_an_event_without_end_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(BadAnswer):
        for _ in range(MAX_EVENT // 65536 + 1):
            parser.feed(b"x" * 65536)


# --- the follower -------------------------------------------------------------------------------------


def event(number: int, kind: str = "statusEnd") -> bytes:
    data = json.dumps({kind: {"correlator": str(number)}})
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode()


def follower(last: str | None = None) -> Follower[Notification]:
    return Follower(read, last, lambda: 1.0)


def taken(place: Follower[Notification]) -> list[str]:
    """Correlators, or the class of what has none."""
    told = []
    while (one := place.take()) is not None:
        told.append(one.correlator if isinstance(one, StatusEnd) else type(one).__name__)
    return told


def test_a_connection_lost_before_the_first_event_costs_nothing() -> None:
    place = follower()
    assert "Last-Event-ID" not in place.headers()
    place.receive(b"id: 41\nretry: 2000\n\n")
    assert place.headers()["Last-Event-ID"] == "41"


def test_half_an_event_is_forgotten_with_its_connection() -> None:
    place = follower("1")
    place.headers()
    place.receive(event(2) + event(3)[:-1])
    assert place.headers()["Last-Event-ID"] == "2"
    place.receive(event(3))
    assert taken(place) == ["2", "3"]


def test_cut_anywhere_and_resumed_nothing_is_lost_and_nothing_comes_twice() -> None:
    everything = {number: event(number) for number in range(1, 7)}
    whole = b"".join(everything.values())
    for cut in range(len(whole)):
        place = follower("0")
        place.headers()
        place.receive(whole[:cut])
        last = int(place.headers()["Last-Event-ID"])
        place.receive(b"".join(data for number, data in everything.items() if number > last))
        assert taken(place) == [str(number) for number in everything], cut


def test_the_last_id_is_that_of_the_last_one_taken() -> None:
    place = follower()
    place.headers()
    place.receive(b"id: 4\n\n" + event(5) + event(6))
    assert place.last_event_id == "4"
    place.take()
    assert place.last_event_id == "5"
    place.take()
    assert (place.last_event_id, place.take()) == ("6", None)


STATE = (
    b'event: reset\ndata: {}\n\nevent: statusEnd\ndata: {"statusEnd":{"correlator":"a"}}\n\n'
    + event(9)
)


def test_a_state_after_a_reset_is_handed_out_whole_or_not_at_all() -> None:
    for cut in range(len(STATE)):
        place = follower("3")
        place.headers()
        place.receive(STATE[:cut])
        assert taken(place) == []
        assert (place.last_event_id, place.headers()["Last-Event-ID"]) == ("3", "3")
        place.receive(STATE)
        assert place.last_event_id == "3"
        assert taken(place) == ["Reset", "a", "9"]
        assert place.last_event_id == "9"


def test_a_reset_alone_has_the_id() -> None:
    place = follower("3")
    place.headers()
    place.receive(b"id: 9\nevent: reset\ndata: {}\n\n" + event(10))
    assert place.take() == Reset("9")
    assert taken(place) == ["10"]


def test_what_cannot_be_read_is_told_and_the_stream_goes_on() -> None:
    place = follower()
    place.headers()
    unknown = b'event: new\ndata: {"new":{"x":1}}\n\n'
    word = b'event: statusChanged\ndata: {"statusChanged":{"presentity":"sip:a@b","correlator":"c",'
    word += b'"changedAttributes":[{"typeAndValue":{"unionElement":"Mood"}}]}}\n\n'
    place.receive(unknown + b"event: x\ndata: no json\n\n" + word + event(3))
    told = [place.take() for _ in range(4)]
    assert told[0] == OtherNotification("new", {"new": {"x": 1}})
    assert told[1] == OtherNotification("x", {"unreadable": "no json"})
    assert isinstance(told[2], OtherNotification) and told[2].kind == "statusChanged"
    assert told[3] == StatusEnd("3", "3")


def test_pauses_grow_and_what_arrives_ends_them() -> None:
    place = follower()
    assert [place.delay() for _ in range(4)] == [FIRST_DELAY, *(NEXT_DELAY * n for n in (1, 2, 4))]
    assert [place.delay() for _ in range(30)][-1] == MAX_DELAY
    place.headers()
    place.receive(b"retry: 2000\n\n")
    assert [place.delay() for _ in range(3)] == [FIRST_DELAY, 2.0, 4.0]


def test_half_of_a_pause_is_chance() -> None:
    place: Follower[Notification] = Follower(read, None, lambda: 0.0)
    assert place.delay() == FIRST_DELAY / 2


def test_a_refusal_that_says_when_is_waited_for() -> None:
    busy = PolicyFault(429, "POL0001", "busy", retry_after=7.0)
    assert pause(follower(), busy) == 7.0
    assert pause(follower(), Unreachable("gone")) == FIRST_DELAY


def test_what_waiting_cannot_cure_is_final() -> None:
    assert is_final(Unauthenticated(401, "POL0001", "who"))
    assert is_final(ServiceFault(404, "SVC0002", "nothing there"))
    assert not is_final(ServiceFault(503, "SVC0001", "starting"))
    assert not is_final(Unreachable("refused"))
