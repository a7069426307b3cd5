"""Person and device, in every namespace they are met in."""

import pytest

from sipbridge.presence import pidf
from sipbridge.presence.model import Basic, Cipid, Note, OtherInfo, Person, Presence, Token
from sipbridge.presence.namespaces import DATA_MODEL, RPID

NAMESPACES = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
    'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:op="urn:oma:xml:prs:pidf:oma-pres" '
    'xmlns:cipid="urn:ietf:params:xml:ns:pidf:cipid" '
    'xmlns:x="urn:sipbridge:pidf:extension" xmlns:v="urn:vendor"'
)
AWAY = Token(f"{{{RPID}}}away")


def read(inside: str) -> Presence:
    return pidf.parse(
        f'<presence {NAMESPACES} entity="sip:q@quay.example">{inside}</presence>'.encode()
    )


def person(inside: str) -> Person:
    return read(f'<dm:person id="p">{inside}</dm:person>').persons[0]


@pytest.mark.parametrize(
    "namespace",
    [
        "urn:ietf:params:xml:ns:pidf:data-model",
        "urn:ietf:params:xml:ns:pidf",
        "urn:ietf:params:xml:ns:pidf:person",
        "urn:ietf:params:xml:ns:pidf:rpid",
        "urn:cisco:params:xml:ns:pidf:rpid",
    ],
)
def test_a_person_is_one_in_any_of_five_namespaces(namespace: str) -> None:
    document = read(
        f'<person xmlns="{namespace}" id="p"><rpid:activities><rpid:away/></rpid:activities></person>'
    )
    assert document.persons[0].activities[0].tokens == (AWAY,)
    assert document.extensions == ()
    assert bool(document.deviations) is (namespace != DATA_MODEL)


@pytest.mark.parametrize(
    "namespace",
    [
        "urn:ietf:params:xml:ns:pidf:rpid:rpid-person",
        "urn:ietf:params:xml:ns:pidf:status:rpid",
        "urn:ietf:params:xml:ns:pidf:rpid:status:rpid-status",
    ],
)
def test_activities_of_drafts_are_read_by_name(namespace: str) -> None:
    for inside in (
        "<e:away/>",
        "<e:activity>away</e:activity>",
        "<e:activity><e:away/></e:activity>",
        "away",
    ):
        found = person(f'<e:activities xmlns:e="{namespace}">{inside}</e:activities>')
        assert found.activities[0].tokens == (AWAY,)


def test_a_drafts_status_inside_a_person_is_opened() -> None:
    found = person(
        "<status><basic>open</basic><rpid:activities><rpid:away/></rpid:activities></status>"
    )
    assert found.activities[0].tokens == (AWAY,)
    assert [each.xml for each in found.extensions] == [
        '<status xmlns="urn:ietf:params:xml:ns:pidf"><basic>open</basic></status>'
    ]


def test_a_person_without_id_stays_without() -> None:
    document = read("<dm:person><dm:note>n</dm:note></dm:person>")
    assert document.persons[0].id is None
    assert [each.code for each in document.deviations] == ["no-id"]
    assert b"<dm:person><dm:note>" in pidf.serialise(document)


def test_several_persons_with_one_id_stay_several() -> None:
    document = read('<dm:person id="p"/><dm:person id="p"/>')
    assert len(document.persons) == 2
    assert [each.code for each in document.deviations] == ["duplicate-id"]


def test_what_a_person_holds() -> None:
    found = person(
        "<cipid:icon> http://y/i.png </cipid:icon><cipid:display-name xml:lang='en'>Q</cipid:display-name>"
        "<op:overriding-willingness v:until='later'><op:basic>closed</op:basic></op:overriding-willingness>"
        "<x:other-info name='shift'>night</x:other-info>"
        "<rpid:class>c</rpid:class><dm:note xml:lang='de'>da</dm:note>"
    )
    assert found.cipid == Cipid(icon="http://y/i.png", display_name="Q", display_name_lang="en")
    assert found.overriding_willingness is Basic.CLOSED
    assert found.willingness_attributes == (("{urn:vendor}until", "later"),)
    assert found.other_info == (OtherInfo("shift", "night"),)
    assert (found.classes, found.notes) == (("c",), (Note("da", "de"),))


def test_a_second_user_input_is_kept_behind_the_first() -> None:
    document = read(
        '<dm:person id="p"><rpid:user-input>idle</rpid:user-input>'
        "<rpid:user-input>active</rpid:user-input></dm:person>"
    )
    found = document.persons[0]
    assert found.user_input is not None and found.user_input.state == "idle"
    assert len(found.extensions) == 1
    assert pidf.parse(pidf.serialise(document)) == document


def test_notes_before_extensions_are_read_and_put_right() -> None:
    document = read(
        '<dm:person id="p"><dm:note>n</dm:note><rpid:activities><rpid:away/></rpid:activities></dm:person>'
    )
    assert [each.code for each in document.deviations] == ["element-order"]
    body = pidf.serialise(document)
    assert body.index(b"<rpid:activities") < body.index(b"<dm:note")


def test_a_device_needs_its_device_id() -> None:
    good = read('<dm:device id="d"><dm:deviceID> urn:x:1\n</dm:deviceID></dm:device>')
    assert good.devices[0].device_id == "urn:x:1" and not good.deviations
    assert [each.code for each in read('<dm:device id="d"/>').deviations] == ["no-device-id"]
