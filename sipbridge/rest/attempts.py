"""Requests that do not prove who calls, told at whatever door they knock.

An authenticator sees headers, and nothing else of a request; the door behind it knows no more than that
nobody was proven. What the operator wants to know besides, whence it came and to which path, is of the
request that is being served: `SERVED`, set where every request comes in. Nothing of a secret is told: the
user name as it was written, never a password or a token.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace

from starlette.types import Scope

from sipbridge.gateway.caller import Caller
from sipbridge.rest.exchange import TRACE, request_id
from sipbridge.rest.faults import Refused
from sipbridge.rest.security import Authenticator, credentials
from sipbridge.rest.tokens import Verify

SERVED: ContextVar[Scope | None] = ContextVar("served", default=None)
"""The request that is being served in this task."""
MISSING = "no credentials"
MAX_PATH = 200


@dataclass(frozen=True, slots=True)
class Attempt:
    """One of them. reason: MISSING, or what was wrong; user: whom Basic names, else ""."""

    reason: str
    user: str = ""
    address: str = ""
    path: str = ""
    trace: str = ""

    @property
    def missing(self) -> bool:
        """Did it bring no credentials at all? So do clients that wait to be asked for them."""
        return self.reason == MISSING


Report = Callable[[Attempt], None]


def unheard(attempt: Attempt) -> None:
    """Nobody wants to know."""


def told(
    authenticate: Authenticator, report: Report, *, header: str = "", unnamed: bool = True
) -> Authenticator:
    """The authenticator, with a report when it knows nobody or raises Refused.

    header: another one, in lower case, that may bring a token. unnamed: also when there are no credentials.
    """

    async def asked(headers: Mapping[str, str]) -> Caller | None:
        try:
            caller = await authenticate(headers)
        except Refused:
            report(attempt(headers, header))
            raise
        if caller is None:
            failed = attempt(headers, header)
            if unnamed or not failed.missing:
                report(failed)
        return caller

    return asked


def told_token(verify: Verify, report: Report) -> Verify:
    """The same for a token that stands in no header."""

    async def asked(token: str) -> Caller | None:
        caller = await verify(token)
        if caller is None:
            report(replace(attempt({}), reason="token not accepted"))
        return caller

    return asked


def attempt(headers: Mapping[str, str], header: str = "") -> Attempt:
    """What is known of a request that has just failed."""
    reason, user = claim(headers.get("authorization", ""))
    if reason == MISSING and header in headers:
        reason = "token not accepted"
    scope = SERVED.get()
    if scope is None:
        return Attempt(reason, user)
    client, raw = scope.get("client"), scope.get("raw_path") or scope["path"].encode()
    return Attempt(
        reason,
        user,
        client[0] if client else "",
        raw.decode("ascii", "backslashreplace")[:MAX_PATH],
        scope.get(TRACE) or request_id(headers),
    )


def claim(authorization: str) -> tuple[str, str]:
    """Why an Authorization header proves nobody, and the user it names."""
    scheme, _, value = authorization.strip().partition(" ")
    match scheme.lower():
        case "":
            return MISSING, ""
        case "basic":
            user, password = credentials(value)
            if password is None:
                return "not user:password in base64", ""  # it may be a secret that stands there
            return "wrong user or password", user
        case "bearer":
            return "token not accepted", ""
        case "ticket":
            return "ticket used, too old or unknown", ""
    return "neither Basic nor Bearer", ""
