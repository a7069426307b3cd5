"""Publications of ours at a presence server: the event publication agent (RFC 3903 §4).

A publication is one document that we keep alive at the server of `entity`. It begins with an initial PUBLISH
(a body, no SIP-If-Match); the 200 brings the entity-tag by which it is refreshed (no body), modified (a body)
and removed (Expires 0). Every success brings a new tag, a refresh too.

One PUBLISH is in flight at a time. A body that arrives meanwhile waits; a newer one takes its place, and the
newest goes out as soon as the answer is there. Each body has a revision, 1 for the first, and `Published`
says up to which revision the server has it. A removal waits in the same way. The newest wish counts: a
removal wins over bodies that wait, and a body that comes after it takes it back, be it under way or not.

    sending    a PUBLISH is in flight
    published  the server has the newest body; refreshed in time
    waiting    the last try failed for now; tried again after a pause, or at once with a new body
    failed     refused for good (403, 404, 415 …); it stays known, a new body may try again
    removing   Expires 0 is in flight
    lingering  the removal was not answered, which is told as a failure; it is repeated until the publication
               would have run out by itself
    removed    forgotten

412 says that the server has forgotten the tag: the body goes out again as initial (§4.4 asks for exactly
that). Kamailio answers 500 instead to a tag it cannot read, so a second 500 to a conditional PUBLISH counts
as 412; not the first, because a database that is busy for a moment gives one too, and a body that is
published anew beside the old one would be shown together with it. After a mere refresh the initial PUBLISH
takes its turn at the peer; a body that somebody waits for does not.

A server whose answer says by Accept that it takes partial documents is sent what changed since the body it
has (RFC 5264), if that is shorter. When it refuses such a part (400, 415, …), the body goes out whole at
once, and no other part follows.

423 is obeyed with its Min-Expires, without one the time asked is doubled; a few in a row are a failure, and
the next try asks for what was meant first. Timeout and transport count as 408 and 503 (RFC 3261 §8.1.3.1) and
are tried again, after Retry-After or growing pauses. A body that comes before Retry-After is over waits for
that, and is told to have failed for now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sipbridge.errors import LocalProtocolError
from sipbridge.events.machine import step
from sipbridge.events.package import EventPackage
from sipbridge.events.parts import Parts
from sipbridge.events.retry import (
    CSEQ_LEAP,
    MAX_TOO_BRIEF,
    TEMPORARY,
    longer,
    pause,
    refresh_after,
)
from sipbridge.events.waiting import Alarm, Turn
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Json, number, text
from sipbridge.sip.encoding import accepted_by, blames_coding, packed, preferred
from sipbridge.sip.message import Response
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.user_agent import ClientRequest, UserAgent
from sipbridge.uri import Uri
from sipbridge.values import quick


class State(StrEnum):
    """Where a publication stands."""

    SENDING = "sending"
    PUBLISHED = "published"
    WAITING = "waiting"
    FAILED = "failed"
    REMOVING = "removing"
    LINGERING = "lingering"
    REMOVED = "removed"


class Input(StrEnum):
    """What can happen to a publication."""

    ACCEPTED = "accepted"
    FORGOTTEN = "forgotten"
    TOO_BRIEF = "too-brief"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    CHANGE = "change"
    HOLD = "hold"  # a new body has to wait: for an answer, or as the peer asked (Retry-After)
    REMOVE = "remove"
    DISCARD = "discard"
    DUE = "due"
    LAPSED = "lapsed"


NEXT: Mapping[tuple[State, Input], State] = {
    (State.SENDING, Input.ACCEPTED): State.PUBLISHED,
    (State.SENDING, Input.FORGOTTEN): State.SENDING,  # §4.4: again as initial
    (State.SENDING, Input.TOO_BRIEF): State.SENDING,
    (State.SENDING, Input.UNAVAILABLE): State.WAITING,
    (State.SENDING, Input.REFUSED): State.FAILED,
    (State.SENDING, Input.CHANGE): State.SENDING,
    (State.SENDING, Input.REMOVE): State.SENDING,
    (State.SENDING, Input.DISCARD): State.REMOVED,
    (State.PUBLISHED, Input.CHANGE): State.SENDING,
    (State.PUBLISHED, Input.DUE): State.SENDING,
    (State.PUBLISHED, Input.REMOVE): State.REMOVING,
    (State.PUBLISHED, Input.DISCARD): State.REMOVED,
    (State.WAITING, Input.CHANGE): State.SENDING,
    (State.WAITING, Input.HOLD): State.WAITING,
    (State.WAITING, Input.DUE): State.SENDING,
    (State.WAITING, Input.REMOVE): State.REMOVING,
    (State.WAITING, Input.DISCARD): State.REMOVED,
    (State.FAILED, Input.CHANGE): State.SENDING,
    (State.FAILED, Input.REMOVE): State.REMOVING,
    (State.FAILED, Input.DISCARD): State.REMOVED,
    (State.REMOVING, Input.ACCEPTED): State.REMOVED,
    (State.REMOVING, Input.FORGOTTEN): State.REMOVED,
    (State.REMOVING, Input.REFUSED): State.REMOVED,
    (State.REMOVING, Input.UNAVAILABLE): State.LINGERING,
    (State.REMOVING, Input.REMOVE): State.REMOVING,
    (State.REMOVING, Input.HOLD): State.REMOVING,
    (State.REMOVING, Input.CHANGE): State.SENDING,  # answered, and there is a body again
    (State.LINGERING, Input.CHANGE): State.SENDING,
    (State.LINGERING, Input.HOLD): State.WAITING,
    (State.LINGERING, Input.DUE): State.REMOVING,
    (State.LINGERING, Input.LAPSED): State.REMOVED,
    (State.LINGERING, Input.REMOVE): State.REMOVING,
}


@quick
@dataclass(frozen=True, slots=True)
class Published:
    """The server has the body up to `revision`. expires: seconds granted."""

    publication: str
    etag: str
    expires: int
    trace: str = ""
    revision: int = 1


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """A PUBLISH failed. `status` is None when no answer came; `will_retry`: it is tried again by itself.

    tried: the destinations and why each failed, where there was no answer; for people. failures: how many
    PUBLISHes in a row have failed by now.
    """

    publication: str
    status: int | None
    reason: str
    retry_after: float | None
    trace: str = ""
    revision: int = 1
    will_retry: bool = False
    tried: str = field(default="", compare=False)
    failures: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Unpublished:
    """It is over: removed, or nothing was there to remove."""

    publication: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class TagForgotten:
    """The server does not know the entity-tag any more; the body is published anew."""

    publication: str
    status: int
    trace: str = ""


class Publisher:
    """All publications of one core."""

    def __init__(self, ua: UserAgent, packages: Mapping[str, EventPackage]) -> None:
        self.ua = ua
        self.packages = packages
        self.publications: dict[str, Publication] = {}

    def publish(
        self,
        entity: Uri,
        identity: Uri,
        package: str,
        content_type: str,
        body: bytes,
        now: float,
        *,
        expires: int | None = None,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
        trace: str = "",
    ) -> str:
        """Publish a first body; returns the publication's id. `expires` in seconds."""
        kind = known(self.packages, package)
        publication = Publication(
            self,
            self.ua.identifiers.tag(),
            entity,
            identity,
            policy.event_name(kind.name),
            expires or policy.expires or kind.default_expires,
            policy,
            credentials,
        )
        publication.package = package
        publication.content_type, publication.body, publication.trace = content_type, body, trace
        self.publications[publication.id] = publication
        publication.send(now)
        return publication.id

    def modify(self, id: str, content_type: str, body: bytes, now: float, trace: str = "") -> int:
        """Replace the body; returns its revision. Takes back a removal that is not answered yet.

        Raises LocalProtocolError when it is unknown.
        """
        return self.find(id).change(content_type, body, now, trace)

    def remove(self, id: str, now: float, trace: str = "") -> None:
        """Remove it from the server; `Unpublished` says when. Nothing happens if it is unknown."""
        if id in self.publications:
            self.publications[id].remove(now, trace)

    def refresh(self, id: str, now: float) -> None:
        """Refresh or try again now: the peer is back. Nothing happens while a PUBLISH is in flight."""
        publication = self.publications.get(id)
        if publication is not None and (publication.state, Input.DUE) in NEXT:
            publication.turn.take()
            publication.due(now)

    def follow(self, id: str, policy: PeerPolicy) -> None:
        """From now on its requests go by this policy. Nothing happens if it is unknown."""
        if id in self.publications:
            self.publications[id].policy = policy

    def find(self, id: str) -> "Publication":
        if id not in self.publications:
            raise LocalProtocolError(f"no publication {id}")
        return self.publications[id]

    def snapshot(self, id: str, now: float) -> dict[str, Json]:
        """A publication as plain JSON, for `restore`."""
        return self.find(id).snapshot(now)

    def restore(
        self,
        stored: Mapping[str, Json],
        now: float,
        *,
        elapsed: float,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
    ) -> str:
        """Take up a publication of an earlier life; returns its id. elapsed: seconds since the snapshot.

        It is refreshed when that is due; a body that had not arrived goes out in turn. Raises
        LocalProtocolError when it is no snapshot.
        """
        publication = Publication.restored(self, stored, policy, credentials)
        self.publications[publication.id] = publication
        publication.resume(number_or_none(stored.get("remaining")), elapsed, now)
        return publication.id


class Publication:
    """One publication. Waits for responses and for its deadline itself."""

    def __init__(
        self,
        publisher: Publisher,
        id: str,
        entity: Uri,
        identity: Uri,
        event: str,
        expires: int,
        policy: PeerPolicy,
        credentials: Credentials | None,
    ) -> None:
        self.publisher = publisher
        self.ua = publisher.ua
        self.id = id
        self.entity, self.target = entity, str(entity)
        """The second as it stands in each request."""
        self.package = self.event = event
        self.expires = self.wanted = expires
        """Seconds asked for, and those that were meant: 423 has more asked for."""
        self.policy, self.credentials = policy, credentials
        self.to = NameAddr.parse(f"<{self.target}>")
        self.from_ = NameAddr.parse(f"<{identity}>;tag={self.ua.identifiers.tag()}")
        self.call_id = self.ua.identifiers.call_id()
        self.cseq = 0
        self.state = State.SENDING
        self.etag = ""
        self.content_type, self.body = "", b""
        self.revision = 1
        """Of the newest body."""
        self.sent = 0
        """Revision that is in flight or was last in flight."""
        self.there = 0
        """Revision that the server has."""
        self.trace = ""
        """Of whatever asked for the newest body or for the removal."""
        self.sent_trace = ""
        self.coding, self.was_packed = "", False
        """Content coding that the server says it takes, "" for none; had the last body sent any?"""
        self.parts = Parts(policy.partial_publish)
        self.removal_asked = self.conditional = self.doubted = False
        self.failures = self.too_brief = 0
        self.rest: tuple[float, int | None] = 0.0, None
        """Until when the peer asked to be left alone (Retry-After), and by which status."""
        self.ends = 0.0
        """When the server forgets it by itself."""
        self.accepted_at: float | None = None
        """When the server last said that it has it."""
        self.plan = Alarm(self.ua, self.due)
        self.turn = Turn(self.plan)
        self.client: ClientRequest | None = None

    # --- what our side asks -----------------------------------------------------------------------

    def change(self, content_type: str, body: bytes, now: float, trace: str) -> int:
        before, self.removal_asked = self.state, False
        rests = before in (State.WAITING, State.LINGERING) and now < self.rest[0]
        held = rests or before is State.REMOVING
        self.state = step(NEXT, before, Input.HOLD if held else Input.CHANGE)
        self.content_type, self.body, self.trace = content_type, body, trace
        self.revision += 1
        if rests:
            self.tell_rest(now)
        elif not held and before is not State.SENDING:
            self.send(now)
        return self.revision

    def tell_rest(self, now: float) -> None:
        """The newest body has to wait as the peer asked, which may be long: a failure for now."""
        until, status = self.rest
        self.ua.report(
            PublishFailed(
                self.id,
                status,
                "the peer asked for rest",
                until - now,
                self.trace,
                self.revision,
                will_retry=True,
                failures=self.failures,
            )
        )

    def remove(self, now: float, trace: str) -> None:
        self.trace = trace
        self.removal_asked = True
        before = self.state
        if before not in (State.SENDING, State.REMOVING) and not self.etag:
            self.state = step(NEXT, self.state, Input.DISCARD)
            self.over()
            return
        self.state = step(NEXT, before, Input.REMOVE)
        if self.state is not before:
            self.send(now)

    def due(self, now: float) -> None:
        """The refresh, or the next try, is due; what is tried again waits for its turn at the peer."""
        again = self.state in (State.WAITING, State.LINGERING)
        if again and not self.turn.has_come(self.policy, now):
            return
        lapsed = self.state is State.LINGERING and now >= self.ends
        self.state = step(NEXT, self.state, Input.LAPSED if lapsed else Input.DUE)
        if lapsed:
            self.over()
        else:
            self.send(now)

    # --- sending ----------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """One PUBLISH, in the shape that state, tag and body call for (§4.2 to §4.5)."""
        self.plan.cancel()
        self.turn.over()
        self.cseq += 1
        removing = self.state is State.REMOVING
        self.conditional = bool(self.etag)
        with_body = not removing and (not self.etag or self.there != self.revision)
        headers = [("Event", self.event), ("Expires", "0" if removing else str(self.expires))]
        if self.etag:
            headers.append(("SIP-If-Match", self.etag))
        content_type, body = "", b""
        if with_body:
            content_type, body = self.parts.next(self.content_type, self.body, bool(self.etag))
            headers.append(("Content-Type", content_type))
        else:
            self.parts.none()
        small = packed(body, self.coding) if with_body else None
        self.was_packed = small is not None
        if small is not None:
            headers.append(("Content-Encoding", self.coding))
        self.sent = self.revision
        self.sent_trace = self.trace if removing or with_body else ""
        request = self.ua.new_request(
            "PUBLISH",
            self.target,
            from_=self.from_,
            to=self.to,
            call_id=self.call_id,
            cseq=self.cseq,
            headers=headers,
            body=small or body,
        )
        self.client = self.ua.request(
            request,
            self,
            now,
            policy=self.policy,
            credentials=self.credentials,
            trace=self.sent_trace,
        )

    def receive_response(self, response: Response, now: float) -> None:
        self.answered(now)
        status = response.status
        if self.policy.encodings and "accept-encoding" in response.headers.first():
            coding = accepted_by(response)
            self.coding = coding if coding in self.policy.encodings else ""
        self.parts.hear(response)
        if status < 300:
            self.accepted(response, now)
        elif self.was_packed and status == 415 and blames_coding(response):
            self.coding = ""
            self.send(now)
        elif self.parts.refused(status):
            self.send(now)
        elif self.conditional and status == 500 and not self.doubted:
            self.doubted = True
            self.send(now)
        elif self.conditional and status in (412, 500):
            self.forgotten(status, now)
        elif status == 423 and self.state is State.SENDING and self.too_brief < MAX_TOO_BRIEF:
            self.state = step(NEXT, self.state, Input.TOO_BRIEF)
            self.too_brief += 1
            self.expires = longer(self.expires, response.min_expires)
            self.send(now)
        else:
            self.failed(status, response.reason, response.retry_after, now)

    def request_failed(self, reason: str, now: float) -> None:
        tried = "" if self.client is None else self.client.story
        self.answered(now)
        self.failed(None, reason, None, now, tried)

    def answered(self, now: float) -> None:
        if self.client is not None:
            self.policy.spend(self.client.rounds, now)
            self.cseq = self.client.request.cseq.number  # higher than ours after a challenge
            self.client = None

    def accepted(self, response: Response, now: float) -> None:
        if self.state is State.REMOVING:
            self.gone(Input.ACCEPTED, now)
            return
        self.state = step(NEXT, self.state, Input.ACCEPTED)
        self.failures = self.too_brief = 0
        self.doubted = False
        self.there = self.sent
        self.parts.accepted()
        self.etag = (
            response.sip_etag or self.etag
        )  # every 200 must bring one (§6); a refresh may live
        granted = response.expires
        if granted is None:
            granted = self.expires
        self.ends, self.accepted_at = now + granted, now
        self.ua.report(Published(self.id, self.etag, granted, self.sent_trace, self.there))
        if self.removal_asked:
            self.remove(now, self.trace)
        elif self.there != self.revision:
            self.state = step(NEXT, self.state, Input.CHANGE)
            self.send(now)
        else:
            self.plan.set(now + refresh_after(granted, self.ua.identifiers.fraction()))

    def gone(self, happened: Input, now: float) -> None:
        """The removal has its answer: it is over, unless there is a body again."""
        if happened is not Input.REFUSED:
            self.forget_tag()
        self.state = step(NEXT, self.state, happened if self.removal_asked else Input.CHANGE)
        if self.removal_asked:
            self.over()
        else:
            self.send(now)

    def forget_tag(self) -> None:
        self.etag, self.there = "", 0
        self.parts.forget()

    def forgotten(self, status: int, now: float) -> None:
        if self.state is State.REMOVING:
            self.gone(Input.FORGOTTEN, now)
            return
        if not self.removal_asked:
            self.ua.report(TagForgotten(self.id, status, self.sent_trace))
        self.state = step(NEXT, self.state, Input.FORGOTTEN)
        is_news = self.there != self.revision
        self.forget_tag()
        if self.removal_asked and self.state is State.SENDING:
            self.state = step(NEXT, self.state, Input.DISCARD)
        if self.state is State.REMOVED:
            self.over()
        elif is_news:  # somebody waits for it
            self.policy.spend(1, now)
            self.send(now)
        elif self.turn.has_come(self.policy, now):
            self.send(now)
        else:
            self.state = step(NEXT, self.state, Input.UNAVAILABLE)

    def failed(
        self,
        status: int | None,
        reason: str,
        retry_after: float | None,
        now: float,
        tried: str = "",
    ) -> None:
        passing = status is None or status in TEMPORARY
        if self.state is State.REMOVING and not passing:
            self.gone(Input.REFUSED, now)
            return
        self.state = step(NEXT, self.state, Input.UNAVAILABLE if passing else Input.REFUSED)
        self.failures += 1
        self.too_brief = 0
        if status == 423:
            self.expires = self.wanted
        self.rest = now + (retry_after or 0.0), status
        lingers = self.state is State.LINGERING
        again = passing and (lingers or not self.removal_asked)
        self.ua.report(
            PublishFailed(
                self.id,
                status,
                reason,
                retry_after,
                self.sent_trace,
                self.sent,
                will_retry=again,
                tried=tried,
                failures=self.failures,
            )
        )
        if self.removal_asked and not lingers:
            self.remove(now, self.trace)
            return
        if lingers and not self.removal_asked:
            self.state = step(NEXT, self.state, Input.HOLD)
        if passing:
            when = now + pause(self.failures, retry_after, self.ua.identifiers.fraction())
            if self.state is State.LINGERING:
                when = min(when, max(self.ends, now))
            elif self.sent != self.revision and retry_after is None:
                when = now  # a newer body came meanwhile: nobody has refused that one
            self.plan.set(when)
        elif self.sent != self.revision:
            self.state = step(NEXT, self.state, Input.CHANGE)
            self.send(now)

    # --- keeping ----------------------------------------------------------------------------------

    def over(self) -> None:
        self.plan.cancel()
        del self.publisher.publications[self.id]
        self.ua.report(Unpublished(self.id, self.trace))

    def snapshot(self, now: float) -> dict[str, Json]:
        return {
            "id": self.id,
            "entity": self.target,
            "from": str(self.from_),
            "package": self.package,
            "event": self.event,
            "expires": self.expires,
            "call_id": self.call_id,
            "cseq": self.cseq,
            "etag": self.etag,
            "content_type": self.content_type,
            "body": self.body.decode("latin-1"),
            "parts": self.parts.snapshot(self.body),
            "revision": self.revision,
            "there": self.there,
            "coding": self.coding,
            "removal_asked": self.removal_asked,
            "failed": self.state is State.FAILED,
            "remaining": self.ends - now if self.etag else None,
        }

    @classmethod
    def restored(
        cls,
        publisher: Publisher,
        stored: Mapping[str, Json],
        policy: PeerPolicy,
        credentials: Credentials | None,
    ) -> "Publication":
        try:
            from_ = NameAddr.parse(text(stored["from"]))
            publication = cls(
                publisher,
                text(stored["id"]),
                Uri.parse(text(stored["entity"])),
                from_.uri,
                text(stored["event"]),
                number(stored["expires"]),
                policy,
                credentials,
            )
            publication.package = text(stored["package"])
            publication.from_ = from_
            publication.call_id = text(stored["call_id"])
            publication.cseq = number(stored["cseq"]) + CSEQ_LEAP
            publication.etag = text(stored["etag"])
            publication.content_type = text(stored["content_type"])
            publication.body = text(stored["body"]).encode("latin-1")
            publication.parts.restore(stored.get("parts"), publication.body)
            publication.revision = number(stored["revision"])
            publication.there = publication.sent = number(stored["there"])
            publication.coding = preferred(text(stored.get("coding", "")))
            publication.removal_asked = bool(stored["removal_asked"])
            publication.state = State.FAILED if stored["failed"] else State.PUBLISHED
        except (KeyError, TypeError) as error:
            raise LocalProtocolError(f"not a snapshot of a publication: {error}") from error
        return publication

    def resume(self, remaining: float | None, elapsed: float, now: float) -> None:
        """Go on after a restart: what the server may have forgotten is sent again whole, in turn."""
        left = (remaining or 0.0) - elapsed
        self.ends = now + max(left, 0.0)
        if left <= 0:
            self.etag, self.there = "", 0
            self.parts.forget()
        if self.removal_asked and not self.etag:
            self.remove(now, "")
        elif self.removal_asked:
            self.state = State.LINGERING
            self.due(now)
        elif self.state is not State.FAILED and self.there != self.revision:
            self.state = State.WAITING
            self.due(now)
        elif self.state is not State.FAILED:
            self.plan.set(now + refresh_after(left, self.ua.identifiers.fraction()))


def known(packages: Mapping[str, EventPackage], name: str) -> EventPackage:
    """The package of that name. Raises LocalProtocolError when nobody registered it."""
    if name not in packages:
        raise LocalProtocolError(f"no event package {name}")
    return packages[name]


def number_or_none(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
