"""What the deliverer reports: values for whoever counts and writes logs.

origin: scheme, host and port of the endpoint; the rest of a URL is often a secret and stays out of logs. id:
the `webhook-id` of the request.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver said 2xx."""

    application: str
    origin: str
    id: str
    attempts: int
    seconds: float
    """From the first attempt."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """An attempt failed; the next one is `delay` seconds away."""

    application: str
    origin: str
    id: str
    attempts: int
    reason: str
    delay: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """Notifications were given up. reason: "age", "attempts", "queue", "log", "forbidden", "revoked".

    After all of these but the last two the receiver is told `reset` and the current state as soon as it
    answers again.
    """

    application: str
    origin: str
    count: int
    reason: str
