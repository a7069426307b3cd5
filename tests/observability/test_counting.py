"""Messages are counted once, whole or in pieces, and labels cannot be made up by peers."""

from collections import Counter

import pytest

from sipbridge.observability.counting import MAX_HEAD, MAX_STREAMS, MessageCounter
from sipbridge.sip.flow import Flow

FLOW_LOCAL = ("127.0.0.1", 5060)
UDP = Flow("udp", FLOW_LOCAL, ("127.0.0.1", 5070))
NOTIFY = (
    b"NOTIFY sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP b\r\nCSeq: 1 NOTIFY\r\nContent-Length: %d\r\n\r\n"
    b"body without a line end"
) % 23
OK = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP b\r\ncseq : 12 PUBLISH\r\n\r\n"


class Seen(Counter[tuple[str, str, str, str]]):
    def add(self, direction: str, transport: str, method: str, status: str) -> None:
        self[direction, transport, method, status] += 1


def tcp(connection: int) -> Flow:
    return Flow("tcp", ("127.0.0.1", 5060), ("127.0.0.1", 5070), connection)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_requests_and_responses_are_told_apart(seen: Seen) -> None:
    counter = MessageCounter(seen.add)
    counter.tap_in(NOTIFY, UDP, 0.0, "t")
    counter.tap_out(OK, UDP, 0.0, "t")
    counter.tap_out(OK, tcp(1), 0.0, "t")
    assert seen == {
        ("in", "udp", "NOTIFY", ""): 1,
        ("out", "udp", "PUBLISH", "200"): 1,
        ("out", "tcp", "PUBLISH", "200"): 1,
    }


@pytest.mark.parametrize(
    "noise", [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, b"SIP/2.0 "]
)
def test_noise_is_not_counted(seen: Seen, noise: bytes) -> None:
    counter = MessageCounter(seen.add)
    counter.tap_in(noise, UDP, 0.0, "t")
    counter.tap_in(noise, tcp(1), 0.0, "t")
    assert not seen


def test_peers_cannot_make_up_labels(seen: Seen) -> None:
    counter = MessageCounter(seen.add)
    for name in (b"FOO", b"BAR", b"notify"):
        counter.tap_in(name + b" sip:a@b SIP/2.0\r\nCSeq: 1 X\r\n\r\n", UDP, 0.0, "t")
        counter.tap_in(b"SIP/2.0 200 OK\r\nCSeq: 1 " + name + b"\r\n\r\n", UDP, 0.0, "t")
    assert set(seen) == {("in", "udp", "other", ""), ("in", "udp", "other", "200")}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 64, 1000])
def test_a_stream_in_pieces_counts_the_same(seen: Seen, size: int) -> None:
    counter = MessageCounter(seen.add)
    stream = (NOTIFY + OK) * 5 + b"\r\n\r\n" + NOTIFY
    for start in range(0, len(stream), size):
        counter.tap_in(stream[start : start + size], tcp(1), 0.0, "t")
    assert seen == {("in", "tcp", "NOTIFY", ""): 6, ("in", "tcp", "PUBLISH", "200"): 5}
    assert not counter.streams


def test_a_body_that_looks_like_a_message_is_a_body(seen: Seen) -> None:
    counter = MessageCounter(seen.add)
    inner = b"\r\n\r\n" + OK
    outer = b"MESSAGE sip:a@b SIP/2.0\r\nl: %d\r\n\r\n%s" % (len(inner), inner)
    counter.tap_in(outer + NOTIFY, tcp(1), 0.0, "t")
    assert seen == {("in", "tcp", "MESSAGE", ""): 1, ("in", "tcp", "NOTIFY", ""): 1}


def test_connections_do_not_mix(seen: Seen) -> None:
    counter = MessageCounter(seen.add)
    counter.tap_in(NOTIFY[:10], tcp(1), 0.0, "t")
    counter.tap_in(NOTIFY, tcp(2), 0.0, "t")
    counter.tap_in(NOTIFY[10:], tcp(1), 0.0, "t")
    assert seen == {("in", "tcp", "NOTIFY", ""): 2}


def test_unfinished_messages_do_not_grow(seen: Seen) -> None:
    counter = MessageCounter(seen.add)
    for connection in range(MAX_STREAMS + 5):
        counter.tap_in(b"x", tcp(connection), 0.0, "t")
    assert len(counter.streams) == MAX_STREAMS
    counter.tap_in(b"x" * (MAX_HEAD + 1), tcp(MAX_STREAMS), 0.0, "t")
    assert (FLOW_LOCAL, MAX_STREAMS) not in counter.streams
