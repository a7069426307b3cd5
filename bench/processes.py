"""What is measured, as processes: the bridge, bare loops, Kamailio. Each is stopped by who started it."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from bench.measure import Skipped, Stalled

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 15.0
DOMAIN = "example.com"


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we started."""
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Bridge:
    """`sipbridge serve` on free loopback ports."""

    def __init__(self, process: "subprocess.Popen[bytes]", ready: dict[str, Any]) -> None:
        self.process = process
        self.pid = process.pid
        host, port = ready["http"].rpartition("/")[2].rsplit(":", 1)
        self.http = (host, int(port))
        self.sip = ("127.0.0.1", int(ready["sip"][0].rpartition(":")[2]))

    def request(self, application: str, method: str, path: str, body: object = None) -> bytes:
        """An HTTP request with the application's credentials, ready to send."""
        token = base64.b64encode(f"{application}:secret".encode()).decode()
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.http[0]}:{self.http[1]}\r\n"
            f"Authorization: Basic {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload


@contextlib.contextmanager
def bridge(
    *,
    next_hop: tuple[str, int] | None = None,
    store: str = "sqlite:///state.db",
    applications: int = 1,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Bridge]:
    """A bridge in remote mode towards `next_hop`, or with its embedded agent."""
    folder = Path(tempfile.mkdtemp(prefix="sipbridge-bench-"))
    tree: dict[str, object] = {
        "http": {"port": 0},
        "sip": {"listen": ["udp:127.0.0.1:0"], "domain": DOMAIN},
        "store": {"url": store},
        "agent": {"sub_handling": "allow"},
        "log": {"level": "error"},
        "applications": [
            {"id": f"app_{n}", "password": "secret", "uri": f"sip:app{n}@{DOMAIN}"}
            for n in range(applications)
        ],
        **(settings or {}),
    }
    if next_hop is not None:
        hop = f"sip:{next_hop[0]}:{next_hop[1]};transport=udp"
        tree["presence_server"] = {"mode": "remote", "next_hop": hop}
    (folder / "sipbridge.toml").write_text(tomli_w.dumps(tree))
    command = [sys.executable, "-m", "sipbridge", "serve", "-c", str(folder / "sipbridge.toml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise Stalled("the bridge did not start")
        yield Bridge(process, json.loads(line))
    finally:
        stop(process)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def bare_loop(kind: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """One of `bench.loops` as a process: its id and its address."""
    command = [sys.executable, "-m", "bench.loops", kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process.pid, ("127.0.0.1", int(process.stdout.readline()))
    finally:
        stop(process)


@contextlib.contextmanager
def kamailio(*features: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """Kamailio as a presence server with one worker: process id and address. Skipped if not installed."""
    if shutil.which("kamailio") is None:
        raise Skipped("kamailio is not installed")
    from tests.interop.actors import Kamailio

    peer = Kamailio({"workers": 1, "with": list(features)})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(peer.start(), loop).result()
        try:
            assert peer.process is not None
            yield peer.process.pid, peer.address
        finally:
            asyncio.run_coroutine_threadsafe(peer.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def environment() -> dict[str, object]:
    """What the figures were measured on."""
    model = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"python": sys.version.split()[0], "cpu": model, "cores": os.cpu_count() or 0}
