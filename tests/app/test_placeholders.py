"""Documents that a server makes up are told from those that say something."""

import pytest

from sipbridge.app.placeholders import is_placeholder
from sipbridge.presence import pidf
from sipbridge.sip.policy import PeerPolicy


@pytest.mark.parametrize(
    ("tuples", "made_up"),
    [(["dummy"], True), (["dummy", "void"], True), (["dummy", "t1"], False), ([], False)],
)
def test_all_tuples_have_to_be_made_up(tuples: list[str], made_up: bool) -> None:
    inner = "".join(f'<tuple id="{id}"><status/></tuple>' for id in tuples)
    text = (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b.example">{inner}</presence>'
    )
    known = PeerPolicy(placeholders=frozenset({"dummy", "void"}))
    document = pidf.parse(text.encode())
    assert is_placeholder(document, known) is made_up
    assert not is_placeholder(document, PeerPolicy())
