"""The trace shows messages and hides what opens doors."""

import pytest
import structlog
from structlog.testing import capture_logs

from sipbridge.observability.trace import MAX_SHOWN, SipTrace, chain, redacted
from sipbridge.sip.flow import Flow

FLOW = Flow("tcp", ("127.0.0.1", 5060), ("192.0.2.1", 5070), 3)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (
            b'Authorization: Digest username="bob", realm="r", nonce="n", response="6629", cnonce="0a"\r\n',
            b'Authorization: Digest username="bob", realm="r", nonce="n", response=***, cnonce=***\r\n',
        ),
        (
            b'proxy-authorization : Digest username="bob",\r\n  Response = "6629"\r\nTo: <sip:a@b>\r\n',
            b'proxy-authorization : Digest username="bob",\r\n  Response = ***\r\nTo: <sip:a@b>\r\n',
        ),
        (b"Authorization: Basic Ym9iOnB3\r\n", b"Authorization: Basic ***\r\n"),
        (
            b"Authorization: Bearer a b\r\n\tc\r\nTo: x\r\n",
            b"Authorization: Bearer ***\r\nTo: x\r\n",
        ),
        (b"From: <sip:bob:s3cret@b>;tag=1\r\n", b"From: <sip:bob:***@b>;tag=1\r\n"),
        (b"To: <sip:192.0.2.1:5060;lr>\r\n", b"To: <sip:192.0.2.1:5060;lr>\r\n"),
        (b'Authorization: Digest response="cut off', b"Authorization: Digest response=***"),
        (b'WWW-Authenticate: Digest nonce="n"\r\n', b'WWW-Authenticate: Digest nonce="n"\r\n'),
    ],
)
def test_secrets_are_blanked(sent: bytes, shown: bytes) -> None:
    assert redacted(b"OPTIONS sip:a SIP/2.0\r\n" + sent) == b"OPTIONS sip:a SIP/2.0\r\n" + shown


def test_a_line_says_who_which_way_and_what() -> None:
    structlog.reset_defaults()  # what a bridge in this process has configured
    with capture_logs() as lines:
        trace = SipTrace()
        trace.tap_in(b"OPTIONS sip:a SIP/2.0\r\n\r\n\xff", FLOW, 1.0, "t-1")
        trace.tap_out(b"x" * 100_000, FLOW, 1.0, "t-1")
    first, second = lines
    assert first == {
        "event": "sip.in",
        "log_level": "info",
        "peer": "tcp:192.0.2.1:5070",
        "trace": "t-1",
        "size": 26,
        "message": "OPTIONS sip:a SIP/2.0\r\n\r\n\\xff",
    }
    assert (second["event"], second["size"], len(second["message"])) == (
        "sip.out",
        100_000,
        MAX_SHOWN,
    )


def test_taps_are_chained() -> None:
    seen: list[str] = []

    def first(data: bytes, flow: Flow, now: float, trace: str) -> None:
        seen.append("first")

    def second(data: bytes, flow: Flow, now: float, trace: str) -> None:
        seen.append("second")

    assert chain() is None
    assert chain(None, first) is first
    both = chain(first, None, second)
    assert both is not None
    both(b"", FLOW, 0.0, "")
    assert seen == ["first", "second"]
