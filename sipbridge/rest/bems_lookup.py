"""BEMS presence lookup: `/presence/subscriptions`, lists of contacts that a client pulls.

    POST /presence/subscriptions                          {"contacts": [address, …], "notify": key}
    GET  /presence/subscriptions/{notify}                 everybody on the list
    GET  /presence/subscriptions/{notify}?sequence=…      who changed since

Both answer `{"contacts": [{"id", "availability"}], "sequence": text}`. What a list is, is decided in
`gateway.contact_lists`; here are its headers and its JSON. The JSON has no place to say that what is known of
somebody on the list may be old, so a header does (`X-Presence-Stale`). An answer waits a moment for contacts
that were just added, so that the first one says something.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.types import Receive, Scope, Send

from sipbridge.errors import InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contact_lists import ContactList, ContactLists
from sipbridge.rest.bems_streams import number
from sipbridge.rest.exchange import STALE, Exchange, Reply, json_reply, read_json_body, tail_of
from sipbridge.rest.faults import no_method, no_resource, unauthenticated
from sipbridge.rest.ocsg_reading import read_body
from sipbridge.rest.security import CHALLENGES, Authenticator

ROOT = "/presence"
RESOURCE = "subscriptions"
PUSH = "x-good-gnp-token"
MAX_KEY = 256
MAX_ADDRESS = 1024


class Lookup:
    """The ASGI application, to be mounted at `/presence`. patience: seconds to wait for new contacts."""

    def __init__(
        self, lists: ContactLists, gate: Authenticator, exchange: Exchange, patience: float
    ) -> None:
        self.lists = lists
        self.gate = gate
        self.exchange = exchange
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            resource, slash, notify = tail_of(scope, ROOT).partition("/")
            if resource != RESOURCE:
                raise no_resource(scope["path"])
            caller = await self.gate(headers)
            if caller is None:
                raise unauthenticated(CHALLENGES)
            if not notify:
                if scope["method"] != "POST":
                    raise no_method(scope["method"], "POST")
                return await self.replace(caller, headers, receive)
            if scope["method"] != "GET":
                raise no_method(scope["method"], "GET")
            return await self.pull(caller, unquote(notify), scope["query_string"])

        await self.exchange.serve(scope, send, work)

    async def replace(self, caller: Caller, headers: Mapping[str, str], receive: Receive) -> Reply:
        """Subscribe, replace the list, or unsubscribe."""
        members = read_body(await read_json_body(headers, receive))
        contacts, notify = read_contacts(members), read_key(members)
        push = headers.get(PUSH, "")[:MAX_ADDRESS]
        found = await self.lists.replace(caller, notify, contacts, push)
        await self.settled(found)
        return self.answer(found, None)

    async def pull(self, caller: Caller, notify: str, query: bytes) -> Reply:
        sequence = number(parse_qs(query.decode("latin-1")), "sequence")
        found = self.lists.find(caller, notify)
        await self.settled(found)
        return self.answer(found, sequence)

    async def settled(self, found: ContactList) -> None:
        """Something is known of everybody on the list, or it took too long."""
        if found.settled:
            return
        news = asyncio.Event()
        found.settling.add(news.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience):
                    while not found.settled and not found.over:
                        await news.wait()
                        news.clear()
        finally:
            found.settling.discard(news.set)

    def answer(self, found: ContactList, sequence: int | None) -> Reply:
        contacts = [
            {"id": listed.contact, "availability": listed.availability}
            for listed in self.lists.since(found, sequence)
        ]
        headers = [STALE] if self.lists.is_stale(found) else []
        return json_reply({"contacts": contacts, "sequence": str(found.sequence)}, headers=headers)


def read_contacts(members: Mapping[str, Any]) -> list[str]:
    """The addresses, each once. Raises InvalidValue."""
    contacts = members.get("contacts")
    if not isinstance(contacts, list):
        raise InvalidValue("a list of addresses is expected", part="contacts")
    for contact in contacts:
        if not isinstance(contact, str) or not 1 <= len(contact) <= MAX_ADDRESS:
            raise InvalidValue("an address is a text", part="contacts")
    return list(dict.fromkeys(contacts))


def read_key(members: Mapping[str, Any]) -> str:
    """The client's key of the list. Raises InvalidValue."""
    notify = members.get("notify")
    if not isinstance(notify, str) or not 1 <= len(notify) <= MAX_KEY or not notify.isprintable():
        raise InvalidValue("a key of printable characters is expected", part="notify")
    return notify
