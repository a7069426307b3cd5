"""SIP over WebSocket: as a browser does it, as our own client does it, and as nobody should."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType

from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import ConnectionDropped
from sipbridge.sip.parser import MAX_MESSAGE
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports import tcp
from sipbridge.transports.driver import Driver, bind, bind_outgoing
from sipbridge.transports.tcp import HANDSHAKE_TIMEOUT, MESSAGE_TIME, SWEEP_EVERY, Rules
from sipbridge.transports.tls import Tls
from sipbridge.transports.websocket import PING_EVERY, PONG_TIMEOUT, may_open
from tests.harness.pair import Answers
from tests.transports.certificates import Authority
from tests.transports.test_driver import Waiting

PAGE = "https://page.example"


def request(method: str, number: int = 1, body: bytes = b"", *, length: bool = True) -> bytes:
    """As a browser's user agent writes it: hosts that cannot exist, perhaps no Content-Length."""
    lines = [
        f"{method} sip:bob@example.com SIP/2.0",
        f"Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKbr{number}",
        "Max-Forwards: 70",
        "From: <sip:alice@example.com>;tag=1",
        "To: <sip:bob@example.com>",
        "Call-ID: call@df7jal23ls0d.invalid",
        f"CSeq: {number} {method}",
        "Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>",
        "Event: presence",
    ]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Served:
    """A driver that listens, and a clock turned by hand."""

    def __init__(self, listen: str, tls: Tls | None, origins: frozenset[str]) -> None:
        (one,) = bind([listen])
        self.point = one.point
        self.core = UserAgent([one.point])
        self.core.serve("PUBLISH", answers := Answers(200))
        self.answers = answers
        self.told: asyncio.Queue[object] = asyncio.Queue()
        self.ahead = 0.0
        self.driver = Driver(
            self.core,
            [one],
            on_indication=self.told.put_nowait,
            rules=Rules(tls=tls, origins=origins),
            now=lambda: asyncio.get_running_loop().time() + self.ahead,
        )

    @property
    def url(self) -> str:
        host, port = self.point.local
        return f"{self.point.protocol}://{f'[{host}]' if ':' in host else host}:{port}/"

    @property
    def endpoint(self) -> tcp.TcpEndpoint:
        return self.driver.tcp[self.point.local]

    async def dropped(self) -> ConnectionDropped:
        while True:
            said = await self.told.get()
            if isinstance(said, ConnectionDropped):
                return said


async def soon() -> None:
    """The loop comes round."""
    await asyncio.sleep(0)


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The other side has cut the connection."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while await reader.read(4096):
            pass
    writer.close()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        await writer.wait_closed()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def bridge() -> AsyncIterator[Served]:
    served = Served("ws:127.0.0.1:0", None, frozenset({PAGE}))
    await served.driver.start()
    yield served
    await served.driver.stop()


async def test_a_browser_asks_and_is_answered_as_text(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"], origin=PAGE) as page:
        assert page.protocol == "sip"
        await page.send_str(request("PUBLISH", body="grüße".encode()).decode())
        answer = (await page.receive_str(timeout=20)).split("\r\n")
        assert answer[0] == "SIP/2.0 200 OK"
        # RFC 7118 §5.3: no `received`, which would tell of machines in front of us
        assert answer[1] == "Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKbr1"
        assert bridge.answers.got[0].request.body == "grüße".encode()


async def test_binary_messages_and_missing_lengths_are_understood(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await page.send_bytes(request("PUBLISH", body=b"\xff\xfe", length=False))
        assert (await page.receive_str(timeout=20)).startswith("SIP/2.0 200")
        assert bridge.answers.got[0].request.body == b"\xff\xfe"


async def test_keep_alive_of_two_line_ends_is_answered_with_one(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await page.send_str("\r\n\r\n")
        assert await page.receive_str(timeout=20) == "\r\n"


async def test_noise_is_not_answered_and_the_connection_serves_on(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await page.send_str("hello")
        await page.send_str(request("PUBLISH").decode())
        assert (await page.receive_str(timeout=20)).startswith("SIP/2.0 200")


class Subscribes:
    """Takes a SUBSCRIBE and keeps the dialog it makes."""

    def __init__(self, core: UserAgent) -> None:
        self.core = core
        self.dialogs: list[Dialog] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        contact = self.core.contact_for(incoming.request.request_uri, incoming.flow)
        dialog = Dialog.as_uas(incoming.request, incoming.to_tag, contact, incoming.flow)
        self.dialogs.append(dialog)
        incoming.respond(200)


async def test_requests_of_a_dialog_come_over_its_connection_and_fail_with_it(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    bridge.core.serve("SUBSCRIBE", handler := Subscribes(bridge.core))

    def notify() -> Waiting:
        waiting = Waiting()
        dialog = handler.dialogs[0]
        bridge.core.request_in_dialog(
            dialog, dialog.new_request("NOTIFY"), waiting, bridge.driver.now()
        )
        bridge.driver.turn()
        return waiting

    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await page.send_str(request("SUBSCRIBE").decode())
        answer = await page.receive_str(timeout=20)
        host, port = bridge.point.local
        assert f"Contact: <sip:bob@{host}:{port};transport=ws>" in answer
        waiting = notify()
        told = await page.receive_str(timeout=20)
        assert told.startswith("NOTIFY sip:alice@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n")
        copied = [
            line
            for line in told.split("\r\n")
            if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")
        ]
        await page.send_str("\r\n".join(["SIP/2.0 200 OK", *copied, "", ""]))
        assert await waiting.future == 200
        under_way = notify()
        await page.receive_str(timeout=20)
    assert await under_way.future == "transport"
    assert await notify().future == "transport"


# --- who may not come in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "allowed", "may"),
    [
        ([], [], True),
        ([PAGE], [PAGE], True),
        (["HTTPS://Page.example"], [PAGE], True),
        ([PAGE], [], False),
        (["null"], [PAGE], False),
        (["null"], ["*"], True),
        ([PAGE, "https://evil.example"], [PAGE], False),
        (["https://page.example.evil.example"], [PAGE], False),
    ],
)
def test_a_page_has_to_be_listed(origins: list[str], allowed: list[str], may: bool) -> None:
    assert may_open(origins, frozenset(allowed)) is may


async def refused(
    bridge: Served,
    browser: aiohttp.ClientSession,
    protocols: Sequence[str] = ("sip",),
    origin: str | None = None,
) -> tuple[int, str]:
    """The status of the answer, and what was reported."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await browser.ws_connect(bridge.url, protocols=protocols, origin=origin)
    return caught.value.status, (await bridge.dropped()).reason


async def test_foreign_pages_and_foreign_subprotocols_are_refused(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    evil = "https://evil.example"
    assert await refused(bridge, browser, origin=evil) == (403, "origin")
    assert await refused(bridge, browser, ["xmpp"]) == (400, "handshake")
    assert await refused(bridge, browser, []) == (400, "handshake")


async def test_a_plain_request_is_told_what_to_do(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.get(bridge.url.replace("ws:", "http:")) as answer:
        assert answer.status == 426
    assert (await bridge.dropped()).reason == "handshake"


async def raw(bridge: Served, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*bridge.point.local)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_what_is_no_http_is_cut_off(bridge: Served) -> None:
    await raw(bridge, b"OPTIONS sip:bob@example.com SIP/2.0\r\n\r\n")
    assert (await bridge.dropped()).reason == "handshake"
    await raw(bridge, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
    assert (await bridge.dropped()).reason == "handshake"


async def test_a_message_that_is_too_large_ends_the_connection(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await page.send_str("x" * (MAX_MESSAGE + 1))
        assert (await page.receive(timeout=20)).type is WSMsgType.CLOSE
        assert page.close_code == 1009
    assert (await bridge.dropped()).reason == "protocol"


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
)
MASK = b"\0\0\0\0"


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A client's frame whose mask changes nothing."""
    assert len(data) < 126
    return bytes([opcode | (0x80 if fin else 0), 0x80 | len(data)]) + MASK + data


async def shaken(bridge: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*bridge.point.local)
    writer.write(HANDSHAKE)
    assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_fragments_are_put_together_and_empty_ones_cost_nothing(bridge: Served) -> None:
    reader, writer = await shaken(bridge)
    data = request("PUBLISH")
    pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
    writer.write(frame(1, pieces[0], fin=False) + frame(9, b"ping"))
    for piece in pieces[1:-1]:
        writer.write(frame(0, b"", fin=False) * 3 + frame(0, piece, fin=False))
    writer.write(frame(0, pieces[-1]))
    assert b"ping" in await reader.readexactly(6)
    assert b"SIP/2.0 200 OK" in await reader.readuntil(b"200 OK")
    writer.close()
    await writer.wait_closed()


async def test_text_that_is_no_text_ends_the_connection(bridge: Served) -> None:
    reader, writer = await shaken(bridge)
    writer.write(frame(1, b"\xff\xfe"))
    assert (await reader.readexactly(4))[2:] == (1007).to_bytes(2, "big")
    assert (await bridge.dropped()).reason == "protocol"
    writer.close()
    await writer.wait_closed()


# --- patience -------------------------------------------------------------------------------------------


async def test_a_handshake_that_trickles_is_cut_off(bridge: Served) -> None:
    reader, writer = await asyncio.open_connection(*bridge.point.local)
    writer.write(HANDSHAKE[:40])
    while not bridge.endpoint.arriving:
        await soon()
    bridge.ahead += HANDSHAKE_TIMEOUT + 1
    bridge.endpoint.sweep()
    assert (await bridge.dropped()).reason == "handshake"
    await gone(reader, writer)


async def test_a_message_that_trickles_is_cut_off(bridge: Served) -> None:
    reader, writer = await shaken(bridge)
    writer.write(frame(1, b"OPTIONS sip:", fin=False))
    (connection,) = bridge.endpoint.open.values()
    assert connection.flow is not None
    while not connection.progress(connection.flow)[1]:
        await soon()
    for _ in range(2):
        bridge.ahead += MESSAGE_TIME / 2 + SWEEP_EVERY
        bridge.endpoint.sweep()
    assert (await bridge.dropped()).reason == "slow"
    await gone(reader, writer)


async def test_who_answers_pings_may_be_silent_and_who_does_not_is_gone(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        reading = asyncio.ensure_future(page.receive())
        (connection,) = bridge.endpoint.open.values()
        for _ in range(3):
            heard = connection.heard
            bridge.ahead += PING_EVERY + 1
            bridge.endpoint.sweep()
            while connection.heard == heard:
                await soon()
        reading.cancel()
    reader, writer = await shaken(bridge)
    (connection,) = [c for c in bridge.endpoint.open.values() if c is not connection]
    bridge.ahead += PING_EVERY + 1
    bridge.endpoint.sweep()
    assert (await reader.readexactly(2))[0] == 0x89
    bridge.ahead += PONG_TIMEOUT + 1
    bridge.endpoint.sweep()
    assert (await bridge.dropped()).reason == "no pong"
    await gone(reader, writer)


async def test_at_the_end_browsers_are_told_that_we_go(
    bridge: Served, browser: aiohttp.ClientSession
) -> None:
    async with browser.ws_connect(bridge.url, protocols=["sip"]) as page:
        await bridge.driver.stop()
        assert (await page.receive(timeout=20)).type is WSMsgType.CLOSE
        assert page.close_code == 1001


# --- our own client -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listen", ["ws:127.0.0.1:0", "wss:127.0.0.1:0", "ws:[::1]:0", "wss:[::1]:0"]
)
async def test_our_client_speaks_to_our_listener(listen: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = Tls([authority.issue("bridge", ["127.0.0.1", "::1"])], ca=authority.ca)
    served = Served(listen, tls, frozenset())
    await served.driver.start()
    protocol, (host, port) = served.point.protocol, served.point.local
    shown = f"[{host}]" if ":" in host else host
    one = bind_outgoing(protocol, host)
    core = UserAgent([one.point])
    client = Driver(
        core, [one], on_indication=lambda said: None, rules=Rules(tls=Tls(ca=authority.ca))
    )
    await client.start()
    waiting = Waiting()
    asked = core.new_request(
        "PUBLISH",
        f"{'sips' if protocol == 'wss' else 'sip'}:bob@{shown}:{port};transport=ws",
        from_=NameAddr.parse("<sip:alice@example.com>"),
        to=NameAddr.parse("<sip:bob@example.com>"),
        headers=[("Event", "presence")],
    )
    core.request(asked, waiting, client.now())
    client.turn()
    assert await waiting.future == 200
    via = served.answers.got[0].request.top_via
    assert via.protocol == protocol.upper() and via.sent_by.endswith(".invalid")
    flow = served.answers.got[0].flow
    assert flow.protocol == protocol and flow.local == served.point.local
    await client.stop()
    await served.driver.stop()


async def test_a_server_that_speaks_no_sip_over_it_is_a_failure() -> None:
    one = bind_outgoing("ws", "127.0.0.1")
    core = UserAgent([one.point])
    client = Driver(core, [one], on_indication=lambda said: None)
    await client.start()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    failed: asyncio.Queue[tuple[Flow, str]] = asyncio.Queue()
    client.send_failed = lambda flow, error: failed.put_nowait((flow, error))  # type: ignore[method-assign]
    client.tcp[one.point.local].send(b"x", Flow("ws", one.point.local, (host, port)))
    _, error = await failed.get()
    assert "404" in error
    await client.stop()
    server.close()
    await server.wait_closed()


async def test_a_browser_over_tls(tmp_path: Path, browser: aiohttp.ClientSession) -> None:
    authority = Authority(tmp_path)
    tls = Tls([authority.issue("bridge", ["127.0.0.1"])], ca=authority.ca)
    served = Served("wss:127.0.0.1:0", tls, frozenset())
    await served.driver.start()
    context = ssl.create_default_context(cafile=str(authority.ca))
    async with browser.ws_connect(served.url, protocols=["sip"], ssl=context) as page:
        await page.send_str(request("PUBLISH").replace(b"SIP/2.0/WS ", b"SIP/2.0/WSS ").decode())
        assert (await page.receive_str(timeout=20)).startswith("SIP/2.0 200")
    await served.driver.stop()
