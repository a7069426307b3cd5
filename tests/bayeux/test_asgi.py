"""The binding over real sockets: uvicorn on a free port, aiohttp as the client."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count

import aiohttp
import orjson
import pytest
import uvicorn

from sipbridge.bayeux import asgi
from sipbridge.bayeux.asgi import BayeuxApp, is_same_origin
from sipbridge.bayeux.server import BayeuxServer, Ended, Indication, Settings, Subscribed
from tests.bayeux.conftest import HANDSHAKE, counting_tokens, subscribe

Reply = dict[str, object]
MINE = "/bayeux/app1/presence"
DATA = b'{"statusEnd":{"correlator":"c-1"}}'
EVENT = {"channel": MINE, "data": {"statusEnd": {"correlator": "c-1"}}}
BASIC = "Basic " + base64.b64encode(b"app1:secret").decode()
HANDSHAKE_BYTES = orjson.dumps([HANDSHAKE])


async def authenticate(headers: Mapping[str, str]) -> str | None:
    return {BASIC: "app1", "Bearer t0ken": "app2"}.get(headers["authorization"])


class Site:
    """A running server, and an HTTP client that is logged in."""

    def __init__(self, app: BayeuxApp, url: str, http: aiohttp.ClientSession) -> None:
        self.app = app
        self.server = app.server
        self.url = url
        self.http = http
        self.told: list[Indication] = []
        app.told = self.told.append

    async def post(self, *batch: Mapping[str, object]) -> list[Reply]:
        async with self.http.post(self.url, json=batch) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Content-Length" in answer.headers
            replies: list[Reply] = orjson.loads(await answer.read())
            return replies

    async def status(self, **request: object) -> int:
        async with self.http.post(self.url, **request) as answer:  # type: ignore[arg-type]
            return answer.status

    async def connected(self, *channels: str) -> str:
        (reply,) = await self.post(HANDSHAKE)
        client = str(reply["clientId"])
        await self.post(connect(client))
        for channel in channels:
            await self.post(subscribe(client, channel))
        return client

    async def held(self, number: int = 1) -> None:
        """Wait until so many connects are held."""
        await until(lambda: self.server.gauges().held >= number)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; the test's own time limit ends it otherwise."""
    while not condition():  # noqa: ASYNC110 - what is waited for is the server's state
        await asyncio.sleep(0)


def connect(client: str, **more: object) -> Reply:
    return {
        "channel": "/meta/connect",
        "clientId": client,
        "connectionType": "long-polling",
        "id": "c",
        **more,
    }


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[Site]:
    app = BayeuxApp(
        BayeuxServer(settings or Settings(), counting_tokens()),
        authenticate,
        allowed_origins=("https://pages.example",),
    )
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws="websockets-sansio")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.startup([listener])  # without `serve`, whose loop looks up ten times a second only
    port = listener.getsockname()[1]
    try:
        async with aiohttp.ClientSession(headers={"Authorization": BASIC}) as http:
            yield Site(app, f"http://127.0.0.1:{port}/bayeux", http)
    finally:
        await app.stop()
        await server.shutdown([listener])


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as found:
        yield found


# --- long-polling -------------------------------------------------------------------------------------


async def test_a_held_connect_is_answered_when_something_is_published(site: Site) -> None:
    client = await site.connected(MINE)
    polling = asyncio.create_task(site.post(connect(client)))
    await site.held()
    assert site.server.publish(MINE, DATA, asgi.now()) == 1
    event, reply = await polling
    assert event == EVENT
    assert reply["successful"] is True
    assert site.told == [Subscribed(client, "app1", MINE)]


async def test_a_burst_becomes_one_reply(site: Site) -> None:
    client = await site.connected(MINE)
    polling = asyncio.create_task(site.post(connect(client)))
    await site.held()
    for number in range(100):
        site.server.publish(MINE, str(number).encode(), asgi.now())
    replies = await polling
    assert [r.get("data") for r in replies] == [*range(100), None]


async def test_the_hold_ends_by_the_clock() -> None:
    async with running(Settings(timeout=0.05)) as site:
        client = await site.connected()
        (reply,) = await site.post(connect(client))
        assert reply["successful"] is True


async def test_a_session_expires_by_the_clock() -> None:
    async with running(Settings(max_interval=0.05)) as site:
        ended = (
            asyncio.Event()
        )  # listened for first: the session may be over before the answer is read
        site.app.told = lambda said: ended.set() if isinstance(said, Ended) else None
        await site.connected()
        await ended.wait()
        assert site.server.sessions == {}


async def test_nothing_is_lost_with_a_connection_that_breaks(site: Site) -> None:
    client = await site.connected(MINE)
    polling = asyncio.create_task(site.post(connect(client)))
    await site.held()
    polling.cancel()
    await until(lambda: not site.server.gauges().held)
    site.server.publish(MINE, DATA, asgi.now())
    assert (await site.post(connect(client)))[0] == EVENT
    assert site.app.held == {}


async def test_a_second_connect_releases_the_first(site: Site) -> None:
    client = await site.connected()
    older = asyncio.create_task(site.post(connect(client)))
    await site.held()
    newer = asyncio.create_task(site.post(connect(client)))
    (reply,) = await older
    assert reply["error"] == "409::connect_superseded"
    (bye,) = await site.post({"channel": "/meta/disconnect", "clientId": client})
    assert bye["successful"] is True
    (reply,) = await newer
    assert reply["advice"] == {"reconnect": "none", "interval": 0}
    assert site.told == [Ended(client, "app1", "disconnected")]


@pytest.mark.parametrize("suffix", ["", "/", "/handshake", "/any/thing"])
async def test_the_path_below_the_mount_does_not_matter(site: Site, suffix: str) -> None:
    site.url += suffix
    (reply,) = await site.post(HANDSHAKE)
    assert reply["successful"] is True


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (HANDSHAKE_BYTES, "application/json;charset=UTF-8"),
        (orjson.dumps(HANDSHAKE), "text/json"),
        (HANDSHAKE_BYTES, "text/plain"),
        (HANDSHAKE_BYTES, None),
        (aiohttp.FormData({"message": HANDSHAKE_BYTES.decode()}), None),
    ],
)
async def test_clients_label_json_in_many_ways(
    site: Site, body: bytes | aiohttp.FormData, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    skipped = ("Content-Type",) if isinstance(body, bytes) else ()
    request = site.http.post(site.url, data=body, headers=headers, skip_auto_headers=skipped)
    async with request as answer:
        (reply,) = orjson.loads(await answer.read())
    assert reply["successful"] is True


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"data": b"[]"}, 400),
        ({"data": b"{"}, 400),
        ({"data": b"\xff"}, 400),
        ({"data": b"[" * 30_000}, 400),
        ({"data": HANDSHAKE_BYTES, "headers": {"Content-Type": "text/xml"}}, 415),
        ({"data": b"x" * 70_000}, 413),
        ({"data": {"message": "{"}}, 400),
        ({"data": {"other": "x"}}, 400),
    ],
)
async def test_what_is_no_bayeux_gets_a_plain_refusal(
    site: Site, request_: dict[str, object], status: int
) -> None:
    if isinstance(request_["data"], bytes) and "headers" not in request_:
        request_ = {**request_, "headers": {"Content-Type": "application/json"}}
    assert await site.status(**request_) == status


async def test_a_chunked_body_is_cut_off_at_the_limit(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    with suppress(aiohttp.ClientError, ConnectionError):  # closed while sending is as good
        assert await site.status(data=endless(), headers={"Content-Type": "text/plain"}) == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_refused(site: Site, method: str) -> None:
    jsonp = {"jsonp": "cb", "message": HANDSHAKE_BYTES.decode()}
    async with site.http.request(method, site.url, params=jsonp) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST, OPTIONS"


# --- callback-polling ---------------------------------------------------------------------------------


SCRIPTS = Settings(connection_types=("websocket", "long-polling", "callback-polling"))
BY_TOKEN = {"ext": {"authentication": {"token": "t0ken"}}}


class Page:
    """A page that can do nothing but load scripts; the browser sends what it has cached all the same."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def load(self, *batch: Mapping[str, object], jsonp: str = "cb.f$1") -> str:
        asked = {"jsonp": jsonp, "message": orjson.dumps(batch).decode()}
        async with self.site.http.get(self.site.url, params=asked) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            return await answer.text()

    async def call(self, *batch: Mapping[str, object]) -> list[Reply]:
        text = await self.load(*batch)
        assert text.startswith("/**/cb.f$1([") and text.endswith("]);")
        replies: list[Reply] = orjson.loads(text.removeprefix("/**/cb.f$1(").removesuffix(");"))
        return replies


async def test_a_page_that_loads_scripts_is_told() -> None:
    async with running(SCRIPTS) as site:
        page = Page(site)
        asked = {**HANDSHAKE, **BY_TOKEN, "supportedConnectionTypes": ["callback-polling"]}
        (hello,) = await page.call(asked)
        assert hello["supportedConnectionTypes"] == list(SCRIPTS.connection_types)
        client = str(hello["clientId"])
        channel = "/bayeux/app2/presence"
        await page.call(connect(client, connectionType="callback-polling"))
        (answer,) = await page.call(subscribe(client, channel))
        assert answer["successful"] is True
        polling = asyncio.create_task(page.load(connect(client), jsonp="told"))
        await site.held()
        site.server.publish(
            channel, '{"note":"a\u2028b\u2029c"}'.encode(), asyncio.get_running_loop().time()
        )
        text = await polling
        assert text.startswith('/**/told([{"channel":"/bayeux/app2/presence","data":{"note":"a')
        assert r"a\u2028b\u2029c" in text and "\u2028" not in text


async def test_what_the_browser_has_cached_opens_nothing_to_a_script() -> None:
    async with running(SCRIPTS) as site:
        page = Page(site)
        (answer,) = await page.call(HANDSHAKE)  # with the Authorization header of app1
        assert answer["error"] == "401::authentication_failed"
        client = await site.connected(MINE)
        (answer,) = await page.call(subscribe(client, MINE))
        assert answer["error"] == "402::session_unknown"


@pytest.mark.parametrize(
    "asked",
    [
        {"jsonp": "alert(1)//", "message": "[]"},
        {"jsonp": "", "message": "x"},
        {"jsonp": "1a", "message": HANDSHAKE_BYTES.decode()},
        {"jsonp": "a" * 65, "message": HANDSHAKE_BYTES.decode()},
        {"jsonp": "f"},
        {"jsonp": "f", "message": "{"},
    ],
)
async def test_what_is_no_script_request_is_refused(asked: dict[str, str]) -> None:
    async with running(SCRIPTS) as site, site.http.get(site.url, params=asked) as answer:
        assert answer.status == 400
        assert "javascript" not in answer.headers["Content-Type"]


async def test_the_name_of_the_function_may_be_left_out() -> None:
    async with running(SCRIPTS) as site:
        asked = {"message": HANDSHAKE_BYTES.decode()}
        async with site.http.get(site.url, params=asked) as answer:
            assert (await answer.text()).startswith("/**/jsonpcallback([")


async def test_a_page_of_a_foreign_origin_gets_no_script() -> None:
    headers = {"Origin": "https://evil.example"}
    async with (
        running(SCRIPTS) as site,
        site.http.get(site.url, params={"message": "[]"}, headers=headers) as answer,
    ):
        assert answer.status == 403


# --- credentials and origins --------------------------------------------------------------------------


async def test_wrong_passwords_are_refused_in_bayeux(site: Site) -> None:
    headers = {"Authorization": "Basic eDp5"}
    async with site.http.post(site.url, json=HANDSHAKE, headers=headers) as answer:
        assert answer.status == 200
        (reply,) = await answer.json()
    assert reply["error"] == "401::authentication_failed"
    assert reply["advice"] == {"reconnect": "none", "interval": 0}


@pytest.mark.parametrize(
    ("given", "application"),
    [({"user": "app1", "credentials": "secret"}, "app1"), ({"token": "t0ken"}, "app2")],
)
async def test_credentials_may_come_in_the_handshake(
    site: Site, given: dict[str, str], application: str
) -> None:
    message = {**HANDSHAKE, "ext": {"authentication": given}}
    async with aiohttp.ClientSession() as anonymous:
        async with anonymous.post(site.url, json=message) as answer:
            (reply,) = await answer.json()
        async with anonymous.post(site.url, json=connect(reply["clientId"])) as answer:
            assert (await answer.json())[0]["successful"] is True
    assert [s.application for s in site.server.sessions.values()] == [application]


async def test_a_listed_origin_gets_cors(site: Site) -> None:
    headers = {"Origin": "https://pages.example"}
    async with site.http.options(site.url, headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://pages.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST, GET, OPTIONS"
        assert answer.headers["Vary"] == "Origin"
    async with site.http.post(site.url, json=HANDSHAKE, headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://pages.example"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    polling_headers = {**headers, "Content-Type": "application/xml"}
    async with site.http.post(site.url, data=b"x", headers=polling_headers) as answer:
        assert answer.status == 415
        assert answer.headers["Access-Control-Allow-Origin"] == "https://pages.example"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_foreign_origin_is_refused_on_every_door(site: Site, origin: str) -> None:
    headers = {"Origin": origin}
    assert await site.status(json=HANDSHAKE, headers=headers) == 403
    async with site.http.options(site.url, headers=headers) as answer:
        assert answer.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.http.ws_connect(site.url, headers=headers)
    assert refused.value.status == 403


async def test_the_star_never_comes_with_what_the_browser_knows(site: Site) -> None:
    site.app.allowed_origins = frozenset({"*"})
    headers = {"Origin": "https://any.example"}
    async with site.http.options(site.url, headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    async with site.http.post(site.url, json=HANDSHAKE, headers=headers) as answer:
        assert (await answer.json())[0]["successful"] is True
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    plain = {**headers, "Content-Type": "text/plain"}  # no preflight comes before it
    assert await site.status(data=orjson.dumps([HANDSHAKE]), headers=plain) == 403
    # A WebSocket of such a page has to prove itself in the handshake.
    async with site.http.ws_connect(site.url, headers=headers) as ws:
        await ws.send_json([HANDSHAKE])
        assert (await ws.receive_json(timeout=20))[0]["successful"] is False
    async with site.http.ws_connect(site.url, headers={"Origin": site.url[:-7]}) as ws:
        await ws.send_json([HANDSHAKE])
        assert (await ws.receive_json(timeout=20))[0]["successful"] is True


async def test_our_own_pages_need_no_list(site: Site) -> None:
    own = site.url.removesuffix("/bayeux")
    assert await site.status(json=HANDSHAKE, headers={"Origin": own}) == 200


def test_same_origin_is_the_host_we_were_called_by() -> None:
    assert is_same_origin("https://Gw.example", "gw.example")
    assert not is_same_origin("https://gw.example.evil", "gw.example")
    assert not is_same_origin("http://[", "[")
    assert not is_same_origin("file://gw.example", "gw.example")


# --- WebSocket ----------------------------------------------------------------------------------------


async def ask(ws: aiohttp.ClientWebSocketResponse, *batch: Mapping[str, object]) -> list[Reply]:
    await ws.send_str(orjson.dumps(batch).decode())
    return await receive(ws)


async def receive(ws: aiohttp.ClientWebSocketResponse) -> list[Reply]:
    replies: list[Reply] = orjson.loads(await ws.receive_str())
    return replies


async def test_a_socket_gets_events_without_asking(site: Site) -> None:
    async with site.http.ws_connect(site.url) as ws:
        client = str((await ask(ws, HANDSHAKE))[0]["clientId"])
        await ask(ws, connect(client))
        await ask(ws, subscribe(client, MINE))
        for number in range(3):
            site.server.publish(MINE, str(number).encode(), asgi.now())
        assert [m["data"] for m in await receive(ws)] == [0, 1, 2]
        (bye,) = await ask(ws, {"channel": "/meta/disconnect", "clientId": client})
        assert bye["successful"] is True


async def test_a_session_made_by_http_goes_on_with_a_socket(site: Site) -> None:
    client = await site.connected(MINE)
    async with aiohttp.ClientSession() as browser, browser.ws_connect(site.url) as ws:
        (reply,) = await ask(ws, connect(client, advice={"timeout": 0}))
        assert reply["successful"] is True
        site.server.publish(MINE, DATA, asgi.now())
        assert await receive(ws) == [EVENT]
    await until(lambda: not site.server.links)
    site.server.publish(MINE, DATA, asgi.now())
    assert (await site.post(connect(client)))[0] == EVENT


async def test_a_browser_logs_in_on_the_socket(site: Site) -> None:
    credentials = {"authentication": {"user": "app1", "credentials": "secret"}}
    async with aiohttp.ClientSession() as browser, browser.ws_connect(site.url) as ws:
        (refused,) = await ask(ws, HANDSHAKE)
        assert refused["error"] == "401::authentication_failed"
        (reply,) = await ask(ws, {**HANDSHAKE, "ext": credentials})
        assert reply["successful"] is True


@pytest.mark.parametrize(
    ("frame", "code"),
    [("no json", 1008), ("[]", 1008), (b"[]", 1003), ("x" * 70_000, 1009)],
)
async def test_bad_frames_close_the_socket(site: Site, frame: str | bytes, code: int) -> None:
    async with site.http.ws_connect(site.url) as ws:
        if isinstance(frame, bytes):
            await ws.send_bytes(frame)
        else:
            await ws.send_str(frame)
        closed = await ws.receive()
        assert closed.type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == code


async def test_the_first_subprotocol_is_taken(site: Site) -> None:
    async with site.http.ws_connect(site.url, protocols=("bayeux", "other")) as ws:
        assert ws.protocol == "bayeux"


async def test_a_silent_socket_is_closed() -> None:
    async with running(Settings(socket_grace=0.05)) as site, site.http.ws_connect(site.url) as ws:
        await ws.receive()
        assert ws.close_code == 1008


async def test_too_many_silent_sockets_are_refused() -> None:
    async with running(Settings(max_idle_sockets=1)) as site, site.http.ws_connect(site.url):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await site.http.ws_connect(site.url)


async def test_stopping_answers_and_closes(site: Site) -> None:
    client = await site.connected()
    polling = asyncio.create_task(site.post(connect(client)))
    await site.held()
    async with site.http.ws_connect(site.url) as ws:
        await asyncio.gather(site.app.stop(), ws.receive())
        assert ws.close_code == 1001
    (reply,) = await polling
    assert reply["successful"] is True


async def test_a_peer_that_does_not_read_loses_its_socket_and_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "WRITE_PATIENCE", 0.2)
    monkeypatch.setattr(asgi, "SWEEP", 0.05)
    quick = await site.connected(MINE)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.split(":")[2][:-7]))
    writer.write(
        b"GET /bayeux HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Authorization: " + BASIC.encode() + b"\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    for message in (HANDSHAKE, connect("client2"), subscribe("client2", MINE)):
        writer.write(masked(orjson.dumps([message])))
        await reader.readuntil(b"}]")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    big = b'"' + b"x" * 60_000 + b'"'
    for number in count():
        polling = asyncio.create_task(site.post(connect(quick)))
        await site.held()
        site.server.publish(MINE, big, asgi.now())
        assert len(await polling) == 2, number
        if not site.server.links:
            break
    assert quick in site.server.sessions
    writer.close()


def masked(payload: bytes) -> bytes:
    """A client's text frame with a mask of zeros."""
    assert len(payload) < 65536
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
