"""What applications publish, at presence servers: one publication for each application and presentity.

A call turns into a call of `events.publisher` and waits for the indication that answers it; later tries of
that machine tell nobody. Calls of one caller keep their order by the lock of its publication.

Entity-tags are kept for the next life of the bridge. A publication of an earlier life is taken up by whoever
publishes or removes it first, or as soon as its application may ask its server (`registrations.py`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from sipbridge.app.failures import failure
from sipbridge.app.registrations import Entry
from sipbridge.app.standing import Peer, Standing
from sipbridge.errors import RequestRejected, SignallingError, SipBridgeError
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Published, Publisher, PublishFailed, State, Unpublished
from sipbridge.gateway.caller import Caller
from sipbridge.identities import PresentityKey
from sipbridge.observability.logs import logger
from sipbridge.presence import pidf
from sipbridge.presence.model import Presence
from sipbridge.sip.policy import CAN_PUBLISH
from sipbridge.uri import Uri

log = logger("sipbridge.app")


@dataclass(slots=True)
class Publication:
    """One caller's publication; the lock keeps calls in their order."""

    key: tuple[str, PresentityKey]
    peer: Peer
    id: str = ""
    kept: str = ""
    """What is known of it from an earlier life, until it is taken up."""
    held: bool = False
    """The server has had it."""
    revision: int = 1
    """Of the body the caller waits for."""
    waiting: asyncio.Future[str] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def answer(self, etag: str) -> None:
        """Tell whoever waits that it is done."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(etag)

    def fail(self, error: SignallingError) -> None:
        """Tell whoever waits that it failed; a later try of the machine tells nobody."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)


class Publications:
    """All of them."""

    def __init__(
        self,
        publisher: Publisher,
        standing: Standing,
        *,
        turn: Callable[[], None],
        now: Callable[[], float],
        at: Callable[[], datetime],
        remember: Callable[[tuple[str, PresentityKey], str | None], None],
    ) -> None:
        self.publisher = publisher
        self.standing = standing
        self.turn = turn
        self.now = now
        self.at = at
        self.remember = remember
        self.by_caller: dict[tuple[str, PresentityKey], Publication] = {}
        self.by_application: dict[str, list[Publication]] = {}
        self.by_id: dict[str, Publication] = {}

    # --- asked by the gateway ---

    def of(self, caller: Caller) -> Publication:
        """The caller's publication, whether there is anything in it or not."""
        key = (caller.application, caller.key)
        found = self.by_caller.get(key)
        if found is None:
            found = Publication(key, self.standing.peer_of(caller.identity))
            self.by_caller[key] = found
            self.by_application.setdefault(caller.application, []).append(found)
        return found

    async def may_publish(self, caller: Caller) -> None:
        """See `gateway.ports`, also for the next two."""
        await self.standing.registered(caller, caller.identity, patient=True)

    async def publish(self, caller: Caller, document: Presence, expires: int | None = None) -> str:
        await self.standing.registered(caller, caller.identity)
        publication = self.take_up(caller)
        peer = publication.peer
        if CAN_PUBLISH not in peer.policy.capabilities:
            raise RequestRejected(489, "its presence server takes no publications", None)
        body = pidf.serialise(document, strict=peer.policy.strict_documents)
        waiting = asyncio.get_running_loop().create_future()
        publication.waiting = waiting
        if publication.id:
            publication.revision = self.publisher.modify(
                publication.id, PIDF, body, self.now(), trace=caller.trace
            )
        else:
            publication.revision = 1
            publication.id = self.publisher.publish(
                self.standing.identities.address(caller.identity),
                self.standing.identities.address(caller.identity),
                PRESENCE.name,
                PIDF,
                body,
                self.now(),
                expires=expires or peer.policy.expires,
                policy=self.standing.policy_for(caller.application, caller.identity),
                credentials=self.standing.credentials_for(caller.application, caller.identity),
                trace=caller.trace,
            )
            self.by_id[publication.id] = publication
            peer.used(self.now())
        self.turn()
        etag: str = await waiting
        return etag

    async def unpublish(self, caller: Caller) -> None:
        publication = self.take_up(caller, removed=True)
        if publication.id:
            publication.waiting = asyncio.get_running_loop().create_future()
            self.publisher.remove(publication.id, self.now(), trace=caller.trace)
            self.turn()
            await publication.waiting

    # --- told by the machine ---

    def published(self, said: Published) -> None:
        publication = self.by_id.get(said.publication)
        if publication is None:
            return
        publication.held = True
        self.keep_tag(publication)
        if said.revision >= publication.revision:
            publication.answer(said.etag)

    def unpublished(self, said: Unpublished) -> None:
        publication = self.by_id.pop(said.publication, None)
        if publication is None:
            return
        publication.id, publication.held = "", False
        self.remember(publication.key, None)
        publication.answer("")

    def failed(self, said: PublishFailed) -> None:
        publication = self.by_id.get(said.publication)
        if publication is None:
            return
        publication.fail(failure(said.status, said.reason, said.retry_after, said.tried))
        registrations = self.standing.registrations
        forbidden = said.status == 403 and publication.peer.register and publication.held
        if forbidden and registrations is not None:
            registrations.doubt(publication.key[0], publication.peer.policy)

    def keep_tag(self, publication: Publication) -> None:
        """Keep its entity-tag for the next life, or the server would show the old state beside ours.

        Our own agent forgets with us what we publish, so there is nothing to keep.
        """
        if publication.peer.embedded:
            return
        stored = {
            "at": self.at().isoformat(),
            "publication": self.publisher.snapshot(publication.id, self.now()),
        }
        self.remember(publication.key, orjson.dumps(stored).decode())

    # --- of an earlier life ---

    def keep(self, caller: Caller, text: str) -> None:
        """There is a publication of an earlier life: whoever publishes or removes it first takes it up."""
        self.of(caller).kept = text

    async def resume(self, caller: Caller, *, removed: bool) -> None:
        """Take it up as soon as the application may ask its server; removed: to take it back there.

        Raises SignallingError when the application may not ask any more.
        """
        await self.may_publish(caller)
        self.take_up(caller, removed=removed)
        self.turn()

    def take_up(self, caller: Caller, *, removed: bool = False) -> Publication:
        """The caller's publication; one of an earlier life lives from now on."""
        publication = self.of(caller)
        text, publication.kept = publication.kept, ""
        if not text:
            return publication
        try:
            stored = orjson.loads(text)
            elapsed = (self.at() - datetime.fromisoformat(stored["at"])).total_seconds()
            stored["publication"]["removal_asked"] = removed  # whatever was under way then
            publication.id = self.publisher.restore(
                stored["publication"],
                self.now(),
                elapsed=max(0.0, elapsed),
                policy=self.standing.policy_for(caller.application, caller.identity),
                credentials=self.standing.credentials_for(caller.application, caller.identity),
            )
        except (SipBridgeError, ValueError, KeyError, TypeError) as error:
            self.remember(publication.key, None)
            log.warning("publication.not-restored", presentity=caller.key, error=str(error))
            return publication
        publication.held = True
        self.by_id[publication.id] = publication
        publication.peer.used(self.now())
        return publication

    # --- registrations ---

    def moved(self, entry: Entry) -> None:
        """What lives already goes by the new policy, as far as it is at that server."""
        for publication in self.under(entry):
            application, presentity = publication.key
            policy = self.standing.policy_for(application, Uri.parse(presentity))
            self.publisher.follow(publication.id, policy)

    def restored(self, entry: Entry) -> None:
        """The network knows us again: what it had and then forbade goes out once more."""
        for publication in self.under(entry):
            known = self.publisher.publications.get(publication.id)
            if known is not None and known.state is State.FAILED and publication.held:
                self.publisher.modify(known.id, known.content_type, known.body, self.now())
        self.turn()

    def under(self, entry: Entry) -> list[Publication]:
        """What the applications of a registration publish."""
        return [p for a in entry.applications for p in self.by_application.get(a, ())]
