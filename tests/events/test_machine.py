from enum import StrEnum

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.events import notifier, publisher, subscriber
from sipbridge.events.machine import step


class Lamp(StrEnum):
    ON = "on"
    OFF = "off"


class Switch(StrEnum):
    PUSH = "push"
    BREAK = "break"


TABLE = {(Lamp.ON, Switch.PUSH): Lamp.OFF, (Lamp.OFF, Switch.PUSH): Lamp.ON}


def test_a_cell_of_the_table_is_the_next_state() -> None:
    assert step(TABLE, Lamp.ON, Switch.PUSH) is Lamp.OFF


def test_an_empty_cell_is_an_error_that_names_both() -> None:
    with pytest.raises(LocalProtocolError, match="break while on"):
        step(TABLE, Lamp.ON, Switch.BREAK)


def reachable(table: dict[tuple[StrEnum, StrEnum], StrEnum], start: StrEnum) -> set[StrEnum]:
    seen, more = {start}, [start]
    while more:
        here = more.pop()
        for (state, _), after in table.items():
            if state is here and after not in seen:
                seen.add(after)
                more.append(after)
    return seen


@pytest.mark.parametrize(
    ("table", "states", "start", "end"),
    [
        (
            subscriber.NEXT,
            subscriber.State,
            subscriber.State.NOTIFY_WAIT,
            subscriber.State.TERMINATED,
        ),
        (publisher.NEXT, publisher.State, publisher.State.SENDING, publisher.State.REMOVED),
        (notifier.NEXT, notifier.State, notifier.State.INIT, notifier.State.TERMINATED),
    ],
    ids=["subscriber", "publisher", "notifier"],
)
def test_every_state_can_be_reached_and_left_for_the_end(
    table: dict[tuple[StrEnum, StrEnum], StrEnum],
    states: type[StrEnum],
    start: StrEnum,
    end: StrEnum,
) -> None:
    assert reachable(table, start) == set(states)
    for state in states:
        assert end in reachable(table, state)


@pytest.mark.parametrize(
    ("table", "inputs"),
    [
        (subscriber.NEXT, subscriber.Input),
        (publisher.NEXT, publisher.Input),
        (notifier.NEXT, notifier.Input),
    ],
    ids=["subscriber", "publisher", "notifier"],
)
def test_every_input_is_somewhere_in_its_table(
    table: dict[tuple[StrEnum, StrEnum], StrEnum], inputs: type[StrEnum]
) -> None:
    assert {happened for _, happened in table} == set(inputs)
