import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.sip.address import NameAddr, parse_addresses
from sipbridge.sip.parameters import Parameters

DISPLAY = st.none() | st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30
)
URIS = st.sampled_from(
    [
        "sip:a@example.com",
        "sips:b@[2001:db8::1]:5061;lr?x=y",
        "tel:+49-30-1",
        "pres:c@example.com",
        "urn:uuid:1",
    ]
)
TAGS = st.text("abcdefXYZ0123456789.-~", min_size=1, max_size=12)


@settings(deadline=None)
@given(DISPLAY, URIS, st.none() | TAGS, st.none() | st.text('ab \\"é', max_size=8))
def test_an_address_comes_back_through_text(
    display: str | None, uri: str, tag: str | None, extra: str | None
) -> None:
    parameters = Parameters() if extra is None else Parameters().with_("x", extra)
    made = NameAddr(uri, display, parameters)
    if tag is not None:
        made = made.with_tag(tag)
    assert NameAddr.parse(str(made)) == made
    assert NameAddr.parse(str(made)).tag == tag


def test_without_brackets_parameters_belong_to_the_header() -> None:
    read = NameAddr.parse("sip:ilse@example.net;user=phone;tag=81x2")
    assert (read.uri_text, read.tag, read.display_name) == ("sip:ilse@example.net", "81x2", None)
    assert read.uri.parameters == ()


def test_brackets_inside_a_quoted_parameter_are_no_brackets() -> None:
    read = NameAddr.parse('sip:a@b;+sip.instance="<urn:uuid:1>"')
    assert (read.uri_text, read.parameters.get("+sip.instance")) == ("sip:a@b", "<urn:uuid:1>")
    read = NameAddr.parse('<sip:a@b>;+sip.instance="<urn:uuid:1>"')
    assert read.parameters.get("+sip.instance") == "<urn:uuid:1>"


def test_within_brackets_they_belong_to_the_uri() -> None:
    read = NameAddr.parse("<sip:ilse@example.net;user=phone>;tag=1")
    assert read.uri.parameter("user") == "phone"
    assert read.parameters.pairs == (("tag", "1"),)


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ('"J Rosenberg \\\\\\""       <sip:j@example.com> ; tag = 98', 'J Rosenberg \\"'),
        ("caller<sip:caller@example.com>", "caller"),
        (
            "token1~` token2'+_ token3*%!.- <sip:mundane@example.com>",
            "token1~` token2'+_ token3*%!.-",
        ),
        ('"" <sip:a@b>', ""),
        ("José Müller <sip:a@b>", "José Müller"),
        ("<sip:a@b>", None),
        ('"Doe, \\"W,\\" \\\\;tag=no" <sip:w@example.net>;tag=w1', 'Doe, "W," \\;tag=no'),
    ],
)
def test_display_names(text: str, display: str | None) -> None:
    assert NameAddr.parse(text).display_name == display


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "<>",
        "<sip:a@b",
        "Bell, Alexander <sip:a@b>",
        '"Mr. J. User <sip:a@b>',
        "<sip:a@b> <sip:c@d>",
        "<sip:a@b>;;",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=a;b=;",
        '<sip:a@b>;tag="a b"',
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "sip:a@b c",
        "sip:a,b@c",
    ],
)
def test_malformed_addresses_are_refused_with_the_field(bad: str) -> None:
    with pytest.raises(ParseError) as caught:
        NameAddr.parse(bad, "Contact")
    assert caught.value.field == "Contact"


def test_a_bad_uri_is_found_when_it_is_asked_for() -> None:
    read = NameAddr.parse('"Watson" < sip:t.watson@example.org >')
    with pytest.raises(ParseError):
        read.uri  # noqa: B018


def test_the_star_is_known() -> None:
    assert NameAddr.parse("*").is_star
    assert str(NameAddr.parse("*")) == "*"
    assert not NameAddr.parse("<sip:a@b>").is_star


def test_several_on_a_line() -> None:
    read = parse_addresses('"A, B" <sip:a@b>;q=0.5, sip:c@d;x', "Contact")
    assert [(a.display_name, a.uri_text) for a in read] == [("A, B", "sip:a@b"), (None, "sip:c@d")]
    assert str(read[1].with_parameter("expires", "5")) == "<sip:c@d>;x;expires=5"
