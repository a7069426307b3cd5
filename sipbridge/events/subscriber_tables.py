"""The subscriber's tables: what a subscription of ours can be, what can happen to it, what follows an end.

The machine that walks them, and what the states mean, is in `subscriber`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

AUTHORISATION_PAUSE = 60.0
"""Seconds before a new try after `giveup` without retry-after: somebody must decide, nobody hurries."""

PROBATION_PAUSE = 30.0
"""Seconds after `probation` without retry-after."""

AT_ONCE = 1.0
"""Seconds within which what may be repeated at once is repeated: spread, as a restarted server had many."""


class State(StrEnum):
    """Where a subscription stands."""

    NOTIFY_WAIT = "notify-wait"
    PENDING = "pending"
    ACTIVE = "active"
    ENDING = "ending"
    WAITING = "waiting"
    TERMINATED = "terminated"


class Input(StrEnum):
    """What can happen to a subscription."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    GONE = "gone"
    NOTIFY_ACTIVE = "notify-active"
    NOTIFY_PENDING = "notify-pending"
    NOTIFY_TERMINATED = "notify-terminated"
    TIMER_N = "timer-n"
    EXPIRED = "expired"
    DUE = "due"
    END = "end"
    RETRY = "retry"


NEXT: Mapping[tuple[State, Input], State] = {
    (State.NOTIFY_WAIT, Input.ACCEPTED): State.NOTIFY_WAIT,
    (State.NOTIFY_WAIT, Input.REFUSED): State.TERMINATED,
    (State.NOTIFY_WAIT, Input.UNANSWERED): State.TERMINATED,
    (State.NOTIFY_WAIT, Input.NOTIFY_ACTIVE): State.ACTIVE,
    (State.NOTIFY_WAIT, Input.NOTIFY_PENDING): State.PENDING,
    (State.NOTIFY_WAIT, Input.NOTIFY_TERMINATED): State.TERMINATED,
    (State.NOTIFY_WAIT, Input.TIMER_N): State.TERMINATED,
    (State.NOTIFY_WAIT, Input.END): State.ENDING,
    (State.PENDING, Input.ACCEPTED): State.PENDING,
    (State.PENDING, Input.REFUSED): State.PENDING,  # §4.1.2.2: valid until its time is up
    (State.PENDING, Input.UNANSWERED): State.PENDING,
    (State.PENDING, Input.GONE): State.TERMINATED,
    (State.PENDING, Input.NOTIFY_ACTIVE): State.ACTIVE,
    (State.PENDING, Input.NOTIFY_PENDING): State.PENDING,
    (State.PENDING, Input.NOTIFY_TERMINATED): State.TERMINATED,
    (State.PENDING, Input.TIMER_N): State.TERMINATED,
    (State.PENDING, Input.EXPIRED): State.TERMINATED,
    (State.PENDING, Input.DUE): State.PENDING,
    (State.PENDING, Input.END): State.ENDING,
    (State.ACTIVE, Input.ACCEPTED): State.ACTIVE,
    (State.ACTIVE, Input.REFUSED): State.ACTIVE,  # §4.1.2.2: valid until its time is up
    (State.ACTIVE, Input.UNANSWERED): State.ACTIVE,
    (State.ACTIVE, Input.GONE): State.TERMINATED,
    (State.ACTIVE, Input.NOTIFY_ACTIVE): State.ACTIVE,
    (State.ACTIVE, Input.NOTIFY_PENDING): State.PENDING,
    (State.ACTIVE, Input.NOTIFY_TERMINATED): State.TERMINATED,
    (State.ACTIVE, Input.TIMER_N): State.TERMINATED,
    (State.ACTIVE, Input.EXPIRED): State.TERMINATED,
    (State.ACTIVE, Input.DUE): State.ACTIVE,
    (State.ACTIVE, Input.END): State.ENDING,
    (State.ENDING, Input.ACCEPTED): State.ENDING,
    (State.ENDING, Input.REFUSED): State.TERMINATED,
    (State.ENDING, Input.UNANSWERED): State.TERMINATED,
    (State.ENDING, Input.GONE): State.TERMINATED,
    (State.ENDING, Input.NOTIFY_ACTIVE): State.ENDING,
    (State.ENDING, Input.NOTIFY_PENDING): State.ENDING,
    (State.ENDING, Input.NOTIFY_TERMINATED): State.TERMINATED,
    (State.ENDING, Input.TIMER_N): State.TERMINATED,
    (State.ENDING, Input.END): State.ENDING,
    (State.WAITING, Input.DUE): State.NOTIFY_WAIT,
    (State.WAITING, Input.END): State.TERMINATED,
    (State.TERMINATED, Input.RETRY): State.WAITING,
}
NOTIFIED = {"pending": Input.NOTIFY_PENDING, "terminated": Input.NOTIFY_TERMINATED}
"""Every other word counts as active: extensions of the state are allowed (§4.1.3, §8.4)."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What follows a reason: `again` at all, after how many seconds (None: growing pauses)."""

    again: bool
    after: float | None = None
    heeds_retry_after: bool = True


BAD_FILTER = "badfilter"

AFTER: Mapping[str, Retry] = {
    "deactivated": Retry(True, AT_ONCE, heeds_retry_after=False),
    "probation": Retry(True, PROBATION_PAUSE),
    "rejected": Retry(False),
    "timeout": Retry(True, AT_ONCE, heeds_retry_after=False),
    "giveup": Retry(True, AUTHORISATION_PAUSE),
    "noresource": Retry(False),
    "invariant": Retry(False),
    BAD_FILTER: Retry(True, AT_ONCE, heeds_retry_after=False),  # RFC 4660 §6.2, and then without
}
"""§4.1.3, by reason."""

UNKNOWN_REASON = Retry(True)
"""No reason or one we do not know: at any time, or after retry-after."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A SUBSCRIBE got its 2xx. expires: seconds granted. is_list: it requires eventlist (RFC 4662 §4.1).

    is_unchanged: no NOTIFY follows, because the last body of this subscription still says how things are.
    """

    subscription: str
    expires: int
    trace: str = ""
    is_list: bool = False
    is_unchanged: bool = False


class Notified(Struct, frozen=True):
    """A NOTIFY. `state` is the word on the wire; `content_type` "" and `body` b"" when it had none.

    is_whole: the body is the whole state, whatever came before, and no partial one (RFC 6665 §4.4.3).
    is_unchanged: there is no body because the last one of this subscription still says how things are.
    """

    subscription: str
    package: str
    state: str
    reason: str
    retry_after: float | None
    expires: int | None
    content_type: str
    body: bytes
    call_id: str
    trace: str
    received: float
    is_whole: bool = False
    is_unchanged: bool = False

    @property
    def topic(self) -> str:
        """What it tells all about; "" for a part, or for an end."""
        return self.subscription if self.is_whole and self.state != "terminated" else ""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The SIP subscription ended. `will_retry`: a new SUBSCRIBE follows by itself under the same id.

    reason: of the NOTIFY; "expired", "no-notify" (timer N) or the phrase of `status` when no NOTIFY said it.
    """

    subscription: str
    reason: str
    retry_after: float | None
    status: int | None
    will_retry: bool
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A SUBSCRIBE was refused; the subscription is forgotten. 408: timeout, 503: perhaps transport.

    tried: the destinations and why each failed, where there was no answer; for people.
    """

    subscription: str
    status: int
    reason: str
    retry_after: float | None
    trace: str = ""
    tried: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A refresh, or a new try, failed for now; it is repeated. `status` None: no answer, see `tried`."""

    subscription: str
    status: int | None
    reason: str
    trace: str = ""
    tried: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Forked:
    """Another notifier answered too (packages that allow it): `subscription` stands beside `original`."""

    subscription: str
    original: str
