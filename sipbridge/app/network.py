"""The presence network on real SIP: `gateway.ports.PresenceNetwork` over the event machines.

Thin on purpose. A publication is a (application, presentity) with one id in `events.publisher`; a watcher's
subscription is a (watcher, presentity) with one id in `events.subscriber`. Calls of the gateway turn into
calls of these machines and wait for the indication that answers them; indications that answer nobody become
news for the gateway. The peer is chosen by the presentity's domain, once, in `peer_of`.

A list at a presence server is watched like a person, with `Supported: eventlist`. What answers without
`Require: eventlist`, and sends no list either, is none.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime

import orjson

from sipbridge.app.fetching import Fetches
from sipbridge.app.group_watch import GroupWatches
from sipbridge.app.list_watch import ListWatch
from sipbridge.app.peers import tell
from sipbridge.app.placeholders import is_placeholder
from sipbridge.app.registrations import Entry, Registrations
from sipbridge.app.winfo import WatcherTable
from sipbridge.errors import (
    DocumentError,
    NotAList,
    RequestRejected,
    SignallingError,
    SipBridgeError,
    TransactionTimeout,
    TransportFailed,
)
from sipbridge.events.peer_watch import PeerState, PeerSuspect, PeerWatch
from sipbridge.events.presence_package import EVENTLIST, PIDF
from sipbridge.events.publisher import (
    Published,
    Publisher,
    PublishFailed,
    State,
    TagForgotten,
    Unpublished,
)
from sipbridge.events.rate import Rate
from sipbridge.events.registration import Registered, RegistrationFailed, Unregistered
from sipbridge.events.subscriber import (
    Accepted,
    Notified,
    RefreshFailed,
    Refused,
    Subscriber,
    Terminated,
)
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Listener, ListListener, PresenceUpdate, WatchersUpdate
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.mapping.filters import NO_FILTER, filter_for
from sipbridge.observability.indications import DocumentTolerated, NotifyHandled
from sipbridge.observability.logs import logger
from sipbridge.presence import pidf
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import read
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.uri import Uri

log = logger("sipbridge.app")

RESUMING = 50
"""Subscriptions that are taken up at the same time after a restart ..."""
RESUME_SECONDS = 1.0
"""... each for so long before the next may begin: a server that is silent is asked 50 times a second."""
LIST_SECONDS = 1.0
"""How long somebody waits for a presentity's first list of watchers (RFC 6665 §4.4.1: it comes at once)."""

LEAVE_SECONDS = 2.0
"""How long servers may take to answer that we go; NOTIFYs of those who are not told by then get no answer."""

LEAVE_BATCH = 50
LEAVE_TICK = 0.01
"""So many subscriptions are ended in each tick: no burst that a server would drop."""

PRESENCE = "presence"
WINFO = "presence.winfo"
LIST = "presence of a list"
"""Not the name of a package: the package is `presence`."""

REGISTRATIONS = (Registered, RegistrationFailed, Unregistered)
"""What the machine of registrations says."""

NO_LIST = frozenset({404, 405, 410, 420, 421, 489, 501, 604})
"""Refusals that say that there is no list, or that lists are not known there."""


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


@dataclass(slots=True)
class Publication:
    """One caller's publication; the lock keeps calls in their order."""

    key: tuple[str, PresentityKey]
    peer: Peer
    id: str = ""
    kept: str = ""
    """What is known of it from an earlier life, until it is taken up."""
    held: bool = False
    """The server has had it."""
    revision: int = 1
    """Of the body the caller waits for."""
    waiting: asyncio.Future[str] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def answer(self, etag: str) -> None:
        """Tell whoever waits that it is done."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(etag)

    def fail(self, error: SignallingError) -> None:
        """Tell whoever waits that it failed; a later try of the machine tells nobody."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)


@dataclass(slots=True)
class Watch:
    """One subscription of ours."""

    id: str
    watcher: PresentityKey
    presentity: PresentityKey
    peer: Peer
    accepted: asyncio.Future[None]
    application: str
    resumed: bool = False
    """Accepted in an earlier life: its end is news even if it begins with a refusal."""
    body: bytes = b""
    document: Presence | None = None
    says: bool = False
    """Did the last body say something?"""
    table: WatcherTable | None = None
    list: ListWatch | None = None
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """The first whole list of watchers has come, or none will come."""


@dataclass(slots=True)
class Asking:
    """Calls that want one subscription and still wait for something before they ask for it."""

    waiting: int = 0
    left: bool = False
    """Nobody wants it any more."""


SOON_BACK = frozenset({"deactivated", "timeout"})
"""Reasons of an end that say nothing against what is known: the subscription is made again at once."""


class SipNetwork:
    """Publishes and watches for the gateway."""

    def __init__(
        self,
        publisher: Publisher,
        subscriber: Subscriber,
        identities: Identities,
        peers: Mapping[str, Peer],
        default: Peer,
        credentials: Mapping[str, Credentials],
        callers: Mapping[str, Caller],
        *,
        turn: Callable[[], None],
        now: Callable[[], float],
        at: Callable[[], datetime],
        refused: Callable[[DocumentError, str, str], None],
        remember: Callable[[tuple[str, PresentityKey], str | None], None],
        observe: Callable[[object], None],
    ) -> None:
        self.publisher = publisher
        self.subscriber = subscriber
        self.identities = identities
        self.peers = peers
        self.default = default
        self.credentials = credentials
        self.callers = callers
        """Who each application itself is."""
        self.turn = turn
        self.now = now
        self.at = at
        self.refused = refused
        self.remember = remember
        self.observe = observe
        self.listener: Listener | None = None
        self.list_listener: ListListener | None = None
        self.lists: Container[PresentityKey] = frozenset()
        """Addresses of lists that presence servers keep, and of groups that are watched as lists."""
        self.groups: GroupWatches | None = None
        self.resuming = asyncio.Semaphore(RESUMING)
        self.fetches = Fetches(subscriber, turn=turn, now=now, at=at, refused=refused)
        self.registrations: Registrations | None = None
        """Set where a server wants us registered."""
        self.peer_watches = [p.watch for p in (default, *peers.values()) if p.watch is not None]
        self.publications: dict[tuple[str, PresentityKey], Publication] = {}
        self.published_by: dict[str, list[Publication]] = {}
        """The same, by application."""
        self.by_id: dict[str, Publication] = {}
        self.watches: dict[tuple[str, PresentityKey, PresentityKey], Watch] = {}
        self.watch_of: dict[str, Watch] = {}
        self.askings: dict[tuple[str, PresentityKey, PresentityKey], Asking] = {}
        self.watched_by: dict[str, dict[str, Watch]] = {}
        """By application and id."""
        self.paces: dict[tuple[str, PresentityKey, PresentityKey], float] = {}
        """Seconds between two pieces of news, where not all of them are wanted."""
        self.filters: dict[tuple[str, PresentityKey, PresentityKey], bytes] = {}
        """Of the pairs of which not all kinds are wanted, or were not once."""
        self.actions: dict[type, Callable[..., None]] = {
            Notified: self.notified,
            Accepted: self.accept,
            RefreshFailed: self.refresh_failed,
            Refused: self.refuse,
            Terminated: self.terminated,
            Published: self.published,
            Unpublished: self.unpublished,
            PublishFailed: self.publish_failed,
            TagForgotten: lambda said: None,
            PeerSuspect: self.suspect,
        }

    # --- peers ---

    def peer_of(self, presentity: Uri) -> Peer:
        """The presence server responsible for this presentity."""
        host = self.identities.address(presentity).host
        return self.peers.get(host.lower(), self.default)

    def decides_here(self, presentity: Uri) -> bool:
        return self.peer_of(presentity).embedded

    async def turn_to_resume(self, presentity: Uri) -> None:
        """Returns when the server of this presentity may be asked for something of before the restart."""
        delay = self.peer_of(presentity).policy.wait(self.now())
        if delay > 0:
            await asyncio.sleep(delay)

    def serves(self, presentity: Uri) -> bool:
        presentity = self.identities.address(presentity)
        peer = self.peer_of(presentity)
        return not peer.embedded or presentity.host.lower() == peer.domain

    # --- registrations ---

    def home_policy(self, caller: Caller) -> PeerPolicy | None:
        """The policy of the server that wants this application registered; None if its server does not."""
        peer = self.peer_of(caller.identity)
        return peer.policy if peer.register else None

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

    async def registered(self, caller: Caller, presentity: Uri, *, patient: bool = False) -> None:
        """Returns when the application may ask this presentity's server. Raises SignallingError if not."""
        if self.registrations is not None:
            policy = self.peer_of(presentity).policy
            await self.registrations.ready(caller.application, policy, patient=patient)

    def applications_changed(self) -> None:
        """The directory is not what it was: who is new is registered, who is gone is not any more."""
        if self.registrations is not None:
            self.registrations.follow()

    def registration_of(self, application: str) -> str:
        """Of the registration of an application: "registered", why not, or "" where none is wanted."""
        known = self.registrations
        return "" if known is None else known.state_of(application)

    def moved(self, entry: Entry) -> None:
        """What lives already goes by the new policy, as far as it is at that server."""
        for publication in self.published_under(entry):
            application, presentity = publication.key
            policy = self.policy_for(application, Uri.parse(presentity))
            self.publisher.follow(publication.id, policy)
        for application in entry.applications:
            for watch in self.watched_by.get(application, {}).values():
                policy = self.policy_for(application, Uri.parse(watch.presentity))
                is_list = watch.list is not None
                self.subscriber.follow(watch.id, with_lists(policy) if is_list else policy)

    def restored(self, entry: Entry) -> None:
        """The network knows us again: what it had and then forbade goes out once more."""
        for publication in self.published_under(entry):
            known = self.publisher.publications.get(publication.id)
            if known is not None and known.state is State.FAILED and publication.held:
                self.publisher.modify(known.id, known.content_type, known.body, self.now())
        self.turn()

    def published_under(self, entry: Entry) -> list[Publication]:
        """What the applications of a registration publish."""
        return [p for a in entry.applications for p in self.published_by.get(a, ())]

    # --- publications ---

    def in_turn(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return self.publication_of(caller).lock

    def publication_of(self, caller: Caller) -> Publication:
        key = (caller.application, caller.key)
        found = self.publications.get(key)
        if found is None:
            found = Publication(key, self.peer_of(caller.identity))
            self.publications[key] = found
            self.published_by.setdefault(caller.application, []).append(found)
        return found

    async def may_publish(self, caller: Caller) -> None:
        await self.registered(caller, caller.identity, patient=True)

    async def publish(self, caller: Caller, document: Presence, expires: int | None = None) -> str:
        await self.registered(caller, caller.identity)
        publication = self.take_up(caller)
        peer = publication.peer
        if "publish" not in peer.policy.capabilities:
            raise RequestRejected(489, "its presence server takes no publications", None)
        body = pidf.serialise(document, strict=peer.policy.strict_documents)
        waiting = asyncio.get_running_loop().create_future()
        publication.waiting = waiting
        if publication.id:
            publication.revision = self.publisher.modify(
                publication.id, PIDF, body, self.now(), trace=caller.trace
            )
        else:
            publication.revision = 1
            publication.id = self.publisher.publish(
                self.identities.address(caller.identity),
                self.identities.address(caller.identity),
                PRESENCE,
                PIDF,
                body,
                self.now(),
                expires=expires or peer.policy.expires,
                policy=self.policy_for(caller.application, caller.identity),
                credentials=self.credentials_for(caller.application, caller.identity),
                trace=caller.trace,
            )
            self.by_id[publication.id] = publication
            self.used(peer)
        self.turn()
        etag: str = await waiting
        return etag

    async def unpublish(self, caller: Caller) -> None:
        publication = self.take_up(caller, removed=True)
        if publication.id:
            publication.waiting = asyncio.get_running_loop().create_future()
            self.publisher.remove(publication.id, self.now(), trace=caller.trace)
            self.turn()
            await publication.waiting

    # --- subscriptions ---

    async def watch(
        self,
        caller: Caller,
        presentity: Uri,
        *,
        resuming: bool = False,
        group: Uri | None = None,
    ) -> None:
        kind = self.kind_of(presentity)
        key = (kind, caller.key, self.identities.canonical(presentity))
        with self.asking(key) as asking:
            await self.registered(caller, presentity, patient=resuming)
            if not asking.left and kind == PRESENCE and self.groups is not None:
                if self.groups.covers(caller, presentity):
                    return
                if group is not None and key not in self.watches:
                    asked = await self.groups.watch(caller, presentity, group, resuming=resuming)
                    if asked:
                        return
            if resuming:
                await self.watch_again(caller, presentity, kind, asking)
            elif not asking.left:
                await self.accepted(self.subscribe(caller, presentity, kind, keep_trying=False))

    async def watch_again(self, caller: Caller, presentity: Uri, kind: str, asking: Asking) -> None:
        """Subscribe as before the restart, few at a time."""
        async with self.resuming:
            if asking.left:
                return
            watch = self.subscribe(caller, presentity, kind, keep_trying=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESUME_SECONDS):
                    await self.accepted(watch)

    @contextlib.contextmanager
    def asking(self, key: tuple[str, PresentityKey, PresentityKey]) -> Iterator[Asking]:
        """Inside it somebody wants this subscription; `unwatch` says if nobody does any more."""
        asking = self.askings.setdefault(key, Asking())
        asking.waiting += 1
        try:
            yield asking
        finally:
            asking.waiting -= 1
            if not asking.waiting and self.askings.get(key) is asking:
                del self.askings[key]

    async def leave(self) -> None:
        """End our subscriptions at servers of others before we go; bounded in time.

        Nobody is told: they are made anew after the restart, and meanwhile no server has to talk to the dead.
        """
        leaving = [
            w.id for w in self.watches.values() if not self.decides_here(Uri.parse(w.presentity))
        ]
        for id in leaving:
            self.watch_of.pop(id, None)
        for tick in range(int(LEAVE_SECONDS / LEAVE_TICK)):
            batch = leaving[tick * LEAVE_BATCH :][:LEAVE_BATCH]
            for id in batch:
                self.subscriber.end(id, self.now())
            self.turn()
            if not batch and not any(map(self.subscriber.is_leaving, leaving)):
                return
            await asyncio.sleep(LEAVE_TICK)

    async def fetch(self, caller: Caller, presentity: Uri, wait: float) -> PresenceUpdate | None:
        await self.registered(caller, presentity)
        return await self.fetches.ask(
            caller,
            self.identities.address(presentity),
            self.identities.canonical(presentity),
            self.policy_for(caller.application, presentity),
            self.credentials_for(caller.application, presentity),
            wait,
        )

    async def watch_watchers(self, caller: Caller) -> None:
        if "winfo" in self.peer_of(caller.identity).policy.capabilities:
            await self.registered(caller, caller.identity, patient=True)
            await self.accepted(self.subscribe(caller, caller.identity, WINFO, keep_trying=True))

    async def know_watchers(self, caller: Caller) -> None:
        """The same, and the list is there when this returns, or the server was slow with it."""
        await self.registered(caller, caller.identity)
        await self.watch_watchers(caller)
        await self.watchers_known(caller)

    async def watchers_known(self, caller: Caller) -> None:
        watch = self.watches.get((WINFO, caller.key, caller.key))
        if watch is None:
            return
        try:
            async with asyncio.timeout(LIST_SECONDS):
                await watch.known.wait()
        except TimeoutError:
            watch.known.set()  # the server does not tell; the next one need not wait for it

    def own_subscriptions(
        self, watcher: PresentityKey, presentity: PresentityKey
    ) -> Collection[str]:
        watch = self.watches.get((PRESENCE, watcher, presentity))
        return () if watch is None else (self.subscriber.call_id(watch.id),)

    def slow_down(self, watcher: PresentityKey, presentity: PresentityKey, interval: float) -> None:
        key = (PRESENCE, watcher, presentity)
        if interval:
            self.paces[key] = interval
        else:
            self.paces.pop(key, None)
        if (watch := self.watches.get(key)) is not None:
            self.subscriber.set_rate(watch.id, Rate.every(interval), self.now())
            self.turn()

    def narrow(
        self,
        watcher: PresentityKey,
        presentity: PresentityKey,
        kinds: frozenset[AttributeKind] | None,
    ) -> None:
        key = (PRESENCE, watcher, presentity)
        before = self.filters.pop(key, b"")
        if kinds is None:
            return
        filter = filter_for(kinds) or (NO_FILTER if before else b"")
        if filter:
            self.filters[key] = filter
        if (watch := self.watches.get(key)) is not None:
            self.subscriber.set_filter(watch.id, filter, self.now())
            self.turn()

    def held_back(self, watcher: PresentityKey, presentity: PresentityKey) -> bool:
        watch = self.watches.get((PRESENCE, watcher, presentity))
        return watch is not None and self.subscriber.held_back(watch.id, self.now()) > 0

    def kind_of(self, presentity: Uri) -> str:
        return LIST if self.identities.canonical(presentity) in self.lists else PRESENCE

    async def accepted(self, watch: Watch) -> None:
        # Shielded: a caller that goes away must not take the others' answer with it.
        await asyncio.shield(watch.accepted)

    def subscribe(self, caller: Caller, presentity: Uri, kind: str, *, keep_trying: bool) -> Watch:
        """The subscription there is, else a new one. kind: PRESENCE, WINFO or LIST."""
        key = (kind, caller.key, self.identities.canonical(presentity))
        watch = self.watches.get(key)
        if watch is None:
            peer = self.peer_of(presentity)
            policy = self.policy_for(caller.application, presentity)
            if kind == LIST:
                policy = with_lists(policy)
            identifier = self.subscriber.subscribe(
                self.identities.address(presentity),
                self.identities.address(caller.identity),
                PRESENCE if kind == LIST else kind,
                self.now(),
                expires=policy.expires,
                policy=policy,
                credentials=self.credentials_for(caller.application, presentity),
                trace=caller.trace,
                keep_trying=keep_trying,
                rate=Rate.every(self.paces.get(key, 0.0)),
                members=self.groups.brings(key[2]) if self.groups and kind == LIST else (),
                filter=self.filters.get(key, b""),
            )
            accepted = asyncio.get_running_loop().create_future()
            watch = Watch(
                identifier, key[1], key[2], peer, accepted, caller.application, keep_trying
            )
            self.used(peer)
            if kind == WINFO:
                watch.table = WatcherTable()
            elif kind == LIST:
                watch.list = ListWatch(caller.key, key[2], self.identities, policy)
            self.watches[key] = self.watch_of[identifier] = watch
            self.watched_by.setdefault(caller.application, {})[identifier] = watch
            self.turn()
        return watch

    async def unwatch(self, caller: Caller, presentity: Uri) -> None:
        kind = self.kind_of(presentity)
        if self.groups is not None and kind == PRESENCE:
            await self.groups.unwatch(caller, presentity)
        key = (kind, caller.key, self.identities.canonical(presentity))
        if (asking := self.askings.pop(key, None)) is not None:
            asking.left = True
        if (watch := self.watches.get(key)) is not None:
            # Whoever waits for the server's answer needs none any more.
            self.answer_watch(watch.id, None)
            self.forget_watch(watch)
            self.subscriber.end(watch.id, self.now())
            self.turn()

    def forget_watch(self, watch: Watch) -> None:
        self.watch_of.pop(watch.id, None)
        self.watched_by[watch.application].pop(watch.id, None)
        watch.known.set()
        for key, other in list(self.watches.items()):
            if other is watch:
                del self.watches[key]

    # --- indications ---

    def handle(self, said: object) -> None:
        """What the machines noticed."""
        self.fetches.handle(said)
        action = self.actions.get(type(said))
        if action is not None:
            self.hear(said)
            action(said)
        elif self.registrations is not None and isinstance(said, REGISTRATIONS):
            self.hear(said)
            self.registrations.handle(said)

    def hear(self, said: object) -> None:
        """What an indication says about the server it comes from."""
        if type(said) is Notified and not self.attentive:
            return  # as nearly always
        server = self.server_of(said)
        if server is not None and server.watch is not None:
            tell(server.watch, said, self.now())

    @property
    def attentive(self) -> bool:
        """Does anybody wait for a sign of life?"""
        return any(watch.attentive for watch in self.peer_watches)

    def server_of(self, said: object) -> Peer | None:
        """The server that an indication is about."""
        match said:
            case Notified() | Accepted() | Refused() | RefreshFailed() | Terminated():
                watch = self.watch_of.get(said.subscription)
                return watch.peer if watch else None
            case Published() | PublishFailed() | Unpublished() | TagForgotten():
                publication = self.by_id.get(said.publication)
                return publication.peer if publication else None
            case Registered() | RegistrationFailed() if self.registrations is not None:
                identity = self.registrations.whose(said.registration)
                return self.peer_of(identity) if identity is not None else None
        return None

    # --- servers that come and go ---

    def used(self, peer: Peer) -> None:
        """Something of ours begins to live at this server."""
        if peer.watch is not None:
            peer.watch.used(self.now())

    def up(self, peer: Peer) -> bool:
        """Does the server answer?"""
        return peer.watch is None or peer.watch.state is not PeerState.SUSPECT

    def suspect(self, said: PeerSuspect) -> None:
        """What is known from a server may be old: whoever looks is told so."""
        for watch in list(self.watch_of.values()):
            if watch.peer.policy.name == said.peer:
                self.outdate(watch)

    def outdate(self, watch: Watch) -> None:
        """What a subscription has brought may be old from now on."""
        if self.listener is None or watch.table is not None:
            return
        presentities = [watch.presentity] if watch.list is None else list(watch.list.documents)
        for presentity in presentities:
            self.listener.presence_outdated(watch.watcher, presentity)

    def published(self, said: Published) -> None:
        publication = self.by_id.get(said.publication)
        if publication is None:
            return
        publication.held = True
        self.remember_publication(publication)
        if said.revision >= publication.revision:
            publication.answer(said.etag)

    def unpublished(self, said: Unpublished) -> None:
        publication = self.by_id.pop(said.publication, None)
        if publication is None:
            return
        publication.id, publication.held = "", False
        self.remember(publication.key, None)
        publication.answer("")

    def publish_failed(self, said: PublishFailed) -> None:
        publication = self.by_id.get(said.publication)
        if publication is None:
            return
        publication.fail(failure(said.status, said.reason, said.retry_after, said.tried))
        forbidden = said.status == 403 and publication.peer.register
        if forbidden and self.registrations is not None and publication.held:
            self.registrations.doubt(publication.key[0])

    def remember_publication(self, publication: Publication) -> None:
        """Keep its entity-tag for the next life, or the server would show the old state beside ours.

        Our own agent forgets with us what we publish, so there is nothing to keep.
        """
        if self.decides_here(self.publisher.publications[publication.id].entity):
            return
        stored = {
            "at": self.at().isoformat(),
            "publication": self.publisher.snapshot(publication.id, self.now()),
        }
        self.remember(publication.key, orjson.dumps(stored).decode())

    def keep_publication(self, caller: Caller, text: str) -> None:
        """There is a publication of an earlier life: whoever publishes or removes it first takes it up."""
        self.publication_of(caller).kept = text

    async def resume_publication(self, caller: Caller, *, removed: bool) -> None:
        """Take it up as soon as the application may ask its server; removed: to take it back there.

        Raises SignallingError when the application may not ask any more.
        """
        await self.may_publish(caller)
        self.take_up(caller, removed=removed)
        self.turn()

    def take_up(self, caller: Caller, *, removed: bool = False) -> Publication:
        """The caller's publication; one of an earlier life lives from now on."""
        publication = self.publication_of(caller)
        text, publication.kept = publication.kept, ""
        if not text:
            return publication
        try:
            stored = orjson.loads(text)
            elapsed = (self.at() - datetime.fromisoformat(stored["at"])).total_seconds()
            if removed:
                stored["publication"]["removal_asked"] = True
            publication.id = self.publisher.restore(
                stored["publication"],
                self.now(),
                elapsed=max(0.0, elapsed),
                policy=self.policy_for(caller.application, caller.identity),
                credentials=self.credentials_for(caller.application, caller.identity),
            )
        except (SipBridgeError, ValueError, KeyError, TypeError) as error:
            self.remember(publication.key, None)
            log.warning("publication.not-restored", presentity=caller.key, error=str(error))
            return publication
        publication.held = True
        self.by_id[publication.id] = publication
        self.used(publication.peer)
        return publication

    def answer_watch(self, identifier: str, error: SignallingError | None) -> None:
        """Tell whoever waits for the server's answer, and whoever will ask for it later."""
        watch = self.watch_of.get(identifier)
        if watch is None:
            return
        if watch.accepted.done():
            if error is not None or watch.accepted.exception() is None:
                return
            watch.accepted = asyncio.get_running_loop().create_future()  # it works after all
        if error is None:
            watch.accepted.set_result(None)
        else:
            watch.accepted.set_exception(error)
            watch.accepted.exception()  # seen: there may be nobody waiting

    def accept(self, said: Accepted) -> None:
        watch = self.watch_of.get(said.subscription)
        if watch is None or watch.list is None or said.is_list or watch.list.is_list:
            self.answer_watch(said.subscription, None)
            if watch is not None and watch.list is None and said.is_unchanged and watch.says:
                self.tell(watch, "active", "", said.trace, watch.document)
            return
        self.subscriber.end(watch.id, self.now())
        self.turn()
        self.give_up(watch, NotAList(200, "it is no list, or the server knows none"), said.trace)

    def refresh_failed(self, said: RefreshFailed) -> None:
        self.answer_watch(said.subscription, failure(said.status, said.reason, None, said.tried))

    def refuse(self, said: Refused) -> None:
        watch = self.watch_of.get(said.subscription)
        if watch is None:
            return
        error = failure(said.status, said.reason, said.retry_after, said.tried)
        if watch.list is not None and said.status in NO_LIST:
            error = NotAList(said.status, said.reason, said.retry_after)
        self.give_up(watch, error, said.trace, "rejected" if said.status == 403 else "")

    def give_up(self, watch: Watch, error: SignallingError, trace: str, reason: str = "") -> None:
        """The subscription is over with a failure: an answer if somebody waits for one, else news."""
        running = watch.resumed or watch.accepted.done()
        self.answer_watch(watch.id, error)
        self.forget_watch(watch)
        if running:
            self.tell(watch, "terminated", reason, trace)

    def terminated(self, said: Terminated) -> None:
        watch = self.watch_of.get(said.subscription)
        if watch is None:
            return
        if said.will_retry:
            if said.reason not in SOON_BACK:
                self.outdate(watch)
            return
        self.answer_watch(
            said.subscription, failure(said.status, said.reason or "terminated", said.retry_after)
        )
        self.forget_watch(watch)
        self.tell(watch, "terminated", said.reason, said.trace)

    def notified(self, said: Notified) -> None:
        """Hop 5 of a NOTIFY: the body becomes a document, the gateway is told."""
        watch = self.watch_of.get(said.subscription)
        if watch is None:
            return
        if watch.list is not None:
            self.list_notified(watch, watch.list, said)
            return
        self.answer_watch(said.subscription, None)
        if watch.table is not None:
            self.watchers_notified(watch, watch.table, said)
            return
        if said.state == "terminated":
            return  # `Terminated` follows, and says whether this is the end
        if said.body:
            watch.says = said.body == watch.body or self.read(watch, said)
        says = watch.says and bool(said.body or said.is_unchanged)
        document_now = watch.document if says else None
        self.tell(watch, said.state, said.reason, said.trace, document_now, said)
        self.observe(NotifyHandled(self.now() - said.received, said.trace))

    def read(self, watch: Watch, said: Notified) -> bool:
        """A body that is not that of before becomes the document of the watch. False: it says nothing."""
        try:
            document = read(said.body, said.content_type)
        except DocumentError as error:
            self.refused(error, said.content_type, said.trace)
            return True
        if not isinstance(document, Presence):
            return True
        if is_placeholder(document, watch.peer.policy):
            return False
        watch.body, watch.document = said.body, document
        if document.deviations:
            codes = tuple(d.code for d in document.deviations)
            self.observe(DocumentTolerated(codes, said.trace))
        return True

    def tell(
        self,
        watch: Watch,
        state: str,
        reason: str,
        trace: str,
        document: Presence | None = None,
        said: Notified | None = None,
    ) -> None:
        if watch.list is not None:
            if self.list_listener is not None:
                self.list_listener.list_changed(watch.list.ended(reason, trace))
            return
        if self.listener is None or watch.table is not None:
            return
        self.listener.presence_changed(
            PresenceUpdate(
                watch.watcher,
                watch.presentity,
                state,
                reason,
                document,
                said.received if said else self.now(),
                self.at(),
                trace,
                said.call_id if said else "",
            )
        )

    def list_notified(self, watch: Watch, listed: ListWatch, said: Notified) -> None:
        """Hop 5 for a list: one piece of news for each member that has one."""
        if said.state == "terminated":
            return  # `Terminated` follows, and says whether this is the end
        news = listed.receive(said, self.at())
        if listed.is_list:
            self.answer_watch(watch.id, None)
        elif not watch.accepted.done():
            return  # the answer to SUBSCRIBE will say whether it is one
        for error in news.errors:
            self.refused(error, said.content_type, said.trace)
        for codes in news.tolerated:
            self.observe(DocumentTolerated(codes, said.trace))
        if news.roster is not None and self.list_listener is not None:
            self.list_listener.list_changed(news.roster)
        for update in news.members:
            if self.listener is not None:
                self.listener.presence_changed(update)
        if news.refresh:
            self.subscriber.refresh(watch.id, self.now())
            self.turn()
        self.observe(NotifyHandled(self.now() - said.received, said.trace))

    def watchers_notified(self, watch: Watch, table: WatcherTable, said: Notified) -> None:
        if not said.body:
            return
        try:
            complete = table.receive(said.body)
        except DocumentError as error:
            self.refused(error, said.content_type, said.trace)
            return
        if not complete:
            self.subscriber.refresh(watch.id, self.now())
            self.turn()
        elif self.listener is not None:
            self.listener.watchers_changed(WatchersUpdate(watch.presentity, table.watchers()))
            watch.known.set()


def with_lists(policy: PeerPolicy) -> PeerPolicy:
    """The policy for a list at the presence server (RFC 4662 §4.1)."""
    return replace(policy, capabilities=policy.capabilities | {EVENTLIST})


def failure(
    status: int | None, reason: str, retry_after: float | None, tried: str = ""
) -> SignallingError:
    """A failed request as one typed error. tried: what became of each destination."""
    story = f": {tried}" if tried else ""
    if status is not None:
        return RequestRejected(status, f"{reason}{story}", retry_after)
    if reason == "timeout":
        return TransactionTimeout(f"the presence server did not answer{story}")
    return TransportFailed(f"{reason or 'the presence server cannot be reached'}{story}")
