from datetime import UTC, datetime, timedelta

from sipbridge.agent.publications import PublishedState
from sipbridge.identities import PresentityKey
from sipbridge.presence import pidf
from sipbridge.presence.rules import EVERYTHING, Permission, SubHandling
from tests.agent.world import document

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ALL = Permission(SubHandling.ALLOW, EVERYTHING)
POLITE = Permission(SubHandling.POLITE_BLOCK)


def state(*bodies: bytes) -> PublishedState:
    made = PublishedState(PresentityKey("sip:carol@example.com"), lambda said: None)
    for n, body in enumerate(bodies):
        made.put(f"p{n}", pidf.parse(body), NOON + timedelta(seconds=n))
    return made


def test_equal_permissions_share_a_view_whatever_rules_they_come_from() -> None:
    made = state()
    assert made.view(ALL) is made.view(Permission(SubHandling.ALLOW, EVERYTHING, ("r1",)))
    assert made.view(ALL) is not made.view(POLITE)


def test_a_view_is_printed_once_for_each_version() -> None:
    made = state(document("open"))
    view = made.view(ALL)
    first = made.content(view)
    assert made.content(view) is first
    made.put("p0", pidf.parse(document("closed")), NOON)
    assert made.content(view) is not first


def test_nothing_known_is_no_body_and_everything_gone_is_a_closed_one() -> None:
    made = state()
    assert made.content(made.view(ALL)) is None
    made.put("p0", pidf.parse(document("open")), NOON)
    assert made.drop("p0")
    gone = made.content(made.view(ALL))
    polite = made.content(made.view(POLITE))
    assert gone is not None
    assert gone == polite
    assert [t.basic for t in pidf.parse(gone.body).tuples] == ["closed"]


def test_what_was_never_there_cannot_be_dropped_but_is_known_from_then_on() -> None:
    made = state()
    assert not made.drop("p9")
    assert made.content(made.view(ALL)) is not None


def test_a_polite_block_tells_nothing_of_what_changes() -> None:
    made = state(document("open"))
    before = made.content(made.view(POLITE))
    made.put("p1", pidf.parse(document("open", "t2")), NOON)
    assert made.content(made.view(POLITE)) == before


def with_sphere(inner: str, attributes: str = "") -> bytes:
    return document(more=f'<dm:person id="p"><r:sphere{attributes}>{inner}</r:sphere></dm:person>')


def test_the_sphere_is_a_word_or_what_deployed_peers_write() -> None:
    assert state().sphere(NOON) is None
    assert state(document()).sphere(NOON) is None
    assert state(with_sphere("<r:work/>")).sphere(NOON) == "work"
    assert state(with_sphere(" home ")).sphere(NOON) == "home"


def test_a_sphere_counts_while_it_lasts() -> None:
    body = with_sphere("<r:work/>", ' until="2026-05-04T12:30:00Z"')
    assert state(body).sphere(NOON) == "work"
    assert state(body).sphere(NOON + timedelta(hours=1)) is None
