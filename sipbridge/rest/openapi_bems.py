"""The OpenAPI description of the BEMS fronts: messaging by JSON-RPC, and presence lookup."""

from sipbridge.mapping.bems import CODES
from sipbridge.rest import bems, bems_lookup
from sipbridge.rest.bems_models import PROBLEMS, Problem
from sipbridge.rest.bems_reading import MAX_BATCH, MAX_CONTACTS, METHODS
from sipbridge.rest.bems_streams import MAX_READERS
from sipbridge.rest.describing import STALE, Json, fault_answers

TAG, LOOKUP_TAG = "BEMS messaging", "BEMS presence lookup"
TEXT: Json = {"type": "string"}
CODE: Json = {"type": "integer", "enum": sorted(CODES.values())}
WORD: Json = {"type": "string", "enum": [word.value for word in CODES]}
ID: Json = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 128}, {"type": "integer"}]}
KEY = "320ac69e-b8c2-11e6-80f5-000000000000"

SCHEMES: Json = {
    "authToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Good-GD-AuthToken",
        "description": "One of the application's tokens, or a signed one",
    },
    "deviceToken": {
        "type": "apiKey",
        "in": "cookie",
        "name": bems.DEVICE,
        "description": "Names the session; set by BeginSession. Also a header of that name",
    },
}
KNOWN: list[Json] = [{"basic": []}, {"bearer": []}, {"authToken": []}]
IN_SESSION: list[Json] = [{"deviceToken": []}, *KNOWN]


def closed(properties: Json, *optional: str) -> Json:
    """An object with these members and no others."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


CONTACT: Json = closed(
    {"contactId": TEXT, "presence": WORD, "personalMessage": TEXT, "availability": CODE}
)
ERROR: Json = closed({"code": {"type": "integer"}, "message": TEXT})
RESULT: Json = closed(
    {
        "data": {
            "type": "object",
            "properties": {
                "method": TEXT,
                "state": {"type": "string", "enum": ["PROCESSING", "COMPLETE"]},
                "sessionTimeout": {"type": "integer", "description": "Seconds"},
                "userId": TEXT,
                "message": TEXT,
                "missing": {"type": "integer"},
                "contacts": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/BemsContact"},
                },
            },
            "required": ["method"],
        }
    }
)
REQUEST: Json = {
    "type": "object",
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": ID,
        "method": {"type": "string", "enum": sorted(METHODS)},
        "params": {
            "type": "object",
            "properties": {
                "contactId": TEXT,
                "contactIds": {"type": "array", "items": TEXT, "maxItems": MAX_CONTACTS},
                "presence": TEXT,
                "personalMessage": TEXT,
                "gdAuthToken": TEXT,
                "gdToken": TEXT,
                "deviceToken": TEXT,
                "gnpToken": TEXT,
                "dependencies": {
                    **TEXT,
                    "description": "Ids of the same batch, with commas between them",
                },
                "reconnect": {
                    **TEXT,
                    "description": 'Any text but "false" and "0": the session goes on',
                },
            },
        },
    },
    "required": ["jsonrpc", "id", "method"],
}
ANSWER: Json = closed(
    {
        "id": {"anyOf": [*ID["anyOf"], {"type": "null"}]},
        "error": {"anyOf": [{"$ref": "#/components/schemas/BemsError"}, {"type": "null"}]},
        "result": {"anyOf": [{"$ref": "#/components/schemas/BemsResult"}, {"type": "null"}]},
        "jsonrpc": {"const": "2.0"},
        "background": {"type": "boolean"},
    }
)
MESSAGE: Json = closed(
    {
        "id": ID,
        "sequence": {"type": "integer", "exclusiveMaximum": 2**53},
        "error": {"$ref": "#/components/schemas/BemsError"},
        "result": {"$ref": "#/components/schemas/BemsResult"},
        "jsonrpc": {"const": "2.0"},
    },
    "id",
    "error",
    "result",
)
LIST: Json = closed(
    {
        "contacts": {
            "type": "array",
            "items": closed({"id": TEXT, "availability": CODE}),
        },
        "sequence": {**TEXT, "description": "Opaque; goes back with the next pull"},
    }
)
WANTED: Json = {
    "type": "object",
    "properties": {
        "contacts": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": bems_lookup.MAX_ADDRESS},
            "maxItems": MAX_CONTACTS,
        },
        "notify": {
            "type": "string",
            "minLength": 1,
            "maxLength": bems_lookup.MAX_KEY,
            "description": "The client's own key of the list",
        },
    },
    "required": ["contacts", "notify"],
}
SCHEMAS: Json = {
    "BemsContact": CONTACT,
    "BemsError": ERROR,
    "BemsResult": RESULT,
    "BemsRequest": REQUEST,
    "BemsAnswer": ANSWER,
    "BemsMessage": MESSAGE,
    "BemsList": LIST,
    "BemsListWanted": WANTED,
}

REGISTER: Json = {
    "jsonrpc": "2.0",
    "id": "c58",
    "method": "RegisterTempRemotePresence",
    "params": {"contactId": "sip:user_1@example.com"},
}
REGISTERED: Json = {
    "id": "c58",
    "error": None,
    "result": {"data": {"method": "RegisterTempRemotePresence", "state": "PROCESSING"}},
    "jsonrpc": "2.0",
    "background": False,
}
CHANGED: Json = {
    "sequence": 1018691100000071,
    "result": {
        "data": {
            "method": "ContactStateChanged",
            "contacts": [
                {
                    "contactId": "sip:user_1@example.com",
                    "presence": "away",
                    "personalMessage": "",
                    "availability": 15500,
                }
            ],
        }
    },
    "jsonrpc": "2.0",
}
WANTED_EXAMPLE: Json = {"contacts": ["alice@example.com", "bob@example.com"], "notify": KEY}
LIST_EXAMPLE: Json = {
    "contacts": [
        {"id": "alice@example.com", "availability": 6000},
        {"id": "bob@example.com", "availability": 18000},
    ],
    "sequence": "1795272108000017",
}


def one_or_many(name: str) -> Json:
    one = {"$ref": f"#/components/schemas/{name}"}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH}
    return {"anyOf": [one, many]}


def codes() -> str:
    """The errors that occur, for people."""
    known: set[Problem] = {*PROBLEMS.values()}
    return ", ".join(f"{p.code} {p.text}" for p in sorted(known, key=lambda p: p.code))


def answers(content: Json, *faults: int, headers: Json | None = None) -> Json:
    failures = fault_answers(*faults)
    del failures["403"]
    done = {"description": "Done", "content": content}
    return {"200": done if headers is None else {**done, "headers": headers}, **failures}


def json_of(schema: Json, example: object) -> Json:
    return {"application/json": {"schema": schema, "example": example}}


def messaging() -> Json:
    """The paths of messaging."""
    text = (
        "Requests and batches. Each is answered at once with PROCESSING, or with its error, and later by a "
        f"message in the session's queue. Errors have HTTP status 200. Methods: {', '.join(METHODS)}. "
        f"Codes: {codes()}, 1007 and 1008 for tokens that do not verify, 1011 for what is null or empty, "
        "1026 for what is not presence, and those of JSON-RPC."
    )
    message = {"$ref": "#/components/schemas/BemsMessage"}
    polled = closed(
        {"notifications": {"type": "array", "items": message}, "sequence": {"type": "integer"}}
    )
    over = {"$ref": "#/components/schemas/BemsAnswer"}
    after = {
        "name": "after",
        "in": "query",
        "schema": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        "description": "The number of the last message the client has; acknowledges it and those before",
    }
    wait = {
        "name": "wait",
        "in": "query",
        "schema": {"type": "integer", "minimum": 0},
        "description": "Seconds to wait for a message at most",
    }
    stream = 'id: 1018691100000071\ndata: {"sequence":1018691100000071, …}\n\n'
    return {
        f"{bems.ROOT}/jsonrpc": {
            "post": {
                "operationId": "bemsRequest",
                "summary": "JSON-RPC",
                "description": text,
                "tags": [TAG],
                "security": [*IN_SESSION, {}],  # BeginSession brings its token in the body
                "requestBody": {
                    "required": True,
                    "content": json_of(one_or_many("BemsRequest"), REGISTER),
                },
                "responses": answers(json_of(one_or_many("BemsAnswer"), REGISTERED), 413, 415),
            }
        },
        f"{bems.ROOT}/notifications": {
            "get": {
                "operationId": "bemsNotifications",
                "summary": "Messages of a session, by long poll",
                "description": "Deferred answers and changes of contacts, in order; waits until there are "
                "some. Messages stay until they are acknowledged. A session that is over answers 1017.",
                "tags": [TAG],
                "security": IN_SESSION,
                "parameters": [after, wait],
                "responses": answers(
                    json_of(
                        {"anyOf": [polled, over]},
                        {"notifications": [CHANGED], "sequence": CHANGED["sequence"]},
                    ),
                    headers=STALE,
                ),
            }
        },
        f"{bems.ROOT}/events": {
            "get": {
                "operationId": "bemsEvents",
                "summary": "Messages of a session, as server-sent events",
                "description": "The id of an event is the number of its message; `Last-Event-ID` "
                f"acknowledges. Of more than {MAX_READERS} polls and streams of one session the oldest end.",
                "tags": [TAG],
                "security": IN_SESSION,
                "parameters": [
                    {"name": "Last-Event-ID", "in": "header", "schema": TEXT},
                    after,
                ],
                "responses": {
                    **answers({"text/event-stream": {"schema": TEXT, "example": stream}}),
                    "404": {
                        "description": "The session is over",
                        "content": {"application/json": {"schema": over}},
                    },
                },
            }
        },
    }


def lookup() -> Json:
    """The paths of presence lookup."""
    found = {"$ref": "#/components/schemas/BemsList"}
    headers = [
        {"name": "X-Good-DeviceId", "in": "header", "schema": TEXT},
        {
            "name": "X-Good-GNP-Token",
            "in": "header",
            "schema": TEXT,
            "description": "Push channel; of use where `bems.wake_url` is configured",
        },
        {"name": "X-Good-Presence-Version", "in": "header", "schema": TEXT, "example": "1.0.0"},
    ]
    key = {
        "name": "notify",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": bems_lookup.MAX_KEY},
        "example": KEY,
    }
    sequence = {
        "name": "sequence",
        "in": "query",
        "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
        "description": "Only contacts that changed after it",
    }
    root = f"{bems_lookup.ROOT}/{bems_lookup.RESOURCE}"
    return {
        root: {
            "post": {
                "operationId": "bemsSubscribe",
                "summary": "Subscribe, replace the list, unsubscribe",
                "description": "The contacts replace those that were there under the same key; none ends the "
                "subscription. It expires when it is not pulled for a while, by default three minutes.",
                "tags": [LOOKUP_TAG],
                "security": KNOWN,
                "parameters": headers,
                "requestBody": {
                    "required": True,
                    "content": json_of(
                        {"$ref": "#/components/schemas/BemsListWanted"}, WANTED_EXAMPLE
                    ),
                },
                "responses": answers(json_of(found, LIST_EXAMPLE), 413, 415, headers=STALE),
            }
        },
        f"{root}/{{notify}}": {
            "get": {
                "operationId": "bemsPull",
                "summary": "Pull",
                "description": "Everybody on the list, or who changed after a sequence.",
                "tags": [LOOKUP_TAG],
                "security": KNOWN,
                "parameters": [key, sequence],
                "responses": answers(json_of(found, LIST_EXAMPLE), 404, headers=STALE),
            }
        },
    }


def routes() -> Json:
    """The paths of both fronts."""
    return messaging() | lookup()


def schemas() -> Json:
    """Component schemas of every body."""
    return SCHEMAS
