"""Differences between documents: carried out, they give the other document, always."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from msgspec.structs import replace

from sipbridge.presence import differing, markup, pidf
from sipbridge.presence.differing import MAX_CHILDREN, difference, same
from sipbridge.presence.markup import Element
from sipbridge.presence.model import (
    Basic,
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    Token,
    TokenList,
    Tuple,
)
from sipbridge.presence.namespaces import RPID
from sipbridge.presence.patching import patch
from sipbridge.presence.selecting import MAX_LENGTH, MAX_STEPS
from tests.documents.strategies import DOCUMENTS

HEAD = (
    'xmlns="urn:ietf:params:xml:ns:pidf" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" '
    'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" entity="sip:a@example.com"'
)


T = TypeVar("T")


def tree(inside: str, head: str = HEAD) -> Element:
    return markup.parse(f"<presence {head}>{inside}</presence>".encode())


def operations(old: str, new: str) -> list[tuple[str, str]]:
    """Words and selectors; carried out they lead from one to the other."""
    out = difference(tree(old), tree(new))
    assert out is not None
    changed = patch(tree(old), list(out))
    assert same(changed, tree(new))
    return [(str(o.tag).partition("}")[2], str(o.get("sel"))) for o in out]


def test_nothing_changed() -> None:
    assert operations("<note>a</note>", "<note>a</note>") == []


def test_a_text_is_replaced_added_removed() -> None:
    tuples = '<tuple id="a"><status><basic>{}</basic></status></tuple><tuple id="b"/>'
    at = "*/tuple[@id='a']/status/basic"
    old, new, none = (tuples.format(text) for text in ("open", "closed", ""))
    assert operations(old, new) == [("replace", f"{at}/text()")]
    assert operations(none, new) == [("add", at)]
    assert operations(old, none) == [("remove", f"{at}/text()")]


def test_one_value_becomes_another() -> None:
    person = '<dm:person id="p"><rpid:activities>{}</rpid:activities></dm:person>'
    old, new = person.format("<rpid:busy/>"), person.format("<rpid:away/>")
    assert operations(old, new) == [("replace", "*/dm:person/rpid:activities/rpid:busy")]


def test_components_come_and_go_where_they_stand() -> None:
    a, b, c = (f'<tuple id="{n}"/>' for n in "abc")
    assert operations(a + c, a + b + c) == [("add", "*/tuple[@id='c']")]
    assert operations(a + b, a + b + c) == [("add", "*")]
    assert operations(a + b + c, a + c) == [("remove", "*/tuple[@id='b']")]
    assert sorted(w for w, _ in operations(a + b + c, c + b + a)) == ["add", "remove", "remove"]


def test_attributes_come_change_and_go() -> None:
    old = f'<tuple id="a"><contact priority="1">sip:{"x" * 300}</contact></tuple>'
    new = old.replace('priority="1"', 'priority="0.5" xml:lang="en"')
    at = "*/tuple/contact"
    assert sorted(operations(old, new)) == [("add", at), ("replace", f"{at}/@priority")]
    assert sorted(operations(new, old)) == [
        ("remove", f"{at}/@xml:lang"),
        ("replace", f"{at}/@priority"),
    ]


def test_equal_names_without_ids_are_counted() -> None:
    note = "<note>{}</note>"
    old, new = note.format(1) + note.format(2), note.format(1) + note.format(3)
    assert operations(old, new) == [("replace", "*/note[2]/text()")]


def test_repeated_ids_and_quotes_in_ids_are_counted_too() -> None:
    twice = '<tuple id="a"/><tuple id="a">{}</tuple>'
    assert operations(twice.format(""), twice.format("<note>x</note>")) == [("add", "*/tuple[2]")]
    quoted = """<tuple id="it's">{}</tuple><tuple id="b"/>"""
    assert operations(quoted.format(""), quoted.format("<note>x</note>")) == [("add", "*/tuple[1]")]


def test_elements_of_namespaces_without_prefix_are_counted() -> None:
    old = '<note>n</note><x xmlns="urn:x">1</x>'
    assert operations(old, old.replace(">1<", ">2<")) == [("replace", "*/*[2]/text()")]


def test_several_changes_in_a_small_element_replace_it() -> None:
    old = '<dm:person id="p"><rpid:place-type from="a" until="b"><rpid:home/></rpid:place-type></dm:person>'
    new = old.replace('"a"', '"c"').replace("home", "office").replace('"b"', '"d"')
    assert operations(old, new) == [("replace", "*/dm:person/rpid:place-type")]


def test_mixed_content_is_replaced_as_a_whole() -> None:
    old = '<tuple id="t"><note>some <b xmlns="">bold</b> words</note></tuple>'
    assert operations(old, old.replace("some", "few")) == [("replace", "*/tuple/note")]


def test_what_cannot_be_said_shortly_is_not_said() -> None:
    assert difference(tree("text <note/>"), tree("other <note/>")) is None
    foreign = HEAD + ' q:a="1" xmlns:q="urn:q"'
    assert difference(tree("", foreign), tree("", foreign.replace('"1"', '"2"'))) is None
    many = "<note/>" * (MAX_CHILDREN + 1)
    assert difference(tree(many), tree(many + "<note/>")) is None


def test_an_attribute_without_prefix_here_takes_its_element_along() -> None:
    old = '<tuple id="a"><contact q:a="1" xmlns:q="urn:q">x</contact></tuple>'
    assert operations(old, old.replace('"1"', '"2"')) == [("replace", "*/tuple/contact")]


def test_what_was_already_written_of_a_replaced_element_is_taken_back() -> None:
    old = '<tuple id="a"><contact a="1" q:a="1" xmlns:q="urn:q">x</contact></tuple>'
    assert operations(old, old.replace('"1"', '"2"')) == [("replace", "*/tuple/contact")]


def test_deep_and_wide_elements_take_bounded_work() -> None:
    deep = "<note>" * 200 + "{}" + "</note>" * 200
    changed = operations(deep.format("a"), deep.format("b"))
    assert changed[0][0] == "replace" and changed[0][1].count("/") == MAX_STEPS - 1
    ids = [f"i{n * 7919 % 400}" for n in range(400)]
    wide, other = ("".join(f'<tuple id="{i}"/>' for i in some) for some in (ids, reversed(ids)))
    assert difference(tree(wide), tree(other)) is not None


def test_selectors_are_never_longer_than_what_is_read() -> None:
    long = "n" * 200
    old = f'<tuple id="{long}"><{long}><note>x</note></{long}></tuple><tuple id="b"/>'
    assert operations(old, old.replace(">x<", ">y<")) == [
        ("replace", "*/tuple[1]/*[1]/note/text()")
    ]
    names = [f"n{depth}{'x' * 58}" for depth in range(12)]
    nested = "".join(f"<{n}>" for n in names) + "{}" + "".join(f"</{n}>" for n in names[::-1])
    ((_, selector),) = operations(nested.format("a"), nested.format("b"))
    assert 200 < len(selector) < MAX_LENGTH
    attribute = f'<note>z</note><note {long}="1"/>'
    assert operations(attribute, attribute.replace('"1"', '"2"')) == [("replace", "*/note[2]")]


def test_a_difference_is_never_too_much_work_for_who_carries_it_out() -> None:
    contact = f'<contact priority="1">{"x" * 300}</contact>'
    one = f'<tuple id="t{{}}"><status><basic>open</basic></status>{contact}</tuple>'
    several = []
    for count in (100, 200, 300, 400):
        old = "".join(one.format(n) for n in range(count))
        new = old.replace("open", "closed")
        assert len(operations(old, new)) == count
        new = new.replace('"1"', '"2"').replace("</tuple>", "<note>new</note></tuple>")
        several.append(difference(tree(old), tree(new)) is not None)
        if several[-1]:
            assert len(operations(old, new)) == count * 3
    assert several == [True, True, False, False]


def test_sameness_is_not_about_prefixes() -> None:
    a = etree.fromstring('<a:x xmlns:a="urn:x" a:k="1"><b xmlns="urn:x"/></a:x>')
    b = etree.fromstring('<x xmlns="urn:x" xmlns:c="urn:x" c:k="1"><c:b/></x>')
    assert same(a, b)
    assert not same(a, etree.fromstring('<x xmlns="urn:x" xmlns:c="urn:x" c:k="2"><c:b/></x>'))


def test_aligning_prefers_what_says_the_same() -> None:
    old = [etree.fromstring(f"<n>{text}</n>") for text in "abc"]
    new = [etree.fromstring(f"<n>{text}</n>") for text in "bcd"]
    pairs = [
        (a is not None and a.text, b is not None and b.text) for a, b in differing.aligned(old, new)
    ]
    assert pairs == [("a", False), ("b", "b"), ("c", "c"), (False, "d")]


def at(place: int, items: tuple[T, ...], edit: Callable[[T], T]) -> tuple[T, ...]:
    """One of them edited, if there is one."""
    chosen = place % len(items) if items else 0
    return tuple(edit(each) if n == chosen else each for n, each in enumerate(items))


def without(place: int, items: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(each for n, each in enumerate(items) if n != place % len(items))


BUSY = TokenList(tokens=(Token(f"{{{RPID}}}busy"),))
STRANGE = Extension("{urn:x}y", '<x:y xmlns:x="urn:x">new</x:y>')

EDITS: list[Callable[[Presence, int], Presence]] = [
    lambda d, n: replace(d, tuples=without(n, d.tuples)),
    lambda d, n: replace(d, tuples=(*d.tuples[:n], Tuple(f"new{n}"), *d.tuples[n:])),
    lambda d, n: replace(d, tuples=d.tuples[::-1]),
    lambda d, n: replace(
        d, tuples=at(n, d.tuples, lambda t: replace(t, basic=Basic("closed"), notes=()))
    ),
    lambda d, n: replace(
        d, tuples=at(n, d.tuples, lambda t: replace(t, contact=Contact("sip:b", f"0.{n}")))
    ),
    lambda d, n: replace(
        d, persons=at(n, d.persons, lambda p: replace(p, activities=(BUSY, *p.activities[:n])))
    ),
    lambda d, n: replace(
        d, persons=at(n, d.persons, lambda p: replace(p, moods=(), notes=(Note(f"n{n}"),)))
    ),
    lambda d, n: replace(d, persons=(*d.persons, Person(f"new{n}"))),
    lambda d, n: replace(
        d, devices=at(n, d.devices, lambda e: replace(e, device_id="urn:x", timestamp=None))
    ),
    lambda d, n: replace(d, notes=at(n, (*d.notes, Note("")), lambda _: Note(f"n{n}", "en"))),
    lambda d, n: replace(d, extensions=(STRANGE, *d.extensions[:n])),
]
"""Changes of a document, at a place."""


def test_a_document_becomes_what_a_few_edits_make_of_it() -> None:
    found: list[int] = []

    @settings(
        deadline=None,
        max_examples=50,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(
        DOCUMENTS,
        st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 3)), min_size=1, max_size=3),
    )
    def becomes(
        before: Presence, edits: list[tuple[Callable[[Presence, int], Presence], int]]
    ) -> None:
        after = before
        for edit, place in edits:
            after = edit(after, place)
        old, new = pidf.serialise(before), pidf.serialise(after)
        out = difference(markup.parse(old), markup.parse(new))
        if out is None:
            return
        assert same(patch(markup.parse(old), list(out)), markup.parse(new))
        found.append(len(out))

    becomes()
    assert sum(1 for operations in found if operations) >= 30
