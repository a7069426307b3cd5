"""`sipbridge demo`: every step checked, and a step that does not hold is 1."""

import json
import re
import signal
import time
from pathlib import Path

import pytest

from sipbridge.agent.publications import PublishedState, View
from sipbridge.cli import demo, demo_cast
from sipbridge.errors import SipBridgeError
from sipbridge.presence.rules import EVERYTHING, Permission
from tests.app.processes import command
from tests.app.rig import Application

README = Path(__file__).parents[2] / "README.md"


async def test_the_whole_story_holds_within_its_time() -> None:
    begun = time.monotonic()
    async with command("demo") as story:
        assert await story.rest() == []  # the story is for people
        assert await story.ended() == 0
    assert time.monotonic() - begun < demo.WHOLE_STORY
    rungs = [line for line in story.log if line.endswith("✓")]
    assert len(rungs) >= 30
    assert story.log[-1].startswith(f"{len(rungs)} steps, every one checked, in ")
    shown = README.read_text("utf-8").partition("`make demo` ends like this:\n\n```\n")[2]
    told = [plain(line) for line in shown.partition("\n```")[0].splitlines()]
    assert [plain(line) for line in story.log[-len(told) :]] == told


def plain(line: str) -> str:
    """A line without what differs from one run to the next."""
    return re.sub(r"\(\d+ ms\)|tag \w+|in [\d.]+ s$", "", line)


async def test_keep_leaves_it_running_until_interrupted() -> None:
    async with command("demo", "--keep") as story:
        (base, *_) = (await story.complaint("/docs")).split()
        bob = Application(base.removesuffix("/docs"), "bob")
        assert (await bob.ask("GET", "/health/live"))[0] == 200
        await bob.close()
        assert await story.stop(signal.SIGINT) == 0


async def test_a_step_that_does_not_hold_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent shows a watcher what nobody granted: the story must notice."""

    def whole(self: PublishedState, permission: Permission) -> View:
        return view(self, Permission(permission.sub_handling, EVERYTHING))

    view = PublishedState.view
    monkeypatch.setattr(PublishedState, "view", whole)
    assert await demo.run(keep=False) == 1
    told = capsys.readouterr().err
    assert "✗ only Activity was granted" in told


async def test_a_notification_that_never_comes_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sipbridge.app.sink import LogSink

    monkeypatch.setattr(demo_cast, "ONE_STEP", 0.2)
    monkeypatch.setattr(LogSink, "send", lambda self, notification: None)
    assert await demo.run(keep=False) == 1
    assert "✗ no notifySubscription arrived within 0.2 s" in capsys.readouterr().err


async def test_a_story_that_takes_too_long_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "WHOLE_STORY", 0.0)
    assert await demo.run(keep=False) == 1
    assert "✗ the story took longer than 0 s" in capsys.readouterr().err


async def test_a_call_that_is_refused_says_what_was_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sipbridge.gateway import Gateway

    async def refuse(self: Gateway, *arguments: object) -> None:
        raise SipBridgeError("not today")

    monkeypatch.setattr(Gateway, "update_authorization", refuse)
    assert await demo.run(keep=False) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "✗" in line]
    fault = json.loads(line[line.index("{") :])
    assert fault["error"]["detail"] == "not today"


async def test_the_steps_as_lines_of_json() -> None:
    async with command("demo", "--json") as story:
        steps = [json.loads(line) for line in await story.rest()]
        assert await story.ended() == 0
    assert len(steps) == len([line for line in story.log if line.endswith("✓")])
    assert all(step["holds"] and step["step"] and step["ms"] >= 0 for step in steps)
    assert {step["scene"][0] for step in steps} == {"1", "2", "3"}
