"""What the user of a dialog or of a method must be able to answer (RFC 5057).

The `UserAgent` routes; these are the shapes it routes to. All calls come from the one thread that drives the
core, `now` is monotonic seconds, and none of them may block.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sipbridge.sip.dialog import Dialog
    from sipbridge.sip.flow import Flow
    from sipbridge.sip.message import Request, Response


class ServerRequest(Protocol):
    """A request from a peer that waits for our answer: the user's view of a server transaction."""

    request: "Request"
    flow: "Flow"
    trace: str
    dialog: "Dialog | None"
    """The known dialog it belongs to."""

    @property
    def to_tag(self) -> str:
        """The tag our responses carry in To: the dialog's, or a fresh one."""
        ...

    def respond(
        self,
        status: int,
        *,
        reason: str = "",
        headers: "Sequence[tuple[str, str]]" = (),
        body: bytes = b"",
        after: int | None = None,
    ) -> None:
        """Answer. With `after`, the final response waits until that store change is committed."""
        ...


class RequestHandler(Protocol):
    """Serves a method outside dialogs (`UserAgent.serve`)."""

    def receive_request(self, incoming: ServerRequest, now: float) -> None: ...


class Usage(Protocol):
    """Uses one dialog: gets its requests."""

    def receive_request(self, incoming: ServerRequest, now: float) -> None: ...


@runtime_checkable
class Orderly(Protocol):
    """A usage that wants to know when its peer has forgotten the order of the dialog."""

    def order_lost(self, now: float) -> None:
        """The peer counts its requests anew; by §12.2.2 of RFC 3261 all of them have to be refused."""
        ...


class ResponseHandler(Protocol):
    """Waits for the answer to a request of ours. Exactly one of the two is called, once."""

    def receive_response(self, response: "Response", now: float) -> None:
        """The final response, after digest challenges have been answered."""
        ...

    def request_failed(self, reason: str, now: float) -> None:
        """No answer: `reason` is "timeout" or "transport" (RFC 3261 §8.1.3.1).

        Or "too-large", if that was asked for (`UserAgent.request_in_dialog`). Or "unproven": a stranger has
        moved, and this is more than may go to where he was not heard (`Dialog.affords`).
        """
        ...


class Timed(Protocol):
    """Has asked to be woken (`UserAgent.schedule`)."""

    def handle_timeout(self, now: float) -> None: ...


class StoreWaiter(Protocol):
    """Waits for a store change (`UserAgent.when_stored`). Exactly one of the two is called, once."""

    def change_committed(self, now: float) -> None:
        """The change is durable; responses that waited for it have been sent."""
        ...

    def change_failed(self, now: float) -> None:
        """The change could not be stored; responses that waited for it have become 500."""
        ...
