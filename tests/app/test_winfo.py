"""Watcher information applied: full and partial documents, gaps, and what they lead to."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.app.winfo import WatcherTable
from sipbridge.errors import DocumentError
from tests.app.rig import presence_server, remote, site, until

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))


def watcherinfo(version: int, state: str, **watchers: str) -> bytes:
    """A document about Alice; `watchers` maps a name to a status."""
    rows = "".join(
        f'<watcher id="{name}" status="{status}" event="subscribe">sip:{name}@example.com</watcher>'
        for name, status in watchers.items()
    )
    return (
        f'<?xml version="1.0"?><watcherinfo xmlns="urn:ietf:params:xml:ns:watcherinfo"'
        f' version="{version}" state="{state}"><watcher-list resource="{ALICE}"'
        f' package="presence">{rows}</watcher-list></watcherinfo>'
    ).encode()


def rows(table: WatcherTable) -> dict[str, str]:
    return {str(seen.watcher): seen.status for seen in table.watchers()}


# --- the table


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_full_document_is_the_table_whatever_its_version(first: int) -> None:
    table = WatcherTable()
    assert table.receive(watcherinfo(first, "full", bob="pending", carol="active"))
    assert rows(table) == {BOB: "pending", CAROL: "active"}


def test_partial_documents_change_rows() -> None:
    table = WatcherTable()
    table.receive(watcherinfo(0, "full", bob="pending"))
    assert table.receive(watcherinfo(1, "partial", carol="pending"))
    assert table.receive(watcherinfo(2, "partial", bob="active"))
    assert rows(table) == {BOB: "active", CAROL: "pending"}
    assert table.receive(watcherinfo(3, "partial", carol="terminated"))
    assert rows(table) == {BOB: "active"}


def test_a_gap_asks_for_everything() -> None:
    table = WatcherTable()
    table.receive(watcherinfo(0, "full", bob="pending"))
    assert not table.receive(watcherinfo(2, "partial", carol="pending"))
    assert rows(table) == {BOB: "pending"}  # nothing half known is shown
    assert table.receive(watcherinfo(3, "full", carol="active"))
    assert rows(table) == {CAROL: "active"}


def test_a_partial_document_comes_first() -> None:
    assert not WatcherTable().receive(watcherinfo(4, "partial", bob="pending"))


def test_an_old_partial_document_changes_nothing() -> None:
    table = WatcherTable()
    table.receive(watcherinfo(5, "full", bob="active"))
    assert table.receive(watcherinfo(5, "partial", bob="pending"))
    assert table.receive(watcherinfo(4, "partial", bob="terminated"))
    assert rows(table) == {BOB: "active"}


def test_a_server_that_begins_anew_is_believed() -> None:
    table = WatcherTable()
    table.receive(watcherinfo(9, "full", bob="active"))
    assert table.receive(watcherinfo(0, "full", carol="pending"))
    assert table.receive(watcherinfo(1, "partial", carol="active"))
    assert rows(table) == {CAROL: "active"}


def test_a_watcher_without_a_readable_address_is_left_out() -> None:
    table = WatcherTable()
    body = watcherinfo(0, "full", bob="active").replace(BOB.encode(), b"what is this")
    assert table.receive(body)
    assert table.watchers() == ()


def test_what_is_no_watcher_information_is_refused_and_changes_nothing() -> None:
    table = WatcherTable()
    table.receive(watcherinfo(0, "full", bob="active"))
    with pytest.raises(DocumentError):
        table.receive(b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>")
    assert rows(table) == {BOB: "active"}
    assert table.receive(watcherinfo(1, "partial", carol="active"))


STATUS = st.sampled_from(["pending", "active", "waiting", "terminated"])
CHANGES = st.lists(
    st.dictionaries(st.sampled_from(["bob", "carol", "dave"]), STATUS, min_size=1), max_size=8
)


@given(CHANGES, st.sets(st.integers(0, 7)))
def test_whatever_is_lost_a_full_document_makes_it_right(
    changes: list[dict[str, str]], lost: set[int]
) -> None:
    """Either the table knows that it is incomplete, or it is what the notifier has."""
    there: dict[str, str] = {}
    table, complete = WatcherTable(), table_at_start()
    assert table.receive(complete)
    for version, change in zip(itertools.count(1), changes, strict=False):
        there |= change
        there = {name: status for name, status in there.items() if status != "terminated"}
        if version - 1 in lost:
            continue
        if not table.receive(watcherinfo(version, "partial", **change)):
            assert table.receive(watcherinfo(version, "full", **there))
        assert rows(table) == {f"sip:{name}@example.com": s for name, s in there.items()}


def table_at_start() -> bytes:
    return watcherinfo(0, "full")


# --- on the wire


async def test_a_gap_is_followed_by_a_refresh() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        asked = await server.subscription(ALICE, "presence.winfo")
        kind = "application/watcherinfo+xml"
        server.notify(asked, watcherinfo(0, "full", bob="pending"), kind=kind)
        await until(alice.open_subscriptions, lambda found: set(found) == {BOB})
        server.notify(asked, watcherinfo(2, "partial", carol="pending"), kind=kind)
        refresh = await server.subscription(ALICE, "presence.winfo", 1)
        assert refresh.get("call-id") == asked.get("call-id")
        assert set(await alice.open_subscriptions()) == {BOB}
        server.notify(asked, watcherinfo(3, "full", bob="pending", carol="pending"), kind=kind)
        await until(alice.open_subscriptions, lambda found: set(found) == {BOB, CAROL})


async def test_a_watcher_that_the_server_serves_is_not_decided_about_here() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        asked = await server.subscription(ALICE, "presence.winfo")
        kind = "application/watcherinfo+xml"
        server.notify(asked, watcherinfo(1, "full", carol="pending"), kind=kind)
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        decision = {"presenceAttribute": "Activity", "decision": True}
        status, body = await alice.ask(
            "PUT", "/rest/presence/subscription", {"watcher": CAROL, "decisions": [decision]}
        )
        assert (status, body["error"]["messageId"]) == (403, "POL0001")
        assert body["error"]["variables"] == ["not-enforceable-at-presence-server"]
        assert CAROL in await alice.open_subscriptions()


def entry(id: str, name: str, status: str = "active") -> str:
    return (
        f'<watcher id="{id}" status="{status}" event="subscribe">sip:{name}@example.com</watcher>'
    )


def listed(version: int, *entries: str) -> bytes:
    rows = watcherinfo(version, "full").partition(b"</watcher-list>")
    return rows[0] + "".join(entries).encode() + rows[1] + rows[2]


async def test_a_watcher_of_ours_whose_phone_the_server_serves_is_not_decided_about_here() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        winfo = await server.subscription(ALICE, "presence.winfo")
        kind = "application/watcherinfo+xml"
        await bob.subscribe(ALICE)
        asked = await server.subscription(ALICE)
        ours = entry(asked.get("call-id"), "bob")
        server.notify(winfo, listed(1, ours, entry("c", "carol", "pending")), kind=kind)
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        await alice.decide(BOB, Activity=True)
        await bob.told("notifySubscription")

        server.notify(winfo, listed(2, ours, entry("his-phone", "bob")), kind=kind)
        await until(alice.open_subscriptions, lambda found: CAROL not in found)
        decision = {"presenceAttribute": "Activity", "decision": False}
        for method, path, body in (
            ("PUT", "", {"watcher": BOB, "decisions": [decision]}),
            ("DELETE", f"/{BOB}", None),
        ):
            path = "/rest/presence/subscription" + path
            status, answer = await alice.ask(method, path, body)
            assert (status, answer["error"]["messageId"]) == (403, "POL0001")
            assert answer["error"]["variables"] == ["not-enforceable-at-presence-server"]
        server.notify(winfo, listed(3, ours, entry("c", "carol", "pending")), kind=kind)
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        await alice.block(BOB)
        assert (await bob.told("subscriptionEnded"))["reason"] == "Blocked"


async def test_a_watcher_known_from_winfo_can_be_decided_about_where_that_is_wanted() -> None:
    async with (
        presence_server() as server,
        site(presence_server=remote(server) | {"unenforceable": "record"}) as here,
    ):
        alice = here.application("alice")
        asked = await server.subscription(ALICE, "presence.winfo")
        kind = "application/watcherinfo+xml"
        server.notify(asked, watcherinfo(1, "full", carol="pending"), kind=kind)
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        await alice.decide(CAROL, Activity=True)
        server.notify(asked, watcherinfo(2, "partial", carol="active"), kind=kind)
        await until(alice.watchers, lambda found: found == [CAROL])


async def test_a_server_without_watcher_information_leaves_the_local_records() -> None:
    async with presence_server() as server:
        server.refuse["SUBSCRIBE"] = 489
        async with site(presence_server=remote(server)) as here:
            alice, bob = here.application("alice"), here.application("bob")
            await server.subscription(BOB, "presence.winfo")
            server.refuse.clear()
            await bob.subscribe(ALICE)
            entry = (await alice.open_subscriptions())[BOB]
            assert entry["application"] == "Desk app"
            assert len([m for m in server.got if m.get("event") == "presence.winfo"]) == 2


async def test_bad_watcher_information_is_counted_and_forgotten() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice = here.application("alice")
        asked = await server.subscription(ALICE, "presence.winfo")
        kind = "application/watcherinfo+xml"
        server.notify(asked, watcherinfo(0, "full", bob="pending"), kind=kind)
        await until(alice.open_subscriptions, lambda found: BOB in found)
        server.notify(asked, b"<watcherinfo", kind=kind)
        assert await server.response("NOTIFY", 1) == 200
        assert BOB in await alice.open_subscriptions()
        metrics = await alice.text("/metrics")
        assert 'documents_refused_total{media_type="application/watcherinfo+xml"} 1.0' in metrics
