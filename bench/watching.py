"""An application that watches through the bridge: REST calls to begin with, then a Bayeux session."""

import json
import time
from collections.abc import Sequence

from bench.measure import Stalled
from bench.processes import DOMAIN, Bridge
from bench.wheel import PATIENCE, HttpConnection, Wheel, ask_all

CHANNEL = "/bayeux/app_0/bench"
CONNECTIONS = 16


def presentities(count: int) -> list[str]:
    """Addresses to watch."""
    return [f"sip:user{n}@{DOMAIN}" for n in range(count)]


def watch_all(
    wheel: Wheel, bridge: Bridge, watched: Sequence[str], patience: float, first: int = 0
) -> None:
    """Subscribe Presence and Start Presence Notification for each of them."""
    connections = [HttpConnection(wheel, bridge.http) for _ in range(CONNECTIONS)]
    calls = ("POST", "/rest/presence/subscription"), ("PUT", "/rest/presence/notification")
    bodies: tuple[list[object], list[object]] = ([], [])
    for n, presentity in enumerate(watched, first):
        reference = {"endpoint": CHANNEL, "interfaceName": "PresenceNotification"}
        one = {"application": "bench", "presentity": presentity}
        two = {"presentity": presentity, "frequency": {"metric": "Second", "units": 0}}
        bodies[0].append({**one, "reference": {**reference, "correlator": f"s{n}"}})
        bodies[1].append(
            {**two, "checkImmediate": True, "reference": {**reference, "correlator": f"n{n}"}}
        )
    for (method, path), some, status in zip(calls, bodies, (204, 201), strict=True):
        requests = [bridge.request("app_0", method, path, body) for body in some]
        ask_all(wheel, connections, requests, status, patience)
    for connection in connections:
        connection.close()


class Session:
    """A Bayeux session by long-polling; counts `statusChanged`."""

    def __init__(self, wheel: Wheel, bridge: Bridge) -> None:
        self.wheel = wheel
        self.bridge = bridge
        self.connection = HttpConnection(wheel, bridge.http)
        self.client_id = ""
        self.changed = 0
        self.holding = False
        hello = self.message(
            "/meta/handshake", version="1.0", supportedConnectionTypes=["long-polling"]
        )
        self.client_id = hello["clientId"]
        self.fetch()
        self.message("/meta/subscribe", subscription=CHANNEL)

    def message(self, channel: str, **fields: object) -> dict[str, str]:
        """One message; its answer. Events on the way are counted."""
        answers: list[dict[str, str]] = []
        self.send(channel, fields, answers)
        self.wheel.until(lambda: bool(answers))
        return answers[0]

    def send(self, channel: str, fields: dict[str, object], answers: list[dict[str, str]]) -> None:
        message = {"channel": channel, "clientId": self.client_id, **fields}

        def done(status: int, body: bytes) -> None:
            found = self.take(status, body)
            answers.append(found)
            if not found.get("successful"):
                raise Stalled(f"{channel}: HTTP {status} {body[:300]!r}")

        path = "/rest/presence/notifications"
        self.connection.ask(self.bridge.request("app_0", "POST", path, [message]), done)

    def take(self, status: int, body: bytes) -> dict[str, str]:
        answer: dict[str, str] = {}
        for one in json.loads(body) if status == 200 else []:
            if "data" not in one:
                answer = one
            elif "statusChanged" in one["data"]:
                self.changed += 1
        return answer

    def fetch(self) -> None:
        """Take what is queued, without waiting."""
        self.message("/meta/connect", connectionType="long-polling", advice={"timeout": 0})

    def drain(self, expected: int) -> int:
        """Take what is queued until so many `statusChanged` came, or no more come; how many there were.

        A notification is told of when it is on disk, a moment after the NOTIFY was answered.
        """
        end = time.monotonic() + PATIENCE
        self.fetch()
        while self.changed < expected and time.monotonic() < end:
            self.fetch()
        changed, self.changed = self.changed, 0
        return changed

    def listen(self) -> None:
        """From now on one connect is always held, as applications do it."""

        def done(status: int, body: bytes) -> None:
            if not self.take(status, body).get("successful"):
                raise Stalled(f"/meta/connect: HTTP {status} {body[:300]!r}")
            if self.holding:
                self.listen()

        self.holding = True
        message = {
            "channel": "/meta/connect",
            "clientId": self.client_id,
            "connectionType": "long-polling",
        }
        path = "/rest/presence/notifications"
        self.connection.ask(self.bridge.request("app_0", "POST", path, [message]), done)
