"""`sipbridge demo`: the product's story over real sockets, every step checked.

A bridge with its embedded presence agent is started on free loopback ports. Around it stand real clients: SIP
user agents on UDP and TCP sockets, and two applications that speak HTTP and Bayeux (`demo_cast.py`). Each
step prints one rung of the ladder and what was checked; the first that does not hold ends the demo with
exit status 1. The whole story may take 30 seconds, each wait at most 5.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from rich.console import Console

from sipbridge.app.lifecycle import Bridge, running
from sipbridge.app.settings import load
from sipbridge.app.sip_client import SipClient
from sipbridge.cli import demo_cast
from sipbridge.cli.demo_cast import (
    Application,
    StepFailed,
    check,
    next_notify,
    publish,
    rich_presence,
    seen_in,
    subscribe,
    values,
)
from sipbridge.cli.files import print_json
from sipbridge.events.subscriber import Notified, Refused, Terminated
from sipbridge.uri import Uri

WHOLE_STORY = 30.0
"""Seconds the demo may take before it counts as failed."""

ALICE = Uri.parse("sip:alice@example.com")
BOB = Uri.parse("sip:bob@example.com")
CAROL = Uri.parse("sip:carol@example.com")
CHANNEL = "/bayeux/app_bob/presence"
KINDS = ["Activity", "Place", "Privacy", "Sphere", "Communication", "Other"]

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


@dataclass
class Story:
    """The cast, and how each step is shown."""

    bridge: Bridge
    console: Console
    json: bool = False
    """Also a line of JSON for each step, on standard output."""
    title: str = ""
    started: float = field(default_factory=time.monotonic)
    checked: int = 0

    def scene(self, text: str) -> None:
        self.title = text
        self.console.print(f"\n[bold]{text}[/bold]")

    async def step(self, arrow: str, work: Awaitable[str]) -> None:
        """One rung: do it, show what came of it."""
        begun = time.monotonic()
        result = await work
        self.checked += 1
        took = (time.monotonic() - begun) * 1000
        self.tell(arrow, result, took, True)
        self.console.print(f"  {arrow:<44} {result} [dim]({took:.0f} ms)[/dim] [green]✓[/green]")

    def tell(self, step: str, result: str, took: float, holds: bool) -> None:
        if self.json:
            told = {"scene": self.title, "step": step, "result": result, "ms": round(took, 1)}
            print_json({**told, "holds": holds}, line=True)


def reference(correlator: str) -> dict[str, str]:
    return {"correlator": correlator, "endpoint": CHANNEL, "interfaceName": "PresenceNotification"}


def granting(watcher: Uri, *kinds: str) -> dict[str, Any]:
    """The body of Update Subscription Authorization."""
    decisions = [{"presenceAttribute": kind, "decision": True} for kind in kinds]
    return {"watcher": str(watcher), "decisions": decisions}


class Tale:
    """The three scenes."""

    def __init__(self, story: Story, base: str, udp: str, tcp: str) -> None:
        self.story = story
        self.alice = Application(base, "app_alice", "secret-a")
        self.bob = Application(base, "app_bob", "secret-b")
        self.phone = SipClient(ALICE, udp)
        self.carol = SipClient(CAROL, tcp, transport="tcp")
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
        await step("app_bob ── GET presence ──▶ gateway", self.bob_sees_nothing())
        await step("app_alice ── GET subscription?status=open", self.alice_finds(BOB, "Desk app"))
        await step("app_alice ── PUT subscription ──▶ gateway", self.alice_grants(BOB, *KINDS))
        await step("app_bob ◀── notifySubscription ── Bayeux", self.bob_is_admitted())
        await step("app_bob ── PUT notification ──▶ gateway", self.bob_starts())
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told_everything())
        change = self.phone_changes("meeting", "train", "weekly review")
        await step("alice's phone ── PUBLISH ──▶ agent", change)
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told("Meeting", "Train"))
        await step("app_bob ── GET presence ──▶ gateway", self.bob_sees("Meeting", "Train"))

    async def phone_publishes(self) -> str:
        body = rich_presence(ALICE, "on-the-phone", "office", "back at ten")
        self.publication, said = await publish(self.phone, body)
        return f"200, entity-tag {said.etag}, {said.expires} s"

    async def phone_changes(self, activity: str, place: str, note: str) -> str:
        body = rich_presence(ALICE, activity, place, note)
        _, said = await publish(self.phone, body, self.publication)
        return f"200, entity-tag {said.etag}"

    async def bob_listens(self) -> str:
        await self.bob.listen(CHANNEL)
        return f"subscribed to {CHANNEL}"

    async def bob_subscribes(self) -> str:
        body = {"application": "Desk app", "presentity": str(ALICE), "reference": reference("s-1")}
        await self.bob.call("POST", "/subscription", body)
        return "204"

    async def bob_sees_nothing(self) -> str:
        refused = await self.bob.sees(ALICE, status=403)
        check(refused["error"]["messageId"] == "POL0002", f"POL0002 expected, got {refused}")
        return "403 POL0002: nothing is granted yet"

    async def alice_finds(self, watcher: Uri, application: str) -> str:
        """presence.winfo brings SIP watchers; wait for it like an application that polls."""
        wanted = {"application": application, "attributes": KINDS, "watcher": str(watcher)}
        deadline = time.monotonic() + demo_cast.ONE_STEP
        while time.monotonic() < deadline:
            answer = await self.alice.call("GET", "/subscription?status=open", status=200)
            if wanted in answer["result"]:
                return f"{application}: {watcher} waits"
        raise StepFailed(f"{watcher} is not in the list of open subscriptions")

    async def alice_grants(self, watcher: Uri, *kinds: str) -> str:
        await self.alice.call("PUT", "/subscription", granting(watcher, *kinds))
        return "204"

    async def bob_is_admitted(self) -> str:
        told = await self.bob.notification("notifySubscription")
        wanted = granting(BOB, *KINDS)["decisions"]
        check(told["presentity"] == str(ALICE), f"wrong presentity: {told}")
        check(told["decisions"] == wanted, f"not all six granted: {told}")
        return "all six attributes granted"

    async def bob_starts(self) -> str:
        body = {
            "presentity": str(ALICE),
            "reference": reference("watch-1"),
            "frequency": {"metric": "Second", "units": 0},
            "checkImmediate": True,
        }
        answer = await self.bob.call("PUT", "/notification", body, 201)
        check(answer == {"result": []}, f"not subscribed: {answer}")
        return "201, correlator watch-1"

    async def bob_is_told_everything(self) -> str:
        means = {"contact": str(ALICE), "priority": 0.8, "type": "Phone"}
        wanted = {"note": "back at ten", "Communication": {"means": [means]}}
        told = await self.bob_is_told("OnThePhone", "Office", **wanted)
        return f"{told}, note, phone with priority 0.8"

    async def bob_is_told(self, activity: str, place: str, **more: object) -> str:
        """Changes may come in more than one notification; the last word counts."""
        seen: dict[str, Any] = {}
        wanted = {"Activity": activity, "Place": place, **more}
        while any(seen.get(kind) != value for kind, value in wanted.items()):
            told = await self.bob.notification("statusChanged")
            check(told["correlator"] == "watch-1", f"wrong correlator: {told}")
            check(told["presentity"] == str(ALICE), f"wrong presentity: {told}")
            seen |= values(told["changedAttributes"])
        return f"{activity}, {place}"

    async def bob_sees(self, activity: str, place: str) -> str:
        seen = values((await self.bob.sees(ALICE))["result"])
        check((seen.get("Activity"), seen.get("Place")) == (activity, place), f"got {seen}")
        return f"200: {activity}, {place}"

    # --- scene 2 ---

    async def from_json_to_sip(self) -> None:
        step = self.story.step
        self.story.scene("2. An application publishes, a SIP watcher gets the NOTIFY")
        await step("alice's phone ── SUBSCRIBE bob ──▶ agent", self.phone_watches_bob())
        await step("app_bob ── PUT subscription ──▶ gateway", self.bob_grants_alice())
        await step("alice's phone ◀── NOTIFY ── agent", self.phone_is_admitted())
        await step("app_bob ── PUT presence ──▶ gateway", self.bob_publishes())
        await step("alice's phone ◀── NOTIFY ── agent", self.phone_is_notified())

    async def phone_watches_bob(self) -> str:
        said = await subscribe(self.phone, BOB)
        check(said.state == "pending", f"state {said.state}")
        return "200, NOTIFY pending"

    async def bob_grants_alice(self) -> str:
        """presence.winfo tells the gateway of the phone; until it has, nobody is known there."""
        deadline = time.monotonic() + demo_cast.ONE_STEP
        body = granting(ALICE, "Activity", "Place")
        while True:
            try:
                await self.bob.call("PUT", "/subscription", body)
                return "204"
            except StepFailed:
                if time.monotonic() > deadline:
                    raise

    async def phone_is_admitted(self) -> str:
        await next_notify(self.phone, lambda s: s.state == "active", "state active")
        return "active"

    async def bob_publishes(self) -> str:
        presence = [
            {"typeAndValue": {"unionElement": "Activity", "activity": "Travel"}, "note": "to Graz"},
            {"typeAndValue": {"unionElement": "Place", "place": "Train"}},
        ]
        await self.bob.call("PUT", "/presence", {"presence": presence})
        return "204"

    async def phone_is_notified(self) -> str:
        said = await next_notify(
            self.phone, lambda s: b"train" in s.body and b"travel" in s.body, "the train"
        )
        found = seen_in(said)
        check(found.get("Activity") == "Travel" and found.get("Place") == "Train", f"got {found}")
        check(b"to Graz" in said.body, "the note is not in the document")
        return f"{found['Activity']}, {found['Place']}, note in {len(said.body)} bytes of PIDF"

    # --- scene 3 ---

    async def who_may_see_what(self) -> None:
        step = self.story.step
        self.story.scene("3. A watcher asks, is granted one attribute, is blocked")
        await step("carol ── SUBSCRIBE alice ──▶ agent", self.carol_asks())
        await step("app_alice ── GET subscription?status=open", self.alice_finds(CAROL, "SIP"))
        grant = self.alice_grants(CAROL, "Activity")
        await step("app_alice ── PUT subscription: Activity", grant)
        await step("carol ◀── NOTIFY ── agent", self.carol_sees_only("Meeting", b"train"))
        await step("app_alice ── GET subscription?filter=watcher", self.alice_sees(BOB, CAROL))
        change = self.phone_changes("away", "residence", "home at last")
        await step("alice's phone ── PUBLISH ──▶ agent", change)
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told("Away", "Home"))
        await step("carol ◀── NOTIFY ── agent", self.carol_sees_only("Away", b"residence"))
        await step("app_alice ── DELETE subscription/carol", self.alice_blocks())
        await step("carol ◀── NOTIFY terminated ── agent", self.carol_is_blocked())
        await step("carol ── SUBSCRIBE alice ──▶ agent", self.carol_is_refused())
        change = self.phone_changes("meal", "restaurant", "back at two")
        await step("alice's phone ── PUBLISH ──▶ agent", change)
        await step("app_bob ◀── statusChanged ── Bayeux", self.bob_is_told("Meal", "Restaurant"))
        await step("app_alice ── GET subscription?filter=watcher", self.carol_is_out())

    async def carol_asks(self) -> str:
        said = await subscribe(self.carol, ALICE)
        check(said.state == "pending", f"state {said.state}")
        check(b"meeting" not in said.body, "a pending watcher was shown something")
        return "200, NOTIFY pending, nothing in it"

    async def carol_sees_only(self, activity: str, hidden: bytes) -> str:
        said = await next_notify(
            self.carol, lambda s: activity.lower().encode() in s.body, f"activity {activity}"
        )
        check(said.state == "active", f"state {said.state}")
        found = seen_in(said)
        check(set(found) == {"Activity"}, f"only Activity was granted, got {found}")
        check(found["Activity"] == activity, f"{activity} expected, got {found}")
        check(hidden not in said.body, "the place was not granted and is in the document")
        return f"{activity}, and no place"

    async def alice_sees(self, *watchers: Uri) -> str:
        answer = await self.alice.call("GET", "/subscription?filter=watcher", status=200)
        found = sorted(answer["result"])
        check(found == sorted(map(str, watchers)), f"got {found}")
        return ", ".join(found)

    async def alice_blocks(self) -> str:
        await self.alice.call("DELETE", f"/subscription/{quote(str(CAROL), safe='')}")
        return "204"

    async def carol_is_blocked(self) -> str:
        said = await self.carol.wait_for(
            lambda s: isinstance(s, Terminated | Refused), demo_cast.ONE_STEP
        )
        check(said is not None, "carol's subscription was not terminated")
        reason = getattr(said, "reason", "")
        check(reason == "rejected", f"reason {reason!r}")
        return "terminated;reason=rejected"

    async def carol_is_refused(self) -> str:
        self.carol.subscribe(ALICE)
        said = await self.carol.wait_for(
            lambda s: isinstance(s, Notified | Refused), demo_cast.ONE_STEP
        )
        check(isinstance(said, Refused) and said.status == 403, f"403 expected, got {said}")
        return "403"

    async def carol_is_out(self) -> str:
        shown = [s for s in self.carol.said if isinstance(s, Notified)]
        check(not shown, f"carol was shown something after the block: {shown}")
        return f"{await self.alice_sees(BOB)}; carol heard nothing more"


async def run(keep: bool, json: bool = False) -> int:
    """The whole demo; returns the exit status. json: the steps also as lines on standard output."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    async with running(load(None, SETTINGS, environ={})) as bridge:
        ready = bridge.ready
        console.print(f"bridge: {ready.http}, SIP {', '.join(ready.sip)}")
        story = Story(bridge, console, json)
        try:
            udp, tcp = (point.split(":", 1)[1] for point in ready.sip)
            await asyncio.wait_for(Tale(story, ready.http, udp, tcp).tell(), WHOLE_STORY)
        except (StepFailed, TimeoutError) as failed:
            said = str(failed) or f"the story took longer than {WHOLE_STORY:g} s"
            story.tell("", said, 0.0, False)
            console.print(f"  [red]✗ {said}[/red]")
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
