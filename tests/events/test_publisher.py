import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.events import publisher as publisher_module
from sipbridge.events.budget import Budget
from sipbridge.events.machine import step
from sipbridge.events.presence_package import PIDF
from sipbridge.events.publisher import (
    NEXT,
    Input,
    Published,
    Publisher,
    PublishFailed,
    State,
    Unpublished,
)
from tests.events.peers import ALICE_URI, PACKAGES, TO_BOB, Reply, ScriptedCompositor, pidf
from tests.harness.pair import ALICE, ALICES, Pair

SILENT = Reply(0)
OPEN, AWAY, BACK = pidf("open", id="a"), pidf("closed", id="b"), pidf("open", id="c")


class World:
    """A publisher and a compositor that does as it is told."""

    def __init__(self, *replies: Reply, pair: Pair | None = None) -> None:
        self.pair = pair or Pair()
        self.server = ScriptedCompositor(self.pair.bob, *replies)
        self.publisher = Publisher(self.pair.alice, PACKAGES)
        self.id = ""

    def publish(self, body: bytes = OPEN, *, expires: int | None = None) -> "World":
        self.id = self.publisher.publish(
            ALICE_URI,
            ALICE_URI,
            "presence",
            PIDF,
            body,
            self.pair.now,
            expires=expires,
            policy=TO_BOB,
            credentials=ALICES,
            trace="t1",
        )
        self.pair.turn()
        return self

    def modify(self, body: bytes, trace: str = "t2") -> int:
        revision = self.publisher.modify(self.id, PIDF, body, self.pair.now, trace)
        self.pair.turn()
        return revision

    def remove(self) -> None:
        self.publisher.remove(self.id, self.pair.now, "t9")
        self.pair.turn()

    def answer(self, reply: Reply) -> None:
        self.server.answer(self.server.got[-1], reply)
        self.pair.turn()

    def pass_seconds(self, seconds: float) -> None:
        self.pair.pass_seconds(seconds)

    @property
    def state(self) -> State | None:
        found = self.publisher.publications.get(self.id)
        return found.state if found else None

    @property
    def published(self) -> list[Published]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Published)]

    @property
    def failed(self) -> list[PublishFailed]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, PublishFailed)]

    @property
    def unpublished(self) -> list[Unpublished]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Unpublished)]


# --- every cell of the table ----------------------------------------------------------------------------


def sending() -> World:
    return World(SILENT).publish()


def resending() -> World:
    """A conditional PUBLISH is in flight."""
    world = World(Reply(), SILENT).publish()
    world.modify(AWAY)
    return world


def published() -> World:
    return World(Reply(), SILENT).publish()


def waiting() -> World:
    world = World(Reply(), Reply(503), SILENT).publish()
    world.modify(AWAY)
    return world


def waiting_without_tag() -> World:
    return World(Reply(503), SILENT).publish()


def held_back() -> World:
    return World(Reply(503, [("Retry-After", "100")]), SILENT).publish()


def failed() -> World:
    world = World(Reply(), Reply(403), SILENT).publish()
    world.modify(AWAY)
    return world


def failed_without_tag() -> World:
    return World(Reply(403), SILENT).publish()


def removing() -> World:
    world = published()
    world.remove()
    return world


def lingering() -> World:
    world = World(Reply(), Reply(503), SILENT).publish()
    world.remove()
    return world


def lingering_in_peace() -> World:
    rest = Reply(503, [("Retry-After", "100")])
    world = World(Reply(), rest, SILENT).publish()
    world.remove()
    return world


def removing_with_a_body() -> World:
    world = removing()
    world.modify(BACK)
    return world


def leave_in_the_middle() -> World:
    world = resending()
    world.remove()
    return world


Walk = tuple[Callable[[], World], Callable[[World], object]]

WALKS: dict[tuple[State, Input], Walk] = {
    (State.SENDING, Input.ACCEPTED): (sending, lambda w: w.answer(Reply())),
    (State.SENDING, Input.FORGOTTEN): (resending, lambda w: w.answer(Reply(412))),
    (State.SENDING, Input.TOO_BRIEF): (sending, lambda w: w.answer(Reply(423))),
    (State.SENDING, Input.UNAVAILABLE): (sending, lambda w: w.pass_seconds(33)),
    (State.SENDING, Input.REFUSED): (sending, lambda w: w.answer(Reply(403))),
    (State.SENDING, Input.CHANGE): (sending, lambda w: w.modify(AWAY)),
    (State.SENDING, Input.REMOVE): (sending, World.remove),
    (State.SENDING, Input.DISCARD): (leave_in_the_middle, lambda w: w.answer(Reply(412))),
    (State.PUBLISHED, Input.CHANGE): (published, lambda w: w.modify(AWAY)),
    (State.PUBLISHED, Input.DUE): (published, lambda w: w.pass_seconds(3300)),
    (State.PUBLISHED, Input.REMOVE): (published, World.remove),
    (State.PUBLISHED, Input.DISCARD): (
        lambda: World(Reply(etag=None)).publish(),
        World.remove,
    ),
    (State.WAITING, Input.CHANGE): (waiting, lambda w: w.modify(BACK)),
    (State.WAITING, Input.HOLD): (held_back, lambda w: w.modify(BACK)),
    (State.WAITING, Input.DUE): (waiting, lambda w: w.pass_seconds(3)),
    (State.WAITING, Input.REMOVE): (waiting, World.remove),
    (State.WAITING, Input.DISCARD): (waiting_without_tag, World.remove),
    (State.FAILED, Input.CHANGE): (failed, lambda w: w.modify(BACK)),
    (State.FAILED, Input.REMOVE): (failed, World.remove),
    (State.FAILED, Input.DISCARD): (failed_without_tag, World.remove),
    (State.REMOVING, Input.ACCEPTED): (removing, lambda w: w.answer(Reply())),
    (State.REMOVING, Input.FORGOTTEN): (removing, lambda w: w.answer(Reply(412))),
    (State.REMOVING, Input.REFUSED): (removing, lambda w: w.answer(Reply(403))),
    (State.REMOVING, Input.UNAVAILABLE): (removing, lambda w: w.pass_seconds(33)),
    (State.REMOVING, Input.REMOVE): (removing, World.remove),
    (State.REMOVING, Input.HOLD): (removing, lambda w: w.modify(BACK)),
    (State.REMOVING, Input.CHANGE): (removing_with_a_body, lambda w: w.answer(Reply())),
    (State.LINGERING, Input.CHANGE): (lingering, lambda w: w.modify(BACK)),
    (State.LINGERING, Input.HOLD): (lingering_in_peace, lambda w: w.modify(BACK)),
    (State.LINGERING, Input.DUE): (lingering, lambda w: w.pass_seconds(3)),
    (State.LINGERING, Input.LAPSED): (lingering, lambda w: w.pass_seconds(4000)),
    (State.LINGERING, Input.REMOVE): (lingering, World.remove),
}


@pytest.mark.parametrize(("state", "happened"), NEXT, ids=str)
def test_every_cell_leads_where_the_table_says(
    state: State, happened: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []

    def recorded(table: object, before: State, what: Input) -> State:
        after = step(NEXT, before, what)
        walked.append((before, what, after))
        return after

    reach, cause = WALKS[state, happened]
    world = reach()
    assert world.state is state
    monkeypatch.setattr(publisher_module, "step", recorded)
    cause(world)
    assert (state, happened, NEXT[state, happened]) in walked


# --- the life of a publication --------------------------------------------------------------------------


def test_create_refresh_change_and_remove() -> None:
    world = World().publish()
    world.pass_seconds(3300)
    world.modify(AWAY)
    world.remove()
    assert world.server.story == [
        (None, 3600, OPEN),
        ("e1", 3600, b""),
        ("e2", 3600, AWAY),
        ("e3", 0, b""),
    ]
    assert world.published == [
        Published(world.id, "e1", 3600, "t1", 1),
        Published(world.id, "e2", 3600, "", 1),
        Published(world.id, "e3", 3600, "t2", 2),
    ]
    assert world.unpublished == [Unpublished(world.id, "t9")]
    assert world.state is None
    world.pass_seconds(100_000)
    assert len(world.server.got) == 4


def test_a_publish_says_what_rfc_3903_asks_for() -> None:
    world = World().publish(expires=600)
    request = world.server.got[0].request
    assert request.uri == "sip:alice@example.com"
    assert request.headers.get("Event") == "presence"
    assert request.headers.get("Content-Type") == PIDF
    assert request.expires == 600
    assert str(request.to.uri) == str(request.from_.uri) == "sip:alice@example.com"


def test_one_call_id_and_growing_cseq_for_life() -> None:
    world = World().publish()
    world.modify(AWAY)
    world.modify(BACK)
    assert len({i.request.call_id for i in world.server.got}) == 1
    assert [i.request.cseq.number for i in world.server.got] == [1, 2, 3]


def test_a_day_of_refreshes() -> None:
    world = World().publish()
    world.pass_seconds(86_400)
    assert 26 <= len(world.server.got) <= 30
    tags = [match for match, _, _ in world.server.story]
    assert tags == [None, *(f"e{n}" for n in range(1, len(tags)))]


def test_the_granted_time_counts_and_a_missing_one_means_the_asked() -> None:
    short = World(Reply(expires=120)).publish()
    short.pass_seconds(121)
    assert len(short.server.got) == 2
    silent = World(Reply(expires=-1)).publish(expires=200)
    assert silent.published[0].expires == 200


def test_challenges_are_answered_and_cseq_goes_on_from_there() -> None:
    challenge = [("WWW-Authenticate", 'Digest realm="x", nonce="n", algorithm=MD5, qop="auth"')]
    world = World(Reply(401, challenge), Reply()).publish()
    world.modify(AWAY)
    assert [i.request.cseq.number for i in world.server.got] == [1, 2, 3]
    assert world.published[-1].revision == 2


# --- one in flight --------------------------------------------------------------------------------------


def test_while_one_is_in_flight_only_the_newest_body_waits() -> None:
    world = World(SILENT, Reply()).publish()
    assert world.modify(AWAY) == 2
    assert world.modify(BACK) == 3
    assert len(world.server.got) == 1
    world.answer(Reply(etag="x"))
    assert world.server.story == [(None, 3600, OPEN), ("x", 3600, BACK)]
    assert [(p.revision, p.trace) for p in world.published] == [(1, "t1"), (3, "t2")]


def test_a_removal_that_waits_wins_over_bodies() -> None:
    world = World(SILENT, Reply()).publish()
    world.modify(AWAY)
    world.remove()
    world.answer(Reply(etag="x"))
    assert world.server.story[1:] == [("x", 0, b"")]
    assert world.unpublished == [Unpublished(world.id, "t9")]


@pytest.mark.parametrize(
    ("answer", "etag"),
    [(Reply(), None), (Reply(412), None), (Reply(403), "e1"), (Reply(503), "e1")],
)
def test_a_body_after_a_removal_takes_it_back(answer: Reply, etag: str | None) -> None:
    world = removing()
    assert world.modify(BACK) == 2 and len(world.server.got) == 2
    world.server.replies[:] = [Reply()]
    world.answer(answer)
    world.pass_seconds(1)
    assert world.server.story[1:] == [("e1", 0, b""), (etag, 3600, BACK)]
    assert [p.revision for p in world.published] == [1, 2] and world.unpublished == []
    assert world.state is State.PUBLISHED


def test_a_body_takes_back_a_removal_that_waits() -> None:
    world = leave_in_the_middle()
    world.modify(BACK)
    world.server.replies[:] = [Reply()]
    world.answer(Reply(etag="x"))
    assert world.server.story[1:] == [("e1", 3600, AWAY), ("x", 3600, BACK)]
    assert world.unpublished == []


def test_a_body_after_a_removal_that_nobody_answered_takes_it_back() -> None:
    world = lingering()
    assert [(f.status, f.will_retry) for f in world.failed] == [(503, True)]
    world.server.replies[:] = [Reply()]
    world.modify(BACK)
    assert world.server.story[-1] == ("e1", 3600, BACK)
    assert world.state is State.PUBLISHED
    world.pass_seconds(100)
    assert world.unpublished == [] and len(world.server.got) == 3


def test_removing_what_never_arrived_tells_nobody_but_us() -> None:
    world = World(SILENT).publish()
    world.remove()
    world.pass_seconds(33)
    assert world.unpublished == [Unpublished(world.id, "t9")]
    assert world.state is None


# --- failures -------------------------------------------------------------------------------------------


def test_412_publishes_the_newest_body_as_initial() -> None:
    world = World(Reply(), Reply(412), Reply()).publish()
    world.modify(AWAY)
    assert world.server.story[1:] == [("e1", 3600, AWAY), (None, 3600, AWAY)]
    assert world.published[-1] == Published(world.id, "e3", 3600, "t2", 2)
    assert world.failed == []


def test_412_to_a_refresh_brings_the_body_back() -> None:
    world = World(Reply(), Reply(412), Reply()).publish()
    world.pass_seconds(3300)
    assert world.server.story[1:] == [("e1", 3600, b""), (None, 3600, OPEN)]


def test_500_to_a_tag_the_server_cannot_read_counts_as_412() -> None:
    world = World(Reply(), Reply(500), Reply(500), Reply()).publish()
    world.modify(AWAY)
    assert world.server.story[1:] == [("e1", 3600, AWAY)] * 2 + [(None, 3600, AWAY)]
    assert world.failed == []


def test_500_of_a_server_that_was_busy_does_not_publish_beside_the_old_state() -> None:
    world = World(Reply(), Reply(500), Reply()).publish()
    world.modify(AWAY)
    assert world.server.story[1:] == [("e1", 3600, AWAY)] * 2
    assert world.failed == [] and world.published[-1].revision == 2


def test_500_to_an_initial_publish_is_tried_again_later() -> None:
    world = World(Reply(500), Reply()).publish()
    assert [(f.status, f.will_retry) for f in world.failed] == [(500, True)]
    world.pass_seconds(3)
    assert world.published[-1].revision == 1


def test_each_try_that_fails_is_told_once_and_says_which_it_is() -> None:
    world = World(Reply(503), Reply(503), Reply(), Reply(503)).publish()
    world.pass_seconds(10)
    assert [(f.status, f.failures) for f in world.failed] == [(503, 1), (503, 2)]
    world.modify(AWAY)
    assert [f.failures for f in world.failed] == [1, 2, 1]


def test_423_is_obeyed_with_min_expires_and_doubled_without() -> None:
    named = World(Reply(423, [("Min-Expires", "900")]), Reply()).publish(expires=60)
    assert [e for _, e, _ in named.server.story] == [60, 900]
    bare = World(Reply(423), Reply(423), Reply()).publish(expires=60)
    assert [e for _, e, _ in bare.server.story] == [60, 120, 240]
    never = World(Reply(423)).publish(expires=60)
    assert len(never.server.got) == 4
    assert never.failed[0].status == 423


@pytest.mark.parametrize("status", [400, 403, 404, 405, 415, 489, 603])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    world = World(Reply(status)).publish()
    assert [(f.status, f.will_retry, f.trace) for f in world.failed] == [(status, False, "t1")]
    world.pass_seconds(10_000)
    assert len(world.server.got) == 1
    assert world.state is State.FAILED


def test_a_new_body_after_a_refusal_is_tried() -> None:
    world = World(Reply(415), Reply()).publish()
    world.modify(AWAY)
    assert world.server.story[1] == (None, 3600, AWAY)
    assert world.published[0].revision == 2


def test_a_refused_body_gives_way_to_the_newer_one_that_waits() -> None:
    world = World(SILENT, Reply()).publish()
    world.modify(AWAY)
    world.answer(Reply(400))
    assert world.server.story[1] == (None, 3600, AWAY)


def test_retry_after_is_kept_also_for_newer_bodies() -> None:
    world = World(Reply(503, [("Retry-After", "100")]), Reply()).publish()
    world.pass_seconds(10)
    assert world.modify(AWAY) == 2
    told = world.failed[1]
    assert (told.status, told.revision, told.trace, told.will_retry) == (503, 2, "t2", True)
    assert told.retry_after == pytest.approx(90)
    world.pass_seconds(89)
    assert len(world.server.got) == 1
    world.pass_seconds(5)
    assert world.server.story[1] == (None, 3600, AWAY)


def test_silence_is_reported_and_followed_by_growing_pauses() -> None:
    world = World(SILENT).publish()
    world.pass_seconds(1800)
    assert world.failed[0] == PublishFailed(world.id, None, "timeout", None, "t1", 1, True)
    tries = sorted({i.request.cseq.number for i in world.server.got})
    assert 8 <= len(tries) <= 25
    world.server.replies = [Reply()]
    world.pass_seconds(400)
    assert world.published[0].revision == 1


def test_a_refresh_that_is_lost_altogether_is_repeated_before_the_end() -> None:
    world = World().publish(expires=600)
    world.pair.wire.drop_next("PUBLISH", 11)
    world.pass_seconds(600)
    assert world.failed[0].reason == "timeout"
    assert world.server.story[1] == ("e1", 600, b"")


def test_refresh_now_is_for_a_peer_that_is_back() -> None:
    world = World().publish()
    world.publisher.refresh(world.id, world.pair.now)
    world.pair.turn()
    assert world.server.story[1] == ("e1", 3600, b"")
    silent = World(SILENT).publish()
    silent.publisher.refresh(silent.id, silent.pair.now)
    silent.publisher.refresh("nobody", silent.pair.now)
    assert len(silent.server.got) == 1


def test_an_unanswered_removal_is_repeated_until_the_publication_ran_out() -> None:
    world = World(Reply(), SILENT).publish(expires=300)
    world.remove()
    world.pass_seconds(299)
    assert world.state in (State.LINGERING, State.REMOVING)
    assert world.unpublished == []
    world.pass_seconds(60)
    assert world.unpublished == [Unpublished(world.id, "t9")]


def test_an_unknown_publication_or_package_is_our_own_mistake() -> None:
    world = World()
    world.publisher.remove("nobody", 0.0)
    with pytest.raises(LocalProtocolError, match="no publication nobody"):
        world.publisher.modify("nobody", PIDF, OPEN, 0.0)
    with pytest.raises(LocalProtocolError, match="no event package dialog"):
        world.publisher.publish(ALICE_URI, ALICE_URI, "dialog", PIDF, OPEN, 0.0)


@pytest.mark.parametrize("seed", range(12))
def test_on_a_bad_wire_the_newest_body_arrives(seed: int) -> None:
    dice = random.Random(seed)
    pair = Pair()
    pair.wire.latency = 0.01
    pair.wire.chance = lambda _: (dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.3)
    world = World(pair=pair).publish()
    for n in range(20):
        world.modify(pidf(id=f"n{n}"))
        world.pass_seconds(dice.random() * 5)
    world.pass_seconds(200)
    assert world.published[-1].revision == 21
    bodies = [b for _, _, b in world.server.story if b]
    assert bodies[-1] == pidf(id="n19")
    assert len({i.request.cseq.number for i in world.server.got}) == len(world.server.got)


# --- restart --------------------------------------------------------------------------------------------


def restarted(world: World, elapsed: float) -> World:
    """Another publisher takes up the snapshot."""
    stored = json.loads(json.dumps(world.publisher.snapshot(world.id, world.pair.now)))
    after = World.__new__(World)
    after.pair, after.server, after.id = world.pair, world.server, world.id
    world.pair.alice.deadlines.entries.clear()
    world.pair.alice.asking.transactions.by_key.clear()
    after.publisher = Publisher(world.pair.alice, PACKAGES)
    restored = after.publisher.restore(stored, world.pair.now, elapsed=elapsed, policy=TO_BOB)
    assert restored == world.id
    world.pair.turn()
    return after


def test_after_a_restart_the_tag_lives_on() -> None:
    after = restarted(World().publish(), 10.0)
    assert len(after.server.got) == 1
    after.modify(AWAY)
    assert after.server.story[1] == ("e1", 3600, AWAY)
    assert after.server.got[1].request.cseq.number > 1000


def test_after_a_restart_the_refresh_still_comes_in_time() -> None:
    after = restarted(World().publish(), 3000.0)
    after.pass_seconds(600)
    assert after.server.story[1] == ("e1", 3600, b"")


def test_after_a_long_sleep_the_body_is_published_anew() -> None:
    after = restarted(World().publish(), 9000.0)
    assert after.server.story[1] == (None, 3600, OPEN)


@pytest.mark.parametrize(
    "reach", [sending, resending, published, waiting, waiting_without_tag, held_back]
)
def test_a_restart_in_any_state_ends_with_the_newest_body_there(
    reach: Callable[[], World],
) -> None:
    world = reach()
    newest = world.publisher.find(world.id).body
    world.server.replies = [Reply()]
    after = restarted(world, 1.0)
    after.pass_seconds(200)
    assert after.state is State.PUBLISHED
    there = after.publisher.find(after.id)
    assert there.there == there.revision
    assert [b for _, _, b in after.server.story if b][-1] == newest


@pytest.mark.parametrize("reach", [removing, lingering])
def test_a_restart_during_a_removal_removes(reach: Callable[[], World]) -> None:
    world = reach()
    world.server.replies = [Reply()]
    after = restarted(world, 1.0)
    after.pass_seconds(10)
    assert after.state is None
    assert after.server.story[-1] == ("e1", 0, b"")


def test_a_restart_does_not_repeat_what_was_refused_for_good() -> None:
    world = failed_without_tag()
    after = restarted(world, 1.0)
    after.pass_seconds(10_000)
    assert after.state is State.FAILED
    assert len(after.server.got) == 1


def test_what_is_no_snapshot_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="not a snapshot"):
        World().publisher.restore({"id": "x"}, 0.0, elapsed=0.0)


@pytest.mark.parametrize("removal", [False, True])
def test_what_a_restart_sends_again_takes_its_turn(removal: bool) -> None:
    before = World()
    stored = []
    for _ in range(30):
        before.publish()
        if removal:
            before.publisher.publications[before.id].removal_asked = True
        stored.append(before.publisher.snapshot(before.id, before.pair.now))
    after = World()
    policy = replace(TO_BOB, turns=Budget(after.pair.alice.identifiers.fraction, 10.0))
    for one in stored:
        elapsed = 0.0 if removal else 10_000.0
        after.publisher.restore(one, after.pair.now, elapsed=elapsed, policy=policy)
    after.pass_seconds(10.0)
    times = after.server.times
    assert len(times) == 30
    assert max(sum(t <= other < t + 1.0 for other in times) for t in times) <= 12
    assert {asked for _, asked, _ in after.server.story} == {0 if removal else 3600}
    assert len(after.publisher.publications) == (0 if removal else 30)


def test_a_body_that_somebody_waits_for_waits_for_no_turn_when_its_tag_is_forgotten() -> None:
    world = World(Reply(), Reply(412), Reply(), Reply(412), Reply()).publish()
    budget = Budget(world.pair.alice.identifiers.fraction, 10.0)
    world.publisher.follow(world.id, replace(TO_BOB, turns=budget))
    budget.spend(100, world.pair.now)  # others have turns for ten seconds
    world.modify(AWAY)
    assert [tag for tag, _, _ in world.server.story] == [None, "e1", None]
    assert budget.delay(world.pair.now) == pytest.approx(10.1)  # it is charged
    world.publisher.refresh(world.id, world.pair.now)  # nobody waits for this one
    world.pair.turn()
    assert (len(world.server.got), world.state) == (4, State.WAITING)
    world.pass_seconds(12.0)
    assert (len(world.server.got), world.state) == (5, State.PUBLISHED)


def test_423_for_hours_asks_for_no_more_than_at_first_each_time() -> None:
    world = World(Reply(423)).publish(expires=600)
    world.pass_seconds(2 * 3600)
    asked = [expires for _, expires, _ in world.server.story]
    assert set(asked) == {600, 1200, 2400, 4800}
    assert len(asked) > 40
