"""Names to addresses, for `ResolveHost`.

The system's resolver, off the loop's thread: `/etc/hosts` and the configured servers count, SRV and NAPTR do
not (see `sip.locate`). Its order is kept, it already follows RFC 6724. A failure is an empty list: the core
then says that the destination cannot be reached.
"""

import asyncio
import socket

LOOKUP_TIMEOUT = 5.0
"""Seconds; below timer F, so another destination can still be tried."""


async def lookup(host: str) -> list[str]:
    """IPv4 and IPv6 addresses of a host, each once, in the resolver's order; empty if there are none."""
    if host.lower().endswith(".invalid"):  # RFC 6761 §6.4; browsers have such hosts (RFC 7118 §5.1)
        return []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_TIMEOUT):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
