"""RFC 5261: each operation, each kind of node, each error."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from sipbridge.errors import PatchError
from sipbridge.presence import markup
from sipbridge.presence.patching import patch

NAMES = 'xmlns:p="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:d" xmlns:q="urn:q"'


def patched(document: str, *operations: str) -> str:
    """The document after the operations. `d:` and `q:` are two namespaces, the default one is the first."""
    root = markup.parse_whole(document.encode())
    diff = markup.parse_whole(f"<p:diff {NAMES}>{''.join(operations)}</p:diff>".encode())
    return etree.tostring(patch(root, list(diff))).decode()


def fault(document: str, *operations: str) -> str:
    with pytest.raises(PatchError) as refused:
        patched(document, *operations)
    return refused.value.fault


DOC = '<doc xmlns="urn:d">{}</doc>'


@pytest.mark.parametrize(
    ("inside", "operation", "after"),
    [
        ("<a/>", '<p:add sel="doc"><b/></p:add>', "<a/><b/>"),
        ("<a/>", '<p:add sel="/doc" pos="prepend"><b/><c/></p:add>', "<b/><c/><a/>"),
        ("<a/>x", '<p:add sel="doc/a" pos="before">y<b/>z</p:add>', "y<b/>z<a/>x"),
        ("<a/>x", '<p:add sel="doc/a" pos="after">y<b/>z</p:add>', "<a/>y<b/>zx"),
        ("<a/>x<b/>", '<p:add sel="doc/text()" pos="after"><c/></p:add>', "<a/>x<c/><b/>"),
        ("<a/>x<b/>", '<p:add sel="doc/text()" pos="before"><c/></p:add>', "<a/><c/>x<b/>"),
        ("<a/>x<b/>", '<p:add sel="doc/b" pos="before">y</p:add>', "<a/>xy<b/>"),
        ("x<a/>", '<p:add sel="doc" pos="prepend">y</p:add>', "yx<a/>"),
        ("<a/>x", '<p:add sel="doc">y</p:add>', "<a/>xy"),
        ("<!--c--><a/>", '<p:add sel="doc/comment()" pos="after"><b/></p:add>', "<!--c--><b/><a/>"),
        ("<a/>", '<p:add sel="doc/a" type="@k">v</p:add>', '<a k="v"/>'),
        ("<a/>", '<p:replace sel="doc/a"> <b/> </p:replace>', "<b/>"),
        ("<a/>x<b/>", '<p:replace sel="doc/a"><c/></p:replace>', "<c/>x<b/>"),
        ('<a k="1"/>', '<p:replace sel="doc/a/@k">2</p:replace>', '<a k="2"/>'),
        ("x<a/>y", '<p:replace sel="doc/text()[2]">z</p:replace>', "x<a/>z"),
        ("x<a/>y", '<p:replace sel="doc/text()[1]"/>', "<a/>y"),
        ("x<!--c-->y", '<p:replace sel="doc/text()[2]">z</p:replace>', "x<!--c-->z"),
        ("<!--c-->x", '<p:replace sel="doc/comment()"><!--d--></p:replace>', "<!--d-->x"),
        ("<a/>x<b/>y", '<p:remove sel="doc/b"/>', "<a/>xy"),
        (" <a/> <b/>", '<p:remove sel="doc/a" ws="both"/>', "<b/>"),
        (" <a/> <b/>", '<p:remove sel="doc/a" ws="before"/>', " <b/>"),
        (" <a/>\n<b/>", '<p:remove sel="doc/a" ws="after"/>', " <b/>"),
        ('<a k="1"/>', '<p:remove sel="doc/a/@k"/>', "<a/>"),
        ("x<a/>y", '<p:remove sel="doc/text()[1]"/>', "<a/>y"),
        ("<!--c--><!--d-->", '<p:remove sel="doc/comment()[2]"/>', "<!--c-->"),
        ("<?i j?><?k l?>", "<p:remove sel=\"doc/processing-instruction('k')\"/>", "<?i j?>"),
    ],
)
def test_operations(inside: str, operation: str, after: str) -> None:
    assert patched(DOC.format(inside), operation) == DOC.format(after)


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        ("doc/a[1]", "2345"),
        ("doc/*[2]", "1345"),
        ("*/a[@k='x']", "1345"),
        ('*/a[@k="y"]', "1245"),
        ("doc/a[b='in']", "1235"),
        ("doc/q:e", "1234"),
        ("doc/a[.='in'][1]", "1235"),
        ("doc/a[@k='x'][@n='2']", "1345"),
        ("doc/a[@q:k='z']", "2345"),
    ],
)
def test_selectors(selector: str, left: str) -> None:
    document = (
        '<doc xmlns="urn:d" xmlns:q="urn:q"><a n="1" q:k="z"/><a n="2" k="x"/><a n="3" k="y"/>'
        '<a n="4"><b>in</b></a><q:e n="5"/></doc>'
    )
    after = etree.fromstring(patched(document, f'<p:remove sel="{escaped(selector)}"/>'))
    assert "".join(str(child.get("n")) for child in after) == left


def escaped(selector: str) -> str:
    return selector.replace('"', "&quot;")


def test_the_default_namespace_counts_in_selectors_but_not_for_attributes() -> None:
    assert fault("<doc><a/></doc>", '<p:remove sel="doc/a"/>') == "unlocated-node"
    assert patched("<doc><a/></doc>", '<p:remove sel="doc/a" xmlns=""/>') == "<doc/>"
    assert patched(DOC.format('<a k="1"/>'), "<p:remove sel=\"doc/a[@k='1']\"/>") == DOC.format(
        ""
    ).replace("></doc>", "/>")


def test_operations_see_what_the_ones_before_have_done() -> None:
    after = patched(
        DOC.format("<a/>"), '<p:add sel="doc"><a k="n"/></p:add>', '<p:remove sel="doc/a[1]"/>'
    )
    assert after == DOC.format('<a k="n"/>')


def test_the_root_may_be_replaced_but_not_removed() -> None:
    assert patched(DOC.format(""), '<p:replace sel="doc"><a/></p:replace>').startswith("<a ")
    assert fault(DOC.format(""), '<p:remove sel="doc"/>') == "invalid-root-element-operation"
    assert (
        fault(DOC.format(""), '<p:add sel="doc" pos="after"><a/></p:add>')
        == "invalid-root-element-operation"
    )


def test_declarations_of_namespaces() -> None:
    document = '<doc xmlns="urn:d" xmlns:z="urn:old"><z:a z:k="1"/></doc>'
    assert "urn:old" not in patched(
        document, '<p:replace sel="doc/namespace::z">urn:new</p:replace>'
    )
    renamed = etree.fromstring(
        patched(document, '<p:replace sel="doc/namespace::z">urn:new</p:replace>')
    )
    assert renamed[0].tag == "{urn:new}a"
    assert dict(renamed[0].attrib.items()) == {"{urn:new}k": "1"}
    added = etree.fromstring(
        patched(document, '<p:add sel="doc" type="namespace::y">urn:y</p:add>')
    )
    assert added.nsmap == {None: "urn:d", "z": "urn:old", "y": "urn:y"}
    assert fault(document, '<p:remove sel="doc/namespace::z"/>') == "invalid-namespace-prefix"
    removed = patched(document, '<p:remove sel="doc/*"/>', '<p:remove sel="doc/namespace::z"/>')
    assert removed == '<doc xmlns="urn:d"/>'
    inside = patched(
        DOC.format("<a>x<b/></a>y"), '<p:add sel="doc/a" type="namespace::y">urn:y</p:add>'
    )
    assert inside == DOC.format('<a xmlns:y="urn:y">x<b/></a>y')


@pytest.mark.parametrize(
    ("inside", "operation", "word"),
    [
        ("<a/>", '<p:remove sel="doc/b"/>', "unlocated-node"),
        ("<a/><a/>", '<p:remove sel="doc/a"/>', "unlocated-node"),
        ("<a/>", '<p:remove sel="doc/a[0]"/>', "unlocated-node"),
        ("<a/>", '<p:remove sel="doc/a/text()"/>', "unlocated-node"),
        ("<a/>", "<p:remove/>", "invalid-patch-directive"),
        ("<a/>", '<p:turn sel="doc/a"/>', "invalid-patch-directive"),
        ("<a/>", '<p:add sel="doc/a" pos="beside"><b/></p:add>', "invalid-patch-directive"),
        ("<a/>", '<p:add sel="doc/a" type="k">v</p:add>', "invalid-patch-directive"),
        ("<a/>", '<p:add sel="doc/a" type="@k" pos="after">v</p:add>', "invalid-patch-directive"),
        ('<a k=""/>', '<p:add sel="doc/a" type="@k">v</p:add>', "invalid-patch-directive"),
        ("<a/>", '<p:add sel="doc/a" type="@xmlns">v</p:add>', "invalid-patch-directive"),
        ("<a/>", '<p:remove sel="doc/a">text</p:remove>', "invalid-patch-directive"),
        ("<a/>", '<p:remove sel="doc/a" ws="all"/>', "invalid-patch-directive"),
        ("<a/>", '<p:remove sel="doc//a"/>', "invalid-diff-format"),
        ("<a/>", '<p:remove sel="doc/a | doc/b"/>', "invalid-diff-format"),
        ("<a/>", '<p:remove sel="doc/a[last()]"/>', "invalid-diff-format"),
        ("<a/>", '<p:remove sel="doc/@k/a"/>', "invalid-diff-format"),
        ("<a/>", '<p:remove sel=""/>', "invalid-diff-format"),
        ("<a/>", "<p:remove sel=\"id('x')\"/>", "unsupported-id-function"),
        ("<a/>", '<p:remove sel="comment()"/>', "invalid-xml-prolog-operation"),
        ("<a/>", '<p:remove sel="doc/n:a"/>', "invalid-namespace-prefix"),
        ("<a/>", '<p:add sel="doc" type="namespace::y"/>', "invalid-namespace-uri"),
        ("<a/>", '<p:add sel="doc" type="namespace::y">a}b</p:add>', "invalid-namespace-uri"),
        (
            "<a/>",
            '<p:add sel="doc" type="namespace::y">http://www.w3.org/2000/xmlns/</p:add>',
            "invalid-namespace-uri",
        ),
        (
            "<a/>",
            '<p:add sel="doc" type="namespace::xml">urn:y</p:add>',
            "invalid-namespace-prefix",
        ),
        ("<a/>", '<p:replace sel="doc/a">text</p:replace>', "invalid-node-types"),
        ("<a/>", '<p:replace sel="doc/a"><b/><c/></p:replace>', "invalid-node-types"),
        ("<a/>", '<p:replace sel="doc/a"><!--c--></p:replace>', "invalid-node-types"),
        ('<a k="1"/>', '<p:replace sel="doc/a/@k"><b/></p:replace>', "invalid-node-types"),
        ('<a k="1"/>', '<p:add sel="doc/a/@k"><b/></p:add>', "invalid-node-types"),
        ("<!--c-->", '<p:add sel="doc/comment()"><b/></p:add>', "invalid-node-types"),
        ("x", '<p:add sel="doc/text()">y</p:add>', "invalid-node-types"),
        ("x<a/>", '<p:remove sel="doc/a" ws="before"/>', "invalid-whitespace-directive"),
        ("<a/>", '<p:remove sel="doc/a" ws="after"/>', "invalid-whitespace-directive"),
        ("x", '<p:remove sel="doc/text()" ws="after"/>', "invalid-whitespace-directive"),
    ],
)
def test_what_does_not_fit_is_named(inside: str, operation: str, word: str) -> None:
    assert fault(DOC.format(inside), operation) == word


def test_work_is_bounded() -> None:
    many = DOC.format("<a/>" * 5000)
    assert fault(many, *["<p:remove sel=\"doc/*[a='x']\"/>"]) == "unlocated-node"
    slow = '<p:add sel="doc/a[4999]" type="@k">v</p:add><p:remove sel="doc/a[4999]/@k"/>' * 120
    assert fault(many, slow) == "invalid-diff-format"


FLAT = DOC.format("<a k='2'/>" * 4000)
NESTED = DOC.format("<y><z>" + "<a/>" * 5000 + "</z></y>")
WIDE = DOC.format("<y " + " ".join(f"k{n}='1'" for n in range(15_000)) + "/>")
RENAMED = DOC.format("<y xmlns:z='urn:z'>" + "<z:a z:k='1'/>" * 4000 + "</y>")
DEEP = DOC.format("<a>" * 200 + "<b/>" * 5000 + "</a>" * 200)


def declaring(count: int) -> str:
    return "".join(
        f'<p:add sel="doc/y" type="namespace::n{n}">urn:{n}</p:add>' for n in range(count)
    )


@pytest.mark.parametrize(
    ("document", "operations"),
    [
        (FLAT, '<p:remove sel="doc/*' + "[@k='2']" * 55 + '[1]"/>' + '<p:remove sel="doc/b"/>' * 9),
        (FLAT, '<p:remove sel="doc/*' + "[@q:k='2']" * 45 + '"/>'),
        (FLAT, '<p:remove sel="doc/*' + "[a='']" * 70 + '"/>'),
        (FLAT, '<p:add sel="doc"><a/></p:add>' * 2000),
        (DEEP, '<p:remove sel="doc/a' + "[.='']" * 70 + '[2]"/>'),
        (NESTED, declaring(100)),
        (DOC.format("<y/>"), declaring(900)),
        (WIDE, declaring(1)),
        (WIDE, "".join(f'<p:add sel="doc/y" type="@n{n}">1</p:add>' for n in range(800))),
        (
            RENAMED,
            "".join(f'<p:replace sel="doc/y/namespace::z">urn:{n}</p:replace>' for n in range(100)),
        ),
        (DOC.format("x<a/>" * 5000), '<p:replace sel="doc/text()[4999]">y</p:replace>' * 500),
        (DOC.format("x" * 200_000), '<p:add sel="doc">y</p:add>' * 1000),
    ],
    ids=lambda text: f"{len(text)}",
)
def test_no_operations_that_fit_into_a_message_take_long(document: str, operations: str) -> None:
    """A tenth of a second is meant; most of these would take ten of it and more if nobody counted."""
    assert len(document) <= markup.MAX_BYTES and len(operations) < 64_000
    began = time.thread_time()
    assert fault(document, operations) in ("unlocated-node", "invalid-diff-format")
    assert time.thread_time() - began < 0.6


def test_a_selector_has_an_end() -> None:
    deep = DOC.format("<a>" * 40 + "</a>" * 40)
    assert fault(deep, f'<p:remove sel="doc{"/a" * 16}"/>') == "invalid-diff-format"
    assert patched(deep, f'<p:remove sel="doc{"/a" * 15}"/>') == DOC.format(
        "<a>" * 13 + "<a/>" + "</a>" * 13
    )
    assert fault(deep, f'<p:remove sel="doc/a{"[1]" * 200}"/>') == "invalid-diff-format"


def test_a_prefix_that_is_bound_anew_inside_is_another_one() -> None:
    document = (
        '<doc xmlns="urn:d" xmlns:z="urn:old"><z:a/><b xmlns:z="urn:other"><z:c/></b><z:d/></doc>'
    )
    renamed = patched(document, '<p:replace sel="doc/namespace::z">urn:new</p:replace>')
    tags = [str(e.tag) for e in etree.fromstring(renamed).iter()]
    assert tags == ["{urn:d}doc", "{urn:new}a", "{urn:d}b", "{urn:other}c", "{urn:new}d"]


@given(st.text(alphabet="doc/a*[]@='\"1.:()q text", max_size=40))
def test_no_selector_does_harm(selector: str) -> None:
    quoted = selector.replace("&", "").replace('"', "&quot;")
    try:
        patched(DOC.format('<a q="1">x</a><a/>'), f'<p:remove sel="{quoted}"/>')
    except PatchError as error:
        assert error.fault
