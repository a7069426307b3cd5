"""The server: five meta operations, publishing, deadlines. Sans-IO.

In go messages, with who sent them (`Origin`) and `now`; out come outlets that have something to write
(`wakeups`), what happened (`indications`), the next deadline (`next_timeout`). The driver calls `receive`
for an HTTP request or `receive_on` for a WebSocket frame, then writes whatever `collect` gives for each
outlet that is woken.

    (none) --handshake--> handshaken --first connect--> connected --(end)--> gone

A connect is answered at once if it is the session's first, shares its request with other messages, asks for
no wait, or finds events; else it is held until an event, the end of the hold time, a newer connect (the
older one then fails, or two pollers would chase each other without pause), a disconnect, or the end of the
session. Without `ack` a WebSocket gets events at once and its connect stays held. The newest transport
wins: a connect by HTTP takes the session off its WebSocket, any message on a WebSocket brings it there.

Delivery. An event is serialised once, its bytes go into the queue of each subscribed session, once however
many of its subscriptions match. A session whose queue grows over the limit is ended as a whole: dropping
single events would leave the client wrong and unaware, ending it makes it fetch the state anew. `Ended`
then names the events that never left, so that whoever keeps a log can deliver them again.

A session belongs to the application that made the handshake. Whoever names it with other credentials is
answered exactly as if it did not exist, and the owner notices nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter

from sipbridge.bayeux import channels, messages, words
from sipbridge.bayeux.messages import Message
from sipbridge.bayeux.session import (
    Deadlines,
    Event,
    Exchange,
    Hold,
    Link,
    Origin,
    Outlet,
    Session,
)
from sipbridge.bayeux.values import Counters, Ended, Gauges, Indication, Settings, Subscribed
from sipbridge.errors import LocalProtocolError

__all__ = ["BayeuxServer", "Counters", "Ended", "Gauges", "Indication", "Settings", "Subscribed"]

TAG = attrgetter("tag")
Fields = Mapping[str, object]
Operation = Callable[[Message, Session, Outlet, float, bool], bytes | None]


class BayeuxServer:
    """All sessions of one process. `token` makes client ids: 160 random bits or more, alphanumeric.

    `wall` tells the date at a `now`; without it the timesync extension is off.
    """

    def __init__(
        self,
        settings: Settings,
        token: Callable[[], str],
        wall: Callable[[float], datetime] | None = None,
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.token = token
        self.wall = wall
        self.sessions: dict[str, Session] = {}
        self.links: dict[Link, None] = {}
        self.idle_links: Counter[str] = Counter()
        self.of_application: Counter[str] = Counter()
        self.subscribers: dict[str, dict[Session, None]] = {}
        self.deadlines = Deadlines()
        self.woken: list[Outlet] = []
        self.said: list[Indication] = []
        self.stopping = False
        self.bell: Callable[[], None] = lambda: None
        """Rung when the first outlet is woken or the first thing indicated since they were drained."""
        self.advice: dict[str, object] = {
            "reconnect": "retry",
            "interval": 0,
            "timeout": round(settings.timeout * 1000),
            "maxInterval": round(settings.max_interval * 1000),
        }
        self.operations: dict[str, Operation] = {
            words.CONNECT: self.connect,
            words.SUBSCRIBE: self.subscribe,
            words.UNSUBSCRIBE: self.unsubscribe,
            words.DISCONNECT: self.disconnect,
        }

    # --- for the driver -------------------------------------------------------------------------------

    def receive(self, batch: Sequence[Message], origin: Origin, now: float) -> Exchange:
        """One HTTP request. If the exchange has no `session`, its reply is complete: collect it."""
        exchange = Exchange()
        self.process(batch, origin, exchange, now)
        return exchange

    def open_link(self, origin: Origin, address: str, now: float) -> Link | None:
        """A WebSocket was opened from this address; None if it must be refused."""
        if self.stopping or self.idle_links[address] >= self.settings.max_idle_sockets:
            return None
        link = Link(origin, address)
        self.links[link] = None
        self.idle_links[address] += 1
        self.deadlines.set(link, now + self.settings.socket_grace)
        return link

    def receive_on(
        self, link: Link, batch: Sequence[Message], now: float, origin: Origin | None = None
    ) -> None:
        """One frame of a WebSocket. `origin` where a handshake brings credentials of its own."""
        self.process(batch, origin or link.origin, link, now)
        self.wake(link)

    def close_link(self, link: Link, now: float) -> None:
        """The WebSocket is closed. Its sessions stay until they expire."""
        if self.links.pop(link, link) is link:
            return
        if not link.sessions:
            self.idle_links[link.address] -= 1
        self.deadlines.set(link, None)
        for session in link.sessions:
            session.link = None
            if session.hold is not None and session.hold.outlet is link:
                session.hold = None
            if session.hold is None:
                self.await_connect(session, now)
        link.sessions.clear()

    def dropped(self, exchange: Exchange, now: float) -> None:
        """The peer of a held exchange closed its connection. Session and queue stay."""
        session = exchange.session
        if session is not None:
            exchange.session = session.hold = None
            self.await_connect(session, now)

    def written(self, exchange: Exchange, now: float) -> None:
        """The reply reached the socket: the time to the next connect counts from here."""
        session = exchange.answered
        if session is not None and session.hold is None and session.client_id in self.sessions:
            self.await_connect(session, now)

    def collect(self, outlet: Outlet, now: float) -> bytes:
        """What is to be written to an outlet at this moment, as one JSON array; b"" for nothing."""
        outlet.waking = False
        if isinstance(outlet, Exchange):
            if outlet.session is not None and outlet.session.queue:
                self.finish_connect(outlet.session, now)
        else:
            for session in outlet.sessions:
                if session.queue:
                    self.collect_session(session, outlet, now)
        if not outlet.out or (isinstance(outlet, Exchange) and outlet.session is not None):
            return b""
        parts, outlet.out = outlet.out, []
        return messages.encode(parts)

    def wakeups(self) -> list[Outlet]:
        """Outlets that have something to write, or to close, since the last call."""
        woken, self.woken = self.woken, []
        return woken

    def indications(self) -> list[Indication]:
        """What happened since the last call."""
        said, self.said = self.said, []
        return said

    def next_timeout(self) -> float | None:
        return self.deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """End holds, sessions and idle WebSockets whose time has come."""
        for timed in self.deadlines.due(now):
            if isinstance(timed, Link):
                timed.close_code = 1008
                self.wake(timed)
            elif timed.hold is not None:
                self.finish_connect(timed, now)
            else:
                self.end(timed, "expired", now)

    # --- for the application --------------------------------------------------------------------------

    def publish(self, channel: str, data: bytes, now: float, tag: int = 0) -> int:
        """Queue an event for every session subscribed to the channel; returns to how many.

        `data`: one JSON value, serialised. `tag` comes back in `Ended` if the event never leaves. Raises
        LocalProtocolError when the channel is none.
        """
        if not channels.is_channel(channel):
            raise LocalProtocolError(f"{channel[:80]!r} is not a channel")
        reached = self.subscribed(channel)
        if reached:
            self.counters.published += 1
            event = Event(messages.event(channel, data), tag)
            for session in reached:
                self.enqueue(session, event, now)
        return len(reached)

    def deliver(self, session: str, channel: str, data: bytes, now: float, tag: int = 0) -> bool:
        """Queue an event for one session alone, whatever it is subscribed to. False: no such session."""
        found = self.sessions.get(session)
        if found is None:
            return False
        self.enqueue(found, Event(messages.event(channel, data), tag), now)
        return True

    def undelivered(self, application: str) -> set[int]:
        """Tags of an application's events that are queued, or not acknowledged, in any session."""
        found: set[int] = set()
        for session in self.sessions.values():
            if (session.queue or session.unacknowledged) and session.application == application:
                found.update(map(TAG, session.queue))
                for _, events in session.unacknowledged:
                    found.update(map(TAG, events))
        return found

    def queued(self) -> dict[str, set[int]]:
        """The same for every application that has any."""
        found: dict[str, set[int]] = {}
        for session in self.sessions.values():
            if session.backlog:
                found.setdefault(session.application, set()).update(session.undelivered())
        return found

    def amend(self, application: str, tag: int, channel: str, data: bytes | None) -> None:
        """Replace an event wherever it has not been acknowledged or not left; None takes it back."""
        event = None if data is None else Event(messages.event(channel, data), tag)
        for session in self.sessions.values():
            if session.application == application and session.backlog:
                session.amend(tag, event)

    def revoke(self, application: str, now: float) -> int:
        """End every session of an application, and close WebSockets opened with its credentials."""
        theirs = [s for s in self.sessions.values() if s.application == application]
        for session in theirs:
            self.end(session, "revoked", now)
        for link in self.links:
            if link.origin.application == application:
                link.close_code = 1008
                self.wake(link)
        return len(theirs)

    def stop(self, now: float) -> None:
        """No more handshakes; held connects are answered, WebSockets closed with 1001."""
        self.stopping = True
        for session in list(self.sessions.values()):
            if session.hold is not None:
                self.finish_connect(session, now)
        for link in self.links:
            link.close_code = 1001
            self.wake(link)

    def gauges(self) -> Gauges:
        """Count sessions; walks over all of them."""
        sockets = sum(s.link is not None for s in self.sessions.values())
        return Gauges(
            sessions={
                words.WEBSOCKET: sockets,
                words.LONG_POLLING: len(self.sessions) - sockets,
            },
            held=sum(s.hold is not None for s in self.sessions.values()),
            links=len(self.links),
        )

    # --- messages -------------------------------------------------------------------------------------

    def process(self, batch: Sequence[Message], origin: Origin, outlet: Outlet, now: float) -> None:
        for message in batch:
            if message["channel"] == words.HANDSHAKE:
                # A handshake must be alone; the rest of its request is ignored.
                outlet.out.append(self.handshake(message, origin, outlet, now))
                return
        for message in batch:
            answer = self.answer(message, origin, outlet, now, alone=len(batch) == 1)
            if answer is not None:
                outlet.out.append(answer)

    def answer(
        self, message: Message, origin: Origin, outlet: Outlet, now: float, alone: bool
    ) -> bytes | None:
        """The reply to one message; None if it was written already or has to wait."""
        channel = str(message["channel"])
        if not messages.has_good_id(message):
            advice = {"advice": self.advice} if channel == words.CONNECT else {}
            return messages.failure(message, messages.MESSAGE_ID_INVALID, advice, None)
        ident = message.get("id")
        if not channels.is_channel(channel):
            return messages.failure(message, messages.CHANNEL_INVALID, {}, ident)
        session = self.session_of(message, origin, outlet)
        if session is None:
            again = {"advice": messages.ADVICE_HANDSHAKE} if channel == words.CONNECT else {}
            return messages.failure(message, messages.SESSION_UNKNOWN, again, ident)
        if isinstance(outlet, Link):
            self.move_to(outlet, session, now)
        operation = self.operations.get(channel)
        if operation is not None:
            return operation(message, session, outlet, now, alone)
        if channel.startswith(words.META):
            error = messages.unknown_meta(channel)
        else:
            self.counters.refused["publish"] += 1
            error = messages.denied(channel, "publish")
        return messages.failure(message, error, {}, ident)

    def session_of(self, message: Message, origin: Origin, outlet: Outlet) -> Session | None:
        """The session a message names, if its sender may use it."""
        client_id = message.get("clientId")
        session = self.sessions.get(client_id) if isinstance(client_id, str) else None
        if session is None:
            return None
        if origin.header:
            return session if origin.application == session.application else None
        if session.header and not (isinstance(outlet, Link) and self.settings.sockets_continue):
            return None
        return session

    def handshake(self, message: Message, origin: Origin, outlet: Outlet, now: float) -> bytes:
        ident = message.get("id") if messages.has_good_id(message) else None
        error, advice = self.handshake_error(message, origin)
        application = origin.application
        if error or application is None:
            self.counters.refused["handshake"] += 1
            return messages.failure(message, error, {"advice": advice}, ident)
        session = Session(
            self.token(), application, origin.header, messages.extension(message, "ack") is True
        )
        self.sessions[session.client_id] = session
        self.of_application[application] += 1
        self.counters.handshakes += 1
        self.deadlines.set(session, now + self.settings.max_interval)
        if isinstance(outlet, Link):
            self.move_to(outlet, session, now)
        fields: dict[str, object] = {
            "version": words.VERSION,
            "minimumVersion": words.VERSION,
            "supportedConnectionTypes": self.settings.connection_types,
            "clientId": session.client_id,
            "advice": self.advice,
        }
        ext: dict[str, object] = {"ack": True} if session.ack else {}
        ext |= self.timesync(clock_of(message), now, now)
        return messages.reply(message, {**fields, "ext": ext} if ext else fields, ident)

    def handshake_error(self, message: Message, origin: Origin) -> tuple[str, Fields]:
        """Why a handshake is refused and what the client shall do; ("", {}) if it is not."""
        types = message.get("supportedConnectionTypes")
        of_all, of_it = len(self.sessions), self.of_application[origin.application or ""]
        checks = (
            (messages.MESSAGE_ID_INVALID, not messages.has_good_id(message)),
            (messages.VERSION_MISSING, not isinstance(message.get("version"), str)),
            (
                messages.VERSION_UNSUPPORTED,
                messages.asks_too_new(message.get("minimumVersion")),
            ),
            (
                messages.TYPES_UNSUPPORTED,
                not isinstance(types, list)
                or not any(t in types for t in self.settings.connection_types),
            ),
            (messages.AUTHENTICATION_FAILED, origin.application is None),
        )
        for error, holds in checks:
            if holds:
                return error, messages.ADVICE_NONE
        if self.stopping:
            return messages.SHUTTING_DOWN, messages.ADVICE_LATER
        limits = self.settings
        if of_all >= limits.max_sessions or of_it >= limits.max_sessions_per_application:
            return messages.TOO_MANY_SESSIONS, messages.ADVICE_LATER
        return "", {}

    def connect(
        self, message: Message, session: Session, outlet: Outlet, now: float, alone: bool
    ) -> bytes | None:
        kind, ident = message.get("connectionType"), message.get("id")
        if kind not in self.settings.connection_types:
            missing = not isinstance(kind, str)
            error = messages.TYPE_MISSING if missing else messages.TYPES_UNSUPPORTED
            self.counters.refused["connect"] += 1
            return messages.failure(message, error, {"advice": self.advice}, ident)
        if session.hold is not None:
            late = {"advice": {**self.advice, "interval": 2000}}
            self.refuse_connect(session, messages.CONNECT_SUPERSEDED, late)
        if isinstance(outlet, Exchange):
            self.take_off_link(session, now)
        acknowledged = messages.extension(message, "ack")
        if session.ack and type(acknowledged) is int:
            session.acknowledge(acknowledged)
        advice = message.get("advice")
        wait = hold_time(messages.number(advice, "timeout"), self.settings.timeout)
        pause = (messages.number(advice, "interval") or 0.0) / 1000
        session.grace = min(pause, self.settings.max_interval)
        session.hold = Hold(outlet, ident, now, clock_of(message))
        first, session.connected = not session.connected, True
        if first or not alone or wait <= 0 or session.queue or self.stopping:
            self.finish_connect(session, now)
        else:
            if isinstance(outlet, Exchange):
                outlet.session = session
            self.deadlines.set(session, now + wait)
        return None

    def subscribe(
        self, message: Message, session: Session, outlet: Outlet, now: float, alone: bool
    ) -> bytes:
        wanted = names(message)
        error = self.subscribe_error(wanted, session)
        if error:
            self.counters.refused["subscribe"] += 1
            return refused_subscription(message, error)
        for channel in wanted or ():
            if channel not in session.subscriptions:
                session.subscriptions[channel] = None
                self.subscribers.setdefault(channel, {})[session] = None
                self.indicate(Subscribed(session.client_id, session.application, channel))
        return messages.reply(message, {"subscription": message["subscription"]}, message.get("id"))

    def subscribe_error(self, wanted: Sequence[str] | None, session: Session) -> str:
        """Why not all of these may be subscribed to; "" if they may."""
        if wanted is None:
            return messages.SUBSCRIPTION_INVALID
        if not wanted:
            return messages.SUBSCRIPTION_MISSING
        for channel in wanted:
            if not (channels.is_channel(channel) or channels.is_pattern(channel)):
                return messages.SUBSCRIPTION_INVALID
            if not channels.owns(session.application, channel):
                return messages.denied(channel, "subscribe")
        if len(session.subscriptions.keys() | set(wanted)) > self.settings.max_subscriptions:
            return messages.TOO_MANY_SUBSCRIPTIONS
        return ""

    def unsubscribe(
        self, message: Message, session: Session, outlet: Outlet, now: float, alone: bool
    ) -> bytes:
        wanted = names(message)
        if wanted == ():
            return refused_subscription(message, messages.SUBSCRIPTION_MISSING)
        if wanted is None or not all(
            channels.is_channel(c) or channels.is_pattern(c) for c in wanted
        ):
            return refused_subscription(message, messages.SUBSCRIPTION_INVALID)
        for channel in wanted:
            self.forget(session, channel)
        return messages.reply(message, {"subscription": message["subscription"]}, message.get("id"))

    def disconnect(
        self, message: Message, session: Session, outlet: Outlet, now: float, alone: bool
    ) -> bytes:
        hold, session.hold = session.hold, None
        if hold is not None:
            request = {"channel": words.CONNECT}
            fields = {"advice": messages.ADVICE_NONE}
            self.release(hold, messages.reply(request, fields, hold.ident))
        self.end(session, "disconnected", now)
        return messages.reply(message, {}, message.get("id"))

    # --- connects -------------------------------------------------------------------------------------

    def finish_connect(self, session: Session, now: float) -> None:
        """Answer the held connect with whatever is queued."""
        hold = session.hold
        if hold is None:
            return
        session.hold = None
        events: list[bytes] = []
        if session.ack or session.link is None:
            events = session.take()
            self.counters.delivered += len(events)
        fields: dict[str, object] = {"advice": self.advice}
        ext: dict[str, object] = {"ack": session.batch} if session.ack else {}
        ext |= self.timesync(hold.clock, hold.arrived, now)
        if ext:
            fields["ext"] = ext
        answer = messages.reply({"channel": words.CONNECT}, fields, hold.ident)
        if isinstance(hold.outlet, Exchange):
            hold.outlet.session, hold.outlet.answered = None, session
        hold.outlet.connect_reply(events, answer)
        self.wake(hold.outlet)
        self.await_connect(session, now)

    def refuse_connect(self, session: Session, error: str, fields: Fields) -> None:
        hold, session.hold = session.hold, None
        if hold is not None:
            request = {"channel": words.CONNECT}
            self.release(hold, messages.failure(request, error, fields, hold.ident))

    def release(self, hold: Hold, answer: bytes) -> None:
        if isinstance(hold.outlet, Exchange):
            hold.outlet.session = None
        hold.outlet.out.append(answer)
        self.wake(hold.outlet)

    def await_connect(self, session: Session, now: float) -> None:
        """No connect is held any more: the session expires, unless a WebSocket carries it."""
        if session.link is not None and session.connected:
            self.deadlines.set(session, None)
        else:
            self.deadlines.set(session, now + self.settings.max_interval + session.grace)

    # --- outlets --------------------------------------------------------------------------------------

    def collect_session(self, session: Session, link: Link, now: float) -> None:
        if session.ack:
            self.finish_connect(session, now)
        else:
            events = session.take()
            self.counters.delivered += len(events)
            link.out += events

    def wake(self, outlet: Outlet) -> None:
        if not outlet.waking:
            outlet.waking = True
            if not self.woken:
                self.bell()
            self.woken.append(outlet)

    def move_to(self, link: Link, session: Session, now: float) -> None:
        if session.link is link:
            return
        self.take_off_link(session, now)
        session.link = link
        if not link.sessions:
            self.idle_links[link.address] -= 1
            self.deadlines.set(link, None)
        link.sessions[session] = None
        if session.connected and session.hold is None:
            self.deadlines.set(session, None)

    def take_off_link(self, session: Session, now: float) -> None:
        link, session.link = session.link, None
        if link is None:
            return
        del link.sessions[session]
        if not link.sessions:
            self.idle_links[link.address] += 1
            self.deadlines.set(link, now + self.settings.socket_grace)

    # --- queues ---------------------------------------------------------------------------------------

    def subscribed(self, channel: str) -> list[Session]:
        """Every session with a matching subscription, once."""
        found = [s for name in channels.matching(channel) if (s := self.subscribers.get(name))]
        if len(found) == 1:
            return list(found[0])
        together: dict[Session, None] = {}
        for sessions in found:
            together.update(sessions)
        return list(together)

    def enqueue(self, session: Session, event: Event, now: float) -> None:
        session.enqueue(event)
        backlog = session.backlog
        if backlog > self.counters.high_water:
            self.counters.high_water = backlog
        limits = self.settings
        if backlog > limits.max_queue_events or session.queued_bytes > limits.max_queue_bytes:
            self.end(session, "overflow", now)
            return
        outlet = session.outlet()
        if outlet is not None and not outlet.waking:
            self.wake(outlet)

    def forget(self, session: Session, channel: str) -> None:
        if session.subscriptions.pop(channel, session) is session:
            return
        there = self.subscribers[channel]
        del there[session]
        if not there:
            del self.subscribers[channel]

    def end(self, session: Session, reason: str, now: float) -> None:
        """Remove a session; a connect it holds is told to shake hands anew."""
        del self.sessions[session.client_id]
        self.of_application[session.application] -= 1
        self.counters.ended[reason] += 1
        self.refuse_connect(
            session, messages.SESSION_UNKNOWN, {"advice": messages.ADVICE_HANDSHAKE}
        )
        self.deadlines.set(session, None)
        for channel in tuple(session.subscriptions):
            self.forget(session, channel)
        self.take_off_link(session, now)
        self.indicate(Ended(session.client_id, session.application, reason, session.undelivered()))

    def indicate(self, said: Indication) -> None:
        if not self.said:
            self.bell()
        self.said.append(said)

    def timesync(
        self, clock: dict[str, object] | None, arrived: float, now: float
    ) -> dict[str, object]:
        """The `timesync` member of `ext`: how a client learns the server's clock."""
        sent = messages.number(clock, "tc")
        if clock is None or sent is None or self.wall is None:
            return {}
        lag = messages.number(clock, "l") or 0.0
        there = sent + lag + messages.real(clock.get("o"))
        stamp = round(self.wall(arrived).timestamp() * 1000)
        spent = round((now - arrived) * 1000)
        answer = {"tc": clock["tc"], "ts": stamp, "p": spent, "a": round(there - stamp)}
        return {"timesync": answer}


def names(message: Message) -> tuple[str, ...] | None:
    """The `subscription` of a message as a list; empty if missing, None if it is no list of strings."""
    given = message.get("subscription")
    if given is None:
        return ()
    wanted = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) for name in wanted):
        return None
    return tuple(wanted)


def refused_subscription(message: Message, error: str) -> bytes:
    """The refusal names the subscription as it was sent: clients find the failed one by it."""
    fields = {"subscription": message["subscription"]} if names(message) else {}
    return messages.failure(message, error, fields, message.get("id"))


def hold_time(asked: float | None, most: float) -> float:
    """Seconds to hold a connect, from the client's `advice.timeout` in milliseconds."""
    return most if asked is None else min(asked / 1000, most)


def clock_of(message: Message) -> dict[str, object] | None:
    """The timesync request of a message, if it has one."""
    clock = messages.extension(message, "timesync")
    return clock if isinstance(clock, dict) else None
