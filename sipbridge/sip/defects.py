"""What is wrong with a message that could be framed.

The parser splits, this module judges; the core asks it before routing. `first_defect` is the cheap question
on the hot path, `defects` lists everything. A defect has the status a request is answered with; a response
that has one is dropped (RFC 3261 §18.1.2), and so is a request without Via, for nobody can be answered.

`malformed` tells two kinds apart. Malformed: a header that every element reads breaks its grammar, or CSeq
contradicts the request line. Not malformed: the text is fine, but §8.1.1 or RFC 6665 asks for more (a
missing From, two Call-IDs, a SUBSCRIBE without Event) or we cannot serve it (scheme, option tags). What a
header we do not use says is never judged: a wrong Date or Warning is no reason to refuse presence (RFC 4475
§3.1.2.12).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sipbridge.errors import ParseError
from sipbridge.sip.headers import Index
from sipbridge.sip.message import Message, Request, Response

SCHEMES = frozenset({"sip", "sips", "pres"})
"""Request-URIs that mean something here (RFC 3856 §5)."""

OPTIONS = frozenset({"eventlist"})
"""Option tags we may be required to understand: lists, RFC 4662."""

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
    return next(found(message, options), None)


def defects(message: Message, options: frozenset[str] = OPTIONS) -> list[Defect]:
    """All faults, the most serious first."""
    return list(found(message, options))


def found(message: Message, options: frozenset[str]) -> Iterator[Defect]:
    index = message.headers.index()
    if "via" not in index:
        yield Defect(None, "Via is missing", "Via", malformed=True)
    readers = REQUEST_READERS if isinstance(message, Request) else RESPONSE_READERS
    for key, read in readers:
        if key in index:
            try:
                read(message)
            except ParseError as error:
                yield Defect(400, str(error), error.field, malformed=True)
    if isinstance(message, Request):
        yield from wrong_request_line(message)
    for key, name in MANDATORY:
        if key not in index:
            yield Defect(400, f"{name} is missing", name)
    if len(index) != len(message.headers):
        yield from repeated(index)
    if isinstance(message, Request):
        yield from not_servable(message, index, options)


def addresses_are_sound(message: Message) -> None:
    """Contact, Route and Record-Route lead somewhere: their URIs have to parse (§20.10)."""
    for contact in message.contacts:
        if not contact.is_star:
            contact.uri  # noqa: B018 - parsing is the point
    for hop in (*message.route, *message.record_route):
        hop.uri  # noqa: B018


def from_is_sound(message: Message) -> None:
    message.from_.uri  # noqa: B018


def to_is_sound(message: Message) -> None:
    message.to.uri  # noqa: B018


Reader = tuple[str, Callable[[Message], object]]

RESPONSE_READERS: tuple[Reader, ...] = (
    ("via", lambda m: m.vias),
    ("cseq", lambda m: m.cseq),
    ("call-id", lambda m: m.call_id),
    ("from", from_is_sound),
    ("to", to_is_sound),
    ("contact", addresses_are_sound),
    ("record-route", addresses_are_sound),
)
REQUEST_READERS: tuple[Reader, ...] = (
    *RESPONSE_READERS,
    ("route", addresses_are_sound),
    ("max-forwards", lambda m: m.max_forwards),
    ("expires", lambda m: m.expires),
    ("event", lambda m: m.event),
    ("subscription-state", lambda m: m.subscription_state),
    ("content-type", lambda m: m.content_type),
    ("accept", lambda m: m.accept_ranges),
)


def wrong_request_line(request: Request) -> Iterator[Defect]:
    """The Request-URI has to parse, and CSeq has to name the same method (§8.1.1.5)."""
    try:
        request.request_uri  # noqa: B018
    except ParseError as error:
        yield Defect(400, f"Request-URI: {error}", "Request-URI", malformed=True)
    try:
        method = request.cseq.method
    except ParseError:
        return
    if method != request.method:
        yield Defect(400, f"CSeq says {method[:40]}", "CSeq", malformed=True)


def repeated(index: Index) -> Iterator[Defect]:
    for key, name in SINGLE:
        if len(index.get(key, ())) > 1:
            yield Defect(400, f"{name} stands more than once", name)


def not_servable(request: Request, index: Index, options: frozenset[str]) -> Iterator[Defect]:
    """Sound text that nobody here can serve (§8.2.2)."""
    try:
        uri = request.request_uri
        if uri.scheme not in SCHEMES:
            yield Defect(416, f"scheme {uri.scheme[:40]} is not served", "Request-URI")
        if uri.headers:
            yield Defect(400, "headers in the Request-URI (§19.1.1)", "Request-URI")
    except ParseError:
        pass
    if "require" in index and request.method not in NO_REQUIRE:
        unknown = [tag for tag in request.require if tag.lower() not in options]
        if unknown:
            headers = (("Unsupported", ", ".join(unknown)),)
            yield Defect(420, f"requires {', '.join(unknown)[:80]}", "Require", headers=headers)
    if request.method in EVENT_METHODS:
        yield from unusable_event(request, index)


def unusable_event(request: Request, index: Index) -> Iterator[Defect]:
    """What RFC 6665 and 3903 ask of their methods."""
    if "event" not in index:
        yield Defect(489, "Event is missing", "Event")
    if request.method == "NOTIFY" and "subscription-state" not in index:
        yield Defect(400, "Subscription-State is missing", "Subscription-State")
    if request.method == "SUBSCRIBE" and "contact" not in index:
        yield Defect(400, "Contact is missing: there is no way to notify", "Contact")


def is_fatal_for(message: Message, defect: Defect) -> bool:
    """Must the message be dropped without an answer?"""
    return isinstance(message, Response) or defect.status is None
