"""The process of `serve`: the best loop there is, and a collector that leaves the living alone."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from sipbridge.cli import process


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector as it was."""
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.set_threshold(*before)
    gc.callbacks[:] = callbacks
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


class Knot:
    """It refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_lives_on_is_left_out_until_the_whole_is_looked_at() -> None:
    process.settle_memory()
    knot = Knot()
    seen = weakref.ref(knot)
    gc.collect()  # alive then, and left out from now on
    del knot
    looks = 0
    while seen() is not None and looks < 2 * process.WHOLE:
        gc.collect()
        looks += 1
    assert 1 < looks <= process.WHOLE


def test_a_knot_that_is_young_is_found_by_the_next_look() -> None:
    process.settle_memory()
    seen = weakref.ref(Knot())
    gc.collect()
    assert seen() is None
