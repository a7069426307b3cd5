"""The operator routes, below `/admin`: decisions for anybody, and the applications that live here.

The operator has credentials of its own: the user `admin` and the password of `admin.password_hash`. Without
one there is nothing here (404). Decisions go through the same operations as those of a presentity's own
application, as `Caller("operator", presentity)`: a person with only a phone could admit nobody otherwise.

    GET    /admin/presentities/{presentity}/watchers              who waits, who sees something
    PUT    /admin/presentities/{presentity}/watchers/{watcher}    decide
    DELETE /admin/presentities/{presentity}/watchers/{watcher}    block
    GET    /admin/peers                                           presence servers of others: are they there
    GET    /admin/applications                                    list
    POST   /admin/applications                                    add
    GET    /admin/applications/{id}                               one
    PATCH  /admin/applications/{id}                               change, disable, enable
    DELETE /admin/applications/{id}                               remove, with everything it has

Addresses in the path are percent-encoded once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import quote, unquote

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from sipbridge.errors import InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.rest import ocsg_reading as reading
from sipbridge.rest.admin_models import (
    AdminDecisions,
    AdminWatchers,
    ApplicationChange,
    Applications,
    ApplicationView,
    Model,
    NewApplication,
    Peers,
    PeerView,
)
from sipbridge.rest.exchange import Exchange, Reply, json_reply, read_json_body, tail_of
from sipbridge.rest.faults import OPERATOR, no_method, no_resource, unauthenticated
from sipbridge.rest.ocsg import Operations
from sipbridge.rest.ocsg_models import OpenSubscription
from sipbridge.rest.security import OPERATOR_CHALLENGES, Authenticator
from sipbridge.uri import Uri

ROOT = "/admin"
USER = "admin"
"""The operator's user name."""

M = TypeVar("M", bound=Model)


class Provisioning(Protocol):
    """Applications at run time. A change is durable and in force when the call returns.

    Raises UnknownApplication, AgainstPolicy for one of the configuration, InvalidValue, StoreError.
    """

    def listed(self) -> Sequence[ApplicationView]: ...

    def get(self, id: str) -> ApplicationView: ...

    async def add(self, wanted: NewApplication) -> ApplicationView: ...

    async def change(self, id: str, wanted: ApplicationChange) -> ApplicationView: ...

    async def remove(self, id: str) -> None: ...


Stand = Callable[[Uri, str], Awaitable[Caller]]
"""The operator in the place of a presentity, whose watchers are known then (presentity, trace)."""


@dataclass(slots=True)
class Asked:
    """One request to the operator routes. path: the variables of the path."""

    path: tuple[str, ...]
    body: bytes
    trace: str


Handler = Callable[["AdminApp", Asked], Awaitable[Reply]]


class AdminApp:
    """The ASGI application, to be mounted at `/admin`. authenticate: None means there is no operator."""

    def __init__(
        self,
        authenticate: Authenticator | None,
        gateway: Operations,
        stand: Stand,
        provisioning: Provisioning,
        exchange: Exchange,
        peers: Callable[[], Sequence[PeerView]] = tuple,
    ) -> None:
        self.authenticate = authenticate
        self.peers = peers
        self.gateway = gateway
        self.stand = stand
        self.provisioning = provisioning
        self.exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            if self.authenticate is None:
                raise no_resource(scope["path"])
            if await self.authenticate(headers) is None:
                raise unauthenticated(OPERATOR_CHALLENGES, OPERATOR)
            handler, path = find(scope["method"], tail_of(scope, ROOT))
            body = b""
            if scope["method"] in ("PUT", "POST", "PATCH"):
                body = await read_json_body(headers, receive)
            return await handler(self, Asked(path, body, trace))

        await self.exchange.serve(scope, send, work)

    # --- decisions

    async def watchers(self, asked: Asked) -> Reply:
        caller = await self.caller(asked)
        waiting = await self.gateway.open_subscriptions(caller)
        found = AdminWatchers(
            open=[
                OpenSubscription(
                    application=o.application, attributes=list(o.attributes), watcher=o.watcher
                )
                for o in waiting
            ],
            watchers=await self.gateway.my_watchers(caller),
        )
        return shown(found)

    async def decide(self, asked: Asked) -> Reply:
        wanted = read(AdminDecisions, asked.body)
        watcher = reading.read_uri(asked.path[1], "watcher")
        caller = await self.caller(asked)
        decisions = [(d.presenceAttribute, d.decision) for d in wanted.decisions]
        await self.gateway.update_authorization(caller, watcher, decisions)
        return Reply(204)

    async def block(self, asked: Asked) -> Reply:
        watcher = reading.read_uri(asked.path[1], "watcher")
        await self.gateway.block(await self.caller(asked), watcher)
        return Reply(204)

    async def caller(self, asked: Asked) -> Caller:
        presentity = reading.read_uri(asked.path[0], "presentity")
        if presentity.scheme not in ("sip", "pres"):
            raise InvalidValue(f"{presentity} is no presentity", part="presentity")
        return await self.stand(presentity, asked.trace)

    async def presence_servers(self, asked: Asked) -> Reply:
        return shown(Peers(result=list(self.peers())))

    # --- applications

    async def applications(self, asked: Asked) -> Reply:
        return shown(Applications(result=list(self.provisioning.listed())))

    async def application(self, asked: Asked) -> Reply:
        return shown(self.provisioning.get(asked.path[0]))

    async def add(self, asked: Asked) -> Reply:
        made = await self.provisioning.add(read(NewApplication, asked.body))
        location = f"{ROOT}/applications/{quote(made.id, safe='')}".encode()
        return json_reply(made.model_dump(mode="json"), 201, [(b"location", location)])

    async def change(self, asked: Asked) -> Reply:
        wanted = read(ApplicationChange, asked.body)
        return shown(await self.provisioning.change(asked.path[0], wanted))

    async def remove(self, asked: Asked) -> Reply:
        await self.provisioning.remove(asked.path[0])
        return Reply(204)


ROUTES: Mapping[tuple[str, ...], Mapping[str, Handler]] = {
    ("presentities", "*", "watchers"): {"GET": AdminApp.watchers},
    ("presentities", "*", "watchers", "*"): {"PUT": AdminApp.decide, "DELETE": AdminApp.block},
    ("peers",): {"GET": AdminApp.presence_servers},
    ("applications",): {"GET": AdminApp.applications, "POST": AdminApp.add},
    ("applications", "*"): {
        "GET": AdminApp.application,
        "PATCH": AdminApp.change,
        "DELETE": AdminApp.remove,
    },
}
"""Segments of the path below the root, `*` for a variable, and what each method does there."""


def find(method: str, tail: str) -> tuple[Handler, tuple[str, ...]]:
    """The handler and the variables of its path. Raises Refused (404, 405)."""
    segments = tail.split("/")
    for pattern, methods in ROUTES.items():
        pairs = list(zip(pattern, segments, strict=False))
        if len(pattern) != len(segments) or not all(p in ("*", s) and s for p, s in pairs):
            continue
        if method not in methods:
            raise no_method(method, ", ".join(methods))
        return methods[method], tuple(unquote(s) for p, s in pairs if p == "*")
    raise no_resource(f"{ROOT}/{tail}")


def read(model: type[M], body: bytes) -> M:
    """A request body. Raises InvalidValue that names the part, never its content."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        part = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]
        )
        raise InvalidValue(first["msg"], part=part.removeprefix(".") or "body") from None


def shown(model: Model) -> Reply:
    return json_reply(model.model_dump(mode="json"))
