"""Rubbish at the HTTP side of a running bridge: always an answer, never a fault of ours.

The presence routes answer 2xx, or a documented 4xx with a fault that names the part; the Bayeux server
answers Bayeux or a 4xx. 5xx there is none, as nothing here can make the store or a peer fail.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.rig import Application, Site, site

ALICE = "sip:alice@example.com"
FAULTS = {400, 401, 403, 404, 405, 409, 413, 415}
RESOURCES = ["subscription", "subscriptions", "notification", "presence"]
METHODS = ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]
MEMBERS = [
    "application",
    "attributes",
    "checkImmediate",
    "correlator",
    "count",
    "decisions",
    "duration",
    "endpoint",
    "frequency",
    "metric",
    "presence",
    "presentity",
    "reference",
    "typeAndValue",
    "unionElement",
    "units",
    "watcher",
]
WORDS = st.sampled_from(
    ["Activity", "Other", "Second", "Year", ALICE, "/bayeux/app_bob/x", "true", "-1", "1e999", ""]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    WORDS,
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(MEMBERS), st.text(max_size=8)), inner, max_size=6
        ),
    ),
    max_leaves=20,
)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site() as running:
        yield running


@pytest.fixture
async def bob(here: Site) -> Application:
    return here.application("bob")


async def answered(
    app: Application, method: str, path: str, body: bytes | None, kind: str = "application/json"
) -> tuple[int, bytes]:
    """Status and body; a fault is one of ours."""
    data = None if body is None else io.BytesIO(body)
    async with app.http.request(
        method, app.base + path, data=data, headers={"Content-Type": kind}
    ) as got:
        text = await got.read()
    assert got.status < 500, (method, path, body, text)
    if got.status >= 400 and method != "HEAD":
        assert got.status in FAULTS, (method, path, got.status)
        error = json.loads(text)["error"]
        assert error["messageId"].startswith(("SVC", "POL"))
        assert error["requestId"] == got.headers["X-Request-ID"]
    return got.status, text


# --- presence routes


async def test_bytes_are_a_fault_at_most(bob: Application) -> None:
    @given(st.sampled_from(METHODS), st.sampled_from(RESOURCES), st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    async def sent(method: str, resource: str, body: bytes) -> None:
        await answered(bob, method, f"/rest/presence/{resource}", body)

    await drive(sent)


async def test_json_of_any_shape_is_a_fault_at_most(bob: Application) -> None:
    @given(st.sampled_from(["PUT", "POST"]), st.sampled_from(RESOURCES), TREES)
    @settings(max_examples=400, deadline=None)
    async def shape(method: str, resource: str, tree: object) -> None:
        body = json.dumps(tree).encode()
        await answered(bob, method, f"/rest/presence/{resource}", body)

    await drive(shape)


async def test_one_wrong_member_in_a_good_request_is_named(bob: Application) -> None:
    start: dict[str, Any] = {
        "presentity": ALICE,
        "reference": bob.reference("w-1"),
        "frequency": {"metric": "Second", "units": 10},
        "checkImmediate": True,
        "attributes": ["Activity"],
        "duration": {"metric": "Hour", "units": 1},
        "count": 5,
    }
    optional = {"attributes", "duration", "count"}

    @given(st.sampled_from(sorted(start)), TREES)
    @settings(max_examples=300, deadline=None)
    async def wrong(member: str, tree: object) -> None:
        body = json.dumps({**start, member: tree}).encode()
        status, text = await answered(bob, "PUT", "/rest/presence/notification", body)
        if status == 400:
            variables = json.loads(text)["error"]["variables"]
            assert variables[0].partition(".")[0].partition("[")[0] == member
        elif status == 201:
            assert tree is not None or member in optional

    await drive(wrong)


async def test_queries_and_paths_of_any_kind_are_a_fault_at_most(bob: Application) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

    @given(st.sampled_from(["GET", "DELETE"]), st.sampled_from(RESOURCES), text, text)
    @settings(max_examples=200, deadline=None)
    async def asked(method: str, resource: str, tail: str, query: str) -> None:
        path = f"/rest/presence/{resource}/{quote(tail, safe='')}?{quote(query, safe='=&')}"
        await answered(bob, method, path, None)

    await drive(asked)


async def drive(test: Any) -> None:
    """Run a property inside the loop that already runs: examples come from a thread."""
    loop = asyncio.get_running_loop()
    inner = test.hypothesis.inner_test

    def call(*arguments: Any, **named: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*arguments, **named), loop).result()

    test.hypothesis.inner_test = call
    await asyncio.to_thread(test)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"presence": [' + b'{"typeAndValue": {}},' * 10_000 + b"{}]}",
        b'{"presentity": "' + b"x" * 900_000 + b'"}',
        b'{"presence": null, "presence": []' + b', "x": 1' * 100_000 + b"}",
        b"\xff\xfe\x00{",
        b'{"presentity": "sip:\\ud800@example.com"}',
        b"1" * 500_000,
    ],
    ids=["deep-lists", "deep-objects", "many", "long", "twice", "utf-16", "surrogate", "digits"],
)
async def test_hostile_json_is_a_fault(bob: Application, body: bytes) -> None:
    for resource in ("subscription", "notification"):
        status, _ = await answered(bob, "PUT", f"/rest/presence/{resource}", body)
        assert status == 400


async def test_a_body_beyond_the_limit_is_413(bob: Application) -> None:
    status, _ = await answered(bob, "PUT", "/rest/presence/presence", b" " * ((1 << 20) + 1))
    assert status == 413

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 32768

    # The answer may come while we are still talking, and the connection is closed.
    with contextlib.suppress(aiohttp.ClientConnectionError):
        url, kind = bob.base + "/rest/presence/presence", {"Content-Type": "application/json"}
        async with bob.http.put(url, data=pieces(), headers=kind) as got:
            assert got.status == 413


async def test_other_media_types_are_415(bob: Application) -> None:
    for kind in ("application/xml", "multipart/form-data; boundary=x", "text/html", "x" * 200):
        status, _ = await answered(bob, "PUT", "/rest/presence/presence", b"{}", kind)
        assert status == 415


# --- Bayeux


async def bayeux(app: Application, body: bytes) -> None:
    """Bayeux answers in HTTP 200; what is no Bayeux at all is a 4xx."""
    url = app.base + "/rest/presence/notifications"
    async with app.http.post(url, data=body, headers={"Content-Type": "application/json"}) as got:
        text = await got.read()
        assert got.status < 500, (body, text)
        if got.status == 200:
            assert isinstance(json.loads(text), list)


async def test_rubbish_at_the_bayeux_server_is_answered(bob: Application) -> None:
    channel = st.sampled_from(
        ["/meta/handshake", "/meta/connect", "/meta/subscribe", "/meta/x", "/a/**", "/", "x"]
    )
    message = st.dictionaries(
        st.sampled_from(["clientId", "version", "subscription", "data", "ext", "advice", "id"]),
        TREES,
        max_size=4,
    )

    @given(st.lists(st.builds(lambda m, c: {**m, "channel": c}, message, channel), max_size=3))
    @settings(max_examples=150, deadline=None)
    async def batch(messages: list[dict[str, object]]) -> None:
        # A connect of nobody is answered at once; nothing here is held.
        await bayeux(bob, json.dumps(messages).encode())

    await drive(batch)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{", b"[[]]", b'"x"', b"\x00" * 100, b"[" * 30_000, b"[{}]" * 9]
)
async def test_what_is_no_bayeux_is_refused(bob: Application, body: bytes) -> None:
    await bayeux(bob, body)


async def test_websocket_frames_of_any_kind_close_at_most_their_own_socket(
    bob: Application,
) -> None:
    good = await bob.http.ws_connect(bob.base + "/bayeux")
    for frame in ("", "null", "{", "[" * 1000, "x" * 60_000, json.dumps([{"channel": 1}])):
        bad = await bob.http.ws_connect(bob.base + "/bayeux")
        await bad.send_str(frame)
        await bad.send_bytes(b"\xff\xfe")
        while (await bad.receive(5.0)).type is aiohttp.WSMsgType.TEXT:
            pass
        await bad.close()
    hello = {"channel": "/meta/handshake", "version": "1.0", "id": "1"}
    await good.send_json([{**hello, "supportedConnectionTypes": ["websocket"]}])
    (answer,) = await good.receive_json(timeout=20)
    assert answer["successful"] is True
    await good.close()


# --- below HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"PUT /rest/presence/presence HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"\x00" * 1000,
    ],
    ids=["tls", "no-version", "length", "headers", "zeros"],
)
async def test_what_is_no_http_leaves_the_bridge_as_it_was(here: Site, data: bytes) -> None:
    host, port = here.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    assert (await here.application("bob").ask("GET", "/health/live"))[0] == 200
