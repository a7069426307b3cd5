"""What the presence agent must have stored, and whom it asks who somebody is.

The agent keeps everything in memory and lives without a store. With one, it queues a `StoreChange` for each
thing that has to survive a restart (`UserAgent.store`), and the 200 that promises it waits for the commit.
Publications are kept whole: body, entity-tag, end. Subscriptions are kept as the dialog and the deadline, so
that after a restart the agent can go on notifying in them.

A change is an upsert or a removal by `id`; changes of one id come in order. After a restart the newest
`PublicationStored` and `SubscriptionStored` of each id are handed to `PresenceAgent.restore`, those whose end
has passed too: the watchers of a publication that ran out meanwhile have yet to be told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sipbridge.identities import PresentityKey
from sipbridge.sip.digest import DigestServer
from sipbridge.uri import Uri


@dataclass(frozen=True, slots=True)
class PublicationStored:
    """A publication (RFC 3903) as it stands now. `id` stays while entity-tags come and go.

    received, expires: aware UTC. `presentity_uri` is the address-of-record as text.
    """

    id: str
    presentity: PresentityKey
    presentity_uri: str
    etag: str
    content_type: str
    body: bytes
    received: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class PublicationRemoved:
    """The publication was removed or ran out."""

    id: str


@dataclass(frozen=True, slots=True)
class SubscriptionStored:
    """A subscription (RFC 6665) as it stands now: `snapshot` is a JSON object as text. expires: aware UTC."""

    id: str
    presentity: PresentityKey
    package: str
    snapshot: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class SubscriptionRemoved:
    """The subscription ended."""

    id: str


@dataclass(frozen=True, slots=True)
class RegistrationStored:
    """The bindings of one address-of-record (RFC 3261 §10) as they stand now: a JSON list as text."""

    id: PresentityKey
    bindings: str


@dataclass(frozen=True, slots=True)
class RegistrationRemoved:
    """The address-of-record has no binding any more."""

    id: PresentityKey


Record = PublicationStored | SubscriptionStored | RegistrationStored
StoreChange = Record | PublicationRemoved | SubscriptionRemoved | RegistrationRemoved


def by_name(user: str) -> Uri | None:
    """Everybody is who the user name says."""
    return None


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Digest for SIP clients (RFC 3261 §22, RFC 7616, RFC 8760).

    `ha1_of(user, realm, algorithm)` gives the user's H(A1) as lower-case hex, or None for a stranger. The
    user may act as `identity_of(user)`, None standing for `sip:user@domain`, and as nobody else: so a user
    name can be a private identity.
    """

    server: DigestServer
    ha1_of: Callable[[str, str, str], str | None]
    identity_of: Callable[[str], Uri | None] = by_name
