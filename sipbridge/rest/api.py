"""The HTTP application: credentials, routes, mounts, and the pages for people and machines.

`create_app` returns one ASGI application. It looks at the path once: below a mount the mounted application
has the request to itself (Bayeux, streams, other fronts bring their own rules); the resources of RESTful
Presence are served here without a framework in between, since they are asked thousands of times a second;
everything else (`/health/*`, `/metrics`, `/docs`, `/openapi.json`, routers of other fronts) is FastAPI's.

Every request has an id: `X-Request-ID` if the client sent a decent one, else a fresh one. It is echoed, is
the caller's `trace`, and stands in every fault.
"""

import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sipbridge import __version__
from sipbridge.errors import SipBridgeError
from sipbridge.gateway.caller import Caller
from sipbridge.rest import ocsg, openapi, pages
from sipbridge.rest.faults import (
    INTERNAL,
    Envelope,
    Fault,
    Refused,
    fault_of,
    no_json,
    render,
    too_large,
    unauthenticated,
)
from sipbridge.rest.ocsg import Answer, Ask, Operations, Style
from sipbridge.rest.origins import PREFLIGHT, Origins, Pairs
from sipbridge.rest.security import Authenticator, BasicAuthenticator, first_of

MAX_BODY = 1 << 20
"""Bytes of a request; a publication of every attribute there is takes about ten thousand."""

PREFIX = ocsg.ROOT + "/"
JSON_TYPES = frozenset({"", "application/json", "text/json", "text/plain"})
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
CHALLENGES = ((b"www-authenticate", BasicAuthenticator.challenge.encode()),)
JSON_HEADERS: Pairs = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """Is the gateway ready, and what each part says about itself."""

    ok: bool
    parts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestSettings:
    """What the configuration says about HTTP.

    public_url: our address as clients see it, without path; empty: what the request names.
    """

    public_url: str = ""
    allowed_origins: tuple[str, ...] = ()
    envelope: Envelope = Envelope.PARLAYX
    style: Style = Style()
    max_body: int = MAX_BODY


Observe = Callable[[str, int], None]
"""Told of every finished operation: its name ("" if it never became one) and the HTTP status."""


class Front:
    """The ASGI application that `create_app` returns. `fastapi` takes routers of other fronts."""

    def __init__(
        self,
        gateway: Operations,
        authenticate: Authenticator,
        settings: RestSettings,
        mounts: Mapping[str, ASGIApp],
        fastapi: FastAPI,
        observe: Observe,
    ) -> None:
        self.gateway = gateway
        self.authenticate = authenticate
        self.settings = settings
        self.origins = Origins(settings.allowed_origins)
        self.mounts = tuple(sorted(mounts.items(), key=lambda m: len(m[0]), reverse=True))
        self.fastapi = fastapi
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.fastapi(scope, receive, send)
            return
        path: str = scope["path"]
        if scope["type"] == "http" and path.startswith(PREFIX):
            resource = path[len(PREFIX) :].partition("/")[0]
            if ocsg.is_resource(resource):
                await self.serve(resource, scope, receive, send)
                return
        await self.app_at(path)(scope, receive, send)

    def app_at(self, path: str) -> ASGIApp:
        """The mounted application below whose path this is, else FastAPI."""
        for mount, app in self.mounts:
            if path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
                return app
        return self.fastapi

    async def serve(self, resource: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to RESTful Presence."""
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        trace = request_id(headers)
        cors: Pairs = []
        name = ""
        try:
            cors = self.origins.check(headers)
            if scope["method"] == "OPTIONS" and cors:
                await respond(send, 204, [*PREFLIGHT, *cors], b"", trace)
                return
            ask = await self.read(resource, scope, headers, receive, trace)
            operation = ocsg.find(resource, scope["method"], ask)
            name = operation.name
            answer = await operation.handler(self.gateway, ask)
        except Refused as refused:
            status = await self.fail(send, refused.fault, cors, trace)
        except SipBridgeError as error:
            status = await self.fail(send, fault_of(error), cors, trace)
        except Exception:
            log.exception("request %s failed: %s %s", trace, scope["method"], scope["path"])
            status = await self.fail(send, INTERNAL, cors, trace)
        else:
            status = operation.success
            await self.succeed(send, status, answer, cors, trace)
        self.observe(name, status)

    async def read(
        self, resource: str, scope: Scope, headers: Mapping[str, str], receive: Receive, trace: str
    ) -> Ask:
        """Who asks what. Raises Refused (401, 413, 415)."""
        known = await self.authenticate(headers)
        if known is None:
            raise unauthenticated(CHALLENGES)
        body = b""
        if scope["method"] in ("PUT", "POST"):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in JSON_TYPES:
                raise no_json(kind)
            body = await read_body(
                receive, headers.get("content-length", ""), self.settings.max_body
            )
        return Ask(
            Caller(known.application, known.identity, known.key, trace),
            tail_of(scope, resource),
            scope["query_string"],
            body,
            self.settings.public_url or f"{scope['scheme']}://{headers.get('host', '')}",
        )

    async def succeed(
        self, send: Send, status: int, answer: Answer, cors: Pairs, trace: str
    ) -> None:
        extra = cors
        if answer.location:
            extra = [(b"location", answer.location.encode("latin-1", "ignore")), *cors]
        if status == 204:
            await respond(send, status, extra, b"", trace)
        else:
            body = ocsg.render(answer.result, self.settings.style)
            await respond(send, status, [*JSON_HEADERS, *extra], body, trace)

    async def fail(self, send: Send, fault: Fault, cors: Pairs, trace: str) -> int:
        body = render(fault, trace, self.settings.envelope)
        await respond(send, fault.status, [*JSON_HEADERS, *fault.headers, *cors], body, trace)
        return fault.status


def create_app(
    gateway: Operations,
    authenticators: Sequence[Authenticator],
    *,
    settings: RestSettings | None = None,
    mounts: Mapping[str, ASGIApp] | None = None,
    ready: Callable[[], Ready] = lambda: Ready(True),
    metrics: Callable[[], tuple[bytes, str]] | None = None,
    observe: Observe = lambda name, status: None,
) -> Front:
    """The whole HTTP side.

    mounts: paths such as `/bayeux` to ASGI applications (HTTP and WebSocket). ready: asked by
    `/health/ready`. metrics: body and content type of `/metrics`; without it the path is 404.
    """
    fastapi = FastAPI(
        title="sipbridge",
        version=__version__,
        description="SIP SIMPLE presence for applications that speak JSON",
        redoc_url=None,
    )
    add_pages(fastapi, ready, metrics)
    made = fastapi.openapi

    def described() -> dict[str, Any]:
        return openapi.describe(made(), events=ocsg.EVENTS in (mounts or {}))

    fastapi.openapi = described  # type: ignore[method-assign]
    return Front(
        gateway,
        first_of(authenticators),
        settings or RestSettings(),
        mounts or {},
        fastapi,
        observe,
    )


def add_pages(
    fastapi: FastAPI,
    ready: Callable[[], Ready],
    metrics: Callable[[], tuple[bytes, str]] | None,
) -> None:
    @fastapi.get("/health/live", tags=["operation"])
    async def live() -> Response:
        """200 as long as the process serves requests."""
        return json_response(200, {"status": "live"})

    @fastapi.get("/health/ready", tags=["operation"], responses={503: {}})
    async def is_ready() -> Response:
        """200 when requests can be served, else 503; says what each part says."""
        state = ready()
        word = "ready" if state.ok else "not ready"
        return json_response(200 if state.ok else 503, {"status": word, **state.parts})

    if metrics is not None:

        @fastapi.get("/metrics", tags=["operation"])
        async def show_metrics() -> Response:
            """Prometheus text."""
            body, kind = metrics()
            return Response(body, media_type=kind)

    @fastapi.get(f"{ocsg.ROOT}/index.html", include_in_schema=False)
    @fastapi.get(ocsg.ROOT, include_in_schema=False)
    async def index() -> Response:
        return Response(pages.index(), media_type="text/html; charset=utf-8")


def json_response(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8)


def tail_of(scope: Scope, resource: str) -> str:
    """What follows the resource in the path, still percent-encoded."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")[len(PREFIX) + len(resource) + 1 :]


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
