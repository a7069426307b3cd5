"""What the Webex-style interfaces read."""

import pytest
from pydantic import BaseModel

from sipbridge.errors import InvalidValue
from sipbridge.mapping.rows import Status
from sipbridge.rest.watch_models import (
    MAX_CONTACTS,
    EventRequest,
    StopRequest,
    SubscriptionsRequest,
    WatchRequest,
    read,
)


def test_handles_are_numbers_or_objects_in_any_mixture() -> None:
    body = (
        b'{"presenceHandles": [1, {"handle": 2, "contactId": "x", "isValid": true}, 3], "more": 1}'
    )
    assert read(StopRequest, body).numbers == [1, 2, 3]


def test_what_is_left_out_has_the_plugins_defaults() -> None:
    wanted = read(SubscriptionsRequest, b'{"subjects": ["a"]}')
    assert (wanted.subscriptionTtl, wanted.includeStatus) == (600, False)


@pytest.mark.parametrize(
    ("model", "body", "part"),
    [
        (WatchRequest, b"", "body"),
        (WatchRequest, b"{", "body"),
        (WatchRequest, b'"x"', "body"),
        (WatchRequest, b'{"contactIds": null}', "contactIds"),
        (WatchRequest, b'{"contactIds": ["a", null]}', "contactIds[1]"),
        (WatchRequest, b'{"contactIds": [%b"a"]}' % (b'"a",' * MAX_CONTACTS), "contactIds"),
        (StopRequest, b'{"presenceHandles": [1.5]}', "presenceHandles[0]"),
        (StopRequest, b'{"presenceHandles": [{}]}', "presenceHandles[0]"),
        (EventRequest, b'{"subject": "a", "eventType": 1}', "eventType"),
    ],
)
def test_what_cannot_be_read_names_its_part(model: type[BaseModel], body: bytes, part: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(model, body)
    assert caught.value.part.split(".")[0] == part


def test_a_word_that_cannot_be_set_lists_those_that_can() -> None:
    wanted = read(EventRequest, b'{"subject": "a", "eventType": "unknown"}')
    with pytest.raises(InvalidValue) as caught:
        _ = wanted.status
    assert "ooo" in caught.value.valid and "unknown" not in caught.value.valid
    assert (
        read(EventRequest, b'{"subject": "a", "eventType": "ooo"}').status is Status.OUT_OF_OFFICE
    )
