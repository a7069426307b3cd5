"""List documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.presence import rlmi
from sipbridge.presence.model import Note
from sipbridge.presence.rlmi import Instance, Resource, ResourceList
from sipbridge.presence.schema import is_valid

WORDS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
URIS = WORDS.map("sip:{}@y".format)
NOTES = st.lists(st.builds(Note, WORDS, st.none() | st.just("en")), max_size=2).map(tuple)
INSTANCES = st.builds(
    Instance,
    WORDS,
    st.sampled_from(["active", "pending", "terminated"]),
    st.none() | WORDS,
    st.none() | WORDS,
)
DOCUMENTS = st.builds(
    ResourceList,
    URIS,
    st.integers(0, 2**31),
    st.booleans(),
    st.lists(
        st.builds(Resource, URIS, NOTES, st.lists(INSTANCES, max_size=2).map(tuple)), max_size=3
    ).map(tuple),
    NOTES,
)


@given(DOCUMENTS)
def test_any_document_reads_as_it_was_printed(document: ResourceList) -> None:
    body = rlmi.serialise(document)
    assert rlmi.parse(body) == document
    assert is_valid(body)


def test_the_drafts_form_is_read() -> None:
    body = (
        b'<list xmlns="urn:ietf:params:xml:ns:rmli" uri="sip:c@y" version="1" name="Crew" fullState="TRUE">'
        b'<resource uri="sip:t@y" name="Tug">'
        b'<instance id="i" state="active" cid="&lt;a@y&gt;"/></resource><resource/></list>'
    )
    document = rlmi.parse(body)
    assert document == ResourceList(
        "sip:c@y",
        1,
        True,
        (Resource("sip:t@y", (Note("Tug"),), (Instance("i", "active", None, "a@y"),)),),
        (Note("Crew"),),
    )
    assert [each.code for each in document.deviations] == [
        "old-namespace",
        "draft-form",
        "empty-element",
        "draft-form",
    ]


@pytest.mark.parametrize(
    "body", [b"<list/>", b'<list xmlns="urn:x"/>', b'<lists xmlns="urn:ietf:params:xml:ns:rlmi"/>']
)
def test_other_documents_are_refused(body: bytes) -> None:
    with pytest.raises(DocumentError, match="no list"):
        rlmi.parse(body)
