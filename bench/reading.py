"""Get User Presence → 200: CPU of the bridge, beside bare Starlette that answers as many bytes.

`sipbridge serve` in remote mode, a bare notifier that has told it of every presentity; HTTP over loopback.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from urllib.parse import quote

from bench.measure import Effort, Figure, cpu_seconds, figure, median, quantile
from bench.notifier import Notifier
from bench.processes import bare_loop, bridge
from bench.watching import presentities, watch_all
from bench.wheel import HttpConnection, Wheel, ask_all

SUBSCRIPTIONS = 50
CONNECTIONS = 8
LIMIT = "bare Starlette"


def rate(
    wheel: Wheel, pid: int, connections: Sequence[HttpConnection], requests: Sequence[bytes]
) -> tuple[float, list[float]]:
    """Requests per CPU second of the server, and the seconds each took."""
    before = cpu_seconds(pid)
    took = ask_all(wheel, connections, requests, 200)
    return len(requests) / max(cpu_seconds(pid) - before, 0.001), took


def run(effort: Effort) -> Iterator[Figure]:
    """The row of this benchmark."""
    count = max(effort.count // 2, 100)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        notifier = Notifier(wheel)
        one = stack.enter_context(bridge(next_hop=notifier.address))
        watched = presentities(SUBSCRIPTIONS)
        watch_all(wheel, one, watched, 30.0)
        wheel.until(lambda: not notifier.open)
        pid, address = stack.enter_context(bare_loop("http"))
        ours = [HttpConnection(wheel, one.http) for _ in range(CONNECTIONS)]
        bare = [HttpConnection(wheel, address) for _ in range(CONNECTIONS)]
        asked = [quote(json.dumps({"presentity": p, "attributes": []})) for p in watched]
        paths = [f"/rest/presence/presence?query={text}" for text in asked]
        requests = [one.request("app_0", "GET", paths[n % SUBSCRIPTIONS]) for n in range(count)]
        rate(wheel, one.pid, ours, requests[:200])  # warm
        rates, limits, middle, late = [], [], [], []
        for _ in range(effort.runs):
            limits.append(rate(wheel, pid, bare, requests)[0])
            found, took = rate(wheel, one.pid, ours, requests)
            rates.append(found)
            middle.append(quantile(took, 0.5) * 1000)
            late.append(quantile(took, 0.99) * 1000)
        yield figure(
            "Get User Presence",
            "requests/CPU-s",
            rates,
            {LIMIT: limits},
            target="≥ 8,000 or ≥ 0.5 of bare Starlette",
            met=lambda value, ratios: value >= 8000 or ratios[LIMIT] >= 0.5,
            note=f"p50 {median(middle):.2f} ms, p99 {median(late):.2f} ms with {CONNECTIONS} at a time",
        )
