"""Webex-style watching: `client.people.start_watching_presences(contact_ids, handler)`.

The rules are those of the Webex mobile SDKs. Every contact id gets a handle of its own, in the order
given, also one that nobody knows; those are not valid and never told of. The handler is no completion: it
is called with the current state as soon as there is one, and then for every change, until the handles are
stopped. The same contact may be watched several times; stopping one handle leaves the others alone.
Stopping what is stopped already does nothing.

Updates come on one stream of server-sent events, opened before the first watch and closed with the last. It
tells states, not history: after a lost connection, or a restart of the bridge, the handler is called for
whatever is different then, once. What a handler raises is logged, and the next call is made all the same.

The blocking client has to call handlers from somewhere while its caller does other things, so a thread reads
the stream, and handlers run in it, one at a time.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sipbridge.client.errors import PresenceError
from sipbridge.client.events import EventStream
from sipbridge.client.http import Http
from sipbridge.client.operations import Call, nothing
from sipbridge.client.stream import ServerSentEvent
from sipbridge.client.values import MAX_ITEMS, read_text
from sipbridge.errors import InvalidValue
from sipbridge.mapping.attributes import mapping, number, sequence
from sipbridge.mapping.rows import Status

PRESENCES = "/webex/people/presences"
EVENTS = f"{PRESENCES}/events"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("sipbridge.client")

PresenceStatus = Status
"""The twelve statuses, in the order of their declaration in the mobile SDKs."""


@dataclass(frozen=True, slots=True)
class PresenceHandle:
    """One watch of one contact. is_valid: False for an id that nobody has, and for bots."""

    handle: int
    contact_id: str
    is_valid: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """How a contact is. Both times are points in time, aware UTC, None when there is none.

    custom_status: what the person says in words, "" if nothing. expires_time: when the status ends.
    """

    contact_id: str
    status: PresenceStatus
    custom_status: str
    last_active_time: datetime | None
    expires_time: datetime | None


@dataclass(frozen=True, slots=True)
class Update:
    """What the stream says. presence: None for something this version can not read."""

    handle: int
    presence: Presence | None


Handler = Callable[[Presence], object]


def start_watching(contact_ids: Iterable[str]) -> Call[list[PresenceHandle]]:
    body = {"contactIds": [str(contact_id) for contact_id in contact_ids]}
    return Call("POST", f"{PRESENCES}/watch", read_handles, body)


def stop_watching(handles: Iterable[PresenceHandle]) -> Call[None]:
    numbers = [handle.handle for handle in handles]
    return Call("POST", f"{PRESENCES}/stop", nothing, {"presenceHandles": numbers})


def read_handles(answer: object) -> list[PresenceHandle]:
    listed = mapping(answer, "body").get("presenceHandles")
    found = []
    for item in sequence(listed, "presenceHandles", MAX_ITEMS):
        members = mapping(item, "presenceHandles")
        found.append(
            PresenceHandle(
                int(number(members.get("handle"), "handle")),
                read_text(members, "contactId"),
                members.get("isValid") is True,
            )
        )
    return found


def read_update(event: ServerSentEvent) -> Update:
    """Never raises: what makes no sense is an update of no handle."""
    try:
        members = mapping(json.loads(event.data), "update")
        handle = int(number(members.get("handle"), "handle"))
        return Update(handle, read_presence(mapping(members.get("presence"), "presence")))
    except (InvalidValue, ValueError, RecursionError) as error:
        log.warning("an update that can not be read: %s", error)
        return Update(-1, None)


def read_presence(members: Mapping[str, object]) -> Presence:
    return Presence(
        read_text(members, "contactId"),
        PresenceStatus(read_text(members, "status")),
        read_text(members, "customStatus"),
        read_time(members.get("lastActiveTime"), "lastActiveTime"),
        read_time(members.get("expiresTime"), "expiresTime"),
    )


def read_time(value: object, part: str) -> datetime | None:
    """UTC milliseconds."""
    if value is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=number(value, part))
    except OverflowError:
        raise InvalidValue("beyond the calendar", part=part) from None


class Watches:
    """Who is called for which handle. It talks to nobody; both clients keep one.

    The stream may tell of a handle before the answer that names it is there, so while a watch is being
    started updates of unknown handles are kept.
    """

    def __init__(self) -> None:
        self.handlers: dict[int, Handler] = {}
        self.known: dict[int, Presence] = {}
        """What each handler was called with last."""
        self.starting = 0
        self.early: dict[int, Presence] = {}

    def started(self, handles: Sequence[PresenceHandle], handler: Handler) -> list[Update]:
        """The answer to a start is there: what has to be told now."""
        valid = [handle.handle for handle in handles if handle.is_valid]
        self.handlers.update(dict.fromkeys(valid, handler))
        return [Update(n, self.early.pop(n)) for n in valid if n in self.early]

    def settled(self) -> None:
        """A start is over, for good or bad."""
        self.starting -= 1
        if not self.starting:
            self.early.clear()

    def stopped(self, handles: Iterable[PresenceHandle]) -> None:
        for handle in handles:
            self.handlers.pop(handle.handle, None)
            self.known.pop(handle.handle, None)

    def hear(self, update: Update) -> Handler | None:
        """Whom to call; None for what is no news, or nobody's."""
        if update.presence is None:
            return None
        handler = self.handlers.get(update.handle)
        if handler is None:
            if self.starting:
                self.early[update.handle] = update.presence
            return None
        if self.known.get(update.handle) == update.presence:
            return None
        self.known[update.handle] = update.presence
        return handler

    @property
    def idle(self) -> bool:
        return not self.handlers and not self.starting


class People:
    """`client.people` of the blocking client."""

    def __init__(self, http: Http) -> None:
        self.http = http
        self.watches = Watches()
        self.lock = threading.RLock()
        """Held while a handler is found and called: after `stop_watching_presences` there are no more
        calls.
        """
        self.stream: EventStream[Update] | None = None
        self.thread: threading.Thread | None = None

    def start_watching_presences(
        self, contact_ids: Iterable[str], handler: Handler
    ) -> list[PresenceHandle]:
        """Watch contacts: addresses (sip, sips, pres, tel, mailto, or without scheme) or ids of identities.

        Returns one handle for each, in their order. handler: called with a Presence, in a thread of this
        client, for each now and whenever it changes. Raises PresenceError when the bridge can not be asked.
        """
        with self.lock:
            self.watches.starting += 1
        try:
            self.listen()
            handles = self.http.call(start_watching(contact_ids))
            with self.lock:
                for update in self.watches.started(handles, handler):
                    self.tell(update)
            return handles
        finally:
            with self.lock:
                self.watches.settled()
            self.rest()

    def stop_watching_presences(self, handles: Iterable[PresenceHandle]) -> None:
        """Watch these no more; when this returns, or was called by the handler, it is not called again."""
        given = list(handles)
        with self.lock:
            self.watches.stopped(given)
        self.rest()
        self.http.call(stop_watching(given))

    def listen(self) -> None:
        """Have a stream that is open."""
        with self.lock:
            if self.stream is not None and self.thread is not None and self.thread.is_alive():
                return
            self.stream = EventStream(self.http, EVENTS, read_update, None).__enter__()
            self.thread = threading.Thread(
                target=self.read, args=(self.stream,), name="sipbridge-people", daemon=True
            )
            self.thread.start()

    def read(self, stream: EventStream[Update]) -> None:
        try:
            for update in stream:
                with self.lock:
                    self.tell(update)
        except PresenceError as error:
            log.error("watching ended: %s", error)

    def tell(self, update: Update) -> None:
        handler = self.watches.hear(update)
        if handler is not None and update.presence is not None:
            try:
                handler(update.presence)
            except Exception:
                log.exception("a presence handler failed")

    def rest(self) -> None:
        """Close the stream if nobody is watched."""
        with self.lock:
            if self.watches.idle:
                self.close()

    def close(self) -> None:
        """End the stream. The bridge keeps the handles until they are stopped."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()
