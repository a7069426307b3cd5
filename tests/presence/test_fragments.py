"""Unknown elements as text: standing alone, canonical, in linear time."""

import math
import time

import pytest

from sipbridge.presence import fragments, markup


def only_child(inside: str, head: str = "") -> str:
    """The fragment of the only child of a document."""
    return fragments.fragment(markup.parse(f"<r {head}>{inside}</r>".encode())[0])


@pytest.mark.parametrize(
    ("inside", "head", "expected"),
    [
        ("<v:a/>", 'xmlns:v="u" xmlns:w="unused"', '<v:a xmlns:v="u"></v:a>'),
        ("<a/>tail", 'xmlns="u"', '<a xmlns="u"></a>'),
        ("<a b='2' a='1'/>", "", '<a a="1" b="2"></a>'),
        (
            "<v:a w:x='1'><v:b/></v:a>",
            'xmlns:v="u" xmlns:w="t"',
            '<v:a xmlns:a0="t" xmlns:v="u" a0:x="1"><v:b></v:b></v:a>',
        ),
        ("<a xmlns='u'><b xmlns=''/></a>", "", '<a xmlns="u"><b xmlns=""></b></a>'),
        ("<a>1<!-- x -->2<b/>3<![CDATA[<&>]]></a>", "", "<a>12<b></b>3&lt;&amp;&gt;</a>"),
        ("<a b='&#9;&#10;&quot;'/>", "", '<a b="&#x9;&#xA;&quot;"></a>'),
        ("<a xml:lang='en'/>", "", '<a xml:lang="en"></a>'),
        (
            "<w:a v:x='1' w:y='2'/>",
            'xmlns:v="urn:oma:xml:prs:pidf:oma-pres" xmlns:w="t"',
            '<w:a xmlns:op="urn:oma:xml:prs:pidf:oma-pres" xmlns:w="t" w:y="2" op:x="1"></w:a>',
        ),
    ],
)
def test_a_fragment_is_exclusive_canonical_xml(inside: str, head: str, expected: str) -> None:
    assert only_child(inside, head) == expected
    assert fragments.fragment(fragments.from_fragment(expected)) == expected


def test_prefixes_that_only_values_use_are_declared() -> None:
    kept = only_child(
        '<v:a i:type="t:Tall"/>',
        'xmlns:v="u" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:t="types"',
    )
    assert 'xmlns:t="types"' in kept
    assert fragments.fragment(fragments.from_fragment(kept)) == kept


def test_a_fragment_without_namespace_keeps_none_inside_pidf() -> None:
    for inside in ("<a/>", '<v:a xmlns:v="u"><b/></v:a>'):
        kept = fragments.standing_alone(only_child(inside))
        root = markup.parse(f'<p xmlns="urn:ietf:params:xml:ns:pidf">{kept}</p>'.encode())
        assert [each.tag for each in root.iter()][-1] in ("a", "b")
        assert fragments.fragment(root[0]) == only_child(inside)


def test_thousands_of_attributes_take_no_quadratic_time() -> None:
    body = "<a " + " ".join(f'b{i}="{i}"' for i in range(8000)) + "/>"
    element = markup.parse(body.encode())
    best = math.inf
    for _ in range(3):
        began = time.thread_time()
        assert fragments.fragment(element).count("=") == 8000
        best = min(best, time.thread_time() - began)
    assert best < 0.5
