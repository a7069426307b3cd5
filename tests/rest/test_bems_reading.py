"""BEMS requests from JSON to values; what is wrong with them is tried over HTTP in `test_bems.py`."""

import json
from typing import Any

import pytest

from sipbridge.gateway.sessions import Operation
from sipbridge.identities import NormalisingIdentities
from sipbridge.rest.bems_models import Refusal
from sipbridge.rest.bems_reading import METHODS, NOT_PRESENCE, Begin, Call, Mistaken, ids, read

IDENTITIES = NormalisingIdentities()


def call(method: str, **params: Any) -> Call:
    body = {"jsonrpc": "2.0", "id": "c1", "method": method, "params": params}
    batch, (found,) = read(json.dumps(body).encode(), IDENTITIES)
    assert not batch and isinstance(found, Call), found
    return found


def test_contacts_in_both_forms() -> None:
    name = "UnRegisterTempRemotePresence"
    assert call(name, contactId="sip:a@b").request.contacts == ("sip:a@b",)
    assert call(name, contactIds=["a@b", "sip:c@d"]).request.contacts == ("a@b", "sip:c@d")
    assert call(name, contactId=None, contactIds=["a@b"]).request.contacts == ("a@b",)
    both = call(f"{name}Subscription", contactId="a@b", contactIds=["c@d"])
    assert both.request.contacts == ("a@b",)
    assert both.request.method == f"{name}Subscription"
    assert both.request.operation is Operation.UNREGISTER


@pytest.mark.parametrize(
    ("said", "yes"),
    [("true", True), ("1", True), ("now", True), ("false", False), ("FALSE", False)]
    + [("0", False), ("", False), (" ", False)],
)
def test_reconnect_is_any_word_but_two(said: str, yes: bool) -> None:
    assert call("Ping", reconnect=said).reconnect is yes
    unregister = call("UnRegisterTempRemotePresence", contactId="a@b", state=said)
    assert unregister.reconnect is yes
    assert call("Ping", state=said).reconnect is False


def test_dependencies_are_ids_with_commas() -> None:
    assert call("Ping", dependencies="c1, c2 ,,c3").request.depends == ("c1", "c2", "c3")
    assert call("Ping", dependencies=None).request.depends == ()


def test_a_message_that_is_absent_is_not_an_empty_one() -> None:
    assert call("SetPresence", presence="Busy").request.message is None
    request = call("SetPresence", presence="be right back", personalMessage="").request
    assert (request.presence, request.message) == ("berightback", "")


def test_begin_session_takes_what_old_and_new_clients_send() -> None:
    found = call(
        "BeginSession",
        gdAuthToken="a",
        gdToken="g",
        userId="somebody",
        deviceToken="d",
        gnpToken="p",
        presence="",
        appVersion="3.8",
    )
    assert found.begin == Begin("a", "g", "d", "p")
    assert found.request.presence == ""


def test_words_of_ours_and_of_others_do_not_overlap() -> None:
    assert not METHODS.keys() & NOT_PRESENCE
    body = [
        {"jsonrpc": "2.0", "id": "a", "method": "AcceptChat"},
        {"jsonrpc": "2.0", "id": "b", "method": "Nothing"},
        {"jsonrpc": "2.0", "method": "Ping"},
        {"jsonrpc": "2.0", "id": 7, "method": "Ping"},
    ]
    batch, calls = read(json.dumps(body).encode(), IDENTITIES)
    assert batch
    codes = [c.refusal.problem.code if isinstance(c, Mistaken) else 0 for c in calls]
    assert codes == [1026, -32601, -32600, 0]
    assert list(ids(calls, range(4))) == ["a", "b", "7"]
    assert [c.method for c in calls if isinstance(c, Mistaken)] == ["AcceptChat", "", ""]


@pytest.mark.parametrize("body", [b"[]", b"[" + b"1," * 100 + b"1]"])
def test_a_batch_has_one_to_a_hundred_requests(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read(body, IDENTITIES)
    assert caught.value.problem.code == -32600
