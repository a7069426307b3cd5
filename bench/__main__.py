"""`python -m bench [--only WORD] [--quick]`: every figure with its limit, as a table and as JSON.

Results go to bench/results/latest.json. --only runs the benchmarks whose name contains WORD, --quick shows
in seconds that everything works; its figures mean nothing.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    agent,
    durable,
    fanout,
    fronts,
    memory,
    messages,
    notify,
    optimisations,
    publishing,
    reading,
    requests,
    transports,
)
from bench.measure import Effort, Figure, Skipped
from bench.processes import environment

BENCHMARKS: dict[str, Callable[[Effort], Iterator[Figure]]] = {
    "messages": messages.run,
    "notify": notify.run,
    "publish": publishing.run,
    "get": reading.run,
    "durable": durable.run,
    "fanout": fanout.run,
    "agent": agent.run,
    "fronts": fronts.run,
    "transports": transports.run,
    "optimisations": optimisations.run,
    "requests": requests.run,
    "memory": memory.run,
}
FULL = Effort(runs=5, count=10_000)
QUICK = Effort(runs=1, count=200)
RESULTS = Path(__file__).resolve().parent / "results"


def line(told: Figure) -> str:
    """One row as text."""
    beside = "; ".join(
        f"{ratio:.3f} of {name} ({number(value)})" for name, (value, ratio) in told.limits.items()
    )
    verdict = {True: "met", False: "NOT met", None: "not judged"}[told.met]
    goal = f"  [{told.target}: {verdict}]" if told.target else ""
    note = f"  {told.note}" if told.note else ""
    return f"{told.name:<48} {number(told.value):>9} {told.unit:<15} {beside}{goal}{note}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def measure(only: str, effort: Effort) -> tuple[list[Figure], dict[str, str]]:
    """All figures of the benchmarks named, printed as they come, and what was skipped with its reason."""
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    for name, benchmark in BENCHMARKS.items():
        if only not in name:
            continue
        try:
            for found in benchmark(effort):
                told = replace(found, met=None) if effort is QUICK else found
                figures.append(told)
                print(line(told), flush=True)
        except Skipped as reason:
            skipped[name] = str(reason)
            print(f"{name:<48} skipped: {reason}", flush=True)
    return figures, skipped


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", metavar="FILE")
    chosen = parser.parse_args(arguments)
    figures, skipped = measure(chosen.only, QUICK if chosen.quick else FULL)
    told = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": chosen.quick,
        "environment": environment(),
        "figures": [asdict(one) for one in figures],
        "skipped": skipped,
    }
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return 0 if figures or skipped else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
