"""`python -m bench.soak [--minutes 5 --subscriptions 10000 --rate 1000]`: does it hold? is memory flat?

`sipbridge serve` in remote mode with SQLite watches `subscriptions` presentities at a bare notifier, each
with a running notification contract, and gets `rate` NOTIFYs a second with new documents. One application
listens by Bayeux long-polling. Every NOTIFY must be answered with 200 and become one `statusChanged` at the
application. Memory is sampled every few seconds and counts as flat when, after the first minute,

- a line through the blocks that live Python objects hold (`sipbridge_memory_blocks` of /metrics) rises by
  less than `FLAT` of their mean in ten minutes: nothing is kept, and
- RSS ends less than `FLAT` above where it began. No line goes through RSS: it rises in steps, to the most
  that was ever needed while a queue was long or a disk slow, and hardly ever comes down again.

The result goes to bench/results/soak.json.

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

from bench.measure import Stalled, cpu_seconds, memory_megabytes, quantile
from bench.notifier import Notifier
from bench.processes import Bridge, bridge, environment
from bench.watching import Session, presentities, watch_all
from bench.wheel import HttpConnection, Wheel

RESULT = Path(__file__).resolve().parent / "results" / "soak.json"
SAMPLE_SECONDS = 5.0
ROOM = {"bayeux": {"queue_events": 20_000, "queue_bytes": 16 << 20}}
"""The default queue holds a second of this rate, and a disk may take longer than that for one commit."""
SETTLE_SECONDS = 40.0
"""Time for the last answers: more than Timer F."""
FLAT = 0.05
"""Growth that still counts as flat: noise of the allocator, and of a log that turns over."""
WARM_SECONDS = 60.0
"""Until answers are forgotten as fast as new ones come (Timer J, 32 s), and all has been said once."""
BLOCKS = b"\nsipbridge_memory_blocks "


@dataclass(slots=True)
class Samples:
    """What was seen of the bridge."""

    began: float
    seconds: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    last: tuple[float, float] = (0.0, 0.0)
    blocks: list[tuple[float, float]] = field(default_factory=list)
    """Seconds, and what /metrics said then."""

    def take(self, pid: int) -> None:
        now, spent = time.monotonic(), cpu_seconds(pid)
        rss, pss = memory_megabytes(pid)
        if self.last[0]:
            self.cores.append((spent - self.last[1]) / (now - self.last[0]))
        self.last = (now, spent)
        self.seconds.append(now - self.began)
        self.rss.append(rss)
        self.pss.append(pss)

    def told(self, status: int, body: bytes) -> None:
        """The answer of /metrics."""
        number = body.partition(BLOCKS)[2].partition(b"\n")[0] if status == 200 else b""
        if not number:
            raise Stalled(f"/metrics: HTTP {status} {body[:300]!r}")
        self.blocks.append((time.monotonic() - self.began, float(number)))

    def growth(self) -> tuple[float, float] | None:
        """Of blocks in ten minutes, and of RSS from its first warm sample to the last; as parts of it.

        None: there is less than another minute of samples after `WARM_SECONDS`.
        """
        warm = [(at, count) for at, count in self.blocks if at >= WARM_SECONDS]
        rss = [one for at, one in zip(self.seconds, self.rss, strict=True) if at >= WARM_SECONDS]
        if len(warm) * SAMPLE_SECONDS < 60.0:
            return None
        seconds, counts = zip(*warm, strict=True)
        slope = statistics.linear_regression(seconds, counts).slope
        return slope * 600 / statistics.mean(counts), rss[-1] / rss[0] - 1


def drive(
    wheel: Wheel, notifier: Notifier, one: Bridge, seconds: float, rate: float
) -> tuple[Samples, int]:
    """Send at an even pace; what was seen, and how many were sent."""
    began = time.monotonic()
    samples, sent = Samples(began), 0
    metrics, scrape = HttpConnection(wheel, one.http), one.request("app_0", "GET", "/metrics")
    total, next_sample = round(seconds * rate), began
    dialogs = notifier.by_number
    while sent < total:
        now = time.monotonic()
        due = min(total, int((now - began) * rate) + 1)
        while sent < due:
            notifier.news(dialogs[sent % len(dialogs)])
            sent += 1
        if now >= next_sample:
            samples.take(one.pid)
            if metrics.done is None:  # the last one is answered
                metrics.ask(scrape, samples.told)
            next_sample += SAMPLE_SECONDS
        notifier.resend()
        wheel.turn(max(0.0, began + sent / rate - time.monotonic()))
    samples.take(one.pid)
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
        samples, sent = drive(wheel, notifier, one, seconds, rate)
        end = time.monotonic() + SETTLE_SECONDS
        while (notifier.open or session.changed < sent) and time.monotonic() < end:
            wheel.turn(0.1)
            notifier.resend()
        growth = samples.growth()
        flat = None if growth is None else max(growth) < FLAT
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
            },
            "blocks": [round(count) for _, count in samples.blocks],
            "growth": growth
            and {"blocks_in_10_minutes": round(growth[0], 4), "rss": round(growth[1], 4)},
            "flat": flat,
            "held": flat is not False
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
    shown = {k: v for k, v in told.items() if k not in ("environment", "megabytes", "blocks")}
    print(json.dumps(shown, indent=2))
    megabytes = told["megabytes"]
    assert isinstance(megabytes, dict)
    first, last = megabytes["rss"][0], megabytes["rss"][-1]
    print(f"RSS {first} → {last} MB{'' if told['growth'] else '; too short to judge memory'}")
    print("held" if told["held"] else "DID NOT HOLD")
    return 0 if told["held"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
