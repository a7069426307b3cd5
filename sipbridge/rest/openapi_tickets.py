"""The OpenAPI description of tickets, and of the query parameter that takes one."""

from sipbridge.rest.describing import Json, fault_answers
from sipbridge.rest.tickets import LIFETIME, ROOT

EXAMPLE: Json = {"ticket": "ZNVKxkgLsyTKZJ0bLTyGjCBH9n8XKMvL", "expiresIn": int(LIFETIME)}

TICKET: Json = {
    "name": "ticket",
    "in": "query",
    "schema": {"type": "string"},
    "description": f"From `POST {ROOT}`, in the place of credentials",
}


def tickets() -> Json:
    """The path of tickets."""
    answer: Json = {
        "type": "object",
        "properties": {"ticket": {"type": "string"}, "expiresIn": {"type": "integer"}},
        "required": ["ticket", "expiresIn"],
    }
    content = {"application/json": {"schema": answer, "example": EXAMPLE}}
    return {
        ROOT: {
            "post": {
                "operationId": "createTicket",
                "summary": "Create Ticket",
                "description": "Credentials for one use within `expiresIn` seconds, for an EventSource or a "
                "WebSocket, which cannot send headers: `?ticket=…`. It stands for the caller that asks.",
                "tags": ["Credentials"],
                "security": [{"basic": []}, {"bearer": []}],
                "responses": {
                    "200": {"description": "Done", "content": content},
                    **fault_answers(),
                },
            }
        }
    }
