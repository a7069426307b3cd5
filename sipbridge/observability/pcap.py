"""Capture files: written as pcap, read as pcap or pcapng.

Written files hold bare IP packets (LINKTYPE_RAW). A datagram becomes a UDP packet. A message of a stream
becomes a TCP segment with running sequence numbers, as if it had been seen at the peer, without handshake;
what TLS or WebSocket carried is in it decrypted. Hosts that are no IP address become 127.1.x.y.

Read files may come from tcpdump, Wireshark or from here: Ethernet with VLAN tags, Linux "cooked" captures,
loopback, raw IP; IPv4 and IPv6 with fragments put together; UDP, and TCP in whatever order it came.
Formats: the pcap and pcapng drafts of the IETF opsawg working group; RFC 791, 8200, 768, 9293.
"""

import array
import io
import ipaddress
import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sipbridge.observability.capture import START, Captured, Cutter
from sipbridge.sip.flow import Address

MAGIC, MAGIC_NANO = 0xA1B2C3D4, 0xA1B23C4D
NG_SECTION, NG_ORDER = 0x0A0D0D0A, 0x1A2B3C4D
NG_INTERFACE, NG_SIMPLE, NG_PACKET = 1, 3, 6
RAW = 101
SNAPLEN = 262_144
TCP, UDP, FRAGMENT = 6, 17, 44
FLAGS = {
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
}
SEGMENT = 65_000
"""Bytes of one TCP segment that is written; an IP packet ends at 65,535."""
MAX_FLOWS = 10_000
"""Streams whose sequence numbers are remembered."""
MAX_WAITING = 256
"""Segments, and fragmented packets, that may wait for an earlier one that was lost."""


class CaptureError(ValueError):
    """The file is no capture, or of a kind that is not read."""


# --- writing ------------------------------------------------------------------------------------------


class PcapWriter:
    """Appends messages to a file; beyond `most` bytes the file is renamed to NAME.1 and begun anew."""

    def __init__(self, path: Path, most: int = 1 << 30) -> None:
        """Raises OSError."""
        self.path, self.most = path, most
        self.sequences: dict[tuple[Address, Address], int] = {}
        self.file = self.open("ab" if is_ours(path) else "wb")

    def open(self, mode: str) -> io.FileIO:
        file = io.FileIO(os.open(self.path, FLAGS[mode], 0o600), mode)
        if file.tell() == 0:
            file.write(struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAPLEN, RAW))
        return file

    def write(self, message: Captured) -> None:
        """Raises OSError."""
        source, destination = numbered(message.source), numbered(message.destination)
        for packet in self.packets(message, source, destination):
            seconds, micros = divmod(round(message.at * 1_000_000), 1_000_000)
            head = struct.pack("<IIII", seconds, micros, len(packet), len(packet))
            self.file.write(head + packet)
        if self.file.tell() > self.most:
            self.file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self.file = self.open("wb")

    def packets(self, message: Captured, source: Address, destination: Address) -> Iterator[bytes]:
        data = message.data
        if message.protocol == "udp" and len(data) < SEGMENT:
            head = struct.pack("!HHHH", source[1], destination[1], 8 + len(data), 0)
            yield ip_packet(UDP, 6, source[0], destination[0], head + data)
            return
        if len(self.sequences) > MAX_FLOWS:
            self.sequences.clear()
        here, there = (source, destination), (destination, source)
        for start in range(0, len(data), SEGMENT):
            piece = data[start : start + SEGMENT]
            sequence = self.sequences.get(here, 1)
            self.sequences[here] = (sequence + len(piece)) & 0xFFFFFFFF
            seen = self.sequences.get(there, 1)
            head = struct.pack(
                "!HHIIBBHHH", source[1], destination[1], sequence, seen, 5 << 4, 0x18, 0xFFFF, 0, 0
            )
            yield ip_packet(TCP, 16, source[0], destination[0], head + piece)

    def close(self) -> None:
        self.file.close()


def is_ours(path: Path) -> bool:
    """A file that can be gone on with: it has the very header that is written here."""
    try:
        with path.open("rb") as file:
            return file.read(24) == struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAPLEN, RAW)
    except OSError:
        return False


def numbered(address: Address) -> Address:
    """An address with a host that is a number."""
    host, port = address
    try:
        ipaddress.ip_address(host.partition("%")[0])
        return host.partition("%")[0], port & 0xFFFF
    except ValueError:
        made = sum(host.encode()) & 0xFFFF
        return f"127.1.{made >> 8}.{made & 0xFF}", port & 0xFFFF


def ip_packet(protocol: int, place: int, source: str, destination: str, payload: bytes) -> bytes:
    """IPv4 or IPv6 round a transport packet whose checksum of zero stands at `place`."""
    here, there = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    ends = here.packed + there.packed
    pseudo = ends + struct.pack("!IHBB", len(payload), 0, 0, protocol)
    found = checksum(pseudo + payload) or 0xFFFF
    payload = payload[:place] + struct.pack("!H", found) + payload[place + 2 :]
    if here.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
    head = head[:10] + struct.pack("!H", checksum(head + ends)) + ends
    return head + payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    words = array.array("H", data + b"\0" * (len(data) & 1))
    if sys.byteorder == "little":
        words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- reading ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stream:
    """One direction of a TCP connection: what comes next, and what came too early."""

    expected: int | None = None
    early: dict[int, bytes] = field(default_factory=dict)
    cutter: Cutter = field(default_factory=Cutter)

    def take(self, sequence: int, flags: int, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now."""
        if flags & 0x02 or self.expected is None:  # SYN takes one number
            self.expected = sequence + 1 if flags & 0x02 else sequence
            self.early.clear()
            sequence = self.expected
        if data:
            self.early[sequence] = data
        if len(self.early) > MAX_WAITING:  # something is missing for good
            self.expected = min(self.early)
        while self.early:
            first = next((s for s in self.early if behind(s, self.expected)), None)
            if first is None:
                return
            piece = self.early.pop(first)
            piece = piece[(self.expected - first) & 0xFFFFFFFF :]
            self.expected = (self.expected + len(piece)) & 0xFFFFFFFF
            yield from self.cutter.feed(piece)


def behind(sequence: int, expected: int) -> bool:
    """Does a segment begin at or before the byte that is expected (modulo 2**32)?"""
    return (expected - sequence) & 0xFFFFFFFF < 0x80000000


@dataclass(slots=True)
class Reader:
    """Packets to messages."""

    streams: dict[tuple[Address, Address], Stream] = field(default_factory=dict)
    fragments: dict[tuple[bytes, int, int], dict[int, tuple[bytes, bool]]] = field(
        default_factory=dict
    )

    def packet(self, at: float, link: int, data: bytes) -> Iterator[Captured]:
        """The SIP messages that a packet of this link type completes."""
        found = LINKS[link](data) if link in LINKS else None
        if found is None:
            return
        parts = self.ip(found)
        if parts is None:
            return
        protocol, source, destination, payload = parts
        if protocol == UDP and len(payload) >= 8:
            ports, body = struct.unpack("!HH", payload[:4]), payload[8:]
            if START.match(body.lstrip(b"\r\n")):
                ends = (source, ports[0]), (destination, ports[1])
                yield Captured(at, body, "udp", *ends)
        elif protocol == TCP and len(payload) >= 20:
            from_, to, sequence, _, offset, flags = struct.unpack("!HHIIBB", payload[:14])
            ends = (source, from_), (destination, to)
            if len(self.streams) > MAX_FLOWS:
                self.streams.clear()
            stream = self.streams.setdefault(ends, Stream())
            for message in stream.take(sequence, flags, payload[(offset >> 4) * 4 :]):
                yield Captured(at, message, "tcp", *ends)

    def ip(self, data: bytes) -> tuple[int, str, str, bytes] | None:
        """Protocol, hosts and payload of a packet; None if it is none or not whole yet."""
        if len(data) >= 20 and data[0] >> 4 == 4:
            return self.ipv4(data)
        if len(data) >= 40 and data[0] >> 4 == 6:
            return self.ipv6(data)
        return None

    def ipv4(self, data: bytes) -> tuple[int, str, str, bytes] | None:
        length, number, offset = struct.unpack("!HHH", data[2:8])
        payload = data[(data[0] & 15) * 4 : length or None]  # 0: cut by the network card
        source, destination = (str(ipaddress.IPv4Address(data[n : n + 4])) for n in (12, 16))
        if offset & 0x3FFF:
            key = (data[12:20], data[9], number)
            whole = self.put_together(key, (offset & 0x1FFF) * 8, payload, bool(offset & 0x2000))
            return None if whole is None else (data[9], source, destination, whole)
        return data[9], source, destination, payload

    def ipv6(self, data: bytes) -> tuple[int, str, str, bytes] | None:
        length, next_header = struct.unpack("!HB", data[4:7])
        payload = data[40 : 40 + length] if length else data[40:]
        source, destination = (str(ipaddress.IPv6Address(data[n : n + 16])) for n in (8, 24))
        while next_header in (0, 43, 60) and len(payload) >= 8:  # options and routing
            next_header, payload = payload[0], payload[(payload[1] + 1) * 8 :]
        if next_header == FRAGMENT and len(payload) >= 8:
            next_header, offset = payload[0], struct.unpack("!H", payload[2:4])[0]
            (number,) = struct.unpack("!I", payload[4:8])
            key = (data[8:40], next_header, number)
            whole = self.put_together(key, offset & 0xFFF8, payload[8:], bool(offset & 1))
            if whole is None:
                return None
            payload = whole
        return next_header, source, destination, payload

    def put_together(
        self, key: tuple[bytes, int, int], offset: int, piece: bytes, more: bool
    ) -> bytes | None:
        """The whole payload once its last fragment is there."""
        pieces = self.fragments.setdefault(key, {})
        pieces[offset] = (piece, more)
        if len(self.fragments) > MAX_WAITING:
            del self.fragments[next(iter(self.fragments))]
        whole, more = b"", True
        while more:
            if len(whole) not in pieces:
                return None
            piece, more = pieces[len(whole)]
            if not piece and more:
                return None
            whole += piece
        del self.fragments[key]
        return whole


def behind_ethernet(data: bytes) -> bytes | None:
    """The IP packet in an Ethernet frame, through VLAN tags."""
    kind, rest = data[12:14], data[14:]
    while kind in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        kind, rest = rest[2:4], rest[4:]
    return rest if kind in (b"\x08\x00", b"\x86\xdd") else None


LINKS: dict[int, Callable[[bytes], bytes | None]] = {
    0: lambda data: data[4:],  # BSD loopback
    1: behind_ethernet,
    12: lambda data: data,
    14: lambda data: data,
    RAW: lambda data: data,
    108: lambda data: data[4:],
    113: lambda data: data[16:],  # Linux "any" interface
    228: lambda data: data,
    229: lambda data: data,
    276: lambda data: data[20:],
}
"""Link type to what cuts its header off (the registry of tcpdump.org)."""


def read(path: Path) -> Iterator[Captured]:
    """The SIP messages of a capture file, in its order. Raises CaptureError, OSError."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if len(magic) == 4 and struct.unpack("<I", magic)[0] == NG_SECTION:
            packets = pcapng(file)
        else:
            packets = pcap(file)
        reader = Reader()
        for at, link, data in packets:
            yield from reader.packet(at, link, data)


Packets = Iterator[tuple[float, int, bytes]]
"""Unix time, link type, bytes."""


def pcap(file: BinaryIO) -> Packets:
    head = file.read(24)
    for order in "<>":
        if len(head) == 24 and struct.unpack(order + "I", head[:4])[0] in (MAGIC, MAGIC_NANO):
            break
    else:
        raise CaptureError("this is no pcap or pcapng file")
    unit = 1e9 if struct.unpack(order + "I", head[:4])[0] == MAGIC_NANO else 1e6
    link = struct.unpack(order + "I", head[20:24])[0] & 0xFFFF
    if link not in LINKS:
        raise CaptureError(f"captures of link type {link} are not read")
    while len(record := file.read(16)) == 16:
        seconds, part, length, _ = struct.unpack(order + "IIII", record)
        if length > SNAPLEN:
            raise CaptureError(f"a packet of {length} bytes: the file is damaged")
        yield seconds + part / unit, link, file.read(length)


def pcapng(file: BinaryIO) -> Packets:
    order, links = "<", list[tuple[int, float]]()
    while len(head := file.read(8)) == 8:
        kind = struct.unpack(order + "I", head[:4])[0]
        if kind == NG_SECTION:
            mark = file.read(4)
            order = "<" if struct.unpack("<I", mark)[0] == NG_ORDER else ">"
            links = []
            length = struct.unpack(order + "I", head[4:])[0]
            file.read(block(length) - 4)
            continue
        body = file.read(block(struct.unpack(order + "I", head[4:])[0]))[:-4]
        if kind == NG_INTERFACE and len(body) >= 8:
            links.append((struct.unpack(order + "H", body[:2])[0], resolution(body[8:], order)))
        elif kind == NG_PACKET and len(body) >= 20:
            number, high, low, length = struct.unpack(order + "IIII", body[:16])
            if number < len(links):
                link, unit = links[number]
                yield (high << 32 | low) / unit, link, body[20 : 20 + length]
        elif kind == NG_SIMPLE and links:
            yield 0.0, links[0][0], body[4 : 4 + struct.unpack(order + "I", body[:4])[0]]


def block(length: int) -> int:
    """What follows the first eight bytes of a block."""
    if not 12 <= length <= 16 * SNAPLEN:
        raise CaptureError(f"a block of {length} bytes: the file is damaged")
    return length - 8


def resolution(options: bytes, order: str) -> float:
    """Ticks per second of an interface (option if_tsresol)."""
    while len(options) >= 4:
        code, length = struct.unpack(order + "HH", options[:4])
        if code == 9 and length == 1:
            value = options[4]
            return float(2 ** (value & 127)) if value & 128 else float(10**value)
        options = options[4 + (length + 3 & ~3) :]
    return 1e6
