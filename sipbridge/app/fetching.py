"""Asking a presence server once: a fetch SUBSCRIBE and the one NOTIFY that answers it (RFC 6665 §4.4.3).

Who polls a presentity that no living subscription shows waits here for the answer, but not longer than told.
A presence server answers a fetch with `terminated`, the state in the body; one that only knows subscriptions
gets a short one. Either way a body means that it is shown to us, be it one that says nothing.

Whoever asks for a pair (watcher, presentity) while the same question is on its way waits for that answer, so
that polls cost the server one question in each time an answer takes, however many come.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sipbridge.app.placeholders import is_placeholder
from sipbridge.errors import DocumentError
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.subscriber import Notified, Refused, Subscriber, Terminated
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import PresenceUpdate
from sipbridge.identities import PresentityKey
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import read
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.uri import Uri


@dataclass(slots=True)
class Asked:
    """A question, and how many wait for its answer. policy: of the server that is asked."""

    id: str
    watcher: PresentityKey
    presentity: PresentityKey
    policy: PeerPolicy
    since: float
    answer: asyncio.Future[PresenceUpdate | None]
    waiting: int = 0


class Fetches:
    """All fetches on their way."""

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        turn: Callable[[], None],
        now: Callable[[], float],
        refused: Callable[[DocumentError, str, str], None],
    ) -> None:
        self.subscriber = subscriber
        self.turn = turn
        self.now = now
        self.refused = refused
        self.asked: dict[str, Asked] = {}
        """By the id of their subscription, as long as somebody waits."""
        self.newest: dict[tuple[PresentityKey, PresentityKey], Asked] = {}
        """By watcher and presentity, those without an answer."""

    async def ask(
        self,
        caller: Caller,
        presentity: Uri,
        key: PresentityKey,
        policy: PeerPolicy,
        credentials: Credentials | None,
        wait: float,
    ) -> PresenceUpdate | None:
        """The state as it is now; None if nothing comes within `wait` seconds or it is refused."""
        asked = self.newest.get((caller.key, key))
        if asked is None or self.now() - asked.since >= wait:
            asked = self.begin(caller, presentity, key, policy, credentials)
        asked.waiting += 1
        try:
            async with asyncio.timeout(wait):
                return await asyncio.shield(asked.answer)
        except TimeoutError:
            return None
        finally:
            asked.waiting -= 1
            if not asked.waiting:
                del self.asked[asked.id]
                self.settle(asked)

    def begin(
        self,
        caller: Caller,
        presentity: Uri,
        key: PresentityKey,
        policy: PeerPolicy,
        credentials: Credentials | None,
    ) -> Asked:
        id = self.subscriber.fetch(
            presentity,
            caller.identity,
            PRESENCE.name,
            self.now(),
            policy=policy,
            credentials=credentials,
            trace=caller.trace,
        )
        answer: asyncio.Future[PresenceUpdate | None] = asyncio.get_running_loop().create_future()
        asked = Asked(id, caller.key, key, policy, self.now(), answer)
        self.asked[id] = self.newest[caller.key, key] = asked
        self.turn()
        return asked

    def settle(self, asked: Asked) -> None:
        """Nobody else joins this question."""
        pair = (asked.watcher, asked.presentity)
        if self.newest.get(pair) is asked:
            del self.newest[pair]

    def handle(self, said: object) -> None:
        """An indication of the subscriber; those of living subscriptions are passed over."""
        if not self.asked or not isinstance(said, Notified | Refused | Terminated):
            return
        asked = self.asked.get(said.subscription)
        if asked is None or asked.answer.done():
            return
        update = self.update(asked, said) if isinstance(said, Notified) else None
        if update is not None or not isinstance(said, Notified):
            asked.answer.set_result(update)
            self.settle(asked)

    def update(self, asked: Asked, said: Notified) -> PresenceUpdate | None:
        """What a NOTIFY says; None if it is not the answer yet, or none."""
        document = None
        if said.body:
            try:
                document = read(said.body, said.content_type)
            except DocumentError as error:
                self.refused(error, said.content_type, said.trace)
        if not isinstance(document, Presence) and said.state != "pending":
            return None
        says = isinstance(document, Presence) and not is_placeholder(document, asked.policy)
        return PresenceUpdate(
            asked.watcher,
            asked.presentity,
            "pending" if said.state == "pending" else "active",
            "",
            document if isinstance(document, Presence) and says else None,
            said.trace,
        )
