"""The fuzzer finds what is planted, and what it has found stays found."""

import json
import random
import time
from pathlib import Path

import pytest

from tests.fuzz.__main__ import Run, main, mutate
from tests.fuzz.judging import Step, judge
from tests.fuzz.mutation import MAX_INPUT, Mutator
from tests.fuzz.seeds import FOUND, kind_of, seeds, words
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", sorted(path.name for path in FOUND.iterdir()))
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    data = (FOUND / name).read_bytes()
    for target in TARGETS:
        if kind_of(target) == name.partition("-")[0]:
            assert judge(TARGETS[target], data) is None


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_few_hundred_inputs_break_nothing(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target", target, "--inputs", "400", "--seed", "1", "--engine", "mutation"]
    status = main([*arguments, "--save", str(tmp_path / "found")])
    told = json.loads(capsys.readouterr().out)
    assert (status, told["findings"]) == (0, [])
    assert told["inputs"] >= 400


def planted(monkeypatch: pytest.MonkeyPatch, step: Step, tmp_path: Path) -> Run:
    """A run of some hundred inputs at a target with a fault."""
    monkeypatch.setitem(TARGETS, "sip", (step,))
    run = Run("sip", tmp_path / "found")
    mutate(run, 0, 600, seed=5)
    return run


def test_a_planted_crash_is_found_once_and_its_input_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def crash(data: bytes) -> None:
        if b"4294967296" in data:
            raise IndexError("planted")

    run = planted(monkeypatch, crash, tmp_path)
    ((what, path),) = run.found.items()
    assert what.startswith("crash IndexError test_fuzz.py:")
    assert b"4294967296" in path.read_bytes()
    assert path.name.startswith("sip-crash-")
    assert run.report("mutation") is False


def test_what_takes_too_long_is_found() -> None:
    def slow(data: bytes) -> None:
        end = time.thread_time() + 0.12
        while time.thread_time() < end:
            pass

    found = judge((slow,), b"")
    assert found is not None and (found.kind, found.place) == ("hang", "in slow")


def test_what_was_slow_by_accident_is_not() -> None:
    times = iter([0.15, 0.0])

    def once(data: bytes) -> None:
        end = time.thread_time() + next(times)
        while time.thread_time() < end:
            pass

    assert judge((once,), b"") is None


def test_what_never_ends_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz import judging

    monkeypatch.setattr(judging, "NEVER", 0.3)

    def endless(data: bytes) -> None:
        while True:
            pass

    found = judge((endless,), b"")
    assert found is not None and found.kind == "hang" and "not at its end" in found.detail


def test_what_takes_too_much_memory_is_found() -> None:
    from tests.fuzz.judging import forget_high_water

    forget_high_water()

    def greedy(data: bytes) -> None:
        assert len(bytearray(b"x") * (400 << 20)) > 0

    found = judge((greedy,), b"")
    assert found is not None and found.kind in ("memory", "hang")


def test_our_own_errors_are_good_answers_and_others_are_not() -> None:
    assert judge(TARGETS["sip"], b"NOTHING") is None
    assert judge(TARGETS["document"], b"<!DOCTYPE a>") is None

    def other(data: bytes) -> None:
        raise KeyError("x")

    found = judge((other,), b"")
    assert found is not None and found.kind == "crash" and "KeyError" in found.detail


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_mutations_differ_stay_small_and_can_be_had_again(target: str) -> None:
    known = seeds(target)
    assert len(known) > 30
    one, other = (Mutator(known, words(target, known), random.Random(7)) for _ in range(2))
    made = [one.make() for _ in range(300)]
    assert made == [other.make() for _ in range(300)]
    assert len(set(made)) > 250
    assert max(map(len, made)) <= MAX_INPUT
