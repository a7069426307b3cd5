"""Recorded and torture messages through a whole core: nothing breaks it, and the answer is the expected one.

The corpus lies outside the repository; SIPBRIDGE_CORPUS names its folder.
"""

import json
import os
from pathlib import Path

import pytest

from sipbridge.sip.flow import Flow
from sipbridge.sip.message import Request
from sipbridge.sip.parser import MessageError, parse_datagram
from tests.harness.pair import BOB, Answers, Pair

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared/corpus"
)
INDEX = CORPUS / "sip" / "index.json"
MESSAGES = json.loads(INDEX.read_text())["messages"] if INDEX.exists() else []
SERVED = {"SUBSCRIBE", "NOTIFY", "PUBLISH"}

pytestmark = pytest.mark.skipif(not MESSAGES, reason=f"no corpus at {CORPUS}")


def expected(data: bytes, respond: object) -> set[int] | None:
    """Statuses a socket may see; an empty set: no answer; None: anything."""
    try:
        message = parse_datagram(data)
    except MessageError as error:
        return {error.status_hint} if error.status_hint is not None else set()
    if not isinstance(message, Request) or message.method == "ACK":
        return set()
    words = str(respond).split()
    if respond is None or "either" in words or "handled" in words:
        return None
    statuses = {int(word) for word in words if word.isdigit()}
    return statuses | ({405} if message.method not in SERVED | {"OPTIONS"} else set())


@pytest.mark.parametrize("entry", MESSAGES, ids=lambda entry: str(entry["file"]))
def test_the_core_survives_it_and_answers_as_expected(entry: dict[str, object]) -> None:
    pair = Pair()
    for method in SERVED:
        pair.bob.serve(method, Answers(200))
    data = (CORPUS / "sip" / str(entry["file"])).read_bytes()
    flow = Flow("udp", BOB, ("192.0.2.99", 5060))
    pair.bob.receive_datagram(data, flow, pair.now)
    # Read by hand: an answer repeats what identifies the request, even where that is no valid text.
    statuses = [int(sent.data.split(b" ")[1]) for sent in pair.bob.transmits()]
    assert len(statuses) <= 1
    expect = entry["expect"]
    assert isinstance(expect, dict)
    wanted = expected(data, expect["respond"])
    if wanted is not None and expect["parse"] != "either":
        assert set(statuses) <= wanted, (statuses, wanted)
        assert bool(statuses) == bool(wanted)
