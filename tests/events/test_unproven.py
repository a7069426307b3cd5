"""Watchers nobody has heard from are bounded in number, by address and in all."""

import pytest

from sipbridge.events.unproven import Unproven
from sipbridge.sip.flow import Flow
from tests.agent.world import AgentWorld
from tests.harness.pair import BOB


def forged(world: AgentWorld, number: int, source: str, transport: str = "udp") -> int:
    """The status that one more SUBSCRIBE from there gets."""
    data = (
        f"SUBSCRIBE sip:carol@example.com SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport.upper()} {source};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:x{number}@example.com>;tag=a\r\nTo: <sip:carol@example.com>\r\n"
        f"Call-ID: c{number}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:x@198.51.100.1>\r\n"
        "Event: presence\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    pair = world.pair
    if transport == "udp":
        pair.bob.receive_datagram(data, Flow("udp", BOB, (source, 5060)), pair.now)
    else:
        pair.bob.receive_stream(data, Flow("tcp", BOB, (source, 5060), 77), pair.now)
    before = len(pair.wire.sent)
    pair.turn()
    (answer,) = [s for s in pair.wire.sent[before:] if s.first_line.startswith("SIP/2.0")]
    if answer.first_line.startswith("SIP/2.0 503"):
        assert answer.header("Retry-After")
    return int(answer.first_line.split()[1])


def test_forged_watchers_fill_a_bounded_place_and_leave_it() -> None:
    world = AgentWorld()
    world.agent.notifier.unproven = Unproven(most=5, per_address=3)
    one = [forged(world, n, "203.0.113.1") for n in range(4)]
    other = [forged(world, n, "203.0.113.2") for n in range(10, 13)]
    assert (one, other) == ([200, 200, 200, 503], [200, 200, 503])
    assert forged(world, 20, "203.0.113.1", "tcp") == 200  # a connection has proven who is there
    assert len(world.agent.notifier.subscriptions) == 6
    world.pair.pass_seconds(33)
    assert not world.agent.notifier.subscriptions
    assert (world.agent.notifier.unproven.number, world.agent.notifier.unproven.by_address) == (
        0,
        {},
    )
    assert forged(world, 30, "203.0.113.1") == 200


def test_who_answers_takes_no_place() -> None:
    world = AgentWorld()
    world.agent.notifier.unproven = Unproven(most=1, per_address=1)
    ids = [world.watch() for _ in range(5)]
    assert [world.states(id) for id in ids] == [["active"]] * 5
    assert world.agent.notifier.unproven.number == 0


@pytest.mark.parametrize("how", ["end", "refuse"])
def test_whoever_is_gone_takes_no_place(how: str) -> None:
    world = AgentWorld()
    world.pair.wire.drop_next("NOTIFY", 3)
    id = world.watch()
    assert world.agent.notifier.unproven.number == 1
    if how == "end":
        world.end(id)
    world.pair.pass_seconds(40)
    assert world.agent.notifier.unproven.number == 0
