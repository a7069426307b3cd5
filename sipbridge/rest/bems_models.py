"""The JSON of the BEMS messaging interface: what answers look like, and the numbers of its errors.

An answer is JSON-RPC 2.0 with three habits of its own: `error` stands in every immediate answer, null on
success; there is a member `background`, always false for what is served here; and what there is to say is in
`result.data`, with the method and how far it is. The deferred answer has the request's id and a `sequence`
instead. A message that answers nobody has no id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from sipbridge.errors import (
    ActionPending,
    AgainstPolicy,
    DependencyFailed,
    DependsOnItself,
    GatewayError,
    InvalidGroup,
    InvalidValue,
    NotAuthorized,
    RequestRejected,
    SessionOver,
    SignallingError,
    UnknownDependency,
    UnknownPresentity,
)
from sipbridge.gateway.sessions import Request
from sipbridge.gateway.wording import Contact, Data

CHANGED = "ContactStateChanged"
LOST = "NotificationsLost"


class State(StrEnum):
    """How far a request is."""

    PROCESSING = "PROCESSING"
    COMPLETE = "COMPLETE"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as clients know it."""

    code: int
    text: str

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.text}


class Refusal(Exception):
    """A request that is refused with a certain error."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


PARSE_ERROR = Problem(-32700, "PARSE_ERROR")
INVALID_REQUEST = Problem(-32600, "INVALID_REQUEST")
METHOD_NOT_FOUND = Problem(-32601, "METHOD_NOT_FOUND")
INVALID_PARAMS = Problem(-32602, "INVALID_PARAMS")
GENERAL_FAILURE = Problem(1005, "GENERAL_FAILURE")
INVALID_GD_TOKEN = Problem(1007, "INVALID_GD_TOKEN")
INVALID_GD_AUTHTOKEN = Problem(1008, "INVALID_GD_AUTHTOKEN")
NULL_ARGUMENT = Problem(1011, "NULL_ARGUMENT")
INVALID_ARGUMENT = Problem(1012, "INVALID_ARGUMENT")
INVALID_OPERATION = Problem(1013, "INVALID_OPERATION")
CLIENT_SESSION_TIMEOUT = Problem(1017, "CLIENT_SESSION_TIMEOUT")
OPERATION_FAILURE = Problem(1018, "OPERATION_FAILURE")
RT_EXCEPTION = Problem(1019, "RT_EXCEPTION")
PUBLISH_SUBSCRIBE_EXCPT = Problem(1020, "PUBLISH_SUBSCRIBE_EXCPT")
DEPENDENT_REQUEST_FAILED = Problem(1021, "DEPENDENT_REQUEST_FAILED")
SELF_REFERENCE_DEPENDENCY = Problem(1023, "SELF_REFERENCE_DEPENDENCY")
UNKNOWN_BATCH_DEPENDENCY = Problem(1024, "UNKNOWN_BATCH_DEPENDENCY")
ACTION_PENDING = Problem(1025, "ACTION_PENDING")
NOT_SUPPORTED_BY_SERVER = Problem(1026, "NOT_SUPPORTED_BY_SERVER")

PROBLEMS: Mapping[type[Exception], Problem] = {
    Exception: GENERAL_FAILURE,
    GatewayError: OPERATION_FAILURE,
    InvalidValue: INVALID_ARGUMENT,
    InvalidGroup: INVALID_ARGUMENT,
    AgainstPolicy: INVALID_OPERATION,
    SessionOver: CLIENT_SESSION_TIMEOUT,
    SignallingError: RT_EXCEPTION,
    UnknownPresentity: PUBLISH_SUBSCRIBE_EXCPT,
    NotAuthorized: PUBLISH_SUBSCRIBE_EXCPT,
    DependencyFailed: DEPENDENT_REQUEST_FAILED,
    DependsOnItself: SELF_REFERENCE_DEPENDENCY,
    UnknownDependency: UNKNOWN_BATCH_DEPENDENCY,
    ActionPending: ACTION_PENDING,
}
"""An error without a row of its own takes that of its nearest ancestor."""


def problem_of(error: Exception) -> Problem:
    """What an error is called here. A refusal by the SIP side is 1020, its failure 1019."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, RequestRejected) and not 500 <= error.status <= 599:
        return PUBLISH_SUBSCRIBE_EXCPT
    if isinstance(error, AgainstPolicy) and error.rule == "group":
        return INVALID_ARGUMENT
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def immediate(request: Request, state: State, more: Data) -> dict[str, object]:
    """The answer to a request that was accepted."""
    data = {"method": request.method, "state": state.value, **more}
    return {
        "id": request.id,
        "error": None,
        "result": {"data": data},
        "jsonrpc": "2.0",
        "background": False,
    }


def refused(id: str | int | None, problem: Problem) -> dict[str, object]:
    """The answer to one that was not."""
    return {
        "id": id,
        "error": problem.to_json(),
        "result": None,
        "jsonrpc": "2.0",
        "background": False,
    }


class Words:
    """`gateway.wording.Wording`. changed: the method of messages about contacts."""

    def __init__(self, changed: str = CHANGED) -> None:
        self.change_method = changed

    def completed(self, sequence: int, request: Request, data: Data) -> bytes:
        told = {"method": request.method, "state": State.COMPLETE.value, **data}
        return orjson.dumps(
            {"id": request.id, "sequence": sequence, "result": {"data": told}, "jsonrpc": "2.0"}
        )

    def failed(self, sequence: int, request: Request, error: Exception) -> bytes:
        problem = problem_of(error).to_json()
        return orjson.dumps(
            {"id": request.id, "sequence": sequence, "error": problem, "jsonrpc": "2.0"}
        )

    def changed(self, sequence: int, contacts: Sequence[Contact]) -> bytes:
        told = [self.contact(contact) for contact in contacts]
        return self.told(sequence, {"method": self.change_method, "contacts": told})

    def lost(self, sequence: int, missing: int) -> bytes:
        return self.told(sequence, {"method": LOST, "missing": missing})

    def told(self, sequence: int, data: Data) -> bytes:
        return orjson.dumps({"sequence": sequence, "result": {"data": data}, "jsonrpc": "2.0"})

    def contact(self, contact: Contact) -> Data:
        return {
            "contactId": contact.contact,
            "presence": contact.state.presence.value,
            "personalMessage": contact.state.personal_message,
            "availability": contact.state.availability,
        }
