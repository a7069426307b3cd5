"""How figures are made: runs, medians, CPU time of processes, and the ratio to a limit.

A rate says little about a machine nobody knows. So each figure is the median of several runs, and beside it
stands what the same machine could do at most, measured between those runs: a bare loop that does only what
nobody can leave out. The ratio is taken run by run, against the limit measured just before, and the median
of the ratios is what is told. CPU time is that of the process under test with all its children, never that
of the load generator.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Skipped(Exception):
    """A benchmark cannot run here; the text says why."""


class Stalled(Exception):
    """What was measured did not answer in time."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    value is in `unit`; more is better if the unit is a rate ("…/CPU-s"), less if it is a cost or a time.
    limits: name of a limit to (value in the same unit, ratio). A ratio is our speed divided by the limit's:
    1 means as fast as the limit, whatever the unit. target: what is asked for, in words; met: is it?
    """

    name: str
    value: float
    unit: str
    runs: int
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    target: str = ""
    met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: `runs` of `count` operations each."""

    runs: int
    count: int


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def speed_ratio(unit: str, ours: float, limit: float) -> float:
    """Our speed as a part of the limit's."""
    if "/" in unit:
        return ours / limit
    return limit / ours


def figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    limits: Mapping[str, Sequence[float]],
    *,
    target: str = "",
    met: Callable[[float, Mapping[str, float]], bool] | None = None,
    note: str = "",
) -> Figure:
    """Medians of runs; limits are measured run by run beside ours. met: of value and ratios."""
    told = {
        limit: (
            median(values),
            median([speed_ratio(unit, a, b) for a, b in zip(ours, values, strict=True)]),
        )
        for limit, values in limits.items()
    }
    value = median(ours)
    ratios = {limit: ratio for limit, (_, ratio) in told.items()}
    verdict = met(value, ratios) if met is not None else None
    return Figure(name, value, unit, len(ours), told, target, verdict, note)


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls per CPU second of this process."""
    count, batch = 0, 1
    began = time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(batch):
            work()
        count += batch
        batch = min(2 * batch, 256)
    return count / spent


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its living descendants, and children it has waited for."""
    parents: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        one = int(entry.name)
        parents.setdefault(int(fields[1]), []).append(one)
        spent[one] = sum(map(int, fields[11:15])) / TICKS
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += spent.get(one, 0.0)
        waiting += parents.get(one, [])
    return total


def memory_megabytes(pid: int) -> tuple[float, float]:
    """RSS and PSS of one process."""
    found = {"Rss": 0.0, "Pss": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
