"""Peers that do as they are told, for the machines of `events`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.message import Response
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri

ALICE_URI = Uri.parse("sip:alice@example.com")
BOB_URI = Uri.parse("sip:bob@example.com")
TO_BOB = PeerPolicy(next_hops=("sip:192.0.2.2:5060",))
"""Everything goes to the second core of a pair."""

TOY = EventPackage(
    "toy", ("application/x-toy",), default_expires=600, min_expires=10, max_expires=1000
)
"""A package nobody has heard of."""

FORKING = EventPackage("crowd", ("text/plain",), forking=True)
PACKAGES = {p.name: p for p in (PRESENCE, TOY, FORKING)}


def pidf(basic: str = "open", entity: str = "sip:alice@example.com", id: str = "t1") -> bytes:
    """A small presence document."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}">'
        f'<tuple id="{id}"><status><basic>{basic}</basic></status></tuple></presence>'
    ).encode()


@dataclass(frozen=True)
class Answer:
    """How a SUBSCRIBE is answered. status 0: not at all. notify: Subscription-State of a NOTIFY."""

    status: int = 200
    expires: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    notify: str | None = "active"
    body: bytes = b""
    first: bool = False
    """Send the NOTIFY before the response."""
    etag: str = ""
    """SIP-ETag of that NOTIFY."""


class ScriptedNotifier:
    """Answers SUBSCRIBEs with the next of its answers, the last one for ever."""

    def __init__(self, ua: UserAgent, *answers: Answer) -> None:
        self.ua = ua
        self.answers = list(answers) or [Answer()]
        self.got: list[ServerRequest] = []
        self.times: list[float] = []
        self.dialogs: list[Dialog] = []
        self.responses: list[int] = []
        self.failures: list[str] = []
        ua.serve("SUBSCRIBE", self)

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.got.append(incoming)
        self.times.append(now)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer.status:
            return
        asked = incoming.request.expires or 0
        granted = asked if answer.expires is None else answer.expires
        headers = [*answer.headers]
        dialog = None
        if answer.status < 300:
            headers.append(("Expires", str(granted)))
            dialog = self.dialog_of(incoming)
        if dialog is not None and answer.first and answer.notify:
            self.notify(now, answer.notify, answer.body, dialog=dialog, etag=answer.etag)
        incoming.respond(answer.status, headers=headers)
        if dialog is not None and not answer.first and answer.notify:
            state = answer.notify if asked else "terminated;reason=timeout"
            self.notify(now, state, answer.body, dialog=dialog, etag=answer.etag)

    def dialog_of(self, incoming: ServerRequest) -> Dialog:
        request = incoming.request
        for dialog in self.dialogs:
            if dialog.call_id == request.call_id and dialog.local_tag == request.to.tag:
                return dialog
        contact = self.ua.contact_for(request.request_uri, incoming.flow)
        dialog = Dialog.as_uas(request, incoming.to_tag, contact, incoming.flow)
        self.dialogs.append(dialog)
        self.ua.add_dialog(dialog, self)
        return dialog

    def forget(self) -> None:
        """Lose all memory: what comes in a dialog gets 481 from now on."""
        for dialog in self.dialogs:
            self.ua.remove_dialog(dialog)

    def notify(
        self,
        now: float,
        state: str | None = "active",
        body: bytes = b"",
        *,
        dialog: Dialog | None = None,
        event: str | None = "presence",
        content_type: str = PIDF,
        cseq: int | None = None,
        require: str = "",
        etag: str = "",
    ) -> None:
        """A NOTIFY in the newest dialog, or in `dialog`."""
        dialog = dialog or self.dialogs[-1]
        headers = [("Require", require)] if require else []
        if etag:
            headers.append(("SIP-ETag", etag))
        if event is not None:
            headers.append(("Event", event))
        if state is not None:
            headers.append(("Subscription-State", state))
        if body:
            headers.append(("Content-Type", content_type))
        request = dialog.new_request("NOTIFY", headers, body)
        if cseq is not None:
            request.headers.set("CSeq", f"{cseq} NOTIFY")
        self.ua.request_in_dialog(dialog, request, self, now)

    def receive_response(self, response: Response, now: float) -> None:
        self.responses.append(response.status)

    def request_failed(self, reason: str, now: float) -> None:
        self.failures.append(reason)

    @property
    def asked(self) -> list[int | None]:
        """The Expires of each SUBSCRIBE."""
        return [incoming.request.expires for incoming in self.got]


@dataclass(frozen=True)
class Reply:
    """How a PUBLISH is answered. status 0: not at all. etag "": the next number; None: no SIP-ETag."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    expires: int | None = None
    etag: str | None = ""


class ScriptedCompositor:
    """Answers PUBLISHs with the next of its replies, the last one for ever."""

    def __init__(self, ua: UserAgent, *replies: Reply) -> None:
        self.replies = list(replies) or [Reply()]
        self.got: list[ServerRequest] = []
        self.times: list[float] = []
        ua.serve("PUBLISH", self)

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.got.append(incoming)
        self.times.append(now)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.status:
            self.answer(incoming, reply)

    def answer(self, incoming: ServerRequest, reply: Reply) -> None:
        headers = [*reply.headers]
        if reply.status < 300:
            granted = reply.expires
            if granted is None:
                granted = incoming.request.expires or 0
            if granted >= 0:
                headers.append(("Expires", str(granted)))
            if reply.etag is not None:
                headers.append(("SIP-ETag", reply.etag or f"e{len(self.got)}"))
        incoming.respond(reply.status, headers=headers)

    @property
    def story(self) -> list[tuple[str | None, int | None, bytes]]:
        """SIP-If-Match, Expires and body of each PUBLISH."""
        return [(i.request.sip_if_match, i.request.expires, i.request.body) for i in self.got]
