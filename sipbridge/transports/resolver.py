"""What DNS knows, for the questions of `sip.records`.

NAPTR and SRV records come from the name servers of the system, or from those of `sip.name_servers`, by
dnspython; a truncated answer is asked for again by TCP. Addresses are looked for in the hosts file first, as
everywhere, then by A and AAAA, and when the system's own name servers say that there are none, or are of no
use, by the system's resolver, which also knows search domains and other sources; not when they were silent,
for it would wait for the same ones. With `dns = false` the system's resolver is all there is. It works in
threads of our own: a name server that does not answer keeps only names waiting.

Addresses are put in the order of RFC 6724 as far as it matters here: those that cannot be reached come last,
then IPv6 before IPv4. Nothing is cached; answers carry their time to live, and the core keeps them. Nothing
is raised: a failure is an answer that says why. The wait for a place among `AT_ONCE` questions, DNS, and the
system's resolver take no longer than the timeout each.

Whoever sends us a request may name a domain, and then its owner writes the answers: of each we take at most
`MAX_RECORDS`, the preferred ones.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sipbridge.sip.locate import MAX_SERVERS, is_address
from sipbridge.sip.records import Answer, Kind, Naptr, Question, Srv, plain_name

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as StubResolver
    from dns.message import Message
    from dns.name import Name
    from dns.rdata import Rdata

Ask = Callable[[Question], Awaitable[Answer]]
Count = Callable[[str, str], None]
"""Kind of question, and "found", "none" or "failed"."""

LOOKUP_TIMEOUT = 3.0
"""Seconds for one question; three in a row, and another destination can still be tried."""

SYSTEM_TTL = 30.0
"""Seconds for which the system's resolver is believed: it does not tell."""

NOTHING_LASTS = 60.0
"""Seconds for which "there is none" holds when the domain does not say (RFC 2308 §5)."""

AT_ONCE = 64
"""Questions under way, two sockets each at most: even if all are silent, 21 in a second get their turn."""

BY_SYSTEM = 4
"""Names that the system's resolver looks up at a time, a thread each."""

MAX_RECORDS = MAX_SERVERS
"""Records that are taken out of one answer; one by TCP can hold 4,000."""

HOSTS = Path("/etc/hosts")
CONFIGURATION = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Said:
    """Records of one query. silent: DNS did not answer in time."""

    records: tuple["Rdata", ...] = ()
    ttl: float = NOTHING_LASTS
    failure: str = ""
    silent: bool = False


class Resolver:
    """Looks up. One for all drivers of a process.

    records: ask for NAPTR and SRV, and for addresses by DNS. servers: (address, port) of name servers; empty:
    those of the system. count: is told of each question.
    """

    def __init__(
        self,
        *,
        records: bool = True,
        servers: Sequence[tuple[str, int]] = (),
        timeout: float = LOOKUP_TIMEOUT,
        hosts: Path = HOSTS,
        configuration: Path = CONFIGURATION,
        count: Count = lambda kind, outcome: None,
    ) -> None:
        self.records = records
        self.servers = tuple(servers)
        self.timeout = timeout
        self.hosts = HostsFile(hosts)
        self.count = count
        self.configuration = configuration
        self.read_at = 0.0
        self.stub: StubResolver | None = None
        self.places = asyncio.Semaphore(AT_ONCE)
        self.threads = ThreadPoolExecutor(BY_SYSTEM, thread_name_prefix="names")

    async def ask(self, question: Question) -> Answer:
        """The answer to one question."""
        try:
            async with asyncio.timeout(self.timeout):
                await self.places.acquire()
        except TimeoutError:
            answer = Answer(failure="too many questions to DNS at once")
        else:
            try:
                answer = await self.answer(*question)
            finally:
                self.places.release()
        found = "failed" if answer.failure else "none" if answer.empty else "found"
        self.count(question.kind.value, found)
        return answer

    async def answer(self, kind: Kind, name: str) -> Answer:
        if name == "invalid" or name.endswith(".invalid"):
            # RFC 6761 §6.4; browsers have such hosts (RFC 7118 §5.1)
            return Answer(ttl=NOTHING_LASTS)
        if kind is Kind.ADDRESS:
            return await self.addresses(name)
        if not self.records or name == "localhost" or name.endswith(".localhost"):
            return Answer(ttl=NOTHING_LASTS)
        said = await self.query(name, kind.value)
        if kind is Kind.NAPTR:
            rules = preferred_rules(map(naptr_of, said.records))
            return Answer(naptrs=rules, ttl=said.ttl, failure=said.failure)
        services = preferred_servers(map(srv_of, said.records))
        return Answer(srvs=services, ttl=said.ttl, failure=said.failure)

    # --- addresses --------------------------------------------------------------------------------

    async def addresses(self, name: str) -> Answer:
        known = self.hosts.addresses(name)
        if known:
            return Answer(addresses=known, ttl=SYSTEM_TTL)
        if not self.records or name == "localhost":
            return await self.by_system(name)
        both = await asyncio.gather(self.query(name, "AAAA"), self.query(name, "A"))
        found = [str(one) for said in both for one in islice(said.records, MAX_RECORDS // 2)]
        if found:
            ttl = min(said.ttl for said in both if said.records)
            return Answer(addresses=by_preference(found), ttl=ttl)
        if not self.servers and not any(said.silent for said in both):
            answer = await self.by_system(name)
            if answer.addresses:
                return answer
        failure = next((said.failure for said in both if said.failure), "")
        return Answer(ttl=min(said.ttl for said in both), failure=failure)

    async def by_system(self, name: str) -> Answer:
        """Asks the system's resolver, off the loop's thread; its order already follows RFC 6724.

        A thread goes on until the system gives up, 10 to 20 s; while all are at that, other names fail.
        """
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, name, None, type=socket.SOCK_DGRAM)
        try:
            async with asyncio.timeout(self.timeout):
                found = await loop.run_in_executor(self.threads, look_up)
        except TimeoutError:
            return Answer(failure=f"no answer in {self.timeout:g} s")
        except (OSError, UnicodeError):
            return Answer(ttl=FAILED_TTL)
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return Answer(addresses=tuple(islice(addresses, MAX_RECORDS)), ttl=SYSTEM_TTL)

    # --- queries ----------------------------------------------------------------------------------

    async def query(self, name: str, kind: str) -> Said:
        """One query of DNS."""
        import dns.exception
        import dns.resolver

        try:
            stub = self.current_stub()
            found = await stub.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            replies: dict[Name, Message] = error.responses()  # type: ignore[no-untyped-call]
            return Said(ttl=min(map(negative_ttl, replies.values())))
        except dns.resolver.NoResolverConfiguration:
            return Said()  # there is no name server: the system's other sources have to do
        except dns.exception.Timeout:
            return Said(failure=f"no answer from DNS in {self.timeout:g} s", silent=True)
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            return Said(failure=f"DNS failed: {type(error).__name__}")
        if found.rrset is None:
            return Said(ttl=negative_ttl(found.response))
        return Said(tuple(found.rrset), float(found.chaining_result.minimum_ttl))

    def current_stub(self) -> "StubResolver":
        """Made anew when the system's configuration has changed. Raises NoResolverConfiguration."""
        changed = 0.0
        if not self.servers:
            with contextlib.suppress(OSError):
                changed = self.configuration.stat().st_mtime
        if self.stub is None or changed != self.read_at:
            self.stub = self.make_stub()
            self.read_at = changed
        return self.stub

    def make_stub(self) -> "StubResolver":
        """Made when first asked: reading the library takes longer than all of the rest of the start."""
        from dns.asyncresolver import Resolver as StubResolver
        from dns.nameserver import Do53Nameserver, Nameserver

        stub = StubResolver(str(self.configuration), configure=not self.servers)
        if self.servers:
            named: list[str | Nameserver] = [Do53Nameserver(*one) for one in self.servers]
            stub.nameservers = named
        stub.lifetime = self.timeout
        stub.timeout = self.timeout / 2
        return stub


FAILED_TTL = 5.0
"""The system says "unknown" also when its name servers are silent."""


def negative_ttl(response: "Message") -> float:
    """How long "there is none" holds: the lesser of the SOA's TTL and its minimum (RFC 2308 §5)."""
    from dns.rdatatype import SOA

    for rrset in response.authority:
        if rrset.rdtype == SOA:
            minimum: int = rrset[0].minimum
            return float(min(rrset.ttl, minimum))
    return NOTHING_LASTS


def naptr_of(record: "Rdata") -> Naptr:
    from dns.rdtypes.IN.NAPTR import NAPTR

    assert isinstance(record, NAPTR)
    return Naptr(
        record.order,
        record.preference,
        record.flags.decode("latin-1"),
        record.service.decode("latin-1"),
        record.regexp.decode("latin-1"),
        plain_name(str(record.replacement)),
    )


def srv_of(record: "Rdata") -> Srv:
    from dns.rdtypes.IN.SRV import SRV

    assert isinstance(record, SRV)
    return Srv(record.priority, record.weight, record.port, plain_name(str(record.target)))


def preferred_rules(rules: Iterable[Naptr]) -> tuple[Naptr, ...]:
    """Those of the lowest order and preference (RFC 3403 §4.1), in that order."""
    return tuple(nsmallest(MAX_RECORDS, rules, key=lambda one: (one.order, one.preference)))


def preferred_servers(servers: Iterable[Srv]) -> tuple[Srv, ...]:
    """Those that are asked first (RFC 2782), in that order."""
    return tuple(nsmallest(MAX_RECORDS, servers, key=lambda one: one.priority))


# --- addresses without DNS ----------------------------------------------------------------------------


class HostsFile:
    """The hosts file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_at = -1.0
        self.known: dict[str, list[str]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        try:
            changed = self.path.stat().st_mtime
            if changed != self.read_at:
                self.known = read_hosts(self.path.read_text("utf-8", "replace"))
                self.read_at = changed
        except OSError:
            self.known = {}
        return by_preference(self.known.get(name, ()))


def read_hosts(text: str) -> dict[str, list[str]]:
    """Names to addresses; "address name alias ..." a line, comments after "#"."""
    known: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if is_address(address) and "%" not in address:
            for name in names:
                known.setdefault(plain_name(name), []).append(address)
    return known


def by_preference(addresses: Sequence[str]) -> tuple[str, ...]:
    """What cannot be reached last, IPv6 first (RFC 6724 §6, rules 1 and 6)."""
    each = dict.fromkeys(addresses)
    return tuple(sorted(each, key=lambda one: (not can_reach(one), ":" not in one)))


def can_reach(address: str) -> bool:
    """Has this machine any way there? Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True
