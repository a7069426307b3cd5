"""Watchers nobody has heard from are bounded in number, by address and in all."""

import pytest

from sipbridge.events.resource_list import ListView
from sipbridge.events.unproven import Unproven
from sipbridge.identities import PresentityKey
from sipbridge.presence.lists import Entry
from sipbridge.sip.flow import Flow
from sipbridge.uri import Uri
from tests.agent.world import AgentWorld, document, with_flow
from tests.events.peers import TO_BOB
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


LARGE = document("open", more=f"<note>{'x' * 30_000}</note>")


def test_a_document_too_large_for_a_stranger_follows_its_first_answer() -> None:
    world = AgentWorld()
    world.publish(LARGE)
    watch = world.watch()
    told = [(n.state, len(n.body) > 30_000) for n in world.notified(watch)]
    assert told == [("active", False), ("active", True)]
    assert world.basics(watch) == ["open"]
    world.subscriber.refresh(watch, world.pair.now)
    world.pair.turn()
    assert len(world.notified(watch)) == 3 and world.last(watch).body  # it is known by now


def test_a_fetch_of_such_a_document_brings_none_by_datagram_and_all_by_connection() -> None:
    world = AgentWorld()
    world.publish(LARGE)
    by_datagram = world.fetch()
    assert [(n.state, n.body) for n in world.notified(by_datagram)] == [("terminated", b"")]
    by_tcp = with_flow(TO_BOB, next_hops=("sip:192.0.2.2:5060;transport=tcp",))
    assert world.notified(world.fetch(policy=by_tcp))[-1].body


def test_a_list_too_large_for_a_stranger_follows_whole() -> None:
    world = AgentWorld()
    key = PresentityKey("sip:friends@example.com")
    world.lists[key] = tuple(Entry(f"sip:friend{n}@example.com") for n in range(60))
    listing = with_flow(TO_BOB, capabilities=TO_BOB.capabilities | {"eventlist"})
    watch = world.watch(target=Uri.parse(key), policy=listing)
    bodies = [n.body for n in world.notified(watch)]
    assert bodies[0] == b"" and len(bodies) == 2
    view = ListView()
    assert not view.receive(world.last(watch).content_type, bodies[1]).missed
    assert len(view.roster()) == 60
