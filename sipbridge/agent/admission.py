"""Who asks, and for whom.

The presentity is the Request-URI's user at our domain; user parts we have never seen are presentities too,
another domain and a URI without user are 404. Whoever asks is the From address. It is believed on a flow in
memory (the gateway in the same process has authenticated its callers) and where no authenticator is set;
otherwise digest must prove it (RFC 3261 §22): the user `x` is `sip:x@domain`, or whom `identity_of` says, and
nobody else, so another From is 403. From a trusted peer (`trust`) whoever asks is whom it asserts, whatever
From says; it may also register others (RFC 3261 §10.2, as an S-CSCF does). Whoever is proven may publish for
nobody else, and in a subscription's dialog only its watcher may say anything.

Passwords can be guessed only slowly: after `MAX_FAILURES` wrong answers for a user from one address in
`FAILURES_LAST` seconds, that user is refused there, right or wrong, for the rest of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sipbridge.agent.ports import Authenticator
from sipbridge.agent.trust import NOBODY, TrustedPeers, asserted_identity, withholds_identity
from sipbridge.errors import ParseError
from sipbridge.events.notifier import Admission
from sipbridge.identities import Identities
from sipbridge.sip.digest import Refused, Stale, Verified, claimed_user
from sipbridge.sip.usage import ServerRequest
from sipbridge.uri import Uri, escape_user

NOWHERE = Uri("sip", host="invalid")
"""Stands for the parts of a refusal that nobody needs."""


MAX_FAILURES = 20
"""Wrong answers before we refuse to look: somebody mistypes a few times, and a phone repeats itself."""
FAILURES_LAST = 60.0
"""Seconds from the first of them."""
MAX_REMEMBERED = 10_000
"""Addresses and users that failed; the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Guessing:
    """Somebody has answered wrongly so often for a user that he is refused for a while."""

    user: str
    address: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class NotProven:
    """Credentials came and prove nobody. user: whom they name; reason: for the log, never for the peer."""

    user: str
    address: str
    reason: str
    trace: str = ""


def unheard(indication: object) -> None:
    """Nobody wants to know."""


class Failures:
    """Wrong passwords of late, by address and user."""

    def __init__(self) -> None:
        self.counted: dict[tuple[str, str], tuple[float, int]] = {}

    def too_many(self, address: str, user: str, now: float) -> bool:
        """Is this user refused at this address for now?"""
        began, count = self.counted.get((address, user), (now, 0))
        return count >= MAX_FAILURES and now - began < FAILURES_LAST

    def count(self, address: str, user: str, now: float) -> bool:
        """A wrong answer. Is it one too many?"""
        began, count = self.counted.pop((address, user), (now, 0))
        if now - began >= FAILURES_LAST:
            began, count = now, 0
        self.counted[address, user] = (began, count + 1)
        if len(self.counted) > MAX_REMEMBERED:
            del self.counted[next(iter(self.counted))]
        return count + 1 == MAX_FAILURES


def refusal(status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Admission:
    """An Admission that is none."""
    return Admission(NOWHERE, NOWHERE, status, reason, headers)


@dataclass(frozen=True, slots=True)
class Door:
    """Admits requests to one served domain."""

    domain: str
    identities: Identities
    authenticator: Authenticator | None = None
    trusted: TrustedPeers = NOBODY
    failures: Failures = field(default_factory=Failures)
    report: Callable[[object], None] = unheard

    def admit(
        self,
        incoming: ServerRequest,
        now: float,
        *,
        for_itself: bool = False,
        resource: Uri | None = None,
        watcher: Uri | None = None,
    ) -> Admission:
        """Who asks for whom.

        for_itself: only the presentity may (a PUBLISH, once somebody is proven). resource: the presentity
        of a dialog, whose requests come to our Contact instead; watcher: who made the dialog, and alone may
        say anything in it, once somebody is proven.
        """
        try:
            user, proven = self.asker(incoming, resource, watcher)
        except ParseError as error:
            return refusal(400, f"Bad {error.field or 'From'}")
        if not proven:
            refused = self.refused(incoming, user, now)
            if refused is not None:
                return refused
            proven = self.authenticator is not None
        if proven and watcher is not None and not self.same(user, watcher):
            return refusal(403, "Not Your Subscription")
        presentity = resource or self.presentity(incoming)
        if presentity is None:
            return refusal(404)
        if for_itself and proven and not self.same(user, presentity):
            return refusal(403, "Not Your Presence")
        shown = incoming.request.from_.uri.address if withholds_identity(incoming.request) else None
        return Admission(presentity, user, proven=proven, shown=shown)

    def asker(
        self, incoming: ServerRequest, resource: Uri | None, watcher: Uri | None
    ) -> tuple[Uri, bool]:
        """Who says to be asking, and whether that needs no more proof. Raises ParseError."""
        request, flow = incoming.request, incoming.flow
        try:
            user = request.from_.uri.address
        except ParseError as error:
            raise ParseError(str(error), field="From") from None
        if flow.protocol == "memory":
            return user, True
        if self.trusted.trusts(flow):
            if (asserted := asserted_identity(request)) is not None:
                return asserted, True
            if watcher is not None:
                return watcher, True  # networks assert nothing inside dialogs (3GPP TS 24.229)
            if request.method == "REGISTER" and resource is not None:
                return resource, True
        return user, False

    def presentity(self, incoming: ServerRequest) -> Uri | None:
        """The address-of-record the Request-URI stands for; None if it is not of our domain."""
        try:
            uri = incoming.request.request_uri
        except ParseError:
            return None
        if uri.scheme not in ("sip", "sips", "pres") or not uri.user:
            return None
        if uri.host.lower() != self.domain.lower():
            return None
        return Uri("sip", user=uri.user, host=self.domain)

    def refused(self, incoming: ServerRequest, user: Uri, now: float) -> Admission | None:
        """The answer to a request whose sender is not proven; None if digest proves it, or nobody asks."""
        authenticator = self.authenticator
        if authenticator is None:
            return refusal(403, "Not A Trusted Peer") if self.trusted.alone else None
        request, address = incoming.request, incoming.flow.remote[0]
        stale, other = False, None
        for value in request.headers.get_all("Authorization"):
            if self.failures.counted and self.failures.too_many(address, claimed_user(value), now):
                self.tell(incoming, value, "refused after too many failures")
                return refusal(403, "Too Many Failures")
            verdict = authenticator.server.verify(
                value, request.method, request.uri, request.wire_body, now, authenticator.ha1_of
            )
            match verdict:
                case Verified():
                    return self.another(authenticator, verdict.user, user)
                case Stale():
                    stale = True
                case Refused(reason, malformed=True):
                    self.tell(incoming, value, reason)
                    return refusal(400, "Bad Authorization")
                case Refused(reason, guessed=True):
                    self.tell(incoming, value, reason)
                    self.count(incoming, claimed_user(value), now)
                case Refused(reason):  # for another realm: what is for us may stand beside it
                    other = (value, reason)
        if other is not None and not stale:
            self.tell(incoming, *other)
        challenges = authenticator.server.challenges(now, stale=stale)
        return refusal(401, headers=tuple(("WWW-Authenticate", c) for c in challenges))

    def another(self, authenticator: Authenticator, proven: str, user: Uri) -> Admission | None:
        """The answer to who has proven to be somebody else than whom his From says; else None."""
        identity = authenticator.identity_of(proven) or Uri("sip", escape_user(proven), self.domain)
        if self.same(user, identity):
            return None
        return refusal(403, "From Is Not The Authenticated User")

    def count(self, incoming: ServerRequest, user: str, now: float) -> None:
        """A wrong password."""
        address = incoming.flow.remote[0]
        if self.failures.count(address, user, now):
            self.report(Guessing(user, address, incoming.trace))

    def tell(self, incoming: ServerRequest, value: str, reason: str) -> None:
        """An Authorization value that proves nobody."""
        user = claimed_user(value)
        self.report(NotProven(user, incoming.flow.remote[0], reason, incoming.trace))

    def same(self, one: Uri, other: Uri) -> bool:
        return self.identities.canonical(one) == self.identities.canonical(other)
