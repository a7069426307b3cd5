"""A crowd that uses a bridge all at once, and keeps books of what it was promised.

Each round every member publishes, subscribes, decides, blocks, starts and ends notifications over REST, and
publishes and subscribes over SIP (UDP), all of it at the same moment. The bridge is killed in the middle.
What was answered is entered as promised; what was not, may have happened or not. After a restart everything
promised is looked for from outside: over REST, over SIP, and in the event stream that goes on where it was.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp

from tests.app.rig import PATIENCE, Application, application, document, until
from tests.interop.wire import Message

CROWD = 30
RESEND = 0.5
"""T1 of RFC 3261 §17.1.2.2."""


def applications() -> list[dict[str, object]]:
    return [application(name(n)) for n in range(CROWD)]


def name(number: int) -> str:
    return f"u{number % CROWD}"


def uri(number: int) -> str:
    return f"sip:{name(number)}@example.com"


@dataclass
class Dialog:
    """A SIP subscription: what its subscriber knows of it."""

    call_id: str
    from_: str
    target: str
    to: str = ""
    sequence: int = 1
    contact: str = ""
    notified: list[int] = field(default_factory=list)
    """CSeq numbers of its NOTIFYs in the order they came, each once."""
    before: int = -1
    """How many of them came in earlier lives of the bridge."""


class Phones(asyncio.DatagramProtocol):
    """All SIP user agents of the crowd on one socket. Requests are repeated until they are answered."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.waiting: dict[tuple[str, str], asyncio.Future[Message]] = {}
        self.dialogs: dict[str, Dialog] = {}
        self.news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = Message(data)
        if message.status is not None:
            key = (message.get("call-id"), message.get("cseq"))
            if message.status >= 200 and (waits := self.waiting.pop(key, None)) is not None:
                waits.set_result(message)
            return
        self.answer(message, addr)
        dialog = self.dialogs.get(message.get("call-id"))
        number = int(message.get("cseq").split()[0])
        if dialog is not None and number not in dialog.notified:
            dialog.notified.append(number)
            self.news.set()

    def answer(self, request: Message, sender: tuple[str, int]) -> None:
        known = request.get("call-id") in self.dialogs
        lines = ["SIP/2.0 200 OK" if known else "SIP/2.0 481 Unknown"]
        copied = ("via", "from", "to", "call-id", "cseq")
        lines += [f"{k}: {v}" for k, v in request.headers if k in copied]
        self.transport.sendto("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode(), sender)

    async def ask(
        self, method: str, target: str, headers: Iterable[str], body: bytes = b""
    ) -> Message:
        """Send and resend until there is a final answer. headers: From, To, Call-ID, CSeq and what more."""
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        fields = dict(line.split(": ", 1) for line in lines[1:])
        key = (fields["Call-ID"], fields["CSeq"])
        answer = self.waiting[key] = asyncio.get_running_loop().create_future()
        data = "\r\n".join([*lines, "", ""]).encode() + body
        try:
            while True:
                self.transport.sendto(data, self.server)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESEND):
                        return await asyncio.shield(answer)
        finally:
            self.waiting.pop(key, None)

    async def publish(self, number: int, etag: str, sequence: int) -> str:
        """PUBLISH, initial or modifying; returns the new entity-tag, "" for 412."""
        who = uri(number)
        headers = [
            f"From: <{who}>;tag={secrets.token_hex(4)}",
            f"To: <{who}>",
            f"Call-ID: {secrets.token_hex(8)}",
            f"CSeq: {sequence} PUBLISH",
            "Event: presence",
            "Expires: 3600",
            "Content-Type: application/pidf+xml",
        ]
        if etag:
            headers.append(f"SIP-If-Match: {etag}")
        body = document(("busy", "meal")[sequence % 2], who)
        answer = await self.ask("PUBLISH", who, headers, body)
        assert answer.status in (200, 412), answer.start
        return answer.get("sip-etag") if answer.status == 200 else ""

    async def subscribe(self, dialog: Dialog) -> int:
        """SUBSCRIBE, the first or a refresh; the status."""
        self.dialogs[dialog.call_id] = dialog
        answer = await self.ask(
            "SUBSCRIBE",
            dialog.contact or dialog.target,
            [
                f"From: {dialog.from_}",
                f"To: {dialog.to or f'<{dialog.target}>'}",
                f"Call-ID: {dialog.call_id}",
                f"CSeq: {dialog.sequence} SUBSCRIBE",
                f"Contact: <sip:127.0.0.1:{self.port}>",
                "Event: presence",
                "Expires: 3600",
            ],
        )
        dialog.sequence += 1
        if answer.status == 200:
            dialog.to = answer.get("to")
            dialog.contact = answer.get("contact").partition("<")[2].partition(">")[0]
        return answer.status or 0

    async def until(self, holds: Callable[[], bool], hint: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(hint) from None


@contextlib.asynccontextmanager
async def phones(port: int) -> AsyncIterator[Phones]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Phones(("127.0.0.1", port)), local_addr=("127.0.0.1", 0)
    )
    try:
        yield made
    finally:
        transport.close()


class Ear:
    """An application's event stream, over all lives of the bridge."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.kinds: list[str] = []
        self.ended: dict[str, list[int]] = {}
        """Event ids of `statusEnd`, by correlator."""
        self.news = asyncio.Event()

    async def listen(self, application: Application) -> None:
        """Until the bridge is gone."""
        headers = {"Last-Event-ID": str(self.ids[-1] if self.ids else 0)}
        timeout = aiohttp.ClientTimeout(total=None)
        path = application.base + "/rest/presence/events"
        async with application.http.get(path, headers=headers, timeout=timeout) as got:
            assert got.status == 200
            event: dict[str, str] = {}
            async for line in got.content:
                if line.strip():
                    key, _, value = line.decode().rstrip("\n").partition(": ")
                    event[key] = value
                elif event:
                    self.hear(event)
                    event = {}

    def hear(self, event: dict[str, str]) -> None:
        if "id" in event and "event" in event:  # an id alone says where the stream begins
            self.ids.append(int(event["id"]))
        if "event" in event:
            self.kinds.append(event["event"])
            if event["event"] == "statusEnd":
                correlator = json.loads(event["data"])["statusEnd"]["correlator"]
                self.ended.setdefault(correlator, []).append(int(event["id"]))
        self.news.set()

    async def until(self, holds: Callable[[], bool], hint: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(hint) from None


class Member:
    """One of the crowd: an application, a SIP device, and what they were promised."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rest: Application | None = None
        self.ear = Ear()
        self.values = itertools.count(1)
        self.published: set[str] = set()
        """The last value promised, and those tried since."""
        self.watched_by: set[str] = set()
        self.admitted: set[str] = set()
        self.blocked: set[str] = set()
        self.unsure: set[str] = set()
        """Watchers about whom a question was asked and not answered."""
        self.running: set[str] = set()
        self.finished: set[str] = set()
        """Correlators of notifications that were started and have only one to send."""
        self.free: set[str] = set()
        """Correlators of notifications that were ended."""
        self.etag = ""
        self.etag_unsure = False
        self.sequence = itertools.count(1)

    @property
    def app(self) -> Application:
        assert self.rest is not None
        return self.rest

    # --- what it does in a round. Each returns when it was answered, and enters the promise then.

    async def publish(self) -> None:
        value = str(next(self.values))
        self.published.add(value)
        await self.app.publish(Activity="Busy", Other={"name": "crash", "value": value})
        self.published = {value}

    async def subscribe(self, presentity: "Member") -> None:
        presentity.unsure.add(uri(self.number))
        await self.app.subscribe(uri(presentity.number))
        presentity.unsure.discard(uri(self.number))
        presentity.watched_by.add(uri(self.number))

    async def admit(self, watcher: str) -> None:
        self.unsure.add(watcher)
        await self.app.grant_all(watcher)
        self.unsure.discard(watcher)
        self.watched_by.discard(watcher)
        self.admitted.add(watcher)

    async def block(self, watcher: str) -> None:
        self.unsure.add(watcher)
        await self.app.block(watcher)
        self.unsure.discard(watcher)
        self.watched_by.discard(watcher)
        self.blocked.add(watcher)

    async def start(self, presentity: str, correlator: str, **more: object) -> None:
        assert await self.app.start(presentity, correlator, **more) == []
        (self.finished if more else self.running).add(correlator)

    async def end(self, correlator: str) -> None:
        self.running.discard(correlator)
        await self.app.rest("DELETE", f"/notification/{correlator}")
        self.free.add(correlator)

    async def device(self, phones: Phones) -> None:
        self.etag_unsure = True
        self.etag = await phones.publish(self.number, self.etag, next(self.sequence))
        assert self.etag
        self.etag_unsure = False

    # --- what must be there afterwards

    async def check(self, neighbour: "Member") -> None:
        """Everything promised over REST. `neighbour` may see us."""
        await self.check_watchers()
        await until(lambda: self.value_seen(neighbour), lambda v: v in self.published, "the value")
        for correlator in sorted(self.running):
            await self.end(correlator)
        for correlator in sorted(self.free):
            path = f"/rest/presence/notification/{correlator}"
            status, answer = await self.app.ask("DELETE", path)
            assert status == 400, f"{correlator} was ended, and is there again: {status} {answer}"
        self.free.clear()

    async def check_watchers(self) -> None:
        waiting = set(await self.app.open_subscriptions())
        admitted = set(await self.app.watchers())
        unsure, self.unsure = self.unsure, set()
        assert self.watched_by - unsure <= waiting, "a subscription is lost"
        assert self.admitted - unsure <= admitted, "a decision is lost"
        assert not (self.blocked - unsure) & (admitted | waiting), "a block is lost"
        self.watched_by = (self.watched_by - unsure) | (waiting & unsure)
        self.admitted = (self.admitted - unsure) | (admitted & unsure)
        self.blocked -= unsure

    async def value_seen(self, neighbour: "Member") -> str:
        status, answer = await neighbour.app.presence(uri(self.number))
        assert status == 200, answer
        for attribute in answer["result"]:
            union = attribute["typeAndValue"]
            if union["unionElement"] == "Other" and union["other"]["name"] == "crash":
                return str(union["other"]["value"])
        return ""

    async def check_device(self, phones: Phones) -> None:
        if not self.etag:
            return
        tag = await phones.publish(self.number, self.etag, next(self.sequence))
        assert tag or self.etag_unsure, "an entity-tag is lost"
        self.etag, self.etag_unsure = tag, False

    async def check_ear(self) -> None:
        """Each notification with a count of one has ended once, and nothing was told twice or skipped."""
        for correlator in self.finished:
            await self.ear.until(
                lambda c=correlator: c in self.ear.ended,  # type: ignore[misc]
                f"no statusEnd of {correlator}",
            )
        twice = {c: ids for c, ids in self.ear.ended.items() if len(ids) > 1}
        assert not twice, "a statusEnd came twice"
        assert self.ear.ids == sorted(set(self.ear.ids)), "an event came twice"
        assert "reset" not in self.ear.kinds, "the stream lost track"


async def burst(operations: Sequence[Awaitable[None]], kill: Callable[[], None], after: int) -> int:
    """Begin all at once; kill when so many were answered. Returns how many were, when nothing goes on."""
    answered, fell = 0, asyncio.Event()

    async def one(operation: Awaitable[None]) -> None:
        nonlocal answered
        try:
            await operation
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            assert fell.is_set(), "the bridge went away by itself"
            return
        answered += 1
        if answered == after:
            kill()
            fell.set()

    tasks = [asyncio.ensure_future(one(operation)) for operation in operations]
    everything = asyncio.gather(*tasks)
    falling = asyncio.ensure_future(fell.wait())
    futures: set[asyncio.Future[Any]] = {everything, falling}
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if not fell.is_set():
        everything.result()
    await asyncio.wait(tasks, timeout=0.2)
    for task in tasks:
        task.cancel()  # what was sent over SIP would be repeated for ever
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    with contextlib.suppress(asyncio.CancelledError):
        await everything
    return answered
