"""XPIDF."""

import pytest

from sipbridge.errors import DocumentError
from sipbridge.presence import xpidf
from sipbridge.presence.model import Basic, Contact, Presence

DOCTYPE = (
    '<!DOCTYPE presence PUBLIC "-//IETF//DTD RFCxxxx XPIDF 1.0//EN" "http://127.0.0.1:9/xpidf.dtd">'
)


def read(status: str, substatus: str = "", head: str = "") -> Presence:
    sub = f'<msnsubstatus substatus="{substatus}"/>' if substatus else ""
    body = (
        f'{head}<presence><presentity uri="sip:q@y;method=SUBSCRIBE"/><atom id="1">'
        f'<address uri="sip:q@192.0.2.9" priority="0,8">'
        f'<status status="{status}"/>{sub}</address></atom></presence>'
    )
    return xpidf.to_presence(xpidf.parse(body.encode()))


@pytest.mark.parametrize(
    ("status", "substatus", "basic", "activities"),
    [
        ("open", "online", Basic.OPEN, []),
        ("closed", "", Basic.CLOSED, []),
        ("open", "away", Basic.OPEN, ["away"]),
        ("inuse", "onthephone", None, ["on-the-phone"]),
        ("inuse", "", None, ["busy"]),
        ("open", "berightback", Basic.OPEN, ["away", "be-right-back"]),
        ("inprogress", "", None, []),
        ("", "", None, []),
    ],
)
def test_words_become_pidf_and_rpid(
    status: str, substatus: str, basic: Basic | None, activities: list[str]
) -> None:
    document = read(status, substatus)
    assert document.entity == "sip:q@y"
    assert document.tuples[0].basic is basic
    assert document.tuples[0].contact == Contact("sip:q@192.0.2.9", "0.8")
    found = [
        token.name.rpartition("}")[2]
        for person in document.persons
        for value in person.activities
        for token in value.tokens
    ]
    assert found == activities


def test_idle_is_an_input_state() -> None:
    person = read("open", "idle").persons[0]
    assert person.user_input is not None and person.user_input.state == "idle"


def test_the_declaration_is_skipped_and_said() -> None:
    assert [each.code for each in read("open", head=DOCTYPE).deviations] == [
        "doctype",
        "old-format",
        "bad-priority",
    ]


@pytest.mark.parametrize(
    "body",
    [b"<presence><tuple/></presence>", b'<presence xmlns="u"><atom/></presence>', b"<atom/>"],
)
def test_other_documents_are_refused(body: bytes) -> None:
    with pytest.raises(DocumentError):
        xpidf.parse(body)
