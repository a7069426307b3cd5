"""Keeps applications registered where the network demands it (`presence_server.register`).

An application whose own identity lives at such a server is registered there: when the bridge starts, in good
time again and again, and not any more when the bridge stops or the application goes. Two applications with
one identity share a registration, with the credentials of the first. Whatever the application asks of that
server waits for the registration, in the name of whomever it acts for; what the registrar tells
(Service-Route of RFC 3608, P-Associated-URI) is in the policy of every request from then on, also of
publications and subscriptions that live already.

A call waits `PATIENCE` seconds for the first answer; afterwards it is told that there is no registration.
What is resumed in the background waits as long as it takes. Where a publication or a subscription that the
server had is forbidden all of a sudden, the network may have forgotten the registration: it is renewed. What
was forbidden while there was none, or it was in doubt, is tried once more as soon as there is one. Call-ID
and CSeq are kept, so that a registrar that knew us before a crash sees the same registration again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from sipbridge.app.applications import Directory
from sipbridge.errors import LocalProtocolError, SipBridgeError, TransportFailed
from sipbridge.events.registration import (
    Registered,
    Registrant,
    RegistrationFailed,
    Unregistered,
)
from sipbridge.gateway.caller import Caller
from sipbridge.identities import PresentityKey
from sipbridge.observability.logs import logger
from sipbridge.sip.dialog import Json
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.uri import Uri

log = logger("sipbridge.app")

KIND = "registration"
"""Kind of the snapshots that keep Call-ID, CSeq, and how long there is a binding."""
PATIENCE = 5.0
"""Seconds a call waits for a registration that has not been answered yet, and the start of the bridge."""
DOUBT_EVERY = 600.0
"""Seconds between two doubts about one registration: a 403 may mean just what it says."""
STOP_SECONDS = 2.0
"""How long the end of the bridge waits for registrars; bindings they did not remove end by themselves."""
STOP_BATCH = 50
STOP_TICK = 0.01
"""So many registrations are removed in each tick: no burst that a server would drop."""

Spawn = Callable[[Coroutine[object, object, None]], None]


@dataclass(slots=True)
class Entry:
    """One registration. policy: of requests now; base: of REGISTER, and of all while there is no binding."""

    caller: Caller
    base: PeerPolicy
    credentials: Credentials | None
    policy: PeerPolicy
    applications: list[str] = field(default_factory=list)
    """Whose it is now."""
    id: str = ""
    """Of the machine; "" before its turn and after its end."""
    done: bool = False
    """The application is gone, or the bridge stops."""
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """There was an answer, or none came in time."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = "no answer yet"
    doubted: float | None = None
    """When it was last doubted."""
    in_doubt: bool = False


class Registrations:
    """All of them."""

    def __init__(
        self,
        registrant: Registrant,
        directory: Directory,
        policy_of: Callable[[Caller], PeerPolicy | None],
        *,
        turn: Callable[[], None],
        now: Callable[[], float],
        at: Callable[[], datetime],
        begun: Callable[[Caller], None],
        moved: Callable[[Entry], None],
        restored: Callable[[Entry], None],
        remember: Callable[[str, str | None], None],
        spawn: Spawn,
    ) -> None:
        """policy_of: of the server that wants an application registered, None where none does.

        begun: told when a registration of an application begins. moved: told when the policy of an entry has
        changed. restored: told when one that was not there, or in doubt, has been accepted.
        """
        self.registrant = registrant
        self.directory = directory
        self.policy_of = policy_of
        self.turn = turn
        self.now = now
        self.at = at
        self.begun = begun
        self.moved = moved
        self.restored = restored
        self.remember = remember
        self.spawn = spawn
        self.entries: dict[PresentityKey, Entry] = {}
        self.of_application: dict[str, Entry] = {}
        self.by_id: dict[str, Entry] = {}
        self.kept: dict[str, str] = {}
        self.running = False

    # --- who is registered ------------------------------------------------------------------------

    async def start(self, kept: Mapping[str, str]) -> None:
        """Register everybody. Returns when all have an answer, or after `PATIENCE` seconds."""
        self.kept = dict(kept)
        self.running = True
        self.follow()
        for key in [key for key in self.kept if key not in self.entries]:
            self.remember(key, None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for entry in list(self.entries.values()):
                    await entry.tried.wait()

    def follow(self) -> None:
        """The directory has changed: who is new is registered, who is gone is not any more."""
        if not self.running:
            return
        wanted = self.wanted()
        before, self.entries = self.entries, wanted
        for key, entry in before.items():
            if wanted.get(key) is not entry:
                self.drop(entry, replaced=key in wanted)
        for key, entry in wanted.items():
            if before.get(key) is not entry:
                self.spawn(self.begin(key, entry))

    def wanted(self) -> dict[PresentityKey, Entry]:
        """All that there have to be, those of before where nothing about them has changed."""
        wanted: dict[PresentityKey, Entry] = {}
        self.of_application.clear()
        for id, caller in self.directory.callers.items():
            base = self.policy_of(caller)
            if base is None or self.directory.applications[id].disabled:
                continue
            if caller.key not in wanted:
                credentials = self.directory.credentials.get(id)
                known = self.entries.get(caller.key)
                if known is None or (known.credentials, known.base) != (credentials, base):
                    known = Entry(caller, base, credentials, base)
                known.applications.clear()
                wanted[caller.key] = known
            wanted[caller.key].applications.append(id)
            self.of_application[id] = wanted[caller.key]
        return wanted

    async def begin(self, key: PresentityKey, entry: Entry) -> None:
        """Send the first REGISTER, when it is its turn."""
        if (delay := entry.base.wait(self.now())) > 0:
            await asyncio.sleep(delay)
        if entry.done:
            return
        stored = self.kept.pop(key, None)
        if stored is not None:
            try:
                entry.id = self.restore(entry, orjson.loads(stored))
            except (SipBridgeError, ValueError, TypeError) as error:
                log.warning("registration.not-restored", identity=key, error=str(error))
        if not entry.id:
            entry.id = self.registrant.register(
                self.directory.identities.address(entry.caller.identity),
                self.now(),
                policy=entry.base,
                credentials=entry.credentials,
            )
        self.by_id[entry.id] = entry
        self.begun(entry.caller)
        self.turn()

    def restore(self, entry: Entry, stored: Json) -> str:
        """Take up one of an earlier life. Raises LocalProtocolError, ValueError, TypeError: it is none."""
        if not isinstance(stored, dict):
            raise LocalProtocolError("not a snapshot of a registration")
        at = stored.get("at")
        kept_at = datetime.fromisoformat(at) if isinstance(at, str) else self.at()
        return self.registrant.restore(
            stored,
            self.now(),
            policy=entry.base,
            credentials=entry.credentials,
            elapsed=max(0.0, (self.at() - kept_at).total_seconds()),
        )

    def drop(self, entry: Entry, *, replaced: bool = False) -> None:
        """Take the binding away; a registration that replaces it needs it, and takes it over."""
        entry.done = True
        entry.registered.set()  # whoever waits looks again
        entry.tried.set()
        if not entry.id:
            entry.over.set()
        elif replaced:
            self.registrant.forget(entry.id)
            self.by_id.pop(entry.id, None)
            entry.over.set()
        else:
            self.registrant.remove(entry.id, self.now())
        self.turn()

    async def stop(self) -> None:
        """Nobody is registered any more; bounded in time."""
        self.running = False
        entries = list(self.entries.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                for number, entry in enumerate(entries, start=1):
                    self.drop(entry)
                    if number % STOP_BATCH == 0:
                        await asyncio.sleep(STOP_TICK)
                for entry in entries:
                    await entry.over.wait()

    # --- who asks ---------------------------------------------------------------------------------

    def policy(self, application: str, base: PeerPolicy) -> PeerPolicy:
        """How requests of an application to the server with this policy look now."""
        entry = self.of_application.get(application)
        return entry.policy if entry is not None and entry.base is base else base

    async def ready(self, application: str, base: PeerPolicy, *, patient: bool = False) -> None:
        """Returns when the application may ask this server. Raises SignallingError when it may not.

        patient: wait as long as it takes.
        """
        entry = self.of_application.get(application)
        while entry is not None and entry.base is base and not entry.registered.is_set():
            if not patient:
                await self.first_answer(entry)
                return
            await entry.registered.wait()
            before, entry = entry, self.of_application.get(application)
            if before.done and entry is None:
                raise TransportFailed("not registered at the presence server: not wanted any more")

    async def first_answer(self, entry: Entry) -> None:
        """Returns if it is registered. Raises TransportFailed when it is not, or not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await entry.tried.wait()
        if entry.done or not entry.registered.is_set():
            raise TransportFailed(f"not registered at the presence server: {entry.failure}")

    def whose(self, id: str) -> Uri | None:
        """The identity of a registration of the machine."""
        entry = self.by_id.get(id)
        return None if entry is None else entry.caller.identity

    def state_of(self, application: str) -> str:
        """ "registered", or why not; "" where no registration is wanted."""
        entry = self.of_application.get(application)
        if entry is None:
            return ""
        return "registered" if entry.registered.is_set() else entry.failure

    def all_registered(self) -> bool:
        """For readiness: does everybody have a binding?"""
        return all(entry.registered.is_set() for entry in self.entries.values())

    # --- indications ------------------------------------------------------------------------------

    def handle(self, said: object) -> None:
        """What the machine noticed."""
        match said:
            case Registered():
                self.registered(said)
            case RegistrationFailed():
                self.failed(said)
            case Unregistered():
                self.unregistered(said)

    def registered(self, said: Registered) -> None:
        entry = self.by_id.get(said.registration)
        if entry is None:
            return
        kept = {"at": self.at().isoformat(), **self.registrant.snapshot(entry.id, self.now())}
        self.remember(entry.caller.key, orjson.dumps(kept).decode())
        self.move(entry, entry.base.registered(said.service_route, said.path, said.associated))
        news = entry.in_doubt or not entry.registered.is_set()
        entry.registered.set()
        entry.tried.set()
        entry.in_doubt = False
        if news:
            self.restored(entry)

    def doubt(self, application: str, base: PeerPolicy) -> bool:
        """The server with this policy has forbidden something: it may have forgotten a registration.

        True: it is lost, or in doubt now, so `restored` may follow. False: the 403 means what it says.
        """
        entry, now = self.of_application.get(application), self.now()
        if entry is None or not entry.id or entry.base is not base:
            return False
        if not entry.registered.is_set() or entry.in_doubt:
            return True
        if entry.doubted is not None and now - entry.doubted < DOUBT_EVERY:
            return False
        entry.doubted, entry.in_doubt = now, True
        self.registrant.refresh(entry.id, now)
        self.turn()
        return True

    def failed(self, said: RegistrationFailed) -> None:
        entry = self.by_id.get(said.registration)
        if entry is None:
            return
        entry.failure = f"{said.status} {said.reason}" if said.status is not None else said.reason
        entry.tried.set()
        if said.lost:
            entry.registered.clear()
            self.move(entry, entry.base)

    def unregistered(self, said: Unregistered) -> None:
        entry = self.by_id.pop(said.registration, None)
        if entry is not None:
            entry.id = ""
            if self.entries.get(entry.caller.key) in (entry, None):
                self.remember(entry.caller.key, None)
            entry.over.set()

    def move(self, entry: Entry, policy: PeerPolicy) -> None:
        if entry.policy != policy:
            entry.policy = policy
            self.moved(entry)
