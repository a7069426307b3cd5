import json
import random
from collections.abc import Callable, Sequence

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.events import notifier as notifier_module
from sipbridge.events.machine import step
from sipbridge.events.notifier import (
    ENDINGS,
    NEXT,
    NOTHING_NEW,
    Content,
    Input,
    Notifier,
    State,
    Subscription,
)
from sipbridge.events.package import EventPackage
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog, Json
from sipbridge.sip.message import Request, Response
from sipbridge.sip.usage import ServerRequest
from tests.events.peers import TO_BOB, TOY
from tests.events.toy import ToyAuthority
from tests.harness.pair import ALICE, BOB, Pair


class RawSubscriber:
    """A subscriber that does exactly what a test says."""

    def __init__(self, pair: Pair, *, notify_status: int = 200) -> None:
        self.pair = pair
        self.ua = pair.alice
        self.ua.accept("NOTIFY", ["application/x-toy"])
        self.notify_status = notify_status
        self.notify_headers: Sequence[tuple[str, str]] = ()
        self.responses: list[Response] = []
        self.notifies: list[Request] = []
        self.open: list[ServerRequest] = []
        self.times: list[float] = []
        self.dialog: Dialog | None = None
        self.sent: Request | None = None

    def subscribe(
        self,
        expires: int | None = 600,
        event: str | None = "toy",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> "RawSubscriber":
        fields = [*headers]
        if event is not None:
            fields.append(("Event", event))
        if expires is not None:
            fields.append(("Expires", str(expires)))
        if self.dialog is not None:
            request = self.dialog.new_request("SUBSCRIBE", fields, body)
            self.ua.request_in_dialog(self.dialog, request, self, self.pair.now)
        else:
            self.sent = self.ua.new_request(
                "SUBSCRIBE",
                "sip:carol@example.com",
                from_=NameAddr.parse('"Alice A." <sip:alice@example.com>'),
                to=NameAddr.parse("<sip:carol@example.com>"),
                headers=fields,
                body=body,
            )
            self.ua.expect_dialog(self.sent.call_id, self.sent.from_.tag or "", self)
            self.ua.request(self.sent, self, self.pair.now, policy=TO_BOB)
        self.pair.turn()
        return self

    def receive_response(self, response: Response, now: float) -> None:
        self.responses.append(response)

    def request_failed(self, reason: str, now: float) -> None:
        raise AssertionError(reason)

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.notifies.append(incoming.request)
        self.times.append(now)
        if self.dialog is None and self.sent is not None:
            self.dialog = Dialog.as_uac(self.sent, incoming.request, incoming.flow)
            self.ua.add_dialog(self.dialog, self)
        if self.notify_status:
            incoming.respond(self.notify_status, headers=self.notify_headers)
        else:
            self.open.append(incoming)

    def answer_notify(self, status: int = 200) -> None:
        self.open.pop(0).respond(status)
        self.pair.turn()

    @property
    def statuses(self) -> list[int]:
        return [r.status for r in self.responses]

    @property
    def told(self) -> list[tuple[str, bytes]]:
        """Subscription-State without its expires, and body, of each NOTIFY."""
        return [
            (str(n.headers.get("Subscription-State")).partition(";expires")[0], n.body)
            for n in self.notifies
        ]


class World:
    def __init__(
        self, *, notify_status: int = 200, min_interval: float = 0.0, max_subscriptions: int = 100
    ) -> None:
        self.pair = Pair()
        self.authority = ToyAuthority(self.pair.bob)
        self.notifier = Notifier(
            self.pair.bob,
            {"toy": TOY, "other": EventPackage("other", ("a/b",))},
            self.authority,
            min_interval=min_interval,
            max_subscriptions=max_subscriptions,
        )
        self.peer = RawSubscriber(self.pair, notify_status=notify_status)

    @property
    def subscription(self) -> Subscription:
        return self.authority.subscriptions[-1]

    def offer(self, word: bytes) -> None:
        self.authority.word = word
        self.notifier.offer(self.subscription, self.pair.now, "t7")
        self.pair.turn()

    def happen(self, happened: Input) -> None:
        self.notifier.happen(self.subscription, happened, self.pair.now)
        self.pair.turn()


def pending() -> World:
    world = World()
    world.authority.pending = True
    world.peer.subscribe()
    return world


def active() -> World:
    world = World()
    world.peer.subscribe()
    return world


def silent() -> World:
    """Active, and the subscriber leaves its first NOTIFY unanswered."""
    world = World(notify_status=0)
    world.peer.subscribe()
    return world


# --- every cell of the table ----------------------------------------------------------------------------


def unsubscribe(world: World) -> None:
    world.peer.subscribe(0)


def fail(world: World) -> None:
    world.peer.notify_status = 481
    if world.subscription.state is State.PENDING:
        world.peer.subscribe()
    else:
        world.offer(b"news")


Walk = tuple[Callable[[], World], Callable[[World], object]]


def undecided(world: World) -> None:
    world.authority.pending = True
    world.peer.subscribe()


def by(happened: Input) -> Callable[[World], None]:
    return lambda world: world.happen(happened)


def walk_of(state: State, happened: Input) -> Walk:
    reach = {State.PENDING: pending, State.ACTIVE: active}
    if state is State.INIT:
        return World, undecided if happened is Input.UNDECIDED else lambda w: w.peer.subscribe()
    causes: dict[Input, Callable[[World], object]] = {
        Input.REFRESHED: lambda w: w.peer.subscribe(),
        Input.UNSUBSCRIBED: unsubscribe,
        Input.EXPIRED: lambda w: w.pair.pass_seconds(601),
        Input.FAILED: fail,
    }
    return reach[state], causes.get(happened) or by(happened)


@pytest.mark.parametrize(("state", "happened"), NEXT, ids=str)
def test_every_cell_leads_where_the_table_says(
    state: State, happened: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []

    def recorded(table: object, before: State, what: Input) -> State:
        after = step(NEXT, before, what)
        walked.append((before, what, after))
        return after

    reach, cause = walk_of(state, happened)
    world = reach()
    monkeypatch.setattr(notifier_module, "step", recorded)
    cause(world)
    assert (state, happened, NEXT[state, happened]) in walked


@pytest.mark.parametrize("happened", [i for i in ENDINGS if i is not Input.FAILED], ids=str)
def test_every_end_is_told_with_its_reason(happened: Input) -> None:
    world = pending() if (State.ACTIVE, happened) not in NEXT else active()
    world.happen(happened)
    assert world.peer.told[-1][0] == f"terminated;reason={ENDINGS[happened]}"
    assert world.notifier.subscriptions == {}
    assert world.pair.bob.dialogs == {}


def test_what_happens_after_the_end_is_nothing() -> None:
    world = active()
    world.happen(Input.REJECTED)
    world.happen(Input.APPROVED)
    assert len(world.peer.notifies) == 2


# --- SUBSCRIBE ------------------------------------------------------------------------------------------


def test_a_subscribe_gets_its_200_and_then_the_state() -> None:
    world = active()
    assert world.peer.statuses == [200]
    response = world.peer.responses[0]
    assert response.expires == 600
    assert response.contact is not None
    assert str(response.contact.uri) == "sip:carol@192.0.2.2:5060"
    (notify,) = world.peer.notifies
    assert notify.headers.get("Subscription-State") == "active;expires=600"
    assert notify.headers.get("Event") == "toy"
    assert (notify.headers.get("Content-Type"), notify.body) == ("application/x-toy", b"hello")
    first, second = world.pair.wire.named("200 SUBSCRIBE")[0], world.pair.wire.named("NOTIFY")[0]
    assert world.pair.wire.sent.index(first) < world.pair.wire.sent.index(second)
    assert world.subscription.display_name == "Alice A."


def test_an_undecided_one_is_pending_without_a_body() -> None:
    world = pending()
    assert world.peer.told == [("pending", b"")]
    assert "Content-Type" not in world.peer.notifies[0].headers
    world.happen(Input.APPROVED)
    assert world.peer.told[-1] == ("active", b"hello")


def test_the_id_of_the_event_comes_back_in_every_notify() -> None:
    world = World()
    world.peer.subscribe(event="toy;id=42")
    assert world.peer.notifies[0].headers.get("Event") == "toy;id=42"


def test_a_refresh_is_known_by_package_and_id_whatever_else_its_event_says() -> None:
    world = World()
    for event, status in (
        ("toy;x=1", 200),
        ("toy", 200),
        ("toy;y", 200),
        ("toy;id=1", 481),
        ("other", 481),
    ):
        world.peer.subscribe(event=event)
        assert world.peer.statuses[-1] == status, event


@pytest.mark.parametrize("event", [None, "dialog", "toys"])
def test_an_unknown_event_gets_489_and_hears_what_there_is(event: str | None) -> None:
    world = World()
    world.peer.subscribe(event=event)
    assert world.peer.statuses == [489]
    assert world.peer.responses[0].allow_events == ["toy", "other"]
    assert world.pair.bob.allow_events == ["toy", "other"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/x-toy", 200),
        ("text/plain, application/x-toy;q=0.5", 200),
        ("application/*", 200),
        ("*/*", 200),
        ("text/plain", 406),
        ("application/x-toy;q=0", 406),
        ("", 406),
    ],
)
def test_accept_has_to_cover_the_package(accept: str, status: int) -> None:
    world = World()
    world.peer.subscribe(headers=[("Accept", accept)])
    assert world.peer.statuses == [status]


def test_a_body_that_means_nothing_to_us_gets_415_unless_it_is_optional() -> None:
    world = World()
    kind = ("Content-Type", "application/simple-filter+xml")
    world.peer.subscribe(headers=[kind], body=b"<filter/>")
    world.peer.subscribe(
        headers=[kind, ("Content-Disposition", "session;handling=optional")], body=b"<filter/>"
    )
    assert world.peer.statuses == [415, 200]


@pytest.mark.parametrize(
    ("asked", "status", "granted"),
    [(None, 200, 600), (10, 200, 10), (9, 423, None), (1, 423, None), (5000, 200, 1000)],
)
def test_expires_is_defaulted_bounded_and_lowered(
    asked: int | None, status: int, granted: int | None
) -> None:
    world = World()
    world.peer.subscribe(asked)
    response = world.peer.responses[0]
    assert (response.status, response.expires) == (status, granted)
    assert response.min_expires == (10 if status == 423 else None)


def test_what_the_authority_refuses_is_answered_in_its_words() -> None:
    world = World()
    world.authority.status = 403
    world.peer.subscribe()
    assert world.peer.statuses == [403]
    assert world.peer.responses[0].headers.get("X-Why") == "because"
    assert world.notifier.subscriptions == {}


def test_beyond_the_limit_comes_503_with_retry_after() -> None:
    world = World(max_subscriptions=1)
    world.peer.subscribe()
    RawSubscriber(world.pair)
    other = RawSubscriber(world.pair).subscribe()
    assert other.statuses == [503]
    assert other.responses[0].retry_after == 60


def test_a_refresh_extends_and_is_answered_with_the_state() -> None:
    world = active()
    world.pair.pass_seconds(500)
    world.peer.subscribe()
    assert world.peer.told == [("active", b"hello")] * 2
    world.pair.pass_seconds(500)
    assert len(world.notifier.subscriptions) == 1
    world.pair.pass_seconds(101)
    assert world.peer.told[-1] == ("terminated;reason=timeout", b"hello")
    assert world.notifier.subscriptions == {}


def test_a_refresh_is_judged_like_a_new_one() -> None:
    world = active()
    world.peer.subscribe(5)
    world.authority.status = 403
    world.peer.subscribe()
    assert world.peer.statuses == [200, 423, 403]
    assert world.subscription.state is State.ACTIVE


def test_a_refresh_of_another_event_gets_481() -> None:
    world = active()
    world.peer.subscribe(event="other")
    assert world.peer.statuses == [200, 481]


def test_the_end_is_answered_and_told_with_the_state() -> None:
    world = active()
    world.peer.subscribe(0)
    assert world.peer.responses[1].expires == 0
    assert world.peer.told[-1] == ("terminated;reason=timeout", b"hello")
    assert world.notifier.subscriptions == {}
    world.peer.subscribe()
    assert world.peer.statuses == [200, 200, 481]


def test_a_fetch_gets_the_state_once() -> None:
    world = World()
    world.peer.subscribe(0)
    assert world.peer.responses[0].expires == 0
    assert world.peer.told == [("terminated;reason=timeout", b"hello")]
    assert world.notifier.subscriptions == {}
    world.pair.pass_seconds(10_000)
    assert len(world.peer.notifies) == 1


def test_a_fetch_of_more_than_an_unproven_address_may_get_goes_on_when_it_has_answered() -> None:
    world = World(notify_status=0)
    world.authority.word = b"x" * 9000
    world.peer.subscribe(0)
    world.pair.pass_seconds(20)
    assert world.peer.told == [("active", b"")]
    assert world.peer.notifies[0].headers.get("Subscription-State") == "active;expires=0"
    world.peer.answer_notify()
    assert world.peer.told[1:] == [("terminated;reason=timeout", b"x" * 9000)]
    world.peer.answer_notify()
    assert world.notifier.subscriptions == {}


def test_a_fetch_by_nobody_is_forgotten_without_its_state() -> None:
    world = World(notify_status=0)
    world.authority.word = b"x" * 9000
    world.peer.subscribe(0)
    world.pair.pass_seconds(70)
    assert world.peer.told == [("active", b"")]
    assert world.notifier.subscriptions == {}


def test_the_dialog_of_a_fetch_takes_no_subscribe() -> None:
    world = World(notify_status=0)
    world.authority.word = b"x" * 9000
    world.peer.subscribe(0)
    world.peer.subscribe(600)
    assert world.peer.statuses == [200, 481]
    world.peer.answer_notify()
    assert world.peer.told[-1] == ("terminated;reason=timeout", b"x" * 9000)


def test_a_fetch_ends_without_the_rest_if_that_is_no_news_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(notify_status=0)
    parts = [Content("application/x-toy", b"one", more=True), NOTHING_NEW]
    monkeypatch.setattr(world.authority, "content", lambda subscription, now: parts.pop(0))
    world.peer.subscribe(0)
    world.peer.answer_notify()
    assert world.peer.told == [("active", b"one"), ("terminated;reason=timeout", b"")]
    world.peer.answer_notify()
    assert world.notifier.subscriptions == {}


def test_whoever_is_refused_in_the_middle_of_a_fetch_gets_no_more() -> None:
    world = World(notify_status=0)
    world.authority.word = b"x" * 9000
    world.peer.subscribe(0)
    world.happen(Input.REJECTED)
    world.authority.word = b""
    world.peer.answer_notify()
    assert world.peer.told == [("active", b""), ("terminated;reason=rejected", b"")]


def test_another_method_in_the_dialog_gets_405() -> None:
    world = active()
    dialog = world.peer.dialog
    assert dialog is not None
    request = dialog.new_request("MESSAGE")
    world.pair.alice.request_in_dialog(dialog, request, world.peer, world.pair.now)
    world.pair.turn()
    assert world.peer.statuses == [200, 405]


# --- NOTIFY ---------------------------------------------------------------------------------------------


def test_news_are_sent_and_no_news_are_not() -> None:
    world = active()
    world.offer(b"hello")
    world.offer(b"bye")
    world.offer(b"bye")
    assert [body for _, body in world.peer.told] == [b"hello", b"bye"]


def test_one_notify_is_in_flight_and_the_newest_state_follows() -> None:
    world = silent()
    for word in (b"1", b"2", b"3"):
        world.offer(word)
    assert [n.body for n in world.peer.notifies] == [b"hello"]
    world.peer.answer_notify()
    assert [n.body for n in world.peer.notifies] == [b"hello", b"3"]
    world.peer.answer_notify()
    assert len(world.peer.notifies) == 2


def test_a_change_that_was_taken_back_meanwhile_is_not_told() -> None:
    world = silent()
    world.offer(b"1")
    world.offer(b"hello")
    world.peer.answer_notify()
    assert len(world.peer.notifies) == 1


def test_an_end_waits_for_the_notify_in_flight() -> None:
    world = silent()
    world.happen(Input.REJECTED)
    assert len(world.peer.notifies) == 1
    world.peer.answer_notify()
    world.peer.answer_notify()
    assert world.peer.told[-1][0] == "terminated;reason=rejected"
    assert world.notifier.subscriptions == {}


@pytest.mark.parametrize("status", [404, 410, 481, 489, 501, 604])
def test_a_watcher_that_forgot_us_is_forgotten(status: int) -> None:
    world = active()
    world.peer.notify_status = status
    world.offer(b"news")
    assert world.notifier.subscriptions == {}
    assert world.authority.steps[-1] == ("terminated", Input.FAILED)
    world.pair.pass_seconds(10_000)
    assert len(world.peer.notifies) == 2


def test_a_watcher_that_does_not_answer_is_forgotten() -> None:
    world = silent()
    world.pair.pass_seconds(33)
    assert world.notifier.subscriptions == {}
    assert world.pair.bob.dialogs == {}


def test_a_final_notify_that_is_refused_is_final_all_the_same() -> None:
    world = active()
    world.peer.notify_status = 481
    world.happen(Input.REJECTED)
    assert world.notifier.subscriptions == {}


def test_a_notify_refused_for_now_is_repeated_after_retry_after() -> None:
    world = active()
    world.peer.notify_status, world.peer.notify_headers = 503, [("Retry-After", "30")]
    world.offer(b"1")
    world.offer(b"2")
    world.peer.notify_status, world.peer.notify_headers = 200, ()
    world.pair.pass_seconds(29)
    assert len(world.peer.notifies) == 2
    world.pair.pass_seconds(2)
    assert world.peer.told[-1] == ("active", b"2")


def test_a_notify_refused_again_and_again_ends_the_subscription() -> None:
    world = active()
    world.peer.notify_status = 500
    world.offer(b"1")
    world.pair.pass_seconds(100)
    assert len(world.peer.notifies) == 4
    assert world.notifier.subscriptions == {}


def test_between_two_notifies_lies_the_configured_interval() -> None:
    world = World(min_interval=5.0)
    world.peer.subscribe()
    for n in range(20):
        world.offer(str(n).encode())
        world.pair.pass_seconds(1)
    gaps = [b - a for a, b in zip(world.peer.times, world.peer.times[1:], strict=False)]
    assert min(gaps) >= 5.0
    world.pair.pass_seconds(5)
    assert world.peer.told[-1] == ("active", b"19")
    world.happen(Input.REJECTED)
    assert world.peer.told[-1][0] == "terminated;reason=rejected"


@pytest.mark.parametrize("seed", range(12))
def test_on_a_bad_wire_the_newest_state_arrives(seed: int) -> None:
    dice = random.Random(seed)
    world = World()
    world.pair.wire.latency = 0.01
    world.peer.subscribe()
    world.pair.pass_seconds(1)
    world.pair.wire.chance = lambda _: (dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.3)
    for n in range(30):
        world.offer(f"n{n}".encode())
        world.pair.pass_seconds(dice.random() * 2)
    world.pair.pass_seconds(40)
    assert world.peer.notifies[-1].body == b"n29"
    assert len({n.cseq.number for n in world.peer.notifies}) == len(world.peer.notifies)


def test_a_day_of_refreshes_costs_one_notify_each() -> None:
    world = active()
    for _ in range(24 * 12):
        world.pair.pass_seconds(300)
        world.peer.subscribe()
    assert len(world.peer.notifies) == 1 + 24 * 12
    assert len(world.pair.bob.deadlines) < 10


# --- the store ------------------------------------------------------------------------------------------


def test_the_200_and_the_notify_wait_for_the_commit_in_this_order() -> None:
    world = World()
    world.pair.commit_at_once = False
    world.authority.storing = True
    world.peer.subscribe()
    world.offer(b"news")
    assert world.pair.wire.named("200") == world.pair.wire.named("NOTIFY") == []
    core, number, _ = world.pair.stored[-1]
    core.committed(number, world.pair.now)
    world.pair.turn()
    assert world.peer.statuses == [200]
    assert world.peer.told == [("active", b"news")]
    names = [s.first_line.split()[0] for s in world.pair.wire.sent if s.flow.local == BOB]
    assert names[:2] == ["SIP/2.0", "NOTIFY"]


def test_when_the_store_fails_the_subscriber_gets_500_and_is_forgotten() -> None:
    world = World()
    world.pair.commit_at_once = False
    world.authority.storing = True
    world.peer.subscribe()
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.peer.statuses == [500]
    assert world.peer.notifies == []
    assert world.notifier.subscriptions == {}
    assert world.pair.bob.dialogs == {}


def test_when_storing_a_refresh_fails_the_subscription_goes_on() -> None:
    world = active()
    world.pair.commit_at_once = False
    world.authority.storing = True
    world.peer.subscribe()
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.peer.statuses == [200, 500]
    world.offer(b"news")
    assert world.peer.told[-1] == ("active", b"news")


# --- restart --------------------------------------------------------------------------------------------


def restarted(world: World, elapsed: float = 10.0, *, stored: Json = None) -> World:
    """Another notifier on the same address takes up the snapshot, as it would be read from a store."""
    stored = json.loads(json.dumps(stored or world.subscription.snapshot(world.pair.now)))
    assert isinstance(stored, dict)
    storing = world.authority.storing
    del world.pair.cores[BOB]
    world.pair.bob = world.pair.add(BOB)
    world.authority = ToyAuthority(world.pair.bob)
    world.authority.storing = storing
    world.notifier = Notifier(world.pair.bob, {"toy": TOY}, world.authority)
    restored = world.notifier.restore(stored, world.pair.now, elapsed=elapsed)
    world.authority.subscriptions.append(restored)
    world.notifier.resume(world.pair.now)
    return world


def test_after_a_restart_the_state_is_notified_in_the_old_dialog() -> None:
    world = restarted(active())
    world.pair.pass_seconds(1)
    assert world.peer.told == [("active", b"hello")] * 2
    first, second = world.peer.notifies
    assert second.call_id == first.call_id
    assert second.cseq.number > first.cseq.number + 99_999
    assert second.headers.get("Subscription-State") == "active;expires=590"
    world.peer.subscribe()
    assert world.peer.statuses == [200, 200]


def test_a_subscription_that_ran_out_meanwhile_gets_its_last_notify() -> None:
    world = restarted(active(), elapsed=5000.0)
    world.pair.pass_seconds(2)
    assert world.peer.told[-1] == ("terminated;reason=timeout", b"hello")
    assert world.notifier.subscriptions == {}


def newest_stored(world: World) -> Json:
    change = world.pair.stored[-1][2]
    assert isinstance(change, dict)
    return change


def test_however_often_and_whenever_it_falls_no_cseq_is_used_twice() -> None:
    world = active()
    world.authority.storing = True
    world.peer.subscribe()
    for life in range(5):
        before = len(world.peer.notifies)
        world = restarted(world, stored=newest_stored(world))
        world.pair.pass_seconds(1)
        assert len(world.peer.notifies) == before + 1
        for number in range(life):
            world.offer(b"news %d of life %d" % (number, life))
    numbers = [n.cseq.number for n in world.peer.notifies]
    assert sorted(set(numbers)) == numbers
    assert len({n.call_id for n in world.peer.notifies}) == 1


def test_a_notify_after_a_restart_waits_until_its_number_is_stored() -> None:
    world = active()
    world.authority.storing = True
    world.peer.subscribe()
    world.pair.commit_at_once = False
    world = restarted(world, stored=newest_stored(world))
    world.pair.pass_seconds(1)
    told = len(world.peer.told)
    world.pair.pass_seconds(5)
    assert len(world.peer.told) == told
    core, number, _ = world.pair.stored[-1]
    core.committed(number, world.pair.now)
    world.pair.turn()
    assert len(world.peer.told) == told + 1


def test_numbers_that_cannot_be_stored_are_asked_for_again() -> None:
    world = active()
    world.authority.storing = True
    world.peer.subscribe()
    world.pair.commit_at_once = False
    world = restarted(world, stored=newest_stored(world))
    told = len(world.peer.told)
    for _ in range(3):
        world.pair.pass_seconds(notifier_module.NOTIFY_PAUSE + 1)
        assert len(world.peer.told) == told
        core, number, _ = world.pair.stored[-1]
        core.store_failed(number, world.pair.now)
        world.pair.turn()
    world.pair.commit_at_once = True
    world.pair.pass_seconds(notifier_module.NOTIFY_PAUSE + 1)
    assert world.peer.told[told:] == [("active", b"hello")]


def test_numbers_that_run_out_are_stored_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "CSEQ_BLOCK", 3)
    world = World()
    world.authority.storing = True
    world.peer.subscribe()
    for number in range(10):
        world.offer(b"%d" % number)
    assert len(world.peer.told) == 11
    assert len(world.pair.stored) == 4
    world = restarted(world, stored=newest_stored(world))
    world.pair.pass_seconds(1)
    numbers = [n.cseq.number for n in world.peer.notifies]
    assert sorted(set(numbers)) == numbers


def test_nothing_is_told_before_everything_is_restored() -> None:
    world = active()
    stored = json.loads(json.dumps(world.subscription.snapshot(world.pair.now)))
    del world.pair.cores[BOB]
    world.pair.bob = world.pair.add(BOB)
    world.authority = ToyAuthority(world.pair.bob)
    world.notifier = Notifier(world.pair.bob, {"toy": TOY}, world.authority)
    restored = world.notifier.restore(stored, world.pair.now, elapsed=0.0)
    world.authority.subscriptions.append(restored)
    world.offer(b"half")
    world.pair.pass_seconds(60)
    assert len(world.peer.notifies) == 1
    world.authority.word = b"whole"
    world.notifier.resume(world.pair.now)
    world.pair.pass_seconds(1)
    assert world.peer.told[1:] == [("active", b"whole")]


@pytest.mark.parametrize("reach", [pending, active, silent])
def test_a_restart_at_any_step_leaves_a_living_subscription(reach: Callable[[], World]) -> None:
    world = reach()
    world.peer.notify_status = 200
    world = restarted(world)
    world.pair.pass_seconds(40)
    world.offer(b"after")
    if world.subscription.state is State.ACTIVE:
        assert world.peer.told[-1] == ("active", b"after")
    world.peer.subscribe()
    assert world.peer.statuses[-1] == 200


def test_what_is_no_snapshot_is_refused() -> None:
    world = World()
    wrong: list[dict[str, Json]] = [{}, {"dialog": {}}, {"dialog": 3}]
    for stored in wrong:
        with pytest.raises(LocalProtocolError, match="not a snapshot"):
            world.notifier.restore(stored, 0.0, elapsed=0.0)
    assert world.pair.said_by(ALICE, object) == []
