"""`client.people` of the blocking client, on the real server; how updates find their handlers."""

import queue
from datetime import UTC, datetime

import pytest

from sipbridge.client import (
    Activity,
    AttributeKind,
    Presence,
    PresenceClient,
    PresenceHandle,
    PresenceStatus,
    Unauthenticated,
    attribute,
)
from sipbridge.client.stream import ServerSentEvent
from sipbridge.client.watching import Handler, Update, Watches, read_update
from sipbridge.mapping.rows import Status
from tests.app.rig import PATIENCE, Site
from tests.client.conftest import blocking, in_thread

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


def test_the_statuses_are_those_of_the_bridge() -> None:
    assert [one.value for one in PresenceStatus] == [one.value for one in Status]


def until(told: "queue.Queue[Presence]", status: PresenceStatus) -> Presence:
    while True:
        presence = told.get(timeout=PATIENCE)
        if presence.status is status:
            return presence


def grant(alice: PresenceClient) -> None:
    """Whoever waits may see everything."""
    for waiting in alice.get_open_subscriptions():
        alice.update_subscription_authorization(waiting.watcher, dict.fromkeys(AttributeKind, True))


async def test_a_handler_is_called_now_and_with_every_change(bridge: Site) -> None:
    def story() -> None:
        told: queue.Queue[Presence] = queue.Queue()
        with blocking(bridge.base, "alice") as alice, blocking(bridge.base, "bob") as bob:
            alice.publish([attribute(Activity.MEETING, "weekly")])
            handles = bob.people.start_watching_presences([ALICE, "no such", ALICE], told.put)
            assert [(h.contact_id, h.is_valid) for h in handles] == [
                (ALICE, True),
                ("no such", False),
                (ALICE, True),
            ]
            assert len({h.handle for h in handles}) == 3
            assert until(told, PresenceStatus.PENDING).contact_id == ALICE
            grant(alice)
            presence = until(told, PresenceStatus.MEETING)
            assert presence.custom_status == "weekly"
            until(told, PresenceStatus.MEETING)  # there are two handles
            bob.people.stop_watching_presences(handles[:1])
            alice.publish([Activity.DO_NOT_DISTURB])
            until(told, PresenceStatus.DND)
            bob.people.stop_watching_presences(handles)
            bob.people.stop_watching_presences(handles)
            alice.publish([Activity.BUSY])
            assert told.empty()
            assert bob.people.stream is None

    await in_thread(story)


async def test_a_handler_that_fails_is_called_again(
    bridge: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def story() -> None:
        told: queue.Queue[Presence] = queue.Queue()

        def handler(presence: Presence) -> None:
            told.put(presence)
            raise RuntimeError("no")

        with blocking(bridge.base, "alice") as alice, blocking(bridge.base, "bob") as bob:
            bob.people.start_watching_presences([ALICE], handler)
            until(told, PresenceStatus.PENDING)
            alice.publish([Activity.AWAY])
            grant(alice)
            until(told, PresenceStatus.INACTIVE)

    await in_thread(story)
    assert "a presence handler failed" in caplog.text


async def test_a_handler_may_stop_what_it_is_called_for(bridge: Site) -> None:
    def story() -> None:
        told: queue.Queue[Presence] = queue.Queue()
        with blocking(bridge.base, "bob") as bob:
            handles: list[PresenceHandle] = []

            def handler(presence: Presence) -> None:
                bob.people.stop_watching_presences(handles)
                told.put(presence)

            handles += bob.people.start_watching_presences([ALICE], told.put)
            told.get(timeout=PATIENCE)
            (handle,) = handles
            bob.people.watches.handlers[handle.handle] = handler
            bob.people.watches.known.clear()
            with blocking(bridge.base, "alice") as alice:
                alice.publish([Activity.AWAY])
                grant(alice)
            told.get(timeout=PATIENCE)
            assert bob.people.watches.idle

    await in_thread(story)


async def test_wrong_credentials_are_raised(bridge: Site) -> None:
    def story() -> None:
        with PresenceClient(bridge.base, "app_bob", "wrong") as bob:
            with pytest.raises(Unauthenticated):
                bob.people.start_watching_presences([ALICE], print)
            assert bob.people.watches.idle

    await in_thread(story)


# --- without a bridge ---------------------------------------------------------------------------------

WHEN = datetime(2024, 5, 6, 6, 48, 9, tzinfo=UTC)
AT = (
    '{"handle":1,"presence":{"contactId":"a","status":"Dnd","customStatus":"focus",'
    '"lastActiveTime":%s,"expiresTime":null}}'
)


def test_an_update_is_read_with_its_times() -> None:
    update = read_update(ServerSentEvent("message", AT % "1714978089000"))
    assert update == Update(1, Presence("a", PresenceStatus.DND, "focus", WHEN, None))


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", AT % '"soon"', AT % "1e300", AT.replace("Dnd", "Gone") % "null"]
)
def test_an_update_that_makes_no_sense_is_passed_over(data: str) -> None:
    assert Watches().hear(read_update(ServerSentEvent("message", data))) is None


def presence(status: PresenceStatus) -> Presence:
    return Presence("a", status, "", None, None)


def test_what_comes_before_the_answer_is_kept_for_it() -> None:
    watches, called = Watches(), list[Presence]()
    handler: Handler = called.append
    early = Update(7, presence(PresenceStatus.BUSY))
    assert watches.hear(early) is None  # nobody is being asked for: somebody else's
    watches.starting += 1
    assert watches.hear(early) is None
    handles = [PresenceHandle(6, "b", False), PresenceHandle(7, "a", True)]
    assert watches.started(handles, handler) == [early]
    watches.settled()
    assert watches.hear(early) is handler
    assert watches.hear(early) is None  # no news
    assert watches.hear(Update(7, presence(PresenceStatus.ACTIVE))) is handler
    assert watches.hear(Update(6, presence(PresenceStatus.ACTIVE))) is None
    watches.stopped(handles)
    assert watches.idle
