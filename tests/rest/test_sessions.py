"""The session manager, and presence requests that need a session."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from sipbridge.rest import BasicAuthenticator, create_app, sessions
from sipbridge.rest.exchange import Exchange
from sipbridge.rest.gate import Gate
from sipbridge.rest.origins import Origins
from sipbridge.rest.sessions import ROOT, SessionManager, Sessions
from tests.rest.conftest import ALICE, BOB, PresenceHouse, accounts

OPEN = "/rest/presence/subscription?status=open"


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Desk:
    """A site with sessions switched on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(60.0, self.clock)
        basic = BasicAuthenticator(accounts())
        gate = Gate(basic, sessions=self.sessions)
        manager = SessionManager(self.sessions, basic, Exchange(Origins()))
        app = create_app(PresenceHouse(), [gate], mounts={ROOT: manager})
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://gw.example"
        )

    async def ask(self, method: str, path: str, headers: dict[str, str]) -> httpx2.Response:
        return await self.http.request(method, path, headers=headers)

    async def open(self, headers: dict[str, str] = ALICE) -> str:
        answer = await self.ask("POST", f"{ROOT}/sessions", headers)
        assert answer.status_code == 200
        found: str = answer.json()["getSessionReturn"]
        return found


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    async with made.http:
        yield made


async def test_a_session_lets_its_application_in(desk: Desk) -> None:
    session = await desk.open()
    answer = await desk.ask("GET", OPEN, {**ALICE, "X-Session-ID": session})
    assert answer.status_code == 200


@pytest.mark.parametrize("session", [None, "", "made-up"])
async def test_without_a_session_nothing_is_answered(desk: Desk, session: str | None) -> None:
    headers = ALICE if session is None else {**ALICE, "X-Session-ID": session}
    answer = await desk.ask("GET", OPEN, headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "GeneralException"


async def test_credentials_come_first(desk: Desk) -> None:
    assert (await desk.ask("POST", f"{ROOT}/sessions", {})).status_code == 401
    session = await desk.open()
    assert (await desk.ask("GET", OPEN, {"X-Session-ID": session})).status_code == 401


async def test_a_session_is_its_applications_own(desk: Desk) -> None:
    session = await desk.open(ALICE)
    assert (await desk.ask("GET", OPEN, {**BOB, "X-Session-ID": session})).status_code == 403
    for method in ("GET", "DELETE"):
        answer = await desk.ask(method, f"{ROOT}/session/{session}", BOB)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "GeneralException"
    assert (await desk.ask("GET", OPEN, {**ALICE, "X-Session-ID": session})).status_code == 200


async def test_the_remaining_lifetime_is_in_milliseconds(desk: Desk) -> None:
    session = await desk.open()
    desk.clock.time += 1.5
    answer = await desk.ask("GET", f"{ROOT}/session/{session}", ALICE)
    assert answer.json() == {"getSessionRemainingLifeTimeReturn": "58500"}


async def test_a_session_ends_by_itself(desk: Desk) -> None:
    session = await desk.open()
    desk.clock.time += 60.0
    assert (await desk.ask("GET", OPEN, {**ALICE, "X-Session-ID": session})).status_code == 403
    assert (await desk.ask("GET", f"{ROOT}/session/{session}", ALICE)).status_code == 404


async def test_a_destroyed_session_is_gone(desk: Desk) -> None:
    session = await desk.open()
    answer = await desk.ask("DELETE", f"{ROOT}/session/{session}", ALICE)
    assert answer.json() == {"destroySessionReturn": True}
    assert (await desk.ask("DELETE", f"{ROOT}/session/{session}", ALICE)).status_code == 404
    assert (await desk.ask("GET", OPEN, {**ALICE, "X-Session-ID": session})).status_code == 403


async def test_revoked_sessions_are_gone(desk: Desk) -> None:
    mine, other = await desk.open(ALICE), await desk.open(BOB)
    desk.sessions.revoke("app_alice")
    assert (await desk.ask("GET", OPEN, {**ALICE, "X-Session-ID": mine})).status_code == 403
    assert (await desk.ask("GET", OPEN, {**BOB, "X-Session-ID": other})).status_code == 200


async def test_of_too_many_sessions_the_oldest_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    made = [await desk.open() for _ in range(4)]
    left = [desk.sessions.remaining("app_alice", s) > 0 for s in made]
    assert left == [False, True, True, True]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "sessions", 405),
        ("PUT", "session/x", 405),
        ("GET", "session", 404),
        ("GET", "session/", 404),
        ("GET", "elsewhere", 404),
        ("POST", "sessions/x", 404),
    ],
)
async def test_other_doors_are_closed(desk: Desk, method: str, path: str, status: int) -> None:
    answer = await desk.ask(method, f"{ROOT}/{path}", ALICE)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "GeneralException"
    if status == 405:
        assert answer.headers["Allow"]
