"""`sipbridge serve`: the bridge in the foreground until SIGTERM or SIGINT."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from sipbridge.app.lifecycle import ready_line, running
from sipbridge.app.settings import load
from sipbridge.cli.process import settle_memory


async def run(config: Path | None, overrides: Mapping[str, object]) -> int:
    """Serve until a signal; returns the exit status. Raises ConfigurationError and StoreError."""
    settings = load(config, overrides)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as bridge:
        settle_memory()
        print(ready_line(bridge), flush=True)
        await stop.wait()
    return 0
