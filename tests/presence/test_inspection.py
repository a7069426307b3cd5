"""Facts as JSON. Whole documents are in tests/documents."""

import json

import pytest

from sipbridge.errors import DocumentError
from sipbridge.presence.inspection import LONG, inspect, inspect_parts

HEAD = 'xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:q@y"'
PIDF = f'<presence {HEAD}><tuple id="a"><status><basic>closed</basic></status></tuple></presence>'.encode()
LIST = (
    b'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:c@y" version="4" fullState="true">'
    b'<resource uri="sip:a@y"><instance id="1" state="active" cid="a"/></resource>'
    b'<resource uri="sip:b@y"><instance id="1" state="active" cid="b"/></resource></list>'
)


def test_a_long_document_is_summed_up() -> None:
    inside = "".join(
        f'<tuple id="t{i}"><status><basic>{"open" if i % 4 else "closed"}</basic></status></tuple>'
        for i in range(LONG + 20)
    )
    facts = inspect(f"<presence {HEAD}>{inside}</presence>".encode())
    tuples = facts["tuples"]
    assert isinstance(tuples, list) and len(tuples) == 3
    assert (facts["tuple_count"], facts["open_count"]) == (LONG + 20, 90)


def test_a_deviation_is_an_object_with_five_members() -> None:
    facts = inspect(PIDF.replace(b"closed", b"shut"))
    assert json.loads(json.dumps(facts))["deviations"] == [
        {
            "code": "bad-basic",
            "rfc": "RFC 3863 §4.1.4",
            "path": "presence/tuple/status/basic",
            "line": 1,
            "message": "basic 'shut' is neither open nor closed",
        }
    ]


def test_a_list_with_a_broken_part() -> None:
    facts = inspect_parts(
        [
            ("b", None, PIDF[:-4]),
            ("a", "application/pidf+xml", PIDF),
            ("top", "application/rlmi+xml;charset=utf-8", LIST),
        ],
        "top",
    )
    assert (facts["list_uri"], facts["version"], facts["full"]) == ("sip:c@y", 4, True)
    assert facts["resources"] == {"sip:a@y": ["active", "closed"], "sip:b@y": ["active", None]}
    deviations = facts["deviations"]
    assert isinstance(deviations, list)
    assert [each["code"] for each in deviations if isinstance(each, dict)] == ["part-refused"]


def test_presence_in_a_mixed_body() -> None:
    facts = inspect_parts([(None, "text/plain", b"hello"), (None, "application/pidf+xml", PIDF)])
    assert facts["entity"] == "sip:q@y"
    with pytest.raises(DocumentError, match="no part"):
        inspect_parts([(None, "text/plain", b"hello")])
