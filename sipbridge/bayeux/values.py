"""What a Bayeux server is given and what it tells: limits, indications, counters."""

from collections import Counter
from dataclasses import dataclass, field

from sipbridge.bayeux import words


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and times (seconds) of a server."""

    timeout: float = 30.0
    """How long a connect is held: below the idle limits of usual proxies."""
    max_interval: float = 30.0
    """How long a session lives without a connect; clients retry after up to 5 s."""
    max_subscriptions: int = 64
    """For one session; an application has one or two channels."""
    max_sessions_per_application: int = 200
    max_sessions: int = 10_000
    max_queue_events: int = 1000
    """For one session, unacknowledged ones included."""
    max_queue_bytes: int = 1 << 20
    socket_grace: float = 10.0
    """How long a WebSocket may be open without a session."""
    max_idle_sockets: int = 200
    """WebSockets without a session from one address."""
    sockets_continue: bool = True
    """May a WebSocket without credentials go on with a session made with a header? Browsers need it."""
    connection_types: tuple[str, ...] = (words.WEBSOCKET, words.LONG_POLLING)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A session subscribed to a channel or pattern it had not."""

    session: str
    application: str
    channel: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is gone. reason: "expired", "disconnected", "overflow", "revoked" or "stopped".

    undelivered: tags of its events that never left, or were never acknowledged.
    """

    session: str
    application: str
    reason: str
    undelivered: tuple[int, ...] = ()


Indication = Subscribed | Ended


@dataclass(slots=True)
class Counters:
    """What happened so far.

    ended: sessions by the reason of `Ended`. refused: by operation ("handshake", "subscribe", "publish",
    "connect"). high_water: most events ever queued for one session.
    """

    handshakes: int = 0
    published: int = 0
    delivered: int = 0
    high_water: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is there now."""

    sessions: dict[str, int]
    """By transport: "websocket", "long-polling"."""
    held: int
    links: int
