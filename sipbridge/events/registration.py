"""Registrations of ours at a registrar (RFC 3261 §10.2), so that a network takes our requests.

A registration binds our Contact to one address-of-record. Networks that know registered users only (IMS,
3GPP TS 24.229) answer with the way later requests have to take and with the identities that are ours:

    Service-Route     RFC 3608: routes of every later request out of a dialog
    Path              RFC 3327: the proxies by which requests reach us; asked for with `Supported: path`
    P-Associated-URI  RFC 7315 §4.1: identities we may name; the first is the default

All three are told with `Registered`, after each 2xx, for they may change with every refresh.

    sending     a REGISTER is in flight
    registered  bound, refreshed in time
    waiting     the last try failed for now; the next comes after growing pauses, or when Retry-After says
    refused     the registrar does not want us (403, 404, a wrong password …); asked again seldom, because
                whoever can change that is a person
    removing    the binding is being taken away
    removed     forgotten

Only our own Contact is removed at the end (`expires=0`), never `*`: the same user may have other phones. One
Call-ID and a growing CSeq serve the whole life of a registration, over restarts too (§10.2). 423 is obeyed
with its Min-Expires, without one the time asked is doubled; a few in a row are a failure, and the next try
asks for what was meant first. Challenges are answered by the core. What is tried again takes its turn at the
peer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.events.machine import step
from sipbridge.events.retry import (
    CSEQ_LEAP,
    LONGEST_PAUSE,
    MAX_TOO_BRIEF,
    TEMPORARY,
    longer,
    pause,
    refresh_after,
)
from sipbridge.events.waiting import Alarm, Turn
from sipbridge.sip.address import NameAddr, parse_addresses
from sipbridge.sip.dialog import Json, number, text
from sipbridge.sip.message import Response
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.user_agent import ClientRequest, UserAgent
from sipbridge.uri import Uri

DEFAULT_EXPIRES = 3600
"""Seconds asked for; the value RFC 3261 §10.2.1.1 names for registrars without an opinion."""

MAX_ROUTES = 16
"""URIs taken from one header: a home network has two or three proxies on the way."""


UNCERTAIN = frozenset({None, 408, 504})
"""No answer, or that of a proxy that had none (RFC 3261 §21.4.9, §21.5.5): there may be a binding."""


class State(StrEnum):
    """Where a registration stands."""

    SENDING = "sending"
    REGISTERED = "registered"
    WAITING = "waiting"
    REFUSED = "refused"
    REMOVING = "removing"
    REMOVED = "removed"


class Input(StrEnum):
    """What can happen to a registration."""

    ACCEPTED = "accepted"
    TOO_BRIEF = "too-brief"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    DUE = "due"
    REMOVE = "remove"
    DISCARD = "discard"  # removed while nothing is bound


NEXT: Mapping[tuple[State, Input], State] = {
    (State.SENDING, Input.ACCEPTED): State.REGISTERED,
    (State.SENDING, Input.TOO_BRIEF): State.SENDING,
    (State.SENDING, Input.UNAVAILABLE): State.WAITING,
    (State.SENDING, Input.REFUSED): State.REFUSED,
    (State.SENDING, Input.REMOVE): State.SENDING,
    (State.REGISTERED, Input.DUE): State.SENDING,
    (State.REGISTERED, Input.REMOVE): State.REMOVING,
    (State.WAITING, Input.DUE): State.SENDING,
    (State.WAITING, Input.REMOVE): State.REMOVING,
    (State.WAITING, Input.DISCARD): State.REMOVED,
    (State.REFUSED, Input.DUE): State.SENDING,
    (State.REFUSED, Input.DISCARD): State.REMOVED,
    (State.REMOVING, Input.ACCEPTED): State.REMOVED,
    (State.REMOVING, Input.UNAVAILABLE): State.REMOVED,
    (State.REMOVING, Input.REFUSED): State.REMOVED,
    (State.REMOVING, Input.REMOVE): State.REMOVING,
}


@dataclass(frozen=True, slots=True)
class Registered:
    """The registrar has the binding for so many seconds.

    service_route: Route values as they stood. path, associated: URIs as text. renewed: it had it before.
    """

    registration: str
    identity: str
    expires: int
    service_route: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    associated: tuple[str, ...] = ()
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationFailed:
    """A REGISTER failed; the next follows in `retry_in` seconds, None while it is being removed.

    status: None when no answer came. lost: there is no binding (any more).
    """

    registration: str
    identity: str
    status: int | None
    reason: str
    retry_after: float | None
    retry_in: float | None
    lost: bool


@dataclass(frozen=True, slots=True)
class Unregistered:
    """It is over: the binding was removed, was never there, or ends by itself."""

    registration: str


class Registrant:
    """All registrations of one core."""

    def __init__(self, ua: UserAgent) -> None:
        self.ua = ua
        self.registrations: dict[str, Registration] = {}

    def register(
        self,
        identity: Uri,
        now: float,
        *,
        expires: int = DEFAULT_EXPIRES,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
    ) -> str:
        """Register an address-of-record at the registrar of its domain; returns the registration's id."""
        id = self.ua.identifiers.tag()
        made = Registration(self, id, identity, expires, policy, credentials)
        self.registrations[id] = made
        made.send(now)
        return id

    def remove(self, id: str, now: float) -> None:
        """Take the binding away; `Unregistered` says when. Nothing happens if it is unknown."""
        if id in self.registrations:
            self.registrations[id].remove(now)

    def forget(self, id: str) -> None:
        """Care for it no more and say nothing to the registrar: another registration takes its place."""
        known = self.registrations.pop(id, None)
        if known is not None:
            known.plan.cancel()
            if known.client is not None:
                known.client.cancel()

    def refresh(self, id: str, now: float) -> None:
        """Register again now. Nothing happens while a REGISTER is in flight."""
        known = self.registrations.get(id)
        if known is not None and (known.state, Input.DUE) in NEXT:
            known.turn.take()
            known.due(now)

    def snapshot(self, id: str, now: float) -> dict[str, Json]:
        """A registration as plain JSON, for `restore`."""
        if id not in self.registrations:
            raise LocalProtocolError(f"no registration {id}")
        return self.registrations[id].snapshot(now)

    def restore(
        self,
        stored: Mapping[str, Json],
        now: float,
        *,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
        elapsed: float,
    ) -> str:
        """Take up a registration of an earlier life and register at once; returns its id.

        elapsed: seconds since the snapshot. The registrar sees the Call-ID it knows and a higher CSeq, and
        replaces the binding it has. Raises LocalProtocolError when it is no snapshot.
        """
        made = Registration.restored(self, stored, policy, credentials)
        made.ends += now - elapsed
        self.registrations[made.id] = made
        made.send(now)
        return made.id


class Registration:
    """One registration. Waits for responses and for its deadline itself."""

    def __init__(
        self,
        registrant: Registrant,
        id: str,
        identity: Uri,
        expires: int,
        policy: PeerPolicy,
        credentials: Credentials | None,
    ) -> None:
        self.registrant = registrant
        self.ua = registrant.ua
        self.id = id
        self.identity = identity
        self.registrar = Uri(identity.scheme, host=identity.host, port=identity.port)
        """§10.2: the domain of the address-of-record, without its user."""
        self.expires = self.wanted = expires
        """Seconds asked for, and those that were meant: 423 has more asked for."""
        self.policy = policy
        self.credentials = credentials
        self.call_id = self.ua.identifiers.call_id()
        self.cseq = 0
        self.state = State.SENDING
        self.removal_asked = False
        self.failures = 0
        self.too_brief = 0
        self.ends = 0.0
        """When the registrar forgets the binding by itself; 0: there is none."""
        self.perhaps_until = 0.0
        """Until then it may have one of a REGISTER whose answer was lost."""
        self.plan = Alarm(self.ua, self.due)
        self.turn = Turn(self.plan)
        self.client: ClientRequest | None = None

    # --- what our side asks -----------------------------------------------------------------------

    def remove(self, now: float) -> None:
        self.removal_asked = True
        before = self.state
        perhaps = self.bound(now) or self.perhaps_until > now
        if before in (State.WAITING, State.REFUSED) and not perhaps:
            self.state = step(NEXT, before, Input.DISCARD)
            self.over()
            return
        self.state = step(NEXT, before, Input.REMOVE)
        if self.state is not before:
            self.send(now)

    def bound(self, now: float) -> bool:
        """Does the registrar have a binding of ours?"""
        return self.ends > now

    def due(self, now: float) -> None:
        """The refresh, or the next try, is due; what is tried again waits for its turn at the peer."""
        again = self.state in (State.WAITING, State.REFUSED)
        if again and not self.turn.has_come(self.policy, now):
            return
        self.state = step(NEXT, self.state, Input.DUE)
        self.send(now)

    # --- sending ----------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """One REGISTER (§10.2): To and From are the address-of-record, the Request-URI is its domain."""
        self.plan.cancel()
        self.turn.over()
        self.cseq += 1
        expires = 0 if self.state is State.REMOVING else self.expires
        contact = self.ua.contact_for(self.identity).with_parameter("expires", str(expires))
        address = NameAddr(str(self.identity))
        request = self.ua.new_request(
            "REGISTER",
            self.registrar,
            from_=address,
            to=address,
            call_id=self.call_id,
            cseq=self.cseq,
            headers=[
                ("Contact", str(contact)),
                ("Expires", str(expires)),
                ("Supported", "path"),
            ],
        )
        self.client = self.ua.request(
            request,
            self,
            now,
            policy=self.policy,
            credentials=self.credentials,
            sustains=self.bound(now),
        )

    def receive_response(self, response: Response, now: float) -> None:
        contact = self.client.request.contacts[0] if self.client is not None else None
        self.answered(now)
        status = response.status
        if status < 300:
            self.accepted(response, contact, now)
        elif status == 423 and self.state is State.SENDING and self.too_brief < MAX_TOO_BRIEF:
            self.state = step(NEXT, self.state, Input.TOO_BRIEF)
            self.too_brief += 1
            self.expires = longer(self.expires, response.min_expires)
            self.send(now)
        else:
            self.failed(status, response.reason, response.retry_after, now)

    def request_failed(self, reason: str, now: float) -> None:
        self.answered(now)
        self.failed(None, reason, None, now)

    def answered(self, now: float) -> None:
        if self.client is not None:
            self.policy.spend(self.client.rounds, now)
            self.cseq = self.client.request.cseq.number  # higher than ours after a challenge
            self.client = None

    def accepted(self, response: Response, contact: NameAddr | None, now: float) -> None:
        granted = granted_seconds(response, contact, self.expires)
        if not granted and self.state is State.SENDING:
            self.failed(None, "the registrar grants no time", None, now)
            return
        self.state = step(NEXT, self.state, Input.ACCEPTED)
        if self.state is State.REMOVED:
            self.over()
            return
        self.failures = self.too_brief = 0
        renewed = self.bound(now)
        self.ends = now + granted
        self.perhaps_until = 0.0  # this REGISTER has replaced whatever those before it did
        routes = addresses(response, "Service-Route")
        self.ua.report(
            Registered(
                self.id,
                str(self.identity),
                granted,
                tuple(map(str, routes)),
                tuple(a.uri_text for a in addresses(response, "Path")),
                tuple(a.uri_text for a in addresses(response, "P-Associated-URI")),
                renewed,
            )
        )
        if self.removal_asked:
            self.remove(now)
        else:
            self.plan.set(now + refresh_after(granted, self.ua.identifiers.fraction()))

    def failed(
        self, status: int | None, reason: str, retry_after: float | None, now: float
    ) -> None:
        passing = status is None or status in TEMPORARY
        self.state = step(NEXT, self.state, Input.UNAVAILABLE if passing else Input.REFUSED)
        if self.state is State.REMOVED:
            self.over()
            return
        self.failures += 1
        self.too_brief = 0
        if status == 423:
            self.expires = self.wanted
        if not passing:
            self.ends = self.perhaps_until = 0.0
        elif status in UNCERTAIN:
            self.perhaps_until = now + self.expires
        spread = self.ua.identifiers.fraction()
        seldom = LONGEST_PAUSE * (1.0 + 0.1 * spread)
        wait = (
            pause(self.failures, retry_after, spread) if passing else max(seldom, retry_after or 0)
        )
        lost = not self.bound(now)
        again = None if self.removal_asked else wait
        self.ua.report(
            RegistrationFailed(
                self.id, str(self.identity), status, reason, retry_after, again, lost
            )
        )
        if self.removal_asked:
            self.remove(now)
        else:
            self.plan.set(now + wait)

    # --- keeping ----------------------------------------------------------------------------------

    def over(self) -> None:
        self.plan.cancel()
        del self.registrant.registrations[self.id]
        self.ua.report(Unregistered(self.id))

    def snapshot(self, now: float) -> dict[str, Json]:
        return {
            "id": self.id,
            "identity": str(self.identity),
            "expires": self.expires,
            "call_id": self.call_id,
            "cseq": self.cseq,
            "remaining": max(0, int(self.ends - now)),
        }

    @classmethod
    def restored(
        cls,
        registrant: Registrant,
        stored: Mapping[str, Json],
        policy: PeerPolicy,
        credentials: Credentials | None,
    ) -> "Registration":
        try:
            made = cls(
                registrant,
                text(stored["id"]),
                Uri.parse(text(stored["identity"])),
                number(stored["expires"]),
                policy,
                credentials,
            )
            made.call_id = text(stored["call_id"])
            made.cseq = number(stored["cseq"]) + CSEQ_LEAP
            made.ends = number(stored.get("remaining", 0))
        except (KeyError, TypeError, ParseError) as error:
            raise LocalProtocolError(f"not a snapshot of a registration: {error}") from error
        return made


def addresses(response: Response, name: str) -> tuple[NameAddr, ...]:
    """The addresses of a header of a REGISTER's answer; one that cannot be read counts as absent."""
    found: list[NameAddr] = []
    for line in response.headers.get_all(name):
        try:
            found += parse_addresses(line, name)
        except ParseError:
            continue
    return tuple(found[:MAX_ROUTES])


def granted_seconds(response: Response, ours: NameAddr | None, asked: int) -> int:
    """How long our binding lives (§10.2.4): `expires` of our Contact, else Expires, else what was asked.

    A proxy may have rewritten our Contact; where the answer lists one alone, that one is ours.
    """
    try:
        listed = [c for c in response.contacts if c.uri.is_address]
        same = [c for c in listed if ours is not None and c.uri.matches(ours.uri)]
    except ParseError:
        listed, same = [], []
    one = same[0] if same else listed[0] if len(listed) == 1 else None
    seconds = (one.parameters.get("expires") or "") if one is not None else ""
    if seconds.isascii() and seconds.isdecimal() and len(seconds) < 11:
        return int(seconds)
    return response.expires if response.expires is not None else asked
