"""The case files themselves, read without any peer: what each proves, its steps; what brief plays.

And the playing of cases that go wrong, with verbs of their own instead of peers.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.interop import run
from tests.interop.actors import ActorFailed
from tests.interop.run import brief, modules, play_all, sections_of, write
from tests.interop.runner import VERBS, Case, NotSeen, Stage, all_cases, play, variant_name

CASES = all_cases()
SECTION = re.compile(r"RFC \d{4} [0-9A-Z.]+|Bayeux 1\.0")


def both(cases: Sequence[Case], does: str) -> dict[str, set[bool]]:
    """Phone to the digest choices its cases of this kind are played with: publishes-to-us or watches-us."""
    found: dict[str, set[bool]] = {}
    for case in cases:
        phone, _, what = case.name[3:].partition("-")
        if what == does:
            found[phone] = {bool(v.get("digest")) for v in case.variants}
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_says_what_it_proves_and_by_which_sections(case: Case) -> None:
    assert len(case.proves) > 80, "a sentence or two, in plain words"
    assert case.sections and all(SECTION.fullmatch(s) for s in case.sections)
    assert all(step["do"] in VERBS for step in case.steps)
    names = [variant_name(variant) for variant in case.variants]
    assert len(set(names)) == len(names)


def test_a_module_that_meets_peers_says_by_which_sections() -> None:
    assert modules()
    for module in modules():
        sections = sections_of(module.stem)
        assert sections and all(SECTION.fullmatch(s) for s in sections), module


def test_numbers_are_given_once() -> None:
    numbers = [case.name[:2] for case in CASES]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("does", ["publishes-to-us", "watches-us"])
def test_every_phone_does_it_with_digest_and_without(does: str) -> None:
    phones = both(CASES, does)
    assert phones.pop("sipp", None) is not None
    eight = {
        "baresip",
        "liblinphone",
        "linphonec",
        "libpurple",
        "pjsua",
        "twinkle",
        "sipjs",
        "jssip",
    }
    assert set(phones) == eight | {"aiovoip", "sippy"}
    assert all(choices == {False, True} for choices in phones.values()), phones


def test_brief_plays_each_phone_once_in_turns_with_digest_and_without() -> None:
    chosen = brief(CASES)
    played = [chosen[c.name] for c in CASES if any(v.get("digest") for v in c.variants)]
    assert all(len(variants) == 1 for variants in played)
    with_digest = [bool(variants[0].get("digest")) for variants in played]
    assert with_digest == [bool(n % 2) for n in range(len(played))]
    assert all(chosen[case.name] for case in CASES)


# --- what goes wrong --------------------------------------------------------------------------------------


def made(*words: str) -> Case:
    """A case of such steps that starts nobody."""
    steps = [{"do": word} for word in words]
    return Case(words[0], "made here", "", [], [], None, None, steps)


def failing(error: Exception) -> Callable[[Stage, dict[str, Any]], Awaitable[None]]:
    async def verb(stage: Stage, step: dict[str, Any]) -> None:
        raise error

    return verb


async def nothing(stage: Stage, step: dict[str, Any]) -> None:
    """A step that holds."""


@pytest.mark.parametrize(
    "error",
    [AssertionError("not so"), KeyError("member"), TypeError("None"), NotSeen("no NOTIFY")],
    ids=["assertion", "key", "type", "not-seen"],
)
async def test_any_error_in_a_step_is_a_verdict(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "break", failing(error))
    verdict = await play(made("break"), {})
    assert verdict.verdict == "fail"
    assert verdict.seen.startswith("step 1 (break): ")
    assert str(error) in verdict.seen


async def test_an_error_in_a_case_does_not_end_the_other_that_is_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, broken = asyncio.Event(), asyncio.Event()

    async def wait(stage: Stage, step: dict[str, Any]) -> None:
        begun.set()
        await broken.wait()

    async def fail(stage: Stage, step: dict[str, Any]) -> None:
        await begun.wait()
        asyncio.get_running_loop().call_later(0, broken.set)
        raise AttributeError("a mistake in a verb")

    monkeypatch.setitem(VERBS, "wait", wait)
    monkeypatch.setitem(VERBS, "fail", fail)
    verdicts = await play_all([(made("wait"), {}), (made("fail"), {})], 2)
    assert [v.verdict for v in verdicts] == ["pass", "fail"]


async def test_who_ends_badly_keeps_nobody_else_from_being_stopped_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []

    async def start(stage: Stage, step: dict[str, Any]) -> None:
        for name in ("kamailio", "bridge", "phone"):

            async def stop(name: str = name) -> None:
                stopped.append(name)
                if name == "bridge":
                    raise ActorFailed("the bridge ended with status 1")

            stage.ends_with(stop)

    monkeypatch.setitem(VERBS, "start", start)
    monkeypatch.setitem(VERBS, "break", failing(NotSeen("no NOTIFY")))
    verdict = await play(made("start", "break"), {})
    assert stopped == ["phone", "bridge", "kamailio"]
    assert verdict.seen.splitlines() == [
        "step 2 (break): no NOTIFY",
        "at the end: the bridge ended with status 1",
    ]
    assert (await play(made("start"), {})).verdict == "fail"


async def test_what_fails_is_played_once_more_and_stands_as_flaky_if_it_holds_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    played: list[str] = []

    async def stumble(stage: Stage, step: dict[str, Any]) -> None:
        played.append("stumble")
        if played.count("stumble") == 1:
            raise NotSeen("missed a beat")

    monkeypatch.setitem(VERBS, "stumble", stumble)
    monkeypatch.setitem(VERBS, "break", failing(NotSeen("no NOTIFY")))
    monkeypatch.setitem(VERBS, "hold", nothing)
    wanted: list[tuple[Case, dict[str, Any]]] = [
        (made(word), {}) for word in ("stumble", "break", "hold")
    ]
    verdicts = await play_all(wanted, 1, again=True)
    assert [v.verdict for v in verdicts] == ["flaky", "fail", "pass"]
    assert played == ["stumble", "stumble"]
    assert "missed a beat" in verdicts[0].seen
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    write(verdicts, datetime.now(UTC))
    told = json.loads((tmp_path / "latest.json").read_text())
    assert (told["passed"], told["flaky"], told["failed"]) == (1, 1, 1)
    assert told["cases"][0]["verdict"] == "flaky"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "1"
    assert "missed a beat" in suite.findtext("testcase/system-out", "")


async def test_without_again_nothing_is_played_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "break", failing(NotSeen("no NOTIFY")))
    (verdict,) = await play_all([(made("break"), {})], 1)
    assert (verdict.verdict, verdict.seen) == ("fail", "step 1 (break): no NOTIFY")
