"""`make interop`: plays every case against the real peers and writes down what came of each.

    python -m tests.interop.run [--only WORD]

`interop/results/latest.json` holds one object for each case and variant: peers with versions, case, sections
of RFCs, verdict, seconds, what was seen. `junit.xml` is the same for machines that read that. Exit status 1
if any failed.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.interop.runner import Verdict, all_cases, play, variant_name

RESULTS = Path(__file__).resolve().parents[2] / "interop" / "results"


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
        if verdict.verdict != "pass":
            ElementTree.SubElement(case, "failure", message=verdict.seen[:200]).text = verdict.seen
    ElementTree.ElementTree(suite).write(RESULTS / "junit.xml", encoding="utf-8")


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="cases whose name or variant has this word")
    only = options.parse_args().only
    begun, verdicts = datetime.now(UTC), []
    for case in all_cases():
        for variant in case.variants:
            if only not in f"{case.name} {variant_name(variant)}":
                continue
            verdict = await play(case, variant)
            verdicts.append(verdict)
            mark = "ok  " if verdict.verdict == "pass" else "FAIL"
            peers = ", ".join(f"{k} {v}" for k, v in verdict.peers.items())
            line = f"{mark} {case.name:<32} {verdict.variant:<14} {verdict.seconds:5.1f} s  {peers}"
            print(line, flush=True)
            if verdict.seen:
                print("     " + verdict.seen.replace("\n", "\n     "), flush=True)
    write(verdicts, begun)
    failed = [v for v in verdicts if v.verdict != "pass"]
    print(f"{len(verdicts) - len(failed)} passed, {len(failed)} failed; {RESULTS / 'latest.json'}")
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
