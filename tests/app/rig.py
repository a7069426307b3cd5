"""A whole bridge on free ports, applications that speak HTTP to it, a presence server made by hand."""

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import aiohttp

from sipbridge.app.lifecycle import Bridge, running
from sipbridge.app.settings import Settings, load
from sipbridge.app.sip_client import SipClient
from sipbridge.uri import Uri
from tests.interop.wire import Message

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds anything may take to arrive; only a failing test waits so long."""

REST = "/rest/presence"
KINDS = ("Activity", "Place", "Privacy", "Sphere", "Communication", "Other")


def configuration(**sections: object) -> dict[str, Any]:
    """Alice and Bob, free ports, nothing kept; sections given replace these."""
    return {
        "http": {"port": 0},
        "sip": {"listen": ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], "domain": "example.com"},
        "store": {"url": "memory://"},
        "log": {"level": "error"},
        "applications": [application("alice"), application("bob")],
        **sections,
    }


def application(name: str, **more: object) -> dict[str, object]:
    uri = f"sip:{name}@example.com"
    return {"id": f"app_{name}", "password": f"secret-{name}", "uri": uri, **more}


def settings(**sections: object) -> Settings:
    return load(None, configuration(**sections), environ={})


def kept(folder: Path, name: str = "state.db") -> dict[str, str]:
    """A store section whose state survives."""
    return {"url": f"sqlite:///{folder / name}"}


def remote(server: "PresenceServer | str") -> dict[str, object]:
    hop = server if isinstance(server, str) else f"sip:127.0.0.1:{server.port};transport=udp"
    return {"mode": "remote", "next_hop": [hop]}


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], object], hint: str = "") -> T:
    """Ask again and again, as an application that polls, until the answer holds."""
    answer: T | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await ask()
                if holds(answer):
                    return answer
    except TimeoutError:
        raise AssertionError(f"{hint or 'it never held'}; the last answer: {answer}") from None


class Application:
    """An application: REST and Bayeux long-polling, by a client that shares no code with the bridge."""

    def __init__(self, base: str, name: str) -> None:
        self.base, self.name = base, name
        token = base64.b64encode(f"app_{name}:secret-{name}".encode()).decode()
        self.http = aiohttp.ClientSession(
            headers={"Authorization": f"Basic {token}"},
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        )
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.client_id = ""
        self.sent = 0
        self.polling: asyncio.Task[None] | None = None
        self.headers: Mapping[str, str] = {}

    @property
    def uri(self) -> str:
        return f"sip:{self.name}@example.com"

    @property
    def channel(self) -> str:
        return f"/bayeux/app_{self.name}/presence"

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON of one request; `self.headers` are the response's afterwards."""
        async with self.http.request(method, self.base + path, json=body, headers=headers) as got:
            self.headers = got.headers
            text = await got.text()
            return got.status, json.loads(text) if text else None

    async def text(self, path: str) -> str:
        async with self.http.get(self.base + path) as got:
            return await got.text()

    async def rest(self, method: str, path: str, body: object = None) -> Any:
        """A REST call that succeeds."""
        status, answer = await self.ask(method, REST + path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    # --- the operations

    async def subscribe(self, presentity: str, *attributes: str, correlator: str = "s-1") -> None:
        body: dict[str, object] = {
            "application": "Desk app",
            "presentity": presentity,
            "reference": self.reference(correlator),
        }
        if attributes:
            body["attributes"] = list(attributes)
        await self.rest("POST", "/subscription", body)

    async def decide(self, watcher: str, **decisions: bool) -> None:
        listed = [{"presenceAttribute": k, "decision": d} for k, d in decisions.items()]
        await self.rest("PUT", "/subscription", {"watcher": watcher, "decisions": listed})

    async def grant_all(self, watcher: str) -> None:
        await self.decide(watcher, **dict.fromkeys(KINDS, True))

    async def block(self, watcher: str) -> None:
        await self.rest("DELETE", f"/subscription/{watcher}")

    async def open_subscriptions(self) -> dict[str, dict[str, Any]]:
        answer = await self.rest("GET", "/subscription?status=open")
        return {entry["watcher"]: entry for entry in answer["result"]}

    async def watchers(self) -> list[str]:
        answer = await self.rest("GET", "/subscription?filter=watcher")
        return list(answer["result"])

    async def start(self, presentity: str, correlator: str = "w-1", **more: object) -> list[str]:
        body = {
            "presentity": presentity,
            "reference": self.reference(correlator),
            "frequency": {"metric": "Second", "units": 0},
            "checkImmediate": True,
            **more,
        }
        answer = await self.rest("PUT", "/notification", body)
        return list(answer["result"])

    async def publish(self, **values: object) -> None:
        await self.rest("PUT", "/presence", {"presence": attributes(**values)})

    async def presence(self, presentity: str) -> tuple[int, Any]:
        query = json.dumps({"presentity": presentity})
        return await self.ask("GET", f"{REST}/presence?query={query}")

    def reference(self, correlator: str) -> dict[str, str]:
        return {
            "correlator": correlator,
            "endpoint": self.channel,
            "interfaceName": "PresenceNotification",
        }

    # --- Bayeux

    async def message(self, channel: str, **fields: object) -> dict[str, Any]:
        self.sent += 1
        sent = {"channel": channel, "id": str(self.sent), **fields}
        if self.client_id:
            sent["clientId"] = self.client_id
        status, replies = await self.ask("POST", f"{REST}/notifications", [sent])
        assert status == 200, replies
        answer: dict[str, Any] = {}
        for reply in replies:
            if "successful" in reply:
                answer = reply
            else:
                self.inbox.put_nowait(reply["data"])
        return answer

    async def listen(self) -> Self:
        """Handshake, subscribe to the own channel, keep a connect waiting."""
        self.client_id = ""
        hello = await self.message(
            "/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"]
        )
        self.client_id = hello["clientId"]
        answer = await self.message("/meta/subscribe", subscription=self.channel)
        assert answer["successful"], answer
        self.polling = asyncio.get_running_loop().create_task(self.poll())
        return self

    async def poll(self) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while (await self.message("/meta/connect", connectionType="long-polling"))[
                "successful"
            ]:
                pass

    async def told(self, kind: str) -> dict[str, Any]:
        """The next notification, which is of this kind."""
        message = await asyncio.wait_for(self.inbox.get(), PATIENCE)
        assert kind in message, f"{kind} expected, got {message}"
        body: dict[str, Any] = message[kind]
        return body

    async def told_status(self, **wanted: object) -> dict[str, Any]:
        """The next statusChanged messages, until together they say this."""
        seen: dict[str, Any] = {}
        while any(seen.get(kind) != value for kind, value in wanted.items()):
            seen |= values((await self.told("statusChanged"))["changedAttributes"])
        return seen

    async def told_correlated(self, correlator: str, **wanted: object) -> None:
        """Like `told_status`; all of them belong to this contract."""
        seen: dict[str, Any] = {}
        while any(seen.get(kind) != value for kind, value in wanted.items()):
            told = await self.told("statusChanged")
            assert told["correlator"] == correlator
            seen |= values(told["changedAttributes"])

    async def hush(self) -> None:
        """Stop polling without a goodbye."""
        if self.polling is not None:
            self.polling.cancel()
            await asyncio.gather(self.polling, return_exceptions=True)
            self.polling = None

    async def close(self) -> None:
        await self.hush()
        await self.http.close()


def attributes(**values: object) -> list[dict[str, Any]]:
    """Presence attributes as JSON: `attributes(Activity="Meeting", Place="Office")`."""
    return [
        {"typeAndValue": {"unionElement": kind, kind.lower(): value}}
        for kind, value in values.items()
    ]


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """The way back; without Other, of which there may be many."""
    found = {}
    for attribute in attributes:
        union = attribute["typeAndValue"]
        kind = union["unionElement"]
        if kind != "Other":
            found[kind] = union[kind.lower()]
    return found


class Site:
    """A running bridge and everybody round it."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.graph = bridge.graph
        self.base = bridge.ready.http
        self.there: list[Application] = []
        self.phones: list[SipClient] = []

    def application(self, name: str) -> Application:
        made = Application(self.base, name)
        self.there.append(made)
        return made

    @property
    def sip(self) -> str:
        """host:port of the UDP listener."""
        return next(p for p in self.bridge.ready.sip if p.startswith("udp:")).split(":", 1)[1]

    async def phone(self, name: str) -> SipClient:
        """A SIP user agent of somebody at example.com."""
        made = SipClient(Uri.parse(f"sip:{name}@example.com"), self.sip)
        await made.open()
        self.phones.append(made)
        return made

    async def leave(self) -> None:
        for one in self.there:
            await one.close()
        for phone in self.phones:
            await phone.close()


@contextlib.asynccontextmanager
async def site(wanted: Settings | None = None, **sections: object) -> AsyncIterator[Site]:
    """A bridge as long as the block."""
    async with running(wanted or settings(**sections)) as bridge:
        made = Site(bridge)
        try:
            yield made
        finally:
            await made.leave()


class PresenceServer(asyncio.DatagramProtocol):
    """A remote presence server on a UDP socket, by hand: 200 for what it likes, a status for what not.

    `refuse` maps a method to the status it gets; `silent` methods get no answer. Everything that came is in
    `got`, responses too.
    """

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.news = asyncio.Event()
        self.refuse: dict[str, int] = {}
        self.silent: set[str] = set()
        self.nonce = ""
        """The only one that credentials may be for; "" for any."""
        self.challenge = ""
        """What a request without credentials is answered with: 401 and this."""
        self.challenged = {"PUBLISH"}
        self.headers: dict[str, list[str]] = {}
        """More lines of the 200 to a method."""
        self.forgotten = False
        """Entity-tags given out so far are unknown: 412, once."""
        self.tags: dict[str, str] = {}
        self.etags = 0
        self.granted: int | None = None
        """Seconds, instead of what is asked for."""
        self.lists: set[str] = set()
        """Whose SUBSCRIBEs are answered as those to lists (RFC 4662 §4.1)."""
        self.quiet = False
        """Whoever says what it holds gets 204 (RFC 5839)."""
        self.cseq = 0
        self.transport: asyncio.DatagramTransport | None = None
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = Message(data)
        self.got.append(message)
        if message.status is None:
            self.answer(message, addr)
        self.news.set()

    def answer(self, request: Message, sender: tuple[str, int]) -> None:
        method = request.start.split(" ")[0]
        if method in self.silent:
            return
        status = self.refuse.get(method, 200)
        if self.forgotten and request.get("sip-if-match"):
            self.forgotten, status = False, 412
        extra = []
        given = request.get("authorization")
        known = given and (not self.nonce or f'nonce="{self.nonce}"' in given)
        if self.challenge and not known and method in self.challenged:
            status = 401
            extra.append(f"WWW-Authenticate: {self.challenge}")
        if status == 200:
            extra += self.headers.get(method, [])
        if status == 200 and method == "REGISTER":
            extra.append(f"Contact: {request.get('contact')}")
        if status == 200 and method in ("SUBSCRIBE", "PUBLISH"):
            asked = request.get("expires")
            granted = asked if self.granted is None or asked == "0" else self.granted
            extra.append(f"Expires: {granted}")
        if status == 200 and method == "SUBSCRIBE":
            extra.append(f"Contact: <sip:127.0.0.1:{self.port}>")
            if any(f"<{uri}>" in request.get("to") for uri in self.lists):
                extra.append("Require: eventlist")
        if status == 200 and method == "PUBLISH":
            self.etags += 1
            extra.append(f"SIP-ETag: e{self.etags}")
        tag = self.tags.setdefault(request.get("call-id"), secrets.token_hex(4))
        to = request.get("to")
        lines = [f"SIP/2.0 {self.quietly(status, request)} Said", f"Via: {request.get('via')}"]
        lines += [
            f"From: {request.get('from')}",
            f"To: {to}" if ";tag=" in to else f"To: {to};tag={tag}",
            f"Call-ID: {request.get('call-id')}",
            f"CSeq: {request.get('cseq')}",
            *extra,
            "Content-Length: 0",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode(), sender)

    def quietly(self, status: int, request: Message) -> int:
        return 204 if self.quiet and status == 200 and request.get("suppress-if-match") else status

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.sendto(data, to)

    def requests(self, method: str) -> list[Message]:
        return [m for m in self.got if m.start.startswith(method + " ")]

    async def until(self, what: Callable[[], list[T]], hint: str = "") -> T:
        """The first of what there is, as soon as something is."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := what()):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{hint}; what came: {[m.start for m in self.got]}") from None
        return found[0]

    async def request(self, method: str, index: int = 0) -> Message:
        """The request of this method with this number, as soon as it is there."""
        return await self.until(lambda: self.requests(method)[index:], f"no {method} {index}")

    async def response(self, method: str, index: int = 0) -> int:
        """The status of the response to our request of this method with this number."""
        return await self.until(lambda: self.responses(method)[index:], f"no {method} {index}")

    async def subscription(self, to: str, package: str = "presence", index: int = 0) -> Message:
        """A SUBSCRIBE for somebody's presence or presence.winfo."""

        def there() -> list[Message]:
            found = [m for m in self.requests("SUBSCRIBE") if m.get("event") == package]
            return [m for m in found if f"<{to}>" in m.get("to")][index:]

        return await self.until(there, f"no SUBSCRIBE {index} to {to}")

    def notify(
        self,
        subscribe: Message,
        body: bytes = b"",
        *,
        state: str = "active;expires=600",
        kind: str = "application/pidf+xml",
        etag: str = "",
    ) -> None:
        """A NOTIFY for this SUBSCRIBE."""
        contact = subscribe.get("contact").partition("<")[2].partition(">")[0]
        host, port = contact.split(":", 1)[1].split(";")[0].rpartition("@")[2].split(":")
        self.cseq += 1
        lines = [
            f"NOTIFY {contact} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70",
            f"From: {subscribe.get('to')};tag={self.tags[subscribe.get('call-id')]}",
            f"To: {subscribe.get('from')}",
            f"Call-ID: {subscribe.get('call-id')}",
            f"CSeq: {self.cseq} NOTIFY",
            f"Contact: <sip:127.0.0.1:{self.port}>",
            f"Event: {subscribe.get('event')}",
            f"Subscription-State: {state}",
            f"Content-Type: {kind}" if body else "X-Empty: yes",
            f"SIP-ETag: {etag}" if etag else "X-Untagged: yes",
            f"Content-Length: {len(body)}",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode() + body, (host, int(port)))

    def responses(self, method: str) -> list[int]:
        """Statuses of the responses to our requests of this method."""
        return [m.status for m in self.got if m.status and m.get("cseq").endswith(" " + method)]


@contextlib.asynccontextmanager
async def presence_server() -> AsyncIterator[PresenceServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        PresenceServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()


PLACEHOLDER = b"""<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="carol">
<tuple id="615293b33c62dec073e05d9421e9f48b"><status><basic>open</basic></status></tuple>
<note>Available</note></presence>"""
"""What Kamailio may say of whoever has published nothing."""


def document(
    activity: str = "meeting", entity: str = "sip:carol@example.com", place: str = ""
) -> bytes:
    """A presence document, written by hand."""
    where = f"<rpid:place-type><lt:{place}/></rpid:place-type>" if place else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type"
 entity="{entity}"><tuple id="t1"><status><basic>open</basic></status></tuple>
 <dm:person id="p1"><rpid:activities><rpid:{activity}/></rpid:activities>{where}</dm:person>
</presence>""".encode()
