"""aiocometd as an application: python aiocometd_client.py URL USER PASSWORD CHANNEL FOREIGN TRANSPORT

Prints one JSON line for each thing that happens, until standard input ends.
"""

import asyncio
import base64
import json
import sys
from typing import Any

from aiocometd_noloop import AuthExtension, Client, ConnectionType
from aiocometd_noloop.exceptions import ServerError


def say(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


class Basic(AuthExtension):  # type: ignore[misc]
    """Adds the Authorization header to every request."""

    def __init__(self, user: str, password: str) -> None:
        self.value = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def incoming(self, payload: list[Any], headers: Any = None) -> None:
        for message in payload:
            if message.get("channel") == "/meta/handshake":
                say("handshake", successful=message.get("successful"))

    async def outgoing(self, payload: list[Any], headers: Any) -> None:
        headers["Authorization"] = self.value

    async def authenticate(self) -> None:
        return


async def ended() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def listen(client: Any) -> None:
    async for message in client:
        say("message", data=message["data"])


async def main() -> None:
    url, user, password, channel, foreign, transport = sys.argv[1:]
    kind = ConnectionType.WEBSOCKET if transport == "websocket" else ConnectionType.LONG_POLLING
    async with Client(url, kind, auth=Basic(user, password), connection_timeout=60) as client:
        await client.subscribe(channel)
        say("subscribe", successful=True)
        try:
            await client.subscribe(foreign)
            say("foreign")
        except ServerError as error:
            say("denied", successful=False, error=str(error))
        done = asyncio.ensure_future(ended())
        heard = asyncio.ensure_future(listen(client))
        await asyncio.wait({done, heard}, return_when=asyncio.FIRST_COMPLETED)
        heard.cancel()


asyncio.run(main())
