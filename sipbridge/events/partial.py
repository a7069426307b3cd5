"""Partial notification (RFC 5263), beside the machines that send and take NOTIFYs.

Who accepts application/pidf-diff+xml is first sent the whole document in its full form, with a version, and
then what has changed, with the next version each time. Whole again: when a SUBSCRIBE asks, when the state of
the subscription changes, when a NOTIFY failed and nobody knows what the watcher has, and when the difference
would not be shorter. Since the notifier is given what this watcher may see, a difference is one between two
such documents and tells nothing else.

The subscriber puts the whole document together, so that nobody above it sees a difference. A NOTIFY whose
version is not the next one, or whose operations do not fit, changes nothing: the document held stays, and
the subscriber subscribes again in the dialog to be sent the whole (§4.5). In a dialog NOTIFYs come in order
and once (RFC 3261 §12.2.2), so a version that is not the next one is always a loss, an older one too.
"""

from sipbridge.errors import DocumentError
from sipbridge.events.presence_package import PIDF, PIDF_DIFF
from sipbridge.presence import pidf_diff
from sipbridge.presence.pidf_diff import MAX_VERSION
from sipbridge.sip.fields import MediaType
from sipbridge.sip.message import Request

LESS = 0.5
"""The quality of whole documents in the Accept of who prefers parts (RFC 3261 §20.1)."""

LEAP = 100_000
"""Added to the version of a restored subscription; it is not stored with each NOTIFY (`CSEQ_BLOCK`)."""


class Telling:
    """What one watcher has been told, at the notifier."""

    __slots__ = ("told", "version")

    def __init__(self, version: int = 0) -> None:
        self.version = version
        """Of the last NOTIFY."""
        self.told: bytes | None = None
        """The document that the watcher has; None: nobody knows."""

    def next(self, document: bytes, *, full: bool) -> bytes:
        """The body that brings the watcher to this document."""
        if self.version >= MAX_VERSION:
            self.version, full = 0, True
        self.version += 1
        told, self.told = self.told, document
        if told is not None and not full:
            difference = pidf_diff.difference(told, document)
            if difference is not None:
                return difference.document(self.version)
        return pidf_diff.full(document, self.version)

    def forget(self) -> None:
        """A NOTIFY failed, or had no document."""
        self.told = None


MAX_MISSED = 3
"""Parts that do not fit before whole documents are asked for. One now and then is the network's fault."""


class Missed(Exception):
    """A difference does not fit what is held. Never leaves `events`."""


class Holding:
    """The document as one subscriber holds it, put together of parts."""

    __slots__ = ("document", "missed", "refused", "version", "wanted")

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        """Do we ask for partial documents?"""
        self.refused = False
        """The peer would not be asked, and has accepted nothing since."""
        self.missed = 0
        """Parts that did not fit, in the life of one SIP subscription."""
        self.document = b""
        self.version: int | None = None
        """Of the document; None: there is none that parts could be about."""

    def begin(self) -> None:
        """A new SIP subscription: versions start anew."""
        self.document, self.version, self.missed = b"", None, 0

    def refuse(self, *, certain: bool) -> None:
        """The peer refused to be asked; or, where that is not certain, something else of the request."""
        self.wanted, self.refused = False, certain

    def whole(self, content_type: str, body: bytes) -> tuple[str, bytes]:
        """Type and body of what a NOTIFY says, a partial one put together; nothing if a part was missed."""
        if not body:
            return content_type, body
        if not is_partial(content_type):
            self.document, self.version = b"", None
            return content_type, body
        try:
            return PIDF, self.take(body)
        except Missed:
            self.missed += 1
            self.wanted = self.wanted and self.missed < MAX_MISSED
            return "", b""

    def take(self, body: bytes) -> bytes:
        """The whole document after this partial one. Raises Missed; what is held stays then."""
        try:
            partial = pidf_diff.parse(body)
            if partial.is_full:
                document = pidf_diff.plain(partial)
            elif self.version is None or partial.version != self.version + 1:
                raise Missed(f"version {partial.version} after {self.version}")
            else:
                document = pidf_diff.applied(self.document, partial)
        except DocumentError as error:
            raise Missed(str(error)) from None
        self.document, self.version = document, partial.version
        return document


def prefers_partial(request: Request) -> bool:
    """Does this SUBSCRIBE ask for partial documents, and not rather for whole ones (§4.1)?"""
    qualities = {media.essence: media.quality for media in request.accept_ranges}
    partial = qualities.get(PIDF_DIFF, 0.0)
    return partial > 0 and partial >= qualities.get(PIDF, 0.0)


def prefer_partial(types: tuple[str, ...]) -> str:
    """The Accept header of one who prefers partial documents to those types."""
    return ", ".join([PIDF_DIFF, *(f"{each};q={LESS}" for each in types)])


def is_partial(content_type: str) -> bool:
    """Is that the media type of a partial document?"""
    return content_type == PIDF_DIFF or MediaType.parse(content_type).essence == PIDF_DIFF
