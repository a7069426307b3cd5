"""A bare SIP talker on a real socket, built from plain text.

It shares no code with the product on purpose: what it sends and understands is written down here a second
time, so a mistake on one side cannot hide on the other. It keeps no state but what a check needs.
"""

import asyncio
import hashlib
import re
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CRLF = "\r\n"
COMPACT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
}
COMPACT |= {"c": "content-type", "o": "event", "u": "allow-events", "k": "supported"}
LENGTH = re.compile(rb"(?im)^(?:content-length|l)[ \t]*:[ \t]*(\d+)")


@dataclass
class Message:
    """A message as it came: start line, lower-case header names with values, body."""

    raw: bytes
    start: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __post_init__(self) -> None:
        head, _, self.body = self.raw.partition(b"\r\n\r\n")
        self.start, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split(CRLF)
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.append((COMPACT.get(name, name), value.strip()))

    @property
    def status(self) -> int | None:
        found = re.match(r"SIP/2\.0 (\d{3})", self.start)
        return int(found[1]) if found else None

    def get(self, name: str) -> str:
        """First value; "" if absent."""
        return next((v for k, v in self.headers if k == name.lower()), "")

    def tag(self, name: str) -> str:
        found = re.search(r";\s*tag=([^;>\s]+)", self.get(name))
        return found[1] if found else ""


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receive: Callable[[bytes, tuple[str, int] | None], None]) -> None:
        self.receive = receive

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.receive(data, addr)


class Stream(asyncio.Protocol):
    """Frames by Content-Length; keep-alive line ends are skipped."""

    def __init__(self, receive: Callable[[bytes, tuple[str, int] | None], None]) -> None:
        self.receive = receive
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer = (self.buffer + data).lstrip(b"\r\n")
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(rest) < length:
                return
            self.receive(head + b"\r\n\r\n" + rest[:length], None)
            self.buffer = rest[length:].lstrip(b"\r\n")


class Talker:
    """One SIP address on one socket."""

    def __init__(
        self,
        uri: str,
        server: tuple[str, int],
        transport: str,
        password: str,
        trusted: str = "",
    ) -> None:
        """`trusted`: the file of authorities, for TLS."""
        self.trusted = trusted
        self.uri = uri
        self.user = re.sub(r"^sips?:|@.*", "", uri)
        self.server = server
        self.transport = transport
        self.password = password
        self.arrived = asyncio.Condition()
        self.inbox: list[Message] = []
        self.retransmitted: set[bytes] = set()
        self.datagrams: asyncio.DatagramTransport | None = None
        self.stream: asyncio.Transport | None = None
        self.jobs: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        channel: asyncio.BaseTransport
        if self.transport == "udp":
            channel, _ = await loop.create_datagram_endpoint(
                lambda: Datagrams(self.receive), local_addr=("127.0.0.1", 0)
            )
            self.datagrams = channel
        else:
            context = None
            if self.transport == "tls":
                context = ssl.create_default_context(cafile=self.trusted)
                context.check_hostname = False  # the server's name is the bridge's affair
            channel, _ = await loop.create_connection(
                lambda: Stream(self.receive), *self.server, ssl=context
            )
            self.stream = channel
        host, port = channel.get_extra_info("sockname")[:2]
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        for channel in (self.datagrams, self.stream):
            if channel is not None:
                channel.close()

    def receive(self, data: bytes, sender: tuple[str, int] | None) -> None:
        if len(data) < 8:
            return
        message = Message(data)
        if message.status is None:
            self.answer(message, sender)
            if data in self.retransmitted:
                return
            self.retransmitted.add(data)
        self.inbox.append(message)
        job = asyncio.get_running_loop().create_task(self.announce())
        self.jobs.add(job)
        job.add_done_callback(self.jobs.discard)

    async def announce(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()

    def write(self, data: bytes, to: tuple[str, int] | None = None) -> None:
        if self.datagrams is not None:
            self.datagrams.sendto(data, to or self.server)
        elif self.stream is not None:
            self.stream.write(data)

    def answer(self, request: Message, sender: tuple[str, int] | None) -> None:
        to = request.get("to")
        to += "" if ";tag=" in to else ";tag=" + secrets.token_hex(4)
        lines = ["SIP/2.0 200 OK"]
        lines += [f"Via: {v}" for k, v in request.headers if k == "via"]
        lines += [f"From: {request.get('from')}", f"To: {to}"]
        lines += [f"Call-ID: {request.get('call-id')}", f"CSeq: {request.get('cseq')}"]
        self.write(CRLF.join([*lines, "Content-Length: 0", "", ""]).encode(), sender)

    async def wait_for(self, wanted: Callable[[Message], bool], seconds: float) -> Message | None:
        """The first message not yet taken that is wanted; others stay."""
        async with self.arrived:
            try:
                await asyncio.wait_for(
                    self.arrived.wait_for(lambda: any(wanted(m) for m in self.inbox)), seconds
                )
            except TimeoutError:
                return None
        found = next(m for m in self.inbox if wanted(m))
        self.inbox.remove(found)
        return found

    async def ask(
        self,
        method: str,
        target: str,
        headers: Sequence[str] = (),
        body: bytes = b"",
        *,
        call_id: str = "",
        cseq: int = 1,
        from_tag: str = "",
        to: str = "",
        to_tag: str = "",
        authorize: bool = True,
        seconds: float = 5.0,
    ) -> Message | None:
        """Send, resend on UDP, answer one digest challenge; the final response, or None."""
        call_id = call_id or secrets.token_hex(8)
        from_tag = from_tag or secrets.token_hex(4)
        extra: list[str] = []
        for attempt in range(2):
            number = cseq + attempt
            answer = await self.once(
                self.text(
                    method, target, [*headers, *extra], body, call_id, number, from_tag, to, to_tag
                ),
                call_id,
                number,
                seconds,
            )
            if answer is None or answer.status not in (401, 407) or not authorize:
                return answer
            challenge, name = answer.get("www-authenticate"), "Authorization"
            if answer.status == 407:
                challenge, name = answer.get("proxy-authenticate"), "Proxy-Authorization"
            extra = [f"{name}: {digest(challenge, method, target, self.user, self.password)}"]
        return answer

    def text(
        self,
        method: str,
        target: str,
        headers: Sequence[str],
        body: bytes,
        call_id: str,
        cseq: int,
        from_tag: str,
        to: str,
        to_tag: str,
    ) -> bytes:
        parameter = "" if self.transport == "udp" else f";transport={self.transport}"
        branch = "z9hG4bK" + secrets.token_hex(8)
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/{self.transport.upper()} {self.address};branch={branch};rport",
            "Max-Forwards: 70",
            f"From: <{self.uri}>;tag={from_tag}",
            f"To: <{to or target}>" + (f";tag={to_tag}" if to_tag else ""),
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.user}@{self.address}{parameter}>",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        return CRLF.join([*lines, "", ""]).encode() + body

    async def once(self, request: bytes, call_id: str, cseq: int, seconds: float) -> Message | None:
        def final(m: Message) -> bool:
            same = m.get("call-id") == call_id and m.get("cseq").split(" ")[0] == str(cseq)
            return same and m.status is not None and m.status >= 200

        self.write(request)
        pause, passed = 0.5, 0.0
        while passed < seconds:
            answer = await self.wait_for(final, min(pause, seconds - passed))
            if answer is not None or self.transport != "udp":
                return answer or await self.wait_for(final, seconds)
            passed += pause
            pause = min(4.0, 2 * pause)
            self.write(request)
        return None


def digest(challenge: str, method: str, uri: str, user: str, password: str) -> str:
    """Value of an Authorization header for a challenge (RFC 7616; MD5 or SHA-256, qop auth or none)."""
    said = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))
    algorithm = said.get("algorithm", "MD5")
    make = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]

    def h(text: str) -> str:
        return make(text.encode()).hexdigest()

    ha1, ha2 = h(f"{user}:{said['realm']}:{password}"), h(f"{method}:{uri}")
    parts = [f'username="{user}"', f'realm="{said["realm"]}"', f'nonce="{said["nonce"]}"']
    parts += [f'uri="{uri}"', f"algorithm={algorithm}"]
    if "qop" in said:
        cnonce = secrets.token_hex(8)
        parts += ["qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
        response = h(f"{ha1}:{said['nonce']}:00000001:{cnonce}:auth:{ha2}")
    else:
        response = h(f"{ha1}:{said['nonce']}:{ha2}")
    if "opaque" in said:
        parts.append(f'opaque="{said["opaque"]}"')
    return "Digest " + ", ".join([*parts, f'response="{response}"'])
