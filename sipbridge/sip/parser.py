"""From bytes to messages: datagrams, streams, and every limit on the way.

A datagram holds one message (RFC 3261 §18.3): bytes after Content-Length are dropped, a missing
Content-Length means "to the end", too large a one is an error. A stream is framed by Content-Length (§7.5);
without it, or with an unreadable one, nothing after it can be trusted and the error is `fatal`: the
connection has to be closed. Two CRLF alone are a keep-alive (RFC 5626 §4.4.1), single ones before a start
line are skipped.

The header section is split once, into lines and an index by name; no value is looked at but Content-Length.
A head that is written like many before it is split at one stroke (`sipbridge.sip.layout`). Folding, padded
names and compact names are handled only where they occur. Lines end in CRLF; a message whose first line ends
in a bare LF may use LF throughout, but a bare CR or LF inside a CRLF message is refused: two readers would
see two different messages.

What cannot be framed raises `MessageError`. It carries the status a server would answer, None where nothing
can be answered (a response, or a request without Via), and in `partial` what was readable, so that the core
can write that answer. A message that could be framed may still be nonsense; `sipbridge.sip.defects` finds
out.
"""

import re
from dataclasses import dataclass

from sipbridge.errors import ParseError
from sipbridge.sip.grammar import CONTROL_AND_BREAKS, FOLDED, has_stray_control, is_token
from sipbridge.sip.headers import KEYS, First, Headers, Pairs, Repeated, learn
from sipbridge.sip.layout import Layouts
from sipbridge.sip.message import Request, Response

MAX_MESSAGE = 65535
"""Bytes of one message: what a UDP datagram can hold, and a stream message should not need more (§18.1.1)."""
MAX_HEAD = 32768
"""Bytes of start line and header section; half a message. RFC 4475's longest has 3,500."""
MAX_HEADERS = 128
"""Header lines; RFC 4475's `longreq` has 43, three times that leaves room for proxies."""
MAX_LINE = 8192
"""Characters of one unfolded line; digest and identity headers stay below 2,000."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may cost."""

    message: int = MAX_MESSAGE
    head: int = MAX_HEAD
    headers: int = MAX_HEADERS
    line: int = MAX_LINE


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing but CRLF. Over a stream it is a ping that wants one CRLF back (RFC 5626 §4.4.1)."""


KEEP_ALIVE = KeepAlive()
PONG = CRLF = b"\r\n"


class MessageError(ParseError):
    """The bytes are no message. `partial` is what could be read, `fatal` means the stream has lost its frame.

    `status_hint` is the answer to send, None for none.
    """

    code = "message"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        status_hint: int | None = 400,
        partial: Request | None = None,
        fatal: bool = False,
    ) -> None:
        super().__init__(message, field=field)
        self.status_hint = status_hint
        self.partial = partial
        self.fatal = fatal


class Malformed(Exception):
    """Inside this module: why a head is refused, before it is known what to answer."""

    def __init__(self, reason: str, field: str = "", status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.status = status


COMMON_METHODS = frozenset({"NOTIFY", "SUBSCRIBE", "PUBLISH", "OPTIONS", "REGISTER", "MESSAGE"})
LINE_END = re.compile(r"\r?\n")
LF_HEAD_END = re.compile(rb"\n\r?\n")
STATUS_LINE = re.compile(r"(SIP/[0-9]+\.[0-9]+) ([0-9]{3})(?: (.*))?", re.IGNORECASE)
SIP_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+(?:\.[0-9]+)*", re.IGNORECASE)
LENGTH = re.compile(r"[0-9]{1,10}")


def parse_datagram(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Request | Response | KeepAlive:
    """One datagram to one message. Raises MessageError."""
    end = data.find(b"\r\n\r\n")
    if end > 0 and len(data) <= limits.message:
        message = parse_ordinary(data[:end], limits)
        if message is not None:
            # The usual case: one Content-Length that fits.
            length = message.headers.first().get("content-length", "")
            if length.isdecimal() and length.isascii() and len(length) < 6:
                size = int(length)
                message.body = body = data[end + 4 : end + 4 + size]
                if len(body) == size and "content-length" not in message.headers.repeated:
                    return message
    return parse_any_datagram(data, limits)


def parse_any_datagram(data: bytes, limits: Limits) -> Request | Response | KeepAlive:
    """The same without shortcuts: this is what decides what a message is."""
    if data and data[0] in CRLF:
        data = data.lstrip(CRLF)
        if not data:
            return KEEP_ALIVE
    end, body_at = find_head_end(data)
    try:
        if len(data) > limits.message:
            raise Malformed("the message is too large", status=513)
        if end < 0:
            raise Malformed("no empty line after the header section")
        message = parse_head(data[:end], limits)
        length = content_length(message.headers)
        if length is None:
            rest = data[body_at:]
            # Line ends after the empty line are debris, not a body.
            message.body = rest if rest.strip(CRLF) else b""
        else:
            message.body = data[body_at : body_at + length]
            if len(message.body) < length:
                raise Malformed(
                    f"{length} bytes promised, {len(message.body)} came", "Content-Length"
                )
    except Malformed as why:
        raise refusal(data if end < 0 else data[:end], why) from None
    return message


def find_head_end(data: bytes | bytearray, known: int = 0) -> tuple[int, int]:
    """Where the header section ends and the body begins; (-1, -1) if the empty line has not come.

    `known`: it does not begin before this position (a stream has looked there already).
    """
    first = data.find(b"\n")
    if first > 0 and data[first - 1] == 13:
        end = data.find(b"\r\n\r\n", max(first - 1, known))
        return end, end + 4
    found = LF_HEAD_END.search(data, max(first, known)) if first >= 0 else None
    return (found.start(), found.end()) if found else (-1, -1)


def parse_ordinary(head: bytes, limits: Limits) -> Request | Response | None:
    """The fast way for a head in CRLF without folds, stray control characters or anything else unusual.

    None means "look closer", never "wrong".
    """
    size = len(head)
    if size > limits.line or size > limits.head:
        return None
    text = head.decode("utf-8", "surrogateescape")
    message = LAYOUTS.read(text, limits.headers)
    if message is not None:
        return message
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    # Every CR and LF has to be part of a line end, and there is no other control character but TAB.
    if (
        breaks > limits.headers
        or len(head.translate(None, CONTROL_AND_BREAKS)) != size - 2 * breaks
    ):
        return None
    try:
        message = parse_start_line(lines[0])
        del lines[0]
        message.headers = parse_lines(lines, None if text.isascii() else " \t")
    except Malformed:
        return None
    LAYOUTS.notice(text)
    return message


LAYOUTS = Layouts()


def parse_head(head: bytes, limits: Limits) -> Request | Response:
    """Start line and header section, without the empty line. Raises Malformed."""
    if len(head) > limits.head:
        raise Malformed("the header section is too long", status=513)
    lines = split_lines(head.decode("utf-8", "surrogateescape"))
    if len(lines) > limits.headers + 1:
        raise Malformed(f"more than {limits.headers} header lines")
    if max(map(len, lines)) > limits.line:
        raise Malformed(f"a line is longer than {limits.line} characters")
    for line in lines:
        if has_stray_control(line):
            raise Malformed("a control character", line.partition(":")[0][:40])
    message = parse_start_line(lines[0])
    message.headers = parse_lines(lines[1:])
    return message


def split_lines(text: str) -> list[str]:
    """Lines without their ends, folded ones joined."""
    first = text.find("\n")
    if first > 0 and text[first - 1] != "\r":
        text = LINE_END.sub("\r\n", text)
    if "\r\n " in text or "\r\n\t" in text:
        text = FOLDED.sub(" ", text)
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    if text.count("\r") != breaks or text.count("\n") != breaks:
        raise Malformed("a bare CR or LF inside the header section")
    return lines


def parse_start_line(line: str) -> Request | Response:
    """Request-Line or Status-Line (§7.1, §7.2). The headers are still missing."""
    parts = line.split(" ")
    if len(parts) == 3 and (parts[2] == "SIP/2.0" or parts[2].upper() == "SIP/2.0"):
        method, uri = parts[0], parts[1]
        if method not in COMMON_METHODS and not is_token(method):
            raise Malformed(f"method {method[:40]!r} is no token", "start line")
        if not uri:
            raise Malformed("the Request-URI is missing", "start line")
        return Request(method, uri, NO_HEADERS)
    if parts[0][:4].upper() == "SIP/":
        return parse_status_line(line)
    if SIP_VERSION.fullmatch(parts[-1]) and parts[-1].upper() != "SIP/2.0":
        raise Malformed(f"version {parts[-1][:20]} is not spoken here", "start line", 505)
    raise Malformed(f"{line[:60]!r} is no start line", "start line")


def parse_status_line(line: str) -> Response:
    found = STATUS_LINE.fullmatch(line)
    if not found or found[1].upper() != "SIP/2.0":
        raise Malformed(f"{line[:60]!r} is no status line", "start line")
    status = int(found[2])
    if not 100 <= status <= 699:
        raise Malformed(f"status {status} does not exist", "start line")
    return Response(status, found[3] or "", NO_HEADERS)


NO_HEADERS = Headers()


def parse_lines(lines: list[str], blank: str | None = " \t") -> Headers:
    """Unfolded header lines to headers with their index; `lines` is taken over. Raises Malformed.

    `blank` is what surrounds values; None, any white space, is quicker and the same for ASCII lines.
    """
    first: First = {}
    repeated: Repeated = {}
    keys = KEYS
    try:
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise Malformed(f"header line {line[:40]!r} has no colon")
            try:
                key = keys[name]
            except KeyError:
                key = learn(name)
            if key not in first:
                first[key] = value.strip(blank)
            elif key in repeated:
                repeated[key].append(value.strip(blank))
            else:
                repeated[key] = [first[key], value.strip(blank)]
    except ParseError as error:
        raise Malformed(str(error)) from None
    return Headers.of(lines, first, repeated)


def content_length(headers: Headers) -> int | None:
    """Content-Length, None if absent. Repeated ones have to agree. Raises Malformed."""
    values = headers.lines("content-length")
    if not values:
        return None
    if len(set(values)) > 1:
        raise Malformed("two different values", "Content-Length")
    if not LENGTH.fullmatch(values[0]):
        raise Malformed(f"{values[0][:40]!r} is no length", "Content-Length")
    return int(values[0])


def refusal(head: bytes, why: Malformed, *, fatal: bool = False) -> MessageError:
    """The error for a refused head: with what can still be read, and with None where nobody can be
    answered.
    """
    partial = salvage(head[:MAX_HEAD])
    status = why.status if partial and "Via" in partial.headers else None
    return MessageError(
        why.reason, field=why.field, status_hint=status, partial=partial, fatal=fatal
    )


def salvage(head: bytes) -> Request | None:
    """As much of a broken request as its answer needs; None for what is no request at all."""
    text = LINE_END.sub("\r\n", head.decode("utf-8", "surrogateescape").lstrip("\r\n"))
    lines = FOLDED.sub(" ", text).replace("\r", "\n").split("\n")
    start = lines[0].split(" ")
    if start[0][:3].upper() == "SIP":
        return None
    pairs: Pairs = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon and is_token(name.rstrip(" \t")) and len(pairs) < MAX_HEADERS:
            pairs.append((name, value.strip(" \t")[:MAX_LINE]))
    return Request(start[0], start[1] if len(start) > 1 else "", Headers(pairs))


MAX_REFUSED = 16
"""Broken messages in a row after which a stream is given up: whoever sends them is no SIP peer, and each of
them costs an answer."""


class StreamParser:
    """Bytes of one connection, in any pieces, to messages."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._need = 0
        self._broken = False
        self._refused = 0
        self.completed = 0
        """Messages that came to their end, good or bad."""

    def feed(self, data: bytes) -> list[Request | Response | KeepAlive | MessageError]:
        """What these bytes complete. After a `fatal` MessageError everything further is ignored."""
        found: list[Request | Response | KeepAlive | MessageError] = []
        if self._broken:
            return found
        self._buffer += data
        while not self._broken and (one := self._next()) is not None:
            found.append(one)
        return found

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer)

    def _next(self) -> Request | Response | KeepAlive | MessageError | None:
        buffer = self._buffer
        while buffer and buffer[0] in CRLF:
            if buffer[:4] == b"\r\n\r\n":
                del buffer[:4]
                return KEEP_ALIVE
            if len(buffer) < 4 and b"\r\n\r\n".startswith(buffer):
                return None
            del buffer[: 2 if buffer[:2] == b"\r\n" else 1]
        if len(buffer) < self._need:
            return None
        end, body_at = find_head_end(buffer, self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            return self._overlong() if len(buffer) > self._limits.head + 4 else None
        return self._overlong() if end > self._limits.head else self._complete(end, body_at)

    def _overlong(self) -> MessageError:
        why = Malformed("no end of the header section in sight", status=513)
        return self._fail(bytes(self._buffer), why)

    def _fail(self, head: bytes, why: Malformed) -> MessageError:
        self._broken = True
        self._buffer.clear()
        return refusal(head, why, fatal=True)

    def _complete(self, end: int, body_at: int) -> Request | Response | MessageError | None:
        """The message whose head is there, once its body is there too."""
        head = bytes(self._buffer[:end])
        message: Request | Response | MessageError
        try:
            message = parse_ordinary(head, self._limits) or parse_head(head, self._limits)
            headers = message.headers
        except Malformed as why:
            message = refusal(head, why)
            headers = message.partial.headers if message.partial else NO_HEADERS
        try:
            length = content_length(headers)
            if length is None:
                raise Malformed("is missing in a stream", "Content-Length")
            if body_at + length > self._limits.message:
                raise Malformed("the message is too large", "Content-Length", 513)
        except Malformed as why:
            return self._fail(head, why)
        if len(self._buffer) < body_at + length:
            self._need, self._searched = body_at + length, end
            return None
        if not isinstance(message, MessageError):
            message.body = bytes(self._buffer[body_at : body_at + length])
        self._need = self._searched = 0
        self.completed += 1
        del self._buffer[: body_at + length]
        if not isinstance(message, MessageError):
            self._refused = 0
            return message
        self._refused += 1
        if self._refused < MAX_REFUSED:
            return message
        return self._fail(head, Malformed(f"{MAX_REFUSED} broken messages in a row"))
