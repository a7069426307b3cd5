"""Requests that prove nobody: what is told of them, and what is not."""

import base64
from collections.abc import Iterator, Mapping

import pytest

from sipbridge.gateway.caller import Caller
from sipbridge.rest.attempts import SERVED, Attempt, told, told_token
from sipbridge.rest.exchange import TRACE
from sipbridge.rest.faults import Refused
from sipbridge.rest.security import BasicAuthenticator, nobody
from sipbridge.rest.tickets import TicketGate, Tickets, with_ticket
from sipbridge.rest.tokens import BearerAuthenticator, Tokens
from tests.rest.conftest import accounts, basic


@pytest.fixture
def scope() -> Iterator[dict[str, object]]:
    """The request that is being served."""
    made: dict[str, object] = {
        "path": "/rest/presence/ü",
        "raw_path": b"/rest/presence/%C3%BC",
        "client": ("192.0.2.1", 4711),
        TRACE: "t-1",
    }
    before = SERVED.set(made)
    yield made
    SERVED.reset(before)


async def attempts(headers: Mapping[str, str], header: str = "") -> list[Attempt]:
    heard: list[Attempt] = []
    assert await told(nobody, heard.append, header=header)(headers) is None
    return heard


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.usefixtures("scope")
async def test_the_user_the_address_the_path_and_the_id_are_told() -> None:
    heard: list[Attempt] = []
    authenticate = told(BasicAuthenticator(accounts()), heard.append)
    wrong = {"authorization": basic("app_alice", "wrong")["Authorization"]}
    assert await authenticate(wrong) is None
    good = {"authorization": basic("app_alice", "secret")["Authorization"]}
    assert await authenticate(good) is not None
    assert heard == [
        Attempt("wrong user or password", "app_alice", "192.0.2.1", "/rest/presence/%C3%BC", "t-1")
    ]


@pytest.mark.parametrize(
    ("value", "reason", "user"),
    [
        ("", "no credentials", ""),
        ("Basic " + encoded(b"bob:x"), "wrong user or password", "bob"),
        ("basic " + encoded(b"bob:"), "wrong user or password", "bob"),
        ("Basic " + encoded(b"a-secret-alone"), "not user:password in base64", ""),
        ("Basic bob:secret", "not user:password in base64", ""),
        ("Bearer abc.def.ghi", "token not accepted", ""),
        ("Ticket abc", "ticket used, too old or unknown", ""),
        ('Digest username="bob"', "neither Basic nor Bearer", ""),
    ],
)
async def test_what_was_wrong_is_said_without_any_secret(
    value: str, reason: str, user: str
) -> None:
    assert await attempts({"authorization": value}) == [Attempt(reason, user)]


async def test_a_token_in_another_header_is_none_that_is_missing() -> None:
    assert await attempts({"x-token": "abc"}, "x-token") == [Attempt("token not accepted")]
    assert (await attempts({"x-token": "abc"}))[0].missing


async def test_where_a_session_may_say_who_calls_nothing_is_missing() -> None:
    heard: list[Attempt] = []
    authenticate = told(nobody, heard.append, unnamed=False)
    await authenticate({})
    assert heard == []
    await authenticate({"authorization": "Bearer x"})
    assert len(heard) == 1


async def test_an_authenticator_that_refuses_at_once_is_told_of_too() -> None:
    heard: list[Attempt] = []
    tokens = Tokens(lambda application, identity: None, {})
    with pytest.raises(Refused):
        await told(BearerAuthenticator(tokens), heard.append)({"authorization": "Bearer x"})
    assert heard == [Attempt("token not accepted")]


@pytest.mark.usefixtures("scope")
async def test_a_token_that_stands_in_no_header_is_told_with_its_request() -> None:
    heard: list[Attempt] = []
    caller = next(iter(accounts().values())).caller

    async def verify(token: str) -> Caller | None:
        return caller if token == "good" else None

    asked = told_token(verify, heard.append)
    assert (await asked("good"), await asked("bad")) == (caller, None)
    assert [(a.reason, a.address, a.trace) for a in heard] == [
        ("token not accepted", "192.0.2.1", "t-1")
    ]


async def test_a_ticket_that_is_none_is_told_and_one_that_is_good_is_not() -> None:
    heard: list[Attempt] = []
    tickets = Tickets(lambda: 0.0)
    gate = TicketGate(tickets, nobody, heard.append)
    ticket = tickets.issue(next(iter(accounts().values())).caller)
    headers = with_ticket({}, f"ticket={ticket}".encode())
    assert await gate(headers) is not None
    assert heard == []
    assert await gate(headers) is None
    assert [attempt.reason for attempt in heard] == ["ticket used, too old or unknown"]


async def test_an_id_is_made_where_a_door_has_none(scope: dict[str, object]) -> None:
    del scope[TRACE]
    scope["client"] = None
    (attempt,) = await attempts({})
    assert attempt.trace and attempt.address == ""
