"""The operations of the RESTful Presence interface as calls: what to send, how to read what comes back.

Each function takes values and returns a `Call`, which says method, path and body and knows how to read the
answer. Nothing here talks to anybody; `blocking.py` and `asynchronous.py` hand calls to an HTTP client and
their answers back, so the two cannot differ. Arguments that no request could carry raise InvalidValue at
once; everything else is the bridge's to judge.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar
from urllib.parse import quote

from sipbridge.client.errors import BadAnswer
from sipbridge.client.values import (
    MAX_ITEMS,
    MAX_TEXT,
    OpenSubscription,
    TimeMetric,
    attributes_of,
    read_attributes,
    read_text,
    time_metric,
)
from sipbridge.errors import InvalidValue
from sipbridge.mapping.attributes import (
    Attribute,
    AttributeKind,
    Value,
    kind_from_json,
    list_to_json,
    mapping,
    sequence,
    text,
)
from sipbridge.uri import Uri

ROOT = "/rest/presence"
SUBSCRIPTION = f"{ROOT}/subscription"
NOTIFICATION = f"{ROOT}/notification"
PRESENCE = f"{ROOT}/presence"
EVENTS = f"{ROOT}/events"
BAYEUX = f"{ROOT}/notifications"

Address = str | Uri
"""Whom it is about: a URI as text or as a value."""

T = TypeVar("T")


def nothing(answer: object) -> None:
    """For operations that answer without a body."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. body: JSON, None for none. read: makes the answer's JSON a value, or raises
    InvalidValue.
    """

    method: str
    path: str
    read: Callable[[object], T]
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()

    def result(self, body: bytes) -> T:
        """What the answer's body says. Raises BadAnswer."""
        try:
            return self.read(json.loads(body) if body.strip() else None)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{self.method} {self.path}: not JSON: {error}") from error
        except InvalidValue as error:
            raise BadAnswer(f"{self.method} {self.path}: {error}") from error


@dataclass(frozen=True, slots=True)
class Reference:
    """Where notifications go. endpoint: a Bayeux channel of the application, or a URL where it has
    webhooks.
    """

    correlator: str
    endpoint: str
    interface_name: str = "PresenceNotification"

    def to_json(self) -> dict[str, object]:
        return {
            "correlator": self.correlator,
            "endpoint": self.endpoint,
            "interfaceName": self.interface_name,
        }


# --- the presentity's side ----------------------------------------------------------------------------


def get_open_subscriptions() -> Call[list[OpenSubscription]]:
    return Call("GET", f"{SUBSCRIPTION}?status=open", read_open_subscriptions)


def get_my_watchers() -> Call[list[str]]:
    return Call("GET", f"{SUBSCRIPTION}?filter=watcher", read_addresses)


def update_subscription_authorization(
    watcher: Address, decisions: Mapping[AttributeKind, bool]
) -> Call[None]:
    listed = [{"presenceAttribute": kind, "decision": said} for kind, said in decisions.items()]
    return Call("PUT", SUBSCRIPTION, nothing, {"watcher": str(watcher), "decisions": listed})


def block_subscription(watcher: Address) -> Call[None]:
    return Call("DELETE", f"{SUBSCRIPTION}/{segment(watcher, 'watcher')}", nothing)


def publish(given: Iterable[Attribute | Value], expires: timedelta | None = None) -> Call[None]:
    headers = {} if expires is None else {"X-Presence-Expires": str(whole_seconds(expires))}
    return Call("PUT", PRESENCE, nothing, {"presence": list_to_json(attributes_of(given))}, headers)


# --- the watcher's side -------------------------------------------------------------------------------


def subscribe_presence(
    presentity: Address,
    reference: Reference,
    application: str,
    attributes: Iterable[AttributeKind] = (),
) -> Call[None]:
    body = {
        "application": application,
        "presentity": str(presentity),
        "reference": reference.to_json(),
        "attributes": list(attributes),
    }
    return Call("POST", SUBSCRIPTION, nothing, body)


def leave_subscription(presentity: Address) -> Call[None]:
    return Call("DELETE", f"{SUBSCRIPTION}?presentity={segment(presentity, 'presentity')}", nothing)


def start_presence_notification(
    presentity: Address,
    reference: Reference,
    frequency: TimeMetric | timedelta,
    check_immediate: bool = True,
    attributes: Iterable[AttributeKind] = (),
    duration: TimeMetric | timedelta | None = None,
    count: int | None = None,
) -> Call[list[str]]:
    body: dict[str, object] = {
        "presentity": str(presentity),
        "reference": reference.to_json(),
        "frequency": time_metric(frequency, "frequency").to_json(),
        "checkImmediate": check_immediate,
        "attributes": list(attributes),
    }
    if duration is not None:
        body["duration"] = time_metric(duration, "duration").to_json()
    if count is not None:
        body["count"] = count
    return Call("PUT", NOTIFICATION, read_addresses, body)


def end_presence_notification(correlator: str) -> Call[None]:
    return Call("DELETE", f"{NOTIFICATION}/{segment(correlator, 'correlator')}", nothing)


def get_user_presence(
    presentity: Address, attributes: Iterable[AttributeKind] = ()
) -> Call[list[Attribute]]:
    asked = {"presentity": str(presentity), "attributes": list(attributes)}
    query = quote(json.dumps(asked, separators=(",", ":")), safe="")
    return Call("GET", f"{PRESENCE}?query={query}", read_presence)


# --- reading and writing ------------------------------------------------------------------------------


def read_result(answer: object) -> list[object]:
    return list(sequence(mapping(answer, "body").get("result"), "result", MAX_ITEMS))


def read_addresses(answer: object) -> list[str]:
    return [text(item, "result", MAX_TEXT) for item in read_result(answer)]


def read_presence(answer: object) -> list[Attribute]:
    return list(read_attributes(read_result(answer), "result"))


def read_open_subscriptions(answer: object) -> list[OpenSubscription]:
    found = []
    for item in read_result(answer):
        members = mapping(item, "result")
        kinds = sequence(members.get("attributes"), "attributes", MAX_ITEMS)
        found.append(
            OpenSubscription(
                read_text(members, "watcher"),
                frozenset(kind_from_json(kind, "attributes") for kind in kinds),
                read_text(members, "application"),
            )
        )
    return found


def segment(given: Address, part: str) -> str:
    """Text as one percent-encoded segment of a path. Raises InvalidValue where it would name nothing."""
    if not str(given):
        raise InvalidValue("empty", part=part)
    return quote(str(given), safe="")


def whole_seconds(length: timedelta) -> int:
    if length < timedelta(0) or length % timedelta(seconds=1):
        raise InvalidValue("whole seconds, not below 0", part="expires")
    return length // timedelta(seconds=1)
