"""Resource lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.presence import lists
from sipbridge.presence.lists import Entry, EntryRef, External, List, ResourceLists
from sipbridge.presence.model import Note
from sipbridge.presence.schema import is_valid

WORDS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
NOTES = st.none() | st.builds(Note, WORDS, st.none() | st.just("en"))
ITEMS = (
    st.builds(Entry, WORDS.map("sip:{}@y".format), NOTES)
    | st.builds(EntryRef, WORDS.map("resource-lists/users/{}".format), NOTES)
    | st.builds(External, WORDS.map("http://y/{}".format), NOTES)
)
LISTS = st.recursive(
    st.builds(List, st.lists(ITEMS, max_size=3).map(tuple), st.none() | WORDS, NOTES),
    lambda inner: st.builds(
        List, st.lists(ITEMS | inner, max_size=3).map(tuple), st.none() | WORDS, NOTES
    ),
    max_leaves=6,
)
DOCUMENTS = st.builds(ResourceLists, st.lists(LISTS, max_size=2).map(tuple))


@given(DOCUMENTS)
def test_any_document_reads_as_it_was_printed(document: ResourceLists) -> None:
    body = lists.serialise(document)
    assert lists.parse(body) == document
    assert is_valid(body)


ADDRESS_BOOK = b"""<?xml version="1.0"?>
<rl:resource-lists xmlns:rl="urn:ietf:params:xml:ns:resource-lists" xmlns:o="urn:other">
  <rl:list name="crew" o:colour="red">
    <rl:display-name xml:lang="de">Mannschaft</rl:display-name>
    <rl:entry uri=" sip:ida@example.com "><rl:display-name>Ida</rl:display-name><o:pet/></rl:entry>
    <rl:list name="deck"><rl:entry uri="sip:ole@example.com"/><rl:entry/></rl:list>
    <rl:entry-ref ref="resource-lists/users/x/y"/>
    <rl:external anchor="http://xcap.example.com/z"/>
    <o:entry uri="sip:nobody@example.com"/>
  </rl:list>
  <rl:list><rl:entry uri="tel:+1-555"/></rl:list>
</rl:resource-lists>"""


def test_an_address_book_is_read_and_what_is_foreign_in_it_left_out() -> None:
    document = lists.parse(ADDRESS_BOOK)
    crew, others = document.lists
    assert (crew.name, crew.display_name) == ("crew", Note("Mannschaft", "de"))
    assert crew.items == (
        Entry("sip:ida@example.com", Note("Ida")),
        List((Entry("sip:ole@example.com"),), "deck"),
        EntryRef("resource-lists/users/x/y"),
        External("http://xcap.example.com/z"),
    )
    assert others == List((Entry("tel:+1-555"),))
    assert [each.code for each in document.deviations] == ["empty-element"]


def test_the_entries_are_those_of_all_lists_in_order() -> None:
    found = lists.entries(lists.parse(ADDRESS_BOOK))
    assert [entry.uri for entry in found] == [
        "sip:ida@example.com",
        "sip:ole@example.com",
        "tel:+1-555",
    ]


def test_a_list_made_of_addresses_holds_them() -> None:
    body = lists.serialise(lists.of(["sip:a@y", "sip:b&c@y"]))
    assert [entry.uri for entry in lists.entries(lists.parse(body))] == ["sip:a@y", "sip:b&c@y"]
    assert is_valid(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'<list xmlns="urn:ietf:params:xml:ns:rlmi"/>', "no resource-lists"),
        (b"<resource-lists/>", "no resource-lists"),
        (b"", "empty"),
        (
            b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
            + b"<list>" * 17
            + b"</list>" * 17
            + b"</resource-lists>",
            "deep",
        ),
    ],
)
def test_what_is_no_resource_list_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        lists.parse(body)
