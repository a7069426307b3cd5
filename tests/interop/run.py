"""`make interop`: plays every case against the real peers and writes down what came of each.

    python -m tests.interop.run [--only WORD] [--brief] [--at-once N]

Two cases are played at a time, because foreign programs wait more than they work; each has ports, folders and
processes of its own.

`interop/results/latest.json` holds one object for each case and variant: peers with versions, case, sections
of RFCs, verdict, seconds, what was seen. `junit.xml` is the same for machines that read that. Exit status 1
if any failed. What no case can express stands in test modules beside this file; they are run too, and each of
their tests is written down like a case.
"""

import argparse
import ast
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
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
        if verdict.verdict != "pass":
            ElementTree.SubElement(case, "failure", message=verdict.seen[:200]).text = verdict.seen
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


def play_modules(only: str, *, brief: bool) -> list[Verdict]:
    """What the test modules say of their tests.

    brief: they may do with a few of everything; the environment tells them so.
    """
    wanted = [str(module) for module in modules() if only in module.stem]
    if not wanted:
        return []
    with tempfile.TemporaryDirectory(prefix="sipbridge-interop-") as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *wanted]
        told = {**os.environ, **({"SIPBRIDGE_INTEROP_BRIEF": "1"} if brief else {})}
        subprocess.run(
            command, cwd=HERE.parents[1], stdout=subprocess.DEVNULL, check=False, env=told
        )
        return [verdict_of(case) for case in ElementTree.parse(report).iter("testcase")]


def verdict_of(case: ElementTree.Element) -> Verdict:
    """What pytest says of one test; one that was skipped did not pass."""
    wrong = next((w for word in ("failure", "error", "skipped") for w in case.iter(word)), None)
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
        "" if wrong is None else wrong.text or wrong.get("message") or "",
    )


def show(verdict: Verdict) -> None:
    mark = "ok  " if verdict.verdict == "pass" else "FAIL"
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


async def play_all(wanted: Sequence[tuple[Case, dict[str, Any]]], at_once: int) -> list[Verdict]:
    """So many at a time; their verdicts in the order of the cases."""
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
    return [done[number] for number in sorted(done)]


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
    verdicts = await play_all(wanted, given.at_once)
    for verdict in await asyncio.to_thread(play_modules, only, brief=given.brief):
        verdicts.append(verdict)
        show(verdict)
    write(verdicts, begun)
    failed = [v for v in verdicts if v.verdict != "pass"]
    print(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed; {RESULTS / 'latest.json'}")
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
