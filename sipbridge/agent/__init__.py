"""The embedded presence agent (RFC 3856): a presence server of our own, sans-IO.

What stands in `__all__` may be used by other packages.
"""

from sipbridge.agent.ports import (
    Authenticator,
    PublicationRemoved,
    PublicationStored,
    Record,
    StoreChange,
    SubscriptionRemoved,
    SubscriptionStored,
)
from sipbridge.agent.presence_agent import AgentLimits, NotRestored, PresenceAgent
from sipbridge.agent.publications import NotShown

__all__ = [
    "AgentLimits",
    "Authenticator",
    "NotRestored",
    "NotShown",
    "PresenceAgent",
    "PublicationRemoved",
    "PublicationStored",
    "Record",
    "StoreChange",
    "SubscriptionRemoved",
    "SubscriptionStored",
]
