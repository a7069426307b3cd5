"""Errors as HTTP: one table from error class to status and fault, one from fault to its text.

A fault is what Parlay X calls a ServiceException (`SVC…`) or PolicyException (`POL…`): an id, a text with
places `%1`, `%2`, and the variables that fill them. A failed request answers with the table's status and

    {"error": {"type", "message", "messageId", "text", "variables", "detail", "requestId"}}

where `type` and `message` are for old readers, the next three for machines, `detail` says in words what was
wrong and `requestId` finds the request in the log. With the envelope "oneapi" the same stands in
`{"requestError": {"serviceException" | "policyException": …}}`.

The session manager's own failures are of the type GeneralException instead.

The tables are data: nothing else in this package knows a status or a fault id. An error class without a row
of its own takes that of its nearest ancestor, but a test insists that every class has one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import orjson

from sipbridge.errors import (
    ActionPending,
    AgainstPolicy,
    ConcurrentChange,
    ConfigurationError,
    CorrelatorInUse,
    DependencyFailed,
    DependsOnItself,
    DocumentError,
    FilterError,
    GatewayError,
    InvalidGroup,
    InvalidValue,
    LocalProtocolError,
    NotAList,
    NotAuthorized,
    NotEnforceable,
    ParseError,
    PatchError,
    ProtocolError,
    QuotaExceeded,
    RemoteProtocolError,
    RequestRejected,
    SessionOver,
    SignallingError,
    SipBridgeError,
    StoreError,
    StoreUnavailable,
    TransactionTimeout,
    TransportFailed,
    UnknownApplication,
    UnknownCorrelator,
    UnknownDependency,
    UnknownPresentity,
    UnknownWatcher,
)

Headers = tuple[tuple[bytes, bytes], ...]

TEXTS: Mapping[str, str] = {
    "SVC0001": "A service error occurred. Error code is %1",
    "SVC0002": "Invalid input value for message part %1",
    "SVC0003": "Invalid input value for message part %1, valid values are %2",
    "SVC0004": "No valid addresses provided in message part %1",
    "SVC0005": "Correlator %1 specified in message part %2 is a duplicate",
    "SVC0006": "Group %1 in message part %2 is not a valid group",
    "POL0001": "A policy error occurred. Error code is %1",
    "POL0002": "Privacy verification failed for address %1, request is refused",
    "POL0004": "Unlimited notification request not supported",
    "POL0005": "Too many notifications requested",
    "POL0007": "Nested groups specified in message part %1 not allowed",
    "POL0006": "Group specified in message part %1 not allowed",
    "POL0009": "Invalid frequency requested",
}

TYPES: Mapping[str, str] = {
    "SVC": "org.csapi.schema.parlayx.common.v2_1.ServiceException",
    "POL": "org.csapi.schema.parlayx.common.v2_1.PolicyException",
}
GENERAL = "GeneralException"
"""What the session manager throws."""
ONEAPI: Mapping[str, str] = {"SVC": "serviceException", "POL": "policyException"}


class Envelope(StrEnum):
    """How a fault body is wrapped."""

    PARLAYX = "parlayx"
    ONEAPI = "oneapi"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `variables` name attributes of the error; "valid" is joined with commas."""

    status: int
    id: str
    variables: tuple[str, ...] = ()


TABLE: Mapping[type[SipBridgeError], Row] = {
    SipBridgeError: Row(500, "SVC0001", ("code",)),
    ConfigurationError: Row(500, "SVC0001", ("code",)),
    ProtocolError: Row(500, "SVC0001", ("code",)),
    LocalProtocolError: Row(500, "SVC0001", ("code",)),
    RemoteProtocolError: Row(502, "SVC0001", ("code",)),
    ParseError: Row(400, "SVC0002", ("field",)),
    DocumentError: Row(502, "SVC0001", ("code",)),
    PatchError: Row(502, "SVC0001", ("code",)),
    FilterError: Row(502, "SVC0001", ("code",)),
    SignallingError: Row(502, "SVC0001", ("code",)),
    TransactionTimeout: Row(504, "SVC0001", ("code",)),
    TransportFailed: Row(502, "SVC0001", ("code",)),
    RequestRejected: Row(502, "SVC0001", ("status",)),
    NotAList: Row(502, "SVC0001", ("status",)),
    GatewayError: Row(400, "SVC0002", ("part",)),
    UnknownPresentity: Row(400, "SVC0004", ("part",)),
    UnknownWatcher: Row(400, "SVC0002", ("part",)),
    # The body of a failed End names the notification.
    UnknownCorrelator: Row(400, "SVC0002", ("part", "correlator")),
    UnknownApplication: Row(404, "SVC0002", ("part",)),
    CorrelatorInUse: Row(409, "SVC0005", ("correlator", "part")),
    InvalidValue: Row(400, "SVC0002", ("part",)),
    InvalidGroup: Row(400, "SVC0006", ("group", "part")),
    NotAuthorized: Row(403, "POL0002", ("part",)),
    AgainstPolicy: Row(403, "POL0001", ("rule",)),
    NotEnforceable: Row(403, "POL0001", ("code",)),
    SessionOver: Row(404, "SVC0002", ("code",)),
    ActionPending: Row(409, "SVC0001", ("code",)),
    DependencyFailed: Row(409, "SVC0001", ("code",)),
    DependsOnItself: Row(400, "SVC0002", ("part",)),
    UnknownDependency: Row(400, "SVC0002", ("part",)),
    QuotaExceeded: Row(429, "POL0001", ("quota",)),
    StoreError: Row(500, "SVC0001", ("code",)),
    StoreUnavailable: Row(503, "SVC0001", ("code",)),
    ConcurrentChange: Row(409, "SVC0001", ("code",)),
}

CLOSED_LIST = Row(400, "SVC0003", ("part", "valid"))
"""An InvalidValue that knows all values that would do."""

RULES: Mapping[str, Row] = {
    "exists": Row(409, "POL0001", ("rule",)),
    "unlimited": Row(403, "POL0004"),
    "count": Row(403, "POL0005"),
    "group": Row(403, "POL0006", ("part",)),
    "nested": Row(403, "POL0007", ("part",)),
    "frequency": Row(403, "POL0009"),
}
"""An AgainstPolicy by the rule it names."""

REJECTED: Mapping[int, Row] = {
    403: Row(403, "POL0001", ("status",)),
    404: Row(400, "SVC0004", ("part",)),
    408: Row(504, "SVC0001", ("status",)),
    486: Row(503, "SVC0001", ("status",)),
    503: Row(503, "SVC0001", ("status",)),
    504: Row(504, "SVC0001", ("status",)),
    603: Row(403, "POL0001", ("status",)),
    604: Row(400, "SVC0004", ("part",)),
}
"""A RequestRejected by the SIP status that was the answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a failed request answers. type: where it is not that of the id's family."""

    status: int
    id: str
    variables: tuple[str, ...] = ()
    detail: str = ""
    headers: Headers = ()
    type: str = ""


class Refused(Exception):
    """A request that never became an operation: credentials, path, method, size, type, origin."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


INTERNAL = Fault(500, "SVC0001", ("internal",), "an error of ours; the log says more")


APPLICATION = "the id and the password of an application, or a bearer token"
OPERATOR = "the user admin and the operator's password"


def unauthenticated(challenges: Headers, wanted: str = APPLICATION) -> Refused:
    """wanted: whose credentials would do, for people."""
    detail = f"credentials are missing or wrong: {wanted} would do"
    return Refused(Fault(401, "POL0001", ("401",), detail, challenges))


def foreign_origin(origin: str) -> Refused:
    return Refused(Fault(403, "POL0001", ("origin",), f"pages of {origin} may not call us"))


def no_resource(path: str) -> Refused:
    return Refused(Fault(404, "SVC0002", ("Request-URI",), f"there is nothing at {path[:200]}"))


def no_method(method: str, allowed: str) -> Refused:
    allow = ((b"allow", allowed.encode()),)
    return Refused(Fault(405, "SVC0002", ("method",), f"{method} is not one of {allowed}", allow))


def too_large(most: int) -> Refused:
    close = ((b"connection", b"close"),)
    return Refused(Fault(413, "SVC0002", ("body",), f"more than {most} bytes", close))


def no_json(kind: str) -> Refused:
    detail = f"application/json is expected, not {kind[:80]}"
    return Refused(Fault(415, "SVC0002", ("Content-Type",), detail))


def no_session(status: int, detail: str) -> Refused:
    """status: 403 where a session is needed, 404 where one is asked about."""
    return Refused(Fault(status, "POL0001", ("session",), detail, type=GENERAL))


def row_of(error: SipBridgeError) -> Row:
    """The line of the table an error falls under."""
    if isinstance(error, InvalidValue) and error.valid:
        return CLOSED_LIST
    if isinstance(error, AgainstPolicy) and error.rule in RULES:
        return RULES[error.rule]
    if isinstance(error, RequestRejected) and error.status in REJECTED:
        return REJECTED[error.status]
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def variable(error: SipBridgeError, name: str) -> str:
    """One attribute of an error as text; a rejected request concerns its presentity."""
    value = getattr(error, name, "presentity" if name == "part" else "")
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def fault_of(error: SipBridgeError) -> Fault:
    """What this error answers."""
    row = row_of(error)
    variables = tuple(variable(error, name) for name in row.variables)
    fault = Fault(row.status, row.id, variables, str(error))
    wait = getattr(error, "retry_after", None)
    if row.status in (429, 503) and wait is not None:
        return replace(fault, headers=((b"retry-after", str(math.ceil(wait)).encode()),))
    return fault


def filled(text: str, variables: tuple[str, ...]) -> str:
    """The text with its places filled."""
    for number, value in enumerate(variables, 1):
        text = text.replace(f"%{number}", value)
    return text


def render(fault: Fault, trace: str, envelope: Envelope = Envelope.PARLAYX) -> bytes:
    """The body of a failed request, JSON."""
    family, text = fault.id[:3], TEXTS[fault.id]
    core: dict[str, object] = {
        "messageId": fault.id,
        "text": text,
        "variables": fault.variables,
        "detail": fault.detail,
        "requestId": trace,
    }
    if envelope is Envelope.ONEAPI:
        return orjson.dumps({"requestError": {ONEAPI[family]: core}})
    message = f"{fault.id}: {filled(text, fault.variables)}"
    body = {"error": {"type": fault.type or TYPES[family], "message": message, **core}}
    return orjson.dumps(body)
