"""Destinations in the pair harness: servers from DNS, failover, what is avoided (RFC 3263 §4.3)."""

import pytest

from sipbridge.sip.destinations import Locating
from sipbridge.sip.flow import Address
from sipbridge.sip.indications import (
    DestinationFailed,
    RequestFailed,
    RequestTimedOut,
    Resolve,
    StrayResponse,
)
from sipbridge.sip.policy import PeerPolicy
from sipbridge.sip.records import Answer, Kind, Naptr, Question, Srv
from tests.harness.pair import ALICE, BOB, Answers, Net, Outcome
from tests.sip.test_requesting import CAROL, SENDER, bobs_side, dialog_of, publish, send

DAVE: Address = ("192.0.2.4", 5060)
URI = "sip:bob@example.com"


def srv(*servers: tuple[int, int, str], ttl: float = 60.0) -> Answer:
    return Answer(srvs=tuple(Srv(p, w, 5060, host) for p, w, host in servers), ttl=ttl)


class World(Net):
    """Alice asks servers of example.com: Bob, Carol and Dave, found by SRV in this order."""

    def __init__(self, locating: Locating | None = None) -> None:
        super().__init__()
        self.alice = self.add(ALICE, locating=locating)
        self.handlers: dict[Address, Answers] = {}
        for name, address in {"bob": BOB, "carol": CAROL, "dave": DAVE}.items():
            self.handlers[address] = Answers(200)
            self.add(address).serve("PUBLISH", self.handlers[address])
            self.names[f"{name}.example"] = [address[0]]
        self.services(srv((1, 0, "bob.example"), (2, 0, "carol.example"), (3, 0, "dave.example")))

    def services(self, answer: Answer) -> None:
        self.records[Question(Kind.SRV, "_sip._udp.example.com")] = answer

    def ask(self, uri: str = URI) -> Outcome:
        outcome, _ = send(self, publish(self, uri))
        return outcome

    def says(self, address: Address, *statuses: int, retry_after: int = 0) -> Answers:
        headers = [("Retry-After", str(retry_after))] if retry_after else []
        answers = Answers(*statuses, headers=headers)
        self.handlers[address] = answers
        self.cores[address].serve("PUBLISH", answers)
        return answers

    def dies(self, *addresses: Address) -> None:
        for address in addresses:
            del self.cores[address]

    def sent_to(self, *, since: float = 0.0) -> list[str]:
        """Last parts of the addresses, one for each branch, in order."""
        seen: dict[str, str] = {}
        for one in self.wire.named("PUBLISH"):
            if one.at >= since:
                seen.setdefault(one.header("Via"), one.flow.remote[0][-1])
        return list(seen.values())

    def reported_kinds(self) -> list[str]:
        return [type(said).__name__ for said in self.reported[ALICE]]


# --- from a name to a server --------------------------------------------------------------------------


def test_a_name_leads_by_its_records_to_the_first_server_and_asks_once() -> None:
    world = World()
    assert [world.ask(), world.ask()] and not world.wire.sent
    world.turn()
    assert world.sent_to() == ["2", "2"]
    questions = [str(s.question) for s in world.reported[ALICE] if isinstance(s, Resolve)]
    assert questions == [
        "NAPTR of example.com",
        "SRV of _sip._udp.example.com",
        "SRV of _sip._tcp.example.com",
        "address of bob.example",
    ]
    world.ask()
    world.turn()
    assert len(world.said_by(ALICE, Resolve)) == 4 and world.sent_to() == ["2", "2", "2"]


def test_answers_hold_for_their_time_to_live() -> None:
    world = World()
    world.ask()
    world.pass_seconds(29.0)
    world.ask()
    world.turn()
    assert len(world.said_by(ALICE, Resolve)) == 4
    world.pass_seconds(2.0)  # NAPTR and addresses held for 30 s, the SRV records for 60
    world.ask()
    world.turn()
    kinds = [s.question.kind.name for s in world.reported[ALICE] if isinstance(s, Resolve)][4:]
    assert kinds == ["NAPTR", "SRV", "ADDRESS"]
    assert world.sent_to() == ["2", "2", "2"]


def test_an_answer_that_may_not_be_kept_still_serves_who_waits_for_it() -> None:
    world = World()
    for name in ("example.com", "_sip._udp.example.com", "_sip._tcp.example.com"):
        for kind in (Kind.NAPTR, Kind.SRV):
            world.records.setdefault(Question(kind, name), Answer())
    world.services(srv((1, 0, "bob.example"), ttl=0.0))
    world.records[Question(Kind.ADDRESS, "bob.example")] = Answer(addresses=("192.0.2.2",))
    outcome = world.ask()
    world.turn()
    assert outcome.status == 200


def test_a_slow_answer_does_not_make_an_older_one_asked_for_again_for_ever() -> None:
    world = World()
    slow: list[Question] = []
    asked: list[str] = []
    world.records[Question(Kind.NAPTR, "example.com")] = Answer(ttl=1.0)
    outcome = world.ask()
    for _ in range(10):
        slow += [s.question for s in world.alice.indications() if isinstance(s, Resolve)]
        if not slow:
            break
        world.clock.advance_to(world.now + 5.0)
        question = slow.pop(0)
        asked.append(f"{question.kind.name} {question.name}")
        world.alice.receive_answer(question, world.dns(question) or Answer(), world.now)
    assert asked == [
        "NAPTR example.com",
        "SRV _sip._udp.example.com",
        "SRV _sip._tcp.example.com",
        "ADDRESS bob.example",
    ]
    world.turn()
    assert outcome.status == 200


def test_when_dns_falls_silent_what_it_said_before_is_used_on() -> None:
    world = World()
    world.ask()
    world.pass_seconds(100.0)
    failure = Answer(failure="no answer from DNS in 3 s")
    for question in [s.question for s in world.reported[ALICE] if isinstance(s, Resolve)]:
        world.records[question] = failure
    outcome = world.ask()
    world.turn()
    assert outcome.status == 200 and world.sent_to() == ["2", "2"]


def test_without_any_answer_the_error_says_what_dns_said() -> None:
    world = World()
    failure = Answer(failure="no answer from DNS in 3 s")
    for kind, name in (
        (Kind.NAPTR, "example.com"),
        (Kind.SRV, "_sip._udp.example.com"),
        (Kind.SRV, "_sip._tcp.example.com"),
        (Kind.ADDRESS, "example.com"),
    ):
        world.records[Question(kind, name)] = failure
    outcome, asked = send(world, publish(world, URI))
    world.pass_seconds(1.0)
    assert [reason for reason, _ in outcome.failures] == ["transport"]
    assert asked.story == "udp:example.com:5060 (no answer from DNS in 3 s)"


def test_weights_share_the_requests() -> None:
    world = World()
    world.services(srv((1, 30, "bob.example"), (1, 10, "carol.example")))
    for _ in range(400):
        world.ask()
        world.turn()
    shares = world.sent_to()
    assert 270 < shares.count("2") < 330 and shares.count("2") + shares.count("3") == 400


def test_without_records_a_name_is_only_an_address() -> None:
    world = World(Locating(records=False))
    world.names["example.com"] = ["192.0.2.3"]
    outcome = world.ask()
    world.turn()
    assert outcome.status == 200 and world.sent_to() == ["3"]
    assert [s.question.kind for s in world.reported[ALICE] if isinstance(s, Resolve)] == [
        Kind.ADDRESS
    ]


def test_a_rule_may_name_another_domain_and_another_transport() -> None:
    world = World()
    rules = (Naptr(1, 1, "s", "SIP+D2T", "", "_sip._tcp.host.example"),)
    world.records[Question(Kind.NAPTR, "example.com")] = Answer(naptrs=rules, ttl=60)
    world.records[Question(Kind.SRV, "_sip._tcp.host.example")] = srv((1, 0, "dave.example"))
    outcome = world.ask()
    world.turn()
    assert outcome.status == 200
    assert world.handlers[DAVE].got[0].flow.protocol == "tcp"


# --- failover -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["silent", "unreachable", "503", "503 with Retry-After"])
def test_the_next_server_gets_it_with_a_new_branch(how: str) -> None:
    world = World()
    if how == "silent":
        world.dies(BOB)
    elif how == "unreachable":
        world.refused.add(("udp", BOB))
    else:
        world.says(BOB, 503, retry_after=20 if "Retry" in how else 0)
    began = world.now
    outcome = world.ask()
    world.pass_seconds(30.0)
    assert outcome.status == 200 and outcome.times_told == 1
    assert len(world.handlers[CAROL].got) == 1 and not world.handlers[DAVE].got
    requests = world.wire.named("PUBLISH")
    assert len({one.header("Via") for one in requests}) == (1 if how == "unreachable" else 2)
    assert {one.header("CSeq") for one in requests} == {"1 PUBLISH"}
    assert len({one.header("Call-ID") for one in requests}) == 1
    assert requests[-1].at - began == (8.0 if how == "silent" else 0.0)


def test_silence_with_an_alternative_lasts_eight_seconds_and_28_in_all() -> None:
    world = World()
    world.dies(BOB, CAROL, DAVE)
    began = world.now
    outcome, asked = send(world, publish(world, URI))
    world.pass_seconds(60.0)
    firsts: dict[str, float] = {}
    for one in world.wire.named("PUBLISH"):
        firsts.setdefault(one.flow.remote[0], one.at - began)
    assert firsts == {"192.0.2.2": 0.0, "192.0.2.3": 8.0, "192.0.2.4": 16.0}
    assert outcome.failures == [("timeout", began + 28.0)]
    (said,) = world.said_by(ALICE, RequestFailed)
    assert isinstance(said, RequestFailed) and said.tried == (
        "udp:192.0.2.2:5060 (no answer)",
        "udp:192.0.2.3:5060 (no answer)",
        "udp:192.0.2.4:5060 (no answer)",
    )
    assert asked.story.startswith("udp:192.0.2.2:5060 (no answer), udp:")
    nexts = [s.next for s in world.reported[ALICE] if isinstance(s, RequestTimedOut)]
    assert nexts == ["udp:carol.example:5060", "udp:dave.example:5060", ""]


def test_a_single_destination_keeps_all_of_timer_f() -> None:
    world = World()
    world.dies(BOB)
    began = world.now
    outcome = world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(60.0)
    assert outcome.failures == [("timeout", began + 32.0)]
    assert not world.said_by(ALICE, RequestFailed)


def test_who_said_100_is_not_silent_and_nobody_else_gets_the_request() -> None:
    world = World()
    world.says(BOB, 0)
    began = world.now
    outcome = world.ask()
    world.turn()
    world.handlers[BOB].got[0].respond(100)
    world.pass_seconds(60.0)
    assert outcome.failures == [("timeout", began + 32.0)]
    assert set(world.sent_to()) == {"2"}


def test_a_late_answer_of_a_server_given_up_is_nobodys() -> None:
    world = World()
    world.says(BOB, 0)
    outcome = world.ask()
    world.pass_seconds(10.0)
    assert outcome.status == 200
    world.handlers[BOB].got[0].respond(403)
    world.turn()
    assert outcome.status == 200 and world.said_by(ALICE, StrayResponse)


def test_a_408_is_an_answer_and_no_reason_to_go_on() -> None:
    world = World()
    world.says(BOB, 408)
    outcome = world.ask()
    world.turn()
    assert outcome.status == 408 and world.sent_to() == ["2"]


def test_when_all_are_busy_the_last_503_is_the_answer() -> None:
    world = World()
    for address in (BOB, CAROL, DAVE):
        world.says(address, 503)
    outcome = world.ask()
    world.turn()
    assert outcome.status == 503 and world.sent_to() == ["2", "3", "4"]


def test_next_hops_fail_over_like_servers() -> None:
    world = World()
    world.dies(BOB)
    hops = PeerPolicy(next_hops=("sip:192.0.2.2", "sip:carol.example:5060;transport=udp"))
    outcome, _ = send(world, publish(world), hops)
    world.pass_seconds(9.0)
    assert outcome.status == 200 and world.sent_to() == ["2", "3"]
    began = world.now
    outcome, _ = send(world, publish(world), hops)
    world.turn()
    assert outcome.status == 200 and world.sent_to(since=began) == ["3"]


def test_a_request_in_a_dialog_fails_over_too() -> None:
    world = World()
    world.dies(BOB)
    handler = Answers(200)
    world.cores[CAROL].serve("NOTIFY", handler)
    world.cores[CAROL].add_dialog(bobs_side(), handler)
    dialog = dialog_of(world, URI)
    headers = [("Event", "presence"), ("Subscription-State", "active")]
    request = dialog.new_request("NOTIFY", headers)
    world.alice.request_in_dialog(dialog, request, outcome := Outcome(), world.now)
    world.pass_seconds(10.0)
    assert outcome.status == 200 and len(handler.got) == 1


def test_the_first_route_is_located_and_not_the_target() -> None:
    world = World()
    dialog = dialog_of(world, "sip:bob@nowhere.example")
    dialog.route_set = ("<sip:example.com;lr>",)
    handler = Answers(200)
    world.cores[BOB].serve("NOTIFY", handler)
    world.cores[BOB].add_dialog(bobs_side(), handler)
    headers = [("Event", "presence"), ("Subscription-State", "active")]
    request = dialog.new_request("NOTIFY", headers)
    world.alice.request_in_dialog(dialog, request, outcome := Outcome(), world.now)
    world.turn()
    assert outcome.status == 200


def test_no_request_is_sent_to_more_than_eight_destinations() -> None:
    world = World()
    many = [f"192.0.2.{n}" for n in range(100, 140)]
    world.names["bob.example"] = many
    world.refused |= {("udp", (address, 5060)) for address in many}
    outcome, asked = send(world, publish(world, URI))
    world.pass_seconds(1.0)
    assert outcome.times_told == 1 and len(asked.tried) == 8


# --- what is avoided ----------------------------------------------------------------------------------


def test_a_dead_server_is_not_asked_again_for_half_a_minute() -> None:
    world = World()
    world.dies(BOB)
    world.ask()
    world.pass_seconds(8.0)  # given up just now
    for after, to in ((29.0, "3"), (2.0, "2")):
        world.pass_seconds(after)
        began = world.now
        world.ask()
        world.turn()
        assert world.sent_to(since=began) == [to]


def test_all_dead_servers_are_tried_all_the_same() -> None:
    world = World()
    world.refused |= {("udp", BOB), ("udp", CAROL), ("udp", DAVE)}
    first = world.ask()
    world.pass_seconds(1.0)
    world.refused.clear()
    outcome = world.ask()
    world.turn()
    assert first.failures and outcome.status == 200 and world.sent_to() == ["2"]
    assert world.alice.asking.destinations.avoided.keys() == {
        ("udp", CAROL, ""),
        ("udp", DAVE, ""),
    }, "who answers is off the list"


def test_avoiding_can_be_turned_off() -> None:
    world = World(Locating(avoid=0.0))
    world.refused.add(("udp", BOB))
    for _ in range(2):
        world.ask()
        world.turn()
    assert len(world.said_by(ALICE, DestinationFailed)) == 2


def test_who_asks_to_be_left_alone_is_left_alone() -> None:
    world = World()
    world.says(BOB, 503, 200, retry_after=20)
    world.ask()
    world.turn()
    for after, to in ((19.0, "3"), (2.0, "2")):
        world.pass_seconds(after)
        began = world.now
        outcome = world.ask()
        world.turn()
        assert outcome.status == 200 and world.sent_to(since=began) == [to]


def test_nothing_new_is_begun_at_the_only_server_while_it_wants_to_be_left_alone() -> None:
    world = World()
    world.says(BOB, 503, 200, retry_after=20)
    world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(5.0)
    outcome, asked = send(world, publish(world, "sip:bob@192.0.2.2"))
    assert outcome.times_told == 0, "never from inside the call"
    world.pass_seconds(0.0)
    assert outcome.status == 503 and outcome.responses[0].retry_after == 15
    assert len(world.sent_to()) == 1
    assert asked.tried == ["udp:192.0.2.2:5060 (503, asked to be left alone)"]


def test_what_keeps_something_alive_is_sent_even_then() -> None:
    world = World()
    world.says(BOB, 503, 200, retry_after=20)
    world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(5.0)
    refresh = publish(world, "sip:bob@192.0.2.2")
    refresh.headers.add("SIP-If-Match", "x1")
    outcome, _ = send(world, refresh)
    world.turn()
    assert outcome.status == 200


def test_a_probe_is_sent_even_then_and_its_answer_is_no_wish_for_more() -> None:
    world = World()
    world.says(BOB, 503, 200, retry_after=20)
    world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(5.0)
    probe = world.alice.new_request("OPTIONS", "sip:192.0.2.2", from_=SENDER, to=SENDER)
    world.alice.request(probe, outcome := Outcome(), world.now, sustains=True)
    world.turn()
    assert outcome.status == 200
    new = world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(0.0)
    assert new.status == 503 and len(world.sent_to()) == 1


def test_a_retry_after_of_hours_is_heeded_for_five_minutes() -> None:
    world = World()
    world.says(BOB, 503, 200, retry_after=86400)
    world.ask("sip:bob@192.0.2.2")
    world.pass_seconds(301.0)
    outcome = world.ask("sip:bob@192.0.2.2")
    world.turn()
    assert outcome.status == 200


def test_the_list_is_bounded() -> None:
    world = World()
    for n in range(1100):
        world.refused.add(("udp", (f"198.51.{n // 250}.{n % 250}", 5060)))
        world.ask(f"sip:bob@198.51.{n // 250}.{n % 250}")
        world.turn()
    assert len(world.alice.asking.destinations.avoided) == 1024
