"""Which presence servers answer, told by what our requests to them came to.

Every usage of a server says something about it: what was accepted or notified shows that it is there, what
timed out or could not be sent that it is not. The last word counts. Readiness shows a server that does not
answer as degraded; everybody else is still served. The same goes, in finer words, to the `PeerWatch` of the
server, which probes it and has everything there refreshed when it is back.
"""

from sipbridge.events.peer_watch import PeerWatch
from sipbridge.events.publisher import Published, PublishFailed, TagForgotten, Unpublished
from sipbridge.events.registration import Registered, RegistrationFailed
from sipbridge.events.subscriber import Accepted, Notified, RefreshFailed, Refused, Terminated

DOWN = (None, 408, 503)
"""Statuses of a failure that say so: no answer, too late, not able to (RFC 3261 §8.1.3.1)."""


def answered(said: object) -> bool | None:
    """Does the server answer? None: this says nothing about it."""
    match said:
        case Accepted() | Notified() | Published() | Registered():
            return True
        case RefreshFailed() | Refused() | PublishFailed() | RegistrationFailed():
            return said.status not in DOWN
    return None


NO_ANSWER = ("timeout", "transport")
"""How a request ends that had no answer (`ResponseHandler.request_failed`)."""


def tell(watch: PeerWatch, said: object, now: float) -> None:
    """Say to the watch of a server what an indication about it means there."""
    match said:
        case Accepted() | Notified() | Published() | Unpublished() | Registered():
            watch.answered(now)
        case RefreshFailed() | Refused() | PublishFailed() | RegistrationFailed():
            if said.reason in NO_ANSWER:
                refresh = said.subscription if isinstance(said, RefreshFailed) else ""
                watch.failed(said.reason, now, refresh)
            elif said.status not in DOWN:
                watch.answered(now)
        case TagForgotten():
            watch.forgot(now)
        case Terminated() if said.status == 481 and said.will_retry:
            watch.forgot(now)


class PeerStates:
    """The last word about each server, by its name."""

    def __init__(self) -> None:
        self.silent: set[str] = set()

    def news(self, said: object) -> bool | None:
        """What `heard` should be told; None when it would change nothing, as nearly always."""
        up = answered(said)
        return None if up and not self.silent else up

    def heard(self, name: str, up: bool) -> None:
        """This server has answered, or has not."""
        if up:
            self.silent.discard(name)
        else:
            self.silent.add(name)

    def up(self, name: str) -> bool:
        return name not in self.silent
