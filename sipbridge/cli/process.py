"""What this process runs on: the event loop, and how often it looks for garbage.

uvloop moves twice the datagrams of asyncio's own loop; it is used wherever it is installed.

Python frees nearly everything by counting references; its collector only looks for cycles. It goes over the
youngest objects every 700 allocations by default, and a message leaves some behind for 32 seconds (its
transaction), so a busy bridge would spend much of its time looking at objects that are in use.
"""

import asyncio
import gc
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

YOUNG, MIDDLE, OLD = 20_000, 10, 2
"""New objects between two looks at the young (one takes about a millisecond); every tenth look also takes
the middle-aged. Everything is looked at when 400,000 have come since, and a quarter of what is old: seldom,
because it takes half a second where ten thousand subscriptions live, but often enough for what has ended."""


def run(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end on the best loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def settle_memory() -> None:
    """The process is up: what is here now stays, and is not looked at again by the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
