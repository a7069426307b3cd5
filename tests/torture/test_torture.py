"""Messages in the spirit of RFC 4475 and 5118, and of presence, each with its verdict in `verdicts.toml`.

The messages are bytes: line ends, folds and control characters are the point of many. Every file is in the
table and every entry has a file; a message that cannot be judged as the table says is an `xfail` with its
reason, never a comment.
"""

import tomllib
from pathlib import Path
from typing import TypedDict

import pytest

from sipbridge.cli.decode import decode
from sipbridge.sip.message import Message
from sipbridge.sip.parser import MessageError, StreamParser, parse_datagram

HERE = Path(__file__).parent


class Entry(TypedDict):
    verdict: str
    status: int
    what: str
    rfc: str


TABLE: dict[str, Entry] = tomllib.loads((HERE / "verdicts.toml").read_text())


def data_of(name: str) -> bytes:
    return (HERE / "messages" / f"{name}.sip").read_bytes()


def test_every_file_has_its_verdict() -> None:
    assert {path.stem for path in (HERE / "messages").glob("*.sip")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_verdict(name: str) -> None:
    told, entry = decode(data_of(name)), TABLE[name]
    if entry["verdict"] == "keepalive":
        assert told == {"kind": "keepalive"}
        return
    assert told["verdict"] == entry["verdict"], told["reason"]
    assert (told["status_hint"] or 0) == entry["status"], told["reason"]


ACCEPTED = [name for name, entry in TABLE.items() if entry["verdict"] == "accept"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_is_printed_and_read_again(name: str) -> None:
    first = parse_datagram(data_of(name))
    assert isinstance(first, Message)
    again = parse_datagram(bytes(first))
    assert isinstance(again, Message)
    assert bytes(again) == bytes(first)
    assert again.body == first.body


@pytest.mark.parametrize("name", TABLE)
def test_over_a_stream_nothing_but_messages_and_message_errors(name: str) -> None:
    for found in StreamParser().feed(data_of(name)):
        assert not isinstance(found, Message) or bytes(found)


def test_two_messages_of_a_datagram_are_two_over_a_stream() -> None:
    found = StreamParser().feed(data_of("two-in-one-datagram"))
    assert [type(one).__name__ for one in found] == ["Request", "Request"]


@pytest.mark.parametrize(
    "name", ["length-negative", "length-word", "length-two-values", "publish-no-length"]
)
def test_a_stream_without_a_length_is_lost(name: str) -> None:
    (error,) = StreamParser().feed(data_of(name))
    assert isinstance(error, MessageError)
    assert error.fatal
