"""Lists at the agent: one subscription that stands for many (RFC 4662)."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from sipbridge.agent.lists import ListUse
from sipbridge.agent.presence_agent import AgentLimits
from sipbridge.events import resource_list
from sipbridge.events.presence_package import PRESENCE, RESOURCE_LISTS
from sipbridge.events.resource_list import ListView
from sipbridge.identities import PresentityKey
from sipbridge.presence import lists as resource_lists
from sipbridge.presence import pidf, rlmi
from sipbridge.presence.lists import Entry, List, ResourceLists
from sipbridge.presence.model import Note
from sipbridge.presence.rlmi import ResourceList
from sipbridge.presence.rules import EVERYTHING, Conditions, Period, Rule, RuleSet, SubHandling
from sipbridge.presence.schema import is_valid
from sipbridge.sip.address import NameAddr
from sipbridge.sip.multipart import Part
from sipbridge.sip.policy import PeerPolicy
from sipbridge.uri import Uri
from tests.agent.world import (
    ALLOW,
    BLOCK,
    CAROL,
    CONFIRM,
    DAVE,
    ERIN,
    POLITE_BLOCK,
    AgentWorld,
    document,
)
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE, Answers, Outcome
from tests.harness.wire import Sent

FRIENDS = Uri.parse("sip:friends@example.com")
FRANK = Uri.parse("sip:frank@example.com")
FOREIGN = "sip:zoe@example.org"
LISTING = replace(TO_BOB, capabilities=TO_BOB.capabilities | {"eventlist"}, encodings=())
PACKED = replace(LISTING, encodings=("gzip",))
GATHER = 0.1
IN_ONE_PIECE = 1472
"""Bytes of a datagram that Ethernet carries in one packet: more than the 1,300 of RFC 3261 §18.1.1, which the
smallest document, in a table's wrapping and with the head of a NOTIFY, is beyond already."""


def key(uri: Uri | str) -> PresentityKey:
    return PresentityKey(str(uri))


class ListWorld(AgentWorld):
    """Dave watches a list of Carol, Erin and Frank."""

    def __init__(
        self,
        *members: Uri | str,
        sub_handling: SubHandling = ALLOW,
        limits: AgentLimits | None = None,
        storing: bool = False,
    ) -> None:
        super().__init__(sub_handling, limits=limits, storing=storing)
        self.has(FRIENDS, *(members or (CAROL, ERIN, FRANK)))

    def has(self, uri: Uri | str, *members: Uri | str) -> None:
        """The agent has this list."""
        self.lists[key(uri)] = tuple(Entry(str(member)) for member in members)

    def only_udp(self) -> None:
        """The watcher has no TCP, so that what is lost comes again by the transaction."""
        self.pair.refused.add(("tcp", ALICE))

    def subscribe(self, target: Uri = FRIENDS, *, policy: PeerPolicy = LISTING) -> str:
        return self.watch(DAVE, target, policy=policy)

    def says(self, who: Uri, basic: str = "open", id: str = "t1", more: str = "") -> str:
        """Somebody publishes, and the moment passes in which changes are gathered."""
        publication = self.publish(document(basic, id, more), identity=who, entity=who)
        self.pair.pass_seconds(GATHER)
        return publication

    def tables(self, id: str) -> list[ResourceList]:
        return [opened(n.content_type, n.body)[0] for n in self.notified(id) if n.body]

    def rows_told(self, id: str, number: int = -1) -> list[tuple[str, str, str | None, bool]]:
        """Name, state, reason and "has a document" of each row of one body; state "" without instance."""
        told = []
        for resource in self.tables(id)[number].resources:
            name = resource.uri.partition(":")[2].partition("@")[0]
            told += [(name, i.state, i.reason, i.cid is not None) for i in resource.instances]
            if not resource.instances:
                told.append((name, "", None, False))
        return told

    def send_subscribe(self, body: bytes, kind: str, in_dialog_of: str = "") -> Outcome:
        """A SUBSCRIBE with any body."""
        alice, outcome = self.pair.alice, Outcome()
        headers = [
            ("Event", "presence"),
            ("Supported", "eventlist"),
            ("Accept", "multipart/related, application/rlmi+xml, application/pidf+xml"),
            ("Content-Type", kind),
        ]
        if in_dialog_of:
            dialog = self.subscriber.subscriptions[in_dialog_of].dialog
            assert dialog is not None
            request = dialog.new_request("SUBSCRIBE", headers, body)
            alice.request_in_dialog(dialog, request, outcome, self.pair.now)
        else:
            sender, to = NameAddr.parse(f"<{DAVE}>"), NameAddr.parse("<sip:rls@example.com>")
            request = alice.new_request(
                "SUBSCRIBE", to.uri, from_=sender, to=to, headers=headers, body=body
            )
            alice.request(request, outcome, self.pair.now, policy=TO_BOB)
        self.pair.turn()
        return outcome

    def view(self, id: str) -> ListView:
        """What a subscriber makes of everything that arrived."""
        view = ListView()
        for notified in self.notified(id):
            if notified.body:
                assert not view.receive(notified.content_type, notified.body).missed
        return view


def opened(content_type: str, body: bytes) -> tuple[ResourceList, dict[str, Part]]:
    table, parts = resource_list.opened(content_type, body)
    assert is_valid(rlmi.serialise(table))
    cids = [i.cid for r in table.resources for i in r.instances if i.cid is not None]
    assert all(cid in parts for cid in cids)
    assert len(parts) == len(cids) + 1  # and the table; nobody is sent what no row names
    return table, parts


def test_a_list_is_answered_with_its_members_and_requires_that_lists_are_known() -> None:
    world = ListWorld()
    world.publish(document("open"))
    listed = world.subscribe()
    (answer,) = [s for s in world.pair.wire.sent if "200 SUBSCRIBE" in s.words]
    (notify,) = [s for s in world.pair.wire.sent if "NOTIFY" in s.words and "request" in s.words]
    assert (answer.header("Require"), notify.header("Require")) == ("eventlist", "eventlist")
    assert notify.header("Content-Type").startswith("multipart/related;")
    assert [(t.version, t.full, t.uri) for t in world.tables(listed)] == [(0, True, str(FRIENDS))]
    assert world.rows_told(listed) == [
        ("carol", "active", None, True),
        ("erin", "active", None, False),
        ("frank", "active", None, False),
    ]
    assert world.states(listed) == ["active"]


def test_changes_come_as_parts_with_growing_versions() -> None:
    world = ListWorld()
    listed = world.subscribe()
    publication = world.says(CAROL)
    world.says(ERIN)
    world.modify(publication, document("closed"))
    world.pair.pass_seconds(GATHER)
    assert [(t.version, t.full) for t in world.tables(listed)] == [
        (0, True),
        (1, False),
        (2, False),
        (3, False),
    ]
    assert [world.rows_told(listed, n)[0][0] for n in (1, 2, 3)] == ["carol", "erin", "carol"]
    assert b"closed" in world.last(listed).body
    assert set(world.view(listed).roster()) == {str(CAROL), str(ERIN), str(FRANK)}


def test_a_burst_becomes_one_notification() -> None:
    world = ListWorld()
    listed = world.subscribe()
    for who in (CAROL, ERIN, FRANK):
        world.publish(document(), identity=who, entity=who)
    assert len(world.notified(listed)) == 1
    world.pair.pass_seconds(GATHER)
    assert len(world.notified(listed)) == 2
    assert [name for name, *_ in world.rows_told(listed)] == ["carol", "erin", "frank"]


def test_what_changes_nothing_for_the_watcher_tells_nothing() -> None:
    world = ListWorld()
    publication = world.publish(document())
    listed = world.subscribe()
    world.modify(publication, document("closed"))
    world.modify(publication, document("open"))
    world.pair.pass_seconds(1)
    assert len(world.notified(listed)) == 1


def test_who_does_not_know_lists_is_told_what_is_required() -> None:
    world = ListWorld()
    world.subscribe(policy=TO_BOB)
    (answer,) = [s for s in world.pair.wire.sent if "421" in s.words]
    assert answer.header("Require") == "eventlist"
    assert world.refused == [421]


def test_each_member_decides_for_itself() -> None:
    world = ListWorld(CAROL, ERIN, FRANK, "sip:gina@example.com")
    for who in (CAROL, ERIN, FRANK, Uri.parse("sip:gina@example.com")):
        world.publish(document(), identity=who, entity=who)
    world.decide(DAVE, CONFIRM)
    world.decide(DAVE, BLOCK, key=key(ERIN))
    world.decide(DAVE, POLITE_BLOCK, key=key(FRANK))
    listed = world.subscribe()
    assert world.rows_told(listed) == [
        ("carol", "pending", None, False),
        ("erin", "terminated", "rejected", False),
        ("frank", "active", None, True),
        ("gina", "active", None, True),
    ]
    table, parts = opened(world.last(listed).content_type, world.last(listed).body)
    shown = {r.uri: parts[i.cid].body for r in table.resources for i in r.instances if i.cid}
    assert b"closed" in shown[str(FRANK)] and b"t1" not in shown[str(FRANK)]
    assert b"open" in shown["sip:gina@example.com"]


def test_the_document_is_the_one_of_a_direct_subscription() -> None:
    world = ListWorld()
    world.says(CAROL, more="<dm:person id='p'><r:activities><r:busy/></r:activities></dm:person>")
    world.decide(DAVE, ALLOW)
    listed, direct = world.subscribe(), world.watch()
    table, parts = opened(world.last(listed).content_type, world.last(listed).body)
    cid = table.resources[0].instances[0].cid or ""
    assert pidf.parse(parts[cid].body) == world.seen(direct)
    assert b"busy" in parts[cid].body


def test_a_decision_changes_what_the_list_shows() -> None:
    world = ListWorld()
    world.publish(document())
    world.decide(DAVE, CONFIRM)
    listed = world.subscribe()
    told = []
    for handling in (ALLOW, CONFIRM, BLOCK, ALLOW):
        world.decide(DAVE, handling)
        world.pair.pass_seconds(GATHER)
        (only,) = world.tables(listed)[-1].resources
        told.append([(i.id, i.state, i.reason, i.cid is not None) for i in only.instances])
    assert told == [
        [("1", "active", None, True)],
        [("1", "pending", None, False)],
        [("1", "terminated", "rejected", False)],
        [("2", "active", None, True)],
    ]
    assert len(world.notified(listed)) == 5


def test_decisions_that_nobody_was_told_of_leave_no_instance_behind() -> None:
    world = ListWorld()
    listed = world.subscribe()
    world.decide(DAVE, BLOCK)
    world.decide(DAVE, CONFIRM)
    world.pair.pass_seconds(GATHER)
    (only,) = world.tables(listed)[-1].resources
    assert [(i.id, i.state) for i in only.instances] == [("1", "pending")]
    assert world.view(listed).roster()[str(CAROL)].state == "pending"


def test_members_see_who_watches_them_through_a_list() -> None:
    world = ListWorld()
    world.decide(DAVE, CONFIRM)
    watchers = world.winfo()
    listed = world.subscribe()
    assert world.rows(watchers) == [(str(DAVE), "pending", "subscribe")]
    world.decide(DAVE, ALLOW)
    assert world.rows(watchers) == [(str(DAVE), "active", "approved")]
    world.end(listed)
    assert world.rows(watchers) == [(str(DAVE), "terminated", "timeout")]


def test_who_was_never_decided_waits_when_the_list_is_left() -> None:
    world = ListWorld(sub_handling=CONFIRM, storing=True)
    world.end(world.subscribe())
    assert world.rows(world.winfo()) == [(str(DAVE), "waiting", "timeout")]
    assert len(world.records()) == 4  # three who wait, and the winfo subscription


def test_whom_we_cannot_speak_for_stands_there_without_instance() -> None:
    world = ListWorld(CAROL, FOREIGN, "tel:+15551234", "no address at all")
    listed = world.subscribe()
    assert [r.uri for r in world.tables(listed)[0].resources] == [
        str(CAROL),
        FOREIGN,
        "tel:+15551234",
        "no address at all",
    ]
    assert [len(r.instances) for r in world.tables(listed)[0].resources] == [1, 0, 0, 0]


def test_each_address_stands_there_once() -> None:
    world = ListWorld(
        CAROL, "sips:CAROL@example.com", "sip:carol@EXAMPLE.com:5060", FOREIGN, FOREIGN
    )
    listed = world.subscribe()
    uris = [r.uri for r in world.tables(listed)[0].resources]
    assert uris == [str(CAROL), "sips:CAROL@example.com", FOREIGN]


def test_a_refresh_brings_the_full_state() -> None:
    world = ListWorld()
    listed = world.subscribe()
    world.says(CAROL)
    world.subscriber.refresh(listed, world.pair.now)
    world.pair.turn()
    assert [(t.version, t.full) for t in world.tables(listed)] == [(0, True), (1, False), (2, True)]
    assert len(world.rows_told(listed)) == 3


def test_a_fetch_brings_everybody_once() -> None:
    world = ListWorld()
    world.publish(document())
    fetched = world.fetch(DAVE, FRIENDS, policy=LISTING)
    assert world.states(fetched) == ["terminated"]
    assert world.rows_told(fetched)[0] == ("carol", "active", None, True)
    assert not world.agent.notifier.subscriptions
    assert all(not p.members for p in world.agent.presentities.values())


def test_an_end_is_told_without_anybody() -> None:
    world = ListWorld()
    world.publish(document())
    listed = world.subscribe()
    world.end(listed)
    last = [s for s in world.pair.wire.sent if s.data.startswith(b"NOTIFY")][-1]
    assert last.header("Subscription-State") == "terminated;reason=timeout"
    assert (last.header("Content-Length"), last.header("Require")) == ("0", "eventlist")
    assert set(world.agent.presentities) == {key(CAROL)}


def test_nobody_publishes_for_a_list() -> None:
    world = ListWorld()
    world.publish(document(), identity=FRIENDS, entity=FRIENDS)
    assert world.publish_failed == [403]


def test_a_list_that_is_too_long_for_one_message_is_refused() -> None:
    world = ListWorld(*(f"sip:u{n}@example.com" for n in range(301)))
    world.subscribe()
    assert world.refused == [413]


def test_rules_bound_to_a_time_change_the_list_at_that_time() -> None:
    world = ListWorld(CAROL, sub_handling=CONFIRM)
    lunch = Period(world.at + timedelta(seconds=100), world.at + timedelta(seconds=200))
    rule = Rule("lunch", Conditions(validity=(lunch,)), ALLOW, EVERYTHING)
    world.rules[key(CAROL)] = RuleSet((rule,))
    listed = world.subscribe()
    told = []
    for seconds in (99, 2, 110):
        world.pair.pass_seconds(seconds)
        told.append(world.rows_told(listed)[0][1])
    assert told == ["pending", "active", "pending"]


def test_a_subscriber_who_falls_silent_watches_nobody_any_more() -> None:
    world = ListWorld(storing=True)
    watchers = world.winfo()
    world.subscribe()
    assert world.rows(watchers) == [(str(DAVE), "active", "subscribe")]
    world.only_udp()
    world.pair.wire.chance = lambda data: (0 if b"eventlist" in data else 1, 0.0)
    world.says(CAROL)
    world.pair.pass_seconds(40)
    assert world.rows(watchers) == [(str(DAVE), "terminated", "timeout")]
    assert world.agent.listed == 0
    assert len(world.records()) == 2  # the publication and the winfo subscription


def test_a_subscription_that_runs_out_ends() -> None:
    world = ListWorld()
    listed = world.watch(DAVE, FRIENDS, policy=LISTING, expires=60)
    world.pair.wire.drop_next("SUBSCRIBE", 1000)
    world.pair.pass_seconds(61)
    last = [s for s in world.pair.wire.sent if s.data.startswith(b"NOTIFY")][-1]
    assert last.header("Subscription-State") == "terminated;reason=timeout"
    assert world.agent.listed == 0 and listed


# --- lists in lists -------------------------------------------------------------------------------------

CREW = Uri.parse("sip:crew@example.com")


def test_a_list_in_a_list_is_shown_with_its_own_table_and_versions() -> None:
    world = ListWorld(CAROL, CREW)
    world.has(CREW, ERIN, FRANK)
    listed = world.subscribe()
    world.says(ERIN)
    world.says(CAROL)
    world.says(FRANK)
    assert set(world.view(listed).roster()) == {str(CAROL), str(ERIN), str(FRANK)}
    assert world.rows_told(listed, 0) == [
        ("carol", "active", None, False),
        ("crew", "active", None, True),
    ]
    inner = []
    for notified in world.notified(listed):
        table, parts = opened(notified.content_type, notified.body)
        for part in parts.values():
            if part.content_type is not None and part.content_type.is_multipart:
                of_crew, _ = opened(str(part.content_type), part.body)
                assert of_crew.uri == str(CREW)
                inner.append((table.version, of_crew.version, of_crew.full))
    assert inner == [(0, 0, True), (1, 1, False), (3, 2, False)]


@pytest.mark.parametrize(("depth", "shown"), [(1, {"carol"}), (2, {"carol", "erin"})])
def test_lists_are_opened_to_a_depth(depth: int, shown: set[str]) -> None:
    world = ListWorld(CAROL, CREW, limits=AgentLimits(list_depth=depth))
    world.has(CREW, ERIN, "sip:deck@example.com")
    world.has("sip:deck@example.com", FRANK)
    roster = world.view(world.subscribe()).roster()
    states = {uri[4:].partition("@")[0]: (m.state, m.reason) for uri, m in roster.items()}
    assert {name for name, said in states.items() if said == ("active", "")} == shown
    assert [said for said in states.values() if said[0] == "terminated"] == [
        ("terminated", "noresource")
    ]


def test_a_list_that_holds_itself_is_not_followed() -> None:
    world = ListWorld(CREW, CAROL)
    world.has(CREW, FRIENDS, ERIN, CREW)
    listed = world.subscribe()
    roster = world.view(listed).roster()
    assert {uri: m.state for uri, m in roster.items()} == {
        str(FRIENDS): "terminated",
        str(CREW): "terminated",
        str(ERIN): "active",
        str(CAROL): "active",
    }


# --- lists that are brought along (RFC 5367) --------------------------------------------------------------

RLS = Uri.parse("sip:rls@example.com")


def test_a_subscribe_brings_its_list() -> None:
    world = ListWorld()
    world.publish(document())
    listed = world.watch(
        DAVE, RLS, members=[str(CAROL), "sips:carol@EXAMPLE.com", FOREIGN, str(ERIN)]
    )
    asked = next(s for s in world.pair.wire.sent if s.data.startswith(b"SUBSCRIBE"))
    assert asked.header("Require") == "recipient-list-subscribe"
    assert asked.header("Content-Disposition") == "recipient-list"
    assert "eventlist" in asked.header("Supported")
    assert world.tables(listed)[0].uri == str(RLS)
    assert world.rows_told(listed) == [
        ("carol", "active", None, True),
        ("zoe", "", None, False),
        ("erin", "active", None, False),
    ]
    world.says(ERIN)
    assert world.rows_told(listed) == [("erin", "active", None, True)]


def test_a_refresh_does_not_bring_the_list_again() -> None:
    world = ListWorld()
    listed = world.watch(DAVE, RLS, members=[str(CAROL)])
    world.subscriber.refresh(listed, world.pair.now)
    world.pair.turn()
    again = [s for s in world.pair.wire.sent if s.data.startswith(b"SUBSCRIBE")][-1]
    assert (again.header("Content-Length"), again.header("Require")) == ("0", "")
    assert [t.full for t in world.tables(listed)] == [True, True]


@pytest.mark.parametrize(
    ("members", "target", "status"),
    [
        ([FOREIGN], RLS, 403),
        ([f"sip:u{n}@example.com" for n in range(301)], RLS, 413),
        ([str(CAROL)], FRIENDS, 403),
        ([str(CAROL)], Uri.parse("sip:rls@example.org"), 404),
    ],
)
def test_lists_that_are_not_taken(members: list[str], target: Uri, status: int) -> None:
    world = ListWorld()
    world.watch(DAVE, target, members=members)
    assert world.refused == [status]
    assert not world.agent.notifier.subscriptions


def test_members_of_lists_count_as_subscriptions() -> None:
    world = ListWorld(limits=AgentLimits(subscriptions=4))
    world.subscribe()
    world.watch(DAVE, RLS, members=[str(CAROL), str(ERIN)])
    assert world.refused == [503]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<resource-lists", RESOURCE_LISTS, 400),
        (b'<list xmlns="urn:ietf:params:xml:ns:rlmi"/>', RESOURCE_LISTS, 400),
        (b"hello", "text/plain", 415),
    ],
)
def test_bodies_that_are_no_list_are_refused(body: bytes, kind: str, status: int) -> None:
    world = ListWorld()
    outcome = world.send_subscribe(body, kind)
    assert outcome.status == status
    if status == 415:
        assert RESOURCE_LISTS in (outcome.responses[0].headers.get("Accept") or "")


def test_another_list_in_the_dialog_is_refused_and_the_same_one_taken() -> None:
    world = ListWorld()
    listed = world.watch(DAVE, RLS, members=[str(CAROL)])
    for members, status in (([str(CAROL)], 200), ([str(ERIN)], 415)):
        body = resource_lists.serialise(resource_lists.of(members))
        outcome = world.send_subscribe(body, RESOURCE_LISTS, in_dialog_of=listed)
        assert outcome.status == status
    assert world.rows_told(listed) == [("carol", "active", None, False)]


def test_a_list_in_the_dialog_of_a_subscription_to_one_person_is_refused() -> None:
    world = ListWorld()
    world.says(CAROL)
    watching = world.subscribe(CAROL)
    body = resource_lists.serialise(resource_lists.of([str(ERIN)]))
    outcome = world.send_subscribe(body, RESOURCE_LISTS, in_dialog_of=watching)
    assert outcome.status == 415
    assert len(world.notified(watching)) == 1


def test_nobody_waits_for_strangers_that_a_list_names() -> None:
    world = ListWorld(sub_handling=CONFIRM, storing=True)
    world.says(CAROL)
    before = len(world.records())
    world.end(world.watch(DAVE, RLS, members=[str(uri) for uri in (CAROL, *many(50))]))
    assert set(world.agent.presentities) == {key(CAROL)}
    assert len(world.records()) == before + 1
    assert world.rows(world.winfo()) == [(str(DAVE), "waiting", "timeout")]


def test_a_list_that_was_brought_survives_a_restart() -> None:
    world = ListWorld(storing=True)
    listed = world.watch(DAVE, RLS, members=[str(CAROL), str(ERIN)])
    world.restart()
    world.pair.pass_seconds(1)
    world.says(ERIN)
    assert [len(t.resources) for t in world.tables(listed)] == [2, 2, 1]


def test_the_names_of_a_list_that_was_brought_are_kept_with_it() -> None:
    world = ListWorld()
    names = (Note("Carol", "en"), Note("Erin & Frank"), None)
    entries = tuple(
        Entry(str(uri), name) for uri, name in zip((CAROL, ERIN, FRANK), names, strict=True)
    )
    kept = json.dumps(ListUse(str(RLS), entries=entries, brought=True).kept())
    use = world.agent.lister.kept(RLS, json.loads(kept))
    assert use is not None and use.entries == entries
    before = world.agent.lister.kept(RLS, [str(CAROL), ["sip:x@example.com", 7, None], 7])
    assert before is not None and before.entries == (Entry(str(CAROL)),)


@pytest.mark.parametrize(
    "entries",
    [
        (Entry(str(CAROL)), Entry(str(ERIN))),
        (Entry(str(CAROL), Note("Caz")), Entry(str(ERIN), Note("Erin", "de"))),
        (Entry(str(ERIN)), Entry("sips:carol@EXAMPLE.com")),
    ],
)
def test_the_same_people_are_the_same_list_after_a_restart_too(entries: tuple[Entry, ...]) -> None:
    world = ListWorld(storing=True)
    listed = world.watch(DAVE, RLS, members=[str(CAROL), str(ERIN)])
    world.restart()
    world.pair.pass_seconds(1)
    outcome = world.send_subscribe(brought(*entries), RESOURCE_LISTS, in_dialog_of=listed)
    assert outcome.status == 200


def brought(*entries: Entry) -> bytes:
    return resource_lists.serialise(ResourceLists((List(entries),)))


# --- what does not fit into one NOTIFY -------------------------------------------------------------------


def many(count: int) -> list[Uri]:
    return [Uri.parse(f"sip:u{n}@example.com") for n in range(count)]


def with_documents(count: int) -> ListWorld:
    """A list of so many, all of whom have published."""
    world = ListWorld(*many(count))
    for who in many(count):
        world.publish(document(), identity=who, entity=who)
    world.pair.wire.sent.clear()
    return world


def notifies(world: ListWorld) -> list[Sent]:
    """Those with a body: an address that has not answered yet is told first without."""
    sent = [s for s in world.pair.wire.sent if s.data.startswith(b"NOTIFY")]
    return [s for s in sent if s.header("Content-Length") != "0"]


def shown(world: ListWorld, listed: str) -> list[int]:
    """How many documents each NOTIFY brought."""
    return [
        sum(has for *_, has in world.rows_told(listed, n)) for n in range(len(world.tables(listed)))
    ]


def test_what_is_too_large_for_a_datagram_goes_by_tcp_at_once() -> None:
    world = with_documents(8)
    listed = world.subscribe()
    assert [(s.flow.protocol, len(s.data) > 4000) for s in notifies(world)] == [("tcp", True)]
    assert shown(world, listed) == [8]


def test_where_there_is_no_tcp_the_state_comes_in_parts_of_one_document() -> None:
    world = with_documents(5)
    world.only_udp()
    listed = world.subscribe()
    by_udp = [s for s in notifies(world) if s.flow.protocol == "udp"]
    assert [(t.version, t.full) for t in world.tables(listed)] == [
        (0, True),
        (1, False),
        (2, False),
        (3, False),
        (4, False),
        (5, False),
    ]
    assert shown(world, listed) == [0, 1, 1, 1, 1, 1]
    assert max(len(s.data) for s in by_udp) <= IN_ONE_PIECE
    assert [m.state for m in world.view(listed).roster().values()] == ["active"] * 5
    assert world.states(listed) == ["active"] * 6


def test_what_fits_when_it_is_compressed_need_not_be_parted() -> None:
    world = with_documents(5)
    world.only_udp()
    listed = world.subscribe(policy=PACKED)
    assert [s.flow.protocol for s in notifies(world)] == ["udp"]
    assert shown(world, listed) == [5]


def test_later_changes_stay_within_datagrams_too() -> None:
    world = with_documents(5)
    world.only_udp()
    listed = world.subscribe()
    before = len(world.tables(listed))
    for who in many(3):
        world.publish(document("closed", "t2"), identity=who, entity=who)
    world.pair.pass_seconds(GATHER)
    assert shown(world, listed)[before:] == [1, 1, 1]
    assert {s.flow.protocol for s in notifies(world)[-3:]} == {"udp"}


def test_a_notify_holds_so_many_documents() -> None:
    world = with_documents(130)
    listed = world.subscribe()
    told = shown(world, listed)
    assert sum(told) == 130 and max(told) <= 100 and len(told) == 2
    assert max(len(s.data) for s in notifies(world)) < 60_000
    assert len(world.view(listed).roster()) == 130


class Fetcher:
    """Asks once and takes whatever comes until it is told that this was all."""

    def __init__(self, world: ListWorld, target: Uri, *more: tuple[str, str]) -> None:
        self.answers = Answers(200)
        headers = [("Event", "presence"), ("Expires", "0"), ("Supported", "eventlist"), *more]
        request = world.pair.alice.new_request(
            "SUBSCRIBE",
            target,
            from_=NameAddr(str(DAVE)),
            to=NameAddr(str(target)),
            headers=headers,
        )
        world.pair.alice.expect_dialog(request.call_id, request.from_.tag or "", self.answers)
        world.pair.alice.request(request, Outcome(), world.pair.now, policy=TO_BOB)
        world.pair.turn()

    @property
    def states(self) -> list[str]:
        got = [one.request.headers.get("Subscription-State") or "" for one in self.answers.got]
        return [state.partition(";reason")[0] for state in got]

    @property
    def tables(self) -> list[ResourceList]:
        requests = [one.request for one in self.answers.got if one.request.body]
        return [opened(r.headers.get("Content-Type") or "", r.body)[0] for r in requests]

    @property
    def documents(self) -> list[int]:
        """How many each table brought."""
        return [
            sum(i.cid is not None for row in table.resources for i in row.instances)
            for table in self.tables
        ]


def test_a_fetch_of_a_long_list_goes_on_until_everything_is_told() -> None:
    world = with_documents(130)
    fetched = Fetcher(world, FRIENDS)
    assert fetched.states == ["active;expires=0", "active;expires=0", "terminated"]
    assert [table.full for table in fetched.tables] == [True, False]
    assert sum(fetched.documents) == 130
    assert world.agent.notifier.subscriptions == {}
    assert all(not p.members for p in world.agent.presentities.values())
    assert world.agent.listed == 0


def test_a_fetch_where_only_datagrams_get_through_comes_in_parts() -> None:
    world = with_documents(130)
    world.only_udp()
    fetched = Fetcher(world, FRIENDS)
    assert sum(fetched.documents) == 130
    assert fetched.states[-1] == "terminated"
    assert world.agent.notifier.subscriptions == {}


@pytest.mark.parametrize("only_udp", [False, True])
def test_our_own_fetch_of_a_long_list_hears_everything(only_udp: bool) -> None:
    world = with_documents(130)
    if only_udp:
        world.only_udp()
    fetched = world.fetch(DAVE, FRIENDS, policy=LISTING)
    assert world.states(fetched)[-1] == "terminated"
    assert [m.state for m in world.view(fetched).roster().values()] == ["active"] * 130
    told = [n.body.count(b"</presence>") for n in world.notified(fetched)]
    assert sum(told) == 130 and len(told) > 1
    assert world.terminated[-1] == ("timeout", False)
    assert fetched not in world.subscriber.subscriptions


def test_a_fetcher_who_falls_silent_leaves_nothing() -> None:
    world = with_documents(130)
    world.pair.wire.drop_next("NOTIFY", 1000)
    assert Fetcher(world, FRIENDS).states == []
    world.pair.pass_seconds(70)
    assert world.agent.notifier.subscriptions == {}
    assert world.agent.listed == 0


def test_a_list_in_a_list_waits_for_room() -> None:
    world = with_documents(8)
    world.has(FRIENDS, CREW, *many(4))
    world.has(CREW, *many(8)[4:])
    world.only_udp()
    listed = world.subscribe()
    view = world.view(listed)
    assert [m.state for m in view.roster().values()] == ["active"] * 8
    assert set(view.lists) == {str(CREW)}
    by_udp = [s for s in notifies(world) if s.flow.protocol == "udp"]
    assert [s.data.count(b"<presence ") for s in by_udp] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    within = [s for s in by_udp if s.data.count(b"<list ") == 2]
    assert [len(s.data) > IN_ONE_PIECE for s in by_udp] == [s in within for s in by_udp]


# --- what gets lost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["NOTIFY", "200 NOTIFY"])
def test_what_is_lost_comes_again_and_no_version_is_missing(word: str) -> None:
    world = ListWorld()
    world.only_udp()
    listed = world.subscribe()
    world.pair.wire.drop_next(word, 2)
    world.says(CAROL)
    world.says(ERIN)
    world.pair.pass_seconds(5)
    assert {uri: m.state for uri, m in world.view(listed).roster().items()} == {
        str(CAROL): "active",
        str(ERIN): "active",
        str(FRANK): "active",
    }
    assert [t.version for t in world.tables(listed)] == [0, 1, 2]


def test_a_repeated_notification_is_heard_once() -> None:
    world = ListWorld()
    world.only_udp()
    listed = world.subscribe()
    world.pair.wire.repeat_next("NOTIFY", 3)
    world.says(CAROL)
    assert [t.version for t in world.tables(listed)] == [0, 1]


def test_after_a_refused_notification_the_full_state_follows() -> None:
    world = ListWorld()
    listed = world.subscribe()
    mine = world.subscriber.subscriptions[listed]
    mine.package = replace(PRESENCE, also_read=())
    world.says(CAROL)
    mine.package = PRESENCE
    world.pair.pass_seconds(11)
    assert [(t.version, t.full) for t in world.tables(listed)] == [(0, True), (2, True)]
    assert world.rows_told(listed)[0] == ("carol", "active", None, True)


# --- restart --------------------------------------------------------------------------------------------


def test_a_list_subscription_survives_a_restart_with_a_greater_version() -> None:
    world = ListWorld(storing=True)
    world.publish(document())
    listed = world.subscribe()
    world.restart(asleep=5)
    world.pair.pass_seconds(1)
    versions = [t.version for t in world.tables(listed)]
    assert versions[0] == 0 and versions[1] >= 100_000
    assert world.tables(listed)[-1].full
    assert world.rows_told(listed)[0] == ("carol", "active", None, True)
    notifies = [s for s in world.pair.wire.sent if "NOTIFY" in s.words and "request" in s.words]
    assert notifies[-1].header("Require") == "eventlist"
    world.says(ERIN)
    assert world.rows_told(listed) == [("erin", "active", None, True)]


def test_a_list_that_is_no_more_after_a_restart_ends() -> None:
    world = ListWorld(storing=True)
    listed = world.subscribe()
    world.lists.clear()
    world.restart()
    world.pair.pass_seconds(1)
    assert (world.last(listed).state, world.last(listed).reason) == ("terminated", "noresource")
    assert world.terminated == [("noresource", False)]


def test_a_withdrawal_just_before_a_crash_is_told_after_it() -> None:
    world = ListWorld(storing=True)
    world.publish(document())
    listed = world.subscribe()
    world.decide(DAVE, SubHandling.BLOCK)
    world.restart()
    world.pair.pass_seconds(1)
    assert world.rows_told(listed)[0] == ("carol", "terminated", "rejected", False)
