import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip.fields import CSeq
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.parser import parse_datagram


def subscribe(**changes: str) -> Request:
    fields = {
        "Via": "SIP/2.0/UDP 192.0.2.4:5062;branch=z9hG4bKa;rport",
        "From": '"W" <sip:w@example.com>;tag=aa',
        "To": "<sip:r@example.com>",
        "Call-ID": "c1@192.0.2.4",
        "CSeq": "7 SUBSCRIBE",
        "Contact": "<sip:w@192.0.2.4:5062>",
        "Event": "presence;id=4",
        "Expires": "600",
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    return Request("SUBSCRIBE", "sip:r@example.com", Headers(fields.items()))


def test_typed_properties() -> None:
    request = subscribe(
        Max_Forwards="70",
        Accept="application/pidf+xml, text/plain;q=0",
        Supported="eventlist, gruu",
        Require="eventlist",
        Proxy_Require="a",
        Allow="NOTIFY, SUBSCRIBE",
        Allow_Events="presence",
        Route="<sip:a;lr>, <sip:b;lr>",
        Record_Route="<sip:c;lr>",
        Content_Type="Text/Plain;charset=utf-8",
        SIP_If_Match="e1",
    )
    assert request.call_id == "c1@192.0.2.4"
    assert request.cseq == CSeq(7, "SUBSCRIBE")
    assert (request.from_.tag, request.from_.display_name, request.to.tag) == ("aa", "W", None)
    assert request.top_via.branch == "z9hG4bKa"
    assert len(request.vias) == 1
    assert request.contact and request.contact.uri.user == "w"
    assert (request.expires, request.max_forwards) == (600, 70)
    assert request.event and (request.event.package, request.event.id) == ("presence", "4")
    assert request.accept == ["application/pidf+xml"]
    assert (request.supported, request.require) == (["eventlist", "gruu"], ["eventlist"])
    assert (request.proxy_require, request.allow) == (["a"], ["NOTIFY", "SUBSCRIBE"])
    assert request.allow_events == ["presence"]
    assert [str(hop) for hop in request.route] == ["<sip:a;lr>", "<sip:b;lr>"]
    assert [str(hop) for hop in request.record_route] == ["<sip:c;lr>"]
    assert request.content_type and request.content_type.essence == "text/plain"
    assert (request.sip_if_match, request.sip_etag) == ("e1", None)
    assert request.request_uri.host == "example.com"


def test_what_is_absent_is_none_or_empty() -> None:
    bare = Request("OPTIONS", "sip:a", Headers())
    assert (bare.expires, bare.min_expires, bare.retry_after, bare.max_forwards) == (None,) * 4
    assert (bare.event, bare.subscription_state, bare.content_type, bare.contact) == (None,) * 4
    assert (bare.contacts, bare.route, bare.accept, bare.supported, bare.vias) == (
        [],
        [],
        [],
        [],
        [],
    )


@pytest.mark.parametrize(
    ("name", "field"),
    [("call_id", "Call-ID"), ("cseq", "CSeq"), ("from_", "From"), ("to", "To"), ("top_via", "Via")],
)
def test_the_five_that_every_message_needs_name_themselves_when_missing(
    name: str, field: str
) -> None:
    with pytest.raises(ParseError, match="is missing") as caught:
        getattr(Request("OPTIONS", "sip:a", Headers()), name)
    assert caught.value.field == field


def test_a_changed_header_is_seen_by_the_typed_property() -> None:
    request = subscribe()
    assert request.cseq.number == 7
    request.headers.set("CSeq", "8 SUBSCRIBE")
    assert request.cseq.number == 8


def test_bad_numbers_raise_in_requests_and_are_none_in_responses() -> None:
    with pytest.raises(ParseError, match="^Expires"):
        subscribe(Expires="soon").expires  # noqa: B018
    answer = Response(
        423, "", Headers([("Expires", "soon"), ("Min-Expires", "x"), ("Retry-After", "y")])
    )
    assert (answer.expires, answer.min_expires, answer.retry_after) == (None, None, None)
    good = Response(423, "", Headers([("Min-Expires", "60"), ("Retry-After", "5 (later)")]))
    assert (good.min_expires, good.retry_after, good.reason) == (60, 5.0, "Interval Too Brief")


def test_a_response_copies_what_the_rfc_says() -> None:
    request = subscribe(Record_Route="<sip:p;lr>", Timestamp="54")
    request.headers.add("Via", "SIP/2.0/UDP second")
    answer = request.response(200, to_tag="t9", headers=[("Expires", "600")], record_route=True)
    assert answer.headers.items() == [
        ("Via", "SIP/2.0/UDP 192.0.2.4:5062;branch=z9hG4bKa;rport"),
        ("Via", "SIP/2.0/UDP second"),
        ("Record-Route", "<sip:p;lr>"),
        ("From", '"W" <sip:w@example.com>;tag=aa'),
        ("To", "<sip:r@example.com>;tag=t9"),
        ("Call-ID", "c1@192.0.2.4"),
        ("CSeq", "7 SUBSCRIBE"),
        ("Timestamp", "54"),
        ("Expires", "600"),
    ]
    assert "Record-Route" not in request.response(200).headers
    assert request.response(200).to.tag is None


def test_a_tag_is_never_replaced_and_broken_text_is_still_answered() -> None:
    assert subscribe(To="<sip:r@e>;tag=old").response(200, to_tag="new").to.tag == "old"
    assert (
        subscribe(To="sip:r@e").response(200, to_tag="new").headers.get("To") == "sip:r@e;tag=new"
    )
    broken = subscribe(To='"open <sip:r@e>', CSeq="x").response(400, to_tag="n")
    assert broken.headers.get("To") == '"open <sip:r@e>;tag=n'
    assert Request("OPTIONS", "sip:a", Headers()).response(400, to_tag="n").headers.items() == []


def test_content_length_is_written_right_and_last() -> None:
    request = subscribe(l="999")
    request.body = b"<x/>"
    wire = bytes(request)
    assert wire.endswith(b"Expires: 600\r\nContent-Length: 4\r\n\r\n<x/>")
    assert wire.startswith(b"SUBSCRIBE sip:r@example.com SIP/2.0\r\nVia: ")
    assert wire.count(b"Content-Length") == 1


def test_a_message_without_headers_can_be_written() -> None:
    assert bytes(Response(200, "Fine")) == b"SIP/2.0 200 Fine\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nVia: evil", "a\nb", "a\rb", "\ud800"])
def test_no_text_becomes_a_header_of_its_own(value: str) -> None:
    request = subscribe()
    request.headers.add("Subject", value)
    with pytest.raises(LocalProtocolError):
        bytes(request)
    with pytest.raises(LocalProtocolError):
        bytes(Request("MESSAGE", f"sip:{value}", Headers()))
    with pytest.raises(LocalProtocolError):
        bytes(Response(200, value))


def test_a_copy_is_independent() -> None:
    request = subscribe()
    twin = request.copy()
    twin.headers.set("To", "<sip:x@y>")
    assert request.to.uri.user == "r"
    answer = request.response(200)
    assert bytes(answer.copy()) == bytes(answer)
    assert repr(answer) == "<'SIP/2.0 200 OK', 5 headers, 0 bytes>"


VALUE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30).map(
    lambda t: t.strip(" \t")
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["Via", "X-Test", "Subject", "v"]), VALUE), max_size=8),
    st.binary(max_size=40),
)
def test_what_is_written_is_read_back(pairs: list[tuple[str, str]], body: bytes) -> None:
    request = Request("MESSAGE", "sip:a@b", Headers(pairs), body)
    read = parse_datagram(bytes(request))
    assert isinstance(read, Message)
    assert read.body == body
    assert read.headers.items()[:-1] == request.headers.items()
    assert bytes(read) == bytes(request)


def test_bytes_that_are_no_utf8_survive() -> None:
    wire = b"MESSAGE sip:a SIP/2.0\r\nSubject: \xff\xfe \xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    read = parse_datagram(wire)
    assert isinstance(read, Message)
    assert bytes(read) == wire
