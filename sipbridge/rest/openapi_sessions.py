"""The OpenAPI description of the session manager."""

from sipbridge.rest.describing import Json, fault_answers
from sipbridge.rest.sessions import ROOT

TAG = "Session manager"
SESSION: Json = {
    "name": "sessionId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "example": "mJqX2xVbTtYk1Qz0p7c9sWd4",
}


def session_manager() -> Json:
    """The paths of the session manager."""
    return {
        f"{ROOT}/sessions": {
            "post": described(
                "getSession",
                "Get Session",
                "Opens a session. Its id goes into `X-Session-ID` of every presence request.",
                {"getSessionReturn": {"type": "string"}},
                {"getSessionReturn": SESSION["example"]},
            )
        },
        f"{ROOT}/session/{{sessionId}}": {
            "parameters": [SESSION],
            "get": described(
                "getSessionRemainingLifeTime",
                "Get Session Remaining Lifetime",
                "Milliseconds until the session ends.",
                {"getSessionRemainingLifeTimeReturn": {"type": "string", "pattern": "^[0-9]+$"}},
                {"getSessionRemainingLifeTimeReturn": "86399000"},
                404,
            ),
            "delete": described(
                "destroySession",
                "Destroy Session",
                "Ends the session.",
                {"destroySessionReturn": {"type": "boolean"}},
                {"destroySessionReturn": True},
                404,
            ),
        },
    }


def described(
    name: str, title: str, text: str, properties: Json, example: Json, *faults: int
) -> Json:
    answer = {"type": "object", "properties": properties, "required": list(properties)}
    content = {"application/json": {"schema": answer, "example": example}}
    return {
        "operationId": name,
        "summary": title,
        "description": text,
        "tags": [TAG],
        "security": [{"basic": []}, {"bearer": []}],
        "responses": {"200": {"description": "Done", "content": content}, **fault_answers(*faults)},
    }
