"""Partial notification: what the watcher puts together is what the notifier means, or it knows better."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.events.conditional import condition
from sipbridge.events.partial import LEAP, Holding, Telling, is_partial, prefers_partial
from sipbridge.events.presence_package import PIDF, PIDF_DIFF
from sipbridge.events.subscriber import Notified, State
from sipbridge.presence import pidf
from sipbridge.presence.pidf_diff import MAX_VERSION, parse
from sipbridge.presence.rules import ALL, Provide, Transformations
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request
from sipbridge.uri import Uri
from tests.agent.world import ALLOW, CAROL, DAVE, AgentWorld
from tests.agent.world import document as agent_document
from tests.events.peers import TO_BOB, Answer
from tests.events.test_subscriber import World

PARTIAL_ONLY = replace(TO_BOB, name="bob")
WHOLE = replace(TO_BOB, partial_notify=False)


def document(*words: str, basic: str = "open") -> bytes:
    """A document of several tuples, long enough that a part of it is shorter."""
    tuples = "".join(
        f'<tuple id="t{n}"><status><basic>{basic if n == 0 else "open"}</basic></status>'
        f"<contact>sip:{word}@devices.example.com</contact></tuple>"
        for n, word in enumerate(words or ("a", "b", "c", "d", "e"))
    )
    body = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{CAROL}">{tuples}</presence>'
    return pidf.serialise(pidf.parse(body.encode()))


def meaning(body: bytes) -> object:
    return pidf.parse(body)


# --- the two sides --------------------------------------------------------------------------------------


def test_first_the_whole_then_parts_with_versions_that_count() -> None:
    telling, holding = Telling(), Holding(True)
    for version, basic in enumerate(["open", "closed", "open"], 1):
        body = telling.next(document(basic=basic), full=False)
        assert (parse(body).is_full, parse(body).version) == (version == 1, version)
        assert meaning(holding.whole(PIDF_DIFF, body)[1]) == meaning(document(basic=basic))


def test_whole_when_asked_when_forgotten_and_when_shorter() -> None:
    telling = Telling()
    telling.next(document(), full=False)
    assert parse(telling.next(document(basic="closed"), full=True)).is_full
    telling.forget()
    assert parse(telling.next(document(), full=False)).is_full
    assert parse(telling.next(document("x"), full=False)).is_full
    assert telling.version == 4


def test_versions_begin_anew_with_a_whole_document() -> None:
    telling = Telling(MAX_VERSION)
    telling.told = document()
    body = telling.next(document(basic="closed"), full=False)
    assert (parse(body).is_full, parse(body).version) == (True, 1)


def test_a_part_that_does_not_fit_changes_nothing() -> None:
    telling, holding = Telling(), Holding(True)
    holding.whole(PIDF_DIFF, telling.next(document(), full=False))
    lost = telling.next(document(basic="closed"), full=False)
    later = telling.next(document("a", "b", "c", "d"), full=False)
    assert holding.whole(PIDF_DIFF, later) == ("", b"")
    assert meaning(holding.document) == meaning(document())
    assert meaning(holding.whole(PIDF_DIFF, lost)[1]) == meaning(document(basic="closed"))


def test_an_empty_body_is_no_news_and_a_whole_document_ends_the_count() -> None:
    telling, holding = Telling(), Holding(True)
    holding.whole(PIDF_DIFF, telling.next(document(), full=False))
    assert holding.whole("", b"") == ("", b"")
    part = telling.next(document(basic="closed"), full=False)
    assert holding.whole(PIDF, document()) == (PIDF, document())
    assert holding.whole(PIDF_DIFF, part) == ("", b"")


def test_who_misses_too_often_asks_for_whole_documents() -> None:
    telling, holding = Telling(), Holding(True)
    telling.next(document(), full=False)
    for _ in range(3):
        assert holding.wanted
        holding.whole(PIDF_DIFF, telling.next(document(basic="closed"), full=False))
        telling.next(document(), full=False)
    assert not holding.wanted


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True),
            st.sampled_from(["open", "closed"]),
            st.sampled_from(["arrives", "arrives", "lost", "failed", "asked"]),
        ),
        max_size=12,
    )
)
def test_the_holder_has_the_newest_state_or_knows_that_it_has_not(
    story: list[tuple[list[str], str, str]],
) -> None:
    telling, holding = Telling(), Holding(True)
    right: bytes = b""
    for words, basic, fate in story:
        newest = document(*words, basic=basic)
        body = telling.next(newest, full=fate == "asked")
        if fate == "failed":
            telling.forget()
        elif fate != "lost":
            _, got = holding.whole(PIDF_DIFF, body)
            assert not got or meaning(got) == meaning(newest)
            right = got or right
        assert not right or meaning(holding.document) == meaning(right)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        (PIDF, False),
        (f"{PIDF_DIFF}, {PIDF}", True),
        (f"{PIDF}, {PIDF_DIFF};q=0.5", False),
        (f"{PIDF};q=0.3, {PIDF_DIFF};q=0.5", True),
        (f"{PIDF_DIFF};q=0", False),
        (PIDF_DIFF, True),
        ("*/*", False),
    ],
)
def test_who_prefers_parts(accept: str | None, wanted: bool) -> None:
    headers = Headers([] if accept is None else [("Accept", accept)])
    assert prefers_partial(Request("SUBSCRIBE", "sip:a@example.com", headers)) is wanted


def test_media_types_are_read_with_parameters() -> None:
    assert is_partial(PIDF_DIFF) and is_partial("Application/PIDF-diff+xml;charset=UTF-8")
    assert not is_partial(PIDF)


# --- watcher and agent ----------------------------------------------------------------------------------


def kinds(world: AgentWorld) -> list[str]:
    """Of each NOTIFY with a body: "full", "diff" or "whole"."""
    found = []
    for sent in world.pair.wire.named("NOTIFY"):
        body = sent.body
        if body:
            found.append(
                "full" if b":pidf-full" in body else "diff" if b":pidf-diff" in body else "whole"
            )
    return found


def test_changes_are_told_in_parts_and_seen_whole() -> None:
    world = AgentWorld()
    publication = world.publish(document())
    watching = world.watch()
    world.modify(publication, document(basic="closed"))
    world.modify(publication, document("a", "b", "c", "d"))
    assert kinds(world) == ["full", "diff", "diff"]
    assert {n.content_type for n in world.notified(watching)} == {PIDF}
    assert all(n.is_whole for n in world.notified(watching))
    assert world.seen(watching) == meaning(document("a", "b", "c", "d"))
    sizes = [len(s.body) for s in world.pair.wire.named("NOTIFY")]
    assert sizes[1] < sizes[0]
    world.subscriber.refresh(watching, world.pair.now)
    world.pair.turn()
    assert kinds(world)[3:] == ["full"]


def test_who_does_not_ask_gets_whole_documents() -> None:
    world = AgentWorld()
    publication = world.publish(document())
    watching = world.watch(policy=WHOLE)
    world.modify(publication, document(basic="closed"))
    assert kinds(world) == ["whole", "whole"]
    assert world.basics(watching)[0] == "closed"


def test_a_notify_that_failed_is_followed_by_the_whole_document() -> None:
    world = AgentWorld()
    publication = world.publish(document())
    watching = world.watch()
    dialog = world.subscriber.subscriptions[watching].dialog
    assert dialog is not None
    before, dialog.remote_cseq = dialog.remote_cseq, 10_000  # so that the next gets 500
    world.modify(publication, document(basic="closed"))
    assert world.basics(watching)[0] == "open"
    dialog.remote_cseq = before
    world.pair.pass_seconds(20)
    assert kinds(world) == ["full", "diff", "full"]
    assert world.basics(watching)[0] == "closed"


def test_a_missed_part_is_asked_for_and_the_old_state_stays_meanwhile() -> None:
    world = AgentWorld()
    publication = world.publish(document())
    watching = world.watch()
    (told,) = [s.telling for s in world.agent.notifier.subscriptions.values() if s.telling]
    told.version += 1  # as if one had been lost
    world.pair.wire.delay_next("SUBSCRIBE", 0.2)
    world.modify(publication, document(basic="closed"))
    assert world.last(watching).body == b""
    assert world.last(watching).state == "active"
    world.pair.pass_seconds(0.3)
    assert kinds(world) == ["full", "diff", "full"]
    assert world.basics(watching)[0] == "closed"
    world.modify(publication, document())
    assert kinds(world)[-1] == "diff"
    assert world.basics(watching)[0] == "open"


def test_parts_follow_a_restart_of_the_agent_with_a_whole_document() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(document())
    watching = world.watch()
    world.modify(publication, document(basic="closed"))
    world.restart(asleep=5)
    world.pair.pass_seconds(1)
    assert kinds(world)[-1] == "full"
    (subscription,) = world.agent.notifier.subscriptions.values()
    assert subscription.telling is not None and subscription.telling.version > LEAP
    world.modify(publication, document())
    assert kinds(world)[-1] == "diff"
    assert world.basics(watching)[0] == "open"


@pytest.mark.parametrize("seed", range(4))
def test_on_a_bad_wire_parts_lead_to_the_newest_state(seed: int) -> None:
    dice = random.Random(seed)
    world = AgentWorld()
    world.pair.wire.latency = 0.005
    watching = [world.watch(Uri.parse(f"sip:w{n}@example.com")) for n in range(3)]
    publication = world.publish(document())
    world.pair.pass_seconds(5)
    world.pair.wire.chance = lambda _: (dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.2)
    states = []
    for n in range(12):
        states.append(document("a", "b", f"c{n}", "d", basic=dice.choice(["open", "closed"])))
        world.modify(publication, states[-1])
        world.pair.pass_seconds(dice.random() * 3)
        if n % 4 == 3:
            world.subscriber.refresh(watching[0], world.pair.now)
    world.pair.pass_seconds(60)
    assert "diff" in kinds(world)
    meanings = [meaning(body) for body in (document(), *states)]
    for watcher in watching:
        assert all(meaning(n.body) in meanings for n in world.notified(watcher) if n.body)
        assert world.seen(watcher) == meanings[-1]


def test_a_part_tells_nothing_that_the_watcher_may_not_see() -> None:
    world = AgentWorld()
    person = (
        '<dm:person id="p"><r:activities><r:{}/></r:activities><r:mood><r:{}/></r:mood></dm:person>'
    )
    more = "".join(
        f'<tuple id="x{n}"><status><basic>open</basic></status></tuple>' for n in range(8)
    )

    def says(activity: str, mood: str) -> bytes:
        return agent_document(more=more + person.format(activity, mood))

    activities = Transformations(persons=ALL, services=ALL, provide=frozenset({Provide.ACTIVITIES}))
    world.decide(DAVE, ALLOW, activities)
    publication = world.publish(says("busy", "angry"))
    watching = world.watch()
    world.modify(publication, says("busy", "happy"))
    assert kinds(world) == ["full"]
    world.modify(publication, says("away", "jealous"))
    assert kinds(world) == ["full", "diff"]
    sent = b"".join(s.body for s in world.pair.wire.named("NOTIFY"))
    assert not any(word in sent for word in (b"angry", b"happy", b"jealous", b"mood"))
    (person_seen,) = world.seen(watching).persons
    assert person_seen.activities[0].tokens[0].name.endswith("}away")


def test_what_is_no_longer_granted_goes_with_the_next_part() -> None:
    world = AgentWorld()
    world.publish(document())
    watching = world.watch()
    world.decide(DAVE, ALLOW, Transformations(persons=ALL, provide=frozenset({Provide.ACTIVITIES})))
    assert len(world.seen(watching).tuples) == 1
    world.decide(DAVE, ALLOW)
    assert world.seen(watching) == meaning(document())


# --- a watcher and peers of other kinds -----------------------------------------------------------------


def notified(world: World) -> Notified:
    return world.notified[-1]


def full(version: int, basic: str = "open") -> bytes:
    telling = Telling(version - 1)
    return telling.next(document(basic=basic), full=True)


def part(version: int, old: str = "open", new: str = "closed") -> bytes:
    telling = Telling(version - 1)
    telling.told = document(basic=old)
    return telling.next(document(basic=new), full=False)


def accepts(world: World) -> list[bool]:
    """Whether each SUBSCRIBE asked for partial documents."""
    return [PIDF_DIFF in (i.request.headers.get("Accept") or "") for i in world.notifier.got]


def test_a_peer_that_knows_no_parts_sends_whole_documents() -> None:
    world = World(Answer(body=document())).subscribe()
    world.notify(body=document(basic="closed"))
    assert accepts(world) == [True]
    assert notified(world).body == document(basic="closed")


@pytest.mark.parametrize("status", [400, 406, 489])
def test_a_peer_that_refuses_to_be_asked_is_asked_for_whole_documents(status: int) -> None:
    world = World(Answer(status), Answer(body=document())).subscribe(policy=PARTIAL_ONLY)
    assert accepts(world) == [True, False]
    assert (world.state, world.refused) == (State.ACTIVE, [])
    world.subscribe(policy=PARTIAL_ONLY)
    assert accepts(world)[2:] == [False]
    world.subscribe(policy=replace(PARTIAL_ONLY, name="another"))
    assert accepts(world)[3:] == [True]


def test_a_refusal_that_has_another_reason_is_told_and_not_remembered() -> None:
    world = World(Answer(489), Answer(489), Answer()).subscribe(policy=PARTIAL_ONLY)
    assert [r.status for r in world.refused] == [489]
    world.subscribe(policy=PARTIAL_ONLY)
    assert accepts(world) == [True, False, True]


def test_a_refresh_that_is_refused_goes_on_with_whole_documents() -> None:
    world = World(Answer(), Answer(406), Answer()).subscribe(policy=PARTIAL_ONLY)
    world.refresh()
    assert accepts(world) == [True, True, False]
    assert world.state is State.ACTIVE


@pytest.mark.parametrize("status", [400, 406, 489])
@pytest.mark.parametrize("renewed", [False, True], ids=["in the dialog", "a new one"])
def test_a_node_that_takes_no_parts_loses_no_subscription_that_says_what_it_holds(
    status: int, renewed: bool
) -> None:
    """One node of a server knows parts, the one that takes over does not."""
    answers = (Answer(body=document(), etag="e1"), Answer(status), Answer(body=document()))
    world = World(*answers).subscribe(policy=PARTIAL_ONLY)
    if renewed:
        world.subscriber.leave_dialog(world.id, world.pair.now)
        world.pair.pass_seconds(1.0)
    else:
        world.subscriber.refresh(world.id, world.pair.now, conditional=True)
        world.pair.turn()
    assert [condition(i.request) for i in world.notifier.got] == ["", "e1", ""]
    assert accepts(world) == [True, True, False]
    assert (world.state, world.terminated, world.refused) == (State.ACTIVE, [], [])
    world.subscribe(policy=PARTIAL_ONLY)
    assert accepts(world)[3:] == [status != 406]  # else the condition may have been too much


def test_a_peer_that_cannot_count_is_asked_a_few_times_then_for_whole_documents() -> None:
    world = World(Answer(body=b"")).subscribe()
    for _ in range(6):
        world.notify(body=part(7), content_type=PIDF_DIFF)
    assert accepts(world)[:4] == [True, True, True, False]
    assert all(n.body == b"" for n in world.notified)
    assert world.state is State.ACTIVE


def test_parts_of_an_old_dialog_say_nothing_about_a_new_one() -> None:
    world = World(Answer()).subscribe()
    world.notify(body=full(1), content_type=PIDF_DIFF)
    world.notify("terminated;reason=deactivated")
    world.pair.pass_seconds(2)
    world.notify(body=part(2), content_type=PIDF_DIFF)
    assert notified(world).body == b""


def test_a_part_repeated_on_the_wire_is_taken_once() -> None:
    world = World(Answer()).subscribe()
    world.notify(body=full(1), content_type=PIDF_DIFF)
    world.pair.wire.repeat_next("NOTIFY", 3)
    world.notify(body=part(2), content_type=PIDF_DIFF)
    assert meaning(notified(world).body) == meaning(document(basic="closed"))
    assert len(world.notifier.got) == 1


def test_a_fetch_and_an_end_ask_for_nothing_partial() -> None:
    world = World(Answer(body=document())).fetch()
    assert accepts(world) == [False]
    world = World(Answer(body=document())).subscribe()
    world.end()
    assert accepts(world) == [True, False]
