"""The cast of an interop case: processes that are started and clients that talk to them.

Each actor is started with values from the case's file and stopped by whoever started it. Ports are free ones,
everything stays on loopback, and readiness is waited for, never slept for.
"""

import asyncio
import base64
import functools
import importlib.metadata
import json
import os
import pty
import re
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from tests.harness.ports import free_port
from tests.interop.wire import Message, Talker
from tests.transports.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
START_SECONDS = 30.0
START_TRIES = 3
STOP_SECONDS = 10.0
PHONE_STOP_SECONDS = 1.0
"""Twinkle does not end by itself when it is told to; what a phone does then is nothing a case looks at."""
TABLES = (
    *("version", "presentity", "active_watchers", "watchers", "xcap"),
    *("pua", "rls_presentity", "rls_watchers"),
)


OLD = ("aiovoip", "sippy")
"""Stacks in Python that others may have in the field; aiovoip is an heir of aiosip."""
OLD_LIBRARIES = Path(sys.prefix) / "old-libraries"
"""The environment of OLD: what they need must not decide what everybody else gets."""
PACKAGES = {"sipjs": "sip.js"}
"""What npm calls a client whose file is called otherwise."""


class ActorFailed(Exception):
    """An actor could not do its part; the text says what was seen."""


async def end(process: Process, seconds: float = STOP_SECONDS) -> int:
    """Terminate a process group, kill it if it does not listen."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0


class Kamailio:
    """Debian's Kamailio with `configs/kamailio/presence.cfg`."""

    def __init__(self, wanted: Mapping[str, Any], authority: Authority | None = None) -> None:
        """`authority` signs its certificate for the names in `certificate`; without it there is no TLS."""
        self.wanted = wanted
        self.authority = authority
        self.folder = Path(tempfile.mkdtemp(prefix="sipbridge-kamailio-"))
        self.port, self.http_port, self.tls_port = free_port(), free_port(), free_port()
        self.process: Process | None = None

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def at(self, transport: str) -> tuple[str, int]:
        """Where it listens for a transport."""
        return ("127.0.0.1", self.tls_port if transport == "tls" else self.port)

    def configure_tls(self, authority: Authority) -> list[str]:
        """Its certificate, and whether it demands one; what has to be defined for that."""
        pair = authority.issue("kamailio", self.wanted.get("certificate", ["127.0.0.1"]))
        demand = "yes" if self.wanted.get("mutual") else "no"
        path = self.folder / "tls.cfg"
        path.write_text(
            f"[server:default]\nmethod = TLSv1.2+\nprivate_key = {pair.key}\n"
            f"certificate = {pair.cert}\nca_list = {authority.ca}\n"
            f"verify_certificate = {demand}\nrequire_certificate = {demand}\n"
            f"[client:default]\nmethod = TLSv1.2+\nprivate_key = {pair.key}\n"
            f"certificate = {pair.cert}\nca_list = {authority.ca}\n"
            "verify_certificate = yes\nrequire_certificate = yes\n"
        )
        return ["WITH_TLS", f"TLS_PORT={self.tls_port}", f'TLS_CONFIG="{path}"']

    def definitions(self) -> list[str]:
        values = [
            "LISTEN_HOST=127.0.0.1",
            f"LISTEN_PORT={self.port}",
            f"HTTP_PORT={self.http_port}",
            f"MIN_EXPIRES={self.wanted.get('min_expires', 0)}",
            f'DBPATH="{self.database()}"',
            f"MAX_EXPIRES={self.wanted.get('max_expires', 3600)}",
            f"WORKERS={self.wanted.get('workers', 2)}",
            f"NONCE_EXPIRE={self.wanted.get('nonce_expire', 300)}",
            f'RLS_ADDRESS="sip:rls@127.0.0.1:{self.port}"',
        ]
        if self.authority is not None:
            values += self.configure_tls(self.authority)
        return values + [f"WITH_{word.upper()}" for word in self.wanted.get("with", [])]

    def database(self) -> str:
        if "sqlite" in self.wanted.get("with", []):
            return f"sqlite:///{self.folder}/kamailio.sqlite"
        return f"text://{self.folder}/dbtext"

    def make_tables(self) -> None:
        share = Path("/usr/share/kamailio")
        (self.folder / "dbtext").mkdir(exist_ok=True)
        for table in TABLES:
            shutil.copy(share / "dbtext/kamailio" / table, self.folder / "dbtext" / table)
        if "sqlite" in self.wanted.get("with", []):
            import sqlite3

            with sqlite3.connect(self.folder / "kamailio.sqlite") as base:
                for name in ("standard", "presence", "rls"):
                    base.executescript((share / f"db_sqlite/{name}-create.sql").read_text())
                base.execute("PRAGMA journal_mode=WAL")
            base.close()

    async def start(self, *, kept: bool = False) -> None:
        """kept: with the tables of before."""
        if not kept:
            self.make_tables()
        options = [word for d in self.definitions() for word in ("-A", d)]
        command = ["kamailio", "-f", str(ROOT / "configs/kamailio/presence.cfg"), "-DD", "-E"]
        command += ["-w", str(self.folder), "-Y", str(self.folder), "-m", "128", "-M", "16"]
        with (self.folder / "log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, *options, stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True
            )
        talker = Talker("sip:probe@127.0.0.1", self.address, "udp", "")
        await talker.open()
        try:
            for _ in range(int(START_SECONDS / 0.5)):
                if self.process.returncode is not None:
                    break
                target = f"sip:127.0.0.1:{self.port}"
                if await talker.ask("OPTIONS", target, seconds=0.5) is not None:
                    return
        finally:
            await talker.close()
        raise ActorFailed("Kamailio does not answer:\n" + (self.folder / "log").read_text()[-2000:])

    async def restart(self, more: Sequence[str] = ()) -> None:
        """Everything is forgotten, the address stays. more: features it has from now on."""
        if self.process is not None:
            await end(self.process)
        self.wanted = {**self.wanted, "with": [*self.wanted.get("with", []), *more]}
        await self.start()

    async def fall(self) -> None:
        """It is gone at once, all its processes, in the middle of whatever they do."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def wipe(self) -> None:
        """Throw away what it has kept."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    async def stop(self) -> None:
        if self.process is not None:
            await end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    @functools.cache
    def version() -> str:
        import subprocess

        text = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"kamailio (\S+)", text)
        return found[1] if found else "unknown"


class Bridge:
    """`sipbridge serve` as a process, configured by the case."""

    def __init__(
        self, wanted: Mapping[str, Any], next_hop: str, sip: Mapping[str, Any] | None = None
    ) -> None:
        """`sip`: what its [sip] section has besides the usual."""
        self.sip_more = dict(sip or {})
        self.folder = Path(tempfile.mkdtemp(prefix="sipbridge-serve-"))
        self.wanted = dict(wanted)
        self.next_hop = next_hop
        self.process: Process | None = None
        self.ready: dict[str, Any] = {}
        self.log: list[str] = []
        self.reader: asyncio.Task[None] | None = None
        self.http_port, self.sip_port = free_port(), free_port()

    async def restart(self) -> None:
        """Stop it, start it again on the same ports with the same state."""
        await self.halt()
        await self.start()

    def configuration(self) -> str:
        import tomli_w

        at = f"127.0.0.1:{self.sip_port}"
        usual = [f"udp:{at}", f"tcp:{at}", *self.sip_more.get("listen", [])]
        listen = self.ready["sip"] if self.ready else usual
        tree: dict[str, Any] = {
            "http": {"port": self.http_port},
            "sip": {**self.sip_more, "listen": listen, "domain": "example.com"},
            "store": {"url": "sqlite:///state.db"},
            "agent": self.wanted.get("agent", {}),
            "applications": self.applications(),
            "groups": self.wanted.get("groups", []),
        }
        if self.wanted.get("mode") == "remote":
            tree["presence_server"] = {
                "mode": "remote",
                "next_hop": self.next_hop,
                **self.wanted.get("presence_server", {}),
            }
        if "profile" in self.wanted:
            (self.folder / "profile.toml").write_text(tomli_w.dumps(self.wanted["profile"]))
            tree["presence_server"]["profile"] = "./profile.toml"
        return tomli_w.dumps(tree | self.wanted.get("settings", {}))

    def applications(self) -> list[dict[str, Any]]:
        return [
            *self.wanted.get("more_applications", ()),
            *self.plain_applications(),
        ]

    def plain_applications(self) -> list[dict[str, Any]]:
        return [
            {
                "id": f"app_{name}",
                "password": f"secret-{name}",
                "uri": f"sip:{name}@example.com",
                "sip_password": f"{self.wanted.get('sip_passwords', 'pw')}-{name}",
                **self.wanted.get("application", {}),
            }
            for name in self.wanted.get("applications", ["alice", "bob"])
        ]

    async def start(self) -> None:
        path = self.folder / "sipbridge.toml"
        path.write_text(self.configuration())
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sipbridge",
            "serve",
            "-c",
            str(path),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.reader = asyncio.get_running_loop().create_task(self.read_log())
        line = await asyncio.wait_for(self.process.stdout.readline(), START_SECONDS)
        if not line:
            await self.process.wait()
            await self.reader
            raise ActorFailed("the bridge did not start:\n" + "\n".join(self.log[-20:]))
        self.ready = json.loads(line)

    async def read_log(self) -> None:
        assert self.process is not None and self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())

    def sip(self, protocol: str) -> tuple[str, int]:
        for point in self.ready["sip"]:
            kind, host, port = point.split(":")
            if kind == protocol:
                return (host, int(port))
        raise ActorFailed(f"the bridge has no {protocol} listener: {self.ready}")

    async def halt(self) -> None:
        """SIGTERM; ActorFailed unless it ends with status 0."""
        if self.process is None:
            return
        status = await end(self.process)
        if self.reader is not None:
            await self.reader
        if status != 0:
            seen = "\n".join(self.log[-20:])
            raise ActorFailed(f"the bridge ended with status {status}:\n{seen}")

    async def stop(self) -> None:
        try:
            await self.halt()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Cutter:
    """A TCP proxy in front of the bridge that can cut every connection at once.

    no_websockets: it answers upgrades with 403, as proxies do that do not know them; `refused` counts them.
    """

    def __init__(self, host: str, port: int, *, no_websockets: bool = False) -> None:
        self.target = (host, port)
        self.no_websockets = no_websockets
        self.refused = 0
        self.server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        self.writers |= {writer, back}
        first = await reader.read(65536)
        if self.no_websockets and b"upgrade: websocket" in first.lower():
            self.refused += 1
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            writer.close()
        back.write(first if not writer.is_closing() else b"")
        await asyncio.gather(pump(reader, back), pump(there, writer))
        self.writers -= {writer, back}

    def cut(self) -> None:
        """Every connection ends without a word (RST)."""
        for writer in self.writers:
            writer.transport.abort()

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.cut()
            await self.server.wait_closed()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other until one of them ends."""
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Printing:
    """A client nobody here wrote, as a process that prints what happens to it as JSON lines."""

    def __init__(
        self, client: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = [*self.command_of(client), *arguments]
        self.environment = {**os.environ, **(environment or {})}
        self.process: Process | None = None
        self.events: list[dict[str, Any]] = []
        self.taken = 0
        self.news = asyncio.Event()
        self.jobs: list[asyncio.Task[None]] = []
        self.errors: list[str] = []

    @staticmethod
    def command_of(client: str) -> list[str]:
        if client == "aiocometd":
            return [sys.executable, str(HERE / "clients" / "aiocometd_client.py")]
        return ["node", str(HERE / "clients" / f"{client}.mjs")]

    @staticmethod
    def version(client: str) -> str:
        if client == "aiocometd":
            return importlib.metadata.version("aiocometd-noloop")
        wanted = json.loads((HERE / "clients" / "package.json").read_text())
        return str(wanted["dependencies"][PACKAGES.get(client, client)])

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            env=self.environment,
        )
        self.jobs = [asyncio.create_task(self.read()), asyncio.create_task(self.read_errors())]

    async def read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))
                self.news.set()

    async def read_errors(self) -> None:
        assert self.process is not None and self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors.append(line.decode("utf-8", "replace").rstrip())

    async def next(self, event: str, seconds: float) -> dict[str, Any]:
        """The next event of this name not yet taken; others before it are passed over."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self.taken < len(self.events):
                        self.taken += 1
                        if self.events[self.taken - 1]["event"] == event:
                            return self.events[self.taken - 1]
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            seen = [*self.events[-5:], *self.errors[-5:]]
            raise ActorFailed(f"no {event!r} from {self.command[1]}; last: {seen}") from None

    async def stop(self) -> None:
        if self.process is not None:
            await end(self.process)
        await asyncio.gather(*self.jobs)


class BayeuxClient(Printing):
    """A Bayeux client that subscribes to its own channel and to a foreign one."""

    def __init__(self, client: str, name: str, base: str, transport: str) -> None:
        own, foreign = f"/bayeux/app_{name}/presence", "/bayeux/app_somebody_else/presence"
        account = [f"app_{name}", f"secret-{name}"]
        super().__init__(client, [f"{base}/bayeux", *account, own, foreign, transport])


class WebPhone(Printing):
    """A browser's SIP user agent, run by node; it does what it is told on standard input."""

    def __init__(self, client: str, name: str, url: str, trusted: str) -> None:
        """`trusted`: the file of authorities, for wss; "" for none."""
        environment = {"NODE_EXTRA_CA_CERTS": trusted} if trusted else None
        super().__init__(client, [url, name, f"pw-{name}"], environment)

    def tell(self, command: Mapping[str, str]) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")


class Application:
    """An application: REST with Basic credentials, Bayeux by long-polling or WebSocket."""

    def __init__(self, base: str, name: str) -> None:
        self.base = base
        token = base64.b64encode(f"app_{name}:secret-{name}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}"}
        self.session: aiohttp.ClientSession | None = None
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.client_id = ""
        self.sent = 0
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.jobs: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self.session = aiohttp.ClientSession(headers=self.headers)

    async def call(
        self, method: str, path: str, body: object, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        assert self.session is not None
        url = self.base + path
        async with self.session.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers

    async def message(self, channel: str, **fields: object) -> dict[str, Any]:
        """One Bayeux message and its answer; events on the way go to the inbox."""
        self.sent += 1
        message = {"channel": channel, "id": str(self.sent), **fields}
        if self.client_id:
            message["clientId"] = self.client_id
        if self.socket is not None:
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self.replies[str(self.sent)] = answer
            await self.socket.send_str(json.dumps([message]))
            return await answer
        status, replies, _ = await self.call("POST", "/rest/presence/notifications", [message])
        if status != 200:
            raise ActorFailed(f"Bayeux {channel}: HTTP {status} {replies}")
        return next(m for m in replies if not self.event(m))

    def event(self, message: dict[str, Any]) -> bool:
        if "successful" in message:
            return False
        self.inbox.put_nowait(message["data"])
        return True

    async def listen(self, channel: str, transport: str) -> None:
        """Handshake, subscribe, and keep a connect waiting from now on."""
        assert self.session is not None
        if transport == "websocket":
            self.socket = await self.session.ws_connect(self.base + "/bayeux")
            self.jobs.append(asyncio.create_task(self.read_socket()))
        hello = await self.message(
            "/meta/handshake", version="1.0", supportedConnectionTypes=[transport]
        )
        self.client_id = hello["clientId"]
        subscribed = await self.message("/meta/subscribe", subscription=channel)
        if not subscribed["successful"]:
            raise ActorFailed(f"subscribe refused: {subscribed}")
        self.jobs.append(asyncio.create_task(self.stay_connected(transport)))

    async def read_socket(self) -> None:
        assert self.socket is not None
        async for frame in self.socket:
            for message in json.loads(frame.data):
                if not self.event(message):
                    self.replies.pop(message["id"]).set_result(message)

    async def stay_connected(self, transport: str) -> None:
        while (await self.message("/meta/connect", connectionType=transport))["successful"]:
            pass

    async def close(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)
        if self.socket is not None:
            await self.socket.close()
        if self.session is not None:
            await self.session.close()


class Baresip:
    """baresip 1.0, headless: one account, told what to do over its control socket."""

    def __init__(
        self, name: str, server: tuple[str, int], transport: str, trusted: str = ""
    ) -> None:
        """`trusted`: the file of authorities, for TLS."""
        self.name, self.server, self.transport = name, server, transport
        self.trusted = trusted
        self.folder = Path(tempfile.mkdtemp(prefix="sipbridge-baresip-"))
        self.control = free_port()
        self.process: Process | None = None
        self.output = ""
        self.news = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None
        self.listener: asyncio.Task[None] | None = None
        self.writer: asyncio.StreamWriter | None = None

    def configure(self, contacts: Sequence[str], publishes: bool, registers: bool) -> None:
        host, port = self.server
        by = "" if self.transport == "udp" else f";transport={self.transport}"
        hop = f"sip:{host}:{port}{by}"
        account = f'<sip:{self.name}@example.com>;outbound="{hop}";auth_user={self.name}'
        account += f";auth_pass=pw-{self.name};regint={60 if registers else 0}"
        account += ";pubint=60" if publishes else ""
        modules = next(Path("/usr/lib").glob("**/baresip/modules"))
        (self.folder / "accounts").write_text(account + "\n")
        listed = "".join(f'"{c}" <sip:{c}@example.com>;presence=p2p\n' for c in contacts)
        (self.folder / "contacts").write_text(listed or '"nobody" <sip:nobody@example.com>\n')
        (self.folder / "config").write_text(
            f"sip_listen 127.0.0.1:{free_port()}\nnet_interface 127.0.0.1\n"
            + (f"sip_cafile {self.trusted}\n" if self.trusted else "")
            + f"module_path {modules}\nmodule_tmp uuid.so\nmodule_tmp account.so\n"
            "module_app contact.so\nmodule_app menu.so\nmodule_app presence.so\n"
            f"module_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{self.control}\n"
        )

    async def start(
        self, contacts: Sequence[str] = (), publishes: bool = False, registers: bool = False
    ) -> None:
        """Start it; a port that somebody took meanwhile is answered with other ports."""
        for _ in range(START_TRIES):
            self.control = free_port()
            self.configure(contacts, publishes, registers)
            await self.launch()
            try:
                await self.wait_for("baresip is ready", START_SECONDS / START_TRIES)
                answers, self.writer = await asyncio.open_connection("127.0.0.1", self.control)
            except OSError:  # TimeoutError is one
                await self.end()
                continue
            self.listener = asyncio.create_task(self.read_answers(answers))
            return
        raise ActorFailed(f"baresip does not start: {self.output[-1500:]}")

    async def launch(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            "baresip",
            "-f",
            str(self.folder),
            "-s",
            "-t",
            "60",
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self.reader = asyncio.create_task(self.read_output())

    async def end(self) -> None:
        if self.writer is not None:
            self.writer.close()
        if self.process is not None:
            await end(self.process)
        for task in (self.reader, self.listener):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)

    async def read_answers(self, answers: asyncio.StreamReader) -> None:
        """What the control socket says counts as output too."""
        while chunk := await answers.read(4096):
            self.output += chunk.decode("utf-8", "replace")
            self.news.set()

    async def read_output(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        while chunk := await self.process.stdout.read(4096):
            self.output += chunk.decode("utf-8", "replace")
            self.news.set()

    async def wait_for(self, pattern: str, seconds: float) -> str:
        """Until the output has the pattern; the text that fits."""
        async with asyncio.timeout(seconds):
            while (found := re.search(pattern, self.output)) is None:
                self.news.clear()
                await self.news.wait()
        return found[0]

    def command(self, word: str) -> None:
        assert self.writer is not None
        body = json.dumps({"command": word, "params": "", "token": word}).encode()
        self.writer.write(b"%d:%s," % (len(body), body))

    async def stop(self) -> None:
        await self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    @functools.cache
    def version() -> str:
        import subprocess

        text = subprocess.run(["baresip", "-h"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"baresip v(\S+)", text)
        return found[1] if found else "unknown"


class DeskPhone:
    """A phone nobody here wrote, told at its start whom to watch or what to publish; it prints what it sees.

    linphonec and Twinkle are programs for a terminal and get their files; of the others the library is driven
    by a program of ours in `clients`, which some of them tell more on their terminal.
    """

    PACKAGES: ClassVar = {
        "linphonec": "linphone-cli",
        "linphone": "liblinphone10",
        "purple": "libpurple0",
        "twinkle": "twinkle-console",
    }
    """Debian's packages, for their versions."""
    CLIENTS = (*PACKAGES, *OLD, "pjsua")

    def __init__(
        self,
        client: str,
        name: str,
        server: tuple[str, int],
        transport: str,
        trusted: str = "",
    ) -> None:
        """`trusted`: the file of authorities, for TLS; pjsua2 checks nobody by default."""
        self.client, self.name, self.server, self.transport = client, name, server, transport
        self.trusted = trusted
        self.folder = Path(tempfile.mkdtemp(prefix=f"sipbridge-{client}-"))
        self.port = free_port()
        self.process: Process | None = None
        self.output = ""
        self.news = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None
        self.terminal: int | None = None

    def command(self, what: str, word: str) -> list[str]:
        if self.client == "linphonec":
            return ["linphonec", "-c", self.write_linphonec(what, word)]
        if self.client == "twinkle":
            self.write_twinkle(what, word)
            return ["twinkle-console"]
        host, port = self.server
        script = str(HERE / "clients" / f"{self.client}_client.py")
        who = [self.transport, self.name, f"pw-{self.name}", str(self.port), str(self.folder)]
        python = self.python(self.client)
        return [python, script, host, str(port), *who, what, word]

    @staticmethod
    def python(client: str) -> str:
        """The interpreter that has the client's library."""
        return str(OLD_LIBRARIES / "bin" / "python") if client in OLD else sys.executable

    def tell(self, command: str) -> None:
        """Type a line."""
        assert self.terminal is not None
        os.write(self.terminal, command.encode() + b"\n")

    def write_linphonec(self, what: str, word: str) -> str:
        host, port = self.server
        if self.transport == "tls":
            host = "localhost"  # it knows DNS names in certificates and no addresses
        hop = f"sip:{host}:{port};transport={self.transport}"
        kinds = ("udp", "tcp", "tls")
        ports = {kind: self.port if kind == self.transport else 0 for kind in kinds}
        text = (
            f"[sip]\nsip_port={ports['udp']}\nsip_tcp_port={ports['tcp']}\n"
            f"sip_tls_port={ports['tls']}\nroot_ca={self.trusted}\nverify_server_certs=1\n"
            "bind_address=127.0.0.1\nguess_hostname=1\nuse_ipv6=0\ndefault_proxy=0\n"
            "subscribe_presence_only_when_registered=0\n"
            f"[auth_info_0]\nusername={self.name}\npasswd=pw-{self.name}\ndomain=example.com\n"
            f"[proxy_0]\nreg_proxy=<{hop}>\nreg_route=<{hop};lr>\n"
            f"reg_identity=sip:{self.name}@example.com\nreg_expires=600\nreg_sendregister=1\n"
            f"publish={int(what == 'publish')}\npublish_expires=600\n"
        )
        if what == "watch":
            text += f'[friend_0]\nurl="{word}" <sip:{word}@example.com>\npol=accept\nsubscribe=1\n'
        (self.folder / ".local/share/linphone").mkdir(parents=True, exist_ok=True)
        path = self.folder / "linphonerc"
        path.write_text(text)
        return str(path)

    def write_twinkle(self, what: str, word: str) -> None:
        host, port = self.server
        home = self.folder / ".twinkle"
        home.mkdir()
        (home / f"{self.name}.cfg").write_text(
            f"user_name={self.name}\nuser_domain=example.com\nauth_name={self.name}\n"
            f"auth_pass=pw-{self.name}\noutbound_proxy={host}:{port}\nuse_outbound_proxy=yes\n"
            f"all_requests_to_proxy=yes\nregistrar={host}:{port}\nregister_at_startup=yes\n"
            f"registration_time=600\nsip_transport={self.transport}\npres_publication_time=600\n"
            "pres_subscription_time=600\n"
            f"pres_publish_startup={'yes' if what == 'publish' else 'no'}\n"
        )
        (home / "twinkle.sys").write_text(
            "dev_ringtone=/dev/null\ndev_speaker=/dev/null\ndev_mic=/dev/null\n"
            f"sip_port={self.port}\nsip_udp_port={self.port}\nrtp_port={free_port() // 2 * 2}\n"
            f"start_user_profile={self.name}\n"
        )
        if what == "watch":
            (home / f"{self.name}.bud").write_text(f"{word}|sip:{word}@example.com|y\n")

    async def start(self, what: str, word: str) -> None:
        """`what` is watch or publish, `word` whom or what."""
        command = self.command(what, word)
        self.terminal, there = pty.openpty()  # a terminal, or the programs for people do nothing
        self.process = await asyncio.create_subprocess_exec(
            *command,
            stdin=there,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            env={**os.environ, "HOME": str(self.folder), "TERM": "dumb"},
        )
        os.close(there)
        self.reader = asyncio.create_task(self.read_output())

    async def read_output(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        while chunk := await self.process.stdout.read(4096):
            self.output += chunk.decode("utf-8", "replace")
            self.news.set()

    async def wait_for(self, pattern: str, seconds: float) -> None:
        """Until it has printed what fits; what was printed before that does not count again."""
        try:
            async with asyncio.timeout(seconds):
                while (found := re.search(pattern, self.output)) is None:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            seen = self.output[-1500:]
            raise ActorFailed(f"{self.client} never printed {pattern!r}: {seen}") from None
        self.output = self.output[found.end() :]

    async def stop(self) -> None:
        if self.process is not None:
            await end(self.process, PHONE_STOP_SECONDS)
        if self.reader is not None:
            await self.reader
        if self.terminal is not None:
            os.close(self.terminal)
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    @functools.cache
    def version(cls, client: str) -> str:
        import subprocess

        if client == "pjsua":
            return importlib.metadata.version("pjsua2-python")
        command = ["dpkg-query", "-W", "-f", "${Version}", cls.PACKAGES.get(client, client)]
        if client in OLD:
            ask = (
                f"import importlib.metadata; print(importlib.metadata.version({client!r}), end='')"
            )
            command = [cls.python(client), "-c", ask]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        return told.stdout or "unknown"


async def run_sipp(
    scenario: str,
    server: tuple[str, int],
    transport: str,
    calls: int,
    rate: int,
    address: str = "127.0.0.1",
) -> None:
    """One SIPp scenario to its end, from an address; ActorFailed with SIPp's own words if a call failed."""
    with tempfile.TemporaryDirectory(prefix="sipbridge-sipp-") as folder:
        command = [
            "sipp",
            f"{server[0]}:{server[1]}",
            "-sf",
            str(HERE / "sipp" / f"{scenario}.xml"),
        ]
        command += ["-key", "domain", "example.com", "-i", address]
        command += ["-t", "t1" if transport == "tcp" else "u1", "-m", str(calls), "-r", str(rate)]
        command += ["-nostdin", "-timeout", "20s", "-timeout_error", "-trace_err"]
        command += ["-error_file", f"{folder}/errors"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 30)
        finally:
            await end(process)
        if process.returncode != 0:
            seen = sipp_words(Path(folder, "errors"), output)
            raise ActorFailed(f"SIPp {scenario} ended with {process.returncode}: {seen}")


class SippServer:
    """SIPp as a server: it plays one of `sipp/`, each new Call-ID from the beginning, for so many calls."""

    def __init__(self, scenario: str, transport: str, calls: int) -> None:
        self.scenario, self.transport, self.calls = scenario, transport, calls
        self.folder = Path(tempfile.mkdtemp(prefix="sipbridge-sipp-"))
        self.port = free_port()
        self.process: Process | None = None
        self.output = ""
        """What it had to say in the end."""

    async def start(self) -> None:
        command = ["sipp", "-sf", str(HERE / "sipp" / f"{self.scenario}.xml"), "-i", "127.0.0.1"]
        command += ["-p", str(self.port), "-t", "t1" if self.transport == "tcp" else "u1"]
        command += ["-m", str(self.calls), "-nostdin", "-timeout", "40s", "-timeout_error"]
        command += ["-trace_err", "-error_file", str(self.folder / "errors")]
        with (self.folder / "screen").open("wb") as screen:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.folder,
                stdin=DEVNULL,
                stdout=screen,
                stderr=STDOUT,
                start_new_session=True,
            )
        for _ in range(int(START_SECONDS / 0.05)):
            if self.process.returncode is not None:
                raise ActorFailed(f"SIPp {self.scenario} did not start: {self.words()}")
            if self.listens():
                return
            await asyncio.sleep(0.05)
        raise ActorFailed(f"SIPp {self.scenario} does not listen")

    def listens(self) -> bool:
        table = Path(f"/proc/net/{self.transport}").read_text()
        return f":{self.port:04X} 00000000:0000" in table

    async def done(self) -> None:
        """All calls came to their end; ActorFailed with SIPp's own words if one did not."""
        assert self.process is not None
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            raise ActorFailed(f"SIPp {self.scenario} waits for more: {self.words()}") from None
        if self.process.returncode != 0:
            raise ActorFailed(f"SIPp {self.scenario}: {self.words()}")

    def words(self) -> str:
        return sipp_words(self.folder / "errors", (self.folder / "screen").read_bytes())

    async def stop(self) -> None:
        if self.process is not None:
            await end(self.process)
            self.output = self.words()
        shutil.rmtree(self.folder, ignore_errors=True)


class OldServer:
    """A presence server made with one of the OLD libraries, `clients/…_server.py`."""

    def __init__(self, client: str, transport: str) -> None:
        self.client, self.transport = client, transport
        self.port = free_port()
        self.process: Process | None = None
        self.output = ""
        """What it had to say in the end."""

    async def start(self) -> None:
        script = str(HERE / "clients" / f"{self.client}_server.py")
        self.process = await asyncio.create_subprocess_exec(
            DeskPhone.python(self.client),
            script,
            "127.0.0.1",
            str(self.port),
            self.transport,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), START_SECONDS)
        if line.strip() != b"listening":
            raise ActorFailed(f"{self.client} does not serve: {line.decode()}")

    async def stop(self) -> None:
        if self.process is not None:
            await end(self.process)
            assert self.process.stdout is not None
            self.output = (await self.process.stdout.read()).decode("utf-8", "replace")[-1500:]


def sipp_words(errors: Path, output: bytes) -> str:
    """What SIPp said went wrong: its error file, or the end of its screen."""
    return (
        errors.read_text(errors="replace")[-1500:]
        if errors.exists()
        else output.decode(errors="replace")[-1500:]
    )


@functools.cache
def sipp_version() -> str:
    import subprocess

    text = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"SIPp v(\S+?)[,-]", text)
    return found[1] if found else "unknown"


__all__ = ["ActorFailed", "Application", "Baresip", "Bridge", "Kamailio", "Message", "Talker"]
