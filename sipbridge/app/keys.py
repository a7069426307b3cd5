"""Where the keys of signed tokens come from: a file, or a URL of the issuer (OpenID's `jwks_uri`).

What comes is only read here, within bounds; what it means is `rest/tokens.py`'s affair. A URL is the
operator's own word, so it is not judged like those of applications, but it has to be https, or lead to this
machine.
"""

import asyncio
from pathlib import Path

import httpcore2

from sipbridge import __version__
from sipbridge.rest.tokens import Read

MAX_BYTES = 256 * 1024
"""Bytes of a key set; a key takes about one thousand."""
SECONDS = 5.0
"""How long a key set may take; requests with tokens wait for it."""
HEADERS = [
    (b"accept", b"application/jwk-set+json, application/json"),
    (b"user-agent", f"sipbridge/{__version__}".encode()),
]


def from_file(path: Path) -> Read:
    """The file as it is at the moment: it may be replaced while the bridge runs."""

    def take() -> bytes:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)

    async def read() -> bytes:
        return await asyncio.to_thread(take)

    return read


def from_url(url: str) -> Read:
    """One GET. Redirects are not followed: keys come from where the operator said, or not at all."""

    async def read() -> bytes:
        try:
            async with (
                asyncio.timeout(SECONDS),
                httpcore2.AsyncConnectionPool() as pool,
                pool.stream("GET", url, headers=HEADERS) as response,
            ):
                if response.status != 200:
                    raise OSError(f"{url} answered {response.status}")
                return await collected(response)
        except TimeoutError:
            raise OSError(f"{url} did not answer within {SECONDS:.0f} seconds") from None
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
        ) as error:
            raise OSError(f"{url}: {error}") from None

    return read


async def collected(response: httpcore2.Response) -> bytes:
    """The body. Raises OSError when it is too long."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > MAX_BYTES:
            raise OSError(f"a key set of more than {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
