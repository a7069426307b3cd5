"""NOTIFY in → 200 out and `statusChanged` in the Bayeux queue, over a real UDP socket.

`sipbridge serve` in remote mode watches at a bare notifier, with its notification log in SQLite. Limits,
measured before every run: a bare loop of receive, lxml parse, send; a bare uvloop UDP echo of the same bytes.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from bench import documents
from bench.measure import Effort, Figure, Stalled, cpu_seconds, figure
from bench.notifier import Dialog, Notifier
from bench.processes import bare_loop, bridge
from bench.watching import Session, presentities, watch_all
from bench.wheel import Wheel, datagram_socket

SUBSCRIPTIONS = 200
WINDOW = 64
FETCH_EVERY = 400
"""NOTIFYs between two looks into the Bayeux queue, which holds 1,000."""
ECHO = "uvloop echo"
LXML = "receive, lxml, send"


class Limit:
    """A bare loop, and a sender that keeps it busy."""

    def __init__(self, wheel: Wheel, pid: int, address: tuple[str, int]) -> None:
        self.wheel, self.pid, self.address = wheel, pid, address
        self.sock = datagram_socket()
        self.open = 0
        wheel.add(self.sock, self.readable)

    def readable(self) -> None:
        for _ in range(WINDOW):
            try:
                self.sock.recv(65535)
            except BlockingIOError:
                return
            self.open -= 1

    def rate(self, count: int) -> float:
        """Datagrams per CPU second of the loop."""
        datagrams = [documents.notify(n) for n in range(256)]
        before = cpu_seconds(self.pid)
        for n in range(count):
            self.sock.sendto(datagrams[n % 256], self.address)
            self.open += 1
            if self.open >= WINDOW:
                self.wheel.until(lambda: self.open <= WINDOW // 2)
        self.wheel.until(lambda: self.open == 0)
        return count / max(cpu_seconds(self.pid) - before, 0.001)


class Path:
    """A bridge, its notifier and the application that watches through it."""

    def __init__(self, wheel: Wheel, stack: ExitStack, store: str, subscriptions: int) -> None:
        self.notifier = Notifier(wheel)
        self.bridge = stack.enter_context(bridge(next_hop=self.notifier.address, store=store))
        self.session = Session(wheel, self.bridge)
        watch_all(wheel, self.bridge, presentities(subscriptions), 30.0)
        wheel.until(lambda: not self.notifier.open)
        self.session.drain(subscriptions)

    def rate(self, count: int, fresh: bool) -> float:
        """NOTIFYs per CPU second of the bridge; each fresh one must have become a statusChanged."""
        notifier, changed = self.notifier, 0
        unchanged = {d.call_id: documents.rich(d.entity, d.number) for d in notifier.by_number}

        def again(dialog: Dialog) -> None:
            notifier.notify(dialog, unchanged[dialog.call_id])

        before = cpu_seconds(self.bridge.pid)
        for start in range(0, count, FETCH_EVERY):
            some = min(FETCH_EVERY, count - start)
            notifier.burst(some, WINDOW, notifier.news if fresh else again)
            if fresh:
                changed += self.session.drain(some)
        spent = cpu_seconds(self.bridge.pid) - before
        if fresh and changed != count:
            raise Stalled(f"{count} NOTIFYs made {changed} statusChanged")
        return count / max(spent, 0.001)


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        path = Path(wheel, stack, "sqlite:///state.db", SUBSCRIPTIONS)
        limits = {
            name: Limit(wheel, *stack.enter_context(bare_loop(kind)))
            for name, kind in ((LXML, "lxml"), (ECHO, "echo"))
        }
        path.rate(min(effort.count, 2000), fresh=True)  # warm
        for fresh in (True, False):
            measured: dict[str, list[float]] = {LXML: [], ECHO: []}
            ours: list[float] = []
            for _ in range(effort.runs):
                for name, limit in limits.items():
                    measured[name].append(limit.rate(4 * effort.count))
                ours.append(path.rate(effort.count, fresh))
            yield figure(
                "NOTIFY → statusChanged" + ("" if fresh else ", unchanged body: 200 only"),
                "NOTIFY/CPU-s",
                ours,
                measured,
                target="≥ 8,000 or ≥ 0.045 of the echo" if fresh else "≥ 0.17 of the echo",
                met=(lambda v, r: v >= 8000 or r[ECHO] >= 0.045)
                if fresh
                else (lambda v, r: r[ECHO] >= 0.17),
            )
