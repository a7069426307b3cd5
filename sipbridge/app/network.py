"""The presence network on real SIP: `gateway.ports.PresenceNetwork` over the event machines.

Thin on purpose. A watcher's subscription is a (watcher, presentity) with one id in `events.subscriber`; what
is published is in `publications.py`, which server is asked and how in `standing.py`. Calls of the gateway
turn into calls of these machines and wait for the indication that answers them; indications that answer
nobody become news for the gateway.

A list at a presence server is watched like a person, with `Supported: eventlist`. What answers without
`Require: eventlist`, and sends no list either, is none.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from sipbridge.app.failures import failure
from sipbridge.app.fetching import Fetches
from sipbridge.app.group_watch import GroupWatches
from sipbridge.app.list_watch import ListWatch
from sipbridge.app.peers import tell
from sipbridge.app.placeholders import is_placeholder
from sipbridge.app.publications import Publications
from sipbridge.app.registrations import Entry
from sipbridge.app.standing import Peer, Standing
from sipbridge.app.winfo import WatcherTable
from sipbridge.errors import (
    DocumentError,
    NotAList,
    SignallingError,
)
from sipbridge.events.peer_watch import PeerState, PeerSuspect
from sipbridge.events.presence_package import EVENTLIST
from sipbridge.events.publisher import (
    Published,
    Publisher,
    PublishFailed,
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
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.mapping.filters import NO_FILTER, filter_for
from sipbridge.observability.indications import DocumentTolerated, NotifyHandled
from sipbridge.observability.logs import logger
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import Document, read
from sipbridge.sip.policy import CAN_WINFO, PeerPolicy
from sipbridge.uri import Uri

log = logger("sipbridge.app")

RESUMING = 50
"""Subscriptions that are taken up at the same time after a restart ..."""
RESUME_SECONDS = 1.0
"""... each for so long before the next may begin: a server that is silent is asked 50 times a second."""
LIST_SECONDS = 1.0
"""How long somebody waits for a presentity's first list of watchers (RFC 6665 §4.4.1: it comes at once)."""

AHEAD_BYTES = 48 * 1024
"""Bodies that are read before the first of them is told of: less than 5 ms of work."""

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

FORBIDDEN = frozenset({403})
"""What a server that hears only who is registered says to others."""

NO_LIST = frozenset({404, 405, 410, 420, 421, 489, 501, 604})
"""Refusals that say that there is no list, or that lists are not known there."""


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
    forbidden: bool = False
    """403, perhaps because the server had forgotten who we are."""
    body: bytes = b""
    document: Presence | None = None
    says: bool = False
    """Did the last body say something?"""
    table: WatcherTable | None = None
    list: ListWatch | None = None
    known: asyncio.Event | None = None
    """Of watcher information: the first whole list has come, or none will come."""

    def waits_no_more(self) -> None:
        """Nobody needs to wait for the list of watchers any longer."""
        if self.known is not None:
            self.known.set()


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
        standing: Standing,
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
        self.standing = standing
        self.identities = standing.identities
        self.turn = turn
        self.now = now
        self.refused = refused
        self.observe = observe
        self.listener: Listener | None = None
        self.list_listener: ListListener | None = None
        self.lists: Container[PresentityKey] = frozenset()
        """Addresses of lists that presence servers keep, and of groups that are watched as lists."""
        self.groups: GroupWatches | None = None
        self.resuming = asyncio.Semaphore(RESUMING)
        self.fetches = Fetches(subscriber, turn=turn, now=now, refused=refused)
        self.publications = Publications(
            publisher, standing, turn=turn, now=now, at=at, remember=remember
        )
        self.peer_watches = [p.watch for p in standing.all_peers() if p.watch is not None]
        self.watches: dict[tuple[str, PresentityKey, PresentityKey], Watch] = {}
        self.watch_of: dict[str, Watch] = {}
        self.ahead: dict[Notified, Document | DocumentError] = {}
        """What `prepare` has read."""
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
            Published: self.publications.published,
            Unpublished: self.publications.unpublished,
            PublishFailed: self.publications.failed,
            TagForgotten: lambda said: None,
            PeerSuspect: self.suspect,
        }

    # --- servers ---

    def decides_here(self, presentity: Uri) -> bool:
        return self.standing.peer_of(presentity).embedded

    def serves(self, presentity: Uri) -> bool:
        return self.standing.serves(presentity)

    async def turn_to_resume(self, presentity: Uri) -> None:
        """Returns when the server of this presentity may be asked for something of before the restart."""
        delay = self.standing.peer_of(presentity).policy.wait(self.now())
        if delay > 0:
            await asyncio.sleep(delay)

    def applications_changed(self) -> None:
        """The directory is not what it was: who is new is registered, who is gone is not any more."""
        if self.standing.registrations is not None:
            self.standing.registrations.follow()

    def registration_of(self, application: str) -> str:
        """Of the registration of an application: "registered", why not, or "" where none is wanted."""
        known = self.standing.registrations
        return "" if known is None else known.state_of(application)

    def moved(self, entry: Entry) -> None:
        """What lives already goes by the new policy, as far as it is at that server."""
        self.publications.moved(entry)
        for application in entry.applications:
            for watch in self.watched_by.get(application, {}).values():
                policy = self.standing.policy_for(application, Uri.parse(watch.presentity))
                is_list = watch.list is not None
                self.subscriber.follow(watch.id, with_lists(policy) if is_list else policy)

    def restored(self, entry: Entry) -> None:
        """The network knows us again: what it forbade meanwhile is asked for once more."""
        for application in entry.applications:
            for watch in self.watched_by.get(application, {}).values():
                if watch.forbidden:
                    watch.forbidden = False
                    self.subscriber.hasten(watch.id, self.now())
        self.publications.restored(entry)

    # --- publications ---

    def in_turn(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return self.publications.of(caller).lock

    async def may_publish(self, caller: Caller) -> None:
        await self.publications.may_publish(caller)

    async def publish(self, caller: Caller, document: Presence, expires: int | None = None) -> str:
        return await self.publications.publish(caller, document, expires)

    async def unpublish(self, caller: Caller) -> None:
        await self.publications.unpublish(caller)

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
            await self.standing.registered(caller, presentity, patient=resuming)
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
        await self.standing.registered(caller, presentity)
        return await self.fetches.ask(
            caller,
            self.identities.address(presentity),
            self.identities.canonical(presentity),
            self.standing.policy_for(caller.application, presentity),
            self.standing.credentials_for(caller.application, presentity),
            wait,
        )

    async def watch_watchers(self, caller: Caller) -> None:
        if CAN_WINFO in self.standing.peer_of(caller.identity).policy.capabilities:
            await self.standing.registered(caller, caller.identity, patient=True)
            await self.accepted(self.subscribe(caller, caller.identity, WINFO, keep_trying=True))

    async def know_watchers(self, caller: Caller) -> None:
        """The same, and the list is there when this returns, or the server was slow with it."""
        await self.standing.registered(caller, caller.identity)
        await self.watch_watchers(caller)
        await self.watchers_known(caller)

    async def watchers_known(self, caller: Caller) -> None:
        watch = self.watches.get((WINFO, caller.key, caller.key))
        if watch is None or watch.known is None:
            return
        try:
            async with asyncio.timeout(LIST_SECONDS):
                await watch.known.wait()
        except TimeoutError:
            watch.waits_no_more()  # the server does not tell; the next one need not wait for it

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
            peer = self.standing.peer_of(presentity)
            policy = self.standing.policy_for(caller.application, presentity)
            if kind == LIST:
                policy = with_lists(policy)
            identifier = self.subscriber.subscribe(
                self.identities.address(presentity),
                self.identities.address(caller.identity),
                PRESENCE if kind == LIST else kind,
                self.now(),
                expires=policy.expires,
                policy=policy,
                credentials=self.standing.credentials_for(caller.application, presentity),
                trace=caller.trace,
                keep_trying=keep_trying,
                rate=Rate.every(self.paces.get(key, 0.0)),
                members=self.groups.brings(key[2]) if self.groups and kind == LIST else (),
                filter=self.filters.get(key, b""),
                forgives=FORBIDDEN if peer.register else frozenset(),
            )
            accepted = asyncio.get_running_loop().create_future()
            watch = Watch(
                identifier, key[1], key[2], peer, accepted, caller.application, keep_trying
            )
            peer.used(self.now())
            if kind == WINFO:
                watch.table, watch.known = WatcherTable(), asyncio.Event()
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
        watch.waits_no_more()
        for key, other in list(self.watches.items()):
            if other is watch:
                del self.watches[key]

    # --- indications ---

    def prepare(self, coming: Sequence[object]) -> None:
        """Read the bodies of NOTIFYs that are told next, one after the other.

        A document is read much faster right after another: the processor still has the reader at hand.
        """
        self.ahead.clear()
        room = AHEAD_BYTES
        for said in coming if len(coming) > 1 else ():
            if isinstance(said, Notified) and self.is_news(said):
                room -= len(said.body)
                if room < 0:
                    return
                self.ahead[said] = read_or_refuse(said)

    def is_news(self, said: Notified) -> bool:
        """Is there a document in it, and another one than before?"""
        watch = self.watch_of.get(said.subscription)
        if watch is None or watch.list is not None or watch.table is not None:
            return False
        return bool(said.body) and said.body != watch.body and said.state != "terminated"

    def handle(self, said: object) -> None:
        """What the machines noticed."""
        self.fetches.handle(said)
        action = self.actions.get(type(said))
        if action is not None:
            self.hear(said)
            action(said)
        elif self.standing.registrations is not None and isinstance(said, REGISTRATIONS):
            self.hear(said)
            self.standing.registrations.handle(said)

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
                publication = self.publications.by_id.get(said.publication)
                return publication.peer if publication else None
            case Registered() | RegistrationFailed() if self.standing.registrations is not None:
                identity = self.standing.registrations.whose(said.registration)
                return self.standing.peer_of(identity) if identity is not None else None
        return None

    # --- servers that come and go ---

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
        if watch is not None:
            watch.forbidden = False
        if watch is None or watch.list is None or said.is_list or watch.list.is_list:
            self.answer_watch(said.subscription, None)
            if watch is not None and watch.list is None and said.is_unchanged and watch.says:
                self.tell(watch, "active", "", said.trace, watch.document)
            return
        self.subscriber.end(watch.id, self.now())
        self.turn()
        self.give_up(watch, NotAList(200, "it is no list, or the server knows none"), said.trace)

    def refresh_failed(self, said: RefreshFailed) -> None:
        error = failure(said.status, said.reason, None, said.tried)
        watch = self.watch_of.get(said.subscription)
        forbidden = watch is not None and watch.peer.register and said.status in FORBIDDEN
        if watch is not None and forbidden and self.means_it(watch):
            self.subscriber.end(watch.id, self.now())
            self.give_up(watch, error, said.trace, "rejected")
        else:
            self.answer_watch(said.subscription, error)

    def means_it(self, watch: Watch) -> bool:
        """It got 403, and nothing of it is left at the server: has that nothing to do with who we are?"""
        registrations = self.standing.registrations
        held = watch.accepted.done() and watch.accepted.exception() is None
        if held and registrations is not None:
            watch.forbidden = registrations.doubt(watch.application, watch.peer.policy)
            if watch.forbidden:
                self.outdate(watch)
        return not watch.forbidden and not self.subscriber.is_alive(watch.id)

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
        self.tell(watch, said.state, said.reason, said.trace, document_now)
        self.observe(NotifyHandled(self.now() - said.received, said.trace))

    def read(self, watch: Watch, said: Notified) -> bool:
        """A body that is not that of before becomes the document of the watch. False: it says nothing."""
        document = self.ahead.pop(said, None) or read_or_refuse(said)
        if isinstance(document, DocumentError):
            self.refused(document, said.content_type, said.trace)
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
                trace,
            )
        )

    def list_notified(self, watch: Watch, listed: ListWatch, said: Notified) -> None:
        """Hop 5 for a list: one piece of news for each member that has one."""
        if said.state == "terminated":
            return  # `Terminated` follows, and says whether this is the end
        news = listed.receive(said)
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
            watch.waits_no_more()


def read_or_refuse(said: Notified) -> Document | DocumentError:
    """The document of a NOTIFY, or why there is none."""
    try:
        return read(said.body, said.content_type)
    except DocumentError as error:
        return error


def with_lists(policy: PeerPolicy) -> PeerPolicy:
    """The policy for a list at the presence server (RFC 4662 §4.1)."""
    return replace(policy, capabilities=policy.capabilities | {EVENTLIST})
