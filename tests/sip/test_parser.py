import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipbridge.sip.defects import defects
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.parser import (
    DEFAULT_LIMITS,
    KEEP_ALIVE,
    MAX_HEAD,
    MAX_HEADERS,
    MAX_LINE,
    MAX_MESSAGE,
    MAX_REFUSED,
    KeepAlive,
    Limits,
    MessageError,
    StreamParser,
    parse_any_datagram,
    parse_datagram,
)

REQUEST = (
    b"NOTIFY sip:w@192.0.2.4:5062 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKn1\r\n"
    b"From: <sip:r@example.com>;tag=f1\r\n"
    b"To: <sip:w@example.com>;tag=t1\r\n"
    b"Call-ID: n1@192.0.2.9\r\n"
    b"CSeq: 2 NOTIFY\r\n"
    b"Event: presence\r\n"
    b"Subscription-State: active;expires=599\r\n"
    b"Content-Type: application/pidf+xml\r\n"
    b"Content-Length: 11\r\n"
    b"\r\n"
    b"<presence/>"
)
RESPONSE = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKn1\r\nCSeq: 2 NOTIFY\r\n"
    b"l:    0\r\n\r\n"
)


def read(data: bytes) -> Message:
    message = parse_datagram(data)
    assert isinstance(message, Message)
    return message


def refused(data: bytes, limits: Limits = DEFAULT_LIMITS) -> MessageError:
    with pytest.raises(MessageError) as caught:
        parse_datagram(data, limits)
    return caught.value


def test_a_request_and_a_response() -> None:
    request = parse_datagram(REQUEST)
    assert isinstance(request, Request)
    assert (request.method, request.uri) == ("NOTIFY", "sip:w@192.0.2.4:5062")
    assert request.body == b"<presence/>"
    response = parse_datagram(RESPONSE)
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.body) == (200, "OK", b"")


def test_bytes_after_content_length_are_dropped_in_a_datagram() -> None:
    assert read(REQUEST + b"SUBSCRIBE sip:x SIP/2.0\r\n").body == b"<presence/>"


def test_without_content_length_a_datagram_reaches_to_its_end() -> None:
    bare = REQUEST.replace(b"Content-Length: 11\r\n", b"")
    assert read(bare).body == b"<presence/>"


def test_line_ends_after_the_empty_line_are_no_body() -> None:
    bare = REQUEST.replace(b"Content-Length: 11\r\n", b"").replace(b"<presence/>", b"\r\n\r\n")
    assert read(bare).body == b""
    counted = REQUEST.replace(b"11", b"2").replace(b"<presence/>", b"\r\n")
    assert read(counted).body == b"\r\n"


def test_padding_and_repetition_of_content_length() -> None:
    assert read(REQUEST.replace(b": 11", b":   11  ")).body == b"<presence/>"
    assert read(REQUEST.replace(b": 11\r\n", b": 11\r\nl: 11\r\n")).body == b"<presence/>"
    assert refused(REQUEST.replace(b": 11\r\n", b": 11\r\nl: 10\r\n")).field == "Content-Length"


@pytest.mark.parametrize(
    "length", [b"-1", b"+11", b"0x0b", b"", b"eleven", b"12", b"18446744073709551616", "²".encode()]
)
def test_a_wrong_content_length_is_refused(length: bytes) -> None:
    error = refused(REQUEST.replace(b": 11", b": " + length))
    assert (error.status_hint, error.field) == (400, "Content-Length")
    assert error.partial and error.partial.call_id == "n1@192.0.2.9"


def test_folded_lines_are_joined() -> None:
    folded = REQUEST.replace(b"CSeq: 2 NOTIFY", b"cseq :\r\n  0002\r\n\tNOTIFY").replace(
        b"To: <", b"t:\r\n <"
    )
    message = read(folded)
    assert str(message.cseq) == "2 NOTIFY"
    assert message.to.tag == "t1"
    assert "\n" not in str(message.headers.items())


def test_lf_line_ends_throughout_are_read() -> None:
    message = read(REQUEST.replace(b"\r\n", b"\n"))
    assert (message.call_id, message.body) == ("n1@192.0.2.9", b"<presence/>")


@pytest.mark.parametrize("inside", [b"a\nVia: x", b"a\rVia: x", b"a\r", b"\r \n"])
def test_a_bare_cr_or_lf_in_a_crlf_message_is_refused(inside: bytes) -> None:
    assert refused(REQUEST.replace(b"Event: presence", b"Event: " + inside)).status_hint == 400


def test_control_characters_are_for_quoted_strings_only() -> None:
    named = REQUEST.replace(b"To: <", b'To: "NUL:\\\x00" <')
    assert read(named).to.display_name == "NUL:\x00"
    assert refused(REQUEST.replace(b"n1@", b"n\x001@")).field == "Call-ID"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"NOTIFY  sip:w@x SIP/2.0", 400),
        (b"NOTIFY sip:w@x  SIP/2.0", 400),
        (b"NOTIFY sip:w@x SIP/2.0 ", 400),
        (b"NOTIFY sip:w@x;lr, sip:y SIP/2.0", 400),
        (b"NOTIFY sip:w@x", 400),
        (b"NO(TIFY sip:w@x SIP/2.0", 400),
        (b"NOTIFY  SIP/2.0", 400),
        (b"NOTIFY sip:w@x SIP/7.0", 505),
        (b"NOTIFY sip:w@x SIP/2.0.0", 505),
        (b"NOTIFY sip:w@x HTTP/1.1", 400),
        (b"SIP/2.0 20 OK", None),
        (b"SIP/2.0 4294967301 better not", None),
        (b"SIP/2.0 700 x", None),
        (b"SIP/2.0 099 x", None),
        (b"SIP/3.0 200 OK", None),
        (b"SIP/2.0", None),
    ],
)
def test_start_lines_that_are_refused(line: bytes, status: int | None) -> None:
    error = refused(REQUEST.replace(b"NOTIFY sip:w@192.0.2.4:5062 SIP/2.0", line))
    assert error.status_hint == status
    assert (error.partial is None) == line.startswith(b"SIP/")


def test_the_version_ignores_case_and_the_reason_may_be_missing() -> None:
    assert read(REQUEST.replace(b"SIP/2.0\r\nVia", b"sip/2.0\r\nVia")).call_id
    for line in (b"sip/2.0 200 ", b"SIP/2.0 200"):
        message = read(RESPONSE.replace(b"SIP/2.0 200 OK", line))
        assert isinstance(message, Response)
        assert message.status == 200


@pytest.mark.parametrize(
    "line", [b"Max-Forwards 70", b": value", b"Bad Name: x", b" folded: first", b"x"]
)
def test_header_lines_that_are_none_are_refused(line: bytes) -> None:
    assert refused(REQUEST.replace(b"Via:", line + b"\r\nVia:", 1)).status_hint == 400


def test_nobody_is_answered_without_via() -> None:
    broken = REQUEST.replace(b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKn1\r\n", b"").replace(
        b"11", b"x"
    )
    assert refused(broken).status_hint is None
    for noise in (b"", b"\0\0\0\0", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x80\x00\x00\x01" * 20):
        error = refused(noise)
        assert error.status_hint is None


def test_the_partial_request_is_enough_for_an_answer() -> None:
    error = refused(REQUEST.replace(b"Event: presence", b"Event presence\r\n folded"))
    assert error.partial
    answer = error.partial.response(400, to_tag="x")
    assert answer.call_id == "n1@192.0.2.9"
    assert str(answer.cseq) == "2 NOTIFY"
    assert answer.top_via.branch == "z9hG4bKn1"


def test_keep_alives() -> None:
    assert parse_datagram(b"\r\n\r\n") is KEEP_ALIVE
    assert parse_datagram(b"\r\n") is KEEP_ALIVE
    assert read(b"\r\n\r\n" + REQUEST).body == b"<presence/>"


def test_limits() -> None:
    def with_line(line: bytes) -> bytes:
        return REQUEST.replace(b"Event:", line + b"\r\nEvent:")

    assert read(with_line(b"S: " + b"a" * (MAX_LINE - 3)))
    assert refused(with_line(b"S: " + b"a" * (MAX_LINE - 2))).status_hint == 400
    assert read(with_line(b"\r\n".join([b"s: x"] * (MAX_HEADERS - 9))))
    assert refused(with_line(b"\r\n".join([b"s: x"] * (MAX_HEADERS - 8)))).status_hint == 400
    lines = b"\r\n".join([b"s: " + b"x" * 8000] * 5)
    assert len(lines) > MAX_HEAD
    assert refused(with_line(lines)).status_hint == 513
    assert refused(REQUEST.ljust(MAX_MESSAGE + 1)).status_hint == 513
    assert read(REQUEST.ljust(MAX_MESSAGE)).body == b"<presence/>"
    assert refused(REQUEST, Limits(head=100)).status_hint == 513
    assert refused(REQUEST, Limits(line=40)).status_hint == 400
    assert refused(REQUEST, Limits(headers=8)).status_hint == 400


def test_an_end_that_never_comes() -> None:
    assert refused(REQUEST[:-13]).status_hint == 400


# --- streams ------------------------------------------------------------------------------------------


def shown(found: list[Request | Response | KeepAlive | MessageError]) -> list[object]:
    return [
        bytes(one)
        if isinstance(one, Message)
        else (str(one), one.fatal, one.status_hint)
        if isinstance(one, MessageError)
        else one
        for one in found
    ]


BROKEN = REQUEST.replace(b"Event: presence", b"Event presence")
UNFRAMED = RESPONSE.replace(b"l:    0\r\n", b"")
LF = REQUEST.replace(b"\r\n", b"\n")
PIECES = st.sampled_from(
    [REQUEST, RESPONSE, BROKEN, LF, b"\r\n", b"\r\n\r\n", b"\n", UNFRAMED, b"x\r\n\r\n"]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES, max_size=6), st.lists(st.integers(1, 80), min_size=1, max_size=40))
def test_chunks_make_no_difference(pieces: list[bytes], sizes: list[int]) -> None:
    data = b"".join(pieces)
    whole = shown(StreamParser().feed(data))
    parser, parts, at = StreamParser(), [], 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        parts += parser.feed(data[at : at + size])
        at += size
    assert shown(parts) == whole


def test_messages_follow_each_other() -> None:
    parser = StreamParser()
    found = parser.feed(REQUEST + b"\r\n" + RESPONSE + b"\r\n\r\n" + REQUEST[:-4])
    assert [type(one) for one in found] == [Request, Response, KeepAlive]
    assert parser.pending == len(REQUEST) - 4
    (last,) = parser.feed(REQUEST[-4:])
    assert isinstance(last, Request)
    assert last.body == b"<presence/>"
    assert parser.pending == 0


def test_a_broken_message_with_a_frame_does_not_end_the_stream() -> None:
    error, message = StreamParser().feed(BROKEN + REQUEST)
    assert isinstance(error, MessageError)
    assert (error.fatal, error.status_hint) == (False, 400)
    assert isinstance(message, Request)


@pytest.mark.parametrize(
    "data",
    [
        UNFRAMED,
        REQUEST.replace(b": 11", b": x"),
        REQUEST.replace(b": 11\r\n", b": 11\r\nl: 10\r\n"),
        REQUEST.replace(b": 11", b": 99999"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * (MAX_HEAD + 5),
        REQUEST.replace(b"Event:", b"\r\n".join([b"s: " + b"x" * 8000] * 5) + b"\r\nEvent:"),
    ],
)
def test_without_a_frame_the_stream_is_lost(data: bytes) -> None:
    parser = StreamParser()
    (error,) = parser.feed(data)
    assert isinstance(error, MessageError)
    assert error.fatal
    assert parser.feed(REQUEST) == []
    assert parser.pending == 0


def test_a_stream_of_nothing_but_broken_messages_is_given_up() -> None:
    parser = StreamParser()
    found = parser.feed(BROKEN * 100)
    assert len(found) == MAX_REFUSED
    assert [one.fatal for one in found if isinstance(one, MessageError)] == [
        *[False] * (MAX_REFUSED - 1),
        True,
    ]
    assert parser.feed(REQUEST) == []
    patient = StreamParser()
    for _ in range(5):
        assert len(patient.feed(BROKEN * (MAX_REFUSED - 1) + REQUEST)) == MAX_REFUSED
    assert not any(one.fatal for one in patient.feed(BROKEN) if isinstance(one, MessageError))


def test_single_bytes_cost_linear_time() -> None:
    parser = StreamParser()
    found = [
        one
        for byte in LF.replace(b"Event", b"s: " + b"x" * 8000 + b"\nEvent")
        for one in parser.feed(bytes([byte]))
    ]
    assert len(found) == 1


# --- anything at all ----------------------------------------------------------------------------------


def outcome(parse: object, data: bytes) -> object:
    assert callable(parse)
    try:
        found = parse(data, DEFAULT_LIMITS)
    except MessageError as error:
        return str(error), error.status_hint
    if isinstance(found, Message):
        return found.start_line(), found.headers.items(), found.headers.repeated, found.body
    return found


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from([REQUEST, RESPONSE, LF, BROKEN])))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 6))
        data[at : at + cut] = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b"\r\n", b"\n", b"\r", b" ", b"\r\n ", b":", b'"', b"l: 3\r\n", b";", b","]
            )
        )
    return bytes(data)


@settings(deadline=None, max_examples=400)
@given(mutated() | st.binary(max_size=200))
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example(b"\r\n\r\n\r\nA")
def test_the_short_way_says_what_the_long_way_says(data: bytes) -> None:
    assert outcome(parse_datagram, data) == outcome(parse_any_datagram, data)


@settings(deadline=None, max_examples=400)
@given(mutated() | st.binary(max_size=200))
def test_nothing_but_a_message_error_ever_comes_out(data: bytes) -> None:
    try:
        message = parse_datagram(data)
    except MessageError as error:
        if error.partial:
            assert bytes(error.partial.response(400, to_tag="x")).startswith(b"SIP/2.0 400 ")
    else:
        if isinstance(message, Message):
            defects(message)
            assert isinstance(read(bytes(message)), Message)
    StreamParser().feed(data)
