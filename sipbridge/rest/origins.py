"""Which web pages may call us (Fetch standard, CORS protocol).

Browsers attach cached Basic credentials to whatever a page asks for, so a request that names an `Origin`
must come from our own pages or from a listed origin; anything else is refused, not only left without CORS
headers. A request without `Origin` comes from no page.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from sipbridge.rest.faults import foreign_origin

Pairs = list[tuple[bytes, bytes]]

PREFLIGHT: Pairs = [
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, X-Request-ID, X-Session-ID, Last-Event-ID",
    ),
    (b"access-control-max-age", b"86400"),
]


class Origins:
    """The allow-list. `allowed`: origins such as `https://pages.example`."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def check(self, headers: Mapping[str, str]) -> Pairs:
        """CORS headers of the answer; Refused (403) for a foreign page."""
        origin = headers.get("origin")
        if origin is None:
            return []
        if origin.lower() in self.allowed:
            return [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"Location, X-Request-ID"),
                (b"vary", b"Origin"),
            ]
        if is_own(origin, headers.get("host", "")):
            return []
        raise foreign_origin(origin)


def is_own(origin: str, host: str) -> bool:
    """Is this the origin of our own pages? Behind a proxy that ends TLS we do not know our scheme."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
