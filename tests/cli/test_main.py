"""The command as a whole: exit status, streams, a missing extra, readers that go away."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sipbridge import __version__
from sipbridge.cli import main

Shell = Callable[..., Any]
COMMAND = [sys.executable, "-m", "sipbridge"]


def test_the_version_is_printed(shell: Shell) -> None:
    told = shell("--version")
    assert (told.status, told.out, told.err) == (0, f"sipbridge {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["decode", "--no-such-option"],
        ["decode", "one", "two"],
        ["check-config"],
        ["publish"],
        ["watch"],
        ["hash-password", "--ha1", "alice"],
    ],
)
def test_wrong_usage_is_2_and_keeps_standard_output_clean(
    shell: Shell, arguments: list[str]
) -> None:
    told = shell(*arguments)
    assert told.status == 2
    if arguments:
        assert told.out == ""
        assert told.err.strip()


@pytest.mark.parametrize("command", ["decode", "inspect", "map", "validate"])
def test_a_missing_file_is_2_and_one_plain_line(shell: Shell, command: str) -> None:
    told = shell(command, "/no/such/file")
    assert (told.status, told.out) == (2, "")
    assert told.err == "sipbridge: /no/such/file: No such file or directory\n"


def test_a_directory_is_no_file(shell: Shell, tmp_path: Any) -> None:
    told = shell("decode", str(tmp_path))
    assert (told.status, told.err) == (2, f"sipbridge: {tmp_path}: Is a directory\n")


def test_without_the_extra_the_command_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["--version"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'sipbridge[server]'" in err


async def run(*arguments: str) -> tuple[int | None, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out, err


async def test_it_runs_as_a_module() -> None:
    assert await run("--version") == (0, f"sipbridge {__version__}\n".encode(), b"")


async def test_a_reader_that_leaves_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "tables", "--json", stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")


async def test_the_command_starts_without_the_heavy_libraries() -> None:
    check = (
        "import sys; from sipbridge.cli import main; main(['--version']);"
        "print([n for n in ('lxml', 'fastapi', 'pydantic', 'asyncio', 'rich') if n in sys.modules])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", check, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.splitlines()[-1] == b"[]"
