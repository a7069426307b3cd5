"""Groups that one subscription watches: the network against a notifier that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sipbridge.app.group_watch import GroupWatches, JointGroup, joint_group
from sipbridge.app.network import SipNetwork
from sipbridge.app.standing import Peer, Standing
from sipbridge.errors import DocumentError, RequestRejected
from sipbridge.events.presence_package import BRINGS_LIST, PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import ListUpdate, PresenceUpdate, WatchersUpdate
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.presence import lists
from sipbridge.sip.policy import Groups, PeerPolicy
from sipbridge.uri import Uri
from tests.app.lists import KIND, row, told
from tests.events.peers import TO_BOB, Answer, ScriptedNotifier, pidf
from tests.harness.pair import ALICE, Pair

TEAM = Uri.parse("sip:team@example.com")
DAVE, ERIN, ZOE = "sip:dave@example.com", "sip:erin@example.com", "sip:zoe@example.org"
MEMBERS = tuple(map(Uri.parse, (DAVE, ERIN, ZOE)))
IDENTITIES = NormalisingIdentities()
BOB = Uri.parse("sip:bob@example.com")
CALLER = Caller("app_bob", BOB, IDENTITIES.canonical(BOB), "t1")
LIST = Answer(headers=(("Require", "eventlist"),), notify=None)
PERSON = Answer(body=pidf("open", ERIN))
BOTH = told(
    0,
    True,
    row(DAVE, "active", "d@x"),
    row(ERIN, "active", "e@x"),
    d=pidf("open", DAVE),
    e=pidf("open", ERIN),
)


def policy(groups: str, *, abroad: bool = False) -> PeerPolicy:
    return replace(TO_BOB, groups=Groups(groups), groups_abroad=abroad)


class World:
    """A network with a group; the gateway is this object. Time stands still unless it is told to pass."""

    def __init__(self, groups: str, *answers: Answer, abroad: bool = False) -> None:
        self.pair = Pair()
        self.server = ScriptedNotifier(self.pair.bob, *answers)
        self.pair.bob.supported.append(BRINGS_LIST)
        packages = {PRESENCE.name: PRESENCE}
        self.network = SipNetwork(
            Publisher(self.pair.alice, packages),
            Subscriber(self.pair.alice, packages),
            Standing(IDENTITIES, {}, Peer("", False, policy(groups, abroad=abroad)), {}, {}),
            turn=lambda: None,
            now=lambda: self.pair.now,
            at=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC),
            refused=lambda error, kind, trace: self.refused.append(error),
            remember=lambda key, text: None,
            observe=lambda said: None,
        )
        joint = joint_group(
            TEAM, MEMBERS, lambda u: self.network.standing.peer_of(u).policy, IDENTITIES
        )
        known: Mapping[PresentityKey, JointGroup] = (
            {} if joint is None else {IDENTITIES.canonical(TEAM): joint}
        )
        self.groups = GroupWatches(self.network, self, known, IDENTITIES, self.spawn)
        self.network.listener = self.network.list_listener = self.network.groups = self.groups
        self.network.lists = known.keys()
        self.handled = 0
        self.refused: list[DocumentError] = []
        self.news: list[PresenceUpdate] = []
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        self.tasks.append(asyncio.create_task(drive(work)))

    def presence_changed(self, update: PresenceUpdate) -> None:
        self.news.append(update)

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        raise AssertionError("nothing is lost here")

    def watchers_changed(self, update: WatchersUpdate) -> None:
        raise AssertionError("nobody asked for watchers")

    def list_changed(self, update: ListUpdate) -> None:
        raise AssertionError("the gateway knows no list")

    async def turn(self, seconds: float = 0.0) -> None:
        """Everything that happens until then, in the order in which it is reported."""
        await asyncio.sleep(0)
        self.pair.pass_seconds(seconds)
        reported = self.pair.reported[ALICE]
        while self.handled < len(reported):
            self.handled += 1
            self.network.handle(reported[self.handled - 1])
            for _ in range(5):
                await asyncio.sleep(0)
            self.pair.turn()

    async def ask(self, *members: str, resuming: bool = False) -> None:
        """The gateway asks for members of the group, one after the other."""
        for member in members:
            work = self.network.watch(CALLER, Uri.parse(member), resuming=resuming, group=TEAM)
            task = asyncio.create_task(work)
            self.tasks.append(task)
            await self.turn()
            await self.turn()
            await task

    async def notify(self, body: bytes, state: str = "active") -> None:
        self.server.notify(self.pair.now, state, body, content_type=KIND, require="eventlist")
        await self.turn()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def asked(self) -> list[str]:
        """Whom each SUBSCRIBE went to."""
        return [incoming.request.uri for incoming in self.server.got]

    @property
    def begun(self) -> list[str]:
        """The same without those in a dialog, which go to a contact."""
        return [uri for uri in self.asked if "@example" in uri]

    def told(self) -> list[tuple[str, str, bool]]:
        """Presentity, state and "with a document" of the news, which are taken."""
        assert all(update.group is None for update in self.news)
        taken: list[tuple[str, str, bool]] = [
            (n.presentity, n.state, n.document is not None) for n in self.news
        ]
        self.news.clear()
        return taken


async def drive(work: Coroutine[object, object, None]) -> None:
    await work


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        await world.close()


def made(worlds: list[World], groups: str, *answers: Answer, abroad: bool = False) -> World:
    worlds.append(World(groups, *answers, abroad=abroad))
    return worlds[-1]


@pytest.mark.parametrize("groups", ["uri", "body"])
async def test_one_subscription_stands_for_all_members(worlds: list[World], groups: str) -> None:
    world = made(worlds, groups, LIST)
    await world.ask(DAVE, ERIN)
    assert world.asked == [str(TEAM)]
    await world.notify(BOTH)
    assert world.told() == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_a_body_names_the_members_of_the_groups_own_domain_only(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST, PERSON)
    await world.ask(DAVE, ERIN, ZOE)
    first = world.server.got[0].request
    assert first.require == ["recipient-list-subscribe"]
    brought = [entry.uri for entry in lists.entries(lists.parse(first.body))]
    assert brought == [DAVE, ERIN]
    assert world.asked == [str(TEAM), ZOE]


async def test_the_profile_may_allow_members_of_other_domains(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST, abroad=True)
    await world.ask(DAVE, ERIN, ZOE)
    brought = lists.entries(lists.parse(world.server.got[0].request.body))
    assert [entry.uri for entry in brought] == [DAVE, ERIN, ZOE]
    assert world.asked == [str(TEAM)]


async def test_a_list_at_the_server_is_asked_for_without_a_body(worlds: list[World]) -> None:
    world = made(worlds, "uri", LIST)
    await world.ask(DAVE)
    assert world.server.got[0].request.body == b""
    assert world.server.got[0].request.supported == ["eventlist"]


async def test_by_default_each_member_has_a_subscription_of_its_own(worlds: list[World]) -> None:
    world = made(worlds, "each", PERSON)
    await world.ask(DAVE, ERIN)
    assert world.asked == [DAVE, ERIN]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 420, 421, 489, 501, 513, 603])
async def test_who_takes_no_such_subscription_gets_one_for_each(
    worlds: list[World], status: int
) -> None:
    world = made(worlds, "body", Answer(status), PERSON)
    await world.ask(DAVE, ERIN)
    assert world.asked == [str(TEAM), DAVE, ERIN]
    assert world.told() == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_who_takes_it_for_a_person_gets_one_for_each(worlds: list[World]) -> None:
    world = made(worlds, "body", Answer(notify=None), PERSON)
    await world.ask(DAVE, ERIN)
    assert world.begun == [str(TEAM), DAVE, ERIN]


async def test_a_silent_server_is_no_reason_to_ask_for_each(worlds: list[World]) -> None:
    world = made(worlds, "body", Answer(0))
    work = world.network.watch(CALLER, Uri.parse(DAVE), group=TEAM)
    task = asyncio.create_task(work)
    world.tasks.append(task)
    await world.turn()
    await world.turn(40)
    with pytest.raises(RequestRejected, match="408"):
        await task
    assert world.asked == [str(TEAM)]
    assert not world.groups.joints


async def test_who_is_asked_for_later_is_told_at_once(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST)
    await world.ask(DAVE)
    await world.notify(BOTH)
    assert world.told() == [(DAVE, "active", True)]
    await world.ask(ERIN)
    assert world.told() == [(ERIN, "active", True)]
    assert world.asked == [str(TEAM)]


async def test_a_row_without_a_document_takes_nothing_from_who_is_asked_for_later(
    worlds: list[World],
) -> None:
    world = made(worlds, "body", LIST)
    await world.ask(DAVE)
    await world.notify(BOTH)
    await world.notify(told(1, False, row(ERIN, "active")))
    world.told()
    await world.ask(ERIN)
    assert world.told() == [(ERIN, "active", True)]


async def test_a_first_notify_without_a_body_does_not_say_that_nobody_is_in_the_list(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", LIST)
    await world.ask(DAVE, ERIN)
    await world.notify(b"")
    await world.turn()
    assert world.asked == [str(TEAM)]
    await world.notify(BOTH)
    assert sorted(world.told()) == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_a_member_that_the_list_does_not_have_is_watched_by_itself(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", LIST, PERSON)
    await world.ask(DAVE, ERIN)
    await world.notify(told(0, True, row(DAVE, "active", "d@x"), d=pidf("open", DAVE)))
    await world.turn()
    assert world.asked == [str(TEAM), ERIN]
    assert sorted(world.told()) == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_who_is_asked_for_after_the_list_said_it_lacks_them_is_watched_by_itself(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", LIST, PERSON)
    await world.ask(DAVE)
    await world.notify(told(0, True, row(DAVE, "active", "d@x"), d=pidf("open", DAVE)))
    await world.ask(ERIN)
    assert world.asked == [str(TEAM), ERIN]
    assert world.told() == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_who_has_left_the_list_is_watched_by_itself_when_asked_for(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", LIST, PERSON)
    await world.ask(DAVE)
    await world.notify(BOTH)
    await world.notify(told(1, True, row(DAVE, "active", "d@x"), d=pidf("open", DAVE)))
    world.told()
    await world.ask(ERIN)
    assert world.asked == [str(TEAM), ERIN]
    assert world.told() == [(ERIN, "active", True)]


@pytest.mark.parametrize("reason", ["rejected", "noresource"])
async def test_whom_the_list_has_ended_is_watched_by_itself_when_asked_for_again(
    worlds: list[World], reason: str
) -> None:
    world = made(worlds, "uri", LIST, PERSON)
    await world.ask(DAVE)
    ended = row(ERIN, "terminated", reason=reason)
    await world.notify(told(0, True, row(DAVE, "active", "d@x"), ended, d=pidf("open", DAVE)))
    world.told()
    for _ in range(2):
        await world.ask(ERIN)
        assert world.told() == [(ERIN, "active", True)]
        await world.network.unwatch(CALLER, Uri.parse(ERIN))
        await world.turn()
    assert world.begun == [str(TEAM), ERIN, ERIN]


async def test_who_was_refused_and_then_let_in_is_told_by_the_list_again(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", LIST)
    await world.ask(DAVE, ERIN)
    there = row(DAVE, "active", "d@x")
    refused = row(ERIN, "terminated", reason="rejected")
    await world.notify(told(0, True, there, refused, d=pidf("open", DAVE)))
    assert world.told() == [(DAVE, "active", True), (ERIN, "terminated", False)]
    await world.notify(told(1, False, row(ERIN, "active", "e@x"), e=pidf("open", ERIN)))
    await world.ask(ERIN)
    assert world.told() == [(ERIN, "active", True)]
    assert world.asked == [str(TEAM)]


async def test_a_list_that_speaks_for_nobody_who_is_wanted_is_left(worlds: list[World]) -> None:
    world = made(worlds, "uri", LIST, PERSON)
    await world.ask(DAVE)
    await world.notify(told(0, True, row(ERIN, "active", "e@x"), e=pidf("open", ERIN)))
    await world.turn()
    assert world.begun == [str(TEAM), DAVE]
    assert world.server.asked.count(0) == 1
    assert not world.groups.joints


async def test_a_member_that_ended_without_being_refused_is_watched_by_itself(
    worlds: list[World],
) -> None:
    world = made(worlds, "body", LIST, PERSON)
    await world.ask(DAVE, ERIN)
    rows = (
        row(DAVE, "terminated", reason="rejected"),
        row(ERIN, "terminated", reason="noresource"),
    )
    await world.notify(told(0, True, *rows))
    await world.turn()
    assert world.begun == [str(TEAM), ERIN]
    assert world.told() == [(DAVE, "terminated", False), (ERIN, "active", True)]


async def test_when_the_list_ends_each_member_is_watched_by_itself(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST, PERSON)
    await world.ask(DAVE, ERIN)
    await world.notify(BOTH)
    world.told()
    await world.notify(b"", "terminated;reason=noresource")
    await world.turn()
    assert world.asked == [str(TEAM), DAVE, ERIN]
    assert [(who, state) for who, state, _ in world.told()] == [(DAVE, "active"), (ERIN, "active")]


async def test_the_subscription_ends_with_the_last_member(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST)
    await world.ask(DAVE, ERIN)
    await world.notify(BOTH)
    world.told()
    await world.network.unwatch(CALLER, Uri.parse(DAVE))
    await world.turn()
    assert world.server.asked == [3600]
    await world.notify(told(1, False, row(DAVE, "active", "d@x"), d=pidf("closed", DAVE)))
    assert world.told() == []
    await world.network.unwatch(CALLER, Uri.parse(ERIN))
    await world.turn()
    assert world.server.asked == [3600, 0]
    assert not world.network.watches


async def test_who_is_in_the_group_needs_no_second_subscription(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST)
    await world.ask(DAVE)
    await world.network.watch(CALLER, Uri.parse(DAVE))
    assert world.asked == [str(TEAM)]


async def test_after_a_restart_the_group_is_asked_for_again(worlds: list[World]) -> None:
    world = made(worlds, "body", LIST)
    await world.ask(DAVE, ERIN, resuming=True)
    await world.notify(BOTH)
    assert world.asked == [str(TEAM)]
    assert world.told() == [(DAVE, "active", True), (ERIN, "active", True)]


async def test_after_a_restart_a_server_that_forgot_the_list_gets_one_for_each(
    worlds: list[World],
) -> None:
    world = made(worlds, "uri", Answer(404), PERSON)
    await world.ask(DAVE, ERIN, resuming=True)
    await world.turn()
    assert sorted(world.asked) == sorted([str(TEAM), DAVE, ERIN])
    assert sorted(world.told()) == [(DAVE, "active", True), (ERIN, "active", True)]
    assert not world.groups.joints


async def test_a_second_watcher_of_a_refused_group_does_not_try_again(worlds: list[World]) -> None:
    world = made(worlds, "body", Answer(489), PERSON)
    await world.ask(DAVE)
    carol = Uri.parse("sip:carol@example.com")
    other = Caller("app_carol", carol, IDENTITIES.canonical(carol), "t2")
    task = asyncio.create_task(world.network.watch(other, Uri.parse(DAVE), group=TEAM))
    world.tasks.append(task)
    await world.turn()
    await world.turn()
    await task
    assert world.asked == [str(TEAM), DAVE, DAVE]
