"""`sipbridge decode`: what the bridge reads in the bytes of one message, and what it would answer.

The verdict is the core's: the same parser and the same `defects`. Where both are content, the message may
still call for a refusal by what it says, whoever reads it: an event package that does not exist here, a
body nobody understands, credentials of an unknown scheme, a refresh of a subscription (and a lone message
belongs to no dialog). That answer is the `status_hint` of an accepted message. Compact header names are
written out, bytes that are no UTF-8 become U+FFFD.
"""

from collections.abc import Callable
from pathlib import Path

from sipbridge.cli.files import complain, print_json, wrong
from sipbridge.errors import ParseError
from sipbridge.observability.capture import spelled
from sipbridge.observability.pcap import CaptureError, read
from sipbridge.sip.defects import Defect, defects
from sipbridge.sip.digest import split_scheme
from sipbridge.sip.encoding import Undecodable, codings_of, decoded
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import KeepAlive, MessageError, parse_datagram

PRESENCE_TYPES = frozenset(
    {
        "application/pidf+xml",
        "application/pidf-diff+xml",
        "application/cpim-pidf+xml",
        "application/xpidf+xml",
        "application/rlmi+xml",
        "multipart/related",
        "multipart/mixed",
    }
)
WINFO_TYPES = frozenset(
    {"application/watcherinfo+xml", "application/rlmi+xml", "multipart/related"}
)
SESSION_TYPES = frozenset({"application/sdp"})

PACKAGES = {"presence": PRESENCE_TYPES, "presence.winfo": WINFO_TYPES}
"""Event packages served, and the media types their notifications come in."""
PUBLISHED = frozenset({"presence"})

Hint = tuple[int, str] | None


def decode(data: bytes) -> dict[str, object]:
    """One message as JSON-able values: what it is, its headers, the verdict, the status hint and why.

    A keep-alive is `{"kind": "keepalive"}`. `kind` is None for bytes that are neither request nor response.
    """
    try:
        message = parse_datagram(data)
    except MessageError as error:
        return unreadable(data, error)
    if isinstance(message, KeepAlive):
        return {"kind": "keepalive"}
    faults = defects(message)
    malformed = next((fault for fault in faults if fault.malformed), None)
    told = describe(message)
    if malformed:
        return told | verdict("reject", answerable(message, malformed), malformed.reason)
    if faults:
        return told | verdict("accept", answerable(message, faults[0]), faults[0].reason)
    hint = called_for(message) if isinstance(message, Request) else None
    return told | verdict("accept", *(hint or (None, "")))


def decode_capture(path: Path) -> int:
    """One JSON line for each SIP message of a capture: `decode`'s and `at`, `source`, `destination`.

    Exit status: 1 when a message is rejected, the capture is damaged or holds none; 2 when it cannot be read.
    """
    status, count = 0, 0
    try:
        for message in read(path):
            told = decode(message.data)
            seen = {
                "at": message.at,
                "source": spelled(message.source),
                "destination": spelled(message.destination),
            }
            print_json(seen | told, line=True)
            count += 1
            status |= told.get("verdict") == "reject"
    except OSError as error:
        return wrong(f"--pcap {path}: {error.strerror}")
    except CaptureError as error:
        complain(f"{path}: {error}")
        return 1
    if not count:
        complain(f"{path}: no SIP message in it")
    return status if count else 1


def verdict(word: str, status: int | None, reason: str) -> dict[str, object]:
    return {"verdict": word, "status_hint": status, "reason": clean(reason)}


def answerable(message: Request | Response, fault: Defect) -> int | None:
    """A response is never answered, nor is a request that does not say where it came from."""
    return fault.status if isinstance(message, Request) and "Via" in message.headers else None


def unreadable(data: bytes, error: MessageError) -> dict[str, object]:
    told: dict[str, object]
    if error.partial is not None and "Via" in error.partial.headers:
        told = describe(error.partial) | {"body_length": 0}
    else:
        kind = "response" if data.lstrip(b"\r\n")[:4].upper() == b"SIP/" else None
        told = {"kind": kind, "headers": [], "body_length": 0}
    return told | verdict("reject", error.status_hint, str(error))


def describe(message: Request | Response) -> dict[str, object]:
    start: dict[str, object]
    if isinstance(message, Request):
        start = {"kind": "request", "method": clean(message.method), "uri": clean(message.uri)}
    else:
        start = {"kind": "response", "status": message.status}
    return start | {"headers": pairs(message.headers), "body_length": len(message.body)}


def pairs(headers: Headers) -> list[list[str]]:
    return [[clean(name), clean(value)] for name, value in headers]


def clean(text: str) -> str:
    """Text that JSON can hold: undecodable bytes become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def called_for(request: Request) -> Hint:
    """The refusal that the content alone calls for."""
    for rule in RULES:
        hint = rule(request)
        if hint:
            return hint
    return None


def wrong_event(request: Request) -> Hint:
    """RFC 6665 §7.2.2, RFC 3903 §6: a package nobody serves.

    A NOTIFY may belong to a subscription of ours.
    """
    served = {"SUBSCRIBE": PACKAGES.keys(), "PUBLISH": PUBLISHED}.get(request.method)
    event = request.event
    if served is None or event is None or event.package in served:
        return None
    return 489, f"event package {event.package[:40]} is not served"


def wrong_credentials(request: Request) -> Hint:
    """RFC 3261 §22: credentials that cannot be checked are no credentials."""
    for name, status in (("Authorization", 401), ("Proxy-Authorization", 407)):
        values = request.headers.get_all(name)
        if values and not any(is_digest(value) for value in values):
            return status, f"{name} has no scheme we know"
    return None


def is_digest(value: str) -> bool:
    try:
        return split_scheme(value, "Authorization")[0] == "Digest"
    except ParseError:
        return False


def understood(request: Request) -> frozenset[str] | None:
    """Media types a body of this request may have; None: no opinion."""
    if request.method == "INVITE":
        return SESSION_TYPES
    event = request.event
    if request.method in ("NOTIFY", "PUBLISH") and event is not None:
        return PACKAGES.get(event.package)
    return None


def wrong_body(request: Request) -> Hint:
    """RFC 3261 §8.2.3: a body of a type or in an encoding that is not understood, unless it is optional."""
    if not request.body:
        lacking = request.method == "PUBLISH" and request.sip_if_match is None
        return (400, "a first publication has a body (RFC 3903 §4.1)") if lacking else None
    if "handling=optional" in (request.headers.get("Content-Disposition") or "").lower():
        return None
    try:
        decoded(request.body, codings_of(request))
    except Undecodable as error:
        return error.status_hint or 400, str(error)
    known, media = understood(request), request.content_type
    if known is None or (media and (media.is_multipart or media.essence in known)):
        return None
    return 415, f"content type {media.essence[:60] if media else 'is missing'}"


def wrong_accept(request: Request) -> Hint:
    """RFC 3261 §21.4.7: nothing we could answer or notify with is accepted."""
    event = request.event
    offered: frozenset[str] | None = None
    if request.method == "INVITE":
        offered = SESSION_TYPES
    elif request.method == "OPTIONS":
        offered = SESSION_TYPES | PRESENCE_TYPES | WINFO_TYPES
    elif request.method == "SUBSCRIBE" and event is not None:
        offered = PACKAGES.get(event.package)
    if offered is None or "Accept" not in request.headers:
        return None
    ranges = [media for media in request.accept_ranges if media.quality > 0]
    if not ranges or any(media.covers(kind) for media in ranges for kind in offered):
        return None
    return 406, f"accepts only {', '.join(request.accept)[:80]}"


def no_such_dialog(request: Request) -> Hint:
    """RFC 6665 §4.2.1.1: a refresh of a subscription nobody has.

    Ending one that is gone needs no complaint.
    """
    if request.method != "SUBSCRIBE" or request.to.tag is None or request.expires == 0:
        return None
    return 481, "a refresh inside a dialog that does not exist"


RULES: tuple[Callable[[Request], Hint], ...] = (
    wrong_credentials,
    wrong_event,
    wrong_body,
    wrong_accept,
    no_such_dialog,
)
