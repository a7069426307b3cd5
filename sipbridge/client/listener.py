"""Listening on Bayeux channels, blocking, by long-polling; and what both listeners share.

A listener promises state, not history: as long as its session lives every notification comes once and in
order, whatever happens to connections. A session that is gone (the bridge was restarted, or we were away
for longer than it waits) may take some along; then the bridge tells the newest state of each running
notification again as far as it had not been delivered, and the listener says `SessionRestarted`. Programs
that must not miss anything use `notifications()` instead.

`BayeuxClient` decides everything; here its exchanges become HTTP requests, one after the other in the
thread of whoever iterates.
"""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from sipbridge.bayeux.client import (
    BayeuxClient,
    Connected,
    Delivered,
    Exchange,
    Failed,
    Indication,
    Interrupted,
    SessionStarted,
    SubscriptionRefused,
)
from sipbridge.client.errors import BadAnswer, Fault, PresenceError, Unauthenticated, Unreachable
from sipbridge.client.http import Http, unreachable
from sipbridge.client.operations import BAYEUX
from sipbridge.client.values import Notification, OtherNotification, SessionRestarted, notification

Heard = Notification | SessionRestarted
"""What a listener yields."""

MARGIN = 5.0
"""Seconds that a request may take longer than the core waits for it: the core's own limit comes first."""


class Ear:
    """What a client core says, as values to yield and errors to raise."""

    def __init__(self) -> None:
        self.waiting: deque[Heard | PresenceError] = deque()
        self.connected = False
        self.interrupted: Interrupted | None = None
        """Since the last time somebody looked."""

    def hear(self, said: Indication) -> None:
        match said:
            case Delivered(data=data):
                self.waiting.append(heard(data))
            case SessionStarted(again=True):
                self.waiting.append(SessionRestarted())
            case Connected():
                self.connected = True
            case Interrupted():
                self.interrupted = said
            case SubscriptionRefused(error=error) | Failed(error=error):
                self.waiting.append(refusal(error))

    def take(self) -> Heard | None:
        """The next one, None if there is none yet. Raises what went wrong for good."""
        if not self.waiting:
            return None
        found = self.waiting.popleft()
        if isinstance(found, PresenceError):
            raise found
        return found


def heard(data: object) -> Notification:
    return notification(data) if isinstance(data, Mapping) else OtherNotification("", {"": data})


def refusal(error: str) -> Fault:
    """The error that a Bayeux error string (`code:args:message`) stands for."""
    code, _, _ = error.partition(":")
    status = int(code) if code.isascii() and code.isdecimal() else 400
    return (Unauthenticated if status == 401 else Fault)(status, "", error)


def messages_of(body: bytes | str) -> Sequence[Mapping[str, object]]:
    """The messages of an answer or frame. Raises BadAnswer."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadAnswer("not an array of messages")
    return found


def content_of(exchange: Exchange) -> bytes:
    return json.dumps(exchange.messages).encode()


class Listener:
    """Notifications on some channels. An iterator and a context manager; another thread may `close` it."""

    def __init__(self, http: Http, channels: Iterable[str]) -> None:
        self.http = http
        self.core = BayeuxClient(random.random)
        self.ear = Ear()
        self.closed = threading.Event()
        for channel in channels:
            self.core.subscribe(channel, time.monotonic())

    def __enter__(self) -> Self:
        """Shake hands and subscribe: what is sent from now on arrives. Raises Fault and Unreachable."""
        self.core.start(time.monotonic())
        while not (self.ear.connected or self.ear.waiting):
            self.turn()
            if self.ear.interrupted is not None:
                self.closed.set()
                raise Unreachable(self.ear.interrupted.reason)
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Heard:
        """Wait for the next one. Raises Fault when the bridge refuses for good."""
        if not self.ear.connected:
            self.__enter__()
        while not self.closed.is_set():
            told = self.ear.take()
            if told is not None:
                return told
            self.turn()
        raise StopIteration

    def turn(self) -> None:
        """Send what is to be sent and wait for the answers, or for the end of a pause."""
        exchanges = self.core.sends()
        for exchange in exchanges:
            self.post(exchange)
        if not exchanges and (when := self.core.next_timeout()) is not None:
            self.closed.wait(max(0.0, when - time.monotonic()))
        self.core.handle_timeout(time.monotonic())
        for said in self.core.indications():
            self.ear.hear(said)

    def post(self, exchange: Exchange) -> None:
        try:
            answer = self.send(exchange, self.core.patience(exchange) + MARGIN)
        except PresenceError as error:
            self.core.failed(exchange.number, str(error), time.monotonic())
        else:
            self.core.receive(exchange.number, answer, time.monotonic())

    def send(self, exchange: Exchange, seconds: float) -> Sequence[Mapping[str, object]]:
        """Raises Unreachable, BadAnswer."""
        try:
            response = self.http.client.post(
                self.http.site.base + BAYEUX,
                headers={**self.http.site.headers, "Content-Type": "application/json"},
                content=content_of(exchange),
                timeout=seconds,
            )
        except self.http.library.HTTPError as error:
            raise unreachable(error) from error
        if response.status_code != 200:
            raise BadAnswer(f"HTTP {response.status_code}")
        return messages_of(response.content)

    def close(self) -> None:
        """Say goodbye, if nobody waits for an answer, and end the iteration."""
        if self.closed.is_set():
            return
        self.closed.set()
        self.core.disconnect(time.monotonic())
        for exchange in self.core.sends():
            try:
                self.send(exchange, MARGIN)
            except PresenceError:
                return  # the bridge forgets us by itself
