"""A minimal registrar for the agent's domain (RFC 3261 §10.3).

Many phones register before they publish or subscribe, and go no further if they cannot. What they register
is kept, answered and ends; nothing is routed by it, the agent sends every request in a dialog or not at all.

Who may register is decided as for PUBLISH (`agent.admission`): where digest is on, everybody for oneself. The
address-of-record is that of To. One REGISTER is taken whole or not at all:

- without Contact it asks what there is;
- `Contact: *` with `Expires: 0` removes everything, any other use of `*` is 400;
- each Contact is added, refreshed or removed (expires 0). A binding that the same phone (Call-ID) has set
  by a later CSeq stays as it is, and the request fails with 500: it came too late;
- less than the minimum is 423 with Min-Expires, more than the maximum is lowered, no wish is the default.

The 200 lists all bindings with the seconds left, after they were stored (`RegistrationStored`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sipbridge.agent.admission import Door
from sipbridge.agent.ports import RegistrationRemoved, RegistrationStored
from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.identities import PresentityKey
from sipbridge.sip.address import NameAddr
from sipbridge.sip.message import Request
from sipbridge.sip.timers import Deadline
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri

MAX_BINDINGS = 10
"""Contacts of one address-of-record; nobody has more phones."""
MAX_REGISTERED = 200_000
"""Addresses-of-record with bindings, as many as publications."""
BUSY_RETRY_AFTER = 30


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact. `contact` is the NameAddr as text, `uri` what it is compared by."""

    uri: str
    contact: str
    call_id: str
    cseq: int
    ends: float
    """`now` of its end."""


class Refusal(Exception):
    """The request is answered with this status, nothing changes."""

    def __init__(self, status: int, reason: str = "", *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


class Registered:
    """The bindings of one address-of-record."""

    __slots__ = ("bindings", "expiry", "key", "registrar")

    def __init__(self, registrar: "Registrar", key: PresentityKey) -> None:
        self.registrar = registrar
        self.key = key
        self.bindings: dict[str, Binding] = {}
        self.expiry: Deadline | None = None

    def handle_timeout(self, now: float) -> None:
        """A binding has ended."""
        self.expiry = None
        living = {uri: b for uri, b in self.bindings.items() if b.ends > now}
        self.registrar.put(self, living, now)


@dataclass(frozen=True, slots=True)
class Promise:
    """Waits for the commit behind a 200; `before` are the bindings there were."""

    registered: Registered
    promised: Mapping[str, Binding]
    before: Mapping[str, Binding]

    def change_committed(self, now: float) -> None:
        """All is well."""

    def change_failed(self, now: float) -> None:
        """The phone was told 500."""
        if self.registered.bindings is self.promised:
            self.registered.registrar.put(self.registered, self.before, now)


class Registrar:
    """Serves REGISTER at one core."""

    def __init__(
        self,
        ua: UserAgent,
        door: Door,
        wall: Callable[[float], datetime],
        *,
        min_expires: int,
        default_expires: int,
        max_expires: int,
        storing: bool = False,
    ) -> None:
        """Seconds. wall: the aware UTC time at a `now`. storing: queue store changes, wait for commits."""
        self.ua = ua
        self.door = door
        self.wall = wall
        self.min_expires = min_expires
        self.default_expires = default_expires
        self.max_expires = max_expires
        self.storing = storing
        self.registered: dict[PresentityKey, Registered] = {}
        ua.serve("REGISTER", self)

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        """A REGISTER."""
        try:
            key, number = self.register(incoming, now)
        except Refusal as refusal:
            incoming.respond(refusal.status, reason=refusal.reason, headers=refusal.headers)
            return
        incoming.respond(200, headers=self.listed(key, now), after=number)

    def register(self, incoming: ServerRequest, now: float) -> tuple[PresentityKey, int | None]:
        """Change what is asked for; whose it is, and the store change to wait for. Raises Refusal."""
        key = self.admitted(incoming, now)
        before = self.registered.get(key)
        known = {u: b for u, b in before.bindings.items() if b.ends > now} if before else {}
        try:
            wanted = self.wanted(incoming.request, known, now)
        except ParseError as error:
            raise Refusal(400, f"Bad {error.field or 'Contact'}") from None
        if wanted is None:
            return key, None
        if len(wanted) > MAX_BINDINGS:
            raise Refusal(403, "Too Many Contacts")
        if before is None and len(self.registered) >= MAX_REGISTERED:
            raise Refusal(503, "", ("Retry-After", str(BUSY_RETRY_AFTER)))
        registered = before or Registered(self, key)
        number = self.put(registered, wanted, now)
        if number is not None:
            self.ua.when_stored(number, Promise(registered, registered.bindings, known))
        return key, number

    def admitted(self, incoming: ServerRequest, now: float) -> PresentityKey:
        """The address-of-record whose bindings this request may change. Raises Refusal."""
        try:
            here = incoming.request.request_uri.host.lower() == self.door.domain.lower()
            to = incoming.request.to.uri
        except ParseError:
            raise Refusal(400, "Bad To") from None
        ours = to.scheme in ("sip", "sips") and to.host.lower() == self.door.domain.lower()
        aor = Uri("sip", user=to.user, host=self.door.domain)
        admission = self.door.admit(incoming, now, for_itself=True, resource=aor)
        if admission.status >= 300:
            raise Refusal(admission.status, admission.reason, *admission.headers)
        if not here or not ours or not to.user:
            raise Refusal(404)
        return self.door.identities.canonical(aor)

    def wanted(
        self, request: Request, known: Mapping[str, Binding], now: float
    ) -> dict[str, Binding] | None:
        """The bindings as the request wants them; None: it only asks. Raises Refusal, ParseError."""
        contacts = request.contacts
        if not contacts:
            return None
        call_id, number = request.call_id, request.cseq.number

        def in_time(binding: Binding) -> None:
            if binding.call_id == call_id and binding.cseq >= number:
                raise Refusal(500, "Out Of Order")

        if any(contact.is_star for contact in contacts):
            if len(contacts) > 1 or request.expires != 0:
                raise Refusal(400, "Contact * Needs Expires 0 And Nothing Else")
            for binding in known.values():
                in_time(binding)
            return {}
        result = dict(known)
        for contact in contacts:
            uri = str(contact.uri)
            if uri in known:
                in_time(known[uri])
            seconds = self.granted(contact, request.expires)
            if seconds:
                result[uri] = Binding(uri, plain(contact), call_id, number, now + seconds)
            else:
                result.pop(uri, None)
        return result

    def granted(self, contact: NameAddr, expires: int | None) -> int:
        """Seconds for one contact. Raises Refusal (423)."""
        own = contact.parameters.get("expires")
        # A value that is no number counts as 3600 (§10.2.1.1, RFC 3261 §20.10).
        asked = int(own) if own and own.isdecimal() and len(own) < 11 else expires
        if asked is None:
            asked = self.default_expires
        if 0 < asked < self.min_expires:
            raise Refusal(423, "", ("Min-Expires", str(self.min_expires)))
        return min(asked, self.max_expires)

    def put(
        self, registered: Registered, bindings: Mapping[str, Binding], now: float
    ) -> int | None:
        """These are its bindings now. Returns the number of the store change."""
        key = registered.key
        registered.bindings = dict(bindings)
        if registered.expiry is not None:
            registered.expiry.cancel()
            registered.expiry = None
        if bindings:
            self.registered[key] = registered
            first = min(binding.ends for binding in bindings.values())
            registered.expiry = self.ua.schedule(first, registered)
        else:
            self.registered.pop(key, None)
        if not self.storing:
            return None
        if not bindings:
            return self.ua.store(RegistrationRemoved(key))
        return self.ua.store(
            RegistrationStored(key, json.dumps([self.as_stored(b) for b in bindings.values()]))
        )

    def as_stored(self, binding: Binding) -> dict[str, object]:
        return {
            "uri": binding.uri,
            "contact": binding.contact,
            "call_id": binding.call_id,
            "cseq": binding.cseq,
            "ends": self.wall(binding.ends).isoformat(),
        }

    def listed(self, key: PresentityKey, now: float) -> Sequence[tuple[str, str]]:
        """Contact of each binding, with the seconds left."""
        registered = self.registered.get(key)
        bindings = registered.bindings.values() if registered else ()
        date = self.wall(now).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return [
            *(("Contact", f"{b.contact};expires={max(1, round(b.ends - now))}") for b in bindings),
            ("Date", date),
        ]

    def restore(self, record: RegistrationStored, now: float) -> None:
        """Take up what was registered before a restart. Raises LocalProtocolError."""
        at = self.wall(now)
        try:
            kept = [
                Binding(b["uri"], b["contact"], b["call_id"], b["cseq"], ends(b["ends"], at, now))
                for b in json.loads(record.bindings)
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise LocalProtocolError(f"not the bindings of anybody: {error}") from error
        living = {binding.uri: binding for binding in kept if binding.ends > now}
        storing, self.storing = self.storing, self.storing and len(living) < len(kept)
        self.put(Registered(self, record.id), living, now)
        self.storing = storing


def ends(text: str, at: datetime, now: float) -> float:
    return now + (datetime.fromisoformat(text) - at) / timedelta(seconds=1)


def plain(contact: NameAddr) -> str:
    """As it is listed: without the expires that was asked for."""
    return str(replace(contact, parameters=contact.parameters.without("expires")))
