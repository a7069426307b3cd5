"""Calls: the requests that operations stand for, held against the bridge's own table."""

from datetime import timedelta
from typing import Any

import pytest

from sipbridge.client import Activity, AttributeKind, BadAnswer, operations
from sipbridge.client.operations import Call, Reference
from sipbridge.errors import InvalidValue
from sipbridge.rest import ocsg
from sipbridge.uri import Uri

ALICE = "sip:alice@example.com"
REFERENCE = Reference("c/1", "/bayeux/app_bob/x")
CALLS: dict[str, Call[Any]] = {
    "getOpenSubscriptions": operations.get_open_subscriptions(),
    "getMyWatchers": operations.get_my_watchers(),
    "updateSubscriptionAuthorization": operations.update_subscription_authorization(
        ALICE, {AttributeKind.PLACE: False}
    ),
    "subscribePresence": operations.subscribe_presence(ALICE, REFERENCE, "Desk"),
    "blockSubscription": operations.block_subscription(Uri.parse(ALICE)),
    "leaveSubscription": operations.leave_subscription(ALICE),
    "startPresenceNotification": operations.start_presence_notification(
        ALICE, REFERENCE, timedelta(seconds=5), duration=timedelta(hours=1), count=3
    ),
    "endPresenceNotification": operations.end_presence_notification("c/1"),
    "getUserPresence": operations.get_user_presence(ALICE),
    "publish": operations.publish([Activity.BUSY], timedelta(minutes=1)),
}


def test_every_operation_of_the_bridge_has_its_call() -> None:
    assert CALLS.keys() == ocsg.OPERATIONS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_goes_where_the_bridge_says(name: str) -> None:
    call, known = CALLS[name], ocsg.OPERATIONS[name]
    assert call.method == known.method
    assert call.path.startswith(ocsg.ROOT + known.path.partition("{")[0])


def test_what_varies_in_a_path_is_one_segment() -> None:
    assert CALLS["endPresenceNotification"].path.endswith("/notification/c%2F1")
    assert CALLS["blockSubscription"].path.endswith("/subscription/sip%3Aalice%40example.com")


@pytest.mark.parametrize("given", ["", Uri.parse("tel:+1")])
def test_an_empty_segment_would_name_something_else(given: str | Uri) -> None:
    if given:
        assert operations.block_subscription(given).path.endswith("/tel%3A%2B1")
        return
    with pytest.raises(InvalidValue):
        operations.block_subscription(given)
    with pytest.raises(InvalidValue):
        operations.end_presence_notification("")


def test_a_lifetime_is_whole_seconds() -> None:
    assert CALLS["publish"].headers == {"X-Presence-Expires": "60"}
    for expires in (timedelta(seconds=-1), timedelta(milliseconds=1)):
        with pytest.raises(InvalidValue):
            operations.publish([], expires)


def test_what_is_optional_is_left_out() -> None:
    call = operations.start_presence_notification(ALICE, REFERENCE, timedelta(0))
    assert isinstance(call.body, dict)
    assert not {"duration", "count", "criteria"} & call.body.keys()


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'{"result": null}', b'{"result": [{"attributes": []}]}']
)
def test_an_answer_that_makes_no_sense_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        operations.get_open_subscriptions().result(body)
