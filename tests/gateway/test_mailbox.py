"""Messages are shown when they are on disk, in their order, and whoever waits is woken then."""

from collections.abc import Coroutine

from sipbridge.errors import StoreUnavailable
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.mailbox import Mailbox
from sipbridge.gateway.queues import Numbers, Queue
from sipbridge.gateway.sessions import Operation, Request, Rows, Session
from sipbridge.gateway.waking import Wakes
from sipbridge.rest.bems_models import Words
from tests.gateway.fakes import Bench, FakeKeeper, HandClock

PING = Request("c1", "Ping", Operation.PING)


class Post:
    """A mailbox whose disk is as slow as the test wants."""

    def __init__(self) -> None:
        self.keeper, clock = FakeKeeper(), HandClock()
        self.numbers = Numbers(self.keeper, clock)
        self.pushed: list[str] = []
        self.saving: list[Coroutine[object, object, None]] = []
        wakes = Wakes(lambda token, key: self.pushed.append(key), clock, Deadlines())
        rows = Rows(self.keeper)
        self.mail = Mailbox(
            self.numbers, self.keeper, rows, clock, wakes, Words(), self.saving.append
        )
        self.session = Session("token", Bench().bob, Queue(3, lambda sequence: None), push="p")

    def post(self) -> None:
        self.mail.post(self.session, lambda number: Words().completed(number, PING, {}))

    def read(self, after: int = 0) -> list[int]:
        return [message.sequence for message in self.mail.read(self.session, after)]


async def test_nobody_is_told_before_it_is_on_disk() -> None:
    office, woken = Post(), list[int]()
    office.session.readers["me"] = lambda: woken.append(1)
    office.post()
    office.post()
    assert office.read() == [] and not woken
    await office.saving.pop(0)
    assert office.read() == [1] and woken == [1]
    await office.saving.pop(0)
    assert office.read() == [1, 2] and office.pushed == []
    assert sorted(key for kind, key in office.keeper.texts if kind == "bems-message") == [
        f"token\n{number:016d}" for number in (1, 2)
    ]


async def test_a_disk_that_refuses_is_not_the_client_s_affair() -> None:
    office = Post()

    async def refused(kind: str, key: str, text: str) -> None:
        raise StoreUnavailable("full")

    office.keeper.save_snapshot = refused  # type: ignore[method-assign]
    office.post()
    await office.saving.pop()
    assert office.read() == [1]


async def test_who_does_not_listen_is_pushed_to() -> None:
    office = Post()
    office.post()
    assert office.pushed == []
    await office.saving.pop()
    assert office.pushed == ["notifications"]


async def test_a_loss_stands_before_what_is_left() -> None:
    office = Post()
    for _ in range(5):
        office.post()
        await office.saving.pop()
    assert office.read() == [2, 3, 4, 5], "2 is the last that is missing, and says so"
    assert office.read(2) == [3, 4, 5]
    assert office.mail.acknowledge(office.session, 2) == 2
    assert office.read(0) == [3, 4, 5]
