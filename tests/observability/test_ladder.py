"""Messages drawn as a ladder."""

from sipbridge.observability.capture import Captured
from sipbridge.observability.ladder import MAX_PARTIES, Ladder

PHONE, BRIDGE = ("192.0.2.1", 5070), ("192.0.2.2", 5060)
SUBSCRIBE = (
    b"SUBSCRIBE sip:alice@example.com SIP/2.0\r\nCall-ID: a\r\nCSeq: 1 SUBSCRIBE\r\nEvent: presence\r\n"
    b"Expires: 3600\r\n\r\n"
)
OK = b"SIP/2.0 200 OK\r\nCall-ID: a\r\nCSeq: 1 SUBSCRIBE\r\nExpires: 3600\r\n\r\n"
NOTIFY = (
    b"NOTIFY sip:bob@192.0.2.1 SIP/2.0\r\ni: b\r\nCSeq: 7 NOTIFY\r\no: presence\r\n"
    b"Subscription-State: active;expires=99\r\nc: application/pidf+xml\r\n\r\n<presence/>"
)


def told(*messages: tuple[bytes, tuple[str, int], tuple[str, int]]) -> list[str]:
    ladder = Ladder()
    return [
        line
        for n, (data, source, destination) in enumerate(messages)
        for line in ladder.lines(Captured(n + 0.25, data, "udp", source, destination))
    ]


def test_a_call_flow() -> None:
    lines = told((SUBSCRIBE, PHONE, BRIDGE), (OK, BRIDGE, PHONE), (NOTIFY, BRIDGE, PHONE))
    names, asked, answered, notified = lines
    assert names.split() == ["192.0.2.1:5070", "192.0.2.2:5060"]
    assert asked == (
        "00:00:00.250  │ SUBSCRIBE ───────────────▶│"
        "  #1 1 SUBSCRIBE sip:alice@example.com, Event: presence, Expires: 3600"
    )
    assert answered == "00:00:01.250  │◀────────────────── 200 OK │  #1 1 SUBSCRIBE, Expires: 3600"
    assert notified.startswith("00:00:02.250  │◀────────────────── NOTIFY │  #2 7 NOTIFY")
    assert "Subscription-State: active;expires=99" in notified
    assert notified.endswith("Content-Type: application/pidf+xml, 11 bytes")


def test_a_retransmission_is_marked() -> None:
    lines = told((SUBSCRIBE, PHONE, BRIDGE), (SUBSCRIBE, PHONE, BRIDGE), (OK, BRIDGE, PHONE))
    assert [line.endswith("(again)") for line in lines[1:]] == [False, True, False]


def test_a_third_party_gets_a_column_and_lines_keep_their_width() -> None:
    server = ("192.0.2.3", 5060)
    lines = told((SUBSCRIBE, PHONE, BRIDGE), (SUBSCRIBE, BRIDGE, server), (OK, server, PHONE))
    assert lines[2].split()[-1] == "192.0.2.3:5060"
    across = lines[4]
    assert across.index("◀") == 15 and across.index("200 OK") > 40
    assert len({line.index("#") for line in lines[3:]}) == 1


def test_a_crowd_shares_the_columns() -> None:
    crowd = [(f"192.0.2.{n}", 5060) for n in range(3 * MAX_PARTIES)]
    for line in told(*((OK, BRIDGE, one) for one in crowd)):
        assert len(line) < 300


def test_a_message_to_oneself() -> None:
    assert "↺ 200 OK" in told((OK, BRIDGE, BRIDGE))[-1]
