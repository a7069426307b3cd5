"""What is reported is counted, under labels nobody outside can make up."""

import pytest

from sipbridge.agent.admission import NotProven
from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import Notified, RefreshFailed, Refused, Terminated
from sipbridge.observability.indications import (
    CallerUnknown,
    DocumentRefused,
    DocumentTolerated,
    NotifyHandled,
)
from sipbridge.observability.metrics import Metrics
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import (
    CertificateLoaded,
    CertificateRefused,
    ConnectionDropped,
    DestinationFailed,
    LimitReached,
    MessageRefused,
    RequestAnsweredByCore,
    RequestTimedOut,
    StrayResponse,
)

FLOW = Flow("udp", ("127.0.0.1", 5060), ("127.0.0.1", 5070))


def notified(state: str) -> Notified:
    return Notified("s", "presence", state, "", None, None, "", b"", "c", "t", 0.0)


@pytest.mark.parametrize(
    ("said", "sample"),
    [
        (MessageRefused("x", 400, FLOW), 'sip_messages_refused_total{status="400"}'),
        (MessageRefused("x", None, FLOW), 'sip_messages_refused_total{status="dropped"}'),
        (
            RequestAnsweredByCore("INVITE", 405, "", FLOW),
            'sip_answered_by_core_total{method="INVITE",status="405"}',
        ),
        (
            RequestAnsweredByCore("FOO", 405, "", FLOW),
            'sip_answered_by_core_total{method="other",status="405"}',
        ),
        (StrayResponse(200, "NOTIFY", FLOW), "sip_stray_responses_total"),
        (RequestTimedOut("PUBLISH", "udp:x:1", "c"), 'sip_timeouts_total{method="PUBLISH"}'),
        (
            DestinationFailed("PUBLISH", "udp:x:1", "refused", ""),
            'sip_unreachable_total{method="PUBLISH"}',
        ),
        (LimitReached("transactions", "x"), 'sip_limits_reached_total{limit="transactions"}'),
        (
            NotProven("alice", "192.0.2.1", "another realm"),
            'authentication_failures_total{interface="sip",reason="refused"}',
        ),
        (
            CallerUnknown(True, "no credentials"),
            'authentication_failures_total{interface="http",reason="missing"}',
        ),
        (
            ConnectionDropped("tls", ("192.0.2.9", 1), "slow"),
            'sip_connections_dropped_total{reason="slow",transport="tls"}',
        ),
        (
            CertificateRefused("sip.tls.cert", "expired"),
            'sip_certificate_changes_total{outcome="refused"}',
        ),
        (
            CertificateLoaded("sip.tls.cert", "2027"),
            'sip_certificate_changes_total{outcome="loaded"}',
        ),
        (notified("active"), 'sip_notifications_total{package="presence",state="active"}'),
        (notified("evil"), 'sip_notifications_total{package="presence",state="other"}'),
        (
            Terminated("s", "rejected", None, None, False),
            'sip_subscriptions_ended_total{reason="rejected",will_retry="false"}',
        ),
        (
            Terminated("s", "Call Leg Gone", None, 481, True),
            'sip_subscriptions_ended_total{reason="481",will_retry="true"}',
        ),
        (
            Terminated("s", "made up", None, None, True),
            'sip_subscriptions_ended_total{reason="other",will_retry="true"}',
        ),
        (Refused("s", 403, "", None), 'sip_subscriptions_refused_total{status="403"}'),
        (RefreshFailed("s", None, ""), 'sip_refresh_failures_total{status="no answer"}'),
        (Published("p", "e", 60), 'sip_publications_total{outcome="accepted"}'),
        (PublishFailed("p", 500, "", None), 'sip_publications_total{outcome="failed"}'),
        (Unpublished("p"), 'sip_publications_total{outcome="removed"}'),
        (
            DocumentRefused("application/pidf+xml", "x"),
            'documents_refused_total{media_type="application/pidf+xml"}',
        ),
        (DocumentRefused("text/evil", "x"), 'documents_refused_total{media_type="other"}'),
        (DocumentTolerated(("bad-basic",)), 'deviations_total{code="bad-basic"}'),
        (NotifyHandled(0.0004), 'notify_seconds_bucket{le="0.0005"}'),
    ],
)
def test_every_indication_moves_its_counter(said: object, sample: str) -> None:
    metrics = Metrics()
    metrics.observe(said)
    assert f"sipbridge_{sample} 1.0\n" in metrics.render().decode()


def test_messages_are_counted_through_the_taps() -> None:
    metrics = Metrics()
    request = b"SUBSCRIBE sip:a@b SIP/2.0\r\nCSeq: 1 SUBSCRIBE\r\n\r\n"
    metrics.tap_in(request, FLOW, 0.0, "t")
    metrics.tap_in(request, FLOW, 0.0, "t")
    metrics.tap_out(b"SIP/2.0 202 Accepted\r\nCSeq: 1 SUBSCRIBE\r\n\r\n", FLOW, 0.0, "t")
    said = metrics.render().decode()
    name = "sipbridge_sip_messages_total"
    labels = 'direction="in",method="SUBSCRIBE",status="",transport="udp"'
    assert f"{name}{{{labels}}} 2.0" in said
    labels = 'direction="out",method="SUBSCRIBE",status="202",transport="udp"'
    assert f"{name}{{{labels}}} 1.0" in said


def test_gauges_are_read_when_asked() -> None:
    metrics = Metrics()
    there: dict[tuple[str, ...], float] = {("active",): 1.0}
    metrics.gauge("things", "Things", ("state",), lambda: there)
    metrics.gauge("age_seconds", "Age", (), lambda: {(): 2.5})
    assert 'sipbridge_things{state="active"} 1.0' in metrics.render().decode()
    there["active",] = 7.0
    there["pending",] = 2.0
    said = metrics.render().decode()
    assert 'sipbridge_things{state="active"} 7.0' in said
    assert 'sipbridge_things{state="pending"} 2.0' in said
    assert "sipbridge_age_seconds 2.5" in said


def test_what_nobody_counts_is_passed_over() -> None:
    metrics = Metrics()
    before = metrics.render().decode().count("\n")
    metrics.observe(object())
    assert metrics.render().decode().count("\n") == before


def test_two_bridges_do_not_share_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.observe(Unpublished("p"))
    assert 'sipbridge_sip_publications_total{outcome="removed"}' not in two.render().decode()
