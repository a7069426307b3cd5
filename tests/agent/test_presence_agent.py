"""The agent as its peers see it: presence, permissions, winfo, restart."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from sipbridge.agent import publications
from sipbridge.agent.ports import (
    PublicationRemoved,
    PublicationStored,
    Record,
    SubscriptionRemoved,
    SubscriptionStored,
)
from sipbridge.agent.presence_agent import AgentLimits, NotRestored
from sipbridge.agent.publications import NotShown
from sipbridge.errors import DocumentError
from sipbridge.identities import PresentityKey
from sipbridge.presence import pidf
from sipbridge.presence.filtering import apply
from sipbridge.presence.lists import Entry
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import (
    EVERYTHING,
    Conditions,
    Period,
    Permission,
    Provide,
    Rule,
    RuleSet,
    Transformations,
)
from sipbridge.sip.flow import Flow
from sipbridge.sip.message import Request
from sipbridge.sip.nat import Nat
from sipbridge.sip.parser import parse_datagram
from sipbridge.uri import Uri
from tests.agent.world import (
    ALLOW,
    BLOCK,
    CAROL,
    CONFIRM,
    DAVE,
    ERIN,
    KEY,
    POLITE_BLOCK,
    AgentWorld,
    document,
    with_flow,
)
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE, BOB

PERSON = (
    '<dm:person id="p1"><r:activities><r:busy/></r:activities>'
    "<r:sphere><r:work/></r:sphere></dm:person>"
)
ACTIVITIES_ONLY = Transformations(
    EVERYTHING.services, EVERYTHING.persons, EVERYTHING.devices, frozenset({Provide.ACTIVITIES})
)


# --- presence -------------------------------------------------------------------------------------------


def test_a_watcher_is_told_of_every_change() -> None:
    world = AgentWorld()
    watching = world.watch()
    publication = world.publish(document("open"))
    world.modify(publication, document("closed"))
    world.remove(publication)
    assert world.states(watching) == ["active"] * 4
    assert world.notified(watching)[0].body == b""
    assert [b"open" in n.body for n in world.notified(watching)] == [False, True, False, False]
    assert world.basics(watching) == ["closed"]


def test_who_comes_later_is_told_at_once() -> None:
    world = AgentWorld()
    world.publish(document("open", more=PERSON))
    watching = world.watch()
    assert world.seen(watching).entity == "sip:carol@example.com"
    assert world.basics(watching) == ["open"]
    assert len(world.seen(watching).persons) == 1


def test_nobody_who_never_published_is_called_closed() -> None:
    world = AgentWorld()
    watching = world.watch()
    assert (world.last(watching).state, world.last(watching).body) == ("active", b"")
    assert world.last(watching).content_type == ""


def test_publications_of_two_devices_become_one_document() -> None:
    world = AgentWorld()
    watching = world.watch()
    first = world.publish(document("open", "phone"))
    world.pair.pass_seconds(1)
    world.publish(document("closed", "desk"))
    assert sorted(t.id or "" for t in world.seen(watching).tuples) == ["desk", "phone"]
    world.remove(first)
    assert [t.id for t in world.seen(watching).tuples] == ["desk"]


def test_a_publication_that_runs_out_is_told() -> None:
    world = AgentWorld()
    watching = world.watch()
    publication = world.publish(document("open"), expires=120)
    world.publisher.publications[publication].plan.cancel()
    world.pair.pass_seconds(119)
    assert world.basics(watching) == ["open"]
    world.pair.pass_seconds(2)
    assert world.basics(watching) == ["closed"]


def test_a_refresh_without_change_tells_nobody() -> None:
    world = AgentWorld()
    watching = world.watch()
    publication = world.publish(document("open"))
    world.publisher.refresh(publication, world.pair.now)
    world.modify(publication, document("open"))
    assert len(world.published) == 3
    assert len(world.notified(watching)) == 2


def test_what_changes_nothing_visible_tells_nobody() -> None:
    world = AgentWorld()
    publication = world.publish(document("open", more=PERSON))
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY)
    watching = world.watch()
    told = len(world.notified(watching))
    world.modify(publication, document("open", more=PERSON.replace("r:work", "r:home")))
    assert len(world.notified(watching)) == told
    world.modify(publication, document("open", more=PERSON.replace("r:busy", "r:away")))
    assert len(world.notified(watching)) == told + 1


def test_a_thousand_watchers_of_one_view_cost_one_print(monkeypatch: pytest.MonkeyPatch) -> None:
    world = AgentWorld()
    watching = [world.watch(Uri.parse(f"sip:w{n}@example.com")) for n in range(50)]
    printed: list[Presence] = []
    serialise = pidf.serialise

    def counted(document: Presence) -> bytes:
        printed.append(document)
        return serialise(document)

    monkeypatch.setattr(pidf, "serialise", counted)
    world.publish(document("open"))
    assert all(world.basics(w) == ["open"] for w in watching)
    assert len(printed) == 1


def test_the_uri_schemes_of_one_presentity_are_one() -> None:
    world = AgentWorld()
    watching = world.watch(target=Uri.parse("pres:carol@EXAMPLE.com"))
    world.publish(document("open"))
    assert world.basics(watching) == ["open"]


@pytest.mark.parametrize(
    ("target", "status"),
    [("sip:carol@elsewhere.org", 404), ("sip:example.com", 404), ("tel:+4930123", 416)],
)
def test_what_is_not_of_our_domain_is_not_found(target: str, status: int) -> None:
    world = AgentWorld()
    world.watch(target=Uri.parse(target))
    world.publish(document(), entity=Uri.parse(target), identity=Uri.parse("sip:x@example.com"))
    assert world.refused == [status]
    assert world.publish_failed == [status]
    assert world.agent.presentities == {}


def test_a_document_that_is_none_gets_400_and_is_not_shown() -> None:
    world = AgentWorld()
    watching = world.watch()
    world.publish(b"<presence")
    assert world.publish_failed == [400]
    assert len(world.notified(watching)) == 1


def test_a_document_in_latin_1_is_read_by_its_content_type() -> None:
    world = AgentWorld()
    watching = world.watch()
    body = document(more="<note>Käse</note>").replace(b' encoding="UTF-8"', b"")
    world.publish(
        body.decode().encode("latin-1"),
        content_type="application/pidf+xml;charset=iso-8859-1",
    )
    assert [n.text for n in world.seen(watching).notes] == ["Käse"]


def test_a_fetch_gets_the_document_once() -> None:
    world = AgentWorld()
    world.publish(document("open"))
    fetched = world.fetch()
    assert world.states(fetched) == ["terminated"]
    assert world.basics(fetched) == ["open"]
    assert world.agent.notifier.subscriptions == {}


def test_leaving_is_told_with_the_state() -> None:
    world = AgentWorld()
    world.publish(document("open"))
    watching = world.watch()
    world.end(watching)
    assert world.terminated == [("timeout", False)]
    assert world.agent.notifier.subscriptions == {}


def test_expires_has_the_configured_bounds() -> None:
    world = AgentWorld(min_expires=300, max_expires=1000)
    world.publish(document(), expires=100)
    world.watch(expires=5000)
    assert world.published[0].expires == 300
    assert "Expires: 1000" in world.pair.wire.named("200 SUBSCRIBE")[0].data.decode()


def test_nothing_is_left_of_somebody_everybody_has_left() -> None:
    world = AgentWorld(CONFIRM)
    world.decide(DAVE, ALLOW)
    watching, info = world.watch(), world.winfo()
    publication = world.publish(document())
    world.remove(publication)
    world.end(watching)
    world.end(info)
    world.pair.pass_seconds(100)
    assert world.agent.presentities == {}
    assert world.pair.bob.dialogs == {}
    assert len(world.pair.bob.deadlines) == 0


def test_days_of_refreshes_keep_everything_alive() -> None:
    world = AgentWorld()
    watching, info = world.watch(), world.winfo()
    world.publish(document("open"))
    world.pair.pass_seconds(3 * 86_400)
    assert world.basics(watching) == ["open"]
    assert world.terminated == []
    assert world.rows(info) == [("sip:dave@example.com", "active", "subscribe")]


@pytest.mark.parametrize("seed", range(10))
def test_on_a_bad_wire_everybody_ends_up_with_the_newest_state(seed: int) -> None:
    dice = random.Random(seed)
    world = AgentWorld()
    world.pair.wire.latency = 0.005
    watching = [world.watch(Uri.parse(f"sip:w{n}@example.com")) for n in range(5)]
    publication = world.publish(document("open", "t0"))
    world.pair.pass_seconds(5)
    world.pair.wire.chance = lambda _: (dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.2)
    for n in range(1, 15):
        world.modify(publication, document("open", f"t{n}"))
        world.pair.pass_seconds(dice.random() * 3)
    world.pair.pass_seconds(60)
    assert [[t.id for t in world.seen(w).tuples] for w in watching] == [["t14"]] * 5


def test_a_configured_interval_spares_the_watchers() -> None:
    world = AgentWorld(limits=AgentLimits(min_notify_interval=5.0))
    watching = world.watch()
    publication = world.publish(document("open", "t0"))
    for n in range(1, 11):
        world.modify(publication, document("open", f"t{n}"))
        world.pair.pass_seconds(1)
    world.pair.pass_seconds(5)
    assert len(world.notified(watching)) <= 5
    assert [t.id for t in world.seen(watching).tuples] == ["t10"]


# --- permissions ----------------------------------------------------------------------------------------


def test_an_undecided_watcher_is_pending_until_somebody_decides() -> None:
    world = AgentWorld(CONFIRM)
    world.publish(document("open"))
    watching = world.watch()
    assert (world.states(watching), world.last(watching).body) == (["pending"], b"")
    world.decide(DAVE, ALLOW)
    assert world.states(watching) == ["pending", "active"]
    assert world.basics(watching) == ["open"]


def test_a_blocked_watcher_gets_403() -> None:
    world = AgentWorld()
    world.decide(DAVE, BLOCK)
    world.watch()
    world.watch(ERIN)
    assert world.refused == [403]


def test_a_watcher_blocked_later_is_rejected() -> None:
    world = AgentWorld()
    world.publish(document("open"))
    watching = world.watch()
    world.decide(DAVE, BLOCK)
    assert world.terminated == [("rejected", False)]
    assert world.last(watching).body == b""
    world.pair.pass_seconds(10_000)
    assert world.agent.notifier.subscriptions == {}


def test_a_politely_blocked_watcher_sees_somebody_who_is_away() -> None:
    world = AgentWorld()
    world.decide(DAVE, POLITE_BLOCK)
    watching = world.watch()
    publication = world.publish(document("open", more=PERSON))
    world.remove(publication)
    assert world.states(watching) == ["active"]
    assert world.basics(watching) == ["closed"]
    assert world.seen(watching).persons == ()


def test_polite_blocking_looks_like_having_left() -> None:
    world = AgentWorld()
    blocked, other = world.watch(DAVE), world.watch(ERIN)
    publication = world.publish(document("open"))
    world.decide(DAVE, POLITE_BLOCK)
    world.remove(publication)
    assert world.last(blocked).body == world.last(other).body


def test_a_permission_shows_what_it_grants_and_no_more() -> None:
    world = AgentWorld(CONFIRM)
    world.publish(document("open", more=PERSON))
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY)
    some, all_ = world.watch(DAVE), world.watch(ERIN)
    world.decide(ERIN, ALLOW)
    assert len(world.seen(some).persons[0].activities) == 1
    assert world.seen(some).persons[0].spheres == ()
    assert len(world.seen(all_).persons[0].spheres) == 1


def test_a_changed_permission_is_told_where_it_changes_something() -> None:
    world = AgentWorld()
    world.publish(document("open", more=PERSON))
    dave, erin = world.watch(DAVE), world.watch(ERIN)
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY)
    assert len(world.notified(dave)) == 2
    assert len(world.notified(erin)) == 1


def test_a_decision_that_is_taken_back_sends_the_watcher_through_the_door_again() -> None:
    world = AgentWorld(CONFIRM)
    world.publish(document("open"))
    world.decide(DAVE, ALLOW)
    watching = world.watch()
    world.rules.clear()
    world.agent.rules_changed(KEY, world.pair.now)
    world.pair.turn()
    assert world.terminated == [("deactivated", True)]
    world.pair.pass_seconds(5)
    assert world.states(watching)[-2:] == ["terminated", "pending"]


def test_rules_bound_to_a_time_change_at_that_time() -> None:
    world = AgentWorld(CONFIRM)
    world.publish(document("open"))
    lunch = Period(world.at + timedelta(seconds=100), world.at + timedelta(seconds=200))
    rule = Rule("lunch", Conditions(validity=(lunch,)), ALLOW, EVERYTHING)
    world.rules[KEY] = RuleSet((rule,))
    watching = world.watch()
    world.pair.pass_seconds(99)
    assert world.states(watching) == ["pending"]
    world.pair.pass_seconds(2)
    assert world.states(watching) == ["pending", "active"]
    world.pair.pass_seconds(110)
    assert world.states(watching)[-2:] == ["terminated", "pending"]


def test_rules_bound_to_the_sphere_follow_what_is_published() -> None:
    world = AgentWorld(CONFIRM)
    rule = Rule("work", Conditions(sphere="work"), ALLOW, EVERYTHING)
    world.rules[KEY] = RuleSet((rule,))
    watching = world.watch()
    publication = world.publish(document("open", more=PERSON))
    assert world.states(watching) == ["pending", "active"]
    world.modify(publication, document("open", more=PERSON.replace("r:work", "r:home")))
    world.pair.pass_seconds(5)
    assert world.states(watching)[-2:] == ["terminated", "pending"]


def test_rules_of_somebody_nobody_watches_change_nothing() -> None:
    world = AgentWorld()
    world.decide(DAVE, BLOCK)
    assert world.agent.presentities == {}


def unable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What those may see who see activities only cannot be made."""

    def failing(document: Presence, permission: Permission) -> Presence:
        if permission.transformations == ACTIVITIES_ONLY:
            raise DocumentError("too odd")
        return apply(document, permission)

    monkeypatch.setattr(publications, "apply", failing)


def test_what_cannot_be_made_for_one_watcher_keeps_no_other_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = AgentWorld()
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY)
    dave, erin = world.watch(DAVE), world.watch(ERIN)
    unable(monkeypatch)
    publication = world.publish(document("open"))
    assert world.publish_failed == []
    assert world.basics(erin) == ["open"]
    world.decide(ERIN, BLOCK)
    assert world.states(erin)[-1] == "terminated"
    assert set(world.pair.said_by(BOB, NotShown)) == {NotShown(KEY, "too odd")}
    monkeypatch.undo()
    world.modify(publication, document("closed"))
    assert [n.body for n in world.notified(dave)][:-1] == [b""]
    assert world.seen(dave).entity == KEY


def test_in_a_list_what_cannot_be_made_of_one_member_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = AgentWorld()
    friends = Uri.parse("sip:friends@example.com")
    world.lists[PresentityKey(str(friends))] = (Entry(str(CAROL)), Entry(str(ERIN)))
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY)
    for who in (CAROL, ERIN):
        world.publish(document("open"), identity=who, entity=who)
    unable(monkeypatch)
    listing = replace(TO_BOB, capabilities=TO_BOB.capabilities | {"eventlist"}, encodings=())
    watching = world.watch(DAVE, friends, policy=listing)
    body = world.last(watching).body
    assert body.count(b'state="active"') == 2
    assert body.count(b"<presence ") == 1


def test_whoever_is_blocked_hears_of_it_before_others_are_told_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever goes wrong with those: nobody stays who may not."""
    world = AgentWorld()
    world.publish(document("open", more=PERSON))
    world.watch(DAVE)
    erin = world.watch(ERIN)
    world.decide(DAVE, ALLOW, ACTIVITIES_ONLY, tell=False)
    world.decide(ERIN, BLOCK, tell=False)

    def broken(document: Presence, permission: Permission) -> Presence:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(publications, "apply", broken)
    with pytest.raises(RuntimeError):
        world.agent.rules_changed(KEY, world.pair.now)
    world.pair.turn()
    assert world.states(erin)[-1] == "terminated"


# --- presence.winfo -------------------------------------------------------------------------------------


def test_winfo_is_for_the_presentity_only() -> None:
    world = AgentWorld()
    world.winfo(DAVE)
    assert world.refused == [403]
    info = world.winfo(CAROL)
    assert world.watchers(info)[0].state == "full"


def test_winfo_begins_with_everybody_and_goes_on_with_what_changed() -> None:
    world = AgentWorld(CONFIRM)
    world.watch(DAVE)
    info = world.winfo()
    world.watch(ERIN)
    world.decide(ERIN, ALLOW)
    assert [(w.version, w.state) for w in world.watchers(info)] == [
        (0, "full"),
        (1, "partial"),
        (2, "partial"),
    ]
    assert [
        [(r.uri, r.status, r.event) for r in w.lists[0].watchers] for w in world.watchers(info)
    ] == [
        [("sip:dave@example.com", "pending", "subscribe")],
        [("sip:erin@example.com", "pending", "subscribe")],
        [("sip:erin@example.com", "active", "approved")],
    ]


def test_a_refreshed_winfo_subscription_gets_everybody_again() -> None:
    world = AgentWorld(CONFIRM)
    world.watch(DAVE)
    info = world.winfo()
    world.watch(ERIN)
    world.subscriber.refresh(info, world.pair.now)
    world.pair.turn()
    assert world.watchers(info)[-1].state == "full"
    assert [r[0] for r in world.rows(info)] == ["sip:dave@example.com", "sip:erin@example.com"]
    versions = [w.version for w in world.watchers(info)]
    assert versions == list(range(len(versions)))


@pytest.mark.parametrize(
    ("handling", "status", "event"),
    [(BLOCK, "terminated", "rejected"), (ALLOW, "active", "approved")],
)
def test_a_decision_shows_in_winfo(handling: object, status: str, event: str) -> None:
    world = AgentWorld(CONFIRM)
    info = world.winfo()
    world.watch(DAVE)
    world.decide(DAVE, BLOCK if handling is BLOCK else ALLOW)
    assert world.rows(info) == [("sip:dave@example.com", status, event)]


def test_an_undecided_watcher_that_left_goes_on_waiting() -> None:
    world = AgentWorld(CONFIRM)
    info = world.winfo()
    watching = world.watch(DAVE)
    world.end(watching)
    assert world.rows(info) == [("sip:dave@example.com", "waiting", "timeout")]
    later = world.winfo()
    assert world.rows(later) == [("sip:dave@example.com", "waiting", "timeout")]
    world.decide(DAVE, ALLOW)
    assert world.rows(info) == [("sip:dave@example.com", "terminated", "approved")]


def test_a_watcher_of_the_gateway_leaves_nobody_waiting() -> None:
    """The gateway lists its own watchers, and knows that this one has left."""
    world = AgentWorld(CONFIRM)
    inside = with_flow(TO_BOB, flow=Flow("memory", ALICE, BOB))
    info = world.winfo()
    world.fetch(DAVE, policy=inside)
    assert len(world.notified(info)) == 1
    world.end(world.watch(DAVE, policy=inside))
    assert world.rows(info) == [("sip:dave@example.com", "terminated", "timeout")]


def test_a_waiting_watcher_that_comes_back_is_there_once() -> None:
    world = AgentWorld(CONFIRM)
    world.end(world.watch(DAVE))
    world.watch(DAVE)
    info = world.winfo()
    assert world.rows(info) == [("sip:dave@example.com", "pending", "subscribe")]


def test_a_waiting_watcher_is_forgotten_after_a_week() -> None:
    world = AgentWorld(CONFIRM)
    world.end(world.watch(DAVE))
    world.pair.pass_seconds(7 * 86_400 + 1)
    assert world.agent.presentities == {}


def test_a_pending_fetch_leaves_a_waiting_watcher_and_an_allowed_one_no_trace() -> None:
    world = AgentWorld(CONFIRM)
    world.decide(ERIN, ALLOW)
    info = world.winfo()
    world.fetch(ERIN)
    assert len(world.notified(info)) == 1
    world.fetch(DAVE)
    assert world.rows(info) == [("sip:dave@example.com", "waiting", "timeout")]


def test_a_missed_part_is_followed_by_everybody() -> None:
    world = AgentWorld(CONFIRM)
    info = world.winfo()
    world.pair.wire.drop_next("NOTIFY", 11)
    world.watch(DAVE)
    world.pair.pass_seconds(70)
    assert world.agent.notifier.subscriptions != {}
    world.pair.pass_seconds(3600)
    again = world.winfo()
    assert "sip:dave@example.com" in [r[0] for r in world.rows(again)]
    assert info != again


def test_a_leaving_watcher_leaves_the_list() -> None:
    world = AgentWorld()
    info = world.winfo()
    watching = world.watch(DAVE)
    world.end(watching)
    assert world.rows(info) == [("sip:dave@example.com", "terminated", "timeout")]
    assert world.rows(world.winfo()) == []


# --- the store and restarts -----------------------------------------------------------------------------


def test_without_a_store_nothing_is_queued() -> None:
    world = AgentWorld()
    world.watch()
    world.publish(document())
    assert world.changes == []


def test_publications_are_kept_whole() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(document("open"), expires=600)
    (kept,) = world.changes
    assert isinstance(kept, PublicationStored)
    assert (kept.presentity, kept.body) == (KEY, document("open"))
    assert kept.etag == world.published[0].etag
    assert kept.expires - kept.received == timedelta(seconds=600)
    world.modify(publication, document("closed"))
    world.remove(publication)
    assert [type(c) for c in world.changes[1:]] == [PublicationStored, PublicationRemoved]
    assert {c.id for c in world.changes} == {kept.id}


def test_subscriptions_are_kept_until_they_end() -> None:
    world = AgentWorld(storing=True)
    watching = world.watch()
    world.fetch(ERIN)
    world.subscriber.refresh(watching, world.pair.now)
    world.pair.turn()
    world.end(watching)
    assert [type(c) for c in world.changes] == [
        SubscriptionStored,
        SubscriptionStored,
        SubscriptionRemoved,
    ]
    assert world.records() == []


def test_after_a_restart_etags_dialogs_and_waiting_watchers_live_on() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    world.decide(DAVE, ALLOW)
    publication = world.publish(document("open"))
    watching, info = world.watch(DAVE), world.winfo()
    world.end(world.watch(ERIN))
    versions = [w.version for w in world.watchers(info)]
    world.restart(asleep=30)
    world.pair.pass_seconds(1)
    assert len(world.notified(watching)) == 2
    assert world.basics(watching) == ["open"]
    assert world.rows(info) == [
        ("sip:dave@example.com", "active", "subscribe"),
        ("sip:erin@example.com", "waiting", "timeout"),
    ]
    assert world.watchers(info)[-1].version > versions[-1]
    world.modify(publication, document("closed"))
    assert world.basics(watching) == ["closed"]
    assert world.publish_failed == []
    assert world.terminated == [("timeout", False)]


def test_numbers_and_versions_grow_from_life_to_life() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    world.decide(DAVE, ALLOW)
    watching, info = world.watch(DAVE), world.winfo()
    numbers = []
    for _ in range(4):
        world.restart()
        world.pair.pass_seconds(1)
        dialog = world.subscriber.subscriptions[watching].dialog
        assert dialog is not None
        numbers.append(dialog.remote_cseq or 0)
    assert sorted(set(numbers)) == numbers
    versions = [w.version for w in world.watchers(info)]
    assert len(versions) >= 5
    assert sorted(set(versions)) == versions
    assert world.terminated == []


def test_who_lives_in_our_process_does_not_outlive_it() -> None:
    world = AgentWorld(storing=True)
    inside = with_flow(TO_BOB, flow=Flow("memory", ALICE, BOB))
    world.watch(policy=inside)
    publication = world.publish(document("open"), policy=inside)
    world.modify(publication, document("closed"))
    assert world.records() == []
    foreign = world.watch(ERIN)
    assert world.basics(foreign) == ["closed"]
    assert len(world.records()) == 1
    world.remove(publication)
    assert world.basics(foreign) == ["closed"]
    assert [type(c) for c in world.changes] == [SubscriptionStored]


def test_a_stored_publication_that_moves_into_our_process_leaves_the_store() -> None:
    """As in a file of a version that stored them all."""
    world = AgentWorld(storing=True)
    publication = world.publish(document("open"))
    world.restart()
    world.publisher.publications[publication].policy = with_flow(
        TO_BOB, flow=Flow("memory", ALICE, BOB)
    )
    world.modify(publication, document("closed"))
    assert world.publish_failed == []
    assert world.records() == []
    world.modify(publication, document("open"))
    assert [type(c) for c in world.changes] == [PublicationStored, PublicationRemoved]


def test_a_stored_subscription_out_of_our_process_is_not_taken_up() -> None:
    world = AgentWorld(storing=True)
    world.watch()
    (record,) = world.records()
    assert isinstance(record, SubscriptionStored)
    kept = json.loads(record.snapshot)
    kept["subscription"]["dialog"]["flow"] = ["memory", *BOB, *ALICE]
    world.restart()
    world.pair.stored.clear()
    agent = world.agent
    agent.restore([replace(record, id="old", snapshot=json.dumps(kept))], world.pair.now)
    world.pair.turn()
    assert [type(c) for c in world.changes] == [SubscriptionRemoved]


def test_what_ran_out_during_the_sleep_is_told_afterwards() -> None:
    world = AgentWorld(storing=True)
    watching = world.watch(expires=7200)
    publication = world.publish(document("open"), expires=120)
    world.publisher.publications[publication].plan.cancel()
    world.restart(asleep=300)
    world.pair.pass_seconds(1)
    assert world.basics(watching) == ["closed"]
    assert [type(r) for r in world.records()] == [SubscriptionStored]


def test_rules_that_changed_during_the_sleep_count() -> None:
    world = AgentWorld(storing=True)
    dave, erin = world.watch(DAVE), world.watch(ERIN)
    world.decide(DAVE, BLOCK, tell=False)
    world.restart()
    world.pair.pass_seconds(1)
    assert world.states(dave)[-1] == "terminated"
    assert world.states(erin)[-1] == "active"


def test_the_store_number_is_what_the_200_waits_for() -> None:
    world = AgentWorld(storing=True)
    world.pair.commit_at_once = False
    world.watch()
    world.publish(document("open"))
    assert world.pair.wire.named("200") == []
    for core, number, _ in list(world.pair.stored):
        core.committed(number, world.pair.now)
    world.pair.turn()
    assert len(world.pair.wire.named("200 PUBLISH")) == 1
    assert len(world.pair.wire.named("200 SUBSCRIBE")) == 1


STEPS: list[Callable[[AgentWorld], object]] = [
    lambda w: w.watch(DAVE),
    lambda w: w.winfo(),
    lambda w: w.publish(document("open", "a")),
    lambda w: w.publish(document("closed", "b")),
    lambda w: w.watch(ERIN),
    lambda w: w.decide(ERIN, ALLOW),
    lambda w: w.remove(next(iter(w.publisher.publications))),
    lambda w: w.decide(DAVE, ALLOW, ACTIVITIES_ONLY),
]


@pytest.mark.parametrize("interrupted", range(len(STEPS) + 1))
def test_a_restart_after_any_step_changes_nothing_in_the_end(interrupted: int) -> None:
    world = AgentWorld(CONFIRM, storing=True)
    for number, happens in enumerate(STEPS):
        if number == interrupted:
            world.restart(asleep=1)
            world.pair.pass_seconds(1)
        happens(world)
    if interrupted == len(STEPS):
        world.restart(asleep=1)
    world.pair.pass_seconds(10)
    dave, erin = (
        next(i for i, s in world.subscriber.subscriptions.items() if s.identity == who)
        for who in (DAVE, ERIN)
    )
    assert [t.id for t in world.seen(erin).tuples] == ["b"]
    assert world.basics(dave) == ["closed"]
    info = next(i for i, s in world.subscriber.subscriptions.items() if s.identity == CAROL)
    world.subscriber.refresh(info, world.pair.now)
    world.pair.turn()
    assert sorted((uri, status) for uri, status, _ in world.rows(info)) == [
        ("sip:dave@example.com", "active"),
        ("sip:erin@example.com", "active"),
    ]
    assert len(world.records()) == 4


def test_records_that_cannot_be_read_are_reported_and_removed() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    world.watch(DAVE)
    world.end(world.watch(ERIN))
    world.publish(document("open"))
    kept = world.records()
    broken: list[Record] = []
    for record in kept:
        if isinstance(record, PublicationStored):
            broken.append(replace(record, body=b"<presence"))
        elif isinstance(record, SubscriptionStored):
            broken += [
                replace(record, id=record.id + str(n), snapshot=snapshot)
                for n, snapshot in enumerate(
                    ["nonsense", "[]", "{}", '{"subscription":{}}', '{"waiting":{}}']
                )
            ]
    world.pair.stored.clear()
    world.agent.restore(broken, world.pair.now)
    world.pair.turn()
    assert len(world.pair.said_by(BOB, NotRestored)) == 11
    assert len(world.changes) == 11


def test_a_snapshot_is_json_of_moderate_size() -> None:
    world = AgentWorld(storing=True)
    world.watch()
    (kept,) = world.changes
    assert isinstance(kept, SubscriptionStored)
    assert json.loads(kept.snapshot)["subscription"]["state"] == "active"
    assert len(kept.snapshot) < 1500


# --- entity-tags (RFC 5839)


def test_a_refresh_is_quiet_until_the_document_this_watcher_sees_has_changed() -> None:
    world = AgentWorld()
    publication = world.publish(document("open"))
    dave = world.watch(DAVE)
    world.pair.pass_seconds(3600)
    assert len(world.notified(dave)) == 1
    assert world.pair.wire.named("204 SUBSCRIBE")
    world.modify(publication, document("closed"))
    assert world.basics(dave) == ["closed"]
    world.pair.pass_seconds(3600)
    assert len(world.notified(dave)) == 2


def test_watchers_who_see_something_else_have_other_tags() -> None:
    world = AgentWorld()
    world.decide(ERIN, POLITE_BLOCK)
    world.publish(document("open"))
    for watcher in (DAVE, ERIN):
        world.watch(watcher)
    tags = [n.header("SIP-ETag") for n in world.pair.wire.named("NOTIFY")]
    assert all(tags) and len(set(tags)) == 2


def test_a_watcher_that_becomes_pending_is_told_so_whatever_it_holds() -> None:
    world = AgentWorld(CONFIRM)
    world.decide(DAVE, ALLOW)
    world.publish(document("open"))
    dave = world.watch(DAVE)
    world.decide(DAVE, CONFIRM)
    world.pair.pass_seconds(5)
    assert world.states(dave) == ["active", "terminated", "pending"]
    assert not world.last(dave).is_unchanged
    world.decide(DAVE, ALLOW)
    assert world.basics(dave) == ["open"]


def test_without_a_publication_there_is_nothing_to_hold() -> None:
    world = AgentWorld()
    dave = world.watch(DAVE)
    world.pair.pass_seconds(3600)
    assert not world.pair.wire.named("204")
    assert len(world.notified(dave)) == 2


def test_a_list_of_watchers_has_no_tag() -> None:
    world = AgentWorld()
    world.winfo()
    world.pair.pass_seconds(3600)
    assert not [n for n in world.pair.wire.named("NOTIFY") if n.header("SIP-ETag")]


def test_entity_tags_can_be_switched_off() -> None:
    world = AgentWorld(limits=AgentLimits(entity_tags=False))
    world.publish(document("open"))
    dave = world.watch(DAVE)
    world.pair.pass_seconds(3600)
    assert not [n for n in world.pair.wire.named("NOTIFY") if n.header("SIP-ETag")]
    assert len(world.notified(dave)) == 2


# --- behind a NAT ---------------------------------------------------------------------------------------


def subscribe_from_behind_a_nat(world: AgentWorld, *more: str) -> list[str]:
    """Where the NOTIFYs to a phone go that has a private address and comes from 192.0.2.9:40001."""
    lines = [
        "SUBSCRIBE sip:carol@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 10.0.0.4:5062;branch=z9hG4bKnat;rport",
        "Max-Forwards: 70",
        "From: <sip:dave@example.com>;tag=d",
        "To: <sip:carol@example.com>",
        "Call-ID: nat",
        "CSeq: 1 SUBSCRIBE",
        "Contact: <sip:dave@10.0.0.4:5062>",
        "Event: presence",
        *more,
        "Content-Length: 0",
    ]
    data = "\r\n".join([*lines, "", ""]).encode()
    world.pair.bob.receive_datagram(data, Flow("udp", BOB, ("192.0.2.9", 40001)), world.pair.now)
    world.pair.turn()
    sent = world.pair.wire.named("NOTIFY")
    assert sent[0].first_line.split(" ")[1].partition("@")[2] == (
        f"{sent[0].flow.remote[0]}:{sent[0].flow.remote[1]}" if not more else "10.0.0.4:5062"
    )
    return [f"{one.flow.remote[0]}:{one.flow.remote[1]}" for one in sent]


def test_a_watcher_behind_a_nat_is_told_where_it_came_from_if_so_configured() -> None:
    assert subscribe_from_behind_a_nat(AgentWorld()) == ["10.0.0.4:5062"]
    for nat in (Nat.PRIVATE, Nat.ALWAYS):
        world = AgentWorld(limits=AgentLimits(nat=nat), storing=True)
        assert subscribe_from_behind_a_nat(world) == ["192.0.2.9:40001"]
        world.restart()
        assert world.pair.wire.named("NOTIFY")[-1].flow.remote == ("192.0.2.9", 40001)


def test_a_watcher_behind_a_nat_that_repeats_its_contact_stays_where_it_was_met() -> None:
    for nat in (Nat.PRIVATE, Nat.ALWAYS):
        world = AgentWorld(limits=AgentLimits(nat=nat))
        subscribe_from_behind_a_nat(world)
        for basic in ("open", "closed"):
            (*_, last) = world.pair.wire.named("NOTIFY")
            told = parse_datagram(last.data)
            assert isinstance(told, Request)
            contact = [("Contact", "<sip:dave@10.0.0.4:5062>")]
            flow = Flow("udp", BOB, ("192.0.2.9", 40001))
            answer = bytes(told.response(200, headers=contact))
            world.pair.bob.receive_datagram(answer, flow, world.pair.now)
            world.publish(document(basic))
        sent = world.pair.wire.named("NOTIFY")
        assert [one.flow.remote for one in sent] == [("192.0.2.9", 40001)] * 3


def test_a_large_notify_by_tcp_does_not_move_a_watcher_behind_a_nat() -> None:
    world = AgentWorld(limits=AgentLimits(nat=Nat.PRIVATE))
    published = world.publish(document())
    subscribe_from_behind_a_nat(world)
    contact = [("Contact", "<sip:dave@10.0.0.4:5062>")]
    for basic, more in (("open", f"<note>{'x' * 1300}</note>"), ("closed", "")):
        (*_, last) = world.pair.wire.named("NOTIFY")
        told = parse_datagram(last.data)
        assert isinstance(told, Request)
        answer = bytes(told.response(200, headers=contact))
        world.pair.bob.receive_datagram(answer, last.flow, world.pair.now)
        world.modify(published, document(basic, more=more))
    ways = [(one.flow.protocol, one.flow.remote) for one in world.pair.wire.named("NOTIFY")]
    there = ("192.0.2.9", 40001)
    assert ways == [("udp", there), ("tcp", there), ("udp", there)]


def test_a_watcher_behind_a_proxy_is_the_proxys_affair() -> None:
    world = AgentWorld(limits=AgentLimits(nat=Nat.ALWAYS))
    route = "Record-Route: <sip:192.0.2.9:5099;lr>"
    assert subscribe_from_behind_a_nat(world, route) == ["192.0.2.9:5099"]
