"""The session manager: `/rest/session_manager/…`, and what a presence request needs of it.

Off by default; with `ocsg.sessions` every presence request carries an `X-Session-ID`. A session belongs to
the application that opened it and to nobody else: for others it does not exist. It lives a fixed time from
its opening, told in milliseconds as the interface does. Sessions are kept in memory only; after a restart
clients open new ones, as after any other end of a session.

The operations, as documented: `POST sessions`, `GET session/${id}`, `DELETE session/${id}`. Failures are of
the type GeneralException.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.types import Receive, Scope, Send

from sipbridge.gateway.caller import Caller
from sipbridge.rest.exchange import Exchange, Reply, json_reply, tail_of
from sipbridge.rest.faults import GENERAL, Fault, Refused, no_session, unauthenticated
from sipbridge.rest.security import CHALLENGES, Authenticator

ROOT = "/rest/session_manager"

MAX_SESSIONS = 1000
"""Sessions of one application; when it opens more, its oldest end. A client needs one."""

TOKEN_BYTES = 24
"""192 random bits."""


def loop_time() -> float:
    return asyncio.get_running_loop().time()


class Sessions:
    """The live sessions. lifetime: seconds. now: monotonic seconds."""

    def __init__(self, lifetime: float, now: Callable[[], float] = loop_time) -> None:
        self.lifetime = lifetime
        self.now = now
        self.ends: dict[str, OrderedDict[str, float]] = {}

    def open(self, application: str) -> str:
        """A new session; its id."""
        mine = self.ends.setdefault(application, OrderedDict())
        while mine and (len(mine) >= MAX_SESSIONS or next(iter(mine.values())) <= self.now()):
            mine.popitem(last=False)
        made = secrets.token_urlsafe(TOKEN_BYTES)
        mine[made] = self.now() + self.lifetime
        return made

    def remaining(self, application: str, session: str) -> float:
        """Seconds it has left; 0.0 when there is no such session."""
        mine = self.ends.get(application)
        return max(0.0, mine.get(session, 0.0) - self.now()) if mine else 0.0

    def close(self, application: str, session: str) -> bool:
        """End it; False when there is no such session."""
        there = self.remaining(application, session) > 0
        if there:
            del self.ends[application][session]
        return there

    def revoke(self, application: str) -> None:
        """End all sessions of an application."""
        self.ends.pop(application, None)

    def require(self, caller: Caller, headers: Mapping[str, str]) -> None:
        """Raises Refused (403) unless the request names a live session of the caller."""
        given = headers.get("x-session-id", "")
        if not self.remaining(caller.application, given):
            raise no_session(403, "X-Session-ID is missing, over, or of somebody else")


class SessionManager:
    """The ASGI application, to be mounted at `/rest/session_manager`."""

    def __init__(self, sessions: Sessions, authenticate: Authenticator, exchange: Exchange) -> None:
        self.sessions = sessions
        self.authenticate = authenticate
        self.exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            caller = await self.authenticate(headers)
            if caller is None:
                raise unauthenticated(CHALLENGES)
            return self.answer(scope["method"], tail_of(scope, ROOT), caller.application)

        await self.exchange.serve(scope, send, work)

    def answer(self, method: str, tail: str, application: str) -> Reply:
        """One operation. Raises Refused (404, 405)."""
        resource, slash, session = tail.partition("/")
        if resource == "sessions" and not slash:
            allowed(method, "POST")
            return json_reply({"getSessionReturn": self.sessions.open(application)})
        if resource != "session" or not session:
            fault = Fault(404, "SVC0002", ("Request-URI",), "there is nothing here", type=GENERAL)
            raise Refused(fault)
        allowed(method, "GET", "DELETE")
        if method == "GET":
            left = self.sessions.remaining(application, session)
            if not left:
                raise no_session(404, "no such session")
            return json_reply({"getSessionRemainingLifeTimeReturn": str(round(left * 1000))})
        if not self.sessions.close(application, session):
            raise no_session(404, "no such session")
        return json_reply({"destroySessionReturn": True})


def allowed(method: str, *methods: str) -> None:
    if method not in methods:
        listed = ", ".join(methods)
        detail = f"{method} is not one of {listed}"
        headers = ((b"allow", listed.encode()),)
        raise Refused(Fault(405, "SVC0002", ("method",), detail, headers, GENERAL))
