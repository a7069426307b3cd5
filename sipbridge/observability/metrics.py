"""Prometheus metrics, counted in one place.

`Metrics.observe` takes every indication, of the cores and of `observability/indications.py`, and knows which
counter it moves; `tap_in` and `tap_out` count messages. What is there at the moment (subscriptions by state,
sessions) is counted when somebody asks, by walking over the machines, so it cannot drift away from the truth.

Label values are closed sets: methods, statuses, states, reasons and codes of ours. What a peer can make up
("reason" of a NOTIFY) becomes "other". Each `Metrics` has a registry of its own; two bridges in one process
do not share numbers.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from sipbridge.agent.admission import NotProven
from sipbridge.events import publisher, subscriber
from sipbridge.observability.counting import METHOD_NAMES, OTHER, MessageCounter
from sipbridge.observability.indications import (
    CallerUnknown,
    DocumentRefused,
    DocumentTolerated,
    NotifyHandled,
)
from sipbridge.sip import indications

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# A second series for every counter, that nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]
NOTIFY_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. An idle bridge needs less than half a millisecond; 100 ms is where people begin to notice."""
REASONS = frozenset(
    {"deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"}
    | {"expired", "no-notify"}
)
"""Why subscriptions end: RFC 6665 §4.1.3, and two words of `events/subscriber.py`."""
MEDIA_TYPES = frozenset(
    f"application/{name}+xml"
    for name in ("pidf", "pidf-diff", "cpim-pidf", "xpidf", "watcherinfo", "rlmi")
)

Sample = Mapping[tuple[str, ...], float]
"""Label values to number."""


class Gauges(Collector):
    """One gauge family whose samples are asked for when it is scraped."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Sample]
    ) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.read = read

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [GaugeMetricFamily(self.name, self.text, labels=self.labels)]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.read().items():
            family.add_metric(labels, value)
        return [family]


class Totals(Collector):
    """A counter that somebody else keeps; it is asked for when it is scraped."""

    def __init__(self, name: str, text: str, read: Callable[[], int]) -> None:
        self.name = name
        self.text = text
        self.read = read

    def describe(self) -> Iterable[CounterMetricFamily]:
        return [CounterMetricFamily(self.name, self.text)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        return [CounterMetricFamily(self.name, self.text, value=self.read())]


class Counts(Collector):
    """A counter family for what happens with every message: one addition, no lock; the loop alone counts."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.counted: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def describe(self) -> Iterable[CounterMetricFamily]:
        return [CounterMetricFamily(self.name, self.text, labels=self.labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, number in list(self.counted.items()):
            family.add_metric(labels, number)
        return [family]


class Metrics:
    """Counts what is reported to it; `render` is the answer of /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.gauge(
            "memory_blocks",
            "Blocks of memory that live Python objects hold: grows on and on only where something is kept",
            (),
            lambda: {(): sys.getallocatedblocks()},
        )
        counter = self.counter
        named = ("direction", "transport", "method", "status")
        self.messages = Counts("sipbridge_sip_messages", "SIP messages", named)
        self.registry.register(self.messages)
        self.refused = counter(
            "sip_messages_refused", "Bytes that were no acceptable message", "status"
        )
        self.answered = counter(
            "sip_answered_by_core", "Requests the core answered itself", "method", "status"
        )
        self.stray = counter("sip_stray_responses", "Responses that belong to no request of ours")
        self.timeouts = counter("sip_timeouts", "Requests that were never answered", "method")
        self.unreachable = counter(
            "sip_unreachable", "Requests that could not reach a destination", "method"
        )
        self.failovers = counter(
            "sip_failovers", "Requests that went on to another destination", "reason"
        )
        self.questions = counter("dns_questions", "Questions to DNS", "type", "outcome")
        self.dropped = counter(
            "sip_connections_dropped",
            "Connections refused or given up",
            "transport",
            "reason",
        )
        self.certificates = counter(
            "sip_certificate_changes", "Certificates changed on the disk", "outcome"
        )
        self.unproven = counter(
            "authentication_failures",
            "Requests that did not prove who calls",
            "interface",
            "reason",
        )
        self.limits = counter("sip_limits_reached", "Refusals because of a limit", "limit")
        labels = ("package", "state")
        self.notifications = Counts("sipbridge_sip_notifications", "NOTIFYs taken", labels)
        self.registry.register(self.notifications)
        self.ended = counter(
            "sip_subscriptions_ended", "Subscriptions of ours that ended", "reason", "will_retry"
        )
        self.not_accepted = counter(
            "sip_subscriptions_refused", "SUBSCRIBEs of ours refused", "status"
        )
        self.refresh_failed = counter(
            "sip_refresh_failures", "Refreshes of ours that failed for now", "status"
        )
        self.published = counter("sip_publications", "PUBLISHes of ours by outcome", "outcome")
        self.documents_refused = counter(
            "documents_refused", "Documents refused as a whole", "media_type"
        )
        self.deviations = counter("deviations", "Rules broken by documents that were read", "code")
        self.requests = counter(
            "http_requests", "Requests to RESTful Presence", "operation", "status"
        )
        self.request_children: dict[tuple[str, int], Counter] = {}
        self.bems = Counts(
            "sipbridge_bems_requests", "JSON-RPC requests of BEMS clients", ("method", "code")
        )
        self.registry.register(self.bems)
        self.webhooks = counter("webhooks", "Notifications to URLs, each attempt", "outcome")
        self.quotas = counter("quota_refusals", "Requests refused or paced by a quota", "quota")
        self.notify_seconds = Histogram(
            "sipbridge_notify_seconds",
            "From the arrival of a NOTIFY until its news is in the applications' queues",
            registry=self.registry,
            buckets=NOTIFY_BUCKETS,
        )
        self.messages_seen = MessageCounter(self.count_message)
        self.tap_in = self.messages_seen.tap_in
        self.tap_out = self.messages_seen.tap_out
        published = cache(self.published.labels)
        self.actions: dict[type, Callable[..., None]] = {
            indications.MessageRefused: self.message_refused,
            indications.RequestAnsweredByCore: self.answered_by_core,
            indications.StrayResponse: lambda said: self.stray.inc(),
            indications.RequestTimedOut: self.timed_out,
            indications.DestinationFailed: self.destination_failed,
            indications.LimitReached: lambda said: self.limits.labels(said.limit).inc(),
            indications.ConnectionDropped: lambda said: self.dropped.labels(
                said.protocol, said.reason
            ).inc(),
            indications.CertificateLoaded: lambda said: self.certificates.labels("loaded").inc(),
            indications.CertificateRefused: lambda said: self.certificates.labels("refused").inc(),
            subscriber.Notified: self.notified,
            subscriber.Terminated: self.terminated,
            subscriber.Refused: lambda said: self.not_accepted.labels(str(said.status)).inc(),
            subscriber.RefreshFailed: self.refresh_has_failed,
            publisher.Published: lambda said: published("accepted").inc(),
            publisher.PublishFailed: lambda said: published("failed").inc(),
            publisher.Unpublished: lambda said: published("removed").inc(),
            NotProven: lambda said: self.unproven.labels("sip", "refused").inc(),
            CallerUnknown: lambda said: self.unproven.labels(
                "http", "missing" if said.missing else "refused"
            ).inc(),
            DocumentRefused: self.document_refused,
            DocumentTolerated: self.document_tolerated,
            NotifyHandled: lambda said: self.notify_seconds.observe(said.seconds),
        }

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"sipbridge_{name}", text, labels, registry=self.registry)

    def gauge(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Sample]
    ) -> None:
        """A gauge `sipbridge_<name>` read at each scrape; `read` returns label values and numbers."""
        self.registry.register(Gauges(f"sipbridge_{name}", text, labels, read))

    def total(self, name: str, text: str, read: Callable[[], int]) -> None:
        """A counter `sipbridge_<name>_total` read at each scrape."""
        self.registry.register(Totals(f"sipbridge_{name}", text, read))

    def render(self) -> bytes:
        """Everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def observe(self, indication: object) -> None:
        """Count an indication; kinds that no metric is about are passed over."""
        action = self.actions.get(type(indication))
        if action is not None:
            action(indication)

    # --- one method for each kind that needs more than a label

    def count_message(self, direction: str, transport: str, method: str, status: str) -> None:
        self.messages.counted[direction, transport, method, status] += 1

    def count_request(self, operation: str, status: int) -> None:
        """One request to RESTful Presence; the operation is "" when it never became one."""
        key = (operation, status)
        child = self.request_children.get(key)
        if child is None:
            child = self.requests.labels(operation or "none", str(status))
            self.request_children[key] = child
        child.inc()

    def count_bems(self, method: str, code: int) -> None:
        """One JSON-RPC request; "" if it names no method of ours, and 0 if it was accepted."""
        self.bems.counted[method or "none", str(code)] += 1

    def count_quota(self, quota: str) -> None:
        self.quotas.labels(quota).inc()

    def count_webhook(self, outcome: str, count: int = 1) -> None:
        self.webhooks.labels(outcome).inc(count)

    def count_question(self, kind: str, outcome: str) -> None:
        self.questions.labels(kind, outcome).inc()

    def timed_out(self, said: indications.RequestTimedOut) -> None:
        self.timeouts.labels(said.method).inc()
        if said.next:
            self.failovers.labels("timeout").inc()

    def destination_failed(self, said: indications.DestinationFailed) -> None:
        self.unreachable.labels(said.method).inc()
        if said.next:
            self.failovers.labels("503" if said.error == "503" else "transport").inc()

    def message_refused(self, said: indications.MessageRefused) -> None:
        self.refused.labels(str(said.status_hint or "dropped")).inc()

    def answered_by_core(self, said: indications.RequestAnsweredByCore) -> None:
        method = METHOD_NAMES.get(said.method.encode(), OTHER)
        self.answered.labels(method, str(said.status)).inc()

    def notified(self, said: subscriber.Notified) -> None:
        state = said.state if said.state in ("active", "pending", "terminated") else OTHER
        self.notifications.counted[said.package, state] += 1

    def terminated(self, said: subscriber.Terminated) -> None:
        reason = said.reason if said.reason in REASONS else str(said.status or OTHER)
        self.ended.labels(reason, str(said.will_retry).lower()).inc()

    def refresh_has_failed(self, said: subscriber.RefreshFailed) -> None:
        self.refresh_failed.labels(str(said.status or "no answer")).inc()

    def document_refused(self, said: DocumentRefused) -> None:
        media_type = said.media_type if said.media_type in MEDIA_TYPES else OTHER
        self.documents_refused.labels(media_type).inc()

    def document_tolerated(self, said: DocumentTolerated) -> None:
        for code in said.codes:
            self.deviations.labels(code).inc()
