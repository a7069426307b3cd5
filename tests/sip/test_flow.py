"""Where bytes come from and go to."""

import pytest

from sipbridge.sip.flow import Flow


@pytest.mark.parametrize(
    ("protocol", "reliable"), [("udp", False), ("tcp", True), ("memory", True), ("tls", True)]
)
def test_streams_and_memory_are_reliable(protocol: str, reliable: bool) -> None:
    assert Flow(protocol, ("192.0.2.1", 1), ("192.0.2.2", 2)).reliable is reliable


def test_flows_are_values() -> None:
    here, there = ("192.0.2.1", 1), ("192.0.2.2", 2)
    assert Flow("udp", here, there) == Flow("udp", here, there)
    assert len({Flow("udp", here, there), Flow("udp", here, there), Flow("tcp", here, there)}) == 2
