"""The BEMS fronts put together: sessions and lists over the gateway's observations, and who is woken by push.

The push itself is one POST to the URL of the configuration with the key and the token of the push channel
and no data. It is not repeated when it fails: the client comes by itself before long.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import orjson

from sipbridge.app.operations import SUBSCRIPTIONS, Operations, check
from sipbridge.app.settings import Settings
from sipbridge.gateway import Gateway
from sipbridge.gateway.contact_lists import ContactLists, ListLimits
from sipbridge.gateway.interests import Interests
from sipbridge.gateway.ports import Clock
from sipbridge.gateway.queues import Numbers
from sipbridge.gateway.remote_presence import RemoteLimits, RemotePresence
from sipbridge.gateway.waking import Push, Wakes
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping.table import Tables
from sipbridge.observability.logs import RateLimit, logger
from sipbridge.rest.bems_models import Words
from sipbridge.rest.bems_streams import Readers
from sipbridge.store import Store
from sipbridge.webhooks.client import Client
from sipbridge.webhooks.targets import Target

Spawn = Callable[[Coroutine[object, object, None]], None]
FRONT, LABEL = "bems", "BEMS"
TIMEOUT = 5.0
"""Seconds a push may take."""
CONNECTIONS = 4
MAX_WAITING = 1000
"""Pushes on their way; beyond it they are left out."""


@dataclass(slots=True)
class BemsSide:
    """What the BEMS fronts render, and what keeps it."""

    numbers: Numbers
    interests: Interests
    remote: RemotePresence
    lists: ContactLists
    readers: Readers
    waker: "Waker | None"

    async def load(self, allowed: Callable[[str, PresentityKey], bool]) -> None:
        """Take up sessions and lists of before; nothing is done yet."""
        await self.numbers.load()
        await self.remote.load(allowed)
        await self.lists.load(allowed)

    def resume(self) -> None:
        """Watch again for them; subscriptions of before that nobody wants any more end."""
        self.remote.resume()
        self.lists.resume()
        self.interests.tidy()

    def revoke(self, application: str) -> None:
        """What was opened with credentials that do not count any more ends."""
        self.remote.revoke(application)
        self.lists.revoke(application)

    async def retire(self, application: str, allowed: Callable[[PresentityKey], bool]) -> None:
        """End what an application holds for people it may not act as (`provisioning.Holdings`)."""
        self.remote.revoke(application, allowed)
        self.lists.revoke(application, allowed)

    async def purge(self, application: str) -> None:
        """Nothing is kept of an application whose sessions and lists have ended."""
        self.revoke(application)

    async def close(self) -> None:
        if self.waker is not None:
            await self.waker.close()


class Waker:
    """Sends pushes."""

    def __init__(self, url: str, clock: Clock, spawn: Spawn) -> None:
        self.target = Target.parse(url)
        self.client = Client(allow_private=True, timeout=TIMEOUT, connections=CONNECTIONS)
        self.clock = clock
        self.spawn = spawn
        self.waiting = 0
        self.log = logger("sipbridge.bems")
        self.limit = RateLimit()

    def push(self, token: str, key: str) -> None:
        if self.waiting < MAX_WAITING:
            self.waiting += 1
            self.spawn(self.send(orjson.dumps({"key": key, "token": token})))

    async def send(self, body: bytes) -> None:
        try:
            outcome = await self.client.post(self.target, (), body)
        finally:
            self.waiting -= 1
        if not outcome.delivered:
            left_out = self.limit.allow("bems.wake-failed", self.clock.now())
            if left_out is not None:
                self.log.warning("bems.wake-failed", reason=outcome.reason, left_out=left_out)

    async def close(self) -> None:
        await self.client.close()


def make_bems(
    settings: Settings,
    store: Store,
    clock: Clock,
    identities: Identities,
    gateway: Gateway,
    operations: Operations,
    tables: Tables,
    spawn: Spawn,
) -> BemsSide:
    """Sessions and lists, not loaded yet."""
    wanted, limits, registry = settings.bems, settings.limits, gateway.registry

    def admit(application: str) -> None:
        check(SUBSCRIPTIONS, registry.live[application], limits.max_subscriptions)

    waker = Waker(wanted.wake_url, clock, spawn) if wanted.wake_url else None
    push: Push | None = None if waker is None else waker.push
    wakes = Wakes(push, clock, gateway.deadlines, wanted.wake_interval)
    numbers = Numbers(store, clock)
    interests = Interests(gateway.observations, FRONT, LABEL, admit)
    remote = RemotePresence(
        registry,
        gateway.observations,
        interests,
        numbers,
        store,
        clock,
        identities,
        gateway.deadlines,
        tables,
        wakes,
        Words(wanted.change_method),
        operations.publish,
        spawn,
        RemoteLimits(wanted.session_timeout, wanted.queue_length, wanted.max_sessions),
    )
    lists = ContactLists(
        gateway.observations,
        interests,
        numbers,
        store,
        clock,
        identities,
        gateway.deadlines,
        tables,
        wakes,
        spawn,
        gateway.network.serves,
        ListLimits(wanted.lookup_expiry, wanted.max_contacts, wanted.max_sessions),
    )
    return BemsSide(numbers, interests, remote, lists, Readers(remote, wanted.hold), waker)
