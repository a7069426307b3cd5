"""A real name server on a free port of this machine, authoritative for the zones a test writes."""

import asyncio
import struct
from types import TracebackType
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone


class NameServer:
    """Answers by UDP and TCP. `async with NameServer({"example.com": "@ 60 SOA ..."}) as dns:`"""

    def __init__(self, zones: dict[str, str]) -> None:
        self.zones = [
            dns.zone.from_text(text, origin=f"{name}.", relativize=False, check_origin=False)
            for name, text in zones.items()
        ]
        self.asked: list[str] = []
        """Every question: "SRV _sip._udp.example.com"."""
        self.silent: set[str] = set()
        """Types of records that are not answered at all."""
        self.refusing = False
        self.truncating = False
        """Answers by UDP are cut off, so that TCP is needed."""

    async def __aenter__(self) -> "NameServer":
        loop = asyncio.get_running_loop()
        self.tcp = await asyncio.start_server(self.serve_tcp, "127.0.0.1", 0)
        self.address: tuple[str, int] = self.tcp.sockets[0].getsockname()[:2]
        self.udp, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(self), local_addr=self.address
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.udp.close()
        self.tcp.close()
        await self.tcp.wait_closed()

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        reply = self.reply(await reader.readexactly(size), "tcp")
        if reply is not None:
            writer.write(struct.pack("!H", len(reply)) + reply)
        writer.close()
        await writer.wait_closed()

    def reply(self, data: bytes, protocol: str) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{kind} {question.name.to_text(omit_final_dot=True)}")
        if kind in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.refusing:
            response.set_rcode(dns.rcode.REFUSED)
        elif self.truncating and protocol == "udp":
            response.flags |= dns.flags.TC
        else:
            self.fill(response, question)
        return response.to_wire()

    def fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        zone = next(
            (z for z in self.zones if z.origin and question.name.is_subdomain(z.origin)), None
        )
        if zone is None or zone.origin is None:
            response.set_rcode(dns.rcode.REFUSED)
            return
        name = question.name
        for kind in (dns.rdatatype.CNAME, question.rdtype):
            found = zone.get_rrset(name, kind)
            if found is not None:
                response.answer.append(found)
                if kind == dns.rdatatype.CNAME:
                    name = found[0].target
        if not response.answer:
            if zone.get_node(name) is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = zone.get_rrset(zone.origin, dns.rdatatype.SOA)
            response.authority += [soa] if soa is not None else []


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # it says so only since 3.12

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self.server.reply(data, "udp")
        if reply is not None:
            self.transport.sendto(reply, addr)
