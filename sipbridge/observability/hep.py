"""HEPv3, the Homer Encapsulation Protocol: messages to a Homer (or heplify, or Wireshark) collector.

One UDP packet a message, fire and forget; secrets are blanked before. Format: the HEP/EEP draft, revision 12
(https://github.com/sipcapture/HEP). TLS and WebSocket traffic goes out decrypted, marked as TCP.
"""

import ipaddress
import socket
import struct

from sipbridge.observability.capture import Captured
from sipbridge.observability.pcap import TCP, UDP, numbered
from sipbridge.observability.trace import redacted
from sipbridge.sip.flow import Address

SIP = 1
"""Protocol type of chunk 11."""
MAX_PACKET = 60_000
"""Bytes of one message that are sent: a UDP datagram holds no more."""


def chunk(kind: int, value: bytes) -> bytes:
    """Vendor 0, type, length with these six bytes, value."""
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value


def packet(message: Captured, node: int, password: str = "") -> bytes:
    """One message as HEPv3. node: the capture agent's number in the collector."""
    (source, from_), (destination, to) = numbered(message.source), numbered(message.destination)
    here, there = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    seconds, micros = divmod(round(message.at * 1_000_000), 1_000_000)
    version4 = here.version == 4
    chunks = [
        chunk(1, b"\x02" if version4 else b"\x0a"),
        chunk(2, bytes([UDP if message.protocol == "udp" else TCP])),
        chunk(3 if version4 else 5, here.packed),
        chunk(4 if version4 else 6, there.packed),
        chunk(7, struct.pack("!H", from_)),
        chunk(8, struct.pack("!H", to)),
        chunk(9, struct.pack("!I", seconds)),
        chunk(10, struct.pack("!I", micros)),
        chunk(11, bytes([SIP])),
        chunk(12, struct.pack("!I", node)),
    ]
    if password:
        chunks.append(chunk(14, password.encode()))
    if call_id := message.call_id:
        chunks.append(chunk(17, call_id.encode()))
    chunks.append(chunk(15, redacted(message.data[:MAX_PACKET])))
    body = b"".join(chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


class HepSender:
    """Sends to one collector over UDP; what cannot be sent is dropped, the bridge never waits for it."""

    def __init__(self, collector: Address, node: int, password: str = "") -> None:
        """Raises OSError when the collector's name is not known."""
        family, kind, protocol, _, address = socket.getaddrinfo(*collector, type=socket.SOCK_DGRAM)[
            0
        ]
        self.sock = socket.socket(family, kind, protocol)
        self.sock.setblocking(False)
        self.sock.connect(address)
        self.node, self.password = node, password
        self.dropped = 0

    def write(self, message: Captured) -> None:
        try:
            self.sock.send(packet(message, self.node, self.password))
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        self.sock.close()
