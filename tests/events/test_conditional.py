"""RFC 5839 on a pair of cores: what a watcher holds is not told again, and nothing else is left out."""

import json
import random
from dataclasses import replace

import pytest

from sipbridge.events.conditional import condition, entity_tag, holds
from sipbridge.events.notifier import Input, Notifier
from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PIDF
from sipbridge.events.subscriber import Accepted, Notified, Subscriber, Terminated
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


class World:
    """A subscriber of ours and a notifier of ours."""

    def __init__(self, *, entity_tags: bool = True, policy: PeerPolicy = TO_BOB) -> None:
        self.pair = Pair()
        self.policy = policy
        self.authority = ToyAuthority(self.pair.bob)
        self.authority.tagging = True
        self.notifier = self.new_notifier(entity_tags)
        self.subscriber = Subscriber(self.pair.alice, {"toy": TOY})
        self.id = ""

    def new_notifier(self, entity_tags: bool = True) -> Notifier:
        return Notifier(self.pair.bob, {"toy": TOY}, self.authority, entity_tags=entity_tags)

    def subscribe(self) -> "World":
        self.id = self.subscriber.subscribe(
            BOB_URI, ALICE_URI, "toy", self.pair.now, policy=self.policy
        )
        self.pair.turn()
        return self

    def refresh(self, *, conditional: bool = True) -> None:
        self.subscriber.refresh(self.id, self.pair.now, conditional=conditional)
        self.pair.turn()

    def end(self) -> None:
        self.subscriber.end(self.id, self.pair.now)
        self.pair.turn()

    def offer(self, word: bytes) -> None:
        self.authority.word = word
        self.notifier.offer(self.authority.subscriptions[-1], self.pair.now)
        self.pair.turn()

    def lose_memory(self) -> None:
        """The notifier forgets its dialogs; what they are about is still there."""
        for subscription in list(self.notifier.subscriptions.values()):
            self.notifier.forget(subscription)

    @property
    def told(self) -> list[tuple[str, bytes, bool]]:
        return [
            (n.state, n.body, n.is_unchanged)
            for n in self.pair.reported[ALICE]
            if isinstance(n, Notified)
        ]

    @property
    def accepted(self) -> list[Accepted]:
        return [a for a in self.pair.reported[ALICE] if isinstance(a, Accepted)]

    @property
    def conditions(self) -> list[str]:
        return [one.header("Suppress-If-Match") for one in self.pair.wire.named("SUBSCRIBE")]

    @property
    def answers(self) -> list[str]:
        return [
            s.first_line.split()[1]
            for s in self.pair.wire.named("response")
            if "SUBSCRIBE" in s.header("CSeq")
        ]


HELLO = entity_tag("application/x-toy", b"hello")


def test_a_tag_is_a_token_that_tells_contents_apart() -> None:
    assert HELLO.isalnum()
    assert len({HELLO, entity_tag("text/plain", b"hello"), entity_tag("text/plain", b"x")}) == 3
    assert holds("*", HELLO) and holds(HELLO, HELLO)
    assert not holds("", HELLO) and not holds("*", "") and not holds("other", HELLO)


# --- refresh


def test_a_refresh_without_news_is_one_204_and_no_notify() -> None:
    world = World().subscribe()
    world.refresh()
    assert world.conditions == ["", HELLO]
    assert world.answers == ["200", "204"]
    assert world.told == [("active", b"hello", False)]
    (quiet,) = world.pair.wire.named("204")
    assert quiet.header("Expires") == "600" and quiet.header("Contact")


def test_a_day_of_quiet_refreshes_keeps_it_alive_on_both_sides() -> None:
    world = World().subscribe()
    world.pair.pass_seconds(86_400)
    assert len(world.pair.wire.named("NOTIFY")) == 1
    assert world.answers.count("204") > 86_400 / 600
    world.offer(b"news")
    assert world.told[-1] == ("active", b"news", False)


def test_a_refresh_with_news_brings_them() -> None:
    world = World().subscribe()
    world.authority.word = b"news"  # it does not offer it by itself
    world.refresh()
    assert world.answers == ["200", "200"]
    assert world.told[-1] == ("active", b"news", False)
    world.refresh()
    assert world.answers[-1] == "204"
    assert world.conditions[-1] == entity_tag("application/x-toy", b"news")


def test_who_lost_the_body_asks_without_condition() -> None:
    world = World().subscribe()
    world.refresh(conditional=False)
    assert world.conditions == ["", ""]
    assert world.told == [("active", b"hello", False)] * 2
    world.refresh()
    assert world.conditions[-1] == HELLO


def test_a_204_that_is_lost_is_sent_again() -> None:
    world = World().subscribe()
    world.pair.wire.drop_next("204")
    world.refresh()
    world.pair.pass_seconds(1)
    assert world.answers == ["200", "204", "204"]
    assert len(world.told) == 1
    world.pair.pass_seconds(40)  # timer N has nothing to complain of
    assert not [s for s in world.pair.reported[ALICE] if isinstance(s, Terminated)]


def test_news_under_way_during_a_quiet_refresh_are_not_lost() -> None:
    """The watcher refreshes with the tag of A while B is under way and the state is A again."""
    world = World().subscribe()
    world.pair.wire.delay_next("NOTIFY", 0.2)
    world.offer(b"news")
    world.offer(b"hello")
    world.refresh()
    assert world.answers[-1] == "204"
    world.pair.pass_seconds(1)
    assert [body for _, body, _ in world.told] == [b"hello", b"news", b"hello"]


@pytest.mark.parametrize("seed", range(25))
def test_on_a_bad_wire_the_watcher_ends_with_the_newest_state(seed: int) -> None:
    chances = random.Random(seed)
    world = World()
    world.pair.wire.chance = lambda _: (
        chances.choice((0, 1, 1, 1, 2)),
        chances.choice((0, 0, 0.3)),
    )
    world.subscribe()
    word = b"hello"
    for n in range(12):
        world.pair.pass_seconds(chances.choice((0.1, 5, 200)))
        if chances.random() < 0.5:
            word = chances.choice((b"hello", b"news", b"%d" % n))
            world.authority.word = word
            for subscription in list(world.notifier.subscriptions.values()):
                world.notifier.offer(subscription, world.pair.now)
        else:
            world.refresh()
    world.pair.wire.chance = None
    world.pair.pass_seconds(1300)
    bodies = [body for _, body, unchanged in world.told if not unchanged]
    assert [b for b in bodies if b][-1] == word
    assert b"" not in bodies, "an empty body that is not said to be the old one"
    world.end()
    world.pair.pass_seconds(40)
    assert world.subscriber.subscriptions == {} and world.notifier.subscriptions == {}


# --- a new dialog


def test_after_the_loss_of_a_dialog_the_notify_comes_without_the_body_we_hold() -> None:
    world = World().subscribe()
    world.lose_memory()
    world.refresh()  # 481, and a new SUBSCRIBE
    world.pair.pass_seconds(5)
    assert world.conditions[-1] == HELLO
    assert world.told == [("active", b"hello", False), ("active", b"", True)]
    assert world.pair.wire.named("NOTIFY")[-1].header("SIP-ETag") == HELLO
    assert world.pair.wire.named("NOTIFY")[-1].header("Content-Type") == ""
    world.offer(b"news")
    assert world.told[-1] == ("active", b"news", False)


def test_after_the_loss_of_a_dialog_news_come_whole() -> None:
    world = World().subscribe()
    world.lose_memory()
    world.authority.word = b"news"
    world.refresh()
    world.pair.pass_seconds(5)
    assert world.told[-1] == ("active", b"news", False)


def test_a_notify_without_body_that_is_lost_comes_again() -> None:
    world = World().subscribe()
    world.lose_memory()
    world.pair.wire.drop_next("NOTIFY")
    world.refresh()
    world.pair.pass_seconds(5)
    assert world.told[-1] == ("active", b"", True)


def test_back_to_pending_is_told_and_is_not_the_old_state() -> None:
    world = World().subscribe()
    world.lose_memory()
    world.authority.pending = True
    world.refresh()
    world.pair.pass_seconds(5)
    assert world.conditions[-1] == HELLO
    assert world.told[-1] == ("pending", b"", False)
    world.notifier.happen(world.authority.subscriptions[-1], Input.APPROVED, world.pair.now)
    world.pair.turn()
    assert world.told[-1] == ("active", b"hello", False), "whoever was pending is told all"


def test_parts_of_a_state_are_not_held_in_a_new_dialog() -> None:
    world = World()
    partial = replace(TOY, whole_states=())
    world.subscriber.packages = {"toy": partial}
    world.subscribe()
    world.pair.pass_seconds(580)
    assert world.answers[-1] == "204", "within the dialog they are"
    world.refresh()
    assert world.answers[-1] == "200", "unless somebody asks anew"
    world.lose_memory()
    world.refresh()
    world.pair.pass_seconds(5)
    assert world.conditions[-1] == ""
    assert world.told[-1] == ("active", b"hello", False)


def test_a_204_says_that_the_last_body_still_holds() -> None:
    world = World().subscribe()
    world.refresh()
    assert [a.is_unchanged for a in world.accepted] == [False, True]
    world.offer(b"news")
    world.authority.word = b"more"
    world.refresh()
    assert [a.is_unchanged for a in world.accepted] == [False, True, False]


def test_a_204_to_who_asked_nothing_says_nothing_about_the_body() -> None:
    world = Scripted(Answer(body=pidf()), Answer(204, notify=None))
    world.refresh()
    said = [s for s in world.pair.reported[ALICE] if isinstance(s, Accepted)]
    assert [a.is_unchanged for a in said] == [False, False]


# --- the end


def test_an_end_is_two_messages() -> None:
    world = World().subscribe()
    world.end()
    assert world.conditions == ["", "*"]
    assert world.answers == ["200", "204"]
    assert len(world.pair.wire.named("NOTIFY")) == 1
    assert world.notifier.subscriptions == {} and world.pair.bob.dialogs == {}
    assert world.subscriber.subscriptions == {} and world.pair.alice.dialogs == {}
    ends = [s for s in world.pair.reported[ALICE] if isinstance(s, Terminated)]
    assert [(e.reason, e.will_retry) for e in ends] == [("timeout", False)]
    assert world.authority.steps[-1] == ("terminated", Input.UNSUBSCRIBED)


def test_an_end_while_a_notify_is_in_flight_is_the_end() -> None:
    world = World().subscribe()
    world.pair.wire.delay_next("NOTIFY", 0.3)
    world.offer(b"news")
    world.end()
    world.pair.pass_seconds(40)
    assert world.notifier.subscriptions == {} and world.subscriber.subscriptions == {}
    assert world.pair.bob.dialogs == {} and world.pair.alice.dialogs == {}
    assert len({n.header("CSeq") for n in world.pair.wire.named("NOTIFY")}) == 2, "no last NOTIFY"


def test_a_quiet_end_waits_for_its_commit() -> None:
    world = World().subscribe()
    world.authority.storing, world.pair.commit_at_once = True, False
    world.end()
    assert world.answers == ["200"]
    core, number, _ = world.pair.stored[-1]
    core.committed(number, world.pair.now)
    world.pair.turn()
    assert world.answers == ["200", "204"]
    assert world.notifier.subscriptions == {} and world.subscriber.subscriptions == {}


def test_a_quiet_end_that_cannot_be_stored_is_a_loud_one() -> None:
    world = World().subscribe()
    world.authority.storing, world.pair.commit_at_once = True, False
    world.end()
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.answers == ["200", "500"]
    assert world.told[-1][0] == "active"
    assert world.pair.wire.named("NOTIFY")[-1].header("Subscription-State").startswith("terminated")
    assert world.notifier.subscriptions == {}


# --- peers that do not know it


def test_a_notifier_without_tags_never_hears_of_it() -> None:
    world = World(entity_tags=False).subscribe()
    world.refresh()
    world.end()
    assert world.conditions == ["", "", ""]
    assert world.answers == ["200", "200", "200"]
    assert len(world.pair.wire.named("NOTIFY")) == 3
    assert not any(one.header("SIP-ETag") for one in world.pair.wire.sent)


def test_a_watcher_that_does_not_ask_is_served_as_before() -> None:
    world = World(policy=replace(TO_BOB, conditional=False)).subscribe()
    world.refresh()
    world.end()
    assert world.conditions == ["", "", ""]
    assert [body for _, body, _ in world.told] == [b"hello", b"hello"]
    assert len(world.pair.wire.named("NOTIFY")) == 3


class Scripted:
    """Our subscriber beside a notifier that does as it is told."""

    def __init__(self, *answers: Answer) -> None:
        self.pair = Pair()
        self.notifier = ScriptedNotifier(self.pair.bob, *answers)
        self.subscriber = Subscriber(self.pair.alice, PACKAGES)
        self.id = self.subscriber.subscribe(
            BOB_URI, ALICE_URI, "presence", self.pair.now, policy=TO_BOB
        )
        self.pair.turn()

    def refresh(self) -> None:
        self.subscriber.refresh(self.id, self.pair.now, conditional=True)
        self.pair.turn()

    def notify(self, body: bytes = b"", etag: str = "", state: str = "active") -> None:
        self.notifier.notify(self.pair.now, state, body, etag=etag)
        self.pair.turn()

    @property
    def conditions(self) -> list[str]:
        return [condition(i.request) for i in self.notifier.got]

    @property
    def told(self) -> list[tuple[bytes, bool]]:
        found = [s for s in self.pair.reported[ALICE] if isinstance(s, Notified)]
        return [(n.body, n.is_unchanged) for n in found]

    @property
    def alive(self) -> bool:
        return self.id in self.subscriber.subscriptions and not any(
            isinstance(s, Terminated) for s in self.pair.reported[ALICE]
        )


def test_a_notifier_that_has_tags_and_ignores_the_condition_is_understood() -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"))
    world.refresh()
    assert world.conditions == ["", "e1"]
    assert world.told == [(pidf(), False)] * 2
    world.subscriber.end(world.id, world.pair.now)
    world.pair.turn()
    assert world.conditions[-1] == "*"
    assert world.subscriber.subscriptions == {}


def test_a_204_of_a_foreign_notifier_is_no_wait_for_a_notify() -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"), Answer(204, notify=None, expires=1000))
    world.refresh()
    world.pair.pass_seconds(40)
    assert world.alive
    world.pair.pass_seconds(1000)
    assert len(world.notifier.got) == 3, "refreshed in the time that the 204 granted"


def test_a_204_that_nobody_asked_for_ends_nothing_either() -> None:
    world = Scripted(Answer(body=pidf()), Answer(204, notify=None))
    world.refresh()
    world.pair.pass_seconds(40)
    assert world.alive and world.told == [(pidf(), False)]


def test_a_204_outside_a_dialog_promises_nothing() -> None:
    """§7.1: it is valid only in a dialog; without NOTIFY there is no subscription."""
    world = Scripted(Answer(204, notify=None))
    world.pair.pass_seconds(33)
    assert [s for s in world.pair.reported[ALICE] if isinstance(s, Terminated)]


@pytest.mark.parametrize("status", [400, 403, 420, 500])
def test_a_notifier_that_chokes_on_the_condition_is_asked_without(status: int) -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"), Answer(status, notify=None), Answer())
    world.refresh()
    world.pair.pass_seconds(3600)
    assert world.conditions[:3] == ["", "e1", ""]
    assert world.alive


def test_an_empty_notify_is_no_news_and_nothing_to_hold() -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"))
    world.notify(etag="e2")
    assert world.told[-1] == (b"", False)
    world.refresh()
    assert world.conditions[-1] == "", "of e2 we have no body, and e1 is over"


def test_an_empty_notify_with_our_tag_that_we_did_not_ask_for_says_nothing() -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"))
    world.notify(etag="e1")
    assert world.told[-1] == (b"", False)


def test_a_body_without_tag_ends_the_holding() -> None:
    world = Scripted(Answer(body=pidf(), etag="e1"))
    world.notify(pidf("closed"))
    world.refresh()
    assert world.conditions[-1] == ""


def test_what_an_end_says_is_not_held() -> None:
    """Its body is not shown to anybody, so the state after the end has to come whole."""
    world = Scripted(Answer(body=pidf(), etag="e1"))
    world.notify(pidf("closed"), "e2", "terminated;reason=deactivated")
    world.pair.pass_seconds(5)
    assert world.conditions[-1] == "e1"


def test_a_tag_that_is_no_token_comes_back_as_it_was() -> None:
    world = Scripted(Answer(body=pidf(), etag='"a b"'))
    world.refresh()
    assert world.conditions[-1] == '"a b"'


# --- other watchers


def test_a_raw_star_in_a_first_subscribe_brings_the_notify_without_body() -> None:
    world = World(policy=replace(TO_BOB, extra_headers=(("Suppress-If-Match", "*"),))).subscribe()
    assert world.told == [("active", b"", False)]
    assert world.pair.wire.named("NOTIFY")[0].header("SIP-ETag") == HELLO
    world.offer(b"news")
    assert world.told[-1] == ("active", b"news", False)


def test_a_condition_that_waits_with_its_notify_is_compared_when_it_leaves() -> None:
    world = World(policy=replace(TO_BOB, extra_headers=(("Suppress-If-Match", HELLO),)))
    world.authority.storing, world.pair.commit_at_once = True, False
    world.subscribe()
    world.authority.word = b"news"
    core, number, _ = world.pair.stored[-1]
    core.committed(number, world.pair.now)
    world.pair.turn()
    assert world.told == [("active", b"news", False)]


# --- snapshots


def test_a_restored_notifier_knows_what_its_watcher_holds() -> None:
    """The tag is that of the content, so it says the same in the next life."""
    world = World()
    world.authority.storing = True
    world.subscribe()
    stored = json.loads(json.dumps(world.authority.subscriptions[-1].snapshot(world.pair.now)))
    del world.pair.cores[BOB]
    world.pair.bob = world.pair.add(BOB)
    world.authority.ua = world.pair.bob
    world.notifier = world.new_notifier()
    world.authority.subscriptions.append(world.notifier.restore(stored, world.pair.now, elapsed=0))
    world.refresh()
    assert world.answers[-1] == "204"
    world.notifier.resume(world.pair.now)
    world.pair.pass_seconds(1)
    assert world.told[-1] == ("active", b"hello", False), "after a restart everybody is told"


def test_presence_is_a_whole_state() -> None:
    assert PIDF in PACKAGES["presence"].whole_states
