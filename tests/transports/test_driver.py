"""One loop, real sockets on loopback: binding, turning, telling, stopping."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from sipbridge.errors import ConfigurationError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.flow import Flow
from sipbridge.sip.indications import MessageRefused, RequestAnsweredByCore
from sipbridge.sip.locate import bracketed
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import parse_datagram
from sipbridge.sip.records import Answer, Question
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.transports.driver import SLICE, Bound, Done, Driver, bind
from sipbridge.transports.memory import MemoryNetwork
from tests.harness.pair import Answers

SENDER = NameAddr.parse("<sip:alice@example.com>")
RECEIVER = NameAddr.parse("<sip:bob@example.com>")


class Waiting:
    """An outcome one can wait for."""

    def __init__(self) -> None:
        self.future: asyncio.Future[int | str] = asyncio.get_running_loop().create_future()
        self.response: Response | None = None

    def receive_response(self, response: Response, now: float) -> None:
        self.response = response
        self.future.set_result(response.status)

    def request_failed(self, reason: str, now: float) -> None:
        self.future.set_result(reason)


class Station:
    """A driver with its core, and what it was told."""

    def __init__(self, listen: Sequence[str], memory: MemoryNetwork | None = None) -> None:
        self.bound = bind(listen)
        self.core = UserAgent([one.point for one in self.bound])
        self.told: list[object] = []
        self.driver = Driver(self.core, self.bound, on_indication=self.told.append, memory=memory)

    def uri(self, protocol: str) -> str:
        point = next(one.point for one in self.bound if one.point.protocol == protocol)
        transport = "" if protocol == "udp" else f";transport={protocol}"
        return f"sip:bob@{bracketed(point.host)}:{point.port}{transport}"

    def publish(self, uri: str, size: int = 0) -> Request:
        return self.core.new_request(
            "PUBLISH",
            uri,
            from_=SENDER,
            to=RECEIVER,
            headers=[("Event", "presence")],
            body=b"x" * size,
        )

    def ask(self, uri: str, size: int = 0) -> Waiting:
        waiting = Waiting()
        self.core.request(self.publish(uri, size), waiting, self.driver.now())
        self.driver.turn()
        return waiting


class Stations:
    """Makes stations and stops them."""

    def __init__(self) -> None:
        self.memory = MemoryNetwork()
        self.made: list[Station] = []

    async def add(self, *listen: str) -> Station:
        station = Station(listen, self.memory)
        self.made.append(station)
        await station.driver.start()
        return station


@pytest.fixture
async def stations() -> AsyncIterator[Stations]:
    made = Stations()
    yield made
    for station in made.made:
        await station.driver.stop()


UDP4, TCP4 = "udp:127.0.0.1:0", "tcp:127.0.0.1:0"


@pytest.mark.parametrize(
    ("listen", "protocol"),
    [
        (UDP4, "udp"),
        (TCP4, "tcp"),
        ("udp:[::1]:0", "udp"),
        ("tcp:[::1]:0", "tcp"),
        ("memory:NAME", "memory"),
    ],
)
async def test_a_request_and_its_answer_cross_every_transport(
    stations: Stations, listen: str, protocol: str
) -> None:
    alice = await stations.add(listen.replace("NAME", "alice"))
    bob = await stations.add(listen.replace("NAME", "bob"))
    bob.core.serve("PUBLISH", handler := Answers(200))
    waits = [alice.ask(bob.uri(protocol)) for _ in range(20)]
    assert await asyncio.gather(*(w.future for w in waits)) == [200] * 20
    assert {i.flow.protocol for i in handler.got} == {protocol}
    traces = {i.trace for i in handler.got}
    assert "" not in traces
    if protocol == "udp":
        assert len(traces) == 20


async def test_a_large_request_falls_back_to_udp_when_tcp_is_refused(stations: Stations) -> None:
    alice = await stations.add(UDP4, TCP4)
    bob = await stations.add(UDP4)
    bob.core.serve("PUBLISH", handler := Answers(200))
    assert await alice.ask(bob.uri("udp"), size=2000).future == 200
    assert handler.got[0].flow.protocol == "udp"


async def test_a_name_is_resolved_by_the_system(stations: Stations) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    bob.core.serve("PUBLISH", Answers(200))
    uri = bob.uri("udp").replace("127.0.0.1", "localhost")
    assert await alice.ask(uri).future == 200


async def test_a_name_nobody_knows_is_a_failure(stations: Stations) -> None:
    alice = await stations.add(UDP4)

    async def nobody(question: Question) -> Answer:
        assert question.name.endswith("pa.example.com")
        return Answer()

    alice.driver.resolve = nobody
    assert await alice.ask("sip:bob@pa.example.com").future == "transport"


async def test_nobody_listening_by_tcp_is_a_failure(stations: Stations) -> None:
    alice, bob = await stations.add(TCP4), await stations.add(TCP4)
    uri = bob.uri("tcp")
    await bob.driver.stop()
    assert await alice.ask(uri).future == "transport"


async def test_nobody_of_that_name_in_memory_is_a_failure(stations: Stations) -> None:
    alice = await stations.add("memory:alice")
    assert await alice.ask("sip:bob@nobody:5060;transport=memory").future == "transport"


async def test_what_the_core_reports_is_handed_on(stations: Stations) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    assert await alice.ask(bob.uri("udp")).future == 405
    assert [type(said) for said in bob.told] == [RequestAnsweredByCore]


async def test_taps_see_every_message_with_its_trace(stations: Stations) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    seen: list[tuple[str, bytes, str]] = []

    def tap_in(data: bytes, flow: Flow, now: float, trace: str) -> None:
        seen.append(("in", data[:7], trace))

    def tap_out(data: bytes, flow: Flow, now: float, trace: str) -> None:
        seen.append(("out", data[:7], trace))

    bob.driver.tap_in, bob.driver.tap_out = tap_in, tap_out
    bob.core.serve("PUBLISH", Answers(200))
    assert await alice.ask(bob.uri("udp")).future == 200
    assert [(way, data) for way, data, _ in seen] == [("in", b"PUBLISH"), ("out", b"SIP/2.0")]
    assert seen[0][2] == seen[1][2] != ""


class Storing:
    def __init__(self, core: UserAgent) -> None:
        self.core = core

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        incoming.respond(200, after=self.core.store("change"))


@pytest.mark.parametrize(("error", "status"), [(None, 200), (OSError("disk full"), 500)])
async def test_an_answer_waits_for_the_store(
    stations: Stations, error: Exception | None, status: int
) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    written: asyncio.Future[tuple[Sequence[tuple[int, object]], Done]]
    written = asyncio.get_running_loop().create_future()
    bob.driver.store_writer = lambda changes, done: written.set_result((changes, done))
    bob.core.serve("PUBLISH", Storing(bob.core))
    waiting = alice.ask(bob.uri("udp"))
    changes, done = await written
    assert [change for _, change in changes] == ["change"] and not waiting.future.done()
    done([number for number, _ in changes], error)
    assert await waiting.future == status


async def test_without_a_store_changes_count_as_stored(stations: Stations) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    bob.core.serve("PUBLISH", Storing(bob.core))
    assert await alice.ask(bob.uri("udp")).future == 200


async def test_deadlines_wake_the_core(stations: Stations) -> None:
    alice = await stations.add(UDP4)
    woken: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    class Sleeper:
        def handle_timeout(self, now: float) -> None:
            woken.set_result(now)

    when = alice.driver.now() + 0.05
    alice.core.schedule(when + 60, Sleeper())
    alice.driver.turn()
    alice.core.schedule(when, Sleeper())
    alice.driver.turn()
    assert await woken >= when


async def test_many_calls_in_one_pass_make_one_turn(stations: Stations) -> None:
    alice = await stations.add(UDP4)
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    turns = 0
    drain = alice.driver.drain

    def counting(until: float) -> bool:
        nonlocal turns
        turns += 1
        return drain(until)

    alice.driver.drain = counting  # type: ignore[method-assign]
    done = asyncio.get_running_loop().create_future()
    for _ in range(50):
        alice.driver.turn()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done
    assert turns == 1


async def test_a_bug_is_complained_about_and_the_rest_is_served(stations: Stations) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )

    class Broken:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            raise ZeroDivisionError

    def deaf(indication: object) -> None:
        raise KeyError("deaf")

    bob.core.serve("PUBLISH", Broken())
    bob.driver.on_indication = deaf
    assert await alice.ask(bob.uri("udp")).future == 500
    assert [type(c["exception"]) for c in complaints] == [ZeroDivisionError, KeyError]
    bob.core.serve("PUBLISH", Answers(200))
    assert await alice.ask(bob.uri("udp")).future == 200


async def test_a_lookup_that_breaks_is_complained_about_and_the_name_asked_for_again(
    stations: Stations,
) -> None:
    alice, bob = await stations.add(UDP4), await stations.add(UDP4)
    bob.core.serve("PUBLISH", Answers(200))
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )
    resolve = alice.driver.resolve

    async def broken(question: Question) -> Answer:
        raise ZeroDivisionError

    alice.driver.resolve = broken
    uri = bob.uri("udp").replace("127.0.0.1", "localhost")
    assert await asyncio.wait_for(alice.ask(uri).future, 5.0) == "transport"
    assert [type(c["exception"]) for c in complaints] == [ZeroDivisionError]
    alice.driver.resolve = resolve
    alice.core.asking.destinations.answers.clear()
    assert await asyncio.wait_for(alice.ask(uri).future, 5.0) == 200


async def test_rubbish_on_the_socket_is_reported(stations: Stations) -> None:
    bob = await stations.add(UDP4)
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    bob.driver.on_indication = told.set_result
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", bob.bound[0].point.local)
        assert isinstance(await told, MessageRefused)


async def test_stopping_twice_and_without_start_is_fine(stations: Stations) -> None:
    alice = await stations.add(UDP4, TCP4)
    await alice.driver.stop()
    await alice.driver.stop()
    never = Station([UDP4, TCP4])
    await never.driver.stop()
    assert all(one.sock is not None and one.sock.fileno() == -1 for one in never.bound)


async def test_memory_listeners_need_a_network_and_a_free_name(stations: Stations) -> None:
    await stations.add("memory:alice")
    twin = Station(["memory:alice"], stations.memory)
    with pytest.raises(ConfigurationError, match="in use"):
        await twin.driver.start()
    await twin.driver.stop()
    assert list(stations.memory.listeners) == [("alice", 5060)]
    with pytest.raises(ConfigurationError, match="memory network"):
        await Station(["memory:bob"]).driver.start()


async def test_of_two_that_bound_one_port_the_second_to_listen_is_told(stations: Stations) -> None:
    first = Station([TCP4])
    twin = Station([str(first.bound[0])])  # SO_REUSEADDR lets both bind as long as none listens
    await first.driver.start()
    with pytest.raises(ConfigurationError, match="is in use: stop the other program"):
        await twin.driver.start()
    await twin.driver.stop()
    await first.driver.stop()


# --- binding ------------------------------------------------------------------------------------------


def close(bound: Sequence[Bound]) -> None:
    for one in bound:
        if one.sock is not None:
            one.sock.close()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_port_in_use_names_the_listener_and_a_remedy(protocol: str) -> None:
    first = bind([f"{protocol}:127.0.0.1:0"])
    if protocol == "tcp" and first[0].sock is not None:
        first[0].sock.listen()
    with pytest.raises(ConfigurationError) as caught:
        bind(["udp:127.0.0.1:0", str(first[0])])
    close(first)
    assert caught.value.key == "sip.listen"
    assert caught.value.expected == (
        f"{first[0]} is in use: stop the other program or choose another port"
    )


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ("udp:192.0.2.77:0", "no address of this machine"),
        ("udp:127.0.0.1", "not like"),
        ("sctp:127.0.0.1:5060", "not like"),
        ("udp:127.0.0.1:70000", "not like"),
        ("memory:", "not like"),
        ("udp:no.such.host.invalid:0", "cannot be opened"),
    ],
)
def test_a_listener_that_cannot_be_is_explained(listen: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        bind(["udp:127.0.0.1:0", listen])


def test_a_wildcard_needs_to_know_what_peers_are_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        bind(["udp:0.0.0.0:0"])
    assert caught.value.key == "sip.advertise"
    bound = bind(["udp:0.0.0.0:0", "tcp:127.0.0.1:0"], ["udp:203.0.113.5:5060"])
    close(bound)
    told = [(one.point.protocol, one.point.host) for one in bound]
    assert told == [("udp", "203.0.113.5"), ("tcp", "127.0.0.1")]
    assert bound[0].point.port == 5060 and bound[0].point.local[1] != 5060


def test_a_bound_listener_says_where_it_is() -> None:
    bound = bind(["udp:[::1]:0", "memory:agent"])
    close(bound)
    assert str(bound[0]) == f"udp:[::1]:{bound[0].point.port}"
    assert str(bound[1]) == "memory:agent:5060"


# --- streams through the driver -----------------------------------------------------------------------


async def read_response(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_a_client_on_a_connection_is_answered_pinged_back_and_cut_off(
    stations: Stations,
) -> None:
    bob = await stations.add(TCP4)
    seen: list[str] = []
    bob.driver.tap_in = lambda data, flow, now, trace: seen.append(trace)
    reader, writer = await asyncio.open_connection(*bob.bound[0].point.local)
    options = (
        b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP client.invalid;branch=z9hG4bK1\r\n"
        b"From: <sip:a@x>;tag=1\r\nTo: <sip:bob@x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    writer.write(options[:100])
    await writer.drain()
    writer.write(options[100:])
    assert (await read_response(reader)).startswith(b"SIP/2.0 200 OK")
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    writer.write(options.replace(b"Content-Length: 0", b"Content-Length: many"))
    assert (await read_response(reader)).startswith(b"SIP/2.0 400")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert seen and "" not in seen


async def test_a_dialog_follows_the_connection_its_peer_came_by(stations: Stations) -> None:
    bob = await stations.add(TCP4, UDP4)
    got: list[ServerRequest] = []

    class Notifier:
        def receive_request(self, incoming: ServerRequest, now: float) -> None:
            got.append(incoming)
            incoming.respond(200)
            dialog = Dialog.as_uas(incoming.request, incoming.to_tag, flow=incoming.flow)
            fields = [("Event", "presence"), ("Subscription-State", "active")]
            bob.core.request_in_dialog(
                dialog, dialog.new_request("NOTIFY", fields), waiting, now, trace=incoming.trace
            )

    waiting = Waiting()
    bob.core.serve("SUBSCRIBE", Notifier())
    reader, writer = await asyncio.open_connection(*bob.bound[0].point.local)
    writer.write(
        b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP client.invalid;branch=z9hG4bK1\r\n"
        b"From: <sip:a@x>;tag=1\r\nTo: <sip:bob@x>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n"
        b"Event: presence\r\nContact: <sip:a@192.0.2.1:9>\r\nContent-Length: 0\r\n\r\n"
    )
    assert (await read_response(reader)).startswith(b"SIP/2.0 200 OK")
    notify = parse_datagram(await read_response(reader))
    assert isinstance(notify, Request) and notify.method == "NOTIFY"
    writer.write(bytes(notify.response(200)))
    assert await waiting.future == 200
    writer.close()
    await writer.wait_closed()


async def test_the_driver_runs_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def conversation() -> list[int | str]:
        made = Stations()
        results: list[int | str] = []
        for listen, protocol in ((UDP4, "udp"), (TCP4, "tcp")):
            alice, bob = await made.add(listen), await made.add(listen)
            bob.core.serve("PUBLISH", Answers(200))
            results.append(await alice.ask(bob.uri(protocol)).future)
        for station in made.made:
            await station.driver.stop()
        return results

    def run() -> list[int | str]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(conversation())

    assert await asyncio.to_thread(run) == [200, 200]


async def test_an_endless_conversation_of_reports_leaves_room_for_others(
    stations: Stations,
) -> None:
    alice = await stations.add(UDP4)
    heard = 0

    def again(indication: object) -> None:
        nonlocal heard
        heard += 1
        alice.core.report("again")

    alice.driver.on_indication = again
    alice.core.report("begin")
    alice.driver.flush()
    assert 0 < heard <= 10
    alice.driver.on_indication = lambda indication: None


async def test_while_nobody_has_time_answers_leave_and_reports_wait(stations: Stations) -> None:
    """Each report takes a whole slice; every request is answered long before the last is told."""
    there, here = await stations.add("udp:127.0.0.1:0"), await stations.add("udp:127.0.0.1:0")
    there.core.serve("PUBLISH", Answers(403))
    reported: list[object] = []
    clock = there.driver.now

    class Slow:
        late = 0.0

    all_told = asyncio.Event()

    def tell(said: object) -> None:
        reported.append(said)
        Slow.late += 2 * SLICE
        if said == 4:
            all_told.set()

    there.driver.on_indication = tell
    there.driver.now = lambda: clock() + Slow.late
    for n in range(5):
        there.core.report(n)
    there.driver.flush()
    assert reported == [0] and len(there.driver.backlog) == 4
    asked = here.ask(there.uri("udp"))
    assert await asyncio.wait_for(asked.future, 5) == 403
    await asyncio.wait_for(all_told.wait(), 5)
    assert reported == [0, 1, 2, 3, 4]


async def test_while_datagrams_wait_only_each_batch_tells_a_little(stations: Stations) -> None:
    """Reading on comes first: a turn of its own would take the time that answers need."""
    station = await stations.add("udp:127.0.0.1:0")
    driver, clock, told = station.driver, station.driver.now, list[object]()

    class Slow:
        late = 0.0

    def tell(said: object) -> None:
        told.append(said)
        Slow.late += 2 * SLICE

    driver.on_indication, driver.now = tell, lambda: clock() + Slow.late
    for n in range(4):
        station.core.report(n)
    driver.batch_done(True)
    assert told == [0] and not driver.planned
    driver.batch_done(True)
    assert told == [0, 1] and not driver.planned
    driver.batch_done(False)
    assert told == [0, 1, 2] and driver.planned


async def test_what_comes_together_may_be_prepared_for(stations: Stations) -> None:
    """Nothing is lost where that fails."""
    station = await stations.add("udp:127.0.0.1:0")
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )
    seen: list[list[object]] = []

    def prepare(coming: Sequence[object]) -> None:
        seen.append([*coming, len(station.told)])
        raise ZeroDivisionError

    station.driver.prepare = prepare
    for n in range(3):
        station.core.report(n)
    station.driver.flush()
    station.core.report(3)
    station.driver.flush()
    assert seen == [[0, 1, 2, 0], [3, 3]]
    assert station.told == [0, 1, 2, 3] and len(complaints) == 2


async def test_what_waits_is_told_before_the_driver_stops(stations: Stations) -> None:
    station = await stations.add("udp:127.0.0.1:0")
    for n in range(5):
        station.driver.backlog.add(n)
    await station.driver.stop()
    assert station.told == [0, 1, 2, 3, 4]


async def test_with_a_full_backlog_new_requests_are_refused(stations: Stations) -> None:
    there, here = await stations.add("udp:127.0.0.1:0"), await stations.add("udp:127.0.0.1:0")
    other = await stations.add("udp:127.0.0.1:0")
    handler = Answers(200)
    there.core.serve("PUBLISH", handler)
    there.driver.backlog.full = True
    there.driver.flush()
    assert await asyncio.wait_for(here.ask(there.uri("udp")).future, 5) == 503
    assert not handler.got
    there.driver.backlog.full = False
    there.driver.flush()
    assert await asyncio.wait_for(other.ask(there.uri("udp")).future, 5) == 200
