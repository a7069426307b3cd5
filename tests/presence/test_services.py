"""Tuples: status, contact, and what peers misplace. Whole documents are in test_pidf."""

import pytest

from sipbridge.presence import pidf
from sipbridge.presence.model import Basic, Contact, Note, Presence, Tuple
from sipbridge.presence.namespaces import PIDF

NAMESPACES = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
    'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:v="urn:vendor"'
)


def read(inside: str, entity: str = 'entity="sip:q@quay.example"') -> Presence:
    return pidf.parse(f"<presence {NAMESPACES} {entity}>{inside}</presence>".encode())


def codes(document: Presence) -> list[str]:
    return [each.code for each in document.deviations]


def only_tuple(inside: str) -> Tuple:
    return read(f'<tuple id="a">{inside}</tuple>').tuples[0]


@pytest.mark.parametrize(
    ("text", "basic", "kept", "code"),
    [
        ("open", Basic.OPEN, None, []),
        ("closed", Basic.CLOSED, None, []),
        (" Open\n", Basic.OPEN, None, ["basic-spelling"]),
        ("CLOSED", Basic.CLOSED, None, ["basic-spelling"]),
        ("inuse", None, "inuse", ["bad-basic"]),
        ("", None, "", ["bad-basic"]),
    ],
)
def test_basic_is_open_closed_or_no_statement(
    text: str, basic: Basic | None, kept: str | None, code: list[str]
) -> None:
    document = read(f'<tuple id="a"><status><basic>{text}</basic></status></tuple>')
    assert (document.tuples[0].basic, document.tuples[0].basic_text) == (basic, kept)
    assert codes(document) == code


def test_a_basic_in_the_wrong_place_is_no_status() -> None:
    service = only_tuple(
        "<status><v:was><basic>closed</basic></v:was></status><v:x><basic>closed</basic></v:x>"
    )
    assert service.basic is None
    assert [each.name for each in (*service.status_extensions, *service.extensions)] == [
        "{urn:vendor}was",
        "{urn:vendor}x",
    ]


def test_contact_and_note_inside_status_belong_to_the_tuple() -> None:
    service = only_tuple(
        '<status><basic>open</basic><contact priority="1">sip:x@y</contact><note>n</note></status>'
    )
    assert service.contact == Contact("sip:x@y", "1")
    assert service.notes == (Note("n"),)


@pytest.mark.parametrize(
    ("written", "priority", "bad"),
    [
        ("0.8", "0.8", False),
        ("1.000", "1.000", False),
        ("0,8", "0.8", True),
        ("2", "2", True),
        ("high", "high", True),
    ],
)
def test_priority_is_kept_as_written_but_for_the_comma(
    written: str, priority: str, bad: bool
) -> None:
    document = read(
        f'<tuple id="a"><status/><contact priority="{written}">sip:x@y</contact></tuple>'
    )
    assert document.tuples[0].contact == Contact("sip:x@y", priority)
    assert ("bad-priority" in codes(document)) is bad


def test_the_first_contact_counts_and_the_second_is_kept_behind() -> None:
    document = read(
        '<tuple id="a"><status/><contact>sip:1@y</contact><contact>sip:2@y</contact><v:e/></tuple>'
    )
    service = document.tuples[0]
    assert service.contact == Contact("sip:1@y")
    assert [each.name for each in service.extensions] == [
        "{urn:vendor}e",
        f"{{{PIDF}}}contact",
    ]
    assert pidf.parse(pidf.serialise(document)) == document
