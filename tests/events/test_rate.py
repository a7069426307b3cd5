"""RFC 6446: what is asked, what is granted, and when NOTIFYs leave because of it."""

import json
import random
from dataclasses import replace

import pytest

from sipbridge.events.notifier import Input, Notifier
from sipbridge.events.package import EventPackage
from sipbridge.events.rate import NO_RATE, Pace, Rate, granted, plain_event
from sipbridge.events.subscriber import Notified, Subscriber, Terminated
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.policy import PeerPolicy
from tests.events.peers import ALICE_URI, BOB_URI, PACKAGES, TO_BOB, Answer, ScriptedNotifier, pidf
from tests.events.toy import ToyAuthority
from tests.harness.pair import ALICE, BOB, Pair

TOY = EventPackage(
    "toy",
    ("application/x-toy",),
    default_expires=600,
    min_expires=10,
    whole_states=("application/x-toy",),
)
EVERY_MINUTE = Rate.every(60)


# --- values


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", NO_RATE),
        (";id=7;foo", NO_RATE),
        (";max-rate=0.05", Rate(0.05)),
        (";MAX-RATE=2;min-rate=0.1", Rate(2.0, 0.1)),
        (";adaptive-min-rate=0.017", Rate(None, None, 0.017)),
        (";max-rate=0", NO_RATE),
        (";max-rate=0.000", NO_RATE),
        (";max-rate", NO_RATE),
        (";max-rate=-1", NO_RATE),
        (";max-rate=1e9", NO_RATE),
        (";max-rate=nan", NO_RATE),
        (";max-rate=1.", NO_RATE),
        (";max-rate=\u0661", NO_RATE),
        (';max-rate="5"', Rate(5.0)),
    ],
)
def test_a_rate_is_read_and_nonsense_is_none(text: str, rate: Rate) -> None:
    try:
        assert Rate.of(Parameters.parse(text)) == rate
    except ValueError as error:  # the parameters themselves are malformed
        raise AssertionError(text) from error


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (NO_RATE, ""),
        (Rate(0.05), ";max-rate=0.05"),
        (Rate(2.0, 0.5, 1.0), ";max-rate=2;min-rate=0.5;adaptive-min-rate=1"),
        (Rate.every(60), ";max-rate=0.0166666667"),
        (Rate.every(0), ""),
        (Rate(1000.0), ";max-rate=99"),
        (Rate(1e-30), ";max-rate=0.0000000001"),
    ],
)
def test_a_rate_is_written_as_the_grammar_has_it(rate: Rate, text: str) -> None:
    assert str(rate) == text


def test_what_is_granted_respects_our_own_bounds() -> None:
    assert granted(Rate(0.1), 0.0) == Rate(0.1)
    assert granted(Rate(10.0), 5.0) == Rate(0.2), "limits.min_notify_interval is slower"
    assert granted(Rate(0.1), 5.0) == Rate(0.1), "the watcher is slower"
    assert granted(Rate(None, 0.1), 0.0) == Rate(None, 0.1)
    assert granted(Rate(None, 1000.0, 50.0), 0.0) == Rate(None, 1.0, 1.0)
    assert granted(Rate(0.1, 0.5, 0.5), 0.0) == Rate(0.1, 0.1, 0.1), "no fewer than the most"
    assert granted(Rate(1e-9), 0.0).interval == 86_400


def test_an_event_of_a_notify_has_no_rate() -> None:
    parameters = Parameters.parse(";id=3;Max-Rate=1;min-rate=0.1;adaptive-min-rate=1;foo")
    assert plain_event("presence", parameters) == "presence;id=3;foo"


def test_the_adaptive_wait_grows_with_what_was_sent() -> None:
    """§6.4: count / (rate² · period)."""
    waits = []
    for count in (2, 5, 10, 20):
        pace = Pace(Rate(None, None, 0.1), 0.0, [1000.0 - n * 100 / count for n in range(count)])
        waits.append(pace.adaptive(0.1, 1000.0))
    assert waits == pytest.approx([2.0, 5.0, 10.0, 20.0])


# --- a notifier and a subscriber of ours


class World:
    def __init__(
        self,
        rate: Rate = NO_RATE,
        *,
        min_interval: float = 0.0,
        rate_control: bool = True,
        policy: PeerPolicy = TO_BOB,
        tagging: bool = False,
    ) -> None:
        self.pair = Pair()
        self.authority = ToyAuthority(self.pair.bob)
        self.authority.tagging = tagging
        self.options = (min_interval, rate_control)
        self.notifier = self.new_notifier()
        self.subscriber = Subscriber(self.pair.alice, {"toy": TOY})
        self.id = self.subscriber.subscribe(
            BOB_URI, ALICE_URI, "toy", self.pair.now, policy=policy, rate=rate
        )
        self.pair.turn()

    def new_notifier(self) -> Notifier:
        interval, control = self.options
        return Notifier(
            self.pair.bob, {"toy": TOY}, self.authority, min_interval=interval, rate_control=control
        )

    def offer(self, word: bytes) -> None:
        self.authority.word = word
        self.notifier.offer(self.authority.subscriptions[-1], self.pair.now)
        self.pair.turn()

    def set_rate(self, rate: Rate) -> None:
        self.subscriber.set_rate(self.id, rate, self.pair.now)
        self.pair.turn()

    def refresh(self) -> None:
        self.subscriber.refresh(self.id, self.pair.now, conditional=True)
        self.pair.turn()

    def changes(self, every: float, seconds: float) -> None:
        """News come so often for so long."""
        until = self.pair.now + seconds
        n = 0
        while self.pair.now < until:
            n += 1
            self.offer(b"%f" % self.pair.now)
            self.pair.pass_seconds(every)

    @property
    def times(self) -> list[float]:
        """When NOTIFYs left, copies left out."""
        found = {n.header("CSeq"): n.at for n in reversed(self.pair.wire.named("NOTIFY"))}
        return sorted(found.values())

    @property
    def gaps(self) -> list[float]:
        return [round(b - a, 3) for a, b in zip(self.times, self.times[1:], strict=False)]

    @property
    def told(self) -> list[bytes]:
        return [n.body for n in self.pair.reported[ALICE] if isinstance(n, Notified)]

    @property
    def events(self) -> list[str]:
        return [s.header("Event") for s in self.pair.wire.named("SUBSCRIBE")]

    @property
    def stated(self) -> list[str]:
        return [n.header("Subscription-State") for n in self.pair.wire.named("NOTIFY")]


# --- max-rate


def test_news_wait_for_their_turn_and_the_newest_is_told() -> None:
    world = World(EVERY_MINUTE)
    assert world.events == ["toy;max-rate=0.0166666667"]
    assert world.stated == ["active;expires=600;max-rate=0.0166666667"]
    assert world.pair.wire.named("NOTIFY")[0].header("Event") == "toy"
    for word in (b"1", b"2", b"3"):
        world.pair.pass_seconds(10)
        world.offer(word)
    assert world.told == [b"hello"]
    world.pair.pass_seconds(30.1)
    assert world.told == [b"hello", b"3"]
    world.pair.pass_seconds(200)
    world.offer(b"4")
    assert world.told[-1] == b"4", "after a long silence it does not wait"


def test_no_two_pieces_of_news_come_faster_than_asked() -> None:
    world = World(Rate.every(7))
    world.changes(1.3, 300)
    assert min(world.gaps) >= 6.999
    assert len(world.times) > 300 / 9


def test_the_end_does_not_wait() -> None:
    world = World(EVERY_MINUTE)
    world.pair.pass_seconds(1)
    world.offer(b"news")
    world.notifier.happen(world.authority.subscriptions[-1], Input.REJECTED, world.pair.now)
    world.pair.turn()
    assert world.gaps == [1.0]
    assert world.stated[-1] == "terminated;reason=rejected"
    assert world.told[-1] == b"news", "the last word is the newest"
    assert any(isinstance(s, Terminated) for s in world.pair.reported[ALICE])


def test_an_answer_to_subscribe_does_not_wait() -> None:
    world = World(EVERY_MINUTE)
    world.pair.pass_seconds(1)
    world.offer(b"news")
    world.refresh()
    assert world.told == [b"hello", b"news"]


def test_the_decision_does_not_wait() -> None:
    world = World()
    world.authority.pending = True
    world.id = world.subscriber.subscribe(
        BOB_URI, ALICE_URI, "toy", world.pair.now, policy=TO_BOB, rate=EVERY_MINUTE
    )
    world.pair.turn()
    world.notifier.happen(world.authority.subscriptions[-1], Input.APPROVED, world.pair.now)
    world.pair.turn()
    assert world.told[-1] == b"hello"
    assert world.stated[-1] == "active;expires=600;max-rate=0.0166666667"


def test_the_slower_of_both_sides_is_kept_and_told() -> None:
    world = World(Rate(10.0), min_interval=5.0)
    assert world.stated == ["active;expires=600;max-rate=0.2"]
    assert world.subscriber.held_back(world.id, world.pair.now) == 5.0
    world.changes(1, 60)
    assert min(world.gaps) >= 5.0


def test_a_rate_that_is_loosened_is_told_with_the_next_refresh() -> None:
    world = World(Rate.every(5))
    world.set_rate(EVERY_MINUTE)
    assert len(world.events) == 1, "nobody needs it now"
    world.refresh()
    assert world.events[-1] == "toy;max-rate=0.0166666667"
    world.changes(3, 200)
    assert min(world.gaps[1:]) >= 59.9


@pytest.mark.parametrize("rate", [NO_RATE, Rate.every(2)], ids=str)
def test_a_rate_that_is_tightened_is_told_at_once_and_frees_what_waits(rate: Rate) -> None:
    world = World(EVERY_MINUTE, tagging=True)
    world.pair.pass_seconds(10)
    world.offer(b"news")
    assert world.told == [b"hello"]
    world.set_rate(rate)
    assert world.events[-1] == f"toy{rate}"
    assert world.told == [b"hello", b"news"]
    assert world.subscriber.held_back(world.id, world.pair.now) == rate.interval
    world.pair.pass_seconds(2)
    world.offer(b"more")
    assert world.told[-1] == b"more"


def test_a_quiet_refresh_changes_the_rate_too() -> None:
    """The watcher holds the newest; what comes later must not wait for the old turn."""
    world = World(EVERY_MINUTE, tagging=True)
    world.pair.pass_seconds(10)
    world.set_rate(NO_RATE)
    assert world.pair.wire.named("204 SUBSCRIBE")
    assert world.subscriber.held_back(world.id, world.pair.now) == 0.0
    world.offer(b"news")
    assert world.told == [b"hello", b"news"]
    assert world.stated[-1] == "active;expires=600", "and the rate is gone"


def test_a_rate_changed_while_a_subscribe_is_under_way_is_told_after_it() -> None:
    world = World(EVERY_MINUTE)
    world.pair.wire.latency = 0.05
    world.refresh()
    world.set_rate(NO_RATE)
    world.pair.pass_seconds(1)
    assert world.events[-1] == "toy"
    assert world.subscriber.held_back(world.id, world.pair.now) == 0.0


def test_a_rate_set_before_the_first_answer_counts() -> None:
    pair = Pair()
    pair.wire.latency = 0.05
    authority = ToyAuthority(pair.bob)
    Notifier(pair.bob, {"toy": TOY}, authority)
    subscriber = Subscriber(pair.alice, {"toy": TOY})
    id = subscriber.subscribe(BOB_URI, ALICE_URI, "toy", pair.now, policy=TO_BOB, rate=EVERY_MINUTE)
    pair.turn()
    subscriber.set_rate(id, NO_RATE, pair.now)
    pair.pass_seconds(1)
    assert [s.header("Event") for s in pair.wire.named("SUBSCRIBE")][-1] == "toy"


# --- min-rate and adaptive-min-rate


def test_without_news_the_whole_state_is_told_again_and_again() -> None:
    world = World(Rate(least=0.1))
    world.pair.pass_seconds(95)
    assert world.gaps == [10.0] * 9
    assert world.told == [b"hello"] * 10


def test_news_put_off_what_is_told_without_them() -> None:
    world = World(Rate(least=0.1))
    world.changes(4, 40)
    world.pair.pass_seconds(10)
    assert max(world.gaps) <= 10.0
    assert len(set(world.told[:-1])) == len(world.told) - 1, (
        "while there are news nothing comes twice"
    )


def test_a_subscribe_cannot_make_us_send_without_end() -> None:
    world = World(Rate(least=99.0))
    world.pair.pass_seconds(20)
    assert len(world.times) <= 21
    assert ";min-rate=1" in world.stated[0]


def test_least_and_most_hold_together() -> None:
    world = World(Rate(0.2, 0.1))
    world.changes(1, 50)
    world.pair.pass_seconds(50)
    assert min(world.gaps) >= 5.0 and max(world.gaps) <= 10.001


def test_pending_watchers_are_not_told_that_they_are_pending_all_the_time() -> None:
    world = World()
    world.authority.pending = True
    world.subscriber.subscribe(
        BOB_URI, ALICE_URI, "toy", world.pair.now, policy=TO_BOB, rate=Rate(least=0.1)
    )
    world.pair.turn()
    before = len(world.times)
    world.pair.pass_seconds(100)
    assert len(world.times) == before


def test_an_adaptive_rate_is_that_of_the_average() -> None:
    world = World(Rate(average=0.1))
    world.pair.pass_seconds(500)
    assert 45 <= len(world.times) <= 55, "without news it is the rate itself"
    world.changes(2, 100)
    news = len(world.times)
    world.pair.pass_seconds(15)
    assert len(world.times) == news, "after many news there is time"
    world.pair.pass_seconds(485)
    assert len(world.times) - news < 50


def test_pulses_end_with_the_subscription() -> None:
    world = World(Rate(least=0.5))
    world.subscriber.end(world.id, world.pair.now)
    world.pair.pass_seconds(40)
    count = len(world.times)
    world.pair.pass_seconds(100)
    assert len(world.times) == count
    assert world.pair.bob.next_timeout() is None


# --- bad wires, other peers, restarts


@pytest.mark.parametrize("seed", range(15))
def test_on_a_bad_wire_the_newest_state_arrives_in_time(seed: int) -> None:
    chances = random.Random(seed)
    world = World(Rate(0.2, 0.05))
    world.pair.wire.chance = lambda _: (
        chances.choice((0, 1, 1, 1, 2)),
        chances.choice((0, 0, 0.3)),
    )
    word = b""
    for n in range(20):
        word = b"%d" % n
        world.authority.word = word
        for subscription in list(world.notifier.subscriptions.values()):
            world.notifier.offer(subscription, world.pair.now)
        world.pair.pass_seconds(chances.choice((0.1, 1, 7)))
        if chances.random() < 0.2:
            world.set_rate(chances.choice((NO_RATE, Rate.every(5), Rate(0.5, 0.1))))
    world.pair.wire.chance = None
    world.pair.pass_seconds(700)
    assert world.told[-1] == word


def test_a_notifier_that_knows_no_rates_is_understood() -> None:
    pair = Pair()
    notifier = ScriptedNotifier(pair.bob, Answer(body=pidf()))
    subscriber = Subscriber(pair.alice, PACKAGES)
    id = subscriber.subscribe(
        BOB_URI, ALICE_URI, "presence", pair.now, policy=TO_BOB, rate=EVERY_MINUTE
    )
    pair.turn()
    for n in range(3):
        notifier.notify(pair.now, "active", pidf(id=f"t{n}"))
        pair.turn()
    assert len([s for s in pair.reported[ALICE] if isinstance(s, Notified)]) == 4
    assert subscriber.held_back(id, pair.now) == 0.0
    subscriber.set_rate(id, NO_RATE, pair.now)
    pair.turn()
    assert len(notifier.got) == 1, "nothing is held back, so nothing has to be freed"


def test_a_notifier_that_repeats_the_rate_in_event_is_understood() -> None:
    pair = Pair()
    notifier = ScriptedNotifier(pair.bob, Answer(notify=None))
    subscriber = Subscriber(pair.alice, PACKAGES)
    subscriber.subscribe(BOB_URI, ALICE_URI, "presence", pair.now, policy=TO_BOB, rate=EVERY_MINUTE)
    pair.turn()
    notifier.notify(pair.now, "active", pidf(), event="presence;max-rate=0.0166666667")
    pair.turn()
    assert notifier.responses == [200]


def test_our_notifier_without_rates_hears_of_none() -> None:
    world = World(EVERY_MINUTE, rate_control=False)
    world.offer(b"news")
    assert world.told == [b"hello", b"news"]
    assert world.stated == ["active;expires=600"] * 2
    world.refresh()
    assert len(world.told) == 3


def test_a_peer_that_must_not_be_asked_is_not() -> None:
    world = World(EVERY_MINUTE, policy=replace(TO_BOB, rate_control=False))
    assert world.events == ["toy"]
    world.set_rate(NO_RATE)
    world.refresh()
    assert world.events == ["toy", "toy"]


def test_the_id_of_an_event_still_tells_subscriptions_apart() -> None:
    world = World()
    dialog = world.subscriber.subscriptions[world.id].dialog
    assert dialog is not None
    for event, status in (("toy;id=9", 481), ("toy;max-rate=1", 200), ("toy", 200)):
        headers = [("Event", event), ("Expires", "600")]
        request = dialog.new_request("SUBSCRIBE", headers)
        seen: list[int] = []

        class Heard:
            def receive_response(self, response: object, now: float) -> None:
                seen.append(response.status)  # type: ignore[attr-defined]  # noqa: B023

            def request_failed(self, reason: str, now: float) -> None:
                raise AssertionError(reason)

        world.pair.alice.request_in_dialog(dialog, request, Heard(), world.pair.now)
        world.pair.turn()
        assert seen == [status]


def test_a_restored_notifier_keeps_the_rate() -> None:
    world = World(Rate(0.1, 0.05))
    stored = json.loads(json.dumps(world.authority.subscriptions[-1].snapshot(world.pair.now)))
    del world.pair.cores[BOB]
    world.pair.bob = world.pair.add(BOB)
    world.authority.ua = world.pair.bob
    world.notifier = world.new_notifier()
    world.authority.subscriptions.append(world.notifier.restore(stored, world.pair.now, elapsed=0))
    world.notifier.resume(world.pair.now)
    world.pair.pass_seconds(1)
    assert world.stated[-1].endswith(";max-rate=0.1;min-rate=0.05")
    world.changes(1, 30)
    world.pair.pass_seconds(60)
    assert min(world.gaps[1:]) >= 9.9 and max(world.gaps[1:]) <= 20.1


def test_snapshots_of_a_version_without_rates_are_taken_up() -> None:
    world = World()
    theirs = dict(world.authority.subscriptions[-1].snapshot(world.pair.now))
    del theirs["rate"]
    world.pair.bob = Pair().bob
    assert world.new_notifier().restore(theirs, 0.0, elapsed=0.0).pace is None


NAMED = replace(TO_BOB, name="bob")


def events_of(notifier: ScriptedNotifier) -> list[str]:
    return [str(i.request.headers.get("Event")) for i in notifier.got]


def test_a_notifier_that_takes_a_rate_for_another_package_is_asked_without() -> None:
    """As Kamailio, which answers 489; at the first SUBSCRIBE, and once only."""
    pair = Pair()
    notifier = ScriptedNotifier(pair.bob, Answer(489, notify=None), Answer(body=pidf()))
    subscriber = Subscriber(pair.alice, PACKAGES)
    for _ in range(2):
        id = subscriber.subscribe(
            BOB_URI, ALICE_URI, "presence", pair.now, policy=NAMED, rate=EVERY_MINUTE
        )
        pair.turn()
    assert events_of(notifier) == [f"presence{EVERY_MINUTE}", "presence", "presence"]
    assert id in subscriber.subscriptions
    assert len([s for s in pair.reported[ALICE] if isinstance(s, Notified)]) == 2


def test_in_a_dialog_too_and_nothing_is_lost_by_it() -> None:
    pair = Pair()
    notifier = ScriptedNotifier(
        pair.bob, Answer(body=pidf()), Answer(489, notify=None), Answer(body=pidf())
    )
    subscriber = Subscriber(pair.alice, PACKAGES)
    id = subscriber.subscribe(BOB_URI, ALICE_URI, "presence", pair.now, policy=NAMED)
    pair.turn()
    subscriber.set_rate(id, EVERY_MINUTE, pair.now)
    subscriber.refresh(id, pair.now)
    pair.turn()
    assert events_of(notifier) == ["presence", f"presence{EVERY_MINUTE}", "presence"]
    assert len({i.request.call_id for i in notifier.got}) == 1, "the dialog is still the same"
    assert not [s for s in pair.reported[ALICE] if isinstance(s, Terminated)]


def test_the_end_asks_for_no_rate() -> None:
    """A notifier that would refuse it must not keep the subscription because of that."""
    world = World(EVERY_MINUTE)
    world.subscriber.end(world.id, world.pair.now)
    world.pair.turn()
    assert world.events == [f"toy{EVERY_MINUTE}", "toy"]
    assert world.notifier.subscriptions == {}
