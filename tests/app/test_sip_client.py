"""The SIP user agent of the command line and the demo."""

import asyncio
import socket

import pytest

from sipbridge.app.sip_client import SipClient, local_address
from sipbridge.errors import ParseError
from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import Accepted, Notified, Refused, Terminated
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, application, document, settings, site

ALICE, CAROL = Uri.parse("sip:alice@example.com"), Uri.parse("sip:carol@example.com")


async def test_publish_modify_remove() -> None:
    async with site() as here:
        phone = await here.phone("carol")
        publication = phone.publish(document("meeting", str(CAROL)), expires=300)
        first = await phone.wait_for(lambda s: isinstance(s, Published), PATIENCE)
        assert isinstance(first, Published)
        assert (first.expires, first.revision) == (300, 1)
        phone.modify(publication, document("travel", str(CAROL)))
        second = await phone.wait_for(lambda s: isinstance(s, Published), PATIENCE)
        assert isinstance(second, Published)
        assert second.etag != first.etag
        phone.unpublish(publication)
        assert await phone.wait_for(lambda s: isinstance(s, Unpublished), PATIENCE)


async def test_subscribe_and_unsubscribe() -> None:
    async with site(agent={"sub_handling": "allow"}) as here:
        carol = await here.phone("carol")
        subscription = carol.subscribe(ALICE)
        assert await carol.wait_for(lambda s: isinstance(s, Accepted), PATIENCE)
        said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        assert isinstance(said, Notified) and said.state == "active"
        carol.unsubscribe(subscription)
        ended = await carol.wait_for(lambda s: isinstance(s, Terminated), PATIENCE)
        assert isinstance(ended, Terminated) and not ended.will_retry


async def test_a_refusal_is_told() -> None:
    async with site(agent={"sub_handling": "block"}) as here:
        carol = await here.phone("carol")
        carol.subscribe(ALICE)
        said = await carol.wait_for(lambda s: isinstance(s, Refused), PATIENCE)
        assert isinstance(said, Refused) and said.status == 403


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_credentials_are_used_on_both_transports(transport: str) -> None:
    known = settings(
        agent={"authenticate": True}, applications=[application("alice", sip_password="pw")]
    )
    async with site(known) as here:
        point = next(p for p in here.bridge.ready.sip if p.startswith(transport))
        server = point.split(":", 1)[1]
        for secret, wanted in (("pw", Published), ("wrong", PublishFailed)):
            credentials = Credentials("alice", secret)
            phone = SipClient(ALICE, server, transport=transport, credentials=credentials)
            await phone.open()
            try:
                phone.publish(document(entity=str(ALICE)))
                said = await phone.wait_for(lambda s: True, PATIENCE)
                while not isinstance(said, Published | PublishFailed):
                    said = await phone.wait_for(lambda s: True, PATIENCE)
                assert isinstance(said, wanted)
            finally:
                await phone.close()


async def test_waiting_ends_when_the_time_is_over() -> None:
    phone = SipClient(CAROL, "127.0.0.1:9")
    assert await phone.wait_for(lambda s: True, 0.01) is None


async def test_what_came_before_the_wait_is_not_lost_and_the_rest_is_dropped() -> None:
    phone = SipClient(CAROL, "127.0.0.1:9")
    for word in ("one", "two", "three"):
        phone.hear(word)
    assert await phone.wait_for(lambda s: s == "two", 1.0) == "two"
    assert await phone.wait_for(lambda s: True, 1.0) == "three"


async def test_sockets_are_closed_at_the_end() -> None:
    phone = SipClient(CAROL, "127.0.0.1:9")
    await phone.open()
    ports = [b.point.local[1] for b in phone.driver.bound]
    await phone.close()
    for port, kind in zip(ports, (socket.SOCK_DGRAM, socket.SOCK_STREAM), strict=True):
        with socket.socket(socket.AF_INET, kind) as again:
            again.bind(("127.0.0.1", port))
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_our_address_is_the_one_towards_the_server() -> None:
    assert local_address("127.0.0.1", 5060) == "127.0.0.1"
    assert local_address("[::1]", 5060) == "[::1]"


def test_a_server_that_is_no_address_is_refused() -> None:
    with pytest.raises(ParseError):
        SipClient(CAROL, "not a server:x")
