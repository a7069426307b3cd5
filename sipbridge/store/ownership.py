"""Who a state file belongs to: one row, one process.

The row names the owner (node, pid) for people, and carries a token that is the owner's alone. Every
transaction of a store begins by looking whether the token is still there (`fence`): whoever lost the file
while it was asleep, writes nothing any more, and what it would have promised is not promised.

The owner renews its heartbeat every `BEAT` seconds, from the event loop, so a loop that hangs falls silent.
Whoever else wants the file asks `claim`:

- An owner that is gone leaves no row behind, if it had the time. Else its row is taken over at once where we
  can see that its process has ended: same machine, same process namespace, and no process of that number and
  birth. Where we cannot see it (another container), a row that was silent for `SILENT` seconds counts as left
  behind.
- Everybody else is refused with `InUse`. A standby then watches the row with its own clock (`Patience`) and
  claims again when the heartbeat has not moved for its `takeover_after` seconds, even if the process still
  exists: it hangs.

The row's table is older than all numbered steps (`migrate.py`), because it says who may take them.
"""

import os
import secrets
import socket
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sipbridge.errors import StoreUnavailable

BEAT = 3.0
"""Seconds between two heartbeats; a fifth of the shortest `takeover_after` that makes sense unattended."""
SILENT = 15.0
"""Seconds after which the heartbeat of a process that we cannot see counts as stopped."""
BEATS_IN_PATIENCE = 5
"""Heartbeats that have to fail one after the other before a standby takes over."""

TABLE = (
    "CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL,"
    " node TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL, place TEXT NOT NULL,"
    " heartbeat TEXT NOT NULL)"
)
COLUMNS = "token, node, pid, born, place, heartbeat"

ours: set[str] = set()
"""Tokens of the stores that are open in this process."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The row. born: start of the process as the kernel counts it, "" unknown. heartbeat: aware UTC.

    place: where `pid` means something, the boot of a machine and a process namespace in it.
    """

    token: str
    node: str
    pid: int
    born: str
    place: str
    heartbeat: datetime

    def __str__(self) -> str:
        return f"process {self.pid} on {self.node}"

    @property
    def ended(self) -> bool:
        """Do we know that its process is not there any more?"""
        if self.place != place():
            return False
        if self.pid == os.getpid():
            return self.token not in ours
        return not exists(self.pid) or birth(self.pid) not in (None, self.born)

    def silent_for(self, at: datetime) -> float:
        """Seconds since the last heartbeat, by the wall clock."""
        return (at - self.heartbeat).total_seconds()


class InUse(StoreUnavailable):
    """Another process owns the file."""

    def __init__(self, path: Path, owner: Owner, at: datetime) -> None:
        ago = max(0.0, owner.silent_for(at))
        super().__init__(f"{path} is in use by {owner}, last heard {ago:.0f} s ago")
        self.owner = owner


class Busy(StoreUnavailable):
    """Another process holds SQLite's own lock for longer than a commit takes."""


class Lost(StoreUnavailable):
    """Another process has taken the file over."""


def identify(at: datetime) -> Owner:
    """A new owner: this process."""
    pid = os.getpid()
    return Owner(secrets.token_hex(16), socket.gethostname(), pid, birth(pid) or "", place(), at)


def owner_of(db: sqlite3.Connection) -> Owner | None:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'owner'").fetchone():
        return None
    row = db.execute(f"SELECT {COLUMNS} FROM owner").fetchone()
    if row is None:
        return None
    token, node, pid, born, where, heartbeat = row
    return Owner(token, node, pid, born, where, datetime.fromisoformat(heartbeat))


def claim(db: sqlite3.Connection, path: Path, me: Owner, given_up: Owner | None = None) -> None:
    """Make `me` the owner. Raises InUse. given_up: take it even from this one, as long as it is silent."""

    def check() -> None:
        other = owner_of(db)
        if other is not None and other != given_up and not left_behind(other, me.heartbeat):
            raise InUse(path, other, me.heartbeat)

    check()  # without a lock: whoever owns the file is not disturbed by the question
    db.execute("BEGIN IMMEDIATE")
    try:
        check()
        db.execute(TABLE)
        db.execute("DELETE FROM owner")
        db.execute(
            f"INSERT INTO owner (one, {COLUMNS}) VALUES (1, ?, ?, ?, ?, ?, ?)",
            (me.token, me.node, me.pid, me.born, me.place, me.heartbeat.isoformat()),
        )
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    ours.add(me.token)


def left_behind(owner: Owner, at: datetime) -> bool:
    return owner.ended or (owner.place != place() and owner.silent_for(at) > SILENT)


def fence(db: sqlite3.Connection, me: Owner) -> None:
    """First thing in every transaction. Raises Lost."""
    row = db.execute("SELECT token, node, pid FROM owner").fetchone()
    if row is None or row[0] != me.token:
        who = f"process {row[2]} on {row[1]}" if row else "another process"
        raise Lost(f"the state file was taken over by {who}: this process was silent for too long")


def beat(db: sqlite3.Connection, at: datetime) -> None:
    db.execute("UPDATE owner SET heartbeat = ?", (at.isoformat(),))


def release(db: sqlite3.Connection, me: Owner) -> None:
    """Leave the file to whoever comes next; nothing happens if it has come already."""
    ours.discard(me.token)
    db.execute("DELETE FROM owner WHERE token = ?", (me.token,))


class Patience:
    """A standby's watch over a silent owner, by its own clock: nobody has to agree about the time of day."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seen: Owner | None = None
        self.since = 0.0

    def over(self, owner: Owner, now: float) -> bool:
        """Has this owner not moved for so long? Asked again and again."""
        if owner != self.seen:
            self.seen, self.since = owner, now
        return now - self.since >= self.seconds


# --- processes, as far as this kernel lets us see


def place() -> str:
    """The boot of this machine and our process namespace in it; the host's name where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def birth(pid: int) -> str | None:
    """When a process started, in ticks since the boot (proc(5)); "": it has ended and is not buried yet.

    None where there is no way to know.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
