"""`sipbridge publish` against a running bridge, as a process."""

import json
import signal
from pathlib import Path

import pytest

from sipbridge.cli.publish import body_of
from sipbridge.errors import ConfigurationError
from sipbridge.mapping.attributes import Activity, AttributeKind, Place
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.presence import pidf
from sipbridge.uri import Uri
from tests.app.processes import Served, command, served
from tests.app.rig import configuration, document, presence_server, until
from tests.cli.conftest import Shell
from tests.harness.ports import free_port

ALICE, CAROL = "sip:alice@example.com", "sip:carol@example.com"


async def live(bridge: Served) -> str:
    """How many publications the agent has, as /metrics says it."""
    text = await bridge.application("alice").text("/metrics")
    line = next(line for line in text.splitlines() if 'agent_publications{state="live"}' in line)
    return line.split(" ")[-1]


async def test_once_prints_the_answer_and_leaves_the_publication(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        words = ("--activity", "on-the-phone", "--place", "office", "--note", "back at ten")
        server = ("--server", bridge.sip)
        async with command("publish", CAROL, "--once", *words, *server) as publish:
            (line,) = await publish.rest()
            told = json.loads(line)
            assert list(told) == ["status", "etag", "expires"]
            assert (told["status"], told["expires"]) == (200, 3600)
            assert told["etag"]
            assert await publish.ended() == 0
            assert publish.log == []
        assert await live(bridge) == "1.0"


async def test_expires_is_what_was_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        options = ("--once", "--expires", "120", "--server", bridge.sip)
        async with command("publish", CAROL, *options) as publish:
            assert (await publish.line())["expires"] == 120
            assert await publish.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_removes_the_publication(number: signal.Signals, tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        options = ("--activity", "meeting", "--server", bridge.sip)
        async with command("publish", CAROL, *options) as publish:
            assert (await publish.line())["status"] == 200
            assert await live(bridge) == "1.0"
            assert await publish.stop(number) == 0
            assert publish.log == []
        assert await live(bridge) == "0.0"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_document_is_published_as_it_is(transport: str, tmp_path: Path) -> None:
    (tmp_path / "alice.xml").write_bytes(document("sleeping", ALICE, place="hotel"))
    async with served(tmp_path, configuration()) as bridge:
        listeners: list[str] = bridge.ready["sip"]
        server = next(p for p in listeners if p.startswith(transport)).split(":", 1)[1]
        options = ("--file", str(tmp_path / "alice.xml"), "--once")
        to = ("--server", server, "--transport", transport)
        async with command("publish", ALICE, *options, *to) as publish:
            assert (await publish.line())["status"] == 200
            assert await publish.ended() == 0
        alice = bridge.application("alice")
        await alice.subscribe(ALICE)
        _, answer = await until(lambda: alice.presence(ALICE), lambda a: a[1].get("result"))
        assert {"unionElement": "Activity", "activity": "Sleeping"} in [
            a["typeAndValue"] for a in answer["result"]
        ]


async def test_a_refusal_is_told_and_is_1(tmp_path: Path) -> None:
    async with served(tmp_path, configuration()) as bridge:
        options = ("--activity", "meeting", "--server", bridge.sip)
        async with command("publish", "sip:x@elsewhere.example", *options) as publish:
            (line,) = await publish.rest()
            assert json.loads(line) == {"status": 404, "etag": None, "expires": None}
            assert await publish.ended() == 1
            assert publish.log == ["sipbridge: PUBLISH failed: 404 Not Found"]


async def test_a_server_that_is_not_there_is_1(tmp_path: Path) -> None:
    server = f"127.0.0.1:{free_port()}"
    options = ("--once", "--transport", "tcp", "--server", server)
    async with command("publish", CAROL, *options) as publish:
        (line,) = await publish.rest()
        assert json.loads(line)["status"] is None
        assert await publish.ended() == 1
        assert publish.log == [
            f"sipbridge: tcp:{server}: Connection refused",
            f"sipbridge: PUBLISH failed: tcp:{server} (Connection refused)",
        ]


@pytest.mark.parametrize("name", ["publish", "watch"])
def test_a_server_whose_name_is_wrong_is_named_and_is_1(name: str, shell: Shell) -> None:
    result = shell(name, CAROL, "--server", "no.such.host.invalid:5060")
    assert result.status == 1
    assert result.err.startswith("sipbridge: --server no.such.host.invalid: ")
    assert len(result.err.splitlines()) == 1


async def test_credentials_answer_a_challenge(tmp_path: Path) -> None:
    agent = {"authenticate": True}
    tree = configuration(agent=agent)
    tree["applications"][0]["sip_password"] = "pw-alice"
    (tmp_path / "password").write_text("pw-alice\n")
    async with served(tmp_path, tree) as bridge:
        options = ("--once", "--server", bridge.sip)
        async with command("publish", ALICE, *options) as publish:
            assert (await publish.line())["status"] == 401
            assert await publish.ended() == 1
            assert publish.log[1:] == [
                "sipbridge: the server asks for a password: --password-file FILE"
            ]
        known = ("--password-file", str(tmp_path / "password"))
        async with command("publish", ALICE, *options, *known) as publish:
            assert (await publish.line())["status"] == 200
            assert await publish.ended() == 0


async def test_it_is_refreshed_while_it_runs() -> None:
    """The server grants two seconds; the publication is refreshed before they are over."""
    async with presence_server() as server:
        server.granted = 2
        options = ("--activity", "meeting", "--server", f"127.0.0.1:{server.port}")
        async with command("publish", CAROL, *options) as publish:
            assert (await publish.line())["expires"] == 2
            refresh = await server.request("PUBLISH", 1)
            assert (refresh.get("sip-if-match"), refresh.body) == ("e1", b"")
            assert (await publish.line())["etag"] == "e2"
            assert await publish.stop(signal.SIGINT) == 0
        goodbye = server.requests("PUBLISH")[-1]
        assert (goodbye.get("expires"), goodbye.body) == ("0", b"")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sip:a@b.example", "--activity", "juggling"), "--activity: one of"),
        (("nonsense",), "URI: "),
        (("tel:+15551234",), "URI: "),
        (("sip:a@b.example", "--transport", "pigeon"), "--transport: one of udp, tcp"),
        (("sip:a@b.example", "--server", "::::"), "--server: "),
        (("sip:a@b.example", "--file", "/no/such", "--note", "x"), "/no/such"),
        (("sip:a@b.example", "--password-file", "/no/such"), "--password-file: "),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], complaint: str, shell: Shell) -> None:
    told = shell("publish", *arguments)
    assert (told.status, told.out) == (2, "")
    assert complaint in told.err


@pytest.mark.parametrize("word", ["on-the-phone", "OnThePhone", "on the phone", "ONTHEPHONE"])
def test_words_are_understood_in_any_spelling(word: str) -> None:
    uri = Uri.parse(ALICE)
    document = pidf.parse(body_of(uri, {"activity": word, "place": "train"}))
    from datetime import UTC, datetime

    mapped = to_attributes(document, at=datetime.now(UTC), presentity=uri)
    found = {a.kind: a.value for a in mapped.attributes}
    assert found[AttributeKind.ACTIVITY] is Activity.ON_THE_PHONE
    assert found[AttributeKind.PLACE] is Place.TRAIN


def test_an_unknown_word_names_the_option_and_the_words() -> None:
    with pytest.raises(ConfigurationError) as caught:
        body_of(Uri.parse(ALICE), {"sphere": "cube"})
    assert caught.value.key == "--sphere"
    assert "SphereWork" in caught.value.expected or "Work" in caught.value.expected
