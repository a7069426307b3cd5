"""The other fronts: Webex-style handles on one contact, from one to ten thousand.

One application watches another with many handles and reads the stream of updates; the other publishes over
REST. What is told is the time from sending the publication until the update of the last handle has been
read, on loopback, with the state on disk; beside it the bridge's own CPU time for one such change, and what
a handle costs in memory.
"""

import socket
import time
from collections.abc import Iterator

from bench.measure import Effort, Figure, cpu_seconds, figure, median, memory_megabytes
from bench.processes import DOMAIN, Bridge, bridge
from bench.wheel import PATIENCE, HttpConnection, Wheel, ask_all

PRESENCES = "/webex/people/presences"
CONTACT = f"sip:app1@{DOMAIN}"
AT_ONCE = 1000
"""Handles asked for in one request."""
STATUSES = ("Busy", "Meeting")
HANDLES = (1, 10, 100, 1000, 10_000)


class Stream:
    """Server-sent events of presences; counts how often a status was told."""

    def __init__(self, wheel: Wheel, bridge: Bridge) -> None:
        self.sock = socket.create_connection(bridge.http, PATIENCE)
        self.tail = b""
        self.told = dict.fromkeys((*STATUSES, "Active", "Inactive", "Pending", "Unknown"), 0)
        wheel.add(self.sock, self.readable)
        self.sock.sendall(bridge.request("app_0", "GET", f"{PRESENCES}/events"))

    def readable(self) -> None:
        text = self.tail + self.sock.recv(1 << 20)
        # An update may lie across two reads, and chunks begin anywhere: only whole lines are looked at.
        whole, _, self.tail = text.rpartition(b"\n")
        for status in self.told:
            self.told[status] += whole.count(b'"status":"%b"' % status.encode())


def run(effort: Effort) -> Iterator[Figure]:
    """Latency, CPU time and memory for each number of handles."""
    alone: list[float] = []
    for handles in HANDLES if effort.count >= HANDLES[-1] else (1, effort.count):
        took, spent, kilobytes = changes(handles, 3 * effort.runs)
        alone = alone or took
        yield figure(
            f"Webex: a change to the last of {handles:,} handles",
            "ms",
            took,
            {"one handle": alone},
            note=f"{1000 * median(spent):.1f} ms of CPU, {kilobytes:.2f} kB a handle",
        )


def changes(handles: int, runs: int) -> tuple[list[float], list[float], float]:
    """Milliseconds to the last handle and CPU seconds of each change; kilobytes of a handle."""
    wheel = Wheel()
    with bridge(applications=2) as there:
        connection = HttpConnection(wheel, there.http)
        publish(wheel, connection, there, STATUSES[-1])
        _, before = memory_megabytes(there.pid)
        for first in range(0, handles, AT_ONCE):
            contacts = [CONTACT] * min(AT_ONCE, handles - first)
            asked = there.request("app_0", "POST", f"{PRESENCES}/watch", {"contactIds": contacts})
            ask_all(wheel, [connection], [asked], 200)
        _, after = memory_megabytes(there.pid)
        stream = Stream(wheel, there)
        wheel.until(lambda: stream.told[STATUSES[-1]] >= handles)
        took, spent = [], []
        for n in range(runs):
            status = STATUSES[n % 2]
            wanted = stream.told[status] + handles
            cpu, began = cpu_seconds(there.pid), time.perf_counter()
            publish(wheel, connection, there, status)
            wheel.until(lambda: stream.told[status] >= wanted)  # noqa: B023 - read at once
            took.append(1000 * (time.perf_counter() - began))
            spent.append(cpu_seconds(there.pid) - cpu)
        connection.close()
        wheel.close()
    return took, spent, 1024 * (after - before) / handles


def publish(wheel: Wheel, connection: HttpConnection, there: Bridge, activity: str) -> None:
    body = {"presence": [{"typeAndValue": {"unionElement": "Activity", "activity": activity}}]}
    asked = there.request("app_1", "PUT", "/rest/presence/presence", body)
    ask_all(wheel, [connection], [asked], 204)
