"""What changes of contracts, on disk: appended with each commit, and now and then put beside the records.

Every notification changes the state of its contract, and contracts lie anywhere in their table. So a commit
adds all states it changes as one row to `states`; when these hold `FOLD_AT`, the newest of each contract goes
into the contract's own row, all in one transaction. The newest are at hand in memory too, so nothing is read
for that; after a transaction that was taken back they are read anew. To read is to lay one over the other:
record, its state if it has one, what was added since, in order.

A contract that begins adds its first state too, so that what a forgotten one of the same name left behind
does not count.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from sipbridge.gateway.ports import ContractRecord, ContractState

FOLD_AT = 2_000
"""States: half a megabyte, put beside their records in a few hundredths of a second."""

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(list[ContractState]).decode
decode_one = msgspec.json.Decoder(ContractState).decode
decode_record = msgspec.json.Decoder(ContractRecord).decode


Key = tuple[str, str]
"""Application and correlator of a contract."""


class States:
    """Lives in the thread of the database."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.waiting = 0
        """States that are not folded yet."""
        self.newest: dict[Key, str] | None = None
        """Of each contract that has one, as text; None: the database knows."""
        self.read(db)

    def read(self, db: sqlite3.Connection) -> dict[Key, str]:
        (self.waiting,) = db.execute("SELECT coalesce(sum(amount), 0) FROM states").fetchone()
        newest = {key: encode(state).decode() for key, state in added(db).items()}
        self.newest = newest
        return newest

    def forget(self) -> None:
        """A transaction was taken back: what is in memory may be more, or less, than what is on disk."""
        self.newest = None

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
        newest = self.read(db) if self.newest is None else self.newest
        texts = [encode(state).decode() for state in states]
        db.execute(
            "INSERT INTO states (amount, states) VALUES (?, ?)",
            (len(states), f"[{','.join(texts)}]"),
        )
        for state, text in zip(states, texts, strict=True):
            newest[state.application, state.correlator] = text
        self.waiting += len(states)
        if self.waiting >= FOLD_AT:
            self.fold(db)

    def fold(self, db: sqlite3.Connection) -> None:
        """Put the newest states beside their records. A contract that is gone is not brought back."""
        newest = self.read(db) if self.newest is None else self.newest
        db.executemany(
            "UPDATE contracts SET state = ? WHERE application = ? AND correlator = ?",
            [(text, *key) for key, text in sorted(newest.items())],
        )
        db.execute("DELETE FROM states")
        newest.clear()
        self.waiting = 0


def added(db: sqlite3.Connection) -> dict[Key, ContractState]:
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
