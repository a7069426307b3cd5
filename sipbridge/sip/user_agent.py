"""The SIP user agent: bytes in, bytes and indications out (RFC 3261 §8).

A sans-IO engine. Whoever drives it hands in what arrived and what time it is, and afterwards drains
`transmits()`, `indications()` and `changes()` and asks `next_timeout()`. It never reads a clock and opens
nothing. The work is done elsewhere: `parser` reads, `transactions` resends and absorbs, `responding` is the
answering half, `requesting` the asking half, `dialog` remembers. What is left here is the switchboard:

1. A response goes to its client transaction; one that belongs to none is dropped and reported.
2. A request goes to its server transaction, which absorbs copies. A new one with a To tag goes to the usage
   of its dialog, after the order of its CSeq was checked; or to a usage that expects a dialog (the NOTIFY
   that makes one); else it gets 481. One without To tag goes to the handler that serves its method, and one
   that carries the tag of our own refusal of it too: it is the refused request once more.
3. What every element has to say itself is said here: 200 to OPTIONS and CANCEL, 405, 416, 420, 481, 482, and
   what the parser and `defects` ask for (400, 505 …). Max-Forwards 0 is no reason to refuse a request that
   has arrived (RFC 4475 §3.3.11): we are its destination, not a proxy.
4. An error that rises out of a handler becomes a final response by `responding.FINAL_RESPONSES`.

Usages (subscriber, notifier, publisher, compositor) call the second group of methods. They may do so from
inside their callbacks; no handler of a request of ours is called from inside the call that made the request.
"""

from collections.abc import Sequence

from sipbridge.errors import (
    LocalProtocolError,
    ParseError,
    RemoteProtocolError,
    SipBridgeError,
)
from sipbridge.sip.address import NameAddr
from sipbridge.sip.defects import Defect, first_defect, still_in_order
from sipbridge.sip.destinations import Locating
from sipbridge.sip.dialog import Dialog, DialogId, words
from sipbridge.sip.encoding import CODINGS
from sipbridge.sip.flow import CONNECTIONS, Flow, ListeningPoint, Transmit
from sipbridge.sip.headers import Headers
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.indications import CloseConnection, MessageRefused, StrayResponse
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import PONG, KeepAlive, Limits, MessageError, StreamParser, parse_datagram
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.records import Answer, Question
from sipbridge.sip.requesting import MAX_FORWARDS, AskingHalf, Candidate, ClientRequest, contact_at
from sipbridge.sip.responding import (
    TARGET_REFRESH,
    AnsweringHalf,
    CoreLimits,
    IncomingRequest,
)
from sipbridge.sip.timers import Deadline, Deadlines, Timers
from sipbridge.sip.transactions import client_key
from sipbridge.sip.usage import Orderly, RequestHandler, ResponseHandler, StoreWaiter, Timed, Usage
from sipbridge.uri import Uri

__all__ = ["ClientRequest", "CoreLimits", "IncomingRequest", "UserAgent"]

NO_OPTIONS: frozenset[str] = frozenset()


class UserAgent:
    """One SIP endpoint. The driver calls the first group of methods, usages the second."""

    def __init__(
        self,
        points: Sequence[ListeningPoint],
        *,
        name: str = "sipbridge",
        timers: Timers | None = None,
        limits: CoreLimits | None = None,
        parser_limits: Limits | None = None,
        identifiers: Identifiers | None = None,
        minimum_digest: str = "MD5",
        locating: Locating | None = None,
    ) -> None:
        """`name` goes into User-Agent and Server. `minimum_digest`: weaker challenges are not answered."""
        if not points:
            raise LocalProtocolError("a user agent needs at least one listening point")
        self.points = tuple(points)
        self.name = name
        self.timers = timers or Timers()
        self.limits = limits or CoreLimits()
        self.parser_limits = parser_limits or Limits()
        self.identifiers = identifiers or Identifiers()
        self.allow_events: list[str] = []
        """Packages served, for Allow-Events. Usages append to it."""
        self.supported: list[str] = []
        """Option tags we know, for Supported and against Require. Usages append to it."""
        self.encodings: tuple[str, ...] = CODINGS
        """Content codings that bodies of requests may come in."""
        self.deadlines = Deadlines()
        self.outbox: list[Transmit] = []
        self.reported: list[object] = []
        self.to_store: list[tuple[int, object]] = []
        self.refusing = False
        """New requests get 503: whoever drives us has too much to do. Copies are answered as ever."""
        self.store_waiters: dict[int, list[StoreWaiter]] = {}
        self.handlers: dict[str, RequestHandler] = {}
        self.media_types: dict[str, list[str]] = {}
        self.dialogs: dict[DialogId, tuple[Dialog, Usage]] = {}
        self.expected: dict[tuple[str, str], Usage] = {}
        self.streams: dict[int, StreamParser] = {}
        self.answering = AnsweringHalf(
            timers=self.timers,
            deadlines=self.deadlines,
            outbox=self.outbox,
            identifiers=self.identifiers,
            limits=self.limits,
            name=name,
            report=self.report,
            contact=self.contact_of,
        )
        self.asking = AskingHalf(
            points=self.points,
            timers=self.timers,
            deadlines=self.deadlines,
            outbox=self.outbox,
            identifiers=self.identifiers,
            limits=self.limits,
            minimum_digest=minimum_digest,
            locating=locating or Locating(),
            report=self.report,
        )

    # --- called by the driver ---------------------------------------------------------------------

    def receive_datagram(self, data: bytes, flow: Flow, now: float, trace: str = "") -> None:
        """One datagram, or one whole message of a memory flow."""
        try:
            message = parse_datagram(data, self.parser_limits)
        except MessageError as error:
            self.refuse_bytes(error, flow, trace)
            return
        self.receive(message, flow, now, trace)

    def receive_stream(self, data: bytes, flow: Flow, now: float, trace: str = "") -> None:
        """Bytes of a stream connection; `flow.connection` tells which."""
        parser = self.streams.get(flow.connection)
        if parser is None:
            parser = self.streams[flow.connection] = StreamParser(self.parser_limits)
        for message in parser.feed(data):
            if not isinstance(message, MessageError):
                self.receive(message, flow, now, trace)
                continue
            self.refuse_bytes(message, flow, trace)
            if message.fatal:
                self.report(CloseConnection(flow, str(message)))

    def receive(
        self, message: Request | Response | KeepAlive, flow: Flow, now: float, trace: str
    ) -> None:
        """A message that was read."""
        self.answering.now = now
        if isinstance(message, Request):
            self.receive_request(message, flow, now, trace)
        elif isinstance(message, Response):
            self.receive_response(message, flow, now, trace)
        elif flow.protocol in CONNECTIONS:
            self.outbox.append(Transmit(PONG, flow, trace))

    def connection_opened(self, flow: Flow) -> None:
        """A connection is there: dialogs may live on it. One of bytes need not be announced."""
        self.streams[flow.connection] = StreamParser(self.parser_limits)

    def unfinished(self, flow: Flow) -> tuple[int, int]:
        """Messages that came whole on a connection, and bytes that wait for the rest of theirs."""
        parser = self.streams.get(flow.connection)
        return (parser.completed, parser.pending) if parser is not None else (0, 0)

    def connection_closed(
        self, flow: Flow, now: float, error: str = "the connection was closed"
    ) -> None:
        """A stream connection ended: requests that wait on it try elsewhere or fail."""
        self.streams.pop(flow.connection, None)
        self.answering.connection_closed(flow.connection)
        self.asking.transport_failed(flow, now, error)

    def transport_failed(self, flow: Flow, now: float, error: str) -> None:
        """What was to leave on this flow could not (§18.4). `error` is for people."""
        self.asking.transport_failed(flow, now, error)

    def receive_answer(self, question: Question, answer: Answer, now: float) -> None:
        """Answers a Resolve indication."""
        self.asking.receive_answer(question, answer, now)

    def committed(self, number: int, now: float) -> None:
        """The change is durable: responses that waited for it leave."""
        self.answering.now = now
        self.answering.committed(number)
        for waiter in self.store_waiters.pop(number, ()):
            waiter.change_committed(now)

    def store_failed(self, number: int, now: float) -> None:
        """The change could not be stored: responses that waited for it become 500."""
        self.answering.now = now
        self.answering.store_failed(number)
        for waiter in self.store_waiters.pop(number, ()):
            waiter.change_failed(now)

    def transmits(self) -> list[Transmit]:
        """What has to leave, in order; drains."""
        drained = self.outbox[:]
        self.outbox.clear()
        return drained

    def indications(self) -> list[object]:
        """What was reported, in order; drains."""
        drained = self.reported[:]
        self.reported.clear()
        return drained

    def changes(self) -> list[tuple[int, object]]:
        """What has to be stored, in order, with its numbers; drains."""
        drained = self.to_store[:]
        self.to_store.clear()
        return drained

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None: nothing to wait for."""
        return self.deadlines.next_timeout()

    def handle_timeout(self, now: float) -> None:
        """Wake everything that is due."""
        self.answering.now = now
        self.deadlines.wake(now)

    # --- called by usages -------------------------------------------------------------------------

    def serve(self, method: str, handler: RequestHandler) -> None:
        """Requests of this method outside dialogs go to `handler`; the method appears in Allow."""
        self.handlers[method] = handler

    def accept(self, method: str, media_types: Sequence[str]) -> None:
        """Body types understood for a method: Accept of OPTIONS answers; the method appears in Allow.

        A subscriber calls `accept("NOTIFY", package.body_types)`; it need not `serve` NOTIFY.
        """
        known = self.media_types.setdefault(method, [])
        known += [media for media in media_types if media not in known]

    def accepted(self, method: str) -> list[str]:
        """The body types given to `accept`, for the Accept header of a 415."""
        return list(self.media_types.get(method, ()))

    @property
    def allow(self) -> list[str]:
        """The methods we serve, for Allow."""
        return ["OPTIONS", *sorted(self.handlers.keys() | self.media_types.keys())]

    def report(self, indication: object) -> None:
        """Queue an indication."""
        self.reported.append(indication)

    def store(self, change: object) -> int:
        """Queue a change for the store; the number goes into `ServerRequest.respond(after=)`."""
        number = self.answering.store()
        self.to_store.append((number, change))
        return number

    def when_stored(self, number: int, waiter: StoreWaiter) -> None:
        """Tell `waiter` when the change is committed, or cannot be: what else must not come before."""
        self.store_waiters.setdefault(number, []).append(waiter)

    def schedule(self, when: float, timed: Timed) -> Deadline:
        """Call `timed.handle_timeout(now)` once, at or after `when`, unless the Deadline is cancelled."""
        return self.deadlines.schedule(when, timed)

    def new_request(
        self,
        method: str,
        target: Uri | str,
        *,
        from_: NameAddr,
        to: NameAddr,
        call_id: str | None = None,
        cseq: int = 1,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Request:
        """A request outside dialogs. From gets a tag if it has none, Call-ID is made if None.

        Contact (SUBSCRIBE, NOTIFY), Via, Max-Forwards, User-Agent and Route come in `request`.
        """
        sender = from_ if from_.tag else from_.with_tag(self.identifiers.tag())
        fields = [
            ("From", str(sender)),
            ("To", str(to)),
            ("Call-ID", call_id or self.identifiers.call_id()),
            ("CSeq", f"{cseq} {method}"),
            *headers,
        ]
        return Request(method, str(target), Headers(fields), body)

    def contact_for(
        self, identity: Uri, flow_or_protocol: Flow | str = "udp", secure: bool = False
    ) -> NameAddr:
        """Our Contact for this identity on the listening point of a flow or protocol.

        `secure`: as a sips URI.
        """
        wanted = flow_or_protocol
        for point in self.points:
            if isinstance(wanted, Flow):
                if point.protocol == wanted.protocol and point.local == wanted.local:
                    return contact_at(point, identity, secure)
            elif point.protocol == wanted:
                return contact_at(point, identity, secure)
        return contact_at(self.points[0], identity, secure)

    def contact_of(self, incoming: IncomingRequest) -> NameAddr:
        """What a 2xx to this request says in Contact: the identity it was sent to, where it arrived."""
        request = incoming.request
        return self.contact_for(request.request_uri, incoming.flow, asks_for_sips(request))

    def request(
        self,
        request: Request,
        handler: ResponseHandler,
        now: float,
        *,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
        trace: str = "",
        flow: Flow | None = None,
        sustains: bool = False,
    ) -> ClientRequest:
        """Send a request outside dialogs; `handler` hears exactly once, never before this returns.

        sustains: something would end without it (the refresh of a registration, a probe), so it goes also to
        a server that wants nothing new for a while (503 with Retry-After).

        Adds Via, Max-Forwards, User-Agent, Contact for SUBSCRIBE and NOTIFY, the policy's routes and
        headers. Answers 401 and 407 with `credentials` (`request.cseq` then rises by one). The request
        belongs to the core from now on and changes. Raises LocalProtocolError when it cannot be printed.
        """
        headers = request.headers
        for route in reversed(policy.route):
            headers.add_first("Route", route)
        if policy.identity:
            headers.add(policy.identity, f"<{policy.sender(request.from_.uri_text)}>")
        for name, value in policy.extra_headers:
            headers.add(name, value)
        candidates: Sequence[Candidate]
        fixed = flow or policy.flow
        if fixed is not None:
            candidates = (fixed,)
        elif policy.next_hops:
            candidates = policy.next_hops
        else:
            routes = request.route
            candidates = (routes[0].uri_text if routes else request.uri,)
        return self.send(request, handler, candidates, now, credentials, trace, sustains=sustains)

    def request_in_dialog(
        self,
        dialog: Dialog,
        request: Request,
        handler: ResponseHandler,
        now: float,
        *,
        credentials: Credentials | None = None,
        trace: str = "",
        divisible: bool = False,
    ) -> ClientRequest:
        """Send `dialog.new_request(...)`. A 2xx refreshes the dialog's target before the handler hears.

        divisible: where it is too large for a datagram, and nothing else gets there, the handler is told
        "too-large", so that it can say the same in several requests.
        """
        candidates: list[Candidate] = [dialog.next_hop()]
        hint = dialog.flow
        if hint is not None and (hint.protocol == "memory" or hint.connection in self.streams):
            candidates.insert(0, hint)
        return self.send(request, handler, candidates, now, credentials, trace, dialog, divisible)

    def send(
        self,
        request: Request,
        handler: ResponseHandler,
        candidates: Sequence[Candidate],
        now: float,
        credentials: Credentials | None,
        trace: str,
        dialog: Dialog | None = None,
        divisible: bool = False,
        sustains: bool = False,
    ) -> ClientRequest:
        headers = request.headers
        if "Max-Forwards" not in headers:
            headers.add_first("Max-Forwards", MAX_FORWARDS)
        if "User-Agent" not in headers:
            headers.add("User-Agent", self.name)
        asked = ClientRequest(
            request,
            handler,
            candidates,
            self.asking,
            credentials=credentials,
            dialog=dialog,
            trace=trace,
            divisible=divisible,
            sustains=sustains,
        )
        return self.asking.begin(asked, now)

    def add_dialog(self, dialog: Dialog, usage: Usage) -> None:
        """Requests of this dialog go to `usage`, after their CSeq was checked."""
        self.dialogs[dialog.id] = (dialog, usage)

    def remove_dialog(self, dialog: Dialog) -> None:
        """Forget it: its requests get 481 from now on. Nothing happens if it is unknown."""
        self.dialogs.pop(dialog.id, None)

    def expect_dialog(self, call_id: str, local_tag: str, usage: Usage) -> None:
        """Requests that carry this Call-ID and To tag and belong to no known dialog go to `usage`.

        That is how the NOTIFY that makes the dialog (RFC 6665 §4.4.1), or that of another fork, arrives:
        the usage makes a Dialog of it (`Dialog.as_uac(subscribe, notify)`, `add_dialog`) or answers 481.
        """
        self.expected[call_id, local_tag] = usage

    def forget_dialog(self, call_id: str, local_tag: str) -> None:
        """End what `expect_dialog` began. Nothing happens if it is unknown."""
        self.expected.pop((call_id, local_tag), None)

    # --- what arrived -----------------------------------------------------------------------------

    def refuse_bytes(self, error: MessageError, flow: Flow, trace: str) -> None:
        """Bytes that are no message: answer if they can be answered, and report."""
        told = self.answering.answer_broken(error, error.partial, flow, trace)
        self.report(MessageRefused(str(error), error.status_hint if told else None, flow, trace))

    def receive_response(self, response: Response, flow: Flow, now: float, trace: str) -> None:
        try:
            key = client_key(response)
        except ParseError as error:
            self.report(MessageRefused(str(error), None, flow, trace))
            return
        transaction = self.asking.transactions.by_key.get(key)
        if transaction is None:
            self.report(StrayResponse(response.status, key[1], flow, trace))
        elif (defect := first_defect(response)) is not None:
            self.report(MessageRefused(defect.reason, None, flow, trace))  # §18.1.2: dropped
        else:
            transaction.receive_response(response, now)

    def receive_request(self, request: Request, flow: Flow, now: float, trace: str) -> None:
        known = self.known_dialog(request)
        self.answering.refusing = self.refusing
        try:
            incoming = self.answering.receive(
                request, flow, now, trace, None if known is None else known[0]
            )
        except ParseError as error:
            told = self.answering.answer_broken(error, request, flow, trace)
            self.report(
                MessageRefused(str(error), error.status_hint if told else None, flow, trace)
            )
            return
        if incoming is None:
            return
        try:
            if known is not None and still_in_order(request):
                self.check_order(*known, request, now)
                known[1].receive_request(incoming, now)
            else:
                self.dispatch(incoming, now)
        except SipBridgeError as error:
            incoming.refuse(error)
        except Exception:
            if not incoming.answered:
                self.answering.answer(incoming, 500, why="a handler failed")
            raise
        if not incoming.transaction.answered:
            self.answering.left_open(incoming, now)

    def known_dialog(self, request: Request) -> tuple[Dialog, Usage] | None:
        """The dialog of a request that repeats the words of a sound one before it."""
        if request.method not in TARGET_REFRESH:
            return None
        first = request.headers.first()
        try:
            remote_tag, local_tag = tag_at_end(first["from"]), tag_at_end(first["to"])
            found = self.dialogs.get((first["call-id"], local_tag, remote_tag))
        except KeyError:
            return None
        return found if found is not None and found[0].heard == words(request) else None

    def dispatch(self, incoming: IncomingRequest, now: float) -> None:
        """Give a new request to whom it concerns (§8.2, in the order of its subsections)."""
        request = incoming.request
        known = frozenset(self.supported) if "Require" in request.headers else NO_OPTIONS
        defect = first_defect(request, known)
        if defect is not None and defect.malformed:
            self.answer_defect(incoming, defect)
        elif request.method == "CANCEL":
            self.answer_cancel(incoming)
        elif incoming.in_dialog:
            self.dispatch_in_dialog(incoming, defect, now)
        else:
            self.dispatch_outside(incoming, defect, now)

    def dispatch_in_dialog(
        self, incoming: IncomingRequest, defect: Defect | None, now: float
    ) -> None:
        """A request with a To tag (§12.2.2). Its method is looked at first (§8.2).

        The tag of our own refusal makes no dialog.
        """
        request = incoming.request
        if request.method != "OPTIONS" and not self.is_allowed(request.method):
            self.answering.answer(incoming, 405, self.allow_header())
            return
        local_tag = incoming.to_tag
        found = self.dialogs.get((request.call_id, local_tag, request.from_.tag or ""))
        usage = found[1] if found else self.expected.get((request.call_id, local_tag))
        if usage is None and self.answering.was_refused(request):
            self.dispatch_outside(incoming, defect, now)
        elif usage is None:
            self.answering.answer(incoming, 481)
        elif request.method == "OPTIONS":
            self.answer_options(incoming)
        elif defect is not None:
            self.answer_defect(incoming, defect)
        else:
            if found:
                self.check_order(*found, request, now)
                found[0].remember(request)
                incoming.dialog = found[0]
            usage.receive_request(incoming, now)

    def check_order(self, dialog: Dialog, usage: Usage, request: Request, now: float) -> None:
        """Raises RemoteProtocolError (500) for what is out of order; its usage hears if that goes on."""
        try:
            dialog.check(request)
        except RemoteProtocolError:
            if dialog.counts_anew and isinstance(usage, Orderly):
                usage.order_lost(now)
            raise

    def dispatch_outside(
        self, incoming: IncomingRequest, defect: Defect | None, now: float
    ) -> None:
        """A request without To tag, or with that of a refusal (§8.2.1, §8.2.2)."""
        method = incoming.request.method
        handler = self.handlers.get(method)
        if method != "OPTIONS" and not self.is_allowed(method):
            self.answering.answer(incoming, 405, self.allow_header())
        elif defect is not None:
            self.answer_defect(incoming, defect)
        elif self.answering.is_merged(incoming):
            self.answering.answer(incoming, 482)
        elif handler is not None:
            handler.receive_request(incoming, now)
        elif method == "OPTIONS":
            self.answer_options(incoming)
        else:
            # A NOTIFY that belongs to no subscription is told so (RFC 6665 §4.1.3).
            self.answering.answer(incoming, 481)

    def is_allowed(self, method: str) -> bool:
        return method in self.handlers or method in self.media_types

    def answer_defect(self, incoming: IncomingRequest, defect: Defect) -> None:
        """What `defects` found, in a final response; 489 names the packages we know (RFC 6665 §8.2.2)."""
        fields = list(defect.headers)
        if defect.status == 489 and self.allow_events:
            fields.append(("Allow-Events", ", ".join(self.allow_events)))
        self.answering.answer(incoming, defect.status or 400, fields, why=defect.reason)

    def answer_options(self, incoming: IncomingRequest) -> None:
        """What we can do (§11.2)."""
        accept = {media: None for types in self.media_types.values() for media in types}
        fields = self.allow_header()
        if accept:
            fields.append(("Accept", ", ".join(accept)))
            if self.encodings:
                fields.append(("Accept-Encoding", ", ".join(self.encodings)))
        if self.allow_events:
            fields.append(("Allow-Events", ", ".join(self.allow_events)))
        fields.append(("Supported", ", ".join(self.supported)))
        self.answering.answer(incoming, 200, fields)

    def answer_cancel(self, incoming: IncomingRequest) -> None:
        """200 where there is something to cancel, though nothing we serve can be cancelled (§9.2)."""
        self.answering.answer(incoming, 200 if self.answering.is_cancellable(incoming) else 481)

    def allow_header(self) -> list[tuple[str, str]]:
        return [("Allow", ", ".join(self.allow))]


def asks_for_sips(request: Request) -> bool:
    """Must our Contact be a sips URI (RFC 3261 §12.1.1)? So says the Request-URI, else the way back."""
    if request.uri[:5].lower() == "sips:":
        return True
    back = request.headers.get("Record-Route") or request.headers.get("Contact") or ""
    return back.lstrip()[:6].lower() == "<sips:"


def tag_at_end(text: str) -> str:
    """The tag of a From or To in which it stands last, as mostly; anything else is the tag of nobody."""
    return text.rpartition(";tag=")[2]
