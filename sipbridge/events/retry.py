"""When to refresh, and when to try again.

Soft state (a subscription, a publication) is refreshed well before it ends, so that one refresh may be lost
altogether and a second one still come in time; each at a slightly different moment, so that a thousand made
at once do not come back at once. What failed is tried again after growing pauses, unless the peer named one
(Retry-After). `spread` is a number in [0, 1) from `Identifiers.fraction`.

Here stands, too, what the answers of peers mean in the same way to several of our machines.
"""

ENDS_SUBSCRIPTION = frozenset({404, 405, 410, 416, *range(480, 486), 489, 501, 604})
"""Answers in a dialog that end its subscription (RFC 6665 §4.1.2.2, §4.2.2, RFC 5057 §5.1)."""

TEMPORARY = frozenset({408, 423, 429, 480, 486, 491, 500, 502, 503, 504})
"""Refusals that may pass by themselves (RFC 3261 §21); 423 when its Min-Expires led nowhere."""

MAX_TOO_BRIEF = 3
"""423 in a row that we follow; a server that raises its minimum each time is not serious."""

LONGEST_LIFE = 2**32 - 1
"""Seconds; more cannot be asked for (RFC 3261 §20.19)."""

CSEQ_LEAP = 1000
"""Added to the CSeq of what is restored: at most this many of its requests left since the snapshot."""

REFRESH_MARGIN = 40.0
"""Seconds left after a refresh is due: timer F (32 s) of an unanswered one, and a second try."""

REFRESH_SHARE = 0.1
"""Of a long life, this share is left over instead of the margin."""

REFRESH_SPREAD = 0.05
"""Jitter, as a share of the life."""

SHORTEST_LIFE = 1.0
"""Seconds; a peer that grants less is not asked more often than this."""

FIRST_PAUSE = 2.0
"""Seconds before the first repetition of what failed."""

LONGEST_PAUSE = 300.0
"""Seconds; a peer that was away for hours is noticed again within five minutes."""

LONGEST_RETRY_AFTER = 86_400.0
"""Seconds; a Retry-After beyond a day is taken as a day."""


def refresh_after(granted: float, spread: float) -> float:
    """Seconds until the refresh of something that lives for `granted` seconds."""
    life = max(granted, SHORTEST_LIFE)
    lead = min(max(REFRESH_SHARE * life, REFRESH_MARGIN), life / 2)
    return life - lead - REFRESH_SPREAD * spread * life


def longer(asked: int, least: int | None) -> int:
    """Seconds to ask for after a 423: its Min-Expires, or twice as many where that says nothing new."""
    return min(least if least is not None and least > asked else 2 * asked, LONGEST_LIFE)


def pause(failures: int, retry_after: float | None, spread: float) -> float:
    """Seconds until the next try after so many `failures` in a row (1 for the first)."""
    if retry_after is not None:
        named = min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
        return named + min(FIRST_PAUSE, 0.1 * named + 0.5) * spread
    longest = min(FIRST_PAUSE * 2.0 ** (min(max(failures, 1), 16) - 1), LONGEST_PAUSE)
    return longest * (0.5 + 0.5 * spread)
