"""Messages reach the listeners of their topic, in order."""

from collections.abc import Callable
from datetime import UTC, datetime

from sipbridge.gateway.ports import LogEntry, Notification
from sipbridge.store.memory_bus import MemoryBus

ENTRY = LogEntry(1, datetime(2026, 3, 1, tzinfo=UTC), Notification("a", "/b", "statusEnd", b"{}"))


def test_listeners_hear_their_topic_until_they_leave() -> None:
    bus = MemoryBus()
    heard: list[LogEntry] = []
    end_one = bus.subscribe("x", heard.append)
    end_two = bus.subscribe("x", heard.append)
    bus.publish("x", ENTRY)
    bus.publish("y", ENTRY)
    assert heard == [ENTRY, ENTRY]
    end_one()
    end_one()
    bus.publish("x", ENTRY)
    assert len(heard) == 3
    end_two()
    bus.publish("x", ENTRY)
    assert len(heard) == 3
    assert bus.listeners == {}


def test_a_listener_may_leave_while_it_is_told() -> None:
    bus = MemoryBus()
    heard: list[str] = []
    ends: list[Callable[[], None]] = []

    def once(entry: LogEntry) -> None:
        heard.append("once")
        ends[0]()

    ends.append(bus.subscribe("x", once))
    bus.subscribe("x", lambda entry: heard.append("always"))
    bus.publish("x", ENTRY)
    bus.publish("x", ENTRY)
    assert heard == ["once", "always", "always"]
