"""SIP messages of a running bridge: to a file, to a collector, to an operator; to nobody by default."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import argon2
import pytest

from sipbridge.app.settings_tree import TraceSettings
from sipbridge.app.tracing import Tracing
from sipbridge.errors import ConfigurationError, InvalidValue
from tests.app.processes import command, served
from tests.app.rig import configuration, site

PASSWORD = "of the operator"
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
ADMIN = {"password_hash": HASH}
ALICE = "sip:alice@example.com"


def collector() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    return sock


async def run(*arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit status, standard output, standard error."""
    async with command(*arguments) as done:
        lines = await done.rest()
        return await done.ended(), lines, done.log


async def published(sip: str, *more: str) -> None:
    status, _, said = await run(
        *("publish", ALICE, "--activity", "meeting", "--once", "--server", sip, *more)
    )
    assert status == 0, said


async def test_an_operator_sees_the_ladder_of_a_running_bridge(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "wrong").write_text("wrong\n")
    async with served(tmp_path, configuration(admin=ADMIN)) as there:
        url = f"{there.base}/admin"
        given = "--url", url, "--password-file", str(tmp_path / "password")
        async with command("trace", *given, "--watcher", ALICE) as tracing:
            await tracing.complaint("tracing")
            await published(there.sip)
            assert tracing.process.stdout is not None
            lines = [
                (await asyncio.wait_for(tracing.process.stdout.readline(), 10)).decode()
                for _ in range(3)
            ]
            tracing.process.terminate()
            assert await tracing.ended() == 0
        assert there.sip in lines[0]
        assert "PUBLISH" in lines[1] and "▶" in lines[1] and "Event: presence" in lines[1]
        assert "200 OK" in lines[2] and "◀" in lines[2] and "ETag: " in lines[2]
        status, _, said = await run(
            "trace", "--url", url, "--password-file", str(tmp_path / "wrong")
        )
        assert (status, "password" in said[-1]) == (1, True)
        status, _, said = await run(
            "trace", "--url", there.base, "--password-file", str(tmp_path / "password")
        )
        assert (status, "/admin" in said[-1]) == (1, True)


async def test_a_capture_file_and_a_collector_get_every_message(tmp_path: Path) -> None:
    capture = tmp_path / "sip.pcap"
    with collector() as homer:
        host, port = homer.getsockname()
        trace = {"pcap": str(capture), "hep": f"{host}:{port}", "hep_id": 7}
        async with served(tmp_path, configuration(trace=trace)) as there:
            await published(there.sip)
            await published(there.sip, "--transport", "udp")
            assert await there.stop() == 0
        packets = [homer.recv(65535) for _ in range(4)]
    assert [b"PUBLISH sip:alice" in packet for packet in packets] == [True, False, True, False]
    status, lines, _ = await run("trace", "--pcap", str(capture))
    assert status == 0
    assert sum("PUBLISH" in line and "▶" in line for line in lines) == 2
    status, lines, _ = await run("decode", "--pcap", str(capture))
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert status == 0
    assert [one.get("method") or one["status"] for one in told] == ["PUBLISH", 200, "PUBLISH", 200]
    assert told[0]["destination"] == there.sip
    call_id = dict(told[2]["headers"])["Call-ID"]
    _, lines, _ = await run("trace", "--pcap", str(capture), "--dialog", call_id, "--json")
    assert [call_id in json.loads(line)["message"] for line in lines] == [True, True]
    status, lines, said = await run("trace", "--pcap", str(capture), "--peer", "192.0.2.1")
    assert (status, lines, "no SIP message" in said[-1]) == (1, [], True)


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        ((), 2, "--pcap"),
        (("--pcap", "/no/such/file"), 2, "No such file"),
        (("--pcap", "README.md"), 1, "no pcap"),
        (("--url", "localhost:8080"), 2, "http://HOST:PORT/admin"),
        (("--url", "http://127.0.0.1:1/admin"), 2, "--password-file"),
    ],
)
async def test_wrong_usage_is_said(arguments: tuple[str, ...], status: int, word: str) -> None:
    found, lines, said = await run("trace", *arguments)
    assert (found, lines) == (status, [])
    assert word in said[-1]


async def test_taps_are_there_only_while_somebody_listens() -> None:
    async with site() as here:
        assert here.graph is not None
        tracing = here.graph.tracing
        before = [(d.tap_in, d.tap_out) for d in tracing.drivers]
        seen: list[bytes] = []
        leave = [tracing.follow({}, seen.append), tracing.follow({"peer": "none"}, seen.append)]
        assert [(d.tap_in, d.tap_out) for d in tracing.drivers] != before
        await published(here.sip)
        assert ["PUBLISH" in json.loads(line)["message"] for line in seen] == [True, True]
        assert json.loads(seen[0])["message"].startswith("PUBLISH")
        for one in leave:
            one()
        leave[0]()
        assert [(d.tap_in, d.tap_out) for d in tracing.drivers] == before


async def test_a_trace_of_something_unknown_is_refused() -> None:
    with pytest.raises(InvalidValue):
        Tracing([]).follow({"color": "red"}, lambda line: None)
    async with site(admin=ADMIN) as here:
        auth = {"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}
        http = here.application("alice").http
        base = here.application("alice").base
        async with aiohttp.ClientSession(headers=auth) as operator:
            for method, path, status in (
                ("GET", "?color=red", 400),
                ("POST", "", 405),
                ("GET", "/more", 404),
            ):
                async with operator.request(method, f"{base}/admin/trace{path}") as got:
                    assert got.status == status, (method, path)
        async with http.get(f"{base}/admin/trace") as got:
            assert got.status == 401
    async with site() as here:
        status, _ = await here.application("alice").ask("GET", "/admin/trace")
        assert status == 404


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for key, value in (("pcap", tmp_path), ("hep", "no.such.host.invalid:9060")):
        tracing = Tracing([])
        with pytest.raises(ConfigurationError, match=f"trace.{key}"):
            tracing.open(TraceSettings.model_validate({key: value}))
