"""What this process runs on: the event loop, and how often it looks for garbage.

uvloop moves twice the datagrams of asyncio's own loop; it is used wherever it is installed.

Python frees nearly everything by counting references; its collector only looks for cycles. It goes over the
youngest objects every 700 allocations by default, and a message leaves some behind for 32 seconds (its
transaction), so a busy bridge would spend much of its time looking at objects that are in use.
"""

import asyncio
import gc
from collections.abc import Coroutine, Mapping
from typing import TypeVar

T = TypeVar("T")

YOUNG, MIDDLE, OLD = 20_000, 10, 2
"""New objects between two looks at the young (one takes about a millisecond); every tenth look also takes
the middle-aged. All are looked at when 400,000 have come since, and a quarter of what is old."""

ALL = 2
"""The generation that is everything."""

WHOLE = 8
"""Of so many looks at all objects one really is at all: it takes half a second where ten thousand
subscriptions live. The others are at what has come since the look before."""


def run(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end on the best loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def settle_memory() -> None:
    """The process is up: what is here now stays, and is not looked at again soon by the garbage collector."""
    gc.callbacks.append(Aging())
    gc.collect()
    gc.set_threshold(YOUNG, MIDDLE, OLD)


class Aging:
    """Told by the collector when it looks: what has lived through a look at all objects is left out of the
    next ones. It is freed all the same when nothing refers to it; only cycles wait for the whole look."""

    def __init__(self) -> None:
        self.left = WHOLE

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        if info["generation"] < ALL:
            return
        if phase == "stop":
            gc.freeze()
            self.left -= 1
        elif self.left <= 0:
            gc.unfreeze()
            self.left = WHOLE
