"""Start, serve, drain, stop.

Start: the store is opened (a standby waits here until the owner of the data is gone) and read, sockets are
bound, the agent takes up what it kept, HTTP begins to listen, and only then is the bridge ready.

Stop: Bayeux clients are told, HTTP serves what it has begun, presence servers and registrars are told that we
go, the drivers send what is waiting, the store writes and closes.
"""

import asyncio
import contextlib
import functools
import json
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass

import uvicorn

from sipbridge import store as stores
from sipbridge.app import hooks
from sipbridge.app.http_protocol import HttpProtocol
from sipbridge.app.registrations import KIND as REGISTRATION
from sipbridge.app.settings import Settings
from sipbridge.app.sink import DELIVERY, SETTLE_SECONDS, SWEEP_SECONDS
from sipbridge.app.wiring import PUBLICATION, Graph, build
from sipbridge.errors import (
    ConfigurationError,
    SignallingError,
    SipBridgeError,
    StoreUnavailable,
)
from sipbridge.gateway import Caller
from sipbridge.identities import PresentityKey
from sipbridge.observability.logs import configure, logger
from sipbridge.store import Store
from sipbridge.uri import Uri
from sipbridge.webhooks.targets import is_webhook

NOBODY = "every request by HTTP will be 401: add [[applications]] to the configuration, see README, Use it"
DRAIN_SECONDS = 5.0
"""How long requests that are being served may take when the bridge stops."""


class HttpServer(uvicorn.Server):
    """uvicorn inside our loop: it says when it listens, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a bridge listens: the ready line. sip: "udp:127.0.0.1:5060" and the like."""

    http: str = ""
    sip: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return {"ready": True, "http": self.http, "sip": list(self.sip)}


class Bridge:
    """One running bridge."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = logger("sipbridge")
        self.tasks: set[asyncio.Task[None]] = set()
        self.graph: Graph | None = None
        self.http: HttpServer | None = None
        self.serving: asyncio.Task[None] | None = None
        self.settling: asyncio.TimerHandle | None = None
        self.sweeping: asyncio.TimerHandle | None = None
        self.ready = Listening()
        self.lost: StoreUnavailable | None = None
        self.bereft = asyncio.Event()

    def spawn(self, job: Coroutine[object, object, None]) -> None:
        """Run a job of the gateway beside the caller; a failure is logged."""
        task = asyncio.get_running_loop().create_task(self.guarded(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def guarded(self, job: Coroutine[object, object, None]) -> None:
        try:
            await job
        except SipBridgeError as error:
            self.log.warning("background.failed", code=error.code, error=str(error))

    async def start(self) -> None:
        """Everything up, `ready` filled. Raises ConfigurationError or StoreError; nothing is left open."""
        settings = self.settings
        store = await self.open_store()
        try:
            http_socket = open_http(settings)
        except BaseException:
            await store.close()
            raise
        try:
            graph = self.graph = build(settings, store, self.spawn)
        except BaseException:
            http_socket.close()
            await store.close()
            raise
        store.when_lost(self.lose)
        try:
            graph.tracing.open(settings.trace)
            await self.start_sip(graph)
            await self.start_http(graph, http_socket)
        except BaseException:
            http_socket.close()
            await self.stop()
            raise
        self.ready = self.describe(graph, http_socket)
        self.log.info("ready", store=store.location, **self.ready.as_json())
        if not graph.directory.applications and settings.admin.password_hash is None:
            self.log.info("applications.none", detail=NOBODY)
        graph.webhooks.start()
        for caller in graph.callers.values():
            self.spawn(self.watch_watchers(graph, caller))

    async def open_store(self) -> Store:
        """The store, as soon as it is ours; whoever may take it over waits for that."""
        wanted = self.settings.store
        directory, synchronous = self.settings.directory, wanted.synchronous.value
        if not wanted.takeover_after:
            return stores.open(wanted.url, directory=directory, synchronous=synchronous)

        def waiting(taken: stores.InUse) -> None:
            self.log.info("standby", owner=str(taken.owner), detail=str(taken))

        return await stores.wait_for(
            wanted.url,
            directory=directory,
            synchronous=synchronous,
            takeover_after=wanted.takeover_after,
            waiting=waiting,
        )

    def lose(self, error: StoreUnavailable) -> None:
        """Another process has taken our state over: we may promise nothing any more."""
        self.log.error("store.lost", error=str(error))
        self.lost = error
        self.bereft.set()

    async def failure(self) -> StoreUnavailable:
        """Waits until another process has taken the state over; the bridge is of no use then."""
        while self.lost is None:
            await self.bereft.wait()
        return self.lost

    async def start_sip(self, graph: Graph) -> None:
        await graph.doors.provisioner.load()
        await graph.gateway.load(graph.callers)
        await graph.doors.bems.load(graph.directory.may_act)
        await self.restore_deliveries(graph)
        if graph.agent is not None and graph.agent_driver is not None:
            # Before the first request is read: it may belong to a dialog, or a publication, of before.
            records = await graph.store.load_agent()
            graph.agent.restore(records, graph.agent_driver.now())
            await graph.agent_driver.start()
        await graph.gateway_driver.start()
        if graph.network.standing.registrations is not None:
            kept = await graph.store.load_snapshots(REGISTRATION)
            await graph.network.standing.registrations.start(dict(kept))
        await self.restore_publications(graph)
        await graph.watching.load(graph.callers)
        graph.watching.resume()
        graph.scheduler.start(graph.gateway)
        await graph.gateway.resume(self.resume_failed, graph.network.turn_to_resume)
        graph.doors.bems.resume()
        if graph.agent is not None and graph.agent_driver is not None:
            graph.agent.resume(graph.agent_driver.now())
            graph.agent_driver.turn()

    async def restore_publications(self, graph: Graph) -> None:
        """Entity-tags of our own publications, so that they are modified and not doubled.

        They are taken up as soon as their application may ask its server, which may want it registered.
        One whose attributes we do not have was never acknowledged, or is removed here and not yet there.
        """
        known = graph.gateway.registry.published
        for key, text in await graph.store.load_snapshots(PUBLICATION):
            application, _, presentity = key.partition("\n")
            if application not in graph.callers:
                continue
            pair = (application, PresentityKey(presentity))
            kept = known.get(pair)
            identity = Uri.parse(kept.presentity_uri if kept is not None else presentity)
            acting = Caller(application, identity, pair[1])
            graph.network.publications.keep(acting, text)
            self.spawn(graph.network.publications.resume(acting, removed=kept is None))

    async def restore_deliveries(self, graph: Graph) -> None:
        """What Bayeux clients and URLs had not been told; from now on it is written down regularly."""
        places = dict(await graph.store.load_snapshots(DELIVERY))
        receivers = dict(await graph.store.load_snapshots(hooks.KIND))
        for application in graph.callers:
            log = graph.store.read_after(application, 0)
            channels = [e for e in log if not is_webhook(e.notification.endpoint)]
            graph.reader.restore(application, places.get(application), channels)
            graph.webhooks.restore(application, receivers.get(application), log)
        graph.reader.settle_soon = functools.partial(self.settle_soon, graph)
        self.settle(graph)
        self.sweep(graph)

    def settle_soon(self, graph: Graph) -> None:
        loop = asyncio.get_running_loop()
        self.settling = loop.call_later(SETTLE_SECONDS, self.settle, graph)

    def settle(self, graph: Graph) -> None:
        """What is still on its way is looked at again."""
        graph.reader.settle()
        if graph.reader.unsettled:
            self.settle_soon(graph)

    def sweep(self, graph: Graph) -> None:
        """What the logs need not hold any more goes; not at once, so that those who come back find theirs."""
        if self.sweeping is not None:
            graph.sink.sweep(graph.callers)
        loop = asyncio.get_running_loop()
        self.sweeping = loop.call_later(SWEEP_SECONDS, self.sweep, graph)

    def resume_failed(self, what: str, error: SignallingError) -> None:
        self.log.warning("resume.failed", what=what, error=str(error))

    async def watch_watchers(self, graph: Graph, caller: Caller) -> None:
        await graph.network.turn_to_resume(caller.identity)
        try:
            await graph.network.watch_watchers(caller)
        except SignallingError as error:
            self.resume_failed(f"presence.winfo of {caller.identity}", error)

    async def start_http(self, graph: Graph, http_socket: socket.socket) -> None:
        http = self.settings.http
        config = uvicorn.Config(
            graph.doors.front,
            http=HttpProtocol,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(http.trusted_proxies),
            forwarded_allow_ips=list(http.trusted_proxies),
            ssl_certfile=http.tls_cert,
            ssl_keyfile=http.tls_key,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            ws_max_size=64 * 1024,
            timeout_graceful_shutdown=int(DRAIN_SECONDS),
        )
        try:
            config.load()
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                "http.tls_cert", f"cannot be used together with http.tls_key: {error}"
            ) from error
        self.http = HttpServer(config)
        loop = asyncio.get_running_loop()
        self.serving = loop.create_task(self.http.serve([http_socket]))
        await self.http.up.wait()

    def describe(self, graph: Graph, http_socket: socket.socket) -> Listening:
        host, port = http_socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        driver = graph.agent_driver or graph.gateway_driver
        points = tuple(str(b) for b in driver.bound if b.sock is not None and b.listens)
        scheme = "https" if self.settings.http.tls else "http"
        return Listening(f"{scheme}://{shown}:{port}", points)

    async def stop(self) -> None:
        """Drain and close; returns when nothing of the bridge is left."""
        graph = self.graph
        if graph is None:
            return
        self.log.info("stopping")
        graph.tower.checks.draining = True
        await graph.doors.bayeux.stop()
        graph.doors.streams.stop()
        graph.doors.traces.stop()
        graph.doors.feeds.stop()
        graph.doors.bems.readers.stop()
        if self.http is not None and self.serving is not None:
            self.http.should_exit = True
            await self.serving
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        graph.scheduler.stop()
        if graph.gateway_driver.running:
            await graph.network.leave()
            if graph.network.standing.registrations is not None:
                await graph.network.standing.registrations.stop()
        await graph.gateway_driver.stop()
        if graph.agent_driver is not None:
            await graph.agent_driver.stop()
        graph.tracing.close()
        await graph.webhooks.stop()
        await graph.doors.bems.close()
        if self.sweeping is not None:
            self.sweeping.cancel()
        if self.settling is not None:
            self.settling.cancel()
        graph.reader.settle_soon = lambda: None
        graph.reader.settle()
        await graph.store.close()
        self.log.info("stopped")


def open_http(settings: Settings) -> socket.socket:
    """The HTTP listener, bound. Raises ConfigurationError that says what to do."""
    http = settings.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it reads "TCP": without it
    # each long-poll reply waited 40 ms for the peer's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((http.host, http.port))
        sock.listen(2048)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            "http.port",
            f"{http.host}:{http.port} cannot be opened ({error.strerror or error}): "
            "stop the other program or choose another port",
        ) from error
    return sock


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Bridge]:
    """A bridge that runs as long as the block."""
    configure(settings.log.level.value, settings.log.format.value)
    bridge = Bridge(settings)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()


def ready_line(bridge: Bridge) -> str:
    """What `serve` prints on standard output when every listener is up."""
    return json.dumps(bridge.ready.as_json())
