"""What differs from peer to peer.

Every request out of a dialog takes one `PeerPolicy`; it is empty by default and nothing else adds headers or
routes. Policies are built in `app/wiring.py` from the configuration.
"""

from dataclasses import dataclass

from sipbridge.sip.flow import Flow


@dataclass(frozen=True, slots=True)
class Credentials:
    """What answers a digest challenge (RFC 3261 §22). `realm` "" fits any realm."""

    username: str
    password: str
    realm: str = ""


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """How requests to one peer look and where they go.

    route: Route header values set on requests out of a dialog (RFC 3261 §8.1.2), as name-addr text.
    next_hops: sip URIs tried in order as destination whatever the Request-URI says; empty: the URI decides.
    flow: a fixed flow (the embedded agent's), before everything else.
    identity: name of the header that asserts the sender, "" for none ("P-Asserted-Identity", RFC 3325).
    extra_headers: (name, value) pairs added to each request out of a dialog, and to each SUBSCRIBE in one.
    expires: seconds asked for SUBSCRIBE and PUBLISH, None: the package's default.
    strict_documents: refuse what the schema refuses.
    event_names: the peer's own spelling of event packages, as (ours, theirs).
    capabilities: words for what the peer can do ("fetch", "winfo", "eventlist").
    """

    name: str = ""
    route: tuple[str, ...] = ()
    next_hops: tuple[str, ...] = ()
    flow: Flow | None = None
    identity: str = ""
    extra_headers: tuple[tuple[str, str], ...] = ()
    expires: int | None = None
    strict_documents: bool = False
    event_names: tuple[tuple[str, str], ...] = ()
    capabilities: frozenset[str] = frozenset({"fetch", "winfo"})

    def event_name(self, package: str) -> str:
        """The peer's spelling of an event package."""
        return dict(self.event_names).get(package, package)


NO_POLICY = PeerPolicy()
