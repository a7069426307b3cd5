"""SUBSCRIBE, NOTIFY, PUBLISH as sans-IO machines (RFC 6665, RFC 3903): both sides of each; and REGISTER.

What stands in `__all__` may be used by other packages. The machines are in `subscriber`, `publisher` and
`registration` (our own requests), `notifier` and `compositor` (those of others); event packages are values
(`package`).
"""

from sipbridge.events.compositor import Compositor, PublicationAuthority
from sipbridge.events.notifier import Notifier, SubscriptionAuthority
from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.publisher import Published, Publisher, PublishFailed, Unpublished
from sipbridge.events.registration import (
    Registered,
    Registrant,
    RegistrationFailed,
    Unregistered,
)
from sipbridge.events.subscriber import (
    Accepted,
    Forked,
    Notified,
    RefreshFailed,
    Refused,
    Subscriber,
    Terminated,
)
from sipbridge.events.winfo_package import PRESENCE_WINFO

__all__ = [
    "PRESENCE",
    "PRESENCE_WINFO",
    "Accepted",
    "Compositor",
    "EventPackage",
    "Forked",
    "Notified",
    "Notifier",
    "PublicationAuthority",
    "PublishFailed",
    "Published",
    "Publisher",
    "RefreshFailed",
    "Refused",
    "Registered",
    "Registrant",
    "RegistrationFailed",
    "Subscriber",
    "SubscriptionAuthority",
    "Terminated",
    "Unpublished",
    "Unregistered",
]
