"""Watching as Webex clients do: handles on contacts, one status for each, the newest state wins.

A handle is one wish (`wishes.py`) of one caller to see one contact. It has a number that is never given out
again, lives until the caller stops it, and survives a restart. A contact that means nobody (`contact_of`)
gets a number too, but is not watched. A *lease* is the same for clients that renew what they want: it has no
number of its own, is known by the subject it was asked for with, and ends by itself.

All wishes of an application for one watcher and presentity share a `Contact`, which holds the status last
told; behind it stands one observation (`observations.py`), so decisions, blocks and ends are those of every
front. The status is derived anew when the gateway says that something may have changed, and when time
changes the document (`until`); it is told only when there is a difference that a client can see
(`differs`).

Nothing here knows HTTP, JSON or the words of other interfaces than Webex' own statuses.
"""

import json
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Protocol

from sipbridge.errors import QuotaExceeded
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.observations import Observations, Sight, Standing
from sipbridge.gateway.ports import Clock
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.gateway.wishes import Contact, Feed, Seen, Wish, differs
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.rows import Status
from sipbridge.mapping.table import Tables
from sipbridge.mapping.webex import WebexPresence, derive, rest_status, service_status
from sipbridge.presence.model import Presence
from sipbridge.uri import Uri

FRONT, LABEL = "webex", "Webex"
HANDLE, COUNTER = "webex-handle", "webex-counter"
"""Kinds of the snapshots that keep handles, and the last number given out."""
LATER = 60.0
"""What a caller is told to wait when it has too many handles."""

MIN_FEEDS = 1000
"""Feeds there may be before those without use are looked for."""

PENDING = WebexPresence(Status.PENDING)
UNKNOWN = WebexPresence(Status.UNKNOWN)

Known = Callable[[PresentityKey], bool]
"""Has anybody provisioned this person of a served domain, or published for them?"""


class HandleStore(Protocol):
    """What is kept of handles. Calls without a wait in between are one commit."""

    async def save_snapshot(self, kind: str, key: str, text: str) -> None: ...

    async def load_snapshots(self, kind: str) -> Sequence[tuple[str, str]]: ...

    def remember(self, kind: str, key: str, text: str | None) -> None: ...


FeedKey = tuple[str, PresentityKey, str]
HANDLES, LEASES = "handles", "leases"
"""Kinds of wishes."""


class Watching:
    """All handles and leases of all applications."""

    def __init__(
        self,
        registry: Registry,
        observations: Observations,
        store: HandleStore,
        clock: Clock,
        identities: Identities,
        tables: Tables,
        deadlines: Deadlines,
        spawn: Callable[[Coroutine[object, object, None]], None],
        known: Known,
        most: int = 0,
    ) -> None:
        """most: live handles and leases of one application; 0 for any number."""
        self.registry = registry
        self.observations = observations
        self.store = store
        self.clock = clock
        self.identities = identities
        self.tables = tables
        self.deadlines = deadlines
        self.spawn = spawn
        self.known = known
        self.most = most
        self.last_handle = 0
        self.feeds: dict[FeedKey, Feed] = {}
        self.sweep_at = MIN_FEEDS
        self.sequence = count(1)
        self.contacts: dict[Pair, dict[str, Contact]] = {}
        """By application."""
        self.live: dict[str, int] = {}
        """Valid wishes of each application."""
        observations.fronts[FRONT] = self.changed

    # --- what clients ask ---

    async def watch(self, caller: Caller, contact_ids: Sequence[str]) -> list[Wish]:
        """Start watching: one handle for each id, in this order, each a new one. Durable when it returns.

        Raises QuotaExceeded and StoreError; then there are no handles.
        """
        feed = self.feed(caller, HANDLES)
        found = [(text, self.contact_of(text)) for text in contact_ids]
        self.check_room(caller, sum(uri is not None for _, uri in found))
        made = []
        for text, uri in found:
            self.last_handle += 1
            contact = self.contact(caller, uri) if uri is not None else None
            made.append(self.put(Wish(self.last_handle, text, contact, feed)))
        try:
            await self.keep([w for w in made if w.is_valid])
        except BaseException:
            self.drop([w for w in made if w.is_valid])
            raise
        self.begin([w for w in made if w.is_valid])
        return made

    async def stop(self, caller: Caller, handles: Iterable[int]) -> None:
        """Stop watching. What is no live handle of the caller is ignored."""
        feed = self.feed(caller, HANDLES)
        gone = [w for h in dict.fromkeys(handles) if (w := feed.wishes.get(h)) is not None]
        if gone:
            self.drop(gone, caller.trace)
            await self.forget(gone)

    def lease(self, caller: Caller, subject: str, seconds: float) -> Wish:
        """Watch a subject for so long; asked again, from now on. Raises QuotaExceeded."""
        feed = self.feed(caller, LEASES)
        wish = feed.wishes.get(subject)
        if wish is None:
            uri = self.contact_of(subject)
            if uri is None:
                return Wish(subject, subject, None, feed)
            self.check_room(caller, 1)
            wish = self.put(Wish(subject, subject, self.contact(caller, uri), feed))
            self.begin([wish])
        held = wish
        self.deadlines.arm(wish, self.clock.now() + seconds, lambda: self.drop([held]))
        return wish

    def release(self, caller: Caller, subject: str) -> None:
        """End a lease, if there is one."""
        wish = self.feed(caller, LEASES).wishes.get(subject)
        if wish is not None:
            self.drop([wish], caller.trace)

    async def look(self, caller: Caller, presentity: Uri) -> tuple[Seen, Sight]:
        """How things are with somebody now, asked once."""
        sight = await self.observations.look(caller, self.identities.address(presentity))
        return self.derived(sight)[0], sight

    def contact_of(self, text: str) -> Uri | None:
        """The address a contact id means; None for nobody who could be watched: also for bots, groups."""
        uri = self.identities.contact(text)
        if uri is None:
            return None
        key = self.identities.canonical(uri)
        watchers = self.observations.watchers
        if self.identities.is_bot(key) or key in watchers.groups or key in watchers.lists:
            return None
        address = self.identities.address(uri)
        network = self.observations.network
        here = network.serves(address) and self.observations.decisions.served_here(key)
        return None if here and not self.known(key) else address

    def feed(self, caller: Caller, kind: str) -> Feed:
        key = (caller.application, caller.key, kind)
        feed = self.feeds.get(key)
        if feed is None:
            if len(self.feeds) >= self.sweep_at:
                self.sweep()
            feed = self.feeds[key] = Feed(self.sequence)
        return feed

    def sweep(self) -> None:
        """Forget feeds that nobody reads and that have nothing to tell."""
        self.feeds = {key: feed for key, feed in self.feeds.items() if feed.used}
        self.sweep_at = max(MIN_FEEDS, 2 * len(self.feeds))

    def seen(self, wish: Wish) -> Seen:
        """What a client is told of a wish at this moment."""
        known = wish.contact.seen if wish.contact is not None else None
        if known is not None:
            return known
        return self.plain(PENDING if wish.is_valid else UNKNOWN)

    # --- wishes ---

    def check_room(self, caller: Caller, more: int) -> None:
        has = self.live.get(caller.application, 0)
        if self.most and more and has + more > self.most:
            raise QuotaExceeded("handles", f"{has} handles are live already", retry_after=LATER)

    def put(self, wish: Wish) -> Wish:
        if wish.contact is not None:
            wish.feed.put(wish)
            wish.contact.wishes[wish] = None
            application = wish.contact.caller.application
            self.live[application] = self.live.get(application, 0) + 1
        return wish

    def contact(self, caller: Caller, uri: Uri) -> Contact:
        pair = (caller.key, self.identities.canonical(uri))
        mine = self.contacts.setdefault(pair, {})
        contact = mine.get(caller.application)
        if contact is None:
            contact = mine[caller.application] = Contact(caller, uri, pair)
        return contact

    def begin(self, wishes: Iterable[Wish]) -> None:
        """Observe whom nobody has observed yet, and tell how things are."""
        feeds: dict[Feed, list[Wish]] = {}
        for wish in wishes:
            contact = wish.contact
            if contact is None or wish.name not in wish.feed.wishes:
                continue  # stopped while it was written down
            if contact.seen is None:
                contact.seen = self.plain(PENDING)
                self.observe(contact)
            feeds.setdefault(wish.feed, []).append(wish)
        for feed, mine in feeds.items():
            feed.touch(mine)

    def observe(self, contact: Contact) -> None:
        """Have the presentity observed; what is known of it already is told at once."""
        if not self.observations.network.serves(contact.presentity):
            contact.seen = self.plain(UNKNOWN)
            return
        known = contact.pair in self.registry.subscriptions
        self.observations.adopt(contact.caller, contact.presentity, FRONT, LABEL)
        if known and (sight := self.observations.sight(contact.pair)) is not None:
            contact.seen, when = self.derived(sight)
            self.wake(contact.pair, when)

    def drop(self, wishes: Iterable[Wish], trace: str = "") -> None:
        """These are not wanted any more; nor is a contact that nobody else wants."""
        for wish in wishes:
            contact = wish.contact
            wish.feed.drop(wish)
            self.deadlines.cancel(wish)
            if contact is None or wish not in contact.wishes:
                continue
            del contact.wishes[wish]
            self.live[contact.caller.application] -= 1
            if not contact.wishes:
                self.leave(contact, trace)

    def leave(self, contact: Contact, trace: str) -> None:
        application = contact.caller.application
        mine = self.contacts.get(contact.pair, {})
        mine.pop(application, None)
        if not mine:
            self.contacts.pop(contact.pair, None)
            self.deadlines.cancel((FRONT, contact.pair))
        self.observations.end(application, contact.pair, FRONT, trace)

    # --- news ---

    def changed(self, pair: Pair, trace: str = "") -> None:
        """What this watcher may see of this presentity may be something else now."""
        mine = self.contacts.get(pair)
        if not mine:
            return
        sight = self.observations.sight(pair)
        seen, when = self.derived(sight) if sight is not None else (self.plain(PENDING), None)
        self.wake(pair, when)
        for contact in mine.values():
            before, contact.seen = contact.seen, seen
            if before is None:
                self.tell(contact)
                continue
            if before.presence.status is seen.presence.status:
                contact.seen = replace(seen, since=before.since)
            if differs(before, seen):
                self.tell(contact)
            elif before.service != seen.service:
                self.tell(contact, leases_only=True)

    def tell(self, contact: Contact, *, leases_only: bool = False) -> None:
        """There is news of a contact. leases_only: news that only the service's words show."""
        feeds: dict[Feed, list[Wish]] = {}
        for wish in contact.wishes:
            if not (leases_only and isinstance(wish.name, int)):
                feeds.setdefault(wish.feed, []).append(wish)
        for feed, wishes in feeds.items():
            feed.touch(wishes)

    def wake(self, pair: Pair, when: datetime | None) -> None:
        """Look again when time changes the document: the next status goes out by itself."""
        moment = None
        if when is not None:
            moment = self.clock.now() + (when - self.clock.at()).total_seconds()
        self.deadlines.arm((FRONT, pair), moment, lambda: self.changed(pair))

    def derived(self, sight: Sight) -> tuple[Seen, datetime | None]:
        """The status of what there is to see, and when it changes by itself."""
        if sight.standing is Standing.PENDING:
            return self.plain(PENDING), None
        if sight.document is None:
            return self.plain(UNKNOWN), None
        presence, when = derive(sight.document, at=self.clock.at(), tables=self.tables)
        seen = self.plain(presence, sight.document)
        return replace(seen, stale=True) if sight.stale else seen, when

    def plain(self, presence: WebexPresence, document: Presence | None = None) -> Seen:
        at = self.clock.at()
        rest = rest_status(presence, document, at=at, tables=self.tables)
        return Seen(presence, rest, service_status(presence, rest), at)

    # --- what is kept ---

    async def keep(self, wishes: Collection[Wish]) -> None:
        """Write handles down, with the number of the last one, in one commit."""
        for wish in wishes:
            if (contact := wish.contact) is not None:
                text = json.dumps(
                    [
                        contact.caller.application,
                        contact.caller.key,
                        str(contact.caller.identity),
                        wish.contact_id,
                        str(contact.presentity),
                    ]
                )
                self.store.remember(HANDLE, str(wish.name), text)
        await self.count()

    async def forget(self, wishes: Iterable[Wish]) -> None:
        for wish in wishes:
            self.store.remember(HANDLE, str(wish.name), None)
        await self.count()

    async def count(self) -> None:
        await self.store.save_snapshot(COUNTER, "last", str(self.last_handle))

    async def load(self, applications: Collection[str]) -> None:
        """Take up the handles of before. Those of other applications stay in the store, untouched."""
        for _, text in await self.store.load_snapshots(COUNTER):
            self.last_handle = int(text)
        for number, text in await self.store.load_snapshots(HANDLE):
            application, watcher, watcher_uri, contact_id, presentity = json.loads(text)
            if application not in applications:
                continue
            caller = Caller(application, Uri.parse(watcher_uri), PresentityKey(watcher))
            contact = self.contact(caller, Uri.parse(presentity))
            self.put(Wish(int(number), contact_id, contact, self.feed(caller, HANDLES)))

    def resume(self) -> None:
        """Observe again whom handles are on; observations that only leases had are over."""
        for (watcher, presentity), records in list(self.registry.subscriptions.items()):
            for record in list(records.values()):
                wanted = self.contacts.get((watcher, presentity), {})
                if record.front == FRONT and record.application not in wanted:
                    self.observations.subscriptions.leave(record)
        for mine in list(self.contacts.values()):
            for contact in mine.values():
                if self.observations.network.serves(contact.presentity):
                    self.observations.adopt(contact.caller, contact.presentity, FRONT, LABEL)
                else:
                    contact.seen = self.plain(UNKNOWN)
                    self.tell(contact)

    async def purge(self, application: str) -> None:
        """Remove every handle of an application from the store."""
        for number, text in await self.store.load_snapshots(HANDLE):
            if json.loads(text)[0] == application:
                self.store.remember(HANDLE, number, None)

    async def retire(self, application: str, allowed: Callable[[PresentityKey], bool]) -> None:
        """End what an application holds for identities that it may not act as (any more)."""
        gone = [
            wish
            for (holder, watcher, _), feed in list(self.feeds.items())
            if holder == application and not allowed(watcher)
            for wish in feed.wishes.values()
        ]
        self.drop(gone)
        await self.forget(w for w in gone if isinstance(w.name, int))
