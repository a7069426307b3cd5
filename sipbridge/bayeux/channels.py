"""Channel names: what is one, and whose it is.

A channel is `/` and segments joined by single `/`, a segment one or more of `A-Z a-z 0-9 - _ ! ~ ( ) $ @`
(Bayeux 1.0 §2.1). A pattern is a channel whose last segment is `*` (exactly one segment) or `**` (one or
more). Names are compared byte by byte: nothing is normalised, nothing percent-decoded.

The grammar is stricter than that of some servers, which let `.`, space or `+` through, because client
libraries die on such names. So neither SIP URIs nor dotted names are channels, and the id of an application
must itself be one segment: everything at or below `/bayeux/<id>` belongs to that application, and to nobody
else. `/bayeux/app1` does not own `/bayeux/app1x`.
"""

import re
from functools import lru_cache

from sipbridge.errors import InvalidValue

PREFIX = "/bayeux/"
"""Below it every application has its own tree of channels."""

MAX_CHANNEL = 256
"""Bytes in a name; error strings repeat it, and 16 ordinary words fit."""

MAX_SEGMENTS = 16
"""Publishing looks at one pattern for each ancestor; real channels have two to five segments."""

WORD = r"[A-Za-z0-9\-_!~()$@]+"
SEGMENT = re.compile(WORD)
CHANNEL = re.compile(rf"(?:/{WORD}){{1,{MAX_SEGMENTS}}}")
PATTERN = re.compile(rf"(?:/{WORD}){{0,{MAX_SEGMENTS - 1}}}/\*{{1,2}}")


def is_segment(text: str) -> bool:
    """Can this be one segment, and so the id of an application?"""
    return len(text) <= MAX_CHANNEL and SEGMENT.fullmatch(text) is not None


def is_channel(text: str) -> bool:
    """Is this the name of one channel, without wildcard?"""
    return len(text) <= MAX_CHANNEL and names_channel(text)


@lru_cache(maxsize=8192)
def names_channel(text: str) -> bool:
    """Remembered, as each event asks; so only for texts that are short."""
    return CHANNEL.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Is this a channel name that ends in `/*` or `/**`?"""
    return len(text) <= MAX_CHANNEL and PATTERN.fullmatch(text) is not None


def owns(application: str, channel: str) -> bool:
    """Is the channel, or everything a pattern can match, at or below `/bayeux/<application>`?"""
    if not is_segment(application):
        return False
    root = PREFIX + application
    return channel == root or channel.startswith(root + "/")


def check(channel: str) -> None:
    """Raises InvalidValue (part "endpoint") unless this is the name of one channel."""
    if not is_channel(channel):
        raise InvalidValue(f"{channel[:80]!r} is not a channel name", part="endpoint")


def check_endpoint(application: str, channel: str) -> None:
    """Raises InvalidValue (part "endpoint") unless the application may be notified on this channel."""
    check(channel)
    if not owns(application, channel):
        raise InvalidValue(
            f"channel {channel} is not below {PREFIX}{application}",
            part="endpoint",
        )


@lru_cache(maxsize=8192)
def matching(channel: str) -> tuple[str, ...]:
    """The channel and every pattern that matches it: for `/a/b` these are `/a/b`, `/a/*`, `/a/**`, `/**`."""
    segments = channel.split("/")[1:]
    ancestors = ["/" + "".join(f"{s}/" for s in segments[:depth]) for depth in range(len(segments))]
    return (channel, ancestors[-1] + "*", *(f"{a}**" for a in reversed(ancestors)))


def matches(name: str, channel: str) -> bool:
    """Does this channel name or pattern match the channel?"""
    return name in matching(channel)
