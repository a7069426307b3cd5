"""The JSON of the Webex-style interfaces: what requests say, what answers and updates look like.

The SDK's watch API is a library call; its rendering as JSON is ours. The other two, the People API and the
service behind the browser plugin, have shapes of their own. Times are integer UTC milliseconds in the first,
ISO 8601 in the others. Requests are read by these models, and all of them describe themselves in OpenAPI.
"""

from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from sipbridge.errors import InvalidValue
from sipbridge.gateway.wishes import Seen
from sipbridge.mapping.rows import Status
from sipbridge.mapping.webex import SETTABLE, settable

MAX_CONTACTS = 10_000
"""Contacts, or handles, of one request; a caller may have many more of them."""
MAX_SUBJECTS = 50
"""Subjects of one request of the browser plugin, as its own service takes."""
MAX_TTL = 86_400
"""Seconds; a longer wish is cut to it, and the answer says so."""
DEFAULT_TTL = 600


WORDS = (
    "active",
    "calendarItem",
    "call",
    "clear",
    "dnd",
    "inactive",
    "meeting",
    "ooo",
    "presenting",
)
"""What the presence service can be told, and tells."""


STALE = "`true`: the presence server does not answer at the moment, so the status may be old; else absent"


class Model(BaseModel):
    """What requests do not know is ignored, as with the rest of this program's interfaces."""

    model_config = ConfigDict(extra="ignore")


class Presence(Model):
    """`expiresTime`: when the status ends, not how long it lasts."""

    contactId: str
    status: Status
    customStatus: str
    lastActiveTime: Annotated[int | None, Field(description="UTC milliseconds")]
    expiresTime: Annotated[int | None, Field(description="UTC milliseconds")]
    stale: Annotated[bool | None, Field(description=STALE)] = None


class PresenceHandle(Model):
    handle: int
    contactId: str
    isValid: bool


class PresenceUpdate(Model):
    """What a stream says: one message for each handle and change."""

    handle: int
    presence: Presence


class WatchRequest(Model):
    contactIds: Annotated[list[str], Field(max_length=MAX_CONTACTS)]


class WatchResult(Model):
    presenceHandles: list[PresenceHandle]


class NamedHandle(Model):
    handle: StrictInt


class StopRequest(Model):
    """Numbers, or the handles as they were given."""

    presenceHandles: Annotated[list[StrictInt | NamedHandle], Field(max_length=MAX_CONTACTS)]

    @property
    def numbers(self) -> list[int]:
        return [h.handle if isinstance(h, NamedHandle) else h for h in self.presenceHandles]


class Person(Model):
    """A person of the People API. `status` is left out where it is not shared with the caller."""

    id: str
    type: str
    displayName: str
    emails: list[str]
    status: str | None = None
    lastActivity: str | None = None
    stale: Annotated[bool | None, Field(description=STALE)] = None


class People(Model):
    items: list[Person]
    notFoundIds: list[str] | None = None


class StatusObject(Model):
    """A status of the presence service. `expiresTTL` in seconds, -1 for no known end."""

    url: str
    subject: str
    status: str
    statusTime: str
    lastActive: str | None = None
    expiresTTL: int
    expiresTime: str | None = None
    vectorCounters: dict[str, Any]
    suppressNotifications: bool
    stale: Annotated[bool | None, Field(description=STALE)] = None


class CompositionsRequest(Model):
    subjects: Annotated[list[str], Field(max_length=MAX_SUBJECTS)]


class Compositions(Model):
    statusList: list[StatusObject]


class SubscriptionsRequest(CompositionsRequest):
    """`subscriptionTtl` in seconds; 0 ends the subscriptions."""

    subscriptionTtl: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] = DEFAULT_TTL
    includeStatus: StrictBool = False


class SubscriptionAnswer(Model):
    subject: str
    responseCode: int
    subscriptionTtl: int
    status: StatusObject | None = None


class Subscriptions(Model):
    responses: list[SubscriptionAnswer]


class EventRequest(Model):
    """The caller's own status; `ttl` in seconds, 0 for no end."""

    subject: str
    eventType: Annotated[str, Field(json_schema_extra={"enum": list(WORDS)})]
    label: str | None = None
    ttl: Annotated[StrictInt, Field(ge=0, le=10 * 365 * 86_400)] = 0

    @property
    def status(self) -> Status:
        """Raises InvalidValue (part "eventType")."""
        status = settable(self.eventType)
        if status is None:
            valid = tuple(w for w in WORDS if settable(w) in SETTABLE)
            raise InvalidValue(f"{self.eventType} can not be set", part="eventType", valid=valid)
        return status


class EventResult(Model):
    subject: str
    eventType: str
    label: str | None = None
    ttl: int


REQUESTS: tuple[type[BaseModel], ...] = (
    WatchRequest,
    StopRequest,
    CompositionsRequest,
    SubscriptionsRequest,
    EventRequest,
)
ANSWERS: tuple[type[BaseModel], ...] = (
    WatchResult,
    PresenceUpdate,
    Person,
    People,
    StatusObject,
    Compositions,
    Subscriptions,
    EventResult,
)

Request = TypeVar("Request", bound=BaseModel)


def read(model: type[Request], body: bytes) -> Request:
    """A request's body. Raises InvalidValue that names the part."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidValue(f"not JSON: {error}", part="body") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        steps = [s for s in first["loc"] if s not in ("int", "NamedHandle")]
        part = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")
        raise InvalidValue(str(first["msg"]), part=part or "body") from None


def presence_json(seen: Seen, contact_id: str) -> bytes:
    """A Presence object."""
    made = seen.presence.to_json(contact_id)
    return orjson.dumps({**made, "stale": True} if seen.stale else made)
