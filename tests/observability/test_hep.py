"""HEPv3 as a collector reads it: taken apart by the chunk table of its specification."""

import socket
import struct

import pytest

from sipbridge.observability.capture import Captured
from sipbridge.observability.hep import HepSender

MESSAGE = (
    b"PUBLISH sip:a@b SIP/2.0\r\nCall-ID: c1@x\r\n"
    b'Authorization: Digest username="a", response="6629"\r\nContent-Length: 0\r\n\r\n'
)


def chunks(packet: bytes) -> dict[int, bytes]:
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    found, rest = {}, packet[6:]
    while rest:
        vendor, kind, length = struct.unpack("!HHH", rest[:6])
        assert vendor == 0 and length >= 6
        found[kind], rest = rest[6:length], rest[length:]
    return found


@pytest.mark.parametrize(
    ("protocol", "host", "family", "ip", "chunk"),
    [
        ("udp", "192.0.2.1", 2, 17, 3),
        ("tls", "192.0.2.1", 2, 6, 3),
        ("tcp", "2001:db8::1", 10, 6, 5),
        ("memory", "gateway", 2, 6, 3),
    ],
)
def test_a_collector_gets_each_message_with_its_ends(
    protocol: str, host: str, family: int, ip: int, chunk: int
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(5)
        sender = HepSender(collector.getsockname(), 2001, "secret")
        sender.write(Captured(1000.5, MESSAGE, protocol, (host, 5070), (host, 5060)))
        found = chunks(collector.recv(65535))
        sender.close()
    assert (found[1][0], found[2][0], found[11][0]) == (family, ip, 1)
    assert socket.inet_ntop(socket.AF_INET if family == 2 else socket.AF_INET6, found[chunk])
    assert [struct.unpack("!H", found[n])[0] for n in (7, 8)] == [5070, 5060]
    assert [struct.unpack("!I", found[n])[0] for n in (9, 10, 12)] == [1000, 500_000, 2001]
    assert (found[14], found[17]) == (b"secret", b"c1@x")
    assert found[15] == MESSAGE.replace(b'"6629"', b"***")


def test_a_collector_that_is_away_costs_nothing_but_a_count() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        address = collector.getsockname()
    sender = HepSender(address, 1)
    for _ in range(5):
        sender.write(Captured(0.0, MESSAGE, "udp", ("192.0.2.1", 1), ("192.0.2.2", 2)))
    sender.close()
    assert 0 < sender.dropped < 5  # told by ICMP of those before
