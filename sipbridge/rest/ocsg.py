"""The nine operations of the RESTful Presence interface, and one of ours: a watcher may leave.

A door is a method on a resource; what lies behind it is an `Operation`, and which one is told by the path,
the query string or the body, because the published descriptions of the interface disagree about paths and
methods. So both `subscription` and `subscriptions` are served, PUT and POST both create and change, and
Subscribe is told from Update by its members. Paths, methods and success codes are the table `OPERATIONS`;
faults are the table of `faults.py`. Handlers read, call the gateway, and render; they decide nothing.

The caller's own address is never in a request: it belongs to the authenticated application.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import orjson

from sipbridge.errors import InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import StartNotification
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.presentity import OpenSubscription
from sipbridge.mapping.attributes import (
    Attribute,
    AttributeKind,
    list_from_json,
    list_to_json,
)
from sipbridge.rest import ocsg_reading as reading
from sipbridge.rest.faults import no_method, no_resource
from sipbridge.uri import Uri

ROOT = "/rest/presence"
NOTIFICATIONS = f"{ROOT}/notifications"
"""Where the publish/subscribe server is; `Location` of Start Presence Notification says so."""
EVENTS = f"{ROOT}/events"
"""Where the same notifications are to be had as server-sent events."""


class Operations(Protocol):
    """What the routes ask of the gateway."""

    async def open_subscriptions(self, caller: Caller) -> list[OpenSubscription]: ...

    async def my_watchers(self, caller: Caller) -> list[str]: ...

    async def update_authorization(
        self, caller: Caller, watcher: Uri, decisions: Sequence[tuple[AttributeKind, bool]]
    ) -> None: ...

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None: ...

    async def block(self, caller: Caller, watcher: Uri) -> None: ...

    async def leave(self, caller: Caller, presentity: Uri) -> None: ...

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]: ...

    async def end_notification(self, caller: Caller, correlator: str) -> None: ...

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]: ...

    def is_stale(self, caller: Caller, presentity: Uri) -> bool: ...

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Style:
    """How results are written: native JSON types with absent members left out, unless told otherwise."""

    stringify_scalars: bool = False
    null_for_absent: bool = False


@dataclass(slots=True)
class Ask:
    """One request. tail: the raw path below the resource, without its slash. base: our own address.

    headers: names in lower case.
    """

    caller: Caller
    tail: str
    query: bytes
    body: bytes
    base: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Answer:
    """What a request is answered with. A status of its own overrides that of the table."""

    result: object = None
    location: str = ""
    stale: bool = False
    """The presence server does not answer at the moment, or has lost us: the values may be old."""


Handler = Callable[[Operations, Ask], Awaitable[Answer]]
Pick = Callable[[Ask], str]


# --- handlers -----------------------------------------------------------------------------------------


async def get_open_subscriptions(gateway: Operations, ask: Ask) -> Answer:
    found = await gateway.open_subscriptions(ask.caller)
    return Answer(
        [
            {"application": o.application, "attributes": list(o.attributes), "watcher": o.watcher}
            for o in found
        ]
    )


async def get_my_watchers(gateway: Operations, ask: Ask) -> Answer:
    return Answer(await gateway.my_watchers(ask.caller))


async def update_authorization(gateway: Operations, ask: Ask) -> Answer:
    members = reading.read_body(ask.body)
    watcher = reading.read_uri(members.get("watcher"), "watcher")
    decisions = reading.read_decisions(members.get("decisions"))
    await gateway.update_authorization(ask.caller, watcher, decisions)
    return Answer()


async def subscribe(gateway: Operations, ask: Ask) -> Answer:
    members = reading.read_body(ask.body)
    await gateway.subscribe(
        ask.caller,
        reading.read_uri(members.get("presentity"), "presentity"),
        reading.read_kinds(members.get("attributes")),
        reading.read_reference(members.get("reference")),
        reading.read_word(members.get("application"), "application"),
    )
    return Answer()


async def block(gateway: Operations, ask: Ask) -> Answer:
    given = unquote(ask.tail) or dict(query_pairs(ask.query)).get("watcher")
    await gateway.block(ask.caller, reading.read_uri(given, "watcher"))
    return Answer()


async def leave(gateway: Operations, ask: Ask) -> Answer:
    given = dict(query_pairs(ask.query)).get("presentity")
    await gateway.leave(ask.caller, reading.read_uri(given, "presentity"))
    return Answer()


async def start_notification(gateway: Operations, ask: Ask) -> Answer:
    wanted = reading.read_start(reading.read_body(ask.body))
    missing = await gateway.start_notification(ask.caller, wanted)
    return Answer(missing, location=ask.base + NOTIFICATIONS)


async def end_notification(gateway: Operations, ask: Ask) -> Answer:
    given = unquote(ask.tail) or dict(query_pairs(ask.query)).get("correlator")
    await gateway.end_notification(ask.caller, reading.read_word(given, "correlator"))
    return Answer()


async def get_presence(gateway: Operations, ask: Ask) -> Answer:
    presentity, kinds = reading.read_presence_query(ask.query)
    found = await gateway.get_presence(ask.caller, presentity, kinds)
    return Answer(list_to_json(found), stale=gateway.is_stale(ask.caller, presentity))


async def publish(gateway: Operations, ask: Ask) -> Answer:
    members = reading.read_body(ask.body)
    attributes = list_from_json(members.get("presence"))
    expires = reading.read_expires(ask.headers.get("x-presence-expires"))
    await gateway.publish(ask.caller, attributes, expires)
    return Answer()


# --- the tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its name, how it is described, and what success answers.

    path and method are what we print; more doors may lead here.
    """

    name: str
    title: str
    method: str
    path: str
    success: int
    handler: Handler


OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "getOpenSubscriptions",
            "Get Open Subscriptions",
            "GET",
            "/subscription?status=open",
            200,
            get_open_subscriptions,
        ),
        Operation(
            "getMyWatchers",
            "Get My Watchers",
            "GET",
            "/subscription?filter=watcher",
            200,
            get_my_watchers,
        ),
        Operation(
            "updateSubscriptionAuthorization",
            "Update Subscription Authorization",
            "PUT",
            "/subscription",
            204,
            update_authorization,
        ),
        Operation(
            "subscribePresence", "Subscribe Presence", "POST", "/subscription", 204, subscribe
        ),
        Operation(
            "blockSubscription",
            "Block Subscription",
            "DELETE",
            "/subscription/{watcher}",
            204,
            block,
        ),
        Operation(
            "leaveSubscription",
            "Leave Subscription",
            "DELETE",
            "/subscription?presentity={presentity}",
            204,
            leave,
        ),
        Operation(
            "startPresenceNotification",
            "Start Presence Notification",
            "PUT",
            "/notification",
            201,
            start_notification,
        ),
        Operation(
            "endPresenceNotification",
            "End Presence Notification",
            "DELETE",
            "/notification/{correlator}",
            204,
            end_notification,
        ),
        Operation(
            "getUserPresence",
            "Get User Presence",
            "GET",
            "/presence?query={query}",
            200,
            get_presence,
        ),
        Operation("publish", "Publish", "PUT", "/presence", 204, publish),
    )
}


LISTS = {("status", "open"): "getOpenSubscriptions", ("filter", "watcher"): "getMyWatchers"}


def by_query(ask: Ask) -> str:
    """Which list of subscriptions: `status=open` or `filter=watcher`, and not both."""
    given = [pair for pair in query_pairs(ask.query) if pair[0] in ("status", "filter")]
    if len(given) == 1 and given[0] in LISTS:
        return LISTS[given[0]]
    part = given[0][0] if len(given) == 1 else "query"
    raise InvalidValue(
        "exactly one of the two is needed", part=part, valid=("status=open", "filter=watcher")
    )


def by_body(ask: Ask) -> str:
    """Update has a watcher or decisions, Subscribe has neither."""
    members = reading.read_body(ask.body)
    if "watcher" in members or "decisions" in members:
        return "updateSubscriptionAuthorization"
    return "subscribePresence"


def by_tail(ask: Ask) -> str:
    """Block names a watcher, Leave a presentity and no watcher."""
    names = dict(query_pairs(ask.query))
    if not ask.tail and "presentity" in names and "watcher" not in names:
        return "leaveSubscription"
    return "blockSubscription"


DOORS: Mapping[str, Mapping[str, str | Pick]] = {
    "subscription": {
        "GET": by_query,
        "PUT": by_body,
        "POST": by_body,
        "DELETE": by_tail,
    },
    "notification": {
        "PUT": "startPresenceNotification",
        "POST": "startPresenceNotification",
        "DELETE": "endPresenceNotification",
    },
    "presence": {"GET": "getUserPresence", "PUT": "publish", "POST": "publish"},
}
ALIASES = {"subscriptions": "subscription"}
TAILED = frozenset({("DELETE", "subscription"), ("DELETE", "notification")})
"""Doors whose path goes on with a variable."""


def is_resource(name: str) -> bool:
    """Is this the first segment below the root of something served here?"""
    return name in DOORS or name in ALIASES


def find(resource: str, method: str, ask: Ask) -> Operation:
    """The operation behind a door. Raises Refused (404, 405), InvalidValue."""
    resource = ALIASES.get(resource, resource)
    doors = DOORS[resource]
    if ask.tail:
        doors = {m: door for m, door in doors.items() if (m, resource) in TAILED}
        if not doors:
            raise no_resource(f"{ROOT}/{resource}/{ask.tail}")
    door = doors.get(method)
    if door is None:
        raise no_method(method, ", ".join(doors))
    return OPERATIONS[door if isinstance(door, str) else door(ask)]


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values of a query string. Raises InvalidValue (part "query")."""
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise InvalidValue("not a query string", part="query") from None


# --- writing ------------------------------------------------------------------------------------------


def render(result: object, style: Style) -> bytes:
    """The body `{"result": …}`."""
    if style.null_for_absent:
        result = with_nulls(result)
    if style.stringify_scalars:
        result = with_strings(result)
    return orjson.dumps({"result": result})


def with_nulls(result: object) -> object:
    """Presence attributes with `null` for what they do not have."""
    if not isinstance(result, list):
        return result
    return [
        {"lastChange": None, "note": None, **item}
        if isinstance(item, dict) and "typeAndValue" in item
        else item
        for item in result
    ]


def with_strings(result: object) -> object:
    """Numbers and booleans as strings, as the original wrote them."""
    if isinstance(result, dict):
        return {name: with_strings(value) for name, value in result.items()}
    if isinstance(result, list):
        return [with_strings(value) for value in result]
    if isinstance(result, bool):
        return "true" if result else "false"
    return str(result) if isinstance(result, int | float) else result
