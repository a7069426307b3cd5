"""Cores joined by a wire and a clock turned by hand.

`Net` holds any number of cores, each with the addresses of its listening points; `Pair` is the usual two.
Names are resolved from a table, changes are committed when `commit_at_once` says so or when a test does it,
and everything the cores report is kept in `reported`.
"""

from collections.abc import Sequence

from sipbridge.sip.destinations import Locating
from sipbridge.sip.flow import Address, Flow, ListeningPoint
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.indications import Resolve
from sipbridge.sip.message import Response
from sipbridge.sip.policy import Credentials
from sipbridge.sip.records import Answer, Kind, Question
from sipbridge.sip.timers import Timers
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from tests.harness.clock import HandClock
from tests.harness.wire import Wire, seen_from_there

ALICE: Address = ("192.0.2.1", 5060)
BOB: Address = ("192.0.2.2", 5060)
MAX_STEPS = 100_000


def points_at(address: Address, protocols: Sequence[str] = ("udp", "tcp")) -> list[ListeningPoint]:
    return [ListeningPoint(p, address, address[0], address[1]) for p in protocols]


class Net:
    """Cores, one wire, one clock."""

    def __init__(self, clock: HandClock | None = None, wire: Wire | None = None) -> None:
        self.clock = clock or HandClock()
        self.wire = wire or Wire()
        self.cores: dict[Address, UserAgent] = {}
        self.reported: dict[Address, list[object]] = {}
        self.stored: list[tuple[UserAgent, int, object]] = []
        self.names: dict[str, list[str]] = {}
        self.records: dict[Question, Answer] = {}
        self.commit_at_once = True
        self.refused: set[tuple[str, Address]] = set()
        """(protocol, address) pairs that cannot be reached."""
        self.connections: dict[tuple[Address, Address], int] = {}

    def add(
        self,
        address: Address,
        protocols: Sequence[str] = ("udp", "tcp"),
        timers: Timers | None = None,
        locating: Locating | None = None,
    ) -> UserAgent:
        """A core listening at an address."""
        core = UserAgent(
            points_at(address, protocols),
            identifiers=Identifiers.seeded(str(address)),
            timers=timers,
            locating=locating,
        )
        self.cores[address] = core
        self.reported[address] = []
        return core

    @property
    def now(self) -> float:
        return self.clock.now()

    def turn(self) -> None:
        """Let everything happen that happens without time passing."""
        for _ in range(MAX_STEPS):
            if not self.step():
                return
        raise AssertionError("the cores never come to rest")

    def step(self) -> bool:
        busy = False
        for address, core in self.cores.items():
            busy |= self.drain(address, core)
        for flow, data in self.wire.arrived(self.now):
            busy = True
            self.deliver(flow, data)
        return busy

    def drain(self, address: Address, core: UserAgent) -> bool:
        transmits, said, changes = core.transmits(), core.indications(), core.changes()
        for out in transmits:
            if (out.flow.protocol, out.flow.remote) in self.refused:
                core.transport_failed(out.flow, self.now, "refused")
            else:
                self.wire.put(out, self.now)
        for indication in said:
            self.reported[address].append(indication)
            if isinstance(indication, Resolve):
                answer = self.dns(indication.question)
                if answer is not None:
                    core.receive_answer(indication.question, answer, self.now)
        for number, change in changes:
            self.stored.append((core, number, change))
            if self.commit_at_once:
                core.committed(number, self.now)
        return bool(transmits or said or changes)

    def dns(self, question: Question) -> Answer | None:
        """What is known of a name: `records`, else `names`; no address known: the question stays open."""
        answer = self.records.get(question)
        if answer is not None or question.kind is not Kind.ADDRESS:
            return answer or Answer(ttl=30.0)
        known = self.names.get(question.name)
        return None if known is None else Answer(addresses=tuple(known), ttl=30.0)

    def deliver(self, flow: Flow, data: bytes) -> None:
        core = self.cores.get(flow.remote)
        source = flow.local
        if core is None and flow.connection:
            # the listener's name of a connection that the other side opened
            core = self.cores.get((flow.remote[0], 5060))
        if core is None:
            return
        seen = seen_from_there(flow, source)
        if flow.protocol != "tcp":
            core.receive_datagram(data, seen, self.now)
            return
        ends = (min(seen.local, seen.remote), max(seen.local, seen.remote))
        number = self.connections.setdefault(ends, len(self.connections) + 1)
        core.receive_stream(data, Flow("tcp", seen.local, seen.remote, number), self.now)

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline and arrival on the way."""
        end = self.now + seconds
        self.turn()
        while (due := self.next_moment()) is not None and due <= end:
            self.clock.advance_to(max(due, self.now))
            for core in self.cores.values():
                when = core.next_timeout()
                if when is not None and when <= self.now:
                    core.handle_timeout(self.now)
            self.turn()
        self.clock.advance_to(end)

    def next_moment(self) -> float | None:
        moments = [core.next_timeout() for core in self.cores.values()]
        moments.append(self.wire.next_arrival())
        return min((m for m in moments if m is not None), default=None)

    def said_by(self, address: Address, kind: type[object]) -> list[object]:
        return [said for said in self.reported[address] if isinstance(said, kind)]


class Pair(Net):
    """Alice asks, Bob answers, usually."""

    def __init__(
        self,
        clock: HandClock | None = None,
        wire: Wire | None = None,
        protocols: Sequence[str] = ("udp", "tcp"),
        timers: Timers | None = None,
    ) -> None:
        super().__init__(clock, wire)
        self.alice = self.add(ALICE, protocols, timers)
        self.bob = self.add(BOB, protocols, timers)


class Answers:
    """A handler of requests that answers each with the next of its statuses, the last one for ever."""

    def __init__(self, *statuses: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.statuses = list(statuses) or [200]
        self.headers = headers
        self.got: list[ServerRequest] = []

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        self.got.append(incoming)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status:
            incoming.respond(status, headers=self.headers)


class Outcome:
    """A handler of responses that remembers what it was told."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.failures: list[tuple[str, float]] = []

    def receive_response(self, response: Response, now: float) -> None:
        self.responses.append(response)

    def request_failed(self, reason: str, now: float) -> None:
        self.failures.append((reason, now))

    @property
    def status(self) -> int:
        """The one status that came."""
        assert len(self.responses) == 1 and not self.failures
        return self.responses[0].status

    @property
    def times_told(self) -> int:
        return len(self.responses) + len(self.failures)


ALICES = Credentials("alice", "alicepw")
