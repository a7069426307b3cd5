"""One HTTP request and its answer, the same way on every route that is plain ASGI.

A request has an id (`X-Request-ID` if the client sent a decent one, else a fresh one), which is echoed, is
the caller's `trace` and stands in every fault. Pages of foreign origins are refused, preflights answered,
and whatever a route raises becomes a fault: `Refused` and the errors of this program by the tables of
`faults.py`, anything else a 500 that says nothing and is logged.
"""

import itertools
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson
from starlette.types import Receive, Scope, Send

from sipbridge.errors import QuotaExceeded, SipBridgeError
from sipbridge.rest.faults import (
    INTERNAL,
    Envelope,
    Fault,
    Refused,
    fault_of,
    no_json,
    render,
    too_large,
)
from sipbridge.rest.origins import PREFLIGHT, Origins, Pairs

MAX_BODY = 1 << 20
"""Bytes of a request; a publication of every attribute there is takes about ten thousand."""

JSON_TYPES = frozenset({"", "application/json", "text/json", "text/plain"})
TRACE = "sipbridge.trace"
"""Where a request's id stands in its scope, for those who see no headers."""
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
JSON_HEADERS: Pairs = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
STALE = (b"x-presence-stale", b"true")
"""What an answer says that may be old, because a presence server is silent or has lost us."""

LIFE, REQUESTS = secrets.token_hex(4), itertools.count(1)
"""What our own request ids are made of: unlike those of another process, and each used once."""

Exceeded = Callable[[str], None]
"""Told the name of a quota each time a request is refused because of it."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Reply:
    """What a route answers. A 204 has no body."""

    status: int
    body: bytes = b""
    headers: Pairs = field(default_factory=list)
    stream: Callable[[Pairs], Awaitable[None]] | None = None
    """Writes the whole answer itself, with these headers besides its own; nothing else of it counts."""


Work = Callable[[Mapping[str, str], str], Awaitable[Reply]]
"""A route: request headers (names in lower case) and trace to its reply."""


class Exchange:
    """Serves requests to plain routes."""

    def __init__(
        self,
        origins: Origins,
        envelope: Envelope = Envelope.PARLAYX,
        exceeded: Exceeded = lambda quota: None,
    ) -> None:
        self.origins = origins
        self.envelope = envelope
        self.exceeded = exceeded

    async def serve(self, scope: Scope, send: Send, work: Work) -> int:
        """Answer one request; returns the status. A WebSocket is turned away: there are none here."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return 403
        headers = headers_of(scope)
        trace = begun(scope, headers)
        cors: Pairs = []
        try:
            cors = self.origins.check(headers, scope["method"])
            if scope["method"] == "OPTIONS" and cors:
                reply = Reply(204, headers=PREFLIGHT)
            else:
                reply = await work(headers, trace)
        except Refused as refused:
            reply = self.failure(refused.fault, trace)
        except SipBridgeError as error:
            if isinstance(error, QuotaExceeded):
                self.exceeded(error.quota)
            reply = self.failure(fault_of(error), trace)
        except Exception:
            log.exception("request %s failed: %s %s", trace, scope["method"], scope["path"])
            reply = self.failure(INTERNAL, trace)
        if reply.stream is not None:
            await reply.stream([*cors, (b"x-request-id", trace.encode("ascii"))])
        else:
            await respond(send, reply.status, [*reply.headers, *cors], reply.body, trace)
        return reply.status

    def failure(self, fault: Fault, trace: str) -> Reply:
        body = render(fault, trace, self.envelope)
        return Reply(fault.status, body, [*JSON_HEADERS, *fault.headers])


def json_reply(value: object, status: int = 200, headers: Pairs | None = None) -> Reply:
    return Reply(status, orjson.dumps(value), [*JSON_HEADERS, *(headers or ())])


def headers_of(scope: Scope) -> dict[str, str]:
    return {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}


def begun(scope: Scope, headers: Mapping[str, str]) -> str:
    """The id of a request, which from now on stands in its scope too."""
    trace = scope[TRACE] = request_id(headers)
    return trace


def request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given
    return f"{LIFE}{next(REQUESTS):08x}"


def tail_of(scope: Scope, root: str) -> str:
    """What follows `root` and a slash in the path, still percent-encoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")[len(root) + 1 :]


async def read_json_body(
    headers: Mapping[str, str], receive: Receive, most: int = MAX_BODY
) -> bytes:
    """The body of a request that says it is JSON, or says nothing. Raises Refused (413, 415)."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES:
        raise no_json(kind)
    return await read_body(receive, headers.get("content-length", ""), most)


async def read_body(receive: Receive, announced: str, most: int) -> bytes:
    """The whole body. Raises Refused (413) as soon as it is too long."""
    if announced.isdecimal() and int(announced) > most:
        raise too_large(most)
    parts: list[bytes] = []
    size = 0
    while True:
        received = await receive()
        part: bytes = received.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
        if not received.get("more_body", False):
            return b"".join(parts)


async def respond(send: Send, status: int, headers: Pairs, body: bytes, trace: str) -> None:
    whole = [*headers, (b"x-request-id", trace.encode("ascii"))]
    if status != 204:
        whole.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": whole})
    await send({"type": "http.response.body", "body": body})
