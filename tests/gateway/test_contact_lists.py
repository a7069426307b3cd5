"""Lists of contacts that are pulled: on a fake network and disk, with the clock turned by hand."""

import pytest

from sipbridge.errors import InvalidValue, QuotaExceeded, SessionOver, TransactionTimeout
from sipbridge.gateway.contact_lists import AGAIN, ContactList, ListLimits
from sipbridge.mapping.attributes import Activity
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.remote import ALICE, BOB, CAROL, RemoteBench

A, C = "alice@example.com", "carol@example.com"


async def made(**more: object) -> RemoteBench:
    bench = RemoteBench(**more)  # type: ignore[arg-type]
    await bench.load()
    return bench


def codes(found: ContactList) -> list[int]:
    return [listed.availability for listed in found.listed.values()]


async def test_a_list_says_who_changed_since() -> None:
    bench = await made()
    await bench.publish(Activity.BUSY)
    found = await bench.lists.replace(bench.bob, "key", [A, C, "x"])
    assert codes(found) == [6000, -1, -1] and found.settled
    before = found.sequence
    await bench.publish(Activity.AWAY)
    await bench.publish(Activity.AWAY, "a message is no change here")
    found = bench.lists.find(bench.bob, "key")
    assert [listed.contact for listed in bench.lists.since(found, before)] == [A]
    assert bench.lists.since(found, found.sequence) == []
    assert len(bench.lists.since(found, None)) == 3
    with pytest.raises(InvalidValue):
        bench.lists.since(found, bench.numbers.last + 1)


async def test_two_spellings_of_one_person_change_together() -> None:
    bench = await made()
    found = await bench.lists.replace(bench.bob, "key", [A, ALICE])
    before = found.sequence
    await bench.publish(Activity.BUSY)
    assert codes(found) == [6000, 6000] and len(bench.lists.since(found, before)) == 2
    await bench.lists.replace(bench.bob, "key", [A])
    assert (BOB, ALICE) in bench.bench.network.watching
    await bench.lists.replace(bench.bob, "key", [])
    assert bench.bench.network.watching == set() and bench.lists.watching == {}


async def test_replacing_keeps_who_stays_and_leaves_who_goes() -> None:
    bench = await made()
    await bench.lists.replace(bench.bob, "key", [A, C])
    found = bench.lists.find(bench.bob, "key")
    before = found.sequence
    await bench.lists.replace(bench.bob, "key", [C, "dave@example.com"])
    assert list(found.listed) == [C, "dave@example.com"]
    news = [listed.contact for listed in bench.lists.since(found, before)]
    assert news == ["dave@example.com"], "who was there before has not changed"
    assert {pair[1] for pair in bench.bench.network.watching} == {CAROL, "sip:dave@example.com"}


async def test_a_list_lives_as_long_as_it_is_pulled() -> None:
    bench = await made()
    await bench.lists.replace(bench.bob, "key", [A])
    for _ in range(3):
        bench.bench.pass_seconds(179.0)
        bench.lists.find(bench.bob, "key")
    bench.bench.pass_seconds(180.0)
    with pytest.raises(SessionOver):
        bench.lists.find(bench.bob, "key")
    assert bench.bench.network.watching == set() and bench.lists.live["app_bob"] == 0
    assert {kind for kind, _ in bench.keeper.texts} == {"bems-sequence"}


async def test_a_contact_that_could_not_be_watched_is_tried_again_when_it_is_pulled() -> None:
    bench = await made()
    await bench.publish(Activity.BUSY)
    bench.bench.network.failure = TransactionTimeout()
    found = await bench.lists.replace(bench.bob, "key", [A])
    assert codes(found) == [-1] and found.settled
    bench.bench.network.failure = None
    bench.bench.pass_seconds(AGAIN / 2)
    assert codes(bench.lists.find(bench.bob, "key")) == [-1]
    bench.bench.pass_seconds(AGAIN / 2)
    assert codes(bench.lists.find(bench.bob, "key")) == [6000]


async def test_lists_and_contacts_are_bounded() -> None:
    bench = await made(lists=ListLimits(contacts=2, lists=1))
    with pytest.raises(InvalidValue):
        await bench.lists.replace(bench.bob, "key", ["a@b", "c@d", "e@f"])
    await bench.lists.replace(bench.bob, "key", [A])
    with pytest.raises(QuotaExceeded):
        await bench.lists.replace(bench.bob, "other", [A])
    await bench.lists.replace(bench.bob, "key", [C])
    await bench.lists.replace(bench.bench.alice, "key", [C])


async def test_a_client_that_can_be_pushed_is_told_that_there_is_something() -> None:
    bench = await made()
    await bench.lists.replace(bench.bob, "key", [A], push="channel")
    assert bench.pushed == []
    await bench.publish(Activity.BUSY)
    await bench.publish(Activity.AWAY)
    assert bench.pushed == [("channel", "key")]
    bench.bench.pass_seconds(10.0)
    assert len(bench.pushed) == 2
    bench.lists.find(bench.bob, "key")
    bench.bench.pass_seconds(60.0)
    assert len(bench.pushed) == 2


async def test_who_is_blocked_sees_nothing_and_revoked_lists_end() -> None:
    bench = await made(default=SubHandling.ALLOW)
    await bench.publish(Activity.BUSY)
    found = await bench.lists.replace(bench.bob, "key", [A])
    await bench.bench.gateway.block(bench.bench.alice, Uri.parse(BOB))
    assert codes(found) == [-1]
    bench.lists.revoke("app_bob", lambda key: True)
    assert not found.over
    bench.lists.revoke("app_bob")
    assert found.over and bench.lists.lists == {}


async def test_after_a_restart_everybody_counts_as_changed_once() -> None:
    bench = await made()
    found = await bench.lists.replace(bench.bob, "key", [A, "x"], push="channel")
    before = found.sequence
    again = await bench.restarted()
    await again.publish(Activity.BUSY)
    found = again.lists.find(again.bob, "key")
    assert found.push == "channel" and found.sequence > before
    assert [listed.contact for listed in again.lists.since(found, before)] == [A, "x"]
    assert codes(found) == [6000, -1]
    assert again.lists.since(found, found.sequence) == []
    await bench.lists.replace(bench.bench.caller("carol"), "key", [A])
    third = await bench.restarted()
    assert len(third.lists.lists) == 1, "an application that is gone has no lists"
