"""What the gateway needs from the outside. The outside fits itself to these shapes.

`app` implements `PresenceNetwork` and `Clock`, `store` the stores and the `Bus`, `app` the
`NotificationSink`. Every store call is atomic; the gateway takes no locks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from msgspec import Struct

from sipbridge.gateway.caller import Caller
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import RuleSet
from sipbridge.uri import Uri


class Clock(Protocol):
    """Both clocks. `now`: monotonic seconds, for deadlines. `at`: aware UTC, for documents and contracts."""

    def now(self) -> float: ...

    def at(self) -> datetime: ...


# --- the presence network -----------------------------------------------------------------------------


class PresenceUpdate(Struct, frozen=True):
    """News about a subscription of ours at a presence server.

    state: "active", "pending" or "terminated". reason: of a termination (RFC 6665 §4.1.3), else "".
    document: None when the NOTIFY said nothing about presence (no body: no news).
    """

    watcher: PresentityKey
    presentity: PresentityKey
    state: str
    reason: str = ""
    document: Presence | None = None
    trace: str = ""
    group: PresentityKey | None = None
    """The list at a presence server through which this was learnt; None: a subscription of its own."""


@dataclass(frozen=True, slots=True)
class ListMember:
    """One member of a list at a presence server. state: as in PresenceUpdate, "" while nothing is known."""

    uri: Uri
    state: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ListUpdate:
    """Who is in a list at a presence server (RFC 4662), all of them, or that the list is over.

    state: of the subscription to the list: "active", "pending" or "terminated"; reason as in PresenceUpdate.
    It comes before the news of members that it names first. What members show comes as PresenceUpdate with
    `group` set; a member that is not named any more has no other end than this.
    """

    watcher: PresentityKey
    group: PresentityKey
    state: str
    members: tuple[ListMember, ...] = ()
    reason: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class WatcherSeen:
    """One subscription of a watcher as presence.winfo tells it (RFC 3858). id: the server's word for it."""

    watcher: Uri
    status: str
    event: str = ""
    display_name: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class WatchersUpdate:
    """The whole list of a presentity's watchers, after a presence.winfo NOTIFY was applied."""

    presentity: PresentityKey
    watchers: tuple[WatcherSeen, ...]


class PresenceNetwork(Protocol):
    """The SIP side. `watch` and `watch_watchers` are idempotent; updates come through `Listener`."""

    def in_turn(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """Inside it nobody else publishes for this caller: read what is published, change it, publish."""
        ...

    async def may_publish(self, caller: Caller) -> None:
        """Returns when the caller's server can be asked, however long that takes: for what nobody waits for.

        Raises SignallingError when it never will.
        """
        ...

    async def publish(self, caller: Caller, document: Presence, expires: int | None = None) -> str:
        """Create or modify the caller's publication; returns the entity-tag. Raises SignallingError."""
        ...

    async def unpublish(self, caller: Caller) -> None:
        """Remove the caller's publication; nothing happens if there is none.

        Raises SignallingError when its server did not say that it is gone. It is removed all the same as soon
        as that is possible, unless the caller publishes again.
        """
        ...

    async def watch(
        self,
        caller: Caller,
        presentity: Uri,
        *,
        resuming: bool = False,
        group: Uri | None = None,
    ) -> None:
        """Keep a presence subscription of the caller's identity to the presentity alive.

        Returns when the server accepted it (2xx to SUBSCRIBE); raises SignallingError. resuming: it was
        accepted in an earlier life, so a failure that may pass does not end it; the network goes on trying.
        group: what the presentity is asked for as a member of; the network may ask for all members at once. A
        list that a presence server keeps is watched in the same way; raises NotAList when it is none.
        """
        ...

    async def unwatch(self, caller: Caller, presentity: Uri) -> None:
        """End that subscription; a `watch` that still waits then returns without having asked for it."""
        ...

    async def fetch(self, caller: Caller, presentity: Uri, wait: float) -> PresenceUpdate | None:
        """The presentity's state as it is now, without a subscription that stays (RFC 6665 §4.4.3).

        None if nothing came within `wait` seconds, or it was refused.
        """
        ...

    async def watch_watchers(self, caller: Caller) -> None:
        """Keep a presence.winfo subscription to the caller's own identity alive."""
        ...

    async def watchers_known(self, caller: Caller) -> None:
        """Returns when that has told of all the watchers there are, or will not do so soon."""
        ...

    def own_subscriptions(
        self, watcher: PresentityKey, presentity: PresentityKey
    ) -> Collection[str]:
        """Call-IDs of our own live subscriptions of this watcher to this presentity, lists not counted."""
        ...

    def slow_down(self, watcher: PresentityKey, presentity: PresentityKey, interval: float) -> None:
        """News of this pair are wanted no oftener than in so many seconds; 0: all of them, at once.

        A wish, for the subscription there is or the next one: more may come.
        """
        ...

    def narrow(
        self,
        watcher: PresentityKey,
        presentity: PresentityKey,
        kinds: frozenset[AttributeKind] | None,
    ) -> None:
        """Only news of these kinds are wanted of this pair. None: nobody wants any, no wish is left.

        A wish, for the subscription there is or the next one: more may come.
        """
        ...

    def held_back(self, watcher: PresentityKey, presentity: PresentityKey) -> bool:
        """May there be news of this pair that have not been told for that reason?"""
        ...

    def decides_here(self, presentity: Uri) -> bool:
        """Is the presentity's presence server ours, so that rules kept here bind everybody?"""
        ...

    def serves(self, presentity: Uri) -> bool:
        """Can this presentity exist at all (decisions: another domain is unknown in embedded mode)?"""
        ...


class Listener(Protocol):
    """What the gateway is told by the network."""

    def presence_changed(self, update: PresenceUpdate) -> None: ...

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        """What is known may be old until the next document: the server is silent, or has lost us."""
        ...

    def watchers_changed(self, update: WatchersUpdate) -> None: ...


class ListListener(Protocol):
    """What the gateway is told of lists."""

    def list_changed(self, update: ListUpdate) -> None: ...


# --- notifications ------------------------------------------------------------------------------------


class Grant(Struct, frozen=True):
    """What a statusChanged was sent under: whose values these are, and which kinds could be seen of them.

    polite: it says only that somebody is not available, whatever may be seen.
    """

    watcher: PresentityKey
    presentity: PresentityKey
    kinds: tuple[str, ...]
    polite: bool = False


class Notification(Struct, frozen=True):
    """One message for one application: an object of `notifications.py`, rendered.

    kind: "statusChanged", "statusEnd", "notifySubscription" or "subscriptionEnded". endpoint: the Bayeux
    channel it goes to. supersedes: notifications of one application with the same non-empty value replace
    each other while they wait (the correlator of a statusChanged).
    """

    application: str
    endpoint: str
    kind: str
    data: bytes
    """The JSON object, compact UTF-8."""
    supersedes: str = ""
    trace: str = ""
    grant: Grant | None = None
    """None: nothing in it was ever granted, so nothing can be revoked."""


Recheck = Callable[[Notification], Notification | None]
"""What of a notification may still be read: all of it (the same object), less, or nothing (None).

Whoever reads the log, or holds what was sent before, asks this at the moment of handing it out.
"""


class NotificationSink(Protocol):
    """Where notifications go. The log comes first, every front is a cursor on it."""

    def check(self, application: str, endpoint: str) -> None:
        """Raises InvalidValue (part "endpoint") when the application may not use this channel."""
        ...

    def send(self, notification: Notification) -> None:
        """Append to the application's log and wake its readers. Never waits."""
        ...

    def connected(self, application: str) -> bool:
        """Has the application a session, or a stream, in which it could be told of something now?"""
        ...

    def recheck(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        """This watcher may see less of this presentity: look again at what is on its way."""
        ...


class LogEntry(Struct, frozen=True):
    """A notification with its place in the application's log."""

    sequence: int
    at: datetime
    notification: Notification


class NotificationLog(Protocol):
    """One growing, bounded list of notifications for each application."""

    def append(
        self, notification: Notification, at: datetime, kept: Callable[[LogEntry], None] = ...
    ) -> LogEntry:
        """The entry gets its place now; readers see it when it is durable, and `kept` is called then."""
        ...

    def read_after(self, application: str, sequence: int) -> Sequence[LogEntry]:
        """Entries with a higher sequence, oldest first."""
        ...

    def oldest(self, application: str) -> int:
        """Sequence of the oldest entry still held; 0 when empty."""
        ...

    def newest(self, application: str) -> int:
        """The last sequence that readers were shown, its entry held or not; 0 when there was none."""
        ...

    def trim(
        self, application: str, entries: int, not_before: datetime, size: int | None = None
    ) -> None:
        """Forget entries beyond the newest `entries` and those older than `not_before`.

        size: bytes that the rest may have together (None: any number); the newest entry stays anyway.
        """
        ...


class Bus(Protocol):
    """Carries messages to whoever listens in this or another process. Topics are plain words."""

    def publish(self, topic: str, message: LogEntry) -> None: ...

    def subscribe(self, topic: str, listener: Callable[[LogEntry], None]) -> Callable[[], None]:
        """Returns the call that ends the subscription."""
        ...


# --- what is kept -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an application wants its notifications (Parlay X SimpleReference)."""

    endpoint: str
    correlator: str
    interface_name: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionRecord:
    """A watcher's request to see a presentity: from Subscribe Presence until it ends.

    `attributes` are the kinds asked for, by name ("Activity", …). `state`: "pending", "active", "refused".
    `told` is what notifySubscription last said, as (kind, decision) pairs: only changes are sent again.
    `used`: up to when it counts as used; None: `since`.
    """

    application: str
    watcher: PresentityKey
    watcher_uri: str
    presentity: PresentityKey
    presentity_uri: str
    label: str
    attributes: tuple[str, ...]
    reference: Reference
    since: datetime
    state: str = "pending"
    told: tuple[tuple[str, bool], ...] = ()
    used: datetime | None = None
    group: PresentityKey | None = None
    """The list at a presence server that brings this presentity; None: asked for by itself."""
    front: str = ""
    """The front that observes the presentity for the application; "": the application's own request."""

    @property
    def holder(self) -> str:
        """Whose record it is: a front's stands beside the application's own. No id has a slash in it."""
        return f"{self.application}/{self.front}" if self.front else self.application


@dataclass(frozen=True, slots=True)
class ContractRecord:
    """A running notification: from Start Presence Notification until its end.

    presentity: a person or a group. interval: least seconds between notifications. remaining: how many may
    still go out (None: no limit). ends: UTC instant (None: never). sent: of the last notification. told: for
    each member (of a person only itself) the digests by kind of what was said last: only differences are
    news.
    """

    application: str
    watcher: PresentityKey
    correlator: str
    presentity: PresentityKey
    presentity_uri: str
    attributes: tuple[str, ...]
    endpoint: str
    interval: float
    remaining: int | None
    ends: datetime | None
    check_immediate: bool
    started: datetime
    sent: datetime | None = None
    told: tuple[tuple[PresentityKey, tuple[tuple[str, str], ...]], ...] = ()


class ContractState(NamedTuple):
    """What changes of a running contract: `sent`, `remaining` and `told` of its ContractRecord.

    A tuple, because one is made for each notification. The digests in `told` are never changed by anybody.
    """

    application: str
    correlator: str
    sent: datetime | None
    remaining: int | None
    told: Mapping[PresentityKey, Mapping[str, str]]

    def applied(self, record: ContractRecord) -> ContractRecord:
        """The record of the same contract, brought up to date."""
        told = tuple((member, tuple(kinds.items())) for member, kinds in self.told.items())
        return replace(record, sent=self.sent, remaining=self.remaining, told=told)


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """What an application has published for one identity: attributes by kind, as JSON texts."""

    application: str
    presentity: PresentityKey
    presentity_uri: str
    attributes: tuple[tuple[str, bytes], ...]
    """(kind, JSON text of one attribute), in the order published."""
    changed: datetime
    ends: datetime | None = None
    """When it is taken back by itself; None: never."""


@dataclass(frozen=True, slots=True)
class StoredRules:
    """A presentity's rule set and how often it was changed.

    `denied` holds (watcher, attribute kind) pairs: what no rule of RFC 5025 can say, that something was
    refused rather than merely not granted yet.
    """

    presentity: PresentityKey
    rules: RuleSet
    version: int = 0
    denied: tuple[tuple[PresentityKey, str], ...] = ()


class GatewayStore(Protocol):
    """Everything the gateway keeps. A write is durable when the call returns.

    It begins when the call is made, whether or not somebody waits, and what is written and sent (to the
    notification log) without waiting in between becomes durable together or not at all.
    """

    async def load_rules(self) -> Sequence[StoredRules]: ...

    async def save_rules(self, rules: StoredRules) -> None:
        """Replace; `rules.version` must be one more than what is stored, else ConcurrentChange."""
        ...

    async def load_subscriptions(self) -> Sequence[SubscriptionRecord]: ...

    async def save_subscription(self, record: SubscriptionRecord) -> None:
        """Insert or replace, keyed by (holder, watcher, presentity)."""
        ...

    async def delete_subscription(
        self, holder: str, watcher: PresentityKey, presentity: PresentityKey
    ) -> None: ...

    async def load_contracts(self) -> Sequence[ContractRecord]: ...

    async def add_contract(self, record: ContractRecord) -> None:
        """Raises CorrelatorInUse when (application, correlator) exists."""
        ...

    def update_contracts(self, states: Sequence[ContractState]) -> None:
        """The newest states; a contract that is not there any more stays away. Never waits: durable soon."""
        ...

    async def delete_contract(self, application: str, correlator: str) -> None: ...

    async def load_published(self) -> Sequence[PublishedRecord]: ...

    async def save_published(self, record: PublishedRecord) -> None:
        """Insert or replace, keyed by (application, presentity)."""
        ...

    async def delete_published(self, application: str, presentity: PresentityKey) -> None: ...


class Keeper(Protocol):
    """Texts that a part of the program wants back after a restart, by (kind, key)."""

    async def save_snapshot(self, kind: str, key: str, text: str) -> None:
        """Durable when this returns, together with what was remembered just before."""
        ...

    async def delete_snapshot(self, kind: str, key: str) -> None:
        """As `save_snapshot`."""
        ...

    def remember(self, kind: str, key: str, text: str | None) -> None:
        """Durable soon; the newest wins, None removes."""
        ...

    async def load_snapshots(self, kind: str) -> Sequence[tuple[str, str]]:
        """(key, text) of one kind, sorted by key."""
        ...
