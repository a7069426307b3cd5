"""`python -m tests.fuzz`: throws made-up messages and documents at the parsers; `make fuzz` calls it.

    --seconds N   for each target (default 60)
    --inputs N    instead, so many inputs for each target
    --target T    sip, document or validation; default: all
    --seed N      the same inputs again (mutations only)
    --engine E    atheris (coverage-guided; default where it is installed) or mutation
    --save DIR    where inputs that broke something are put (default: fuzz-findings)

Reports errors that are none of ours, more than 100 ms for one input, more than 64 MiB. One line of JSON for
each target on standard output. Exit status 1 if anything was found. An input that was found belongs into
`tests/fuzz/found`, where it is a test for ever.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import sys
import time
from pathlib import Path

from tests.fuzz import guided
from tests.fuzz.judging import Finding, high_water, judge
from tests.fuzz.mutation import Mutator
from tests.fuzz.seeds import seeds, words
from tests.fuzz.targets import TARGETS

REPORT_EVERY = 5.0


class Run:
    """One target's run: counts, and what was found, each place once."""

    def __init__(self, target: str, save: Path, slack: float = 1.0) -> None:
        self.name = target
        self.steps = TARGETS[target]
        self.save = save
        self.slack = slack
        self.inputs = 0
        self.slowest = 0.0
        """Seconds for all steps of one input, however often it was run again."""
        self.found: dict[str, Path] = {}
        self.started = time.monotonic()
        self.next_report = self.started + REPORT_EVERY

    def one(self, data: bytes) -> None:
        self.inputs += 1
        before = time.thread_time()
        finding = judge(self.steps, data, self.slack)
        self.slowest = max(self.slowest, time.thread_time() - before)
        if finding is not None and f"{finding.kind} {finding.place}" not in self.found:
            self.keep(finding, data)
        if time.monotonic() > self.next_report:
            self.next_report = time.monotonic() + REPORT_EVERY
            print(f"{self.name}: {self.inputs} inputs", file=sys.stderr)

    def keep(self, finding: Finding, data: bytes) -> None:
        self.save.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(data).hexdigest()[:12]
        path = self.save / f"{self.name}-{finding.kind}-{digest}"
        path.write_bytes(data)
        self.found[f"{finding.kind} {finding.place}"] = path
        print(f"{self.name}: {finding.kind}: {finding.detail}\n  {path}", file=sys.stderr)

    def report(self, engine: str) -> bool:
        """Print the line; is everything well?"""
        took = time.monotonic() - self.started
        told = {
            "target": self.name,
            "engine": engine,
            "inputs": self.inputs,
            "seconds": round(took, 1),
            "slowest_ms": round(self.slowest * 1000, 1),
            "peak_mib": high_water() >> 20,
            "findings": [{"what": what, "file": str(path)} for what, path in self.found.items()],
        }
        print(json.dumps(told), flush=True)
        return not self.found


def mutate(run: Run, seconds: float, inputs: int | None, seed: int) -> None:
    """The seeds as they are, then mutations of them."""
    known = seeds(run.name)
    mutator = Mutator(known, words(run.name, known), random.Random(seed))
    for data in known:
        run.one(data)
    end = run.started + seconds
    while run.inputs < inputs if inputs is not None else time.monotonic() < end:
        run.one(mutator.make())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--engine", choices=("atheris", "mutation"))
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args(arguments)
    there = importlib.util.find_spec("atheris") is not None
    engine = given.engine or ("atheris" if there else "mutation")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    well = True
    for target in given.target or sorted(TARGETS):
        if engine == "atheris":
            well = guided.spawn(target, given.seconds, given.inputs, given.save) and well
            continue
        print(f"{target}: mutations with --seed {seed}", file=sys.stderr)
        run = Run(target, given.save)
        mutate(run, given.seconds, given.inputs, seed)
        well = run.report(engine) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
