"""A bus for one process: publishing calls the listeners, in the order they came, before it returns."""

from collections.abc import Callable

from sipbridge.gateway.ports import LogEntry

Listener = Callable[[LogEntry], None]


class MemoryBus:
    """`gateway.ports.Bus`."""

    def __init__(self) -> None:
        self.listeners: dict[str, tuple[Listener, ...]] = {}

    def publish(self, topic: str, message: LogEntry) -> None:
        """Listeners may subscribe and unsubscribe meanwhile; that counts from the next message on."""
        for listener in self.listeners.get(topic, ()):
            listener(message)

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Returns the call that ends the subscription; calling it twice does no harm."""
        token: Listener = lambda message: listener(message)  # noqa: E731 - one identity for each subscription
        self.listeners[topic] = (*self.listeners.get(topic, ()), token)

        def end() -> None:
            left = tuple(other for other in self.listeners.get(topic, ()) if other is not token)
            if left:
                self.listeners[topic] = left
            else:
                self.listeners.pop(topic, None)

        return end
