"""What changes of contracts, on disk: appended with each commit, and now and then put beside the records.

Every notification changes the state of its contract, and contracts lie anywhere in their table. So a commit
adds all states it changes as one row to `states`; when these hold `FOLD_AT`, the newest of each contract goes
into the contract's own row, all in one transaction. To read is to lay one over the other: record, its state
if it has one, what was added since, in order.

A contract that begins adds its first state too, so that what a forgotten one of the same name left behind
does not count.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from sipbridge.gateway.ports import ContractRecord, ContractState

FOLD_AT = 10_000
"""States: two megabytes, read in a few hundredths of a second."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[ContractState]).decode
decode_one = msgspec.json.Decoder(ContractState).decode
decode_record = msgspec.json.Decoder(ContractRecord).decode


class States:
    """Lives in the thread of the database. `waiting`: states that are not folded yet, or a few more."""

    def __init__(self, db: sqlite3.Connection) -> None:
        (self.waiting,) = db.execute("SELECT coalesce(sum(amount), 0) FROM states").fetchone()

    def begin(self, db: sqlite3.Connection, record: ContractRecord) -> bool:
        """Add a contract; False: there is one of this name."""
        made = db.execute(
            "INSERT INTO contracts (application, correlator, record) VALUES (?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (record.application, record.correlator, encode(record).decode()),
        )
        if made.rowcount:
            self.add(db, [first(record)])
        return bool(made.rowcount)

    def add(self, db: sqlite3.Connection, states: Sequence[ContractState]) -> None:
        """Keep these, each the newest of its contract."""
        db.execute(
            "INSERT INTO states (amount, states) VALUES (?, ?)",
            (len(states), encode(states).decode()),
        )
        self.waiting += len(states)
        if self.waiting >= FOLD_AT:
            fold(db)
            self.waiting = 0


def fold(db: sqlite3.Connection) -> None:
    """Put the newest states beside their records. A contract that is gone is not brought back."""
    newest = sorted(added(db).items())
    db.executemany(
        "UPDATE contracts SET state = ? WHERE application = ? AND correlator = ?",
        [(encode(state).decode(), *key) for key, state in newest],
    )
    db.execute("DELETE FROM states")


def added(db: sqlite3.Connection) -> dict[tuple[str, str], ContractState]:
    """The newest state of each contract that has one which is not folded yet."""
    rows = db.execute("SELECT states FROM states ORDER BY id")
    return {(s.application, s.correlator): s for (text,) in rows for s in decode(text)}


def read(db: sqlite3.Connection) -> list[ContractRecord]:
    """All contracts as they are now, in the order in which they began."""
    newest = added(db)
    found = []
    for text, state in db.execute("SELECT record, state FROM contracts ORDER BY rowid"):
        record = decode_record(text)
        now = newest.get((record.application, record.correlator))
        if now is None and state is not None:
            now = decode_one(state)
        found.append(record if now is None else now.applied(record))
    return found


def first(record: ContractRecord) -> ContractState:
    """The state of a contract as its record says."""
    told = {member: dict(kinds) for member, kinds in record.told}
    return ContractState(record.application, record.correlator, record.sent, record.remaining, told)
