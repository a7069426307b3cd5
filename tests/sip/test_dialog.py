"""What two user agents remember of each other."""

import json

import pytest

from sipbridge.errors import LocalProtocolError, RemoteProtocolError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import MAX_CSEQ, MAX_ROUTES, Dialog
from sipbridge.sip.flow import Flow
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request
from sipbridge.sip.nat import Nat

TCP = Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.2", 40000), 7)
UDP = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
MEMORY = Flow("memory", ("gateway", 5060), ("agent", 5060))
CONTACT = "<sip:alice@192.0.2.1:5060>"


def subscribe(*more: tuple[str, str]) -> Request:
    return Request(
        "SUBSCRIBE",
        "sip:bob@example.com",
        Headers(
            [
                ("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"),
                ("From", '"Alice" <sip:alice@example.com>;tag=ours'),
                ("To", "<sip:bob@example.com>"),
                ("Call-ID", "c1"),
                ("CSeq", "17 SUBSCRIBE"),
                ("Contact", CONTACT),
                *more,
            ]
        ),
    )


def notify(cseq: int = 5, contact: str = "<sip:bob@192.0.2.2:5062>", routes: str = "") -> Request:
    more = [("Record-Route", routes)] if routes else []
    return Request(
        "NOTIFY",
        "sip:alice@192.0.2.1",
        Headers(
            [
                ("From", "<sip:bob@example.com>;tag=theirs"),
                ("To", "<sip:alice@example.com>;tag=ours"),
                ("Call-ID", "c1"),
                ("CSeq", f"{cseq} NOTIFY"),
                *([("Contact", contact)] if contact else []),
                *more,
            ]
        ),
    )


def accepted(*more: tuple[str, str]) -> Dialog:
    fields = [("Contact", "<sip:bob@192.0.2.2:5062>"), *more]
    return Dialog.as_uac(subscribe(), subscribe().response(200, to_tag="theirs", headers=fields))


def test_a_2xx_makes_the_dialog_of_the_one_who_asked() -> None:
    dialog = accepted(("Record-Route", "<sip:p2.example.com;lr>, <sip:p1.example.com;lr>"))
    assert dialog.id == ("c1", "ours", "theirs")
    assert str(dialog.local_uri) == "sip:alice@example.com"
    assert str(dialog.remote_uri) == "sip:bob@example.com"
    assert dialog.remote_target == "sip:bob@192.0.2.2:5062"
    assert dialog.route_set == ("<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>")
    assert (dialog.local_cseq, dialog.remote_cseq) == (17, None)


def test_a_notify_before_the_2xx_makes_the_same_dialog() -> None:
    routes = "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>"
    dialog = Dialog.as_uac(subscribe(), notify(routes=routes), TCP)
    assert dialog.id == accepted().id
    assert dialog.route_set == ("<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>")
    assert (dialog.local_cseq, dialog.remote_cseq) == (17, 5)
    assert dialog.flow == TCP


def test_a_request_makes_the_dialog_of_the_one_who_answers() -> None:
    request = subscribe(("Record-Route", "<sip:p1.example.com;lr>"))
    contact = NameAddr.parse("<sip:bob@192.0.2.2:5062>")
    dialog = Dialog.as_uas(request, "theirs", contact, UDP)
    assert dialog.id == ("c1", "theirs", "ours")
    assert dialog.remote_target == "sip:alice@192.0.2.1:5060"
    assert dialog.remote_cseq == 17
    assert dialog.flow is None
    first = dialog.new_request("NOTIFY", [("Event", "presence")], b"x")
    assert first.cseq.number == 1 and first.cseq.method == "NOTIFY"
    assert str(first.from_) == "<sip:bob@example.com>;tag=theirs"
    assert first.to.tag == "ours"
    assert first.headers.get("Contact") == "<sip:bob@192.0.2.2:5062>"
    assert first.headers.get("Route") == "<sip:p1.example.com;lr>"
    assert first.body == b"x"


def test_without_contact_or_tag_there_is_no_dialog() -> None:
    with pytest.raises(RemoteProtocolError):
        Dialog.as_uac(subscribe(), subscribe().response(200, to_tag="theirs"))
    with pytest.raises(RemoteProtocolError):
        Dialog.as_uac(subscribe(), subscribe().response(200, headers=[("Contact", CONTACT)]))
    with pytest.raises(RemoteProtocolError):
        Dialog.as_uas(notify(contact="*"), "t")


def test_endless_record_routes_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        accepted(("Record-Route", ", ".join(["<sip:p;lr>"] * (MAX_ROUTES + 1))))


def test_requests_go_to_the_target_with_a_growing_cseq() -> None:
    dialog = accepted()
    requests = [dialog.new_request("SUBSCRIBE") for _ in range(3)]
    assert [r.cseq.number for r in requests] == [18, 19, 20]
    assert {r.uri for r in requests} == {"sip:bob@192.0.2.2:5062"}
    assert str(requests[0].from_) == '"Alice" <sip:alice@example.com>;tag=ours'
    assert requests[0].to.tag == "theirs"
    assert dialog.next_hop() == "sip:bob@192.0.2.2:5062"


def test_a_loose_router_is_the_next_hop_and_the_target_stays_in_the_request_line() -> None:
    dialog = accepted(("Record-Route", "<sip:p1.example.com;lr>"))
    request = dialog.new_request("SUBSCRIBE")
    assert request.uri == "sip:bob@192.0.2.2:5062"
    assert request.headers.get_all("Route") == ["<sip:p1.example.com;lr>"]
    assert dialog.next_hop() == "sip:p1.example.com;lr"


def test_a_strict_router_takes_the_place_of_the_target() -> None:
    dialog = accepted(("Record-Route", "<sip:p2.example.com;lr>, <sip:p1.example.com>"))
    request = dialog.new_request("SUBSCRIBE")
    assert request.uri == "sip:p1.example.com"
    assert request.headers.get_all("Route") == [
        "<sip:p2.example.com;lr>",
        "<sip:bob@192.0.2.2:5062>",
    ]
    assert dialog.next_hop() == "sip:p1.example.com"


def test_a_lower_cseq_is_out_of_order_and_an_equal_or_higher_one_is_not() -> None:
    dialog = accepted()
    dialog.check(notify(cseq=5))
    dialog.check(notify(cseq=5))
    dialog.check(notify(cseq=9))
    with pytest.raises(RemoteProtocolError) as caught:
        dialog.check(notify(cseq=8))
    assert caught.value.status_hint == 500
    assert dialog.remote_cseq == 9


def order_kept(dialog: Dialog, *numbers: int) -> list[bool]:
    """Is each of these requests in order?"""
    kept = []
    for number in numbers:
        try:
            dialog.check(notify(cseq=number))
        except RemoteProtocolError:
            kept.append(False)
        else:
            kept.append(True)
    return kept


def test_two_that_came_late_at_different_times_are_no_new_count() -> None:
    dialog = accepted()
    assert order_kept(dialog, 11, 10, 12, 13, 14, 16) == [True, False, True, True, True, True]
    assert order_kept(dialog, 15) == [False]
    assert not dialog.counts_anew
    assert order_kept(dialog, 16, 17) == [True, True]


@pytest.mark.parametrize("copy", [(), (11,)])
def test_a_peer_that_counts_anew_is_noticed_at_its_second_request(copy: tuple[int, ...]) -> None:
    """Even if a copy of its last old one comes between."""
    dialog = accepted()
    assert order_kept(dialog, 11, 1) == [True, False] and not dialog.counts_anew
    assert order_kept(dialog, *copy, 2) == [True] * len(copy) + [False]
    assert dialog.counts_anew


def test_the_target_follows_the_contact() -> None:
    dialog = accepted()
    dialog.refresh_target(notify(contact="<sip:bob@192.0.2.9>"), TCP)
    assert dialog.remote_target == "sip:bob@192.0.2.9" and dialog.flow == TCP
    dialog.refresh_target(notify(contact=""), UDP)
    assert dialog.remote_target == "sip:bob@192.0.2.9" and dialog.flow == TCP


def test_a_connection_of_our_own_is_no_hint_where_the_peer_wants_to_be_reached() -> None:
    dialog = accepted()
    contact = [("Contact", "<sip:bob@192.0.2.9>")]
    dialog.refresh_target(subscribe().response(200, headers=contact), TCP)
    assert dialog.remote_target == "sip:bob@192.0.2.9" and dialog.flow is None


@pytest.mark.parametrize("nat", [Nat.PRIVATE, Nat.ALWAYS])
@pytest.mark.parametrize("number", [0, 3], ids=["our connection", "his connection"])
def test_an_answer_over_a_connection_does_not_move_who_is_behind_a_nat(
    nat: Nat, number: int
) -> None:
    met = Flow("udp", ("192.0.2.1", 5060), ("203.0.113.7", 40001))
    asks = subscribe()
    asks.headers.set("Contact", "<sip:alice@10.0.0.4:5062>")
    dialog = Dialog.as_uas(asks, "b", flow=met, nat=nat)
    assert dialog.remote_target == "sip:alice@203.0.113.7:40001"
    asked, stream = dialog.new_request("NOTIFY"), Flow("tcp", met.local, met.remote, number)
    for contact in ("<sip:alice@10.0.0.4:5062>", "<sip:alice@10.0.0.4:5063;transport=tcp>"):
        dialog.refresh_target(asked.response(200, headers=[("Contact", contact)]), stream)
        assert dialog.remote_target == "sip:alice@203.0.113.7:40001"
    moved = asked.response(200, headers=[("Contact", "<sip:alice@198.51.100.8>")])
    dialog.refresh_target(moved, stream)
    where = {Nat.PRIVATE: "sip:alice@198.51.100.8", Nat.ALWAYS: "sip:alice@203.0.113.7:40001"}
    assert dialog.remote_target == where[nat]


@pytest.mark.parametrize("flow", [MEMORY, TCP, None])
def test_a_snapshot_survives_json_and_a_connection_does_not(flow: Flow | None) -> None:
    dialog = accepted(("Record-Route", "<sip:p1.example.com;lr>"))
    dialog.remote_cseq = 4
    dialog.flow = flow
    again = Dialog.restore(json.loads(json.dumps(dialog.snapshot())), skip=100)
    assert again.id == dialog.id
    assert again.new_request("SUBSCRIBE").cseq.number == 118
    assert again.path() == dialog.path()
    assert again.remote_cseq == 4
    assert str(again.contact) == CONTACT
    assert again.flow == (MEMORY if flow is MEMORY else None)


@pytest.mark.parametrize("key", ["call_id", "local", "remote_target", "local_cseq", "route_set"])
def test_what_is_no_snapshot_is_refused(key: str) -> None:
    stored = accepted().snapshot()
    del stored[key]
    with pytest.raises(LocalProtocolError):
        Dialog.restore(stored)
    with pytest.raises(LocalProtocolError):
        Dialog.restore({**accepted().snapshot(), "call_id": 5})


def test_cseq_numbers_end_before_they_overflow() -> None:
    dialog = accepted()
    dialog.local_cseq = MAX_CSEQ
    with pytest.raises(LocalProtocolError):
        dialog.new_request("SUBSCRIBE")
