"""Our registrations: every cell of the table, and what a registrar sees of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.events import registration as registration_module
from sipbridge.events.budget import Budget
from sipbridge.events.machine import step
from sipbridge.events.registration import (
    NEXT,
    Input,
    Registered,
    Registrant,
    RegistrationFailed,
    State,
    Unregistered,
    granted_seconds,
)
from sipbridge.sip.flow import Flow
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Response
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.sip.usage import ServerRequest
from sipbridge.uri import Uri
from tests.events.peers import ALICE_URI, TO_BOB, Reply
from tests.harness.pair import ALICE, ALICES, BOB, Pair

SILENT = Reply(0)
GOOD = Reply()
CHALLENGE = ("WWW-Authenticate", 'Digest realm="home", nonce="n1", qop="auth", algorithm=SHA-256')


class ScriptedRegistrar:
    """Answers REGISTERs with the next of its replies, the last one for ever; lists what it was sent."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.got: list[ServerRequest] = []
        self.times: list[float] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.got.append(incoming)
        self.times.append(now)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.status:
            self.answer(incoming, reply)

    def answer(self, incoming: ServerRequest, reply: Reply) -> None:
        headers = [*reply.headers]
        contact = incoming.request.headers.get("Contact") or ""
        if reply.status == 200 and not any(name == "Contact" for name, _ in headers):
            headers.append(("Contact", contact))
        incoming.respond(reply.status, headers=headers)


class World:
    """A registrant and a registrar that does as it is told."""

    def __init__(self, *replies: Reply) -> None:
        self.pair = Pair()
        self.server = ScriptedRegistrar(*(replies or (GOOD,)))
        self.pair.bob.serve("REGISTER", self.server)
        self.registrant = Registrant(self.pair.alice)
        self.id = ""

    def register(self, policy: PeerPolicy = TO_BOB) -> "World":
        self.id = self.registrant.register(
            ALICE_URI, self.pair.now, policy=policy, credentials=ALICES
        )
        self.pair.turn()
        return self

    def remove(self) -> "World":
        self.registrant.remove(self.id, self.pair.now)
        self.pair.turn()
        return self

    def answer(self, reply: Reply) -> None:
        self.server.answer(self.server.got[-1], reply)
        self.pair.turn()

    def pass_seconds(self, seconds: float) -> "World":
        self.pair.pass_seconds(seconds)
        return self

    @property
    def state(self) -> State | None:
        found = self.registrant.registrations.get(self.id)
        return found.state if found else None

    @property
    def failed(self) -> list[RegistrationFailed]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, RegistrationFailed)]

    @property
    def registered(self) -> list[Registered]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, Registered)]

    @property
    def over(self) -> bool:
        return Unregistered(self.id) in self.pair.reported[ALICE]

    def header(self, name: str, index: int = -1) -> str | None:
        return self.server.got[index].request.headers.get(name)


# --- every cell of the table ----------------------------------------------------------------------------


def sending() -> World:
    return World(SILENT).register()


def registered() -> World:
    return World(GOOD, SILENT).register()


def waiting() -> World:
    return World(Reply(503), SILENT).register()


def waiting_while_bound() -> World:
    later = Reply(503, [("Retry-After", "300")])
    return World(GOOD, later, SILENT).register().pass_seconds(3300)


def refused() -> World:
    return World(Reply(403), SILENT).register()


def removing() -> World:
    return registered().remove()


Walk = tuple[Callable[[], World], Callable[[World], object]]

WALKS: dict[tuple[State, Input], Walk] = {
    (State.SENDING, Input.ACCEPTED): (sending, lambda w: w.answer(GOOD)),
    (State.SENDING, Input.TOO_BRIEF): (sending, lambda w: w.answer(Reply(423))),
    (State.SENDING, Input.UNAVAILABLE): (sending, lambda w: w.pass_seconds(33)),
    (State.SENDING, Input.REFUSED): (sending, lambda w: w.answer(Reply(403))),
    (State.SENDING, Input.REMOVE): (sending, World.remove),
    (State.REGISTERED, Input.DUE): (registered, lambda w: w.pass_seconds(3300)),
    (State.REGISTERED, Input.REMOVE): (registered, World.remove),
    (State.WAITING, Input.DUE): (waiting, lambda w: w.pass_seconds(3)),
    (State.WAITING, Input.REMOVE): (waiting_while_bound, World.remove),
    (State.WAITING, Input.DISCARD): (waiting, World.remove),
    (State.REFUSED, Input.DUE): (refused, lambda w: w.pass_seconds(331)),
    (State.REFUSED, Input.DISCARD): (refused, World.remove),
    (State.REMOVING, Input.ACCEPTED): (removing, lambda w: w.answer(GOOD)),
    (State.REMOVING, Input.UNAVAILABLE): (removing, lambda w: w.pass_seconds(33)),
    (State.REMOVING, Input.REFUSED): (removing, lambda w: w.answer(Reply(403))),
    (State.REMOVING, Input.REMOVE): (removing, World.remove),
}


@pytest.mark.parametrize(("state", "happened"), NEXT, ids=str)
def test_every_cell_leads_where_the_table_says(
    state: State, happened: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []

    def recorded(table: object, before: State, what: Input) -> State:
        after = step(NEXT, before, what)
        walked.append((before, what, after))
        return after

    reach, cause = WALKS[state, happened]
    world = reach()
    assert world.state is state
    monkeypatch.setattr(registration_module, "step", recorded)
    cause(world)
    assert (state, happened, NEXT[state, happened]) in walked


# --- what the registrar sees ----------------------------------------------------------------------------


def test_a_register_says_what_rfc_3261_asks_for() -> None:
    world = World().register()
    request = world.server.got[0].request
    assert request.uri == "sip:example.com"
    assert (request.from_.uri_text, request.to.uri_text) == (str(ALICE_URI), str(ALICE_URI))
    assert request.from_.tag
    assert not request.to.tag
    assert world.header("Contact") == "<sip:alice@192.0.2.1:5060>;expires=3600"
    assert request.supported == ["path"]


def test_a_day_of_refreshes_keeps_call_id_and_counts() -> None:
    world = World().register().pass_seconds(86_400)
    assert {s.request.call_id for s in world.server.got} == {world.server.got[0].request.call_id}
    numbers = [s.request.cseq.number for s in world.server.got]
    assert numbers == list(range(1, len(numbers) + 1))
    times = world.server.times
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert all(3000 <= gap <= 3240 for gap in gaps)
    assert len(set(gaps)) > 20  # not in step with anybody
    assert [r.renewed for r in world.registered[:2]] == [False, True]


def test_the_binding_is_removed_by_its_own_contact() -> None:
    world = World().register().remove()
    assert world.header("Contact") == "<sip:alice@192.0.2.1:5060>;expires=0"
    assert world.over
    assert world.pass_seconds(10_000).server.got[2:] == []


def test_an_unanswered_removal_is_over_after_one_transaction() -> None:
    world = World(GOOD, SILENT).register().remove()
    assert not world.over
    assert world.pass_seconds(33).over


def test_a_removal_waits_for_the_answer_that_is_due() -> None:
    world = World(SILENT, GOOD).register().remove()
    assert len(world.server.got) == 1
    world.answer(GOOD)
    assert world.header("Expires") == "0"
    assert world.over


def test_what_the_network_tells_is_reported() -> None:
    headers = [
        ("Service-Route", "<sip:orig@scscf.home:6060;lr>, <sip:second.home;lr>"),
        ("Path", "<sip:term@pcscf.visited;lr>"),
        ("P-Associated-URI", "<sip:alice@example.com>"),
        ("P-Associated-URI", '"A" <tel:+15550100>'),
    ]
    world = World(Reply(200, headers)).register()
    assert world.registered == [
        Registered(
            world.id,
            "sip:alice@example.com",
            3600,
            ("<sip:orig@scscf.home:6060;lr>", "<sip:second.home;lr>"),
            ("sip:term@pcscf.visited;lr",),
            ("sip:alice@example.com", "tel:+15550100"),
        )
    ]


def test_a_header_nobody_can_read_counts_as_absent() -> None:
    headers = [("Service-Route", "<sip:a"), ("Service-Route", "<sip:b;lr>")]
    assert World(Reply(200, headers)).register().registered[0].service_route == ("<sip:b;lr>",)


@pytest.mark.parametrize(
    ("headers", "granted"),
    [
        ([("Contact", "<sip:alice@192.0.2.1:5060>;expires=120")], 120),
        (
            [
                ("Contact", "<sip:alice@192.0.2.9:5060>;expires=7"),
                ("Contact", "<sip:alice@192.0.2.1:5060>;expires=130"),
            ],
            130,
        ),
        ([("Contact", "<sip:alice@nat.example:1024>;expires=140")], 140),
        ([("Contact", "<sip:alice@192.0.2.1:5060>"), ("Expires", "150")], 150),
        ([("Contact", "<sip:alice@192.0.2.1:5060>")], 3600),
        ([("Contact", "<sip:alice@192.0.2.1:5060>;expires=soon")], 3600),
    ],
)
def test_the_granted_time_counts(headers: Sequence[tuple[str, str]], granted: int) -> None:
    assert World(Reply(200, headers)).register().registered[0].expires == granted


def test_a_contact_nobody_can_read_says_nothing_about_time() -> None:
    fields = Headers([("Contact", "<nonsense>;expires=9"), ("Expires", "160")])
    assert granted_seconds(Response(200, "OK", fields), None, 3600) == 160


def test_a_registrar_that_grants_no_time_is_not_asked_in_a_loop() -> None:
    world = World(Reply(200, [("Contact", "<sip:alice@192.0.2.1:5060>;expires=0")])).register()
    assert world.failed[0].lost
    world.pass_seconds(600)
    assert len(world.server.got) < 12


def test_423_is_obeyed_with_min_expires_and_doubled_without() -> None:
    world = World(Reply(423, [("Min-Expires", "5000")]), Reply(423), GOOD).register()
    asked = [s.request.headers.get("Expires") for s in world.server.got]
    assert asked == ["3600", "5000", "10000"]
    assert world.registered[0].expires == 10_000


def test_423_for_ever_is_given_up_for_now() -> None:
    world = World(Reply(423)).register()
    assert len(world.server.got) == 4
    assert world.state is State.WAITING


def test_423_for_hours_asks_for_no_more_than_at_first_each_time() -> None:
    world = World(Reply(423)).register().pass_seconds(2 * 3600)
    asked = [s.request.expires for s in world.server.got]
    assert set(asked) == {3600, 7200, 14400, 28800}
    assert len(asked) > 40


def test_repeated_tries_are_within_the_budget_of_the_peer() -> None:
    world = World(Reply(503))
    budget = Budget(world.pair.alice.identifiers.fraction, 10.0)
    policy = replace(TO_BOB, turns=budget)
    for number in range(40):
        world.registrant.register(
            Uri.parse(f"sip:user{number}@example.com"),
            world.pair.now,
            policy=policy,
            credentials=ALICES,
        )
    world.pair.turn()
    begun, first = world.pair.now, len(world.server.times)
    world.server.replies = [GOOD]
    world.pass_seconds(15.0)
    times = world.server.times[first:]
    assert all(r.state is State.REGISTERED for r in world.registrant.registrations.values())
    assert max(sum(t <= other < t + 1.0 for other in times) for t in times) <= 13
    assert max(times) - begun >= 40 / 10.0


def test_a_challenge_costs_a_turn() -> None:
    world = World(Reply(401, [CHALLENGE]), GOOD)
    budget = Budget(world.pair.alice.identifiers.fraction, 10.0)
    world.register(replace(TO_BOB, turns=budget))
    assert world.state is State.REGISTERED
    assert budget.delay(world.pair.now) == pytest.approx(0.1)


def test_a_challenge_is_answered_by_the_private_identity() -> None:
    world = World(Reply(401, [CHALLENGE]), GOOD).register()
    assert 'username="alice"' in (world.header("Authorization") or "")
    assert 'uri="sip:example.com"' in (world.header("Authorization") or "")
    assert world.state is State.REGISTERED
    world.pass_seconds(3600)
    numbers = [s.request.cseq.number for s in world.server.got]
    assert numbers == [1, 2, 3]
    assert "nc=00000002" in (world.header("Authorization") or "")


def test_where_the_realm_is_known_the_first_register_says_who_we_are() -> None:
    world = World(Reply(401, [CHALLENGE]), GOOD)
    private = Credentials("alice@private", "pw", "home")
    world.id = world.registrant.register(
        ALICE_URI, world.pair.now, policy=TO_BOB, credentials=private
    )
    world.pair.turn()
    assert world.header("Authorization", 0) == (
        'Digest username="alice@private", realm="home", nonce="", uri="sip:example.com", response=""'
    )
    assert 'nonce="n1"' in (world.header("Authorization") or "")
    assert world.state is State.REGISTERED
    assert World().register().header("Authorization") is None


def test_silence_is_followed_by_growing_pauses() -> None:
    world = World(SILENT).register().pass_seconds(3600)
    waits = [f.retry_in or 0 for f in world.failed]
    assert all(f.status is None and f.lost for f in world.failed)
    assert waits[0] <= 2
    assert max(waits) <= 300
    assert 10 < len(waits) < 25


def test_retry_after_is_kept() -> None:
    world = World(Reply(503, [("Retry-After", "100")]), GOOD).register()
    world.pass_seconds(99)
    assert len(world.server.got) == 1
    assert world.pass_seconds(5).state is State.REGISTERED


def test_a_refusal_is_asked_about_again_but_seldom() -> None:
    world = World(Reply(403)).register().pass_seconds(3600)
    assert 10 <= len(world.server.got) <= 13
    assert {(f.status, f.lost) for f in world.failed} == {(403, True)}


def test_a_failed_refresh_is_not_lost_while_the_binding_lives() -> None:
    world = World(GOOD, Reply(503), GOOD).register().pass_seconds(3500)
    assert [f.lost for f in world.failed] == [False]
    assert world.registered[-1].renewed


def test_a_binding_is_refreshed_while_its_registrar_wants_nothing_new() -> None:
    world = World(GOOD).register()
    flow = Flow("udp", ALICE, BOB)
    world.pass_seconds(2990)
    world.pair.alice.asking.destinations.hold(flow, 300, world.pair.now)
    world.pass_seconds(280)
    assert len(world.server.got) == 2 and not world.failed
    first = World(GOOD)
    first.pair.alice.asking.destinations.hold(flow, 300, first.pair.now)
    first.register().pass_seconds(1)
    assert not first.server.got and first.failed


def test_a_refused_refresh_loses_the_binding() -> None:
    world = World(GOOD, Reply(403), GOOD).register().pass_seconds(3700)
    assert [f.lost for f in world.failed] == [True]
    assert not world.registered[-1].renewed


def test_refresh_now_is_for_a_peer_that_is_back() -> None:
    world = World(Reply(503), GOOD).register()
    world.registrant.refresh(world.id, world.pair.now)
    world.registrant.refresh(world.id, world.pair.now)  # one is in flight
    world.registrant.refresh("nobody", world.pair.now)
    world.registrant.remove("nobody", world.pair.now)
    world.pair.turn()
    assert len(world.server.got) == 2
    assert world.state is State.REGISTERED


def test_a_restart_goes_on_with_the_call_id_and_higher_numbers() -> None:
    first = World().register()
    kept = json.loads(json.dumps(first.registrant.snapshot(first.id, first.pair.now)))
    second = World()
    second.id = second.registrant.restore(
        kept, second.pair.now, policy=TO_BOB, credentials=ALICES, elapsed=5.0
    )
    second.pair.turn()
    assert second.id == first.id
    before, after = first.server.got[0].request, second.server.got[0].request
    assert after.call_id == before.call_id
    assert after.cseq.number > before.cseq.number
    assert second.state is State.REGISTERED


def test_after_a_restart_the_binding_of_before_is_still_known() -> None:
    first = World().register()
    kept = json.loads(json.dumps(first.registrant.snapshot(first.id, first.pair.now)))
    for elapsed, lives in ((3000.0, True), (4000.0, False)):
        second = World(Reply(503), GOOD)
        second.id = second.registrant.restore(
            kept, second.pair.now, policy=TO_BOB, credentials=ALICES, elapsed=elapsed
        )
        second.pair.turn()
        assert [f.lost for f in second.failed] == [not lives]
        second.remove()
        asked = [s.request.expires for s in second.server.got]
        assert asked == [3600, 0] if lives else [3600]
        assert second.over


@pytest.mark.parametrize("lost", [SILENT, Reply(408), Reply(504)])
def test_a_binding_whose_200_was_lost_is_taken_away_too(lost: Reply) -> None:
    world = World(lost, GOOD).register()
    if lost is SILENT:
        world.pass_seconds(32.5)
    assert world.state is State.WAITING and world.failed[0].lost
    world.remove()
    assert [s.request.expires for s in world.server.got] == [3600, 0]
    assert world.over


def test_after_a_certain_refusal_there_is_nothing_to_take_away() -> None:
    world = World(SILENT, Reply(403), GOOD).register().pass_seconds(40)
    assert world.state is State.REFUSED
    world.remove()
    assert len(world.server.got) == 2 and world.over


@pytest.mark.parametrize("stored", [{}, {"id": 1}, {"id": "x", "identity": "sip:"}])
def test_what_is_no_snapshot_is_refused(stored: dict[str, object]) -> None:
    world = World()
    with pytest.raises(LocalProtocolError):
        world.registrant.restore(json.loads(json.dumps(stored)), 0.0, elapsed=0.0)
    with pytest.raises(LocalProtocolError):
        world.registrant.snapshot("nobody", 0.0)
