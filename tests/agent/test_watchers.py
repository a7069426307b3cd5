"""The list of watchers by itself; how it looks on the wire is in test_presence_agent."""

from dataclasses import replace

import pytest

from sipbridge.agent.ports import SubscriptionStored
from sipbridge.agent.presence_agent import WaitingOver
from sipbridge.agent.watchers import (
    MAX_WAITING,
    WAITING_LIFE,
    Watcher,
    WatcherInfoView,
    Watchers,
)
from sipbridge.events.notifier import Input
from sipbridge.identities import PresentityKey
from sipbridge.presence import watcherinfo
from sipbridge.presence.lists import Entry
from sipbridge.uri import Uri
from tests.agent.test_lists import LISTING
from tests.agent.world import ALLOW, BLOCK, CAROL, CONFIRM, DAVE, KEY, AgentWorld, document


def watcher(id: str = "w1", status: str = "active", event: str = "subscribe") -> Watcher:
    return Watcher(id, f"sip:{id}@example.com", "", status, event, since=10.0, ends=100.0)


def watchers(*there: Watcher) -> Watchers:
    made = Watchers()
    made.there = {w.id: w for w in there}
    return made


def view() -> WatcherInfoView:
    return WatcherInfoView(PresentityKey("sip:carol@example.com"))


def test_a_full_list_comes_first_and_says_how_long_everybody_is_there() -> None:
    content = view().content(watchers(watcher()), 40.0, full=False)
    assert content is not None
    info = watcherinfo.parse(content.body)
    (row,) = info.lists[0].watchers
    assert (info.version, info.state) == (0, "full")
    assert (row.expiration, row.duration_subscribed) == (60, 30)


def test_without_a_change_there_is_nothing_to_tell() -> None:
    mine = view()
    mine.content(watchers(), 0.0, full=False)
    assert mine.content(watchers(), 1.0, full=False) is None
    assert mine.version == 1


def test_changes_of_one_watcher_that_were_not_told_become_one() -> None:
    mine = view()
    mine.content(watchers(), 0.0, full=False)
    mine.note([watcher(status="pending"), watcher(status="active", event="approved")])
    content = mine.content(watchers(watcher()), 1.0, full=False)
    assert content is not None
    (row,) = watcherinfo.parse(content.body).lists[0].watchers
    assert (row.status, row.event) == ("active", "approved")


def test_a_full_list_on_demand_forgets_the_part_that_waited() -> None:
    mine = view()
    mine.content(watchers(), 0.0, full=False)
    mine.note([watcher()])
    assert mine.content(watchers(watcher()), 1.0, full=True) is not None
    assert mine.content(watchers(watcher()), 2.0, full=False) is None


def test_somebody_who_is_over_has_no_time_left_to_tell() -> None:
    mine = view()
    mine.content(watchers(), 0.0, full=False)
    mine.note([watcher(status="terminated", event="timeout")])
    content = mine.content(watchers(), 40.0, full=False)
    assert content is not None
    assert watcherinfo.parse(content.body).lists[0].watchers[0].expiration is None


@pytest.mark.parametrize("happened", [Input.NO_RESOURCE, Input.REJECTED])
def test_after_a_verdict_nobody_waits(happened: Input) -> None:
    world = AgentWorld(CONFIRM)
    info = world.winfo()
    world.watch(DAVE)
    (subscription,) = world.agent.presentities[PresentityKey(str(CAROL))].subscriptions.values()
    world.agent.notifier.happen(subscription, happened, world.pair.now)
    world.pair.turn()
    assert [status for _, status, _ in world.rows(info)] == ["terminated"]


def test_the_oldest_of_too_many_waiting_go() -> None:
    world = AgentWorld(CONFIRM)
    for n in range(MAX_WAITING + 5):
        world.end(world.watch(Uri.parse(f"sip:w{n}@example.com")))
    there = world.rows(world.winfo())
    assert len(there) == MAX_WAITING
    assert "sip:w0@example.com" not in [uri for uri, _, _ in there]


def test_the_display_name_of_a_watcher_is_shown() -> None:
    mine = view()
    named = Watcher("w", "sip:w@example.com", "Wanda", "pending", "subscribe", 0.0, 9.0)
    content = mine.content(watchers(named), 0.0, full=True)
    assert content is not None
    assert watcherinfo.parse(content.body).lists[0].watchers[0].display_name == "Wanda"


# --- who waits, and until when --------------------------------------------------------------------------


def deadlines(world: AgentWorld) -> int:
    """How many waiting watchers will be given up one day."""
    entries = world.pair.bob.deadlines.entries
    return sum(isinstance(deadline.timed, WaitingOver) for _, _, deadline in entries)


def test_one_who_was_decided_takes_nobody_along_a_week_later() -> None:
    world = AgentWorld(CONFIRM)
    world.fetch(DAVE)
    world.decide(DAVE, ALLOW)
    assert world.agent.presentities == {}
    assert deadlines(world) == 0
    publication = world.publish(document("open"))
    watching = world.watch(DAVE)
    world.pair.pass_seconds(WAITING_LIFE + 1)
    world.modify(publication, document("closed"))
    assert world.basics(watching) == ["closed"]
    world.decide(DAVE, BLOCK)
    assert world.states(watching)[-1] == "terminated"


def test_what_is_over_for_a_forgotten_presentity_is_nothing_to_the_one_in_its_place() -> None:
    world = AgentWorld(CONFIRM)
    world.fetch(DAVE)
    (forgotten,) = world.agent.presentities.values()
    world.decide(DAVE, ALLOW)
    world.publish(document("open"))
    world.agent.waiting_over(forgotten, "whoever", "giveup", world.pair.now)
    assert KEY in world.agent.presentities


def test_a_waiting_watcher_that_comes_back_leaves_no_row_and_no_deadline() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    for _ in range(4):
        world.fetch(DAVE)
    assert (len(world.records()), deadlines(world)) == (1, 1)
    world.watch(DAVE)
    assert (len(world.records()), deadlines(world)) == (1, 0)


def test_two_subscriptions_of_one_watcher_leave_him_waiting_once() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    first, second = world.watch(DAVE), world.watch(DAVE)
    world.end(first)
    world.end(second)
    assert (len(world.records()), deadlines(world)) == (1, 1)
    assert [status for _, status, _ in world.rows(world.winfo())] == ["waiting"]


def test_fetches_of_a_list_leave_one_row_for_each_member() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    members = [f"sip:m{n}@example.com" for n in range(3)]
    world.lists[KEY] = tuple(Entry(uri) for uri in members)
    for _ in range(4):
        world.fetch(DAVE, policy=LISTING)
        world.pair.pass_seconds(1)
    assert (len(world.records()), deadlines(world)) == (3, 3)


def test_the_oldest_of_too_many_waiting_leave_no_rows_behind() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    for n in range(MAX_WAITING + 5):
        world.fetch(Uri.parse(f"sip:w{n}@example.com"))
    assert (len(world.records()), deadlines(world)) == (MAX_WAITING, MAX_WAITING)


def test_who_was_stored_waiting_too_often_waits_once_after_a_restart() -> None:
    """As in a file of a version that left such rows behind."""
    world = AgentWorld(CONFIRM, storing=True)
    for n in range(MAX_WAITING + 5):
        world.fetch(Uri.parse(f"sip:w{n}@example.com"))
        world.pair.pass_seconds(1)
    there = [row for row in world.records() if isinstance(row, SubscriptionStored)]
    more = [replace(row, id=f"again-{row.id}") for row in there]
    world.pair.stored += [(world.pair.bob, 0, row) for row in more]
    world.restart()
    assert (len(world.records()), deadlines(world)) == (MAX_WAITING, MAX_WAITING)
    assert len(world.rows(world.winfo())) == MAX_WAITING
    world.watch(Uri.parse("sip:w9@example.com"))
    assert len(world.rows(world.winfo())) == MAX_WAITING


def test_a_watcher_who_subscribed_again_does_not_wait_after_a_restart() -> None:
    world = AgentWorld(CONFIRM, storing=True)
    world.fetch(DAVE)
    (row,) = world.records()
    assert isinstance(row, SubscriptionStored)
    world.watch(DAVE)
    world.pair.stored.insert(0, (world.pair.bob, 0, replace(row, id="before")))
    world.restart(asleep=60)
    assert (len(world.records()), deadlines(world)) == (1, 0)
    assert [status for _, status, _ in world.rows(world.winfo())] == ["pending"]
