"""Tickets: for the caller that asked, once, and soon."""

from collections.abc import Mapping

import pytest

from sipbridge.gateway.caller import Caller
from sipbridge.rest import BasicAuthenticator
from sipbridge.rest.tickets import LIFETIME, MAX_TICKETS, TicketGate, Tickets, with_ticket
from tests.rest.conftest import ALICE, accounts

CALLERS = {name: account.caller for name, account in accounts().items()}


class Clock:
    time = 100.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets(clock: Clock) -> Tickets:
    return Tickets(clock.now)


def test_a_ticket_is_good_once_and_for_who_asked(tickets: Tickets) -> None:
    alice, bob = (tickets.issue(CALLERS[name]) for name in ("app_alice", "app_bob"))
    assert alice != bob
    assert tickets.use(alice) is CALLERS["app_alice"]
    assert tickets.use(alice) is None
    assert tickets.use(bob) is CALLERS["app_bob"]
    assert tickets.use("") is None and tickets.issued == {}


def test_a_ticket_is_good_for_half_a_minute(tickets: Tickets, clock: Clock) -> None:
    early, late = tickets.issue(CALLERS["app_alice"]), tickets.issue(CALLERS["app_alice"])
    clock.time += LIFETIME - 0.1
    assert tickets.use(early) is not None
    clock.time += 0.1
    assert tickets.use(late) is None


def test_whoever_collects_tickets_loses_the_oldest(tickets: Tickets) -> None:
    first = tickets.issue(CALLERS["app_alice"])
    others = [tickets.issue(CALLERS["app_alice"]) for _ in range(MAX_TICKETS)]
    assert tickets.use(first) is None
    assert tickets.use(others[0]) is not None


def test_what_is_too_old_makes_room(tickets: Tickets, clock: Clock) -> None:
    tickets.issue(CALLERS["app_alice"])
    clock.time += LIFETIME
    tickets.issue(CALLERS["app_alice"])
    assert len(tickets.issued["app_alice"]) == 1


def test_an_application_that_may_not_call_any_more_has_no_tickets(tickets: Tickets) -> None:
    ticket = tickets.issue(CALLERS["app_alice"])
    tickets.revoke("app_alice")
    assert tickets.use(ticket) is None


async def test_a_ticket_is_for_streams_and_credentials_do_as_well(tickets: Tickets) -> None:
    gate = TicketGate(tickets, BasicAuthenticator(accounts()))

    async def came(headers: Mapping[str, str], query: bytes = b"") -> Caller | None:
        return await gate(with_ticket(headers, query))

    ticket = tickets.issue(CALLERS["app_bob"])
    alice = {"authorization": ALICE["Authorization"]}
    assert await came(alice) == CALLERS["app_alice"]
    assert await came(alice, b"x=1") == CALLERS["app_alice"]
    # What the page asks for with counts, not what its browser remembers.
    assert await came(alice, f"x=1&ticket={ticket}".encode()) is CALLERS["app_bob"]
    assert await came({}, f"ticket={ticket}".encode()) is None
    assert await came(alice, b"ticket=wrong") is None
