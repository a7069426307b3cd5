"""The tables, as numbered steps.

A database carries the number of the last step it went through in `PRAGMA user_version`. Steps are only
ever added; a step that was released is never edited. Each runs in one transaction together with its
number, so a crash in between leaves the database at the step before. A database from a newer version is
refused: reading it would lose what we do not know.

Records are JSON texts beside the columns they are found by, so a new optional field of a record needs no
step.
"""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from itertools import groupby

import msgspec

from sipbridge.errors import StoreUnavailable

Statement = str | Callable[[sqlite3.Connection], None]
"""SQL, or what SQL cannot say."""
Steps = tuple[tuple[Statement, ...], ...]

PAGE = 100
"""Entries of the old log that become one row of the new one."""


def log_to_pages(db: sqlite3.Connection) -> None:
    """The rows of the old log, each of which was one entry, as pages of the new one."""
    rows = db.execute(
        "SELECT application, sequence, at, endpoint, kind, data, supersedes, trace, granted FROM log"
        " ORDER BY application, sequence"
    )
    for application, entries in groupby(rows, lambda row: row[0]):
        page: list[object] = []
        for _, sequence, at, endpoint, kind, data, supersedes, trace, granted in entries:
            notification = {
                "application": application,
                "endpoint": endpoint,
                "kind": kind,
                "data": data,
                "supersedes": supersedes,
                "trace": trace,
                "grant": msgspec.json.decode(granted),
            }
            moment = datetime.fromisoformat(at)
            page.append({"sequence": sequence, "at": moment, "notification": notification})
            if len(page) == PAGE:
                put_page(db, application, sequence, page)
                page = []
        if page:
            put_page(db, application, sequence, page)


def put_page(db: sqlite3.Connection, application: str, last: int, page: list[object]) -> None:
    db.execute(
        "INSERT INTO pages (application, last, entries) VALUES (?, ?, ?)",
        (application, last, msgspec.msgpack.encode(page)),
    )


STEPS: Steps = (
    (
        # 1: the first tables
        (
            "CREATE TABLE rules (presentity TEXT PRIMARY KEY, version INTEGER NOT NULL,"
            " rules TEXT NOT NULL, denied TEXT NOT NULL)"
        ),
        (
            "CREATE TABLE subscriptions (application TEXT, watcher TEXT, presentity TEXT,"
            " record TEXT NOT NULL, PRIMARY KEY (application, watcher, presentity))"
        ),
        (
            "CREATE TABLE contracts (application TEXT, correlator TEXT, record TEXT NOT NULL,"
            " PRIMARY KEY (application, correlator))"
        ),
        (
            "CREATE TABLE published (application TEXT, presentity TEXT, record TEXT NOT NULL,"
            " PRIMARY KEY (application, presentity))"
        ),
        "CREATE TABLE agent (kind TEXT, id TEXT, record TEXT NOT NULL, PRIMARY KEY (kind, id))",
        (
            "CREATE TABLE snapshots (kind TEXT, key TEXT, text TEXT NOT NULL, PRIMARY KEY (kind, key))"
            " WITHOUT ROWID"
        ),
        (
            "CREATE TABLE log (application TEXT, sequence INTEGER, at TEXT NOT NULL, endpoint TEXT NOT NULL,"
            " kind TEXT NOT NULL, data BLOB NOT NULL, supersedes TEXT NOT NULL, trace TEXT NOT NULL,"
            " PRIMARY KEY (application, sequence))"
        ),
        "CREATE TABLE sequences (application TEXT PRIMARY KEY, reserved INTEGER NOT NULL)",
    ),
    (
        # 2: what an entry of the log was sent under
        "ALTER TABLE log ADD COLUMN granted TEXT NOT NULL DEFAULT 'null'",
    ),
    (
        # 3: the log in pages, one for each commit; what changes of contracts beside their records
        (
            "CREATE TABLE pages (id INTEGER PRIMARY KEY, application TEXT NOT NULL,"
            " last INTEGER NOT NULL, entries BLOB NOT NULL)"
        ),
        log_to_pages,
        "DROP TABLE log",
        "ALTER TABLE contracts ADD COLUMN state TEXT",
        "CREATE TABLE states (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, states TEXT NOT NULL)",
    ),
)


def migrate(connection: sqlite3.Connection, steps: Steps = STEPS) -> tuple[int, int]:
    """Bring the database up to date; returns the step it was at and the step it is at."""
    (before,) = connection.execute("PRAGMA user_version").fetchone()
    if before > len(steps):
        raise StoreUnavailable(
            f"the database is at step {before}, this version knows {len(steps)}: it is older"
        )
    for number, statements in enumerate(steps[before:], before + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                if isinstance(statement, str):
                    connection.execute(statement)
                else:
                    statement(connection)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return before, len(steps)
