import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.cli.decode import decode

FIELDS: dict[str, str | None] = {
    "v": "SIP/2.0/UDP 192.0.2.4:5062;branch=z9hG4bKa;rport",
    "f": '"W" <sip:w@example.com>;tag=aa',
    "t": "<sip:r@example.com>",
    "i": "c1@192.0.2.4",
    "CSeq": "7 SUBSCRIBE",
    "m": "<sip:w@192.0.2.4:5062>",
    "o": "presence",
    "Expires": "600",
}


def message(method: str = "SUBSCRIBE", body: bytes = b"", **changes: str | None) -> bytes:
    fields = FIELDS | {"CSeq": f"7 {method}"}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{method} sip:r@example.com SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, f"l: {len(body)}", "", ""]).encode() + body


def hint(data: bytes) -> object:
    told = decode(data)
    assert told["verdict"] == "accept", told["reason"]
    return told["status_hint"]


def test_a_request_is_told_with_long_names() -> None:
    told = decode(message())
    assert told == {
        "kind": "request",
        "method": "SUBSCRIBE",
        "uri": "sip:r@example.com",
        "headers": [
            ["Via", FIELDS["v"]],
            ["From", FIELDS["f"]],
            ["To", FIELDS["t"]],
            ["Call-ID", FIELDS["i"]],
            ["CSeq", "7 SUBSCRIBE"],
            ["Contact", FIELDS["m"]],
            ["Event", "presence"],
            ["Expires", "600"],
            ["Content-Length", "0"],
        ],
        "body_length": 0,
        "verdict": "accept",
        "status_hint": None,
        "reason": "",
    }


def test_a_response_is_told() -> None:
    data = message().replace(b"SUBSCRIBE sip:r@example.com SIP/2.0", b"SIP/2.0 202 Accepted")
    told = decode(data)
    assert (told["kind"], told["status"], told["verdict"]) == ("response", 202, "accept")
    assert "uri" not in told


def test_a_response_is_never_answered() -> None:
    for broken in (message(CSeq="99999999999 A"), message(f=None), message(v=None)):
        told = decode(broken.replace(b"SUBSCRIBE sip:r@example.com SIP/2.0", b"SIP/2.0 200 OK"))
        assert told["status_hint"] is None


def test_keep_alive_and_noise() -> None:
    assert decode(b"\r\n\r\n") == {"kind": "keepalive"}
    for noise in (b"", b"\0\0\0\0", b"Content-Type: text/plain\r\n\r\nbody"):
        told = decode(noise)
        assert (told["kind"], told["verdict"], told["status_hint"]) == (None, "reject", None)
    assert decode(b"SIP/2.0 20 OK\r\n\r\n")["kind"] == "response"


def test_a_rejected_request_is_told_as_far_as_it_was_read() -> None:
    told = decode(message(X_Broken="a\rb"))
    assert (told["kind"], told["method"], told["verdict"], told["status_hint"]) == (
        "request",
        "SUBSCRIBE",
        "reject",
        400,
    )
    assert told["reason"]


def test_bytes_that_are_no_utf8_do_not_break_json() -> None:
    told = decode(message(Subject="?").replace(b"?", b"\xff"))
    assert json.loads(json.dumps(told, ensure_ascii=False).encode()) == told
    assert ["Subject", "\ufffd"] in told["headers"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(f=None), 400),
        (message(o=None), 489),
        (message(o="presence.winfo.winfo"), 489),
        (message(o="presence.winfo", Accept="application/watcherinfo+xml"), None),
        (message(Require="magic"), 420),
        (message(Authorization="NoOneKnowsThisScheme opaque-data=here"), 401),
        (message(Proxy_Authorization="NoOneKnowsThisScheme opaque-data=here"), 407),
        (message(Authorization='Digest username="a"'), None),
        (message(Accept="text/nobodyKnowsThis"), 406),
        (message(Accept="text/nobodyKnowsThis, application/*"), None),
        (message(Accept="application/pidf+xml;q=0, text/plain"), 406),
        (message(Accept=""), None),
        (message("INVITE", o=None, Accept="text/plain"), 406),
        (message("INVITE", b"x", o=None, Content_Type="application/unknown"), 415),
        (
            message(
                "INVITE",
                b"x",
                o=None,
                Content_Type="application/unknown",
                Content_Disposition="x;handling=optional",
            ),
            None,
        ),
        (message("INVITE", b"v=0", o=None, Content_Type="application/sdp"), None),
        (message("PUBLISH", b"<p/>", Content_Type="application/pidf+xml"), None),
        (
            message("PUBLISH", b"<p/>", Content_Type="application/pidf+xml", Content_Encoding="br"),
            415,
        ),
        (
            message(
                "PUBLISH", b"<p/>", Content_Type="application/pidf+xml", Content_Encoding="gzip"
            ),
            400,
        ),
        (
            message(
                "PUBLISH",
                gzip.compress(b"<p/>"),
                Content_Type="application/pidf+xml",
                Content_Encoding="gzip",
            ),
            None,
        ),
        (message("PUBLISH", b"<p/>", Content_Type="text/plain"), 415),
        (message("PUBLISH", b"<p/>"), 415),
        (message("PUBLISH"), 400),
        (message("PUBLISH", SIP_If_Match="e1"), None),
        (
            message(
                "PUBLISH", b"x", o="presence.winfo", Content_Type="application/watcherinfo+xml"
            ),
            489,
        ),
        (message("NOTIFY"), 400),
        (message("NOTIFY", Subscription_State="active"), None),
        (message("NOTIFY", o="refer", Subscription_State="active"), None),
        (
            message(
                "NOTIFY",
                b"x",
                Subscription_State="active",
                Content_Type="multipart/mixed;boundary=a",
            ),
            None,
        ),
        (message("NOTIFY", b"x", Subscription_State="active", Content_Type="image/png"), 415),
        (message(t="<sip:r@example.com>;tag=ghost"), 481),
        (message(t="<sip:r@example.com>;tag=ghost", Expires="0"), None),
        (message("OPTIONS", o=None, Accept="application/sdp"), None),
        (message("MESSAGE", b"hello", o=None, Content_Type="text/plain"), None),
        (message("NEWMETHOD", o=None), None),
    ],
)
def test_what_a_sound_message_calls_for(data: bytes, status: int | None) -> None:
    assert hint(data) == status


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=120), st.integers(0, 300))
def test_any_bytes_get_a_verdict_that_json_can_hold(noise: bytes, at: int) -> None:
    data = message("PUBLISH", b"<p/>", Content_Type="application/pidf+xml")
    for one in (noise, data[:at] + noise + data[at:], data[:at] + noise[:3] + data[at + 3 :]):
        told = decode(one)
        json.dumps(told, ensure_ascii=False).encode()
        assert told == {"kind": "keepalive"} or told["verdict"] in ("accept", "reject")
