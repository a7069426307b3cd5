"""The three machines, every cell of them, and how a message finds its transaction."""

import itertools

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import Flow, Transmit
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import parse_datagram
from sipbridge.sip.timers import Deadlines, Timers
from sipbridge.sip.transactions import (
    CLIENT,
    INVITE_SERVER,
    SERVER,
    ClientTransaction,
    ClientTransactions,
    Input,
    InviteServerTransaction,
    ServerTransaction,
    ServerTransactions,
    State,
    Table,
    client_key,
    server_key,
    step,
)

UDP = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
TCP = Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.2", 5060), 3)


def request(method: str = "PUBLISH", branch: str | None = "z9hG4bKabc", cseq: int = 1) -> Request:
    via = "SIP/2.0/UDP 192.0.2.2:5060" + (f";branch={branch}" if branch is not None else "")
    text = (
        f"{method} sip:a@192.0.2.1 SIP/2.0\r\nVia: {via}\r\nFrom: <sip:b@x>;tag=1\r\nTo: <sip:a@x>\r\n"
        f"Call-ID: c1\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
    message = parse_datagram(text.encode())
    assert isinstance(message, Request)
    return message


def response(status: int) -> Response:
    return request().response(status, to_tag="t")


def state_of(transaction: ClientTransaction | ServerTransaction) -> State:
    """Read afresh, so that the type checker does not remember an earlier one."""
    return transaction.state


class User:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.responses: list[int] = []
        self.failures: list[tuple[str, float]] = []

    def receive_response(self, response: Response, now: float) -> None:
        self.responses.append(response.status)

    def transaction_failed(self, reason: str, now: float) -> None:
        self.failures.append((reason, now))


class Bench:
    """One client and one server transaction on a hand-turned clock."""

    def __init__(self, flow: Flow = UDP) -> None:
        self.deadlines = Deadlines()
        self.outbox: list[Transmit] = []
        self.sent: list[tuple[float, bytes]] = []
        self.clients = ClientTransactions(Timers(), self.deadlines, self.outbox)
        self.servers = ServerTransactions(Timers(), self.deadlines, self.outbox)
        self.user = User()
        self.flow = flow
        self.now = 0.0

    def client(self) -> ClientTransaction:
        made = ClientTransaction(
            ("z9hG4bKabc", "PUBLISH"),
            b"request",
            self.flow,
            self.user,
            registry=self.clients,
            trace="",
            now=0.0,
        )
        self.collect()
        return made

    def server(self, kind: type[ServerTransaction] = ServerTransaction) -> ServerTransaction:
        return kind(("k",), self.flow, registry=self.servers, trace="")

    def collect(self) -> None:
        self.sent += [(self.now, out.data) for out in self.outbox]
        self.outbox.clear()

    def pass_to(self, end: float) -> None:
        self.collect()
        while (when := self.deadlines.next_timeout()) is not None and when <= end:
            self.now = when
            self.deadlines.wake(when)
            self.collect()
        self.now = end

    def times(self) -> list[float]:
        return [when for when, _ in self.sent]


# --- tables -------------------------------------------------------------------------------------------

MACHINES = {"client": CLIENT, "server": SERVER, "invite": INVITE_SERVER}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("state", "happened"), list(itertools.product(State, Input)))
def test_every_cell_leads_on_or_names_both(name: str, state: State, happened: Input) -> None:
    table: Table = MACHINES[name]
    if (state, happened) in table:
        assert step(table, state, happened) in State
    else:
        with pytest.raises(LocalProtocolError, match=f"{happened.value} while {state.value}"):
            step(table, state, happened)


@pytest.mark.parametrize("name", MACHINES)
def test_nothing_leads_out_of_the_end(name: str) -> None:
    assert not [cell for cell in MACHINES[name] if cell[0] is State.TERMINATED]


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_reaches_the_end(name: str) -> None:
    table = MACHINES[name]
    reach = {State.TERMINATED}
    for _ in State:
        reach |= {state for (state, _), following in table.items() if following in reach}
    assert {state for state, _ in table} <= reach


# --- client -------------------------------------------------------------------------------------------


def test_without_any_answer_it_resends_eleven_times_and_gives_up_at_32_seconds() -> None:
    bench = Bench()
    bench.client()
    bench.pass_to(100.0)
    assert bench.times() == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.user.failures == [("timeout", 32.0)]
    assert not bench.clients and len(bench.deadlines) == 0


def test_a_provisional_response_stretches_the_resends_to_four_seconds() -> None:
    bench = Bench()
    client = bench.client()
    bench.pass_to(0.2)
    client.receive_response(response(100), 0.2)
    bench.pass_to(13.0)
    assert bench.times() == [0.0, 0.5, 4.5, 8.5, 12.5]
    assert state_of(client) is State.PROCEEDING and not bench.user.responses


def test_a_provisional_response_does_not_put_off_the_end() -> None:
    bench = Bench()
    client = bench.client()
    client.receive_response(response(100), 0.1)
    bench.pass_to(40.0)
    assert bench.user.failures == [("undecided", 32.0)]


def test_the_final_response_is_told_once_and_copies_are_absorbed_for_five_seconds() -> None:
    bench = Bench()
    client = bench.client()
    client.receive_response(response(200), 1.0)
    client.receive_response(response(200), 2.0)
    client.receive_response(response(100), 3.0)
    assert bench.user.responses == [200]
    bench.pass_to(5.9)
    assert state_of(client) is State.COMPLETED and bench.clients
    bench.pass_to(6.0)
    assert state_of(client) is State.TERMINATED and not bench.clients
    assert bench.times() == [0.0]


def test_over_tcp_nothing_is_resent_but_the_end_is_the_same() -> None:
    bench = Bench(TCP)
    bench.client()
    bench.pass_to(100.0)
    assert bench.times() == [0.0]
    assert bench.user.failures == [("timeout", 32.0)]


def test_over_tcp_a_final_response_ends_it_at_once() -> None:
    bench = Bench(TCP)
    client = bench.client()
    client.receive_response(response(404), 1.0)
    assert state_of(client) is State.TERMINATED and not bench.clients and len(bench.deadlines) == 0


def test_an_error_of_the_transport_is_told_unless_the_answer_has_come() -> None:
    bench = Bench()
    bench.client().transport_failed(1.0)
    assert bench.user.failures == [("transport", 1.0)] and not bench.clients
    late = Bench()
    client = late.client()
    client.receive_response(response(200), 1.0)
    client.transport_failed(2.0)
    assert late.user.failures == [] and state_of(client) is State.COMPLETED


# --- server -------------------------------------------------------------------------------------------


def test_copies_are_absorbed_before_the_answer_and_answered_from_memory_after_it() -> None:
    bench = Bench()
    server = bench.server()
    server.receive_again(0.5)
    assert bench.outbox == []
    server.send(200, b"ok", 1.0)
    server.receive_again(1.5)
    server.receive_again(20.0)
    assert [out.data for out in bench.outbox] == [b"ok"] * 3
    bench.pass_to(32.9)
    assert len(bench.servers) == 1
    bench.pass_to(33.0)
    assert len(bench.servers) == 0 and state_of(server) is State.TERMINATED


def test_a_provisional_response_is_repeated_until_the_final_one() -> None:
    bench = Bench()
    server = bench.server()
    server.send(100, b"trying", 0.0)
    server.receive_again(0.5)
    server.send(200, b"ok", 1.0)
    server.receive_again(1.5)
    assert [out.data for out in bench.outbox] == [b"trying", b"trying", b"ok", b"ok"]


def test_a_second_final_response_is_our_own_fault() -> None:
    bench = Bench()
    server = bench.server()
    server.send(200, b"ok", 0.0)
    with pytest.raises(LocalProtocolError):
        server.send(500, b"no", 1.0)


def test_over_tcp_the_answer_ends_it() -> None:
    bench = Bench(TCP)
    server = bench.server()
    server.send(200, b"ok", 0.0)
    assert (
        state_of(server) is State.TERMINATED
        and len(bench.servers) == 0
        and not bench.servers.connections
    )


def test_a_request_nobody_answers_is_forgotten_without_a_408() -> None:
    bench = Bench()
    server = bench.server()
    server.expect_answer(0.0)
    bench.pass_to(32.0)
    assert server.answered and len(bench.servers) == 0 and bench.sent == []


def test_an_error_of_the_transport_ends_a_server_transaction() -> None:
    bench = Bench()
    server = bench.server()
    server.transport_failed()
    assert state_of(server) is State.TERMINATED and len(bench.servers) == 0


# --- INVITE -------------------------------------------------------------------------------------------


def invite(bench: Bench) -> InviteServerTransaction:
    made = bench.server(InviteServerTransaction)
    assert isinstance(made, InviteServerTransaction)
    return made


def test_a_refusal_of_invite_goes_out_again_until_the_ack() -> None:
    bench = Bench()
    server = invite(bench)
    server.send(405, b"no", 0.0)
    bench.pass_to(1.0)
    server.receive_ack(1.0)
    bench.pass_to(30.0)
    assert bench.times() == [0.0, 0.5]
    assert len(bench.servers) == 0


def test_without_an_ack_a_refusal_goes_out_three_times_and_once_for_each_copy() -> None:
    bench = Bench()
    server = invite(bench)
    server.send(405, b"no", 0.0)
    bench.pass_to(20.0)
    server.receive_again(20.0)
    bench.pass_to(33.0)
    assert bench.times() == [0.0, 0.5, 1.5, 20.0]
    assert len(bench.servers) == 0


def test_repeated_acks_are_absorbed() -> None:
    bench = Bench()
    server = invite(bench)
    server.receive_ack(0.0)
    assert state_of(server) is State.PROCEEDING
    server.send(405, b"no", 0.0)
    server.receive_ack(0.1)
    server.receive_ack(0.2)
    server.receive_again(0.3)
    bench.pass_to(1.0)
    assert state_of(server) is State.CONFIRMED and bench.times() == [0.0]


def test_without_an_ack_it_gives_up_after_32_seconds() -> None:
    for flow, count in ((UDP, 3), (TCP, 1)):
        bench = Bench(flow)
        server = invite(bench)
        server.send(405, b"no", 0.0)
        bench.pass_to(32.0)
        assert len(bench.sent) == count and state_of(server) is State.TERMINATED
        assert len(bench.servers) == 0


def test_over_tcp_the_ack_ends_it() -> None:
    bench = Bench(TCP)
    server = invite(bench)
    server.send(405, b"no", 0.0)
    server.receive_ack(0.1)
    assert state_of(server) is State.TERMINATED


# --- keys ---------------------------------------------------------------------------------------------


def key(message: Request) -> tuple[str, ...]:
    return server_key(message, message.top_via)


def test_a_response_is_found_by_branch_and_method() -> None:
    assert client_key(response(200)) == ("z9hG4bKabc", "PUBLISH")


def test_the_same_request_has_the_same_key_and_an_ack_that_of_its_invite() -> None:
    assert key(request()) == key(request())
    assert key(request("ACK")) == key(request("INVITE"))
    assert key(request("CANCEL")) != key(request("INVITE"))


def test_a_raised_cseq_under_the_same_branch_is_a_new_request() -> None:
    assert key(request(cseq=2)) != key(request(cseq=1))


@pytest.mark.parametrize("branch", [None, "1", "z9hG4bK"])
def test_without_a_transaction_id_the_fields_of_rfc_2543_are_the_key(branch: str | None) -> None:
    assert key(request(branch=branch)) == key(request(branch=branch))
    assert key(request(branch=branch)) != key(request(branch=branch, cseq=2))
    assert key(request("ACK", branch=branch)) == key(request("INVITE", branch=branch))
