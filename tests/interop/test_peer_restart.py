"""Kamailio falls under hundreds of live subscriptions and publications, and comes back.

Once with its state kept (SQLite), once wiped. One application publishes for everybody, another watches
everybody, each at its own front of the bridge; a third party at the network's interface counts what the
bridge sends to Kamailio. All has to be right again within a minute, without a burst; nobody may ever be told
what nobody published; and as long as values may be old the bridge says so.

What was measured is printed, which `-s` shows, and stands in the report. With SIPBRIDGE_INTEROP_BRIEF set it
is a few of everything, at a smaller rate, so that too many at once would be seen all the same.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import sqlite3
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.interop.actors import Application, Bridge, Kamailio

SECTIONS = ["RFC 6665 4.1.2.2", "RFC 3903 4.3", "RFC 3903 4.4"]
BRIEF = bool(os.environ.get("SIPBRIDGE_INTEROP_BRIEF"))
MANY = 20 if BRIEF else 500
OUTAGE = 5.0 if BRIEF else 30.0
BUDGET = 10 if BRIEF else 50
"""Requests a second that the bridge may send to recover; 50 is what it has by itself."""
AT_MOST = BUDGET * 1.15 + 2
"""In any second: requests that leave a moment late meet the next ones."""
RIGHT_AGAIN = 60.0
AT_ONCE = 16
"""Calls of an application at the same time."""
REQUEST = re.compile(
    rb"(?m)^(?:SUBSCRIBE|PUBLISH) sips?:[^\r\n]* SIP/2\.0\r\nVia:[^\r\n]*branch=(\w+)"
)
PACKET_OUTGOING = 4
SO_TIMESTAMPNS = 35
"""Linux: each packet with its time of arrival."""

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(
        420
    ),  # 30 s of outage, a minute to recover, and 2,000 calls before and after
    pytest.mark.skipif(shutil.which("kamailio") is None, reason="Kamailio is not installed"),
]


class WireTap:
    """Sees SUBSCRIBE and PUBLISH to a port, as the kernel sees them leave on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[float, bytes]] = []
        """When, and the branch: copies of a request have the same."""
        self.blind = False
        """We may not look (CAP_NET_RAW): everything but the rate is judged all the same, and that is said."""
        try:
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        except PermissionError:
            self.blind = True
            return
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.bind(("lo", 0))
        self.ahead = time.time() - time.monotonic()
        self.sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self.sock, self.readable)

    def readable(self) -> None:
        for _ in range(256):
            try:
                packet, told, _, address = self.sock.recvmsg(65536, 256)
            except BlockingIOError:
                return
            if address[2] != PACKET_OUTGOING:  # loopback shows each twice
                # When the kernel saw it: we may read it late on a machine that is busy.
                seconds, rest = struct.unpack("qq", told[0][2])
                self.look(packet, seconds + rest / 1e9 - self.ahead)

    def look(self, packet: bytes, at: float) -> None:
        begin = 4 * (packet[0] & 15)
        if int.from_bytes(packet[begin + 2 : begin + 4], "big") != self.port:
            return
        is_udp = packet[9] == socket.IPPROTO_UDP
        begin += 8 if is_udp else 4 * (packet[begin + 12] >> 4)
        for branch in REQUEST.findall(packet[begin:]):
            self.seen.append((at, branch))

    def close(self) -> None:
        if self.blind:
            return
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()

    def between(self, begin: float, end: float) -> tuple[list[float], int]:
        """When requests left in that time, each once; and how many copies of requests did beside them.

        Over UDP what is not answered within half a second is sent again, also what an application asked for
        while nobody was there.
        """
        known, first, copies = set(), [], 0
        for at, branch in sorted(self.seen):
            if branch in known:
                copies += begin <= at < end
            elif begin <= at < end:
                first.append(at)
            known.add(branch)
        return first, copies


def in_any_second(times: list[float]) -> int:
    """The most of these moments that lie within one second."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def uri(number: int) -> str:
    return f"sip:u{number}@example.com"


class House:
    """Everybody, and what was published and seen of it."""

    def __init__(self, kamailio: Kamailio, bridge: Bridge) -> None:
        self.kamailio, self.bridge = kamailio, bridge
        self.desk = Application(bridge.ready["http"], "desk")
        self.bob = Application(bridge.ready["http"], "bob")
        self.published: dict[str, list[str]] = {uri(n): [] for n in range(MANY)}
        """Notes, in the order in which they were published."""
        self.shown: dict[str, list[str]] = {uri(n): [] for n in range(MANY)}
        """Notes, in the order in which the watcher was told of them."""
        self.others: list[Any] = []
        """Notifications that are no statusChanged, and such without a note."""
        self.news = asyncio.Event()
        self.reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.desk.open()
        await self.bob.open()
        await self.bob.listen("/bayeux/app_bob/presence", "websocket")
        self.reading = asyncio.create_task(self.read())

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        await self.desk.close()
        await self.bob.close()

    async def read(self) -> None:
        while True:
            message = await self.bob.inbox.get()
            told = message.get("statusChanged")
            changed = told["changedAttributes"] if told is not None else []
            notes = [a["note"] for a in changed if "note" in a]
            if told is not None and notes:
                self.shown[told["presentity"]] += notes
            elif "notifySubscription" not in message:
                self.others.append(message)
            self.news.set()

    async def publish(self, who: str, note: str) -> int:
        self.published[who].append(note)
        activity = {"typeAndValue": {"unionElement": "Activity", "activity": "Busy"}, "note": note}
        status, _, _ = await self.desk.call(
            "PUT",
            "/rest/presence/presence",
            {"presence": [activity]},
            **{"X-Presence-Identity": who},
        )
        return status

    async def watch(self, number: int) -> None:
        """Bob asks for one presentity, is granted it, and wants to be notified."""
        who = uri(number)
        reference = {
            "correlator": f"w-{number}",
            "endpoint": "/bayeux/app_bob/presence",
            "interfaceName": "PresenceNotification",
        }
        asked: dict[str, Any] = {
            "application": "Desk",
            "presentity": who,
            "reference": reference,
            "attributes": ["Activity"],
        }
        granted = {
            "watcher": "sip:bob@example.com",
            "decisions": [{"presenceAttribute": "Activity", "decision": True}],
        }
        started = {
            "presentity": who,
            "reference": reference,
            "attributes": ["Activity"],
            "frequency": {"metric": "Second", "units": 0},
            "checkImmediate": True,
        }
        base = "/rest/presence"
        answers = [
            await self.bob.call("POST", f"{base}/subscription", asked),
            await self.desk.call(
                "PUT", f"{base}/subscription", granted, **{"X-Presence-Identity": who}
            ),
            await self.bob.call("PUT", f"{base}/notification", started),
        ]
        assert [a[0] for a in answers] == [204, 204, 201], answers
        assert answers[-1][1] == {"result": []}

    async def presence(self, number: int) -> tuple[str, bool]:
        """The note that Get User Presence tells, and whether it may be old."""
        query = json.dumps({"presentity": uri(number), "attributes": ["Activity"]})
        status, answer, headers = await self.bob.call(
            "GET", f"/rest/presence/presence?query={query}", None
        )
        assert status == 200, answer
        notes = [a.get("note", "") for a in answer["result"]]
        return "".join(notes), headers.get("X-Presence-Stale") == "true"

    async def health(self) -> dict[str, Any]:
        _, answer, _ = await self.bob.call("GET", "/health/ready", None)
        return dict(answer)

    async def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            lacking = [w for w, notes in self.published.items() if notes[-1:] != self.shown[w][-1:]]
            raise AssertionError(f"{what}: {len(lacking)} lack, {lacking[:5]}") from None

    async def presences(self) -> list[tuple[str, bool]]:
        return await at_once(self.presence(n) for n in range(MANY))

    async def still_old(self) -> bool:
        """May something of what is known be old?"""
        return any(old for _, old in await self.presences())

    @property
    def is_told(self) -> bool:
        """Does the watcher know the newest of everybody?"""
        return all(notes[-1:] == self.shown[who][-1:] for who, notes in self.published.items())

    def check_truth(self) -> None:
        """Nobody was told what was not published, or went back to what was before."""
        for who, notes in self.shown.items():
            places = [self.published[who].index(note) for note in notes]
            assert places == sorted(places), (who, notes, self.published[who])
        assert self.others == []


async def at_once(jobs: Iterable[Awaitable[Any]]) -> list[Any]:
    """All of them, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(job: Awaitable[Any]) -> Any:
        async with room:
            return await job

    return await asyncio.gather(*map(one, jobs))


def live_at(kamailio: Kamailio, table: str, condition: str = "1") -> int:
    """Rows of Kamailio's own tables."""
    with sqlite3.connect(kamailio.folder / "kamailio.sqlite", timeout=10.0) as base:
        (count,) = base.execute(f"SELECT COUNT(*) FROM {table} WHERE {condition}").fetchone()
    base.close()
    return int(count)


@pytest.mark.parametrize(
    ("kept", "transport"), [(True, "udp"), (False, "tcp")], ids=["kept-udp", "wiped-tcp"]
)
async def test_kamailio_falls_and_comes_back(
    kept: bool, transport: str, record_property: Callable[[str, object], None]
) -> None:
    kamailio = Kamailio({"with": ["sqlite"], "workers": 1})
    desk = {
        "id": "app_desk",
        "password": "secret-desk",
        "uri": "sip:desk@example.com",
        "acts_for": ["sip:*@example.com"],
    }
    wanted = {
        "mode": "remote",
        "applications": ["bob"],
        "more_applications": [desk],
        "settings": {"peers": [{"probe": 1.0, "budget": BUDGET}]} if BRIEF else {},
    }
    host, port = kamailio.address
    async with AsyncExitStack() as ending:
        ending.push_async_callback(kamailio.stop)
        await kamailio.start()
        bridge = Bridge(wanted, f"sip:{host}:{port};transport={transport}")
        ending.push_async_callback(bridge.stop)
        tap = WireTap(port)
        ending.callback(tap.close)
        await bridge.start()
        house = House(kamailio, bridge)
        ending.push_async_callback(house.close)
        await house.open()
        record_property("seen", await story(house, tap, kept=kept, transport=transport))


async def story(house: House, tap: WireTap, *, kept: bool, transport: str) -> str:
    """The whole play, on a house that is empty yet; what was measured."""
    kamailio = house.kamailio
    await move_in(house)
    fell = time.monotonic()
    changes = await outage(house)
    if not kept:
        kamailio.wipe()
    await kamailio.start(kept=kept)
    back = time.monotonic()
    while await house.still_old():
        assert time.monotonic() - back < RIGHT_AGAIN, "values are old still"
        await asyncio.sleep(0.5)
    fresh = time.monotonic()
    await house.until(lambda: house.is_told, RIGHT_AGAIN - (fresh - back), "what was changed")
    right = time.monotonic()
    results = await asyncio.gather(*changes)
    while await metric(house, 'sipbridge_peer_state{peer="remote",state="up"}') != 1.0:
        assert time.monotonic() - back < RIGHT_AGAIN, "still recovering"
        await asyncio.sleep(0.5)
    settled = time.monotonic()
    sent, copies = tap.between(back, settled)
    accepted = sum(status == 204 for status in results)
    rate = f"{len(sent)} requests, at most {in_any_second(sent)} in a second, {copies} copies"
    seen = (
        f"{'kept' if kept else 'wiped'} over {transport}: {MANY} publications and subscriptions, down"
        f" {back - fell:.1f} s; fresh after {fresh - back:.1f} s, right after {right - back:.1f} s,"
        f" recovered after {settled - back:.1f} s; {'rate not judged' if tap.blind else rate};"
        f" {accepted} of {len(results)} changes accepted during the outage; load {os.getloadavg()[0]:.1f}"
    )
    print(f"\n{seen}")
    assert tap.blind or len(sent) >= 2 * MANY
    assert in_any_second(sent) <= AT_MOST
    assert right - back < RIGHT_AGAIN
    await check_life(house)
    return seen


async def move_in(house: House) -> None:
    """Everybody publishes, everybody is watched."""
    answers = await at_once(house.publish(who, f"{who} before") for who in house.published)
    assert set(answers) == {204}
    await at_once(house.watch(n) for n in range(MANY))
    await house.until(lambda: house.is_told, 30.0, "before")
    assert live_at(house.kamailio, "presentity") == MANY


async def outage(house: House) -> list[asyncio.Task[int]]:
    """Kamailio is away; a few publish all the same. Values may be old, and the bridge says so."""
    fell = time.monotonic()
    await house.kamailio.fall()
    changing = list(house.published)[: MANY // 10]
    await asyncio.sleep(OUTAGE / 2)  # half of it is over
    changes = [asyncio.create_task(house.publish(w, f"{w} meanwhile")) for w in changing]
    await asyncio.sleep(max(0.0, fell + OUTAGE - time.monotonic()))
    assert await house.presences() == [(f"{who} before", True) for who in house.published]
    health = await house.health()
    assert (health["status"], health["checks"]["peer remote"]) == ("degraded", "failed")
    return changes


async def check_life(house: House) -> None:
    """All of it lives: what is published now arrives, nothing is there twice, nothing wrong was told."""
    assert (await house.health())["status"] == "ok"
    answers = await at_once(house.publish(who, f"{who} after") for who in house.published)
    assert set(answers) == {204}
    await house.until(lambda: house.is_told, 30.0, "after")
    assert live_at(house.kamailio, "presentity") == MANY
    assert live_at(house.kamailio, "active_watchers", "event = 'presence'") == MANY
    house.check_truth()


async def metric(house: House, name: str) -> float:
    assert house.bob.session is not None
    async with house.bob.session.get(house.bob.base + "/metrics") as response:
        lines = (await response.text()).splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])
