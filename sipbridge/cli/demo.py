"""`sipbridge demo`: the product's story over real sockets, every step checked.

A bridge with its embedded presence agent is started on free loopback ports. Around it stand real clients: SIP
user agents on UDP sockets, and two applications that speak HTTP and Bayeux. Each step prints one rung of the
ladder and what was checked; the first that does not hold ends the demo with exit status 1. The whole story
may take 30 seconds, each wait at most 5.
"""

import asyncio
import base64
import http.client
import json
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console

from sipbridge.app.lifecycle import Bridge, running
from sipbridge.app.settings import load
from sipbridge.app.sip_client import SipClient
from sipbridge.events.publisher import Published, PublishFailed
from sipbridge.events.subscriber import Notified, Refused, Terminated
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.presence import pidf
from sipbridge.uri import Uri

WHOLE_STORY = 30.0
"""Seconds the demo may take before it counts as failed."""
ONE_STEP = 5.0
"""Seconds one event may take to arrive."""

ALICE = Uri.parse("sip:alice@example.com")
BOB = Uri.parse("sip:bob@example.com")
CAROL = Uri.parse("sip:carol@example.com")
CHANNEL = "/bayeux/app_bob/presence"

SETTINGS = {
    "http": {"port": 0},
    "sip": {"listen": ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], "domain": "example.com"},
    "store": {"url": "memory://"},
    "log": {"level": "error"},
    "applications": [
        {"id": "app_alice", "password": "secret-a", "uri": str(ALICE)},
        {"id": "app_bob", "password": "secret-b", "uri": str(BOB)},
    ],
}


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
        connection = http.client.HTTPConnection(self.host, self.port, timeout=WHOLE_STORY)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, self.headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """A REST call that has to succeed."""
        status, answer = await asyncio.to_thread(self.exchange, method, path, body)
        if not 200 <= status < 300:
            raise StepFailed(f"{method} {path}: HTTP {status} {json.dumps(answer)}")
        return answer

    async def bayeux(self, channel: str, **fields: object) -> dict[str, Any]:
        """One Bayeux message; events in the reply go to the inbox, the answer is returned."""
        self.sent += 1
        message = {"channel": channel, "id": str(self.sent), **fields}
        if self.client_id:
            message["clientId"] = self.client_id
        replies = await self.call("POST", "/rest/presence/notifications", [message])
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


@dataclass
class Story:
    """The cast, and how each step is shown."""

    bridge: Bridge
    console: Console
    started: float = field(default_factory=time.monotonic)
    checked: int = 0

    def scene(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    async def step(self, arrow: str, work: Awaitable[str]) -> None:
        """One rung: do it, show what came of it."""
        begun = time.monotonic()
        result = await work
        self.checked += 1
        took = (time.monotonic() - begun) * 1000
        self.console.print(f"  {arrow:<44} {result} [dim]({took:.0f} ms)[/dim] [green]✓[/green]")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise StepFailed(what)


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """`{"Activity": "OnThePhone", …}` of a list of presence attributes."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        union = attribute["typeAndValue"]
        kind = union["unionElement"]
        if kind != "Other":
            found[kind] = union[kind.lower()]
    return found


def rich_presence(activity: str, place: str, note: str) -> bytes:
    """What a phone would send: PIDF with RPID, made here by hand and not by the writer under test."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
  xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type"
  entity="{ALICE}"><tuple id="desk"><status><basic>open</basic></status>
  <contact priority="0.8">{ALICE}</contact></tuple><dm:person id="alice"><rpid:activities>
  <rpid:note>{note}</rpid:note><rpid:{activity}/></rpid:activities><rpid:place-type><lt:{place}/>
  </rpid:place-type></dm:person></presence>""".encode()


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


def reference(correlator: str) -> dict[str, str]:
    return {"correlator": correlator, "endpoint": CHANNEL, "interfaceName": "PresenceNotification"}


class Tale:
    """The three scenes."""

    def __init__(self, story: Story, base: str, server: str) -> None:
        self.story = story
        self.alice = Application(base, "app_alice", "secret-a")
        self.bob = Application(base, "app_bob", "secret-b")
        self.phone = SipClient(ALICE, server)
        self.carol = SipClient(CAROL, server)
        self.publication = ""

    async def tell(self) -> None:
        await self.phone.open()
        await self.carol.open()
        try:
            await self.from_sip_to_json()
            await self.from_json_to_sip()
            await self.who_may_see_what()
        finally:
            await self.bob.leave()
            await self.phone.close()
            await self.carol.close()

    # --- scene 1 ---

    async def from_sip_to_json(self) -> None:
        step = self.story.step
        self.story.scene("1. A SIP phone publishes, an application sees it")
        await step("alice's phone ── PUBLISH ──▶ agent", self.phone_publishes())
        await step("app_bob ── handshake, subscribe ──▶ Bayeux", self.bob_listens())
        await step("app_bob ── POST subscription ──▶ gateway", self.bob_subscribes())
        await step(
            "app_alice ── GET subscription?status=open", self.alice_sees("sip:bob@example.com")
        )
        await step("app_alice ── PUT subscription ──▶ gateway", self.alice_grants_bob())
        await step("app_bob ── PUT notification ──▶ gateway", self.bob_starts())
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told("OnThePhone", "Office"))
        await step("alice's phone ── PUBLISH ──▶ agent", self.phone_changes())
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told("Meeting", "Train"))

    async def phone_publishes(self) -> str:
        body = rich_presence("on-the-phone", "office", "back at ten")
        self.publication = self.phone.publish(body)
        said = await self.phone.wait_for(
            lambda s: isinstance(s, Published | PublishFailed), ONE_STEP
        )
        if not isinstance(said, Published):
            raise StepFailed(f"PUBLISH failed: {said}")
        return f"200, entity-tag {said.etag}, {said.expires} s"

    async def phone_changes(self) -> str:
        self.phone.modify(self.publication, rich_presence("meeting", "train", "weekly review"))
        said = await self.phone.wait_for(
            lambda s: isinstance(s, Published) and s.revision == 2, ONE_STEP
        )
        check(said is not None, "the modified publication was not accepted")
        return "200"

    async def bob_listens(self) -> str:
        await self.bob.listen(CHANNEL)
        return f"subscribed to {CHANNEL}"

    async def bob_subscribes(self) -> str:
        body = {"application": "Desk app", "presentity": str(ALICE), "reference": reference("s-1")}
        await self.bob.call("POST", "/rest/presence/subscription", body)
        return "204, nothing to see yet"

    async def alice_sees(self, watcher: str) -> str:
        """presence.winfo brings SIP watchers; wait for it like an application that polls."""
        deadline = time.monotonic() + ONE_STEP
        while time.monotonic() < deadline:
            answer = await self.alice.call("GET", "/rest/presence/subscription?status=open")
            for entry in answer["result"]:
                if entry["watcher"] == watcher:
                    return f"{entry['application']}: {watcher} waits"
        raise StepFailed(f"{watcher} is not in the list of open subscriptions")

    async def alice_grants_bob(self) -> str:
        kinds = ["Activity", "Place", "Privacy", "Sphere", "Communication", "Other"]
        decisions = [{"presenceAttribute": kind, "decision": True} for kind in kinds]
        body = {"watcher": str(BOB), "decisions": decisions}
        await self.alice.call("PUT", "/rest/presence/subscription", body)
        told = await self.bob.notification("notifySubscription")
        check(all(d["decision"] for d in told["decisions"]), f"not all granted: {told}")
        return "204, notifySubscription: all six granted"

    async def bob_starts(self) -> str:
        body = {
            "presentity": str(ALICE),
            "reference": reference("watch-1"),
            "frequency": {"metric": "Second", "units": 0},
            "checkImmediate": True,
        }
        answer = await self.bob.call("PUT", "/rest/presence/notification", body)
        check(answer == {"result": []}, f"not subscribed: {answer}")
        return "201, correlator watch-1"

    async def bob_is_told(self, activity: str, place: str) -> str:
        """Changes may come in more than one notification; the last word counts."""
        seen: dict[str, Any] = {}
        wanted = {"Activity": activity, "Place": place}
        while any(seen.get(kind) != value for kind, value in wanted.items()):
            told = await self.bob.notification("statusChanged")
            check(told["correlator"] == "watch-1", f"wrong correlator: {told}")
            check(told["presentity"] == str(ALICE), f"wrong presentity: {told}")
            seen |= values(told["changedAttributes"])
        return f"{activity}, {place}"

    # --- scene 2 ---

    async def from_json_to_sip(self) -> None:
        step = self.story.step
        self.story.scene("2. An application publishes, a SIP watcher gets the NOTIFY")
        await step("alice's phone ── SUBSCRIBE bob ──▶ agent", self.phone_watches_bob())
        await step("app_bob ── PUT subscription ──▶ gateway", self.bob_grants_alice())
        await step("app_bob ── PUT presence ──▶ gateway", self.bob_publishes())
        await step("alice's phone ◀── NOTIFY ── agent", self.phone_is_notified())

    async def phone_watches_bob(self) -> str:
        self.phone.subscribe(BOB)
        said = await next_notify(self.phone, lambda s: s.state == "pending", "state pending")
        return f"200, NOTIFY {said.state}"

    async def bob_grants_alice(self) -> str:
        decisions = [
            {"presenceAttribute": kind, "decision": True} for kind in ("Activity", "Place")
        ]
        deadline = time.monotonic() + ONE_STEP
        body = {"watcher": str(ALICE), "decisions": decisions}
        while True:
            status, answer = await asyncio.to_thread(
                self.bob.exchange, "PUT", "/rest/presence/subscription", body
            )
            if status == 204:
                break
            check(time.monotonic() < deadline, f"PUT subscription: {status} {answer}")
        await next_notify(self.phone, lambda s: s.state == "active", "state active")
        return "204, NOTIFY active"

    async def bob_publishes(self) -> str:
        presence = [
            {"typeAndValue": {"unionElement": "Activity", "activity": "Travel"}, "note": "to Graz"},
            {"typeAndValue": {"unionElement": "Place", "place": "Train"}},
        ]
        await self.bob.call("PUT", "/rest/presence/presence", {"presence": presence})
        return "204"

    async def phone_is_notified(self) -> str:
        said = await next_notify(
            self.phone, lambda s: b"train" in s.body and b"travel" in s.body, "the train"
        )
        found = seen_in(said)
        check(found.get("Activity") == "Travel" and found.get("Place") == "Train", f"got {found}")
        return f"{found['Activity']}, {found['Place']} in {len(said.body)} bytes of PIDF"

    # --- scene 3 ---

    async def who_may_see_what(self) -> None:
        step = self.story.step
        self.story.scene("3. A watcher asks, is granted one attribute, is blocked")
        await step("carol ── SUBSCRIBE alice ──▶ agent", self.carol_asks())
        await step("app_alice ── GET subscription?status=open", self.alice_sees(str(CAROL)))
        await step("app_alice ── PUT subscription: Activity", self.alice_grants_activity())
        await step("carol ◀── NOTIFY ── agent", self.carol_sees_activity_only())
        await step("app_alice ── DELETE subscription/carol", self.alice_blocks())
        await step("carol ◀── NOTIFY terminated ── agent", self.carol_is_blocked())

    async def carol_asks(self) -> str:
        self.carol.subscribe(ALICE)
        said = await next_notify(self.carol, lambda s: True, "any state")
        check(said.state == "pending", f"state {said.state}")
        check(b"meeting" not in said.body, "a pending watcher was shown something")
        return "200, NOTIFY pending"

    async def alice_grants_activity(self) -> str:
        decisions = [{"presenceAttribute": "Activity", "decision": True}]
        body = {"watcher": str(CAROL), "decisions": decisions}
        await self.alice.call("PUT", "/rest/presence/subscription", body)
        return "204"

    async def carol_sees_activity_only(self) -> str:
        said = await next_notify(self.carol, lambda s: s.state == "active", "state active")
        found = seen_in(said)
        check(found.get("Activity") == "Meeting", f"Activity expected, got {found}")
        check(set(found) == {"Activity"}, f"only Activity was granted, got {found}")
        check(b"train" not in said.body, "the place was not granted and is in the document")
        return "Meeting, and no place"

    async def alice_blocks(self) -> str:
        path = f"/rest/presence/subscription/{quote(str(CAROL), safe='')}"
        await self.alice.call("DELETE", path)
        return "204"

    async def carol_is_blocked(self) -> str:
        said = await self.carol.wait_for(lambda s: isinstance(s, Terminated | Refused), ONE_STEP)
        check(said is not None, "carol's subscription was not terminated")
        reason = getattr(said, "reason", "")
        check(reason == "rejected", f"reason {reason!r}")
        return "terminated;reason=rejected"


async def run(keep: bool) -> int:
    """The whole demo; returns the exit status."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    async with running(load(None, SETTINGS, environ={})) as bridge:
        ready = bridge.ready
        console.print(f"bridge: {ready.http}, SIP {', '.join(ready.sip)}")
        story = Story(bridge, console)
        try:
            server = ready.sip[0].split(":", 1)[1]
            await asyncio.wait_for(Tale(story, ready.http, server).tell(), WHOLE_STORY)
        except StepFailed as failed:
            console.print(f"  [red]✗ {failed}[/red]")
            return 1
        except TimeoutError:
            console.print(f"  [red]✗ the story took longer than {WHOLE_STORY:g} s[/red]")
            return 1
        took = time.monotonic() - story.started
        console.print(f"\n{story.checked} steps, every one checked, in {took:.1f} s")
        if keep:
            await keep_running(bridge, console)
    return 0


async def keep_running(bridge: Bridge, console: Console) -> None:
    """`--keep`: print what to try, until interrupted."""
    base = bridge.ready.http
    console.print("\nThe bridge keeps running; interrupt it with Ctrl-C. Try:")
    console.print(
        f"  curl -u app_alice:secret-a '{base}/rest/presence/subscription?filter=watcher'"
    )
    console.print(f"  curl -u app_bob:secret-b '{base}/rest/presence/subscription?status=open'")
    console.print(f"  {base}/docs  {base}/metrics  {base}/rest/presence/index.html")
    interrupted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    await interrupted.wait()
