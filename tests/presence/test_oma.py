"""OMA extensions."""

from sipbridge.presence import pidf
from sipbridge.presence.model import Basic, Presence, ServiceDescription

HEAD = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:op="urn:oma:xml:prs:pidf:oma-pres" '
    'xmlns:v="urn:vendor" entity="sip:q@y"'
)


def read(inside: str) -> Presence:
    return pidf.parse(
        f'<presence {HEAD}><tuple id="a"><status/>{inside}</tuple></presence>'.encode()
    )


def test_willingness_and_its_end() -> None:
    document = read(
        '<op:willingness v:until="2031-01-01T00:00:00Z"><op:basic>closed</op:basic></op:willingness>'
    )
    service = document.tuples[0]
    assert service.willingness is Basic.CLOSED
    assert service.willingness_attributes == (("{urn:vendor}until", "2031-01-01T00:00:00Z"),)
    assert pidf.parse(pidf.serialise(document)) == document


def test_a_willingness_that_says_more_is_kept_whole() -> None:
    document = read("<op:willingness><op:basic>open</op:basic><v:but/></op:willingness>")
    assert document.tuples[0].willingness is None
    assert "<v:but" in document.tuples[0].extensions[0].xml
    assert pidf.parse(pidf.serialise(document)) == document


def test_a_service_description_with_and_without_its_parts() -> None:
    document = read(
        "<op:service-description><op:service-id>s</op:service-id>"
        "<op:version> 1.0 </op:version><v:e></v:e></op:service-description>"
        "<op:service-description/>"
    )
    first, second = document.tuples[0].service_descriptions
    assert (first.service_id, first.version, first.description) == ("s", "1.0", None)
    assert first.extensions[0].name == "{urn:vendor}e"
    assert second == ServiceDescription("")
    assert [each.code for each in document.deviations] == ["empty-element"]
