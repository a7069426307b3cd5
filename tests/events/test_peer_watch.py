"""A presence server that comes and goes, and what becomes of everything of ours that lived there."""

from dataclasses import replace

import pytest

from sipbridge.app.peers import tell
from sipbridge.events.budget import Budget
from sipbridge.events.peer_watch import (
    AT_ONCE,
    DEAF,
    INTERVAL,
    PATIENCE,
    SUSPECT_INTERVAL,
    PeerBack,
    PeerDeaf,
    PeerRecovered,
    PeerState,
    PeerSuspect,
    PeerWatch,
)
from sipbridge.events.presence_package import PIDF
from sipbridge.events.publisher import Publisher
from sipbridge.events.publisher import State as PublicationState
from sipbridge.events.registration import Registrant
from sipbridge.events.subscriber import State, Subscriber
from sipbridge.sip.address import NameAddr
from sipbridge.sip.policy import Credentials
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri
from tests.events.peers import (
    ALICE_URI,
    PACKAGES,
    TO_BOB,
    Answer,
    Reply,
    ScriptedCompositor,
    ScriptedNotifier,
    pidf,
)
from tests.harness.pair import ALICE, Answers, Outcome, Pair

RATE = 10.0
HOUR = 3600


class Remembering(ScriptedCompositor):
    """Knows the entity-tags it has given out; others get 412."""

    def __init__(self, ua: UserAgent) -> None:
        super().__init__(ua)
        self.tags: set[str] = set()
        self.challenge = False
        """Requests without credentials get 401."""

    def answer(self, incoming: ServerRequest, reply: Reply) -> None:
        if self.challenge and "Authorization" not in incoming.request.headers:
            asks = 'Digest realm="r", nonce="n", algorithm=MD5, qop="auth"'
            super().answer(incoming, Reply(401, [("WWW-Authenticate", asks)]))
            return
        asked = incoming.request.sip_if_match
        if asked is not None and asked not in self.tags:
            super().answer(incoming, Reply(412))
            return
        self.tags.discard(asked or "")
        self.tags.add(f"e{len(self.got)}")
        super().answer(incoming, reply)


class World:
    """Alice's bridge with so many publications and subscriptions at Bob's server."""

    def __init__(
        self, publications: int = 5, subscriptions: int = 5, interval: float = INTERVAL
    ) -> None:
        self.pair = Pair()
        core = self.pair.alice
        self.notifier = ScriptedNotifier(self.pair.bob, Answer(body=pidf()))
        self.compositor = Remembering(self.pair.bob)
        self.publisher, self.subscriber = Publisher(core, PACKAGES), Subscriber(core, PACKAGES)
        budget = Budget(core.identifiers.fraction, RATE)
        self.policy = replace(TO_BOB, name="bob", turns=budget, expires=HOUR)
        self.watch = PeerWatch(core, self.publisher, self.subscriber, self.policy, budget, interval)
        for number in range(publications):
            self.publish(number)
        for number in range(subscriptions):
            self.subscribe(number)
        self.told = 0
        self.settle()

    def publish(self, number: int, credentials: Credentials | None = None) -> str:
        made = self.publisher.publish(
            someone(number),
            someone(number),
            "presence",
            PIDF,
            pidf(),
            self.pair.now,
            policy=self.policy,
            credentials=credentials,
        )
        self.watch.used(self.pair.now)
        return made

    def subscribe(self, number: int) -> str:
        made = self.subscriber.subscribe(
            someone(number), ALICE_URI, "presence", self.pair.now, policy=self.policy
        )
        self.watch.used(self.pair.now)
        return made

    def settle(self) -> None:
        """As the application does: the watch hears what every indication says."""
        self.pair.turn()
        reported = self.pair.reported[ALICE]
        while self.told < len(reported):
            said = reported[self.told]
            self.told += 1
            tell(self.watch, said, self.pair.now)
            self.pair.turn()

    def pass_seconds(self, seconds: float) -> None:
        end = self.pair.now + seconds
        while (due := self.pair.next_moment()) is not None and due <= end:
            self.pair.pass_seconds(max(0.0, due - self.pair.now))
            self.settle()
        self.pair.pass_seconds(end - self.pair.now)
        self.settle()

    def away(self) -> None:
        """Nothing comes through any more."""
        self.pair.wire.chance = lambda data: (0, 0.0)

    def back(self, *, wiped: bool = False) -> None:
        """It answers again; wiped: and has forgotten everything."""
        self.pair.wire.chance = None
        if wiped:
            self.notifier.forget()
            self.compositor.tags.clear()

    def state(self) -> PeerState:
        return self.watch.state

    def said(self, kind: type[object]) -> list[object]:
        return self.pair.said_by(ALICE, kind)

    def sent(self, *methods: str, after: float = 0.0) -> list[float]:
        """When requests of these methods left, each try of each."""
        wire = self.pair.wire.sent
        return [
            o.at for o in wire if o.words & set(methods) and "request" in o.words and o.at >= after
        ]

    @property
    def whole(self) -> bool:
        """Is everything as it should be?"""
        states = [p.state for p in self.publisher.publications.values()]
        live = [s.state for s in self.subscriber.subscriptions.values()]
        return set(states) <= {PublicationState.PUBLISHED} and set(live) <= {State.ACTIVE}


def someone(number: int) -> Uri:
    return Uri.parse(f"sip:user{number}@example.com")


def in_any_second(times: list[float]) -> int:
    """The most of these moments that lie within one second."""
    return max(sum(start <= t < start + 1.0 for t in times) for start in times)


# --- probes


def test_a_server_is_probed_while_something_of_ours_lives_there() -> None:
    world = World(publications=1, subscriptions=0)
    world.pass_seconds(10 * INTERVAL)
    times = world.sent("OPTIONS")
    assert 9 <= len(times) <= 11
    assert world.state() is PeerState.UP
    world.publisher.remove(next(iter(world.publisher.publications)), world.pair.now)
    world.settle()
    world.pass_seconds(INTERVAL)  # the last one that was planned
    begun = world.pair.now
    world.pass_seconds(10 * INTERVAL)
    assert world.sent("OPTIONS", after=begun) == []


def test_nothing_is_probed_where_nothing_lives_or_nobody_wants_it() -> None:
    assert World(0, 0).pair.alice.next_timeout() is None
    world = World(1, 1, interval=0.0)
    world.pass_seconds(200.0)
    assert world.sent("OPTIONS") == []


def test_a_probe_goes_to_the_domain_by_the_way_of_other_requests() -> None:
    world = World(1, 0)
    world.pass_seconds(INTERVAL)
    probe = world.pair.wire.named("OPTIONS")[0]
    assert probe.first_line == "OPTIONS sip:example.com SIP/2.0"
    assert probe.flow.remote == ("192.0.2.2", 5060)
    assert probe.header("From").startswith("<sip:user0@example.com>")


@pytest.mark.parametrize("status", [200, 401, 403, 404, 405, 486, 500, 501])
def test_whatever_a_server_says_shows_that_it_is_there(status: int) -> None:
    world = World(1, 1)
    world.pair.bob.serve("OPTIONS", Answers(status))
    world.pass_seconds(5 * INTERVAL)
    assert world.state() is PeerState.UP
    assert world.said(PeerSuspect) == []


@pytest.mark.parametrize("status", [408, 503, 504])
def test_what_a_proxy_says_of_an_absent_server_is_no_answer(status: int) -> None:
    world = World(1, 1)
    world.pass_seconds(INTERVAL)
    world.pair.bob.serve("OPTIONS", Answers(status))
    world.pass_seconds(INTERVAL)
    assert world.state() is PeerState.SUSPECT
    assert world.said(PeerSuspect) == [PeerSuspect("bob", f"a probe got {status}")]


def test_a_server_that_wants_nothing_new_for_a_while_is_not_taken_for_away() -> None:
    world = World(1, 1)
    busy = Answers(503, headers=[("Retry-After", "300")])
    world.pair.bob.serve("MESSAGE", busy)
    sender = NameAddr(str(ALICE_URI))
    message = world.pair.alice.new_request("MESSAGE", someone(1), from_=sender, to=sender)
    world.pair.alice.request(message, Outcome(), world.pair.now, policy=world.policy)
    world.pass_seconds(5 * INTERVAL)
    assert len(busy.got) == 1 and len(world.sent("OPTIONS")) >= 5
    assert world.state() is PeerState.UP and world.said(PeerSuspect) == []


# --- away and back


def test_silence_is_noticed_within_a_probe_and_the_return_within_seconds() -> None:
    world = World()
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(INTERVAL + PATIENCE)
    assert world.state() is PeerState.SUSPECT
    world.pass_seconds(100.0)
    world.back()
    world.pass_seconds(4.0 + SUSPECT_INTERVAL)
    assert world.said(PeerBack) == [PeerBack("bob", 10)]


@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
def test_everything_is_right_again_after_an_outage(wiped: bool) -> None:
    world = World(publications=20, subscriptions=20)
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(30.0)
    world.back(wiped=wiped)
    back_at = world.pair.now
    notified = len(world.notifier.got)
    world.pass_seconds(20.0)
    assert world.state() is PeerState.UP
    assert world.whole
    assert world.said(PeerRecovered) == [PeerRecovered("bob", 40, 20 if wiped else 0)]
    assert len(world.notifier.got) - notified == 20  # who forgot the tags is not asked in dialogs
    assert len(world.compositor.tags) == 20
    times = world.sent("PUBLISH", "SUBSCRIBE", after=back_at)
    assert len(times) == {False: 40, True: 60}[wiped]
    assert in_any_second(times) <= 1.2 * RATE
    last_publish = max(world.sent("PUBLISH", after=back_at))
    first_subscribe = min(world.sent("SUBSCRIBE", after=back_at))
    assert last_publish < first_subscribe + 1.0  # watchers find what was published


def test_who_has_to_be_registered_is_registered_again_first() -> None:
    world = World(publications=5, subscriptions=5)
    world.pair.bob.serve("REGISTER", Answers(200))
    registrant = world.watch.registrant = Registrant(world.pair.alice)
    for number in range(3):
        registrant.register(someone(number), world.pair.now, policy=world.policy)
    registrant.register(someone(9), world.pair.now, policy=TO_BOB)  # elsewhere
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(30.0)
    world.back(wiped=True)
    back_at = world.pair.now
    world.pass_seconds(20.0)
    assert world.said(PeerBack) == [PeerBack("bob", 13)]
    registered = world.sent("REGISTER", after=back_at)
    assert len(registered) == 3
    assert max(registered) <= min(world.sent("PUBLISH", "SUBSCRIBE", after=back_at))


def test_registrations_do_not_hide_that_everything_else_is_forgotten() -> None:
    world = World(publications=10, subscriptions=20)
    world.pair.bob.serve("REGISTER", Answers(200))
    registrant = world.watch.registrant = Registrant(world.pair.alice)
    for number in range(30):
        registrant.register(someone(number), world.pair.now, policy=world.policy)
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(30.0)
    world.back(wiped=True)
    back_at = world.pair.now
    world.pass_seconds(30.0)
    assert world.said(PeerRecovered) == [PeerRecovered("bob", 60, 10)]
    assert world.whole
    assert len(world.sent("SUBSCRIBE", after=back_at)) == 20  # none was asked in a dialog before


def test_where_only_registrations_live_the_server_is_probed_too() -> None:
    world = World(publications=0, subscriptions=0)
    world.pair.bob.serve("REGISTER", Answers(200))
    world.watch.registrant = Registrant(world.pair.alice)
    world.watch.registrant.register(someone(1), world.pair.now, policy=world.policy)
    world.watch.used(world.pair.now)
    world.pass_seconds(100.0)
    assert 8 <= len(world.sent("OPTIONS")) <= 12


def test_a_status_changed_meanwhile_arrives_afterwards() -> None:
    world = World(publications=1, subscriptions=0)
    (id,) = world.publisher.publications
    world.pass_seconds(INTERVAL)
    world.away()
    world.publisher.modify(id, PIDF, pidf("closed"), world.pair.now)
    world.pass_seconds(40.0)  # longer than timer F
    world.back(wiped=True)
    world.pass_seconds(20.0)
    assert world.whole
    assert world.compositor.story[-1][2] == pidf("closed")


def test_a_server_that_falls_again_while_it_recovers_is_recovered_later() -> None:
    world = World(publications=0, subscriptions=100)
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(20.0)
    world.back(wiped=True)
    world.pass_seconds(6.0)
    assert world.state() is PeerState.RECOVERING
    world.away()
    world.pass_seconds(INTERVAL + PATIENCE)
    assert world.state() is PeerState.SUSPECT
    world.pass_seconds(60.0)
    world.back(wiped=True)
    world.pass_seconds(60.0)
    assert world.state() is PeerState.UP and world.whole


def test_requests_repeated_with_credentials_are_within_the_budget_too() -> None:
    """A server that has lost its state has lost its nonces: every user of ours is challenged again."""
    world = World(publications=0, subscriptions=0)
    world.policy = replace(world.policy, expires=HOUR)
    world.compositor.replies = [Reply()]
    for number in range(30):
        world.publish(number, Credentials(f"user{number}", "secret"))
    world.settle()
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(20.0)
    world.back()
    world.compositor.challenge = True
    back_at = world.pair.now
    world.pass_seconds(30.0)
    assert world.watch.state is PeerState.UP and world.whole
    times = world.sent("PUBLISH", after=back_at)
    assert len(times) == 60
    assert in_any_second(times) <= 1.3 * RATE


# --- what is forgotten, what cannot be sent


def test_a_dialog_that_is_forgotten_has_everything_refreshed() -> None:
    """A restart so quick that no probe saw it."""
    world = World(publications=10, subscriptions=10)
    world.pass_seconds(INTERVAL)
    world.back(wiped=True)
    world.subscriber.refresh(next(iter(world.subscriber.subscriptions)), world.pair.now)
    world.pass_seconds(15.0)
    assert world.said(PeerSuspect) == [PeerSuspect("bob", "it has forgotten something")]
    assert world.whole and len(world.compositor.tags) == 10


def test_an_entity_tag_that_is_forgotten_has_everything_refreshed() -> None:
    world = World(publications=10, subscriptions=10)
    world.pass_seconds(INTERVAL)
    world.back(wiped=True)
    world.publisher.refresh(next(iter(world.publisher.publications)), world.pair.now)
    world.pass_seconds(15.0)
    assert world.said(PeerSuspect) == [PeerSuspect("bob", "it has forgotten something")]
    assert world.whole and len(world.compositor.tags) == 10


def test_what_went_out_again_for_a_forgotten_entity_tag_is_not_refreshed_besides() -> None:
    world = World(publications=3, subscriptions=0)
    world.pass_seconds(INTERVAL)
    first = next(iter(world.publisher.publications.values()))
    world.compositor.tags.discard(first.etag)
    world.publisher.refresh(first.id, world.pair.now)
    world.settle()
    world.pass_seconds(15.0)
    assert world.said(PeerRecovered) == [PeerRecovered("bob", 2, 1)]
    sent = [
        (i.request.call_id == first.call_id, len(i.request.body) > 0) for i in world.compositor.got
    ]
    assert sent[3:5] == [(True, False), (True, True)]
    assert sent[5:] == [(False, False), (False, False)]


def test_one_dialog_that_is_forgotten_again_and_again_costs_less_and_less() -> None:
    world = World(publications=0, subscriptions=30)
    world.pass_seconds(INTERVAL)
    first = next(iter(world.subscriber.subscriptions))
    for _ in range(4 * 60):
        call_id = world.subscriber.call_id(first)
        (dialog,) = [d for d in world.notifier.dialogs if d.call_id == call_id]
        world.pair.bob.remove_dialog(dialog)
        world.subscriber.refresh(first, world.pair.now)
        world.pass_seconds(60.0)
    recoveries = len(world.said(PeerRecovered))
    assert 3 <= recoveries <= 11, recoveries  # after 1, 3, 7, 15, 31, 63 minutes, then each hour
    assert world.whole


def test_an_error_of_the_transport_has_the_server_probed() -> None:
    world = World(publications=1, subscriptions=3)
    world.pass_seconds(INTERVAL)
    world.pair.refused.add(("udp", ("192.0.2.2", 5060)))
    world.publisher.refresh(next(iter(world.publisher.publications)), world.pair.now)
    world.settle()
    world.pass_seconds(0.1)
    assert world.state() is PeerState.SUSPECT  # the probe could not leave either
    world.pair.refused.clear()
    world.pass_seconds(10.0)
    assert world.state() is PeerState.UP and world.whole


def dead_end(world: World) -> str:
    """A subscription whose dialog leads where nobody is; returns its id."""
    id = next(iter(world.subscriber.subscriptions))
    dialog = world.subscriber.subscriptions[id].dialog
    assert dialog is not None
    dialog.remote_target = "sip:bob@192.0.2.9:5060"
    dialog.flow = None
    world.pair.refused |= {("udp", ("192.0.2.9", 5060)), ("tcp", ("192.0.2.9", 5060))}
    return id


def test_a_dialog_that_leads_nowhere_is_no_outage_and_is_made_anew() -> None:
    world = World(publications=2, subscriptions=10)
    world.pass_seconds(INTERVAL)
    id = dead_end(world)
    before = world.subscriber.call_id(id)
    begun = world.pair.now
    world.subscriber.refresh(id, begun)
    world.pass_seconds(16 * 60.0)
    assert world.said(PeerSuspect) == []
    assert (
        len(world.sent("SUBSCRIBE", "PUBLISH", after=begun)) == 1
    )  # what was refused is not counted
    assert world.subscriber.call_id(id) != before and world.whole


def test_without_probes_a_dialog_that_leads_nowhere_is_made_anew_too() -> None:
    world = World(publications=2, subscriptions=10, interval=0.0)
    id = dead_end(world)
    world.subscriber.refresh(id, world.pair.now)
    world.pass_seconds(60.0)
    assert world.said(PeerSuspect) == [] and world.whole


def test_a_dialog_that_leads_nowhere_does_not_end_a_recovery() -> None:
    world = World(publications=2, subscriptions=10)
    world.pass_seconds(INTERVAL)
    dead_end(world)
    world.away()
    world.pass_seconds(30.0)
    world.back()
    world.pass_seconds(60.0)
    assert len(world.said(PeerSuspect)) == len(world.said(PeerRecovered)) == 1
    assert world.whole


def test_one_request_without_an_answer_is_no_outage() -> None:
    world = World(publications=1, subscriptions=3)
    world.pass_seconds(INTERVAL)
    world.compositor.replies = [Reply(0), Reply()]
    world.publisher.refresh(next(iter(world.publisher.publications)), world.pair.now)
    world.pass_seconds(40.0)
    assert world.said(PeerSuspect) == []


def refuse(world: World, status: int) -> None:
    """A subscription is refreshed, and gets this answer once."""
    world.notifier.answers = [Answer(status), Answer(body=pidf())]
    world.subscriber.refresh(next(iter(world.subscriber.subscriptions)), world.pair.now)
    world.settle()


@pytest.mark.parametrize("status", [408, 503, 504])
def test_a_request_that_nobody_serves_is_probed_after_at_once(status: int) -> None:
    world = World(publications=1, subscriptions=1)
    world.pass_seconds(3.0)
    begun = world.pair.now
    refuse(world, status)
    world.pass_seconds(0.1)
    assert len(world.sent("OPTIONS", after=begun)) == 1
    assert world.said(PeerSuspect) == []


def test_a_request_that_nobody_serves_and_a_probe_too_make_a_server_suspect() -> None:
    world = World(publications=1, subscriptions=1)
    world.pair.bob.serve("OPTIONS", Answers(503))
    world.pass_seconds(3.0)
    refuse(world, 503)
    world.pass_seconds(0.1)
    assert world.said(PeerSuspect) == [PeerSuspect("bob", "a probe got 503")]


def test_without_probes_one_request_that_nobody_serves_is_passed_over() -> None:
    world = World(publications=1, subscriptions=1, interval=0.0)
    refuse(world, 503)
    world.pass_seconds(3.0)
    assert world.said(PeerSuspect) == [] and world.state() is PeerState.UP


@pytest.mark.parametrize("status", [0, 503])
def test_where_nothing_lives_the_last_word_counts(status: int) -> None:
    world = World(publications=0, subscriptions=0)
    world.notifier.answers = [Answer(status), Answer()]
    world.subscriber.subscribe(
        someone(0), ALICE_URI, "presence", world.pair.now, policy=world.policy, keep_trying=False
    )
    world.settle()
    world.pass_seconds(40.0)
    assert not world.subscriber.subscriptions
    assert world.state() is PeerState.SUSPECT
    world.subscribe(0)
    world.settle()
    world.pass_seconds(1.0)
    assert world.state() is PeerState.UP


def test_a_server_that_answers_everything_but_options_is_not_probed_any_more() -> None:
    world = World(publications=1, subscriptions=3)
    world.pair.bob.serve("OPTIONS", Answers(0))
    for _ in range(DEAF):
        world.pass_seconds(32.0 + INTERVAL + PATIENCE)  # a probe in flight is waited for
        assert world.state() is PeerState.SUSPECT
        world.publisher.refresh(next(iter(world.publisher.publications)), world.pair.now)
        world.pass_seconds(2.0)
    assert world.said(PeerDeaf) == [PeerDeaf("bob")]
    world.pass_seconds(60.0)
    begun = world.pair.now
    world.pass_seconds(600.0)
    assert world.sent("OPTIONS", after=begun) == []
    assert world.state() is PeerState.UP and world.whole


def test_without_probes_the_failures_and_answers_of_requests_decide() -> None:
    world = World(publications=1, subscriptions=9, interval=0.0)
    world.away()
    world.publisher.refresh(next(iter(world.publisher.publications)), world.pair.now)
    world.pass_seconds(40.0)
    assert world.state() is PeerState.SUSPECT
    world.back(wiped=True)
    world.pass_seconds(80.0)  # the publication is tried again by itself
    assert world.state() is PeerState.UP and world.whole


def test_what_is_tried_again_takes_its_turn_even_if_nobody_noticed_an_outage() -> None:
    world = World(publications=0, subscriptions=60, interval=0.0)
    world.pass_seconds(1.0)
    begun = world.pair.now
    for dialog in list(world.notifier.dialogs):
        world.notifier.notify(world.pair.now, "terminated;reason=deactivated", dialog=dialog)
    world.pass_seconds(15.0)
    times = world.sent("SUBSCRIBE", after=begun)
    assert len(times) == 60 and world.whole
    assert in_any_second(times) <= 1.2 * RATE


def test_a_server_that_is_slow_to_answer_is_not_given_more_than_it_can_take() -> None:
    world = World(publications=0, subscriptions=60)
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(20.0)
    world.back()
    world.notifier.answers = [Answer(0)]  # it answers OPTIONS, and nothing else yet
    back_at = world.pair.now
    world.pass_seconds(6.0)
    first = {s.header("Call-ID") for s in world.pair.wire.named("SUBSCRIBE") if s.at >= back_at}
    assert world.watch.state is PeerState.RECOVERING
    assert len(first) <= 2 * AT_ONCE * RATE  # and not sixty
    world.notifier.answers = [Answer(body=pidf())]
    world.pass_seconds(60.0)
    assert world.state() is PeerState.UP and world.whole


def test_what_applications_publish_while_nobody_is_there_waits_for_no_turn() -> None:
    """Five PUBLISHs wait for their answers; all are told that their entity-tags are forgotten."""
    world = World(publications=60, subscriptions=0)
    world.pass_seconds(INTERVAL)
    world.away()
    world.pass_seconds(10.0)
    waited_for = list(world.publisher.publications)[-5:]
    for id in waited_for:
        world.publisher.modify(id, PIDF, pidf("closed"), world.pair.now, "t1")
    world.pass_seconds(1.0)
    world.back(wiped=True)
    back_at = world.pair.now
    world.pass_seconds(60.0)
    initial = [
        s
        for s in world.pair.wire.named("PUBLISH")
        if s.at >= back_at and not s.header("SIP-If-Match")
    ]
    closed = [s.at for s in initial if b"closed" in s.data]
    others = [s.at for s in initial if b"closed" not in s.data]
    assert (len(closed), len(others)) == (5, 55) and world.whole
    assert max(closed) <= back_at + 4.0  # the longest pause between copies of a request
    assert in_any_second(others) <= 1.2 * RATE
    assert max(others) > back_at + 60 / RATE  # and they have waited for those five, too
    assert len(world.compositor.tags) == 60
