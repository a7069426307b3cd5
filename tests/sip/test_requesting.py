"""Our requests: destinations, fallbacks, challenges, and exactly one outcome."""

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.digest import DigestServer, Refused, Stale, Verified, ha1
from sipbridge.sip.flow import Address, Flow, ListeningPoint
from sipbridge.sip.indications import (
    ChallengeUnmet,
    DestinationFailed,
    LimitReached,
    RequestTimedOut,
    Resolve,
    StrayResponse,
    Unmet,
)
from sipbridge.sip.locate import LARGE
from sipbridge.sip.message import Request
from sipbridge.sip.parser import parse_datagram
from sipbridge.sip.policy import NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.records import Answer, Kind, Naptr, Question, Srv
from sipbridge.sip.requesting import MAX_DATAGRAM, ClientRequest
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import CoreLimits, UserAgent
from tests.harness.pair import ALICE, ALICES, BOB, Answers, Net, Outcome, Pair

CAROL: Address = ("192.0.2.3", 5060)
SENDER = NameAddr.parse("<sip:alice@example.com>")
RECEIVER = NameAddr.parse("<sip:bob@example.com>")


def publish(net: Net, target: str = "sip:bob@192.0.2.2", size: int = 0) -> Request:
    return net.cores[ALICE].new_request(
        "PUBLISH",
        target,
        from_=SENDER,
        to=RECEIVER,
        headers=[("Event", "presence")],
        body=b"x" * size,
    )


def send(
    net: Net,
    request: Request,
    policy: PeerPolicy = NO_POLICY,
    credentials: Credentials | None = None,
    flow: Flow | None = None,
) -> tuple[Outcome, ClientRequest]:
    outcome = Outcome()
    asked = net.cores[ALICE].request(
        request, outcome, net.now, policy=policy, credentials=credentials, flow=flow, trace="t1"
    )
    return outcome, asked


def answer(pair: Pair, host: str, *addresses: str) -> None:
    """DNS finds the addresses of a name."""
    found = Answer(addresses=addresses, ttl=30.0)
    pair.alice.receive_answer(Question(Kind.ADDRESS, host), found, pair.now)


class Guard:
    """Answers 401 or 407 until the credentials are right."""

    def __init__(self, net: Net, realms: dict[str, int], life: float = 300.0) -> None:
        self.net = net
        self.digests = {r: DigestServer(r, b"secret", nonce_life=life) for r in realms}
        self.realms = realms
        self.cseqs: list[int] = []
        self.branches: list[str | None] = []
        self.verdicts: list[object] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        request = incoming.request
        self.cseqs.append(request.cseq.number)
        self.branches.append(request.top_via.branch)
        for realm, status in self.realms.items():
            name = "Authorization" if status == 401 else "Proxy-Authorization"
            values = [v for v in request.headers.get_all(name) if f'realm="{realm}"' in v]
            verdict: object = None
            if values:
                verdict = self.digests[realm].verify(
                    values[0], request.method, request.uri, request.body, now, self.secret
                )
            self.verdicts.append(verdict)
            if not isinstance(verdict, Verified):
                asks = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
                challenges = self.digests[realm].challenges(now, stale=isinstance(verdict, Stale))
                incoming.respond(status, headers=[(asks, text) for text in challenges])
                return
        incoming.respond(200)

    @staticmethod
    def secret(user: str, realm: str, algorithm: str) -> str | None:
        return ha1(algorithm, user, realm, "alicepw") if user == "alice" else None


# --- one outcome --------------------------------------------------------------------------------------


def test_the_answer_comes_once_with_what_the_core_added(pair: Pair) -> None:
    bob = Answers(200)
    pair.bob.serve("PUBLISH", bob)
    outcome, asked = send(pair, publish(pair))
    assert outcome.times_told == 0
    pair.pass_seconds(40)
    assert outcome.status == 200 and outcome.times_told == 1 and asked.finished
    request = bob.got[0].request
    assert request.max_forwards == 70
    assert request.headers.get("User-Agent") == "sipbridge"
    assert request.from_.tag
    assert request.top_via.wants_rport
    assert request.headers.get("Contact") is None
    assert pair.alice.asking.live == 0 and not pair.alice.asking.transactions


def test_subscribe_gets_our_contact(pair: Pair) -> None:
    bob = Answers(200)
    pair.bob.serve("SUBSCRIBE", bob)
    headers = [("Event", "presence")]
    request = pair.alice.new_request(
        "SUBSCRIBE", "sip:bob@192.0.2.2;transport=tcp", from_=SENDER, to=RECEIVER, headers=headers
    )
    outcome, _ = send(pair, request)
    pair.turn()
    assert outcome.status == 200
    assert bob.got[0].request.headers.get("Contact") == "<sip:alice@192.0.2.1:5060;transport=tcp>"
    assert outcome.responses[0].headers.get("Contact") == "<sip:bob@192.0.2.2:5060;transport=tcp>"


def test_silence_is_a_timeout_after_32_seconds(pair: Pair) -> None:
    pair.wire.drop_next("*", 1000)
    started = pair.now
    outcome, _ = send(pair, publish(pair))
    pair.pass_seconds(60)
    assert [round(s.at - started, 3) for s in pair.wire.named("PUBLISH")] == [
        0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5,
    ]  # fmt: skip
    assert outcome.failures == [("timeout", started + 32.0)]
    said = pair.said_by(ALICE, RequestTimedOut)
    assert [(s.destination, s.trace) for s in said if isinstance(s, RequestTimedOut)] == [
        ("udp:192.0.2.2:5060", "t1")
    ]


def test_a_lost_response_is_sent_again_and_told_once(pair: Pair) -> None:
    bob = Answers(200)
    pair.bob.serve("PUBLISH", bob)
    pair.wire.drop_next("200", 2)
    outcome, _ = send(pair, publish(pair))
    pair.pass_seconds(40)
    assert outcome.status == 200 and len(bob.got) == 1
    assert len(pair.wire.named("PUBLISH")) == 3


def test_a_cancelled_request_is_never_heard_of(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    outcome, asked = send(pair, publish(pair))
    asked.cancel()
    asked.cancel()
    pair.pass_seconds(40)
    assert outcome.times_told == 0 and pair.alice.asking.live == 0


def test_a_stray_response_is_dropped_and_reported(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    send(pair, publish(pair))
    pair.pass_seconds(10)
    stray = pair.wire.named("200")[0]
    pair.alice.receive_datagram(stray.data, Flow("udp", ALICE, BOB), pair.now, "t9")
    said = pair.alice.indications()
    assert [type(s) for s in said] == [StrayResponse] and not pair.alice.transmits()


def test_beyond_the_limit_a_request_fails_after_the_call(pair: Pair) -> None:
    pair.alice.asking.limits = CoreLimits(client_requests=1)
    first, _ = send(pair, publish(pair))
    second, _ = send(pair, publish(pair))
    assert second.times_told == 0
    pair.pass_seconds(0)
    assert [reason for reason, _ in second.failures] == ["transport"]
    assert first.times_told == 1 and pair.said_by(ALICE, LimitReached)


def test_a_line_break_in_a_header_is_our_callers_fault(pair: Pair) -> None:
    request = publish(pair)
    request.headers.add("Subject", "a\r\nEvil: yes")
    with pytest.raises(LocalProtocolError):
        send(pair, request)
    assert pair.alice.asking.live == 0 and not pair.alice.transmits()


# --- destinations -------------------------------------------------------------------------------------


def test_a_fixed_flow_comes_before_everything(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    flow = Flow("udp", ALICE, BOB)
    outcome, _ = send(pair, publish(pair, "pres:bob@example.com"), PeerPolicy(flow=flow))
    pair.turn()
    assert outcome.status == 200


def test_the_next_hop_wins_over_route_and_request_uri(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    policy = PeerPolicy(
        next_hops=("sip:192.0.2.2:5060;transport=tcp",),
        route=("<sip:r1.example.com;lr>", "<sip:r2.example.com;lr>"),
        identity="P-Asserted-Identity",
        extra_headers=(("X-Extra", "1"),),
    )
    outcome, _ = send(pair, publish(pair, "sip:bob@nowhere.example.com"), policy)
    pair.turn()
    assert outcome.status == 200
    headers = bob.got[0].request.headers
    assert headers.values("Route") == ["<sip:r1.example.com;lr>", "<sip:r2.example.com;lr>"]
    assert headers.get("P-Asserted-Identity") == "<sip:alice@example.com>"
    assert headers.get("X-Extra") == "1"
    assert bob.got[0].flow.protocol == "tcp"


def test_without_next_hop_the_first_route_is_the_destination(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    policy = PeerPolicy(route=("<sip:192.0.2.2:5060;lr>",))
    outcome, _ = send(pair, publish(pair, "sip:bob@nowhere.example.com"), policy)
    pair.turn()
    assert outcome.status == 200


def test_a_name_is_looked_up_once_for_all_who_wait(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    outcomes = [send(pair, publish(pair, "sip:bob@pa.example.com"))[0] for _ in range(3)]
    pair.turn()
    asked = [str(s.question) for s in pair.said_by(ALICE, Resolve) if isinstance(s, Resolve)]
    assert asked == [
        "NAPTR of pa.example.com",
        "SRV of _sip._udp.pa.example.com",
        "SRV of _sip._tcp.pa.example.com",
        "address of pa.example.com",
    ]
    assert not pair.wire.sent
    answer(pair, "pa.example.com", "192.0.2.2")
    pair.turn()
    assert [o.status for o in outcomes] == [200] * 3
    again, _ = send(pair, publish(pair, "sip:bob@pa.example.com"))
    pair.turn()
    assert again.status == 200 and len(pair.said_by(ALICE, Resolve)) == 4


def test_an_unknown_name_is_a_failure_of_the_transport(pair: Pair) -> None:
    outcome, _ = send(pair, publish(pair, "sip:bob@pa.example.com"))
    pair.turn()
    answer(pair, "pa.example.com")
    pair.pass_seconds(0)
    assert [reason for reason, _ in outcome.failures] == ["transport"]


def test_who_waits_for_dns_longer_than_a_request_may_take_is_given_up(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    outcome, _ = send(pair, publish(pair, "sip:bob@pa.example.com"))
    pair.turn()
    pair.pass_seconds(29)
    answer(pair, "pa.example.com", "192.0.2.2")
    pair.pass_seconds(0)
    assert len(outcome.failures) == 1 and not bob.got
    assert pair.alice.asking.live == 0


def test_one_that_cannot_be_sent_leaves_nobody_else_waiting(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    request = publish(pair, "sip:bob@pa.example.com;transport=tcp")
    broken, _ = send(pair, request)
    others = [send(pair, publish(pair, "sip:bob@pa.example.com"))[0] for _ in range(2)]
    pair.turn()
    request.headers.add("Subject", "a\r\nEvil: yes")
    with pytest.raises(LocalProtocolError):
        answer(pair, "pa.example.com", "192.0.2.2")
    pair.pass_seconds(1)
    assert [outcome.status for outcome in others] == [200, 200]
    assert [reason for reason, _ in broken.failures] == ["transport"]
    assert pair.alice.asking.live == 0 and pair.alice.asking.waiters == 0


def test_a_request_cancelled_while_its_name_is_looked_up_never_leaves(pair: Pair) -> None:
    outcome, asked = send(pair, publish(pair, "sip:bob@pa.example.com"))
    asked.cancel()
    pair.turn()
    answer(pair, "pa.example.com", "192.0.2.2")
    pair.pass_seconds(1)
    assert not pair.wire.sent and outcome.times_told == 0


@pytest.mark.parametrize("how", ["refused", "silent", "503"])
def test_the_next_next_hop_is_tried_when_one_is_dead(how: str) -> None:
    pair = Pair()
    carol = pair.add(CAROL)
    carol.serve("PUBLISH", Answers(200))
    pair.bob.serve("PUBLISH", Answers(503))
    if how == "refused":
        pair.refused.add(("udp", BOB))
    elif how == "silent":
        pair.wire.drop_next("PUBLISH", 5)
    policy = PeerPolicy(next_hops=("sip:192.0.2.2", "sip:192.0.2.3"))
    outcome, _ = send(pair, publish(pair), policy)
    pair.pass_seconds(40)
    assert outcome.status == 200 and outcome.times_told == 1
    assert pair.said_by(ALICE, DestinationFailed) or pair.said_by(ALICE, RequestTimedOut)
    branches = {s.header("Via").split("branch=")[1][:27] for s in pair.wire.named("PUBLISH")}
    assert len(branches) == (1 if how == "refused" else 2)


def test_the_last_503_is_told_as_it_is(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(503, headers=[("Retry-After", "7")]))
    outcome, _ = send(pair, publish(pair))
    pair.pass_seconds(40)
    assert outcome.status == 503 and outcome.responses[0].retry_after == 7
    policy = PeerPolicy(next_hops=("sip:192.0.2.2", "sips:192.0.2.3"))
    outcome, _ = send(pair, publish(pair), policy)
    pair.pass_seconds(40)
    assert outcome.status == 503


def test_a_next_hop_we_cannot_speak_to_is_reported_after_the_call(pair: Pair) -> None:
    outcome, _ = send(pair, publish(pair, "sips:bob@192.0.2.2"))
    assert outcome.times_told == 0
    pair.pass_seconds(0)
    assert [reason for reason, _ in outcome.failures] == ["transport"]


def test_without_a_udp_listener_a_default_destination_is_reached_by_tcp() -> None:
    pair = Pair(protocols=("tcp",))
    pair.bob.serve("PUBLISH", bob := Answers(200))
    outcome, _ = send(pair, publish(pair))
    pair.turn()
    assert outcome.status == 200 and bob.got[0].flow.protocol == "tcp"


def test_without_any_fitting_listener_it_fails_after_the_call() -> None:
    pair = Pair(protocols=("udp",))
    outcome, _ = send(pair, publish(pair, "sip:bob@192.0.2.2;transport=tcp"))
    assert outcome.times_told == 0
    pair.pass_seconds(0)
    assert [reason for reason, _ in outcome.failures] == ["transport"]


def test_a_flow_of_a_listener_that_is_gone_is_passed_over(pair: Pair) -> None:
    pair.bob.serve("NOTIFY", answers := Answers(200))
    pair.bob.add_dialog(bobs_side(), answers)
    old = Flow("memory", ("gateway", 5060), ("agent", 5060))
    dialog = dialog_of(pair, "sip:bob@192.0.2.2", old)
    headers = [("Event", "presence"), ("Subscription-State", "active")]
    request = dialog.new_request("NOTIFY", headers)
    pair.alice.request_in_dialog(dialog, request, outcome := Outcome(), pair.now)
    pair.turn()
    assert outcome.status == 200


def test_too_many_names_at_once_are_a_failure(pair: Pair) -> None:
    """Each question counts, not only each request."""
    pair.alice.asking.limits = CoreLimits(waiting_for_names=3)
    for name in ("one.example.com", "two.example.com"):
        rules = tuple(Naptr(1, 1, "s", "SIP+D2U", "", f"{n}.{name}") for n in range(2))
        answered = Answer(naptrs=rules, ttl=30.0)
        pair.alice.receive_answer(Question(Kind.NAPTR, name), answered, pair.now)
    first, _ = send(pair, publish(pair, "sip:bob@one.example.com"))
    second, _ = send(pair, publish(pair, "sip:bob@two.example.com"))
    assert pair.alice.asking.waiters == 2
    pair.pass_seconds(0)
    assert first.times_told == 0
    assert [reason for reason, _ in second.failures] == ["transport"]


def test_a_contact_of_our_own_follows_the_listener_and_a_foreign_one_stays(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    for contact in (
        "<sip:alice@192.0.2.1:5060>;expires=5",
        "<sip:alice@198.51.100.1:5060>",
        "<mailto:alice@example.com>",
        "*",
    ):
        request = publish(pair, "sip:bob@192.0.2.2;transport=tcp")
        request.headers.add("Contact", contact)
        send(pair, request)
        pair.turn()
    assert [i.request.headers.get("Contact") for i in bob.got] == [
        "<sip:alice@192.0.2.1:5060;transport=tcp>;expires=5",
        "<sip:alice@198.51.100.1:5060>",
        "<mailto:alice@example.com>",
        "*",
    ]


# --- large requests -----------------------------------------------------------------------------------


def test_a_large_request_leaves_udp_for_tcp(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    outcome, _ = send(pair, publish(pair, size=1300))
    pair.turn()
    assert outcome.status == 200 and bob.got[0].flow.protocol == "tcp"
    assert bob.got[0].request.top_via.protocol == "TCP"


def test_when_tcp_is_refused_it_goes_by_udp_with_a_new_via(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    pair.refused.add(("tcp", BOB))
    outcome, _ = send(pair, publish(pair, size=1300))
    pair.turn()
    assert outcome.status == 200 and bob.got[0].request.top_via.protocol == "UDP"
    pair.refused.clear()
    again, _ = send(pair, publish(pair, size=1300))
    pair.turn()
    assert again.status == 200 and bob.got[1].flow.protocol == "udp"
    pair.pass_seconds(301)
    later, _ = send(pair, publish(pair, size=1300))
    pair.turn()
    assert later.status == 200 and bob.got[2].flow.protocol == "tcp"


SMALL_ALONE = 900
"""Bytes of a body with which a PUBLISH fits into a datagram, but not with credentials."""


def went_by(net: Net) -> list[str]:
    """How each PUBLISH left, and "signed" if it had credentials."""
    return [
        one.flow.protocol + (" signed" if one.header("Authorization") else "")
        for one in net.wire.named("PUBLISH")
    ]


def test_what_credentials_make_too_large_goes_by_tcp(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 401}))
    for _ in range(2):
        outcome, _ = send(pair, publish(pair, size=SMALL_ALONE), credentials=ALICES)
        pair.turn()
        assert outcome.status == 200
    first, second, third = pair.wire.named("PUBLISH")
    assert went_by(pair) == ["udp", "tcp signed", "tcp signed"]
    assert len(first.data) <= LARGE < len(second.data)
    counts = [s.header("Authorization").rpartition("nc=")[2] for s in (second, third)]
    assert counts == ["00000001", "00000002"]
    assert guard.cseqs == [1, 2, 1]


@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "no tcp"])
def test_what_credentials_make_too_large_stays_with_the_server_that_dns_named_for_udp(
    pair: Pair, tcp: bool
) -> None:
    pair.bob.serve("PUBLISH", Guard(pair, {"example.com": 401}))
    for kind, host in ("udp", "bob.example"), ("tcp", "carol.example"):
        found = Answer(srvs=(Srv(1, 0, 5060, host),), ttl=300)
        pair.records[Question(Kind.SRV, f"_sip._{kind}.example.com")] = found
    pair.names |= {"bob.example": ["192.0.2.2"], "carol.example": ["192.0.2.3"]}
    if not tcp:
        pair.refused.add(("tcp", BOB))
    for _ in range(2):
        request = publish(pair, "sip:bob@example.com", size=SMALL_ALONE)
        outcome, _ = send(pair, request, credentials=ALICES)
        pair.pass_seconds(0)
        assert outcome.status == 200
    large = "tcp signed" if tcp else "udp signed"
    assert went_by(pair) == ["udp", large, large]
    assert {sent.flow.remote for sent in pair.wire.named("PUBLISH")} == {BOB}


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_what_credentials_make_too_large_goes_by_udp_where_there_is_no_tcp(
    pair: Pair, how: str
) -> None:
    pair.bob.serve("PUBLISH", Guard(pair, {"example.com": 401}))
    send(pair, publish(pair), credentials=ALICES)
    pair.turn()
    if how == "refused":
        pair.refused.add(("tcp", BOB))
    else:
        pair.wire.drop_next("PUBLISH")
    for tries in (2, 1):
        outcome, asked = send(pair, publish(pair, size=SMALL_ALONE), credentials=ALICES)
        pair.pass_seconds(20)
        assert outcome.status == 200 and asked.tries == tries
    tcp = [] if how == "refused" else ["tcp signed"]
    assert went_by(pair) == ["udp", "udp signed", *tcp, "udp signed", "udp signed"]


def test_a_wrong_password_is_told_by_the_same_server_over_tcp_too(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Guard(pair, {"example.com": 401}))
    wrong = Credentials("alice", "wrong")
    outcome, _ = send(pair, publish(pair, size=SMALL_ALONE), credentials=wrong)
    pair.turn()
    assert outcome.status == 401 and went_by(pair) == ["udp", "tcp signed"]


def test_with_credentials_too_it_stays_where_udp_was_asked_for(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Guard(pair, {"example.com": 401}))
    request = publish(pair, "sip:bob@192.0.2.2;transport=udp", size=SMALL_ALONE)
    outcome, _ = send(pair, request, credentials=ALICES)
    pair.turn()
    assert outcome.status == 200 and went_by(pair) == ["udp", "udp signed"]


def test_a_large_request_stays_where_udp_was_asked_for(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    outcome, _ = send(pair, publish(pair, "sip:bob@192.0.2.2;transport=udp", size=1300))
    pair.turn()
    assert outcome.status == 200 and bob.got[0].flow.protocol == "udp"


@pytest.mark.parametrize("target", ["sip:bob@192.0.2.2", "sip:bob@192.0.2.2;transport=udp"])
def test_what_could_be_said_in_parts_does_not_go_as_a_large_datagram(
    pair: Pair, target: str
) -> None:
    pair.bob.serve("NOTIFY", answers := Answers(200))
    pair.bob.add_dialog(bobs_side(), answers)
    pair.refused.add(("tcp", BOB))
    dialog = dialog_of(pair, target)
    outcomes = []
    for size in (1300, 100):
        headers = [("Event", "presence"), ("Content-Type", "text/plain")]
        headers.append(("Subscription-State", "active"))
        request = dialog.new_request("NOTIFY", headers, b"x" * size)
        outcomes.append(outcome := Outcome())
        pair.alice.request_in_dialog(dialog, request, outcome, pair.now, divisible=True)
        assert outcome.times_told == 0
        pair.pass_seconds(0)
    assert [reason for reason, _ in outcomes[0].failures] == ["too-large"]
    assert outcomes[1].status == 200
    assert len(answers.got) == 1


def test_what_no_datagram_holds_fails_alone_and_says_why(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", bob := Answers(200))
    target = "sip:bob@192.0.2.2;transport=udp"
    pair.wire.drop_next("PUBLISH")
    waits, _ = send(pair, publish(pair, target))
    outcome, asked = send(pair, publish(pair, target, size=65_300))
    assert outcome.times_told == 0
    pair.pass_seconds(1)
    assert [reason for reason, _ in outcome.failures] == ["transport"]
    assert "bytes are too many for a datagram" in asked.story
    (said,) = pair.said_by(ALICE, DestinationFailed)
    assert isinstance(said, DestinationFailed) and said.destination == "udp:192.0.2.2:5060"
    assert waits.status == 200 and len(bob.got) == 1
    assert not pair.alice.asking.destinations.avoided


def test_what_no_datagram_holds_goes_to_the_next_hop_that_has_a_connection(pair: Pair) -> None:
    hops = ("sip:192.0.2.2;transport=udp", "sip:192.0.2.2;transport=tcp")
    outcome, _ = send(pair, publish(pair, size=65_300), PeerPolicy(next_hops=hops))
    pair.turn()
    assert [one.flow.protocol for one in pair.wire.named("PUBLISH")] == ["tcp"]
    assert outcome.status == 513  # which is what the other side thinks of it


def test_the_longest_datagram_leaves(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    target = "sip:bob@192.0.2.2;transport=udp"
    send(pair, publish(pair, target, size=60_000))
    pair.turn()
    room = MAX_DATAGRAM - len(pair.wire.named("PUBLISH")[0].data)
    for size, status in ((60_000 + room, 200), (60_001 + room, None)):
        outcome, _ = send(pair, publish(pair, target, size=size))
        pair.pass_seconds(0)
        assert (outcome.responses[0].status if outcome.responses else None) == status


def test_a_closed_connection_fails_what_waits_on_it(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(0))
    outcome, _ = send(pair, publish(pair, "sip:bob@192.0.2.2;transport=tcp"))
    pair.turn()
    pair.alice.connection_closed(Flow("tcp", ALICE, BOB, 1), pair.now)
    pair.turn()
    assert [reason for reason, _ in outcome.failures] == ["transport"]


# --- digest -------------------------------------------------------------------------------------------


def test_a_challenge_is_answered_with_a_new_branch_and_the_next_cseq(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 401}))
    outcome, asked = send(pair, publish(pair), credentials=ALICES)
    pair.turn()
    assert outcome.status == 200
    assert guard.cseqs == [1, 2] and asked.request.cseq.number == 2
    assert len(set(guard.branches)) == 2


def test_the_next_request_is_authorised_in_advance(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 407}))
    for _ in range(3):
        outcome, _ = send(pair, publish(pair), credentials=ALICES)
        pair.turn()
        assert outcome.status == 200
    assert len(guard.cseqs) == 4
    counts = [s.header("Proxy-Authorization")[-8:] for s in pair.wire.named("PUBLISH")[1:]]
    assert [f"nc={c}" for c in counts] == ["nc=00000001", "nc=00000002", "nc=00000003"]


def test_a_stale_nonce_costs_one_more_round(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 401}, life=60.0))
    send(pair, publish(pair), credentials=ALICES)
    pair.pass_seconds(100)
    outcome, _ = send(pair, publish(pair), credentials=ALICES)
    pair.turn()
    assert outcome.status == 200 and isinstance(guard.verdicts[2], Stale)
    assert guard.cseqs == [1, 2, 1, 2]


def test_a_proxy_and_a_server_are_both_answered(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"proxy": 407, "example.com": 401}))
    outcome, _ = send(pair, publish(pair), credentials=ALICES)
    pair.turn()
    assert outcome.status == 200 and guard.cseqs == [1, 2, 3]


def test_a_wrong_password_is_told_and_not_tried_again(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 401}))
    for tries in (2, 4):
        outcome, _ = send(pair, publish(pair), credentials=Credentials("alice", "wrong"))
        pair.turn()
        assert outcome.status == 401
        assert len(guard.cseqs) == tries


@pytest.mark.parametrize("password", ["alicepw", "wrong"])
def test_the_next_server_asks_for_itself(pair: Pair, password: str) -> None:
    """One of two servers of a domain asks, and is too busy for the answer; the other has its own nonces."""

    class Busy(Guard):
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            if "Authorization" in incoming.request.headers:
                incoming.respond(503)
            else:
                super().receive_request(incoming, now)

    pair.bob.serve("PUBLISH", Busy(pair, {"example.com": 401}))
    pair.add(CAROL).serve("PUBLISH", guard := Guard(pair, {"example.com": 401}))
    policy = PeerPolicy(next_hops=("sip:192.0.2.2", "sip:192.0.2.3"))
    outcome, _ = send(pair, publish(pair), policy, Credentials("alice", password))
    pair.turn()
    assert outcome.status == (200 if password == "alicepw" else 401)
    assert [type(v) for v in guard.verdicts] == [
        type(None),
        Verified if password == "alicepw" else Refused,
    ]


def test_credentials_of_another_realm_are_kept_back(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", guard := Guard(pair, {"example.com": 401}))
    outcome, _ = send(pair, publish(pair), credentials=Credentials("alice", "alicepw", "elsewhere"))
    pair.turn()
    assert outcome.status == 401 and len(guard.cseqs) == 1
    outcome, _ = send(pair, publish(pair))
    pair.turn()
    assert outcome.status == 401 and len(guard.cseqs) == 2


def test_endless_realms_end_after_two_rounds(pair: Pair) -> None:
    realms = {f"realm{i}": 401 for i in range(5)}
    pair.bob.serve("PUBLISH", guard := Guard(pair, realms))
    outcome, _ = send(pair, publish(pair), credentials=ALICES)
    pair.turn()
    assert outcome.status == 401 and len(guard.cseqs) == 3


def test_a_nextnonce_is_used_for_the_next_request(pair: Pair) -> None:
    nonces: list[str] = []

    class Server:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            given = incoming.request.headers.get("Authorization") or ""
            nonces.append(given.partition('nonce="')[2].partition('"')[0])
            if not given:
                challenge = 'Digest realm="example.com", nonce="first", qop="auth"'
                incoming.respond(401, headers=[("WWW-Authenticate", challenge)])
            else:
                incoming.respond(200, headers=[("Authentication-Info", 'nextnonce="second"')])

    pair.bob.serve("PUBLISH", Server())
    for _ in range(2):
        outcome, _ = send(pair, publish(pair), credentials=ALICES)
        pair.turn()
        assert outcome.status == 200
    assert nonces == ["", "first", "second"]


class Recorder:
    """A server of one realm for each domain, and a proxy before all; `infos` go into its 200s."""

    def __init__(self, *, proxy: bool = False, infos: tuple[tuple[str, str], ...] = ()) -> None:
        self.proxy, self.infos = proxy, infos
        self.given: list[tuple[str, str]] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        request = incoming.request
        name = "Proxy-Authorization" if self.proxy else "Authorization"
        given = request.headers.get(name) or ""
        domain = request.to.uri.host.lower()
        self.given.append((domain, given))
        realm = "proxy" if self.proxy else domain
        if f'realm="{realm}"' in given:
            incoming.respond(200, headers=self.infos)
            return
        challenge = f'Digest realm="{realm}", nonce="n-{domain}-{len(self.given)}", qop="auth"'
        asks = "Proxy-Authenticate" if self.proxy else "WWW-Authenticate"
        incoming.respond(407 if self.proxy else 401, headers=[(asks, challenge)])


def to_domain(net: Net, domain: str) -> Request:
    receiver = NameAddr.parse(f"<sip:bob@{domain}>")
    return net.cores[ALICE].new_request(
        "PUBLISH", f"sip:bob@{domain}", from_=SENDER, to=receiver, headers=[("Event", "presence")]
    )


BY_PROXY = PeerPolicy(next_hops=("sip:192.0.2.2",))


def test_what_one_domain_asked_for_is_not_sent_to_another_behind_the_same_proxy(
    pair: Pair,
) -> None:
    pair.bob.serve("PUBLISH", server := Recorder())
    for domain in ("one.example", "two.example", "one.example", "TWO.example"):
        outcome, _ = send(pair, to_domain(pair, domain), BY_PROXY, ALICES)
        pair.turn()
        assert outcome.status == 200
    assert [bool(given) for _, given in server.given] == [False, True, False, True, True, True]
    for domain, given in server.given:
        assert not given or f'realm="{domain}"' in given
    assert "nc=00000002" in server.given[4][1]


def test_what_a_proxy_asked_for_goes_with_every_request_that_goes_by_it(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", server := Recorder(proxy=True))
    for domain in ("one.example", "two.example"):
        outcome, _ = send(pair, to_domain(pair, domain), BY_PROXY, ALICES)
        pair.turn()
        assert outcome.status == 200
    assert [bool(given) for _, given in server.given] == [False, True, True]


def test_two_users_of_one_name_do_not_share_what_they_know(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", server := Recorder())
    for password in ("alicepw", "another"):
        send(pair, to_domain(pair, "one.example"), BY_PROXY, Credentials("alice", password))
        pair.turn()
    assert [bool(given) for _, given in server.given] == [False, True, False, True]


def test_a_proxys_nextnonce_is_used_too(pair: Pair) -> None:
    infos = (("Proxy-Authentication-Info", 'nextnonce="second"'),)
    pair.bob.serve("PUBLISH", server := Recorder(proxy=True, infos=infos))
    for _ in range(2):
        send(pair, to_domain(pair, "one.example"), BY_PROXY, ALICES)
        pair.turn()
    assert 'nonce="second"' in server.given[2][1]
    assert "nc=00000001" in server.given[2][1]


def test_a_server_that_does_not_know_the_password_is_not_told_more(pair: Pair) -> None:
    infos = (("Authentication-Info", 'rspauth="00", nextnonce="evil"'),)
    pair.bob.serve("PUBLISH", server := Recorder(infos=infos))
    for _ in range(2):
        send(pair, to_domain(pair, "one.example"), BY_PROXY, ALICES)
        pair.turn()
    assert [bool(given) for _, given in server.given] == [False, True, False, True]
    assert "evil" not in str(server.given)


def test_realms_without_end_are_not_all_remembered(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Recorder())
    for number in range(40):
        send(pair, to_domain(pair, f"d{number}.example"), BY_PROXY, ALICES)
        pair.turn()
    (known,) = pair.alice.asking.sessions.values()
    assert len(known) == 32
    assert (False, "d39.example", "d39.example") in known


# --- in dialogs ---------------------------------------------------------------------------------------


def dialog_of(net: Net, target: str, flow: Flow | None = None) -> Dialog:
    return Dialog(
        "c1",
        NameAddr.parse("<sip:alice@example.com>;tag=a"),
        NameAddr.parse("<sip:bob@example.com>;tag=b"),
        target,
        flow=flow,
    )


def bobs_side() -> Dialog:
    return Dialog(
        "c1",
        NameAddr.parse("<sip:bob@example.com>;tag=b"),
        NameAddr.parse("<sip:alice@example.com>;tag=a"),
        "sip:alice@192.0.2.1",
    )


def test_a_challenge_inside_a_dialog_uses_up_the_dialogs_numbers(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", guard := Guard(pair, {"example.com": 401}))
    pair.bob.add_dialog(bobs_side(), guard)
    dialog = dialog_of(pair, "sip:bob@192.0.2.2")
    outcome = Outcome()
    request = dialog.new_request("SUBSCRIBE", [("Event", "presence")])
    pair.alice.request_in_dialog(dialog, request, outcome, pair.now, credentials=ALICES)
    pair.turn()
    assert outcome.status == 200 and guard.cseqs == [1, 2] and dialog.local_cseq == 2


def test_a_2xx_moves_the_target_of_the_dialog(pair: Pair) -> None:
    answers = Answers(200, headers=[("Contact", "<sip:bob@192.0.2.77>")])
    pair.bob.serve("SUBSCRIBE", answers)
    pair.bob.add_dialog(bobs_side(), answers)
    dialog = dialog_of(pair, "sip:bob@192.0.2.2")
    request = dialog.new_request("SUBSCRIBE", [("Event", "presence")])
    pair.alice.request_in_dialog(dialog, request, outcome := Outcome(), pair.now)
    pair.turn()
    assert outcome.status == 200 and dialog.remote_target == "sip:bob@192.0.2.77"


def test_a_2xx_that_echoes_our_contact_does_not_turn_us_towards_ourselves(pair: Pair) -> None:
    answers = Answers(200, headers=[("Contact", "<sip:alice@192.0.2.1:5060>")])
    pair.bob.serve("SUBSCRIBE", answers)
    pair.bob.add_dialog(bobs_side(), answers)
    dialog = dialog_of(pair, "sip:bob@192.0.2.2")
    contact = [("Event", "presence"), ("Contact", "<sip:alice@192.0.2.1:5060>")]
    request = dialog.new_request("SUBSCRIBE", contact)
    pair.alice.request_in_dialog(dialog, request, outcome := Outcome(), pair.now)
    pair.turn()
    assert outcome.status == 200 and dialog.remote_target == "sip:bob@192.0.2.2"


def test_the_arrival_connection_is_preferred_while_it_lives(pair: Pair) -> None:
    hint = Flow("tcp", ALICE, ("192.0.2.50", 40000), 9)
    dialog = dialog_of(pair, "sip:bob@192.0.2.2;transport=udp", hint)
    pair.alice.receive_stream(b"\r\n\r\n", hint, pair.now)
    assert [out.data for out in pair.alice.transmits()] == [b"\r\n"]
    request = dialog.new_request("NOTIFY", [("Event", "presence")])
    pair.alice.request_in_dialog(dialog, request, Outcome(), pair.now)
    assert [out.flow for out in pair.alice.transmits()] == [hint]
    pair.alice.connection_closed(hint, pair.now)
    assert [out.flow for out in pair.alice.transmits()] == [Flow("udp", ALICE, BOB)]
    request = dialog.new_request("NOTIFY", [("Event", "presence")])
    pair.alice.request_in_dialog(dialog, request, Outcome(), pair.now)
    assert [out.flow for out in pair.alice.transmits()] == [Flow("udp", ALICE, BOB)]


def sent_over(
    point: ListeningPoint, target: str, method: str = "SUBSCRIBE"
) -> tuple[Flow, Request]:
    """What leaves a core with this one point, for this target."""
    core = UserAgent([point])
    request = core.new_request(
        method, target, from_=SENDER, to=RECEIVER, headers=[("Event", "presence")]
    )
    core.request(request, Outcome(), 0.0)
    (out,) = core.transmits()
    sent = parse_datagram(out.data)
    assert isinstance(sent, Request)
    return out.flow, sent


def test_over_tls_the_flow_says_whose_certificate_is_expected() -> None:
    point = ListeningPoint("tls", ("192.0.2.1", 5061), "192.0.2.1", 5061)
    flow, sent = sent_over(point, "sip:bob@192.0.2.2;transport=tls")
    assert flow == Flow("tls", point.local, ("192.0.2.2", 5061), 0, "192.0.2.2")
    assert str(sent.top_via).startswith("SIP/2.0/TLS 192.0.2.1:5061;branch=")
    assert "alias" not in str(sent.top_via) and "rport" not in str(sent.top_via)
    assert str(sent.contact) == "<sip:alice@192.0.2.1:5061;transport=tls>"
    _, sent = sent_over(point, "sips:bob@192.0.2.2")
    assert str(sent.contact) == "<sips:alice@192.0.2.1:5061>"


def test_where_both_have_certificates_reuse_is_asked_for() -> None:
    point = ListeningPoint("tls", ("192.0.2.1", 5061), "192.0.2.1", 5061, reuse=True)
    _, sent = sent_over(point, "sip:bob@192.0.2.2;transport=tls")
    assert str(sent.top_via).endswith(";alias")


def test_over_a_websocket_nothing_is_named_that_could_be_reached() -> None:
    point = ListeningPoint("wss", ("192.0.2.1", 40000), "x7.invalid", 0)
    flow, sent = sent_over(point, "sips:bob@192.0.2.2;transport=ws")
    assert flow.protocol == "wss" and flow.remote == ("192.0.2.2", 443)
    assert str(sent.top_via).startswith("SIP/2.0/WSS x7.invalid;branch=")
    assert str(sent.contact) == "<sips:alice@x7.invalid;transport=ws>"


def test_two_names_of_one_address_fail_apart() -> None:
    net = Net()
    point = ListeningPoint("tls", ALICE, *ALICE)
    core = net.cores[ALICE] = UserAgent([point])
    net.reported[ALICE] = []
    net.names = {"a.example": ["192.0.2.2"], "b.example": ["192.0.2.2"]}
    outcomes = []
    for name in net.names:
        outcome, _ = send(net, publish(net, f"sip:bob@{name};transport=tls"))
        outcomes.append(outcome)
    net.turn()
    core.transport_failed(Flow("tls", ALICE, ("192.0.2.2", 5061), 0, "b.example"), net.now, "x")
    assert [outcome.times_told for outcome in outcomes] == [0, 1]


# --- a challenge is the last word ---------------------------------------------------------------------


def unmet(pair: Pair, credentials: Credentials | None, status: int = 401) -> ChallengeUnmet:
    """What is said of a PUBLISH that failed for its credentials."""
    pair.bob.serve("PUBLISH", Guard(pair, {"x.example": status}))
    outcome, _ = send(pair, publish(pair), credentials=credentials)
    pair.turn()
    assert outcome.status == status
    (said,) = pair.said_by(ALICE, ChallengeUnmet)
    assert isinstance(said, ChallengeUnmet)
    return said


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize(
    ("credentials", "why", "user"),
    [
        (None, Unmet.MISSING, ""),
        (Credentials("alice", "alicepw", "y.example"), Unmet.REALM, "alice"),
        (Credentials("alice", "wrong"), Unmet.REFUSED, "alice"),
        (Credentials("alice", "wrong", "x.example"), Unmet.REFUSED, "alice"),
    ],
)
def test_why_a_challenge_is_not_met_is_said_with_its_realm(
    pair: Pair, credentials: Credentials | None, why: Unmet, user: str, status: int
) -> None:
    assert unmet(pair, credentials, status) == ChallengeUnmet(
        *(why, status, "PUBLISH", "udp:192.0.2.2:5060", "sip:alice@example.com", user),
        ("x.example",),
        "t1",
    )


def test_a_challenge_that_is_too_weak_is_called_unusable(pair: Pair) -> None:
    pair.alice.asking.minimum_digest = "SHA-512-256"
    assert unmet(pair, ALICES).why is Unmet.UNUSABLE


def test_of_a_challenge_that_is_met_and_of_a_probe_nothing_is_said(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Guard(pair, {"x.example": 401, "y.example": 407}))
    pair.bob.serve("OPTIONS", Guard(pair, {"x.example": 401}))
    outcome, _ = send(pair, publish(pair), credentials=ALICES)
    request = pair.alice.new_request("OPTIONS", "sip:192.0.2.2", from_=SENDER, to=RECEIVER)
    probe, _ = send(pair, request)
    pair.turn()
    assert (outcome.status, probe.status) == (200, 401)
    assert pair.said_by(ALICE, ChallengeUnmet) == []
