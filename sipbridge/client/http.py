"""HTTP for the SDK: the library, where the bridge is, who asks, what its errors become.

The library is httpx2. It is imported when a client is made, not before, because it alone takes longer than a
program's start should. A client of the caller's own (`http=`) is used as it is, for proxies, certificates or
tests, and not closed.
"""

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sipbridge.client.errors import BadAnswer, Unreachable, fault_of
from sipbridge.client.operations import Call
from sipbridge.errors import ConfigurationError, InvalidValue

if TYPE_CHECKING:
    import types

    import httpx2

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds a request may take; the bridge gives up on a presence server after 32 s, but answers reads at
once.
"""
CONNECT_TIMEOUT = 10.0
"""Seconds until a connection stands, also where the answer is awaited for longer."""
SILENCE = 45.0
"""Seconds a stream may be silent: the bridge sends a comment every 15, so three of them are missing."""


@dataclass(frozen=True, slots=True)
class Site:
    """base: URL of the bridge without a slash at its end. headers: of every request.

    channel: the application's own Bayeux channel, "" when only a token says who it is.
    """

    base: str
    headers: Mapping[str, str]
    application: str

    @property
    def channel(self) -> str:
        return f"/bayeux/{self.application}/presence" if self.application else ""

    def endpoint(self, given: str) -> str:
        """Where notifications go. Raises InvalidValue when nothing says."""
        if not (given or self.channel):
            raise InvalidValue(
                "needed, because a token does not name the application", part="endpoint"
            )
        return given or self.channel


def site(
    base: str, application: str, password: str, token: str, headers: Mapping[str, str]
) -> Site:
    """Raises InvalidValue for an address or credentials that could never do."""
    if not base.startswith(("http://", "https://")):
        raise InvalidValue(f"{base[:80]!r} is no http or https URL", part="base_url")
    if ":" in application:
        raise InvalidValue("an application's id has no colon", part="application")
    if token:
        authorization = f"Bearer {token}"
    else:
        credentials = f"{application}:{password}".encode()
        authorization = "Basic " + base64.b64encode(credentials).decode()
    if not authorization.isascii() or not authorization.isprintable():
        raise InvalidValue("no text for a header", part="token")
    return Site(base.rstrip("/"), {"Authorization": authorization, **headers}, application)


def library() -> "types.ModuleType":
    """httpx2. Raises ConfigurationError that names the extra."""
    try:
        import httpx2
    except ImportError:
        raise ConfigurationError(
            "sipbridge.client", "needs the extra 'client': pip install 'sipbridge[client]'"
        ) from None
    return httpx2


class Http:
    """Calls over a blocking client."""

    def __init__(self, where: Site, http: "httpx2.Client | None", timeout: float) -> None:
        self.library = library()
        self.site = where
        self.own = http is None
        self.client: httpx2.Client = http or self.library.Client(
            timeout=self.library.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
        )

    def call(self, call: Call[T]) -> T:
        """Raises Fault, Unreachable, BadAnswer."""
        try:
            response = self.client.request(
                call.method,
                self.site.base + call.path,
                headers=headers_of(self.site, call),
                content=call.content(),
            )
        except self.library.HTTPError as error:
            raise unreachable(error) from error
        return answered(call, response)

    def stream(self, path: str, headers: Mapping[str, str]) -> "httpx2.Response":
        """An answer whose body is still to be read. Raises Fault, Unreachable."""
        request = self.client.build_request(
            "GET",
            self.site.base + path,
            headers={**self.site.headers, **headers},
            timeout=self.library.Timeout(CONNECT_TIMEOUT, read=SILENCE),
        )
        try:
            response = self.client.send(request, stream=True)
            if response.status_code != 200:
                response.read()
        except self.library.HTTPError as error:
            raise unreachable(error) from error
        if response.status_code != 200:
            raise fault_of(response.status_code, response.headers, response.content)
        return response

    def close(self) -> None:
        if self.own:
            self.client.close()


class AsyncHttp:
    """The same over an asynchronous client."""

    def __init__(self, where: Site, http: "httpx2.AsyncClient | None", timeout: float) -> None:
        self.library = library()
        self.site = where
        self.own = http is None
        self.client: httpx2.AsyncClient = http or self.library.AsyncClient(
            timeout=self.library.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
        )

    async def call(self, call: Call[T]) -> T:
        """Raises Fault, Unreachable, BadAnswer."""
        try:
            response = await self.client.request(
                call.method,
                self.site.base + call.path,
                headers=headers_of(self.site, call),
                content=call.content(),
            )
        except self.library.HTTPError as error:
            raise unreachable(error) from error
        return answered(call, response)

    async def stream(self, path: str, headers: Mapping[str, str]) -> "httpx2.Response":
        """An answer whose body is still to be read. Raises Fault, Unreachable."""
        request = self.client.build_request(
            "GET",
            self.site.base + path,
            headers={**self.site.headers, **headers},
            timeout=self.library.Timeout(CONNECT_TIMEOUT, read=SILENCE),
        )
        try:
            response = await self.client.send(request, stream=True)
            if response.status_code != 200:
                await response.aread()
        except self.library.HTTPError as error:
            raise unreachable(error) from error
        if response.status_code != 200:
            raise fault_of(response.status_code, response.headers, response.content)
        return response

    async def close(self) -> None:
        if self.own:
            await self.client.aclose()


def hang_up(response: "httpx2.Response | None") -> None:
    """Wake whoever reads this answer: for him the peer is gone. Closing it under his hands would not."""
    stream = response.extensions.get("network_stream") if response is not None else None
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        import socket

        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def headers_of(where: Site, call: Call[T]) -> dict[str, str]:
    kind = {"Content-Type": "application/json"} if call.body is not None else {}
    return {**where.headers, "Accept": "application/json", **kind, **call.headers}


def unreachable(error: Exception) -> Unreachable:
    return Unreachable(str(error) or type(error).__name__)


def answered(call: Call[T], response: "httpx2.Response") -> T:
    """The value that an answer stands for. Raises Fault, BadAnswer."""
    if response.status_code >= 400:
        raise fault_of(response.status_code, response.headers, response.content)
    if not 200 <= response.status_code < 300:
        raise BadAnswer(f"{call.method} {call.path}: HTTP {response.status_code}")
    return call.result(response.content)
