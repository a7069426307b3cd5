"""`--header`, `--accept`, `--event`, `--expires` and `--trace` of the SIP clients: what is on the wire."""

import json
import stat
from pathlib import Path

import pytest

from sipbridge.cli.wishes import Wishes, wishes
from sipbridge.errors import ConfigurationError
from sipbridge.events.package import ANY_TYPE
from sipbridge.events.presence_package import PRESENCE
from sipbridge.observability.pcap import read
from tests.app.processes import command
from tests.app.rig import configuration, document, presence_server, site
from tests.cli.conftest import Shell

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
ASSERTED = "P-Asserted-Identity: <sip:carol@example.com>"


async def test_watch_sends_what_it_was_asked_to_send_in_each_subscribe() -> None:
    async with presence_server() as server:
        server.granted = 2
        options = ("--header", ASSERTED, "--header", "X-Lab:  a, b ", "--expires", "90")
        accept = ("--accept", "application/xpidf+xml", "--accept", "application/pidf+xml;q=0.5")
        to = ("--server", f"127.0.0.1:{server.port}")
        async with command("watch", ALICE, *options, *accept, *to) as watch:
            first = await server.subscription(ALICE)
            assert first.get("p-asserted-identity") == "<sip:carol@example.com>"
            assert first.get("x-lab") == "a, b"
            assert first.get("accept") == "application/xpidf+xml, application/pidf+xml;q=0.5"
            assert (first.get("event"), first.get("expires")) == ("presence", "90")
            server.notify(first, document("meeting", ALICE), state="active;expires=2")
            assert (await watch.line())["state"] == "active"
            again = await server.subscription(ALICE, index=1)  # the refresh, in its dialog
            assert again.get("call-id") == first.get("call-id")
            assert again.get("x-lab") == "a, b"
            assert again.get("p-asserted-identity") == "<sip:carol@example.com>"
            server.silent.add("SUBSCRIBE")


async def test_watch_takes_any_event_package_and_shows_its_bodies_as_they_are() -> None:
    async with presence_server() as server:
        options = ("--event", "message-summary", "--raw", "--server", f"127.0.0.1:{server.port}")
        async with command("watch", ALICE, *options) as watch:
            asked = await server.subscription(ALICE, "message-summary")
            assert asked.get("accept") == "*/*"
            server.notify(
                asked, b"Messages-Waiting: yes\r\n", kind="application/simple-message-summary"
            )
            line = await watch.line()
            assert line["content_type"] == "application/simple-message-summary"
            assert line["body"] == "Messages-Waiting: yes\r\n"
            assert "error" not in line
            assert await server.response("NOTIFY") == 200
            server.silent.add("SUBSCRIBE")


async def test_a_body_that_was_not_asked_for_is_415() -> None:
    async with presence_server() as server:
        options = ("--accept", "text/plain", "--server", f"127.0.0.1:{server.port}")
        async with command("watch", ALICE, *options):
            asked = await server.subscription(ALICE)
            server.notify(asked, document("meeting", ALICE))
            assert await server.response("NOTIFY") == 415
            server.silent.add("SUBSCRIBE")


async def test_watch_with_expires_0_looks_once() -> None:
    async with site(agent={"sub_handling": "allow"}) as here:
        await here.application("bob").publish(Activity="Meeting")
        options = ("--expires", "0", "--server", here.sip)
        async with command("watch", BOB, *options) as watch:
            (line,) = map(json.loads, await watch.rest())
            shown = [a["typeAndValue"] for a in line["attributes"]]
            assert {"unionElement": "Activity", "activity": "Meeting"} in shown
            assert await watch.ended() == 0
            assert watch.log == []


async def test_who_is_refused_when_looking_once_is_told() -> None:
    async with site(agent={"sub_handling": "block"}) as here:
        options = ("--expires", "0", "--server", here.sip)
        async with command("watch", BOB, *options) as watch:
            assert await watch.rest() == []
            assert await watch.ended() == 1
            assert watch.log == [f"sipbridge: {BOB}: refused: 403 Forbidden"]


async def test_publish_sends_what_it_was_asked_to_send(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"<toy/>")
    async with presence_server() as server:
        options = ("--header", ASSERTED, "--event", "toy", "--expires", "77", "--once")
        body = ("--file", str(tmp_path / "state"), "--header", "Content-Type: application/toy+xml")
        to = ("--accept", "text/plain", "--server", f"127.0.0.1:{server.port}")
        async with command("publish", ALICE, *options, *body, *to) as publish:
            assert (await publish.line())["expires"] == 77
            assert await publish.ended() == 0
        (sent,) = server.requests("PUBLISH")
        assert sent.get("p-asserted-identity") == "<sip:carol@example.com>"
        assert (sent.get("event"), sent.get("expires")) == ("toy", "77")
        assert (sent.get("content-type"), sent.body) == ("application/toy+xml", b"<toy/>")
        assert sent.get("accept") == "text/plain"


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
async def test_a_trace_holds_every_message_in_both_directions(
    transport: str, tmp_path: Path
) -> None:
    trace = tmp_path / "talk.pcap"
    wanted = configuration(agent={"sub_handling": "allow"})["sip"] | {
        "listen": [f"{transport}:127.0.0.1:0"]
    }
    async with site(agent={"sub_handling": "allow"}, sip=wanted) as here:
        server = here.bridge.ready.sip[0].partition(":")[2]
        options = ("--server", server, "--transport", transport, "--trace", str(trace))
        async with command("watch", BOB, *options) as watch:
            assert (await watch.line())["state"] == "active"
            assert await watch.stop() == 0
    starts = [m.data.split(b"\r\n")[0].split(b" ")[0] for m in read(trace)]
    assert starts[0] == b"SUBSCRIBE" and b"SIP/2.0" in starts
    assert starts.count(b"SUBSCRIBE") == 2  # with the one that ends it
    assert b"NOTIFY" in starts
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600


async def test_a_trace_goes_on_where_another_ended(tmp_path: Path) -> None:
    trace = tmp_path / "talk.pcap"
    async with presence_server() as server:
        options = ("--server", f"127.0.0.1:{server.port}", "--trace", str(trace), "--once")
        for _ in range(2):
            async with command("publish", ALICE, "--activity", "busy", *options) as publish:
                assert await publish.ended() == 0
    starts = [m.data.split(b"\r\n")[0].split(b" ")[0] for m in read(trace)]
    assert starts == [b"PUBLISH", b"SIP/2.0"] * 2


def test_a_file_that_is_no_capture_of_ours_is_left_alone(tmp_path: Path, shell: Shell) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    told = shell("watch", ALICE, "--trace", str(precious))
    assert (told.status, told.out) == (2, "")
    assert told.err == f"--trace: {precious} is there and was not written by sipbridge\n"
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--header", "no colon"), "--header: NAME:VALUE is expected, not 'no colon'"),
        (("--header", "bad name: x"), "--header: NAME:VALUE is expected"),
        (("--header", "X-A: one\r\nVia: two"), "--header: X-A: the value must be printable"),
        (("--header", "Via: x"), "--header: Via is written by sipbridge itself"),
        (("--header", "i: x"), "--header: i is written by sipbridge itself"),
        (("--header", "o: presence"), "--header: o: use --event"),
        (("--header", "Content-Type: text/plain"), "Content-Type"),
        (("--accept", "pidf"), "--accept: 'pidf' is not a type like application/pidf+xml"),
        (("--event", "presence;id=1"), "--event: 'presence;id=1' is not the name of an event"),
        (("--expires", "-1"), "--expires"),
        (("--trace", "/no/such/folder/x.pcap"), "--trace: /no/such/folder/x.pcap: No such file"),
    ],
)
@pytest.mark.parametrize("name", ["watch", "publish"])
def test_wrong_usage_is_2(
    name: str, arguments: tuple[str, ...], complaint: str, shell: Shell
) -> None:
    told = shell(name, ALICE, *arguments)
    assert (told.status, told.out) == (2, "")
    assert complaint in told.err


def test_winfo_and_another_event_exclude_each_other(shell: Shell) -> None:
    told = shell("watch", ALICE, "--winfo", "--event", "presence")
    assert told.status == 2
    assert "--winfo and --event exclude each other" in told.err


def test_the_package_is_the_known_one_unless_something_else_is_asked_for() -> None:
    assert Wishes().package(PRESENCE) is PRESENCE
    assert wishes([], [], "presence", None, None).package(PRESENCE) is PRESENCE
    toy = wishes([], [], "toy", None, None).package(PRESENCE)
    assert (toy.name, toy.body_types) == ("toy", (ANY_TYPE,))
    narrow = wishes([], ["text/plain, text/html"], "", None, None).package(PRESENCE)
    assert (narrow.name, narrow.body_types) == ("presence", ("text/plain", "text/html"))
    with pytest.raises(ConfigurationError, match="given twice"):
        wishes(["c: a/b", "Content-Type: c/d"], [], "", None, None)
