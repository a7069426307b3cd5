from collections.abc import Callable
from dataclasses import replace

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.events.presence_package import PIDF, PIDF_DIFF
from sipbridge.events.rate import NO_RATE, Rate
from sipbridge.events.subscriber import (
    NEXT,
    Accepted,
    Forked,
    Input,
    Notified,
    RefreshFailed,
    Refused,
    State,
    Subscriber,
    Terminated,
)
from sipbridge.sip.policy import PeerPolicy
from tests.events.peers import ALICE_URI, BOB_URI, PACKAGES, TO_BOB, Answer, ScriptedNotifier, pidf
from tests.harness.pair import ALICE, BOB, Pair

SILENT = Answer(0)
ACCEPT_ONLY = Answer(notify=None)


class World:
    """A subscriber and a notifier that does as it is told."""

    def __init__(self, *answers: Answer, pair: Pair | None = None) -> None:
        self.pair = pair or Pair()
        self.notifier = ScriptedNotifier(self.pair.bob, *answers)
        self.subscriber = Subscriber(self.pair.alice, PACKAGES)
        self.id = ""
        self.rate = NO_RATE

    def subscribe(
        self,
        package: str = "presence",
        *,
        expires: int | None = None,
        policy: PeerPolicy = TO_BOB,
        keep_trying: bool = False,
    ) -> "World":
        self.id = self.subscriber.subscribe(
            BOB_URI,
            ALICE_URI,
            package,
            self.pair.now,
            expires=expires,
            policy=policy,
            trace="t1",
            keep_trying=keep_trying,
            rate=self.rate,
        )
        self.pair.turn()
        return self

    def fetch(self, policy: PeerPolicy = TO_BOB) -> "World":
        self.id = self.subscriber.fetch(
            BOB_URI, ALICE_URI, "presence", self.pair.now, policy=policy
        )
        self.pair.turn()
        return self

    def notify(self, state: str | None = "active", body: bytes = b"", **how: object) -> None:
        if not self.notifier.dialogs:
            self.notifier.dialog_of(self.notifier.got[-1])
        self.notifier.notify(self.pair.now, state, body, **how)  # type: ignore[arg-type]
        self.pair.turn()

    def answer(self, status: int, *headers: tuple[str, str]) -> None:
        self.notifier.got[-1].respond(status, headers=headers)
        self.pair.turn()

    def refresh(self) -> None:
        self.subscriber.refresh(self.id, self.pair.now)
        self.pair.turn()

    def end(self) -> None:
        self.subscriber.end(self.id, self.pair.now)
        self.pair.turn()

    @property
    def state(self) -> State | None:
        """None: forgotten."""
        found = self.subscriber.subscriptions.get(self.id)
        return found.state if found else None

    def said(self, kind: type[object]) -> list[object]:
        return self.pair.said_by(ALICE, kind)

    @property
    def notified(self) -> list[Notified]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Notified)]

    @property
    def terminated(self) -> list[Terminated]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Terminated)]

    @property
    def refused(self) -> list[Refused]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Refused)]


# --- every cell of the table ----------------------------------------------------------------------------


def waiting_for_notify() -> World:
    return World(SILENT).subscribe()


def pending() -> World:
    return World(Answer(notify="pending"), SILENT).subscribe()


def active() -> World:
    return World(Answer(notify="active"), SILENT).subscribe()


def ending() -> World:
    world = active()
    world.end()
    return world


def waiting() -> World:
    world = active()
    world.notify("terminated;reason=probation;retry-after=50")
    return world


REACH: dict[State, Callable[[], World]] = {
    State.NOTIFY_WAIT: waiting_for_notify,
    State.PENDING: pending,
    State.ACTIVE: active,
    State.ENDING: ending,
    State.WAITING: waiting,
}


def in_flight(world: World) -> World:
    """A SUBSCRIBE waits for its answer."""
    if world.state in (State.PENDING, State.ACTIVE):
        world.refresh()
    return world


def be_accepted(world: World) -> None:
    in_flight(world).answer(200, ("Expires", "3600"))


def stay_unheard(world: World) -> None:
    be_accepted(world)
    world.pair.pass_seconds(33)


def expire(world: World) -> None:
    world.pair.pass_seconds(3601)


CAUSE: dict[Input, Callable[[World], None]] = {
    Input.ACCEPTED: be_accepted,
    Input.REFUSED: lambda w: in_flight(w).answer(500),
    Input.UNANSWERED: lambda w: in_flight(w).pair.pass_seconds(33),
    Input.GONE: lambda w: in_flight(w).answer(481),
    Input.NOTIFY_ACTIVE: lambda w: w.notify("active"),
    Input.NOTIFY_PENDING: lambda w: w.notify("pending"),
    Input.NOTIFY_TERMINATED: lambda w: w.notify("terminated;reason=noresource"),
    Input.TIMER_N: stay_unheard,
    Input.EXPIRED: expire,
    Input.DUE: lambda w: w.pair.pass_seconds(3300 if w.state is not State.WAITING else 60),
    Input.END: World.end,
}


@pytest.mark.parametrize(
    ("state", "happened"), [cell for cell in NEXT if cell[0] in REACH], ids=str
)
def test_every_cell_leads_where_the_table_says(
    state: State, happened: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sipbridge.events import subscriber
    from sipbridge.events.machine import step

    walked = []

    def recorded(table: object, before: State, what: Input) -> State:
        after = step(NEXT, before, what)
        walked.append((before, what, after))
        return after

    world = REACH[state]()
    assert world.state is state
    monkeypatch.setattr(subscriber, "step", recorded)
    CAUSE[happened](world)
    assert (state, happened, NEXT[state, happened]) in walked


def test_a_lost_subscription_is_retried() -> None:
    """The cell (terminated, retry)."""
    assert waiting().state is State.WAITING


# --- its beginning --------------------------------------------------------------------------------------


def test_a_subscription_is_accepted_and_notified() -> None:
    world = World(Answer(notify="active;expires=3600", body=pidf())).subscribe()
    assert world.said(Accepted) == [Accepted(world.id, 3600, "t1")]
    (notified,) = world.notified
    assert (notified.package, notified.state, notified.expires) == ("presence", "active", 3600)
    assert (notified.content_type, notified.body) == (PIDF, pidf())
    assert notified.call_id == world.notifier.got[0].request.call_id
    assert notified.received == world.pair.now
    assert world.notifier.responses == [200]


def test_the_subscribe_asks_for_what_the_package_says() -> None:
    world = World().subscribe()
    request = world.notifier.got[0].request
    assert request.headers.get("Event") == "presence"
    assert request.headers.get("Accept") == f"{PIDF_DIFF}, {PIDF};q=0.5"
    assert request.expires == 3600
    assert request.contact is not None
    assert "eventlist" not in request.supported


def test_lists_are_asked_for_where_the_peer_knows_them() -> None:
    policy = PeerPolicy(next_hops=TO_BOB.next_hops, capabilities=frozenset({"eventlist"}))
    request = World().subscribe(policy=policy).notifier.got[0].request
    assert request.supported == ["eventlist"]
    assert request.accept == [PIDF, "multipart/related", "application/rlmi+xml"]


def test_a_peer_with_its_own_name_for_a_package_is_understood() -> None:
    policy = PeerPolicy(next_hops=TO_BOB.next_hops, event_names=(("presence", "x-presence"),))
    world = World(ACCEPT_ONLY).subscribe(policy=policy)
    assert world.notifier.got[0].request.headers.get("Event") == "x-presence"
    world.notify("active", event="x-presence")
    assert world.notified[0].package == "presence"


def test_a_notify_before_the_200_makes_the_dialog() -> None:
    world = World(Answer(notify="active", body=pidf(), first=True)).subscribe()
    assert [type(s).__name__ for s in world.pair.reported[ALICE]] == ["Notified", "Accepted"]
    assert world.state is State.ACTIVE
    world.refresh()
    assert world.notifier.got[1].request.to.tag == world.notifier.dialogs[0].local_tag


def test_a_lost_200_does_not_matter_when_the_notify_came() -> None:
    pair = Pair()
    pair.wire.drop_next("200 SUBSCRIBE")
    world = World(pair=pair).subscribe()
    assert world.state is State.ACTIVE
    pair.pass_seconds(1)
    assert len(world.said(Accepted)) == 1
    assert len(world.notifier.got) == 1


def test_a_200_with_another_tag_than_the_notify_changes_nothing() -> None:
    world = World(ACCEPT_ONLY).subscribe()
    first = world.notifier.dialog_of(world.notifier.got[0])
    first.local = first.local.with_tag("fork2")
    first.local_tag = "fork2"
    world.notify("active")
    assert world.state is State.ACTIVE
    assert world.notifier.responses == [200]


def test_the_notify_of_another_fork_gets_481() -> None:
    world = active()
    other = world.notifier.dialogs[0]
    fork = type(other).restore(other.snapshot())
    fork.local = fork.local.with_tag("fork2")
    fork.local_tag = "fork2"
    world.notify("active", dialog=fork)
    assert world.notifier.responses == [200, 481]
    assert len(world.subscriber.subscriptions) == 1


def test_a_package_that_allows_forks_has_a_subscription_for_each() -> None:
    world = World(ACCEPT_ONLY).subscribe("crowd")
    world.notify("active", event="crowd")
    other = world.notifier.dialogs[0]
    fork = type(other).restore(other.snapshot())
    fork.local = fork.local.with_tag("fork2")
    fork.local_tag = "fork2"
    world.notifier.dialogs.append(fork)
    world.pair.bob.add_dialog(fork, world.notifier)
    world.notify("active", dialog=fork, event="crowd")
    (forked,) = world.said(Forked)
    assert isinstance(forked, Forked)
    assert forked.original == world.id
    assert [n.subscription for n in world.notified] == [world.id, forked.subscription]
    world.notify("terminated;reason=deactivated", dialog=fork, event="crowd")
    assert not world.terminated[-1].will_retry
    assert list(world.subscriber.subscriptions) == [world.id]


def test_without_a_notify_timer_n_ends_it_and_it_is_tried_again() -> None:
    world = World(ACCEPT_ONLY, Answer()).subscribe()
    world.pair.pass_seconds(31)
    assert str(world.state) == "notify-wait"
    world.pair.pass_seconds(2)
    assert world.terminated == [Terminated(world.id, "no-notify", None, None, True, "t1")]
    world.pair.pass_seconds(60)
    assert world.state is State.ACTIVE


def test_timer_n_waits_for_an_answer_that_is_still_out() -> None:
    pair = Pair()
    world = World(SILENT, pair=pair).subscribe()
    pair.pass_seconds(31.9)
    world.answer(200, ("Expires", "600"))
    pair.pass_seconds(20)
    assert str(world.state) == "notify-wait"
    world.notify("active")
    assert world.state is State.ACTIVE


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 405, 406, 415, 480, 481, 489, 500, 503, 603])
def test_a_first_subscribe_that_is_refused_is_forgotten(status: int) -> None:
    headers = [("Retry-After", "7")] if status == 503 else []
    plain = replace(TO_BOB, partial_notify=False)
    world = World(Answer(status, headers=headers)).subscribe(policy=plain)
    (refused,) = world.refused
    assert (refused.status, refused.trace) == (status, "t1")
    assert refused.retry_after == (7 if headers else None)
    assert world.state is None
    assert world.pair.alice.expected == {}
    world.pair.pass_seconds(1000)
    assert len(world.notifier.got) == 1


def test_no_answer_counts_as_408_and_no_way_as_503() -> None:
    silent = World(SILENT).subscribe()
    silent.pair.pass_seconds(33)
    assert [r.status for r in silent.refused] == [408]
    pair = Pair()
    pair.refused = {("udp", BOB), ("tcp", BOB)}
    cut = World(pair=pair).subscribe()
    assert [r.status for r in cut.refused] == [503]


def test_min_expires_of_a_423_is_obeyed() -> None:
    world = World(Answer(423, headers=[("Min-Expires", "1800")]), Answer()).subscribe(expires=60)
    assert world.notifier.asked == [60, 1800]
    assert world.state is State.ACTIVE


def test_a_423_without_min_expires_doubles_until_it_fits() -> None:
    world = World(Answer(423), Answer(423), Answer()).subscribe(expires=100)
    assert world.notifier.asked == [100, 200, 400]
    assert world.state is State.ACTIVE


def test_a_server_that_never_has_enough_is_given_up() -> None:
    world = World(Answer(423)).subscribe(expires=100)
    assert [r.status for r in world.refused] == [423]
    assert len(world.notifier.got) == 4


def test_a_423_to_a_refresh_is_obeyed_in_the_dialog() -> None:
    world = World(Answer(), Answer(423, headers=[("Min-Expires", "7200")]), Answer())
    world.subscribe()
    world.refresh()
    assert world.notifier.asked == [3600, 3600, 7200]
    assert world.notifier.got[2].request.to.tag


def test_with_keep_trying_what_may_pass_is_tried_again() -> None:
    world = World(Answer(503, headers=[("Retry-After", "20")]), Answer())
    world.subscribe(keep_trying=True)
    assert world.refused == []
    assert [type(s) for s in world.pair.reported[ALICE]] == [RefreshFailed]
    world.pair.pass_seconds(19)
    assert len(world.notifier.got) == 1
    world.pair.pass_seconds(5)
    assert world.state is State.ACTIVE


def test_an_unknown_package_is_our_own_mistake() -> None:
    world = World()
    with pytest.raises(LocalProtocolError, match="no event package dialog"):
        world.subscribe("dialog")


# --- its life -------------------------------------------------------------------------------------------


def test_a_day_of_refreshes_in_one_dialog() -> None:
    world = World(Answer(notify="active;expires=3600")).subscribe()
    world.pair.pass_seconds(86_400)
    times = world.notifier.times
    assert 26 <= len(times) <= 30
    assert all(3000 < b - a < 3300 for a, b in zip(times, times[1:], strict=False))
    assert len({i.request.call_id for i in world.notifier.got}) == 1
    assert world.terminated == []


def test_the_expires_of_the_200_counts() -> None:
    world = World(Answer(expires=120)).subscribe()
    assert world.said(Accepted) == [Accepted(world.id, 120, "t1")]
    world.pair.pass_seconds(121)
    assert len(world.notifier.got) == 2


def test_the_expires_of_a_notify_shortens_it() -> None:
    world = World().subscribe()
    world.pair.pass_seconds(10)
    world.notify("active;expires=100")
    world.pair.pass_seconds(70)
    assert len(world.notifier.got) == 2


def test_a_longer_life_than_asked_for_is_not_believed_of_a_200() -> None:
    world = World(Answer(expires=9000)).subscribe(expires=600)
    assert world.said(Accepted) == [Accepted(world.id, 600, "t1")]


def test_a_lost_refresh_is_tried_again_in_time() -> None:
    pair = Pair()
    world = World(pair=pair).subscribe()
    pair.wire.drop_next("SUBSCRIBE", 11)
    pair.pass_seconds(3600)
    assert world.said(RefreshFailed) == [RefreshFailed(world.id, None, "timeout", "")]
    assert len(world.notifier.got) == 2
    assert world.terminated == []


def test_a_notifier_that_is_silent_to_the_end_is_subscribed_anew() -> None:
    world = World(Answer(), SILENT).subscribe()
    world.pair.pass_seconds(3700)
    (ended,) = world.terminated
    assert (ended.reason, ended.will_retry) == ("expired", True)
    world.notifier.answers = [Answer()]
    world.pair.pass_seconds(400)
    assert world.state is State.ACTIVE
    assert len({i.request.call_id for i in world.notifier.got}) > 1


def test_481_to_a_refresh_makes_a_new_subscription_at_once() -> None:
    world = World().subscribe()
    world.pair.pass_seconds(20)
    world.notifier.forget()
    world.refresh()
    (ended,) = world.terminated
    assert (ended.status, ended.will_retry) == (481, True)
    world.pair.pass_seconds(1.5)
    assert world.state is State.ACTIVE
    first, second = world.notifier.got
    assert first.request.call_id != second.request.call_id
    assert second.request.to.tag is None


@pytest.mark.parametrize("status", [404, 405, 410, 416, 480, 484, 485, 489, 501, 604])
def test_what_says_that_all_is_over_ends_it(status: int) -> None:
    world = World(Answer(), Answer(status)).subscribe()
    world.refresh()
    assert [t.status for t in world.terminated] == [status]


@pytest.mark.parametrize("status", [400, 403, 408, 500, 503])
def test_other_refusals_of_a_refresh_leave_it_alive(status: int) -> None:
    world = World(Answer(), Answer(status), Answer()).subscribe()
    world.refresh()
    assert world.state is State.ACTIVE
    world.pair.pass_seconds(10)
    assert len(world.notifier.got) == 3
    assert world.terminated == []


def test_a_subscription_that_lived_is_refused_for_good_by_403() -> None:
    world = World(Answer(), Answer(403)).subscribe()
    world.notifier.forget()
    world.refresh()
    world.pair.pass_seconds(2)
    assert [r.status for r in world.refused] == [403]
    assert world.state is None


# --- NOTIFY ---------------------------------------------------------------------------------------------


def test_an_empty_notify_is_reported_as_empty() -> None:
    world = active()
    world.notify("active", b"")
    assert (world.notified[-1].content_type, world.notified[-1].body) == ("", b"")


def test_an_unknown_state_is_kept_and_counts_as_active() -> None:
    world = pending()
    world.notify("probing;expires=100", pidf())
    assert world.notified[-1].state == "probing"
    assert world.state is State.ACTIVE


def test_a_notify_without_subscription_state_gets_400_and_changes_nothing() -> None:
    world = active()
    world.notify(None, pidf())
    assert world.notifier.responses == [200, 400]
    assert len(world.notified) == 1


def test_a_malformed_subscription_state_gets_400() -> None:
    world = active()
    world.notify("active;expires=;;=")
    assert world.notifier.responses == [200, 400]


@pytest.mark.parametrize(
    ("event", "status"), [("toy", 481), ("dialog", 489), ("presence;id=7", 481), (None, 489)]
)
def test_a_notify_for_another_event_is_refused(event: str | None, status: int) -> None:
    world = active()
    world.notify("terminated;reason=rejected", event=event)
    assert world.notifier.responses == [200, status]
    assert world.state is State.ACTIVE


def test_a_body_nobody_can_read_gets_415_with_accept() -> None:
    world = active()
    world.notify("active", b"%PDF", content_type="application/pdf")
    assert world.notifier.responses == [200, 415]
    refusal = world.pair.wire.named("415")[0]
    assert refusal.header("Accept") == PIDF


@pytest.mark.parametrize("media", ["application/xpidf+xml", 'multipart/related;boundary="x"'])
def test_a_body_not_asked_for_but_known_is_taken(media: str) -> None:
    world = active()
    world.notify("active", b"...", content_type=media)
    assert world.notified[-1].content_type == media


LISTS = replace(TO_BOB, capabilities=frozenset({"eventlist"}))


@pytest.mark.parametrize("headers", [(), (("Require", "eventlist"),)])
def test_a_peer_that_knows_lists_is_offered_them_and_says_whether_it_is_one(
    headers: tuple[tuple[str, str], ...],
) -> None:
    world = World(Answer(headers=headers)).subscribe(policy=LISTS)
    request = world.notifier.got[0].request
    assert request.supported == ["eventlist"]
    assert request.accept == [PIDF, "multipart/related", "application/rlmi+xml"]
    accepted = [s for s in world.said(Accepted) if isinstance(s, Accepted)]
    assert [said.is_list for said in accepted] == [bool(headers)]


def test_a_notify_that_requires_lists_is_taken() -> None:
    world = World(ACCEPT_ONLY).subscribe(policy=LISTS)
    kind = 'multipart/related;type="application/rlmi+xml";boundary=b'
    world.notify("active", b"--b--", content_type=kind, require="eventlist")
    assert world.notifier.responses == [200]
    assert [said.content_type for said in world.notified] == [kind]


def test_a_late_notify_with_a_lower_cseq_gets_500_and_is_not_reported() -> None:
    world = active()
    world.notify("active", pidf("open"), cseq=20)
    world.notify("active", pidf("closed"), cseq=10)
    assert world.notifier.responses == [200, 200, 500]
    assert world.notified[-1].body == pidf("open")


def test_a_repeated_notify_is_reported_once() -> None:
    world = active()
    world.pair.wire.repeat_next("NOTIFY", 3)
    world.notify("active", pidf())
    assert len(world.notified) == 2


def test_another_method_in_the_dialog_gets_405() -> None:
    world = active()
    dialog = world.notifier.dialogs[0]
    request = dialog.new_request("MESSAGE", [("Content-Type", "text/plain")], b"hi")
    world.pair.bob.request_in_dialog(dialog, request, world.notifier, world.pair.now)
    world.pair.turn()
    assert world.notifier.responses == [200, 405]


@pytest.mark.parametrize(
    ("state", "will_retry", "soonest", "latest"),
    [
        ("terminated;reason=deactivated", True, 0, 1),
        ("terminated;reason=deactivated;retry-after=500", True, 0, 1),
        ("terminated;reason=timeout", True, 0, 1),
        ("terminated;reason=probation;retry-after=120", True, 120, 123),
        ("terminated;reason=probation", True, 30, 33),
        ("terminated;reason=giveup", True, 60, 66),
        ("terminated;reason=giveup;retry-after=10", True, 10, 12),
        ("terminated", True, 0, 2),
        ("terminated;reason=weather;retry-after=40", True, 40, 43),
        ("terminated;reason=rejected", False, 0, 0),
        ("terminated;reason=noresource;retry-after=5", False, 0, 0),
        ("terminated;reason=invariant", False, 0, 0),
    ],
)
def test_the_reason_of_an_end_says_what_follows(
    state: str, will_retry: bool, soonest: float, latest: float
) -> None:
    world = World().subscribe()
    world.pair.pass_seconds(100)
    world.notify(state)
    assert [t.will_retry for t in world.terminated] == [will_retry]
    ended = world.pair.now
    world.pair.pass_seconds(1000)
    if not will_retry:
        assert world.state is None
        assert len(world.notifier.got) == 1
        return
    assert soonest <= world.notifier.times[1] - ended <= latest
    assert world.state is State.ACTIVE


def test_a_notifier_that_ends_everything_at_once_is_asked_less_and_less() -> None:
    world = World(Answer(notify="terminated;reason=deactivated")).subscribe()
    world.pair.pass_seconds(3600)
    gaps = [b - a for a, b in zip(world.notifier.times, world.notifier.times[1:], strict=False)]
    assert len(gaps) < 40
    assert max(gaps) > 100


# --- its end --------------------------------------------------------------------------------------------


def test_an_end_is_asked_for_and_over_with_the_final_notify() -> None:
    world = World().subscribe()
    world.end()
    assert world.notifier.asked == [3600, 0]
    assert world.terminated == [Terminated(world.id, "timeout", None, None, False, "t1")]
    assert world.state is None
    assert world.pair.alice.dialogs == {}
    world.pair.pass_seconds(100_000)
    assert len(world.notifier.got) == 2


def test_an_end_without_final_notify_is_over_with_timer_n() -> None:
    world = World(Answer(), ACCEPT_ONLY).subscribe()
    world.end()
    world.pair.pass_seconds(31)
    assert world.state is State.ENDING
    world.pair.pass_seconds(2)
    assert [t.reason for t in world.terminated] == ["no-notify"]
    assert world.state is None


def test_a_notify_after_the_end_gets_481() -> None:
    world = World().subscribe()
    world.end()
    world.notify("active", pidf())
    assert world.notifier.responses[-1] == 481


def test_a_notify_that_crosses_the_end_is_answered_and_not_reported() -> None:
    world = World(Answer(), SILENT).subscribe()
    world.end()
    world.notify("active", pidf())
    assert world.notifier.responses == [200, 200]
    assert len(world.notified) == 1


def test_an_end_before_the_first_notify_waits_for_it() -> None:
    world = World(ACCEPT_ONLY, Answer()).subscribe()
    world.end()
    assert len(world.notifier.got) == 1
    world.notify("active", pidf())
    assert world.notifier.asked == [3600, 0]
    assert world.state is None


def test_an_end_during_a_refresh_waits_for_its_answer() -> None:
    world = World(Answer(), SILENT, Answer()).subscribe()
    world.refresh()
    world.subscriber.end(world.id, world.pair.now)
    world.subscriber.end(world.id, world.pair.now)
    world.answer(200, ("Expires", "3600"))
    assert world.notifier.asked == [3600, 3600, 0]
    assert world.state is None


def test_ending_what_waits_for_a_new_try_sends_nothing() -> None:
    world = waiting()
    world.end()
    world.pair.pass_seconds(100)
    assert len(world.notifier.got) == 1
    assert world.state is None


def test_refresh_and_end_of_what_is_gone_do_nothing() -> None:
    world = World()
    world.subscriber.refresh("nobody", 0.0)
    world.subscriber.end("nobody", 0.0)
    assert world.pair.wire.sent == []


@pytest.mark.parametrize("forgives", [frozenset(), frozenset({403})])
def test_what_is_forgiven_is_tried_again_and_sooner_if_told_so(forgives: frozenset[int]) -> None:
    world = World(Answer(), Answer(403), Answer(403), Answer())
    world.id = world.subscriber.subscribe(
        BOB_URI, ALICE_URI, "presence", world.pair.now, policy=TO_BOB, forgives=forgives
    )
    world.pair.turn()
    assert world.subscriber.is_alive(world.id)
    world.subscriber.renew(world.id, world.pair.now)
    world.pair.turn()
    assert not world.subscriber.is_alive(world.id)
    if not forgives:
        assert [r.status for r in world.refused] == [403] and world.state is None
        world.subscriber.hasten(world.id, world.pair.now)
        return
    assert world.refused == []
    for _ in range(2):
        world.subscriber.hasten(world.id, world.pair.now)
        world.pair.pass_seconds(1.1)
    assert world.state is State.ACTIVE
    failed = [s.status for s in world.pair.reported[ALICE] if isinstance(s, RefreshFailed)]
    assert failed == [403, 403]


# --- fetch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [False, True])
def test_a_fetch_gets_one_state_and_is_over(first: bool) -> None:
    answer = Answer(notify="terminated;reason=timeout", body=pidf(), first=first)
    world = World(answer).fetch()
    assert world.notifier.asked == [0]
    assert [n.body for n in world.notified] == [pidf()]
    assert [t.will_retry for t in world.terminated] == [False]
    assert world.state is None


@pytest.mark.parametrize("status", [400, 423])
def test_a_refused_fetch_becomes_a_short_subscription(status: int) -> None:
    world = World(Answer(status), Answer(body=pidf())).fetch()
    assert world.notifier.asked == [0, 60, 0]
    assert [n.body for n in world.notified] == [pidf()]
    assert world.state is None
    assert world.refused == []


def test_a_peer_known_not_to_fetch_is_not_asked_to() -> None:
    policy = PeerPolicy(next_hops=TO_BOB.next_hops, capabilities=frozenset())
    world = World(Answer(body=pidf())).fetch(policy)
    assert world.notifier.asked == [60, 0]
    assert [n.body for n in world.notified] == [pidf()]


def test_a_fetch_that_is_called_active_for_no_time_is_over() -> None:
    world = World(Answer(notify=None)).fetch()
    world.notify("active;expires=0", pidf())
    assert world.state is None
    assert len(world.notified) == 1


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("overtaken", [True, False])
def test_a_fetch_whose_first_notify_is_empty_waits_for_the_next(
    follows: bool, overtaken: bool
) -> None:
    first = Answer(notify="active;expires=0" if overtaken else None, first=True)
    world = World(first).fetch()
    if not overtaken:
        world.notify("active;expires=0")
    assert world.state is State.ACTIVE
    if follows:
        world.notify("terminated;reason=timeout", pidf())
    else:
        world.pair.pass_seconds(33)
    assert world.state is None
    assert [n.body for n in world.notified if n.body] == ([pidf()] if follows else [])
    assert world.notifier.asked == [0]


@pytest.mark.parametrize("follows", [True, False])
def test_a_fetch_of_a_list_hears_all_parts_until_its_end(follows: bool) -> None:
    world = World(ACCEPT_ONLY).fetch()
    table = b'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:l@example.com" version="0"/>'
    for _ in range(2):
        world.notify("active;expires=0", table, content_type="application/rlmi+xml")
        assert world.state is State.ACTIVE
    if follows:
        world.notify("terminated;reason=timeout", table, content_type="application/rlmi+xml")
    else:
        world.pair.pass_seconds(33)
    assert world.state is None
    assert len(world.notified) == (3 if follows else 2)
    assert [t.reason for t in world.terminated] == ["timeout" if follows else "no-notify"]
    assert world.notifier.asked == [0]


def test_a_fetch_that_is_refused_is_refused() -> None:
    world = World(Answer(403)).fetch()
    assert [r.status for r in world.refused] == [403]


# --- loss and disorder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_a_bad_wire_only_delays(seed: int) -> None:
    import random

    dice = random.Random(seed)

    def chance(_: bytes) -> tuple[int, float]:
        return dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.3

    pair = Pair()
    pair.wire.latency = 0.01
    pair.wire.chance = chance
    world = World(pair=pair).subscribe(keep_trying=True)
    pair.pass_seconds(200)
    pair.wire.chance = None
    pair.pass_seconds(4000)
    assert world.state is State.ACTIVE
    world.notify("active", pidf("closed"))
    pair.pass_seconds(1)
    assert world.notified[-1].body == pidf("closed")


def test_a_peer_that_takes_rates_for_another_package_is_asked_without_any() -> None:
    """Kamailio answers 489 to any parameter of Event."""
    world = World(Answer(489), Answer(expires=600))
    named = replace(TO_BOB, name="bob")
    world.rate = Rate.every(10.0)
    world.subscribe(policy=named)
    assert [i.request.headers.get("Event") for i in world.notifier.got] == [
        "presence;max-rate=0.1",
        "presence",
    ]
    assert world.state is State.ACTIVE and world.refused == []
    world.refresh()
    world.subscribe(policy=named)  # another one: the peer is known by now
    assert {i.request.headers.get("Event") for i in world.notifier.got[1:]} == {"presence"}


def test_a_489_for_another_reason_says_nothing_about_rates() -> None:
    world = World(Answer(489), Answer(489), Answer(489), Answer(expires=600))
    world.rate = Rate.every(10.0)
    for _ in range(2):
        world.subscribe(policy=replace(TO_BOB, name="bob"))
    assert [said.status for said in world.refused] == [489]
    events = [i.request.headers.get("Event") for i in world.notifier.got]
    assert events == ["presence;max-rate=0.1", "presence", "presence", "presence;max-rate=0.1"]


def test_what_a_peer_without_a_name_refuses_is_not_laid_to_others() -> None:
    unnamed = replace(TO_BOB, name="")
    world = World(Answer(489), Answer(expires=600))
    world.rate = Rate.every(10.0)
    world.subscribe(policy=unnamed)
    world.refresh()
    world.subscribe(policy=unnamed)
    events = [i.request.headers.get("Event") for i in world.notifier.got]
    assert events == ["presence;max-rate=0.1", "presence", "presence", "presence;max-rate=0.1"]


def test_a_489_without_rates_is_a_489() -> None:
    world = World(Answer(489)).subscribe(policy=replace(TO_BOB, partial_notify=False))
    assert [said.status for said in world.refused] == [489]
    assert len(world.notifier.got) == 1


def test_renewing_makes_a_new_dialog_at_once() -> None:
    world = active()
    world.notifier.answers = [Answer()]
    before = world.subscriber.call_id(world.id)
    world.subscriber.renew(world.id, world.pair.now)
    world.pair.turn()
    assert world.state is State.ACTIVE
    assert world.subscriber.call_id(world.id) not in ("", before)
    assert world.terminated == []


def test_a_notifier_that_clears_its_cseq_gets_a_new_dialog() -> None:
    """All it says would be out of order for ever (RFC 3261 §12.2.2)."""
    world = active()
    world.notifier.answers = [Answer()]
    world.notify("active", pidf("open"), cseq=500)
    world.notify("active", pidf("closed"), cseq=1)
    assert len(world.notifier.got) == 1  # that might have been overtaken
    world.notify("active", pidf("closed"), cseq=2)
    assert world.notifier.responses[-2:] == [500, 500]
    world.pair.pass_seconds(3.0)
    assert len(world.notifier.got) == 2 and world.state is State.ACTIVE
    assert world.terminated[-1].will_retry
    world.notify("active", pidf("closed"))
    assert world.notified[-1].body == pidf("closed")


@pytest.mark.parametrize("order", [[9, 8], [8], [8, 8]])
def test_notifies_that_were_overtaken_change_nothing(order: list[int]) -> None:
    world = active()
    world.notify("active", pidf("open"), cseq=10)
    for number in order:
        world.notify("active", pidf("closed"), cseq=number)
    world.pair.pass_seconds(5.0)
    assert len(world.notifier.got) == 1 and world.terminated == []


def test_423_for_hours_asks_for_no_more_than_at_first_each_time() -> None:
    world = World(Answer(423)).subscribe(expires=600, keep_trying=True)
    world.pair.pass_seconds(2 * 3600)
    assert set(world.notifier.asked) == {600, 1200, 2400, 4800}
    assert len(world.notifier.asked) > 40
