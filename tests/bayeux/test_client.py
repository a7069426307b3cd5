"""The client core joined with our server core: a wire that loses what it is told to, and the test's clock."""

import random
from collections.abc import Callable

import orjson
import pytest

from sipbridge.bayeux import session as server_side
from sipbridge.bayeux import words
from sipbridge.bayeux.client import (
    ANSWER_SECONDS,
    MAX_DELAY,
    BayeuxClient,
    Connected,
    Delivered,
    Exchange,
    Failed,
    Interrupted,
    SessionStarted,
    State,
    Subscribed,
    SubscriptionRefused,
)
from sipbridge.bayeux.server import BayeuxServer, Settings
from sipbridge.bayeux.session import Link, Origin
from sipbridge.errors import LocalProtocolError
from tests.bayeux.conftest import counting_tokens

MINE, OTHER, FOREIGN = "/bayeux/app1/presence", "/bayeux/app1/other", "/bayeux/app2/x"
APP = Origin("app1", header=True)


class Pair:
    """A client and a server. `lose` says of each exchange, by its number from 1, what gets lost."""

    def __init__(self, settings: Settings | None = None, jitter: float = 1.0) -> None:
        self.settings = settings or Settings()
        self.tokens = counting_tokens()
        self.server = BayeuxServer(self.settings, self.tokens)
        self.client = BayeuxClient(lambda: jitter)
        self.now = 100.0
        self.origin = APP
        self.under_way: dict[int, server_side.Exchange] = {}
        self.lose: Callable[[int], str] = lambda number: ""
        self.posted = 0
        self.requests: list[tuple[str, ...]] = []
        self.heard: list[object] = []
        self.up = True

    def started(self, *channels: str) -> "Pair":
        for channel in channels:
            self.client.subscribe(channel, self.now)
        self.client.start(self.now)
        return self.turn()

    def turn(self) -> "Pair":
        """Until neither side has anything to say."""
        while self.carry() or self.collect():
            pass
        for said in self.client.indications():
            self.heard.append(said.data if isinstance(said, Delivered) else said)
            if isinstance(said, Interrupted):
                for exchange in self.under_way.values():
                    self.server.dropped(exchange, self.now)
                self.under_way.clear()
        return self

    def carry(self) -> bool:
        sent = self.client.sends()
        for exchange in sent:
            self.posted += 1
            self.requests.append(tuple(str(m["channel"]) for m in exchange.messages))
            what = self.lose(self.posted) if self.up else "request"
            if what == "request":
                self.client.failed(exchange.number, "lost", self.now)
                continue
            batch = orjson.loads(orjson.dumps(exchange.messages))
            answering = self.server.receive(batch, self.origin, self.now)
            if what == "reply":
                self.read(answering)
                self.client.failed(exchange.number, "lost", self.now)
            else:
                self.under_way[exchange.number] = answering
        return bool(sent)

    def read(self, answering: server_side.Exchange) -> bytes:
        body = self.server.collect(answering, self.now)
        self.server.written(answering, self.now)
        return body

    def collect(self) -> bool:
        for number, answering in list(self.under_way.items()):
            if body := self.read(answering):
                self.under_way.pop(number, None)
                self.client.receive(number, orjson.loads(body), self.now)
                return True
        return False

    def pass_seconds(self, seconds: float) -> "Pair":
        end = self.now + seconds
        while True:
            due = [
                w for w in (self.server.next_timeout(), self.client.next_timeout()) if w is not None
            ]
            when = min(due, default=end + 1)
            if when > end:
                break
            self.now = max(self.now, when)
            self.server.handle_timeout(self.now)
            self.turn()
            self.client.handle_timeout(self.now)
            self.turn()
        self.now = end
        return self

    def tell(self, value: object, channel: str = MINE) -> "Pair":
        self.server.publish(channel, orjson.dumps(value), self.now)
        return self.turn()

    def restart(self) -> None:
        """The server's process is another one: nobody knows anybody."""
        self.server = BayeuxServer(self.settings, self.tokens)
        for number in list(self.under_way):
            del self.under_way[number]
            self.client.failed(number, "reset", self.now)

    @property
    def events(self) -> list[object]:
        return [said for said in self.heard if isinstance(said, int | str)]


def losing(what: str, lost: int) -> Callable[[int], str]:
    return lambda number: what if number == lost else ""


def by_chance(dice: random.Random) -> Callable[[int], str]:
    return lambda number: dice.choice(["", "", "request", "reply"])


def test_handshake_then_subscribe_with_the_first_connect_then_a_connect_that_is_held() -> None:
    pair = Pair().started(MINE, OTHER)
    assert pair.requests == [
        (words.HANDSHAKE,),
        (words.SUBSCRIBE, words.SUBSCRIBE, words.CONNECT),
        (words.CONNECT,),
    ]
    assert pair.heard == [
        SessionStarted(again=False),
        Subscribed(MINE),
        Subscribed(OTHER),
        Connected(),
    ]
    assert pair.client.state is State.CONNECTED
    assert len(pair.under_way) == 1


def test_events_come_in_order_and_once() -> None:
    pair = Pair().started(MINE)
    for number in range(5):
        pair.tell(number)
    assert pair.events == [0, 1, 2, 3, 4]
    assert pair.client.batch == 6  # the first reply was batch 1, without events


def test_a_silent_server_is_asked_again_each_time_the_hold_is_over() -> None:
    pair = Pair().started(MINE).pass_seconds(95)
    assert pair.requests[3:] == [(words.CONNECT,)] * 3
    assert not any(isinstance(said, Interrupted) for said in pair.heard)


def test_a_channel_that_is_wanted_later_goes_out_on_its_own() -> None:
    pair = Pair().started()
    pair.client.subscribe(MINE, pair.now)
    pair.client.subscribe(MINE, pair.now)
    assert pair.turn().requests[-1] == (words.SUBSCRIBE,)
    assert pair.tell(7).events == [7]
    pair.client.unsubscribe(MINE, pair.now)
    pair.client.unsubscribe(MINE, pair.now)
    assert pair.turn().requests[-1] == (words.UNSUBSCRIBE,)
    assert pair.tell(8).events == [7]


def test_a_refused_channel_is_told_and_not_asked_for_again() -> None:
    pair = Pair().started(FOREIGN, MINE)
    refused = [said for said in pair.heard if isinstance(said, SubscriptionRefused)]
    assert refused == [SubscriptionRefused(FOREIGN, f"403:{FOREIGN}:subscribe_denied")]
    assert pair.tell(1).events == [1]
    pair.restart()
    pair.turn().pass_seconds(1)
    assert pair.requests[-2] == (words.SUBSCRIBE, words.CONNECT)


def test_bad_credentials_are_the_end() -> None:
    pair = Pair()
    pair.origin = Origin()
    pair.started(MINE)
    assert pair.heard == [Failed("401::authentication_failed")]
    assert pair.client.state is State.CLOSED
    assert pair.client.next_timeout() is None
    with pytest.raises(LocalProtocolError):
        pair.client.start(pair.now)


def test_a_reply_that_was_lost_is_sent_again() -> None:
    pair = Pair().started(MINE)
    for answering in pair.under_way.values():
        pair.server.publish(MINE, b"1", pair.now)
        assert b'"data":1' in pair.read(answering)  # and never arrives
    (number,) = pair.under_way
    pair.under_way.clear()
    pair.client.failed(number, "reset", pair.now)
    pair.turn().pass_seconds(0)
    assert pair.tell(2).events == [1, 2]


def test_an_answer_that_comes_after_it_was_given_up_is_passed_over() -> None:
    pair = Pair().started(MINE)
    (number,) = pair.under_way
    late = [{"channel": MINE, "data": 9}, {"channel": words.CONNECT, "successful": True, "id": "x"}]
    pair.client.failed(number, "reset", pair.now)
    pair.client.receive(number, late, pair.now)
    assert pair.turn().events == []


def test_what_is_lost_of_any_of_the_first_exchanges_is_made_good() -> None:
    for what in ("request", "reply"):
        for lost in range(1, 12):
            pair = Pair()
            pair.lose = losing(what, lost)
            pair.started(MINE).pass_seconds(0)
            for number in range(8):
                pair.tell(number).pass_seconds(0)
            expected = list(range(8))
            # A handshake whose reply was lost makes a second session; nothing had been told to the first.
            assert pair.events == expected, (what, lost)


def test_chance_may_take_what_it_wants_the_events_of_a_session_come_once_and_in_order() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        pair = Pair(Settings(max_interval=1000.0))
        pair.started(MINE)
        pair.lose = by_chance(dice)
        for number in range(30):
            pair.tell(number).pass_seconds(dice.random() * 20)
        pair.lose = lambda number: ""
        pair.pass_seconds(60)
        assert pair.events == list(range(30)), seed


def test_a_server_that_was_restarted_gets_a_new_handshake_and_the_same_channels() -> None:
    pair = Pair().started(MINE)
    pair.restart()
    pair.turn().pass_seconds(0)
    again = pair.heard.index(SessionStarted(again=True))
    assert pair.heard[again:] == [SessionStarted(again=True), Subscribed(MINE), Connected()]
    assert pair.tell(5).events == [5]


def test_a_session_that_expired_meanwhile_is_the_same() -> None:
    pair = Pair().started(MINE)
    pair.up = False
    pair.under_way.clear()
    pair.pass_seconds(100)
    pair.up = True
    pair.pass_seconds(MAX_DELAY)
    assert SessionStarted(again=True) in pair.heard
    assert pair.tell(5).events == [5]


def test_pauses_double_up_to_ten_seconds_and_start_over_when_all_is_well() -> None:
    pair = Pair()
    pair.up = False
    pair.started(MINE).pass_seconds(100)
    pauses = [said.retry_in for said in pair.heard if isinstance(said, Interrupted)]
    assert pauses[:8] == [0, 1, 2, 4, 8, MAX_DELAY, MAX_DELAY, MAX_DELAY]
    pair.up = True
    pair.pass_seconds(MAX_DELAY)
    assert pair.client.failures > 0  # the first good connect may be the last
    pair.tell(1)
    assert pair.client.failures == 0


def test_half_of_a_pause_is_chance() -> None:
    pair = Pair(jitter=0.0)
    pair.up = False
    pair.started().pass_seconds(3)
    pauses = [said.retry_in for said in pair.heard if isinstance(said, Interrupted)]
    assert pauses[:3] == [0, 0.5, 1]


def test_a_server_that_forgets_at_once_is_not_asked_in_a_circle() -> None:
    pair = Pair().started(MINE)
    for _ in range(60):
        pair.server.sessions.clear()
        pair.server.of_application.clear()
        pair.pass_seconds(1)
        pair.server.deadlines = BayeuxServer(Settings(), counting_tokens()).deadlines
    assert pair.requests.count((words.HANDSHAKE,)) < 20


def test_a_connect_without_an_answer_is_given_up_after_the_hold_and_ten_seconds() -> None:
    pair = Pair().started(MINE)
    pair.under_way.clear()
    assert pair.client.next_timeout() == pair.now + pair.settings.timeout + ANSWER_SECONDS
    pair.pass_seconds(pair.settings.timeout + ANSWER_SECONDS)
    assert Interrupted("no answer in time", 0.0) in pair.heard


def test_advice_is_followed() -> None:
    pair = Pair(Settings(timeout=7.0)).started(MINE)
    assert pair.client.hold == 7.0
    (number,) = pair.under_way
    ident = str(pair.client.numbers - 1)
    pair.under_way.clear()
    advice = {"reconnect": "retry", "interval": 2000, "timeout": 5000}
    fields = {"channel": words.CONNECT, "successful": True, "id": ident, "advice": advice}
    pair.client.receive(number, [fields], pair.now)
    assert (pair.client.hold, pair.client.next_timeout()) == (5.0, pair.now + 2.0)
    assert pair.client.sends() == []


def test_a_superseded_connect_waits_as_it_is_told_to() -> None:
    pair = Pair().started(MINE)
    (client_id,) = pair.server.sessions
    other = {"channel": words.CONNECT, "clientId": client_id, "connectionType": words.LONG_POLLING}
    pair.server.receive([other], APP, pair.now)
    pair.turn()
    assert pair.heard[-1] == Interrupted("409::connect_superseded", 2.0)


def test_a_server_without_room_is_asked_later() -> None:
    pair = Pair(Settings(max_sessions=0)).started(MINE)
    assert pair.heard == [Interrupted("503::too_many_sessions", 5.0)]
    assert pair.client.state is State.WAITING


def test_a_server_without_acknowledgements_is_taken_as_it_is() -> None:
    client = BayeuxClient(lambda: 1.0)
    client.subscribe(MINE, 0.0)
    client.start(0.0)
    (hello,) = client.sends()
    good = {"channel": words.HANDSHAKE, "successful": True, "id": hello.messages[0]["id"]}
    client.receive(hello.number, [{**good, "clientId": "c1"}], 0.0)
    (first,) = client.sends()
    assert "ext" not in first.messages[-1]
    assert first.messages[-1]["advice"] == {"timeout": 0}


def test_an_answer_without_the_reply_is_a_failure() -> None:
    client = BayeuxClient(lambda: 1.0)
    client.start(0.0)
    (hello,) = client.sends()
    client.receive(hello.number, [{"channel": words.HANDSHAKE, "successful": True, "id": "?"}], 0.0)
    assert client.indications() == [Interrupted("a reply is missing", 0.0)]


def test_a_handshake_without_a_session_is_a_failure() -> None:
    client = BayeuxClient(lambda: 1.0)
    client.start(0.0)
    (hello,) = client.sends()
    good = {"channel": words.HANDSHAKE, "successful": True, "id": hello.messages[0]["id"]}
    client.receive(hello.number, [good, {"no": "channel"}], 0.0)
    assert client.indications() == [Interrupted("a handshake without a clientId", 0.0)]


def test_goodbye_is_said_once_and_ends_the_session() -> None:
    pair = Pair().started(MINE)
    pair.client.disconnect(pair.now)
    pair.client.disconnect(pair.now)
    pair.turn()
    assert pair.requests[-1] == (words.DISCONNECT,)
    assert (pair.server.sessions, pair.client.next_timeout()) == ({}, None)
    pair.client.receive_frame([{"channel": MINE, "data": 1}], pair.now)
    assert pair.client.indications() == []


def test_a_goodbye_before_there_is_a_session_says_nothing() -> None:
    client = BayeuxClient(lambda: 1.0)
    client.disconnect(0.0)
    assert client.sends() == []


# --- WebSocket ----------------------------------------------------------------------------------------


class Socket:
    """The same client on a WebSocket of the server."""

    def __init__(self) -> None:
        self.server = BayeuxServer(Settings(), counting_tokens())
        self.client = BayeuxClient(lambda: 1.0, connection_type=words.WEBSOCKET)
        self.now = 100.0
        self.link: Link | None = None
        self.heard: list[object] = []

    def turn(self) -> "Socket":
        while True:
            sent = self.client.sends()
            if sent and self.link is None:
                self.link = self.server.open_link(APP, "192.0.2.1", self.now)
            for exchange in sent:
                self.frame(exchange)
            body = self.server.collect(self.link, self.now) if self.link else b""
            if body:
                self.client.receive_frame(orjson.loads(body), self.now)
            if not (sent or body):
                break
        for said in self.client.indications():
            self.heard.append(said.data if isinstance(said, Delivered) else said)
        return self

    def frame(self, exchange: Exchange) -> None:
        assert self.link is not None
        self.server.receive_on(self.link, orjson.loads(orjson.dumps(exchange.messages)), self.now)

    def cut(self) -> None:
        assert self.link is not None
        self.server.close_link(self.link, self.now)
        self.link = None
        self.client.link_lost("cut", self.now)
        self.client.handle_timeout(self.now)


def test_a_websocket_carries_the_same() -> None:
    socket = Socket()
    socket.client.subscribe(MINE, socket.now)
    socket.client.start(socket.now)
    socket.turn()
    assert socket.heard[-2:] == [Subscribed(MINE), Connected()]
    for number in range(3):
        socket.server.publish(MINE, str(number).encode(), socket.now)
        socket.turn()
    assert socket.heard[-3:] == [0, 1, 2]


def test_a_websocket_that_was_cut_goes_on_with_its_session_and_what_was_on_the_way() -> None:
    socket = Socket()
    socket.client.subscribe(MINE, socket.now)
    socket.client.start(socket.now)
    socket.turn()
    assert socket.link is not None
    socket.server.publish(MINE, b"1", socket.now)
    assert b'"data":1' in socket.server.collect(socket.link, socket.now)  # and is lost
    socket.cut()
    socket.server.publish(MINE, b"2", socket.now)
    socket.turn()
    assert [said for said in socket.heard if isinstance(said, int)] == [1, 2]
    assert SessionStarted(again=True) not in socket.heard


def test_a_link_that_is_lost_while_nothing_is_waited_for_is_no_news() -> None:
    client = BayeuxClient(lambda: 1.0, connection_type=words.WEBSOCKET)
    client.link_lost("never opened", 0.0)
    assert client.indications() == []
