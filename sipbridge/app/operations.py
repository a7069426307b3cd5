"""The operations as the fronts see them: the gateway's, within each application's quotas.

Live subscriptions and running notifications are counted by the gateway's registry; a request that would add
one beyond the quota is refused. Publications are not refused but paced: what comes faster than the rate for
one presentity waits, at most one call at a time, and calls that arrive meanwhile are laid over it, the newest
value of each kind winning. All of them are answered by the one publication that goes out. Only a rate so low
that the wait would be longer than a client has patience is refused.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sipbridge.errors import QuotaExceeded
from sipbridge.gateway import Caller, Gateway, StartNotification
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.presentity import merge
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.rest.quotas import NO_LIMIT, Rate
from sipbridge.uri import Uri

PATIENCE = 5.0
"""Seconds a paced publication may wait."""
LATER = 60.0
"""What `Retry-After` says when only an end of something makes room."""

SUBSCRIPTIONS, CONTRACTS, PUBLISHES = "subscriptions", "contracts", "publishes-per-second"
"""The quotas' names in faults and metrics."""

Pair = tuple[str, PresentityKey]


@dataclass(slots=True)
class Waiting:
    """A publication that waits for its turn, with everything laid over it."""

    caller: Caller
    attributes: Sequence[Attribute]
    expires: int | None
    cleared: bool = False
    """Everything published before is to go first."""
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def lay_over(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None
    ) -> None:
        self.caller, self.expires = caller, expires
        self.cleared = self.cleared or not attributes
        self.attributes = merge(self.attributes, attributes) if attributes else ()


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of each application. 0, and the rate of no limit: as many as it likes."""

    subscriptions: int = 0
    contracts: int = 0
    publishes: Rate = NO_LIMIT


class Operations:
    """`rest.ocsg.Operations`, for every front."""

    def __init__(
        self,
        gateway: Gateway,
        identities: Identities,
        quotas: Quotas,
        exceeded: Callable[[str], None],
    ) -> None:
        self.gateway = gateway
        self.identities = identities
        self.quotas = quotas
        self.exceeded = exceeded
        self.waiting: dict[Pair, Waiting] = {}

        self.open_subscriptions = gateway.open_subscriptions
        self.my_watchers = gateway.my_watchers
        self.update_authorization = gateway.update_authorization
        self.block = gateway.block
        self.leave = gateway.leave
        self.end_notification = gateway.end_notification
        self.get_presence = gateway.get_presence
        self.is_stale = gateway.is_stale

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None:
        """Subscribe Presence. Asking again for what one has is always allowed."""
        registry, most = self.gateway.registry, self.quotas.subscriptions
        pair = (caller.key, self.identities.canonical(presentity))
        if registry.subscription(caller.application, pair) is None:
            check(SUBSCRIPTIONS, registry.live[caller.application], most)
        await self.gateway.subscribe(caller, presentity, attributes, reference, label)

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        """Start Presence Notification."""
        registry = self.gateway.registry
        check(CONTRACTS, registry.running[caller.application], self.quotas.contracts)
        return await self.gateway.start_notification(caller, wanted)

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None:
        """Publish, not faster than the quota."""
        pair = (caller.application, caller.key)
        waiting = self.waiting.get(pair)
        if waiting is not None:
            self.exceeded(PUBLISHES)
            waiting.lay_over(caller, attributes, expires)
            await asyncio.shield(waiting.done)
            return
        wait = self.quotas.publishes.take(pair)
        if not wait:
            await self.gateway.publish(caller, attributes, expires)
            return
        if wait > PATIENCE:
            raise QuotaExceeded(PUBLISHES, f"{caller.key} was published just now", retry_after=wait)
        await self.publish_later(pair, wait, Waiting(caller, attributes, expires, not attributes))

    async def publish_later(self, pair: Pair, wait: float, waiting: Waiting) -> None:
        self.exceeded(PUBLISHES)
        self.waiting[pair] = waiting
        try:
            try:
                while wait:
                    await asyncio.sleep(wait)
                    wait = self.quotas.publishes.take(pair)
            finally:
                del self.waiting[pair]
            if waiting.cleared and waiting.attributes:
                await self.gateway.publish(waiting.caller, ())
            await self.gateway.publish(waiting.caller, waiting.attributes, waiting.expires)
        except BaseException as error:
            waiting.done.set_exception(error)
            waiting.done.exception()  # seen: there may be nobody else
            raise
        waiting.done.set_result(None)


def check(quota: str, has: int, most: int) -> None:
    """Raises QuotaExceeded when there is no room for one more."""
    if most and has >= most:
        raise QuotaExceeded(quota, f"{has} {quota} are live already", retry_after=LATER)
