import pytest

from sipbridge.errors import DocumentError, ParseError
from sipbridge.events import resource_list
from sipbridge.events.presence_package import PIDF
from sipbridge.events.resource_list import ListView, Member
from tests.events.peers import pidf

KIND = 'multipart/related;type="application/rlmi+xml";start="<table@x>";boundary="50"'
DAVE, ERIN, ZOE = "sip:dave@example.com", "sip:erin@example.com", "sip:zoe@example.com"


def row(uri: str, state: str = "", cid: str = "", reason: str = "", id: str = "i1") -> str:
    instance = ""
    if state:
        attributes = f' cid="{cid}"' if cid else ""
        attributes += f' reason="{reason}"' if reason else ""
        instance = f'<instance id="{id}" state="{state}"{attributes}/>'
    return f'<resource uri="{uri}"><name>{uri[4:8]}</name>{instance}</resource>'


def table(version: int, full: bool, *rows: str) -> bytes:
    state = "true" if full else "false"
    return (
        f'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:friends@example.com"'
        f' version="{version}" fullState="{state}">{"".join(rows)}</list>'
    ).encode()


def body(contents: bytes, **documents: bytes) -> bytes:
    parts = [("table@x", "application/rlmi+xml", contents)]
    parts += [(f"{cid}@x", PIDF, document) for cid, document in documents.items()]
    return (
        b"".join(
            f"--50\r\nContent-ID: <{cid}>\r\nContent-Type: {kind};charset=UTF-8\r\n\r\n".encode()
            + data
            + b"\r\n"
            for cid, kind, data in parts
        )
        + b"--50--\r\n"
    )


def test_a_full_list_names_everybody_and_brings_documents() -> None:
    view = ListView()
    first = body(table(0, True, row(DAVE, "active", "d@x"), row(ERIN)), d=pidf("open", DAVE))
    change = view.receive(KIND, first)
    assert change.members == (
        Member(DAVE, "i1", "active", "", "dave", f"{PIDF};charset=UTF-8", pidf("open", DAVE)),
        Member(ERIN, "", "", name="erin"),
    )
    assert (change.gone, change.missed) == ((), False)


def test_a_part_speaks_of_those_that_changed() -> None:
    view = ListView()
    view.receive(KIND, body(table(0, True, row(DAVE, "pending"), row(ERIN, "pending"))))
    change = view.receive(
        KIND, body(table(1, False, row(ERIN, "active", "e@x")), e=pidf("closed", ERIN))
    )
    assert [(m.uri, m.state, m.body) for m in change.members] == [
        (ERIN, "active", pidf("closed", ERIN))
    ]
    assert set(view.members) == {DAVE, ERIN}
    assert not change.missed


def test_a_full_list_takes_away_who_is_not_in_it() -> None:
    view = ListView()
    view.receive(KIND, body(table(0, True, row(DAVE, "active"), row(ERIN, "active"))))
    change = view.receive(KIND, body(table(5, True, row(ERIN, "active"), row(ZOE))))
    assert change.gone == (DAVE,)
    assert not change.missed
    assert set(view.members) == {ERIN, ZOE}


def test_a_gap_before_a_part_is_noticed_and_the_part_is_used() -> None:
    view = ListView()
    view.receive(KIND, body(table(0, True, row(DAVE, "active"))))
    change = view.receive(KIND, body(table(2, False, row(DAVE, "terminated", reason="rejected"))))
    assert change.missed
    assert [(m.state, m.reason) for m in change.members] == [("terminated", "rejected")]
    assert view.members[DAVE] == {}


def test_a_part_that_comes_first_is_a_gap_too() -> None:
    assert ListView().receive(KIND, body(table(3, False, row(DAVE, "active")))).missed


@pytest.mark.parametrize("version", [0, 1])
def test_a_late_copy_says_nothing(version: int) -> None:
    view = ListView()
    view.receive(KIND, body(table(1, True, row(DAVE, "active"))))
    change = view.receive(KIND, body(table(version, True)))
    assert (change.members, change.gone, change.missed) == ((), (), False)
    assert set(view.members) == {DAVE}


def test_a_bare_table_needs_no_multipart() -> None:
    change = ListView().receive("application/rlmi+xml", table(0, True, row(DAVE, "pending")))
    assert [m.state for m in change.members] == ["pending"]


def test_the_table_is_found_by_its_type_where_start_is_missing_or_wrong() -> None:
    data = body(table(0, True, row(DAVE, "active")))
    for kind in ('multipart/related;boundary="50"', KIND.replace("table@x", "other@x")):
        assert len(ListView().receive(kind, data).members) == 1


def test_a_cid_that_leads_nowhere_is_a_member_without_document() -> None:
    change = ListView().receive(KIND, body(table(0, True, row(DAVE, "active", "nobody@x"))))
    assert (change.members[0].content_type, change.members[0].body) == ("", b"")


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(DocumentError, match="table of contents"):
        ListView().receive(KIND, b"--50\r\nContent-Type: text/plain\r\n\r\nhi\r\n--50--")
    with pytest.raises(ParseError, match="boundary"):
        ListView().receive("multipart/related", b"")
    with pytest.raises(DocumentError):
        ListView().receive(KIND, body(b"<list"))


def test_a_list_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_list, "MAX_MEMBERS", 1)
    with pytest.raises(DocumentError, match="more than 1 members"):
        ListView().receive(KIND, body(table(0, True, row(DAVE), row(ERIN))))
