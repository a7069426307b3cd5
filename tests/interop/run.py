"""`make interop`: plays every case against the real peers and writes down what came of each.

    python -m tests.interop.run [--only WORD] [--brief] [--again] [--at-once N]

Two cases are played at a time, because foreign programs wait more than they work; each has ports, folders
and processes of its own. Foreign programs, some with a terminal round them, miss a beat now and then: with
`--again` what failed is played once more, alone. What holds then is called flaky, with what was seen the
first time, here and in the results.

`interop/results/latest.json` holds one object for each case and variant: peers with versions, case, sections
of RFCs, verdict (pass, flaky or fail), seconds, what was seen. `junit.xml` is the same for machines that read
that. Exit status 1 if any failed. What no case can express stands in test modules beside this file; they are
run too, and each of their tests is written down like a case.
"""

import argparse
import ast
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.interop.actors import Kamailio
from tests.interop.runner import Case, Verdict, all_cases, play, variant_name

HERE = Path(__file__).resolve().parent
NO_PEERS = ("test_interop.py", "test_runner.py")
RESULTS = HERE.parents[1] / "interop" / "results"


def write(verdicts: list[Verdict], begun: datetime) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    tree = {
        "at": begun.isoformat(timespec="seconds"),
        "passed": sum(v.verdict == "pass" for v in verdicts),
        "flaky": sum(v.verdict == "flaky" for v in verdicts),
        "failed": sum(v.verdict == "fail" for v in verdicts),
        "cases": [asdict(v) for v in verdicts],
    }
    (RESULTS / "latest.json").write_text(json.dumps(tree, indent=1) + "\n")
    suite = ElementTree.Element(
        "testsuite",
        name="interop",
        tests=str(len(verdicts)),
        failures=str(sum(v.verdict == "fail" for v in verdicts)),
        timestamp=begun.isoformat(timespec="seconds"),
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=verdict.case,
            name=f"{verdict.title} [{verdict.variant}]",
            time=str(verdict.seconds),
        )
        properties = ElementTree.SubElement(case, "properties")
        said = [("peer", f"{name} {version}") for name, version in verdict.peers.items()]
        said += [("section", section) for section in verdict.sections]
        for name, value in [*said, ("verdict", verdict.verdict)]:
            ElementTree.SubElement(properties, "property", name=name, value=value)
        if verdict.verdict == "fail":
            ElementTree.SubElement(case, "failure", message=verdict.seen[:200]).text = verdict.seen
        elif verdict.seen:
            ElementTree.SubElement(case, "system-out").text = verdict.seen
    ElementTree.ElementTree(suite).write(RESULTS / "junit.xml", encoding="utf-8")


def modules() -> list[Path]:
    """The test modules beside this file that meet peers, except the one that plays the cases."""
    return [m for m in sorted(HERE.glob("test_*.py")) if m.name not in NO_PEERS]


def sections_of(module: str) -> list[str]:
    """What a test module says in SECTIONS that it proves; read, not imported."""
    for node in ast.parse((HERE / f"{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            return list(ast.literal_eval(node.value))
    return []


def play_modules(wanted: Sequence[str], *, brief: bool) -> dict[str, Verdict]:
    """What the test modules say of their tests, by pytest's names for these; `wanted` are such, or modules.

    brief: they may do with a few of everything; the environment tells them so.
    """
    if not wanted:
        return {}
    with tempfile.TemporaryDirectory(prefix="sipbridge-interop-") as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *wanted]
        command += ["-o", "junit_family=xunit1"]  # it takes what tests record
        told = {**os.environ, **({"SIPBRIDGE_INTEROP_BRIEF": "1"} if brief else {})}
        subprocess.run(
            command, cwd=HERE.parents[1], stdout=subprocess.DEVNULL, check=False, env=told
        )
        return {name_of(c): verdict_of(c) for c in ElementTree.parse(report).iter("testcase")}


def name_of(case: ElementTree.Element) -> str:
    """What pytest calls a test on its command line, or a module that could not be read."""
    name = case.get("name", "")
    if not case.get("classname"):
        return f"{HERE / name.rpartition('.')[2]}.py"
    return f"{HERE / case.get('classname', '').rpartition('.')[2]}.py::{name}"


def verdict_of(case: ElementTree.Element) -> Verdict:
    """What pytest says of one test; one that was skipped did not pass. It may record what was `seen`."""
    wrong = next((w for word in ("failure", "error", "skipped") for w in case.iter(word)), None)
    said = {p.get("name"): p.get("value", "") for p in case.iter("property")}
    seen = str(said.get("seen", ""))
    name, _, variant = case.get("name", "").partition("[")
    module = case.get("classname", "").rpartition(".")[2]
    return Verdict(
        module,
        name.removeprefix("test_").replace("_", " "),
        variant.rstrip("]"),
        {"kamailio": Kamailio.version()},
        sections_of(module),
        "pass" if wrong is None else "fail",
        round(float(case.get("time", "0")), 2),
        seen if wrong is None else wrong.text or wrong.get("message") or "",
    )


def show(verdict: Verdict) -> None:
    mark = {"pass": "ok", "flaky": "FLAKY"}.get(verdict.verdict, "FAIL").ljust(5)
    peers = ", ".join(f"{k} {v}" for k, v in verdict.peers.items())
    about = f"{verdict.case:<32} {verdict.variant:<14}"
    print(f"{mark} {about} {verdict.seconds:5.1f} s  {peers}", flush=True)
    if verdict.seen:
        print("     " + verdict.seen.replace("\n", "\n     "), flush=True)


def brief(cases: Sequence[Case]) -> dict[str, list[dict[str, Any]]]:
    """One variant of each case that is also played with digest, in turns with and without.

    Of other cases all variants but those that say `brief = false`.
    """
    chosen: dict[str, list[dict[str, Any]]] = {}
    turn = 0
    for case in cases:
        chosen[case.name] = [v for v in case.variants if v.get("brief", True)]
        if any(v.get("digest") for v in case.variants):
            wants = [v for v in case.variants if bool(v.get("digest")) == bool(turn % 2)]
            chosen[case.name] = [wants[turn // 2 % len(wants)]]
            turn += 1
    return chosen


async def play_all(
    wanted: Sequence[tuple[Case, dict[str, Any]]], at_once: int, *, again: bool = False
) -> list[Verdict]:
    """So many at a time; their verdicts in the order of the cases. again: what failed once more, alone."""
    waiting = deque(enumerate(wanted))
    done: dict[int, Verdict] = {}

    async def player() -> None:
        while waiting:
            number, (case, variant) = waiting.popleft()
            done[number] = await play(case, variant)
            show(done[number])

    async with asyncio.TaskGroup() as players:
        for _ in range(at_once):
            players.create_task(player())
    for number in [n for n in sorted(done) if again and done[n].verdict == "fail"]:
        done[number] = second(done[number], await play(*wanted[number]))
        show(done[number])
    return [done[number] for number in sorted(done)]


def second(first: Verdict, then: Verdict) -> Verdict:
    """What to write down of what failed and was tried once more."""
    if then.verdict == "fail":
        return replace(then, seen=f"twice: {then.seen}\nthe first time: {first.seen}")
    return replace(then, verdict="flaky", seen=f"the first time: {first.seen}")


def play_all_modules(only: str, *, brief: bool, again: bool) -> list[Verdict]:
    """The test modules with this word in their names. again: which tests failed once more."""
    done = play_modules([str(m) for m in modules() if only in m.stem], brief=brief)
    failed = [name for name, verdict in done.items() if again and verdict.verdict == "fail"]
    for name, verdict in play_modules(failed, brief=brief).items():
        done[name] = second(done[name], verdict)
    return list(done.values())


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--only",
        default="",
        help="cases whose name or variant has this word, and modules of this name",
    )
    options.add_argument(
        "--brief",
        action="store_true",
        help="each foreign client once, in turns with and without digest",
    )
    options.add_argument(
        "--again",
        action="store_true",
        help="what failed once more, alone; called flaky if it holds",
    )
    options.add_argument("--at-once", type=int, default=2, help="cases played at a time")
    given = options.parse_args()
    only = given.only
    begun = datetime.now(UTC)
    cases = all_cases()
    chosen = brief(cases) if given.brief else {case.name: case.variants for case in cases}
    wanted = [
        (case, variant)
        for case in cases
        for variant in chosen[case.name]
        if only in f"{case.name} {variant_name(variant)}"
    ]
    verdicts = await play_all(wanted, given.at_once, again=given.again)
    for verdict in await asyncio.to_thread(
        play_all_modules, only, brief=given.brief, again=given.again
    ):
        verdicts.append(verdict)
        show(verdict)
    write(verdicts, begun)
    count = Counter(v.verdict for v in verdicts)
    flaky = f", {count['flaky']} flaky" if count["flaky"] else ""
    if not verdicts:
        print(f"no case, variant or module is called {only!r}")
    print(f"{count['pass']} passed{flaky}, {count['fail']} failed; {RESULTS / 'latest.json'}")
    return 1 if count["fail"] or not verdicts else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
