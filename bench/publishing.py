"""REST publish → PUBLISH → 200 → 204: CPU of the bridge, and how long the application waits.

`sipbridge serve` in remote mode with SQLite, real HTTP over loopback, a bare peer that answers each PUBLISH
at once. Limit: bare Starlette on uvicorn that reads the same JSON and answers 204.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.measure import Effort, Figure, cpu_seconds, figure, median, quantile
from bench.notifier import Notifier
from bench.processes import Bridge, bare_loop, bridge
from bench.wheel import HttpConnection, Wheel, ask_all

APPLICATIONS = 8
LIMIT = "bare Starlette"
ACTIVITIES = ("Meeting", "OnThePhone", "Busy", "Away", "Travel", "Meal", "Available", "Holiday")
PLACES = ("Office", "Train", "Home", "Restaurant", "Airport", "Mall", "Ship", "Hotel")


def presence(number: int) -> object:
    """What an application publishes: two attributes and a note."""
    return {
        "presence": [
            {
                "typeAndValue": {
                    "unionElement": "Activity",
                    "activity": ACTIVITIES[number % 8],
                },
                "note": f"number {number}",
            },
            {
                "typeAndValue": {
                    "unionElement": "Place",
                    "place": PLACES[number // 8 % 8],
                }
            },
        ]
    }


class Publishing:
    """A bridge and applications that publish through it, one call at a time each."""

    def __init__(self, wheel: Wheel, bridge: Bridge) -> None:
        self.wheel, self.bridge = wheel, bridge
        self.connections = [HttpConnection(wheel, bridge.http) for _ in range(APPLICATIONS)]
        self.number = 0
        self.took: list[float] = []

    def requests(self, count: int) -> list[bytes]:
        start, self.number = self.number, self.number + count
        return [
            self.bridge.request(
                f"app_{n % APPLICATIONS}", "PUT", "/rest/presence/presence", presence(n)
            )
            for n in range(start, start + count)
        ]

    def cost(self, count: int) -> float:
        """CPU milliseconds of the bridge for one publish."""
        requests, before = self.requests(count), cpu_seconds(self.bridge.pid)
        self.took = ask_all(self.wheel, self.connections, requests, 204)
        return (cpu_seconds(self.bridge.pid) - before) / count * 1000


def bare_cost(
    wheel: Wheel, pid: int, connections: Sequence[HttpConnection], requests: Sequence[bytes]
) -> float:
    before = cpu_seconds(pid)
    ask_all(wheel, connections, requests, 204)
    return (cpu_seconds(pid) - before) / len(requests) * 1000


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    count = max(effort.count // 5, 16)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        peer = Notifier(wheel)
        one = stack.enter_context(bridge(next_hop=peer.address, applications=APPLICATIONS))
        path = Publishing(wheel, one)
        pid, address = stack.enter_context(bare_loop("http"))
        bare = [HttpConnection(wheel, address) for _ in range(APPLICATIONS)]
        path.cost(min(count, 200))  # warm
        ours, limit, middle, late = [], [], [], []
        for _ in range(effort.runs):
            limit.append(max(bare_cost(wheel, pid, bare, path.requests(count)), 0.001))
            ours.append(path.cost(count))
            middle.append(quantile(path.took, 0.5) * 1000)
            late.append(quantile(path.took, 0.99) * 1000)
        waits = (
            f"p50 {median(middle):.2f} ms, p99 {median(late):.2f} ms with {APPLICATIONS} at a time"
        )
        yield figure(
            "REST publish → PUBLISH → 200",
            "CPU-ms",
            ours,
            {LIMIT: limit},
            target="≤ 0.4 ms",
            met=lambda value, _: value <= 0.4,
            note=waits,
        )
        yield figure(
            "REST publish",
            "publishes/CPU-s",
            [1000 / max(cost, 0.001) for cost in ours],
            {LIMIT: [1000 / cost for cost in limit]},
            note="the same in another unit",
        )
