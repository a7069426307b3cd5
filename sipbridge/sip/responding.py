"""The answering half of a user agent (RFC 3261 §8.2): server transactions and what users see of them.

A request is matched to its transaction; copies are absorbed there and never seen again. A new one becomes an
`IncomingRequest`, which somebody answers once by `respond`. Responses are built from the raw header text of
the request (§8.2.6.2: Via, From, To, Call-ID and CSeq go back as they came), so a request that is too broken
to be understood can still be told so. They go where §18.2.2 and RFC 3581 send them: back on the same
connection, or to the source address and the port of `rport` or Via. They never follow a `maddr` or a name in
Via (§18.2.2, RFC 3263 §5): anybody can write a victim there. What the Via of a request says about that
is the same in all requests of a peer but for the branch, so it is worked out once for each (`Way`).

The tag of a refusal is not random but sealed (`refusal_tag`): a client that repeats its request with that
tag, as aiosip and its heirs do and should not, is recognised without a memory of refusals.

A 200 may promise that something is durable. `respond(after=number)` keeps the response back until
`committed(number)`; copies of the request are absorbed meanwhile. `store_failed(number)` turns it into a 500.

`FINAL_RESPONSES` is the one table from our error classes to the status of a final response.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sipbridge import errors
from sipbridge.errors import LocalProtocolError, ParseError, ProtocolError, SipBridgeError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.flow import WEB, Address, Flow, Transmit
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.indications import LimitReached, RequestAnsweredByCore, ReuseAsked
from sipbridge.sip.locate import bare
from sipbridge.sip.message import Request, with_tag
from sipbridge.sip.status import reason_for
from sipbridge.sip.timers import Deadlines, Timers
from sipbridge.sip.transactions import (
    InviteServerTransaction,
    ServerKey,
    ServerTransaction,
    ServerTransactions,
    server_key,
)
from sipbridge.sip.via import BRANCH, Via, cut, frame_of, is_transaction_id, parse_vias
from sipbridge.uri import DEFAULT_PORTS

BUSY_RETRY_AFTER = 5
"""Seconds named in Retry-After when a limit is reached: bursts end sooner, a flood is slowed."""

FINAL_RESPONSES: dict[type[SipBridgeError], int | None] = {
    SipBridgeError: 500,
    ProtocolError: None,
    errors.ConfigurationError: 500,
    errors.SignallingError: 500,
    errors.GatewayError: 500,
    errors.UnknownPresentity: 404,
    errors.UnknownWatcher: 404,
    errors.InvalidValue: 400,
    errors.NotAuthorized: 403,
    errors.StoreError: 500,
    errors.StoreUnavailable: 503,
}
"""Status for an error that rose out of a handler; the nearest class counts, None: its own status_hint."""


def status_for(error: SipBridgeError) -> int | None:
    """The final response an error calls for; None: none at all."""
    for kind in type(error).__mro__:
        if kind in FINAL_RESPONSES:
            status = FINAL_RESPONSES[kind]
            if status is None and isinstance(error, ProtocolError):
                return error.status_hint
            return status
    return 500


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """How much one core may hold. Beyond it, requests get 503, and one indication says so."""

    server_transactions: int = 131_072
    """Each lives 32 s over UDP: 4,000 requests a second. About 1.5 kB each."""
    pending_per_peer: int = 4096
    """Requests of one address that nobody has answered yet; a store that hangs must not fill us up."""
    client_requests: int = 32_768
    """Requests of ours without an answer: 1,000 a second to a peer that is silent for 32 s."""
    waiting_for_names: int = 4096
    """Questions to DNS that requests wait for, each as often as it is waited for."""
    names_of_strangers: int = 32
    """Different ones, open for peers who have proven nothing: half of what is asked at a time, so that names
    nobody answers for keep no other waiting."""


class IncomingRequest:
    """A request from a peer that waits for our answer. Implements `usage.ServerRequest`."""

    __slots__ = (
        "dialog",
        "flow",
        "fresh_tag",
        "half",
        "held",
        "hop",
        "request",
        "trace",
        "transaction",
    )

    def __init__(
        self,
        request: Request,
        flow: Flow,
        trace: str,
        transaction: ServerTransaction,
        half: "AnsweringHalf",
        hop: str,
        dialog: Dialog | None = None,
    ) -> None:
        """`hop` is the first Via line as responses carry it, `dialog` the known one it belongs to."""
        self.hop = hop
        self.request = request
        self.flow = flow
        self.trace = trace
        self.transaction = transaction
        self.half = half
        self.dialog = dialog
        self.fresh_tag = ""
        self.held = False

    @property
    def in_dialog(self) -> bool:
        """Has it a To tag? Raises ParseError when To cannot be read."""
        return self.dialog is not None or self.request.to.tag is not None

    @property
    def to_tag(self) -> str:
        """The tag our responses carry in To: the dialog's, or a fresh one."""
        if self.dialog is not None:
            return self.dialog.local_tag
        tag = self.request.to.tag
        if not tag:
            tag = self.fresh_tag = self.fresh_tag or self.half.identifiers.tag()
        return tag

    @property
    def answered(self) -> bool:
        """Has `respond` been called with a final status, or is it too late?"""
        return self.held or self.transaction.answered

    def respond(
        self,
        status: int,
        *,
        reason: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        after: int | None = None,
    ) -> None:
        """Answer. With `after`, the final response waits until that store change is committed.

        A 2xx to SUBSCRIBE carries the Record-Route of the request and our Contact, and in a dialog a 2xx to a
        target refresh request moves the dialog's target. Raises LocalProtocolError when a final response was
        given before; does nothing when the client has given up meanwhile.
        """
        if self.held or (self.transaction.answered and self.transaction.last):
            raise LocalProtocolError(f"{self.request.method} was answered already")
        if self.transaction.answered:
            return
        half, request = self.half, self.request
        if 200 <= status < 300:
            headers = self.accepted(headers)
        tag = "" if self.dialog is not None else self.to_tag
        if status >= 300 and tag == self.fresh_tag:
            tag = half.refusal_tag(request) or tag
        data = response_bytes(
            request, self.hop, status, reason, tag, headers, body, server=half.name
        )
        if after is not None and after in half.uncommitted:
            self.held = True
            half.held.setdefault(after, []).append((self, status, data))
            return
        self.transaction.send(status, data, half.now)

    def accepted(self, headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """What every 2xx does: refresh the dialog's target, or say where we are (§12.1.1)."""
        request = self.request
        if self.dialog is not None and request.method in TARGET_REFRESH:
            self.dialog.refresh_target(request, self.flow)
        if request.method != "SUBSCRIBE":
            return headers
        added = [("Record-Route", line) for line in request.headers.get_all("Record-Route")]
        if not any(name.lower() in ("contact", "m") for name, _ in headers):
            added.append(("Contact", str(self.half.contact(self))))
        return [*added, *headers]

    def refuse(self, error: SipBridgeError) -> None:
        """Answer as the error calls for; nothing if it asks for silence or an answer was given."""
        status = status_for(error)
        if status is not None and not self.answered:
            self.half.answer(self, status, why=str(error))


CANCELLABLE = ("INVITE", "SUBSCRIBE", "PUBLISH", "NOTIFY", "OPTIONS", "MESSAGE", "REGISTER", "INFO")
"""Methods under which a CANCEL looks for its request."""

SEAL_BYTES = 16
"""Of the key that seals refusals' tags."""

TARGET_REFRESH = frozenset({"SUBSCRIBE", "NOTIFY"})
"""Target refresh requests among the methods of presence (RFC 6665 §4.4.1)."""


class AnsweringHalf:
    """Server transactions of one core and the responses that wait for the store."""

    def __init__(
        self,
        *,
        timers: Timers,
        deadlines: Deadlines,
        outbox: list[Transmit],
        identifiers: Identifiers,
        limits: CoreLimits,
        name: str,
        report: Callable[[object], None],
        contact: Callable[[IncomingRequest], NameAddr],
    ) -> None:
        self.timers = timers
        self.deadlines = deadlines
        self.outbox = outbox
        self.identifiers = identifiers
        self.limits = limits
        self.name = name
        self.report = report
        self.contact = contact
        self.now = 0.0
        self.seal = identifiers.entropy(SEAL_BYTES)
        self.transactions = ServerTransactions(timers, deadlines, outbox)
        self.ways: dict[tuple[str, str, Address], Way] = {}
        self.refusing = False
        self.stored = 0
        self.uncommitted: set[int] = set()
        self.held: dict[int, list[tuple[IncomingRequest, int, bytes]]] = {}

    def receive(
        self, request: Request, flow: Flow, now: float, trace: str, dialog: Dialog | None = None
    ) -> IncomingRequest | None:
        """Match it. None: a copy, an ACK, or beyond a limit. Raises ParseError when it is too broken.

        dialog: what it belongs to, if that is plain from its words.
        """
        key, back, hop, via_port = self.place(request, flow)
        transaction = self.transactions.by_key.get(key)
        if transaction is not None:
            if request.method != "ACK":
                transaction.receive_again(now)
            elif isinstance(transaction, InviteServerTransaction):
                transaction.receive_ack(now)
            return None
        if request.method == "ACK":
            return None  # §17.2.1: nobody waits for it, and an ACK is never answered
        if flow.protocol == "tls" and request.top_via.parameters.raw("alias") is not None:
            self.report(ReuseAsked(flow, via_port or DEFAULT_PORTS["sips"]))
        if limit := self.limit_reached(flow):
            self.busy(request, back, hop, trace, limit)
            return None
        if dialog is None:
            request.to  # noqa: B018 - ParseError while nothing is remembered yet
        kind = InviteServerTransaction if request.method == "INVITE" else ServerTransaction
        transaction = kind(key, back, registry=self.transactions, trace=trace, via_port=via_port)
        return IncomingRequest(request, flow, trace, transaction, self, hop, dialog)

    def place(self, request: Request, flow: Flow) -> tuple[ServerKey, Flow, str, int | None]:
        """Key of the transaction, where responses go, their first Via line, the port in Via."""
        line = request.headers.first().get("via")
        parts = cut(line) if line is not None else None
        way = None if parts is None else self.way(parts[0], parts[2], flow)
        if parts is None or way is None or not is_transaction_id(parts[1]):
            via = request.top_via
            return (server_key(request, via), *response_path(line or "", via, flow), via.port)
        branch = parts[1]
        method = "INVITE" if request.method == "ACK" else request.method
        key = (branch, way.host, way.port, str(request.cseq.number), method)
        return key, way.back, f"{way.before};branch={branch}{way.after}", way.via_port

    def way(self, before: str, after: str, flow: Flow) -> "Way | None":
        """The way back to who writes such Vias; None where only the whole line tells."""
        key = (before, after, flow.remote)
        way = self.ways.get(key)
        if way is None or (way.flow is not flow and way.flow != flow):
            way = way_back(before, after, flow)
            if way is not None:
                if len(self.ways) >= MAX_WAYS:
                    self.ways.clear()
                self.ways[key] = way
        return way

    def refusal_tag(self, request: Request) -> str:
        """The To tag that a refusal of this request carries; "" when its From cannot be read."""
        try:
            who = f"{request.call_id} {request.from_.tag or ''}"
        except ParseError:
            return ""
        return blake2b(who.encode("utf-8", "replace"), key=self.seal, digest_size=8).hexdigest()

    def was_refused(self, request: Request) -> bool:
        """Is the To tag one of a refusal of ours: is this the refused request, tried again?

        Such a request belongs outside of dialogs; §12.2.2 leaves it to us. After a restart no tag is ours.
        """
        return request.to.tag == self.refusal_tag(request)

    def is_merged(self, incoming: IncomingRequest) -> bool:
        """The same request by another path (§8.2.2.2)? Remembers it if not. Only without To tag.

        It is remembered as long as its transaction: 32 s after the answer over UDP, over a connection until
        the answer (timer J is 0 there). Who says it once more after that has lost his connection before the
        answer came, or had it from a server that failed (RFC 3263 §4.3), and is served.
        """
        request = incoming.request
        key = (request.from_.tag or "", request.call_id, str(request.cseq.number), request.method)
        if key in self.transactions.merged:
            return True
        self.transactions.remember_merge(incoming.transaction, key)
        return False

    def is_cancellable(self, cancel: IncomingRequest) -> bool:
        """Is there a transaction that differs from the CANCEL's only in its method (§9.2)?"""
        named = cancel.transaction.key[:-1]
        return any((*named, method) in self.transactions.by_key for method in CANCELLABLE)

    def left_open(self, incoming: IncomingRequest, now: float) -> None:
        """The handler has returned; unless it answered, somebody will, or the client gives up."""
        transaction = incoming.transaction
        if transaction.answered:
            return
        self.transactions.wait(transaction, incoming.flow.remote[0])
        transaction.expect_answer(now)

    def limit_reached(self, flow: Flow) -> str:
        """Why nothing new may be taken on from there; "" if it may. Our own gateway is never turned away."""
        if self.refusing:
            return "backlog"
        transactions = self.transactions
        if len(transactions) >= self.limits.server_transactions:
            return "server_transactions"
        if transactions.pending and flow.protocol != "memory":
            waiting = transactions.pending.get(flow.remote[0], 0)
            return "pending_per_peer" if waiting >= self.limits.pending_per_peer else ""
        return ""

    def busy(self, request: Request, back: Flow, hop: str, trace: str, limit: str) -> None:
        """503 without any state: remembering it would be what the limit is against."""
        fields = (("Retry-After", str(BUSY_RETRY_AFTER)),)
        tag = self.identifiers.tag()
        data = response_bytes(request, hop, 503, "", tag, fields, b"", server=self.name)
        self.outbox.append(Transmit(data, back, trace))
        self.report(LimitReached(limit, back.remote[0], trace))

    def answer(
        self,
        incoming: IncomingRequest,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        *,
        why: str = "",
    ) -> None:
        """The core's own answer; reported, because no user will tell of it."""
        incoming.respond(status, headers=headers)
        reason = why or reason_for(status)
        self.report(
            RequestAnsweredByCore(
                incoming.request.method, status, reason, incoming.flow, incoming.trace
            )
        )

    def answer_broken(
        self, error: ParseError, partial: Request | None, flow: Flow, trace: str
    ) -> bool:
        """Tell the sender of an unreadable request so, without any state. False: it cannot be told."""
        status = error.status_hint
        if status is None or partial is None or partial.method == "ACK":
            return False
        if "Via" not in partial.headers:
            return False
        try:
            line = partial.headers.get("Via") or ""
            back, hop = response_path(line, partial.top_via, flow)
        except ParseError:
            # An unreadable Via names no place: back to where it came from.
            back, hop = flow, line
        tag = self.identifiers.tag()
        reason = f"{reason_for(status)} ({error.field})" if error.field else ""
        data = response_bytes(
            partial, hop, status, one_line(reason), tag, (), b"", server=self.name
        )
        self.outbox.append(Transmit(data, back, trace))
        return True

    def store(self) -> int:
        """The number of a new change."""
        self.stored += 1
        self.uncommitted.add(self.stored)
        return self.stored

    def committed(self, number: int) -> None:
        self.uncommitted.discard(number)
        for incoming, status, data in self.held.pop(number, ()):
            incoming.held = False
            if not incoming.transaction.answered:
                incoming.transaction.send(status, data, self.now)

    def store_failed(self, number: int) -> None:
        self.uncommitted.discard(number)
        for incoming, _, _ in self.held.pop(number, ()):
            incoming.held = False
            if not incoming.transaction.answered:
                self.answer(incoming, 500, why="the store failed")

    def connection_closed(self, connection: int) -> None:
        """Responses still due go to a new connection, to the sent-by port (§18.2.2)."""
        for transaction in self.transactions.connections.pop(connection, ()):
            old = transaction.flow
            if old.protocol != "tcp":
                continue  # a new one could not be checked, or not be opened: there is no way back
            port = transaction.via_port or DEFAULT_PORTS["sip"]
            transaction.flow = Flow(old.protocol, old.local, (old.remote[0], port))


BARE_RPORT = re.compile(r";[ \t]*rport[ \t]*(?=;|$)", re.IGNORECASE)


MAX_WAYS = 4096
"""Ways remembered: one for each neighbour, a proxy or a client that comes directly."""


@dataclass(frozen=True, slots=True)
class Way:
    """How responses get back, as far as it does not depend on the branch.

    `flow` brought the requests, `back` takes the responses; `host` and `port` are the sent-by as it stands in
    transaction keys; `before` and `after` stand round the branch in the first Via line of responses.
    """

    flow: Flow
    back: Flow
    host: str
    port: str
    via_port: int | None
    before: str
    after: str


def way_back(before: str, after: str, flow: Flow) -> Way | None:
    """The way back for a Via line of one hop; None if it cannot be told without its branch."""
    frame = frame_of(before, after)
    if frame is None:
        return None
    via = frame.hop
    back, line = response_path(f"{before}{BRANCH}x{after}", via, flow)
    parts = cut(line)
    if parts is None:
        return None
    return Way(flow, back, via.host.lower(), str(via.port), via.port, parts[0], parts[2])


def response_path(line: str, via: Via, flow: Flow) -> tuple[Flow, str]:
    """Where responses go, and their first Via line with `received` and `rport` (§18.2.1, RFC 3581 §4).

    `line` is the request's first Via line, `via` its first hop.
    """
    if flow.protocol == "memory":
        return flow, line
    if flow.protocol in WEB:
        return flow, line  # RFC 7118 §5.3: `received` would tell of the machines in front of us
    host, port = flow.remote
    wants_port = via.wants_rport
    if wants_port or (via.host != host and bare(via.host) != host):
        line = noted(line, via, host, port if wants_port else None)
    if flow.reliable:
        return flow, line
    back = port if wants_port else via.port or DEFAULT_PORTS["sip"]
    return Flow(flow.protocol, flow.local, (host, back)), line


def noted(line: str, via: Via, host: str, port: int | None) -> str:
    """The Via line with the source of the request noted in its first hop."""
    if "," not in line and "received" not in line.lower():
        text, found = (line, 1) if port is None else BARE_RPORT.subn(f";rport={port}", line, 1)
        if found:
            return f"{text};received={host}"
    via = via.with_parameter("received", host)
    if port is not None:
        via = via.with_parameter("rport", str(port))
    return ", ".join(map(str, [via, *parse_vias(line)[1:]]))


def response_bytes(
    request: Request,
    hop: str,
    status: int,
    reason: str,
    to_tag: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    server: str,
) -> bytes:
    """A response on the wire (§8.2.6.2): what is copied goes back as it came, `hop` is the first Via line.

    to_tag: for a To without tag; "" if it is known to have one. Built here and not as a `Response`, because
    it is the most frequent thing a core does. Raises LocalProtocolError for a line break in a header.
    """
    fields = request.headers
    first = fields.first()
    lines = [f"SIP/2.0 {status} {reason or reason_for(status)}", f"Via: {hop}"]
    if "via" in fields.repeated:
        lines += [f"Via: {value}" for value in fields.lines("via")[1:]]
    lines += [f"{name}: {first[key]}" for key, name in COPIED if key in first]
    if "to" in first:
        lines.append(f"To: {with_tag(first['to'], to_tag) if to_tag else first['to']}")
    for name, value in headers:
        if "\n" in value or "\r" in value or "\n" in name:
            raise LocalProtocolError(f"a line break inside {name[:40]!r}")
        lines.append(f"{name}: {value}")
    lines.append(f"Server: {server}\r\nContent-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


COPIED = (
    ("from", "From"),
    ("call-id", "Call-ID"),
    ("cseq", "CSeq"),
    ("timestamp", "Timestamp"),
)
"""What a response repeats besides Via and To."""


def one_line(text: str) -> str:
    """Reason phrases must not break the status line."""
    return "".join(c if c.isprintable() else " " for c in text)[:120]
