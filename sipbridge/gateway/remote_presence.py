"""Remote presence for clients that sign in: sessions, temporary registrations, deferred answers.

A client begins a session, registers for contacts, sets its own status, asks for others'. Each request is
accepted at once and answered later: its result is a message in the session's queue (`mailbox.py`), numbered,
and kept until the client has acknowledged it. A contact whose state changes makes a message that answers
nobody. What a message looks like is the front's affair (`wording.py`); what it says is decided here, by the
same subscriptions, decisions and filters as at every other front (`observations.py`).

    accept ──> row on disk ──> PROCESSING (the front) ──> perform ──> completed or failed, a message
    presence changed ──> derive ──> another status than was told ──> a message

Requests are performed at the same time, but: publications of one person one after another
(`own_status.py`); a request that depends on others when these are complete, and not at all if one failed.
What was accepted and not performed when the process ended is performed in the next life.

A registration lasts until it is taken back, or its session ends: by the client, by silence longer than the
timeout, or because the application lost its credentials. A session that was terminated keeps its queue for
a moment, for the answer to that very request is in it.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import orjson

from sipbridge.errors import (
    ActionPending,
    AgainstPolicy,
    DependencyFailed,
    InvalidValue,
    QuotaExceeded,
    SessionOver,
    SipBridgeError,
)
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.interests import Allowed, Interests, nobody
from sipbridge.gateway.mailbox import Mailbox
from sipbridge.gateway.observations import Observations, Sight, Standing
from sipbridge.gateway.own_status import OwnStatus, Publishes
from sipbridge.gateway.ports import Clock, Keeper
from sipbridge.gateway.queues import Message, Numbers, Queue
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.gateway.sessions import (
    MESSAGE,
    REGISTRATION,
    REQUEST,
    SESSION,
    Operation,
    Registration,
    Request,
    Rows,
    Session,
    read_registration,
    read_request,
)
from sipbridge.gateway.surveys import Survey
from sipbridge.gateway.waking import Wakes
from sipbridge.gateway.wording import Contact, Data, Wording
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping import bems
from sipbridge.mapping.bems import BemsPresence
from sipbridge.mapping.table import Tables
from sipbridge.uri import Uri

MAX_REGISTRATIONS = 10_000
"""Contacts of one session: a few times the largest company directory somebody looks at."""
GRACE = 60.0
"""Seconds a terminated session may still be asked for its last messages."""
MAX_PENDING = 1000
"""Requests of one session in progress: ten full batches."""
STEPS = 20
"""How often the end of a session is written down in the time it may be silent."""

Spawn = Callable[[Coroutine[object, object, None]], None]


@dataclass(frozen=True, slots=True)
class RemoteLimits:
    """timeout: seconds a session may be silent. queue: messages kept for it. sessions: of one application."""

    timeout: float = 86400.0
    queue: int = 1000
    sessions: int = 10_000


class RemotePresence:
    """All sessions."""

    def __init__(
        self,
        registry: Registry,
        observations: Observations,
        interests: Interests,
        numbers: Numbers,
        keeper: Keeper,
        clock: Clock,
        identities: Identities,
        deadlines: Deadlines,
        tables: Tables,
        wakes: Wakes,
        wording: Wording,
        publish: Publishes,
        spawn: Spawn,
        limits: RemoteLimits = RemoteLimits(),
    ) -> None:
        self.registry = registry
        self.observations = observations
        self.interests = interests
        self.numbers = numbers
        self.keeper = keeper
        self.rows = Rows(keeper)
        self.clock = clock
        self.identities = identities
        self.deadlines = deadlines
        self.tables = tables
        self.wakes = wakes
        self.wording = wording
        self.spawn = spawn
        self.limits = limits
        self.sessions: dict[str, Session] = {}
        self.live: Counter[str] = Counter()
        """Sessions of each application."""
        self.registered: dict[Pair, dict[str, Session]] = {}
        """Sessions that registered for the pair's presentity, by token."""
        self.own = OwnStatus(registry, clock, publish, spawn)
        self.mail = Mailbox(numbers, keeper, self.rows, clock, wakes, wording, spawn)
        self.post, self.read = self.mail.post, self.mail.read
        self.acknowledge = self.mail.acknowledge
        interests.ears.append(self.changed)
        self.operations = {
            Operation.BEGIN: self.begun,
            Operation.PING: self.ping,
            Operation.REGISTER: self.register,
            Operation.UNREGISTER: self.unregister,
            Operation.SET: self.set_presence,
        }

    # --- sessions ---

    async def begin(
        self, caller: Caller, token: str, *, chosen: bool, reconnect: bool, push: str = ""
    ) -> Session:
        """A session for this device; with `reconnect` the one there is goes on, with all it has.

        Durable when this returns. Raises AgainstPolicy (the device is another application's), QuotaExceeded,
        StoreError.
        """
        before = self.sessions.get(token)
        if before is not None and before.caller.application != caller.application:
            raise AgainstPolicy("the device has a session elsewhere", rule="device")
        if before is not None:
            if reconnect and not before.over and before.caller.key == caller.key:
                before.push = push or before.push
                self.reconnect(before)
                await self.keep(before)
                return before
            self.end(before)
        mine = self.live[caller.application]
        if mine >= self.limits.sessions:
            raise QuotaExceeded("sessions", f"{mine} sessions are live", retry_after=60.0)
        session = Session(
            token, caller, Queue(self.limits.queue, lambda sequence: None), chosen, push
        )
        self.admit(session)
        self.use(session)
        try:
            await self.keep(session)
        except BaseException:
            self.end(session)
            raise
        return session

    def admit(self, session: Session) -> None:
        session.queue.gone = lambda sequence: self.rows.put(
            MESSAGE, session, f"{sequence:016d}", None
        )
        self.sessions[session.token] = session
        self.live[session.caller.application] += 1

    async def keep(self, session: Session) -> None:
        session.noted = session.ends
        await self.keeper.save_snapshot(*self.rows.session(session, self.clock))

    def find(self, token: str) -> Session:
        """The session of a device. Raises SessionOver."""
        session = self.sessions.get(token)
        if session is None or (not session.over and session.ends <= self.clock.now()):
            raise SessionOver("there is no session, or it was silent too long")
        return session

    def use(self, session: Session) -> None:
        """The client is there: the session lives on."""
        if session.over:
            return
        session.ends = self.clock.now() + self.limits.timeout
        if session.ends - session.noted > self.limits.timeout / STEPS:
            session.noted = session.ends
            self.keeper.remember(*self.rows.session(session, self.clock))
        if ("bems-session", session.token) not in self.deadlines.current:
            self.watch_end(session)

    def watch_end(self, session: Session) -> None:
        self.deadlines.arm(
            ("bems-session", session.token), session.ends, lambda: self.look(session)
        )

    def look(self, session: Session) -> None:
        """Was it silent too long?"""
        if self.sessions.get(session.token) is not session:
            return
        if session.over or session.ends <= self.clock.now():
            self.end(session)
        else:
            self.watch_end(session)

    def reconnect(self, session: Session) -> None:
        """The client has come back: whoever reads begins again with what is not acknowledged."""
        session.revision += 1
        self.use(session)
        session.wake()

    def end(self, session: Session) -> None:
        """The session is over, and everything of it goes."""
        self.close(session)
        self.deadlines.cancel(("bems-session", session.token))
        if self.sessions.get(session.token) is session:
            del self.sessions[session.token]
            self.live[session.caller.application] -= 1
        session.wake()

    def close(self, session: Session) -> None:
        """Registrations end and nothing is kept any more; the queue stays as it is."""
        if not session.over:
            self.rows.drop(session)
        session.over = True
        session.queue.gone = lambda sequence: None
        for registration in list(session.registrations.values()):
            self.leave(session, registration)
        session.registrations.clear()
        self.wakes.forget(session.token)

    def revoke(self, application: str, allowed: Allowed = nobody) -> None:
        """An application may not call any more, or only as those that are allowed."""
        for session in list(self.sessions.values()):
            caller = session.caller
            if caller.application == application and not allowed(caller.key):
                self.end(session)

    # --- requests ---

    async def accept(self, session: Session, requests: Sequence[Request]) -> None:
        """Requests of one batch, each to be answered by a message. They are on disk when this returns.

        Raises StoreError. A request whose id is in progress has to be refused before (`check`).
        """
        if session.over:
            raise SessionOver("the session was terminated")
        self.use(session)
        for request in requests:
            session.pending[str(request.id)] = request
        rows = [self.rows.request(session, r) for r in requests if r.operation in LASTING]
        for row in rows[:-1]:
            self.keeper.remember(*row)
        try:
            if rows:
                await self.keeper.save_snapshot(*rows[-1])
        except BaseException:
            for request in requests:  # refused, so not to be performed later either
                session.pending.pop(str(request.id), None)
                self.rows.put(REQUEST, session, str(request.id), None)
            raise
        # The end of the session comes last, wherever it stands.
        self.start(session, sorted(requests, key=lambda r: r.operation is Operation.TERMINATE))
        if session.over:  # so said at once, and so it is
            await self.keeper.delete_snapshot(SESSION, session.token)

    def check(self, session: Session, request: Request) -> None:
        """Raises ActionPending when this id is in progress, QuotaExceeded when too many are."""
        if len(session.pending) >= MAX_PENDING:
            raise QuotaExceeded("requests", f"{MAX_PENDING} are in progress", retry_after=1.0)
        if str(request.id) in session.pending:
            raise ActionPending(f"request {request.id} is in progress")

    def start(self, session: Session, requests: Iterable[Request]) -> None:
        """Perform those that wait for nobody."""
        for request in requests:
            id = str(request.id)
            if id not in session.pending or id in session.started:
                continue
            if not any(other in session.pending for other in request.depends):
                session.started.add(id)
                self.go(session, request)

    def go(self, session: Session, request: Request) -> None:
        match request.operation:
            case Operation.TERMINATE:
                self.terminate(session, request)
            case Operation.STATES:
                self.survey(session, request)
            case Operation.SET:
                self.own.in_turn(session.caller, partial(self.perform, session, request))
            case Operation.BEGIN if request.presence or request.message is not None:
                self.own.in_turn(session.caller, partial(self.perform, session, request))
            case _:
                self.spawn(self.perform(session, request))

    async def perform(self, session: Session, request: Request) -> None:
        try:
            data = await self.operations[request.operation](session, request)
        except SipBridgeError as error:
            self.fail(session, request, error)
        except Exception as error:
            self.fail(session, request, error)
            raise
        else:
            self.complete(session, request, data)

    def complete(self, session: Session, request: Request, data: Data) -> None:
        """The deferred answer, and what depended on it."""
        if session.over:
            return
        self.post(session, lambda number: self.wording.completed(number, request, data))
        self.settle(session, request)
        if request.operation is Operation.REGISTER:
            self.first_news(session, request)

    def fail(self, session: Session, request: Request, error: Exception) -> None:
        """The deferred answer of a request that failed; those that depended on it fail too."""
        if session.over:
            return
        self.post(session, lambda number: self.wording.failed(number, request, error))
        id = str(request.id)
        session.failed.add(id)
        self.settle(session, request)
        session.failed.discard(id)

    def settle(self, session: Session, request: Request) -> None:
        """A request is over; look again at those that waited for it."""
        id = str(request.id)
        session.pending.pop(id, None)
        session.started.discard(id)
        if request.operation in LASTING:
            self.rows.put(REQUEST, session, id, None)
        for waiting in [r for r in session.pending.values() if id in r.depends]:
            if str(waiting.id) not in session.pending:
                continue  # one that was settled just now was the last one it waited for
            if id in session.failed:
                self.fail(session, waiting, DependencyFailed(f"request {id} failed"))
            else:
                self.start(session, [waiting])

    # --- operations ---

    async def begun(self, session: Session, request: Request) -> Data:
        if request.presence or request.message is not None:
            await self.own.set(session.caller, request)
        return {"sessionTimeout": round(self.limits.timeout), "userId": self.user(session)}

    async def ping(self, session: Session, request: Request) -> Data:
        return {"sessionTimeout": round(self.limits.timeout)}

    async def set_presence(self, session: Session, request: Request) -> Data:
        await self.own.set(session.caller, request)
        return {}

    async def register(self, session: Session, request: Request) -> Data:
        """The contact's changes come from now on."""
        (contact,) = request.contacts
        uri = self.uri_of(contact)
        key = self.identities.canonical(uri)
        registration = session.registrations.get(key)
        if registration is None:
            if len(session.registrations) >= MAX_REGISTRATIONS:
                raise QuotaExceeded(
                    "registrations", f"{MAX_REGISTRATIONS} are live", retry_after=60.0
                )
            registration = session.registrations[key] = Registration(contact, uri, key)
        registration.contact = contact
        pair = (session.caller.key, key)
        try:
            await self.interests.begin(session.token, session.caller, uri)
        except BaseException:
            if not registration.ready and session.registrations.get(key) is registration:
                del session.registrations[key]
            raise
        if session.registrations.get(key) is not registration:  # taken back meanwhile
            self.interests.end(session.token, session.caller.application, pair)
            return {}
        registration.ready = True
        self.registered.setdefault(pair, {})[session.token] = session
        self.rows.registration(session, registration)
        return {}

    def first_news(self, session: Session, request: Request) -> None:
        key = self.identities.canonical(self.uri_of(request.contacts[0]))
        registration = session.registrations.get(key)
        if registration is not None and registration.ready:
            state = self.state((session.caller.key, key))
            if state is not None:
                self.offer(session, registration, state)

    async def unregister(self, session: Session, request: Request) -> Data:
        for contact in request.contacts:
            key = self.identities.canonical(self.uri_of(contact))
            registration = session.registrations.pop(key, None)
            if registration is not None:
                self.leave(session, registration)
                self.rows.put(REGISTRATION, session, key, None)
        return {"message": ""}

    def leave(self, session: Session, registration: Registration) -> None:
        pair = (session.caller.key, registration.key)
        sessions = self.registered.get(pair, {})
        sessions.pop(session.token, None)
        if not sessions:
            self.registered.pop(pair, None)
            self.deadlines.cancel(("bems", pair))
        self.interests.end(session.token, session.caller.application, pair)

    def terminate(self, session: Session, request: Request) -> None:
        """The session is over; what it still has to say can be fetched for a moment."""
        self.complete(session, request, {})
        self.close(session)
        session.ends = self.clock.now() + GRACE
        self.watch_end(session)
        session.wake()

    def survey(self, session: Session, request: Request) -> None:
        """The state of many contacts, asked once."""

        def answer(found: list[Contact]) -> None:
            contacts = [self.wording.contact(contact) for contact in found]
            self.complete(session, request, {"userId": self.user(session), "contacts": contacts})

        look = partial(self.look_at, session.caller)
        Survey(request.contacts, look, answer, self.spawn).begin()

    def uri_of(self, contact: str) -> Uri:
        """The address of a contact. Raises InvalidValue."""
        uri = self.identities.contact(contact.strip())
        if uri is None:
            raise InvalidValue(f"{contact[:80]!r} is no address", part="contactId")
        return uri

    def user(self, session: Session) -> str:
        return str(session.caller.identity)

    # --- contacts ---

    def is_stale(self, session: Session) -> bool:
        """May what is known of somebody it has registered for be old?"""
        who = session.caller.key
        return any(self.observations.is_stale((who, key)) for key in session.registrations)

    def changed(self, pair: Pair, trace: str = "") -> None:
        """What this watcher may see of that contact may be something else now."""
        sessions = self.registered.get(pair)
        if not sessions:
            return
        state = self.state(pair)
        if state is None:
            return
        for session in list(sessions.values()):
            registration = session.registrations.get(pair[1])
            if registration is not None and registration.ready:
                self.offer(session, registration, state)

    def offer(self, session: Session, registration: Registration, state: BemsPresence) -> None:
        """Tell a session, if it is news to it."""
        if state != registration.told:
            registration.told = state
            contacts = [Contact(registration.contact, state)]
            self.post(session, lambda number: self.wording.changed(number, contacts))
            self.rows.registration(session, registration)

    def state(self, pair: Pair) -> BemsPresence | None:
        """The status to be told, and the clock set for when it changes by itself; None: nothing is known."""
        sight = self.observations.sight(pair)
        if sight is None:
            return None
        at = self.clock.at()
        state, soon = derived(sight, at, self.tables)
        self.deadlines.arm(
            ("bems", pair),
            None if soon is None else self.clock.now() + (soon - at).total_seconds(),
            lambda: self.changed(pair),
        )
        return state

    async def look_at(self, caller: Caller, contact: str) -> Contact:
        """The state of a contact, asked once."""
        try:
            sight = await self.observations.look(caller, self.uri_of(contact))
        except SipBridgeError:
            sight = Sight(Standing.ENDED)
        return Contact(contact, derived(sight, self.clock.at(), self.tables)[0])

    # --- restart ---

    async def load(self, allowed: Callable[[str, PresentityKey], bool]) -> None:
        """Take up the sessions of before; nothing is done yet. Those nobody may have any more are dropped."""
        for token, text in await self.keeper.load_snapshots(SESSION):
            self.restore(token, text, allowed)
        for token, name, row in await self.rows.of(REGISTRATION):
            if (session := self.kept(token, name, REGISTRATION)) is not None:
                session.registrations[PresentityKey(name)] = read_registration(name, row)
        for token, name, row in await self.rows.of(REQUEST):
            if (session := self.kept(token, name, REQUEST)) is not None:
                session.pending[name] = read_request(row)
        for key, text in await self.keeper.load_snapshots(MESSAGE):
            token, _, name = key.partition("\n")
            if (session := self.kept(token, name, MESSAGE)) is not None:
                session.queue.add(Message(int(name), text.encode()))
                session.queue.show(int(name))

    def restore(self, token: str, text: str, allowed: Callable[[str, PresentityKey], bool]) -> None:
        row = orjson.loads(text)
        key = PresentityKey(row["key"])
        left = (datetime.fromisoformat(row["ends"]) - self.clock.at()).total_seconds()
        left += self.limits.timeout / STEPS  # what may not have been written down any more
        if left <= 0 or not allowed(row["application"], key):
            self.keeper.remember(SESSION, token, None)
            return
        caller = Caller(row["application"], Uri.parse(row["identity"]), key)
        queue = Queue(self.limits.queue, lambda sequence: None)
        queue.acknowledged = row["acknowledged"]
        queue.lost, queue.missing = row["lost"], row["missing"]
        session = Session(token, caller, queue, row["chosen"], row["push"])
        session.ends = session.noted = self.clock.now() + left
        self.admit(session)

    def kept(self, token: str, name: str, kind: str) -> Session | None:
        """The session of a row; a row without one is removed."""
        session = self.sessions.get(token)
        if session is None:
            self.keeper.remember(kind, f"{token}\n{name}", None)
        return session

    def resume(self) -> None:
        """Watch again for whom there are registrations, and do what was accepted and not done."""
        for session in list(self.sessions.values()):
            self.watch_end(session)
            for registration in session.registrations.values():
                pair = (session.caller.key, registration.key)
                self.registered.setdefault(pair, {})[session.token] = session
                self.interests.adopt(session.token, session.caller, registration.uri)
            self.start(session, list(session.pending.values()))


LASTING = frozenset(
    {Operation.BEGIN, Operation.REGISTER, Operation.UNREGISTER, Operation.SET, Operation.STATES}
)
"""Requests that are performed in the next life if this one ends before."""


def derived(sight: Sight, at: datetime, tables: Tables) -> tuple[BemsPresence, datetime | None]:
    """The status that a sight makes, and when it changes by itself. Without a document: unknown."""
    return bems.derive(sight.document, at=at, tables=tables)
