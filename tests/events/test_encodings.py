"""Compressed bodies between our machines, and with peers that know nothing of them."""

import gzip
import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sipbridge.events.compositor import Compositor
from sipbridge.events.notifier import Notifier
from sipbridge.events.package import EventPackage
from sipbridge.events.publisher import Published, Publisher, PublishFailed
from sipbridge.events.subscriber import Notified, Subscriber
from sipbridge.sip.address import NameAddr
from sipbridge.sip.message import Request, Response
from sipbridge.sip.policy import PeerPolicy
from tests.events.peers import (
    ALICE_URI,
    BOB_URI,
    PACKAGES,
    TO_BOB,
    Answer,
    Reply,
    ScriptedCompositor,
    ScriptedNotifier,
)
from tests.events.toy import ToyAuthority
from tests.harness.pair import ALICE, BOB, Answers, Outcome, Pair
from tests.harness.wire import Sent

TOY = EventPackage("toy", ("application/x-toy",), default_expires=600, min_expires=10)
KIND = "application/x-toy"


def long(word: str) -> bytes:
    """A body that pays."""
    return b"".join(b"<%b n='%d'/>" % (word.encode(), n) for n in range(60))


def body_of(sent: Sent) -> bytes:
    return sent.data.split(b"\r\n\r\n", 1)[1]


class World:
    """Watcher and publisher at Alice, the server at Bob."""

    def __init__(
        self, policy: PeerPolicy = TO_BOB, *, known: tuple[str, ...] | None = None
    ) -> None:
        self.pair = Pair(protocols=("udp", "tcp"))
        self.policy = policy
        if known is not None:
            self.pair.bob.encodings = known
        self.authority = ToyAuthority(self.pair.bob)
        self.authority.word = long("hello")
        self.notifier = Notifier(self.pair.bob, {"toy": TOY}, self.authority)
        self.compositor = Compositor(self.pair.bob, {"toy": TOY}, self.authority)
        self.subscriber = Subscriber(self.pair.alice, {"toy": TOY})
        self.publisher = Publisher(self.pair.alice, {"toy": TOY})

    def watch(self) -> str:
        id = self.subscriber.subscribe(BOB_URI, ALICE_URI, "toy", self.pair.now, policy=self.policy)
        self.pair.turn()
        return id

    def offer(self, word: bytes) -> None:
        self.authority.word = word
        self.notifier.offer(self.authority.subscriptions[-1], self.pair.now)
        self.pair.turn()

    def publish(self, body: bytes) -> str:
        id = self.publisher.publish(
            ALICE_URI, ALICE_URI, "toy", KIND, body, self.pair.now, policy=self.policy
        )
        self.pair.turn()
        return id

    def modify(self, id: str, body: bytes) -> None:
        self.publisher.modify(id, KIND, body, self.pair.now)
        self.pair.turn()

    @property
    def told(self) -> list[bytes]:
        return [n.body for n in self.pair.reported[ALICE] if isinstance(n, Notified)]

    @property
    def documents(self) -> list[bytes]:
        return [p.body for p in self.compositor.by_etag.values()]

    def codings(self, method: str) -> list[str]:
        return [one.header("Content-Encoding") for one in self.pair.wire.named(method)]


# --- NOTIFY


def test_a_watcher_that_accepts_it_is_told_in_fewer_bytes() -> None:
    world = World()
    world.watch()
    assert world.codings("NOTIFY") == ["gzip"]
    (notify,) = world.pair.wire.named("NOTIFY")
    assert len(body_of(notify)) < len(long("hello")) / 3
    assert notify.header("Content-Length") == str(len(body_of(notify)))
    assert world.told == [long("hello")]
    world.offer(b"short")
    assert world.codings("NOTIFY") == ["gzip", ""]
    assert world.told[-1] == b"short"


@pytest.mark.parametrize(
    "policy",
    [
        replace(TO_BOB, encodings=()),
        replace(TO_BOB, encodings=("identity",)),
        replace(TO_BOB, encodings=("br",)),
    ],
    ids=lambda p: ",".join(p.encodings),
)
def test_a_watcher_that_accepts_nothing_of_it_is_told_plainly(policy: PeerPolicy) -> None:
    world = World(policy)
    world.watch()
    assert world.codings("NOTIFY") == [""]
    assert world.told == [long("hello")]


def test_a_refresh_may_change_its_mind() -> None:
    world = World()
    id = world.watch()
    world.subscriber.follow(id, replace(TO_BOB, encodings=("deflate",)))
    world.subscriber.refresh(id, world.pair.now)
    world.pair.turn()
    world.subscriber.follow(id, replace(TO_BOB, encodings=()))
    world.subscriber.refresh(id, world.pair.now)
    world.pair.turn()
    assert world.codings("NOTIFY") == ["gzip", "deflate", ""]
    assert world.told == [long("hello")] * 3


@pytest.mark.parametrize(
    ("headers", "codings"),
    [
        ([], ["gzip", ""]),
        ([("Accept-Encoding", "identity")], ["gzip", ""]),
        ([("Accept", "text/plain")], ["gzip"]),
    ],
    ids=["says nothing", "names codings", "names types"],
)
def test_a_watcher_that_refuses_what_it_said_it_takes_is_told_plainly_at_once(
    headers: list[tuple[str, str]], codings: list[str]
) -> None:
    pair = Pair()
    authority = ToyAuthority(pair.bob)
    authority.word = long("hello")
    Notifier(pair.bob, {"toy": TOY}, authority)
    watcher = Answers(415, 200, headers=headers)
    pair.alice.accept("NOTIFY", [KIND])
    wishes = [("Event", "toy"), ("Accept-Encoding", "gzip")]
    request = request_of(pair, "SUBSCRIBE", wishes)
    pair.alice.expect_dialog(request.call_id, request.from_.tag or "", watcher)
    pair.alice.request(request, Outcome(), pair.now, policy=TO_BOB)
    pair.turn()
    assert [str(i.request.headers.get("Content-Encoding") or "") for i in watcher.got] == codings
    if len(codings) > 1:
        assert watcher.got[-1].request.body == long("hello")


def test_a_server_without_compression_never_uses_it() -> None:
    world = World(known=())
    world.watch()
    id = world.publish(long("one"))
    world.modify(id, long("two"))
    assert world.codings("NOTIFY") == [""] and world.codings("PUBLISH") == ["", ""]
    assert not any(one.header("Accept-Encoding") for one in world.pair.wire.named("response"))


class Scripted:
    """Our subscriber beside a notifier by hand."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.notifier = ScriptedNotifier(self.pair.bob, Answer(notify=None))
        self.subscriber = Subscriber(self.pair.alice, PACKAGES)
        self.subscriber.subscribe(BOB_URI, ALICE_URI, "toy", self.pair.now, policy=TO_BOB)
        self.pair.turn()
        self.notifier.dialog_of(self.notifier.got[-1])

    def notify(self, body: bytes, coding: str) -> int:
        dialog = self.notifier.dialogs[-1]
        headers = [
            ("Event", "toy"),
            ("Subscription-State", "active;expires=600"),
            ("Content-Type", KIND),
            ("Content-Encoding", coding),
        ]
        request = dialog.new_request("NOTIFY", headers, body)
        self.pair.bob.request_in_dialog(dialog, request, self.notifier, self.pair.now)
        self.pair.turn()
        return self.notifier.responses[-1]

    @property
    def told(self) -> list[bytes]:
        return [n.body for n in self.pair.reported[ALICE] if isinstance(n, Notified)]


def test_a_foreign_notifier_may_use_any_of_them() -> None:
    world = Scripted()
    machine = zlib.compressobj(6, zlib.DEFLATED, -15)
    bare = machine.compress(long("a")) + machine.flush()
    for body, coding in (
        (gzip.compress(long("a")), "gzip"),
        (gzip.compress(long("a")), "X-GZIP"),
        (zlib.compress(long("a")), "deflate"),
        (bare, "deflate"),
        (long("a"), "identity"),
    ):
        assert world.notify(body, coding) == 200
        assert world.told[-1] == long("a")


def test_what_cannot_be_unpacked_changes_nothing() -> None:
    world = Scripted()
    assert world.notify(long("a"), "identity") == 200
    for body, coding, status in (
        (long("b"), "br", 415),
        (long("b"), "gzip", 400),
        (gzip.compress(bytes(10**7)), "gzip", 413),
    ):
        assert world.notify(body, coding) == status
    assert world.told == [long("a")]
    refused = world.pair.wire.named("415 NOTIFY")[0]
    assert refused.header("Accept-Encoding") == "gzip, deflate"
    assert world.notify(long("c"), "identity") == 200, "the subscription lives on"


@pytest.mark.parametrize("seed", range(10))
def test_on_a_bad_wire_compressed_bodies_arrive_whole(seed: int) -> None:
    chances = random.Random(seed)
    world = World()
    world.pair.wire.chance = lambda _: (
        chances.choice((0, 1, 1, 1, 2)),
        chances.choice((0, 0, 0.3)),
    )
    world.watch()
    id = world.publish(long("p"))
    word = b""
    for n in range(10):
        word = long(f"w{n}")
        world.authority.word = word
        for subscription in list(world.notifier.subscriptions.values()):
            world.notifier.offer(subscription, world.pair.now)
        world.modify(id, word)
        world.pair.pass_seconds(chances.choice((0.1, 2, 20)))
    world.pair.wire.chance = None
    world.pair.pass_seconds(700)
    assert world.told[-1] == word
    assert word in world.documents
    assert all(body.startswith(b"<") for body in world.told)


# --- PUBLISH


def test_the_first_publish_is_plain_and_the_next_is_not() -> None:
    world = World()
    id = world.publish(long("one"))
    (answer,) = world.pair.wire.named("200 PUBLISH")
    assert answer.header("Accept-Encoding") == "gzip, deflate"
    world.modify(id, long("two"))
    world.modify(id, b"short")
    assert world.codings("PUBLISH") == ["", "gzip", ""]
    assert world.documents == [b"short"]


def test_the_server_reads_the_document_that_was_meant() -> None:
    world = World()
    id = world.publish(long("one"))
    world.modify(id, long("two"))
    assert world.documents == [long("two")]
    assert world.authority.reads == 2
    world.modify(id, long("two"))
    assert world.authority.reads == 2, "the same document again is no news"


def test_small_publications_are_not_told_about_codings() -> None:
    world = World()
    world.publish(b"short")
    assert world.pair.wire.named("200 PUBLISH")[0].header("Accept-Encoding") == ""


def test_a_publisher_that_must_not_compress_does_not() -> None:
    world = World(replace(TO_BOB, encodings=()))
    id = world.publish(long("one"))
    world.modify(id, long("two"))
    assert world.codings("PUBLISH") == ["", ""]


class Foreign:
    """Our publisher beside a server by hand."""

    def __init__(self, *replies: Reply) -> None:
        self.pair = Pair()
        self.server = ScriptedCompositor(self.pair.bob, *replies)
        self.publisher = Publisher(self.pair.alice, {"toy": TOY})
        self.id = self.publisher.publish(
            ALICE_URI, ALICE_URI, "toy", KIND, long("one"), self.pair.now, policy=TO_BOB
        )
        self.pair.turn()

    def modify(self, body: bytes) -> None:
        self.publisher.modify(self.id, KIND, body, self.pair.now)
        self.pair.turn()

    @property
    def codings(self) -> list[str]:
        return [str(i.request.headers.get("Content-Encoding") or "") for i in self.server.got]

    @property
    def failures(self) -> list[object]:
        return [s for s in self.pair.reported[ALICE] if isinstance(s, PublishFailed)]


GZIP = (("Accept-Encoding", "gzip"),)


def test_a_server_that_says_nothing_gets_plain_bodies() -> None:
    world = Foreign()
    world.modify(long("two"))
    assert world.codings == ["", ""]


def test_a_server_that_refuses_after_all_gets_the_body_again_at_once() -> None:
    world = Foreign(Reply(headers=GZIP), Reply(415), Reply())
    world.modify(long("two"))
    assert world.codings == ["", "gzip", ""]
    assert not world.failures
    said = [s for s in world.pair.reported[ALICE] if isinstance(s, Published)]
    assert [s.revision for s in said] == [1, 2]
    world.modify(long("three"))
    assert world.codings[-1] == ""


def test_a_415_to_a_plain_body_is_final_as_ever() -> None:
    world = Foreign(Reply(415))
    assert world.codings == [""]
    assert len(world.failures) == 1


def test_a_refresh_after_a_restart_knows_the_coding() -> None:
    world = Foreign(Reply(headers=GZIP))
    stored = json.loads(json.dumps(world.publisher.snapshot(world.id, world.pair.now)))
    del world.pair.cores[ALICE]
    world.pair.alice = world.pair.add(ALICE)
    again = Publisher(world.pair.alice, {"toy": TOY})
    id = again.restore(stored, world.pair.now, elapsed=0.0, policy=TO_BOB)
    again.modify(id, KIND, long("two"), world.pair.now)
    world.pair.turn()
    assert world.codings == ["", "gzip"]
    del stored["coding"]
    assert again.publications[again.restore(stored, 0.0, elapsed=0.0)].coding == ""


def test_a_restored_subscription_is_told_in_the_same_coding() -> None:
    world = World()
    world.watch()
    stored = json.loads(json.dumps(world.authority.subscriptions[-1].snapshot(world.pair.now)))
    del world.pair.cores[BOB]
    world.pair.bob = world.pair.add(BOB)
    world.notifier = Notifier(world.pair.bob, {"toy": TOY}, world.authority)
    world.notifier.restore(stored, world.pair.now, elapsed=0)
    world.notifier.resume(world.pair.now)
    world.pair.pass_seconds(1)
    assert world.codings("NOTIFY") == ["gzip", "gzip"]
    del stored["coding"]
    world.pair.bob = Pair().bob
    older = Notifier(world.pair.bob, {"toy": TOY}, world.authority)
    assert older.restore(stored, 0.0, elapsed=0).coding == ""


# --- SUBSCRIBE bodies


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b"<x/>"), "gzip", 200),
        (b"<x/>", "br", 415),
        (b"<x/>", "gzip", 400),
        (gzip.compress(bytes(10**6)), "gzip", 413),
    ],
    ids=[
        "packed",
        "unknown coding",
        "not packed",
        "bomb",
    ],  # gzip writes the time into what it packs
)
def test_the_body_of_a_subscribe_is_unpacked_or_refused(
    body: bytes, coding: str, status: int
) -> None:
    pair = Pair()
    wishing = replace(TOY, asked_with=("application/x-wish",))
    Notifier(pair.bob, {"toy": wishing}, ToyAuthority(pair.bob))
    headers = [
        ("Event", "toy"),
        ("Content-Type", "application/x-wish"),
        ("Content-Encoding", coding),
    ]
    assert answer_to(pair, "SUBSCRIBE", headers, body).status == status


def test_options_tell_what_we_take() -> None:
    world = World()
    assert answer_to(world.pair, "OPTIONS").headers.get("Accept-Encoding") == "gzip, deflate"
    plain = World(known=())
    assert "Accept-Encoding" not in answer_to(plain.pair, "OPTIONS").headers


def answer_to(
    pair: Pair, method: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """Bob's answer to a request of Alice's."""
    outcome = Outcome()
    request = request_of(pair, method, headers, body)
    pair.alice.request(request, outcome, pair.now, policy=TO_BOB)
    pair.turn()
    return outcome.responses[0]


def request_of(
    pair: Pair, method: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
) -> Request:
    return pair.alice.new_request(
        method,
        BOB_URI,
        from_=NameAddr.parse(f"<{ALICE_URI}>"),
        to=NameAddr.parse(f"<{BOB_URI}>"),
        headers=headers,
        body=body,
    )
