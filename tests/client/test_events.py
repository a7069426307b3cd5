"""The blocking stream: a thread that waits in it is woken, a connection that is cut is made again."""

import asyncio
import threading
from datetime import timedelta

from sipbridge.client import Activity, AttributeKind, StatusChanged
from tests.app.rig import PATIENCE, Site
from tests.client.conftest import blocking, in_thread
from tests.client.proxy import proxy

ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
WORDS = [Activity.MEETING, Activity.AWAY, Activity.BUSY, Activity.MEAL, Activity.TRAVEL]


async def test_a_stream_goes_on_where_it_was_cut(bridge: Site) -> None:
    async with proxy(bridge.base) as between:
        loop = asyncio.get_running_loop()

        def story() -> list[object]:
            with (
                blocking(bridge.base, "alice") as alice,
                blocking(bridge.base, "bob") as direct,
                blocking(between.base, "bob") as bob,
                bob.notifications() as told,
            ):
                direct.subscribe_presence(ALICE, correlator="s-1")
                alice.update_subscription_authorization(BOB, {AttributeKind.ACTIVITY: True})
                alice.publish([Activity.SLEEPING])
                direct.start_presence_notification(ALICE, correlator="w-1", frequency=timedelta(0))
                found: list[object] = []
                while Activity.SLEEPING not in found:
                    one = next(told)
                    if isinstance(one, StatusChanged):
                        found.append(one.value(AttributeKind.ACTIVITY))
                between.cut_after = [450, 700]
                loop.call_soon_threadsafe(between.cut)
                for word in WORDS:
                    alice.publish([word])
                for _ in WORDS:
                    one = next(told)
                    assert isinstance(one, StatusChanged)
                    found.append(one.value(AttributeKind.ACTIVITY))
                return found

        assert await in_thread(story) == [Activity.SLEEPING, *WORDS]
        assert between.connections >= 3


async def test_closing_wakes_a_thread_that_waits(bridge: Site) -> None:
    def story() -> bool:
        with blocking(bridge.base, "bob") as bob:
            stream = bob.notifications().__enter__()
            waiting = threading.Thread(target=list, args=(stream,), daemon=True)
            waiting.start()
            while not stream.reading.locked():
                pass
            stream.close()
            stream.close()
            waiting.join(PATIENCE)
            return waiting.is_alive()

    assert await in_thread(story) is False
