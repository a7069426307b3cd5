"""Partial publication (RFC 5264): what changed goes out, and the server has the whole."""

import random
from dataclasses import replace

import pytest

from sipbridge.agent.ports import PublicationStored
from sipbridge.events.presence_package import PIDF, PIDF_DIFF
from sipbridge.events.publisher import Published, Publisher, PublishFailed
from sipbridge.presence import markup, pidf, pidf_diff
from sipbridge.presence.schema import is_valid
from sipbridge.sip.policy import PeerPolicy
from tests.agent.world import KEY, AgentWorld
from tests.events.peers import ALICE_URI, PACKAGES, TO_BOB, Reply, ScriptedCompositor
from tests.events.test_partial import document, meaning
from tests.harness.pair import ALICE, Pair
from tests.harness.wire import Sent

TAKES_PARTS = ("Accept", f"{PIDF}, {PIDF_DIFF}")
STATES = [document(), document(basic="closed"), document("a", "b", "c", "d"), document("x")]


def kinds(sent: list[Sent]) -> list[str]:
    """Of each message with a body: "part" or "whole"."""
    return [
        "part" if one.header("Content-Type") == PIDF_DIFF else "whole"
        for one in sent
        if one.header("Content-Type")
    ]


class World:
    """A publisher and a compositor that does as it is told."""

    def __init__(self, *replies: Reply) -> None:
        self.pair = Pair()
        self.compositor = ScriptedCompositor(self.pair.bob, *replies)
        self.publisher = Publisher(self.pair.alice, PACKAGES)
        self.id = ""

    def publish(self, policy: PeerPolicy = TO_BOB, content_type: str = PIDF) -> "World":
        self.id = self.publisher.publish(
            ALICE_URI,
            ALICE_URI,
            "presence",
            content_type,
            STATES[0],
            self.pair.now,
            policy=policy,
        )
        self.pair.turn()
        return self

    def modify(self, body: bytes, content_type: str = PIDF) -> None:
        self.publisher.modify(self.id, content_type, body, self.pair.now)
        self.pair.turn()

    @property
    def kinds(self) -> list[str]:
        return kinds(self.pair.wire.named("PUBLISH"))

    @property
    def failed(self) -> list[int | None]:
        return [s.status for s in self.pair.reported[ALICE] if isinstance(s, PublishFailed)]

    @property
    def published(self) -> list[int]:
        return [s.revision for s in self.pair.reported[ALICE] if isinstance(s, Published)]


def first_takes(*later: Reply) -> World:
    """A server that says at once that it takes parts."""
    return World(Reply(headers=[TAKES_PARTS]), *(later or (Reply(),))).publish()


# --- the publisher --------------------------------------------------------------------------------------


def test_what_changed_goes_out_where_parts_are_taken() -> None:
    world = first_takes()
    world.modify(STATES[1])
    world.modify(STATES[2])
    assert world.kinds == ["whole", "part", "part"]
    held = STATES[0]
    for (_, _, body), state in zip(world.compositor.story[1:], STATES[1:], strict=False):
        partial = pidf_diff.parse(body)
        assert partial.version is None and is_valid(body)
        held = pidf_diff.applied(held, partial)
        assert meaning(held) == meaning(state)


def test_a_server_that_says_nothing_is_sent_whole_documents() -> None:
    world = World().publish()
    world.modify(STATES[1])
    assert world.kinds == ["whole", "whole"]


def test_what_is_not_shorter_goes_out_whole() -> None:
    world = first_takes()
    world.modify(STATES[3])
    assert world.kinds == ["whole", "whole"]


def test_a_policy_may_forbid_parts() -> None:
    world = World(Reply(headers=[TAKES_PARTS])).publish(replace(TO_BOB, partial_publish=False))
    world.modify(STATES[1])
    assert world.kinds == ["whole", "whole"]


def test_other_documents_have_no_parts() -> None:
    world = World(Reply(headers=[TAKES_PARTS])).publish()
    world.modify(b"<presence", PIDF)
    world.modify(STATES[0], "application/other+xml")
    world.modify(STATES[1])
    assert world.kinds == ["whole"] * 4


@pytest.mark.parametrize("status", [400, 413, 415, 488])
def test_a_part_that_is_refused_is_followed_by_the_whole_in_silence(status: int) -> None:
    world = first_takes(Reply(status), Reply())
    world.modify(STATES[1])
    assert world.kinds == ["whole", "part", "whole"]
    assert (world.failed, world.published) == ([], [1, 2])
    assert world.compositor.story[2][0] == "e1"
    world.modify(STATES[2])
    assert world.kinds[3:] == ["whole"]


def test_a_415_says_what_is_taken_instead() -> None:
    world = first_takes(Reply(415, headers=[("Accept", PIDF)]), Reply())
    world.modify(STATES[1])
    assert world.kinds == ["whole", "part", "whole"]


def test_a_forgotten_tag_is_followed_by_a_first_publication() -> None:
    world = first_takes(Reply(412), Reply(), Reply())
    world.modify(STATES[1])
    assert world.kinds == ["whole", "part", "whole"]
    assert [match for match, _, _ in world.compositor.story] == [None, "e1", None]
    world.modify(STATES[2])
    assert world.kinds[3:] == ["part"]


def test_a_part_without_answer_is_not_taken_for_done() -> None:
    world = first_takes(Reply(0), Reply(412), Reply())
    world.modify(STATES[1])
    world.pair.pass_seconds(200)
    assert world.kinds[-1] == "whole"
    assert world.published[-1] == 2


def test_a_refresh_has_no_part_and_parts_go_on_after_it() -> None:
    world = first_takes()
    world.publisher.refresh(world.id, world.pair.now)
    world.pair.turn()
    world.modify(STATES[1])
    assert world.kinds == ["whole", "part"]
    assert world.compositor.story[1][2] == b""


def test_a_body_that_came_while_a_part_was_in_flight_is_counted_from_that_part() -> None:
    world = first_takes()
    world.pair.wire.latency = 0.1
    world.publisher.modify(world.id, PIDF, STATES[1], world.pair.now)
    world.publisher.modify(world.id, PIDF, STATES[2], world.pair.now)
    world.pair.pass_seconds(2)
    parts = [pidf_diff.parse(body) for _, _, body in world.compositor.story[1:]]
    held = pidf_diff.applied(pidf_diff.applied(STATES[0], parts[0]), parts[1])
    assert meaning(held) == meaning(STATES[2])


def test_a_restored_publication_knows_what_the_server_has() -> None:
    world = first_takes(Reply(503), Reply())
    world.modify(STATES[1])
    stored = world.publisher.snapshot(world.id, world.pair.now)
    again = World()
    again.id = again.publisher.restore(stored, again.pair.now, elapsed=5, policy=TO_BOB)
    again.pair.turn()
    assert again.kinds == ["part"]
    held = pidf_diff.applied(STATES[0], pidf_diff.parse(again.compositor.story[0][2]))
    assert meaning(held) == meaning(STATES[1])
    stored = again.publisher.snapshot(again.id, again.pair.now)
    third = World()
    third.id = third.publisher.restore(stored, third.pair.now, elapsed=5, policy=TO_BOB)
    third.modify(STATES[2])
    assert third.kinds == ["part"]


# --- the publisher and the agent ------------------------------------------------------------------------


def test_watchers_see_the_whole_of_what_came_in_parts() -> None:
    world = AgentWorld()
    watching = world.watch()
    publication = world.publish(STATES[0])
    for state in STATES[1:]:
        world.modify(publication, state)
        assert world.seen(watching) == meaning(state)
    assert kinds(world.pair.wire.named("PUBLISH")) == ["whole", "part", "part", "whole"]


@pytest.mark.parametrize("seed", range(4))
def test_on_a_bad_wire_the_agent_has_what_was_published(seed: int) -> None:
    dice = random.Random(seed)
    world = AgentWorld()
    world.pair.wire.latency = 0.005
    publication = world.publish(STATES[0])
    world.pair.pass_seconds(5)
    world.pair.wire.chance = lambda _: (dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.2)
    for n in range(12):
        state = document("a", "b", f"c{n}", "d", basic=dice.choice(["open", "closed"]))
        world.modify(publication, state)
        world.pair.pass_seconds(dice.random() * 3)
    world.pair.pass_seconds(300)
    assert "part" in kinds(world.pair.wire.named("PUBLISH"))
    world.pair.wire.chance = None
    watching = world.watch()
    world.pair.pass_seconds(1)
    assert world.seen(watching) == meaning(state)


def test_what_is_stored_is_whole() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(STATES[0])
    world.modify(publication, STATES[1])
    stored = [c for c in world.changes if isinstance(c, PublicationStored)]
    assert [(c.content_type, meaning(c.body)) for c in stored] == [
        (PIDF, meaning(state)) for state in STATES[:2]
    ]
    world.restart()
    world.modify(publication, STATES[2])
    assert kinds(world.pair.wire.named("PUBLISH"))[-1] == "part"
    assert world.seen(world.watch()) == meaning(STATES[2])


def test_a_part_that_could_not_be_stored_was_never_there() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(STATES[0])
    before = world.publisher.publications[publication].etag
    world.pair.commit_at_once = False
    world.modify(publication, STATES[1])
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    (known,) = world.agent.compositor.by_etag.values()
    assert (meaning(known.body), known.etag) == (meaning(STATES[0]), before)
    assert world.agent.presentities[KEY].published.document() == meaning(STATES[0])


def test_a_part_that_does_not_fit_gets_400_with_the_reason() -> None:
    world = AgentWorld()
    publication = world.publish(STATES[0])
    odd = world.publisher.publications[publication]
    odd.parts.there = document("q", "r", "s", "t", "u", "v")
    world.modify(publication, document("q", "r", "s", "t", "u", "w"))
    (refused,) = (s for s in world.pair.wire.sent if s.first_line.startswith("SIP/2.0 400"))
    body = refused.data.partition(b"\r\n\r\n")[2]
    assert refused.header("Content-Type") == "application/patch-ops-error+xml"
    assert b"<unlocated-node" in body and is_valid(body)
    assert markup.parse(body) is not None
    assert world.seen(world.watch()) == meaning(document("q", "r", "s", "t", "u", "w"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (pidf_diff.full(STATES[1], 1), 200),
        (b'<d:pidf-diff xmlns:d="urn:ietf:params:xml:ns:pidf-diff"/>', 400),
        (STATES[1], 400),
        (b"<", 400),
    ],
)
def test_a_first_publication_is_whole(body: bytes, status: int) -> None:
    world = AgentWorld()
    world.publish(body, content_type=PIDF_DIFF)
    answers = world.pair.wire.named(f"{status} PUBLISH")
    assert len(answers) == 1
    if status == 200:
        assert world.seen(world.watch()) == meaning(STATES[1])
        assert PIDF_DIFF in answers[0].header("Accept")


def test_a_document_in_another_encoding_is_changed_in_parts_too() -> None:
    world = AgentWorld()
    first = STATES[0].decode().replace("UTF-8", "ISO-8859-1").replace("sip:a@", "sip:\xe4@")
    publication = world.publish(first.encode("latin-1"), content_type=f"{PIDF};charset=ISO-8859-1")
    known = world.publisher.publications[publication]
    part = (
        b'<d:pidf-diff xmlns:d="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf">'
        b"<d:remove sel=\"*/tuple[@id='t4']\"/></d:pidf-diff>"
    )
    world.publisher.modify(publication, PIDF_DIFF, part, world.pair.now)
    world.pair.turn()
    seen = world.seen(world.watch())
    assert (len(seen.tuples), known.etag != "") == (4, True)
    assert seen.tuples[0].contact is not None and "\xe4" in seen.tuples[0].contact.uri
    assert pidf.parse(world.last(world.watch()).body) == seen
