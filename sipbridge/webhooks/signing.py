"""Signatures of what we send, in the form of Standard Webhooks 1.0.0: libraries to verify them exist in every
language, and by hand it takes ten lines (README, "Webhooks").

Signed is `<webhook-id>.<webhook-timestamp>.<body>` with HMAC-SHA256 (RFC 2104); the header
`webhook-signature` is `v1,` and the digest in base64. The timestamp is that of the attempt, so a receiver
refuses what is older than a few minutes and an old request cannot be played again; the id stays the same
over all attempts, so a receiver knows what it has already handled.

A secret is written `whsec_` and 24 to 64 random bytes in base64. It is text for people to copy; the key is
the bytes.
"""

import base64
import binascii
import hmac

PREFIX = "whsec_"
MIN_KEY = 24
"""Bytes of a key, as Standard Webhooks wants it: fewer could be tried out."""
MAX_KEY = 64
"""The block of SHA-256; longer keys are hashed first and gain nothing (RFC 2104 §3)."""


def read_secret(text: str) -> bytes:
    """The key behind `whsec_…`. Raises ValueError with a sentence for people that does not repeat it."""
    expected = f"{PREFIX} and {MIN_KEY} to {MAX_KEY} bytes in base64: openssl rand -base64 32"
    if not text.startswith(PREFIX):
        raise ValueError(expected)
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(expected) from None
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise ValueError(expected)
    return key


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`. timestamp: seconds since 1970 UTC."""
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def signed_headers(key: bytes, id: str, timestamp: int, body: bytes) -> list[tuple[bytes, bytes]]:
    """The three headers of a signed request."""
    return [
        (b"webhook-id", id.encode()),
        (b"webhook-timestamp", str(timestamp).encode()),
        (b"webhook-signature", sign(key, id, timestamp, body).encode()),
    ]
