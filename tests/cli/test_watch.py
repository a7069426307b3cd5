"""`sipbridge watch` against a running bridge, as a process."""

import signal
from datetime import datetime
from pathlib import Path

import pytest

from sipbridge.cli.watch import Lines, hear
from sipbridge.events.subscriber import RefreshFailed
from sipbridge.uri import Uri
from tests.app.processes import command, served
from tests.app.rig import configuration, presence_server, until
from tests.cli.conftest import Shell
from tests.harness.ports import free_port
from tests.transports.certificates import Authority

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
KEYS = [
    "at",
    "presentity",
    "state",
    "reason",
    "expires",
    "content_type",
    "attributes",
    "watchers",
    "deviations",
    "call_id",
]
"""In this order, and no others."""


async def test_each_notification_is_one_line_with_the_agreed_keys(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        alice = bridge.application("alice")
        await alice.publish(Activity="Meeting")
        async with command("watch", ALICE, "--from", CAROL, "--server", bridge.sip) as watch:
            first = await watch.line()
            assert list(first) == KEYS
            assert datetime.fromisoformat(first["at"]).tzinfo is not None
            assert (first["presentity"], first["state"]) == (ALICE, "pending")
            assert (first["attributes"], first["watchers"]) == (None, None)
            await until(alice.open_subscriptions, lambda found: CAROL in found)
            await alice.grant_all(CAROL)
            second = await watch.line()
            assert list(second) == KEYS
            assert second["state"] == "active"
            assert second["content_type"] == "application/pidf+xml"
            assert second["deviations"] == []
            assert 0 < second["expires"] <= 3600
            assert second["call_id"] == first["call_id"]
            shown = [a["typeAndValue"] for a in second["attributes"]]
            assert {"unionElement": "Activity", "activity": "Meeting"} in shown
            assert await watch.stop(signal.SIGINT) == 0
            assert watch.log == []
        assert await alice.watchers() == []  # it has unsubscribed


async def test_raw_adds_the_body(tmp_path: Path) -> None:
    async with served(tmp_path, configuration(agent={"sub_handling": "allow"})) as bridge:
        await bridge.application("alice").publish(Activity="Meeting")
        async with command("watch", ALICE, "--raw", "--server", bridge.sip) as watch:
            line = await watch.line()
            assert list(line) == [*KEYS, "body"]
            assert line["body"].startswith("<?xml") and "meeting" in line["body"]
            assert await watch.stop() == 0


async def test_several_presentities_share_one_output(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration(agent={"sub_handling": "allow"})) as bridge,
        command("watch", ALICE, BOB, "--server", bridge.sip) as watch,
    ):
        lines = [await watch.line(), await watch.line()]
        assert {line["presentity"] for line in lines} == {ALICE, BOB}
        assert await watch.stop() == 0


async def test_winfo_shows_the_watchers(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration()) as bridge,
        command("watch", ALICE, "--winfo", "--server", bridge.sip) as watch,
    ):
        line = await watch.line()
        assert list(line) == KEYS
        assert (line["content_type"], line["watchers"]) == ("application/watcherinfo+xml", [])
        async with command("watch", ALICE, "--from", CAROL, "--server", bridge.sip) as other:
            assert (await other.line())["state"] == "pending"
            (watcher,) = (await watch.line())["watchers"]
            assert (watcher["uri"], watcher["status"]) == (CAROL, "pending")
            assert await other.stop() == 0
        assert await watch.stop() == 0


@pytest.mark.parametrize("transport", ["tls", "ws", "wss"])
async def test_watch_and_publish_speak_every_transport(transport: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("bridge", ["localhost"])
    tree = configuration(agent={"sub_handling": "allow"})
    tree["sip"]["listen"] = [f"{transport}:127.0.0.1:0"]
    tree["sip"]["tls"] = {"cert": str(pair.cert), "key": str(pair.key)}
    async with served(tmp_path, tree) as bridge:
        (point,) = bridge.ready["sip"]
        port = point.rpartition(":")[2]
        server = ("--server", f"localhost:{port}", "--transport", transport)
        trust = () if transport == "ws" else ("--ca-file", str(authority.ca))
        async with command("watch", CAROL, *server, *trust) as watch:
            assert (await watch.line())["state"] == "active"
            options = ("--activity", "meeting", *server, *trust)
            async with command("publish", CAROL, *options) as publish:
                assert (await publish.line())["status"] == 200
                shown = [a["typeAndValue"] for a in (await watch.line())["attributes"]]
                assert {"unionElement": "Activity", "activity": "Meeting"} in shown
                assert await publish.stop() == 0
            assert await watch.stop() == 0
            assert watch.log == []


async def test_a_certificate_for_somebody_else_is_told_and_may_be_passed_over(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("bridge", ["pa.example.com"])
    tree = configuration(agent={"sub_handling": "allow"})
    tree["sip"]["listen"] = ["tls:127.0.0.1:0"]
    tree["sip"]["tls"] = {"cert": str(pair.cert), "key": str(pair.key)}
    async with served(tmp_path, tree) as bridge:
        (point,) = bridge.ready["sip"]
        server = ("--server", point.partition(":")[2], "--transport", "tls")
        trust = ("--ca-file", str(authority.ca))
        async with command("publish", CAROL, "--once", *server, *trust) as publish:
            assert await publish.ended() == 1
            assert "the certificate is not for 127.0.0.1 but for pa.example.com" in publish.log[0]
        async with command("publish", CAROL, "--once", *server, "--insecure") as publish:
            assert (await publish.line())["status"] == 200
            assert await publish.ended() == 0


async def test_a_refusal_is_1(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        server = ("--server", bridge.sip)
        async with command("watch", "sip:x@elsewhere.example", *server) as watch:
            assert await watch.rest() == []
            assert await watch.ended() == 1
            assert watch.log == [
                "sipbridge: sip:x@elsewhere.example: refused: 404 Not Found",
            ]


async def test_a_server_that_is_not_there_has_refused_nothing() -> None:
    server = f"127.0.0.1:{free_port()}"
    async with command("watch", ALICE, "--transport", "tcp", "--server", server) as watch:
        assert await watch.ended() == 1
        assert watch.log == [
            f"sipbridge: tcp:{server}: Connection refused",
            f"sipbridge: {ALICE}: not reached: tcp:{server} (Connection refused)",
        ]


def test_a_refresh_that_failed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    failed = RefreshFailed("s", None, "timeout", tried="udp:192.0.2.1:5060 (no answer)")
    assert hear(failed, {"s": Uri.parse(ALICE)}, raw=False, show=Lines()) == 0
    said = f"sipbridge: {ALICE}: not refreshed: udp:192.0.2.1:5060 (no answer)\n"
    assert capsys.readouterr().err == said


async def test_a_watcher_that_is_blocked_later_ends_with_1(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        alice = bridge.application("alice")
        async with command("watch", ALICE, "--from", CAROL, "--server", bridge.sip) as watch:
            assert (await watch.line())["state"] == "pending"
            await until(alice.open_subscriptions, lambda found: CAROL in found)
            await alice.block(CAROL)
            last = await watch.line()
            assert (last["state"], last["reason"]) == ("terminated", "rejected")
            assert await watch.ended() == 1
            assert watch.log == [f"sipbridge: {ALICE}: ended: rejected"]


async def test_a_blocked_watcher_is_refused_at_the_door(tmp_path: Path) -> None:
    async with (
        served(tmp_path, configuration(agent={"sub_handling": "block"})) as bridge,
        command("watch", ALICE, "--server", bridge.sip) as watch,
    ):
        assert await watch.ended() == 1
        assert watch.log == [f"sipbridge: {ALICE}: refused: 403 Forbidden"]


async def test_a_document_that_cannot_be_read_is_a_line_too() -> None:
    async with presence_server() as server:
        options = ("--server", f"127.0.0.1:{server.port}")
        async with command("watch", ALICE, *options) as watch:
            asked = await server.subscription(ALICE)
            server.notify(asked, b"<presence><unclosed>")
            line = await watch.line()
            assert list(line) == [*KEYS, "error"]
            assert line["attributes"] is None
            server.notify(asked, b"")  # and it goes on
            assert (await watch.line())["content_type"] is None
            server.silent.add("SUBSCRIBE")
            watch.process.send_signal(signal.SIGINT)
            goodbye = await server.subscription(ALICE, index=1)
            assert goodbye.get("expires") == "0"
            assert await watch.ended() == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Missing argument"),
        (("nonsense",), "URI: "),
        ((ALICE, "--from", "mailto:x@y.example"), "--from: "),
        ((ALICE, "--insecure"), "--insecure: needs --transport tls or wss"),
        ((ALICE, "--transport", "pigeon"), "--transport: one of udp, tcp, tls, ws, wss"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], complaint: str, shell: Shell) -> None:
    told = shell("watch", *arguments)
    assert (told.status, told.out) == (2, "")
    assert complaint in told.err
