"""The sans-IO SIP core: messages, transactions, dialogs, the user agent.

What stands in `__all__` may be used by other packages; everything else is private to this one.
"""

from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.fields import CSeq, Event, MediaType, SubscriptionState
from sipbridge.sip.flow import Address, Flow, ListeningPoint, Transmit
from sipbridge.sip.headers import Headers
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.parser import KeepAlive, Limits, MessageError, StreamParser, parse_datagram
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.status import reason_for
from sipbridge.sip.timers import Deadline, Timers
from sipbridge.sip.user_agent import ClientRequest, CoreLimits, UserAgent
from sipbridge.sip.via import Via

__all__ = [
    "NO_POLICY",
    "Address",
    "CSeq",
    "ClientRequest",
    "CoreLimits",
    "Credentials",
    "Deadline",
    "Dialog",
    "Event",
    "Flow",
    "Headers",
    "Identifiers",
    "KeepAlive",
    "Limits",
    "ListeningPoint",
    "MediaType",
    "Message",
    "MessageError",
    "NameAddr",
    "Parameters",
    "PeerPolicy",
    "Request",
    "Response",
    "StreamParser",
    "SubscriptionState",
    "Timers",
    "Transmit",
    "UserAgent",
    "Via",
    "parse_datagram",
    "reason_for",
]
