"""Certificates: whose they are, which one is shown, how they change; TLS over real sockets."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sipbridge.errors import ConfigurationError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import (
    CertificateLoaded,
    CertificateRefused,
    ConnectionDropped,
    DestinationFailed,
)
from sipbridge.sip.records import Answer, Kind, Question
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports import tcp
from sipbridge.transports.driver import Bound, Driver, bind, bind_outgoing
from sipbridge.transports.tcp import Rules
from sipbridge.transports.tls import KeyPair, Tls, belongs_to, identities
from tests.harness.pair import Answers
from tests.transports.certificates import Authority
from tests.transports.test_driver import Waiting

Names = tuple[tuple[str, str], ...]


def shows(*names: tuple[str, str], common_name: str = "") -> dict[str, Any]:
    """A certificate as `ssl` tells of it."""
    found: dict[str, Any] = {"subject": ((("commonName", common_name),),) if common_name else ()}
    if names:
        found["subjectAltName"] = names
    return found


# --- RFC 5922 §7 ----------------------------------------------------------------------------------------


def test_sip_uris_come_before_dns_names() -> None:
    both = shows(("DNS", "pa.example.com"), ("URI", "sip:Example.com"))
    assert identities(both) == {"example.com"}
    assert belongs_to(both, "EXAMPLE.COM") and not belongs_to(both, "pa.example.com")


def test_dns_names_count_where_no_sip_uri_is() -> None:
    assert identities(shows(("DNS", "A.example.com"), ("DNS", "b.example.com."))) == {
        "a.example.com",
        "b.example.com",
    }


def test_uris_of_users_and_of_other_schemes_say_nothing_of_a_domain() -> None:
    odd = shows(
        ("URI", "sip:alice@example.com"),
        ("URI", "sips:example.com"),
        ("URI", "https://example.com"),
        ("URI", "sip:"),
        ("DNS", "pa.example.com"),
    )
    assert identities(odd) == {"pa.example.com"}


def test_the_common_name_counts_only_without_alternative_names() -> None:
    assert belongs_to(shows(common_name="example.com"), "example.com")
    assert not belongs_to(shows(("DNS", "other.example"), common_name="example.com"), "example.com")
    assert not belongs_to(
        shows(("IP Address", "192.0.2.1"), common_name="example.com"), "example.com"
    )


@pytest.mark.parametrize("name", ["*.example.com", ".example.com"])
def test_wildcards_match_nothing_but_themselves(name: str) -> None:
    assert not belongs_to(shows(("DNS", name)), "pa.example.com")
    assert belongs_to(shows(("DNS", name)), name)


def test_an_address_has_to_stand_there_as_an_address_or_as_a_sip_uri() -> None:
    assert belongs_to(shows(("IP Address", "127.0.0.1")), "127.0.0.1")
    assert belongs_to(shows(("IP Address", "0:0:0:0:0:0:0:1")), "::1")
    assert belongs_to(shows(("URI", "sip:127.0.0.1")), "127.0.0.1")
    assert not belongs_to(shows(("DNS", "127.0.0.1")), "127.0.0.1")
    assert not belongs_to(shows(common_name="127.0.0.1"), "127.0.0.1")
    assert not belongs_to({}, "") and not belongs_to({}, "example.com")


# --- what the configuration names -----------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def fault(pair: KeyPair, ca: Path | None = None) -> tuple[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        Tls([pair], ca=ca)
    return caught.value.key, caught.value.expected


def test_what_cannot_be_used_is_named_with_its_key_and_a_sentence(authority: Authority) -> None:
    good = authority.issue("good", ["example.com"])
    other = authority.issue("other", ["example.com"])
    old = authority.issue("old", ["x.example"], starts=-timedelta(2), ends=-timedelta(1))
    young = authority.issue("young", ["x.example"], starts=timedelta(1), ends=timedelta(2))
    absent, noise = authority.folder / "absent", authority.folder / "noise"
    noise.write_text("noise")
    locked = authority.folder / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    cert, key = "sip.tls.cert", "sip.tls.key"
    assert fault(KeyPair(absent, good.key)) == (cert, f"{absent}: No such file or directory")
    assert fault(KeyPair(noise, good.key)) == (cert, f"{noise}: is no PEM certificate")
    assert fault(KeyPair(good.cert, absent)) == (key, f"{absent}: No such file or directory")
    assert fault(KeyPair(good.cert, noise)) == (key, f"{noise}: is no PEM private key")
    assert fault(KeyPair(good.cert, other.key)) == (
        key,
        f"{other.key}: is not the key of {good.cert}",
    )
    assert fault(KeyPair(good.cert, locked)) == (
        key,
        f"{locked}: is encrypted; a key without password is needed",
    )
    name, sentence = fault(old)
    assert name == cert and sentence.startswith(f"{old.cert}: expired on 20")
    name, sentence = fault(young)
    assert name == cert and sentence.startswith(f"{young.cert}: is not valid before 20")
    assert fault(good, ca=absent) == ("sip.tls.ca", f"{absent}: No such file or directory")
    assert fault(good, ca=noise) == ("sip.tls.ca", f"{noise}: holds no certificate")
    second = KeyPair(absent, good.key, "sip.tls.certificates[0]")
    assert fault(second)[0] == "sip.tls.certificates[0].cert"


# --- two stations ---------------------------------------------------------------------------------------


class Station:
    """A driver with its core on TLS, and what it was told."""

    def __init__(
        self, tls: Tls, listen: str | None = "tls:127.0.0.1:0", *, reuse: bool = False
    ) -> None:
        one = bind([listen])[0] if listen else bind_outgoing("tls", "127.0.0.1")
        if reuse:
            point = one.point
            one = Bound(
                type(point)(point.protocol, point.local, point.host, point.port, reuse=True),
                one.sock,
                one.listens,
            )
        self.point = one.point
        self.core = UserAgent([one.point])
        self.answers = Answers(200)
        self.core.serve("PUBLISH", self.answers)
        self.told: list[object] = []
        self.driver = Driver(self.core, [one], on_indication=self.told.append, rules=Rules(tls=tls))

    def ask(self, uri: str) -> Waiting:
        waiting = Waiting()
        request = self.core.new_request(
            "PUBLISH",
            uri,
            from_=NameAddr.parse("<sip:alice@example.com>"),
            to=NameAddr.parse("<sip:bob@example.com>"),
            headers=[("Event", "presence")],
        )
        self.core.request(request, waiting, self.driver.now())
        self.driver.turn()
        return waiting

    def address(self, host: str) -> str:
        return f"{host}:{self.point.port}"

    def dropped(self) -> list[ConnectionDropped]:
        return [said for said in self.told if isinstance(said, ConnectionDropped)]


class Stations:
    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.made: list[Station] = []

    async def add(
        self,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
        listen: str | None = "tls:127.0.0.1:0",
        *,
        verify: str = "peer",
        authority: Authority | None = None,
        pairs: Sequence[KeyPair] | None = None,
        reuse: bool = False,
    ) -> Station:
        signer = authority or self.authority
        if pairs is None:
            pairs = [signer.issue(f"station{len(self.made)}", names)] if names else []
        tls = Tls(pairs, ca=self.authority.ca, verify=verify)
        station = Station(tls, listen, reuse=reuse)

        async def resolve(question: Question) -> Answer:
            return Answer(addresses=("127.0.0.1",) if question.kind is Kind.ADDRESS else ())

        station.driver.resolve = resolve
        tls.report = station.told.append
        self.made.append(station)
        await station.driver.start()
        return station


@pytest.fixture
async def stations(authority: Authority) -> AsyncIterator[Stations]:
    made = Stations(authority)
    yield made
    for station in made.made:
        await station.driver.stop()


async def test_a_name_is_proved_by_the_certificate_and_the_connection_is_used_again(
    stations: Stations,
) -> None:
    alice, bob = await stations.add(), await stations.add(["sip:pa.example.com"])
    uri = f"sip:bob@{bob.address('pa.example.com')};transport=tls"
    assert [await alice.ask(uri).future for _ in range(3)] == [200] * 3
    arrived = bob.answers.got[0]
    assert str(arrived.request.top_via).startswith("SIP/2.0/TLS 127.0.0.1:")
    (only,) = {incoming.flow for incoming in bob.answers.got}
    assert only.protocol == "tls" and only.connection
    assert await alice.ask(f"sips:bob@{bob.address('pa.example.com')}").future == 200


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("pa.example.com", ["other.example.com"]),
        ("pa.example.com", ["*.example.com"]),
        ("pa.example.com", ["sip:example.com", "pa.example.com"]),
        ("127.0.0.1", ["pa.example.com"]),
    ],
)
async def test_a_wrong_name_is_refused_before_anything_is_said(
    stations: Stations, host: str, names: list[str]
) -> None:
    alice, bob = await stations.add(), await stations.add(names)
    assert await alice.ask(f"sip:bob@{bob.address(host)};transport=tls").future == "transport"
    (dropped,) = alice.dropped()
    assert dropped.reason == "certificate" and host in dropped.detail
    assert not bob.answers.got


async def test_two_names_of_one_machine_have_a_connection_each(stations: Stations) -> None:
    alice, bob = await stations.add(), await stations.add(["a.example.com"])
    good = f"sip:bob@{bob.address('a.example.com')};transport=tls"
    bad = good.replace("a.example.com", "b.example.com")
    assert await alice.ask(good).future == 200
    assert await alice.ask(bad).future == "transport"
    assert await alice.ask(good).future == 200


async def test_a_foreign_authority_is_not_trusted(stations: Stations) -> None:
    other = Authority(stations.authority.folder, "Another authority")
    alice, bob = await stations.add(), await stations.add(authority=other)
    uri = f"sip:bob@{bob.address('localhost')};transport=tls"
    assert await alice.ask(uri).future == "transport"
    assert [said.reason for said in alice.dropped()] == ["handshake"]
    assert "not trusted" in alice.dropped()[0].detail
    careless = await stations.add((), None, verify="none")
    assert await careless.ask(uri).future == 200


async def test_mutual_demands_a_certificate_of_every_client(stations: Stations) -> None:
    bob = await stations.add(verify="mutual")
    uri = f"sip:bob@{bob.address('localhost')};transport=tls"
    alice, nobody = await stations.add(), await stations.add((), None)
    stranger = await stations.add(
        authority=Authority(stations.authority.folder, "Another authority")
    )
    assert await alice.ask(uri).future == 200
    assert await nobody.ask(uri).future == "transport"
    assert await stranger.ask(uri).future == "transport"
    nobody.driver.flush()
    assert [said.error for said in nobody.told if isinstance(said, DestinationFailed)] == [
        "tlsv13 alert certificate required"
    ]
    assert {said.reason for said in bob.dropped()} == {"handshake"}


async def test_why_a_server_ends_tls_is_told(stations: Stations) -> None:
    pair = stations.authority.issue("strict", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(stations.authority.ca)

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False
        ) as secured:
            with pytest.raises(ssl.SSLError):
                secured.do_handshake()
            while socket.socket.recv(
                secured, 4096
            ):  # a close with bytes unread would eat the alert
                pass

    nobody = await stations.add((), None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.get_running_loop().run_in_executor(None, serve, listener)
        waiting = nobody.ask(f"sip:b@localhost:{listener.getsockname()[1]};transport=tls")
        assert await waiting.future == "transport"
        await serving
    nobody.driver.flush()
    failed = [said.error for said in nobody.told if isinstance(said, DestinationFailed)]
    assert len(failed) == 1 and "certificate required" in failed[0]


async def test_an_outgoing_client_is_reached_on_its_connection(stations: Stations) -> None:
    alice, bob = await stations.add((), None), await stations.add()
    assert await alice.ask(f"sip:bob@{bob.address('localhost')};transport=tls").future == 200
    assert bob.answers.got[0].flow.remote == ("127.0.0.1", alice.point.port)


async def asked_back(stations: Stations, verify: str, name: str) -> Station:
    """Alice calls bob and asks for reuse; then bob calls her listener under a name."""
    alice = await stations.add(["alice.example.com"], verify=verify, reuse=True)
    bob = await stations.add(verify=verify)
    assert await alice.ask(f"sip:bob@{bob.address('localhost')};transport=tls").future == 200
    assert ";alias" in (bob.answers.got[0].request.headers.get("Via") or "")
    assert await bob.ask(f"sip:a@{alice.address(name)};transport=tls").future == 200
    return alice


async def test_a_peer_that_proved_itself_is_called_back_on_its_own_connection(
    stations: Stations,
) -> None:
    alice = await asked_back(stations, "mutual", "alice.example.com")
    assert alice.answers.got[0].flow.name == "localhost"  # the one that alice opened
    assert len(alice.driver.tcp[alice.point.local].open) == 1
    bob = stations.made[1]
    await alice.driver.stop()
    assert await bob.ask(f"sip:a@{alice.address('alice.example.com')};transport=tls").future == (
        "transport"
    )
    endpoint = bob.driver.tcp[bob.point.local]
    assert not endpoint.by_alias and not endpoint.open


async def test_without_certificates_of_both_nothing_is_reused(stations: Stations) -> None:
    alice = await asked_back(stations, "peer", "alice.example.com")
    assert len(alice.driver.tcp[alice.point.local].open) == 2


# --- handshakes -----------------------------------------------------------------------------------------


async def handshake(
    address: tuple[str, int], ca: Path, name: str, version: ssl.TLSVersion | None = None
) -> tuple[str, set[str]]:
    """What a stranger's client sees: the version and the DNS names of the certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if version is not None:
        context.minimum_version = context.maximum_version = version
    _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=name)
    session = writer.get_extra_info("ssl_object")
    names = {value for _, value in session.getpeercert()["subjectAltName"]}
    writer.close()
    await writer.wait_closed()
    return session.version(), names


@pytest.mark.parametrize(
    ("version", "word"),
    [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
async def test_both_versions_are_spoken(
    stations: Stations, version: ssl.TLSVersion, word: str
) -> None:
    bob = await stations.add()
    seen, _ = await handshake(bob.point.local, stations.authority.ca, "localhost", version)
    assert seen == word


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_older_versions_are_not(stations: Stations) -> None:
    bob = await stations.add()
    with pytest.raises(OSError):
        await handshake(bob.point.local, stations.authority.ca, "localhost", ssl.TLSVersion.TLSv1_1)


async def test_the_client_is_shown_the_certificate_it_asks_for(stations: Stations) -> None:
    issue, ca = stations.authority.issue, stations.authority.ca
    pairs = [issue("a", ["a.example"]), issue("b", ["b.example"]), issue("w", ["*.web.example"])]
    bob = await stations.add(pairs=pairs)
    asked = {"a.example": "a.example", "B.example": "b.example", "x.web.example": "*.web.example"}
    for name, wanted in {**asked, "unknown.example": "a.example", "127.0.0.1": "a.example"}.items():
        assert (await handshake(bob.point.local, ca, name))[1] == {wanted}


async def test_a_renewed_certificate_is_shown_to_the_next_and_open_connections_live_on(
    stations: Stations,
) -> None:
    issue, ca = stations.authority.issue, stations.authority.ca
    bob = await stations.add(pairs=[issue("bob", ["old.example"])])
    alice = await stations.add()
    uri = f"sip:bob@{bob.address('old.example')};transport=tls"
    assert await alice.ask(uri).future == 200
    issue("bob", ["new.example"])
    assert (await handshake(bob.point.local, ca, "x"))[1] == {"new.example"}
    assert [type(said) for said in bob.told] == [CertificateLoaded]
    assert await alice.ask(uri).future == 200
    assert len({i.flow for i in bob.answers.got}) == 1


async def test_what_cannot_be_used_changes_nothing_and_is_told_once(stations: Stations) -> None:
    issue, ca = stations.authority.issue, stations.authority.ca
    pair = issue("bob", ["old.example"])
    bob = await stations.add(pairs=[pair])
    other = issue("other", ["new.example"])
    os.replace(other.cert, pair.cert)
    for _ in range(2):
        assert (await handshake(bob.point.local, ca, "x"))[1] == {"old.example"}
    assert bob.told == [
        CertificateRefused("sip.tls.key", f"{pair.key}: is not the key of {pair.cert}")
    ]
    os.replace(other.key, pair.key)
    assert (await handshake(bob.point.local, ca, "x"))[1] == {"new.example"}
    pair.key.unlink()
    assert (await handshake(bob.point.local, ca, "x"))[1] == {"new.example"}
    assert isinstance(bob.told[-1], CertificateRefused)


async def test_another_authority_on_the_disk_decides_about_the_next_client(
    stations: Stations,
) -> None:
    folder = stations.authority.folder
    other = Authority(folder, "Another authority")
    trusted = folder / "trusted.pem"
    trusted.write_bytes(other.ca.read_bytes())
    bob_tls = Tls([stations.authority.issue("bob", ["localhost"])], ca=trusted, verify="mutual")
    bob = Station(bob_tls)
    stations.made.append(bob)
    await bob.driver.start()
    uri = f"sip:bob@{bob.address('localhost')};transport=tls"
    alice = await stations.add()
    assert await alice.ask(uri).future == "transport"
    trusted.write_bytes(stations.authority.ca.read_bytes())
    assert await alice.ask(uri).future == 200


async def test_who_never_finishes_a_handshake_is_cut_off(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_TIMEOUT", 0.1)
    bob = await stations.add()
    reader, writer = await asyncio.open_connection(*bob.point.local)
    writer.write(b"\x16\x03\x01")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert [said.reason for said in bob.dropped()] == ["handshake"]
    assert not bob.driver.tcp[bob.point.local].accepted


async def test_plain_sip_at_a_tls_listener_is_cut_off(stations: Stations) -> None:
    bob = await stations.add()
    reader, writer = await asyncio.open_connection(*bob.point.local)
    writer.write(b"OPTIONS sip:bob@example.com SIP/2.0\r\n\r\n")
    await reader.read()
    writer.close()
    assert [said.reason for said in bob.dropped()] == ["handshake"]


async def test_one_address_has_its_share_of_handshakes_too(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await stations.add()
    endpoint = bob.driver.tcp[bob.point.local]
    endpoint.rules = Rules(tls=endpoint.tls, per_address=2)
    many = [await asyncio.open_connection(*bob.point.local) for _ in range(3)]
    assert await many[2][0].read() == b""
    assert [said.reason for said in bob.dropped()] == ["address-limit"]
    for _, writer in many:
        writer.close()


def on_uvloop(story: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


def test_the_same_on_the_loop_that_serves(authority: Authority) -> None:
    async def story() -> None:
        made = Stations(authority)
        alice, bob = await made.add(verify="mutual"), await made.add(verify="mutual")
        uri = f"sip:bob@{bob.address('localhost')};transport=tls"
        try:
            assert [await alice.ask(uri).future for _ in range(3)] == [200] * 3
            authority.issue("station1", ["new.example"])
            uri = uri.replace("localhost", "new.example")
            nobody = await made.add((), None)
            assert await nobody.ask(uri).future == "transport"
            nobody.driver.flush()
            (failed,) = [said for said in nobody.told if isinstance(said, DestinationFailed)]
            assert failed.error == "tlsv13 alert certificate required"
            assert await alice.ask(uri).future == 200
        finally:
            for station in made.made:
                await station.driver.stop()

    on_uvloop(story)


async def test_a_listener_without_certificate_does_not_start(authority: Authority) -> None:
    bob = Station(Tls(ca=authority.ca))
    with pytest.raises(ConfigurationError) as caught:
        await bob.driver.start()
    assert caught.value.key == "sip.tls.cert"
    await bob.driver.stop()


async def test_a_lost_connection_is_not_replaced_by_one_that_nobody_can_check(
    stations: Stations,
) -> None:
    bob = await stations.add()
    endpoint = bob.driver.tcp[bob.point.local]
    failed: list[tuple[Flow, str]] = []
    bob.driver.send_failed = lambda flow, error: failed.append((flow, error))  # type: ignore[method-assign]
    gone = Flow("tls", bob.point.local, ("127.0.0.1", 9), 77)
    endpoint.send(b"late answer", gone)
    assert failed[0][0] == gone and "certificate" in failed[0][1] and not endpoint.waiting


async def test_a_message_that_trickles_over_tls_is_cut_off_and_slow_ones_that_end_are_not(
    stations: Stations,
) -> None:
    bob = await stations.add()
    ahead = 0.0
    endpoint = bob.driver.tcp[bob.point.local]
    endpoint.now = lambda: asyncio.get_running_loop().time() + ahead
    context = ssl.create_default_context(cafile=str(stations.authority.ca))
    reader, writer = await asyncio.open_connection(
        *bob.point.local, ssl=context, server_hostname="localhost"
    )
    lines = [
        "PUBLISH sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/TLS 192.0.2.9;branch=z9hG4bK{}",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:bob@example.com>",
        "Call-ID: c1",
        "CSeq: {} PUBLISH",
        "Event: presence",
        "Content-Length: 0",
    ]
    for number in (1, 2, 3):  # each takes long, but comes to its end
        data = ("\r\n".join(lines) + "\r\n\r\n").format(number, number).encode()
        writer.write(data[:40])
        await writer.drain()
        ahead += tcp.FIRST_MESSAGE / 2
        endpoint.sweep()
        writer.write(data[40:])
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.write(data[:40])
    for _ in range(5):
        ahead += tcp.SWEEP_EVERY
        endpoint.sweep()
        writer.write(b"x")
        await asyncio.sleep(0.01)
    assert [said.reason for said in bob.dropped()] == ["slow"]
    writer.close()
