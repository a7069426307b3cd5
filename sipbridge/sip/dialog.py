"""Dialogs: what two user agents remember of each other (RFC 3261 §12, RFC 6665 §4.4.1).

A dialog is made in one of three ways. We sent a request and a 1xx or 2xx with a To tag came: the route set is
its Record-Route turned round (§12.1.2). We sent a SUBSCRIBE and a NOTIFY came, perhaps before any response:
the NOTIFY is a request, so the route set is its Record-Route as it stands (§12.1.1). A peer sent us a
request: the same, with our tag chosen by us.

Afterwards a dialog builds our requests (`new_request`: CSeq one higher each time, Route from the route set,
Request-URI the remote target, with the reversal for strict routers of §12.2.1.1), checks the order of the
peer's (`check`) and follows its Contact (`refresh_target`). It knows no transaction and sends nothing.

`flow` is a hint: where the peer's last message came from, if that was a connection or an in-memory flow. The
core prefers it to the remote target, which behind a NAT or for a client without listener leads nowhere.
A dialog with a `credit` is that of a stranger: nobody has proven who he is, and what he says of his
whereabouts may be meant for somebody else. Requests to an address from which no request of ours was ever
answered may cost no more than that (`is_unheard`, `affords`, `copies`), however he came to name it: in a
Contact, by a name that leads elsewhere today, or when the connection is gone by which he came.

`snapshot` gives plain JSON, so a dialog survives a restart; connections do not, in-memory flows do.
"""

from collections.abc import Mapping, Sequence
from sys import intern

from sipbridge.errors import LocalProtocolError, RemoteProtocolError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.defects import familiar_part
from sipbridge.sip.flow import CONNECTIONS, Flow
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.nat import Nat, hidden, reachable
from sipbridge.uri import Uri

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

DialogId = tuple[str, str, str]
"""Call-ID, local tag, remote tag (§12)."""

MAX_ROUTES = 32
"""Record-Route entries we follow; each is a proxy on the way, and Max-Forwards allows 70 in all."""

CREDIT = 8
"""Bytes that may go to an address nobody has heard from, for each byte that named it: whoever writes a false
one gets little more out of us than he puts in."""

ROOM_FOR_HEAD = 600
"""Bytes of a request besides its body, about."""

MAX_UNPROVEN = 3
"""Copies of one request to such an address: at 0, 0.5 and 1.5 seconds."""

MAX_CSEQ = 2**31 - 1
"""§8.1.1.5: CSeq numbers are below 2**31."""


class Dialog:
    """One dialog, seen from our side."""

    __slots__ = (
        "call_id",
        "contact",
        "counts_anew",
        "credit",
        "flow",
        "heard",
        "local",
        "local_cseq",
        "local_tag",
        "lower",
        "nat",
        "proven",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "route_set",
        "secure",
    )

    def __init__(
        self,
        call_id: str,
        local: NameAddr,
        remote: NameAddr,
        remote_target: str,
        *,
        route_set: Sequence[str] = (),
        local_cseq: int = 0,
        remote_cseq: int | None = None,
        contact: NameAddr | None = None,
        secure: bool = False,
        flow: Flow | None = None,
    ) -> None:
        """`local` and `remote` are From and To with their tags, `remote_target` the text of a URI."""
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.local_tag = local.tag or ""
        self.remote_tag = remote.tag or ""  # §12.1.1: a peer of RFC 2543 may have none
        self.remote_target = remote_target
        self.route_set = tuple(route_set)
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.lower: int | None = None
        """CSeq of the last request that was out of order, if none has counted on since."""
        self.counts_anew = False
        """Two such have come in their own order: the peer has forgotten how far it had counted."""
        self.contact = contact
        self.secure = secure
        self.flow = flow
        self.nat = Nat.OFF
        self.credit: int | None = None
        """Bytes that requests may cost a place from which a stranger was not heard; None: he is none."""
        self.proven = ""
        """The address from which the peer was heard last: by an answer, a stranger over a connection too."""
        self.heard: tuple[str | None, ...] = ()
        """The `words` of the peer's last sound request: the next one will mostly say the same."""

    @classmethod
    def as_uac(cls, request: Request, answer: Message, flow: Flow | None = None) -> "Dialog":
        """The dialog that `answer` makes out of our `request`.

        `answer` is a response with a To tag, or the NOTIFY to our SUBSCRIBE. `flow`: where it came from.
        Raises RemoteProtocolError when it has no Contact or (a response) no tag.
        """
        if isinstance(answer, Response):
            remote, routes = answer.to, list(reversed(record_routes(answer)))
            remote_cseq = None
            if not remote.tag:
                raise RemoteProtocolError("a response without To tag makes no dialog")
        else:
            remote, routes = answer.from_, record_routes(answer)
            remote_cseq = answer.cseq.number
        return cls(
            request.call_id,
            request.from_,
            remote,
            contact_of(answer),
            route_set=routes,
            local_cseq=request.cseq.number,
            remote_cseq=remote_cseq,
            contact=request.contact,
            secure=request.uri.lower().startswith("sips:"),
            flow=hint(flow),
        )

    @classmethod
    def as_uas(
        cls,
        request: Request,
        local_tag: str,
        contact: NameAddr | None = None,
        flow: Flow | None = None,
        nat: Nat = Nat.OFF,
    ) -> "Dialog":
        """The dialog that our 2xx with `local_tag` makes out of the peer's request.

        `contact` is what we say in Contact (`UserAgent.contact_for`), `flow` where the request came from.
        Raises RemoteProtocolError when the request has no Contact.
        """
        routes = record_routes(request)
        target = contact_of(request)
        made = cls(
            request.call_id,
            request.to.with_tag(local_tag),
            request.from_,
            target if routes else reachable(target, flow, nat),
            route_set=routes,
            remote_cseq=request.cseq.number,
            contact=contact,
            secure=request.uri.lower().startswith("sips:"),
            flow=hint(flow),
        )
        made.nat = nat
        return made

    @property
    def id(self) -> DialogId:
        return self.call_id, self.local_tag, self.remote_tag

    @property
    def local_uri(self) -> Uri:
        return self.local.uri

    @property
    def remote_uri(self) -> Uri:
        return self.remote.uri

    def next_cseq(self) -> int:
        """The number of our next request; it counts as used."""
        if self.local_cseq >= MAX_CSEQ:
            raise LocalProtocolError("the dialog has used up its CSeq numbers")
        self.local_cseq += 1
        return self.local_cseq

    def new_request(
        self, method: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """Our next request in this dialog (§12.2.1.1). Via, Max-Forwards and the rest come in the core."""
        uri, routes = self.path()
        fields = [("Route", route) for route in routes]
        fields += (
            ("From", str(self.local)),
            ("To", str(self.remote)),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.next_cseq()} {method}"),
        )
        if self.contact is not None:
            fields.append(("Contact", str(self.contact)))
        return Request(method, uri, Headers([*fields, *headers]), body)

    def path(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values (§12.2.1.1, §16.12.1.1 for the strict router)."""
        if not self.route_set:
            return self.remote_target, ()
        first = NameAddr.parse(self.route_set[0]).uri
        if first.parameter("lr") is not None:
            return self.remote_target, self.route_set
        # A strict router wants to stand in the Request-URI itself; the target moves to the end.
        return str(first), (*self.route_set[1:], f"<{self.remote_target}>")

    def next_hop(self) -> str:
        """Where our requests go first, a URI's text: the first route, else the remote target (§8.1.2)."""
        if self.route_set:
            return NameAddr.parse(self.route_set[0]).uri_text
        return self.remote_target

    def check(self, request: Request) -> None:
        """Order of the peer's requests (§12.2.2); the core calls it before the usage sees the request.

        Raises RemoteProtocolError (500) when the CSeq is lower than one already seen. An equal one passes:
        resent requests are the transaction's affair.
        """
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            self.counts_anew = self.lower is not None and number > self.lower
            self.lower = number
            raise RemoteProtocolError(
                f"CSeq {number} after {self.remote_cseq}: out of order", status_hint=500
            )
        if number != self.remote_cseq:
            self.remote_cseq = number
            self.lower = None  # the peer goes on counting: what came late was only late

    def remember(self, request: Request) -> None:
        """The request was sound and is of this dialog: what says the same again need not be judged again."""
        self.heard = tuple([None if text is None else intern(text) for text in words(request)])

    def refresh_target(self, message: Message, flow: Flow | None = None) -> None:
        """Follow the Contact of a target refresh request or of its 2xx (§12.2.1.2, §12.2.2).

        `flow` brought the request here, or took ours there: then it may be a connection of our own, which
        says nothing of where the peer wants to be reached.
        """
        if message.headers.first().get("contact") != f"<{self.remote_target}>":
            self.remote_target = self.target_in(message, flow) or self.remote_target
        if flow is not None and flow.reliable and isinstance(message, Request):
            self.flow = flow

    def target_in(self, message: Message, flow: Flow | None = None) -> str | None:
        """The target that a message names; None if it names none. `flow` is where its sender was met."""
        contact = message.contact
        if contact is None or contact.is_star:
            return None
        named = contact.uri_text
        if self.route_set or flow is None:
            return named
        answered = flow.protocol in CONNECTIONS and isinstance(message, Response)
        if answered and hidden(named, flow, self.nat):
            return None
        return reachable(named, flow, self.nat)

    @property
    def is_doubtful(self) -> bool:
        """Is it a stranger's who was not heard from where our requests went last?"""
        return self.credit is not None and not self.proven

    def is_unheard(self, flow: Flow) -> bool:
        """Would this way lead to where a stranger was not heard? His own connection leads to him."""
        return self.credit is not None and not flow.connection and flow.remote[0] != self.proven

    def affords(self, body: int) -> bool:
        """May a request with so many bytes of body go to where a stranger was not heard?"""
        return self.credit is None or body + ROOM_FOR_HEAD <= self.credit

    def copies(self, size: int) -> int | None:
        """How often a datagram of this size may leave; None: as often as the timers say."""
        if self.credit is None or self.proven:
            return None
        return max(1, min(MAX_UNPROVEN, self.credit // size))

    def snapshot(self) -> dict[str, Json]:
        """Everything as plain JSON, for `restore`."""
        return {
            "call_id": self.call_id,
            "local": str(self.local),
            "remote": str(self.remote),
            "remote_target": self.remote_target,
            "route_set": list(self.route_set),
            "local_cseq": self.local_cseq,
            "remote_cseq": self.remote_cseq,
            "contact": None if self.contact is None else str(self.contact),
            "secure": self.secure,
            "flow": flow_snapshot(self.flow),
            "credit": self.credit,
            "proven": self.proven,
        }

    @classmethod
    def restore(cls, stored: Mapping[str, Json], *, skip: int = 0) -> "Dialog":
        """A dialog from its snapshot. `skip`: how many requests may have left since it was taken.

        Gaps in our CSeq are allowed (§12.2.1.1 asks only for growth), a number used twice is not.
        Raises LocalProtocolError when it is no snapshot.
        """
        try:
            contact = stored["contact"]
            remote_cseq = stored["remote_cseq"]
            credit = stored.get("credit")
            routes = stored["route_set"]
            dialog = cls(
                text(stored["call_id"]),
                NameAddr.parse(text(stored["local"])),
                NameAddr.parse(text(stored["remote"])),
                text(stored["remote_target"]),
                route_set=[text(r) for r in routes] if isinstance(routes, (list, tuple)) else (),
                local_cseq=number(stored["local_cseq"]) + skip,
                remote_cseq=None if remote_cseq is None else number(remote_cseq),
                contact=None if contact is None else NameAddr.parse(text(contact)),
                secure=bool(stored["secure"]),
                flow=restore_flow(stored.get("flow")),
            )
            dialog.credit = None if credit is None else number(credit)
            dialog.proven = text(stored.get("proven", ""))
            return dialog
        except (KeyError, TypeError, IndexError) as error:
            raise LocalProtocolError(f"not a snapshot of a dialog: {error}") from error


def words(request: Request) -> tuple[str | None, ...]:
    """What a peer says word for word in all requests of a dialog, From and To first.

    That is everything that is ever judged but Via, Call-ID, CSeq and Subscription-State. KeyError if From or
    To is missing.
    """
    headers = request.headers
    first = headers.first()
    routes = headers.lines("record-route") if "record-route" in first else ()
    return (first["from"], first["to"], *familiar_part(request), *routes)


def record_routes(message: Message) -> list[str]:
    """The Record-Route values, as text. Raises RemoteProtocolError beyond MAX_ROUTES."""
    routes = message.headers.values("Record-Route")
    if len(routes) > MAX_ROUTES:
        raise RemoteProtocolError(f"more than {MAX_ROUTES} Record-Route entries")
    return routes


def contact_of(message: Message) -> str:
    """The URI text of the one Contact that a dialog needs."""
    contact = message.contact
    if contact is None or contact.is_star:
        raise RemoteProtocolError("no Contact: nowhere to send requests of the dialog")
    return contact.uri_text


def hint(flow: Flow | None) -> Flow | None:
    """Only a reliable flow is worth remembering; a datagram can always be sent to the target."""
    return flow if flow is not None and flow.reliable else None


def flow_snapshot(flow: Flow | None) -> Json:
    """Flows in memory survive a restart (both ends are ours), connections do not."""
    if flow is None or flow.protocol != "memory":
        return None
    return [flow.protocol, *flow.local, *flow.remote]


def restore_flow(stored: Json) -> Flow | None:
    if not isinstance(stored, (list, tuple)):
        return None
    protocol, local, local_port, remote, remote_port = stored
    return Flow(
        text(protocol), (text(local), number(local_port)), (text(remote), number(remote_port))
    )


def text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def number(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value
