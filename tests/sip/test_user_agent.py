"""The switchboard: who gets a message, and what the core says itself."""

from collections.abc import Sequence

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.flow import Flow, ListeningPoint
from sipbridge.sip.indications import (
    CloseConnection,
    MessageRefused,
    RequestAnsweredByCore,
)
from sipbridge.sip.message import Response
from sipbridge.sip.parser import parse_datagram
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri
from tests.harness.pair import BOB, Answers, Pair

UDP = Flow("udp", BOB, ("192.0.2.99", 5060))
TCP = Flow("tcp", BOB, ("192.0.2.99", 40000), 3)


def message(
    method: str,
    *more: str,
    uri: str = "sip:bob@example.com",
    to_tag: str = "",
    from_tag: str = "a",
    branch: str = "z9hG4bK1",
    cseq: int = 1,
    via: str = "SIP/2.0/UDP 192.0.2.99",
) -> bytes:
    fixed = {
        "SUBSCRIBE": ["Event: presence", "Contact: <sip:alice@192.0.2.99>"],
        "NOTIFY": ["Event: presence", "Subscription-State: active", "Contact: <sip:a@192.0.2.99>"],
        "PUBLISH": ["Event: presence"],
    }
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via};branch={branch}" if branch else f"Via: {via}",
        f"From: <sip:alice@example.com>;tag={from_tag}",
        "To: <sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else ""),
        "Call-ID: c1",
        f"CSeq: {cseq} {method}",
        *fixed.get(method, []),
        *more,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def bobs_answers(pair: Pair, data: bytes, flow: Flow = UDP) -> list[Response]:
    pair.bob.receive_datagram(data, flow, pair.now, "t1")
    return responses(pair)


def responses(pair: Pair) -> list[Response]:
    out = []
    for sent in pair.bob.transmits():
        answer = parse_datagram(sent.data)
        assert isinstance(answer, Response)
        out.append(answer)
    return out


def status(pair: Pair, data: bytes) -> list[int]:
    return [r.status for r in bobs_answers(pair, data)]


def dialog(remote_cseq: int | None = None) -> Dialog:
    return Dialog(
        "c1",
        NameAddr.parse("<sip:bob@example.com>;tag=b"),
        NameAddr.parse("<sip:alice@example.com>;tag=a"),
        "sip:alice@192.0.2.98",
        remote_cseq=remote_cseq,
    )


# --- what the core answers itself ---------------------------------------------------------------------


def test_options_tells_what_we_can_do(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", Answers(200))
    pair.bob.serve("PUBLISH", Answers(200))
    pair.bob.accept("NOTIFY", ["application/pidf+xml", "multipart/related"])
    pair.bob.accept("PUBLISH", ["application/pidf+xml"])
    pair.bob.allow_events += ["presence", "presence.winfo"]
    pair.bob.supported.append("eventlist")
    (answer,) = bobs_answers(pair, message("OPTIONS"))
    assert answer.status == 200
    assert answer.allow == ["OPTIONS", "NOTIFY", "PUBLISH", "SUBSCRIBE"]
    assert answer.accept == ["application/pidf+xml", "multipart/related"]
    assert answer.allow_events == ["presence", "presence.winfo"]
    assert answer.supported == ["eventlist"]
    assert pair.bob.accepted("PUBLISH") == ["application/pidf+xml"]
    assert pair.bob.accepted("MESSAGE") == []


def test_options_with_max_forwards_zero_has_arrived(pair: Pair) -> None:
    # RFC 4475 §3.3.11: an endpoint processes it as if the value were positive.
    assert status(pair, message("OPTIONS", "Max-Forwards: 0")) == [200]


def test_invite_is_refused_until_its_ack(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", Answers(200))
    started = pair.now
    (answer,) = bobs_answers(pair, message("INVITE"))
    assert answer.status == 405 and answer.allow == ["OPTIONS", "PUBLISH"]
    pair.pass_seconds(1.6)
    assert [round(s.at - started, 3) for s in pair.wire.named("405")] == [0.5, 1.5]
    assert status(pair, message("ACK", to_tag=answer.to.tag or "")) == []
    pair.pass_seconds(60)
    assert len(pair.wire.named("405")) == 2 and len(pair.bob.answering.transactions) == 0


def test_a_stray_ack_is_never_answered(pair: Pair) -> None:
    assert status(pair, message("ACK")) == []


def test_cancel_finds_its_request_or_gets_481(pair: Pair) -> None:
    assert status(pair, message("CANCEL")) == [481]
    pair.bob.serve("PUBLISH", Answers(0))
    assert status(pair, message("PUBLISH", branch="z9hG4bK2")) == []
    assert status(pair, message("CANCEL", branch="z9hG4bK2")) == [200]
    assert status(pair, message("INVITE", branch="z9hG4bK3")) == [405]
    assert status(pair, message("CANCEL", branch="z9hG4bK3")) == [200]


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "NONSENSE", "PUBLISH"])
def test_a_method_nobody_serves_gets_405_with_allow(pair: Pair, method: str) -> None:
    (answer,) = bobs_answers(pair, message(method))
    assert answer.status == 405 and answer.allow == ["OPTIONS"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message("PUBLISH", uri="mailto:bob@example.com"), 416),
        (message("PUBLISH", "Require: nothingSupportsThis"), 420),
        (message("PUBLISH").replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"), 505),
        (message("PUBLISH").replace(b"CSeq: 1 PUBLISH", b"CSeq: 1 INVITE"), 400),
        (message("PUBLISH").replace(b"Call-ID: c1\r\n", b""), 400),
        (message("PUBLISH").replace(b"CSeq: 1 PUBLISH", b"CSeq: x"), 400),
        (message("PUBLISH").replace(b"Content-Length: 0", b"Content-Length: 17"), 400),
        (message("PUBLISH").replace(b"Event: presence\r\n", b""), 489),
        (message("PUBLISH").replace(b"To: <sip:bob@example.com>", b"To: <sip:bob@"), 400),
    ],
)
def test_what_cannot_be_served_is_told_why(pair: Pair, data: bytes, expected: int) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(200))
    pair.bob.allow_events.append("presence")
    (answer,) = bobs_answers(pair, data)
    assert answer.status == expected and not handler.got
    if expected == 420:
        assert answer.headers.get("Unsupported") == "nothingSupportsThis"
    if expected == 489:
        assert answer.allow_events == ["presence"]


def test_a_required_extension_we_know_is_no_obstacle(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", Answers(200))
    pair.bob.supported.append("eventlist")
    assert status(pair, message("SUBSCRIBE", "Require: eventlist")) == [200]


def test_the_same_request_by_another_path_is_merged(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", handler := Answers(200))
    assert status(pair, message("SUBSCRIBE")) == [200]
    assert status(pair, message("SUBSCRIBE", branch="z9hG4bK2")) == [482]
    assert len(handler.got) == 1
    pair.pass_seconds(33)
    assert status(pair, message("SUBSCRIBE", branch="z9hG4bK3")) == [200]


def test_over_connections_the_same_request_is_merged_until_the_first_is_answered(
    pair: Pair,
) -> None:
    pair.bob.serve("SUBSCRIBE", handler := Answers(0, 200))
    other = Flow("tcp", BOB, ("192.0.2.98", 40000), 4)
    paths = [(f"z9hG4bK{n}", flow) for n, flow in enumerate([TCP, other, UDP, other])]
    asked = [
        (message("SUBSCRIBE", branch=branch, via="SIP/2.0/TCP 192.0.2.99"), flow)
        for branch, flow in paths
    ]
    assert [[r.status for r in bobs_answers(pair, *one)] for one in asked[:3]] == [[], [482], [482]]
    handler.got[0].respond(200)
    assert [r.status for r in responses(pair)] == [200]
    assert [r.status for r in bobs_answers(pair, *asked[3])] == [200]
    assert len(handler.got) == 2


def test_a_repeated_branch_with_a_raised_cseq_is_a_new_request(pair: Pair) -> None:
    # libpurple answers a challenge so.
    pair.bob.serve("SUBSCRIBE", handler := Answers(401, 200))
    assert status(pair, message("SUBSCRIBE")) == [401]
    assert status(pair, message("SUBSCRIBE", cseq=2)) == [200]
    assert status(pair, message("SUBSCRIBE")) == [401]
    assert len(handler.got) == 2


def test_a_request_of_rfc_2543_is_served_and_its_copies_absorbed(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(200))
    for _ in range(2):
        assert status(pair, message("PUBLISH", branch="")) == [200]
    assert len(handler.got) == 1


# --- dialogs ------------------------------------------------------------------------------------------


def test_a_request_of_an_unknown_dialog_gets_481(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", Answers(200))
    assert status(pair, message("SUBSCRIBE", to_tag="b")) == [481]
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    assert status(pair, message("NOTIFY", branch="z9hG4bK2")) == [481]


def test_a_client_that_keeps_the_tag_of_a_refusal_may_try_again(pair: Pair) -> None:
    # aiosip and its heirs take the To tag of a 401 into the request that they repeat with credentials.
    pair.bob.serve("SUBSCRIBE", handler := Answers(401, 200))
    (refused,) = bobs_answers(pair, message("SUBSCRIBE"))
    tag = refused.to.tag or ""
    again = message("SUBSCRIBE", "Authorization: Digest x=y", to_tag=tag, cseq=2)
    (accepted,) = bobs_answers(pair, again)
    assert (accepted.status, accepted.to.tag) == (200, tag)
    assert [incoming.to_tag for incoming in handler.got][1] == tag
    assert status(pair, message("SUBSCRIBE", to_tag=tag, from_tag="b", cseq=3)) == [481]
    assert status(pair, message("SUBSCRIBE", to_tag=tag[::-1], cseq=4)) == [481]


def test_another_start_does_not_know_the_tags_of_refusals(pair: Pair) -> None:
    pair.bob.serve("SUBSCRIBE", Answers(401, 200))
    (refused,) = bobs_answers(pair, message("SUBSCRIBE"))
    restarted = Pair()
    restarted.bob.answering.seal = b"another seal"
    restarted.bob.serve("SUBSCRIBE", Answers(200))
    assert status(restarted, message("SUBSCRIBE", to_tag=refused.to.tag or "", cseq=2)) == [481]


def test_a_request_of_a_dialog_goes_to_its_usage_and_moves_the_target(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    known = dialog()
    pair.bob.add_dialog(known, usage := Answers(200))
    (answer,) = bobs_answers(pair, message("NOTIFY", to_tag="b", cseq=7))
    assert answer.status == 200 and answer.to.tag == "b"
    assert usage.got[0].to_tag == "b" and usage.got[0].trace == "t1"
    assert known.remote_cseq == 7 and known.remote_target == "sip:a@192.0.2.99"


def test_a_refused_request_moves_no_target(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    known = dialog()
    pair.bob.add_dialog(known, Answers(401))
    assert status(pair, message("NOTIFY", to_tag="b")) == [401]
    assert known.remote_target == "sip:alice@192.0.2.98"


def test_a_late_request_of_a_dialog_gets_500_and_never_reaches_the_usage(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    pair.bob.add_dialog(dialog(remote_cseq=9), usage := Answers(200))
    assert status(pair, message("NOTIFY", to_tag="b", cseq=8)) == [500]
    assert not usage.got


def test_methods_nobody_serves_get_405_inside_a_dialog_too(pair: Pair) -> None:
    pair.bob.add_dialog(dialog(), usage := Answers(200))
    assert status(pair, message("BYE", to_tag="b")) == [405]
    assert status(pair, message("OPTIONS", to_tag="b", branch="z9hG4bK2")) == [200]
    assert not usage.got


def test_a_notify_before_any_response_reaches_whoever_expects_it(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])

    class Expecting:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            request = incoming.request
            made = Dialog("c1", request.to, request.from_, "sip:x@y")
            pair.bob.add_dialog(made, usage)
            incoming.respond(200)

    usage = Answers(200)
    pair.bob.expect_dialog("c1", "b", Expecting())
    assert status(pair, message("NOTIFY", to_tag="b")) == [200]
    assert status(pair, message("NOTIFY", to_tag="b", cseq=2, branch="z9hG4bK2")) == [200]
    assert len(usage.got) == 1
    pair.bob.forget_dialog("c1", "b")
    pair.bob.forget_dialog("c1", "b")
    other_fork = message("NOTIFY", to_tag="b", from_tag="fork", branch="z9hG4bK3")
    assert status(pair, other_fork) == [481]


def test_a_forgotten_dialog_gets_481(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    known = dialog()
    pair.bob.add_dialog(known, Answers(200))
    pair.bob.remove_dialog(known)
    pair.bob.remove_dialog(known)
    assert status(pair, message("NOTIFY", to_tag="b")) == [481]


# --- streams and rubbish ------------------------------------------------------------------------------


def test_a_stream_is_framed_whatever_the_pieces(pair: Pair) -> None:
    pair.bob.serve("PUBLISH", handler := Answers(200))
    data = b"".join(
        message("PUBLISH", branch=f"z9hG4bK{i}", cseq=i + 1, via="SIP/2.0/TCP 192.0.2.99")
        for i in range(5)
    )
    for i in range(0, len(data), 37):
        pair.bob.receive_stream(data[i : i + 37], TCP, pair.now)
    assert [r.status for r in responses(pair)] == [200] * 5
    assert len(handler.got) == 5


def test_a_ping_on_a_stream_is_answered_and_one_by_udp_is_not(pair: Pair) -> None:
    pair.bob.receive_stream(b"\r\n\r\n", TCP, pair.now)
    assert [(out.data, out.flow) for out in pair.bob.transmits()] == [(b"\r\n", TCP)]
    pair.bob.receive_datagram(b"\r\n\r\n", UDP, pair.now)
    assert not pair.bob.transmits()


def test_a_stream_that_lost_its_frame_is_closed(pair: Pair) -> None:
    broken = message("PUBLISH").replace(b"Content-Length: 0", b"Content-Length: many")
    pair.bob.receive_stream(broken, TCP, pair.now, "t7")
    assert [r.status for r in responses(pair)] == [400]
    said = pair.bob.indications()
    assert [type(s) for s in said] == [MessageRefused, CloseConnection]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SIP/2.0 999 Odd\r\n\r\n",
        b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        message("PUBLISH").replace(b"Via: SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK1\r\n", b""),
        bytes(range(256)) * 4,
    ],
)
def test_rubbish_is_reported_and_not_answered(pair: Pair, data: bytes) -> None:
    assert status(pair, data) == []
    said = pair.bob.indications()
    assert [type(s) for s in said] == [MessageRefused]
    assert isinstance(said[0], MessageRefused)
    assert said[0].status_hint is None and said[0].reason and said[0].trace == "t1"


def test_what_the_core_answers_itself_is_reported(pair: Pair) -> None:
    bobs_answers(pair, message("MESSAGE"))
    (said,) = pair.bob.indications()
    assert isinstance(said, RequestAnsweredByCore)
    assert (said.method, said.status, said.flow, said.trace) == ("MESSAGE", 405, UDP, "t1")


# --- what usages ask for ------------------------------------------------------------------------------


def test_deadlines_wake_at_their_time(pair: Pair) -> None:
    woken: list[float] = []

    class Sleeper:
        def handle_timeout(self, now: float) -> None:
            woken.append(now)

    started = pair.now
    pair.bob.schedule(started + 5, Sleeper())
    pair.bob.schedule(started + 2, Sleeper()).cancel()
    assert pair.bob.next_timeout() == started + 5
    pair.pass_seconds(10)
    assert woken == [started + 5] and pair.bob.next_timeout() is None


def test_changes_and_reports_are_handed_out_once_and_in_order(pair: Pair) -> None:
    numbers = [pair.bob.store(change) for change in ("a", "b")]
    pair.bob.report("said")
    assert pair.bob.changes() == list(zip(numbers, ["a", "b"], strict=True))
    assert pair.bob.indications() == ["said"]
    assert not pair.bob.changes() and not pair.bob.indications()


def test_who_waits_for_the_store_is_told_after_the_response(pair: Pair) -> None:
    told: list[tuple[str, int]] = []

    class Waiter:
        def change_committed(self, now: float) -> None:
            told.append(("committed", len(pair.bob.outbox)))

        def change_failed(self, now: float) -> None:
            told.append(("failed", len(pair.bob.outbox)))

    class Storing:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            number = pair.bob.store("x")
            pair.bob.when_stored(number, Waiter())
            incoming.respond(200, after=number)

    pair.bob.serve("PUBLISH", Storing())
    bobs_answers(pair, message("PUBLISH"))
    pair.bob.committed(1, pair.now)
    bobs_answers(pair, message("PUBLISH", branch="z9hG4bK2", cseq=2))
    pair.bob.store_failed(2, pair.now)
    assert told == [("committed", 1), ("failed", 1)]


@pytest.mark.parametrize(
    ("identity", "where", "contact"),
    [
        ("sip:alice@example.com", "udp", "<sip:alice@192.0.2.2:5060>"),
        ("sip:alice@example.com", "tcp", "<sip:alice@192.0.2.2:5060;transport=tcp>"),
        ("sip:example.com", "udp", "<sip:192.0.2.2:5060>"),
        ("tel:+1-555;ext=3", "udp", "<sip:+1-555@192.0.2.2:5060>"),
        ("sip:alice@example.com", "ws", "<sip:alice@192.0.2.2:5060>"),
        ("sip:alice@example.com", TCP, "<sip:alice@192.0.2.2:5060;transport=tcp>"),
    ],
)
def test_contact_names_the_listener(
    pair: Pair, identity: str, where: Flow | str, contact: str
) -> None:
    assert str(pair.bob.contact_for(Uri.parse(identity), where)) == contact


PLAIN = "Contact: <sip:alice@192.0.2.9>"
SECURE_POINT = ListeningPoint("tls", ("192.0.2.2", 5061), "192.0.2.2", 5061)


@pytest.mark.parametrize(
    ("uri", "fields", "contact"),
    [
        ("sip:bob@example.com", [PLAIN], "<sip:bob@192.0.2.2:5061;transport=tls>"),
        ("sips:bob@example.com", [PLAIN], "<sips:bob@192.0.2.2:5061>"),
        (
            "sip:bob@example.com",
            ["Contact: <sips:alice@192.0.2.9>"],
            "<sips:bob@192.0.2.2:5061>",
        ),
        (
            "sip:bob@example.com",
            ["Record-Route: <sip:p.example.com;lr>", "Contact: <sips:alice@192.0.2.9>"],
            "<sip:bob@192.0.2.2:5061;transport=tls>",
        ),
        (
            "sip:bob@example.com",
            ["Record-Route: <sips:p.example.com;lr>", PLAIN],
            "<sips:bob@192.0.2.2:5061>",
        ),
    ],
)
def test_who_comes_by_sips_gets_a_sips_contact(uri: str, fields: list[str], contact: str) -> None:
    core = UserAgent([SECURE_POINT])
    core.serve("SUBSCRIBE", Answers(200))
    lines = [
        f"SUBSCRIBE {uri} SIP/2.0",
        "Via: SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:bob@example.com>",
        "Call-ID: c1",
        "CSeq: 1 SUBSCRIBE",
        "Event: presence",
        *fields,
        "Content-Length: 0",
    ]
    flow = Flow("tls", SECURE_POINT.local, ("192.0.2.9", 40123), 5)
    core.receive_stream(("\r\n".join(lines) + "\r\n\r\n").encode(), flow, 0.0)
    (sent,) = core.transmits()
    answer = parse_datagram(sent.data)
    assert isinstance(answer, Response) and str(answer.contact) == contact


def test_a_connection_tells_how_far_its_messages_have_come() -> None:
    core = UserAgent([SECURE_POINT])
    flow = Flow("tls", SECURE_POINT.local, ("192.0.2.9", 40123), 5)
    assert core.unfinished(flow) == (0, 0)
    core.connection_opened(flow)
    data = message("OPTIONS")
    core.receive_stream(data + data[:10], flow, 0.0)
    assert core.unfinished(flow) == (1, 10)
    core.connection_closed(flow, 1.0)
    assert core.unfinished(flow) == (0, 0)


def test_a_core_without_listeners_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        UserAgent([])


def test_new_requests_have_their_own_tag_and_call_id(pair: Pair) -> None:
    sender, receiver = NameAddr.parse("<sip:a@x>"), NameAddr.parse("<sip:b@x>")

    def make(**more: str) -> Sequence[str]:
        call_id = more.get("call_id")
        made = pair.bob.new_request(
            "PUBLISH", Uri.parse("sip:b@x"), from_=sender, to=receiver, call_id=call_id
        )
        return made.call_id, made.from_.tag or ""

    one, two = make(), make()
    assert one[0] != two[0] and one[1] and one[1] != two[1]
    assert make(call_id="mine")[0] == "mine"


def test_requests_that_repeat_the_words_of_a_dialog_are_checked_like_the_first(pair: Pair) -> None:
    usage = Answers(200)
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    here = dialog()
    pair.bob.add_dialog(here, usage)

    def notify(cseq: int, *more: str, **changed: str) -> list[int]:
        branch = f"z9hG4bKn{cseq}{len(more)}{len(changed)}"
        return status(
            pair,
            message("NOTIFY", *more, to_tag="b", cseq=cseq, branch=branch, **changed),
        )

    assert [notify(n) for n in (1, 2, 3)] == [[200], [200], [200]]
    assert here.heard and [r.request.cseq.number for r in usage.got] == [1, 2, 3]
    assert all(r.to_tag == "b" and r.dialog is here for r in usage.got)
    assert notify(2, "X: late") == [500]
    assert notify(4, "Record-Route: <sip:p.example.com;lr>") == [200]
    assert notify(5, "Record-Route: nonsense<") == [400]
    assert notify(6, "Contact: <sip:twice@192.0.2.99>", "Event: presence") == [400]
    assert notify(7, from_tag="fork") == [481]
    assert notify(8, "Require: unheard-of") == [420]
    pair.bob.remove_dialog(here)
    assert notify(9) == [481]


def test_the_target_of_a_dialog_moves_with_the_contact(pair: Pair) -> None:
    pair.bob.accept("NOTIFY", ["application/pidf+xml"])
    here = dialog()
    pair.bob.add_dialog(here, Answers(200))
    for n in (1, 2, 3):
        data = message("NOTIFY", to_tag="b", cseq=n, branch=f"z9hG4bKm{n}")
        if n == 3:
            data = data.replace(b"Contact: <sip:a@192.0.2.99>", b"m: sip:b@192.0.2.97;x=1")
        assert status(pair, data) == [200]
        assert here.remote_target == ("sip:b@192.0.2.97" if n == 3 else "sip:a@192.0.2.99")
