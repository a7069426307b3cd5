"""Content-Encoding: bodies compressed with gzip or deflate (RFC 3261 §20.12, §20.2; RFC 1952, RFC 1950).

`deflate` is the zlib format; peers that send bare deflate data (RFC 1951) under that name are understood too.
A body that is compressed to nearly nothing is somebody's attempt to fill our memory: decompression goes in
steps and ends as soon as the result is larger than `MAX_DECODED`, or than `MAX_RATIO` times what came.

We compress only what a peer's Accept-Encoding allows; without that header it allows nothing (§20.2), and only
bodies that get smaller by more than the header costs.
"""

import gzip
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from sipbridge.errors import ParseError, RemoteProtocolError
from sipbridge.sip.grammar import split_list
from sipbridge.sip.message import Message
from sipbridge.sip.usage import ServerRequest

CODINGS = ("gzip", "deflate")
"""What we read and write, the preferred one first."""

ALIASES = {"x-gzip": "gzip", "x-deflate": "deflate"}

MAX_DECODED = 262_144
"""Bytes of a decoded body: four times the largest message. The longest table of a list that is read has as
many."""

MAX_RATIO = 100
"""Times the bytes that came. XML of many equal rows is compressed 40-fold."""

HARMLESS = 16_384
"""Bytes that a body may become whatever the ratio."""

MAX_LAYERS = 2
"""Codings on top of each other."""

MAX_MEMBERS = 8
"""Parts of one gzip body (RFC 1952 §2.2)."""

STEP = 16_384
"""Bytes decompressed at a time."""

SMALLEST = 400
"""Bytes; what is shorter is not worth the work."""

GAIN = 64
"""Bytes that must be saved: the header field costs half of them."""

LEVEL = 6

WBITS = {"gzip": (31,), "deflate": (15, -15)}
"""How zlib is told the format; deflate in both readings."""


class Undecodable(RemoteProtocolError):
    """A body whose coding is unknown (415), broken (400) or too much to unpack (413)."""

    code = "content-encoding"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status_hint=status)


# --- reading ------------------------------------------------------------------------------------------------


def codings_of(message: Message) -> list[str]:
    """The codings of a body, in the order in which they were applied; identity left out."""
    words = [w.lower() for w in message.headers.values("Content-Encoding")]
    return [ALIASES.get(word, word) for word in words if word not in ("", "identity")]


def decoded(body: bytes, codings: Sequence[str], known: Iterable[str] = CODINGS) -> bytes:
    """The body as it was. Raises Undecodable. `codings`: the last one was applied last."""
    unknown = [coding for coding in codings if coding not in known]
    if unknown or len(codings) > MAX_LAYERS:
        raise Undecodable(f"content coding {(unknown or codings)[0][:40]!r}", 415)
    most = bound(len(body))
    for coding in reversed(codings):
        body = unpacked(body, coding, most)
    return body


def unpacked(body: bytes, coding: str, bound: int) -> bytes:
    """One layer less."""
    broken = Undecodable(f"the body is no {coding} data", 400)
    for wbits in WBITS[coding]:
        try:
            return inflated(body, wbits, bound)
        except zlib.error as error:
            broken.__cause__ = error
    raise broken


def inflated(body: bytes, wbits: int, bound: int) -> bytes:
    """Raises zlib.error for what is not in this format, Undecodable beyond `bound` bytes."""
    parts: list[bytes] = []
    size, rest = 0, body
    for _ in range(MAX_MEMBERS):
        machine = zlib.decompressobj(wbits)
        while not machine.eof:
            part = machine.decompress(rest, STEP)
            rest = machine.unconsumed_tail
            size += len(part)
            if size > bound:
                raise Undecodable("a body that is too large when it is unpacked", 413)
            if not part and not rest and not machine.eof:
                raise zlib.error("it ends too early")
            parts.append(part)
        rest = machine.unused_data
        if not rest:
            return b"".join(parts)
        if wbits != 31:
            break
    raise zlib.error("something follows")


def open_body(incoming: ServerRequest, known: Sequence[str] = CODINGS) -> bool:
    """Take the coding off a request's body. False: it was refused, with what we know in Accept-Encoding.

    `wire_body` of the request stays what came.
    """
    request = incoming.request
    codings = codings_of(request)
    if codings and request.body:
        try:
            request.unpack(decoded(request.body, codings, known))
        except Undecodable as error:
            status = error.status_hint or 400
            accepted = [("Accept-Encoding", ", ".join(known) or "identity")]
            reason = "" if status == 415 else "Content-Encoding"
            incoming.respond(status, reason=reason, headers=accepted if status == 415 else ())
            return False
    return True


# --- writing ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def preferred(accept_encoding: str) -> str:
    """The coding to use for a peer with this Accept-Encoding; "" for none (§20.2, RFC 9110 §12.5.3)."""
    weights: dict[str, float] = {}
    for entry in split_list(accept_encoding, "Accept-Encoding"):
        name, _, rest = entry.partition(";")
        coding = name.strip().lower()
        weights[ALIASES.get(coding, coding)] = weight(rest)
    others = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, others))
    allowed = weights.get(best, others)
    return best if allowed > 0 and allowed >= weights.get("identity", 0.0) else ""


def weight(parameters: str) -> float:
    """The `q` among parameters; 1 where it is absent, 0 where it makes no sense."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def accepted_by(message: Message) -> str:
    """The coding that the sender of this message takes; "" for none."""
    lines = message.headers.lines("accept-encoding")
    try:
        return preferred(", ".join(lines)) if lines else ""
    except ParseError:
        return ""


def blames_coding(refusal: Message) -> bool:
    """Is it the coding of our body that a 415 is about? One about the type has Accept (§21.4.13)."""
    first = refusal.headers.first()
    return "accept-encoding" in first or "accept" not in first


@lru_cache(maxsize=64)
def packed(body: bytes, coding: str) -> bytes | None:
    """The body in this coding ("": none); None where it is not worth it, or more than we would unpack.

    Remembered, as many watchers are told the same.
    """
    if not coding or len(body) < SMALLEST:
        return None
    small = gzip.compress(body, LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, LEVEL)
    if len(body) > bound(len(small)):
        return None
    return small if len(small) + GAIN <= len(body) else None


def bound(size: int) -> int:
    """Bytes that so many packed ones may become."""
    return min(MAX_DECODED, max(HARMLESS, MAX_RATIO * size))
