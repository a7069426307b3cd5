"""One request for the state of many contacts: asked a few at a time, answered together."""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from sipbridge.gateway.wording import Contact

AT_A_TIME = 20
"""Contacts that are asked about at the same time for one request."""


class Survey:
    """look: asks about one contact. finish: told what was found, in the order asked."""

    def __init__(
        self,
        contacts: Sequence[str],
        look: Callable[[str], Awaitable[Contact]],
        finish: Callable[[list[Contact]], None],
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.look = look
        self.finish = finish
        self.spawn = spawn
        self.left = deque(enumerate(contacts))
        self.found: dict[int, Contact] = {}
        self.working = 0

    def begin(self) -> None:
        self.working = min(AT_A_TIME, len(self.left)) or 1
        for _ in range(self.working):
            self.spawn(self.work())

    async def work(self) -> None:
        try:
            while self.left:
                place, contact = self.left.popleft()
                self.found[place] = await self.look(contact)
        finally:
            self.working -= 1
            if not self.working:
                self.finish([contact for _, contact in sorted(self.found.items())])
