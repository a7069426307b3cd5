"""The blocking listener on the real server, in a thread; how it reads what it gets."""

from datetime import timedelta

import httpx2
import pytest

from sipbridge.bayeux.client import Delivered, Failed, Interrupted, SessionStarted
from sipbridge.client import (
    Activity,
    AttributeKind,
    BadAnswer,
    Fault,
    NotifySubscription,
    OtherNotification,
    PresenceClient,
    SessionRestarted,
    StatusChanged,
    Unauthenticated,
    Unreachable,
)
from sipbridge.client.listener import Ear, messages_of
from tests.app.rig import Site
from tests.client.conftest import blocking, in_thread
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"


async def test_notifications_arrive_in_order_and_a_goodbye_ends_the_session(bridge: Site) -> None:
    def story() -> list[object]:
        found: list[object] = []
        with (
            blocking(bridge.base, "alice") as alice,
            blocking(bridge.base, "bob") as bob,
            bob.listen() as listener,
        ):
            bob.subscribe_presence(ALICE, correlator="s-1")
            alice.update_subscription_authorization(BOB, {AttributeKind.ACTIVITY: True})
            assert isinstance(next(listener), NotifySubscription)
            alice.publish([Activity.SLEEPING])
            bob.start_presence_notification(ALICE, correlator="w-1", frequency=timedelta(0))
            for word in (Activity.AWAY, Activity.BUSY):
                told = next(listener)
                assert isinstance(told, StatusChanged)
                found.append(told.value(AttributeKind.ACTIVITY))
                alice.publish([word])
        assert list(listener) == []
        return found

    assert await in_thread(story) == [Activity.SLEEPING, Activity.AWAY]
    assert bridge.graph is not None and bridge.graph.reader.server.sessions == {}


async def test_wrong_credentials_and_foreign_channels_are_raised(bridge: Site) -> None:
    def story() -> None:
        with PresenceClient(bridge.base, "app_bob", "wrong") as bob, pytest.raises(Unauthenticated):
            next(bob.listen())
        with blocking(bridge.base, "bob") as bob:
            listener = bob.listen("/bayeux/app_alice/presence")
            with pytest.raises(Fault):
                next(listener)
            listener.close()

    await in_thread(story)


def test_nobody_there_is_unreachable() -> None:
    with (
        PresenceClient(f"http://127.0.0.1:{free_port()}", "app_bob", "x") as bob,
        pytest.raises(Unreachable),
    ):
        next(bob.listen())


@pytest.mark.parametrize(
    "answer",
    [httpx2.Response(502, content=b"proxy"), httpx2.Response(200, content=b'{"a": 1}')],
)
def test_what_is_no_bayeux_is_unreachable(answer: httpx2.Response) -> None:
    with httpx2.Client(transport=httpx2.MockTransport(lambda request: answer)) as http:
        bob = PresenceClient("http://bridge", "app_bob", "x", http=http)
        with pytest.raises(Unreachable):
            next(bob.listen())


def test_what_the_core_says_becomes_values_and_errors() -> None:
    ear = Ear()
    ear.hear(SessionStarted(again=False))
    assert ear.take() is None
    ear.hear(Delivered("/x", "text"))
    ear.hear(SessionStarted(again=True))
    ear.hear(Interrupted("gone", 1.0))
    ear.hear(Failed("no code"))
    assert ear.take() == OtherNotification("", {"": "text"})
    assert ear.take() == SessionRestarted()
    assert ear.interrupted == Interrupted("gone", 1.0)
    with pytest.raises(Fault) as refused:
        ear.take()
    assert (refused.value.status, refused.value.text) == (400, "no code")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[" * 100_000])
def test_what_is_no_array_of_messages_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        messages_of(body)
