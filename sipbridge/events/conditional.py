"""Entity-tags of notifications (RFC 5839): what a watcher has already need not be told again.

A NOTIFY names its content by a SIP-ETag. A watcher that subscribes again says in Suppress-If-Match which
content it holds, or `*` for "whatever it is". When that is still true, a SUBSCRIBE in a dialog is answered
204 and no NOTIFY follows (§6.3); one outside a dialog needs the NOTIFY that makes the dialog, which then
comes without body (§6.2). Content without tag, as parts of a state are, is never suppressed.

Our tags are a digest of the content: the same after a restart and in every dialog, different for watchers
who see something different.
"""

from hashlib import blake2b

from sipbridge.sip.message import Request

SUPPRESS_IF_MATCH = "Suppress-If-Match"
SIP_ETAG = "SIP-ETag"
NO_NOTIFICATION = 204
"""The status of §7.1."""

ANY = "*"
TAG_BYTES = 8
"""Two states of one presentity get the same tag once in 2**64."""


def entity_tag(content_type: str, body: bytes) -> str:
    """The tag of a content (§6.1), a token."""
    return blake2b(body, digest_size=TAG_BYTES, key=content_type.encode()[:64]).hexdigest()


def condition(request: Request) -> str:
    """What the watcher holds, as it says in Suppress-If-Match; "" for nothing."""
    return (request.headers.get(SUPPRESS_IF_MATCH) or "").strip()


def holds(stated: str, tag: str) -> bool:
    """Does a watcher that states this condition hold the content with this tag?"""
    return bool(tag) and stated in (ANY, tag)
