"""From a URI to a place to send to."""

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import ListeningPoint
from sipbridge.sip.locate import Target, flow_to, is_address, point_for, target_of, targets_of
from sipbridge.uri import Uri

V4 = ListeningPoint("udp", ("192.0.2.1", 5060), "192.0.2.1", 5060)
LOOP = ListeningPoint("udp", ("127.0.0.1", 5062), "127.0.0.1", 5062)
V6 = ListeningPoint("udp", ("2001:db8::1", 5060), "2001:db8::1", 5060)
TCP = ListeningPoint("tcp", ("192.0.2.1", 5060), "192.0.2.1", 5060)
MEMORY = ListeningPoint("memory", ("agent", 5060), "agent", 5060)
POINTS = [V4, LOOP, V6, TCP, MEMORY]


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:bob@example.com", Target("udp", "example.com", 5060, by_default=True)),
        ("sip:192.0.2.7:5070", Target("udp", "192.0.2.7", 5070, by_default=True)),
        ("sip:b@example.com;transport=TCP", Target("tcp", "example.com", 5060)),
        ("sip:b@example.com;transport=udp", Target("udp", "example.com", 5060)),
        ("sip:b@[2001:db8::2]:5070", Target("udp", "2001:db8::2", 5070, by_default=True)),
        ("sip:b@example.com;maddr=192.0.2.9", Target("udp", "192.0.2.9", 5060, by_default=True)),
        ("sip:agent:5060;transport=memory", Target("memory", "agent", 5060)),
        ("sip:b@example.com;transport=tls", Target("tls", "example.com", 5061)),
        ("sips:b@example.com", Target("tls", "example.com", 5061)),
        ("sips:b@example.com:5070;transport=tcp", Target("tls", "example.com", 5070)),
        ("sip:b@example.com;transport=ws", Target("ws", "example.com", 80)),
        ("sips:b@example.com;transport=ws", Target("wss", "example.com", 443)),
        ("sip:b@example.com;transport=wss", Target("wss", "example.com", 443)),
    ],
)
def test_a_uri_says_transport_host_and_port(uri: str, target: Target) -> None:
    assert target_of(Uri.parse(uri)) == target
    assert targets_of([uri]) == [target]


@pytest.mark.parametrize(
    "uri",
    ["sips:b@h;transport=udp", "tel:+1555", "pres:bob@example.com", "sip:b@h;transport=sctp"],
)
def test_a_uri_we_cannot_follow_is_our_callers_fault(uri: str) -> None:
    with pytest.raises(LocalProtocolError):
        target_of(Uri.parse(uri))


def test_only_names_are_looked_up() -> None:
    assert Target("udp", "example.com", 5060).needs_lookup
    assert Target("tcp", "localhost", 5060).needs_lookup
    assert not Target("udp", "192.0.2.1", 5060).needs_lookup
    assert not Target("udp", "2001:db8::1", 5060).needs_lookup
    assert not Target("memory", "agent", 5060).needs_lookup


def test_a_name_that_begins_with_a_digit_is_still_a_name() -> None:
    assert not is_address("3com.example")
    assert is_address("3.4.5.6")


@pytest.mark.parametrize(
    ("protocol", "remote", "point"),
    [
        ("udp", "192.0.2.99", V4),
        ("udp", "127.0.0.9", LOOP),
        ("udp", "2001:db8::99", V6),
        ("udp", "::1", V6),
        ("tcp", "127.0.0.1", TCP),
        ("tcp", "2001:db8::99", None),
        ("memory", "agent", MEMORY),
        ("tls", "192.0.2.99", None),
    ],
)
def test_the_listener_fits_transport_family_and_loopback(
    protocol: str, remote: str, point: ListeningPoint | None
) -> None:
    assert point_for(POINTS, protocol, remote) == point


def test_a_flow_leaves_from_the_listener() -> None:
    flow = flow_to(V4, Target("udp", "example.com", 5070), "192.0.2.5")
    assert (flow.protocol, flow.local, flow.remote) == ("udp", V4.local, ("192.0.2.5", 5070))
    assert not flow.reliable


def test_targets_are_named_for_people() -> None:
    assert str(Target("udp", "2001:db8::1", 5060)) == "udp:[2001:db8::1]:5060"


def test_only_where_a_certificate_has_to_prove_it_the_name_goes_along() -> None:
    tls = ListeningPoint("tls", ("192.0.2.1", 5061), "192.0.2.1", 5061)
    target = target_of(Uri.parse("sips:pa.example.com"))
    assert flow_to(tls, target, "192.0.2.7").name == "pa.example.com"
    assert flow_to(TCP, Target("tcp", "pa.example.com", 5060), "192.0.2.7").name == ""
