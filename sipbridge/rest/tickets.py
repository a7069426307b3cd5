"""Tickets: credentials for once, for what cannot send a header.

A page has no way to put `Authorization` on an EventSource or a WebSocket. It asks for a ticket with its
credentials (`POST /auth/tickets`) and opens the stream with `?ticket=…` within 30 seconds. What proves the
caller then is the ticket: it stands for exactly the caller that asked, acts as the identity that was named
when it was asked for, and is gone with the first use, so that a URL in a log or a history opens nothing.

On its way inside a ticket stands in the place of the missing header, `Authorization: Ticket …`. Only the
doors of streams know it.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from sipbridge.gateway.caller import Caller
from sipbridge.rest.attempts import Report, attempt, unheard
from sipbridge.rest.exchange import Exchange, Reply, json_reply, tail_of
from sipbridge.rest.faults import no_method, no_resource, unauthenticated
from sipbridge.rest.security import CHALLENGES, Authenticator

ROOT = "/auth/tickets"
LIFETIME = 30.0
"""Seconds from asking to opening: one round trip of a page."""
MAX_TICKETS = 1000
"""Unused tickets of one application; when it asks for more, its oldest are void."""
TICKET_BYTES = 24
"""192 random bits."""


class Tickets:
    """The tickets nobody has used yet. now: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.issued: dict[str, OrderedDict[str, tuple[Caller, float]]] = {}

    def issue(self, caller: Caller) -> str:
        mine = self.issued.setdefault(caller.application, OrderedDict())
        while mine and (len(mine) >= MAX_TICKETS or next(iter(mine.values()))[1] <= self.now()):
            mine.popitem(last=False)
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        mine[ticket] = caller, self.now() + LIFETIME
        return ticket

    def use(self, ticket: str) -> Caller | None:
        """Whom it stands for; None if it is none, was used, or is too old."""
        for application, mine in self.issued.items():
            if (found := mine.pop(ticket, None)) is not None:
                if not mine:
                    del self.issued[application]
                return found[0] if self.now() < found[1] else None
        return None

    def revoke(self, application: str) -> None:
        self.issued.pop(application, None)


class TicketGate:
    """The door of a stream: a ticket if there is one, else what the gate says.

    report: told of tickets that are none; the gate has its own.
    """

    def __init__(self, tickets: Tickets, gate: Authenticator, report: Report = unheard) -> None:
        self.tickets = tickets
        self.gate = gate
        self.report = report

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None:
        scheme, _, ticket = headers.get("authorization", "").partition(" ")
        if scheme == "Ticket":
            caller = self.tickets.use(ticket)
            if caller is None:
                self.report(attempt(headers))
            return caller
        return await self.gate(headers)


def with_ticket(headers: Mapping[str, str], query: bytes) -> Mapping[str, str]:
    """The headers with the ticket of the URL in the place of credentials, also of remembered ones."""
    if b"ticket=" not in query:
        return headers
    given = parse_qs(query.decode("latin-1")).get("ticket")
    return {**headers, "authorization": f"Ticket {given[0]}"} if given else headers


class TicketOffice:
    """The ASGI application, to be mounted at `/auth/tickets`."""

    def __init__(self, tickets: Tickets, authenticate: Authenticator, exchange: Exchange) -> None:
        self.tickets = tickets
        self.authenticate = authenticate
        self.exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            caller = await self.authenticate(headers)
            if caller is None:
                raise unauthenticated(CHALLENGES)
            if tail_of(scope, ROOT):
                raise no_resource(scope["path"])
            if scope["method"] != "POST":
                raise no_method(scope["method"], "POST")
            return json_reply({"ticket": self.tickets.issue(caller), "expiresIn": int(LIFETIME)})

        await self.exchange.serve(scope, send, work)
