"""Who plays in `sipbridge demo`: applications that speak HTTP and Bayeux, and what user agents do and see.

Nothing here knows the inside of the bridge; everything that comes back is checked, and `StepFailed` says what
did not hold. A wait for one event takes at most `ONE_STEP` seconds.
"""

import asyncio
import base64
import http.client
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from sipbridge.app.sip_client import SipClient
from sipbridge.events.publisher import Published, PublishFailed
from sipbridge.events.subscriber import Accepted, Notified, Refused
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.presence import pidf
from sipbridge.uri import Uri

ONE_STEP = 5.0
"""Seconds one event may take to arrive."""
HTTP_SECONDS = 30.0
"""Seconds one HTTP exchange may take; a waiting long-poll is one."""
PRESENCE = "/rest/presence"


class StepFailed(Exception):
    """A step of the story did not hold."""


class Application:
    """An application: REST with Basic credentials, notifications by Bayeux long-polling."""

    def __init__(self, base: str, name: str, password: str) -> None:
        url = urlsplit(base)
        self.host, self.port = url.hostname or "", url.port or 80
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self.client_id = ""
        self.sent = 0
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.listening: asyncio.Task[None] | None = None

    def exchange(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One HTTP exchange on a connection of its own; blocks."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=HTTP_SECONDS)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, self.headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    async def call(self, method: str, path: str, body: object = None, status: int = 204) -> Any:
        """A REST call below the presence root that has to be answered with this status."""
        found, answer = await asyncio.to_thread(self.exchange, method, PRESENCE + path, body)
        if found != status:
            raise StepFailed(f"{method} {path}: HTTP {found} {json.dumps(answer)}")
        return answer

    async def sees(self, presentity: Uri, status: int = 200) -> Any:
        """Get User Presence."""
        query = quote(json.dumps({"presentity": str(presentity)}), safe="")
        return await self.call("GET", f"/presence?query={query}", status=status)

    async def bayeux(self, channel: str, **fields: object) -> dict[str, Any]:
        """One Bayeux message; events in the reply go to the inbox, the answer is returned."""
        self.sent += 1
        message = {"channel": channel, "id": str(self.sent), **fields}
        if self.client_id:
            message["clientId"] = self.client_id
        replies = await self.call("POST", "/notifications", [message], 200)
        answer: dict[str, Any] = {}
        for reply in replies:
            if reply["channel"] == channel and "successful" in reply:
                answer = reply
            else:
                self.inbox.put_nowait(reply["data"])
        if not answer.get("successful"):
            raise StepFailed(f"{channel}: {json.dumps(answer)}")
        return answer

    async def listen(self, channel: str) -> None:
        """Handshake, first connect, subscribe, then keep a connect waiting."""
        hello = await self.bayeux(
            "/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"]
        )
        self.client_id = hello["clientId"]
        await self.bayeux("/meta/connect", connectionType="long-polling", advice={"timeout": 0})
        await self.bayeux("/meta/subscribe", subscription=channel)
        self.listening = asyncio.get_running_loop().create_task(self.poll())

    async def poll(self) -> None:
        while True:
            await self.bayeux("/meta/connect", connectionType="long-polling")

    async def notification(self, kind: str) -> dict[str, Any]:
        """The next notification, which has to be of this kind."""
        try:
            message = await asyncio.wait_for(self.inbox.get(), ONE_STEP)
        except TimeoutError:
            raise StepFailed(f"no {kind} arrived within {ONE_STEP:g} s") from None
        if kind not in message:
            raise StepFailed(f"{kind} expected, got {json.dumps(message)}")
        body: dict[str, Any] = message[kind]
        return body

    async def leave(self) -> None:
        """End the session; the waiting connect comes back and the poller ends."""
        if self.listening is not None:
            self.listening.cancel()
            await self.bayeux("/meta/disconnect")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise StepFailed(what)


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """`{"Activity": "OnThePhone", "note": "back at ten", …}` of a list of presence attributes."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        union = attribute["typeAndValue"]
        kind = union["unionElement"]
        if kind != "Other":
            found[kind] = union[kind.lower()]
            found |= {"note": attribute["note"]} if "note" in attribute else {}
    return found


def rich_presence(person: Uri, activity: str, place: str, note: str) -> bytes:
    """What a phone would send: PIDF with RPID, made here by hand and not by the writer under test."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
  xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type"
  entity="{person}"><tuple id="desk"><status><basic>open</basic></status>
  <contact priority="0.8">{person}</contact></tuple><dm:person id="person"><rpid:activities>
  <rpid:note>{note}</rpid:note><rpid:{activity}/></rpid:activities><rpid:place-type><lt:{place}/>
  </rpid:place-type></dm:person></presence>""".encode()


async def publish(client: SipClient, body: bytes, publication: str = "") -> tuple[str, Published]:
    """PUBLISH, the first one or a change; the publication's id, and what its 200 says."""
    before = publication
    if before:
        client.modify(before, body)
    else:
        publication = client.publish(body)
    said = await client.wait_for(lambda s: isinstance(s, Published | PublishFailed), ONE_STEP)
    if not isinstance(said, Published):
        raise StepFailed(f"PUBLISH failed: {said or 'no answer'}")
    return publication, said


async def subscribe(client: SipClient, target: Uri) -> Notified:
    """SUBSCRIBE; its 200 and the first NOTIFY, which may come in any order."""
    client.subscribe(target)
    accepted, notified = False, None
    while not accepted or notified is None:
        said = await client.wait_for(
            lambda s: isinstance(s, Accepted | Notified | Refused), ONE_STEP
        )
        if said is None or isinstance(said, Refused):
            raise StepFailed(f"SUBSCRIBE failed: {said or 'no answer'}")
        accepted = accepted or isinstance(said, Accepted)
        notified = said if isinstance(said, Notified) else notified
    return notified


async def next_notify(client: SipClient, holds: Callable[[Notified], bool], what: str) -> Notified:
    """The first NOTIFY for which `holds`; others before it are progress."""

    def wanted(said: object) -> bool:
        return isinstance(said, Notified) and holds(said)

    found = await client.wait_for(wanted, ONE_STEP)
    if not isinstance(found, Notified):
        raise StepFailed(f"no NOTIFY with {what} within {ONE_STEP:g} s")
    return found


def seen_in(said: Notified) -> dict[str, Any]:
    """The attributes a NOTIFY's document maps to, without Other."""
    document = pidf.parse(said.body)
    entity = Uri.parse(document.entity or "")
    mapped = to_attributes(document, at=datetime.now(UTC), presentity=entity)
    return {a.kind.value: str(a.value) for a in mapped.attributes if a.kind.value != "Other"}
