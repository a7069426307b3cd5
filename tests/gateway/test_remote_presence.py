"""Sessions, registrations, deferred answers: on a fake network and disk, with the clock turned by hand."""

from typing import Any

import pytest

from sipbridge.errors import (
    ActionPending,
    AgainstPolicy,
    QuotaExceeded,
    RequestRejected,
    SessionOver,
    StoreUnavailable,
    TransactionTimeout,
)
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.remote_presence import GRACE, MAX_PENDING, RemoteLimits
from sipbridge.gateway.sessions import Operation, Request
from sipbridge.mapping import bems
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.bems import BemsPresence
from sipbridge.presence.rules import SubHandling
from sipbridge.uri import Uri
from tests.gateway.remote import ALICE, BOB, CAROL, Client, RemoteBench

REGISTER, UNREGISTER, SET = Operation.REGISTER, Operation.UNREGISTER, Operation.SET
PING, STATES, TERMINATE = Operation.PING, Operation.STATES, Operation.TERMINATE


async def made(**more: Any) -> RemoteBench:
    bench = RemoteBench(**more)
    await bench.load()
    return bench


async def registered(bench: RemoteBench, contact: str = ALICE) -> Client:
    client = await bench.begin()
    await client.ask(REGISTER, contact)
    (complete, *_) = client.next()
    assert complete["result"]["data"]["state"] == "COMPLETE"
    return client


def outcome(message: dict[str, Any]) -> int | str:
    error = message.get("error")
    found: int | str = error["code"] if error else message["result"]["data"]["state"]
    return found


# --- registrations ------------------------------------------------------------------------------------


async def test_complete_comes_first_and_then_the_status() -> None:
    bench = await made()
    await bench.publish(Activity.BUSY, "not now")
    client = await bench.begin()
    await client.ask(REGISTER, ALICE)
    complete, first = client.next()
    assert complete["id"] == "c1" and "id" not in first
    (contact,) = first["result"]["data"]["contacts"]
    assert contact == {
        "contactId": ALICE,
        "presence": "busy",
        "personalMessage": "not now",
        "availability": 6000,
    }


async def test_a_change_is_told_once_and_what_is_no_change_never() -> None:
    bench = await made()
    client = await registered(bench)
    client.next()
    await bench.publish(Activity.BUSY)
    await bench.publish(Activity.BUSY)
    await bench.publish(Activity.AWAY)
    assert client.told() == [(ALICE, "busy"), (ALICE, "away")]
    await bench.publish(Activity.AWAY, "gone")
    assert client.told() == [(ALICE, "away")], "another message is news"


async def test_registering_twice_is_harmless_and_the_last_address_is_used() -> None:
    bench = await made()
    client = await registered(bench)
    await client.ask(REGISTER, "alice@example.com")
    client.next()
    await bench.publish(Activity.BUSY)
    assert client.told() == [("alice@example.com", "busy")]
    await client.ask(UNREGISTER, "sip:alice@EXAMPLE.com", "nobody@example.com")
    assert [outcome(m) for m in client.next()] == ["COMPLETE"]
    await bench.publish(Activity.AWAY)
    assert client.next() == []
    assert bench.bench.network.watching == set()
    assert bench.remote.registered == {} and bench.interests.users == {}


async def test_the_presentity_is_asked_and_its_decision_shows() -> None:
    bench = await made(default=SubHandling.CONFIRM)
    bench.bench.network.state = "pending"
    client = await registered(bench)
    assert client.told() == []
    (asked,) = await bench.bench.gateway.open_subscriptions(bench.bench.alice)
    assert asked.application == "BEMS"
    bench.bench.network.state = "active"
    await bench.decide(AttributeKind.ACTIVITY)
    await bench.publish(Activity.BUSY)
    assert client.told() == [(ALICE, "busy")]
    await bench.bench.gateway.block(bench.bench.alice, Uri.parse(BOB))
    assert client.told() == [(ALICE, "unknown")]
    await bench.decide(AttributeKind.ACTIVITY)
    assert client.told() == [(ALICE, "busy")]


async def test_a_refused_or_silent_server_is_a_late_failure() -> None:
    bench = await made()
    client = await bench.begin()
    for failure, code in (
        (RequestRejected(403, "Forbidden"), 1020),
        (RequestRejected(603, "Decline"), 1020),
        (RequestRejected(404, "Not Found"), 1020),
        (RequestRejected(500, "Error"), 1019),
        (TransactionTimeout(), 1019),
    ):
        bench.bench.network.failure = failure
        await client.ask(REGISTER, ALICE)
        (answer,) = client.next()
        assert answer["error"]["code"] == code and "result" not in answer
    assert client.session.registrations == {} and bench.interests.users == {}
    bench.bench.network.failure = None
    await client.ask(REGISTER, "sip:x@elsewhere.example")
    assert [outcome(m) for m in client.next()] == [1020]


async def test_two_sessions_share_one_subscription() -> None:
    bench = await made()
    one = await registered(bench)
    two = await bench.begin("other")
    await two.ask(REGISTER, ALICE)
    two.next()
    assert bench.bench.gateway.registry.live["app_bob"] == 1
    await bench.publish(Activity.BUSY)
    assert one.told() == two.told() == [(ALICE, "busy")]
    await one.ask(TERMINATE)
    await bench.publish(Activity.AWAY)
    assert two.told() == [(ALICE, "away")]
    assert bench.bench.gateway.registry.live["app_bob"] == 1


async def test_who_is_watched_through_the_other_front_stays_watched_there() -> None:
    bench = await made()
    gateway = bench.bench.gateway
    kinds = frozenset({AttributeKind.ACTIVITY})
    reference = Reference("/bayeux/app_bob/presence", "s-1")
    await gateway.subscribe(bench.bob, Uri.parse(ALICE), kinds, reference, "Desk")
    client = await registered(bench)
    await client.ask(TERMINATE)
    await bench.publish(Activity.BUSY)
    (activity,) = await gateway.get_presence(bench.bob, Uri.parse(ALICE), kinds)
    assert activity.value is Activity.BUSY


# --- the own status -----------------------------------------------------------------------------------


async def test_publications_go_out_in_the_order_they_were_asked_for() -> None:
    bench = await made()
    client = await bench.begin()
    sent: list[BemsPresence] = []
    network = bench.bench.network
    publish = network.publish

    async def noted(caller: Any, document: Any, expires: int | None = None) -> str:
        sent.append(bems.derive(document, at=bench.bench.clock.at())[0])
        return await publish(caller, document, expires)

    network.publish = noted  # type: ignore[method-assign]
    await client.ask_all(
        [
            Request("a", "SetPresence", SET, presence="busy", message="one"),
            Request("b", "SetPresence", SET, presence="away"),
            Request("c", "SetPresence", SET, presence="available", message=""),
        ]
    )
    assert [m["id"] for m in client.next()] == ["a", "b", "c"]
    told = [(state.presence.value, state.personal_message) for state in sent]
    assert told == [("busy", "one"), ("away", "one"), ("available", "")]
    assert bench.remote.own.lines == {}


async def test_a_status_leaves_what_says_other_things_alone() -> None:
    bench = await made()
    mood = Attribute(AttributeKind.OTHER, Other("rpid.mood", "happy"))
    await bench.bench.gateway.publish(bench.bob, [mood])
    client = await bench.begin()
    await client.ask(SET, presence="berightback", message="soon")
    await client.ask(STATES, BOB)
    answer = client.next()[-1]
    (contact,) = answer["result"]["data"]["contacts"]
    assert (contact["availability"], contact["personalMessage"]) == (12000, "soon")
    published = bench.bench.network.documents[bench.bob.key]
    assert published.persons[0].moods
    await client.ask(SET, presence="busy")
    published = bench.bench.network.documents[bench.bob.key]
    assert published.persons[0].moods


async def test_a_publication_that_fails_is_a_late_failure_and_the_next_one_goes_out() -> None:
    bench = await made()
    client = await bench.begin()
    bench.bench.network.failure = RequestRejected(403, "Forbidden")
    await client.ask(SET, presence="busy")
    bench.bench.network.failure = None
    await client.ask(SET, presence="away")
    assert [outcome(m) for m in client.next()] == [1020, "COMPLETE"]


async def test_a_session_may_begin_with_a_status_or_only_with_a_message() -> None:
    bench = await made()
    client = await bench.begin()
    await client.ask(Operation.BEGIN, message="nothing is published yet")
    await client.ask(Operation.BEGIN, presence="busy")
    await client.ask(Operation.BEGIN, message="now there is")
    await client.ask(STATES, BOB)
    *begun, last = client.next()
    data = {"method": "BeginSession", "state": "COMPLETE", "sessionTimeout": 86400, "userId": BOB}
    assert [m["result"]["data"] for m in begun] == [data] * 3
    (contact,) = last["result"]["data"]["contacts"]
    assert (contact["presence"], contact["personalMessage"]) == ("busy", "now there is")


# --- requests that wait -------------------------------------------------------------------------------


async def test_a_request_waits_for_those_it_depends_on() -> None:
    bench = await made()
    client = await bench.begin()
    await client.ask_all(
        [
            Request("a", "Ping", PING, depends=("c",)),
            Request("b", "Ping", PING, depends=("a", "c")),
            Request("c", "RegisterTempRemotePresence", REGISTER, (ALICE,)),
        ]
    )
    assert [m["id"] for m in client.next() if "id" in m] == ["c", "a", "b"]
    await client.ask_all(
        [
            Request("a", "Ping", PING, depends=("c",)),
            Request("b", "Ping", PING, depends=("a",)),
            Request("c", "RegisterTempRemotePresence", REGISTER, ("sip:x@elsewhere.example",)),
            Request("d", "Ping", PING),
        ]
    )
    answers = {m["id"]: outcome(m) for m in client.next()}
    assert answers == {"a": 1021, "b": 1021, "c": 1020, "d": "COMPLETE"}
    assert client.session.pending == {} and client.session.failed == set()


async def test_an_id_in_progress_is_not_taken_again() -> None:
    bench = await made()
    client = await bench.begin()
    request = Request("a", "Ping", PING)
    bench.remote.check(client.session, request)
    client.session.pending["a"] = request
    with pytest.raises(ActionPending):
        bench.remote.check(client.session, request)


async def test_many_contacts_are_answered_in_their_order() -> None:
    bench = await made()
    await bench.publish(Activity.BUSY)
    client = await bench.begin()
    contacts = [f"sip:user{n}@example.com" for n in range(50)] + ["alice@example.com"]
    await client.ask(STATES, *contacts, "sip:x@elsewhere.example")
    (answer,) = client.next()
    data = answer["result"]["data"]
    assert data["userId"] == BOB
    assert [c["contactId"] for c in data["contacts"]] == [*contacts, "sip:x@elsewhere.example"]
    assert [c["availability"] for c in data["contacts"][-3:]] == [-1, 6000, -1]


# --- sessions -----------------------------------------------------------------------------------------


async def test_a_silent_session_ends_with_its_registrations_and_use_keeps_it() -> None:
    bench = await made(remote=RemoteLimits(timeout=100.0))
    client = await registered(bench)
    for _ in range(3):
        bench.bench.pass_seconds(99.0)
        bench.remote.use(bench.remote.find("device"))
    bench.bench.pass_seconds(99.0)
    assert bench.bench.network.watching
    bench.bench.pass_seconds(1.0)
    with pytest.raises(SessionOver):
        bench.remote.find("device")
    assert client.session.over and bench.bench.network.watching == set()
    kinds = {kind for kind, _ in bench.keeper.texts}
    assert kinds == {"bems-sequence"}, "nothing of it is kept"
    assert bench.remote.live["app_bob"] == 0


async def test_the_last_answer_of_a_terminated_session_can_be_fetched_for_a_moment() -> None:
    bench = await made()
    client = await registered(bench)
    await client.ask(TERMINATE)
    assert bench.bench.network.watching == set()
    with pytest.raises(SessionOver):
        await client.ask(PING)
    (last,) = [m for m in client.next() if "id" in m]
    assert last["result"]["data"] == {"method": "TerminateSession", "state": "COMPLETE"}
    assert bench.remote.find("device") is client.session
    bench.bench.pass_seconds(GRACE)
    with pytest.raises(SessionOver):
        bench.remote.find("device")
    assert {kind for kind, _ in bench.keeper.texts} == {"bems-sequence"}


async def test_beginning_again_starts_anew_unless_it_reconnects() -> None:
    bench = await made()
    client = await registered(bench)
    woken: list[int] = []
    client.session.readers["me"] = lambda: woken.append(1)
    again = await bench.begin(reconnect=True, push="p")
    assert again.session is client.session and client.session.revision == 1 and woken
    assert client.session.push == "p"
    anew = await bench.begin()
    assert anew.session is not client.session and client.session.over
    assert anew.session.registrations == {} and bench.bench.network.watching == set()
    with pytest.raises(AgainstPolicy):
        await bench.remote.begin(bench.bench.alice, "device", chosen=True, reconnect=True)


async def test_a_device_whose_session_was_terminated_may_begin_at_once() -> None:
    bench = await made(remote=RemoteLimits(timeout=100.0))
    client = await bench.begin()
    await client.ask(TERMINATE)
    again = await bench.begin(reconnect=True)
    assert again.session is not client.session and bench.remote.live["app_bob"] == 1
    bench.bench.pass_seconds(GRACE)
    assert bench.remote.find("device") is again.session
    bench.bench.pass_seconds(100.0)
    assert bench.remote.sessions == {} and bench.remote.live["app_bob"] == 0


async def test_the_end_of_a_session_comes_after_the_rest_of_its_batch() -> None:
    bench = await made()
    client = await bench.begin()
    await client.ask_all([Request("t", "TerminateSession", TERMINATE), Request("p", "Ping", PING)])
    assert [m["id"] for m in client.next()] == ["p", "t"]


async def test_sessions_are_bounded_for_each_application() -> None:
    bench = await made(remote=RemoteLimits(sessions=2))
    await bench.begin("one")
    await bench.begin("two")
    with pytest.raises(QuotaExceeded):
        await bench.begin("three")
    await bench.begin("two")
    await bench.remote.begin(bench.bench.alice, "four", chosen=False, reconnect=False)


async def test_who_may_not_call_any_more_has_no_sessions() -> None:
    bench = await made()
    client = await registered(bench)
    bench.remote.revoke("app_alice")
    bench.remote.revoke("app_bob", lambda key: key == BOB)
    assert not client.session.over
    bench.remote.revoke("app_bob")
    assert client.session.over and bench.bench.network.watching == set()


# --- the queue ----------------------------------------------------------------------------------------


async def test_an_overflow_is_told_and_everybody_s_state_anew() -> None:
    bench = await made(remote=RemoteLimits(queue=4))
    client = await registered(bench)
    client.next()
    await bench.publish(Activity.BUSY)
    for _ in range(4):
        await client.ask(PING)
    found = client.look()
    assert found[0]["result"]["data"] == {"method": "NotificationsLost", "missing": 2}
    last = client.next()[-1]
    (contact,) = last["result"]["data"]["contacts"]
    assert contact["presence"] == "busy"
    assert client.next() == [], "it is told once"
    numbers = [m["sequence"] for m in found]
    assert numbers == sorted(set(numbers))


async def test_a_number_nobody_was_given_acknowledges_nothing() -> None:
    bench = await made()
    client = await bench.begin()
    await client.ask(PING)
    assert bench.remote.acknowledge(client.session, bench.numbers.last + 1) == 0
    assert len(client.look()) == 1
    assert bench.remote.acknowledge(client.session, None) == 0


async def test_too_many_requests_in_progress_are_refused() -> None:
    bench = await made()
    client = await bench.begin()
    request = Request("a", "Ping", PING)
    client.session.pending |= {str(n): request for n in range(MAX_PENDING - 1)}
    bench.remote.check(client.session, request)
    client.session.pending["one more"] = request
    with pytest.raises(QuotaExceeded):
        bench.remote.check(client.session, request)


async def test_a_loss_that_was_acknowledged_is_not_told_again_after_a_restart() -> None:
    bench = await made(remote=RemoteLimits(queue=4))
    client = await bench.begin()
    for _ in range(6):
        await client.ask(PING)
    assert client.next()[0]["result"]["data"]["method"] == "NotificationsLost"
    again = await bench.restarted()
    assert Client(again, again.remote.find("device")).look() == []


async def test_a_client_that_does_not_listen_is_woken() -> None:
    bench = await made()
    client = await bench.begin(push="channel")
    await client.ask(PING)
    await client.ask(PING)
    assert bench.pushed == [("channel", "notifications")]
    client.next()
    client.session.readers["me"] = lambda: None
    await client.ask(PING)
    bench.bench.pass_seconds(60.0)
    assert len(bench.pushed) == 1, "who listens or has fetched is not woken"
    del client.session.readers["me"]
    await client.ask(PING)
    assert len(bench.pushed) == 2


async def test_what_cannot_be_written_is_refused_and_what_was_promised_is_told_all_the_same() -> (
    None
):
    bench = await made()
    client = await bench.begin()
    bench.keeper.full = True
    with pytest.raises(StoreUnavailable):
        await bench.begin("other")
    assert set(bench.remote.sessions) == {"device"} and bench.remote.live["app_bob"] == 1
    with pytest.raises(StoreUnavailable):
        await client.ask_all(
            [
                Request("a", "RegisterTempRemotePresence", REGISTER, (ALICE,)),
                Request("b", "SetPresence", SET, presence="busy"),
            ]
        )
    assert client.session.pending == {}
    await client.ask(PING)
    assert [outcome(m) for m in client.next()] == ["COMPLETE"]
    bench.keeper.full = False
    again = await bench.restarted()
    assert Client(again, again.remote.find("device")).look() == []
    assert again.bench.network.watching == set()


# --- restart ------------------------------------------------------------------------------------------


async def test_a_session_goes_on_after_a_restart() -> None:
    bench = await made()
    client = await registered(bench)
    await bench.publish(Activity.BUSY)
    before = client.look()
    again = await bench.restarted()
    session = again.remote.find("device")
    client = Client(again, session)
    client.after = before[0]["sequence"] - 1
    assert client.next()[: len(before)] == before, (
        "what was not acknowledged comes under its number"
    )
    await again.publish(Activity.AWAY)
    told = [m for m in client.next() if "id" not in m]
    assert [c["presence"] for m in told for c in m["result"]["data"]["contacts"]][-1] == "away"
    assert told[-1]["sequence"] > before[-1]["sequence"]


async def test_what_was_told_before_the_restart_is_not_told_again() -> None:
    bench = await made()
    client = await registered(bench)
    await bench.publish(Activity.BUSY)
    client.next()
    again = await bench.restarted()
    client = Client(again, again.remote.find("device"))
    again.bench.network.documents = bench.bench.network.documents
    assert client.next() == []
    await again.publish(Activity.BUSY)
    assert client.told() == []


async def test_what_was_accepted_and_not_done_is_done_in_the_next_life() -> None:
    bench = await made()
    client = await bench.begin()
    remote = bench.remote
    remote.go = lambda session, request: None  # type: ignore[method-assign] # the process ends here
    await client.ask_all(
        [
            Request("r", "RegisterTempRemotePresence", REGISTER, (ALICE,)),
            Request("s", "SetPresence", SET, presence="busy"),
            Request("p", "Ping", PING, depends=("s",)),
        ]
    )
    again = await bench.restarted()
    client = Client(again, again.remote.find("device"))
    answers = {m["id"]: outcome(m) for m in client.next() if "id" in m}
    assert answers == {"r": "COMPLETE", "s": "COMPLETE"}, "a ping is not kept"
    assert (BOB, ALICE) in again.bench.network.watching
    assert not [kind for kind, _ in again.keeper.texts if kind == "bems-request"]


async def test_sessions_nobody_may_have_or_that_timed_out_are_dropped() -> None:
    bench = await made(remote=RemoteLimits(timeout=100.0))
    await registered(bench)
    carol = bench.bench.caller("carol")
    await bench.remote.begin(carol, "carol's", chosen=False, reconnect=False)
    again = await bench.restarted()
    assert set(again.remote.sessions) == {"device"}
    again.bench.clock.passed += 106.0  # a step is added, for the end is not written down each time
    third = await again.restarted()
    assert third.remote.sessions == {} and third.bench.network.watching == set()
    assert {kind for kind, _ in third.keeper.texts} == {"bems-sequence"}


async def test_an_alias_of_nobody_is_refused_late_and_early_alike() -> None:
    bench = await made()
    contact = await bench.remote.look_at(bench.bob, "no address")
    assert contact.state.availability == -1
    client = await registered(bench, CAROL)
    assert client.session.registrations.keys() == {CAROL}
