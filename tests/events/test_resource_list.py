import pytest

from sipbridge.errors import DocumentError, ParseError
from sipbridge.events import resource_list
from sipbridge.events.presence_package import PIDF
from sipbridge.events.resource_list import ListChange, ListView, Member
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
    assert view.roster()[DAVE].state == "terminated"


def test_a_document_that_is_promised_and_not_there_is_asked_for() -> None:
    view = ListView()
    rows = (row(DAVE, "active", "d@x"), row(ERIN, "active", "e@x"))
    change = view.receive(KIND, body(table(0, True, *rows), d=pidf("open", DAVE)))
    assert change.missed
    assert [(m.uri, m.state, bool(m.body)) for m in change.members] == [
        (DAVE, "active", True),
        (ERIN, "active", False),
    ]


def test_a_part_that_comes_first_is_a_gap_too() -> None:
    assert ListView().receive(KIND, body(table(3, False, row(DAVE, "active")))).missed


def test_a_part_told_twice_says_nothing() -> None:
    view = ListView()
    view.receive(KIND, body(table(0, True, row(DAVE, "active"))))
    again = body(table(1, False, row(DAVE, "pending")))
    assert [m.state for m in view.receive(KIND, again).members] == ["pending"]
    assert view.receive(KIND, again) == ListChange()


@pytest.mark.parametrize("version", [0, 1, 7])
def test_a_full_list_is_taken_whatever_its_version(version: int) -> None:
    view = ListView()
    view.receive(KIND, body(table(1, True, row(DAVE, "active"), row(ERIN, "active"))))
    change = view.receive(KIND, body(table(version, True, row(ERIN, "pending"))))
    assert [(m.uri, m.state) for m in change.members] == [(ERIN, "pending")]
    assert (change.gone, change.missed) == ((DAVE,), False)
    assert not view.receive(KIND, body(table(version + 1, False))).missed


def test_a_server_that_counts_anew_in_parts_is_asked_again() -> None:
    view = ListView()
    view.receive(KIND, body(table(9, True, row(DAVE, "active"))))
    change = view.receive(KIND, body(table(1, False, row(DAVE, "pending"))))
    assert change.missed
    assert [m.state for m in change.members] == ["pending"]


def test_a_new_dialog_counts_anew_and_nobody_is_forgotten_until_it_says_so() -> None:
    view = ListView()
    view.receive(KIND, body(table(3, True, row(DAVE, "active"), row(ERIN, "active"))))
    view.restart()
    assert set(view.roster()) == {DAVE, ERIN}
    change = view.receive(KIND, body(table(0, True, row(ERIN))))
    assert (change.gone, change.missed) == ((DAVE,), False)
    assert {uri: m.state for uri, m in view.roster().items()} == {ERIN: ""}


def test_of_several_instances_the_one_that_says_most_speaks() -> None:
    two = (
        f'<resource uri="{DAVE}"><instance id="a" state="terminated" reason="timeout"/>'
        '<instance id="b" state="active" cid="d@x"/></resource>'
    )
    view = ListView()
    change = view.receive(KIND, body(table(0, True, two), d=pidf("open", DAVE)))
    assert [(m.instance, m.state, m.body) for m in change.members] == [
        ("b", "active", pidf("open", DAVE))
    ]
    ended = row(DAVE, "terminated", id="b")
    assert [m.state for m in view.receive(KIND, body(table(1, False, ended))).members] == [
        "terminated"
    ]


def test_a_full_list_takes_away_instances_that_it_does_not_name() -> None:
    view = ListView()
    view.receive(KIND, body(table(0, True, row(DAVE, "active", id="a"))))
    change = view.receive(KIND, body(table(1, True, row(DAVE, "pending", id="b"))))
    assert [(m.instance, m.state) for m in change.members] == [("b", "pending")]
    assert view.roster()[DAVE].state == "pending"


INNER = "sip:others@example.com"
SIGNED = 'multipart/signed;protocol="application/pkcs7-signature";boundary="s1"'


def inside(kind: str, data: bytes, boundary: str = "out") -> tuple[str, bytes]:
    """A list of Erin and another list, whose notification is the document."""
    contents = table(0, True, row(ERIN, "pending"), row(INNER, "active", "in@y"))
    mark = f"--{boundary}\r\n".encode()
    told = (
        mark
        + b"Content-ID: <table@y>\r\nContent-Type: application/rlmi+xml\r\n\r\n"
        + contents
        + b"\r\n"
        + mark
        + f"Content-ID: <in@y>\r\nContent-Type: {kind}\r\n\r\n".encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return f'multipart/related;start="<table@y>";boundary={boundary}', told


def signed(kind: str, data: bytes) -> bytes:
    part = f"--s1\r\nContent-Type: {kind}\r\n\r\n".encode() + data
    return part + b"\r\n--s1\r\nContent-Type: application/pkcs7-signature\r\n\r\nx\r\n--s1--\r\n"


@pytest.mark.parametrize("is_signed", [False, True])
def test_members_of_a_list_in_the_list_stand_in_its_place(is_signed: bool) -> None:
    view = ListView()
    data = body(table(0, True, row(DAVE, "active", "d@x")), d=pidf("open", DAVE))
    kind, data = (SIGNED, signed(KIND, data)) if is_signed else (KIND, data)
    change = view.receive(*inside(kind, data))
    assert [(m.uri, m.body) for m in change.members] == [(ERIN, b""), (DAVE, pidf("open", DAVE))]
    assert set(view.roster()) == {DAVE, ERIN}


def test_a_list_in_the_list_loses_members_and_ends_with_its_resource() -> None:
    view = ListView()
    view.receive(*inside(KIND, body(table(0, True, row(DAVE, "active"), row(ZOE, "active")))))
    shrunk = view.receive(*inside(KIND, body(table(1, True, row(ZOE, "active")))))
    assert (shrunk.gone, set(view.roster())) == ((DAVE,), {ERIN, ZOE})
    ended = view.receive(KIND, body(table(1, False, row(INNER, "terminated", reason="noresource"))))
    assert (ended.gone, [m.uri for m in ended.members]) == ((ZOE,), [INNER])
    left = view.receive(KIND, body(table(2, True, row(ERIN, "active"))))
    assert (left.gone, set(view.roster())) == ((INNER,), {ERIN})


def test_a_gap_in_an_inner_list_is_a_gap() -> None:
    view = ListView()
    view.receive(*inside(KIND, body(table(0, True, row(DAVE, "active")))))
    assert view.receive(*inside(KIND, body(table(4, False, row(DAVE, "pending"))))).missed


def test_a_broken_inner_list_is_a_member_that_cannot_be_read() -> None:
    change = ListView().receive(*inside(KIND, body(b"<list")))
    assert [m.uri for m in change.members] == [ERIN, INNER]
    assert change.members[1].body == body(b"<list")


def test_lists_in_lists_have_a_bounded_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_list, "MAX_DEPTH", 1)
    change = ListView().receive(*inside(KIND, body(table(0, True, row(DAVE, "active")))))
    assert [m.uri for m in change.members] == [ERIN, INNER]


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
