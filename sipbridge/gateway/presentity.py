"""The presentity's side: open subscriptions, my watchers, authorise, block, publish.

Decisions change the presentity's rule set (`authorization.py`), are stored, and only then told: to the
presence agent, which re-evaluates SIP watchers, and to `Watchers`, which re-evaluates applications.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import orjson
from msgspec.structs import replace

from sipbridge.errors import (
    ConcurrentChange,
    InvalidValue,
    NotEnforceable,
    SignallingError,
    UnknownWatcher,
)
from sipbridge.gateway.authorization import ALL_KINDS, owner, with_block, with_decisions
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason, attribute_text
from sipbridge.gateway.ports import (
    Clock,
    GatewayStore,
    PresenceNetwork,
    PublishedRecord,
    StoredRules,
    WatchersUpdate,
)
from sipbridge.gateway.registry import Registry
from sipbridge.gateway.subscriptions import Subscriptions, kinds
from sipbridge.gateway.watcher import Watchers
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind, Other, from_json
from sipbridge.mapping.ocsg import to_document
from sipbridge.mapping.table import Tables
from sipbridge.presence.rules import RuleSet
from sipbridge.uri import Uri

OPEN_STATES = frozenset({"pending", "waiting"})
"""States of presence.winfo in which a watcher waits for a decision (RFC 3857 §4.7.1)."""

SUBSCRIBED_STATES = frozenset({"pending", "active"})
"""Those in which there is a subscription by which the watcher sees, or may see soon."""


MAX_READ = 8192
"""Published attributes that are kept as they were read; a few hundred bytes each."""

MAX_AHEAD = timedelta(seconds=60)
"""How far in the future an application's lastChange may lie: clocks differ, but not by minutes."""


@dataclass(frozen=True, slots=True)
class LastChangeAhead:
    """Indication: a published lastChange lies in the future and the time of arrival was taken instead."""

    application: str
    presentity: PresentityKey
    kind: str
    seconds: float
    trace: str = ""


@dataclass(frozen=True, slots=True)
class OpenSubscription:
    """A watcher that waits for a decision. `application` is for people."""

    application: str
    attributes: tuple[AttributeKind, ...]
    watcher: str


Published = Callable[[tuple[str, PresentityKey], PublishedRecord | None], None]
"""Told what an application publishes for a presentity now; None: nothing any more."""


class Presentities:
    """Decisions and publications of all presentities."""

    def __init__(
        self,
        registry: Registry,
        watchers: Watchers,
        subscriptions: Subscriptions,
        decisions: Decisions,
        network: PresenceNetwork,
        store: GatewayStore,
        clock: Clock,
        identities: Identities,
        tables: Tables,
        deadlines: Deadlines,
        rules_changed: Callable[[PresentityKey], None],
        spawn: Callable[[Coroutine[object, object, None]], None],
        report: Callable[[object], None],
    ) -> None:
        self.registry = registry
        self.watchers = watchers
        self.subscriptions = subscriptions
        self.decisions = decisions
        self.network = network
        self.store = store
        self.clock = clock
        self.identities = identities
        self.tables = tables
        self.deadlines = deadlines
        self.rules_changed = rules_changed
        self.spawn = spawn
        self.report = report
        self.said: dict[tuple[str, PresentityKey], tuple[PublishedRecord, list[Attribute]]] = {}
        """What was published in this life, as values: reading the record again would give the same."""
        self.was_published: Published = lambda key, record: None

    async def open_subscriptions(self, caller: Caller) -> list[OpenSubscription]:
        """Get Open Subscriptions: one entry for each watcher with something undecided.

        A subscription made here wins over what presence.winfo says of the same watcher.
        """
        found: dict[PresentityKey, OpenSubscription] = {}
        local = self.registry.watched_by.get(caller.key, set())
        for watcher in sorted(local):
            pair = (watcher, caller.key)
            decision = self.decisions.of(pair)
            asked = list(self.registry.subscriptions[pair].values())
            undecided = frozenset[AttributeKind]().union(*map(kinds, asked))
            undecided -= decision.granted | decision.denied
            if undecided:
                open_kinds = tuple(k for k in AttributeKind if k in undecided)
                found[watcher] = OpenSubscription(asked[0].label, open_kinds, asked[0].watcher_uri)
        for seen in self.registry.seen.get(caller.key, ()):
            key = self.identities.canonical(seen.watcher)
            if key in local or key in found or seen.status not in OPEN_STATES:
                continue
            decision = self.decisions.of((key, caller.key))
            if not decision.blocked and ALL_KINDS - decision.granted - decision.denied:
                found[key] = OpenSubscription(
                    seen.display_name or "SIP", tuple(AttributeKind), str(seen.watcher.address)
                )
        return list(found.values())

    async def my_watchers(self, caller: Caller) -> list[str]:
        """Get My Watchers: who sees at least one attribute now."""
        found: dict[PresentityKey, str] = {}
        local = self.registry.watched_by.get(caller.key, set())
        for watcher in sorted(local):
            granted = self.decisions.of((watcher, caller.key)).granted
            for record in self.registry.subscriptions[watcher, caller.key].values():
                if granted & kinds(record):
                    found[watcher] = record.watcher_uri
        for seen in self.registry.seen.get(caller.key, ()):
            key = self.identities.canonical(seen.watcher)
            if key in local or key in found or seen.status != "active":
                continue
            if self.decisions.of((key, caller.key)).granted:
                found[key] = str(seen.watcher.address)
        return list(found.values())

    async def update_authorization(
        self, caller: Caller, watcher: Uri, decisions: Sequence[tuple[AttributeKind, bool]]
    ) -> None:
        """Update Subscription Authorization. Kinds not named keep their state; a grant lifts a block."""
        if not decisions:
            raise InvalidValue("at least one decision", part="decisions")
        key = await self.bound_watcher(caller, watcher)

        def change(before: StoredRules) -> StoredRules:
            now = self.decisions.of((key, caller.key))
            return with_decisions(before, now, self.identities.address(watcher), key, decisions)

        await self.change_rules(caller.key, change)
        self.watchers.rules_changed((key, caller.key), caller.trace)

    async def block(self, caller: Caller, watcher: Uri) -> None:
        """Block Subscription: everything stops, the watcher is told."""
        key = await self.bound_watcher(caller, watcher)
        address = self.identities.address(watcher)
        await self.change_rules(caller.key, lambda before: with_block(before, address, key))
        pair = (key, caller.key)
        records = list(self.registry.subscriptions.get(pair, {}).values())
        self.subscriptions.end(pair, EndReason.BLOCKED, caller.trace)
        if records:
            self.subscriptions.unwatch(records[0], caller.trace)

    async def bound_watcher(self, caller: Caller, watcher: Uri) -> PresentityKey:
        """The key of a watcher whom a decision binds. Raises UnknownWatcher, NotEnforceable."""
        await self.network.watchers_known(caller)
        key = self.known_watcher(caller, watcher)
        if not (self.decisions.policy.unenforceable or self.binds(key, caller.key)):
            raise NotEnforceable(f"{watcher} sees by a presence server that does not ask us")
        return key

    def binds(self, watcher: PresentityKey, presentity: PresentityKey) -> bool:
        """Are rules kept here in force on every path by which this watcher can see?"""
        if self.decisions.served_here(presentity):
            return True
        if not self.decisions.decided_by_rules(presentity):
            return False  # the answer of its server counts, whatever is written here
        seen = [
            s
            for s in self.registry.seen.get(presentity, ())
            if self.identities.canonical(s.watcher) == watcher
        ]
        if watcher not in self.registry.watched_by.get(presentity, ()):
            return not seen
        ours = self.network.own_subscriptions(watcher, presentity)
        there = [s.id for s in seen if s.status in SUBSCRIBED_STATES]
        if any(id in ours for id in there):
            return all(id in ours for id in there)
        return len(there) <= len(ours)  # a server that has words of its own for them

    def known_watcher(self, caller: Caller, watcher: Uri) -> PresentityKey:
        """The key of a watcher this presentity has seen; UnknownWatcher for a stranger."""
        key = self.identities.canonical(watcher)
        stored = self.registry.rules.get(caller.key)
        seen = self.registry.seen.get(caller.key, ())
        if (
            key in self.registry.watched_by.get(caller.key, ())
            or any(self.identities.canonical(s.watcher) == key for s in seen)
            or (
                stored is not None
                and stored.rules.decision(self.identities.address(watcher)) is not None
            )
        ):
            return key
        raise UnknownWatcher(f"{watcher} never asked to see {caller.identity}", part="watcher")

    def rules_of(self, presentity: PresentityKey) -> StoredRules:
        return self.registry.rules.get(presentity) or StoredRules(presentity, RuleSet())

    async def change_rules(
        self, presentity: PresentityKey, change: Callable[[StoredRules], StoredRules]
    ) -> None:
        """Decide, store, tell. Of two changes at the same moment the later is made of what the first left."""
        while True:
            before = self.rules_of(presentity)
            rules = change(before)
            if rules is before:
                return
            try:
                await self.store.save_rules(rules)
            except ConcurrentChange:
                if self.rules_of(presentity).version == before.version:  # the first was cut off
                    await self.reload(presentity)
                continue
            self.registry.rules[presentity] = rules
            self.rules_changed(presentity)
            return

    async def reload(self, presentity: PresentityKey) -> None:
        for rules in await self.store.load_rules():
            if rules.presentity == presentity:
                self.registry.rules[presentity] = rules

    def watchers_changed(self, update: WatchersUpdate) -> None:
        """presence.winfo told who watches one of our presentities."""
        self.registry.seen[update.presentity] = update.watchers

    # --- publish ---

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None:
        """Publish: the kinds named are replaced, the others stay; an empty list removes everything.

        expires: seconds until all of it is taken back, 0 for never, None for what the operator allows.
        """
        async with self.network.in_turn(caller):
            if attributes:
                await self.publish_now(caller, attributes, expires)
            else:
                await self.unpublish(caller)

    async def publish_now(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None
    ) -> None:
        at = self.clock.at()
        key = (caller.application, caller.key)
        news = [self.dated(caller, a, at) for a in attributes]
        merged = merge(self.standing(key), news)
        document = to_document(merged, presentity=caller.identity, at=at, tables=self.tables)
        await self.network.publish(caller, document)
        lifetime = self.decisions.policy.publication_lifetime if expires is None else expires
        record = PublishedRecord(
            caller.application,
            caller.key,
            str(caller.identity),
            tuple([(a.kind.value, attribute_text(a)) for a in merged]),
            at,
            at + timedelta(seconds=lifetime) if lifetime else None,
        )
        await self.store.save_published(record)
        self.registry.published[key] = record
        self.said[key] = record, merged
        self.watch_end(record)
        self.was_published(key, record)

    def standing(self, key: tuple[str, PresentityKey]) -> Sequence[Attribute]:
        """What the application has published so far."""
        record = self.registry.published.get(key)
        known = self.said.get(key)
        if known is not None and known[0] is record:
            return known[1]
        return published_attributes(record)

    def dated(self, caller: Caller, attribute: Attribute, at: datetime) -> Attribute:
        """With the time of its change: as the application says, but not later than now."""
        said = attribute.last_change
        if said is not None and said <= at + MAX_AHEAD:
            return attribute
        if said is not None:
            ahead = (said - at).total_seconds()
            self.report(
                LastChangeAhead(
                    caller.application, caller.key, attribute.kind.value, ahead, caller.trace
                )
            )
        return replace(attribute, last_change=at)

    async def unpublish(self, caller: Caller) -> None:
        """Nothing is published here from now on, whatever the network answers: it goes on removing it."""
        key = (caller.application, caller.key)
        await self.store.delete_published(*key)
        self.registry.published.pop(key, None)
        self.said.pop(key, None)
        self.deadlines.cancel(("published", *key))
        self.was_published(key, None)
        await self.network.unpublish(caller)

    def watch_end(self, record: PublishedRecord) -> None:
        """Take the publication back when its time is over."""
        when = None
        if record.ends is not None:
            when = self.clock.now() + (record.ends - self.clock.at()).total_seconds()
        name = ("published", record.application, record.presentity)
        self.deadlines.arm(name, when, lambda: self.spawn(self.lapse(record)))

    async def lapse(self, record: PublishedRecord) -> None:
        """Nobody has published again in time."""
        caller = Caller(record.application, Uri.parse(record.presentity_uri), record.presentity)
        async with self.network.in_turn(caller):
            if self.registry.published.get((record.application, record.presentity)) is record:
                await self.unpublish(caller)

    async def resume(
        self, record: PublishedRecord, failed: Callable[[str, SignallingError], None]
    ) -> None:
        """After a restart: the network hears again what is published, or that its time is over."""
        try:
            if record.ends is not None and record.ends <= self.clock.at():
                await self.lapse(record)
            else:
                self.watch_end(record)
                await self.republish(record)
                self.was_published((record.application, record.presentity), record)
        except SignallingError as error:
            failed(f"publication of {record.presentity}", error)

    async def republish(self, record: PublishedRecord) -> None:
        caller = Caller(record.application, Uri.parse(record.presentity_uri), record.presentity)
        await self.network.may_publish(caller)  # before its turn: no call shall wait behind us
        async with self.network.in_turn(caller):
            newest = self.registry.published.get((caller.application, caller.key))
            if newest is None:
                return  # removed meanwhile
            document = to_document(
                published_attributes(newest),
                presentity=caller.identity,
                at=self.clock.at(),
                tables=self.tables,
            )
            await self.network.publish(caller, document)


def published_attributes(record: PublishedRecord | None) -> list[Attribute]:
    """What an application has published so far."""
    if record is None:
        return []
    return [published_attribute(text) for _, text in record.attributes]


@lru_cache(maxsize=MAX_READ)
def published_attribute(text: bytes) -> Attribute:
    """One of them. What is kept is read again with each call that publishes something else."""
    return from_json(orjson.loads(text), "presence")


def kept_with(attribute: Attribute) -> AttributeKind:
    """The kind whose publishing replaces this attribute: a reserved pair's owner (decision 1)."""
    if isinstance(attribute.value, Other):
        return owner(attribute.value)
    return attribute.kind


def merge(before: Sequence[Attribute], news: Sequence[Attribute]) -> list[Attribute]:
    """What is published after a call: named kinds replaced with their pairs, the rest kept.

    Of several values of a single-valued kind in one call the last one counts.
    """
    named = {a.kind for a in news}
    kept = [a for a in before if kept_with(a) not in named]
    last = {a.kind: a for a in news if a.kind is not AttributeKind.OTHER}
    own = [a for a in news if a.kind is AttributeKind.OTHER or last[a.kind] is a]
    return kept + own
