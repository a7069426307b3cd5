"""The presentity's side: open subscriptions, my watchers, authorise, block, publish.

Decisions change the presentity's rule set (`authorization.py`), are stored, and only then told: to the
presence agent, which re-evaluates SIP watchers, and to `Watchers`, which re-evaluates applications.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from sipbridge.errors import InvalidValue, UnknownWatcher
from sipbridge.gateway.authorization import ALL_KINDS, owner, with_block, with_decisions
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.decisions import Decisions
from sipbridge.gateway.notifications import EndReason
from sipbridge.gateway.ports import (
    Clock,
    GatewayStore,
    PresenceNetwork,
    PublishedRecord,
    StoredRules,
    WatchersUpdate,
)
from sipbridge.gateway.registry import Registry
from sipbridge.gateway.watcher import Watchers, kinds
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind, Other, from_json, to_json
from sipbridge.mapping.ocsg import to_document
from sipbridge.mapping.table import Tables
from sipbridge.presence.rules import RuleSet
from sipbridge.uri import Uri

OPEN_STATES = frozenset({"pending", "waiting"})
"""States of presence.winfo in which a watcher waits for a decision (RFC 3857 §4.7.1)."""


@dataclass(frozen=True, slots=True)
class OpenSubscription:
    """A watcher that waits for a decision. `application` is for people."""

    application: str
    attributes: tuple[AttributeKind, ...]
    watcher: str


class Presentities:
    """Decisions and publications of all presentities."""

    def __init__(
        self,
        registry: Registry,
        watchers: Watchers,
        decisions: Decisions,
        network: PresenceNetwork,
        store: GatewayStore,
        clock: Clock,
        identities: Identities,
        tables: Tables,
        rules_changed: Callable[[PresentityKey], None],
    ) -> None:
        self.registry = registry
        self.watchers = watchers
        self.decisions = decisions
        self.network = network
        self.store = store
        self.clock = clock
        self.identities = identities
        self.tables = tables
        self.rules_changed = rules_changed

    async def open_subscriptions(self, caller: Caller) -> list[OpenSubscription]:
        """Get Open Subscriptions: one entry for each watcher with something undecided.

        A subscription made here wins over what presence.winfo says of the same watcher.
        """
        found: dict[PresentityKey, OpenSubscription] = {}
        local = self.registry.watched_by.get(caller.key, set())
        for watcher in sorted(local):
            pair = (watcher, caller.key)
            decision = self.decisions.of(pair)
            for record in self.registry.subscriptions[pair].values():
                undecided = kinds(record) - decision.granted - decision.denied
                if undecided:
                    open_kinds = tuple(k for k in AttributeKind if k in undecided)
                    found[watcher] = OpenSubscription(record.label, open_kinds, record.watcher_uri)
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
            for record in self.registry.subscriptions[watcher, caller.key].values():
                if record.state == "active":
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
        key = self.known_watcher(caller, watcher)
        before = self.rules_of(caller.key)
        now = self.decisions.of((key, caller.key))
        await self.save(with_decisions(before, now, watcher, key, decisions), before)
        self.watchers.rules_changed((key, caller.key), caller.trace)

    async def block(self, caller: Caller, watcher: Uri) -> None:
        """Block Subscription: everything stops, the watcher is told."""
        key = self.known_watcher(caller, watcher)
        before = self.rules_of(caller.key)
        await self.save(with_block(before, watcher, key), before)
        pair = (key, caller.key)
        records = list(self.registry.subscriptions.get(pair, {}).values())
        self.watchers.end(pair, EndReason.BLOCKED, caller.trace)
        for record in records:
            there = Caller(record.application, Uri.parse(record.watcher_uri), key, caller.trace)
            self.watchers.spawn(self.network.unwatch(there, Uri.parse(record.presentity_uri)))

    def known_watcher(self, caller: Caller, watcher: Uri) -> PresentityKey:
        """The key of a watcher this presentity has seen; UnknownWatcher for a stranger."""
        key = self.identities.canonical(watcher)
        stored = self.registry.rules.get(caller.key)
        seen = self.registry.seen.get(caller.key, ())
        if (
            key in self.registry.watched_by.get(caller.key, ())
            or any(self.identities.canonical(s.watcher) == key for s in seen)
            or (stored is not None and stored.rules.decision(watcher) is not None)
        ):
            return key
        raise UnknownWatcher(f"{watcher} never asked to see {caller.identity}", part="watcher")

    def rules_of(self, presentity: PresentityKey) -> StoredRules:
        return self.registry.rules.get(presentity) or StoredRules(presentity, RuleSet())

    async def save(self, rules: StoredRules, before: StoredRules) -> None:
        if rules is before:
            return
        await self.store.save_rules(rules)
        self.registry.rules[rules.presentity] = rules
        self.rules_changed(rules.presentity)

    def watchers_changed(self, update: WatchersUpdate) -> None:
        """presence.winfo told who watches one of our presentities."""
        self.registry.seen[update.presentity] = update.watchers

    # --- publish ---

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None:
        """Publish: the kinds named are replaced, the others stay; an empty list removes everything."""
        async with self.network.in_turn(caller):
            await self.publish_now(caller, attributes, expires)

    async def publish_now(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None
    ) -> None:
        key = (caller.application, caller.key)
        before = self.registry.published.get(key)
        if not attributes:
            await self.network.unpublish(caller)
            await self.store.delete_published(*key)
            self.registry.published.pop(key, None)
            return
        merged = merge(published_attributes(before), attributes)
        document = to_document(
            merged, presentity=caller.identity, at=self.clock.at(), tables=self.tables
        )
        await self.network.publish(caller, document, expires)
        record = PublishedRecord(
            caller.application,
            caller.key,
            str(caller.identity),
            tuple((a.kind.value, orjson.dumps(to_json(a))) for a in merged),
            self.clock.at(),
            expires,
        )
        await self.store.save_published(record)
        self.registry.published[key] = record

    async def republish(self, record: PublishedRecord) -> None:
        """After a restart: the network hears again what the application had published."""
        caller = Caller(record.application, Uri.parse(record.presentity_uri), record.presentity)
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
            await self.network.publish(caller, document, newest.expires)


def published_attributes(record: PublishedRecord | None) -> list[Attribute]:
    """What an application has published so far."""
    if record is None:
        return []
    return [from_json(orjson.loads(text), "presence") for _, text in record.attributes]


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
