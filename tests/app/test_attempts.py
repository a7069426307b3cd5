"""Who does not prove who he is stands in the log, whatever door he came to, and no secret does."""

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import argon2

from tests.app.processes import Served, command, served
from tests.app.rig import REST, application, configuration

OPERATOR = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("operator")
SECRETS = ("wrong-one", "secret-alice")


def tree(**sections: object) -> dict[str, Any]:
    return configuration(
        log={"level": "info", "format": "json"}, admin={"password_hash": OPERATOR}, **sections
    )


async def told(there: Served) -> list[dict[str, Any]]:
    """The lines about callers that nobody knows, once the bridge has ended."""
    assert await there.stop() == 0
    assert not [s for s in SECRETS if any(s in line for line in there.bridge.log)]
    lines = [json.loads(line) for line in there.bridge.log]
    return [line for line in lines if line["event"].startswith("authentication.")]


async def ask(there: Served, method: str, path: str, user: str = "", **more: Any) -> int:
    headers: dict[str, str] = more.pop("headers", {})
    if user:
        headers = headers | {
            "Authorization": "Basic " + base64.b64encode(f"{user}:wrong-one".encode()).decode()
        }
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, there.base + path, **more) as answer,
    ):
        return answer.status


async def test_wrong_passwords_at_the_operations_the_streams_and_the_operators_door(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, tree()) as there:
        named: dict[str, Any] = {"headers": {"X-Request-ID": "req-1"}}
        assert await ask(there, "GET", f"{REST}/presence", "app_alice", **named) == 401
        assert await ask(there, "GET", f"{REST}/events?ticket=abc", **named) == 401
        assert await ask(there, "GET", "/admin/peers", "admin") == 401
        lines = await told(there)
    paths = [f"{REST}/presence", f"{REST}/events", "/admin/peers"]
    assert [(line["event"], line["path"]) for line in lines] == [
        ("authentication.failed", path) for path in paths
    ]
    assert [line.get("user") for line in lines] == ["'app_alice'", None, "'admin'"]
    assert [line["trace"] for line in lines[:2]] == ["req-1", "req-1"]
    assert lines[2]["trace"] and {line["address"] for line in lines} == {"127.0.0.1"}


async def test_tokens_and_bayeux_and_nothing_at_all(tmp_path: Path) -> None:
    async with served(tmp_path, tree()) as there:
        begin = {"gdAuthToken": "wrong-one"}
        call = {"jsonrpc": "2.0", "id": "c1", "method": "BeginSession", "params": begin}
        assert await ask(there, "POST", "/bems/jsonrpc", json=call) == 200
        hello: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0"}
        hello["ext"] = {"authentication": {"user": "app_bob", "credentials": "wrong-one"}}
        assert await ask(there, "POST", "/bayeux", json=[hello]) == 200
        token: dict[str, Any] = {"headers": {"Authorization": "Bearer wrong-one"}}
        assert await ask(there, "GET", "/webex/people/presences/events", **token) == 401
        assert await ask(there, "GET", "/presence/subscriptions/x") == 401
        assert await ask(there, "GET", f"{REST}/presence") == 401
        lines = await told(there)
    found = [(line["event"], line["path"], line.get("reason")) for line in lines]
    assert found == [
        ("authentication.failed", "/bems/jsonrpc", "token not accepted"),
        ("authentication.failed", "/bayeux", "wrong user or password"),
        ("authentication.failed", "/webex/people/presences/events", "token not accepted"),
        ("authentication.missing", f"{REST}/presence", None),
    ]
    assert lines[1]["user"] == "'app_bob'"


async def test_a_wrong_password_by_sip(tmp_path: Path) -> None:
    applications = [application("alice", sip_password="secret-alice")]
    wanted = tree(agent={"authenticate": True}, applications=applications)
    password = tmp_path / "password"
    password.write_text("wrong-one")
    async with served(tmp_path, wanted) as there:
        arguments = ("--server", there.sip, "--user", "alice", "--password-file", str(password))
        async with command("publish", "sip:alice@example.com", "--once", *arguments) as phone:
            assert await phone.ended() == 1
        line, *more = await told(there)
    assert (line["event"], line["interface"], line["user"]) == (
        *("authentication.failed", "sip", "'alice'"),
    )
    assert (line["address"], line["reason"]) == ("127.0.0.1", "wrong user or password")
    assert line["trace"] and not more
