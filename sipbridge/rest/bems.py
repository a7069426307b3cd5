"""BEMS messaging: `/bems/jsonrpc`, and the messages of a session at `/bems/notifications` and `/bems/events`.

A front only: it finds out who calls and in which session, reads requests (`bems_reading.py`), hands them to
`gateway.remote_presence`, and writes what it said (`bems_models.py`). Whatever is wrong with a JSON-RPC
request is said in JSON-RPC with HTTP 200; only what is wrong with HTTP itself has a status of HTTP.

Who calls: HTTP Basic or a token in the headers proves an application as at every front. BeginSession may
bring the token in its parameters instead. From then on the session's device token names the session, in the
cookie `deviceToken` or a header of that name, and it proves the caller too if it cannot be guessed: one that
we made, or a client's own of 16 characters and more. With a shorter one every request needs its credentials.
"""

import secrets
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

import orjson
from starlette.types import Receive, Scope, Send

from sipbridge.errors import ActionPending, SessionOver, SipBridgeError
from sipbridge.gateway.batches import refusals
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.remote_presence import RemotePresence
from sipbridge.gateway.sessions import Operation, Session
from sipbridge.identities import Identities
from sipbridge.rest.bems_models import (
    CLIENT_SESSION_TIMEOUT,
    INVALID_GD_AUTHTOKEN,
    INVALID_GD_TOKEN,
    Problem,
    Refusal,
    State,
    immediate,
    problem_of,
    refused,
)
from sipbridge.rest.bems_reading import Begin, Call, Mistaken, ids, read
from sipbridge.rest.bems_streams import Readers
from sipbridge.rest.exchange import (
    JSON_HEADERS,
    MAX_BODY,
    Exchange,
    Reply,
    read_body,
    tail_of,
)
from sipbridge.rest.faults import no_json, no_method, no_resource, unauthenticated
from sipbridge.rest.gate import REQUESTS, Gate
from sipbridge.rest.origins import Pairs
from sipbridge.rest.security import CHALLENGES
from sipbridge.rest.tokens import Verify

ROOT = "/bems"
TOKEN = "x-good-gd-authtoken"
DEVICE = "deviceToken"
UNGUESSABLE = 16
"""Characters of a client's own device token from which on it proves who calls."""
COOKIE_AGE = 365 * 86400
"""Seconds. It names a device; how long the session lives is known here."""
KINDS = frozenset(
    {"", "application/json", "application/json-rpc", "application/jsonrequest", "text/json"}
    | {"text/plain"}
)


Count = Callable[[str, int], None]
"""Told of every request: its method, if it is one of ours, and the code of its error or 0."""


class HeaderToken:
    """`X-Good-GD-AuthToken`, verified like any other token."""

    def __init__(self, verify: Verify) -> None:
        self.verify = verify

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None:
        token = headers.get(TOKEN)
        return await self.verify(token) if token else None


@dataclass(slots=True)
class Visit:
    """One HTTP request: who calls (None: only the session says so), and in which session."""

    headers: Mapping[str, str]
    known: Caller | None
    device: str
    session: Session | None = None
    nobody: bool = False
    """The device token could be guessed, so it proves nobody."""
    cookies: Pairs = field(default_factory=list)

    @property
    def anonymous(self) -> bool:
        """Is there nothing at all that could say who calls?"""
        return self.known is None and (self.nobody or not self.device)


class Bems:
    """The ASGI application, to be mounted at `/bems`.

    gate: knows callers by headers; secure: cookies are for HTTPS only.
    """

    def __init__(
        self,
        remote: RemotePresence,
        gate: Gate,
        verify: Verify,
        identities: Identities,
        exchange: Exchange,
        readers: Readers,
        count: Count = lambda method, code: None,
        *,
        secure: bool = False,
    ) -> None:
        self.remote = remote
        self.gate = gate
        self.verify = verify
        self.identities = identities
        self.exchange = exchange
        self.readers = readers
        self.count = count
        self.secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        resource, method = tail_of(scope, ROOT), scope.get("method", "")

        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            match resource, method:
                case "jsonrpc", "POST":
                    return await self.answer(headers, receive)
                case "notifications", "GET":
                    session = self.here(await self.visit(headers))
                    if isinstance(session, Problem):
                        return json_reply(refused(None, session))
                    return await self.readers.poll(session, scope, receive)
                case "events", "GET":
                    session = self.here(await self.visit(headers))
                    if isinstance(session, Problem):
                        return json_reply(refused(None, session), 404)
                    return Reply(200, stream=self.readers.stream(session, scope, receive, send))
                case "jsonrpc", _:
                    raise no_method(method, "POST")
                case "notifications" | "events", _:
                    raise no_method(method, "GET")
            raise no_resource(scope["path"])

        await self.exchange.serve(scope, send, work)

    # --- who and where ---

    async def visit(self, headers: Mapping[str, str]) -> Visit:
        """Raises Refused (401) for credentials that are wrong, QuotaExceeded."""
        known = await self.gate(headers)
        if known is None and "authorization" in headers:
            raise unauthenticated(CHALLENGES)
        visit = Visit(headers, known, device_of(headers))
        visit.session = self.session_of(visit)
        if known is None and visit.session is not None:
            self.gate.rate.require(visit.session.caller.application, REQUESTS)
        return visit

    def session_of(self, visit: Visit) -> Session | None:
        """The session that the device token names, if the caller may use it."""
        try:
            session = self.remote.find(visit.device)
        except SessionOver:
            return None
        known, owner = visit.known, session.caller
        if known is not None:
            same = (known.application, known.key) == (owner.application, owner.key)
            return session if same else None
        if session.chosen and len(session.token) < UNGUESSABLE:
            visit.nobody = True
            return None
        return session

    def here(self, visit: Visit) -> Session | Problem:
        """The session of a request that needs one. Raises Refused (401)."""
        if visit.session is not None:
            return visit.session
        if visit.anonymous:
            raise unauthenticated(CHALLENGES)
        return CLIENT_SESSION_TIMEOUT

    # --- JSON-RPC ---

    async def answer(self, headers: Mapping[str, str], receive: Receive) -> Reply:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in KINDS:
            raise no_json(kind)
        body = await read_body(receive, headers.get("content-length", ""), MAX_BODY)
        visit = await self.visit(headers)
        try:
            batch, calls = read(body, self.identities)
        except Refusal as refusal:
            self.count("", refusal.problem.code)
            return json_reply(refused(None, refusal.problem))
        begins = any(isinstance(call, Call) and call.begin is not None for call in calls)
        if visit.anonymous and not begins:
            raise unauthenticated(CHALLENGES)
        self.charge(visit, len(calls) - 1)
        answers = await self.perform(visit, calls)
        return json_reply(answers if batch else answers[0], extra=visit.cookies)

    def charge(self, visit: Visit, more: int) -> None:
        """A batch is as many requests as are in it. Raises QuotaExceeded."""
        caller = visit.known or (visit.session.caller if visit.session else None)
        if caller is not None:
            for _ in range(more):
                self.gate.rate.require(caller.application, REQUESTS)

    async def perform(
        self, visit: Visit, calls: Sequence[Call | Mistaken]
    ) -> list[dict[str, object]]:
        """The answers to the requests of one batch, in their order."""
        errors: dict[int, Exception] = {
            place: call.refusal for place, call in enumerate(calls) if isinstance(call, Mistaken)
        }
        good = {place: call for place, call in enumerate(calls) if isinstance(call, Call)}
        for place, call in good.items():
            if call.begin is not None:
                try:
                    await self.begin(visit, call, call.begin)
                except (Refusal, SipBridgeError) as error:
                    errors[place] = error
        self.judge(visit.session, calls, errors)
        wanted = [call for place, call in good.items() if place not in errors]
        if wanted and visit.session is not None:
            try:
                await self.remote.accept(visit.session, [call.request for call in wanted])
            except SipBridgeError as error:
                errors |= {p: error for p, call in good.items() if p not in errors}
            if any(call.reconnect and call.begin is None for call in wanted):
                self.remote.reconnect(visit.session)
        return [self.worded(call, errors.get(place)) for place, call in enumerate(calls)]

    def judge(
        self,
        session: Session | None,
        calls: Sequence[Call | Mistaken],
        errors: dict[int, Exception],
    ) -> None:
        """Note what cannot be performed: no session, an id in progress, dependencies that do not hold."""
        places: dict[str, int] = {}
        for place, call in enumerate(calls):
            if isinstance(call, Mistaken):
                continue
            if place not in errors and (error := self.unfit(session, call, places)) is not None:
                errors[place] = error
            places.setdefault(str(call.request.id), place)
        depends = {
            str(call.request.id): call.request.depends
            for place, call in enumerate(calls)
            if isinstance(call, Call) and place not in errors
        }
        failed = frozenset(ids(calls, errors)) - depends.keys()
        for id, error in refusals(depends, failed).items():
            errors[places[id]] = error

    def unfit(
        self, session: Session | None, call: Call, before: Container[str]
    ) -> Exception | None:
        """Why a request cannot be taken now."""
        if session is None or session.over:
            return SessionOver("there is no session")
        if str(call.request.id) in before:
            return ActionPending(f"{call.request.id} is twice in the batch")
        try:
            self.remote.check(session, call.request)
        except SipBridgeError as error:
            return error
        return None

    def worded(self, call: Call | Mistaken, error: Exception | None) -> dict[str, object]:
        if isinstance(call, Mistaken):
            self.count(call.method, call.refusal.problem.code)
            return refused(call.id, call.refusal.problem)
        request = call.request
        problem = None if error is None else problem_of(error)
        self.count(request.method, problem.code if problem else 0)
        if problem is not None:
            return refused(request.id, problem)
        ends = request.operation is Operation.TERMINATE
        more = {}
        if request.operation is Operation.PING:
            more = {"sessionTimeout": round(self.remote.limits.timeout)}
        return immediate(request, State.COMPLETE if ends else State.PROCESSING, more)

    # --- BeginSession ---

    async def begin(self, visit: Visit, call: Call, wanted: Begin) -> None:
        """Open a session; the requests after it are in it. Raises Refusal, SipBridgeError."""
        caller = await self.proven(visit, wanted)
        chosen = wanted.device or visit.device
        visit.session = await self.remote.begin(
            caller,
            chosen or str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
            chosen=bool(chosen) and not self.ours(chosen),
            reconnect=call.reconnect,
            push=wanted.push,
        )
        visit.known = caller
        visit.cookies = [self.cookie(visit.session)]

    def ours(self, token: str) -> bool:
        """Is it the device token of a session, and one that we made?"""
        known = self.remote.sessions.get(token)
        return known is not None and not known.chosen

    async def proven(self, visit: Visit, wanted: Begin) -> Caller:
        """Who begins a session. Raises Refusal: a token that proves nobody."""
        if visit.known is not None:
            return visit.known
        token = wanted.auth_token or wanted.gd_token
        caller = await self.verify(token) if token else None
        if caller is None:
            old = wanted.gd_token and not wanted.auth_token
            raise Refusal(INVALID_GD_TOKEN if old else INVALID_GD_AUTHTOKEN)
        return self.gate.admit(caller, visit.headers)

    def cookie(self, session: Session) -> tuple[bytes, bytes]:
        text = (
            f"{DEVICE}={session.token}; Path={ROOT}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax"
            f"{'; Secure' if self.secure else ''}"
        )
        return b"set-cookie", text.encode("ascii")


def device_of(headers: Mapping[str, str]) -> str:
    """The device token of a request: its own header, else the cookie; "" if there is none."""
    if DEVICE.lower() in headers:
        return headers[DEVICE.lower()].strip()
    try:
        cookies: SimpleCookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[DEVICE].value if DEVICE in cookies else ""


def json_reply(value: object, status: int = 200, extra: Pairs | None = None) -> Reply:
    return Reply(status, orjson.dumps(value), [*JSON_HEADERS, *(extra or ())])
