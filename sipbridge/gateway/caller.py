"""Who calls.

Two fields everywhere: an application may one day act for many users, so neither alone names the caller.
Correlators are unique within an application, publications belong to the pair.
"""

from dataclasses import dataclass

from sipbridge.identities import PresentityKey
from sipbridge.uri import Uri
from sipbridge.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Caller:
    """An application instance acting as one SIP identity.

    application: its id (Basic-auth user name, Bayeux prefix). identity: the SIP address it acts as, as
    presentity and as watcher; `key` is that address's key. trace: the id of this request, for logs, faults
    and everything the request causes. bound: credentials of a person, not of the application: it may neither
    name another identity nor read or end what the application holds for others. until: monotonic seconds at
    which the credentials end; None: never.
    """

    application: str
    identity: Uri
    key: PresentityKey
    trace: str = ""
    bound: bool = False
    until: float | None = None
