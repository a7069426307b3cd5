"""Publishing and watching over every transport, through the agent inside and towards a server outside."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sipbridge.app.connections import asks_for_tls, rules_of, tls_of
from sipbridge.app.sip_client import SipClient
from sipbridge.errors import ConfigurationError
from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import Notified, Terminated
from sipbridge.sip.indications import DestinationFailed
from sipbridge.transports.tls import Tls
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, Site, configuration, document, settings, site, until
from tests.transports.certificates import Authority

ALICE, BOB, CAROL = (Uri.parse(f"sip:{name}@example.com") for name in ("alice", "bob", "carol"))
HOSTS = {"127.0.0.1": "127.0.0.1", "::1": "[::1]"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sip(authority: Authority, *listen: str, **tls: object) -> dict[str, object]:
    """A sip section with a certificate for this machine."""
    pair = authority.issue("bridge", ["127.0.0.1", "::1", "localhost"])
    files = {"cert": str(pair.cert), "key": str(pair.key), "ca": str(authority.ca)}
    return {"listen": list(listen), "domain": "example.com", "tls": {**files, **tls}}


def server_of(here: Site, transport: str) -> str:
    point = next(p for p in here.bridge.ready.sip if p.startswith(f"{transport}:"))
    return point.split(":", 1)[1]


@contextlib.asynccontextmanager
async def phone(
    who: Uri, server: str, transport: str, tls: Tls | None = None
) -> AsyncIterator[SipClient]:
    made = SipClient(who, server, transport=transport, tls=tls)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def trusting(authority: Authority, transport: str) -> Tls | None:
    return Tls(ca=authority.ca) if transport in ("tls", "wss") else None


async def told(watcher: SipClient, words: bytes) -> Notified:
    said = await watcher.wait_for(lambda s: isinstance(s, Notified) and words in s.body, PATIENCE)
    assert isinstance(said, Notified), words
    return said


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws", "wss"])
async def test_publish_subscribe_and_notify_cross_every_transport(
    authority: Authority, transport: str, host: str
) -> None:
    listen = f"{transport}:{HOSTS[host]}:0"
    known = settings(sip=sip(authority, listen), agent={"sub_handling": "allow"})
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(site(known))
        assert [p.rpartition(":")[0] for p in here.bridge.ready.sip] == [listen.rpartition(":")[0]]
        server = server_of(here, transport)
        tls = trusting(authority, transport)
        carol = await stack.enter_async_context(phone(CAROL, server, transport, tls))
        bob = await stack.enter_async_context(phone(BOB, server, transport, tls))
        subscription = bob.subscribe(CAROL)
        publication = carol.publish(document("meeting", str(CAROL)))
        said = await carol.wait_for(lambda s: isinstance(s, Published), PATIENCE)
        assert isinstance(said, Published)
        await told(bob, b"meeting")
        carol.modify(publication, document("travel", str(CAROL)))
        await told(bob, b"travel")
        await here.application("alice").publish(Activity="Busy")
        bob.subscribe(ALICE)
        await told(bob, b"busy")
        carol.unpublish(publication)
        assert await carol.wait_for(lambda s: isinstance(s, Unpublished), PATIENCE)
        bob.unsubscribe(subscription)
        assert await bob.wait_for(lambda s: isinstance(s, Terminated), PATIENCE)
        page = await here.application("alice").text("/metrics")
        labels = f'direction="in",method="PUBLISH",status="",transport="{transport}"'
        assert f"sipbridge_sip_messages_total{{{labels}}} 3" in page
        if transport != "udp":
            assert f'sipbridge_sip_connections{{transport="{transport}"}} 2.0' in page


@pytest.mark.parametrize("hop", ["sip:localhost:{};transport=tls", "sips:127.0.0.1:{}"])
@pytest.mark.parametrize("listen", ["udp:127.0.0.1:0", "tls:127.0.0.1:0"])
async def test_a_presence_server_is_reached_by_tls_with_and_without_a_listener_of_ours(
    authority: Authority, hop: str, listen: str
) -> None:
    server = settings(sip=sip(authority, "tls:127.0.0.1:0"), agent={"sub_handling": "allow"})
    async with site(server) as there:
        next_hop = hop.format(server_of(there, "tls").rpartition(":")[2])
        known = settings(
            sip=sip(authority, listen), presence_server={"mode": "remote", "next_hop": next_hop}
        )
        async with site(known) as here:
            assert [p.split(":")[0] for p in here.bridge.ready.sip] == [listen.split(":")[0]]
            bob = await here.application("bob").listen()
            await bob.subscribe(str(CAROL))
            await bob.told("notifySubscription")
            await bob.start(str(CAROL))
            tls = trusting(authority, "tls")
            async with phone(CAROL, server_of(there, "tls"), "tls", tls) as carol:
                carol.publish(document("meeting", str(CAROL)))
                await bob.told("statusChanged")


async def test_a_server_with_a_foreign_certificate_is_told_nothing(authority: Authority) -> None:
    other = Authority(authority.folder, "Another authority")
    async with site(settings(sip=sip(other, "tls:127.0.0.1:0"))) as here:
        server = server_of(here, "tls")
        async with phone(CAROL, server, "tls", Tls(ca=authority.ca)) as carol:
            carol.publish(document(entity=str(CAROL)))
            said = await carol.wait_for(lambda s: isinstance(s, DestinationFailed), PATIENCE)
            assert isinstance(said, DestinationFailed) and "not trusted" in said.error
            assert await carol.wait_for(lambda s: isinstance(s, PublishFailed), PATIENCE)
        page = await here.application("alice").text("/metrics")
        assert 'sip_connections_dropped_total{reason="handshake",transport="tls"} 1.0' in page
        assert 'method="PUBLISH"' not in page


async def test_a_renewed_certificate_serves_the_next_phone(authority: Authority) -> None:
    async with site(settings(sip=sip(authority, "tls:127.0.0.1:0"))) as here:
        server = server_of(here, "tls")
        authority.issue("bridge", ["elsewhere.example"])
        async with phone(CAROL, server, "tls", Tls(ca=authority.ca)) as carol:
            carol.publish(document(entity=str(CAROL)))
            said = await carol.wait_for(lambda s: isinstance(s, DestinationFailed), PATIENCE)
            assert isinstance(said, DestinationFailed) and "elsewhere.example" in said.error
        page = await here.application("alice").text("/metrics")
        assert 'sipbridge_sip_certificate_changes_total{outcome="loaded"} 1.0' in page
        assert 'sipbridge_sip_certificate_expires_timestamp_seconds{key="sip.tls.cert"}' in page


async def test_pages_that_may_use_rest_may_use_sip(authority: Authority) -> None:
    page, evil = "https://page.example", "https://evil.example"
    tree = configuration(sip=sip(authority, "ws:127.0.0.1:0"))
    tree["http"]["allowed_origins"] = [page]
    async with site(settings(**tree)) as here, aiohttp.ClientSession() as browser:
        url = f"ws://{server_of(here, 'ws')}/"
        async with browser.ws_connect(url, protocols=["sip"], origin=page) as socket:
            assert socket.protocol == "sip"
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await browser.ws_connect(url, protocols=["sip"], origin=evil)
        assert caught.value.status == 403


async def test_who_closes_the_page_watches_no_longer(authority: Authority) -> None:
    known = settings(sip=sip(authority, "ws:127.0.0.1:0"), agent={"sub_handling": "allow"})
    async with site(known) as here:
        alice = here.application("alice")
        server = server_of(here, "ws")
        async with phone(BOB, server, "ws") as bob:
            bob.subscribe(ALICE)
            await told(bob, b"")
            assert str(BOB) in await alice.watchers()
        await alice.publish(Activity="Busy")  # the NOTIFY of this finds nobody
        await until(alice.watchers, lambda found: str(BOB) not in found)


async def test_an_address_has_as_many_connections_as_configured(authority: Authority) -> None:
    known = settings(sip=sip(authority, "tcp:127.0.0.1:0"), limits={"connections_per_address": 1})
    async with site(known) as here:
        host, _, port = server_of(here, "tcp").rpartition(":")
        first = await asyncio.open_connection(host, int(port))
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        for one in (first[1], writer):
            one.close()
            await one.wait_closed()
        page = await here.application("alice").text("/metrics")
        assert 'dropped_total{reason="address-limit",transport="tcp"} 1.0' in page


def test_certificates_are_read_only_where_something_needs_them(authority: Authority) -> None:
    assert tls_of(settings()) is None
    hop = {"mode": "remote", "next_hop": "sips:a"}
    assert asks_for_tls(settings(presence_server=hop)) and tls_of(settings(presence_server=hop))
    other = [{"domain": "a.example", "mode": "remote", "next_hop": "sip:a;transport=tls"}]
    assert asks_for_tls(settings(presence_servers=other))
    assert not asks_for_tls(settings(presence_server={"mode": "remote", "next_hop": "sip:a"}))
    more = authority.issue("more", ["more.example"])
    pair = {"cert": str(more.cert), "key": str(more.key)}
    known = settings(sip=sip(authority, "tls:127.0.0.1:0", certificates=[pair], verify="mutual"))
    rules = rules_of(known, lambda said: None)
    assert rules.tls is not None and rules.tls.mutual
    assert [p.section for p in rules.tls.pairs] == ["sip.tls", "sip.tls.certificates[0]"]


def test_files_are_relative_to_the_configuration_and_faults_have_full_keys(
    authority: Authority, tmp_path: Path
) -> None:
    from sipbridge.app.settings import load

    authority.issue("bridge", ["example.com"])
    other = authority.issue("other", ["example.com"])
    path = tmp_path / "bridge.toml"
    text = (
        '[sip]\nlisten = ["tls:127.0.0.1:0"]\n[sip.tls]\ncert = "bridge.crt"\nkey = "bridge.key"\n'
        '[[sip.tls.certificates]]\ncert = "other.crt"\nkey = "other.key"\n'
    )
    path.write_text(text)
    known = load(path, environ={})
    assert known.sip.tls.certificates[0].cert == other.cert
    os.replace(tmp_path / "bridge.key", other.key)
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ={})
    assert str(caught.value).startswith("sip.tls.key: ")
    path.write_text(text.replace("bridge.key", "other.key"))
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ={})
    assert str(caught.value).startswith("sip.tls.certificates[0].key: ")
