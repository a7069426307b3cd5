"""The corpus's list notifications, where it is at hand: from the bytes to each member's presence."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sipbridge.errors import DocumentError
from sipbridge.events.resource_list import ListChange, ListView, Member
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import read
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import parse_datagram

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
INDEX = CORPUS / "sip" / "index.json"
MESSAGES: list[dict[str, Any]] = json.loads(INDEX.read_text())["messages"] if INDEX.exists() else []
FACTS: dict[str, dict[str, Any]] = {
    m["file"]: m["expect"]["facts"] for m in MESSAGES if "resources" in m["expect"].get("facts", {})
}

pytestmark = pytest.mark.skipif(not FACTS, reason="the reference corpus is not at hand")


CONTENT_LENGTH = re.compile(rb"Content-Length: \d+\r\n")


def message(name: str) -> Request:
    data = (CORPUS / "sip" / name).read_bytes()
    if name.startswith("presence/resip-rls"):
        data = CONTENT_LENGTH.sub(b"", data)  # it is wrong in both
    parsed = parse_datagram(data)
    assert isinstance(parsed, Request)
    return parsed


def received(view: ListView, name: str) -> ListChange:
    request = message(name)
    return view.receive(request.headers.get("Content-Type") or "", request.body)


def basic_of(member: Member) -> str | None:
    """What the member's document says, None when there is none that can be read."""
    try:
        document = read(member.body, member.content_type)
    except DocumentError:
        return None
    assert isinstance(document, Presence)
    return None if document.tuples[0].basic is None else document.tuples[0].basic.value


def told(change: ListChange) -> dict[str, list[str | None]]:
    return {m.uri: [m.state or None, basic_of(m)] for m in change.members}


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_member_has_the_state_and_the_presence_listed(name: str) -> None:
    wanted = FACTS[name]
    view = ListView()
    change = received(view, name)
    assert {uri: told(change)[uri] for uri in wanted["resources"]} == wanted["resources"]
    assert change.missed == (not wanted.get("full", True))
    if "version" in wanted:
        assert view.version == wanted["version"]


def test_the_rfc_example_in_two_steps_with_a_signed_list_in_the_list() -> None:
    view = ListView()
    others = "sip:adam-friends@example.org"
    assert told(received(view, "presence/resip-rls-1.sip")) == {
        "sip:bob@example.com": ["active", "open"],
        "sip:dave@example.com": ["active", "closed"],
        "sip:ed@example.net": [None, None],
        others: [None, None],
    }
    second = received(view, "presence/resip-rls-2.sip")
    assert not second.missed
    assert told(second) == {
        "sip:ed@example.net": ["pending", None],
        "sip:joe@example.org": ["active", "open"],
        "sip:mark@example.org": ["active", "closed"],
    }
    assert others not in view.roster()
    assert view.roster()["sip:joe@example.org"].name == "Joe Thomas"


def test_what_a_deployed_server_sends_first_names_everybody_and_says_nothing_of_them() -> None:
    answer = parse_datagram((CORPUS / "sip" / "captured/kamailio-023-sub-rls.sip").read_bytes())
    assert isinstance(answer, Response)
    assert answer.require == ["eventlist"]
    view = ListView()
    change = received(view, "captured/kamailio-024-sub-rls.sip")
    assert [(m.uri, m.state, m.body) for m in change.members] == [
        (f"sip:{user}@example.org", "", b"") for user in ("nadia", "otto", "ghost")
    ]
    assert not change.missed
