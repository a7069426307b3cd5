"""Requests, replies, advice and error strings."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.bayeux import messages
from sipbridge.errors import ParseError


def test_one_message_and_a_list_are_the_same() -> None:
    assert messages.decode(b'{"channel":"/a"}') == messages.decode(b'[{"channel":"/a"}]')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"[3]",
        b"[[]]",
        b'[{"id":"1"}]',
        b'[{"channel":1}]',
        b"\xff\xfe",
        b'"text"',
        b"[" * 100_000,
        b'{"channel":' * 50_000,
        b'[{"channel":"\\ud800"}]',
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(ParseError):
        messages.decode(body)


def test_a_hundred_messages_are_enough() -> None:
    one = b'{"channel":"/a"}'
    assert len(messages.decode(messages.encode([one] * 100))) == 100
    with pytest.raises(ParseError, match="more than 100"):
        messages.decode(messages.encode([one] * 101))


def test_an_event_has_a_channel_and_data_and_nothing_else() -> None:
    event = messages.event("/bayeux/app1", b'{"statusEnd":{"correlator":"c"}}')
    assert orjson.loads(event) == {
        "channel": "/bayeux/app1",
        "data": {"statusEnd": {"correlator": "c"}},
    }


@pytest.mark.parametrize(
    ("ident", "good"),
    [
        ("1", True),
        (7, True),
        (0.5, True),
        ("2f1e3c9a-0000-4000-8000-000000000000", True),
        (None, True),
        ("x" * 65, False),
        (True, False),
        ([1], False),
        ({}, False),
    ],
)
def test_ids_are_numbers_or_short_strings(ident: object, good: bool) -> None:
    assert messages.has_good_id({"channel": "/a", "id": ident}) is good


@pytest.mark.parametrize(
    ("minimum", "too_new"),
    [
        ("1.0", False),
        ("0.9", False),
        ("1", False),
        ("1.0beta", False),
        (None, False),
        ("x", False),
        ("1.1", True),
        ("2", True),
        ("2.0", True),
    ],
)
def test_only_a_minimum_above_one_is_too_new(minimum: object, too_new: bool) -> None:
    assert messages.asks_too_new(minimum) is too_new


def test_credentials_in_ext_stand_for_a_header() -> None:
    basic = {"channel": "/a", "ext": {"authentication": {"user": "app1", "credentials": "pä:w"}}}
    header = messages.authorization(basic)
    assert header is not None
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "app1:pä:w"
    token = {"channel": "/a", "ext": {"authentication": {"token": "abc"}}}
    assert messages.authorization(token) == "Bearer abc"


@pytest.mark.parametrize(
    "ext",
    [
        None,
        3,
        {},
        {"authentication": 1},
        {"authentication": {"user": 1, "credentials": "x"}},
        {"authentication": {"user": "a:b", "credentials": "x"}},
        {"authentication": {"token": "a\r\nX: y"}},
    ],
)
def test_anything_else_in_ext_is_no_credential(ext: object) -> None:
    assert messages.authorization({"channel": "/a", "ext": ext}) is None


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_numbers_are_read_from_anything(value: object) -> None:
    found = messages.number({"x": value}, "x")
    assert found is None or 0 <= found <= messages.MAX_NUMBER
