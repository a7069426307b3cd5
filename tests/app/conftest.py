"""Whatever a bridge sets up for the whole process is put back; silent servers are not waited for long."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from sipbridge.app import network


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def silent_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most presence servers made by hand never tell who watches."""
    monkeypatch.setattr(network, "LIST_SECONDS", 0.1)
