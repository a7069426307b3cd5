"""Webhooks put together: settings become limits, what they report becomes log lines and numbers.

A receiver that fails again and again says so once: the first failure after a success is a line, what is given
up is one. Both are limited, for applications cause them.
"""

from sipbridge.app.applications import Directory
from sipbridge.app.settings import Settings
from sipbridge.gateway.ports import Clock
from sipbridge.observability.logs import RateLimit, logger
from sipbridge.observability.metrics import Metrics
from sipbridge.store import Store
from sipbridge.webhooks.client import Client
from sipbridge.webhooks.delivery import Limits, Webhooks
from sipbridge.webhooks.indications import Delivered, Dropped, Postponed

KIND = "webhook"
"""Kind of the snapshots that keep how far each receiver is."""


class Reporter:
    """Takes what webhooks report."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self.metrics = metrics
        self.clock = clock
        self.log = logger("sipbridge.webhooks")
        self.limit = RateLimit()

    def tell(self, said: object) -> None:
        match said:
            case Delivered():
                self.metrics.count_webhook("delivered")
            case Postponed(application, origin, id, attempts, reason, delay):
                self.metrics.count_webhook("failed")
                if attempts == 1:
                    self.warn(
                        "webhook.failed",
                        application=application,
                        receiver=origin,
                        id=id,
                        reason=reason,
                        again_in=round(delay, 1),
                    )
            case Dropped(application, origin, count, reason):
                self.metrics.count_webhook("dropped", count)
                self.warn(
                    "webhook.dropped",
                    application=application,
                    receiver=origin,
                    count=count,
                    reason=reason,
                )

    def warn(self, event: str, **fields: object) -> None:
        left_out = self.limit.allow(event, self.clock.now())
        if left_out is not None:
            more = {"left_out_before": left_out} if left_out else {}
            self.log.warning(event, **fields, **more)


def make_webhooks(
    settings: Settings, store: Store, directory: Directory, clock: Clock, metrics: Metrics
) -> Webhooks:
    """The deliverer. What its readers may see is the gateway's affair, which is set later."""
    wanted = settings.webhooks
    client = Client(
        allow_private=wanted.allow_private,
        timeout=wanted.timeout,
        connections=wanted.concurrency,
    )
    limits = Limits(
        wanted.concurrency,
        wanted.per_application,
        wanted.max_attempts,
        wanted.max_age,
        settings.limits.log_entries,
        wanted.first_delay,
        wanted.longest_delay,
    )
    return Webhooks(
        directory.webhook_keys,
        client,
        clock,
        allow_private=wanted.allow_private,
        limits=limits,
        remember=lambda application, text: store.remember(KIND, application, text),
        tell=Reporter(metrics, clock).tell,
    )
