"""The reference corpus of SIP messages, where it is at hand: each verdict and each fact."""

import json
import os
from pathlib import Path

import pytest

from sipbridge.cli.decode import decode
from sipbridge.sip.digest import parse_challenges
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.parser import parse_datagram

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
INDEX = CORPUS / "sip" / "index.json"
CASES: list[dict[str, object]] = json.loads(INDEX.read_text())["messages"] if INDEX.exists() else []

pytestmark = pytest.mark.skipif(not CASES, reason="the reference corpus is not at hand")


def names(case: dict[str, object]) -> str:
    return str(case["file"])


def expectation(case: dict[str, object]) -> dict[str, object]:
    expect = case["expect"]
    assert isinstance(expect, dict)
    return expect


def hints_allowed(respond: object) -> set[int | None]:
    """What `A or B` of the index stands for."""
    if respond is None:
        return {None}
    return {int(w) if w.isdigit() else None for w in str(respond).split(" or ")}


def read(case: dict[str, object]) -> bytes:
    return (CORPUS / "sip" / names(case)).read_bytes()


@pytest.mark.parametrize("case", CASES, ids=names)
def test_verdict_and_hint_are_as_listed(case: dict[str, object]) -> None:
    told = decode(read(case))
    json.dumps(told, ensure_ascii=False).encode()
    wanted, respond = expectation(case)["parse"], expectation(case).get("respond")
    if wanted == "accept-keepalive":
        assert told == {"kind": "keepalive"}
    elif wanted == "either":
        assert told["verdict"] in ("accept", "reject")
    elif wanted == "body-only":
        assert (told["verdict"], told["status_hint"]) == ("reject", None)
    elif wanted == "reject":
        assert told["verdict"] == "reject", told
        assert told["status_hint"] in hints_allowed(respond), told["reason"]
    else:
        assert told["verdict"] == "accept", told["reason"]
        assert told["status_hint"] in hints_allowed(respond), told["reason"]


def fact_of(message: Message, name: str, sample: object) -> object:
    """A fact of the index through the typed properties."""
    state, event, media = message.subscription_state, message.event, message.content_type
    if name == "first_line":
        return message.start_line()
    if name == "content_type" and isinstance(sample, str) and ";" in sample:
        return message.headers.get("Content-Type")
    if name == "subscription_state" and isinstance(sample, str) and ";" in sample:
        return message.headers.get("Subscription-State")
    if name == "expires":
        return type(sample)(message.expires)  # type: ignore[call-arg]
    if name == "challenges":
        return [
            [c.algorithm, c.nonce]
            for c in parse_challenges(message.headers.get_all("WWW-Authenticate"))
        ]
    facts: dict[str, object] = {
        "body_length": len(message.body),
        "event": event and event.package,
        "event_id": event and event.id,
        "content_type": media and media.essence,
        "subscription_state": state and state.state,
        "state_expires": state and state.expires,
        "reason": state and state.reason,
        "retry_after": state and state.retry_after,
        "from_tag": message.from_.tag,
    }
    if isinstance(message, Request):
        facts |= {
            "method": message.method,
            "user": message.request_uri.username,
            "host": message.request_uri.host,
        }
    if isinstance(message, Response):
        facts["status"] = message.status
    return facts[name] if name in facts else getattr(message, name)


OF_THE_BODY = {"list_uri", "version", "full", "resources", "not_sip"}
WITH_FACTS = [case for case in CASES if expectation(case).get("facts")]


@pytest.mark.parametrize("case", WITH_FACTS, ids=names)
def test_facts_come_out(case: dict[str, object]) -> None:
    facts = expectation(case)["facts"]
    assert isinstance(facts, dict)
    wanted = {name: value for name, value in facts.items() if name not in OF_THE_BODY}
    if not wanted:
        pytest.skip("all facts are about the document")
    message = parse_datagram(read(case))
    assert isinstance(message, Message)
    assert {name: fact_of(message, name, value) for name, value in wanted.items()} == wanted
