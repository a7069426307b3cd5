"""The JSON of BEMS answers and messages, and the numbers of errors."""

import json

import pytest

from sipbridge import errors
from sipbridge.gateway.sessions import Operation, Request
from sipbridge.gateway.wording import Contact
from sipbridge.mapping.bems import BemsPresence
from sipbridge.mapping.rows import Availability
from sipbridge.rest.bems_models import (
    PARSE_ERROR,
    Refusal,
    State,
    Words,
    immediate,
    problem_of,
    refused,
)

REQUEST = Request("c58", "RegisterTempRemotePresence", Operation.REGISTER, ("sip:a@b",))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal(PARSE_ERROR), -32700),
        (RuntimeError("ours"), 1005),
        (errors.StoreUnavailable("disk"), 1005),
        (errors.InvalidValue("x", part="contactId"), 1012),
        (errors.AgainstPolicy("x", rule="group"), 1012),
        (errors.AgainstPolicy("x", rule="identity"), 1013),
        (errors.SessionOver("x"), 1017),
        (errors.QuotaExceeded("q", "x", retry_after=1.0), 1018),
        (errors.TransactionTimeout(), 1019),
        (errors.TransportFailed(), 1019),
        (errors.RequestRejected(500, "x"), 1019),
        (errors.RequestRejected(503, "x"), 1019),
        (errors.RequestRejected(403, "x"), 1020),
        (errors.RequestRejected(489, "x"), 1020),
        (errors.RequestRejected(603, "x"), 1020),
        (errors.UnknownPresentity("x"), 1020),
        (errors.DependencyFailed("x"), 1021),
        (errors.DependsOnItself("x"), 1023),
        (errors.UnknownDependency("x"), 1024),
        (errors.ActionPending("x"), 1025),
    ],
)
def test_every_error_has_its_number(error: Exception, code: int) -> None:
    assert problem_of(error).code == code


def test_immediate_answers_have_their_members_in_their_order() -> None:
    answer = immediate(REQUEST, State.PROCESSING, {})
    assert list(answer) == ["id", "error", "result", "jsonrpc", "background"]
    assert answer["error"] is None and answer["background"] is False
    answer = refused(None, PARSE_ERROR)
    assert answer["error"] == {"code": -32700, "message": "PARSE_ERROR"}
    assert answer["result"] is None and answer["id"] is None


def test_messages_have_a_number_and_neither_error_null_nor_background() -> None:
    words = Words("MyChange")
    assert words.completed(1018691100000047, REQUEST, {}) == (
        b'{"id":"c58","sequence":1018691100000047,"result":{"data":{"method":'
        b'"RegisterTempRemotePresence","state":"COMPLETE"}},"jsonrpc":"2.0"}'
    )
    failed = json.loads(words.failed(7, REQUEST, errors.RequestRejected(403, "no")))
    assert failed == {
        "id": "c58",
        "sequence": 7,
        "error": {"code": 1020, "message": "PUBLISH_SUBSCRIBE_EXCPT"},
        "jsonrpc": "2.0",
    }
    state = BemsPresence(Availability.AWAY, 15500, "gone")
    told = json.loads(words.changed(8, [Contact("a@b", state)]))
    assert told.keys() == {"sequence", "result", "jsonrpc"}
    assert told["result"]["data"]["method"] == "MyChange"
    (contact,) = told["result"]["data"]["contacts"]
    assert list(contact.values()) == ["a@b", "away", "gone", 15500]
    lost = json.loads(words.lost(9, 12))
    assert lost["result"]["data"] == {"method": "NotificationsLost", "missing": 12}
