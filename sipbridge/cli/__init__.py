"""The command `sipbridge`.

Exit status: 0 done, 1 the work failed, 2 wrong usage or configuration. What machines read goes to standard
output, what people read to standard error. The commands are in `commands.py`, each fetches its work only when
it is called, so `--version` and a wrong option cost nothing.

Everything but the import of this module needs the extra `server`; without it the command says so.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence

from sipbridge.errors import ConfigurationError, SipBridgeError

NEEDED = ("typer", "pydantic", "lxml", "msgspec", "orjson", "fastapi", "structlog")
"""Of the extra `server`: enough of it to know that it is installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        complain(
            f"{missing[0]} is missing: this command needs the extra 'server';"
            " install it with: pip install 'sipbridge[server]'"
        )
        return 2
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain about it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def run(arguments: Sequence[str]) -> int:
    from sipbridge.cli.commands import app

    try:
        app(args=list(arguments), prog_name="sipbridge")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except ConfigurationError as faults:
        print(faults, file=sys.stderr)  # one line each, the full key first
        return 2
    except SipBridgeError as error:
        complain(str(error))
        return 1
    return 0


def complain(text: str) -> None:
    """One or more lines for people."""
    for line in text.splitlines():
        print(f"sipbridge: {line}", file=sys.stderr)
