"""Bodies of several parts: multipart/related, multipart/mixed and their kin (RFC 2046 §5.1, 2387, 5621).

Resource list notifications come so (RFC 4662 §5). Reading is wide: preamble and epilogue are skipped, lines
may end in CRLF or LF, the closing delimiter may be missing, parameters that need quotes may stand without.
Each part keeps its bytes exactly; only quoted-printable and base64 are undone, where a
Content-Transfer-Encoding says so. A part that makes no sense costs nothing but itself. Building writes CRLF
and refuses a boundary that occurs in a part.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from quopri import decodestring

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip.fields import MediaType, parse_media_type
from sipbridge.sip.grammar import FOLDED, is_token, quote
from sipbridge.sip.headers import Headers

MAX_PARTS = 1024
"""Parts of one body: a list of a few hundred contacts in one NOTIFY over TCP."""
MAX_PART_HEADERS = 32
"""Header lines of a part; four are usual."""

BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,\-./:=? ]{0,199}[A-Za-z0-9'()+_,\-./:=?]")
"""RFC 2046 allows 70 characters; UUIDs with prefixes have been seen longer."""
HEAD_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `body` is decoded; `content_id` has no angle brackets."""

    headers: Headers
    body: bytes
    content_id: str | None = None
    content_type: MediaType | None = None


def boundary_of(content_type: MediaType) -> str:
    """The boundary parameter. Raises ParseError if there is none or it is no boundary."""
    boundary = content_type.parameters.get("boundary")
    if not content_type.is_multipart or not boundary or not BOUNDARY.fullmatch(boundary):
        raise ParseError(f"no boundary in {str(content_type)[:80]!r}", field="Content-Type")
    return boundary


def parse(body: bytes, content_type: MediaType | str) -> list[Part]:
    """The parts in order. Raises ParseError when there is no boundary, or no delimiter in the body."""
    media = parse_media_type(content_type) if isinstance(content_type, str) else content_type
    delimiter = re.escape(boundary_of(media).encode("utf-8", "surrogateescape"))
    marks = list(re.finditer(rb"(?:^|\r?\n)--" + delimiter + rb"(--)?[ \t]*(?=\r?\n|$)", body))
    if not marks:
        raise ParseError("the boundary does not occur in the body", field="body")
    parts: list[Part] = []
    for i, mark in enumerate(marks):
        if mark[1]:
            break
        if len(parts) == MAX_PARTS:
            raise ParseError(f"more than {MAX_PARTS} parts", field="body")
        end = marks[i + 1].start() if i + 1 < len(marks) else len(body)
        parts.append(parse_part(body[mark.end() : end]))
    return parts


def parse_part(data: bytes) -> Part:
    """One part: a line end, headers, an empty line, the body. Never raises: odd header lines are left out."""
    if data[:1] == b"\r":
        data = data[1:]
    # No headers at all: the empty line follows the delimiter at once.
    if data[:2] == b"\n\n" or data[:3] == b"\n\r\n":
        return Part(Headers(), data[2 if data[1:2] == b"\n" else 3 :])
    found = HEAD_END.search(data)
    head, body = (data[: found.start()], data[found.end() :]) if found else (data, b"")
    headers = parse_part_headers(head)
    content_id = headers.get("Content-ID")
    return Part(
        headers,
        decode(body, headers.get("Content-Transfer-Encoding")),
        content_id.strip("<> \t") if content_id else None,
        part_type(headers),
    )


def parse_part_headers(head: bytes) -> Headers:
    text = FOLDED.sub(" ", head.decode("utf-8", "surrogateescape"))
    headers = Headers()
    for line in text.splitlines()[: MAX_PART_HEADERS + 1]:
        name, colon, value = line.partition(":")
        try:
            if colon:
                headers.add(name, value.strip(" \t"))
        except ParseError:
            continue
    return headers


def part_type(headers: Headers) -> MediaType | None:
    value = headers.get("Content-Type")
    try:
        return parse_media_type(value) if value else None
    except ParseError:
        return None


def decode(body: bytes, encoding: str | None) -> bytes:
    """Undo base64 and quoted-printable; everything else (binary, 8bit, 7bit, unknown) stays."""
    word = (encoding or "").strip().lower()
    try:
        if word == "base64":
            return binascii.a2b_base64(body)
        return decodestring(body) if word == "quoted-printable" else body
    except (binascii.Error, ValueError):
        return body


def build(
    parts: Sequence[Part],
    boundary: str,
    *,
    subtype: str = "related",
    type_: str = "",
    start: str = "",
) -> tuple[bytes, str]:
    """Body and Content-Type value. `type_` and `start` are those of RFC 2387, `start` without angle brackets.

    Raises LocalProtocolError when the boundary is none or occurs in a part.
    """
    mark = f"--{boundary}".encode()
    if not BOUNDARY.fullmatch(boundary) or any(mark in part.body for part in parts):
        raise LocalProtocolError("the boundary cannot be used")
    out = bytearray()
    for part in parts:
        out += mark + b"\r\n" + part_head(part) + b"\r\n" + part.body + b"\r\n"
    out += mark + b"--\r\n"
    value = f"multipart/{subtype}"
    if type_:
        value += f";type={quote(type_)}"
    if start:
        value += f";start={quote(f'<{start}>')}"
    # Without quotes where they are not needed: belle-sip takes them for a part of the boundary.
    return bytes(out), f"{value};boundary={boundary if is_token(boundary) else quote(boundary)}"


def part_head(part: Part) -> bytes:
    headers = part.headers.copy()
    if part.content_type is not None:
        headers.set("Content-Type", str(part.content_type))
    if part.content_id is not None:
        headers.set("Content-ID", f"<{part.content_id}>")
    if "Content-Transfer-Encoding" not in headers:
        headers.add("Content-Transfer-Encoding", "binary")
    text = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return text.encode("utf-8", "surrogateescape")
