"""Questions to DNS, against a real name server on this machine."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.zone
import pytest
from dns.nameserver import Do53Nameserver

from sipbridge.sip.records import Answer, Kind, Naptr, Question, Srv
from sipbridge.transports import resolver
from sipbridge.transports.resolver import (
    AT_ONCE,
    BY_SYSTEM,
    MAX_RECORDS,
    Resolver,
    by_preference,
    read_hosts,
)
from tests.harness.nameserver import NameServer

ZONE = """
@ 300 SOA ns hostmaster 1 3600 600 86400 20
@ 60 NAPTR 20 50 "s" "SIP+D2U" "" _sip._udp
@ 60 NAPTR 10 50 "s" "SIPS+D2T" "" _sips._tcp.Elsewhere.Example.
_sip._udp 40 SRV 10 60 5070 One
_sip._udp 40 SRV 20 0 5080 two
_sip._tcp 40 SRV 0 0 0 .
one 50 A 192.0.2.1
one 70 AAAA ::1
one 70 A 127.0.0.9
alias 10 CNAME one
"""


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer({"example.com": ZONE}) as running:
        yield running


@pytest.fixture
def asks(server: NameServer) -> Resolver:
    return Resolver(servers=[server.address], timeout=10.0, hosts=Path("/nonexistent"))


def naptr(name: str) -> Question:
    return Question(Kind.NAPTR, name)


def srv(name: str) -> Question:
    return Question(Kind.SRV, name)


def address(name: str) -> Question:
    return Question(Kind.ADDRESS, name)


async def test_rules_come_with_their_time_to_live(asks: Resolver) -> None:
    answer = await asks.ask(naptr("example.com"))
    assert sorted(answer.naptrs, key=lambda one: one.order) == [
        Naptr(10, 50, "s", "SIPS+D2T", "", "_sips._tcp.elsewhere.example"),
        Naptr(20, 50, "s", "SIP+D2U", "", "_sip._udp.example.com"),
    ]
    assert answer.ttl == 60 and not answer.failure


async def test_servers_come_with_port_and_weight(asks: Resolver) -> None:
    answer = await asks.ask(srv("_sip._udp.example.com"))
    assert set(answer.srvs) == {
        Srv(10, 60, 5070, "one.example.com"),
        Srv(20, 0, 5080, "two.example.com"),
    }
    assert answer.ttl == 40
    refused = await asks.ask(srv("_sip._tcp.example.com"))
    assert refused.srvs == (Srv(0, 0, 0, ""),)


async def test_both_kinds_of_address_are_asked_and_the_shorter_time_counts(asks: Resolver) -> None:
    answer = await asks.ask(address("one.example.com"))
    assert set(answer.addresses) == {"192.0.2.1", "127.0.0.9", "::1"}
    assert answer.ttl == 50


async def test_an_alias_is_followed(asks: Resolver) -> None:
    answer = await asks.ask(address("alias.example.com"))
    assert "127.0.0.9" in answer.addresses and answer.ttl == 10


@pytest.mark.parametrize("name", ["nothing.example.com", "one.example.com"])
async def test_that_there_is_nothing_holds_as_long_as_the_domain_says(
    asks: Resolver, name: str
) -> None:
    assert await asks.ask(srv(name)) == Answer(ttl=20)


async def test_a_cut_off_answer_is_asked_for_by_tcp(asks: Resolver, server: NameServer) -> None:
    server.truncating = True
    answer = await asks.ask(srv("_sip._udp.example.com"))
    assert len(answer.srvs) == 2
    assert server.asked == ["SRV _sip._udp.example.com"] * 2


async def test_of_an_answer_without_end_the_preferred_records_are_taken(
    asks: Resolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for n in reversed(range(200)):
        lines.append(f'@ 60 NAPTR 10 {n} "s" "SIP+D2U" "" _{n}._udp')
        lines.append(f"_sip._udp 60 SRV {n} 0 5060 s{n}")
        lines.append(f"many 60 A 192.0.2.{n}")
    zone = dns.zone.from_text(
        "\n".join(lines), "example.org.", relativize=False, check_origin=False
    )
    server.zones.append(zone)
    server.truncating = True
    probed: list[str] = []
    monkeypatch.setattr(resolver, "can_reach", probed.append)
    rules = (await asks.ask(naptr("example.org"))).naptrs
    assert [one.preference for one in rules] == list(range(MAX_RECORDS))
    servers = (await asks.ask(srv("_sip._udp.example.org"))).srvs
    assert [one.priority for one in servers] == list(range(MAX_RECORDS))
    addresses = (await asks.ask(address("many.example.org"))).addresses
    assert 0 < len(addresses) == len(probed) <= MAX_RECORDS


async def test_so_many_questions_are_asked_at_a_time_and_nobody_waits_longer_than_the_timeout(
    asks: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = asyncio.Event()
    at_once = 0

    async def answer(kind: Kind, name: str) -> Answer:
        nonlocal at_once
        at_once += 1
        await slow.wait()
        return Answer(ttl=1.0)

    monkeypatch.setattr(asks, "answer", answer)
    asks.timeout = 0.05
    tasks = [asyncio.create_task(asks.ask(naptr(f"{n}.example.com"))) for n in range(AT_ONCE + 5)]
    done, waiting = await asyncio.wait(tasks, timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().failure for task in done} == {"too many questions to DNS at once"}
    slow.set()
    answers = await asyncio.gather(*tasks)
    assert at_once == AT_ONCE and len([one for one in answers if not one.failure]) == AT_ONCE
    assert not (await asks.ask(naptr("again.example.com"))).failure


@pytest.fixture
def systems(server: NameServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """With the system's own name servers, one that is ours for the test."""
    asks = Resolver(timeout=0.3, hosts=tmp_path / "absent", configuration=tmp_path / "resolv.conf")
    asks.configuration.write_text("nameserver 127.0.0.1\n")
    asks.current_stub().nameservers = [Do53Nameserver(*server.address)]
    return asks


@pytest.mark.parametrize(
    ("how", "asked"), [("none", True), ("refusing", True), ("silent", False), ("half", False)]
)
async def test_the_system_is_asked_when_dns_knows_nothing_but_not_when_it_is_silent(
    how: str,
    asked: bool,
    systems: Resolver,
    server: NameServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.refusing = how == "refusing"
    server.silent = {"silent": {"A", "AAAA"}, "half": {"A"}}.get(how, set())
    found = [(2, 2, 17, "", ("192.0.2.77", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *name, **hints: found)
    answer = await systems.ask(address("nothing.example.com"))
    assert answer.addresses == (("192.0.2.77",) if asked else ())
    assert bool(answer.failure) is not asked


async def test_names_the_system_is_slow_about_hold_up_no_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = threading.Event()
    asks = Resolver(records=False, timeout=0.05, hosts=Path("/nonexistent"))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *name, **hints: slow.wait(10) and [])
    try:
        answers = await asyncio.gather(*(asks.ask(address(f"{n}.example")) for n in range(20)))
        assert {answer.failure for answer in answers} == {"no answer in 0.05 s"}
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "hashed"), 5.0) == "hashed"
        assert len(asks.threads._threads) == BY_SYSTEM
    finally:
        slow.set()
        asks.threads.shutdown()


async def test_silence_is_a_failure_and_takes_no_longer_than_the_timeout(
    asks: Resolver, server: NameServer
) -> None:
    server.silent = {"NAPTR", "A", "AAAA"}
    asks.timeout = 0.2
    assert await asks.ask(naptr("example.com")) == Answer(
        failure="no answer from DNS in 0.2 s", ttl=60
    )
    assert (await asks.ask(address("one.example.com"))).failure == "no answer from DNS in 0.2 s"


async def test_a_server_that_refuses_is_a_failure(asks: Resolver, server: NameServer) -> None:
    server.refusing = True
    asks.timeout = 0.3
    assert (await asks.ask(srv("_sip._udp.example.com"))).failure


@pytest.mark.parametrize("name", ["a..b", "a" * 64 + ".example.com", "x" * 300])
async def test_what_is_no_name_is_a_failure_or_unknown(asks: Resolver, name: str) -> None:
    assert (await asks.ask(address(name))).empty
    assert (await asks.ask(srv(name))).empty


async def test_names_that_mean_this_machine_or_nobody_are_not_asked_for(
    asks: Resolver, server: NameServer
) -> None:
    assert (await asks.ask(naptr("localhost"))).empty
    found = (await asks.ask(address("localhost"))).addresses
    assert "127.0.0.1" in found or "::1" in found
    for question in (naptr("x7.invalid"), address("x7.invalid"), address("invalid")):
        assert (await asks.ask(question)).empty
    assert not server.asked


async def test_the_hosts_file_comes_first(
    asks: Resolver, server: NameServer, tmp_path: Path
) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.5 one.example.com # not the other\n")
    asks.hosts.path = path
    assert (await asks.ask(address("one.example.com"))).addresses == ("127.0.0.5",)
    assert not server.asked
    path.unlink()
    assert len((await asks.ask(address("one.example.com"))).addresses) == 3


async def test_without_records_only_the_system_is_asked(server: NameServer) -> None:
    asks = Resolver(records=False, servers=[server.address], hosts=Path("/nonexistent"))
    assert (await asks.ask(naptr("example.com"))).empty
    assert (await asks.ask(address("localhost"))).addresses
    assert (await asks.ask(address("no such host"))).empty
    assert not server.asked


async def test_a_slow_system_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = Resolver(records=False, timeout=0.0, hosts=Path("/nonexistent"))
    assert (await asks.ask(address("localhost"))).failure == "no answer in 0 s"


async def test_many_questions_at_once_are_all_answered(asks: Resolver) -> None:
    answers = await asyncio.gather(*(asks.ask(address("one.example.com")) for _ in range(50)))
    assert {len(answer.addresses) for answer in answers} == {3}


def test_another_network_brings_other_name_servers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    asks = Resolver(configuration=path)
    for n in (1, 2):
        path.write_text(f"search example.com\nnameserver 192.0.2.{n}\n")
        os.utime(path, (n, n))
        stub = asks.current_stub()
        assert [str(server) for server in stub.nameservers] == [f"192.0.2.{n}"]
        assert asks.current_stub() is stub


async def test_without_any_name_server_the_system_is_asked(tmp_path: Path) -> None:
    asks = Resolver(configuration=tmp_path / "absent", hosts=tmp_path / "absent")
    assert await asks.ask(srv("_sip._udp.example.com")) == Answer(ttl=60)


def test_a_hosts_file_is_read_as_everybody_does() -> None:
    text = (
        "# nothing\n127.0.0.1\tLocalhost  here # and so on\n::1 localhost\nrubbish x\n\n1.2.3.4\n"
    )
    assert read_hosts(text) == {"localhost": ["127.0.0.1", "::1"], "here": ["127.0.0.1"]}


def test_what_cannot_be_reached_comes_last_and_ipv6_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "can_reach", lambda one: one != "2001:db8::1")
    found = ["192.0.2.1", "2001:db8::1", "::1", "192.0.2.1", "192.0.2.2"]
    assert by_preference(found) == ("::1", "192.0.2.1", "192.0.2.2", "2001:db8::1")
