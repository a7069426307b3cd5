"""Limits: loops that do only what nobody can leave out. `python -m bench.loops KIND` prints its port.

    echo   a bare uvloop UDP echo: the event loop and the kernel
    lxml   a bare loop of receive, lxml parse of the body, send: what any Python program must pay for a NOTIFY
    http   bare Starlette on uvicorn: read JSON, answer 204; to a GET, as many bytes as five attributes take

Each ends when its standard input is closed or it is terminated.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import cast

import uvicorn
import uvloop
from lxml import etree
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bench.wheel import RECEIVE_BUFFER


class Echo(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def echo() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, sock=udp())
    print(transport.get_extra_info("sockname")[1], flush=True)
    await until_closed()


async def until_closed() -> None:
    """Until standard input ends."""
    await asyncio.to_thread(sys.stdin.read)


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    return sock


def lxml_loop() -> None:
    """Receive, parse, send; in blocking calls, the cheapest there are."""
    sock = udp()
    print(sock.getsockname()[1], flush=True)
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    while True:
        data, peer = sock.recvfrom(65535)
        head, _, body = data.partition(b"\r\n\r\n")
        etree.fromstring(body, parser)
        sock.sendto(b"SIP/2.0 200 OK\r\n" + head[-400:] + b"\r\n\r\n", peer)


ANSWER = json.dumps(["x" * 100] * 9).encode()


async def front(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "GET":
        await Response(ANSWER, media_type="application/json")(scope, receive, send)
        return
    json.loads(await Request(scope, receive).body())
    await Response(status_code=204)(scope, receive, send)


async def http() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(front, log_level="error", access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([sock]))
    print(sock.getsockname()[1], flush=True)
    await until_closed()
    server.should_exit = True
    await serving


def end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main(kind: str) -> None:
    match kind:
        case "echo":
            uvloop.run(echo())
        case "http":
            uvloop.run(http())
        case "lxml":
            threading.Thread(target=end_with_input, daemon=True).start()
            lxml_loop()
        case _:
            raise SystemExit(f"no loop {kind!r}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
