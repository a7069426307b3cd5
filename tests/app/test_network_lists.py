"""Lists at a presence server: the network against a notifier that does as it is told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from sipbridge.app.network import SipNetwork
from sipbridge.app.standing import Peer, Standing
from sipbridge.errors import DocumentError, NotAList, RequestRejected, TransactionTimeout
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import ListUpdate, PresenceUpdate, WatchersUpdate
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.uri import Uri
from tests.app.lists import KIND, row, told
from tests.events.peers import TO_BOB, Answer, ScriptedNotifier, pidf
from tests.harness.pair import ALICE, Pair

FRIENDS = Uri.parse("sip:friends@example.com")
DAVE, ERIN = "sip:dave@example.com", "sip:erin@example.com"
IDENTITIES = NormalisingIdentities()
WATCHER = Uri.parse("sip:bob@example.com")
CALLER = Caller("app_bob", WATCHER, IDENTITIES.canonical(WATCHER), "t1")
IS_LIST = (("Require", "eventlist"),)
LIST = Answer(headers=IS_LIST, notify=None)
FIRST = told(0, True, row(DAVE, "active", "d@x"), row(ERIN), d=pidf("open", DAVE))


class World:
    """A network whose time stands still unless it is told to pass; it is its own listener."""

    def __init__(self, *answers: Answer) -> None:
        self.pair = Pair()
        self.server = ScriptedNotifier(self.pair.bob, *answers)
        packages = {PRESENCE.name: PRESENCE}
        self.network = SipNetwork(
            Publisher(self.pair.alice, packages),
            Subscriber(self.pair.alice, packages),
            Standing(IDENTITIES, {}, Peer("", False, TO_BOB), {}, {}),
            turn=lambda: None,
            now=lambda: self.pair.now,
            at=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC),
            refused=lambda error, kind, trace: self.refused.append(error),
            remember=lambda key, text: None,
            observe=lambda said: None,
        )
        self.network.listener = self.network.list_listener = self
        self.network.lists = {IDENTITIES.canonical(FRIENDS)}
        self.handled = 0
        self.refused: list[DocumentError] = []
        self.news: list[PresenceUpdate] = []
        self.lists: list[ListUpdate] = []
        self.outdated: list[PresentityKey] = []
        self.told: list[object] = []
        """Both, in their order."""
        self.waiting: list[asyncio.Task[None]] = []

    def presence_changed(self, update: PresenceUpdate) -> None:
        self.news.append(update)
        self.told.append(update)

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None:
        self.outdated.append(presentity)

    def watchers_changed(self, update: WatchersUpdate) -> None:
        raise AssertionError("nobody asked for watchers")

    def list_changed(self, update: ListUpdate) -> None:
        self.lists.append(update)
        self.told.append(update)

    def turn(self, seconds: float = 0.0) -> None:
        """Everything that happens until then, in the order in which it is reported."""
        self.pair.pass_seconds(seconds)
        reported = self.pair.reported[ALICE]
        while self.handled < len(reported):
            self.handled += 1
            self.network.handle(reported[self.handled - 1])
            self.pair.turn()

    async def begin(self, *, resuming: bool = False) -> asyncio.Task[None]:
        """Ask for the list; what the server was told to answer has arrived when this returns."""
        task = asyncio.create_task(self.network.watch(CALLER, FRIENDS, resuming=resuming))
        self.waiting.append(task)
        await asyncio.sleep(0)
        self.turn()
        return task

    def notify(
        self, body: bytes, state: str = "active", kind: str = KIND, require: str = "eventlist"
    ) -> None:
        if not self.server.dialogs:
            self.server.dialog_of(self.server.got[-1])
        self.server.notify(self.pair.now, state, body, content_type=kind, require=require)
        self.turn()

    async def close(self) -> None:
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)

    def states(self) -> list[tuple[str, str, bool]]:
        return [(n.presentity, n.state, n.document is not None) for n in self.news]


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        await world.close()


def made(worlds: list[World], *answers: Answer) -> World:
    worlds.append(World(*answers))
    return worlds[-1]


async def test_a_list_is_asked_for_and_its_members_are_told(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    request = world.server.got[0].request
    assert request.supported == ["eventlist"]
    assert {"multipart/related", "application/rlmi+xml", "application/pidf+xml"} <= set(
        request.accept
    )
    world.notify(FIRST)
    assert world.server.responses == [200]
    assert world.states() == [(DAVE, "active", True)]
    assert [[(str(m.uri), m.state) for m in u.members] for u in world.lists] == [
        [(DAVE, "active"), (ERIN, "")]
    ]
    assert {n.group for n in world.news} == {"sip:friends@example.com"}


async def test_the_first_notification_may_come_before_the_answer(worlds: list[World]) -> None:
    world = made(worlds, Answer(0))
    task = await world.begin()
    world.notify(FIRST)
    await task
    world.server.got[0].respond(200, headers=[("Expires", "600")])
    world.turn()
    assert world.states() == [(DAVE, "active", True)]
    assert len(world.server.got) == 1


async def test_the_list_is_told_before_its_members(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    assert list(map(type, world.told)) == [ListUpdate, PresenceUpdate]


@pytest.mark.parametrize("first", [b"", pidf("open")])
async def test_a_server_that_takes_it_for_a_person_has_no_list(
    worlds: list[World], first: bytes
) -> None:
    world = made(worlds, Answer(notify="active", body=first, first=bool(first)))
    with pytest.raises(NotAList, match="no list") as caught:
        await (await world.begin())
    assert caught.value.status == 200
    world.turn()
    assert world.server.asked[-1] == 0  # it is ended, not forgotten
    assert (world.news, world.lists) == ([], [])
    assert not world.network.watches


@pytest.mark.parametrize("status", [404, 405, 410, 420, 421, 489, 501, 604])
async def test_refusals_that_mean_no_list(worlds: list[World], status: int) -> None:
    world = made(worlds, Answer(status))
    with pytest.raises(NotAList) as caught:
        await (await world.begin())
    assert caught.value.status == status
    assert not world.network.watches


@pytest.mark.parametrize("status", [403, 480, 503])
async def test_other_refusals_say_nothing_about_lists(worlds: list[World], status: int) -> None:
    world = made(worlds, Answer(status))
    with pytest.raises(RequestRejected) as caught:
        await (await world.begin())
    assert type(caught.value) is RequestRejected


async def test_silence_is_a_timeout(worlds: list[World]) -> None:
    world = made(worlds, Answer(0))
    task = await world.begin()
    world.turn(40)
    with pytest.raises((TransactionTimeout, RequestRejected), match="408|did not answer"):
        await task


async def test_parts_follow_and_a_gap_brings_a_refresh(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    world.notify(told(1, False, row(ERIN, "active", "e@x"), e=pidf("open", ERIN)))
    assert world.states()[1:] == [(ERIN, "active", True)]
    assert len(world.server.got) == 1
    world.notify(told(3, False, row(DAVE, "pending")))
    assert world.states()[2:] == [(DAVE, "pending", False)]
    assert len(world.server.got) == 2
    assert world.server.got[1].request.supported == ["eventlist"]
    assert world.server.got[1].request.to.tag


async def test_a_broken_part_is_reported_and_hides_nobody(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    rows = (row(DAVE, "active", "d@x"), row(ERIN, "active", "e@x"))
    world.notify(told(0, True, *rows, d=b"<presence", e=pidf("open", ERIN)))
    assert world.states() == [(DAVE, "active", False), (ERIN, "active", True)]
    assert len(world.refused) == 1


async def test_a_list_that_ends_for_good_is_over(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    world.notify(b"", "terminated;reason=noresource")
    assert [(u.state, u.reason, u.members) for u in world.lists[1:]] == [
        ("terminated", "noresource", ())
    ]
    assert not world.network.watches


async def test_a_list_that_is_lost_is_asked_for_again_and_counts_anew(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    world.notify(b"", "terminated;reason=deactivated")
    assert world.outdated == []  # it comes back at once
    world.turn(5)
    assert len(world.server.got) == 2
    world.notify(told(0, True, row(ERIN, "active")))
    assert [[str(m.uri) for m in u.members] for u in world.lists] == [[DAVE, ERIN], [ERIN]]
    assert len(world.server.got) == 2  # no gap was seen


async def test_what_a_list_has_told_may_be_old_when_its_server_has_forgotten_it(
    worlds: list[World],
) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    world.notify(b"", "terminated;reason=probation")
    assert world.outdated == [IDENTITIES.canonical(Uri.parse(DAVE))]  # of whom something was known


async def test_an_address_that_is_no_list_is_watched_as_a_person(worlds: list[World]) -> None:
    world = made(worlds, Answer())
    person = asyncio.create_task(world.network.watch(CALLER, Uri.parse(DAVE)))
    await asyncio.sleep(0)
    world.turn()
    await person
    assert not world.server.got[0].request.supported
    world.notify(pidf("open", DAVE), kind="application/pidf+xml", require="")
    assert [(n.presentity, n.group) for n in world.news if n.document] == [(DAVE, None)]


async def test_a_list_can_be_left(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    world.notify(FIRST)
    await world.network.unwatch(CALLER, FRIENDS)
    world.turn()
    assert world.server.asked[-1] == 0
    assert not world.network.watches
    world.notify(told(1, False, row(DAVE, "pending")))
    assert len(world.news) == 1


async def test_who_leaves_before_its_turn_to_resume_has_come_is_not_subscribed(
    worlds: list[World],
) -> None:
    world = made(worlds, LIST)
    world.network.resuming = asyncio.Semaphore(1)
    async with world.network.resuming:
        waiting = await world.begin(resuming=True)
        await world.network.unwatch(CALLER, FRIENDS)
    await waiting
    world.turn()
    assert not world.server.got
    await (await world.begin(resuming=True))  # who comes later is
    assert len(world.server.got) == 1


async def test_it_is_watched_once_however_many_ask(worlds: list[World]) -> None:
    world = made(worlds, LIST)
    await (await world.begin())
    await (await world.begin())
    assert len(world.server.got) == 1


async def test_after_a_restart_a_refusal_that_may_pass_is_survived(worlds: list[World]) -> None:
    world = made(worlds, Answer(503), LIST)
    with pytest.raises(RequestRejected):
        await (await world.begin(resuming=True))
    world.turn(20)
    assert len(world.server.got) == 2
    world.notify(FIRST)
    assert world.states() == [(DAVE, "active", True)]


async def test_after_a_restart_a_list_that_is_gone_is_told(worlds: list[World]) -> None:
    world = made(worlds, Answer(404))
    with pytest.raises(NotAList):
        await (await world.begin(resuming=True))
    assert [(u.state, u.group) for u in world.lists] == [("terminated", "sip:friends@example.com")]
