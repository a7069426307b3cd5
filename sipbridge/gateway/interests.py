"""Who of a front's users wants to see whom: the first begins an observation, the last ends it.

Users are sessions and lists, named by their front. Those of one application that act as the same watcher
share one observation of a presentity.
"""

from collections.abc import Callable

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.observations import Observations
from sipbridge.gateway.registry import Pair
from sipbridge.identities import PresentityKey
from sipbridge.uri import Uri

Shared = tuple[str, Pair]
"""(application, pair)."""
Allowed = Callable[[PresentityKey], bool]
"""May an application act as this person?"""


def nobody(key: PresentityKey) -> bool:
    return False


class Interests:
    """The users of one front's observations.

    admit: called before an application gets one more observation; raises QuotaExceeded.
    """

    def __init__(
        self,
        observations: Observations,
        front: str,
        label: str,
        admit: Callable[[str], None] = lambda application: None,
    ) -> None:
        self.observations = observations
        self.front = front
        self.label = label
        self.admit = admit
        self.users: dict[Shared, set[str]] = {}
        self.ears: list[Callable[[Pair, str], None]] = []
        """Told when what a pair shows may have changed."""
        observations.fronts[front] = self.changed

    async def begin(self, user: str, caller: Caller, presentity: Uri) -> None:
        """Raises as `Observations.begin`, and QuotaExceeded."""
        pair = self.pair(caller, presentity)
        shared = (caller.application, pair)
        if shared not in self.users:
            self.admit(caller.application)
        users = self.users.setdefault(shared, set())
        new = user not in users
        users.add(user)
        try:
            await self.observations.begin(caller, presentity, self.front, self.label)
        except BaseException:
            if new:
                self.end(user, caller.application, pair, caller.trace)
            raise
        if shared not in self.users:  # everybody has left meanwhile
            self.observations.end(caller.application, pair, self.front, caller.trace)

    def end(self, user: str, application: str, pair: Pair, trace: str = "") -> None:
        """This user does not want to see that pair any more."""
        users = self.users.get((application, pair))
        if users is None:
            return
        users.discard(user)
        if not users:
            del self.users[application, pair]
            self.observations.end(application, pair, self.front, trace)

    def adopt(self, user: str, caller: Caller, presentity: Uri) -> None:
        """After a restart: an interest of before."""
        shared = (caller.application, self.pair(caller, presentity))
        if shared not in self.users:
            self.observations.adopt(caller, presentity, self.front, self.label)
        self.users.setdefault(shared, set()).add(user)

    def tidy(self) -> None:
        """After a restart, when all are adopted: subscriptions of before that nobody wants end."""
        registry = self.observations.registry
        for pair, records in list(registry.subscriptions.items()):
            for record in list(records.values()):
                shared = (record.application, pair)
                if record.front == self.front and shared not in self.users:
                    self.observations.end(record.application, pair, self.front)

    def pair(self, caller: Caller, presentity: Uri) -> Pair:
        return (caller.key, self.observations.watchers.identities.canonical(presentity))

    def changed(self, pair: Pair, trace: str) -> None:
        for ear in self.ears:
            ear(pair, trace)
