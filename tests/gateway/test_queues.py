"""Queues and the numbers of their messages."""

from sipbridge.gateway import queues
from sipbridge.gateway.queues import KIND, RESERVED, Message, Numbers, Queue
from tests.gateway.fakes import FakeKeeper, HandClock


def queue(most: int = 3) -> tuple[Queue, list[int]]:
    gone: list[int] = []
    return Queue(most, gone.append), gone


def add(into: Queue, *numbers: int, size: int = 1, shown: bool = True) -> None:
    for number in numbers:
        into.add(Message(number, b"x" * size))
        if shown:
            into.show(number)


def numbers(of: Queue, after: int = 0) -> list[int]:
    return [message.sequence for message in of.after(after)]


def test_a_message_stays_until_it_is_acknowledged() -> None:
    one, gone = queue()
    add(one, 5, 6, 7)
    assert numbers(one) == numbers(one) == [5, 6, 7]
    assert numbers(one, 5) == [6, 7]
    one.acknowledge(6)
    assert numbers(one) == [7] and gone == [5, 6]
    one.acknowledge(2)
    assert one.acknowledged == 6


def test_a_message_is_not_seen_before_it_is_shown() -> None:
    one, _ = queue()
    add(one, 5)
    add(one, 6, shown=False)
    assert numbers(one) == [5] and not one.settled
    one.show(6)
    assert numbers(one) == [5, 6] and one.settled


def test_what_does_not_fit_is_counted_until_its_loss_is_acknowledged() -> None:
    one, gone = queue(2)
    add(one, 1, 2)
    assert (one.lost, one.missing) == (0, 0)
    add(one, 3, 4)
    assert gone == [1, 2] and (one.lost, one.missing) == (2, 2)
    one.acknowledge(1)
    assert one.lost == 2
    one.acknowledge(2)
    assert (one.lost, one.missing) == (0, 0) and numbers(one) == [3, 4]


def test_a_queue_is_bounded_by_its_size_and_takes_one_message_of_any() -> None:
    one, gone = queue(100)
    add(one, 1, 2, 3, size=queues.MAX_BYTES // 2)
    assert gone == [1] and one.size == 2 * (queues.MAX_BYTES // 2)
    add(one, 4, size=2 * queues.MAX_BYTES)
    assert numbers(one) == [4]
    one.acknowledge(4)
    assert one.size == 0


async def test_numbers_begin_with_the_second_and_stay_small_enough_for_every_reader() -> None:
    clock = HandClock()
    some = Numbers(FakeKeeper(), clock)
    await some.load()
    second = int(clock.at().timestamp())
    assert [some.next(), some.next()] == [second * 10**6 + 1, second * 10**6 + 2]
    assert len(str(some.last)) == 16 and some.last < 2**53


async def test_numbers_grow_over_restarts_also_when_the_clock_was_set_back() -> None:
    keeper, clock = FakeKeeper(), HandClock()
    clock.passed = 1000.0
    last = 0
    for _ in range(4):
        some = Numbers(keeper, clock)
        await some.load()
        for _ in range(RESERVED + 7):  # more than was reserved at the start
            number = some.next()
            assert number > last
            last = number
        assert number < int(keeper.texts[KIND, ""])
        clock.passed -= 400.0
