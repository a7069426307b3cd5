"""What `sipbridge inspect` answers for bytes of every kind."""

import pytest

from sipbridge.cli.inspect import inspect_bytes

PIDF = (
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:q@y">'
    b'<tuple id="a"><status><basic>open</basic></status></tuple></presence>'
)
LIST = (
    b'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:c@y" version="2" fullState="true">'
    b'<resource uri="sip:q@y"><instance id="1" state="active" cid="one@y"/></resource></list>'
)
PARTS = (
    b"--cut\r\nContent-ID: <one@y>\r\nContent-Type: application/pidf+xml\r\n\r\n" + PIDF + b"\r\n"
    b"--cut\r\nContent-ID: <top@y>\r\nContent-Type: application/rlmi+xml\r\n\r\n"
    + LIST
    + b"\r\n--cut--\r\n"
)
HEADER = (
    b'Content-Type: multipart/related;type="application/rlmi+xml";\r\n '
    b'start="<top@y>";boundary=cut\r\n\r\n'
)
NOTIFY = b"NOTIFY sip:w@192.0.2.7 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bKx\r\n"


def test_one_document() -> None:
    status, facts = inspect_bytes(PIDF)
    assert status == 0
    assert facts["entity"] == "sip:q@y" and facts["deviations"] == []


@pytest.mark.parametrize(
    "data",
    [HEADER + PARTS, PARTS, NOTIFY + HEADER + PARTS, (HEADER + PARTS).replace(b"\r\n", b"\n")],
    ids=["with its header", "alone", "in a message", "with bare line feeds"],
)
def test_a_list_body(data: bytes) -> None:
    status, facts = inspect_bytes(data)
    assert status == 0
    assert facts["list_uri"] == "sip:c@y"
    assert facts["resources"] == {"sip:q@y": ["active", "open"]}


def test_a_message_with_a_charset() -> None:
    body = PIDF.replace(b"</presence>", "<note>Größe</note></presence>".encode("latin-1"))
    status, facts = inspect_bytes(
        NOTIFY + b"Content-Type: application/pidf+xml;charset=iso-8859-1\r\n\r\n" + body
    )
    assert (status, facts["notes"]) == (0, [[None, "Größe"]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 40,
        b"<a/>",
        b"Content-Type: multipart/related\r\n\r\nx",
        b"--\r\n",
        PIDF[:-1],
        b"a: b",
    ],
)
def test_what_is_refused_says_why(data: bytes) -> None:
    status, facts = inspect_bytes(data)
    assert status == 1
    assert set(facts) == {"error"} and facts["error"]
