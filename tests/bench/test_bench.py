"""The benchmarks run: every part of the harness does its work in seconds, and the arithmetic is right."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import fanout, soak
from bench.__main__ import BENCHMARKS, main
from bench.measure import Stalled, cpu_seconds, figure, memory_megabytes, quantile, speed_ratio
from bench.wheel import HttpConnection, Wheel, ask_all


@pytest.mark.parametrize("name", [n for n in BENCHMARKS if n not in ("agent", "fanout")])
def test_each_benchmark_makes_figures_with_a_limit(name: str, tmp_path: Path) -> None:
    output = tmp_path / "latest.json"
    assert main(["--quick", "--only", name, "--output", str(output)]) == 0
    told = json.loads(output.read_text())
    assert told["quick"] is True
    assert told["figures"]
    for one in told["figures"]:
        assert one["value"] > 0
        assert one["limits"], one["name"]
        assert one["met"] is None, "a quick run judges nothing"


def test_the_agent_is_measured_beside_kamailio(tmp_path: Path) -> None:
    output = tmp_path / "latest.json"
    assert main(["--quick", "--only", "agent", "--output", str(output)]) == 0
    rows = {one["name"]: one for one in json.loads(output.read_text())["figures"]}
    assert len(rows) == 2
    for one in rows.values():
        assert one["value"] > 0
        if shutil.which("kamailio") is None:
            assert "kamailio is not installed" in one["note"]
        else:
            assert set(one["limits"]) == {"Kamailio db_sqlite", "Kamailio db_text"}


def test_fan_out_is_measured_beside_faye(tmp_path: Path) -> None:
    output = tmp_path / "latest.json"
    assert main(["--quick", "--only", "fanout", "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["figures"]
    assert [one["name"] for one in rows] == [
        f"statusChanged → {size} by {kind}"
        for kind in ("WebSocket", "long-polling")
        for size in (1, 10)
    ]
    for one in rows:
        assert one["value"] > 0
        assert one["limits"] or "without faye" in one["note"]


def test_without_node_the_bridge_is_measured_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(fanout, "KINDS", {"WebSocket": fanout.KINDS["WebSocket"]})
    output = tmp_path / "latest.json"
    assert main(["--quick", "--only", "fanout", "--output", str(output)]) == 0
    for one in json.loads(output.read_text())["figures"]:
        assert one["limits"] == {}
        assert "without faye: node is not installed" in one["note"]


def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    arguments = ["--minutes", "0.03", "--subscriptions", "50", "--rate", "200"]
    assert soak.main([*arguments, "--output", str(output)]) == 0
    told = json.loads(output.read_text())
    assert told["notifies"] == told["status_changed"] == 360
    assert told["lost"] == told["unanswered"] == told["refused"] == 0
    assert told["flat"] is None, "too short to judge"
    assert told["blocks"][0] > 10_000


def soaked(blocks: Callable[[float], float], rss: Callable[[float], float]) -> soak.Samples:
    """Five minutes of samples."""
    samples = soak.Samples(0.0)
    for at in map(float, range(0, 300, 5)):
        samples.seconds.append(at)
        samples.rss.append(rss(at))
        samples.blocks.append((at, blocks(at)))
    return samples


def test_growing_memory_is_not_flat() -> None:
    def warms_up(at: float) -> float:
        return min(at, 40.0)

    def judged(blocks: Callable[[float], float], rss: Callable[[float], float]) -> list[bool]:
        growth = soaked(blocks, rss).growth()
        assert growth is not None
        return [part < soak.FLAT for part in growth]

    def flat(at: float) -> float:
        return 3e6 + 1e4 * warms_up(at)

    assert judged(flat, lambda at: 280 + warms_up(at)) == [True, True]
    assert judged(flat, lambda at: 320.0 if at < 180 else 324.0) == [True, True], "a step"
    assert judged(lambda at: 3e6 + 600 * at, lambda at: 320.0) == [False, True], "a leak of objects"
    assert judged(flat, lambda at: 320 + at / 12) == [True, False], "a leak below Python"


def test_a_soak_that_is_too_short_does_not_judge_memory() -> None:
    samples = soaked(lambda at: 3e6, lambda at: 320.0)
    samples.blocks = samples.blocks[:12]
    assert samples.growth() is None


def test_a_ratio_above_one_is_faster_whatever_the_unit() -> None:
    assert speed_ratio("messages/CPU-s", 200.0, 100.0) == 2.0
    assert speed_ratio("CPU-ms", 0.1, 0.2) == 2.0


def test_a_figure_is_the_median_and_so_is_its_ratio() -> None:
    told = figure("x", "CPU-ms", [1.0, 9.0, 2.0], {"bare": [0.5, 0.9, 0.5]})
    assert told.value == 2.0
    value, ratio = told.limits["bare"]
    assert (value, ratio) == (0.5, 0.25)


def test_cpu_time_counts_living_descendants() -> None:
    child = "import os\nif os.fork() == 0:\n  x = 0\n  while x < 10**7: x += 1\n  print('burnt', flush=True)"
    child += "\nimport sys; sys.stdin.read()"
    before = cpu_seconds(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        burnt = cpu_seconds(process.pid)
        assert burnt >= 0.1
        assert cpu_seconds(os.getpid()) - before >= burnt - 0.005  # half a tick: these are floats
    rss, pss = memory_megabytes(os.getpid())
    assert rss >= pss > 1


def test_quantile_of_few() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0


def test_a_silent_peer_ends_the_wait() -> None:
    wheel = Wheel()
    began = time.monotonic()
    with pytest.raises(Stalled, match="no answer"):
        wheel.until(lambda: False, 0.1)
    assert time.monotonic() - began < 5
    wheel.close()


def test_a_refused_call_is_no_result() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno")
                peer.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        wheel = Wheel()
        connection = HttpConnection(wheel, listener.getsockname())
        with pytest.raises(Stalled, match="HTTP 503 no"):
            ask_all(wheel, [connection], [b"GET / HTTP/1.1\r\n\r\n"], 204)
        wheel.close()
        thread.join()
