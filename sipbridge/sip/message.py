"""Request and Response: typed access, answering, printing.

A message is a start line, `Headers` and a body; the headers are the truth. Typed properties read from them
each time through parsers that remember recent texts, so nothing can go stale when a header is changed and
repeated access is cheap. A property raises ParseError (with the field's name) when the text breaks the
grammar, and for the five fields without which no message can be handled (Via, From, To, Call-ID, CSeq) also
when it is absent; the others are None or empty then. The bare numbers of a response (Expires, Min-Expires)
are None instead of an error: there is nobody to tell. `sipbridge.sip.defects` looks at all that matters at
once, before routing.

Printing writes Content-Length last and right, whatever the headers say, and refuses line breaks in a
header: text from an application can never become a header of its own.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip import fields
from sipbridge.sip.address import NameAddr, parse_addresses, parse_name_addr
from sipbridge.sip.fields import CSeq, Event, MediaType, SubscriptionState
from sipbridge.sip.grammar import token_list
from sipbridge.sip.headers import Headers
from sipbridge.sip.status import reason_for
from sipbridge.sip.via import Via, parse_vias
from sipbridge.uri import Uri

T = TypeVar("T")

VERSION = "SIP/2.0"


class Message:
    """What requests and responses share."""

    __slots__ = ("body", "headers", "packed")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        self.headers = headers
        self.body = body

    def unpack(self, body: bytes) -> None:
        """The body without its Content-Encoding (§20.12) takes the place of the one that came."""
        self.packed = self.body
        self.body = body
        self.headers.remove("Content-Encoding")

    @property
    def wire_body(self) -> bytes:
        """The body as it came; digest with auth-int is about that (RFC 7616 §3.4.3)."""
        came: bytes = getattr(self, "packed", self.body)
        return came

    # --- the five every message needs -------------------------------------------------------------

    @property
    def call_id(self) -> str:
        """Call-ID (RFC 3261 §20.8)."""
        return fields.check_call_id(self._required("call-id", "Call-ID"))

    @property
    def cseq(self) -> CSeq:
        """CSeq (§20.16)."""
        text = self.headers.first().get("cseq")
        return fields.parse_cseq(self._required("cseq", "CSeq") if text is None else text)

    @property
    def from_(self) -> NameAddr:
        """From (§20.20)."""
        return parse_name_addr(self._required("from", "From"), "From")

    @property
    def to(self) -> NameAddr:
        """To (§20.39)."""
        return parse_name_addr(self._required("to", "To"), "To")

    @property
    def vias(self) -> list[Via]:
        """All hops, the newest first (§20.42)."""
        lines = self.headers.lines("via")
        if len(lines) == 1:
            return list(parse_vias(lines[0]))
        return [via for line in lines for via in parse_vias(line)]

    @property
    def top_via(self) -> Via:
        """The newest hop."""
        return parse_vias(self._required("via", "Via"))[0]

    # --- routing -----------------------------------------------------------------------------------

    @property
    def contacts(self) -> list[NameAddr]:
        """All of Contact (§20.10); `Contact: *` is an entry with `is_star`."""
        return self._addresses("contact", "Contact")

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact."""
        contacts = self.contacts
        return contacts[0] if contacts else None

    @property
    def route(self) -> list[NameAddr]:
        """Route (§20.34)."""
        return self._addresses("route", "Route")

    @property
    def record_route(self) -> list[NameAddr]:
        """Record-Route (§20.30)."""
        return self._addresses("record-route", "Record-Route")

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, 0 to 255 (§20.22)."""
        return self._optional("max-forwards", fields.parse_max_forwards)

    # --- events and publications --------------------------------------------------------------------

    @property
    def expires(self) -> int | None:
        """Expires in seconds (§20.19)."""
        return self._seconds("expires", "Expires")

    @property
    def min_expires(self) -> int | None:
        """Min-Expires in seconds (§20.23)."""
        return self._seconds("min-expires", "Min-Expires")

    @property
    def retry_after(self) -> float | None:
        """Retry-After in seconds (§20.33); None if absent or unreadable."""
        text = self._first("retry-after")
        return fields.parse_retry_after(text) if text else None

    @property
    def event(self) -> Event | None:
        """Event (RFC 6665 §8.2.1)."""
        return self._optional("event", fields.parse_event)

    @property
    def subscription_state(self) -> SubscriptionState | None:
        """Subscription-State (RFC 6665 §8.2.3)."""
        return self._optional("subscription-state", fields.parse_subscription_state)

    @property
    def sip_etag(self) -> str | None:
        """SIP-ETag (RFC 3903 §11.3.1)."""
        return self._first("sip-etag") or None

    @property
    def sip_if_match(self) -> str | None:
        """SIP-If-Match (RFC 3903 §11.3.2)."""
        return self._first("sip-if-match") or None

    # --- body and capabilities ----------------------------------------------------------------------

    @property
    def content_type(self) -> MediaType | None:
        """Content-Type (§20.15)."""
        return self._optional("content-type", fields.parse_media_type)

    @property
    def accept_ranges(self) -> list[MediaType]:
        """Accept with parameters (§20.1). An empty list may mean "absent" or "nothing": see the headers."""
        return [
            media
            for line in self.headers.lines("accept")
            for media in fields.parse_media_ranges(line)
        ]

    @property
    def accept(self) -> list[str]:
        """Media ranges of Accept, without parameters and without those of `q=0`."""
        return [media.essence for media in self.accept_ranges if media.quality > 0]

    @property
    def supported(self) -> list[str]:
        """Option tags of Supported (§20.37)."""
        return self._words("supported")

    @property
    def require(self) -> list[str]:
        """Option tags of Require (§20.32)."""
        return self._words("require")

    @property
    def proxy_require(self) -> list[str]:
        """Option tags of Proxy-Require (§20.29)."""
        return self._words("proxy-require")

    @property
    def allow(self) -> list[str]:
        """Methods of Allow (§20.5)."""
        return self._words("allow")

    @property
    def allow_events(self) -> list[str]:
        """Packages of Allow-Events (RFC 6665 §8.2.2)."""
        return self._words("allow-events")

    # --- how they are read --------------------------------------------------------------------------

    def _first(self, key: str) -> str | None:
        return self.headers.first().get(key)

    def _required(self, key: str, name: str) -> str:
        text = self.headers.first().get(key)
        if text is None:
            raise ParseError("is missing", field=name)
        return text

    def _optional(self, key: str, parse: Callable[[str], T]) -> T | None:
        text = self.headers.first().get(key)
        return None if text is None else parse(text)

    def _addresses(self, key: str, name: str) -> list[NameAddr]:
        lines = self.headers.lines(key)
        if len(lines) == 1:
            return list(parse_addresses(lines[0], name))
        return [address for line in lines for address in parse_addresses(line, name)]

    def _words(self, key: str) -> list[str]:
        return [word for line in self.headers.lines(key) for word in token_list(line)]

    def _seconds(self, key: str, name: str) -> int | None:
        text = self._first(key)
        return None if text is None else fields.parse_seconds(text, name)

    # --- printing -----------------------------------------------------------------------------------

    def start_line(self) -> str:
        """The first line, without its end."""
        raise NotImplementedError

    def __bytes__(self) -> bytes:
        """The message on the wire. Raises LocalProtocolError for what a header cannot hold."""
        lines = [": ".join(pair) for pair in self.headers if pair[0] != "Content-Length"]
        text = "\r\n".join(lines)
        breaks = max(len(lines) - 1, 0)
        start = self.start_line()
        if (
            text.count("\n") != breaks
            or text.count("\r") != breaks
            or "\n" in start
            or "\r" in start
        ):
            raise LocalProtocolError("a line break inside a header")
        end = "\r\n" if lines else ""
        head = f"{start}\r\n{text}{end}Content-Length: {len(self.body)}\r\n\r\n"
        try:
            return head.encode("utf-8", "surrogateescape") + self.body
        except UnicodeEncodeError:
            raise LocalProtocolError("a header holds half of a surrogate pair") from None

    def __repr__(self) -> str:
        return f"<{self.start_line()!r}, {len(self.headers)} headers, {len(self.body)} bytes>"


class Request(Message):
    """A request; `method` and `uri` as on the wire."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"") -> None:
        self.method = method
        self.uri = uri
        self.headers = headers
        self.body = body

    @property
    def request_uri(self) -> Uri:
        """The Request-URI, parsed. Raises ParseError, field "uri"."""
        return Uri.parse(self.uri)

    def start_line(self) -> str:
        return f"{self.method} {self.uri} {VERSION}"

    def copy(self) -> "Request":
        """An independent copy (the body is shared, bytes cannot change)."""
        return Request(self.method, self.uri, self.headers.copy(), self.body)

    def response(
        self,
        status: int,
        reason: str = "",
        *,
        to_tag: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        record_route: bool = False,
    ) -> "Response":
        """An answer to this request (§8.2.6.2).

        Via, From, To, Call-ID, CSeq and Timestamp are copied as they came, even malformed ones; To gets
        `to_tag` unless it has a tag. Record-Route is copied when `record_route` says so (§12.1.1).
        """
        fields = self.headers
        first = fields.first()
        pairs = [("Via", value) for value in fields.lines("via")]
        if record_route:
            pairs += [("Record-Route", value) for value in fields.lines("record-route")]
        for key, name in COPIED:
            if key in first:
                value = first[key]
                pairs.append((name, with_tag(value, to_tag) if to_tag and key == "to" else value))
        pairs += headers
        return Response(status, reason, Headers(pairs), body)


COPIED = (
    ("from", "From"),
    ("to", "To"),
    ("call-id", "Call-ID"),
    ("cseq", "CSeq"),
    ("timestamp", "Timestamp"),
)


def with_tag(text: str, tag: str) -> str:
    """A To header's text with a tag, unless it has one. The rest stays as the peer wrote it."""
    try:
        present = parse_name_addr(text, "To").tag is not None
    except ParseError:
        present = False
    return text if present else f"{text};tag={tag}"


class Response(Message):
    """A response. `reason` "" stands for the usual phrase of `status`."""

    __slots__ = ("reason", "status")

    def __init__(
        self, status: int, reason: str = "", headers: Headers | None = None, body: bytes = b""
    ) -> None:
        self.status = status
        self.reason = reason or reason_for(status)
        self.headers = Headers() if headers is None else headers
        self.body = body

    def start_line(self) -> str:
        return f"{VERSION} {self.status} {self.reason}"

    def copy(self) -> "Response":
        """An independent copy (the body is shared, bytes cannot change)."""
        return Response(self.status, self.reason, self.headers.copy(), self.body)

    def _seconds(self, key: str, name: str) -> int | None:
        text = self._first(key)
        return None if text is None else fields.seconds_or_none(text)
