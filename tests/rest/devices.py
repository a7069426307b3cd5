"""A BEMS client that shares no code with the bridge: JSON-RPC, long poll, server-sent events."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.app.rig import PATIENCE

Json = Any
JSONRPC, NOTIFICATIONS, EVENTS = "/bems/jsonrpc", "/bems/notifications", "/bems/events"
LOOKUP = "/presence/subscriptions"


def call(id: object, method: str, **params: object) -> dict[str, Json]:
    """One request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def token_of(name: str) -> str:
    return f"token-of-{name}-0123456789"


class Device:
    """One signed-in app. `after` is the number of the last message it has seen."""

    def __init__(self, base: str, name: str = "bob", basic: bool = False) -> None:
        self.base, self.name = base, name
        proof = base64.b64encode(f"app_{name}:secret-{name}".encode()).decode()
        self.http = aiohttp.ClientSession(
            headers={"Authorization": f"Basic {proof}"} if basic else {},
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        )
        self.after = 0
        self.waiting: list[Json] = []
        self.seen: list[Json] = []

    async def post(
        self, body: bytes | Json, kind: str = "application/json", **headers: str
    ) -> tuple[int, Json]:
        """Status and JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": kind, **headers}
        async with self.http.post(self.base + JSONRPC, data=data, headers=given) as answer:
            return answer.status, await answer.json()

    async def say(self, id: object, method: str, **params: object) -> Json:
        """The immediate answer to one request."""
        status, answer = await self.post(call(id, method, **params))
        assert status == 200, answer
        return answer

    async def refused(self, id: object, method: str, **params: object) -> int:
        """The code with which a request is refused at once."""
        answer = await self.say(id, method, **params)
        assert answer["result"] is None and answer["background"] is False
        code: int = answer["error"]["code"]
        return code

    async def begin(self, **params: object) -> None:
        """A session, and its COMPLETE is fetched."""
        answer = await self.say("b", "BeginSession", gdAuthToken=token_of(self.name), **params)
        assert answer["error"] is None, answer
        assert (await self.completed("b"))["method"] == "BeginSession"

    async def register(self, contact: str, id: str = "r") -> None:
        answer = await self.say(id, "RegisterTempRemotePresence", contactId=contact)
        assert answer["error"] is None, answer
        await self.completed(id)

    # --- messages

    async def poll(self, after: object = None, wait: object = None) -> tuple[int, Json]:
        query = {k: str(v) for k, v in (("after", after), ("wait", wait)) if v is not None}
        async with self.http.get(self.base + NOTIFICATIONS, params=query) as answer:
            return answer.status, await answer.json()

    async def message(self) -> Json:
        """The next message."""
        while not self.waiting:
            status, answer = await self.poll(self.after or None)
            assert status == 200 and "notifications" in answer, answer
            self.waiting = answer["notifications"]
            self.after = answer["sequence"]
            self.seen += self.waiting
        return self.waiting.pop(0)

    async def answer_to(self, id: object) -> Json:
        """The deferred answer to a request; messages about contacts that come before stay for later."""
        kept = []
        while (found := await self.message()).get("id") != id:
            kept.append(found)
        self.waiting = kept + self.waiting
        return found

    async def completed(self, id: object) -> Json:
        """The data of a request that went well."""
        found = await self.answer_to(id)
        assert found.keys() == {"id", "sequence", "result", "jsonrpc"}, found
        data = found["result"]["data"]
        assert data["state"] == "COMPLETE"
        return data

    async def contact(self, contact: str, presence: str) -> Json:
        """What is told of a contact, as soon as it has this status."""
        while True:
            found = await self.message()
            assert "id" not in found, found
            for told in found["result"]["data"]["contacts"]:
                if told["contactId"] == contact and told["presence"] == presence:
                    return told

    @contextlib.asynccontextmanager
    async def events(self, **headers: str) -> AsyncIterator["Events"]:
        async with self.http.get(self.base + EVENTS, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            yield Events(answer)

    async def close(self) -> None:
        await self.http.close()


class Events:
    """An open stream."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> tuple[int, Json]:
        """Id and data of the next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.answer.content.readline()).decode()
                assert line, "the stream ended"
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    return int(fields["id"]), json.loads(fields["data"])
                else:
                    fields.clear()

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            while line := await self.answer.content.readline():
                if line.startswith(b"data"):
                    return False
            return True


@contextlib.asynccontextmanager
async def device(base: str, name: str = "bob", basic: bool = False) -> AsyncIterator[Device]:
    made = Device(base, name, basic)
    try:
        yield made
    finally:
        await made.close()
