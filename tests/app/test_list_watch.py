import pytest

from sipbridge.app.list_watch import ListNews, ListWatch
from sipbridge.events.subscriber import Notified
from sipbridge.gateway.ports import ListMember
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.presence import pidf as documents
from sipbridge.sip.policy import NO_POLICY, PeerPolicy
from sipbridge.uri import Uri
from tests.app.lists import KIND, row, told
from tests.events.peers import pidf

BOB = PresentityKey("sip:bob@example.com")
FRIENDS = PresentityKey("sip:friends@example.com")
DAVE, ERIN, ZOE = "sip:dave@example.com", "sip:erin@example.com", "sip:zoe@example.com"


class Seen:
    """A list, and what is made of its notifications."""

    def __init__(self, policy: PeerPolicy = NO_POLICY) -> None:
        self.watch = ListWatch(BOB, FRIENDS, NormalisingIdentities(), policy)

    def notify(
        self, body: bytes, *, state: str = "active", kind: str = KIND, call_id: str = "c1"
    ) -> ListNews:
        said = Notified("s1", "presence", state, "", None, 600, kind, body, call_id, "t1", 3.0)
        return self.watch.receive(said)


def states(news: ListNews) -> list[tuple[str, str, bool]]:
    return [(u.presentity, u.state, u.document is not None) for u in news.members]


def listed(news: ListNews) -> dict[str, str]:
    assert news.roster is not None
    return {str(member.uri): member.state for member in news.roster.members}


def test_each_member_has_news_of_its_own() -> None:
    news = Seen().notify(
        told(
            0,
            True,
            row(DAVE, "active", "d@x", name="Dave"),
            row(ERIN, "pending"),
            d=pidf("open", DAVE),
        )
    )
    assert states(news) == [(DAVE, "active", True), (ERIN, "pending", False)]
    update = news.members[0]
    assert update.document == documents.parse(pidf("open", DAVE))
    assert (update.watcher, update.group) == (BOB, FRIENDS)
    assert update.trace == "t1"
    assert news.roster is not None
    assert news.roster.members[0] == ListMember(Uri.parse(DAVE), "active", "Dave")
    assert (news.roster.watcher, news.roster.group, news.roster.state) == (BOB, FRIENDS, "active")


def test_who_is_not_resolved_is_a_member_without_news() -> None:
    news = Seen().notify(told(1, True, row(DAVE), row(ERIN)))
    assert states(news) == []
    assert listed(news) == {DAVE: "", ERIN: ""}


def test_the_list_is_told_again_only_when_somebody_comes_or_goes_or_stands_otherwise() -> None:
    seen = Seen()
    assert listed(seen.notify(told(1, True, row(DAVE), row(ERIN)))) == {DAVE: "", ERIN: ""}
    one = told(2, False, row(DAVE, "active", "d@x"), d=pidf("open", DAVE))
    assert listed(seen.notify(one)) == {DAVE: "active", ERIN: ""}
    same = seen.notify(told(3, False, row(DAVE, "active", "d@x"), d=pidf("closed", DAVE)))
    assert (same.roster, states(same)) == (None, [(DAVE, "active", True)])
    joined = seen.notify(told(4, False, row(ZOE, "pending")))
    assert listed(joined) == {DAVE: "active", ERIN: "", ZOE: "pending"}
    left = seen.notify(told(5, True, row(ZOE, "pending"), row(ERIN)))
    assert listed(left) == {ZOE: "pending", ERIN: ""}


def test_a_document_that_has_not_changed_is_the_same_object() -> None:
    seen = Seen()
    body = pidf("open", DAVE)
    first = seen.notify(told(0, True, row(DAVE, "active", "d@x"), d=body)).members[0]
    again = seen.notify(told(1, False, row(DAVE, "active", "d@x"), d=body)).members[0]
    assert again.document is first.document
    seen.notify(told(2, True, row(ERIN)))
    back = seen.notify(told(3, True, row(DAVE, "active", "d@x"), d=body)).members[0]
    assert back.document is not first.document
    assert back.document == first.document


def test_a_broken_part_hides_nobody_else() -> None:
    news = Seen().notify(
        told(
            0,
            True,
            row(DAVE, "active", "d@x"),
            row(ERIN, "active", "e@x"),
            row(ZOE, "active", "z@x"),
            d=b"<presence",
            e=pidf("open", ERIN),
            z=b'<list xmlns="urn:ietf:params:xml:ns:rlmi" version="0" fullState="true"/>',
        )
    )
    assert states(news) == [
        (DAVE, "active", False),
        (ERIN, "active", True),
        (ZOE, "active", False),
    ]
    assert len(news.errors) == 2


def test_a_member_without_a_readable_address_hides_nobody_else() -> None:
    seen = Seen()
    news = seen.notify(told(0, True, row("not an address", "active"), row(ERIN, "active")))
    assert listed(news) == {ERIN: "active"}
    assert states(news) == [(ERIN, "active", False)]
    assert ["no address" in str(error) for error in news.errors] == [True]
    assert not seen.notify(told(1, False, row(ERIN, "active"))).errors


def test_one_person_under_two_spellings_is_one_member() -> None:
    news = Seen().notify(told(0, True, row(DAVE, "active"), row("sip:dave@EXAMPLE.com", "active")))
    assert listed(news) == {DAVE: "active"}


@pytest.mark.parametrize("reason", ["rejected", "noresource", "invariant"])
def test_an_end_for_good_is_told(reason: str) -> None:
    seen = Seen()
    seen.notify(told(0, True, row(DAVE, "active"), row(ERIN, "active")))
    news = seen.notify(told(1, False, row(DAVE, "terminated", reason=reason)))
    assert [(u.state, u.reason, u.group) for u in news.members] == [("terminated", reason, FRIENDS)]
    assert listed(news) == {DAVE: "terminated", ERIN: "active"}


@pytest.mark.parametrize("reason", ["deactivated", "probation", "timeout", "giveup", ""])
def test_an_end_after_which_the_server_asks_again_says_nothing(reason: str) -> None:
    seen = Seen()
    seen.notify(told(0, True, row(DAVE, "active")))
    news = seen.notify(told(1, False, row(DAVE, "terminated", reason=reason)))
    assert states(news) == []
    assert listed(news) == {DAVE: "terminated"}


def test_a_gap_is_asked_about_once_until_things_are_in_order() -> None:
    seen = Seen()
    assert not seen.notify(told(0, True, row(DAVE, "active"))).refresh
    gap = seen.notify(told(2, False, row(DAVE, "pending")))
    assert (gap.refresh, states(gap)) == (True, [(DAVE, "pending", False)])
    assert not seen.notify(told(9, False, row(DAVE, "active"))).refresh  # it cannot count
    assert not seen.notify(told(10, False, row(DAVE, "active"))).refresh
    assert seen.notify(told(12, False, row(DAVE, "active"))).refresh


def test_a_new_dialog_counts_anew() -> None:
    seen = Seen()
    seen.notify(told(7, True, row(DAVE, "active"), row(ERIN, "active")))
    news = seen.notify(told(1, True, row(ERIN)), call_id="c2")
    assert not news.refresh
    assert listed(news) == {ERIN: ""}
    assert seen.notify(told(2, False, row(ERIN, "active")), call_id="c2").refresh is False


def test_an_empty_notify_before_the_list_has_spoken_says_nothing() -> None:
    seen = Seen()
    assert seen.notify(b"", state="pending").roster is None
    assert seen.notify(b"").roster is None
    assert not seen.watch.is_list
    assert listed(seen.notify(told(1, True, row(DAVE)))) == {DAVE: ""}


@pytest.mark.parametrize("call_id", ["c1", "c2"])
def test_an_empty_notify_takes_nobody_out_of_the_list(call_id: str) -> None:
    seen = Seen()
    seen.notify(told(1, True, row(DAVE)))
    pending = seen.notify(b"", state="pending", call_id=call_id)
    assert pending.roster is not None
    assert pending.roster.state == "pending"
    assert listed(pending) == {DAVE: ""}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (KIND, b"--50\r\n\r\nx\r\n--50--"),
        ("application/pidf+xml", pidf("open", DAVE)),
        ("multipart/related", b"x"),
    ],
)
def test_what_is_no_list_is_an_error_and_changes_nothing(kind: str, body: bytes) -> None:
    seen = Seen()
    seen.notify(told(0, True, row(DAVE, "active")))
    news = seen.notify(body, kind=kind)
    assert (news.roster, news.members, news.refresh, len(news.errors)) == (None, [], False, 1)


def test_tolerated_mistakes_of_documents_are_told_once() -> None:
    seen = Seen()
    odd = pidf("open", DAVE).replace(b"<basic>open", b"<basic> OPEN")
    body = told(0, True, row(DAVE, "active", "d@x"), d=odd)
    assert len(seen.notify(body).tolerated) == 1
    assert not seen.notify(body).tolerated


def test_what_a_server_makes_up_about_a_member_is_no_news() -> None:
    made_up = pidf("open", DAVE)
    ids = frozenset(t.id or "" for t in documents.parse(made_up).tuples)
    seen = Seen(PeerPolicy(placeholders=ids))
    real = made_up.replace(b'tuple id="', b'tuple id="r')
    first = seen.notify(told(0, True, row(DAVE, "active", "d@x"), d=real))
    assert states(first) == [(DAVE, "active", True)]
    news = seen.notify(told(1, False, row(DAVE, "active", "d@x"), d=made_up))
    assert (states(news), news.errors) == ([(DAVE, "active", False)], [])
    again = seen.notify(told(2, False, row(DAVE, "active", "d@x"), d=real))
    assert again.members[0].document is first.members[0].document


def test_the_end_of_the_list_names_nobody() -> None:
    seen = Seen()
    seen.notify(told(0, True, row(DAVE, "active")))
    ended = seen.watch.ended("timeout", "t9")
    assert (ended.state, ended.reason, ended.members) == ("terminated", "timeout", ())
    assert (ended.watcher, ended.group, ended.trace) == (BOB, FRIENDS, "t9")
