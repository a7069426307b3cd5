"""The OpenAPI description of the operations.

The routes are plain ASGI, so their description is written here: schemas come from `ocsg_models`, paths and
success codes from `ocsg.OPERATIONS`, examples are given by hand. Tests send each request example to the real
routes and hold each answer example against its schema.
"""

from collections.abc import Callable, Mapping

from pydantic.json_schema import models_json_schema

from sipbridge.rest import ocsg_models as models
from sipbridge.rest import openapi_bems
from sipbridge.rest.admin import ROOT as ADMIN
from sipbridge.rest.bems import ROOT as BEMS
from sipbridge.rest.describing import (
    REFERENCE,
    SCHEMES,
    STALE,
    Json,
    body,
    content,
    fault_answers,
    schema,
)
from sipbridge.rest.ocsg import EVENTS, NOTIFICATIONS, OPERATIONS, ROOT
from sipbridge.rest.openapi_admin import operator_routes, operator_schemas
from sipbridge.rest.openapi_sessions import session_manager
from sipbridge.rest.openapi_tickets import TICKET, tickets
from sipbridge.rest.openapi_watch import watch_routes, watch_schemas
from sipbridge.rest.sessions import ROOT as SESSIONS
from sipbridge.rest.tickets import ROOT as TICKETS
from sipbridge.rest.watch import ROOT as WATCH

TAG = "RESTful Presence"

ATTRIBUTE_EXAMPLES: list[Json] = [
    {
        "lastChange": "2024-05-06T07:08:09.000Z",
        "typeAndValue": {"unionElement": "Activity", "activity": "Meeting"},
        "note": "weekly review",
    },
    {
        "lastChange": "2024-05-06T07:00:00.000Z",
        "typeAndValue": {
            "unionElement": "Communication",
            "communication": {
                "means": [{"contact": "sip:alice@example.com", "priority": 0.8, "type": "Phone"}]
            },
        },
    },
]
SUBSCRIBE_EXAMPLE: Json = {
    "application": "Desk app",
    "presentity": "sip:alice@example.com",
    "reference": {
        "correlator": "sub-1",
        "endpoint": "/bayeux/app_bob/presence",
        "interfaceName": "PresenceNotification",
    },
    "attributes": ["Activity", "Place"],
}
UPDATE_EXAMPLE: Json = {
    "decisions": [
        {"decision": True, "presenceAttribute": "Activity"},
        {"decision": False, "presenceAttribute": "Place"},
    ],
    "watcher": "sip:bob@example.com",
}
START_EXAMPLE: Json = {
    "checkImmediate": True,
    "frequency": {"metric": "Second", "units": 10},
    "presentity": "sip:alice@example.com",
    "reference": {
        "correlator": "watch-1",
        "endpoint": "/bayeux/app_bob/presence",
        "interfaceName": "PresenceNotification",
    },
    "attributes": ["Activity"],
    "count": 100,
    "duration": {"metric": "Hour", "units": 1},
}
QUERY_EXAMPLE = '{"presentity":"sip:alice@example.com","attributes":["Activity","Communication"]}'

TEXTS: Mapping[str, str] = {
    "getOpenSubscriptions": "Watchers that wait for a decision of the caller.",
    "getMyWatchers": "Watchers that see something of the caller now.",
    "updateSubscriptionAuthorization": (
        "Answers an open request, or changes what a watcher may see. Kinds not named keep their state. "
        "The watcher is told by `notifySubscription`."
    ),
    "subscribePresence": (
        "Asks to see a presentity. Success says nothing about permission: `notifySubscription` does."
    ),
    "blockSubscription": "Ends a watcher's subscription; the watcher gets `subscriptionEnded`.",
    "leaveSubscription": (
        "The caller's own subscription ends, and its notifications with it. Nothing is sent."
    ),
    "startPresenceNotification": (
        "From now on changes are sent as `statusChanged` to the Bayeux channel of the reference. The "
        "result lists presentities whose attributes the caller is not subscribed to."
    ),
    "endPresenceNotification": "Ends it. No `statusEnd` is sent; the subscription stays.",
    "getUserPresence": "The attributes the caller may see; others are left out.",
    "publish": (
        "The kinds named are replaced, the others stay; an empty list removes everything the application "
        "has published."
    ),
}

WATCHER: Json = {
    "name": "watcher",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The watcher's URI, percent-encoded once",
    "example": "sip:bob@example.com",
}
PRESENTITY: Json = {
    "name": "presentity",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
    "description": "Whom the caller does not want to see any more",
    "example": "sip:alice@example.com",
}
CORRELATOR: Json = {
    "name": "correlator",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "example": "watch-1",
}
STATUS: Json = {
    "name": "status",
    "in": "query",
    "schema": {"type": "string", "enum": ["open"]},
    "description": "Get Open Subscriptions. Exactly one of `status` and `filter` is needed.",
}
FILTER: Json = {
    "name": "filter",
    "in": "query",
    "schema": {"type": "string", "enum": ["watcher"]},
    "description": "Get My Watchers.",
}


COMMON: list[Json] = [
    {
        "name": "X-Presence-Identity",
        "in": "header",
        "schema": {"type": "string"},
        "description": "The SIP address to act as, for applications that may act for others",
        "example": "sip:carol@example.com",
    },
    {
        "name": "X-Session-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "The session; needed where sessions are on",
    },
]
EXPIRES: Json = {
    "name": "X-Presence-Expires",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "description": "Seconds after which the publication ends if nothing is published; 0: never",
}


def operation(name: str, answer: Json, *faults: int, **more: object) -> Json:
    """One operation object; `answer` describes its success."""
    known = OPERATIONS[name]
    success = {"description": "Done", **answer}
    if "requestBody" in more:
        faults = (*faults, 413, 415)
    more["parameters"] = [*more.get("parameters", ()), *COMMON]  # type: ignore[misc]
    return {
        "operationId": name,
        "summary": known.title,
        "description": TEXTS[name],
        "tags": [TAG],
        "security": [{"basic": []}, {"bearer": []}],
        **more,
        "responses": {str(known.success): success, **fault_answers(*faults)},
    }


def lists() -> Json:
    """GET on the subscription resource: two operations behind one path."""
    described = operation("getOpenSubscriptions", {}, parameters=[STATUS, FILTER])
    described["operationId"] = "getSubscriptions"
    both = ("getOpenSubscriptions", "getMyWatchers")
    described["summary"] = ", ".join(OPERATIONS[name].title for name in both)
    described["description"] = " ".join(
        f"`{OPERATIONS[name].path}`: {TEXTS[name]}" for name in both
    )
    open_entry = {
        "application": "Desk app",
        "attributes": ["Activity", "Place"],
        "watcher": "sip:bob@example.com",
    }
    described["responses"]["200"]["content"] = {
        "application/json": {
            "schema": {"anyOf": [schema("OpenSubscriptions"), schema("Addresses")]},
            "examples": {
                "open": {"value": {"result": [open_entry]}},
                "watchers": {"value": {"result": ["sip:bob@example.com"]}},
            },
        }
    }
    return described


def started() -> Json:
    return {
        "content": content("Addresses", {"result": []}),
        "headers": {
            "Location": {
                "description": "The publish/subscribe server",
                "schema": {"type": "string"},
                "example": f"http://gw.example.com:8001{NOTIFICATIONS}",
            }
        },
    }


def query_parameter() -> Json:
    return {
        "name": "query",
        "in": "query",
        "required": True,
        "description": "A JSON object, percent-encoded; double quotes round it are allowed",
        "content": {"application/json": {"schema": schema("PresenceQuery")}},
        "example": QUERY_EXAMPLE,
    }


def paths() -> Json:
    """The paths of the nine operations."""
    presence = {"content": content("PresenceResult", {"result": ATTRIBUTE_EXAMPLES})}
    publication = body("PublishRequest", {"presence": ATTRIBUTE_EXAMPLES})
    return {
        f"{ROOT}/subscription": {
            "get": lists(),
            "put": operation(
                "updateSubscriptionAuthorization",
                {},
                requestBody=body("UpdateRequest", UPDATE_EXAMPLE),
            ),
            "post": operation(
                "subscribePresence",
                {},
                502,
                504,
                requestBody=body("SubscribeRequest", SUBSCRIBE_EXAMPLE),
            ),
            "delete": operation("leaveSubscription", {}, 502, 504, parameters=[PRESENTITY]),
        },
        f"{ROOT}/subscription/{{watcher}}": {
            "delete": operation("blockSubscription", {}, parameters=[WATCHER])
        },
        f"{ROOT}/notification": {
            **by_both(
                operation(
                    "startPresenceNotification",
                    started(),
                    409,
                    requestBody=body("StartRequest", START_EXAMPLE),
                )
            ),
            "delete": {
                **operation(
                    "endPresenceNotification", {}, parameters=[{**CORRELATOR, "in": "query"}]
                ),
                "operationId": "endPresenceNotificationByQuery",
            },
        },
        f"{ROOT}/notification/{{correlator}}": {
            "delete": operation("endPresenceNotification", {}, parameters=[CORRELATOR])
        },
        f"{ROOT}/presence": {
            "get": operation(
                "getUserPresence", {**presence, "headers": STALE}, parameters=[query_parameter()]
            ),
            **by_both(
                operation("publish", {}, 502, 504, requestBody=publication, parameters=[EXPIRES])
            ),
        },
    }


def by_both(described: Json) -> Json:
    """PUT, and POST for clients of the descriptions that print it."""
    return {
        "put": described,
        "post": {**described, "operationId": f"{described['operationId']}ByPost"},
    }


def schemas() -> Json:
    """Component schemas of every body."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in models.MODELS],
        ref_template=REFERENCE,
    )
    found: Json = definitions["$defs"]
    return found


def stream() -> Json:
    """The notifications as server-sent events."""
    text = (
        "The notifications of the caller's application as server-sent events, named after their kind; "
        "the data is the JSON object. `Last-Event-ID` brings exactly what was missed; an event `reset` "
        "says that the log does not reach back so far, the state as far as it is held follows."
    )
    example = 'id: 7\nevent: statusEnd\ndata: {"statusEnd":{"correlator":"watch-1"}}\n\n'
    last = {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}}
    content = {"text/event-stream": {"schema": {"type": "string"}, "example": example}}
    faults = fault_answers()
    del faults["400"]
    return {
        "operationId": "streamNotifications",
        "summary": "Stream of notifications",
        "description": text,
        "tags": [TAG],
        "security": [{"basic": []}, {"bearer": []}],
        "parameters": [last, {**last, "in": "query", "name": "lastEventId"}, TICKET],
        "responses": {"200": {"description": "An endless stream", "content": content}, **faults},
    }


def no_schemas() -> Json:
    return {}


FRONTS: Mapping[str, tuple[Callable[[], Json], Callable[[], Json]]] = {
    EVENTS: (lambda: {EVENTS: {"get": stream()}}, no_schemas),
    SESSIONS: (session_manager, no_schemas),
    TICKETS: (tickets, no_schemas),
    WATCH: (watch_routes, watch_schemas),
    ADMIN: (operator_routes, operator_schemas),
    BEMS: (openapi_bems.routes, openapi_bems.schemas),
}
"""Mounted applications that have a description: their paths and their schemas."""


def describe(
    whole: Json, mounts: frozenset[str] = frozenset(), closed: frozenset[str] = frozenset()
) -> Json:
    """Add the operations to an OpenAPI document that FastAPI made of its own routes.

    mounts: paths of mounted applications; those that have a description here get it. closed: pages for the
    operator only.
    """
    described = whole.setdefault("paths", {})
    described.update(paths())
    components = whole.setdefault("components", {})
    known = components.setdefault("schemas", {})
    known.update(schemas())
    for root in mounts & FRONTS.keys():
        routes, models = FRONTS[root]
        described.update(routes())
        known.update(models())
    for path in closed & described.keys():
        for operation in described[path].values():
            operation["security"] = [{"operator": []}]
            operation["responses"]["401"] = fault_answers()["401"]
    components.setdefault("securitySchemes", {}).update(SCHEMES)
    if BEMS in mounts:
        components["securitySchemes"].update(openapi_bems.SCHEMES)
    return whole
