"""What the indications of our machines say about the presence server they come from.

Every usage of a server says something about it: what was accepted or notified shows that it is there, what
timed out, could not be sent, or was answered by somebody who says that nobody is there, that it may not be.
All of it goes to the `PeerWatch` of the server, which probes it and has everything there refreshed when it is
back. It alone decides whether a server is there: readiness, metrics and the operator's routes ask it.
"""

from sipbridge.events.peer_watch import NOBODY_THERE, PeerWatch
from sipbridge.events.publisher import Published, PublishFailed, TagForgotten, Unpublished
from sipbridge.events.registration import Registered, RegistrationFailed
from sipbridge.events.subscriber import Accepted, Notified, RefreshFailed, Refused, Terminated

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
            elif said.status in NOBODY_THERE:
                watch.refused(said.status, now)
            elif said.status is not None:
                watch.answered(now)
        case TagForgotten():
            watch.forgot(now)
        case Terminated() if said.status == 481 and said.will_retry:
            watch.forgot(now)
