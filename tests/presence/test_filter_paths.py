"""Expressions of event filters: what they name, and which are not served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from sipbridge.errors import FilterError
from sipbridge.presence import filter_paths
from sipbridge.presence.filter_paths import MAX_LENGTH, MAX_STEPS, Work

NAMES = {"d": "urn:d", "q": "urn:q"}
DOC = etree.fromstring(
    '<doc xmlns="urn:d" xmlns:q="urn:q"><a n="1"><b>open</b></a><a n="2" k="7"><b>closed</b></a>'
    '<q:e n="3"><b n="4">5</b></q:e></doc>'
)


def named(text: str) -> str:
    """The attribute n, or the text, of what an expression names."""
    found = filter_paths.parse(text, NAMES, "urn:d").elements(DOC, Work(DOC, 10_000))
    return " ".join(str(e.get("n") or e.text) for e in found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/d:doc/d:a", "1 2"),
        ("/doc/a", "1 2"),
        ("/*/*", "1 2 3"),
        ("//d:b", "open closed 4"),
        ("//b[.='OPEN']", "open"),
        ("/doc/a[2]", "2"),
        ("/doc/a[0]", ""),
        ("/doc/a[@n='1']", "1"),
        ("/doc/a[b = 'closed']", "2"),
        ('/doc/a[b="open" or @k="7"]', "1 2"),
        ("/doc/a[b='open' and @k='7']", ""),
        ("/doc/a[@k>6]/b", "closed"),
        ("/doc/a[@k<7 or @k<=7]/b", "closed"),
        ("/doc/a[@k>=8]", ""),
        ("/doc/a[b!='open']", "2"),
        ("/doc/q:e/b/@n", "4"),
        ("/doc//b/@n", "4"),
        ("/doc[a/b='open']/q:e", "3"),
        ("/doc[q:e/b/@n='4']/a[1]", "1"),
        ("/other", ""),
        ("//*[@n='3']", "3"),
    ],
)
def test_what_expressions_name(text: str, found: str) -> None:
    assert named(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "doc/a",
        "/doc/a/",
        "/doc//a//b",
        "/doc/z:a",
        "/doc/a[last()]",
        "/doc/a[b]",
        "/doc/a[",
        "/doc/@n/a",
        "/doc/@*",
        "/@n",
        "/doc/a[b='x' and]",
        "/doc/a | /doc/b",
        "/a" * (MAX_STEPS + 1),
        "/" + "a" * MAX_LENGTH,
    ],
)
def test_what_is_not_served(text: str) -> None:
    with pytest.raises(FilterError) as refused:
        filter_paths.parse(text, NAMES, "urn:d")
    assert refused.value.status_hint == 488


@given(st.text(alphabet="/da*[]@='\"<>1.:()q andor", max_size=40))
def test_no_expression_does_harm(text: str) -> None:
    try:
        named(text)
    except FilterError as error:
        assert error.reason
