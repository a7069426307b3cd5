"""Which web pages may call us (Fetch standard, CORS protocol).

Browsers attach cached Basic credentials to whatever a page asks for, so a request that names an `Origin`
must come from our own pages or from a listed origin; anything else is refused, not only left without CORS
headers. A request without `Origin` comes from no page.

The origin `*` lists every page, but never with what the browser has cached: the answer to a page that is not
listed by name says `*` and no word of credentials, so the page has to bring its own `Authorization`, which
needs a preflight. The one request that would need none, a POST whose body is not application/json, is
refused.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sipbridge.rest.faults import foreign_origin

Pairs = list[tuple[bytes, bytes]]

ALLOWED_HEADERS = (
    b"Authorization, Content-Type, Last-Event-ID, X-Presence-Expires, X-Presence-Identity, "
    b"X-Request-ID, X-Session-ID, X-Good-GD-AuthToken, X-Good-DeviceId, X-Good-GNP-Token, "
    b"X-Good-Presence-Version, deviceToken"
)
PREFLIGHT: Pairs = [
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        ALLOWED_HEADERS,
    ),
    (b"access-control-max-age", b"86400"),
]


EXPOSED = (
    b"access-control-expose-headers",
    b"Location, X-Request-ID, Retry-After, X-Presence-Stale",
)


class Origins:
    """The allow-list. `allowed`: origins such as `https://pages.example`, or `*`."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def check(self, headers: Mapping[str, str], method: str = "GET") -> Pairs:
        """CORS headers of the answer; Refused (403) for a foreign page."""
        origin = headers.get("origin")
        if origin is None:
            return []
        if origin.lower() in self.allowed:
            return [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                EXPOSED,
                (b"vary", b"Origin"),
            ]
        if is_own(origin, headers.get("host", "")):
            return []
        if "*" in self.allowed and not (method == "POST" and is_simple(headers)):
            return [(b"access-control-allow-origin", b"*"), EXPOSED]
        raise foreign_origin(origin)


def is_simple(headers: Mapping[str, str]) -> bool:
    """Could a page send this body without a preflight (Fetch standard, CORS-safelisted headers)?"""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind != "application/json"


def is_own(origin: str, host: str) -> bool:
    """Is this the origin of our own pages? Behind a proxy that ends TLS we do not know our scheme."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
