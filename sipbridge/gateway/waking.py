"""Push: a client that does not listen at the moment is woken, with a key and no data, not too often.

What is sent and how is the business of whoever is handed in as `push`. Between two pushes of one client
lies a time (`every`); what happens meanwhile is told by one push at its end, and the client fetches
everything then.
"""

from collections.abc import Callable

from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.ports import Clock

Push = Callable[[str, str], None]
"""Token of the push channel, and the key that says what to fetch."""


class Wakes:
    """Everybody who may be woken. push: None where nothing can do it. every: seconds between two pushes."""

    def __init__(
        self, push: Push | None, clock: Clock, deadlines: Deadlines, every: float = 10.0
    ) -> None:
        self.push = push
        self.every = every
        self.clock = clock
        self.deadlines = deadlines
        self.last: dict[str, float] = {}

    def wake(self, client: str, token: str, key: str) -> None:
        """There is something to fetch for a client that does not listen."""
        if self.push is None:
            return
        now = self.clock.now()
        before = self.last.get(client)
        again = now if before is None else before + self.every
        if again <= now:
            self.last[client] = now
            self.push(token, key)
        else:
            self.deadlines.arm(("wake", client), again, lambda: self.wake(client, token, key))

    def fetched(self, client: str) -> None:
        """The client is there: nothing has to be pushed to it."""
        self.deadlines.cancel(("wake", client))

    def forget(self, client: str) -> None:
        self.fetched(client)
        self.last.pop(client, None)
