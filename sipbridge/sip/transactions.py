"""Transactions: one request, its resends, its final response (RFC 3261 §17).

Three machines, each a table from (state, input) to state:

* `CLIENT`, the non-INVITE client (§17.1.2): resends by timer E until a final response, ends by timer F,
  absorbs late copies of the response until timer K.
* `SERVER`, the non-INVITE server (§17.2.2): absorbs copies of the request while nobody has answered, answers
  them from memory afterwards, until timer J. One cell is ours: timer J also ends a request that nobody
  answered, because its client has given up by then and RFC 4320 §4.2 forbids a late 408.
* `INVITE_SERVER` (§17.2.1), as little as an element needs that answers every INVITE with an error: the
  response goes out again by timer G until the ACK comes, which is absorbed.

A missing cell is a fault of our own and raises LocalProtocolError with both names. Over reliable transports
nothing is sent again and the lingering states last no time at all.

A transaction owns no socket and no heap: it appends to the outbox and asks the `Deadlines` it was given. It
leaves its registry by itself when it terminates. Keys: a client transaction is found by branch and method
(§17.1.3), a server transaction by branch, sent-by and method (§17.2.3), to which we add the CSeq number:
libpurple repeats a challenged request under the same branch with the next CSeq, and that is a new request. A
branch without the magic cookie is no name; then the fields of RFC 2543 are the key.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, TypeVar

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import Flow, Transmit
from sipbridge.sip.message import Request, Response
from sipbridge.sip.timers import Deadline, Deadlines, Lingering, Resend, Timers
from sipbridge.sip.via import Via

ClientKey = tuple[str, str]
"""Branch, method."""

ServerKey = tuple[str, ...]
"""See `server_key`."""


class State(StrEnum):
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Input(StrEnum):
    PROVISIONAL = "provisional response"
    FINAL = "final response"
    REQUEST = "request"
    ACK = "ACK"
    RESEND = "timer E or G"
    GIVE_UP = "timer F, H or J"
    LINGER_OVER = "timer I, J or K"
    TRANSPORT_ERROR = "transport error"


Table = Mapping[tuple[State, Input], State]

T, P, C, F, X = State.TRYING, State.PROCEEDING, State.COMPLETED, State.CONFIRMED, State.TERMINATED

CLIENT: Table = {
    (T, Input.PROVISIONAL): P,
    (T, Input.FINAL): C,
    (T, Input.RESEND): T,
    (T, Input.GIVE_UP): X,
    (T, Input.TRANSPORT_ERROR): X,
    (P, Input.PROVISIONAL): P,
    (P, Input.FINAL): C,
    (P, Input.RESEND): P,
    (P, Input.GIVE_UP): X,
    (P, Input.TRANSPORT_ERROR): X,
    (C, Input.PROVISIONAL): C,
    (C, Input.FINAL): C,
    (C, Input.LINGER_OVER): X,
    (C, Input.TRANSPORT_ERROR): C,
}
"""Figure 6. An error of the transport after the final response is nobody's business."""

PROCEEDING: Table = {
    (P, Input.REQUEST): P,
    (P, Input.PROVISIONAL): P,
    (P, Input.FINAL): C,
    (P, Input.GIVE_UP): X,
    (P, Input.TRANSPORT_ERROR): X,
    (C, Input.REQUEST): C,
    (C, Input.TRANSPORT_ERROR): X,
}
"""What both server machines have in common."""

SERVER: Table = {
    **PROCEEDING,
    (T, Input.REQUEST): T,
    (T, Input.PROVISIONAL): P,
    (T, Input.FINAL): C,
    (T, Input.GIVE_UP): X,
    (T, Input.TRANSPORT_ERROR): X,
    (C, Input.LINGER_OVER): X,
}
"""Figure 8."""

INVITE_SERVER: Table = {
    **PROCEEDING,
    (C, Input.RESEND): C,
    (C, Input.ACK): F,
    (C, Input.GIVE_UP): X,
    (F, Input.ACK): F,
    (F, Input.REQUEST): F,
    (F, Input.LINGER_OVER): X,
    (F, Input.TRANSPORT_ERROR): X,
}
"""Figure 7 without its 2xx, which we never send."""


def step(table: Table, state: State, happened: Input) -> State:
    """The next state. Raises LocalProtocolError for a cell that is not there."""
    try:
        return table[state, happened]
    except KeyError:
        raise LocalProtocolError(f"{happened} while {state}") from None


def client_key(response: Response) -> ClientKey:
    """Whose response is it (§17.1.3)? Raises ParseError when Via or CSeq cannot be read."""
    return response.top_via.branch or "", response.cseq.method


def server_key(request: Request, via: Via) -> ServerKey:
    """Which transaction does a request with this top Via belong to (§17.2.3)? ACK: that of its INVITE."""
    cseq = request.cseq
    method = "INVITE" if request.method == "ACK" else request.method
    branch = via.branch
    if branch is not None and via.has_transaction_id:
        return branch, via.host.lower(), str(via.port), str(cseq.number), method
    return (
        str(via),
        request.uri,
        request.call_id,
        request.from_.tag or "",
        str(cseq.number),
        method,
    )


Key = TypeVar("Key")


class Registered(Protocol):
    """Anything with a terminal state."""

    state: State


class TransactionUser(Protocol):
    """Hears how a client transaction went; one of the two, once."""

    def receive_response(self, response: Response, now: float) -> None: ...

    def transaction_failed(self, reason: str, now: float) -> None:
        """`reason` is "timeout" (nothing came at all), "undecided" (no final response) or "transport"."""
        ...


class ClientTransaction:
    """One non-INVITE request of ours on one flow."""

    __slots__ = (
        "data",
        "deadline",
        "flow",
        "gives_up",
        "key",
        "latest",
        "registry",
        "resend",
        "resends_left",
        "state",
        "trace",
        "user",
    )

    def __init__(
        self,
        key: ClientKey,
        data: bytes,
        flow: Flow,
        user: TransactionUser,
        *,
        registry: "ClientTransactions",
        trace: str,
        now: float,
        copies: int | None = None,
        patience: float | None = None,
    ) -> None:
        """Sends at once.

        copies: how often the request leaves at most, None: as the timers say. patience: seconds after which
        silence is failure, if less than timer F.
        """
        self.key = key
        self.data = data
        self.flow = flow
        self.user: TransactionUser | None = user
        self.registry = registry
        self.trace = trace
        self.state = State.TRYING
        timers = registry.timers
        self.latest = now + timers.give_up
        self.gives_up = self.latest if patience is None else min(now + patience, self.latest)
        self.resend = None if flow.reliable or copies == 1 else Resend(timers, now)
        self.resends_left = -1 if copies is None else copies - 1
        self.deadline: Deadline | None = None
        registry.by_key[key] = self
        registry.outbox.append(Transmit(data, flow, trace))
        self.plan()

    def plan(self) -> None:
        """One deadline for timers E and F: the earlier."""
        when = self.gives_up if self.resend is None else min(self.resend.when, self.gives_up)
        self.deadline = self.registry.deadlines.schedule(when, self)

    def receive_response(self, response: Response, now: float) -> None:
        """A response with our branch and method arrived."""
        before = self.state
        if response.status < 200:
            self.state = step(CLIENT, before, Input.PROVISIONAL)
            self.gives_up = self.latest  # who speaks is not silent
            if before is State.TRYING and self.resend is not None:
                self.resend.provisional()
            return
        self.state = step(CLIENT, before, Input.FINAL)
        if before is State.COMPLETED:
            return
        self.linger(now)
        user, self.user = self.user, None
        if user is not None:
            user.receive_response(response, now)

    def linger(self, now: float) -> None:
        """Timer K."""
        self.data = b""
        self.resend = None
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        if self.flow.reliable:
            self.end(Input.LINGER_OVER)
        else:
            self.registry.lingering.add(self, now)

    def handle_timeout(self, now: float) -> None:
        if self.state is State.COMPLETED:
            self.end(Input.LINGER_OVER)
        elif now >= self.gives_up:
            silent = self.state is State.TRYING
            self.fail(Input.GIVE_UP, "timeout" if silent else "undecided", now)
        elif self.resend is None or now < self.resend.when:
            self.plan()
        else:
            self.state = step(CLIENT, self.state, Input.RESEND)
            self.resend.fire(now)
            self.registry.outbox.append(Transmit(self.data, self.flow, self.trace))
            self.resends_left -= 1
            if not self.resends_left:
                self.resend = None
            self.plan()

    def transport_failed(self, now: float) -> None:
        """The flow is broken (§17.1.4)."""
        if self.state is State.COMPLETED:
            self.state = step(CLIENT, self.state, Input.TRANSPORT_ERROR)
        else:
            self.fail(Input.TRANSPORT_ERROR, "transport", now)

    def fail(self, happened: Input, reason: str, now: float) -> None:
        user, self.user = self.user, None
        self.end(happened)
        if user is not None:
            user.transaction_failed(reason, now)

    def end(self, happened: Input) -> None:
        self.state = step(CLIENT, self.state, happened)
        if self.deadline is not None:
            self.deadline.cancel()
        self.registry.by_key.pop(self.key, None)


class ClientTransactions:
    """The client transactions of one core, and what they all use."""

    __slots__ = ("by_key", "deadlines", "lingering", "outbox", "timers")

    def __init__(self, timers: Timers, deadlines: Deadlines, outbox: list[Transmit]) -> None:
        self.timers = timers
        self.deadlines = deadlines
        self.outbox = outbox
        self.lingering = Lingering(deadlines, timers.linger_client(reliable=False))
        self.by_key: dict[ClientKey, ClientTransaction] = {}

    def __len__(self) -> int:
        return len(self.by_key)


class ServerTransaction:
    """One request of a peer. `flow` is where its responses go (§18.2.2)."""

    __slots__ = (
        "answered",
        "deadline",
        "flow",
        "key",
        "last",
        "merge_key",
        "peer",
        "registry",
        "state",
        "trace",
        "via_port",
    )

    table: Table = SERVER
    first = State.TRYING

    def __init__(
        self,
        key: ServerKey,
        flow: Flow,
        *,
        registry: "ServerTransactions",
        trace: str,
        via_port: int | None = None,
    ) -> None:
        self.key = key
        self.flow = flow
        self.registry = registry
        self.trace = trace
        self.via_port = via_port
        self.state = self.first
        self.answered = False
        """Has a final response been given, or is it too late for one?"""
        self.last = b""
        self.deadline: Deadline | None = None
        self.merge_key: tuple[str, ...] | None = None
        self.peer = ""
        registry.add(self)

    def expect_answer(self, now: float) -> None:
        """Nobody has answered yet; when the client gives up, so do we."""
        registry = self.registry
        self.deadline = registry.deadlines.schedule(now + registry.timers.give_up, self)

    def receive_again(self, now: float) -> None:
        """A copy of the request: absorbed, or answered from memory."""
        self.state = step(self.table, self.state, Input.REQUEST)
        if self.last and self.state is not State.CONFIRMED:
            self.registry.outbox.append(Transmit(self.last, self.flow, self.trace))

    def send(self, status: int, data: bytes, now: float) -> None:
        """Send a response. Raises LocalProtocolError after a final one."""
        final = status >= 200
        self.state = step(self.table, self.state, Input.FINAL if final else Input.PROVISIONAL)
        self.last = data
        self.registry.outbox.append(Transmit(data, self.flow, self.trace))
        if final:
            self.answered = True
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None
            if self.peer:
                self.registry.waited(self)
            self.completed(now)

    def completed(self, now: float) -> None:
        """Timer J."""
        if self.flow.reliable:
            self.end(Input.LINGER_OVER)
        else:
            self.registry.lingering.add(self, now)

    def handle_timeout(self, now: float) -> None:
        if self.state is not State.TERMINATED:
            completed = self.state is State.COMPLETED
            self.end(Input.LINGER_OVER if completed else Input.GIVE_UP)

    def transport_failed(self) -> None:
        """No way to the client any more."""
        self.end(Input.TRANSPORT_ERROR)

    def end(self, happened: Input) -> None:
        self.state = step(self.table, self.state, happened)
        self.answered = True
        if self.deadline is not None:
            self.deadline.cancel()
        self.registry.remove(self)


MAX_REFUSALS = 3
"""Copies of a refusal of INVITE without an ACK: nobody has proven that he is where the INVITE came from. A
client that is there sends its INVITE again, which is answered from memory."""


class InviteServerTransaction(ServerTransaction):
    """An INVITE that gets an error."""

    __slots__ = ("copies", "gives_up", "resend")

    table = INVITE_SERVER
    first = State.PROCEEDING

    def completed(self, now: float) -> None:
        """Timers G and H, over reliable transports only H."""
        timers = self.registry.timers
        self.gives_up = now + timers.give_up
        self.resend = None if self.flow.reliable else Resend(timers, now)
        self.copies = 1
        self.plan()

    def plan(self) -> None:
        when = self.gives_up if self.resend is None else min(self.resend.when, self.gives_up)
        self.deadline = self.registry.deadlines.schedule(when, self)

    def receive_ack(self, now: float) -> None:
        """The ACK: quiet from now on."""
        before = self.state
        if before not in (State.COMPLETED, State.CONFIRMED):
            return  # an ACK to an INVITE that has no final response yet means nothing
        self.state = step(self.table, before, Input.ACK)
        if before is State.CONFIRMED:
            return
        if self.deadline is not None:
            self.deadline.cancel()
        rest = self.registry.timers.linger_ack(self.flow.reliable)
        if rest:
            self.deadline = self.registry.deadlines.schedule(now + rest, self)
        else:
            self.end(Input.LINGER_OVER)

    def handle_timeout(self, now: float) -> None:
        if self.state is State.CONFIRMED:
            self.end(Input.LINGER_OVER)
        elif self.state is not State.COMPLETED or now >= self.gives_up or self.resend is None:
            self.end(Input.GIVE_UP)
        else:
            self.state = step(self.table, self.state, Input.RESEND)
            self.resend.fire(now)
            self.registry.outbox.append(Transmit(self.last, self.flow, self.trace))
            self.copies += 1
            if self.copies >= MAX_REFUSALS:
                self.resend = None
            self.plan()


class ServerTransactions:
    """The server transactions of one core, what they all use, and the three ways to find one.

    `merged` finds a request that came by another path under another branch (§8.2.2.2), `connections` the
    ones that wait on a stream. `pending` counts for each peer the requests that wait for somebody's answer.
    """

    __slots__ = (
        "by_key",
        "connections",
        "deadlines",
        "lingering",
        "merged",
        "outbox",
        "pending",
        "timers",
    )

    def __init__(self, timers: Timers, deadlines: Deadlines, outbox: list[Transmit]) -> None:
        self.timers = timers
        self.deadlines = deadlines
        self.outbox = outbox
        self.lingering = Lingering(deadlines, timers.linger_server(reliable=False))
        self.by_key: dict[ServerKey, ServerTransaction] = {}
        self.merged: dict[tuple[str, ...], ServerTransaction] = {}
        self.connections: dict[int, set[ServerTransaction]] = {}
        self.pending: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.by_key)

    def add(self, transaction: ServerTransaction) -> None:
        self.by_key[transaction.key] = transaction
        connection = transaction.flow.connection
        if connection:
            self.connections.setdefault(connection, set()).add(transaction)

    def wait(self, transaction: ServerTransaction, peer: str) -> None:
        """Nobody has answered yet."""
        transaction.peer = peer
        self.pending[peer] = self.pending.get(peer, 0) + 1

    def waited(self, transaction: ServerTransaction) -> None:
        """It has been answered, or given up."""
        peer, transaction.peer = transaction.peer, ""
        left = self.pending.pop(peer, 1) - 1
        if left:
            self.pending[peer] = left

    def remember_merge(self, transaction: ServerTransaction, key: tuple[str, ...]) -> None:
        transaction.merge_key = key
        self.merged[key] = transaction

    def remove(self, transaction: ServerTransaction) -> None:
        self.by_key.pop(transaction.key, None)
        if transaction.peer:
            self.waited(transaction)
        merge_key = transaction.merge_key
        if merge_key is not None and self.merged.get(merge_key) is transaction:
            del self.merged[merge_key]
        waiting = self.connections.get(transaction.flow.connection)
        if waiting is not None:
            waiting.discard(transaction)
            if not waiting:
                del self.connections[transaction.flow.connection]
