"""The process of `serve`: the best loop there is, and a collector that leaves the living alone."""

import asyncio
import gc
import sys
from collections.abc import Iterator

import pytest

from sipbridge.cli import process


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def loop_module() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_uvloop_is_used_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert process.run(loop_module()).startswith("uvloop")


def test_without_uvloop_the_standard_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert process.run(loop_module()).startswith("asyncio")


def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    kept = [[n] for n in range(1000)]
    process.settle_memory()
    assert gc.get_freeze_count() > len(kept)
    assert gc.get_threshold() == (process.YOUNG, process.MIDDLE, process.OLD)


def test_cycles_made_later_are_still_found() -> None:
    process.settle_memory()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
