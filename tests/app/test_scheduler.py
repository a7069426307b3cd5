"""One timer for the earliest moment."""

import asyncio
from datetime import UTC, datetime, timedelta

from sipbridge.app.scheduler import Scheduler
from tests.app.rig import Application, document, site

ALICE = "sip:alice@example.com"


class Alarm:
    """Wants to be woken at its moments, and remembers when it was."""

    def __init__(self, *moments: float) -> None:
        self.moments = sorted(moments)
        self.woken: list[float] = []
        self.rang = asyncio.Event()

    def next_timeout(self) -> float | None:
        return self.moments[0] if self.moments else None

    def handle_timeout(self, now: float) -> None:
        while self.moments and self.moments[0] <= now:
            self.woken.append(self.moments.pop(0))
        self.rang.set()


async def rung(alarm: Alarm) -> None:
    await asyncio.wait_for(alarm.rang.wait(), 5.0)
    alarm.rang.clear()


async def test_moments_are_woken_in_their_order() -> None:
    now = asyncio.get_running_loop().time()
    alarm, scheduler = Alarm(now + 0.02, now + 0.01, now + 0.03), Scheduler()
    scheduler.start(alarm)
    while alarm.moments:
        await rung(alarm)
    assert alarm.woken == [now + 0.01, now + 0.02, now + 0.03]
    assert scheduler.handle is None
    scheduler.stop()


async def test_a_moment_in_the_past_is_woken_at_once() -> None:
    alarm, scheduler = Alarm(0.0), Scheduler()
    scheduler.start(alarm)
    await rung(alarm)
    assert alarm.woken == [0.0]


async def test_an_earlier_moment_replaces_the_timer() -> None:
    now = asyncio.get_running_loop().time()
    alarm, scheduler = Alarm(now + 3600), Scheduler()
    scheduler.start(alarm)
    first = scheduler.handle
    alarm.moments.insert(0, now)
    scheduler.arm()
    assert first is not None and first.cancelled()
    await rung(alarm)
    assert alarm.woken == [now]
    assert scheduler.handle is not None and scheduler.handle.when() == now + 3600
    scheduler.stop()


async def test_nothing_to_do_needs_no_timer() -> None:
    alarm, scheduler = Alarm(), Scheduler()
    scheduler.start(alarm)
    assert scheduler.handle is None
    scheduler.arm()
    assert scheduler.handle is None


def test_before_the_start_arming_is_no_fault() -> None:
    Scheduler().arm()


async def test_after_the_end_nobody_is_woken() -> None:
    now = asyncio.get_running_loop().time()
    alarm, scheduler = Alarm(now + 0.01), Scheduler()
    scheduler.start(alarm)
    scheduler.stop()
    scheduler.arm()
    scheduler.wake()
    await asyncio.wait([asyncio.create_task(alarm.rang.wait())], timeout=0.05)
    assert alarm.woken == []


async def test_a_status_that_is_over_is_told_by_a_running_bridge_without_any_notify() -> None:
    """The phone says until when, and nothing more; the agent has no reason to send anything."""
    async with site() as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await bob.subscribe(ALICE)
        await alice.grant_all("sip:bob@example.com")
        await bob.told("notifySubscription")
        await bob.start(ALICE)
        phone = await here.phone("alice")
        end = datetime.now(UTC) + timedelta(seconds=3)
        body = (
            document("meeting", ALICE)
            .decode()
            .replace("<rpid:activities>", f'<rpid:activities until="{end.isoformat()}">')
        )
        phone.publish(body.encode())
        await bob.told_status(Activity="Meeting")
        notified = await notifies(bob)
        await bob.told_status(Activity="Available")
        assert datetime.now(UTC) >= end
        assert await notifies(bob) == notified


async def notifies(bob: Application) -> float:
    """NOTIFYs that the bridge has received."""
    name = 'sipbridge_sip_messages_total{direction="in",method="NOTIFY",status=""'
    lines = (await bob.text("/metrics")).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
