"""The other fronts: BEMS requests, and Webex-style handles on one contact, from one to ten thousand.

BEMS clients with a session each send one request after another, single ones, and fetch their messages in
between; each request makes a deferred answer that is on disk before it is shown. Limit: bare Starlette on
uvicorn that reads the same JSON and answers 204.

One application watches another with many handles and reads the stream of updates; the other publishes over
REST. What is told is the time from sending the publication until the update of the last handle has been
read, on loopback, with the state on disk; beside it the bridge's own CPU time for one such change, and what
a handle costs in memory.
"""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.measure import (
    Effort,
    Figure,
    cpu_seconds,
    figure,
    median,
    memory_megabytes,
    quantile,
)
from bench.processes import DOMAIN, Bridge, bare_loop, bridge
from bench.wheel import PATIENCE, HttpConnection, Wheel, ask_all

PRESENCES = "/webex/people/presences"
CONTACT = f"sip:app1@{DOMAIN}"
AT_ONCE = 1000
"""Handles asked for in one request."""
STATUSES = ("Busy", "Meeting")
HANDLES = (1, 10, 100, 1000, 10_000)
CLIENTS = 8


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


class Messaging:
    """A bridge and BEMS clients that are signed in. Requests go round among them."""

    def __init__(self, wheel: Wheel, bridge: Bridge) -> None:
        self.wheel, self.bridge = wheel, bridge
        self.connections = [HttpConnection(wheel, bridge.http) for _ in range(CLIENTS)]
        self.number = 0
        self.after = [0] * CLIENTS
        self.took: list[float] = []
        self.seconds = 0.0
        begun = [
            self.request(n, "BeginSession", {"deviceToken": device(n)}) for n in range(CLIENTS)
        ]
        ask_all(wheel, self.connections, begun, 200)

    def request(self, client: int, method: str, params: object) -> bytes:
        self.number += 1
        call = {"jsonrpc": "2.0", "id": f"c{self.number}", "method": method, "params": params}
        return self.signed(client, "POST", "/bems/jsonrpc", call)

    def signed(self, client: int, method: str, path: str, body: object = None) -> bytes:
        whole = self.bridge.request(f"app_{client}", method, path, body)
        mark = f"\r\ndeviceToken: {device(client)}\r\nContent-Type".encode()
        return whole.replace(b"\r\nContent-Type", mark, 1)

    def cost(self, requests: Sequence[bytes]) -> float:
        """CPU milliseconds of the bridge for one request, its message fetched and acknowledged."""
        before, began = cpu_seconds(self.bridge.pid), time.perf_counter()
        self.took = ask_all(self.wheel, self.connections, requests, 200)
        self.seconds = time.perf_counter() - began
        for client in range(CLIENTS):
            left = len(requests) // CLIENTS
            while left > 0:
                left -= self.fetch(client)
        return (cpu_seconds(self.bridge.pid) - before) / len(requests) * 1000

    def fetch(self, client: int) -> int:
        """One poll; how many answers came that were deferred."""
        bodies: list[bytes] = []
        path = f"/bems/notifications?after={self.after[client]}"
        request = self.signed(client, "GET", path)
        self.connections[client].ask(request, lambda status, body: bodies.append(body))
        self.wheel.until(lambda: bool(bodies))
        told = json.loads(bodies[0])
        self.after[client] = told["sequence"]
        return sum("id" in message for message in told["notifications"])

    def requests(self, count: int, method: str, params: Sequence[object]) -> list[bytes]:
        return [self.request(n % CLIENTS, method, params[n % len(params)]) for n in range(count)]


def device(client: int) -> str:
    return f"device-of-client-{client:04d}"


def messaging(effort: Effort) -> Iterator[Figure]:
    """BEMS requests of three kinds: one that asks for nothing, one that changes something, one that looks."""
    count = max(effort.count // 5, 16) // CLIENTS * CLIENTS
    contacts = [{"contactId": f"sip:app{n}@{DOMAIN}"} for n in range(CLIENTS)]
    kinds: tuple[tuple[str, Sequence[object]], ...] = (
        ("Ping", [{}]),
        ("RegisterTempRemotePresence", contacts),
        ("GetContactsState", [{"contactIds": [contact["contactId"]]} for contact in contacts]),
    )
    with ExitStack() as stack:
        wheel = Wheel()
        stack.callback(wheel.close)
        one = stack.enter_context(bridge(applications=CLIENTS))
        path = Messaging(wheel, one)
        pid, address = stack.enter_context(bare_loop("http"))
        bare = [HttpConnection(wheel, address) for _ in range(CLIENTS)]
        for method, params in kinds:
            path.cost(path.requests(min(count, 160), method, params))  # warm
            ours, limit, rates, middle = [], [], [], []
            for _ in range(effort.runs):
                requests = path.requests(count, method, params)
                before = cpu_seconds(pid)
                ask_all(wheel, bare, requests, 204)
                limit.append(count / max(cpu_seconds(pid) - before, 0.001))
                ours.append(1000 / max(path.cost(path.requests(count, method, params)), 0.001))
                rates.append(count / path.seconds)
                middle.append(quantile(path.took, 0.5) * 1000)
            yield figure(
                f"JSON-RPC {method}",
                "requests/CPU-s",
                ours,
                {"bare Starlette": limit},
                note=f"{median(rates):,.0f} requests/s, p50 {median(middle):.2f} ms with {CLIENTS} at a time",
            )


def run(effort: Effort) -> Iterator[Figure]:
    """BEMS requests; latency, CPU time and memory for each number of handles."""
    yield from messaging(effort)
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
