"""`sipbridge serve` as a process: ready line, signals, faults of the configuration, kill -9."""

import asyncio
import json
import resource
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.app.processes import command, served, written
from tests.app.rig import Application, attributes, configuration, kept, until
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


async def test_the_ready_line_is_one_json_line_and_all_there_is(tmp_path: Path) -> None:
    async with command("serve", "-c", str(written(tmp_path, configuration()))) as bridge:
        ready = await bridge.line()
        assert list(ready) == ["ready", "http", "sip"]
        assert ready["ready"] is True
        assert urlsplit(ready["http"]).scheme == "http"
        assert [point.split(":")[0] for point in ready["sip"]] == ["udp", "tcp"]
        # It is true: the listeners are there.
        app = Application(ready["http"], "alice")
        assert (await app.ask("GET", "/health/ready"))[0] == 200
        await app.close()
        assert await bridge.stop() == 0
        assert await bridge.rest() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0(number: signal.Signals, tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        assert await bridge.stop(number) == 0
        assert bridge.bridge.log == []  # nothing to complain about
        url = urlsplit(bridge.base)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname or "", url.port or 0))


async def test_a_signal_while_a_client_waits_ends_it_too(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        bob = await bridge.application("bob").listen()
        await bob.watchers()
        assert await bridge.stop() == 0


async def test_a_wrong_configuration_is_2_with_every_key_in_full(tmp_path: Path) -> None:
    tree = configuration()
    tree["http"]["prot"] = 1
    tree["sip"]["listen"] = ["sctp:127.0.0.1:0"]
    async with command("serve", "-c", str(written(tmp_path, tree))) as bridge:
        assert await bridge.rest() == []
        assert await bridge.ended() == 2
        assert [line.split(": ")[0] for line in bridge.log] == ["http.prot", "sip.listen[0]"]
        assert "'sctp:127.0.0.1:0' is not udp:HOST:PORT" in bridge.log[1]


async def test_a_missing_configuration_is_2() -> None:
    async with command("serve", "-c", "/no/such/file.toml") as bridge:
        assert await bridge.ended() == 2
        assert bridge.log == ["/no/such/file.toml: No such file or directory"]


async def test_an_http_port_in_use_is_2_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        tree = configuration(http={"port": port})
        async with command("serve", "-c", str(written(tmp_path, tree))) as bridge:
            assert await bridge.ended() == 2
            (line,) = bridge.log
            assert line.startswith("http.port: ")
            assert str(port) in line and "choose another port" in line


async def test_a_sip_port_in_use_is_2_with_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"udp:127.0.0.1:{other.getsockname()[1]}"
        tree = configuration(sip={"listen": [taken]})
        async with command("serve", "-c", str(written(tmp_path, tree))) as bridge:
            assert await bridge.ended() == 2
            (line,) = bridge.log
            assert line.startswith("sip.listen: ")
            assert taken in line and "another port" in line


async def test_a_store_that_another_bridge_uses_is_1_with_one_line(tmp_path: Path) -> None:
    tree = configuration(store=kept(tmp_path))
    async with (
        served(tmp_path, tree),
        command("serve", "-c", str(written(tmp_path, tree))) as second,
    ):
        assert await second.ended() == 1
        (line,) = second.log
        assert "state.db" in line and "in use" in line


async def test_keys_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    port = free_port()
    path = written(tmp_path, configuration())
    async with command("serve", "-c", str(path), "--set", f"http.port={port}") as bridge:
        assert (await bridge.line())["http"] == f"http://127.0.0.1:{port}"
        assert await bridge.stop() == 0


async def test_logs_are_json_lines_when_asked_for(tmp_path: Path) -> None:
    tree = configuration(log={"level": "info", "format": "json"})
    async with served(tmp_path, tree) as bridge:
        assert await bridge.stop() == 0
        events = [json.loads(line)["event"] for line in bridge.bridge.log]
        assert events[0] == "ready"
        assert events[-2:] == ["stopping", "stopped"]


async def test_nothing_is_lost_by_kill_9(tmp_path: Path) -> None:
    tree = configuration(store=kept(tmp_path))
    async with served(tmp_path, tree) as bridge:
        alice, bob = bridge.application("alice"), bridge.application("bob")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await alice.publish(Activity="Meeting", Place="Office")
        assert await bob.start(ALICE) == []
        await alice.decide(BOB, Sphere=False)
        assert await bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    async with served(tmp_path, tree) as bridge:
        alice, bob = bridge.application("alice"), await bridge.application("bob").listen()
        # Rules: the last decision stands. Notifications: both decisions are still to be told.
        first = await bob.told("notifySubscription")
        assert all(d["decision"] for d in first["decisions"])
        kinds: dict[str, bool] = {}
        status: dict[str, object] = {}
        while kinds.get("Sphere") is not False or "statusChanged" not in status:
            message = await asyncio.wait_for(bob.inbox.get(), 8.0)
            status |= message
            for decision in message.get("notifySubscription", {}).get("decisions", []):
                kinds[decision["presenceAttribute"]] = decision["decision"]
        # Publication and contract: one kind changes, the other stays, the correlator goes on.
        await alice.publish(Activity="Travel")
        await bob.told_correlated("w-1", Activity="Travel")
        code, answer = await bob.presence(ALICE)
        assert code == 200
        told = {
            a["typeAndValue"]["unionElement"]: a["typeAndValue"]
            for a in answer["result"]
            if a["typeAndValue"]["unionElement"] != "Other"
        }
        assert told["Activity"]["activity"] == "Travel"
        assert told["Place"]["place"] == "Office"
        # Not doubled: removing it leaves nothing.
        await alice.rest("PUT", "/presence", {"presence": []})
        metrics = await alice.text("/metrics")
        assert 'agent_publications{state="live"} 0.0' in metrics
        assert await bridge.stop() == 0


@pytest.mark.parametrize("turn", range(3))
async def test_kill_9_at_any_moment_leaves_a_store_that_opens(turn: int, tmp_path: Path) -> None:
    tree = configuration(store=kept(tmp_path))
    done: list[str] = []
    words = ["Meeting", "Travel", "Busy", "Away", "Meal", "Holiday"]
    async with served(tmp_path, tree) as bridge:
        alice = bridge.application("alice")

        async def publish_on_and_on() -> None:
            while True:
                word = words[len(done) % len(words)]
                await alice.publish(Activity=word)
                done.append(word)

        publishing = asyncio.create_task(publish_on_and_on())
        while len(done) < 5 + 10 * turn:
            await alice.watchers()
        assert await bridge.stop(signal.SIGKILL) == -signal.SIGKILL
        await asyncio.gather(publishing, return_exceptions=True)
    async with served(tmp_path, tree) as bridge:
        alice = bridge.application("alice")
        await alice.subscribe(ALICE)
        code, answer = await alice.presence(ALICE)
        while code == 200 and not answer["result"]:
            code, answer = await alice.presence(ALICE)
        shown = [
            a["typeAndValue"]["activity"]
            for a in answer["result"]
            if a["typeAndValue"]["unionElement"] == "Activity"
        ]
        # What was answered is there; the one on its way may be, too.
        following = words[len(done) % len(words)]
        assert shown in ([done[-1]], [following])
        assert await bridge.stop() == 0


async def test_a_store_that_cannot_be_written_is_not_ready_and_comes_back(tmp_path: Path) -> None:
    """The disk is full for this process: files may not grow."""
    tree = configuration(store=kept(tmp_path))
    async with served(tmp_path, tree) as bridge:
        alice = bridge.application("alice")
        await alice.publish(Activity="Meeting")
        pid = bridge.bridge.process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        said = {"presence": attributes(Activity="Travel")}
        status, fault = await alice.ask("PUT", "/rest/presence/presence", said)
        assert status >= 500
        assert fault["error"]["messageId"] == "SVC0001"
        status, body = await alice.ask("GET", "/health/ready")
        assert (status, body["status"]) == (503, "failed")
        assert body["checks"]["store"] == "failed"
        assert (await alice.ask("GET", "/health/live"))[0] == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        await until(lambda: alice.ask("GET", "/health/ready"), lambda a: a[0] == 200)
        await alice.publish(Activity="Travel")
        assert await bridge.stop() == 0
