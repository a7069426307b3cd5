"""Input and output of the commands: FILE or standard input in, JSON out."""

import json
import sys
from pathlib import Path

import typer

MAX_INPUT = 64 * 1024 * 1024
"""Bytes read from one file; the largest document that any limit of ours lets through has 1 MiB."""


def read_input(name: str | None) -> bytes:
    """The bytes of a file; None and "-" mean standard input. What cannot be read is wrong usage."""
    if name in (None, "-"):
        return sys.stdin.buffer.read(MAX_INPUT)
    try:
        with Path(name or "").open("rb") as file:
            return file.read(MAX_INPUT)
    except OSError as error:
        raise typer.Exit(wrong(f"{name}: {error.strerror}")) from None


def wrong(text: str) -> int:
    """Say what is wrong with the call; the exit status for it."""
    print(f"sipbridge: {text}", file=sys.stderr)
    return 2


def complain(text: str) -> None:
    """Something people should know; machine output is on standard output."""
    print(f"sipbridge: {text}", file=sys.stderr, flush=True)


def print_json(value: object, *, line: bool = False) -> None:
    """One JSON value: indented for a terminal, one line for programs or if `line` says so."""
    indent = 2 if sys.stdout.isatty() and not line else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # a terminal without UTF-8, or half a surrogate pair in the input
        text = json.dumps(value, indent=indent, default=str)
    print(text, flush=True)
