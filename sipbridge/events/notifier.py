"""Subscriptions of others here: the notifier (RFC 6665 §4.2).

    pending     known, nobody has decided
    active      decided
    terminated  one last NOTIFY is due or in flight, then it is forgotten

A SUBSCRIBE is checked in this order: the package (489 with Allow-Events), Accept (406), a body we cannot
use (415), Expires (423 below the package's minimum, lowered above its maximum), and then by whoever owns
the resource, the *authority*: may this be, by whom, for what, is it decided? The 200 makes the dialog and
a NOTIFY follows at once (§4.2.1.2); where the 200 waits for the store, so does the NOTIFY. Refresh, end
(Expires 0) and fetch (Expires 0 outside a dialog) take the same way. A fetch is over with the NOTIFY that has
the last of its state. Those before say `active;expires=0`: parts of what does not fit into one, and one with
no body to an address that has yet to answer.

One NOTIFY of a subscription is in flight. `offer` says that the content may have changed; what is sent is
asked of the authority at the moment of sending, so of many changes only the newest state goes out, and equal
bytes are not sent twice. Changes of the state and answers to SUBSCRIBE are always sent, but for what the
watcher says it holds already (`conditional`): then a SUBSCRIBE in the dialog gets 204 and no NOTIFY. A
watcher may ask for fewer NOTIFYs, or for some even without news (`rate`); each SUBSCRIBE says anew. Watchers
who ask for partial documents get them (`partial`), made of what the authority says to them.

A NOTIFY without answer, or answered with one of `ENDS_SUBSCRIPTION`, ends the subscription in silence
(§4.2.2); another refusal is followed by a new try, after Retry-After or a pause, and by the end when it goes
on. Of `active` the table leads to `pending` by way of `deactivated`: the figure in §4.1.2 knows no step back,
and a watcher told so subscribes anew at once and then is pending.

A restored subscription begins above the CSeq numbers that may have been used since its snapshot, and stores
that before its next NOTIFY leaves: however often and whenever we fall, no number is used twice (RFC 3261
§12.2.1.1). Nothing is sent before `resume`, so that the authority can collect its state first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.events import conditional
from sipbridge.events.machine import step
from sipbridge.events.package import EventPackage
from sipbridge.events.partial import LEAP, Telling, prefers_partial
from sipbridge.events.rate import NO_RATE, Pace, Rate, granted, plain_event
from sipbridge.events.retry import ENDS_SUBSCRIPTION
from sipbridge.events.unproven import Unproven, doubt
from sipbridge.sip.dialog import Dialog, Json, text
from sipbridge.sip.encoding import accepted_by, blames_coding, open_body, packed, preferred
from sipbridge.sip.fields import Event
from sipbridge.sip.message import Request, Response
from sipbridge.sip.nat import Nat
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.timers import Deadline
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri

MAX_NOTIFY_FAILURES = 3
"""Refusals in a row before a subscription is given up."""

NOTIFY_PAUSE = 10.0
"""Seconds before a refused NOTIFY is repeated, if no Retry-After says otherwise."""

LONGEST_NOTIFY_PAUSE = 600.0
"""Seconds; a longer Retry-After would leave the watcher with old state for too long."""

CSEQ_BLOCK = 100_000
"""CSeq numbers that belong to us with each snapshot that is stored: NOTIFYs are not stored one by one. A
subscription that is refreshed each hour would need 27 a second to use them up before the next snapshot."""

RESTORE_RATE = 500.0
"""NOTIFYs a second after a restart."""

BUSY_RETRY_AFTER = 60
"""Seconds named when no more subscriptions are taken."""


class State(StrEnum):
    """Where a subscription stands."""

    INIT = "init"
    PENDING = "pending"
    ACTIVE = "active"
    TERMINATED = "terminated"


class Input(StrEnum):
    """What can happen to a subscription."""

    APPROVED = "approved"
    UNDECIDED = "undecided"
    REFRESHED = "refreshed"
    REJECTED = "rejected"
    DEACTIVATED = "deactivated"
    GIVEN_UP = "given-up"
    NO_RESOURCE = "no-resource"
    UNSUBSCRIBED = "unsubscribed"
    EXPIRED = "expired"
    FAILED = "failed"


ENDINGS: Mapping[Input, str] = {
    Input.REJECTED: "rejected",
    Input.DEACTIVATED: "deactivated",
    Input.GIVEN_UP: "giveup",
    Input.NO_RESOURCE: "noresource",
    Input.UNSUBSCRIBED: "timeout",
    Input.EXPIRED: "timeout",
    Input.FAILED: "",
}
"""The inputs that end a subscription, and the reason the last NOTIFY gives (§4.1.3)."""

NEXT: Mapping[tuple[State, Input], State] = {
    (State.INIT, Input.APPROVED): State.ACTIVE,
    (State.INIT, Input.UNDECIDED): State.PENDING,
    (State.PENDING, Input.APPROVED): State.ACTIVE,
    (State.PENDING, Input.UNDECIDED): State.PENDING,
    (State.PENDING, Input.REFRESHED): State.PENDING,
    (State.PENDING, Input.REJECTED): State.TERMINATED,
    (State.PENDING, Input.DEACTIVATED): State.TERMINATED,
    (State.PENDING, Input.GIVEN_UP): State.TERMINATED,
    (State.PENDING, Input.NO_RESOURCE): State.TERMINATED,
    (State.PENDING, Input.UNSUBSCRIBED): State.TERMINATED,
    (State.PENDING, Input.EXPIRED): State.TERMINATED,
    (State.PENDING, Input.FAILED): State.TERMINATED,
    (State.ACTIVE, Input.APPROVED): State.ACTIVE,
    (State.ACTIVE, Input.REFRESHED): State.ACTIVE,
    (State.ACTIVE, Input.REJECTED): State.TERMINATED,
    (State.ACTIVE, Input.DEACTIVATED): State.TERMINATED,
    (State.ACTIVE, Input.NO_RESOURCE): State.TERMINATED,
    (State.ACTIVE, Input.UNSUBSCRIBED): State.TERMINATED,
    (State.ACTIVE, Input.EXPIRED): State.TERMINATED,
    (State.ACTIVE, Input.FAILED): State.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Content:
    """Body of a NOTIFY.

    more: it is part of the news only; the next NOTIFY, with the rest, is due at once. divisible: less of it
    at a time would do too. etag "": its NOTIFYs carry no entity-tag.
    """

    content_type: str
    body: bytes
    more: bool = False
    divisible: bool = False
    etag: str = ""


NOTHING_NEW = Content("", b"")
"""Said by an authority that was asked for news and has none: no NOTIFY is sent."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the authority says of a SUBSCRIBE or PUBLISH: below 300 it may be, else answer so.

    resource: whose state. user: who asks, authenticated if the authority authenticates. headers: of the
    answer; of a 2xx to SUBSCRIBE too, and then of each NOTIFY. Of a SUBSCRIBE only, pending: nobody has
    decided yet; context: what a new subscription has in its `context`; proven: `user` was authenticated;
    shown: who others are told is asking where `user` withholds who he is (RFC 3325 §9.3).
    """

    resource: Uri
    user: Uri
    status: int = 200
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    pending: bool = False
    context: object = None
    proven: bool = False
    shown: Uri | None = None


class SubscriptionAuthority(Protocol):
    """Owns the resources: says who may subscribe and what they are told."""

    def admit_subscriber(
        self,
        incoming: ServerRequest,
        package: EventPackage,
        subscription: "Subscription | None",
        now: float,
    ) -> Admission:
        """Judge a SUBSCRIBE: a new one (`subscription` None), or one of a living subscription."""
        ...

    def content(self, subscription: "Subscription", now: float) -> Content | None:
        """What a NOTIFY says at this moment; None: no body. It counts as said."""
        ...

    def take_back(self, subscription: "Subscription") -> None:
        """The last content did not leave and counts as not said; the next is all there is."""
        ...

    def entity_tag(self, subscription: "Subscription", now: float) -> str:
        """The entity-tag of what a NOTIFY would say; "" where there is none."""
        ...

    def keep_subscription(
        self, subscription: "Subscription", happened: Input, now: float
    ) -> int | None:
        """Its state or life changed: store it. Returns the number of the change if a 200 has to wait."""
        ...


class Notifier:
    """All subscriptions of others at one core."""

    def __init__(
        self,
        ua: UserAgent,
        packages: Mapping[str, EventPackage],
        authority: SubscriptionAuthority,
        *,
        max_subscriptions: int = 200_000,
        min_interval: float = 0.0,
        entity_tags: bool = True,
        rate_control: bool = True,
        nat: Nat = Nat.OFF,
    ) -> None:
        """max_subscriptions: about 4 kB each. min_interval: least seconds between NOTIFYs of new content.

        entity_tags: NOTIFYs carry them, and what a watcher holds is not told again (RFC 5839). rate_control:
        watchers may ask for a rate (RFC 6446). nat: where watchers are whose Contact cannot be reached.
        """
        self.ua = ua
        self.packages = packages
        self.authority = authority
        self.max_subscriptions = max_subscriptions
        self.min_interval = min_interval
        self.entity_tags = entity_tags
        self.rate_control = rate_control
        self.nat = nat
        self.subscriptions: dict[str, Subscription] = {}
        self.unproven = Unproven()
        self.restored: list[Subscription] = []
        """They wait for `resume`."""
        ua.allow_events.extend(name for name in packages if name not in ua.allow_events)
        ua.serve("SUBSCRIBE", self)

    # --- what the authority asks ------------------------------------------------------------------

    def offer(
        self, subscription: "Subscription", now: float, trace: str = "", *, gather: float = 0.0
    ) -> None:
        """The content may have changed: notify if it has. gather: seconds in which more may come along."""
        if gather and not subscription.dirty:
            subscription.not_before = max(subscription.not_before, now + gather)
        subscription.dirty = True
        subscription.trace = trace
        self.flush(subscription, now)

    def happen(
        self, subscription: "Subscription", happened: Input, now: float, trace: str = ""
    ) -> None:
        """The authority decided something: step, store, notify."""
        if subscription.state is State.TERMINATED:
            return
        subscription.trace = trace
        self.step(subscription, happened, now)
        self.flush(subscription, now)

    # --- SUBSCRIBE --------------------------------------------------------------------------------

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        """A SUBSCRIBE outside dialogs: a new subscription, or a fetch."""
        package = self.acceptable(incoming)
        if package is None:
            return
        expires = self.lifetime(incoming, package)
        if expires is None:
            return
        admission = self.authority.admit_subscriber(incoming, package, None, now)
        if admission.status >= 300:
            incoming.respond(admission.status, reason=admission.reason, headers=admission.headers)
        elif len(self.subscriptions) >= self.max_subscriptions or not (
            admission.proven or self.unproven.has_room(incoming)
        ):
            incoming.respond(503, headers=[("Retry-After", str(BUSY_RETRY_AFTER))])
        else:
            self.create(incoming, package, admission, expires, now)

    def acceptable(self, incoming: ServerRequest) -> EventPackage | None:
        """The package, if all that does not depend on the resource is in order; answers otherwise."""
        request = incoming.request
        event = request.event
        package = self.packages.get(event.package) if event is not None else None
        if package is None:
            incoming.respond(489, headers=[("Allow-Events", ", ".join(self.packages))])
        elif "Accept" in request.headers and not accepts(request.accept, offered(package)):
            incoming.respond(406)
        elif request.body and not (takes(package, request) or optional(request)):
            incoming.respond(415, headers=[("Accept", ", ".join(package.asked_with))])
        elif not request.body or open_body(incoming, self.ua.encodings):
            return package
        return None

    def lifetime(self, incoming: ServerRequest, package: EventPackage) -> int | None:
        """Seconds granted (0: end or fetch); None after a 423 (§4.2.1.1)."""
        asked = incoming.request.expires
        if asked is None:
            return package.default_expires
        if 0 < asked < package.min_expires:
            incoming.respond(423, headers=[("Min-Expires", str(package.min_expires))])
            return None
        return min(asked, package.max_expires)

    def create(
        self,
        incoming: ServerRequest,
        package: EventPackage,
        admission: Admission,
        expires: int,
        now: float,
    ) -> None:
        request = incoming.request
        contact = self.ua.contact_for(admission.resource, incoming.flow)
        subscription = Subscription(
            self,
            self.ua.identifiers.tag(),
            package,
            Dialog.as_uas(request, incoming.to_tag, contact, incoming.flow, self.nat),
            admission,
            now,
        )
        if doubt(subscription.dialog, incoming, admission.proven):
            subscription.unproven_at = incoming.flow.remote[0]
            self.unproven.add(subscription.unproven_at)
        self.hear_wishes(subscription, request, now)
        subscription.display_name = request.from_.display_name or ""
        subscription.stated = conditional.condition(request)
        subscription.listen(request)
        self.subscriptions[subscription.id] = subscription
        self.ua.add_dialog(subscription.dialog, subscription)
        subscription.extend(expires, now)
        happened = Input.UNDECIDED if admission.pending else Input.APPROVED
        subscription.fetch = expires == 0
        number = self.step(subscription, happened, now)
        if subscription.fetch and admission.pending:
            number = self.step(subscription, Input.UNSUBSCRIBED, now)
        self.answer(subscription, incoming, expires, number, now)

    def answer(
        self,
        subscription: "Subscription",
        incoming: ServerRequest,
        expires: int,
        number: int | None,
        now: float,
        *,
        quiet: bool = False,
    ) -> None:
        """The 200, and right after it the NOTIFY it promises. quiet: the 204, which promises none."""
        headers = [
            ("Expires", str(expires)),
            ("Contact", str(subscription.dialog.contact)),
            *subscription.headers,
        ]
        incoming.respond(
            conditional.NO_NOTIFICATION if quiet else 200, headers=headers, after=number
        )
        subscription.quiet_end = quiet and subscription.state is State.TERMINATED
        if not quiet:
            subscription.must = True
        elif subscription.quiet_end:
            subscription.must = subscription.dirty = False
        subscription.trace = incoming.trace
        if number is None and subscription.quiet_end:
            self.forget(subscription)
            return
        if number is None:
            subscription.established = True
        else:
            subscription.held = True
            self.ua.when_stored(number, subscription)
        self.flush(subscription, now)

    def subscribe_again(
        self, subscription: "Subscription", incoming: ServerRequest, now: float
    ) -> None:
        """A SUBSCRIBE in the dialog: refresh or end (§4.2.1.3)."""
        event = incoming.request.event
        if subscription.ends or (event is not None and not subscription.is_about(event)):
            incoming.respond(481)
            return
        package = self.acceptable(incoming)
        expires = self.lifetime(incoming, package) if package is not None else None
        if package is None or expires is None:
            return
        admission = self.authority.admit_subscriber(incoming, package, subscription, now)
        if admission.status >= 300:
            incoming.respond(admission.status, reason=admission.reason, headers=admission.headers)
            return
        doubt(subscription.dialog, incoming, admission.proven)
        self.hear_wishes(subscription, incoming.request, now)
        subscription.extend(expires, now)
        stated = conditional.condition(incoming.request) if self.entity_tags else ""
        quiet = bool(stated) and conditional.holds(
            stated, self.authority.entity_tag(subscription, now)
        )
        subscription.listen(incoming.request)
        happened = Input.REFRESHED if expires else Input.UNSUBSCRIBED
        number = self.step(subscription, happened, now)
        self.answer(subscription, incoming, expires, number, now, quiet=quiet)

    def hear_wishes(self, subscription: "Subscription", request: Request, now: float) -> None:
        """How a SUBSCRIBE wants to be notified: in which coding, under which Event, how often."""
        subscription.coding = accepted_by(request) if self.ua.encodings else ""
        event = request.event
        if event is None:
            return
        subscription.event = plain_event(event.package, event.parameters)
        subscription.set_rate(Rate.of(event.parameters) if self.rate_control else NO_RATE, now)

    # --- NOTIFY -----------------------------------------------------------------------------------

    def step(self, subscription: "Subscription", happened: Input, now: float) -> int | None:
        before = subscription.state
        subscription.state = step(NEXT, before, happened)
        if subscription.state is not before:
            subscription.must = True
        if subscription.state is State.TERMINATED:
            subscription.reason = ENDINGS[happened]
            subscription.stop_expiry()
        return self.authority.keep_subscription(subscription, happened, now)

    def flush(self, subscription: "Subscription", now: float) -> None:
        """Send what is due, unless a NOTIFY is in flight: then its answer comes back here."""
        s = subscription
        if s.in_flight or s.held or not (s.must or s.dirty):
            return
        if not s.must and now < s.not_before:
            if s.wake is None:
                s.wake = self.ua.schedule(s.not_before, Wake(s))
            return
        if now >= s.expires_at and not s.ends:
            return  # its end is due at this very moment, and says more
        if s.dialog.local_cseq >= s.reserved and not self.reserve(s, now):
            return
        content, kept_back = self.affordable(s, now)
        more = content is not None and content.more
        if s.fetch and s.state is not State.TERMINATED and not (more or kept_back):
            self.step(s, Input.UNSUBSCRIBED, now)
            content = None if content is NOTHING_NEW else content
        body = content.body if content is not None else b""
        if not s.must and (body == s.said or content is NOTHING_NEW):
            s.dirty = False
            return
        etag = content.etag if content is not None and self.entity_tags else ""
        known = content is not None and self.is_known(s, content)
        told = None if known else self.told(s, content)
        s.must, s.dirty = kept_back and s.state is not State.TERMINATED, more
        s.stated = ""
        s.stop_wake()
        s.said = body
        s.in_flight = True
        s.note_sent(now, more or kept_back)
        headers = [("Event", s.event), ("Subscription-State", s.state_header(now)), *s.headers]
        if etag:
            headers.append((conditional.SIP_ETAG, etag))
        body = dressed(told, s.coding, headers) if told is not None else b""
        request = s.dialog.new_request("NOTIFY", headers, body)
        divisible = content is not None and content.divisible and s.divides
        self.ua.request_in_dialog(s.dialog, request, s, now, trace=s.trace, divisible=divisible)

    def affordable(self, subscription: "Subscription", now: float) -> tuple[Content | None, bool]:
        """What there is to tell. True: nothing yet, it is more than may go to an unproven address.

        The rest follows when that address has answered.
        """
        content = self.authority.content(subscription, now)
        dialog = subscription.dialog
        if content is None or not dialog.is_doubtful or dialog.affords(len(content.body)):
            return content, False
        if not content.body or self.is_known(subscription, content):
            return content, False
        self.authority.take_back(subscription)
        return None, True

    def is_known(self, subscription: "Subscription", content: Content) -> bool:
        """Does its subscriber hold this content, as it said?"""
        return (
            self.entity_tags
            and subscription.must
            and conditional.holds(subscription.stated, content.etag)
        )

    def told(self, subscription: "Subscription", content: Content | None) -> Content | None:
        """The content as it goes out: a part of it, if the watcher takes partial documents."""
        telling = subscription.telling
        if telling is None:
            return content
        whole = subscription.package.body_types[0]
        if content is None or not content.body or content.content_type != whole:
            telling.forget()
            return content
        body = telling.next(content.body, full=subscription.must)
        return Content(subscription.package.partial_type, body)

    def reserve(self, subscription: "Subscription", now: float) -> bool:
        """Have more CSeq numbers stored as ours. False: NOTIFYs wait until they are."""
        subscription.reserved = subscription.dialog.local_cseq + CSEQ_BLOCK
        if subscription.state is State.TERMINATED:
            return True  # after this one there will be no other
        number = self.authority.keep_subscription(subscription, Input.REFRESHED, now)
        if number is None:
            return True
        subscription.held = subscription.reserving = True
        self.ua.when_stored(number, subscription)
        return False

    def notify_failed(
        self,
        subscription: "Subscription",
        status: int | None,
        retry_after: float | None,
        now: float,
    ) -> None:
        subscription.failures += 1
        if subscription.telling is not None:
            subscription.telling.forget()
        if (
            status is None
            or status in ENDS_SUBSCRIPTION
            or subscription.failures >= MAX_NOTIFY_FAILURES
            or subscription.state is State.TERMINATED
        ):
            if subscription.state is not State.TERMINATED:
                self.step(subscription, Input.FAILED, now)
            self.forget(subscription)
            return
        subscription.must = True
        wait = retry_after if retry_after is not None else NOTIFY_PAUSE * subscription.failures
        subscription.wake = self.ua.schedule(
            now + min(wait, LONGEST_NOTIFY_PAUSE), Wake(subscription)
        )
        subscription.in_flight = True  # nothing goes out before that

    def forget(self, subscription: "Subscription") -> None:
        subscription.stop_expiry()
        subscription.stop_wake()
        subscription.stop_pulse()
        self.ua.remove_dialog(subscription.dialog)
        self.subscriptions.pop(subscription.id, None)
        self.prove(subscription)

    def prove(self, subscription: "Subscription") -> None:
        """It has answered, or is gone: it is not among those of whom nobody has heard."""
        if subscription.unproven_at:
            self.unproven.remove(subscription.unproven_at)
            subscription.unproven_at = ""

    # --- keeping ----------------------------------------------------------------------------------

    def restore(self, stored: Mapping[str, Json], now: float, *, elapsed: float) -> "Subscription":
        """Take up a subscription of an earlier life. elapsed: seconds since the snapshot.

        After `resume` it is told how things stand. Raises LocalProtocolError when it is no snapshot.
        """
        subscription = Subscription.restored(self, stored, elapsed, now)
        self.subscriptions[subscription.id] = subscription
        self.ua.add_dialog(subscription.dialog, subscription)
        subscription.must = subscription.in_flight = True
        self.restored.append(subscription)
        return subscription

    def resume(self, now: float) -> None:
        """Everything is restored: notify each subscription, spread over time.

        One that ran out meanwhile gets its last NOTIFY.
        """
        restored, self.restored = self.restored, []
        living = (s for s in restored if s.id in self.subscriptions)
        for place, subscription in enumerate(living, 1):
            turn = place / RESTORE_RATE
            subscription.wake = self.ua.schedule(now + turn, Wake(subscription))
            if subscription.state is not State.TERMINATED:
                subscription.extend(max(subscription.expires_at - now, turn), now)


class Subscription:
    """One subscription: the usage of its dialog; waits for the answers to its NOTIFYs."""

    __slots__ = (
        "dialog",
        "dirty",
        "display_name",
        "established",
        "event",
        "expires_at",
        "expiry",
        "failures",
        "coding",
        "context",
        "datagrams",
        "fetch",
        "headers",
        "held",
        "id",
        "in_flight",
        "must",
        "not_before",
        "notifier",
        "pace",
        "package",
        "pulse",
        "quiet_end",
        "reason",
        "reserved",
        "reserving",
        "resource",
        "said",
        "shown",
        "since",
        "state",
        "stated",
        "telling",
        "trace",
        "unproven_at",
        "wake",
        "watcher",
    )

    def __init__(
        self,
        notifier: Notifier,
        id: str,
        package: EventPackage,
        dialog: Dialog,
        admission: Admission,
        now: float,
    ) -> None:
        self.notifier = notifier
        self.id = id
        self.package = package
        self.dialog = dialog
        self.resource = admission.resource
        self.watcher = admission.user
        self.shown = admission.shown or admission.user
        """Who others are told the watcher is."""
        self.display_name = ""
        self.event = package.name
        """The Event header, with its id if the subscriber gave one."""
        self.state = State.INIT
        self.reason = ""
        self.since = now
        self.expires_at = now
        self.fetch = False
        self.context: object = admission.context
        """Whatever the authority wants to remember of it."""
        self.headers = admission.headers
        """Of each 200 and NOTIFY."""
        self.established = False
        """Was its subscriber told 200?"""
        self.trace = ""
        self.expiry: Deadline | None = None
        self.wake: Deadline | None = None
        self.coding = ""
        """Content coding that its subscriber takes, "" for none."""
        self.pace: Pace | None = None
        """Where it asked for a rate."""
        self.pulse: Deadline | None = None
        """When it is notified even without news."""
        self.begin()

    def begin(self) -> None:
        """Nothing is due or under way."""
        self.in_flight = False
        self.held = False
        """A 200 or CSeq numbers wait for the store, and NOTIFYs behind them."""
        self.reserved = CSEQ_BLOCK
        """Up to here our CSeq numbers are stored as used."""
        self.reserving = False
        self.must = self.datagrams = False
        """A NOTIFY is due whatever it says; what is larger than a datagram does not get there."""
        self.dirty = False
        """A NOTIFY is due if it says something new."""
        self.unproven_at = ""
        """The address it was asked from, until it has answered."""
        self.said: bytes | None = None
        """The last content, whole."""
        self.telling: Telling | None = None
        """Of a watcher who takes partial documents (RFC 5263)."""
        self.stated = ""
        """What its subscriber said it holds, until the first NOTIFY: one that is restored is told all."""
        self.quiet_end = False
        """It was ended by a 204: no last NOTIFY."""
        self.failures = 0
        self.not_before = 0.0

    @property
    def ends(self) -> bool:
        """Is it about to be over, by its state or as a fetch?"""
        return self.fetch or self.state is State.TERMINATED

    @property
    def divides(self) -> bool:
        """Can what is too large for a datagram be said in several NOTIFYs, and is not yet?"""
        return not self.datagrams and self.state is not State.TERMINATED

    def extend(self, seconds: float, now: float) -> None:
        """It lives so long from now."""
        self.expires_at = now + seconds
        self.stop_expiry()
        if seconds > 0:
            self.expiry = self.notifier.ua.schedule(self.expires_at, self)

    def listen(self, request: Request) -> None:
        """Which kinds of documents its SUBSCRIBE asks for; without Accept whole ones."""
        wanted = bool(self.package.partial_type) and prefers_partial(request)
        if not wanted:
            self.telling = None
        elif self.telling is None:
            self.telling = Telling()

    def stop_expiry(self) -> None:
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def stop_wake(self) -> None:
        if self.wake is not None:
            self.wake.cancel()
            self.wake = None

    def stop_pulse(self) -> None:
        if self.pulse is not None:
            self.pulse.cancel()
            self.pulse = None

    def is_about(self, event: Event) -> bool:
        """Does an Event header name this subscription: same package and id (§8.2.1)?"""
        ours = Event.parse(self.event)
        return (event.package, event.id) == (ours.package, ours.id)

    def set_rate(self, asked: Rate, now: float) -> None:
        """Notify so often from now on; what waits for its turn may have another one."""
        if asked == NO_RATE and self.pace is None:
            return
        floor = self.notifier.min_interval
        rate = granted(asked, floor) if asked != NO_RATE else NO_RATE
        if self.pace is not None and self.pace.rate == rate:
            return
        last = self.pace.sent[-1:] if self.pace is not None else [self.not_before - floor]
        self.stop_pulse()
        self.pace = (
            Pace(rate, now, last if self.said is not None else ()) if rate != NO_RATE else None
        )
        self.not_before = last[-1] + max(rate.interval, floor) if last else 0.0
        if self.wake is not None and not self.in_flight:  # not what waits after a refusal
            self.stop_wake()
            self.wake = self.notifier.ua.schedule(max(self.not_before, now), Wake(self))
        if self.pace is not None:
            self.plan_pulse(self.pace, now)

    def note_sent(self, now: float, more: bool) -> None:
        """A NOTIFY leaves; more: its other half follows at once."""
        self.not_before = now if more else now + self.notifier.min_interval
        if self.pace is not None:
            self.pace.note(now)
            if not more:
                self.not_before = max(self.not_before, self.pace.not_before)
            self.plan_pulse(self.pace, now)

    def plan_pulse(self, pace: Pace, now: float) -> None:
        """When it is due without news. Only who sees something is shown it again."""
        self.stop_pulse()
        when = pace.forced_at(now) if self.state is State.ACTIVE else None
        if when is not None:
            self.pulse = self.notifier.ua.schedule(max(when, now), Pulse(self))

    def state_header(self, now: float) -> str:
        """The Subscription-State header (§8.2.3)."""
        if self.state is State.TERMINATED:
            return f"terminated;reason={self.reason}" if self.reason else "terminated"
        left = max(0, math.ceil(self.expires_at - now))
        rate = self.pace.rate if self.pace is not None else ""
        return f"{self.state.value};expires={left}{rate}"

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        if incoming.request.method == "SUBSCRIBE":
            self.notifier.subscribe_again(self, incoming, now)
        else:
            incoming.respond(405, headers=[("Allow", "SUBSCRIBE")])

    def receive_response(self, response: Response, now: float) -> None:
        self.in_flight = False
        self.notifier.prove(self)
        if response.status == 415 and self.coding and blames_coding(response):
            self.coding = ""  # it takes no such thing after all
            self.must = True
            self.notifier.flush(self, now)
        elif response.status >= 300:
            self.notifier.notify_failed(self, response.status, response.retry_after, now)
        elif self.state is State.TERMINATED and not self.must:
            self.notifier.forget(self)
        else:
            self.failures = 0
            self.notifier.flush(self, now)

    def request_failed(self, reason: str, now: float) -> None:
        self.in_flight = False
        if reason == "too-large":
            self.datagrams = self.must = True
            self.notifier.flush(self, now)
            return
        if reason == "unproven":  # what there is to say follows when it has answered there
            if self.said:
                self.notifier.authority.take_back(self)
            self.must = True
            self.notifier.flush(self, now)
            return
        self.notifier.notify_failed(self, None, None, now)

    def change_committed(self, now: float) -> None:
        self.held = self.reserving = False
        self.established = True
        if self.quiet_end:
            self.notifier.forget(self)
            return
        self.notifier.flush(self, now)

    def change_failed(self, now: float) -> None:
        """The subscriber has been told 500: one that is new is forgotten, another goes on as it was.

        Without CSeq numbers nothing can be sent: they are asked for again after a pause.
        """
        self.held = False
        if self.reserving:
            self.reserving = False
            self.reserved = self.dialog.local_cseq
            self.in_flight = True
            self.wake = self.notifier.ua.schedule(now + NOTIFY_PAUSE, Wake(self))
            return
        if self.established:
            self.must = self.must or self.quiet_end
            self.quiet_end = False
            self.notifier.flush(self, now)
            return
        if self.state is not State.TERMINATED:
            self.notifier.step(self, Input.FAILED, now)
        self.notifier.forget(self)

    def handle_timeout(self, now: float) -> None:
        """Its time is up."""
        self.expiry = None
        self.notifier.happen(self, Input.EXPIRED, now)

    def snapshot(self, now: float) -> dict[str, Json]:
        """Everything that has to survive, as plain JSON."""
        return {
            "id": self.id,
            "package": self.package.name,
            "event": self.event,
            "resource": str(self.resource),
            "watcher": str(self.watcher),
            "shown": str(self.shown),
            "display_name": self.display_name,
            "state": self.state.value,
            "remaining": self.expires_at - now,
            "age": now - self.since,
            "coding": self.coding,
            "rate": str(self.pace.rate) if self.pace is not None else "",
            "dialog": self.dialog.snapshot(),
            "told": self.telling.version if self.telling is not None else None,
        }

    @classmethod
    def restored(
        cls, notifier: Notifier, stored: Mapping[str, Json], elapsed: float, now: float
    ) -> "Subscription":
        try:
            dialog = stored["dialog"]
            if not isinstance(dialog, Mapping):
                raise TypeError("the dialog is missing")
            watcher = text(stored["watcher"])
            admission = Admission(
                Uri.parse(text(stored["resource"])),
                Uri.parse(watcher),
                shown=Uri.parse(text(stored.get("shown", watcher))),
            )
            made = cls(
                notifier,
                text(stored["id"]),
                notifier.packages[text(stored["package"])],
                Dialog.restore(dialog, skip=CSEQ_BLOCK),
                admission,
                now,
            )
            made.dialog.nat = notifier.nat
            made.established = True
            told = stored.get("told")
            if isinstance(told, int):
                made.telling = Telling(told + LEAP)
            made.reserved = made.dialog.local_cseq
            made.event = text(stored["event"])
            made.display_name = text(stored["display_name"])
            made.state = State(text(stored["state"]))
            made.expires_at = now + seconds(stored["remaining"]) - elapsed
            made.since = now - seconds(stored["age"]) - elapsed
            made.coding = preferred(text(stored.get("coding", "")))
            made.set_rate(Rate.of(Parameters.parse(text(stored.get("rate", "")))), now)
        except (KeyError, TypeError, ValueError, ParseError) as error:
            raise LocalProtocolError(f"not a snapshot of a subscription: {error}") from error
        return made


@dataclass(frozen=True, slots=True)
class Wake:
    """Ends a pause between NOTIFYs."""

    subscription: Subscription

    def handle_timeout(self, now: float) -> None:
        self.subscription.wake = None
        self.subscription.in_flight = False
        self.subscription.notifier.flush(self.subscription, now)


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state has not been told for as long as its watcher allows."""

    subscription: Subscription

    def handle_timeout(self, now: float) -> None:
        s = self.subscription
        s.pulse = None
        if s.state is State.ACTIVE:
            s.must = True
            s.notifier.flush(s, now)


def dressed(content: Content, coding: str, headers: list[tuple[str, str]]) -> bytes:
    """The body as it goes on the wire; what has to be said of it is added to the headers."""
    if not content.body:
        return b""
    headers.append(("Content-Type", content.content_type))
    small = packed(content.body, coding)
    if small is None:
        return content.body
    headers.append(("Content-Encoding", coding))
    return small


def accepts(ranges: Sequence[str], types: Sequence[str]) -> bool:
    """Does one of the media ranges of Accept cover one of the types (RFC 3261 §20.1)?"""
    return any(
        given in (wanted, "*/*", wanted.partition("/")[0] + "/*")
        for given in ranges
        for wanted in types
    )


def takes(package: EventPackage, request: Request) -> bool:
    """Does a SUBSCRIBE to this package mean something with this body? Raises ParseError."""
    kind = request.content_type
    return kind is not None and kind.essence in package.asked_with


def offered(package: EventPackage) -> tuple[str, ...]:
    """The body types that we may send."""
    parts = (package.partial_type,) if package.partial_type else ()
    return (*package.body_types, *parts)


def optional(request: Request) -> bool:
    """May the body be ignored (Content-Disposition with handling=optional, RFC 3261 §20.11)?"""
    return "handling=optional" in (request.headers.get("Content-Disposition") or "").lower()


def seconds(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)
