"""How applications stand with presence servers: which one is asked about whom, in what way, with whose proof.

The server is chosen by the presentity's domain, once, in `peer_of`. An application asks it by the server's
policy, and where that server wants it registered (`registrations.py`) by what the registrar told besides.
Its credentials answer its own server only, unless they name their realm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sipbridge.app.registrations import Registrations
from sipbridge.events.peer_watch import PeerWatch
from sipbridge.gateway.caller import Caller
from sipbridge.identities import Identities
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.uri import Uri


@dataclass(frozen=True, slots=True)
class Peer:
    """A presence server: ours (`embedded`) or somebody else's.

    domain: the only one it serves; "" for a remote server that is asked about any domain. register: it hears
    only who is registered (`app.registrations`). watch: of a remote server, whether it is there.
    """

    domain: str
    embedded: bool
    policy: PeerPolicy = NO_POLICY
    register: bool = False
    watch: PeerWatch | None = None

    def used(self, now: float) -> None:
        """Something of ours begins to live at this server."""
        if self.watch is not None:
            self.watch.used(now)


class Standing:
    """All applications with all servers. peers: by domain; default: for every other domain."""

    def __init__(
        self,
        identities: Identities,
        peers: Mapping[str, Peer],
        default: Peer,
        credentials: Mapping[str, Credentials],
        callers: Mapping[str, Caller],
    ) -> None:
        """credentials, callers: of each application, and who it is itself; both may change."""
        self.identities = identities
        self.peers = peers
        self.default = default
        self.credentials = credentials
        self.callers = callers
        self.registrations: Registrations | None = None
        """Set where a server wants us registered."""

    # --- servers ---

    def all_peers(self) -> list[Peer]:
        return [self.default, *self.peers.values()]

    def peer_of(self, presentity: Uri) -> Peer:
        """The presence server responsible for this presentity."""
        host = self.identities.address(presentity).host
        return self.peers.get(host.lower(), self.default)

    def serves(self, presentity: Uri) -> bool:
        """Can this presentity exist at all?"""
        presentity = self.identities.address(presentity)
        peer = self.peer_of(presentity)
        return not peer.embedded or presentity.host.lower() == peer.domain

    # --- how they are asked ---

    def policy_for(self, application: str, presentity: Uri) -> PeerPolicy:
        """How an application's requests about this presentity look, registered or not."""
        policy = self.peer_of(presentity).policy
        if self.registrations is None:
            return policy
        return self.registrations.policy(application, policy)

    def credentials_for(self, application: str, presentity: Uri) -> Credentials | None:
        """What answers challenges of this presentity's server.

        Without a realm they are meant for the application's own server, whomever it acts for, and nobody
        else's challenge is answered.
        """
        known = self.credentials.get(application)
        if known is None or known.realm:
            return known
        own = self.callers.get(application)
        at_home = own is not None and self.peer_of(presentity) is self.peer_of(own.identity)
        return known if at_home else None

    # --- registrations ---

    def home_policy(self, caller: Caller) -> PeerPolicy | None:
        """The policy of the server that wants this application registered; None if its server does not."""
        peer = self.peer_of(caller.identity)
        return peer.policy if peer.register else None

    async def registered(self, caller: Caller, presentity: Uri, *, patient: bool = False) -> None:
        """Returns when the application may ask this presentity's server. Raises SignallingError if not."""
        if self.registrations is not None:
            policy = self.peer_of(presentity).policy
            await self.registrations.ready(caller.application, policy, patient=patient)
