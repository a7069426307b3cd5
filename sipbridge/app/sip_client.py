"""A SIP presence user agent on sockets of its own: what `publish`, `watch` and the demo are made of.

One identity, one server, free ports. The machines are those of the bridge; here they stand alone, and what
they report is kept in order for whoever waits for it.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.sip.indications import DestinationFailed
from sipbridge.sip.locate import PORTS
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports.driver import Driver, bind, bind_outgoing
from sipbridge.transports.tcp import Rules
from sipbridge.transports.tls import Tls
from sipbridge.uri import Uri, parse_hostport

PACKAGES: dict[str, EventPackage] = {p.name: p for p in (PRESENCE, PRESENCE_WINFO)}
KEPT = 10_000
"""Indications kept for somebody who does not look."""


SECURED = {"tls": "sips:{};transport=tls", "wss": "sips:{};transport=ws"}
"""Next hops by transport; of all others it is `sip:…;transport=` and its name."""


class SipClient:
    """One presence user agent. `server` is "host:port"; `transport` udp, tcp, tls, ws or wss.

    `tls`: whom to trust; None: the authorities of the system. `packages`: the event packages it knows, by
    name. `headers`: (name, value) pairs that every SUBSCRIBE and PUBLISH carries.
    """

    def __init__(
        self,
        identity: Uri,
        server: str,
        *,
        transport: str = "udp",
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        packages: Mapping[str, EventPackage] = PACKAGES,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        host, port = parse_hostport(server, "server")
        port = port or PORTS.get(transport, 5060)
        self.identity = identity
        self.server = (host, port)
        self.transport = transport
        self.tls = tls
        self.credentials = credentials
        hop = SECURED.get(transport, f"sip:{{}};transport={transport}").format(f"{host}:{port}")
        self.policy = PeerPolicy(
            next_hops=(hop,),
            extra_headers=tuple(headers),
            conditional=False,  # a line for each NOTIFY
            encodings=(),  # what is on the wire can be read
        )
        self.packages = packages
        self.on_failure: Callable[[DestinationFailed], None] = lambda said: None
        """Called when the server cannot be reached, or is not whom we asked for."""
        self.said: deque[object] = deque(maxlen=KEPT)
        self.news = asyncio.Event()

    async def open(self) -> None:
        """Bind free ports on the address from which the server is reached, and begin."""
        host = await asyncio.to_thread(local_address, *self.server)
        if self.transport in ("udp", "tcp"):
            bound = bind([f"udp:{host}:0", f"tcp:{host}:0"])
        else:
            bound = [bind_outgoing(self.transport, host.strip("[]"))]
        tls = self.tls or (Tls() if self.transport in SECURED else None)
        core = UserAgent([b.point for b in bound])
        self.publisher = Publisher(core, self.packages)
        self.subscriber = Subscriber(core, self.packages)
        self.driver = Driver(core, bound, on_indication=self.hear, rules=Rules(tls))
        await self.driver.start()

    async def close(self) -> None:
        await self.driver.stop()

    def hear(self, said: object) -> None:
        if isinstance(said, DestinationFailed):
            self.on_failure(said)
        self.said.append(said)
        self.news.set()

    async def wait_for(
        self, wanted: Callable[[object], bool], seconds: float | None = None
    ) -> object | None:
        """The first indication not yet taken that is wanted; earlier ones are dropped. None: too late."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self.said:
                        if wanted(said := self.said.popleft()):
                            return said
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return None

    def publish(
        self,
        body: bytes,
        *,
        entity: Uri | None = None,
        expires: int | None = None,
        content_type: str = PIDF,
        package: str = PRESENCE.name,
    ) -> str:
        """Publish for `entity`, else for our own identity; `Published` or `PublishFailed` follows."""
        publication = self.publisher.publish(
            entity or self.identity,
            self.identity,
            package,
            content_type,
            body,
            self.driver.now(),
            expires=expires,
            policy=self.policy,
            credentials=self.credentials,
        )
        self.driver.turn()
        return publication

    def modify(self, publication: str, body: bytes, content_type: str = PIDF) -> None:
        """Replace what is published."""
        self.publisher.modify(publication, content_type, body, self.driver.now())
        self.driver.turn()

    def unpublish(self, publication: str) -> None:
        """Remove it; `Unpublished` follows."""
        self.publisher.remove(publication, self.driver.now())
        self.driver.turn()

    def subscribe(
        self, target: Uri, package: str = PRESENCE.name, expires: int | None = None
    ) -> str:
        """Watch somebody; `Accepted`, `Notified`, `Refused`, `Terminated` follow. `expires` in seconds."""
        subscription = self.subscriber.subscribe(
            target,
            self.identity,
            package,
            self.driver.now(),
            expires=expires,
            policy=self.policy,
            credentials=self.credentials,
        )
        self.driver.turn()
        return subscription

    def fetch(self, target: Uri, package: str = PRESENCE.name) -> str:
        """Look once; `Notified` and `Terminated` follow, or `Refused`."""
        subscription = self.subscriber.fetch(
            target,
            self.identity,
            package,
            self.driver.now(),
            policy=self.policy,
            credentials=self.credentials,
        )
        self.driver.turn()
        return subscription

    def unsubscribe(self, subscription: str) -> None:
        """Stop watching; `Terminated` follows."""
        self.subscriber.end(subscription, self.driver.now())
        self.driver.turn()


def local_address(host: str, port: int) -> str:
    """Our address on the way to a host. Raises OSError when there is no way."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, proto) as probe:
        probe.connect(address)
        found: str = probe.getsockname()[0]
    return f"[{found}]" if ":" in found else found
