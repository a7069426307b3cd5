"""When non-INVITE requests go out again: each method by the clock of the cores, and once by real sockets.

RFC 3261 §17.1.2.2: 0.5 s after the first, doubling up to 4 s, for 32 s; over a stream never.
"""

import asyncio
import socket

import pytest

from sipbridge.app.sip_client import SipClient
from sipbridge.events.presence_package import PIDF
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.sip.address import NameAddr
from sipbridge.sip.policy import PeerPolicy
from sipbridge.uri import Uri
from tests.events.peers import ALICE_URI, BOB_URI, PACKAGES, pidf
from tests.harness.pair import BOB, Outcome, Pair

TIMES = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def silent_pair() -> Pair:
    pair = Pair()
    del pair.cores[BOB]
    return pair


def send(pair: Pair, method: str, transport: str) -> None:
    policy = PeerPolicy(next_hops=(f"sip:192.0.2.2:5060;transport={transport}",))
    if method == "SUBSCRIBE":
        Subscriber(pair.alice, PACKAGES).subscribe(
            BOB_URI, ALICE_URI, "presence", pair.now, policy=policy
        )
    elif method == "PUBLISH":
        Publisher(pair.alice, PACKAGES).publish(
            ALICE_URI, ALICE_URI, "presence", PIDF, pidf(), pair.now, policy=policy
        )
    else:
        me, bob = (NameAddr.parse(f"<{uri}>") for uri in (ALICE_URI, BOB_URI))
        request = pair.alice.new_request(method, BOB_URI, from_=me, to=bob)
        pair.alice.request(request, Outcome(), pair.now, policy=policy)


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "NOTIFY", "OPTIONS", "REGISTER"])
def test_over_udp_each_method_goes_out_eleven_times_in_32_seconds(method: str) -> None:
    pair = silent_pair()
    started = pair.now
    send(pair, method, "udp")
    pair.pass_seconds(32.5)
    assert [round(sent.at - started, 3) for sent in pair.wire.named(method)] == TIMES


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "NOTIFY", "OPTIONS", "REGISTER"])
def test_over_tcp_each_method_goes_out_once(method: str) -> None:
    pair = silent_pair()
    send(pair, method, "tcp")
    pair.pass_seconds(31.9)
    assert len(pair.wire.named(method)) == 1


async def sent_by_a_client() -> tuple[list[float], int]:
    """When a PUBLISH came to somebody who is deaf, in seconds after the first; how many kinds of bytes."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.setblocking(False)
        client = SipClient(Uri.parse("sip:carol@example.com"), f"127.0.0.1:{deaf.getsockname()[1]}")
        await client.open()
        try:
            client.publish(pidf())
            came, datagrams = [], set()
            for _ in range(4):
                datagrams.add(await asyncio.wait_for(loop.sock_recv(deaf, 65536), 10))
                came.append(loop.time())
        finally:
            await client.close()
    return [later - came[0] for later in came], len(datagrams)


async def test_on_a_real_socket_the_resends_come_to_the_half_second() -> None:
    """A machine that has no time for us is late; a schedule that is wrong is wrong each time."""
    tries = []
    for _ in range(3):
        gaps, kinds = await sent_by_a_client()
        assert kinds == 1  # the very same bytes
        tries.append(gaps)
        if all(abs(gap - when) < 0.5 for gap, when in zip(gaps, TIMES, strict=False)):
            return
    raise AssertionError(f"{tries}, not {TIMES[:4]}")
