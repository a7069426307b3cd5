"""The OpenAPI description of the Webex-style interfaces."""

import orjson
from pydantic.json_schema import models_json_schema

from sipbridge.rest.apheleia import Apheleia
from sipbridge.rest.describing import REFERENCE, Json, body, content, fault_answers
from sipbridge.rest.openapi_tickets import TICKET
from sipbridge.rest.people import MAX_PEOPLE, PeopleRoutes
from sipbridge.rest.watch import PRESENCES
from sipbridge.rest.watch_models import ANSWERS, MAX_SUBJECTS, REQUESTS

TAG = "Webex-style presence"
ALICE = "sip:alice@example.com"
IDENTITY: Json = {
    "name": "X-Presence-Identity",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The SIP address to act as, for applications that may act for others",
    "example": "sip:carol@example.com",
}
HANDLE: Json = {"handle": 1, "contactId": ALICE, "isValid": True}
HANDLES: Json = {
    "presenceHandles": [HANDLE, {"handle": 2, "contactId": "bad id", "isValid": False}]
}
PRESENCE: Json = {
    "contactId": ALICE,
    "status": "Dnd",
    "customStatus": "focus time",
    "lastActiveTime": 1714978089000,
    "expiresTime": 1714981689000,
}
STATUS: Json = {
    "url": f"{Apheleia.COMPOSITIONS}?userId={ALICE}",
    "subject": ALICE,
    "status": "dnd",
    "statusTime": "2024-05-06T06:48:09.000Z",
    "lastActive": "2024-05-06T06:48:09.000Z",
    "expiresTTL": 3600,
    "expiresTime": "2024-05-06T07:48:09.000Z",
    "vectorCounters": {},
    "suppressNotifications": False,
}
PERSON: Json = {
    "id": "Y2lzY29zcGFyazovL3VzL1BFT1BMRS9h",
    "type": "person",
    "displayName": "alice",
    "emails": ["alice@example.com"],
    "status": "DoNotDisturb",
    "lastActivity": "2024-05-06T06:48:09.000Z",
}
EVENT: Json = {"subject": "sip:bob@example.com", "eventType": "dnd", "ttl": 600}
LAST: Json = {"in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}}


def watch_routes() -> Json:
    """The paths below /webex."""
    return {**presences(), **people(), **apheleia()}


def presences() -> Json:
    return {
        f"{PRESENCES}/watch": {
            "post": described(
                "startWatchingPresences",
                "Start Watching Presences",
                "One new handle for each contact id, in their order. `isValid` is false for what means "
                "nobody, for persons of a served domain that nobody knows, and for bots. Handles live until "
                "they are stopped.",
                {"200": {"description": "Done", "content": content("WatchResult", HANDLES)}},
                413,
                415,
                requestBody=body("WatchRequest", {"contactIds": [ALICE, "bad id"]}),
            )
        },
        f"{PRESENCES}/stop": {
            "post": described(
                "stopWatchingPresences",
                "Stop Watching Presences",
                "Handles as numbers, or as they were given. What is no live handle is ignored.",
                {"204": {"description": "Done"}},
                413,
                415,
                requestBody=body("StopRequest", {"presenceHandles": [1]}),
            )
        },
        f"{PRESENCES}/events": {
            "get": stream(
                "streamPresences",
                "Stream of presences",
                "One message (`PresenceUpdate`) for each handle and change, as server-sent events: first how "
                "things are, then what changes; with `Last-Event-ID` what changed since. The WebSocket "
                f"`{PRESENCES}/stream` says the same, one message a frame.",
                f"id: 1f0c2d3e-7\ndata: {example({'handle': 1, 'presence': PRESENCE})}\n\n",
            )
        },
    }


def people() -> Json:
    root, known = PeopleRoutes.ROOT, {"schema": {"type": "string"}, "in": "query"}
    person = {"200": {"description": "Done", "content": content("Person", PERSON)}}
    who = {**known, "in": "path", "name": "personId", "required": True, "example": "me"}
    who["schema"] = {"type": "string", "minLength": 1}
    return {
        root: {
            "get": described(
                "listPeople",
                "List People",
                f"By `id` (up to {MAX_PEOPLE}, with commas) or by `email`. `status` is left out where it is "
                "not shared.",
                {"200": {"description": "Done", "content": content("People", {"items": [PERSON]})}},
                parameters=[
                    {**known, "name": "id", "example": ALICE},
                    {**known, "name": "email"},
                ],
            )
        },
        f"{root}/{{personId}}": {
            "get": described(
                "getPerson",
                "Get Person",
                "An id, an address, or `me`.",
                person,
                404,
                parameters=[who],
            )
        },
    }


def apheleia() -> Json:
    asked = {"name": "userId", "in": "query", "required": True, "schema": {"type": "string"}}
    one = {"200": {"description": "Done", "content": content("StatusObject", STATUS)}}
    several = {
        "200": {"description": "Done", "content": content("Compositions", {"statusList": [STATUS]})}
    }
    response = {"subject": ALICE, "responseCode": 200, "subscriptionTtl": 600, "status": STATUS}
    responses = {
        "200": {
            "description": "Done",
            "content": content("Subscriptions", {"responses": [response]}),
        }
    }
    wanted = {"subjects": [ALICE], "subscriptionTtl": 600, "includeStatus": True}
    return {
        Apheleia.COMPOSITIONS: {
            "get": described(
                "getComposition",
                "Get Composition",
                "The status of one person, as the browser plugin asks for it.",
                one,
                404,
                parameters=[{**asked, "example": ALICE}],
            ),
            "post": described(
                "listCompositions",
                "List Compositions",
                f"Of up to {MAX_SUBJECTS} persons; those nobody knows are left out.",
                several,
                413,
                415,
                requestBody=body("CompositionsRequest", {"subjects": [ALICE]}),
            ),
        },
        Apheleia.SUBSCRIPTIONS: {
            "post": described(
                "subscribeStatuses",
                "Subscribe Statuses",
                f"Updates of up to {MAX_SUBJECTS} persons for so many seconds; 0 ends them. "
                "`responseCode` is 404 for whom nobody knows.",
                responses,
                413,
                415,
                requestBody=body("SubscriptionsRequest", wanted),
            )
        },
        Apheleia.EVENTS: {
            "post": described(
                "setStatus",
                "Set Status",
                "The caller's own status, for `ttl` seconds; then it is Active again.",
                {"200": {"description": "Done", "content": content("EventResult", EVENT)}},
                413,
                415,
                502,
                504,
                requestBody=body("EventRequest", EVENT),
            ),
            "get": stream(
                "streamStatuses",
                "Stream of statuses",
                "Updates of the caller's subscriptions as server-sent events, or over a WebSocket of the "
                "same URL.",
                f"id: 1f0c2d3e-7\nevent: event:apheleia.subscription_update\ndata: {example(STATUS)}\n\n",
            ),
        },
    }


def described(
    name: str, title: str, text: str, success: Json, *faults: int, **more: object
) -> Json:
    more["parameters"] = [*more.get("parameters", ()), IDENTITY]  # type: ignore[misc]
    return {
        "operationId": name,
        "summary": title,
        "description": text,
        "tags": [TAG],
        "security": [{"basic": []}, {"bearer": []}],
        **more,
        "responses": {**success, **fault_answers(*faults)},
    }


def stream(name: str, title: str, text: str, shown: str) -> Json:
    told = {"text/event-stream": {"schema": {"type": "string"}, "example": shown}}
    success = {"200": {"description": "An endless stream", "content": told}}
    last = [LAST, {**LAST, "in": "query", "name": "lastEventId"}, TICKET]
    return described(name, title, text, success, parameters=last)


def example(value: Json) -> str:
    """JSON as a stream writes it."""
    return orjson.dumps(value).decode()


def watch_schemas() -> Json:
    """The models of requests and answers."""
    modes = [(m, "validation") for m in REQUESTS] + [(m, "serialization") for m in ANSWERS]
    _, definitions = models_json_schema(modes, ref_template=REFERENCE)  # type: ignore[arg-type]
    found: Json = definitions["$defs"]
    return found
