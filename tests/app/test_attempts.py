"""Who does not prove who he is stands in the log, whatever door he came to, and no secret does."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import argon2
import pytest

from sipbridge.app.sip_client import SipClient
from sipbridge.events.publisher import PublishFailed
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, REST, Site, application, document, site

OPERATOR = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("operator")
LOG = {"level": "info", "format": "json"}
Lines = list[dict[str, Any]]
Log = Callable[[], Lines]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """Reads the lines about callers that nobody knows; in no line stands a password."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def told() -> Lines:
        written = capsys.readouterr().err
        assert "ready" in written and "wrong-one" not in written
        lines = [json.loads(line) for line in written.splitlines()]
        return [line for line in lines if line["event"].startswith("authentication.")]

    yield told
    root.handlers[:] = handlers
    root.setLevel(level)


async def ask(there: Site, method: str, path: str, user: str = "", **more: Any) -> int:
    headers: dict[str, str] = more.pop("headers", {})
    if user:
        proof = base64.b64encode(f"{user}:wrong-one".encode()).decode()
        headers = {**headers, "Authorization": f"Basic {proof}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, there.base + path, **more) as answer,
    ):
        return answer.status


async def test_wrong_passwords_at_the_operations_the_streams_and_the_operators_door(
    log: Log,
) -> None:
    async with site(log=LOG, admin={"password_hash": OPERATOR}) as here:
        named: dict[str, Any] = {"headers": {"X-Request-ID": "req-1"}}
        assert await ask(here, "GET", f"{REST}/presence", "app_alice", **named) == 401
        assert await ask(here, "GET", f"{REST}/events?ticket=abc", **named) == 401
        assert await ask(here, "GET", "/admin/peers", "admin") == 401
    lines = log()
    paths = [f"{REST}/presence", f"{REST}/events", "/admin/peers"]
    assert [(line["event"], line["path"]) for line in lines] == [
        ("authentication.failed", path) for path in paths
    ]
    assert [line.get("user") for line in lines] == ["'app_alice'", None, "'admin'"]
    assert [line["trace"] for line in lines[:2]] == ["req-1", "req-1"]
    assert lines[2]["trace"] and {line["address"] for line in lines} == {"127.0.0.1"}


async def test_tokens_and_bayeux_and_nothing_at_all(log: Log) -> None:
    async with site(log=LOG) as here:
        begin = {"gdAuthToken": "wrong-one"}
        call = {"jsonrpc": "2.0", "id": "c1", "method": "BeginSession", "params": begin}
        assert await ask(here, "POST", "/bems/jsonrpc", json=call) == 200
        hello: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0"}
        hello["ext"] = {"authentication": {"user": "app_bob", "credentials": "wrong-one"}}
        assert await ask(here, "POST", "/bayeux", json=[hello]) == 200
        token: dict[str, Any] = {"headers": {"Authorization": "Bearer wrong-one"}}
        assert await ask(here, "GET", "/webex/people/presences/events", **token) == 401
        assert await ask(here, "GET", "/presence/subscriptions/x") == 401
        assert await ask(here, "GET", f"{REST}/presence") == 401
    lines = log()
    found = [(line["event"], line["path"], line.get("reason")) for line in lines]
    assert found == [
        ("authentication.failed", "/bems/jsonrpc", "token not accepted"),
        ("authentication.failed", "/bayeux", "wrong user or password"),
        ("authentication.failed", "/webex/people/presences/events", "token not accepted"),
        ("authentication.missing", f"{REST}/presence", None),
    ]
    assert lines[1]["user"] == "'app_bob'"


async def test_a_wrong_password_by_sip(log: Log) -> None:
    applications = [application("alice", sip_password="right-one")]
    alice = Uri.parse("sip:alice@example.com")
    async with site(log=LOG, agent={"authenticate": True}, applications=applications) as here:
        server = here.bridge.ready.sip[0].split(":", 1)[1]
        phone = SipClient(alice, server, credentials=Credentials("alice", "wrong-one"))
        await phone.open()
        try:
            phone.publish(document(entity=str(alice)))
            said = await phone.wait_for(lambda s: isinstance(s, PublishFailed), PATIENCE)
            assert isinstance(said, PublishFailed) and said.status == 401
        finally:
            await phone.close()
    (line,) = log()
    assert (line["event"], line["interface"]) == ("authentication.failed", "sip")
    assert (line["user"], line["address"]) == ("'alice'", "127.0.0.1")
    assert line["reason"] == "wrong user or password" and line["trace"]
