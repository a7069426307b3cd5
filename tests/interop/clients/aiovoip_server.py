"""A presence server made with aiovoip (aiosip, carried on): aiovoip_server.py HOST PORT TRANSPORT

Keeps one publication for each presentity, shows it to whoever subscribes, and knows no other event package.
The library sends NOTIFY to the watcher's own address instead of his Contact, which it forgets.
"""

import asyncio
import secrets
import sys
from typing import Any

import aiovoip
from aiovoip.dialplan import BaseDialplan

HOST, PORT, TRANSPORT = sys.argv[1:]
PROTOCOLS = {"udp": aiovoip.UDP, "tcp": aiovoip.TCP}
PIDF = "application/pidf+xml"
LIFE = "600"


class Server(BaseDialplan):  # type: ignore[misc]
    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.documents: dict[str, str] = {}
        self.watchers: dict[str, list[Any]] = {}

    async def resolve(self, method: str, *arguments: Any, **more: Any) -> Any:
        return {"PUBLISH": self.publish, "SUBSCRIBE": self.subscribe}.get(method)

    async def publish(self, request: Any, message: Any) -> None:
        user = message.to_details["uri"]["user"]
        if message.headers.get("SIP-If-Match") != self.tags.get(user):
            await request.prepare(412, status_message="Conditional Request Failed")
            return
        self.tags[user] = secrets.token_hex(4)
        if message.headers.get("Expires") == "0":
            del self.tags[user], self.documents[user]
        elif message.payload:
            self.documents[user] = message.payload
        headers = {"SIP-ETag": self.tags.get(user, "none"), "Expires": message.headers["Expires"]}
        dialog = await request.prepare(200, headers=headers)
        await dialog.close(fast=True)
        for watcher in self.watchers.get(user, []):
            await self.notify(watcher, user)

    async def subscribe(self, request: Any, message: Any) -> None:
        if message.headers["Event"] != "presence":
            await request.prepare(489, status_message="Bad Event")
            return
        user = message.to_details["uri"]["user"]
        watcher = await request.prepare(200, headers={"Expires": LIFE})
        self.watchers.setdefault(user, []).append(watcher)
        await self.notify(watcher, user)
        async for again in watcher:
            await watcher.reply(again, 200, headers={"Expires": again.headers["Expires"]})
            if again.headers["Expires"] == "0":
                self.watchers[user].remove(watcher)
                await self.notify(watcher, user, "terminated;reason=timeout")
                await watcher.close(fast=True)
                return
            await self.notify(watcher, user)

    async def notify(self, watcher: Any, user: str, state: str = f"active;expires={LIFE}") -> None:
        headers = {"Event": "presence", "Subscription-State": state, "Content-Type": PIDF}
        answer = await watcher.notify(headers=headers, payload=self.documents.get(user))
        print("NOTIFY", state.split(";")[0], answer.status_code, flush=True)


async def main() -> None:
    app = aiovoip.Application(
        loop=asyncio.get_running_loop(),
        dialplan=Server(),
        defaults={"override_contact_host": HOST, "dialog_closing_delay": 3600},
    )
    await app.run(local_addr=(HOST, int(PORT)), protocol=PROTOCOLS[TRANSPORT])
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
