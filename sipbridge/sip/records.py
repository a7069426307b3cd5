"""What is asked of DNS and what it answered, as values, and the order of servers (RFC 3403, 2782, 3263).

The core never asks DNS. It reports a `Question`, whoever drives it looks it up and hands in an `Answer`. An
answer without records says that there are none; one with a `failure` that nobody knows. Names are lower case
and without the dot at the end.

Servers of one priority share the requests by their weights (RFC 2782): those of weight 0 first in the list,
then a number from 0 to the sum of the weights picks the first whose running sum reaches it, and so on with
the rest. The random numbers are handed in.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple


class Kind(StrEnum):
    """What can be asked for; ADDRESS means A and AAAA together."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    ADDRESS = "address"


class Question(NamedTuple):
    """One thing DNS may know: "SRV of _sip._udp.example.com"."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.name}"


@dataclass(frozen=True, slots=True)
class Naptr:
    """One rule of a domain (RFC 3403 §4.1); `replacement` names its SRV records."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """One server of a service (RFC 2782). `target` "" (a lone dot): the service does not exist here."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said to one question; the one of the three that was asked for is filled.

    ttl: seconds for which it holds, also where it says that there is nothing (RFC 2308). failure: why nobody
    knows, for people ("no answer in 3 s").
    """

    naptrs: tuple[Naptr, ...] = ()
    srvs: tuple[Srv, ...] = ()
    addresses: tuple[str, ...] = ()
    ttl: float = 0.0
    failure: str = ""

    @property
    def empty(self) -> bool:
        return not (self.naptrs or self.srvs or self.addresses)


def plain_name(text: str) -> str:
    """A name as questions spell it."""
    return text.rstrip(".").lower()


def in_order(servers: Iterable[Srv], fraction: Callable[[], float]) -> Iterator[Srv]:
    """Servers as they are to be tried; `fraction` gives numbers in [0, 1)."""
    by_priority = sorted(servers, key=lambda one: one.priority)
    for _, group in groupby(by_priority, key=lambda one: one.priority):
        equals = sorted(group, key=lambda one: one.weight)  # stable, and weight 0 comes first
        while len(equals) > 1:
            yield equals.pop(drawn([one.weight for one in equals], fraction()))
        yield from equals


def drawn(weights: list[int], fraction: float) -> int:
    """The place of the one that a random number picks."""
    wanted = int(fraction * (sum(weights) + 1))
    running = 0
    for place, weight in enumerate(weights):
        running += weight
        if running >= wanted:
            return place
    return len(weights) - 1
