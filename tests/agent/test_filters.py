"""Event filters (RFC 4660) between a watcher and the agent, and between it and peers that know none."""

from dataclasses import replace

import pytest

from sipbridge.agent import presence_agent
from sipbridge.agent.ports import SubscriptionStored
from sipbridge.agent.publications import NotShown
from sipbridge.errors import DocumentError
from sipbridge.events.presence_package import SIMPLE_FILTER
from sipbridge.events.subscriber import State
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.mapping.filters import NO_FILTER, filter_for
from sipbridge.presence import simple_filter
from sipbridge.presence.rules import ALL, Provide, Transformations
from sipbridge.sip.address import NameAddr
from sipbridge.sip.policy import PeerPolicy
from tests.agent.world import ALLOW, CAROL, CONFIRM, DAVE, ERIN, KEY, AgentWorld, document
from tests.events.peers import ALICE_URI, BOB_URI, TO_BOB, Answer
from tests.events.test_subscriber import World
from tests.harness.pair import BOB, Outcome

FILTERS = replace(TO_BOB, name="bob", filters=True)
ACTIVITY = filter_for({AttributeKind.ACTIVITY})
PLACE = filter_for({AttributeKind.PLACE})
PERSON = (
    '<dm:person id="p"><r:activities><r:{}/></r:activities><r:mood><r:{}/></r:mood>'
    "<r:place-type><lt:home xmlns:lt='urn:ietf:params:xml:ns:location-type'/></r:place-type></dm:person>"
)


def says(basic: str = "open", activity: str = "busy", mood: str = "happy") -> bytes:
    return document(basic, more=PERSON.format(activity, mood))


def filter_of(inside: str, id: str = "f", more: str = "") -> bytes:
    names = {
        "p": "urn:ietf:params:xml:ns:pidf",
        "r": "urn:ietf:params:xml:ns:pidf:rpid",
    }
    bindings = simple_filter.bindings_of(names)
    return simple_filter.document(f'{bindings}<filter id="{id}"{more}>{inside}</filter>')


def watch(world: AgentWorld, filter: bytes, policy: PeerPolicy = FILTERS) -> str:
    id = world.subscriber.subscribe(
        CAROL, DAVE, "presence", world.pair.now, policy=policy, filter=filter
    )
    world.pair.turn()
    return id


# --- the agent ------------------------------------------------------------------------------------------


def test_a_watcher_is_told_what_its_filter_includes_and_of_changes_in_that() -> None:
    world = AgentWorld()
    publication = world.publish(says())
    watching = watch(world, ACTIVITY)
    (person,) = world.seen(watching).persons
    assert (len(person.activities), person.moods, person.place_types) == (1, (), ())
    world.modify(publication, says(mood="angry"))
    assert len(world.notified(watching)) == 1
    world.modify(publication, says(activity="away"))
    assert len(world.notified(watching)) == 2


@pytest.mark.parametrize(
    ("step", "wish"),
    [
        ("narrowed", "<what><include>//r:mood</include></what>"),
        ("triggered", '<trigger><changed from="sad">//r:mood</changed></trigger>'),
    ],
)
def test_a_filter_that_cannot_be_applied_is_the_matter_of_its_watcher(
    monkeypatch: pytest.MonkeyPatch, step: str, wish: str
) -> None:
    world = AgentWorld()
    publication = world.publish(says())
    with_filter, without = watch(world, filter_of(wish)), world.watch(ERIN)

    def failing(*documents: object) -> object:
        raise DocumentError("too odd")

    monkeypatch.setattr(presence_agent, step, failing)
    world.modify(publication, says("closed"))
    assert world.publish_failed == []
    assert world.basics(without) == ["closed"]
    assert world.basics(with_filter) == ["closed"]
    assert set(world.pair.said_by(BOB, NotShown)) == {NotShown(KEY, "too odd")}
    world.end(with_filter)
    assert world.terminated == [("timeout", False)]


def test_a_filter_never_shows_what_the_permission_hides() -> None:
    world = AgentWorld()
    shown = Transformations(persons=ALL, provide=frozenset({Provide.ACTIVITIES}))
    world.decide(DAVE, ALLOW, shown)
    world.publish(says())
    everything = watch(world, filter_of("<what><include>//r:mood</include></what>"))
    assert world.seen(everything).persons == ()
    wire = b"".join(sent.data for sent in world.pair.wire.named("NOTIFY"))
    assert b"happy" not in wire


def test_a_new_filter_takes_the_place_of_the_old_one_at_once() -> None:
    world = AgentWorld()
    world.publish(says())
    watching = watch(world, ACTIVITY)
    world.subscriber.set_filter(watching, PLACE, world.pair.now)
    world.pair.turn()
    (person,) = world.seen(watching).persons
    assert (person.activities, len(person.place_types)) == ((), 1)
    world.subscriber.set_filter(watching, NO_FILTER, world.pair.now)
    world.pair.turn()
    assert len(world.seen(watching).persons[0].moods) == 1
    assert len(world.pair.wire.named("SUBSCRIBE")) == 3


def test_a_new_filter_that_cannot_be_stored_changes_nothing() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(says())
    watching = watch(world, ACTIVITY)
    world.pair.commit_at_once = False
    world.subscriber.set_filter(watching, PLACE, world.pair.now)
    world.pair.turn()
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.turn()
    assert world.pair.wire.named("500")
    world.pair.commit_at_once = True
    world.subscriber.subscriptions[watching].filter = b""
    world.modify(publication, says(activity="away"))
    (person,) = world.seen(watching).persons
    assert (len(person.activities), person.place_types) == (1, ())


def test_the_charset_of_a_filter_is_that_of_its_media_type() -> None:
    world = AgentWorld()
    world.publish(says())
    body = filter_of("<what><include>//r:mood</include></what>", id="gefühl")
    headers = ("Event", "presence"), ("Content-Type", f"{SIMPLE_FILTER};charset=iso-8859-1")
    outcome, to = Outcome(), NameAddr(str(CAROL))
    request = world.pair.alice.new_request(
        "SUBSCRIBE",
        CAROL,
        from_=NameAddr(str(DAVE)),
        to=to,
        headers=headers,
        body=body.decode().replace(' encoding="UTF-8"', "").encode("iso-8859-1"),
    )
    world.pair.alice.request(request, outcome, world.pair.now, policy=TO_BOB)
    world.pair.turn()
    assert outcome.status == 200


def test_a_filter_that_comes_while_a_subscribe_is_in_flight_is_not_forgotten() -> None:
    world = AgentWorld()
    world.publish(says())
    world.pair.wire.latency = 0.1
    watching = watch(world, ACTIVITY)
    world.subscriber.set_filter(watching, PLACE, world.pair.now)
    world.pair.pass_seconds(2)
    (person,) = world.seen(watching).persons
    assert (person.activities, len(person.place_types)) == ((), 1)


def test_triggers_say_when_to_tell() -> None:
    world = AgentWorld()
    publication = world.publish(says("closed"))
    trigger = '<trigger><changed from="CLOSED" to="OPEN">//p:basic</changed></trigger>'
    watching = watch(world, filter_of(trigger))
    world.modify(publication, says("closed", "away"))
    world.modify(publication, says("open", "away"))
    world.modify(publication, says("closed", "away"))
    told = [world.basics(watching), len(world.notified(watching))]
    assert told == [["open"], 2]
    world.subscriber.refresh(watching, world.pair.now)
    world.pair.turn()
    assert world.basics(watching) == ["closed"]


def test_a_filter_waits_for_the_decision_with_its_watcher() -> None:
    world = AgentWorld(CONFIRM)
    world.publish(says())
    watching = watch(world, ACTIVITY)
    world.decide(DAVE, ALLOW)
    (person,) = world.seen(watching).persons
    assert (len(person.activities), person.moods) == (1, ())


def test_filters_survive_a_restart() -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(says())
    watching = watch(world, ACTIVITY)
    world.restart(asleep=5)
    world.pair.pass_seconds(2)
    world.modify(publication, says(activity="away", mood="angry"))
    (person,) = world.seen(watching).persons
    assert (len(person.activities), person.moods) == (1, ())


def test_a_subscription_whose_stored_filters_cannot_be_read_is_gone_altogether(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = AgentWorld(storing=True)
    publication = world.publish(says())
    watching = watch(world, ACTIVITY)
    broken = [
        replace(each, snapshot=each.snapshot.replace("r:activities", "r:["))
        if isinstance(each, SubscriptionStored)
        else each
        for each in world.records()
    ]
    monkeypatch.setattr(world, "records", lambda: broken)
    world.restart()
    assert world.agent.notifier.subscriptions == {}
    world.modify(publication, says(activity="away"))
    world.pair.pass_seconds(5)
    assert len(world.notified(watching)) == 1


def test_filters_about_others_are_for_others() -> None:
    world = AgentWorld()
    world.publish(says())
    mood = "<what><exclude>//r:mood</exclude></what>"
    for more, excluded in (
        (' uri="sip:carol@example.com"', True),
        (' uri="sip:erin@example.com"', False),
        (' domain="example.com"', True),
        (' domain="example.org"', False),
    ):
        watching = watch(world, filter_of(mood, more=more))
        assert (world.seen(watching).persons[0].moods == ()) is excluded


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (filter_of("<what><include>//x:y</include></what>"), 488),
        (filter_of("<what><include>/p:presence[position()=1]</include></what>"), 488),
        (filter_of("", more=' uri="nobody"'), 488),
        (b"<filter-set", 400),
        (b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>", 400),
    ],
)
def test_what_the_agent_does_not_serve_is_refused_and_the_watcher_asks_without(
    body: bytes, status: int
) -> None:
    world = AgentWorld()
    world.publish(says())
    watching = watch(world, body)
    first, second = world.pair.wire.named("SUBSCRIBE")
    assert SIMPLE_FILTER in first.header("Content-Type")
    assert not second.header("Content-Type")
    answers = [s for s in world.pair.wire.sent if s.first_line.startswith(f"SIP/2.0 {status}")]
    assert len(answers) == 1 and answers[0].header("Warning")
    assert len(world.seen(watching).persons[0].moods) == 1


def test_partial_documents_are_about_what_the_filter_tells() -> None:
    world = AgentWorld()
    many = "".join(
        f'<tuple id="x{n}"><status><basic>open</basic></status></tuple>' for n in range(9)
    )
    publication = world.publish(document(more=many + PERSON.format("busy", "happy")))
    watching = watch(world, ACTIVITY)
    world.modify(publication, document(more=many + PERSON.format("away", "angry")))
    wire = b"".join(sent.data for sent in world.pair.wire.named("NOTIFY"))
    assert b"pidf-diff>" in wire and b"angry" not in wire
    (person,) = world.seen(watching).persons
    assert person.activities[0].tokens[0].name.endswith("}away")


# --- the watcher and peers that know no filters ---------------------------------------------------------


def brought(world: World) -> list[bool]:
    """Whether each SUBSCRIBE brought a filter."""
    return [bool(incoming.request.body) for incoming in world.notifier.got]


def subscribe(world: World, policy: PeerPolicy = FILTERS) -> World:
    world.id = world.subscriber.subscribe(
        BOB_URI, ALICE_URI, "presence", world.pair.now, policy=policy, filter=ACTIVITY
    )
    world.pair.turn()
    return world


def test_only_a_peer_that_is_known_to_take_filters_is_sent_any() -> None:
    assert brought(subscribe(World(), TO_BOB)) == [False]


def test_each_refresh_brings_the_filter_but_not_the_end() -> None:
    world = subscribe(World())
    world.refresh()
    world.end()
    assert brought(world) == [True, True, False]


@pytest.mark.parametrize("status", [400, 413, 415, 488, 489])
def test_a_peer_that_refuses_filters_is_asked_without_and_that_is_remembered(status: int) -> None:
    world = subscribe(World(Answer(status), Answer()))
    assert brought(world) == [True, False]
    assert (world.state, world.refused) == (State.ACTIVE, [])
    subscribe(world)
    assert brought(world)[2:] == [False]
    subscribe(world, replace(FILTERS, name="another"))
    assert brought(world)[3:] == [True]


def test_a_refusal_in_the_dialog_leads_to_a_new_one_without_filter() -> None:
    world = subscribe(World(Answer(), Answer(488), Answer()))
    world.refresh()
    assert [(t.reason, t.will_retry) for t in world.terminated] == [("badfilter", True)]
    world.pair.pass_seconds(2)
    assert brought(world) == [True, True, False]
    assert len({i.request.call_id for i in world.notifier.got}) == 2
    assert world.state is State.ACTIVE


def test_a_subscription_that_ends_because_of_its_filter_begins_anew_without() -> None:
    world = subscribe(World())
    world.notify("terminated;reason=badfilter")
    world.pair.pass_seconds(2)
    assert brought(world) == [True, False]
    assert world.state is State.ACTIVE


def test_another_filter_may_please_a_peer_that_refused_one() -> None:
    world = subscribe(World(Answer(), Answer(488), Answer()), replace(FILTERS, name=""))
    world.refresh()
    world.pair.pass_seconds(2)
    world.subscriber.set_filter(world.id, ACTIVITY.replace(b"</filter>", b" </filter>"), 0.0)
    world.pair.turn()
    assert brought(world) == [True, True, False, True]
    assert world.state is State.ACTIVE


def test_a_refusal_for_another_reason_is_told() -> None:
    world = subscribe(World(Answer(488), Answer(403)))
    assert [r.status for r in world.refused] == [403]
    assert brought(subscribe(World(Answer()))) == [True]
