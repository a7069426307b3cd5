"""Two cores on a wire that loses, repeats, reorders and delays: every request has exactly one outcome."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.sip.address import NameAddr
from sipbridge.sip.flow import Flow
from sipbridge.sip.usage import ServerRequest
from tests.harness.pair import BOB, Outcome, Pair
from tests.harness.wire import Wire

SENDER = NameAddr.parse("<sip:alice@example.com>")
RECEIVER = NameAddr.parse("<sip:bob@example.com>")


class Counting:
    """Answers 200, or 500 when the store fails; remembers each request it was given."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.seen: list[str] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.seen.append(incoming.request.call_id)
        number = self.pair.bob.store(incoming.request.call_id)
        incoming.respond(200, after=number)


def bad_wire(seed: int, loss: float, repeat: float, delay: float) -> Wire:
    """Up to `delay` seconds late, so messages overtake each other."""
    dice = random.Random(seed)

    def chance(data: bytes) -> tuple[int, float]:
        if dice.random() < loss:
            return 0, 0.0
        return (3 if dice.random() < repeat else 1), dice.random() * delay

    return Wire(latency=0.001, chance=chance)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    repeat=st.sampled_from([0.0, 0.5, 1.0]),
    delay=st.sampled_from([0.0, 0.3, 3.0, 20.0]),
    count=st.integers(1, 12),
)
def test_every_request_has_one_outcome_and_is_served_once(
    seed: int, loss: float, repeat: float, delay: float, count: int
) -> None:
    pair = Pair(wire=bad_wire(seed, loss, repeat, delay))
    pair.bob.serve("PUBLISH", served := Counting(pair))
    outcomes = []
    for _ in range(count):
        request = pair.alice.new_request(
            "PUBLISH",
            "sip:bob@192.0.2.2;transport=udp",
            from_=SENDER,
            to=RECEIVER,
            headers=[("Event", "presence")],
        )
        outcomes.append(outcome := Outcome())
        pair.alice.request(request, outcome, pair.now)
        pair.pass_seconds(0.1)
    pair.pass_seconds(33)
    assert [o.times_told for o in outcomes] == [1] * count
    if (
        delay < 0.5
    ):  # the last copy leaves after 31.5 s, Timer J forgets 32 s after the first (§17.2.2)
        assert len(set(served.seen)) == len(served.seen), "a copy was taken for a new request"
    told_yes = sum(1 for o in outcomes if o.responses)
    assert told_yes <= len(set(served.seen))
    if loss == 0.0 and delay < 10.0:
        assert told_yes == count
    pair.pass_seconds(120)
    assert not pair.alice.asking.transactions and pair.alice.asking.live == 0
    assert len(pair.bob.answering.transactions) == 0 and not pair.bob.answering.held
    assert len(pair.alice.deadlines) == 0 and len(pair.bob.deadlines) == 0


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["udp", "tcp", "memory"]))
def test_any_bytes_are_survived(data: bytes, protocol: str) -> None:
    pair = Pair(protocols=("udp", "tcp", "memory"))
    flow = Flow(protocol, BOB, ("192.0.2.99", 5060), 1 if protocol == "tcp" else 0)
    if protocol == "tcp":
        pair.bob.receive_stream(data, flow, pair.now)
    else:
        pair.bob.receive_datagram(data, flow, pair.now)
    pair.bob.handle_timeout(pair.now)


GOOD = (
    b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.99:5060;rport;branch=z9hG4bK776\r\n"
    b"Max-Forwards: 70\r\nFrom: Alice <sip:alice@example.com>;tag=1928\r\n"
    b"To: <sip:bob@example.com>\r\nCall-ID: a84b\r\nCSeq: 3 SUBSCRIBE\r\n"
    b"Contact: <sip:alice@192.0.2.99>\r\nEvent: presence\r\nExpires: 60\r\n"
    b"Record-Route: <sip:p1.example.com;lr>\r\nContent-Length: 0\r\n\r\n"
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 2)),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_request_is_answered_at_most_once_and_never_breaks_the_core(
    damage: list[tuple[int, int, int]],
) -> None:
    data = bytearray(GOOD)
    for place, value, kind in damage:
        place %= len(data)
        if kind == 0:
            data[place] = value
        elif kind == 1:
            data.insert(place, value)
        else:
            del data[place]
    pair = Pair()
    pair.bob.serve("SUBSCRIBE", Counting(pair))
    pair.bob.receive_datagram(bytes(data), Flow("udp", BOB, ("192.0.2.99", 5060)), pair.now)
    for number, _ in pair.bob.changes():
        pair.bob.committed(number, pair.now)
    assert len(pair.bob.transmits()) <= 1
