"""The meta operations, holds, expiry, ownership and limits; the test owns the clock."""

import re
from datetime import UTC, datetime
from itertools import count

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.bayeux.messages import Message
from sipbridge.bayeux.server import BayeuxServer, Ended, Settings, Subscribed
from sipbridge.bayeux.session import Origin
from sipbridge.errors import LocalProtocolError
from tests.bayeux.conftest import HANDSHAKE, Talk, counting_tokens, subscribe

FULL_ADVICE = {"reconnect": "retry", "interval": 0, "timeout": 30000, "maxInterval": 30000}
MINE = "/bayeux/app1/presence"
DATA = b'{"statusEnd":{"correlator":"c-1"}}'
EVENT = {"channel": MINE, "data": {"statusEnd": {"correlator": "c-1"}}}
STRANGER = Origin("app2", header=True)
NOBODY = Origin()


def numbered(number: int) -> bytes:
    return str(number).encode()


def data_of(replies: list[dict[str, object]]) -> list[object]:
    return [r["data"] for r in replies if "data" in r]


# --- handshake ----------------------------------------------------------------------------------------


def test_handshake_gives_a_client_id_and_full_advice(talk: Talk) -> None:
    assert talk.handshake() == {
        "id": "h",
        "channel": "/meta/handshake",
        "successful": True,
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": ["websocket", "long-polling"],
        "clientId": "client1",
        "advice": FULL_ADVICE,
    }


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": None}, "400::version_missing"),
        ({"minimumVersion": "2.0"}, "300::version_unsupported"),
        ({"supportedConnectionTypes": None}, "301::connection_types_unsupported"),
        ({"supportedConnectionTypes": ["flash"]}, "301::connection_types_unsupported"),
        ({"supportedConnectionTypes": ["callback-polling"]}, "301::connection_types_unsupported"),
        ({"id": [1]}, "405::message_id_invalid"),
    ],
)
def test_a_bad_handshake_is_told_not_to_come_again(
    talk: Talk, change: dict[str, object], error: str
) -> None:
    reply = talk.one({**HANDSHAKE, **change})
    assert reply["error"] == error
    assert reply["advice"] == {"reconnect": "none", "interval": 0}
    assert "clientId" not in reply
    assert talk.server.counters.refused["handshake"] == 1


@pytest.mark.parametrize("origin", [NOBODY, Origin(None, header=True)])
def test_without_good_credentials_there_is_no_session(talk: Talk, origin: Origin) -> None:
    reply = talk.handshake(origin)
    assert (reply["successful"], reply["error"]) == (False, "401::authentication_failed")
    assert reply["advice"] == {"reconnect": "none", "interval": 0}


def test_a_handshake_is_alone_in_its_request(talk: Talk) -> None:
    replies = talk.ask({"channel": "/meta/connect", "clientId": "x"}, HANDSHAKE, HANDSHAKE)
    assert [r["channel"] for r in replies] == ["/meta/handshake"]
    assert len(talk.server.sessions) == 1


def test_ids_come_back_as_they_were_and_not_at_all_if_absent(talk: Talk) -> None:
    assert talk.handshake(id=7)["id"] == 7
    assert "id" not in talk.one({k: v for k, v in HANDSHAKE.items() if k != "id"})


def test_too_many_sessions_are_told_to_come_later() -> None:
    talk = Talk(Settings(max_sessions_per_application=2, max_sessions=3))
    assert [talk.handshake()["successful"] for _ in range(3)] == [True, True, False]
    assert talk.handshake(STRANGER)["successful"] is True
    reply = talk.handshake(Origin("app3", header=True))
    assert reply["error"] == "503::too_many_sessions"
    assert reply["advice"] == {"reconnect": "handshake", "interval": 5000}


# --- connect ------------------------------------------------------------------------------------------


def test_the_first_connect_is_answered_at_once_and_the_second_held(talk: Talk) -> None:
    client = talk.connected()
    exchange = talk.post(talk.connect(client))
    assert exchange.session is not None
    assert talk.read(exchange) == []
    talk.pass_seconds(29.9)
    assert talk.read(exchange) == []
    talk.pass_seconds(0.1)
    assert talk.server.wakeups() == [exchange]
    assert talk.read(exchange) == [
        {"id": "c", "channel": "/meta/connect", "successful": True, "advice": FULL_ADVICE}
    ]


def test_a_held_connect_is_answered_by_an_event(talk: Talk) -> None:
    client = talk.connected(MINE)
    exchange = talk.post(talk.connect(client))
    assert talk.server.publish(MINE, DATA, talk.now) == 1
    assert talk.server.wakeups() == [exchange]
    event, reply = talk.read(exchange)
    assert event == EVENT
    assert reply["channel"] == "/meta/connect"
    assert talk.server.counters.delivered == 1


def test_many_events_wake_the_writer_once(talk: Talk) -> None:
    client = talk.connected(MINE)
    exchange = talk.post(talk.connect(client))
    for number in range(50):
        talk.server.publish(MINE, numbered(number), talk.now)
    assert talk.server.wakeups() == [exchange]
    assert data_of(talk.read(exchange)) == list(range(50))


def test_events_wait_for_the_next_connect(talk: Talk) -> None:
    client = talk.connected(MINE)
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.ask(talk.connect(client))[0] == EVENT


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_a_client_may_ask_for_no_wait(talk: Talk, timeout: float) -> None:
    client = talk.connected()
    assert talk.one(talk.connect(client, advice={"timeout": timeout}))["successful"] is True


def test_a_client_may_shorten_the_hold_but_not_lengthen_it(talk: Talk) -> None:
    client = talk.connected()
    exchange = talk.post(talk.connect(client, advice={"timeout": 5000}))
    talk.pass_seconds(5)
    assert len(talk.read(exchange)) == 1
    exchange = talk.post(talk.connect(client, advice={"timeout": 10**9}))
    talk.pass_seconds(30)
    assert len(talk.read(exchange)) == 1


@pytest.mark.parametrize("timeout", [-1, "0", None, True, [], float("nan")])
def test_a_senseless_timeout_is_ignored(talk: Talk, timeout: object) -> None:
    client = talk.connected()
    assert talk.post(talk.connect(client, advice={"timeout": timeout})).session is not None


def test_a_connect_that_shares_its_request_is_not_held(talk: Talk) -> None:
    client = talk.connected()
    replies = talk.ask(subscribe(client, MINE), talk.connect(client))
    assert [r["channel"] for r in replies] == ["/meta/subscribe", "/meta/connect"]


def test_events_stand_before_replies(talk: Talk) -> None:
    client = talk.connected(MINE)
    talk.server.publish(MINE, DATA, talk.now)
    replies = talk.ask(subscribe(client, "/bayeux/app1/x"), talk.connect(client))
    assert [r["channel"] for r in replies] == [MINE, "/meta/subscribe", "/meta/connect"]


def test_no_event_leaves_with_another_reply(talk: Talk) -> None:
    client = talk.connected(MINE)
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.one(subscribe(client, "/bayeux/app1/x"))["channel"] == "/meta/subscribe"


def test_of_two_connects_the_older_one_fails(talk: Talk) -> None:
    client = talk.connected(MINE)
    older = talk.post(talk.connect(client, id="old"))
    newer = talk.post(talk.connect(client, id="new"))
    assert talk.server.wakeups() == [older]
    (reply,) = talk.read(older)
    assert (reply["id"], reply["successful"]) == ("old", False)
    assert reply["error"] == "409::connect_superseded"
    assert reply["advice"] == {**FULL_ADVICE, "interval": 2000}
    assert newer.session is not None
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.read(newer)[0] == EVENT


@pytest.mark.parametrize(
    ("kind", "error"),
    [(None, "400::connection_type_missing"), ("flash", "301::connection_types_unsupported")],
)
def test_a_connect_says_how_it_is_connected(talk: Talk, kind: object, error: str) -> None:
    client = talk.connected()
    reply = talk.one(talk.connect(client, connectionType=kind))
    assert (reply["successful"], reply["error"]) == (False, error)


def test_the_connection_type_need_not_be_the_transport(talk: Talk) -> None:
    client = talk.connected()
    assert talk.post(talk.connect(client, connectionType="websocket")).session is not None


# --- expiry -------------------------------------------------------------------------------------------


def test_a_session_without_connect_expires(talk: Talk) -> None:
    client = talk.connected(MINE)
    talk.pass_seconds(29)
    assert client in talk.server.sessions
    talk.pass_seconds(1)
    assert client not in talk.server.sessions
    assert talk.server.publish(MINE, DATA, talk.now) == 0
    assert talk.server.counters.ended == {"expired": 1}


def test_a_handshake_that_is_not_followed_up_expires(talk: Talk) -> None:
    talk.handshake()
    talk.pass_seconds(30)
    assert talk.server.sessions == {}
    assert talk.server.next_timeout() is None


def test_a_polling_client_lives_for_ever(talk: Talk) -> None:
    client = talk.connected()
    for _ in range(50):
        exchange = talk.post(talk.connect(client))
        talk.pass_seconds(30)
        assert talk.read(exchange)[0]["successful"] is True
        talk.pass_seconds(25)


def test_the_client_may_announce_a_pause(talk: Talk) -> None:
    client = talk.connected()
    talk.ask(talk.connect(client, advice={"timeout": 0, "interval": 10_000}))
    talk.pass_seconds(39)
    assert client in talk.server.sessions
    talk.pass_seconds(1)
    assert client not in talk.server.sessions


def test_expiry_counts_from_the_written_reply(talk: Talk) -> None:
    client = talk.connected(MINE)
    exchange = talk.post(talk.connect(client))
    talk.server.publish(MINE, DATA, talk.now)
    talk.read(exchange)
    talk.now += 8
    talk.server.written(exchange, talk.now)
    talk.pass_seconds(29)
    assert client in talk.server.sessions


def test_a_dropped_request_loses_nothing(talk: Talk) -> None:
    client = talk.connected(MINE)
    exchange = talk.post(talk.connect(client))
    talk.server.publish(MINE, DATA, talk.now)
    talk.server.dropped(exchange, talk.now)
    assert talk.read(exchange) == []
    assert talk.ask(talk.connect(client))[0] == EVENT


def test_a_dropped_client_expires_and_names_what_it_missed(talk: Talk) -> None:
    client = talk.connected(MINE)
    exchange = talk.post(talk.connect(client))
    talk.server.indications()
    talk.server.dropped(exchange, talk.now)
    talk.server.publish(MINE, DATA, talk.now, tag=41)
    talk.server.publish(MINE, DATA, talk.now, tag=42)
    talk.pass_seconds(30)
    assert talk.server.indications() == [Ended(client, "app1", "expired", (41, 42))]


# --- subscriptions ------------------------------------------------------------------------------------


def test_subscribing_is_indicated_once(talk: Talk) -> None:
    client = talk.connected()
    reply = talk.one(subscribe(client, MINE))
    assert reply == {
        "id": "s",
        "channel": "/meta/subscribe",
        "successful": True,
        "subscription": MINE,
    }
    assert talk.one(subscribe(client, MINE))["successful"] is True
    assert talk.server.indications() == [Subscribed(client, "app1", MINE)]


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("/bayeux/app2/presence", "403:/bayeux/app2/presence:subscribe_denied"),
        ("/bayeux/app1x", "403:/bayeux/app1x:subscribe_denied"),
        ("/bayeux/*", "403:/bayeux/*:subscribe_denied"),
        ("/**", "403:/**:subscribe_denied"),
        ("/meta/connect", "403:/meta/connect:subscribe_denied"),
        ("/service/x", "403:/service/x:subscribe_denied"),
        ("/bad name", "405::subscription_invalid"),
        ("", "405::subscription_invalid"),
        (5, "405::subscription_invalid"),
        ([5], "405::subscription_invalid"),
        ({"deep": [[[]]]}, "405::subscription_invalid"),
        ([], "403::subscription_missing"),
        (None, "403::subscription_missing"),
        ([MINE, "/bayeux/app2"], "403:/bayeux/app2:subscribe_denied"),
    ],
)
def test_refused_subscriptions_change_nothing(talk: Talk, channel: object, error: str) -> None:
    client = talk.connected()
    reply = talk.one(subscribe(client, channel))
    assert (reply["successful"], reply["error"]) == (False, error)
    assert talk.server.subscribers == {}
    assert talk.server.counters.refused["subscribe"] == 1


def test_a_refusal_names_the_subscription_as_sent(talk: Talk) -> None:
    client = talk.connected()
    wanted = [MINE, "/bayeux/app2"]
    assert talk.one(subscribe(client, wanted))["subscription"] == wanted


def test_a_session_has_only_so_many_subscriptions(talk: Talk) -> None:
    client = talk.connected()
    names = [f"/bayeux/app1/c{i}" for i in range(64)]
    assert talk.one(subscribe(client, names))["successful"] is True
    assert talk.one(subscribe(client, names[:3]))["successful"] is True
    assert talk.one(subscribe(client, MINE))["error"] == "403::too_many_subscriptions"


def test_overlapping_subscriptions_give_one_copy(talk: Talk) -> None:
    client = talk.connected(MINE, "/bayeux/app1/*", "/bayeux/app1/**")
    assert talk.server.publish(MINE, DATA, talk.now) == 1
    assert len(data_of(talk.ask(talk.connect(client)))) == 1


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [("/bayeux/app1/*", 1), ("/bayeux/app1/**", 1), ("/bayeux/app1/presence/*", 0)],
)
def test_patterns_match_below_their_stem(talk: Talk, pattern: str, reached: int) -> None:
    talk.connected(pattern)
    assert talk.server.publish(MINE, DATA, talk.now) == reached


def test_after_unsubscribe_nothing_new_arrives_but_the_queue_stays(talk: Talk) -> None:
    client = talk.connected(MINE)
    talk.server.publish(MINE, b"1", talk.now)
    gone: Message = {"channel": "/meta/unsubscribe", "clientId": client, "subscription": MINE}
    assert talk.one(gone)["successful"] is True
    assert talk.one(gone)["successful"] is True
    assert talk.server.publish(MINE, b"2", talk.now) == 0
    assert data_of(talk.ask(talk.connect(client))) == [1]


@pytest.mark.parametrize(
    ("channel", "error"),
    [(None, "403::subscription_missing"), ("/a b", "405::subscription_invalid")],
)
def test_unsubscribe_checks_names(talk: Talk, channel: object, error: str) -> None:
    client = talk.connected()
    reply = talk.one({**subscribe(client, channel), "channel": "/meta/unsubscribe"})
    assert reply["error"] == error


# --- publishing, meta channels, strangers -------------------------------------------------------------


@pytest.mark.parametrize("channel", [MINE, "/bayeux/app2", "/service/x", "/any"])
def test_clients_do_not_publish(talk: Talk, channel: str) -> None:
    client = talk.connected(MINE)
    reply = talk.one({"channel": channel, "clientId": client, "data": {}})
    assert reply["error"] == f"403:{channel}:publish_denied"
    assert data_of(talk.ask(talk.connect(client, advice={"timeout": 0}))) == []


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("/meta/ping", "404:/meta/ping:unknown_meta_channel"),
        ("/bad name", "405::channel_invalid"),
        ("/a/*", "405::channel_invalid"),
    ],
)
def test_other_channels_are_refused(talk: Talk, channel: str, error: str) -> None:
    client = talk.connected()
    assert talk.one({"channel": channel, "clientId": client})["error"] == error


def test_a_bad_id_is_refused_without_an_id(talk: Talk) -> None:
    client = talk.connected()
    reply = talk.one(talk.connect(client, id="x" * 65))
    assert reply["error"] == "405::message_id_invalid"
    assert "id" not in reply


@pytest.mark.parametrize(
    "channel", ["/meta/connect", "/meta/subscribe", "/meta/unsubscribe", "/meta/disconnect", MINE]
)
@pytest.mark.parametrize("client", [None, "nobody", 5, ["client1"]])
def test_without_a_session_everything_is_402(talk: Talk, channel: str, client: object) -> None:
    reply = talk.one({"channel": channel, "clientId": client})
    assert (reply["successful"], reply["error"]) == (False, "402::session_unknown")
    if channel == "/meta/connect":
        assert reply["advice"] == {"reconnect": "handshake", "interval": 0}


@pytest.mark.parametrize("origin", [STRANGER, NOBODY, Origin(None, header=True)])
def test_a_stranger_gets_402_and_the_owner_is_not_disturbed(talk: Talk, origin: Origin) -> None:
    client = talk.connected(MINE)
    held = talk.post(talk.connect(client))
    for request in (
        talk.connect(client),
        subscribe(client, MINE),
        {"channel": "/meta/disconnect", "clientId": client},
    ):
        assert talk.one(request, origin=origin)["error"] == "402::session_unknown"
    assert held.session is not None
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.read(held)[0] == EVENT


def test_a_session_made_with_ext_needs_no_header(talk: Talk) -> None:
    client = str(talk.handshake(Origin("app1", header=False))["clientId"])
    assert talk.one(talk.connect(client), origin=NOBODY)["successful"] is True
    assert talk.one(talk.connect(client), origin=STRANGER)["successful"] is False


def test_disconnect_answers_the_held_connect_and_ends(talk: Talk) -> None:
    client = talk.connected(MINE)
    held = talk.post(talk.connect(client))
    talk.server.indications()
    assert talk.one({"channel": "/meta/disconnect", "clientId": client})["successful"] is True
    (reply,) = talk.read(held)
    assert (reply["successful"], reply["advice"]) == (True, {"reconnect": "none", "interval": 0})
    assert talk.server.indications() == [Ended(client, "app1", "disconnected")]
    assert talk.server.subscribers == {}
    assert talk.server.next_timeout() is None


def test_revoking_an_application_ends_its_sessions_alone(talk: Talk) -> None:
    mine = talk.connected()
    other = str(talk.handshake(STRANGER)["clientId"])
    held = talk.post(talk.connect(mine))
    link = talk.link()
    assert talk.server.revoke("app1", talk.now) == 1
    (reply,) = talk.read(held)
    assert reply["error"] == "402::session_unknown"
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}
    assert list(talk.server.sessions) == [other]
    assert link.close_code == 1008


# --- overflow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "data"),
    [
        (Settings(max_queue_events=10), DATA),
        (Settings(max_queue_bytes=1000), b'"' + b"x" * 60 + b'"'),
    ],
)
def test_a_queue_that_grows_too_long_ends_the_session(settings: Settings, data: bytes) -> None:
    talk = Talk(settings)
    client = talk.connected(MINE)
    slow = talk.connected(MINE)
    tags = []
    for tag in count(1):
        if slow not in talk.server.sessions:
            break
        tags.append(tag)
        talk.server.publish(MINE, data, talk.now, tag)
        talk.ask(talk.connect(client))
    assert client in talk.server.sessions
    ended = [s for s in talk.server.indications() if isinstance(s, Ended)]
    assert ended == [Ended(slow, "app1", "overflow", tuple(tags))]
    assert talk.one(talk.connect(slow))["error"] == "402::session_unknown"
    assert talk.server.counters.high_water == len(tags)


# --- acknowledgement ----------------------------------------------------------------------------------


def test_lost_batches_come_again_in_order(talk: Talk) -> None:
    client = talk.connected(MINE, ack=True)
    talk.server.publish(MINE, b"1", talk.now)
    first = talk.ask(talk.connect(client, ext={"ack": 1}))
    assert data_of(first) == [1]
    assert first[-1]["ext"] == {"ack": 2}
    talk.server.publish(MINE, b"2", talk.now)
    again = talk.ask(talk.connect(client, ext={"ack": 1}))
    assert data_of(again) == [1, 2]
    assert again[-1]["ext"] == {"ack": 3}
    assert talk.post(talk.connect(client, ext={"ack": 3})).session is not None
    assert talk.server.sessions[client].queued_bytes == 0


def test_a_connect_without_ack_changes_nothing(talk: Talk) -> None:
    client = talk.connected(MINE, ack=True)
    talk.server.publish(MINE, b"1", talk.now)
    talk.ask(talk.connect(client, ext={"ack": 1}))
    assert talk.post(talk.connect(client)).session is not None
    assert data_of(talk.ask(talk.connect(client, ext={"ack": 1}))) == [1]


@pytest.mark.parametrize("ack", ["1", True, None, 1.5, {}])
def test_a_senseless_ack_changes_nothing(talk: Talk, ack: object) -> None:
    client = talk.connected(MINE, ack=True)
    talk.server.publish(MINE, b"1", talk.now)
    talk.ask(talk.connect(client, ext={"ack": 1}))
    assert talk.post(talk.connect(client, ext={"ack": ack})).session is not None


def test_unacknowledged_events_count_against_the_limit() -> None:
    talk = Talk(Settings(max_queue_events=3))
    client = talk.connected(MINE, ack=True)
    for number in range(3):
        talk.server.publish(MINE, numbered(number), talk.now)
        talk.ask(talk.connect(client, advice={"timeout": 0}))
    assert client in talk.server.sessions
    talk.server.publish(MINE, b"3", talk.now, tag=9)
    assert client not in talk.server.sessions


@given(st.lists(st.sampled_from(["publish", "lose", "arrive"]), max_size=40))
def test_with_ack_every_event_is_processed_once_and_in_order(steps: list[str]) -> None:
    talk = Talk()
    client = talk.connected(MINE, ack=True)
    processed: list[object] = []
    acknowledged, published = 1, 0
    for step in [*steps, "arrive", "arrive"]:
        if step == "publish":
            talk.server.publish(MINE, numbered(published), talk.now)
            published += 1
            continue
        connect = talk.connect(client, ext={"ack": acknowledged}, advice={"timeout": 0})
        replies = talk.ask(connect)
        if step == "arrive":
            processed += data_of(replies)
            ext = replies[-1]["ext"]
            assert isinstance(ext, dict)
            acknowledged = ext["ack"]
    assert processed == list(range(published))


# --- timesync -----------------------------------------------------------------------------------------


def test_timesync_tells_the_servers_clock() -> None:
    talk = Talk()
    talk.server.wall = lambda now: datetime.fromtimestamp(1_000_000 + now, UTC)
    client = talk.connected()
    exchange = talk.post(talk.connect(client, ext={"timesync": {"tc": 5000, "l": 20, "o": -7}}))
    talk.pass_seconds(30)
    (reply,) = talk.read(exchange)
    stamp = 1_000_100_000
    expected = {"tc": 5000, "ts": stamp, "p": 30000, "a": 5000 - 7 + 20 - stamp}
    assert reply["ext"] == {"timesync": expected}


# --- WebSocket ----------------------------------------------------------------------------------------


def test_a_socket_gets_events_at_once_and_its_connect_stays_held(talk: Talk) -> None:
    link = talk.link()
    client = str(talk.frame(link, HANDSHAKE)[0]["clientId"])
    talk.frame(link, talk.connect(client))
    talk.frame(link, subscribe(client, MINE))
    assert talk.frame(link, talk.connect(client, id="held")) == []
    talk.server.wakeups()
    for number in range(3):
        talk.server.publish(MINE, numbered(number), talk.now)
    assert talk.server.wakeups() == [link]
    assert talk.pushed(link) == [{"channel": MINE, "data": n} for n in range(3)]
    talk.pass_seconds(30)
    (reply,) = talk.pushed(link)
    assert (reply["id"], reply["successful"]) == ("held", True)


def test_a_session_does_not_expire_while_a_socket_carries_it(talk: Talk) -> None:
    link = talk.link()
    client = str(talk.frame(link, HANDSHAKE)[0]["clientId"])
    talk.frame(link, talk.connect(client))
    talk.pass_seconds(1000)
    assert client in talk.server.sessions
    talk.server.close_link(link, talk.now)
    talk.pass_seconds(29)
    assert client in talk.server.sessions
    talk.pass_seconds(1)
    assert client not in talk.server.sessions


def test_a_handshake_on_a_socket_that_never_connects_expires(talk: Talk) -> None:
    link = talk.link()
    talk.frame(link, HANDSHAKE)
    talk.pass_seconds(30)
    assert talk.server.sessions == {}
    assert link.sessions == {}


def test_a_subscribe_reply_comes_before_what_is_replayed(talk: Talk) -> None:
    link = talk.link()
    client = str(talk.frame(link, HANDSHAKE)[0]["clientId"])
    talk.server.receive_on(link, [subscribe(client, MINE)], talk.now)
    assert talk.server.deliver(client, MINE, DATA, talk.now) is True
    assert [m["channel"] for m in talk.pushed(link)] == ["/meta/subscribe", MINE]


def test_with_ack_a_socket_gets_events_only_with_connect_replies(talk: Talk) -> None:
    link = talk.link()
    client = str(talk.frame(link, {**HANDSHAKE, "ext": {"ack": True}})[0]["clientId"])
    talk.frame(link, talk.connect(client, ext={"ack": 0}))
    talk.frame(link, subscribe(client, MINE))
    talk.server.publish(MINE, b"1", talk.now)
    assert talk.pushed(link) == []
    replies = talk.frame(link, talk.connect(client, ext={"ack": 1}))
    assert data_of(replies) == [1]
    assert replies[-1]["ext"] == {"ack": 2}
    assert talk.frame(link, talk.connect(client, ext={"ack": 2})) == []
    talk.server.publish(MINE, b"2", talk.now)
    assert data_of(talk.pushed(link)) == [2]


def test_a_session_moves_to_a_socket_and_takes_its_queue_along(talk: Talk) -> None:
    client = talk.connected(MINE)
    polled = talk.post(talk.connect(client))
    talk.server.dropped(polled, talk.now)
    talk.server.publish(MINE, DATA, talk.now)
    link = talk.link(NOBODY)
    replies = talk.frame(link, talk.connect(client, connectionType="websocket"))
    assert EVENT in replies
    assert talk.server.gauges().sessions == {"websocket": 1, "long-polling": 0}


def test_a_connect_by_http_takes_the_session_off_its_socket(talk: Talk) -> None:
    link = talk.link()
    client = str(talk.frame(link, HANDSHAKE)[0]["clientId"])
    talk.frame(link, talk.connect(client), subscribe(client, MINE))
    held = talk.post(talk.connect(client))
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.pushed(link) == []
    assert talk.read(held)[0] == EVENT


def test_the_loss_of_a_socket_leaves_a_connect_elsewhere_alone(talk: Talk) -> None:
    client = talk.connected(MINE)
    held = talk.post(talk.connect(client))
    link = talk.link(NOBODY)
    talk.frame(link, subscribe(client, "/bayeux/app1/x"))
    talk.server.close_link(link, talk.now)
    talk.server.publish(MINE, DATA, talk.now)
    assert talk.read(held)[0] == EVENT


def test_sockets_without_header_can_be_kept_off_sessions_with_one() -> None:
    talk = Talk(Settings(sockets_continue=False))
    client = talk.connected()
    (reply,) = talk.frame(talk.link(NOBODY), talk.connect(client))
    assert reply["error"] == "402::session_unknown"


def test_a_socket_of_a_stranger_gets_402(talk: Talk) -> None:
    client = talk.connected()
    (reply,) = talk.frame(talk.link(STRANGER), talk.connect(client))
    assert reply["error"] == "402::session_unknown"


def test_a_socket_without_session_is_closed(talk: Talk) -> None:
    link = talk.link()
    talk.pass_seconds(10)
    assert link.close_code == 1008
    busy = talk.link()
    client = str(talk.frame(busy, HANDSHAKE)[0]["clientId"])
    talk.frame(busy, talk.connect(client))
    talk.pass_seconds(50)
    assert busy.close_code is None
    talk.frame(busy, {"channel": "/meta/disconnect", "clientId": client})
    talk.pass_seconds(10)
    assert busy.close_code == 1008


def test_one_address_has_only_so_many_idle_sockets() -> None:
    talk = Talk(Settings(max_idle_sockets=2))
    first = talk.link()
    talk.link()
    assert talk.server.open_link(talk.origin, "192.0.2.1", talk.now) is None
    assert talk.server.open_link(talk.origin, "192.0.2.2", talk.now) is not None
    talk.frame(first, HANDSHAKE)
    talk.link()
    talk.server.close_link(first, talk.now)
    assert talk.server.open_link(talk.origin, "192.0.2.1", talk.now) is None


# --- the rest -----------------------------------------------------------------------------------------


def test_a_slow_stop_is_a_polite_one(talk: Talk) -> None:
    client = talk.connected()
    held = talk.post(talk.connect(client))
    link = talk.link()
    talk.server.stop(talk.now)
    assert set(talk.server.wakeups()) == {held, link}
    assert talk.read(held)[0]["successful"] is True
    assert link.close_code == 1001
    assert talk.handshake()["successful"] is False
    assert talk.server.open_link(talk.origin, "192.0.2.1", talk.now) is None


def test_only_channels_are_published_to(talk: Talk) -> None:
    with pytest.raises(LocalProtocolError):
        talk.server.publish("/bayeux/app1/*", DATA, talk.now)
    assert talk.server.deliver("nobody", MINE, DATA, talk.now) is False


def test_every_error_string_can_be_parsed_by_clients(talk: Talk) -> None:
    grammar = re.compile(r"[0-9]{3}:[A-Za-z0-9\-_!~()$@ /*.]*:[A-Za-z0-9\-_!~()$@ /*.]+")
    client = talk.connected()
    for channel in ("/bayeux/app2/**", "/a b", "/meta/x", "/x/y"):
        for request in (subscribe(client, channel), {"channel": channel, "clientId": client}):
            assert grammar.fullmatch(str(talk.one(request)["error"]))


SOMETHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["client1", "", MINE, "/b c"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
MEMBERS = st.fixed_dictionaries(
    {
        "channel": st.sampled_from(
            [
                *("/meta/handshake", "/meta/connect", "/meta/subscribe", "/meta/unsubscribe"),
                *("/meta/disconnect", "/meta/x", MINE, "bad"),
            ]
        )
    },
    optional={
        name: SOMETHING | st.just("client1")
        for name in ("clientId", "subscription", "connectionType", "advice", "ext", "id", "version")
    },
)


@given(st.lists(st.lists(MEMBERS, min_size=1, max_size=3), max_size=8), st.booleans())
def test_no_request_breaks_the_server(batches: list[list[dict[str, object]]], socket: bool) -> None:
    server = BayeuxServer(Settings(), counting_tokens())
    origin = Origin("app1", header=True)
    link = server.open_link(origin, "192.0.2.1", 0.0)
    assert link is not None
    server.receive([HANDSHAKE], origin, 0.0)
    for batch in batches:
        if socket:
            server.receive_on(link, batch, 0.0)
            server.collect(link, 0.0)
            continue
        exchange = server.receive(batch, origin, 0.0)
        if exchange.session is None:
            replies = orjson.loads(server.collect(exchange, 0.0))
            assert replies
            assert all(
                "successful" in r and "clientId" not in r or "handshake" in r["channel"]
                for r in replies
            )
    server.handle_timeout(1000.0)
    server.handle_timeout(2000.0)
    assert socket or server.sessions == {}
