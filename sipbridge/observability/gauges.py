"""What is there at the moment, read from the machines when /metrics is asked.

Each function registers the gauges of one machine; `app/wiring.py` calls those for the machines it built.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sipbridge.agent.presence_agent import PresenceAgent
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.events.peer_watch import PeerState, PeerWatch
from sipbridge.events.publisher import Publisher
from sipbridge.events.registration import Registrant
from sipbridge.events.subscriber import Subscriber
from sipbridge.gateway.contact_lists import ContactLists
from sipbridge.gateway.remote_presence import RemotePresence
from sipbridge.gateway.watching import Watching
from sipbridge.observability.metrics import Metrics, Sample
from sipbridge.sip.destinations import Destinations

LIVE = "live"


def watch_client(
    metrics: Metrics, subscriber: Subscriber, publisher: Publisher, now: Callable[[], float]
) -> None:
    """Our own subscriptions and publications at presence servers."""

    def subscriptions() -> Sample:
        there = subscriber.subscriptions.values()
        return dict(Counter((one.package.name, one.state.value) for one in there))

    def publications() -> Sample:
        return dict(Counter((one.state.value,) for one in publisher.publications.values()))

    def overdue() -> Sample:
        at = now()
        ends = [one.ends for one in subscriber.subscriptions.values() if one.ends and not one.once]
        ends += [one.ends for one in publisher.publications.values() if one.ends]
        return {(): max(0.0, at - min(ends, default=at))}

    metrics.gauge("subscriptions", "Subscriptions of ours", ("package", "state"), subscriptions)
    metrics.gauge("publications", "Publications of ours", ("state",), publications)
    metrics.gauge(
        "oldest_overdue_refresh_seconds",
        "How long the longest lapsed subscription or publication of ours is past its end",
        (),
        overdue,
    )


def watch_backlogs(
    metrics: Metrics, waiting: Callable[[], int], overtaken: Callable[[], int]
) -> None:
    """What the SIP cores reported and nobody has had time to hear: more than a few is overload."""
    metrics.gauge("backlog", "Reports that wait to be told", (), lambda: {(): waiting()})
    metrics.total(
        "backlog_overtaken", "Reports never told, because a newer state came meanwhile", overtaken
    )


def watch_registrations(metrics: Metrics, registrant: Registrant) -> None:
    """Our registrations where a network demands them."""
    metrics.gauge(
        "registrations",
        "Registrations of ours",
        ("state",),
        lambda: dict(Counter((one.state.value,) for one in registrant.registrations.values())),
    )


def watch_peers(metrics: Metrics, peers: Iterable[PeerWatch]) -> None:
    """Presence servers of others: is each there?"""
    watched = list(peers)

    def states() -> Sample:
        return {(p.name, state.value): p.state is state for p in watched for state in PeerState}

    metrics.gauge(
        "peer_state", "1 for the state a presence server is in", ("peer", "state"), states
    )
    metrics.gauge(
        "peer_refreshes_waiting",
        "Publications and subscriptions that wait to be refreshed, since the server is back",
        ("peer",),
        lambda: {(p.name,): len(p.queue) for p in watched},
    )


def watch_agent(metrics: Metrics, agent: PresenceAgent) -> None:
    """What others have at the embedded presence agent."""

    def subscriptions() -> Sample:
        there = agent.notifier.subscriptions.values()
        return dict(Counter((one.package.name, one.state.value) for one in there))

    metrics.gauge(
        "agent_subscriptions", "Subscriptions at the agent", ("package", "state"), subscriptions
    )
    metrics.gauge(
        "agent_publications",
        "Publications at the agent",
        ("state",),
        lambda: {(LIVE,): len(agent.compositor.by_etag)},
    )
    metrics.gauge(
        "agent_presentities",
        "Presentities the agent holds something about",
        (),
        lambda: {(): len(agent.presentities)},
    )


def watch_destinations(
    metrics: Metrics, destinations: Callable[[], Iterable[Destinations]], now: Callable[[], float]
) -> None:
    """Destinations that are tried last, or not at all, because they failed lately."""

    def avoided() -> Sample:
        at = now()
        return {(): sum(a.until > at for d in destinations() for a in d.avoided.values())}

    metrics.gauge("sip_destinations_avoided", "SIP destinations avoided now", (), avoided)


def watch_connections(
    metrics: Metrics,
    connections: Callable[[], Iterable[tuple[str, int]]],
    certificates: Callable[[], Mapping[str, datetime]],
) -> None:
    """SIP's connections, as (transport, number), and until when its certificates are good."""

    def open_now() -> Sample:
        found: Counter[tuple[str, ...]] = Counter()
        for transport, number in connections():
            found[(transport,)] += number
        return {**found}

    metrics.gauge("sip_connections", "Open SIP connections", ("transport",), open_now)
    metrics.gauge(
        "sip_certificate_expires_timestamp_seconds",
        "When the certificates in use expire, by the key that names them",
        ("key",),
        lambda: {(key,): until.timestamp() for key, until in certificates().items()},
    )


def watch_webex(metrics: Metrics, watching: Watching) -> None:
    """What Webex-style clients watch."""

    def wishes() -> Sample:
        found: Counter[tuple[str, ...]] = Counter()
        for (_, _, kind), feed in watching.feeds.items():
            found[(kind,)] += len(feed.wishes)
        return {**found}

    metrics.gauge("webex_wishes", "Live handles, and leases of the plugin", ("kind",), wishes)
    metrics.gauge(
        "webex_contacts",
        "Presentities as a watcher sees them behind these",
        (),
        lambda: {(): sum(map(len, watching.contacts.values()))},
    )


def watch_bayeux(metrics: Metrics, server: BayeuxServer) -> None:
    """Sessions and traffic of the Bayeux server."""
    counters = server.counters
    metrics.gauge(
        "bayeux_sessions",
        "Bayeux sessions",
        ("transport",),
        lambda: {(name,): count for name, count in server.gauges().sessions.items()},
    )
    metrics.gauge(
        "bayeux_events",
        "Events since the start: published to channels, delivered to sessions",
        ("what",),
        lambda: {("published",): counters.published, ("delivered",): counters.delivered},
    )
    metrics.gauge(
        "bayeux_queue_high_water",
        "Most events ever queued for one session",
        (),
        lambda: {(): counters.high_water},
    )
    metrics.gauge(
        "bayeux_sessions_ended",
        "Sessions that ended since the start",
        ("reason",),
        lambda: {(reason,): count for reason, count in counters.ended.items()},
    )
    metrics.gauge(
        "bayeux_refused",
        "Bayeux operations refused since the start",
        ("operation",),
        lambda: {(operation,): count for operation, count in counters.refused.items()},
    )


def watch_bems(metrics: Metrics, remote: RemotePresence, lists: ContactLists) -> None:
    """Sessions with what they hold, and lists that are pulled."""
    metrics.gauge("bems_sessions", "BEMS sessions", (), lambda: {(): len(remote.sessions)})
    metrics.gauge(
        "bems_registrations",
        "Contacts that sessions are registered for",
        (),
        lambda: {(): sum(len(s.registrations) for s in remote.sessions.values())},
    )
    metrics.gauge(
        "bems_queued",
        "Messages that clients have not acknowledged",
        (),
        lambda: {(): sum(len(s.queue.messages) for s in remote.sessions.values())},
    )
    metrics.gauge(
        "bems_lists", "Lists of contacts that are pulled", (), lambda: {(): len(lists.lists)}
    )
