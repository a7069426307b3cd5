"""Publishes that survive a power cut: REST publish → embedded agent → SQLite, synchronous = full → 204.

A publish is answered when its commit is on the disk; with several at a time one commit carries several.
Limit: a bare SQLite loop that writes two rows as long as ours and commits them, each time.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from bench.measure import Effort, Figure, figure, median, quantile, rate
from bench.processes import bridge
from bench.publishing import APPLICATIONS, Publishing
from bench.wheel import Wheel

LIMIT = "bare SQLite, a commit each"
ROW = b"x" * 700
"""About a publication with its document."""
ROWS = 1000
LIMIT_SECONDS = 1.0


def bare(folder: Path, seconds: float) -> float:
    """Durable writes per CPU second of a loop that does nothing else."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        for table in ("a", "b"):
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, record BLOB)")
        number = 0

        def write() -> None:
            nonlocal number
            number += 1
            db.execute("BEGIN IMMEDIATE")
            for table in ("a", "b"):
                db.execute(
                    f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (f"k{number % ROWS}", ROW)
                )
            db.execute("COMMIT")

        return rate(write, seconds)


def run(effort: Effort) -> Iterator[Figure]:
    """The row of this benchmark."""
    count = max(effort.count // 5, 16)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sipbridge-bench-")))
        one = stack.enter_context(bridge(applications=APPLICATIONS))
        path = Publishing(wheel, one)
        path.cost(min(count, 200))  # warm
        ours, limit, middle, late = [], [], [], []
        for _ in range(effort.runs):
            limit.append(bare(folder, LIMIT_SECONDS if count > 100 else LIMIT_SECONDS / 10))
            ours.append(1000 / max(path.cost(count), 0.001))
            middle.append(quantile(path.took, 0.5) * 1000)
            late.append(quantile(path.took, 0.99) * 1000)
        yield figure(
            "durable publish: REST → agent → SQLite → 204",
            "publishes/CPU-s",
            ours,
            {LIMIT: limit},
            note=f"p50 {median(middle):.2f} ms, p99 {median(late):.2f} ms"
            f" with {APPLICATIONS} at a time",
        )
