"""Publications against a server that does as it is told: kept for the next life, taken up, given back."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from sipbridge.app.publications import Publications
from sipbridge.app.standing import Peer, Standing
from sipbridge.errors import RequestRejected
from sipbridge.events.publisher import Published, Publisher, PublishFailed, Unpublished
from sipbridge.gateway.caller import Caller
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.presence.model import Note, Presence
from sipbridge.uri import Uri
from tests.events.peers import PACKAGES, TO_BOB, Reply, ScriptedCompositor
from tests.harness.pair import ALICE, Pair

IDENTITIES = NormalisingIdentities()
URI = Uri.parse("sip:alice@example.com")
CALLER = Caller("app_alice", URI, IDENTITIES.canonical(URI), "t1")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Presence(str(URI), notes=(Note("here"),))
GONE = Presence(str(URI), notes=(Note("gone"),))


class World:
    """One life of a bridge: what is kept is in `kept`."""

    def __init__(self, *replies: Reply, kept: str = "", later: float = 0.0) -> None:
        self.pair = Pair()
        self.server = ScriptedCompositor(self.pair.bob, *replies)
        self.kept: dict[tuple[str, PresentityKey], str | None] = {}
        self.handled = 0
        peer = Peer("", False, TO_BOB)
        self.publications = Publications(
            Publisher(self.pair.alice, PACKAGES),
            Standing(IDENTITIES, {}, peer, {}, {"app_alice": CALLER}),
            turn=self.turn,
            now=lambda: self.pair.now,
            at=lambda: NOON + timedelta(seconds=later + self.pair.now),
            remember=self.kept.__setitem__,
        )
        if kept:
            self.publications.keep(CALLER, kept)

    def turn(self) -> None:
        self.pair.turn()
        reported = self.pair.reported[ALICE]
        while self.handled < len(reported):
            said = reported[self.handled]
            self.handled += 1
            match said:
                case Published():
                    self.publications.published(said)
                case Unpublished():
                    self.publications.unpublished(said)
                case PublishFailed():
                    self.publications.failed(said)

    @property
    def tags(self) -> list[tuple[str | None, int | None]]:
        """SIP-If-Match and Expires of each PUBLISH."""
        return [(tag, expires) for tag, expires, _ in self.server.story]


async def first_life() -> str:
    """What is kept of a publication."""
    world = World()
    assert await world.publications.publish(CALLER, HERE) == "e1"
    text = world.kept["app_alice", CALLER.key]
    assert text is not None
    return text


async def test_the_tag_is_kept_and_forgotten_with_the_publication() -> None:
    world = World()
    await world.publications.publish(CALLER, HERE)
    assert '"etag":"e1"' in str(world.kept["app_alice", CALLER.key])
    await world.publications.unpublish(CALLER)
    assert world.kept == {("app_alice", CALLER.key): None}
    assert world.tags == [(None, 3600), ("e1", 0)]


async def test_a_refusal_is_for_whoever_waits() -> None:
    world = World(Reply(403), Reply())
    with pytest.raises(RequestRejected):
        await world.publications.publish(CALLER, HERE)
    assert await world.publications.publish(CALLER, HERE) == "e2"


async def test_who_publishes_while_the_server_wants_rest_is_told_so_at_once() -> None:
    world = World(Reply(503, [("Retry-After", "1000")]), Reply())
    for document, rest in ((HERE, 1000), (GONE, 900)):
        async with asyncio.timeout(5):
            with pytest.raises(RequestRejected) as refused:
                await world.publications.publish(CALLER, document)
        assert refused.value.retry_after == pytest.approx(rest)
        world.pair.pass_seconds(100)
    world.pair.pass_seconds(1000)
    assert b"gone" in world.server.story[-1][2] and len(world.tags) == 2


@pytest.mark.parametrize("again", [True, False])
async def test_a_removal_without_an_answer_is_told_and_can_be_repeated_or_taken_back(
    again: bool,
) -> None:
    world = World(Reply(), Reply(503), Reply())
    await world.publications.publish(CALLER, HERE)
    async with asyncio.timeout(5):
        with pytest.raises(RequestRejected):
            await world.publications.unpublish(CALLER)
        if again:
            await world.publications.unpublish(CALLER)
        else:
            await world.publications.publish(CALLER, GONE)
    assert world.tags == [(None, 3600), ("e1", 0), ("e1", 0 if again else 3600)]


async def test_whoever_publishes_first_takes_up_what_there_was() -> None:
    world = World(kept=await first_life(), later=60.0)
    await world.publications.publish(CALLER, GONE)
    await world.publications.resume(CALLER, removed=True)  # too late: it is somebody's again
    assert world.tags == [("e1", 3600)]


async def test_whoever_removes_takes_it_up_too() -> None:
    world = World(kept=await first_life(), later=60.0)
    await asyncio.wait_for(world.publications.unpublish(CALLER), 5)
    assert world.tags == [("e1", 0)]
    assert world.kept == {("app_alice", CALLER.key): None}


async def test_what_has_run_out_meanwhile_needs_no_removal() -> None:
    world = World(kept=await first_life(), later=4000.0)
    await asyncio.wait_for(world.publications.unpublish(CALLER), 5)
    assert world.tags == []
    assert world.kept == {("app_alice", CALLER.key): None}


async def test_a_removal_that_was_asked_for_and_never_answered_does_not_hinder_who_publishes() -> (
    None
):
    kept = json.loads(await first_life())
    kept["publication"]["removal_asked"] = True
    world = World(kept=json.dumps(kept), later=60.0)
    assert await world.publications.publish(CALLER, GONE) == "e1"
    assert world.tags == [("e1", 3600)]


@pytest.mark.parametrize("change", [{"at": "noon"}, {"publication": {}}, {"publication": 7}])
async def test_what_is_no_snapshot_is_forgotten_and_published_anew(
    change: dict[str, object],
) -> None:
    text = json.dumps(json.loads(await first_life()) | change)
    world = World(kept=text)
    await world.publications.resume(CALLER, removed=False)
    assert world.kept == {("app_alice", CALLER.key): None}
    await world.publications.publish(CALLER, HERE)
    assert world.tags == [(None, 3600)]
