"""The Python SDK: the presence interface of a running bridge, for programs.

    from sipbridge.client import Activity, PresenceClient

    with PresenceClient("http://127.0.0.1:8080", "app_alice", "secret-a") as alice:
        alice.publish([Activity.MEETING])

`PresenceClient` blocks, `AsyncPresenceClient` awaits; both have the nine operations of the RESTful Presence
interface (`operations.py` is their common table), streams of notifications that survive a lost connection and
a restarted bridge (`stream.py`), a Bayeux listener (`listener.py`) and Webex-style watching (`watching.py`).
What they take and return are frozen values and enumerations (`values.py`, and the vocabulary in
`sipbridge.mapping.attributes`); what goes wrong is one of `errors.py`.

It needs the extra `client` and nothing of the server. Names are loaded when they are first asked for, the
HTTP library when a client is made, so that importing this costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sipbridge.client.asynchronous import AsyncPresenceClient
    from sipbridge.client.blocking import PresenceClient
    from sipbridge.client.errors import (
        BadAnswer,
        Fault,
        PolicyFault,
        PresenceError,
        ServiceFault,
        Unauthenticated,
        Unreachable,
    )
    from sipbridge.client.values import (
        Metric,
        Notification,
        NotifySubscription,
        OpenSubscription,
        OtherNotification,
        Reset,
        SessionRestarted,
        StatusChanged,
        StatusEnd,
        SubscriptionEnded,
        TimeMetric,
        attribute,
    )
    from sipbridge.client.watching import Presence, PresenceHandle, PresenceStatus
    from sipbridge.mapping.attributes import (
        Activity,
        Attribute,
        AttributeKind,
        Means,
        MeansType,
        Other,
        Place,
        Privacy,
        Sphere,
    )

VOCABULARY = "sipbridge.mapping.attributes"
ERRORS = "sipbridge.client.errors"
VALUES = "sipbridge.client.values"
WATCHING = "sipbridge.client.watching"

EXPORTS = {
    "Activity": VOCABULARY,
    "AsyncPresenceClient": "sipbridge.client.asynchronous",
    "Attribute": VOCABULARY,
    "AttributeKind": VOCABULARY,
    "BadAnswer": ERRORS,
    "Fault": ERRORS,
    "Means": VOCABULARY,
    "MeansType": VOCABULARY,
    "Metric": VALUES,
    "Notification": VALUES,
    "NotifySubscription": VALUES,
    "OpenSubscription": VALUES,
    "Other": VOCABULARY,
    "OtherNotification": VALUES,
    "Place": VOCABULARY,
    "PolicyFault": ERRORS,
    "Presence": WATCHING,
    "PresenceClient": "sipbridge.client.blocking",
    "PresenceError": ERRORS,
    "PresenceHandle": WATCHING,
    "PresenceStatus": WATCHING,
    "Privacy": VOCABULARY,
    "Reset": VALUES,
    "ServiceFault": ERRORS,
    "SessionRestarted": VALUES,
    "Sphere": VOCABULARY,
    "StatusChanged": VALUES,
    "StatusEnd": VALUES,
    "SubscriptionEnded": VALUES,
    "TimeMetric": VALUES,
    "Unauthenticated": ERRORS,
    "Unreachable": ERRORS,
    "attribute": VALUES,
}
"""Public name to the module that has it."""

__all__ = [
    "Activity",
    "AsyncPresenceClient",
    "Attribute",
    "AttributeKind",
    "BadAnswer",
    "Fault",
    "Means",
    "MeansType",
    "Metric",
    "Notification",
    "NotifySubscription",
    "OpenSubscription",
    "Other",
    "OtherNotification",
    "Place",
    "PolicyFault",
    "Presence",
    "PresenceClient",
    "PresenceError",
    "PresenceHandle",
    "PresenceStatus",
    "Privacy",
    "Reset",
    "ServiceFault",
    "SessionRestarted",
    "Sphere",
    "StatusChanged",
    "StatusEnd",
    "SubscriptionEnded",
    "TimeMetric",
    "Unauthenticated",
    "Unreachable",
    "attribute",
]


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
