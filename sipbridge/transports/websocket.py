"""SIP over WebSocket (RFC 7118), plain and secure.

The wire is the `websockets` library's: handshake, frames, masks, pings, closing. Here is what SIP asks for.
The subprotocol is `sip`; a client that does not offer it is refused with 400. Each message of WebSocket is
one message of SIP, whole: it goes up as a datagram would. A message leaves as text where it is UTF-8 and as
binary where it is not; both kinds are read.

A browser says which page it serves (Origin), and a page on any server of the world may try to open a
connection to us from inside a network that trusts its browsers. So a connection that names an origin is
accepted only for origins that are listed; who names none is no page.

Browsers cannot ping, so we do: who does not answer is gone. A connection that lives needs not speak, user
agents open it with the page and use it when somebody presses a button.
"""

import logging
from collections.abc import Iterable

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED, OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from sipbridge.sip.flow import Flow
from sipbridge.sip.parser import MAX_MESSAGE
from sipbridge.transports.tcp import Connection

SUBPROTOCOL = Subprotocol("sip")
PING_EVERY = 50.0
"""Seconds without a byte before we ping: proxies in front of us forget silent connections after a minute."""

PONG_TIMEOUT = 20.0
"""Seconds to answer a ping: more than any round trip, less than the next ping."""

PATH = "/"
QUIET = logging.getLogger("sipbridge.websocket")
"""What the library would say of each frame is for a debugger; refusals are reported by us."""
QUIET.propagate = False
QUIET.setLevel(logging.CRITICAL)


class WebSocketConnection(Connection):
    """One WebSocket, either side of it."""

    protocol: ServerProtocol | ClientProtocol

    def begin(self) -> None:
        self.message = bytearray()
        self.opcode = Opcode.TEXT
        self.received = 0
        self.pinged: float | None = None
        protocols = [SUBPROTOCOL]
        if not self.opened_by_us:
            self.protocol = ServerProtocol(
                subprotocols=protocols, max_size=MAX_MESSAGE, logger=QUIET
            )
            return
        host, port = self.name or self.remote[0], self.remote[1]
        uri = WebSocketURI(self.endpoint.tls is not None, host, port, PATH, "")
        client = ClientProtocol(uri, subprotocols=protocols, max_size=MAX_MESSAGE, logger=QUIET)
        client.send_request(client.connect())
        self.protocol = client
        self.pump()

    def data_received(self, data: bytes) -> None:
        self.heard = self.endpoint.now()
        self.silent = False
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.take(event)
            elif isinstance(event, Request):
                self.answer(event)
            else:
                self.check(event)
        self.blame()
        self.pump()
        self.endpoint.user.flush()

    def blame(self) -> None:
        """Report what the library found wrong; it has seen to the rest."""
        wrong = self.protocol.parser_exc or (None if self.flow else self.protocol.handshake_exc)
        if wrong is not None and not self.error and self.protocol.state is not CLOSED:
            self.error = str(wrong)
            reason = "handshake" if self.flow is None else "protocol"
            self.endpoint.report(self.remote, reason, self.error[:200])

    def eof_received(self) -> None:
        self.protocol.receive_eof()

    def pump(self) -> None:
        """Send what the library wants sent; an empty piece ends the connection."""
        for data in self.protocol.data_to_send():
            if data:
                self.pass_on(data)
            elif self.transport is not None and not self.transport.is_closing():
                super().close()

    # --- the handshake ----------------------------------------------------------------------------

    def answer(self, request: Request) -> None:
        """A client's handshake: the page must be allowed, the subprotocol must be ours."""
        server = self.protocol
        assert isinstance(server, ServerProtocol)
        origins = request.headers.get_all("Origin")
        if not may_open(origins, self.endpoint.rules.origins):
            response = server.reject(403, "This page may not use SIP here.\n")
            reason, detail = "origin", ", ".join(origins)
        else:
            response = server.accept(request)
            reason, detail = "handshake", str(server.handshake_exc or "")
        server.send_response(response)
        if response.status_code == 101:
            self.ready()
        else:
            self.error = detail
            self.endpoint.report(self.remote, reason, detail[:200])

    def check(self, response: Response) -> None:
        """The server's answer to our handshake."""
        client = self.protocol
        wrong = client.handshake_exc
        if wrong is not None or client.state is not OPEN:
            self.error = f"no WebSocket: {wrong or response.status_code}"
        elif client.subprotocol != SUBPROTOCOL:
            self.error = "no WebSocket: the server does not speak SIP over it"
        else:
            self.ready()
            return
        self.settle()
        self.abort()

    # --- messages ---------------------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        if frame.opcode == Opcode.PONG:
            self.pinged = None
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode != Opcode.CONT:
                self.opcode = frame.opcode
            self.message += frame.data
            if frame.fin:
                data = bytes(self.message)
                self.message.clear()
                self.deliver(data)

    def deliver(self, data: bytes) -> None:
        """One message of SIP."""
        self.received += 1
        if self.opcode == Opcode.TEXT and not is_text(data):
            self.endpoint.report(self.remote, "protocol", "text that is not UTF-8")
            self.protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
        elif self.flow is not None:
            self.endpoint.user.receive_message(data, self.flow)

    def write(self, data: bytes) -> None:
        if self.flow is None or self.protocol.state is not OPEN:
            return
        if is_text(data):
            self.protocol.send_text(data)
        else:
            self.protocol.send_binary(data)
        self.pump()

    def close(self) -> None:
        """Say good-bye, then close."""
        if self.flow is not None and self.protocol.state is OPEN:
            self.protocol.send_close(CloseCode.GOING_AWAY)
            self.pump()
        super().close()

    # --- staying alive ----------------------------------------------------------------------------

    def fault(self, now: float) -> str:
        if self.pinged is not None and now - self.pinged > PONG_TIMEOUT:
            return "no pong"
        return super().fault(now)

    @property
    def must_speak(self) -> bool:
        return False

    def progress(self, flow: Flow) -> tuple[int, int]:
        return self.received, len(self.protocol.reader.buffer) + len(self.message)

    def wants_ping(self, now: float) -> bool:
        return self.pinged is None and now - self.heard > PING_EVERY

    def ping(self) -> None:
        self.pinged = self.endpoint.now()
        self.protocol.send_ping(b"sip")
        self.pump()


def is_text(data: bytes) -> bool:
    """Is it UTF-8?"""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def may_open(origins: Iterable[str], allowed: frozenset[str]) -> bool:
    """May a page of this origin open a connection? `origins`: what the handshake says, one or none."""
    return all("*" in allowed or origin.rstrip("/").lower() in allowed for origin in origins)
