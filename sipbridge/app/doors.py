"""The HTTP side put together: who may come in, and what lies behind which path.

/rest/presence/…                 the operations, behind the gate, within quotas
/rest/presence/notifications     Bayeux, also at /bayeux
/rest/presence/events            server-sent events, behind the gate
/rest/session_manager            when sessions are on
/auth/tickets                    credentials for once, for streams of pages
/webex                           Webex-style watching, behind a gate without sessions
/admin                           operator routes; /admin/trace SIP messages as they come
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from sipbridge.app import hooks
from sipbridge.app.applications import Directory
from sipbridge.app.bems import BemsSide, make_bems
from sipbridge.app.keys import from_file, from_url
from sipbridge.app.network import SipNetwork
from sipbridge.app.operations import Operations, Quotas
from sipbridge.app.provisioning import Provisioner, Told
from sipbridge.app.sealing import Seal
from sipbridge.app.settings import Access, Settings, tokens
from sipbridge.app.sink import DELIVERY, BayeuxReader, topic_of
from sipbridge.app.tracing import Tracing
from sipbridge.bayeux.asgi import BayeuxApp
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.values import Ended, Indication, Subscribed
from sipbridge.errors import UnknownPresentity
from sipbridge.gateway import Caller, Gateway
from sipbridge.gateway.ports import Clock, LogEntry
from sipbridge.gateway.watching import Watching
from sipbridge.identities import PresentityKey
from sipbridge.mapping.table import Tables
from sipbridge.observability import gauges
from sipbridge.observability.health import Checks, Word
from sipbridge.observability.indications import CallerUnknown
from sipbridge.observability.logs import logger
from sipbridge.observability.metrics import CONTENT_TYPE, Metrics
from sipbridge.rest import admin, admin_trace, bems, bems_lookup, sessions
from sipbridge.rest.admin import AdminApp
from sipbridge.rest.admin_models import PeerView
from sipbridge.rest.admin_trace import TraceApp
from sipbridge.rest.apheleia import Apheleia
from sipbridge.rest.api import DESCRIPTION, METRICS, Front, Ready, RestSettings, create_app
from sipbridge.rest.attempts import Attempt, Report, told, told_token
from sipbridge.rest.bems import TOKEN, Bems, HeaderToken
from sipbridge.rest.bems_lookup import Lookup
from sipbridge.rest.exchange import Exchange
from sipbridge.rest.faults import Envelope, Refused
from sipbridge.rest.feeds import Feeds
from sipbridge.rest.gate import Gate, application_only
from sipbridge.rest.ocsg import EVENTS, NOTIFICATIONS, Style
from sipbridge.rest.origins import Origins
from sipbridge.rest.people import PeopleRoutes
from sipbridge.rest.quotas import Rate
from sipbridge.rest.security import (
    Account,
    Authenticator,
    BasicAuthenticator,
    first_of,
    nobody,
)
from sipbridge.rest.sessions import SessionManager, Sessions
from sipbridge.rest.streams import EventStreams
from sipbridge.rest.tickets import ROOT as TICKETS
from sipbridge.rest.tickets import TicketGate, TicketOffice, Tickets
from sipbridge.rest.tokens import BearerAuthenticator, Issuer, KeyRing, Tokens, Verify
from sipbridge.rest.watch import ROOT as WATCH
from sipbridge.rest.watch import WatchApp
from sipbridge.store import Store, path_of
from sipbridge.store.memory_bus import MemoryBus
from sipbridge.uri import Uri
from sipbridge.webhooks.delivery import Webhooks
from sipbridge.webhooks.targets import is_webhook

Spawn = Callable[[Coroutine[object, object, None]], None]
OPERATOR = "operator"
"""The application of the operator's calls; decisions need no more of it than a name."""
NOT_ANYBODY = "sip:operator@localhost"
"""The operator has no SIP identity; each call stands in somebody's place."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What lies behind the doors."""

    settings: Settings
    store: Store
    bus: MemoryBus
    clock: Clock
    directory: Directory
    gateway: Gateway
    watching: Watching
    network: SipNetwork
    bayeux: BayeuxServer
    reader: BayeuxReader
    webhooks: Webhooks
    metrics: Metrics
    checks: Checks
    tracing: Tracing
    spawn: Spawn
    tables: Tables
    observe: Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Doors:
    """The HTTP side."""

    front: Front
    bayeux: BayeuxApp
    streams: EventStreams
    traces: TraceApp
    feeds: Feeds
    provisioner: Provisioner
    bems: BemsSide


def make_doors(inside: Inside) -> Doors:
    """Everything that HTTP needs."""
    settings, directory = inside.settings, inside.directory
    basic = BasicAuthenticator(directory.accounts())
    kept = Sessions(settings.ocsg.session_lifetime) if settings.ocsg.sessions else None
    proves = make_tokens(inside)
    bearer, tickets = BearerAuthenticator(proves), Tickets(inside.clock.now)
    report = attempts_to(inside.observe)
    by_header = first_of([basic, bearer])
    rate, whoever = Rate(settings.limits.requests_per_second), told(by_header, report)
    gate = Gate(whoever, sessions=kept, rate=rate, acting=directory.act)
    # Sessions are the RESTful Presence interface's own; other fronts know none.
    sessionless = Gate(whoever, rate=rate, acting=directory.act)
    directory.met = lambda caller: inside.spawn(inside.network.watch_watchers(caller))
    exchange = Exchange(
        Origins(settings.http.allowed_origins),
        Envelope(settings.ocsg.error_envelope.value),
        inside.metrics.count_quota,
    )
    bayeux = make_bayeux(inside, TicketGate(tickets, whoever, report))
    streams = EventStreams(
        inside.store,
        inside.bus,
        application_only(TicketGate(tickets, gate, report)),
        topic_of,
        recheck=inside.gateway.recheck,
        restate=inside.gateway.restate,
        allowed_origins=settings.http.allowed_origins,
        envelope=exchange.envelope,
        exceeded=inside.metrics.count_quota,
    )

    feeds = Feeds(TicketGate(tickets, sessionless, report), exchange)
    operations = make_operations(inside)
    side = make_bems(
        settings,
        inside.store,
        inside.clock,
        directory.identities,
        inside.gateway,
        operations,
        inside.tables,
        inside.spawn,
    )

    def revoke(application: str) -> None:
        tickets.revoke(application)
        side.revoke(application)
        if kept is not None:
            kept.revoke(application)
        streams.revoke(application)
        feeds.revoke(application)
        inside.bayeux.revoke(application, inside.clock.now())
        bayeux.schedule_turn()

    provisioner = make_provisioner(inside, basic, revoke, side)
    operator = make_operator(settings, report)
    traces = TraceApp(operator, inside.tracing.follow, exchange)
    mounts: dict[str, ASGIApp] = {
        NOTIFICATIONS: bayeux,
        "/bayeux": bayeux,
        EVENTS: streams,
        admin_trace.ROOT: traces,
        TICKETS: TicketOffice(tickets, sessionless, exchange),
        WATCH: make_watch(inside, operations, feeds, sessionless, exchange),
        admin.ROOT: AdminApp(
            operator, operations, standing(inside), provisioner, exchange, peers_of(inside)
        ),
        **bems_doors(inside, side, by_header, proves, report, gate.rate, exchange),
    }
    if kept is not None:
        mounts[sessions.ROOT] = SessionManager(kept, whoever, exchange)
    front = make_front(inside, operations, gate, operator or nobody, mounts)
    gauges.watch_bems(inside.metrics, side.remote, side.lists)
    return Doors(front, bayeux, streams, traces, feeds, provisioner, side)


def make_watch(
    inside: Inside, operations: Operations, feeds: Feeds, gate: Gate, exchange: Exchange
) -> WatchApp:
    """The Webex-style interfaces."""
    watching, identities = inside.watching, inside.directory.identities
    public = inside.settings.http.public_url.rstrip("/")
    return WatchApp(
        watching,
        gate,
        exchange,
        feeds,
        PeopleRoutes(watching, identities),
        Apheleia(watching, identities, inside.clock, operations.publish, public),
        inside.metrics.count_request,
    )


def bems_doors(
    inside: Inside,
    side: BemsSide,
    authenticate: Authenticator,
    verify: Verify,
    report: Report,
    rate: Rate,
    exchange: Exchange,
) -> dict[str, ASGIApp]:
    """The BEMS fronts, which take tokens in a header of their own, too, and know a session by its cookie."""
    known = first_of([authenticate, HeaderToken(verify)])
    known = told(known, report, header=TOKEN, unnamed=False)
    gate = Gate(known, rate=rate, acting=inside.directory.act)
    secure = inside.settings.http.tls or inside.settings.http.public_url.startswith("https:")
    messaging = Bems(
        side.remote,
        gate,
        told_token(verify, report),
        inside.directory.identities,
        exchange,
        side.readers,
        inside.metrics.count_bems,
        secure=secure,
    )
    patience = inside.settings.gateway.fetch_wait
    return {bems.ROOT: messaging, bems_lookup.ROOT: Lookup(side.lists, gate, exchange, patience)}


def make_operations(inside: Inside) -> Operations:
    limits = inside.settings.limits
    quotas = Quotas(
        limits.max_subscriptions, limits.max_contracts, Rate(limits.publishes_per_second)
    )
    identities = inside.directory.identities
    return Operations(inside.gateway, identities, quotas, inside.metrics.count_quota)


def attempts_to(observe: Callable[[object], None]) -> Report:
    """Requests that prove nobody, to the log and the metrics."""

    def report(a: Attempt) -> None:
        observe(CallerUnknown(a.missing, a.reason, a.user, a.address, a.path, a.trace))

    return report


def make_operator(settings: Settings, report: Report) -> Authenticator | None:
    """Knows the operator; None when there is none."""
    known = settings.admin.password_hash
    if known is None:
        return None
    nowhere = Caller(OPERATOR, Uri.parse(NOT_ANYBODY), PresentityKey(NOT_ANYBODY))
    account = Account(nowhere, password_hash=known.get_secret_value())
    return told(BasicAuthenticator({admin.USER: account}), report)


def peers_of(inside: Inside) -> Callable[[], list[PeerView]]:
    """Presence servers of others as they are at the moment."""

    def views() -> list[PeerView]:
        now = inside.clock.now()
        return [
            PeerView(
                name=watch.name,
                state=watch.state.value,
                seconds=None if watch.since is None else round(now - watch.since, 1),
                probed=watch.probes,
                waiting=len(watch.queue),
            )
            for watch in inside.network.peer_watches
        ]

    return views


def standing(inside: Inside) -> admin.Stand:
    """The operator in a presentity's place."""

    async def stand(presentity: Uri, trace: str) -> Caller:
        network, directory = inside.network, inside.directory
        key = directory.identities.canonical(presentity)
        person = Uri.parse(key)
        if not network.serves(person):
            raise UnknownPresentity(f"{presentity} is not served here", part="presentity")
        # Whoever has an application here is asked about with its credentials.
        await network.know_watchers(Caller(directory.owner(key) or OPERATOR, person, key, trace))
        return Caller(OPERATOR, person, key, trace)

    return stand


def make_provisioner(
    inside: Inside,
    basic: BasicAuthenticator,
    revoke: Callable[[str], None],
    side: BemsSide,
) -> Provisioner:
    store, reader, webhooks = inside.store, inside.reader, inside.webhooks
    listening: dict[str, Callable[[], None]] = {}

    def receive(entry: LogEntry) -> None:
        (webhooks if is_webhook(entry.notification.endpoint) else reader).receive(entry)

    def listen(application: str) -> None:
        listening[application] = inside.bus.subscribe(topic_of(application), receive)

    def forget(application: str) -> None:
        stop = listening.pop(application, None)
        if stop is not None:
            stop()
        store.trim(application, 0, inside.clock.at())
        store.remember(DELIVERY, application, None)
        store.remember(hooks.KIND, application, None)
        reader.forget(application)
        webhooks.forget(application)

    for application in inside.directory.applications:
        listen(application)
    return Provisioner(
        inside.directory,
        store,
        Seal(key_path(inside.settings)),
        inside.gateway,
        inside.network,
        Told(basic, revoke, listen, forget),
        inside.spawn,
        (inside.watching, side),
    )


def key_path(settings: Settings) -> Path | None:
    """Where the key of sealed passwords lies; None for a store that forgets."""
    if settings.store.key_file is not None or settings.store.url == "memory://":
        return settings.store.key_file
    state = path_of(settings.store.url, settings.directory)
    return state.with_name(f"{state.name}.key")


def make_tokens(inside: Inside) -> Tokens:
    """Tokens of the configuration, and those signed by the issuer it names."""
    settings, holder = inside.settings, inside.directory.holder
    written, wanted = tokens(settings), settings.auth.jwt
    if not wanted.issuer:
        return Tokens(holder, written)
    log = logger("sipbridge.tokens")
    read = from_url(wanted.keys_url) if wanted.keys_file is None else from_file(wanted.keys_file)
    keys = KeyRing(
        read,
        wanted.keys_refresh,
        inside.clock.now,
        lambda reason: log.warning("keys.not-read", reason=reason),
    )
    issuer = Issuer(
        wanted.issuer,
        wanted.audience,
        wanted.identity_claim,
        wanted.application,
        wanted.application_claim,
        frozenset(algorithm.value for algorithm in wanted.algorithms),
        wanted.leeway,
    )
    return Tokens(holder, written, issuer, keys, inside.clock)


def make_bayeux(inside: Inside, gate: Authenticator) -> BayeuxApp:
    """A session reads everything of its application, so nobody comes in who is bound to one person."""
    reader = inside.reader

    async def authenticate(headers: Mapping[str, str]) -> str | None:
        try:
            caller = await gate(headers)
        except Refused:
            return None
        return caller.application if caller and not caller.bound else None

    def told(said: Indication) -> None:
        match said:
            case Subscribed():
                reader.subscribed(said)
            case Ended():
                reader.ended(said)

    origins = inside.settings.http.allowed_origins
    return BayeuxApp(inside.bayeux, authenticate, allowed_origins=origins, told=told)


def make_front(
    inside: Inside,
    operations: Operations,
    gate: Gate,
    operator: Authenticator,
    mounts: Mapping[str, ASGIApp],
) -> Front:
    settings, metrics = inside.settings, inside.metrics

    def ready() -> Ready:
        health = inside.checks.ready()
        return Ready(health.word in (Word.OK, Word.DEGRADED), health.as_json())

    closed: frozenset[str] = frozenset()
    if settings.http.docs is Access.ADMIN:
        closed |= DESCRIPTION
    if settings.http.metrics is Access.ADMIN:
        closed |= METRICS
    return create_app(
        operations,
        [gate],
        settings=RestSettings(
            settings.http.public_url.rstrip("/"),
            settings.http.allowed_origins,
            Envelope(settings.ocsg.error_envelope.value),
            Style(settings.ocsg.stringify_scalars, settings.ocsg.null_for_absent),
            closed=closed,
        ),
        mounts=mounts,
        ready=ready,
        metrics=lambda: (metrics.render(), CONTENT_TYPE),
        observe=metrics.count_request,
        exceeded=metrics.count_quota,
        operator=operator,
    )
