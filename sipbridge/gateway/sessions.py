"""Sessions of remote presence: who is signed in on which device, registered for whom, waiting for what.

A session is named by its device token. It belongs to one application acting as one identity, lives as long as
it is used within its timeout, and holds the contacts it registered for, the requests in progress and the
queue of what its client has not fetched. Everything of it is kept on disk in small rows of its own (one for
the session, one for each contact, request and message), so that a change writes what changed and no more.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import orjson

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Clock, Keeper
from sipbridge.gateway.queues import Message, Queue
from sipbridge.identities import PresentityKey
from sipbridge.mapping.bems import BemsPresence
from sipbridge.mapping.rows import Availability
from sipbridge.uri import Uri

SESSION, REGISTRATION = "bems-session", "bems-registration"
REQUEST, MESSAGE = "bems-request", "bems-message"
"""Kinds of the snapshots that keep sessions and what they hold."""


class Operation(StrEnum):
    """What a request asks for, whatever it is called on the wire."""

    BEGIN = "begin"
    PING = "ping"
    TERMINATE = "terminate"
    REGISTER = "register"
    UNREGISTER = "unregister"
    SET = "set"
    STATES = "states"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a session. method: its name on the wire, with which it is answered.

    contacts: as the client writes them. presence: a status word, "" for none. message: None keeps the
    former one. depends: requests of the same batch that have to be complete before.
    """

    id: str | int
    method: str
    operation: Operation
    contacts: tuple[str, ...] = ()
    presence: str = ""
    message: str | None = None
    depends: tuple[str, ...] = ()


@dataclass(slots=True)
class Registration:
    """A contact whose changes a session hears of. told: what it was last told; None: nothing yet."""

    contact: str
    uri: Uri
    key: PresentityKey
    ready: bool = False
    told: BemsPresence | None = None


@dataclass(slots=True)
class Session:
    """One signed-in device. chosen: its client made the token up. ends: monotonic seconds."""

    token: str
    caller: Caller
    queue: Queue
    chosen: bool = False
    push: str = ""
    ends: float = 0.0
    noted: float = 0.0
    """`ends` as it stands on disk."""
    over: bool = False
    revision: int = 0
    """Grows with each reconnection: readers begin again with what is not acknowledged."""
    registrations: dict[PresentityKey, Registration] = field(default_factory=dict)
    pending: dict[str, Request] = field(default_factory=dict)
    """Requests in progress, by id."""
    started: set[str] = field(default_factory=set)
    """Those of them that wait for no other any more."""
    failed: set[str] = field(default_factory=set)
    """Requests that failed while others depended on them."""
    restated: int = 0
    """The loss after which everything registered for was told anew."""
    readers: dict[object, Callable[[], None]] = field(default_factory=dict)
    """Whoever waits for messages is called when there are some, and at the end of the session."""

    @property
    def silent(self) -> bool:
        """Will nothing come any more besides what is shown?"""
        return self.over and self.queue.settled

    def wake(self) -> None:
        for reader in list(self.readers.values()):
            reader()


# --- rows ---------------------------------------------------------------------------------------------


class Rows:
    """Sessions and what they hold, as rows on disk."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def session(self, session: Session, clock: Clock) -> tuple[str, str, str]:
        """The row of a session, to be saved by whoever has to wait for it."""
        ends = clock.at() + timedelta(seconds=session.ends - clock.now())
        row = {
            "application": session.caller.application,
            "identity": str(session.caller.identity),
            "key": session.caller.key,
            "chosen": session.chosen,
            "push": session.push,
            "ends": ends.isoformat(),
            "acknowledged": session.queue.acknowledged,
            "lost": session.queue.lost,
            "missing": session.queue.missing,
        }
        return SESSION, session.token, orjson.dumps(row).decode()

    def registration(self, session: Session, registration: Registration) -> None:
        told = registration.told
        row = {
            "contact": registration.contact,
            "uri": str(registration.uri),
            "told": None
            if told is None
            else [told.presence.value, told.availability, told.personal_message],
        }
        self.put(REGISTRATION, session, registration.key, orjson.dumps(row).decode())

    def request(self, session: Session, request: Request) -> tuple[str, str, str]:
        """The row of a request, as `session`."""
        return REQUEST, row_key(session, str(request.id)), orjson.dumps(asdict(request)).decode()

    def message(self, session: Session, message: Message) -> tuple[str, str, str]:
        """The row of a message, as `session`."""
        key = row_key(session, f"{message.sequence:016d}")
        return MESSAGE, key, message.text.decode()

    def put(self, kind: str, session: Session, name: str, text: str | None) -> None:
        self.keeper.remember(kind, row_key(session, name), text)

    def drop(self, session: Session) -> None:
        """Everything of a session."""
        for key in session.registrations:
            self.put(REGISTRATION, session, key, None)
        for id in session.pending:
            self.put(REQUEST, session, id, None)
        for message in session.queue.messages:
            self.put(MESSAGE, session, f"{message.sequence:016d}", None)
        self.keeper.remember(SESSION, session.token, None)

    async def of(self, kind: str) -> list[tuple[str, str, Any]]:
        """(token, name, content) of every row of a kind that sessions hold."""
        rows = await self.keeper.load_snapshots(kind)
        return [(*key.split("\n", 1), orjson.loads(text)) for key, text in rows]


def row_key(session: Session, name: str) -> str:
    return f"{session.token}\n{name}"


def read_registration(key: str, row: dict[str, Any]) -> Registration:
    told = row["told"]
    return Registration(
        row["contact"],
        Uri.parse(row["uri"]),
        PresentityKey(key),
        True,
        None if told is None else BemsPresence(Availability(told[0]), told[1], told[2]),
    )


def read_request(row: dict[str, Any]) -> Request:
    return Request(
        row["id"],
        row["method"],
        Operation(row["operation"]),
        tuple(row["contacts"]),
        row["presence"],
        row["message"],
        tuple(row["depends"]),
    )
