"""Where bytes come from and go to."""

import pytest

from sipbridge.sip.flow import Flow, ListeningPoint


@pytest.mark.parametrize(
    ("protocol", "reliable"), [("udp", False), ("tcp", True), ("memory", True), ("tls", True)]
)
def test_streams_and_memory_are_reliable(protocol: str, reliable: bool) -> None:
    assert Flow(protocol, ("192.0.2.1", 1), ("192.0.2.2", 2)).reliable is reliable


def test_flows_are_values() -> None:
    here, there = ("192.0.2.1", 1), ("192.0.2.2", 2)
    assert Flow("udp", here, there) == Flow("udp", here, there)
    assert len({Flow("udp", here, there), Flow("udp", here, there), Flow("tcp", here, there)}) == 2


def test_a_point_says_what_via_and_uris_say() -> None:
    local = ("::1", 5061)
    assert ListeningPoint("tls", local, "2001:db8::1", 5061).sent_by == "[2001:db8::1]:5061"
    assert ListeningPoint("ws", local, "x7.invalid", 0).sent_by == "x7.invalid"
    transports = [ListeningPoint(p, local, "h", 1).transport for p in ("tcp", "tls", "ws", "wss")]
    assert transports == ["tcp", "tls", "ws", "ws"]
