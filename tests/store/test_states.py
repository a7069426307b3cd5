"""States of contracts: appended, folded, read; what one of the same name left behind does not count."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.gateway.ports import ContractRecord, ContractState
from sipbridge.identities import PresentityKey
from sipbridge.store import states
from sipbridge.store.migrate import migrate
from sipbridge.store.states import States

AT = datetime(2026, 3, 1, tzinfo=UTC)
ALICE, BOB = PresentityKey("sip:alice@example.com"), PresentityKey("sip:bob@example.com")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = opened()
    yield connection
    connection.close()


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return connection


def contract(correlator: str, remaining: int | None = None) -> ContractRecord:
    return ContractRecord(
        "app", BOB, correlator, ALICE, ALICE, ("Activity",), "/x", 0.0, remaining, None, True, AT
    )


def state(correlator: str, number: int) -> ContractState:
    at = AT + timedelta(seconds=number)
    return ContractState("app", correlator, at, number, {ALICE: {"Activity": f"{number:x}"}})


def test_a_new_contract_does_not_inherit_from_one_of_its_name(db: sqlite3.Connection) -> None:
    kept = States(db)
    assert kept.begin(db, contract("a", 9))
    kept.add(db, [state("a", 3)])
    db.execute("DELETE FROM contracts")
    kept.add(db, [state("a", 2)])  # late
    assert states.read(db) == []
    assert kept.begin(db, contract("a", 5))
    assert states.read(db) == [contract("a", 5)]
    assert not kept.begin(db, contract("a", 7))
    assert states.read(db) == [contract("a", 5)]


def test_folded_or_not_the_newest_state_counts(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "FOLD_AT", 7)
    kept = States(db)
    for name in "ab":
        kept.begin(db, contract(name))
    longest = 0
    for number in range(1, 40):
        kept.add(db, [state("a", number), state("gone", number)])
        (rows,) = db.execute("SELECT count(*) FROM states").fetchone()
        longest = max(longest, rows)
        assert states.read(db) == [state("a", number).applied(contract("a")), contract("b")]
        assert States(db).waiting == kept.waiting
    assert longest <= 7
    assert db.execute("SELECT state IS NULL FROM contracts").fetchall() == [(0,), (0,)]


@given(
    st.lists(
        st.sampled_from(
            ["begin a", "begin b", "end a", "add a", "add b", "fold", "lose a", "lose fold"]
        )
    )
)
def test_what_is_read_is_what_a_dictionary_would_hold(steps: list[str]) -> None:
    db = opened()
    kept, held = States(db), dict[str, ContractRecord]()
    for number, step in enumerate(steps):
        what, _, name = step.partition(" ")
        if what == "begin" and kept.begin(db, contract(name)):
            held[name] = contract(name)
        elif what == "end":
            db.execute("DELETE FROM contracts WHERE correlator = ?", (name,))
            held.pop(name, None)
        elif what == "add":
            kept.add(db, [state(name, number)])
            if name in held:
                held[name] = state(name, number).applied(held[name])
        elif what == "fold":
            kept.fold(db)
        elif what == "lose":
            db.execute("BEGIN")
            if name == "fold":
                kept.fold(db)
            else:
                kept.add(db, [state(name, number)])
            kept.forget()
            db.execute("ROLLBACK")
        assert {r.correlator: r for r in states.read(db)} == held
    db.close()


def test_an_applied_state_changes_only_what_a_contract_changes() -> None:
    now = state("a", 4).applied(contract("a"))
    told = ((ALICE, (("Activity", "4"),)),)
    assert now == replace(contract("a"), sent=AT + timedelta(seconds=4), remaining=4, told=told)
