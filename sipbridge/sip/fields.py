"""The small header fields: CSeq, Event, Subscription-State, Content-Type, Expires, Retry-After.

Each is a frozen value that can parse itself from a header's text and print itself; the bare numbers are
functions. Words that the RFCs call case-insensitive (states, reasons, media types) are kept in lower case,
everything else as it stood. Numbers have the bounds their RFC gives: CSeq below 2**31 (RFC 3261 §8.1.1.5),
delta-seconds below 2**32, where more means the maximum (§20.19, RFC 4475 §3.1.2.4 lets us choose),
Max-Forwards 0 to 255 (§20.22).
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import DIGITS, IS_CALL_ID, LWS, TOKEN, parse_integer, split_list
from sipbridge.sip.parameters import NONE, Parameters
from sipbridge.values import quick

MAX_CSEQ = 2**31 - 1
MAX_SECONDS = 2**32 - 1
MAX_MAX_FORWARDS = 255

MAX_REMEMBERED = 4096
"""Texts of CSeq and Subscription-State kept with what they mean: in an hour's subscription 3,600 numbers of
seconds are named, and as many numbers of requests are under way at once."""

METHODS = frozenset({"NOTIFY", "SUBSCRIBE", "PUBLISH", "OPTIONS", "REGISTER", "MESSAGE"})
"""Tokens that need no look."""

CSEQ = re.compile(rf"([0-9]+)[ \t]+({TOKEN})")
WORD = re.compile(rf"({TOKEN}){LWS}(;[\s\S]*)?")
MEDIA = re.compile(rf"({TOKEN}){LWS}/{LWS}({TOKEN}){LWS}(;[\s\S]*)?")
SECONDS = re.compile(rf"([0-9]+){LWS}(?:\([^()]*\))?{LWS}(;[\s\S]*)?")


@quick
@dataclass(frozen=True, slots=True)
class CSeq:
    """CSeq (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> "CSeq":
        """Raises ParseError, field "CSeq"."""
        return parse_cseq(text)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@lru_cache(maxsize=MAX_REMEMBERED)
def parse_cseq(text: str) -> CSeq:
    """The work behind `CSeq.parse`."""
    digits, _, method = text.partition(" ")
    if method in METHODS and len(digits) < 10 and digits.isascii() and digits.isdecimal():
        return CSeq(int(digits), method)
    found = CSEQ.fullmatch(text)
    if not found:
        raise ParseError(f"{text[:80]!r} is not a number and a method", field="CSeq")
    return CSeq(parse_integer(found[1], "CSeq", MAX_CSEQ), found[2])


@quick
@dataclass(frozen=True, slots=True)
class Event:
    """Event (RFC 6665 §8.2.1). `parameters` holds all of them, `id` too."""

    package: str
    id: str | None = None
    parameters: Parameters = NONE

    @classmethod
    def parse(cls, text: str) -> "Event":
        """Raises ParseError, field "Event"."""
        return parse_event(text)

    def __str__(self) -> str:
        parameters = self.parameters
        if self.id is not None and parameters.get("id") != self.id:
            parameters = parameters.with_("id", self.id)
        return f"{self.package}{parameters}"


@lru_cache(maxsize=512)
def parse_event(text: str) -> Event:
    """The work behind `Event.parse`."""
    found = WORD.fullmatch(text)
    if not found:
        raise ParseError(f"{text[:80]!r} is no event package", field="Event")
    parameters = Parameters.parse(found[2] or "", "Event")
    return Event(found[1], parameters.get("id"), parameters)


@quick
@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """Subscription-State (RFC 6665 §8.2.3). `state` and `reason` in lower case, times in seconds."""

    state: str
    expires: int | None = None
    reason: str | None = None
    retry_after: int | None = None
    parameters: Parameters = NONE

    @classmethod
    def parse(cls, text: str) -> "SubscriptionState":
        """Raises ParseError, field "Subscription-State"."""
        return parse_subscription_state(text)

    def __str__(self) -> str:
        parameters = self.parameters
        known = (
            ("reason", self.reason),
            ("expires", None if self.expires is None else str(self.expires)),
            ("retry-after", None if self.retry_after is None else str(self.retry_after)),
        )
        for name, value in known:
            if value is not None and name not in parameters:
                parameters = parameters.with_(name, value)
        return f"{self.state}{parameters}"


@lru_cache(maxsize=MAX_REMEMBERED)
def parse_subscription_state(text: str) -> SubscriptionState:
    """The work behind `SubscriptionState.parse`."""
    found = WORD.fullmatch(text)
    if not found:
        raise ParseError(f"{text[:80]!r} is no state", field="Subscription-State")
    parameters = Parameters.parse(found[2] or "", "Subscription-State")
    reason = parameters.get("reason")
    return SubscriptionState(
        found[1].lower(),
        seconds_or_none(parameters.get("expires")),
        reason.lower() if reason else None,
        seconds_or_none(parameters.get("retry-after")),
        parameters,
    )


@quick
@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with parameters (RFC 3261 §20.15). `essence` is `type/subtype` in lower case."""

    essence: str
    parameters: Parameters = NONE

    @classmethod
    def parse(cls, text: str) -> "MediaType":
        """Raises ParseError, field "Content-Type"."""
        return parse_media_type(text)

    def __str__(self) -> str:
        return f"{self.essence}{self.parameters}"

    @property
    def charset(self) -> str | None:
        """The charset parameter."""
        return self.parameters.get("charset")

    @property
    def is_multipart(self) -> bool:
        """Is it multipart/…?"""
        return self.essence.startswith("multipart/")

    @property
    def quality(self) -> float:
        """The `q` of an Accept entry, 1 where it is absent or unreadable."""
        try:
            return min(1.0, max(0.0, float(self.parameters.get("q") or 1)))
        except ValueError:
            return 1.0

    def covers(self, essence: str) -> bool:
        """Does this range (`*/*`, `multipart/*`, `a/b`) hold the media type?"""
        kind, _, sub = self.essence.partition("/")
        return self.essence == essence or (
            sub == "*" and (kind == "*" or essence.startswith(f"{kind}/"))
        )


@lru_cache(maxsize=512)
def parse_media_type(text: str) -> MediaType:
    """The work behind `MediaType.parse`."""
    found = MEDIA.fullmatch(text)
    if not found:
        raise ParseError(f"{text[:80]!r} is no media type", field="Content-Type")
    essence = f"{found[1]}/{found[2]}".lower()
    return MediaType(essence, Parameters.parse(found[3] or "", "Content-Type"))


@lru_cache(maxsize=256)
def parse_media_ranges(text: str) -> tuple[MediaType, ...]:
    """One Accept line. Raises ParseError, field "Accept"."""
    try:
        return tuple([parse_media_type(part) for part in split_list(text, "Accept") if part])
    except ParseError as error:
        raise ParseError(str(error), field="Accept") from None


def check_call_id(text: str) -> str:
    """The text itself. Raises ParseError, field "Call-ID", for spaces and control characters in it."""
    if not IS_CALL_ID.fullmatch(text):
        raise ParseError(f"{text[:80]!r} is malformed", field="Call-ID")
    return text


@lru_cache(maxsize=256)
def parse_max_forwards(text: str) -> int:
    """Max-Forwards, 0 to 255. Raises ParseError, field "Max-Forwards"."""
    return parse_integer(text, "Max-Forwards", MAX_MAX_FORWARDS)


def parse_seconds(text: str, field: str) -> int:
    """delta-seconds; more than 2**32-1 counts as that. Raises ParseError naming `field`."""
    if not DIGITS.fullmatch(text):
        raise ParseError(f"{text[:40]!r} is no number of seconds", field=field)
    digits = text.lstrip("0")
    return MAX_SECONDS if len(digits) > 10 else min(int(digits or "0"), MAX_SECONDS)


def seconds_or_none(text: str | None) -> int | None:
    """Seconds where the text is a number, None for anything else: of no use, but no reason to refuse."""
    return parse_seconds(text, "") if text and DIGITS.fullmatch(text) else None


def parse_retry_after(text: str) -> float | None:
    """Seconds of Retry-After, comment and parameters left out (§20.33); None if unreadable."""
    found = SECONDS.fullmatch(text)
    return float(parse_seconds(found[1], "Retry-After")) if found else None
