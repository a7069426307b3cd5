"""Sessions as rows on disk and back."""

import json

from sipbridge.gateway.queues import Message, Queue
from sipbridge.gateway.sessions import (
    MESSAGE,
    REGISTRATION,
    REQUEST,
    SESSION,
    Operation,
    Registration,
    Request,
    Rows,
    Session,
    read_registration,
    read_request,
)
from sipbridge.identities import PresentityKey
from sipbridge.mapping.bems import BemsPresence
from sipbridge.mapping.rows import Availability
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench, FakeKeeper, HandClock

ALICE = "sip:alice@example.com"


def session() -> Session:
    return Session("token", Bench().bob, Queue(10, lambda sequence: None))


async def test_what_a_session_holds_comes_back() -> None:
    keeper = FakeKeeper()
    rows, one = Rows(keeper), session()
    told = BemsPresence(Availability.BUSY, 6000, "not\nnow")
    key = PresentityKey(ALICE)
    for registration in (
        Registration("alice@example.com", Uri.parse(ALICE), key, True, told),
        Registration("alice@example.com", Uri.parse(ALICE), key, True),
    ):
        rows.registration(one, registration)
        ((token, name, row),) = await rows.of(REGISTRATION)
        assert (token, name) == ("token", ALICE)
        assert read_registration(name, row) == registration
    request = Request(7, "SetPresence", Operation.SET, ("a@b",), "busy", "x", ("c1",))
    kind, place, text = rows.request(one, request)
    assert (kind, place) == (REQUEST, "token\n7")
    assert read_request(json.loads(text)) == request
    kind, place, text = rows.message(one, Message(47, b'{"a":1}'))
    assert (kind, place, text) == (MESSAGE, "token\n0000000000000047", '{"a":1}')


async def test_nothing_is_left_of_a_session_that_is_dropped() -> None:
    keeper = FakeKeeper()
    rows, one = Rows(keeper), session()
    await keeper.save_snapshot(*rows.session(one, HandClock()))
    registration = Registration("a@b", Uri.parse(ALICE), PresentityKey(ALICE), True)
    one.registrations[registration.key] = registration
    rows.registration(one, registration)
    request = Request("c1", "Ping", Operation.PING)
    one.pending["c1"] = request
    await keeper.save_snapshot(*rows.request(one, request))
    message = Message(47, b"{}")
    one.queue.add(message)
    await keeper.save_snapshot(*rows.message(one, message))
    assert {kind for kind, _ in keeper.texts} == {SESSION, REGISTRATION, REQUEST, MESSAGE}
    rows.drop(one)
    assert keeper.texts == {}


def test_a_session_that_is_over_is_silent_when_everything_is_shown() -> None:
    one = session()
    one.queue.add(Message(1, b"{}"))
    one.over = True
    assert not one.silent
    one.queue.show(1)
    assert one.silent
