"""Capabilities: comma lists where they say everything, the whole element where not."""

import pytest

from sipbridge.presence import markup
from sipbridge.presence.capabilities import in_order, print_capabilities, read_capabilities
from sipbridge.presence.model import Capabilities

CAPS = 'xmlns:caps="urn:ietf:params:xml:ns:pidf:caps"'


def read(inside: str, tag: str = "caps:servcaps", head: str = CAPS) -> Capabilities:
    return read_capabilities(markup.parse(f"<{tag} {head}>{inside}</{tag}>".encode()))


def test_switches_and_sets_need_no_copy_of_the_element() -> None:
    value = read(
        "<caps:audio>true</caps:audio><caps:methods><caps:supported><caps:INVITE/><caps:BYE/></caps:supported></caps:methods>"
        "<caps:languages><caps:supported><caps:l>en</caps:l></caps:supported></caps:languages>"
    )
    assert value == Capabilities(
        False, (("audio", "true"), ("methods", "INVITE,BYE"), ("languages", "en"))
    )
    printed = print_capabilities(value).replace("<caps:servcaps", f"<caps:servcaps {CAPS}", 1)
    assert read_capabilities(markup.parse(printed.encode())) == value


@pytest.mark.parametrize(
    ("inside", "stated"),
    [
        (
            "<caps:duplex><caps:supported><caps:full/></caps:supported><caps:notsupported><caps:half/></caps:notsupported></caps:duplex>",
            ("duplex", "full"),
        ),
        ('<caps:description xml:lang="en">phone</caps:description>', ("description", "phone")),
        ("<caps:audio>TRUE</caps:audio>", ("audio", "true")),
        (
            '<caps:methods><caps:supported><caps:INVITE v="1"/></caps:supported></caps:methods>',
            ("methods", "INVITE"),
        ),
    ],
)
def test_what_does_not_fit_a_list_is_kept_whole(inside: str, stated: tuple[str, str]) -> None:
    value = read(inside)
    assert value.supported == (stated,)
    assert value.xml is not None
    assert read_capabilities(markup.parse(print_capabilities(value).encode())) == value


def test_capabilities_of_drafts_and_devices() -> None:
    draft = read(
        "<s:text>true</s:text>", "s:servcaps", 'xmlns:s="urn:ietf:params:xml:ns:pidf:servcaps"'
    )
    assert draft.supported == (("text", "true"),) and draft.xml is not None
    device = read(
        "<caps:mobility><caps:supported><caps:fixed/></caps:supported></caps:mobility>",
        "caps:devcaps",
    )
    assert device == Capabilities(True, (("mobility", "fixed"),))


def test_the_schemas_order() -> None:
    value = Capabilities(False, (("video", "true"), ("methods", "REFER,BYE"), ("audio", "true")))
    assert in_order(value).supported == (
        ("audio", "true"),
        ("methods", "BYE,REFER"),
        ("video", "true"),
    )
