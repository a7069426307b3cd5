import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.uri import Uri, escape_user, unescape

EQUAL = [
    # RFC 3261 §19.1.4
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    # RFC 3966 §4
    ("tel:+1-201-555-0123", "tel:+1(201)555.0123"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:alice@example.com", "sips:alice@example.com"),
]
REFUSED = [
    "",
    "alice",
    "sip:",
    "sip:@example.com",
    "sip:alice@",
    "sip:alice@exa mple.com",
    "sip:alice@example.com:99999",
    "sip:alice@example.com:x",
    "sip:[2001:db8::1@example.com",
    "sip:alice@2001:db8::1",
    "sip:al%ice@example.com",
    "<sip:alice@example.com>",
    'sip:al"ice@example.com',
    "sip:a@b;=x",
    "sip:" + "a" * 5000,
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_what_the_rfc_calls_equal_matches(left: str, right: str) -> None:
    assert Uri.parse(left).matches(Uri.parse(right))
    assert Uri.parse(right).matches(Uri.parse(left))


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_what_the_rfc_calls_different_does_not(left: str, right: str) -> None:
    assert not Uri.parse(left).matches(Uri.parse(right))
    assert not Uri.parse(right).matches(Uri.parse(left))


def test_equality_of_the_rfc_is_not_transitive() -> None:
    plain, on, off = (
        Uri.parse(f"sip:carol@chicago.com{p}") for p in ("", ";security=on", ";security=off")
    )
    assert plain.matches(on)
    assert plain.matches(off)
    assert not on.matches(off)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_uri_is_refused_naming_the_field(text: str) -> None:
    with pytest.raises(ParseError) as refused:
        Uri.parse(text)
    assert refused.value.field == "uri"


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice:secret@example.com:5080;transport=tcp;lr?subject=x&priority",
        "sips:[2001:db8::9:1]:5061",
        "pres:alice@example.com",
        "im:alice@example.com",
        "tel:+1-555-0100;phone-context=example.com",
        "mailto:alice@example.com",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "sip:user;par=u%40example.net@example.com",
        "sip:example.com",
    ],
)
def test_printing_gives_back_what_was_read(text: str) -> None:
    assert str(Uri.parse(text)) == text.replace("&priority", "&priority=")


def test_a_scheme_is_lower_case_and_the_rest_stays() -> None:
    assert str(Uri.parse("SIP:Alice@Example.COM")) == "sip:Alice@Example.COM"


def test_the_address_of_record_has_no_parameters() -> None:
    uri = Uri.parse("sip:alice:pw@example.com:5080;transport=tcp?a=b")
    assert str(uri.address) == "sip:alice@example.com:5080"
    assert uri.parameter("Transport") == "tcp"
    assert uri.parameter("lr") is None
    assert str(uri.with_parameter("transport", "udp").with_parameter("lr")).endswith(
        ";transport=udp;lr?a=b"
    )


@given(st.text(min_size=1, max_size=40))
def test_any_user_name_survives_escaping(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    uri = Uri.parse(f"sip:{escape_user(name)}@example.com")
    assert uri.username == name
    assert Uri.parse(str(uri)) == uri


@given(st.text(max_size=60))
@example("0?0")
def test_parsing_raises_nothing_but_parse_errors(text: str) -> None:
    try:
        uri = Uri.parse("sip:" + text)
    except ParseError:
        return
    assert Uri.parse(str(uri)) == uri


def test_a_header_without_a_value_is_one_with_an_empty_value() -> None:
    uri = Uri.parse("sip:example.com?subject")
    assert str(uri) == "sip:example.com?subject="
    assert Uri.parse(str(uri)) == uri


def test_bytes_that_are_no_text_stay_escaped() -> None:
    assert unescape("%ff%41") == "%ff%41"
