"""Log lines: an event and fields, on one stream, and never more than the reader can take."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from sipbridge.agent import NotShown
from sipbridge.agent.admission import Guessing, NotProven
from sipbridge.events.publisher import PublishFailed
from sipbridge.events.subscriber import Refused, Terminated
from sipbridge.identities import PresentityKey
from sipbridge.observability.indications import CallerUnknown, DocumentRefused
from sipbridge.observability.logs import (
    BURST,
    BURST_OF_ONE,
    MAX_KINDS,
    PERIOD,
    IndicationLog,
    RateLimit,
    configure,
    logger,
)
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import (
    CertificateLoaded,
    CertificateRefused,
    ChallengeUnmet,
    ConnectionDropped,
    LimitReached,
    MessageRefused,
    Unmet,
)

FLOW = Flow("udp", ("127.0.0.1", 5060), ("192.0.2.1", 5080))


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_carry_event_and_fields() -> None:
    out = io.StringIO()
    configure("info", "json", out)
    logger("sipbridge.x").info("subscription.terminated", reason="gr\u00fcn")
    logger("sipbridge.x").debug("not.shown")
    logging.getLogger("some.library").warning("from %s", "a library")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "subscription.terminated",
        "reason": "gr\u00fcn",
        "level": "info",
        "logger": "sipbridge.x",
    }
    assert (second["event"], second["level"]) == ("from a library", "warning")


def test_text_lines_are_plain_when_nobody_looks() -> None:
    out = io.StringIO()
    configure("debug", "text", out)
    logger("sipbridge.x").debug("message.refused", peer="udp:192.0.2.1:5080")
    (line,) = out.getvalue().splitlines()
    assert "message.refused" in line and "peer=udp:192.0.2.1:5080" in line
    assert "\x1b" not in line


def test_an_exception_is_one_json_line() -> None:
    out = io.StringIO()
    configure("info", "json", out)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logger("sipbridge.x").exception("turn.failed")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert "RuntimeError: boom" in line["exception"]


def test_the_limit_allows_a_burst_and_then_counts() -> None:
    limit = RateLimit(burst=2, period=10.0)
    assert [limit.allow("a", 0.0) for _ in range(5)] == [0, 0, None, None, None]
    assert limit.allow("b", 1.0) == 0
    assert limit.allow("a", 9.9) is None
    assert [limit.allow("a", 10.0), limit.allow("a", 10.0), limit.allow("a", 10.0)] == [4, 0, None]


def test_a_flood_of_malformed_messages_is_a_few_lines() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(1000):
            log.observe(MessageRefused("x" * 5000, 400, FLOW, "t"), n / 1000)
        log.observe(MessageRefused("again", None, FLOW), PERIOD)
    assert len(lines) == BURST + 1
    assert lines[0]["event"] == "message.refused"
    assert lines[0]["peer"] == "udp:192.0.2.1:5080"
    assert len(lines[0]["reason"]) == 200
    assert lines[-1]["left_out_before"] == 1000 - BURST


def unknown(address: str, user: str = "alice", missing: bool = False) -> CallerUnknown:
    reason = "no credentials" if missing else "wrong user or password"
    return CallerUnknown(missing, reason, user, address, "/rest/presence/presence", "t-1")


def test_who_tries_passwords_does_not_hide_another_who_does() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(1000):
            log.observe(unknown("192.0.2.1"), n / 1000)
        log.observe(NotProven("bob", "192.0.2.2", "wrong user or password", "t-2"), 1.0)
        log.observe(unknown("192.0.2.1"), PERIOD)
    assert [line["address"] for line in lines] == [*["192.0.2.1"] * 3, "192.0.2.2", "192.0.2.1"]
    assert lines[0] == {
        "event": "authentication.failed",
        "log_level": "warning",
        "interface": "http",
        "reason": "wrong user or password",
        "user": "'alice'",
        "address": "192.0.2.1",
        "path": "/rest/presence/presence",
        "trace": "t-1",
    }
    assert (lines[3]["interface"], lines[3]["trace"]) == ("sip", "t-2")
    assert lines[4]["left_out_before"] == 1000 - BURST_OF_ONE


def test_passwords_tried_from_everywhere_are_a_few_lines_and_a_number() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(5000):
            log.observe(unknown(f"2001:db8::{n:x}"), n / 5000)
        log.observe(unknown("192.0.2.9"), PERIOD + 1)
    assert len(lines) == BURST + 1
    assert lines[-1]["left_out_before"] == 5000 - BURST
    assert len(log.by_address.kinds) <= MAX_KINDS


def test_what_was_left_out_of_one_address_is_not_lost_where_its_next_line_is_left_out() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(100):
            log.observe(unknown("192.0.2.1"), n / 10)
        for n in range(BURST):
            log.observe(unknown(f"192.0.2.{n + 2}"), 60.0)
        log.observe(unknown("192.0.2.1"), 61.0)
        log.observe(unknown("192.0.2.99"), 121.0)
    assert sum(line.get("left_out_before", 0) for line in lines) == 100 - BURST_OF_ONE + 1


def test_who_brings_no_credentials_is_no_attack_and_hides_none() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(50):
            log.observe(unknown(f"192.0.2.{n}", "", missing=True), 0.0)
        log.observe(unknown("192.0.2.1"), 0.0)
    assert len(lines) == BURST + 1
    assert (lines[0]["event"], lines[0]["log_level"]) == ("authentication.missing", "info")
    assert "user" not in lines[0] and "reason" not in lines[0]
    assert lines[-1]["event"] == "authentication.failed"


def test_a_user_name_forges_no_line_and_fills_none() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        log.observe(unknown("192.0.2.1", "a\nb\x1b[2J" + "c" * 5000), 0.0)
        log.observe(Guessing("d\re", "192.0.2.1", "t-3"), 0.0)
    assert lines[0]["user"] == repr("a\nb\x1b[2J" + "c" * 57)
    assert (lines[1]["user"], lines[1]["trace"]) == (repr("d\re"), "t-3")


def test_kinds_are_limited_apart() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for _ in range(100):
            log.observe(MessageRefused("x", 400, FLOW), 0.0)
        log.observe(LimitReached("pending_per_peer", "192.0.2.1"), 0.0)
        log.observe(NotShown(PresentityKey("sip:alice@example.com"), "too odd"), 0.0)
        log.observe(DocumentRefused("application/pidf+xml", "two roots", "t-1"), 0.0)
    assert [line["event"] for line in lines[BURST:]] == [
        "limit.reached",
        "presence.not-shown",
        "document.refused",
    ]
    assert lines[-2]["presentity"] == "sip:alice@example.com"
    assert lines[-1]["trace"] == "t-1"


def test_dropped_connections_are_a_few_lines_and_certificates_are_all_told() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for _ in range(BURST + 5):
            log.observe(ConnectionDropped("tls", ("192.0.2.9", 7), "handshake", "eof"), 0.0)
        log.observe(CertificateLoaded("sip.tls.cert", "2027"), 0.0)
        log.observe(CertificateRefused("sip.tls.key", "is no PEM private key"), 0.0)
    assert len(lines) == BURST + 2
    assert (lines[0]["peer"], lines[0]["reason"]) == ("tls:192.0.2.9:7", "handshake")
    assert [line["log_level"] for line in lines[BURST:]] == ["info", "error"]


def test_a_server_that_ends_or_refuses_everything_writes_a_few_lines() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        for n in range(500):
            log.observe(Terminated(f"s{n}", "deactivated", None, None, True, "t-1"), 0.0)
            log.observe(Refused(f"s{n}", 403, "No", None, "t-1"), 0.0)
            log.observe(PublishFailed(f"p{n}", 503, "Busy", None, "t-1"), 0.0)
        log.observe(Terminated("last", "deactivated", None, None, True, "t-1"), 61.0)
    assert len(lines) == 3 * BURST + 1
    assert lines[-1]["left_out_before"] == 500 - BURST


def test_the_end_of_a_subscription_is_news_and_other_values_are_not() -> None:
    with capture_logs() as lines:
        log = IndicationLog()
        log.observe(Terminated("s1", "rejected", None, None, False, "t-1"), 0.0)
        log.observe(object(), 0.0)
    assert lines == [
        {
            "event": "subscription.terminated",
            "log_level": "info",
            "subscription": "s1",
            "reason": "rejected",
            "will_retry": False,
            "trace": "t-1",
        }
    ]


@pytest.mark.parametrize(
    ("why", "event", "key"),
    [
        (Unmet.MISSING, "credentials.missing", "applications.sip_password"),
        (Unmet.REALM, "credentials.missing", "applications.sip_realm"),
        (Unmet.REFUSED, "credentials.refused", "applications.sip_password"),
        (Unmet.UNUSABLE, "credentials.unusable", "sip.minimum_digest"),
    ],
)
def test_what_a_presence_server_wants_is_said_with_the_key_to_look_at(
    why: Unmet, event: str, key: str
) -> None:
    alice, server = "sip:alice@example.com", "udp:192.0.2.7:5060"
    said = ChallengeUnmet(why, 401, "PUBLISH", server, alice, "alice", ("a", "b\x1b"), "t-1")
    with capture_logs() as lines:
        IndicationLog().observe(said, 0.0)
    (line,) = lines
    assert (line["event"], line["realm"]) == (event, "'a', " + repr("b\x1b"))
    assert key in line["detail"]
    assert (line["identity"], line["destination"], line["trace"]) == (alice, server, "t-1")
