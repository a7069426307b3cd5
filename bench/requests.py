"""CPU for 1,000 SUBSCRIBE, NOTIFY and PUBLISH, as server and as client, with the store in SQLite.

As server: a bare phone at the embedded agent of `sipbridge serve`. As client: REST calls to a bridge in
remote mode towards a bare notifier, so the HTTP request is part of it. Limit: a bare uvloop echo of as many
datagrams as the bridge has to read.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.documents import rich
from bench.measure import Effort, Figure, cpu_seconds, figure
from bench.notifier import Notifier
from bench.notify import Limit
from bench.phone import Phone
from bench.processes import Bridge, bare_loop, bridge
from bench.publishing import APPLICATIONS, Publishing
from bench.watching import presentities, watch_all
from bench.wheel import Wheel

WATCHERS = 100
"""Of the one presentity whose every PUBLISH makes this many NOTIFYs."""
UNIT = "CPU-s for 1,000"
ECHO = "uvloop echo"


class Server:
    """A phone at the embedded agent. Each cost: operations, and the datagrams the agent reads for each."""

    def __init__(self, wheel: Wheel, one: Bridge, count: int) -> None:
        self.phone, self.count = Phone(wheel, one.sip), count
        self.watchers = 0
        self.number = 0

    def subscribe(self) -> tuple[int, float]:
        """New subscriptions, each with its first NOTIFY."""
        phone, before = self.phone, self.phone.notified
        for n in range(self.watchers, self.watchers + self.count):
            phone.subscribe(n, n)
        phone.settle(before + self.count)
        self.watchers += self.count
        return self.count, 2

    def refresh(self) -> tuple[int, float]:
        """Refreshes, each with a NOTIFY."""
        phone, before = self.phone, self.phone.notified
        for n in range(self.watchers - self.count, self.watchers):
            phone.subscribe(n, n)
        phone.settle(before + self.count)
        return self.count, 2

    def publish(self) -> tuple[int, float]:
        """Changes that nobody watches."""
        self.number += 1
        for n in range(-self.count, 0):
            self.phone.publish(n, rich(self.phone.user(n), self.number))
        self.phone.settle(0)
        return self.count, 1

    def notify(self) -> tuple[int, float]:
        """Changes that `WATCHERS` watch, one after the other; their PUBLISHes are part of it."""
        phone, presentity = self.phone, 10**9
        if presentity not in phone.etags:
            phone.publish(presentity, rich(phone.user(presentity), 0))
            phone.settle(0)
            before = phone.notified
            for n in range(WATCHERS):
                phone.subscribe(presentity + n, presentity)
            phone.settle(before + WATCHERS)
        rounds = max(1, self.count // WATCHERS)
        for _ in range(rounds):
            self.number += 1
            before = phone.notified
            phone.publish(presentity, rich(phone.user(presentity), self.number))
            phone.settle(before + WATCHERS)
        return rounds * WATCHERS, 1 + 1 / WATCHERS


class Client:
    """REST calls to a bridge in remote mode."""

    def __init__(self, wheel: Wheel, one: Bridge, notifier: Notifier, count: int) -> None:
        self.wheel, self.one, self.notifier, self.count = wheel, one, notifier, count
        self.publishing = Publishing(wheel, one)
        self.watched = 0

    def subscribe(self) -> tuple[int, float]:
        """Subscribe Presence and Start Presence Notification; one SUBSCRIBE, one NOTIFY."""
        everybody = presentities(self.watched + self.count)
        watch_all(self.wheel, self.one, everybody[self.watched :], 60.0, first=self.watched)
        self.wheel.until(lambda: not self.notifier.open)
        self.watched += self.count
        return self.count, 2

    def notify(self) -> tuple[int, float]:
        self.notifier.burst(self.count, 64, self.notifier.news)
        return self.count, 1

    def publish(self) -> tuple[int, float]:
        self.publishing.cost(self.count)
        return self.count, 1


Cost = Callable[[], tuple[int, float]]


def spent(pid: int, cost: Cost) -> tuple[float, float]:
    """CPU seconds for 1,000 operations, and the datagrams of each."""
    before = cpu_seconds(pid)
    count, datagrams = cost()
    return max(cpu_seconds(pid) - before, 0.001) / count * 1000, datagrams


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    count = max(effort.count // 10, WATCHERS)
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        limit = Limit(wheel, *stack.enter_context(bare_loop("echo")))
        agent = stack.enter_context(bridge())
        notifier = Notifier(wheel)
        remote = stack.enter_context(bridge(next_hop=notifier.address, applications=APPLICATIONS))
        server, client = (
            Server(wheel, agent, count),
            Client(wheel, remote, notifier, count),
        )
        rows: dict[str, tuple[int, Cost]] = {
            "server: SUBSCRIBE, its NOTIFY": (agent.pid, server.subscribe),
            "server: SUBSCRIBE again, its NOTIFY": (agent.pid, server.refresh),
            "server: PUBLISH": (agent.pid, server.publish),
            f"server: NOTIFY, 1 of {WATCHERS} for a PUBLISH": (agent.pid, server.notify),
            "client: REST subscribe, start; SUBSCRIBE, NOTIFY": (remote.pid, client.subscribe),
            "client: NOTIFY → statusChanged": (remote.pid, client.notify),
            "client: REST publish, PUBLISH": (remote.pid, client.publish),
        }
        for name, (pid, cost) in rows.items():
            spent(pid, cost)  # warm
            ours, echo = [], []
            for _ in range(effort.runs):
                each = 1000 / limit.rate(4 * count)
                value, datagrams = spent(pid, cost)
                ours.append(value)
                echo.append(each * datagrams)
            yield figure(name, UNIT, ours, {ECHO: echo})
