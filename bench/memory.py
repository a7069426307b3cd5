"""Memory of live subscriptions, each with a document of 1.2 kB that was shown.

As server: a bare phone watches presentities of its own, one each, at the embedded agent. As client: an
application watches them at a bare notifier through the REST interface, each with a running notification
contract. What is told is the growth of the whole process beyond an idle one, divided by the subscriptions.
Limit: nothing but the NOTIFY with its document, 1.85 kB, kept once for each.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.documents import notify, rich
from bench.measure import Effort, Figure, figure, memory_megabytes
from bench.notifier import Notifier
from bench.phone import Phone
from bench.processes import bridge
from bench.watching import presentities, watch_all
from bench.wheel import Wheel

STEP = 200
UNIT = "kB"
LIMIT = "one NOTIFY as bytes"


def as_server(count: int) -> tuple[float, float]:
    """Megabytes of an idle bridge, and of one with `count` watchers and publications at its agent."""
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        one = stack.enter_context(bridge())
        idle = memory_megabytes(one.pid)[0]
        phone = Phone(wheel, one.sip)
        for n in range(count):
            phone.publish(n, rich(phone.user(n), n))
            phone.subscribe(n, n)
        phone.settle(count)
        return idle, memory_megabytes(one.pid)[0]


def as_client(count: int) -> tuple[float, float]:
    """The same of a bridge in remote mode that watches `count` presentities."""
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        notifier = Notifier(wheel)
        one = stack.enter_context(bridge(next_hop=notifier.address))
        idle = memory_megabytes(one.pid)[0]
        everybody = presentities(count)
        for start in range(0, count, STEP):
            watch_all(wheel, one, everybody[start : start + STEP], 60.0, first=start)
            wheel.until(lambda: not notifier.open)
        return idle, memory_megabytes(one.pid)[0]


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    bare = len(notify(0)) / 1024
    for name, grown in (("server", as_server), ("client", as_client)):
        for count in (effort.count, 5 * effort.count)[: effort.runs]:
            idle, live = grown(count)
            each = max((live - idle) * 1024 / count, 0.001)
            yield figure(
                f"{name}: memory of one of {count:,} subscriptions",
                UNIT,
                [each],
                {LIMIT: [bare]},
                note=f"RSS {idle:.0f} → {live:.0f} MB",
            )
