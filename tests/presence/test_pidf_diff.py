"""Outlines of partial documents."""

import pytest

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, pidf_diff
from sipbridge.presence.deviations import Notebook

HEAD = 'xmlns:d="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf"'


def test_operations_in_order() -> None:
    body = (
        f'<d:pidf-diff {HEAD} version="7"><d:add sel="presence"><note/>'
        f'</d:add><d:remove sel="*/note"/><d:twist/></d:pidf-diff>'
    )
    found = pidf_diff.from_root(markup.parse(body.encode()), Notebook())
    assert (found.entity, found.version) == (None, "7")
    assert found.operations == (("add", "presence"), ("remove", "*/note"))
    assert [each.code for each in found.deviations] == ["unknown-element", "no-entity"]


def test_other_documents_are_refused() -> None:
    with pytest.raises(DocumentError):
        pidf_diff.from_root(markup.parse(b"<pidf-diff/>"), Notebook())
