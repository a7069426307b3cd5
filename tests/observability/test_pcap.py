"""Capture files: what is written is read back; files of others are read whatever they are made of."""

import ipaddress
import random
import struct
from pathlib import Path

import pytest

from sipbridge.observability.capture import Captured
from sipbridge.observability.pcap import (
    TCP,
    UDP,
    CaptureError,
    PcapWriter,
    checksum,
    ip_packet,
    read,
)

ANSWER = b"SIP/2.0 200 OK\r\nCall-ID: c2@x\r\nContent-Length: 0\r\n\r\n"
BIG = b"PUBLISH sip:a@b SIP/2.0\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
ENDS = ("192.0.2.1", 5070), ("192.0.2.2", 5060)
ENDS6 = ("2001:db8::1", 5070), ("2001:db8::2", 5060)


def put(path: Path, link: int, *packets: bytes, order: str = "<", nano: bool = False) -> Path:
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for n, packet in enumerate(packets):
        data += struct.pack(order + "IIII", 100 + n, 500, len(packet), len(packet)) + packet
    path.write_bytes(data)
    return path


def udp(data: bytes, length: int | None = None) -> bytes:
    return struct.pack("!HHHH", 5070, 5060, length or 8 + len(data), 0) + data


def tcp(sequence: int, data: bytes, flags: int = 0x18) -> bytes:
    return (
        struct.pack("!HHIIBBHHH", 5070, 5060, sequence & 0xFFFFFFFF, 0, 5 << 4, flags, 0, 0, 0)
        + data
    )


def v4(protocol: int, payload: bytes, number: int = 0, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0)
    return head + b"".join(ipaddress.ip_address(h).packed for h, _ in ENDS) + payload


@pytest.mark.parametrize("ends", [ENDS, ENDS6])
@pytest.mark.parametrize("protocol", ["udp", "tcp", "tls", "wss"])
def test_what_is_written_is_read_back(tmp_path: Path, protocol: str, ends: tuple) -> None:  # type: ignore[type-arg]
    path = tmp_path / "x.pcap"
    writer = PcapWriter(path)
    sent = [
        Captured(1000.25, ANSWER, protocol, *ends),
        Captured(1001.5, BIG, protocol, *ends[::-1]),
    ]
    for message in sent[: 1 if protocol == "udp" else 2]:
        writer.write(message)
    writer.close()
    found = list(read(path))
    assert [(m.at, m.data, m.source, m.destination) for m in found] == [
        (m.at, m.data, m.source, m.destination) for m in sent[: len(found)]
    ]
    assert len(found) == (1 if protocol == "udp" else 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_checksums_are_right() -> None:
    packet = ip_packet(UDP, 6, "192.0.2.1", "192.0.2.2", udp(b"abc"))
    assert checksum(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack("!IHBB", len(packet) - 20, 0, 0, UDP)
    assert checksum(pseudo + packet[20:]) == 0
    assert checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0xFFFF - 0xDDF2  # RFC 1071 section 3


def test_a_file_is_gone_on_with_and_begun_anew_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    for n in range(2):
        writer = PcapWriter(path)
        writer.write(Captured(float(n), ANSWER, "udp", *ENDS))
        writer.close()
    assert [m.at for m in read(path)] == [0.0, 1.0]
    writer = PcapWriter(path, most=100)
    writer.write(Captured(2.0, ANSWER, "udp", *ENDS))
    writer.write(Captured(3.0, ANSWER, "udp", *ENDS))
    writer.close()
    assert [m.at for m in read(tmp_path / "x.pcap.1")] == [3.0]
    assert list(read(path)) == []


def test_a_file_that_is_no_capture_of_ours_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"something else")
    PcapWriter(path).close()
    assert list(read(path)) == []


@pytest.mark.parametrize(
    ("link", "header"),
    [
        (0, struct.pack("<I", 2)),
        (1, b"\0" * 12 + b"\x08\x00"),
        (1, b"\0" * 12 + b"\x81\x00\x00\x05\x08\x00"),
        (101, b""),
        (113, b"\0" * 16),
        (276, b"\0" * 20),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_link_types_and_byte_orders(tmp_path: Path, link: int, header: bytes, order: str) -> None:
    path = put(tmp_path / "x", link, header + v4(UDP, udp(ANSWER)), order=order)
    (found,) = read(path)
    assert (found.data, found.source, found.destination) == (ANSWER, *ENDS)
    assert found.at == pytest.approx(100.0005)


def test_nanoseconds(tmp_path: Path) -> None:
    (found,) = read(put(tmp_path / "x", 101, v4(UDP, udp(ANSWER)), nano=True))
    assert found.at == pytest.approx(100.0000005, abs=1e-9)


def test_a_datagram_in_fragments_in_any_order(tmp_path: Path) -> None:
    whole = udp(ANSWER + b" " * 3000)
    pieces = [
        v4(UDP, whole[start : start + 1480], 77, start // 8 | (0x2000 if start < 2960 else 0))
        for start in (0, 1480, 2960)
    ]
    for order in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        (found,) = read(put(tmp_path / "x", 101, *(pieces[n] for n in order)))
        assert found.data == ANSWER + b" " * 3000
    assert list(read(put(tmp_path / "x", 101, *pieces[:2]))) == []


def test_ipv6_with_extension_headers_and_fragments(tmp_path: Path) -> None:
    ends = b"".join(ipaddress.ip_address(h).packed for h, _ in ENDS6)
    whole = udp(ANSWER + b" " * 2000)

    def packet(offset: int, piece: bytes, more: int) -> bytes:
        fragment = struct.pack("!BBHI", UDP, 0, offset | more, 9)
        options = bytes([44, 0]) + b"\x01\x04" + b"\0" * 4
        payload = options + fragment + piece
        return struct.pack("!IHBB", 6 << 28, len(payload), 0, 64) + ends + payload

    path = put(tmp_path / "x", 101, packet(1400, whole[1400:], 0), packet(0, whole[:1400], 1))
    (found,) = read(path)
    assert (found.data, found.source) == (ANSWER + b" " * 2000, ENDS6[0])


@pytest.mark.parametrize("seed", range(20))
def test_tcp_in_whatever_order_with_repeats_and_a_wrap(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    stream, first = ANSWER * 5, 0xFFFFFFFF - 60
    cuts = sorted({0, len(stream), *(chance.randrange(len(stream)) for _ in range(12))})
    pieces = [
        v4(TCP, tcp(first + 1 + a, stream[a:b])) for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    pieces += chance.sample(pieces, 4)
    chance.shuffle(pieces)
    found = list(read(put(tmp_path / "x", 101, v4(TCP, tcp(first, b"", 0x02)), *pieces)))
    assert [m.data for m in found] == [ANSWER] * 5


def test_a_capture_that_begins_in_the_middle_of_a_connection(tmp_path: Path) -> None:
    packets = [v4(TCP, tcp(500, b"ength: 0\r\n\r\n")), v4(TCP, tcp(512, ANSWER))]
    assert [m.data for m in read(put(tmp_path / "x", 101, *packets))] == [ANSWER]


def test_other_traffic_is_passed_over(tmp_path: Path) -> None:
    packets = [v4(UDP, udp(b"\x00\x01dns")), b"", b"\x45", v4(1, b"ping"), v4(UDP, b"123")]
    assert list(read(put(tmp_path / "x", 101, *packets))) == []


def pcapng(*blocks: tuple[int, bytes], order: str = "<") -> bytes:
    data = b""
    for kind, body in blocks:
        body += b"\0" * (-len(body) % 4)
        length = struct.pack(order + "I", 12 + len(body))
        data += struct.pack(order + "I", kind) + length + body + length
    return data


@pytest.mark.parametrize("order", "<>")
def test_pcapng_as_wireshark_writes_it(tmp_path: Path, order: str) -> None:
    packet = v4(UDP, udp(ANSWER))
    section = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)
    nano = struct.pack(order + "HHB3x", 9, 1, 9)
    interface = struct.pack(order + "HHI", 101, 0, 0) + nano
    ticks = 1_700_000_000_250_000_000
    head = struct.pack(
        order + "IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet)
    )
    simple = struct.pack(order + "I", len(packet)) + packet
    blocks = ((0x0A0D0D0A, section), (1, interface), (5, b"stat"), (6, head + packet), (3, simple))
    path = tmp_path / "x.pcapng"
    path.write_bytes(pcapng(*blocks, order=order))
    first, second = read(path)
    assert (first.data, first.source, second.data) == (ANSWER, ENDS[0], ANSWER)
    assert first.at == pytest.approx(1_700_000_000.25)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xd4\xc3\xb2\xa1",
        b"<?xml version='1.0'?><presence/>" * 4,
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147),
        struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101, 1, 1, 1 << 30, 1),
        struct.pack("<III", 0x0A0D0D0A, 1 << 31, 0x1A2B3C4D),
    ],
)
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(CaptureError):
        list(read(path))


def test_a_file_cut_at_the_end_gives_what_is_whole(tmp_path: Path) -> None:
    path = put(tmp_path / "x", 101, v4(UDP, udp(ANSWER)), v4(UDP, udp(ANSWER)))
    path.write_bytes(path.read_bytes()[:-30])
    found = list(read(path))
    assert found[0].data == ANSWER
