"""The functions behind `sipbridge map`."""

import json
from datetime import UTC, datetime

import pytest

from sipbridge.cli.map import DEFAULT_ENTITY, map_document, read_time
from sipbridge.errors import ConfigurationError, DocumentError, InvalidValue
from sipbridge.presence import pidf
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
DOCUMENT = b"""<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
  <tuple id="t"><status><basic>open</basic></status></tuple>
  <dm:person id="p">
    <rpid:activities until="2030-01-01T12:00:00Z"><rpid:on-the-phone/></rpid:activities>
    <dm:note>back at ten</dm:note><dm:timestamp>2030-01-01T11:00:00Z</dm:timestamp>
  </dm:person></presence>"""


def test_a_document_becomes_attributes() -> None:
    assert map_document(DOCUMENT, "attributes", AT) == [
        {
            "lastChange": "2030-01-01T11:00:00.000Z",
            "typeAndValue": {"unionElement": "Activity", "activity": "OnThePhone"},
            "note": "back at ten",
        },
        {
            "lastChange": "2030-01-01T11:00:00.000Z",
            "typeAndValue": {
                "unionElement": "Other",
                "other": {"name": "rpid.activity.until", "value": "2030-01-01T12:00:00Z"},
            },
        },
    ]


def test_a_document_becomes_a_webex_presence_or_a_bems_one() -> None:
    assert map_document(DOCUMENT, "webex", AT) == {
        "contactId": "sip:alice@example.com",
        "status": "Call",
        "customStatus": "back at ten",
        "lastActiveTime": None,
        "expiresTime": 1893499200000,
    }
    assert map_document(DOCUMENT, "bems", AT) == {
        "presence": "busy",
        "availability": 6000,
        "personalMessage": "back at ten",
    }
    after = read_time("2030-01-01T12:00:00")
    assert map_document(DOCUMENT, "bems", after) == {
        "presence": "available",
        "availability": 3500,
        "personalMessage": "back at ten",
    }


def test_attributes_become_a_valid_document_and_come_back() -> None:
    attributes = map_document(DOCUMENT, "attributes", AT)
    for body in (attributes, {"presence": attributes}, {"result": attributes}):
        made = map_document(json.dumps(body).encode(), "document", AT, "sip:alice@example.com")
        assert isinstance(made, str)
        assert is_valid(made.encode())
        assert map_document(made.encode(), "attributes", AT) == attributes


def test_without_an_entity_there_is_a_default() -> None:
    made = map_document(b"[]", "document", AT)
    assert isinstance(made, str)
    assert pidf.parse(made.encode()).entity == DEFAULT_ENTITY


@pytest.mark.parametrize("body", [b"{", b"5", b'[{"typeAndValue": {}}]', b"\xff"])
def test_what_is_no_list_of_attributes_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        map_document(body, "document", AT)


def test_what_is_no_document_is_refused() -> None:
    with pytest.raises(DocumentError):
        map_document(b"<presence", "attributes", AT)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        map_document(DOCUMENT, "lync", AT)
    with pytest.raises(ConfigurationError):
        read_time("noon")
