"""A stream of server-sent events as a blocking iterator: `Follower` with a connection."""

import random
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from sipbridge.client.errors import PresenceError, Unreachable
from sipbridge.client.http import Http, hang_up, unreachable
from sipbridge.client.stream import Follower, ServerSentEvent, is_final, pause

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class EventStream(Generic[T]):
    """What an application is told, one after the other. An iterator and a context manager.

    It connects when it is entered (`with`) or first asked; what happens after that is not missed. A lost
    connection is made again for ever, with growing pauses. What ends an iteration is `close`, or a refusal
    that waiting does not cure (401, 403, 404), which is raised.

    Another thread may `close` it; an iteration that waits then ends.
    """

    def __init__(
        self,
        http: Http,
        path: str,
        read: Callable[[ServerSentEvent], T],
        last_event_id: str | None,
    ) -> None:
        self.http = http
        self.path = path
        self.follower = Follower(read, last_event_id, random.random)
        self.response: httpx2.Response | None = None
        self.chunks: Iterator[bytes] = iter(())
        self.closed = threading.Event()
        self.reading = threading.Lock()
        """Held by whoever waits for the next event."""

    @property
    def last_event_id(self) -> str:
        """Where a later stream can go on: behind the last event that was taken."""
        return self.follower.last_event_id

    def __enter__(self) -> Self:
        """Connect. Raises Fault and Unreachable: the first attempt is the only one."""
        if self.response is None:
            self.connect()
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Wait for the next event. Raises Fault when the bridge refuses for good."""
        with self.reading:
            while not self.closed.is_set():
                told = self.follower.take()
                if told is not None:
                    return told
                self.advance()
            self.disconnect()
            raise StopIteration

    def advance(self) -> None:
        """Bring more, or wait until it makes sense to try again."""
        try:
            if self.response is None:
                self.connect()
            else:
                self.receive()
        except PresenceError as error:
            self.disconnect()
            if is_final(error):
                raise
            self.closed.wait(pause(self.follower, error))

    def connect(self) -> None:
        """Open the stream and read its beginning, which says where it begins."""
        self.response = self.http.stream(self.path, self.follower.headers())
        self.chunks = self.response.iter_bytes()
        self.receive()

    def receive(self) -> None:
        """One piece of the stream. Raises Unreachable when there is none."""
        try:
            chunk = next(self.chunks, None)
        except (self.http.library.HTTPError, self.http.library.StreamError) as error:
            raise unreachable(error) from error
        if chunk is None:
            raise Unreachable("the stream ended")
        self.follower.receive(chunk)

    def disconnect(self) -> None:
        response, self.response = self.response, None
        if response is not None:
            response.close()

    def close(self) -> None:
        """End the iteration; what was not taken can be had again with `last_event_id`."""
        self.closed.set()
        hang_up(self.response)
        if self.reading.acquire(blocking=False):
            try:
                self.disconnect()
            finally:
                self.reading.release()
        # Else somebody reads in another thread, notices, and disconnects.
