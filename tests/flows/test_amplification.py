"""What one datagram with a false sender can make the presence agent send, and to whom, within a minute.

Nobody answers, as a victim would not. Responses go to where the datagram came from, never to what Via, its
`received` or its `maddr` claim; only NOTIFYs go to the Contact, and all together are a small multiple.
"""

import pytest

from sipbridge.agent.ports import Authenticator
from sipbridge.identities import PresentityKey
from sipbridge.presence.lists import Entry
from sipbridge.sip.digest import DigestServer
from sipbridge.sip.flow import Flow
from tests.agent.world import CAROL, AgentWorld, document
from tests.harness.pair import BOB
from tests.harness.wire import Sent

SOURCE = "203.0.113.7"
CLAIMED = "198.51.100.1"
CONTACT = "198.51.100.2"
MOST = 10
"""Bytes out for each byte in, all transmissions and addresses together."""
FRIENDS = "sip:friends@example.com"


def forged(method: str, target: str = str(CAROL), *more: str, body: bytes = b"") -> bytes:
    """As short as a request can be: the shorter, the more each byte out counts."""
    lines = [
        f"{method} {target} SIP/2.0",
        f"v:SIP/2.0/UDP {CLAIMED};branch=z9hG4bKa;received={CLAIMED};maddr={CLAIMED};rport",
        "f:<sip:x@example.com>;tag=a",
        f"t:<{target}>",
        "i:a",
        f"CSeq:1 {method}",
        f"m:<sip:{CONTACT}>",
        "Max-Forwards:9",
        *more,
        f"l:{len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


WATCH = ("o:presence",)
FORGED: dict[str, bytes] = {
    method: forged(method)
    for method in ("OPTIONS", "INVITE", "REGISTER", "MESSAGE", "BYE", "CANCEL", "ACK", "NONSENSE")
} | {
    "SUBSCRIBE": forged("SUBSCRIBE", str(CAROL), *WATCH),
    "fetch": forged("SUBSCRIBE", str(CAROL), *WATCH, "Expires:0"),
    "winfo": forged("SUBSCRIBE", str(CAROL), "o:presence.winfo"),
    "list": forged("SUBSCRIBE", FRIENDS, *WATCH, "k:eventlist"),
    "watch of a contact that asks for tcp": forged("SUBSCRIBE", str(CAROL), *WATCH).replace(
        f"<sip:{CONTACT}>".encode(), f"<sip:{CONTACT};transport=tcp>".encode()
    ),
    "refresh": forged("SUBSCRIBE", str(CAROL), *WATCH).replace(b"com>\r\ni", b"com>;tag=b\r\ni"),
    "NOTIFY": forged("NOTIFY", str(CAROL), *WATCH, "Subscription-State:active"),
    "PUBLISH": forged(
        "PUBLISH", str(CAROL), *WATCH, "c:application/pidf+xml", body=document("open")
    ),
    "PUBLISH without a body": forged("PUBLISH", str(CAROL), *WATCH),
    "unknown event": forged("SUBSCRIBE", str(CAROL), "o:nonsense"),
    "unknown extension": forged("SUBSCRIBE", str(CAROL), *WATCH, "Require:nonsense"),
    "broken": forged("SUBSCRIBE", str(CAROL), *WATCH, "Expires:x"),
    "broken Via": forged("OPTIONS").replace(b"SIP/2.0/UDP", b"SIP/2.0//"),
    "wrong version": forged("OPTIONS").replace(b" SIP/2.0\r\n", b" SIP/3.0\r\n", 1),
    "no request at all": b"\r\n\r\n",
    "a response": b"SIP/2.0 200 OK\r\nv:SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKa\r\n\r\n",
}


def attacked(data: bytes, authenticator: Authenticator | None, size: int) -> list[Sent]:
    """What the agent sent because of it; Carol's document has so many bytes."""
    world = AgentWorld(authenticator=authenticator)
    world.lists[PresentityKey(FRIENDS)] = tuple(
        Entry(f"sip:friend{n}@example.com") for n in range(50)
    )
    note = f"<note>{'x' * size}</note>"
    world.publish(document("open", more=note))
    assert authenticator is not None or len(world.published) == 1
    pair = world.pair
    before = len(pair.wire.sent)
    pair.bob.receive_datagram(data, Flow("udp", BOB, (SOURCE, 4444)), pair.now)
    pair.pass_seconds(70)
    return [sent for sent in pair.wire.sent[before:] if sent.flow.local == BOB]


def digest() -> Authenticator:
    server = DigestServer("example.com", b"secret")
    return Authenticator(server, lambda user, realm, algorithm: None)


@pytest.mark.parametrize("proof", ["open", "digest"])
@pytest.mark.parametrize("size", [10, 1500, 30_000])
@pytest.mark.parametrize("what", FORGED)
def test_a_forged_datagram_brings_little_more_than_it_has_itself(
    what: str, size: int, proof: str
) -> None:
    data = FORGED[what]
    sent = attacked(data, digest() if proof == "digest" else None, size)
    out = sum(len(one.data) for one in sent if one.flow.protocol == "udp")
    assert out <= MOST * len(data), [(one.at, one.first_line, len(one.data)) for one in sent]
    for one in sent:
        notify = one.first_line.startswith("NOTIFY")
        assert one.flow.remote[0] == (CONTACT if notify else SOURCE), one.first_line
    if proof == "digest":
        assert not [one for one in sent if one.first_line.startswith("NOTIFY")]


def test_a_contact_that_asks_for_tcp_is_told_once_and_never_by_datagram() -> None:
    """A connection that it does not accept carries nothing (tests/transports/test_tcp.py)."""
    sent = attacked(FORGED["watch of a contact that asks for tcp"], None, 30_000)
    assert [(one.first_line.split()[0], one.flow.protocol) for one in sent] == [
        ("SIP/2.0", "udp"),
        ("NOTIFY", "tcp"),
    ]
