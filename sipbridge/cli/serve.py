"""`sipbridge serve`: the bridge in the foreground until SIGTERM or SIGINT, or until it has lost its state.

The signals end it at any time, also while it is a standby that waits for its turn.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

from sipbridge.app.lifecycle import ready_line, running
from sipbridge.app.settings import Settings, load
from sipbridge.cli.process import settle_memory


async def run(config: Path | None, overrides: Mapping[str, object]) -> int:
    """Serve until a signal; returns the exit status. Raises ConfigurationError and StoreError."""
    settings = load(config, overrides)
    loop = asyncio.get_running_loop()
    serving = loop.create_task(serve(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, serving)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return 0


def stop(serving: "asyncio.Task[None]") -> None:
    """Once: a second signal does not interrupt the goodbyes of the first."""
    if not serving.cancelling():
        serving.cancel()


async def serve(settings: Settings) -> None:
    """Serve until cancelled. Raises StoreError when another process takes the state over."""
    async with running(settings) as bridge:
        settle_memory()
        print(ready_line(bridge), flush=True)
        raise await bridge.failure()
