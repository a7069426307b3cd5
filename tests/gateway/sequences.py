"""Random lives of a gateway, and a model of what everybody may see that knows nothing of its code.

A sequence is a list of operations with all their arguments, made from a seed, so it can be replayed and cut
down. `World` performs them on a real gateway over the fakes, with the real notification log, event streams
and Bayeux server as readers. `Model` is told what was done and what was sent, and objects.
"""

from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from random import Random
from typing import Any, TypeVar

import orjson

from sipbridge.app.sink import BayeuxReader, LogSink, topic_of
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.session import Origin
from sipbridge.bayeux.values import Ended, Settings, Subscribed
from sipbridge.errors import (
    AgainstPolicy,
    CorrelatorInUse,
    GatewayError,
    NotAuthorized,
    SignallingError,
    UnknownCorrelator,
    UnknownWatcher,
)
from sipbridge.gateway import Gateway, Group, Policy, StartNotification
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import Metric, TimeMetric
from sipbridge.gateway.ports import Notification, Reference
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
    Place,
    Sphere,
    to_json,
)
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import SubHandling
from sipbridge.rest.streams import Stream
from sipbridge.store.memory import MemoryStore
from sipbridge.store.memory_bus import MemoryBus
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, START, FakeNetwork, FakeStore, HandClock, run_now

K = AttributeKind
T = TypeVar("T")
Pair = tuple[PresentityKey, PresentityKey]
Shown = dict[str, list[object]]
"""By kind, the JSON of its values and notes."""
NOT_SET: dict[str, list[object]] = {
    "Activity": [["ActivityNone", None]],
    "Place": [["PlaceNone", None]],
    "Privacy": [["PrivacyNone", None]],
    "Sphere": [["SphereNone", None]],
    "Communication": [[{"means": []}, None]],
}
EPSILON = 1e-4
"""Instants are kept in microseconds."""

APPLICATIONS = {
    "app_alice": "alice",
    "app_dave": "dave",
    "app_bob": "bob",
    "app_bob2": "bob",
    "app_carol": "carol",
}
WATCHERS = ("app_bob", "app_bob", "app_bob2", "app_carol")
OURS = ("alice", "alice", "alice", "dave")
ELSEWHERE = "erin@elsewhere.example"
TEAM = "team"
"""A group of everybody who has a presence."""
MEMBERS = ("alice", "dave", ELSEWHERE)
PRESENTITIES = (*OURS, *OURS, ELSEWHERE, TEAM)
CORRELATORS = ("c1", "c2")
OWNERS = {"ACTIVITY_OTHER": "Activity", "ServiceNote": "Communication"}
"""Reserved names used here, and the kind they refine."""

Op = tuple[Any, ...]


@cache
def address(name: str) -> Uri:
    return Uri.parse(f"sip:{name if '@' in name else name + '@example.com'}")


@cache
def key(name: str) -> PresentityKey:
    return IDENTITIES.canonical(address(name))


@cache
def caller(application: str) -> Caller:
    uri = address(APPLICATIONS[application])
    return Caller(application, uri, IDENTITIES.canonical(uri), "trace")


def at_once(job: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that never really waits."""
    try:
        job.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a fake waited")


# --- sequences ------------------------------------------------------------------------------------------


def some_kinds(random: Random) -> tuple[AttributeKind, ...]:
    """Often everything, by naming nothing."""
    if random.random() < 0.5:
        return ()
    return tuple(random.sample(list(K), random.randint(1, 3)))


def some_attributes(random: Random) -> tuple[Attribute, ...]:
    makers: tuple[Callable[[], Attribute], ...] = (
        lambda: Attribute(
            K.ACTIVITY,
            random.choice((Activity.BUSY, Activity.MEAL, Activity.AWAY)),
            random.choice((None, "note")),
        ),
        lambda: Attribute(K.PLACE, random.choice((Place.OFFICE, Place.HOME))),
        lambda: Attribute(K.SPHERE, random.choice((Sphere.WORK, Sphere.HOME))),
        lambda: Attribute(
            K.COMMUNICATION,
            (Means("tel:+1555", random.choice((0.1, 0.9)), MeansType.PHONE),),
        ),
        lambda: Attribute(K.OTHER, Other("colour", random.choice(("blue", "red")))),
        lambda: Attribute(K.OTHER, Other("ACTIVITY_OTHER", "sailing")),
    )
    chosen = random.sample(makers, random.randint(1, 3))
    return tuple(make() for make in chosen)


def some_decisions(random: Random) -> tuple[tuple[AttributeKind, bool], ...]:
    if random.random() < 0.4:
        return tuple((kind, random.random() < 0.9) for kind in K)
    kinds = random.sample(list(K), random.randint(1, 3))
    return tuple((kind, random.random() < 0.6) for kind in kinds)


def some_start(random: Random) -> Op:
    return (
        "start",
        random.choice(WATCHERS),
        random.choice(PRESENTITIES),
        random.choice(CORRELATORS),
        random.choice((0, 0, 0, 1, 10, 10, 60)),
        random.choice((None, None, None, 1, 2, 5)),
        random.choice((None, None, None, 5, 30, 3600)),
        random.random() < 0.6,
        some_kinds(random),
    )


def some_subscription(random: Random) -> Op:
    return "subscribe", random.choice(WATCHERS), random.choice(PRESENTITIES), some_kinds(random)


def some_decision(random: Random) -> Op:
    watcher = random.choice(("bob", "bob", "carol"))
    return "decide", random.choice(OURS), watcher, some_decisions(random)


def some_get(random: Random) -> Op:
    return "get", random.choice(WATCHERS), random.choice(PRESENTITIES), some_kinds(random)


def some_news_elsewhere(random: Random) -> Op:
    state = random.choice(("active", "active", "pending", "rejected"))
    activity = random.choice((Activity.BUSY, Activity.AWAY))
    return "elsewhere", random.choice(("bob", "carol")), state, activity


MAKERS: tuple[tuple[int, Callable[[Random], Op]], ...] = (
    (4, some_subscription),
    (7, some_decision),
    (1, lambda r: ("block", r.choice(OURS), r.choice(("bob", "carol")))),
    (9, lambda r: ("publish", r.choice(OURS), some_attributes(r))),
    (1, lambda r: ("publish", r.choice(OURS), ())),
    (6, some_start),
    (1, lambda r: ("leave", r.choice(WATCHERS), r.choice(PRESENTITIES))),
    (1, lambda r: ("stop", r.choice(WATCHERS), r.choice(CORRELATORS))),
    (2, some_get),
    (6, lambda r: ("wait", r.choice((0.3, 1.0, 4.0, 10.0, 61.0, 3000.0)))),
    (1, lambda r: ("restart", r.choice((0.0, 2.0, 100.0)))),
    (1, lambda r: ("hold",)),
    (2, lambda r: ("release",)),
    (2, some_news_elsewhere),
    (3, lambda r: ("read", r.choice(WATCHERS))),
    (3, lambda r: ("poll", r.choice(WATCHERS))),
)
"""How often each operation comes, and how it is made."""

PRELUDE: tuple[Op, ...] = (
    ("subscribe", "app_bob", "alice", ()),
    ("decide", "alice", "bob", tuple((kind, True) for kind in K)),
    ("start", "app_bob", "alice", "c1", 0, None, None, True, ()),
)
"""Most lives begin so, or little would happen in them."""


def sequence(seed: int, length: int) -> list[Op]:
    """The operations of one life; the first is how it begins."""
    random = Random(seed)
    default = random.choice((SubHandling.CONFIRM,) * 3 + (SubHandling.ALLOW,))
    ops: list[Op] = [("begin", default)]
    if random.random() < 0.8:
        ops += PRELUDE
    weights = [weight for weight, _ in MAKERS]
    makers = random.choices([make for _, make in MAKERS], weights, k=length)
    return ops + [make(random) for make in makers]


# --- the model ------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What one presentity has decided about one watcher."""

    granted: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    blocked: bool = False


@dataclass
class Running:
    """One contract as the watcher understands it."""

    members: tuple[str, ...]
    kinds: frozenset[str]
    interval: float
    remaining: int | None
    ends: float
    not_before: float
    told: dict[str, Shown] = field(default_factory=dict)
    """What was said last of each member."""


ALL, NOTHING = Verdict(granted=set(K)), Verdict()
"""Never changed: who decides gets a verdict of their own."""


class Model:
    """What may be sent. Names of people instead of keys; application ids for whoever watches."""

    def __init__(self, default: SubHandling) -> None:
        self.default = default
        self.now = 0.0
        self.verdicts: dict[tuple[str, str], Verdict] = {}
        self.subscriptions: dict[tuple[str, str], frozenset[str]] = {}
        self.told: dict[tuple[str, str], dict[str, bool]] = {}
        """What notifySubscription said last."""
        self.contracts: dict[tuple[str, str], Running] = {}
        self.shown: dict[tuple[str, str], Presence] = {}
        """(watcher, presentity): the document that has arrived."""
        self.read: dict[int, tuple[Presence, list[tuple[str, object]]]] = {}
        self.elsewhere: dict[str, str] = {}
        self.ended: list[tuple[str, str, str]] = []
        """subscriptionEnded that must come: application, presentity, reason."""

    def verdict(self, watcher: str, presentity: str) -> Verdict:
        if presentity == ELSEWHERE:
            return ALL if self.elsewhere.get(watcher) == "active" else NOTHING
        known = self.verdicts.get((watcher, presentity))
        if known is None:
            return ALL if self.default is SubHandling.ALLOW else NOTHING
        return known

    def visible(self, application: str, presentity: str, kinds: frozenset[str]) -> Shown | None:
        """What the application may see now of what it asked for; None: nothing has arrived."""
        watcher = APPLICATIONS[application]
        document = self.shown.get((watcher, presentity))
        asked = self.subscriptions.get((application, presentity))
        if document is None or asked is None:
            return None
        granted = self.verdict(watcher, presentity).granted
        found: Shown = {}
        for kind, value in self.values(document, presentity):
            if kind in granted and kind in asked and kind in kinds:
                if kind == "Other" and owner(value) not in granted:
                    continue
                found.setdefault(kind, []).append(value)
        return found

    def values(self, document: Presence, presentity: str) -> list[tuple[str, object]]:
        """What a document says, by kind."""
        known = self.read.get(id(document))
        if known is None or known[0] is not document:
            mapped = to_attributes(document, at=START, presentity=address(presentity))
            values = [(a.kind.value, value_of(to_json(a))) for a in mapped.attributes]
            known = self.read[id(document)] = (document, values)
        return known[1]

    def end_subscription(self, application: str, presentity: str) -> None:
        self.subscriptions.pop((application, presentity))
        self.told.pop((application, presentity), None)
        for name, contract in list(self.contracts.items()):
            if name[0] == application and presentity in contract.members:
                contract.told.pop(presentity, None)
                if not any((application, m) in self.subscriptions for m in contract.members):
                    del self.contracts[name]
        watcher = APPLICATIONS[application]
        if not any(APPLICATIONS[a] == watcher and p == presentity for a, p in self.subscriptions):
            self.shown.pop((watcher, presentity), None)

    def forget_ungranted(self) -> None:
        """What is not granted any more need not be remembered as told."""
        for (application, _), contract in self.contracts.items():
            for member, told in contract.told.items():
                granted = self.verdict(APPLICATIONS[application], member).granted
                seen = granted & self.subscriptions.get((application, member), frozenset())
                for kind in told.keys() - seen:
                    del told[kind]

    # --- what was sent

    def heard(self, application: str, message: dict[str, Any]) -> None:
        ((kind, body),) = message.items()
        if kind == "statusChanged":
            self.heard_status(application, body)
        elif kind == "statusEnd":
            contract = self.contracts.pop((application, body["correlator"]))
            over = self.now >= contract.ends - EPSILON
            assert over or contract.remaining == 0, "statusEnd before its time"
        elif kind == "notifySubscription":
            presentity = name_of(body["presentity"])
            told = {d["presenceAttribute"]: d["decision"] for d in body["decisions"]}
            assert told, "a notifySubscription that says nothing"
            assert told != self.told.get((application, presentity)), "told twice"
            self.told[application, presentity] = told
        else:
            presentity = name_of(body["presentity"])
            self.ended.remove((application, presentity, body["reason"]))

    def heard_status(self, application: str, body: dict[str, Any]) -> None:
        contract = self.contracts[application, body["correlator"]]
        member = name_of(body["presentity"])
        assert member in contract.members
        assert self.now >= contract.not_before - EPSILON, "sooner than the frequency allows"
        assert self.now <= contract.ends + EPSILON, "after its duration"
        assert contract.remaining is None or contract.remaining > 0, "more than count"
        sent: Shown = {}
        for attribute in body["changedAttributes"]:
            value = value_of(attribute)
            sent.setdefault(attribute["typeAndValue"]["unionElement"], []).append(value)
        assert sent, "an empty statusChanged"
        may = self.visible(application, member, contract.kinds)
        assert may is not None, "nothing is visible"
        granted = self.verdict(APPLICATIONS[application], member).granted
        told = contract.told.setdefault(member, {})
        for kind, values in sent.items():
            assert kind in granted, f"{kind} was not granted"
            assert values == may.get(kind, NOT_SET.get(kind)), f"{kind} is not what is published"
            # An Other can go without a word, and be news when it comes back.
            assert kind == "Other" or values != told.get(kind), f"{kind} is no news"
            told[kind] = values
        contract.not_before = self.now + contract.interval
        if contract.remaining is not None:
            contract.remaining -= 1

    # --- what must be so after every operation

    def check(self) -> None:
        self.forget_ungranted()
        assert not self.ended, f"not told: {self.ended}"
        for (application, correlator), contract in self.contracts.items():
            assert contract.remaining != 0, f"{correlator} should have ended by its count"
            assert self.now < contract.ends, f"{correlator} should have ended by its duration"
            if contract.interval > 0 and self.now < contract.not_before + EPSILON:
                continue
            for member in contract.members:
                may = self.visible(application, member, contract.kinds)
                if may is None:
                    continue
                said = contract.told.get(member, {})
                if "Other" not in may:
                    said.pop("Other", None)  # there is no word for that it is gone
                for kind, values in said.items():
                    may.setdefault(kind, NOT_SET.get(kind, values))
                told = {k: said.get(k) for k in may}
                assert told == may, f"{application} {correlator}: {member} {told} for {may}"
        for (application, presentity), asked in self.subscriptions.items():
            verdict = self.verdict(APPLICATIONS[application], presentity)
            known = dict.fromkeys(asked & verdict.granted, True)
            known |= dict.fromkeys(asked & verdict.denied, False)
            if known:
                assert self.told.get((application, presentity)) == known, "decision not told"

    def may_read(self, application: str, message: dict[str, Any]) -> None:
        """A notification is read from the log: is everything in it granted now?"""
        body = message.get("statusChanged")
        if body is None:
            return
        presentity = name_of(body["presentity"])
        granted = self.verdict(APPLICATIONS[application], presentity).granted
        for attribute in body["changedAttributes"]:
            kind = attribute["typeAndValue"]["unionElement"]
            assert kind in granted, f"{kind} was read from the log after it was revoked"
            if kind == "Other":
                assert owner(value_of(attribute)) in granted, "a pair without its owner"


class Network(FakeNetwork):
    """A presence server for our domain that can be slow, and one elsewhere that decides by itself."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.holding = False
        self.held: list[tuple[Pair, Presence]] = []
        self.states: dict[PresentityKey, str] = {}

    def decides_here(self, presentity: Uri) -> bool:
        return presentity.host == self.domain

    def serves(self, presentity: Uri) -> bool:
        return True

    async def watch(
        self,
        caller: Caller,
        presentity: Uri,
        *,
        resuming: bool = False,
        group: Uri | None = None,
    ) -> None:
        pair = (caller.key, IDENTITIES.canonical(presentity))
        self.watching.add(pair)
        state = self.states.get(pair[0], "pending") if pair[1] == key(ELSEWHERE) else "active"
        document = self.documents.get(pair[1]) if state == "active" else None
        self.show(pair, document)
        self.tell(pair, document, state)

    def arrive(self, presentity: PresentityKey, document: Presence) -> None:
        self.documents[presentity] = document
        for pair in sorted(self.watching):
            if pair[1] == presentity:
                if self.holding:
                    self.held.append((pair, document))
                else:
                    self.deliver(pair, document)

    def deliver(self, pair: Pair, document: Presence) -> None:
        if pair in self.watching:
            self.show(pair, document)
            self.tell(pair, document)

    def rules_changed(self, presentity: PresentityKey) -> None:
        """The server shows everybody anew what they may see now."""
        for pair in sorted(self.watching):
            shown = self.model.shown.get((name_of(pair[0]), name_of(pair[1])))
            if pair[1] == presentity and shown is not None:
                self.deliver(pair, copy(shown))

    def show(self, pair: Pair, document: Presence | None) -> None:
        watcher, presentity = (name_of(k) for k in pair)
        if document is not None:
            self.model.shown[watcher, presentity] = document


class Ears:
    """The sink: the real log, and the model hears everything the moment it is sent."""

    def __init__(self, model: Model, log: LogSink) -> None:
        self.model = model
        self.log = log

    def check(self, application: str, endpoint: str) -> None:
        self.log.check(application, endpoint)

    def send(self, notification: Notification) -> None:
        self.model.heard(notification.application, orjson.loads(notification.data))
        self.log.send(notification)

    def connected(self, application: str) -> bool:
        return self.log.connected(application)

    def recheck(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        self.log.recheck(watcher, presentity)


class World:
    """A gateway that lives through a sequence, with everything that outlives it."""

    def __init__(self, default: SubHandling) -> None:
        self.default = default
        self.clock = HandClock()
        self.model = Model(default)
        self.store = FakeStore()
        self.log = MemoryStore()
        self.settled: dict[str, str] = {}
        self.tokens = count()
        self.network = Network(self.model)
        self.born()

    def born(self) -> None:
        """A process begins."""
        bus = MemoryBus()
        server = BayeuxServer(Settings(max_interval=1e9), lambda: f"client{next(self.tokens)}")
        self.server = server
        self.reader = BayeuxReader(server, self.clock.now, self.settled.__setitem__)
        self.sessions: dict[str, str] = {}
        for application in APPLICATIONS:
            bus.subscribe(topic_of(application), self.reader.receive)
        sink = LogSink(self.log, bus, self.clock.at, recheck=self.reader.recheck)
        self.gateway = Gateway(
            self.network,
            self.store,
            Ears(self.model, sink),
            self.clock,
            IDENTITIES,
            groups=[Group(address(TEAM), tuple(map(address, MEMBERS)))],
            policy=Policy(frozenset(map(key, APPLICATIONS.values())), self.default),
            rules_changed=self.network.rules_changed,
            spawn=run_now,
        )
        self.network.gateway = self.gateway
        self.reader.check = self.gateway.recheck

    def run(self, op: Op) -> None:
        getattr(self, f"do_{op[0]}")(*op[1:])
        self.say()
        self.model.check()
        self.compare()

    def say(self) -> None:
        """What the Bayeux server wants to tell its driver."""
        for said in self.server.indications():
            if isinstance(said, Subscribed):
                self.reader.subscribed(said)
            elif isinstance(said, Ended):
                self.reader.ended(said)

    def compare(self) -> None:
        """Gateway, store and model know the same subscriptions and contracts."""
        contracts = set(self.model.contracts)
        assert set(self.gateway.registry.contracts) == contracts
        assert set(self.store.contracts) == contracts
        subscriptions = {(a, key(APPLICATIONS[a]), key(p)) for a, p in self.model.subscriptions}
        assert set(self.store.subscriptions) == subscriptions

    # --- what people do

    def do_subscribe(
        self, application: str, presentity: str, kinds: tuple[AttributeKind, ...]
    ) -> None:
        model, watcher = self.model, APPLICATIONS[application]
        for member in members_of(presentity):
            if model.verdict(watcher, member).blocked:
                model.ended.append((application, member, "Blocked"))
            else:
                model.subscriptions[application, member] = frozenset(kinds or K)
                model.told.pop((application, member), None)
        model.forget_ungranted()
        reference = Reference(f"/bayeux/{application}/presence", "s")
        at_once(
            self.gateway.subscribe(
                caller(application), address(presentity), frozenset(kinds), reference, "Desk"
            )
        )

    def do_decide(
        self, presentity: str, watcher: str, decisions: Sequence[tuple[AttributeKind, bool]]
    ) -> None:
        model = self.model
        application = f"app_{presentity}"
        call = self.gateway.update_authorization(caller(application), address(watcher), decisions)
        if not self.knows(presentity, watcher):
            refused(call, UnknownWatcher)
            return
        before = model.verdict(watcher, presentity)
        verdict = Verdict(set(before.granted), set(before.denied), before.blocked)
        model.verdicts[watcher, presentity] = verdict
        if verdict.blocked:
            if not any(granted for _, granted in decisions):
                at_once(call)
                return
            verdict.blocked, verdict.denied = False, set()
        for kind, granted in decisions:
            (verdict.granted if granted else verdict.denied).add(kind)
            (verdict.denied if granted else verdict.granted).discard(kind)
        model.forget_ungranted()
        at_once(call)

    def do_block(self, presentity: str, watcher: str) -> None:
        model = self.model
        call = self.gateway.block(caller(f"app_{presentity}"), address(watcher))
        if not self.knows(presentity, watcher):
            refused(call, UnknownWatcher)
            return
        model.verdicts[watcher, presentity] = Verdict(denied=set(K), blocked=True)
        for application, whom in list(model.subscriptions):
            if whom == presentity and APPLICATIONS[application] == watcher:
                model.end_subscription(application, presentity)
                model.ended.append((application, presentity, "Blocked"))
        at_once(call)

    def knows(self, presentity: str, watcher: str) -> bool:
        return (watcher, presentity) in self.model.verdicts or any(
            p == presentity and APPLICATIONS[a] == watcher for a, p in self.model.subscriptions
        )

    def do_publish(self, presentity: str, attributes: tuple[Attribute, ...]) -> None:
        at_once(self.gateway.publish(caller(f"app_{presentity}"), attributes))

    def do_start(
        self,
        application: str,
        presentity: str,
        correlator: str,
        seconds: int,
        most: int | None,
        duration: int | None,
        immediate: bool,
        kinds: tuple[AttributeKind, ...],
    ) -> None:
        model, wanted = self.model, frozenset(kinds or K)
        call = self.gateway.start_notification(
            caller(application),
            StartNotification(
                address(presentity),
                Reference(f"/bayeux/{application}/presence", correlator),
                TimeMetric(Metric.SECOND, seconds),
                immediate,
                frozenset(kinds),
                None if duration is None else TimeMetric(Metric.SECOND, duration),
                most,
            ),
        )
        name = (application, correlator)
        if name in model.contracts:
            refused(call, CorrelatorInUse)
            return
        members = members_of(presentity)
        missing = [m for m in members if not self.sees(application, m) & wanted]
        result = [str(address(m)) for m in missing]
        if len(missing) == len(members):
            assert at_once(call) == result
            return
        now = self.clock.now()
        model.contracts[name] = Running(
            members,
            wanted,
            seconds,
            most,
            now + (86400 if duration is None else duration),
            now if immediate else now + seconds,
        )
        assert at_once(call) == result

    def sees(self, application: str, presentity: str) -> set[str]:
        granted = self.model.verdict(APPLICATIONS[application], presentity).granted
        return granted & self.model.subscriptions.get((application, presentity), frozenset())

    def do_leave(self, application: str, presentity: str) -> None:
        call = self.gateway.leave(caller(application), address(presentity))
        left = [m for m in members_of(presentity) if (application, m) in self.model.subscriptions]
        for member in left:
            self.model.end_subscription(application, member)
        if left:
            at_once(call)
        else:
            refused(call, UnknownWatcher)

    def do_stop(self, application: str, correlator: str) -> None:
        call = self.gateway.end_notification(caller(application), correlator)
        if self.model.contracts.pop((application, correlator), None) is None:
            refused(call, UnknownCorrelator)
        else:
            at_once(call)

    def do_get(self, application: str, presentity: str, kinds: tuple[AttributeKind, ...]) -> None:
        model, wanted = self.model, frozenset(kinds or K)
        call = self.gateway.get_presence(caller(application), address(presentity), frozenset(kinds))
        asked = model.subscriptions.get((application, presentity))
        if presentity == TEAM:
            refused(call, AgainstPolicy)
        elif asked is None:
            refused(call, UnknownWatcher)
        elif not model.verdict(APPLICATIONS[application], presentity).granted & asked:
            refused(call, NotAuthorized)
        else:
            seen: Shown = {}
            for attribute in at_once(call):
                value = value_of(to_json(attribute))
                seen.setdefault(attribute.kind.value, []).append(value)
            assert seen == (model.visible(application, presentity, wanted) or {})

    def do_wait(self, seconds: float) -> None:
        end = self.clock.passed + seconds
        while (when := self.gateway.next_timeout()) is not None and when <= end:
            self.turn_to(max(self.clock.passed, when))
            self.gateway.handle_timeout(self.clock.passed)
        self.turn_to(end)

    def turn_to(self, now: float) -> None:
        self.clock.passed = self.model.now = now

    def do_restart(self, downtime: float) -> None:
        self.reader.settle()
        self.network.watching.clear()
        self.network.held.clear()
        self.model.shown.clear()
        self.turn_to(self.clock.passed + downtime)
        self.born()
        at_once(self.gateway.load(APPLICATIONS))
        for application in APPLICATIONS:
            held = self.log.read_after(application, 0)
            self.reader.restore(application, self.settled.get(application), held)
        at_once(self.gateway.resume(never))

    # --- what the network does

    def do_hold(self) -> None:
        self.network.holding = True

    def do_release(self) -> None:
        self.network.holding = False
        held, self.network.held = self.network.held, []
        for pair, document in held:
            self.network.deliver(pair, document)

    def do_elsewhere(self, watcher: str, state: str, activity: Activity) -> None:
        """The server of somebody else's domain decides, and shows something new."""
        model, pair = self.model, (key(watcher), key(ELSEWHERE))
        model.elsewhere[watcher] = state
        self.network.states[pair[0]] = "pending" if state == "rejected" else state
        published = [Attribute(K.ACTIVITY, activity)]
        document = to_document(published, presentity=address(ELSEWHERE), at=START)
        self.network.documents[pair[1]] = document
        for application, whom in list(model.subscriptions):
            if whom == ELSEWHERE and APPLICATIONS[application] == watcher:
                if state == "rejected":
                    model.end_subscription(application, ELSEWHERE)
                    model.ended.append((application, ELSEWHERE, "Blocked"))
                elif state == "pending":
                    model.told.pop((application, ELSEWHERE), None)
        model.forget_ungranted()
        if pair not in self.network.watching:
            return
        if state == "rejected":
            self.network.watching.discard(pair)
            self.network.tell(pair, None, "terminated", "rejected")
        elif state == "pending":
            self.network.tell(pair, None, "pending")
        else:
            self.network.deliver(pair, document)

    # --- what readers do

    def do_read(self, application: str) -> None:
        """A server-sent event stream that wants everything the log holds, and one that lost track."""
        for last in (0, -1):
            stream = Stream(self.log, application, 1.0, self.gateway.recheck, self.gateway.restate)
            stream.start(last)
            for line in stream.read().splitlines():
                if line.startswith(b"data: ") and line != b"data: {}":
                    self.model.may_read(application, orjson.loads(line[6:]))

    def do_poll(self, application: str) -> None:
        """A Bayeux client that fetches what waits for it; its session stays."""
        origin, now = Origin(application, header=True), self.clock.now()
        client = self.sessions.get(application)
        if client is None:
            hello = {
                "channel": "/meta/handshake",
                "version": "1.0",
                "supportedConnectionTypes": ["long-polling"],
            }
            (answer,) = self.ask(hello, origin, now)
            client = self.sessions[application] = answer["clientId"]
            wish = f"/bayeux/{application}/presence"
            self.ask(
                {"channel": "/meta/subscribe", "clientId": client, "subscription": wish},
                origin,
                now,
            )
            self.say()
        poll = {
            "channel": "/meta/connect",
            "clientId": client,
            "connectionType": "long-polling",
            "advice": {"timeout": 0},
        }
        for message in self.ask(poll, origin, now):
            if "data" in message:
                self.model.may_read(application, message["data"])

    def ask(self, message: dict[str, Any], origin: Origin, now: float) -> list[dict[str, Any]]:
        exchange = self.server.receive([message], origin, now)
        answers: list[dict[str, Any]] = orjson.loads(self.server.collect(exchange, now))
        return answers


def members_of(presentity: str) -> tuple[str, ...]:
    return MEMBERS if presentity == TEAM else (presentity,)


def never(what: str, error: SignallingError) -> None:
    raise AssertionError(f"{what}: {error}")


def refused(call: Coroutine[object, object, object], expected: type[GatewayError]) -> None:
    """The operation must be refused, and exactly so."""
    try:
        at_once(call)
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was expected")


def live(ops: Sequence[Op]) -> None:
    """One life. Raises whatever goes wrong in it."""
    world = World(ops[0][1])
    for op in ops[1:]:
        world.run(op)


def shortest(ops: Sequence[Op], fails: Callable[[Sequence[Op]], bool]) -> list[Op]:
    """A part of a failing sequence that still fails and of which nothing can be left out."""
    left = list(ops)
    changed = True
    while changed:
        changed = False
        for i in range(len(left) - 1, 0, -1):
            if fails(shorter := left[:i] + left[i + 1 :]):
                left, changed = shorter, True
    return left


def value_of(attribute: dict[str, Any]) -> object:
    """Value and note, without the time."""
    union = attribute["typeAndValue"]
    return [union[union["unionElement"].lower()], attribute.get("note")]


def owner(value: Any) -> str:
    return OWNERS.get(value[0]["name"], "Other")


def name_of(uri: str) -> str:
    return uri.removeprefix("sip:").removesuffix("@example.com")
