"""The tables, as numbered steps.

A database carries the number of the last step it went through in `PRAGMA user_version`. Steps are only
ever added; a step that was released is never edited. Each runs in one transaction together with its
number, so a crash in between leaves the database at the step before. A database from a newer version is
refused: reading it would lose what we do not know.

Records are JSON texts beside the columns they are found by, so a new optional field of a record needs no
step.
"""

import sqlite3

from sipbridge.errors import StoreUnavailable

STEPS: tuple[tuple[str, ...], ...] = (
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
)


def migrate(
    connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS
) -> tuple[int, int]:
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
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return before, len(steps)
