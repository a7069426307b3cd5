"""Credentials, ids, mounts, limits, pages."""

import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from sipbridge.rest import BasicAuthenticator, Ready, RestSettings, create_app
from tests.rest.conftest import ALICE, BOB, MEETING, PresenceHouse, Site, accounts, basic


def client(app: object) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app)  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=transport, base_url="http://gw.example")


@pytest.mark.parametrize(
    "headers", [{}, basic("app_alice", "wrong"), {"Authorization": "Bearer x"}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/presence"),
        ("PUT", "/presence"),
        ("DELETE", "/notification/x"),
        ("PATCH", "/presence"),
    ],
)
async def test_without_credentials_nothing_is_answered(
    site: Site, headers: dict[str, str], method: str, path: str
) -> None:
    answer = await site.ask(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="sipbridge", charset="UTF-8"'
    assert answer.json()["error"]["messageId"] == "POL0001"
    assert site.finished == [("", 401)]


async def test_the_request_id_goes_all_the_way(site: Site) -> None:
    headers = {**ALICE, "X-Request-ID": "req-1/a"}
    answer = await site.ask("GET", "/subscription?status=open", headers=headers)
    assert answer.headers["X-Request-ID"] == "req-1/a"
    assert site.house.traces == ["req-1/a"]


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb"])
async def test_a_missing_or_senseless_id_is_replaced(site: Site, given: str | None) -> None:
    headers = ALICE if given is None else {**ALICE, "X-Request-ID": given}
    answers = [
        await site.ask("GET", "/subscription?status=open", headers=headers) for _ in range(2)
    ]
    ids = {a.headers["X-Request-ID"] for a in answers}
    assert len(ids) == 2
    assert given not in ids
    assert ids == set(site.house.traces)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 204),
        ("text/plain", 204),
        (None, 204),
        ("application/xml", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
async def test_bodies_are_json(site: Site, kind: str | None, status: int) -> None:
    headers = {**ALICE} if kind is None else {**ALICE, "Content-Type": kind}
    url = "/rest/presence/presence"
    answer = await site.http.put(url, content=b'{"presence":[]}', headers=headers)
    assert answer.status_code == status


async def test_long_bodies_are_cut_off() -> None:
    site = Site(PresenceHouse(), RestSettings(max_body=100))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 50

    async with site.http:
        announced = await site.ask("PUT", "/presence", b" " * 101)
        url = "/rest/presence/presence"
        chunked = await site.http.put(url, content=chunks(), headers=ALICE)
    assert announced.status_code == chunked.status_code == 413
    assert announced.headers["Connection"] == "close"


async def test_pages_of_foreign_origins_are_refused(site: Site) -> None:
    answer = await site.ask(
        "PUT", "/presence", {"presence": []}, {**ALICE, "Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert site.house.published == {}
    own = {**ALICE, "Origin": "http://gw.example:8001"}
    assert (await site.ask("PUT", "/presence", {"presence": []}, own)).status_code == 204


async def test_listed_origins_get_cors() -> None:
    site = Site(PresenceHouse(), RestSettings(allowed_origins=("https://pages.example",)))
    origin = {"Origin": "https://pages.example"}
    async with site.http:
        preflight = await site.ask("OPTIONS", "/presence", headers=origin)
        answer = await site.ask("PUT", "/presence", {"presence": [MEETING]}, {**ALICE, **origin})
        denied = await site.ask("GET", "/presence", headers=origin)
    assert preflight.status_code == 204
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    for each in (preflight, answer, denied):
        assert each.headers["Access-Control-Allow-Origin"] == "https://pages.example"
        assert each.headers["Vary"] == "Origin"
    assert (answer.status_code, denied.status_code) == (204, 401)


async def test_our_own_mistakes_are_500_and_logged(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(caller: object) -> list[str]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(site.house, "my_watchers", broken)
    with caplog.at_level(logging.ERROR):
        answer = await site.ask("GET", "/subscription?filter=watcher")
    assert answer.status_code == 500
    assert answer.json()["error"]["variables"] == ["internal"]
    assert "secret detail" not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text


# --- mounts and pages ---------------------------------------------------------------------------------


def named(name: str) -> object:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"{name} {scope['path']}".encode()})

    return app


@pytest.mark.parametrize(
    ("path", "app"),
    [
        ("/bayeux", "bayeux"),
        ("/bayeux/handshake", "bayeux"),
        ("/rest/presence/notifications", "bayeux"),
        ("/rest/presence/notifications/", "bayeux"),
        ("/rest/presence/events", "events"),
    ],
)
async def test_mounts_have_their_path_to_themselves(path: str, app: str) -> None:
    mounts = {
        "/bayeux": named("bayeux"),
        "/rest/presence/notifications": named("bayeux"),
        "/rest/presence/events": named("events"),
    }
    whole = create_app(PresenceHouse(), [BasicAuthenticator(accounts())], mounts=mounts)  # type: ignore[arg-type]
    async with client(whole) as http:
        assert (await http.post(path)).text == f"{app} {path}"
        assert (await http.get("/bayeuxx")).status_code == 404


async def test_health_says_live_and_ready() -> None:
    state = Ready(False, {"store": "read-only"})
    app = create_app(PresenceHouse(), [BasicAuthenticator({})], ready=lambda: state)
    async with client(app) as http:
        assert (await http.get("/health/live")).json() == {"status": "live"}
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {"status": "not ready", "store": "read-only"}
        state = Ready(True)
        assert (await http.get("/health/ready")).status_code == 200


async def test_metrics_are_there_if_somebody_makes_them() -> None:
    kind = "text/plain; version=0.0.4"
    with_them = create_app(PresenceHouse(), [], metrics=lambda: (b"up 1\n", kind))
    async with client(with_them) as http:
        answer = await http.get("/metrics")
        assert (answer.text, answer.headers["Content-Type"]) == ("up 1\n", f"{kind}; charset=utf-8")
    async with client(create_app(PresenceHouse(), [])) as http:
        assert (await http.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/docs", "Block Subscription"),
        ("/rest/presence/index.html", "Block Subscription"),
        ("/rest/presence", "Block Subscription"),
    ],
)
async def test_people_find_a_page(path: str, text: str) -> None:
    async with client(create_app(PresenceHouse(), [])) as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert text in answer.text


async def test_no_authenticator_knows_nobody() -> None:
    async with client(create_app(PresenceHouse(), [])) as http:
        assert (await http.get("/rest/presence/presence", headers=BOB)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/nowhere", 404, "Request-URI"),
        ("GET", "/rest/presence/nowhere", 404, "Request-URI"),
        ("DELETE", "/health/live", 405, "method"),
    ],
)
async def test_what_the_framework_refuses_is_a_fault_of_ours(
    method: str, path: str, status: int, part: str
) -> None:
    async with client(create_app(PresenceHouse(), [])) as http:
        answer = await http.request(method, path, headers={"X-Request-ID": "r-1"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["messageId"], error["variables"], error["requestId"]) == (
        "SVC0002",
        [part],
        "r-1",
    )
    assert ("Allow" in answer.headers) == (status == 405)
