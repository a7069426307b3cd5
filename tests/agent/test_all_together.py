"""Entity-tags, rates, codings and partial documents at the same time, over a wire that loses, repeats and
reorders, with an agent that restarts and a presentity that changes her mind: who watches sees in the end what
somebody sees who has just come."""

import random
from dataclasses import replace

import pytest

from sipbridge.events.rate import NO_RATE, Rate
from sipbridge.events.subscriber import Notified
from sipbridge.presence import pidf
from sipbridge.presence.model import Presence
from sipbridge.uri import Uri
from tests.agent.world import ALLOW, CONFIRM, POLITE_BLOCK, AgentWorld, document
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE

PLAIN = replace(TO_BOB, conditional=False, rate_control=False, encodings=(), partial_notify=False)
POLICIES = [
    replace(TO_BOB, name="all"),
    replace(TO_BOB, partial_notify=False),
    replace(TO_BOB, encodings=("deflate",), conditional=False),
    replace(TO_BOB, rate_control=False),
    PLAIN,
]
RATES = [NO_RATE, Rate.every(5), Rate(0.5, 0.1), Rate(None, 0.2), Rate(None, None, 0.1)]


def rich(number: int) -> bytes:
    """A document that is worth compressing, of which only a little changes."""
    notes = "".join(
        f'<tuple id="n{n}"><status><basic>open</basic></status><note>{n * (number % 3)}</note></tuple>'
        for n in range(8)
    )
    return document(("open", "closed")[number % 2], more=notes)


def believed(world: AgentWorld, id: str) -> Presence | None:
    """What a reader makes of all it was told: an empty body is no news, no document while pending."""
    seen: Presence | None = None
    for said in world.pair.reported[ALICE]:
        if isinstance(said, Notified) and said.subscription == id and said.state != "terminated":
            if said.body:
                seen = pidf.parse(said.body)
            elif said.is_unchanged:
                assert seen is not None, "nothing was there that could be unchanged"
    return seen


def lives(world: AgentWorld, id: str) -> bool:
    """Does the agent know it? An address that has not answered yet gets few copies of a NOTIFY."""
    dialog = world.subscriber.subscriptions[id].dialog
    there = {one.dialog.call_id for one in world.agent.notifier.subscriptions.values()}
    return dialog is not None and dialog.call_id in there


def restart(world: AgentWorld, asleep: float, publication: str) -> None:
    """The agent comes back; with a publication named, without its memory, and everybody comes again."""
    if not publication:
        world.restart(asleep)
        return
    world.pair.stored.clear()
    world.restart(asleep)
    world.publisher.modify(publication, "application/pidf+xml", rich(99), world.pair.now)
    for id in list(world.subscriber.subscriptions):
        world.subscriber.refresh(id, world.pair.now, conditional=True)
    world.pair.pass_seconds(10)


@pytest.mark.parametrize("seed", range(8))
def test_everybody_ends_with_what_is_true(seed: int) -> None:
    chances = random.Random(seed)
    world = AgentWorld(storing=True)
    watchers = [Uri.parse(f"sip:w{n}@example.com") for n in range(len(POLICIES))]
    publication = world.publish(rich(0), policy=chances.choice(POLICIES))
    ids = [
        world.watch(watcher, policy=policy, rate=chances.choice(RATES), expires=36000)
        for watcher, policy in zip(watchers, POLICIES, strict=True)
    ]
    world.pair.wire.chance = lambda data: (
        (1, 0.0)
        if b"/TCP" in data[:200]
        else (chances.choice((0, 1, 1, 1, 1, 2)), chances.choice((0, 0, 0.2)))
    )
    for step in range(1, 25):
        match chances.randrange(6):
            case 0 | 1 | 2:
                world.publisher.modify(
                    publication, "application/pidf+xml", rich(step), world.pair.now
                )
            case 3:
                world.subscriber.refresh(
                    chances.choice(ids), world.pair.now, conditional=chances.random() < 0.7
                )
            case 4:
                world.subscriber.set_rate(
                    chances.choice(ids), chances.choice(RATES), world.pair.now
                )
            case 5:
                handling = chances.choice((ALLOW, ALLOW, CONFIRM, POLITE_BLOCK))
                world.decide(chances.choice(watchers), handling)
        world.pair.pass_seconds(chances.choice((0.05, 1, 20, 120)))
        if step == (12, 24)[seed // 2 % 2]:
            restart(world, chances.choice((0, 30)), publication if seed % 2 else "")
    world.pair.wire.chance = None
    world.pair.pass_seconds(60)
    living = [id for id in ids if lives(world, id)]
    assert len(living) >= 3
    for watcher, id in zip(watchers, ids, strict=True):
        if id not in living:
            continue
        fresh = world.watch(watcher, policy=PLAIN)
        world.pair.pass_seconds(1)
        assert world.states(id)[-1] == world.states(fresh)[-1]
        if world.states(fresh)[-1] == "active":
            assert believed(world, id) == believed(world, fresh), (watcher, id)
