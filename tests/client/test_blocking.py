"""The blocking client, each operation over real HTTP, in a thread beside the bridge."""

import socket
from datetime import timedelta

import httpx2
import pytest

from sipbridge.client import (
    Activity,
    AttributeKind,
    BadAnswer,
    Means,
    MeansType,
    NotifySubscription,
    OpenSubscription,
    Other,
    Place,
    PolicyFault,
    PresenceClient,
    PresenceError,
    ServiceFault,
    StatusChanged,
    StatusEnd,
    SubscriptionEnded,
    Unauthenticated,
    Unreachable,
    attribute,
)
from sipbridge.errors import InvalidValue
from tests.app.rig import Site
from tests.client.conftest import blocking, in_thread
from tests.harness.ports import free_port

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
ACTIVITY, PLACE = AttributeKind.ACTIVITY, AttributeKind.PLACE


async def test_the_whole_story_with_typed_values(bridge: Site) -> None:
    def story() -> None:
        with blocking(bridge.base, "alice") as alice, blocking(bridge.base, "bob") as bob:
            bob.subscribe_presence(ALICE, correlator="s-1", attributes=[ACTIVITY, PLACE])
            (waiting,) = alice.get_open_subscriptions()
            assert waiting == OpenSubscription(BOB, frozenset({ACTIVITY, PLACE}), "app_bob")
            assert alice.get_my_watchers() == []
            with pytest.raises(PolicyFault) as refused:
                bob.get_user_presence(ALICE)
            assert (refused.value.status, refused.value.fault_id) == (403, "POL0002")

            alice.update_subscription_authorization(BOB, {ACTIVITY: True, PLACE: False})
            assert alice.get_open_subscriptions() == []
            assert alice.get_my_watchers() == [BOB]
            alice.publish([attribute(Activity.MEETING, "weekly"), Place.OFFICE])
            (shown,) = bob.get_user_presence(ALICE)
            assert (shown.kind, shown.value, shown.note) == (ACTIVITY, Activity.MEETING, "weekly")
            assert shown.last_change is not None and shown.last_change.tzinfo is not None
            assert bob.get_user_presence(ALICE, [PLACE]) == []

            alice.block_subscription(BOB)
            assert alice.get_my_watchers() == []

    await in_thread(story)


async def test_notifications_as_typed_values_in_order(bridge: Site) -> None:
    def story() -> None:
        with (
            blocking(bridge.base, "alice") as alice,
            blocking(bridge.base, "bob") as bob,
            bob.notifications() as told,
        ):
            alice.publish([Activity.MEETING])
            bob.subscribe_presence(ALICE, correlator="s-1", attributes=[ACTIVITY, PLACE])
            alice.update_subscription_authorization(BOB, {ACTIVITY: True, PLACE: False})
            decided = next(told)
            assert isinstance(decided, NotifySubscription)
            assert (decided.presentity, decided.granted) == (ALICE, frozenset({ACTIVITY}))
            assert decided.denied == {PLACE}

            none = bob.start_presence_notification(
                ALICE, correlator="w-1", frequency=timedelta(0), count=2
            )
            assert none == []
            alice.publish([Activity.AWAY])
            first, second, end = next(told), next(told), next(told)
            assert isinstance(first, StatusChanged) and isinstance(second, StatusChanged)
            assert (first.presentity, first.correlator) == (ALICE, "w-1")
            assert first.value(ACTIVITY) is Activity.MEETING
            assert second.value(ACTIVITY) is Activity.AWAY
            assert second.value(PLACE) is None
            assert end == StatusEnd("w-1", end.event_id)
            assert told.last_event_id == end.event_id

            bob.start_presence_notification(ALICE, correlator="w-2", check_immediate=False)
            with pytest.raises(ServiceFault) as refused:
                bob.start_presence_notification(ALICE, correlator="w-2")
            assert (refused.value.status, refused.value.fault_id) == (409, "SVC0005")
            assert refused.value.variables == ("w-2", "reference.correlator")
            bob.end_presence_notification("w-2")
            with pytest.raises(ServiceFault):
                bob.end_presence_notification("w-2")

            alice.block_subscription(BOB)
            ended = next(told)
            assert isinstance(ended, SubscriptionEnded)
            assert (ended.presentity, ended.reason) == (ALICE, "Blocked")

    await in_thread(story)


async def test_every_kind_of_value_comes_back_as_it_was_published(bridge: Site) -> None:
    means = (Means("tel:+4930123", 0.5, MeansType.PHONE),)
    other = Other("colour", "blue")

    def story() -> None:
        with blocking(bridge.base, "alice") as alice, blocking(bridge.base, "bob") as bob:
            alice.publish([Activity.BUSY, means, other])
            bob.subscribe_presence(ALICE, correlator="s-1")
            alice.update_subscription_authorization(BOB, dict.fromkeys(AttributeKind, True))
            shown = {(a.kind, a.value) for a in bob.get_user_presence(ALICE)}
            assert (AttributeKind.COMMUNICATION, means) in shown
            assert (AttributeKind.OTHER, other) in shown
            bob.leave_subscription(ALICE)
            with pytest.raises(ServiceFault) as refused:
                bob.get_user_presence(ALICE)
            assert refused.value.fault_id == "SVC0002"

    await in_thread(story)


async def test_a_watcher_without_a_grant_is_told_whom_it_cannot_watch(bridge: Site) -> None:
    def story() -> None:
        with blocking(bridge.base, "bob") as bob:
            assert bob.start_presence_notification(ALICE, correlator="w-1") == [ALICE]

    await in_thread(story)


async def test_a_publication_may_have_its_own_end(bridge: Site) -> None:
    def story() -> None:
        with blocking(bridge.base, "alice") as alice, blocking(bridge.base, "bob") as bob:
            bob.subscribe_presence(ALICE, correlator="s-1")
            alice.update_subscription_authorization(BOB, {ACTIVITY: True})
            with bob.notifications() as told:
                bob.start_presence_notification(ALICE, correlator="w-1", frequency=timedelta(0))
                alice.publish([Activity.MEETING], expires=timedelta(seconds=1))
                shown: list[object] = []
                while shown[-2:] != [Activity.MEETING, Activity.NONE]:
                    one = next(told)
                    assert isinstance(one, StatusChanged)
                    shown.append(one.value(ACTIVITY))

    await in_thread(story)


async def test_a_refusal_says_everything_the_bridge_said(bridge: Site) -> None:
    def story() -> PresenceError:
        with (
            blocking(bridge.base, "bob") as bob,
            pytest.raises(ServiceFault) as refused,
        ):
            bob.subscribe_presence("no uri", correlator="s-1")
        return refused.value

    error = await in_thread(story)
    assert isinstance(error, ServiceFault)
    assert (error.status, error.fault_id, error.variables) == (400, "SVC0002", ("presentity",))
    assert error.text == "Invalid input value for message part presentity"
    assert error.detail and error.request_id and error.retry_after is None
    assert str(error).startswith("400 SVC0002: Invalid input value for message part presentity")


async def test_wrong_credentials_end_requests_and_streams(bridge: Site) -> None:
    def story() -> None:
        with PresenceClient(bridge.base, "app_bob", "wrong") as bob:
            with pytest.raises(Unauthenticated) as refused:
                bob.get_my_watchers()
            assert refused.value.status == 401
            with pytest.raises(Unauthenticated):
                next(bob.notifications())

    await in_thread(story)


def test_nobody_there_is_unreachable() -> None:
    with PresenceClient(f"http://127.0.0.1:{free_port()}", "app_bob", "x") as bob:
        with pytest.raises(Unreachable):
            bob.get_my_watchers()
        with pytest.raises(Unreachable), bob.notifications():
            pass  # entering tries once; only an iteration waits for a bridge to come


def test_a_server_that_never_answers_is_unreachable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        PresenceClient(
            f"http://127.0.0.1:{mute.getsockname()[1]}", "app_bob", "x", timeout=0.1
        ) as bob,
        pytest.raises(Unreachable),
    ):
        bob.get_my_watchers()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[1]"),
        (200, b'{"result": [7, {}]}'),
        (302, b""),
        (500, b"<h1>proxy</h1>"),
        (400, b'{"error": {"message": "no id"}}'),
    ],
)
def test_what_is_no_answer_of_ours_is_a_bad_answer(status: int, body: bytes) -> None:
    other = httpx2.MockTransport(lambda request: httpx2.Response(status, content=body))
    with (
        httpx2.Client(transport=other) as http,
        PresenceClient("http://bridge", "app_bob", "x", http=http) as bob,
    ):
        with pytest.raises(BadAnswer):
            bob.get_my_watchers()
        bob.close()
        assert not http.is_closed  # it is the caller's


def test_both_envelopes_are_read() -> None:
    body = {"messageId": "POL0001", "text": "policy %1", "variables": ["quota"]}
    wrapped = {"requestError": {"policyException": body}}
    answer = httpx2.Response(429, json=wrapped, headers={"Retry-After": "3"})
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda request: answer)) as http,
        pytest.raises(PolicyFault) as refused,
    ):
        PresenceClient("http://bridge", "app_bob", "x", http=http).get_my_watchers()
    assert (refused.value.text, refused.value.retry_after) == ("policy quota", 3.0)


def test_a_token_stands_in_for_a_password_and_needs_an_endpoint() -> None:
    seen = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(204)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        bob = PresenceClient(
            "https://bridge/", token="t0k", headers={"X-Session-ID": "9"}, http=http
        )
        with pytest.raises(InvalidValue, match="token"):
            bob.subscribe_presence(ALICE, correlator="s-1")
        bob.subscribe_presence(ALICE, correlator="s-1", endpoint="/bayeux/app_bob/x")
    (request,) = seen
    assert request.headers["authorization"] == "Bearer t0k"
    assert request.headers["x-session-id"] == "9"
    assert str(request.url) == "https://bridge/rest/presence/subscription"


@pytest.mark.parametrize(
    "arguments",
    [("bridge:8080", "a", "b"), ("http://bridge", "a:b", "c"), ("ftp://bridge", "a", "b")],
)
def test_an_address_that_could_never_do_is_refused_at_once(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValue):
        PresenceClient(*arguments)
