"""Users of observations: shared by one application, begun by the first and ended by the last."""

import pytest

from sipbridge.errors import QuotaExceeded, RequestRejected
from sipbridge.gateway.interests import Interests
from sipbridge.gateway.registry import Pair
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench

ALICE, CAROL = Uri.parse("sip:alice@example.com"), Uri.parse("sip:carol@example.com")
PAIR: Pair = ("sip:bob@example.com", "sip:alice@example.com")  # type: ignore[assignment]


def interests(bench: Bench, most: int = 100) -> Interests:
    def admit(application: str) -> None:
        if bench.gateway.registry.live[application] >= most:
            raise QuotaExceeded("subscriptions", "full", retry_after=1.0)

    return Interests(bench.gateway.observations, "bems", "BEMS", admit)


async def test_the_first_user_begins_and_the_last_one_ends() -> None:
    bench = Bench()
    some = interests(bench)
    await some.begin("one", bench.bob, ALICE)
    await some.begin("two", bench.bob, ALICE)
    await some.begin("two", bench.bob, ALICE)
    assert bench.gateway.registry.live["app_bob"] == 1
    some.end("one", "app_bob", PAIR)
    assert PAIR in bench.network.watching
    some.end("nobody", "app_bob", PAIR)
    some.end("two", "app_bob", PAIR)
    some.end("two", "app_bob", PAIR)
    assert PAIR not in bench.network.watching and some.users == {}


async def test_a_user_that_could_not_begin_is_none() -> None:
    bench = Bench()
    some = interests(bench)
    bench.network.failure = RequestRejected(403, "Forbidden")
    with pytest.raises(RequestRejected):
        await some.begin("one", bench.bob, ALICE)
    assert some.users == {}
    bench.network.failure = None
    some = interests(bench, most=1)
    await some.begin("one", bench.bob, ALICE)
    await some.begin("two", bench.bob, ALICE)
    with pytest.raises(QuotaExceeded):
        await some.begin("one", bench.bob, CAROL)
    assert len(some.users) == 1


async def test_what_nobody_adopted_after_a_restart_ends() -> None:
    bench = Bench()
    await interests(bench).begin("one", bench.bob, ALICE)
    await interests(bench).begin("one", bench.bob, CAROL)
    again = Bench(store=bench.store)
    some = interests(again)
    await again.gateway.load({"app_alice", "app_bob"})
    some.adopt("one", again.bob, ALICE)
    some.adopt("two", again.bob, ALICE)
    some.tidy()
    await again.restarted()
    assert {pair[1] for pair in again.network.watching} == {PAIR[1]}
    some.end("two", "app_bob", PAIR)
    assert PAIR in again.network.watching
