"""Watcher information documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, watcherinfo
from sipbridge.presence.schema import is_valid
from sipbridge.presence.watcherinfo import WatcherEntry, WatcherInfo, WatcherList

HEAD = 'xmlns="urn:ietf:params:xml:ns:watcherinfo"'
WORDS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
SHOWN = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=8
)
ENTRIES = st.builds(
    WatcherEntry,
    WORDS.map("sip:{}@y".format),
    st.sampled_from(["active", "pending", "waiting", "terminated"]),
    st.sampled_from(
        [
            "subscribe",
            "approved",
            "rejected",
            "timeout",
            "giveup",
            "noresource",
            "deactivated",
            "probation",
        ]
    ),
    WORDS,
    st.none() | SHOWN,
    st.none() | st.integers(0, 2**31),
    st.none() | st.integers(0, 2**31),
    st.none() | st.just("en"),
)
DOCUMENTS = st.builds(
    WatcherInfo,
    st.integers(0, 2**31),
    st.sampled_from(["full", "partial"]),
    st.lists(
        st.builds(
            WatcherList,
            WORDS.map("sip:{}@y".format),
            st.just("presence"),
            st.lists(ENTRIES, max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(DOCUMENTS)
def test_any_document_reads_as_it_was_printed(document: WatcherInfo) -> None:
    body = watcherinfo.serialise(document)
    assert watcherinfo.parse(body) == document
    assert is_valid(body)


def test_what_servers_write_is_read() -> None:
    body = f"""<?xml version="1.0"?>
<watcherinfo {HEAD} version = "one" state="FULL"><watcher-list resource=" sip:q@y " package="presence">
<watcher id="-8" status="Active" event="approved" duration-subscribed="509s"> sip:tug@y </watcher>
<watcher status="pending" event="subscribe"/><watcher status="pending" event="subscribe">sip:gull@y</watcher>
</watcher-list><extra/></watcherinfo>"""
    document = watcherinfo.parse(body.encode())
    assert (document.version, document.state) == (0, "full")
    assert document.lists[0].watchers == (
        WatcherEntry("sip:tug@y", "active", "approved", "-8"),
        WatcherEntry("sip:gull@y", "pending", "subscribe"),
    )
    assert [each.code for each in document.deviations] == [
        "bad-number",
        "bad-number",
        "bad-number",
        "empty-element",
        "no-id",
    ]


def test_a_state_that_is_no_state_cannot_wipe_the_table() -> None:
    document = watcherinfo.parse(f'<watcherinfo {HEAD} version="3" state="all"/>'.encode())
    assert document.state == "partial"


def test_other_documents_are_refused() -> None:
    for body in (b"<watcherinfo/>", b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>'):
        with pytest.raises(DocumentError, match="no watcherinfo"):
            watcherinfo.parse(body)


def test_numbers_that_are_none() -> None:
    from sipbridge.presence.deviations import Notebook

    for text in ("-1", "1e9", "٣", "9" * 40, ""):
        assert (
            watcherinfo.number(markup.parse(f'<a n="{text}"/>'.encode()), "n", Notebook()) is None
        )
