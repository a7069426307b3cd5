"""The SIP user agent: bytes in, bytes and indications out (RFC 3261 §8).

Bodies follow; the signatures below are the agreed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.flow import Flow, ListeningPoint, Transmit
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.message import Request
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.timers import Deadline, Timers
from sipbridge.sip.usage import RequestHandler, ResponseHandler, Timed, Usage
from sipbridge.uri import Uri


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """How much one core may hold."""

    server_transactions: int = 131_072
    pending_per_peer: int = 4096
    client_requests: int = 32_768
    waiting_for_names: int = 4096


class ClientRequest:
    """A request of ours on its way; `request.cseq` follows when a challenge is answered."""

    request: Request
    trace: str
    finished: bool

    def cancel(self) -> None:
        """Forget it: the handler is never called. The transaction is absorbed silently."""
        raise NotImplementedError


class UserAgent:
    """One SIP endpoint. Only the driver calls the receive methods; usages call the rest."""

    timers: Timers
    identifiers: Identifiers
    points: tuple[ListeningPoint, ...]
    name: str
    allow_events: list[str]
    """Names of event packages served: Allow-Events of OPTIONS answers and 489s. Usages append to it."""
    supported: list[str]
    """Option tags we understand in Require and name in Supported. Usages append to it."""

    def __init__(
        self,
        points: Sequence[ListeningPoint],
        *,
        name: str = "sipbridge",
        timers: Timers | None = None,
        limits: CoreLimits | None = None,
        identifiers: Identifiers | None = None,
        minimum_digest: str = "MD5",
    ) -> None:
        raise NotImplementedError

    # --- called by the driver ---------------------------------------------------------------------

    def receive_datagram(self, data: bytes, flow: Flow, now: float, trace: str = "") -> None:
        """One datagram, or one whole message of a memory flow."""
        raise NotImplementedError

    def receive_stream(self, data: bytes, flow: Flow, now: float, trace: str = "") -> None:
        """Bytes of a stream connection; `flow.connection` tells which."""
        raise NotImplementedError

    def connection_closed(self, flow: Flow, now: float) -> None:
        """A stream connection ended: requests waiting on it try elsewhere or fail."""
        raise NotImplementedError

    def transport_failed(self, flow: Flow, now: float, error: str) -> None:
        """What was to leave on this flow could not (RFC 3261 §18.4)."""
        raise NotImplementedError

    def receive_addresses(self, host: str, addresses: Sequence[str], now: float) -> None:
        """Answers a ResolveHost indication; no addresses: the name is unknown."""
        raise NotImplementedError

    def committed(self, number: int, now: float) -> None:
        """The change is durable: responses that waited for it leave."""
        raise NotImplementedError

    def store_failed(self, number: int, now: float) -> None:
        """The change could not be stored: responses that waited for it become 500."""
        raise NotImplementedError

    def transmits(self) -> list[Transmit]:
        """What has to leave, in order; drains."""
        raise NotImplementedError

    def indications(self) -> list[object]:
        """What was reported, in order; drains."""
        raise NotImplementedError

    def changes(self) -> list[tuple[int, object]]:
        """What has to be stored, in order, with its numbers; drains."""
        raise NotImplementedError

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called; None: nothing to wait for."""
        raise NotImplementedError

    def handle_timeout(self, now: float) -> None:
        """Wake everything that is due."""
        raise NotImplementedError

    # --- called by usages -------------------------------------------------------------------------

    def serve(self, method: str, handler: RequestHandler) -> None:
        """Requests of this method outside dialogs go to `handler`; the method appears in Allow."""
        raise NotImplementedError

    def accept(self, method: str, media_types: Sequence[str]) -> None:
        """Body types understood for a method: Accept of OPTIONS answers; the method appears in Allow.

        A subscriber calls `accept("NOTIFY", package.body_types)`; it need not `serve` NOTIFY.
        """
        raise NotImplementedError

    def accepted(self, method: str) -> list[str]:
        """The body types given to `accept`, for the Accept header of a 415."""
        raise NotImplementedError

    def report(self, indication: object) -> None:
        """Queue an indication."""
        raise NotImplementedError

    def store(self, change: object) -> int:
        """Queue a change for the store; the number goes into `ServerRequest.respond(after=)`."""
        raise NotImplementedError

    def schedule(self, when: float, timed: Timed) -> Deadline:
        """Call `timed.handle_timeout(now)` once, at or after `when`, unless the Deadline is cancelled."""
        raise NotImplementedError

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

        Contact (SUBSCRIBE, NOTIFY), Via, Max-Forwards, User-Agent, Route come in `request`.
        """
        raise NotImplementedError

    def contact_for(self, identity: Uri, flow_or_protocol: Flow | str = "udp") -> NameAddr:
        """Our Contact for this identity on the listening point of a flow or protocol."""
        raise NotImplementedError

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
    ) -> ClientRequest:
        """Send a request outside dialogs; `handler` hears exactly once, never before this returns.

        Adds Via, Max-Forwards, User-Agent, Contact for SUBSCRIBE and NOTIFY, the policy's routes and
        headers. Answers 401 and 407 with `credentials` (`request.cseq` then rises by one).
        """
        raise NotImplementedError

    def request_in_dialog(
        self,
        dialog: Dialog,
        request: Request,
        handler: ResponseHandler,
        now: float,
        *,
        credentials: Credentials | None = None,
        trace: str = "",
    ) -> ClientRequest:
        """Send `dialog.new_request(...)`. A 2xx refreshes the dialog's target before the handler hears."""
        raise NotImplementedError

    def add_dialog(self, dialog: Dialog, usage: Usage) -> None:
        """Requests of this dialog go to `usage`, after their CSeq was checked."""
        raise NotImplementedError

    def remove_dialog(self, dialog: Dialog) -> None:
        """Forget it: its requests get 481 from now on. Nothing happens if it is unknown."""
        raise NotImplementedError

    def expect_dialog(self, call_id: str, local_tag: str, usage: Usage) -> None:
        """Requests that carry this Call-ID and To tag and belong to no known dialog go to `usage`.

        That is how the NOTIFY that makes the dialog (RFC 6665 §4.4.1), or that of another fork, arrives:
        the usage makes a Dialog of it (`Dialog.as_uac(subscribe, notify)`, `add_dialog`) or answers 481.
        """
        raise NotImplementedError

    def forget_dialog(self, call_id: str, local_tag: str) -> None:
        """End what `expect_dialog` began. Nothing happens if it is unknown."""
        raise NotImplementedError
