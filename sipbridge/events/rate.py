"""How often a watcher is notified (RFC 6446).

A watcher asks with parameters of the Event header, in notifications a second: `max-rate`, no more than that;
`min-rate`, no fewer, even without news; `adaptive-min-rate`, no fewer on average, where news count too. What
it gets may be less than it asked for; the notifier says so in Subscription-State. What neither side knows is
just another parameter.

`Rate` is what is asked or granted, `Pace` what a notifier keeps of one subscription: when news may go out,
and when the state has to go out without news. Answers to SUBSCRIBE, a change of the subscription's own state
and its end do not wait for anything (§4.3).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sipbridge.sip.parameters import Parameters

MAX, MIN, ADAPTIVE = "max-rate", "min-rate", "adaptive-min-rate"
NAMES = (MAX, MIN, ADAPTIVE)
VALUE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?")

FASTEST_FORCED = 1.0
"""Seconds between NOTIFYs without news, at least: a SUBSCRIBE must not make us send without end."""

LONGEST_SILENCE = 86_400.0
"""Seconds for which news are held back at most, however low a max-rate is asked for."""

FASTEST = 99.0
"""Notifications a second; the grammar of §9.2 has two digits."""

WINDOW = 10
"""Over how many NOTIFYs at the wanted rate the adaptive average goes (§6.4 leaves the period to us)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Notifications a second. None: no such bound."""

    most: float | None = None
    least: float | None = None
    average: float | None = None

    @classmethod
    def of(cls, parameters: Parameters) -> "Rate":
        """What the parameters of Event or Subscription-State say; what makes no sense is passed over."""
        if not parameters.pairs:
            return NO_RATE
        return cls(*(value_of(parameters.get(name)) for name in NAMES))

    @classmethod
    def every(cls, seconds: float) -> "Rate":
        """At most one notification in so many seconds; 0: no bound."""
        return cls(most=1 / seconds) if seconds > 0 else NO_RATE

    def __str__(self) -> str:
        """The parameters, each with its semicolon."""
        values = zip(NAMES, (self.most, self.least, self.average), strict=True)
        return "".join([f";{name}={printed(value)}" for name, value in values if value])

    @property
    def interval(self) -> float:
        """Seconds between two notifications at least; 0: no bound."""
        return 1 / self.most if self.most else 0.0

    def asks_more_than(self, other: "Rate") -> bool:
        """Must somebody who was granted the other be told more often now?"""
        return self.interval < other.interval - 0.001


NO_RATE = Rate()


def value_of(text: str | None) -> float | None:
    """Notifications a second; None for nothing, for 0 and for what is no number."""
    if text is None or not VALUE.fullmatch(text):
        return None
    return float(text) or None


def printed(value: float) -> str:
    """As the grammar wants it: at most two digits, a point, ten digits; never 0."""
    text = f"{min(max(value, 1e-10), FASTEST):.10f}".rstrip("0")
    return text.removesuffix(".")


def granted(asked: Rate, floor: float) -> Rate:
    """What of it a notifier gives that sends new content at most once in `floor` seconds."""
    interval = min(max(asked.interval, floor), LONGEST_SILENCE)
    fastest = 1 / max(interval, FASTEST_FORCED)
    return Rate(
        1 / interval if interval else None,
        min(asked.least, fastest) if asked.least else None,
        min(asked.average, fastest) if asked.average else None,
    )


def plain_event(package: str, parameters: Parameters) -> str:
    """An Event header without what asks for a rate: of a NOTIFY it is no part."""
    for name in NAMES:
        parameters = parameters.without(name)
    return f"{package}{parameters}"


class Pace:
    """When one watcher is notified. Times are seconds of the monotonic clock."""

    __slots__ = ("began", "rate", "sent")

    def __init__(self, rate: Rate, now: float, sent: Sequence[float] = ()) -> None:
        """rate: as granted. sent: when NOTIFYs left before."""
        self.rate = rate
        self.began = now
        self.sent = list(sent)
        """When the last NOTIFYs left, the oldest first. As many as tell that the rate is twice the wanted."""

    def note(self, now: float) -> None:
        """A NOTIFY leaves."""
        self.sent = [*self.sent[1 - 2 * WINDOW :], now]

    @property
    def not_before(self) -> float:
        """When new content may go out."""
        return self.sent[-1] + self.rate.interval if self.sent else 0.0

    def forced_at(self, now: float) -> float | None:
        """When the state has to go out though nothing is new; None: never."""
        waits = []
        if self.rate.least:
            waits.append(1 / self.rate.least)
        if self.rate.average:
            waits.append(self.adaptive(self.rate.average, now))
        if not waits:
            return None
        last = self.sent[-1] if self.sent else now
        return last + max(min(waits), self.rate.interval, FASTEST_FORCED)

    def adaptive(self, average: float, now: float) -> float:
        """Seconds without news after which the state goes out, so that the average is kept (§6.4).

        Many NOTIFYs in the period make it longer, few make it shorter: count / (rate² · period).
        """
        period = min(WINDOW / average, max(now - self.began, 1 / average))
        count = sum(1 for when in self.sent if when > now - period)
        return min(count / (average * average * period), WINDOW / average)
