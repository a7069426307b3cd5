"""What the core itself reports upward.

Frozen values in a queue (`UserAgent.indications`). Usages report their own kinds through `UserAgent.report`;
those are defined beside the usage. The driver acts on `Resolve` and `CloseConnection` and passes the
others on. `trace` is the id of the message that caused it, "" when there was none.
"""

from dataclasses import dataclass
from enum import StrEnum

from sipbridge.sip.flow import Address, Flow
from sipbridge.sip.records import Question


@dataclass(frozen=True, slots=True)
class Resolve:
    """A request waits for what DNS knows; answer with `UserAgent.receive_answer`."""

    question: Question
    trace: str = ""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """The stream cannot be read any further, or was idle too long: close it."""

    flow: Flow
    reason: str


@dataclass(frozen=True, slots=True)
class ReuseAsked:
    """The peer wants requests to its `port` sent over this connection (alias, RFC 5923 §5)."""

    flow: Flow
    port: int


@dataclass(frozen=True, slots=True)
class ConnectionDropped:
    """A driver refused or gave up a connection. `reason` is one of its words, `detail` for people.

    "address-limit", "total-limit": too many are open; "handshake": no TLS or WebSocket came of it;
    "certificate": not that of whom we asked for; "origin": a web page that is not allowed; "silent": no first
    message in time; "slow": a message begun and not finished; "idle"; "no pong"; "unread": the peer does not
    take what we send; "protocol": the peer broke the rules of WebSocket.
    """

    protocol: str
    remote: Address
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CertificateLoaded:
    """A certificate was renewed on the disk and is in use; `key` names it in the configuration."""

    key: str
    until: str


@dataclass(frozen=True, slots=True)
class CertificateRefused:
    """A file of `sip.tls` has changed and cannot be used; what was loaded before stays in use."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """Bytes that were no acceptable message. `status_hint`: what we answered; None: nothing."""

    reason: str
    status_hint: int | None
    flow: Flow
    trace: str = ""


@dataclass(frozen=True, slots=True)
class StrayResponse:
    """A response that belongs to no transaction of ours; it was dropped (RFC 3261 §18.1.2)."""

    status: int
    method: str
    flow: Flow
    trace: str = ""


@dataclass(frozen=True, slots=True)
class RequestAnsweredByCore:
    """The core answered a request itself: 405, 481, 482, 416, 420, 500, 503, or 200 to OPTIONS."""

    method: str
    status: int
    reason: str
    flow: Flow
    trace: str = ""


@dataclass(frozen=True, slots=True)
class RequestTimedOut:
    """No final response in time: 64*T1, less where another destination can be tried.

    `destination` is "udp:192.0.2.1:5060"; `next` names the one tried now, "" when there is none left.
    """

    method: str
    destination: str
    call_id: str
    trace: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class DestinationFailed:
    """A destination could not be reached; `next` names the one tried now, "" when there is none left."""

    method: str
    destination: str
    error: str
    next: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """None of several destinations answered.

    `tried`: each with its reason, "udp:192.0.2.1:5060 (no answer)".
    """

    method: str
    uri: str
    tried: tuple[str, ...]
    trace: str = ""


class Unmet(StrEnum):
    """Why a challenge is the last word."""

    MISSING = "missing"
    """The request was made without credentials."""
    REALM = "realm"
    """They are for another realm."""
    UNUSABLE = "unusable"
    """No challenge among those of the answer can be answered, or may be."""
    REFUSED = "refused"
    """It was answered, and the answer refused."""


@dataclass(frozen=True, slots=True)
class ChallengeUnmet:
    """A 401 or 407 to a request of ours was not answered, or not rightly, and the request has failed.

    identity: our From; user: of the credentials, "" without; realms: those that the answer names.
    """

    why: Unmet
    status: int
    method: str
    destination: str
    identity: str
    user: str
    realms: tuple[str, ...]
    trace: str = ""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """Something was refused because of a limit.

    `limit` is its name in `CoreLimits`, or "backlog" when too many reports wait for being told.
    """

    limit: str
    peer: str
    trace: str = ""

    @property
    def topic(self) -> str:
        """Of many that wait one says enough."""
        return f"{self.limit} {self.peer}"
