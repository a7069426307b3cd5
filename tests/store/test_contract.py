"""What every store does (`store/surface.py`), whichever it is."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sipbridge.agent.ports import (
    PublicationRemoved,
    PublicationStored,
    RegistrationRemoved,
    RegistrationStored,
    SubscriptionRemoved,
    SubscriptionStored,
)
from sipbridge.errors import ConcurrentChange, CorrelatorInUse, StoreUnavailable
from sipbridge.gateway.ports import (
    ContractRecord,
    ContractState,
    LogEntry,
    Notification,
    PublishedRecord,
    Reference,
    StoredRules,
    SubscriptionRecord,
)
from sipbridge.identities import PresentityKey
from sipbridge.presence.rules import RuleSet, SubHandling
from sipbridge.store import Snapshot, SnapshotRemoved, Store
from sipbridge.uri import Uri

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ALICE = PresentityKey("sip:alice@example.com")
BOB = PresentityKey("sip:bob@example.com")

SUBSCRIPTION = SubscriptionRecord(
    application="app_bob",
    watcher=BOB,
    watcher_uri="sip:bob@example.com",
    presentity=ALICE,
    presentity_uri="sip:Alice@example.com",
    label="Bob \N{SNOWMAN} & <Sons>",
    attributes=("Activity", "Place"),
    reference=Reference("/bayeux/app_bob/x", "c-1", "PresenceNotification"),
    since=AT,
    told=(("Activity", True),),
)
CONTRACT = ContractRecord(
    application="app_bob",
    watcher=BOB,
    correlator="c-1",
    presentity=ALICE,
    presentity_uri="sip:alice@example.com",
    attributes=(),
    endpoint="/bayeux/app_bob/x",
    interval=0.25,
    remaining=None,
    ends=AT + timedelta(days=1),
    check_immediate=True,
    started=AT,
)
PUBLISHED = PublishedRecord(
    application="app_alice",
    presentity=ALICE,
    presentity_uri="sip:alice@example.com",
    attributes=(("Activity", b'{"x": "\xc3\xa4"}'), ("Other", b"{}"), ("Other", b"[]")),
    changed=AT,
)
PUBLICATION = PublicationStored(
    id="p1",
    presentity=ALICE,
    presentity_uri="sip:alice@example.com",
    etag="e1",
    content_type="application/pidf+xml",
    body=b"<presence/>\x00\xff",
    received=AT,
    expires=AT + timedelta(hours=1),
)
DIALOG = SubscriptionStored("s1", ALICE, "presence", '{"cseq": 4}', AT + timedelta(hours=1))


def notification(text: str = "x", application: str = "app_bob") -> Notification:
    data = b'{"n": "%s"}' % text.encode()
    return Notification(
        application, f"/bayeux/{application}/x", "statusChanged", data, "c-1", "t-1"
    )


async def written(store: Store, *changes: object) -> list[int]:
    """Write and wait for `done`; the numbers are 1, 2, …"""
    future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    def done(numbers: list[int], error: Exception | None) -> None:
        if error is None:
            future.set_result(numbers)
        else:
            future.set_exception(error)

    store.write(list(enumerate(changes, 1)), done)
    return await future


# --- rules


async def test_rules_come_back_as_they_were_saved(store: Store) -> None:
    rules = RuleSet().with_decision(Uri.parse("sip:bob@example.com"), SubHandling.ALLOW)
    saved = StoredRules(ALICE, rules, 1, ((BOB, "Place"),))
    await store.save_rules(saved)
    await store.save_rules(StoredRules(BOB, RuleSet(), 1))
    assert list(await store.load_rules()) == [saved, StoredRules(BOB, RuleSet(), 1)]


async def test_rules_changed_by_somebody_else_are_not_overwritten(store: Store) -> None:
    await store.save_rules(StoredRules(ALICE, RuleSet(), 1))
    for version in (0, 1, 3):
        with pytest.raises(ConcurrentChange):
            await store.save_rules(StoredRules(ALICE, RuleSet(), version, ((BOB, "Place"),)))
    await store.save_rules(StoredRules(ALICE, RuleSet(), 2))
    assert list(await store.load_rules()) == [StoredRules(ALICE, RuleSet(), 2)]


async def test_of_two_changes_at_once_one_wins(store: Store) -> None:
    both = [store.save_rules(StoredRules(ALICE, RuleSet(), 1)) for _ in range(2)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ConcurrentChange]


# --- subscriptions, contracts, published attributes


async def test_a_subscription_is_kept_once_for_each_pair(store: Store) -> None:
    other = replace(SUBSCRIPTION, application="other")
    refused = replace(SUBSCRIPTION, state="refused", told=())
    for record in (SUBSCRIPTION, other, refused):
        await store.save_subscription(record)
    assert list(await store.load_subscriptions()) == [refused, other]
    await store.delete_subscription("app_bob", BOB, ALICE)
    await store.delete_subscription("app_bob", BOB, ALICE)
    assert list(await store.load_subscriptions()) == [other]


async def test_a_correlator_is_unique_within_an_application(store: Store) -> None:
    await store.add_contract(CONTRACT)
    with pytest.raises(CorrelatorInUse, match="c-1"):
        await store.add_contract(replace(CONTRACT, remaining=5))
    other = replace(CONTRACT, application="other", ends=None)
    await store.add_contract(other)
    assert list(await store.load_contracts()) == [CONTRACT, other]


async def test_an_ended_contract_is_not_brought_back_by_a_late_update(store: Store) -> None:
    await store.add_contract(CONTRACT)
    less = ContractState("app_bob", "c-1", AT, 4, {ALICE: {"Activity": "d"}})
    store.update_contracts([less])
    now = replace(CONTRACT, sent=AT, remaining=4, told=((ALICE, (("Activity", "d"),)),))
    assert list(await store.load_contracts()) == [now]
    await store.delete_contract("app_bob", "c-1")
    store.update_contracts([less])
    assert list(await store.load_contracts()) == []
    await store.add_contract(CONTRACT)
    assert list(await store.load_contracts()) == [CONTRACT], "and it knows nothing of the other"


async def test_published_attributes_are_replaced_as_a_whole(store: Store) -> None:
    await store.save_published(PUBLISHED)
    newer = replace(PUBLISHED, attributes=(("Place", b"{}"),), ends=AT)
    other = replace(PUBLISHED, presentity=BOB)
    await store.save_published(other)
    await store.save_published(newer)
    assert list(await store.load_published()) == [newer, other]
    await store.delete_published("app_alice", ALICE)
    assert list(await store.load_published()) == [other]


# --- the agent's records


async def test_the_newest_record_of_each_id_comes_back(store: Store) -> None:
    newer = replace(PUBLICATION, etag="e2")
    assert await written(store, PUBLICATION, DIALOG, newer) == [1, 2, 3]
    assert list(await store.load_agent()) == [DIALOG, newer]
    await written(store, PublicationRemoved("p1"), SubscriptionRemoved("no such"))
    assert list(await store.load_agent()) == [DIALOG]
    await written(store, SubscriptionRemoved("s1"))
    assert list(await store.load_agent()) == []


async def test_registrations_come_back_until_they_are_removed(store: Store) -> None:
    first = RegistrationStored(ALICE, "[]")
    newer = RegistrationStored(ALICE, '[{"uri": "sip:a"}]')
    await written(store, first, newer)
    assert list(await store.load_agent()) == [newer]
    await written(store, RegistrationRemoved(ALICE))
    assert list(await store.load_agent()) == []


async def test_a_publication_and_a_subscription_may_share_an_id(store: Store) -> None:
    dialog = replace(DIALOG, id="p1")
    await written(store, PUBLICATION, dialog, PublicationRemoved("p1"))
    assert list(await store.load_agent()) == [dialog]


async def test_done_is_never_called_from_within_write(store: Store) -> None:
    said: list[list[int]] = []
    told = asyncio.Event()

    def done(numbers: list[int], error: Exception | None) -> None:
        said.append(numbers)
        if len(said) == 2:
            told.set()

    store.write([(7, PUBLICATION)], done)
    store.write([(8, DIALOG), (9, PublicationRemoved("p1"))], done)
    assert said == []
    await told.wait()
    assert said == [[7], [8, 9]]


async def test_an_empty_write_is_done_too(store: Store) -> None:
    assert await written(store) == []


# --- snapshots


async def test_snapshots_are_kept_by_kind_and_key(store: Store) -> None:
    await store.save_snapshot("subscriber", "b", "1")
    await store.save_snapshot("subscriber", "a", "2")
    await store.save_snapshot("publisher", "a", "3")
    await store.save_snapshot("subscriber", "b", "4")
    assert list(await store.load_snapshots("subscriber")) == [("a", "2"), ("b", "4")]
    await store.delete_snapshot("subscriber", "a")
    assert list(await store.load_snapshots("subscriber")) == [("b", "4")]
    await written(store, SnapshotRemoved("subscriber", "b"), Snapshot("publisher", "a", "5"))
    assert list(await store.load_snapshots("subscriber")) == []
    assert list(await store.load_snapshots("publisher")) == [("a", "5")]


async def test_what_is_remembered_is_read_at_once_and_the_newest_wins(store: Store) -> None:
    store.remember("last-change", "a", "1")
    store.remember("last-change", "a", "2")
    store.remember("last-change", "b", "1")
    store.remember("last-change", "b", None)
    assert list(await store.load_snapshots("last-change")) == [("a", "2")]
    store.remember("last-change", "a", "3")
    await store.save_snapshot("last-change", "a", "4")
    assert list(await store.load_snapshots("last-change")) == [("a", "4")]


# --- the notification log


async def shown(store: Store, *texts: str, application: str = "app_bob") -> list[LogEntry]:
    """Append notifications and wait until readers see them."""
    entries: list[LogEntry] = []
    all_kept = asyncio.Event()

    def kept(entry: LogEntry) -> None:
        assert entry in store.read_after(application, entry.sequence - 1)
        entries.append(entry)
        if len(entries) == len(texts):
            all_kept.set()

    for n, text in enumerate(texts):
        store.append(notification(text, application), AT + timedelta(seconds=n), kept)
    await all_kept.wait()
    return entries


async def test_entries_come_back_in_order_with_growing_sequences(store: Store) -> None:
    entries = await shown(store, *"01234")
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert list(store.read_after("app_bob", 0)) == entries
    assert list(store.read_after("app_bob", 3)) == entries[3:]
    assert list(store.read_after("app_bob", 5)) == []
    assert list(store.read_after("app_bob", 99)) == []
    assert store.oldest("app_bob") == 1


async def test_applications_have_logs_of_their_own(store: Store) -> None:
    (mine,) = await shown(store, "x")
    (theirs,) = await shown(store, "x", application="other")
    assert (mine.sequence, theirs.sequence) == (1, 1)
    assert list(store.read_after("app_bob", 0)) == [mine]
    assert list(store.read_after("stranger", 0)) == []
    assert store.oldest("stranger") == 0


@pytest.mark.parametrize(
    ("entries", "not_before", "left"),
    [
        (3, AT, [8, 9, 10]),
        (100, AT + timedelta(seconds=4), [5, 6, 7, 8, 9, 10]),
        (2, AT + timedelta(seconds=4), [9, 10]),
        (100, AT + timedelta(hours=1), []),
        (100, AT, list(range(1, 11))),
    ],
)
async def test_trimming_bounds_by_number_and_age(
    store: Store, entries: int, not_before: datetime, left: list[int]
) -> None:
    await shown(store, *"abcdefghij")
    store.trim("app_bob", entries, not_before)
    assert sequences(store) == left
    assert store.oldest("app_bob") == (left[0] if left else 0)
    assert store.append(notification(), AT).sequence == 11


@pytest.mark.parametrize(
    ("kept", "left"), [(0, [5]), (1, [5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])]
)
async def test_trimming_bounds_by_bytes_and_leaves_the_newest(
    store: Store, kept: int, left: list[int]
) -> None:
    """Bounds that hold so many entries of a hundred kilobytes."""
    await shown(store, *["x" * 100_000] * 5)
    store.trim("app_bob", 1000, AT, kept * 101_000)
    assert sequences(store) == left
    store.trim("app_bob", 1000, AT, kept * 101_000)
    assert sequences(store) == left


async def test_bytes_are_counted_for_each_application(store: Store) -> None:
    await shown(store, "x" * 100_000)
    await shown(store, "x", "y", application="other")
    store.trim("other", 1000, AT, 10_000)
    assert len(store.read_after("other", 0)) == 2


async def test_the_newest_sequence_is_known_when_its_entry_is_gone(store: Store) -> None:
    assert store.newest("app_bob") == 0
    await shown(store, "x", "y", "z")
    store.trim("app_bob", 0, AT + timedelta(hours=1))
    assert (store.oldest("app_bob"), store.newest("app_bob")) == (0, 3)


def sequences(store: Store) -> Sequence[int]:
    return [entry.sequence for entry in store.read_after("app_bob", 0)]


# --- the whole


async def test_a_fresh_store_is_empty_and_writable(store: Store) -> None:
    assert not await store.load_rules()
    assert not await store.load_agent()
    assert not await store.load_snapshots("x")
    assert store.writable()
    assert store.location


async def test_a_closed_store_refuses_and_says_so(store: Store) -> None:
    store.append(notification(), AT)
    await store.close()
    await store.close()
    assert not store.writable()
    with pytest.raises(StoreUnavailable):
        await store.load_contracts()
    with pytest.raises(StoreUnavailable):
        store.write([(1, PUBLICATION)], lambda numbers, error: None)
    with pytest.raises(StoreUnavailable):
        store.append(notification(), AT)
    with pytest.raises(StoreUnavailable):
        store.remember("a", "b", "c")


async def test_a_change_nobody_knows_fails_alone(store: Store) -> None:
    if store.location == "memory":
        pytest.skip("the memory store raises in the loop, where asyncio reports it")
    bad = asyncio.ensure_future(written(store, PUBLICATION, object()))
    good = asyncio.ensure_future(written(store, DIALOG))
    with pytest.raises(TypeError, match="no change"):
        await bad
    assert await good == [1]
    assert list(await store.load_agent()) == [DIALOG]
