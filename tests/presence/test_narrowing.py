"""Filters at work: what is told, what is left out, which changes count."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipbridge.presence import markup, pidf, simple_filter
from sipbridge.presence.model import Presence
from sipbridge.presence.narrowing import narrowed, triggered
from sipbridge.presence.simple_filter import Filters
from tests.documents.strategies import DOCUMENTS

NAMES = {
    "p": "urn:ietf:params:xml:ns:pidf",
    "dm": "urn:ietf:params:xml:ns:pidf:data-model",
    "r": "urn:ietf:params:xml:ns:pidf:rpid",
}


def filters(*inside: str) -> Filters:
    bindings = simple_filter.bindings_of(NAMES)
    each = "".join(f'<filter id="f{n}">{text}</filter>' for n, text in enumerate(inside))
    return simple_filter.parse(simple_filter.document(bindings + each))


def what(*, include: str = "", exclude: str = "") -> str:
    inside = "".join(f"<include>{path}</include>" for path in include.split())
    inside += "".join(f"<exclude>{path}</exclude>" for path in exclude.split())
    return f"<what>{inside}</what>"


def document(basic: str = "open", activity: str = "busy", more: str = "") -> bytes:
    return pidf.serialise(
        pidf.parse(
            (
                '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@example.com" '
                'xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
                'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">'
                f'<tuple id="t1"><status><basic>{basic}</basic></status>'
                '<contact priority="0.5">sip:a@phone</contact></tuple>'
                '<tuple id="t2"><status/><contact>tel:+1</contact></tuple><note>hello</note>'
                f'<dm:person id="p"><r:activities><r:{activity}/></r:activities><r:mood><r:happy/></r:mood>'
                f"</dm:person>{more}"
                '<dm:device id="d"><dm:deviceID>urn:x</dm:deviceID><dm:note>old</dm:note></dm:device>'
                "</presence>"
            ).encode()
        )
    )


def told(*inside: str) -> Presence:
    return pidf.parse(narrowed(document(), filters(*inside)))


def test_without_filters_or_with_sleeping_ones_everything_is_told() -> None:
    assert narrowed(document(), ()) == document()
    sleeping = simple_filter.parse(simple_filter.document('<filter id="a" enabled="false"/>'))
    assert narrowed(document(), sleeping) == document()
    assert narrowed(document(), filters("")) == document()


def test_what_is_included_comes_with_all_that_is_in_it_and_round_it() -> None:
    seen = told(what(include="//r:activities"))
    (person,) = seen.persons
    assert (person.id, len(person.activities), person.moods) == ("p", 1, ())
    assert (seen.tuples, seen.notes, seen.devices) == ((), (), ())
    assert seen.entity == "sip:a@example.com"


def test_what_the_schema_asks_for_stays() -> None:
    contacts = told(what(include="/p:presence/p:tuple/p:contact"))
    assert [(t.id, t.basic) for t in contacts.tuples] == [("t1", None), ("t2", None)]
    assert b"<status" in narrowed(document(), filters(what(include="//p:contact")))
    (device,) = told(what(include="//dm:device/dm:note")).devices
    assert device.device_id == "urn:x"


def test_what_is_excluded_goes_from_what_is_included() -> None:
    seen = told(what(include="/p:presence/dm:person", exclude="//r:mood"))
    assert len(seen.persons[0].activities) == 1 and seen.persons[0].moods == ()
    everything_but = told(what(exclude="//p:tuple /p:presence/p:note"))
    assert (everything_but.tuples, everything_but.notes) == ((), ())
    assert len(everything_but.devices) == 1


def test_nothing_is_left_round_what_was_included_and_excluded() -> None:
    assert told(what(include="//r:activities", exclude="//r:activities")).persons == ()


def test_attributes() -> None:
    seen = told(what(exclude="//p:contact/@priority //p:tuple/@id"))
    assert [(t.id, t.contact and t.contact.priority) for t in seen.tuples] == [
        ("t1", None),
        ("t2", None),
    ]
    only = told(what(include="//p:contact/@priority"))
    assert [t.id for t in only.tuples] == ["t1"]


def test_several_filters_tell_what_any_of_them_tells() -> None:
    seen = told(what(include="//r:activities"), what(include="//dm:device"))
    assert (len(seen.persons), len(seen.devices), seen.tuples) == (1, 1, ())
    kept = told(what(exclude="//p:contact/@priority"), what(include="//p:contact"))
    assert kept.tuples[0].contact is not None and kept.tuples[0].contact.priority == "0.5"


def test_a_whole_namespace() -> None:
    name = NAMES["r"]
    seen = told(f'<what><include type="namespace">{name}</include></what>')
    assert (len(seen.persons), seen.tuples) == (1, ())


def test_the_root_cannot_be_excluded() -> None:
    assert told(what(exclude="/p:presence")).entity == "sip:a@example.com"


CHANGED = '<trigger><changed from="CLOSED" to="OPEN">//p:basic</changed></trigger>'


@pytest.mark.parametrize(
    ("trigger", "counts"),
    [
        ("<changed>//p:basic</changed>", True),
        ('<changed to="closed">//p:basic</changed>', True),
        ('<changed to="open">//p:basic</changed>', False),
        ('<changed from="OPEN" to="CLOSED">//p:basic</changed>', True),
        ("<changed>//r:activities</changed>", True),
        ("<changed>//r:mood</changed>", False),
        ("<added>//r:away</added>", True),
        ("<removed>//r:busy</removed>", True),
        ("<added>//r:busy</added>", False),
        ("<removed>//r:away</removed>", False),
        ("<changed>//p:basic</changed><changed>//r:mood</changed>", False),
        ("<changed>//p:basic</changed><added>//r:away</added>", True),
    ],
)
def test_triggers(trigger: str, counts: bool) -> None:
    given = filters(f"<trigger>{trigger}</trigger>")
    assert triggered(document(), document("closed", "away"), given) is counts


def test_numbers_may_have_to_change_by_so_much() -> None:
    before = document()
    after = before.replace(b'priority="0.5"', b'priority="0.7"')
    for by, counts in (("0.1", True), ("0.5", False)):
        given = filters(f'<trigger><changed by="{by}">//p:contact/@priority</changed></trigger>')
        assert triggered(before, after, given) is counts
    text = filters('<trigger><changed by="1">//p:basic</changed></trigger>')
    assert not triggered(before, document("closed"), text)


def test_one_trigger_of_several_and_a_filter_without_any_are_enough() -> None:
    away = '<trigger><changed to="away">//p:basic</changed></trigger>'
    basic = "<trigger><changed>//p:basic</changed></trigger>"
    assert triggered(document(), document("closed"), filters(away + basic))
    mood = what(include="//r:mood")
    assert not triggered(document(), document("closed"), filters(away, mood))
    assert triggered(document(), document("closed"), filters(away, what(include="//p:basic")))
    assert not triggered(document(), document(), filters(""))


def test_too_much_work_tells_everything() -> None:
    long = document(more='<tuple id="t"><status/></tuple>' * 3000)
    asks = " or ".join(f"@a{n}='x'" for n in range(40))
    many = filters(*(f"<what><include>//*[{asks}]</include></what>" for _ in range(5)))
    assert narrowed(long, many) == long
    assert triggered(long, document(), many)
    changed = filters(f"<trigger><changed>//*[{asks}]</changed></trigger>" * 5)
    assert triggered(long, document(), changed)
    assert not triggered(document(), document("closed"), changed)


NESTED = '<x xmlns="urn:x">' * 200 + "{}" + "</x>" * 200
FORESTS = '<z xmlns="urn:x">' + ("<x>" * 100 + "{}" + "</x>" * 100) * 39 + "</z>"
MANY_ATTRIBUTES = "".join(f" a{n}='1'" for n in range(15_000))
ASKS = " or ".join(['.="a"'] * 50)


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        (NESTED.format("t" * 20_000), f"<what><include>//*[{ASKS}]</include></what>"),
        ("<note>{}</note>" * 4000, "<trigger><changed>//*</changed></trigger>"),
        ('<x xmlns="urn:x" b="1"/>' * 2000, "<what><exclude>//*/@b</exclude></what>"),
        (FORESTS, "<trigger><changed>//*</changed></trigger>"),
        (FORESTS, "<what><include>//*</include><exclude>//*</exclude></what>" * 10),
        (
            f'<x xmlns="urn:x"><y{MANY_ATTRIBUTES} z="{{}}"/></x>',
            "<trigger><changed>//*</changed></trigger>",
        ),
        (
            "<note>" + "A" * 200_000 + "{}</note>",
            f"<what><include>//*[{ASKS}]</include></what>" * 9,
        ),
    ],
    ids=["nested", "beside", "attributes", "forests", "forests told", "wide", "text"],
)
def test_no_filter_and_document_that_fit_into_messages_take_long(more: str, asked: str) -> None:
    """A tenth of a second is meant; most of these would take one and more if nobody counted."""
    given = filters(asked)
    before, after = (document(more=more.replace("{}", text)) for text in ("", "x"))
    began = time.thread_time()
    narrowed(before, given)
    assert time.thread_time() - began < 0.6
    triggered(before, after, given)
    assert time.thread_time() - began < 1.2


def test_what_is_excluded_by_attribute_is_gone_from_many_elements() -> None:
    many = document(more='<x xmlns="urn:x" b="1" c="2"/>' * 500)
    seen = narrowed(many, filters(what(exclude="//*/@b")))
    assert (seen.count(b'b="1"'), seen.count(b'c="2"')) == (0, 500)


def test_an_element_without_id_is_the_same_at_the_same_place_among_its_like() -> None:
    notes = "<note>{}</note><tuple id='{}'><status/><note>{}</note></tuple><note>{}</note>"
    before = document(more=notes.format("a", "x", "b", "c"))
    inner = filters('<trigger><changed from="b">//p:tuple/p:note</changed></trigger>')
    assert triggered(before, document(more=notes.format("a", "x", "B2", "c")), inner)
    assert not triggered(before, document(more=notes.format("a", "y", "B2", "c")), inner)
    outer = filters('<trigger><changed from="a" to="A2">/p:presence/p:note</changed></trigger>')
    assert triggered(before, document(more=notes.format("A2", "x", "b", "c")), outer)
    assert not triggered(before, document(more=notes.format("a", "x", "b", "A2")), outer)


def test_what_we_print_longer_than_we_read_is_told_whole_and_every_change_counts() -> None:
    ampersands = "&" * 53_000
    taken = document(more=f"<note><![CDATA[{ampersands}]]></note>")
    assert len(taken) > markup.MAX_BYTES
    mood = filters(what(include="//r:mood"))
    assert narrowed(taken, mood) == taken
    assert triggered(taken, document(), mood)
    assert triggered(document(), taken, filters("<trigger><added>//r:mood</added></trigger>"))


EXPRESSIONS = st.lists(
    st.sampled_from(
        [
            "/p:presence/p:tuple",
            "//r:activities",
            "/*/*",
            "//p:basic",
            "//dm:device",
            "//*[@id='p']",
        ]
    ),
    max_size=3,
).map(" ".join)


@settings(
    deadline=None,
    max_examples=10,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(DOCUMENTS, EXPRESSIONS, EXPRESSIONS)
def test_a_filter_only_takes_away_and_twice_is_once(
    given_document: Presence, include: str, exclude: str
) -> None:
    whole = pidf.serialise(given_document)
    each = filters(what(include=include, exclude=exclude))
    once = narrowed(whole, each)
    seen = pidf.parse(once)
    assert len(seen.tuples) <= len(given_document.tuples)
    assert len(seen.persons) <= len(given_document.persons)
    assert len(once) <= len(whole) + 200  # declarations of namespaces may move
    assert narrowed(once, each) == once
