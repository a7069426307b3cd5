"""Messages cut out of streams, chosen by dialog, watcher or peer; taps that record whole messages."""

import pytest

from sipbridge.observability.capture import Captured, Cutter, Recorder, Selection
from sipbridge.sip.flow import Flow

NOTIFY = (
    b"NOTIFY sip:bob@192.0.2.2 SIP/2.0\r\nCall-ID: c1@x\r\nFrom: <sip:alice@example.com>;tag=1\r\n"
    b"t: Bob <SIP:Bob@Example.com>;tag=2\r\nContent-Length: 4\r\n\r\nbody"
)
ANSWER = b"SIP/2.0 200 OK\r\nCall-ID: c2@x\r\nl: 0\r\n\r\n"
TCP = Flow("tcp", ("192.0.2.2", 5060), ("192.0.2.1", 40000), 7)
UDP = Flow("udp", ("192.0.2.2", 5060), ("192.0.2.1", 5070))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_in_pieces_becomes_whole_messages(size: int) -> None:
    stream = b"\r\n\r\n" + NOTIFY + b"\r\n\r\n" + ANSWER + NOTIFY
    cutter = Cutter()
    found = [
        message
        for start in range(0, len(stream), size)
        for message in cutter.feed(stream[start : start + size])
    ]
    assert found == [NOTIFY, ANSWER, NOTIFY]
    assert cutter.held == b""


def test_what_is_no_sip_is_skipped_and_never_kept_without_bound() -> None:
    cutter = Cutter()
    assert list(cutter.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + ANSWER)) == [ANSWER]
    for _ in range(40):
        assert list(cutter.feed(b"x" * 100_000)) == []
    assert len(cutter.held) <= 1 << 20


def test_messages_are_chosen_by_dialog_watcher_and_peer() -> None:
    message = Captured(0.0, NOTIFY, "udp", ("192.0.2.1", 5070), ("::1", 5060))
    for wanted in (
        Selection(),
        Selection(dialog="c1@x"),
        Selection(watcher="sip:bob@example.com"),
        Selection(watcher="sip:alice@example.com", peer="192.0.2.1"),
        Selection(peer="192.0.2.1:5070"),
        Selection(peer="[::1]:5060"),
    ):
        assert wanted.wants(message), wanted
    for unwanted in (
        Selection(dialog="c1"),
        Selection(watcher="sip:carol@example.com"),
        Selection(peer="192.0.2.1:5060"),
        Selection(dialog="c1@x", peer="192.0.2.9"),
    ):
        assert not unwanted.wants(message), unwanted


def test_a_body_names_no_party() -> None:
    data = ANSWER.replace(b"\r\n\r\n", b"\r\n\r\nFrom: <sip:eve@example.com>\r\n")
    assert not Selection(watcher="sip:eve@example.com").wants(
        Captured(0.0, data, "udp", ("192.0.2.1", 1), ("192.0.2.2", 2))
    )


def test_taps_record_whole_messages_with_both_ends() -> None:
    seen: list[Captured] = []
    recorder = Recorder(seen.append, lambda: 12.5)
    recorder.tap_in(NOTIFY[:50], TCP, 0.0, "t1")
    recorder.tap_in(NOTIFY[50:] + ANSWER, TCP, 0.0, "t2")
    recorder.tap_out(ANSWER, UDP, 0.0, "t3")
    recorder.tap_in(b"\r\n\r\n", UDP, 0.0, "t4")  # a keep-alive
    assert [(m.data, m.outgoing, m.trace) for m in seen] == [
        (NOTIFY, False, "t2"),
        (ANSWER, False, "t2"),
        (ANSWER, True, "t3"),
    ]
    assert (seen[0].source, seen[0].destination, seen[0].at) == (TCP.remote, TCP.local, 12.5)
    assert (seen[2].source, seen[2].destination) == (UDP.local, UDP.remote)


def test_what_stays_in_the_process_is_not_recorded() -> None:
    seen: list[Captured] = []
    recorder = Recorder(seen.append)
    flow = Flow("memory", ("gateway", 5060), ("agent", 5060))
    recorder.tap_out(NOTIFY, flow, 0.0, "")
    recorder.tap_in(NOTIFY, flow, 0.0, "")
    assert seen == []
