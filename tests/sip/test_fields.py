import pytest

from sipbridge.errors import ParseError
from sipbridge.sip.fields import (
    MAX_SECONDS,
    CSeq,
    Event,
    MediaType,
    SubscriptionState,
    check_call_id,
    parse_max_forwards,
    parse_media_ranges,
    parse_retry_after,
    parse_seconds,
    seconds_or_none,
)
from sipbridge.sip.parameters import Parameters


def test_cseq() -> None:
    assert CSeq.parse("0009  INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(2**31 - 1, "NOTIFY")) == "2147483647 NOTIFY"


@pytest.mark.parametrize(
    "bad", ["", "1", "INVITE", "-1 A", "1 A B", "1A", "2147483648 A", "9" * 400 + " A", "1 é"]
)
def test_cseq_refuses(bad: str) -> None:
    with pytest.raises(ParseError, match="^CSeq"):
        CSeq.parse(bad)


def test_event_keeps_its_parameters() -> None:
    event = Event.parse("presence.winfo ;id=7;x")
    assert (event.package, event.id, str(event)) == ("presence.winfo", "7", "presence.winfo;id=7;x")
    assert str(Event("presence", "9")) == "presence;id=9"
    assert str(Event("presence")) == "presence"
    with pytest.raises(ParseError, match="^Event"):
        Event.parse("pre sence")


def test_subscription_state_ignores_case_and_odd_numbers() -> None:
    assert SubscriptionState.parse("active;expires=5;").expires == 5
    state = SubscriptionState.parse("Terminated ;Reason=Timeout;retry-after=30;expires=soon")
    assert (state.state, state.reason, state.retry_after, state.expires) == (
        "terminated",
        "timeout",
        30,
        None,
    )
    assert state.parameters.get("expires") == "soon"


def test_subscription_state_is_written_from_its_parts() -> None:
    assert str(SubscriptionState("active", 599)) == "active;expires=599"
    assert str(SubscriptionState("terminated", reason="probation", retry_after=5)) == (
        "terminated;reason=probation;retry-after=5"
    )
    text = "active;expires=9;x=y"
    assert str(SubscriptionState.parse(text)) == text
    with pytest.raises(ParseError, match="^Subscription-State"):
        SubscriptionState.parse("")


def test_media_types_compare_in_lower_case() -> None:
    media = MediaType.parse('Application/PIDF+XML ; charset="utf-8" ; x=1')
    assert (media.essence, media.charset, media.is_multipart) == (
        "application/pidf+xml",
        "utf-8",
        False,
    )
    assert (
        str(MediaType("multipart/related", Parameters((("boundary", "a"),))))
        == "multipart/related;boundary=a"
    )
    for bad in ("", "application", "application/", "a b/c", "a/b;;"):
        with pytest.raises(ParseError, match="^Content-Type"):
            MediaType.parse(bad)


def test_accept_ranges() -> None:
    ranges = parse_media_ranges("application/*;q=0.5, */*;q=0, text/plain;q=x,")
    assert [r.quality for r in ranges] == [0.5, 0.0, 1.0]
    assert ranges[0].covers("application/pidf+xml")
    assert not ranges[0].covers("text/plain")
    assert ranges[1].covers("a/b")
    assert ranges[2].covers("text/plain")
    assert parse_media_ranges("") == ()
    with pytest.raises(ParseError, match="^Accept"):
        parse_media_ranges("nonsense")


def test_seconds_have_a_ceiling_not_an_error() -> None:
    assert parse_seconds("0600", "Expires") == 600
    assert parse_seconds("99999999999999", "Expires") == MAX_SECONDS
    assert parse_seconds("4294967296", "Expires") == MAX_SECONDS
    for bad in ("", "-1", "0xpires", "1.5"):
        with pytest.raises(ParseError, match="^Expires"):
            parse_seconds(bad, "Expires")
        assert seconds_or_none(bad) is None


def test_retry_after_with_comment_and_parameters() -> None:
    assert parse_retry_after("30") == 30.0
    assert parse_retry_after("18000 (I'm in a meeting);duration=3600") == 18000.0
    assert parse_retry_after("949302838503028349304023988") == float(MAX_SECONDS)
    assert parse_retry_after("Wed, 04 Apr 2001 19:00:00 GMT") is None


def test_max_forwards_has_bounds() -> None:
    assert parse_max_forwards("0068") == 68
    for bad in ("256", "300", "-1", "x"):
        with pytest.raises(ParseError, match="^Max-Forwards"):
            parse_max_forwards(bad)


def test_call_ids_hold_anything_visible() -> None:
    for good in ("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", "a==@b;c", "x"):
        assert check_call_id(good) == good
    for bad in ("", "a b", "a\x00b", "a\tb"):
        with pytest.raises(ParseError, match="^Call-ID"):
            check_call_id(bad)
