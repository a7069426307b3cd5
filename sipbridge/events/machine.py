"""Stepping through the tables of the event machines."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from sipbridge.errors import LocalProtocolError

State = TypeVar("State", bound=StrEnum)
Input = TypeVar("Input", bound=StrEnum)


def step(table: Mapping[tuple[State, Input], State], state: State, happened: Input) -> State:
    """The next state. Raises LocalProtocolError, naming both, when the table has no such cell.

    What peers send is checked before it becomes an input, so an empty cell is a mistake on our side.
    """
    try:
        return table[state, happened]
    except KeyError:
        raise LocalProtocolError(f"{happened.value} while {state.value}") from None
