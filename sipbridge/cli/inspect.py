"""`sipbridge inspect`: what a document states, as JSON.

The input is one XML document, or something that carries documents: a body of several parts (with its
Content-Type header field before it, or beginning with its first delimiter), or a whole SIP message. Nothing
here touches a file or a terminal; the command reads the bytes and prints the answer.
"""

import re

from sipbridge.errors import SipBridgeError
from sipbridge.presence.inspection import Facts, inspect, inspect_parts
from sipbridge.sip import multipart
from sipbridge.sip.fields import parse_media_type
from sipbridge.sip.headers import Headers

FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9\-]*[ \t]*:")
START_LINE = re.compile(rb"(?:SIP/2\.0 [^\r\n]*|[A-Z]+ [^\r\n]+ SIP/2\.0)\r?\n")
HEAD_END = re.compile(rb"\r?\n\r?\n")
FOLD = re.compile(rb"\r?\n[ \t]+")
DELIMITER = re.compile(rb"(?:\r?\n)*--([^\r\n]{1,200})\r?\n")


def inspect_bytes(data: bytes) -> tuple[int, Facts]:
    """Exit status and answer: 0 and the facts, or 1 and `{"error": …}` for what has to be refused."""
    try:
        content_type, body = opened(data)
        return 0, facts_of(content_type, body)
    except SipBridgeError as error:
        return 1, {"error": str(error)}


def opened(data: bytes) -> tuple[str | None, bytes]:
    """Content type (None if nothing says it) and body of whatever the input is."""
    start = START_LINE.match(data)
    rest = data[start.end() :] if start else data
    if FIELD.match(rest):
        end = HEAD_END.search(rest)
        head, body = (rest[: end.start()], rest[end.end() :]) if end else (rest, b"")
        return headers_of(head).get("Content-Type"), body
    delimiter = DELIMITER.match(data)
    if delimiter:
        boundary = delimiter[1].rstrip().decode("latin-1")
        return f'multipart/related;boundary="{boundary}"', data
    return None, data


def headers_of(head: bytes) -> Headers:
    """Header fields of the lines, folded ones joined; lines that are none are passed over."""
    pairs = []
    for line in FOLD.sub(b" ", head).splitlines():
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            pairs.append((name.strip(), value.strip()))
    return Headers(pairs)


def facts_of(content_type: str | None, body: bytes) -> Facts:
    """The facts of a body. Raises DocumentError, ParseError."""
    media = parse_media_type(content_type) if content_type else None
    if media is None or not media.is_multipart:
        return inspect(body, content_type)
    parts = multipart.parse(body, media)
    start = media.parameters.get("start")
    return inspect_parts(
        [(part.content_id, type_of(part), part.body) for part in parts],
        start.strip().removeprefix("<").removesuffix(">") if start else None,
    )


def type_of(part: multipart.Part) -> str | None:
    """A part's content type as text."""
    return None if part.content_type is None else str(part.content_type)
