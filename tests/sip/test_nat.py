"""Contacts of those behind a NAT."""

import pytest

from sipbridge.sip.flow import Flow
from sipbridge.sip.nat import Nat, reachable

SEEN = Flow("udp", ("192.0.2.1", 5060), ("203.0.113.7", 40001))


@pytest.mark.parametrize(
    ("contact", "nat", "found"),
    [
        ("sip:w@10.0.0.4:5062", Nat.OFF, "sip:w@10.0.0.4:5062"),
        ("sip:w@10.0.0.4:5062", Nat.PRIVATE, "sip:w@203.0.113.7:40001"),
        ("sip:w@172.31.0.4;ob", Nat.PRIVATE, "sip:w@203.0.113.7:40001;ob"),
        ("sip:w@10.0.0.4;maddr=10.0.0.9;ob", Nat.PRIVATE, "sip:w@203.0.113.7:40001;ob"),
        ("sip:w@10.0.0.4;MADDR=10.0.0.9", Nat.ALWAYS, "sip:w@203.0.113.7:40001"),
        ("sip:w@10.0.0.4;Transport=TCP", Nat.PRIVATE, "sip:w@203.0.113.7:40001"),
        ("sip:w@10.0.0.4;transport=UDP", Nat.PRIVATE, "sip:w@203.0.113.7:40001;transport=UDP"),
        ("sip:w@198.51.100.1;transport=tcp", Nat.PRIVATE, "sip:w@198.51.100.1;transport=tcp"),
        ("sip:w@100.64.3.4", Nat.PRIVATE, "sip:w@203.0.113.7:40001"),
        ("sip:w@[fd00::4]:5062", Nat.PRIVATE, "sip:w@203.0.113.7:40001"),
        ("sip:w@198.51.100.1:5062", Nat.PRIVATE, "sip:w@198.51.100.1:5062"),
        ("sip:w@phone.example.com", Nat.PRIVATE, "sip:w@phone.example.com"),
        ("sip:w@198.51.100.1:5062", Nat.ALWAYS, "sip:w@203.0.113.7:40001"),
        ("sip:w@phone.example.com", Nat.ALWAYS, "sip:w@203.0.113.7:40001"),
        ("tel:+15551234", Nat.ALWAYS, "tel:+15551234"),
        ("sip:w@", Nat.ALWAYS, "sip:w@"),
    ],
)
def test_the_contact_of_a_datagram_is_where_it_came_from_if_so_configured(
    contact: str, nat: Nat, found: str
) -> None:
    assert reachable(contact, SEEN, nat) == found


def test_in_the_same_private_network_a_contact_is_believed() -> None:
    near = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.4", 5062))
    assert reachable("sip:w@10.0.0.4:5099", near, Nat.PRIVATE) == "sip:w@10.0.0.4:5099"
    assert reachable("sip:w@10.9.9.9", near, Nat.PRIVATE) == "sip:w@10.0.0.4:5062"


def test_over_a_connection_the_connection_is_used_and_nothing_is_changed() -> None:
    stream = Flow("tcp", ("192.0.2.1", 5060), ("203.0.113.7", 40001), 1)
    assert reachable("sip:w@10.0.0.4", stream, Nat.ALWAYS) == "sip:w@10.0.0.4"
    assert reachable("sip:w@10.0.0.4", None, Nat.ALWAYS) == "sip:w@10.0.0.4"


def test_an_ipv6_source_stands_in_brackets() -> None:
    seen = Flow("udp", ("2001:db8::1", 5060), ("2001:db8::7", 40001))
    assert reachable("sip:w@[fe80::4%eth0]", seen, Nat.PRIVATE) == "sip:w@[fe80::4%eth0]"  # no URI
    assert reachable("sip:w@[fd00::4]", seen, Nat.PRIVATE) == "sip:w@[2001:db8::7]:40001"
