"""Watchers nobody has heard from are bounded in number, by address and in all."""

import json
from dataclasses import replace

import pytest

from sipbridge.agent.ports import SubscriptionStored
from sipbridge.agent.trust import TrustedPeers
from sipbridge.events.resource_list import ListView, opened
from sipbridge.events.unproven import Unproven
from sipbridge.identities import PresentityKey
from sipbridge.presence import watcherinfo
from sipbridge.presence.lists import Entry
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import LimitReached
from sipbridge.sip.records import Answer, Kind, Question
from sipbridge.sip.user_agent import CoreLimits
from sipbridge.transports.resolver import AT_ONCE
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


def test_a_fetch_of_such_a_document_is_answered_by_datagram_too_and_at_once_by_connection() -> None:
    world = AgentWorld()
    world.publish(LARGE)
    told = [(n.state, len(n.body) > 30_000) for n in world.notified(world.fetch())]
    assert told == [("active", False), ("terminated", True)]
    by_tcp = with_flow(TO_BOB, next_hops=("sip:192.0.2.2:5060;transport=tcp",))
    assert [n.state for n in world.notified(world.fetch(policy=by_tcp))] == ["terminated"]


def test_a_list_too_large_for_a_stranger_follows_whole() -> None:
    world = AgentWorld()
    key = PresentityKey("sip:friends@example.com")
    world.lists[key] = tuple(Entry(f"sip:friend{n}@example.com") for n in range(60))
    listing = with_flow(TO_BOB, capabilities=TO_BOB.capabilities | {"eventlist"})
    watch = world.watch(target=Uri.parse(key), policy=listing)
    bodies = [n.body for n in world.notified(watch)]
    assert bodies[0] == b"" and len(bodies) == 2
    table, _ = opened(world.last(watch).content_type, bodies[1])
    assert (table.version, table.full) == (0, True)  # the first body that was seen (RFC 4662 §5.2)
    view = ListView()
    assert not view.receive(world.last(watch).content_type, bodies[1]).missed
    assert len(view.roster()) == 60


def test_watcher_information_too_large_for_a_stranger_begins_with_version_0() -> None:
    world = AgentWorld()
    for number in range(30):
        world.watch(Uri.parse(f"sip:watcher{number}@example.com"))
    bodies = [n.body for n in world.notified(world.winfo())]
    assert bodies[0] == b"" and len(bodies) == 2
    told = watcherinfo.parse(bodies[1])
    assert (told.version, told.state) == (0, "full")
    assert len(told.lists[0].watchers) == 30


def test_a_stranger_who_holds_the_document_already_is_not_sent_it_once_it_has_answered() -> None:
    world = AgentWorld()
    world.publish(LARGE)
    watch = world.watch()
    world.subscriber.leave_dialog(watch, world.pair.now)
    world.pair.pass_seconds(1.0)
    later = world.notified(watch)[2:]
    assert [(n.body, n.is_unchanged) for n in later] == [(b"", True)]


HOME, VICTIM = "203.0.113.5", "198.51.100.9"
AT_HOME, AT_VICTIM = f"sip:x@{HOME};transport=udp", f"sip:x@{VICTIM};transport=udp"
NEWS = document("closed", more=f"<note>{'y' * 30_000}</note>")


class Stranger:
    """Somebody who subscribes by hand and may say anything of his whereabouts."""

    def __init__(self, world: AgentWorld, contact: str = AT_HOME, protocol: str = "udp") -> None:
        self.world, self.contact = world, contact
        self.flow = Flow(protocol, BOB, (HOME, 5060), 77 if protocol == "tcp" else 0)
        self.call_id = "stranger"
        self.tag = self.fields = ""
        self.target = "carol"
        self.number = 0

    def send(self, text: str, flow: Flow | None = None) -> None:
        pair, flow = self.world.pair, flow or self.flow
        data = text.replace("\n", "\r\n").encode()
        if flow.protocol == "udp":
            pair.bob.receive_datagram(data, flow, pair.now)
        else:
            pair.bob.receive_stream(data, flow, pair.now)
        pair.turn()

    def subscribe(self) -> None:
        self.number += 1
        protocol = self.flow.protocol.upper()
        self.send(
            f"SUBSCRIBE sip:{self.target}@example.com SIP/2.0\n"
            f"Via: SIP/2.0/{protocol} {HOME};branch=z9hG4bK{self.call_id}{self.number}\nMax-Forwards: 70\n"
            f"From: <sip:x@example.com>;tag=a\nTo: <sip:{self.target}@example.com>{self.tag}\n"
            f"Call-ID: {self.call_id}\nCSeq: {self.number} SUBSCRIBE\nContact: <{self.contact}>\n"
            f"{self.fields}Event: presence\nContent-Length: 0\n\n"
        )
        (answer,) = [s for s in self.world.pair.wire.sent if "200 SUBSCRIBE" in s.words][-1:]
        self.tag = ";tag=" + answer.header("To").partition(";tag=")[2]

    def answer(self, contact: str = "", flow: Flow | None = None) -> None:
        """200 to the last NOTIFY, whoever got it."""
        notify = self.world.pair.wire.named("NOTIFY")[-1]
        fields = [
            f"{name}: {notify.header(name)}" for name in ("Via", "From", "To", "Call-ID", "CSeq")
        ]
        fields += [f"Contact: <{contact}>"] if contact else []
        self.send("\n".join(["SIP/2.0 200 OK", *fields, "Content-Length: 0", "", ""]), flow)

    def got(self, host: str) -> list[int]:
        """The sizes of all that was sent to an address."""
        return [len(s.data) for s in self.world.pair.wire.sent if s.flow.remote[0] == host]


def met(contact: str = AT_HOME, protocol: str = "udp") -> Stranger:
    """A stranger who has answered, and has the large document."""
    world = AgentWorld()
    world.publish(LARGE)
    stranger = Stranger(world, contact, protocol)
    stranger.subscribe()
    if protocol == "udp":
        stranger.answer()
    assert max(stranger.got(HOME)) > 30_000
    return stranger


def suffers(stranger: Stranger) -> list[int]:
    """What the victim gets when there is news."""
    before = len(stranger.got(VICTIM))
    stranger.world.publish(NEWS)
    stranger.world.pair.pass_seconds(40)
    assert not stranger.world.agent.notifier.subscriptions
    return stranger.got(VICTIM)[before:]


@pytest.mark.parametrize("how", ["answer", "subscribe"])
def test_a_stranger_who_moves_has_to_answer_there_too(how: str) -> None:
    stranger = met()
    if how == "answer":
        stranger.answer(AT_VICTIM)
    else:
        stranger.answer()
        stranger.contact = AT_VICTIM
        stranger.subscribe()
    sizes = suffers(stranger)
    assert 1 <= len(sizes) <= 3 and max(sizes) < 1500


def test_a_stranger_who_has_really_moved_gets_everything_there() -> None:
    stranger = met()
    stranger.answer(AT_VICTIM)
    stranger.world.publish(NEWS)
    stranger.world.pair.pass_seconds(0.1)
    assert max(stranger.got(VICTIM)) < 1500
    stranger.answer(flow=Flow("udp", BOB, (VICTIM, 5060)))
    assert stranger.got(VICTIM)[-1] > 30_000


def test_the_versions_of_a_list_have_no_gap_when_a_stranger_has_moved() -> None:
    world = AgentWorld()
    world.lists[PresentityKey("sip:friends@example.com")] = (Entry("sip:carol@example.com"),)
    stranger = Stranger(world)
    stranger.target, stranger.fields = "friends", "Supported: eventlist\n"
    stranger.subscribe()
    stranger.answer(AT_VICTIM)
    world.publish(NEWS)
    world.pair.pass_seconds(1.0)  # changes of a list are gathered
    stranger.answer(flow=Flow("udp", BOB, (VICTIM, 5060)))
    world.pair.pass_seconds(0.1)
    bodies = [s for s in world.pair.wire.named("NOTIFY") if s.body]
    tables = [opened(s.header("Content-Type"), s.body)[0] for s in bodies]
    assert [(table.version, table.full) for table in tables] == [(0, True), (1, True)]


def test_a_connection_proves_nothing_of_a_contact_elsewhere() -> None:
    stranger = met(AT_VICTIM, "tcp")
    stranger.answer()
    assert not stranger.got(VICTIM)
    pair = stranger.world.pair
    pair.bob.connection_closed(stranger.flow, pair.now)
    sizes = suffers(stranger)
    assert 1 <= len(sizes) <= 3 and max(sizes) < 1500


def test_nor_does_one_that_is_closed_while_a_notify_is_on_it() -> None:
    stranger = met(AT_VICTIM, "tcp")
    pair = stranger.world.pair
    pair.bob.connection_closed(stranger.flow, pair.now)
    pair.pass_seconds(40)
    sizes = stranger.got(VICTIM)
    assert 1 <= len(sizes) <= 3 and max(sizes) < 1500
    assert not stranger.world.agent.notifier.subscriptions


def test_who_was_silent_on_his_connection_and_answers_there_again_gets_the_news() -> None:
    stranger = met(AT_VICTIM, "tcp")
    stranger.answer()
    stranger.world.publish(NEWS)
    stranger.world.pair.pass_seconds(8)  # of silence: his Contact would be next, for little only
    stranger.answer()
    on_connection = [
        s for s in stranger.world.pair.wire.named("NOTIFY") if s.flow.protocol == "tcp"
    ]
    assert [len(s.body) > 30_000 for s in on_connection] == [True, True, False, True]
    stranger.answer()
    assert stranger.world.pair.wire.named("NOTIFY")[-1] is on_connection[-1]


def test_a_connection_shows_where_its_other_end_is() -> None:
    stranger = met(AT_HOME, "tcp")
    stranger.answer()
    pair = stranger.world.pair
    pair.bob.connection_closed(stranger.flow, pair.now)
    stranger.world.publish(NEWS)
    pair.turn()
    assert stranger.got(HOME)[-1] > 30_000


def test_a_name_that_leads_elsewhere_today_is_somewhere_new() -> None:
    world = AgentWorld()
    world.publish(LARGE)
    world.pair.names["x.example.net"] = [HOME]
    stranger = Stranger(world, "sip:x@x.example.net:5060;transport=udp")
    stranger.subscribe()
    stranger.answer()
    assert stranger.got(HOME)[-1] > 30_000
    stranger.answer()
    world.pair.names["x.example.net"] = [VICTIM]
    world.pair.pass_seconds(31)
    sizes = suffers(stranger)
    assert 1 <= len(sizes) <= 3 and max(sizes) < 1500


def test_names_nobody_answers_for_keep_no_others_waiting() -> None:
    world = AgentWorld()
    asking, most = world.pair.bob.asking, CoreLimits().names_of_strangers
    for number in range(most + 8):
        stranger = Stranger(world, f"sip:x@{number}.example.net:5060")
        stranger.call_id = f"stranger{number}"
        stranger.subscribe()
    assert len(asking.waiting) == most <= AT_ONCE // 2
    reached = [s.limit for s in world.pair.reported[BOB] if isinstance(s, LimitReached)]
    assert reached == ["names_of_strangers"] * 8
    world.pair.pass_seconds(0)
    assert len(world.agent.notifier.subscriptions) == most
    for number in range(most):
        question = Question(Kind.ADDRESS, f"{number}.example.net")
        world.pair.bob.receive_answer(question, Answer(addresses=(HOME,)), world.pair.now)
    assert not asking.for_strangers and not asking.waiting


def test_what_is_known_of_a_stranger_survives_a_restart() -> None:
    world = AgentWorld(storing=True)
    stranger = Stranger(world)
    stranger.subscribe()
    stranger.answer()
    stranger.contact = AT_VICTIM
    stranger.subscribe()
    stranger.subscribe()
    (first,) = stranger.got(VICTIM)
    assert first < 1500
    world.publish(LARGE)
    world.restart()
    world.pair.pass_seconds(60)
    sizes = stranger.got(VICTIM)[1:]
    assert 1 <= len(sizes) <= 3 and max(sizes) < 1500


def test_whose_row_of_an_earlier_version_names_no_credit_is_met_by_his_first_answer() -> None:
    world = AgentWorld(storing=True)
    world.publish(LARGE)
    stranger = Stranger(world)
    stranger.subscribe()
    stranger.answer()
    records = world.records()
    for place, record in enumerate(records):
        if isinstance(record, SubscriptionStored):
            kept = json.loads(record.snapshot)
            del kept["subscription"]["dialog"]["credit"], kept["subscription"]["dialog"]["proven"]
            records[place] = replace(record, snapshot=json.dumps(kept))
    world.restart(records=records)
    world.pair.pass_seconds(0.1)
    stranger.answer()
    before = len(world.pair.wire.named("NOTIFY"))
    stranger.subscribe()
    (refreshed,) = world.pair.wire.named("NOTIFY")[before:]
    assert len(refreshed.body) > 30_000


def test_who_is_proven_may_be_anywhere() -> None:
    world = AgentWorld(trusted=TrustedPeers.parse([HOME]))
    world.publish(LARGE)
    stranger = Stranger(world)
    stranger.fields = "P-Asserted-Identity: <sip:x@example.com>\n"
    stranger.subscribe()
    assert stranger.got(HOME)[-1] > 30_000
    stranger.answer(AT_VICTIM)
    world.publish(NEWS)
    world.pair.turn()
    assert stranger.got(VICTIM)[0] > 30_000
