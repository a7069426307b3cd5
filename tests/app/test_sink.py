"""From the gateway's sink to a Bayeux session: kept, delivered once, taken up again."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.app.sink import (
    KEPT_ENTRIES,
    TRIM_EVERY,
    BayeuxReader,
    LogSink,
    numbers,
    runs,
    topic_of,
)
from sipbridge.bayeux.server import BayeuxServer
from sipbridge.bayeux.session import Origin
from sipbridge.bayeux.values import Ended, Settings, Subscribed
from sipbridge.errors import InvalidValue
from sipbridge.gateway.notifications import cut
from sipbridge.gateway.ports import Grant, LogEntry, Notification
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.store.memory import MemoryStore
from sipbridge.store.memory_bus import MemoryBus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHANNEL = "/bayeux/app_bob/presence"


def note(text: str, supersedes: str = "", channel: str = CHANNEL) -> Notification:
    kind = "statusChanged" if supersedes else "notifySubscription"
    return Notification("app_bob", channel, kind, json.dumps(text).encode(), supersedes)


class Desk:
    """Log, bus, reader and server, with a client that polls when it is told to."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.places: dict[str, str] = {}
        self.log = MemoryStore()
        self.begin()

    def begin(self) -> None:
        """A new life on the same log."""
        self.ids = iter(f"client{n:03d}" for n in range(1000))
        self.server = BayeuxServer(Settings(), lambda: next(self.ids))
        self.reader = BayeuxReader(self.server, self.now, self.places.__setitem__)
        bus = MemoryBus()
        bus.subscribe(topic_of("app_bob"), self.reader.receive)
        self.sink = LogSink(self.log, bus, lambda: NOON + timedelta(seconds=self.passed))

    def again(self) -> None:
        """The process ends without a word, the next one takes up what was kept."""
        self.begin()
        entries = self.log.read_after("app_bob", 0)
        self.reader.restore("app_bob", self.places.get("app_bob"), entries)

    def now(self) -> float:
        return self.passed

    def turn(self) -> None:
        for said in self.server.indications():
            match said:
                case Subscribed():
                    self.reader.subscribed(said)
                case Ended():
                    self.reader.ended(said)

    def post(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """One request: its replies, or those of the connect it held, as soon as there are any."""
        batch = [{"id": str(n), **m} for n, m in enumerate(messages)]
        exchange = self.server.receive(batch, Origin("app_bob", True), self.now())
        self.turn()
        written = self.server.collect(exchange, self.now())
        found: list[dict[str, Any]] = json.loads(written) if written else []
        return found

    def listen(self, channel: str = CHANNEL) -> str:
        """A session that is subscribed; its id."""
        hello = {"channel": "/meta/handshake", "version": "1.0"}
        (answer,) = self.post({**hello, "supportedConnectionTypes": ["long-polling"]})
        client: str = answer["clientId"]
        subscribe = {"channel": "/meta/subscribe", "subscription": channel}
        (answer,) = self.post({**subscribe, "clientId": client})
        assert answer["successful"]
        return client

    def poll(self, client: str) -> list[Any]:
        """What a connect brings now."""
        connect = {"channel": "/meta/connect", "connectionType": "long-polling"}
        replies = self.post({**connect, "clientId": client, "advice": {"timeout": 0}})
        return [reply["data"] for reply in replies if "data" in reply]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_listener_is_told_at_once(desk: Desk) -> None:
    client = desk.listen()
    desk.sink.send(note("one"))
    desk.sink.send(note("two"))
    assert desk.poll(client) == ["one", "two"]
    assert desk.poll(client) == []


def test_what_nobody_listened_for_waits_and_is_told_once(desk: Desk) -> None:
    desk.sink.send(note("one"))
    desk.sink.send(note("two"))
    client = desk.listen()
    assert desk.poll(client) == ["one", "two"]
    assert desk.poll(desk.listen()) == []


def test_of_each_contract_only_the_newest_status_waits(desk: Desk) -> None:
    for text, contract in (("a1", "a"), ("b1", "b"), ("note", ""), ("a2", "a"), ("a3", "a")):
        desk.sink.send(note(text, contract))
    assert desk.poll(desk.listen()) == ["b1", "note", "a3"]


def status(changed: dict[str, str], member: str = "alice", correlator: str = "c") -> Notification:
    """A statusChanged under a grant, as the gateway makes them."""
    shown = [
        {"typeAndValue": {"unionElement": kind, kind.lower(): value}}
        for kind, value in changed.items()
    ]
    uri = f"sip:{member}@example.com"
    body = {"changedAttributes": shown, "correlator": correlator, "presentity": uri}
    grant = Grant(PresentityKey("sip:bob@example.com"), PresentityKey(uri), tuple(changed))
    data = json.dumps({"statusChanged": body}).encode()
    return Notification("app_bob", CHANNEL, "statusChanged", data, correlator, grant=grant)


def told(messages: list[Any]) -> list[tuple[str, dict[str, str]]]:
    """Who, and what of them, in each statusChanged."""
    found = []
    for message in messages:
        body = message["statusChanged"]
        unions = [a["typeAndValue"] for a in body["changedAttributes"]]
        values = {u["unionElement"]: u[u["unionElement"].lower()] for u in unions}
        found.append((body["presentity"].removeprefix("sip:").partition("@")[0], values))
    return found


def test_what_changed_while_nobody_listened_adds_up(desk: Desk) -> None:
    """Each told only its own difference; the reader needs all of them."""
    desk.sink.send(status({"Activity": "Meeting", "Sphere": "SphereWork"}))
    desk.sink.send(status({"Place": "Home"}))
    desk.sink.send(status({"Activity": "Busy"}))
    assert told(desk.poll(desk.listen())) == [
        ("alice", {"Sphere": "SphereWork", "Place": "Home", "Activity": "Busy"})
    ]


def test_members_of_a_group_do_not_replace_each_other(desk: Desk) -> None:
    desk.sink.send(status({"Activity": "Meeting"}, "alice"))
    desk.sink.send(status({"Activity": "Away"}, "carol"))
    desk.sink.send(status({"Place": "Home"}, "alice"))
    assert told(desk.poll(desk.listen())) == [
        ("carol", {"Activity": "Away"}),
        ("alice", {"Activity": "Meeting", "Place": "Home"}),
    ]


def test_what_comes_back_from_a_session_goes_below_what_came_later(desk: Desk) -> None:
    client = desk.listen()
    desk.sink.send(status({"Activity": "Meeting", "Place": "Home"}))
    desk.sink.send(status({"Activity": "Busy"}))
    desk.post({"channel": "/meta/disconnect", "clientId": client})
    desk.turn()
    desk.sink.send(status({"Sphere": "SphereWork"}))
    assert told(desk.poll(desk.listen())) == [
        ("alice", {"Place": "Home", "Activity": "Busy", "Sphere": "SphereWork"})
    ]


@pytest.mark.parametrize("queued", [False, True])
def test_what_adds_up_survives(desk: Desk, queued: bool) -> None:
    """queued: it was handed to a session that never fetched it."""
    desk.sink.send(status({"Activity": "Meeting"}))
    desk.sink.send(status({"Place": "Home"}))
    if queued:
        desk.listen()
    desk.reader.settle()
    desk.again()
    desk.sink.send(status({"Sphere": "SphereWork"}))
    client = desk.listen()
    assert told(desk.poll(client)) == [
        ("alice", {"Activity": "Meeting", "Place": "Home", "Sphere": "SphereWork"})
    ]
    desk.poll(client)
    desk.reader.settle()
    assert json.loads(desk.places["app_bob"])["waiting"] == []
    assert desk.reader.parts == {}


def test_of_what_adds_up_only_what_may_be_seen_goes_out(desk: Desk) -> None:
    desk.sink.send(status({"Activity": "Meeting"}))
    desk.sink.send(status({"Place": "Home"}))
    asked: list[Notification] = []

    def check(notification: Notification) -> Notification | None:
        asked.append(notification)
        return cut(notification, frozenset({AttributeKind.ACTIVITY}))

    desk.reader.check = check
    assert told(desk.poll(desk.listen())) == [("alice", {"Activity": "Meeting"})]
    assert asked[-1].grant is not None and set(asked[-1].grant.kinds) == {"Activity", "Place"}


def test_another_channels_notifications_wait_on(desk: Desk) -> None:
    desk.sink.send(note("here"))
    desk.sink.send(note("there", channel="/bayeux/app_bob/other"))
    assert desk.poll(desk.listen()) == ["here"]
    assert desk.poll(desk.listen("/bayeux/app_bob/other")) == ["there"]


def test_what_a_session_never_fetched_comes_back(desk: Desk) -> None:
    desk.listen()
    desk.sink.send(note("one"))
    desk.passed += 3600.0
    desk.server.handle_timeout(desk.now())
    desk.turn()
    assert desk.poll(desk.listen()) == ["one"]


def test_what_waits_is_bounded(desk: Desk) -> None:
    for number in range(KEPT_ENTRIES + 10):
        desk.sink.send(note(str(number)))
    assert len(desk.reader.undelivered["app_bob"]) == KEPT_ENTRIES
    assert desk.poll(desk.listen())[0] == "10"


def test_the_log_is_trimmed_now_and_then(desk: Desk) -> None:
    desk.sink.kept_entries = 10
    for number in range(TRIM_EVERY - 1):
        desk.sink.send(note(str(number)))
    assert len(desk.log.read_after("app_bob", 0)) == TRIM_EVERY - 1
    desk.sink.send(note("last"))
    assert len(desk.log.read_after("app_bob", 0)) == 10


def test_old_entries_go_however_few_there_are(desk: Desk) -> None:
    desk.sink.send(note("old"))
    desk.passed += desk.sink.kept_for.total_seconds() + 1
    for number in range(TRIM_EVERY - 1):
        desk.sink.send(note(str(number)))
    oldest: LogEntry = desk.log.read_after("app_bob", 0)[0]
    assert oldest.notification.data == b'"0"'


@pytest.mark.parametrize("settled", [True, False])
def test_undelivered_notifications_survive(desk: Desk, settled: bool) -> None:
    desk.sink.send(note("one"))
    desk.sink.send(note("state 1", "w"))
    desk.sink.send(note("state 2", "w"))
    if settled:
        desk.reader.settle()
    desk.again()
    assert desk.poll(desk.listen()) == ["one", "state 2"]


def test_what_was_delivered_is_not_repeated(desk: Desk) -> None:
    client = desk.listen()
    desk.sink.send(note("one"))
    assert desk.poll(client) == ["one"]
    desk.reader.settle()
    desk.sink.send(note("two"))
    desk.again()
    assert desk.poll(desk.listen()) == ["two"]


def test_what_is_queued_in_a_session_is_not_delivered_yet(desk: Desk) -> None:
    client = desk.listen()
    desk.sink.send(note("one"))
    desk.reader.settle()
    assert "app_bob" in desk.reader.unsettled  # it is looked at again
    before = dict(desk.places)
    assert desk.poll(client) == ["one"]
    desk.reader.settle()
    assert desk.places != before
    assert not desk.reader.unsettled
    desk.again()
    assert desk.poll(desk.listen()) == []


def test_a_crash_between_queue_and_client_loses_nothing(desk: Desk) -> None:
    desk.listen()
    desk.sink.send(note("one"))
    desk.reader.settle()
    desk.again()
    assert desk.poll(desk.listen()) == ["one"]


def test_nothing_new_writes_nothing(desk: Desk) -> None:
    desk.sink.send(note("one"))
    desk.reader.settle()
    desk.places.clear()
    desk.reader.settle()
    assert desk.places == {}


def test_a_log_that_was_trimmed_meanwhile_is_no_fault(desk: Desk) -> None:
    for text in ("one", "two", "three"):
        desk.sink.send(note(text))
    desk.reader.settle()
    desk.log.trim("app_bob", 1, NOON - timedelta(days=1))
    desk.again()
    assert desk.poll(desk.listen()) == ["three"]


def test_an_application_may_use_its_own_channels_only(desk: Desk) -> None:
    desk.sink.check("app_bob", CHANNEL)
    for wrong in ("/bayeux/app_alice/presence", "/meta/connect", "nonsense", ""):
        with pytest.raises(InvalidValue):
            desk.sink.check("app_bob", wrong)


@given(st.sets(st.integers(1, 60)))
def test_what_waits_is_written_as_runs_and_read_again(sequences: set[int]) -> None:
    written = runs(sequences)
    assert list(numbers(written)) == sorted(sequences)
    assert all(b[0] > a[1] + 1 for a, b in pairwise(written)), "as few as there can be"
    assert list(numbers(sorted(sequences))) == sorted(sequences), "an earlier version's"
