"""Messages on their way to a session's client: numbered, kept, shown, fetched, acknowledged.

    post ──> a number, a row on disk ──> shown, and whoever reads or can be pushed is woken
    read ──> what comes after a number; acknowledge ──> what came up to one goes

A message is shown when it is on disk: nobody is told what a crash would make undone. What had to go because
nobody fetched it is told first, and the state of every registered contact anew.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

from sipbridge.errors import StoreUnavailable
from sipbridge.gateway.ports import Clock, Keeper
from sipbridge.gateway.queues import Message, Numbers
from sipbridge.gateway.sessions import Rows, Session
from sipbridge.gateway.waking import Wakes
from sipbridge.gateway.wording import Contact, Wording


class Mailbox:
    """The queues of all sessions."""

    def __init__(
        self,
        numbers: Numbers,
        keeper: Keeper,
        rows: Rows,
        clock: Clock,
        wakes: Wakes,
        wording: Wording,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.numbers = numbers
        self.keeper = keeper
        self.rows = rows
        self.clock = clock
        self.wakes = wakes
        self.wording = wording
        self.spawn = spawn

    def post(self, session: Session, word: Callable[[int], bytes]) -> None:
        """Put a message into a session's queue; it is shown when it is on disk."""
        number = self.numbers.next()
        message = Message(number, word(number))
        if session.queue.add(message):
            self.keeper.remember(*self.rows.session(session, self.clock))
        saving = self.keeper.save_snapshot(*self.rows.message(session, message))
        self.spawn(self.show(session, number, saving))

    async def show(self, session: Session, number: int, saving: Awaitable[None]) -> None:
        with suppress(StoreUnavailable):  # shown all the same: the disk is not the client's affair
            await saving
        session.queue.show(number)
        if session.readers:
            session.wake()
        elif session.push:
            self.wakes.wake(session.token, session.push, "notifications")

    def read(self, session: Session, after: int) -> list[Message]:
        """Messages after a number. If some of them are missing, that is said first, and all is told anew."""
        self.wakes.fetched(session.token)
        if session.queue.lost <= after:
            return session.queue.after(after)
        if session.restated != session.queue.lost:
            self.restate(session)
            session.restated = session.queue.lost
        lost = session.queue.lost
        told = Message(lost, self.wording.lost(lost, session.queue.missing))
        return [told, *session.queue.after(lost)]

    def restate(self, session: Session) -> None:
        """The state of every registered contact as it was told last, in one message."""
        contacts = [
            Contact(r.contact, r.told)
            for r in session.registrations.values()
            if r.ready and r.told is not None
        ]
        if contacts:
            self.post(session, lambda number: self.wording.changed(number, contacts))

    def acknowledge(self, session: Session, sequence: int | None) -> int:
        """The client has everything up to here; returns the number after which it reads on.

        None, and a number that was never given out, acknowledge nothing: everything that is there comes.
        """
        queue = session.queue
        if sequence is None or sequence > self.numbers.last:
            return queue.acknowledged
        lost = queue.lost
        queue.acknowledge(sequence)
        if lost != queue.lost and not session.over:
            self.keeper.remember(*self.rows.session(session, self.clock))
        return sequence
