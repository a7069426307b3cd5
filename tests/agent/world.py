"""A presence agent on one core, watchers and publishers on another, and a wire between them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sipbridge.agent.ports import (
    Authenticator,
    PublicationStored,
    Record,
    StoreChange,
    SubscriptionStored,
)
from sipbridge.agent.presence_agent import AgentLimits, PresenceAgent
from sipbridge.agent.trust import NOBODY, TrustedPeers
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Published, Publisher, PublishFailed
from sipbridge.events.rate import NO_RATE, Rate
from sipbridge.events.subscriber import Notified, Refused, Subscriber, Terminated
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.presence import pidf as pidf_format
from sipbridge.presence import watcherinfo
from sipbridge.presence.lists import Entry
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import EVERYTHING, RuleSet, SubHandling, Transformations
from sipbridge.presence.watcherinfo import WatcherInfo
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.uri import Uri
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE, BOB, Pair

ALLOW, CONFIRM = SubHandling.ALLOW, SubHandling.CONFIRM
BLOCK, POLITE_BLOCK = SubHandling.BLOCK, SubHandling.POLITE_BLOCK

CAROL = Uri.parse("sip:carol@example.com")
DAVE = Uri.parse("sip:dave@example.com")
ERIN = Uri.parse("sip:erin@example.com")
KEY = PresentityKey("sip:carol@example.com")


def document(basic: str = "open", id: str = "t1", more: str = "") -> bytes:
    """A presence document of Carol's; `more` stands beside its tuple."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf"'
        ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:carol@example.com">'
        f'<tuple id="{id}"><status><basic>{basic}</basic></status></tuple>{more}</presence>'
    ).encode()


class AgentWorld:
    """Carol is the presentity, everybody else watches. `rules` holds the rule sets by key."""

    def __init__(
        self,
        sub_handling: SubHandling = ALLOW,
        *,
        authenticator: Authenticator | None = None,
        trusted: TrustedPeers = NOBODY,
        storing: bool = False,
        limits: AgentLimits | None = None,
        min_expires: int = 60,
        max_expires: int = 86400,
    ) -> None:
        self.pair = Pair(protocols=("udp", "tcp", "memory"))
        self.rules: dict[PresentityKey, RuleSet] = {}
        self.lists: dict[PresentityKey, tuple[Entry, ...]] = {}
        self.sub_handling = sub_handling
        self.authenticator = authenticator
        self.trusted = trusted
        self.storing = storing
        self.limits = limits
        self.bounds = (min_expires, max_expires)
        self.agent = self.new_agent()
        self.subscriber = Subscriber(
            self.pair.alice, {p.name: p for p in (PRESENCE, PRESENCE_WINFO)}
        )
        self.publisher = Publisher(self.pair.alice, {"presence": PRESENCE})

    def new_agent(self) -> PresenceAgent:
        return PresenceAgent(
            self.pair.bob,
            domain="example.com",
            identities=NormalisingIdentities(),
            rules=self.rules.get,
            sub_handling=self.sub_handling,
            wall=self.pair.clock.wall,
            authenticator=self.authenticator,
            trusted=self.trusted,
            storing=self.storing,
            limits=self.limits,
            min_expires=self.bounds[0],
            max_expires=self.bounds[1],
            registrar=True,
            lists=self.lists.get,
        )

    @property
    def at(self) -> datetime:
        return self.pair.clock.at()

    # --- what people do ---------------------------------------------------------------------------

    def watch(
        self,
        watcher: Uri = DAVE,
        target: Uri = CAROL,
        package: str = "presence",
        *,
        expires: int | None = None,
        credentials: Credentials | None = None,
        policy: PeerPolicy = TO_BOB,
        members: Sequence[str] = (),
        rate: Rate = NO_RATE,
    ) -> str:
        id = self.subscriber.subscribe(
            target,
            watcher,
            package,
            self.pair.now,
            expires=expires,
            policy=policy,
            credentials=credentials,
            members=members,
            rate=rate,
        )
        self.pair.turn()
        return id

    def fetch(
        self, watcher: Uri = DAVE, target: Uri = CAROL, *, policy: PeerPolicy = TO_BOB
    ) -> str:
        id = self.subscriber.fetch(target, watcher, "presence", self.pair.now, policy=policy)
        self.pair.turn()
        return id

    def winfo(self, watcher: Uri = CAROL) -> str:
        return self.watch(watcher, CAROL, "presence.winfo")

    def end(self, id: str) -> None:
        self.subscriber.end(id, self.pair.now)
        self.pair.turn()

    def publish(
        self,
        body: bytes,
        *,
        identity: Uri = CAROL,
        entity: Uri = CAROL,
        expires: int | None = None,
        credentials: Credentials | None = None,
        content_type: str = PIDF,
        policy: PeerPolicy = TO_BOB,
    ) -> str:
        id = self.publisher.publish(
            entity,
            identity,
            "presence",
            content_type,
            body,
            self.pair.now,
            expires=expires,
            policy=policy,
            credentials=credentials,
        )
        self.pair.turn()
        return id

    def modify(self, id: str, body: bytes) -> None:
        self.publisher.modify(id, PIDF, body, self.pair.now)
        self.pair.turn()

    def remove(self, id: str) -> None:
        self.publisher.remove(id, self.pair.now)
        self.pair.turn()

    def decide(
        self,
        watcher: Uri,
        handling: SubHandling,
        shown: Transformations = EVERYTHING,
        *,
        tell: bool = True,
        key: PresentityKey = KEY,
    ) -> None:
        """Carol decides, or whose `key` it is; `tell`: the agent is told of it."""
        before = self.rules.get(key) or RuleSet()
        self.rules[key] = before.with_decision(watcher, handling, shown)
        if tell:
            self.agent.rules_changed(key, self.pair.now)
            self.pair.turn()

    # --- what people see --------------------------------------------------------------------------

    def notified(self, id: str) -> list[Notified]:
        found = [s for s in self.pair.reported[ALICE] if isinstance(s, Notified)]
        return [n for n in found if n.subscription == id]

    def states(self, id: str) -> list[str]:
        return [n.state for n in self.notified(id)]

    def last(self, id: str) -> Notified:
        return self.notified(id)[-1]

    def seen(self, id: str) -> Presence:
        """The last document a watcher got."""
        return pidf_format.parse(self.last(id).body)

    def basics(self, id: str) -> list[str | None]:
        """The basic statuses of the last document."""
        return [t.basic for t in self.seen(id).tuples]

    def watchers(self, id: str) -> list[WatcherInfo]:
        return [watcherinfo.parse(n.body) for n in self.notified(id) if n.body]

    def rows(self, id: str) -> list[tuple[str, str, str]]:
        """Address, status and event of each row of the last winfo document."""
        (only,) = self.watchers(id)[-1].lists
        return [(w.uri, w.status, w.event) for w in only.watchers]

    @property
    def refused(self) -> list[int]:
        return [s.status for s in self.pair.reported[ALICE] if isinstance(s, Refused)]

    @property
    def terminated(self) -> list[tuple[str, bool]]:
        return [
            (s.reason, s.will_retry) for s in self.pair.reported[ALICE] if isinstance(s, Terminated)
        ]

    @property
    def published(self) -> list[Published]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Published)]

    @property
    def publish_failed(self) -> list[int | None]:
        return [s.status for s in self.pair.reported[ALICE] if isinstance(s, PublishFailed)]

    # --- the store --------------------------------------------------------------------------------

    @property
    def changes(self) -> list[StoreChange]:
        return [c for _, _, c in self.pair.stored]  # type: ignore[misc]

    def records(self) -> list[Record]:
        """What a store that applied all changes would hand back."""
        kept: dict[str, Record] = {}
        for change in self.changes:
            if isinstance(change, (PublicationStored, SubscriptionStored)):
                kept[change.id] = change
            else:
                kept.pop(change.id, None)
        return list(kept.values())

    def restart(self, asleep: float = 0.0, records: Sequence[Record] | None = None) -> None:
        """The agent's process dies and comes back with what was stored, or with `records`."""
        records = self.records() if records is None else records
        for record in records:
            if isinstance(record, SubscriptionStored):
                json.loads(record.snapshot)
        del self.pair.cores[BOB]
        self.pair.pass_seconds(asleep)
        self.pair.bob = self.pair.add(BOB, ("udp", "tcp", "memory"))
        self.agent = self.new_agent()
        self.agent.restore(records, self.pair.now)
        self.agent.resume(self.pair.now)
        self.pair.turn()


def with_flow(policy: PeerPolicy, **changes: object) -> PeerPolicy:
    return replace(policy, **changes)  # type: ignore[arg-type]
