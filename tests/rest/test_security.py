"""Basic credentials."""

import asyncio
import base64
from dataclasses import replace

import argon2
import pytest

from sipbridge.rest import security
from sipbridge.rest.security import BasicAuthenticator, credentials, first_of
from tests.rest.conftest import account, accounts, basic

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def header(user: str, password: str = "secret") -> dict[str, str]:
    return {"authorization": basic(user, password)["Authorization"]}


class Counting(BasicAuthenticator):
    """Counts how often a hash is verified."""

    verified = 0

    def matches(self, password_hash: str, password: str) -> bool:
        self.verified += 1
        return super().matches(password_hash, password)


def hashed(password: str) -> Counting:
    known = replace(account("app1", "sip:a@example.com"), password=None)
    return Counting({"app1": replace(known, password_hash=CHEAP.hash(password))})


async def test_the_right_password_names_the_caller() -> None:
    caller = await BasicAuthenticator(accounts())(header("app_alice"))
    assert caller is not None
    assert (caller.application, str(caller.identity)) == ("app_alice", "sip:alice@example.com")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        header("app_alice", "wrong"),
        header("app_alice", ""),
        header("nobody"),
        {"authorization": "Basic"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"authorization": "Bearer app_alice:secret"},
        {"authorization": "Basic \xff\udc80"},
    ],
)
async def test_anything_else_names_nobody(headers: dict[str, str]) -> None:
    assert await BasicAuthenticator(accounts())(headers) is None


async def test_a_hash_is_verified_once_for_a_header() -> None:
    authenticator = hashed("pässword")
    for _ in range(5):
        assert await authenticator(header("app1", "pässword")) is not None
    for _ in range(5):
        assert await authenticator(header("app1", "wrong")) is None
    assert authenticator.verified == 2


async def test_requests_that_arrive_together_wait_for_one_look() -> None:
    authenticator = hashed("secret")
    callers = await asyncio.gather(*(authenticator(header("app1")) for _ in range(20)))
    assert all(caller is not None for caller in callers)
    assert authenticator.verified == 1


async def test_what_was_found_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = hashed("secret")
    await authenticator(header("app1"))
    monkeypatch.setattr(security, "now", lambda: asyncio.get_running_loop().time() + 301)
    await authenticator(header("app1"))
    assert authenticator.verified == 2


async def test_a_changed_password_counts_at_once() -> None:
    authenticator = BasicAuthenticator(accounts())
    assert await authenticator(header("app_alice")) is not None
    authenticator.change("app_alice", account("app_alice", "sip:alice@example.com", "new"))
    assert await authenticator(header("app_alice")) is None
    assert await authenticator(header("app_alice", "new")) is not None
    authenticator.change("app_alice", None)
    assert await authenticator(header("app_alice", "new")) is None


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "MAX_REMEMBERED", 10)
    authenticator = BasicAuthenticator(accounts())
    for number in range(50):
        await authenticator(header("app_alice", str(number)))
    assert len(authenticator.remembered) == 10


async def test_a_broken_hash_lets_nobody_in() -> None:
    known = replace(account("app1", "sip:a@example.com"), password=None)
    for broken in ("no hash", None):
        authenticator = BasicAuthenticator({"app1": replace(known, password_hash=broken)})
        assert await authenticator(header("app1")) is None


def test_credentials_are_utf8_or_else_latin1() -> None:
    assert credentials(base64.b64encode("ü:ä:b".encode()).decode()) == ("ü", "ä:b")
    assert credentials(base64.b64encode("ü:ä".encode("latin-1")).decode()) == ("ü", "ä")


async def test_the_first_authenticator_that_knows_decides() -> None:
    one = BasicAuthenticator({"a": account("a", "sip:a@example.com")})
    two = BasicAuthenticator({"b": account("b", "sip:b@example.com")})
    both = first_of([one, two])
    assert await both(header("b")) is not None
    assert await both(header("c")) is None
