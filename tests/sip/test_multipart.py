import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip import multipart
from sipbridge.sip.fields import MediaType
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Message
from sipbridge.sip.multipart import MAX_PARTS, Part, build, parse
from sipbridge.sip.parser import parse_datagram

BODY = (
    b"preamble, to be skipped\r\n"
    b"--b1\r\n"
    b"Content-ID: <top@example.net>\r\n"
    b'Content-Type: Application/RLMI+xml;\r\n charset="UTF-8"\r\n'
    b"\r\n"
    b"<list/>\r\n"
    b"--b1  \r\n"
    b"content-id: a1@example.net\r\n"
    b"content-type: application/pidf+xml\r\n"
    b"\r\n"
    b"<presence/>\r\n\r\n"
    b"--b1--\r\n"
    b"epilogue"
)
TYPE = 'multipart/related;type="application/rlmi+xml";start="<top@example.net>";boundary=b1'


def test_parts_with_their_ids_and_types() -> None:
    top, one = parse(BODY, TYPE)
    assert (top.content_id, top.body) == ("top@example.net", b"<list/>")
    assert top.content_type and top.content_type.essence == "application/rlmi+xml"
    assert top.content_type.charset == "UTF-8"
    assert (one.content_id, one.body) == ("a1@example.net", b"<presence/>\r\n")


def test_lf_line_ends_and_no_closing_delimiter() -> None:
    lf = BODY.replace(b"\r\n", b"\n")
    assert [p.body for p in parse(lf, TYPE)] == [b"<list/>", b"<presence/>\n"]
    cut = lf[: lf.index(b"\n\n--b1--")]
    assert [p.body for p in parse(cut, TYPE)] == [b"<list/>", b"<presence/>"]


def test_parameters_that_need_quotes_may_stand_without() -> None:
    bare = "multipart/related;boundary=b1;start=<top@example.net>;type=application/rlmi+xml"
    assert len(parse(BODY, MediaType.parse(bare))) == 2


def test_a_longer_boundary_is_another_boundary() -> None:
    body = b"--a\r\n\r\n--ab\r\nnot a delimiter\r\n--a--\r\n"
    assert [p.body for p in parse(body, "multipart/mixed;boundary=a")] == [
        b"--ab\r\nnot a delimiter"
    ]


def test_parts_without_headers_or_without_body() -> None:
    body = b"--a\r\n\r\njust text\r\n--a\r\nContent-Type: text/plain\r\n--a--"
    first, second = parse(body, "multipart/mixed;boundary=a")
    assert (first.body, first.content_type, first.headers.items()) == (b"just text", None, [])
    assert second.body == b""
    assert second.content_type and second.content_type.essence == "text/plain"


def test_binary_stays_binary_and_encodings_are_undone() -> None:
    raw = bytes(range(256))
    body = (
        b"--a\r\nContent-Transfer-Encoding: binary\r\n\r\n" + raw + b"\r\n"
        b"--a\r\nContent-Transfer-Encoding: BASE64\r\n\r\nPHByZXNlbmNlLz4=\r\n"
        b"--a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\r\n"
        b"--a\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%x\r\n--a--"
    )
    assert [p.body for p in parse(body, "multipart/mixed;boundary=a")] == [
        raw,
        b"<presence/>",
        b"a=b",
        b"%%%x",
    ]


def test_a_part_that_makes_no_sense_costs_only_itself() -> None:
    body = b"--a\r\nno colon\r\nB@d: x\r\nContent-Type: nonsense\r\n\r\nx\r\n" + BODY.replace(
        b"--b1", b"--a"
    )
    read = parse(body, "multipart/mixed;boundary=a")
    assert (read[0].body[:1], read[0].content_type) == (b"x", None)
    assert [p.body for p in read[1:]] == [b"<list/>", b"<presence/>\r\n"]


@pytest.mark.parametrize(
    "media",
    [
        "multipart/mixed",
        'multipart/mixed;boundary=""',
        "text/plain;boundary=b1",
        'multipart/mixed;boundary="é"',
    ],
)
def test_without_a_boundary_there_is_nothing_to_read(media: str) -> None:
    with pytest.raises(ParseError, match="^Content-Type"):
        parse(BODY, media)


def test_a_body_without_the_boundary_is_refused() -> None:
    with pytest.raises(ParseError, match="^body"):
        parse(b"<presence/>", TYPE)


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(ParseError, match="more than"):
        parse(b"--b1\r\n\r\n\r\n" * (MAX_PARTS + 2), TYPE)


def test_building_names_type_and_start() -> None:
    part = Part(
        Headers(),
        b"<list/>",
        "top@example.net",
        MediaType.parse("application/rlmi+xml;charset=UTF-8"),
    )
    body, media = build([part], "b7", type_="application/rlmi+xml", start="top@example.net")
    assert media == (
        'multipart/related;type="application/rlmi+xml";start="<top@example.net>";boundary=b7'
    )
    assert body == (
        b"--b7\r\nContent-Type: application/rlmi+xml;charset=UTF-8\r\nContent-ID: <top@example.net>\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n<list/>\r\n--b7--\r\n"
    )


def test_a_boundary_that_is_no_token_stands_in_quotes() -> None:
    assert build([], "b=7")[1] == 'multipart/related;boundary="b=7"'


def test_a_boundary_inside_a_part_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        build([Part(Headers(), b"x\r\n--b7\r\n")], "b7")
    with pytest.raises(LocalProtocolError):
        build([], "b\r\n")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_what_is_built_is_read_back(bodies: list[bytes]) -> None:
    parts = [Part(Headers(), b, f"{i}@x", MediaType("text/plain")) for i, b in enumerate(bodies)]
    body, media = build(parts, "zzBOUNDARYzz", subtype="mixed")
    read = parse(body, media)
    assert [p.body for p in read] == bodies
    assert [p.content_id for p in read] == [p.content_id for p in parts]
    assert [p.content_type for p in read] == [p.content_type for p in parts]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from([b"--a", b"\r\n", b"\n", b"--", b"x: y", b":", b" ", b"\r", b"z"]),
        max_size=20,
    )
)
def test_any_body_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        parse(b"".join(pieces), "multipart/mixed;boundary=a")
    except ParseError as error:
        assert error.field == "body"


CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
FOLDERS = CORPUS / "sip"
outside = pytest.mark.skipif(not FOLDERS.exists(), reason="the reference corpus is not at hand")


@outside
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("presence/resip-rls-1.sip", 3),
        ("own/ho-rls-unquoted-boundary-order.sip", 3),
        ("own/ho-rls-bad-part.sip", 3),
        ("own/ho-rls-partial.sip", 2),
        ("own/ho-multipart-mixed-pidf.sip", 2),
        ("captured/kamailio-024-sub-rls.sip", 1),
        ("torture/mpart01.dat", 2),
    ],
)
def test_bodies_of_real_messages(name: str, parts: int) -> None:
    message = parse_datagram((FOLDERS / name).read_bytes())
    assert isinstance(message, Message)
    assert message.content_type
    read = parse(message.body, message.content_type)
    assert len(read) == parts
    assert all(part.body and part.content_type for part in read)


@outside
def test_a_body_with_lf_only() -> None:
    data = (FOLDERS / "presence" / "resip-multipart-body.bytes").read_bytes()
    head, _, body = data.partition(b"\n\n")
    media = multipart.parse_part_headers(head).get("Content-Type")
    assert media
    assert [p.content_type and p.content_type.essence for p in parse(body, media)] == [
        "application/rlmi+xml",
        "application/pidf+xml",
        "application/pidf+xml",
    ]
