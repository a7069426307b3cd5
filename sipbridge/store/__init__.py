"""What survives a restart. `open` picks the implementation by URL."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from sipbridge.errors import ConfigurationError
from sipbridge.store.ownership import BEAT, BEATS_IN_PATIENCE, Busy, InUse, Owner, Patience
from sipbridge.store.surface import Snapshot, SnapshotRemoved, Store

__all__ = ["InUse", "Snapshot", "SnapshotRemoved", "Store", "open", "path_of", "wait_for"]


def open(
    url: str,
    *,
    directory: Path,
    synchronous: str = "full",
    given_up: Owner | None = None,
    beat: float = BEAT,
) -> Store:
    """The store behind `url`, ready for use. Call it inside the event loop that will use it.

    url: "", "memory://", "sqlite:///relative.db" (to `directory`) or "sqlite:////absolute.db".
    synchronous: "full" or "normal". given_up: an owner from whom the file is taken. beat: seconds between
    signs of life in the file. Raises ConfigurationError for a URL nobody knows, InUse when another process
    owns the file, StoreUnavailable when it cannot be opened.
    """
    if url == "memory://":
        from sipbridge.store.memory import MemoryStore

        return MemoryStore()
    from sipbridge.store.sqlite import SqliteStore

    path = path_of(url, directory)
    return SqliteStore(path, synchronous=synchronous, given_up=given_up, beat=beat)


async def wait_for(
    url: str,
    *,
    directory: Path,
    synchronous: str = "full",
    takeover_after: float,
    waiting: Callable[[InUse], None],
) -> Store:
    """Like `open`, but as a standby: waits until the owner has ended, or was silent for `takeover_after` s.

    `waiting` is called once for each owner that is waited for.
    """
    beat = min(BEAT, takeover_after / BEATS_IN_PATIENCE)
    patience, named, given_up = Patience(takeover_after), "", None
    while True:
        try:
            return open(
                url, directory=directory, synchronous=synchronous, given_up=given_up, beat=beat
            )
        except InUse as taken:
            if taken.owner.token != named:
                named = taken.owner.token
                waiting(taken)
            over = patience.over(taken.owner, asyncio.get_running_loop().time())
            given_up = taken.owner if over else None
        except Busy:
            given_up = None
        if given_up is None:
            await asyncio.sleep(beat / 2)


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
