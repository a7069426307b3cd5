"""One POST: to an address that was judged, within bounds, and whatever happens comes back as a value.

Requests are made with httpcore2, the part of httpx2 below redirects, cookies, proxies of the environment and
decompression: none of these is wanted here. It lets us open the connection (`network_backend`), so the
address that is judged is the address that is used (`targets.py`). Only the status of a response counts; of
its body a little is read, so that the connection can serve the next request, and whoever sends more loses the
connection.

Names are resolved in threads of our own: a name server that does not answer keeps only webhooks waiting.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpcore2

from sipbridge import __version__
from sipbridge.webhooks.targets import Target, may_connect, read_address

MAX_RESPONSE = 16 * 1024
"""Bytes of a response body that are read; receivers have nothing to tell us."""
MAX_ADDRESSES = 4
"""Addresses of one name that are tried, so that one attempt stays one attempt."""
RESOLVING = 4
"""Names looked up at a time."""
IDLE = 15.0
"""Seconds a connection is kept for the next request; usual servers keep theirs longer."""
USER_AGENT = f"sipbridge/{__version__}".encode()

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses as texts. Raises OSError."""
SocketOptions = Iterable[
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt.

    reason: the status as text, or "timeout", "address" (none that may be connected to), "connection",
    "protocol". retry_after: seconds the receiver asked for, 0 if it did not.
    """

    delivered: bool
    reason: str
    retry_after: float = 0.0


class Forbidden(httpcore2.ConnectError):
    """The name leads to no address that requests may go to."""


class Client:
    """Sends requests; one for all applications.

    timeout: seconds for a whole attempt, name lookup and response included. ssl_context: None for the
    system's authorities.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout: float,
        connections: int,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.timeout = timeout
        self.threads = ThreadPoolExecutor(RESOLVING, thread_name_prefix="webhooks")
        self.pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=connections,
            keepalive_expiry=IDLE,
            network_backend=JudgingBackend(resolve or self.look_up, allow_private),
        )

    async def post(
        self, target: Target, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Outcome:
        """One attempt. Raises nothing but CancelledError."""
        url = httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.resource.encode(),
        )
        headers = [
            (b"host", target.authority.encode()),
            (b"user-agent", USER_AGENT),
            (b"content-type", b"application/json"),
            *headers,
        ]
        try:
            async with asyncio.timeout(self.timeout):
                async with self.pool.stream("POST", url, headers=headers, content=body) as response:
                    outcome = judge(response)
                    await self.finish(response)
                    return outcome
        except (TimeoutError, httpcore2.TimeoutException):
            return Outcome(False, "timeout")
        except Forbidden:
            return Outcome(False, "address")
        except (httpcore2.NetworkError, OSError):
            return Outcome(False, "connection")
        except httpcore2.ProtocolError:
            return Outcome(False, "protocol")

    async def finish(self, response: httpcore2.Response) -> None:
        """Read a short body to its end; a long or slow one closes the connection when the block is left."""
        read = 0
        with contextlib.suppress(
            TimeoutError,
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
        ):
            async with contextlib.aclosing(response.aiter_stream()) as chunks:
                async with asyncio.timeout(self.timeout / 4):
                    async for chunk in chunks:
                        read += len(chunk)
                        if read > MAX_RESPONSE:
                            return

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self.threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    async def close(self) -> None:
        await self.pool.aclose()
        self.threads.shutdown(wait=False, cancel_futures=True)


class JudgingBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, judges, and connects to the address and not to the name."""

    def __init__(self, resolve: Resolve, allow_private: bool) -> None:
        self.resolve = resolve
        self.allow_private = allow_private
        self.sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises Forbidden, ConnectError, ConnectTimeout."""
        failure: Exception = Forbidden(host)
        for address in await self.judged(host, port):
            try:
                return await self.sockets.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def judged(self, host: str, port: int) -> list[str]:
        """The first addresses of a name that may be connected to."""
        try:
            found = await self.resolve(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name, for the resolver
            raise httpcore2.ConnectError(str(error)) from error
        good = [
            text
            for text in found
            if (address := read_address(text)) is not None
            and may_connect(address, self.allow_private)
        ]
        return good[:MAX_ADDRESSES]


def judge(response: httpcore2.Response) -> Outcome:
    """2xx is success; a redirect is as wrong as an error, for it would lead somewhere nobody has judged."""
    if 200 <= response.status < 300:
        return Outcome(True, str(response.status))
    wait = 0.0
    for name, value in response.headers:
        if name.lower() == b"retry-after" and value.isdigit():
            wait = float(value[:9])
    return Outcome(False, str(response.status), wait)
