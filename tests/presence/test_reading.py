"""Any body of ours by its root; parts of a list notification."""

import pytest

from sipbridge.errors import DocumentError
from sipbridge.presence import reading
from sipbridge.presence.model import Presence
from sipbridge.presence.pidf_diff import PidfDiff
from sipbridge.presence.rlmi import Instance, Resource, ResourceList
from sipbridge.presence.watcherinfo import WatcherInfo

PIDF = (
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:q@y">'
    b'<tuple id="a"><status><basic>open</basic></status></tuple></presence>'
)
XPIDF = b'<!DOCTYPE presence SYSTEM "x.dtd"><presence><atom id="1"/></presence>'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PIDF, Presence),
        (PIDF.replace(b"ns:pidf", b"ns:cpim-pidf:"), Presence),
        (XPIDF, Presence),
        (
            b'<watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo" version="0" state="full"/>',
            WatcherInfo,
        ),
        (
            b'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:c@y" version="0" fullState="true"/>',
            ResourceList,
        ),
        (b'<d:pidf-diff xmlns:d="urn:ietf:params:xml:ns:pidf-diff"/>', PidfDiff),
        (b'<d:pidf-full xmlns:d="urn:ietf:params:xml:ns:pidf-diff"/>', Presence),
    ],
)
def test_the_root_decides(body: bytes, kind: type) -> None:
    assert isinstance(reading.read(body), kind)
    assert isinstance(reading.read(body, "application/octet-stream"), kind)


def test_a_type_that_belongs_to_another_document_is_noted() -> None:
    document = reading.read(PIDF, "application/xpidf+xml")
    assert [each.code for each in document.deviations] == ["media-type"]


def test_only_xpidf_may_have_a_declaration() -> None:
    with pytest.raises(DocumentError, match="document type"):
        reading.read(b'<!DOCTYPE presence SYSTEM "x.dtd">' + PIDF)
    assert "doctype" in [each.code for each in reading.read(XPIDF).deviations]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ("", None)),
        ('Application/PIDF+XML ; Charset="utf-8" ; x=1', ("application/pidf+xml", "utf-8")),
        ("text/xml;charset=", ("text/xml", None)),
        ("a/b;charset=x;charset=y", ("a/b", "x")),
    ],
)
def test_media_types_are_taken_apart(text: str | None, expected: tuple[str, str | None]) -> None:
    assert reading.split_type(text) == expected


def test_states_of_a_list_survive_a_broken_part() -> None:
    listed = ResourceList(
        "sip:c@y",
        1,
        True,
        (
            Resource(
                "sip:good@y", (), (Instance("1", "terminated"), Instance("2", "active", cid="g"))
            ),
            Resource("sip:broken@y", (), (Instance("1", "active", cid="b"),)),
            Resource("sip:absent@y", (), (Instance("1", "pending", cid="nowhere"),)),
            Resource("sip:silent@y"),
        ),
    )
    states = reading.resource_states(
        listed, {"g": (PIDF, "application/pidf+xml"), "b": (PIDF[:-3], "")}
    )
    assert {uri: (state, presence is not None) for uri, (state, presence) in states.items()} == {
        "sip:good@y": ("active", True),
        "sip:broken@y": ("active", False),
        "sip:absent@y": ("pending", False),
        "sip:silent@y": (None, False),
    }
