"""The OpenAPI description of the operator routes."""

from pydantic.json_schema import models_json_schema

from sipbridge.rest.admin import ROOT
from sipbridge.rest.admin_models import MODELS
from sipbridge.rest.describing import REFERENCE, Json, body, content, fault_answers

TAG = "Operator"
PRESENTITY: Json = {
    "name": "presentity",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "A SIP address, percent-encoded once",
    "example": "sip:alice@example.com",
}
WATCHER: Json = {**PRESENTITY, "name": "watcher", "example": "sip:bob@example.com"}
ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "example": "app_carol",
}
APPLICATION_EXAMPLE: Json = {
    "id": "app_carol",
    "uri": "sip:carol@example.com",
    "acts_for": ["sip:team-*@example.com"],
    "sip_username": "",
    "sip_realm": "",
    "has_sip_password": True,
    "webhooks": False,
    "disabled": False,
    "source": "provisioned",
    "registration": "registered",
}
NEW_EXAMPLE: Json = {
    "id": "app_carol",
    "uri": "sip:carol@example.com",
    "password": "a long one",
    "acts_for": ["sip:team-*@example.com"],
    "sip_password": "carolpw",
}
CHANGE_EXAMPLE: Json = {"disabled": True}
WATCHERS_EXAMPLE: Json = {
    "open": [
        {
            "application": "Desk app",
            "attributes": ["Activity", "Place"],
            "watcher": "sip:bob@example.com",
        }
    ],
    "watchers": ["sip:dave@example.com"],
}
DECISIONS_EXAMPLE: Json = {
    "decisions": [
        {"presenceAttribute": "Activity", "decision": True},
        {"presenceAttribute": "Place", "decision": False},
    ]
}


PEERS_EXAMPLE: Json = {
    "result": [
        {"name": "remote", "state": "suspect", "seconds": 12.5, "probed": True, "waiting": 0}
    ]
}
TRACE_EXAMPLE = (
    '{"at":1767225600.5,"protocol":"udp","source":"192.0.2.7:5060","destination":"192.0.2.10:5060",'
    '"outgoing":false,"trace":"9f01a21","message":"NOTIFY sip:bob@192.0.2.10 SIP/2.0\\r\\n…"}\n'
)


def wanted(name: str, text: str, example: str) -> Json:
    """A query parameter of the trace."""
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "query", "description": text, "schema": schema, "example": example}


def operator_routes() -> Json:
    """The paths below /admin."""
    signalling = (404, 502, 504)
    watchers = f"{ROOT}/presentities/{{presentity}}/watchers"
    one = {
        "description": "The application",
        "content": content("ApplicationView", APPLICATION_EXAMPLE),
    }
    return {
        watchers: {
            "get": described(
                "listWatchers",
                "Watchers of anybody",
                "Who waits for a decision of this presentity, and who sees something of it now.",
                {
                    "200": {
                        "description": "Done",
                        "content": content("AdminWatchers", WATCHERS_EXAMPLE),
                    }
                },
                *signalling,
                parameters=[PRESENTITY],
            )
        },
        f"{watchers}/{{watcher}}": {
            "put": described(
                "decideForPresentity",
                "Decide for anybody",
                "What Update Subscription Authorization is to the presentity's own application.",
                DONE,
                *signalling,
                parameters=[PRESENTITY, WATCHER],
                requestBody=body("AdminDecisions", DECISIONS_EXAMPLE),
            ),
            "delete": described(
                "blockForPresentity",
                "Block for anybody",
                "What Block Subscription is to the presentity's own application.",
                DONE,
                *signalling,
                parameters=[PRESENTITY, WATCHER],
            ),
        },
        f"{ROOT}/peers": {
            "get": described(
                "listPeers",
                "Presence servers",
                "Those of others, at which we publish and watch: does each answer?",
                {"200": {"description": "Done", "content": content("Peers", PEERS_EXAMPLE)}},
                404,
            )
        },
        f"{ROOT}/trace": {
            "get": described(
                "traceSip",
                "SIP messages as they come",
                "A line of JSON for each message, secrets blanked, for as long as the connection is open; "
                "empty lines fill the silence. A reader that is too slow is told how many it lost.",
                {
                    "200": {
                        "description": "The trace",
                        "content": {
                            "application/x-ndjson": {
                                "schema": {"type": "string"},
                                "example": TRACE_EXAMPLE,
                            }
                        },
                    }
                },
                503,
                parameters=[
                    wanted("dialog", "A Call-ID", "843817637684230@998sdasdh09"),
                    wanted("watcher", "An address in From or To", "sip:bob@example.com"),
                    wanted("peer", "HOST or HOST:PORT", "192.0.2.7:5060"),
                ],
            )
        },
        f"{ROOT}/applications": {
            "get": described(
                "listApplications",
                "Applications",
                "Those of the configuration and those added here, without their secrets.",
                {
                    "200": {
                        "description": "Done",
                        "content": content("Applications", {"result": [APPLICATION_EXAMPLE]}),
                    }
                },
                404,
            ),
            "post": described(
                "addApplication",
                "Add an application",
                "It may call as soon as this is answered.",
                {"201": one},
                404,
                409,
                requestBody=body("NewApplication", NEW_EXAMPLE),
            ),
        },
        f"{ROOT}/applications/{{id}}": {
            "parameters": [ID],
            "get": described("getApplication", "One application", "", {"200": one}, 404),
            "patch": described(
                "changeApplication",
                "Change, disable, enable an application",
                "In force at once. A new password, address or state ends its sessions; what it has under "
                "an address it may not use any more is removed.",
                {"200": one},
                404,
                requestBody=body("ApplicationChange", CHANGE_EXAMPLE),
            ),
            "delete": described(
                "removeApplication",
                "Remove an application",
                "With its publications, subscriptions, notifications and everything kept for it.",
                DONE,
                404,
            ),
        },
    }


DONE: Json = {"204": {"description": "Done"}}


def described(
    name: str, title: str, text: str, success: Json, *faults: int, **more: object
) -> Json:
    if "requestBody" in more:
        faults = (*faults, 413, 415)
    return {
        "operationId": name,
        "summary": title,
        "description": text,
        "tags": [TAG],
        "security": [{"operator": []}],
        **more,
        "responses": {**success, **fault_answers(*faults)},
    }


def operator_schemas() -> Json:
    """Component schemas of the bodies."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in MODELS], ref_template=REFERENCE
    )
    found: Json = definitions["$defs"]
    return found
