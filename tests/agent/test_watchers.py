"""The list of watchers by itself; how it looks on the wire is in test_presence_agent."""

import pytest

from sipbridge.agent.watchers import MAX_WAITING, Watcher, WatcherInfoView, Watchers
from sipbridge.events.notifier import Input
from sipbridge.identities import PresentityKey
from sipbridge.presence import watcherinfo
from sipbridge.uri import Uri
from tests.agent.world import CAROL, CONFIRM, DAVE, AgentWorld


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
