"""The client half of Bayeux 1.0, without sockets, clocks or JSON.

A client has one session at a time and the channels it wants; it keeps the first alive and the second
subscribed whatever happens to the connection. Messages are dictionaries. What is to be sent comes out of
`sends()` as *exchanges*: some messages that belong in one HTTP request, or one frame. What comes back goes
into `receive()` (or `failed()`, when nothing will come back) under the exchange's number; a WebSocket,
where replies come as they like, says `receive_frame()`, and `link_lost()` at its end. Time comes in as
`now`, monotonic seconds; `next_timeout()` says when `handle_timeout()` wants to be called.

    UNCONNECTED --start--> HANDSHAKING --good--> CONNECTING --first connect--> CONNECTED
                                ^                     ^
                                +-- without session --+-- with session -- WAITING <--failed-- any of the three
    anywhere --disconnect, or advice "none"--> CLOSED

Subscriptions travel with the first connect in one request, because a connect that has company is never held,
and one `/meta/subscribe` each, because one refused channel would refuse the others. A subscription that is
made while a connect is held goes out on its own.

With the `ack` extension, which is asked for, each connect says which batch came last; a reply that was
lost is sent again by the server, so events come exactly once as long as the session lives. What was told
to a session that is gone is the server's to tell again, or not: a client learns by
`SessionStarted(again=True)` that something may be missing.

After a failure the next attempt is made at once, then after 1, 2, 4 … 10 seconds, half of it by chance,
and never before the server's `interval`. Only the second good connect of a session shows that all is well
again, so a server that forgets its sessions at once is not asked in a circle without pause.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sipbridge.bayeux import words
from sipbridge.errors import LocalProtocolError

Fields = Mapping[str, object]
"""One message: a JSON object with a string `channel`."""

ANSWER_SECONDS = 10.0
"""Until an answer is taken for lost; a held connect has the server's hold time besides."""
HOLD = 30.0
"""Seconds a connect is held where no advice says so."""
MAX_DELAY = 10.0
"""Seconds between two attempts at most: a session usually lives for 30 without a connect."""
MAX_DOUBLINGS = 16
SESSION_UNKNOWN = "402:"


class State(Enum):
    """Where a client is."""

    UNCONNECTED = "unconnected"
    HANDSHAKING = "handshaking"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages that go out together. number: under which the answer comes back; holds: it may take long."""

    number: int
    messages: tuple[dict[str, object], ...]
    holds: bool = False


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A handshake succeeded. again: after a session that was lost, with whatever it had not delivered."""

    again: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """The session has its first connect reply: what is published from now on arrives."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The server delivers what is published there."""

    channel: str


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The server does not; the channel is not asked for again. error: `code:args:message`."""

    channel: str
    error: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event."""

    channel: str
    data: object


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The connection failed, or the server had enough. retry_in: seconds until the next attempt."""

    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The server does not want to see us again; nothing more will come. error: what it said."""

    error: str


Indication = (
    SessionStarted | Connected | Subscribed | SubscriptionRefused | Delivered | Interrupted | Failed
)


@dataclass(slots=True)
class Sent:
    """An exchange that has not got all its replies. missing: ids of the messages without one."""

    deadline: float
    missing: set[object] = field(default_factory=set)


class BayeuxClient:
    """One client.

    connection_type: how it will connect, "long-polling" or "websocket". jitter: a random number from 0 to 1,
    each time another. ext: of the handshake, for credentials that no header can carry.
    """

    def __init__(
        self,
        jitter: Callable[[], float],
        *,
        connection_type: str = words.LONG_POLLING,
        ext: Fields | None = None,
    ) -> None:
        self.jitter = jitter
        self.connection_type = connection_type
        self.ext = dict(ext or {})
        self.state = State.UNCONNECTED
        self.client_id = ""
        self.wanted: dict[str, None] = {}
        self.asked: set[str] = set()
        """Of the wanted channels those that this session was asked for."""
        self.acknowledging = False
        self.batch: object = 0
        """The last batch that arrived."""
        self.hold = HOLD
        self.sessions = 0
        self.forgotten = 0
        """Sessions in a row that the server did not know soon after it had made them."""
        self.failures = 0
        self.wake_at: float | None = None
        self.numbers = 0
        self.sent: dict[int, Sent] = {}
        self.outgoing: deque[Exchange] = deque()
        self.said: deque[Indication] = deque()

    # --- what the program wants -----------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Shake hands. Raises LocalProtocolError when it was started before."""
        if self.state is not State.UNCONNECTED:
            raise LocalProtocolError(f"started while {self.state.value}")
        self.shake_hands(now)

    def subscribe(self, channel: str, now: float) -> None:
        """Want a channel or pattern, now and in every later session."""
        self.wanted[channel] = None
        if self.state is State.CONNECTED:
            self.send(self.missing_subscriptions(), now)

    def unsubscribe(self, channel: str, now: float) -> None:
        """Want it no more."""
        self.wanted.pop(channel, None)
        if channel in self.asked:
            self.asked.discard(channel)
            self.send([self.message(words.UNSUBSCRIBE, subscription=channel)], now)

    def disconnect(self, now: float) -> None:
        """Say goodbye; no answer is waited for."""
        if self.state is State.CLOSED:
            return
        self.outgoing.clear()
        if self.client_id:
            self.send([self.message(words.DISCONNECT)], now)
        self.close()

    # --- what happens ---------------------------------------------------------------------------------

    def receive(self, number: int, messages: Sequence[Fields], now: float) -> None:
        """The whole answer to an exchange. One that comes after its exchange was given up is passed over."""
        if number not in self.sent:
            return
        self.hear(messages, now)
        self.failed(number, "a reply is missing", now)

    def receive_frame(self, messages: Sequence[Fields], now: float) -> None:
        """Messages of a WebSocket: events, and replies to whatever was sent."""
        if self.state not in (State.WAITING, State.CLOSED):
            self.hear(messages, now)

    def failed(self, number: int, reason: str, now: float) -> None:
        """An exchange gets no more replies: refused, reset, timed out, not Bayeux."""
        if number in self.sent:
            self.interrupt(reason, now)

    def link_lost(self, reason: str, now: float) -> None:
        """The WebSocket is gone, and with it every reply."""
        if self.sent:
            self.interrupt(reason, now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do."""
        deadlines = [sent.deadline for sent in self.sent.values()]
        if self.wake_at is not None:
            deadlines.append(self.wake_at)
        return min(deadlines, default=None)

    def handle_timeout(self, now: float) -> None:
        """A reply is overdue, or a pause is over."""
        if any(sent.deadline <= now for sent in self.sent.values()):
            self.interrupt("no answer in time", now)
        if self.wake_at is not None and self.wake_at <= now:
            self.wake_at = None
            if not self.client_id:
                self.shake_hands(now)
            else:
                if self.state is State.WAITING:
                    self.state = State.CONNECTING
                self.connect(now)

    # --- what comes out -------------------------------------------------------------------------------

    def sends(self) -> list[Exchange]:
        """What is to be sent now."""
        found = list(self.outgoing)
        self.outgoing.clear()
        return found

    def indications(self) -> list[Indication]:
        """What happened since the last call."""
        found = list(self.said)
        self.said.clear()
        return found

    def patience(self, exchange: Exchange) -> float:
        """Seconds that the replies to an exchange may take."""
        return ANSWER_SECONDS + (self.hold if exchange.holds else 0.0)

    # --- sending --------------------------------------------------------------------------------------

    def message(self, channel: str, **fields: object) -> dict[str, object]:
        self.numbers += 1
        known = {"clientId": self.client_id} if self.client_id else {}
        return {"channel": channel, "id": str(self.numbers), **known, **fields}

    def send(self, messages: Sequence[dict[str, object]], now: float, wait: float = 0.0) -> None:
        if not messages:
            return
        self.numbers += 1
        ids = {message["id"] for message in messages}
        self.sent[self.numbers] = Sent(now + wait + ANSWER_SECONDS, ids)
        self.outgoing.append(Exchange(self.numbers, tuple(messages), holds=wait > 0))

    def shake_hands(self, now: float) -> None:
        self.state, self.client_id, self.batch = State.HANDSHAKING, "", 0
        self.asked.clear()
        hello = self.message(
            words.HANDSHAKE,
            version=words.VERSION,
            minimumVersion=words.VERSION,
            supportedConnectionTypes=[self.connection_type],
            ext={**self.ext, "ack": True},
        )
        self.send([hello], now)

    def missing_subscriptions(self) -> list[dict[str, object]]:
        missing = [channel for channel in self.wanted if channel not in self.asked]
        self.asked.update(missing)
        return [self.message(words.SUBSCRIBE, subscription=channel) for channel in missing]

    def connect(self, now: float) -> None:
        """The next connect. One after a silence shall be answered at once, to show that all is well."""
        fields: dict[str, object] = {"connectionType": self.connection_type}
        if self.acknowledging:
            fields["ext"] = {"ack": self.batch}
        if self.state is State.CONNECTED:
            self.send([self.message(words.CONNECT, **fields)], now, self.hold)
        else:
            first = self.message(words.CONNECT, **fields, advice={"timeout": 0})
            self.send([*self.missing_subscriptions(), first], now)

    # --- receiving ------------------------------------------------------------------------------------

    def hear(self, messages: Sequence[Fields], now: float) -> None:
        """Events first, so that a connect reply acknowledges what was handed on."""
        for message in sorted(messages, key=is_reply):
            if self.state is State.CLOSED:
                return
            channel = message.get("channel")
            if not isinstance(channel, str):
                continue
            if not is_reply(message):
                self.said.append(Delivered(channel, message.get("data")))
            elif self.settle(message):
                self.hear_reply(channel, message, now)

    def settle(self, message: Fields) -> bool:
        """Is this a reply that is waited for?"""
        ident = message.get("id")
        for number, sent in self.sent.items():
            if ident in sent.missing:
                sent.missing.discard(ident)
                if not sent.missing:
                    del self.sent[number]
                return True
        return False

    def hear_reply(self, channel: str, message: Fields, now: float) -> None:
        advice = message.get("advice")
        advised: Fields = advice if isinstance(advice, Mapping) else {}
        good = message.get("successful") is True
        if channel == words.SUBSCRIBE:
            self.hear_subscribe(message, good)
        if good:
            hold = number(advised, "timeout")
            self.hold = self.hold if hold is None else hold / 1000
        if good and channel == words.HANDSHAKE:
            self.hear_handshake(message, now)
        elif good and channel == words.CONNECT:
            self.hear_connect(message, number(advised, "interval") or 0.0, now)
        elif not good:
            self.hear_refusal(channel, error_of(message), advised, now)

    def hear_handshake(self, message: Fields, now: float) -> None:
        self.client_id = str(message.get("clientId") or "")
        if not self.client_id:
            self.interrupt("a handshake without a clientId", now)
            return
        ext = message.get("ext")
        self.acknowledging = isinstance(ext, Mapping) and ext.get("ack") is True
        self.sessions += 1
        self.said.append(SessionStarted(again=self.sessions > 1))
        self.state = State.CONNECTING
        self.connect(now)

    def hear_connect(self, message: Fields, interval: float, now: float) -> None:
        ext = message.get("ext")
        if isinstance(ext, Mapping) and "ack" in ext:
            self.batch = ext["ack"]
        if self.state is State.CONNECTED:
            self.failures = self.forgotten = 0
        else:
            self.state = State.CONNECTED
            self.said.append(Connected())
            self.send(self.missing_subscriptions(), now)
        if interval > 0:
            self.wake_at = now + interval / 1000
        else:
            self.connect(now)

    def hear_subscribe(self, message: Fields, good: bool) -> None:
        channel, error = message.get("subscription"), error_of(message)
        if not isinstance(channel, str):
            return
        if good:
            self.said.append(Subscribed(channel))
        elif not error.startswith(SESSION_UNKNOWN):
            self.wanted.pop(channel, None)
            self.asked.discard(channel)
            self.said.append(SubscriptionRefused(channel, error))

    def hear_refusal(self, channel: str, error: str, advised: Fields, now: float) -> None:
        """Of a handshake or connect, or because the session is gone; other refusals change nothing more."""
        reconnect = advised.get("reconnect")
        if channel in (words.HANDSHAKE, words.CONNECT) and reconnect == "none":
            self.said.append(Failed(error))
            self.close()
            return
        unknown = error.startswith(SESSION_UNKNOWN)
        if unknown or reconnect == "handshake" or channel == words.HANDSHAKE:
            self.client_id = ""
        if unknown:
            # The server is there: how long it was not does not count, only how often it forgets.
            self.failures, self.forgotten = self.forgotten, self.forgotten + 1
        if unknown or channel in (words.HANDSHAKE, words.CONNECT):
            self.interrupt(error, now, (number(advised, "interval") or 0.0) / 1000)

    # --- when it fails --------------------------------------------------------------------------------

    def interrupt(self, reason: str, now: float, least: float = 0.0) -> None:
        """Give up everything that is under way and try again later. A session is kept if there is one."""
        self.sent.clear()
        self.outgoing.clear()
        # Whether the server has heard of them is not known; it takes them a second time.
        self.asked.clear()
        self.state = State.WAITING
        delay = 0.0
        if self.failures:
            delay = min(2.0 ** (self.failures - 1), MAX_DELAY) * (0.5 + self.jitter() / 2)
        self.failures = min(self.failures + 1, MAX_DOUBLINGS)
        delay = max(delay, least)
        self.wake_at = now + delay
        self.said.append(Interrupted(reason, delay))

    def close(self) -> None:
        self.state = State.CLOSED
        self.sent.clear()
        self.wake_at = None


def is_reply(message: Fields) -> bool:
    """Replies say whether they are successful; events never do."""
    return "successful" in message


def error_of(message: Fields) -> str:
    return str(message.get("error", ""))


def number(holder: Fields, name: str) -> float | None:
    """A member that is a number from 0 up, else None."""
    value = holder.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None
