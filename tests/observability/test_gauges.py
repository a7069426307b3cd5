"""Gauges show what the machines hold at the moment of asking."""

from datetime import UTC, datetime, timedelta

import pytest

from sipbridge.agent.presence_agent import PresenceAgent
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.values import Settings
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.identities import NormalisingIdentities
from sipbridge.observability import gauges
from sipbridge.observability.metrics import Metrics
from sipbridge.presence.rules import SubHandling
from sipbridge.sip.indications import LimitReached
from sipbridge.sip.policy import PeerPolicy
from sipbridge.transports.backlog import CROWDED, Backlog
from sipbridge.uri import Uri
from tests.harness.pair import BOB, Pair

TO_BOB = PeerPolicy(next_hops=(f"sip:{BOB[0]}:{BOB[1]}",))
ALICE_URI = Uri.parse("sip:alice@example.com")
BODY = (
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:alice@example.com">'
    b'<tuple id="t"><status><basic>open</basic></status></tuple></presence>'
)


def value(metrics: Metrics, sample: str) -> float | None:
    for line in metrics.render().decode().splitlines():
        name, _, number = line.rpartition(" ")
        if name == f"sipbridge_{sample}":
            return float(number)
    return None


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_both_sides_of_a_conversation_are_counted(pair: Pair) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    agent = PresenceAgent(
        pair.bob,
        domain="example.com",
        identities=NormalisingIdentities(),
        rules=lambda key: None,
        sub_handling=SubHandling.ALLOW,
        wall=lambda now: start + timedelta(seconds=now),
    )
    packages = {PRESENCE.name: PRESENCE}
    subscriber, publisher = Subscriber(pair.alice, packages), Publisher(pair.alice, packages)
    metrics = Metrics()
    gauges.watch_client(metrics, subscriber, publisher, lambda: pair.now)
    gauges.watch_agent(metrics, agent)
    active = 'subscriptions{package="presence",state="active"}'
    assert value(metrics, active) is None
    subscriber.subscribe(ALICE_URI, ALICE_URI, "presence", pair.now, policy=TO_BOB)
    publisher.publish(ALICE_URI, ALICE_URI, "presence", PIDF, BODY, pair.now, policy=TO_BOB)
    pair.turn()
    assert value(metrics, active) == 1
    assert value(metrics, f"agent_{active}") == 1
    assert value(metrics, 'agent_publications{state="live"}') == 1
    assert value(metrics, "agent_presentities") == 1
    assert value(metrics, "oldest_overdue_refresh_seconds") == 0
    pair.refused.add(("udp", BOB))
    pair.refused.add(("tcp", BOB))
    pair.pass_seconds(3700)
    overdue = value(metrics, "oldest_overdue_refresh_seconds")
    assert overdue is not None
    assert 0 < overdue <= 100


def test_bayeux_numbers_are_shown() -> None:
    server = BayeuxServer(Settings(), lambda: "token")
    metrics = Metrics()
    gauges.watch_bayeux(metrics, server)
    assert value(metrics, 'bayeux_sessions{transport="websocket"}') == 0
    server.counters.published = 3
    server.counters.ended["expired"] += 1
    assert value(metrics, 'bayeux_events{what="published"}') == 3
    assert value(metrics, 'bayeux_sessions_ended{reason="expired"}') == 1


def test_connections_and_certificates_are_shown() -> None:
    metrics = Metrics()
    until = datetime(2027, 1, 1, tzinfo=UTC)
    gauges.watch_connections(
        metrics,
        lambda: [("tls", 2), ("wss", 1), ("tls", 3)],
        lambda: {"sip.tls.cert": until},
    )
    assert value(metrics, 'sip_connections{transport="tls"}') == 5
    assert value(metrics, 'sip_connections{transport="wss"}') == 1
    sample = 'sip_certificate_expires_timestamp_seconds{key="sip.tls.cert"}'
    assert value(metrics, sample) == until.timestamp()


def test_what_nobody_had_time_to_hear_is_counted() -> None:
    metrics = Metrics()
    backlog = Backlog()
    gauges.watch_backlogs(metrics, lambda: len(backlog), lambda: backlog.overtaken)
    assert (value(metrics, "backlog"), value(metrics, "backlog_overtaken_total")) == (0.0, 0.0)
    for n in range(CROWDED + 3):
        backlog.add(LimitReached("l", f"{min(n, CROWDED - 1)}"))
    assert value(metrics, "backlog") == CROWDED
    assert value(metrics, "backlog_overtaken_total") == 3.0
