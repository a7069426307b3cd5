"""Filter documents: read strictly, merged by id, written."""

import pytest

from sipbridge.errors import DocumentError, FilterError
from sipbridge.presence import simple_filter
from sipbridge.presence.schema import is_valid
from sipbridge.presence.simple_filter import (
    MAX_BINDINGS,
    MAX_BYTES,
    MAX_EXPRESSIONS,
    MAX_FILTERS,
    Filters,
    merged,
)

HEAD = 'xmlns="urn:ietf:params:xml:ns:simple-filter"'
NAMES = {"p": "urn:ietf:params:xml:ns:pidf"}


def read(inside: str, head: str = HEAD) -> Filters:
    return simple_filter.parse(f"<filter-set {head}>{inside}</filter-set>".encode())


FULL = """
  <ns-bindings><ns-binding prefix="p" urn="urn:ietf:params:xml:ns:pidf"/></ns-bindings>
  <filter id="one" uri="sip:a@example.com">
    <what><include>/p:presence/p:tuple</include><exclude type="xpath">//p:note</exclude>
      <include type="namespace">urn:x</include></what>
    <trigger><changed from="CLOSED" to="OPEN">//p:basic</changed><added>//p:tuple</added></trigger>
    <trigger><changed by="0.5">//p:contact/@priority</changed></trigger>
  </filter>
  <filter id="two" domain="Example.COM" enabled="false"/>
"""


def test_everything_a_filter_can_say() -> None:
    one, two = read(FULL)
    assert [c.path.text if c.path else c.namespace for c in one.include] == [
        "/p:presence/p:tuple",
        "urn:x",
    ]
    assert [c.path.text for c in one.exclude if c.path] == ["//p:note"]
    (changed, added), (by,) = one.triggers
    assert (changed.word, changed.before, changed.after) == ("changed", "closed", "open")
    assert (added.word, by.by, by.path.attribute) == ("added", 0.5, "priority")
    assert (one.uri, two.domain) == ("sip:a@example.com", "example.com")
    assert (one.enabled, two.enabled) == (True, False)


def test_the_source_of_a_filter_says_the_same_alone() -> None:
    one, two = read(FULL)
    assert simple_filter.parse(one.source.encode()) == (one,)
    assert simple_filter.parse(two.source.encode()) == (two,)
    assert is_valid(one.source.encode()) and is_valid(two.source.encode())
    (gone,) = read(
        '<filter id="&lt;" remove="1"><what><exclude>//p[.&lt;"1"]</exclude></what></filter>'
    )
    assert simple_filter.parse(gone.source.encode()) == (gone,)


def test_the_source_of_a_filter_holds_what_it_uses_and_no_more() -> None:
    bindings = "".join(f'<ns-binding prefix="n{n}" urn="urn:n{n}"/>' for n in range(MAX_BINDINGS))
    (one,) = read(
        f"<ns-bindings>{bindings}</ns-bindings>"
        f'<filter id="a">{" " * 5000}<what><include>/p/n7:x[n3:y="1"]</include></what></filter>'
    )
    assert (one.source.count("<ns-binding "), one.source.count("urn:n3")) == (2, 1)
    assert len(one.source) < 400


def test_there_is_an_end_to_what_has_to_be_kept_of_filters() -> None:
    bindings = "".join(
        f'<ns-binding prefix="n{n}" urn="urn:n{n}"/>' for n in range(MAX_BINDINGS + 1)
    )
    with pytest.raises(FilterError):
        read(f"<ns-bindings>{bindings}</ns-bindings>")
    name = "x" * (MAX_BYTES // 2)
    before = read(f'<filter id="a" uri="sip:{name}"/>')
    with pytest.raises(FilterError):
        merged(before, read(f'<filter id="b" uri="sip:{name}"/>'))
    assert len(merged(before, read(f'<filter id="a" domain="{name}"/>'))) == 1


def test_a_filter_takes_the_place_of_the_one_with_its_id() -> None:
    before = read('<filter id="a"/><filter id="b"/>')
    after = merged(before, read('<filter id="b" enabled="0"/><filter id="a" remove="true"/>'))
    assert [(each.id, each.enabled) for each in after] == [("b", False)]


def test_there_is_an_end_to_filters() -> None:
    many = read("".join(f'<filter id="x{n}"/>' for n in range(MAX_FILTERS)))
    with pytest.raises(FilterError):
        merged(many, read('<filter id="one more"/>'))
    includes = "<include>/p</include>" * (MAX_EXPRESSIONS + 1)
    with pytest.raises(FilterError):
        read(f'<filter id="a"><what>{includes}</what></filter>')


@pytest.mark.parametrize(
    "inside",
    [
        '<filter id="a"><when/></filter>',
        '<filter id="a"><what><perhaps>/p</perhaps></what></filter>',
        '<filter id="a"><what><include type="regex">x</include></what></filter>',
        '<filter id="a"><what><include type="namespace"></include></what></filter>',
        '<filter id="a"><what><include>/z:p</include></what></filter>',
        '<filter id="a"><trigger><moved>/p</moved></trigger></filter>',
        '<filter id="a"><trigger><added from="x">/p</added></trigger></filter>',
        '<filter id="a"><trigger><changed by="much">/p</changed></trigger></filter>',
        '<filter id="a"><x xmlns="urn:x"/></filter>',
    ],
)
def test_what_is_not_served_is_488(inside: str) -> None:
    with pytest.raises(FilterError):
        read(inside)


def test_a_filter_for_another_package_is_not_served() -> None:
    assert read("", f'{HEAD} package="presence"') == ()
    with pytest.raises(FilterError):
        read("", f'{HEAD} package="dialog"')


@pytest.mark.parametrize(
    "document",
    [
        "<filter-set/>",
        f"<filter-set {HEAD}><filter/></filter-set>",
        f'<filter-set {HEAD}><filter id="a"/><filter id="a"/></filter-set>',
        f'<filter-set {HEAD}><filter id="a" remove="perhaps"/></filter-set>',
        f"<filter-set {HEAD}><ns-bindings><ns-binding/></ns-bindings></filter-set>",
        "no xml",
    ],
)
def test_what_is_no_filter_set_is_400(document: str) -> None:
    with pytest.raises(DocumentError) as refused:
        simple_filter.parse(document.encode())
    assert refused.value.status_hint == 400


def test_what_is_written_is_valid_and_read_again() -> None:
    body = simple_filter.including("a", ["/p:presence/p:tuple"], ["//p:note[.='<']"], NAMES)
    (one,) = simple_filter.parse(body)
    assert (len(one.include), len(one.exclude)) == (1, 1)
    (gone,) = simple_filter.parse(simple_filter.removing("a"))
    assert gone.remove
    for each in (
        body,
        simple_filter.removing("a"),
        f"<filter-set {HEAD}>{FULL}</filter-set>".encode(),
    ):
        assert is_valid(each)
