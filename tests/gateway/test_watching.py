"""Handles on contacts: new ones each time, one status for each, told when it changes and not otherwise."""

from datetime import timedelta

import pytest

from sipbridge.errors import QuotaExceeded, RequestRejected, StoreUnavailable, TransactionTimeout
from sipbridge.gateway import Caller, Group
from sipbridge.gateway.observations import AGAIN
from sipbridge.gateway.watching import HANDLES, LEASES, MIN_FEEDS, Watching
from sipbridge.gateway.wishes import Wish
from sipbridge.identities import KnownIdentities, Person, PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.rows import Status
from sipbridge.mapping.table import DEFAULT
from sipbridge.mapping.webex import to_attributes
from sipbridge.uri import Uri
from tests.gateway.fakes import START, Bench, FakeStore, run_now

ALICE, BOB, DESK = (f"sip:{n}@example.com" for n in ("alice", "bob", "desk"))
KNOWN = frozenset({ALICE, BOB, "sip:carol@example.com"})
PEOPLE = KnownIdentities(
    [
        Person(Uri.parse(ALICE), (Uri.parse("tel:+15550100"), Uri.parse("webex:Y2lz"))),
        Person(Uri.parse(DESK), (Uri.parse("webex:desk"),), bot=True),
    ]
)
TEAM = Group(Uri.parse("sip:team@example.com"), (Uri.parse(ALICE),))
ALL = [(kind, True) for kind in AttributeKind]


class Memory:
    """The snapshots of a store. `failure`: what the next write meets."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None

    async def save_snapshot(self, kind: str, key: str, text: str) -> None:
        if self.failure:
            raise self.failure
        self.kept[kind, key] = text

    async def load_snapshots(self, kind: str) -> list[tuple[str, str]]:
        return [(key, text) for (other, key), text in sorted(self.kept.items()) if other == kind]

    def remember(self, kind: str, key: str, text: str | None) -> None:
        if text is None:
            self.kept.pop((kind, key), None)
        else:
            self.kept[kind, key] = text


class House(Bench):
    """A gateway with Webex-style watching on top."""

    def __init__(
        self, store: FakeStore | None = None, memory: Memory | None = None, most: int = 0
    ) -> None:
        super().__init__(store=store, groups=[TEAM])
        self.memory = memory or Memory()
        self.known: set[str] = set(KNOWN)
        self.watching = Watching(
            self.gateway.registry,
            self.gateway.observations,
            self.memory,
            self.clock,
            PEOPLE,
            DEFAULT,
            self.gateway.deadlines,
            run_now,
            lambda key: key in self.known,
            most,
        )
        self.gateway.watchers.identities = self.gateway.presentities.identities = PEOPLE
        self.cursors: dict[object, int] = {}

    async def watch(self, *contacts: str, caller: Caller | None = None) -> list[Wish]:
        return await self.watching.watch(caller or self.bob, contacts)

    def told(self, kind: str = HANDLES, caller: Caller | None = None) -> list[tuple[object, str]]:
        """What a client that read everything before is told now."""
        feed = self.watching.feed(caller or self.bob, kind)
        entries = feed.since(self.cursors.get(feed, 0))
        self.cursors[feed] = feed.last
        return [(w.name, self.watching.seen(w).presence.status.value) for _, w in entries]

    def status(self, wish: Wish) -> str:
        return self.watching.seen(wish).presence.status.value

    async def publish(self, word: Activity, *pairs: tuple[str, str], note: str = "") -> None:
        others = [Attribute(AttributeKind.OTHER, Other(*pair)) for pair in pairs]
        await self.gateway.publish(
            self.alice, [Attribute(AttributeKind.ACTIVITY, word, note or None), *others]
        )

    async def grant(self, *kinds: AttributeKind) -> None:
        decisions = [(kind, True) for kind in kinds] or ALL
        await self.gateway.update_authorization(self.alice, Uri.parse(BOB), decisions)

    async def grant_unasked(self) -> None:
        """Bob sees everything of Alice, and does not watch her at the moment."""
        (wish,) = await self.watch(ALICE)
        await self.grant()
        await self.watching.stop(self.bob, [int(wish.name)])

    async def restarted_house(self) -> "House":
        """Another process on the same store."""
        new = House(self.store, self.memory)
        new.network.documents = self.network.documents
        new.clock.passed = self.clock.passed
        await new.gateway.load({"app_alice", "app_bob"})
        await new.watching.load({"app_alice", "app_bob"})
        new.watching.resume()
        await new.gateway.resume(lambda what, error: None)
        return new


@pytest.fixture
def house() -> House:
    return House()


async def test_every_watch_of_the_same_contact_has_a_handle_of_its_own(house: House) -> None:
    first, second = await house.watch(ALICE, ALICE)
    (third,) = await house.watch(ALICE)
    assert [w.name for w in (first, second, third)] == [1, 2, 3]
    await house.grant()
    await house.publish(Activity.BUSY)
    house.told()
    await house.watching.stop(house.bob, [2])
    await house.publish(Activity.MEETING)
    assert house.told() == [(1, "Meeting"), (3, "Meeting")]


async def test_handles_stand_in_the_order_of_the_contacts_and_say_which_are_none(
    house: House,
) -> None:
    contacts = {
        ALICE: True,
        "bad id": False,
        "tel:+1-555-0100": True,
        "Y2lz": True,
        "alice@example.com": True,
        "mailto:bob@example.com": True,
        "pres:bob@example.com": True,
        DESK: False,
        "desk": False,
        "sip:nobody@example.com": False,
        "sip:team@example.com": False,
        "sip:somebody@elsewhere.example": True,
        "https://example.com/alice": False,
    }
    wishes = await house.watch(*contacts)
    assert [(w.contact_id, w.is_valid) for w in wishes] == list(contacts.items())
    assert [w.name for w in wishes] == list(range(1, len(contacts) + 1))
    assert not any(w.is_valid for w in await house.watch("bad id"))
    assert house.watching.live == {"app_bob": sum(contacts.values())}


async def test_somebody_who_publishes_later_is_valid_then(house: House) -> None:
    (early,) = await house.watch("sip:dave@example.com")
    house.known.add("sip:dave@example.com")
    (late,) = await house.watch("sip:dave@example.com")
    assert (early.is_valid, late.is_valid) == (False, True)


async def test_the_first_value_comes_at_once_and_is_pending_while_nobody_has_decided(
    house: House,
) -> None:
    (wish,) = await house.watch(ALICE)
    assert house.told() == [(1, "Pending")]
    await house.publish(Activity.BUSY)
    assert house.told() == []
    await house.grant()
    assert house.told() == [(1, "Busy")]
    (again,) = await house.watch(ALICE)
    assert house.told() == [(2, "Busy")]
    assert house.status(wish) == house.status(again) == "Busy"


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.UNKNOWN, Status.PENDING)])
async def test_every_status_that_can_be_set_is_seen(house: House, status: Status) -> None:
    await house.watch(ALICE)
    await house.grant()
    house.told()
    at = house.clock.at()
    await house.gateway.publish(house.alice, to_attributes(status, at=at, custom_status="focus"))
    assert house.told() == [(1, status.value)]
    (contact,) = house.watching.contacts[house.bob.key, house.alice.key].values()
    assert contact.seen is not None and contact.seen.presence.custom_status == "focus"


async def test_a_refresh_is_no_news_and_a_note_is(house: House) -> None:
    await house.watch(ALICE)
    await house.grant()
    await house.publish(Activity.BUSY)
    house.told()
    await house.publish(Activity.BUSY)
    assert house.told() == []
    await house.publish(Activity.BUSY, note="focus time")
    assert house.told() == [(1, "Busy")]
    await house.gateway.publish(
        house.alice, [Attribute(AttributeKind.OTHER, Other("rpid.mood", "happy"))]
    )
    assert house.told() == []


async def test_busy_people_who_become_idle_are_news_where_busy_is_no_word(house: House) -> None:
    await house.watch(ALICE)
    house.watching.lease(house.bob, ALICE, 600)
    await house.grant()
    await house.publish(Activity.BUSY, ("rpid.user-input", "active"))
    house.told(), house.told(LEASES)
    await house.publish(Activity.BUSY, ("rpid.user-input", "idle"))
    assert house.told() == []
    (wish,) = house.watching.feed(house.bob, LEASES).wishes.values()
    assert house.watching.seen(wish).service == "inactive"
    assert house.told(LEASES) == [(ALICE, "Busy")]


async def test_when_somebody_was_active_is_no_news_but_who_comes_new_is_told_the_newest(
    house: House,
) -> None:
    (wish,) = await house.watch(ALICE)
    await house.grant()
    stamps = ("2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z")
    for stamp in stamps:
        house.told()
        began = house.watching.seen(wish).since
        house.pass_seconds(5)
        await house.publish(
            Activity.AVAILABLE,
            ("rpid.user-input", "active"),
            ("rpid.user-input.last-input", stamp),
        )
    assert house.told() == []
    seen = house.watching.seen(wish)
    assert seen.presence.last_active_time == round(
        (START - timedelta(minutes=30)).timestamp() * 1000
    )
    assert seen.since == began


async def test_a_blocked_watcher_knows_nothing_until_the_block_is_lifted(house: House) -> None:
    (wish,) = await house.watch(ALICE)
    await house.grant()
    await house.publish(Activity.MEETING, note="secret")
    assert house.told()[-1] == (1, "Meeting")
    await house.gateway.block(house.alice, Uri.parse(BOB))
    assert house.told() == [(1, "Unknown")]
    assert house.watching.seen(wish).presence.custom_status == ""
    (other,) = await house.watch(ALICE)
    assert (other.is_valid, house.status(other)) == (True, "Unknown")
    await house.grant()
    assert dict(house.told()) == {1: "Meeting", 2: "Meeting"}


async def test_without_activity_there_is_nothing_and_without_other_no_last_active_time(
    house: House,
) -> None:
    (wish,) = await house.watch(ALICE)
    await house.grant(AttributeKind.PLACE)
    stamp = "2026-03-01T11:00:00Z"
    await house.publish(
        Activity.AWAY, ("rpid.user-input", "idle"), ("rpid.user-input.last-input", stamp)
    )
    assert house.status(wish) == "Pending"
    await house.grant(AttributeKind.ACTIVITY)
    seen = house.watching.seen(wish).presence
    assert (seen.status, seen.last_active_time) == (Status.INACTIVE, None)
    await house.grant(AttributeKind.OTHER)
    seen = house.watching.seen(wish).presence
    assert seen.last_active_time == round((START - timedelta(hours=1)).timestamp() * 1000)


async def test_when_a_status_expires_the_next_one_goes_out_by_itself(house: House) -> None:
    (wish,) = await house.watch(ALICE)
    await house.grant()
    until = START + timedelta(seconds=90)
    await house.gateway.publish(
        house.alice, to_attributes(Status.DND, at=START, until=until, custom_status="focus time")
    )
    seen = house.watching.seen(wish).presence
    assert (seen.status, seen.expires_time) == (Status.DND, round(until.timestamp() * 1000))
    house.told()
    house.pass_seconds(89.9)
    assert house.told() == []
    house.pass_seconds(0.2)
    assert house.told() == [(1, "Active")]
    assert house.watching.seen(wish).presence.expires_time is None


async def test_a_contact_unknown_to_its_server_is_unknown_and_tried_again(house: House) -> None:
    house.network.here = False
    house.network.failure = RequestRejected(404, "Not Found")
    (wish,) = await house.watch("sip:dora@remote.example")
    assert (wish.is_valid, house.status(wish)) == (True, "Unknown")
    house.network.failure = TransactionTimeout("no answer")
    house.pass_seconds(AGAIN + 1)
    assert house.status(wish) == "Unknown"
    house.network.failure = None
    house.pass_seconds(AGAIN + 1)
    assert house.status(wish) in ("Pending", "Unknown")
    assert ("sip:bob@example.com", "sip:dora@remote.example") in house.network.watching


async def test_what_is_stopped_is_left_and_what_is_no_handle_is_ignored(house: House) -> None:
    await house.watch(ALICE, ALICE)
    pair = (house.bob.key, house.alice.key)
    await house.watching.stop(house.bob, [1, 1, 77, -5])
    assert pair in house.network.watching
    await house.watching.stop(house.alice, [2])
    assert pair in house.network.watching
    await house.watching.stop(house.bob, [2])
    assert pair not in house.network.watching
    assert house.gateway.registry.subscriptions == {} and house.watching.contacts == {}
    assert house.watching.live == {"app_bob": 0}
    await house.watching.stop(house.bob, [2])
    assert [k for k in house.memory.kept if k[0] == "webex-handle"] == []


async def test_the_open_list_says_webex_and_the_applications_own_subscription_stays(
    house: House,
) -> None:
    await house.watch(ALICE)
    (entry,) = await house.gateway.open_subscriptions(house.alice)
    assert (entry.application, entry.watcher) == ("Webex", BOB)
    assert len(entry.attributes) == len(AttributeKind)


async def test_a_caller_sees_its_own_handles_only(house: House) -> None:
    await house.watch(ALICE)
    dave = house.caller("dave", "app_bob")
    other = house.caller("bob", "app_bob2")
    assert house.told(caller=dave) == house.told(caller=other) == []
    await house.watch(ALICE, caller=dave)
    assert house.told(caller=dave) == [(2, "Pending")]
    assert house.told() == [(1, "Pending")]


async def test_handles_survive_a_restart_and_numbers_are_never_given_out_again(
    house: House,
) -> None:
    await house.watch(ALICE, "bad id", ALICE)
    await house.grant()
    await house.publish(Activity.BUSY)
    await house.watching.stop(house.bob, [3])
    await house.watch("bad id")  # the last number belongs to nobody
    new = await house.restarted_house()
    feed = new.watching.feed(new.bob, HANDLES)
    assert [(w.name, w.contact_id, new.status(w)) for w in feed.wishes.values()] == [
        (1, ALICE, "Busy")
    ]
    await new.publish(Activity.MEETING)
    assert new.told()[-1] == (1, "Meeting")
    (fresh,) = await new.watch(ALICE)
    assert fresh.name == 5
    await new.watching.stop(new.bob, [1, 5])
    assert new.network.watching == set()


async def test_a_handle_on_somebody_who_blocked_survives_a_restart_too(house: House) -> None:
    await house.watch(ALICE)
    await house.grant()
    await house.publish(Activity.BUSY)
    await house.gateway.block(house.alice, Uri.parse(BOB))
    new = await house.restarted_house()
    (wish,) = new.watching.feed(new.bob, HANDLES).wishes.values()
    assert new.status(wish) == "Unknown"
    await new.grant()
    assert new.status(wish) == "Busy"


async def test_handles_of_an_application_that_is_not_there_now_are_kept(house: House) -> None:
    await house.watch(ALICE)
    new = House(house.store, house.memory)
    await new.watching.load({"app_alice"})
    assert new.watching.contacts == {}
    assert len(await house.memory.load_snapshots("webex-handle")) == 1


async def test_a_handle_that_could_not_be_written_down_is_none(house: House) -> None:
    house.memory.failure = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable):
        await house.watch(ALICE)
    assert house.told() == [] and house.watching.contacts == {} and house.network.watching == set()
    house.memory.failure = None
    (wish,) = await house.watch(ALICE)
    assert house.told() == [(wish.name, "Pending")]


async def test_an_application_has_so_many_handles_and_no_more() -> None:
    house = House(most=3)
    await house.watch(ALICE, "bad id", ALICE)
    with pytest.raises(QuotaExceeded):
        await house.watch(ALICE, ALICE)
    await house.watch(ALICE, "bad id")
    with pytest.raises(QuotaExceeded):
        house.watching.lease(house.bob, ALICE, 60)
    assert await house.watch("bad id")
    await house.watch(BOB, caller=house.alice)


async def test_a_lease_ends_by_itself_unless_it_is_asked_for_again(house: House) -> None:
    wish = house.watching.lease(house.bob, "Y2lz", 600)
    assert wish.is_valid and house.told(LEASES) == [("Y2lz", "Pending")]
    await house.grant()
    await house.publish(Activity.BUSY)
    assert house.told(LEASES) == [("Y2lz", "Busy")]
    house.pass_seconds(500)
    assert house.watching.lease(house.bob, "Y2lz", 600) is wish
    house.pass_seconds(500)
    await house.publish(Activity.MEETING)
    assert house.told(LEASES) == [("Y2lz", "Meeting")]
    house.pass_seconds(101)
    assert house.watching.contacts == {} and house.network.watching == set()
    assert not house.watching.lease(house.bob, "bad id", 600).is_valid
    house.watching.lease(house.bob, ALICE, 600)
    house.watching.release(house.bob, ALICE)
    house.watching.release(house.bob, ALICE)
    assert house.network.watching == set()


async def test_what_only_a_lease_observed_is_left_after_a_restart(house: House) -> None:
    house.watching.lease(house.bob, ALICE, 600)
    assert house.store.subscriptions
    new = await house.restarted_house()
    assert new.gateway.registry.subscriptions == {} and new.network.watching == set()
    assert house.store.subscriptions == {}


async def test_handles_and_leases_share_what_they_observe(house: House) -> None:
    await house.watch(ALICE)
    house.watching.lease(house.bob, ALICE, 60)
    await house.watching.stop(house.bob, [1])
    assert house.network.watching
    house.pass_seconds(61)
    assert not house.network.watching


async def test_an_application_that_may_not_act_as_somebody_any_more_loses_the_handles(
    house: House,
) -> None:
    dave = house.caller("dave", "app_bob")
    await house.watch(ALICE)
    await house.watch(ALICE, caller=dave)
    await house.watching.retire("app_bob", lambda key: key == house.bob.key)
    assert house.told(caller=dave) == []
    assert [w.name for w in house.watching.feed(house.bob, HANDLES).wishes.values()] == [1]
    assert [key for key, _ in await house.memory.load_snapshots("webex-handle")] == ["1"]
    await house.watching.purge("app_bob")
    assert await house.memory.load_snapshots("webex-handle") == []


async def test_a_reader_gets_states_and_each_only_once(house: House) -> None:
    await house.watch(ALICE, ALICE)
    await house.grant()
    feed = house.watching.feed(house.bob, HANDLES)
    woken: list[int] = []
    stop = feed.listen(lambda: woken.append(feed.last))
    seen = feed.last
    for word in (Activity.BUSY, Activity.MEETING, Activity.AWAY):
        await house.publish(word)
    assert [w.name for _, w in feed.since(seen)] == [1, 2]
    assert len(woken) == 3
    assert [n for n, _ in feed.since(seen)] == [feed.last - 1, feed.last]
    assert feed.since(feed.last) == []
    stop()
    await house.publish(Activity.BUSY)
    assert len(woken) == 3


async def test_a_look_asks_once_and_leaves_nothing(house: House) -> None:
    await house.publish(Activity.BUSY)
    seen, _ = await house.watching.look(house.bob, Uri.parse(ALICE))
    assert seen.presence.status is Status.PENDING  # nobody has granted it
    own, _ = await house.watching.look(house.alice, Uri.parse("webex:Y2lz"))
    assert (own.presence.status, own.rest, own.service) == (Status.BUSY, "active", "active")
    assert house.gateway.registry.subscriptions == {}


def test_keys_are_of_people() -> None:
    assert PEOPLE.canonical(Uri.parse("webex:Y2lz")) == PresentityKey(ALICE)


async def test_feeds_that_nobody_uses_are_forgotten(house: House) -> None:
    await house.watch(ALICE)
    kept = house.watching.feed(house.bob, HANDLES)
    listened = house.watching.feed(house.alice, HANDLES)
    listened.listen(lambda: None)
    for n in range(3 * MIN_FEEDS):
        house.watching.feed(house.caller(f"user{n}"), HANDLES)
    assert len(house.watching.feeds) < 3 * MIN_FEEDS
    assert house.watching.feed(house.bob, HANDLES) is kept
    assert house.watching.feed(house.alice, HANDLES) is listened


async def test_a_status_that_may_be_old_says_so_until_it_is_confirmed(house: House) -> None:
    (wish,) = await house.watch(ALICE)
    await house.grant()
    await house.publish(Activity.BUSY)
    house.told()
    pair = (house.bob.key, house.alice.key)
    house.gateway.presence_outdated(*pair)
    assert house.watching.seen(wish).stale
    assert house.told() == [(wish.name, "Busy")]
    house.gateway.presence_outdated(*pair)
    assert house.told() == []
    house.network.tell(pair, house.network.documents[house.alice.key])  # the same as before
    assert not house.watching.seen(wish).stale
    assert house.told() == [(wish.name, "Busy")]
    house.gateway.presence_outdated(*pair)
    house.network.tell(pair, None)  # nothing was said about presence
    assert house.watching.seen(wish).stale
    await house.publish(Activity.MEETING)
    assert not house.watching.seen(wish).stale
    assert house.told() == [(wish.name, "Meeting")]
