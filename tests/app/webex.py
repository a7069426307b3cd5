"""A Webex-style client of a bridge: handles, and the updates that come for them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import aiohttp

from sipbridge.presence.namespaces import SIPBRIDGE
from tests.app.rig import PATIENCE, Application

PRESENCES = "/webex/people/presences"
APHELEIA = "/webex/apheleia"
STRANGER = "sip:nobody@elsewhere.invalid"


async def watch(by: Application, *contact_ids: str, **headers: str) -> list[dict[str, Any]]:
    """Start watching; the handles."""
    body = {"contactIds": list(contact_ids)}
    status, answer = await by.ask("POST", f"{PRESENCES}/watch", body, **headers)
    assert status == 200, answer
    handles: list[dict[str, Any]] = answer["presenceHandles"]
    return handles


async def stop(by: Application, *handles: object, **headers: str) -> None:
    body = {"presenceHandles": list(handles)}
    status, answer = await by.ask("POST", f"{PRESENCES}/stop", body, **headers)
    assert (status, answer) == (204, None)


class Updates:
    """What a stream told, in order. by: whose stream it is."""

    def __init__(
        self, by: Application | None = None, named: Mapping[str, str] | None = None
    ) -> None:
        self.by = by
        self.named = named or {}
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.last_id = ""
        self.names: set[str] = set()

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.inbox.get(), PATIENCE)

    async def take(self, count: int) -> dict[int, dict[str, Any]]:
        """The presences of the next so many updates, by handle."""
        told = [await self.next() for _ in range(count)]
        return {update["handle"]: update["presence"] for update in told}

    async def until(self, **wanted: object) -> dict[str, Any]:
        """The first update from now whose presence says this."""
        while True:
            update = await self.next()
            presence: dict[str, Any] = update["presence"]
            if all(presence[name] == value for name, value in wanted.items()):
                return update

    async def silence(self) -> bool:
        """Nothing came before what comes now: the first word about somebody nobody knows."""
        assert self.by is not None
        (mark,) = await watch(self.by, STRANGER, **self.named)
        told = await self.next()
        await stop(self.by, mark, **self.named)
        return bool(told["handle"] == mark["handle"])

    async def read(self, content: aiohttp.StreamReader) -> None:
        """The body of server-sent events."""
        data = ""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async for raw in content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "id":
                    self.last_id = value
                elif field == "event":
                    self.names.add(value)
                elif field == "data":
                    data = value
                elif not field and data:
                    self.inbox.put_nowait(json.loads(data))
                    data = ""

    async def hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self.inbox.put_nowait(json.loads(message.data))


@contextlib.asynccontextmanager
async def events(
    by: Application, path: str = f"{PRESENCES}/events", **headers: str
) -> AsyncIterator[Updates]:
    """A stream of server-sent events, open as long as the block."""
    given: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    updates = Updates(by, {n: v for n, v in given.items() if n == "X-Presence-Identity"})
    timeout = aiohttp.ClientTimeout(total=None)
    async with by.http.get(by.base + path, headers=given, timeout=timeout) as got:
        assert got.status == 200, await got.text()
        assert got.content_type == "text/event-stream"
        reading = asyncio.get_running_loop().create_task(updates.read(got.content))
        try:
            yield updates
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@contextlib.asynccontextmanager
async def socket(by: Application, path: str = f"{PRESENCES}/stream") -> AsyncIterator[Updates]:
    """A WebSocket, open as long as the block."""
    updates = Updates(by)
    async with by.http.ws_connect(by.base + path) as made:
        hearing = asyncio.get_running_loop().create_task(updates.hear(made))
        try:
            yield updates
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def pidf(
    *activities: str,
    basic: str = "open",
    until: str = "",
    note: str = "",
    user_input: str = "",
    last_input: str = "",
    person_note: str = "",
    place: str = "",
    entity: str = "sip:alice@example.com",
) -> bytes:
    """A presence document. Activities beginning with `x:` are of this project's namespace."""
    elements = "".join(f"<{a}/>" if ":" in a else f"<rpid:{a}/>" for a in activities)
    attribute = f' until="{until}"' if until else ""
    inner = (f"<rpid:note>{note}</rpid:note>" if note else "") + elements
    person = f"<rpid:activities{attribute}>{inner}</rpid:activities>" if activities else ""
    if place:
        person += f"<rpid:place-is><rpid:audio><rpid:{place}/></rpid:audio></rpid:place-is>"
    if user_input:
        said = f' last-input="{last_input}"' if last_input else ""
        person += f"<rpid:user-input{said}>{user_input}</rpid:user-input>"
    if person_note:
        person += f"<dm:note>{person_note}</dm:note>"
    status = f"<basic>{basic}</basic>" if basic else ""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:x="{SIPBRIDGE}" entity="{entity}">
 <tuple id="t1"><status>{status}</status></tuple>
 <dm:person id="p1">{person}</dm:person>
</presence>""".encode()
