"""Every torture message, and every one of the reference corpus, through live sockets of a running bridge.

`sipbridge serve` with the embedded agent gets each message over UDP and over TCP. It must answer what the
verdict calls for: methods it does not serve get 405, what it serves gets the answer that such a message gets
from a presence agent of this domain. Silence is expected where nobody could be told. After each message the
bridge answers an OPTIONS, so it serves on, and nothing takes longer than `BOUND`.

A response to a datagram goes to the address it came from and the port that its Via names (RFC 3261 §18.2.2),
so each message is sent from that port, at a loopback address of its own.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sipbridge.cli.decode import decode
from sipbridge.errors import ParseError
from sipbridge.sip.via import parse_vias
from tests.app.processes import Served, served
from tests.app.rig import configuration
from tests.torture.test_torture import TABLE, data_of

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
INDEX = CORPUS / "sip" / "index.json"

DOMAIN = "example.net"
"""Served by the bridge: messages of both collections ask for it, from addresses that need no DNS."""
SERVED = frozenset({"OPTIONS", "SUBSCRIBE", "PUBLISH", "REGISTER"})
"""By the listeners of an embedded agent; NOTIFY belongs to the gateway, which is joined to it in memory."""
BOUND = 2.0
"""Seconds for one message, generous for a busy machine; a parser that goes wild needs minutes."""
PATIENCE = 10.0
STATUS = re.compile(rb"SIP/2\.0 (\d{3}) ")
BRANCH = re.compile(rb"(?i)branch=z9hG4bK")
CALL_ID = re.compile(rb"(?im)^(?:call-id|i)[ \t]*:[ \t]*(?=\S)")
HEAD_END = re.compile(rb"\r?\n\r?\n")
SILENCE = 0
"""Among the statuses that are allowed: no answer at all."""


@dataclass(frozen=True, slots=True)
class Case:
    """One message. verdict and status: what decode has to say; None: whatever it says."""

    name: str
    data: bytes
    verdict: str | None
    statuses: frozenset[int]


def own() -> list[Case]:
    """The torture set beside this module."""
    return [
        Case(name, data_of(name), entry["verdict"], frozenset({entry["status"]}))
        for name, entry in TABLE.items()
    ]


def fresh(data: bytes, number: int) -> bytes:
    """The same message as another transaction of another call, so that nobody takes it for a copy."""
    data = BRANCH.sub(rb"\g<0>%dx" % number, data, count=1)
    return CALL_ID.sub(rb"\g<0>%dx" % number, data, count=1)


VERDICTS = {
    "accept": "accept",
    "accept-syntax": "accept",
    "reject": "reject",
    "body-only": "reject",
    "accept-keepalive": "keepalive",
}


def corpus() -> list[Case]:
    """The reference corpus, [] where it is not at hand."""
    if not INDEX.exists():
        return []
    found = []
    for entry in json.loads(INDEX.read_text())["messages"]:
        expect = entry["expect"]
        words = str(expect["respond"] or "").split(" or ")
        statuses = frozenset(int(word) if word.isdigit() else SILENCE for word in words)
        data = (CORPUS / "sip" / entry["file"]).read_bytes()
        found.append(Case(entry["file"], data, VERDICTS.get(expect["parse"]), statuses))
    return found


def allowed(case: Case, told: dict[str, object]) -> frozenset[int]:
    """Which statuses the bridge may answer with."""
    if told["kind"] != "request" or told["method"] == "ACK" or not has_via(told):
        return frozenset({SILENCE})
    if told["verdict"] == "reject":
        return case.statuses if case.verdict == "reject" else frozenset({400, 505})
    if told["method"] not in SERVED:
        # A request nobody can be sure of is refused as such, before anybody asks for its method.
        return frozenset({400, 405}) if told["status_hint"] == 400 else frozenset({405})
    mine = DOMAIN in str(told["uri"])
    hint = told["status_hint"]
    if isinstance(hint, int):
        # The Request-URI is looked at before the rest (RFC 3261 §8.2.2); nobody is asked to prove anything.
        return frozenset({404 if hint == 401 else hint} if mine else {hint, 404})
    if told["method"] == "OPTIONS":
        return frozenset({200})
    if in_dialog(told):
        return frozenset({481})
    return frozenset({200 if mine else 404})


def in_dialog(told: dict[str, object]) -> bool:
    headers = told["headers"]
    assert isinstance(headers, list)
    return any(name == "To" and re.search(r";\s*tag\s*=", value, re.I) for name, value in headers)


def has_via(told: dict[str, object]) -> bool:
    headers = told["headers"]
    assert isinstance(headers, list)
    return any(name == "Via" for name, _ in headers)


def via_port(told: dict[str, object]) -> int:
    """Where a response to a datagram goes; 0 where it is nowhere we may listen."""
    headers = told.get("headers")
    assert isinstance(headers, list)
    line = next((value for name, value in headers if name == "Via"), "")
    try:
        port = parse_vias(line)[0].port or 5060
    except (ParseError, IndexError):
        return 0
    return port if port > 1023 else 0


PING = (
    "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKping{1};rport\r\n"
    "From: <sip:p@127.0.0.1>;tag=p{1}\r\nTo: <sip:{0}>\r\nCall-ID: p{1}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class Line:
    """Sends messages to one bridge and collects what comes back. `pings` counts the signs of life."""

    def __init__(self, bridge: Served, transport: str) -> None:
        points: list[str] = bridge.ready["sip"]
        host, _, port = (
            next(p for p in points if p.startswith(transport)).split(":", 1)[1].rpartition(":")
        )
        self.server = (host, int(port))
        self.pings = 0
        self.net = f"127.{random.randrange(64, 128)}.{random.randrange(256)}"
        self.loop = asyncio.get_running_loop()
        self.pinger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.pinger.setblocking(False)
        self.pinger.bind(("127.0.0.1", 0))
        udp = next(p for p in points if p.startswith("udp")).split(":", 1)[1].rpartition(":")
        self.udp = (udp[0], int(udp[2]))

    async def ping(self) -> None:
        """The bridge is alive, and has read everything that came by datagram before."""
        self.pings += 1
        data = PING.format(DOMAIN, self.pings).encode()
        async with asyncio.timeout(PATIENCE):
            await self.loop.sock_sendto(self.pinger, data, self.udp)
            answer = await self.loop.sock_recv(self.pinger, 65536)
        assert answer.startswith(b"SIP/2.0 200"), answer
        assert f"Call-ID: p{self.pings}\r\n".encode() in answer

    async def datagram(self, data: bytes, port: int, speaks: bool) -> int:
        """Status of the first final response, SILENCE without one."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            # Each at an address of its own: 4xx to INVITE are repeated until somebody says ACK.
            sock.bind((f"{self.net}.{self.pings % 250 + 1}", port))
            await self.loop.sock_sendto(sock, data, self.server)
            if speaks:
                async with asyncio.timeout(PATIENCE):
                    return status_in(await self.loop.sock_recv(sock, 65536))
            await self.ping()
            try:
                return status_in(sock.recv(65536))
            except BlockingIOError:
                return SILENCE

    async def stream(self, data: bytes, speaks: bool) -> int:
        """The same over a connection. Where nothing is to come, its end is awaited after ours."""
        reader, writer = await asyncio.open_connection(*self.server)
        try:
            writer.write(data)
            if not speaks:
                writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                heard = b""
                while (piece := await reader.read(65536)) and not (
                    speaks and STATUS.search(heard + piece)
                ):
                    heard += piece
                return status_in(heard + piece)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def close(self) -> None:
        self.pinger.close()


def status_in(data: bytes) -> int:
    found = STATUS.search(data)
    return int(found[1]) if found else SILENCE


@contextlib.asynccontextmanager
async def line_to(folder: Path, transport: str) -> AsyncIterator[Line]:
    tree = configuration(agent={"sub_handling": "allow"})
    tree["sip"]["domain"] = DOMAIN
    async with served(folder, tree) as bridge:
        line = Line(bridge, transport)
        try:
            yield line
        finally:
            line.close()
        assert await bridge.stop() == 0
        assert not [entry for entry in bridge.bridge.log if "Traceback" in entry]


def in_a_stream(told: dict[str, object], data: bytes) -> frozenset[int]:
    """What a stream may answer besides (RFC 3261 §18.3).

    Behind a message that does not say how long it is it cannot go on; for one that is not whole it waits.
    """
    headers = told.get("headers")
    assert isinstance(headers, list)
    if "no empty line" in str(told["reason"]):
        return frozenset({SILENCE})
    said = next((value for name, value in headers if name == "Content-Length"), None)
    if said is None:
        return frozenset({400, SILENCE})
    there = len(HEAD_END.split(data, maxsplit=1)[-1])
    return frozenset({SILENCE} if said.isdigit() and int(said) > there else ())


async def judge(line: Line, transport: str, case: Case) -> str:
    """What is wrong with the answers to one message; "" if nothing is."""
    told = decode(case.data)
    if case.verdict == "keepalive":
        if told != {"kind": "keepalive"}:
            return f"{case.name}: decode says {told}"
        may = frozenset({SILENCE})
    else:
        if case.verdict is not None and told["verdict"] != case.verdict:
            return f"{case.name}: decode says {told['verdict']}, not {case.verdict}"
        may = allowed(case, told)
        if transport == "tcp":
            may |= in_a_stream(told, case.data)
    data = fresh(case.data, line.pings)
    started = time.monotonic()
    speaks = SILENCE not in may
    try:
        if transport == "udp":
            got = await line.datagram(data, via_port(told) if may != {SILENCE} else 0, speaks)
        else:
            got = await line.stream(data, speaks)
    except TimeoutError:
        got = SILENCE
    taken = time.monotonic() - started
    await line.ping()
    if got not in may:
        return f"{case.name}: {told.get('method')} got {got}, not one of {sorted(may)}"
    return f"{case.name}: took {taken:.1f} s" if taken > BOUND else ""


@pytest.mark.timeout(
    60
)  # three hundred messages, each with an OPTIONS behind it, to a process of its own
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("collection", [own, corpus])
async def test_each_message_gets_its_verdict_and_the_bridge_serves_on(
    collection: Callable[[], list[Case]], transport: str, tmp_path: Path
) -> None:
    cases = collection()
    if not cases:
        pytest.skip("the reference corpus is not at hand")
    async with line_to(tmp_path, transport) as line:
        wrong = [fault for case in cases if (fault := await judge(line, transport, case))]
        assert line.pings >= len(cases)
    assert not wrong, "\n".join(wrong)
