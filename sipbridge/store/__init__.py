"""What survives a restart. `open` picks the implementation by URL."""

import os
from collections.abc import Mapping
from pathlib import Path

from sipbridge.errors import ConfigurationError
from sipbridge.store.surface import Snapshot, SnapshotRemoved, Store

__all__ = ["Snapshot", "SnapshotRemoved", "Store", "open", "path_of"]


def open(url: str, *, directory: Path, synchronous: str = "full") -> Store:
    """The store behind `url`, ready for use. Call it inside the event loop that will use it.

    url: "", "memory://", "sqlite:///relative.db" (to `directory`) or "sqlite:////absolute.db".
    synchronous: "full" or "normal". Raises ConfigurationError for a URL nobody knows, StoreUnavailable when
    the file cannot be opened or another process uses it.
    """
    if url == "memory://":
        from sipbridge.store.memory import MemoryStore

        return MemoryStore()
    from sipbridge.store.sqlite import SqliteStore

    return SqliteStore(path_of(url, directory), synchronous=synchronous)


def path_of(url: str, directory: Path, environ: Mapping[str, str] | None = None) -> Path:
    """The file that a URL other than memory:// means.

    "" is `state.db` in the first of $STATE_DIRECTORY (systemd), $XDG_STATE_HOME/sipbridge and
    ~/.local/state/sipbridge.
    """
    if not url:
        return state_directory(os.environ if environ is None else environ) / "state.db"
    scheme, found, path = url.partition(":///")
    if scheme != "sqlite" or not found or not path:
        raise ConfigurationError("store.url", f"{url!r} is not memory:// or sqlite:///path")
    return directory / path


def state_directory(environ: Mapping[str, str]) -> Path:
    # systemd separates several directories with colons; the first is ours.
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    home = environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "sipbridge"
