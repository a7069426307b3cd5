"""Partial publication (RFC 5264), beside the machine that publishes.

Knows which document the server has, whether it takes partial ones, and makes of a new document what goes out:
the difference, if that is shorter, else the document. A part has no version; the entity-tag says what it is
about (§4). A server says that it takes parts by an Accept header in any of its answers to PUBLISH, and that
it does not any more in the same way.
"""

from collections.abc import Mapping

from sipbridge.errors import DocumentError
from sipbridge.events.presence_package import PIDF, PIDF_DIFF
from sipbridge.presence import pidf_diff
from sipbridge.sip.dialog import Json
from sipbridge.sip.message import Response

REFUSALS = frozenset({400, 413, 415, 422, 488})
"""Answers to a part after which the whole is sent instead; 412 says that no part can be right."""


class Parts:
    """What the server of one publication has."""

    __slots__ = ("allowed", "is_part", "sent", "taken", "there")

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        """By the peer's policy, and it has refused none."""
        self.taken = False
        """The server says that it takes parts."""
        self.there = b""
        """The document that the server has; empty if that is not known, or none of ours."""
        self.sent: bytes | None = None
        """The document in flight, whole; None if the PUBLISH has no body."""
        self.is_part = False
        """Is it in flight as a part?"""

    def next(self, content_type: str, body: bytes, conditional: bool) -> tuple[str, bytes]:
        """Type and body of a PUBLISH that brings the server to this document.

        conditional: it names the entity-tag of what the server has.
        """
        self.sent, self.is_part = body if content_type == PIDF else b"", False
        if not (conditional and self.allowed and self.taken and self.there and self.sent):
            return content_type, body
        try:
            difference = pidf_diff.difference(self.there, body)
        except DocumentError:
            difference = None  # no document of ours; the server may know better
        if difference is None:
            return content_type, body
        self.is_part = True
        return PIDF_DIFF, difference.document(None)

    def none(self) -> None:
        """The PUBLISH has no body."""
        self.sent, self.is_part = None, False

    def hear(self, response: Response) -> None:
        """An answer may say what the server takes."""
        if "accept" in response.headers.first():
            self.taken = PIDF_DIFF in response.accept

    def refused(self, status: int) -> bool:
        """Was the answer to a part that it is not liked? Then whole documents follow."""
        if not self.is_part or status not in REFUSALS:
            return False
        self.allowed = self.is_part = False
        return True

    def accepted(self) -> None:
        """The server has what was in flight."""
        if self.sent is not None:
            self.there = self.sent

    def forget(self) -> None:
        """The server has forgotten."""
        self.there = b""

    def snapshot(self, body: bytes) -> dict[str, Json]:
        """body: the publication's newest, which is kept anyway."""
        there = None if self.there == body else self.there.decode("latin-1")
        return {"allowed": self.allowed, "taken": self.taken, "there": there}

    def restore(self, stored: Json, body: bytes) -> None:
        """Take up what `snapshot` gave; anything else is forgotten."""
        if not isinstance(stored, Mapping):
            return
        there = stored.get("there", "")
        self.allowed = self.allowed and bool(stored.get("allowed"))
        self.taken = bool(stored.get("taken"))
        self.there = body if there is None else str(there).encode("latin-1")
