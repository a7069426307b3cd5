"""Asking a presence server once: a fetch SUBSCRIBE and the one NOTIFY that answers it (RFC 6665 §4.4.3).

Who polls a presentity that no living subscription shows waits here for the answer, but not longer than told.
A presence server answers a fetch with `terminated`, the state in the body; one that only knows subscriptions
gets a short one. Either way a body means that it is shown to us, be it one that says nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Asked:
    """Who waits for which answer. policy: of the server that is asked."""

    watcher: PresentityKey
    presentity: PresentityKey
    policy: PeerPolicy
    answer: asyncio.Future[PresenceUpdate | None]


class Fetches:
    """All fetches on their way, by the id of their subscription."""

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        turn: Callable[[], None],
        now: Callable[[], float],
        at: Callable[[], datetime],
        refused: Callable[[DocumentError, str, str], None],
    ) -> None:
        self.subscriber = subscriber
        self.turn = turn
        self.now = now
        self.at = at
        self.refused = refused
        self.asked: dict[str, Asked] = {}

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
        answer: asyncio.Future[PresenceUpdate | None] = asyncio.get_running_loop().create_future()
        id = self.subscriber.fetch(
            presentity,
            caller.identity,
            PRESENCE.name,
            self.now(),
            policy=policy,
            credentials=credentials,
            trace=caller.trace,
        )
        self.asked[id] = Asked(caller.key, key, policy, answer)
        self.turn()
        try:
            async with asyncio.timeout(wait):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self.asked[id]

    def handle(self, said: object) -> None:
        """An indication of the subscriber; those of living subscriptions are passed over."""
        if not isinstance(said, Notified | Refused | Terminated):
            return
        asked = self.asked.get(said.subscription)
        if asked is None or asked.answer.done():
            return
        update = self.update(asked, said) if isinstance(said, Notified) else None
        if update is not None or not isinstance(said, Notified):
            asked.answer.set_result(update)

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
            said.received,
            self.at(),
            said.trace,
            said.call_id,
        )
