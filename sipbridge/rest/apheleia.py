"""The presence service behind the browser plugin, as the plugin asks it.

    GET  /webex/apheleia/compositions?userId=…   one status object
    POST /webex/apheleia/compositions            {"subjects": […]}, up to 50: {"statusList": […]}
    POST /webex/apheleia/subscriptions           {"subjects", "subscriptionTtl", "includeStatus"}
    POST /webex/apheleia/events                  the caller's own status, for `ttl` seconds
    GET  /webex/apheleia/events, or a WebSocket  `event:apheleia.subscription_update`

A subscription is a lease (`gateway/watching.py`): asked for again before its time is over it goes on, 0
seconds end it, and it does not outlive the process. All times to live are seconds.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qs, quote

import orjson
from starlette.types import Receive, Scope, Send

from sipbridge.errors import AgainstPolicy, InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Clock
from sipbridge.gateway.watching import LEASES, Watching
from sipbridge.gateway.wishes import Feed, Seen, Wish
from sipbridge.identities import Identities
from sipbridge.mapping.attributes import Attribute
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import to_attributes
from sipbridge.rest.exchange import Reply, json_reply
from sipbridge.rest.faults import no_resource
from sipbridge.rest.feeds import Feeds
from sipbridge.rest.people import iso
from sipbridge.rest.watch_models import (
    MAX_TTL,
    CompositionsRequest,
    EventRequest,
    SubscriptionsRequest,
    read,
)
from sipbridge.uri import Uri

UPDATE = "apheleia.subscription_update"


class Publish(Protocol):
    """The operation Publish."""

    async def __call__(
        self, caller: Caller, attributes: list[Attribute], expires: int | None = None
    ) -> None: ...


class Apheleia:
    """The service over `Watching`. public_url: our address, for the `url` of status objects; "": relative."""

    COMPOSITIONS = "/webex/apheleia/compositions"
    SUBSCRIPTIONS = "/webex/apheleia/subscriptions"
    EVENTS = "/webex/apheleia/events"

    def __init__(
        self,
        watching: Watching,
        identities: Identities,
        clock: Clock,
        publish: Publish,
        public_url: str = "",
    ) -> None:
        self.watching = watching
        self.identities = identities
        self.clock = clock
        self.publish = publish
        self.url = f"{public_url}{self.COMPOSITIONS}?userId="

    # --- asked once ---

    async def one(self, caller: Caller, query: bytes) -> Reply:
        """Raises InvalidValue, Refused (404)."""
        given = parse_qs(query.decode("latin-1")).get("userId", [])
        if len(given) != 1:
            raise InvalidValue("exactly one userId", part="userId")
        uri = self.watching.contact_of(given[0])
        if uri is None:
            raise no_resource(given[0])
        return json_reply(await self.looked(caller, given[0], uri))

    async def several(self, caller: Caller, body: bytes) -> Reply:
        """Those that nobody knows are left out."""
        subjects = read(CompositionsRequest, body).subjects
        found = [(s, uri) for s in subjects if (uri := self.watching.contact_of(s)) is not None]
        listed = await asyncio.gather(*(self.looked(caller, *pair) for pair in found))
        return json_reply({"statusList": listed})

    async def looked(self, caller: Caller, subject: str, uri: Uri) -> dict[str, object]:
        seen, _ = await self.watching.look(caller, uri)
        return self.status_object(subject, seen)

    # --- subscriptions ---

    async def subscribe(self, caller: Caller, body: bytes) -> Reply:
        wanted = read(SubscriptionsRequest, body)
        ttl = min(wanted.subscriptionTtl, MAX_TTL)
        if not ttl:
            for subject in wanted.subjects:
                self.watching.release(caller, subject)
        each = (self.answer(caller, s, ttl, wanted.includeStatus) for s in wanted.subjects)
        return json_reply({"responses": await asyncio.gather(*each)})

    async def answer(
        self, caller: Caller, subject: str, ttl: int, with_status: bool
    ) -> dict[str, object]:
        """What became of one subject."""
        uri = self.watching.contact_of(subject)
        known = uri is not None
        made: dict[str, object] = {
            "subject": subject,
            "responseCode": 200 if known else 404,
            "subscriptionTtl": ttl if known else 0,
        }
        if uri is None or not ttl:
            return made
        wish = self.watching.lease(caller, subject, ttl)
        if with_status:
            seen = self.watching.seen(wish)
            if seen.presence.status is Status.PENDING:
                seen, _ = await self.watching.look(caller, uri)
            made["status"] = self.status_object(subject, seen)
        return made

    # --- one's own status ---

    async def set_status(self, caller: Caller, body: bytes) -> Reply:
        """Publish a status. Raises InvalidValue, AgainstPolicy (somebody else's status)."""
        wanted = read(EventRequest, body)
        whom = self.identities.contact(wanted.subject)
        if whom is None or self.identities.canonical(whom) != caller.key:
            raise AgainstPolicy(
                f"{wanted.subject[:200]} is not {caller.identity}", rule="identity", part="subject"
            )
        at = self.clock.at()
        until = at + timedelta(seconds=wanted.ttl) if wanted.ttl else None
        await self.publish(caller, list(to_attributes(wanted.status, at=at, until=until)))
        return json_reply(wanted.model_dump(exclude_none=True))

    # --- updates ---

    async def stream(self, feeds: Feeds, scope: Scope, receive: Receive, send: Send) -> None:
        """Updates of the caller's subscriptions."""
        if scope["type"] == "websocket":
            await feeds.socket(scope, receive, send, self.leases, self.envelopes)
        else:
            name = f"event:{UPDATE}".encode()
            await feeds.events(scope, receive, send, self.leases, self.updates, name)

    def leases(self, caller: Caller) -> Feed:
        return self.watching.feed(caller, LEASES)

    def updates(self, wishes: Iterable[Wish]) -> list[bytes]:
        return [
            orjson.dumps(self.status_object(w.contact_id, self.watching.seen(w))) for w in wishes
        ]

    def envelopes(self, wishes: Iterable[Wish]) -> list[bytes]:
        """As the plugin's socket brings them: the kind of event beside the status."""
        return [
            b'{"data":{"eventType":"%b",%b}' % (UPDATE.encode(), u[1:])
            for u in self.updates(wishes)
        ]

    def status_object(self, subject: str, seen: Seen) -> dict[str, object]:
        made: dict[str, object] = {
            "url": self.url + quote(subject, safe=":@"),
            "subject": subject,
            "status": seen.service,
            "statusTime": iso(milliseconds(seen.since)),
            "expiresTTL": -1,
            "vectorCounters": {},
            "suppressNotifications": False,
        }
        presence = seen.presence
        if presence.last_active_time is not None:
            made["lastActive"] = iso(presence.last_active_time)
        if presence.expires_time is not None:
            left = presence.expires_time - milliseconds(self.clock.at())
            made["expiresTTL"] = max(0, left // 1000)
            made["expiresTime"] = iso(presence.expires_time)
        if seen.stale:
            made["stale"] = True
        return made


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
