"""Requests of the BEMS messaging interface: from JSON to values, or to the error that says what is wrong.

Strict about JSON and about types, wide about addresses (one without a scheme means `sip:`), status words
(case, blanks and hyphens do not count) and the two ways the vendor writes how to unregister.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sipbridge.errors import InvalidValue
from sipbridge.gateway.sessions import Operation, Request
from sipbridge.identities import Identities
from sipbridge.mapping.bems import read_word
from sipbridge.rest.bems_models import (
    INVALID_ARGUMENT,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOT_SUPPORTED_BY_SERVER,
    NULL_ARGUMENT,
    PARSE_ERROR,
    Refusal,
)

METHODS: Mapping[str, Operation] = {
    "BeginSession": Operation.BEGIN,
    "Ping": Operation.PING,
    "TerminateSession": Operation.TERMINATE,
    "RegisterTempRemotePresence": Operation.REGISTER,
    "UnRegisterTempRemotePresence": Operation.UNREGISTER,
    "UnRegisterTempRemotePresenceSubscription": Operation.UNREGISTER,
    "SetPresence": Operation.SET,
    "GetContactsState": Operation.STATES,
}
NOT_PRESENCE = frozenset(
    {
        "AcceptChat",
        "AddContact",
        "AddGroup",
        "ChatHistory",
        "CopyContact",
        "CreateMpChat",
        "DeclineChat",
        "DeleteContact",
        "DeleteGroup",
        "EndChat",
        "GetChatHistory",
        "GetContactDetails",
        "GetContactPhoto",
        "GetContactPhotos",
        "GetContacts",
        "GetGroups",
        "GetMessages",
        "InviteToChat",
        "LeaveChat",
        "MoveContact",
        "RejectChat",
        "RemoveContact",
        "RemoveGroup",
        "RenameGroup",
        "SearchContacts",
        "SendFile",
        "SendMessage",
        "SetTyping",
        "StartChat",
        "UpdateGroup",
        "UserTyping",
    }
)
"""Words of the vendor for chats, contact lists, groups and photos, which are not served here."""

MAX_BATCH = 100
"""Requests of one batch."""
MAX_CONTACTS = 1000
"""Contacts of one request."""
MAX_TEXT = 4096
"""Characters of an address, a token or a message."""
DEVICE = re.compile(r"[!#$%&'()*+\-./0-9:<=>?@A-Z\[\]^_`a-z{|}~]{1,256}")
"""What can stand in a cookie (RFC 6265 §4.1.1)."""
NO = frozenset({"", "false", "0"})

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """What only BeginSession says. Empty: not said."""

    auth_token: str = ""
    gd_token: str = ""
    device: str = ""
    push: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One request that can be understood."""

    request: Request
    reconnect: bool = False
    begin: Begin | None = None


@dataclass(frozen=True, slots=True)
class Mistaken:
    """One that cannot. id: as far as there is one."""

    id: str | int | None
    refusal: Refusal
    method: str = ""


def read(body: bytes, identities: Identities) -> tuple[bool, list[Call | Mistaken]]:
    """Is it a batch, and what is in it. Raises Refusal: no JSON, or nothing that is a request."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(PARSE_ERROR) from None
    batch = isinstance(given, list)
    items = given if batch else [given]
    if not 1 <= len(items) <= MAX_BATCH:
        raise Refusal(INVALID_REQUEST)
    return batch, [read_item(item, identities) for item in items]


def read_item(item: Any, identities: Identities) -> Call | Mistaken:
    id = item.get("id") if isinstance(item, dict) else None
    if isinstance(id, bool) or not isinstance(id, str | int) or not 1 <= len(str(id)) <= 128:
        return Mistaken(None, Refusal(INVALID_REQUEST))
    try:
        return read_call(id, item, identities)
    except Refusal as refusal:
        method = item.get("method")
        known = isinstance(method, str) and (method in METHODS or method in NOT_PRESENCE)
        return Mistaken(id, refusal, method if known else "")


def read_call(id: str | int, item: Mapping[str, Any], identities: Identities) -> Call:
    """Raises Refusal."""
    method = item.get("method")
    if item.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise Refusal(INVALID_REQUEST)
    operation = METHODS.get(method)
    if operation is None:
        raise Refusal(NOT_SUPPORTED_BY_SERVER if method in NOT_PRESENCE else METHOD_NOT_FOUND)
    params = item.get("params", {})
    if not isinstance(params, dict):
        raise Refusal(INVALID_PARAMS)
    contacts = read_contacts(operation, params, identities)
    presence, message, begin = "", None, None
    if operation in (Operation.SET, Operation.BEGIN):
        given = required(params, "presence") if operation is Operation.SET else None
        presence = word(said(params, "presence") if given is None else given)
        message = optional(params, "personalMessage")
    if operation is Operation.BEGIN:
        begin = read_begin(params)
    request = Request(id, method, operation, contacts, presence, message, depends(params))
    return Call(request, reconnects(params, operation), begin)


def read_contacts(operation: Operation, params: Params, identities: Identities) -> tuple[str, ...]:
    """Whom a request is about; each has an address. Raises Refusal."""
    contacts: tuple[str, ...] = ()
    match operation:
        case Operation.REGISTER:
            contacts = (required(params, "contactId"),)
        case Operation.UNREGISTER:
            contacts = either(params)
        case Operation.STATES:
            contacts = several(params)
    for contact in contacts:
        if identities.contact(contact.strip()) is None:
            raise Refusal(INVALID_ARGUMENT)
    return contacts


def read_begin(params: Params) -> Begin:
    device = said(params, "deviceToken")
    if device and not DEVICE.fullmatch(device):
        raise Refusal(INVALID_ARGUMENT)
    said(params, "userId")  # deprecated: who calls is proved and not said
    return Begin(
        said(params, "gdAuthToken"), said(params, "gdToken"), device, said(params, "gnpToken")
    )


# --- parameters ---------------------------------------------------------------------------------------


def optional(params: Params, name: str) -> str | None:
    """A text, or None. Raises Refusal."""
    value = params.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Refusal(INVALID_PARAMS)
    return value


def said(params: Params, name: str) -> str:
    """A text; "" if there is none."""
    return optional(params, name) or ""


def required(params: Params, name: str) -> str:
    """A text that is there and not empty."""
    value = optional(params, name)
    if value is None or not value.strip():
        raise Refusal(NULL_ARGUMENT)
    return value


def several(params: Params) -> tuple[str, ...]:
    """`contactIds`: at least one, and none of them empty."""
    value = params.get("contactIds")
    if value is None or value == []:
        raise Refusal(NULL_ARGUMENT)
    if not isinstance(value, list):
        raise Refusal(INVALID_PARAMS)
    if len(value) > MAX_CONTACTS:
        raise Refusal(INVALID_ARGUMENT)
    return tuple(required({"contact": contact}, "contact") for contact in value)


def either(params: Params) -> tuple[str, ...]:
    """`contactId`, or `contactIds` as one example has it."""
    if params.get("contactId") is None and "contactIds" in params:
        return several(params)
    return (required(params, "contactId"),)


def word(text: str) -> str:
    """A status word as it is kept; "" stays. Raises Refusal."""
    if not text:
        return ""
    try:
        return read_word(text).value
    except InvalidValue:
        raise Refusal(INVALID_PARAMS) from None


def depends(params: Params) -> tuple[str, ...]:
    """`dependencies`: ids with commas between them."""
    return tuple(id.strip() for id in said(params, "dependencies").split(",") if id.strip())


def reconnects(params: Params, operation: Operation) -> bool:
    """`reconnect`: any text but "false" and "0"; one page calls it `state`."""
    name = "reconnect"
    if operation is Operation.UNREGISTER and name not in params:
        name = "state"
    return said(params, name).strip().lower() not in NO


def ids(calls: Sequence[Call | Mistaken], places: Iterable[int]) -> Iterator[str]:
    """The ids of requests in these places, as far as they have one."""
    for place in places:
        call = calls[place]
        id = call.id if isinstance(call, Mistaken) else call.request.id
        if id is not None:
            yield str(id)
