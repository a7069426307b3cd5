"""Calls the command as a shell would, in this process."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sipbridge.cli import main


@dataclass(frozen=True, slots=True)
class Result:
    """What a call left behind."""

    status: int
    out: str
    err: str


Shell = Callable[..., Result]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """`shell("decode", "-", stdin=b"…")`."""

    def call(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capsys.readouterr()
        status = main(list(arguments))
        out, err = capsys.readouterr()
        return Result(status, out, err)

    return call
