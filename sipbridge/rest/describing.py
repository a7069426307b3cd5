"""What all descriptions in the OpenAPI document share: faults, bodies, credentials."""

from typing import Any

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"

FAULT_EXAMPLE: Json = {
    "error": {
        "type": "org.csapi.schema.parlayx.common.v2_1.ServiceException",
        "message": "SVC0002: Invalid input value for message part presentity",
        "messageId": "SVC0002",
        "text": "Invalid input value for message part %1",
        "variables": ["presentity"],
        "detail": "missing",
        "requestId": "5f0c1e7a2b3d4c55",
    }
}
SCHEMES: Json = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The user name is the application instance id",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the configuration, or one signed by the issuer of `[auth.jwt]`",
    },
    "operator": {
        "type": "http",
        "scheme": "basic",
        "description": "The user name is `admin`",
    },
}

STALE: Json = {
    "X-Presence-Stale": {
        "description": "`true`: the presence server does not answer at the moment, or has lost the"
        " subscription, so the values may be old. Absent otherwise.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}


def schema(model: str) -> Json:
    return {"$ref": REFERENCE.format(model=model)}


def content(model: str, example: object) -> Json:
    return {"application/json": {"schema": schema(model), "example": example}}


def fault_answers(*statuses: int) -> Json:
    """The failures every operation can answer with, and those of this one."""
    words = {
        400: "A part of the request makes no sense (SVC0002, SVC0003, SVC0004)",
        401: "Credentials are missing or wrong",
        403: "Not granted, or against a policy (POL…)",
        404: "There is no such thing",
        409: "The correlator is in use (SVC0005)",
        413: "The body is too long (SVC0002)",
        415: "The body is not JSON (SVC0002)",
        429: "Too many, or too fast (POL0001); `Retry-After` says when to come back",
        502: "The presence server refused or cannot be reached (SVC0001)",
        503: "The store or the presence server is not available (SVC0001)",
        504: "The presence server did not answer (SVC0001)",
    }
    return {
        str(status): {"description": words[status], "content": content("FaultBody", FAULT_EXAMPLE)}
        for status in sorted({400, 401, 403, 429, 503, *statuses})
    }


def body(model: str, example: object) -> Json:
    return {"required": True, "content": content(model, example)}
