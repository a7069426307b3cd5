"""The ladders of `ladders/`, played: over UDP and TCP as they stand, and on wires that lose and disorder.

On a bad wire nobody can say which message comes when; what counts is what everybody sees in the end.
"""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sipbridge.presence.rules import SubHandling
from sipbridge.sip.flow import Address
from tests.flows.casts import AgentBeforeAHand, AtTheAgent, Clients
from tests.flows.ladder import HERE, Cast, Ladder, Play, ladders, read
from tests.harness.pair import ALICE

CASTS: dict[str, Callable[[str], Cast]] = {
    "agent": AtTheAgent,
    "agent that asks": lambda transport: AtTheAgent(transport, SubHandling.CONFIRM),
    "clients before a hand": Clients,
    "agent before a hand": AgentBeforeAHand,
}
HAND: Address = ("192.0.2.9", 5060)


def played(ladder: Ladder, transport: str, *, twice: bool = False) -> Play:
    cast = CASTS[ladder.cast](transport)
    play = Play(cast, HAND if isinstance(cast, AgentBeforeAHand) else ALICE, twice)
    play.whole(ladder)
    return play


def name(ladder: Ladder) -> str:
    return ladder.name


OF_AN_RFC = [ladder for ladder in ladders(*CASTS) if ladder.name.startswith("rfc")]
AWKWARD = [ladder for ladder in ladders(*CASTS) if not ladder.name.startswith("rfc")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("ladder", OF_AN_RFC, ids=name)
def test_a_call_flow_of_an_rfc_is_as_it_says(ladder: Ladder, transport: str) -> None:
    played(ladder, transport)


@pytest.mark.parametrize(
    ("ladder", "transport"),
    [
        pytest.param(ladder, transport, id=f"{ladder.name}-{transport}")
        for ladder in AWKWARD
        for transport in ("udp", "tcp")
        if transport == "udp" or "-udp" not in ladder.name  # that is about what only datagrams do
    ],
)
def test_an_awkward_case_goes_as_written(ladder: Ladder, transport: str) -> None:
    played(ladder, transport)


@pytest.mark.parametrize("ladder", AWKWARD, ids=name)
def test_an_awkward_case_is_the_same_when_the_other_side_says_everything_twice(
    ladder: Ladder,
) -> None:
    played(ladder, "udp", twice=True)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ladder", OF_AN_RFC, ids=name)
def test_on_a_wire_that_loses_repeats_and_disorders_everybody_sees_the_same_in_the_end(
    ladder: Ladder, seed: int
) -> None:
    dice = random.Random(f"{ladder.name}/{seed}")
    cast = CASTS[ladder.cast]("udp")
    wire = cast.net.wire
    wire.latency = 0.01

    def chance(data: bytes) -> tuple[int, float]:
        return dice.choice([0, 1, 1, 1, 2]), dice.random() * 0.4

    wire.chance = chance
    for line in ladder.lines:
        if line.verb == "do":
            cast.do(line.text)
            cast.net.pass_seconds(40)  # so long a transaction tries at most
    wire.chance = None
    cast.net.pass_seconds(2)
    last = {line.text.partition(":")[0]: line for line in ladder.lines if line.verb == "see"}
    assert last, f"{ladder.name} does not say what anybody sees"
    for line in last.values():
        cast.see(line.text)


def test_every_ladder_has_a_cast_and_readme_names_only_those_there_are() -> None:
    assert {read(path).cast for path in HERE.glob("*.txt")} == set(CASTS)
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    named = set(re.findall(r"`((?:subscriber|publisher|agent)-[\w-]+)`", readme))
    there = {ladder.name for ladder in AWKWARD}
    assert named <= there, f"README names what is not there: {named - there}"
    assert len(OF_AN_RFC) >= 6 and len(there) >= 30
