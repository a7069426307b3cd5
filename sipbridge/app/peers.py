"""Which presence servers answer, told by what our requests to them came to.

Every usage of a server says something about it: what was accepted or notified shows that it is there, what
timed out or could not be sent that it is not. The last word counts. Readiness shows a server that does not
answer as degraded; everybody else is still served.
"""

from sipbridge.events.publisher import Published, PublishFailed
from sipbridge.events.registration import Registered, RegistrationFailed
from sipbridge.events.subscriber import Accepted, Notified, RefreshFailed, Refused

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
