"""Partial documents: outlines, the full form, differences written and carried out."""

import pytest

from sipbridge.errors import DocumentError, LocalProtocolError, PatchError
from sipbridge.presence import markup, pidf, pidf_diff
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


def document(
    basic: str = "open", activity: str = "busy", entity: str = "sip:a@example.com"
) -> bytes:
    """As we print it."""
    more = "".join(
        f'<tuple id="t{n}"><status><basic>open</basic></status><contact>sip:{n}@example.com</contact></tuple>'
        for n in range(4)
    )
    return pidf.serialise(
        pidf.parse(
            (
                f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}" '
                'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
                f'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">{more}'
                f'<tuple id="s"><status><basic>{basic}</basic></status></tuple>'
                f'<dm:person id="p"><r:activities><r:{activity}/></r:activities></dm:person></presence>'
            ).encode()
        )
    )


def difference(old: bytes, new: bytes) -> bytes:
    found = pidf_diff.difference(old, new)
    assert found is not None
    return found.document(7)


def test_the_full_form_is_the_document_with_a_version() -> None:
    partial = pidf_diff.parse(pidf_diff.full(document(), 3))
    assert (partial.is_full, partial.version) == (True, 3)
    assert pidf.parse(pidf_diff.full(document(), 3)).tuples == pidf.parse(document()).tuples
    assert pidf.parse(pidf_diff.plain(partial)) == pidf.parse(document())
    with pytest.raises(LocalProtocolError):
        pidf_diff.full(b"<note/>", 3)


def test_a_difference_makes_the_next_version() -> None:
    old, new = document(), document("closed", "away")
    body = difference(old, new)
    assert len(body) < len(new)
    partial = pidf_diff.parse(body)
    assert (partial.is_full, partial.version) == (False, 7)
    assert pidf.parse(pidf_diff.applied(old, partial)) == pidf.parse(new)


def test_one_after_the_other_whatever_the_first_came_as() -> None:
    states = [document(), document("closed"), document("closed", "away"), document("open", "meal")]
    held = pidf_diff.plain(pidf_diff.parse(pidf_diff.full(states[0], 1)))
    for old, new in zip(states, states[1:], strict=False):
        held = pidf_diff.applied(held, pidf_diff.parse(difference(old, new)))
        assert pidf.parse(held) == pidf.parse(new)


def test_the_root_has_three_names() -> None:
    for name in ("*", "presence", "d:pidf-full"):
        body = f"""<d:pidf-diff {HEAD}><d:remove sel="{name}/tuple[@id='s']"/></d:pidf-diff>"""
        after = pidf.parse(pidf_diff.applied(document(), pidf_diff.parse(body.encode())))
        assert len(after.tuples) == 4


def test_a_publication_has_no_version() -> None:
    found = pidf_diff.difference(document(), document("closed"))
    assert found is not None and pidf_diff.parse(found.document(None)).version is None


def test_what_is_not_shorter_is_no_difference() -> None:
    short = pidf.serialise(pidf.parse(f"<presence {HEAD}/>".encode()))
    assert pidf_diff.difference(document(), short) is None
    assert pidf_diff.difference(document(), document(entity="sip:b@example.com")) is None


def test_between_documents_longer_than_what_is_read_there_is_no_difference() -> None:
    long = pidf.serialise(
        pidf.parse(f"<presence {HEAD}><note><![CDATA[{'&' * 53_000}]]></note></presence>".encode())
    )
    assert len(long) > markup.MAX_BYTES
    assert pidf_diff.difference(long, document()) is None
    assert pidf_diff.difference(document(), long) is None


def test_only_namespaces_that_are_used_are_declared() -> None:
    body = difference(document(), document("closed"))
    assert body.count(b"xmlns") == 2


@pytest.mark.parametrize(
    "body",
    [
        f'<presence {HEAD} version="1"/>',
        f'<d:pidf-diff {HEAD} version="-1"/>',
        f'<d:pidf-diff {HEAD} version="one"/>',
        f'<d:pidf-diff {HEAD} version="4294967296"/>',
        f'<d:pidf-full {HEAD} version="99999999999999999999"/>',
        f'<d:pidf-full {HEAD} version="{"0" * 11}4294967296"/>',
        f'<d:pidf-full {HEAD} version="{"0" * 11}{"9" * 5000}"/>',
        f"<d:pidf-diff {HEAD}>",
        f"<!DOCTYPE d:pidf-diff><d:pidf-diff {HEAD}/>",
    ],
)
def test_what_is_no_partial_document_is_refused(body: str) -> None:
    with pytest.raises(DocumentError):
        pidf_diff.parse(body.encode())


@pytest.mark.parametrize(
    ("version", "number"),
    [("0", 0), ("0" * 5000, 0), ("00000000007", 7), ("4294967295", 2**32 - 1)],
)
def test_a_version_is_a_number_however_it_is_written(version: str, number: int) -> None:
    body = f'<d:pidf-diff {HEAD} version=" {version} "/>'
    assert pidf_diff.parse(body.encode()).version == number


@pytest.mark.parametrize(
    ("head", "inside", "fault"),
    [
        ('entity="sip:b@example.com"', "", "invalid-patch-directive"),
        ("", "<note/>", "invalid-diff-format"),
        ("", '<d:replace sel="*"><note/></d:replace>', "invalid-root-element-operation"),
        ("", '<d:remove sel="*/tuple[9]"/>', "unlocated-node"),
    ],
)
def test_what_does_not_fit_changes_nothing(head: str, inside: str, fault: str) -> None:
    body = f"<d:pidf-diff {HEAD} {head}>{inside}</d:pidf-diff>"
    with pytest.raises(PatchError) as refused:
        pidf_diff.applied(document(), pidf_diff.parse(body.encode()))
    assert refused.value.fault == fault


def test_a_document_does_not_grow_without_end() -> None:
    text = "x" * (markup.MAX_BYTES // 3)
    body = f'<d:pidf-diff {HEAD}><d:add sel="*"><note>{text}</note></d:add></d:pidf-diff>'
    held = document()
    with pytest.raises(DocumentError):
        for _ in range(4):
            held = pidf_diff.applied(held, pidf_diff.parse(body.encode()))


def test_comments_are_counted_and_kept() -> None:
    held = document().replace(b"<dm:person", b"<!--one--><dm:person")
    body = f'<d:pidf-diff {HEAD}><d:remove sel="*/comment()"/></d:pidf-diff>'
    assert b"one" not in pidf_diff.applied(held, pidf_diff.parse(body.encode()))
