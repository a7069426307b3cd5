"""Answering: where responses go, what they repeat, when they leave."""

import pytest

from sipbridge import errors
from sipbridge.errors import LocalProtocolError, ParseError, SipBridgeError
from sipbridge.sip.flow import Flow, ListeningPoint
from sipbridge.sip.indications import LimitReached, RequestAnsweredByCore, ReuseAsked
from sipbridge.sip.message import Response
from sipbridge.sip.parser import parse_datagram
from sipbridge.sip.responding import FINAL_RESPONSES, MAX_WAYS, CoreLimits, status_for
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from tests.harness.pair import BOB, Answers, Pair

UDP = Flow("udp", BOB, ("192.0.2.99", 40123))
TCP = Flow("tcp", BOB, ("192.0.2.99", 40123), 5)


def publish(
    via: str, *more: str, branch: str = "1", cseq: int = 1, method: str = "PUBLISH"
) -> bytes:
    lines = [
        f"{method} sip:bob@example.com SIP/2.0",
        f"Via: {via};branch=z9hG4bK{branch}",
        *more,
        'From: "A" <sip:alice@example.com>;tag=a',
        "To: <sip:bob@example.com>",
        "Call-ID: c1",
        f"CSeq: {cseq} {method}",
        "Event: presence",
        "Contact: <sip:alice@192.0.2.99>",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answers(pair: Pair, data: bytes, flow: Flow = UDP) -> list[tuple[Flow, Response]]:
    """What Bob sends when this arrives."""
    if flow.protocol == "tcp":
        pair.bob.receive_stream(data, flow, pair.now)
    else:
        pair.bob.receive_datagram(data, flow, pair.now, "t1")
    return drain(pair)


def drain(pair: Pair) -> list[tuple[Flow, Response]]:
    out = []
    for sent in pair.bob.transmits():
        message = parse_datagram(sent.data)
        assert isinstance(message, Response)
        out.append((sent.flow, message))
    return out


@pytest.mark.parametrize(
    ("via", "flow", "back", "noted"),
    [
        ("SIP/2.0/UDP 192.0.2.99", UDP, ("192.0.2.99", 5060), ""),
        ("SIP/2.0/UDP 192.0.2.99:5099", UDP, ("192.0.2.99", 5099), ""),
        ("SIP/2.0/UDP 10.0.0.1:5099", UDP, ("192.0.2.99", 5099), ";received=192.0.2.99"),
        ("SIP/2.0/UDP pc.example.com", UDP, ("192.0.2.99", 5060), ";received=192.0.2.99"),
        (
            "SIP/2.0/UDP 10.0.0.1:5099;rport",
            UDP,
            ("192.0.2.99", 40123),
            ";rport=40123;received=192.0.2.99",
        ),
        ("SIP/2.0/UDP 192.0.2.99:5099;maddr=10.9.9.9", UDP, ("192.0.2.99", 5099), ""),
        ("SIP/2.0/TCP 10.0.0.1:5099", TCP, ("192.0.2.99", 40123), ";received=192.0.2.99"),
    ],
)
def test_responses_go_where_the_rfc_sends_them(
    pair: Pair, via: str, flow: Flow, back: tuple[str, int], noted: str
) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    ((used, response),) = answers(pair, publish(via), flow)
    assert used == Flow(flow.protocol, BOB, back, flow.connection)
    text = response.headers.get("Via") or ""
    assert text == via.replace(";rport", "") + (
        noted.partition(";received")[0] if "rport" in noted else ""
    ) + ";branch=z9hG4bK1" + (";received=192.0.2.99" if noted else "")


def test_a_forged_received_is_replaced(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    via = "SIP/2.0/UDP 10.0.0.1;received=10.9.9.9;rport"
    ((used, response),) = answers(pair, publish(via))
    assert used.remote == ("192.0.2.99", 40123)
    assert response.top_via.received == "192.0.2.99" and response.top_via.rport == 40123


def test_several_hops_come_back_in_order(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    more = "Via: SIP/2.0/UDP p1.example.com;branch=z9hG4bKp1, SIP/2.0/TCP pc;branch=z9hG4bKp2"
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99;rport", more))
    assert [v.branch for v in response.vias] == ["z9hG4bK1", "z9hG4bKp1", "z9hG4bKp2"]
    line = "SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bK7, SIP/2.0/UDP pc;branch=z9hG4bK8;x=y"
    data = publish("SIP/2.0/UDP x", branch="2").replace(
        b"SIP/2.0/UDP x;branch=z9hG4bK2", line.encode()
    )
    ((_, response),) = answers(pair, data)
    assert [v.branch for v in response.vias] == ["z9hG4bK7", "z9hG4bK8"]
    assert response.top_via.rport == 40123


def test_a_response_repeats_what_identifies_the_request(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", "Timestamp: 54.21"))
    assert response.headers.get("From") == '"A" <sip:alice@example.com>;tag=a'
    assert response.to.tag and response.call_id == "c1" and response.cseq.number == 1
    assert response.headers.get("Timestamp") == "54.21"
    assert response.headers.get("Server") == "sipbridge"


def test_a_2xx_to_subscribe_carries_record_route_and_contact(pair: Pair) -> None:
    handler = Answers(202, headers=[("Expires", "60")])
    pair.bob.serve("SUBSCRIBE", handler)
    route = "Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>"
    data = publish("SIP/2.0/UDP 192.0.2.99", route, method="SUBSCRIBE")
    ((_, response),) = answers(pair, data)
    assert [r.uri_text for r in response.record_route] == [
        "sip:p1.example.com;lr",
        "sip:p2.example.com;lr",
    ]
    assert response.contact is not None and response.contact.uri_text == "sip:bob@192.0.2.2:5060"
    assert response.to.tag == handler.got[0].to_tag


def test_a_refusal_of_subscribe_carries_neither(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", Answers(403))
    route = "Record-Route: <sip:p1.example.com;lr>"
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", route, method="SUBSCRIBE"))
    assert response.status == 403
    assert response.contact is None and not response.record_route


def test_a_copy_is_absorbed_while_nobody_has_answered_and_repeated_afterwards(pair: Pair) -> None:
    handler = Answers(0)
    pair.bob.serve("PUBLISH", handler)
    data = publish("SIP/2.0/UDP 192.0.2.99")
    assert not answers(pair, data) and not answers(pair, data)
    handler.got[0].respond(200)
    first = drain(pair)
    assert [bytes(r) for _, r in answers(pair, data)] == [bytes(r) for _, r in first]
    assert len(handler.got) == 1


def test_answering_twice_is_our_own_fault_and_too_late_is_nobodys(pair: Pair) -> None:
    handler = Answers(200)
    pair.bob.serve("PUBLISH", handler)
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    with pytest.raises(LocalProtocolError):
        handler.got[0].respond(200)
    late = Answers(0)
    pair.bob.serve("PUBLISH", late)
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="2", cseq=2))
    pair.pass_seconds(33)
    late.got[0].respond(200)
    assert not pair.bob.transmits() and len(pair.bob.answering.transactions) == 0


def test_a_line_break_in_an_answer_is_our_own_fault(pair: Pair) -> None:
    handler = Answers(0)
    pair.bob.serve("PUBLISH", handler)
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    with pytest.raises(LocalProtocolError):
        handler.got[0].respond(200, headers=[("SIP-ETag", "a\r\nEvil: 1")])


# --- the store ----------------------------------------------------------------------------------------


class Storing:
    """Answers 200 once its change is durable."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.numbers: list[int] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        number = self.pair.bob.store({"n": len(self.numbers)})
        self.numbers.append(number)
        incoming.respond(200, headers=[("SIP-ETag", "e1")], after=number)


def test_a_200_waits_for_its_commit_and_copies_are_absorbed_meanwhile(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", storing := Storing(pair))
    data = publish("SIP/2.0/UDP 192.0.2.99")
    assert not answers(pair, data) and not answers(pair, data)
    assert pair.bob.changes() == [(storing.numbers[0], {"n": 0})]
    pair.bob.committed(storing.numbers[0], pair.now + 1)
    assert [r.status for _, r in drain(pair)] == [200]
    assert [r.status for _, r in answers(pair, data)] == [200]
    assert len(storing.numbers) == 1
    pair.bob.committed(storing.numbers[0], pair.now + 2)
    assert not drain(pair)


def test_a_failing_store_makes_it_500(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", storing := Storing(pair))
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    pair.bob.store_failed(storing.numbers[0], pair.now)
    ((_, response),) = drain(pair)
    assert response.status == 500 and response.headers.get("SIP-ETag") is None


def test_a_commit_after_the_client_gave_up_sends_nothing(pair: Pair) -> None:
    pair.commit_at_once = False
    pair.bob.serve("PUBLISH", storing := Storing(pair))
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    pair.pass_seconds(40)
    pair.bob.committed(storing.numbers[0], pair.now)
    assert not drain(pair) and not pair.bob.answering.held


def test_only_the_answer_that_depends_on_the_change_waits(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", storing := Storing(pair))
    pair.bob.serve("MESSAGE", Answers(200))
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    ((_, quick),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="m", method="MESSAGE"))
    assert quick.cseq.method == "MESSAGE"
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="2", cseq=2))
    pair.bob.committed(storing.numbers[1], pair.now)
    ((_, second),) = drain(pair)
    assert second.cseq.number == 2


# --- limits and connections ---------------------------------------------------------------------------


def test_beyond_the_transactions_a_request_gets_503_without_state(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(200))
    pair.bob.answering.limits = CoreLimits(server_transactions=1)
    answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99;rport", branch="2", cseq=2))
    assert response.status == 503 and response.retry_after
    assert len(handler.got) == 1 and len(pair.bob.answering.transactions) == 1
    assert [s for s in pair.bob.indications() if isinstance(s, LimitReached)]


def test_one_peer_may_not_pile_up_unanswered_requests(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(0))
    pair.bob.answering.limits = CoreLimits(pending_per_peer=2)
    for i in range(2):
        assert not answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch=f"a{i}", cseq=i + 1))
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="b", cseq=9))
    assert response.status == 503
    handler.got[0].respond(200)
    drain(pair)
    assert not answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="c", cseq=10))
    pair.pass_seconds(40)
    assert not pair.bob.answering.transactions.pending


def test_a_store_that_hangs_fills_nobody_up(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(0))
    pair.bob.answering.limits = CoreLimits(pending_per_peer=2)
    for i in range(2):
        assert not answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch=f"a{i}", cseq=i + 1))
        handler.got[-1].respond(200, after=pair.bob.store("slow"))
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="b", cseq=9))
    assert (response.status, response.retry_after) == (503, 5)
    assert len(handler.got) == 2 and len(pair.bob.answering.transactions) == 2
    assert [s.limit for s in pair.bob.indications() if isinstance(s, LimitReached)] == [
        "pending_per_peer"
    ]


def test_when_the_connection_is_gone_the_answer_goes_to_the_sent_by_port(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(0))
    answers(pair, publish("SIP/2.0/TCP 10.0.0.1:5099"), TCP)
    pair.bob.connection_closed(TCP, pair.now)
    handler.got[0].respond(200)
    ((used, _),) = drain(pair)
    assert used == Flow("tcp", BOB, ("192.0.2.99", 5099))
    assert not pair.bob.answering.transactions.connections


@pytest.mark.parametrize("protocol", ["tls", "ws", "wss"])
def test_where_no_new_connection_can_be_trusted_or_made_the_answer_stays_with_the_old(
    protocol: str,
) -> None:
    local = ("192.0.2.2", 5061)
    core = UserAgent([ListeningPoint(protocol, local, *local)])
    flow = Flow(protocol, local, ("192.0.2.99", 40123), 5)
    core.serve("PUBLISH", handler := Answers(0))
    core.receive_datagram(publish(f"SIP/2.0/{protocol.upper()} 10.0.0.1:5099"), flow, 0.0)
    core.connection_closed(flow, 1.0)
    handler.got[0].respond(200)
    assert [sent.flow for sent in core.transmits()] == [flow]


@pytest.mark.parametrize(("protocol", "told"), [("tls", True), ("ws", False), ("wss", False)])
def test_what_is_in_front_of_a_websocket_is_not_told(protocol: str, told: bool) -> None:
    local = ("192.0.2.2", 5061)
    core = UserAgent([ListeningPoint(protocol, local, *local)])
    core.serve("PUBLISH", Answers(200))
    flow = Flow(protocol, local, ("192.0.2.99", 40123), 5)
    core.receive_datagram(publish(f"SIP/2.0/{protocol.upper()} x7.invalid"), flow, 0.0)
    (sent,) = core.transmits()
    assert (b";received=192.0.2.99" in sent.data) is told


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/TLS a.example:5071;alias", 5071),
        ("SIP/2.0/TLS a.example;alias", 5061),
        ("SIP/2.0/TLS a.example", None),
    ],
)
def test_who_asks_for_reuse_of_his_connection_is_reported(via: str, port: int | None) -> None:
    local = ("192.0.2.2", 5061)
    core = UserAgent([ListeningPoint("tls", local, *local)])
    core.serve("PUBLISH", Answers(200))
    flow = Flow("tls", local, ("192.0.2.99", 40123), 5)
    core.receive_stream(publish(via), flow, 0.0)
    asked = [said for said in core.indications() if isinstance(said, ReuseAsked)]
    assert asked == ([ReuseAsked(flow, port)] if port else [])


# --- errors -------------------------------------------------------------------------------------------


def tree(kind: type[SipBridgeError]) -> list[type[SipBridgeError]]:
    return [kind, *(k for sub in kind.__subclasses__() for k in tree(sub))]


HERE = [k for k in tree(SipBridgeError) if not k.__module__.startswith("sipbridge.client")]
"""What can be raised in the bridge; the SDK's errors are raised in applications."""


@pytest.mark.parametrize("kind", HERE)
def test_every_error_class_has_a_final_response(kind: type[SipBridgeError]) -> None:
    # The root's own row is for nobody else: a new family has to say what it means.
    families = [k for k in kind.__mro__ if k in FINAL_RESPONSES and k is not SipBridgeError]
    assert families or kind is SipBridgeError
    status = status_for(kind.__new__(kind))
    if issubclass(kind, errors.ProtocolError):
        assert status == kind.status_hint
    else:
        assert status is not None and 400 <= status < 700


def test_an_error_out_of_a_handler_becomes_its_final_response(pair: Pair) -> None:
    class Refusing:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            raise ParseError("is odd", field="Event", status_hint=489)

    pair.bob.serve("PUBLISH", Refusing())
    ((_, response),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    assert response.status == 489
    (said,) = pair.bob.indications()
    assert isinstance(said, RequestAnsweredByCore)
    assert (said.status, said.reason, said.trace) == (489, "Event: is odd", "t1")


def test_an_error_after_the_answer_changes_nothing(pair: Pair) -> None:
    class Late:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            incoming.respond(200)
            raise errors.StoreUnavailable("gone")

    pair.bob.serve("PUBLISH", Late())
    assert [r.status for _, r in answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))] == [200]


def test_a_bug_in_a_handler_is_answered_500_and_rises(pair: Pair) -> None:
    class Broken:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            raise ZeroDivisionError

    pair.bob.serve("PUBLISH", Broken())
    with pytest.raises(ZeroDivisionError):
        answers(pair, publish("SIP/2.0/UDP 192.0.2.99"))
    assert [r.status for _, r in drain(pair)] == [500]


def test_an_unreadable_to_is_answered_and_leaves_nothing_behind(pair: Pair) -> None:
    data = publish("SIP/2.0/UDP 192.0.2.99").replace(b"To: <sip:", b'To: "<sip:')
    assert [r.status for _, r in answers(pair, data)] == [400]
    assert len(pair.bob.answering.transactions) == 0


def test_each_neighbour_has_its_own_way_back(pair: Pair) -> None:
    """The same Via from other places, by other transports and with other branches."""
    pair.bob.serve("PUBLISH", Answers(200))
    other = Flow("udp", BOB, ("192.0.2.98", 40123))
    via = "SIP/2.0/UDP 10.0.0.1:5099;rport"
    for n, flow in enumerate((UDP, other, UDP, TCP, Flow("tcp", BOB, UDP.remote, 6), UDP)):
        ((back, answer),) = answers(pair, publish(via, branch=str(n), cseq=n + 1), flow)
        assert back.remote == flow.remote and back.connection == flow.connection
        host, port = flow.remote
        assert answer.headers.get("Via") == (
            f"SIP/2.0/UDP 10.0.0.1:5099;rport={port};branch=z9hG4bK{n};received={host}"
        )


def test_a_copy_is_found_however_its_via_is_written(pair: Pair) -> None:
    handler = Answers(200)
    pair.bob.serve("PUBLISH", handler)
    first = publish("SIP/2.0/UDP 192.0.2.99;rport", branch="77")
    assert answers(pair, first)
    copy = first.replace(
        b"Via: SIP/2.0/UDP 192.0.2.99;rport;branch=z9hG4bK77",
        b"v: SIP / 2.0 / UDP 192.0.2.99 ;branch = z9hG4bK77;rport",
    )
    assert copy != first and answers(pair, copy) and len(handler.got) == 1


def test_only_so_many_ways_are_remembered(pair: Pair) -> None:
    pair.bob.serve("OPTIONS", Answers(200))
    for n in range(MAX_WAYS + 3):
        flow = Flow("udp", BOB, ("192.0.2.99", n + 1))
        assert answers(pair, publish(f"SIP/2.0/UDP 192.0.2.99:{n + 1}", method="OPTIONS"), flow)
    assert len(pair.bob.answering.ways) == 3


def test_who_has_too_much_to_do_refuses_what_is_new_and_answers_copies(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(200))
    first = publish("SIP/2.0/UDP 192.0.2.99", branch="1")
    assert [r.status for _, r in answers(pair, first)] == [200]
    pair.bob.refusing = True
    assert [r.status for _, r in answers(pair, first)] == [200]
    ((_, refused),) = answers(pair, publish("SIP/2.0/UDP 192.0.2.99", branch="2", cseq=2))
    assert (refused.status, refused.headers.get("Retry-After")) == (503, "5")
    assert len(handler.got) == 1 and len(pair.bob.answering.transactions) == 1
    (told,) = (s for s in pair.bob.indications() if isinstance(s, LimitReached))
    assert told.limit == "backlog" and told.topic == "backlog 192.0.2.99"
    pair.bob.refusing = False
    later = publish("SIP/2.0/UDP 192.0.2.99", branch="3", cseq=3)
    assert [r.status for _, r in answers(pair, later)] == [200]
