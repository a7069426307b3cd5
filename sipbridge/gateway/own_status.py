"""The own status of whoever signs in: which attributes a request publishes, and in which order that happens.

A status word is published as the mapping of BEMS says, through the same operation as everybody's attributes.
What else the application has published of the person stays: pairs that belong to other kinds, and the note
of the status unless the request brings one. Publications of one person go out one after another in the order
in which they were asked for, because each is made of what the one before has left.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol

from msgspec.structs import replace

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Clock
from sipbridge.gateway.presentity import kept_with, published_attributes
from sipbridge.gateway.registry import Registry
from sipbridge.gateway.sessions import Request
from sipbridge.identities import PresentityKey
from sipbridge.mapping import bems
from sipbridge.mapping.attributes import Attribute, AttributeKind

Spawn = Callable[[Coroutine[object, object, None]], None]
Work = Callable[[], Awaitable[None]]
Person = tuple[str, PresentityKey]
"""(application, identity)."""


class Publishes(Protocol):
    """Publish, as the gateway does it, within an application's quotas."""

    async def __call__(self, caller: Caller, attributes: Sequence[Attribute]) -> None: ...


class OwnStatus:
    """Who publishes what, and who waits for a turn."""

    def __init__(self, registry: Registry, clock: Clock, publish: Publishes, spawn: Spawn) -> None:
        self.registry = registry
        self.clock = clock
        self.publish = publish
        self.spawn = spawn
        self.lines: dict[Person, deque[Work]] = {}
        """Of each person; the first is being done."""

    def in_turn(self, caller: Caller, work: Work) -> None:
        """Do it when everything is done that was asked for before."""
        person = (caller.application, caller.key)
        line = self.lines.setdefault(person, deque())
        line.append(work)
        if len(line) == 1:
            self.spawn(self.next(person, line))

    async def next(self, person: Person, line: deque[Work]) -> None:
        try:
            await line[0]()
        except Exception:
            self.following(person, line)
            raise
        self.following(person, line)

    def following(self, person: Person, line: deque[Work]) -> None:
        line.popleft()
        if line:
            self.spawn(self.next(person, line))
        else:
            del self.lines[person]

    async def set(self, caller: Caller, request: Request) -> None:
        """Publish what a request says; a message without a status is only one if there is a status."""
        if news := self.news(caller, request):
            await self.publish(caller, news)

    def news(self, caller: Caller, request: Request) -> list[Attribute]:
        """What a request publishes; pairs that say more about other things stay as they are."""
        before = published_attributes(self.registry.published.get((caller.application, caller.key)))
        message = request.message
        mine = [a for a in before if a.kind is AttributeKind.ACTIVITY]
        if message is None and mine:
            message = mine[-1].note
        news: list[Attribute] = []
        if request.presence:
            news += bems.to_attributes(
                request.presence, at=self.clock.at(), personal_message=message
            )
        elif mine:
            news += [replace(a, note=message or None, last_change=None) for a in mine]
            news += [a for a in before if is_pair(a) and kept_with(a) is AttributeKind.ACTIVITY]
        if any(is_pair(a) for a in news):  # the others must not go with those that are replaced
            news += [a for a in before if is_pair(a) and kept_with(a) is AttributeKind.OTHER]
        return news


def is_pair(attribute: Attribute) -> bool:
    return attribute.kind is AttributeKind.OTHER
