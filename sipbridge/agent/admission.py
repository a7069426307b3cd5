"""Who asks, and for whom.

The presentity is the Request-URI's user at our domain; user parts we have never seen are presentities too,
another domain and a URI without user are 404. Whoever asks is the From address. It is believed on a flow in
memory (the gateway in the same process has authenticated its callers) and where no authenticator is set;
otherwise digest must prove it (RFC 3261 §22): the user `x` is `sip:x@domain` and nobody else, so another From
is 403. Whoever is authenticated may publish for nobody else.
"""

from dataclasses import dataclass

from sipbridge.agent.ports import Authenticator
from sipbridge.errors import ParseError
from sipbridge.events.notifier import Admission
from sipbridge.identities import Identities
from sipbridge.sip.digest import Refused, Stale
from sipbridge.sip.usage import ServerRequest
from sipbridge.uri import Uri, escape_user

NOWHERE = Uri("sip", host="invalid")
"""Stands for the parts of a refusal that nobody needs."""


def refusal(status: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Admission:
    """An Admission that is none."""
    return Admission(NOWHERE, NOWHERE, status, reason, headers)


@dataclass(frozen=True, slots=True)
class Door:
    """Admits requests to one served domain."""

    domain: str
    identities: Identities
    authenticator: Authenticator | None = None

    def admit(
        self,
        incoming: ServerRequest,
        now: float,
        *,
        for_itself: bool = False,
        resource: Uri | None = None,
    ) -> Admission:
        """Who asks for whom.

        for_itself: only the presentity may (a PUBLISH, once somebody is proven). resource: the presentity
        of a dialog, whose requests come to our Contact instead.
        """
        try:
            user = incoming.request.from_.uri.address
        except ParseError:
            return refusal(400, "Bad From")
        proven = incoming.flow.protocol == "memory"
        if not proven and self.authenticator is not None:
            refused = self.refused(self.authenticator, incoming, user, now)
            if refused is not None:
                return refused
            proven = True
        presentity = resource or self.presentity(incoming)
        if presentity is None:
            return refusal(404)
        if for_itself and proven and not self.same(user, presentity):
            return refusal(403, "Not Your Presence")
        return Admission(presentity, user, proven=proven)

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

    def refused(
        self, authenticator: Authenticator, incoming: ServerRequest, user: Uri, now: float
    ) -> Admission | None:
        """The answer to a request whose From is not proven; None if it is."""
        request = incoming.request
        stale = False
        for value in request.headers.get_all("Authorization"):
            verdict = authenticator.server.verify(
                value, request.method, request.uri, request.body, now, authenticator.ha1_of
            )
            if isinstance(verdict, Stale):
                stale = True
            elif isinstance(verdict, Refused):
                if verdict.malformed:
                    return refusal(400, "Bad Authorization")
            elif self.same(user, Uri("sip", escape_user(verdict.user), self.domain)):
                return None
            else:
                return refusal(403, "From Is Not The Authenticated User")
        challenges = authenticator.server.challenges(now, stale=stale)
        return refusal(401, headers=tuple(("WWW-Authenticate", c) for c in challenges))

    def same(self, one: Uri, other: Uri) -> bool:
        return self.identities.canonical(one) == self.identities.canonical(other)
