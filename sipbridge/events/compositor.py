"""Publications of others here: the event state compositor (RFC 3903 §6).

What a PUBLISH asks is said by three facts, the table of RFC 3903 §4.1 (here `OPERATIONS`): has it a body, a
SIP-If-Match, Expires 0?

    body  match  zero
    yes   no     no     initial
    no    yes    no     refresh
    yes   yes    no     modify
    any   yes    yes    remove
    yes   no     yes    initial that is over at once: nothing to keep
    no    no     any    nothing is asked for: 400

The checks come in the order of the RFC, each with its own answer: may this user publish here (the authority:
401, 403, 404), the package (489 with Allow-Events), the entity-tag (412), Expires (423 below the minimum,
lowered above its maximum), Content-Type (415 with Accept), the document (400 with a Warning that says why).
Only then anything changes. Every success brings a new entity-tag, a refresh too; the old one gets 412.

A publication may come in parts (RFC 5264): what changed since the entity-tag it names is carried out here,
and from then on the publication is as if it had come whole. What does not fit gets 400 with the reason in the
words of RFC 5261 §5, and changes nothing. The answer to a first body says that parts are taken.

The authority reads documents, keeps what has to survive, and is told of each change, after the 200 was given.
A document whose bytes have not changed is not read again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sipbridge.errors import DocumentError, PatchError
from sipbridge.events.notifier import BUSY_RETRY_AFTER, Admission, offered
from sipbridge.events.package import EventPackage
from sipbridge.presence import pidf_diff
from sipbridge.presence.patching import COMPLAINT, complaint
from sipbridge.sip.encoding import SMALLEST, open_body
from sipbridge.sip.fields import parse_media_type
from sipbridge.sip.message import Request
from sipbridge.sip.timers import Deadline
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri


class Operation(StrEnum):
    """What a PUBLISH asks for (RFC 3903 §4.1)."""

    INITIAL = "initial"
    REFRESH = "refresh"
    MODIFY = "modify"
    REMOVE = "remove"
    PASSING = "passing"
    NOTHING = "nothing"


OPERATIONS: Mapping[tuple[bool, bool, bool], Operation] = {
    (True, False, False): Operation.INITIAL,
    (False, True, False): Operation.REFRESH,
    (True, True, False): Operation.MODIFY,
    (False, True, True): Operation.REMOVE,
    (True, True, True): Operation.REMOVE,
    (True, False, True): Operation.PASSING,
    (False, False, False): Operation.NOTHING,
    (False, False, True): Operation.NOTHING,
}
"""By (has a body, has SIP-If-Match, Expires is 0)."""


class Change(StrEnum):
    """What became of a publication."""

    CREATED = "created"
    REFRESHED = "refreshed"
    MODIFIED = "modified"
    REMOVED = "removed"
    EXPIRED = "expired"


CHANGES = {
    Operation.INITIAL: Change.CREATED,
    Operation.REFRESH: Change.REFRESHED,
    Operation.MODIFY: Change.MODIFIED,
    Operation.REMOVE: Change.REMOVED,
}


class Publication:
    """One publication. `id` is for life, `etag` for one PUBLISH; `document` is what the authority read.

    local: its publisher lives in our process and reached us by a flow in memory.
    """

    __slots__ = (
        "body",
        "compositor",
        "content_type",
        "document",
        "etag",
        "expires_at",
        "expiry",
        "id",
        "local",
        "package",
        "received",
        "resource",
    )

    def __init__(
        self, compositor: "Compositor", id: str, package: EventPackage, resource: Uri
    ) -> None:
        self.compositor = compositor
        self.id = id
        self.package = package
        self.resource = resource
        self.local = False
        self.etag = ""
        self.content_type = ""
        self.body = b""
        self.document: object = None
        self.received = 0.0
        """`now` of the last body."""
        self.expires_at = 0.0
        self.expiry: Deadline | None = None

    @property
    def said(self) -> "Said":
        """What it says now."""
        return Said(self.content_type, self.body, self.document, self.received)

    def say(self, said: "Said") -> None:
        """From now on it says that."""
        self.content_type, self.body = said.content_type, said.body
        self.document, self.received = said.document, said.received

    def handle_timeout(self, now: float) -> None:
        """Its time is up."""
        self.expiry = None
        self.compositor.expire(self, now)


class PublicationAuthority(Protocol):
    """Owns the resources: says who may publish, and reads what is published."""

    def admit_publisher(self, incoming: ServerRequest, now: float) -> Admission:
        """Judge a PUBLISH: whose state, by whom, may it be?"""
        ...

    def read_document(self, package: EventPackage, content_type: str, body: bytes) -> object:
        """The document, as the authority wants to have it. Raises DocumentError."""
        ...

    def keep_publication(self, publication: Publication, change: Change, now: float) -> int | None:
        """Store it. Returns the number of the change if the 200 has to wait for it."""
        ...

    def publication_changed(
        self, publication: Publication, change: Change, now: float, trace: str
    ) -> None:
        """It is so now; the publisher has been answered."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """What a publication says, whole: as it is kept, and as the authority read it."""

    content_type: str
    body: bytes
    document: object
    received: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A PUBLISH that has passed all checks but the document's."""

    request: Request
    package: EventPackage
    resource: Uri
    operation: Operation
    publication: Publication | None
    expires: int


class Compositor:
    """All publications of others at one core."""

    def __init__(
        self,
        ua: UserAgent,
        packages: Mapping[str, EventPackage],
        authority: PublicationAuthority,
        *,
        max_publications: int = 200_000,
    ) -> None:
        """max_publications: about 4 kB each, the document included."""
        self.ua = ua
        self.packages = packages
        self.authority = authority
        self.max_publications = max_publications
        self.by_etag: dict[str, Publication] = {}
        ua.allow_events.extend(name for name in packages if name not in ua.allow_events)
        ua.serve("PUBLISH", self)
        for package in packages.values():
            ua.accept("PUBLISH", offered(package))

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        """A PUBLISH."""
        admission = self.authority.admit_publisher(incoming, now)
        if admission.status >= 300:
            incoming.respond(admission.status, reason=admission.reason, headers=admission.headers)
            return
        asked = self.understood(incoming, admission.resource)
        if asked is None:
            return
        if asked.operation is Operation.REMOVE:
            self.remove(asked, incoming, now)
            return
        said = None
        if asked.operation is not Operation.REFRESH:
            if not self.readable(incoming, asked.package):
                return
            try:
                said = self.said(asked, now)
            except DocumentError as error:
                self.refuse(incoming, error)
                return
        self.apply(asked, said, incoming, now)

    # --- checks -----------------------------------------------------------------------------------

    def understood(self, incoming: ServerRequest, resource: Uri) -> Asked | None:
        """Package, entity-tag and Expires; None after an answer."""
        request = incoming.request
        event = request.event
        package = self.packages.get(event.package) if event is not None else None
        if package is None:
            incoming.respond(489, headers=[("Allow-Events", ", ".join(self.packages))])
            return None
        etag = request.sip_if_match
        publication = self.by_etag.get(etag) if etag else None
        if etag and (
            publication is None
            or publication.resource != resource
            or publication.package is not package
        ):
            incoming.respond(412)
            return None
        expires = request.expires
        if expires is None:
            expires = package.default_expires
        elif 0 < expires < package.min_expires:
            incoming.respond(423, headers=[("Min-Expires", str(package.min_expires))])
            return None
        operation = OPERATIONS[bool(request.body), bool(etag), expires == 0]
        if operation is Operation.NOTHING:
            incoming.respond(400, reason="Neither Body nor SIP-If-Match")
            return None
        if operation is Operation.INITIAL and len(self.by_etag) >= self.max_publications:
            incoming.respond(503, headers=[("Retry-After", str(BUSY_RETRY_AFTER))])
            return None
        granted = min(expires, package.max_expires)
        return Asked(request, package, resource, operation, publication, granted)

    def readable(self, incoming: ServerRequest, package: EventPackage) -> bool:
        """May the body be one of ours? False after a refusal. It is decoded then."""
        media_type = incoming.request.content_type
        if media_type is None or media_type.essence not in offered(package):
            incoming.respond(415, headers=[("Accept", ", ".join(offered(package)))])
            return False
        return open_body(incoming, self.ua.encodings)

    def said(self, asked: Asked, now: float) -> Said:
        """What the publication says after this PUBLISH. Raises DocumentError."""
        request, known = asked.request, asked.publication
        content_type, body = request.headers.get("Content-Type") or "", request.body
        kind = request.content_type
        if kind is not None and kind.essence == asked.package.partial_type:
            body = whole(body, kind.parameters.get("charset"), known)
            content_type = asked.package.body_types[0]
        if known is not None and known.body == body and known.content_type == content_type:
            return Said(content_type, body, known.document, now)
        document = self.authority.read_document(asked.package, content_type, body)
        return Said(content_type, body, document, now)

    def refuse(self, incoming: ServerRequest, error: DocumentError) -> None:
        """400, with the reason."""
        headers, body = [warning(self.ua.name, error)], b""
        if isinstance(error, PatchError):
            headers.append(("Content-Type", COMPLAINT))
            body = complaint(error)
        incoming.respond(400, reason="Bad Document", headers=headers, body=body)

    # --- changes ----------------------------------------------------------------------------------

    def apply(
        self,
        asked: Asked,
        said: Said | None,
        incoming: ServerRequest,
        now: float,
    ) -> None:
        """Create, refresh or modify; answer; tell. said: None for a refresh."""
        etag = self.ua.identifiers.entity_tag()
        if asked.operation is Operation.PASSING:
            incoming.respond(200, headers=[("SIP-ETag", etag), ("Expires", "0")])
            return
        publication = asked.publication
        change = CHANGES[asked.operation]
        before = None
        if publication is not None:
            before = Before(publication.etag, publication.said)
        if publication is None:
            publication = Publication(self, etag, asked.package, asked.resource)
        else:
            del self.by_etag[publication.etag]
        publication.local = incoming.flow.protocol == "memory"
        publication.etag = etag
        self.by_etag[etag] = publication
        if said is not None:
            if change is Change.MODIFIED and publication.document is said.document:
                change = Change.REFRESHED  # the same bytes again: no news
            publication.say(said)
        self.lives(publication, asked.expires, now)
        number = self.authority.keep_publication(publication, change, now)
        headers = [("SIP-ETag", etag), ("Expires", str(asked.expires))]
        if len(asked.request.wire_body) >= SMALLEST and self.ua.encodings and not publication.local:
            headers.append(("Accept-Encoding", ", ".join(self.ua.encodings)))
        if change is Change.CREATED and asked.package.partial_type and not publication.local:
            headers.append(("Accept", ", ".join(offered(asked.package))))
        incoming.respond(200, headers=headers, after=number)
        if number is not None:
            self.ua.when_stored(number, Promise(publication, etag, before))
        self.authority.publication_changed(publication, change, now, incoming.trace)

    def not_stored(
        self, publication: Publication, etag: str, before: "Before | None", now: float
    ) -> None:
        """The publisher was told 500: a new publication is withdrawn, another is as it was.

        Its document too: a part that is sent again is one of that.
        """
        if publication.etag != etag or etag not in self.by_etag:
            return
        if before is None:
            self.forget(publication)
            self.authority.publication_changed(publication, Change.REMOVED, now, "")
            return
        del self.by_etag[etag]
        publication.etag = before.etag
        self.by_etag[before.etag] = publication
        if publication.document is not before.said.document:
            publication.say(before.said)
            self.authority.publication_changed(publication, Change.MODIFIED, now, "")

    def remove(self, asked: Asked, incoming: ServerRequest, now: float) -> None:
        publication = asked.publication
        if publication is None:  # cannot be: a removal has a tag, and an unknown tag got 412
            incoming.respond(412)
            return
        self.forget(publication)
        number = self.authority.keep_publication(publication, Change.REMOVED, now)
        # §6 step 6 asks for a SIP-ETag in every 2xx; this one names nothing any more.
        headers = [("SIP-ETag", self.ua.identifiers.entity_tag()), ("Expires", "0")]
        incoming.respond(200, headers=headers, after=number)
        self.authority.publication_changed(publication, Change.REMOVED, now, incoming.trace)

    def expire(self, publication: Publication, now: float) -> None:
        """It was not refreshed in time (§6.3)."""
        self.forget(publication)
        self.authority.keep_publication(publication, Change.EXPIRED, now)
        self.authority.publication_changed(publication, Change.EXPIRED, now, "")

    def forget(self, publication: Publication) -> None:
        self.by_etag.pop(publication.etag, None)
        if publication.expiry is not None:
            publication.expiry.cancel()
            publication.expiry = None

    def lives(self, publication: Publication, seconds: float, now: float) -> None:
        publication.expires_at = now + seconds
        if publication.expiry is not None:
            publication.expiry.cancel()
        publication.expiry = self.ua.schedule(publication.expires_at, publication)

    def restore(
        self,
        id: str,
        package: EventPackage,
        resource: Uri,
        etag: str,
        content_type: str,
        body: bytes,
        now: float,
        *,
        age: float,
        remaining: float,
    ) -> Publication:
        """Take up a publication of an earlier life; `age` and `remaining` in seconds.

        Raises DocumentError when the body cannot be read any more. One that ran out meanwhile expires at the
        next timeout.
        """
        publication = Publication(self, id, package, resource)
        publication.document = self.authority.read_document(package, content_type, body)
        publication.etag = etag
        publication.content_type = content_type
        publication.body = body
        publication.received = now - age
        self.by_etag[etag] = publication
        self.lives(publication, max(remaining, 0.0), now)
        return publication


@dataclass(frozen=True, slots=True)
class Before:
    """What a publication was."""

    etag: str
    said: Said


def whole(body: bytes, charset: str | None, known: Publication | None) -> bytes:
    """The document that a partial one leads to (RFC 5264 §4). Raises DocumentError."""
    partial = pidf_diff.parse(body, charset)
    if partial.is_full:
        return pidf_diff.plain(partial)
    if known is None:
        raise DocumentError("a difference to nothing")
    base = parse_media_type(known.content_type).parameters.get("charset")
    return pidf_diff.applied(known.body, partial, base)


def warning(agent: str, error: DocumentError) -> tuple[str, str]:
    """A Warning header that says what is wrong with a document (RFC 3261 §20.43)."""
    text = "".join(c if c.isprintable() and c not in '"\\' else " " for c in str(error))
    return "Warning", f'399 {agent} "{text[:200]}"'


@dataclass(frozen=True, slots=True)
class Promise:
    """Waits for the commit behind a 200; `before` is what the publication was, None if it is new."""

    publication: Publication
    etag: str
    before: "Before | None"

    def change_committed(self, now: float) -> None:
        """All is well."""

    def change_failed(self, now: float) -> None:
        self.publication.compositor.not_stored(self.publication, self.etag, self.before, now)
