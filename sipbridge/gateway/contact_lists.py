"""Lists of contacts whose availability is pulled: made, replaced, asked, and forgotten when nobody asks.

A client makes a list under a key of its own and pulls: all of it, or what changed after a number it was
given. The same key with other contacts replaces the list, with none it ends. A list lives from one pull to
the next, three minutes by default; each contact on it is an observation like a registration's
(`interests.py`). Availability is derived as for sessions, and unknown (-1) for an address that means nobody,
is not served here, or does not let itself be seen.

Lists are kept on disk, what was told is not: after a restart every contact counts as changed, once.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

import orjson

from sipbridge.errors import InvalidValue, QuotaExceeded, SessionOver, SipBridgeError
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.deadlines import Deadlines
from sipbridge.gateway.interests import Allowed, Interests, nobody
from sipbridge.gateway.observations import Observations
from sipbridge.gateway.ports import Clock, Keeper
from sipbridge.gateway.queues import Numbers
from sipbridge.gateway.registry import Pair
from sipbridge.gateway.waking import Wakes
from sipbridge.identities import Identities, PresentityKey
from sipbridge.mapping import bems
from sipbridge.mapping.table import Tables
from sipbridge.uri import Uri

KIND = "bems-list"
"""Kind of the snapshots that keep lists."""
AGAIN = 60.0
"""Seconds after which a contact that could not be watched is tried again, when the client pulls."""
UNKNOWN = bems.UNKNOWN.availability

Name = tuple[str, PresentityKey, str]
"""(application, watcher, the client's key)."""


@dataclass(slots=True)
class Listed:
    """One contact of a list. key: None for an address that means nobody. changed: number of the last change.

    known: something was heard, or there is nothing to hear. failed: when it could not be watched.
    """

    contact: str
    uri: Uri | None = None
    key: PresentityKey | None = None
    availability: int = UNKNOWN
    changed: int = 0
    known: bool = False
    failed: float | None = None


@dataclass(slots=True)
class ContactList:
    """What a client pulls. sequence: of the last change."""

    name: Name
    caller: Caller
    push: str = ""
    listed: dict[str, Listed] = field(default_factory=dict)
    """By contact as the client writes it."""
    sequence: int = 0
    over: bool = False
    settling: set[Callable[[], None]] = field(default_factory=set)
    """Whoever waits for the list to be settled is called when it changes."""

    @property
    def user(self) -> str:
        """The list among the users of an observation."""
        return "\n".join(self.name)

    @property
    def settled(self) -> bool:
        """Is something known of everybody on it?"""
        return all(listed.known for listed in self.listed.values())


@dataclass(frozen=True, slots=True)
class ListLimits:
    """expiry: seconds a list lives unasked. contacts: on one list. lists: of one application."""

    expiry: float = 180.0
    contacts: int = 1000
    lists: int = 10_000


class ContactLists:
    """All lists of contacts."""

    def __init__(
        self,
        observations: Observations,
        interests: Interests,
        numbers: Numbers,
        keeper: Keeper,
        clock: Clock,
        identities: Identities,
        deadlines: Deadlines,
        tables: Tables,
        wakes: Wakes,
        spawn: Callable[[Coroutine[object, object, None]], None],
        serves: Callable[[Uri], bool],
        limits: ListLimits = ListLimits(),
    ) -> None:
        self.observations = observations
        self.interests = interests
        self.numbers = numbers
        self.keeper = keeper
        self.clock = clock
        self.identities = identities
        self.deadlines = deadlines
        self.tables = tables
        self.wakes = wakes
        self.spawn = spawn
        self.serves = serves
        self.limits = limits
        self.lists: dict[Name, ContactList] = {}
        self.live: Counter[str] = Counter()
        """Lists of each application."""
        self.watching: dict[Pair, dict[Name, ContactList]] = {}
        interests.ears.append(self.changed)

    # --- the client ---

    async def replace(
        self, caller: Caller, notify: str, contacts: Sequence[str], push: str = ""
    ) -> ContactList:
        """Make or replace a list; none ends it. On disk when this returns.

        Raises InvalidValue (too many), QuotaExceeded, StoreError.
        """
        if len(contacts) > self.limits.contacts:
            raise InvalidValue(f"more than {self.limits.contacts} contacts", part="contacts")
        name = (caller.application, caller.key, notify)
        found = self.lists.get(name)
        if not contacts:
            if found is not None:
                self.end(found)
            return ContactList(name, caller, sequence=self.numbers.next())
        found = found or self.made(name, caller)
        found.push = push or found.push
        self.use(found)
        self.put(found, contacts)
        await self.keep(found)
        return found

    def find(self, caller: Caller, notify: str) -> ContactList:
        """A list that is pulled. Raises SessionOver."""
        found = self.lists.get((caller.application, caller.key, notify))
        if found is None:
            raise SessionOver(f"there is no subscription {notify[:80]!r}", part="notify")
        self.use(found)
        self.wakes.fetched(found.user)
        for listed in found.listed.values():
            if listed.failed is not None and listed.failed + AGAIN <= self.clock.now():
                self.begin(found, listed)
        return found

    def since(self, found: ContactList, sequence: int | None) -> list[Listed]:
        """Everybody, or who changed after a number. Raises InvalidValue for a number never given out."""
        if sequence is None:
            return list(found.listed.values())
        if sequence > self.numbers.last:
            raise InvalidValue(f"{sequence} was never given out", part="sequence")
        return [listed for listed in found.listed.values() if listed.changed > sequence]

    def is_stale(self, found: ContactList) -> bool:
        """May what is known of somebody on it be old?"""
        who = found.caller.key
        keys = (listed.key for listed in found.listed.values())
        return any(key is not None and self.observations.is_stale((who, key)) for key in keys)

    # --- lists ---

    def made(self, name: Name, caller: Caller) -> ContactList:
        """Raises QuotaExceeded."""
        mine = self.live[caller.application]
        if mine >= self.limits.lists:
            raise QuotaExceeded("lists", f"{mine} lists are live", retry_after=self.limits.expiry)
        self.lists[name] = made = ContactList(name, caller)
        self.live[caller.application] += 1
        return made

    def put(self, found: ContactList, contacts: Sequence[str]) -> None:
        """These contacts and no others; who was there before is not begun anew."""
        before, found.listed = found.listed, {}
        found.sequence = self.numbers.next()
        for contact in contacts:
            listed = before.pop(contact, None) or Listed(contact)
            found.listed[contact] = listed
        wanted = {listed.key for listed in found.listed.values()}
        for gone in before.values():
            if gone.key is not None and gone.key not in wanted:
                self.leave(found, gone.key)
        for listed in found.listed.values():
            if not listed.changed:
                listed.changed = found.sequence
                self.meet(found, listed)

    def meet(self, found: ContactList, listed: Listed) -> None:
        """A contact that is new on a list."""
        listed.uri = self.identities.contact(listed.contact.strip())
        if listed.uri is None or not self.serves(listed.uri):
            listed.known = True
            return
        listed.key = self.identities.canonical(listed.uri)
        pair = (found.caller.key, listed.key)
        self.watching.setdefault(pair, {})[found.name] = found
        self.begin(found, listed)

    def begin(self, found: ContactList, listed: Listed) -> None:
        if listed.uri is not None:
            listed.failed = None
            self.spawn(self.watch(found, listed, listed.uri))

    async def watch(self, found: ContactList, listed: Listed, uri: Uri) -> None:
        try:
            await self.interests.begin(found.user, found.caller, uri)
        except SipBridgeError:
            listed.failed, listed.known = self.clock.now(), True
            self.tell_waiting(found)
            return
        if found.over or found.listed.get(listed.contact) is not listed:
            self.forsake(found, self.identities.canonical(uri))
            return
        self.changed((found.caller.key, self.identities.canonical(uri)))

    def forsake(self, found: ContactList, key: PresentityKey) -> None:
        """Nobody on the list is this person any more."""
        if found.over or all(listed.key != key for listed in found.listed.values()):
            pair = (found.caller.key, key)
            self.interests.end(found.user, found.caller.application, pair)

    def leave(self, found: ContactList, key: PresentityKey) -> None:
        pair = (found.caller.key, key)
        lists = self.watching.get(pair, {})
        lists.pop(found.name, None)
        if not lists:
            self.watching.pop(pair, None)
            self.deadlines.cancel((KIND, pair))
        self.interests.end(found.user, found.caller.application, pair)

    def use(self, found: ContactList) -> None:
        """The client is there: the list lives on."""
        when = self.clock.now() + self.limits.expiry
        self.deadlines.arm((KIND, found.name), when, lambda: self.end(found))

    def end(self, found: ContactList) -> None:
        """Unsubscribed, or not pulled in time."""
        found.over = True
        if self.lists.get(found.name) is found:
            del self.lists[found.name]
            self.live[found.caller.application] -= 1
        self.deadlines.cancel((KIND, found.name))
        for key in {listed.key for listed in found.listed.values()} - {None}:
            if key is not None:
                self.leave(found, key)
        self.wakes.forget(found.user)
        self.keeper.remember(KIND, found.user, None)
        self.tell_waiting(found)

    def revoke(self, application: str, allowed: Allowed = nobody) -> None:
        """An application may not call any more, or only as those that are allowed."""
        for found in list(self.lists.values()):
            caller = found.caller
            if caller.application == application and not allowed(caller.key):
                self.end(found)

    # --- contacts ---

    def changed(self, pair: Pair, trace: str = "") -> None:
        """What this watcher may see of that contact may be something else now."""
        lists = self.watching.get(pair)
        if not lists:
            return
        sight = self.observations.sight(pair)
        if sight is None:
            return
        at = self.clock.at()
        state, soon = bems.derive(sight.document, at=at, tables=self.tables)
        self.deadlines.arm(
            (KIND, pair),
            None if soon is None else self.clock.now() + (soon - at).total_seconds(),
            lambda: self.changed(pair),
        )
        for found in list(lists.values()):
            self.note(found, pair[1], state.availability)

    def note(self, found: ContactList, key: PresentityKey, availability: int) -> None:
        """The availability of a person on a list."""
        news = False
        for listed in found.listed.values():
            if listed.key != key:
                continue
            listed.known = True
            if listed.availability != availability:
                listed.availability = availability
                if not news:
                    found.sequence = self.numbers.next()
                listed.changed, news = found.sequence, True
        if news and found.push and not found.settling:
            self.wakes.wake(found.user, found.push, found.name[2])
        self.tell_waiting(found)

    def tell_waiting(self, found: ContactList) -> None:
        for waiting in list(found.settling):
            waiting()

    # --- the disk ---

    async def keep(self, found: ContactList) -> None:
        row = {
            "identity": str(found.caller.identity),
            "push": found.push,
            "contacts": list(found.listed),
        }
        await self.keeper.save_snapshot(KIND, found.user, orjson.dumps(row).decode())

    async def load(self, allowed: Callable[[str, PresentityKey], bool]) -> None:
        """The lists of before; `resume` takes them up. Those nobody may have any more are dropped."""
        for user, text in await self.keeper.load_snapshots(KIND):
            application, key, notify = user.split("\n", 2)
            name = (application, PresentityKey(key), notify)
            if not allowed(application, name[1]):
                self.keeper.remember(KIND, user, None)
                continue
            row = orjson.loads(text)
            caller = Caller(application, Uri.parse(row["identity"]), name[1])
            found = self.made(name, caller)
            found.push = row["push"]
            found.listed = {contact: Listed(contact) for contact in row["contacts"]}

    def resume(self) -> None:
        """Watch again who is on the lists."""
        for found in list(self.lists.values()):
            self.use(found)
            found.sequence = self.numbers.next()
            for listed in found.listed.values():
                listed.changed = found.sequence
                listed.uri = self.identities.contact(listed.contact.strip())
                if listed.uri is None or not self.serves(listed.uri):
                    listed.known = True
                    continue
                listed.key = self.identities.canonical(listed.uri)
                pair = (found.caller.key, listed.key)
                self.watching.setdefault(pair, {})[found.name] = found
                self.interests.adopt(found.user, found.caller, listed.uri)
