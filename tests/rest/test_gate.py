"""What stands between credentials and an operation."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sipbridge.errors import AgainstPolicy, QuotaExceeded
from sipbridge.gateway.caller import Caller
from sipbridge.identities import PresentityKey
from sipbridge.rest import BasicAuthenticator, create_app
from sipbridge.rest.faults import Refused
from sipbridge.rest.gate import Gate, application_only
from sipbridge.rest.quotas import Rate
from sipbridge.rest.sessions import Sessions
from sipbridge.uri import Uri
from tests.rest.conftest import ALICE, IDENTITIES, MEETING, PresenceHouse, accounts, basic
from tests.rest.test_api import client

HEADERS = {"authorization": ALICE["Authorization"]}
CAROL = "sip:carol@example.com"


def acting(caller: Caller, named: str) -> Caller:
    """Alice's application may act for Carol."""
    if caller.application != "app_alice" or named != CAROL:
        raise AgainstPolicy(f"not {named}", rule="identity")
    uri = Uri.parse(named)
    return Caller(caller.application, uri, IDENTITIES.canonical(uri))


async def test_who_is_nobody_stays_outside() -> None:
    rate = Rate(1)
    gate = Gate(BasicAuthenticator(accounts()), rate=rate)
    assert await gate({}) is None
    assert await gate({"authorization": basic("app_alice", "wrong")["Authorization"]}) is None
    assert rate.full_at == {}


async def test_too_many_requests_are_refused_before_anything_is_looked_at() -> None:
    gate = Gate(BasicAuthenticator(accounts()), rate=Rate(1), sessions=Sessions(60.0))
    with pytest.raises(Refused):
        await gate(HEADERS)
    with pytest.raises(QuotaExceeded):
        await gate(HEADERS)


async def test_the_named_identity_is_the_callers() -> None:
    gate = Gate(BasicAuthenticator(accounts()), acting=acting)
    own, other = await gate(HEADERS), await gate({**HEADERS, "x-presence-identity": CAROL})
    assert own is not None and other is not None
    assert (str(own.identity), str(other.identity)) == ("sip:alice@example.com", CAROL)
    assert (own.application, other.application) == ("app_alice", "app_alice")
    assert other.key == CAROL


async def test_over_http() -> None:
    house, counted = PresenceHouse(), list[str]()
    gate = Gate(BasicAuthenticator(accounts()), acting=acting, rate=Rate(2))
    app = create_app(house, [gate], exceeded=counted.append)
    async with client(app) as http:
        url, body = "/rest/presence/presence", {"presence": [MEETING]}
        for name, status in ((CAROL, 204), ("sip:dave@example.com", 403), (CAROL, 429)):
            headers = {**ALICE, "X-Presence-Identity": name}
            answer = await http.put(url, json=body, headers=headers)
            assert answer.status_code == status
        assert answer.json()["error"]["messageId"] == "POL0001"
        assert answer.json()["error"]["variables"] == ["requests-per-second"]
        assert answer.headers["Retry-After"] == "1"
    assert list(house.published) == [CAROL]
    assert counted == ["requests-per-second"]


async def bound(headers: Mapping[str, str]) -> Caller | None:
    """Somebody who proved to be Carol, of Alice's application."""
    uri = Uri.parse(CAROL)
    return Caller("app_alice", uri, IDENTITIES.canonical(uri), bound=True)


async def test_who_proved_to_be_one_person_is_nobody_else() -> None:
    gate = Gate(bound, acting=acting)
    carol = await gate({"x-presence-identity": CAROL})
    assert carol is not None and (carol.key, carol.bound) == (CAROL, True)
    with pytest.raises(AgainstPolicy):
        await gate({"x-presence-identity": "sip:dave@example.com"})
    other = Gate(bound, acting=lambda caller, named: replace(caller, key=PresentityKey(named)))
    with pytest.raises(AgainstPolicy, match="these credentials are of sip:carol@example.com"):
        await other({"x-presence-identity": "sip:alice@example.com"})


async def test_what_is_the_applications_is_closed_to_one_of_its_people() -> None:
    with pytest.raises(AgainstPolicy, match="do not open"):
        await application_only(bound)({})
    alice = await application_only(BasicAuthenticator(accounts()))(HEADERS)
    assert alice is not None and alice.application == "app_alice"
    assert await application_only(BasicAuthenticator(accounts()))({}) is None
