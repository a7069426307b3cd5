"""Presence documents: what tuples and roots say, tolerated and printed."""

import pytest

from sipbridge.errors import DocumentError
from sipbridge.presence import pidf
from sipbridge.presence.model import Basic, Contact, Extension, Note, Person, Presence, Token, Tuple
from sipbridge.presence.namespaces import RPID

NAMESPACES = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
    'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:v="urn:vendor"'
)


def read(inside: str, entity: str = 'entity="sip:q@quay.example"') -> Presence:
    return pidf.parse(f"<presence {NAMESPACES} {entity}>{inside}</presence>".encode())


def codes(document: Presence) -> list[str]:
    return [each.code for each in document.deviations]


@pytest.mark.parametrize(
    "where",
    [
        "<status><rpid:activities><rpid:away/></rpid:activities></status>",
        "<status/><rpid:activities><rpid:away/></rpid:activities>",
    ],
)
def test_activities_in_a_tuple_belong_to_the_person(where: str) -> None:
    alone = read(f'<tuple id="7 up">{where}</tuple>')
    assert alone.persons[0].id == "person-7-up"
    assert alone.persons[0].activities[0].tokens == (Token(f"{{{RPID}}}away"),)
    joined = read(
        f'<tuple id="a">{where}</tuple><dm:person id="p">'
        f"<rpid:activities><rpid:busy/></rpid:activities></dm:person>"
    )
    assert [len(person.activities) for person in joined.persons] == [2]
    same = read(
        f'<tuple id="a">{where}</tuple><dm:person id="p">'
        f"<rpid:activities><rpid:away/></rpid:activities></dm:person>"
    )
    assert [len(person.activities) for person in same.persons] == [1]


def test_an_entity_in_angle_brackets_is_read() -> None:
    document = read("", 'entity="&lt;sip:q@quay.example&gt;"')
    assert document.entity == "sip:q@quay.example"
    assert codes(document) == ["bad-entity"]
    assert codes(read("", "")) == ["no-entity"]


@pytest.mark.parametrize(
    "root",
    [
        "<presence/>",
        '<presence xmlns="urn:x"/>',
        f"<tuple {NAMESPACES}/>",
        f"<Presence {NAMESPACES}/>",
    ],
)
def test_another_root_is_no_presence_document(root: str) -> None:
    with pytest.raises(DocumentError, match="no presence document"):
        pidf.parse(root.encode())


@pytest.mark.parametrize(
    "namespace", ["urn:ietf:params:xml:ns:cpim-pidf", "urn:ietf:params:xml:ns:cpim-pidf:"]
)
def test_the_namespaces_before_rfc_3863_are_read(namespace: str) -> None:
    body = (
        f'<presence xmlns="{namespace}" entity="sip:q@y"><tuple id="a">'
        f"<status><basic>open</basic></status></tuple></presence>"
    )
    document = pidf.parse(body.encode())
    assert document.tuples[0].basic is Basic.OPEN
    assert codes(document) == ["old-namespace"]


def test_must_understand_is_reported_and_nothing_lost() -> None:
    document = read(
        '<tuple id="a"><status><basic>open</basic></status>'
        '<v:t pidf:mustUnderstand="1" xmlns:pidf="urn:ietf:params:xml:ns:pidf"/></tuple>'
    )
    assert document.tuples[0].basic is Basic.OPEN
    assert codes(document) == ["must-understand"]


def test_unknown_attributes_come_back_where_they_stood() -> None:
    body = (
        '<tuple id="a" v:one="1"><status v:two="2"><basic>open</basic></status>'
        '<contact v:three="3">sip:x@y</contact><note v:four="4">n</note></tuple>'
    )
    document = read(body, 'entity="sip:q@y" v:zero="0"')
    assert pidf.parse(pidf.serialise(document)) == document
    for attribute in ("zero", "one", "two", "three", "four"):
        assert f':{attribute}="'.encode() in pidf.serialise(document)


def test_only_used_namespaces_are_declared() -> None:
    plain = pidf.serialise(Presence("sip:q@y", (Tuple("a", Basic.OPEN),)))
    assert plain == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<presence '
        b'xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:q@y">'
        b'<tuple id="a"><status><basic>open</basic></status></tuple></presence>\n'
    )
    assert pidf.serialise(Presence("sip:q@y", persons=(Person("p"),))).count(b"xmlns") == 2


def test_printing_follows_the_order_of_the_schema() -> None:
    service = Tuple(
        "a",
        Basic.OPEN,
        Contact("sip:x@y"),
        (Note("n"),),
        extensions=(Extension("{u}e", '<e xmlns="u"></e>'),),
        classes=("c",),
    )
    body = pidf.serialise(Presence("sip:q@y", (service,))).decode()
    places = [body.index(sign) for sign in ("<status", "<rpid:class", "<e ", "<contact", "<note")]
    assert places == sorted(places)


def test_a_full_document_of_rfc_5262_reads_as_presence() -> None:
    body = (
        f'<d:pidf-full xmlns:d="urn:ietf:params:xml:ns:pidf-diff" {NAMESPACES} entity="sip:q@y" version="3">'
        f'<tuple id="a"><status/></tuple></d:pidf-full>'
    )
    document = pidf.parse(body.encode())
    assert [each.id for each in document.tuples] == ["a"]
    assert document.attributes == (("version", "3"),)


def test_four_hundred_tuples_are_no_problem() -> None:
    inside = "".join(
        f'<tuple id="t{i}"><status><basic>open</basic></status></tuple>' for i in range(400)
    )
    assert len(read(inside).tuples) == 400
