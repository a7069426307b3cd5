"""`python -m bench.soak [--minutes 5 --subscriptions 10000 --rate 1000]`: does it hold? is memory flat?

`sipbridge serve` in remote mode with SQLite watches `subscriptions` presentities at a bare notifier, each
with a running notification contract, and gets `rate` NOTIFYs a second with new documents. One application
listens by Bayeux long-polling. Memory is sampled every few seconds; every NOTIFY must be answered with 200
and become one `statusChanged` at the application. Memory counts as flat when a line through the samples of
the second half rises by less than `FLAT` of the mean in ten minutes. The result goes to
bench/results/soak.json.

Everything stays on loopback. NOTIFYs are resent as any UDP client does, so a full buffer is not a loss.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import cpu_seconds, memory_megabytes, quantile
from bench.notifier import Notifier
from bench.processes import bridge, environment
from bench.watching import Session, presentities, watch_all
from bench.wheel import Wheel

RESULT = Path(__file__).resolve().parent / "results" / "soak.json"
SAMPLE_SECONDS = 3.0
ROOM = {"bayeux": {"queue_events": 20_000, "queue_bytes": 16 << 20}}
"""The default queue holds a second of this rate, and a disk may take longer than that for one commit."""
SETTLE_SECONDS = 40.0
"""Time for the last answers: more than Timer F."""
FLAT = 0.05
"""Growth in ten minutes that still counts as flat: noise of the allocator, and of a log that turns over."""


@dataclass(slots=True)
class Samples:
    """What was seen of the bridge."""

    began: float
    seconds: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    last: tuple[float, float] = (0.0, 0.0)

    def take(self, pid: int) -> None:
        now, spent = time.monotonic(), cpu_seconds(pid)
        rss, pss = memory_megabytes(pid)
        if self.last[0]:
            self.cores.append((spent - self.last[1]) / (now - self.last[0]))
        self.last = (now, spent)
        self.seconds.append(now - self.began)
        self.rss.append(rss)
        self.pss.append(pss)


def slope(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Growth per second of a line through the second half of the samples."""
    half = len(values) // 2
    if len(values) - half < 3:
        return 0.0
    return statistics.linear_regression(seconds[half:], values[half:]).slope


def drive(
    wheel: Wheel, notifier: Notifier, pid: int, seconds: float, rate: float
) -> tuple[Samples, int]:
    """Send at an even pace; what was seen, and how many were sent."""
    began = time.monotonic()
    samples, sent = Samples(began), 0
    samples.take(pid)
    total, next_sample = round(seconds * rate), began + SAMPLE_SECONDS
    dialogs = notifier.by_number
    while sent < total:
        now = time.monotonic()
        due = min(total, int((now - began) * rate) + 1)
        while sent < due:
            notifier.news(dialogs[sent % len(dialogs)])
            sent += 1
        if now >= next_sample:
            samples.take(pid)
            next_sample += SAMPLE_SECONDS
        notifier.resend()
        wheel.turn(max(0.0, began + sent / rate - time.monotonic()))
    samples.take(pid)
    return samples, sent


def soak(subscriptions: int, rate: float, seconds: float) -> dict[str, object]:
    """One soak; what came of it."""
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        notifier = Notifier(wheel)
        one = stack.enter_context(bridge(next_hop=notifier.address, settings=ROOM))
        session = Session(wheel, one)
        idle, before = memory_megabytes(one.pid), time.monotonic()
        began_cpu = cpu_seconds(one.pid)
        for start in range(0, subscriptions, 200):
            some = presentities(subscriptions)[start : start + 200]
            watch_all(wheel, one, some, 60.0, first=start)
            wheel.until(lambda: not notifier.open)
            session.drain(len(some))
        subscribing = time.monotonic() - before, cpu_seconds(one.pid) - began_cpu
        live = memory_megabytes(one.pid)
        print(
            f"{len(notifier.dialogs)} subscriptions in {subscribing[0]:.0f} s,"
            f" RSS {idle[0]:.0f} → {live[0]:.0f} MB",
            flush=True,
        )
        session.listen()
        notifier.waits.clear()
        samples, sent = drive(wheel, notifier, one.pid, seconds, rate)
        end = time.monotonic() + SETTLE_SECONDS
        while (notifier.open or session.changed < sent) and time.monotonic() < end:
            wheel.turn(0.1)
            notifier.resend()
        growth = slope(samples.seconds, samples.rss) * 600
        flat = growth < FLAT * statistics.mean(samples.rss)
        return {
            "subscriptions": len(notifier.dialogs),
            "seconds": round(seconds),
            "rate": rate,
            "notifies": sent,
            "resent": notifier.resent,
            "unanswered": len(notifier.open) + notifier.given_up,
            "refused": len(notifier.refused),
            "status_changed": session.changed,
            "lost": sent - session.changed,
            "answer_ms": {
                "p50": round(quantile(notifier.waits, 0.5) * 1000, 2),
                "p99": round(quantile(notifier.waits, 0.99) * 1000, 2),
                "max": round(max(notifier.waits) * 1000, 1),
            },
            "cores": {
                "median": round(statistics.median(samples.cores), 3),
                "max": round(max(samples.cores), 3),
            },
            "megabytes": {
                "idle_rss": round(idle[0], 1),
                "live_rss": round(live[0], 1),
                "kB_per_subscription": round((live[0] - idle[0]) * 1024 / subscriptions, 1),
                "rss": [round(v, 1) for v in samples.rss],
                "pss_last": round(samples.pss[-1], 1),
                "growth_in_10_minutes": round(growth, 2),
            },
            "flat": flat,
            "held": flat
            and sent == session.changed
            and not notifier.open
            and not notifier.given_up
            and not notifier.refused,
        }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--output", type=Path, default=RESULT, metavar="FILE")
    chosen = parser.parse_args(arguments)
    told = soak(chosen.subscriptions, chosen.rate, 60 * chosen.minutes)
    told["environment"] = environment()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(told, indent=2) + "\n")
    shown = {k: v for k, v in told.items() if k not in ("environment", "megabytes")}
    print(json.dumps(shown, indent=2))
    megabytes = told["megabytes"]
    assert isinstance(megabytes, dict)
    first, last = megabytes["rss"][0], megabytes["rss"][-1]
    print(f"RSS {first} → {last} MB, {megabytes['growth_in_10_minutes']} MB in ten minutes")
    print("held" if told["held"] else "DID NOT HOLD")
    return 0 if told["held"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
