"""The sans-IO SIP core: messages, transactions, dialogs, the user agent.

What stands in `__all__` may be used by other packages; everything else is private to this one.
"""

from sipbridge.sip.address import NameAddr
from sipbridge.sip.fields import CSeq, Event, MediaType, SubscriptionState
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Message, Request, Response
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.parser import KeepAlive, Limits, MessageError, StreamParser, parse_datagram
from sipbridge.sip.status import reason_for
from sipbridge.sip.via import Via

__all__ = [
    "CSeq",
    "Event",
    "Headers",
    "KeepAlive",
    "Limits",
    "MediaType",
    "Message",
    "MessageError",
    "NameAddr",
    "Parameters",
    "Request",
    "Response",
    "StreamParser",
    "SubscriptionState",
    "Via",
    "parse_datagram",
    "reason_for",
]
