"""A bridge whose presence servers are found by a real name server, and fail."""

import contextlib
from collections.abc import AsyncIterator

from sipbridge.app.connections import locating_of
from sipbridge.sip.destinations import Locating
from tests.app.rig import (
    PresenceServer,
    Site,
    attributes,
    presence_server,
    settings,
    site,
    until,
)
from tests.harness.nameserver import NameServer
from tests.harness.ports import free_port

SOA = "@ 300 SOA ns hostmaster 1 3600 600 86400 60\n"
STATUS = {"presence": attributes(Activity="Meeting")}


def zone(*ports: int, transport: str = "udp") -> str:
    """Servers of example.com on this machine, the first preferred."""
    records = [f"_sip._{transport} 60 SRV {n} 0 {port} pa{n}" for n, port in enumerate(ports)]
    hosts = [f"pa{n} 60 A 127.0.0.1" for n in range(len(ports))]
    service = {"udp": "SIP+D2U", "tcp": "SIP+D2T"}[transport]
    rule = f'@ 60 NAPTR 10 10 "s" "{service}" "" _sip._{transport}'
    return SOA + "\n".join([rule, *records, *hosts]) + "\n"


@contextlib.asynccontextmanager
async def world(text: str, **sip: object) -> AsyncIterator[tuple[Site, NameServer]]:
    """A bridge that knows its presence server by the name of its domain."""
    async with NameServer({"example.com": text}) as dns:
        host, port = dns.address
        section = {
            "listen": ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"],
            "domain": "example.com",
            "name_servers": [f"{host}:{port}"],
            "dns_timeout": 10.0,
            **sip,
        }
        server = {"mode": "remote", "next_hop": ["sip:example.com"]}
        async with site(sip=section, presence_server=server) as here:
            yield here, dns


async def publishes(here: Site) -> tuple[int, object]:
    return await here.application("alice").ask("PUT", "/rest/presence/presence", STATUS)


async def counted(here: Site, sample: str) -> float:
    """A number of /metrics; 0 if it is not there."""
    text = await here.application("bob").text("/metrics")
    rows = [row for row in text.splitlines() if row.startswith(f"sipbridge_{sample} ")]
    return float(rows[0].rpartition(" ")[2]) if rows else 0.0


async def test_a_server_found_by_naptr_and_srv_takes_the_publication() -> None:
    async with presence_server() as server, world(zone(server.port)) as (here, dns):
        assert (await publishes(here))[0] < 300
        await server.request("PUBLISH")
        asked = len(dns.asked)
        assert set(dns.asked[:2]) == {"NAPTR example.com", "SRV _sip._udp.example.com"}
        for _ in range(5):
            assert (await publishes(here))[0] < 300
        assert len(dns.asked) == asked, "what was learnt holds for a minute"
        assert await counted(here, 'dns_questions_total{outcome="found",type="SRV"}') == 1


async def answering(first: PresenceServer, here: Site, second: PresenceServer) -> None:
    """The second got what the first did not take."""
    assert (await publishes(here))[0] < 300
    refused, taken = await first.request("PUBLISH"), await second.request("PUBLISH")
    assert refused.get("via") != taken.get("via")
    assert refused.get("call-id") == taken.get("call-id")
    assert refused.get("cseq") == taken.get("cseq")


async def test_a_server_that_answers_503_is_passed_over() -> None:
    async with presence_server() as first, presence_server() as second:
        first.refuse["PUBLISH"] = 503
        async with world(zone(first.port, second.port)) as (here, _):
            await answering(first, here, second)
            assert await counted(here, 'sip_failovers_total{reason="503"}') >= 1


async def test_a_silent_server_is_passed_over_and_then_avoided() -> None:
    async with presence_server() as first, presence_server() as second:
        first.silent = {"PUBLISH", "SUBSCRIBE"}
        text = zone(first.port, second.port)
        async with world(text, failover_after=1.0) as (here, _):
            await answering(first, here, second)
            tries = len(first.requests("PUBLISH"))
            assert (await publishes(here))[0] < 300
            assert len(first.requests("PUBLISH")) == tries
            assert await counted(here, "sip_destinations_avoided") == 1
            assert await counted(here, 'sip_failovers_total{reason="timeout"}') >= 1


async def test_a_server_that_refuses_connections_costs_no_time() -> None:
    async with presence_server() as server:
        rules = ['"SIP+D2T" "" _sip._tcp', '"SIP+D2U" "" _sip._udp']
        text = SOA + "\n".join(f'@ 60 NAPTR 10 {n} "s" {rule}' for n, rule in enumerate(rules))
        text += f"""
            _sip._tcp 60 SRV 0 0 {free_port()} pa
            _sip._udp 60 SRV 0 0 {server.port} pa
            pa 60 A 127.0.0.1
        """.replace("            ", "")
        async with world(text, failover_after=20.0) as (here, _):
            assert (await publishes(here))[0] < 300
            await server.request("PUBLISH")
            assert await counted(here, 'sip_failovers_total{reason="transport"}') >= 1


async def test_a_name_that_leads_nowhere_is_an_error_that_says_so() -> None:
    async with world(SOA) as (here, _):
        status, _ = await publishes(here)
        assert status == 502
        ready = here.application("bob")
        await until(lambda: ready.ask("GET", "/health/ready"), lambda a: a[1]["status"] != "ok")


def test_the_settings_reach_the_core() -> None:
    known = settings(sip={"dns": False, "failover_after": 3.0, "avoid_failed": 0.0})
    assert locating_of(known) == Locating(records=False, patience=3.0, avoid=0.0)
    assert locating_of(settings()) == Locating()
