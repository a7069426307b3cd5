"""What is wrong with a message that could be framed.

The parser splits, this module judges; the core asks it before routing. `first_defect` is the cheap question
on the hot path, `defects` lists everything. A defect has the status a request is answered with; a response
that has one is dropped (RFC 3261 §18.1.2), and so is a request without Via, for nobody can be answered.

`malformed` tells two kinds apart. Malformed: a header that every element reads breaks its grammar, or CSeq
contradicts the request line. Not malformed: the text is fine, but §8.1.1 or RFC 6665 asks for more (a
missing From, two Call-IDs, a SUBSCRIBE without Event) or we cannot serve it (scheme, option tags). What a
header we do not use says is never judged: a wrong Date or Warning is no reason to refuse presence (RFC 4475
§3.1.2.12).

Peers say the same again and again. What was found in order is remembered word for word, and a request that
says nothing else needs no second judgement (`in_order`). Nothing is ever refused from memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sipbridge.errors import ParseError
from sipbridge.sip.address import parse_addresses, parse_name_addr
from sipbridge.sip.fields import (
    check_call_id,
    parse_cseq,
    parse_event,
    parse_max_forwards,
    parse_media_ranges,
    parse_media_type,
    parse_seconds,
    parse_subscription_state,
)
from sipbridge.sip.headers import First, Repeated
from sipbridge.sip.message import Message, Request
from sipbridge.sip.via import check_via
from sipbridge.uri import MAX_URI, Uri

SCHEMES = frozenset({"sip", "sips", "pres"})
"""Request-URIs that mean something here (RFC 3856 §5)."""

OPTIONS = frozenset({"eventlist", "recipient-list-subscribe"})
"""Option tags we may be required to understand: lists, RFC 4662 and 5367."""

MANDATORY = (("from", "From"), ("to", "To"), ("call-id", "Call-ID"), ("cseq", "CSeq"))

SINGLE = (
    ("from", "From"),
    ("to", "To"),
    ("call-id", "Call-ID"),
    ("cseq", "CSeq"),
    ("max-forwards", "Max-Forwards"),
    ("event", "Event"),
    ("expires", "Expires"),
    ("subscription-state", "Subscription-State"),
    ("content-type", "Content-Type"),
    ("sip-if-match", "SIP-If-Match"),
)
"""May stand once (§7.3.1): with two, nobody knows which one counts."""

EVENT_METHODS = frozenset({"SUBSCRIBE", "NOTIFY", "PUBLISH"})
NO_REQUIRE = frozenset({"ACK", "CANCEL"})
"""§8.2.2.3: Require is ignored in these."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One fault.

    `status` is the answer a request gets, None where it is dropped; `headers` belong to the answer.
    """

    status: int | None
    reason: str
    field: str = ""
    malformed: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def first_defect(message: Message, options: frozenset[str] = OPTIONS) -> Defect | None:
    """The most serious fault, None for a message that can be served. `options`: option tags understood."""
    if not isinstance(message, Request):
        return next(found(message, options), None)
    familiar = familiar_part(message)
    if familiar in SOUND and in_order(message):
        return None
    defect = next(found(message, options), None)
    if defect is None and "require" not in message.headers.first():
        remember(familiar)  # what may be required differs from core to core
    return defect


FAMILIAR = (
    "max-forwards",
    "contact",
    "event",
    "content-type",
    "expires",
    "accept",
    "route",
    "require",
)
"""What a peer says word for word in one request after the other."""

SOUND: set[tuple[str | None, ...]] = set()
"""Familiar parts of requests that had no fault."""

MAX_SOUND = 2048
"""Familiar parts remembered: one for each method, contact and kind of peer."""

MAX_FAMILIAR = 1024
"""Characters of a familiar part that is remembered, so that all of them together stay below 3 MB."""

JUDGED = frozenset(FAMILIAR) | {key for key, _ in SINGLE}
"""What may not stand twice in a request that is found in order so quickly."""


def familiar_part(request: Request) -> tuple[str | None, ...]:
    return request.method, request.uri, *map(request.headers.first().get, FAMILIAR)


def remember(familiar: tuple[str | None, ...]) -> None:
    if sum(len(text) for text in familiar if text) > MAX_FAMILIAR:
        return
    if len(SOUND) >= MAX_SOUND:
        SOUND.clear()
    SOUND.add(familiar)


def in_order(request: Request) -> bool:
    """Is the rest of a request with a sound familiar part in order too? False: look closer."""
    first = request.headers.first()
    try:
        check_via(first["via"])
        check_address(first["from"], "From")
        check_address(first["to"], "To")
        check_call_id(first["call-id"])
        for text in request.headers.lines("record-route"):
            check_addresses(text, "Record-Route")
    except (KeyError, ParseError):
        return False
    return still_in_order(request)


def still_in_order(request: Request) -> bool:
    """Is in order what is new in each request: CSeq, Subscription-State, what stands twice?

    False: look closer. The first Via line is not asked.
    """
    headers = request.headers
    first, repeated = headers.first(), headers.repeated
    try:
        if repeated:
            if not JUDGED.isdisjoint(repeated):
                return False
            for text in repeated.get("via", ()):
                check_via(text)
        if request.method == "NOTIFY" or "subscription-state" in first:
            parse_subscription_state(first["subscription-state"])
        return request.cseq.method == request.method
    except (KeyError, ParseError):
        return False


def defects(message: Message, options: frozenset[str] = OPTIONS) -> list[Defect]:
    """All faults, the most serious first."""
    return list(found(message, options))


def found(message: Message, options: frozenset[str]) -> Iterator[Defect]:
    first, repeated = message.headers.first(), message.headers.repeated
    if "via" not in first:
        yield Defect(None, "Via is missing", "Via", malformed=True)
    if isinstance(message, Request):
        yield from broken(REQUEST_CHECKS, first, repeated)
        yield from wrong_request_line(message)
    else:
        yield from broken(RESPONSE_CHECKS, first, repeated)
    for key, name in MANDATORY:
        if key not in first:
            yield Defect(400, f"{name} is missing", name)
    if repeated:
        yield from doubled(repeated)
    if isinstance(message, Request):
        yield from not_servable(message, first, options)


def broken(checks: "Checks", first: First, repeated: Repeated) -> Iterator[Defect]:
    """Headers that do not follow their grammar, in every line they stand in."""
    for key, check in checks:
        if key in first:
            try:
                check(first[key])
                if key in repeated:
                    for text in repeated[key]:
                        check(text)
            except ParseError as error:
                yield Defect(400, str(error), error.field, malformed=True)


@lru_cache(maxsize=2048)
def check_addresses(text: str, field: str) -> None:
    """One line of addresses, each with a URI that parses. Remembered: a dialog repeats them."""
    for address in parse_addresses(text, field):
        if not address.is_star:
            Uri.parse(address.uri_text)


@lru_cache(maxsize=2048)
def check_address(text: str, field: str) -> None:
    """A From or To: one address, its URI parses."""
    Uri.parse(parse_name_addr(text, field).uri_text)


Checks = tuple[tuple[str, Callable[[str], object]], ...]

RESPONSE_CHECKS: Checks = (
    ("via", check_via),
    ("cseq", parse_cseq),
    ("call-id", check_call_id),
    ("from", lambda text: check_address(text, "From")),
    ("to", lambda text: check_address(text, "To")),
    ("contact", lambda text: check_addresses(text, "Contact")),
    ("record-route", lambda text: check_addresses(text, "Record-Route")),
)
REQUEST_CHECKS: Checks = (
    *RESPONSE_CHECKS,
    ("route", lambda text: check_addresses(text, "Route")),
    ("max-forwards", parse_max_forwards),
    ("expires", lambda text: parse_seconds(text, "Expires")),
    ("event", parse_event),
    ("subscription-state", parse_subscription_state),
    ("content-type", parse_media_type),
    ("accept", parse_media_ranges),
)


def wrong_request_line(request: Request) -> Iterator[Defect]:
    """The Request-URI has to parse, and CSeq has to name the same method (§8.1.1.5)."""
    try:
        request.request_uri  # noqa: B018
    except ParseError as error:
        status = 414 if len(request.uri) > MAX_URI else 400
        yield Defect(status, f"Request-URI: {error}", "Request-URI", malformed=True)
    try:
        method = request.cseq.method
    except ParseError:
        return
    if method != request.method:
        yield Defect(400, f"CSeq says {method[:40]}", "CSeq", malformed=True)


def doubled(lines: Repeated) -> Iterator[Defect]:
    for key, name in SINGLE:
        if key in lines:
            yield Defect(400, f"{name} stands more than once", name)


def not_servable(request: Request, first: First, options: frozenset[str]) -> Iterator[Defect]:
    """Sound text that nobody here can serve (§8.2.2)."""
    try:
        uri = request.request_uri
        if uri.scheme not in SCHEMES:
            yield Defect(416, f"scheme {uri.scheme[:40]} is not served", "Request-URI")
        if uri.headers:
            yield Defect(400, "headers in the Request-URI (§19.1.1)", "Request-URI")
    except ParseError:
        pass
    if "require" in first and request.method not in NO_REQUIRE:
        unknown = [tag for tag in request.require if tag.lower() not in options]
        if unknown:
            headers = (("Unsupported", ", ".join(unknown)),)
            yield Defect(420, f"requires {', '.join(unknown)[:80]}", "Require", headers=headers)
    if request.method in EVENT_METHODS:
        yield from unusable_event(request, first)


def unusable_event(request: Request, first: First) -> Iterator[Defect]:
    """What RFC 6665 and 3903 ask of their methods."""
    if "event" not in first:
        yield Defect(489, "Event is missing", "Event")
    if request.method == "NOTIFY" and "subscription-state" not in first:
        yield Defect(400, "Subscription-State is missing", "Subscription-State")
    if request.method == "SUBSCRIBE" and "contact" not in first:
        yield Defect(400, "Contact is missing: there is no way to notify", "Contact")
