"""What applications are told: four messages, as values and as the JSON they become.

Their shapes are those of the RESTful Presence interface, section "Notifications": `statusChanged` and
`statusEnd` belong to a contract and carry its correlator, `notifySubscription` and `subscriptionEnded`
belong to a subscription and carry the presentity.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson
from msgspec.structs import replace

from sipbridge.gateway.ports import ContractRecord, Grant, Notification, SubscriptionRecord
from sipbridge.mapping.attributes import (
    MEMBER,
    Attribute,
    AttributeKind,
    Other,
    Value,
    print_time,
    value_to_json,
)
from sipbridge.mapping.other import owner_of


class EndReason(StrEnum):
    """Why a subscription ended."""

    BLOCKED = "Blocked"
    TIMEOUT = "Timeout"
    CONNECTION_FAILURE = "ConnectionFailure"


def status_changed(
    contract: ContractRecord,
    presentity: str,
    changed: Iterable[Attribute],
    grant: Grant,
    trace: str = "",
    *,
    stale: bool = False,
) -> Notification:
    """Permitted attributes of `presentity` changed, or this is the immediate check.

    stale: their presence server does not answer, so they may be old; only then it is said.
    """
    data = b"".join(
        (
            b'{"statusChanged":{"changedAttributes":[',
            b",".join(map(attribute_text, changed)),
            b'],"correlator":',
            orjson.dumps(contract.correlator),
            b',"presentity":',
            orjson.dumps(presentity),
            b',"stale":true}}' if stale else b"}}",
        )
    )
    return Notification(
        contract.application,
        contract.endpoint,
        "statusChanged",
        data,
        contract.correlator,
        trace,
        grant,
    )


def attribute_text(attribute: Attribute) -> bytes:
    """An attribute as JSON text: `to_json`, without the dictionaries, as it is done thousands of times."""
    value = attribute.value
    if isinstance(value, Other):
        name, said = orjson.dumps(value.name), orjson.dumps(value.value)
        text = b'"Other","other":{"name":' + name + b',"value":' + said + b"}}"
    elif isinstance(value, tuple):
        text = b'"Communication","communication":' + orjson.dumps(value_to_json(value)) + b"}"
    else:
        text = word_text(attribute.kind, value)
    text = time_text(attribute.last_change) + text
    if attribute.note is None:
        return text + b"}"
    return text + b',"note":' + orjson.dumps(attribute.note) + b"}"


@lru_cache(maxsize=256)
def word_text(kind: AttributeKind, word: Value) -> bytes:
    """A value out of a list of words."""
    return b'"%b","%b":%b}' % (kind.encode(), MEMBER[kind].encode(), orjson.dumps(word))


@lru_cache(maxsize=1024)
def time_text(at: datetime | None) -> bytes:
    """How an attribute of this time begins. Those of one document share their times."""
    told = b"" if at is None else b'"lastChange":"%b",' % print_time(at).encode()
    return b"{" + told + b'"typeAndValue":{"unionElement":'


def cut(notification: Notification, granted: frozenset[AttributeKind]) -> Notification | None:
    """A statusChanged with only what is granted; None if nothing of it is."""
    if notification.grant is None:
        return notification
    told = orjson.loads(notification.data)
    body = told["statusChanged"]
    before = body["changedAttributes"]
    left = [a for a in before if may_see(a, granted)]
    if len(left) == len(before):
        return notification
    if not left:
        return None
    body["changedAttributes"] = left
    kinds = tuple(k for k in notification.grant.kinds if k in granted)
    grant = replace(notification.grant, kinds=kinds)
    return replace(notification, data=orjson.dumps(told), grant=grant)


def may_see(attribute: dict[str, Any], granted: frozenset[AttributeKind]) -> bool:
    """Is this attribute, as JSON, of a granted kind, and its owner too?"""
    union = attribute["typeAndValue"]
    if union["unionElement"] not in granted:
        return False
    pair = union.get("other")
    return pair is None or owner_of(pair["name"], pair["value"]) in granted


def merged(older: Notification, newer: Notification) -> Notification:
    """What two statusChanged of one contract and member say together: of a kind both tell, the newer word.

    Each tells only what had changed, so one that waits for its reader cannot just be replaced by the next.
    """
    if older.grant is None or newer.grant is None or newer.grant.polite:
        return newer
    told = orjson.loads(newer.data)
    body, before = told["statusChanged"], orjson.loads(older.data)["statusChanged"]
    named = {a["typeAndValue"]["unionElement"] for a in body["changedAttributes"]}
    kept = [
        a for a in before["changedAttributes"] if a["typeAndValue"]["unionElement"] not in named
    ]
    body["changedAttributes"] = kept + body["changedAttributes"]
    kinds = tuple(dict.fromkeys((*older.grant.kinds, *newer.grant.kinds)))
    grant = replace(newer.grant, kinds=kinds)
    return replace(newer, data=orjson.dumps(told), grant=grant)


def status_end(contract: ContractRecord, trace: str = "") -> Notification:
    """The count is reached or the duration over. Never sent after End Presence Notification."""
    data = orjson.dumps({"statusEnd": {"correlator": contract.correlator}})
    return Notification(contract.application, contract.endpoint, "statusEnd", data, trace=trace)


def notify_subscription(
    record: SubscriptionRecord, decisions: Iterable[tuple[str, bool]], trace: str = ""
) -> Notification:
    """The presentity, or a policy, has decided, or changed its mind."""
    body = {
        "presentity": record.presentity_uri,
        "decisions": [{"presenceAttribute": k, "decision": d} for k, d in decisions],
    }
    data = orjson.dumps({"notifySubscription": body})
    return Notification(
        record.application, record.reference.endpoint, "notifySubscription", data, trace=trace
    )


def subscription_ended(
    record: SubscriptionRecord, reason: EndReason, trace: str = ""
) -> Notification:
    """The subscription is over; running contracts on it are too, without a `statusEnd`."""
    body = {"presentity": record.presentity_uri, "reason": str(reason)}
    data = orjson.dumps({"subscriptionEnded": body})
    return Notification(
        record.application, record.reference.endpoint, "subscriptionEnded", data, trace=trace
    )
