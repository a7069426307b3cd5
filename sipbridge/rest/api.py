"""The HTTP application: credentials, routes, mounts, and the pages for people and machines.

`create_app` returns one ASGI application. It looks at the path once: below a mount the mounted application
has the request to itself (Bayeux, streams, operator routes, other fronts bring their own rules); the
resources of RESTful Presence are served here without a framework in between, since they are asked thousands
of times a second; everything else (`/health/*`, `/metrics`, `/docs`, `/openapi.json`, routers of other
fronts) is FastAPI's, behind the rule about origins and, where that is wanted, the operator's password.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipbridge import __version__
from sipbridge.gateway.caller import Caller
from sipbridge.rest import ocsg, openapi, pages
from sipbridge.rest.attempts import SERVED
from sipbridge.rest.exchange import (
    JSON_HEADERS,
    MAX_BODY,
    STALE,
    Exceeded,
    Exchange,
    Reply,
    read_json_body,
    request_id,
    tail_of,
)
from sipbridge.rest.faults import OPERATOR, Envelope, Fault, no_resource, render, unauthenticated
from sipbridge.rest.ocsg import Answer, Ask, Operations, Style
from sipbridge.rest.origins import Origins
from sipbridge.rest.security import (
    CHALLENGES,
    OPERATOR_CHALLENGES,
    Authenticator,
    first_of,
    nobody,
)

PREFIX = ocsg.ROOT + "/"
DESCRIPTION = frozenset(
    {"/", "/docs", "/openapi.json", ocsg.ROOT, f"{ocsg.ROOT}/", f"{ocsg.ROOT}/index.html"}
)
"""Pages that `docs = "admin"` closes."""
METRICS = frozenset({"/metrics"})


@dataclass(frozen=True, slots=True)
class Ready:
    """Is the gateway ready, and what each part says about itself."""

    ok: bool
    parts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RestSettings:
    """What the configuration says about HTTP.

    public_url: our address as clients see it, without path; empty: what the request names. closed: pages
    that are for the operator only.
    """

    public_url: str = ""
    allowed_origins: tuple[str, ...] = ()
    envelope: Envelope = Envelope.PARLAYX
    style: Style = Style()
    max_body: int = MAX_BODY
    closed: frozenset[str] = frozenset()


Observe = Callable[[str, int], None]
"""Told of every finished operation: its name ("" if it never became one) and the HTTP status."""


class Front:
    """The ASGI application that `create_app` returns. `fastapi` takes routers of other fronts."""

    def __init__(
        self,
        gateway: Operations,
        authenticate: Authenticator,
        operator: Authenticator,
        settings: RestSettings,
        mounts: Mapping[str, ASGIApp],
        fastapi: FastAPI,
        observe: Observe,
        exceeded: Exceeded,
    ) -> None:
        self.gateway = gateway
        self.authenticate = authenticate
        self.operator = operator
        self.settings = settings
        self.exchange = Exchange(Origins(settings.allowed_origins), settings.envelope, exceeded)
        self.mounts = tuple(sorted(mounts.items(), key=lambda m: len(m[0]), reverse=True))
        self.fastapi = fastapi
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.fastapi(scope, receive, send)
            return
        SERVED.set(scope)
        path: str = scope["path"]
        if scope["type"] == "http" and path.startswith(PREFIX):
            resource = path[len(PREFIX) :].partition("/")[0]
            if ocsg.is_resource(resource):
                await self.serve(resource, scope, receive, send)
                return
        for mount, app in self.mounts:
            if path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
                await app(scope, receive, send)
                return
        await self.serve_page(path, scope, receive, send)

    async def serve(self, resource: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to RESTful Presence."""
        name = ""

        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            nonlocal name
            ask = await self.read(resource, scope, headers, receive, trace)
            operation = ocsg.find(resource, scope["method"], ask)
            name = operation.name
            answer = await operation.handler(self.gateway, ask)
            return self.reply(operation.success, answer)

        status = await self.exchange.serve(scope, send, work)
        self.observe(name, status)

    async def read(
        self, resource: str, scope: Scope, headers: Mapping[str, str], receive: Receive, trace: str
    ) -> Ask:
        """Who asks what. Raises Refused (401, 413, 415) and what the gate says."""
        known = await self.authenticate(headers)
        if known is None:
            raise unauthenticated(CHALLENGES)
        body = b""
        if scope["method"] in ("PUT", "POST"):
            body = await read_json_body(headers, receive, self.settings.max_body)
        return Ask(
            Caller(known.application, known.identity, known.key, trace, known.bound),
            tail_of(scope, PREFIX + resource),
            scope["query_string"],
            body,
            self.settings.public_url or f"{scope['scheme']}://{headers.get('host', '')}",
            headers,
        )

    def reply(self, status: int, answer: Answer) -> Reply:
        extra: list[tuple[bytes, bytes]] = []
        if answer.location:
            extra = [(b"location", answer.location.encode("latin-1", "ignore"))]
        if answer.stale:
            extra.append(STALE)
        if status == 204:
            return Reply(status, headers=extra)
        body = ocsg.render(answer.result, self.settings.style)
        return Reply(status, body, [*JSON_HEADERS, *extra])

    async def serve_page(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI's routes: only for pages that may call us, and some only for the operator."""
        if scope["type"] == "websocket":
            await self.exchange.serve(scope, send, nothing)
            return
        if path not in self.settings.closed and b"origin" not in dict(scope["headers"]):
            await self.fastapi(scope, receive, send)
            return

        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            if path in self.settings.closed and await self.operator(headers) is None:
                raise unauthenticated(OPERATOR_CHALLENGES, OPERATOR)
            return await collected(self.fastapi, scope, receive)

        await self.exchange.serve(scope, send, work)


async def nothing(headers: Mapping[str, str], trace: str) -> Reply:
    """The route of what is not there."""
    raise no_resource("this path")


async def collected(app: ASGIApp, scope: Scope, receive: Receive) -> Reply:
    """What an application answers, as one reply; our pages are small."""
    reply = Reply(500)

    async def take(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            names = (b"content-type", b"allow", b"cache-control")
            reply.headers = [(n, v) for n, v in message["headers"] if n.lower() in names]
        else:
            reply.body += message.get("body", b"")

    await app(scope, receive, take)
    return reply


def create_app(
    gateway: Operations,
    authenticators: Sequence[Authenticator],
    *,
    settings: RestSettings | None = None,
    mounts: Mapping[str, ASGIApp] | None = None,
    ready: Callable[[], Ready] = lambda: Ready(True),
    metrics: Callable[[], tuple[bytes, str]] | None = None,
    observe: Observe = lambda name, status: None,
    exceeded: Exceeded = lambda quota: None,
    operator: Authenticator = nobody,
) -> Front:
    """The whole HTTP side.

    mounts: paths such as `/bayeux` to ASGI applications (HTTP and WebSocket). ready: asked by
    `/health/ready`. metrics: body and content type of `/metrics`; without it the path is 404. exceeded: told
    of every refusal by a quota. operator: knows the operator's credentials, for pages that are closed.
    """
    settings = settings or RestSettings()
    fastapi = FastAPI(
        title="sipbridge",
        version=__version__,
        description="SIP SIMPLE presence for applications that speak JSON",
        docs_url=None,
        redoc_url=None,
        servers=[{"url": settings.public_url}] if settings.public_url else None,
    )
    add_pages(fastapi, ready, metrics, pages.places(mounts or ()))
    add_faults(fastapi, settings.envelope)
    made = fastapi.openapi

    def described() -> dict[str, Any]:
        return openapi.describe(made(), frozenset(mounts or ()), settings.closed)

    fastapi.openapi = described  # type: ignore[method-assign]
    return Front(
        gateway,
        first_of(authenticators),
        operator,
        settings,
        mounts or {},
        fastapi,
        observe,
        exceeded,
    )


def add_pages(
    fastapi: FastAPI,
    ready: Callable[[], Ready],
    metrics: Callable[[], tuple[bytes, str]] | None,
    places: Mapping[str, str],
) -> None:
    @fastapi.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        """What is where, as a page for browsers."""
        if "text/html" in request.headers.get("accept", ""):
            return Response(pages.front(places), media_type="text/html; charset=utf-8")
        return json_response(200, places)

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

        @fastapi.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
        async def show_metrics() -> Response:
            """Prometheus text."""
            body, kind = metrics()
            return Response(body, media_type=kind)

    @fastapi.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(pages.description(fastapi.openapi()), media_type="text/html; charset=utf-8")

    @fastapi.get(f"{ocsg.ROOT}/index.html", include_in_schema=False)
    @fastapi.get(ocsg.ROOT, include_in_schema=False)
    async def index() -> Response:
        return Response(pages.index(), media_type="text/html; charset=utf-8")


def add_faults(fastapi: FastAPI, envelope: Envelope) -> None:
    """What the framework refuses says so in our words."""

    @fastapi.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        path, status = request.url.path[:200], error.status_code
        part = "method" if status == 405 else "Request-URI"
        detail = f"{request.method} {path}: {error.detail}"
        if status == 404:
            detail = f"there is nothing at {path}; GET / says what is where"
        fault = Fault(status, "SVC0002", (part,), detail)
        body = render(fault, request_id(request.headers), envelope)
        return Response(body, status, error.headers, media_type="application/json")


def json_response(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
