"""aiovoip, which descends from aiosip, as a phone: aiovoip_client.py HOST PORT TRANSPORT NAME PASSWORD
LOCAL_PORT FOLDER watch|publish WORD

Watches WORD, or publishes WORD as its activity. Each line of standard input is a command after that: `publish
WORD`, `refresh`, `unpublish`, `leave`. What it is told goes to standard output; it runs until it is ended.
The library has SUBSCRIBE and a request of any other method; PUBLISH is made of the latter.
"""

import asyncio
import re
import sys
from typing import Any

import aiovoip
from aiovoip.contact import Contact
from aiovoip.dialog import Dialog

HOST, PORT, TRANSPORT, NAME, PASSWORD, LOCAL_PORT, FOLDER, WHAT, WORD = sys.argv[1:]
PROTOCOLS = {"udp": aiovoip.UDP, "tcp": aiovoip.TCP}
PIDF = "application/pidf+xml"


class Remembering(Dialog):  # type: ignore[misc]
    """A dialog that keeps the last response: the library gives back its status only."""

    response: Any = None

    def _receive_response(self, msg: Any) -> None:
        self.response = msg
        super()._receive_response(msg)


def who(name: str) -> Any:
    return Contact.from_header(f"<sip:{name}@example.com>")


def document(activity: str) -> str:
    return (
        '<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
        ' xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
        f' entity="sip:{NAME}@example.com"><tuple id="t1"><status><basic>open</basic></status></tuple>'
        f'<d:person id="p1"><r:activities><r:{activity}/></r:activities></d:person></presence>'
    )


class Phone:
    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.tag = ""
        self.watching: Any = None
        self.reader: asyncio.Task[None] | None = None

    async def publish(self, body: str = "", expires: int = 600) -> None:
        headers = {"Event": "presence", "Expires": str(expires)}
        headers |= {"Content-Type": PIDF} if body else {}
        headers |= {"SIP-If-Match": self.tag} if self.tag else {}
        dialog = await self.peer.request(
            "PUBLISH",
            from_details=who(NAME),
            to_details=who(NAME),
            headers=headers,
            payload=body or None,
            password=PASSWORD,
            dialog_factory=Remembering,
            timeout=10,
        )
        self.tag = dialog.response.headers.get("SIP-ETag", "")
        print("PUBLISH", dialog.status_code, "with" if self.tag else "without", "tag", flush=True)

    async def watch(self, name: str) -> None:
        self.watching = await self.peer.subscribe(
            expires=600,
            from_details=who(NAME),
            to_details=who(name),
            headers={"Event": "presence", "Accept": PIDF},
            password=PASSWORD,
            dialog_factory=Remembering,
            timeout=10,
        )
        print("SUBSCRIBE", self.watching.status_code, flush=True)
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        while True:
            told = await self.watching.recv()
            await self.watching.reply(told, 200)
            found = re.search(r"activities[^>]*>\s*<(?:\w+:)?([\w-]+)", told.payload)
            state = told.headers["Subscription-State"]
            print("NOTIFY", state.split(";")[0], found[1] if found else "nothing", flush=True)

    async def refresh(self) -> None:
        answer = await self.watching.refresh(headers={"Event": "presence"}, expires=300)
        print("SUBSCRIBE", answer.status_code, flush=True)

    async def leave(self) -> None:
        answer = await self.watching.refresh(headers={"Event": "presence"}, expires=0)
        print("SUBSCRIBE", answer.status_code, flush=True)

    async def do(self, line: str) -> None:
        word, _, argument = line.strip().partition(" ")
        if word == "publish":
            await self.publish(document(argument))
        elif word == "unpublish":
            await self.publish(expires=0)
        elif word == "watch":
            await self.watch(argument)
        elif word == "refresh" and WHAT == "publish":
            await self.publish()
        elif word == "refresh":
            await self.refresh()
        elif word == "leave":
            await self.leave()


async def main() -> None:
    app = aiovoip.Application(
        loop=asyncio.get_running_loop(), defaults={"override_contact_host": HOST}
    )
    phone = Phone(
        await app.connect(
            (HOST, int(PORT)), protocol=PROTOCOLS[TRANSPORT], local_addr=(HOST, int(LOCAL_PORT))
        )
    )
    print("begun", flush=True)
    await phone.do(f"{WHAT} {WORD}")
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async for line in commands:
        await phone.do(line.decode())


asyncio.run(main())
