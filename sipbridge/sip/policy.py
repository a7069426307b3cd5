"""What differs from peer to peer.

Every request out of a dialog takes one `PeerPolicy`; it is empty by default and nothing else adds headers or
routes. Policies are built in `app/wiring.py` from the configuration.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from sipbridge.errors import ParseError
from sipbridge.sip.flow import Flow
from sipbridge.uri import Uri

CAN_FETCH, CAN_WINFO, CAN_PUBLISH = "fetch", "winfo", "publish"
"""Words of `PeerPolicy.capabilities` for what nearly every peer can do."""


class Groups(StrEnum):
    """How the members of a group are watched."""

    EACH = "each"
    URI = "uri"
    BODY = "body"


class Turns(Protocol):
    """Says when a request that nobody waits for may leave."""

    def delay(self, now: float, *, again: bool = False) -> float:
        """Seconds until the turn of whoever asks now; 0.0: it is now. again: a turn given before has come."""
        ...

    def spend(self, count: int, now: float) -> None:
        """So many requests left without a turn."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """What answers a digest challenge (RFC 3261 §22). `realm` "" fits any realm."""

    username: str
    password: str = field(repr=False)
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
    conditional: send Suppress-If-Match when the peer's NOTIFYs carry entity-tags (RFC 5839).
    rate_control: ask for no more NOTIFYs than somebody here wants to hear of (RFC 6446).
    groups: how the members of a group are watched: `EACH` by a subscription of its own, or all by one, which
    goes to the group's address where the peer keeps the list (`URI`, RFC 4662) or brings it along (`BODY`,
    RFC 5367). groups_abroad: members of other domains than the group's may be named to this peer too.
    encodings: content codings that we take in NOTIFYs, and use in PUBLISH once the peer says it takes them.
    capabilities: words for what the peer can do (`CAN_FETCH` and its like, "eventlist").
    placeholders: ids of tuples that the peer makes up where nothing is known; a document of them is no news.
    turns: how fast what was lost may be asked for again; None: at once.
    partial_notify: ask for partial notifications (RFC 5263).
    partial_publish: publish what changed (RFC 5264) to a peer that says by Accept that it takes such parts.
    filters: send event filters (RFC 4660); only a peer that is known to take them should be sent any.
    path, associated: what a registrar answered to our REGISTER (RFC 3327, RFC 7315 §4.1), as URIs' text; the
    first associated URI is the one the network takes where we prefer none.
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
    conditional: bool = True
    rate_control: bool = True
    groups: Groups = Groups.EACH
    groups_abroad: bool = False
    encodings: tuple[str, ...] = ("gzip", "deflate")
    partial_notify: bool = True
    partial_publish: bool = True
    filters: bool = False
    capabilities: frozenset[str] = frozenset({CAN_FETCH, CAN_WINFO, CAN_PUBLISH})
    placeholders: frozenset[str] = frozenset()
    path: tuple[str, ...] = ()
    associated: tuple[str, ...] = ()
    turns: Turns | None = field(default=None, compare=False)

    def wait(self, now: float, *, again: bool = False) -> float:
        """Seconds until a request that only repairs something may leave (`Turns.delay`)."""
        return 0.0 if self.turns is None else self.turns.delay(now, again=again)

    def spend(self, count: int, now: float) -> None:
        """A request was sent so many times more, to answer challenges."""
        if count and self.turns is not None:
            self.turns.spend(count, now)

    def event_name(self, package: str) -> str:
        """The peer's spelling of an event package."""
        return dict(self.event_names).get(package, package)

    def registered(
        self, service_route: tuple[str, ...], path: tuple[str, ...], associated: tuple[str, ...]
    ) -> "PeerPolicy":
        """The same peer, once it has registered us: its Service-Route follows the routes that lead there.

        RFC 3608 §6.1: what is configured comes first. A route that would stand twice in a row stands once.
        """
        way = [*self.route]
        for route in service_route:
            if way[-1:] != [route]:
                way.append(route)
        return replace(self, route=tuple(way), path=path, associated=associated)

    def sender(self, uri: str) -> str:
        """Who the identity header names for a request From `uri`.

        Whom we may prefer is among the associated URIs (RFC 7315 §4.1); where `uri` is not, the first is.
        What we assert ourselves, nobody else chooses.
        """
        if self.identity != PREFERRED or not self.associated:
            return uri
        try:
            wanted = Uri.parse(uri)
            if any(wanted.matches(Uri.parse(one)) for one in self.associated):
                return uri
        except ParseError:
            return uri
        return self.associated[0]


PREFERRED = "P-Preferred-Identity"
"""RFC 3325 §9.2: whom of several the network shall take us for."""

NO_POLICY = PeerPolicy()
