"""Builds the object graph from the settings. No logic: who gets what, and nothing else.

    gateway core ── memory flow ── agent core ── sockets          embedded
    gateway core ── sockets                                        remote
    both, the gateway with sockets on free ports of its own        embedded and remote side by side

Sections become constructor arguments here; below this module nobody sees settings.
"""

import functools
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sipbridge.agent.ports import Authenticator as DigestAuthenticator
from sipbridge.agent.presence_agent import AgentLimits, PresenceAgent
from sipbridge.agent.trust import TrustedPeers
from sipbridge.app.applications import Application, Directory
from sipbridge.app.connections import asks_for_tls, locating_of, resolver_of, rules_of
from sipbridge.app.doors import Doors, Inside, make_doors
from sipbridge.app.group_watch import GroupWatches, JointGroup, joint_group
from sipbridge.app.hooks import make_webhooks
from sipbridge.app.network import SipNetwork
from sipbridge.app.profiles import load_profile
from sipbridge.app.registrations import KIND as REGISTRATION
from sipbridge.app.registrations import Registrations
from sipbridge.app.scheduler import Scheduler
from sipbridge.app.settings import (
    Mode,
    NetworkIdentity,
    PresenceServerSettings,
    Settings,
    Unenforceable,
    Verify,
    read_tables,
    read_users,
)
from sipbridge.app.sink import DELIVERY, BayeuxReader, LogSink
from sipbridge.app.standing import Peer, Standing
from sipbridge.app.tracing import Tracing
from sipbridge.bayeux import channels
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.values import Settings as BayeuxLimits
from sipbridge.bayeux.words import CALLBACK_POLLING
from sipbridge.errors import DocumentError
from sipbridge.events.budget import Budget
from sipbridge.events.peer_watch import PeerWatch
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.registration import Registrant
from sipbridge.events.subscriber import Subscriber
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.gateway import Caller, Gateway, Group, Policy
from sipbridge.gateway.contract import ContractLimits
from sipbridge.gateway.policies import OperatorPolicy
from sipbridge.gateway.watching import Watching
from sipbridge.identities import (
    Identities,
    KnownIdentities,
    NormalisingIdentities,
    Person,
    PresentityKey,
)
from sipbridge.mapping.table import DEFAULT
from sipbridge.observability import gauges
from sipbridge.observability.counting import MessageCounter
from sipbridge.observability.health import Checks
from sipbridge.observability.indications import DocumentRefused
from sipbridge.observability.logs import IndicationLog, logger
from sipbridge.observability.metrics import Metrics
from sipbridge.observability.trace import SipTrace
from sipbridge.presence.lists import Entry
from sipbridge.presence.rules import SubHandling
from sipbridge.sip.digest import DigestServer, ha1
from sipbridge.sip.encoding import CODINGS
from sipbridge.sip.flow import WEB, Flow
from sipbridge.sip.nat import Nat
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.user_agent import UserAgent
from sipbridge.store import Store
from sipbridge.store.memory_bus import MemoryBus
from sipbridge.transports.driver import Bound, Driver, Tap, bind, bind_outgoing
from sipbridge.transports.memory import PORT, MemoryNetwork
from sipbridge.transports.resolver import Ask
from sipbridge.transports.tcp import Rules
from sipbridge.uri import Uri, escape_user
from sipbridge.webhooks.delivery import Webhooks
from sipbridge.webhooks.targets import is_webhook

PACKAGES = {p.name: p for p in (PRESENCE, PRESENCE_WINFO)}
PUBLICATION = "publication"
"""Kind of the snapshots that keep our publications' entity-tags."""
Spawn = Callable[[Coroutine[object, object, None]], None]
AGENT, GATEWAY = ("agent", PORT), ("gateway", PORT)
TO_AGENT = PeerPolicy(
    name="embedded",
    flow=Flow("memory", GATEWAY, AGENT),
    rate_control=False,  # nothing is on a wire, and news at once cost nothing
    partial_publish=False,
    partial_notify=False,  # bytes in memory cost less than comparing documents
    encodings=(),
)
CLIENT_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CLIENT_ID_LENGTH = 27
"""160 random bits."""


class SystemClock:
    """Both clocks of the machine. `wall` gives the date at a monotonic `now`."""

    def now(self) -> float:
        return time.monotonic()

    def at(self) -> datetime:
        return datetime.now(UTC)

    def wall(self, now: float) -> datetime:
        return self.at() + timedelta(seconds=now - self.now())


@dataclass(slots=True)
class Graph:
    """Everything a running bridge consists of."""

    settings: Settings
    store: Store
    gateway: Gateway
    watching: Watching
    network: SipNetwork
    gateway_driver: Driver
    agent_driver: Driver | None
    agent: PresenceAgent | None
    scheduler: Scheduler
    doors: Doors
    directory: Directory
    tower: "Watchtower"
    callers: dict[str, Caller]
    reader: BayeuxReader
    sink: LogSink
    webhooks: Webhooks
    tracing: Tracing


@dataclass(frozen=True, slots=True)
class Watchtower:
    """What sees everything: metrics, the log of indications, the taps, what health depends on."""

    metrics: Metrics
    log: IndicationLog
    tap_in: Tap
    tap_out: Tap
    checks: Checks
    clock: SystemClock
    rules: Rules
    resolve: Ask

    def observe(self, said: object) -> None:
        self.metrics.observe(said)
        self.log.observe(said, self.clock.now())


def build(settings: Settings, store: Store, spawn: Spawn) -> Graph:
    """The object graph of a bridge; its sockets are bound, nothing runs yet. Raises ConfigurationError."""
    clock, identities, scheduler = SystemClock(), identities_of(settings), Scheduler()
    metrics = Metrics()
    tap_in, tap_out = taps(settings, metrics)
    rules = rules_of(settings, lambda said: tower.observe(said))
    tower = Watchtower(
        metrics,
        IndicationLog(logger("sipbridge.sip")),
        tap_in,
        tap_out,
        Checks(),
        clock,
        rules,
        resolver_of(settings, metrics.count_question).ask,
    )
    memory = MemoryNetwork()
    agent_bound, gateway_bound = listeners(settings)
    directory = directory_of(settings, identities)
    network, gateway_driver = make_network(
        settings, gateway_bound, memory, store, directory, tower, spawn
    )
    bayeux_server = BayeuxServer(bayeux_limits(settings), client_id, clock.wall)
    reader = BayeuxReader(
        bayeux_server,
        clock.now,
        lambda application, text: store.remember(DELIVERY, application, text),
    )
    served, bus = Served(clock), MemoryBus()
    webhooks = make_webhooks(settings, store, directory, clock, metrics)
    sink = make_sink(settings, store, bus, reader, webhooks, clock)
    lists = lists_of(settings, network, identities)
    tables = read_tables(settings.mapping.file) if settings.mapping.file else DEFAULT
    gateway = Gateway(
        network,
        store,
        sink,
        clock,
        identities,
        policy=policy_of(settings, directory),
        groups=groups_of(settings, lists, identities),
        lists=lists,
        tables=tables,
        rules_changed=served.rules_changed,
        spawn=spawn,
        rearm=scheduler.arm,
        report=tower.observe,
    )
    connect(settings, network, gateway, lists, spawn)
    reader.check = webhooks.recheck = gateway.recheck
    webhooks.current = gateway.restate
    if settings.embedded:
        served.agent, served.driver = make_agent(
            settings, agent_bound, memory, store, gateway, directory, tower
        )
    watching = make_watching(settings, gateway, store, clock, directory, spawn, served)
    gauges.watch_bayeux(metrics, bayeux_server)
    gauges.watch_webex(metrics, watching)
    tower.checks.need("store", store.writable)
    drivers = [driver for driver in (gateway_driver, served.driver) if driver is not None]
    tracing = Tracing(drivers)
    gauges.watch_backlogs(
        metrics,
        lambda: sum(len(driver.backlog) for driver in drivers),
        lambda: sum(driver.backlog.overtaken for driver in drivers),
    )
    gauges.watch_destinations(
        metrics, lambda: [d.core.asking.destinations for d in drivers], clock.now
    )
    gauges.watch_connections(
        metrics,
        lambda: [(e.point.protocol, len(e.open)) for d in drivers for e in d.tcp.values()],
        lambda: rules.tls.expires if rules.tls is not None else {},
    )
    tower.checks.need("sip", lambda: all(driver.running for driver in drivers))
    for peer in network.standing.all_peers():
        if not peer.embedded:
            name = peer.policy.name
            tower.checks.want(f"peer {name}", functools.partial(network.up, peer))
    doors = make_doors(
        Inside(
            settings,
            store,
            bus,
            clock,
            directory,
            gateway,
            watching,
            network,
            bayeux_server,
            reader,
            webhooks,
            metrics,
            tower.checks,
            tracing,
            spawn,
            tables,
            tower.observe,
        )
    )
    sink.listening = lambda application: (
        bayeux_server.of_application[application] > 0 or application in doors.streams.streams
    )
    return Graph(
        settings,
        store,
        gateway,
        watching,
        network,
        gateway_driver,
        served.driver,
        served.agent,
        scheduler,
        doors,
        directory,
        tower,
        directory.callers,
        reader,
        sink,
        webhooks,
        tracing,
    )


@dataclass(slots=True)
class Served:
    """The embedded agent and its driver, once they are there; the gateway tells it of changed rules."""

    clock: SystemClock
    agent: PresenceAgent | None = None
    driver: Driver | None = None

    def rules_changed(self, presentity: PresentityKey) -> None:
        if self.agent is not None and self.driver is not None:
            self.agent.rules_changed(presentity, self.clock.now())
            self.driver.turn()


# --- SIP ------------------------------------------------------------------------------------------------


def listeners(settings: Settings) -> tuple[list[Bound], list[Bound]]:
    """Sockets of the agent's core and of the gateway's, bound."""
    servers = (settings.presence_server, *settings.presence_servers)
    remote = any(server.mode is Mode.REMOTE for server in servers)
    reuse = settings.sip.tls.verify is Verify.MUTUAL
    listening = bind(settings.sip.listen, settings.sip.advertise, reuse=reuse)
    if not settings.embedded:
        return [], listening + callers(settings)
    agent = listening + bind(["memory:agent"])
    ends = [e for e in settings.sip.endpoints if e.protocol not in WEB] if remote else []
    hosts = {(e.protocol, e.host) for e in ends}
    told = [f"{e.rpartition(':')[0]}:0" for e in settings.sip.advertise] if remote else []
    told = [e for e in told if e.partition(":")[0] not in WEB]
    free = [f"{protocol}:{bracketed(host)}:0" for protocol, host in sorted(hosts)]
    return agent, bind(["memory:gateway", *free], told, reuse=reuse) + callers(settings)


def callers(settings: Settings) -> list[Bound]:
    """Points from which TLS connections are opened, where servers want TLS and we do not listen on it."""
    pairs = settings.sip.advertised
    if not asks_for_tls(settings) or any(point.protocol == "tls" for point, _ in pairs):
        return []
    hosts = {point.host: told.host if told else "" for point, told in pairs}
    return [bind_outgoing("tls", host, told) for host, told in hosts.items()]


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def taps(settings: Settings, metrics: Metrics) -> tuple[Tap, Tap]:
    """The one tap in and the one tap out: messages are counted, and traced where that is wanted."""
    counter = MessageCounter(metrics.count_message)
    if not settings.log.sip_trace:
        return counter.tap_in, counter.tap_out
    trace = SipTrace(logger("sipbridge.trace"))

    def tap_in(data: bytes, flow: Flow, now: float, id: str) -> None:
        counter.tap_in(data, flow, now, id)
        trace.tap_in(data, flow, now, id)

    def tap_out(data: bytes, flow: Flow, now: float, id: str) -> None:
        counter.tap_out(data, flow, now, id)
        trace.tap_out(data, flow, now, id)

    return tap_in, tap_out


def peers_of(
    settings: Settings,
    core: UserAgent,
    publisher: Publisher,
    subscriber: Subscriber,
    registrant: Registrant,
) -> tuple[Peer, dict[str, Peer]]:
    """The default presence server and those of single domains; each that is not ours is watched."""
    ours = Peer(settings.sip.domain.lower(), True, TO_AGENT)

    def peer(server: PresenceServerSettings, domain: str) -> Peer:
        if server.mode is Mode.EMBEDDED:
            return ours
        wanted = settings.peer_for(server, domain)
        budget = Budget(core.identifiers.fraction, wanted.budget)
        profile = load_profile("peers", wanted.profile, settings.directory)
        asked = replace(profile.applied(policy(server, domain)), turns=budget)
        watch = PeerWatch(core, publisher, subscriber, asked, budget, wanted.probe, registrant)
        return Peer(domain, False, asked, server.register_, watch)

    default = peer(settings.presence_server, "")
    others = {s.domain.lower(): peer(s, s.domain.lower()) for s in settings.presence_servers}
    return default, others


IDENTITY_HEADERS = {
    NetworkIdentity.DIGEST: "",
    NetworkIdentity.ASSERTED: "P-Asserted-Identity",
    NetworkIdentity.PREFERRED: "P-Preferred-Identity",
}


def policy(server: PresenceServerSettings, domain: str) -> PeerPolicy:
    """How requests to this server look."""
    return PeerPolicy(
        name=domain or "remote",
        route=server.route,
        next_hops=server.next_hop,
        identity=IDENTITY_HEADERS[server.identity],
        extra_headers=tuple(server.headers.items()),
    )


def make_network(
    settings: Settings,
    bound: list[Bound],
    memory: MemoryNetwork,
    store: Store,
    directory: Directory,
    tower: Watchtower,
    spawn: Spawn,
) -> tuple[SipNetwork, Driver]:
    """The gateway's user agent with its machines, and the driver round it."""
    core = UserAgent(
        [b.point for b in bound],
        minimum_digest=settings.sip.minimum_digest.value,
        locating=locating_of(settings),
    )
    publisher, subscriber = Publisher(core, PACKAGES), Subscriber(core, PACKAGES)
    registrant = Registrant(core)
    default, peers = peers_of(settings, core, publisher, subscriber, registrant)

    def refused(error: DocumentError, content_type: str, trace: str) -> None:
        media_type = content_type.partition(";")[0].strip().lower()
        tower.observe(DocumentRefused(media_type, str(error), trace))

    def remember(key: tuple[str, PresentityKey], text: str | None) -> None:
        store.remember(PUBLICATION, "\n".join(key), text)

    def heard(said: object) -> None:
        tower.observe(said)
        network.handle(said)

    driver = Driver(
        core,
        bound,
        on_indication=heard,
        prepare=lambda coming: network.prepare(coming),
        memory=memory,
        rules=tower.rules,
        resolve=tower.resolve,
        tap_in=tower.tap_in,
        tap_out=tower.tap_out,
    )
    standing = Standing(
        directory.identities, peers, default, directory.credentials, directory.callers
    )
    network = SipNetwork(
        publisher,
        subscriber,
        standing,
        turn=driver.turn,
        now=tower.clock.now,
        at=tower.clock.at,
        refused=refused,
        remember=remember,
        observe=tower.metrics.observe,
    )
    gauges.watch_client(tower.metrics, subscriber, publisher, tower.clock.now)
    gauges.watch_peers(tower.metrics, [p.watch for p in standing.all_peers() if p.watch])
    if any(peer.register for peer in standing.all_peers()):
        standing.registrations = Registrations(
            registrant,
            directory,
            standing.home_policy,
            turn=driver.turn,
            now=tower.clock.now,
            at=tower.clock.at,
            begun=lambda caller: standing.peer_of(caller.identity).used(tower.clock.now()),
            moved=network.moved,
            restored=network.restored,
            remember=lambda key, text: store.remember(REGISTRATION, key, text),
            spawn=spawn,
        )
        tower.checks.want("registrations", standing.registrations.all_registered)
        gauges.watch_registrations(tower.metrics, registrant)
    return network, driver


def make_agent(
    settings: Settings,
    bound: list[Bound],
    memory: MemoryNetwork,
    store: Store,
    gateway: Gateway,
    directory: Directory,
    tower: Watchtower,
) -> tuple[PresenceAgent, Driver]:
    """The embedded presence agent, and the driver round its core."""
    core = UserAgent([b.point for b in bound], locating=locating_of(settings))
    wanted = settings.agent
    core.encodings = CODINGS if wanted.compression else ()
    agent = PresenceAgent(
        core,
        domain=settings.sip.domain,
        identities=directory.identities,
        rules=gateway.rules,
        sub_handling=SubHandling(wanted.sub_handling.value),
        wall=tower.clock.wall,
        authenticator=authenticator_of(settings, directory) if wanted.authenticate else None,
        trusted=TrustedPeers.parse(
            wanted.trusted_peers,
            lambda flow: driver.proven(flow),
            alone=bool(wanted.trusted_peers) and not wanted.anonymous,
        ),
        min_expires=wanted.min_expires,
        max_expires=wanted.max_expires,
        default_expires=wanted.default_expires,
        limits=AgentLimits(
            min_notify_interval=settings.limits.min_notify_interval,
            list_depth=wanted.list_depth,
            list_gather=wanted.list_gather,
            entity_tags=wanted.entity_tags,
            rate_control=wanted.rate_control,
            nat=Nat(wanted.nat.value),
        ),
        storing=True,
        registrar=wanted.registrar,
        lists=served_lists(settings, directory.identities).get,
    )
    driver = Driver(
        core,
        bound,
        on_indication=tower.observe,
        store_writer=store.write,
        memory=memory,
        rules=tower.rules,
        resolve=tower.resolve,
        tap_in=tower.tap_in,
        tap_out=tower.tap_out,
    )
    gauges.watch_agent(tower.metrics, agent)
    return agent, driver


def authenticator_of(settings: Settings, directory: Directory) -> DigestAuthenticator:
    """Digest for SIP clients: the users of the file, and the applications with their SIP passwords.

    Who stands in the file is `sip:user@domain`; an application's user is the application's own identity.
    """
    realm = settings.sip.domain
    users = dict(read_users(settings.agent.users_file)) if settings.agent.users_file else {}
    listed = {user for user, _, _ in users}

    def ha1_of(user: str, asked: str, algorithm: str) -> str | None:
        if user in listed:
            return users.get((user, asked, algorithm.upper()))
        secret = directory.sip_secret(user, realm)
        return None if secret is None else ha1(algorithm, user, asked, secret)

    def identity_of(user: str) -> Uri | None:
        return None if user in listed else directory.sip_identity(user, realm)

    algorithms = [word.value for word in settings.agent.algorithms]
    qops = [word.value for word in settings.agent.qop]
    server = DigestServer(realm, os.urandom(32), algorithms, qops=qops)
    return DigestAuthenticator(server, ha1_of, identity_of)


# --- the product ----------------------------------------------------------------------------------------


def identities_of(settings: Settings) -> Identities:
    """Who has several names. Where nobody has, nothing is looked up for every message."""
    if not settings.identities:
        return NormalisingIdentities()
    return KnownIdentities(
        Person(Uri.parse(p.uri), tuple(map(Uri.parse, p.aliases)), p.bot)
        for p in settings.identities
    )


def directory_of(settings: Settings, identities: Identities) -> Directory:
    """The applications of the configuration."""
    directory = Directory(identities)
    for application in settings.applications:
        directory.put(Application.from_settings(application))
    return directory


def policy_of(settings: Settings, directory: Directory) -> Policy:
    limits, wanted = settings.limits, settings.gateway
    return Policy(
        directory.represented,
        SubHandling(settings.agent.sub_handling.value),
        ContractLimits(
            limits.min_frequency,
            limits.max_count,
            limits.allow_unlimited,
            limits.default_duration,
        ),
        tuple(
            OperatorPolicy.parse(
                p.presentity, p.watcher, SubHandling(p.sub_handling.value), p.attributes
            )
            for p in settings.agent.policies
        ),
        settings.presence_server.unenforceable is Unenforceable.RECORD,
        wanted.publication_lifetime,
        wanted.subscription_idle,
        wanted.fetch_wait,
    )


def groups_of(
    settings: Settings, lists: frozenset[PresentityKey], identities: Identities
) -> list[Group]:
    """Groups whose members are configured."""
    groups = [Group(Uri.parse(g.uri), tuple(map(Uri.parse, g.members))) for g in settings.groups]
    return [group for group in groups if identities.canonical(group.uri) not in lists]


def served_lists(
    settings: Settings, identities: Identities
) -> dict[PresentityKey, tuple[Entry, ...]]:
    """Groups whose members are configured, as the lists that the embedded agent serves."""
    return {
        identities.canonical(Uri.parse(g.uri)): tuple(map(Entry, g.members))
        for g in settings.groups
        if g.members
    }


def connect(
    settings: Settings,
    network: SipNetwork,
    gateway: Gateway,
    lists: frozenset[PresentityKey],
    spawn: Spawn,
) -> None:
    """The network tells the gateway; what comes by one subscription for a whole group goes another way."""
    network.listener = network.list_listener = gateway
    network.lists = lists
    if joint := joint_groups(settings, network, network.identities):
        groups = GroupWatches(network, gateway, joint, network.identities, spawn)
        network.listener = network.list_listener = network.groups = groups
        network.lists = lists | joint.keys()


def joint_groups(
    settings: Settings, network: SipNetwork, identities: Identities
) -> dict[PresentityKey, JointGroup]:
    """Groups whose presence servers take one subscription for all members."""
    found: dict[PresentityKey, JointGroup] = {}
    for group in settings.groups:
        uri, members = Uri.parse(group.uri), tuple(map(Uri.parse, group.members))
        joint = joint_group(uri, members, lambda u: network.standing.peer_of(u).policy, identities)
        if joint is not None:
            found[identities.canonical(uri)] = joint
    return found


def lists_of(
    settings: Settings, network: SipNetwork, identities: Identities
) -> frozenset[PresentityKey]:
    """Groups whose members only their presence server knows."""
    kept = [Uri.parse(g.uri) for g in settings.groups if not g.members]
    return frozenset(identities.canonical(uri) for uri in kept if not network.decides_here(uri))


def make_watching(
    settings: Settings,
    gateway: Gateway,
    store: Store,
    clock: SystemClock,
    directory: Directory,
    spawn: Spawn,
    served: Served,
) -> Watching:
    """Handles of Webex-style clients."""
    domain = settings.sip.domain
    users = read_users(settings.agent.users_file) if settings.agent.users_file else {}
    named = [Uri.parse(p.uri) for p in settings.identities]
    named += [Uri("sip", escape_user(user), domain) for user, _, _ in users]
    named += [Uri.parse(member) for group in settings.groups for member in group.members]
    provisioned = frozenset(map(directory.identities.canonical, named))

    def known(key: PresentityKey) -> bool:
        """Has an application, is configured, or has published something, over REST or SIP?"""
        return (
            key in provisioned
            or directory.represented.names(key)
            or (served.agent is not None and served.agent.has_published(key))
        )

    return Watching(
        gateway.registry,
        gateway.observations,
        store,
        clock,
        directory.identities,
        gateway.watchers.tables,
        gateway.deadlines,
        spawn,
        known,
        settings.limits.max_subscriptions,
    )


def bayeux_limits(settings: Settings) -> BayeuxLimits:
    """Times of sessions, and by which transports they may come."""
    limits = BayeuxLimits(
        settings.bayeux.timeout,
        settings.bayeux.max_interval,
        max_sessions_per_application=settings.bayeux.max_sessions_per_application,
        max_queue_events=settings.bayeux.queue_events,
        max_queue_bytes=settings.bayeux.queue_bytes,
    )
    if not settings.bayeux.callback_polling:
        return limits
    return replace(limits, connection_types=(*limits.connection_types, CALLBACK_POLLING))


def client_id() -> str:
    """A Bayeux client id: unguessable, alphanumeric."""
    return "".join(secrets.choice(CLIENT_ID_ALPHABET) for _ in range(CLIENT_ID_LENGTH))


def make_sink(
    settings: Settings,
    store: Store,
    bus: MemoryBus,
    reader: BayeuxReader,
    webhooks: Webhooks,
    clock: SystemClock,
) -> LogSink:
    """The notification log with its first reader."""

    def check(application: str, endpoint: str) -> None:
        if is_webhook(endpoint):
            webhooks.check(application, endpoint)
        else:
            channels.check_endpoint(application, endpoint)

    limits = settings.limits
    age = timedelta(seconds=limits.log_age)
    return LogSink(
        store, bus, clock.at, limits.log_entries, age, reader.recheck, limits.log_bytes, check
    )
